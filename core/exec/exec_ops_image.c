/* Resize, GridSample, RoiAlign, .... */
#include "core/exec/exec_op.h"

const vqc_exec_family vqc_exec_ops_image = {NULL, 0};
