/* Operators that rearrange elements without computing with them. */
#include <string.h>

#include "core/exec/exec_index.h"
#include "core/exec/exec_op.h"
#include "core/graph.h"

/* ---- same data, other dims ---- */

static vqc_status shape_reshape(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_exec_type *type = &call->types[0];
    bool allow_zero = vqc_node_attr_int(call->node, "allowzero", 0) != 0;
    int64_t known = 1;
    size_t unknown = SIZE_MAX;
    bool given;
    vqc_status status =
        vqc_exec_ints_of(call, "shape", 1, type->dims, VQC_EXEC_MAX_RANK, &type->rank, &given);

    if (status != VQC_OK || !given) {
        return status != VQC_OK ? status : vqc_exec_fail(call, "got no shape");
    }
    type->dtype = in->dtype;
    type->alias = true;
    for (size_t i = 0; i < type->rank; i++) {
        if (type->dims[i] == 0 && !allow_zero) {
            if (i >= in->rank) {
                return vqc_exec_fail(call, "shape: got 0 for axis %zu, which the input lacks", i);
            }
            type->dims[i] = in->dims[i];
        }
        if (type->dims[i] == -1 && unknown == SIZE_MAX) {
            unknown = i;
        } else if (type->dims[i] < 0 || __builtin_mul_overflow(known, type->dims[i], &known)) {
            return vqc_exec_fail(call, "shape: got %lld for axis %zu", (long long)type->dims[i], i);
        }
    }
    if (unknown != SIZE_MAX) {
        type->dims[unknown] = known > 0 ? (int64_t)in->elements / known : 0;
        known *= type->dims[unknown];
    }
    if ((uint64_t)known != in->elements) {
        return vqc_exec_fail(call, "shape: got one of %lld elements, expected %zu",
                             (long long)known, in->elements);
    }
    return VQC_OK;
}

static vqc_status shape_flatten(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_exec_type *type = &call->types[0];
    int64_t axis = vqc_node_attr_int(call->node, "axis", 1);

    axis += axis < 0 ? (int64_t)in->rank : 0;
    if (axis < 0 || (uint64_t)axis > in->rank) {
        return vqc_exec_fail(call, "axis: got %lld for rank %zu", (long long)axis, in->rank);
    }
    type->dtype = in->dtype;
    type->alias = true;
    type->rank = 2;
    type->dims[0] = type->dims[1] = 1;
    for (size_t i = 0; i < in->rank; i++) {
        type->dims[i >= (size_t)axis] *= in->dims[i];
    }
    return VQC_OK;
}

/* Marks the axes of Squeeze and Unsqueeze; *given as in vqc_exec_ints_of. */
static vqc_status mark_axes(vqc_exec_call *call, size_t rank, bool *marked, size_t *count,
                            bool *given)
{
    int64_t axes[VQC_EXEC_MAX_RANK];
    vqc_status status = vqc_exec_ints_of(call, "axes", 1, axes, VQC_EXEC_MAX_RANK, count, given);

    if (status == VQC_OK && *given && rank == SIZE_MAX) {
        rank = call->inputs[0]->rank + *count; /* Unsqueeze: rank of the result */
    }
    for (size_t i = 0; status == VQC_OK && *given && i < *count; i++) {
        size_t axis;
        if (rank > VQC_EXEC_MAX_RANK) {
            return vqc_exec_fail(call, "got a result of rank %zu, expected at most %d", rank,
                                 VQC_EXEC_MAX_RANK);
        }
        status = vqc_exec_axis(call, axes[i], rank, &axis);
        if (status == VQC_OK && marked[axis]) {
            status = vqc_exec_fail(call, "axes: got axis %zu twice", axis);
        }
        if (status == VQC_OK) {
            marked[axis] = true;
        }
    }
    return status;
}

