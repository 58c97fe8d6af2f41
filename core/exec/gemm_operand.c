#include "core/exec/gemm_operand.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static bool is_aligned(const void *data)
{
    return (uintptr_t)data % sizeof(float) == 0;
}

const float *vqc_operand_f32(vqc_exec_call *call, const vqc_buffer *buffer)
{
    const bool same = buffer->dtype == VQC_DTYPE_FLOAT;
    float *copy;

    if (same && is_aligned(buffer->data)) {
        return (const float *)(const void *)buffer->data;
    }
    copy = vqc_exec_scratch(call, buffer->elements * sizeof *copy);
    for (size_t at = 0; copy != NULL && at < buffer->elements; at += VQC_EXEC_CHUNK) {
        const size_t left = buffer->elements - at;
        const size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;
        vqc_chunk chunk;

        vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, n, &chunk);
        memcpy(copy + at, chunk.f32, n * sizeof *copy);
    }
    return copy;
}

const void *vqc_operand_wide(vqc_exec_call *call, const vqc_buffer *buffer)
{
    size_t size_bytes;
    unsigned char *copy = NULL;

    if (vqc_size_mul(buffer->elements, sizeof(int64_t), &size_bytes)) {
        copy = vqc_exec_scratch(call, size_bytes);
    } else {
        (void)vqc_fail_memory(call->error, size_bytes);
    }
    for (size_t at = 0; copy != NULL && at < buffer->elements; at += VQC_EXEC_CHUNK) {
        const size_t left = buffer->elements - at;
        const size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;
        vqc_chunk chunk;

        vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, n, &chunk);
        memcpy(copy + at * sizeof(int64_t), chunk.i64, n * sizeof(int64_t));
    }
    return copy;
}

float *vqc_operand_target(vqc_exec_call *call, vqc_buffer *buffer)
{
    if (buffer->dtype == VQC_DTYPE_FLOAT) {
        return (float *)(void *)buffer->data;
    }
    return vqc_exec_scratch(call, buffer->elements * sizeof(float));
}

void vqc_operand_store(vqc_buffer *buffer, const float *values)
{
    if (buffer->dtype == VQC_DTYPE_FLOAT) {
        return;
    }
    for (size_t at = 0; at < buffer->elements; at += VQC_EXEC_CHUNK) {
        const size_t left = buffer->elements - at;
        const size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;
        vqc_chunk chunk;

        memcpy(chunk.f32, values + at, n * sizeof *values);
        vqc_element_store(buffer->dtype, VQC_CLASS_F32, &chunk, n, NULL,
                          buffer->data + at * buffer->width);
    }
}

void vqc_operand_store_wide(vqc_buffer *buffer, const void *values)
{
    const unsigned char *from = values;

    for (size_t at = 0; at < buffer->elements; at += VQC_EXEC_CHUNK) {
        const size_t left = buffer->elements - at;
        const size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;
        vqc_chunk chunk;

        memcpy(chunk.i64, from + at * sizeof(int64_t), n * sizeof(int64_t));
        vqc_element_store(buffer->dtype, vqc_class_of(buffer->dtype), &chunk, n, NULL,
                          buffer->data + at * buffer->width);
    }
}

vqc_status vqc_operand_failed(const vqc_exec_call *call)
{
    (void)call;
    return VQC_ERR_INTERNAL;
}

float *vqc_operand_memory(size_t size_bytes)
{
    size_t rounded;

    if (!vqc_size_add(size_bytes, 64, &rounded)) {
        return NULL;
    }
    return aligned_alloc(64, rounded / 64 * 64);
}

float *vqc_operand_copy(const vqc_buffer *buffer)
{
    float *copy = vqc_operand_memory(buffer->elements * sizeof *copy);

    if (copy != NULL && buffer->elements > 0) {
        memcpy(copy, buffer->data, buffer->elements * sizeof *copy);
    }
    return copy;
}
