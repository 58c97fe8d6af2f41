/* Convolutions of 8-bit codes: ConvInteger, QLinearConv. */
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/exec/exec_ops_integer.h"
#include "core/graph.h"
#include "core/memory.h"
#include "kernels/kernels.h"

enum {
    AXES = 3,
    STRIP = VQC_INT_BLOCK_COLS, /* output positions that are packed at a time */
    PARALLEL_MACS = 1 << 19,
    MAX_DIRECT_TAPS = 256 /* of a depthwise window */
};

/* Geometry; missing leading axes have extent 1. */
typedef struct conv {
    size_t batch, channels, out_channels, groups;
    size_t group_in, group_out;
    size_t spatial; /* axes that the tensor has */
    size_t in[AXES], out[AXES], kernel[AXES], stride[AXES], dilation[AXES], pad[AXES];
    size_t in_plane, pixels, taps; /* products of in, out, kernel */
    size_t depth;                  /* group_in * taps */
} conv;

/* ---- attributes ---- */

static vqc_status read_axis_values(vqc_exec_call *call, const char *name, size_t count,
                                   int64_t fallback, int64_t least, int64_t *values)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, name);

    for (size_t i = 0; i < count; i++) {
        values[i] = fallback;
    }
    if (attr == NULL) {
        return VQC_OK;
    }
    if (attr->n_ints != count) {
        return vqc_exec_fail(call, "attribute \"%s\": got %zu values, expected %zu", name,
                             attr->n_ints, count);
    }
    for (size_t i = 0; i < count; i++) {
        values[i] = attr->ints[i];
        if (values[i] < least || values[i] > INT32_MAX) {
            return vqc_exec_fail(call, "attribute \"%s\": got %lld, expected at least %lld", name,
                                 (long long)values[i], (long long)least);
        }
    }
    return VQC_OK;
}

/* auto_pad as 'N'OTSET, 'V'ALID, SAME_'U'PPER, SAME_'L'OWER; 0 for anything else. */
static char auto_pad_of(const vqc_exec_call *call)
{
    static const struct {
        const char *name;
        char code;
    } modes[] = {{"NOTSET", 'N'}, {"VALID", 'V'}, {"SAME_UPPER", 'U'}, {"SAME_LOWER", 'L'}};
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, "auto_pad");

    if (attr == NULL || !attr->has_s || attr->s.len == 0) {
        return 'N';
    }
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (attr->s.len == strlen(modes[i].name) &&
            memcmp(attr->s.data, modes[i].name, attr->s.len) == 0) {
            return modes[i].code;
        }
    }
    return 0;
}

/* One spatial axis: padding in front and the output's extent. */
static vqc_status axis_geometry(vqc_exec_call *call, conv *c, size_t axis, char auto_pad,
                                int64_t pad_low, int64_t pad_high)
{
    int64_t in = (int64_t)c->in[axis];
    int64_t stride = (int64_t)c->stride[axis];
    int64_t window = ((int64_t)c->kernel[axis] - 1) * (int64_t)c->dilation[axis] + 1;

    if (auto_pad == 'U' || auto_pad == 'L') {
        int64_t total = ((in + stride - 1) / stride - 1) * stride + window - in;
        total = total > 0 ? total : 0;
        pad_low = auto_pad == 'U' ? total / 2 : total - total / 2;
        pad_high = total - pad_low;
    } else if (auto_pad == 'V') {
        pad_low = pad_high = 0;
    }
    if (in + pad_low + pad_high < window || c->kernel[axis] == 0) {
        return vqc_exec_fail(call,
                             "axis %zu: got %lld values with padding %lld and %lld, fewer "
                             "than the window of %lld",
                             axis, (long long)in, (long long)pad_low, (long long)pad_high,
                             (long long)window);
    }
    c->pad[axis] = (size_t)pad_low;
    c->out[axis] = (size_t)((in + pad_low + pad_high - window) / stride + 1);
    return VQC_OK;
}

