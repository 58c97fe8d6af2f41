/* Finding the layers of a model: its compressible weights, with what their operators make of them.
 */
#ifndef VQC_CORE_LAYER_H
#define VQC_CORE_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/graph.h"

/* Weights with more dimensions are never coded: arrays of dimensions in patterns have this length.
 */
enum { VQC_LAYER_MAX_RANK = 64 };

/* What a weight is to the operators that read it, most protective first where it matters: scale
 * beats weight beats norm and bias beat other. */
typedef enum vqc_layer_role {
    VQC_ROLE_WEIGHT, /* coded by default: MatMul, Gemm, Conv, Gather, LSTM, ... */
    VQC_ROLE_BIAS,   /* stays, unless a recipe names it */
    VQC_ROLE_NORM,   /* the same: parameters of normalizations, PRelu slopes */
    VQC_ROLE_SCALE,  /* scale or zero point of a quantized operator: never coded */
    VQC_ROLE_OTHER   /* tables in Add, masks in Mul, ...: only when a recipe names it */
} vqc_layer_role;

/*
 * One float constant. Axes are those of the stored tensor (a Transpose between it and its operator
 * is already undone); -1 when there is none. Everything is borrowed from the graph or lives in the
 * arena given to vqc_layers_find.
 */
typedef struct vqc_layer {
    vqc_value *value;          /* initializer or output of a Constant node */
    Onnx__TensorProto *tensor; /* its data */
    vqc_scope *scope;          /* where it is defined */
    const int64_t *dims;       /* [rank] */
    size_t rank;
    size_t elements;
    int32_t dtype; /* float16, bfloat16, float32 or float64 */
    vqc_layer_role role;
    int channel_axis;         /* one scale per index along this axis */
    int reduction_axis;       /* what the operator sums over: blocks lie along it */
    bool channel_joins_outer; /* LSTM, GRU, RNN: a channel is an index of (dims before the axis,
                                 axis) */
    size_t outer;             /* product of dims before channel_axis (1 without one) */
    size_t channels;          /* dims[channel_axis] (1 without one) */
    size_t inner;             /* product of dims behind it: elements = outer * channels * inner */
    const vqc_use *uses; /* [use_count] direct readers, Identity nodes replaced by their readers */
    size_t use_count;
    const char *op;        /* operator that decided the role: "Conv", "com.microsoft.Attention" */
    const char *node_name; /* its node's label */
    const Onnx__NodeProto *node; /* that node; NULL when the value is only a graph output */
    size_t input;                /* which input of that node */
    bool direct; /* that node reads the tensor itself, not a Transpose, Reshape, Cast, ... of it */
    bool is_output;      /* an output of a graph, subgraph or function: must not be coded */
    bool overridable;    /* IR >= 4 and listed as a graph input: a caller may replace it */
    bool is_initializer; /* else the `value` of a Constant node */
} vqc_layer;

/*
 * All float constants of the model that some node reads: in the main graph, subgraphs and
 * functions, as initializers or Constant nodes. A tensor with several readers, also behind
 * Identity, is one layer. *out: [*count] in `arena`, in the order in which the nodes of the scopes
 * (main graph first) first read them; those that are only graph outputs come last. Errors:
 * VQC_ERR_MODEL for a tensor with impossible dims, out of memory.
 */
vqc_status vqc_layers_find(vqc_graph *graph, vqc_arena *arena, vqc_layer **out, size_t *count,
                           vqc_error *error);

/* What a weight is to one operator input. */
typedef struct vqc_operand {
    vqc_layer_role role;
    int channel_axis;
    int reduction_axis;
    bool channel_joins_outer;
} vqc_operand;

/*
 * Role and axes of a float constant with dims [rank] as input `input` of `node` itself (no looking
 * through other nodes). Used for stored weights and for weights that a constant expression decodes.
 */
vqc_operand vqc_operand_describe(const Onnx__NodeProto *node, size_t input, const int64_t *dims,
                                 size_t rank);

/* Whether the layer is the kernel of a convolution whose outputs see one channel each: a few
 * weights per output, all of them missed. */
bool vqc_layer_is_depthwise(const vqc_layer *layer);

/* "weight", "bias", "norm", "scale", "other" */
const char *vqc_layer_role_name(vqc_layer_role role);

/* The tensor stored under this very value (initializer or `value` of a Constant node), also when a
 * caller may override it; NULL when there is none. */
Onnx__TensorProto *vqc_value_stored_tensor(const vqc_value *value);

/* The value behind any chain of Identity nodes; never NULL for a non-NULL argument. */
vqc_value *vqc_value_source(const vqc_graph *graph, vqc_value *value);

#endif
