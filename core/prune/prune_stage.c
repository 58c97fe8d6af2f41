#include "core/prune/prune_stage.h"

#include <math.h>
#include <string.h>

#include "core/data/samples_subset.h"
#include "core/exec/program.h"
#include "core/prune/prune_internal.h"
#include "core/prune/prune_select.h"
#include "core/tensor.h"
#include "kernels/kernels.h"

enum {
    MAX_MEASURED = 64,         /* samples that whole models are run on */
    MAX_REFERENCE = 256 << 20, /* bytes of kept inputs and outputs */
    SEARCH_STEPS = 7           /* of the largest sparsity: to 1 part in 128 */
};

/* What unequal shares, and the share of the original, have to gain to be taken: the former were
 * found on the very samples that judge them (cifar_resnet_4b: 0.9 dB better on these, 0.2 dB on
 * others). */
static const double CLEAR_GAIN_DB = 1.0;
static const double LEAST_GAIN_DB = 0.2; /* that variances have to gain */

/* ---- what is asked ---- */

/* Whether the layer is pruned at all. */
static bool takes_part(const vqc_recipe *recipe, const vqc_plan_layer *item)
{
    const vqc_layer *layer = item->layer;
    bool named = (item->spec.set & VQC_SPEC_SPARSITY) != 0;

    if (layer->is_output || layer->elements == 0 || layer->rank > VQC_LAYER_MAX_RANK ||
        layer->scope->opset < 7) {
        return false;
    }
    if (named) {
        return item->spec.sparsity > 0.0;
    }
    return vqc_prune_by_default(recipe) && layer->role == VQC_ROLE_WEIGHT &&
           layer->reduction_axis >= 0 && layer->op != NULL && strcmp(layer->op, "Gather") != 0 &&
           !vqc_layer_is_depthwise(layer) && layer->elements >= (size_t)item->spec.min_elements;
}

/* The share of the weights up to the threshold. */
static double share_below(const float *weights, size_t n, double threshold)
{
    size_t below = 0;

    for (size_t i = 0; i < n; i++) {
        below += fabs((double)weights[i]) <= threshold ? 1 : 0;
    }
    return (double)below / (double)n;
}

/* What the recipe wants of one layer; NAN: its part of the whole. */
static double share_of(const vqc_recipe *recipe, const vqc_plan_layer *item, const float *weights)
{
    if ((item->spec.set & VQC_SPEC_SPARSITY) != 0) {
        return item->spec.sparsity;
    }
    if (!isnan(recipe->prune.threshold)) {
        return share_below(weights, item->layer->elements, recipe->prune.threshold);
    }
    return (double)NAN;
}

static vqc_status collect_parts(vqc_prune_parts *r, const vqc_plan *plan)
{
    vqc_vq_along along =
        r->pattern.kind == VQC_PRUNE_N_OF_M ? VQC_VQ_ALONG_INPUT : VQC_VQ_ALONG_AUTO;

    r->parts = vqc_arena_calloc(r->arena, plan->count + 1, sizeof *r->parts);
    r->layers = vqc_arena_calloc(r->arena, plan->count + 1, sizeof *r->layers);
    if (r->parts == NULL || r->layers == NULL) {
        return vqc_fail_memory(r->error, plan->count * sizeof *r->parts);
    }
    for (size_t i = 0; i < plan->count; i++) {
        const vqc_plan_layer *item = &plan->layers[i];
        vqc_prune_part *p = &r->parts[r->count];
        const float *weights;
        size_t elements;
        float *copy;
        if (!takes_part(r->stage->recipe, item) ||
            vqc_tensor_borrow_f32(item->layer->tensor, r->arena, &weights, &elements, r->error) !=
                VQC_OK) {
            continue; /* coding it will say why it cannot be read */
        }
        copy = vqc_arena_alloc(r->arena, elements * sizeof *copy + 1);
        if (copy == NULL) {
            return vqc_fail_memory(r->error, elements * sizeof *copy);
        }
        memcpy(copy, weights, elements * sizeof *copy);
        p->layer = item->layer;
        p->weights = copy;
        p->asked = share_of(r->stage->recipe, item, copy);
        vqc_vq_layout_make(p->layer, along, &p->layout);
        if (p->layout.has_moments) {
            (void)vqc_bias_site_find(r->graph, p->layer, &p->bias);
        }
        r->layers[r->count++] = p->layer;
    }
    return VQC_OK;
}

