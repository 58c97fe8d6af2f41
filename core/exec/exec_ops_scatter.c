/* Operators that write updates at indices: Scatter, ScatterElements, ScatterND, TensorScatter. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_index.h"
#include "core/exec/exec_op.h"
#include "core/graph.h"

typedef enum reduction { REDUCE_NONE, REDUCE_ADD, REDUCE_MUL, REDUCE_MAX, REDUCE_MIN } reduction;

/* Attribute "reduction"; versions that lack it or some of its values refuse them. */
static vqc_status find_reduction(vqc_exec_call *call, reduction *out)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    size_t allowed = call->opset >= 18 ? 5 : call->opset >= 16 ? 3 : 1;
    size_t chosen;
    vqc_status status = vqc_exec_choice(call, "reduction", names, allowed, &chosen);

    *out = (reduction)chosen;
    if (status == VQC_OK && chosen != 0 && vqc_class_of(call->inputs[0]->dtype) == VQC_CLASS_NONE) {
        return vqc_exec_fail(call, "reduction: data type %s, expected numbers",
                             vqc_dtype_describe(call->inputs[0]->dtype)->name);
    }
    return status;
}

/* NaN wins over numbers in max and min. */
#define REDUCE_FIELD(field, add, mul, greater, less)                                               \
    for (size_t i = 0; i < n; i++) {                                                               \
        a->field[i] = how == REDUCE_ADD   ? (add)                                                  \
                      : how == REDUCE_MUL ? (mul)                                                  \
                      : how == REDUCE_MAX ? ((greater) ? a->field[i] : b->field[i])                \
                                          : ((less) ? a->field[i] : b->field[i]);                  \
    }

static void reduce_chunk(reduction how, vqc_class class, vqc_chunk *a, const vqc_chunk *b, size_t n)
{
    switch (class) {
    case VQC_CLASS_F32:
        REDUCE_FIELD(f32, a->f32[i] + b->f32[i], a->f32[i] * b->f32[i],
                     a->f32[i] > b->f32[i] || isnan(a->f32[i]),
                     a->f32[i] < b->f32[i] || isnan(a->f32[i]))
        break;
    case VQC_CLASS_F64:
        REDUCE_FIELD(f64, a->f64[i] + b->f64[i], a->f64[i] * b->f64[i],
                     a->f64[i] > b->f64[i] || isnan(a->f64[i]),
                     a->f64[i] < b->f64[i] || isnan(a->f64[i]))
        break;
    case VQC_CLASS_I64:
        REDUCE_FIELD(i64, (int64_t)(a->u64[i] + b->u64[i]), (int64_t)(a->u64[i] * b->u64[i]),
                     a->i64[i] > b->i64[i], a->i64[i] < b->i64[i])
        break;
    default:
        REDUCE_FIELD(u64, a->u64[i] + b->u64[i], a->u64[i] * b->u64[i], a->u64[i] > b->u64[i],
                     a->u64[i] < b->u64[i])
        break;
    }
}

/* target [n] = target combined with updates [n]. */
static void reduce_run(reduction how, int32_t dtype, size_t width, const unsigned char *updates,
                       unsigned char *target, size_t n)
{
    vqc_chunk a;
    vqc_chunk b;

    if (how == REDUCE_NONE) {
        memcpy(target, updates, n * width);
        return;
    }
    for (size_t at = 0; at < n; at += VQC_EXEC_CHUNK) {
        size_t count = n - at < VQC_EXEC_CHUNK ? n - at : VQC_EXEC_CHUNK;

        vqc_element_load(dtype, target + at * width, count, &a);
        vqc_element_load(dtype, updates + at * width, count, &b);
        reduce_chunk(how, vqc_class_of(dtype), &a, &b, count);
        vqc_element_store(dtype, vqc_class_of(dtype), &a, count, NULL, target + at * width);
    }
}

static void copy_data(vqc_exec_call *call)
{
    const vqc_buffer *data = call->inputs[0];

    if (data->elements > 0 && call->outputs[0]->data != data->data) {
        memcpy(call->outputs[0]->data, data->data, data->elements * data->width);
    }
}

/* ---- Scatter, ScatterElements ---- */

