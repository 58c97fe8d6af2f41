/* If, Loop, Scan. */
#include "core/exec/exec_op.h"

const vqc_exec_family vqc_exec_ops_control = {NULL, 0};
