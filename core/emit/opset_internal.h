/* What the parts of the opset raiser share. Private to core/emit/opset_*. */
#ifndef VQC_CORE_EMIT_OPSET_INTERNAL_H
#define VQC_CORE_EMIT_OPSET_INTERNAL_H

#include "core/dtype.h"
#include "core/emit/opset_table.h"
#include "core/graph.h"
#include "core/opset.h"

typedef struct vqc_raise_constant vqc_raise_constant;

enum { VQC_RAISE_BUCKETS = 1024 };

typedef struct vqc_node_list {
    Onnx__NodeProto **items;
    size_t count;
    size_t capacity;
} vqc_node_list;

/* Asked before anything is changed, because a rewritten producer says less. */
typedef struct vqc_node_facts {
    int32_t dtype; /* of input 0, VQC_DTYPE_UNDEFINED when unknown */
    int32_t rank;  /* of input 0, -1 when unknown */
} vqc_node_facts;

/* One raise, or one check (then `changing` is false and nothing is built). */
typedef struct vqc_raise {
    const vqc_graph *graph;
    vqc_graph *names; /* the same graph, to take fresh names from; NULL while checking */
    vqc_arena *arena; /* new parts of the model, or scratch while checking */
    int64_t target;
    vqc_scope *scope;     /* where the current node is */
    vqc_node_list out;    /* the scope's new node list so far */
    vqc_node_list after;  /* nodes that follow the current node */
    size_t after_at;      /* where in `after` the current step inserts */
    vqc_node_facts facts; /* about input 0 of the current node as the model had it */
    bool was_upsample;    /* the current node was an Upsample: it never shrinks */
    vqc_raise_constant *constants[VQC_RAISE_BUCKETS];
    Onnx__TensorProto **initializers; /* new ones of the main graph */
    size_t initializer_count;
    size_t initializer_capacity;
    vqc_error *error;
} vqc_raise;

/* Rewrites `node` (as its operator stood before the step) into the form of the step's version. May
 * emit nodes before and after it. Its check said that it can. */
typedef vqc_status vqc_opset_adapter(vqc_raise *raise, Onnx__NodeProto *node);

/* Why this node cannot take the step, or NULL when it can. Looks at the node as it is in the model.
 */
typedef const char *vqc_opset_blocker(const vqc_raise *raise, const vqc_scope *scope,
                                      const Onnx__NodeProto *node);

/* A reviewed step that is more than "types were added". A step without a row here is compatible. */
typedef struct vqc_opset_step {
    const char *op;
    uint8_t since;              /* the version the step leads to */
    vqc_opset_adapter *adapt;   /* NULL: the old form means the same in the new version */
    vqc_opset_blocker *blocker; /* NULL: always possible */
    const char *note;           /* one line for docs/OPSETS.md */
} vqc_opset_step;

extern const vqc_opset_step vqc_opset_steps[];
extern const size_t vqc_opset_step_count;

/* Experimental operators that ai.onnx dropped, NULL-terminated; all went with opset 10. */
extern const char *const vqc_opset_dropped_ops[];

/* Row of an operator, or NULL. */
const vqc_opset_op *vqc_opset_find_op(const char *name);

/* Reviewed step of op to version `since`, or NULL. */
const vqc_opset_step *vqc_opset_find_step(const char *op, int64_t since);

/* ---- facts (opset_facts.c): what is known about a value, following producers; bounded work ----
 */

/* Data type of `name` as seen from scope, VQC_DTYPE_UNDEFINED when unknown. */
int32_t vqc_opset_dtype(const vqc_raise *raise, const vqc_scope *scope, const char *name);

/* Rank of `name`, -1 when unknown. */
int vqc_opset_rank(const vqc_raise *raise, const vqc_scope *scope, const char *name);

/* Rank when the model states the shape itself, else -1; dims[capacity] as vqc_value_shape gives. */
int vqc_opset_stated_shape(const vqc_raise *raise, const vqc_scope *scope, const char *name,
                           int64_t *dims, size_t capacity);

