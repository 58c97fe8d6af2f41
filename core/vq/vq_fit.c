#include "core/vq/vq_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/vq/vq_fit_internal.h"

#define DAMPING 0.01

vqc_vq_effort vqc_vq_effort_default(void)
{
    return (vqc_vq_effort){.seed = 1, .threads = 1, .kmeans_iterations = 30, .sweeps = 4};
}

size_t vqc_fit_places(const vqc_fit *fit)
{
    return fit->shape->down_rows ? fit->blocks : fit->rows;
}

vqc_fit_place vqc_fit_place_at(const vqc_fit *fit, size_t step, size_t at)
{
    vqc_fit_place place;

    if (fit->shape->down_rows) {
        place.row = at * fit->dim;
        place.vector = fit->step_line[step] * fit->blocks + at;
        place.first = place.row * fit->cols + fit->step_first[step];
        place.stride = fit->cols;
        place.entries = fit->rows - place.row < fit->dim ? fit->rows - place.row : fit->dim;
    } else {
        place.row = at;
        place.vector = at * fit->blocks + fit->step_line[step];
        place.first = at * fit->cols + fit->step_first[step];
        place.stride = 1;
        place.entries = fit->step_first[step + 1] - fit->step_first[step];
    }
    place.book = fit->books == 1 ? 0 : vqc_vq_book_of(fit->shape, place.vector);
    return place;
}

void vqc_fit_decode_books(const vqc_fit *fit, const float *codebooks, float *out)
{
    const size_t places = vqc_fit_places(fit);

#pragma omp parallel for schedule(static) num_threads(fit->threads) if (fit->vectors > 10000)
    for (size_t at = 0; at < places; at++) {
        for (size_t step = 0; step < fit->step_count; step++) {
            vqc_fit_place place = vqc_fit_place_at(fit, step, at);

            for (size_t i = 0; i < place.entries; i++) {
                size_t element = place.first + i * place.stride;
                float sum = 0.0f;

                for (size_t t = 0; t < fit->stages; t++) {
                    size_t index = fit->indices[t * fit->vectors + place.vector];
                    float value =
                        codebooks[((t * fit->books + place.book) * fit->count + index) * fit->dim +
                                  i];
                    sum = t == 0 ? value : sum + value;
                }
                if (fit->scales != NULL) {
                    sum *= fit->scales[place.row + (fit->shape->down_rows ? i : 0)];
                }
                out[element] = fit->mask != NULL && !fit->mask[element] ? 0.0f : sum;
            }
        }
    }
}

void vqc_fit_decode(vqc_fit *fit)
{
    vqc_fit_decode_books(fit, fit->codebooks, fit->errors);
    for (size_t i = 0; i < fit->rows * fit->cols; i++) {
        fit->errors[i] = fit->weights[i] - fit->errors[i];
    }
}

vqc_status vqc_fit_measure(vqc_fit *fit, double *loss, vqc_error *error)
{
    vqc_status status = vqc_feedback_product(
        fit->errors, fit->rows, fit->cols, fit->has_metric ? fit->metric.groups : 1,
        fit->has_metric ? fit->metric.damped : NULL, fit->threads, fit->product, error);

    *loss = vqc_feedback_dot(fit->errors, fit->product, fit->rows, fit->cols);
    return status;
}

/* What the kept sub-vectors cost beside the loss. */
static double cost_of_kept(const vqc_fit *fit)
{
    size_t kept = 0;

    for (size_t v = 0; v < fit->vectors && fit->keep_cost > 0.0; v++) {
        kept += (size_t)fit->indices[v] + 1 < fit->count ? 1 : 0;
    }
    return fit->keep_cost * (double)kept;
}

/* Feedback once more, with codebooks that have been refined; what does not lower the loss is not
 * taken. */
