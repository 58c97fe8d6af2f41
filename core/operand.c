/* What operators make of a constant input: role and axes, one table row per operator input. */
#include <string.h>

#include "core/layer.h"

/* How the channel and reduction axes follow from the operator. */
typedef enum axes_rule {
    AXES_NONE,
    AXES_DEFAULT,  /* channel 0, reduction last */
    AXES_MATMUL_A, /* [.., M, K] */
    AXES_MATMUL_B, /* [.., K, N] */
    AXES_GEMM_A,   /* [M, K] or, with transA, [K, M] */
    AXES_GEMM_B,   /* [K, N] or, with transB, [N, K] */
    AXES_CONV,     /* [M, C/group, k...] */
    AXES_CONVT,    /* [C, M/group, k...] */
    AXES_GATHER,   /* [rows, ...] */
    AXES_RNN       /* [directions, gates * hidden, input] */
} axes_rule;

enum { ANY_INPUT = -1, LONG_ROW = 64 /* elements from which a row of a table has its own scale */ };

typedef struct operand_row {
    const char *op;
    int input; /* or ANY_INPUT */
    vqc_layer_role role;
    axes_rule axes;
} operand_row;

static const operand_row ONNX_ROWS[] = {
    {"MatMul", 0, VQC_ROLE_WEIGHT, AXES_MATMUL_A},
    {"MatMul", 1, VQC_ROLE_WEIGHT, AXES_MATMUL_B},
    {"Gemm", 0, VQC_ROLE_WEIGHT, AXES_GEMM_A},
    {"Gemm", 1, VQC_ROLE_WEIGHT, AXES_GEMM_B},
    {"Gemm", 2, VQC_ROLE_BIAS, AXES_NONE},
    {"Conv", 1, VQC_ROLE_WEIGHT, AXES_CONV},
    {"Conv", 2, VQC_ROLE_BIAS, AXES_NONE},
    {"ConvTranspose", 1, VQC_ROLE_WEIGHT, AXES_CONVT},
    {"ConvTranspose", 2, VQC_ROLE_BIAS, AXES_NONE},
    {"DeformConv", 1, VQC_ROLE_WEIGHT, AXES_CONV},
    {"DeformConv", 3, VQC_ROLE_BIAS, AXES_NONE},
    {"Gather", 0, VQC_ROLE_WEIGHT, AXES_GATHER},
    {"LSTM", 1, VQC_ROLE_WEIGHT, AXES_RNN},
    {"LSTM", 2, VQC_ROLE_WEIGHT, AXES_RNN},
    {"LSTM", 3, VQC_ROLE_BIAS, AXES_NONE},
    {"LSTM", 7, VQC_ROLE_BIAS, AXES_NONE},
    {"GRU", 1, VQC_ROLE_WEIGHT, AXES_RNN},
    {"GRU", 2, VQC_ROLE_WEIGHT, AXES_RNN},
    {"GRU", 3, VQC_ROLE_BIAS, AXES_NONE},
    {"RNN", 1, VQC_ROLE_WEIGHT, AXES_RNN},
    {"RNN", 2, VQC_ROLE_WEIGHT, AXES_RNN},
    {"RNN", 3, VQC_ROLE_BIAS, AXES_NONE},
    {"Einsum", ANY_INPUT, VQC_ROLE_WEIGHT, AXES_DEFAULT},
    {"BatchNormalization", ANY_INPUT, VQC_ROLE_NORM, AXES_NONE},
    {"InstanceNormalization", ANY_INPUT, VQC_ROLE_NORM, AXES_NONE},
    {"LayerNormalization", ANY_INPUT, VQC_ROLE_NORM, AXES_NONE},
    {"GroupNormalization", ANY_INPUT, VQC_ROLE_NORM, AXES_NONE},
    {"RMSNormalization", ANY_INPUT, VQC_ROLE_NORM, AXES_NONE},
    {"SimplifiedLayerNormalization", ANY_INPUT, VQC_ROLE_NORM, AXES_NONE},
    {"SkipLayerNormalization", ANY_INPUT, VQC_ROLE_NORM, AXES_NONE},
    {"PRelu", 1, VQC_ROLE_NORM, AXES_NONE},
    {"QuantizeLinear", 1, VQC_ROLE_SCALE, AXES_NONE},
    {"QuantizeLinear", 2, VQC_ROLE_SCALE, AXES_NONE},
    {"DequantizeLinear", ANY_INPUT, VQC_ROLE_SCALE, AXES_NONE},
    {"QLinearConv", ANY_INPUT, VQC_ROLE_SCALE, AXES_NONE},
    {"QLinearMatMul", ANY_INPUT, VQC_ROLE_SCALE, AXES_NONE},
};