/* The constant behind input `index` of node, or NULL. */
const Onnx__TensorProto *vqc_opset_constant_input(const vqc_raise *raise, const vqc_scope *scope,
                                                  const Onnx__NodeProto *node, size_t index);

/* Name of input/output `index`, or NULL when it is absent. */
const char *vqc_opset_input(const Onnx__NodeProto *node, size_t index);
const char *vqc_opset_output(const Onnx__NodeProto *node, size_t index);

/* Whether anything reads output `index` of node, or it is a graph or function output. */
bool vqc_opset_output_used(const vqc_raise *raise, const vqc_scope *scope,
                           const Onnx__NodeProto *node, size_t index);

/* Whether a STRING attribute has this value; `fallback` when absent. */
bool vqc_opset_attr_is(const Onnx__NodeProto *node, const char *name, const char *value,
                       const char *fallback);

/* ---- building (opset_build.c); NULL or a failed status: out of memory, raise->error is filled
 * ---- */

vqc_status vqc_raise_memory(vqc_raise *raise);

/* Name of a constant with this content that the current node may read: shared with equal ones. In
 * the main graph of IR >= 4 an initializer, else a Constant node in front of the current node. */
const char *vqc_raise_shared(vqc_raise *raise, const char *hint, vqc_dtype dtype,
                             const int64_t *dims, size_t rank, const void *raw, size_t raw_bytes);
const char *vqc_raise_ints(vqc_raise *raise, const char *hint, const int64_t *values, size_t count);
const char *vqc_raise_int(vqc_raise *raise, const char *hint, int64_t value); /* scalar */
const char *vqc_raise_floats(vqc_raise *raise, const char *hint, const float *values, size_t count);

/* A scalar of the (float) data type of `like`, which is input 0 of the current node: by its known
 * type, else through CastLike. */
const char *vqc_raise_scalar_like(vqc_raise *raise, const char *hint, float value,
                                  const char *like);

/* Whether vqc_raise_scalar_like will work; the reason if not. */
const char *vqc_opset_scalar_like_blocker(const vqc_raise *raise, const vqc_scope *scope,
                                          const char *like);

/* Appends a node to the new list of the scope. */
vqc_status vqc_raise_append(vqc_raise *raise, Onnx__NodeProto *node);

/* A name that the model does not use yet. */
char *vqc_raise_fresh(vqc_raise *raise, const char *hint);

/* A node in front of the current one; it reads `inputs` and makes one new value, whose name is
 * returned (node, may be NULL, gets the node). */
const char *vqc_raise_before(vqc_raise *raise, const char *op, const char *const *inputs,
                             size_t input_count, Onnx__NodeProto **node);

/* Makes output `index` of the current node a new value and puts a node behind it that computes the
 * old name from `inputs`; where inputs[i] is NULL it stands for the new value. */
Onnx__NodeProto *vqc_raise_behind(vqc_raise *raise, Onnx__NodeProto *current, size_t index,
                                  const char *op, const char *const *inputs, size_t input_count);

/* Sets or replaces attributes; status OK or out of memory. */
vqc_status vqc_raise_set_int(vqc_raise *raise, Onnx__NodeProto *node, const char *name,
                             int64_t value);
vqc_status vqc_raise_set_string(vqc_raise *raise, Onnx__NodeProto *node, const char *name,
                                const char *value);
/* Sets an input; NULL name: out of memory before (the chain of calls stays short). */
vqc_status vqc_raise_set_input(vqc_raise *raise, Onnx__NodeProto *node, size_t index,
                               const char *name);
vqc_status vqc_raise_set_op(vqc_raise *raise, Onnx__NodeProto *node, const char *op);
vqc_status vqc_raise_rename_attr(vqc_raise *raise, Onnx__NodeProto *node, const char *from,
                                 const char *to);

/* Drops optional outputs from the end so that `count` remain. */
void vqc_raise_trim_outputs(Onnx__NodeProto *node, size_t count);

#endif
