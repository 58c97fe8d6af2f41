#include "core/encode_layers.h"

#include <math.h>
#include <string.h>

#include "core/codec/sparse_choose.h"
#include "core/codec/vq_form.h"
#include "core/emit/patterns.h"
#include "core/metrics.h"
#include "core/number_text.h"
#include "core/report.h"
#include "core/tensor.h"

enum { /* reports speak of zeros from one in so many weights on */
       NOTABLE_ZEROS = 10,
       PRUNED_ZEROS = 100 /* in a recipe that prunes */
};

/* ---- one layer ---- */

/* Emits `code` into a new patch. */
static vqc_status emit(vqc_encode *r, const vqc_plan_layer *item, const vqc_code *code,
                       vqc_patch **patch)
{
    vqc_emitter emitter = {
        .graph = r->graph,
        .scope = item->layer->scope,
        .arena = r->model->arena,
        .error = r->error,
        .opset = item->layer->scope->opset,
    };

    *patch = vqc_patch_create(r->graph);
    if (*patch == NULL) {
        return vqc_fail_memory(r->error, 0);
    }
    emitter.patch = *patch;
    item->decision.codec->emit(&emitter, code);
    return emitter.status;
}

static size_t constant_bytes(vqc_graph *graph, const vqc_layer *layer)
{
    vqc_patch *patch = vqc_patch_create(graph);
    size_t bytes = 0;

    if (patch != NULL && vqc_patch_remove_constant(patch, layer->value, NULL) == VQC_OK) {
        bytes = vqc_patch_removed_bytes(patch);
    }
    if (patch != NULL) {
        vqc_patch_drop(patch);
    }
    return bytes;
}

static vqc_status code_layer(vqc_encode *r, vqc_plan_layer *item, vqc_arena *arena,
                             vqc_layer_report *out);

/* The error of a pruned layer, coded or (code NULL) as it is, against what it was before. */
static vqc_status measure_pruned(vqc_encode *r, const vqc_plan_layer *item, const vqc_code *code,
                                 vqc_layer_report *out)
{
    const Onnx__TensorProto *before = vqc_prune_original_of(r->originals, item->layer);
    vqc_arena *arena = before == NULL ? NULL : vqc_arena_create();
    vqc_code whole = code == NULL ? (vqc_code){.decision = NULL} : *code;
    const float *original;
    const float *now;
    size_t elements;
    vqc_status status;

    if (before == NULL) {
        return VQC_OK;
    }
    status = arena == NULL ? vqc_fail_memory(r->error, 0)
                           : vqc_tensor_borrow_f32(before, arena, &original, &elements, r->error);
    if (status == VQC_OK && code != NULL) {
        status = vqc_code_measure(&whole, original, arena, r->error);
    } else if (status == VQC_OK) {
        status = vqc_tensor_borrow_f32(item->layer->tensor, arena, &now, &elements, r->error);
        if (status == VQC_OK) {
            vqc_error_sums same = {0};
            vqc_error_sums_add_f32(original, now, elements, &whole.sums);
            vqc_error_sums_add_f32(now, now, elements, &same);
            out->coding_metrics = vqc_encode_metrics(&same);
            vqc_error_sums_add(&r->coding_sums, &same);
        }
    }
    if (status == VQC_OK) {
        out->metrics = vqc_encode_metrics(&whole.sums);
        vqc_error_sums_add(&r->sums, &whole.sums);
    }
    vqc_arena_destroy(&arena);
    return status;
}

/* Whether a layer that stays may be stored without its zeros. */
static bool may_drop_zeros(const vqc_encode *r, const vqc_plan_layer *item)
{
    const vqc_layer *layer = item->layer;

    return !layer->is_output && !item->is_static && layer->elements > 0 &&
           layer->rank <= VQC_LAYER_MAX_RANK && item->decision.codec != &vqc_codec_exact &&
           (item->spec.sparse == VQC_SWITCH_ON || vqc_prune_wanted(r->recipe));
}

