#include "core/vq/cholesky.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/gemm.h"
#include "core/memory.h"

enum {
    BLOCK = 96, /* columns that are factored at a time, in double */
    STRIP = 512 /* rows of the remainder that are updated at a time: only the upper half counts */
};

/* Damping is given up above this many means of the diagonal. */
#define MOST_DAMPING 10.0

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Block j of several lies in [start, start + size). */
static size_t block_count(size_t n)
{
    return (n + BLOCK - 1) / BLOCK;
}

/* C [m, n] (rows c_stride apart) = or += A B; sizes of scratch are settled by product_scratch. */
static void product(vqc_gemm *g, const float *a, const float *b, float *c, float *scratch)
{
    vqc_gemm_item item = {.a = a, .b = b, .c = c};

    g->items = &item;
    g->item_count = 1;
    if (g->m > 0 && g->n > 0 && g->k > 0) {
        vqc_gemm_run(g, scratch);
    }
    g->items = NULL;
}

/* Most floats of scratch that a product here needs: a block of B per thread. */
static float *product_scratch(size_t n, int threads, vqc_error *error)
{
    vqc_gemm g = {.m = n,
                  .n = n,
                  .k = n,
                  .c_stride = n,
                  .threads = threads,
                  .left = vqc_gemm_left_rows(n, n),
                  .right = vqc_gemm_right_columns(n),
                  .item_count = 1};
    /* The blocks of a smaller product are no larger than 256 steps of 256 columns. */
    size_t size = vqc_gemm_scratch_bytes(&g) + (size_t)threads * 256 * 256 * sizeof(float);
    float *scratch = NULL;

    if (posix_memalign((void **)&scratch, 64, size) != 0) {
        (void)vqc_fail_memory(error, size);
        return NULL;
    }
    return scratch;
}

int vqc_cholesky_small(double *matrix, size_t n, double *inverse)
{
    for (size_t j = n; j-- > 0;) {
        double pivot = matrix[j * n + j];

        for (size_t p = j + 1; p < n; p++) {
            pivot -= matrix[j * n + p] * matrix[j * n + p];
            matrix[p * n + j] = 0.0;
        }
        if (!(pivot > 0.0) || isinf(pivot)) {
            return false;
        }
        pivot = sqrt(pivot);
        matrix[j * n + j] = pivot;
        for (size_t i = 0; i < j; i++) {
            double sum = matrix[i * n + j];

            for (size_t p = j + 1; p < n; p++) {
                sum -= matrix[i * n + p] * matrix[j * n + p];
            }
            matrix[i * n + j] = sum / pivot;
        }
    }
    for (size_t j = 0; inverse != NULL && j < n; j++) {
        for (size_t i = n; i-- > 0;) {
            double sum = i == j ? 1.0 : 0.0;

            for (size_t p = i + 1; p <= j; p++) {
                sum -= matrix[i * n + p] * inverse[p * n + j];
            }
            inverse[i * n + j] = i > j ? 0.0 : sum / matrix[i * n + i];
        }
    }
    return true;
}

typedef struct factoring {
    float *a; /* [n, n] */
    size_t n;
    int threads;
    double block[BLOCK * BLOCK];
    double inverse_wide[BLOCK * BLOCK];
    float inverse[BLOCK * BLOCK];
    float *negative; /* [n, BLOCK] */
    float *column;   /* [n, BLOCK] */
    float *scratch;
} factoring;

/* Factors the diagonal block of columns [j, j + m); false when it is not positive definite. The
 * smallest pivot that is meaningful in float32 is `floor`. */
static bool factor_diagonal(factoring *f, size_t j, size_t m, double floor)
{
    for (size_t i = 0; i < m; i++) {
        for (size_t p = 0; p < m; p++) {
            f->block[i * m + p] = (double)f->a[(j + min_size(i, p)) * f->n + j + (i < p ? p : i)];
        }
    }
    if (!vqc_cholesky_small(f->block, m, f->inverse_wide)) {
        return false;
    }
    for (size_t i = 0; i < m; i++) {
        if (!(f->block[i * m + i] * f->block[i * m + i] > floor)) {
            return false;
        }
        for (size_t p = 0; p < m; p++) {
            f->a[(j + i) * f->n + j + p] = (float)f->block[i * m + p];
            f->inverse[i * m + p] = (float)f->inverse_wide[i * m + p];
        }
    }
    return true;
}