static vqc_status shape_squeeze(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_exec_type *type = &call->types[0];
    bool marked[VQC_EXEC_MAX_RANK] = {false};
    size_t count = 0;
    bool given;
    vqc_status status = mark_axes(call, in->rank, marked, &count, &given);

    if (status != VQC_OK) {
        return status;
    }
    type->dtype = in->dtype;
    type->alias = true;
    type->rank = 0;
    for (size_t i = 0; i < in->rank; i++) {
        if (given && marked[i] && in->dims[i] != 1) {
            return vqc_exec_fail(call, "axes: axis %zu has %lld elements, expected 1", i,
                                 (long long)in->dims[i]);
        }
        if (given ? !marked[i] : in->dims[i] != 1) {
            type->dims[type->rank++] = in->dims[i];
        }
    }
    return VQC_OK;
}

static vqc_status shape_unsqueeze(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_exec_type *type = &call->types[0];
    bool marked[VQC_EXEC_MAX_RANK] = {false};
    size_t count = 0;
    size_t next = 0;
    bool given;
    vqc_status status = mark_axes(call, SIZE_MAX, marked, &count, &given);

    if (status != VQC_OK || !given) {
        return status != VQC_OK ? status : vqc_exec_fail(call, "got no axes");
    }
    type->dtype = in->dtype;
    type->alias = true;
    type->rank = in->rank + count;
    for (size_t i = 0; i < type->rank; i++) {
        type->dims[i] = marked[i] ? 1 : in->dims[next++];
    }
    return VQC_OK;
}

/* ---- strided copies: the shape rule and the run share the view ---- */

static vqc_status transpose_view(vqc_exec_call *call, vqc_view *view)
{
    vqc_view in = vqc_view_of(call->inputs[0]);
    int64_t perm[VQC_EXEC_MAX_RANK];
    size_t count = 0;
    bool given;
    unsigned seen = 0;
    vqc_status status =
        vqc_exec_ints_of(call, "perm", SIZE_MAX, perm, VQC_EXEC_MAX_RANK, &count, &given);

    if (status != VQC_OK) {
        return status;
    }
    if (given && count != in.rank) {
        return vqc_exec_fail(call, "perm: got %zu axes, expected %zu", count, in.rank);
    }
    *view = in;
    for (size_t i = 0; i < in.rank; i++) {
        size_t from = in.rank - 1 - i;
        if (given) {
            status = vqc_exec_axis(call, perm[i], in.rank, &from);
        }
        if (status != VQC_OK) {
            return status;
        }
        seen |= 1u << from;
        view->dims[i] = in.dims[from];
        view->strides[i] = in.strides[from];
    }
    return seen == (1u << in.rank) - 1 ? VQC_OK
                                       : vqc_exec_fail(call, "perm: got an axis more than once");
}

static vqc_status expand_view(vqc_exec_call *call, vqc_view *view)
{
    const vqc_buffer *in = call->inputs[0];
    int64_t shape[VQC_EXEC_MAX_RANK];
    int64_t dims[VQC_EXEC_MAX_RANK];
    size_t count;
    size_t rank = in->rank;
    size_t elements;
    size_t size_bytes;
    vqc_status status = vqc_exec_ints(call, call->inputs[1], shape, VQC_EXEC_MAX_RANK, &count);

    if (status != VQC_OK) {
        return status;
    }
    memcpy(dims, in->dims, sizeof dims);
    if (!vqc_broadcast_dims(dims, &rank, shape, count) ||
        !vqc_exec_sizes(dims, rank, in->width, &elements, &size_bytes) ||
        !vqc_view_broadcast(in, dims, rank, view)) {
        return vqc_exec_fail(call, "shape: does not broadcast with the input");
    }
    return VQC_OK;
}

/* Bounds of one axis after ONNX's clamping: count elements from `start` on, `step` apart. */
static void slice_axis(int64_t dim, int64_t start, int64_t end, int64_t step, int64_t *first,
                       int64_t *count)
{
    /* negative bounds count from the end, then both are clamped: forwards to [0, dim], backwards
     * the start to [0, dim - 1] and the end to [-1, dim - 1] */
    int64_t low = step > 0 ? 0 : -1;
    int64_t high = step > 0 ? dim : dim - 1;

    start = start < -dim ? low : start < 0 ? start + dim : start;
    start = start < 0 ? 0 : start > high ? high : start;
    end = end < -dim ? low : end < 0 ? end + dim : end;
    end = end < low ? low : end > high ? high : end;
    *first = start;
    *count = 0;
    if (step > 0 && end > start) {
        *count = (end - start - 1) / step + 1;
    } else if (step < 0 && start > end) {
        /* the distance is at most dim: no overflow; -step may be 2^63: compare instead */
        *count = step == INT64_MIN ? 1 : (start - end - 1) / -step + 1;
    }
}

