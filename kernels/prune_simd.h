/* Pruning kernels over the 16-lane vector; included by simd_bodies.h only. Results: prune_c.c. */
#ifndef VQC_KERNELS_PRUNE_SIMD_H
#define VQC_KERNELS_PRUNE_SIMD_H

#include "kernels/prune_scalar.h"
#include "kernels/simd_stats.h"

enum { ABOVE_BLOCK = 2048 /* elements that stay in the first-level cache */ };

VQC_INLINE vi prune_keys(vf x)
{
    return vi_bits(vf_abs(x));
}

void KERNEL(f32_score_cols)(const float *x, size_t rows, size_t cols, size_t x_stride,
                            const float *scale, float *out, size_t out_stride)
{
    for (size_t r = 0; r < rows; r++) {
        const float *row = x + r * x_stride;
        float *to = out + r * out_stride;
        size_t c = 0;
        for (; c + VQC_LANES <= cols; c += VQC_LANES)
            vf_store(to + c, vf_mul(vf_abs(vf_load(row + c)), vf_load(scale + c)));
        if (c < cols)
            vf_store_n(to + c, cols - c,
                       vf_mul(vf_abs(vf_load_n(row + c, cols - c, 0.0f)),
                              vf_load_n(scale + c, cols - c, 0.0f)));
    }
}

/* Four bounds at a time: their counters fit the registers. */
VQC_INLINE void count_above_block(const float *x, size_t n, const uint32_t *bounds,
                                  uint64_t *counts)
{
    const vi b0 = vi_set((int32_t)bounds[0]), b1 = vi_set((int32_t)bounds[1]);
    const vi b2 = vi_set((int32_t)bounds[2]), b3 = vi_set((int32_t)bounds[3]);
    vi c0 = vi_set(0), c1 = c0, c2 = c0, c3 = c0;
    size_t i = 0;
    for (; i + VQC_LANES <= n; i += VQC_LANES) {
        vqc_prefetch(x + i);
        const vi key = prune_keys(vf_load(x + i));
        c0 = vi_count(c0, vi_gt(key, b0));
        c1 = vi_count(c1, vi_gt(key, b1));
        c2 = vi_count(c2, vi_gt(key, b2));
        c3 = vi_count(c3, vi_gt(key, b3));
    }
    if (i < n) {
        const vi key = prune_keys(vf_load_n(x + i, n - i, 0.0f)); /* 0 is above no bound */
        c0 = vi_count(c0, vi_gt(key, b0));
        c1 = vi_count(c1, vi_gt(key, b1));
        c2 = vi_count(c2, vi_gt(key, b2));
        c3 = vi_count(c3, vi_gt(key, b3));
    }
    counts[0] += vi_sum(c0);
    counts[1] += vi_sum(c1);
    counts[2] += vi_sum(c2);
    counts[3] += vi_sum(c3);
}

void KERNEL(f32_count_above)(const float *x, size_t n, const uint32_t *bounds, uint64_t *counts)
{
    for (size_t i = 0; i < n; i += ABOVE_BLOCK)
        for (size_t b = 0; b < VQC_COUNT_BOUNDS; b += 4)
            count_above_block(x + i, vqc_min_size(ABOVE_BLOCK, n - i), bounds + b, counts + b);
}

size_t KERNEL(f32_gather_keys)(const float *x, size_t n, const uint32_t *bounds, uint32_t *keys)
{
    /* From low on is above low - 1. */
    const vi below = vi_set((int32_t)bounds[0] - 1), most = vi_set((int32_t)bounds[1]);
    size_t count = 0, i = 0;
    for (; i + VQC_LANES <= n; i += VQC_LANES) {
        vqc_prefetch(x + i);
        const vi key = prune_keys(vf_load(x + i));
        uint32_t inside = vm_bits(vi_gt(key, below)) & ~vm_bits(vi_gt(key, most));
        if (inside == 0)
            continue;
        int32_t all[VQC_LANES];
        vi_store(all, key);
        if (inside == (1u << VQC_LANES) - 1u) {
            memcpy(keys + count, all, sizeof all);
            count += VQC_LANES;
            continue;
        }
        for (; inside != 0; inside &= inside - 1)
            keys[count++] = (uint32_t)all[__builtin_ctz(inside)];
    }
    return count + prune_gather(x + i, n - i, bounds, keys + count);
}

