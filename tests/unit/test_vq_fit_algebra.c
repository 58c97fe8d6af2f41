/* Symmetric matrices, error feedback on uniform grids, adjusted targets and the limit. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/vq/cholesky.h"
#include "core/vq/vq_fit.h"
#include "tests/unit/model_builder.h"

static float *gaussians(size_t n, uint64_t seed)
{
    mb_random random = {seed};
    float *x = malloc((n + 1) * sizeof *x);

    cr_assert_not_null(x);
    mb_random_fill(&random, x, n, 1.0f, 0.0f);
    return x;
}

/* X^T X / samples of correlated samples; column `dead` is 0 (n: none). */
static float *second_moment(size_t n, size_t samples, size_t dead, uint64_t seed)
{
    float *x = gaussians(n * samples, seed);
    float *h = calloc(n * n + 1, sizeof *h);

    cr_assert_not_null(h);
    for (size_t s = 0; s < samples; s++) {
        for (size_t j = 1; j < n; j++) {
            x[s * n + j] = 0.8f * x[s * n + j - 1] + 0.6f * x[s * n + j];
        }
        if (dead < n) {
            x[s * n + dead] = 0.0f;
        }
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (size_t s = 0; s < samples; s++) {
                sum += (double)x[s * n + i] * (double)x[s * n + j];
            }
            h[i * n + j] = (float)(sum / (double)samples);
        }
    }
    free(x);
    return h;
}

/* Largest |A + d I - R R^T| relative to the mean of the diagonal. */
static double factor_error(const float *a, const float *r, size_t n, double d)
{
    double worst = 0.0, mean = 0.0;

    for (size_t i = 0; i < n; i++) {
        mean += (double)a[i * n + i] / (double)n;
        for (size_t j = 0; j < n; j++) {
            double sum = (double)a[i * n + j] + (i == j ? d : 0.0);
            for (size_t p = 0; p < n; p++) {
                sum -= (double)r[i * n + p] * (double)r[j * n + p];
            }
            worst = fmax(worst, fabs(sum));
        }
    }
    return worst / mean;
}

Test(vq_fit_algebra, factor_has_the_matrix_as_product)
{
    static const size_t sizes[] = {1, 2, 7, 95, 96, 97, 200, 301};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i];
        float *h = second_moment(n, 2 * n, n, 3 + i);
        float *r = malloc(n * n * sizeof *r);
        float *again = malloc(n * n * sizeof *r);
        double used;

        cr_assert_not_null(r);
        cr_assert_not_null(again);
        cr_assert_eq(vqc_cholesky_upper(h, n, 0.01, 1, r, &used, NULL), VQC_OK);
        cr_expect_lt(factor_error(h, r, n, used), 1e-5, "n %zu", n);
        for (size_t k = 0; k < n * n; k++) {
            cr_assert(k % n >= k / n || r[k] == 0.0f);
        }
        /* In place and with threads: the same bits. */
        memcpy(again, h, n * n * sizeof *h);
        cr_assert_eq(vqc_cholesky_upper(again, n, 0.01, 3, again, NULL, NULL), VQC_OK);
        cr_expect_eq(memcmp(again, r, n * n * sizeof *r), 0);
        free(h);
        free(r);
        free(again);
    }
}

Test(vq_fit_algebra, singular_and_dead_inputs_are_damped)
{
    float *h = second_moment(60, 10, 7, 1);
    float r[60 * 60];
    double used;
    vqc_error error;

    cr_assert_eq(vqc_cholesky_upper(h, 60, 0.0, 1, r, &used, NULL), VQC_OK);
    cr_expect_gt(used, 0.0);
    cr_expect_lt(factor_error(h, r, 60, used), 1e-5);
    memset(h, 0, 60 * 60 * sizeof *h);
    cr_assert_eq(vqc_cholesky_upper(h, 60, 0.01, 1, r, &used, NULL), VQC_OK);
    h[61] = -1000.0f;
    cr_expect_eq(vqc_cholesky_upper(h, 60, 0.01, 1, r, &used, &error), VQC_ERR_MODEL);
    h[61] = NAN;
    cr_expect_eq(vqc_cholesky_upper(h, 60, 0.01, 1, r, &used, &error), VQC_ERR_MODEL);
    free(h);
}

