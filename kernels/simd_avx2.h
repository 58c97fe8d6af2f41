/* The 16-lane vector of the kernel bodies (simd_stats.h, ...) on AVX2: two 256-bit registers.
 * What each operation means is said once, in simd_bodies.h. */
#ifndef VQC_KERNELS_SIMD_AVX2_H
#define VQC_KERNELS_SIMD_AVX2_H

#include <immintrin.h>

#include "kernels/lanes.h"
#include "kernels/simd_x86_reduce.h"

typedef struct vf {
    __m256 a, b;
} vf;
typedef struct vi {
    __m256i a, b;
} vi;
typedef vi vm; /* all bits of a lane set: true */

#define VF1(f, x) ((vf){f((x).a), f((x).b)})
#define VF2(f, x, y) ((vf){f((x).a, (y).a), f((x).b, (y).b)})
#define VI1(f, x) ((vi){f((x).a), f((x).b)})
#define VI2(f, x, y) ((vi){f((x).a, (y).a), f((x).b, (y).b)})

VQC_INLINE vf vf_set(float x)
{
    return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

VQC_INLINE vi vi_set(int32_t x)
{
    return (vi){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}

/* Lanes 0 .. n-1 true, n <= 16: a window into 16 ones followed by 16 zeros. */
VQC_INLINE vm vm_first(size_t n)
{
    static const int32_t window[2 * VQC_LANES] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                  -1, -1, -1, -1, -1, -1, -1, -1};
    const int32_t *p = window + VQC_LANES - n;
    return (vm){_mm256_loadu_si256((const __m256i *)(const void *)p),
                _mm256_loadu_si256((const __m256i *)(const void *)(p + 8))};
}

VQC_INLINE vf vf_load(const float *p)
{
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

VQC_INLINE void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}

VQC_INLINE vf vf_select(vm m, vf x, vf y)
{
    return (vf){_mm256_blendv_ps(y.a, x.a, _mm256_castsi256_ps(m.a)),
                _mm256_blendv_ps(y.b, x.b, _mm256_castsi256_ps(m.b))};
}

VQC_INLINE vi vi_select(vm m, vi x, vi y)
{
    return (vi){_mm256_blendv_epi8(y.a, x.a, m.a), _mm256_blendv_epi8(y.b, x.b, m.b)};
}

VQC_INLINE vf vf_load_n(const float *p, size_t n, float fill)
{
    const vm m = vm_first(n);
    const vf x = {_mm256_maskload_ps(p, m.a),
                  n > 8 ? _mm256_maskload_ps(p + 8, m.b) : _mm256_setzero_ps()};
    return vf_select(m, x, vf_set(fill));
}

VQC_INLINE vi vi_load(const int32_t *p)
{
    return (vi){_mm256_loadu_si256((const __m256i *)(const void *)p),
                _mm256_loadu_si256((const __m256i *)(const void *)(p + 8))};
}

VQC_INLINE void vi_store(int32_t *p, vi x)
{
    _mm256_storeu_si256((__m256i *)(void *)p, x.a);
    _mm256_storeu_si256((__m256i *)(void *)(p + 8), x.b);
}

VQC_INLINE vi vi_load_n(const int32_t *p, size_t n)
{
    const vm m = vm_first(n);
    return (vi){_mm256_maskload_epi32(p, m.a),
                n > 8 ? _mm256_maskload_epi32(p + 8, m.b) : _mm256_setzero_si256()};
}

VQC_INLINE vf vf_add(vf x, vf y)
{
    return VF2(_mm256_add_ps, x, y);
}

VQC_INLINE vf vf_sub(vf x, vf y)
{
    return VF2(_mm256_sub_ps, x, y);
}

VQC_INLINE vf vf_mul(vf x, vf y)
{
    return VF2(_mm256_mul_ps, x, y);
}

VQC_INLINE vf vf_min(vf x, vf y)
{
    return VF2(_mm256_min_ps, x, y);
}

VQC_INLINE vf vf_max(vf x, vf y)
{
    return VF2(_mm256_max_ps, x, y);
}

VQC_INLINE vi vi_bits(vf x)
{
    return VI1(_mm256_castps_si256, x);
}

VQC_INLINE vf vf_bits(vi x)
{
    return VF1(_mm256_castsi256_ps, x);
}

VQC_INLINE vi vi_round(vf x)
{
    return VI1(_mm256_cvtps_epi32, x);
}

VQC_INLINE vi vi_trunc(vf x)
{
    return VI1(_mm256_cvttps_epi32, x);
}

VQC_INLINE vf vf_from_int(vi x)
{
    return VF1(_mm256_cvtepi32_ps, x);
}

VQC_INLINE vi vi_add(vi x, vi y)
{
    return VI2(_mm256_add_epi32, x, y);
}

VQC_INLINE vi vi_sub(vi x, vi y)
{
    return VI2(_mm256_sub_epi32, x, y);
}

VQC_INLINE vi vi_and(vi x, vi y)
{
    return VI2(_mm256_and_si256, x, y);
}

VQC_INLINE vi vi_or(vi x, vi y)
{
    return VI2(_mm256_or_si256, x, y);
}

VQC_INLINE vi vi_min(vi x, vi y)
{
    return VI2(_mm256_min_epi32, x, y);
}

VQC_INLINE vi vi_shl(vi x, int k)
{
    return (vi){_mm256_slli_epi32(x.a, k), _mm256_slli_epi32(x.b, k)};
}

VQC_INLINE vi vi_shr(vi x, int k)
{
    return (vi){_mm256_srli_epi32(x.a, k), _mm256_srli_epi32(x.b, k)};
}

VQC_INLINE vm vi_gt(vi x, vi y)
{
    return VI2(_mm256_cmpgt_epi32, x, y);
}

VQC_INLINE vf vf_abs(vf x)
{
    return vf_bits(vi_and(vi_bits(x), vi_set(0x7fffffff)));
}

VQC_INLINE vf vf_keep_first(vf x, size_t n)
{
    return vf_bits(vi_and(vi_bits(x), vm_first(n)));
}

VQC_INLINE vf vf_nan_to_zero(vf x)
{
    return (vf){_mm256_and_ps(x.a, _mm256_cmp_ps(x.a, x.a, _CMP_ORD_Q)),
                _mm256_and_ps(x.b, _mm256_cmp_ps(x.b, x.b, _CMP_ORD_Q))};
}

VQC_INLINE bool vf_any_nan(vf x)
{
    const __m256 nan =
        _mm256_or_ps(_mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q), _mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q));
    return _mm256_movemask_ps(nan) != 0;
}

