/* Operators that move codes, and those of com.microsoft that compute on them. */
#include <string.h>

#include "core/memory.h"
#include "core/static/qoperator_build.h"
#include "core/tensor.h"

enum { MAX_PARTS = 256 };

static const char NEEDS_MICROSOFT[] = "only com.microsoft has an integer operator";
static const char NOT_PLAIN[] = "activations are not 8 bits under one scale";

static bool attr_is(const Onnx__NodeProto *node, const char *name, const char *text,
                    const char *fallback)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(node, name);

    if (attr == NULL || !attr->has_s) {
        return strcmp(fallback, text) == 0;
    }
    return attr->s.len == strlen(text) && memcmp(attr->s.data, text, attr->s.len) == 0;
}

/* ---- moving ---- */

/* Whether an input is a constant 0. */
static bool is_zero(const vqc_qoperator *q, const Onnx__NodeProto *node, size_t input)
{
    const vqc_value *value = vqc_scope_define(q->graph, q->graph->scopes[0], node->input[input]);
    const Onnx__TensorProto *tensor = value == NULL ? NULL : vqc_value_constant(q->graph, value);
    const float *values;
    size_t count;
    float first;

    if (tensor == NULL ||
        vqc_tensor_borrow_f32(tensor, q->arena, &values, &count, NULL) != VQC_OK || count != 1) {
        return false;
    }
    memcpy(&first, values, sizeof first);
    return first == 0.0f;
}

/* Why codes cannot be moved by this operator like numbers, or NULL. */
static const char *cannot_move(const vqc_qoperator *q, const Onnx__NodeProto *node,
                               const vqc_codes *x)
{
    if (vqc_node_is(node, "Resize") &&
        (!attr_is(node, "mode", "nearest", "nearest") ||
         attr_is(node, "coordinate_transformation_mode", "tf_crop_and_resize", "half_pixel"))) {
        return "interpolates";
    }
    if (vqc_node_is(node, "Pad") && attr_is(node, "mode", "constant", "constant") &&
        vqc_qoperator_has_input(node, 2) && !is_zero(q, node, 2)) {
        return "pads with a value of its own";
    }
    if (vqc_node_is(node, "MaxPool") && node->n_output != 1) {
        return "gives indices too";
    }
    if (x->dtype == VQC_DTYPE_INT8 &&
        (vqc_node_is(node, "DepthToSpace") || vqc_node_is(node, "SpaceToDepth"))) {
        return "ONNX Runtime has it for uint8 only";
    }
    return NULL;
}

const char *vqc_qoperator_move(vqc_qoperator *q, const Onnx__NodeProto *node)
{
    vqc_codes x;
    vqc_codes y;
    const char *reason;
    size_t inputs = node->n_input;
    const char **names;
    const char **outputs;

    if (!vqc_qoperator_source(q, node, 0, &x)) {
        return VQC_NO_UNIT;
    }
    names = vqc_arena_calloc(q->arena, node->n_input + 3, sizeof *names);
    outputs = vqc_arena_calloc(q->arena, node->n_output + 1, sizeof *outputs);
    if (names == NULL || outputs == NULL) {
        q->failed = true;
        return NULL;
    }
    for (size_t o = 0; o < node->n_output; o++) {
        if (!vqc_qoperator_sink(q, node, o, &y)) {
            return VQC_NO_UNIT;
        }
        if (!vqc_codes_agree(q, &x, &y)) {
            return "scale or zero point changes";
        }
        outputs[o] = y.name;
    }
    reason = vqc_codes_are_plain(&x) ? cannot_move(q, node, &x) : NOT_PLAIN;
    if (reason != NULL) {
        return reason;
    }
    for (size_t i = 0; i < node->n_input; i++) {
        names[i] = node->input[i] == NULL ? "" : node->input[i];
    }
    names[0] = x.name;
    if (vqc_node_is(node, "Pad") && attr_is(node, "mode", "constant", "constant")) {
        names[1] = node->input[1];
        names[2] = vqc_qoperator_zero(q, &x, 0);
        inputs = inputs < 3 ? 3 : inputs;
    }
    (void)vqc_qoperator_push_copy(q, node, names, inputs, outputs);
    vqc_qoperator_done(q, node->op_type, NULL);
    return NULL;
}

/* ---- com.microsoft ---- */

static const char *microsoft_name(const Onnx__NodeProto *node)
{
    static const char *const names[][2] = {
        {"Add", "QLinearAdd"},
        {"Mul", "QLinearMul"},
        {"Sigmoid", "QLinearSigmoid"},
        {"LeakyRelu", "QLinearLeakyRelu"},
        {"AveragePool", "QLinearAveragePool"},
        {"GlobalAveragePool", "QLinearGlobalAveragePool"},
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (vqc_node_is(node, names[i][0])) {
            return names[i][1];
        }
    }
    return NULL;
}

