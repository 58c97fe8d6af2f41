/* float16, bfloat16 and float8 codecs: exact decoding, refused values, scales. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/exec/minifloat.h"
#include "core/metrics.h"
#include "tests/unit/coded_layer.h"

static coded_layer make(const char *codec, const float *values, int64_t rows, int64_t cols,
                        vqc_granularity granularity, vqc_dtype dtype)
{
    const int64_t dims[2] = {rows, cols};
    coded_layer_options o = coded_layer_defaults();
    vqc_weight_spec spec = coded_layer_spec(codec, 8, granularity, true);

    o.dtype = dtype;
    spec.block_size = 8;
    return coded_layer_make(&o, dims, 2, values, &spec);
}

static vqc_status try_fit(coded_layer *c, vqc_error *error)
{
    return c->decision.codec->fit(&c->decision, c->weights, c->model->arena, c->arena, &c->code,
                                  error);
}

static void check_sums(coded_layer *c, float *decoded)
{
    vqc_metrics got = vqc_metrics_from_sums(&c->code.sums);
    vqc_metrics wanted;

    coded_layer_round((vqc_dtype)c->layer->dtype, decoded, c->layer->elements);
    wanted = vqc_metrics_compare(c->weights, decoded, c->layer->elements);
    cr_assert_eq(got.count, wanted.count);
    cr_assert_eq(got.max_abs_error, wanted.max_abs_error);
    cr_assert(got.sqnr_db == wanted.sqnr_db || fabs(got.sqnr_db - wanted.sqnr_db) < 1e-6);
}

Test(codec_float, halves_decode_to_the_nearest_half)
{
    static const char *const codecs[] = {"float16", "bfloat16"};
    static const vqc_dtype halves[] = {VQC_DTYPE_FLOAT16, VQC_DTYPE_BFLOAT16};
    enum { COUNT = 40 * 41 };
    float w[COUNT];
    mb_random random = {5};

    for (int h = 0; h < 2; h++) {
        coded_layer c;
        float *decoded;
        for (size_t i = 0; i < COUNT; i++) { /* exponents from 2^-20 to 2^9 */
            w[i] = ldexpf(mb_random_gauss(&random), (int)mb_random_below(&random, 30) - 20);
        }
        w[0] = 0.0f;
        w[1] = -0.0f;
        c = make(codecs[h], w, 40, 41, VQC_GRANULARITY_CHANNEL, VQC_DTYPE_FLOAT);
        coded_layer_fit(&c);
        decoded = coded_layer_decode(&c);
        check_sums(&c, decoded);
        coded_layer_round(halves[h], w, COUNT);
        cr_assert_arr_eq(decoded, w, sizeof w);
        coded_layer_end(&c);
    }
}

Test(codec_float, values_that_a_half_has_are_exact)
{
    const float w[6] = {1.0f, -0.5f, 0.333251953125f, 65504.0f, 0x1p-24f, 0.0f};
    coded_layer c = make("float16", w, 1, 6, VQC_GRANULARITY_TENSOR, VQC_DTYPE_FLOAT);

    coded_layer_fit(&c);
    cr_assert_arr_eq(coded_layer_decode(&c), w, sizeof w);
    cr_assert_eq(c.code.sums.sum_err2, 0.0);
    cr_assert(isinf(vqc_metrics_from_sums(&c.code.sums).sqnr_db));
    coded_layer_end(&c);
}

Test(codec_float, float16_refuses_what_it_cannot_hold)
{
    static const float bad[] = {65520.0f, -70000.0f, FLT_MAX, NAN, INFINITY, -INFINITY};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        float w[3] = {1.0f, 2.0f, bad[i]};
        coded_layer c = make("float16", w, 1, 3, VQC_GRANULARITY_TENSOR, VQC_DTYPE_FLOAT);
        vqc_error error = {0};
        cr_assert_eq(try_fit(&c, &error), VQC_ERR_MODEL);
        cr_assert_str_eq(error.message, "has NaN, infinite or too large weights for float16");
        cr_assert_eq(c.decision.codec->check(&c.decision, c.weights, &error), VQC_ERR_MODEL);
        coded_layer_end(&c);
    }
}

Test(codec_float, bfloat16_takes_the_range_of_float32)
{
    float w[6] = {FLT_MAX / 2, -1e30f, FLT_MIN, 1e-40f, -1e-40f, 3.0f};
    coded_layer c = make("bfloat16", w, 1, 6, VQC_GRANULARITY_TENSOR, VQC_DTYPE_FLOAT);
    const float *decoded;

    coded_layer_fit(&c);
    decoded = coded_layer_decode(&c);
    for (int i = 0; i < 6; i++) {
        cr_assert(isfinite(decoded[i]));
    }
    cr_assert_eq(decoded[2], FLT_MIN);
    cr_assert(decoded[3] == 0.0f && decoded[4] == 0.0f, "subnormals become zero");
    cr_assert_eq(decoded[5], 3.0f);
    cr_assert_leq(fabsf(decoded[1] + 1e30f), 1e30f / 256);
    coded_layer_end(&c);
    w[5] = NAN;
    c = make("bfloat16", w, 1, 6, VQC_GRANULARITY_TENSOR, VQC_DTYPE_FLOAT);
    {
        vqc_error error = {0};
        cr_assert_eq(try_fit(&c, &error), VQC_ERR_MODEL);
        cr_assert_not_null(strstr(error.message, "bfloat16"));
    }
    coded_layer_end(&c);
}

