#include "core/exec/working.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/gemm.h"
#include "core/memory.h"

size_t vqc_class_width(vqc_class class)
{
    return class == VQC_CLASS_F32 ? 4 : 8;
}

static bool is_native(const vqc_buffer *buffer, vqc_class class)
{
    static const int32_t NATIVE[VQC_CLASS_COUNT] = {
        [VQC_CLASS_F32] = VQC_DTYPE_FLOAT,
        [VQC_CLASS_F64] = VQC_DTYPE_DOUBLE,
        [VQC_CLASS_I64] = VQC_DTYPE_INT64,
        [VQC_CLASS_U64] = VQC_DTYPE_UINT64,
    };

    return buffer->dtype == NATIVE[class] && (uintptr_t)buffer->data % vqc_class_width(class) == 0;
}

const void *vqc_exec_values(vqc_exec_call *call, const vqc_buffer *buffer, vqc_class class)
{
    vqc_class from = vqc_class_of(buffer->dtype);
    size_t width = vqc_class_width(class);
    unsigned char *values;
    vqc_chunk chunk;

    if (is_native(buffer, class)) {
        return buffer->data;
    }
    values = vqc_exec_scratch_array(call, buffer->elements, 1, width, false);
    for (size_t i = 0; values != NULL && i < buffer->elements; i += VQC_EXEC_CHUNK) {
        size_t n = buffer->elements - i < VQC_EXEC_CHUNK ? buffer->elements - i : VQC_EXEC_CHUNK;
        vqc_element_load(buffer->dtype, buffer->data + i * buffer->width, n, &chunk);
        vqc_element_convert(&chunk, from, class, n);
        memcpy(values + i * width, chunk.raw, n * width);
    }
    return values;
}

void *vqc_exec_target(vqc_exec_call *call, const vqc_buffer *out, vqc_class class)
{
    if (is_native(out, class)) {
        return out->data;
    }
    return vqc_exec_scratch_array(call, out->elements, 1, vqc_class_width(class), false);
}

void vqc_exec_target_store(vqc_buffer *out, vqc_class class, void *values)
{
    const unsigned char *from = values;
    size_t width = vqc_class_width(class);
    vqc_chunk chunk;

    if (values == out->data) {
        return;
    }
    for (size_t i = 0; i < out->elements; i += VQC_EXEC_CHUNK) {
        size_t n = out->elements - i < VQC_EXEC_CHUNK ? out->elements - i : VQC_EXEC_CHUNK;

        memcpy(chunk.raw, from + i * width, n * width);
        vqc_element_store(out->dtype, class, &chunk, n, NULL, out->data + i * out->width);
    }
}

void *vqc_exec_scratch_array(vqc_exec_call *call, size_t a, size_t b, size_t width, bool zeroed)
{
    size_t size_bytes;
    void *memory;

    if (!vqc_size_mul(a, b, &size_bytes) || !vqc_size_mul(size_bytes, width, &size_bytes)) {
        (void)vqc_fail_memory(call->error, SIZE_MAX);
        return NULL;
    }
    memory = vqc_exec_scratch(call, size_bytes);
    if (memory != NULL && zeroed) {
        memset(memory, 0, size_bytes);
    }
    return memory;
}

vqc_status vqc_exec_expect(vqc_exec_call *call, size_t index, int32_t dtype, size_t rank,
                           const int64_t *dims)
{
    const vqc_buffer *buffer = vqc_exec_input(call, index);

    if (buffer == NULL) {
        return VQC_OK;
    }
    if (dtype != 0 && buffer->dtype != dtype) {
        return vqc_exec_fail(call, "input %zu: got type %s, expected %s", index,
                             vqc_dtype_describe(buffer->dtype)->name,
                             vqc_dtype_describe(dtype)->name);
    }
    if (buffer->rank != rank) {
        return vqc_exec_fail(call, "input %zu: got rank %zu, expected %zu", index, buffer->rank,
                             rank);
    }
    for (size_t i = 0; dims != NULL && i < rank; i++) {
        if (dims[i] >= 0 && dims[i] != buffer->dims[i]) {
            return vqc_exec_fail(call, "input %zu: axis %zu is %lld, expected %lld", index, i,
                                 (long long)buffer->dims[i], (long long)dims[i]);
        }
    }
    return VQC_OK;
}