const char *vqc_qoperator_binary(vqc_qoperator *q, const Onnx__NodeProto *node)
{
    const char *op = microsoft_name(node);
    vqc_codes a;
    vqc_codes b;
    vqc_codes y;
    const char *inputs[8];

    if (!vqc_qoperator_source(q, node, 0, &a) || !vqc_qoperator_source(q, node, 1, &b) ||
        !vqc_qoperator_sink(q, node, 0, &y)) {
        return VQC_NO_UNIT;
    }
    if (!q->microsoft) {
        return NEEDS_MICROSOFT;
    }
    if (!vqc_codes_are_plain(&a) || !vqc_codes_are_plain(&b) || !vqc_codes_are_plain(&y)) {
        return NOT_PLAIN;
    }
    if (a.dtype != b.dtype || a.dtype != y.dtype) {
        return "mixes signed and unsigned codes";
    }
    inputs[0] = a.name;
    inputs[1] = a.scale;
    inputs[2] = vqc_qoperator_zero(q, &a, 0);
    inputs[3] = b.name;
    inputs[4] = b.scale;
    inputs[5] = vqc_qoperator_zero(q, &b, 0);
    inputs[6] = y.scale;
    inputs[7] = vqc_qoperator_zero(q, &y, 0);
    (void)vqc_qoperator_push(q, op, "com.microsoft", node, inputs, 8, y.name);
    vqc_qoperator_done(q, op, NULL);
    return NULL;
}

static bool has_dilations(const Onnx__NodeProto *node)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(node, "dilations");

    for (size_t i = 0; attr != NULL && i < attr->n_ints; i++) {
        if (attr->ints[i] != 1) {
            return true;
        }
    }
    return false;
}

const char *vqc_qoperator_unary(vqc_qoperator *q, const Onnx__NodeProto *node)
{
    const char *op = microsoft_name(node);
    vqc_codes x;
    vqc_codes y;
    const char *inputs[5];
    Onnx__NodeProto *made;

    if (!vqc_qoperator_source(q, node, 0, &x) || !vqc_qoperator_sink(q, node, 0, &y)) {
        return VQC_NO_UNIT;
    }
    if (!q->microsoft) {
        return NEEDS_MICROSOFT;
    }
    if (!vqc_codes_are_plain(&x) || !vqc_codes_are_plain(&y)) {
        return NOT_PLAIN;
    }
    if (x.dtype != y.dtype) {
        return "mixes signed and unsigned codes";
    }
    if (has_dilations(node)) {
        return "dilations";
    }
    inputs[0] = x.name;
    inputs[1] = x.scale;
    inputs[2] = vqc_qoperator_zero(q, &x, 0);
    inputs[3] = y.scale;
    inputs[4] = vqc_qoperator_zero(q, &y, 0);
    made = vqc_qoperator_push(q, op, "com.microsoft", node, inputs, 5, y.name);
    if (made != NULL) {
        vqc_node_remove_attr(made, "dilations"); /* all 1; the list is the node's own copy */
    }
    vqc_qoperator_done(q, op, NULL);
    return NULL;
}

/* ---- Concat ---- */

static const char *push_qlinear_concat(vqc_qoperator *q, const Onnx__NodeProto *node,
                                       const vqc_codes *y)
{
    size_t count = 2 + 3 * node->n_input;
    const char **inputs = vqc_arena_calloc(q->arena, count, sizeof *inputs);
    vqc_codes x;

    if (inputs == NULL) {
        q->failed = true;
        return NULL;
    }
    inputs[0] = y->scale;
    inputs[1] = vqc_qoperator_zero(q, y, 0);
    for (size_t i = 0; i < node->n_input; i++) {
        (void)vqc_qoperator_source(q, node, i, &x);
        inputs[2 + 3 * i] = x.name;
        inputs[3 + 3 * i] = x.scale;
        inputs[4 + 3 * i] = vqc_qoperator_zero(q, &x, 0);
    }
    (void)vqc_qoperator_push(q, "QLinearConcat", "com.microsoft", node, inputs, count, y->name);
    vqc_qoperator_done(q, "QLinearConcat", NULL);
    return NULL;
}

const char *vqc_qoperator_concat(vqc_qoperator *q, const Onnx__NodeProto *node)
{
    const char *inputs[MAX_PARTS];
    bool agree = true;
    vqc_codes x;
    vqc_codes y;

    if (!vqc_qoperator_sink(q, node, 0, &y) || node->n_input == 0) {
        return VQC_NO_UNIT;
    }
    for (size_t i = 0; i < node->n_input; i++) {
        if (!vqc_qoperator_source(q, node, i, &x)) {
            return VQC_NO_UNIT;
        }
        if (!vqc_codes_are_plain(&x) || !vqc_codes_are_plain(&y)) {
            return NOT_PLAIN;
        }
        if (x.dtype != y.dtype) {
            return "mixes signed and unsigned codes";
        }
        agree = agree && vqc_codes_agree(q, &x, &y);
        if (i < MAX_PARTS) {
            inputs[i] = x.name;
        }
    }
    if (agree && node->n_input <= MAX_PARTS) {
        (void)vqc_qoperator_push_copy(q, node, inputs, node->n_input, &y.name);
        vqc_qoperator_done(q, "Concat", NULL);
        return NULL;
    }
    return q->microsoft ? push_qlinear_concat(q, node, &y) : NEEDS_MICROSOFT;
}
