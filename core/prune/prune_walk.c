/* Pruning layer by layer, for what each layer sees. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/prune/prune_gain.h"
#include "core/prune/prune_internal.h"
#include "core/tensor.h"
#include "core/vq/sequence.h"
#include "core/vq/vq_feedback.h"
#include "core/vq/vq_fit.h"

enum { STEPS = 10, MAX_SAMPLES = 1024 };

/* Bytes of what is kept of all samples, at most: 4 MiB per picture in mobilenetv2. */
static const size_t MEMORY_LIMIT = (size_t)4 << 30;
static const double DAMPING = 0.1; /* in means of the diagonal */
/* Moments are shrunk by LEAST_SHRINKAGE + SHRINKAGE * columns / input vectors. Found on the zoo:
 * cifar_resnet_4b, 96 samples, half of the weights: 18.8 -> 21.0 dB at the output. */
static const double LEAST_SHRINKAGE = 0.2;
static const double SHRINKAGE = 0.2;
static const double MOST_SHRINKAGE = 0.9;
/* Power that every output counts for at least, in means over the outputs of its layer. */
static const double LEAST_POWER = 0.01;

/* In the order of the matrix' columns, and shrunk: second is a copy of the layer's own then. */
static vqc_status prepare_moments(const vqc_prune_part *p, const vqc_moments *from,
                                  vqc_arena *arena, vqc_moments *out, vqc_error *error)
{
    double share = LEAST_SHRINKAGE + SHRINKAGE * (double)from->cols / (double)(from->count + 1);
    float keep = (float)(1.0 - (share < MOST_SHRINKAGE ? share : MOST_SHRINKAGE));
    vqc_status status = vqc_moments_order(from, &p->layout, p->layer, arena, out, error);

    return status == VQC_OK ? vqc_moments_shrink(out, keep, arena, error) : status;
}

/* Where no bias can keep the mean of an output, the mean counts as well: E[y y^T]. */
static void add_means(vqc_moments *m)
{
    size_t n = m->cols;

    for (size_t g = 0; g < m->groups && m->second != NULL; g++) {
        const double *mean = m->mean_y + g * n;
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < n; j++) {
                float *at = &m->second[(g * n + i) * n + j];
                *at = (float)((double)*at + mean[i] * mean[j]);
            }
        }
    }
}

static bool has_bias(const vqc_prune_part *p)
{
    return p->bias.tensor != NULL || p->bias.can_add;
}

/* b + W E[x] - W' E[y]: every output keeps its mean. */
static vqc_status correct_bias(vqc_prune_parts *r, vqc_prune_part *p, const vqc_moments *m,
                               const float *before, const float *after, vqc_arena *arena)
{
    size_t rows = p->layout.rows;
    double *gain;

    if (r->stage->recipe->prune.compensate == VQC_PRUNE_COMPENSATE_OFF) {
        return VQC_OK;
    }
    gain = vqc_arena_calloc(arena, rows, sizeof *gain);
    if (gain == NULL) {
        return vqc_fail_memory(r->error, rows * sizeof *gain);
    }
    vqc_moments_gain(m, before, after, rows, gain);
    return vqc_bias_site_values(&p->bias, gain, rows, r->attempt, &p->bias_values, r->error);
}

/* Fits request and input to what is known of the layer. */
static vqc_prune_request request_of(const vqc_prune_parts *r, const vqc_prune_part *p,
                                    const vqc_moments *m)
{
    const vqc_prune_options *options = &r->stage->recipe->prune;
    bool has_second = m != NULL && m->second != NULL;
    vqc_prune_request request = {
        .pattern = r->pattern,
        .score = options->score,
        .sparsity = p->sparsity,
        .compensate = has_second && options->compensate == VQC_PRUNE_COMPENSATE_AUTO,
        .steps = STEPS,
        .damping = DAMPING,
        .threads = r->threads,
    };

    if (request.score == VQC_PRUNE_SCORE_AUTO || request.score == VQC_PRUNE_SCORE_OBS) {
        request.score = has_second && request.compensate ? VQC_PRUNE_SCORE_OBS
                        : m != NULL                      ? VQC_PRUNE_SCORE_WANDA
                                                         : VQC_PRUNE_SCORE_MAGNITUDE;
        if (options->score == VQC_PRUNE_SCORE_OBS && has_second) {
            request.score = VQC_PRUNE_SCORE_OBS;
        }
    }
    if (m == NULL) {
        request.score = VQC_PRUNE_SCORE_MAGNITUDE;
    }
    /* the paper compares within an output's weights */
    request.per_row = request.score == VQC_PRUNE_SCORE_WANDA;
    return request;
}

/*
 * Factors [rows] of scores, one over the standard deviation of each output: what costs the same
 * share of an output's power is missed alike. A layer whose outputs are scaled behind it (a
 * depthwise convolution, a normalization) wants that, one whose outputs are added to others does
 * not. *out NULL when all outputs are constant.
 */
static vqc_status weigh_outputs(const vqc_prune_parts *r, const vqc_prune_part *p,
                                const vqc_moments *m, const float *matrix, vqc_arena *arena,
                                const float **out)
{
    size_t rows = p->layout.rows;
    float *factors = vqc_arena_calloc(arena, rows, sizeof *factors);
    double *power = vqc_arena_calloc(arena, rows, sizeof *power);
    float *product = vqc_arena_calloc(arena, p->layer->elements, sizeof *product);
    double mean = 0.0;
    vqc_status status;

    *out = NULL;
    if (factors == NULL || power == NULL || product == NULL) {
        return vqc_fail_memory(r->error, p->layer->elements * sizeof *product);
    }
    status = vqc_prune_powers(m, NULL, matrix, rows, p->layout.cols, r->threads, product, power,
                              r->error);
    for (size_t i = 0; i < rows && status == VQC_OK; i++) {
        power[i] = power[i] > 0.0 ? power[i] : 0.0;
        mean += power[i] / (double)rows;
    }
    for (size_t i = 0; i < rows && status == VQC_OK && mean > 0.0 && isfinite(mean); i++) {
        factors[i] = (float)sqrt(mean / (power[i] + LEAST_POWER * mean));
        *out = factors;
    }
    return status;
}