/* com.microsoft operators with weights whose layout is known. */
static const operand_row MICROSOFT_ROWS[] = {
    {"FusedMatMul", 0, VQC_ROLE_WEIGHT, AXES_MATMUL_A},
    {"FusedMatMul", 1, VQC_ROLE_WEIGHT, AXES_MATMUL_B},
    {"FusedGemm", 0, VQC_ROLE_WEIGHT, AXES_GEMM_A},
    {"FusedGemm", 1, VQC_ROLE_WEIGHT, AXES_GEMM_B},
    {"FusedConv", 1, VQC_ROLE_WEIGHT, AXES_CONV},
    {"NhwcFusedConv", 1, VQC_ROLE_WEIGHT, AXES_CONV},
    {"ConvTransposeWithDynamicPads", 1, VQC_ROLE_WEIGHT, AXES_CONVT},
    {"Attention", 1, VQC_ROLE_WEIGHT, AXES_MATMUL_B},
};

const char *vqc_layer_role_name(vqc_layer_role role)
{
    static const char *const names[] = {"weight", "bias", "norm", "scale", "other"};

    return (unsigned)role < sizeof names / sizeof names[0] ? names[role] : "other";
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Operators outside ai.onnx that compute on codes: their float inputs are scales, never weights.
 * The names of com.microsoft follow these habits (QLinearAdd, QGemm, MatMulNBits,
 * DynamicQuantizeLSTM). */
static bool is_quantized_op(const char *op)
{
    return strstr(op, "Quant") != NULL || strstr(op, "NBits") != NULL ||
           strstr(op, "Integer") != NULL || starts_with(op, "QLinear") ||
           starts_with(op, "MatMulBnb4") || starts_with(op, "MatMulFpQ4") ||
           (op[0] == 'Q' && op[1] >= 'A' && op[1] <= 'Z');
}

static const operand_row *find_row(const operand_row *rows, size_t count, const char *op,
                                   size_t input)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].op, op) == 0 &&
            (rows[i].input == ANY_INPUT || (size_t)rows[i].input == input)) {
            return &rows[i];
        }
    }
    return NULL;
}

/* At most one dimension is not 1: a vector for broadcasting. */
static bool is_vector(const int64_t *dims, size_t rank)
{
    size_t wide = 0;

    for (size_t i = 0; i < rank; i++) {
        wide += dims[i] != 1;
    }
    return wide <= 1;
}

/* One row of a table is long when a scale per row costs little. */
static bool has_long_rows(const int64_t *dims, size_t rank)
{
    size_t row = 1;

    for (size_t i = 1; i < rank; i++) {
        if (dims[i] > 0 && !vqc_size_mul(row, (size_t)dims[i], &row)) {
            return true;
        }
    }
    return row >= LONG_ROW;
}

static void set_axes(vqc_operand *operand, const Onnx__NodeProto *node, axes_rule rule,
                     const int64_t *dims, size_t rank)
{
    int last = (int)rank - 1;
    bool trans_a = vqc_node_attr_int(node, "transA", 0) != 0;
    bool trans_b = vqc_node_attr_int(node, "transB", 0) != 0;

    if (rank < 2 || rule == AXES_NONE) {
        return;
    }
    switch (rule) {
    case AXES_NONE:
        break;
    case AXES_MATMUL_A:
    case AXES_GEMM_A:
        operand->channel_axis = trans_a ? last : last - 1;
        operand->reduction_axis = trans_a ? last - 1 : last;
        break;
    case AXES_MATMUL_B:
    case AXES_GEMM_B:
        operand->channel_axis = trans_b ? last - 1 : last;
        operand->reduction_axis = trans_b ? last : last - 1;
        break;
    case AXES_CONV:
        operand->channel_axis = 0;
        operand->reduction_axis = 1;
        break;
    case AXES_CONVT:
        operand->channel_axis = 1;
        operand->reduction_axis = 0;
        break;
    case AXES_GATHER:
        operand->channel_axis = has_long_rows(dims, rank) ? 0 : last;
        operand->reduction_axis = last;
        break;
    case AXES_RNN:
        operand->channel_axis = rank == 3 ? 1 : 0;
        operand->reduction_axis = last;
        operand->channel_joins_outer = true;
        break;
    case AXES_DEFAULT:
        operand->channel_axis = 0;
        operand->reduction_axis = last;
        break;
    }
}

