/* Zeros shared out over layers. */
#include <criterion/criterion.h>
#include <math.h>

#include "core/prune/prune_share.h"

static vqc_prune_curve curve_of(double factor, double exponent)
{
    static const double shares[VQC_PRUNE_CURVE_POINTS] = {0.25, 0.5, 0.75};
    vqc_prune_curve curve = {.count = 0};

    for (size_t i = 0; i < VQC_PRUNE_CURVE_POINTS; i++) {
        vqc_prune_curve_add(&curve, shares[i],
                            factor * pow(shares[i] / (1.0 - shares[i]), exponent));
    }
    return curve;
}

Test(prune_share, a_curve_goes_through_its_points_and_rises)
{
    vqc_prune_curve curve = {.count = 0};
    double last = 0.0;

    vqc_prune_curve_add(&curve, 0.3, 0.01);
    vqc_prune_curve_add(&curve, 0.6, 0.05);
    vqc_prune_curve_add(&curve, 0.8, 0.04); /* less noise for more zeros: chance */
    cr_assert_eq(vqc_prune_curve_noise(&curve, 0.0), 0.0);
    cr_assert_float_eq(vqc_prune_curve_noise(&curve, 0.3), 0.01, 1e-9);
    cr_assert_float_eq(vqc_prune_curve_noise(&curve, 0.6), 0.05, 1e-9);
    cr_assert_gt(vqc_prune_curve_noise(&curve, 0.8), 0.05);
    for (int i = 1; i <= 100; i++) {
        double noise = vqc_prune_curve_noise(&curve, i / 100.0);
        cr_assert(isfinite(noise) && noise >= last, "%g at %d", noise, i);
        last = noise;
    }
    curve = curve_of(0.02, 1.7); /* a power of the odds everywhere */
    cr_assert_float_eq(vqc_prune_curve_noise(&curve, 0.1), 0.02 * pow(1.0 / 9.0, 1.7), 1e-9);
    cr_assert_float_eq(vqc_prune_curve_noise(&curve, 0.9), 0.02 * pow(9.0, 1.7), 1e-9);
}

/* Alike layers lose the same share, and with noises a (s / (1 - s))^2 the best is known: where the
 * derivatives are the same. */
Test(prune_share, alike_layers_lose_alike_and_others_by_their_slope)
{
    enum { N = 64000 };
    vqc_prune_curve curves[2] = {curve_of(0.01, 2.0), curve_of(0.01, 2.0)};
    size_t counts[2] = {N, N};
    size_t lost[2];
    double best = 1e9, share = 0.0, got;

    cr_assert_eq(vqc_prune_share_by_curves(curves, counts, 2, N, lost, NULL), VQC_OK);
    cr_assert_eq(lost[0], N / 2);
    cr_assert_eq(lost[1], N / 2);
    curves[1] = curve_of(0.16, 2.0); /* sixteen times as sensitive */
    for (int i = 1; i < 1000; i++) {
        double s = i / 1000.0;
        double noise =
            vqc_prune_curve_noise(&curves[0], s) + vqc_prune_curve_noise(&curves[1], 1.0 - s);
        share = noise < best ? s : share;
        best = noise < best ? noise : best;
    }
    cr_assert_eq(vqc_prune_share_by_curves(curves, counts, 2, N, lost, NULL), VQC_OK);
    cr_assert_eq(lost[0] + lost[1], N);
    cr_assert_float_eq((double)lost[0] / N, share, 1.0 / 64);
    got = vqc_prune_curve_noise(&curves[0], (double)lost[0] / N) +
          vqc_prune_curve_noise(&curves[1], (double)lost[1] / N);
    cr_assert_lt(got, 1.01 * best);
    got = vqc_prune_curve_noise(&curves[0], 0.5) + vqc_prune_curve_noise(&curves[1], 0.5);
    cr_assert_gt(got, 1.5 * best); /* the same share for both is far from it */
}

Test(prune_share, counts_are_exact)
{
    vqc_prune_curve curves[4] = {
        curve_of(0.3, 1.5), curve_of(0.001, 3.0), {.count = 0}, curve_of(0.02, 0.8)};
    size_t counts[4] = {1537, 20011, 0, 997};
    size_t total = 1537 + 20011 + 997;
    size_t lost[4];

    for (size_t gone = 0; gone <= total; gone += 811) {
        cr_assert_eq(vqc_prune_share_by_curves(curves, counts, 4, gone, lost, NULL), VQC_OK);
        cr_assert_eq(lost[0] + lost[1] + lost[2] + lost[3], gone);
        for (size_t i = 0; i < 4; i++) {
            cr_assert_leq(lost[i], counts[i]);
        }
    }
    cr_assert_eq(vqc_prune_share_by_curves(curves, counts, 4, 2 * total, lost, NULL), VQC_OK);
    cr_assert_eq(lost[0] + lost[1] + lost[3], total);
}
