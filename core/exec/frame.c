#include "core/exec/frame.h"

#include <stdlib.h>

#include "core/memory.h"

enum { ALIGNMENT = 64 };

void *vqc_exec_scratch(vqc_exec_call *call, size_t size_bytes)
{
    vqc_exec_frame *frame = call->frame;
    size_t rounded;
    void *memory;

    if (frame->block_count == frame->block_capacity) {
        size_t capacity = frame->block_capacity * 2 + 8;
        void **blocks = realloc(frame->blocks, capacity * sizeof *blocks);
        if (blocks == NULL) {
            (void)vqc_fail_memory(call->error, capacity * sizeof *blocks);
            return NULL;
        }
        frame->blocks = blocks;
        frame->block_capacity = capacity;
    }
    if (!vqc_size_add(size_bytes, ALIGNMENT, &rounded)) {
        (void)vqc_fail_memory(call->error, size_bytes);
        return NULL;
    }
    memory = aligned_alloc(ALIGNMENT, rounded - rounded % ALIGNMENT);
    if (memory == NULL) {
        (void)vqc_fail_memory(call->error, size_bytes);
        return NULL;
    }
    frame->blocks[frame->block_count++] = memory;
    return memory;
}

vqc_status vqc_exec_subgraph(vqc_exec_call *call, const char *name, const vqc_buffer *const *inputs,
                             size_t input_count, vqc_buffer **outputs, size_t output_count)
{
    if (call->frame->subgraph == NULL) {
        return vqc_exec_fail(call, "subgraph \"%s\" cannot be run while constants are computed",
                             name);
    }
    return call->frame->subgraph(call, name, inputs, input_count, outputs, output_count);
}

void vqc_exec_frame_reset(vqc_exec_frame *frame)
{
    for (size_t i = 0; i < frame->block_count; i++) {
        free(frame->blocks[i]);
    }
    frame->block_count = 0;
}

void vqc_exec_frame_clear(vqc_exec_frame *frame)
{
    vqc_exec_frame_reset(frame);
    free(frame->blocks);
    frame->blocks = NULL;
    frame->block_capacity = 0;
}
