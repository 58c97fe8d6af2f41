#include "core/static/static_run.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/data/samples_subset.h"
#include "core/static/measure.h"
#include "core/static/static_equalize.h"
#include "core/static/static_fit.h"
#include "core/static/static_rewrite.h"
#include "core/static/static_search.h"

enum {
    MAX_MEASURED = 32,         /* samples that trials run on */
    MAX_REFERENCE = 256 << 20, /* bytes of kept inputs and outputs */
    NONFINITE_LINES = 8        /* values named one by one */
};

/* Of which values [count] an observer looks at the distribution; NULL: no memory. */
static const bool *wanted_histograms(const vqc_static_job *job, const vqc_static_plan *plan,
                                     const vqc_value *const *values, size_t count)
{
    bool *wanted = vqc_arena_calloc(job->arena, count + 1, sizeof *wanted);

    for (size_t i = 0; i < count && wanted != NULL; i++) {
        size_t at = vqc_static_tensor(plan, values[i]->name);
        wanted[i] = job->keep_stats || at == VQC_NO_TENSOR ||
                    (plan->tensors[at].observer != VQC_OBSERVER_MINMAX &&
                     plan->tensors[at].observer != VQC_OBSERVER_MOVING_AVERAGE);
    }
    return wanted;
}

/* Whether decisions are made by running the quantized model. */
static bool needs_measuring(const vqc_static_plan *plan)
{
    return plan->recipe->fixed.equalize != VQC_EQUALIZE_NONE || vqc_static_search_needed(plan);
}

vqc_status vqc_static_calibrate(const vqc_static_job *job, const vqc_static_plan *plan,
                                vqc_stats **stats, vqc_error *error)
{
    const vqc_value **values;
    size_t count;
    vqc_samples *subset = NULL;
    vqc_samples *samples = job->samples;
    vqc_calibrate_options options = {
        .threads = job->threads,
        .progress = job->progress,
        .progress_context = job->progress_context,
    };
    uint64_t start = vqc_report_clock();
    vqc_status status = vqc_static_plan_values(plan, &values, &count, error);

    if (status == VQC_OK && (job->recipe->verify || needs_measuring(plan))) {
        status = vqc_samples_seen(job->samples, &subset, error);
        samples = subset;
    }
    if (status == VQC_OK) {
        options.histograms = wanted_histograms(job, plan, values, count);
        options.no_channels = !job->keep_stats &&
                              job->recipe->fixed.bias_correction == VQC_SWITCH_OFF &&
                              (job->recipe->fixed.equalize == VQC_EQUALIZE_NONE ||
                               job->recipe->fixed.equalize == VQC_EQUALIZE_CROSS_LAYER);
        status = options.histograms == NULL ? vqc_fail_memory(error, count) : VQC_OK;
    }
    if (status == VQC_OK) {
        status = vqc_calibrate(job->graph, values, count, samples, &options, stats, error);
    }
    if (status == VQC_OK) {
        status = vqc_report_stage(job->report, "calibrate", vqc_report_clock() - start, error);
    }
    vqc_samples_destroy(&subset);
    return status;
}

/* Multiply-adds of one sample in the LINEAR units, from the observed numbers of elements. */
static uint64_t count_work(const vqc_static_plan *plan)
{
    double work = 0.0;

    for (size_t i = 0; i < plan->unit_count; i++) {
        const vqc_unit *unit = &plan->units[i];
        const vqc_tensor_stats *stats =
            unit->kind == VQC_UNIT_LINEAR ? plan->tensors[vqc_unit_result(plan, i)].stats : NULL;
        const vqc_layer *layer = unit->kind == VQC_UNIT_LINEAR ? unit->weight->layer : NULL;

        if (stats != NULL && stats->all.samples > 0 && layer->channels > 0) {
            work += (double)stats->all.elements / (double)stats->all.samples *
                    (double)(layer->elements / layer->channels);
        }
    }
    return work < 1e18 ? (uint64_t)work : UINT64_C(1000000000000000000);
}

/* Observations that were made before must be of the model as it is now. What they lack counts as
 * not seen: such units stay float. */