vqc_status vqc_encode_before_find(vqc_graph *graph, vqc_arena *arena, vqc_encode_before *out,
                                  vqc_error *error)
{
    vqc_layer *layers;
    size_t count;
    vqc_status status = vqc_layers_find(graph, arena, &layers, &count, error);

    *out = (vqc_encode_before){0};
    if (status != VQC_OK) {
        return status;
    }
    out->names = vqc_arena_calloc(arena, count + 1, sizeof *out->names);
    out->bytes = vqc_arena_calloc(arena, count + 1, sizeof *out->bytes);
    if (out->names == NULL || out->bytes == NULL) {
        return vqc_fail_memory(error, count * sizeof *out->names);
    }
    for (size_t i = 0; i < count; i++) {
        if (layers[i].scope == graph->scopes[0]) {
            out->names[out->count] = vqc_arena_strdup(arena, layers[i].value->name);
            out->bytes[out->count] = constant_bytes(graph, &layers[i]);
            if (out->names[out->count++] == NULL) {
                return vqc_fail_memory(error, strlen(layers[i].value->name));
            }
        }
    }
    return VQC_OK;
}

/* What the layer took before its channels were cut; `now` where that is not known. */
static size_t bytes_before(const vqc_encode *r, const vqc_layer *layer, size_t now)
{
    const vqc_encode_before *before = r->before;

    for (size_t i = 0; before != NULL && layer->scope == r->graph->scopes[0] && i < before->count;
         i++) {
        if (strcmp(before->names[i], layer->value->name) == 0) {
            return before->bytes[i];
        }
    }
    return now;
}

/* The layer stays: without its zeros where that is smaller, else as it is. */
static vqc_status keep(vqc_encode *r, vqc_plan_layer *item, vqc_layer_report *out,
                       const char *reason)
{
    if (may_drop_zeros(r, item)) {
        vqc_plan_layer exact = {
            .layer = item->layer,
            .spec = item->spec,
            .decision = {.layer = item->layer, .spec = item->spec, .codec = &vqc_codec_exact},
        };
        int64_t ignored;
        vqc_arena *arena = vqc_arena_create();
        vqc_status status;
        exact.decision.reason = arena == NULL ? NULL : vqc_arena_strdup(arena, reason);
        if (exact.decision.reason == NULL) {
            vqc_arena_destroy(&arena);
            return vqc_fail_memory(r->error, strlen(reason));
        }
        vqc_codec_exact.prepare(&exact.decision, NULL, NULL, &ignored);
        status = code_layer(r, &exact, arena, out);
        item->may_code = status == VQC_OK && out->status == VQC_LAYER_CODED;
        vqc_arena_destroy(&arena);
        return status;
    }
    if (!r->options->dry_run) {
        vqc_status status = measure_pruned(r, item, NULL, out);
        if (status != VQC_OK) {
            return status;
        }
    }
    item->may_code = false;
    out->dense_bytes = out->after_bytes;
    out->status = VQC_LAYER_KEPT;
    out->codec = "keep";
    out->pattern = "";
    out->reason = vqc_arena_strdup(r->report->arena, reason);
    return out->reason == NULL ? vqc_fail_memory(r->error, strlen(reason)) : VQC_OK;
}

/* Codes the weights, and lets the reader drop their pages. */
static vqc_status fit(vqc_encode *r, vqc_plan_layer *item, const float *weights, vqc_arena *arena,
                      vqc_code *code)
{
    const vqc_decision *d = &item->decision;
    vqc_status status = d->codec->fit(d, weights, r->model->arena, arena, code, r->error);

    if (status == VQC_OK && vqc_error_sums_out_of_range(&code->sums)) {
        status = vqc_code_measure(code, weights, arena, r->error);
    }
    return status;
}

/* A dry run codes nothing, but must keep the layers that a real run would keep. */
static vqc_status check_values(vqc_encode *r, vqc_plan_layer *item, const float *weights)
{
    return item->decision.codec->check == NULL
               ? VQC_OK
               : item->decision.codec->check(&item->decision, weights, r->error);
}

/* The fused kernels measure the error but not the cosine: it is then not a number, not 0. */
vqc_metrics vqc_encode_metrics(const vqc_error_sums *sums)
{
    vqc_metrics metrics = vqc_metrics_from_sums(sums);
    if (sums->sum_dec2 == 0.0) {
        metrics.cosine = (double)NAN;
    }
    return metrics;
}

/* The layer's weights (those of its code, if it has one already: more of them may be 0), and the
 * smallest storage of its code (*sparse; dense where codes depend on what else is in the file). */