/* ---- measuring ---- */

vqc_status vqc_prune_measure(vqc_prune_parts *r, size_t only, vqc_downstream *behind,
                             size_t samples, vqc_score *out)
{
    vqc_tensor_exchange *exchanged = NULL;
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < r->count && status == VQC_OK; i++) {
        const vqc_prune_part *p = &r->parts[i];
        if (p->pruned == NULL || (only != SIZE_MAX && only != i)) {
            continue;
        }
        status = vqc_tensor_exchange_f32(&exchanged, p->layer->tensor, p->pruned,
                                         p->layer->elements, r->attempt, r->error);
        if (status == VQC_OK && p->bias_values != NULL && p->bias.tensor != NULL) {
            status = vqc_tensor_exchange_f32(&exchanged, p->bias.tensor, p->bias_values,
                                             p->bias.channels, r->attempt, r->error);
        }
    }
    if (status == VQC_OK && behind != NULL) {
        status = vqc_downstream_score(behind, only, out, r->error);
    } else if (status == VQC_OK) {
        status = vqc_reference_score(r->measure, r->stage->model, samples, r->stage->threads, out,
                                     r->error);
    }
    vqc_tensor_exchange_back(&exchanged);
    return status;
}

/* The weights in hand, measured unless they have been. */
static vqc_status score_attempt(vqc_prune_parts *r)
{
    vqc_status status = r->is_scored ? VQC_OK : vqc_prune_measure(r, SIZE_MAX, NULL, 0, &r->score);

    r->is_scored = status == VQC_OK;
    return status;
}

static vqc_status prune_and_score(vqc_prune_parts *r, double sparsity)
{
    vqc_status status = vqc_prune_share_out(r, sparsity);

    if (status == VQC_OK) {
        status = vqc_prune_walk(r);
    }
    return status == VQC_OK ? score_attempt(r) : status;
}

/* ---- keeping an attempt aside while another one is made ---- */

/* What a walk left in one part. */
typedef struct part_result {
    double sparsity;
    float *pruned;
    float *bias_values;
    bool was_seen;
} part_result;

typedef struct set_aside {
    vqc_arena *arena;     /* of everything below; NULL: nothing is set aside */
    part_result *results; /* [count] */
    vqc_score score;
    bool is_scored;
} set_aside;

/* Moves the attempt in hand into *aside, instead of what was there; the next walk makes another
 * one. */
static vqc_status put_aside(vqc_prune_parts *r, set_aside *aside)
{
    part_result *results = vqc_arena_calloc(r->attempt, r->count + 1, sizeof *results);

    if (results == NULL) {
        return vqc_fail_memory(r->error, r->count * sizeof *results);
    }
    for (size_t i = 0; i < r->count; i++) {
        const vqc_prune_part *p = &r->parts[i];
        results[i] = (part_result){p->sparsity, p->pruned, p->bias_values, p->was_seen};
    }
    vqc_arena_destroy(&aside->arena);
    *aside = (set_aside){r->attempt, results, r->score, r->is_scored};
    r->attempt = NULL;
    return VQC_OK;
}

/* Moves it back, instead of the one in hand. */
static void take_back(vqc_prune_parts *r, set_aside *aside)
{
    for (size_t i = 0; i < r->count; i++) {
        vqc_prune_part *p = &r->parts[i];
        p->sparsity = aside->results[i].sparsity;
        p->pruned = aside->results[i].pruned;
        p->bias_values = aside->results[i].bias_values;
        p->was_seen = aside->results[i].was_seen;
    }
    vqc_arena_destroy(&r->attempt);
    r->attempt = aside->arena;
    r->score = aside->score;
    r->is_scored = aside->is_scored;
    *aside = (set_aside){0};
}

