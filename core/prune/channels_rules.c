/* How atoms go through layers, normalizations, pools and elementwise operators. */
#include <string.h>

#include "core/prune/channels_trace.h"

static vqc_trace_value *input_of(vqc_trace *trace, size_t i)
{
    return i < trace->node->n_input ? trace->inputs[i] : NULL;
}

static bool has_input(const vqc_trace *trace, size_t i)
{
    return i < trace->node->n_input && trace->node->input[i][0] != '\0';
}

/* ---- convolutions ---- */

/* Atoms of one part of an axis. */
static vqc_trace_labels *part_of(vqc_trace *trace, const vqc_trace_labels *labels, size_t first,
                                 size_t count)
{
    vqc_trace_labels *part = vqc_trace_labels_create(trace, count);

    if (part != NULL) {
        memcpy(part->atoms, labels->atoms + first, count * sizeof *part->atoms);
    }
    return part;
}

/* Channels of all groups lose the same places; the axis of one group. */
static vqc_trace_labels *fold_groups(vqc_trace *trace, const vqc_trace_labels *labels,
                                     size_t groups)
{
    size_t each = labels->count / groups;

    for (size_t i = each; i < labels->count; i++) {
        vqc_trace_join_atoms(trace, labels->atoms[i % each], labels->atoms[i]);
    }
    return part_of(trace, labels, 0, each);
}

static void join_bias(vqc_trace *trace, const vqc_trace_labels *out)
{
    const vqc_trace_value *bias = input_of(trace, 2);

    if (has_input(trace, 2)) {
        vqc_trace_join(trace, vqc_trace_take(trace, 2, bias == NULL ? 0 : bias->rank - 1), out,
                       vqc_trace_because(trace, "its bias is no constant"));
    }
}

/* Depthwise: weight [c * m, 1, ...]; output channels i * m ... stay with input channel i. */
static void depthwise(vqc_trace *trace, const vqc_trace_labels *in, vqc_trace_labels *out)
{
    size_t multiplier = out->count / in->count;
    vqc_trace_edit *edit = vqc_trace_add_edit(trace, VQC_EDIT_GROUP, 1);

    for (size_t i = 0; i < out->count; i++) {
        vqc_trace_join_atoms(trace, in->atoms[i / multiplier], out->atoms[i]);
    }
    if (edit != NULL) {
        edit->labels[0] = in;
    }
    vqc_trace_add_producer(trace, 1, 0, out);
}

static const char *conv_rule(vqc_trace *trace)
{
    const vqc_trace_value *weight = input_of(trace, 1);
    int64_t groups = vqc_node_attr_int(trace->node, "group", 1);
    vqc_trace_labels *in = vqc_trace_take(trace, 0, 1);
    vqc_trace_labels *out;
    vqc_trace_labels *columns;

    if (weight == NULL || weight->rank < 3 || groups < 1 || weight->dims[0] % groups != 0) {
        vqc_trace_freeze(trace, in, vqc_trace_because(trace, "its weight is unknown"));
        return "its weight is unknown";
    }
    out = vqc_trace_take(trace, 1, 0);
    if (groups > 1 && weight->dims[1] == 1) {
        if (in == NULL || out == NULL || in->count != (size_t)groups) {
            vqc_trace_freeze(trace, in, vqc_trace_because(trace, "its weight is not constant"));
            vqc_trace_freeze(trace, out, vqc_trace_because(trace, "its input cannot be cut"));
            return NULL;
        }
        depthwise(trace, in, out);
        join_bias(trace, out);
        vqc_trace_give(trace, 0, 1, out);
        return NULL;
    }
    columns = vqc_trace_take(trace, 1, 1);
    if (in != NULL && (columns == NULL || in->count != columns->count * (size_t)groups)) {
        vqc_trace_freeze(trace, in, vqc_trace_because(trace, "its weight is not constant"));
    } else if (in != NULL) {
        vqc_trace_join(trace, fold_groups(trace, in, (size_t)groups), columns, NULL);
        vqc_trace_add_consumer(
            trace, (vqc_trace_consumer){.weight = vqc_trace_index(trace, weight->value),
                                        .input = vqc_trace_index(trace, trace->inputs[0]->value),
                                        .input_axis = 1,
                                        .labels = in,
                                        .groups = (size_t)groups,
                                        .axis = 1});
    } else {
        vqc_trace_freeze(trace, columns, vqc_trace_because(trace, "its input cannot be cut"));
    }
    if (out != NULL) {
        if (groups > 1) {
            (void)fold_groups(trace, out, (size_t)groups);
        }
        vqc_trace_add_producer(trace, 1, 0, out);
        join_bias(trace, out);
        vqc_trace_give(trace, 0, 1, out);
    }
    return NULL;
}

