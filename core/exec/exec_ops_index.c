/* Operators that read or write elements by index. */
#include <string.h>

#include "core/exec/exec_index.h"
#include "core/exec/exec_op.h"
#include "core/graph.h"

/* ---- Gather ---- */

static vqc_status shape_gather(vqc_exec_call *call)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    vqc_exec_type *type = &call->types[0];
    size_t axis;
    vqc_status status = vqc_exec_check_indices(call, call->inputs[1], true);

    if (status == VQC_OK) {
        status = vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 0), data->rank, &axis);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (data->rank + indices->rank - 1 > VQC_EXEC_MAX_RANK) {
        return vqc_exec_fail(call, "got a result of rank %zu, expected at most %d",
                             data->rank + indices->rank - 1, VQC_EXEC_MAX_RANK);
    }
    type->dtype = data->dtype;
    type->rank = 0;
    for (size_t i = 0; i < data->rank; i++) {
        if (i != axis) {
            type->dims[type->rank++] = data->dims[i];
            continue;
        }
        for (size_t k = 0; k < indices->rank; k++) {
            type->dims[type->rank++] = indices->dims[k];
        }
    }
    return VQC_OK;
}

static vqc_status run_gather(vqc_exec_call *call)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    vqc_buffer *out = call->outputs[0];
    unsigned char *target = out->data;
    size_t axis;
    size_t extent;
    size_t outer;
    size_t row;

    (void)vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 0), data->rank, &axis);
    extent = (size_t)data->dims[axis];
    outer = vqc_exec_product(data->dims, 0, axis);
    row = vqc_exec_product(data->dims, axis + 1, data->rank) * data->width;
    for (size_t o = 0; o < outer && out->elements > 0; o++) {
        const unsigned char *base = data->data + o * extent * row;
        for (size_t i = 0; i < indices->elements; i++, target += row) {
            size_t index;
            if (!vqc_exec_index_at(indices, i, extent, &index)) {
                return vqc_exec_bad_index(call, i, extent);
            }
            if (row == 4) { /* a scalar float32 codebook: the compiler makes it one move */
                memcpy(target, base + index * 4, 4);
            } else {
                memcpy(target, base + index * row, row);
            }
        }
    }
    return VQC_OK;
}

/* ---- GatherElements ---- */

static vqc_status shape_gather_elements(vqc_exec_call *call)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    size_t axis;
    vqc_status status = vqc_exec_check_indices(call, call->inputs[1], true);

    if (status == VQC_OK) {
        status = vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 0), data->rank, &axis);
    }
    if (status != VQC_OK) {
        return status;
    }
    for (size_t i = 0; i < data->rank; i++) {
        if (indices->rank != data->rank || (i != axis && indices->dims[i] > data->dims[i])) {
            return vqc_exec_fail(call, "indices: shape does not lie within the data's");
        }
    }
    vqc_exec_type_like(&call->types[0], indices);
    call->types[0].dtype = data->dtype;
    return VQC_OK;
}

static vqc_status run_gather_elements(vqc_exec_call *call)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    vqc_buffer *out = call->outputs[0];
    vqc_view view = vqc_view_of(data);
    size_t at[VQC_EXEC_MAX_RANK] = {0};
    size_t axis;
    size_t row;

    (void)vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 0), data->rank, &axis);
    row = out->elements == 0 ? 1 : (size_t)out->dims[data->rank - 1];
    for (size_t i = 0; i < out->elements; i += row) {
        const unsigned char *base = data->data; /* of this row, without the axis */

        for (size_t k = 0; k + 1 < data->rank; k++) {
            base += (k == axis ? 0 : at[k]) * (size_t)view.strides[k] * data->width;
        }
        for (size_t j = 0; j < row; j++) {
            size_t index;

            if (!vqc_exec_index_at(indices, i + j, view.dims[axis], &index)) {
                return vqc_exec_bad_index(call, i + j, view.dims[axis]);
            }
            index = index * (size_t)view.strides[axis] + (axis + 1 == data->rank ? 0 : j);
            vqc_exec_move(out->data + (i + j) * out->width, base + index * out->width, out->width);
        }
        for (size_t k = data->rank - 1; k-- > 0;) {
            if (++at[k] < (size_t)out->dims[k]) {
                break;
            }
            at[k] = 0;
        }
    }
    return VQC_OK;
}