static vqc_status start_again(vqc_fit *fit, double loss, vqc_error *error)
{
    size_t size = fit->stages * fit->vectors * sizeof *fit->indices;
    uint16_t *kept = malloc(size + 1);
    double now = 0.0;
    vqc_status status;

    loss += cost_of_kept(fit);
    if (kept == NULL) {
        return vqc_fail_memory(error, size);
    }
    memcpy(kept, fit->indices, size);
    status = vqc_fit_pass(fit, VQC_FEEDBACK_FIRST, error);
    if (status == VQC_OK) {
        status = vqc_fit_measure(fit, &now, error);
    }
    if (status == VQC_OK && now + cost_of_kept(fit) > loss) {
        memcpy(fit->indices, kept, size);
        vqc_fit_decode(fit);
    }
    free(kept);
    return status;
}

/* Codebooks as they should be, then indices; sweeps of both. */
static vqc_status fit_code(vqc_fit *fit, vqc_error *error)
{
    bool is_final = !fit->has_metric && fit->stages == 1 && fit->mask == NULL &&
                    !(fit->effort->kept_share > 0.0);
    vqc_status status = vqc_fit_set_cost(fit, error);
    double loss = 0.0;

    if (status == VQC_OK) {
        status = vqc_fit_init(fit, error);
    }
    if (status != VQC_OK) {
        return status;
    }
    vqc_fit_round(fit);
    status = vqc_fit_pass(fit, VQC_FEEDBACK_FIRST, error);
    for (int sweep = 0; sweep < fit->effort->sweeps && !is_final && status == VQC_OK; sweep++) {
        status = vqc_fit_measure(fit, &loss, error);
        if (status == VQC_OK) {
            status = vqc_fit_refine(fit, &loss, error);
        }
        if (status == VQC_OK && sweep == 0 && fit->has_metric) {
            status = start_again(fit, loss, error);
        }
        if (status == VQC_OK) {
            status = vqc_fit_pass(fit, VQC_FEEDBACK_DESCENT, error);
        }
    }
    return status;
}

/* A step and the mean of diag(H) over its columns. */
typedef struct ranked_step {
    double power;
    size_t line;
} ranked_step;

static int compare_steps(const void *a, const void *b)
{
    const ranked_step *x = a, *y = b;

    if (x->power > y->power || x->power < y->power) {
        return x->power > y->power ? -1 : 1;
    }
    return (x->line > y->line) - (x->line < y->line);
}

/* The columns of a step: [*from, result). */
static size_t step_columns(const vqc_vq_shape *s, size_t line, size_t *from)
{
    size_t width = s->down_rows ? 1 : s->dim;

    *from = line * width;
    return s->cols - *from < width ? s->cols : *from + width;
}

/* Steps in the order of decreasing power of their inputs: what is coded first can be made up for
 * by all that follows. */
static bool set_steps(vqc_fit *fit, const float *second, size_t groups)
{
    const vqc_vq_shape *s = fit->shape;
    const size_t steps = s->down_rows ? s->cols : fit->blocks;
    ranked_step *ranks = vqc_arena_calloc(fit->arena, steps, sizeof *ranks);
    size_t next = 0;

    fit->step_count = steps;
    fit->step_first = vqc_arena_calloc(fit->arena, steps + 1, sizeof *fit->step_first);
    fit->step_line = vqc_arena_calloc(fit->arena, steps + 1, sizeof *fit->step_line);
    fit->order = vqc_arena_calloc(fit->arena, s->cols + 1, sizeof *fit->order);
    if (ranks == NULL || fit->step_first == NULL || fit->step_line == NULL || fit->order == NULL) {
        return false;
    }
    for (size_t i = 0; i < steps; i++) {
        size_t from;
        size_t end = step_columns(s, i, &from);

        ranks[i].line = i;
        for (size_t j = from; second != NULL && j < end; j++) {
            for (size_t g = 0; g < groups; g++) {
                double value = (double)second[(g * s->cols + j) * s->cols + j];
                /* A value that is not finite is reported when the factor is made. */
                ranks[i].power += isfinite(value) ? value / (double)(end - from) : 0.0;
            }
        }
    }
    qsort(ranks, steps, sizeof *ranks, compare_steps);
    for (size_t i = 0; i < steps; i++) {
        size_t from;
        size_t end = step_columns(s, ranks[i].line, &from);

        fit->step_line[i] = ranks[i].line;
        fit->step_first[i] = next;
        for (size_t j = from; j < end; j++) {
            fit->order[next++] = j;
        }
    }
    fit->step_first[steps] = s->cols;
    return true;
}