/* Einsum: the terms of the equation say which axes of this operand are summed over. */
static void set_einsum_axes(vqc_operand *operand, const Onnx__NodeProto *node, size_t input,
                            size_t rank)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(node, "equation");
    char text[256];
    char term[64];
    size_t length = 0;
    size_t which = 0;
    size_t used = 0;
    const char *arrow;
    int channel = -1;
    int reduction = -1;

    if (attr == NULL || !attr->has_s || attr->s.len >= sizeof text) {
        return;
    }
    for (size_t i = 0; i < attr->s.len; i++) { /* without blanks */
        if (attr->s.data[i] != ' ') {
            text[length++] = (char)attr->s.data[i];
        }
    }
    text[length] = '\0';
    arrow = strstr(text, "->");
    if (arrow == NULL || strchr(text, '.') != NULL) {
        return;
    }
    for (const char *p = text; p < arrow && which <= input; p++) {
        if (*p == ',') {
            which++;
        } else if (which == input && used + 1 < sizeof term) {
            term[used++] = *p;
        }
    }
    if (used != rank) {
        return;
    }
    for (size_t i = 0; i < rank; i++) {
        *(strchr(arrow + 2, term[i]) != NULL ? &channel : &reduction) = (int)i;
    }
    if (channel >= 0 && reduction >= 0) {
        operand->channel_axis = channel;
        operand->reduction_axis = reduction;
    }
}

static vqc_operand describe_foreign(const Onnx__NodeProto *node, size_t input, const int64_t *dims,
                                    size_t rank)
{
    vqc_operand operand = {VQC_ROLE_OTHER, -1, -1, false};
    const operand_row *row = NULL;
    const char *op = node->op_type;

    if (is_quantized_op(op)) {
        operand.role = VQC_ROLE_SCALE;
        return operand;
    }
    if (node->domain != NULL && strcmp(node->domain, "com.microsoft") == 0) {
        row = find_row(MICROSOFT_ROWS, sizeof MICROSOFT_ROWS / sizeof MICROSOFT_ROWS[0], op, input);
    }
    if (rank >= 2) {
        operand.role = VQC_ROLE_WEIGHT;
        set_axes(&operand, node, row != NULL ? row->axes : AXES_DEFAULT, dims, rank);
    } else if (strstr(op, "Norm") != NULL) {
        operand.role = VQC_ROLE_NORM;
    } else {
        operand.role = VQC_ROLE_BIAS;
    }
    return operand;
}

vqc_operand vqc_operand_describe(const Onnx__NodeProto *node, size_t input, const int64_t *dims,
                                 size_t rank)
{
    vqc_operand operand = {VQC_ROLE_OTHER, -1, -1, false};
    const operand_row *row;

    if (node == NULL || node->op_type == NULL) {
        return operand;
    }
    if (!vqc_domain_is_onnx(node->domain)) {
        return describe_foreign(node, input, dims, rank);
    }
    row = find_row(ONNX_ROWS, sizeof ONNX_ROWS / sizeof ONNX_ROWS[0], node->op_type, input);
    if (row != NULL) {
        operand.role = row->role;
        if (rank == 0 || (rank < 2 && strcmp(row->op, "Einsum") == 0)) {
            operand.role = row->role == VQC_ROLE_WEIGHT ? VQC_ROLE_OTHER : row->role;
        }
        set_axes(&operand, node, row->axes, dims, rank);
        if (rank >= 2 && strcmp(row->op, "Einsum") == 0) {
            set_einsum_axes(&operand, node, input, rank);
        }
        return operand;
    }
    if ((strcmp(node->op_type, "Add") == 0 || strcmp(node->op_type, "Sub") == 0) &&
        is_vector(dims, rank)) {
        operand.role = VQC_ROLE_BIAS;
    }
    if (rank >= 2) { /* for recipes that name it all the same */
        operand.channel_axis = 0;
        operand.reduction_axis = (int)rank - 1;
    }
    return operand;
}
