/* What the files vq_fit*.c and vq_refine.c share. */
#ifndef VQC_CORE_VQ_VQ_FIT_INTERNAL_H
#define VQC_CORE_VQ_VQ_FIT_INTERNAL_H

#include "core/vq/vq_feedback.h"
#include "core/vq/vq_fit.h"

enum { VQC_FIT_LANES = 16 };

/*
 * A matrix while it is fitted. Columns are kept in the order in which they are visited; sub-vectors
 * keep their numbers. A step is a block of columns, or one column when sub-vectors run down rows.
 */
typedef struct vqc_fit {
    const vqc_vq_shape *shape;
    size_t rows, cols, dim, blocks, vectors, books, count, stages;
    size_t step_count;
    size_t *step_first; /* [steps + 1] first column */
    size_t *step_line;  /* [steps] number of the block, or (down rows) of the column */
    size_t *order;      /* [cols] the column of the caller's matrix */
    float *weights;     /* [rows, cols], 0 where masked */
    uint8_t *mask;      /* [rows, cols] or NULL */
    bool has_metric;
    vqc_feedback_metric metric;
    float *scales;     /* [rows] or NULL */
    float *codebooks;  /* [stages][books][count][dim], rounded to what is stored */
    uint16_t *indices; /* [stages][vectors] */
    float *errors;     /* [rows, cols] weights - decoded, 0 where masked */
    float *product;    /* [rows, cols] errors times damped H, after vqc_fit_measure */
    vqc_vq_code *code; /* its stored forms are kept in step with codebooks */
    vqc_arena *arena;
    const vqc_vq_effort *effort;
    int threads;
    double keep_cost; /* loss that a sub-vector must save to be anything but 0; 0: no such thing */
} vqc_fit;

/* Where sub-vector entries lie: entry i of vector `vector` of step `step` and row (or row block)
 * `at` is element first + i * stride of a [rows, cols] matrix; `entries` of them exist. */
typedef struct vqc_fit_place {
    size_t vector, book, first, stride, entries, row;
} vqc_fit_place;

/* Places of a step: rows, or blocks of rows. */
size_t vqc_fit_places(const vqc_fit *fit);
vqc_fit_place vqc_fit_place_at(const vqc_fit *fit, size_t step, size_t at);

/* fit->errors from weights, codebooks, scales and indices. */
void vqc_fit_decode(vqc_fit *fit);

/* out [rows, cols] = what `codebooks` (not fit->codebooks) decode to, times scales; 0 where masked.
 */
void vqc_fit_decode_books(const vqc_fit *fit, const float *codebooks, float *out);

/* tr(E H E^T) with damped H; leaves E H in fit->product. Errors: out of memory. */
vqc_status vqc_fit_measure(vqc_fit *fit, double *loss, vqc_error *error);

/* Initial row scales and codebooks. Errors: out of memory. */
vqc_status vqc_fit_init(vqc_fit *fit, vqc_error *error);

/* Rounds fit->codebooks to the storage of the shape. */
void vqc_fit_round(vqc_fit *fit);

/* One pass that chooses indices, errors made anew. Errors: out of memory. */
vqc_status vqc_fit_pass(vqc_fit *fit, vqc_feedback_mode mode, vqc_error *error);

/*
 * Codebooks, then row scales, that are best for the indices; what does not lower the loss is not
 * taken. *loss on entry the loss as it is, with fit->product; updated, and so are errors and
 * product. Errors: out of memory.
 */
vqc_status vqc_fit_refine(vqc_fit *fit, double *loss, vqc_error *error);

/* Sets fit->keep_cost from effort->kept_share. Errors: out of memory. */
vqc_status vqc_fit_set_cost(vqc_fit *fit, vqc_error *error);

/* What it would add to the loss at least if the sub-vector of this place were 0. */
double vqc_fit_energy(const vqc_fit *fit, size_t step, const vqc_fit_place *place);

/* x rounded to float16, within its range. */
float vqc_fit_half(float x);

/*
 * Codewords as a metric sees them: row vectors c T, in lanes. Made for one sub-vector or shared by
 * many.
 */
typedef struct vqc_fit_table {
    size_t dim, count, stages, lanes;
    float *values; /* [stages][lanes / 16][dim][16] */
    float *half;   /* [stages][lanes] half of the squared length, infinite beyond count */
} vqc_fit_table;

/* Floats of memory that a table of the fit needs; vqc_fit_table_set lays it out there. */
size_t vqc_fit_table_floats(const vqc_fit *fit);
void vqc_fit_table_set(vqc_fit_table *table, const vqc_fit *fit, float *memory);

/* Codewords of `book` times `metric` [dim][dim] row-major; diagonal: only its diagonal is not 0. */
void vqc_fit_table_fill(vqc_fit_table *table, const vqc_fit *fit, size_t book, const float *metric,
                        bool diagonal);

/* |target - sum of codewords|^2. */
float vqc_fit_table_cost(const vqc_fit_table *table, const float *target, const uint16_t *indices);

/*
 * Codewords [stages] whose sum is (for one stage) or should be (for more: found by a beam search
 * and exchanges stage by stage) nearest to target. keep: indices hold a choice that is kept unless
 * a better one is found. scores: [lanes] of scratch.
 */
void vqc_fit_table_search(const vqc_fit_table *table, const float *target, bool keep, float *scores,
                          uint16_t *indices);

#endif
