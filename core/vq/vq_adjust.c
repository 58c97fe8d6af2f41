/* The target of a layer whose input is already off. */
#include <stdlib.h>

#include "core/memory.h"
#include "core/vq/cholesky.h"
#include "core/vq/vq_feedback.h"
#include "core/vq/vq_fit.h"

vqc_status vqc_vq_adjust(const float *matrix, size_t rows, size_t cols, size_t groups,
                         const float *second, const float *cross, double damping, int threads,
                         float *adjusted, vqc_error *error)
{
    size_t group_rows = groups > 0 ? rows / groups : 0;
    size_t square, square_bytes, bytes;
    float *factor, *change;
    vqc_status status;

    if (groups == 0 || rows % groups != 0) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "%zu rows cannot be cut into %zu groups", rows,
                        groups);
    }
    if (!vqc_size_mul(cols, cols, &square) ||
        !vqc_size_mul(square, sizeof *factor, &square_bytes) || !vqc_size_mul(rows, cols, &bytes) ||
        !vqc_size_mul(bytes, sizeof *change, &bytes)) {
        return vqc_fail_memory(error, SIZE_MAX);
    }
    factor = malloc(square_bytes + 1);
    change = malloc(bytes + 1);
    status = factor == NULL || change == NULL
                 ? vqc_fail_memory(error, square_bytes)
                 : vqc_feedback_product(matrix, rows, cols, groups, cross, threads, change, error);
    for (size_t g = 0; g < groups && status == VQC_OK; g++) {
        float *part = change + g * group_rows * cols;

        status =
            vqc_cholesky_upper(second + g * square, cols, damping, threads, factor, NULL, error);
        if (status == VQC_OK) {
            status = vqc_cholesky_solve(factor, cols, part, group_rows, threads, error);
        }
    }
    for (size_t i = 0; i < rows * cols && status == VQC_OK; i++) {
        adjusted[i] = matrix[i] + change[i];
    }
    free(factor);
    free(change);
    return status;
}
