/* Choosing the indices: one pass of error feedback or coordinate descent. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/vq/cholesky.h"
#include "core/vq/kmeans_parts.h"
#include "core/vq/vq_fit_internal.h"

enum {
    MAX_DIM = VQC_VQ_MAX_DIM,
    MAX_METRIC = VQC_VQ_MAX_DIM * VQC_VQ_MAX_DIM,
    POINTS = VQC_NEAREST_POINTS,
    WORDS = VQC_NEAREST_CODEWORDS,
    MAX_RUN = VQC_FEEDBACK_TILE /* rows that go through the kernel at a time */
};

/* T of a block of columns, and for descent T^-1: the target is base T + sum (first pass) or
 * base T + sum T^-T. */
typedef struct block_metric {
    float forward[MAX_METRIC];
    float inverse[MAX_METRIC];
} block_metric;

/* A thread's memory. slots: tables of the row blocks of a tile (sub-vectors down rows). */
typedef struct workspace {
    vqc_fit_table shared, own;
    vqc_fit_table *slots;
    size_t *slot_keys; /* place and book of a slot, plus 1; 0: empty */
    float *scores;
    float *memory;
    float *points; /* [MAX_RUN / POINTS][dim][POINTS] targets, for the kernel */
    float *book;   /* what c T is, in blocks of the kernel */
    block_metric metric, own_metric;
} workspace;

typedef struct passing {
    vqc_fit *fit;
    bool first;
    bool in_panels; /* many rows at a time, by the nearest-codeword kernels */
    size_t slots;   /* per thread */
    workspace *work;
} passing;

/* The metric of columns [col, col + width) in group `group` for the entries that `used` marks. */
static void make_metric(const passing *p, size_t group, size_t col, size_t width,
                        const uint8_t *used, block_metric *m)
{
    const vqc_fit *fit = p->fit;
    const size_t dim = fit->dim, cols = fit->cols;
    double h[MAX_METRIC], inverse[MAX_METRIC];
    size_t list[MAX_DIM];
    size_t n = 0;

    memset(m->forward, 0, dim * dim * sizeof *m->forward);
    memset(m->inverse, 0, dim * dim * sizeof *m->inverse);
    for (size_t i = 0; i < width; i++) {
        if (used == NULL || used[i]) {
            list[n++] = i;
        }
    }
    if (!fit->has_metric) {
        for (size_t i = 0; i < n; i++) {
            m->forward[list[i] * dim + list[i]] = m->inverse[list[i] * dim + list[i]] = 1.0f;
        }
        return;
    }
    if (p->first) {
        const float *r = fit->metric.factor + (group * cols + col) * cols + col;

        for (size_t i = 0; i < n; i++) {
            memcpy(m->forward + list[i] * dim, r + list[i] * cols, width * sizeof *r);
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            h[i * n + j] =
                (double)fit->metric.damped[(group * cols + col + list[i]) * cols + col + list[j]];
        }
    }
    if (!vqc_cholesky_small(h, n, inverse)) {
        return; /* cannot happen after damping; without a metric nothing would change */
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            m->forward[list[i] * dim + list[j]] = (float)h[i * n + j];
            m->inverse[list[i] * dim + list[j]] = (float)inverse[i * n + j];
        }
    }
}

static bool is_partly_masked(const vqc_fit *fit, size_t first, size_t stride, size_t entries)
{
    for (size_t i = 0; fit->mask != NULL && i < entries; i++) {
        if (!fit->mask[first + i * stride]) {
            return true;
        }
    }
    return false;
}