static vqc_status check_channels(vqc_exec_call *call, const vqc_buffer *x, const vqc_buffer *w,
                                 conv *c)
{
    int64_t groups = vqc_node_attr_int(call->node, "group", 1);

    if (w->elements == 0) {
        return vqc_exec_fail(call, "the weights are empty");
    }
    if (groups < 1 || groups > INT32_MAX || x->dims[1] != w->dims[1] * groups ||
        w->dims[0] % groups != 0) {
        return vqc_exec_fail(
            call, "got %lld input channels for weights [%lld, %lld, ...] in %lld groups",
            (long long)x->dims[1], (long long)w->dims[0], (long long)w->dims[1], (long long)groups);
    }
    c->groups = (size_t)groups;
    c->batch = (size_t)x->dims[0];
    c->channels = (size_t)x->dims[1];
    c->out_channels = (size_t)w->dims[0];
    c->group_in = (size_t)w->dims[1];
    c->group_out = c->out_channels / c->groups;
    return VQC_OK;
}

static vqc_status make_conv(vqc_exec_call *call, conv *c)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *x = call->inputs[roles->a];
    const vqc_buffer *w = call->inputs[roles->b];
    int64_t strides[AXES], dilations[AXES], pads[2 * AXES], kernel[AXES];
    char auto_pad = auto_pad_of(call);
    size_t n = x->rank - 2;
    vqc_status status;

    memset(c, 0, sizeof *c);
    if (x->rank < 3 || n > AXES || w->rank != x->rank) {
        return vqc_exec_fail(call, "got ranks %zu and %zu, expected the same from 3 to %d", x->rank,
                             w->rank, AXES + 2);
    }
    if (auto_pad == 0 || vqc_node_attr_int(call->node, "channels_last", 0) != 0) {
        return vqc_exec_fail(call, "attribute \"%s\" has a value that is not supported",
                             auto_pad == 0 ? "auto_pad" : "channels_last");
    }
    if (check_channels(call, x, w, c) != VQC_OK ||
        read_axis_values(call, "strides", n, 1, 1, strides) != VQC_OK ||
        read_axis_values(call, "dilations", n, 1, 1, dilations) != VQC_OK ||
        read_axis_values(call, "pads", 2 * n, 0, 0, pads) != VQC_OK ||
        read_axis_values(call, "kernel_shape", n, 0, 1, kernel) != VQC_OK) {
        return vqc_int_failed(call);
    }
    c->spatial = n;
    c->in_plane = c->pixels = c->taps = 1;
    for (size_t i = 0; i < AXES; i++) {
        size_t from = i + n - AXES; /* wraps for the missing ones */

        c->in[i] = c->out[i] = c->kernel[i] = c->stride[i] = c->dilation[i] = 1;
        if (i + n < AXES) {
            continue;
        }
        c->in[i] = (size_t)x->dims[2 + from];
        c->kernel[i] = (size_t)w->dims[2 + from];
        c->stride[i] = (size_t)strides[from];
        c->dilation[i] = (size_t)dilations[from];
        if (vqc_node_attr(call->node, "kernel_shape") != NULL &&
            kernel[from] != w->dims[2 + from]) {
            return vqc_exec_fail(call, "kernel_shape: got %lld for weights of %lld",
                                 (long long)kernel[from], (long long)w->dims[2 + from]);
        }
        status = axis_geometry(call, c, i, auto_pad, pads[from], pads[from + n]);
        if (status != VQC_OK) {
            return status;
        }
        c->in_plane *= c->in[i];
        c->taps *= c->kernel[i];
        if (!vqc_size_mul(c->pixels, c->out[i], &c->pixels)) {
            return vqc_exec_fail(call, "output is too large");
        }
    }
    c->depth = c->group_in * c->taps;
    return VQC_OK;
}

