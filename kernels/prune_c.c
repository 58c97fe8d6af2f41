/* C reference of the pruning kernels (kernel_list_prune.h): the definition of their results. */
#include "kernels/prune_scalar.h"

void vqc_f32_score_cols__c(const float *x, size_t rows, size_t cols, size_t x_stride,
                           const float *scale, float *out, size_t out_stride)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            ((vqc_f32_at *)(out + r * out_stride))[c] =
                fabsf(((const vqc_f32_at *)(x + r * x_stride))[c]) * scale[c];
}

void vqc_f32_count_above__c(const float *x, size_t n, const uint32_t *bounds, uint64_t *counts)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t key = prune_key(x + i);
        for (size_t b = 0; b < VQC_COUNT_BOUNDS; b++)
            counts[b] += key > bounds[b];
    }
}

size_t vqc_f32_gather_keys__c(const float *x, size_t n, const uint32_t *bounds, uint32_t *keys)
{
    return prune_gather(x, n, bounds, keys);
}

void vqc_f32_threshold_mask__c(const float *x, size_t n, float threshold, uint8_t *mask)
{
    const uint32_t least = prune_key(&threshold);
    for (size_t i = 0; i < n; i++)
        mask[i] = prune_key(x + i) > least;
}

void vqc_f32_group_mask__c(const float *x, size_t n, size_t of, size_t keep, uint8_t *mask)
{
    for (size_t i = 0; i < n; i += of)
        prune_group(x + i, n - i < of ? n - i : of, keep, mask + i);
}

size_t vqc_f32_count_zero__c(const float *x, size_t n)
{
    size_t zeros = 0;
    for (size_t i = 0; i < n; i++)
        zeros += prune_key(x + i) == 0;
    return zeros;
}
