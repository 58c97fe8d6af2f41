/* Rows of kernels/kernel_list.h for data movement.
 *
 * - f32_transpose: out[c * out_stride + r] = x[r * x_stride + c], 4-byte elements moved as they
 *   are; out_stride >= rows. */
#ifndef VQC_KERNELS_KERNEL_LIST_MOVE_H
#define VQC_KERNELS_KERNEL_LIST_MOVE_H

#define VQC_KERNEL_LIST_MOVE(X)                                                                    \
    X(f32_transpose, TRANSPOSE, F32, void,                                                         \
      (const float *x, size_t rows, size_t cols, size_t x_stride, float *out, size_t out_stride))

#endif
