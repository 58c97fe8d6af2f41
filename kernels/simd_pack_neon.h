/* Blocks of 64 codes on NEON; see simd_pack.h. */
#ifndef VQC_KERNELS_SIMD_PACK_NEON_H
#define VQC_KERNELS_SIMD_PACK_NEON_H

VQC_INLINE uint8x16_t field_of(uint8x16_t codes, int shift, int width)
{
    return vandq_u8(vshlq_u8(codes, vdupq_n_s8((int8_t)-shift)),
                    vdupq_n_u8((uint8_t)((1 << width) - 1)));
}

VQC_INLINE void extract_block(const uint8_t *codes, int shift, int width, uint8_t *plane)
{
    for (int i = 0; i < 64; i += 16)
        vst1q_u8(plane + i, field_of(vld1q_u8(codes + i), shift, width));
}

VQC_INLINE void pack_block(const uint8_t *codes, int shift, int width, uint8_t *packed)
{
    if (width == 4) {
        for (int half = 0; half < 2; half++) {
            const uint8x16x2_t c = vld2q_u8(codes + 32 * half);
            const uint8x16_t lo = field_of(c.val[0], shift, 4), hi = field_of(c.val[1], shift, 4);
            vst1q_u8(packed + 16 * half, vorrq_u8(lo, vshlq_n_u8(hi, 4)));
        }
        return;
    }
    /* Every fourth code per register: 16 groups of 4 neighbours. */
    const uint8x16x4_t c = vld4q_u8(codes);
    const uint8x16_t f0 = field_of(c.val[0], shift, width), f1 = field_of(c.val[1], shift, width);
    const uint8x16_t f2 = field_of(c.val[2], shift, width), f3 = field_of(c.val[3], shift, width);
    if (width == 2) {
        const uint8x16_t lo = vorrq_u8(f0, vshlq_n_u8(f1, 2));
        const uint8x16_t hi = vorrq_u8(vshlq_n_u8(f2, 4), vshlq_n_u8(f3, 6));
        vst1q_u8(packed, vorrq_u8(lo, hi));
        return;
    }
    const uint8x16_t lo = vorrq_u8(f0, vshlq_n_u8(f1, 1));
    const uint8x16_t hi = vorrq_u8(vshlq_n_u8(f2, 2), vshlq_n_u8(f3, 3));
    const uint8x16_t nibbles = vorrq_u8(lo, hi);
    const uint8x16_t even = vuzp1q_u8(nibbles, nibbles), odd = vuzp2q_u8(nibbles, nibbles);
    vst1_u8(packed, vget_low_u8(vorrq_u8(even, vshlq_n_u8(odd, 4))));
}

VQC_INLINE uint8x16_t place(uint8x16_t field, int shift, bool merge, uint8x16_t old)
{
    return merge ? vorrq_u8(vshlq_u8(field, vdupq_n_s8((int8_t)shift)), old) : field;
}

/* Four neighbours from each byte of `groups`, `width` bits apart, to codes[64]. */
VQC_INLINE void spread_by_4(uint8x16_t groups, int shift, int width, bool merge, uint8_t *codes)
{
    uint8x16x4_t c = {{groups, groups, groups, groups}};
    if (merge)
        c = vld4q_u8(codes);
    for (int k = 0; k < 4; k++)
        c.val[k] = place(field_of(groups, k * width, width), shift, merge, c.val[k]);
    vst4q_u8(codes, c);
}

VQC_INLINE void unpack_block(const uint8_t *packed, int shift, int width, bool merge,
                             uint8_t *codes)
{
    if (width == 4) {
        for (int half = 0; half < 2; half++) {
            const uint8x16_t bytes = vld1q_u8(packed + 16 * half);
            uint8x16x2_t c = {{bytes, bytes}};
            if (merge)
                c = vld2q_u8(codes + 32 * half);
            for (int k = 0; k < 2; k++)
                c.val[k] = place(field_of(bytes, 4 * k, 4), shift, merge, c.val[k]);
            vst2q_u8(codes + 32 * half, c);
        }
    } else if (width == 2) {
        spread_by_4(vld1q_u8(packed), shift, 2, merge, codes);
    } else {
        const uint8x8_t bytes = vld1_u8(packed);
        const uint8x8x2_t nibbles = vzip_u8(vand_u8(bytes, vdup_n_u8(0x0f)), vshr_n_u8(bytes, 4));
        spread_by_4(vcombine_u8(nibbles.val[0], nibbles.val[1]), shift, 1, merge, codes);
    }
}

#endif
