/* Dynamic quantization: activations become uint8 at run time, the product runs in integers. */
#include <string.h>

#include "core/emit/patterns.h"

/* A value that is already quantized somewhere in the graph. */
struct vqc_dynamic_input {
    struct vqc_dynamic_input *next;
    const vqc_patch *patch;
    const vqc_scope *scope;
    const char *value;
    const Onnx__NodeProto *node;   /* the DynamicQuantizeLinear */
    const Onnx__NodeProto *reader; /* in front of which it stands */
};

size_t vqc_emit_place_of(const vqc_scope *scope, const Onnx__NodeProto *node)
{
    size_t count;
    Onnx__NodeProto **nodes = vqc_scope_nodes(scope, &count);
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] == node) {
            return i;
        }
    }
    return SIZE_MAX;
}

enum { INPUT_BUCKETS = 1024 };

/* The list in which a value of this name is or would be; NULL before there is one. */
static struct vqc_dynamic_input **input_bucket(const vqc_graph *graph, const char *name)
{
    uint32_t hash = 0x811c9dc5u; /* FNV-1a */

    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * 0x01000193u;
    }
    return graph->dynamic_inputs == NULL
               ? NULL
               : &graph->dynamic_inputs[(hash ^ hash >> 16) % INPUT_BUCKETS];
}

/* A DynamicQuantizeLinear of `value` that runs before `reader`, or NULL. Readers may share one. */
static const Onnx__NodeProto *find_quantized(const vqc_emitter *e, const vqc_scope *scope,
                                             const char *value, const Onnx__NodeProto *reader)
{
    struct vqc_dynamic_input **bucket = input_bucket(e->graph, value);
    const struct vqc_dynamic_input *item = bucket == NULL ? NULL : *bucket;

    for (; item != NULL; item = item->next) {
        const Onnx__NodeProto *anchor = item->patch == e->patch ? item->reader : item->node;
        if (item->scope == scope && strcmp(item->value, value) == 0 &&
            vqc_emit_place_of(scope, anchor) < vqc_emit_place_of(scope, reader)) {
            return item->node;
        }
    }
    return NULL;
}

/* DynamicQuantizeLinear(value) -> quantized, scale, zero point; an earlier one of the same value
 * serves. */
static const Onnx__NodeProto *quantize_input(vqc_emitter *e, vqc_scope *scope, const char *value,
                                             const Onnx__NodeProto *reader)
{
    const Onnx__NodeProto *found = find_quantized(e, scope, value, reader);
    struct vqc_dynamic_input **bucket;
    struct vqc_dynamic_input *item;
    const char *outputs[3];
    Onnx__NodeProto *node;

    if (found != NULL || e->status != VQC_OK) {
        return found;
    }
    for (int i = 0; i < 3; i++) {
        outputs[i] = vqc_graph_fresh_name(e->graph, "x");
        if (outputs[i] == NULL) {
            vqc_emit_fail(e);
            return NULL;
        }
    }
    node = vqc_node_create(e->arena, "DynamicQuantizeLinear", "", NULL, &value, 1, outputs, 3);
    item = vqc_arena_calloc(e->graph->arena, 1, sizeof *item);
    vqc_emit_add(e, node);
    if (e->graph->dynamic_inputs == NULL) {
        e->graph->dynamic_inputs =
            vqc_arena_calloc(e->graph->arena, INPUT_BUCKETS, sizeof(struct vqc_dynamic_input *));
    }
    if (item == NULL || e->graph->dynamic_inputs == NULL || e->status != VQC_OK) {
        vqc_emit_fail(e);
        return NULL;
    }
    bucket = input_bucket(e->graph, value);
    *item = (struct vqc_dynamic_input){*bucket, e->patch, scope, value, node, reader};
    *bucket = item;
    return node;
}

/* [rows, cols] -> [cols, rows] of bytes, in the model's arena. */
static const void *transpose(vqc_emitter *e, const uint8_t *in, size_t rows, size_t cols)
{
    uint8_t *out = e->status == VQC_OK ? vqc_arena_calloc(e->arena, rows, cols) : NULL;

    if (out == NULL) {
        vqc_emit_fail(e);
        return NULL;
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++) {
            out[c * rows + r] = in[r * cols + c];
        }
    }
    return out;
}

