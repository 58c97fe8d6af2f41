#include "core/pipeline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/encode_layers.h"
#include "core/fold/fold.h"
#include "core/opset.h"
#include "core/plan.h"
#include "core/prune/channels_stage.h"
#include "core/prune/prune_stage.h"
#include "core/report.h"
#include "core/static/qoperator.h"
#include "core/static/static_run.h"
#include "core/vq/calibrated.h"
#include "core/vq/vq_share.h"

typedef struct run {
    vqc_model *model;
    const vqc_recipe *recipe;
    const vqc_pipeline_options *options;
    vqc_report *report;
    vqc_error *error;
    vqc_graph *graph;
    vqc_arena *arena; /* the plan's */
    vqc_plan plan;
    vqc_arena *static_arena;    /* codes of static layers */
    vqc_encode_before before;   /* what weights took before channels were cut */
    vqc_arena *before_arena;    /* of before; NULL: none were cut */
    vqc_arena *norm_arena;      /* of norm_means */
    vqc_norm_means *norm_means; /* known before folding; NULL: not wanted, or none */
    vqc_prune_originals originals;
} run;

/* ---- planning, and raising the opset when a decision needs it ---- */

static vqc_status plan_model(run *r)
{
    vqc_status status;

    vqc_graph_destroy(&r->graph);
    vqc_arena_destroy(&r->arena);
    r->arena = vqc_arena_create();
    if (r->arena == NULL) {
        return vqc_fail_memory(r->error, 0);
    }
    status = vqc_graph_create(r->model, &r->graph, r->error);
    if (status != VQC_OK) {
        return status;
    }
    status = vqc_plan_resolve(r->graph, r->recipe, r->arena, &r->plan, r->error);
    r->plan.has_data = r->options->samples != NULL;
    return status;
}

/*
 * The highest opset that some decision wants and the model's nodes allow; 0 when nothing is to be
 * raised. Wishes are 11 (dynamic quantization), 13 (channels, bfloat16) and 21 (blocks).
 */
static vqc_status choose_opset(run *r, int64_t *target)
{
    static const int64_t steps[] = {21, 13, 11};
    int64_t wanted;
    vqc_messages blockers = {0};
    vqc_status status = vqc_plan_prepare(&r->plan, r->recipe, 28, true, &wanted, r->error);

    *target = 0;
    if (status != VQC_OK || wanted == 0 || r->options->keep_opset) {
        return status;
    }
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && *target == 0; i++) {
        if (steps[i] > wanted || steps[i] <= vqc_model_opset(r->model->proto, "")) {
            continue;
        }
        vqc_messages_clear(&blockers);
        status = vqc_opset_check(r->graph, steps[i], &blockers, r->error);
        if (status == VQC_OK) {
            *target = steps[i];
        } else if (status != VQC_ERR_MODEL) {
            break;
        } else {
            status = VQC_OK;
        }
    }
    for (size_t i = 0; i < blockers.count && i < 3 && status == VQC_OK; i++) {
        status = vqc_report_note(r->report, r->error, "opset stays below %lld: %s",
                                 (long long)wanted, blockers.items[i]);
    }
    vqc_messages_clear(&blockers);
    return status;
}

/* Decides every layer at the opset that the model has now. */
static vqc_status prepare_layers(run *r)
{
    int64_t ignored;
    vqc_status status = vqc_plan_prepare(&r->plan, r->recipe, 0, false, &ignored, r->error);

    return status == VQC_OK ? vqc_plan_settle(r->graph, &r->plan, r->recipe, r->arena, r->error)
                            : status;
}

