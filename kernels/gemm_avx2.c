/* Matrix product kernels on AVX2: tiles of 6 x 16. */
#include <immintrin.h>

#include "kernels/lanes.h"
#include "kernels/simd_gemm_x86.h"

#define DECLARE(name, family, kind, ret, params) VQC_KERNEL_DECLARE(avx2, name, ret, params)
VQC_KERNEL_LIST_GEMM(DECLARE)

typedef struct g16 {
    __m256 a, b;
} g16;

VQC_INLINE g16 g16_zero(void)
{
    return (g16){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

VQC_INLINE g16 g16_set(float x)
{
    const __m256 v = _mm256_set1_ps(x);
    return (g16){v, v};
}

VQC_INLINE g16 g16_load(const float *p)
{
    return (g16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

VQC_INLINE void g16_store(float *p, g16 x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}

VQC_INLINE g16 g16_load_n(const float *p, size_t n)
{
    static const int32_t window[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                       -1, -1, -1, -1, -1, 0,  0,  0,  0,  0,  0,
                                       0,  0,  0,  0,  0,  0,  0,  0,  0,  0};
    const __m256i *m = (const __m256i *)(const void *)(window + VQC_LANES - n);
    return (g16){_mm256_maskload_ps(p, _mm256_loadu_si256(m)),
                 n > 8 ? _mm256_maskload_ps(p + 8, _mm256_loadu_si256(m + 1))
                       : _mm256_setzero_ps()};
}

/* Not vmaskmovps, whose store form takes dozens of cycles on AMD cores. */
VQC_INLINE void g16_store_n(float *p, size_t n, g16 x)
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

VQC_INLINE g16 g16_fma(g16 x, g16 y, g16 z)
{
    return (g16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}

VQC_INLINE g16 g16_add(g16 x, g16 y)
{
    return (g16){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}

VQC_INLINE g16 g16_max(g16 x, g16 y)
{
    return (g16){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}

VQC_INLINE g16 g16_min(g16 x, g16 y)
{
    return (g16){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}

VQC_INLINE __m256 even8(__m256 x, __m256 y)
{
    const __m256 pairs = _mm256_shuffle_ps(x, y, _MM_SHUFFLE(2, 0, 2, 0));
    return _mm256_castpd_ps(
        _mm256_permute4x64_pd(_mm256_castps_pd(pairs), _MM_SHUFFLE(3, 1, 2, 0)));
}

VQC_INLINE g16 g16_even(g16 x, g16 y)
{
    return (g16){even8(x.a, x.b), even8(y.a, y.b)};
}

#define GEMM_ROWS 6
#define GEMM_HALF
#define KERNEL(name) vqc_##name##__avx2
#include "kernels/gemm_body.h"