/* The place's new error from its indices; delta: entries `step` apart. */
static void set_delta(const vqc_fit *fit, const vqc_fit_place *place, size_t row_step, float *delta,
                      size_t delta_step)
{
    for (size_t i = 0; i < place->entries; i++) {
        size_t at = place->first + i * place->stride;
        float sum = 0.0f;

        for (size_t t = 0; t < fit->stages; t++) {
            size_t index = fit->indices[t * fit->vectors + place->vector];
            float value =
                fit->codebooks[((t * fit->books + place->book) * fit->count + index) * fit->dim +
                               i];
            sum = t == 0 ? value : sum + value;
        }
        if (fit->scales != NULL) {
            sum *= fit->scales[place->row + i * row_step];
        }
        delta[i * delta_step] =
            fit->mask != NULL && !fit->mask[at] ? 0.0f : fit->weights[at] - sum - fit->errors[at];
    }
}

/* Whether 0 is to be taken in place of a codeword: distance and length are squared, and as much
 * larger than the loss as `scale` says. */
static bool prefers_zero(const vqc_fit *fit, float distance, float length, double scale)
{
    return (double)distance + fit->keep_cost * scale >= (double)length;
}

/* The same for the codeword of a search; scale: of the table's metric to that of the loss, squared.
 */
static uint16_t weigh_zero(const passing *p, const vqc_fit_table *table, const float *target,
                           double scale, uint16_t found)
{
    const vqc_fit *fit = p->fit;
    const uint16_t zero = (uint16_t)(fit->count - 1);
    uint16_t both[2] = {found, zero};
    float length = vqc_fit_table_cost(table, target, &both[1]);
    float distance = vqc_fit_table_cost(table, target, &both[0]);

    return found == zero || prefers_zero(fit, distance, length, scale) ? zero : found;
}

static void choose(const passing *p, workspace *w, const vqc_fit_table *table, const float *target,
                   double scale, size_t vector)
{
    vqc_fit *fit = p->fit;
    uint16_t indices[VQC_VQ_MAX_STAGES];

    for (size_t t = 0; t < fit->stages; t++) {
        indices[t] = fit->indices[t * fit->vectors + vector];
    }
    vqc_fit_table_search(table, target, !p->first, w->scores, indices);
    if (fit->keep_cost > 0.0) {
        indices[0] = weigh_zero(p, table, target, scale, indices[0]);
    }
    for (size_t t = 0; t < fit->stages; t++) {
        fit->indices[t * fit->vectors + vector] = indices[t];
    }
}

/* What the row's codeword should come near to in the metric, entry i at target[i * stride] (on
 * entry 0). */
static void make_target(const passing *p, const vqc_feedback_visit *v, size_t i,
                        const vqc_fit_place *place, const block_metric *m, float *target)
{
    const vqc_fit *fit = p->fit;
    const size_t dim = fit->dim;
    const float *sum = v->sum + i * v->sum_stride;
    const float scale = fit->scales != NULL ? fit->scales[place->row] : 1.0f;

    for (size_t j = 0; j < v->width; j++) {
        float base = fit->weights[place->first + j];

        if (!p->first) {
            base -= fit->errors[place->first + j];
        }
        for (size_t c = j; c < v->width; c++) {
            target[c] += base * m->forward[j * dim + c];
        }
        if (p->first) {
            target[j] += sum[j];
        } else {
            for (size_t c = j; c < v->width; c++) {
                target[j] += sum[c] * m->inverse[j * dim + c];
            }
        }
    }
    for (size_t j = 0; j < v->width; j++) {
        target[j] = scale > 0.0f ? target[j] / scale : 0.0f;
    }
}

/* Row i of a visit, sub-vectors along columns. */
static void visit_row(const passing *p, workspace *w, const vqc_feedback_visit *v, size_t i,
                      size_t group)
{
    vqc_fit *fit = p->fit;
    vqc_fit_place place = vqc_fit_place_at(fit, v->step, v->row + i);
    bool masked = is_partly_masked(fit, place.first, 1, place.entries);
    const block_metric *m = masked ? &w->own_metric : &w->metric;
    const vqc_fit_table *table = masked ? &w->own : &w->shared;
    float target[MAX_DIM] = {0};

    if (masked) {
        make_metric(p, group, v->col, v->width, fit->mask + place.first, &w->own_metric);
        vqc_fit_table_fill(&w->own, fit, place.book, w->own_metric.forward, false);
    }
    make_target(p, v, i, &place, m, target);
    choose(p, w, table, target, 1.0, place.vector);
    set_delta(fit, &place, 0, v->delta + i * v->width, 1);
}

