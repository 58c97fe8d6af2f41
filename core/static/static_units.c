#include "core/static/static_units.h"

#include <string.h>

#include "core/tensor.h"

/* Operators with an integer form in ONNX Runtime (QLinearAdd, QLinearMul, ...). */
static const char *const CHAIN[] = {"Add",       "Mul",    "AveragePool", "GlobalAveragePool",
                                    "LeakyRelu", "Concat", "Sigmoid"};

/* Operators that only move values, or pick among them: the scale stays. */
static const char *const SHAPE[] = {
    "Reshape", "Flatten", "Transpose",    "Squeeze",      "Unsqueeze", "MaxPool",
    "Slice",   "Split",   "Identity",     "Dropout",      "Expand",    "Tile",
    "Pad",     "Resize",  "DepthToSpace", "SpaceToDepth",
};

static bool is_one_of(const Onnx__NodeProto *node, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (vqc_node_is(node, names[i])) {
            return true;
        }
    }
    return false;
}

static bool has_input(const Onnx__NodeProto *node, size_t input)
{
    return node->n_input > input && node->input[input] != NULL && node->input[input][0] != '\0';
}

static const char *string_attr(const Onnx__NodeProto *node, const char *name, char *text,
                               size_t capacity, const char *fallback)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(node, name);
    size_t n;

    if (attr == NULL) {
        return fallback;
    }
    n = attr->s.len < capacity - 1 ? attr->s.len : capacity - 1;
    memcpy(text, attr->s.data, n);
    text[n] = '\0';
    return text;
}

/* A constant scalar of the main graph as float; false when it is not one. */
static bool constant_scalar(const vqc_graph *graph, const char *name, float *out)
{
    const vqc_value *value = vqc_scope_resolve(graph, graph->scopes[0], name);
    Onnx__TensorProto *tensor = value == NULL ? NULL : vqc_value_constant(graph, value);
    vqc_arena *arena;
    const float *values;
    size_t elements;
    bool ok;

    if (tensor == NULL) {
        return false;
    }
    arena = vqc_arena_create();
    ok = arena != NULL &&
         vqc_tensor_borrow_f32(tensor, arena, &values, &elements, NULL) == VQC_OK && elements == 1;
    if (ok) {
        memcpy(out, values, sizeof *out);
    }
    vqc_arena_destroy(&arena);
    return ok;
}

/* Clip whose bounds are constants around 0: then a range inside them clips by itself. */
static bool is_constant_clip(const vqc_graph *graph, const Onnx__NodeProto *node)
{
    float lo = vqc_node_attr_float(node, "min", -3.4e38f);
    float hi = vqc_node_attr_float(node, "max", 3.4e38f);

    if (has_input(node, 1) && !constant_scalar(graph, node->input[1], &lo)) {
        return false;
    }
    if (has_input(node, 2) && !constant_scalar(graph, node->input[2], &hi)) {
        return false;
    }
    return lo <= 0.0f && hi >= 0.0f;
}

/* Padding with a constant needs it to be 0, which every range contains. */
static bool is_plain_pad(const vqc_graph *graph, const Onnx__NodeProto *node)
{
    char text[32];
    const char *mode = string_attr(node, "mode", text, sizeof text, "constant");
    float value = vqc_node_attr_float(node, "value", 0.0f);

    if (has_input(node, 2) && !constant_scalar(graph, node->input[2], &value)) {
        return false;
    }
    return strcmp(mode, "constant") != 0 || value == 0.0f;
}

static bool is_shape(const vqc_graph *graph, const Onnx__NodeProto *node)
{
    char text[32];

    if (!is_one_of(node, SHAPE, sizeof SHAPE / sizeof SHAPE[0])) {
        return false;
    }
    if (vqc_node_is(node, "Pad")) {
        return is_plain_pad(graph, node);
    }
    if (vqc_node_is(node, "Resize")) {
        return strcmp(string_attr(node, "mode", text, sizeof text, "nearest"), "nearest") == 0 &&
               strcmp(string_attr(node, "coordinate_transformation_mode", text, sizeof text, ""),
                      "tf_crop_and_resize") != 0;
    }
    if (vqc_node_is(node, "MaxPool") || vqc_node_is(node, "Dropout")) {
        return node->n_output == 1;
    }
    return true;
}

bool vqc_unit_is_plain_gemm(const Onnx__NodeProto *node)
{
    return vqc_node_attr_int(node, "transA", 0) == 0 &&
           vqc_node_attr_float(node, "alpha", 1.0f) == 1.0f &&
           (!has_input(node, 2) || vqc_node_attr_float(node, "beta", 1.0f) == 1.0f);
}

bool vqc_static_layer_fits(const vqc_layer *layer, const vqc_weight_spec *spec)
{
    const Onnx__NodeProto *node = layer->use_count == 1 ? layer->uses[0].node : NULL;

    if (node == NULL || layer->uses[0].input != 1 || layer->scope->parent != NULL ||
        layer->scope->graph == NULL || layer->scope->opset < 7 || layer->dtype != VQC_DTYPE_FLOAT ||
        layer->is_output || layer->overridable || !layer->direct ||
        layer->role != VQC_ROLE_WEIGHT || spec->activations != VQC_ACTIVATIONS_STATIC ||
        !vqc_weight_spec_can_be_static(spec) || strcmp(node->input[1], layer->value->name) != 0 ||
        node->n_output != 1) {
        return false;
    }
    return (vqc_node_is(node, "Conv") && layer->rank >= 3) ||
           (vqc_node_is(node, "Gemm") && vqc_unit_is_plain_gemm(node)) ||
           (vqc_node_is(node, "MatMul") && layer->rank == 2);
}

vqc_unit_kind vqc_unit_kind_of(const vqc_graph *graph, const Onnx__NodeProto *node)
{
    if (vqc_node_is(node, "Conv") || vqc_node_is(node, "MatMul") ||
        (vqc_node_is(node, "Gemm") && vqc_unit_is_plain_gemm(node))) {
        return VQC_UNIT_LINEAR;
    }
    if (vqc_node_is(node, "Relu") || (vqc_node_is(node, "Clip") && is_constant_clip(graph, node))) {
        return VQC_UNIT_CLAMP;
    }
    if (is_one_of(node, CHAIN, sizeof CHAIN / sizeof CHAIN[0]) &&
        node->n_input <= VQC_UNIT_MAX_DATA) {
        return VQC_UNIT_CHAIN;
    }
    return is_shape(graph, node) ? VQC_UNIT_SHAPE : VQC_UNIT_FLOAT;
}

bool vqc_unit_reads_data(const Onnx__NodeProto *node, vqc_unit_kind kind, size_t input)
{
    switch (kind) {
    case VQC_UNIT_LINEAR:
    case VQC_UNIT_SHAPE:
    case VQC_UNIT_CLAMP:
        return input == 0;
    case VQC_UNIT_CHAIN:
        return has_input(node, input);
    case VQC_UNIT_FLOAT:
        break;
    }
    return false;
}
