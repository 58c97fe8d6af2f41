/* The report of both models run side by side. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/verify.h"

enum {
    VALUE_SAMPLES = 2, /* samples on which the values inside the models are compared */
    MAX_WORST = 3      /* layers that a note names */
};

static const double SMALL_SHARE = 0.1; /* of the most noise: not worth a name beside it */
static const double GOOD_DB = 20.0;    /* below, the report says which node to look at */

typedef struct verifier {
    vqc_graph *graphs[2]; /* original, written */
    vqc_verified found;
    vqc_report *report;
    vqc_error *error;
} verifier;

static double percent(double share)
{
    return 100.0 * share;
}

/* Whether a node only rescales or clips what the node before it computes: quantizing makes one
 * operator of both. */
static bool is_appendage(const Onnx__NodeProto *node)
{
    return vqc_node_is(node, "Relu") || vqc_node_is(node, "Clip") || vqc_node_is(node, "Add") ||
           vqc_node_is(node, "Mul") || vqc_node_is(node, "BatchNormalization");
}

/* The node that a value of the original comes from; where the written model has merged nodes, the
 * first of them, which is the one that a recipe can exclude. NULL: an input. */
static const Onnx__NodeProto *source_of(const verifier *v, const char *name)
{
    const vqc_value *value = vqc_scope_define(v->graphs[0], v->graphs[0]->scopes[0], name);
    const Onnx__NodeProto *node = value == NULL ? NULL : value->producer;

    while (node != NULL && is_appendage(node) && node->n_input > 0) {
        const vqc_value *before =
            vqc_scope_define(v->graphs[0], v->graphs[0]->scopes[0], node->input[0]);
        if (before == NULL || before->producer == NULL ||
            vqc_scope_define(v->graphs[1], v->graphs[1]->scopes[0], node->input[0]) != NULL) {
            break;
        }
        node = before->producer;
    }
    return node;
}

/* Name and operator in the report's arena: the models go before the report does. */
static const char *label_of(const verifier *v, const char *name, const char **op)
{
    const Onnx__NodeProto *node = source_of(v, name);
    vqc_arena *arena = v->report->arena;
    const char *label;

    *op = "";
    if (node == NULL) {
        return "";
    }
    *op = vqc_node_op_name(node, arena);
    label = vqc_node_label(node, arena);
    if (*op == NULL || label == NULL) {
        return NULL;
    }
    *op = vqc_arena_strdup(arena, *op);
    return vqc_arena_strdup(arena, label);
}

/* "error" of outputs that are integers: the share of equal values takes the agreement's place. */
static void describe_output(verifier *v, const vqc_output_comparison *from, vqc_value_error *to)
{
    to->name = vqc_arena_strdup(v->report->arena, from->name);
    to->node = label_of(v, from->name, &to->op);
    to->sqnr_db = from->is_integer ? (double)NAN : from->metrics.sqnr_db;
    to->cosine = from->is_integer ? (double)NAN : from->metrics.cosine;
    to->max_abs_error = from->is_integer ? (double)NAN : from->metrics.max_abs_error;
    to->agreement = to->added_db = (double)NAN;
    if (from->is_integer && from->values > 0) {
        to->agreement = (double)from->equal / (double)from->values;
    } else if (from->rows > 0) {
        to->agreement = (double)from->top1_equal / (double)from->rows;
    }
}

static vqc_status describe_outputs(verifier *v, const vqc_comparison *comparison)
{
    vqc_verification *out = &v->report->verification;

    out->outputs =
        vqc_arena_calloc(v->report->arena, comparison->output_count + 1, sizeof *out->outputs);
    if (out->outputs == NULL) {
        return vqc_fail_memory(v->error, comparison->output_count * sizeof *out->outputs);
    }
    out->min_sqnr_db = INFINITY;
    for (size_t i = 0; i < comparison->output_count; i++) {
        const vqc_output_comparison *from = &comparison->outputs[i];
        vqc_value_error *to = &out->outputs[out->output_count++];

        describe_output(v, from, to);
        if (to->name == NULL || to->node == NULL || to->op == NULL) {
            return vqc_fail_memory(v->error, 0);
        }
        /* NaN counts as worst; outputs that are all zero in the original say nothing */
        if (!from->is_integer && from->metrics.sum_ref2 + from->metrics.sum_err2 != 0.0 &&
            !(to->sqnr_db >= out->min_sqnr_db)) {
            out->min_sqnr_db = isnan(to->sqnr_db) ? -INFINITY : to->sqnr_db;
        }
        out->nonfinite +=
            from->nonfinite > from->nonfinite_ref ? from->nonfinite - from->nonfinite_ref : 0;
    }
    out->samples = comparison->reference.samples;
    out->top1_before = percent(comparison->reference.top1);
    out->top1_after = percent(comparison->model.top1);
    out->top5_before = percent(comparison->reference.top5);
    out->top5_after = percent(comparison->model.top5);
    out->mse_before = comparison->reference.mse;
    out->mse_after = comparison->model.mse;
    out->perplexity_before = comparison->reference.perplexity;
    out->perplexity_after = comparison->model.perplexity;
    return VQC_OK;
}