/* Codewords of `book` times `metric` as the kernels want them: half the squared length, then minus
 * the entries. The value of a codeword is half its squared distance less half that of 0. */
static void fill_book(const vqc_fit *fit, size_t book, const float *metric, float *out)
{
    const size_t dim = fit->dim;
    const float *from = fit->codebooks + book * fit->count * dim;

    for (size_t first = 0; first < fit->count; first += WORDS, out += (dim + 1) * WORDS) {
        float words[MAX_DIM][WORDS] = {{0}};
        float length[WORDS] = {0};
        const size_t here = fit->count - first < WORDS ? fit->count - first : (size_t)WORDS;

        for (size_t k = 0; k < here; k++) {
            for (size_t i = 0; i < dim; i++) {
                words[i][k] = from[(first + k) * dim + i];
            }
        }
        for (size_t i = 0; i < dim; i++) {
            float sum[WORDS] = {0};

            for (size_t j = 0; j <= i; j++) {
                const float factor = metric[j * dim + i];
#pragma omp simd
                for (size_t k = 0; k < WORDS; k++) {
                    sum[k] += words[j][k] * factor;
                }
            }
#pragma omp simd
            for (size_t k = 0; k < WORDS; k++) {
                length[k] += sum[k] * sum[k];
                out[(1 + i) * WORDS + k] = -sum[k];
            }
        }
        for (size_t k = 0; k < WORDS; k++) {
            out[k] = k < here ? 0.5f * length[k] : (float)INFINITY;
        }
    }
}

/* Squared distance of a target in a panel from codeword `index` of a packed book. */
static float packed_distance(const float *book, size_t dim, size_t index, const float *target)
{
    const float *word = book + index / WORDS * (dim + 1) * WORDS + WORDS + index % WORDS;
    float sum = 0.0f;

    for (size_t i = 0; i < dim; i++) {
        const float off = target[i * POINTS] + word[i * WORDS];
        sum += off * off;
    }
    return sum;
}

/* Rows [i, i + rows) of a visit, at most MAX_RUN, that share w->book and w->metric. In descent a
 * codeword is kept unless a better one is found. */
static void visit_panels(const passing *p, workspace *w, const vqc_feedback_visit *v, size_t i,
                         size_t rows)
{
    vqc_fit *fit = p->fit;
    const size_t dim = fit->dim;
    const uint16_t zero = (uint16_t)(fit->count - 1);
    uint16_t codes[MAX_RUN];

    for (size_t r = 0; r < rows; r++) {
        vqc_fit_place place = vqc_fit_place_at(fit, v->step, v->row + i + r);
        float *out = w->points + r / POINTS * dim * POINTS + r % POINTS;
        float target[MAX_DIM] = {0};

        make_target(p, v, i + r, &place, &w->metric, target);
        for (size_t j = 0; j < dim; j++) {
            out[j * POINTS] = target[j];
        }
    }
    kmeans_nearest_choose(dim)(&(vqc_nearest){.x = w->points,
                                              .n = rows,
                                              .dim = dim,
                                              .book = w->book,
                                              .count = fit->count,
                                              .codes = codes});
    for (size_t r = 0; r < rows; r++) {
        vqc_fit_place place = vqc_fit_place_at(fit, v->step, v->row + i + r);
        const float *target = w->points + r / POINTS * dim * POINTS + r % POINTS;
        uint16_t *index = &fit->indices[place.vector];

        if (p->first || (codes[r] != *index && packed_distance(w->book, dim, codes[r], target) <
                                                   packed_distance(w->book, dim, *index, target))) {
            *index = codes[r];
        }
        if (fit->keep_cost > 0.0 && *index != zero &&
            prefers_zero(fit, packed_distance(w->book, dim, *index, target),
                         packed_distance(w->book, dim, zero, target), 1.0)) {
            *index = zero;
        }
        set_delta(fit, &place, 0, v->delta + (i + r) * v->width, 1);
    }
}

