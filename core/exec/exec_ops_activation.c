/* Relu, Sigmoid, Softmax, Gelu, .... */
#include "core/exec/exec_op.h"

const vqc_exec_family vqc_exec_ops_activation = {NULL, 0};