static double to_db(double noise)
{
    return noise == 0.0 ? INFINITY : -10.0 * log10(noise); /* NaN stays NaN */
}

/* What recipes can call the node that a value comes from: its name; without one, its weight, or
 * else its output. */
static const char *name_of(const verifier *v, const char *value)
{
    const Onnx__NodeProto *node = source_of(v, value);
    const vqc_value *weight;

    if (node == NULL || (node->name != NULL && node->name[0] != '\0')) {
        return node == NULL ? value : node->name;
    }
    weight = node->n_input < 2
                 ? NULL
                 : vqc_scope_define(v->graphs[0], v->graphs[0]->scopes[0], node->input[1]);
    return weight != NULL && weight->initializer != NULL ? weight->name
           : node->n_output > 0                          ? node->output[0]
                                                         : value;
}

/* The layer whose weight the node of a value reads, when that weight was changed; NULL: none. */
static const vqc_layer_report *layer_of(const verifier *v, const char *value)
{
    const Onnx__NodeProto *node = source_of(v, value);

    for (size_t i = 0; node != NULL && node->n_input >= 2 && i < v->report->layer_count; i++) {
        const vqc_layer_report *layer = &v->report->layers[i];
        if (layer->scope[0] == '\0' && layer->metrics.sum_err2 > 0.0 &&
            strcmp(layer->name, node->input[1]) == 0) {
            return layer;
        }
    }
    return NULL;
}

/* The nodes that add most noise, loudest first; `weighted`: only those with a changed weight. */
static size_t find_worst(const verifier *v, const vqc_value_noise *values, size_t count,
                         bool weighted, const vqc_value_noise **worst)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        size_t at = found < MAX_WORST ? found : MAX_WORST;
        if (!isfinite(values[i].added) || values[i].added == 0.0 ||
            (weighted && layer_of(v, values[i].value->name) == NULL)) {
            continue;
        }
        while (at > 0 && worst[at - 1]->added < values[i].added) {
            if (at < MAX_WORST) {
                worst[at] = worst[at - 1];
            }
            at--;
        }
        if (at < MAX_WORST) {
            worst[at] = &values[i];
            found += found < MAX_WORST ? 1 : 0;
        }
    }
    return found;
}

/* Whether most of what a layer lost went with its pruned weights. */
static bool lost_by_pruning(const vqc_layer_report *layer)
{
    return layer->coding_metrics.count > 0 &&
           layer->coding_metrics.sum_err2 < 0.5 * layer->metrics.sum_err2;
}

/* Layers that are only stored in fewer bits, or pruned: those that hurt, and the rule that spares
 * them. */
static vqc_status note_weights(verifier *v, const vqc_value_noise *const *worst, size_t count)
{
    char names[512];
    size_t used = 0;
    bool pruned = lost_by_pruning(layer_of(v, worst[0]->value->name));

    while (count > 1 && worst[count - 1]->added < worst[0]->added * SMALL_SHARE) {
        count--;
    }
    for (size_t i = 0; i < count && used < sizeof names; i++) {
        int n = snprintf(names + used, sizeof names - used, "%s\"%s\"", i > 0 ? ", " : "",
                         layer_of(v, worst[i]->value->name)->name);
        used += n > 0 ? (size_t)n : 0;
    }
    return vqc_report_note(
        v->report, v->error,
        pruned ? "most noise of weights arises in %s (output of the first at %.1f dB). To keep all "
                 "of their weights, at the end of the recipe: layers: [{match: {name: [%s]}, "
                 "sparsity: 0}]"
               : "most noise of weights arises in %s (output of the first at %.1f dB). To give "
                 "them 8 bits, at the end of the recipe: layers: [{match: {name: [%s]}, codec: "
                 "int, bits: 8, granularity: channel}]; to keep them: codec: keep",
        names, to_db(worst[0]->noise), names);
}

