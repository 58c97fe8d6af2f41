#include <criterion/criterion.h>
#include <math.h>

#include "core/vq/allocate.h"

static const vqc_choice A[] = {{10, 8.0}, {20, 3.0}, {30, 2.5}, {60, 0.1}};
static const vqc_choice B[] = {{5, 4.0}, {15, 3.9}, {25, 0.5}};
static const vqc_choice C[] = {{40, 0.2}, {8, 1.0}, {9, 5.0}};

/* Whether some combination of the three layers takes no more bytes and makes less noise. */
static bool is_beaten(size_t bytes, double noise)
{
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 3; j++) {
            for (size_t k = 0; k < 3; k++) {
                if (A[i].size_bytes + B[j].size_bytes + C[k].size_bytes <= bytes &&
                    A[i].noise + B[j].noise + C[k].noise < noise - 1e-12) {
                    return true;
                }
            }
        }
    }
    return false;
}

Test(allocate, no_combination_of_the_same_bytes_is_better)
{
    vqc_choices layers[] = {{A, 4}, {B, 3}, {C, 3}};
    size_t picked[3];
    size_t bytes;
    double noise;

    for (double wanted = 14.0; wanted > 0.0; wanted -= 0.05) {
        cr_assert_eq(vqc_allocate(layers, 3, SIZE_MAX / 2, wanted, picked, &bytes, &noise, NULL),
                     VQC_OK);
        cr_assert_not(is_beaten(bytes, noise));
    }
    for (size_t budget = 0; budget < 140; budget++) {
        cr_assert_eq(vqc_allocate(layers, 3, budget, 0.0, picked, &bytes, &noise, NULL), VQC_OK);
        cr_assert_leq(bytes, budget < 23 ? 23 : budget);
        cr_assert_eq(bytes,
                     A[picked[0]].size_bytes + B[picked[1]].size_bytes + C[picked[2]].size_bytes);
        cr_assert_float_eq(noise, A[picked[0]].noise + B[picked[1]].noise + C[picked[2]].noise,
                           1e-12);
    }
}

/* The large layer's step does not fit: what is left goes to the small one. */
Test(allocate, what_one_layer_cannot_use_goes_to_others)
{
    static const vqc_choice large[] = {{100, 50.0}, {1000, 1.0}};
    static const vqc_choice small[] = {{10, 1.0}, {20, 0.9}};
    vqc_choices layers[] = {{large, 2}, {small, 2}};
    size_t picked[2];
    size_t bytes;
    double noise;

    cr_assert_eq(vqc_allocate(layers, 2, 200, 0.0, picked, &bytes, &noise, NULL), VQC_OK);
    cr_assert_eq(bytes, 120);
    cr_assert_eq(picked[0], 0);
    cr_assert_eq(picked[1], 1);
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
