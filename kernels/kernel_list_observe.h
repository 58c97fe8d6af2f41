/* Rows of kernels/kernel_list.h for observe kernels. */
#ifndef VQC_KERNELS_KERNEL_LIST_OBSERVE_H
#define VQC_KERNELS_KERNEL_LIST_OBSERVE_H

#define VQC_KERNEL_LIST_OBSERVE(X)                                                                 \
    X(f32_histogram, HISTOGRAM, F32, void,                                                         \
      (const float *x, size_t n, float inv_width, uint32_t half_bins, uint64_t *counts))           \
    X(f32_moments, MOMENTS, F32, void, (const float *x, size_t n, vqc_f32_moments *acc))           \
    X(f32_moments_cols, MOMENTS_COLS, F32, void,                                                   \
      (const float *x, size_t rows, size_t cols, size_t x_stride, double *sum, float *absmax))

#endif
