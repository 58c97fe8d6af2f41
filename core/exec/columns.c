/* Col2Im and DeformConv: patches of pictures as columns. Both compute in double and round when
 * stored. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_image.h"
#include "core/exec/working.h"
#include "core/graph.h"
#include "core/memory.h"

enum { MAX_SPACE = 8 };

/* Attribute `name` [count], `fallback` for all when absent; entries in [least, INT32_MAX]. */
static vqc_status read_list(vqc_exec_call *call, const char *name, size_t count, int64_t fallback,
                            int64_t least, int64_t *values)
{
    size_t got;
    bool given;
    vqc_status status = vqc_exec_ints_of(call, name, SIZE_MAX, values, 2 * MAX_SPACE, &got, &given);

    if (status != VQC_OK) {
        return status;
    }
    if (given && got != count) {
        return vqc_exec_fail(call, "%s: got %zu values, expected %zu", name, got, count);
    }
    for (size_t i = 0; i < count; i++) {
        values[i] = given ? values[i] : fallback;
        if (values[i] < least || values[i] > INT32_MAX) {
            return vqc_exec_fail(call, "%s: got %lld", name, (long long)values[i]);
        }
    }
    return VQC_OK;
}

/* Windows along one axis, or -1 when the kernel does not fit. */
static int64_t windows(int64_t length, int64_t pad, int64_t kernel, int64_t dilation,
                       int64_t stride)
{
    int64_t room = length + pad - (dilation * (kernel - 1) + 1);

    return room < 0 ? -1 : room / stride + 1;
}

/* ---- Col2Im ---- */

typedef struct col2im {
    size_t space;
    int64_t image[2 * MAX_SPACE], block[2 * MAX_SPACE];
    int64_t dilations[2 * MAX_SPACE], pads[2 * MAX_SPACE], strides[2 * MAX_SPACE];
    int64_t windows[MAX_SPACE];
    size_t taps; /* product of block */
} col2im;

