/* Pooling operators over any number of spatial axes. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_pool.h"
#include "core/exec/exec_values.h"
#include "core/graph.h"
#include "core/memory.h"

static const vqc_pool_kind KINDS[] = {VQC_POOL_MAX, VQC_POOL_AVERAGE, VQC_POOL_LP};

enum { LARGEST_SIDE = 1 << 30 }; /* of kernels, strides, pads: products stay below 2^62 */

/* `count` integers of attribute `name` within [least, LARGEST_SIDE], or `fallback` everywhere. */
static vqc_status window_ints(vqc_exec_call *call, const char *name, size_t count, int64_t least,
                              int64_t fallback, int64_t *values)
{
    size_t got = count;
    bool given;

    for (size_t i = 0; i < count; i++) {
        values[i] = fallback;
    }
    if (vqc_exec_ints_of(call, name, SIZE_MAX, values, count, &got, &given) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (got != count) {
        return vqc_exec_fail(call, "attribute \"%s\": got %zu values, expected %zu", name, got,
                             count);
    }
    for (size_t i = 0; i < count; i++) {
        if (values[i] < least || values[i] > LARGEST_SIDE) {
            return vqc_exec_fail(call, "attribute \"%s\": got %lld, expected %lld to %d", name,
                                 (long long)values[i], (long long)least, (int)LARGEST_SIDE);
        }
    }
    return VQC_OK;
}

typedef enum auto_pad { PAD_NOTSET, PAD_VALID, PAD_UPPER, PAD_LOWER } auto_pad;

static vqc_status read_auto_pad(vqc_exec_call *call, auto_pad *mode)
{
    static const char *const names[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, "auto_pad");

    *mode = PAD_NOTSET;
    if (attr == NULL) {
        return VQC_OK;
    }
    for (size_t i = 0; i < 4; i++) {
        if (attr->s.len == strlen(names[i]) && memcmp(attr->s.data, names[i], attr->s.len) == 0) {
            *mode = (auto_pad)i;
            return VQC_OK;
        }
    }
    return vqc_exec_fail(call, "attribute \"auto_pad\": got \"%.*s\"",
                         (int)(attr->s.len < 64 ? attr->s.len : 64), (const char *)attr->s.data);
}

/* Output size and padding of spatial axis d. */
static vqc_status window_axis(vqc_exec_call *call, vqc_pool_window *w, size_t d, auto_pad mode,
                              bool ceil_mode)
{
    int64_t reach = w->dilation[d] * (w->kernel[d] - 1) + 1;
    int64_t room;

    if (mode == PAD_UPPER || mode == PAD_LOWER) {
        int64_t total;
        w->out[d] = w->in[d] / w->stride[d] + (w->in[d] % w->stride[d] != 0);
        total = (w->out[d] - 1) * w->stride[d] + reach - w->in[d];
        total = total > 0 ? total : 0;
        w->begin[d] = mode == PAD_UPPER ? total / 2 : total - total / 2;
        w->end[d] = total - w->begin[d];
        return VQC_OK;
    }
    if (mode == PAD_VALID) {
        w->begin[d] = w->end[d] = 0;
    }
    room = w->in[d] + w->begin[d] + w->end[d] - reach;
    if (room < 0) {
        return vqc_exec_fail(call, "axis %zu: a window of %lld does not fit %lld values", d + 2,
                             (long long)reach, (long long)w->in[d]);
    }
    w->out[d] = room / w->stride[d] + 1;
    if (ceil_mode && mode != PAD_VALID && room % w->stride[d] != 0) {
        /* one more, unless it would start in the padding behind the data */
        w->out[d] += w->out[d] * w->stride[d] < w->in[d] + w->begin[d];
    }
    return VQC_OK;
}

static vqc_status find_window(vqc_exec_call *call, vqc_pool_window *w)
{
    const vqc_buffer *in = call->inputs[0];
    int64_t pads[2 * VQC_EXEC_MAX_RANK];
    bool ceil_mode = vqc_node_attr_int(call->node, "ceil_mode", 0) != 0;
    auto_pad mode;

    memset(w, 0, sizeof *w);
    if (in->rank < 3) {
        return vqc_exec_fail(call, "input 0: got rank %zu, expected at least 3", in->rank);
    }
    w->rank = in->rank - 2;
    if (vqc_node_attr(call->node, "kernel_shape") == NULL) {
        return vqc_exec_fail(call, "attribute \"kernel_shape\" is missing");
    }
    if (window_ints(call, "kernel_shape", w->rank, 1, 1, w->kernel) != VQC_OK ||
        window_ints(call, "strides", w->rank, 1, 1, w->stride) != VQC_OK ||
        window_ints(call, "dilations", w->rank, 1, 1, w->dilation) != VQC_OK ||
        window_ints(call, "pads", 2 * w->rank, 0, 0, pads) != VQC_OK ||
        read_auto_pad(call, &mode) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    w->planes = (size_t)in->dims[0] * (size_t)in->dims[1];
    w->in_size = w->out_size = 1;
    for (size_t d = 0; d < w->rank; d++) {
        w->in[d] = in->dims[d + 2];
        w->begin[d] = pads[d];
        w->end[d] = pads[d + w->rank];
        if (window_axis(call, w, d, mode, ceil_mode) != VQC_OK) {
            return VQC_ERR_MODEL;
        }
        w->in_size *= (size_t)w->in[d];
        if (!vqc_size_mul(w->out_size, (size_t)w->out[d], &w->out_size)) {
            return vqc_exec_fail(call, "the output is too large");
        }
    }
    return VQC_OK;
}

static vqc_status shape_pool(vqc_exec_call *call)
{
    vqc_pool_kind kind = *(const vqc_pool_kind *)call->detail;
    const vqc_buffer *in = call->inputs[0];
    bool bytes = in->dtype == VQC_DTYPE_INT8 || in->dtype == VQC_DTYPE_UINT8;
    vqc_pool_window w;

    if (kind == VQC_POOL_MAX && bytes
            ? find_window(call, &w) != VQC_OK
            : vqc_exec_expect_float(call, 0) != VQC_OK || find_window(call, &w) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (kind == VQC_POOL_LP && vqc_node_attr_int(call->node, "p", 2) < 1) {
        return vqc_exec_fail(call, "attribute \"p\": expected a positive number");
    }
    vqc_exec_type_like(&call->types[0], in);
    for (size_t d = 0; d < w.rank; d++) {
        call->types[0].dims[d + 2] = w.out[d];
    }
    if (call->output_count > (kind == VQC_POOL_MAX ? 2 : 1)) {
        return vqc_exec_fail(call, "got %zu outputs, more than defined", call->output_count);
    }
    if (call->output_count > 1) {
        call->types[1] = call->types[0];
        call->types[1].dtype = VQC_DTYPE_INT64;
    }
    return VQC_OK;
}

/* What is gathered from the cells of one window. */
typedef struct pool_cell {
    double value;   /* maximum, sum, or sum of powers */
    size_t count;   /* cells inside the data */
    int64_t chosen; /* index of the maximum within the plane, -1: none */
} pool_cell;

static void take_cell(vqc_pool_kind kind, double p, pool_cell *cell, double v, size_t index)
{
    cell->count++;
    if (kind == VQC_POOL_MAX) {
        if (cell->chosen < 0 || v > cell->value || (isnan(v) && !isnan(cell->value))) {
            cell->value = v;
            cell->chosen = (int64_t)index;
        }
    } else if (kind == VQC_POOL_AVERAGE) {
        cell->value += v;
    } else {
        cell->value += p == 1 ? fabs(v) : p == 2 ? v * v : pow(fabs(v), p);
    }
}

/* Visits the cells of the window at output position `at` that lie inside the data; counts in *area
 * those in data or padding. */
static pool_cell visit_window(const vqc_pool_window *w, vqc_pool_kind kind, double p,
                              const double *plane, const int64_t *at, size_t *area)
{
    pool_cell cell = {0, 0, -1};
    int64_t first[VQC_EXEC_MAX_RANK];
    int64_t last[VQC_EXEC_MAX_RANK];
    int64_t k[VQC_EXEC_MAX_RANK];
    bool any = true;

    *area = 1;
    for (size_t d = 0; d < w->rank; d++) {
        *area *= (size_t)vqc_pool_clip(w, d, at[d], &first[d], &last[d]);
        k[d] = first[d];
        any = any && first[d] < last[d];
    }
    while (any) {
        size_t index = 0;
        size_t d;

        for (d = 0; d < w->rank; d++) {
            int64_t position = at[d] * w->stride[d] - w->begin[d] + k[d] * w->dilation[d];
            index = index * (size_t)w->in[d] + (size_t)position;
        }
        take_cell(kind, p, &cell, plane[index], index);
        for (d = w->rank; d > 0 && ++k[d - 1] == last[d - 1]; d--) {
            k[d - 1] = first[d - 1];
        }
        any = d > 0;
    }
    return cell;
}

/* Row-major index within a plane as a column-major one (storage_order = 1). */
static int64_t column_major(const vqc_pool_window *w, int64_t index)
{
    int64_t position[VQC_EXEC_MAX_RANK];
    int64_t result = 0;

    for (size_t d = w->rank; d-- > 0;) {
        position[d] = index % w->in[d];
        index /= w->in[d];
    }
    for (size_t d = w->rank; d-- > 0;) {
        result = result * w->in[d] + position[d];
    }
    return result;
}

static double pool_result(const vqc_exec_call *call, vqc_pool_kind kind, double p,
                          const pool_cell *cell, size_t area)
{
    bool all = vqc_node_attr_int(call->node, "count_include_pad", 0) != 0;
    size_t divisor = all ? area : cell->count;

    if (kind == VQC_POOL_MAX) {
        return cell->chosen < 0 ? -INFINITY : cell->value;
    }
    if (kind == VQC_POOL_AVERAGE) {
        return divisor == 0 ? 0 : cell->value / (double)divisor;
    }
    return p == 1 ? cell->value : p == 2 ? sqrt(cell->value) : pow(cell->value, 1 / p);
}

static vqc_status run_pool(vqc_exec_call *call)
{
    vqc_pool_kind kind = *(const vqc_pool_kind *)call->detail;
    double p = (double)vqc_node_attr_int(call->node, "p", 2);
    bool by_column = vqc_node_attr_int(call->node, "storage_order", 0) != 0;
    vqc_buffer *indices = call->output_count > 1 ? call->outputs[1] : NULL;
    double *x;
    double *y;
    vqc_pool_window w;

    if (find_window(call, &w) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (call->inputs[0]->dtype == VQC_DTYPE_FLOAT && indices == NULL && kind != VQC_POOL_LP &&
        vqc_pool_fits_f32(&w)) {
        return vqc_pool_run_f32(call, &w, kind == VQC_POOL_MAX,
                                vqc_node_attr_int(call->node, "count_include_pad", 0) != 0,
                                (const float *)(const void *)call->inputs[0]->data,
                                (float *)(void *)call->outputs[0]->data);
    }
    x = vqc_exec_doubles(call, call->inputs[0]);
    y = vqc_exec_double_scratch(call, call->outputs[0]->elements);
    if (x == NULL || y == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t plane = 0; plane < w.planes; plane++) {
        int64_t at[VQC_EXEC_MAX_RANK] = {0};

        for (size_t i = 0; i < w.out_size; i++) {
            size_t target = plane * w.out_size + i;
            size_t area;
            pool_cell cell = visit_window(&w, kind, p, x + plane * w.in_size, at, &area);

            y[target] = pool_result(call, kind, p, &cell, area);
            if (indices != NULL) {
                int64_t chosen = cell.chosen < 0 ? 0
                                 : by_column     ? column_major(&w, cell.chosen)
                                                 : cell.chosen;
                chosen += (int64_t)(plane * w.in_size);
                memcpy(indices->data + target * sizeof chosen, &chosen, sizeof chosen);
            }
            for (size_t d = w.rank; d-- > 0 && ++at[d] == w.out[d];) {
                at[d] = 0;
            }
        }
    }
    vqc_exec_put_doubles(call->outputs[0], y);
    return VQC_OK;
}

/* ---- the whole plane ---- */

static vqc_status shape_global(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];

    if (vqc_exec_expect_float(call, 0) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (in->rank < 2) {
        return vqc_exec_fail(call, "input 0: got rank %zu, expected at least 2", in->rank);
    }
    if (vqc_node_attr_int(call->node, "p", 2) < 1) {
        return vqc_exec_fail(call, "attribute \"p\": expected a positive number");
    }
    vqc_exec_type_like(&call->types[0], in);
    for (size_t d = 2; d < in->rank; d++) {
        call->types[0].dims[d] = 1;
    }
    return VQC_OK;
}

static vqc_status run_global(vqc_exec_call *call)
{
    vqc_pool_kind kind = *(const vqc_pool_kind *)call->detail;
    double p = (double)vqc_node_attr_int(call->node, "p", 2);
    vqc_axis_span span = vqc_axis_span_of(call->inputs[0], 2, call->inputs[0]->rank);
    double *x;
    double *y;

    if (call->inputs[0]->dtype == VQC_DTYPE_FLOAT && kind != VQC_POOL_LP && span.length > 0) {
        vqc_pool_rows_f32((const float *)(const void *)call->inputs[0]->data, span.outer,
                          span.length, kind == VQC_POOL_MAX, call->threads,
                          (float *)(void *)call->outputs[0]->data);
        return VQC_OK;
    }
    x = vqc_exec_doubles(call, call->inputs[0]);
    y = vqc_exec_double_scratch(call, span.outer);
    if (x == NULL || y == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t o = 0; o < span.outer; o++) {
        pool_cell cell = {0, 0, -1};

        for (size_t i = 0; i < span.length; i++) {
            take_cell(kind, p, &cell, x[o * span.length + i], i);
        }
        y[o] = kind == VQC_POOL_AVERAGE && span.length == 0
                   ? (double)NAN
                   : pool_result(call, kind, p, &cell, cell.count);
    }
    vqc_exec_put_doubles(call->outputs[0], y);
    return VQC_OK;
}

/* ---- MaxUnpool ---- */

/* The shape that the attributes imply, into dims; the third input may ask for a larger one. */
static vqc_status unpool_dims(vqc_exec_call *call, int64_t *dims)
{
    const vqc_buffer *in = call->inputs[0];
    size_t rank = in->rank < 2 ? 0 : in->rank - 2;
    int64_t kernel[VQC_EXEC_MAX_RANK];
    int64_t stride[VQC_EXEC_MAX_RANK];
    int64_t pads[2 * VQC_EXEC_MAX_RANK];

    if (rank == 0 || vqc_node_attr(call->node, "kernel_shape") == NULL) {
        return vqc_exec_fail(call, "expected spatial axes and attribute \"kernel_shape\"");
    }
    if (window_ints(call, "kernel_shape", rank, 1, 1, kernel) != VQC_OK ||
        window_ints(call, "strides", rank, 1, 1, stride) != VQC_OK ||
        window_ints(call, "pads", 2 * rank, 0, 0, pads) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    dims[0] = in->dims[0];
    dims[1] = in->dims[1];
    for (size_t d = 0; d < rank; d++) {
        if (in->dims[d + 2] > LARGEST_SIDE) {
            return vqc_exec_fail(call, "axis %zu is too large", d + 2);
        }
        dims[d + 2] = (in->dims[d + 2] - 1) * stride[d] - pads[d] - pads[d + rank] + kernel[d];
        if (dims[d + 2] < 0) {
            return vqc_exec_fail(call, "attribute \"pads\": more than the output has");
        }
    }
    return VQC_OK;
}

static vqc_status shape_unpool(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    vqc_exec_type *type = &call->types[0];
    int64_t wanted[VQC_EXEC_MAX_RANK];
    size_t count = 0;

    if (vqc_exec_expect_float(call, 0) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (indices->dtype != VQC_DTYPE_INT64 || indices->elements != in->elements) {
        return vqc_exec_fail(call, "input 1: expected one int64 index per value of input 0");
    }
    vqc_exec_type_like(type, in);
    if (unpool_dims(call, type->dims) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (vqc_exec_input(call, 2) == NULL) {
        return VQC_OK;
    }
    if (vqc_exec_ints(call, call->inputs[2], wanted, VQC_EXEC_MAX_RANK, &count) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    for (size_t d = 0; d < in->rank; d++) {
        if (count != in->rank || wanted[d] < type->dims[d]) {
            return vqc_exec_fail(call,
                                 "input 2: expected a shape of rank %zu, at least as large "
                                 "as the attributes imply",
                                 in->rank);
        }
    }
    memcpy(type->dims, wanted, in->rank * sizeof *wanted);
    return VQC_OK;
}

/* Indices count in the implied shape, which lies in the front corner of the output. */
static vqc_status run_unpool(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    int64_t implied[VQC_EXEC_MAX_RANK];
    size_t total = 0;
    size_t size_bytes;

    if (unpool_dims(call, implied) != VQC_OK ||
        !vqc_exec_sizes(implied, in->rank, 1, &total, &size_bytes)) {
        return VQC_ERR_MODEL;
    }
    memset(out->data, 0, out->elements * out->width);
    for (size_t i = 0; i < in->elements; i++) {
        int64_t index = vqc_element_int(VQC_DTYPE_INT64, call->inputs[1]->data, i);
        size_t target = 0;
        size_t factor = 1;

        if (index < 0 || (uint64_t)index >= total) {
            return vqc_exec_fail(call, "index %lld: expected one below %zu", (long long)index,
                                 total);
        }
        for (size_t d = in->rank; d-- > 0;) {
            target += (size_t)(index % implied[d]) * factor;
            index /= implied[d];
            factor *= (size_t)out->dims[d];
        }
        memcpy(out->data + target * out->width, in->data + i * in->width, out->width);
    }
    return VQC_OK;
}

/* ---- MaxRoiPool ---- */

static vqc_status shape_roi(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    const vqc_buffer *rois = call->inputs[1];
    int64_t pooled[2];

    if (vqc_exec_expect_float(call, 0) != VQC_OK || vqc_exec_expect_float(call, 1) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (in->rank != 4 || rois->rank != 2 || rois->dims[1] != 5 ||
        vqc_node_attr(call->node, "pooled_shape") == NULL) {
        return vqc_exec_fail(call, "expected data of rank 4, rois of 5 numbers each, and attribute "
                                   "\"pooled_shape\"");
    }
    if (window_ints(call, "pooled_shape", 2, 1, 1, pooled) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    call->types[0].dtype = in->dtype;
    call->types[0].rank = 4;
    call->types[0].dims[0] = rois->dims[0];
    call->types[0].dims[1] = in->dims[1];
    call->types[0].dims[2] = pooled[0];
    call->types[0].dims[3] = pooled[1];
    return VQC_OK;
}

/* Bin b of `bins` over [start, start + length), cut to [0, size). */
static void roi_bin(double start, double length, int64_t b, int64_t bins, int64_t size,
                    int64_t *first, int64_t *last)
{
    double step = length / (double)bins;
    double low = floor((double)b * step) + start;
    double high = ceil((double)(b + 1) * step) + start;

    *first = (int64_t)fmin(fmax(low, 0), (double)size);
    *last = (int64_t)fmin(fmax(high, 0), (double)size);
}

/* Girshick 2015 (Fast R-CNN): maximum of every bin of a rounded region; 0 where a bin is empty. */
static vqc_status run_roi(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    double scale = (double)vqc_node_attr_float(call->node, "spatial_scale", 1.0f);
    double *x = vqc_exec_doubles(call, in);
    double *rois = vqc_exec_doubles(call, call->inputs[1]);
    double *y = vqc_exec_double_scratch(call, out->elements);
    int64_t height = in->dims[2];
    int64_t width = in->dims[3];

    if (x == NULL || rois == NULL || y == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t i = 0; i < out->elements; i++) {
        int64_t column = (int64_t)i % out->dims[3];
        int64_t row = (int64_t)i / out->dims[3] % out->dims[2];
        size_t channel = i / (size_t)(out->dims[3] * out->dims[2]) % (size_t)out->dims[1];
        const double *roi = rois + i / (size_t)(out->dims[3] * out->dims[2] * out->dims[1]) * 5;
        double corner[4];
        int64_t y0;
        int64_t y1;
        int64_t x0;
        int64_t x1;
        double best = -INFINITY;

        for (size_t k = 0; k < 4; k++) {
            corner[k] = round(roi[k + 1] * scale);
        }
        if (!(roi[0] >= 0 && roi[0] < (double)in->dims[0]) || !isfinite(corner[0]) ||
            !isfinite(corner[1]) || !isfinite(corner[2]) || !isfinite(corner[3])) {
            return vqc_exec_fail(call, "input 1: a region lies outside the batch");
        }
        roi_bin(corner[1], fmax(corner[3] - corner[1] + 1, 1), row, out->dims[2], height, &y0, &y1);
        roi_bin(corner[0], fmax(corner[2] - corner[0] + 1, 1), column, out->dims[3], width, &x0,
                &x1);
        for (int64_t v = y0; v < y1; v++) {
            for (int64_t u = x0; u < x1; u++) {
                size_t plane = (size_t)roi[0] * (size_t)in->dims[1] + channel;
                best =
                    fmax(best, x[(plane * (size_t)height + (size_t)v) * (size_t)width + (size_t)u]);
            }
        }
        y[i] = y1 > y0 && x1 > x0 ? best : 0;
    }
    vqc_exec_put_doubles(out, y);
    return VQC_OK;
}

#define POOL(op, since, kind)                                                                      \
    VQC_EXEC_ROW(op, "", since, 1, shape_pool, run_pool, .detail = &KINDS[kind])
#define GLOBAL(op, since, kind)                                                                    \
    VQC_EXEC_ROW(op, "", since, 1, shape_global, run_global, .detail = &KINDS[kind])

static const vqc_exec_op OPS[] = {
    POOL("MaxPool", 1, VQC_POOL_MAX),
    POOL("AveragePool", 1, VQC_POOL_AVERAGE),
    POOL("LpPool", 2, VQC_POOL_LP),
    GLOBAL("GlobalMaxPool", 1, VQC_POOL_MAX),
    GLOBAL("GlobalAveragePool", 1, VQC_POOL_AVERAGE),
    GLOBAL("GlobalLpPool", 2, VQC_POOL_LP),
    VQC_EXEC_ROW("MaxUnpool", "", 9, 2, shape_unpool, run_unpool, .detail = NULL),
    VQC_EXEC_ROW("MaxRoiPool", "", 1, 2, shape_roi, run_roi, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_pool = {OPS, sizeof OPS / sizeof OPS[0]};
