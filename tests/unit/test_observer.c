/* Observers: what they count, order, merging, and the ranges of known distributions. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/calibrate/observer.h"
#include "tests/unit/model_builder.h"

enum { HALF = VQC_OBSERVER_HALF_BINS };

static vqc_observation *fresh(void)
{
    vqc_observation *o = malloc(sizeof *o);
    cr_assert_not_null(o);
    vqc_observation_init(o);
    return o;
}

static vqc_range range_of(const vqc_observation *o, vqc_observer_kind kind, int bits,
                          bool symmetric)
{
    const vqc_observer_options options = {
        .kind = kind, .percentile = 99.9, .bits = bits, .symmetric = symmetric};
    return vqc_observation_range(o, &options);
}

/* Everything that does not depend on the order. */
static void assert_same_counts(const vqc_observation *a, const vqc_observation *b)
{
    cr_assert_eq(a->samples, b->samples);
    cr_assert_eq(a->elements, b->elements);
    cr_assert_eq(a->zeros, b->zeros);
    cr_assert_eq(a->nan_count, b->nan_count);
    cr_assert_eq(a->infinite_count, b->infinite_count);
    cr_assert_eq(a->min, b->min);
    cr_assert_eq(a->max, b->max);
    cr_assert_eq(a->limit, b->limit);
    cr_assert_arr_eq(a->bins, b->bins, sizeof a->bins);
    cr_assert_float_eq(a->sum, b->sum, 1e-9 * (fabs(a->sum) + sqrt(a->sum_squares)));
    cr_assert_float_eq(a->sum_squares, b->sum_squares, 1e-9 * a->sum_squares);
}

static uint64_t total(const vqc_observation *o)
{
    uint64_t sum = 0;
    for (size_t b = 0; b < VQC_OBSERVER_BINS; b++)
        sum += o->bins[b];
    return sum;
}

Test(observer, nothing_zeros_and_nonfinite)
{
    vqc_observation *o = fresh();
    const float zeros[] = {0.0f, -0.0f, 0.0f}, bad[] = {NAN, INFINITY, -INFINITY, NAN};
    for (int pass = 0; pass < 3; pass++) {
        for (int kind = VQC_OBSERVER_MINMAX; kind <= VQC_OBSERVER_MSE; kind++) {
            const vqc_range r = range_of(o, (vqc_observer_kind)kind, 8, pass == 1);
            cr_assert(r.min == 0.0f && r.max == 0.0f);
        }
        if (pass == 0)
            vqc_observe(o, zeros, 3);
        else if (pass == 1)
            vqc_observe(o, bad, 4);
    }
    cr_assert_eq(o->samples, 2);
    cr_assert_eq(o->elements, 3);
    cr_assert_eq(o->zeros, 3);
    cr_assert_eq(o->nan_count, 2);
    cr_assert_eq(o->infinite_count, 2);
    cr_assert_eq(o->averaged, 1);
    cr_assert_eq(total(o), 0);
    const float few[] = {1.0f, INFINITY, -0.5f, NAN};
    vqc_observe(o, few, 4);
    cr_assert(o->min == -0.5f && o->max == 1.0f && o->limit == 2.0f);
    cr_assert_eq(total(o), 2);
    cr_assert_eq(o->bins[HALF + HALF / 2], 1);
    cr_assert_eq(o->bins[HALF - 1 - HALF / 4], 1);
    free(o);
}

