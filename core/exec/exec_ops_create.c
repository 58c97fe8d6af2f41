/* Operators that make tensors or change their type. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_op.h"
#include "core/exec/typed_loops.h"
#include "core/graph.h"
#include "core/tensor.h"

/* ---- Constant ---- */

static const Onnx__AttributeProto *find_constant(const Onnx__NodeProto *node)
{
    static const char *const names[] = {"value",        "sparse_value", "value_float",
                                        "value_floats", "value_int",    "value_ints"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const Onnx__AttributeProto *attr = vqc_node_attr(node, names[i]);
        if (attr != NULL) {
            return attr;
        }
    }
    return NULL;
}

/* Tensors are converted twice (for the shape, for the data): they are small or borrowed. */
static vqc_status constant_tensor(vqc_exec_call *call, const Onnx__AttributeProto *attr,
                                  vqc_buffer **out)
{
    *out = NULL;
    if (attr->t != NULL) {
        return vqc_buffer_from_tensor(attr->t, out, call->error);
    }
    if (attr->sparse_tensor != NULL) {
        size_t limit = (size_t)1 << 30;
        return vqc_buffer_from_sparse(attr->sparse_tensor, limit, out, call->error);
    }
    return VQC_OK;
}

static vqc_status shape_constant(vqc_exec_call *call)
{
    const Onnx__AttributeProto *attr = find_constant(call->node);
    vqc_exec_type *type = &call->types[0];
    vqc_buffer *buffer = NULL;
    vqc_status status;

    if (attr == NULL || attr->ref_attr_name != NULL) {
        return vqc_exec_fail(call, "its value: got none that is a number, expected a tensor");
    }
    status = constant_tensor(call, attr, &buffer);
    if (status != VQC_OK) {
        return status;
    }
    if (buffer != NULL) {
        vqc_exec_type_like(type, buffer);
        vqc_buffer_destroy(&buffer);
    } else {
        bool many =
            strcmp(attr->name, "value_floats") == 0 || strcmp(attr->name, "value_ints") == 0;
        bool real = strncmp(attr->name, "value_float", 11) == 0;
        type->dtype = real ? VQC_DTYPE_FLOAT : VQC_DTYPE_INT64;
        type->rank = many ? 1 : 0;
        type->dims[0] = (int64_t)(real ? attr->n_floats : attr->n_ints);
        if (strcmp(attr->name, "value") == 0 || strcmp(attr->name, "sparse_value") == 0) {
            return vqc_exec_fail(call, "attribute \"%s\": got no tensor", attr->name);
        }
    }
    return VQC_OK;
}

static vqc_status run_constant(vqc_exec_call *call)
{
    const Onnx__AttributeProto *attr = find_constant(call->node);
    vqc_buffer *out = call->outputs[0];
    vqc_buffer *buffer = NULL;
    vqc_status status = constant_tensor(call, attr, &buffer);
    const void *source;

    if (status != VQC_OK) {
        return status;
    }
    if (buffer != NULL) {
        source = buffer->data;
    } else if (out->dtype == VQC_DTYPE_FLOAT) {
        source = out->rank == 1 ? (const void *)attr->floats : &attr->f;
    } else {
        source = out->rank == 1 ? (const void *)attr->ints : &attr->i;
    }
    if (out->elements > 0) {
        memcpy(out->data, source, out->elements * out->width);
    }
    vqc_buffer_destroy(&buffer);
    return VQC_OK;
}

/* ---- Identity, Cast ---- */

static vqc_status shape_identity(vqc_exec_call *call)
{
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    call->types[0].alias = true;
    return VQC_OK;
}