/* ---- choices between attempts ---- */

/* Whether layers are measured by themselves. */
static bool shares_by_output(const vqc_prune_parts *r)
{
    bool open = false;

    for (size_t i = 0; i < r->count; i++) {
        open = open || isnan(r->parts[i].asked);
    }
    return open && r->stage->recipe->prune.scope == VQC_PRUNE_SCOPE_OUTPUT &&
           r->pattern.kind != VQC_PRUNE_N_OF_M;
}

/* Variances that come back change little, and are taken for little. */
static bool is_better(const vqc_prune_parts *r, const vqc_score *best)
{
    if (r->gain == VQC_PRUNE_GAIN_SLOPE) {
        return vqc_score_gains(best, &r->score, CLEAR_GAIN_DB);
    }
    return r->score.nonfinite == 0 &&
           (best->nonfinite > 0 || r->score.sqnr_db >= best->sqnr_db + LEAST_GAIN_DB);
}

/*
 * What is given back to the outputs of pruned layers, if anything: what the whole model gains most
 * by, on the samples kept apart. Decided with the attempt in hand; leaves the attempt that is
 * taken.
 */
static vqc_status choose_gain(vqc_prune_parts *r)
{
    static const char *const names[VQC_PRUNE_GAINS] = {"nothing", "their variance",
                                                       "their layers' share of the original"};
    vqc_prune_gain taken = VQC_PRUNE_GAIN_NONE;
    set_aside best = {0};
    double before_db, best_db;
    vqc_status status = score_attempt(r);

    r->has_gain = true;
    before_db = best_db = r->score.nonfinite > 0 ? -(double)INFINITY : r->score.sqnr_db;
    if (status == VQC_OK) {
        status = put_aside(r, &best);
    }
    for (int i = VQC_PRUNE_GAIN_NONE + 1; i < VQC_PRUNE_GAINS && status == VQC_OK; i++) {
        r->gain = (vqc_prune_gain)i;
        status = vqc_prune_walk(r);
        if (status == VQC_OK) {
            status = score_attempt(r);
        }
        if (status == VQC_OK && is_better(r, &best.score)) {
            taken = r->gain;
            best_db = r->score.sqnr_db;
            status = put_aside(r, &best);
        }
    }
    r->gain = taken;
    if (status == VQC_OK) {
        take_back(r, &best);
    }
    vqc_arena_destroy(&best.arena);
    if (status != VQC_OK || taken == VQC_PRUNE_GAIN_NONE) {
        return status;
    }
    return vqc_report_note(r->stage->report, r->error,
                           "outputs of pruned layers get %s back: output SQNR %.1f -> %.1f dB on "
                           "%zu samples kept apart",
                           names[taken], before_db, best_db, r->score.samples);
}

/* Whether a gain can be chosen, and none was taken. */
static bool is_gain_open(const vqc_prune_parts *r)
{
    return r->gain == VQC_PRUNE_GAIN_NONE && r->measure != NULL &&
           r->stage->recipe->prune.compensate != VQC_PRUNE_COMPENSATE_OFF;
}

/* Whether all layers together gain by unequal shares, on the samples kept apart: noises of
 * single layers do not always add up. Decided once; leaves the attempt with the shares that are
 * taken. */
static vqc_status choose_shares(vqc_prune_parts *r, double sparsity)
{
    set_aside equal = {0};
    double equal_db = 0.0, unequal_db;
    vqc_status status;

    r->takes_equal = true;
    status = prune_and_score(r, sparsity);
    if (status == VQC_OK && is_gain_open(r)) {
        status = choose_gain(r);
    }
    if (status == VQC_OK) {
        equal_db = r->score.sqnr_db;
        status = put_aside(r, &equal);
    }
    r->takes_equal = false;
    if (status == VQC_OK) {
        status = prune_and_score(r, sparsity); /* measures single layers first */
    }
    if (status == VQC_OK) {
        unequal_db = r->score.sqnr_db;
        r->takes_equal = !vqc_score_gains(&equal.score, &r->score, CLEAR_GAIN_DB);
        status = vqc_report_note(
            r->stage->report, r->error,
            "layers lose %s: the output SQNR is %.1f dB with equal shares, %.1f dB with shares by "
            "what the output misses, on %zu samples kept apart",
            r->takes_equal ? "equal shares" : "unequal shares", equal_db, unequal_db,
            r->score.samples);
    }
    if (status == VQC_OK && r->takes_equal) {
        take_back(r, &equal);
    }
    vqc_arena_destroy(&equal.arena);
    /* other shares, other errors */
    return status == VQC_OK && !r->takes_equal && is_gain_open(r) ? choose_gain(r) : status;
}

