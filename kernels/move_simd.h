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

/* Rows i and i + 4 of an 8 x 8 block in one register, left or right half. */
VQC_INLINE __m256 move_halves(const float *x, size_t x_stride, size_t i)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(x + i * x_stride)),
                                _mm_loadu_ps(x + (i + 4) * x_stride), 1);
}

/* Four columns of an 8 x 8 block: rows 0 to 3 lie in the lower half of the registers, 4 to 7 in
 * the upper, so that no step crosses the halves. */
VQC_INLINE void move_half_block(const float *x, size_t x_stride, float *out, size_t out_stride)
{
    const __m256 r0 = move_halves(x, x_stride, 0), r1 = move_halves(x, x_stride, 1);
    const __m256 r2 = move_halves(x, x_stride, 2), r3 = move_halves(x, x_stride, 3);
    const __m256 a = _mm256_unpacklo_ps(r0, r1), b = _mm256_unpackhi_ps(r0, r1);
    const __m256 c = _mm256_unpacklo_ps(r2, r3), d = _mm256_unpackhi_ps(r2, r3);
    _mm256_storeu_ps(out, _mm256_shuffle_ps(a, c, _MM_SHUFFLE(1, 0, 1, 0)));
    _mm256_storeu_ps(out + out_stride, _mm256_shuffle_ps(a, c, _MM_SHUFFLE(3, 2, 3, 2)));
    _mm256_storeu_ps(out + 2 * out_stride, _mm256_shuffle_ps(b, d, _MM_SHUFFLE(1, 0, 1, 0)));
    _mm256_storeu_ps(out + 3 * out_stride, _mm256_shuffle_ps(b, d, _MM_SHUFFLE(3, 2, 3, 2)));
}

VQC_INLINE void move_block(const float *x, size_t x_stride, float *out, size_t out_stride)
{
    move_half_block(x, x_stride, out, out_stride);
    move_half_block(x + 4, x_stride, out + 4 * out_stride, out_stride);
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
