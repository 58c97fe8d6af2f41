/* core/vq/kmeans.h: assignment against plain loops, training against exhaustive search. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/vq/kmeans.h"

static uint64_t state;

static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}

/* Sum of twelve uniform numbers: nearly normal. */
static float normal(void)
{
    double sum = -6.0;
    for (int i = 0; i < 12; i++)
        sum += uniform();
    return (float)sum;
}

static float *normals(size_t n)
{
    float *x = malloc(n * sizeof *x);
    cr_assert_not_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = normal();
    return x;
}

static double squared(const float *x, const float *w, const float *c, size_t dim)
{
    double sum = 0.0;
    for (size_t i = 0; i < dim; i++) {
        const double off = (double)x[i] - (double)c[i];
        sum += (w != NULL ? (double)w[i] : 1.0) * off * off;
    }
    return sum;
}

/* Mean squared error per point. */
static double mean_error(const float *x, size_t n, const float *codebook, size_t dim, size_t count)
{
    uint16_t *codes = malloc(n * sizeof *codes);
    cr_assert_not_null(codes);
    cr_assert_eq(vqc_kmeans_assign(x, n, NULL, codebook, dim, count, 2, codes, NULL, NULL), VQC_OK);
    double sum = 0.0;
    for (size_t p = 0; p < n; p++)
        sum += squared(x + p * dim, NULL, codebook + codes[p] * dim, dim);
    free(codes);
    return sum / (double)n;
}

Test(kmeans, assign_is_nearest)
{
    static const size_t dims[] = {1, 2, 3, 4, 5, 8, 9, 16, 32};
    state = 1;
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        enum { N = 1100, K = 77 };
        const size_t dim = dims[d];
        float *x = normals(N * dim), *c = normals(K * dim), *w = normals(N * dim);
        uint16_t codes[N];
        float distances[N];
        for (size_t i = 0; i < N * dim; i++)
            w[i] *= w[i];
        for (int weighted = 0; weighted < 2; weighted++) {
            const float *use = weighted != 0 ? w : NULL;
            cr_assert_eq(vqc_kmeans_assign(x, N, use, c, dim, K, 2, codes, distances, NULL),
                         VQC_OK);
            for (size_t p = 0; p < N; p++) {
                const float *own = use != NULL ? w + p * dim : NULL;
                double best = INFINITY;
                for (size_t k = 0; k < K; k++)
                    best = fmin(best, squared(x + p * dim, own, c + k * dim, dim));
                const double got = squared(x + p * dim, own, c + codes[p] * dim, dim);
                cr_assert_leq(got, best + 2e-5 * (1.0 + best), "dim %zu point %zu: %g, best %g",
                              dim, p, got, best);
                cr_assert_float_eq((double)distances[p], got, 1e-5 * (1.0 + got));
            }
        }
        free(x);
        free(c);
        free(w);
    }
}

Test(kmeans, assign_takes_the_lowest_of_equals)
{
    const float x[] = {1.0f, 1.0f, -5.0f, 0.0f}, c[] = {9.0f, 9.0f, 1.0f, 1.0f, 1.0f, 1.0f};
    uint16_t codes[2];
    cr_assert_eq(vqc_kmeans_assign(x, 2, NULL, c, 2, 3, 1, codes, NULL, NULL), VQC_OK);
    cr_assert_eq(codes[0], 1);
    cr_assert_eq(codes[1], 1);
}

Test(kmeans, few_points_are_kept)
{
    const float x[] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
    float c[10];
    const vqc_kmeans_options o = vqc_kmeans_options_default(2, 5);
    cr_assert_eq(vqc_kmeans_train(x, 3, NULL, false, &o, c, NULL, NULL), VQC_OK);
    cr_assert_arr_eq(c, x, sizeof x);
    cr_assert_arr_eq(c + 6, x, 4 * sizeof *x);
}

/* The least error of cutting n sorted values into count cells, by the plain recurrence. */
static double line_best(const float *sorted, const float *w, size_t n, size_t count)
{
    double best[65], next[65];
    for (size_t j = 0; j <= n; j++)
        best[j] = j == 0 ? 0.0 : INFINITY;
    for (size_t k = 0; k < count; k++) {
        for (size_t j = 0; j <= n; j++) {
            next[j] = best[j];
            for (size_t i = 0; i < j; i++) {
                double weight = 0.0, mean = 0.0, error = 0.0;
                for (size_t p = i; p < j; p++) {
                    weight += (double)w[p];
                    mean += (double)w[p] * (double)sorted[p];
                }
                mean /= weight;
                for (size_t p = i; p < j; p++)
                    error += (double)w[p] * pow((double)sorted[p] - mean, 2.0);
                next[j] = fmin(next[j], best[i] + error);
            }
        }
        memcpy(best, next, sizeof best);
    }
    return best[n];
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y ? 1 : 0;
}

