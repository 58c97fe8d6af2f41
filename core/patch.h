/*
 * A patch: edits to a model that can be weighed in bytes before they are applied, and dropped when
 * they do not pay. After vqc_patch_apply the index (vqc_graph) is stale where it was edited: values
 * and uses of untouched names stay valid, new names are not indexed until the graph is created
 * anew.
 */
#ifndef VQC_CORE_PATCH_H
#define VQC_CORE_PATCH_H

#include "core/dtype.h"
#include "core/graph.h"

typedef struct vqc_patch vqc_patch;

/* New empty patch over `graph`; lives in the graph's arena until dropped or applied. NULL: no
 * memory. */
vqc_patch *vqc_patch_create(vqc_graph *graph);

/*
 * Adds a constant to `scope` under the name `name`: an initializer where that is possible, else
 * (function bodies, models of IR < 4) a Constant node in front of all others. The tensor is
 * borrowed.
 */
vqc_status vqc_patch_add_constant(vqc_patch *patch, vqc_scope *scope, Onnx__TensorProto *tensor,
                                  vqc_error *error);

/*
 * A small constant that several patterns share (shift vectors, codebooks, scalars): returns the
 * name of an equal constant that is already there in this scope or an enclosing one, or adds it.
 * raw is copied. NULL on failure.
 */
const char *vqc_patch_shared_constant(vqc_patch *patch, vqc_scope *scope, const char *hint,
                                      vqc_dtype dtype, const int64_t *dims, size_t rank,
                                      const void *raw, size_t raw_bytes);

/* Puts a node in front of all nodes of the scope, behind those that were put there before it. */
vqc_status vqc_patch_prepend_node(vqc_patch *patch, vqc_scope *scope, Onnx__NodeProto *node,
                                  vqc_error *error);

/* Replaces `node` of the scope by the list of nodes (count 0: removes it), at its place. */
vqc_status vqc_patch_replace_node(vqc_patch *patch, vqc_scope *scope, Onnx__NodeProto *node,
                                  Onnx__NodeProto *const *replacement, size_t count,
                                  vqc_error *error);

/* Inserts nodes directly in front of `node`, which stays. */
vqc_status vqc_patch_insert_before(vqc_patch *patch, vqc_scope *scope, Onnx__NodeProto *node,
                                   Onnx__NodeProto *const *nodes, size_t count, vqc_error *error);

/* Removes the constant behind `value` (initializer and its graph input, or its Constant node). */
vqc_status vqc_patch_remove_constant(vqc_patch *patch, vqc_value *value, vqc_error *error);

/* The model will import at least this version of the domain / have at least this IR version. */
vqc_status vqc_patch_need_opset(vqc_patch *patch, const char *domain, int64_t version,
                                vqc_error *error);
void vqc_patch_need_ir(vqc_patch *patch, int64_t ir_version);

/* Bytes (tags and lengths included) that the patch adds to and removes from the serialized model,
 * external data counted as if inline. */
size_t vqc_patch_added_bytes(const vqc_patch *patch);
size_t vqc_patch_removed_bytes(const vqc_patch *patch);

/* Gives up the patch: nothing of it reaches the model, and the names it took are free again. Only
 * the newest patch of a graph may be dropped. */
void vqc_patch_drop(vqc_patch *patch);

/* Applies everything. On error (out of memory) the model is unchanged. */
vqc_status vqc_patch_apply(vqc_patch *patch, vqc_error *error);

#endif