static vqc_status slice_view(vqc_exec_call *call, vqc_view *view)
{
    const vqc_buffer *in = call->inputs[0];
    int64_t lists[4][VQC_EXEC_MAX_RANK]; /* starts, ends, axes, steps */
    static const char *const names[] = {"starts", "ends", "axes", "steps"};
    size_t counts[4] = {0};
    bool given[4];
    ptrdiff_t offset = 0;
    unsigned seen = 0;

    *view = vqc_view_of(in);
    for (size_t i = 0; i < 4; i++) {
        vqc_status status = vqc_exec_ints_of(call, names[i], i + 1, lists[i], VQC_EXEC_MAX_RANK,
                                             &counts[i], &given[i]);
        if (status != VQC_OK) {
            return status;
        }
        if ((i < 2 && !given[i]) || (given[i] && counts[i] != counts[0])) {
            return vqc_exec_fail(call, "%s: got %zu values, expected %zu", names[i], counts[i],
                                 counts[0]);
        }
    }
    for (size_t i = 0; i < counts[0]; i++) {
        int64_t step = given[3] ? lists[3][i] : 1;
        int64_t first;
        int64_t count;
        size_t axis;

        if (vqc_exec_axis(call, given[2] ? lists[2][i] : (int64_t)i, in->rank, &axis) != VQC_OK) {
            return VQC_ERR_MODEL;
        }
        if (step == 0 || (seen >> axis & 1) != 0) {
            return vqc_exec_fail(call, "got a step of 0 or axis %zu twice", axis);
        }
        seen |= 1u << axis;
        slice_axis(in->dims[axis], lists[0][i], lists[1][i], step, &first, &count);
        offset += count > 0 ? (ptrdiff_t)first * view->strides[axis] : 0;
        view->dims[axis] = (size_t)count;
        /* one element has no next one: an enormous step must not overflow the stride */
        view->strides[axis] = count > 1 ? view->strides[axis] * (ptrdiff_t)step : 0;
    }
    view->data = in->elements == 0 ? in->data : in->data + offset * (ptrdiff_t)in->width;
    return VQC_OK;
}

typedef vqc_status view_fn(vqc_exec_call *call, vqc_view *view);
typedef struct view_detail {
    view_fn *view;
} view_detail;

static const view_detail DETAIL_TRANSPOSE = {transpose_view};
static const view_detail DETAIL_EXPAND = {expand_view};
static const view_detail DETAIL_SLICE = {slice_view};

static vqc_status shape_view(vqc_exec_call *call)
{
    const view_detail *detail = call->detail;
    vqc_exec_type *type = &call->types[0];
    vqc_view view;
    vqc_status status = detail->view(call, &view);

    if (status != VQC_OK) {
        return status;
    }
    type->dtype = call->inputs[0]->dtype;
    type->rank = view.rank;
    for (size_t i = 0; i < view.rank; i++) {
        type->dims[i] = (int64_t)view.dims[i];
    }
    return VQC_OK;
}

static vqc_status run_view(vqc_exec_call *call)
{
    const view_detail *detail = call->detail;
    vqc_view view;
    vqc_status status = detail->view(call, &view);

    if (status == VQC_OK) {
        vqc_view_copy_threads(&view, call->outputs[0]->elements, call->outputs[0]->data,
                              call->threads);
    }
    return status;
}

/* ---- Concat, Split ---- */

/* Elements from axis `from` on, up to axis `to`. */
static size_t dims_product(const vqc_buffer *buffer, size_t from, size_t to)
{
    size_t product = 1;

    for (size_t i = from; i < to; i++) {
        product *= (size_t)buffer->dims[i];
    }
    return product;
}

