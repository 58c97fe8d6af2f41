/* What the parts of the QOperator pass share: units between codes, and the graph that grows. */
#ifndef VQC_CORE_STATIC_QOPERATOR_BUILD_H
#define VQC_CORE_STATIC_QOPERATOR_BUILD_H

#include "core/dtype.h"
#include "core/graph.h"
#include "core/pointer_map.h"
#include "core/static/qoperator.h"

/* Codes with their scale and zero point: what a DequantizeLinear reads or a QuantizeLinear makes.
 */
typedef struct vqc_codes {
    const Onnx__NodeProto *node; /* the DequantizeLinear or QuantizeLinear */
    const char *name;            /* of the codes */
    const char *scale;
    const char *zero; /* NULL: 0 */
    const Onnx__TensorProto *scale_tensor;
    const Onnx__TensorProto *zero_tensor; /* NULL: 0 */
    const Onnx__TensorProto *payload;     /* the codes when they are constant, or NULL */
    int32_t dtype;                        /* of the codes */
    int64_t axis;
    size_t scales; /* how many */
} vqc_codes;

typedef struct vqc_zero_constant {
    int32_t dtype;
    int64_t count; /* 0: scalar */
    const char *name;
} vqc_zero_constant;

typedef struct vqc_qoperator {
    vqc_graph *graph;
    vqc_arena *arena; /* the model's */
    vqc_error *error;
    vqc_qoperator_result *result;
    bool microsoft;
    bool used_microsoft;
    Onnx__NodeProto **nodes; /* the new list */
    size_t node_count;
    size_t node_capacity;
    Onnx__TensorProto **added; /* new initializers */
    size_t added_count;
    size_t added_capacity;
    vqc_zero_constant zeros[64];
    size_t zero_count;
    size_t layer_capacity;
    bool failed; /* no memory */
} vqc_qoperator;

/*
 * What became of a node: NULL: converted, its replacement is pushed; else why it stays. A node that
 * is no unit between codes at all: VQC_NO_UNIT.
 */
extern const char VQC_NO_UNIT[];
typedef const char *vqc_qoperator_fn(vqc_qoperator *q, const Onnx__NodeProto *node);

vqc_qoperator_fn vqc_qoperator_conv;
vqc_qoperator_fn vqc_qoperator_matmul;
vqc_qoperator_fn vqc_qoperator_gemm;
vqc_qoperator_fn vqc_qoperator_move;   /* Reshape, MaxPool, Concat, ... on codes */
vqc_qoperator_fn vqc_qoperator_binary; /* com.microsoft QLinearAdd, QLinearMul */
vqc_qoperator_fn vqc_qoperator_unary;  /* QLinearSigmoid, QLinearLeakyRelu, pools */
vqc_qoperator_fn vqc_qoperator_concat; /* on codes, or QLinearConcat */

/* Whether input `input` of a node is decoded from codes by DequantizeLinear with constant scales.
 */
bool vqc_qoperator_source(const vqc_qoperator *q, const Onnx__NodeProto *node, size_t input,
                          vqc_codes *out);

/* Whether output `output` is read by one QuantizeLinear with one constant scale, and by nothing
 * else. */
bool vqc_qoperator_sink(const vqc_qoperator *q, const Onnx__NodeProto *node, size_t output,
                        vqc_codes *out);

/* Scale and zero point of a QuantizeLinear (out->name is its output). */
bool vqc_qoperator_parameters(const vqc_qoperator *q, const Onnx__NodeProto *node, vqc_codes *out);

/* 8-bit codes under one scale. */
bool vqc_codes_are_plain(const vqc_codes *codes);

/* Whether two sets of codes mean the same numbers. */
bool vqc_codes_agree(const vqc_qoperator *q, const vqc_codes *a, const vqc_codes *b);

/* The zero point of codes by name, made when there is none; count 0: a scalar, else a vector. */
const char *vqc_qoperator_zero(vqc_qoperator *q, const vqc_codes *codes, int64_t count);

/* A new initializer with borrowed raw (NULL while only sizes matter); its name, NULL: no memory. */
const char *vqc_qoperator_constant(vqc_qoperator *q, const char *hint, vqc_dtype dtype,
                                   const int64_t *dims, size_t rank, const void *raw,
                                   size_t raw_bytes);

/*
 * Appends a node with one output: name and attributes of `from` when it is given. Returns the node
 * (NULL: no memory, q->failed is set).
 */
Onnx__NodeProto *vqc_qoperator_push(vqc_qoperator *q, const char *op, const char *domain,
                                    const Onnx__NodeProto *from, const char *const *inputs,
                                    size_t input_count, const char *output);

/* Appends a copy of `from` with other inputs and outputs. */
Onnx__NodeProto *vqc_qoperator_push_copy(vqc_qoperator *q, const Onnx__NodeProto *from,
                                         const char *const *inputs, size_t input_count,
                                         const char *const *outputs);

/* Appends a node as it is. */
void vqc_qoperator_keep(vqc_qoperator *q, Onnx__NodeProto *node);

/* Counts a node between codes that stays, and why. */
void vqc_qoperator_left(vqc_qoperator *q, const char *op, const char *reason);

/* Counts a conversion; weight: decoded name of the weight that it reads, or NULL. */
void vqc_qoperator_done(vqc_qoperator *q, const char *op, const char *weight);

/* Whether the node has an input there. */
bool vqc_qoperator_has_input(const Onnx__NodeProto *node, size_t input);

#endif
