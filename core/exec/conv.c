#include "core/exec/conv.h"

#include <string.h>

#include "core/graph.h"

/* Above any size that fits into memory with others; keeps products of three within 64 bits. */
#define MAX_EXTENT ((int64_t)1 << 20)

typedef enum auto_pad { PAD_NOTSET, PAD_SAME_UPPER, PAD_SAME_LOWER, PAD_VALID } auto_pad;

/* Attributes as the node gives them, one per spatial axis. */
typedef struct attributes {
    size_t axes;
    auto_pad padding;
    int64_t group;
    int64_t stride[VQC_CONV_AXES], dilation[VQC_CONV_AXES];
    int64_t pads[2 * VQC_CONV_AXES];
    int64_t extra[VQC_CONV_AXES]; /* output_padding */
    int64_t shape[VQC_CONV_AXES]; /* output_shape */
    bool has_shape;
} attributes;

static vqc_status read_auto_pad(vqc_exec_call *call, auto_pad *out)
{
    static const char *const names[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, "auto_pad");

    *out = PAD_NOTSET;
    if (attr == NULL || attr->s.len == 0) {
        return VQC_OK;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (attr->s.len == strlen(names[i]) && memcmp(attr->s.data, names[i], attr->s.len) == 0) {
            *out = (auto_pad)i;
            return VQC_OK;
        }
    }
    return vqc_exec_fail(call,
                         "auto_pad: got \"%.*s\", expected NOTSET, SAME_UPPER, SAME_LOWER or "
                         "VALID",
                         (int)(attr->s.len < 40 ? attr->s.len : 40), (const char *)attr->s.data);
}

/* A list attribute of `count` values in [least, MAX_EXTENT]; `fallback` when it is not there. */
static vqc_status read_list(vqc_exec_call *call, const char *name, size_t count, int64_t least,
                            int64_t fallback, int64_t *values, bool *given)
{
    int64_t read[VQC_EXEC_MAX_RANK * 2];
    size_t got = 0;
    vqc_status status =
        vqc_exec_ints_of(call, name, SIZE_MAX, read, sizeof read / sizeof *read, &got, given);

    if (status != VQC_OK) {
        return status;
    }
    if (*given && got != count) {
        return vqc_exec_fail(call, "%s: got %zu values, expected %zu", name, got, count);
    }
    for (size_t i = 0; i < count; i++) {
        values[i] = *given ? read[i] : fallback;
        if (values[i] < least || values[i] > MAX_EXTENT) {
            return vqc_exec_fail(call, "%s: got %lld, expected %lld to %lld", name,
                                 (long long)values[i], (long long)least, (long long)MAX_EXTENT);
        }
    }
    return VQC_OK;
}

static vqc_status read_attributes(vqc_exec_call *call, const vqc_buffer *x, const vqc_buffer *w,
                                  bool transpose, attributes *a)
{
    int64_t kernel[VQC_CONV_AXES];
    vqc_status status;
    bool given;

    memset(a, 0, sizeof *a);
    if (x->rank < 3 || x->rank > 2 + VQC_CONV_AXES || w->rank != x->rank) {
        return vqc_exec_fail(call,
                             "got an input of rank %zu and weights of rank %zu, expected the same "
                             "rank from 3 to 5",
                             x->rank, w->rank);
    }
    a->axes = x->rank - 2;
    a->group = vqc_node_attr_int(call->node, "group", 1);
    status = read_auto_pad(call, &a->padding);
    if (status == VQC_OK) {
        status = read_list(call, "strides", a->axes, 1, 1, a->stride, &given);
    }
    if (status == VQC_OK) {
        status = read_list(call, "dilations", a->axes, 1, 1, a->dilation, &given);
    }
    if (status == VQC_OK) {
        status = read_list(call, "pads", 2 * a->axes, 0, 0, a->pads, &given);
    }
    if (status == VQC_OK && transpose) {
        status = read_list(call, "output_padding", a->axes, 0, 0, a->extra, &given);
    }
    if (status == VQC_OK && transpose) {
        status = read_list(call, "output_shape", a->axes, 0, 0, a->shape, &a->has_shape);
    }
    if (status == VQC_OK) {
        status = read_list(call, "kernel_shape", a->axes, 0, 0, kernel, &given);
    }
    for (size_t i = 0; status == VQC_OK && i < a->axes; i++) {
        if (given && kernel[i] != w->dims[2 + i]) {
            status =
                vqc_exec_fail(call, "kernel_shape: got %lld on axis %zu, the weights have %lld",
                              (long long)kernel[i], i, (long long)w->dims[2 + i]);
        } else if (w->dims[2 + i] < 1 || w->dims[2 + i] > MAX_EXTENT ||
                   x->dims[2 + i] > MAX_EXTENT) {
            status = vqc_exec_fail(call,
                                   "axis %zu: got an input of %lld and a kernel of %lld, expected "
                                   "up to %lld and a kernel of at least 1",
                                   i, (long long)x->dims[2 + i], (long long)w->dims[2 + i],
                                   (long long)MAX_EXTENT);
        }
    }
    return status;
}