vqc_status vqc_int_conv_shape(vqc_exec_call *call)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *x = call->inputs[roles->a];
    const vqc_buffer *w = call->inputs[roles->b];
    const vqc_buffer *y_zero = vqc_int_role(call, roles->y_zero);
    vqc_exec_type *type = &call->types[0];
    conv c;

    if (!vqc_int_is_codes(x) || !vqc_int_is_codes(w) ||
        (roles->y_zero >= 0 && !vqc_int_is_codes(y_zero))) {
        return vqc_exec_fail(call, "got types %s and %s, expected codes of 8 bits",
                             vqc_dtype_describe(x->dtype)->name,
                             vqc_dtype_describe(w->dtype)->name);
    }
    if (make_conv(call, &c) != VQC_OK) {
        return vqc_int_failed(call);
    }
    type->dtype = roles->y_zero >= 0 ? y_zero->dtype : VQC_DTYPE_INT32;
    type->rank = x->rank;
    type->dims[0] = (int64_t)c.batch;
    type->dims[1] = (int64_t)c.out_channels;
    for (size_t i = 0; i < c.spatial; i++) {
        type->dims[2 + i] = (int64_t)c.out[AXES - c.spatial + i];
    }
    return VQC_OK;
}

/* ---- weights ---- */

/* Whether the window is laid directly over planes of 16 bits, channel by channel. */
static bool is_direct(const conv *c)
{
    return c->group_in == 1 && c->group_out <= 4 && c->in[0] == 1 && c->kernel[0] == 1 &&
           c->pad[0] == 0 && c->taps <= MAX_DIRECT_TAPS;
}

/* Packs the weights of all groups, group_bytes apart. */
static vqc_status pack_weights(vqc_exec_call *call, const vqc_buffer *w, size_t groups,
                               size_t lines, size_t depth, size_t group_bytes, int16_t *packed)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *zero = vqc_int_role(call, roles->b_zero);
    int32_t *zeros = NULL;
    int32_t one = 0;

    if (zero != NULL && zero->elements != 1 && zero->dtype == w->dtype) {
        zeros = vqc_int_ints(call, zero, "zero point of the weights", groups * lines);
        if (zeros == NULL) {
            return vqc_int_failed(call);
        }
    } else if (vqc_int_zero(call, zero, "zero point of the weights", w->dtype, &one) != VQC_OK) {
        return vqc_int_failed(call);
    }
    for (size_t g = 0; g < groups; g++) {
        vqc_int_source source = {.data = w->data + g * lines * depth,
                                 .is_signed = w->dtype == VQC_DTYPE_INT8,
                                 .stride = depth,
                                 .zero = one,
                                 .zeros = zeros == NULL ? NULL : zeros + g * lines};
        vqc_int_pack(&source, lines, depth, VQC_INT_ROWS, call->threads,
                     packed + g * (group_bytes / sizeof *packed));
    }
    return VQC_OK;
}

static bool weight_bytes(size_t groups, size_t lines, size_t depth, size_t *group_bytes,
                         size_t *all)
{
    return vqc_int_packed_bytes(lines, depth, VQC_INT_ROWS, group_bytes) &&
           vqc_size_mul(*group_bytes, groups, all);
}

vqc_status vqc_int_conv_prepare(vqc_exec_call *call)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *w = vqc_int_role(call, roles->b);
    int64_t groups = vqc_node_attr_int(call->node, "group", 1);
    size_t lines, depth, group_bytes, all;
    vqc_status status;

    call->prepared = NULL;
    if (w == NULL || w->rank < 3 || w->elements == 0 || !vqc_int_is_codes(w) || groups < 1 ||
        w->dims[0] < 1 || w->dims[0] % groups != 0 ||
        (vqc_int_is_given(call, roles->b_zero) && vqc_int_role(call, roles->b_zero) == NULL)) {
        return VQC_OK; /* packed, or found to be wrong, in every run */
    }
    lines = (size_t)(w->dims[0] / groups);
    depth = w->elements / (size_t)w->dims[0];
    if (!weight_bytes((size_t)groups, lines, depth, &group_bytes, &all) ||
        (call->prepared = malloc(all + 1)) == NULL) {
        return vqc_fail_memory(call->error, w->elements);
    }
    status = pack_weights(call, w, (size_t)groups, lines, depth, group_bytes, call->prepared);
    if (status != VQC_OK) {
        free(call->prepared);
        call->prepared = NULL;
    }
    return status;
}

/* ---- positions as columns ---- */