static vqc_status shape_concat(vqc_exec_call *call)
{
    const vqc_buffer *first = call->inputs[0];
    vqc_exec_type *type = &call->types[0];
    size_t axis;

    if (vqc_node_attr(call->node, "axis") == NULL && call->opset >= 4) {
        return vqc_exec_fail(call, "attribute \"axis\" is missing");
    }
    if (vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 1), first->rank, &axis) !=
        VQC_OK) {
        return VQC_ERR_MODEL;
    }
    vqc_exec_type_like(type, first);
    for (size_t i = 1; i < call->input_count; i++) {
        const vqc_buffer *input = call->inputs[i];
        if (input == NULL || input->dtype != first->dtype || input->rank != first->rank) {
            return vqc_exec_fail(call, "input %zu: expected type and rank of input 0", i);
        }
        for (size_t k = 0; k < first->rank; k++) {
            if (k == axis) {
                type->dims[k] += input->dims[k]; /* sums of sizes that fit into memory */
            } else if (input->dims[k] != first->dims[k]) {
                return vqc_exec_fail(call, "input %zu: axis %zu has %lld elements, expected %lld",
                                     i, k, (long long)input->dims[k], (long long)first->dims[k]);
            }
        }
    }
    return VQC_OK;
}

static vqc_status run_concat(vqc_exec_call *call)
{
    vqc_buffer *out = call->outputs[0];
    size_t axis;
    size_t offset = 0;
    size_t outer;
    size_t out_row;

    (void)vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 1), out->rank, &axis);
    outer = dims_product(out, 0, axis);
    out_row = out->elements == 0 ? 0 : out->elements / outer * out->width;
    for (size_t i = 0; i < call->input_count && out->elements > 0; i++) {
        const vqc_buffer *input = call->inputs[i];
        size_t row = input->elements / outer * out->width;

        vqc_copy_rows(out->data + offset, out_row, input->data, (ptrdiff_t)row, outer, row);
        offset += row;
    }
    return VQC_OK;
}

static vqc_status shape_split(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    int64_t sizes[VQC_EXEC_MAX_OUTPUTS];
    size_t count = 0;
    size_t axis;
    bool given;
    int64_t total = 0;
    int64_t part;
    vqc_status status =
        vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 0), in->rank, &axis);

    if (status == VQC_OK) {
        status = vqc_exec_ints_of(call, "split", 1, sizes, VQC_EXEC_MAX_OUTPUTS, &count, &given);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (!given && call->opset < 18 && in->dims[axis] % (int64_t)call->output_count != 0) {
        return vqc_exec_fail(call, "got %lld elements for %zu equal parts",
                             (long long)in->dims[axis], call->output_count);
    }
    if (call->opset >= 18 && vqc_node_attr(call->node, "num_outputs") != NULL &&
        (given || vqc_node_attr_int(call->node, "num_outputs", 0) != (int64_t)call->output_count)) {
        return vqc_exec_fail(call, "num_outputs: got %lld for %zu outputs%s",
                             (long long)vqc_node_attr_int(call->node, "num_outputs", 0),
                             call->output_count, given ? " and sizes too" : "");
    }
    /* equal parts; since 18 the last may be smaller */
    part = (in->dims[axis] + (int64_t)call->output_count - 1) / (int64_t)call->output_count;
    for (size_t i = 0; i < call->output_count; i++) {
        int64_t left = in->dims[axis] - total;
        int64_t size = given && i < count ? sizes[i] : left < part ? left : part;

        if (size < 0 || size > left) {
            return vqc_exec_fail(call, "split: got sizes that do not add up to %lld",
                                 (long long)in->dims[axis]);
        }
        vqc_exec_type_like(&call->types[i], in);
        call->types[i].dims[axis] = size;
        total += size;
    }
    if (total != in->dims[axis] || (given && count != call->output_count)) {
        return vqc_exec_fail(call, "split: got sizes that do not add up to %lld",
                             (long long)in->dims[axis]);
    }
    return VQC_OK;
}