/* What adds most noise, and how to leave it out. */
static vqc_status note_worst(verifier *v, const vqc_value_noise *values, size_t count)
{
    const vqc_value_noise *worst[MAX_WORST];
    bool is_static = v->report->possible_layers > 0;
    size_t found = find_worst(v, values, count, !is_static, worst);
    const char *op;
    const char *label;

    if (found == 0 || v->report->verification.min_sqnr_db >= GOOD_DB) {
        return VQC_OK;
    }
    if (!is_static) {
        return note_weights(v, worst, found);
    }
    label = label_of(v, worst[0]->value->name, &op);
    if (label == NULL || op == NULL) {
        return vqc_fail_memory(v->error, 0);
    }
    return vqc_report_note(
        v->report, v->error,
        "most noise arises in \"%s\" (%s): its output is at %.1f dB. To leave it "
        "in float: static: {exclude: [{name: \"%s\"}]}; to keep its weight: "
        "layers: [{match: {name: \"%s\"}, codec: keep}]",
        label, op, to_db(worst[0]->noise), name_of(v, worst[0]->value->name),
        name_of(v, worst[0]->value->name));
}

static vqc_status describe_values(verifier *v)
{
    vqc_verification *out = &v->report->verification;
    vqc_arena *arena = v->report->arena;
    const vqc_value_noise *values = v->found.values;
    size_t count = v->found.value_count;

    out->values = vqc_arena_calloc(arena, count + 1, sizeof *out->values);
    if (out->values == NULL) {
        return vqc_fail_memory(v->error, count * sizeof *out->values);
    }
    for (size_t i = 0; i < count; i++) {
        vqc_value_error *to = &out->values[i];
        to->name = vqc_arena_strdup(arena, values[i].value->name);
        to->node = label_of(v, values[i].value->name, &to->op);
        to->sqnr_db = to_db(values[i].noise);
        to->added_db = to_db(values[i].added);
        to->cosine = to->max_abs_error = to->agreement = (double)NAN;
        if (to->name == NULL || to->node == NULL || to->op == NULL) {
            return vqc_fail_memory(v->error, 0);
        }
    }
    out->value_count = count;
    out->value_samples = v->found.value_samples;
    return note_worst(v, values, count);
}

static void report_progress(void *context, size_t done, size_t total)
{
    const vqc_verify_options *options = context;
    if (options->progress != NULL) {
        options->progress(options->progress_context, "verify", done, total);
    }
}

vqc_status vqc_verify_models(const vqc_model *original, const vqc_model *written,
                             vqc_samples *samples, const vqc_verify_options *options,
                             vqc_report *report, vqc_error *error)
{
    const vqc_model *models[2] = {original, written};
    verifier v = {.report = report, .error = error};
    vqc_evaluate_options evaluate = {
        .threads = options->threads,
        .progress = report_progress,
        .progress_context = (void *)(uintptr_t)options,
    };
    vqc_status status = VQC_OK;

    for (int i = 0; i < 2 && status == VQC_OK; i++) {
        status = vqc_graph_create((vqc_model *)(uintptr_t)models[i], &v.graphs[i], error);
    }
    if (status == VQC_OK) {
        status = vqc_verify_run((const vqc_graph *const *)v.graphs, samples, VALUE_SAMPLES,
                                &evaluate, report->arena, &v.found, error);
    }
    if (status == VQC_OK) {
        report->verification.data = vqc_arena_strdup(report->arena, samples->path);
        report->verification.held_out = options->held_out;
        report->verification.is_synthetic = samples->is_synthetic;
        status = report->verification.data == NULL ? vqc_fail_memory(error, 0)
                                                   : describe_outputs(&v, v.found.comparison);
    }
    if (status == VQC_OK) {
        status = describe_values(&v);
    }
    vqc_verified_clear(&v.found);
    for (int i = 0; i < 2; i++) {
        vqc_graph_destroy(&v.graphs[i]);
    }
    return status;
}