void KERNEL(f32_threshold_mask)(const float *x, size_t n, float threshold, uint8_t *mask)
{
    const vi least = prune_keys(vf_set(threshold)), one = vi_set(1), zero = vi_set(0);
    size_t i = 0;
    for (; i + VQC_LANES <= n; i += VQC_LANES) {
        vqc_prefetch(x + i);
        vi_store_code(mask + i, VQC_CODE_U8,
                      vi_select(vi_gt(prune_keys(vf_load(x + i)), least), one, zero));
    }
    if (i < n)
        vi_store_code_n(
            mask + i, n - i, VQC_CODE_U8,
            vi_select(vi_gt(prune_keys(vf_load_n(x + i, n - i, 0.0f)), least), one, zero));
}

enum { GROUP_MOST = 64 /* elements of a group that is taken in lanes */ };

/* Masks of four columns as the bytes of each lane. */
VQC_INLINE vi group_bytes(const vi before[4], vi keep)
{
    const vi zero = vi_set(0);
    return vi_or(vi_or(vi_select(vi_gt(keep, before[0]), vi_set(1), zero),
                       vi_select(vi_gt(keep, before[1]), vi_set(1 << 8), zero)),
                 vi_or(vi_select(vi_gt(keep, before[2]), vi_set(1 << 16), zero),
                       vi_select(vi_gt(keep, before[3]), vi_set(1 << 24), zero)));
}

/* Masks of 16 groups, a lane each, of 2, 4 or 8; groups of two are pairs within four columns. An
 * element comes before another when it is larger, or equal and in front of it: every pair is
 * compared once. */
