/*
 * com.microsoft operators between codes of 8 bits: QLinearAdd, QLinearMul, QLinearSigmoid, ... Each
 * is what its documentation says: dequantize, compute in float32, quantize with the output's scale
 * (division, rounding half to even, saturation).
 */
#include <math.h>
#include <string.h>

#include "core/exec/exec_ops_microsoft.h"
#include "core/graph.h"
#include "core/memory.h"
#include "kernels/kernels.h"

/* Scale and zero point of one tensor. */
typedef struct coding {
    float scale;
    int32_t zero;
    int32_t low, high; /* of the type */
} coding;

/* A coding from two inputs; type: that of the codes. An absent zero point is 0. */
static vqc_status read_coding(vqc_exec_call *call, int32_t type, size_t scale, size_t zero,
                              coding *out)
{
    const vqc_buffer *scales = vqc_exec_input(call, scale);

    if (scales == NULL || (type != VQC_DTYPE_UINT8 && type != VQC_DTYPE_INT8)) {
        return vqc_exec_fail(call,
                             "got codes of type %s %s a scale, expected uint8 or int8 and one",
                             vqc_dtype_describe(type)->name, scales == NULL ? "without" : "with");
    }
    out->low = type == VQC_DTYPE_INT8 ? -128 : 0;
    out->high = out->low + 255;
    if (vqc_int_float(call, scales, "scale", 1.0f, &out->scale) != VQC_OK) {
        return vqc_int_failed(call);
    }
    return vqc_int_zero(call, vqc_exec_input(call, zero), "zero point", type, &out->zero);
}

/* The value of a stored byte. */
static float decode(const coding *c, unsigned byte)
{
    int32_t code = c->low < 0 ? (int8_t)byte : (int32_t)byte;

    return c->scale * (float)(code - c->zero);
}

/* The byte that stores a value; NaN is stored as 0. */
static uint8_t encode(const coding *c, float value)
{
    float q = nearbyintf(value / c->scale);

    q = isnan(q) ? 0.0f : q;
    q = fminf(fmaxf(q, (float)(c->low - c->zero)), (float)(c->high - c->zero));
    return (uint8_t)((int32_t)q + c->zero);
}

static void decode_table(const coding *c, float table[256])
{
    for (unsigned i = 0; i < 256; i++) {
        table[i] = decode(c, i);
    }
}

static void apply_table(const uint8_t *table, const uint8_t *x, size_t n, uint8_t *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = table[x[i]];
    }
}

/* n codes as floats, and back. */
static void decode_all(const coding *c, const uint8_t *codes, size_t n, float *x)
{
    float table[256];

    decode_table(c, table);
    for (size_t i = 0; i < n; i++) {
        x[i] = table[codes[i]];
    }
}

static void encode_all(const coding *c, const float *x, size_t n, uint8_t *codes)
{
    const vqc_kernels *k = vqc_kernels_get();

    if (c->low < 0) {
        k->f32_s8_divide_quantize(x, n, c->scale, c->zero, (int8_t *)codes);
    } else {
        k->f32_u8_divide_quantize(x, n, c->scale, c->zero, codes);
    }
}

/* ---- one input through a table ---- */

static vqc_status shape_table(vqc_exec_call *call)
{
    coding c;

    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    return read_coding(call, call->inputs[0]->dtype, 1, 2, &c) != VQC_OK
               ? vqc_int_failed(call)
               : read_coding(call, call->inputs[0]->dtype, 3, 4, &c);
}

static vqc_status run_table(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    float alpha = vqc_node_attr_float(call->node, "alpha", 0.01f);
    bool sigmoid = strcmp(call->op, "QLinearSigmoid") == 0;
    uint8_t table[256];
    coding from;
    coding to;

    if (read_coding(call, x->dtype, 1, 2, &from) != VQC_OK ||
        read_coding(call, x->dtype, 3, 4, &to) != VQC_OK) {
        return vqc_int_failed(call);
    }
    for (unsigned i = 0; i < 256; i++) {
        float value = decode(&from, i);

        value = sigmoid ? 1.0f / (1.0f + expf(-value)) : value >= 0.0f ? value : alpha * value;
        table[i] = encode(&to, value);
    }
    apply_table(table, x->data, x->elements, call->outputs[0]->data);
    return VQC_OK;
}

/* ---- QLinearAdd, QLinearMul ---- */