/* Rows above block [j, j + m): R = A R_JJ^-T, then A -= R R^T for what is left of it. */
static void factor_above(factoring *f, size_t j, size_t m)
{
    vqc_gemm solve = {.m = j,
                      .n = m,
                      .k = m,
                      .c_stride = m,
                      .threads = f->threads,
                      .left = vqc_gemm_left_rows(j, f->n),
                      .right = vqc_gemm_right_columns(m)};

    if (j == 0) {
        return;
    }
    product(&solve, f->a + j, f->inverse, f->column, f->scratch);
    for (size_t i = 0; i < j; i++) {
        memcpy(f->a + i * f->n + j, f->column + i * m, m * sizeof *f->a);
        for (size_t p = 0; p < m; p++) {
            f->negative[i * m + p] = -f->column[i * m + p];
        }
    }
    for (size_t i = 0; i < j; i += STRIP) {
        size_t rows = min_size(STRIP, j - i);
        vqc_gemm update = {.m = rows,
                           .n = j - i,
                           .k = m,
                           .c_stride = f->n,
                           .threads = f->threads,
                           .accumulate = true,
                           .left = vqc_gemm_left_rows(rows, m),
                           .right = vqc_gemm_right_columns(m)};

        product(&update, f->negative + i * m, f->column + i * m, f->a + i * f->n + i, f->scratch);
    }
}

static bool factor(factoring *f, double floor)
{
    for (size_t block = block_count(f->n); block-- > 0;) {
        size_t j = block * BLOCK;
        size_t m = min_size(BLOCK, f->n - j);

        if (!factor_diagonal(f, j, m, floor)) {
            return false;
        }
        factor_above(f, j, m);
    }
    for (size_t i = 1; i < f->n; i++) {
        memset(f->a + i * f->n, 0, i * sizeof *f->a);
    }
    return true;
}

static vqc_status factor_damped(factoring *f, const float *matrix, double damping, double *used,
                                vqc_error *error)
{
    const size_t n = f->n;
    double mean = 0.0;

    for (size_t i = 0; i < n * n; i++) {
        if (!isfinite(matrix[i])) {
            return vqc_fail(error, VQC_ERR_MODEL, "second moments have NaN or infinite values");
        }
    }
    for (size_t i = 0; i < n; i++) {
        mean += (double)matrix[i * n + i] / (double)n;
    }
    if (!(mean > 0.0)) {
        mean = 1.0;
    }
    for (double share = damping;; share = share > 0.0 ? share * 10.0 : 1e-6) {
        if (share > damping && share > MOST_DAMPING) {
            return vqc_fail(error, VQC_ERR_MODEL,
                            "second moments [%zu, %zu] are not positive semidefinite", n, n);
        }
        if (f->a != matrix || share > damping) {
            memcpy(f->a, matrix, n * n * sizeof *matrix);
        }
        for (size_t i = 0; i < n; i++) {
            f->a[i * n + i] = (float)((double)f->a[i * n + i] + share * mean);
        }
        if (factor(f, 1e-7 * mean)) {
            if (used != NULL) {
                *used = share * mean;
            }
            return VQC_OK;
        }
    }
}

vqc_status vqc_cholesky_upper(const float *matrix, size_t n, double damping, int threads,
                              float *result, double *used, vqc_error *error)
{
    vqc_status status = VQC_OK;
    factoring *f = calloc(1, sizeof *f);
    float *copy = NULL;
    size_t square, size, panel;

    if (!vqc_size_mul(n, n, &square) || !vqc_size_mul(square, sizeof *matrix, &size) ||
        !vqc_size_mul(n, BLOCK * sizeof *matrix, &panel) || f == NULL) {
        free(f);
        return vqc_fail_memory(error, SIZE_MAX);
    }
    f->a = result;
    f->n = n;
    f->threads = threads > 0 ? threads : 1;
    f->negative = malloc(panel + 1);
    f->column = malloc(panel + 1);
    f->scratch = product_scratch(n, f->threads, error);
    copy = result == matrix ? malloc(size + 1) : NULL;
    if (f->negative == NULL || f->column == NULL || (result == matrix && copy == NULL)) {
        status = vqc_fail_memory(error, size);
    } else if (f->scratch == NULL) {
        status = VQC_ERR_INTERNAL;
    } else {
        if (copy != NULL) {
            memcpy(copy, matrix, size);
        }
        status = factor_damped(f, copy != NULL ? copy : matrix, damping, used, error);
    }
    free(copy);
    free(f->negative);
    free(f->column);
    free(f->scratch);
    free(f);
    return status;
}

