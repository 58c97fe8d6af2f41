#include "core/static/static_search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/static/static_fit.h"
#include "core/static/static_rewrite.h"

/* Trials of observers stop when they have cost about this many multiply-adds: half a second on two
 * cores. */
static const uint64_t WORK_BUDGET = UINT64_C(20000000000);
/* The same for probing what hurts, only when the accuracy target is missed. */
static const uint64_t PROBE_BUDGET = UINT64_C(60000000000);
enum {
    MIN_TRIALS = 6,    /* whatever the model costs */
    MAX_TRIALS = 300,  /* however small it is */
    TRIAL_SAMPLES = 8, /* samples on which settings are compared, at least: all in small models */
    MIN_PROBES = 12,
    FEW_VALUES = 100,
    MAX_PROBES = 300,
    PROBE_SAMPLES = 4, /* samples on which single units are probed */
    NAMED = 16         /* units and weights that notes name one by one */
};

static const double MODE_MARGIN_DB = 0.5;   /* chains run faster: linear must win by this much */
static const double TENSOR_MARGIN_DB = 0.1; /* less is luck */
/* A figure of a few dozen numbers is off by so much on new samples (acasxu_1_1: 40 values). */
static const double FEW_VALUES_MARGIN_DB = 5.0;
static const double WEIGHT_MARGIN_DB = 2.0; /* room for the noise of activations */

/* ---- trials ---- */

/* Decides the plan as it is set, and scores what it would write on at most `samples` samples. */
static vqc_status run_trial(vqc_static_search *s, size_t samples, vqc_score *out, vqc_error *error)
{
    vqc_static_plan *plan = s->plan;
    vqc_model *model = NULL;
    uint64_t fresh = plan->graph->fresh; /* names of a trial are free again afterwards */
    vqc_status status;

    vqc_static_plan_decide(plan);
    vqc_static_swap_weights(plan);
    status = vqc_static_simulation(plan, &model, error);
    if (status == VQC_OK) {
        status = vqc_reference_score(s->reference, model, samples, s->threads, out, error);
    }
    vqc_static_swap_weights(plan);
    vqc_model_destroy(&model);
    plan->graph->fresh = fresh;
    s->trials++;
    if (s->progress != NULL) {
        s->progress(s->progress_context, "search", s->trials, 0);
    }
    return status;
}

/* Few samples make the choice of an observer a choice for these samples. */
static size_t trial_samples(const vqc_static_search *s)
{
    uint64_t count = (uint64_t)vqc_reference_count(s->reference);
    bool small = s->sample_work < WORK_BUDGET / (count * MIN_TRIALS + 1) / 4;

    return small || count < TRIAL_SAMPLES ? (size_t)count : TRIAL_SAMPLES;
}

static size_t trials_left(const vqc_static_search *s)
{
    uint64_t work = s->sample_work * (uint64_t)trial_samples(s) + 1;
    uint64_t allowed = WORK_BUDGET / work;

    allowed = allowed < MIN_TRIALS ? MIN_TRIALS : (allowed > MAX_TRIALS ? MAX_TRIALS : allowed);
    return allowed > s->trials ? (size_t)allowed - s->trials : 0;
}

/* Whether a is better than b by at least `margin` dB; fewer non-finite outputs come first. */
static bool is_better(const vqc_score *a, const vqc_score *b, double margin)
{
    if (a->nonfinite != b->nonfinite) {
        return a->nonfinite < b->nonfinite;
    }
    return a->sqnr_db > b->sqnr_db + margin;
}

/* Whether a score meets the accuracy target with so many dB to spare. */
static bool meets_by(const vqc_static_search *s, const vqc_score *score, double margin)
{
    const vqc_accuracy_target *target = &s->plan->recipe->accuracy;

    if (score->nonfinite > 0) {
        return false;
    }
    margin += score->values < FEW_VALUES ? FEW_VALUES_MARGIN_DB : 0.0;
    if (!isnan(target->output_sqnr_db) && score->sqnr_db < target->output_sqnr_db + margin) {
        return false;
    }
    return isnan(target->max_accuracy_drop) || isnan(score->accuracy) ||
           100.0 * (score->accuracy_ref - score->accuracy) <= target->max_accuracy_drop;
}