Test(kmeans, line_is_optimal)
{
    state = 7;
    for (int round = 0; round < 60; round++) {
        enum { N = 40 };
        float x[N], w[N], c[N];
        for (size_t i = 0; i < N; i++) {
            /* every third round: few distinct values at equal distances, where prices tie */
            x[i] = round % 3 == 0 ? floorf((float)uniform() * 12.0f) : normal();
            w[i] = 1.0f;
        }
        qsort(x, N, sizeof *x, compare_floats);
        if (round % 2 == 1)
            for (size_t i = 0; i < N; i++)
                w[i] = (float)(0.1 + uniform());
        for (size_t count = 1; count < 14; count += 1 + (size_t)round % 3) {
            const vqc_kmeans_options o = vqc_kmeans_options_default(1, count);
            cr_assert_eq(
                vqc_kmeans_train(x, N, round % 2 == 1 ? w : NULL, false, &o, c, NULL, NULL),
                VQC_OK);
            double got = 0.0;
            for (size_t i = 0; i < N; i++) {
                double nearest = INFINITY;
                for (size_t k = 0; k < count; k++)
                    nearest = fmin(nearest, pow((double)x[i] - (double)c[k], 2.0));
                got += (double)w[i] * nearest;
            }
            const double best = line_best(x, w, N, count);
            cr_assert_leq(got, best * (1.0 + 1e-5) + 1e-9, "round %d, %zu cells: %g, optimum %g",
                          round, count, got, best);
        }
    }
}

/* Lloyd-Max for a normal distribution and 16 levels: 20.22 dB (Max 1960). */
Test(kmeans, line_reaches_lloyd_max)
{
    enum { N = 200000 };
    state = 3;
    float *x = malloc(N * sizeof *x), c[16];
    cr_assert_not_null(x);
    for (size_t i = 0; i < N; i++) /* Box and Muller: exact tails */
        x[i] = (float)(sqrt(-2.0 * log(1.0 - uniform())) * cos(6.283185307179586 * uniform()));
    const vqc_kmeans_options o = vqc_kmeans_options_default(1, 16);
    cr_assert_eq(vqc_kmeans_train(x, N, NULL, false, &o, c, NULL, NULL), VQC_OK);
    cr_assert_float_eq(-10.0 * log10(mean_error(x, N, c, 1, 16)), 20.22, 0.06);
    free(x);
}

/* Six points, two codewords: all ways of cutting them in two, by hand of a loop. */
Test(kmeans, tiny_case_is_optimal)
{
    state = 11;
    for (int round = 0; round < 20; round++) {
        enum { N = 6 };
        float x[2 * N], c[4];
        for (size_t i = 0; i < 2 * N; i++)
            x[i] = normal() + (i / 2 % 2 == 0 ? 8.0f : 0.0f);
        double best = INFINITY;
        for (unsigned cut = 1; cut < 1u << (N - 1); cut++) {
            double error = 0.0;
            for (unsigned side = 0; side < 2; side++) {
                double m[2] = {0, 0}, n = 0;
                for (size_t p = 0; p < N; p++)
                    if ((cut >> p & 1u) == side) {
                        m[0] += (double)x[2 * p];
                        m[1] += (double)x[2 * p + 1];
                        n++;
                    }
                for (size_t p = 0; p < N; p++)
                    if ((cut >> p & 1u) == side)
                        error += pow((double)x[2 * p] - m[0] / n, 2.0) +
                                 pow((double)x[2 * p + 1] - m[1] / n, 2.0);
            }
            best = fmin(best, error);
        }
        vqc_kmeans_options o = vqc_kmeans_options_default(2, 2);
        o.points_per_codeword = 0;
        cr_assert_eq(vqc_kmeans_train(x, N, NULL, false, &o, c, NULL, NULL), VQC_OK);
        cr_assert_float_eq(mean_error(x, N, c, 2, 2) * N, best, 1e-4);
    }
}

Test(kmeans, duplicates_leave_no_nan)
{
    enum { N = 500, K = 32 };
    float x[N * 3], c[K * 3];
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < 3; j++)
            x[i * 3 + j] = (float)(i % 4) * (j == 0 ? 1.0f : -2.0f);
    const vqc_kmeans_options o = vqc_kmeans_options_default(3, K);
    vqc_kmeans_result result;
    cr_assert_eq(vqc_kmeans_train(x, N, NULL, false, &o, c, &result, NULL), VQC_OK);
    for (size_t i = 0; i < K * 3; i++)
        cr_assert(isfinite(c[i]));
    cr_assert_lt(mean_error(x, N, c, 3, K), 1e-10);
    cr_assert_gt(result.iterations, 0);
    cr_assert_leq(result.repaired, 100 * K);
    memset(x, 0, sizeof x);
    cr_assert_eq(vqc_kmeans_train(x, N, NULL, false, &o, c, &result, NULL), VQC_OK);
    for (size_t i = 0; i < K * 3; i++)
        cr_assert_eq(c[i], 0.0f);
}