static const char *conv_transpose_rule(vqc_trace *trace)
{
    const vqc_trace_value *weight = input_of(trace, 1);
    vqc_trace_labels *in;
    vqc_trace_labels *out;

    if (vqc_node_attr_int(trace->node, "group", 1) != 1) {
        return "transposed convolutions with groups are not made smaller";
    }
    if (weight == NULL || weight->rank < 3) {
        return "its weight is unknown";
    }
    in = vqc_trace_take(trace, 0, 1);
    vqc_trace_join(trace, in, vqc_trace_take(trace, 1, 0),
                   vqc_trace_because(trace, "its input or weight cannot be cut"));
    vqc_trace_add_consumer(
        trace, (vqc_trace_consumer){.weight = vqc_trace_index(trace, weight->value),
                                    .input = vqc_trace_index(trace, trace->inputs[0]->value),
                                    .input_axis = 1,
                                    .labels = in,
                                    .groups = 1,
                                    .axis = 0,
                                    .row_axis = 1});
    out = vqc_trace_take(trace, 1, 1);
    vqc_trace_add_producer(trace, 1, 1, out);
    if (out != NULL) {
        join_bias(trace, out);
        vqc_trace_give(trace, 0, 1, out);
    }
    return NULL;
}

/* ---- matrix products ---- */

/* Joins what is summed over; a constant side is a consumer of the other. */
static void contract(vqc_trace *trace, int axis_a, int axis_b, int row_axis_b)
{
    const vqc_trace_value *a = trace->inputs[0];
    const vqc_trace_value *b = trace->inputs[1];
    vqc_trace_labels *left = vqc_trace_take(trace, 0, axis_a);
    vqc_trace_labels *right = vqc_trace_take(trace, 1, axis_b);

    vqc_trace_join(trace, left, right,
                   vqc_trace_because(trace, "one of the two matrices cannot be cut"));
    if (b->is_constant && !a->is_constant && left != NULL && right != NULL) {
        vqc_trace_add_consumer(trace,
                               (vqc_trace_consumer){.weight = vqc_trace_index(trace, b->value),
                                                    .input = vqc_trace_index(trace, a->value),
                                                    .input_axis = axis_a,
                                                    .labels = left,
                                                    .groups = 1,
                                                    .axis = axis_b,
                                                    .row_axis = row_axis_b});
    }
}

static const char *gemm_rule(vqc_trace *trace)
{
    const vqc_trace_value *a = input_of(trace, 0);
    const vqc_trace_value *b = input_of(trace, 1);
    const vqc_trace_value *c = input_of(trace, 2);
    int trans_a = vqc_node_attr_int(trace->node, "transA", 0) != 0 ? 1 : 0;
    int trans_b = vqc_node_attr_int(trace->node, "transB", 0) != 0 ? 1 : 0;
    vqc_trace_labels *rows;
    vqc_trace_labels *columns;

    if (a == NULL || b == NULL || a->rank != 2 || b->rank != 2) {
        return "its matrices are unknown";
    }
    contract(trace, 1 - trans_a, trans_b, 1 - trans_b);
    rows = vqc_trace_take(trace, 0, trans_a);
    columns = vqc_trace_take(trace, 1, 1 - trans_b);
    if (b->is_constant) {
        vqc_trace_add_producer(trace, 1, 1 - trans_b, columns);
    }
    if (has_input(trace, 2)) { /* broadcast to [M, N] from the right */
        for (int k = 0; k < 2; k++) {
            vqc_trace_labels *out = k == 0 ? columns : rows;
            int axis = c == NULL ? -1 : c->rank - 1 - k;
            if (axis >= 0 && c->dims[axis] == 1) {
                continue;
            }
            if (c == NULL) {
                vqc_trace_freeze(trace, out, vqc_trace_because(trace, "its C is unknown"));
            } else if (axis >= 0) {
                vqc_trace_join(trace, vqc_trace_take(trace, 2, axis), out,
                               vqc_trace_because(trace, "its C cannot be cut"));
            }
        }
    }
    vqc_trace_give(trace, 0, 0, rows);
    vqc_trace_give(trace, 0, 1, columns);
    return NULL;
}

