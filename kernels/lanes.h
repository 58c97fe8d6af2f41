/* What the C reference and the SIMD kernels share: the reduction lanes and their fixed trees, and
 * the scalar steps that both use for the odd end of an array. Only for kernels/. */
#ifndef VQC_KERNELS_LANES_H
#define VQC_KERNELS_LANES_H

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

#define VQC_INLINE static inline __attribute__((always_inline, unused))

/* Elements of a tensor that may lie at any byte address (raw data inside a mapped file). */
typedef float vqc_f32_at __attribute__((aligned(1), may_alias));
typedef double vqc_f64_at __attribute__((aligned(1), may_alias));
typedef uint16_t vqc_u16_at __attribute__((aligned(1), may_alias));

/* Smallest of two with the comparison order all ISAs share: b on a tie (so of -0 and +0) or NaN in
 * a. */
VQC_INLINE float vqc_lane_min(float a, float b)
{
    return a < b ? a : b;
}

VQC_INLINE float vqc_lane_max(float a, float b)
{
    return a > b ? a : b;
}

/* Sum of the 16 lanes: each is converted to double, then halves are added, 8 + 4 + 2 + 1. */
VQC_INLINE double vqc_lanes_sum(const float lanes[VQC_LANES])
{
    double t[VQC_LANES / 2];
    for (size_t i = 0; i < 8; i++)
        t[i] = (double)lanes[i] + (double)lanes[i + 8];
    for (size_t i = 0; i < 4; i++)
        t[i] += t[i + 4];
    return (t[0] + t[2]) + (t[1] + t[3]);
}

/* Smallest of 16 lanes through the same tree. */
VQC_INLINE float vqc_lanes_min(const float lanes[VQC_LANES])
{
    float t[VQC_LANES];
    memcpy(t, lanes, sizeof t);
    for (size_t half = VQC_LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            t[i] = vqc_lane_min(t[i + half], t[i]);
    return t[0];
}

VQC_INLINE float vqc_lanes_max(const float lanes[VQC_LANES])
{
    float t[VQC_LANES];
    memcpy(t, lanes, sizeof t);
    for (size_t half = VQC_LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            t[i] = vqc_lane_max(t[i + half], t[i]);
    return t[0];
}

VQC_INLINE size_t vqc_min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

VQC_INLINE uint32_t vqc_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

VQC_INLINE float vqc_bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Asks for the line VQC_PREFETCH_BYTES behind p, to be read soon. Hardware prefetchers stop at page
 * ends and start anew behind them; 2 KiB ahead covers that. An address, not a pointer, because it
 * may lie outside the array, which is harmless: nothing is accessed. */
#define VQC_PREFETCH_BYTES 2048u
VQC_INLINE void vqc_prefetch(const void *p)
{
    __builtin_prefetch((const void *)((uintptr_t)p + VQC_PREFETCH_BYTES));
}

/* Integer code types, as compile-time constants of the quantize and dequantize bodies. */
enum vqc_code { VQC_CODE_U8, VQC_CODE_S8, VQC_CODE_U16, VQC_CODE_S16 };

VQC_INLINE size_t vqc_code_size(enum vqc_code code)
{
    return code == VQC_CODE_U8 || code == VQC_CODE_S8 ? 1 : 2;
}

/* Writes the wanted low bits of `value`, which the caller clamped to the code type, at q[i]. */
VQC_INLINE void vqc_code_store(void *q, size_t i, enum vqc_code code, int32_t value)
{
    if (vqc_code_size(code) == 1)
        ((uint8_t *)q)[i] = (uint8_t)value;
    else
        ((vqc_u16_at *)q)[i] = (uint16_t)value;
}

VQC_INLINE int32_t vqc_code_load(const void *q, size_t i, enum vqc_code code)
{
    switch (code) {
    case VQC_CODE_U8:
        return ((const uint8_t *)q)[i];
    case VQC_CODE_S8:
        return ((const int8_t *)q)[i];
    case VQC_CODE_U16:
        return ((const vqc_u16_at *)q)[i];
    case VQC_CODE_S16:
        return (int16_t)((const vqc_u16_at *)q)[i];
    }
    return 0;
}

/* memcpy of at most 32 bytes without a call: two overlapping moves of the largest power of two. */
VQC_INLINE void vqc_copy_short(void *to, const void *from, size_t size_bytes)
{
    char *t = to;
    const char *f = from;
#define VQC_COPY_TWICE(width)                                                                      \
    if (size_bytes >= (width)) {                                                                   \
        char head[width], tail[width];                                                             \
        memcpy(head, f, width);                                                                    \
        memcpy(tail, f + size_bytes - (width), width);                                             \
        memcpy(t, head, width);                                                                    \
        memcpy(t + size_bytes - (width), tail, width);                                             \
        return;                                                                                    \
    }
    VQC_COPY_TWICE(16)
    VQC_COPY_TWICE(8)
    VQC_COPY_TWICE(4)
    VQC_COPY_TWICE(2)
    VQC_COPY_TWICE(1)
#undef VQC_COPY_TWICE
}

/* Fields of `width` bits, low field first, taken from (codes >> shift): the tail of u8_pack*. */
VQC_INLINE void vqc_pack_scalar(const uint8_t *codes, size_t n, int shift, int width,
                                uint8_t *packed)
{
    const size_t per_byte = 8 / (size_t)width;
    const unsigned mask = (1u << width) - 1u;
    for (size_t i = 0; i < n; i += per_byte) {
        unsigned byte = 0;
        for (size_t k = 0; k < per_byte && i + k < n; k++)
            byte |= ((unsigned)codes[i + k] >> shift & mask) << (k * (size_t)width);
        packed[i / per_byte] = (uint8_t)byte;
    }
}

/* The reverse; merge = true ORs into codes, else writes them. */
VQC_INLINE void vqc_unpack_scalar(const uint8_t *packed, size_t n, int shift, int width, bool merge,
                                  uint8_t *codes)
{
    const size_t per_byte = 8 / (size_t)width;
    const unsigned mask = (1u << width) - 1u;
    for (size_t i = 0; i < n; i++) {
        const unsigned field = (unsigned)packed[i / per_byte] >> (i % per_byte * (size_t)width);
        const unsigned code = (field & mask) << shift;
        codes[i] = (uint8_t)(merge ? codes[i] | code : code);
    }
}

#endif