static vqc_status shape_cast(vqc_exec_call *call)
{
    const vqc_buffer *like = vqc_exec_input(call, 1);
    int64_t to = vqc_node_attr_int(call->node, "to", VQC_DTYPE_UNDEFINED);

    if (strcmp(call->op, "CastLike") == 0) {
        to = like->dtype;
    }
    if (to < 0 || to >= VQC_DTYPE_COUNT || vqc_class_of((int32_t)to) == VQC_CLASS_NONE ||
        vqc_class_of(call->inputs[0]->dtype) == VQC_CLASS_NONE) {
        return vqc_exec_fail(call, "from %s to data type %lld: expected numbers",
                             vqc_dtype_describe(call->inputs[0]->dtype)->name, (long long)to);
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    call->types[0].dtype = (int32_t)to;
    call->types[0].alias = to == call->inputs[0]->dtype;
    return VQC_OK;
}

static vqc_status run_cast(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    const Onnx__AttributeProto *round = vqc_node_attr(call->node, "round_mode");
    vqc_store_mode mode = {vqc_node_attr_int(call->node, "saturate", 1) == 0, VQC_SCALE_UP};
    vqc_typed_cast_fn *direct = vqc_typed_cast(in->dtype, out->dtype);
    vqc_chunk chunk;

    if (direct != NULL) {
        direct(in->data, out->elements, out->data);
        return VQC_OK;
    }

    if (round != NULL && round->s.len == 4 && memcmp(round->s.data, "down", 4) == 0) {
        mode.e8m0 = VQC_SCALE_DOWN;
    } else if (round != NULL && round->s.len == 7 && memcmp(round->s.data, "nearest", 7) == 0) {
        mode.e8m0 = VQC_SCALE_NEAREST;
    }
    for (size_t at = 0; !call->types[0].alias && at < out->elements; at += VQC_EXEC_CHUNK) {
        size_t left = out->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        vqc_element_load(in->dtype, in->data + at * in->width, n, &chunk);
        vqc_element_store(out->dtype, vqc_class_of(in->dtype), &chunk, n, &mode,
                          out->data + at * out->width);
    }
    return VQC_OK;
}

/* ---- Shape, Size, ConstantOfShape, Range ---- */

static void shape_bounds(const vqc_exec_call *call, size_t *start, size_t *end)
{
    int64_t rank = (int64_t)call->inputs[0]->rank;
    int64_t from = vqc_node_attr_int(call->node, "start", 0);
    int64_t to = vqc_node_attr_int(call->node, "end", rank);

    from = from < -rank ? 0 : from < 0 ? from + rank : from > rank ? rank : from;
    to = to < -rank ? 0 : to < 0 ? to + rank : to > rank ? rank : to;
    *start = (size_t)from;
    *end = (size_t)(to < from ? from : to);
}

static vqc_status shape_shape(vqc_exec_call *call)
{
    size_t start;
    size_t end;

    shape_bounds(call, &start, &end);
    call->types[0].dtype = VQC_DTYPE_INT64;
    call->types[0].rank = 1;
    call->types[0].dims[0] = (int64_t)(end - start);
    return VQC_OK;
}

static vqc_status run_shape(vqc_exec_call *call)
{
    size_t start;
    size_t end;

    shape_bounds(call, &start, &end);
    memcpy(call->outputs[0]->data, call->inputs[0]->dims + start, (end - start) * sizeof(int64_t));
    return VQC_OK;
}

static vqc_status shape_size(vqc_exec_call *call)
{
    call->types[0].dtype = VQC_DTYPE_INT64;
    call->types[0].rank = 0;
    return VQC_OK;
}

static vqc_status run_size(vqc_exec_call *call)
{
    int64_t elements = (int64_t)call->inputs[0]->elements;

    memcpy(call->outputs[0]->data, &elements, sizeof elements);
    return VQC_OK;
}

static vqc_status shape_constant_of_shape(vqc_exec_call *call)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, "value");
    vqc_exec_type *type = &call->types[0];

    type->dtype = attr != NULL && attr->t != NULL ? attr->t->data_type : VQC_DTYPE_FLOAT;
    return vqc_exec_ints(call, call->inputs[0], type->dims, VQC_EXEC_MAX_RANK, &type->rank);
}

static vqc_status run_constant_of_shape(vqc_exec_call *call)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, "value");
    vqc_buffer *out = call->outputs[0];
    vqc_buffer *value = NULL;
    vqc_status status;

    memset(out->data, 0, out->elements * out->width);
    if (attr == NULL || attr->t == NULL) {
        return VQC_OK;
    }
    status = vqc_buffer_from_tensor(attr->t, &value, call->error);
    if (status != VQC_OK) {
        return status;
    }
    if (value->elements != 1) {
        status = vqc_exec_fail(call, "attribute \"value\": got %zu elements, expected 1",
                               value->elements);
    }
    for (size_t i = 0; status == VQC_OK && i < out->elements; i++) {
        memcpy(out->data + i * out->width, value->data, out->width);
    }
    vqc_buffer_destroy(&value);
    return status;
}

