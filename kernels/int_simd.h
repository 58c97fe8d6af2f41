/* Integer matrix products and requantization over the 16-lane vector; included by simd_bodies.h
 * only. Results: int_c.c. */
#ifndef VQC_KERNELS_INT_SIMD_H
#define VQC_KERNELS_INT_SIMD_H

#include "kernels/int_scalar.h"

/* ---- what the 16-lane vector lacks ---- */

#if defined(__aarch64__)
VQC_INLINE vf vf_divide(vf x, vf y)
{
    return MAP2(vf, vdivq_f32, x, y);
}

/* Pairs of 16 columns: x and y hold 16 codes of two depths. */
VQC_INLINE void int_interleave(const void *x, const void *y, enum vqc_code code, int16_t zero,
                               int16_t *target)
{
    const uint8x16_t a = vld1q_u8(x), b = vld1q_u8(y);
    const uint8x16_t half[2] = {vzip1q_u8(a, b), vzip2q_u8(a, b)};
    for (size_t i = 0; i < 2; i++) {
        const int16x8_t z = vdupq_n_s16(zero);
        int16x8_t lo, hi;
        if (code == VQC_CODE_U8) {
            lo = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(half[i])));
            hi = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(half[i])));
        } else {
            lo = vmovl_s8(vget_low_s8(vreinterpretq_s8_u8(half[i])));
            hi = vmovl_s8(vget_high_s8(vreinterpretq_s8_u8(half[i])));
        }
        vst1q_s16(target + 16 * i, vsubq_s16(lo, z));
        vst1q_s16(target + 16 * i + 8, vsubq_s16(hi, z));
    }
}

/* 16 codes to int16 without their zero point. */
VQC_INLINE void int_widen(const void *x, enum vqc_code code, int16_t zero, int16_t *target)
{
    const uint8x16_t a = vld1q_u8(x);
    const int16x8_t z = vdupq_n_s16(zero);
    int16x8_t lo, hi;
    if (code == VQC_CODE_U8) {
        lo = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(a)));
        hi = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(a)));
    } else {
        lo = vmovl_s8(vget_low_s8(vreinterpretq_s8_u8(a)));
        hi = vmovl_s8(vget_high_s8(vreinterpretq_s8_u8(a)));
    }
    vst1q_s16(target, vsubq_s16(lo, z));
    vst1q_s16(target + 8, vsubq_s16(hi, z));
}
#else
VQC_INLINE vf vf_divide(vf x, vf y)
{
#if VF_NATIVE_PER_VECTOR == 1
    return (vf){_mm512_div_ps(x.v, y.v)};
#else
    return VF2(_mm256_div_ps, x, y);
#endif
}

VQC_INLINE __m256i int_words(__m128i bytes, enum vqc_code code, int16_t zero)
{
    const __m256i words =
        code == VQC_CODE_U8 ? _mm256_cvtepu8_epi16(bytes) : _mm256_cvtepi8_epi16(bytes);
    return _mm256_sub_epi16(words, _mm256_set1_epi16(zero));
}

VQC_INLINE void int_interleave(const void *x, const void *y, enum vqc_code code, int16_t zero,
                               int16_t *target)
{
    const __m128i a = _mm_loadu_si128(x), b = _mm_loadu_si128(y);
    __m256i *to = (__m256i *)(void *)target;
    _mm256_storeu_si256(to, int_words(_mm_unpacklo_epi8(a, b), code, zero));
    _mm256_storeu_si256(to + 1, int_words(_mm_unpackhi_epi8(a, b), code, zero));
}

VQC_INLINE void int_widen(const void *x, enum vqc_code code, int16_t zero, int16_t *target)
{
    _mm256_storeu_si256((__m256i *)(void *)target, int_words(_mm_loadu_si128(x), code, zero));
}
#endif

/* ---- one tile of the product: six vectors of 16 columns ---- */

