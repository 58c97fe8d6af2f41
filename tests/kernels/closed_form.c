/* The C reference against values known without it, and the dispatch. */
#include "tests/kernels/test_kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const vqc_kernels *const c = &vqc_kernels__c;

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* A small float format: value of a magnitude code from its definition. */
typedef struct format {
    const char *name;
    int mantissa, bias;
    uint32_t codes;     /* magnitude codes 0 .. codes-1 */
    uint32_t last;      /* largest finite magnitude */
    uint32_t first_nan; /* magnitudes from here on are NaN; codes: none */
    uint32_t sign;      /* sign bit */
    bool fnuz;
    bool saturates; /* encoding overflow: largest finite, else infinity (last + 1) */
    float (*decode)(uint32_t code);
    uint32_t (*encode)(float x); /* NULL: not provided */
} format;

static double value_of(const format *f, uint32_t mag)
{
    const uint32_t fraction = mag & ((1u << f->mantissa) - 1u);
    const int exponent = (int)(mag >> f->mantissa);
    if (exponent == 0)
        return ldexp((double)fraction, 1 - f->bias - f->mantissa);
    return ldexp((double)(fraction + (1u << f->mantissa)), exponent - f->bias - f->mantissa);
}

#define SCALAR_DECODE(name, T)                                                                     \
    static float name##_decode(uint32_t code)                                                      \
    {                                                                                              \
        const T in = (T)code;                                                                      \
        float out;                                                                                 \
        c->name##_f32_convert(&in, 1, &out);                                                       \
        return out;                                                                                \
    }
#define SCALAR_ENCODE(name, T)                                                                     \
    static uint32_t name##_encode(float x)                                                         \
    {                                                                                              \
        T out;                                                                                     \
        c->f32_##name##_convert(&x, 1, &out);                                                      \
        return out;                                                                                \
    }
SCALAR_DECODE(f16, uint16_t)
SCALAR_ENCODE(f16, uint16_t)
SCALAR_DECODE(bf16, uint16_t)
SCALAR_ENCODE(bf16, uint16_t)
SCALAR_DECODE(e4m3fn, uint8_t)
SCALAR_ENCODE(e4m3fn, uint8_t)
SCALAR_DECODE(e5m2, uint8_t)
SCALAR_ENCODE(e5m2, uint8_t)
SCALAR_DECODE(e4m3fnuz, uint8_t)
SCALAR_DECODE(e5m2fnuz, uint8_t)

static const format formats[] = {
    {"f16", 10, 15, 0x8000, 0x7bff, 0x7c01, 0x8000, false, false, f16_decode, f16_encode},
    {"bf16", 7, 127, 0x8000, 0x7f7f, 0x7f81, 0x8000, false, false, bf16_decode, bf16_encode},
    {"e4m3fn", 3, 7, 0x80, 0x7e, 0x7f, 0x80, false, true, e4m3fn_decode, e4m3fn_encode},
    {"e5m2", 2, 15, 0x80, 0x7b, 0x7d, 0x80, false, true, e5m2_decode, e5m2_encode},
    {"e4m3fnuz", 3, 8, 0x80, 0x7f, 0x80, 0x80, true, true, e4m3fnuz_decode, NULL},
    {"e5m2fnuz", 2, 16, 0x80, 0x7f, 0x80, 0x80, true, true, e5m2fnuz_decode, NULL},
};

/* One magnitude with one sign: decode against the definition, encode of the value and of both sides
 * of the midpoint to the next value. */