static vqc_status check_stats(const vqc_static_job *job, const vqc_static_plan *plan,
                              vqc_error *error)
{
    const char *path = job->stats_path == NULL ? "calibration" : job->stats_path;
    uint64_t fingerprint = vqc_stats_fingerprint(job->graph->model);
    const vqc_value **values;
    const char *first = NULL;
    size_t count;
    size_t lacking = 0;
    vqc_status status;

    if (job->stats->fingerprint != 0 && job->stats->fingerprint != fingerprint) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: the calibration of another model, or of one that was prepared "
                        "otherwise (folding, opset): got fingerprint %016" PRIx64
                        ", expected %016" PRIx64 "; remove it, or name another file",
                        path, job->stats->fingerprint, fingerprint);
    }
    status = vqc_static_plan_values(plan, &values, &count, error);
    for (size_t i = 0; i < count && status == VQC_OK; i++) {
        if (vqc_stats_find(job->stats, values[i]->name) == NULL) {
            first = first == NULL ? values[i]->name : first;
            lacking++;
        }
    }
    if (status == VQC_OK && lacking > 0) {
        status = vqc_report_note(
            job->report, error,
            "%s has no observations of %zu values (\"%s\"%s): what computes or reads "
            "them stays float",
            path, lacking, first, lacking > 1 ? ", ..." : "");
    }
    return status;
}

static const char *mode_name(const vqc_static_plan *plan)
{
    return plan->mode == VQC_STATIC_CHAINS ? "whole chains" : "linear operators only";
}

static vqc_status note_score(vqc_static_job *job, const vqc_static_search *s, vqc_error *error)
{
    size_t quantized;
    size_t possible;

    vqc_static_plan_count(s->plan, &quantized, &possible);
    return vqc_report_note(
        job->report, error,
        "static quantization: %zu of %zu layers compute with integers (%s); output SQNR %.1f "
        "dB on %zu samples kept apart, %zu trials",
        quantized, possible, mode_name(s->plan), s->score.sqnr_db, s->score.samples, s->trials);
}

/* The float model's outputs on samples kept apart, which all decisions are measured against. */
static vqc_status make_reference(vqc_static_job *job, vqc_reference **reference, vqc_error *error)
{
    vqc_samples *subset = NULL;
    vqc_status status = vqc_samples_held_out(job->samples, &subset, error);

    if (status == VQC_OK) {
        status = vqc_reference_create(job->graph, subset, 0, 1, MAX_MEASURED, MAX_REFERENCE,
                                      job->threads, reference, error);
    }
    vqc_samples_destroy(&subset);
    return status;
}

static uint64_t time_of_stages(const vqc_report *report)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < report->stage_count; i++) {
        sum += report->stages[i].time_ns;
    }
    return sum;
}

/* Equalization and the search, with their times; the calibrations in the first have their own. */
static vqc_status decide(vqc_static_job *job, vqc_static_plan *plan, vqc_stats **equalized,
                         vqc_error *error)
{
    vqc_static_search s = {
        .plan = plan,
        .threads = job->threads,
        .sample_work = count_work(plan),
        .report = job->report,
        .progress = job->progress,
        .progress_context = job->progress_context,
    };
    uint64_t start = vqc_report_clock();
    uint64_t before = time_of_stages(job->report);
    vqc_reference *reference = NULL;
    vqc_status status = make_reference(job, &reference, error);

    s.reference = reference;
    if (status == VQC_OK && job->recipe->fixed.equalize != VQC_EQUALIZE_NONE) {
        status = vqc_static_equalize(job, &s, job->stats, equalized, error);
        uint64_t inner = time_of_stages(job->report) - before;
        if (status == VQC_OK) {
            status = vqc_report_stage(job->report, "equalize", vqc_report_clock() - start - inner,
                                      error);
        }
    }
    start = vqc_report_clock();
    if (status == VQC_OK) {
        status = vqc_static_search_run(&s, error);
    }
    if (status == VQC_OK) {
        status = note_score(job, &s, error);
    }
    if (status == VQC_OK) {
        status = vqc_report_stage(job->report, "search", vqc_report_clock() - start, error);
    }
    vqc_reference_destroy(&reference);
    return status;
}

