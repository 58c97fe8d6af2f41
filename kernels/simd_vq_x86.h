/* What vq_simd.h needs beyond the vectors of 16 lanes, on AVX2 and AVX-512. */
#ifndef VQC_KERNELS_SIMD_VQ_X86_H
#define VQC_KERNELS_SIMD_VQ_X86_H

#include "kernels/lanes.h"

/* First codeword of the block whose value for the point x is `value`; 0 when none is. */
VQC_INLINE unsigned vq_block_find(const float *block, const float *x, size_t dim, float value)
{
    __m256 v = _mm256_loadu_ps(block);
#pragma GCC unroll 4
    for (size_t i = 0; i < dim; i++) {
        block += VQC_NEAREST_CODEWORDS;
        v = _mm256_fmadd_ps(_mm256_set1_ps(x[i * VQC_NEAREST_POINTS]), _mm256_loadu_ps(block), v);
    }
    const __m256 equal = _mm256_cmp_ps(v, _mm256_set1_ps(value), _CMP_EQ_OQ);
    return (unsigned)__builtin_ctz((unsigned)_mm256_movemask_ps(equal) | 0x100u) & 7u;
}

#endif