Test(observer, constant_and_one_sided)
{
    vqc_observation *o = fresh();
    float x[5000];
    for (size_t i = 0; i < 5000; i++)
        x[i] = 3.0f;
    vqc_observe(o, x, 5000);
    for (int kind = VQC_OBSERVER_MINMAX; kind <= VQC_OBSERVER_MSE; kind++) {
        const vqc_range a = range_of(o, (vqc_observer_kind)kind, 8, false);
        const vqc_range s = range_of(o, (vqc_observer_kind)kind, 8, true);
        cr_assert(a.min == 0.0f && fabsf(a.max - 3.0f) < 0.03f, "%d: %g", kind, (double)a.max);
        cr_assert(s.min == -s.max && fabsf(s.max - 3.0f) < 0.03f, "%d: %g", kind, (double)s.max);
    }
    cr_assert(range_of(o, VQC_OBSERVER_PERCENTILE, 8, false).max == 3.0f);
    cr_assert_float_eq(o->sum, 15000.0, 0.0);
    cr_assert_float_eq(o->sum_squares, 45000.0, 0.0);
    free(o);
}

Test(observer, negative_only_mirrors_positive)
{
    vqc_observation *up = fresh(), *down = fresh();
    mb_random random = {7};
    float x[4000];
    mb_random_fill(&random, x, 4000, 1.0f, 0.0f);
    for (size_t i = 0; i < 4000; i++)
        x[i] = fabsf(x[i]);
    vqc_observe(up, x, 4000);
    for (size_t i = 0; i < 4000; i++)
        x[i] = -x[i];
    vqc_observe(down, x, 4000);
    for (int kind = VQC_OBSERVER_MINMAX; kind <= VQC_OBSERVER_MSE; kind++) {
        const vqc_range a = range_of(up, (vqc_observer_kind)kind, 8, false);
        const vqc_range b = range_of(down, (vqc_observer_kind)kind, 8, false);
        cr_assert(a.min == 0.0f && b.max == 0.0f);
        cr_assert_float_eq(a.max, -b.min, 0.02f * a.max, "%d: %g %g", kind, (double)a.max,
                           (double)b.min);
    }
    free(up);
    free(down);
}

/* 16 arrays of very different magnitudes, some with zeros, denormals and non-finite values. */
enum { PARTS = 16, PART = 3001 };
static float parts[PARTS][PART];

static void draw_parts(void)
{
    mb_random random = {42};
    for (size_t p = 0; p < PARTS; p++) {
        mb_random_fill(&random, parts[p], PART, ldexpf(1.0f, (int)p * 3 - 30), 0.0f);
        parts[p][p] = 0.0f;
        parts[p][100 + p] = -0x1p-149f;
        parts[p][200 + p] = p % 3 == 0 ? NAN : -0x1p-130f;
        parts[p][300 + p] = p % 5 == 0 ? -INFINITY : ldexpf(1.0f, (int)p - 4);
        parts[p][400 + p] = p == 7 ? -0x1.fffffep127f : 1.0f;
    }
}

Test(observer, order_does_not_matter)
{
    vqc_observation *a = fresh(), *b = fresh(), *c = fresh();
    draw_parts();
    for (size_t p = 0; p < PARTS; p++) {
        vqc_observe(a, parts[p], PART);
        vqc_observe(b, parts[PARTS - 1 - p], PART);
        vqc_observe(c, parts[(p * 5 + 3) % PARTS], PART);
    }
    cr_assert_eq(a->limit, 0x1p127f);
    cr_assert_eq(total(a) + a->zeros, a->elements);
    assert_same_counts(a, b);
    assert_same_counts(a, c);
    free(a);
    free(b);
    free(c);
}

Test(observer, merging_is_streaming)
{
    draw_parts();
    for (size_t split = 0; split <= PARTS; split += 4) {
        vqc_observation *all = fresh(), *first = fresh(), *rest = fresh();
        for (size_t p = 0; p < PARTS; p++) {
            vqc_observe(all, parts[p], PART);
            vqc_observe(p < split ? first : rest, parts[p], PART);
        }
        vqc_observation_merge(first, rest);
        assert_same_counts(all, first);
        cr_assert_eq(all->averaged, first->averaged);
        cr_assert_eq(all->first_min, first->first_min);
        cr_assert_float_eq(all->average_min, first->average_min, 1e-9 * fabs(all->average_min));
        cr_assert_float_eq(all->average_max, first->average_max, 1e-9 * fabs(all->average_max));
        free(all);
        free(first);
        free(rest);
    }
}