/* The recipe has decided everything. */
static vqc_status take_as_asked(vqc_static_job *job, vqc_static_plan *plan, vqc_error *error)
{
    size_t quantized;
    size_t possible;

    plan->mode = job->recipe->fixed.operators == VQC_STATIC_OPERATORS_LINEAR ? VQC_STATIC_LINEAR
                                                                             : VQC_STATIC_CHAINS;
    vqc_static_plan_decide(plan);
    vqc_static_plan_count(plan, &quantized, &possible);
    return vqc_report_note(job->report, error,
                           "static quantization: %zu of %zu layers compute with integers (%s); "
                           "the recipe leaves nothing to be measured",
                           quantized, possible, mode_name(plan));
}

/* ---- the report ---- */

static const char *type_name(const vqc_tensor *t)
{
    if (t->bits == 16) {
        return t->is_signed ? "int16" : "uint16";
    }
    return t->is_signed ? "int8" : "uint8";
}

/* The observer that a range was made by; AUTO stands for what vqc_tensor_range takes. */
static const char *observer_of(const vqc_tensor *t)
{
    vqc_observer_kind kind = t->observer;

    if (kind == VQC_OBSERVER_AUTO) {
        kind = t->bits == 16 ? VQC_OBSERVER_MINMAX : VQC_OBSERVER_MSE;
    }
    return vqc_observer_name(kind);
}

static vqc_status report_activations(const vqc_static_job *job, const vqc_static_plan *plan,
                                     vqc_error *error)
{
    vqc_report *report = job->report;
    vqc_arena *arena = report->arena;

    vqc_static_plan_count(plan, &report->integer_layers, &report->possible_layers);
    report->activations =
        vqc_arena_calloc(arena, plan->tensor_count + 1, sizeof *report->activations);
    if (report->activations == NULL) {
        return vqc_fail_memory(error, plan->tensor_count * sizeof *report->activations);
    }
    for (size_t i = 0; i < plan->tensor_count; i++) {
        const vqc_tensor *t = &plan->tensors[i];
        const Onnx__NodeProto *node =
            t->producer == VQC_NO_TENSOR ? NULL : plan->units[t->producer].node;
        vqc_activation_report *out = &report->activations[report->activation_count];

        if (!t->quantized) {
            continue;
        }
        out->name = vqc_arena_strdup(arena, t->value->name);
        out->node = vqc_arena_strdup(arena, node == NULL ? "" : plan->units[t->producer].label);
        out->op = vqc_arena_strdup(arena, node == NULL ? "" : node->op_type);
        out->type = type_name(t);
        out->observer = observer_of(t);
        out->min = (double)t->range.min;
        out->max = (double)t->range.max;
        out->seen_min = (double)t->stats->all.min;
        out->seen_max = (double)t->stats->all.max;
        out->scale = (double)t->scale;
        out->zero_point = t->zero_point;
        if (out->name == NULL || out->node == NULL || out->op == NULL) {
            return vqc_fail_memory(error, 0);
        }
        report->activation_count++;
    }
    return VQC_OK;
}

/* What of the recipe the integer layers do otherwise. */
static vqc_status note_choices(const vqc_static_job *job, const vqc_static_plan *plan,
                               vqc_error *error)
{
    const int64_t opset = plan->graph->scopes[0]->opset;
    size_t patterned = 0;
    size_t wide = 0;
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < plan->unit_count; i++) {
        const vqc_unit *unit = &plan->units[i];
        patterned += unit->kind == VQC_UNIT_LINEAR && unit->quantized &&
                     unit->weight->decision.spec.pattern != VQC_PATTERN_AUTO;
    }
    for (size_t i = 0; i < plan->tensor_count; i++) {
        wide += plan->tensors[i].quantized && plan->tensors[i].bits == 16;
    }
    if (patterned > 0) {
        status = vqc_report_note(job->report, error,
                                 "weights.pattern holds for layers that compute in float: %zu "
                                 "integer layers are written as static.format says",
                                 patterned);
    }
    if (status == VQC_OK && wide > 0 && opset < 21 &&
        job->recipe->operators == VQC_OPERATORS_STANDARD) {
        status = vqc_report_note(
            job->report, error,
            "%zu values with 16 bits take QuantizeLinear of com.microsoft: ai.onnx has it from "
            "opset 21 on, this model is at %lld",
            wide, (long long)opset);
    }
    return status;
}

