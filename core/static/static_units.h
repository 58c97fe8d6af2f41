/* What single operators are to static quantization. */
#ifndef VQC_CORE_STATIC_STATIC_UNITS_H
#define VQC_CORE_STATIC_STATIC_UNITS_H

#include "core/static/static_plan.h"

/* The kind of a node by its operator and attributes; LINEAR still needs a coded weight. */
vqc_unit_kind vqc_unit_kind_of(const vqc_graph *graph, const Onnx__NodeProto *node);

/* Whether input `input` of a node of that kind carries data (not a shape, index or constant). */
bool vqc_unit_reads_data(const Onnx__NodeProto *node, vqc_unit_kind kind, size_t input);

/*
 * Whether a layer can feed an integer operator: recipe says activations static, codec int with 8
 * bits, symmetric, per tensor or channel; a float32 constant of the main graph that one Conv, plain
 * Gemm or MatMul reads.
 */
bool vqc_static_layer_fits(const vqc_layer *layer, const vqc_weight_spec *spec);

/* Gemm without transA, alpha and (with a bias) beta other than 1. */
bool vqc_unit_is_plain_gemm(const Onnx__NodeProto *node);

#endif
