/*
 * The graph index: every node list of a model (main graph, If/Loop/Scan bodies, functions), every
 * value, who produces it and who uses it. The protobuf is the IR; this is only an index over it
 * plus the means to edit it.
 */
#ifndef VQC_CORE_GRAPH_H
#define VQC_CORE_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <onnx/onnx.pb-c.h>

#include "core/error.h"
#include "core/memory.h"
#include "core/model.h"

typedef struct vqc_scope vqc_scope;
typedef struct vqc_value vqc_value;

/* One node list. */
struct vqc_scope {
    vqc_scope *parent;       /* lexically enclosing scope; NULL for the main graph and functions */
    Onnx__GraphProto *graph; /* NULL for a function body */
    Onnx__FunctionProto *function; /* NULL for a graph */
    char *path;                    /* "" main graph; "If_3/then_branch"; "function F" */
    size_t index;                  /* place in vqc_graph.scopes */
    int64_t opset;                 /* ai.onnx version in force here */
    int64_t ms_opset;              /* com.microsoft version imported here, 0: none */
    size_t front_count;            /* nodes that patches put in front so far */
    size_t node_capacity;        /* of the node array once a patch has taken it over; 0: not yet */
    size_t initializer_capacity; /* the same of the initializers */
    size_t pending_nodes;        /* what the patch that is being applied adds here */
    size_t pending_initializers;
};

/* One place where a value is read. */
typedef struct vqc_use {
    vqc_scope *scope;
    Onnx__NodeProto *node; /* NULL: it is an output of scope->graph / scope->function */
    size_t input;          /* index of the input (or output of the graph) */
} vqc_use;

struct vqc_value {
    const char *name;
    vqc_scope *scope;                  /* where it is defined */
    Onnx__NodeProto *producer;         /* the node that computes it, or NULL */
    size_t output;                     /* which output of the producer */
    Onnx__TensorProto *initializer;    /* or NULL */
    Onnx__SparseTensorProto *sparse;   /* sparse initializer, or NULL */
    Onnx__ValueInfoProto *graph_input; /* or NULL; with initializer: overridable (IR >= 4) */
    Onnx__ValueInfoProto *info;        /* value_info / input / output entry, or NULL */
    vqc_use *uses;                     /* [use_count] in node order, inner scopes included */
    size_t use_count;
    size_t use_capacity;
    vqc_value *next_in_bucket;
    vqc_value *next_of_name; /* in vqc_graph.names */
    vqc_value *source;       /* what vqc_value_source() found, NULL: not asked yet */
};

typedef struct vqc_graph {
    vqc_model *model;   /* borrowed */
    vqc_arena *arena;   /* owns the index; separate from the model's arena */
    vqc_scope **scopes; /* [scope_count], parents before children, main graph first */
    size_t scope_count;
    size_t scope_capacity;
    vqc_value **buckets; /* hash of (scope, name) */
    vqc_value **names;   /* [bucket_count] hash of the name alone, one value for each name */
    size_t bucket_count;
    vqc_value **values; /* [value_count] in definition order (deterministic) */
    size_t value_count;
    size_t value_capacity;
    uint64_t fresh;                         /* counter for new names */
    struct vqc_dynamic_lstm *dynamic_lstms; /* LSTMs of which one weight is coded (emit_lstm.c) */
    struct vqc_dynamic_input **dynamic_inputs; /* hash of values quantized at run time, NULL until
                                                  there is one (emit_dynamic.c) */
    struct vqc_shared_constant **shared; /* hash of small constants that patches share, NULL until
                                            there is one (core/patch.c) */
} vqc_graph;

/* Builds the index. Errors: VQC_ERR_MODEL for a value defined twice in one scope, or no graph. A
 * node input that nothing defines is left alone (the checker's business), its use is not recorded.
 */
vqc_status vqc_graph_create(vqc_model *model, vqc_graph **out, vqc_error *error);

/* Frees the index (not the model); accepts NULL. */
void vqc_graph_destroy(vqc_graph **graph);