/* The decisions become nodes. */
static vqc_status carry_out(vqc_static_job *job, vqc_static_plan *plan, vqc_error *error)
{
    vqc_model *model = job->graph->model;
    Onnx__GraphProto *graph;
    vqc_status status;

    for (size_t i = 0; i < plan->unit_count; i++) {
        vqc_unit *unit = &plan->units[i];
        if (unit->weight != NULL && unit->weight->is_static &&
            !(unit->kind == VQC_UNIT_LINEAR && unit->quantized)) {
            unit->weight->is_static = false;
            unit->weight->code = NULL;
            unit->bias_values = NULL; /* it repaired the codes that are not used now */
        }
    }
    status = vqc_static_rewrite(plan, false, model->arena, &graph, error);
    if (status == VQC_OK && vqc_static_needs_microsoft(plan)) {
        status = vqc_model_set_opset(model, "com.microsoft", 1, error);
    }
    if (status == VQC_OK) {
        *model->proto->graph = *graph;
    }
    return status;
}

/* Values that were NaN or infinite while calibrating: ranges leave these out, the model may not
 * be what it should. */
static vqc_status note_nonfinite(const vqc_static_job *job, vqc_error *error)
{
    vqc_messages lines = {0};
    vqc_status status = vqc_stats_report_nonfinite(job->stats, &lines);

    if (status != VQC_OK) {
        vqc_messages_clear(&lines);
        return vqc_fail_memory(error, sizeof *lines.items);
    }
    for (size_t i = 0; i < lines.count && i < NONFINITE_LINES && status == VQC_OK; i++) {
        status = vqc_report_note(job->report, error, "calibration: %s; ranges leave them out",
                                 lines.items[i]);
    }
    if (status == VQC_OK && lines.count > NONFINITE_LINES) {
        status = vqc_report_note(job->report, error,
                                 "calibration: NaN or infinite elements in %zu more values",
                                 lines.count - NONFINITE_LINES);
    }
    vqc_messages_clear(&lines);
    return status;
}

vqc_status vqc_static_run(vqc_static_job *job, vqc_error *error)
{
    vqc_static_plan plan;
    size_t quantized;
    size_t possible;
    size_t raised = 0;
    vqc_stats *equalized = NULL;
    vqc_status status =
        vqc_static_plan_create(job->graph, job->plan, job->recipe, job->arena, &plan, error);

    if (status == VQC_OK && job->stats != NULL) {
        status = check_stats(job, &plan, error);
    } else if (status == VQC_OK) {
        status = vqc_static_calibrate(job, &plan, &job->stats, error);
    }
    if (status == VQC_OK) {
        status = note_nonfinite(job, error);
    }
    if (status == VQC_OK) {
        vqc_static_plan_observe(&plan, job->stats);
        status = vqc_static_fit_weights(&plan, job->arena, error);
    }
    vqc_static_plan_count(&plan, &quantized, &possible);
    if (status == VQC_OK && (possible > 0 || !isnan(job->recipe->accuracy.output_sqnr_db) ||
                             !isnan(job->recipe->accuracy.max_accuracy_drop))) {
        status = needs_measuring(&plan) ? decide(job, &plan, &equalized, error)
                                        : take_as_asked(job, &plan, error);
    }
    if (status == VQC_OK) {
        status = vqc_static_fit_biases(&plan, &raised, error);
    }
    if (status == VQC_OK && raised > 0) {
        status = vqc_report_note(
            job->report, error,
            "%zu weight scales were raised so that int32 biases do not overflow", raised);
    }
    if (status == VQC_OK) {
        status = report_activations(job, &plan, error);
    }
    if (status == VQC_OK) {
        status = note_choices(job, &plan, error);
    }
    if (status == VQC_OK) {
        status = carry_out(job, &plan, error);
    }
    for (size_t i = 0; i < job->plan->count; i++) { /* a float16 weight is coded like any other */
        if (job->plan->layers[i].wide_weight) {
            job->plan->layers[i].code = NULL;
            job->plan->layers[i].is_static = false;
        }
    }
    vqc_static_plan_clear(&plan);
    vqc_stats_destroy(&equalized);
    return status;
}