VQC_INLINE vi vi_count(vi count, vm m)
{
    return vi_sub(count, m);
}

VQC_INLINE vi vi_uncount(vi count, vm m)
{
    return vi_add(count, m);
}

VQC_INLINE uint32_t vm_bits(vm m)
{
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(m.a)) |
           (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(m.b)) << 8;
}

VQC_INLINE void vf_load_cols4(const float *x, size_t stride, vf out[4])
{
    __m256 lo[4], hi[4];
    halves_cols4(x, stride, lo);
    halves_cols4(x + 8 * stride, stride, hi);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++)
        out[i] = (vf){lo[i], hi[i]};
}

/* packs/packus work within 128-bit halves; this puts their quarters back in order. */
#define IN_ORDER(x) _mm256_permute4x64_epi64((x), _MM_SHUFFLE(3, 1, 2, 0))

VQC_INLINE void vi_store_code(void *q, enum vqc_code code, vi x)
{
    if (code == VQC_CODE_U16) {
        _mm256_storeu_si256((__m256i *)q, IN_ORDER(_mm256_packus_epi32(x.a, x.b)));
        return;
    }
    const __m256i words = IN_ORDER(_mm256_packs_epi32(x.a, x.b));
    const __m128i lo = _mm256_castsi256_si128(words), hi = _mm256_extracti128_si256(words, 1);
    if (code == VQC_CODE_S16)
        _mm256_storeu_si256((__m256i *)q, words);
    else if (code == VQC_CODE_U8)
        _mm_storeu_si128((__m128i *)q, _mm_packus_epi16(lo, hi));
    else
        _mm_storeu_si128((__m128i *)q, _mm_packs_epi16(lo, hi));
}