static vqc_status shape_binary(vqc_exec_call *call)
{
    const vqc_buffer *a = call->inputs[0];
    const vqc_buffer *b = call->inputs[3];
    vqc_exec_type *type = &call->types[0];
    coding c;

    if (b == NULL || a->dtype != b->dtype) {
        return vqc_exec_fail(call, "the operands have different types");
    }
    vqc_exec_type_like(type, a);
    if (!vqc_broadcast_dims(type->dims, &type->rank, b->dims, b->rank)) {
        return vqc_exec_fail(call, "the operands' shapes do not broadcast");
    }
    if (read_coding(call, a->dtype, 1, 2, &c) != VQC_OK ||
        read_coding(call, a->dtype, 4, 5, &c) != VQC_OK) {
        return vqc_int_failed(call);
    }
    return read_coding(call, a->dtype, 6, 7, &c);
}

static vqc_status run_binary(vqc_exec_call *call)
{
    vqc_buffer *out = call->outputs[0];
    bool add = strcmp(call->op, "QLinearAdd") == 0;
    coding ca, cb, cc;
    vqc_view va, vb;
    vqc_reader ra, rb;
    float table_a[256], table_b[256];
    float factor;

    if (out->elements == 0) {
        return VQC_OK;
    }
    if (read_coding(call, out->dtype, 1, 2, &ca) != VQC_OK ||
        read_coding(call, out->dtype, 4, 5, &cb) != VQC_OK ||
        read_coding(call, out->dtype, 6, 7, &cc) != VQC_OK) {
        return vqc_int_failed(call);
    }
    if (!vqc_view_broadcast(call->inputs[0], out->dims, out->rank, &va) ||
        !vqc_view_broadcast(call->inputs[3], out->dims, out->rank, &vb)) {
        return vqc_exec_fail(call, "the operands' shapes do not broadcast");
    }
    factor = ca.scale * cb.scale / cc.scale;
    if (!add) { /* (a - za) (b - zb) exactly, then one product */
        ca.scale = cb.scale = cc.scale = 1.0f;
    }
    decode_table(&ca, table_a);
    decode_table(&cb, table_b);
    vqc_reader_start(&ra, &va);
    vqc_reader_start(&rb, &vb);
    for (size_t done = 0; done < out->elements; done += VQC_EXEC_CHUNK) {
        size_t n = out->elements - done < VQC_EXEC_CHUNK ? out->elements - done : VQC_EXEC_CHUNK;
        uint8_t scratch_a[VQC_EXEC_CHUNK], scratch_b[VQC_EXEC_CHUNK];
        float values[VQC_EXEC_CHUNK];
        const uint8_t *a = vqc_reader_next(&ra, n, scratch_a);
        const uint8_t *b = vqc_reader_next(&rb, n, scratch_b);

        for (size_t i = 0; i < n; i++) {
            values[i] =
                add ? table_a[a[i]] + table_b[b[i]] : table_a[a[i]] * table_b[b[i]] * factor;
        }
        encode_all(&cc, values, n, out->data + done);
    }
    return VQC_OK;
}

/* ---- QLinearWhere ---- */

static vqc_status shape_where(vqc_exec_call *call)
{
    vqc_exec_type *type = &call->types[0];
    const vqc_buffer *x = call->inputs[1];
    const vqc_buffer *y = call->inputs[4];

    if (call->inputs[0]->dtype != VQC_DTYPE_BOOL || x->dtype != y->dtype) {
        return vqc_exec_fail(call, "got types %s, %s and %s, expected bool and twice the same",
                             vqc_dtype_describe(call->inputs[0]->dtype)->name,
                             vqc_dtype_describe(x->dtype)->name,
                             vqc_dtype_describe(y->dtype)->name);
    }
    vqc_exec_type_like(type, x);
    if (!vqc_broadcast_dims(type->dims, &type->rank, y->dims, y->rank) ||
        !vqc_broadcast_dims(type->dims, &type->rank, call->inputs[0]->dims,
                            call->inputs[0]->rank)) {
        return vqc_exec_fail(call, "the shapes do not broadcast");
    }
    return VQC_OK;
}

/* The table that takes codes of one coding to another. */
static void recode_table(const coding *from, const coding *to, uint8_t table[256])
{
    bool same = from->scale == to->scale && from->zero == to->zero && from->low == to->low;

    for (unsigned i = 0; i < 256; i++) {
        table[i] = same ? (uint8_t)i : encode(to, decode(from, i));
    }
}