/* The value `name` defined in exactly this scope, or NULL. */
vqc_value *vqc_scope_define(const vqc_graph *graph, const vqc_scope *scope, const char *name);

/* The value that `name` means in this scope: its own, or the nearest enclosing one; or NULL. */
vqc_value *vqc_scope_resolve(const vqc_graph *graph, const vqc_scope *scope, const char *name);

/* Node list of a scope. */
Onnx__NodeProto **vqc_scope_nodes(const vqc_scope *scope, size_t *count);

/* Static type of a value when the model says it (initializer, Constant node, value_info, input,
 * output): dtype or VQC_DTYPE_UNDEFINED. */
int32_t vqc_value_dtype(const vqc_value *value);

/* Rank when known, else -1. dims (may be NULL) gets up to dims_capacity entries, -1 for unknown. */
int vqc_value_shape(const vqc_value *value, int64_t *dims, size_t dims_capacity);

/* The constant tensor behind a value: its initializer, or the `value` tensor of a Constant node
 * that produces it (looks through Identity); NULL when there is none or it may be overridden by a
 * caller. */
Onnx__TensorProto *vqc_value_constant(const vqc_graph *graph, const vqc_value *value);

/* A new name "hint" or "hint_N", unused by any value or node of the whole model; lives in the
 * model's arena; NULL when out of memory. Short hints keep the file small. */
char *vqc_graph_fresh_name(vqc_graph *graph, const char *hint);

/* ---- reading nodes ---- */
const Onnx__AttributeProto *vqc_node_attr(const Onnx__NodeProto *node, const char *name);
int64_t vqc_node_attr_int(const Onnx__NodeProto *node, const char *name, int64_t fallback);
float vqc_node_attr_float(const Onnx__NodeProto *node, const char *name, float fallback);
/* "MatMul", or "com.microsoft.Attention" outside ai.onnx; in `arena`. */
const char *vqc_node_op_name(const Onnx__NodeProto *node, vqc_arena *arena);
/* Whether the node is `op` of ai.onnx. */
bool vqc_node_is(const Onnx__NodeProto *node, const char *op);
/* Whether the node draws random numbers: the random operators of ai.onnx, and Dropout that may be
 * told to train (training_mode is there). */
bool vqc_node_is_random(const Onnx__NodeProto *node);
/* Whether the node's outputs may depend on more than its inputs: random numbers, what a graph in an
 * attribute captures (not looked into), and generators that are not known. */
bool vqc_node_may_vary(const Onnx__NodeProto *node);
/* For messages: node name, or "#<position>" style text when it has none; in `arena`. */
const char *vqc_node_label(const Onnx__NodeProto *node, vqc_arena *arena);

/* ---- building nodes (all in the given arena; NULL when out of memory) ---- */
Onnx__NodeProto *vqc_node_create(vqc_arena *arena, const char *op_type, const char *domain,
                                 const char *name, const char *const *inputs, size_t input_count,
                                 const char *const *outputs, size_t output_count);
bool vqc_node_add_int(vqc_arena *arena, Onnx__NodeProto *node, const char *name, int64_t value);
bool vqc_node_add_ints(vqc_arena *arena, Onnx__NodeProto *node, const char *name,
                       const int64_t *values, size_t count);
bool vqc_node_add_float(vqc_arena *arena, Onnx__NodeProto *node, const char *name, float value);
bool vqc_node_add_string(vqc_arena *arena, Onnx__NodeProto *node, const char *name,
                         const char *value);
bool vqc_node_add_tensor(vqc_arena *arena, Onnx__NodeProto *node, const char *name,
                         Onnx__TensorProto *value);
/* Removes an attribute when present. */
void vqc_node_remove_attr(Onnx__NodeProto *node, const char *name);
/* Appends an input ("" fills gaps). */
bool vqc_node_set_input(vqc_arena *arena, Onnx__NodeProto *node, size_t index, const char *name);

#endif
