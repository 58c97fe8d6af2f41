/* Writes a trained LeNet-5 as an ONNX model. */
#ifndef VQC_EXAMPLES_LENET_ONNX_H
#define VQC_EXAMPLES_LENET_ONNX_H

#include "core/error.h"
#include "examples/lenet.h"

/* Writes `net` to `path`, atomically: IR version 7, opset 13, input "image" [N, 1, 28, 28], output
 * "logits" [N, 10], both float32; Conv, Relu, MaxPool, Flatten and Gemm nodes; weights and biases
 * as raw_data initializers "conv1.weight" ... "fc3.bias". Errors: VQC_ERR_IO, or out of memory. */
vqc_status lenet_write_onnx(const lenet *net, const char *path, vqc_error *error);

#endif
