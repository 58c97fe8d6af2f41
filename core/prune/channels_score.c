/* What channels are worth to the layers that read them, from the inputs of these layers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/element.h"
#include "core/exec/exec.h"
#include "core/exec/gemm.h"
#include "core/exec/program.h"
#include "core/prune/channels_set.h"
#include "core/vq/cholesky.h"

/* Where element (row, group of the convolution, column) of a consumer's weight lies. */
typedef struct weight_view {
    size_t rows, columns, kernel; /* of one group */
    size_t row_step, column_step;
} weight_view;

static vqc_status load_weight(const vqc_trace *trace, const vqc_trace_consumer *consumer,
                              float **out, weight_view *view, vqc_error *error)
{
    vqc_buffer *buffer = NULL;
    vqc_chunk chunk;
    size_t outer = 1;
    size_t between = 1;
    vqc_status status = vqc_exec_constant(trace->graph, trace->values[consumer->weight].value, NULL,
                                          &buffer, error);

    *out = NULL;
    if (status != VQC_OK) {
        return status;
    }
    *out = malloc((buffer->elements + 1) * sizeof **out);
    if (*out == NULL) {
        vqc_buffer_destroy(&buffer);
        return vqc_fail_memory(error, 0);
    }
    for (size_t at = 0; at < buffer->elements; at += VQC_EXEC_CHUNK) {
        size_t n = buffer->elements - at < VQC_EXEC_CHUNK ? buffer->elements - at : VQC_EXEC_CHUNK;
        vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, n, &chunk);
        vqc_element_convert(&chunk, vqc_class_of(buffer->dtype), VQC_CLASS_F64, n);
        for (size_t i = 0; i < n; i++) {
            (*out)[at + i] = (float)chunk.f64[i];
        }
    }
    /* everything before the column axis counts as rows, everything behind as kernel positions */
    for (size_t a = 0; a < buffer->rank; a++) {
        if (a < (size_t)consumer->axis) {
            outer *= (size_t)buffer->dims[a];
        } else if (a > (size_t)consumer->axis) {
            between *= (size_t)buffer->dims[a];
        }
    }
    view->columns = (size_t)buffer->dims[consumer->axis];
    view->rows = outer / consumer->groups;
    view->kernel = between;
    view->column_step = between;
    view->row_step = between * view->columns;
    vqc_buffer_destroy(&buffer);
    return VQC_OK;
}

vqc_status vqc_channel_gram(const vqc_trace *trace, const vqc_trace_consumer *consumer,
                            bool diagonal, double *gram, vqc_error *error)
{
    weight_view v;
    float *w;
    size_t n = consumer->labels->count;
    vqc_status status = load_weight(trace, consumer, &w, &v, error);

    if (status != VQC_OK) {
        return status;
    }
    if (v.columns * consumer->groups != n) {
        free(w);
        return vqc_fail(error, VQC_ERR_INTERNAL, "a weight does not fit its input");
    }
    for (size_t g = 0; g < consumer->groups; g++) {
        for (size_t r = 0; r < v.rows; r++) {
            const float *row = w + (g * v.rows + r) * v.row_step;
            for (size_t k = 0; k < v.kernel; k++) {
                for (size_t i = 0; i < v.columns; i++) {
                    double wi = (double)row[i * v.column_step + k];
                    size_t at = g * v.columns + i;
                    if (diagonal) {
                        gram[at] += wi * wi;
                        continue;
                    }
                    for (size_t j = 0; j < v.columns; j++) {
                        gram[at * n + g * v.columns + j] += wi * (double)row[j * v.column_step + k];
                    }
                }
            }
        }
    }
    free(w);
    return VQC_OK;
}

/* ---- what the readers see ---- */

enum {
    MOST_PAIRS = 1024,    /* channels whose covariances are kept; of more only variances */
    MOST_POSITIONS = 192, /* of one sample, evenly spread */
    MOST_SAMPLES = 64
};

/* Added to the variances before inversion, of their mean: what covariances of few samples are good
 * for. */
