/* The rate-distortion limit of weights seen through the second moment of their inputs. */
#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/vq/cholesky.h"
#include "core/vq/vq_fit.h"

/* Halvings of the interval in which log2 of the water level lies. */
enum { BISECTIONS = 60 };

/* Components: log2(variance of the row) + log2(eigenvalue); -INFINITY where there is nothing. */
typedef struct components {
    const double *row_log;   /* [rows] */
    const double *value_log; /* [groups][cols] */
    size_t rows, cols, group_rows;
} components;

/* Bits that all components take above the water level 2^level. */
static double rate(const components *c, double level)
{
    double bits = 0.0;

    for (size_t row = 0; row < c->rows; row++) {
        const double *values = c->value_log + row / c->group_rows * c->cols;

        for (size_t i = 0; i < c->cols; i++) {
            double above = c->row_log[row] + values[i] - level;
            bits += above > 0.0 ? 0.5 * above : 0.0;
        }
    }
    return bits;
}

static double distortion(const components *c, double level)
{
    double sum = 0.0;

    for (size_t row = 0; row < c->rows; row++) {
        const double *values = c->value_log + row / c->group_rows * c->cols;

        for (size_t i = 0; i < c->cols; i++) {
            sum += exp2(fmin(c->row_log[row] + values[i], level));
        }
    }
    return sum;
}

static double water_level(const components *c, double bits)
{
    double high = -INFINITY;
    double low;

    for (size_t row = 0; row < c->rows; row++) {
        for (size_t i = 0; i < c->cols; i++) {
            high = fmax(high, c->row_log[row] + c->value_log[row / c->group_rows * c->cols + i]);
        }
    }
    if (isinf(high)) {
        return 0.0;
    }
    low = high;
    for (double width = 1.0; rate(c, low) < bits; width *= 2.0) {
        low = high - width;
    }
    for (int i = 0; i < BISECTIONS && low < high; i++) {
        double middle = 0.5 * (low + high);

        if (rate(c, middle) < bits) {
            high = middle;
        } else {
            low = middle;
        }
    }
    return high;
}

static double log2_or_nothing(double x)
{
    return x > 0.0 ? log2(x) : -(double)INFINITY;
}

vqc_status vqc_vq_waterfill(const float *second, size_t groups, const double *variances,
                            size_t rows, size_t cols, double bits, double *loss, vqc_error *error)
{
    size_t used = second != NULL ? groups : 1;
    vqc_status status = VQC_OK;
    double *row_log, *value_log;
    size_t count, size;

    if (used == 0 || rows % used != 0) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "%zu rows cannot be cut into %zu groups", rows,
                        used);
    }
    *loss = 0.0;
    if (rows == 0 || cols == 0) {
        return VQC_OK;
    }
    if (!vqc_size_mul(used, cols, &count) || !vqc_size_mul(count, sizeof *value_log, &size)) {
        return vqc_fail_memory(error, SIZE_MAX);
    }
    row_log = malloc(rows * sizeof *row_log);
    value_log = malloc(size);
    if (row_log == NULL || value_log == NULL) {
        status = vqc_fail_memory(error, size);
    }
    for (size_t g = 0; g < used && status == VQC_OK; g++) {
        if (second != NULL) {
            status = vqc_symmetric_eigenvalues(second + g * cols * cols, cols, value_log + g * cols,
                                               error);
        }
        for (size_t i = 0; i < cols && status == VQC_OK; i++) {
            double *value = value_log + g * cols + i;
            *value = second != NULL ? log2_or_nothing(*value) : 0.0;
        }
    }
    if (status == VQC_OK) {
        components c = {.row_log = row_log,
                        .value_log = value_log,
                        .rows = rows,
                        .cols = cols,
                        .group_rows = rows / used};

        for (size_t row = 0; row < rows; row++) {
            row_log[row] = log2_or_nothing(variances[row]);
        }
        *loss = distortion(&c, water_level(&c, bits * (double)rows * (double)cols));
    }
    free(row_log);
    free(value_log);
    return status;
}
