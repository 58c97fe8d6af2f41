/* com.microsoft DynamicQuantizeLSTM: both weight matrices int8, inputs quantized at run time. */
#include <string.h>

#include "core/emit/patterns.h"

/* An LSTM that became a DynamicQuantizeLSTM when its first weight was coded: the names that the new
 * node reads are fixed then, the second weight comes under the rest of them. */
struct vqc_dynamic_lstm {
    struct vqc_dynamic_lstm *next;
    const Onnx__NodeProto *old;
    const Onnx__NodeProto *node;
    const vqc_patch *patch;
    const char *names[2][3]; /* W, R: codes, scale, zero point */
};

/* Inputs of LSTM: X, W, R, B, sequence_lens, initial_h, initial_c, P. */
enum { LSTM_W = 1, LSTM_R = 2, LSTM_INPUTS = 8, DYNAMIC_INPUTS = 12 };

bool vqc_emit_lstm_is_dynamic(const vqc_layer *layer)
{
    const vqc_use *use = &layer->uses[0];

    return layer->use_count == 1 && layer->rank == 3 && use->node != NULL &&
           use->scope == layer->scope && vqc_node_is(use->node, "LSTM") &&
           (use->input == LSTM_W || use->input == LSTM_R) &&
           strcmp(use->node->input[use->input], layer->value->name) == 0 &&
           vqc_node_attr_int(use->node, "layout", 0) == 0;
}

/* [dirs, rows, cols] -> [dirs, cols, rows]; NULL while only sizes matter. */
static const uint8_t *transposed(vqc_emitter *e, const vqc_code *code)
{
    const int64_t *dims = code->decision->layer->dims;
    size_t rows = (size_t)dims[1];
    size_t cols = (size_t)dims[2];
    const uint8_t *in = code->codes;
    uint8_t *out;

    if (in == NULL || e->status != VQC_OK) {
        return NULL;
    }
    out = vqc_arena_alloc(e->arena, code->decision->layer->elements);
    if (out == NULL) {
        vqc_emit_fail(e);
        return NULL;
    }
    for (size_t d = 0; d < (size_t)dims[0]; d++) {
        const uint8_t *from = in + d * rows * cols;
        uint8_t *to = out + d * rows * cols;
        for (size_t r = 0; r < rows; r++) {
            for (size_t c = 0; c < cols; c++) {
                to[c * rows + r] = from[r * cols + c];
            }
        }
    }
    return out;
}

/* Per channel [dirs, 4H]; per tensor [dirs], the one value for every direction. */
static void emit_parameters(vqc_emitter *e, const vqc_code *code, const char *const names[3])
{
    const vqc_decision *d = code->decision;
    const int64_t *dims = d->layer->dims;
    size_t groups = vqc_grouping_count(&d->grouping);
    bool per_channel = groups > 1;
    size_t count = per_channel ? groups : (size_t)dims[0];
    size_t rank = per_channel ? 2 : 1;
    vqc_dtype dtype = d->is_signed ? VQC_DTYPE_INT8 : VQC_DTYPE_UINT8;
    float *scales = e->status == VQC_OK ? vqc_arena_calloc(e->arena, count, sizeof *scales) : NULL;
    uint8_t *zeros = e->status == VQC_OK ? vqc_arena_calloc(e->arena, count, 1) : NULL;

    if (scales == NULL || zeros == NULL) {
        vqc_emit_fail(e);
        return;
    }
    for (size_t i = 0; i < count && code->codes != NULL; i++) {
        scales[i] = code->scales[per_channel ? i : 0];
        zeros[i] = (uint8_t)code->zero_points[per_channel ? i : 0];
    }
    (void)vqc_emit_named_payload(e, names[1], VQC_DTYPE_FLOAT, dims, rank, scales,
                                 count * sizeof *scales);
    (void)vqc_emit_named_payload(e, names[2], dtype, dims, rank, zeros, count);
}

static const char *name_or_empty(const Onnx__NodeProto *node, size_t input)
{
    return input < node->n_input ? node->input[input] : "";
}