#define SCORE_DAMPING 1e-3
/* A variance below this part of the squared mean is rounding: products are added up in float32. */
#define ROUNDING 1e-6

/* The input of one or more consumers, along its channel axis. */
typedef struct reader {
    size_t value; /* in trace->values */
    int axis;
    const vqc_trace_labels *labels;
    size_t n;
    bool full;      /* second is [n, n], else [n] */
    double *sum;    /* [n] */
    double *second; /* sums of products, then covariances */
    size_t count;   /* positions */
    double *gram;   /* [n, n] or [n]: of all consumers, each divided by its total */
    float *inverse; /* [n, n] of the covariance; NULL: not full */
} reader;

typedef struct seeing {
    vqc_channel_set *set;
    reader *readers;
    size_t reader_count;
    float *rows; /* [positions, n] of one buffer */
    size_t row_capacity;
} seeing;

static bool can_lose(const vqc_channel_set *set, const vqc_trace_labels *labels)
{
    for (size_t i = 0; i < labels->count; i++) {
        if (set->group_of[vqc_trace_find(set->trace, labels->atoms[i])] != SIZE_MAX) {
            return true;
        }
    }
    return false;
}

static vqc_status find_readers(seeing *s, bool pairs, vqc_error *error)
{
    const vqc_trace *trace = s->set->trace;

    s->readers = vqc_arena_calloc(s->set->arena, trace->consumer_count + 1, sizeof *s->readers);
    if (s->readers == NULL) {
        return vqc_fail_memory(error, trace->consumer_count * sizeof *s->readers);
    }
    for (size_t k = 0; k < trace->consumer_count; k++) {
        const vqc_trace_consumer *consumer = &trace->consumers[k];
        reader *r = s->readers;
        while (r < s->readers + s->reader_count &&
               (r->value != consumer->input || r->axis != consumer->input_axis)) {
            r++;
        }
        if (r < s->readers + s->reader_count || !can_lose(s->set, consumer->labels)) {
            continue;
        }
        s->reader_count++;
        r->value = consumer->input;
        r->axis = consumer->input_axis;
        r->labels = consumer->labels;
        r->n = consumer->labels->count;
        r->full = pairs && r->n <= MOST_PAIRS;
        r->sum = vqc_arena_calloc(s->set->arena, r->n, sizeof *r->sum);
        r->second = vqc_arena_calloc(s->set->arena, r->full ? r->n * r->n : r->n, sizeof(double));
        r->gram = vqc_arena_calloc(s->set->arena, r->full ? r->n * r->n : r->n, sizeof(double));
        if (r->sum == NULL || r->second == NULL || r->gram == NULL) {
            return vqc_fail_memory(error, r->n * r->n * sizeof(double));
        }
    }
    return VQC_OK;
}

/* product = X^T X of X [count, n]. */
static vqc_status add_pairs(seeing *s, reader *r, size_t count, vqc_error *error)
{
    vqc_gemm g = {.m = r->n,
                  .n = r->n,
                  .k = count,
                  .c_stride = r->n,
                  .threads = 1,
                  .left = vqc_gemm_left_columns(r->n, r->n),
                  .right = vqc_gemm_right_rows(r->n)};
    vqc_gemm_item item = {.a = s->rows, .b = s->rows};
    float *product = malloc((r->n * r->n + 1) * sizeof *product);
    float *scratch;

    item.c = product;
    g.items = &item;
    g.item_count = 1;
    scratch = malloc(vqc_gemm_scratch_bytes(&g) + 64);
    if (scratch == NULL || product == NULL) {
        free(scratch);
        free(product);
        return vqc_fail_memory(error, r->n * r->n * sizeof *product);
    }
    vqc_gemm_run(&g, scratch);
    for (size_t i = 0; i < r->n * r->n; i++) {
        r->second[i] += (double)product[i];
    }
    free(scratch);
    free(product);
    return VQC_OK;
}