Test(observer, moving_average_follows_its_recursion)
{
    vqc_observation *o = fresh();
    double low = 0.0, high = 0.0;
    for (int i = 0; i < 500; i++) {
        const float x[2] = {-1.0f - (float)(i % 7), 2.0f + (float)(i % 11)};
        vqc_observe(o, x, 2);
        low = i == 0 ? (double)x[0] : 0.99 * low + 0.01 * (double)x[0];
        high = i == 0 ? (double)x[1] : 0.99 * high + 0.01 * (double)x[1];
    }
    const vqc_range r = range_of(o, VQC_OBSERVER_MOVING_AVERAGE, 8, false);
    cr_assert_float_eq((double)r.min, low, 1e-6);
    cr_assert_float_eq((double)r.max, high, 1e-6);
    free(o);
}

Test(observer, uniform_values)
{
    enum { N = 200000 };
    vqc_observation *o = fresh();
    float *x = malloc(N * sizeof *x);
    cr_assert_not_null(x);
    for (size_t i = 0; i < N; i++)
        x[i] = -1.0f + 4.0f * ((float)i + 0.5f) / N; /* [-1, 3] */
    vqc_observe(o, x, N);
    cr_assert_float_eq(o->sum / N, 1.0, 1e-4);
    cr_assert_float_eq(o->sum_squares / N, 1.0 + 16.0 / 12.0, 1e-4);
    const vqc_range all = range_of(o, VQC_OBSERVER_MINMAX, 8, false);
    cr_assert(all.min == x[0] && all.max == x[N - 1]);
    const vqc_range p = range_of(o, VQC_OBSERVER_PERCENTILE, 8, false);
    cr_assert_float_eq(p.min, -1.0f + 0.002f, 1e-3f);
    cr_assert_float_eq(p.max, 3.0f - 0.002f, 1e-3f);
    /* Nothing is gained by clipping; the error is that of rounding, step^2 / 12. */
    const vqc_range mse = range_of(o, VQC_OBSERVER_MSE, 8, false);
    cr_assert(mse.min < -0.98f && mse.max > 2.98f);
    const double step = 4.0 / 255.0;
    cr_assert_float_eq(vqc_observation_mse(o, all, 8, false), step * step / 12.0,
                       0.03 * step * step / 12.0);
    const double fine = 4.0 / 65535.0;
    cr_assert_float_eq(vqc_observation_mse(o, all, 16, false), fine * fine / 12.0,
                       1e-3 * fine * fine / 12.0);
    /* Clipped at 2, a quarter of the values lies (0 .. 1) beyond: plus 1/4 * 1/3. */
    const vqc_range cut = {-1.0f, 2.0f};
    cr_assert_float_eq(vqc_observation_mse(o, cut, 16, false), 1.0 / 12.0, 1e-3);
    free(x);
    free(o);
}

/* The clip point of least mean squared error of a Gaussian at 8 bits: 3.92 standard deviations by
 * Banner et al., "Post training 4-bit quantization of convolutional networks", 2019 (2^8 cells); a
 * little more with 255 levels. */