static vqc_status run_split(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    size_t axis;
    size_t offset = 0;
    size_t outer;
    size_t in_row;

    (void)vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 0), in->rank, &axis);
    outer = dims_product(in, 0, axis);
    in_row = in->elements == 0 ? 0 : in->elements / outer * in->width;
    for (size_t i = 0; i < call->output_count && in->elements > 0; i++) {
        vqc_buffer *out = call->outputs[i];
        size_t row = out->elements / outer * out->width;

        vqc_copy_rows(out->data, row, in->data + offset, (ptrdiff_t)in_row, outer, row);
        offset += row;
    }
    return VQC_OK;
}

/* ---- Tile, DepthToSpace ---- */

static vqc_status shape_tile(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_exec_type *type = &call->types[0];
    int64_t repeats[VQC_EXEC_MAX_RANK];
    size_t count;
    vqc_status status = vqc_exec_ints(call, call->inputs[1], repeats, VQC_EXEC_MAX_RANK, &count);

    if (status != VQC_OK) {
        return status;
    }
    vqc_exec_type_like(type, in);
    for (size_t i = 0; i < in->rank; i++) {
        if (count != in->rank || repeats[i] < 0 ||
            __builtin_mul_overflow(type->dims[i], repeats[i], &type->dims[i])) {
            return vqc_exec_fail(call, "repeats: expected one count per axis");
        }
    }
    return VQC_OK;
}

/* Output rows are input rows repeated; the row above tells which one. */
static vqc_status run_tile(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    vqc_view view = vqc_view_of(in);
    size_t row = in->rank == 0 ? 1 : (size_t)in->dims[in->rank - 1];
    size_t index[VQC_EXEC_MAX_RANK] = {0};
    size_t repeat = in->rank == 0 ? 1 : (size_t)out->dims[in->rank - 1] / (row == 0 ? 1 : row);

    for (size_t at = 0; at < out->elements;) {
        const unsigned char *from = in->data;
        for (size_t i = 0; i + 1 < in->rank; i++) {
            from += (ptrdiff_t)(index[i] % view.dims[i]) * view.strides[i] * (ptrdiff_t)in->width;
        }
        for (size_t r = 0; r < repeat; r++, at += row) {
            memcpy(out->data + at * out->width, from, row * out->width);
        }
        for (size_t i = in->rank > 0 ? in->rank - 1 : 0; i-- > 0;) {
            if (++index[i] < (size_t)out->dims[i]) {
                break;
            }
            index[i] = 0;
        }
    }
    return VQC_OK;
}

/* Attribute "mode": 0 DCR, 1 CRD. */
static vqc_status find_mode(vqc_exec_call *call, size_t *crd)
{
    static const char *const modes[] = {"DCR", "CRD"};

    return vqc_exec_choice(call, "mode", modes, 2, crd);
}