/* Entries without weight do not matter: codewords fit the others. */
Test(kmeans, weights_of_entries_count)
{
    enum { N = 4000, K = 8 };
    state = 5;
    float *x = normals(N * 2), *w = malloc(N * 2 * sizeof *w), c[K * 2], line[N], best[K];
    cr_assert_not_null(w);
    for (size_t p = 0; p < N; p++) {
        w[2 * p] = 1.0f;
        w[2 * p + 1] = 0.0f;
        line[p] = x[2 * p];
    }
    vqc_kmeans_options o = vqc_kmeans_options_default(2, K);
    o.points_per_codeword = 0;
    o.iterations = 200;
    o.tolerance = 1e-6;
    cr_assert_eq(vqc_kmeans_train(x, N, w, true, &o, c, NULL, NULL), VQC_OK);
    o.dim = 1;
    cr_assert_eq(vqc_kmeans_train(line, N, NULL, false, &o, best, NULL, NULL), VQC_OK);
    double error = 0.0;
    for (size_t p = 0; p < N; p++) {
        double nearest = INFINITY;
        for (size_t k = 0; k < K; k++)
            nearest = fmin(nearest, pow((double)line[p] - (double)c[2 * k], 2.0));
        error += nearest / N;
    }
    cr_assert_lt(error, 1.1 * mean_error(line, N, best, 1, K));
    free(x);
    free(w);
}

/* A point of weight 3 is three points. */
Test(kmeans, weights_of_points_count)
{
    const float x[] = {0.0f, 0.0f, 4.0f, 0.0f, 100.0f, 0.0f}, w[] = {3.0f, 1.0f, 1.0f};
    float c[4];
    const vqc_kmeans_options o = vqc_kmeans_options_default(2, 2);
    cr_assert_eq(vqc_kmeans_train(x, 3, w, false, &o, c, NULL, NULL), VQC_OK);
    const size_t left = c[0] < c[2] ? 0 : 1;
    cr_assert_float_eq(c[2 * left], 1.0f, 1e-6);
    cr_assert_float_eq(c[2 * (1 - left)], 100.0f, 1e-6);
}

Test(kmeans, threads_change_nothing)
{
    enum { N = 9000 };
    state = 9;
    static const struct {
        size_t dim, count;
    } cases[] = {{1, 16}, {2, 64}, {4, 100}, {8, 130}, {3, 700}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t dim = cases[i].dim, count = cases[i].count;
        float *x = normals(N * dim), *w = normals(N * dim);
        float *c[3];
        uint16_t *codes[3];
        for (size_t j = 0; j < N * dim; j++)
            w[j] = fabsf(w[j]);
        for (int per_entry = 0; per_entry < 2; per_entry++) {
            for (size_t run = 0; run < 3; run++) {
                vqc_kmeans_options o = vqc_kmeans_options_default(dim, count);
                o.threads = run == 0 ? 1 : (int)run + 1;
                o.iterations = 5;
                c[run] = malloc(count * dim * sizeof **c);
                codes[run] = malloc(N * sizeof **codes);
                cr_assert_eq(vqc_kmeans_train(x, N, w, per_entry != 0, &o, c[run], NULL, NULL),
                             VQC_OK);
                cr_assert_eq(vqc_kmeans_assign(x, N, per_entry != 0 ? w : NULL, c[run], dim, count,
                                               o.threads, codes[run], NULL, NULL),
                             VQC_OK);
                cr_assert_arr_eq(c[run], c[0], count * dim * sizeof **c);
                cr_assert_arr_eq(codes[run], codes[0], N * sizeof **codes);
            }
            for (size_t run = 0; run < 3; run++) {
                free(c[run]);
                free(codes[run]);
            }
        }
        free(x);
        free(w);
    }
}

/* Sixteen clouds far apart: k-means++ and repair find all of them. */
Test(kmeans, clouds_are_found)
{
    enum { N = 8000, K = 16, DIM = 4 };
    state = 13;
    float *x = normals(N * DIM), c[K * DIM];
    for (size_t p = 0; p < N; p++)
        for (size_t i = 0; i < DIM; i++)
            x[p * DIM + i] = 0.1f * x[p * DIM + i] + ((p >> i & 1u) != 0 ? 10.0f : 0.0f);
    const vqc_kmeans_options o = vqc_kmeans_options_default(DIM, K);
    cr_assert_eq(vqc_kmeans_train(x, N, NULL, false, &o, c, NULL, NULL), VQC_OK);
    cr_assert_lt(mean_error(x, N, c, DIM, K), 0.05 * DIM);
    free(x);
}