static const char *matmul_rule(vqc_trace *trace)
{
    const vqc_trace_value *a = input_of(trace, 0);
    const vqc_trace_value *b = input_of(trace, 1);
    const vqc_trace_value *y = trace->outputs[0];
    vqc_trace_labels *columns;

    if (a == NULL || b == NULL || y == NULL || a->rank < 1 || b->rank < 1 || y->rank < 0) {
        return "its matrices are unknown";
    }
    if (a->rank == 1 || b->rank == 1) {
        return "products with vectors are not followed";
    }
    contract(trace, a->rank - 1, b->rank - 2, b->rank - 1);
    vqc_trace_give(trace, 0, y->rank - 2, vqc_trace_take(trace, 0, a->rank - 2));
    columns = vqc_trace_take(trace, 1, b->rank - 1);
    if (b->is_constant) {
        vqc_trace_add_producer(trace, 1, b->rank - 1, columns);
    }
    vqc_trace_give(trace, 0, y->rank - 1, columns);
    for (int k = 3; k <= y->rank; k++) { /* batches, broadcast from the right */
        int64_t da = k <= a->rank ? a->dims[a->rank - k] : 1;
        int64_t db = k <= b->rank ? b->dims[b->rank - k] : 1;
        vqc_trace_labels *la = da != 1 ? vqc_trace_take(trace, 0, a->rank - k) : NULL;
        vqc_trace_labels *lb = db != 1 ? vqc_trace_take(trace, 1, b->rank - k) : NULL;
        if (da != 1 && db != 1) {
            vqc_trace_join(trace, la, lb,
                           vqc_trace_because(trace, "the batches of its other side stay"));
        }
        la = da != 1 ? la : lb;
        vqc_trace_give(trace, 0, y->rank - k, la);
    }
    return NULL;
}

/* Input weights of LSTM, GRU, RNN: [directions, gates * hidden, inputs]. */
static const char *recurrent_rule(vqc_trace *trace)
{
    const vqc_trace_value *x = input_of(trace, 0);
    const vqc_trace_value *w = input_of(trace, 1);

    if (x != NULL && w != NULL && x->rank == 3 && w->rank == 3 && w->is_constant) {
        vqc_trace_labels *in = vqc_trace_take(trace, 0, 2);
        vqc_trace_join(trace, in, vqc_trace_take(trace, 1, 2),
                       vqc_trace_because(trace, "its input cannot be cut"));
        vqc_trace_add_consumer(trace,
                               (vqc_trace_consumer){.weight = vqc_trace_index(trace, w->value),
                                                    .input = vqc_trace_index(trace, x->value),
                                                    .input_axis = 2,
                                                    .labels = in,
                                                    .groups = 1,
                                                    .axis = 2,
                                                    .row_axis = 1});
    }
    return "hidden units of recurrent layers stay";
}

/* ---- channel by channel ---- */

