#include "core/vq/bias_site.h"

#include <stdlib.h>
#include <string.h>

#include "core/patch.h"
#include "core/tensor.h"

static bool is_output(const vqc_value *value)
{
    for (size_t i = 0; i < value->use_count; i++) {
        if (value->uses[i].node == NULL) {
            return true;
        }
    }
    return false;
}

/* Whether dims are [1, ..., 1, channels]. */
static bool fits(const Onnx__TensorProto *tensor, size_t channels)
{
    size_t elements;

    return tensor->data_type == VQC_DTYPE_FLOAT && tensor->n_dims >= 1 &&
           vqc_tensor_elements(tensor, &elements) && elements == channels &&
           (uint64_t)tensor->dims[tensor->n_dims - 1] == channels;
}

/* The constant that `node` alone reads as input `input` and that may be changed, or NULL. */
static vqc_value *own_constant(const vqc_graph *graph, const vqc_scope *scope,
                               const Onnx__NodeProto *node, size_t input, size_t channels)
{
    vqc_value *value = vqc_scope_resolve(graph, scope, node->input[input]);

    if (value == NULL || value->initializer == NULL || value->graph_input != NULL ||
        value->scope != scope || value->use_count != 1 || value->uses[0].node != node ||
        !fits(value->initializer, channels)) {
        return NULL;
    }
    return value;
}

/* The Add that is the only reader of a MatMul's output. */
static Onnx__NodeProto *only_add(const vqc_graph *graph, const vqc_scope *scope,
                                 const Onnx__NodeProto *node)
{
    const vqc_value *out =
        node->n_output < 1 ? NULL : vqc_scope_define(graph, scope, node->output[0]);

    if (out == NULL || out->use_count != 1 || is_output(out) || out->uses[0].scope != scope ||
        !vqc_node_is(out->uses[0].node, "Add") || out->uses[0].node->n_input != 2) {
        return NULL;
    }
    return out->uses[0].node;
}

static bool find_add(const vqc_graph *graph, const vqc_layer *layer, vqc_bias_site *out)
{
    Onnx__NodeProto *add = only_add(graph, layer->scope, layer->node);

    for (size_t i = 0; add != NULL && i < 2; i++) {
        if (strcmp(add->input[1 - i], layer->node->output[0]) != 0) {
            continue;
        }
        out->value = own_constant(graph, layer->scope, add, i, out->channels);
        if (out->value != NULL) {
            out->tensor = out->value->initializer;
            out->node = add;
            out->input = i;
            return true;
        }
    }
    return false;
}

/* What a Conv or Gemm adds now, when it is a constant; NULL: nothing. */
static const Onnx__TensorProto *shared_constant(const vqc_graph *graph, const vqc_layer *layer)
{
    const Onnx__NodeProto *node = layer->node;
    vqc_value *value = node->n_input > 2 && node->input[2][0] != '\0'
                           ? vqc_scope_resolve(graph, layer->scope, node->input[2])
                           : NULL;

    return value == NULL ? NULL : vqc_value_constant(graph, value);
}

bool vqc_bias_site_find(const vqc_graph *graph, const vqc_layer *layer, vqc_bias_site *out)
{
    Onnx__NodeProto *node = (Onnx__NodeProto *)(uintptr_t)layer->node;
    bool has_third;

    *out = (vqc_bias_site){.ratio = 1.0, .channels = layer->channels};
    if (node == NULL || layer->input != 1 || layer->channel_axis < 0 || layer->outer != 1) {
        if (node == NULL || layer->input != 1 || !vqc_node_is(node, "MatMul") || layer->rank != 2 ||
            layer->channel_axis < 0) {
            return false;
        }
    }
    if (vqc_node_is(node, "MatMul")) {
        return layer->rank == 2 && find_add(graph, layer, out);
    }
    if (vqc_node_is(node, "Gemm")) {
        double beta = (double)vqc_node_attr_float(node, "beta", 1.0f);
        if (beta == 0.0 || layer->rank != 2) {
            return false;
        }
        out->ratio = (double)vqc_node_attr_float(node, "alpha", 1.0f) / beta;
    } else if (!vqc_node_is(node, "Conv")) {
        return false;
    }
    out->node = node;
    out->input = 2;
    has_third = node->n_input > 2 && node->input[2] != NULL && node->input[2][0] != '\0';
    if (has_third) {
        const Onnx__TensorProto *shared;

        out->value = own_constant(graph, layer->scope, node, 2, out->channels);
        out->tensor = out->value == NULL ? NULL : out->value->initializer;
        shared = shared_constant(graph, layer);
        out->can_add = out->tensor == NULL && shared != NULL && fits(shared, out->channels);
        out->shared = out->can_add ? shared : NULL;
    } else {
        out->can_add = layer->dtype == VQC_DTYPE_FLOAT;
    }
    return out->tensor != NULL;
}