static void check_code(const format *f, uint32_t mag, uint32_t sign)
{
    const uint32_t code = mag | sign;
    const float x = f->decode(code);
    const float one = sign != 0 ? -1.0f : 1.0f;
    if (f->fnuz && code == f->sign) {
        test_check(isnan(x), "%s: decode 0x%x is not NaN", f->name, code);
        return;
    }
    if (mag >= f->first_nan) {
        test_check(isnan(x), "%s: decode 0x%x is not NaN", f->name, code);
        if (f->encode != NULL)
            test_check((f->encode(x) & (f->sign - 1u)) >= f->first_nan &&
                           (f->encode(x) & f->sign) == sign,
                       "%s: NaN 0x%x becomes 0x%x", f->name, code, f->encode(x));
        return;
    }
    const double value = mag > f->last ? (double)INFINITY : value_of(f, mag);
    test_check((double)x == value * (double)one && (signbit(x) != 0) == (sign != 0),
               "%s: decode 0x%x is %a, expected %a", f->name, code, (double)x, value);
    if (f->encode == NULL)
        return;
    const uint32_t top = f->saturates ? f->last : f->last + 1u;
    const uint32_t back = mag > f->last ? top | sign : code;
    test_check(f->encode(x) == back, "%s: 0x%x becomes 0x%x", f->name, code, f->encode(x));
    if (mag > f->last)
        return;
    /* For the last value the midpoint is to the value that the next code would have. */
    const float mid = (float)((value + value_of(f, mag + 1u)) * 0.5);
    const uint32_t next = mag == f->last ? top : mag + 1u;
    const uint32_t even = (mag & 1u) == 0 ? mag : next;
    if (isinf(mid))
        return;
    test_check(f->encode(mid * one) == (even | sign), "%s: tie after 0x%x", f->name, code);
    test_check(f->encode(nextafterf(mid, 0.0f) * one) == code, "%s: below the tie after 0x%x",
               f->name, code);
    test_check(f->encode(nextafterf(mid, INFINITY) * one) == (next | sign),
               "%s: above the tie after 0x%x", f->name, code);
}

static void check_formats(void)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const format *f = &formats[i];
        for (uint32_t mag = 0; mag < f->codes; mag++) {
            check_code(f, mag, 0);
            check_code(f, mag, f->sign);
        }
        if (f->encode == NULL)
            continue;
        const uint32_t top = f->saturates ? f->last : f->last + 1u;
        test_check(f->encode(INFINITY) == top && f->encode(-INFINITY) == (top | f->sign),
                   "%s: infinity", f->name);
        test_check(f->encode(3.4e38f) == (f->bias == 127 ? 0x7f80u : top), "%s: huge", f->name);
        test_check(f->encode(from_bits(0x7f800001u)) >= f->first_nan, "%s: signalling NaN",
                   f->name);
    }
    const double d[] = {1.0 + 0x1p-24, 1.0 + 0x1.8p-23, 1e300, -0x1p-150, 0x1.8p-150};
    float x[5];
    double back[5];
    c->f64_f32_convert(d, 5, x);
    c->f32_f64_convert(x, 5, back);
    test_check(x[0] == 1.0f && x[1] == 1.0f + 0x1p-22f && isinf(x[2]) &&
                   bits_of(x[3]) == 1u << 31 && bits_of(x[4]) == 1,
               "f64 to f32 rounding");
    test_check(back[0] == 1.0 && back[4] == 0x1p-149, "f32 to f64");
}