/* The record of this LSTM when its new node is (or will be, in this patch) in the graph. */
static struct vqc_dynamic_lstm *find_record(const vqc_emitter *e, const Onnx__NodeProto *old)
{
    for (struct vqc_dynamic_lstm *r = e->graph->dynamic_lstms; r != NULL; r = r->next) {
        if (r->old == old &&
            (r->patch == e->patch || vqc_emit_place_of(e->scope, r->node) != SIZE_MAX)) {
            return r;
        }
    }
    return NULL;
}

static struct vqc_dynamic_lstm *replace_lstm(vqc_emitter *e, Onnx__NodeProto *old)
{
    static const char *const hints[3] = {"q", "s", "z"};
    struct vqc_dynamic_lstm *r = vqc_arena_calloc(e->graph->arena, 1, sizeof *r);
    const char *inputs[DYNAMIC_INPUTS];
    Onnx__NodeProto *node;

    if (r == NULL || e->status != VQC_OK) {
        vqc_emit_fail(e);
        return NULL;
    }
    for (size_t i = 0; i < 6; i++) {
        r->names[i / 3][i % 3] = vqc_graph_fresh_name(e->graph, hints[i % 3]);
        if (r->names[i / 3][i % 3] == NULL) {
            vqc_emit_fail(e);
            return NULL;
        }
    }
    for (size_t i = 0; i < LSTM_INPUTS; i++) {
        inputs[i] = name_or_empty(old, i);
    }
    for (size_t w = 0; w < 2; w++) {
        inputs[LSTM_W + w] = r->names[w][0];
        inputs[LSTM_INPUTS + 2 * w] = r->names[w][1];
        inputs[LSTM_INPUTS + 2 * w + 1] = r->names[w][2];
    }
    node = vqc_node_create(e->arena, "DynamicQuantizeLSTM", "com.microsoft", old->name, inputs,
                           DYNAMIC_INPUTS, (const char *const *)old->output, old->n_output);
    if (node == NULL) {
        vqc_emit_fail(e);
        return NULL;
    }
    /* direction, hidden_size, activations, clip: the same; layout (0) does not exist here */
    node->attribute = vqc_arena_calloc(e->arena, old->n_attribute + 1, sizeof *node->attribute);
    if (node->attribute == NULL) {
        vqc_emit_fail(e);
        return NULL;
    }
    node->n_attribute = old->n_attribute;
    for (size_t i = 0; i < old->n_attribute; i++) {
        node->attribute[i] = old->attribute[i];
    }
    vqc_node_remove_attr(node, "layout");
    r->old = old;
    r->node = node;
    r->patch = e->patch;
    r->next = e->graph->dynamic_lstms;
    e->graph->dynamic_lstms = r;
    e->status = vqc_patch_replace_node(e->patch, e->scope, old, &node, 1, e->error);
    if (e->status == VQC_OK) {
        e->status = vqc_patch_need_opset(e->patch, "com.microsoft", 1, e->error);
    }
    return r;
}

void vqc_emit_dynamic_lstm(vqc_emitter *e, const vqc_code *code)
{
    const vqc_layer *layer = code->decision->layer;
    Onnx__NodeProto *old = layer->uses[0].node;
    struct vqc_dynamic_lstm *record = find_record(e, old);
    int64_t dims[3] = {layer->dims[0], layer->dims[2], layer->dims[1]};
    const char *const *names;

    if (record == NULL) {
        record = replace_lstm(e, old);
    }
    if (record == NULL) {
        return;
    }
    names = record->names[layer->uses[0].input - LSTM_W];
    (void)vqc_emit_named_payload(e, names[0],
                                 code->decision->is_signed ? VQC_DTYPE_INT8 : VQC_DTYPE_UINT8, dims,
                                 3, transposed(e, code), layer->elements);
    emit_parameters(e, code, names);
    if (e->status == VQC_OK) {
        e->status = vqc_patch_remove_constant(e->patch, layer->value, e->error);
    }
}