static vqc_status choose_storage(vqc_encode *r, const vqc_plan_layer *item, vqc_arena *arena,
                                 const float **weights, vqc_sparse *sparse, vqc_sparse_cost *cost)
{
    size_t elements;
    vqc_status status =
        vqc_tensor_borrow_f32(item->layer->tensor, arena, weights, &elements, r->error);

    *sparse = (vqc_sparse){.form = VQC_SPARSE_NONE, .elements = item->layer->elements};
    *cost = (vqc_sparse_cost){.sparse_name = ""};
    sparse->kept = sparse->elements;
    if (status == VQC_OK && item->code != NULL && !item->decision.is_shared &&
        !(item->code->vq != NULL && vqc_vq_is_packed(&item->code->vq->shape))) {
        float *decoded = vqc_arena_calloc(arena, elements, sizeof *decoded);
        status = decoded == NULL
                     ? vqc_fail_memory(r->error, elements * sizeof *decoded)
                     : item->decision.codec->decode(item->code, arena, decoded, r->error);
        *weights = decoded;
    }
    if (status == VQC_OK && !item->decision.is_shared) {
        status = vqc_sparse_choose(r->graph, &item->decision, *weights, sparse, cost, r->error);
    }
    return status;
}

/* Codes the layer unless it has a code, and finds what of it is stored. */
static vqc_status make_code(vqc_encode *r, vqc_plan_layer *item, const float *weights,
                            vqc_arena *arena, vqc_sparse *sparse, vqc_code *code)
{
    vqc_status status = VQC_OK;

    if (item->code != NULL) {
        *code = *item->code;
    } else {
        status = fit(r, item, weights, arena, code);
    }
    if (status == VQC_OK) {
        status = vqc_sparse_settle(r->graph, code, weights, arena, sparse, r->error);
    }
    if (status == VQC_OK && r->model->discard != NULL) {
        r->model->discard(r->model->release_context, item->layer->tensor->raw_data.data,
                          item->layer->tensor->raw_data.len);
    }
    return status;
}

/* What the report says of a layer that was coded. */
static vqc_status report_coded(vqc_encode *r, const vqc_plan_layer *item, const vqc_code *code,
                               vqc_layer_report *out)
{
    out->status = VQC_LAYER_CODED;
    out->codec = item->decision.codec->describe(&item->decision, r->report->arena);
    out->pattern = vqc_sparse_pattern(code, r->report->arena);
    if (item->decision.codec == &vqc_codec_vq) {
        out->codebook = vqc_vq_describe(&item->decision);
        if (code->sparse != NULL && !vqc_vq_is_packed(&item->decision.vq)) {
            out->codebook.index_bytes =
                vqc_emit_index_bytes(&item->decision.vq, code->sparse->entries);
        }
    }
    if (!r->options->dry_run) {
        vqc_metrics coding = vqc_encode_metrics(&code->sums);
        vqc_error_sums_add(&r->coding_sums, &code->sums);
        if (vqc_prune_original_of(r->originals, item->layer) == NULL) {
            out->metrics = coding;
            vqc_error_sums_add(&r->sums, &code->sums);
        } else {
            vqc_status status = measure_pruned(r, item, code, out);
            if (status != VQC_OK) {
                return status;
            }
            out->coding_metrics = coding;
        }
    }
    return out->codec == NULL || out->pattern == NULL || out->reason == NULL
               ? vqc_fail_memory(r->error, 0)
               : VQC_OK;
}

/* Zeros that are in the file: codewords of several weights, neither packed nor masked, do not keep
 * those that pruning made (in a dry run, where these are not there yet, they count as none), and
 * with vq.zeros there are those that the budget chose. */
