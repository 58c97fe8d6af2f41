/* The type g8 of 8 float lanes of AVX2, for the AVX2 and AVX-512 product kernels (see gemm_body.h
 * and depthwise_body.h). */
#ifndef VQC_KERNELS_SIMD_GEMM_X86_H
#define VQC_KERNELS_SIMD_GEMM_X86_H

#include "kernels/lanes.h"

typedef __m256 g8;

VQC_INLINE g8 g8_set(float x)
{
    return _mm256_set1_ps(x);
}

VQC_INLINE g8 g8_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

VQC_INLINE void g8_store(float *p, g8 x)
{
    _mm256_storeu_ps(p, x);
}

VQC_INLINE g8 g8_fma(g8 x, g8 y, g8 z)
{
    return _mm256_fmadd_ps(x, y, z);
}

VQC_INLINE g8 g8_max(g8 x, g8 y)
{
    return _mm256_max_ps(x, y);
}

VQC_INLINE g8 g8_min(g8 x, g8 y)
{
    return _mm256_min_ps(x, y);
}

VQC_INLINE g8 g8_load_halves(const float *low, const float *high)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}

VQC_INLINE void g8_store_halves(float *low, float *high, g8 x)
{
    _mm_storeu_ps(low, _mm256_castps256_ps128(x));
    _mm_storeu_ps(high, _mm256_extractf128_ps(x, 1));
}

VQC_INLINE void g8_transpose(g8 *a, g8 *b, g8 *c, g8 *d)
{
    const __m256 ab = _mm256_unpacklo_ps(*a, *b), ba = _mm256_unpackhi_ps(*a, *b);
    const __m256 cd = _mm256_unpacklo_ps(*c, *d), dc = _mm256_unpackhi_ps(*c, *d);
    *a = _mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(1, 0, 1, 0));
    *b = _mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 2, 3, 2));
    *c = _mm256_shuffle_ps(ba, dc, _MM_SHUFFLE(1, 0, 1, 0));
    *d = _mm256_shuffle_ps(ba, dc, _MM_SHUFFLE(3, 2, 3, 2));
}

#endif
