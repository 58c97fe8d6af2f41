#include "core/plan.h"

#include <stdio.h>
#include <string.h>

#include "core/codec/int_fit.h"
#include "core/number_text.h"
#include "core/patch.h"
#include "core/static/static_units.h"
#include "core/tensor.h"

enum {
    SPARSE_MIN_ELEMENTS = 1024, /* below, the nodes of the sparse form take more than zeros do */
    SPARSE_ZERO_SHARE = 4       /* one weight in so many is 0 */
};

/* Whether this constant is part of the plan: a weight, or named by a rule. Scales of quantized
 * operators never are. */
static bool belongs(const vqc_layer *layer, bool named)
{
    return layer->role != VQC_ROLE_SCALE &&
           (layer->role == VQC_ROLE_WEIGHT || (named && layer->elements > 0));
}

static const char TOO_SMALL[] = "fewer elements than min_elements";

static const char *why_not(const vqc_layer *layer, const vqc_weight_spec *spec)
{
    if (layer->scope->opset < 7) {
        return "opset below 7: passed through as it is";
    }
    if (layer->scope->graph == NULL && layer->scope->opset < 9) {
        return "in a function below opset 9, whose Constant nodes hold floating point only";
    }
    if (layer->is_output) {
        return "is an output of its graph";
    }
    if (strcmp(spec->codec, "keep") == 0) {
        return "recipe says keep";
    }
    if (layer->elements == 0) {
        return "has no elements";
    }
    if (layer->rank > VQC_LAYER_MAX_RANK) {
        return "has more than 64 dimensions";
    }
    if (layer->elements < (size_t)spec->min_elements && !vqc_static_layer_fits(layer, spec)) {
        return TOO_SMALL;
    }
    return NULL;
}

typedef struct user_names {
    const char **nodes;
    const char **ops;
    size_t count;
} user_names;

static bool collect_users(const vqc_layer *layer, vqc_arena *arena, user_names *users)
{
    users->nodes = vqc_arena_calloc(arena, layer->use_count + 1, sizeof *users->nodes);
    users->ops = vqc_arena_calloc(arena, layer->use_count + 1, sizeof *users->ops);
    users->count = 0;
    if (users->nodes == NULL || users->ops == NULL) {
        return false;
    }
    for (size_t i = 0; i < layer->use_count; i++) {
        const Onnx__NodeProto *node = layer->uses[i].node;
        if (node != NULL) {
            users->nodes[users->count] = node->name == NULL ? "" : node->name;
            users->ops[users->count] = vqc_node_op_name(node, arena);
            if (users->ops[users->count++] == NULL) {
                return false;
            }
        }
    }
    return true;
}

vqc_status vqc_plan_resolve(vqc_graph *graph, const vqc_recipe *recipe, vqc_arena *arena,
                            vqc_plan *plan, vqc_error *error)
{
    vqc_layer *layers;
    size_t count;
    size_t weights = 0;
    size_t index = 0;
    vqc_status status = vqc_layers_find(graph, arena, &layers, &count, error);

    memset(plan, 0, sizeof *plan);
    if (status != VQC_OK) {
        return status;
    }
    plan->layers = vqc_arena_calloc(arena, count + 1, sizeof *plan->layers);
    plan->rule_hits = vqc_arena_calloc(arena, recipe->rule_count + 1, sizeof *plan->rule_hits);
    if (plan->layers == NULL || plan->rule_hits == NULL) {
        return vqc_fail_memory(error, count * sizeof *plan->layers);
    }
    for (size_t i = 0; i < count; i++) {
        weights += layers[i].role == VQC_ROLE_WEIGHT ? 1 : 0;
    }
    for (size_t i = 0; i < count; i++) {
        vqc_layer *layer = &layers[i];
        bool is_weight = layer->role == VQC_ROLE_WEIGHT;
        bool named = false;
        user_names users;
        vqc_plan_layer *item = &plan->layers[plan->count];
        if (!collect_users(layer, arena, &users)) {
            return vqc_fail_memory(error, layer->use_count * sizeof(char *));
        }
        vqc_match_subject subject = {
            .tensor_name = layer->value->name,
            .node_names = users.nodes,
            .node_ops = users.ops,
            .node_count = users.count,
            .dims = layer->dims,
            .rank = layer->rank,
            .index = is_weight ? (int64_t)index : VQC_MATCH_NO_INDEX,
            .count = (int64_t)weights,
        };
        index += is_weight ? 1 : 0;
        item->spec = vqc_recipe_resolve(recipe, &subject, &named, plan->rule_hits);
        if (!belongs(layer, named)) {
            continue;
        }
        item->layer = layer;
        item->reason = why_not(layer, &item->spec);
        item->may_code = item->reason == NULL;
        item->is_static = item->may_code && vqc_static_layer_fits(layer, &item->spec);
        plan->count++;
    }
    return VQC_OK;
}