static bool meets(const vqc_static_search *s, const vqc_score *score)
{
    return meets_by(s, score, 0.0);
}

/* ---- mode and observers ---- */

vqc_status vqc_static_search_mode(vqc_static_search *s, vqc_static_mode mode, vqc_score *out,
                                  vqc_error *error)
{
    vqc_status status = VQC_OK;

    s->plan->mode = mode;
    if (!s->is_scored[mode]) {
        status = run_trial(s, trial_samples(s), &s->modes[mode], error);
        s->is_scored[mode] = status == VQC_OK;
    }
    *out = s->modes[mode];
    return status;
}

static vqc_status choose_mode(vqc_static_search *s, vqc_error *error)
{
    vqc_static_operators asked = s->plan->recipe->fixed.operators;
    vqc_score linear;
    vqc_status status = vqc_static_search_mode(
        s, asked == VQC_STATIC_OPERATORS_LINEAR ? VQC_STATIC_LINEAR : VQC_STATIC_CHAINS, &s->score,
        error);

    if (status != VQC_OK || asked != VQC_STATIC_OPERATORS_AUTO) {
        return status;
    }
    status = vqc_static_search_mode(s, VQC_STATIC_LINEAR, &linear, error);
    if (status == VQC_OK && is_better(&linear, &s->score, MODE_MARGIN_DB)) {
        s->score = linear;
    } else {
        s->plan->mode = VQC_STATIC_CHAINS;
    }
    return status;
}

static const vqc_observer_kind CANDIDATES[] = {VQC_OBSERVER_MSE, VQC_OBSERVER_MINMAX,
                                               VQC_OBSERVER_PERCENTILE, VQC_OBSERVER_ENTROPY};

/* One observer for every tensor whose observer is open. */
static void set_open(vqc_static_plan *p, const bool *open, vqc_observer_kind kind)
{
    for (size_t t = 0; t < p->tensor_count; t++) {
        if (open[t]) {
            p->tensors[t].observer = kind;
        }
    }
}

static vqc_status choose_observer(vqc_static_search *s, const bool *open, vqc_error *error)
{
    vqc_observer_kind best = VQC_OBSERVER_MSE; /* what the mode was chosen with */
    vqc_status status = VQC_OK;

    for (size_t i = 1; i < sizeof CANDIDATES / sizeof CANDIDATES[0] && status == VQC_OK; i++) {
        vqc_score score;
        set_open(s->plan, open, CANDIDATES[i]);
        status = run_trial(s, trial_samples(s), &score, error);
        if (status == VQC_OK && is_better(&score, &s->score, TENSOR_MARGIN_DB)) {
            s->score = score;
            best = CANDIDATES[i];
        }
    }
    set_open(s->plan, open, best);
    return status;
}

static void set_group(vqc_static_plan *p, const bool *open, const size_t *roots, size_t root,
                      vqc_observer_kind kind)
{
    for (size_t t = 0; t < p->tensor_count; t++) {
        if (open[t] && roots[t] == root) {
            p->tensors[t].observer = kind;
        }
    }
}

/* Tensor by tensor, while trials last: the observer with the least output error. */
static vqc_status refine_observers(vqc_static_search *s, const bool *open, vqc_error *error)
{
    vqc_static_plan *p = s->plan;
    size_t *roots = calloc(p->tensor_count + 1, sizeof *roots);
    vqc_status status = VQC_OK;

    if (roots == NULL) {
        return vqc_fail_memory(error, p->tensor_count * sizeof *roots);
    }
    vqc_static_plan_decide(p);
    for (size_t t = 0; t < p->tensor_count; t++) {
        roots[t] = p->tensors[t].quantized ? p->tensors[t].root : VQC_NO_TENSOR;
    }
    for (size_t t = 0; t < p->tensor_count && status == VQC_OK; t++) {
        vqc_observer_kind best = p->tensors[t].observer;
        if (roots[t] != t || !open[t]) {
            continue;
        }
        for (size_t i = 0; i < sizeof CANDIDATES / sizeof CANDIDATES[0]; i++) {
            vqc_score score;
            if (CANDIDATES[i] == best || trials_left(s) == 0) {
                continue;
            }
            set_group(p, open, roots, t, CANDIDATES[i]);
            status = run_trial(s, trial_samples(s), &score, error);
            if (status != VQC_OK) {
                break;
            }
            if (is_better(&score, &s->score, TENSOR_MARGIN_DB)) {
                s->score = score;
                best = CANDIDATES[i];
            }
        }
        set_group(p, open, roots, t, best);
    }
    free(roots);
    return status;
}