/* Memory of the code in `arena`, of everything else in fit->arena. */
static vqc_status set_memory(vqc_fit *fit, vqc_arena *arena, const float *second, size_t groups,
                             vqc_error *error)
{
    const vqc_vq_shape *s = fit->shape;
    vqc_vq_code *code = fit->code;
    size_t words = 0, floats = 0, elements = 0;

    if (!vqc_size_mul(fit->stages * fit->books, fit->count, &words) ||
        !vqc_size_mul(words, fit->dim, &floats) || !vqc_size_mul(s->rows, s->cols, &elements)) {
        return vqc_fail_memory(error, SIZE_MAX);
    }
    *code = (vqc_vq_code){.shape = *s, .books = fit->books, .vectors = fit->vectors};
    code->indices = vqc_arena_calloc(arena, fit->vectors, fit->stages * sizeof *code->indices);
    code->codebooks = vqc_arena_calloc(arena, floats, sizeof *code->codebooks);
    if (s->storage == VQC_VQ_STORAGE_FLOAT16) {
        code->codebooks_f16 = vqc_arena_calloc(arena, floats, sizeof *code->codebooks_f16);
    } else if (s->storage == VQC_VQ_STORAGE_INT8) {
        code->codebooks_int8 = vqc_arena_calloc(arena, floats, sizeof *code->codebooks_int8);
        code->book_scales =
            vqc_arena_calloc(arena, fit->stages * fit->books, sizeof *code->book_scales);
    }
    if (s->row_scales) {
        code->row_scales = vqc_arena_calloc(arena, s->rows, sizeof *code->row_scales);
    }
    fit->weights = vqc_arena_calloc(fit->arena, elements, sizeof *fit->weights);
    fit->errors = vqc_arena_calloc(fit->arena, elements, sizeof *fit->errors);
    fit->product = vqc_arena_calloc(fit->arena, elements, sizeof *fit->product);
    if (code->indices == NULL || code->codebooks == NULL || fit->weights == NULL ||
        fit->errors == NULL || fit->product == NULL ||
        (s->storage == VQC_VQ_STORAGE_FLOAT16 && code->codebooks_f16 == NULL) ||
        (s->storage == VQC_VQ_STORAGE_INT8 &&
         (code->codebooks_int8 == NULL || code->book_scales == NULL)) ||
        (s->row_scales && code->row_scales == NULL) || !set_steps(fit, second, groups)) {
        return vqc_fail_memory(error, elements * sizeof(float));
    }
    fit->indices = code->indices;
    fit->codebooks = code->codebooks;
    fit->scales = code->row_scales;
    return VQC_OK;
}

static vqc_status set_weights(vqc_fit *fit, const float *matrix, const uint8_t *mask,
                              vqc_error *error)
{
    if (mask != NULL) {
        fit->mask = vqc_arena_calloc(fit->arena, fit->rows, fit->cols);
        if (fit->mask == NULL) {
            return vqc_fail_memory(error, fit->rows * fit->cols);
        }
    }
    for (size_t row = 0; row < fit->rows; row++) {
        for (size_t j = 0; j < fit->cols; j++) {
            size_t to = row * fit->cols + j;
            size_t from = row * fit->cols + fit->order[j];

            if (mask != NULL) {
                fit->mask[to] = mask[from] != 0;
            }
            if (mask != NULL && mask[from] == 0) {
                continue;
            }
            if (!isfinite(matrix[from])) {
                return vqc_fail(error, VQC_ERR_MODEL, "has NaN or infinite weights");
            }
            fit->weights[to] = matrix[from];
        }
    }
    return VQC_OK;
}