static float element_of(const vqc_buffer *buffer, size_t at)
{
    vqc_chunk chunk;

    if (buffer->dtype == VQC_DTYPE_FLOAT) {
        float v;
        memcpy(&v, buffer->data + at * sizeof v, sizeof v);
        return v;
    }
    vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, 1, &chunk);
    vqc_element_convert(&chunk, vqc_class_of(buffer->dtype), VQC_CLASS_F64, 1);
    return (float)chunk.f64[0];
}

static vqc_status see_input(void *context, size_t index, const vqc_buffer *buffer, vqc_error *error)
{
    seeing *s = context;
    reader *r = &s->readers[index];
    size_t inner = 1;
    size_t positions;
    size_t step;
    size_t count = 0;

    if ((int)buffer->rank <= r->axis || (size_t)buffer->dims[r->axis] != r->n) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "\"%.200s\": got another number of channels than before",
                        s->set->trace->values[r->value].value->name);
    }
    for (size_t a = (size_t)r->axis + 1; a < buffer->rank; a++) {
        inner *= (size_t)buffer->dims[a];
    }
    positions = buffer->elements / r->n;
    step = (positions + MOST_POSITIONS - 1) / MOST_POSITIONS;
    if (MOST_POSITIONS * r->n > s->row_capacity) {
        free(s->rows);
        s->row_capacity = MOST_POSITIONS * r->n;
        s->rows = malloc(s->row_capacity * sizeof *s->rows);
        if (s->rows == NULL) {
            s->row_capacity = 0;
            return vqc_fail_memory(error, MOST_POSITIONS * r->n * sizeof *s->rows);
        }
    }
    for (size_t p = 0; p < positions; p += step, count++) {
        size_t base = p / inner * r->n * inner + p % inner;
        for (size_t i = 0; i < r->n; i++) {
            float v = element_of(buffer, base + i * inner);
            v = isfinite(v) ? v : 0.0f;
            s->rows[count * r->n + i] = v;
            r->sum[i] += (double)v;
            if (!r->full) {
                r->second[i] += (double)v * (double)v;
            }
        }
    }
    r->count += count;
    return r->full && count > 0 ? add_pairs(s, r, count, error) : VQC_OK;
}

static vqc_status run_all(seeing *s, vqc_samples *samples, size_t limit, int threads,
                          vqc_error *error)
{
    const vqc_value **taps = calloc(s->reader_count + 1, sizeof *taps);
    vqc_program_options options = {.taps = taps, .tap_count = s->reader_count};
    const vqc_tap tap = {.seen = see_input, .context = s};
    vqc_program *program = NULL;
    vqc_runner *runner = NULL;
    vqc_buffer **outputs = NULL;
    size_t output_count = 0;
    vqc_status status = taps == NULL ? vqc_fail_memory(error, 0) : VQC_OK;

    for (size_t i = 0; i < s->reader_count && taps != NULL; i++) {
        taps[i] = s->set->trace->values[s->readers[i].value].value;
    }
    if (status == VQC_OK) {
        status = vqc_program_create(s->set->trace->graph, &options, &program, error);
    }
    if (status == VQC_OK) {
        status = vqc_runner_create(program, threads, &runner, error);
    }
    if (status == VQC_OK) {
        (void)vqc_program_outputs(program, &output_count);
        outputs = calloc(output_count + 1, sizeof *outputs);
        status = outputs == NULL ? vqc_fail_memory(error, output_count * sizeof *outputs) : VQC_OK;
    }
    limit = limit == 0 ? MOST_SAMPLES : limit;
    limit = limit > samples->count ? samples->count : limit;
    for (size_t i = 0; i < limit && status == VQC_OK; i++) {
        vqc_sample sample;
        status = samples->read(samples, i * samples->count / limit, 0, &sample, error);
        if (status == VQC_OK) {
            status = vqc_runner_run(runner, sample.inputs, outputs, &tap, error);
            samples->release(samples, 0);
        }
        for (size_t o = 0; o < output_count; o++) {
            vqc_buffer_destroy(&outputs[o]);
        }
    }
    free(outputs);
    vqc_runner_destroy(&runner);
    vqc_program_destroy(&program);
    free(taps);
    return status;
}