VQC_INLINE vi vi_load_code(const void *q, enum vqc_code code)
{
    const __m128i lo = _mm_loadu_si128((const __m128i *)q);
    const __m128i hi =
        vqc_code_size(code) == 1 ? _mm_srli_si128(lo, 8) : _mm_loadu_si128((const __m128i *)q + 1);
    switch (code) {
    case VQC_CODE_U8:
        return (vi){_mm256_cvtepu8_epi32(lo), _mm256_cvtepu8_epi32(hi)};
    case VQC_CODE_S8:
        return (vi){_mm256_cvtepi8_epi32(lo), _mm256_cvtepi8_epi32(hi)};
    case VQC_CODE_U16:
        return (vi){_mm256_cvtepu16_epi32(lo), _mm256_cvtepu16_epi32(hi)};
    case VQC_CODE_S16:
        break;
    }
    return (vi){_mm256_cvtepi16_epi32(lo), _mm256_cvtepi16_epi32(hi)};
}

/* Not vmaskmovps, whose store form takes dozens of cycles on AMD cores. */
VQC_INLINE void vf_store_n(float *p, size_t n, vf x)
{
    float rest[8];
    _mm256_storeu_ps(rest, n < 8 ? x.a : x.b);
    if (n >= 8) {
        _mm256_storeu_ps(p, x.a);
        p += 8;
        n -= 8;
    }
    vqc_copy_short(p, rest, n * sizeof *p);
}

VQC_INLINE void vi_store_code_n(void *q, size_t n, enum vqc_code code, vi x)
{
    uint8_t buffer[2 * VQC_LANES];
    vi_store_code(buffer, code, x);
    vqc_copy_short(q, buffer, n * vqc_code_size(code));
}

VQC_INLINE vi vi_load_code_n(const void *q, size_t n, enum vqc_code code)
{
    uint8_t buffer[2 * VQC_LANES] = {0};
    vqc_copy_short(buffer, q, n * vqc_code_size(code));
    return vi_load_code(buffer, code);
}

VQC_INLINE vf vf_load_f16(const uint16_t *p)
{
    return (vf){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)),
                _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 8)))};
}

VQC_INLINE void vf_store_f16(uint16_t *p, vf x)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(void *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}

VQC_INLINE vf vf_load_f64(const double *p)
{
    return (vf){_mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(p + 4)),
                                _mm256_cvtpd_ps(_mm256_loadu_pd(p))),
                _mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(p + 12)),
                                _mm256_cvtpd_ps(_mm256_loadu_pd(p + 8)))};
}

VQC_INLINE void vf_store_f64(double *p, vf x)
{
    _mm256_storeu_pd(p, _mm256_cvtps_pd(_mm256_castps256_ps128(x.a)));
    _mm256_storeu_pd(p + 4, _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)));
    _mm256_storeu_pd(p + 8, _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)));
    _mm256_storeu_pd(p + 12, _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1)));
}

VQC_INLINE double vf_sum(vf x)
{
    return halves_sum(x.a, x.b);
}

VQC_INLINE float vf_smallest(vf x)
{
    return halves_min(x.a, x.b);
}

VQC_INLINE float vf_largest(vf x)
{
    return halves_max(x.a, x.b);
}

/* One register of the FMA probe and how many of them make 16 lanes. */
typedef __m256 vf_native;
#define VF_NATIVE_PER_VECTOR 2
#define VF_NATIVE_SET(x) _mm256_set1_ps(x)
#define VF_NATIVE_FMA(x, y, z) _mm256_fmadd_ps(x, y, z)
#define VF_NATIVE_ADD(x, y) _mm256_add_ps(x, y)
#define VF_NATIVE_FIRST(x) _mm256_cvtss_f32(x)

#endif
