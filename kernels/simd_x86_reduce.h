/* The fixed trees of lanes.h over 16 lanes in two 256-bit halves, for the AVX2 and the AVX-512
 * kernels: the same additions and comparisons in the same order, so the same bits. */
#ifndef VQC_KERNELS_SIMD_X86_REDUCE_H
#define VQC_KERNELS_SIMD_X86_REDUCE_H

/* vqc_lanes_sum. */
VQC_INLINE double halves_sum(__m256 lo, __m256 hi)
{
    const __m256d t0 = _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(lo)),
                                     _mm256_cvtps_pd(_mm256_castps256_ps128(hi)));
    const __m256d t4 = _mm256_add_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(lo, 1)),
                                     _mm256_cvtps_pd(_mm256_extractf128_ps(hi, 1)));
    const __m256d t = _mm256_add_pd(t0, t4);
    const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(t), _mm256_extractf128_pd(t, 1));
    return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}

/* vqc_lanes_min. */
VQC_INLINE float halves_min(__m256 lo, __m256 hi)
{
    const __m256 t8 = _mm256_min_ps(hi, lo);
    const __m128 t4 = _mm_min_ps(_mm256_extractf128_ps(t8, 1), _mm256_castps256_ps128(t8));
    const __m128 t2 = _mm_min_ps(_mm_movehl_ps(t4, t4), t4);
    return _mm_cvtss_f32(_mm_min_ss(_mm_shuffle_ps(t2, t2, 1), t2));
}

/* vqc_lanes_max. */
VQC_INLINE float halves_max(__m256 lo, __m256 hi)
{
    const __m256 t8 = _mm256_max_ps(hi, lo);
    const __m128 t4 = _mm_max_ps(_mm256_extractf128_ps(t8, 1), _mm256_castps256_ps128(t8));
    const __m128 t2 = _mm_max_ps(_mm_movehl_ps(t4, t4), t4);
    return _mm_cvtss_f32(_mm_max_ss(_mm_shuffle_ps(t2, t2, 1), t2));
}

#endif