typedef struct int_tile {
    vi row0, row1, row2, row3, row4, row5;
} int_tile;

#if defined(__aarch64__)
/* Even and odd depths of 16 columns, 8 at a time. */
#define INT_TILE_ROW(row, pair)                                                                    \
    do {                                                                                           \
        row.v[0] = vmlal_lane_s16(row.v[0], vget_low_s16(b0.val[0]), pair, 0);                     \
        row.v[1] = vmlal_lane_s16(row.v[1], vget_high_s16(b0.val[0]), pair, 0);                    \
        row.v[2] = vmlal_lane_s16(row.v[2], vget_low_s16(b1.val[0]), pair, 0);                     \
        row.v[3] = vmlal_lane_s16(row.v[3], vget_high_s16(b1.val[0]), pair, 0);                    \
        row.v[0] = vmlal_lane_s16(row.v[0], vget_low_s16(b0.val[1]), pair, 1);                     \
        row.v[1] = vmlal_lane_s16(row.v[1], vget_high_s16(b0.val[1]), pair, 1);                    \
        row.v[2] = vmlal_lane_s16(row.v[2], vget_low_s16(b1.val[1]), pair, 1);                     \
        row.v[3] = vmlal_lane_s16(row.v[3], vget_high_s16(b1.val[1]), pair, 1);                    \
    } while (0)
VQC_INLINE int16x4_t int_pair(const int16_t *a)
{
    int32_t bits;
    memcpy(&bits, a, sizeof bits);
    return vreinterpret_s16_s32(vdup_n_s32(bits));
}

VQC_INLINE int_tile int_tile_product(const int16_t *a, const int16_t *b, size_t pairs)
{
    const vi zero = vi_set(0);
    int_tile t = {zero, zero, zero, zero, zero, zero};
    for (size_t p = 0; p < pairs; p++) {
        const int16x8x2_t b0 = vld2q_s16(b), b1 = vld2q_s16(b + 16);
        INT_TILE_ROW(t.row0, int_pair(a));
        INT_TILE_ROW(t.row1, int_pair(a + 2));
        INT_TILE_ROW(t.row2, int_pair(a + 4));
        INT_TILE_ROW(t.row3, int_pair(a + 6));
        INT_TILE_ROW(t.row4, int_pair(a + 8));
        INT_TILE_ROW(t.row5, int_pair(a + 10));
        a += VQC_INT_ROWS * 2;
        b += VQC_INT_COLS * 2;
    }
    return t;
}
#else
/* sum + a0 b0 + a1 b1 per lane, for one pair of the left operand and 16 of the right one. */
VQC_INLINE vi int_pair_product(vi sum, const int16_t *a, vi b)
{
    int32_t bits;
    memcpy(&bits, a, sizeof bits);
    const vi pair = vi_set(bits);
#if VF_NATIVE_PER_VECTOR == 1
    return vi_add(sum, (vi){_mm512_madd_epi16(pair.v, b.v)});
#else
    return vi_add(sum, VI2(_mm256_madd_epi16, pair, b));
#endif
}

VQC_INLINE int_tile int_tile_product(const int16_t *a, const int16_t *b, size_t pairs)
{
    const vi zero = vi_set(0);
    int_tile t = {zero, zero, zero, zero, zero, zero};
    for (size_t p = 0; p < pairs; p++) {
        const vi columns = vi_load((const int32_t *)(const void *)b);
        t.row0 = int_pair_product(t.row0, a, columns);
        t.row1 = int_pair_product(t.row1, a + 2, columns);
        t.row2 = int_pair_product(t.row2, a + 4, columns);
        t.row3 = int_pair_product(t.row3, a + 6, columns);
        t.row4 = int_pair_product(t.row4, a + 8, columns);
        t.row5 = int_pair_product(t.row5, a + 10, columns);
        a += VQC_INT_ROWS * 2;
        b += VQC_INT_COLS * 2;
    }
    return t;
}
#endif