/* Sums become covariances. */
static void center(reader *r)
{
    double count = r->count > 0 ? (double)r->count : 1.0;

    for (size_t i = 0; i < r->n; i++) {
        r->sum[i] /= count;
    }
    for (size_t i = 0; i < r->n; i++) {
        if (!r->full) {
            r->second[i] = fmax(r->second[i] / count - r->sum[i] * r->sum[i], 0.0);
        }
        for (size_t j = 0; j < r->n && r->full; j++) {
            r->second[i * r->n + j] = r->second[i * r->n + j] / count - r->sum[i] * r->sum[j];
        }
    }
    /* the same in all positions (of one sample, often): no damping makes what rounding left
     * definite */
    for (size_t i = 0; i < r->n && r->full; i++) {
        if (r->second[i * r->n + i] <= ROUNDING * r->sum[i] * r->sum[i]) {
            for (size_t j = 0; j < r->n; j++) {
                r->second[i * r->n + j] = r->second[j * r->n + i] = 0.0;
            }
        }
    }
}

/* gram += that of each consumer, relative to the variance of what it computes. */
static vqc_status add_grams(seeing *s, reader *r, vqc_error *error)
{
    const vqc_trace *trace = s->set->trace;
    size_t cells = r->full ? r->n * r->n : r->n;
    double *one = malloc((cells + 1) * sizeof *one);
    vqc_status status = one == NULL ? vqc_fail_memory(error, cells * sizeof *one) : VQC_OK;

    for (size_t k = 0; k < trace->consumer_count && status == VQC_OK; k++) {
        const vqc_trace_consumer *consumer = &trace->consumers[k];
        double total = 0.0;
        if (consumer->input != r->value || consumer->input_axis != r->axis) {
            continue;
        }
        memset(one, 0, cells * sizeof *one);
        status = vqc_channel_gram(trace, consumer, !r->full, one, error);
        for (size_t i = 0; i < cells; i++) {
            total += one[i] * r->second[i];
        }
        for (size_t i = 0; i < cells && total > 0.0; i++) {
            r->gram[i] += one[i] / total;
        }
    }
    free(one);
    return status;
}

static vqc_status invert(reader *r, vqc_arena *arena, int threads, vqc_error *error)
{
    size_t n = r->n;
    float *factor = malloc((n * n + 1) * sizeof *factor);
    vqc_status status;

    r->inverse = vqc_arena_calloc(arena, n * n, sizeof *r->inverse);
    if (factor == NULL || r->inverse == NULL) {
        free(factor);
        return vqc_fail_memory(error, n * n * sizeof *factor);
    }
    for (size_t i = 0; i < n * n; i++) {
        factor[i] = (float)r->second[i];
    }
    for (size_t i = 0; i < n; i++) {
        r->inverse[i * n + i] = 1.0f;
    }
    status = vqc_cholesky_upper(factor, n, SCORE_DAMPING, threads, factor, NULL, error);
    if (status == VQC_OK) {
        status = vqc_cholesky_solve(factor, n, r->inverse, n, threads, error);
    }
    free(factor);
    return status;
}

/* ---- ranking ---- */

/* A reader while channels of one group are taken away. */
typedef struct state {
    const reader *of;
    float *inverse; /* [n, n] */
    double *gram;   /* [n, n] */
    bool *gone;     /* [n] */
} state;

/* What losing index i costs when the others take over as well as they can; infinite inverses do not
 * occur: the damped covariance is positive definite. */
static double index_cost(const state *st, size_t i)
{
    const reader *r = st->of;

    if (!r->full) {
        return r->gram[i] * r->second[i];
    }
    return st->gram[i * r->n + i] / fmax((double)st->inverse[i * r->n + i], 1e-30);
}

