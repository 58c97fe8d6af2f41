/* Number format conversions over the 16-lane vector; included by simd_bodies.h only.
 * Results and the reasoning behind encode and decode: convert_c.c. */
#ifndef VQC_KERNELS_SIMD_CONVERT_H
#define VQC_KERNELS_SIMD_CONVERT_H

/* A loop over whole vectors, then the rest through buffers, so that `step` sees only whole vectors.
 */
#define CONVERT_FUNCTION(name, From, To, step)                                                     \
    void KERNEL(name)(const From *x, size_t n, To *out)                                            \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + VQC_LANES <= n; i += VQC_LANES) {                                               \
            vqc_prefetch(x + i);                                                                   \
            step(x + i, out + i);                                                                  \
        }                                                                                          \
        if (i < n) {                                                                               \
            From rest[VQC_LANES] = {0};                                                            \
            To done[VQC_LANES];                                                                    \
            memcpy(rest, x + i, (n - i) * sizeof(From));                                           \
            step(rest, done);                                                                      \
            memcpy(out + i, done, (n - i) * sizeof(To));                                           \
        }                                                                                          \
    }

VQC_INLINE vi vi_abs_bits(vi bits)
{
    return vi_and(bits, vi_set(0x7fffffff));
}

/* Magnitude bits in a small format; `abs` = bits of |x|, NaN lanes come out meaningless. */
VQC_INLINE vi encode_small(vi abs, int mantissa, int bias)
{
    const int shift = 23 - mantissa;
    const vi magic = vi_set((128 - bias - mantissa + 23) << 23);
    const vi small = vi_sub(vi_bits(vf_add(vf_bits(abs), vf_bits(magic))), magic);
    const vi odd = vi_and(vi_shr(abs, shift), vi_set(1));
    const vi rounded = vi_add(vi_add(abs, vi_set((1 << (shift - 1)) - 1)), odd);
    const vi normal = vi_sub(vi_shr(rounded, shift), vi_set((127 - bias) << mantissa));
    return vi_select(vi_gt(vi_set((128 - bias) << 23), abs), small, normal);
}

/* Bits of the float with the finite magnitude bits `mag` of a small format. */
VQC_INLINE vi decode_small(vi mag, int mantissa, int bias)
{
    const vf unit = vf_bits(vi_set((128 - bias - mantissa) << 23));
    const vi small = vi_bits(vf_mul(vf_from_int(mag), unit));
    const vi normal = vi_add(vi_shl(mag, 23 - mantissa), vi_set((127 - bias) << 23));
    return vi_select(vi_gt(vi_set(1 << mantissa), mag), small, normal);
}

VQC_INLINE void f8_encode(const float *x, uint8_t *out, int mantissa, int bias, int largest)
{
    const vi bits = vi_bits(vf_load(x)), abs = vi_abs_bits(bits);
    const vi sign = vi_and(vi_shr(bits, 24), vi_set(0x80));
    const vi finite = vi_min(encode_small(abs, mantissa, bias), vi_set(largest));
    const vi mag = vi_select(vi_gt(abs, vi_set(0x7f800000)), vi_set(0x7f), finite);
    vi_store_code(out, VQC_CODE_U8, vi_or(sign, mag));
}

/* fnuz = false: magnitude `nan_from` and above is NaN with the code's sign; true: only 0x80 is. */
VQC_INLINE void f8_decode(const uint8_t *x, float *out, int mantissa, int bias, bool fnuz)
{
    const vi code = vi_load_code(x, VQC_CODE_U8);
    const vi mag = vi_and(code, vi_set(0x7f));
    const vi sign = vi_shl(vi_and(code, vi_set(0x80)), 24);
    const vi quiet_nan = vi_set(0x7fc00000);
    const vi value = decode_small(mag, mantissa, bias);
    vi bits;
    if (fnuz) {
        /* 0x80 is the only code with a sign and magnitude 0. */
        const vm not_nan = vi_gt(vi_add(mag, vi_set(1)), vi_shr(vi_and(code, vi_set(0x80)), 7));
        bits = vi_select(not_nan, vi_or(value, sign), quiet_nan);
    } else {
        bits = vi_or(vi_select(vi_gt(mag, vi_set(0x7e)), quiet_nan, value), sign);
    }
    vf_store(out, vf_bits(bits));
}