/* What one thread needs: codes of a strip, packed; sums. */
typedef struct workspace {
    uint8_t *codes; /* [VQC_INT_BLOCK_DEPTH, STRIP] */
    int16_t *right; /* the same packed */
    int32_t *sums;  /* [group_out, STRIP] */
} workspace;

/* `count` values of one input row for one tap: from position `first` of the output row on. */
static void copy_row(const conv *c, const uint8_t *row, size_t tap, size_t first, size_t count,
                     uint8_t zero, uint8_t *target)
{
    ptrdiff_t step = (ptrdiff_t)c->stride[2];
    ptrdiff_t at = (ptrdiff_t)(first * c->stride[2] + tap * c->dilation[2]) - (ptrdiff_t)c->pad[2];
    ptrdiff_t width = (ptrdiff_t)c->in[2];

    if (step == 1 && at >= 0 && at + (ptrdiff_t)count <= width) {
        memcpy(target, row + at, count);
        return;
    }
    for (size_t i = 0; i < count; i++, at += step) {
        target[i] = at >= 0 && at < width ? row[at] : zero;
    }
}

/* Row d of the matrix [depth, pixels]: positions first .. first + count of the output. */
static void gather_depth(const conv *c, const uint8_t *x, size_t d, size_t first, size_t count,
                         uint8_t zero, uint8_t *target)
{
    const uint8_t *plane = x + d / c->taps * c->in_plane;
    size_t tap[AXES] = {d % c->taps / (c->kernel[1] * c->kernel[2]),
                        d % (c->kernel[1] * c->kernel[2]) / c->kernel[2], d % c->kernel[2]};

    while (count > 0) {
        size_t out_row = first / c->out[2];
        size_t from = first % c->out[2];
        size_t n = c->out[2] - from < count ? c->out[2] - from : count;
        size_t z = out_row / c->out[1] * c->stride[0] + tap[0] * c->dilation[0] - c->pad[0];
        size_t y = out_row % c->out[1] * c->stride[1] + tap[1] * c->dilation[1] - c->pad[1];

        if (z < c->in[0] && y < c->in[1]) { /* negative ones have wrapped */
            copy_row(c, plane + (z * c->in[1] + y) * c->in[2], tap[2], from, n, zero, target);
        } else {
            memset(target, zero, n);
        }
        first += n;
        target += n;
        count -= n;
    }
}

static bool is_pointwise(const conv *c)
{
    return c->taps == 1 && c->pixels == c->in_plane && c->pad[0] + c->pad[1] + c->pad[2] == 0 &&
           c->stride[0] * c->stride[1] * c->stride[2] == 1;
}

/* Depths d0 .. d0 + n of a strip of positions, packed. */
static void pack_strip(const conv *c, const vqc_int_source *x, size_t d0, size_t n, size_t first,
                       size_t count, const workspace *w)
{
    vqc_int_source strip = *x;

    strip.across = true;
    if (is_pointwise(c)) {
        strip.data = x->data + d0 * c->in_plane + first;
        strip.stride = c->in_plane;
    } else {
        for (size_t d = 0; d < n; d++) {
            gather_depth(c, x->data, d0 + d, first, count, (uint8_t)x->zero, w->codes + d * STRIP);
        }
        strip.data = w->codes;
        strip.stride = STRIP;
    }
    vqc_int_pack(&strip, count, n, VQC_INT_COLS, 1, w->right);
}

/* One strip of one group of one image. */
static void run_strip(const conv *c, const vqc_int_source *x, const int16_t *left,
                      const vqc_int_result *result, size_t first, const workspace *w)
{
    const vqc_kernels *k = vqc_kernels_get();
    size_t count = c->pixels - first < STRIP ? c->pixels - first : STRIP;
    size_t left_panel = vqc_int_panel(c->depth, VQC_INT_ROWS);

    for (size_t d = 0; d < c->depth || d == 0; d += VQC_INT_BLOCK_DEPTH) {
        size_t n = c->depth - d < VQC_INT_BLOCK_DEPTH ? c->depth - d : VQC_INT_BLOCK_DEPTH;

        pack_strip(c, x, d, n, first, count, w);
        k->s16_s32_gemm(left + d * VQC_INT_ROWS, left_panel, w->right,
                        vqc_int_panel(n, VQC_INT_COLS), c->group_out, count, (n + 1) / 2, d > 0,
                        w->sums, STRIP);
    }
    vqc_int_finish(result, w->sums, STRIP, 0, c->group_out, first, count);
}

