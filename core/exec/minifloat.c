#include "core/exec/minifloat.h"

#include <math.h>
#include <string.h>

#include "core/dtype.h"

/* One format: sign bit, `exponent` bits, `mantissa` bits; value (1.m or 0.m) * 2^(e - bias). */
typedef struct format {
    int exponent;
    int mantissa;
    int bias;
    int largest;        /* code of the largest finite value */
    int infinity;       /* code, -1: none */
    int nan;            /* code without the sign, -1: none */
    bool unsigned_zero; /* no -0: that code is NaN (the FNUZ formats) */
} format;

static const format *find_format(int32_t dtype)
{
    static const format formats[VQC_DTYPE_COUNT] = {
        [VQC_DTYPE_FLOAT8E4M3FN] = {4, 3, 7, 0x7E, -1, 0x7F, false},
        [VQC_DTYPE_FLOAT8E4M3FNUZ] = {4, 3, 8, 0x7F, -1, 0x80, true},
        [VQC_DTYPE_FLOAT8E5M2] = {5, 2, 15, 0x7B, 0x7C, 0x7F, false},
        [VQC_DTYPE_FLOAT8E5M2FNUZ] = {5, 2, 16, 0x7F, -1, 0x80, true},
        [VQC_DTYPE_FLOAT4E2M1] = {2, 1, 1, 0x07, -1, -1, false},
        [VQC_DTYPE_FLOAT6E2M3] = {2, 3, 1, 0x1F, -1, -1, false},
        [VQC_DTYPE_FLOAT6E3M2] = {3, 2, 3, 0x1F, -1, -1, false},
    };

    return dtype > 0 && dtype < VQC_DTYPE_COUNT && formats[dtype].exponent > 0 ? &formats[dtype]
                                                                               : NULL;
}

bool vqc_minifloat_is(int32_t dtype)
{
    return dtype == VQC_DTYPE_FLOAT8E8M0 || find_format(dtype) != NULL;
}

static float decode_one(const format *f, int code)
{
    int sign = 1 << (f->exponent + f->mantissa);
    int magnitude = code & (sign - 1);
    int e = magnitude >> f->mantissa;
    int m = magnitude & ((1 << f->mantissa) - 1);
    float value;

    if (f->unsigned_zero && code == sign) {
        return NAN;
    }
    if (magnitude > f->largest) {
        value = magnitude == f->infinity ? INFINITY : NAN;
    } else if (e == 0) {
        value = ldexpf((float)m, 1 - f->bias - f->mantissa);
    } else {
        value = ldexpf((float)(m + (1 << f->mantissa)), e - f->bias - f->mantissa);
    }
    return (code & sign) != 0 ? -value : value;
}

void vqc_minifloat_decode(int32_t dtype, const unsigned char *codes, size_t n, float *values)
{
    const format *f = find_format(dtype);
    float table[256];
    size_t entries;

    if (f == NULL) { /* float8e8m0: powers of two */
        for (size_t i = 0; i < n; i++) {
            values[i] = codes[i] == 0xFF ? NAN : ldexpf(1.0f, codes[i] - 127);
        }
        return;
    }
    entries = (size_t)1 << (1 + f->exponent + f->mantissa);
    if (n < entries) {
        for (size_t i = 0; i < n; i++) {
            values[i] = decode_one(f, codes[i] & ((int)entries - 1));
        }
        return;
    }
    for (size_t i = 0; i < entries; i++) {
        table[i] = decode_one(f, (int)i);
    }
    for (size_t i = 0; i < n; i++) {
        values[i] = table[codes[i] & (entries - 1)];
    }
}

static unsigned char encode_one(const format *f, float value, bool saturate)
{
    int sign = signbit(value) ? 1 << (f->exponent + f->mantissa) : 0;
    double magnitude = fabs((double)value);
    int e;
    int code;

    if (isnan(value)) {
        return (unsigned char)(f->nan < 0 ? 0 : f->unsigned_zero ? f->nan : f->nan | sign);
    }
    if (isinf(value)) {
        code = f->largest + 1;
    } else {
        e = magnitude == 0.0 ? 1 - f->bias : ilogb(magnitude);
        if (e < 1 - f->bias) {
            e = 1 - f->bias; /* subnormal: the same spacing */
        }
        if (e > (1 << f->exponent)) {
            code = f->largest + 1;
        } else { /* steps of 2^(e - mantissa); a carry moves on into the exponent by itself */
            code = ((e + f->bias) << f->mantissa) +
                   (int)nearbyint(ldexp(magnitude, f->mantissa - e)) - (1 << f->mantissa);
        }
    }
    if (code > f->largest) {
        if (!saturate && f->infinity >= 0) {
            code = f->infinity;
        } else if (!saturate && f->nan >= 0) {
            return (unsigned char)(f->unsigned_zero ? f->nan : f->nan | sign);
        } else {
            code = f->largest;
        }
    }
    if (f->unsigned_zero && code == 0) {
        sign = 0;
    }
    return (unsigned char)(code | sign);
}

/* float8e8m0 by the float32 exponent. */
static unsigned char encode_e8m0(float value, bool saturate, int round)
{
    uint32_t bits;
    uint32_t exponent;
    uint32_t fraction;

    if (isnan(value)) {
        return 0xFF;
    }
    if (isinf(value) || (value == 0.0f && !saturate)) {
        return saturate ? 0xFE : 0xFF;
    }
    memcpy(&bits, &value, sizeof bits);
    exponent = bits >> 23 & 0xFF;
    fraction = bits & 0x7FFFFF;
    if (exponent == 0) { /* 2^-127 is half of float32's smallest normal number: fraction 0x400000 */
        return (unsigned char)(round == 0   ? fraction > 0x400000
                               : round == 2 ? fraction >= 0x600000
                                            : 0);
    }
    if ((round == 0 && fraction != 0) || (round == 2 && fraction >= 0x400000)) {
        exponent += exponent < 0xFE || !saturate;
    }
    return (unsigned char)exponent;
}

void vqc_minifloat_encode(int32_t dtype, const float *values, size_t n, bool saturate,
                          int e8m0_round, unsigned char *codes)
{
    const format *f = find_format(dtype);

    for (size_t i = 0; i < n; i++) {
        codes[i] = f != NULL ? encode_one(f, values[i], saturate)
                             : encode_e8m0(values[i], saturate, e8m0_round);
    }
}