VQC_INLINE void group_mask_lanes(const float *x, int of, vi keep, uint8_t *mask)
{
    const int cols = of == 2 ? 4 : of;
    vi keys[8], before[8];
#pragma GCC unroll 2
    for (int c = 0; c < cols; c += 4) {
        vf four[4];
        vf_load_cols4(x + c, (size_t)cols, four);
#pragma GCC unroll 4
        for (int e = 0; e < 4; e++) {
            keys[c + e] = vi_bits(four[e]);
            before[c + e] = vi_set((c + e) % of);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < cols; i++) {
#pragma GCC unroll 8
        for (int j = i + 1; j < i / of * of + of; j++) {
            const vm larger = vi_gt(keys[j], keys[i]);
            before[i] = vi_count(before[i], larger);
            before[j] = vi_uncount(before[j], larger);
        }
    }
    int32_t bytes[8 / 4 * VQC_LANES];
    vi_store(bytes, group_bytes(before, keep));
    if (cols == 8)
        vi_store(bytes + VQC_LANES, group_bytes(before + 4, keep));
    for (int k = 0; cols == 8 && k < VQC_LANES; k++) {
        memcpy(mask + 8 * k, bytes + k, 4);
        memcpy(mask + 8 * k + 4, bytes + VQC_LANES + k, 4);
    }
    if (cols == 4)
        memcpy(mask, bytes, VQC_LANES * sizeof *bytes);
}

/* The same for any groups up to GROUP_MOST, through memory; two elements at a time are compared
 * with all behind them. */
VQC_INLINE void group_mask_any(const float *x, int of, vi keep, uint8_t *mask)
{
    vi keys[GROUP_MOST + 1], before[GROUP_MOST + 1];
    int c = 0;
    for (; c + 4 <= of; c += 4) {
        vf four[4];
        vf_load_cols4(x + c, (size_t)of, four);
        for (int e = 0; e < 4; e++)
            keys[c + e] = vi_bits(four[e]);
    }
    for (; c < of; c++) {
        float column[VQC_LANES];
        for (int k = 0; k < VQC_LANES; k++)
            column[k] = ((const vqc_f32_at *)x)[k * of + c];
        keys[c] = vi_bits(vf_load(column));
    }
    keys[of] = vi_set(-1); /* the partner of the last of an odd group: larger than nothing */
    for (c = 0; c <= of; c++)
        before[c] = vi_set(c);
    for (int i = 0; i < of; i += 2) {
        const vi a = keys[i], b = keys[i + 1];
        const vm first = vi_gt(b, a);
        vi before_a = vi_count(before[i], first), before_b = vi_uncount(before[i + 1], first);
        for (int j = i + 2; j < of; j++) {
            const vm over_a = vi_gt(keys[j], a), over_b = vi_gt(keys[j], b);
            before_a = vi_count(before_a, over_a);
            before_b = vi_count(before_b, over_b);
            before[j] = vi_uncount(vi_uncount(before[j], over_a), over_b);
        }
        before[i] = before_a;
        before[i + 1] = before_b;
    }
    for (c = 0; c + 4 <= of; c += 4) {
        int32_t bytes[VQC_LANES];
        vi_store(bytes, group_bytes(before + c, keep));
        for (int k = 0; k < VQC_LANES; k++)
            memcpy(mask + k * of + c, bytes + k, sizeof *bytes);
    }
    for (; c < of; c++) {
        const uint32_t bits = vm_bits(vi_gt(keep, before[c]));
        for (int k = 0; k < VQC_LANES; k++)
            mask[k * of + c] = bits >> k & 1u;
    }
}

/* Blocks of 16 groups of n elements, whole groups and at least one block. */
VQC_INLINE void group_mask_blocks(const float *x, size_t n, int of, bool any, size_t keep,
                                  uint8_t *mask)
{
    const size_t step = VQC_LANES * (size_t)(of == 2 ? 4 : of);
    const vi kept = vi_set((int32_t)keep);
    for (size_t i = 0; i < n; i += step) {
        const size_t at = vqc_min_size(i, n - step); /* the last does some again */
        for (size_t k = 0; k < step; k += VQC_LANES)
            vqc_prefetch(x + at + k);
        if (any)
            group_mask_any(x + at, of, kept, mask + at);
        else
            group_mask_lanes(x + at, of, kept, mask + at);
    }
}

void KERNEL(f32_group_mask)(const float *x, size_t n, size_t of, size_t keep, uint8_t *mask)
{
    const size_t cols = of == 2 ? 4 : of;
    size_t i = 0;
    if (of > 1 && of <= GROUP_MOST && n >= VQC_LANES * cols) {
        i = n / cols * cols;
        if (of == 2)
            group_mask_blocks(x, i, 2, false, keep, mask);
        else if (of == 4)
            group_mask_blocks(x, i, 4, false, keep, mask);
        else if (of == 8)
            group_mask_blocks(x, i, 8, false, keep, mask);
        else
            group_mask_blocks(x, i, (int)of, true, keep, mask);
    }
    for (; i < n; i += of)
        prune_group(x + i, vqc_min_size(of, n - i), keep, mask + i);
}

size_t KERNEL(f32_count_zero)(const float *x, size_t n)
{
    const vi one = vi_set(1);
    size_t zeros = 0;
    for (size_t i0 = 0; i0 < n; i0 += COUNT_SPAN) {
        const size_t i1 = i0 + vqc_min_size(COUNT_SPAN, n - i0);
        size_t i = i0;
        vi count = vi_set(0);
        for (; i + VQC_LANES <= i1; i += VQC_LANES) {
            vqc_prefetch(x + i);
            count = vi_count(count, vi_gt(one, prune_keys(vf_load(x + i))));
        }
        if (i < i1)
            count = vi_count(count, vi_gt(one, prune_keys(vf_load_n(x + i, i1 - i, 1.0f))));
        zeros += (size_t)vi_sum(count);
    }
    return zeros;
}

#endif