/* ---- depthwise ---- */

/*
 * A plane of 16-bit values with its padding, cut into stride x stride phases so that each tap of
 * the window reads neighbours: value (y, x) lies in phase (y % sy, x % sx) at row y / sy, column x
 * / sx. All rows are `pitch` apart; sums have the same pitch.
 */
typedef struct planes {
    size_t rows, pitch, size; /* of one phase; size with room for reading on */
    size_t count;             /* phases */
    int32_t offsets[MAX_DIRECT_TAPS];
} planes;

static bool plan_planes(const conv *c, planes *p)
{
    size_t wide = (c->kernel[2] - 1) * c->dilation[2] / c->stride[2];
    size_t high = (c->kernel[1] - 1) * c->dilation[1] / c->stride[1];
    size_t total;

    p->pitch = c->out[2] + wide;
    p->rows = c->out[1] + high;
    p->count = c->stride[1] * c->stride[2];
    if (!vqc_size_mul(p->rows, p->pitch, &p->size) ||
        !vqc_size_add(p->size, p->pitch + 64, &p->size) ||
        !vqc_size_mul(p->size, p->count, &total) || total > INT32_MAX ||
        total / 8 > c->in_plane + c->pixels + 4096) { /* mostly padding */
        return false;
    }
    for (size_t t = 0; t < c->taps; t++) {
        size_t y = t / c->kernel[2] * c->dilation[1];
        size_t x = t % c->kernel[2] * c->dilation[2];

        p->offsets[t] = (int32_t)((y % c->stride[1] * c->stride[2] + x % c->stride[2]) * p->size +
                                  y / c->stride[1] * p->pitch + x / c->stride[2]);
    }
    return true;
}

/* Fills the phases from one channel; what is padding is 0. */
static void spread_plane(const conv *c, const planes *p, const vqc_int_source *x, int16_t *target)
{
    memset(target, 0, p->size * p->count * sizeof *target);
    for (size_t y = 0; y < c->in[1]; y++) {
        size_t py = y + c->pad[1];
        const uint8_t *row = x->data + y * c->in[2];
        int16_t *line = target + py % c->stride[1] * c->stride[2] * p->size;

        if (py / c->stride[1] >= p->rows) {
            break; /* no window reaches it */
        }
        line += py / c->stride[1] * p->pitch;
        for (size_t i = 0; i < c->in[2]; i++) {
            size_t px = i + c->pad[2];
            int32_t code = x->is_signed ? ((const int8_t *)row)[i] : row[i];

            if (px / c->stride[2] >= p->pitch) {
                break;
            }
            line[px % c->stride[2] * p->size + px / c->stride[2]] = (int16_t)(code - x->zero);
        }
    }
}

/* All output channels of one group of one image. */
static void run_direct(const conv *c, const planes *p, const vqc_int_source *x, const int16_t *left,
                       const vqc_int_result *result, int16_t *plane, int32_t *sums, float *scales)
{
    const vqc_kernels *k = vqc_kernels_get();
    int16_t weights[MAX_DIRECT_TAPS];
    size_t n = (c->out[1] - 1) * p->pitch + c->out[2];

    spread_plane(c, p, x, plane);
    for (size_t m = 0; m < c->group_out; m++) {
        vqc_int_result one = *result;
        size_t size = one.kind == VQC_INT_SUMS ? sizeof(int32_t) : 1;

        for (size_t t = 0; t < c->taps; t++) {
            weights[t] = left[m / VQC_INT_ROWS * vqc_int_panel(c->depth, VQC_INT_ROWS) +
                              (t / 2 * VQC_INT_ROWS + m % VQC_INT_ROWS) * 2 + t % 2];
        }
        k->s16_s32_taps(plane, n, p->offsets, weights, c->taps, sums);
        one.data = (char *)one.data + m * c->pixels * size;
        one.stride = c->out[2];
        one.bias = NULL;
        for (size_t r = 0; one.kind != VQC_INT_SUMS && r < c->out[1]; r++) {
            scales[r] = result->scale[m];
        }
        for (size_t i = 0; result->bias != NULL && i < n; i++) {
            sums[i] = (int32_t)((uint32_t)sums[i] + (uint32_t)result->bias[m]);
        }
        one.scale = scales;
        vqc_int_finish(&one, sums, p->pitch, 0, c->out[1], 0, c->out[2]);
    }
}

