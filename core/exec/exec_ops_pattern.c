/* Operators that lay values out in a pattern: OneHot, EyeLike, Trilu, ReverseSequence, BitCast. */
#include <string.h>

#include "core/exec/exec_index.h"
#include "core/exec/exec_op.h"
#include "core/graph.h"

/* ---- OneHot ---- */

/* One number of any type as an integer (floats truncated); false for other shapes and types. */
static bool load_integer(const vqc_buffer *buffer, size_t at, int64_t *value)
{
    vqc_chunk chunk;
    vqc_class class = vqc_class_of(buffer->dtype);

    if (class == VQC_CLASS_NONE) {
        return false;
    }
    vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, 1, &chunk);
    vqc_element_convert(&chunk, class, VQC_CLASS_I64, 1);
    *value = chunk.i64[0];
    return true;
}

static vqc_status onehot_axis(vqc_exec_call *call, size_t *axis)
{
    return vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", -1), call->inputs[0]->rank + 1,
                         axis);
}

static vqc_status shape_onehot(vqc_exec_call *call)
{
    const vqc_buffer *indices = call->inputs[0];
    const vqc_buffer *values = call->inputs[2];
    vqc_exec_type *type = &call->types[0];
    int64_t depth;
    size_t axis;
    size_t next = 0;
    vqc_status status = onehot_axis(call, &axis);

    if (status != VQC_OK) {
        return status;
    }
    if (vqc_class_of(indices->dtype) == VQC_CLASS_NONE || call->inputs[1]->elements != 1 ||
        !load_integer(call->inputs[1], 0, &depth) || depth < 0 || values->elements != 2 ||
        values->rank != 1 || indices->rank + 1 > VQC_EXEC_MAX_RANK) {
        return vqc_exec_fail(call, "expected numbers as indices, one depth and two values");
    }
    type->dtype = values->dtype;
    type->rank = indices->rank + 1;
    for (size_t i = 0; i < type->rank; i++) {
        type->dims[i] = i == axis ? depth : indices->dims[next++];
    }
    return VQC_OK;
}

/* Everything "off", then one element per index "on"; version 9 knows no negative indices. */
static vqc_status run_onehot(vqc_exec_call *call)
{
    const vqc_buffer *indices = call->inputs[0];
    const unsigned char *values = call->inputs[2]->data;
    vqc_buffer *out = call->outputs[0];
    size_t axis;
    size_t inner;
    int64_t depth;

    (void)onehot_axis(call, &axis);
    depth = out->dims[axis];
    inner = vqc_exec_product(out->dims, axis + 1, out->rank);
    for (size_t i = 0; i < out->elements; i++) {
        memcpy(out->data + i * out->width, values, out->width);
    }
    for (size_t i = 0; out->elements > 0 && i < indices->elements; i++) {
        int64_t index = 0;

        (void)load_integer(indices, i, &index);
        if (index < 0 && call->opset >= 11 && index >= -depth) {
            index += depth;
        }
        if (index >= 0 && index < depth) {
            size_t at = (i / inner * (size_t)depth + (size_t)index) * inner + i % inner;
            memcpy(out->data + at * out->width, values + out->width, out->width);
        }
    }
    return VQC_OK;
}

/* ---- EyeLike ---- */

static vqc_status shape_eye(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    int64_t to = vqc_node_attr_int(call->node, "dtype", x->dtype);

    if (x->rank != 2 || to < 0 || to >= VQC_DTYPE_COUNT ||
        vqc_class_of((int32_t)to) == VQC_CLASS_NONE) {
        return vqc_exec_fail(call, "got rank %zu and data type %lld, expected a matrix of numbers",
                             x->rank, (long long)to);
    }
    vqc_exec_type_like(&call->types[0], x);
    call->types[0].dtype = (int32_t)to;
    return VQC_OK;
}

static vqc_status run_eye(vqc_exec_call *call)
{
    vqc_buffer *out = call->outputs[0];
    int64_t k = vqc_node_attr_int(call->node, "k", 0);
    int64_t rows = out->dims[0];
    int64_t cols = out->dims[1];
    unsigned char one[8];
    vqc_chunk chunk = {.i64 = {1}};

    vqc_element_store(out->dtype, VQC_CLASS_I64, &chunk, 1, NULL, one);
    memset(out->data, 0, out->elements * out->width);
    for (int64_t r = 0; k > -rows && k < cols && r < rows; r++) {
        if (r + k >= 0 && r + k < cols) {
            memcpy(out->data + (size_t)(r * cols + r + k) * out->width, one, out->width);
        }
    }
    return VQC_OK;
}

/* ---- Trilu ---- */

static vqc_status trilu_k(vqc_exec_call *call, int64_t *k)
{
    const vqc_buffer *input = vqc_exec_input(call, 1);
    size_t count;
    vqc_status status;

    *k = 0;
    if (input == NULL) {
        return VQC_OK;
    }
    status = vqc_exec_ints(call, input, k, 1, &count);
    return status != VQC_OK || count == 1 ? status : vqc_exec_fail(call, "k: got no value");
}

