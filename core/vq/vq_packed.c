#include "core/vq/vq_packed.h"

#include <string.h>

#include "core/vq/vq_feedback.h"

/* Sweeps over all indices are left out beyond this many multiplications. */
static const double MOST_WORK = 0x1p37;

/* Choosing indices anew for tr(E H E^T). */
typedef struct packed_walk {
    const vqc_vq_shape *shape;
    vqc_vq_code *code;
    const float *second; /* [groups][cols][cols] H, damped */
    size_t groups;
    float *errors;  /* [rows, cols] E = W - decoded */
    float *product; /* [rows, cols] E H */
} packed_walk;

/* H of the rows' group. */
static const float *second_of(const packed_walk *w, size_t row)
{
    size_t cols = w->shape->cols;

    return w->second + row / (w->shape->rows / w->groups) * cols * cols;
}

/* Changes the decoded weight at `place` by `change`. */
static void move(packed_walk *w, size_t place, float change)
{
    size_t cols = w->shape->cols;
    size_t row = place / cols;
    const float *line = second_of(w, row) + place % cols * cols;
    float *product = w->product + row * cols;

    w->errors[place] -= change;
    for (size_t j = 0; j < cols; j++) {
        product[j] -= change * line[j];
    }
}

/* The part of a vector that is of importance: its weights' places, [count]; returns the first
 * entry. */
static size_t places_of(const packed_walk *w, size_t vector, size_t *places, size_t *count)
{
    size_t dim = w->shape->dim;
    size_t first = vector == 0 ? 1 : 0;

    *count = 0;
    for (size_t i = first; i < dim && vector * dim + i < w->shape->packed; i++) {
        places[(*count)++] = vqc_vq_kept_place(w->code, vector * dim + i - 1);
    }
    return first;
}

/* The codeword of one stage that makes the loss least with all else fixed. Changing the decoded
 * weights by s changes it by -2 (E H) s + s H s. */
static void choose(packed_walk *w, size_t vector, size_t stage)
{
    const vqc_vq_shape *s = w->shape;
    const float *book = w->code->codebooks + stage * s->codebook_size * s->dim;
    uint16_t *index = w->code->indices + stage * w->code->vectors + vector;
    size_t places[VQC_VQ_MAX_DIM];
    float metric[VQC_VQ_MAX_DIM][VQC_VQ_MAX_DIM];
    size_t count;
    size_t first = places_of(w, vector, places, &count);
    const float *old = book + *index * s->dim + first;
    size_t best = *index;
    float best_change = 0.0f;

    for (size_t i = 0; i < count; i++) {
        const float *line = second_of(w, places[i] / s->cols) + places[i] % s->cols * s->cols;
        for (size_t j = 0; j < count; j++) {
            metric[i][j] =
                places[i] / s->cols == places[j] / s->cols ? line[places[j] % s->cols] : 0.0f;
        }
    }
    for (size_t k = 0; k < s->codebook_size; k++) {
        const float *word = book + k * s->dim + first;
        float change = 0.0f;
        for (size_t i = 0; i < count; i++) {
            float sum = -2.0f * w->product[places[i]];
            for (size_t j = 0; j < count; j++) {
                sum += metric[i][j] * (word[j] - old[j]);
            }
            change += (word[i] - old[i]) * sum;
        }
        if (change < best_change) {
            best_change = change;
            best = k;
        }
    }
    if (best != *index) {
        const float *word = book + best * s->dim + first;
        for (size_t i = 0; i < count; i++) {
            move(w, places[i], word[i] - old[i]);
        }
        *index = (uint16_t)best;
    }
}

/* H with effort->damping of its mean diagonal added, in `arena`. */
static float *damped(const float *second, size_t groups, size_t cols, double damping,
                     vqc_arena *arena)
{
    size_t n = groups * cols * cols;
    float *out = vqc_arena_alloc(arena, n * sizeof *out);

    if (out == NULL) {
        return NULL;
    }
    memcpy(out, second, n * sizeof *out);
    for (size_t g = 0; g < groups; g++) {
        double mean = 0.0;
        for (size_t j = 0; j < cols; j++) {
            mean += (double)second[(g * cols + j) * cols + j] / (double)cols;
        }
        for (size_t j = 0; j < cols; j++) {
            out[(g * cols + j) * cols + j] += (float)(damping * mean);
        }
    }
    return out;
}

static void subtract_decoded(const vqc_vq_code *code, const float *matrix, float *errors)
{
    size_t n = code->shape.rows * code->shape.cols;

    vqc_vq_decode(code, errors);
    for (size_t i = 0; i < n; i++) {
        errors[i] = matrix[i] - errors[i];
    }
}

