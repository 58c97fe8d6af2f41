/* What the opset raiser can know about values that the model does not describe: data types and
 * ranks, found by following producers. Every question has a budget, so that hostile files cost
 * little. */
#include <string.h>

#include "core/emit/opset_internal.h"

enum {
    HOPS = 512, /* producers looked at per question; real chains are far shorter */
    DEPTH = 128 /* recursion depth for ranks: bounds the stack, not the answer's correctness */
};

const char *vqc_opset_input(const Onnx__NodeProto *node, size_t index)
{
    return index < node->n_input && node->input[index] != NULL && node->input[index][0] != '\0'
               ? node->input[index]
               : NULL;
}

const char *vqc_opset_output(const Onnx__NodeProto *node, size_t index)
{
    return index < node->n_output && node->output[index] != NULL && node->output[index][0] != '\0'
               ? node->output[index]
               : NULL;
}

bool vqc_opset_output_used(const vqc_raise *raise, const vqc_scope *scope,
                           const Onnx__NodeProto *node, size_t index)
{
    const char *name = vqc_opset_output(node, index);
    const vqc_value *value = name == NULL ? NULL : vqc_scope_define(raise->graph, scope, name);

    return value != NULL && value->use_count > 0;
}

bool vqc_opset_attr_is(const Onnx__NodeProto *node, const char *name, const char *value,
                       const char *fallback)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(node, name);

    if (attr == NULL || !attr->has_s) {
        return strcmp(value, fallback) == 0;
    }
    return attr->s.len == strlen(value) && memcmp(attr->s.data, value, attr->s.len) == 0;
}

const Onnx__TensorProto *vqc_opset_constant_input(const vqc_raise *raise, const vqc_scope *scope,
                                                  const Onnx__NodeProto *node, size_t index)
{
    const char *name = vqc_opset_input(node, index);
    const vqc_value *value = name == NULL ? NULL : vqc_scope_resolve(raise->graph, scope, name);

    return value == NULL ? NULL : vqc_value_constant(raise->graph, value);
}

static bool one_of(const char *op, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strcmp(op, *list) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- data types ---- */

static int32_t fixed_type(char rule)
{
    switch (rule) {
    case 'b':
        return VQC_DTYPE_BOOL;
    case 'f':
        return VQC_DTYPE_FLOAT;
    case 'i':
        return VQC_DTYPE_INT64;
    case 's':
        return VQC_DTYPE_STRING;
    case 'u':
        return VQC_DTYPE_UINT8;
    case 'w':
        return VQC_DTYPE_INT32;
    default:
        return VQC_DTYPE_UNDEFINED;
    }
}

static int32_t constant_type(const Onnx__NodeProto *node)
{
    if (vqc_node_attr(node, "value_float") != NULL || vqc_node_attr(node, "value_floats") != NULL) {
        return VQC_DTYPE_FLOAT;
    }
    if (vqc_node_attr(node, "value_int") != NULL || vqc_node_attr(node, "value_ints") != NULL) {
        return VQC_DTYPE_INT64;
    }
    return VQC_DTYPE_UNDEFINED;
}

/* The type that the producer alone settles, or UNDEFINED and in *next the input to look at. */
static int32_t produced_type(const vqc_value *value, const char **next)
{
    /* Operators whose second operand has the data type of the first, and is often a weight. */
    static const char *const twins[] = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Add",
                                        "Sub",  "Mul",           "Div",  NULL};
    const Onnx__NodeProto *node = value->producer;
    const vqc_opset_op *row = vqc_opset_find_op(node->op_type);
    const Onnx__AttributeProto *attr;
    char rule;

    *next = NULL;
    if (vqc_node_is(node, "Cast")) {
        return (int32_t)vqc_node_attr_int(node, "to", VQC_DTYPE_UNDEFINED);
    }
    if (vqc_node_is(node, "Constant")) {
        return constant_type(node);
    }
    if (vqc_node_is(node, "ConstantOfShape")) {
        attr = vqc_node_attr(node, "value");
        return attr == NULL || attr->t == NULL ? VQC_DTYPE_FLOAT : attr->t->data_type;
    }
    if (vqc_node_is(node, "DequantizeLinear")) {
        *next = vqc_opset_input(node, 1);
        return (int32_t)vqc_node_attr_int(node, "output_dtype", VQC_DTYPE_UNDEFINED);
    }
    if (row == NULL || value->output >= strlen(row->output_types)) {
        return VQC_DTYPE_UNDEFINED;
    }
    rule = row->output_types[value->output];
    if (rule >= '0' && rule <= '9') {
        *next = vqc_opset_input(node, one_of(node->op_type, twins) ? 1 : (size_t)(rule - '0'));
        return VQC_DTYPE_UNDEFINED;
    }
    return fixed_type(rule);
}

