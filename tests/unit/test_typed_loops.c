/* Loops over one C type: special values, wrapping, steps, unaligned inputs; strided products. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/dtype.h"
#include "core/exec/typed_loops.h"
#include "core/exec/working.h"

static void check_power(float x, float exponent)
{
    const float want = powf(x, exponent);
    float got;

    cr_assert(vqc_typed_power(&x, 1, exponent, &got));
    cr_assert(isnan(want) ? isnan(got) : got == want && signbit(got) == signbit(want),
              "%a ^ %g: got %a, expected %a", (double)x, (double)exponent, (double)got,
              (double)want);
}

Test(typed_loops, usual_powers_have_the_special_values_of_pow)
{
    static const float xs[] = {0.0f,      -0.0f, 1.5f,  -2.0f, INFINITY,
                               -INFINITY, NAN,   1e30f, 4.0f,  0x1p-149f};
    static const float exponents[] = {-1.0f, 0.0f, 0.5f, 1.0f, 2.0f, 3.0f};
    float y;

    for (size_t i = 0; i < sizeof xs / sizeof *xs; i++) {
        for (size_t e = 0; e < sizeof exponents / sizeof *exponents; e++) {
            check_power(xs[i], exponents[e]);
        }
    }
    cr_assert_not(vqc_typed_power(xs, 1, 1.7f, &y));
}

Test(typed_loops, casts_wrap_truncate_and_take_nan_as_zero)
{
    static const float floats[] = {-1.9f, NAN, INFINITY, 0x1p33f, 0.5f};
    static const int64_t longs[] = {INT64_C(0x1ffffffff), -1, INT64_C(1) << 40, 7};
    static const int32_t wrapped[] = {-1, -1, 0, 7};
    static const int64_t whole[] = {-1, 0, INT64_MAX, INT64_C(1) << 33, 0};
    int32_t narrow[4];
    int64_t wide[5];
    unsigned char truth[5];

    vqc_typed_cast(VQC_DTYPE_INT64, VQC_DTYPE_INT32)(longs, 4, narrow);
    cr_assert_arr_eq(narrow, wrapped, sizeof wrapped);
    vqc_typed_cast(VQC_DTYPE_FLOAT, VQC_DTYPE_INT64)(floats, 5, wide);
    cr_assert_arr_eq(wide, whole, sizeof whole);
    vqc_typed_cast(VQC_DTYPE_FLOAT, VQC_DTYPE_BOOL)(floats, 5, truth);
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(truth[i], 1); /* 0.5 and NaN too */
    }
    cr_assert_null(vqc_typed_cast(VQC_DTYPE_FLOAT, VQC_DTYPE_DOUBLE));
}

Test(typed_loops, comparisons_take_steps_and_unaligned_inputs)
{
    unsigned char memory[4 * sizeof(int32_t) + 1];
    static const int32_t a[] = {1, 5, 3, -1};
    static const int32_t three = 3;
    unsigned char y[4];

    memcpy(memory + 1, a, sizeof a);
    vqc_typed_compare("GreaterOrEqual", VQC_DTYPE_INT32)(memory + 1, 1, &three, 0, 4, y);
    cr_assert(y[0] == 0 && y[1] == 1 && y[2] == 1 && y[3] == 0);
    vqc_typed_compare("Less", VQC_DTYPE_INT32)(&three, 0, memory + 1, 1, 4, y);
    cr_assert(y[0] == 0 && y[1] == 1 && y[2] == 0 && y[3] == 0);
    cr_assert_null(vqc_typed_compare("Less", VQC_DTYPE_INT8));
    cr_assert_null(vqc_typed_compare("Add", VQC_DTYPE_FLOAT));
}

Test(typed_loops, selection_of_every_width)
{
    static const unsigned char condition[] = {0, 1, 2, 0, 1};
    unsigned char yes[80], no[80], y[80];

    for (size_t i = 0; i < sizeof yes; i++) {
        yes[i] = (unsigned char)(i + 100);
        no[i] = (unsigned char)i;
    }
    for (size_t width = 1; width <= 16; width *= 2) {
        vqc_typed_select(condition, yes, no, 5, width, y);
        for (size_t i = 0; i < 5 * width; i++) {
            cr_assert_eq(y[i], condition[i / width] != 0 ? yes[i] : no[i]);
        }
    }
}

/* One chain of fused multiply-adds for each element, whatever the columns and rows. */
Test(typed_loops, strided_products_are_chains)
{
    enum { M = 3, K = 19, N = 37, STRIDE = 41 };
    float a[M * STRIDE], b[K * STRIDE], c[M * STRIDE], want[M * STRIDE];

    for (size_t i = 0; i < K * STRIDE; i++) {
        b[i] = (float)(i * 7919 % 1000) / 997.0f - 0.5f;
    }
    for (size_t i = 0; i < M * STRIDE; i++) {
        a[i] = (float)(i * 104729 % 1000) / 991.0f - 0.5f;
        c[i] = want[i] = (float)(i % 5);
    }
    for (size_t i = 0; i < M; i++) {
        for (size_t j = 0; j < N; j++) {
            for (size_t p = 0; p < K; p++) {
                want[i * STRIDE + j] =
                    fmaf(a[i * STRIDE + p], b[p * STRIDE + j], want[i * STRIDE + j]);
            }
        }
    }
    vqc_exec_multiply_rows(VQC_CLASS_F32, (vqc_rows){a, STRIDE}, (vqc_rows){b, STRIDE}, c, STRIDE,
                           M, K, N, 2);
    cr_assert_arr_eq(c, want, sizeof c); /* what lies between the rows is as it was */
}
