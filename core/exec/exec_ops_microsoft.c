/* com.microsoft: QGemm, MatMulNBits, .... */
#include "core/exec/exec_op.h"

const vqc_exec_family vqc_exec_ops_microsoft = {NULL, 0};