void vqc_plan_keep_small(vqc_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        vqc_plan_layer *item = &plan->layers[i];
        if (item->may_code && !item->is_static &&
            item->layer->elements < (size_t)item->spec.min_elements) {
            item->may_code = false;
            item->reason = TOO_SMALL;
        }
    }
}

/* No kernel multiplies 16-bit activations in 16 bits: nothing to overflow there. */
static vqc_weight_codes weight_codes_of(const vqc_recipe *recipe)
{
    bool wide =
        recipe->fixed.type == VQC_ACTIVATION_UINT16 || recipe->fixed.type == VQC_ACTIVATION_INT16;

    return wide && recipe->fixed.weight_codes == VQC_WEIGHT_CODES_INT8_SAFE
               ? VQC_WEIGHT_CODES_INT8
               : recipe->fixed.weight_codes;
}

static vqc_status prepare_layer(vqc_plan_layer *item, const vqc_recipe *recipe, int64_t max_opset,
                                bool probe, int64_t *opset_wanted, vqc_error *error)
{
    const vqc_layer *layer = item->layer;
    vqc_target target = {
        .operators = recipe->operators,
        .objective = recipe->objective,
        .weight_codes = weight_codes_of(recipe),
        .vq = recipe->vq,
        .is_pruned = vqc_prune_wanted(recipe),
        .opset = layer->scope->opset,
        .max_opset = max_opset > layer->scope->opset ? max_opset : layer->scope->opset,
    };
    vqc_decision *d = &item->decision;
    vqc_arena *scratch = NULL;
    const float *weights = NULL;
    vqc_status status = VQC_OK;

    memset(d, 0, sizeof *d);
    d->layer = layer;
    d->spec = item->spec;
    d->codec = vqc_codec_find(item->spec.codec);
    d->is_static = item->is_static;
    d->reason = "";
    if (d->codec == NULL) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "codec \"%s\" is not in the table",
                        item->spec.codec);
    }
    if (!probe && d->codec->reads_weights(layer, &d->spec)) {
        size_t elements;
        scratch = vqc_arena_create();
        if (scratch == NULL) {
            return vqc_fail_memory(error, 0);
        }
        status = vqc_tensor_borrow_f32(layer->tensor, scratch, &weights, &elements, error);
    }
    if (status == VQC_OK) {
        d->codec->prepare(d, &target, weights, opset_wanted);
    }
    vqc_arena_destroy(&scratch);
    return status;
}

vqc_status vqc_plan_prepare_again(vqc_plan_layer *item, const vqc_recipe *recipe, vqc_error *error)
{
    int64_t ignored;
    return prepare_layer(item, recipe, 0, false, &ignored, error);
}

/* The other weight of an LSTM whose one weight is `item`, in the same form; NULL when there is
 * none. */
static const vqc_plan_layer *lstm_partner(const vqc_plan *plan, const vqc_plan_layer *item)
{
    for (size_t i = 0; i < plan->count; i++) {
        const vqc_plan_layer *other = &plan->layers[i];
        if (other != item && other->may_code && other->decision.form == VQC_FORM_DYNAMIC_LSTM &&
            other->layer->uses[0].node == item->layer->uses[0].node &&
            other->layer->uses[0].input != item->layer->uses[0].input) {
            return other;
        }
    }
    return NULL;
}

/* Whether int8 codes with scale and zero point per channel are surely smaller, and every value
 * codable: once one weight of an LSTM is coded the other must follow. */