static vqc_status plan_and_raise(run *r)
{
    int64_t target;
    int64_t before = vqc_model_opset(r->model->proto, "");
    vqc_status status = plan_model(r);

    if (status == VQC_OK) {
        status = choose_opset(r, &target);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (target > before) {
        status = vqc_opset_raise(r->graph, target, r->error);
        if (status == VQC_OK) {
            status = vqc_report_note(r->report, r->error,
                                     "opset raised from %lld to %lld for the chosen patterns",
                                     (long long)before, (long long)target);
        }
        if (status == VQC_OK) {
            status = plan_model(r);
        }
        if (status != VQC_OK) {
            return status;
        }
    }
    return prepare_layers(r);
}

/* ---- folding ---- */

/* What BatchNormalization says of activations, for weights that are coded without data. */
static vqc_status find_norm_means(run *r)
{
    vqc_graph *graph = NULL;
    vqc_status status;

    if (r->options->samples != NULL || vqc_recipe_is_static(r->recipe) ||
        !vqc_recipe_uses_codec(r->recipe, "vq")) {
        return VQC_OK;
    }
    r->norm_arena = vqc_arena_create();
    if (r->norm_arena == NULL) {
        return vqc_fail_memory(r->error, 0);
    }
    status = vqc_graph_create(r->model, &graph, r->error);
    if (status == VQC_OK) {
        status = vqc_norm_means_find(graph, r->norm_arena, &r->norm_means, r->error);
    }
    if (status == VQC_OK && vqc_norm_means_count(r->norm_means) == 0) {
        r->norm_means = NULL;
    }
    vqc_graph_destroy(&graph);
    return status;
}

static vqc_status fold(run *r)
{
    vqc_fold_counts counts;
    uint64_t start = vqc_report_clock();
    vqc_status status = vqc_fold_model(r->model, &counts, r->error);

    if (status == VQC_OK) {
        status = vqc_report_stage(r->report, "fold", vqc_report_clock() - start, r->error);
    }
    if (status != VQC_OK) {
        return status;
    }
    r->report->folded = counts.norms + counts.scales + counts.constants + counts.idle;
    if (r->report->folded == 0) {
        return r->recipe->fold ? vqc_report_note(r->report, r->error, "nothing to fold") : VQC_OK;
    }
    return vqc_report_note(r->report, r->error,
                           "folded: %zu BatchNormalization and %zu Mul or Add into weights, %zu "
                           "constant expressions, %zu Identity or Dropout",
                           counts.norms, counts.scales, counts.constants, counts.idle);
}

/*
 * Constants that are listed as inputs of the graph are taken out of them: below IR 4 all are, and
 * new ones would have to be; from IR 4 on a caller might replace them, and then nothing that
 * follows from their values holds.
 */
static vqc_status settle_constants(run *r)
{
    Onnx__GraphProto *proto = r->model->proto->graph;
    vqc_graph *graph = NULL;
    vqc_patch *patch;
    size_t kept = 0;
    size_t inputs = proto->n_input;
    vqc_status status = vqc_graph_create(r->model, &graph, r->error);

    if (status == VQC_OK && r->model->proto->ir_version < 4) {
        patch = vqc_patch_create(graph);
        if (patch == NULL) {
            status = vqc_fail_memory(r->error, 0);
        } else {
            vqc_patch_need_ir(patch, 4);
            status = vqc_patch_apply(patch, r->error);
        }
    } else if (status == VQC_OK) {
        for (size_t i = 0; i < inputs; i++) {
            const vqc_value *value =
                vqc_scope_define(graph, graph->scopes[0], proto->input[i]->name);
            if (value == NULL || (value->initializer == NULL && value->sparse == NULL)) {
                proto->input[kept++] = proto->input[i];
            }
        }
        proto->n_input = kept;
        if (kept < inputs) {
            status = vqc_report_note(r->report, r->error,
                                     "%zu inputs with a default value became constants: a caller "
                                     "can no longer replace them",
                                     inputs - kept);
        }
    }
    vqc_graph_destroy(&graph);
    return status;
}

/* ---- pruning ---- */

static vqc_status remember_sizes(run *r)
{
    vqc_graph *graph = NULL;
    vqc_status status = vqc_graph_create(r->model, &graph, r->error);

    r->before_arena = vqc_arena_create();
    if (status == VQC_OK) {
        status = r->before_arena == NULL
                     ? vqc_fail_memory(r->error, 0)
                     : vqc_encode_before_find(graph, r->before_arena, &r->before, r->error);
    }
    vqc_graph_destroy(&graph);
    return status;
}

static vqc_status prune(run *r)
{
    vqc_prune_stage stage = {
        .model = r->model,
        .recipe = r->recipe,
        .samples = r->options->samples,
        .threads = r->options->run->threads,
        .report = r->report,
        .progress = r->options->run->progress,
        .progress_context = r->options->run->progress_context,
        .originals = &r->originals,
    };

    if (vqc_prune_channels_wanted(r->recipe)) {
        vqc_status status = remember_sizes(r);
        return status == VQC_OK ? vqc_prune_channels_run(&stage, r->error) : status;
    }
    return vqc_prune_wanted(r->recipe) ? vqc_prune_run(&stage, r->error) : VQC_OK;
}

/* ---- static quantization ---- */

/* What is known of a static layer across a new plan of the rewritten graph. */
static vqc_plan_layer *same_layer(vqc_plan *plan, const vqc_plan_layer *other)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (strcmp(plan->layers[i].layer->value->name, other->layer->value->name) == 0 &&
            strcmp(plan->layers[i].layer->scope->path, other->layer->scope->path) == 0) {
            return &plan->layers[i];
        }
    }
    return NULL;
}