/* The group of a row; the book of its sub-vector in this step. */
static size_t group_and_book(const vqc_fit *fit, const vqc_feedback_visit *v, size_t row,
                             size_t *book)
{
    *book = vqc_fit_place_at(fit, v->step, row).book;
    return fit->has_metric ? row / (fit->rows / fit->metric.groups) : 0;
}

static void visit_runs(const passing *p, workspace *w, const vqc_feedback_visit *v)
{
    const vqc_fit *fit = p->fit;
    size_t book, next_book;

    for (size_t i = 0, end; i < v->rows; i = end) {
        const size_t group = group_and_book(fit, v, v->row + i, &book);

        end = i + 1;
        while (end < v->rows && end - i < MAX_RUN &&
               group_and_book(fit, v, v->row + end, &next_book) == group && next_book == book) {
            end++;
        }
        make_metric(p, group, v->col, v->width, NULL, &w->metric);
        fill_book(fit, book, w->metric.forward, w->book);
        visit_panels(p, w, v, i, end - i);
    }
}

static void visit_block(const passing *p, workspace *w, const vqc_feedback_visit *v)
{
    vqc_fit *fit = p->fit;
    size_t known_group = SIZE_MAX, known_book = SIZE_MAX;

    for (size_t i = 0; i < v->rows; i++) {
        size_t row = v->row + i;
        size_t group = fit->has_metric ? row / (fit->rows / fit->metric.groups) : 0;
        size_t book = vqc_fit_place_at(fit, v->step, row).book;

        if (group != known_group || book != known_book) {
            make_metric(p, group, v->col, v->width, NULL, &w->metric);
            vqc_fit_table_fill(&w->shared, fit, book, w->metric.forward, false);
            known_group = group;
            known_book = book;
        }
        visit_row(p, w, v, i, group);
    }
}

/* The weight's own metric (R_jj, or the root of H_jj) of entry `row` in column `col`. */
static float column_metric(const passing *p, size_t row, size_t col)
{
    const vqc_fit *fit = p->fit;
    size_t at;

    if (!fit->has_metric) {
        return 1.0f;
    }
    at = (row / (fit->rows / fit->metric.groups) * fit->cols + col) * fit->cols + col;
    return p->first ? fit->metric.factor[at] : sqrtf(fit->metric.damped[at]);
}

/* Blocks of rows in one column. */
static void visit_column(const passing *p, workspace *w, const vqc_feedback_visit *v)
{
    vqc_fit *fit = p->fit;
    const size_t dim = fit->dim;

    for (size_t i = 0; i < v->rows; i += dim) {
        size_t at = (v->row + i) / dim;
        vqc_fit_place place = vqc_fit_place_at(fit, v->step, at);
        bool own = is_partly_masked(fit, place.first, place.stride, place.entries);
        float metric[MAX_METRIC] = {0};
        float target[MAX_DIM] = {0};
        float common = column_metric(p, place.row, v->col);
        vqc_fit_table *table = &w->own;

        for (size_t e = 0; e < place.entries; e++) {
            size_t element = place.first + e * place.stride;
            float r = column_metric(p, place.row + e, v->col);
            float scale = fit->scales != NULL ? fit->scales[place.row + e] : 1.0f;
            float sum = v->sum[(i + e) * v->sum_stride];
            float base = fit->weights[element] - (p->first ? 0.0f : fit->errors[element]);

            own = own || fabsf(r - common) > 0.0f;
            if (fit->mask == NULL || fit->mask[element]) {
                target[e] = (base * r + (p->first ? sum : sum / r)) / common;
                metric[e * dim + e] = scale * (r / common);
            }
        }
        if (own) {
            vqc_fit_table_fill(table, fit, place.book, metric, true);
        } else {
            size_t key = at * fit->books + place.book + 1;

            table = &w->slots[i / dim];
            if (w->slot_keys[i / dim] != key) {
                vqc_fit_table_fill(table, fit, place.book, metric, true);
                w->slot_keys[i / dim] = key;
            }
        }
        choose(p, w, table, target, 1.0 / ((double)common * (double)common), place.vector);
        set_delta(fit, &place, 1, v->delta + i, 1);
    }
}

