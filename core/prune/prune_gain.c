#include "core/prune/prune_gain.h"

#include <math.h>

#include "core/memory.h"
#include "core/vq/vq_feedback.h"

static const double MOST_SCALE = 1.5;

vqc_status vqc_prune_powers(const vqc_moments *m, const float *cross, const float *matrix,
                            size_t rows, size_t cols, int threads, float *product, double *power,
                            vqc_error *error)
{
    vqc_status status =
        vqc_feedback_product(matrix, rows, cols, m->groups, m->second, threads, product, error);

    for (size_t i = 0; i < rows && status == VQC_OK; i++) {
        power[i] = vqc_feedback_dot(matrix + i * cols, product + i * cols, 1, cols);
    }
    if (status == VQC_OK && cross != NULL) { /* less that of matrix (x - y), which is small */
        status =
            vqc_feedback_product(matrix, rows, cols, m->groups, cross, threads, product, error);
        for (size_t i = 0; i < rows && status == VQC_OK; i++) {
            power[i] += 2.0 * vqc_feedback_dot(matrix + i * cols, product + i * cols, 1, cols);
        }
    }
    return status;
}

static void scale_up(float *values, size_t n, double scale)
{
    double factor = scale > 1.0 ? scale < MOST_SCALE ? scale : MOST_SCALE : 1.0;

    for (size_t i = 0; i < n; i++) {
        values[i] = (float)(factor * (double)values[i]);
    }
}

static vqc_status restore_powers(const vqc_moments *m, const float *before, size_t rows,
                                 size_t cols, int threads, float *after, vqc_arena *arena,
                                 vqc_error *error)
{
    float *product = vqc_arena_calloc(arena, rows * cols, sizeof *product);
    double *wanted = vqc_arena_calloc(arena, rows, sizeof *wanted);
    double *got = vqc_arena_calloc(arena, rows, sizeof *got);
    vqc_status status;

    if (product == NULL || wanted == NULL || got == NULL) {
        return vqc_fail_memory(error, rows * cols * sizeof *product);
    }
    status = vqc_prune_powers(m, m->cross, before, rows, cols, threads, product, wanted, error);
    if (status == VQC_OK) {
        status = vqc_prune_powers(m, NULL, after, rows, cols, threads, product, got, error);
    }
    for (size_t i = 0; i < rows && status == VQC_OK; i++) {
        scale_up(after + i * cols, cols, got[i] > 0.0 ? sqrt(fmax(wanted[i], 0.0) / got[i]) : 1.0);
    }
    return status;
}

static vqc_status restore_slope(const vqc_moments *m, const float *before, size_t rows, size_t cols,
                                int threads, float *after, vqc_arena *arena, vqc_error *error)
{
    float *product = vqc_arena_calloc(arena, rows * cols, sizeof *product);
    double whole, kept;
    vqc_status status;

    if (product == NULL) {
        return vqc_fail_memory(error, rows * cols * sizeof *product);
    }
    status =
        vqc_feedback_product(before, rows, cols, m->groups, m->second, threads, product, error);
    if (status == VQC_OK) {
        whole = vqc_feedback_dot(before, product, rows, cols);
        kept = vqc_feedback_dot(after, product, rows, cols);
        scale_up(after, rows * cols, kept > 0.0 ? whole / kept : 1.0);
    }
    return status;
}

vqc_status vqc_prune_give_back(vqc_prune_gain gain, const vqc_moments *m, const float *before,
                               size_t rows, size_t cols, int threads, float *after,
                               vqc_error *error)
{
    vqc_arena *arena = vqc_arena_create();
    vqc_status status = arena == NULL ? vqc_fail_memory(error, 0) : VQC_OK;

    if (status == VQC_OK && gain == VQC_PRUNE_GAIN_POWER) {
        status = restore_powers(m, before, rows, cols, threads, after, arena, error);
    } else if (status == VQC_OK && gain == VQC_PRUNE_GAIN_SLOPE) {
        status = restore_slope(m, before, rows, cols, threads, after, arena, error);
    }
    vqc_arena_destroy(&arena);
    return status;
}