static vqc_status shape_depth_to_space(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_exec_type *type = &call->types[0];
    int64_t block = vqc_node_attr_int(call->node, "blocksize", 0);
    size_t crd;

    if (find_mode(call, &crd) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (in->rank != 4 || block < 1 || block > INT32_MAX || in->dims[1] % (block * block) != 0) {
        return vqc_exec_fail(call, "expected [N, C, H, W] with C a multiple of blocksize squared");
    }
    vqc_exec_type_like(type, in);
    type->dims[1] /= block * block;
    if (__builtin_mul_overflow(type->dims[2], block, &type->dims[2]) ||
        __builtin_mul_overflow(type->dims[3], block, &type->dims[3])) {
        return vqc_exec_fail(call, "blocksize: got %lld", (long long)block);
    }
    return VQC_OK;
}

/* A transposed copy of [N, b, b, C', H, W] (DCR) or [N, C', b, b, H, W] (CRD). */
static vqc_status run_depth_to_space(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    size_t mode;
    bool crd = find_mode(call, &mode) == VQC_OK && mode == 1; /* the shape rule checked it */
    size_t b = (size_t)vqc_node_attr_int(call->node, "blocksize", 0);
    size_t n = (size_t)in->dims[0];
    size_t c = (size_t)in->dims[1] / (b * b);
    size_t h = (size_t)in->dims[2];
    size_t w = (size_t)in->dims[3];
    ptrdiff_t plane = (ptrdiff_t)(h * w);
    ptrdiff_t small = crd ? plane : plane * (ptrdiff_t)c;
    vqc_view view = {in->data,
                     in->width,
                     6,
                     {n, c, h, b, w, b},
                     {(ptrdiff_t)(b * b * c) * plane, crd ? plane * (ptrdiff_t)(b * b) : plane,
                      (ptrdiff_t)w, small * (ptrdiff_t)b, 1, small}};

    vqc_view_copy_threads(&view, call->outputs[0]->elements, call->outputs[0]->data, call->threads);
    return VQC_OK;
}

static vqc_status shape_space_to_depth(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_exec_type *type = &call->types[0];
    int64_t block = vqc_node_attr_int(call->node, "blocksize", 0);
    size_t crd;

    if (find_mode(call, &crd) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (in->rank != 4 || block < 1 || block > INT32_MAX || in->dims[2] % block != 0 ||
        in->dims[3] % block != 0) {
        return vqc_exec_fail(call, "expected [N, C, H, W] with H and W multiples of blocksize");
    }
    vqc_exec_type_like(type, in);
    type->dims[2] /= block;
    type->dims[3] /= block;
    if (__builtin_mul_overflow(type->dims[1], block * block, &type->dims[1])) {
        return vqc_exec_fail(call, "blocksize: got %lld", (long long)block);
    }
    return VQC_OK;
}

/* A transposed copy of [N, C, H', b, W', b] as [N, b, b, C, H', W'] (DCR, all that versions before
 * 28 have) or [N, C, b, b, H', W'] (CRD). */
static vqc_status run_space_to_depth(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    size_t mode;
    bool crd = find_mode(call, &mode) == VQC_OK && mode == 1;
    size_t b = (size_t)vqc_node_attr_int(call->node, "blocksize", 0);
    size_t n = (size_t)in->dims[0];
    size_t c = (size_t)in->dims[1];
    size_t h = (size_t)in->dims[2];
    size_t w = (size_t)in->dims[3];
    ptrdiff_t plane = (ptrdiff_t)(h * w);
    vqc_view view = {
        in->data,
        in->width,
        6,
        {n, b, b, c, h / b, w / b},
        {(ptrdiff_t)c * plane, (ptrdiff_t)w, 1, plane, (ptrdiff_t)(b * w), (ptrdiff_t)b}};

    if (crd) { /* the channel axis before the two block axes */
        view.dims[1] = c;
        view.dims[3] = b;
        view.strides[1] = plane;
        view.strides[2] = (ptrdiff_t)w;
        view.strides[3] = 1;
    }
    vqc_view_copy_threads(&view, call->outputs[0]->elements, call->outputs[0]->data, call->threads);
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("Reshape", "", 1, 1, shape_reshape, NULL, .detail = NULL),
    VQC_EXEC_ROW("Flatten", "", 1, 1, shape_flatten, NULL, .detail = NULL),
    VQC_EXEC_ROW("Squeeze", "", 1, 1, shape_squeeze, NULL, .detail = NULL),
    VQC_EXEC_ROW("Unsqueeze", "", 1, 1, shape_unsqueeze, NULL, .detail = NULL),
    VQC_EXEC_ROW("Transpose", "", 1, 1, shape_view, run_view, .detail = &DETAIL_TRANSPOSE),
    VQC_EXEC_ROW("Expand", "", 8, 2, shape_view, run_view, .detail = &DETAIL_EXPAND),
    VQC_EXEC_ROW("Slice", "", 1, 1, shape_view, run_view, .detail = &DETAIL_SLICE),
    VQC_EXEC_ROW("Concat", "", 1, 1, shape_concat, run_concat, .detail = NULL),
    VQC_EXEC_ROW("Split", "", 2, 1, shape_split, run_split, .detail = NULL),
    VQC_EXEC_ROW("Tile", "", 6, 2, shape_tile, run_tile, .detail = NULL),
    VQC_EXEC_ROW("DepthToSpace", "", 1, 1, shape_depth_to_space, run_depth_to_space,
                 .detail = NULL),
    VQC_EXEC_ROW("SpaceToDepth", "", 1, 1, shape_space_to_depth, run_space_to_depth,
                 .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_shape = {OPS, sizeof OPS / sizeof OPS[0]};