static vqc_status choose_biases(vqc_static_search *s, vqc_error *error)
{
    vqc_switch asked = s->plan->recipe->fixed.bias_correction;
    vqc_score before = s->score;
    vqc_score after;
    size_t corrected = 0;
    vqc_status status;

    if (asked == VQC_SWITCH_OFF) {
        return VQC_OK;
    }
    status = vqc_static_correct_biases(s->plan, &corrected, error);
    if (status == VQC_OK && corrected > 0) {
        status = run_trial(s, trial_samples(s), &after, error);
    }
    if (status != VQC_OK || corrected == 0) {
        return status;
    }
    if (asked == VQC_SWITCH_AUTO && !is_better(&after, &before, 0.0)) {
        vqc_static_uncorrect_biases(s->plan);
        return VQC_OK;
    }
    s->score = after;
    return vqc_report_note(s->report, error,
                           "bias correction of %zu layers: output SQNR %.1f -> %.1f dB", corrected,
                           before.sqnr_db, after.sqnr_db);
}

/* ---- the accuracy target ---- */

/* What quantizing some neighbouring units, or coding some weights, costs by itself. Small models
 * are probed one by one, large ones in groups. */
typedef struct probe {
    size_t first; /* in the list of candidates */
    size_t count;
    double noise; /* 10^(-sqnr/10) */
} probe;

typedef struct probes {
    size_t *candidates; /* [candidate_count] units or layers, in model order */
    size_t candidate_count;
    probe *items; /* [count] */
    size_t count;
    size_t samples; /* to probe with */
    size_t given;   /* items given up so far, the noisiest first */
} probes;

static int by_noise(const void *a, const void *b)
{
    const probe *x = a;
    const probe *y = b;

    if (x->noise != y->noise) {
        return x->noise > y->noise ? -1 : 1;
    }
    return x->first < y->first ? -1 : 1;
}

static bool can_fall_back(const vqc_unit *unit)
{
    return unit->kind == VQC_UNIT_LINEAR || unit->kind == VQC_UNIT_CHAIN;
}

static bool has_swappable_weight(const vqc_plan_layer *item)
{
    return item->code != NULL && item->decoded != NULL;
}

/* The settings that probing changes, to put them back. */
typedef struct saved {
    bool *in_float; /* [unit_count] */
    bool *wide;     /* [layer count] */
} saved;

static vqc_status save(const vqc_static_plan *p, saved *out, vqc_error *error)
{
    out->in_float = calloc(p->unit_count + 1, sizeof *out->in_float);
    out->wide = calloc(p->plan->count + 1, sizeof *out->wide);
    if (out->in_float == NULL || out->wide == NULL) {
        return vqc_fail_memory(error, p->unit_count);
    }
    for (size_t i = 0; i < p->unit_count; i++) {
        out->in_float[i] = p->units[i].in_float;
    }
    for (size_t i = 0; i < p->plan->count; i++) {
        out->wide[i] = p->plan->layers[i].wide_weight;
    }
    return VQC_OK;
}

static void restore_units(vqc_static_plan *p, const saved *from)
{
    for (size_t i = 0; i < p->unit_count; i++) {
        p->units[i].in_float = from->in_float[i];
    }
}

static void restore_weights(vqc_static_plan *p, const saved *from)
{
    for (size_t i = 0; i < p->plan->count; i++) {
        p->plan->layers[i].wide_weight = from->wide[i];
    }
}

static void clear_saved(saved *s)
{
    free(s->in_float);
    free(s->wide);
}

static vqc_status probes_create(size_t capacity, probes *out, vqc_error *error)
{
    memset(out, 0, sizeof *out);
    out->candidates = calloc(capacity + 1, sizeof *out->candidates);
    out->items = calloc(capacity + 1, sizeof *out->items);
    return out->candidates == NULL || out->items == NULL
               ? vqc_fail_memory(error, capacity * sizeof *out->items)
               : VQC_OK;
}