static vqc_status count_zeros(vqc_encode *r, const vqc_plan_layer *item, const vqc_code *code,
                              vqc_arena *arena, vqc_layer_report *out)
{
    const vqc_decision *d = &item->decision;
    bool are_chosen = r->recipe->vq.zeros == VQC_SWITCH_AUTO && item->code != NULL;
    bool are_kept =
        vqc_vq_is_packed(&d->vq) || d->vq.is_masked || (d->vq.dim == 1 && d->vq.stages == 1);
    size_t zeros = 0;
    float *decoded;
    vqc_status status;

    if (d->codec != &vqc_codec_vq || (!are_chosen && (out->zeros == 0 || are_kept))) {
        return VQC_OK;
    }
    if (are_chosen || !r->options->dry_run) {
        decoded = vqc_arena_calloc(arena, item->layer->elements, sizeof *decoded);
        if (decoded == NULL) {
            return vqc_fail_memory(r->error, item->layer->elements * sizeof *decoded);
        }
        status = d->codec->decode(are_chosen ? item->code : code, arena, decoded, r->error);
        if (status != VQC_OK) {
            return status;
        }
        for (size_t i = 0; i < item->layer->elements; i++) {
            zeros += decoded[i] == 0.0f ? 1 : 0;
        }
    }
    r->unpruned += zeros < out->zeros ? 1 : 0;
    out->zeros = are_chosen || zeros < out->zeros ? zeros : out->zeros;
    return VQC_OK;
}

/* Without data: the bias takes up what the code changes in the mean of the layer's outputs. */
static vqc_status correct_by_norms(vqc_encode *r, const vqc_plan_layer *item, const vqc_code *code,
                                   const float *weights, vqc_arena *arena)
{
    const vqc_decision *d = &item->decision;
    float *decoded;
    bool done = false;
    vqc_status status;

    if (r->norm_means == NULL || d->codec != &vqc_codec_vq || item->code != NULL ||
        item->layer->use_count != 1) {
        return VQC_OK;
    }
    decoded = vqc_arena_calloc(arena, item->layer->elements, sizeof *decoded);
    if (decoded == NULL) {
        return vqc_fail_memory(r->error, item->layer->elements * sizeof *decoded);
    }
    status = d->codec->decode(code, arena, decoded, r->error);
    if (status == VQC_OK) {
        status = vqc_norm_means_correct(r->norm_means, r->graph, item->layer, weights, decoded,
                                        &done, r->error);
    }
    r->norm_biases += done ? 1 : 0;
    return status;
}

/* Zeros from which on the report says why they gain nothing. */
static size_t notable_zeros(const vqc_encode *r, const vqc_plan_layer *item)
{
    return item->layer->elements / (vqc_prune_wanted(r->recipe) ? PRUNED_ZEROS : NOTABLE_ZEROS) + 1;
}

static vqc_status code_layer(vqc_encode *r, vqc_plan_layer *item, vqc_arena *arena,
                             vqc_layer_report *out)
{
    /* sizes first: those of the code itself where they depend on what else is in the file */
    bool is_shared = item->code != NULL && item->decision.is_shared;
    vqc_code code = is_shared ? *item->code : (vqc_code){.decision = &item->decision};
    const float *weights;
    vqc_sparse sparse;
    vqc_patch *patch;
    vqc_sparse_cost cost;
    size_t added;
    size_t removed;
    vqc_status status = choose_storage(r, item, arena, &weights, &sparse, &cost);

    if (status == VQC_ERR_MODEL) {
        return keep(r, item, out, r->error->message);
    }
    code.sparse = sparse.form == VQC_SPARSE_NONE ? NULL : &sparse;
    if (status == VQC_OK && code.sparse == NULL && item->decision.codec == &vqc_codec_exact) {
        return keep(r, item, out,
                    vqc_sparse_reason(&item->decision, &sparse, &cost, notable_zeros(r, item),
                                      r->report->arena));
    }
    if (status == VQC_OK) {
        status = emit(r, item, &code, &patch);
    }
    if (status != VQC_OK) {
        return status;
    }
    added = vqc_patch_added_bytes(patch);
    removed = vqc_patch_removed_bytes(patch);
    if (added >= removed && !item->is_static) {
        vqc_patch_drop(patch);
        return keep(r, item, out,
                    vqc_arena_printf(arena, "would be larger: %s -> %s bytes",
                                     vqc_number(out->after_bytes).text,
                                     vqc_number(out->after_bytes + added - removed).text));
    }
    if (r->options->dry_run) {
        status = check_values(r, item, weights);
    } else {
        vqc_patch_drop(patch);
        status = make_code(r, item, weights, arena, &sparse, &code);
        if (status == VQC_OK) {
            status = correct_by_norms(r, item, &code, weights, arena);
        }
        if (status == VQC_OK) {
            status = emit(r, item, &code, &patch);
        }
        if (status == VQC_OK) {
            added = vqc_patch_added_bytes(patch);
        }
    }
    if (status == VQC_ERR_MODEL) {
        if (r->options->dry_run) {
            vqc_patch_drop(patch);
        }
        return keep(r, item, out, r->error->message);
    }
    if (status == VQC_OK) {
        status = count_zeros(r, item, &code, arena, out);
    }
    if (status == VQC_OK) {
        status = vqc_patch_apply(patch, r->error);
    }
    cost.bytes = added; /* settling may have kept more */
    out->reason = vqc_sparse_reason(&item->decision, &sparse, &cost, notable_zeros(r, item), arena);
    out->reason = out->reason == NULL ? NULL : vqc_arena_strdup(r->report->arena, out->reason);
    if (status == VQC_OK && out->reason == NULL) { /* the plan's strings end with the plan */
        status = vqc_fail_memory(r->error, 0);
    }
    out->dense_bytes = cost.dense_bytes == 0 ? 0 : out->after_bytes + cost.dense_bytes - removed;
    out->after_bytes = out->after_bytes + added - removed;
    return status == VQC_OK ? report_coded(r, item, &code, out) : status;
}

