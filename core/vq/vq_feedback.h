/*
 * Passes over the columns of a weight matrix that quantize it step by step with the error made so
 * far in view: error feedback (the first pass) and coordinate descent (the passes after it), both
 * for the loss tr(E H E^T), E = W - decoded, H [groups][cols][cols].
 *
 * With H = R R^T, R upper triangular, the loss of a row is |e R|^2. Feedback visits the columns in
 * order; the term of columns B is |e_B R_BB + a|^2 with a = sum over the columns before of e_j
 * R_jB: what the ones before left for B to make up for. With U = R^-1 this is GPTQ: H^-1 = U^T U,
 * R_BB = U_BB^-1 (the exact metric of a block), and a R_BB^-1 is minus the update of the weights.
 *
 * Descent replaces e_B by e_B + s, which changes the loss by 2 a s + s H_BB s^T with a = (e H)_B.
 *
 * In both cases a sum over many columns is needed for the columns visited next: it is made by one
 * matrix product per panel of up to 128 columns, and kept up to date within the panel. Rows do not
 * depend on one another; tiles of rows go to threads, and the bits do not depend on how.
 */
#ifndef VQC_CORE_VQ_VQ_FEEDBACK_H
#define VQC_CORE_VQ_VQ_FEEDBACK_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

enum { VQC_FEEDBACK_PANEL = 128, VQC_FEEDBACK_TILE = 128 };

/* H with damping, and its factor; see vqc_cholesky_upper. */
typedef struct vqc_feedback_metric {
    size_t groups;
    size_t cols;
    float *damped; /* [groups][cols][cols] */
    float *factor; /* [groups][cols][cols] R */
} vqc_feedback_metric;

/*
 * From `second` [groups][cols][cols], columns taken in the order `order` [cols] (NULL: as they
 * are). Free with vqc_feedback_metric_destroy (also after an error).
 */
vqc_status vqc_feedback_metric_create(const float *second, size_t groups, size_t cols,
                                      const size_t *order, double damping, int threads,
                                      vqc_feedback_metric *metric, vqc_error *error);

void vqc_feedback_metric_destroy(vqc_feedback_metric *metric);

typedef enum vqc_feedback_mode { VQC_FEEDBACK_FIRST, VQC_FEEDBACK_DESCENT } vqc_feedback_mode;

/* What a visit sees: rows [row, row + rows) and one step, columns [col, col + width). */
typedef struct vqc_feedback_visit {
    size_t row, rows;
    size_t step, col, width;
    size_t tile;      /* which tile; memory of a tile belongs to one thread at a time */
    size_t thread;    /* less than the threads of the pass */
    const float *sum; /* a of row i, column j: sum[i * sum_stride + j] */
    size_t sum_stride;
    float *delta; /* [rows][width] to be filled: change of e (all of e when FIRST) */
} vqc_feedback_visit;

/*
 * One pass. `error_matrix` e [rows, cols]: in FIRST 0 on entry; the engine adds the deltas. Steps
 * begin at step_first[0 .. steps], the last entry is cols; a step has at most 128 columns. Tiles
 * are multiples of `align` rows. metric NULL: H is the identity, sums are 0 (FIRST) or e (DESCENT).
 */
typedef struct vqc_feedback_pass {
    vqc_feedback_mode mode;
    size_t rows, cols;
    const vqc_feedback_metric *metric;
    float *error_matrix;
    const size_t *step_first;
    size_t steps;
    size_t align;
    int threads;
    void (*visit)(void *context, const vqc_feedback_visit *visit);
    void *context;
} vqc_feedback_pass;

/* Threads that vqc_feedback_run will use at most, and tiles there will be. */
size_t vqc_feedback_threads(const vqc_feedback_pass *pass);
size_t vqc_feedback_tiles(const vqc_feedback_pass *pass);

/* Errors: out of memory. */
vqc_status vqc_feedback_run(const vqc_feedback_pass *pass, vqc_error *error);

/*
 * product [rows, cols] = X H per group of rows, H damped (`damped`) or as given in `second`
 * [groups][cols][cols]; a copy of X when that is NULL. Errors: out of memory.
 */
vqc_status vqc_feedback_product(const float *x, size_t rows, size_t cols, size_t groups,
                                const float *second, int threads, float *result, vqc_error *error);

/* Sum of x * y over [rows, cols], float64, rows in order. */
double vqc_feedback_dot(const float *x, const float *y, size_t rows, size_t cols);

#endif