/* The codes of a sparse weight, from those that are stored. */
static const char *emit_sparse_codes(vqc_emitter *e, const vqc_code *code, vqc_dtype dtype,
                                     bool transposed)
{
    const vqc_layer *layer = code->decision->layer;
    const int64_t stored[1] = {(int64_t)code->sparse->entries};
    const vqc_emit_zero zero = {.dtype = dtype, .raw = &code->decision->middle};
    const char *q = vqc_emit_payload(e, "q", dtype, stored, 1, vqc_emit_stored_codes(e, code, 1),
                                     code->sparse->entries);

    q = vqc_emit_sparse(e, code->sparse, q, &zero, layer->dims, layer->rank, VQC_FRESH);
    /* without perm the axes are turned round */
    return transposed ? vqc_emit_node(e, "Transpose", VQC_FRESH, q, NULL, NULL) : q;
}

static const char *emit_codes(vqc_emitter *e, const vqc_code *code, bool transposed)
{
    const vqc_layer *layer = code->decision->layer;
    vqc_dtype dtype = code->decision->is_signed ? VQC_DTYPE_INT8 : VQC_DTYPE_UINT8;
    int64_t dims[64];
    const void *raw = code->codes;

    if (code->sparse != NULL) {
        return emit_sparse_codes(e, code, dtype, transposed);
    }
    memcpy(dims, layer->dims, layer->rank * sizeof *dims);
    if (transposed) {
        dims[0] = layer->dims[1];
        dims[1] = layer->dims[0];
        if (raw != NULL) {
            raw = transpose(e, raw, (size_t)layer->dims[0], (size_t)layer->dims[1]);
        }
    } else if (raw != NULL && code->decision->form == VQC_FORM_DYNAMIC_MATMUL) {
        void *copy = vqc_arena_alloc(e->arena, layer->elements);
        if (copy == NULL) {
            vqc_emit_fail(e);
            return "";
        }
        raw = memcpy(copy, raw, layer->elements);
    }
    return vqc_emit_payload(e, "q", dtype, dims, layer->rank, raw, layer->elements);
}

/* Zero points of the weight: [n] or scalar; NULL when they are all 0. */
static const char *emit_zero_points(vqc_emitter *e, const vqc_code *code, const int64_t *dims,
                                    size_t rank)
{
    size_t groups = vqc_grouping_count(&code->decision->grouping);
    uint8_t *raw = NULL;

    if (!code->decision->has_zero_point) {
        int32_t middle = code->decision->middle;
        return middle == 0 ? NULL : vqc_emit_scalar_u8(e, (uint8_t)middle);
    }
    if (code->codes != NULL) {
        raw = vqc_arena_calloc(e->arena, groups, 1);
        if (raw == NULL) {
            vqc_emit_fail(e);
            return "";
        }
        for (size_t g = 0; g < groups; g++) {
            raw[g] = (uint8_t)code->zero_points[g];
        }
    }
    return vqc_emit_payload(e, "z", VQC_DTYPE_UINT8, dims, rank, raw, groups);
}

/* int32 product -> float, times both scales, plus the bias. */
static void finish(vqc_emitter *e, const char *product, const char *input_scale,
                   const char *weight_scale, const char *bias, const char *output)
{
    const char *real = vqc_emit_cast(e, product, VQC_DTYPE_FLOAT, VQC_FRESH);
    const char *scale = vqc_emit_node(e, "Mul", VQC_FRESH, input_scale, weight_scale, NULL);

    if (bias == NULL) {
        (void)vqc_emit_node(e, "Mul", output, real, scale, NULL);
        return;
    }
    real = vqc_emit_node(e, "Mul", VQC_FRESH, real, scale, NULL);
    (void)vqc_emit_node(e, "Add", output, real, bias, NULL);
}