Test(vq_fit_algebra, solve_undoes_the_product)
{
    enum { N = 230, ROWS = 13 };
    float *h = second_moment(N, 3 * N, N, 5);
    float *x = gaussians((size_t)ROWS * N, 6);
    float *y = malloc(sizeof *y * ROWS * N);
    float *r = malloc(sizeof *r * N * N);
    double used;

    cr_assert_not_null(y);
    cr_assert_not_null(r);
    cr_assert_eq(vqc_cholesky_upper(h, N, 0.01, 2, r, &used, NULL), VQC_OK);
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t j = 0; j < N; j++) {
            double sum = used * (double)x[row * N + j];
            for (size_t p = 0; p < N; p++) {
                sum += (double)x[row * N + p] * (double)h[p * N + j];
            }
            y[row * N + j] = (float)sum;
        }
    }
    cr_assert_eq(vqc_cholesky_solve(r, N, y, ROWS, 2, NULL), VQC_OK);
    for (size_t i = 0; i < (size_t)ROWS * N; i++) {
        cr_assert_float_eq(y[i], x[i], 2e-3f);
    }
    free(h);
    free(x);
    free(y);
    free(r);
}

Test(vq_fit_algebra, eigenvalues_of_known_matrices)
{
    /* 2 on the diagonal, -1 beside it: 2 - 2 cos(pi k / (n + 1)). */
    enum { N = 50 };
    float *a = calloc(N * N, sizeof *a);
    double values[N], trace = 0.0, squares = 0.0;
    float *h = second_moment(N, 20, 4, 9);

    cr_assert_not_null(a);
    for (size_t i = 0; i < N; i++) {
        a[i * N + i] = 2.0f;
        if (i > 0) {
            a[i * N + i - 1] = a[(i - 1) * N + i] = -1.0f;
        }
    }
    cr_assert_eq(vqc_symmetric_eigenvalues(a, N, values, NULL), VQC_OK);
    for (size_t k = 0; k < N; k++) {
        cr_expect_float_eq(values[k], 2.0 - 2.0 * cos(M_PI * (double)(k + 1) / (N + 1)), 1e-12);
    }
    /* Any symmetric matrix: trace and sum of squares; of rank 20 at most. */
    cr_assert_eq(vqc_symmetric_eigenvalues(h, N, values, NULL), VQC_OK);
    for (size_t k = 0; k < N; k++) {
        trace += values[k] - (double)h[k * N + k];
        squares += values[k] * values[k];
        cr_expect(k >= N - 20 || fabs(values[k]) < 1e-5);
    }
    for (size_t k = 0; k < N * N; k++) {
        squares -= (double)h[k] * (double)h[k];
    }
    cr_expect_float_eq(trace, 0.0, 1e-9);
    cr_expect_float_eq(squares, 0.0, 1e-7);
    free(a);
    free(h);
}

Test(vq_fit_algebra, limit_of_white_and_coloured_inputs)
{
    double variances[4] = {1.0, 1.0, 4.0, 4.0};
    float h[4] = {4.0f, 0.0f, 0.0f, 1.0f};
    double loss;

    /* Identity, 2 bits: everything above the water: geometric mean of the variances / 16. */
    cr_assert_eq(vqc_vq_waterfill(NULL, 1, variances, 4, 5, 2.0, &loss, NULL), VQC_OK);
    cr_expect_float_eq(loss, 20.0 * 2.0 / 16.0, 1e-9);
    /* Two components 4 and 1 at half a bit each: level 1, all bits on the first. */
    cr_assert_eq(vqc_vq_waterfill(h, 1, variances, 1, 2, 0.5, &loss, NULL), VQC_OK);
    cr_expect_float_eq(loss, 2.0, 1e-9);
    cr_assert_eq(vqc_vq_waterfill(h, 1, variances, 1, 2, 0.0, &loss, NULL), VQC_OK);
    cr_expect_float_eq(loss, 5.0, 1e-9);
}

typedef struct uniform_case {
    size_t rows, cols, groups;
    float *w, *h, *scales;
    int32_t codes[2][2000];
} uniform_case;

static void make_uniform_case(uniform_case *c, size_t rows, size_t cols, size_t groups)
{
    c->rows = rows;
    c->cols = cols;
    c->groups = groups;
    c->w = gaussians(rows * cols, 11);
    c->h = malloc(groups * cols * cols * sizeof *c->h);
    c->scales = malloc(rows * sizeof *c->scales);
    cr_assert_not_null(c->h);
    cr_assert_not_null(c->scales);
    for (size_t g = 0; g < groups; g++) {
        float *h = second_moment(cols, 3 * cols, 2, 20 + g);
        memcpy(c->h + g * cols * cols, h, cols * cols * sizeof *h);
        free(h);
    }
    for (size_t i = 0; i < rows; i++) {
        c->scales[i] = 0.6f;
    }
}