static vqc_status describe_layer(vqc_encode *r, const vqc_plan_layer *item, vqc_layer_report *out)
{
    const vqc_layer *layer = item->layer;
    vqc_arena *arena = r->report->arena;
    int64_t *dims = vqc_arena_calloc(arena, layer->rank + 1, sizeof *dims);

    if (dims == NULL) {
        return vqc_fail_memory(r->error, layer->rank * sizeof *dims);
    }
    if (layer->rank > 0) {
        memcpy(dims, layer->dims, layer->rank * sizeof *dims);
    }
    out->name = vqc_arena_strdup(arena, layer->value->name);
    out->scope = vqc_arena_strdup(arena, layer->scope->path);
    out->node = vqc_arena_strdup(arena, layer->node_name == NULL ? "" : layer->node_name);
    out->op = vqc_arena_strdup(arena, layer->op == NULL ? "" : layer->op);
    out->dtype = vqc_dtype_describe(layer->dtype)->name;
    out->dims = dims;
    out->rank = layer->rank;
    out->elements = layer->elements;
    out->use_count = layer->use_count;
    out->after_bytes = constant_bytes(r->graph, layer);
    out->before_bytes = bytes_before(r, layer, out->after_bytes);
    out->codec = out->pattern = out->reason = "";
    if (out->name == NULL || out->scope == NULL || out->node == NULL || out->op == NULL) {
        return vqc_fail_memory(r->error, 0);
    }
    return VQC_OK;
}

static void report_progress(const vqc_encode *r, size_t done, size_t total)
{
    const vqc_run_options *options = r->options;
    if (options->progress != NULL) {
        options->progress(options->progress_context, "encode", done, total);
    }
}

vqc_status vqc_encode_layers(vqc_encode *r)
{
    vqc_report *report = r->report;
    size_t total = 0;
    size_t done = 0;
    vqc_status status = VQC_OK;

    report->layers = vqc_arena_calloc(report->arena, r->plan->count + 1, sizeof *report->layers);
    if (report->layers == NULL) {
        return vqc_fail_memory(r->error, r->plan->count * sizeof *report->layers);
    }
    for (size_t i = 0; i < r->plan->count; i++) {
        total += r->plan->layers[i].layer->elements;
    }
    for (size_t i = 0; i < r->plan->count && status == VQC_OK; i++) {
        vqc_plan_layer *item = &r->plan->layers[i];
        vqc_layer_report *out = &report->layers[i];
        vqc_arena *arena = vqc_arena_create();
        if (arena == NULL) {
            return vqc_fail_memory(r->error, 0);
        }
        report_progress(r, done, total);
        status = describe_layer(r, item, out);
        out->zeros = vqc_prune_wanted(r->recipe) ? vqc_prune_zeros(item->layer) : 0;
        if (status == VQC_OK) {
            status =
                item->may_code ? code_layer(r, item, arena, out) : keep(r, item, out, item->reason);
        }
        done += item->layer->elements;
        report->layer_count = i + 1;
        vqc_arena_destroy(&arena);
    }
    report_progress(r, done, total);
    return status;
}