static void probes_clear(probes *p)
{
    free(p->candidates);
    free(p->items);
}

/* Cuts the candidates into groups such that probing them all stays within the budget. */
static void probes_cut(const vqc_static_search *s, probes *p)
{
    uint64_t work = s->sample_work + 1;
    uint64_t runs = PROBE_BUDGET / work; /* of one sample */
    size_t allowed;
    size_t size;

    p->samples = runs / (p->candidate_count + 1) >= PROBE_SAMPLES ? PROBE_SAMPLES : 2;
    allowed = (size_t)(runs / p->samples);
    allowed = allowed < MIN_PROBES ? MIN_PROBES : (allowed > MAX_PROBES ? MAX_PROBES : allowed);
    size = (p->candidate_count + allowed - 1) / allowed;
    for (size_t at = 0; at < p->candidate_count; at += size) {
        size_t left = p->candidate_count - at;
        p->items[p->count++] = (probe){at, left < size ? left : size, 0.0};
    }
}

static void all_in_float(vqc_static_plan *p)
{
    for (size_t i = 0; i < p->unit_count; i++) {
        p->units[i].in_float = p->units[i].in_float || can_fall_back(&p->units[i]);
    }
}

/* Each group of units alone in integers, all weights coded. */
static vqc_status probe_units(vqc_static_search *s, const saved *before, probes *p,
                              vqc_error *error)
{
    vqc_status status = VQC_OK;

    for (size_t k = 0; k < p->count && status == VQC_OK; k++) {
        vqc_score score;
        all_in_float(s->plan);
        for (size_t i = 0; i < p->items[k].count; i++) {
            s->plan->units[p->candidates[p->items[k].first + i]].in_float = false;
        }
        status = run_trial(s, p->samples, &score, error);
        p->items[k].noise = status == VQC_OK ? vqc_score_noise(&score) : 0.0;
    }
    restore_units(s->plan, before);
    return status;
}

/* Each group of weights alone coded, everything else in float. */
static vqc_status probe_weights(vqc_static_search *s, probes *p, vqc_error *error)
{
    vqc_plan *plan = s->plan->plan;
    vqc_status status = VQC_OK;

    for (size_t k = 0; k < p->count && status == VQC_OK; k++) {
        vqc_score score;
        for (size_t i = 0; i < plan->count; i++) {
            plan->layers[i].wide_weight = true;
        }
        for (size_t i = 0; i < p->items[k].count; i++) {
            plan->layers[p->candidates[p->items[k].first + i]].wide_weight = false;
        }
        status = run_trial(s, p->samples, &score, error);
        p->items[k].noise = status == VQC_OK ? vqc_score_noise(&score) : 0.0;
    }
    return status;
}

static void give_up_unit(vqc_static_plan *p, size_t index)
{
    vqc_unit *unit = &p->units[index];

    if (!p->recipe->accuracy.wide_fallback) {
        unit->in_float = true;
        return;
    }
    for (size_t d = 0; d < unit->data_count; d++) {
        p->tensors[unit->data[d]].wide = true;
    }
    p->tensors[vqc_unit_result(p, index)].wide = true;
}

/* How many of the worst to give up next: grows, so that hopeless models end soon. */
static size_t next_step(size_t done)
{
    return done < 4 ? 1 : done / 4;
}

/* The next candidates to give up, worst group first: [*count] from the returned index on. */
static bool next_group(probes *p, size_t *first, size_t *count)
{
    if (p->given == p->count) {
        return false;
    }
    *first = p->items[p->given].first;
    *count = p->items[p->given].count;
    p->given++;
    return true;
}

static double db_of(double noise)
{
    return noise > 0.0 ? -10.0 * log10(noise) : 99.9;
}

static size_t given_candidates(const probes *p)
{
    size_t count = 0;

    for (size_t k = 0; k < p->given; k++) {
        count += p->items[k].count;
    }
    return count;
}