/* ---- running ---- */

/* a_scale b_scale / y_scale and bias per output channel. */
static vqc_status describe_result(vqc_exec_call *call, const conv *c, vqc_int_result *result)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *bias = vqc_int_role(call, roles->bias);
    vqc_buffer *y = call->outputs[0];
    float a_scale, y_scale;
    float *scales;

    *result = (vqc_int_result){.kind = VQC_INT_SUMS, .data = y->data, .stride = c->pixels};
    if (roles->y_scale < 0) {
        return VQC_OK;
    }
    result->kind = VQC_INT_CODES;
    result->is_signed = y->dtype == VQC_DTYPE_INT8;
    result->by_row = true;
    scales =
        vqc_int_floats(call, call->inputs[roles->b_scale], "scale of the weights", c->out_channels);
    if (scales == NULL ||
        vqc_int_zero(call, vqc_int_role(call, roles->y_zero), "output zero point", y->dtype,
                     &result->zero_point) != VQC_OK ||
        vqc_int_float(call, call->inputs[roles->a_scale], "input scale", 1.0f, &a_scale) !=
            VQC_OK ||
        vqc_int_float(call, call->inputs[roles->y_scale], "output scale", 1.0f, &y_scale) !=
            VQC_OK) {
        return vqc_int_failed(call);
    }
    for (size_t i = 0; i < c->out_channels; i++) {
        scales[i] = a_scale * scales[i] / y_scale;
    }
    result->scale = scales;
    if (bias != NULL) {
        if (bias->elements != c->out_channels) {
            return vqc_exec_fail(call, "bias: got %zu values, expected %zu", bias->elements,
                                 c->out_channels);
        }
        result->bias = vqc_int_ints(call, bias, "bias", c->out_channels);
        return result->bias == NULL ? vqc_int_failed(call) : VQC_OK;
    }
    return VQC_OK;
}

/* The source and result of one group of one image. */
static void at_group(const conv *c, size_t i, vqc_int_source *x, const int16_t **left,
                     size_t group_bytes, vqc_int_result *result)
{
    size_t image = i / c->groups;
    size_t group = i % c->groups;
    size_t width = result->kind == VQC_INT_SUMS ? sizeof(int32_t) : 1;

    x->data += (image * c->channels + group * c->group_in) * c->in_plane;
    *left += group * (group_bytes / sizeof **left);
    result->data =
        (char *)result->data + (image * c->out_channels + group * c->group_out) * c->pixels * width;
    result->scale = result->scale == NULL ? NULL : result->scale + group * c->group_out;
    result->bias = result->bias == NULL ? NULL : result->bias + group * c->group_out;
}

static size_t thread_number(void)
{
#ifdef _OPENMP
    return (size_t)omp_get_thread_num();
#else
    return 0;
#endif
}

static vqc_status run_direct_all(vqc_exec_call *call, const conv *c, const vqc_int_source *x,
                                 const int16_t *left, size_t group_bytes,
                                 const vqc_int_result *result, const planes *p)
{
    size_t threads = (size_t)(call->threads < 1 ? 1 : call->threads);
    size_t plane_size = p->size * p->count;
    size_t sums_size = p->rows * p->pitch + 64;
    int16_t *plane = vqc_exec_scratch(call, threads * plane_size * sizeof *plane);
    int32_t *sums = vqc_exec_scratch(call, threads * sums_size * sizeof *sums);
    float *scales = vqc_exec_scratch(call, threads * c->out[1] * sizeof *scales);
    const bool parallel =
        threads > 1 && c->batch * c->out_channels * c->pixels * c->taps > PARALLEL_MACS;

    if (plane == NULL || sums == NULL || scales == NULL) {
        return vqc_int_failed(call);
    }
    (void)parallel;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) if (parallel)
