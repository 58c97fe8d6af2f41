/* Static quantization, the nodes: QuantizeLinear and DequantizeLinear around the quantized units.
 */
#ifndef VQC_CORE_STATIC_STATIC_REWRITE_H
#define VQC_CORE_STATIC_STATIC_REWRITE_H

#include "core/static/static_plan.h"

/*
 * A copy of the main graph in which the plan's decisions are carried out: activations go through
 * QuantizeLinear and DequantizeLinear, Relu and Clip behind quantized units are gone into the
 * ranges, biases are int32. Weights keep their names and values: their codecs write them later.
 * Messages that change are copied into `arena`, all others shared with the plan's graph.
 *
 * simulate: weights of quantized units are replaced by what their codes decode to (plan_layer.code
 * must be there) and biases stay float: the copy computes what the written model will, and can be
 * run at once.
 * Errors: out of memory, codes that cannot be decoded.
 */
vqc_status vqc_static_rewrite(const vqc_static_plan *plan, bool simulate, vqc_arena *arena,
                              Onnx__GraphProto **out, vqc_error *error);

/* Whether the rewritten graph needs QuantizeLinear of com.microsoft: 16 bits below opset 21. */
bool vqc_static_needs_microsoft(const vqc_static_plan *plan);

/*
 * A model around a rewritten graph that can be compiled and run: everything else is shared with the
 * plan's model, which must outlive it. Free with vqc_model_destroy.
 */
vqc_status vqc_static_simulation(const vqc_static_plan *plan, vqc_model **out, vqc_error *error);

#endif
