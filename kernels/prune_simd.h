/* Pruning kernels over the 16-lane vector; included by simd_bodies.h only. Results: prune_c.c. */
#ifndef VQC_KERNELS_PRUNE_SIMD_H
#define VQC_KERNELS_PRUNE_SIMD_H

#include "kernels/prune_scalar.h"
#include "kernels/simd_stats.h"

enum {
    KEY_BINS = 2048,
    KEY_SPARE = KEY_BINS, /* counters for keys of other prefixes, by turns */
    KEY_SPAN = 131056     /* elements until a 16-bit counter could overflow */
};

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

/* Even and odd elements have counters of their own: neighbours often fall into one bin. */
typedef struct key_table {
    uint16_t even[KEY_BINS + VQC_LANES], odd[KEY_BINS + VQC_LANES];
} key_table;

/* The bin of each key; KEY_SPARE + ... where the prefix is another. */
VQC_INLINE vi key_bins(vi key, int level, vi prefix, vi spare)
{
    if (level == 0)
        return vi_shr(key, 22);
    const vi above = level == 1 ? vi_shr(key, 22) : vi_shr(key, 11);
    const vi bin = vi_and(level == 1 ? vi_shr(key, 11) : key, vi_set(KEY_BINS - 1));
    return vi_select(vi_gt(above, prefix), spare, vi_select(vi_gt(prefix, above), spare, bin));
}

VQC_INLINE void key_histogram(const float *x, size_t n, int level, uint32_t prefix,
                              uint64_t *counts)
{
    static const int32_t spares[VQC_LANES] = {
        KEY_SPARE,     KEY_SPARE,     KEY_SPARE + 1, KEY_SPARE + 1, KEY_SPARE + 2, KEY_SPARE + 2,
        KEY_SPARE + 3, KEY_SPARE + 3, KEY_SPARE + 4, KEY_SPARE + 4, KEY_SPARE + 5, KEY_SPARE + 5,
        KEY_SPARE + 6, KEY_SPARE + 6, KEY_SPARE + 7, KEY_SPARE + 7};
    const vi wanted = vi_set((int32_t)prefix), spare = vi_load(spares);
    while (n >= VQC_LANES) {
        key_table table;
        const size_t span = vqc_min_size(n, KEY_SPAN) / VQC_LANES * VQC_LANES;
        memset(&table, 0, sizeof table);
        for (size_t i = 0; i < span; i += VQC_LANES) {
            int32_t bins[VQC_LANES];
            vqc_prefetch(x + i);
            vi_store(bins, key_bins(prune_keys(vf_load(x + i)), level, wanted, spare));
            for (size_t k = 0; k < VQC_LANES; k += 2) {
                uint64_t pair; /* one load for two bins */
                memcpy(&pair, bins + k, sizeof pair);
                table.even[(uint32_t)pair]++;
                table.odd[pair >> 32]++;
            }
        }
        for (size_t b = 0; b < KEY_BINS; b++)
            counts[b] += (uint64_t)table.even[b] + table.odd[b];
        x += span;
        n -= span;
    }
    for (size_t i = 0; i < n; i++) {
        const uint32_t key = prune_key(x + i);
        const int shift = 22 - 11 * level;
        if ((uint64_t)key >> (shift + 11) == prefix)
            counts[key >> shift & (KEY_BINS - 1)]++;
    }
}

void KERNEL(f32_key_histogram)(const float *x, size_t n, int level, uint32_t prefix,
                               uint64_t *counts)
{
    if (level == 0)
        key_histogram(x, n, 0, prefix, counts);
    else if (level == 1)
        key_histogram(x, n, 1, prefix, counts);
    else
        key_histogram(x, n, 2, prefix, counts);
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

/* 16 elements at x, whole groups of `of`; of - 1 more on either side can be read. What comes before
 * an element is what is larger behind it, and in front all that is not smaller. */
VQC_INLINE void group_mask_step(const float *x, int of, vi place, vi keep, uint8_t *mask)
{
    const vi key = vi_bits(vf_load(x));
    const vi low = vi_set(-1), high = vi_set(INT32_MAX), one = vi_set(1), zero = vi_set(0);
    vi before = place;
    for (int d = 1; d < of; d++) {
        const vi behind = vi_select(vi_gt(vi_set(of - d), place), vi_bits(vf_load(x + d)), low);
        const vi front = vi_select(vi_gt(place, vi_set(d - 1)), vi_bits(vf_load(x - d)), high);
        before = vi_count(before, vi_gt(behind, key));
        before = vi_sub(before, vi_select(vi_gt(key, front), one, zero));
    }
    vi_store_code(mask, VQC_CODE_U8, vi_select(vi_gt(keep, before), one, zero));
}

/* Whole vectors; returns how many elements are done. */
VQC_INLINE size_t group_mask_vectors(const float *x, size_t n, int of, size_t keep, uint8_t *mask)
{
    int32_t places[VQC_LANES];
    for (int k = 0; k < VQC_LANES; k++)
        places[k] = k % of;
    const vi place = vi_load(places), kept = vi_set((int32_t)keep);
    size_t i = 0;
    for (; i + VQC_LANES <= n; i += VQC_LANES) {
        vqc_prefetch(x + i);
        if (i >= VQC_LANES && i + 2 * VQC_LANES <= n) {
            group_mask_step(x + i, of, place, kept, mask + i);
        } else { /* no neighbours to be read on one side */
            float alone[3 * VQC_LANES] = {0};
            memcpy(alone + VQC_LANES, (const char *)(x + i), VQC_LANES * sizeof *x);
            group_mask_step(alone + VQC_LANES, of, place, kept, mask + i);
        }
    }
    return i;
}

void KERNEL(f32_group_mask)(const float *x, size_t n, size_t of, size_t keep, uint8_t *mask)
{
    size_t i = of == 2    ? group_mask_vectors(x, n, 2, keep, mask)
               : of == 4  ? group_mask_vectors(x, n, 4, keep, mask)
               : of == 8  ? group_mask_vectors(x, n, 8, keep, mask)
               : of == 16 ? group_mask_vectors(x, n, 16, keep, mask)
                          : 0;
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