vqc_status vqc_bias_site_add(vqc_graph *graph, const vqc_layer *layer, const float *values,
                             vqc_bias_site *site, vqc_error *error)
{
    vqc_arena *arena = graph->model->arena;
    int64_t dim = (int64_t)site->channels;
    size_t size_bytes = site->channels * sizeof(float);
    const void *now = NULL;
    size_t now_bytes = 0;
    float *raw;
    char *name;
    Onnx__TensorProto *tensor;
    vqc_patch *patch;
    vqc_status status = VQC_OK;

    if (!site->can_add || site->node == NULL) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "node \"%.200s\": it cannot be given a bias",
                        layer->node_name != NULL ? layer->node_name : "");
    }
    raw = vqc_arena_calloc(arena, site->channels + 1, sizeof *raw);
    name = vqc_graph_fresh_name(graph, "bias");
    patch = vqc_patch_create(graph);
    if (raw == NULL || name == NULL || patch == NULL) {
        return vqc_fail_memory(error, size_bytes);
    }
    if (values == NULL && shared_constant(graph, layer) != NULL) {
        status =
            vqc_tensor_borrow_raw(shared_constant(graph, layer), arena, &now, &now_bytes, error);
    }
    if (values != NULL) {
        memcpy(raw, values, size_bytes);
    } else if (now != NULL && now_bytes == size_bytes) {
        memcpy(raw, now, size_bytes);
    }
    tensor = vqc_tensor_create(arena, name, VQC_DTYPE_FLOAT, &dim, 1, raw, size_bytes);
    if (status == VQC_OK && tensor == NULL) {
        status = vqc_fail_memory(error, size_bytes);
    }
    if (status == VQC_OK) {
        status = vqc_patch_add_constant(patch, layer->scope, tensor, error);
    }
    if (status == VQC_OK) {
        status = vqc_patch_apply(patch, error);
    } else {
        vqc_patch_drop(patch);
    }
    /* The node last: an initializer that nothing reads is harmless. */
    if (status == VQC_OK && !vqc_node_set_input(arena, site->node, 2, name)) {
        status = vqc_fail_memory(error, size_bytes);
    }
    if (status == VQC_OK) {
        site->tensor = tensor;
        site->can_add = false;
    }
    return status;
}

vqc_status vqc_bias_site_values(const vqc_bias_site *site, const double *gain, size_t rows,
                                vqc_arena *arena, float **values, vqc_error *error)
{
    const Onnx__TensorProto *tensor = site->tensor != NULL ? site->tensor : site->shared;
    const float *old = NULL;
    size_t count;
    vqc_status status = VQC_OK;

    *values = NULL;
    if (site->tensor == NULL && !site->can_add) {
        return VQC_OK;
    }
    if (tensor != NULL) {
        status = vqc_tensor_borrow_f32(tensor, arena, &old, &count, error);
    }
    if (status == VQC_OK) {
        *values = vqc_arena_calloc(arena, rows, sizeof **values);
        status = *values == NULL ? vqc_fail_memory(error, rows * sizeof **values) : VQC_OK;
    }
    for (size_t row = 0; row < rows && status == VQC_OK; row++) {
        double before = old != NULL ? (double)vqc_f32_at(old, row) : 0.0;
        (*values)[row] = (float)(before + site->ratio * gain[row]);
    }
    return status;
}
