#include "core/prune/channels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/prune/channels_apply.h"
#include "core/prune/channels_set.h"
#include "core/report.h"

enum { MOST_NAMED = 12 /* reasons in the report */ };

typedef struct pruning {
    vqc_model *model;
    const vqc_channel_options *options;
    vqc_report *report;
    vqc_error *error;
    vqc_graph *graph;
    vqc_trace *trace;
    vqc_channel_set *set;
    bool *removed; /* [atom_count] by root */
} pruning;

static vqc_status check_options(const vqc_channel_options *options, vqc_error *error)
{
    bool target = !isnan(options->target_sqnr_db);

    if (!target && !(options->sparsity >= 0.0 && options->sparsity < 1.0)) {
        return vqc_fail(error, VQC_ERR_USAGE,
                        "pruning channels: sparsity: got %g, expected 0 <= sparsity < 1",
                        options->sparsity);
    }
    if (target || options->score == VQC_CHANNEL_SCORE_ACTIVATION ||
        options->score == VQC_CHANNEL_SCORE_SECOND_ORDER) {
        return vqc_fail(error, VQC_ERR_USAGE,
                        "pruning channels by samples or to a target is not supported yet");
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

static vqc_status note_removed(pruning *p, double sqnr_db)
{
    size_t removed = 0;
    size_t groups = 0;
    char measured[64] = "";

    for (size_t g = 0; g < p->set->group_count; g++) {
        removed += p->set->groups[g].removed;
        groups += p->set->groups[g].count > 0 ? 1 : 0;
    }
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
    return vqc_channel_score_magnitude(p->set, p->error);
}

/* Cuts the chosen channels out of a copy in the model's own arena, which then takes its place. */
static vqc_status apply(pruning *p)
{
    vqc_model copy;
    vqc_status status = vqc_channels_copy(p->model, p->model->arena, &copy, p->error);

    if (status == VQC_OK) {
        status = vqc_channels_cut(p->trace, p->removed, NULL, 0, &copy, p->error);
    }
    if (status == VQC_OK) {
        p->model->proto = copy.proto;
    }
    return status;
}

static vqc_status run(pruning *p)
{
    const vqc_channel_options *options = p->options;
    vqc_status status = vqc_graph_create(p->model, &p->graph, p->error);

    if (status == VQC_OK) {
        status = vqc_trace_create(p->graph, options->samples, options->exclude,
                                  options->exclude_count, &p->trace, p->error);
    }
    if (status == VQC_OK) {
        status = vqc_channel_set_create(p->trace, &p->set, p->error);
    }
    if (status != VQC_OK) {
        return status;
    }
    p->removed = calloc(p->trace->atom_count + 1, sizeof *p->removed);
    if (p->removed == NULL) {
        return vqc_fail_memory(p->error, p->trace->atom_count);
    }
    status = score(p);
    if (status == VQC_OK) {
        status = vqc_channel_set_select(p->set, options, options->sparsity, p->removed, p->error);
    }
    if (status == VQC_OK) {
        status = note_removed(p, (double)NAN);
    }
    if (status == VQC_OK) {
        status = note_frozen(p);
    }
    return status == VQC_OK ? apply(p) : status;
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
    vqc_channel_set_destroy(&p.set);
    vqc_trace_destroy(&p.trace);
    vqc_graph_destroy(&p.graph);
    return status;
}