static void visit(void *context, const vqc_feedback_visit *v)
{
    const passing *p = context;
    workspace *w = &p->work[v->thread];

    if (p->fit->shape->down_rows) {
        visit_column(p, w, v);
    } else if (p->in_panels) {
        visit_runs(p, w, v);
    } else {
        visit_block(p, w, v);
    }
}

static bool set_workspace(const passing *p, workspace *w)
{
    size_t floats = vqc_fit_table_floats(p->fit);
    size_t size;

    if (p->in_panels) {
        const size_t points = MAX_RUN * p->fit->dim;

        w->memory =
            calloc(points + kmeans_book_floats(p->fit->dim, p->fit->count), sizeof *w->memory);
        w->points = w->memory;
        w->book = w->memory == NULL ? NULL : w->memory + points;
        return w->memory != NULL;
    }
    if (!vqc_size_mul(floats, p->slots + 3, &size) || !vqc_size_mul(size, sizeof(float), &size)) {
        return false;
    }
    w->memory = malloc(size);
    w->slots = calloc(p->slots + 1, sizeof *w->slots);
    w->slot_keys = calloc(p->slots + 1, sizeof *w->slot_keys);
    if (w->memory == NULL || w->slots == NULL || w->slot_keys == NULL) {
        return false;
    }
    vqc_fit_table_set(&w->shared, p->fit, w->memory);
    vqc_fit_table_set(&w->own, p->fit, w->memory + floats);
    w->scores = w->memory + 2 * floats;
    for (size_t i = 0; i < p->slots; i++) {
        vqc_fit_table_set(&w->slots[i], p->fit, w->memory + (3 + i) * floats);
    }
    return true;
}

vqc_status vqc_fit_pass(vqc_fit *fit, vqc_feedback_mode mode, vqc_error *error)
{
    passing p = {.fit = fit,
                 .first = mode == VQC_FEEDBACK_FIRST,
                 .in_panels = !fit->shape->down_rows && fit->stages == 1 && fit->mask == NULL};
    vqc_feedback_pass pass = {.mode = mode,
                              .rows = fit->rows,
                              .cols = fit->cols,
                              .metric = fit->has_metric ? &fit->metric : NULL,
                              .error_matrix = fit->errors,
                              .step_first = fit->step_first,
                              .steps = fit->step_count,
                              .align = fit->shape->down_rows ? fit->dim : 1,
                              .threads = fit->threads,
                              .visit = visit,
                              .context = &p};
    size_t threads = vqc_feedback_threads(&pass);
    vqc_status status = VQC_OK;

    p.slots = fit->shape->down_rows ? (VQC_FEEDBACK_TILE + fit->dim) / fit->dim + 1 : 0;
    p.work = calloc(threads, sizeof *p.work);
    if (p.work == NULL) {
        return vqc_fail_memory(error, threads * sizeof *p.work);
    }
    for (size_t i = 0; i < threads && status == VQC_OK; i++) {
        if (!set_workspace(&p, &p.work[i])) {
            status = vqc_fail_memory(error, vqc_fit_table_floats(fit) * sizeof(float));
        }
    }
    if (status == VQC_OK) {
        if (p.first) {
            memset(fit->errors, 0, fit->rows * fit->cols * sizeof *fit->errors);
        }
        status = vqc_feedback_run(&pass, error);
    }
    for (size_t i = 0; i < threads; i++) {
        free(p.work[i].memory);
        free(p.work[i].slots);
        free(p.work[i].slot_keys);
    }
    free(p.work);
    vqc_fit_decode(fit);
    return status;
}
