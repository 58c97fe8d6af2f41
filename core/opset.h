/* Raising the ai.onnx operator set of a model with real version adapters. */
#ifndef VQC_CORE_OPSET_H
#define VQC_CORE_OPSET_H

#include "core/graph.h"

/*
 * Whether every node of the model (subgraphs and functions included) can be raised from the model's
 * opset to `target` (7..28). One line for each kind of node that cannot: node "x" (Op): why, way
 * out. Returns VQC_OK when blockers stays empty, VQC_ERR_MODEL when not; nothing is changed.
 */
vqc_status vqc_opset_check(const vqc_graph *graph, int64_t target, vqc_messages *blockers,
                           vqc_error *error);

/*
 * Raises the model to `target`: rewrites the nodes whose meaning or form changed in between, sets
 * the opset imports of the model and its functions. IR version is raised only as far as ONNX pairs
 * it with nothing: it stays. The index `graph` is stale afterwards: create it anew. Call only when
 * vqc_opset_check is VQC_OK; on error the model may not be used further.
 */
vqc_status vqc_opset_raise(vqc_graph *graph, int64_t target, vqc_error *error);

#endif
