/* Choosing form, grouping and code range of the int codec for one layer. */
#ifndef VQC_CORE_CODEC_INT_FORM_H
#define VQC_CORE_CODEC_INT_FORM_H

#include "core/codec/codec.h"

/* vqc_codec.prepare of the int codec. */
void vqc_int_prepare(vqc_decision *decision, const vqc_target *target, const float *weights,
                     int64_t *opset_wanted);

/* vqc_codec.reads_weights: whether the foldable pattern with float16 scales may be chosen. */
bool vqc_int_reads_weights(const vqc_layer *layer, const vqc_weight_spec *spec);

/* Whether code->codes go into the file byte for byte (else they are packed or transposed first). */
bool vqc_int_codes_are_payload(const vqc_decision *decision);

/* ---- questions about a layer's readers; every one of them must agree ---- */

/* MatMul (second input, 2-D weight) or Gemm without transposition, reading the tensor by its own
 * name in its own scope: what ONNX Runtime fuses with DequantizeLinear. */
bool vqc_layer_feeds_matmul(const vqc_layer *layer);

/* MatMul or Gemm (alpha 1, transA 0; transB allowed) with this 2-D weight as second input. */
bool vqc_layer_feeds_linear(const vqc_layer *layer);

/* Whether every reader is `op` of ai.onnx with this tensor as input `input`. */
bool vqc_layer_feeds(const vqc_layer *layer, const char *op, size_t input);

#endif
