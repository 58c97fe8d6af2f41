/* Who loses how many weights: the zeros of a recipe shared out over the layers. */
#include "core/prune/prune_share.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/prune/prune_internal.h"
#include "core/prune/prune_select.h"
#include "core/vq/allocate.h"

enum {
    SHARE_STEPS = 64 /* shares of a layer that are tried */
};

/* Noise of a layer whose pruning does nothing to the output, and of one that ruins it. */
static const double LEAST_NOISE = 1e-9;
static const double MOST_NOISE = 1e9;

/* Least exponent of s / (1 - s) by which noise grows: more zeros are never better. */
static const double LEAST_SLOPE = 0.5;
static const double MOST_SHARE = 0.999; /* curves are finite up to there */

/* Shares that single layers are measured at lie around this. */
static const double LEAST_PROBE = 0.05;
static const double MOST_PROBE = 0.9;

/* ---- curves ---- */

static double odds(double share)
{
    return log(share / (1.0 - share));
}

void vqc_prune_curve_add(vqc_prune_curve *curve, double share, double noise)
{
    size_t n = curve->count;

    noise = noise > LEAST_NOISE ? noise : LEAST_NOISE;
    if (n > 0) {
        double least =
            curve->noises[n - 1] * exp(LEAST_SLOPE * (odds(share) - odds(curve->shares[n - 1])));
        noise = noise > least ? noise : least;
    }
    curve->shares[n] = share;
    curve->noises[n] = noise;
    curve->count = n + 1;
}

double vqc_prune_curve_noise(const vqc_prune_curve *curve, double share)
{
    size_t k = 0;
    double at, slope;

    if (share <= 0.0) {
        return 0.0;
    }
    at = odds(share < MOST_SHARE ? share : MOST_SHARE);
    while (k + 2 < curve->count && at > odds(curve->shares[k + 1])) {
        k++;
    }
    slope = log(curve->noises[k + 1] / curve->noises[k]) /
            (odds(curve->shares[k + 1]) - odds(curve->shares[k]));
    return curve->noises[k] * exp(slope * (at - odds(curve->shares[k])));
}

/* Takes `left` of what the layers lose back: from those that lose most. */
static void give_back(size_t *lost, size_t layers, size_t left)
{
    while (left > 0) {
        size_t most = 0;
        size_t taken;

        for (size_t i = 1; i < layers; i++) {
            most = lost[i] > lost[most] ? i : most;
        }
        taken = lost[most] < left ? lost[most] : left;
        lost[most] -= taken;
        left -= taken;
    }
}

vqc_status vqc_prune_share_by_curves(const vqc_prune_curve *curves, const size_t *counts,
                                     size_t layers, size_t gone, size_t *lost, vqc_error *error)
{
    enum { OPTIONS = SHARE_STEPS + 1 };
    vqc_choice *options = calloc(layers * OPTIONS + 1, sizeof *options);
    vqc_choices *choices = calloc(layers + 1, sizeof *choices);
    size_t *picked = calloc(layers + 1, sizeof *picked);
    size_t total = 0, kept = 0;
    double noise;
    vqc_status status = options == NULL || choices == NULL || picked == NULL
                            ? vqc_fail_memory(error, layers * OPTIONS * sizeof *options)
                            : VQC_OK;

    for (size_t i = 0; i < layers && status == VQC_OK; i++) {
        vqc_choice *o = options + i * OPTIONS;
        for (size_t k = 0; k < OPTIONS; k++) {
            double share = (double)k / SHARE_STEPS;
            o[k] = (vqc_choice){counts[i] - vqc_prune_count(share, counts[i]),
                                counts[i] > 0 ? vqc_prune_curve_noise(&curves[i], share) : 0.0};
        }
        choices[i] = (vqc_choices){o, OPTIONS};
        total += counts[i];
    }
    gone = gone < total ? gone : total;
    if (status == VQC_OK) { /* kept weights are the bytes to be spent */
        status = vqc_allocate(choices, layers, total - gone, 0.0, picked, &kept, &noise, error);
    }
    for (size_t i = 0; i < layers && status == VQC_OK; i++) {
        lost[i] = counts[i] - options[i * OPTIONS + picked[i]].size_bytes;
    }
    if (status == VQC_OK) {
        give_back(lost, layers, total - gone - kept);
    }
    free(options);
    free(choices);
    free(picked);
    return status;
}

