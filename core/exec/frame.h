/* What the executor behind a node gives it while it runs. */
#ifndef VQC_CORE_EXEC_FRAME_H
#define VQC_CORE_EXEC_FRAME_H

#include <stddef.h>

#include "core/exec/exec_op.h"

/* Runs a subgraph of call->node; see vqc_exec_subgraph. */
typedef vqc_status vqc_subgraph_fn(vqc_exec_call *call, const char *name,
                                   const vqc_buffer *const *inputs, size_t input_count,
                                   vqc_buffer **outputs, size_t output_count);

/* One per thread, reused from node to node. All zero is a valid frame that runs no subgraphs. */
typedef struct vqc_exec_frame {
    void **blocks; /* [block_count] scratch memory of the node that runs */
    size_t block_count;
    size_t block_capacity;
    vqc_subgraph_fn *subgraph; /* NULL: the executor runs no subgraphs */
    void *context;             /* the executor's */
} vqc_exec_frame;

/* Frees the scratch memory of the last node. */
void vqc_exec_frame_reset(vqc_exec_frame *frame);

/* Frees everything that the frame owns. */
void vqc_exec_frame_clear(vqc_exec_frame *frame);

#endif
