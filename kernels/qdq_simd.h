/* Quantize kernels that divide, over the 16-lane vector; included by simd_bodies.h only. Results:
 * qdq_c.c. */
#ifndef VQC_KERNELS_QDQ_SIMD_H
#define VQC_KERNELS_QDQ_SIMD_H

#include "kernels/int_simd.h"

/* Parameters of one vector of elements. */
typedef struct qdq_lanes {
    vf scale, low, high; /* bounds of the code less its zero point */
    vi zero_point;
} qdq_lanes;

VQC_INLINE qdq_lanes qdq_lanes_of(vf scale, vi zero_point, enum vqc_code code)
{
    const int32_t low = code == VQC_CODE_S8 ? -128 : code == VQC_CODE_S16 ? -32768 : 0;
    const int32_t high = low + (vqc_code_size(code) == 1 ? 255 : 65535);
    return (qdq_lanes){.scale = scale,
                       .low = vf_from_int(vi_sub(vi_set(low), zero_point)),
                       .high = vf_from_int(vi_sub(vi_set(high), zero_point)),
                       .zero_point = zero_point};
}

VQC_INLINE vi qdq_codes(vf x, const qdq_lanes *l)
{
    vf t = vf_nan_to_zero(vf_divide(x, l->scale));
    t = vf_min(vf_max(t, l->low), l->high);
    return vi_add(vi_round(t), l->zero_point);
}

VQC_INLINE void qdq_divide(const float *x, size_t n, float scale, int32_t zero_point,
                           enum vqc_code code, void *q)
{
    const qdq_lanes l = qdq_lanes_of(vf_set(scale), vi_set(zero_point), code);
    const size_t size = vqc_code_size(code);
    size_t i = 0;
    for (; i + VQC_LANES <= n; i += VQC_LANES) {
        vqc_prefetch(x + i);
        vi_store_code((char *)q + i * size, code, qdq_codes(vf_load(x + i), &l));
    }
    if (i < n)
        vi_store_code_n((char *)q + i * size, n - i, code,
                        qdq_codes(vf_load_n(x + i, n - i, 0.0f), &l));
}

VQC_INLINE void qdq_divide_cols(const float *x, size_t rows, size_t cols, size_t x_stride,
                                const float *scale, const int32_t *zero_point, enum vqc_code code,
                                void *q, size_t q_stride)
{
    const size_t size = vqc_code_size(code);
    for (size_t r = 0; r < rows; r++) {
        const float *row = x + r * x_stride;
        char *to = (char *)q + r * q_stride * size;
        for (size_t c = 0; c < cols; c += VQC_LANES) {
            const size_t n = vqc_min_size(cols - c, VQC_LANES);
            const bool full = n == VQC_LANES;
            const vf by = full ? vf_load(scale + c) : vf_load_n(scale + c, n, 1.0f);
            const vi zero = zero_point == NULL ? vi_set(0)
                            : full             ? vi_load(zero_point + c)
                                               : vi_load_n(zero_point + c, n);
            const qdq_lanes l = qdq_lanes_of(by, zero, code);
            if (full)
                vi_store_code(to + c * size, code, qdq_codes(vf_load(row + c), &l));
            else
                vi_store_code_n(to + c * size, n, code, qdq_codes(vf_load_n(row + c, n, 0.0f), &l));
        }
    }
}

#define QDQ_FLAT(t, T, CODE)                                                                       \
    void KERNEL(f32_##t##_divide_quantize)(const float *x, size_t n, float scale,                  \
                                           int32_t zero_point, T *q)                               \
    {                                                                                              \
        qdq_divide(x, n, scale, zero_point, CODE, q);                                              \
    }

#define QDQ_COLS(t, T, CODE)                                                                       \
    void KERNEL(f32_##t##_divide_quantize_cols)(const float *x, size_t rows, size_t cols,          \
                                                size_t x_stride, const float *scale,               \
                                                const int32_t *zero_point, T *q, size_t q_stride)  \
    {                                                                                              \
        qdq_divide_cols(x, rows, cols, x_stride, scale, zero_point, CODE, q, q_stride);            \
    }

QDQ_FLAT(u16, uint16_t, VQC_CODE_U16)
QDQ_FLAT(s16, int16_t, VQC_CODE_S16)
QDQ_COLS(u8, uint8_t, VQC_CODE_U8)
QDQ_COLS(s8, int8_t, VQC_CODE_S8)
QDQ_COLS(u16, uint16_t, VQC_CODE_U16)
QDQ_COLS(s16, int16_t, VQC_CODE_S16)

#endif
