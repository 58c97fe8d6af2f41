#include "core/exec/exec_index.h"

#include <math.h>
#include <string.h>

#include "core/graph.h"

size_t vqc_exec_product(const int64_t *dims, size_t from, size_t to)
{
    size_t result = 1;

    for (size_t i = from; i < to; i++) {
        result *= (size_t)dims[i];
    }
    return result;
}

vqc_status vqc_exec_check_indices(vqc_exec_call *call, const vqc_buffer *indices, bool allow_int32)
{
    if (indices->dtype == VQC_DTYPE_INT64 || (indices->dtype == VQC_DTYPE_INT32 && allow_int32)) {
        return VQC_OK;
    }
    return vqc_exec_fail(call, "indices: got %s, expected %s",
                         vqc_dtype_describe(indices->dtype)->name,
                         allow_int32 ? "int32 or int64" : "int64");
}

vqc_status vqc_exec_bad_index(vqc_exec_call *call, size_t position, size_t extent)
{
    return vqc_exec_fail(call, "indices: entry %zu is out of range, expected one within %zu",
                         position, extent);
}

vqc_status vqc_exec_choice(vqc_exec_call *call, const char *name, const char *const *choices,
                           size_t count, size_t *chosen)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, name);

    *chosen = 0;
    if (attr == NULL) {
        return VQC_OK;
    }
    for (size_t i = 0; i < count; i++) {
        if (attr->s.len == strlen(choices[i]) &&
            memcmp(attr->s.data, choices[i], attr->s.len) == 0) {
            *chosen = i;
            return VQC_OK;
        }
    }
    return vqc_exec_fail(call, "attribute \"%s\": got \"%.*s\"", name,
                         attr->s.len > 80 ? 80 : (int)attr->s.len,
                         attr->s.len > 0 ? (const char *)attr->s.data : "");
}

/* Sign and magnitude to an unsigned order; adding 0 makes -0 +0. */
static uint64_t float_key(float value)
{
    uint32_t bits;

    value += 0.0f;
    if (isnan(value)) {
        return UINT32_MAX;
    }
    memcpy(&bits, &value, sizeof bits);
    return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

static uint64_t double_key(double value)
{
    uint64_t bits;

    value += 0.0;
    if (isnan(value)) {
        return UINT64_MAX;
    }
    memcpy(&bits, &value, sizeof bits);
    return (bits >> 63) != 0 ? ~bits : bits | (uint64_t)1 << 63;
}

static void chunk_keys(vqc_class class, const vqc_chunk *chunk, size_t n, uint64_t *keys)
{
    for (size_t i = 0; i < n; i++) {
        switch (class) {
        case VQC_CLASS_F32:
            keys[i] = float_key(chunk->f32[i]);
            break;
        case VQC_CLASS_F64:
            keys[i] = double_key(chunk->f64[i]);
            break;
        case VQC_CLASS_I64:
            keys[i] = chunk->u64[i] ^ (uint64_t)1 << 63;
            break;
        default:
            keys[i] = chunk->u64[i];
            break;
        }
    }
}

void vqc_exec_order_keys(const vqc_buffer *buffer, size_t start, size_t stride, size_t n,
                         uint64_t *keys)
{
    unsigned char together[VQC_EXEC_CHUNK * 8];
    vqc_chunk chunk;
    size_t width = buffer->width;

    for (size_t at = 0; at < n; at += VQC_EXEC_CHUNK) {
        size_t count = n - at < VQC_EXEC_CHUNK ? n - at : VQC_EXEC_CHUNK;
        const unsigned char *from = buffer->data + (start + at * stride) * width;

        if (stride != 1) {
            for (size_t i = 0; i < count; i++) { /* numbers have at most 8 bytes */
                memcpy(together + i * width, from + i * stride * width, width);
            }
            from = together;
        }
        vqc_element_load(buffer->dtype, from, count, &chunk);
        chunk_keys(vqc_class_of(buffer->dtype), &chunk, count, keys + at);
    }
}
