/* Quantize and dequantize kernels over the 16-lane vector; included by simd_bodies.h only.
 * Results: quantize_c.c. */
#ifndef VQC_KERNELS_SIMD_QUANTIZE_H
#define VQC_KERNELS_SIMD_QUANTIZE_H

#include "kernels/simd_stats.h"

enum layout { LAYOUT_ROWS, LAYOUT_COLS };

/* Parameters of one call; arrays are [rows] or [cols]; zero_point may be NULL. */
typedef struct params {
    const float *scale; /* NULL where nothing is decoded */
    const float *inv_scale;
    const int32_t *zero_point;
    int32_t lo, hi;
} params;

/* The same for one vector of elements. */
typedef struct lane_params {
    vf scale, inv_scale, t_lo, t_hi;
    vi zero_point;
} lane_params;

typedef struct error_lanes {
    vf err2, ref2, max_abs;
    size_t pending;
} error_lanes;

VQC_INLINE lane_params params_of_row(const params *p, size_t r)
{
    const int32_t zero_point = p->zero_point != NULL ? p->zero_point[r] : 0;
    return (lane_params){.scale = vf_set(p->scale != NULL ? p->scale[r] : 0.0f),
                         .inv_scale = vf_set(p->inv_scale[r]),
                         .t_lo = vf_set((float)(p->lo - zero_point)),
                         .t_hi = vf_set((float)(p->hi - zero_point)),
                         .zero_point = vi_set(zero_point)};
}

VQC_INLINE lane_params params_of_cols(const params *p, bool has_zero_point, size_t c, size_t n)
{
    const bool full = n == VQC_LANES;
    lane_params l;
    l.scale = vf_set(0.0f);
    l.zero_point = vi_set(0);
    l.inv_scale = full ? vf_load(p->inv_scale + c) : vf_load_n(p->inv_scale + c, n, 0.0f);
    if (p->scale != NULL)
        l.scale = full ? vf_load(p->scale + c) : vf_load_n(p->scale + c, n, 0.0f);
    if (!has_zero_point) {
        l.t_lo = vf_set((float)p->lo);
        l.t_hi = vf_set((float)p->hi);
    } else {
        l.zero_point = full ? vi_load(p->zero_point + c) : vi_load_n(p->zero_point + c, n);
        l.t_lo = vf_from_int(vi_sub(vi_set(p->lo), l.zero_point));
        l.t_hi = vf_from_int(vi_sub(vi_set(p->hi), l.zero_point));
    }
    return l;
}

/* q - zero_point. */
VQC_INLINE vi quantize_lanes(vf x, const lane_params *l)
{
    vf t = vf_nan_to_zero(vf_mul(x, l->inv_scale));
    t = vf_max(t, l->t_lo);
    t = vf_min(t, l->t_hi);
    return vi_round(t);
}

VQC_INLINE void error_step(error_lanes *e, vf x, vf err)
{
    e->err2 = vf_add(e->err2, vf_mul(err, err));
    e->ref2 = vf_add(e->ref2, vf_mul(x, x));
    e->max_abs = vf_max(vf_abs(err), e->max_abs);
}

VQC_INLINE void error_flush(error_lanes *e, vqc_error_sums *acc)
{
    acc->sum_err2 += vf_sum(e->err2);
    acc->sum_ref2 += vf_sum(e->ref2);
    acc->count += e->pending;
    e->err2 = e->ref2 = vf_set(0.0f);
    e->pending = 0;
}

/* What is known at compile time about a call: each combination becomes a loop of its own. */
typedef struct variant {
    enum layout layout;
    enum vqc_code code;
    bool with_error;
    bool has_zero_point; /* looked at for LAYOUT_COLS only */
} variant;