/* tr(E H E^T), H not damped. */
static vqc_status final_loss(vqc_fit *fit, const float *second, size_t groups, double *loss,
                             vqc_error *error)
{
    size_t cols = fit->cols;
    vqc_status status;

    if (loss == NULL) {
        return VQC_OK;
    }
    /* Back to the caller's order of columns. */
    for (size_t row = 0; row < fit->rows; row++) {
        for (size_t j = 0; j < cols; j++) {
            fit->weights[row * cols + fit->order[j]] = fit->errors[row * cols + j];
        }
    }
    status = vqc_feedback_product(fit->weights, fit->rows, cols, second != NULL ? groups : 1,
                                  second, fit->threads, fit->product, error);
    *loss = vqc_feedback_dot(fit->weights, fit->product, fit->rows, cols);
    return status;
}

static vqc_status check_shape(const vqc_vq_shape *s, const float *second, size_t groups,
                              double kept_share, vqc_error *error)
{
    if (s->rows == 0 || s->cols == 0) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "nothing to code in a matrix [%zu, %zu]", s->rows,
                        s->cols);
    }
    if (s->dim < 1 || s->dim > VQC_VQ_MAX_DIM || s->codebook_size < 1 ||
        s->codebook_size > VQC_VQ_MAX_CODEBOOK || s->stages < 1 || s->stages > VQC_VQ_MAX_STAGES ||
        s->line_groups < 1 || s->block_groups < 1) {
        return vqc_fail(error, VQC_ERR_INTERNAL,
                        "no codebook shape: dim %zu, %zu codewords, %zu stages, %zu x %zu groups",
                        s->dim, s->codebook_size, s->stages, s->line_groups, s->block_groups);
    }
    if (kept_share > 0.0 && (s->stages > 1 || s->row_scales || s->codebook_size < 2)) {
        return vqc_fail(error, VQC_ERR_INTERNAL,
                        "a codeword 0 takes one stage, two codewords and no row scales");
    }
    if (second != NULL && (groups == 0 || s->rows % groups != 0)) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "%zu rows cannot be cut into %zu groups", s->rows,
                        groups);
    }
    return VQC_OK;
}

vqc_status vqc_vq_fit(const vqc_vq_shape *shape, const float *matrix, const float *second,
                      size_t groups, const uint8_t *mask, const vqc_vq_effort *effort,
                      vqc_arena *arena, vqc_vq_code *code, double *loss, vqc_error *error)
{
    vqc_fit fit = {.shape = shape,
                   .rows = shape->rows,
                   .cols = shape->cols,
                   .dim = shape->dim,
                   .count = shape->codebook_size,
                   .stages = shape->stages,
                   .code = code,
                   .effort = effort,
                   .threads = effort->threads > 1 ? effort->threads : 1};
    vqc_status status = check_shape(shape, second, groups, effort->kept_share, error);

    if (status != VQC_OK) {
        return status;
    }
    fit.blocks = vqc_vq_blocks(shape);
    fit.vectors = vqc_vq_vectors(shape);
    fit.books = vqc_vq_books(shape);
    fit.arena = vqc_arena_create();
    if (fit.arena == NULL) {
        return vqc_fail_memory(error, 0);
    }
    status = set_memory(&fit, arena, second, groups, error);
    if (status == VQC_OK) {
        status = set_weights(&fit, matrix, mask, error);
    }
    if (status == VQC_OK && second != NULL) {
        fit.has_metric = true;
        status = vqc_feedback_metric_create(second, groups, fit.cols, fit.order,
                                            effort->damping > 0.0 ? effort->damping : DAMPING,
                                            fit.threads, &fit.metric, error);
    }
    if (status == VQC_OK) {
        status = fit_code(&fit, error);
    }
    if (status == VQC_OK) {
        status = final_loss(&fit, second, groups, loss, error);
    }
    vqc_feedback_metric_destroy(&fit.metric);
    vqc_arena_destroy(&fit.arena);
    return status;
}
