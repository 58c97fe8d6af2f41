#include "core/static/static_fit.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/tensor.h"

static const double LARGEST_BIAS_CODE = 1073741824.0; /* 2^30: room for the sum of products */

/* Codes one layer; *coded is false when its values cannot be coded. */
static vqc_status fit_layer(const vqc_static_plan *p, vqc_plan_layer *item, vqc_arena *arena,
                            bool *coded, vqc_error *error)
{
    const vqc_codec *codec = item->decision.codec;
    Onnx__TensorProto *tensor = item->layer->tensor;
    vqc_code *code = item->code != NULL ? item->code : vqc_arena_calloc(arena, 1, sizeof *code);
    float *decoded = vqc_arena_alloc(arena, item->layer->elements * sizeof *decoded + 1);
    const float *weights;
    size_t elements;
    vqc_status status;

    *coded = false;
    if (code == NULL || decoded == NULL) {
        return vqc_fail_memory(error, item->layer->elements * sizeof *decoded);
    }
    code->decision = &item->decision;
    status = vqc_tensor_borrow_f32(tensor, p->graph->model->arena, &weights, &elements, error);
    if (status == VQC_OK && !tensor->has_raw_data) { /* payloads are exchanged as raw bytes */
        status = vqc_tensor_set_f32(tensor, weights, elements, p->graph->model->arena, error);
    }
    if (status == VQC_OK && item->code == NULL) {
        status = codec->fit(&item->decision, weights, p->graph->model->arena, arena, code, error);
    }
    if (status == VQC_OK) {
        status = codec->decode(code, arena, decoded, error);
    }
    if (status == VQC_OK) {
        item->code = code;
        item->decoded = decoded;
        *coded = true;
    }
    return status == VQC_ERR_MODEL ? VQC_OK : status; /* NaN, infinite: stays as it is */
}

/* Integers of one scale per channel at most, or codewords of such: what integer kernels take, and
 * layers around them that are stored the same way. */
static bool can_swap(const vqc_plan_layer *item)
{
    return item->decision.codec == &vqc_codec_int ||
           (item->decision.codec == &vqc_codec_vq && item->is_static &&
            item->decision.form == VQC_FORM_DEQUANTIZE);
}

