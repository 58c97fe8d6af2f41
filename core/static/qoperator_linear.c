/* Conv, MatMul and Gemm on codes. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/static/qoperator_build.h"
#include "core/static/static_units.h"
#include "core/tensor.h"

/* A linear operator between codes. */
typedef struct linear {
    vqc_codes x;
    vqc_codes w;
    vqc_codes y; /* when has_y */
    vqc_codes b; /* when has_bias */
    bool has_y;
    bool has_bias;
    int64_t channels; /* of the weight; 0: it is computed */
} linear;

/* The payload of a constant as floats, or NULL while it is missing. */
static const float *floats_of(const vqc_qoperator *q, const Onnx__TensorProto *tensor,
                              size_t *count)
{
    const float *values = NULL;

    if (tensor->has_raw_data && tensor->raw_data.len > 0 && tensor->raw_data.data == NULL) {
        return NULL;
    }
    return vqc_tensor_borrow_f32(tensor, q->arena, &values, count, NULL) == VQC_OK ? values : NULL;
}

/* Integer operators have one zero point for all channels of a weight. */
static bool has_one_zero(const vqc_qoperator *q, const vqc_codes *w)
{
    const void *raw = NULL;
    size_t bytes = 0;

    if (w->zero_tensor == NULL || w->scales == 1 ||
        (w->zero_tensor->has_raw_data && w->zero_tensor->raw_data.data == NULL)) {
        return true; /* a payload that is not there yet comes from a symmetric code */
    }
    if (vqc_tensor_borrow_raw(w->zero_tensor, q->arena, &raw, &bytes, NULL) != VQC_OK) {
        return false;
    }
    for (size_t i = 1; i < bytes; i++) {
        if (((const unsigned char *)raw)[i] != ((const unsigned char *)raw)[0]) {
            return false;
        }
    }
    return true;
}

/* bias scale = input scale * weight scale, zero point 0: what integer kernels assume. */
static bool bias_fits(const vqc_qoperator *q, const linear *u)
{
    size_t nx = 0;
    size_t nw = 0;
    size_t nb = 0;
    const float *x = floats_of(q, u->x.scale_tensor, &nx);
    const float *w = floats_of(q, u->w.scale_tensor, &nw);
    const float *b = floats_of(q, u->b.scale_tensor, &nb);
    const void *zero = NULL;
    size_t bytes = 0;

    if (u->b.zero_tensor != NULL) {
        if (vqc_tensor_borrow_raw(u->b.zero_tensor, q->arena, &zero, &bytes, NULL) != VQC_OK) {
            return false;
        }
        for (size_t i = 0; i < bytes; i++) {
            if (((const unsigned char *)zero)[i] != 0) {
                return false;
            }
        }
    }
    if (u->b.scales != u->w.scales) {
        return false;
    }
    for (size_t i = 0; x != NULL && w != NULL && b != NULL && i < nw; i++) {
        double want = (double)vqc_f32_at(x, 0) * (double)vqc_f32_at(w, i);
        if (fabs((double)vqc_f32_at(b, i) - want) > 1e-5 * fabs(want)) {
            return false;
        }
    }
    return true;
}

static bool is_vector(const Onnx__TensorProto *tensor, int64_t n)
{
    return tensor != NULL && tensor->n_dims == 1 && tensor->dims[0] == n;
}

/*
 * Reads the unit around a node. channel_axis: of the weight, that its scales may lie along. Returns
 * why it has no integer form, or NULL.
 */
static const char *read_linear(const vqc_qoperator *q, const Onnx__NodeProto *node,
                               int channel_axis, linear *u)
{
    int64_t rank;

    memset(u, 0, sizeof *u);
    if (!vqc_qoperator_source(q, node, 0, &u->x) || !vqc_qoperator_source(q, node, 1, &u->w)) {
        return VQC_NO_UNIT;
    }
    u->has_y = vqc_qoperator_sink(q, node, 0, &u->y);
    u->has_bias = vqc_qoperator_has_input(node, 2);
    if (!vqc_codes_are_plain(&u->x) || (u->has_y && !vqc_codes_are_plain(&u->y))) {
        return "activations are not 8 bits under one scale";
    }
    if (u->w.dtype != VQC_DTYPE_UINT8 && u->w.dtype != VQC_DTYPE_INT8) {
        return "the weight's codes are not 8 bits";
    }
    if ((u->x.dtype == VQC_DTYPE_INT8 && u->w.dtype != VQC_DTYPE_INT8) ||
        (u->has_y && u->y.dtype != u->x.dtype)) {
        return "mixes signed and unsigned codes";
    }
    if (u->w.payload != NULL) {
        rank = (int64_t)u->w.payload->n_dims;
        if (rank <= channel_axis) {
            return "the weight has too few dimensions";
        }
        u->channels = u->w.payload->dims[channel_axis];
        if (u->w.axis < 0) {
            u->w.axis += rank;
        }
    }
    if (u->w.scales > 1 &&
        (u->w.payload == NULL || u->w.axis != channel_axis || u->w.scales != (size_t)u->channels)) {
        return "the weight's scales are not per output channel";
    }
    if (!has_one_zero(q, &u->w)) {
        return "the weight's zero points differ";
    }
    if (u->has_bias && (!vqc_qoperator_source(q, node, 2, &u->b) || u->b.dtype != VQC_DTYPE_INT32 ||
                        !is_vector(u->b.payload, u->channels) || !bias_fits(q, u))) {
        return "the bias is not int32 in the scale of the sums";
    }
    return NULL;
}