static vqc_status sweep(packed_walk *w, const float *matrix, const vqc_vq_effort *effort,
                        vqc_error *error)
{
    const vqc_vq_shape *s = w->shape;
    double each = (double)s->packed *
                  ((double)s->cols + (double)s->stages * (double)(s->codebook_size * s->dim));
    vqc_status status;

    subtract_decoded(w->code, matrix, w->errors);
    status = vqc_feedback_product(w->errors, s->rows, s->cols, w->groups, w->second,
                                  effort->threads, w->product, error);
    for (int i = 0; i < effort->sweeps && status == VQC_OK && (double)(i + 1) * each < MOST_WORK;
         i++) {
        for (size_t v = 0; v < w->code->vectors; v++) {
            for (size_t t = 0; t < s->stages; t++) {
                choose(w, v, t);
            }
        }
    }
    return status;
}

/* With H: indices chosen anew, and the loss. */
static vqc_status refine(const vqc_vq_shape *shape, const float *matrix, const float *second,
                         size_t groups, const vqc_vq_effort *effort, vqc_vq_code *code,
                         double *loss, vqc_error *error)
{
    vqc_arena *arena = vqc_arena_create();
    size_t n = shape->rows * shape->cols;
    packed_walk w = {.shape = &code->shape, .code = code, .groups = second != NULL ? groups : 1};
    vqc_status status = VQC_OK;

    if (arena == NULL ||
        (second != NULL &&
         (w.second = damped(second, groups, shape->cols,
                            effort->damping > 0.0 ? effort->damping : 0.01, arena)) == NULL) ||
        (w.errors = vqc_arena_calloc(arena, n, sizeof *w.errors)) == NULL ||
        (w.product = vqc_arena_calloc(arena, n, sizeof *w.product)) == NULL) {
        status = vqc_fail_memory(error, n * sizeof *w.errors);
        goto done;
    }
    if (second != NULL && effort->sweeps > 0) {
        status = sweep(&w, matrix, effort, error);
    }
    if (status == VQC_OK && loss != NULL) {
        subtract_decoded(code, matrix, w.errors);
        status = vqc_feedback_product(w.errors, shape->rows, shape->cols, w.groups, second,
                                      effort->threads, w.product, error);
        *loss = vqc_feedback_dot(w.errors, w.product, shape->rows, shape->cols);
    }
done:
    vqc_arena_destroy(&arena);
    return status;
}

/* Finds the entries that are not 0, in the order in which they are stored. */
static vqc_status pack(const vqc_vq_shape *s, const float *matrix, uint32_t *kept, float *line,
                       uint8_t *mask, vqc_error *error)
{
    size_t n = s->rows * s->cols;
    size_t count = 0;

    for (size_t at = 0; at < n; at++) {
        float value = matrix[s->down_rows ? at % s->rows * s->cols + at / s->rows : at];
        if (value == 0.0f) {
            continue;
        }
        if (count + 1 < s->packed) {
            kept[count] = (uint32_t)at;
            line[count + 1] = value;
            mask[count + 1] = 1;
        }
        count++;
    }
    return count + 1 == s->packed
               ? VQC_OK
               : vqc_fail(error, VQC_ERR_INTERNAL, "got %zu weights that are not 0, expected %zu",
                          count, s->packed - 1);
}

vqc_status vqc_vq_fit_packed(const vqc_vq_shape *shape, const float *matrix, const float *second,
                             size_t groups, const vqc_vq_effort *effort, vqc_arena *arena,
                             vqc_vq_code *code, double *loss, vqc_error *error)
{
    vqc_vq_shape flat = *shape;
    uint32_t *kept = vqc_arena_calloc(arena, shape->packed, sizeof *kept);
    float *line = vqc_arena_calloc(arena, shape->packed, sizeof *line);
    uint8_t *mask = vqc_arena_calloc(arena, shape->packed, 1);
    vqc_status status;

    if (kept == NULL || line == NULL || mask == NULL) {
        return vqc_fail_memory(error, shape->packed * sizeof *line);
    }
    status = pack(shape, matrix, kept, line, mask, error);
    if (status != VQC_OK) {
        return status;
    }
    flat.rows = 1;
    flat.cols = shape->packed;
    flat.down_rows = false;
    flat.row_scales = false;
    flat.packed = 0;
    status = vqc_vq_fit(&flat, line, NULL, 1, mask, effort, arena, code, NULL, error);
    if (status != VQC_OK) {
        return status;
    }
    flat.codebook_size = code->shape.codebook_size;
    code->shape = *shape;
    code->shape.codebook_size = flat.codebook_size;
    code->kept = kept;
    if (second == NULL && loss == NULL) {
        return VQC_OK;
    }
    return refine(shape, matrix, second, groups, effort, code, loss, error);
}
