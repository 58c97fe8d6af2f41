/* Det: determinants of square matrices by Gaussian elimination with partial pivoting, in double. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_linear_algebra.h"
#include "core/exec/working.h"

vqc_status vqc_det_shape(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_class class = vqc_class_of(in->dtype);

    if (in->rank < 2 || in->dims[in->rank - 1] != in->dims[in->rank - 2] ||
        (class != VQC_CLASS_F32 && class != VQC_CLASS_F64)) {
        return vqc_exec_fail(call, "expected square matrices of floats");
    }
    vqc_exec_type_like(&call->types[0], in);
    call->types[0].rank = in->rank - 2;
    return VQC_OK;
}

/* Destroys the matrix [n, n]. */
static double determinant(double *matrix, size_t n)
{
    double result = 1.0;

    for (size_t c = 0; c < n; c++) {
        size_t pivot = c;

        for (size_t r = c + 1; r < n; r++) {
            pivot = fabs(matrix[r * n + c]) > fabs(matrix[pivot * n + c]) ? r : pivot;
        }
        if (matrix[pivot * n + c] == 0.0) {
            return 0.0;
        }
        for (size_t k = c; pivot != c && k < n; k++) {
            double swap = matrix[c * n + k];
            matrix[c * n + k] = matrix[pivot * n + k];
            matrix[pivot * n + k] = swap;
        }
        result *= pivot != c ? -matrix[c * n + c] : matrix[c * n + c];
        for (size_t r = c + 1; r < n; r++) {
            double factor = matrix[r * n + c] / matrix[c * n + c];
            for (size_t k = c; k < n; k++) {
                matrix[r * n + k] -= factor * matrix[c * n + k];
            }
        }
    }
    return result;
}

vqc_status vqc_det_run(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    size_t n = (size_t)in->dims[in->rank - 1];
    const double *x = vqc_exec_values(call, in, VQC_CLASS_F64);
    double *y = vqc_exec_target(call, call->outputs[0], VQC_CLASS_F64);
    double *work = vqc_exec_scratch_array(call, n, n, sizeof *work, false);

    if (x == NULL || y == NULL || work == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t i = 0; i < call->outputs[0]->elements; i++) {
        memcpy(work, x + i * n * n, n * n * sizeof *work);
        y[i] = determinant(work, n);
    }
    vqc_exec_target_store(call->outputs[0], VQC_CLASS_F64, y);
    return VQC_OK;
}
