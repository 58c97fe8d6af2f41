/* What the executor behind a node gives it while it runs, and what the executor of constants and
 * the one of whole models share: memory within limits, stored tensors, one operator. */
#ifndef VQC_CORE_EXEC_FRAME_H
#define VQC_CORE_EXEC_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "core/exec/buffer_pool.h"
#include "core/exec/exec_op.h"
#include "core/graph.h"

enum {
    VQC_EXEC_WORK_FACTOR = 16 /* bytes that may be written in all, in bytes alive at a time */
};

/* Bounds against models that are made to eat memory or time. */
typedef struct vqc_exec_budget {
    size_t max_bytes;  /* of arrays alive at a time */
    size_t live_bytes; /* of arrays alive now */
    size_t peak_bytes;
    uint64_t *work_left; /* bytes that may still be written */
} vqc_exec_budget;

/* Runs a subgraph of call->node; see vqc_exec_subgraph. */
typedef vqc_status vqc_subgraph_fn(vqc_exec_call *call, const char *name,
                                   const vqc_buffer *const *inputs, size_t input_count,
                                   vqc_buffer **outputs, size_t output_count);

typedef struct vqc_exec_block {
    void *memory;
    size_t capacity;
} vqc_exec_block;

/* One per thread, reused from node to node. */
typedef struct vqc_exec_frame {
    vqc_exec_block
        *blocks; /* [block_count] scratch memory of the nodes that run, outermost first */
    size_t block_count;
    size_t block_capacity;
    vqc_pool pool;
    vqc_exec_budget budget;
    vqc_subgraph_fn *subgraph; /* NULL: the executor runs no subgraphs */
    void *context;             /* the executor's */
} vqc_exec_frame;

/* Frees the scratch memory that was taken since block_count was `mark`. */
void vqc_exec_frame_reset_to(vqc_exec_frame *frame, size_t mark);

/* Frees all scratch memory. */
void vqc_exec_frame_reset(vqc_exec_frame *frame);

/* Frees everything that the frame owns. Buffers made in it are gone or detached by then. */
void vqc_exec_frame_clear(vqc_exec_frame *frame);

/* 256 MiB and 64 times the size of the model (a stored bit may become a 64-bit integer). */
size_t vqc_exec_default_bytes(const vqc_model *model);

/* Version of the operator set `domain` that is in force in a scope; 1 when it does not say. */
int64_t vqc_exec_version(const vqc_scope *scope, const char *domain);

/* Counts size_bytes of a new array of the value `name` (for the message). Errors: VQC_ERR_MODEL
 * when that passes a limit. */
vqc_status vqc_exec_account(vqc_exec_budget *budget, size_t size_bytes, const char *name,
                            vqc_error *error);

/* Drops a buffer whose bytes were counted; accepts NULL. */
void vqc_exec_release(vqc_exec_budget *budget, vqc_buffer **buffer);

/* Loads the stored tensor, dense or sparse, behind a value that has one. */
vqc_status vqc_exec_load(vqc_exec_budget *budget, const vqc_value *value, vqc_buffer **out,
                         vqc_error *error);

/* Fills what a call takes from the node and its row, and checks that the required inputs are
 * there. inputs, outputs, threads, frame and error are the caller's to set, before. */
vqc_status vqc_exec_begin(vqc_exec_call *call, const Onnx__NodeProto *node, const vqc_exec_op *op,
                          int64_t opset);

/*
 * Allocates the outputs that the shape rule described. spare: a buffer that output 0 may be made of
 * when type and shape are the same (it becomes NULL then), or NULL.
 */
vqc_status vqc_exec_make_outputs(vqc_exec_call *call, vqc_buffer **spare);

#endif
