/* The 16-lane vector of the kernel bodies on AVX-512 (F, BW, VL, DQ): one 512-bit register.
 * What each operation means is said once, in simd_bodies.h. */
#ifndef VQC_KERNELS_SIMD_AVX512_H
#define VQC_KERNELS_SIMD_AVX512_H

#ifdef VQC_KERNELS_SIMDE
/* The test build on a CPU without AVX-512: the same source on emulated intrinsics. */
#include "kernels/simd_avx512_simde.h"
#else
#include <immintrin.h>
#endif

#include "kernels/lanes.h"
#include "kernels/simd_x86_reduce.h"

typedef struct vf {
    __m512 v;
} vf;
typedef struct vi {
    __m512i v;
} vi;
typedef struct vm {
    __mmask16 m;
} vm;

VQC_INLINE vf vf_set(float x)
{
    return (vf){_mm512_set1_ps(x)};
}

VQC_INLINE vi vi_set(int32_t x)
{
    return (vi){_mm512_set1_epi32(x)};
}

/* Lanes 0 .. n-1 true, n <= 16. */
VQC_INLINE vm vm_first(size_t n)
{
    return (vm){(__mmask16)((1u << n) - 1u)};
}

VQC_INLINE vf vf_load(const float *p)
{
    return (vf){_mm512_loadu_ps(p)};
}

VQC_INLINE void vf_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x.v);
}

VQC_INLINE vf vf_select(vm m, vf x, vf y)
{
    return (vf){_mm512_mask_mov_ps(y.v, m.m, x.v)};
}

VQC_INLINE vi vi_select(vm m, vi x, vi y)
{
    return (vi){_mm512_mask_mov_epi32(y.v, m.m, x.v)};
}

VQC_INLINE vf vf_load_n(const float *p, size_t n, float fill)
{
    return (vf){_mm512_mask_loadu_ps(_mm512_set1_ps(fill), vm_first(n).m, p)};
}

VQC_INLINE void vf_store_n(float *p, size_t n, vf x)
{
    _mm512_mask_storeu_ps(p, vm_first(n).m, x.v);
}

VQC_INLINE vi vi_load(const int32_t *p)
{
    return (vi){_mm512_loadu_si512(p)};
}

VQC_INLINE void vi_store(int32_t *p, vi x)
{
    _mm512_storeu_si512(p, x.v);
}

VQC_INLINE vi vi_load_n(const int32_t *p, size_t n)
{
    return (vi){_mm512_maskz_loadu_epi32(vm_first(n).m, p)};
}

VQC_INLINE vf vf_add(vf x, vf y)
{
    return (vf){_mm512_add_ps(x.v, y.v)};
}

VQC_INLINE vf vf_sub(vf x, vf y)
{
    return (vf){_mm512_sub_ps(x.v, y.v)};
}

VQC_INLINE vf vf_mul(vf x, vf y)
{
    return (vf){_mm512_mul_ps(x.v, y.v)};
}

VQC_INLINE vf vf_min(vf x, vf y)
{
    return (vf){_mm512_min_ps(x.v, y.v)};
}

VQC_INLINE vf vf_max(vf x, vf y)
{
    return (vf){_mm512_max_ps(x.v, y.v)};
}

VQC_INLINE vi vi_bits(vf x)
{
    return (vi){_mm512_castps_si512(x.v)};
}

VQC_INLINE vf vf_bits(vi x)
{
    return (vf){_mm512_castsi512_ps(x.v)};
}

VQC_INLINE vi vi_round(vf x)
{
    return (vi){_mm512_cvtps_epi32(x.v)};
}

VQC_INLINE vi vi_trunc(vf x)
{
    return (vi){_mm512_cvttps_epi32(x.v)};
}

VQC_INLINE vf vf_from_int(vi x)
{
    return (vf){_mm512_cvtepi32_ps(x.v)};
}

VQC_INLINE vi vi_add(vi x, vi y)
{
    return (vi){_mm512_add_epi32(x.v, y.v)};
}

VQC_INLINE vi vi_sub(vi x, vi y)
{
    return (vi){_mm512_sub_epi32(x.v, y.v)};
}

VQC_INLINE vi vi_and(vi x, vi y)
{
    return (vi){_mm512_and_si512(x.v, y.v)};
}

VQC_INLINE vi vi_or(vi x, vi y)
{
    return (vi){_mm512_or_si512(x.v, y.v)};
}

VQC_INLINE vi vi_min(vi x, vi y)
{
    return (vi){_mm512_min_epi32(x.v, y.v)};
}

VQC_INLINE vi vi_shl(vi x, int k)
{
    return (vi){_mm512_slli_epi32(x.v, (unsigned)k)};
}

VQC_INLINE vi vi_shr(vi x, int k)
{
    return (vi){_mm512_srli_epi32(x.v, (unsigned)k)};
}

VQC_INLINE vm vi_gt(vi x, vi y)
{
    return (vm){_mm512_cmpgt_epi32_mask(x.v, y.v)};
}

VQC_INLINE vf vf_abs(vf x)
{
    return vf_bits(vi_and(vi_bits(x), vi_set(0x7fffffff)));
}

VQC_INLINE vf vf_keep_first(vf x, size_t n)
{
    return (vf){_mm512_maskz_mov_ps(vm_first(n).m, x.v)};
}

