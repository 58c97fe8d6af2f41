/* Statistics kernels over the 16-lane vector; included by simd_bodies.h only. Results: stats_c.c.
 */
#ifndef VQC_KERNELS_SIMD_STATS_H
#define VQC_KERNELS_SIMD_STATS_H

/* An int32 counter lane must not overflow: spans of 2^24 elements add at most 2^20 to a lane. */
#define COUNT_SPAN ((size_t)1 << 24)

VQC_INLINE uint64_t vi_sum(vi x)
{
    int32_t lanes[VQC_LANES];
    uint64_t sum = 0;
    vi_store(lanes, x);
    for (size_t i = 0; i < VQC_LANES; i++)
        sum += (uint64_t)lanes[i];
    return sum;
}

VQC_INLINE vm vf_nonfinite(vf x)
{
    return vi_gt(vi_and(vi_bits(x), vi_set(0x7fffffff)), vi_set(0x7f7fffff));
}

/* Extrema (min, max non-NULL) and count (nonfinite non-NULL) of one array. */
VQC_INLINE void range_body(const float *x, size_t n, float *min, float *max, uint64_t *nonfinite)
{
    vf lo = vf_set(INFINITY), hi = vf_set(-INFINITY);
    for (size_t i0 = 0; i0 < n; i0 += COUNT_SPAN) {
        const size_t i1 = i0 + vqc_min_size(COUNT_SPAN, n - i0);
        vi count = vi_set(0);
        size_t i = i0;
        for (; i + VQC_LANES <= i1; i += VQC_LANES) {
            vqc_prefetch(x + i);
            const vf v = vf_load(x + i);
            lo = vf_min(v, lo);
            hi = vf_max(v, hi);
            if (nonfinite != NULL)
                count = vi_count(count, vf_nonfinite(v));
        }
        if (i < i1) {
            lo = vf_min(vf_load_n(x + i, i1 - i, INFINITY), lo);
            hi = vf_max(vf_load_n(x + i, i1 - i, -INFINITY), hi);
            if (nonfinite != NULL)
                count = vi_count(count, vf_nonfinite(vf_load_n(x + i, i1 - i, 0.0f)));
        }
        if (nonfinite != NULL)
            *nonfinite += vi_sum(count);
    }
    if (min != NULL) {
        *min = vqc_lane_min(vf_smallest(lo), *min);
        *max = vqc_lane_max(vf_largest(hi), *max);
    }
}

void KERNEL(f32_minmax)(const float *x, size_t n, float *min, float *max)
{
    range_body(x, n, min, max, NULL);
}

size_t KERNEL(f32_count_nonfinite)(const float *x, size_t n)
{
    uint64_t count = 0;
    range_body(x, n, NULL, NULL, &count);
    return (size_t)count;
}

void KERNEL(f32_stats)(const float *x, size_t n, vqc_f32_range *acc)
{
    range_body(x, n, &acc->min, &acc->max, &acc->nonfinite);
}

void KERNEL(f32_minmax_rows)(const float *x, size_t rows, size_t cols, size_t x_stride, float *min,
                             float *max, size_t *nonfinite)
{
    uint64_t count = 0;
    for (size_t r = 0; r < rows; r++)
        range_body(x + r * x_stride, cols, &min[r], &max[r], &count);
    *nonfinite += (size_t)count;
}

/* One vector of columns over `rows` rows (at most 2^20, for the counter). */
VQC_INLINE vi minmax_cols_step(const float *x, size_t rows, size_t x_stride, size_t n, float *min,
                               float *max, vi count)
{
    const bool full = n == VQC_LANES;
    vf lo = full ? vf_load(min) : vf_load_n(min, n, 0.0f);
    vf hi = full ? vf_load(max) : vf_load_n(max, n, 0.0f);
    for (size_t r = 0; r < rows; r++) {
        const float *p = x + r * x_stride;
        vqc_prefetch(p);
        const vf v = full ? vf_load(p) : vf_load_n(p, n, 0.0f);
        lo = vf_min(v, lo);
        hi = vf_max(v, hi);
        count = vi_count(count, vf_nonfinite(v));
    }
    if (full) {
        vf_store(min, lo);
        vf_store(max, hi);
    } else {
        vf_store_n(min, n, lo);
        vf_store_n(max, n, hi);
    }
    return count;
}

/* Bands of 4 rows: enough to amortise loading and storing the running extrema, while memory is
 * still read as 4 sequential streams. */
void KERNEL(f32_minmax_cols)(const float *x, size_t rows, size_t cols, size_t x_stride, float *min,
                             float *max, size_t *nonfinite)
{
    for (size_t r = 0; r < rows; r += 4) {
        const size_t band = vqc_min_size(4, rows - r);
        const float *p = x + r * x_stride;
        for (size_t c0 = 0; c0 < cols; c0 += COUNT_SPAN) {
            const size_t c1 = c0 + vqc_min_size(COUNT_SPAN, cols - c0);
            vi count = vi_set(0);
            size_t c = c0;
            for (; c + VQC_LANES <= c1; c += VQC_LANES) {
                if (band == 4)
                    count =
                        minmax_cols_step(p + c, 4, x_stride, VQC_LANES, min + c, max + c, count);
                else
                    count =
                        minmax_cols_step(p + c, band, x_stride, VQC_LANES, min + c, max + c, count);
            }
            if (c < c1)
                count = minmax_cols_step(p + c, band, x_stride, c1 - c, min + c, max + c, count);
            *nonfinite += (size_t)vi_sum(count);
        }
    }
}

