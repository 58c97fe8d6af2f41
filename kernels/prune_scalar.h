/* What the pruning kernels do one by one: the C reference, and the ends of the others. */
#ifndef VQC_KERNELS_PRUNE_SCALAR_H
#define VQC_KERNELS_PRUNE_SCALAR_H

#include <string.h>

#include "kernels/lanes.h"

VQC_INLINE uint32_t prune_key(const float *x)
{
    uint32_t bits;
    memcpy(&bits, (const char *)x, sizeof bits);
    return bits & UINT32_C(0x7fffffff);
}

VQC_INLINE size_t prune_gather(const float *x, size_t n, const uint32_t *bounds, uint32_t *keys)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t key = prune_key(x + i);
        if (key >= bounds[0] && key <= bounds[1])
            keys[count++] = key;
    }
    return count;
}

/* What comes before an element: all in front of it that is not smaller, all behind that is larger.
 */
VQC_INLINE void prune_group(const float *x, size_t n, size_t keep, uint8_t *mask)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t key = prune_key(x + i);
        size_t before = 0;
        for (size_t j = 0; j < i; j++)
            before += prune_key(x + j) >= key;
        for (size_t j = i + 1; j < n; j++)
            before += prune_key(x + j) > key;
        mask[i] = before < keep;
    }
}

#endif