VQC_INLINE vf vf_nan_to_zero(vf x)
{
    return (vf){_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, x.v, _CMP_ORD_Q), x.v)};
}

VQC_INLINE bool vf_any_nan(vf x)
{
    return _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q) != 0;
}

VQC_INLINE vi vi_count(vi count, vm m)
{
    return (vi){_mm512_mask_add_epi32(count.v, m.m, count.v, _mm512_set1_epi32(1))};
}

VQC_INLINE vi vi_uncount(vi count, vm m)
{
    return (vi){_mm512_mask_sub_epi32(count.v, m.m, count.v, _mm512_set1_epi32(1))};
}

VQC_INLINE uint32_t vm_bits(vm m)
{
    return m.m;
}

VQC_INLINE void vf_load_cols4(const float *x, size_t stride, vf out[4])
{
    __m256 lo[4], hi[4];
    halves_cols4(x, stride, lo);
    halves_cols4(x + 8 * stride, stride, hi);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++)
        out[i] = (vf){_mm512_insertf32x8(_mm512_castps256_ps512(lo[i]), hi[i], 1)};
}

VQC_INLINE void vi_store_code(void *q, enum vqc_code code, vi x)
{
    if (vqc_code_size(code) == 1)
        _mm_storeu_si128((__m128i *)q, _mm512_cvtepi32_epi8(x.v));
    else
        _mm256_storeu_si256((__m256i *)q, _mm512_cvtepi32_epi16(x.v));
}

VQC_INLINE void vi_store_code_n(void *q, size_t n, enum vqc_code code, vi x)
{
    if (vqc_code_size(code) == 1)
        _mm_mask_storeu_epi8(q, vm_first(n).m, _mm512_cvtepi32_epi8(x.v));
    else
        _mm256_mask_storeu_epi16(q, vm_first(n).m, _mm512_cvtepi32_epi16(x.v));
}

VQC_INLINE vi vi_widen(enum vqc_code code, __m128i bytes, __m256i words)
{
    switch (code) {
    case VQC_CODE_U8:
        return (vi){_mm512_cvtepu8_epi32(bytes)};
    case VQC_CODE_S8:
        return (vi){_mm512_cvtepi8_epi32(bytes)};
    case VQC_CODE_U16:
        return (vi){_mm512_cvtepu16_epi32(words)};
    case VQC_CODE_S16:
        break;
    }
    return (vi){_mm512_cvtepi16_epi32(words)};
}

VQC_INLINE vi vi_load_code(const void *q, enum vqc_code code)
{
    if (vqc_code_size(code) == 1)
        return vi_widen(code, _mm_loadu_si128((const __m128i *)q), _mm256_setzero_si256());
    return vi_widen(code, _mm_setzero_si128(), _mm256_loadu_si256((const __m256i *)q));
}

VQC_INLINE vi vi_load_code_n(const void *q, size_t n, enum vqc_code code)
{
    if (vqc_code_size(code) == 1)
        return vi_widen(code, _mm_maskz_loadu_epi8(vm_first(n).m, q), _mm256_setzero_si256());
    return vi_widen(code, _mm_setzero_si128(), _mm256_maskz_loadu_epi16(vm_first(n).m, q));
}

VQC_INLINE vf vf_load_f16(const uint16_t *p)
{
    return (vf){_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p))};
}

/* The masked form, because the plain one is a macro that -Wsign-conversion objects to at -O0. */
#define ALL_LANES ((__mmask16)0xffff)

VQC_INLINE void vf_store_f16(uint16_t *p, vf x)
{
    _mm256_storeu_si256((__m256i *)(void *)p,
                        _mm512_maskz_cvtps_ph(ALL_LANES, x.v, _MM_FROUND_TO_NEAREST_INT));
}

VQC_INLINE vf vf_load_f64(const double *p)
{
    const __m256 lo = _mm512_cvtpd_ps(_mm512_loadu_pd(p));
    const __m256 hi = _mm512_cvtpd_ps(_mm512_loadu_pd(p + 8));
    return (vf){_mm512_insertf32x8(_mm512_castps256_ps512(lo), hi, 1)};
}

VQC_INLINE void vf_store_f64(double *p, vf x)
{
    _mm512_storeu_pd(p, _mm512_cvtps_pd(_mm512_castps512_ps256(x.v)));
    _mm512_storeu_pd(p + 8, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.v, 1)));
}

VQC_INLINE double vf_sum(vf x)
{
    return halves_sum(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
}

VQC_INLINE float vf_smallest(vf x)
{
    return halves_min(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
}

VQC_INLINE float vf_largest(vf x)
{
    return halves_max(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
}

/* One register of the FMA probe and how many of them make 16 lanes. */
typedef __m512 vf_native;
#define VF_NATIVE_PER_VECTOR 1
#define VF_NATIVE_SET(x) _mm512_set1_ps(x)
#define VF_NATIVE_FMA(x, y, z) _mm512_fmadd_ps(x, y, z)
#define VF_NATIVE_ADD(x, y) _mm512_add_ps(x, y)
#define VF_NATIVE_FIRST(x) _mm_cvtss_f32(_mm512_castps512_ps128(x))

#endif