static vqc_status run_where(vqc_exec_call *call)
{
    static const size_t places[3] = {0, 1, 4};
    vqc_buffer *out = call->outputs[0];
    coding x, y, z;
    uint8_t table_x[256], table_y[256];
    vqc_reader readers[3];

    if (read_coding(call, out->dtype, 2, 3, &x) != VQC_OK ||
        read_coding(call, out->dtype, 5, 6, &y) != VQC_OK ||
        read_coding(call, out->dtype, 7, 8, &z) != VQC_OK) {
        return vqc_int_failed(call);
    }
    if (out->elements == 0) {
        return VQC_OK;
    }
    recode_table(&x, &z, table_x);
    recode_table(&y, &z, table_y);
    for (size_t i = 0; i < 3; i++) {
        vqc_view view;
        if (!vqc_view_broadcast(call->inputs[places[i]], out->dims, out->rank, &view)) {
            return vqc_exec_fail(call, "the shapes do not broadcast");
        }
        vqc_reader_start(&readers[i], &view);
    }
    for (size_t done = 0; done < out->elements; done += VQC_EXEC_CHUNK) {
        size_t n = out->elements - done < VQC_EXEC_CHUNK ? out->elements - done : VQC_EXEC_CHUNK;
        uint8_t scratch[3][VQC_EXEC_CHUNK];
        const uint8_t *c = vqc_reader_next(&readers[0], n, scratch[0]);
        const uint8_t *a = vqc_reader_next(&readers[1], n, scratch[1]);
        const uint8_t *b = vqc_reader_next(&readers[2], n, scratch[2]);

        for (size_t i = 0; i < n; i++) {
            out->data[done + i] = c[i] != 0 ? table_x[a[i]] : table_y[b[i]];
        }
    }
    return VQC_OK;
}

/* ---- QLinearConcat: y_scale, y_zero, then (codes, scale, zero) of each part ---- */

static vqc_status shape_concat(vqc_exec_call *call)
{
    vqc_exec_type *type = &call->types[0];
    const vqc_buffer *first = call->inputs[2];
    const vqc_buffer *zero = call->inputs[1];
    size_t axis;
    int64_t sum = 0;

    if (call->input_count % 3 != 2 || first == NULL || zero == NULL) {
        return vqc_exec_fail(call, "got %zu inputs, expected 2 and 3 for each part",
                             call->input_count);
    }
    if (vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 0), first->rank, &axis) !=
        VQC_OK) {
        return VQC_ERR_MODEL;
    }
    vqc_exec_type_like(type, first);
    type->dtype = zero->dtype;
    for (size_t i = 2; i < call->input_count; i += 3) {
        const vqc_buffer *part = call->inputs[i];
        coding c;

        if (part == NULL || part->rank != first->rank) {
            return vqc_exec_fail(call, "input %zu: got another rank than the first part", i);
        }
        for (size_t d = 0; d < part->rank; d++) {
            if (d != axis && part->dims[d] != first->dims[d]) {
                return vqc_exec_fail(call, "input %zu: got %lld on axis %zu, expected %lld", i,
                                     (long long)part->dims[d], d, (long long)first->dims[d]);
            }
        }
        if (read_coding(call, part->dtype, i + 1, i + 2, &c) != VQC_OK) {
            return vqc_int_failed(call);
        }
        if (__builtin_add_overflow(sum, part->dims[axis], &sum)) {
            return vqc_exec_fail(call, "the result is too large");
        }
    }
    type->dims[axis] = sum;
    return VQC_OK;
}

static vqc_status run_concat(vqc_exec_call *call)
{
    vqc_buffer *out = call->outputs[0];
    size_t axis;
    size_t outer = 1;
    size_t inner = 1;
    size_t at = 0;
    coding to;

    if (vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 0), out->rank, &axis) != VQC_OK ||
        read_coding(call, out->dtype, 0, 1, &to) != VQC_OK) {
        return vqc_int_failed(call);
    }
    for (size_t d = 0; d < out->rank; d++) {
        outer *= d < axis ? (size_t)out->dims[d] : 1;
        inner *= d > axis ? (size_t)out->dims[d] : 1;
    }
    for (size_t i = 2; i < call->input_count && out->elements > 0; i += 3) {
        const vqc_buffer *part = call->inputs[i];
        size_t run = (size_t)part->dims[axis] * inner;
        uint8_t table[256];
        coding from;

        if (read_coding(call, part->dtype, i + 1, i + 2, &from) != VQC_OK) {
            return vqc_int_failed(call);
        }
        recode_table(&from, &to, table);
        for (size_t o = 0; o < outer; o++) {
            apply_table(table, part->data + o * run, run,
                        out->data + o * (size_t)out->dims[axis] * inner + at);
        }
        at += run;
    }
    return VQC_OK;
}

/* ---- float operators between dequantizing and quantizing ---- */

