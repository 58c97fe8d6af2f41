/* AVX-512 for the test build on a CPU without it: SIMDe's emulation, and the intrinsics that SIMDe
 * 0.7.4 lacks, written from their description in the Intel Intrinsics Guide. Never part of the
 * program. */
#ifndef VQC_KERNELS_SIMD_AVX512_SIMDE_H
#define VQC_KERNELS_SIMD_AVX512_SIMDE_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>

#include "kernels/lanes.h"

/* A 512-bit register as its lanes. */
typedef union emulated {
    __m512 ps;
    __m512d pd;
    __m512i si;
    float f32[16];
    double f64[8];
    int32_t i32[16];
    __m256 half_ps[2];
    __m256i half_si[2];
} emulated;

VQC_INLINE __m512i emulated_loadu_si512(const void *p)
{
    emulated e;
    memcpy(&e, p, sizeof e);
    return e.si;
}

VQC_INLINE void emulated_storeu_si512(void *p, __m512i x)
{
    memcpy(p, &x, sizeof x);
}

VQC_INLINE __m512d emulated_loadu_pd(const void *p)
{
    emulated e;
    memcpy(&e, p, sizeof e);
    return e.pd;
}

VQC_INLINE __m512 emulated_loadu_ps(const void *p)
{
    emulated e;
    memcpy(&e, p, sizeof e);
    return e.ps;
}

/* Copies the elements of `size` bytes that the mask names, and touches no other memory. */
VQC_INLINE void emulated_mask_copy(void *to, const void *from, uint32_t mask, size_t count,
                                   size_t size)
{
    for (size_t i = 0; i < count; i++)
        if ((mask >> i & 1u) != 0)
            memcpy((char *)to + i * size, (const char *)from + i * size, size);
}

VQC_INLINE __m512 emulated_mask_loadu_ps(__m512 other, __mmask16 mask, const void *p)
{
    emulated_mask_copy(&other, p, mask, 16, 4);
    return other;
}

VQC_INLINE __m512 emulated_maskz_loadu_ps(__mmask16 mask, const void *p)
{
    return emulated_mask_loadu_ps(_mm512_setzero_ps(), mask, p);
}

VQC_INLINE __m512i emulated_maskz_loadu_epi32(__mmask16 mask, const void *p)
{
    emulated e = {.si = _mm512_setzero_si512()};
    emulated_mask_copy(&e, p, mask, 16, 4);
    return e.si;
}

VQC_INLINE __m128i emulated_maskz_loadu_epi8(__mmask16 mask, const void *p)
{
    __m128i x = _mm_setzero_si128();
    emulated_mask_copy(&x, p, mask, 16, 1);
    return x;
}

VQC_INLINE __m256i emulated_maskz_loadu_epi16(__mmask16 mask, const void *p)
{
    __m256i x = _mm256_setzero_si256();
    emulated_mask_copy(&x, p, mask, 16, 2);
    return x;
}

VQC_INLINE void emulated_mask_storeu_ps(void *p, __mmask16 mask, __m512 x)
{
    emulated_mask_copy(p, &x, mask, 16, 4);
}

VQC_INLINE void emulated_mask_storeu_epi8(void *p, __mmask16 mask, __m128i x)
{
    emulated_mask_copy(p, &x, mask, 16, 1);
}

VQC_INLINE void emulated_mask_storeu_epi16(void *p, __mmask16 mask, __m256i x)
{
    emulated_mask_copy(p, &x, mask, 16, 2);
}

/* Operations that are two 256-bit ones. */
#define EMULATED_HALVES(name, In, in, Out, out, half)                                              \
    VQC_INLINE Out emulated_##name(In x)                                                           \
    {                                                                                              \
        const emulated e = {.in = x};                                                              \
        emulated r;                                                                                \
        r.half_##out[0] = half(e.half_##in[0]);                                                    \
        r.half_##out[1] = half(e.half_##in[1]);                                                    \
        return r.out;                                                                              \
    }
EMULATED_HALVES(cvtps_epi32, __m512, ps, __m512i, si, _mm256_cvtps_epi32)
EMULATED_HALVES(cvttps_epi32, __m512, ps, __m512i, si, _mm256_cvttps_epi32)
EMULATED_HALVES(cvtepi32_ps, __m512i, si, __m512, ps, _mm256_cvtepi32_ps)

VQC_INLINE __m512i emulated_madd_epi16(__m512i x, __m512i y)
{
    const emulated a = {.si = x}, b = {.si = y};
    emulated r;
    r.half_si[0] = _mm256_madd_epi16(a.half_si[0], b.half_si[0]);
    r.half_si[1] = _mm256_madd_epi16(a.half_si[1], b.half_si[1]);
    return r.si;
}

/* Narrowing keeps the low bits. */
VQC_INLINE __m128i emulated_cvtepi32_epi8(__m512i x)
{
    const emulated e = {.si = x};
    uint8_t bytes[16];
    for (size_t i = 0; i < 16; i++)
        bytes[i] = (uint8_t)e.i32[i];
    return _mm_loadu_si128((const __m128i *)(const void *)bytes);
}

VQC_INLINE __m256i emulated_cvtepi32_epi16(__m512i x)
{
    const emulated e = {.si = x};
    uint16_t words[16];
    for (size_t i = 0; i < 16; i++)
        words[i] = (uint16_t)e.i32[i];
    return _mm256_loadu_si256((const __m256i *)(const void *)words);
}