static vqc_status prune_to(vqc_prune_parts *r, double sparsity)
{
    vqc_status status;

    if (!r->is_measured && r->measure != NULL && shares_by_output(r)) {
        return choose_shares(r, sparsity);
    }
    status = vqc_prune_share_out(r, sparsity);
    if (status == VQC_OK) {
        status = vqc_prune_walk(r);
    }
    return status == VQC_OK && !r->has_gain && is_gain_open(r) ? choose_gain(r) : status;
}

/* The largest sparsity whose output is good enough, by halving. */
static vqc_status prune_to_target(vqc_prune_parts *r)
{
    double wanted = r->stage->recipe->prune.output_sqnr_db;
    double least = 0.0,
           most = isnan(r->stage->recipe->prune.sparsity) ? 1.0 : r->stage->recipe->prune.sparsity;
    double at = most, got = (double)INFINITY;
    bool capped = !isnan(r->stage->recipe->prune.sparsity);
    set_aside best = {0};
    vqc_status status = VQC_OK;

    for (int i = 0; i < SEARCH_STEPS && status == VQC_OK; i++) {
        at = i == 0 && capped ? most : 0.5 * (least + most);
        status = prune_to(r, at);
        if (status == VQC_OK) {
            status = score_attempt(r);
        }
        if (status == VQC_OK && r->score.nonfinite == 0 && r->score.sqnr_db >= wanted) {
            least = at;
            got = r->score.sqnr_db;
            status = put_aside(r, &best);
        } else {
            most = at;
        }
        if (least == most) {
            break;
        }
    }
    if (status == VQC_OK && best.arena != NULL) {
        take_back(r, &best);
    } else if (status == VQC_OK) {
        status = prune_to(r, least);
    }
    vqc_arena_destroy(&best.arena);
    return status == VQC_OK
               ? vqc_report_note(r->stage->report, r->error,
                                 "pruned to a sparsity of %.1f%%: the most that keeps an output "
                                 "SQNR of %.1f dB (%.1f dB on %zu samples kept apart)",
                                 100.0 * least, wanted, got, vqc_reference_count(r->measure))
               : status;
}

/* ---- the whole ---- */

/* Uses the calibration data where the model can be run. */
static vqc_status open_samples(vqc_prune_parts *r)
{
    const vqc_prune_options *options = &r->stage->recipe->prune;
    bool has_target = !isnan(options->output_sqnr_db);
    vqc_samples *apart = NULL;
    vqc_messages missing = {0};
    vqc_status status = VQC_OK;

    if (r->stage->samples == NULL) {
        return has_target || options->score == VQC_PRUNE_SCORE_WANDA ||
                       options->score == VQC_PRUNE_SCORE_OBS
                   ? vqc_fail(r->error, VQC_ERR_USAGE,
                              "%s: prune: %s needs calibration data: got none, expected --calib "
                              "PATH or calibrate.data in the recipe",
                              r->stage->recipe->path, has_target ? "target" : "this score")
                   : VQC_OK;
    }
    status = vqc_program_missing(r->graph, &missing, r->error);
    if (status == VQC_OK && missing.count > 0) {
        status = vqc_report_note(r->stage->report, r->error,
                                 "pruned by the weights alone, because vqc cannot run this model: "
                                 "%s%s",
                                 missing.items[0], missing.count > 1 ? ", ..." : "");
    } else if (status == VQC_OK) {
        status = vqc_samples_seen(r->stage->samples, &r->samples, r->error);
    }
    vqc_messages_clear(&missing);
    if (status == VQC_OK && r->samples != NULL &&
        (has_target || options->compensate != VQC_PRUNE_COMPENSATE_OFF || shares_by_output(r))) {
        status = vqc_samples_held_out(r->stage->samples, &apart, r->error);
        if (status == VQC_OK) {
            status = vqc_reference_create(r->graph, apart, 0, 1, MAX_MEASURED, MAX_REFERENCE,
                                          r->stage->threads, &r->measure, r->error);
        }
        vqc_samples_destroy(&apart);
    }
    return status;
}

