/* Observer kernels over the 16-lane vector; included by simd_bodies.h only. Results: observe_c.c.
 */
#ifndef VQC_KERNELS_SIMD_OBSERVE_H
#define VQC_KERNELS_SIMD_OBSERVE_H

#include <float.h>

#include "kernels/simd_stats.h"

/* Neighbouring values often fall into one bin, and an increment has to wait for the one before it:
 * even and odd elements have their own 16-bit counters, which together fit the first-level cache.
 * What is not counted (zeros, the bulk of what a Relu gives, and non-finite values) goes to spare
 * counters behind the bins, by turns. */
enum {
    HISTOGRAM_SPARE = 2 * VQC_HISTOGRAM_HALF_BINS,
    HISTOGRAM_SPAN = 131056, /* elements until a 16-bit counter could overflow: 2 x 65528 */
    HISTOGRAM_SMALL = 2048   /* elements for which clearing the counters does not pay */
};

typedef struct histogram_table {
    uint16_t even[HISTOGRAM_SPARE + VQC_LANES];
    uint16_t odd[HISTOGRAM_SPARE + VQC_LANES];
} histogram_table;

/* Bins of 16 values; HISTOGRAM_SPARE + ... for what is not counted. */
VQC_INLINE vi histogram_bins(vf v, vf inv_width, vf last, vi middle, vi spare)
{
    const vf magnitude = vf_abs(v);
    const vi t = vi_trunc(vf_min(vf_mul(magnitude, inv_width), last));
    const vm negative = vi_gt(vi_set(0), vi_bits(v));
    /* As unsigned numbers, the bits of finite non-zero magnitudes are 1 .. 0x7f7fffff; one addition
     * maps them to the smallest signed numbers. */
    const vm skipped = vi_gt(vi_add(vi_bits(magnitude), vi_set(0x7fffffff)), vi_set(-0x00800002));
    /* -1 - t for negatives */
    const vi bin = vi_add(middle, vi_select(negative, vi_sub(vi_set(-1), t), t));
    return vi_select(skipped, spare, bin);
}

/* Adds the counters to counts[bins]. */
VQC_INLINE void histogram_flush(const histogram_table *table, uint32_t bins, uint64_t *counts)
{
    for (uint32_t b = 0; b < bins; b += VQC_LANES) {
        const vi pair = vi_add(vi_load_code(table->even + b, VQC_CODE_U16),
                               vi_load_code(table->odd + b, VQC_CODE_U16));
        const uint32_t lanes = bins - b < VQC_LANES ? bins - b : VQC_LANES;
        int32_t sums[VQC_LANES];
        vi_store(sums, pair);
        if (lanes < VQC_LANES) {
            for (uint32_t k = 0; k < lanes; k++)
                counts[b + k] += (uint32_t)sums[k];
        } else if (vi_sum(pair) > 0) { /* most are zero in long tails */
            for (uint32_t k = 0; k < VQC_LANES; k++)
                counts[b + k] += (uint32_t)sums[k];
        }
    }
}

VQC_INLINE void histogram_few(const float *x, size_t n, vf inv_width, vf last, vi middle, vi spare,
                              uint64_t *counts)
{
    for (size_t i = 0; i < n; i += VQC_LANES) {
        const size_t lanes = vqc_min_size(VQC_LANES, n - i);
        const vf v = lanes == VQC_LANES ? vf_load(x + i) : vf_load_n(x + i, lanes, 0.0f);
        int32_t bin[VQC_LANES];
        vi_store(bin, histogram_bins(v, inv_width, last, middle, spare));
        for (size_t k = 0; k < VQC_LANES; k++)
            if (bin[k] < HISTOGRAM_SPARE)
                counts[bin[k]]++;
    }
}