/* moments NULL: by the weights alone. */
static vqc_status prune_part(vqc_prune_parts *r, vqc_prune_part *p, const vqc_moments *moments)
{
    const vqc_vq_layout *l = &p->layout;
    size_t n = p->layer->elements;
    vqc_arena *scratch = vqc_arena_create();
    float *before = vqc_arena_calloc(scratch, n, sizeof *before);
    float *after = vqc_arena_calloc(scratch, n, sizeof *after);
    uint8_t *mask = vqc_arena_calloc(scratch, n, 1);
    vqc_prune_input input = {.groups = 1};
    vqc_moments m = {0};
    vqc_prune_request request;
    vqc_status status = VQC_OK;

    if (before == NULL || after == NULL || mask == NULL) {
        status = vqc_fail_memory(r->error, n * sizeof *before);
        goto done;
    }
    vqc_vq_layout_take(l, p->layer, p->weights, before);
    memcpy(after, before, n * sizeof *after);
    if (moments != NULL) {
        status = prepare_moments(p, moments, scratch, &m, r->error);
        if (status != VQC_OK) {
            goto done;
        }
        input = (vqc_prune_input){moments->groups, m.second, m.power};
    }
    request = request_of(r, p, moments != NULL ? &m : NULL);
    if (request.compensate && m.cross != NULL) { /* make up for what is off already */
        status = vqc_vq_adjust(before, l->rows, l->cols, moments->groups, m.second, m.cross,
                               DAMPING, r->threads, after, r->error);
    }
    if (moments != NULL && !(has_bias(p) && request.compensate)) {
        add_means(&m);
    }
    if (status == VQC_OK && p->equal_shares && !r->takes_equal && m.second != NULL) {
        status = weigh_outputs(r, p, &m, before, scratch, &request.row_factors);
    }
    if (status == VQC_OK) {
        status = vqc_prune_matrix(&request, &input, l->rows, l->cols, after, mask, NULL, r->error);
    }
    if (status == VQC_ERR_MODEL) { /* NaN or infinite: it stays, and coding it says so */
        status = VQC_OK;
        goto done;
    }
    if (status == VQC_OK && m.second != NULL && request.compensate) {
        status =
            vqc_prune_give_back(r->gain, &m, before, l->rows, l->cols, r->threads, after, r->error);
    }
    if (status == VQC_OK && moments != NULL) {
        p->was_seen = true;
        status = correct_bias(r, p, &m, before, after, scratch);
    }
    if (status == VQC_OK) {
        p->pruned = vqc_arena_calloc(r->attempt, n, sizeof *p->pruned);
        if (p->pruned == NULL) {
            status = vqc_fail_memory(r->error, n * sizeof *p->pruned);
        } else {
            vqc_vq_layout_put(l, p->layer, after, p->pruned);
        }
    }
done:
    vqc_arena_destroy(&scratch);
    return status;
}

static void report_progress(const vqc_prune_parts *r, size_t done)
{
    if (r->stage->progress != NULL) {
        r->stage->progress(r->stage->progress_context, "prune", done, r->count);
    }
}

static vqc_status walk_seen(vqc_prune_parts *r)
{
    vqc_sequence_options options = {
        .max_samples = MAX_SAMPLES,
        .threads = r->stage->threads,
        .memory_limit_bytes = MEMORY_LIMIT,
    };
    vqc_sequence *sequence = NULL;
    vqc_sequence_batch batch;
    size_t done = 0;
    vqc_status status = vqc_sequence_create(r->graph, r->layers, r->count, r->samples, &options,
                                            &sequence, r->error);

    for (bool more = true; status == VQC_OK && more;) {
        status = vqc_sequence_next(sequence, &batch, r->error);
        more = status == VQC_OK && batch.count > 0;
        for (size_t i = 0; status == VQC_OK && i < batch.count; i++) {
            vqc_prune_part *p = &r->parts[batch.items[i].layer];
            const vqc_moments *m = p->layout.has_moments ? batch.items[i].moments : NULL;
            if (r->probing && !isnan(p->asked)) {
                continue; /* not to be shared with */
            }
            status = prune_part(r, p, m);
            if (status == VQC_OK && p->pruned != NULL && !r->probing) {
                status = vqc_sequence_commit(sequence, batch.items[i].layer, p->pruned,
                                             p->bias_values, r->error);
            }
            report_progress(r, ++done);
        }
    }
    r->used_samples = sequence == NULL ? 0 : vqc_sequence_samples(sequence);
    vqc_sequence_destroy(&sequence);
    return status;
}

vqc_status vqc_prune_walk(vqc_prune_parts *r)
{
    vqc_status status = VQC_OK;

    r->is_scored = false;
    vqc_arena_destroy(&r->attempt);
    r->attempt = vqc_arena_create();
    if (r->attempt == NULL) {
        return vqc_fail_memory(r->error, 0);
    }
    for (size_t i = 0; i < r->count; i++) {
        r->parts[i].pruned = r->parts[i].bias_values = NULL;
        r->parts[i].was_seen = false;
    }
    if (r->samples != NULL) {
        return walk_seen(r);
    }
    for (size_t i = 0; i < r->count && status == VQC_OK; i++) {
        status = prune_part(r, &r->parts[i], NULL);
        report_progress(r, i + 1);
    }
    return status;
}