/* ---- GatherND ---- */

/* Checks the index tuples; *depth = coordinates per tuple, behind `batch` leading axes. */
static vqc_status check_nd(vqc_exec_call *call, size_t batch, size_t *depth)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    vqc_status status = vqc_exec_check_indices(call, call->inputs[1], false);

    if (status != VQC_OK) {
        return status;
    }
    if (indices->rank == 0 || batch >= indices->rank || batch >= data->rank ||
        (uint64_t)indices->dims[indices->rank - 1] > data->rank - batch ||
        indices->dims[indices->rank - 1] < 1) {
        return vqc_exec_fail(call, "indices: last axis must have 1 to %zu entries",
                             data->rank > batch ? data->rank - batch : 0);
    }
    for (size_t i = 0; i < batch; i++) {
        if (indices->dims[i] != data->dims[i]) {
            return vqc_exec_fail(call, "batch axis %zu: data and indices differ", i);
        }
    }
    *depth = (size_t)indices->dims[indices->rank - 1];
    return VQC_OK;
}

/* Place of tuple `tuple` within one batch of the data, in rows of the trailing axes. */
static bool nd_row(const vqc_exec_call *call, size_t batch, size_t depth, size_t tuple, size_t *row)
{
    const vqc_buffer *data = call->inputs[0];

    *row = 0;
    for (size_t k = 0; k < depth; k++) {
        size_t extent = (size_t)data->dims[batch + k];
        size_t index;
        if (!vqc_exec_index_at(call->inputs[1], tuple * depth + k, extent, &index)) {
            return false;
        }
        *row = *row * extent + index;
    }
    return true;
}

static vqc_status shape_gather_nd(vqc_exec_call *call)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    vqc_exec_type *type = &call->types[0];
    int64_t batch = vqc_node_attr_int(call->node, "batch_dims", 0);
    size_t depth = 0;
    vqc_status status;

    if (batch < 0 || batch > VQC_EXEC_MAX_RANK) {
        return vqc_exec_fail(call, "batch_dims: got %lld", (long long)batch);
    }
    status = check_nd(call, (size_t)batch, &depth);
    if (status != VQC_OK) {
        return status;
    }
    type->dtype = data->dtype;
    type->rank = 0;
    for (size_t i = 0; i + 1 < indices->rank; i++) {
        type->dims[type->rank++] = indices->dims[i];
    }
    for (size_t i = (size_t)batch + depth; i < data->rank; i++) {
        if (type->rank == VQC_EXEC_MAX_RANK) {
            return vqc_exec_fail(call, "got a result of too high a rank");
        }
        type->dims[type->rank++] = data->dims[i];
    }
    return VQC_OK;
}

static vqc_status run_gather_nd(vqc_exec_call *call)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    vqc_buffer *out = call->outputs[0];
    size_t batch = (size_t)vqc_node_attr_int(call->node, "batch_dims", 0);
    size_t depth = (size_t)indices->dims[indices->rank - 1];
    size_t row_bytes = vqc_exec_product(data->dims, batch + depth, data->rank) * data->width;
    size_t batches = vqc_exec_product(data->dims, 0, batch);
    size_t batch_bytes = vqc_exec_product(data->dims, batch, data->rank) * data->width;
    size_t tuples = indices->elements / depth;

    for (size_t t = 0; t < tuples && out->elements > 0; t++) {
        size_t row;
        if (!nd_row(call, batch, depth, t, &row)) {
            return vqc_exec_bad_index(call, t * depth, data->elements);
        }
        memcpy(out->data + t * row_bytes,
               data->data + t / (tuples / batches) * batch_bytes + row * row_bytes, row_bytes);
    }
    return VQC_OK;
}

/* ---- CumSum, CumProd ---- */