vqc_status vqc_static_fit_weights(vqc_static_plan *p, vqc_arena *arena, vqc_error *error)
{
    for (size_t i = 0; i < p->plan->count; i++) {
        vqc_plan_layer *item = &p->plan->layers[i];
        const vqc_layer *layer = item->layer;
        bool coded = false;
        vqc_status status = VQC_OK;

        if (item->may_code && item->decoded == NULL && layer->dtype == VQC_DTYPE_FLOAT &&
            can_swap(item)) {
            status = fit_layer(p, item, arena, &coded, error);
        }
        if (status != VQC_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < p->unit_count; i++) {
        vqc_unit *unit = &p->units[i];
        if (unit->kind == VQC_UNIT_LINEAR && unit->weight->code == NULL) {
            unit->kind = VQC_UNIT_FLOAT;
            unit->weight->is_static = false;
        }
    }
    return VQC_OK;
}

/* ---- bias correction ---- */

/* Where weight (output channel o, input channel i, kernel position k) lies. */
typedef struct weight_layout {
    size_t outputs;
    size_t inputs; /* per group */
    size_t groups;
    size_t kernel;
    size_t output_step;
    size_t input_step;
} weight_layout;

static weight_layout layout_of(const vqc_layer *layer)
{
    weight_layout l = {.groups = 1, .kernel = 1};

    if (strcmp(layer->op, "Conv") == 0) {
        l.outputs = (size_t)layer->dims[0];
        l.inputs = (size_t)layer->dims[1];
        l.groups = (size_t)vqc_node_attr_int(layer->node, "group", 1);
        l.kernel = layer->elements / (l.outputs * l.inputs);
        l.output_step = l.inputs * l.kernel;
        l.input_step = l.kernel;
        return l;
    }
    l.outputs = (size_t)layer->dims[layer->channel_axis];
    l.inputs = (size_t)layer->dims[1 - layer->channel_axis];
    l.output_step = layer->channel_axis == 0 ? l.inputs : 1;
    l.input_step = layer->channel_axis == 0 ? 1 : l.outputs;
    return l;
}

/* sum over inputs of (w - w') * mean, for output channel o. */
static double lost_mean(const weight_layout *l, const float *weights, const float *decoded,
                        const double *means, size_t o)
{
    size_t per_group = l->outputs / l->groups;
    size_t first = per_group == 0 ? 0 : o / per_group * l->inputs;
    double sum = 0.0;

    for (size_t i = 0; i < l->inputs; i++) {
        double lost = 0.0;
        for (size_t k = 0; k < l->kernel; k++) {
            size_t at = o * l->output_step + i * l->input_step + k;
            lost += (double)vqc_f32_at(weights, at) - (double)decoded[at];
        }
        sum += lost * means[first + i];
    }
    return sum;
}

static vqc_status correct_unit(vqc_static_plan *p, vqc_unit *unit, bool *done, vqc_error *error)
{
    vqc_plan_layer *item = unit->weight;
    const vqc_layer *layer = item->layer;
    const vqc_tensor_stats *stats = p->tensors[unit->data[0]].stats;
    weight_layout l = layout_of(layer);
    const float *weights;
    const float *bias = NULL;
    size_t elements;
    float *corrected;
    vqc_status status;

    *done = false;
    if (vqc_node_is(unit->node, "MatMul") || stats == NULL || l.outputs == 0 ||
        stats->channels != l.inputs * l.groups) {
        return VQC_OK;
    }
    corrected = vqc_arena_calloc(p->arena, l.outputs, sizeof *corrected);
    if (corrected == NULL) {
        return vqc_fail_memory(error, l.outputs * sizeof *corrected);
    }
    status = vqc_tensor_borrow_f32(layer->tensor, p->arena, &weights, &elements, error);
    if (status == VQC_OK && unit->bias != NULL) {
        status = vqc_tensor_borrow_f32(unit->bias, p->arena, &bias, &elements, error);
    }
    if (status != VQC_OK) {
        return status;
    }
    for (size_t o = 0; o < l.outputs; o++) {
        double lost = lost_mean(&l, weights, item->decoded, stats->channel_mean, o);
        corrected[o] = (float)((bias == NULL ? 0.0 : (double)vqc_f32_at(bias, o)) + lost);
        if (!isfinite(corrected[o])) {
            return VQC_OK;
        }
    }
    unit->bias_values = corrected;
    *done = true;
    return VQC_OK;
}

vqc_status vqc_static_correct_biases(vqc_static_plan *p, size_t *corrected, vqc_error *error)
{
    *corrected = 0;
    for (size_t i = 0; i < p->unit_count; i++) {
        bool done = false;
        vqc_status status = VQC_OK;

        if (p->units[i].kind == VQC_UNIT_LINEAR && p->units[i].weight->code != NULL) {
            status = correct_unit(p, &p->units[i], &done, error);
        }
        if (status != VQC_OK) {
            return status;
        }
        *corrected += done ? 1 : 0;
    }
    return VQC_OK;
}

void vqc_static_uncorrect_biases(vqc_static_plan *p)
{
    for (size_t i = 0; i < p->unit_count; i++) {
        p->units[i].bias_values = NULL;
    }
}

/* ---- biases as int32 ---- */

/* Codes of one output channel for a new, larger scale. */
static void recode_channel(const vqc_unit *unit, const float *weights, size_t o, float scale)
{
    const vqc_decision *d = &unit->weight->decision;
    vqc_code *code = unit->weight->code;
    weight_layout l = layout_of(unit->weight->layer);

    for (size_t i = 0; i < l.inputs; i++) {
        for (size_t k = 0; k < l.kernel; k++) {
            size_t at = o * l.output_step + i * l.input_step + k;
            float q = rintf(vqc_f32_at(weights, at) / scale) + (float)d->middle;
            q = fminf(fmaxf(q, (float)d->lo), (float)d->hi);
            ((uint8_t *)code->codes)[at] = (uint8_t)((int32_t)q & 0xFF);
        }
    }
    code->scales[code->groups > 1 ? o : 0] = scale;
}

static vqc_status fit_bias(vqc_static_plan *p, vqc_unit *unit, size_t *raised, vqc_error *error)
{
    vqc_code *code = unit->weight->code;
    double input_scale = (double)p->tensors[unit->data[0]].scale;
    size_t outputs = unit->weight->layer->channels;
    const float *bias = unit->bias_values;
    const float *weights;
    size_t elements;
    const size_t raised_before = *raised;
    float needed_for_all = 0.0f;
    vqc_status status = VQC_OK;

    if (bias == NULL && unit->bias == NULL) {
        return VQC_OK;
    }
    if (bias == NULL) {
        status = vqc_tensor_borrow_f32(unit->bias, p->arena, &bias, &elements, error);
    }
    if (status == VQC_OK) {
        status = vqc_tensor_borrow_f32(unit->weight->layer->tensor, p->arena, &weights, &elements,
                                       error);
    }
    for (size_t o = 0; o < outputs && status == VQC_OK; o++) {
        double b = fabs((double)vqc_f32_at(bias, o));
        float needed = (float)(b / (input_scale * LARGEST_BIAS_CODE)) * 1.0001f;
        if (code->groups == 1) {
            needed_for_all = fmaxf(needed_for_all, needed);
        } else if (isfinite(needed) && needed > code->scales[o] && code->vq == NULL) {
            recode_channel(unit, weights, o, needed);
            ++*raised;
        }
    }
    if (status == VQC_OK && code->groups == 1 && needed_for_all > code->scales[0] &&
        code->vq == NULL) {
        for (size_t o = 0; o < outputs; o++) {
            recode_channel(unit, weights, o, needed_for_all);
        }
        *raised += outputs;
    }
    if (status == VQC_OK && *raised > raised_before) {
        status = vqc_code_measure(code, weights, p->arena, error); /* what the report says */
    }
    return status;
}

vqc_status vqc_static_fit_biases(vqc_static_plan *p, size_t *raised, vqc_error *error)
{
    *raised = 0;
    for (size_t i = 0; i < p->unit_count; i++) {
        vqc_unit *unit = &p->units[i];
        vqc_status status = VQC_OK;

        if (unit->kind == VQC_UNIT_LINEAR && unit->quantized) {
            status = fit_bias(p, unit, raised, error);
        }
        if (status != VQC_OK) {
            return status;
        }
    }
    return VQC_OK;
}