static vqc_status note_units(vqc_static_search *s, const probes *p, double before, vqc_error *error)
{
    const char *how = s->plan->recipe->accuracy.wide_fallback ? "16-bit activations" : "float";
    size_t named = 0;
    vqc_status status = vqc_report_note(s->report, error,
                                        "to meet the accuracy target %zu nodes got %s: output "
                                        "SQNR %.1f -> %.1f dB",
                                        given_candidates(p), how, before, s->score.sqnr_db);

    for (size_t k = 0; k < p->given; k++) {
        for (size_t i = 0; i < p->items[k].count && named < NAMED && status == VQC_OK; i++) {
            const vqc_unit *unit = &s->plan->units[p->candidates[p->items[k].first + i]];
            status = vqc_report_note(
                s->report, error, "%s: \"%s\" (%s), which%s alone in integers leaves %.1f dB", how,
                unit->label, unit->node->op_type,
                p->items[k].count > 1 ? " with its neighbours" : "", db_of(p->items[k].noise));
            named++;
        }
    }
    return status;
}

static vqc_status note_weights(vqc_static_search *s, const probes *p, double before, double after,
                               vqc_error *error)
{
    size_t named = 0;
    vqc_status status =
        vqc_report_note(s->report, error,
                        "to meet the accuracy target %zu weights became float16: output SQNR with "
                        "float activations %.1f -> %.1f dB",
                        given_candidates(p), before, after);

    for (size_t k = 0; k < p->given; k++) {
        for (size_t i = 0; i < p->items[k].count && named < NAMED && status == VQC_OK; i++) {
            const vqc_layer *layer =
                s->plan->plan->layers[p->candidates[p->items[k].first + i]].layer;
            status = vqc_report_note(
                s->report, error, "float16: \"%s\" (%s), whose codes%s alone leave %.1f dB",
                layer->value->name, layer->op == NULL ? "" : layer->op,
                p->items[k].count > 1 ? " with its neighbours'" : "", db_of(p->items[k].noise));
            named++;
        }
    }
    return status;
}

/* The worst weights become float16 until float activations meet the target with a margin. */
static vqc_status widen_worst(vqc_static_search *s, const saved *before, vqc_score *score,
                              vqc_error *error)
{
    vqc_plan *plan = s->plan->plan;
    double first = score->sqnr_db;
    probes p;
    vqc_status status = probes_create(plan->count, &p, error);

    for (size_t i = 0; i < plan->count && status == VQC_OK; i++) {
        if (has_swappable_weight(&plan->layers[i])) {
            p.candidates[p.candidate_count++] = i;
        }
    }
    if (status == VQC_OK) {
        probes_cut(s, &p);
        status = probe_weights(s, &p, error);
        restore_weights(s->plan, before);
        qsort(p.items, p.count, sizeof *p.items, by_noise);
    }
    while (status == VQC_OK && p.given < p.count && !meets_by(s, score, WEIGHT_MARGIN_DB)) {
        size_t at;
        size_t count;
        for (size_t step = next_step(p.given); step > 0 && next_group(&p, &at, &count); step--) {
            for (size_t i = 0; i < count; i++) {
                plan->layers[p.candidates[at + i]].wide_weight = true;
            }
        }
        status = run_trial(s, 0, score, error);
    }
    if (status == VQC_OK) {
        status = note_weights(s, &p, first, score->sqnr_db, error);
    }
    probes_clear(&p);
    return status;
}

/* When coded weights alone miss the target, no choice of activations helps. */
static vqc_status widen_weights(vqc_static_search *s, vqc_error *error)
{
    vqc_static_plan *p = s->plan;
    saved before = {0};
    vqc_score score;
    vqc_status status = save(p, &before, error);

    if (status == VQC_OK) {
        all_in_float(p);
        status = run_trial(s, 0, &score, error);
    }
    if (status == VQC_OK && !meets_by(s, &score, WEIGHT_MARGIN_DB)) {
        status = widen_worst(s, &before, &score, error);
        for (size_t i = 0; i < p->unit_count; i++) { /* integer kernels need integer weights */
            const vqc_unit *unit = &p->units[i];
            before.in_float[i] =
                before.in_float[i] || (unit->kind == VQC_UNIT_LINEAR && unit->weight->wide_weight);
        }
    }
    if (before.in_float != NULL) {
        restore_units(p, &before);
    }
    clear_saved(&before);
    return status == VQC_OK ? run_trial(s, 0, &s->score, error) : status;
}

