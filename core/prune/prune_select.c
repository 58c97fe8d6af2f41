#include "core/prune/prune_select.h"

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

/* The order of floats that are not negative is that of their bits. */
enum { RADIX_BITS = 11, RADIX_BINS = 1 << RADIX_BITS, PASSES = 3 };

vqc_prune_cut vqc_prune_cut_find(const float *const *scores, const size_t *counts, size_t arrays,
                                 size_t k)
{
    vqc_prune_cut cut = {0.0f, 0};
    uint32_t prefix = 0;
    uint64_t left = k;

    if (k == 0) {
        return cut; /* nothing is below 0, and none of those equal to it goes */
    }
    for (int pass = 0; pass < PASSES; pass++) {
        uint64_t bins[RADIX_BINS] = {0};
        uint32_t bin = 0;
        for (size_t i = 0; i < arrays; i++) {
            vqc_kernels_get()->f32_key_histogram(scores[i], counts[i], pass, prefix, bins);
        }
        while (bin + 1 < RADIX_BINS && left > bins[bin]) {
            left -= bins[bin++];
        }
        prefix = prefix << RADIX_BITS | bin;
    }
    memcpy(&cut.threshold, &prefix, sizeof prefix);
    cut.ties = (size_t)left;
    return cut;
}

void vqc_prune_cut_apply(vqc_prune_cut *cut, const float *scores, size_t n, uint8_t *mask)
{
    float threshold = cut->threshold;
    size_t i = 0;

    for (; i < n && cut->ties > 0; i++) {
        mask[i] = scores[i] > threshold;
        cut->ties -= scores[i] == threshold ? 1 : 0;
    }
    if (i < n && threshold > 0.0f) { /* from the threshold on: above the float before it */
        vqc_kernels_get()->f32_threshold_mask(scores + i, n - i, nextafterf(threshold, 0.0f),
                                              mask + i);
    } else if (i < n) {
        memset(mask + i, 1, n - i);
    }
}

void vqc_prune_lowest(const float *scores, size_t n, size_t k, uint8_t *mask)
{
    vqc_prune_cut cut = vqc_prune_cut_find(&scores, &n, 1, k);

    vqc_prune_cut_apply(&cut, scores, n, mask);
}
