/* Scalar steps of the kernels that move data, shared by the C reference and the odd ends of the
 * SIMD kernels. */
#ifndef VQC_KERNELS_MOVE_SCALAR_H
#define VQC_KERNELS_MOVE_SCALAR_H

#include "kernels/lanes.h"

/* memcpy, because a float register may change the bits of a signalling NaN on some targets. */
VQC_INLINE void move_transpose_scalar(const float *x, size_t rows, size_t cols, size_t x_stride,
                                      float *out, size_t out_stride)
{
    enum { TILE = 16 };
    for (size_t r0 = 0; r0 < rows; r0 += TILE) {
        const size_t n = vqc_min_size(rows - r0, TILE);
        for (size_t c = 0; c < cols; c++)
            for (size_t r = r0; r < r0 + n; r++)
                memcpy((char *)out + (c * out_stride + r) * 4,
                       (const char *)x + (r * x_stride + c) * 4, 4);
    }
}

#endif