static vqc_status note_result(vqc_prune_parts *r)
{
    size_t seen = 0, biases = 0, zeros = 0, elements = 0, count = 0;
    const char *pattern = r->stage->recipe->prune.pattern;

    for (size_t i = 0; i < r->count; i++) {
        const vqc_prune_part *p = &r->parts[i];
        if (p->pruned != NULL) {
            count++;
            seen += p->was_seen ? 1 : 0;
            biases += p->bias_values != NULL ? 1 : 0;
            zeros += vqc_prune_zeros(p->layer);
            elements += p->layer->elements;
        }
    }
    if (seen > 0) {
        return vqc_report_note(r->stage->report, r->error,
                               "pruned %zu layers (%s) to %.2f%% zeros, %zu of them for what they "
                               "see in %zu calibration samples; %zu biases corrected",
                               count, pattern == NULL ? "unstructured" : pattern,
                               elements > 0 ? 100.0 * (double)zeros / (double)elements : 0.0, seen,
                               r->used_samples, biases);
    }
    return vqc_report_note(r->stage->report, r->error,
                           "pruned %zu layers (%s) to %.2f%% zeros, by the weights alone", count,
                           pattern == NULL ? "unstructured" : pattern,
                           elements > 0 ? 100.0 * (double)zeros / (double)elements : 0.0);
}

/* Puts pruned weights and biases into the model, with new biases where there were none. */
static vqc_status write_parts(vqc_prune_parts *r)
{
    vqc_arena *arena = r->stage->model->arena;
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < r->count && status == VQC_OK; i++) {
        vqc_prune_part *p = &r->parts[i];
        if (p->pruned == NULL) {
            continue;
        }
        status =
            vqc_tensor_set_f32(p->layer->tensor, p->pruned, p->layer->elements, arena, r->error);
        if (status == VQC_OK && p->bias_values != NULL && p->bias.tensor != NULL) {
            status = vqc_tensor_set_f32(p->bias.tensor, p->bias_values, p->bias.channels, arena,
                                        r->error);
        } else if (status == VQC_OK && p->bias_values != NULL) {
            status = vqc_bias_site_add(r->graph, p->layer, p->bias_values, &p->bias, r->error);
        }
    }
    return status;
}

/* The final weights; stage->originals gets what they were. */
static vqc_status write_and_remember(vqc_prune_parts *r)
{
    vqc_prune_originals *originals = r->stage->originals;
    vqc_arena *arena = r->stage->model->arena;
    size_t count = 0;
    vqc_status status;

    if (originals == NULL) {
        return write_parts(r);
    }
    originals->items = vqc_arena_calloc(arena, r->count + 1, sizeof *originals->items);
    if (originals->items == NULL) {
        return vqc_fail_memory(r->error, r->count * sizeof *originals->items);
    }
    for (size_t i = 0; i < r->count; i++) {
        if (r->parts[i].pruned != NULL) {
            vqc_prune_original *o = &originals->items[count++];
            o->tensor = r->parts[i].layer->tensor;
            o->before = *o->tensor;
        }
    }
    status = write_parts(r);
    for (size_t i = 0; i < count; i++) {
        originals->items[i].pruned = originals->items[i].tensor->raw_data.data;
    }
    originals->count = count;
    return status;
}

