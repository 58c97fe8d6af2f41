/* What the files of com.microsoft operators share. */
#ifndef VQC_CORE_EXEC_EXEC_OPS_MICROSOFT_H
#define VQC_CORE_EXEC_EXEC_OPS_MICROSOFT_H

#include "core/exec/exec_op.h"
#include "core/exec/exec_ops_integer.h"

/* An ai.onnx operator that runs inside a node of another one, with that node's attributes. */
typedef struct vqc_inner {
    Onnx__NodeProto node;
    vqc_exec_call call; /* types[0] is filled by vqc_inner_shape */
    const vqc_exec_op *op;
} vqc_inner;

/*
 * Makes `op` of ai.onnx as of `version` with these inputs [count] (NULL where absent; they must
 * live as long as inner) and runs its shape rule. Errors: those of the operator, named as the outer
 * node; VQC_ERR_MODEL when the operator is not in the table.
 */
vqc_status vqc_inner_shape(vqc_exec_call *outer, const char *op, int64_t version,
                           const vqc_buffer *const *inputs, size_t count, vqc_inner *inner);

/* Runs it into one output of the type that the shape rule found. */
vqc_status vqc_inner_run(vqc_inner *inner, vqc_buffer *out);

/* A dense buffer over scratch memory; false and call->error when there is none. */
bool vqc_inner_buffer(vqc_exec_call *call, int32_t dtype, const int64_t *dims, size_t rank,
                      vqc_buffer *out);

#endif