static bool lstm_weight_is_safe(const vqc_plan_layer *item, bool probe)
{
    const vqc_layer *layer = item->layer;
    size_t groups = vqc_grouping_count(&item->decision.grouping);
    vqc_arena *scratch;
    const float *weights;
    size_t elements;
    bool safe;

    if (layer->elements + groups * 5 + 512 >= layer->elements * 4) {
        return false;
    }
    if (probe) {
        return true;
    }
    scratch = vqc_arena_create();
    safe = scratch != NULL &&
           vqc_tensor_borrow_f32(layer->tensor, scratch, &weights, &elements, NULL) == VQC_OK &&
           vqc_int_check_finite(weights, elements, NULL) == VQC_OK;
    vqc_arena_destroy(&scratch);
    return safe;
}

/* LSTM weights are coded for DynamicQuantizeLSTM in pairs; a single one goes back to weight-only.
 */
static vqc_status pair_lstms(vqc_plan *plan, const vqc_recipe *recipe, int64_t max_opset,
                             bool probe, vqc_error *error)
{
    for (size_t i = 0; i < plan->count; i++) {
        vqc_plan_layer *item = &plan->layers[i];
        const vqc_plan_layer *other;
        int64_t ignored;
        vqc_status status;
        if (!item->may_code || item->decision.form != VQC_FORM_DYNAMIC_LSTM) {
            continue;
        }
        other = lstm_partner(plan, item);
        if (other != NULL && lstm_weight_is_safe(item, probe) &&
            lstm_weight_is_safe(other, probe)) {
            continue;
        }
        item->spec.activations = VQC_ACTIVATIONS_NONE;
        status = prepare_layer(item, recipe, max_opset, probe, &ignored, error);
        if (status != VQC_OK) {
            return status;
        }
        item->decision.reason = "activations stay float: not both weights of the LSTM can be coded";
    }
    return VQC_OK;
}

/* Whether coding may choose zeros that only a newer opset can store sparsely. */
static bool may_choose_zeros(const vqc_plan_layer *item, const vqc_recipe *recipe)
{
    return recipe->vq.zeros == VQC_SWITCH_AUTO && item->may_code &&
           strcmp(item->spec.codec, "vq") == 0 && item->spec.dim == 0 &&
           item->spec.codebook_size == 0 && item->spec.stages == 1 &&
           item->spec.sparse != VQC_SWITCH_OFF && !item->layer->is_output;
}

/* Whether storing the layer without its zeros is worth an opset that can (core/codec/sparse*.c). */
static bool wants_sparse(const vqc_plan_layer *item, const vqc_recipe *recipe)
{
    const vqc_layer *layer = item->layer;
    vqc_arena *scratch;
    const float *weights;
    size_t elements;
    size_t zeros = 0;

    if (layer->elements < SPARSE_MIN_ELEMENTS || layer->is_output ||
        layer->scope->opset >= VQC_SPARSE_OPSET || item->spec.sparse == VQC_SWITCH_OFF ||
        (item->spec.sparse == VQC_SWITCH_AUTO && !vqc_prune_wanted(recipe))) {
        return false;
    }
    scratch = vqc_arena_create();
    if (scratch != NULL &&
        vqc_tensor_borrow_f32(layer->tensor, scratch, &weights, &elements, NULL) == VQC_OK) {
        zeros = vqc_kernels_get()->f32_count_zero(weights, elements);
    }
    vqc_arena_destroy(&scratch);
    return zeros >= layer->elements / SPARSE_ZERO_SHARE;
}

