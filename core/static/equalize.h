/*
 * Equalization before quantization: scales move between layers that compute the same function
 * either way, so that channels fill their ranges more evenly.
 */
#ifndef VQC_CORE_STATIC_EQUALIZE_H
#define VQC_CORE_STATIC_EQUALIZE_H

#include "core/calibrate/calibrate.h"

/* One constant of the model with its other payload. */
typedef struct vqc_equalized_tensor {
    Onnx__TensorProto *tensor;
    ProtobufCBinaryData other; /* the payload that the tensor does not have now */
} vqc_equalized_tensor;

/* What was scaled; lives in the arena given. */
typedef struct vqc_equalization {
    size_t links; /* pairs of layers, or inputs of matrix products, that were equalized */
    vqc_equalized_tensor *tensors; /* [tensor_count] */
    size_t tensor_count;
    size_t tensor_capacity;
} vqc_equalization;

/*
 * Cross-layer equalization (Nagel et al., "Data-Free Quantization Through Weight Equalization and
 * Bias Correction", ICCV 2019, section 4.1). For neighbours W1 -> positively homogeneous activation
 * -> W2 and each channel between them: s = sqrt(r1 r2) / r2 with r1, r2 the largest magnitudes of
 * the channel in W1 and W2; W1 and its bias are divided by s, W2 is multiplied; all pairs again
 * until nothing moves. Layers: Conv, ConvTranspose, Gemm, MatMul (also with an Add
 * as its bias) of the main graph with float32
 * constants that nothing else reads; between them Relu, LeakyRelu, PRelu, Clip from 0 without an
 * upper end, pools, Identity, each read once.
 *
 * The payloads of the model's tensors are exchanged in place (new ones in `arena`): index and plan
 * stay valid. Errors: out of memory.
 */
vqc_status vqc_equalize_cross_layer(const vqc_graph *graph, vqc_arena *arena, vqc_equalization *out,
                                    vqc_error *error);

/*
 * SmoothQuant (Xiao et al., "SmoothQuant", ICML 2023): for the input X of matrix products, when all
 * its readers are MatMul or Gemm with constant weights and its producer can be divided by s
 * (LayerNormalization, Mul by a constant vector and Add of one, RMSNormalization, a linear layer):
 * s = max|X|^alpha / max|W|^(1 - alpha) per channel, X / s and s W. max|X| is that of `stats`.
 */
vqc_status vqc_equalize_smooth(const vqc_graph *graph, const vqc_stats *stats, double alpha,
                               vqc_arena *arena, vqc_equalization *out, vqc_error *error);

/* Takes everything back; called again, does it again. */
void vqc_equalization_swap(vqc_equalization *equalization);

#endif
