/* What math_bodies.h needs beyond simd_avx2.h. */
#ifndef VQC_KERNELS_MATH_AVX2_H
#define VQC_KERNELS_MATH_AVX2_H

#include "kernels/simd_avx2.h"

VQC_INLINE vf mf_fma(vf x, vf y, vf z)
{
    return (vf){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}

VQC_INLINE vf mf_div(vf x, vf y)
{
    return VF2(_mm256_div_ps, x, y);
}

VQC_INLINE vf mf_sqrt(vf x)
{
    return VF1(_mm256_sqrt_ps, x);
}

VQC_INLINE vm mf_gt(vf x, vf y)
{
    return (vm){_mm256_castps_si256(_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ)),
                _mm256_castps_si256(_mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ))};
}

VQC_INLINE vm mf_is_nan(vf x)
{
    return (vm){_mm256_castps_si256(_mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q)),
                _mm256_castps_si256(_mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q))};
}

/* p[0], p[2], ..., p[14] of two registers. */
VQC_INLINE __m256 even_of_pair(__m256 x, __m256 y)
{
    const __m256d mixed = _mm256_castps_pd(_mm256_shuffle_ps(x, y, _MM_SHUFFLE(2, 0, 2, 0)));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(mixed, _MM_SHUFFLE(3, 1, 2, 0)));
}

/* The last register is loaded one element early: nothing behind p[30] is read. */
VQC_INLINE vf mf_load_even(const float *p)
{
    const __m256 last = _mm256_loadu_ps(p + 23);
    const __m256 moved = _mm256_permutevar8x32_ps(last, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 7));
    return (vf){even_of_pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)),
                even_of_pair(_mm256_loadu_ps(p + 16), moved)};
}

#endif