/* The first inputs [8] of QLinearConv and QLinearMatMul. */
static void take_inputs(vqc_qoperator *q, const linear *u, const char **inputs)
{
    inputs[0] = u->x.name;
    inputs[1] = u->x.scale;
    inputs[2] = vqc_qoperator_zero(q, &u->x, 0);
    inputs[3] = u->w.name;
    inputs[4] = u->w.scale;
    inputs[5] = vqc_qoperator_zero(q, &u->w, 0);
    inputs[6] = u->y.scale;
    inputs[7] = vqc_qoperator_zero(q, &u->y, 0);
}

const char *vqc_qoperator_conv(vqc_qoperator *q, const Onnx__NodeProto *node)
{
    linear u;
    const char *reason = read_linear(q, node, 0, &u);
    const char *inputs[9];

    if (reason != NULL) {
        return reason;
    }
    if (!u.has_y) {
        return "its result is float";
    }
    if (u.w.payload == NULL) {
        return "the weight is computed";
    }
    take_inputs(q, &u, inputs);
    inputs[8] = u.has_bias ? u.b.name : NULL;
    (void)vqc_qoperator_push(q, "QLinearConv", "", node, inputs, u.has_bias ? 9 : 8, u.y.name);
    vqc_qoperator_done(q, "QLinearConv", node->input[1]);
    return NULL;
}

/* A constant input scale * weight scale(s), and its name. */
static const char *sum_scales(vqc_qoperator *q, const linear *u)
{
    size_t nx;
    size_t nw;
    const float *x = floats_of(q, u->x.scale_tensor, &nx);
    const float *w = floats_of(q, u->w.scale_tensor, &nw);
    int64_t n = (int64_t)u->w.scales;
    float *product = NULL;

    if (x != NULL && w != NULL) {
        product = vqc_arena_calloc(q->arena, u->w.scales, sizeof *product);
        if (product == NULL) {
            q->failed = true;
            return NULL;
        }
        for (size_t i = 0; i < u->w.scales; i++) {
            product[i] = vqc_f32_at(x, 0) * vqc_f32_at(w, i);
        }
    }
    return vqc_qoperator_constant(q, "s", VQC_DTYPE_FLOAT, &n, n > 1 ? 1 : 0, product,
                                  u->w.scales * sizeof(float));
}

static const char *fresh(vqc_qoperator *q, const char *hint)
{
    const char *name = vqc_graph_fresh_name(q->graph, hint);
    q->failed = q->failed || name == NULL;
    return name;
}

/* MatMulInteger, Add of the bias, Cast, Mul by the scales, and QuantizeLinear when codes are
 * wanted: standard operators for what QLinearMatMul cannot do. */
static void push_integer_product(vqc_qoperator *q, const Onnx__NodeProto *node, const linear *u,
                                 const char *weight)
{
    const char *sums = fresh(q, "i");
    const char *numbers = fresh(q, "f");
    const char *product[4] = {u->x.name, weight, vqc_qoperator_zero(q, &u->x, 0),
                              vqc_qoperator_zero(q, &u->w, 0)};
    const char *scale[2] = {numbers, sum_scales(q, u)};
    const char *result = u->has_y ? fresh(q, "r") : node->output[0];
    const char *quantize[3] = {result, u->y.scale, u->y.zero};
    Onnx__NodeProto *made = vqc_qoperator_push(q, "MatMulInteger", "", NULL, product, 4, sums);

    if (made != NULL && node->name != NULL) {
        made->name = node->name;
    }
    if (u->has_bias) {
        const char *add[2] = {sums, u->b.name};
        sums = fresh(q, "i");
        (void)vqc_qoperator_push(q, "Add", "", NULL, add, 2, sums);
    }
    made = vqc_qoperator_push(q, "Cast", "", NULL, &sums, 1, numbers);
    if (made != NULL && !vqc_node_add_int(q->arena, made, "to", VQC_DTYPE_FLOAT)) {
        q->failed = true;
    }
    (void)vqc_qoperator_push(q, "Mul", "", NULL, scale, 2, result);
    if (u->has_y) {
        (void)vqc_qoperator_push(q, "QuantizeLinear", "", NULL, quantize, u->y.zero != NULL ? 3 : 2,
                                 u->y.name);
    }
    vqc_qoperator_done(q, "MatMulInteger", node->input[1]);
}