/* One row from column c0 to c1. */
VQC_INLINE void quantize_span(const float *x, size_t c0, size_t c1, const params *p, lane_params l,
                              variant is, void *q, error_lanes *e)
{
    const size_t code_size = vqc_code_size(is.code);
    size_t c = c0;
    for (; c + VQC_LANES <= c1; c += VQC_LANES) {
        if (is.layout == LAYOUT_COLS)
            l = params_of_cols(p, is.has_zero_point, c, VQC_LANES);
        vqc_prefetch(x + c);
        const vf v = vf_load(x + c);
        const vi t = quantize_lanes(v, &l);
        vi_store_code((char *)q + c * code_size, is.code, vi_add(t, l.zero_point));
        if (is.with_error)
            error_step(e, v, vf_sub(v, vf_mul(vf_from_int(t), l.scale)));
    }
    if (c < c1) {
        const size_t n = c1 - c;
        if (is.layout == LAYOUT_COLS)
            l = params_of_cols(p, is.has_zero_point, c, n);
        const vf v = vf_load_n(x + c, n, 0.0f);
        const vi t = quantize_lanes(v, &l);
        vi_store_code_n((char *)q + c * code_size, n, is.code, vi_add(t, l.zero_point));
        /* The unused lanes hold 0, which need not decode to 0 when it is outside lo .. hi. */
        if (is.with_error)
            error_step(e, v, vf_keep_first(vf_sub(v, vf_mul(vf_from_int(t), l.scale)), n));
    }
}

VQC_INLINE void quantize_body(const float *x, size_t rows, size_t cols, size_t x_stride,
                              const params *p, variant is, void *q, size_t q_stride,
                              vqc_error_sums *acc)
{
    error_lanes e = {.pending = 0};
    e.err2 = e.ref2 = e.max_abs = vf_set(0.0f);
    lane_params l = {.scale = vf_set(0.0f)};
    for (size_t r = 0; r < rows; r++) {
        void *q_row = (char *)q + r * q_stride * vqc_code_size(is.code);
        if (is.layout == LAYOUT_ROWS)
            l = params_of_row(p, r);
        for (size_t c0 = 0; c0 < cols; c0 += VQC_CHUNK) {
            const size_t c1 = c0 + vqc_min_size(VQC_CHUNK, cols - c0);
            quantize_span(x + r * x_stride, c0, c1, p, l, is, q_row, &e);
            e.pending += c1 - c0;
            if (is.with_error && e.pending >= VQC_CHUNK)
                error_flush(&e, acc);
        }
    }
    if (is.with_error) {
        if (e.pending > 0)
            error_flush(&e, acc);
        acc->max_abs_err = vqc_lane_max(vf_largest(e.max_abs), acc->max_abs_err);
    }
}

/* _cols: symmetric weights have no zero points, which saves a third of the parameter loads. */
VQC_INLINE void quantize_cols(const float *x, size_t rows, size_t cols, size_t x_stride,
                              const params *p, enum vqc_code code, void *q, size_t q_stride,
                              bool with_error, vqc_error_sums *acc)
{
    const variant symmetric = {LAYOUT_COLS, code, with_error, false};
    const variant general = {LAYOUT_COLS, code, with_error, true};
    if (p->zero_point == NULL)
        quantize_body(x, rows, cols, x_stride, p, symmetric, q, q_stride, acc);
    else
        quantize_body(x, rows, cols, x_stride, p, general, q, q_stride, acc);
}

VQC_INLINE void dequantize_body(const void *q, size_t rows, size_t cols, size_t q_stride,
                                const float *scale, const int32_t *zero_point, enum layout layout,
                                enum vqc_code code, float *x, size_t x_stride)
{
    vf s = vf_set(0.0f);
    vi z = vi_set(0);
    for (size_t r = 0; r < rows; r++) {
        const char *q_row = (const char *)q + r * q_stride * vqc_code_size(code);
        float *x_row = x + r * x_stride;
        if (layout == LAYOUT_ROWS) {
            s = vf_set(scale[r]);
            z = vi_set(zero_point != NULL ? zero_point[r] : 0);
        }
        size_t c = 0;
        for (; c + VQC_LANES <= cols; c += VQC_LANES) {
            if (layout == LAYOUT_COLS) {
                s = vf_load(scale + c);
                if (zero_point != NULL)
                    z = vi_load(zero_point + c);
            }
            vqc_prefetch(q_row + c * vqc_code_size(code));
            const vi t = vi_sub(vi_load_code(q_row + c * vqc_code_size(code), code), z);
            vf_store(x_row + c, vf_mul(vf_from_int(t), s));
        }
        if (c < cols) {
            const size_t n = cols - c;
            if (layout == LAYOUT_COLS) {
                s = vf_load_n(scale + c, n, 0.0f);
                if (zero_point != NULL)
                    z = vi_load_n(zero_point + c, n);
            }
            const vi t = vi_sub(vi_load_code_n(q_row + c * vqc_code_size(code), n, code), z);
            vf_store_n(x_row + c, n, vf_mul(vf_from_int(t), s));
        }
    }
}