/*
 * Forgets codes that were made for static activations where the layer, decided anew without, is cut
 * in other sub-vectors: it is coded again.
 */
static void drop_outdated_codes(vqc_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        vqc_plan_layer *item = &plan->layers[i];
        const vqc_vq_shape *is = &item->decision.vq;
        const vqc_vq_shape *was;
        if (item->code == NULL) {
            continue;
        }
        item->code->decision = &item->decision;
        if (item->code->vq == NULL) {
            continue;
        }
        was = &item->code->vq->shape;
        if (!item->may_code || item->decision.codec != &vqc_codec_vq || was->dim != is->dim ||
            was->down_rows != is->down_rows || was->packed != is->packed ||
            was->is_masked != is->is_masked) {
            item->code = NULL;
        }
    }
}

/* Plans the rewritten graph: the same layers, those with codes as they were coded. */
static vqc_status plan_rewritten(run *r)
{
    vqc_arena *old_arena = r->arena;
    vqc_graph *old_graph = r->graph;
    vqc_plan old = r->plan;
    vqc_status status;

    r->arena = NULL;
    r->graph = NULL;
    status = plan_model(r);
    for (size_t i = 0; i < r->plan.count && status == VQC_OK; i++) {
        r->plan.layers[i].is_static = false;
    }
    for (size_t i = 0; i < old.count && status == VQC_OK; i++) {
        const vqc_plan_layer *before = &old.layers[i];
        /* a code of a layer that turned out to stay is of no use any more */
        bool has_code = before->code != NULL && before->may_code;
        vqc_plan_layer *item =
            !has_code && !before->wide_weight ? NULL : same_layer(&r->plan, before);
        if (item != NULL) {
            item->is_static = before->is_static;
            item->may_code = has_code || item->may_code;
            item->code = has_code ? before->code : NULL;
            if (before->wide_weight) {
                (void)snprintf(item->spec.codec, sizeof item->spec.codec, "float16");
                item->spec.min_elements = 0;
            }
        }
    }
    if (status == VQC_OK) {
        vqc_plan_keep_small(&r->plan);
        status = prepare_layers(r);
    }
    if (status == VQC_OK) {
        drop_outdated_codes(&r->plan);
    }
    vqc_graph_destroy(&old_graph);
    vqc_arena_destroy(&old_arena);
    return status;
}