/* Everything but the spatial axes; w_in and w_out: axes of the weights. */
static vqc_status set_channels(vqc_exec_call *call, const vqc_buffer *x, const vqc_buffer *w,
                               const attributes *a, bool transpose, vqc_conv *conv)
{
    const int64_t channels = x->dims[1];
    const int64_t outer = w->dims[0]; /* m of all groups; transposed: c of all groups */

    memset(conv, 0, sizeof *conv);
    if (a->group < 1 || a->group > MAX_EXTENT || w->dims[0] > INT32_MAX || w->dims[1] > INT32_MAX ||
        outer % a->group != 0 || channels % a->group != 0 ||
        (transpose ? outer != channels : w->dims[1] != channels / a->group)) {
        return vqc_exec_fail(call,
                             "got %lld input channels, weights [%lld, %lld, ...] and group %lld, "
                             "which do not fit",
                             (long long)channels, (long long)outer, (long long)w->dims[1],
                             (long long)a->group);
    }
    conv->n = (size_t)x->dims[0];
    conv->group = (size_t)a->group;
    conv->c = (size_t)(channels / a->group);
    conv->m = (size_t)(transpose ? w->dims[1] : outer / a->group);
    for (size_t i = 0; i < VQC_CONV_AXES; i++) {
        conv->in[i] = conv->out[i] = conv->kernel[i] = conv->stride[i] = conv->dilation[i] = 1;
    }
    return VQC_OK;
}

/* Sizes of one axis into conv->...[to]; *front: padding in front, *out: output size. */
static vqc_status forward_axis(vqc_exec_call *call, const attributes *a, size_t i, int64_t in,
                               int64_t kernel, int64_t *front, int64_t *out)
{
    const int64_t reach = a->dilation[i] * (kernel - 1) + 1;
    int64_t total = a->pads[i] + a->pads[a->axes + i];

    *front = a->pads[i];
    if (a->padding == PAD_VALID) {
        *front = total = 0;
    } else if (a->padding != PAD_NOTSET) {
        const int64_t wanted = in / a->stride[i] + (in % a->stride[i] != 0);

        total = (wanted - 1) * a->stride[i] + reach - in;
        total = wanted > 0 && total > 0 ? total : 0;
        *front = a->padding == PAD_SAME_LOWER ? total - total / 2 : total / 2;
    }
    if (in + total < reach) {
        return vqc_exec_fail(call,
                             "axis %zu: got %lld elements with padding, fewer than the kernel's "
                             "reach of %lld",
                             i, (long long)(in + total), (long long)reach);
    }
    *out = (in + total - reach) / a->stride[i] + 1;
    return VQC_OK;
}

static void set_axis(vqc_conv *conv, const attributes *a, size_t i, int64_t in, int64_t kernel,
                     int64_t out)
{
    const size_t to = VQC_CONV_AXES - a->axes + i;

    conv->in[to] = (size_t)in;
    conv->out[to] = (size_t)out;
    conv->kernel[to] = (size_t)kernel;
    conv->stride[to] = (size_t)a->stride[i];
    conv->dilation[to] = (size_t)a->dilation[i];
}