/* The weights of the others change by what index i leaves to them (Hassibi and Stork, eq. 5):
 * W' = W - w_i p_i^T / p_ii, so gram W'^T W' and the inverse of what is left. */
static void eliminate(state *st, size_t i)
{
    size_t n = st->of->n;
    double pii;
    double gii;
    const float *p;
    float *row;
    double *gi;

    st->gone[i] = true;
    if (!st->of->full) {
        return;
    }
    row = malloc(n * sizeof *row);
    gi = malloc(n * sizeof *gi);
    if (row == NULL || gi == NULL) { /* the ranking is rougher then */
        free(row);
        free(gi);
        return;
    }
    pii = fmax((double)st->inverse[i * n + i], 1e-30);
    gii = st->gram[i * n + i];
    memcpy(row, st->inverse + i * n, n * sizeof *row);
    memcpy(gi, st->gram + i * n, n * sizeof *gi);
    p = row;
    for (size_t a = 0; a < n; a++) {
        double pa = (double)p[a] / pii;
        if (st->gone[a] && a != i) {
            continue;
        }
        for (size_t b = 0; b < n; b++) {
            double pb = (double)p[b] / pii;
            st->gram[a * n + b] += -gi[a] * pb - pa * gi[b] + gii * pa * pb;
            st->inverse[a * n + b] -= (float)(pa * (double)p[b]);
        }
    }
    free(row);
    free(gi);
}

/* All (reader, index) pairs of the group's classes: entries of slot s are [first[s], first[s + 1]).
 */
typedef struct places {
    size_t *first;
    uint32_t *state;
    uint32_t *index;
} places;

static vqc_status find_places(const seeing *s, size_t g, const state *states, size_t state_count,
                              vqc_arena *arena, places *out, vqc_error *error)
{
    const vqc_channel_set *set = s->set;
    size_t count = set->groups[g].count;
    size_t total = 0;

    out->first = vqc_arena_calloc(arena, count + 2, sizeof *out->first);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t k = 0; k < state_count; k++) {
            const vqc_trace_labels *labels = states[k].of->labels;
            for (size_t i = 0; i < labels->count && out->first != NULL; i++) {
                uint32_t root = vqc_trace_find(set->trace, labels->atoms[i]);
                size_t slot;
                if (set->group_of[root] != g) {
                    continue;
                }
                slot = set->slot_of[root];
                if (pass == 0) {
                    out->first[slot + 2]++;
                    total++;
                } else {
                    size_t at = out->first[slot + 1]++;
                    out->state[at] = (uint32_t)k;
                    out->index[at] = (uint32_t)i;
                }
            }
        }
        if (pass == 0) {
            out->state = vqc_arena_calloc(arena, total + 1, sizeof *out->state);
            out->index = vqc_arena_calloc(arena, total + 1, sizeof *out->index);
            if (out->first == NULL || out->state == NULL || out->index == NULL) {
                return vqc_fail_memory(error, total * sizeof *out->state);
            }
            for (size_t k = 2; k < count + 2; k++) {
                out->first[k] += out->first[k - 1];
            }
        }
    }
    return VQC_OK;
}

/* Takes away the cheapest class again and again; group->classes are in slot order before. */
static vqc_status rank_group(vqc_channel_group *group, state *states, const places *at,
                             vqc_arena *arena, vqc_error *error)
{
    uint32_t *order = vqc_arena_calloc(arena, group->count + 1, sizeof *order);
    bool *taken = vqc_arena_calloc(arena, group->count + 1, sizeof *taken);
    double least = 0.0;

    if (order == NULL || taken == NULL) {
        return vqc_fail_memory(error, group->count * sizeof *order);
    }
    for (size_t n = 0; n < group->count; n++) {
        size_t best = SIZE_MAX;
        double best_cost = 0.0;
        for (size_t slot = 0; slot < group->count; slot++) {
            double cost = 0.0;
            for (size_t e = at->first[slot]; e < at->first[slot + 1] && !taken[slot]; e++) {
                cost += index_cost(&states[at->state[e]], at->index[e]);
            }
            if (!taken[slot] && (best == SIZE_MAX || cost < best_cost)) {
                best = slot;
                best_cost = cost;
            }
        }
        taken[best] = true;
        for (size_t e = at->first[best]; e < at->first[best + 1]; e++) {
            eliminate(&states[at->state[e]], at->index[e]);
        }
        least = fmax(least, best_cost);
        order[n] = group->classes[best];
        group->cost[n] = least;
    }
    memcpy(group->classes, order, group->count * sizeof *order);
    return VQC_OK;
}