static vqc_status shape_cumsum(vqc_exec_call *call)
{
    int64_t axis;
    size_t count;
    size_t index;
    vqc_class class = vqc_class_of(call->inputs[0]->dtype);
    vqc_status status = vqc_exec_ints(call, call->inputs[1], &axis, 1, &count);

    if (status != VQC_OK) {
        return status;
    }
    if (count != 1 || class == VQC_CLASS_NONE) {
        return vqc_exec_fail(call, "expected numbers and one axis");
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    return vqc_exec_axis(call, axis, call->inputs[0]->rank, &index);
}

/* A line along the axis and what becomes of it. */
typedef struct running {
    size_t stride;
    size_t count;
    bool product;
    bool exclusive;
    bool reverse;
} running;

/* values [n] become running sums or products; *sum [class] goes on from chunk to chunk. */
#define SCAN(field, zero_add)                                                                      \
    for (size_t i = 0; i < n; i++) {                                                               \
        size_t at = line->reverse ? n - 1 - i : i;                                                 \
        zero_add before = sum->field[0];                                                           \
        zero_add after = line->product ? before * values->field[at] : before + values->field[at];  \
        values->field[at] = line->exclusive ? before : after;                                      \
        sum->field[0] = after;                                                                     \
    }

static void scan_chunk(const running *line, vqc_class class, vqc_chunk *values, size_t n,
                       vqc_chunk *sum)
{
    if (class == VQC_CLASS_F32) {
        SCAN(f32, float)
    } else if (class == VQC_CLASS_F64) {
        SCAN(f64, double)
    } else {
        SCAN(u64, uint64_t)
    }
}

/* One line, in chunks; small floats are summed in float32 and rounded when stored. */
static void run_line(const vqc_buffer *in, vqc_buffer *out, size_t start, const running *line)
{
    vqc_class class = vqc_class_of(in->dtype);
    size_t width = in->width;
    size_t step = line->stride * width;
    unsigned char together[VQC_EXEC_CHUNK * 8];
    vqc_chunk sum = {.i64 = {line->product ? 1 : 0}};
    vqc_chunk values;

    vqc_element_convert(&sum, VQC_CLASS_I64, class, 1);
    for (size_t done = 0; done < line->count; done += VQC_EXEC_CHUNK) {
        size_t left = line->count - done;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;
        size_t first = start * width + (line->reverse ? left - n : done) * step;
        bool dense = line->stride == 1;

        for (size_t i = 0; !dense && i < n; i++) { /* numbers have at most 8 bytes */
            memcpy(together + i * width, in->data + first + i * step, width);
        }
        vqc_element_load(in->dtype, dense ? in->data + first : together, n, &values);
        scan_chunk(line, class, &values, n, &sum);
        vqc_element_store(out->dtype, class, &values, n, NULL,
                          dense ? out->data + first : together);
        for (size_t i = 0; !dense && i < n; i++) {
            memcpy(out->data + first + i * step, together + i * width, width);
        }
    }
}

static vqc_status run_cumsum(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    running line = {.product = strcmp(call->op, "CumProd") == 0,
                    .exclusive = vqc_node_attr_int(call->node, "exclusive", 0) != 0,
                    .reverse = vqc_node_attr_int(call->node, "reverse", 0) != 0};
    size_t axis;

    (void)vqc_exec_axis(call, vqc_element_int(call->inputs[1]->dtype, call->inputs[1]->data, 0),
                        in->rank, &axis);
    line.count = (size_t)in->dims[axis];
    line.stride = vqc_exec_product(in->dims, axis + 1, in->rank);
    for (size_t o = 0; in->elements > 0 && o < vqc_exec_product(in->dims, 0, axis); o++) {
        for (size_t k = 0; k < line.stride; k++) {
            run_line(in, call->outputs[0], o * line.count * line.stride + k, &line);
        }
    }
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("Gather", "", 1, 2, shape_gather, run_gather, .detail = NULL),
    VQC_EXEC_ROW("GatherElements", "", 11, 2, shape_gather_elements, run_gather_elements,
                 .detail = NULL),
    VQC_EXEC_ROW("GatherND", "", 11, 2, shape_gather_nd, run_gather_nd, .detail = NULL),
    VQC_EXEC_ROW("CumSum", "", 11, 2, shape_cumsum, run_cumsum, .in_place = true),
    VQC_EXEC_ROW("CumProd", "", 26, 2, shape_cumsum, run_cumsum, .in_place = true),
};

const vqc_exec_family vqc_exec_ops_index = {OPS, sizeof OPS / sizeof OPS[0]};