/* ---- by the weights alone ---- */

/* |w| / |W|: the root of what a weight's absence costs relative to all of its layer. */
static float *relative_scores(const vqc_prune_part *p, vqc_arena *arena)
{
    size_t n = p->layer->elements;
    float *scores = vqc_arena_alloc(arena, n * sizeof *scores + 1);
    double sum = 0.0;
    double factor;

    for (size_t i = 0; i < n; i++) {
        sum += (double)p->weights[i] * (double)p->weights[i];
    }
    factor = sum > 0.0 && isfinite(sum) ? 1.0 / sqrt(sum) : 0.0;
    for (size_t i = 0; i < n && scores != NULL; i++) {
        double score = fabs((double)p->weights[i]) * factor;
        scores[i] = isfinite(score) ? (float)score : 0.0f;
    }
    return scores;
}

/* lost [r->count] of `gone` of the weights of the open layers; counts are 0 of the others. */
static vqc_status share_by_weights(vqc_prune_parts *r, const size_t *counts, size_t gone,
                                   size_t *lost)
{
    vqc_arena *arena = vqc_arena_create();
    const float **scores = vqc_arena_calloc(arena, r->count + 1, sizeof *scores);
    vqc_prune_cut cut;
    vqc_status status = scores == NULL ? vqc_fail_memory(r->error, 0) : VQC_OK;

    for (size_t i = 0; i < r->count && status == VQC_OK; i++) {
        if (counts[i] > 0) {
            scores[i] = relative_scores(&r->parts[i], arena);
            status = scores[i] == NULL ? vqc_fail_memory(r->error, counts[i]) : VQC_OK;
        }
    }
    if (status == VQC_OK) {
        cut = vqc_prune_cut_find(scores, counts, r->count, gone);
    }
    for (size_t i = 0; i < r->count && status == VQC_OK; i++) {
        uint8_t *mask = vqc_arena_calloc(arena, counts[i] + 1, 1);
        if (mask == NULL) {
            status = vqc_fail_memory(r->error, counts[i]);
            break;
        }
        vqc_prune_cut_apply(&cut, scores[i], counts[i], mask);
        for (size_t k = 0; k < counts[i]; k++) {
            lost[i] += mask[k] == 0 ? 1 : 0;
        }
    }
    vqc_arena_destroy(&arena);
    return status;
}

/* ---- by what the output shows ---- */

static double noise_of(const vqc_score *score)
{
    double noise = vqc_score_noise(score);

    return noise > LEAST_NOISE ? noise < MOST_NOISE ? noise : MOST_NOISE : LEAST_NOISE;
}

/* Prunes every open layer by itself to the share, and measures what that does to the output. */
static vqc_status probe(vqc_prune_parts *r, double share, vqc_downstream *behind, double *noises)
{
    vqc_status status;

    for (size_t i = 0; i < r->count; i++) {
        r->parts[i].sparsity = share;
    }
    r->probing = true;
    status = vqc_prune_walk(r);
    r->probing = false;
    for (size_t i = 0; i < r->count && status == VQC_OK; i++) {
        const vqc_prune_part *p = &r->parts[i];
        vqc_score score;

        noises[i] = LEAST_NOISE;
        if (p->pruned != NULL) { /* where no input was seen, the layer's place is not known */
            status = vqc_prune_measure(r, i, p->was_seen ? behind : NULL, VQC_DOWNSTREAM_SAMPLES,
                                       &score);
            noises[i] = status == VQC_OK ? noise_of(&score) : 0.0;
        }
        if (r->stage->progress != NULL) {
            r->stage->progress(r->stage->progress_context, "allocate", i + 1, r->count);
        }
    }
    return status;
}

/* Measures every open layer at three shares around the one that is wanted of all, by the better of
 * the two ways to compare its outputs. */