static vqc_status rank(seeing *s, size_t g, bool pairs, vqc_error *error)
{
    vqc_channel_group *group = &s->set->groups[g];
    vqc_arena *arena = vqc_arena_create();
    state *states =
        arena == NULL ? NULL : vqc_arena_calloc(arena, s->reader_count + 1, sizeof *states);
    double *score =
        states == NULL ? NULL : vqc_arena_calloc(arena, group->count + 1, sizeof *score);
    size_t count = 0;
    places at;
    vqc_status status = score == NULL ? vqc_fail_memory(error, group->count) : VQC_OK;

    for (size_t k = 0; k < s->reader_count && status == VQC_OK; k++) {
        const reader *r = &s->readers[k];
        state *st = &states[count];
        bool own = false;
        for (size_t i = 0; i < r->n && !own; i++) {
            own = s->set->group_of[vqc_trace_find(s->set->trace, r->labels->atoms[i])] == g;
        }
        if (!own) {
            continue;
        }
        count++;
        st->of = r;
        st->gone = vqc_arena_calloc(arena, r->n + 1, sizeof *st->gone);
        if (r->full && pairs) {
            st->inverse = vqc_arena_alloc(arena, r->n * r->n * sizeof *st->inverse);
            st->gram = vqc_arena_alloc(arena, r->n * r->n * sizeof *st->gram);
            if (st->inverse == NULL || st->gram == NULL || st->gone == NULL) {
                status = vqc_fail_memory(error, r->n * r->n * sizeof *st->gram);
                continue;
            }
            memcpy(st->inverse, r->inverse, r->n * r->n * sizeof *st->inverse);
            memcpy(st->gram, r->gram, r->n * r->n * sizeof *st->gram);
        }
    }
    if (status == VQC_OK) {
        status = find_places(s, g, states, count, arena, &at, error);
    }
    if (status == VQC_OK && pairs) {
        status = rank_group(group, states, &at, arena, error);
    } else if (status == VQC_OK) {
        for (size_t slot = 0; slot < group->count; slot++) {
            for (size_t e = at.first[slot]; e < at.first[slot + 1]; e++) {
                score[slot] += index_cost(&states[at.state[e]], at.index[e]);
            }
        }
        status = vqc_channel_group_sort(group, score, error);
    }
    vqc_arena_destroy(&arena);
    return status;
}

vqc_status vqc_channel_score_samples(vqc_channel_set *set, vqc_samples *samples, size_t limit,
                                     vqc_channel_score score, int threads, vqc_error *error)
{
    bool pairs = score != VQC_CHANNEL_SCORE_ACTIVATION;
    seeing s = {.set = set};
    vqc_status status = find_readers(&s, pairs, error);

    if (status == VQC_OK) {
        status = run_all(&s, samples, limit, threads, error);
    }
    for (size_t k = 0; k < s.reader_count && status == VQC_OK; k++) {
        center(&s.readers[k]);
        status = add_grams(&s, &s.readers[k], error);
        if (status == VQC_OK && s.readers[k].full) {
            status = invert(&s.readers[k], set->arena, threads > 0 ? threads : 1, error);
        }
    }
    for (size_t g = 0; g < set->group_count && status == VQC_OK; g++) {
        if (set->groups[g].count > 0) {
            status = rank(&s, g, pairs, error);
        }
    }
    free(s.rows);
    return status;
}
