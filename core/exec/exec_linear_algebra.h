/* Shape rules and run functions of operators whose rows are in exec_ops_linear_algebra.c. */
#ifndef VQC_CORE_EXEC_EXEC_LINEAR_ALGEBRA_H
#define VQC_CORE_EXEC_EXEC_LINEAR_ALGEBRA_H

#include "core/exec/exec_op.h"

/* Det (determinant.c). Source: ONNX Det 11, 22. */
vqc_exec_fn vqc_det_shape;
vqc_exec_fn vqc_det_run;

#endif