static vqc_status shape_scatter_elements(vqc_exec_call *call)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    const vqc_buffer *updates = call->inputs[2];
    reduction how;
    size_t axis;
    vqc_status status = vqc_exec_check_indices(call, indices, true);

    if (status == VQC_OK) {
        status = vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 0), data->rank, &axis);
    }
    if (status == VQC_OK) {
        status = find_reduction(call, &how);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (updates->dtype != data->dtype || indices->rank != data->rank ||
        updates->rank != data->rank) {
        return vqc_exec_fail(call, "updates: got %s of rank %zu, expected %s of rank %zu",
                             vqc_dtype_describe(updates->dtype)->name, updates->rank,
                             vqc_dtype_describe(data->dtype)->name, data->rank);
    }
    for (size_t i = 0; i < data->rank; i++) {
        if (updates->dims[i] != indices->dims[i] ||
            (i != axis && indices->dims[i] > data->dims[i])) {
            return vqc_exec_fail(call, "indices: axis %zu has %lld elements, which does not fit", i,
                                 (long long)indices->dims[i]);
        }
    }
    vqc_exec_type_like(&call->types[0], data);
    return VQC_OK;
}

static vqc_status run_scatter_elements(vqc_exec_call *call)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    const vqc_buffer *updates = call->inputs[2];
    vqc_buffer *out = call->outputs[0];
    vqc_view view = vqc_view_of(data);
    size_t at[VQC_EXEC_MAX_RANK] = {0};
    size_t axis;
    size_t row;
    reduction how;
    vqc_status status = find_reduction(call, &how);

    (void)vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 0), data->rank, &axis);
    copy_data(call);
    row = indices->elements == 0 ? 1 : (size_t)indices->dims[data->rank - 1];
    for (size_t i = 0; status == VQC_OK && i < indices->elements; i += row) {
        size_t base = 0; /* of this row, without the axis */

        for (size_t k = 0; k + 1 < data->rank; k++) {
            base += (k == axis ? 0 : at[k]) * (size_t)view.strides[k];
        }
        for (size_t j = 0; j < row; j++) {
            size_t index;

            if (!vqc_exec_index_at(indices, i + j, view.dims[axis], &index)) {
                return vqc_exec_bad_index(call, i + j, view.dims[axis]);
            }
            index = base + index * (size_t)view.strides[axis] + (axis + 1 == data->rank ? 0 : j);
            if (how == REDUCE_NONE) {
                vqc_exec_move(out->data + index * data->width,
                              updates->data + (i + j) * data->width, data->width);
                continue;
            }
            reduce_run(how, data->dtype, data->width, updates->data + (i + j) * data->width,
                       out->data + index * data->width, 1);
        }
        for (size_t k = data->rank - 1; k-- > 0;) {
            if (++at[k] < (size_t)indices->dims[k]) {
                break;
            }
            at[k] = 0;
        }
    }
    return status;
}

/* ---- ScatterND ---- */

static vqc_status shape_scatter_nd(vqc_exec_call *call)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    const vqc_buffer *updates = call->inputs[2];
    size_t tuple_rank = indices->rank - 1;
    size_t depth;
    reduction how;
    vqc_status status = vqc_exec_check_indices(call, indices, false);

    if (status == VQC_OK) {
        status = find_reduction(call, &how);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (indices->rank == 0 || indices->dims[tuple_rank] < 1 ||
        (uint64_t)indices->dims[tuple_rank] > data->rank) {
        return vqc_exec_fail(call, "indices: last axis must have 1 to %zu entries", data->rank);
    }
    depth = (size_t)indices->dims[tuple_rank];
    if (updates->dtype != data->dtype || updates->rank != tuple_rank + data->rank - depth) {
        return vqc_exec_fail(call, "updates: got %s of rank %zu, expected %s of rank %zu",
                             vqc_dtype_describe(updates->dtype)->name, updates->rank,
                             vqc_dtype_describe(data->dtype)->name,
                             tuple_rank + data->rank - depth);
    }
    for (size_t i = 0; i < updates->rank; i++) {
        if (updates->dims[i] !=
            (i < tuple_rank ? indices->dims[i] : data->dims[depth + i - tuple_rank])) {
            return vqc_exec_fail(call, "updates: axis %zu has %lld elements, which does not fit", i,
                                 (long long)updates->dims[i]);
        }
    }
    vqc_exec_type_like(&call->types[0], data);
    return VQC_OK;
}

static vqc_status run_scatter_nd(vqc_exec_call *call)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    const vqc_buffer *updates = call->inputs[2];
    vqc_buffer *out = call->outputs[0];
    size_t depth = (size_t)indices->dims[indices->rank - 1];
    size_t row = vqc_exec_product(data->dims, depth, data->rank);
    reduction how;
    vqc_status status = find_reduction(call, &how);

    copy_data(call);
    for (size_t t = 0; status == VQC_OK && t < indices->elements / depth; t++) {
        size_t place = 0;

        for (size_t k = 0; k < depth; k++) {
            size_t extent = (size_t)data->dims[k];
            size_t index;
            if (!vqc_exec_index_at(indices, t * depth + k, extent, &index)) {
                return vqc_exec_bad_index(call, t * depth + k, extent);
            }
            place = place * extent + index;
        }
        if (row > 0) {
            reduce_run(how, data->dtype, data->width, updates->data + t * row * data->width,
                       out->data + place * row * data->width, row);
        }
    }
    return status;
}