/* Inverses of the diagonal blocks of R as float32, [blocks][BLOCK * BLOCK], blocks dense [m, m]. */
static void invert_diagonal(const float *r, size_t n, double *wide, float *inverses)
{
    for (size_t block = 0; block < block_count(n); block++) {
        size_t j = block * BLOCK;
        size_t m = min_size(BLOCK, n - j);

        for (size_t c = 0; c < m; c++) {
            for (size_t i = m; i-- > 0;) {
                double sum = i == c ? 1.0 : 0.0;

                for (size_t p = i + 1; p <= c; p++) {
                    sum -= (double)r[(j + i) * n + j + p] * wide[p * m + c];
                }
                wide[i * m + c] = i > c ? 0.0 : sum / (double)r[(j + i) * n + j + i];
            }
        }
        for (size_t i = 0; i < m * m; i++) {
            inverses[block * BLOCK * BLOCK + i] = (float)wide[i];
        }
    }
}

typedef struct solving {
    const float *r;
    size_t n, rows;
    int threads;
    float *x;        /* [rows, n] */
    float *negative; /* [rows, n]: minus what is solved already */
    float *block;    /* [rows, BLOCK] */
    const float *inverses;
    float *scratch;
} solving;

/* Block [j, j + m) of x: times R_JJ^-T (transposed) or R_JJ^-1; its negative is kept. */
static void solve_block(solving *s, size_t j, size_t m, bool transposed)
{
    vqc_gemm g = {.m = s->rows,
                  .n = m,
                  .k = m,
                  .c_stride = m,
                  .threads = s->threads,
                  .left = vqc_gemm_left_rows(s->rows, s->n),
                  .right = transposed ? vqc_gemm_right_columns(m) : vqc_gemm_right_rows(m)};

    product(&g, s->x + j, s->inverses + j / BLOCK * BLOCK * BLOCK, s->block, s->scratch);
    for (size_t row = 0; row < s->rows; row++) {
        for (size_t i = 0; i < m; i++) {
            float value = s->block[row * m + i];

            s->x[row * s->n + j + i] = value;
            s->negative[row * s->n + j + i] = -value;
        }
    }
}

static void solve(solving *s)
{
    vqc_gemm g = {.m = s->rows,
                  .c_stride = s->n,
                  .threads = s->threads,
                  .accumulate = true,
                  .left = vqc_gemm_left_rows(s->rows, s->n)};

    /* Y R^T = X from the last block to the first. */
    for (size_t block = block_count(s->n); block-- > 0;) {
        size_t j = block * BLOCK;

        g.n = min_size(BLOCK, s->n - j);
        g.k = s->n - j - g.n;
        g.right = vqc_gemm_right_columns(s->n);
        product(&g, s->negative + j + g.n, s->r + j * s->n + j + g.n, s->x + j, s->scratch);
        solve_block(s, j, g.n, true);
    }
    /* Z R = Y from the first to the last. */
    for (size_t block = 0; block < block_count(s->n); block++) {
        size_t j = block * BLOCK;

        g.n = min_size(BLOCK, s->n - j);
        g.k = j;
        g.right = vqc_gemm_right_rows(s->n);
        product(&g, s->negative, s->r + j, s->x + j, s->scratch);
        solve_block(s, j, g.n, false);
    }
}

vqc_status vqc_cholesky_solve(const float *factor, size_t n, float *x, size_t rows, int threads,
                              vqc_error *error)
{
    solving s = {.r = factor, .n = n, .rows = rows, .threads = threads > 0 ? threads : 1, .x = x};
    size_t blocks = block_count(n) * BLOCK * BLOCK;
    double *wide = malloc(sizeof *wide * BLOCK * BLOCK);
    float *inverses = malloc((blocks + 1) * sizeof *inverses);
    vqc_status status = VQC_OK;

    s.negative = malloc((rows * n + 1) * sizeof *s.negative);
    s.block = malloc((rows + 1) * BLOCK * sizeof *s.block);
    s.scratch = product_scratch(n, s.threads, error);
    if (wide == NULL || inverses == NULL || s.negative == NULL || s.block == NULL) {
        status = vqc_fail_memory(error, rows * n * sizeof *x);
    } else if (s.scratch == NULL) {
        status = VQC_ERR_INTERNAL;
    } else {
        invert_diagonal(factor, n, wide, inverses);
        s.inverses = inverses;
        solve(&s);
    }
    free(wide);
    free(inverses);
    free(s.negative);
    free(s.block);
    free(s.scratch);
    return status;
}