/* Rows of c += a b in panels of columns that stay in the level 1 cache. */
#define DEFINE_MULTIPLY(name, type)                                                                \
    static void name(const type *a, const type *b, size_t b_stride, type *restrict c, size_t k,    \
                     size_t from, size_t to)                                                       \
    {                                                                                              \
        for (size_t p = 0; p < k; p++) {                                                           \
            const type *row = b + p * b_stride;                                                    \
            type factor = a[p];                                                                    \
            _Pragma("omp simd") for (size_t j = from; j < to; j++)                                 \
            {                                                                                      \
                c[j] += factor * row[j];                                                           \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE_MULTIPLY(multiply_f64, double)
DEFINE_MULTIPLY(multiply_u64, uint64_t)

/* The float32 product without memory for a packed block: the same chains. */
static void multiply_f32(const float *a, const float *b, size_t b_stride, float *c, size_t k,
                         size_t from, size_t to)
{
    for (size_t p = 0; p < k; p++) {
        for (size_t j = from; j < to; j++) {
            c[j] = fmaf(a[p], b[p * b_stride + j], c[j]);
        }
    }
}

enum { PANEL = 256, THREAD_WORK = 1 << 20 };

/* False when there is no memory for the block of b that is packed on the way. */
static bool multiply_packed(vqc_rows a, vqc_rows b, float *c, size_t c_stride, size_t m, size_t k,
                            size_t n, int threads)
{
    vqc_gemm_item item = {.a = a.data, .b = b.data, .c = c};
    vqc_gemm g = {.m = m,
                  .n = n,
                  .k = k,
                  .c_stride = c_stride,
                  .left = vqc_gemm_left_rows(m, a.stride),
                  .right = vqc_gemm_right_rows(b.stride),
                  .accumulate = true,
                  .threads = threads > 1 ? threads : 1,
                  .items = &item,
                  .item_count = 1};
    size_t size_bytes = vqc_gemm_scratch_bytes(&g);
    float small[512];
    float *scratch = size_bytes <= sizeof small ? small : malloc(size_bytes);

    if (scratch == NULL) {
        return false;
    }
    vqc_gemm_run(&g, scratch);
    if (scratch != small) {
        free(scratch);
    }
    return true;
}

void vqc_exec_multiply_rows(vqc_class class, vqc_rows a, vqc_rows b, void *c, size_t c_stride,
                            size_t m, size_t k, size_t n, int threads)
{
    if (m == 0 || k == 0 || n == 0 ||
        (class == VQC_CLASS_F32 && multiply_packed(a, b, c, c_stride, m, k, n, threads))) {
        return;
    }
#pragma omp parallel for num_threads(threads)                                                      \
    schedule(static) if (threads > 1 && (double)m * (double)n * (double)k >= THREAD_WORK)
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j += PANEL) {
            size_t to = n - j < PANEL ? n : j + PANEL;
            if (class == VQC_CLASS_F32) {
                multiply_f32((const float *)a.data + i * a.stride, b.data, b.stride,
                             (float *)c + i * c_stride, k, j, to);
            } else if (class == VQC_CLASS_F64) {
                multiply_f64((const double *)a.data + i * a.stride, b.data, b.stride,
                             (double *)c + i * c_stride, k, j, to);
            } else {
                multiply_u64((const uint64_t *)a.data + i * a.stride, b.data, b.stride,
                             (uint64_t *)c + i * c_stride, k, j, to);
            }
        }
    }
}

void vqc_exec_multiply(vqc_class class, const void *a, const void *b, void *c, size_t m, size_t k,
                       size_t n, int threads)
{
    vqc_exec_multiply_rows(class, (vqc_rows){a, k}, (vqc_rows){b, n}, c, n, m, k, n, threads);
}