static const char *elementwise_rule(vqc_trace *trace)
{
    const vqc_trace_value *y = trace->outputs[0];

    if (y == NULL || y->rank < 0) {
        return "shape of its output is unknown";
    }
    for (size_t i = 0; i < trace->node->n_input; i++) {
        if (has_input(trace, i) && (trace->inputs[i] == NULL || trace->inputs[i]->rank < 0)) {
            return "shape of an input is unknown";
        }
    }
    for (int k = 1; k <= y->rank; k++) {
        vqc_trace_labels *out = NULL;
        bool stays = false;
        bool any = false;

        for (size_t i = 0; i < trace->node->n_input; i++) { /* constants follow, others decide */
            const vqc_trace_value *x = trace->inputs[i];
            if (x != NULL && k <= x->rank && x->dims[x->rank - k] != 1 && !x->is_constant) {
                stays = stays || x->labels[x->rank - k] == NULL;
                any = true;
            }
        }
        for (size_t i = 0; i < trace->node->n_input && any; i++) {
            const vqc_trace_value *x = trace->inputs[i];
            vqc_trace_labels *labels;
            if (x == NULL || k > x->rank || x->dims[x->rank - k] == 1) {
                continue;
            }
            labels = vqc_trace_take(trace, i, x->rank - k);
            if (stays) {
                vqc_trace_freeze(trace, labels,
                                 vqc_trace_because(trace, "meets a value that cannot be cut"));
            } else if (out != NULL || labels == NULL) {
                vqc_trace_join(trace, out, labels,
                               vqc_trace_because(trace, "meets a value of another shape"));
            }
            out = out == NULL ? labels : out;
        }
        if (!stays && any) {
            vqc_trace_give(trace, 0, y->rank - k, out);
        }
    }
    return NULL;
}

/* Input 0 with constants of one value per channel (axis 1) behind it. */
static const char *per_channel_rule(vqc_trace *trace)
{
    vqc_trace_labels *channels = vqc_trace_take(trace, 0, 1);

    if (trace->node->n_output > 1) {
        return "training outputs are not followed";
    }
    for (size_t i = 1; i < trace->node->n_input; i++) {
        vqc_trace_join(trace, channels, vqc_trace_take(trace, i, 0),
                       vqc_trace_because(trace, "its input or a parameter cannot be cut"));
    }
    return vqc_trace_same(trace);
}

static const char *same_rule(vqc_trace *trace)
{
    return vqc_trace_same(trace);
}

static const char *dropout_rule(vqc_trace *trace)
{
    return trace->node->n_output > 1 && trace->outputs[1] != NULL &&
                   trace->outputs[1]->value->use_count > 0
               ? "its mask is read"
               : vqc_trace_same(trace);
}

/* Pools work on the axes from 2 on. */
static const char *pool_rule(vqc_trace *trace)
{
    if (trace->node->n_output > 1 && trace->outputs[1] != NULL &&
        trace->outputs[1]->value->use_count > 0) {
        return "its indices are read";
    }
    for (int a = 0; a < 2; a++) {
        vqc_trace_give(trace, 0, a, vqc_trace_take(trace, 0, a));
    }
    return NULL;
}

/* All axes but those that are normalized together: one (axis), or from `axis` on. */
static const char *axis_rule(vqc_trace *trace, int64_t axis, bool and_behind)
{
    const vqc_trace_value *x = input_of(trace, 0);

    if (x == NULL || x->rank < 0) {
        return "shape of its input is unknown";
    }
    axis += axis < 0 ? x->rank : 0;
    for (int a = 0; a < x->rank; a++) {
        if (a != axis && !(and_behind && a > axis)) {
            vqc_trace_give(trace, 0, a, vqc_trace_take(trace, 0, a));
        }
    }
    return "normalizes over the channels";
}

static const char *softmax_rule(vqc_trace *trace)
{
    bool old = trace->opset < 13;
    return axis_rule(trace, vqc_node_attr_int(trace->node, "axis", old ? 1 : -1), old);
}

static const char *layer_norm_rule(vqc_trace *trace)
{
    return axis_rule(trace, vqc_node_attr_int(trace->node, "axis", -1), true);
}

static const char *lrn_rule(vqc_trace *trace)
{
    return axis_rule(trace, 1, false);
}