float KERNEL(f32_absmax)(const float *x, size_t n)
{
    vf hi = vf_set(0.0f);
    size_t i = 0;
    for (; i + VQC_LANES <= n; i += VQC_LANES) {
        vqc_prefetch(x + i);
        hi = vf_max(vf_abs(vf_load(x + i)), hi);
    }
    if (i < n)
        hi = vf_max(vf_abs(vf_load_n(x + i, n - i, 0.0f)), hi);
    return vf_largest(hi);
}

void KERNEL(f32_sums)(const float *x, size_t n, double *sum, double *sum_squares)
{
    for (size_t i0 = 0; i0 < n; i0 += VQC_CHUNK) {
        const size_t i1 = i0 + vqc_min_size(VQC_CHUNK, n - i0);
        vf s = vf_set(0.0f), s2 = vf_set(0.0f);
        size_t i = i0;
        for (; i + VQC_LANES <= i1; i += VQC_LANES) {
            vqc_prefetch(x + i);
            const vf v = vf_load(x + i);
            s = vf_add(s, v);
            s2 = vf_add(s2, vf_mul(v, v));
        }
        if (i < i1) {
            const vf v = vf_load_n(x + i, i1 - i, 0.0f);
            s = vf_add(s, v);
            s2 = vf_add(s2, vf_mul(v, v));
        }
        *sum += vf_sum(s);
        *sum_squares += vf_sum(s2);
    }
}

/* Lanes of f32_error. */
typedef struct full_error {
    vf err2, ref2, dec2, ref_dec, max_abs;
} full_error;

VQC_INLINE void full_error_step(full_error *e, vf ref, vf dec)
{
    const vf err = vf_sub(ref, dec);
    e->err2 = vf_add(e->err2, vf_mul(err, err));
    e->ref2 = vf_add(e->ref2, vf_mul(ref, ref));
    e->dec2 = vf_add(e->dec2, vf_mul(dec, dec));
    e->ref_dec = vf_add(e->ref_dec, vf_mul(ref, dec));
    e->max_abs = vf_max(vf_abs(err), e->max_abs);
}

void KERNEL(f32_error)(const float *ref, const float *dec, size_t n, vqc_error_sums *acc)
{
    full_error e = {.max_abs = vf_set(0.0f)};
    for (size_t i0 = 0; i0 < n; i0 += VQC_CHUNK) {
        const size_t i1 = i0 + vqc_min_size(VQC_CHUNK, n - i0);
        size_t i = i0;
        e.err2 = e.ref2 = e.dec2 = e.ref_dec = vf_set(0.0f);
        for (; i + VQC_LANES <= i1; i += VQC_LANES) {
            vqc_prefetch(ref + i);
            vqc_prefetch(dec + i);
            full_error_step(&e, vf_load(ref + i), vf_load(dec + i));
        }
        if (i < i1)
            full_error_step(&e, vf_load_n(ref + i, i1 - i, 0.0f), vf_load_n(dec + i, i1 - i, 0.0f));
        acc->sum_err2 += vf_sum(e.err2);
        acc->sum_ref2 += vf_sum(e.ref2);
        acc->sum_dec2 += vf_sum(e.dec2);
        acc->sum_ref_dec += vf_sum(e.ref_dec);
    }
    acc->count += n;
    acc->max_abs_err = vqc_lane_max(vf_largest(e.max_abs), acc->max_abs_err);
}

/* 12 independent chains of fused multiply-adds cover latency x throughput of every current core (4
 * cycles x 2 per cycle = 8). The start value is volatile and read for each, so that nothing is
 * computed ahead of time and no chain is known to equal another.
 */
float KERNEL(probe_fma)(size_t iterations)
{
    const volatile float zero = 0.0f;
    const vf_native z = VF_NATIVE_SET(zero), half = VF_NATIVE_SET(0.5f);
    vf_native a0 = VF_NATIVE_SET(zero), a1 = VF_NATIVE_SET(zero), a2 = VF_NATIVE_SET(zero);
    vf_native a3 = VF_NATIVE_SET(zero), a4 = VF_NATIVE_SET(zero), a5 = VF_NATIVE_SET(zero);
    vf_native a6 = VF_NATIVE_SET(zero), a7 = VF_NATIVE_SET(zero), a8 = VF_NATIVE_SET(zero);
    vf_native a9 = VF_NATIVE_SET(zero), a10 = VF_NATIVE_SET(zero), a11 = VF_NATIVE_SET(zero);
    for (size_t k = 0; k < iterations * VF_NATIVE_PER_VECTOR; k++) {
        a0 = VF_NATIVE_FMA(a0, half, z);
        a1 = VF_NATIVE_FMA(a1, half, z);
        a2 = VF_NATIVE_FMA(a2, half, z);
        a3 = VF_NATIVE_FMA(a3, half, z);
        a4 = VF_NATIVE_FMA(a4, half, z);
        a5 = VF_NATIVE_FMA(a5, half, z);
        a6 = VF_NATIVE_FMA(a6, half, z);
        a7 = VF_NATIVE_FMA(a7, half, z);
        a8 = VF_NATIVE_FMA(a8, half, z);
        a9 = VF_NATIVE_FMA(a9, half, z);
        a10 = VF_NATIVE_FMA(a10, half, z);
        a11 = VF_NATIVE_FMA(a11, half, z);
    }
    a0 = VF_NATIVE_ADD(VF_NATIVE_ADD(a0, a1), VF_NATIVE_ADD(a2, a3));
    a4 = VF_NATIVE_ADD(VF_NATIVE_ADD(a4, a5), VF_NATIVE_ADD(a6, a7));
    a8 = VF_NATIVE_ADD(VF_NATIVE_ADD(a8, a9), VF_NATIVE_ADD(a10, a11));
    a0 = VF_NATIVE_ADD(VF_NATIVE_ADD(a0, a4), a8);
    return VF_NATIVE_FIRST(a0);
}

#endif