int32_t vqc_opset_dtype(const vqc_raise *raise, const vqc_scope *scope, const char *name)
{
    const vqc_value *value = vqc_scope_resolve(raise->graph, scope, name);

    for (int hops = 0; value != NULL && hops < HOPS; hops++) {
        const char *next;
        int32_t dtype = vqc_value_dtype(value);
        if (dtype == VQC_DTYPE_UNDEFINED && value->producer != NULL &&
            vqc_domain_is_onnx(value->producer->domain) && value->producer->op_type != NULL) {
            const Onnx__NodeProto *node = value->producer;
            const vqc_scope *inside = value->scope;
            dtype = produced_type(value, &next);
            value = next == NULL ? NULL : vqc_scope_resolve(raise->graph, inside, next);
            if (dtype == VQC_DTYPE_UNDEFINED && next == vqc_opset_input(node, 1) && next != NULL &&
                value != NULL && vqc_value_dtype(value) == VQC_DTYPE_UNDEFINED &&
                !vqc_node_is(node, "DequantizeLinear") && vqc_opset_input(node, 0) != NULL) {
                value = vqc_scope_resolve(raise->graph, inside, node->input[0]); /* no weight */
            }
        } else {
            value = NULL;
        }
        if (dtype != VQC_DTYPE_UNDEFINED) {
            return dtype;
        }
    }
    return VQC_DTYPE_UNDEFINED;
}

/* ---- ranks ---- */

static int rank_of(const vqc_raise *raise, const vqc_scope *scope, const char *name, int depth,
                   int *budget);

static int rank_in(const vqc_raise *raise, const vqc_value *value, size_t index, int depth,
                   int *budget)
{
    const char *name = vqc_opset_input(value->producer, index);
    return name == NULL ? -1 : rank_of(raise, value->scope, name, depth, budget);
}

/* Number of elements of the 1-D input `index` when that is known, else -1. */
static int64_t length_of_input(const vqc_raise *raise, const vqc_value *value, size_t index)
{
    const char *name = vqc_opset_input(value->producer, index);
    const vqc_value *input =
        name == NULL ? NULL : vqc_scope_resolve(raise->graph, value->scope, name);
    int64_t length = -1;

    return input != NULL && vqc_value_shape(input, &length, 1) == 1 ? length : -1;
}

/* How many axes a node names in its attribute or input, -1 unknown, 0 none given. */
static int64_t axis_count(const vqc_raise *raise, const vqc_value *value)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(value->producer, "axes");

    if (attr != NULL) {
        return attr->n_ints > 0 ? (int64_t)attr->n_ints : -1;
    }
    return vqc_opset_input(value->producer, 1) != NULL ? length_of_input(raise, value, 1) : 0;
}

static int clamp_rank(int64_t rank)
{
    return rank >= 0 && rank <= 1024 ? (int)rank : -1;
}

static int reduced_rank(const vqc_raise *raise, const vqc_value *value, int depth, int *budget)
{
    int rank = rank_in(raise, value, 0, depth, budget);
    int64_t axes = axis_count(raise, value);

    if (vqc_node_attr_int(value->producer, "keepdims", 1) != 0 || rank < 0) {
        return rank;
    }
    if (axes == 0) {
        return 0;
    }
    return axes < 0 ? -1 : clamp_rank(rank - axes);
}

static int wider_rank(const vqc_raise *raise, const vqc_value *value, int depth, int *budget)
{
    int widest = -1;

    for (size_t i = 0; i < value->producer->n_input; i++) {
        int rank = rank_in(raise, value, i, depth, budget);
        if (rank < 0) {
            return -1;
        }
        widest = rank > widest ? rank : widest;
    }
    return widest;
}

static int moved_rank(const vqc_raise *raise, const vqc_value *value, int sign, int depth,
                      int *budget)
{
    int64_t axes = axis_count(raise, value);
    int rank = rank_in(raise, value, 0, depth, budget);

    return axes <= 0 || rank < 0 ? -1 : clamp_rank(rank + sign * axes);
}

