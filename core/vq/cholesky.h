/*
 * Symmetric positive-definite matrices in float32: factorization, solves, eigenvalues. Large
 * products go through core/exec/gemm.h; the same bits at any number of threads.
 *
 * The factor is the one that error feedback needs: A = R R^T with R upper triangular. Its inverse
 * U = R^-1 is the upper Cholesky factor of A^-1 = U^T U (the one that GPTQ is written with), so
 * nothing has to be inverted.
 */
#ifndef VQC_CORE_VQ_CHOLESKY_H
#define VQC_CORE_VQ_CHOLESKY_H

#include <stddef.h>

#include "core/error.h"

/*
 * R [n, n] row-major, zeros below the diagonal, of A + d I, A [n, n] symmetric (both halves are
 * read). d = damping times the mean of the diagonal of A (times 1 when that is 0); when the
 * factorization fails, ten times that, and so on. *used: the d that worked; may be NULL. `factor`
 * may be `matrix`. Errors: VQC_ERR_MODEL when the matrix is not finite or so indefinite that no
 * damping up to 10 means of the diagonal helps; out of memory.
 */
vqc_status vqc_cholesky_upper(const float *matrix, size_t n, double damping, int threads,
                              float *factor, double *used, vqc_error *error);

/* X [rows, n] becomes X (R R^T)^-1, R from vqc_cholesky_upper. Errors: out of memory. */
vqc_status vqc_cholesky_solve(const float *factor, size_t n, float *x, size_t rows, int threads,
                              vqc_error *error);

/*
 * Factor of a small matrix: A [n, n] symmetric in double, n <= 128, becomes R, zeros below the
 * diagonal; false when A is not positive definite. `inverse` [n, n]: R^-1, or NULL.
 */
int vqc_cholesky_small(double *matrix, size_t n, double *inverse);

/*
 * Eigenvalues of the symmetric A [n, n] in increasing order: Householder reduction to a tridiagonal
 * matrix, then the implicit QL method (Wilkinson and Reinsch, Handbook for Automatic Computation
 * II, 1971, tred1 and tql1), in float64. Takes n^3 time. Errors: out of memory; VQC_ERR_MODEL when
 * the matrix is not finite.
 */
vqc_status vqc_symmetric_eigenvalues(const float *matrix, size_t n, double *values,
                                     vqc_error *error);

#endif
