/*
 * Where channels go in a model. Every index along an axis of a value that can be removed carries an
 * atom; atoms that can only be removed together are joined (union-find). Operators hand atoms from
 * their inputs and constants to their outputs; what an operator cannot hand on is frozen.
 *
 * To remove a set of atoms: cut these indices out of all constants, and adjust the few nodes that
 * count channels (channels_apply.c). This equals putting zeros in place of the channels wherever a
 * convolution, a matrix product or a sum reads them.
 */
#ifndef VQC_CORE_PRUNE_CHANNELS_TRACE_H
#define VQC_CORE_PRUNE_CHANNELS_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/data/samples.h"
#include "core/exec/buffer.h"
#include "core/graph.h"
#include "core/pointer_map.h"

enum {
    VQC_TRACE_MAX_AXIS = 1 << 17, /* longer axes of constants are never pruned */
    VQC_TRACE_RESHAPE_COPY = -1,  /* vqc_trace_edit.fixed: the same axis of the input, 0 in ONNX */
    VQC_TRACE_RESHAPE_REST = -2   /* the one axis that is whatever remains, -1 in ONNX */
};

/* Atoms along one axis; atoms[i] belongs to index i. Immutable once made, shared. */
typedef struct vqc_trace_labels {
    size_t count;
    uint32_t *atoms;
} vqc_trace_labels;

/* What is known of one value of the main graph. */
typedef struct vqc_trace_value {
    const vqc_value *value;
    int rank; /* -1: unknown */
    int64_t dims[VQC_EXEC_MAX_RANK];
    bool is_constant;                            /* stored, and nobody may replace it */
    Onnx__TensorProto *tensor;                   /* of a constant */
    vqc_trace_labels *labels[VQC_EXEC_MAX_RANK]; /* NULL: cannot be removed */
} vqc_trace_value;

/* A constant whose axis makes channels: rows of a Conv, columns of a MatMul. */
typedef struct vqc_trace_producer {
    size_t node;   /* in the main graph */
    size_t weight; /* vqc_trace.values */
    int axis;      /* of the weight */
    const vqc_trace_labels *labels;
} vqc_trace_producer;

/* A constant that sums over channels. Index i of labels is index i of the input's channel axis. */
typedef struct vqc_trace_consumer {
    size_t node;
    size_t weight;
    size_t input; /* vqc_trace.values: what is multiplied with the weight */
    int input_axis;
    const vqc_trace_labels *labels; /* of the input's axis */
    size_t groups;                  /* of a convolution; the weight has count / groups columns */
    int axis;                       /* of the weight, its columns */
    int row_axis;
} vqc_trace_consumer;

typedef enum vqc_trace_edit_kind {
    VQC_EDIT_GROUP,   /* attribute group = channels left of labels[0] */
    VQC_EDIT_RESHAPE, /* input `input` is a list of extents: fixed[] or labels[] */
    VQC_EDIT_SPLIT,   /* sizes of the parts along the axis: labels[] of the outputs */
    VQC_EDIT_SLICE    /* starts and ends of one slot: counted along labels[0] */
} vqc_trace_edit_kind;

/* A node that counts channels. */
typedef struct vqc_trace_edit {
    vqc_trace_edit_kind kind;
    size_t node;
    size_t input;
    size_t count; /* of fixed and labels */
    int64_t *fixed;
    const vqc_trace_labels **labels; /* NULL entry: fixed */
    size_t slot;                     /* SLICE: which entry of starts and ends */
    int64_t start, end;              /* SLICE: as they are, not negative */
} vqc_trace_edit;

/* One set of joined atoms; looked up at the root of the union. */
typedef struct vqc_trace_atom {
    uint32_t parent;
    const char *frozen; /* why it cannot be removed, or NULL */
} vqc_trace_atom;