void KERNEL(f32_histogram)(const float *x, size_t n, float inv_width, uint32_t half_bins,
                           uint64_t *counts)
{
    static const int32_t spares[VQC_LANES] = {
        HISTOGRAM_SPARE,     HISTOGRAM_SPARE,     HISTOGRAM_SPARE + 1, HISTOGRAM_SPARE + 1,
        HISTOGRAM_SPARE + 2, HISTOGRAM_SPARE + 2, HISTOGRAM_SPARE + 3, HISTOGRAM_SPARE + 3,
        HISTOGRAM_SPARE + 4, HISTOGRAM_SPARE + 4, HISTOGRAM_SPARE + 5, HISTOGRAM_SPARE + 5,
        HISTOGRAM_SPARE + 6, HISTOGRAM_SPARE + 6, HISTOGRAM_SPARE + 7, HISTOGRAM_SPARE + 7};
    const vf inv = vf_set(inv_width), last = vf_set((float)(half_bins - 1u));
    const vi middle = vi_set((int32_t)half_bins), spare = vi_load(spares);
    while (n >= HISTOGRAM_SMALL) {
        histogram_table table;
        const size_t span = vqc_min_size(n, HISTOGRAM_SPAN) / VQC_LANES * VQC_LANES;
        memset(&table, 0, sizeof table);
        for (size_t i = 0; i < span; i += VQC_LANES) {
            int32_t bins[VQC_LANES];
            vqc_prefetch(x + i);
            vi_store(bins, histogram_bins(vf_load(x + i), inv, last, middle, spare));
            for (size_t k = 0; k < VQC_LANES; k += 2) {
                uint64_t pair; /* one load for two bins */
                memcpy(&pair, bins + k, sizeof pair);
                table.even[(uint32_t)pair]++;
                table.odd[pair >> 32]++;
            }
        }
        histogram_flush(&table, 2u * half_bins, counts);
        x += span;
        n -= span;
    }
    histogram_few(x, n, inv, last, middle, spare, counts);
}

/* Lanes of f32_moments. */
typedef struct moment_lanes {
    vf lo, hi, sum, squares;
    vi nonfinite, zeros;
} moment_lanes;

/* A vector with NaN or infinities in it. Lanes outside `valid` (NULL: none) count for nothing. */
VQC_INLINE void moments_step(moment_lanes *m, vf v, const vm *valid)
{
    const vi bits = vi_bits(vf_abs(v));
    const vm bad = vi_gt(bits, vi_set(0x7f7fffff));
    const vf clean = vf_select(bad, vf_set(0.0f), v);
    const vm zero = vi_gt(vi_set(1), bits);
    vf low = vf_select(bad, vf_set(INFINITY), v), high = vf_select(bad, vf_set(-INFINITY), v);
    if (valid != NULL) {
        low = vf_select(*valid, low, vf_set(INFINITY));
        high = vf_select(*valid, high, vf_set(-INFINITY));
    }
    m->lo = vf_min(low, m->lo);
    m->hi = vf_max(high, m->hi);
    m->sum = vf_add(m->sum, clean);
    m->squares = vf_add(m->squares, vf_mul(clean, clean));
    m->nonfinite = vi_count(m->nonfinite, bad);
    m->zeros = vi_count(m->zeros, zero);
}

/* The same of finite values. */
VQC_INLINE void moments_finite_step(moment_lanes *m, vf v, const vm *valid)
{
    const vf low = valid == NULL ? v : vf_select(*valid, v, vf_set(INFINITY));
    const vf high = valid == NULL ? v : vf_select(*valid, v, vf_set(-INFINITY));
    m->lo = vf_min(low, m->lo);
    m->hi = vf_max(high, m->hi);
    m->sum = vf_add(m->sum, v);
    m->squares = vf_add(m->squares, vf_mul(v, v));
    m->zeros = vi_count(m->zeros, vi_gt(vi_set(1), vi_bits(vf_abs(v))));
}