static void check_quantize(void)
{
    const float x[] = {0.5f,  1.5f,      2.5f, -0.5f, -1.5f,  -2.5f,   300.0f, -300.0f,
                       1e38f, -INFINITY, NAN,  0.49f, 126.6f, -127.6f, 0.0f,   -0.0f};
    const int8_t want_s8[] = {0, 2, 2, 0, -2, -2, 127, -128, 127, -128, 0, 0, 127, -128, 0, 0};
    const uint8_t want_u8[] = {10, 12, 12, 10, 8, 8, 255, 0, 255, 0, 10, 10, 137, 0, 10, 10};
    int8_t s8[16];
    uint8_t u8[16];
    float back[16];
    vqc_error_sums e = {0};
    c->f32_s8_quantize(x, 16, 1.0f, 0, -128, 127, s8);
    c->f32_u8_quantize(x, 16, 1.0f, 10, 0, 255, u8);
    test_check(memcmp(s8, want_s8, 16) == 0, "f32_s8_quantize: known values");
    test_check(memcmp(u8, want_u8, 16) == 0, "f32_u8_quantize: known values");
    c->u8_f32_dequantize(u8, 16, 0.25f, 10, back);
    test_check(back[0] == 0.0f && back[1] == 0.5f && back[6] == 61.25f && back[7] == -2.5f,
               "u8_f32_dequantize: known values");
    /* Errors 0.5 and -0.5 each, values 0.5, 1.5, 2.5, -0.5, -1.5, -2.5. */
    c->f32_s8_quantize_error(x, 6, 1.0f, 1.0f, 0, -128, 127, s8, &e);
    test_check(e.sum_err2 == 1.5 && e.sum_ref2 == 17.5 && e.max_abs_err == 0.5f && e.count == 6 &&
                   e.sum_dec2 == 0.0 && e.sum_ref_dec == 0.0,
               "f32_s8_quantize_error: known sums");
    test_check(c->f32_quantize_sse(x, 6, 1.0f, 1.0f, 0, -128, 127) == 1.5, "f32_quantize_sse");
    /* Two columns with scales 1 and 2 and zero points 0 and 3, two rows. */
    const float m[] = {1.4f, 4.0f, -2.0f, 7.0f}, scale[] = {1.0f, 2.0f}, inv[] = {1.0f, 0.5f};
    const int32_t zero_point[] = {0, 3};
    int16_t s16[4];
    c->f32_s16_quantize_cols(m, 2, 2, 2, inv, zero_point, -32768, 32767, s16, 2);
    test_check(s16[0] == 1 && s16[1] == 5 && s16[2] == -2 && s16[3] == 7, "f32_s16_quantize_cols");
    c->f32_s16_quantize_rows(m, 2, 2, 2, inv, zero_point, -32768, 32767, s16, 2);
    test_check(s16[0] == 1 && s16[1] == 4 && s16[2] == 2 && s16[3] == 7, "f32_s16_quantize_rows");
    double sse[2] = {1.0, 2.0};
    c->f32_quantize_sse_cols(m, 2, 2, 2, scale, inv, NULL, -128, 127, sse);
    test_check(fabs(sse[0] - 1.16) < 1e-6 && sse[1] == 3.0, "f32_quantize_sse_cols");
}

static void check_stats(void)
{
    enum { N = 5000 };
    float *x = malloc(N * sizeof *x);
    if (x == NULL)
        exit(1);
    for (size_t i = 0; i < N; i++)
        x[i] = (float)(i + 1);
    double sum = 0.5, squares = 0.0;
    c->f32_sums(x, 4096, &sum, &squares); /* every float partial sum is exact */
    test_check(sum == 4096.0 * 4097.0 / 2.0 + 0.5, "f32_sums: sum");
    test_check(fabs(squares / (4096.0 * 4097.0 * 8193.0 / 6.0) - 1.0) < 1e-6, "f32_sums: squares");
    x[17] = NAN;
    x[4999] = -INFINITY;
    x[2500] = -9000.0f;
    vqc_f32_range r = {INFINITY, -INFINITY, 1};
    c->f32_stats(x, N, &r);
    test_check(r.min == -INFINITY && r.max == 4999.0f && r.nonfinite == 3, "f32_stats");
    test_check(c->f32_absmax(x, N - 1) == 9000.0f, "f32_absmax");
    test_check(c->f32_absmax(x, 0) == 0.0f, "f32_absmax of nothing");
    uint64_t counts[8] = {0, 0, 0, 0, 0, 0, 0, 7};
    const float h[] = {-5.0f, 0.0f,  0.9f,  1.0f,      2.5f,       3.5f,      100.0f,
                       NAN,   -0.0f, -0.5f, -INFINITY, -0x1p-149f, 0x1p-149f, -1.0f};
    c->f32_histogram(h, 14, 1.0f, 4, counts);
    test_check(counts[0] == 1 && counts[1] == 0 && counts[2] == 1 && counts[3] == 2 &&
                   counts[4] == 2 && counts[5] == 1 && counts[6] == 1 && counts[7] == 9,
               "f32_histogram");
    vqc_f32_moments m = {.min = 0.25f, .max = -INFINITY, .zeros = 1, .sum = 2.0};
    c->f32_moments(h, 14, &m);
    test_check(m.min == -5.0f && m.max == 100.0f && m.nonfinite == 2 && m.zeros == 3,
               "f32_moments: extremes and counts");
    test_check(fabs(m.sum - (2.0 + 101.4)) < 1e-5 && fabs(m.sum_squares - 10046.56) < 2e-3,
               "f32_moments: sums");
    double column[2] = {1.0, 0.0};
    float largest[2] = {0.0f, 8.0f};
    const float columns[] = {1.0f, -2.0f, 0.0f, INFINITY, 5.0f, 0.0f, -7.0f, NAN, 0.0f};
    c->f32_moments_cols(columns, 3, 2, 3, column, largest);
    test_check(column[0] == 1.0 + 1.0 - 7.0 && column[1] == 3.0 && largest[0] == 7.0f &&
                   largest[1] == 8.0f,
               "f32_moments_cols");
    const float ref[] = {1.0f, 2.0f, -3.0f}, dec[] = {1.5f, 2.0f, -1.0f};
    vqc_error_sums e = {0};
    c->f32_error(ref, dec, 3, &e);
    test_check(e.sum_err2 == 4.25 && e.sum_ref2 == 14.0 && e.sum_dec2 == 7.25 &&
                   e.sum_ref_dec == 8.5 && e.max_abs_err == 2.0f && e.count == 3,
               "f32_error: known sums");
    free(x);
}

