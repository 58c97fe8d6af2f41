/* Kernels that move data, over the native registers; included by simd_bodies.h only. Results:
 * move_c.c. */
#ifndef VQC_KERNELS_MOVE_SIMD_H
#define VQC_KERNELS_MOVE_SIMD_H

#include "kernels/move_scalar.h"

#if defined(__aarch64__)
enum { MOVE_BLOCK = 4 };

/* 4 x 4 elements: pairs of 32 bits, then pairs of 64 bits. */
VQC_INLINE void move_block(const float *x, size_t x_stride, float *out, size_t out_stride)
{
    const float32x4_t r0 = vld1q_f32(x), r1 = vld1q_f32(x + x_stride);
    const float32x4_t r2 = vld1q_f32(x + 2 * x_stride), r3 = vld1q_f32(x + 3 * x_stride);
    const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(r0, r1));
    const float64x2_t b = vreinterpretq_f64_f32(vtrn2q_f32(r0, r1));
    const float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(r2, r3));
    const float64x2_t d = vreinterpretq_f64_f32(vtrn2q_f32(r2, r3));
    vst1q_f32(out, vreinterpretq_f32_f64(vtrn1q_f64(a, c)));
    vst1q_f32(out + out_stride, vreinterpretq_f32_f64(vtrn1q_f64(b, d)));
    vst1q_f32(out + 2 * out_stride, vreinterpretq_f32_f64(vtrn2q_f64(a, c)));
    vst1q_f32(out + 3 * out_stride, vreinterpretq_f32_f64(vtrn2q_f64(b, d)));
}
#else
enum { MOVE_BLOCK = 8 };

VQC_INLINE void move_block(const float *x, size_t x_stride, float *out, size_t out_stride)
{
#pragma GCC unroll 2
    for (size_t half = 0; half < MOVE_BLOCK; half += 4) {
        __m256 cols[4];
        halves_cols4(x + half, x_stride, cols);
        _mm256_storeu_ps(out + half * out_stride, cols[0]);
        _mm256_storeu_ps(out + (half + 1) * out_stride, cols[1]);
        _mm256_storeu_ps(out + (half + 2) * out_stride, cols[2]);
        _mm256_storeu_ps(out + (half + 3) * out_stride, cols[3]);
    }
}
#endif

/* Bands of one cache line of columns: what a band reads is used up before it leaves the cache, and
 * its lines of the result are written one after the other. */
void KERNEL(f32_transpose)(const float *x, size_t rows, size_t cols, size_t x_stride, float *out,
                           size_t out_stride)
{
    const size_t whole_rows = rows - rows % MOVE_BLOCK, whole_cols = cols - cols % MOVE_BLOCK;
    for (size_t c0 = 0; c0 < whole_cols; c0 += VQC_LANES) {
        const size_t c1 = vqc_min_size(c0 + VQC_LANES, whole_cols);
        for (size_t r = 0; r < whole_rows; r += MOVE_BLOCK) {
            /* The rows after the next block: no hardware foresees a walk down the rows. */
            for (size_t i = 2 * MOVE_BLOCK; i < 3 * MOVE_BLOCK; i++)
                __builtin_prefetch(
                    (const void *)((uintptr_t)x + ((r + i) * x_stride + c0) * sizeof *x));
            for (size_t c = c0; c < c1; c += MOVE_BLOCK)
                move_block(x + r * x_stride + c, x_stride, out + c * out_stride + r, out_stride);
        }
    }
    move_transpose_scalar(x + whole_cols, whole_rows, cols - whole_cols, x_stride,
                          out + whole_cols * out_stride, out_stride);
    move_transpose_scalar(x + whole_rows * x_stride, rows - whole_rows, cols, x_stride,
                          out + whole_rows, out_stride);
}

#endif