static const char *bias_of(const Onnx__NodeProto *node)
{
    return node->n_input > 2 && node->input[2][0] != '\0' ? node->input[2] : NULL;
}

void vqc_emit_dynamic_matmul(vqc_emitter *e, const vqc_code *code)
{
    const vqc_layer *layer = code->decision->layer;
    bool transposed = vqc_node_attr_int(layer->uses[0].node, "transB", 0) != 0;
    int64_t dims[1] = {(int64_t)vqc_grouping_count(&code->decision->grouping)};
    size_t rank = dims[0] > 1 ? 1 : 0;
    const char *q = emit_codes(e, code, transposed);
    const char *z = emit_zero_points(e, code, dims, rank);
    const char *s = vqc_emit_scales(e, code, dims, rank);

    for (size_t i = 0; i < layer->use_count && e->status == VQC_OK; i++) {
        Onnx__NodeProto *old = layer->uses[i].node;
        const Onnx__NodeProto *x;
        const char *product;
        e->collecting = true;
        x = quantize_input(e, layer->uses[i].scope, old->input[0], old);
        if (x == NULL) {
            return;
        }
        product = vqc_emit_node(e, "MatMulInteger", VQC_FRESH, x->output[0], q, x->output[2]);
        if (z != NULL && e->status == VQC_OK && !vqc_node_set_input(e->arena, e->last, 3, z)) {
            vqc_emit_fail(e);
        }
        finish(e, product, x->output[1], s, vqc_node_is(old, "Gemm") ? bias_of(old) : NULL,
               old->output[0]);
        vqc_emit_flush(e, layer->uses[i].scope, old, false);
    }
    if (e->status == VQC_OK) {
        e->status = vqc_patch_remove_constant(e->patch, layer->value, e->error);
    }
}

/* Bias [M] -> [M, 1, ...], to be added behind the integer convolution. */
static const char *spread_bias(vqc_emitter *e, const char *bias, const int64_t *dims, size_t rank)
{
    int64_t shape[64];

    if (bias == NULL) {
        return NULL;
    }
    shape[0] = dims[0];
    for (size_t i = 1; i + 1 < rank; i++) {
        shape[i] = 1;
    }
    return vqc_emit_reshape(e, bias, shape, rank - 1, VQC_FRESH);
}

void vqc_emit_dynamic_conv(vqc_emitter *e, const vqc_code *code)
{
    const vqc_layer *layer = code->decision->layer;
    int64_t dims[64];
    size_t weight_rank = vqc_emit_scale_shape(code, dims);
    size_t rank = weight_rank == 0 ? 0 : weight_rank - 1; /* [M, 1, 1] against [N, M, H, W] */
    const char *q = emit_codes(e, code, false);
    const char *z = vqc_emit_scalar_u8(e, (uint8_t)code->decision->middle);
    const char *s = vqc_emit_scales(e, code, dims, rank);

    for (size_t i = 0; i < layer->use_count && e->status == VQC_OK; i++) {
        Onnx__NodeProto *old = layer->uses[i].node;
        const Onnx__NodeProto *x;
        const char *product;
        const char *bias;
        e->collecting = true;
        x = quantize_input(e, layer->uses[i].scope, old->input[0], old);
        if (x == NULL) {
            return;
        }
        product = vqc_emit_node(e, "ConvInteger", VQC_FRESH, x->output[0], q, x->output[2]);
        if (e->status == VQC_OK && !vqc_node_set_input(e->arena, e->last, 3, z)) {
            vqc_emit_fail(e);
        }
        if (e->status == VQC_OK) { /* same strides, pads, dilations, group */
            e->last->attribute = old->attribute;
            e->last->n_attribute = old->n_attribute;
        }
        bias = spread_bias(e, bias_of(old), layer->dims, layer->rank);
        finish(e, product, x->output[1], s, bias, old->output[0]);
        vqc_emit_flush(e, layer->uses[i].scope, old, false);
    }
    if (e->status == VQC_OK) {
        e->status = vqc_patch_remove_constant(e->patch, layer->value, e->error);
    }
}