Test(codec_float, halves_stay_halves)
{
    const float w[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    static const vqc_dtype halves[] = {VQC_DTYPE_FLOAT16, VQC_DTYPE_BFLOAT16};
    for (int i = 0; i < 4; i++) {
        coded_layer c = make(i / 2 == 0 ? "float16" : "bfloat16", w, 2, 2, VQC_GRANULARITY_TENSOR,
                             halves[i % 2]);
        cr_assert_eq(c.decision.form, VQC_FORM_KEEP);
        cr_assert_str_eq(c.decision.reason, "already 16 bits");
        coded_layer_end(&c);
    }
}

Test(codec_float, float8_uses_its_whole_range)
{
    static const char *const codecs[] = {"float8e4m3fn", "float8e5m2"};
    static const int32_t dtypes[] = {VQC_DTYPE_FLOAT8E4M3FN, VQC_DTYPE_FLOAT8E5M2};
    static const double largest[] = {448.0, 57344.0};
    static const double smallest_db[] = {30.0, 24.0};
    enum { ROWS = 24, COLS = 60 };
    float w[ROWS * COLS];
    mb_random random = {8};

    mb_random_fill(&random, w, ROWS * COLS, 0.2f, 0.0f);
    w[10] = 0.0f;
    for (int i = 0; i < 2 * 3 * 2; i++) {
        int k = i % 2;
        coded_layer c = make(codecs[k], w, ROWS, COLS, (vqc_granularity)(i / 2 % 3),
                             i < 6 ? VQC_DTYPE_FLOAT : VQC_DTYPE_FLOAT16);
        const uint8_t *codes;
        float *decoded;
        double absmax[ROWS * COLS] = {0.0};
        coded_layer_fit(&c);
        codes = c.code.codes;
        decoded = coded_layer_decode(&c);
        for (size_t e = 0; e < ROWS * COLS; e++) {
            size_t g = coded_layer_group(&c, e);
            unsigned char code;
            float value;
            float scaled = c.weights[e] * (1.0f / c.code.scales[g]);
            absmax[g] = fmax(absmax[g], fabs((double)c.weights[e]));
            vqc_minifloat_encode(dtypes[k], &scaled, 1, true, 0, &code);
            cr_assert_eq(codes[e], code);
            vqc_minifloat_decode(dtypes[k], &code, 1, &value);
            cr_assert_eq(decoded[e], value * c.code.scales[g]);
            cr_assert(c.weights[e] != 0.0f || decoded[e] == 0.0f);
        }
        for (size_t g = 0; g < c.code.groups; g++) {
            double wanted = absmax[g] / largest[k];
            cr_assert_leq(fabs((double)c.code.scales[g] - wanted),
                          (c.decision.scale_f16 ? 0x1p-11 : 1e-6) * wanted + 0x1p-35);
        }
        cr_assert_geq(vqc_metrics_from_sums(&c.code.sums).sqnr_db, smallest_db[k]);
        check_sums(&c, decoded);
        coded_layer_end(&c);
    }
}

Test(codec_float, float8_zeros_and_refusals)
{
    float w[16] = {0.0f};
    coded_layer c = make("float8e4m3fn", w, 4, 4, VQC_GRANULARITY_CHANNEL, VQC_DTYPE_FLOAT);
    vqc_error error = {0};

    coded_layer_fit(&c);
    cr_assert_arr_eq(coded_layer_decode(&c), w, sizeof w);
    coded_layer_end(&c);
    w[3] = INFINITY;
    c = make("float8e5m2", w, 4, 4, VQC_GRANULARITY_TENSOR, VQC_DTYPE_FLOAT);
    cr_assert_eq(try_fit(&c, &error), VQC_ERR_MODEL);
    cr_assert_eq(c.decision.codec->check(&c.decision, c.weights, &error), VQC_ERR_MODEL);
    coded_layer_end(&c);
}

Test(codec_float, the_table_has_every_codec)
{
    static const char *const names[] = {"int", "float16", "bfloat16", "float8e4m3fn", "float8e5m2"};
    for (size_t i = 0; i < 5; i++) {
        const vqc_codec *codec = vqc_codec_find(names[i]);
        cr_assert(codec != NULL && strcmp(codec->name, names[i]) == 0);
    }
    cr_assert_null(vqc_codec_find("keep"));
    cr_assert_null(vqc_codec_find("in"));
    cr_assert_null(vqc_codec_find(""));
}
