/* What vq_simd.h needs beyond the vectors of 16 lanes, on NEON. */
#ifndef VQC_KERNELS_VQ_NEON_H
#define VQC_KERNELS_VQ_NEON_H

#include "kernels/simd_neon.h"

/* First codeword of the block whose value for the point x is `value`; 0 when none is. */
VQC_INLINE unsigned vq_block_find(const float *block, const float *x, size_t dim, float value)
{
    float32x4_t a = vld1q_f32(block), b = vld1q_f32(block + 4);
    for (size_t i = 0; i < dim; i++) {
        block += VQC_NEAREST_CODEWORDS;
        const float32x4_t point = vdupq_n_f32(x[i * VQC_NEAREST_POINTS]);
        a = vfmaq_f32(a, point, vld1q_f32(block));
        b = vfmaq_f32(b, point, vld1q_f32(block + 4));
    }
    const float32x4_t wanted = vdupq_n_f32(value);
    const uint16x8_t words =
        vcombine_u16(vmovn_u32(vceqq_f32(a, wanted)), vmovn_u32(vceqq_f32(b, wanted)));
    const uint64_t bytes = vget_lane_u64(vreinterpret_u64_u8(vmovn_u16(words)), 0);
    return bytes == 0 ? 0u : (unsigned)__builtin_ctzll(bytes) / 8u;
}

#endif