VQC_INLINE void f32_f16_step(const float *x, uint16_t *out)
{
    vf_store_f16(out, vf_load(x));
}

VQC_INLINE void f16_f32_step(const uint16_t *x, float *out)
{
    vf_store(out, vf_load_f16(x));
}

VQC_INLINE void f32_bf16_step(const float *x, uint16_t *out)
{
    const vi bits = vi_bits(vf_load(x)), upper = vi_shr(bits, 16);
    const vi odd = vi_and(upper, vi_set(1));
    const vi rounded = vi_shr(vi_add(vi_add(bits, vi_set(0x7fff)), odd), 16);
    const vm nan = vi_gt(vi_abs_bits(bits), vi_set(0x7f800000));
    vi_store_code(out, VQC_CODE_U16, vi_select(nan, vi_or(upper, vi_set(0x40)), rounded));
}

VQC_INLINE void bf16_f32_step(const uint16_t *x, float *out)
{
    vf_store(out, vf_bits(vi_shl(vi_load_code(x, VQC_CODE_U16), 16)));
}

VQC_INLINE void f32_e4m3fn_step(const float *x, uint8_t *out)
{
    f8_encode(x, out, 3, 7, 0x7e);
}

VQC_INLINE void f32_e5m2_step(const float *x, uint8_t *out)
{
    f8_encode(x, out, 2, 15, 0x7b);
}

VQC_INLINE void e4m3fn_f32_step(const uint8_t *x, float *out)
{
    f8_decode(x, out, 3, 7, false);
}

VQC_INLINE void e4m3fnuz_f32_step(const uint8_t *x, float *out)
{
    f8_decode(x, out, 3, 8, true);
}

VQC_INLINE void e5m2fnuz_f32_step(const uint8_t *x, float *out)
{
    f8_decode(x, out, 2, 16, true);
}

/* e5m2 is the upper byte of a binary16. */
VQC_INLINE void e5m2_f32_step(const uint8_t *x, float *out)
{
    uint16_t half[VQC_LANES];
    vi_store_code(half, VQC_CODE_U16, vi_shl(vi_load_code(x, VQC_CODE_U8), 8));
    vf_store(out, vf_load_f16(half));
}

VQC_INLINE void f32_f64_step(const float *x, double *out)
{
    vf_store_f64(out, vf_load(x));
}

VQC_INLINE void f64_f32_step(const double *x, float *out)
{
    vf_store(out, vf_load_f64(x));
}

CONVERT_FUNCTION(f32_f16_convert, float, uint16_t, f32_f16_step)
CONVERT_FUNCTION(f32_bf16_convert, float, uint16_t, f32_bf16_step)
CONVERT_FUNCTION(f32_e4m3fn_convert, float, uint8_t, f32_e4m3fn_step)
CONVERT_FUNCTION(f32_e5m2_convert, float, uint8_t, f32_e5m2_step)
CONVERT_FUNCTION(f32_f64_convert, float, double, f32_f64_step)
CONVERT_FUNCTION(f16_f32_convert, uint16_t, float, f16_f32_step)
CONVERT_FUNCTION(bf16_f32_convert, uint16_t, float, bf16_f32_step)
CONVERT_FUNCTION(e4m3fn_f32_convert, uint8_t, float, e4m3fn_f32_step)
CONVERT_FUNCTION(e4m3fnuz_f32_convert, uint8_t, float, e4m3fnuz_f32_step)
CONVERT_FUNCTION(e5m2_f32_convert, uint8_t, float, e5m2_f32_step)
CONVERT_FUNCTION(e5m2fnuz_f32_convert, uint8_t, float, e5m2fnuz_f32_step)
CONVERT_FUNCTION(f64_f32_convert, double, float, f64_f32_step)

#endif