static double fit_uniform(uniform_case *c, bool moments, int sweeps, int threads, int which)
{
    double loss = 0.0;

    cr_assert_eq(vqc_uniform_fit(c->w, c->rows, c->cols, moments ? c->h : NULL, c->groups,
                                 c->scales, NULL, 0, -2, 2, sweeps, threads, c->codes[which], &loss,
                                 NULL),
                 VQC_OK);
    return loss;
}

/* tr(E H E^T) of codes. */
static double uniform_loss(const uniform_case *c, const int32_t *codes)
{
    double loss = 0.0;

    for (size_t row = 0; row < c->rows; row++) {
        const float *h = c->h + row / (c->rows / c->groups) * c->cols * c->cols;
        for (size_t i = 0; i < c->cols; i++) {
            for (size_t j = 0; j < c->cols; j++) {
                size_t a = row * c->cols + i, b = row * c->cols + j;
                loss += (double)h[i * c->cols + j] *
                        (double)(c->w[a] - (float)codes[a] * c->scales[row]) *
                        (double)(c->w[b] - (float)codes[b] * c->scales[row]);
            }
        }
    }
    return loss;
}

Test(vq_fit_algebra, uniform_feedback_beats_rounding_and_descent_beats_feedback)
{
    static uniform_case c;
    double rounded, before;

    make_uniform_case(&c, 12, 150, 3);
    (void)fit_uniform(&c, false, 0, 1, 0);
    for (size_t i = 0; i < c.rows * c.cols; i++) {
        float level = fminf(fmaxf(rintf(c.w[i] / 0.6f), -2.0f), 2.0f);
        cr_assert_eq(c.codes[0][i], (int32_t)level);
    }
    rounded = uniform_loss(&c, c.codes[0]);
    before = fit_uniform(&c, true, 0, 1, 0);
    cr_expect_float_eq(before / uniform_loss(&c, c.codes[0]), 1.0, 1e-4);
    cr_expect_lt(before, 0.6 * rounded);
    for (int sweeps = 1; sweeps < 4; sweeps++) {
        double loss = fit_uniform(&c, true, sweeps, 1, 0);
        cr_expect_leq(loss, before * (1.0 + 1e-6), "sweep %d", sweeps);
        before = loss;
    }
    for (int threads = 2; threads < 5; threads++) {
        cr_expect_eq(fit_uniform(&c, true, 3, threads, 1), before);
        cr_expect_arr_eq(c.codes[0], c.codes[1], c.rows * c.cols * sizeof(int32_t));
    }
    free(c.w);
    free(c.h);
    free(c.scales);
}

/* The closed form against its definition: (W' - W) (H + d I) = W C. */
Test(vq_fit_algebra, adjusted_target_solves_its_equation)
{
    enum { N = 40, ROWS = 6 };
    float *w = gaussians((size_t)ROWS * N, 31);
    float *cross = gaussians((size_t)2 * N * N, 32);
    float *h = malloc(sizeof *h * 2 * N * N);
    float out[ROWS * N];

    cr_assert_not_null(h);
    for (size_t g = 0; g < 2; g++) {
        float *one = second_moment(N, 4 * N, N, 40 + g);
        memcpy(h + g * N * N, one, sizeof *h * N * N);
        free(one);
    }
    cr_assert_eq(vqc_vq_adjust(w, ROWS, N, 2, h, cross, 0.01, 2, out, NULL), VQC_OK);
    for (size_t row = 0; row < ROWS; row++) {
        const float *hg = h + row / 3 * N * N, *cg = cross + row / 3 * N * N;
        double mean = 0.0;
        for (size_t i = 0; i < N; i++) {
            mean += (double)hg[i * N + i] / N;
        }
        for (size_t j = 0; j < N; j++) {
            double sum = 0.01 * mean * (double)(out[row * N + j] - w[row * N + j]);
            for (size_t p = 0; p < N; p++) {
                sum += (double)(out[row * N + p] - w[row * N + p]) * (double)hg[p * N + j] -
                       (double)w[row * N + p] * (double)cg[p * N + j];
            }
            cr_assert_float_eq(sum, 0.0, 1e-3);
        }
    }
    free(w);
    free(cross);
    free(h);
}
