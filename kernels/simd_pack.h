/* Bit field kernels in blocks of 64 codes; included by simd_bodies.h only. Results: pack_c.c. */
#ifndef VQC_KERNELS_SIMD_PACK_H
#define VQC_KERNELS_SIMD_PACK_H

#if defined(__aarch64__)
#include "kernels/simd_pack_neon.h"
#else
#include "kernels/simd_pack_x86.h"
#endif

/* The codes of one block: every ISA packs and unpacks this many with each width. */
#define PACK_BLOCK 64

VQC_INLINE void pack_width(const uint8_t *codes, size_t n, int shift, int width, uint8_t *packed)
{
    size_t i = 0;
    for (; i + PACK_BLOCK <= n; i += PACK_BLOCK)
        pack_block(codes + i, shift, width, packed + i / 8 * (size_t)width);
    vqc_pack_scalar(codes + i, n - i, shift, width, packed + i / 8 * (size_t)width);
}

VQC_INLINE void unpack_width(const uint8_t *packed, size_t n, int shift, int width, bool merge,
                             uint8_t *codes)
{
    size_t i = 0;
    for (; i + PACK_BLOCK <= n; i += PACK_BLOCK)
        unpack_block(packed + i / 8 * (size_t)width, shift, width, merge, codes + i);
    vqc_unpack_scalar(packed + i / 8 * (size_t)width, n - i, shift, width, merge, codes + i);
}

/* The width becomes a constant in each branch. */
VQC_INLINE void pack_body(const uint8_t *codes, size_t n, int shift, int width, uint8_t *packed)
{
    if (width == 4)
        pack_width(codes, n, shift, 4, packed);
    else if (width == 2)
        pack_width(codes, n, shift, 2, packed);
    else
        pack_width(codes, n, shift, 1, packed);
}

VQC_INLINE void unpack_body(const uint8_t *packed, size_t n, int shift, int width, bool merge,
                            uint8_t *codes)
{
    if (width == 4)
        unpack_width(packed, n, shift, 4, merge, codes);
    else if (width == 2)
        unpack_width(packed, n, shift, 2, merge, codes);
    else
        unpack_width(packed, n, shift, 1, merge, codes);
}

void KERNEL(u8_pack)(const uint8_t *codes, size_t n, int width, uint8_t *packed)
{
    pack_body(codes, n, 0, width, packed);
}

void KERNEL(u8_pack_plane)(const uint8_t *codes, size_t n, int shift, int width, uint8_t *packed)
{
    pack_body(codes, n, shift, width, packed);
}

void KERNEL(u8_unpack)(const uint8_t *packed, size_t n, int width, uint8_t *codes)
{
    unpack_body(packed, n, 0, width, false, codes);
}

void KERNEL(u8_unpack_plane)(const uint8_t *packed, size_t n, int shift, int width, uint8_t *codes)
{
    unpack_body(packed, n, shift, width, true, codes);
}

void KERNEL(u8_extract_plane)(const uint8_t *codes, size_t n, int shift, int width, uint8_t *plane)
{
    const unsigned mask = (1u << width) - 1u;
    size_t i = 0;
    for (; i + PACK_BLOCK <= n; i += PACK_BLOCK)
        extract_block(codes + i, shift, width, plane + i);
    for (; i < n; i++)
        plane[i] = (uint8_t)((unsigned)codes[i] >> shift & mask);
}

#endif