VQC_INLINE void int_store_row(int32_t *c, vi x, size_t n, bool accumulate)
{
    if (n == VQC_LANES) {
        vi_store(c, accumulate ? vi_add(x, vi_load(c)) : x);
        return;
    }
    if (accumulate)
        x = vi_add(x, vi_load_n(c, n));
    int32_t lanes[VQC_LANES];
    vi_store(lanes, x);
    memcpy(c, lanes, n * sizeof *c);
}

void KERNEL(s16_s32_gemm)(const int16_t *left, size_t left_panel, const int16_t *right,
                          size_t right_panel, size_t rows, size_t cols, size_t pairs,
                          bool accumulate, int32_t *c, size_t c_stride)
{
    for (size_t j = 0; j < cols; j += VQC_INT_COLS) {
        const size_t n = vqc_min_size(cols - j, VQC_INT_COLS);
        for (size_t i = 0; i < rows; i += VQC_INT_ROWS) {
            const int_tile t = int_tile_product(left + i / VQC_INT_ROWS * left_panel,
                                                right + j / VQC_INT_COLS * right_panel, pairs);
            const size_t m = vqc_min_size(rows - i, VQC_INT_ROWS);
            int32_t *target = c + i * c_stride + j;
            int_store_row(target, t.row0, n, accumulate);
            if (m > 1)
                int_store_row(target + c_stride, t.row1, n, accumulate);
            if (m > 2)
                int_store_row(target + 2 * c_stride, t.row2, n, accumulate);
            if (m > 3)
                int_store_row(target + 3 * c_stride, t.row3, n, accumulate);
            if (m > 4)
                int_store_row(target + 4 * c_stride, t.row4, n, accumulate);
            if (m > 5)
                int_store_row(target + 5 * c_stride, t.row5, n, accumulate);
        }
    }
}

/* sum + x[i] w for 16 values of x. */
VQC_INLINE vi int_tap(vi sum, const int16_t *x, int16_t weight)
{
#if defined(__aarch64__)
    for (size_t i = 0; i < 4; i++)
        sum.v[i] = vmlal_n_s16(sum.v[i], vld1_s16(x + 4 * i), weight);
    return sum;
#else
    const int16_t pair[2] = {weight, 0}; /* the upper halves are the sign and count nothing */
    return int_pair_product(sum, pair, vi_load_code(x, VQC_CODE_S16));
#endif
}

void KERNEL(s16_s32_taps)(const int16_t *x, size_t n, const int32_t *offsets,
                          const int16_t *weights, size_t taps, int32_t *sums)
{
    for (size_t i = 0; i < n; i += 2 * VQC_LANES) {
        const int16_t *at = x + i;
        vi low = vi_set(0), high = vi_set(0);
        if (i + VQC_LANES >= n) {
            for (size_t t = 0; t < taps; t++)
                low = int_tap(low, at + offsets[t], weights[t]);
            vi_store(sums + i, low);
            return;
        }
        for (size_t t = 0; t < taps; t++) {
            low = int_tap(low, at + offsets[t], weights[t]);
            high = int_tap(high, at + offsets[t] + VQC_LANES, weights[t]);
        }
        vi_store(sums + i, low);
        vi_store(sums + i + VQC_LANES, high);
    }
}

/* ---- packing ---- */