/* The units that cost most leave the integers until the target is met. */
static vqc_status narrow_units(vqc_static_search *s, vqc_error *error)
{
    vqc_static_plan *plan = s->plan;
    double first = s->score.sqnr_db;
    saved before = {0};
    probes p = {0};
    vqc_status status = save(plan, &before, error);

    if (status == VQC_OK) {
        status = probes_create(plan->unit_count, &p, error);
    }
    if (status == VQC_OK) {
        vqc_static_plan_decide(plan);
        for (size_t i = 0; i < plan->unit_count; i++) {
            if (plan->units[i].quantized && can_fall_back(&plan->units[i])) {
                p.candidates[p.candidate_count++] = i;
            }
        }
        probes_cut(s, &p);
        status = probe_units(s, &before, &p, error);
        qsort(p.items, p.count, sizeof *p.items, by_noise);
    }
    while (status == VQC_OK && !meets(s, &s->score) && p.given < p.count) {
        size_t at;
        size_t count;
        for (size_t step = next_step(p.given); step > 0 && next_group(&p, &at, &count); step--) {
            for (size_t i = 0; i < count; i++) {
                give_up_unit(plan, p.candidates[at + i]);
            }
        }
        status = run_trial(s, 0, &s->score, error);
    }
    if (status == VQC_OK && p.given > 0) {
        status = note_units(s, &p, first, error);
    }
    clear_saved(&before);
    probes_clear(&p);
    return status;
}

static vqc_status reach_target(vqc_static_search *s, vqc_error *error)
{
    vqc_status status = VQC_OK;

    s->target_met = meets(s, &s->score);
    if (!s->target_met) {
        status = widen_weights(s, error);
    }
    if (status == VQC_OK && !meets(s, &s->score)) {
        status = narrow_units(s, error);
    }
    s->target_met = status == VQC_OK && meets(s, &s->score);
    if (status == VQC_OK && !s->target_met) {
        status = vqc_report_note(s->report, error,
                                 "the accuracy target cannot be met: output SQNR %.1f dB",
                                 s->score.sqnr_db);
    }
    return status;
}

bool vqc_static_search_needed(const vqc_static_plan *p)
{
    const vqc_accuracy_target *target = &p->recipe->accuracy;
    bool needed = !isnan(target->output_sqnr_db) || !isnan(target->max_accuracy_drop) ||
                  p->recipe->fixed.operators == VQC_STATIC_OPERATORS_AUTO ||
                  p->recipe->fixed.bias_correction != VQC_SWITCH_OFF;

    for (size_t t = 0; t < p->tensor_count; t++) {
        needed = needed || p->tensors[t].observer == VQC_OBSERVER_AUTO;
    }
    return needed;
}

vqc_status vqc_static_search_run(vqc_static_search *s, vqc_error *error)
{
    vqc_static_plan *p = s->plan;
    bool *open = calloc(p->tensor_count + 1, sizeof *open);
    bool any = false;
    vqc_status status;

    if (open == NULL) {
        return vqc_fail_memory(error, p->tensor_count);
    }
    for (size_t t = 0; t < p->tensor_count; t++) {
        open[t] = p->tensors[t].observer == VQC_OBSERVER_AUTO;
        any = any || open[t];
    }
    if (p->recipe->fixed.type == VQC_ACTIVATION_UINT16 ||
        p->recipe->fixed.type == VQC_ACTIVATION_INT16) {
        s->is_scored[0] = s->is_scored[0] && !any; /* there auto stands for minmax */
        s->is_scored[1] = s->is_scored[1] && !any;
    }
    set_open(p, open, VQC_OBSERVER_MSE);
    status = choose_mode(s, error);
    if (status == VQC_OK) {
        status = choose_biases(s, error);
    }
    if (status == VQC_OK && any) {
        status = choose_observer(s, open, error);
    }
    if (status == VQC_OK && any && trials_left(s) > 0) {
        status = refine_observers(s, open, error);
    }
    if (status == VQC_OK && s->score.samples < vqc_reference_count(s->reference)) {
        status = run_trial(s, 0, &s->score, error);
    }
    if (status == VQC_OK) {
        status = reach_target(s, error);
    }
    vqc_static_plan_decide(p);
    free(open);
    return status;
}
