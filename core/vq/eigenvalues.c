/* Eigenvalues of symmetric matrices; see cholesky.h. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/vq/cholesky.h"

/* Row i of A is eliminated by a Householder reflection of its first i entries: A -= v w^T + w v^T
 * on the leading i x i part. v: the row on entry; p [i]: scratch. Returns the off-diagonal entry.
 */
static double reflect(double *a, size_t n, size_t i, double *p)
{
    double *v = a + i * n;
    double norm = 0.0;
    double half, dot = 0.0;

    for (size_t k = 0; k < i; k++) {
        norm += v[k] * v[k];
    }
    if (norm - v[i - 1] * v[i - 1] <= 0.0) {
        return v[i - 1];
    }
    const double off = v[i - 1] > 0.0 ? -sqrt(norm) : sqrt(norm);
    half = norm - v[i - 1] * off; /* half of |v|^2 after the next line */
    v[i - 1] -= off;
    for (size_t k = 0; k < i; k++) {
        p[k] = 0.0;
    }
    /* The lower half of the symmetric matrix holds all. */
    for (size_t k = 0; k < i; k++) {
        const double *row = a + k * n;
        double sum = 0.0;

        for (size_t l = 0; l < k; l++) {
            sum += row[l] * v[l];
            p[l] += row[l] * v[k];
        }
        p[k] += sum + row[k] * v[k];
    }
    for (size_t k = 0; k < i; k++) {
        p[k] /= half;
        dot += p[k] * v[k];
    }
    for (size_t k = 0; k < i; k++) {
        p[k] -= dot / (2.0 * half) * v[k];
    }
    for (size_t k = 0; k < i; k++) {
        double *row = a + k * n;

        for (size_t l = 0; l <= k; l++) {
            row[l] -= v[k] * p[l] + p[k] * v[l];
        }
    }
    return off;
}

/* One implicit QL step on [first, last] with shift; d diagonal, e[i] between i and i + 1. */
static void ql_step(double *d, double *e, size_t first, size_t last)
{
    double g = (d[first + 1] - d[first]) / (2.0 * e[first]);
    double r = hypot(g, 1.0);
    double s = 1.0, c = 1.0, shift = 0.0;
    size_t i = last;

    g = d[last] - d[first] + e[first] / (g + copysign(r, g));
    while (i-- > first) {
        double f = s * e[i];
        double b = c * e[i];

        r = hypot(f, g);
        e[i + 1] = r;
        if (!(r > 0.0)) {
            d[i + 1] -= shift;
            e[last] = 0.0;
            return;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - shift;
        r = (d[i] - g) * s + 2.0 * c * b;
        shift = s * r;
        d[i + 1] = g + shift;
        g = c * r - b;
    }
    d[first] -= shift;
    e[first] = g;
    e[last] = 0.0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static vqc_status tridiagonal_values(double *d, double *e, size_t n, vqc_error *error)
{
    for (size_t l = 0; l < n; l++) {
        for (int steps = 0;; steps++) {
            size_t m = l;

            while (m + 1 < n && fabs(e[m]) > 1e-16 * (fabs(d[m]) + fabs(d[m + 1]))) {
                m++;
            }
            if (m == l) {
                break;
            }
            if (steps == 60) {
                return vqc_fail(error, VQC_ERR_INTERNAL,
                                "eigenvalue %zu of %zu did not converge in 60 steps", l, n);
            }
            ql_step(d, e, l, m);
        }
    }
    qsort(d, n, sizeof *d, compare);
    return VQC_OK;
}

vqc_status vqc_symmetric_eigenvalues(const float *matrix, size_t n, double *values,
                                     vqc_error *error)
{
    vqc_status status = VQC_OK;
    size_t square, size;
    double *a, *e;

    if (!vqc_size_mul(n, n, &square) || !vqc_size_mul(square, sizeof *a, &size)) {
        return vqc_fail_memory(error, SIZE_MAX);
    }
    a = malloc(size + 1);
    e = malloc((2 * n + 2) * sizeof *e);
    if (a == NULL || e == NULL) {
        status = vqc_fail_memory(error, size);
        goto done;
    }
    for (size_t i = 0; i < square; i++) {
        if (!isfinite(matrix[i])) {
            status = vqc_fail(error, VQC_ERR_MODEL, "second moments have NaN or infinite values");
            goto done;
        }
        a[i] = (double)matrix[i];
    }
    e[n] = 0.0;
    for (size_t i = n; i-- > 1;) {
        e[i - 1] = reflect(a, n, i, e + n + 1);
    }
    for (size_t i = 0; i < n; i++) {
        values[i] = a[i * n + i];
    }
    e[n > 0 ? n - 1 : 0] = 0.0;
    status = tridiagonal_values(values, e, n, error);
done:
    free(a);
    free(e);
    return status;
}
