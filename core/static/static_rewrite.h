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
 * simulate: biases stay float, so that the copy can be run at once; weights are as they are in the
 * model at that time, see vqc_static_swap_weights.
 * Errors: out of memory.
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

/*
 * Exchanges the payloads of all layers that have codes, and no wide_weight, with what the codes
 * decode to (plan_layer.decoded); the second call changes them back. Between the two calls whatever
 * shares the model's tensors computes with coded weights, in subgraphs too.
 */
void vqc_static_swap_weights(const vqc_static_plan *plan);

#endif