/* What is behind QLinearSoftmax, ... and as of which version. */
static const char *float_op(const vqc_exec_call *call, int64_t *version)
{
    *version = 11;
    if (strcmp(call->op, "QLinearSoftmax") == 0) {
        *version = vqc_node_attr_int(call->node, "opset", 13);
        return "Softmax";
    }
    return strcmp(call->op, "QLinearReduceMean") == 0          ? "ReduceMean"
           : strcmp(call->op, "QLinearGlobalAveragePool") == 0 ? "GlobalAveragePool"
                                                               : "AveragePool";
}

/* [n, positions, channels] to [n, channels, positions], of elements of 1 or 4 bytes; `back`: the
 * other way. */
static void move_channels(const void *x, size_t n, size_t channels, size_t positions, size_t width,
                          bool back, void *y)
{
    size_t rows = back ? channels : positions;
    size_t cols = back ? positions : channels;

    for (size_t i = 0; i < n; i++) {
        const char *from = (const char *)x + i * rows * cols * width;
        char *to = (char *)y + i * rows * cols * width;
        for (size_t r = 0; r < rows; r++) {
            for (size_t c = 0; c < cols; c++) {
                memcpy(to + (c * rows + r) * width, from + (r * cols + c) * width, width);
            }
        }
    }
}

static bool is_channels_last(const vqc_exec_call *call)
{
    return vqc_node_attr_int(call->node, "channels_last", 0) != 0;
}

/* dims with channels moved behind the batch, or back. */
static void move_dims(const int64_t *dims, size_t rank, bool back, int64_t *out)
{
    out[0] = dims[0];
    for (size_t i = 1; i < rank; i++) {
        out[back ? (i == 1 ? rank - 1 : i - 1) : (i == rank - 1 ? 1 : i + 1)] = dims[i];
    }
}

/* The input's header as float, channels second; data still to be given. */
static vqc_status float_header(vqc_exec_call *call, vqc_buffer *x)
{
    *x = *call->inputs[0];
    x->dtype = VQC_DTYPE_FLOAT;
    x->width = sizeof(float);
    x->storage = NULL;
    if (is_channels_last(call)) {
        if (x->rank < 3) {
            return vqc_exec_fail(call, "channels_last: got rank %zu, expected at least 3", x->rank);
        }
        move_dims(call->inputs[0]->dims, x->rank, false, x->dims);
    }
    return VQC_OK;
}

static vqc_status shape_float(vqc_exec_call *call)
{
    vqc_exec_type *type = &call->types[0];
    const vqc_buffer *inputs[1];
    vqc_inner inner;
    int64_t version;
    const char *op = float_op(call, &version);
    coding c;
    vqc_buffer x;

    if (read_coding(call, call->inputs[0]->dtype, 1, 2, &c) != VQC_OK ||
        read_coding(call, call->inputs[0]->dtype, 3, 4, &c) != VQC_OK ||
        float_header(call, &x) != VQC_OK) {
        return vqc_int_failed(call);
    }
    inputs[0] = &x;
    if (vqc_inner_shape(call, op, version, inputs, 1, &inner) != VQC_OK) {
        return vqc_int_failed(call);
    }
    *type = inner.call.types[0];
    type->dtype = call->inputs[0]->dtype;
    type->alias = false;
    if (is_channels_last(call)) {
        move_dims(inner.call.types[0].dims, type->rank, true, type->dims);
    }
    return VQC_OK;
}

/* The input as floats, channels second. */
static bool load_float(vqc_exec_call *call, const coding *c, vqc_buffer *x)
{
    const vqc_buffer *in = call->inputs[0];
    uint8_t *moved = in->data;

    if (!vqc_inner_buffer(call, VQC_DTYPE_FLOAT, x->dims, x->rank, x)) {
        return false;
    }
    if (is_channels_last(call) && in->elements > 0) {
        moved = vqc_exec_scratch(call, in->elements);
        if (moved == NULL) {
            return false;
        }
        move_channels(in->data, (size_t)x->dims[0], (size_t)x->dims[1],
                      in->elements / (size_t)(x->dims[0] * x->dims[1]), 1, false, moved);
    }
    decode_all(c, moved, in->elements, (float *)(void *)x->data);
    return true;
}