/* Layers that cannot be static after all are planned as weight-only ones. */
static vqc_status give_up_static(run *r, const char *why)
{
    vqc_status status;

    for (size_t i = 0; i < r->plan.count; i++) {
        r->plan.layers[i].is_static = false;
    }
    vqc_plan_keep_small(&r->plan);
    status = prepare_layers(r);
    if (status == VQC_OK) {
        drop_outdated_codes(&r->plan);
    }
    return status == VQC_OK
               ? vqc_report_note(r->report, r->error, "activations stay float: %s", why)
               : status;
}

static vqc_status quantize_static(run *r)
{
    vqc_static_job job = {
        .graph = r->graph,
        .plan = &r->plan,
        .recipe = r->recipe,
        .samples = r->options->samples,
        .stats = r->options->stats,
        .stats_path = r->options->stats_path,
        .keep_stats = r->options->made != NULL,
        .threads = r->options->run->threads,
        .report = r->report,
        .progress = r->options->run->progress,
        .progress_context = r->options->run->progress_context,
    };
    vqc_messages missing = {0};
    vqc_status status;

    if (!vqc_recipe_is_static(r->recipe)) {
        return VQC_OK;
    }
    if (r->graph->scopes[0]->opset < 13) {
        status = give_up_static(r, "QuantizeLinear with a scale per channel needs opset 13");
        if (status != VQC_OK) {
            return status;
        }
    }
    status = vqc_program_missing(r->graph, &missing, r->error);
    if (status == VQC_OK && missing.count > 0) {
        char why[512];
        size_t used = 0;
        for (size_t i = 0; i < missing.count && used < sizeof why; i++) {
            used += (size_t)snprintf(why + used, sizeof why - used, "%s%s", i > 0 ? ", " : "",
                                     missing.items[i]);
        }
        status = vqc_report_note(r->report, r->error, "vqc cannot run this model: %s", why);
        vqc_messages_clear(&missing);
        return status == VQC_OK ? give_up_static(r, "calibration needs to run the model") : status;
    }
    if (status == VQC_OK && job.samples == NULL) {
        status = vqc_fail(r->error, VQC_ERR_USAGE,
                          "%s: activations: static needs calibration data: got none, expected "
                          "--calib PATH or calibrate.data in the recipe",
                          r->recipe->path);
    }
    r->static_arena = vqc_arena_create();
    job.arena = r->static_arena;
    if (status == VQC_OK && r->static_arena == NULL) {
        status = vqc_fail_memory(r->error, 0);
    }
    if (status == VQC_OK) {
        status = vqc_static_run(&job, r->error);
    }
    if (job.stats != r->options->stats) {
        if (status == VQC_OK && r->options->made != NULL) {
            *r->options->made = job.stats;
        } else {
            vqc_stats_destroy(&job.stats);
        }
    }
    return status == VQC_OK ? plan_rewritten(r) : status;
}

/* ---- weights coded for what their layers see ---- */

static vqc_status code_calibrated(run *r, bool for_static)
{
    vqc_calibrated_job job = {
        .graph = r->graph,
        .plan = &r->plan,
        .recipe = r->recipe,
        .arena = r->model->arena,
        .samples = r->options->samples,
        .threads = r->options->run->threads,
        .report = r->report,
        .progress = r->options->run->progress,
        .progress_context = r->options->run->progress_context,
        .for_static = for_static,
    };
    vqc_messages missing = {0};
    vqc_status status;

    if (vqc_recipe_is_static(r->recipe) != for_static || job.samples == NULL) {
        return VQC_OK;
    }
    status = vqc_program_missing(r->graph, &missing, r->error);
    if (status == VQC_OK && missing.count > 0) {
        status = vqc_report_note(r->report, r->error,
                                 "the calibration data are not used, because vqc cannot run this "
                                 "model: %s%s",
                                 missing.items[0], missing.count > 1 ? ", ..." : "");
    } else if (status == VQC_OK) {
        status = vqc_calibrated_run(&job, r->error);
    }
    vqc_messages_clear(&missing);
    return status;
}