static void set_products(vqc_conv *conv, vqc_exec_type *type)
{
    conv->taps = conv->kernel[0] * conv->kernel[1] * conv->kernel[2];
    conv->in_size = conv->in[0] * conv->in[1] * conv->in[2];
    conv->out_size = conv->out[0] * conv->out[1] * conv->out[2];
    type->dims[0] = (int64_t)conv->n;
    type->dims[1] = (int64_t)(conv->m * conv->group);
}

/* Padding in front and output elements of axis i with `in` elements and a kernel of `kernel`. */
typedef vqc_status axis_fn(vqc_exec_call *call, const attributes *a, size_t i, int64_t in,
                           int64_t kernel, int64_t *front, int64_t *out);

/* What both directions have in common. */
static vqc_status make_geometry(vqc_exec_call *call, const vqc_buffer *x, const vqc_buffer *w,
                                bool transposed, axis_fn *axis, vqc_conv *conv, vqc_exec_type *type)
{
    attributes a;
    vqc_status status = read_attributes(call, x, w, transposed, &a);

    if (status == VQC_OK) {
        status = set_channels(call, x, w, &a, transposed, conv);
    }
    if (status != VQC_OK) {
        return status;
    }
    type->rank = x->rank;
    for (size_t i = 0; i < a.axes; i++) {
        int64_t front = 0, out = 0;

        status = axis(call, &a, i, x->dims[2 + i], w->dims[2 + i], &front, &out);
        if (status != VQC_OK) {
            return status;
        }
        set_axis(conv, &a, i, x->dims[2 + i], w->dims[2 + i], out);
        conv->pad[VQC_CONV_AXES - a.axes + i] = front;
        type->dims[2 + i] = out;
    }
    set_products(conv, type);
    return VQC_OK;
}

vqc_status vqc_conv_geometry(vqc_exec_call *call, const vqc_buffer *x, const vqc_buffer *w,
                             vqc_conv *conv, vqc_exec_type *type)
{
    return make_geometry(call, x, w, false, forward_axis, conv, type);
}

bool vqc_conv_weight_shape(const vqc_exec_call *call, const vqc_buffer *w, vqc_conv *conv)
{
    const int64_t group = vqc_node_attr_int(call->node, "group", 1);

    memset(conv, 0, sizeof *conv);
    if (w->rank < 3 || w->rank > 2 + VQC_CONV_AXES || w->elements == 0 || group < 1 ||
        w->dims[0] % group != 0) {
        return false;
    }
    conv->group = (size_t)group;
    conv->m = (size_t)(w->dims[0] / group);
    conv->c = (size_t)w->dims[1];
    conv->taps = w->elements / (size_t)w->dims[0] / (size_t)w->dims[1];
    return true;
}

/* ONNX ConvTranspose: total_padding = stride (in - 1) + output_padding + reach - output_shape, and
 * output = stride (in - 1) + output_padding + reach - both paddings. */
static vqc_status transpose_axis(vqc_exec_call *call, const attributes *a, size_t i, int64_t in,
                                 int64_t kernel, int64_t *front, int64_t *out)
{
    const int64_t reach = a->dilation[i] * (kernel - 1) + 1;
    const int64_t full = a->stride[i] * (in - 1) + a->extra[i] + reach;
    int64_t total = a->pads[i] + a->pads[a->axes + i];

    *front = a->pads[i];
    if (a->has_shape || a->padding == PAD_SAME_UPPER || a->padding == PAD_SAME_LOWER) {
        *out = a->has_shape ? a->shape[i] : in * a->stride[i];
        total = full - *out;
        *front = a->padding == PAD_SAME_UPPER ? total / 2 : total - total / 2;
        if (total < 0) {
            *front = 0; /* the output ends with elements that nothing reaches */
        }
    } else if (a->padding == PAD_VALID) {
        *front = 0;
        *out = full;
    } else {
        *out = full - total;
    }
    if (in > 0 && *out < 1) {
        return vqc_exec_fail(call, "axis %zu: got an output of %lld elements, expected at least 1",
                             i, (long long)*out);
    }
    *out = *out < 0 ? 0 : *out;
    return VQC_OK;
}

vqc_status vqc_conv_transpose_geometry(vqc_exec_call *call, const vqc_buffer *x,
                                       const vqc_buffer *w, vqc_conv *conv, vqc_exec_type *type)
{
    return make_geometry(call, x, w, true, transpose_axis, conv, type);
}