/* x, scale, zero_point with one value or one per index of `axis`. */
static const char *quantize_rule(vqc_trace *trace)
{
    const vqc_trace_value *x = input_of(trace, 0);
    const vqc_trace_value *scale = input_of(trace, 1);
    int64_t axis = vqc_node_attr_int(trace->node, "axis", 1);

    if (x == NULL || scale == NULL || x->rank < 0 || scale->rank < 0 || scale->rank > 1) {
        return "scales of blocks are not followed";
    }
    axis += axis < 0 ? x->rank : 0;
    if (scale->rank == 1 && scale->dims[0] != 1) {
        vqc_trace_labels *channels = vqc_trace_take(trace, 0, (int)axis);
        for (size_t i = 1; i < trace->node->n_input; i++) {
            if (has_input(trace, i)) {
                vqc_trace_join(trace, channels, vqc_trace_take(trace, i, 0),
                               vqc_trace_because(trace, "its input or scale cannot be cut"));
            }
        }
    }
    return vqc_trace_same(trace);
}

typedef struct rule_row {
    const char *op;
    vqc_trace_rule *rule;
} rule_row;

static const rule_row ROWS[] = {
    {"Conv", conv_rule},
    {"ConvTranspose", conv_transpose_rule},
    {"Gemm", gemm_rule},
    {"MatMul", matmul_rule},
    {"LSTM", recurrent_rule},
    {"GRU", recurrent_rule},
    {"RNN", recurrent_rule},
    {"BatchNormalization", per_channel_rule},
    {"InstanceNormalization", per_channel_rule},
    {"Dropout", dropout_rule},
    {"MaxPool", pool_rule},
    {"AveragePool", pool_rule},
    {"LpPool", pool_rule},
    {"GlobalAveragePool", pool_rule},
    {"GlobalMaxPool", pool_rule},
    {"GlobalLpPool", pool_rule},
    {"Softmax", softmax_rule},
    {"LogSoftmax", softmax_rule},
    {"Hardmax", softmax_rule},
    {"LayerNormalization", layer_norm_rule},
    {"LRN", lrn_rule},
    {"QuantizeLinear", quantize_rule},
    {"DequantizeLinear", quantize_rule},
};

static const char *const ELEMENTWISE[] = {
    "Add",  "Sub",  "Mul",     "Div",   "Pow",         "Min",           "Max",
    "Mean", "Sum",  "PRelu",   "And",   "Or",          "Xor",           "Where",
    "Mod",  "Less", "Greater", "Equal", "LessOrEqual", "GreaterOrEqual"};

static const char *const SAME[] = {
    "Relu",     "LeakyRelu",   "Elu",   "Selu",      "Celu",     "ThresholdedRelu",
    "Sigmoid",  "HardSigmoid", "Tanh",  "HardSwish", "Softplus", "Mish",
    "Softsign", "Gelu",        "Erf",   "Exp",       "Log",      "Sqrt",
    "Abs",      "Neg",         "Floor", "Ceil",      "Round",    "Reciprocal",
    "Sign",     "Sin",         "Cos",   "Not",       "IsNaN",    "Cast",
    "Clip",     "Identity",    "Tan",   "Atan",      "Swish",    "IsInf"};

vqc_trace_rule *vqc_trace_rule_find(const Onnx__NodeProto *node)
{
    if (!vqc_domain_is_onnx(node->domain)) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        if (strcmp(node->op_type, ROWS[i].op) == 0) {
            return ROWS[i].rule;
        }
    }
    for (size_t i = 0; i < sizeof ELEMENTWISE / sizeof ELEMENTWISE[0]; i++) {
        if (strcmp(node->op_type, ELEMENTWISE[i]) == 0) {
            return elementwise_rule;
        }
    }
    for (size_t i = 0; i < sizeof SAME / sizeof SAME[0]; i++) {
        if (strcmp(node->op_type, SAME[i]) == 0) {
            return same_rule;
        }
    }
    return vqc_trace_shape_rule_find(node);
}
