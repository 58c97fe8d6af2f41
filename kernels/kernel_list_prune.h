/* Rows of kernels/kernel_list.h for pruning. The key of a value are the bits of its magnitude,
 * which order like magnitudes.
 *
 * - f32_score_cols: out = |x| * scale[c], rows out_stride apart.
 * - f32_count_above: adds to counts[b] how many keys of x[n] are above bounds[b], for each of
 *   VQC_COUNT_BOUNDS keys below 2^31.
 * - f32_gather_keys: writes the keys of x[n] from bounds[0] to bounds[1], both included, one after
 *   the other to keys, which has room for exactly as many, and returns their number.
 * - f32_threshold_mask: mask = |x| > threshold ? 1 : 0, by keys; threshold >= 0.
 * - f32_group_mask: of every `of` neighbours (the last group may be shorter) the `keep` largest get
 *   1, the first among equals, the others 0; x are scores, finite and not negative (no -0).
 * - f32_count_zero: how many of x[n] are +0 or -0. */
#ifndef VQC_KERNELS_KERNEL_LIST_PRUNE_H
#define VQC_KERNELS_KERNEL_LIST_PRUNE_H

#define VQC_KERNEL_LIST_PRUNE(X)                                                                   \
    X(f32_score_cols, SCORE_COLS, F32, void,                                                       \
      (const float *x, size_t rows, size_t cols, size_t x_stride, const float *scale, float *out,  \
       size_t out_stride))                                                                         \
    X(f32_count_above, COUNT_ABOVE, F32, void,                                                     \
      (const float *x, size_t n, const uint32_t *bounds, uint64_t *counts))                        \
    X(f32_gather_keys, GATHER_KEYS, F32, size_t,                                                   \
      (const float *x, size_t n, const uint32_t *bounds, uint32_t *keys))                          \
    X(f32_threshold_mask, THRESHOLD_MASK, F32, void,                                               \
      (const float *x, size_t n, float threshold, uint8_t *mask))                                  \
    X(f32_group_mask, GROUP_MASK, F32, void,                                                       \
      (const float *x, size_t n, size_t of, size_t keep, uint8_t *mask))                           \
    X(f32_count_zero, COUNT_ZERO, F32, size_t, (const float *x, size_t n))

#endif