vqc_status vqc_plan_prepare(vqc_plan *plan, const vqc_recipe *recipe, int64_t max_opset, bool probe,
                            int64_t *opset_wanted, vqc_error *error)
{
    *opset_wanted = 0;
    for (size_t i = 0; i < plan->count; i++) {
        vqc_plan_layer *item = &plan->layers[i];
        int64_t wanted = 0;
        vqc_status status;
        if (max_opset >= VQC_SPARSE_OPSET && *opset_wanted < VQC_SPARSE_OPSET &&
            ((plan->has_data && may_choose_zeros(item, recipe)) || wants_sparse(item, recipe))) {
            *opset_wanted = VQC_SPARSE_OPSET;
        }
        if (!item->may_code) {
            continue;
        }
        status = prepare_layer(item, recipe, max_opset, probe, &wanted, error);
        if (status == VQC_ERR_MODEL) { /* a payload that cannot be read: the layer stays */
            item->may_code = false;
            item->reason = "its data cannot be read";
            continue;
        }
        if (status != VQC_OK) {
            return status;
        }
        if (item->decision.form == VQC_FORM_KEEP) {
            item->may_code = false;
            item->reason = item->decision.reason;
        } else if (wanted > item->layer->scope->opset && wanted > *opset_wanted) {
            *opset_wanted = wanted;
        }
    }
    return pair_lstms(plan, recipe, max_opset, probe, error);
}

/* ---- codebooks that do not pay ---- */

enum { PAY_SHARE = 16 /* a codebook must save 1/16 against codes that are much more exact */ };

/* Bytes that the decision would add to the file and take from it. */
static vqc_status weigh(vqc_graph *graph, const vqc_plan_layer *item, size_t *added,
                        size_t *removed, vqc_error *error)
{
    const vqc_code code = {.decision = &item->decision};
    vqc_patch *patch = vqc_patch_create(graph);
    vqc_emitter emitter = {
        .graph = graph,
        .patch = patch,
        .scope = item->layer->scope,
        .arena = graph->model->arena,
        .error = error,
        .opset = item->layer->scope->opset,
    };

    if (patch == NULL) {
        return vqc_fail_memory(error, 0);
    }
    item->decision.codec->emit(&emitter, &code);
    *added = vqc_patch_added_bytes(patch);
    *removed = vqc_patch_removed_bytes(patch);
    vqc_patch_drop(patch);
    return emitter.status;
}

/* Decides the layer anew by another codec with its default settings. */
static vqc_status prepare_as(vqc_plan_layer *item, const char *codec, const vqc_recipe *recipe,
                             vqc_error *error)
{
    const vqc_weight_spec asked = item->spec;
    int64_t ignored;
    vqc_status status;

    item->spec = vqc_weight_spec_default();
    (void)snprintf(item->spec.codec, sizeof item->spec.codec, "%s", codec);
    status = prepare_layer(item, recipe, 0, false, &ignored, error);
    item->spec = asked;
    return status;
}

static vqc_status settle_layer(vqc_graph *graph, vqc_plan_layer *item, const vqc_recipe *recipe,
                               vqc_arena *arena, vqc_error *error)
{
    static const char *const codecs[] = {"int", "float16"};
    static const char *const names[] = {"int8", "float16"};
    const vqc_decision asked = item->decision;
    size_t removed;
    size_t wanted;
    vqc_status status = weigh(graph, item, &wanted, &removed, error);

    for (size_t i = 0; i < 2 && status == VQC_OK; i++) {
        size_t other;
        status = prepare_as(item, codecs[i], recipe, error);
        if (status != VQC_OK || item->decision.form == VQC_FORM_KEEP) {
            continue;
        }
        status = weigh(graph, item, &other, &removed, error);
        if (status == VQC_OK && other < removed && other <= wanted + wanted / PAY_SHARE) {
            const char *reason =
                vqc_arena_printf(arena, "codec vq would take %s bytes, %s %s",
                                 vqc_number(wanted).text, names[i], vqc_number(other).text);
            item->decision.reason = reason;
            return reason == NULL ? vqc_fail_memory(error, 0) : VQC_OK;
        }
    }
    item->decision = asked;
    return status;
}

vqc_status vqc_plan_settle(vqc_graph *graph, vqc_plan *plan, const vqc_recipe *recipe,
                           vqc_arena *arena, vqc_error *error)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < plan->count && status == VQC_OK; i++) {
        vqc_plan_layer *item = &plan->layers[i];
        if (item->may_code && item->code == NULL && !item->is_static &&
            item->decision.codec == &vqc_codec_vq && !item->decision.is_shared) {
            status = settle_layer(graph, item, recipe, arena, error);
        }
    }
    return status;
}