VQC_INLINE void int_pack_rows(const void *x, enum vqc_code code, size_t rows, size_t depth,
                              size_t x_stride, int32_t zero_point, size_t width, int16_t *packed,
                              size_t panel)
{
    for (size_t r = 0; r < rows; r++) {
        char *target = (char *)(packed + r / width * panel + r % width * 2);
        const size_t step = width * 2 * sizeof *packed;
        const char *row = (const char *)x + r * x_stride;
        size_t d = 0;
        for (; d + 16 <= depth; d += 16) {
            int16_t words[16];
            int_widen(row + d, code, (int16_t)zero_point, words);
            for (size_t i = 0; i < 8; i++, target += step)
                memcpy(target, words + 2 * i, 2 * sizeof *words);
        }
        for (; d < depth; d += 2, target += step) {
            const int32_t second = d + 1 < depth ? int_code(row, d + 1, code) - zero_point : 0;
            const int16_t pair[2] = {(int16_t)(int_code(row, d, code) - zero_point),
                                     (int16_t)second};
            memcpy(target, pair, sizeof pair);
        }
    }
    for (size_t r = rows; r % width != 0; r++)
        for (size_t p = 0; p < (depth + 1) / 2; p++)
            memset(packed + r / width * panel + (p * width + r % width) * 2, 0, 2 * sizeof *packed);
}

VQC_INLINE void int_pack_cols(const void *x, enum vqc_code code, size_t depth, size_t cols,
                              size_t x_stride, int32_t zero_point, size_t width, int16_t *packed,
                              size_t panel)
{
    size_t c = 0;
    uint8_t zeros[VQC_INT_COLS];
    memset(zeros, (uint8_t)zero_point, sizeof zeros);
    for (; width == VQC_INT_COLS && c + VQC_INT_COLS <= cols; c += VQC_INT_COLS) {
        int16_t *target = packed + c / VQC_INT_COLS * panel;
        const char *row = (const char *)x + c;
        for (size_t d = 0; d < depth; d += 2) {
            int_interleave(row, d + 1 < depth ? row + x_stride : (const char *)zeros, code,
                           (int16_t)zero_point, target);
            row += 2 * x_stride;
            target += VQC_INT_COLS * 2;
        }
    }
    int_pack_cols_scalar(x, code, depth, c, cols, x_stride, zero_point, width, packed, panel);
}

/* ---- requantization ---- */

/* The bounds of one quantization. */
typedef struct int_bounds {
    vf low, high;
    vi zero_point;
} int_bounds;

VQC_INLINE int_bounds int_bounds_of(enum vqc_code code, int32_t zero_point)
{
    return (int_bounds){vf_set(int_low(code, zero_point)), vf_set(int_high(code, zero_point)),
                        vi_set(zero_point)};
}

VQC_INLINE vi int_round_codes(vf t, const int_bounds *b)
{
    t = vf_nan_to_zero(t);
    t = vf_min(vf_max(t, b->low), b->high);
    return vi_add(vi_round(t), b->zero_point);
}

VQC_INLINE void int_requantize(const int32_t *acc, size_t rows, size_t cols, size_t acc_stride,
                               const int32_t *bias, const float *scale, bool by_row,
                               int32_t zero_point, enum vqc_code code, uint8_t *q, size_t q_stride)
{
    const int_bounds bounds = int_bounds_of(code, zero_point);
    for (size_t r = 0; r < rows; r++) {
        const int32_t *a = acc + r * acc_stride;
        uint8_t *to = q + r * q_stride;
        vf by = vf_set(by_row ? scale[r] : 0.0f);
        vi plus = vi_set(by_row && bias != NULL ? bias[r] : 0);
        for (size_t c = 0; c < cols; c += VQC_LANES) {
            const size_t n = vqc_min_size(cols - c, VQC_LANES);
            const bool full = n == VQC_LANES;
            if (!by_row) {
                by = full ? vf_load(scale + c) : vf_load_n(scale + c, n, 0.0f);
                if (bias != NULL)
                    plus = full ? vi_load(bias + c) : vi_load_n(bias + c, n);
            }
            const vi sum = vi_add(full ? vi_load(a + c) : vi_load_n(a + c, n), plus);
            const vi codes = int_round_codes(vf_mul(vf_from_int(sum), by), &bounds);
            if (full)
                vi_store_code(to + c, code, codes);
            else
                vi_store_code_n(to + c, n, code, codes);
        }
    }
}