/* At most VQC_CHUNK elements, sums from zero on. */
VQC_INLINE moment_lanes moments_chunk(moment_lanes m, const float *x, size_t n, bool finite)
{
    size_t i = 0;
    m.sum = m.squares = vf_set(0.0f);
    for (; i + VQC_LANES <= n; i += VQC_LANES) {
        vqc_prefetch(x + i);
        if (finite)
            moments_finite_step(&m, vf_load(x + i), NULL);
        else
            moments_step(&m, vf_load(x + i), NULL);
    }
    if (i < n) {
        const vi lane = vi_load(
            (const int32_t[VQC_LANES]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
        const vm valid = vi_gt(vi_set((int32_t)(n - i)), lane);
        if (finite)
            moments_finite_step(&m, vf_load_n(x + i, n - i, 0.0f), &valid);
        else
            moments_step(&m, vf_load_n(x + i, n - i, 0.0f), &valid);
    }
    return m;
}

void KERNEL(f32_moments)(const float *x, size_t n, vqc_f32_moments *acc)
{
    moment_lanes m = {.lo = vf_set(INFINITY), .hi = vf_set(-INFINITY)};
    for (size_t i0 = 0; i0 < n; i0 += COUNT_SPAN) {
        const size_t i1 = i0 + vqc_min_size(COUNT_SPAN, n - i0);
        m.nonfinite = m.zeros = vi_set(0);
        for (size_t i = i0; i < i1; i += VQC_CHUNK) {
            const size_t count = vqc_min_size(VQC_CHUNK, i1 - i), rest = count % VQC_LANES;
            const moment_lanes before = m;
            m = moments_chunk(before, x + i, count, true);
            double squares = vf_sum(m.squares);
            if (!(squares <= (double)FLT_MAX)) { /* NaN, infinities or an overflow */
                m = moments_chunk(before, x + i, count, false);
                squares = vf_sum(m.squares);
            }
            acc->sum += vf_sum(m.sum);
            acc->sum_squares += squares;
            acc->zeros -= rest > 0 ? VQC_LANES - rest : 0; /* the filling was counted */
        }
        acc->nonfinite += vi_sum(m.nonfinite);
        acc->zeros += vi_sum(m.zeros);
    }
    acc->min = vqc_lane_min(vf_smallest(m.lo), acc->min);
    acc->max = vqc_lane_max(vf_largest(m.hi), acc->max);
}

/* One vector of columns over at most VQC_MOMENTS_ROWS rows. */
VQC_INLINE void moments_cols_step(const float *x, size_t rows, size_t x_stride, size_t n,
                                  double *sum, float *absmax)
{
    const bool full = n == VQC_LANES;
    vf s = vf_set(0.0f);
    vf largest = full ? vf_load(absmax) : vf_load_n(absmax, n, 0.0f);
    for (size_t r = 0; r < rows; r++) {
        const float *p = x + r * x_stride;
        const vf v = full ? vf_load(p) : vf_load_n(p, n, 0.0f);
        const vm bad = vi_gt(vi_bits(vf_abs(v)), vi_set(0x7f7fffff));
        const vf clean = vf_select(bad, vf_set(0.0f), v);
        s = vf_add(s, clean);
        largest = vf_max(vf_abs(clean), largest);
    }
    float sums[VQC_LANES];
    vf_store(sums, s);
    for (size_t k = 0; k < n; k++)
        sum[k] += (double)sums[k];
    if (full)
        vf_store(absmax, largest);
    else
        vf_store_n(absmax, n, largest);
}

void KERNEL(f32_moments_cols)(const float *x, size_t rows, size_t cols, size_t x_stride,
                              double *sum, float *absmax)
{
    for (size_t r = 0; r < rows; r += VQC_MOMENTS_ROWS) {
        const size_t band = vqc_min_size(VQC_MOMENTS_ROWS, rows - r);
        const float *p = x + r * x_stride;
        size_t c = 0;
        for (; c + VQC_LANES <= cols; c += VQC_LANES)
            moments_cols_step(p + c, band, x_stride, VQC_LANES, sum + c, absmax + c);
        if (c < cols)
            moments_cols_step(p + c, band, x_stride, cols - c, sum + c, absmax + c);
    }
}

#endif