/* start, limit and delta of a Range in its own class. */
static vqc_status load_range(vqc_exec_call *call, vqc_chunk *three)
{
    int32_t dtype = call->inputs[0]->dtype;
    vqc_class class = vqc_class_of(dtype);
    unsigned char raw[3 * 16];

    for (size_t i = 0; i < 3; i++) {
        const vqc_buffer *input = call->inputs[i];
        if (input->elements != 1 || input->dtype != dtype || class == VQC_CLASS_NONE) {
            return vqc_exec_fail(call, "input %zu: expected one number, all of one type", i);
        }
        memcpy(raw + i * input->width, input->data, input->width);
    }
    vqc_element_load(dtype, raw, 3, three);
    return VQC_OK;
}

static vqc_status shape_range(vqc_exec_call *call)
{
    vqc_chunk three;
    vqc_class class = vqc_class_of(call->inputs[0]->dtype);
    vqc_status status = load_range(call, &three);
    double count;

    if (status != VQC_OK) {
        return status;
    }
    if (class == VQC_CLASS_I64) { /* integers: exactly */
        int64_t start = three.i64[0];
        int64_t limit = three.i64[1];
        int64_t delta = three.i64[2];
        uint64_t span =
            delta > 0 ? (uint64_t)limit - (uint64_t)start : (uint64_t)start - (uint64_t)limit;
        uint64_t step = delta > 0 ? (uint64_t)delta : 0 - (uint64_t)delta;
        bool empty = delta > 0 ? start >= limit : start <= limit;
        if (step == 0) {
            return vqc_exec_fail(call, "delta: got 0");
        }
        count = empty ? 0.0 : (double)(span / step + (span % step != 0));
    } else {
        vqc_element_convert(&three, class, VQC_CLASS_F64, 3);
        count = ceil((three.f64[1] - three.f64[0]) / three.f64[2]);
    }
    if (!(count < 0x1p53)) { /* also NaN: delta of 0 */
        return vqc_exec_fail(call, "got a range without end");
    }
    call->types[0].dtype = call->inputs[0]->dtype;
    call->types[0].rank = 1;
    call->types[0].dims[0] = count > 0.0 ? (int64_t)count : 0;
    return VQC_OK;
}

static vqc_status run_range(vqc_exec_call *call)
{
    vqc_buffer *out = call->outputs[0];
    vqc_class class = vqc_class_of(out->dtype);
    vqc_chunk three;
    vqc_chunk chunk;
    vqc_status status = load_range(call, &three);

    for (size_t at = 0; status == VQC_OK && at < out->elements; at += VQC_EXEC_CHUNK) {
        size_t left = out->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        for (size_t i = 0; i < n; i++) { /* output i = start + i * delta (ONNX Range-11) */
            if (class == VQC_CLASS_F32) {
                chunk.f32[i] = three.f32[0] + (float)(at + i) * three.f32[2];
            } else if (class == VQC_CLASS_F64) {
                chunk.f64[i] = three.f64[0] + (double)(at + i) * three.f64[2];
            } else {
                chunk.u64[i] = three.u64[0] + (uint64_t)(at + i) * three.u64[2];
            }
        }
        vqc_element_store(out->dtype, class, &chunk, n, NULL, out->data + at * out->width);
    }
    return status;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("Constant", "", 1, 0, shape_constant, run_constant, .detail = NULL),
    VQC_EXEC_ROW("Identity", "", 1, 1, shape_identity, NULL, .detail = NULL),
    VQC_EXEC_ROW("Cast", "", 6, 1, shape_cast, run_cast,
                 .detail = NULL), /* before 6, `to` was a string */
    VQC_EXEC_ROW("CastLike", "", 15, 2, shape_cast, run_cast, .detail = NULL),
    VQC_EXEC_ROW("Shape", "", 1, 1, shape_shape, run_shape, .detail = NULL),
    VQC_EXEC_ROW("Size", "", 1, 1, shape_size, run_size, .detail = NULL),
    VQC_EXEC_ROW("ConstantOfShape", "", 9, 1, shape_constant_of_shape, run_constant_of_shape,
                 .detail = NULL),
    VQC_EXEC_ROW("Range", "", 11, 3, shape_range, run_range, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_create = {OPS, sizeof OPS / sizeof OPS[0]};