static vqc_status shape_trilu(vqc_exec_call *call)
{
    int64_t k;
    vqc_status status = trilu_k(call, &k);

    if (status == VQC_OK && call->inputs[0]->rank < 2) {
        status = vqc_exec_fail(call, "got rank %zu, expected 2 or more", call->inputs[0]->rank);
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    return status;
}

/* Keeps columns [r + k, cols) of row r, or (lower) columns [0, r + k]. */
static vqc_status run_trilu(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    bool upper = vqc_node_attr_int(call->node, "upper", 1) != 0;
    size_t rows = (size_t)x->dims[x->rank - 2];
    size_t cols = (size_t)x->dims[x->rank - 1];
    int64_t k;
    vqc_status status = trilu_k(call, &k);

    if (status != VQC_OK || x->elements == 0) {
        return status;
    }
    k = k > (int64_t)cols ? (int64_t)cols : k < -(int64_t)rows ? -(int64_t)rows : k;
    for (size_t row = 0; row < x->elements / cols; row++) {
        int64_t edge = (int64_t)(row % rows) + k + (upper ? 0 : 1);
        size_t split = edge < 0 ? 0 : (uint64_t)edge > cols ? cols : (size_t)edge;
        size_t from = upper ? split : 0;
        size_t to = upper ? cols : split;
        unsigned char *target = out->data + row * cols * x->width;

        memset(target, 0, from * x->width);
        memcpy(target + from * x->width, x->data + (row * cols + from) * x->width,
               (to - from) * x->width);
        memset(target + to * x->width, 0, (cols - to) * x->width);
    }
    return VQC_OK;
}

/* ---- ReverseSequence ---- */

static vqc_status shape_reverse(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *lengths = call->inputs[1];
    int64_t batch = vqc_node_attr_int(call->node, "batch_axis", 1);
    int64_t time = vqc_node_attr_int(call->node, "time_axis", 0);

    if (x->rank < 2 || batch < 0 || batch > 1 || time != 1 - batch ||
        lengths->dtype != VQC_DTYPE_INT64 || lengths->rank != 1 ||
        lengths->elements != (size_t)x->dims[batch]) {
        return vqc_exec_fail(call, "expected axes 0 and 1 and one int64 length per batch entry");
    }
    for (size_t i = 0; i < lengths->elements; i++) {
        int64_t length = vqc_element_int(lengths->dtype, lengths->data, i);
        if (length < 0 || length > x->dims[time]) {
            return vqc_exec_fail(call, "sequence_lens: got %lld, expected 0 to %lld",
                                 (long long)length, (long long)x->dims[time]);
        }
    }
    vqc_exec_type_like(&call->types[0], x);
    return VQC_OK;
}

static vqc_status run_reverse(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *lengths = call->inputs[1];
    bool time_first = vqc_node_attr_int(call->node, "time_axis", 0) == 0;
    size_t steps = (size_t)x->dims[time_first ? 0 : 1];
    size_t batches = (size_t)x->dims[time_first ? 1 : 0];
    size_t row = vqc_exec_product(x->dims, 2, x->rank) * x->width;
    size_t step_stride = time_first ? batches * row : row;
    size_t batch_stride = time_first ? row : steps * row;

    for (size_t b = 0; x->elements > 0 && b < batches; b++) {
        size_t length = (size_t)vqc_element_int(lengths->dtype, lengths->data, b);
        for (size_t t = 0; t < steps; t++) {
            size_t from = t < length ? length - 1 - t : t;
            memcpy(call->outputs[0]->data + b * batch_stride + t * step_stride,
                   x->data + b * batch_stride + from * step_stride, row);
        }
    }
    return VQC_OK;
}

/* ---- BitCast ---- */

static vqc_status shape_bitcast(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    int64_t to = vqc_node_attr_int(call->node, "to", VQC_DTYPE_UNDEFINED);
    int bits = vqc_dtype_describe(x->dtype)->bits;

    if (to <= 0 || to >= VQC_DTYPE_COUNT || bits == 0 ||
        vqc_dtype_describe((int32_t)to)->bits != bits) {
        return vqc_exec_fail(call, "from %s to data type %lld: expected types of one width",
                             vqc_dtype_describe(x->dtype)->name, (long long)to);
    }
    vqc_exec_type_like(&call->types[0], x);
    call->types[0].dtype = (int32_t)to;
    return VQC_OK;
}

/* Types below a byte are kept sign-extended or not, so these are cut and extended anew. */
static vqc_status run_bitcast(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    unsigned bits = (unsigned)vqc_dtype_describe(x->dtype)->bits;
    unsigned mask = bits < 8 ? (1u << bits) - 1 : 0xFF;
    unsigned sign = bits < 8 && vqc_class_of(out->dtype) == VQC_CLASS_I64 ? (mask + 1) / 2 : 0;

    if (x->elements > 0) {
        memcpy(out->data, x->data, x->elements * x->width);
    }
    for (size_t i = 0; bits < 8 && i < x->elements; i++) {
        out->data[i] = (unsigned char)(((out->data[i] & mask) ^ sign) - sign);
    }
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("OneHot", "", 9, 3, shape_onehot, run_onehot, .detail = NULL),
    VQC_EXEC_ROW("EyeLike", "", 9, 1, shape_eye, run_eye, .detail = NULL),
    VQC_EXEC_ROW("Trilu", "", 14, 1, shape_trilu, run_trilu, .detail = NULL),
    VQC_EXEC_ROW("ReverseSequence", "", 10, 2, shape_reverse, run_reverse, .detail = NULL),
    VQC_EXEC_ROW("BitCast", "", 26, 1, shape_bitcast, run_bitcast, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_pattern = {OPS, sizeof OPS / sizeof OPS[0]};