#endif
    for (size_t i = 0; i < c->batch * c->groups; i++) {
        size_t thread = thread_number();
        vqc_int_source source = *x;
        vqc_int_result to = *result;
        const int16_t *weights = left;

        at_group(c, i, &source, &weights, group_bytes, &to);
        run_direct(c, p, &source, weights, &to, plane + thread * plane_size,
                   sums + thread * sums_size, scales + thread * c->out[1]);
    }
    return VQC_OK;
}

static vqc_status run_strips(vqc_exec_call *call, const conv *c, const vqc_int_source *x,
                             const int16_t *left, size_t group_bytes, const vqc_int_result *result)
{
    size_t threads = (size_t)(call->threads < 1 ? 1 : call->threads);
    size_t strips = (c->pixels + STRIP - 1) / STRIP;
    size_t block = (size_t)VQC_INT_BLOCK_DEPTH * STRIP;
    size_t sums_size;
    uint8_t *codes = vqc_exec_scratch(call, threads * block);
    int16_t *right = vqc_exec_scratch(call, threads * block * sizeof *right);
    int32_t *sums = NULL;
    const bool parallel = threads > 1 && (double)c->batch * (double)c->out_channels *
                                                 (double)c->pixels * (double)c->depth >
                                             (double)PARALLEL_MACS;

    if (vqc_size_mul(c->group_out, STRIP, &sums_size) && sums_size < SIZE_MAX / 4 / threads) {
        sums = vqc_exec_scratch(call, threads * sums_size * sizeof *sums);
    }
    if (codes == NULL || right == NULL || sums == NULL) {
        return vqc_int_failed(call);
    }
    (void)parallel;
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (parallel)
#endif
    for (size_t i = 0; i < c->batch * c->groups * strips; i++) {
        size_t thread = thread_number();
        workspace w = {codes + thread * block, right + thread * block, sums + thread * sums_size};
        vqc_int_source source = *x;
        vqc_int_result to = *result;
        const int16_t *weights = left;

        at_group(c, i / strips, &source, &weights, group_bytes, &to);
        run_strip(c, &source, weights, &to, i % strips * STRIP, &w);
    }
    return VQC_OK;
}

vqc_status vqc_int_conv_run(vqc_exec_call *call)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *x = call->inputs[roles->a];
    const vqc_buffer *w = call->inputs[roles->b];
    vqc_int_source source = {.data = x->data, .is_signed = x->dtype == VQC_DTYPE_INT8};
    int16_t *left = call->prepared;
    size_t group_bytes, all;
    vqc_int_result result;
    planes p;
    conv c;

    if (make_conv(call, &c) != VQC_OK) {
        return vqc_int_failed(call);
    }
    if (call->outputs[0]->elements == 0) {
        return VQC_OK;
    }
    if (vqc_int_zero(call, vqc_int_role(call, roles->a_zero), "input zero point", x->dtype,
                     &source.zero) != VQC_OK ||
        describe_result(call, &c, &result) != VQC_OK) {
        return vqc_int_failed(call);
    }
    if (!weight_bytes(c.groups, c.group_out, c.depth, &group_bytes, &all)) {
        return vqc_fail_memory(call->error, c.depth);
    }
    if (left == NULL) {
        left = vqc_exec_scratch(call, all + 1);
        if (left == NULL ||
            pack_weights(call, w, c.groups, c.group_out, c.depth, group_bytes, left) != VQC_OK) {
            return vqc_int_failed(call);
        }
    }
    if (is_direct(&c) && plan_planes(&c, &p)) {
        return run_direct_all(call, &c, &source, left, group_bytes, &result, &p);
    }
    return run_strips(call, &c, &source, left, group_bytes, &result);
}
