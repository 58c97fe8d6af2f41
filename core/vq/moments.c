#include "core/vq/moments.h"

static bool is_in_order(const vqc_vq_layout *layout, const vqc_layer *layer)
{
    for (size_t i = 0; i < layout->cols; i++) {
        if (vqc_vq_layout_moment_column(layout, layer, i) != i) {
            return false;
        }
    }
    return true;
}

static vqc_status order_lines(const double *from, size_t groups, size_t n, const size_t *order,
                              vqc_arena *arena, double **out, vqc_error *error)
{
    *out = vqc_arena_calloc(arena, groups * n, sizeof **out);
    if (*out == NULL) {
        return vqc_fail_memory(error, groups * n * sizeof **out);
    }
    for (size_t i = 0; i < groups * n; i++) {
        (*out)[i] = from[i / n * n + order[i % n]];
    }
    return VQC_OK;
}

/* A new array [groups][n][n]; NULL when out of memory. */
static float *new_squares(size_t groups, size_t n, vqc_arena *arena)
{
    size_t size;

    return vqc_size_mul(n, n, &size) && vqc_size_mul(size, groups, &size)
               ? vqc_arena_calloc(arena, size, sizeof(float))
               : NULL;
}

static vqc_status order_squares(const float *from, size_t groups, size_t n, const size_t *order,
                                vqc_arena *arena, float **out, vqc_error *error)
{
    *out = NULL;
    if (from == NULL) {
        return VQC_OK;
    }
    *out = new_squares(groups, n, arena);
    if (*out == NULL) {
        return vqc_fail_memory(error, n * sizeof **out);
    }
    for (size_t i = 0; i < groups * n; i++) {
        const float *row = from + (i / n * n + order[i % n]) * n;
        for (size_t j = 0; j < n; j++) {
            (*out)[i * n + j] = row[order[j]];
        }
    }
    return VQC_OK;
}

vqc_status vqc_moments_order(const vqc_moments *from, const vqc_vq_layout *layout,
                             const vqc_layer *layer, vqc_arena *arena, vqc_moments *out,
                             vqc_error *error)
{
    size_t groups = from->groups;
    size_t n = from->cols;
    const float *cross = from->second == NULL ? NULL : from->cross;
    size_t *order;
    vqc_status status;

    *out = *from;
    out->cross = from->second == NULL ? NULL : from->cross;
    if (is_in_order(layout, layer)) {
        return VQC_OK;
    }
    order = vqc_arena_calloc(arena, n, sizeof *order);
    if (order == NULL) {
        return vqc_fail_memory(error, n * sizeof *order);
    }
    for (size_t i = 0; i < n; i++) {
        order[i] = vqc_vq_layout_moment_column(layout, layer, i);
    }
    status = order_lines(from->mean_x, groups, n, order, arena, &out->mean_x, error);
    if (status == VQC_OK) {
        status = order_lines(from->mean_y, groups, n, order, arena, &out->mean_y, error);
    }
    if (status == VQC_OK) {
        status = order_lines(from->power, groups, n, order, arena, &out->power, error);
    }
    if (status == VQC_OK) {
        status = order_squares(from->second, groups, n, order, arena, &out->second, error);
    }
    return status == VQC_OK ? order_squares(cross, groups, n, order, arena, &out->cross, error)
                            : status;
}

static vqc_status shrink(float **squares, size_t groups, size_t n, float keep, vqc_arena *arena,
                         vqc_error *error)
{
    const float *from = *squares;
    float *to;

    if (from == NULL) {
        return VQC_OK;
    }
    to = new_squares(groups, n, arena);
    if (to == NULL) {
        return vqc_fail_memory(error, n * sizeof *to);
    }
    for (size_t i = 0; i < groups * n; i++) {
        for (size_t j = 0; j < n; j++) {
            to[i * n + j] = j == i % n ? from[i * n + j] : keep * from[i * n + j];
        }
    }
    *squares = to;
    return VQC_OK;
}

vqc_status vqc_moments_shrink(vqc_moments *moments, float keep, vqc_arena *arena, vqc_error *error)
{
    vqc_status status =
        shrink(&moments->second, moments->groups, moments->cols, keep, arena, error);

    return status == VQC_OK && moments->second != NULL
               ? shrink(&moments->cross, moments->groups, moments->cols, keep, arena, error)
               : status;
}

void vqc_moments_gain(const vqc_moments *moments, const float *before, const float *after,
                      size_t rows, double *gain)
{
    size_t rows_of_group = rows / moments->groups;
    size_t cols = moments->cols;

    for (size_t row = 0; row < rows; row++) {
        const double *mean_x = moments->mean_x + row / rows_of_group * cols;
        const double *mean_y = moments->mean_y + row / rows_of_group * cols;
        gain[row] = 0.0;
        for (size_t c = 0; c < cols; c++) {
            gain[row] += (double)before[row * cols + c] * mean_x[c] -
                         (double)after[row * cols + c] * mean_y[c];
        }
    }
}