/* ---- operators on codes ---- */

/* "53 QLinearConv, 10 QLinearAdd" and, for what stays, "(why)". */
static const char *list_kinds(char *text, size_t capacity, const vqc_qoperator_kind *kinds,
                              size_t count)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < count && used < capacity; i++) {
        bool why = kinds[i].reason[0] != '\0';
        int n =
            snprintf(text + used, capacity - used, "%s%zu %s%s%s%s", i > 0 ? ", " : "",
                     kinds[i].count, kinds[i].op, why ? " (" : "", kinds[i].reason, why ? ")" : "");
        used += n > 0 ? (size_t)n : 0;
    }
    return text;
}

/* The QDQ model becomes one of integer operators. In a dry run too: codes are not there yet, but
 * nodes and sizes do not depend on them. */
static vqc_status write_qoperators(run *r)
{
    vqc_qoperator_result result;
    char text[1024];
    vqc_status status;

    if (r->recipe->fixed.format != VQC_STATIC_QOPERATOR || !vqc_recipe_is_static(r->recipe)) {
        return VQC_OK;
    }
    status = vqc_qoperator_convert(r->model, r->recipe->operators == VQC_OPERATORS_ONNXRUNTIME,
                                   &result, r->error);
    for (size_t i = 0; i < result.layer_count && status == VQC_OK; i++) {
        for (size_t k = 0; k < r->report->layer_count; k++) {
            vqc_layer_report *layer = &r->report->layers[k];
            if (layer->scope[0] == '\0' && strcmp(layer->name, result.layers[i].weight) == 0) {
                layer->pattern = result.layers[i].op;
            }
        }
    }
    if (status == VQC_OK) {
        status =
            vqc_report_note(r->report, r->error, "%zu nodes compute on codes: %s", result.converted,
                            list_kinds(text, sizeof text, result.done, result.done_count));
    }
    if (status == VQC_OK && result.left > 0) {
        status = vqc_report_note(
            r->report, r->error, "%zu nodes stay between DequantizeLinear and QuantizeLinear: %s",
            result.left, list_kinds(text, sizeof text, result.remaining, result.remaining_count));
    }
    return status;
}

/* ---- the whole ---- */

static vqc_status note_rules(run *r)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < r->recipe->rule_count && status == VQC_OK; i++) {
        const vqc_match *match = &r->recipe->rules[i].match;
        /* a rule for every name is meant for whatever there may be */
        bool general = match->name_count == 1 && strcmp(match->names[0], "*") == 0;
        if (!r->plan.rule_hits[i] && !general) {
            status = vqc_report_note(
                r->report, r->error, "%s:%d:%d: this rule matches no weight of the model",
                r->recipe->path, r->recipe->rules[i].line, r->recipe->rules[i].column);
        }
    }
    for (size_t i = 0; i < r->plan.count && status == VQC_OK; i++) {
        const vqc_plan_layer *item = &r->plan.layers[i];
        if (item->may_code && item->layer->overridable) {
            status = vqc_report_note(
                r->report, r->error,
                "\"%s\" was also a graph input with this weight as its default: no longer an input",
                item->layer->value->name);
        }
    }
    return status;
}

/* What only calibration data give an effect, and there are none. */
static vqc_status note_calibration(run *r)
{
    const vqc_vq_options *vq = &r->recipe->vq;
    const char *key =
        vq->error_feedback != VQC_VQ_FEEDBACK_AUTO && vq->error_feedback != VQC_VQ_FEEDBACK_OFF
            ? "error_feedback"
        : vq->samples != 0             ? "samples"
        : vq->zeros == VQC_SWITCH_AUTO ? "zeros"
                                       : NULL;

    if (r->options->made != NULL && !vqc_recipe_is_static(r->recipe)) {
        return vqc_report_note(r->report, r->error,
                               "the calibration cache is neither read nor written: only "
                               "activations: static has a use for it");
    }
    return key == NULL || r->options->samples != NULL
               ? VQC_OK
               : vqc_report_note(r->report, r->error,
                                 "vq.%s has no effect without calibration data (--calib): "
                                 "codebooks are trained on the weights alone",
                                 key);
}

