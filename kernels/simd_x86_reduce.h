/* What the AVX2 and the AVX-512 kernels share over 256-bit halves: the fixed trees of lanes.h with
 * the same additions and comparisons in the same order, so the same bits, and a transposition. */
#ifndef VQC_KERNELS_SIMD_X86_REDUCE_H
#define VQC_KERNELS_SIMD_X86_REDUCE_H

/* Rows i and i + 4 of four elements in one register. */
VQC_INLINE __m256 halves_row(const float *x, size_t stride, size_t i)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(x + i * stride)),
                                _mm_loadu_ps(x + (i + 4) * stride), 1);
}

/* The four columns of 8 rows: rows 0 to 3 lie in the lower half of the registers, 4 to 7 in the
 * upper, so that no step crosses the halves. */
VQC_INLINE void halves_cols4(const float *x, size_t stride, __m256 out[4])
{
    const __m256 r0 = halves_row(x, stride, 0), r1 = halves_row(x, stride, 1);
    const __m256 r2 = halves_row(x, stride, 2), r3 = halves_row(x, stride, 3);
    const __m256 a = _mm256_unpacklo_ps(r0, r1), b = _mm256_unpackhi_ps(r0, r1);
    const __m256 c = _mm256_unpacklo_ps(r2, r3), d = _mm256_unpackhi_ps(r2, r3);
    out[0] = _mm256_shuffle_ps(a, c, _MM_SHUFFLE(1, 0, 1, 0));
    out[1] = _mm256_shuffle_ps(a, c, _MM_SHUFFLE(3, 2, 3, 2));
    out[2] = _mm256_shuffle_ps(b, d, _MM_SHUFFLE(1, 0, 1, 0));
    out[3] = _mm256_shuffle_ps(b, d, _MM_SHUFFLE(3, 2, 3, 2));
}

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