Test(observer, gaussian_clip)
{
    enum { N = 1 << 20 };
    vqc_observation *o = fresh();
    float *x = malloc(N * sizeof *x);
    mb_random random = {3};
    cr_assert_not_null(x);
    mb_random_fill(&random, x, N, 1.0f, 0.0f);
    vqc_observe(o, x, N);
    const vqc_range eight = range_of(o, VQC_OBSERVER_MSE, 8, true);
    cr_assert_float_eq(eight.max, 3.95f, 0.12f, "%g", (double)eight.max);
    const vqc_range both = range_of(o, VQC_OBSERVER_MSE, 8, false);
    cr_assert_float_eq(both.max, 3.95f, 0.25f, "%g", (double)both.max);
    cr_assert_float_eq(both.min, -3.95f, 0.25f, "%g", (double)both.min);
    const double best = vqc_observation_mse(o, eight, 8, true);
    cr_assert(best < vqc_observation_mse(o, range_of(o, VQC_OBSERVER_MINMAX, 8, true), 8, true));
    const vqc_range entropy = range_of(o, VQC_OBSERVER_ENTROPY, 8, true);
    cr_assert(entropy.max > 2.0f && entropy.max <= o->max);
    /* 16 bits: clipping never pays */
    cr_assert(range_of(o, VQC_OBSERVER_MSE, 16, false).max > 0.98f * o->max);
    free(x);
    free(o);
}

/* One outlier far beyond the rest. */
Test(observer, outlier_is_cut)
{
    vqc_observation *o = fresh();
    float x[20000];
    mb_random random = {5};
    mb_random_fill(&random, x, 20000, 1.0f, 0.0f);
    vqc_observe(o, x, 20000);
    const float outlier = 60.0f;
    vqc_observe(o, &outlier, 1);
    cr_assert(range_of(o, VQC_OBSERVER_MINMAX, 8, false).max == 60.0f);
    cr_assert(range_of(o, VQC_OBSERVER_PERCENTILE, 8, false).max < 5.0f);
    cr_assert(range_of(o, VQC_OBSERVER_ENTROPY, 8, false).max < 30.0f);
    /* One lost value against 20000 rounded more coarsely: (60 - c)^2 + 20000 (c / 255)^2 / 12 is
     * least near 57 to 59. */
    const float clip = range_of(o, VQC_OBSERVER_MSE, 8, false).max;
    cr_assert(clip > 55.0f && clip < 59.9f, "%g", (double)clip);
    free(o);
}

/* What most layers after Relu look like: mostly zeros, so few values that the percentile would
 * leave nothing. */
Test(observer, sparse_values_keep_a_range)
{
    vqc_observation *o = fresh();
    float x[10000] = {0};
    x[77] = 5.0f;
    vqc_observe(o, x, 10000);
    cr_assert_eq(o->zeros, 9999);
    for (int kind = VQC_OBSERVER_MINMAX; kind <= VQC_OBSERVER_MSE; kind++) {
        const vqc_range r = range_of(o, (vqc_observer_kind)kind, 8, false);
        cr_assert(r.min == 0.0f && r.max > 4.9f && r.max <= 5.0f, "%d: %g", kind, (double)r.max);
    }
    free(o);
}

Test(observer, huge_values_do_not_overflow)
{
    vqc_observation *o = fresh();
    float x[64];
    for (size_t i = 0; i < 64; i++)
        x[i] = i % 2 == 0 ? 0x1.fffffep127f : -0x1p127f;
    vqc_observe(o, x, 64);
    cr_assert(isfinite(o->sum) && isfinite(o->sum_squares));
    cr_assert_eq(o->limit, 0x1p127f);
    for (int kind = VQC_OBSERVER_MINMAX; kind <= VQC_OBSERVER_MSE; kind++) {
        const vqc_range r = range_of(o, (vqc_observer_kind)kind, 8, false);
        cr_assert(isfinite(r.min) && isfinite(r.max) && r.min <= -0x1p120f && r.max >= 0x1p120f);
    }
    free(o);
}

Test(observer, names)
{
    cr_assert_str_eq(vqc_observer_name(VQC_OBSERVER_AUTO), "auto");
    cr_assert_str_eq(vqc_observer_name(VQC_OBSERVER_MOVING_AVERAGE), "moving_average");
    cr_assert_str_eq(vqc_observer_name(VQC_OBSERVER_MSE), "mse");
    cr_assert_str_eq(vqc_observer_name((vqc_observer_kind)99), "unknown");
}