/* ---- TensorScatter: writes a piece of a sequence into each batch entry of a cache ---- */

typedef struct piece {
    size_t axis;
    bool circular;
} piece;

static vqc_status find_piece(vqc_exec_call *call, piece *out)
{
    static const char *const modes[] = {"linear", "circular"};
    size_t chosen;
    vqc_status status = vqc_exec_choice(call, "mode", modes, 2, &chosen);

    out->circular = chosen == 1;
    if (status == VQC_OK) {
        status = vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", -2),
                               call->inputs[0]->rank, &out->axis);
    }
    if (status == VQC_OK && out->axis == 0) {
        status = vqc_exec_fail(call, "axis: got 0, which is the batch");
    }
    return status;
}

static vqc_status shape_tensor_scatter(vqc_exec_call *call)
{
    const vqc_buffer *past = call->inputs[0];
    const vqc_buffer *update = call->inputs[1];
    const vqc_buffer *starts = vqc_exec_input(call, 2);
    piece p;
    vqc_status status = find_piece(call, &p);

    if (status != VQC_OK) {
        return status;
    }
    if (update->dtype != past->dtype || update->rank != past->rank ||
        (starts != NULL && (starts->rank != 1 || starts->dims[0] != past->dims[0]))) {
        return vqc_exec_fail(call, "update or write_indices: type or shape does not fit the cache");
    }
    for (size_t i = 0; i < past->rank; i++) {
        if (i == p.axis ? update->dims[i] > past->dims[i] : update->dims[i] != past->dims[i]) {
            return vqc_exec_fail(call, "update: axis %zu has %lld elements, which does not fit", i,
                                 (long long)update->dims[i]);
        }
    }
    for (size_t b = 0; starts != NULL && b < starts->elements; b++) {
        int64_t length = past->dims[p.axis];
        int64_t start;
        if (vqc_exec_check_indices(call, starts, false) != VQC_OK) {
            return VQC_ERR_MODEL;
        }
        start = vqc_element_int(starts->dtype, starts->data, b);
        if (start < 0 || (!p.circular && start > length - update->dims[p.axis])) {
            return vqc_exec_fail(call, "write_indices: got %lld for a cache of %lld",
                                 (long long)start, (long long)length);
        }
    }
    vqc_exec_type_like(&call->types[0], past);
    return VQC_OK;
}

static vqc_status run_tensor_scatter(vqc_exec_call *call)
{
    const vqc_buffer *past = call->inputs[0];
    const vqc_buffer *update = call->inputs[1];
    const vqc_buffer *starts = vqc_exec_input(call, 2);
    piece p;
    vqc_status status = find_piece(call, &p);
    size_t row;
    size_t outer;
    size_t steps;
    size_t length;

    copy_data(call);
    if (status != VQC_OK || update->elements == 0) {
        return status;
    }
    row = vqc_exec_product(past->dims, p.axis + 1, past->rank) * past->width;
    outer = vqc_exec_product(past->dims, 1, p.axis);
    steps = (size_t)update->dims[p.axis];
    length = (size_t)past->dims[p.axis];
    for (size_t b = 0; b < (size_t)past->dims[0]; b++) {
        size_t start = starts == NULL ? 0 : (size_t)vqc_element_int(starts->dtype, starts->data, b);
        for (size_t o = b * outer; o < (b + 1) * outer; o++) {
            for (size_t t = 0; t < steps; t++) {
                memcpy(call->outputs[0]->data + (o * length + (start % length + t) % length) * row,
                       update->data + (o * steps + t) * row, row);
            }
        }
    }
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("Scatter", "", 9, 3, shape_scatter_elements, run_scatter_elements,
                 .in_place = true),
    VQC_EXEC_ROW("ScatterElements", "", 11, 3, shape_scatter_elements, run_scatter_elements,
                 .in_place = true),
    VQC_EXEC_ROW("ScatterND", "", 11, 3, shape_scatter_nd, run_scatter_nd, .in_place = true),
    VQC_EXEC_ROW("TensorScatter", "", 24, 2, shape_tensor_scatter, run_tensor_scatter,
                 .in_place = true),
};

const vqc_exec_family vqc_exec_ops_scatter = {OPS, sizeof OPS / sizeof OPS[0]};
