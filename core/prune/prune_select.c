#include "core/prune/prune_select.h"

#include <string.h>

enum { RADIX_BITS = 11, RADIX_BINS = 1 << RADIX_BITS, PASSES = 3 };

/* The order of floats that are not negative is that of their bits. */
static uint32_t key_of(float score)
{
    uint32_t bits;

    memcpy(&bits, &score, sizeof bits);
    return bits & UINT32_C(0x7fffffff);
}

/* Counts the keys whose bits above shift + RADIX_BITS are `prefix` by the RADIX_BITS bits at shift.
 */
static void histogram(const float *scores, size_t n, unsigned shift, uint32_t prefix,
                      uint64_t *counts)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t key = key_of(scores[i]);
        if (((uint64_t)key >> (shift + RADIX_BITS)) == prefix) {
            counts[(key >> shift) & (RADIX_BINS - 1)]++;
        }
    }
}

vqc_prune_cut vqc_prune_cut_find(const float *const *scores, const size_t *counts, size_t arrays,
                                 size_t k)
{
    static const unsigned shifts[PASSES] = {22, 11, 0};
    vqc_prune_cut cut = {0.0f, 0};
    uint32_t prefix = 0;
    uint64_t left = k;

    if (k == 0) {
        return cut; /* nothing is below 0, and none of those equal to it goes */
    }
    for (size_t pass = 0; pass < PASSES; pass++) {
        uint64_t bins[RADIX_BINS] = {0};
        uint32_t bin = 0;
        for (size_t i = 0; i < arrays; i++) {
            histogram(scores[i], counts[i], shifts[pass], prefix, bins);
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
    for (; i < n; i++) {
        mask[i] = scores[i] >= threshold;
    }
}

void vqc_prune_lowest(const float *scores, size_t n, size_t k, uint8_t *mask)
{
    vqc_prune_cut cut = vqc_prune_cut_find(&scores, &n, 1, k);

    vqc_prune_cut_apply(&cut, scores, n, mask);
}
