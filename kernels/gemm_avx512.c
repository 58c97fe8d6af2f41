/* Matrix product kernels on AVX-512: tiles of 12 x 32. */
#ifdef VQC_KERNELS_SIMDE
#include "kernels/simd_avx512_simde.h"
#else
#include <immintrin.h>
#endif

#include "kernels/lanes.h"
#include "kernels/simd_gemm_x86.h"

#define DECLARE(name, family, kind, ret, params) VQC_KERNEL_DECLARE(avx512, name, ret, params)
VQC_KERNEL_LIST_GEMM(DECLARE)

typedef __m512 g16;

VQC_INLINE g16 g16_zero(void)
{
    return _mm512_setzero_ps();
}

VQC_INLINE g16 g16_set(float x)
{
    return _mm512_set1_ps(x);
}

VQC_INLINE g16 g16_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

VQC_INLINE void g16_store(float *p, g16 x)
{
    _mm512_storeu_ps(p, x);
}

VQC_INLINE g16 g16_load_n(const float *p, size_t n)
{
    return _mm512_mask_loadu_ps(_mm512_setzero_ps(), (__mmask16)((1u << n) - 1u), p);
}

VQC_INLINE void g16_store_n(float *p, size_t n, g16 x)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), x);
}

VQC_INLINE g16 g16_fma(g16 x, g16 y, g16 z)
{
    return _mm512_fmadd_ps(x, y, z);
}

VQC_INLINE g16 g16_add(g16 x, g16 y)
{
    return _mm512_add_ps(x, y);
}

VQC_INLINE g16 g16_max(g16 x, g16 y)
{
    return _mm512_max_ps(x, y);
}

VQC_INLINE g16 g16_min(g16 x, g16 y)
{
    return _mm512_min_ps(x, y);
}

VQC_INLINE g16 g16_even(g16 x, g16 y)
{
    const __m512i index =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_permutex2var_ps(x, index, y);
}

#define GEMM_ROWS 12
#define KERNEL(name) vqc_##name##__avx512
#include "kernels/gemm_body.h"