#define QUANTIZE_FUNCTIONS(t, T, code)                                                             \
    void KERNEL(f32_##t##_quantize)(const float *x, size_t n, float inv_scale, int32_t zero_point, \
                                    int32_t lo, int32_t hi, T *q)                                  \
    {                                                                                              \
        const params p = {NULL, &inv_scale, &zero_point, lo, hi};                                  \
        quantize_body(x, 1, n, n, &p, (variant){LAYOUT_ROWS, code, false, true}, q, n, NULL);      \
    }                                                                                              \
    void KERNEL(f32_##t##_quantize_rows)(                                                          \
        const float *x, size_t rows, size_t cols, size_t x_stride, const float *inv_scale,         \
        const int32_t *zero_point, int32_t lo, int32_t hi, T *q, size_t q_stride)                  \
    {                                                                                              \
        const params p = {NULL, inv_scale, zero_point, lo, hi};                                    \
        quantize_body(x, rows, cols, x_stride, &p, (variant){LAYOUT_ROWS, code, false, true}, q,   \
                      q_stride, NULL);                                                             \
    }                                                                                              \
    void KERNEL(f32_##t##_quantize_cols)(                                                          \
        const float *x, size_t rows, size_t cols, size_t x_stride, const float *inv_scale,         \
        const int32_t *zero_point, int32_t lo, int32_t hi, T *q, size_t q_stride)                  \
    {                                                                                              \
        const params p = {NULL, inv_scale, zero_point, lo, hi};                                    \
        quantize_cols(x, rows, cols, x_stride, &p, code, q, q_stride, false, NULL);                \
    }                                                                                              \
    void KERNEL(f32_##t##_quantize_error)(const float *x, size_t n, float scale, float inv_scale,  \
                                          int32_t zero_point, int32_t lo, int32_t hi, T *q,        \
                                          vqc_error_sums *acc)                                     \
    {                                                                                              \
        const params p = {&scale, &inv_scale, &zero_point, lo, hi};                                \
        quantize_body(x, 1, n, n, &p, (variant){LAYOUT_ROWS, code, true, true}, q, n, acc);        \
    }                                                                                              \
    void KERNEL(f32_##t##_quantize_error_rows)(                                                    \
        const float *x, size_t rows, size_t cols, size_t x_stride, const float *scale,             \
        const float *inv_scale, const int32_t *zero_point, int32_t lo, int32_t hi, T *q,           \
        size_t q_stride, vqc_error_sums *acc)                                                      \
    {                                                                                              \
        const params p = {scale, inv_scale, zero_point, lo, hi};                                   \
        quantize_body(x, rows, cols, x_stride, &p, (variant){LAYOUT_ROWS, code, true, true}, q,    \
                      q_stride, acc);                                                              \
    }                                                                                              \
    void KERNEL(f32_##t##_quantize_error_cols)(                                                    \
        const float *x, size_t rows, size_t cols, size_t x_stride, const float *scale,             \
        const float *inv_scale, const int32_t *zero_point, int32_t lo, int32_t hi, T *q,           \
        size_t q_stride, vqc_error_sums *acc)                                                      \
    {                                                                                              \
        const params p = {scale, inv_scale, zero_point, lo, hi};                                   \
        quantize_cols(x, rows, cols, x_stride, &p, code, q, q_stride, true, acc);                  \
    }                                                                                              \
    void KERNEL(t##_f32_dequantize)(const T *q, size_t n, float scale, int32_t zero_point,         \
                                    float *x)                                                      \
    {                                                                                              \
        dequantize_body(q, 1, n, n, &scale, &zero_point, LAYOUT_ROWS, code, x, n);                 \
    }                                                                                              \
    void KERNEL(t##_f32_dequantize_rows)(const T *q, size_t rows, size_t cols, size_t q_stride,    \
                                         const float *scale, const int32_t *zero_point, float *x,  \
                                         size_t x_stride)                                          \
    {                                                                                              \
        dequantize_body(q, rows, cols, q_stride, scale, zero_point, LAYOUT_ROWS, code, x,          \
                        x_stride);                                                                 \
    }                                                                                              \
    void KERNEL(t##_f32_dequantize_cols)(const T *q, size_t rows, size_t cols, size_t q_stride,    \
                                         const float *scale, const int32_t *zero_point, float *x,  \
                                         size_t x_stride)                                          \
    {                                                                                              \
        dequantize_body(q, rows, cols, q_stride, scale, zero_point, LAYOUT_COLS, code, x,          \
                        x_stride);                                                                 \
    }

