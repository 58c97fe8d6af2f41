/* Weights as operators see them, however they are stored. Shared by the files core/inspect*.c only.
 */
#ifndef VQC_CORE_INSPECT_WEIGHT_H
#define VQC_CORE_INSPECT_WEIGHT_H

#include "core/exec/exec.h"
#include "core/graph.h"
#include "core/pointer_map.h"
#include "core/vqc.h"

/* How the scales of a quantized operator lie over its weight. */
typedef enum vqc_scale_rule {
    VQC_SCALE_FIRST, /* one or one per index of axis 0 */
    VQC_SCALE_LAST,  /* one or one per index of the last axis */
    VQC_SCALE_GEMM,  /* one or one per output: axis 1, with transB axis 0 */
    VQC_SCALE_LSTM,  /* weight [dirs, in, 4 * hidden], scales [dirs] or [dirs, 4 * hidden] */
    VQC_SCALE_NBITS, /* MatMulNBits: packed blocks */
    VQC_SCALE_GATHER /* GatherBlockQuantized: blocks along quantize_axis */
} vqc_scale_rule;

/* An operator that takes its weight as codes. */
typedef struct vqc_quantized_op {
    const char *domain;
    const char *op;
    size_t weight; /* input of the codes */
    int scale;     /* input of the scales; -1: a factor of the Mul behind the operator */
    int zero;      /* input of the zero points; -1: none */
    size_t
        float_input; /* where the float operator has this weight (MatMul 1, Conv 1, LSTM 1 or 2) */
    vqc_scale_rule rule;
    bool transposed; /* last two axes swapped against the float operator */
} vqc_quantized_op;

/* One weight. Values and nodes are borrowed from the graph. */
typedef struct vqc_weight {
    const vqc_scope *scope;      /* of the first node that reads it */
    const Onnx__NodeProto *node; /* that node */
    size_t input;
    size_t float_input;       /* input of the float operator; input itself for float weights */
    const vqc_value *operand; /* what the node reads */
    const vqc_value *value;   /* operand without Transpose, Squeeze, Unsqueeze, Identity in front */
    const vqc_quantized_op *quantized; /* NULL: a float weight */
    const vqc_value *scale;            /* quantized: NULL when not found or not constant */
    const Onnx__NodeProto *scale_node; /* the node that reads the scale */
    const vqc_value *zero;
    int64_t dims[VQC_EXEC_MAX_RANK]; /* of `value` as floats */
    size_t rank;
    size_t elements;
    size_t use_count;
    size_t bytes; /* everything in the file that only serves this weight */
} vqc_weight;

/* A model with its weights found. */
typedef struct vqc_weights {
    vqc_model *model; /* borrowed */
    vqc_graph *graph;
    vqc_weight *items; /* [count] in model order */
    size_t count;
    size_t capacity;
    vqc_pointer_map constant; /* vqc_value -> 1 when it depends on constants only */
    vqc_pointer_map found;    /* vqc_value (vqc_weight.value) -> index in items */
    vqc_pointer_map owner;    /* vqc_value and node -> index in items, or VQC_SHARED */
    uint64_t work_left;
} vqc_weights;

#define VQC_SHARED ((size_t)-2) /* serves several weights, or something else too */
#define VQC_NOBODY ((size_t)-1) /* serves no weight */

/* Indexes the model and finds its weights; *weights is zeroed first and is to be cleared in any
 * case. */
vqc_status vqc_weights_find(vqc_model *model, vqc_weights *weights, vqc_error *error);
void vqc_weights_clear(vqc_weights *weights);

/* Says for every constant value and node which weight it serves (weights->owner). */
vqc_status vqc_weights_own(vqc_weights *weights, vqc_error *error);

/*
 * The weight in float32, [elements], malloc'ed. as_operand: in the orientation in which the float
 * operator computes with it (MatMul and Gemm [K, N], LSTM [dirs, 4 * hidden, in]); else as `value`
 * lies. dims [VQC_EXEC_MAX_RANK], *rank: its shape. Errors: VQC_ERR_MODEL when it cannot be
 * computed, with the reason.
 */
vqc_status vqc_weight_decode(vqc_weights *weights, const vqc_weight *weight, bool as_operand,
                             float **out, int64_t *dims, size_t *rank, vqc_error *error);

/* Evaluates a constant value of the model within the work that is left. */
vqc_status vqc_weights_evaluate(vqc_weights *weights, const vqc_value *value, vqc_buffer **out,
                                vqc_error *error);

/* float32 copy of a buffer of numbers, malloc'ed. */
vqc_status vqc_buffer_to_f32(const vqc_buffer *buffer, float **out, vqc_error *error);

/* "int8 channel", "uint4 block 32 asym", "float16", ...; lives in arena; NULL: out of memory. */
const char *vqc_weight_codec(vqc_weights *weights, const vqc_weight *weight, vqc_arena *arena);

/* Whether the weight is gathered from codebooks, and from what kind; *out is all zero if not. */
bool vqc_weight_codebook(const vqc_weights *weights, const vqc_weight *weight,
                         vqc_codebook_report *out);

/* "DequantizeLinear", "foldable", "MatMulNBits", ...; "" for a stored float tensor. */
const char *vqc_weight_pattern(const vqc_weight *weight);

/*
 * The stored codes of a weight whose zeros are not stored (core/emit/emit_sparse.c): they are
 * spread by CumSum and ScatterElements ("gaps") or Gather ("bit mask"), which is *name then. `from`
 * is the value to start at. NULL: every code is stored; *name is "".
 */
const vqc_value *vqc_weight_stored_codes(const vqc_weights *weights, const vqc_value *from,
                                         const char **name);

/* The same where `value` itself (may be NULL) is what CumSum and ScatterElements or Gather spread.
 */
const vqc_value *vqc_value_spread_codes(const vqc_weights *weights, const vqc_value *value,
                                        const char **name);

/* Whether the weight is stored as floats, as its operators read it. */
bool vqc_weight_is_plain(const vqc_weight *weight);

/* Serialized size of each part, external payloads included, in rows that add up to the files; fills
 * in vqc_weight.bytes as well. Comes after vqc_weights_own. */
vqc_status vqc_inspect_sizes(vqc_weights *weights, vqc_inspection *inspection, vqc_error *error);

/* Layers with their errors against the reference (may be NULL). */
vqc_status vqc_inspect_layers(vqc_weights *weights, vqc_weights *reference,
                              vqc_inspection *inspection, vqc_error *error);

#endif