typedef struct vqc_trace {
    const vqc_graph *graph; /* borrowed */
    vqc_arena *arena;
    vqc_pointer_map map; /* vqc_value -> index of values */
    vqc_trace_value *values;
    size_t value_count;
    vqc_trace_atom *atoms;
    size_t atom_count, atom_capacity;
    vqc_trace_producer *producers;
    size_t producer_count, producer_capacity;
    vqc_trace_consumer *consumers;
    size_t consumer_count, consumer_capacity;
    vqc_trace_edit *edits;
    size_t edit_count, edit_capacity;
    bool no_memory;
    /* while a node is looked at */
    const Onnx__NodeProto *node;
    size_t node_index;
    int64_t opset;
    vqc_trace_value **inputs; /* [node->n_input], NULL: absent or unknown */
    vqc_trace_value **outputs;
    uint32_t *taken; /* [n_input] bit per axis that a rule accounted for */
} vqc_trace;

/*
 * Traces the main graph. Shapes come from running the model once, on the first of `samples` or
 * (NULL) on zeros, or from what the model says where it cannot be run. exclude [exclude_count]:
 * see vqc_channel_options. The graph must outlive the trace. Errors: out of memory; what reading
 * samples reports.
 */
vqc_status vqc_trace_create(const vqc_graph *graph, vqc_samples *samples,
                            const char *const *exclude, size_t exclude_count, vqc_trace **out,
                            vqc_error *error);
void vqc_trace_destroy(vqc_trace **trace);

/* The root of an atom. */
uint32_t vqc_trace_find(const vqc_trace *trace, uint32_t atom);

/* How many indices of the axis stay; removed: [atom_count] by root. */
size_t vqc_trace_kept(const vqc_trace *trace, const vqc_trace_labels *labels, const bool *removed);

/* The index of a value in trace->values, or SIZE_MAX. */
size_t vqc_trace_index(const vqc_trace *trace, const vqc_value *value);

/* ---- for the rules (channels_rules*.c) ---- */

/* Looks at trace->node; whatever it does not take is frozen afterwards. Returns NULL, or why the
 * node cannot be made smaller ("sums over channels"). */
typedef const char *vqc_trace_rule(vqc_trace *trace);

/* The rule of an operator, NULL: none. */
vqc_trace_rule *vqc_trace_rule_find(const Onnx__NodeProto *node);
vqc_trace_rule *vqc_trace_shape_rule_find(const Onnx__NodeProto *node);

/* The atoms of axis `axis` of input `i`, and marks them as accounted for; makes atoms for axes of
 * constants. NULL: they cannot be removed. */
vqc_trace_labels *vqc_trace_take(vqc_trace *trace, size_t i, int axis);
/* New atoms for an axis. */
vqc_trace_labels *vqc_trace_fresh(vqc_trace *trace, size_t count);
/* An empty list of labels of that length, to be filled. */
vqc_trace_labels *vqc_trace_labels_create(vqc_trace *trace, size_t count);
/* Joins index by index; a NULL side or another length freezes the other. */
void vqc_trace_join(vqc_trace *trace, const vqc_trace_labels *a, const vqc_trace_labels *b,
                    const char *why);
void vqc_trace_join_atoms(vqc_trace *trace, uint32_t a, uint32_t b);
/* labels may be NULL. */
void vqc_trace_freeze(vqc_trace *trace, const vqc_trace_labels *labels, const char *why);
/* Sets the atoms of an axis of an output; another length, or a length of 1, freezes them. */
void vqc_trace_give(vqc_trace *trace, size_t output, int axis, vqc_trace_labels *labels);
/* Hands on every axis of input 0 to output 0 as it is. */
const char *vqc_trace_same(vqc_trace *trace);
/* A sentence in the trace's arena that names the node: `Softmax "n": why`. */
const char *vqc_trace_because(vqc_trace *trace, const char *why);
/* Numbers of an int64 or int32 constant input; false when it is none. Lives in the arena. */
bool vqc_trace_ints(vqc_trace *trace, size_t input, const int64_t **values, size_t *count);
/* The same of attribute `name` (opset below) or, when there is none, of input `input`. */
bool vqc_trace_ints_of(vqc_trace *trace, const char *name, size_t input, const int64_t **values,
                       size_t *count);
void vqc_trace_add_producer(vqc_trace *trace, size_t input, int axis,
                            const vqc_trace_labels *labels);
void vqc_trace_add_consumer(vqc_trace *trace, vqc_trace_consumer consumer);
vqc_trace_edit *vqc_trace_add_edit(vqc_trace *trace, vqc_trace_edit_kind kind, size_t count);

#endif