static vqc_status parse_col2im(vqc_exec_call *call, col2im *c)
{
    const vqc_buffer *in = call->inputs[0];
    size_t blocks;
    size_t total = 1;
    vqc_status status = vqc_exec_ints(call, call->inputs[1], c->image, MAX_SPACE, &c->space);

    if (status == VQC_OK) {
        status = vqc_exec_ints(call, call->inputs[2], c->block, MAX_SPACE, &blocks);
    }
    if (status == VQC_OK) {
        status = read_list(call, "dilations", c->space, 1, 1, c->dilations);
    }
    if (status == VQC_OK) {
        status = read_list(call, "pads", 2 * c->space, 0, 0, c->pads);
    }
    if (status == VQC_OK) {
        status = read_list(call, "strides", c->space, 1, 1, c->strides);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (in->rank != 3 || blocks != c->space || c->space == 0 ||
        vqc_class_of(in->dtype) == VQC_CLASS_NONE) {
        return vqc_exec_fail(call, "expected numbers of rank 3, and image and block of one rank");
    }
    c->taps = 1;
    for (size_t i = 0; i < c->space; i++) {
        if (c->image[i] < 0 || c->image[i] > INT32_MAX || c->block[i] < 1 ||
            c->block[i] > INT16_MAX || c->dilations[i] > INT16_MAX) {
            return vqc_exec_fail(call, "axis %zu: got image %lld, block %lld, dilation %lld", i,
                                 (long long)c->image[i], (long long)c->block[i],
                                 (long long)c->dilations[i]);
        }
        c->windows[i] = windows(c->image[i], c->pads[i] + c->pads[c->space + i], c->block[i],
                                c->dilations[i], c->strides[i]);
        if (c->windows[i] < 0 || !vqc_size_mul(total, (size_t)c->windows[i], &total) ||
            !vqc_size_mul(c->taps, (size_t)c->block[i], &c->taps)) {
            return vqc_exec_fail(call, "axis %zu: the block does not fit", i);
        }
    }
    if (total != (uint64_t)in->dims[2] || (uint64_t)in->dims[1] % c->taps != 0) {
        return vqc_exec_fail(call, "input: got %lld x %lld, expected a multiple of %zu x %zu",
                             (long long)in->dims[1], (long long)in->dims[2], c->taps, total);
    }
    return VQC_OK;
}

vqc_status vqc_col2im_shape(vqc_exec_call *call)
{
    vqc_exec_type *type = &call->types[0];
    col2im c;
    vqc_status status = parse_col2im(call, &c);

    if (status == VQC_OK) {
        type->dtype = call->inputs[0]->dtype;
        type->rank = 2 + c.space;
        type->dims[0] = call->inputs[0]->dims[0];
        type->dims[1] = call->inputs[0]->dims[1] / (int64_t)c.taps;
        memcpy(type->dims + 2, c.image, c.space * sizeof *c.image);
    }
    return status;
}

/* Where tap `tap` of window `window` lies in the image; false in the padding. */
static bool tap_place(const col2im *c, size_t tap, size_t window, size_t *place)
{
    size_t stride = 1;

    *place = 0;
    for (size_t i = c->space; i-- > 0;) {
        int64_t at = (int64_t)(window % (size_t)c->windows[i]) * c->strides[i] - c->pads[i] +
                     (int64_t)(tap % (size_t)c->block[i]) * c->dilations[i];

        window /= (size_t)c->windows[i];
        tap /= (size_t)c->block[i];
        if (at < 0 || at >= c->image[i]) {
            return false;
        }
        *place += (size_t)at * stride;
        stride *= (size_t)c->image[i];
    }
    return true;
}

vqc_status vqc_col2im_run(vqc_exec_call *call)
{
    vqc_buffer *out = call->outputs[0];
    col2im c;
    vqc_status status = parse_col2im(call, &c);
    const double *x = vqc_exec_values(call, call->inputs[0], VQC_CLASS_F64);
    double *y = vqc_exec_target(call, out, VQC_CLASS_F64);
    size_t count = (size_t)call->inputs[0]->dims[2];
    size_t plane;

    if (status != VQC_OK || x == NULL || y == NULL) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    memset(y, 0, out->elements * sizeof *y);
    plane = out->elements == 0 ? 0 : vqc_exec_product(out->dims, 2, out->rank);
    for (size_t row = 0; plane > 0 && row < call->inputs[0]->elements / (count > 0 ? count : 1);
         row++) {
        for (size_t w = 0; w < count; w++) {
            size_t place;

            if (tap_place(&c, row % c.taps, w, &place)) {
                y[row / c.taps * plane + place] += x[row * count + w];
            }
        }
    }
    vqc_exec_target_store(out, VQC_CLASS_F64, y);
    return VQC_OK;
}

/* ---- DeformConv ---- */

enum { X, W, OFFSET, B, MASK };

typedef struct deform {
    int64_t kernel[2 * MAX_SPACE], dilations[2 * MAX_SPACE], pads[2 * MAX_SPACE],
        strides[2 * MAX_SPACE];
    size_t groups, offset_groups;
    size_t out[2];
} deform;

static vqc_status check_deform(vqc_exec_call *call, const deform *d)
{
    const vqc_buffer *x = call->inputs[X];
    const vqc_buffer *w = call->inputs[W];
    size_t taps = (size_t)(w->dims[2] * w->dims[3]);
    int64_t dims[4] = {x->dims[0], 0, (int64_t)d->out[0], (int64_t)d->out[1]};
    vqc_status status;

    if (d->groups < 1 || d->offset_groups < 1 || (uint64_t)x->dims[1] % d->groups != 0 ||
        (uint64_t)x->dims[1] % d->offset_groups != 0 || (uint64_t)w->dims[0] % d->groups != 0 ||
        (uint64_t)w->dims[1] != (uint64_t)x->dims[1] / d->groups) {
        return vqc_exec_fail(call, "group %zu and offset_group %zu do not fit X and W", d->groups,
                             d->offset_groups);
    }
    dims[1] = (int64_t)(d->offset_groups * taps * 2);
    status = vqc_exec_expect(call, OFFSET, x->dtype, 4, dims);
    dims[1] = (int64_t)(d->offset_groups * taps);
    if (status == VQC_OK) {
        status = vqc_exec_expect(call, MASK, x->dtype, 4, dims);
    }
    return status == VQC_OK ? vqc_exec_expect(call, B, x->dtype, 1, w->dims) : status;
}

static vqc_status parse_deform(vqc_exec_call *call, deform *d)
{
    const vqc_buffer *x = call->inputs[X];
    const vqc_buffer *w = call->inputs[W];
    int64_t groups = vqc_node_attr_int(call->node, "group", 1);
    int64_t offset_groups = vqc_node_attr_int(call->node, "offset_group", 1);
    vqc_class class = vqc_class_of(x->dtype);
    vqc_status status;

    if (x->rank != 4 || w->rank != 4 || w->dtype != x->dtype ||
        (class != VQC_CLASS_F32 && class != VQC_CLASS_F64) || groups < 1 || groups > INT32_MAX ||
        offset_groups < 1 || offset_groups > INT32_MAX) {
        return vqc_exec_fail(call, "X, W: expected floats of rank 4 (pictures)");
    }
    d->groups = (size_t)groups;
    d->offset_groups = (size_t)offset_groups;
    status = read_list(call, "dilations", 2, 1, 1, d->dilations);
    if (status == VQC_OK) {
        status = read_list(call, "pads", 4, 0, 0, d->pads);
    }
    if (status == VQC_OK) {
        status = read_list(call, "strides", 2, 1, 1, d->strides);
    }
    if (status == VQC_OK) {
        status = read_list(call, "kernel_shape", 2, 0, 0, d->kernel);
    }
    for (size_t i = 0; status == VQC_OK && i < 2; i++) {
        int64_t out;

        if ((d->kernel[i] != w->dims[2 + i] && d->kernel[i] != 0) || w->dims[2 + i] < 1 ||
            w->dims[2 + i] > INT16_MAX || x->dims[2 + i] > INT32_MAX) {
            return vqc_exec_fail(call, "W: got a kernel of %lld", (long long)w->dims[2 + i]);
        }
        d->kernel[i] = w->dims[2 + i];
        out = windows(x->dims[2 + i], d->pads[i] + d->pads[2 + i], d->kernel[i], d->dilations[i],
                      d->strides[i]);
        if (out < 0) {
            return vqc_exec_fail(call, "W: the kernel is larger than the picture");
        }
        d->out[i] = (size_t)out;
    }
    return status == VQC_OK ? check_deform(call, d) : status;
}

vqc_status vqc_deform_conv_shape(vqc_exec_call *call)
{
    deform d;
    vqc_status status = parse_deform(call, &d);

    if (status == VQC_OK) {
        vqc_exec_type_like(&call->types[0], call->inputs[X]);
        call->types[0].dims[1] = call->inputs[W]->dims[0];
        call->types[0].dims[2] = (int64_t)d.out[0];
        call->types[0].dims[3] = (int64_t)d.out[1];
    }
    return status;
}

/* Bilinear value at (y, x) of a plane; what lies outside is 0. */
static double sample(const double *plane, size_t height, size_t width, double y, double x)
{
    double sum = 0.0;
    double top = floor(y);
    double left = floor(x);

    if (!(y > -1.0 && x > -1.0 && y < (double)height && x < (double)width)) {
        return 0.0;
    }
    for (int i = 0; i < 4; i++) {
        double row = top + (double)(i / 2);
        double column = left + (double)(i % 2);

        if (row >= 0.0 && column >= 0.0 && row < (double)height && column < (double)width) {
            sum += (1.0 - fabs(y - row)) * (1.0 - fabs(x - column)) *
                   plane[(size_t)row * width + (size_t)column];
        }
    }
    return sum;
}

/* columns [channels * taps, out pixels] of sample n. */
static void fill_columns(vqc_exec_call *call, const deform *d, size_t n, const double *x,
                         const double *offset, const double *mask, double *columns)
{
    const int64_t *dims = call->inputs[X]->dims;
    size_t height = (size_t)dims[2];
    size_t width = (size_t)dims[3];
    size_t channels = (size_t)dims[1];
    size_t taps = (size_t)(d->kernel[0] * d->kernel[1]);
    size_t pixels = d->out[0] * d->out[1];

    for (size_t i = 0; i < channels * taps; i++) {
        size_t c = i / taps;
        size_t tap = i % taps;
        size_t group = c / (channels / d->offset_groups);
        size_t at = (n * d->offset_groups + group) * taps + tap;
        double dy = (double)((int64_t)(tap / (size_t)d->kernel[1]) * d->dilations[0] - d->pads[0]);
        double dx = (double)((int64_t)(tap % (size_t)d->kernel[1]) * d->dilations[1] - d->pads[1]);

        for (size_t p = 0; p < pixels; p++) {
            double y = (double)((int64_t)(p / d->out[1]) * d->strides[0]) + dy +
                       offset[2 * at * pixels + p];
            double z = (double)((int64_t)(p % d->out[1]) * d->strides[1]) + dx +
                       offset[(2 * at + 1) * pixels + p];
            double value = sample(x + (n * channels + c) * height * width, height, width, y, z);

            columns[i * pixels + p] = mask == NULL ? value : value * mask[at * pixels + p];
        }
    }
}

vqc_status vqc_deform_conv_run(vqc_exec_call *call)
{
    vqc_buffer *out = call->outputs[0];
    const void *values[MASK + 1] = {NULL};
    deform d;
    vqc_status status = parse_deform(call, &d);
    size_t outputs = (size_t)out->dims[1];
    size_t pixels = d.out[0] * d.out[1];
    size_t rows = (size_t)(call->inputs[X]->dims[1] * d.kernel[0] * d.kernel[1]);
    double *y = vqc_exec_target(call, out, VQC_CLASS_F64);
    double *columns = vqc_exec_scratch_array(call, rows, pixels, sizeof *columns, false);
    size_t m, k;

    for (size_t i = X; status == VQC_OK && i <= MASK; i++) {
        const vqc_buffer *buffer = vqc_exec_input(call, i);
        values[i] = buffer == NULL ? NULL : vqc_exec_values(call, buffer, VQC_CLASS_F64);
        status = buffer != NULL && values[i] == NULL ? VQC_ERR_INTERNAL : VQC_OK;
    }
    if (status != VQC_OK || y == NULL || columns == NULL) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    m = outputs / d.groups;
    k = rows / d.groups;
    for (size_t n = 0; n < (size_t)out->dims[0]; n++) {
        fill_columns(call, &d, n, values[X], values[OFFSET], values[MASK], columns);
        for (size_t o = 0; o < outputs; o++) {
            const double *bias = values[B];
            for (size_t p = 0; p < pixels; p++) {
                y[(n * outputs + o) * pixels + p] = bias == NULL ? 0.0 : bias[o];
            }
        }
        for (size_t g = 0; g < d.groups; g++) {
            vqc_exec_multiply(VQC_CLASS_F64, (const double *)values[W] + g * m * k,
                              columns + g * k * pixels, y + (n * outputs + g * m) * pixels, m, k,
                              pixels, call->threads);
        }
    }
    vqc_exec_target_store(out, VQC_CLASS_F64, y);
    return VQC_OK;
}
