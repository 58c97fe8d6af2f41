#include "core/prune/channels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/data/samples_subset.h"
#include "core/exec/program.h"
#include "core/prune/channels_apply.h"
#include "core/prune/channels_refit.h"
#include "core/prune/channels_set.h"
#include "core/report.h"
#include "core/static/measure.h"

enum {
    MOST_NAMED = 12, /* reasons in the report */
    STEPS = 32,      /* shares that a target is searched among */
    MOST_REFERENCES = 64,
    REFERENCE_BYTES_LOG2 = 28
};

typedef struct pruning {
    vqc_model *model;
    const vqc_channel_options *options;
    vqc_report *report;
    vqc_error *error;
    vqc_graph *graph;
    vqc_trace *trace;
    vqc_channel_set *set;
    bool *removed;            /* [atom_count] by root */
    vqc_samples *seen;        /* to calibrate with; NULL: none, or the model cannot be run */
    vqc_reference *reference; /* on others */
} pruning;

static vqc_status check_options(const vqc_channel_options *options, vqc_error *error)
{
    bool target = !isnan(options->target_sqnr_db);

    if (!(target && isnan(options->sparsity)) &&
        !(options->sparsity >= 0.0 && options->sparsity < 1.0)) {
        return vqc_fail(error, VQC_ERR_USAGE,
                        "pruning channels: sparsity: got %g, expected 0 <= sparsity < 1",
                        options->sparsity);
    }
    if (options->samples == NULL && target) {
        return vqc_fail(error, VQC_ERR_USAGE,
                        "pruning channels to a target needs calibration data: got none");
    }
    if (options->samples == NULL && (options->score == VQC_CHANNEL_SCORE_ACTIVATION ||
                                     options->score == VQC_CHANNEL_SCORE_SECOND_ORDER)) {
        return vqc_fail(error, VQC_ERR_USAGE,
                        "this score of channels needs calibration data: got none");
    }
    return VQC_OK;
}

/* ---- the report ---- */

/* Why a layer stays whole: the reason of its first atom. */
static const char *reason_of(const vqc_trace *trace, const vqc_trace_producer *producer)
{
    const char *why = NULL;

    for (size_t i = 0; i < producer->labels->count && why == NULL; i++) {
        why = trace->atoms[vqc_trace_find(trace, producer->labels->atoms[i])].frozen;
    }
    return why;
}

static const char *node_name(const pruning *p, size_t node)
{
    size_t count;
    Onnx__NodeProto **nodes = vqc_scope_nodes(p->graph->scopes[0], &count);
    const char *name = node < count ? vqc_node_label(nodes[node], p->trace->arena) : NULL;

    return name == NULL ? "" : name;
}

/* One note for each reason, with the layers that stay because of it. */
static vqc_status note_frozen(pruning *p)
{
    const vqc_trace *trace = p->trace;
    bool *told = calloc(trace->producer_count + 1, sizeof *told);
    size_t notes = 0;
    size_t more = 0;
    vqc_status status = told == NULL ? vqc_fail_memory(p->error, 0) : VQC_OK;

    for (size_t i = 0; i < trace->producer_count && status == VQC_OK; i++) {
        const char *why = reason_of(trace, &trace->producers[i]);
        size_t others = 0;
        char text[256];

        if (why == NULL || told[i]) {
            continue;
        }
        if (++notes > MOST_NAMED) {
            more++;
            continue;
        }
        (void)snprintf(text, sizeof text, "\"%.100s\"", node_name(p, trace->producers[i].node));
        for (size_t k = i + 1; k < trace->producer_count; k++) {
            const char *other = reason_of(trace, &trace->producers[k]);
            if (other != NULL && strcmp(other, why) == 0) {
                told[k] = true;
                others++;
            }
        }
        if (others > 0) {
            status = vqc_report_note(p->report, p->error, "channels of %s and %zu more stay: %s",
                                     text, others, why);
        } else {
            status = vqc_report_note(p->report, p->error, "channels of %s stay: %s", text, why);
        }
    }
    if (more > 0 && status == VQC_OK) {
        status = vqc_report_note(p->report, p->error, "channels of %zu more layers stay", more);
    }
    free(told);
    return status;
}

