/* C reference of the number format conversions: the definition of their results. */
#include "kernels/lanes.h"

/* Magnitude bits (no sign) of the float |x| rounded to nearest even in a small format with
 * `mantissa` explicit mantissa bits and exponent bias `bias`; overflow carries into codes above the
 * format's largest, for the caller to clamp. `abs` must not be a NaN. */
VQC_INLINE uint32_t encode_small(uint32_t abs, unsigned mantissa, unsigned bias)
{
    const unsigned shift = 23u - mantissa;
    if (abs < (128u - bias) << 23) {
        /* Below the smallest normal, 2^(1-bias): adding 2^23 units of the format's smallest
         * denormal, 2^(1-bias-mantissa), makes the float adder round to whole units, which then are
         * the low bits. */
        const uint32_t magic = (128u - bias - mantissa + 23u) << 23;
        return vqc_float_bits(vqc_bits_float(abs) + vqc_bits_float(magic)) - magic;
    }
    const uint32_t rounded = abs + ((1u << (shift - 1u)) - 1u) + (abs >> shift & 1u);
    return (rounded >> shift) - ((127u - bias) << mantissa);
}

/* Float of the finite magnitude bits `mag` of a small format. Exact. */
VQC_INLINE float decode_small(uint32_t mag, unsigned mantissa, unsigned bias)
{
    if (mag < 1u << mantissa)
        return (float)mag * vqc_bits_float((128u - bias - mantissa) << 23);
    return vqc_bits_float((mag << (23u - mantissa)) + ((127u - bias) << 23));
}

VQC_INLINE float with_sign(float magnitude, uint32_t sign)
{
    return vqc_bits_float(vqc_float_bits(magnitude) | sign);
}

void vqc_f32_f16_convert__c(const float *x, size_t n, uint16_t *out)
{
    const vqc_f32_at *from = x;
    vqc_u16_at *to = out;
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = vqc_float_bits(from[i]), abs = bits & 0x7fffffffu;
        uint32_t mag;
        if (abs > 0x7f800000u) {
            mag = 0x7e00u | (abs >> 13 & 0x3ffu);
        } else {
            mag = encode_small(abs, 10, 15);
            if (mag > 0x7c00u)
                mag = 0x7c00u;
        }
        to[i] = (uint16_t)(bits >> 16 & 0x8000u) | (uint16_t)mag;
    }
}

VQC_INLINE float f16_decode(uint32_t half)
{
    const uint32_t sign = (half & 0x8000u) << 16, mag = half & 0x7fffu;
    if (mag > 0x7c00u)
        return vqc_bits_float(sign | 0x7fc00000u | mag << 13);
    if (mag == 0x7c00u)
        return vqc_bits_float(sign | 0x7f800000u);
    return with_sign(decode_small(mag, 10, 15), sign);
}

void vqc_f16_f32_convert__c(const uint16_t *x, size_t n, float *out)
{
    const vqc_u16_at *from = x;
    vqc_f32_at *to = out;
    for (size_t i = 0; i < n; i++)
        to[i] = f16_decode(from[i]);
}

void vqc_f32_bf16_convert__c(const float *x, size_t n, uint16_t *out)
{
    const vqc_f32_at *from = x;
    vqc_u16_at *to = out;
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = vqc_float_bits(from[i]);
        if ((bits & 0x7fffffffu) > 0x7f800000u)
            to[i] = (uint16_t)(bits >> 16 | 0x40u);
        else
            to[i] = (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
    }
}

void vqc_bf16_f32_convert__c(const uint16_t *x, size_t n, float *out)
{
    const vqc_u16_at *from = x;
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)from[i] << 16;
        memcpy((char *)out + i * sizeof bits, &bits,
               sizeof bits); /* no float: keeps a NaN's bits */
    }
}

/* `largest` is the magnitude of the format's largest finite value. */
VQC_INLINE uint8_t f8_encode(float x, unsigned mantissa, unsigned bias, uint32_t largest)
{
    const uint32_t bits = vqc_float_bits(x), abs = bits & 0x7fffffffu;
    uint32_t mag = 0x7fu;
    if (abs <= 0x7f800000u) {
        mag = encode_small(abs, mantissa, bias);
        if (mag > largest)
            mag = largest;
    }
    return (uint8_t)(bits >> 24 & 0x80u) | (uint8_t)mag;
}

void vqc_f32_e4m3fn_convert__c(const float *x, size_t n, uint8_t *out)
{
    const vqc_f32_at *from = x;
    for (size_t i = 0; i < n; i++)
        out[i] = f8_encode(from[i], 3, 7, 0x7eu);
}

void vqc_f32_e5m2_convert__c(const float *x, size_t n, uint8_t *out)
{
    const vqc_f32_at *from = x;
    for (size_t i = 0; i < n; i++)
        out[i] = f8_encode(from[i], 2, 15, 0x7bu);
}

void vqc_e4m3fn_f32_convert__c(const uint8_t *x, size_t n, float *out)
{
    vqc_f32_at *to = out;
    for (size_t i = 0; i < n; i++) {
        const uint32_t sign = (x[i] & 0x80u) << 24, mag = x[i] & 0x7fu;
        to[i] = mag == 0x7fu ? vqc_bits_float(sign | 0x7fc00000u)
                             : with_sign(decode_small(mag, 3, 7), sign);
    }
}

/* e5m2 is the upper byte of a binary16. */
void vqc_e5m2_f32_convert__c(const uint8_t *x, size_t n, float *out)
{
    vqc_f32_at *to = out;
    for (size_t i = 0; i < n; i++)
        to[i] = f16_decode((uint32_t)x[i] << 8);
}

/* The fnuz formats have no -0: its code, 0x80, is their one NaN; there are no infinities. */
VQC_INLINE float fnuz_decode(uint8_t code, unsigned mantissa, unsigned bias)
{
    if (code == 0x80u)
        return vqc_bits_float(0x7fc00000u);
    return with_sign(decode_small(code & 0x7fu, mantissa, bias), (code & 0x80u) << 24);
}

void vqc_e4m3fnuz_f32_convert__c(const uint8_t *x, size_t n, float *out)
{
    vqc_f32_at *to = out;
    for (size_t i = 0; i < n; i++)
        to[i] = fnuz_decode(x[i], 3, 8);
}

void vqc_e5m2fnuz_f32_convert__c(const uint8_t *x, size_t n, float *out)
{
    vqc_f32_at *to = out;
    for (size_t i = 0; i < n; i++)
        to[i] = fnuz_decode(x[i], 2, 16);
}

void vqc_f32_f64_convert__c(const float *x, size_t n, double *out)
{
    const vqc_f32_at *from = x;
    vqc_f64_at *to = out;
    for (size_t i = 0; i < n; i++)
        to[i] = (double)from[i];
}

void vqc_f64_f32_convert__c(const double *x, size_t n, float *out)
{
    const vqc_f64_at *from = x;
    vqc_f32_at *to = out;
    for (size_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}
