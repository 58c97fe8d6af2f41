/* operators that ONNX has withdrawn: Upsample, Crop, ImageScaler, .... */
#include "core/exec/exec_op.h"

const vqc_exec_family vqc_exec_ops_legacy = {NULL, 0};
