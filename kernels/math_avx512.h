/* What math_bodies.h needs beyond simd_avx512.h. */
#ifndef VQC_KERNELS_MATH_AVX512_H
#define VQC_KERNELS_MATH_AVX512_H

#include "kernels/simd_avx512.h"

VQC_INLINE vf mf_fma(vf x, vf y, vf z)
{
    return (vf){_mm512_fmadd_ps(x.v, y.v, z.v)};
}

VQC_INLINE vf mf_div(vf x, vf y)
{
    return (vf){_mm512_div_ps(x.v, y.v)};
}

VQC_INLINE vf mf_sqrt(vf x)
{
    return (vf){_mm512_sqrt_ps(x.v)};
}

VQC_INLINE vm mf_gt(vf x, vf y)
{
    return (vm){_mm512_cmp_ps_mask(x.v, y.v, _CMP_GT_OQ)};
}

VQC_INLINE vm mf_is_nan(vf x)
{
    return (vm){_mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q)};
}

/* Eight even elements from two 256-bit loads; the last load starts one element early, so that
 * nothing behind p[30] is read. */
VQC_INLINE vf mf_load_even(const float *p)
{
    float even[VQC_LANES];
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    const __m256i late = _mm256_setr_epi32(1, 3, 5, 7, 1, 3, 5, 7);
    for (int i = 0; i < 3; i++)
        _mm_storeu_ps(even + 4 * i, _mm256_castps256_ps128(_mm256_permutevar8x32_ps(
                                        _mm256_loadu_ps(p + 8 * i), order)));
    _mm_storeu_ps(even + 12,
                  _mm256_castps256_ps128(_mm256_permutevar8x32_ps(_mm256_loadu_ps(p + 23), late)));
    return vf_load(even);
}

#endif