static vqc_status run_float(vqc_exec_call *call)
{
    vqc_buffer *out = call->outputs[0];
    const vqc_buffer *inputs[1];
    vqc_inner inner;
    int64_t version;
    const char *op = float_op(call, &version);
    coding from, to;
    vqc_buffer x, y;

    if (out->elements == 0) {
        return VQC_OK;
    }
    if (read_coding(call, out->dtype, 1, 2, &from) != VQC_OK ||
        read_coding(call, out->dtype, 3, 4, &to) != VQC_OK || float_header(call, &x) != VQC_OK ||
        !load_float(call, &from, &x)) {
        return vqc_int_failed(call);
    }
    inputs[0] = &x;
    if (vqc_inner_shape(call, op, version, inputs, 1, &inner) != VQC_OK ||
        !vqc_inner_buffer(call, VQC_DTYPE_FLOAT, inner.call.types[0].dims, inner.call.types[0].rank,
                          &y) ||
        vqc_inner_run(&inner, &y) != VQC_OK) {
        return vqc_int_failed(call);
    }
    encode_all(&to, (const float *)(const void *)y.data, y.elements, out->data);
    if (is_channels_last(call)) {
        uint8_t *moved = vqc_exec_scratch(call, y.elements);
        if (moved == NULL) {
            return vqc_int_failed(call);
        }
        move_channels(out->data, (size_t)y.dims[0], (size_t)y.dims[1],
                      y.elements / (size_t)(y.dims[0] * y.dims[1]), 1, true, moved);
        memcpy(out->data, moved, y.elements);
    }
    return VQC_OK;
}

/* ---- NhwcMaxPool: MaxPool of codes with the channels last ---- */

static vqc_status nhwc_inner(vqc_exec_call *call, vqc_buffer *x, const vqc_buffer *inputs[1],
                             vqc_inner *inner)
{
    const vqc_buffer *in = call->inputs[0];

    if (!vqc_int_is_codes(in) || in->rank < 3) {
        return vqc_exec_fail(call, "got type %s and rank %zu, expected codes of rank 3 or more",
                             vqc_dtype_describe(in->dtype)->name, in->rank);
    }
    *x = *in;
    move_dims(in->dims, in->rank, false, x->dims);
    inputs[0] = x;
    return vqc_inner_shape(call, "MaxPool", 12, inputs, 1, inner);
}

static vqc_status shape_nhwc(vqc_exec_call *call)
{
    const vqc_buffer *inputs[1];
    vqc_inner inner;
    vqc_buffer x;

    if (nhwc_inner(call, &x, inputs, &inner) != VQC_OK) {
        return vqc_int_failed(call);
    }
    call->types[0] = inner.call.types[0];
    move_dims(inner.call.types[0].dims, x.rank, true, call->types[0].dims);
    return VQC_OK;
}

static vqc_status run_nhwc(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    const vqc_buffer *inputs[1];
    vqc_inner inner;
    vqc_buffer x, y;

    if (out->elements == 0) {
        return VQC_OK;
    }
    if (nhwc_inner(call, &x, inputs, &inner) != VQC_OK ||
        !vqc_inner_buffer(call, in->dtype, x.dims, x.rank, &x) ||
        !vqc_inner_buffer(call, in->dtype, inner.call.types[0].dims, x.rank, &y)) {
        return vqc_int_failed(call);
    }
    if (in->elements > 0) {
        move_channels(in->data, (size_t)x.dims[0], (size_t)x.dims[1],
                      in->elements / (size_t)(x.dims[0] * x.dims[1]), 1, false, x.data);
    }
    if (vqc_inner_run(&inner, &y) != VQC_OK) {
        return vqc_int_failed(call);
    }
    move_channels(y.data, (size_t)y.dims[0], (size_t)y.dims[1],
                  y.elements / (size_t)(y.dims[0] * y.dims[1]), 1, true, out->data);
    return VQC_OK;
}

#define ROW(name, least, shape, run)                                                               \
    VQC_EXEC_ROW(name, "com.microsoft", 1, least, shape, run, .detail = NULL)

static const vqc_exec_op OPS[] = {
    ROW("QLinearAdd", 2, shape_binary, run_binary),
    ROW("QLinearMul", 2, shape_binary, run_binary),
    ROW("QLinearSigmoid", 2, shape_table, run_table),
    ROW("QLinearLeakyRelu", 2, shape_table, run_table),
    ROW("QLinearWhere", 9, shape_where, run_where),
    ROW("QLinearConcat", 3, shape_concat, run_concat),
    ROW("QLinearSoftmax", 2, shape_float, run_float),
    ROW("QLinearAveragePool", 2, shape_float, run_float),
    ROW("QLinearGlobalAveragePool", 2, shape_float, run_float),
    ROW("QLinearReduceMean", 2, shape_float, run_float),
    ROW("NhwcMaxPool", 1, shape_nhwc, run_nhwc),
};

const vqc_exec_family vqc_exec_ops_microsoft_qlinear = {OPS, sizeof OPS / sizeof OPS[0]};