VQC_INLINE void int_divide_quantize(const float *x, size_t n, float scale, int32_t zero_point,
                                    enum vqc_code code, uint8_t *q)
{
    const int_bounds bounds = int_bounds_of(code, zero_point);
    const vf by = vf_set(scale);
    size_t i = 0;
    for (; i + VQC_LANES <= n; i += VQC_LANES)
        vi_store_code(q + i, code, int_round_codes(vf_divide(vf_load(x + i), by), &bounds));
    if (i < n)
        vi_store_code_n(q + i, n - i, code,
                        int_round_codes(vf_divide(vf_load_n(x + i, n - i, 0.0f), by), &bounds));
}

#define INT_CODES(t, T, CODE)                                                                      \
    void KERNEL(t##_s16_pack_rows)(const T *x, size_t rows, size_t depth, size_t x_stride,         \
                                   int32_t zero_point, size_t width, int16_t *packed,              \
                                   size_t panel)                                                   \
    {                                                                                              \
        int_pack_rows(x, CODE, rows, depth, x_stride, zero_point, width, packed, panel);           \
    }                                                                                              \
    void KERNEL(t##_s16_pack_cols)(const T *x, size_t depth, size_t cols, size_t x_stride,         \
                                   int32_t zero_point, size_t width, int16_t *packed,              \
                                   size_t panel)                                                   \
    {                                                                                              \
        int_pack_cols(x, CODE, depth, cols, x_stride, zero_point, width, packed, panel);           \
    }                                                                                              \
    void KERNEL(s32_##t##_requantize_rows)(                                                        \
        const int32_t *acc, size_t rows, size_t cols, size_t acc_stride, const int32_t *bias,      \
        const float *scale, int32_t zero_point, T *q, size_t q_stride)                             \
    {                                                                                              \
        int_requantize(acc, rows, cols, acc_stride, bias, scale, true, zero_point, CODE,           \
                       (uint8_t *)q, q_stride);                                                    \
    }                                                                                              \
    void KERNEL(s32_##t##_requantize_cols)(                                                        \
        const int32_t *acc, size_t rows, size_t cols, size_t acc_stride, const int32_t *bias,      \
        const float *scale, int32_t zero_point, T *q, size_t q_stride)                             \
    {                                                                                              \
        int_requantize(acc, rows, cols, acc_stride, bias, scale, false, zero_point, CODE,          \
                       (uint8_t *)q, q_stride);                                                    \
    }                                                                                              \
    void KERNEL(f32_##t##_divide_quantize)(const float *x, size_t n, float scale,                  \
                                           int32_t zero_point, T *q)                               \
    {                                                                                              \
        int_divide_quantize(x, n, scale, zero_point, CODE, (uint8_t *)q);                          \
    }
INT_CODES(u8, uint8_t, VQC_CODE_U8)
INT_CODES(s8, int8_t, VQC_CODE_S8)

void KERNEL(s32_f32_scale_cols)(const int32_t *acc, size_t rows, size_t cols, size_t acc_stride,
                                const float *scale, const float *bias, float *x, size_t x_stride)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c += VQC_LANES) {
            const size_t n = vqc_min_size(cols - c, VQC_LANES);
            const int32_t *a = acc + r * acc_stride + c;
            float *to = x + r * x_stride + c;
            if (n == VQC_LANES) {
                vf value = vf_mul(vf_from_int(vi_load(a)), vf_load(scale + c));
                if (bias != NULL)
                    value = vf_add(value, vf_load(bias + c));
                vf_store(to, value);
            } else {
                vf value = vf_mul(vf_from_int(vi_load_n(a, n)), vf_load_n(scale + c, n, 0.0f));
                if (bias != NULL)
                    value = vf_add(value, vf_load_n(bias + c, n, 0.0f));
                vf_store_n(to, n, value);
            }
        }
}

#endif