const char *vqc_qoperator_matmul(vqc_qoperator *q, const Onnx__NodeProto *node)
{
    linear u;
    const char *reason = read_linear(q, node, 1, &u);
    const char *inputs[8];

    if (reason != NULL) {
        return reason;
    }
    if (u.w.payload != NULL && u.w.payload->n_dims != 2) {
        return "the weight has more than two dimensions";
    }
    if (!u.has_y) {
        push_integer_product(q, node, &u, u.w.name);
        return NULL;
    }
    take_inputs(q, &u, inputs);
    (void)vqc_qoperator_push(q, "QLinearMatMul", "", node, inputs, 8, u.y.name);
    vqc_qoperator_done(q, "QLinearMatMul", node->input[1]);
    return NULL;
}

/* [n, k] -> [k, n]; without payload only the shape. */
static const char *transposed(vqc_qoperator *q, const vqc_codes *w)
{
    size_t n = (size_t)w->payload->dims[0];
    size_t k = (size_t)w->payload->dims[1];
    int64_t dims[2] = {w->payload->dims[1], w->payload->dims[0]};
    const void *raw = NULL;
    size_t bytes = 0;
    size_t wanted;
    unsigned char *copy = NULL;

    if (!vqc_size_mul(n, k, &wanted)) {
        q->failed = true;
        return NULL;
    }
    if (!w->payload->has_raw_data || w->payload->raw_data.data != NULL) {
        copy = vqc_arena_alloc(q->arena, wanted + 1);
        if (copy == NULL ||
            vqc_tensor_borrow_raw(w->payload, q->arena, &raw, &bytes, NULL) != VQC_OK ||
            bytes != wanted) {
            q->failed = true;
            return NULL;
        }
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < k; j++) {
                copy[j * n + i] = ((const unsigned char *)raw)[i * k + j];
            }
        }
    }
    return vqc_qoperator_constant(q, "q", (vqc_dtype)w->dtype, dims, 2, copy, wanted);
}

/* com.microsoft QGemm: bias and result scale inside; float result without one. */
static void push_qgemm(vqc_qoperator *q, const Onnx__NodeProto *node, const linear *u, bool trans_b)
{
    const char *inputs[9] = {u->x.name, u->x.scale, vqc_qoperator_zero(q, &u->x, 0),
                             u->w.name, u->w.scale, NULL,
                             "",        "",         ""};
    size_t count = 6;
    Onnx__NodeProto *made;

    inputs[5] = vqc_qoperator_zero(q, &u->w, u->w.scales > 1 ? u->channels : 0);
    if (u->has_bias) {
        inputs[6] = u->b.name;
        count = 7;
    }
    if (u->has_y) {
        inputs[7] = u->y.scale;
        inputs[8] = vqc_qoperator_zero(q, &u->y, 0);
        count = 9;
    }
    made = vqc_qoperator_push(q, "QGemm", "com.microsoft", NULL, inputs, count,
                              u->has_y ? u->y.name : node->output[0]);
    if (made != NULL && node->name != NULL) {
        made->name = node->name;
    }
    if (made != NULL && trans_b && !vqc_node_add_int(q->arena, made, "transB", 1)) {
        q->failed = true;
    }
    vqc_qoperator_done(q, "QGemm", node->input[1]);
}

const char *vqc_qoperator_gemm(vqc_qoperator *q, const Onnx__NodeProto *node)
{
    bool trans_b = vqc_node_attr_int(node, "transB", 0) != 0;
    linear u;
    const char *reason = read_linear(q, node, trans_b ? 0 : 1, &u);

    if (reason != NULL) {
        return reason;
    }
    if (!vqc_unit_is_plain_gemm(node)) {
        return "alpha, beta or transA";
    }
    if (u.w.payload == NULL || u.w.payload->n_dims != 2) {
        return "the weight is computed";
    }
    if (q->microsoft) {
        push_qgemm(q, node, &u, trans_b);
    } else {
        push_integer_product(q, node, &u, trans_b ? transposed(q, &u.w) : u.w.name);
    }
    return NULL;
}