static void check_pack(void)
{
    const uint8_t codes[] = {1, 2, 3, 0x14, 5};
    uint8_t packed[3], back[5] = {0};
    c->u8_pack(codes, 5, 4, packed);
    test_check(packed[0] == 0x21 && packed[1] == 0x43 && packed[2] == 0x05, "u8_pack width 4");
    c->u8_pack(codes, 5, 2, packed);
    test_check(packed[0] == 0x39 && packed[1] == 0x01, "u8_pack width 2");
    c->u8_pack(codes, 5, 1, packed);
    test_check(packed[0] == 0x15, "u8_pack width 1");
    c->u8_pack_plane(codes, 5, 2, 1, packed);
    test_check(packed[0] == 0x18, "u8_pack_plane");
    /* A 3-bit code as a plane of 2 and one of 1. */
    for (int code = 0; code < 8; code++) {
        const uint8_t in[5] = {(uint8_t)code, 7, 0, (uint8_t)(7 - code), 1};
        memset(back, 0, sizeof back);
        c->u8_pack_plane(in, 5, 0, 2, packed);
        c->u8_unpack_plane(packed, 5, 0, 2, back);
        c->u8_pack_plane(in, 5, 2, 1, packed);
        c->u8_unpack_plane(packed, 5, 2, 1, back);
        test_check(memcmp(in, back, 5) == 0, "planes of a 3-bit code");
    }
}

void test_closed_forms(void)
{
    check_formats();
    check_quantize();
    check_stats();
    check_pack();
}

void test_dispatch(void)
{
    const vqc_isa first = vqc_kernels_isa();
    test_check(vqc_kernels_get() == vqc_kernels_table(first), "the active table");
    for (int i = 0; i < VQC_ISA_COUNT; i++) {
        vqc_isa parsed = VQC_ISA_COUNT;
        const bool here = vqc_kernels_table((vqc_isa)i) != NULL;
        test_check(vqc_isa_parse(vqc_isa_name((vqc_isa)i), &parsed) && (int)parsed == i,
                   "name of ISA %d", i);
        test_check(!here || (vqc_isa)i <= first, "the best ISA is active");
        const vqc_isa before = vqc_kernels_isa();
        test_check(vqc_kernels_select((vqc_isa)i) == here, "selecting %s",
                   vqc_isa_name((vqc_isa)i));
        test_check(vqc_kernels_isa() == (here ? (vqc_isa)i : before), "active after selecting");
        test_check(vqc_kernels_get() == vqc_kernels_table(vqc_kernels_isa()), "table of the ISA");
    }
    vqc_isa untouched = VQC_ISA_AVX2;
    test_check(!vqc_isa_parse("sse9", &untouched) && untouched == VQC_ISA_AVX2, "unknown name");
    test_check(strcmp(vqc_isa_name(VQC_ISA_COUNT), "unknown") == 0, "name of no ISA");
    test_check(vqc_kernels_select(first), "back to the first");
}
