#include <criterion/criterion.h>
#include <math.h>

#include "core/vq/allocate.h"

/* Every combination of three layers' options: what the Lagrangian picks must be the best of all
 * that cost no more than it does. */
Test(allocate, no_combination_of_the_same_bytes_is_better)
{
    static const vqc_choice a[] = {{10, 8.0}, {20, 3.0}, {30, 2.5}, {60, 0.1}};
    static const vqc_choice b[] = {{5, 4.0}, {15, 3.9}, {25, 0.5}};
    static const vqc_choice c[] = {{40, 0.2}, {8, 1.0}, {9, 5.0}};
    vqc_choices layers[] = {{a, 4}, {b, 3}, {c, 3}};

    for (size_t budget = 0; budget < 140; budget++) {
        size_t picked[3];
        size_t bytes;
        double noise;
        double sum;
        cr_assert_eq(vqc_allocate(layers, 3, budget, 0.0, picked, &bytes, &noise, NULL), VQC_OK);
        cr_assert_leq(bytes, budget < 23 ? 23 : budget);
        cr_assert_eq(bytes,
                     a[picked[0]].size_bytes + b[picked[1]].size_bytes + c[picked[2]].size_bytes);
        sum = a[picked[0]].noise + b[picked[1]].noise + c[picked[2]].noise;
        cr_assert_float_eq(noise, sum, 1e-12);
        for (size_t i = 0; i < 4; i++) {
            for (size_t j = 0; j < 3; j++) {
                for (size_t k = 0; k < 3; k++) {
                    if (a[i].size_bytes + b[j].size_bytes + c[k].size_bytes <= bytes) {
                        cr_assert_geq(a[i].noise + b[j].noise + c[k].noise, sum - 1e-12);
                    }
                }
            }
        }
    }
}

Test(allocate, stops_when_the_noise_is_low_enough)
{
    static const vqc_choice a[] = {{10, 8.0}, {20, 3.0}, {30, 1.0}};
    vqc_choices layers[] = {{a, 3}, {a, 3}};
    size_t picked[2];
    size_t bytes;
    double noise;

    cr_assert_eq(vqc_allocate(layers, 2, 1000, 11.0, picked, &bytes, &noise, NULL), VQC_OK);
    cr_assert_eq(bytes, 30);
    cr_assert_eq(picked[0], 1);
    cr_assert_eq(picked[1], 0);
    cr_assert_eq(vqc_allocate(layers, 2, 1000, 1e-9, picked, &bytes, &noise, NULL), VQC_OK);
    cr_assert_eq(bytes, 60);
}

Test(allocate, codebooks_follow_the_table_of_limits)
{
    cr_assert_float_eq(vqc_codebook_sqnr_db(1, 16), 20.22, 0.02);
    cr_assert_float_eq(vqc_codebook_sqnr_db(2, 256), 21.11, 0.02);
    cr_assert_float_eq(vqc_codebook_sqnr_db(4, 256), 10.15, 0.02);
    cr_assert_float_eq(vqc_codebook_sqnr_db(8, 256), 4.93, 0.02);
    for (size_t k = 3; k < 5000; k++) {
        cr_assert_gt(vqc_codebook_sqnr_db(2, k), vqc_codebook_sqnr_db(2, k - 1));
    }
}