static bool is_any_removed(const pruning *p)
{
    bool any = false;

    for (size_t g = 0; g < p->set->group_count; g++) {
        any = any || p->set->groups[g].removed > 0;
    }
    return any;
}

static vqc_status note_removed(pruning *p, double sqnr_db)
{
    size_t removed = 0;
    size_t groups = 0;
    char measured[64] = "";

    for (size_t g = 0; g < p->set->group_count; g++) {
        removed += p->set->groups[g].removed;
        groups += p->set->groups[g].count > 0 ? 1 : 0;
    }
    p->report->removed_channels = removed;
    if (!isnan(sqnr_db)) {
        (void)snprintf(measured, sizeof measured, "; %.1f dB at the outputs on held-out samples",
                       sqnr_db);
    }
    return vqc_report_note(p->report, p->error,
                           "channels: %zu of %zu removed in %zu groups of layers%s", removed,
                           p->set->class_count, groups, measured);
}

/* ---- the whole ---- */

static vqc_status score(pruning *p)
{
    const vqc_channel_options *options = p->options;

    if (p->seen == NULL || options->score == VQC_CHANNEL_SCORE_MAGNITUDE) {
        return vqc_channel_score_magnitude(p->set, p->error);
    }
    return vqc_channel_score_samples(p->set, p->seen, options->max_samples, options->score,
                                     options->threads, p->error);
}

/* The model without a share of its channels, in `arena`. */
static vqc_status make(pruning *p, double share, vqc_arena *arena, vqc_model *copy)
{
    const vqc_channel_options *options = p->options;
    vqc_arena *scratch = vqc_arena_create();
    vqc_channels_fit fit = {0};
    vqc_status status = scratch == NULL ? vqc_fail_memory(p->error, 0) : VQC_OK;

    if (status == VQC_OK) {
        vqc_channel_set_select(p->set, options, share, p->removed);
        status = vqc_channels_copy(p->model, arena, copy, p->error);
    }
    if (status == VQC_OK && p->seen != NULL && !options->no_compensation && is_any_removed(p)) {
        status =
            vqc_channels_fit_create(p->trace, p->graph, p->removed, p->seen, options->max_samples,
                                    options->threads, scratch, &fit, p->error);
    }
    if (status == VQC_OK) {
        status =
            vqc_channels_cut(p->trace, p->removed, fit.weights, fit.weight_count, copy, p->error);
    }
    if (status == VQC_OK) {
        status = vqc_channels_set_biases(p->trace, &fit, copy, p->error);
    }
    vqc_arena_destroy(&scratch);
    return status;
}

/* Whether the model without a share of its channels keeps the target. */
static vqc_status try_share(pruning *p, double share, bool *holds)
{
    vqc_arena *arena = vqc_arena_create();
    vqc_model copy;
    vqc_score result = {0};
    vqc_status status = arena == NULL ? vqc_fail_memory(p->error, 0) : make(p, share, arena, &copy);

    if (status == VQC_OK) {
        status =
            vqc_reference_score(p->reference, &copy, 0, p->options->threads, &result, p->error);
    }
    *holds =
        status == VQC_OK && result.nonfinite == 0 && result.sqnr_db >= p->options->target_sqnr_db;
    vqc_arena_destroy(&arena);
    return status;
}

/* The largest share, in steps of 1 / STEPS of the sparsity, that keeps the target, by bisection:
 * quality falls with the share, nearly always. */
static vqc_status find_share(pruning *p, double *share)
{
    /* without a sparsity the whole is out of the question */
    bool open = isnan(p->options->sparsity);
    double most = open ? 1.0 : p->options->sparsity;
    int low = 0;
    int high = open ? STEPS : STEPS + 1;
    vqc_status status = VQC_OK;

    *share = most;
    if (isnan(p->options->target_sqnr_db)) {
        return VQC_OK;
    }
    while (high - low > 1 && status == VQC_OK) {
        int middle = high == STEPS + 1 && low == 0 ? STEPS : (low + high) / 2;
        bool holds;
        status = try_share(p, most * middle / STEPS, &holds);
        low = holds ? middle : low;
        high = holds ? high : middle;
    }
    *share = most * low / STEPS;
    return status;
}