QUANTIZE_FUNCTIONS(u8, uint8_t, VQC_CODE_U8)
QUANTIZE_FUNCTIONS(s8, int8_t, VQC_CODE_S8)
QUANTIZE_FUNCTIONS(u16, uint16_t, VQC_CODE_U16)
QUANTIZE_FUNCTIONS(s16, int16_t, VQC_CODE_S16)

VQC_INLINE vf sse_lanes(vf x, const lane_params *l)
{
    return vf_sub(x, vf_mul(vf_from_int(quantize_lanes(x, l)), l->scale));
}

VQC_INLINE double sse_row(const float *x, size_t cols, const lane_params *l)
{
    double total = 0.0;
    for (size_t c0 = 0; c0 < cols; c0 += VQC_CHUNK) {
        const size_t c1 = c0 + vqc_min_size(VQC_CHUNK, cols - c0);
        vf sum = vf_set(0.0f);
        size_t c = c0;
        for (; c + VQC_LANES <= c1; c += VQC_LANES) {
            vqc_prefetch(x + c);
            const vf err = sse_lanes(vf_load(x + c), l);
            sum = vf_add(sum, vf_mul(err, err));
        }
        if (c < c1) {
            const vf err = vf_keep_first(sse_lanes(vf_load_n(x + c, c1 - c, 0.0f), l), c1 - c);
            sum = vf_add(sum, vf_mul(err, err));
        }
        total += vf_sum(sum);
    }
    return total;
}

double KERNEL(f32_quantize_sse)(const float *x, size_t n, float scale, float inv_scale,
                                int32_t zero_point, int32_t lo, int32_t hi)
{
    const params p = {&scale, &inv_scale, &zero_point, lo, hi};
    const lane_params l = params_of_row(&p, 0);
    return sse_row(x, n, &l);
}

void KERNEL(f32_quantize_sse_rows)(const float *x, size_t rows, size_t cols, size_t x_stride,
                                   const float *scale, const float *inv_scale,
                                   const int32_t *zero_point, int32_t lo, int32_t hi, double *sse)
{
    const params p = {scale, inv_scale, zero_point, lo, hi};
    for (size_t r = 0; r < rows; r++) {
        const lane_params l = params_of_row(&p, r);
        sse[r] += sse_row(x + r * x_stride, cols, &l);
    }
}

/* Adds one vector of columns, n <= 16, over one band of rows. */
VQC_INLINE void sse_cols_step(const float *x, size_t rows, size_t x_stride, size_t n,
                              const lane_params *l, double *sse)
{
    float lanes[VQC_LANES];
    vf sum = vf_set(0.0f);
    for (size_t r = 0; r < rows; r++) {
        const float *at = x + r * x_stride;
        /* The next vectors of this row; the band is walked down, which no hardware foresees. */
        __builtin_prefetch((const void *)((uintptr_t)at + 2 * sizeof lanes));
        const vf err = sse_lanes(n == VQC_LANES ? vf_load(at) : vf_load_n(at, n, 0.0f), l);
        sum = vf_add(sum, vf_mul(err, err));
    }
    vf_store(lanes, sum);
    for (size_t i = 0; i < n; i++)
        sse[i] += (double)lanes[i];
}

void KERNEL(f32_quantize_sse_cols)(const float *x, size_t rows, size_t cols, size_t x_stride,
                                   const float *scale, const float *inv_scale,
                                   const int32_t *zero_point, int32_t lo, int32_t hi, double *sse)
{
    const params p = {scale, inv_scale, zero_point, lo, hi};
    const size_t band = VQC_CHUNK / VQC_LANES;
    for (size_t r = 0; r < rows; r += band) {
        const float *at = x + r * x_stride;
        const size_t height = vqc_min_size(band, rows - r);
        size_t c = 0;
        for (; c + VQC_LANES <= cols; c += VQC_LANES) {
            const lane_params l = params_of_cols(&p, zero_point != NULL, c, VQC_LANES);
            sse_cols_step(at + c, height, x_stride, VQC_LANES, &l, sse + c);
        }
        if (c < cols) {
            const lane_params l = params_of_cols(&p, zero_point != NULL, c, cols - c);
            sse_cols_step(at + c, height, x_stride, cols - c, &l, sse + c);
        }
    }
}

#endif
