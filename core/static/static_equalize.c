#include "core/static/static_equalize.h"

#include <math.h>

#include "core/memory.h"
#include "core/static/equalize.h"
#include "core/static/static_fit.h"

static const double MARGIN_DB = 1.0;    /* that an attempt must gain to be kept */
static const double ENOUGH_DB = 20.0;   /* above, auto leaves good alone: what it gains is noise */
static const double SMOOTH_ALPHA = 0.5; /* the paper's */

typedef struct equalizer {
    vqc_static_job *job;
    vqc_static_plan *plan;
    vqc_static_search *search;
    const vqc_stats *stats; /* that the plan stands on */
    vqc_stats **own;        /* the same when they were made here */
    vqc_score score;
    vqc_error *error;
} equalizer;

/* Codes of a layer while others are tried. */
typedef struct saved_code {
    vqc_code *code;
    const float *decoded;
} saved_code;

/* The better of whole chains and linear operators only, as the recipe allows. `enough`: a score
 * that needs no better one. */
static vqc_status score_plan(equalizer *e, double enough, vqc_score *out)
{
    vqc_static_operators asked = e->job->recipe->fixed.operators;
    vqc_score chains;
    vqc_status status = vqc_static_search_mode(
        e->search, asked == VQC_STATIC_OPERATORS_CHAINS ? VQC_STATIC_CHAINS : VQC_STATIC_LINEAR,
        out, e->error);

    if (status != VQC_OK || asked != VQC_STATIC_OPERATORS_AUTO || out->sqnr_db >= enough) {
        return status;
    }
    status = vqc_static_search_mode(e->search, VQC_STATIC_CHAINS, &chains, e->error);
    if (status == VQC_OK &&
        (chains.nonfinite < out->nonfinite ||
         (chains.nonfinite == out->nonfinite && chains.sqnr_db > out->sqnr_db))) {
        *out = chains;
    }
    return status;
}

static bool is_touched(const vqc_equalization *q, const vqc_plan_layer *item)
{
    for (size_t i = 0; i < q->tensor_count; i++) {
        if (q->tensors[i].tensor == item->layer->tensor) {
            return true;
        }
    }
    return false;
}

/* Codes, observes and scores the plan over the equalized weights. */
static vqc_status quantize_again(equalizer *e, const vqc_equalization *q, vqc_stats **stats,
                                 vqc_score *score)
{
    const vqc_plan *plan = e->plan->plan;
    vqc_status status;

    for (size_t i = 0; i < plan->count; i++) {
        if (is_touched(q, &plan->layers[i])) {
            plan->layers[i].code = NULL;
            plan->layers[i].decoded = NULL;
        }
    }
    status = vqc_static_fit_weights(e->plan, e->job->arena, e->error);
    if (status == VQC_OK) {
        status = vqc_static_calibrate(e->job, e->plan, stats, e->error);
    }
    if (status == VQC_OK) {
        vqc_static_plan_observe(e->plan, *stats);
        e->search->is_scored[0] = e->search->is_scored[1] = false;
        status = score_plan(e, HUGE_VAL, score);
    }
    return status;
}

/* Keeps an attempt that pays (or was asked for), else takes it back. */
static vqc_status attempt(equalizer *e, vqc_equalization *q, const char *what, bool asked)
{
    vqc_plan *plan = e->plan->plan;
    vqc_static_search search = *e->search; /* its scores */
    saved_code *saved = vqc_arena_calloc(e->job->arena, plan->count + 1, sizeof *saved);
    vqc_stats *stats = NULL;
    vqc_score score;
    vqc_status status;
    bool kept;

    if (saved == NULL) {
        return vqc_fail_memory(e->error, plan->count * sizeof *saved);
    }
    for (size_t i = 0; i < plan->count; i++) {
        saved[i] = (saved_code){plan->layers[i].code, plan->layers[i].decoded};
    }
    status = quantize_again(e, q, &stats, &score);
    if (status != VQC_OK) {
        vqc_stats_destroy(&stats);
        return status;
    }
    kept = asked ||
           (score.nonfinite <= e->score.nonfinite && score.sqnr_db > e->score.sqnr_db + MARGIN_DB);
    status = vqc_report_note(e->job->report, e->error,
                             "%s of %zu pairs: output SQNR %.1f -> %.1f dB%s", what, q->links,
                             e->score.sqnr_db, score.sqnr_db, kept ? "" : ", taken back");
    if (kept) {
        e->score = score;
        e->stats = stats;
        vqc_stats_destroy(e->own);
        *e->own = stats;
        return status;
    }
    vqc_equalization_swap(q);
    search.trials = e->search->trials;
    *e->search = search;
    for (size_t i = 0; i < plan->count; i++) {
        plan->layers[i].code = saved[i].code;
        plan->layers[i].decoded = saved[i].decoded;
    }
    vqc_static_plan_observe(e->plan, e->stats);
    vqc_stats_destroy(&stats);
    return status;
}

static vqc_status run_methods(equalizer *e)
{
    vqc_equalize asked = e->job->recipe->fixed.equalize;
    vqc_arena *arena = e->plan->graph->model->arena;
    vqc_equalization q = {0};
    vqc_status status = VQC_OK;

    if (asked != VQC_EQUALIZE_SMOOTH) {
        status = vqc_equalize_cross_layer(e->plan->graph, arena, &q, e->error);
        if (status == VQC_OK && q.links > 0) {
            status = attempt(e, &q, "cross-layer equalization", asked == VQC_EQUALIZE_CROSS_LAYER);
        } else if (status == VQC_OK && asked == VQC_EQUALIZE_CROSS_LAYER) {
            status = vqc_report_note(e->job->report, e->error,
                                     "cross-layer equalization: no pair of layers allows it");
        }
    }
    if (status == VQC_OK && asked != VQC_EQUALIZE_CROSS_LAYER &&
        (asked == VQC_EQUALIZE_SMOOTH || e->score.sqnr_db < ENOUGH_DB)) {
        status = vqc_equalize_smooth(e->plan->graph, e->stats, SMOOTH_ALPHA, arena, &q, e->error);
        if (status == VQC_OK && q.links > 0) {
            status = attempt(e, &q, "SmoothQuant", asked == VQC_EQUALIZE_SMOOTH);
        } else if (status == VQC_OK) {
            vqc_equalization_swap(&q);
        }
    }
    return status;
}

vqc_status vqc_static_equalize(vqc_static_job *job, vqc_static_search *search,
                               const vqc_stats *stats, vqc_stats **own, vqc_error *error)
{
    equalizer e = {.job = job,
                   .plan = search->plan,
                   .search = search,
                   .stats = stats,
                   .own = own,
                   .error = error};
    vqc_equalize asked = job->recipe->fixed.equalize;
    vqc_status status;

    *own = NULL;
    if (asked == VQC_EQUALIZE_NONE) {
        return VQC_OK;
    }
    status = score_plan(&e, asked == VQC_EQUALIZE_AUTO ? ENOUGH_DB : HUGE_VAL, &e.score);
    if (status == VQC_OK && (asked != VQC_EQUALIZE_AUTO || e.score.sqnr_db < ENOUGH_DB)) {
        status = run_methods(&e);
    }
    return status;
}