/* Samples to calibrate with, and the original's outputs on others. */
static vqc_status open_samples(pruning *p)
{
    const vqc_channel_options *options = p->options;
    vqc_samples *held_out = NULL;
    vqc_messages missing = {0};
    vqc_status status;

    if (options->samples == NULL) {
        return VQC_OK;
    }
    status = vqc_program_missing(p->graph, &missing, p->error);
    if (status == VQC_OK && missing.count > 0) {
        status = isnan(options->target_sqnr_db)
                     ? vqc_report_note(p->report, p->error,
                                       "channels are removed by magnitude: vqc cannot run this "
                                       "model: %s",
                                       missing.items[0])
                     : vqc_fail(p->error, VQC_ERR_MODEL,
                                "pruning channels to a target: vqc cannot run this model: %s",
                                missing.items[0]);
        vqc_messages_clear(&missing);
        return status;
    }
    if (status == VQC_OK) {
        status = vqc_samples_held_out(options->samples, &held_out, p->error);
    }
    if (status == VQC_OK) {
        status = vqc_reference_create(p->graph, held_out, 0, 1, MOST_REFERENCES,
                                      (size_t)1 << REFERENCE_BYTES_LOG2, options->threads,
                                      &p->reference, p->error);
    }
    vqc_samples_destroy(&held_out);
    if (status == VQC_OK) {
        status = vqc_samples_seen(options->samples, &p->seen, p->error);
    }
    return status;
}

static vqc_status prepare(pruning *p)
{
    const vqc_channel_options *options = p->options;
    vqc_status status = vqc_graph_create(p->model, &p->graph, p->error);

    if (status == VQC_OK) {
        status = open_samples(p);
    }
    if (status == VQC_OK) {
        status = vqc_trace_create(p->graph, p->seen, options->exclude, options->exclude_count,
                                  &p->trace, p->error);
    }
    if (status == VQC_OK) {
        status = vqc_channel_set_create(p->trace, &p->set, p->error);
    }
    if (status != VQC_OK) {
        return status;
    }
    p->removed = calloc(p->trace->atom_count + 1, sizeof *p->removed);
    return p->removed == NULL ? vqc_fail_memory(p->error, p->trace->atom_count) : score(p);
}

static vqc_status run(pruning *p)
{
    vqc_model copy;
    vqc_score result = {.sqnr_db = (double)NAN};
    double share = 0.0;
    vqc_status status = prepare(p);

    if (status == VQC_OK) {
        status = find_share(p, &share);
    }
    if (status == VQC_OK) {
        status = make(p, share, p->model->arena, &copy);
    }
    if (status == VQC_OK && p->reference != NULL) {
        status =
            vqc_reference_score(p->reference, &copy, 0, p->options->threads, &result, p->error);
    }
    if (status == VQC_OK) {
        status = note_removed(p, result.sqnr_db);
    }
    if (status == VQC_OK) {
        status = note_frozen(p);
    }
    if (status == VQC_OK && is_any_removed(p)) {
        p->model->proto = copy.proto;
    }
    return status;
}

vqc_status vqc_prune_channels(vqc_model *model, const vqc_channel_options *options,
                              vqc_report *report, vqc_error *error)
{
    vqc_error local;
    pruning p = {.model = model,
                 .options = options,
                 .report = report,
                 .error = error != NULL ? error : &local};
    vqc_status status = check_options(options, p.error);

    if (status == VQC_OK) {
        status = run(&p);
    }
    free(p.removed);
    vqc_samples_destroy(&p.seen);
    vqc_reference_destroy(&p.reference);
    vqc_channel_set_destroy(&p.set);
    vqc_trace_destroy(&p.trace);
    vqc_graph_destroy(&p.graph);
    return status;
}
