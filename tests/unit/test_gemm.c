/* float32 matrix products: every layout, blocking and thread count gives the same bits. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/gemm.h"
#include "tests/unit/model_builder.h"

static float *filled(mb_random *random, size_t n)
{
    float *x = malloc((n + 1) * sizeof *x);

    cr_assert_not_null(x);
    mb_random_fill(random, x, n, 1.0f, 0.0f);
    return x;
}

/* C = chain over k from the bias, as gemm.h defines it. */
static void reference(const float *a, const float *b, const float *bias, size_t m, size_t n,
                      size_t k, float *c)
{
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            float sum = bias[i];
            for (size_t p = 0; p < k; p++) {
                sum = fmaf(a[i * k + p], b[p * n + j], sum);
            }
            c[i * n + j] = sum > 0.0f ? sum : 0.0f;
        }
    }
}

static float *transpose(const float *x, size_t rows, size_t cols)
{
    float *y = malloc((rows * cols + 1) * sizeof *y);

    cr_assert_not_null(y);
    for (size_t i = 0; i < rows * cols; i++) {
        y[i % cols * rows + i / cols] = x[i];
    }
    return y;
}

typedef struct operands {
    vqc_gemm_left left[3];
    const float *a[3];
    vqc_gemm_right right[3];
    const float *b[3];
} operands;

static void check_all(const operands *o, const float *bias, const float *want, size_t m, size_t n,
                      size_t k)
{
    for (int way = 0; way < 18; way++) {
        float *c = malloc((m * n + 1) * sizeof *c);
        vqc_gemm_item item = {.a = o->a[way % 3], .b = o->b[way / 3 % 3], .c = c, .row_bias = bias};
        vqc_gemm g = {.m = m,
                      .n = n,
                      .k = k,
                      .c_stride = n,
                      .left = o->left[way % 3],
                      .right = o->right[way / 3 % 3],
                      .epilogue = {.act = VQC_ACT_RELU},
                      .threads = way < 9 ? 1 : 3,
                      .items = &item,
                      .item_count = 1};
        float *scratch = malloc(vqc_gemm_scratch_bytes(&g) + 1);

        cr_assert(c != NULL && scratch != NULL);
        vqc_gemm_run(&g, scratch);
        cr_expect_eq(memcmp(c, want, m * n * sizeof *c), 0, "m %zu n %zu k %zu way %d", m, n, k,
                     way);
        free(scratch);
        free(c);
    }
}

static void check_shape(size_t m, size_t n, size_t k)
{
    mb_random random = {m * 10000 + n * 100 + k};
    float *a = filled(&random, m * k), *b = filled(&random, k * n), *bias = filled(&random, m);
    float *a_across = transpose(a, m, k), *b_across = transpose(b, k, n);
    float *want = malloc((m * n + 1) * sizeof *want);
    float *a_packed, *b_packed;
    size_t a_bytes, b_bytes;

    cr_assert(vqc_gemm_left_bytes(m, k, &a_bytes) && vqc_gemm_right_bytes(k, n, &b_bytes));
    a_packed = malloc(a_bytes + 1);
    b_packed = malloc(b_bytes + 1);
    cr_assert(want != NULL && a_packed != NULL && b_packed != NULL);
    vqc_gemm_pack_left(a, m, k, k, 1, a_packed);
    vqc_gemm_pack_right(b_across, k, n, 1, k, b_packed);
    reference(a, b, bias, m, n, k, want);
    check_all(&(operands){.left = {vqc_gemm_left_rows(m, k), vqc_gemm_left_columns(m, m),
                                   vqc_gemm_left_packed(m, k)},
                          .a = {a, a_across, a_packed},
                          .right = {vqc_gemm_right_rows(n), vqc_gemm_right_columns(k),
                                    vqc_gemm_right_packed()},
                          .b = {b, b_across, b_packed}},
              bias, want, m, n, k);
    free(a), free(b), free(bias), free(a_across), free(b_across), free(want), free(a_packed),
        free(b_packed);
}

Test(gemm, same_bits_for_every_layout_and_thread_count)
{
    static const size_t shapes[][3] = {{1, 1, 1},   {6, 16, 8},    {7, 17, 300},  {1, 100, 700},
                                       {100, 1, 9}, {13, 33, 0},   {64, 300, 20}, {130, 270, 260},
                                       {2, 600, 3}, {125, 40, 513}};

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_shape(shapes[i][0], shapes[i][1], shapes[i][2]);
    }
}

Test(gemm, continues_from_c_and_adds_the_residual_before_the_activation)
{
    const float a[2] = {2, 3}, b[2] = {10, 100}, residual[1] = {-1000};
    float c[1] = {5};
    vqc_gemm_item item = {.a = a, .b = b, .c = c, .residual = residual};
    vqc_gemm g = {.m = 1,
                  .n = 1,
                  .k = 2,
                  .c_stride = 1,
                  .left = vqc_gemm_left_rows(1, 2),
                  .right = vqc_gemm_right_rows(1),
                  .accumulate = true,
                  .epilogue = {.act = VQC_ACT_LEAKY_RELU, .alpha = 0.5f},
                  .threads = 1,
                  .items = &item,
                  .item_count = 1};
    float *scratch = malloc(vqc_gemm_scratch_bytes(&g) + 1);

    cr_assert_not_null(scratch);
    vqc_gemm_run(&g, scratch);
    cr_expect_eq(c[0], 0.5f * (5 + 20 + 300 - 1000));
    free(scratch);
}

Test(gemm, sizes_that_overflow_are_refused)
{
    size_t size_bytes;

    cr_expect_not(vqc_gemm_left_bytes(SIZE_MAX / 2, 4, &size_bytes));
    cr_expect_not(vqc_gemm_right_bytes(SIZE_MAX / 4, 3, &size_bytes));
    cr_expect(vqc_gemm_right_bytes(3, 17, &size_bytes));
    cr_expect_eq(size_bytes, 3 * 32 * sizeof(float));
}
