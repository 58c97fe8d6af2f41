/* The error measures on cases whose values are known in closed form. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "core/metrics.h"

Test(metrics, closed_form)
{
    const float ref[4] = {1.0f, -2.0f, 3.0f, 0.0f};
    const float dec[4] = {1.0f, -2.5f, 2.0f, 0.0f};
    vqc_metrics m = vqc_metrics_compare(ref, dec, 4);

    cr_expect_eq(m.count, 4);
    cr_expect_float_eq(m.mse, 1.25 / 4, 1e-12);
    cr_expect_float_eq(m.sqnr_db, 10.0 * log10(14.0 / 1.25), 1e-9);
    cr_expect_float_eq(m.max_abs_error, 1.0, 0.0);
    cr_expect_float_eq(m.cosine, 12.0 / sqrt(14.0 * 11.25), 1e-12);
    cr_expect_float_eq(m.sum_ref2, 14.0, 0.0);
    cr_expect_float_eq(m.sum_err2, 1.25, 0.0);
}

Test(metrics, nothing_and_equal)
{
    const float values[3] = {1.0f, -2.0f, 1e-30f};
    const float zeros[3] = {0.0f, 0.0f, 0.0f};
    vqc_metrics none = vqc_metrics_compare(values, values, 0);
    vqc_metrics equal = vqc_metrics_compare(values, values, 3);
    vqc_metrics zero = vqc_metrics_compare(zeros, zeros, 3);
    vqc_metrics lost = vqc_metrics_compare(values, zeros, 3);
    vqc_metrics made = vqc_metrics_compare(zeros, values, 3);

    cr_expect_eq(none.count, 0);
    cr_expect(isinf(equal.sqnr_db) && equal.sqnr_db > 0);
    cr_expect_float_eq(equal.cosine, 1.0, 0.0);
    cr_expect(isinf(zero.sqnr_db) && zero.sqnr_db > 0);
    cr_expect_float_eq(zero.cosine, 1.0, 0.0);
    cr_expect_float_eq(lost.sqnr_db, 0.0, 1e-9);
    cr_expect_float_eq(lost.cosine, 0.0, 0.0);
    cr_expect(isinf(made.sqnr_db) && made.sqnr_db < 0);
}

/* A uniform quantizer of step d has an error of variance d^2 / 12. */
Test(metrics, uniform_quantization_noise)
{
    enum { N = 100000 };
    float *ref = malloc(N * sizeof *ref);
    float *dec = malloc(N * sizeof *dec);
    const double step = 1.0 / 64;
    vqc_metrics m;

    for (size_t i = 0; i < N; i++) { /* a ramp that meets every phase equally often */
        ref[i] = (float)((double)i * 0.6180339887498949 / 7.0 - 4000.0);
        dec[i] = (float)(rint((double)ref[i] / step) * step);
    }
    m = vqc_metrics_compare(ref, dec, N);
    cr_expect_float_eq(m.mse, step * step / 12, step * step / 12 * 0.02);
    cr_expect_leq(m.max_abs_error, step / 2 * 1.001);
    free(ref);
    free(dec);
}

Test(metrics, values_whose_squares_leave_the_range_of_float)
{
    const float tiny[2] = {3e-30f, 4e-30f};
    const float huge[2] = {3e30f, 4e30f};
    const float zeros[2] = {0.0f, 0.0f};
    vqc_metrics small = vqc_metrics_compare(tiny, zeros, 2);
    vqc_metrics large = vqc_metrics_compare(huge, zeros, 2);

    cr_expect_float_eq(small.mse / 12.5e-60, 1.0, 1e-6);
    cr_expect_float_eq(small.sqnr_db, 0.0, 1e-6);
    cr_expect_float_eq(large.mse / 12.5e60, 1.0, 1e-6);
    cr_expect_float_eq(large.sqnr_db, 0.0, 1e-6);
}

Test(metrics, nan_is_not_hidden)
{
    const float ref[2] = {1.0f, NAN};
    const float dec[2] = {1.0f, 0.0f};
    vqc_metrics m = vqc_metrics_compare(ref, dec, 2);

    cr_expect(isnan(m.mse) && isnan(m.sqnr_db) && isnan(m.cosine));
}

/* The error of a whole is that of its parts added up. */
Test(metrics, parts_add_up)
{
    const float ref[5] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f};
    const float dec[5] = {1.5f, 2.0f, 2.0f, 4.0f, 5.25f};
    vqc_error_sums total = {0};
    vqc_metrics whole = vqc_metrics_compare(ref, dec, 5);
    vqc_metrics sum;

    vqc_error_sums_add_f32(ref, dec, 2, &total);
    vqc_error_sums_add_f32(ref + 2, dec + 2, 3, &total);
    sum = vqc_metrics_from_sums(&total);
    cr_expect_eq(sum.count, whole.count);
    cr_expect_float_eq(sum.mse, whole.mse, 1e-15);
    cr_expect_float_eq(sum.sqnr_db, whole.sqnr_db, 1e-12);
    cr_expect_float_eq(sum.cosine, whole.cosine, 1e-15);
    cr_expect_float_eq(sum.max_abs_error, whole.max_abs_error, 0.0);
}