/* Operators whose outputs have the rank of input 0. */
static const char *const same_rank_ops[] = {"Abs",
                                            "AveragePool",
                                            "BatchNormalization",
                                            "Cast",
                                            "Ceil",
                                            "Clip",
                                            "Concat",
                                            "CumSum",
                                            "DepthToSpace",
                                            "DequantizeLinear",
                                            "Dropout",
                                            "Elu",
                                            "Erf",
                                            "Exp",
                                            "Floor",
                                            "Gelu",
                                            "GlobalAveragePool",
                                            "GlobalMaxPool",
                                            "GlobalLpPool",
                                            "GroupNormalization",
                                            "HardSigmoid",
                                            "HardSwish",
                                            "Hardmax",
                                            "Identity",
                                            "InstanceNormalization",
                                            "LRN",
                                            "LayerNormalization",
                                            "LeakyRelu",
                                            "Log",
                                            "LogSoftmax",
                                            "LpNormalization",
                                            "LpPool",
                                            "MaxPool",
                                            "Mish",
                                            "Neg",
                                            "Not",
                                            "PRelu",
                                            "Pad",
                                            "QuantizeLinear",
                                            "Reciprocal",
                                            "Relu",
                                            "Resize",
                                            "ReverseSequence",
                                            "Round",
                                            "ScatterElements",
                                            "ScatterND",
                                            "Selu",
                                            "Sigmoid",
                                            "Sign",
                                            "Slice",
                                            "Softmax",
                                            "Softplus",
                                            "Softsign",
                                            "SpaceToDepth",
                                            "Split",
                                            "Sqrt",
                                            "Tanh",
                                            "ThresholdedRelu",
                                            "Tile",
                                            "TopK",
                                            "Transpose",
                                            "Trilu",
                                            "Upsample",
                                            NULL};

/* Operators whose output has the largest rank of their inputs. */
static const char *const broadcast_ops[] = {
    "Add", "And", "Div", "Equal", "Greater", "Less",  "Max", "Mean",           "Min",         "Mod",
    "Mul", "Or",  "Pow", "Sub",   "Sum",     "Where", "Xor", "GreaterOrEqual", "LessOrEqual", NULL};

static int produced_rank(const vqc_raise *raise, const vqc_value *value, int depth, int *budget)
{
    const char *op = value->producer->op_type;
    int left;
    int right;

    if (strcmp(op, "Conv") == 0 || strcmp(op, "ConvTranspose") == 0) {
        left = rank_in(raise, value, 1, depth, budget); /* the weight's shape is usually there */
        return left >= 0 ? left : rank_in(raise, value, 0, depth, budget);
    }
    if (one_of(op, same_rank_ops)) {
        return rank_in(raise, value, 0, depth, budget);
    }
    if (one_of(op, broadcast_ops)) {
        return wider_rank(raise, value, depth, budget);
    }
    if (strncmp(op, "Reduce", 6) == 0) {
        return reduced_rank(raise, value, depth, budget);
    }
    if (strcmp(op, "Gemm") == 0 || strcmp(op, "Flatten") == 0) {
        return 2;
    }
    if (strcmp(op, "Shape") == 0) {
        return 1;
    }
    if (strcmp(op, "LSTM") == 0 || strcmp(op, "GRU") == 0 || strcmp(op, "RNN") == 0) {
        return value->output == 0 ? 4 : 3;
    }
    if (strcmp(op, "Reshape") == 0) {
        return clamp_rank(length_of_input(raise, value, 1));
    }
    if (strcmp(op, "ConstantOfShape") == 0) {
        return clamp_rank(length_of_input(raise, value, 0));
    }
    if (strcmp(op, "Unsqueeze") == 0) {
        return moved_rank(raise, value, 1, depth, budget);
    }
    if (strcmp(op, "Squeeze") == 0) {
        return moved_rank(raise, value, -1, depth, budget);
    }
    if (strcmp(op, "MatMul") == 0 || strcmp(op, "Gather") == 0) {
        left = rank_in(raise, value, 0, depth, budget);
        right = rank_in(raise, value, 1, depth, budget);
        if (left < 0 || right < 0) {
            return -1;
        }
        if (strcmp(op, "Gather") == 0) {
            return clamp_rank(left - 1 + right);
        }
        return left >= 2 && right >= 2 ? (left > right ? left : right) : -1;
    }
    return -1;
}

static int rank_of(const vqc_raise *raise, const vqc_scope *scope, const char *name, int depth,
                   int *budget)
{
    const vqc_value *value = vqc_scope_resolve(raise->graph, scope, name);
    int rank;

    if (value == NULL || depth <= 0 || --*budget <= 0) {
        return -1;
    }
    rank = vqc_value_shape(value, NULL, 0);
    if (rank >= 0 || value->producer == NULL || value->producer->op_type == NULL ||
        !vqc_domain_is_onnx(value->producer->domain)) {
        return rank;
    }
    return produced_rank(raise, value, depth - 1, budget);
}

int vqc_opset_rank(const vqc_raise *raise, const vqc_scope *scope, const char *name)
{
    int budget = HOPS;
    return rank_of(raise, scope, name, DEPTH, &budget);
}

int vqc_opset_stated_shape(const vqc_raise *raise, const vqc_scope *scope, const char *name,
                           int64_t *dims, size_t capacity)
{
    const vqc_value *value = vqc_scope_resolve(raise->graph, scope, name);
    return value == NULL ? -1 : vqc_value_shape(value, dims, capacity);
}