vqc_status vqc_pipeline_run(vqc_model *model, const vqc_recipe *recipe,
                            const vqc_pipeline_options *options, vqc_report *report,
                            vqc_error *error)
{
    vqc_error local;
    run r = {
        .model = model,
        .recipe = recipe,
        .options = options,
        .report = report,
        .error = error != NULL ? error : &local,
    };
    vqc_encode encode = {
        .model = model,
        .recipe = recipe,
        .plan = &r.plan,
        .options = options->run,
        .report = report,
        .error = r.error,
    };
    vqc_status status;

#ifdef _OPENMP
    if (options->run->threads > 0) {
        omp_set_num_threads(options->run->threads);
    }
#endif
    report->opset_before = vqc_model_opset(model->proto, "");
    report->ir_before = model->proto->ir_version;
    status = vqc_recipe_is_static(recipe) || recipe->fold || vqc_prune_channels_wanted(recipe)
                 ? settle_constants(&r)
                 : VQC_OK;
    if (status == VQC_OK) {
        status = find_norm_means(&r);
    }
    if (status == VQC_OK && (recipe->fold || vqc_recipe_is_static(recipe))) {
        status = fold(&r);
    }
    if (status == VQC_OK) {
        status = prune(&r);
    }
    if (status == VQC_OK) {
        status = plan_and_raise(&r);
    }
    if (status == VQC_OK) {
        status = note_calibration(&r);
    }
    if (status == VQC_OK) {
        status = vqc_vq_share(&r.plan, recipe->path, model->arena, r.error);
    }
    if (status == VQC_OK && !vqc_prune_channels_wanted(recipe)) {
        status = vqc_prune_set_masks(&r.plan, recipe, r.arena, r.error);
    }
    if (status == VQC_OK) {
        status = code_calibrated(&r, true);
    }
    if (status == VQC_OK) {
        status = quantize_static(&r);
    }
    if (status == VQC_OK) {
        status = code_calibrated(&r, false);
    }
    if (status == VQC_OK) {
        encode.graph = r.graph;
        encode.norm_means = r.norm_means;
        encode.originals = &r.originals;
        encode.before = r.before_arena != NULL ? &r.before : NULL;
        status = vqc_encode_layers(&encode);
    }
    if (status == VQC_OK && encode.norm_biases > 0) {
        status = vqc_report_note(report, r.error,
                                 "%zu biases corrected by what BatchNormalization says of the "
                                 "activations",
                                 encode.norm_biases);
    }
    if (status == VQC_OK && encode.unpruned > 0) {
        status = vqc_report_note(report, r.error,
                                 "not all zeros of %zu pruned layer%s are in the file: so few that "
                                 "vectors do not keep them; codec int and vq with dim: 1 do",
                                 encode.unpruned, encode.unpruned == 1 ? "" : "s");
    }
    if (status == VQC_OK) {
        status = write_qoperators(&r);
    }
    if (status == VQC_OK) {
        status = note_rules(&r);
    }
    report->opset_after = vqc_model_opset(model->proto, "");
    report->ir_after = model->proto->ir_version;
    report->metrics = vqc_encode_metrics(&encode.sums);
    report->metrics.cosine = (double)NAN; /* adds up over layers only where each has it */
    if (r.originals.count > 0) {
        report->coding_metrics = vqc_encode_metrics(&encode.coding_sums);
        report->coding_metrics.cosine = (double)NAN;
    }
    vqc_report_total(report);
    vqc_graph_destroy(&r.graph);
    vqc_arena_destroy(&r.arena);
    vqc_arena_destroy(&r.static_arena);
    vqc_arena_destroy(&r.norm_arena);
    vqc_arena_destroy(&r.before_arena);
    return status;
}