static vqc_status measure_curves(vqc_prune_parts *r, double sparsity)
{
    double middle = sparsity < LEAST_PROBE  ? LEAST_PROBE
                    : sparsity > MOST_PROBE ? MOST_PROBE
                                            : sparsity;
    size_t n = r->count;
    double *noises = calloc(4 * n + 1, sizeof *noises);
    double *half = noises, *whole = noises + n, *more = noises + 2 * n, *other = noises + 3 * n;
    vqc_downstream *behind = NULL;
    vqc_status status = noises == NULL
                            ? vqc_fail_memory(r->error, 4 * n * sizeof *noises)
                            : vqc_downstream_create(r->graph, r->layers, n, r->samples, r->measure,
                                                    VQC_DOWNSTREAM_SAMPLES, VQC_DOWNSTREAM_BYTES,
                                                    r->stage->threads, &behind, r->error);

    if (status == VQC_OK) {
        status = probe(r, middle, behind, other);
    }
    for (size_t i = 0; i < n; i++) {
        r->parts[i].equal_shares = true;
    }
    if (status == VQC_OK) {
        status = probe(r, middle, behind, whole);
    }
    for (size_t i = 0; i < n && status == VQC_OK; i++) {
        r->parts[i].equal_shares = whole[i] < other[i];
        whole[i] = whole[i] < other[i] ? whole[i] : other[i];
    }
    if (status == VQC_OK) {
        status = probe(r, 0.5 * middle, behind, half);
    }
    if (status == VQC_OK) {
        status = probe(r, 0.5 * (1.0 + middle), behind, more);
    }
    for (size_t i = 0; i < n && status == VQC_OK; i++) {
        vqc_prune_curve *curve = &r->parts[i].curve;

        vqc_prune_curve_add(curve, 0.5 * middle, half[i]);
        vqc_prune_curve_add(curve, middle, whole[i]);
        vqc_prune_curve_add(curve, 0.5 * (1.0 + middle), more[i]);
    }
    r->is_measured = status == VQC_OK;
    free(noises);
    vqc_downstream_destroy(&behind);
    return status;
}

static vqc_status share_by_output(vqc_prune_parts *r, const size_t *counts, size_t gone,
                                  double sparsity, size_t *lost)
{
    vqc_prune_curve *curves = calloc(r->count + 1, sizeof *curves);
    vqc_status status =
        curves == NULL ? vqc_fail_memory(r->error, r->count * sizeof *curves) : VQC_OK;

    if (status == VQC_OK && !r->is_measured) {
        status = measure_curves(r, sparsity);
    }
    for (size_t i = 0; i < r->count && status == VQC_OK; i++) {
        curves[i] = r->parts[i].curve;
    }
    if (status == VQC_OK) {
        status = vqc_prune_share_by_curves(curves, counts, r->count, gone, lost, r->error);
    }
    free(curves);
    return status;
}

/* ---- the whole ---- */

static vqc_status share_together(vqc_prune_parts *r, double sparsity)
{
    size_t *counts = calloc(r->count + 1, sizeof *counts);
    size_t *lost = calloc(r->count + 1, sizeof *lost);
    size_t total = 0, gone;
    vqc_status status = counts == NULL || lost == NULL
                            ? vqc_fail_memory(r->error, r->count * sizeof *counts)
                            : VQC_OK;

    for (size_t i = 0; i < r->count && status == VQC_OK; i++) {
        counts[i] = isnan(r->parts[i].asked) ? r->parts[i].layer->elements : 0;
        total += counts[i];
    }
    gone = vqc_prune_count(sparsity, total);
    if (status == VQC_OK) {
        status = r->stage->recipe->prune.scope == VQC_PRUNE_SCOPE_OUTPUT
                     ? share_by_output(r, counts, gone, sparsity, lost)
                     : share_by_weights(r, counts, gone, lost);
    }
    for (size_t i = 0; i < r->count && status == VQC_OK; i++) {
        r->parts[i].sparsity =
            counts[i] > 0 ? (double)lost[i] / (double)counts[i] : r->parts[i].asked;
    }
    free(counts);
    free(lost);
    return status;
}

vqc_status vqc_prune_share_out(vqc_prune_parts *r, double sparsity)
{
    vqc_prune_scope scope = r->stage->recipe->prune.scope;
    size_t open = 0;

    for (size_t i = 0; i < r->count; i++) {
        r->parts[i].sparsity = isnan(r->parts[i].asked) ? sparsity : r->parts[i].asked;
        open += isnan(r->parts[i].asked) ? 1 : 0;
    }
    if (open == 0 || r->pattern.kind == VQC_PRUNE_N_OF_M || scope == VQC_PRUNE_SCOPE_LAYER ||
        (scope == VQC_PRUNE_SCOPE_OUTPUT && (r->measure == NULL || r->takes_equal))) {
        return VQC_OK;
    }
    return share_together(r, sparsity);
}