#define EMULATED_WIDEN(name, In, T)                                                                \
    VQC_INLINE __m512i emulated_##name(In x)                                                       \
    {                                                                                              \
        T narrow[sizeof(In) / sizeof(T)];                                                          \
        emulated r;                                                                                \
        memcpy(narrow, &x, sizeof x);                                                              \
        for (size_t i = 0; i < 16; i++)                                                            \
            r.i32[i] = narrow[i];                                                                  \
        return r.si;                                                                               \
    }
EMULATED_WIDEN(cvtepu8_epi32, __m128i, uint8_t)
EMULATED_WIDEN(cvtepi8_epi32, __m128i, int8_t)
EMULATED_WIDEN(cvtepu16_epi32, __m256i, uint16_t)
EMULATED_WIDEN(cvtepi16_epi32, __m256i, int16_t)

VQC_INLINE __m512 emulated_cvtph_ps(__m256i x)
{
    emulated r;
    r.half_ps[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(x));
    r.half_ps[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1));
    return r.ps;
}

/* To nearest even with the full mask, the only use. */
VQC_INLINE __m256i emulated_cvtps_ph(__m512 x)
{
    const emulated e = {.ps = x};
    return _mm256_set_m128i(_mm256_cvtps_ph(e.half_ps[1], _MM_FROUND_TO_NEAREST_INT),
                            _mm256_cvtps_ph(e.half_ps[0], _MM_FROUND_TO_NEAREST_INT));
}

VQC_INLINE __m256 emulated_cvtpd_ps(__m512d x)
{
    const emulated e = {.pd = x};
    float r[8];
    for (size_t i = 0; i < 8; i++)
        r[i] = (float)e.f64[i];
    return _mm256_loadu_ps(r);
}

VQC_INLINE __m512d emulated_cvtps_pd(__m256 x)
{
    emulated r;
    float f[8];
    _mm256_storeu_ps(f, x);
    for (size_t i = 0; i < 8; i++)
        r.f64[i] = (double)f[i];
    return r.pd;
}

VQC_INLINE __m256 emulated_upper_ps(__m512 x)
{
    const emulated e = {.ps = x};
    return e.half_ps[1];
}

#undef _mm512_madd_epi16 /* defined with a wrong number of parameters */
#undef _mm512_loadu_si512
#undef _mm512_storeu_si512
#undef _mm512_loadu_ps
#undef _mm512_loadu_pd
#undef _mm512_cvtps_epi32
#undef _mm512_cvttps_epi32
#undef _mm512_cvtepi32_ps
#undef _mm512_extractf32x8_ps
#undef _mm512_maskz_cvtps_ph
#define _mm512_madd_epi16(x, y) emulated_madd_epi16(x, y)
#define _mm512_loadu_si512(p) emulated_loadu_si512(p)
#define _mm512_storeu_si512(p, x) emulated_storeu_si512(p, x)
#define _mm512_loadu_ps(p) emulated_loadu_ps(p)
#define _mm512_loadu_pd(p) emulated_loadu_pd(p)
#define _mm512_mask_loadu_ps(x, m, p) emulated_mask_loadu_ps(x, m, p)
#define _mm512_maskz_loadu_ps(m, p) emulated_maskz_loadu_ps(m, p)
#define _mm512_maskz_loadu_epi32(m, p) emulated_maskz_loadu_epi32(m, p)
#define _mm_maskz_loadu_epi8(m, p) emulated_maskz_loadu_epi8(m, p)
#define _mm256_maskz_loadu_epi16(m, p) emulated_maskz_loadu_epi16(m, p)
#define _mm512_mask_storeu_ps(p, m, x) emulated_mask_storeu_ps(p, m, x)
#define _mm_mask_storeu_epi8(p, m, x) emulated_mask_storeu_epi8(p, m, x)
#define _mm256_mask_storeu_epi16(p, m, x) emulated_mask_storeu_epi16(p, m, x)
#define _mm512_cvtps_epi32(x) emulated_cvtps_epi32(x)
#define _mm512_cvttps_epi32(x) emulated_cvttps_epi32(x)
#define _mm512_cvtepi32_ps(x) emulated_cvtepi32_ps(x)
#define _mm512_cvtepi32_epi8(x) emulated_cvtepi32_epi8(x)
#define _mm512_cvtepi32_epi16(x) emulated_cvtepi32_epi16(x)
#define _mm512_cvtepu8_epi32(x) emulated_cvtepu8_epi32(x)
#define _mm512_cvtepi8_epi32(x) emulated_cvtepi8_epi32(x)
#define _mm512_cvtepu16_epi32(x) emulated_cvtepu16_epi32(x)
#define _mm512_cvtepi16_epi32(x) emulated_cvtepi16_epi32(x)
#define _mm512_cvtph_ps(x) emulated_cvtph_ps(x)
#define _mm512_maskz_cvtps_ph(m, x, rounding) emulated_cvtps_ph(x)
#define _mm512_cvtpd_ps(x) emulated_cvtpd_ps(x)
#define _mm512_cvtps_pd(x) emulated_cvtps_pd(x)
#define _mm512_extractf32x8_ps(x, part) emulated_upper_ps(x) /* part 1 is the only use */

#endif