static vqc_status run(vqc_prune_parts *r)
{
    const vqc_prune_options *options = &r->stage->recipe->prune;
    vqc_plan plan;
    vqc_status status = vqc_graph_create(r->stage->model, &r->graph, r->error);

    if (status == VQC_OK) {
        status = vqc_plan_resolve(r->graph, r->stage->recipe, r->arena, &plan, r->error);
    }
    if (status == VQC_OK) {
        status = collect_parts(r, &plan);
    }
    if (status == VQC_OK) {
        status = open_samples(r);
    }
    if (status == VQC_OK && r->count > 0) {
        status = !isnan(options->output_sqnr_db) && r->measure != NULL
                     ? prune_to_target(r)
                     : prune_to(r, isnan(options->sparsity) ? 0.0 : options->sparsity);
    }
    if (status == VQC_OK) {
        status = write_and_remember(r);
    }
    return status == VQC_OK ? note_result(r) : status;
}

vqc_status vqc_prune_run(const vqc_prune_stage *stage, vqc_error *error)
{
    vqc_prune_parts r = {.stage = stage,
                         .error = error,
                         .threads = (int)vqc_samples_slots(stage->threads),
                         .arena = vqc_arena_create()};
    uint64_t start = vqc_report_clock();
    vqc_status status = VQC_OK;

    if (r.arena == NULL) {
        return vqc_fail_memory(error, 0);
    }
    if (!vqc_prune_options_pattern(&stage->recipe->prune, &r.pattern, NULL)) {
        status =
            vqc_fail(error, VQC_ERR_USAGE, "%s: prune.pattern is not valid", stage->recipe->path);
    }
    if (status == VQC_OK) {
        status = run(&r);
    }
    if (status == VQC_OK) {
        status = vqc_report_stage(stage->report, "prune", vqc_report_clock() - start, error);
    }
    vqc_samples_destroy(&r.samples);
    vqc_reference_destroy(&r.measure);
    vqc_graph_destroy(&r.graph);
    vqc_arena_take(stage->model->arena, &r.attempt); /* payloads */
    vqc_arena_destroy(&r.arena);
    return status;
}

/* ---- what others ask of pruned weights ---- */

const Onnx__TensorProto *vqc_prune_original_of(const vqc_prune_originals *originals,
                                               const vqc_layer *layer)
{
    for (size_t i = 0; originals != NULL && i < originals->count; i++) {
        const vqc_prune_original *o = &originals->items[i];
        if (o->tensor == layer->tensor) {
            return layer->tensor->raw_data.data == o->pruned ? &o->before : NULL;
        }
    }
    return NULL;
}

size_t vqc_prune_zeros(const vqc_layer *layer)
{
    vqc_arena *arena = vqc_arena_create();
    const float *weights;
    size_t elements;
    size_t zeros = 0;

    if (arena != NULL &&
        vqc_tensor_borrow_f32(layer->tensor, arena, &weights, &elements, NULL) == VQC_OK) {
        zeros = vqc_kernels_get()->f32_count_zero(weights, elements);
    }
    vqc_arena_destroy(&arena);
    return zeros;
}

vqc_status vqc_prune_set_masks(vqc_plan *plan, const vqc_recipe *recipe, vqc_arena *arena,
                               vqc_error *error)
{
    for (size_t i = 0; i < plan->count && vqc_prune_wanted(recipe); i++) {
        vqc_plan_layer *item = &plan->layers[i];
        const float *weights;
        size_t elements;
        uint8_t *mask;
        if (!item->may_code || !takes_part(recipe, item) ||
            vqc_tensor_borrow_f32(item->layer->tensor, arena, &weights, &elements, error) !=
                VQC_OK) {
            continue;
        }
        mask = vqc_arena_alloc(arena, elements + 1);
        if (mask == NULL) {
            return vqc_fail_memory(error, elements);
        }
        for (size_t k = 0; k < elements; k++) {
            float w;
            memcpy(&w, (const char *)weights + k * sizeof w, sizeof w);
            mask[k] = w != 0.0f;
        }
        item->mask = mask;
    }
    return VQC_OK;
}
