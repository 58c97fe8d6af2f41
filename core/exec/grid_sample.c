/* GridSample, AffineGrid, RoiAlign. All compute in double and round when stored. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_image.h"
#include "core/exec/working.h"
#include "core/graph.h"

enum { THREAD_WORK = 1 << 16, MAX_SPACE = 3, MAX_TAPS = 4, MAX_SAMPLES = 1 << 20 };

static bool is_float(const vqc_buffer *buffer)
{
    vqc_class class = vqc_class_of(buffer->dtype);

    return class == VQC_CLASS_F32 || class == VQC_CLASS_F64;
}

/* ---- GridSample ---- */

typedef enum { NEAREST, LINEAR, CUBIC } sample_mode;
typedef enum { ZEROS, BORDER, REFLECTION } sample_padding;

static const char *const SAMPLE_MODES[] = {"linear", "nearest", "cubic", "bilinear", "bicubic"};
static const char *const PADDINGS[] = {"zeros", "border", "reflection"};

typedef struct grid_sample {
    sample_mode mode;
    sample_padding padding;
    bool align_corners;
    size_t space; /* spatial axes */
    size_t dims[MAX_SPACE];
} grid_sample;

static vqc_status parse_grid(vqc_exec_call *call, grid_sample *g)
{
    static const sample_mode MODES[] = {LINEAR, NEAREST, CUBIC, LINEAR, CUBIC};
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *grid = call->inputs[1];
    size_t mode, padding;
    vqc_status status = vqc_exec_choice(call, "mode", SAMPLE_MODES, 5, &mode);

    if (status == VQC_OK) {
        status = vqc_exec_choice(call, "padding_mode", PADDINGS, 3, &padding);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (x->rank < 3 || x->rank > 2 + MAX_SPACE || grid->rank != x->rank ||
        grid->dims[0] != x->dims[0] || grid->dims[grid->rank - 1] != (int64_t)x->rank - 2 ||
        vqc_class_of(x->dtype) == VQC_CLASS_NONE || !is_float(grid)) {
        return vqc_exec_fail(call, "X and grid: ranks %zu and %zu, types or dims do not fit",
                             x->rank, grid->rank);
    }
    g->mode = MODES[mode];
    g->padding = (sample_padding)padding;
    g->align_corners = vqc_node_attr_int(call->node, "align_corners", 0) != 0;
    g->space = x->rank - 2;
    for (size_t i = 0; i < g->space; i++) {
        g->dims[i] = (size_t)x->dims[2 + i];
        if (g->dims[i] == 0) {
            return vqc_exec_fail(call, "X: spatial axis %zu is empty", i);
        }
    }
    return VQC_OK;
}

vqc_status vqc_grid_sample_shape(vqc_exec_call *call)
{
    vqc_exec_type *type = &call->types[0];
    grid_sample g;
    vqc_status status = parse_grid(call, &g);

    if (status == VQC_OK) {
        vqc_exec_type_like(type, call->inputs[0]);
        for (size_t i = 0; i < g.space; i++) {
            type->dims[2 + i] = call->inputs[1]->dims[1 + i];
        }
    }
    return status;
}

/* x mirrored into [low, high] as often as needed. */
static double reflect(double x, double low, double high)
{
    double range = high - low;
    double beyond = x < low ? low - x : x - high;
    double turns;
    double rest;

    if (x >= low && x <= high) {
        return x;
    }
    if (!(range > 0.0) || !isfinite(x)) {
        return low;
    }
    turns = floor(beyond / range);
    rest = beyond - turns * range;
    return (x < low) == (fmod(turns, 2.0) == 0.0) ? low + rest : high - rest;
}

/* Indices and weights of one coordinate on an axis of `length`; -1: a zero outside. */
static size_t find_taps(const grid_sample *g, double coordinate, size_t length, ptrdiff_t *indices,
                        double *weights)
{
    double low = g->align_corners ? 0.0 : -0.5;
    double high = (double)length - (g->align_corners ? 1.0 : 0.5);
    double x = g->align_corners ? (coordinate + 1.0) / 2.0 * ((double)length - 1.0)
                                : ((coordinate + 1.0) * (double)length - 1.0) / 2.0;
    size_t count = g->mode == NEAREST ? 1 : g->mode == LINEAR ? 2 : 4;
    double first;
    double t;

    x = g->mode == NEAREST ? nearbyint(x) : x;
    if (!(x >= low && x <= high) && g->padding == BORDER && g->mode != CUBIC) {
        x = fmin(fmax(x, 0.0), (double)length - 1.0);
    } else if (!(x >= low && x <= high) && g->padding == REFLECTION) {
        x = reflect(x, low, high);
    }
    x = x > -1e9 ? fmin(x, 1e9) : -1e9; /* also what is not a number */
    first = g->mode == NEAREST ? x : floor(x) - (g->mode == CUBIC ? 1.0 : 0.0);
    t = x - floor(x);
    if (g->mode == CUBIC) { /* Keys' kernel with a = -0.75 at t + 1, t, 1 - t, 2 - t */
        const double a = -0.75;
        weights[0] = ((a * (t + 1.0) - 5.0 * a) * (t + 1.0) + 8.0 * a) * (t + 1.0) - 4.0 * a;
        weights[1] = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
        weights[2] = ((a + 2.0) * (1.0 - t) - (a + 3.0)) * (1.0 - t) * (1.0 - t) + 1.0;
        weights[3] = ((a * (2.0 - t) - 5.0 * a) * (2.0 - t) + 8.0 * a) * (2.0 - t) - 4.0 * a;
    } else {
        weights[0] = g->mode == NEAREST ? 1.0 : 1.0 - t;
        weights[1] = t;
    }
    for (size_t i = 0; i < count; i++) {
        double at = first + (double)i;

        if (at < 0.0 || at > (double)length - 1.0) {
            if (g->padding == ZEROS) {
                indices[i] = -1;
                continue;
            }
            at = g->padding == REFLECTION ? reflect(at, low, high) : at;
            at = fmin(fmax(trunc(at), 0.0), (double)length - 1.0);
        }
        indices[i] = (ptrdiff_t)at;
    }
    return count;
}

/* One point of all channels. */
static void sample_point(const grid_sample *g, const double *grid, const double *x, size_t channels,
                         size_t plane, double *y, size_t stride)
{
    ptrdiff_t indices[MAX_SPACE][MAX_TAPS];
    double weights[MAX_SPACE][MAX_TAPS];
    size_t count = 1;
    size_t total = 1;

    for (size_t i = 0; i < g->space; i++) { /* the grid has the last axis first */
        count = find_taps(g, grid[g->space - 1 - i], g->dims[i], indices[i], weights[i]);
        total *= count;
    }
    for (size_t c = 0; c < channels; c++) {
        double sum = 0.0;

        for (size_t k = 0; k < total; k++) {
            size_t rest = k;
            double weight = 1.0;
            size_t at = 0;
            size_t stride_in = 1;
            bool outside = false;

            for (size_t i = g->space; i-- > 0;) {
                size_t tap = rest % count;
                rest /= count;
                weight *= weights[i][tap];
                outside = outside || indices[i][tap] < 0;
                at += outside ? 0 : (size_t)indices[i][tap] * stride_in;
                stride_in *= g->dims[i];
            }
            sum += outside ? 0.0 : weight * x[c * plane + at];
        }
        y[c * stride] = sum;
    }
}

vqc_status vqc_grid_sample_run(vqc_exec_call *call)
{
    grid_sample g;
    vqc_buffer *out = call->outputs[0];
    vqc_status status = parse_grid(call, &g);
    const double *x = vqc_exec_values(call, call->inputs[0], VQC_CLASS_F64);
    const double *grid = vqc_exec_values(call, call->inputs[1], VQC_CLASS_F64);
    double *y = vqc_exec_target(call, out, VQC_CLASS_F64);
    size_t channels = (size_t)out->dims[1];
    size_t plane, points;

    if (status != VQC_OK || x == NULL || grid == NULL || y == NULL) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    if (out->elements == 0) {
        return VQC_OK;
    }
    plane = vqc_exec_product(call->inputs[0]->dims, 2, call->inputs[0]->rank);
    points = vqc_exec_product(out->dims, 2, out->rank);
#pragma omp parallel for num_threads(call->threads)                                                \
    schedule(static) if (call->threads > 1 && out->elements >= THREAD_WORK)
    for (size_t i = 0; i < (size_t)out->dims[0] * points; i++) {
        size_t n = i / points;

        sample_point(&g, grid + i * g.space, x + n * channels * plane, channels, plane,
                     y + n * channels * points + i % points, points);
    }
    vqc_exec_target_store(out, VQC_CLASS_F64, y);
    return VQC_OK;
}

/* ---- AffineGrid ---- */

vqc_status vqc_affine_grid_shape(vqc_exec_call *call)
{
    const vqc_buffer *theta = call->inputs[0];
    vqc_exec_type *type = &call->types[0];
    int64_t size[2 + MAX_SPACE];
    size_t count;
    vqc_status status = vqc_exec_ints(call, call->inputs[1], size, 2 + MAX_SPACE, &count);

    if (status != VQC_OK) {
        return status;
    }
    if (!is_float(theta) || theta->rank != 3 || (count != 4 && count != 5) ||
        theta->dims[0] != size[0] || theta->dims[1] != (int64_t)count - 2 ||
        theta->dims[2] != (int64_t)count - 1) {
        return vqc_exec_fail(call, "theta and size do not fit together");
    }
    type->dtype = theta->dtype;
    type->rank = count;
    type->dims[0] = size[0];
    for (size_t i = 2; i < count; i++) {
        type->dims[i - 1] = size[i];
    }
    type->dims[count - 1] = (int64_t)count - 2;
    return VQC_OK;
}

vqc_status vqc_affine_grid_run(vqc_exec_call *call)
{
    vqc_buffer *out = call->outputs[0];
    bool align = vqc_node_attr_int(call->node, "align_corners", 0) != 0;
    const double *theta = vqc_exec_values(call, call->inputs[0], VQC_CLASS_F64);
    double *y = vqc_exec_target(call, out, VQC_CLASS_F64);
    size_t space = out->rank - 2;

    if (theta == NULL || y == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t i = 0; i < out->elements / space; i++) {
        double point[MAX_SPACE + 1]; /* x, y, (z,) 1 */
        size_t rest = i;
        const double *matrix;

        for (size_t k = 0; k < space; k++) {
            double length = (double)out->dims[space - k];
            double at = (double)(rest % (size_t)out->dims[space - k]);

            rest /= (size_t)out->dims[space - k];
            point[k] = align ? (length > 1.0 ? 2.0 * at / (length - 1.0) - 1.0 : 0.0)
                             : (2.0 * at + 1.0) / length - 1.0;
        }
        point[space] = 1.0;
        matrix = theta + rest * space * (space + 1);
        for (size_t r = 0; r < space; r++) {
            double sum = 0.0;

            for (size_t k = 0; k <= space; k++) {
                sum += matrix[r * (space + 1) + k] * point[k];
            }
            y[i * space + r] = sum;
        }
    }
    vqc_exec_target_store(out, VQC_CLASS_F64, y);
    return VQC_OK;
}

/* ---- RoiAlign ---- */

static const char *const ROI_MODES[] = {"avg", "max"};
static const char *const ROI_COORDINATES[] = {"half_pixel", "output_half_pixel"};

typedef struct roi_align {
    size_t height, width; /* of the result */
    int64_t sampling;
    double scale;
    bool half_pixel, most;
} roi_align;

static vqc_status parse_roi(vqc_exec_call *call, roi_align *r)
{
    const vqc_buffer *x = call->inputs[0];
    int64_t height = vqc_node_attr_int(call->node, "output_height", 1);
    int64_t width = vqc_node_attr_int(call->node, "output_width", 1);
    int64_t dims[2] = {-1, 4};
    size_t mode, coordinate;
    vqc_status status = vqc_exec_choice(call, "mode", ROI_MODES, 2, &mode);

    if (status == VQC_OK) {
        status = vqc_exec_choice(call, "coordinate_transformation_mode", ROI_COORDINATES, 2,
                                 &coordinate);
    }
    if (status == VQC_OK) {
        status = vqc_exec_expect(call, 1, x->dtype, 2, dims);
    }
    if (status == VQC_OK) {
        dims[0] = call->inputs[1]->dims[0];
        status = vqc_exec_expect(call, 2, VQC_DTYPE_INT64, 1, dims);
    }
    if (status != VQC_OK) {
        return status;
    }
    r->sampling = vqc_node_attr_int(call->node, "sampling_ratio", 0);
    if (x->rank != 4 || !is_float(x) || height < 1 || width < 1 || r->sampling < 0 ||
        r->sampling > MAX_SAMPLES || x->dims[2] < 1 || x->dims[3] < 1) {
        return vqc_exec_fail(call, "got X of rank %zu, result %lld x %lld, sampling_ratio %lld",
                             x->rank, (long long)height, (long long)width, (long long)r->sampling);
    }
    r->height = (size_t)height;
    r->width = (size_t)width;
    r->scale = (double)vqc_node_attr_float(call->node, "spatial_scale", 1.0f);
    r->half_pixel = call->opset >= 16 && coordinate == 0;
    r->most = mode == 1;
    return VQC_OK;
}

vqc_status vqc_roi_align_shape(vqc_exec_call *call)
{
    vqc_exec_type *type = &call->types[0];
    roi_align r;
    vqc_status status = parse_roi(call, &r);

    if (status == VQC_OK) {
        type->dtype = call->inputs[0]->dtype;
        type->rank = 4;
        type->dims[0] = call->inputs[1]->dims[0];
        type->dims[1] = call->inputs[0]->dims[1];
        type->dims[2] = (int64_t)r.height;
        type->dims[3] = (int64_t)r.width;
    }
    return status;
}

/* Low and high index and the weight of the high one; false outside of (-1, length). */
static bool roi_taps(double x, size_t length, size_t *low, size_t *high, double *weight)
{
    if (x < -1.0 || x > (double)length) {
        return false;
    }
    x = fmax(x, 0.0);
    *low = (size_t)x;
    if (*low >= length - 1) {
        *low = *high = length - 1;
        *weight = 0.0;
    } else {
        *high = *low + 1;
        *weight = x - (double)*low;
    }
    return true;
}

/* One element: samples [rows, columns] spread over the bin that starts at top, left. */
static double pool_bin(const roi_align *r, const double *plane, size_t height, size_t width,
                       const double *bin, size_t rows, size_t columns)
{
    double sum = 0.0;
    double most = -INFINITY;

    for (size_t i = 0; i < rows * columns; i++) {
        double y = bin[0] + ((double)(i / columns) + 0.5) * bin[2] / (double)rows;
        double x = bin[1] + ((double)(i % columns) + 0.5) * bin[3] / (double)columns;
        size_t top, bottom, left, right;
        double wy, wx;
        double part[4] = {0.0, 0.0, 0.0, 0.0};

        if (roi_taps(y, height, &top, &bottom, &wy) && roi_taps(x, width, &left, &right, &wx)) {
            part[0] = (1.0 - wy) * (1.0 - wx) * plane[top * width + left];
            part[1] = (1.0 - wy) * wx * plane[top * width + right];
            part[2] = wy * (1.0 - wx) * plane[bottom * width + left];
            part[3] = wy * wx * plane[bottom * width + right];
        }
        sum += part[0] + part[1] + part[2] + part[3];
        /* the maximum is one of the weighted neighbours, not of their sums: as ONNX Runtime */
        most = fmax(most, fmax(fmax(part[0], part[1]), fmax(part[2], part[3])));
    }
    if (rows * columns == 0) {
        return 0.0;
    }
    return r->most ? most : sum / (double)(rows * columns);
}

vqc_status vqc_roi_align_run(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    size_t channels = (size_t)in->dims[1];
    size_t height = (size_t)in->dims[2];
    size_t width = (size_t)in->dims[3];
    roi_align r;
    vqc_status status = parse_roi(call, &r);
    const double *x = vqc_exec_values(call, in, VQC_CLASS_F64);
    const double *rois = vqc_exec_values(call, call->inputs[1], VQC_CLASS_F64);
    double *y = vqc_exec_target(call, out, VQC_CLASS_F64);

    if (status != VQC_OK || x == NULL || rois == NULL || y == NULL) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    for (size_t n = 0; n < (size_t)out->dims[0] && out->elements > 0; n++) {
        double shift = r.half_pixel ? 0.5 : 0.0;
        double left = rois[4 * n] * r.scale - shift;
        double top = rois[4 * n + 1] * r.scale - shift;
        double w = rois[4 * n + 2] * r.scale - shift - left;
        double h = rois[4 * n + 3] * r.scale - shift - top;
        size_t index;
        double rows, columns;

        w = r.half_pixel ? w : fmax(w, 1.0);
        h = r.half_pixel ? h : fmax(h, 1.0);
        rows = r.sampling > 0 ? (double)r.sampling : fmax(0.0, ceil(h / (double)r.height));
        columns = r.sampling > 0 ? (double)r.sampling : fmax(0.0, ceil(w / (double)r.width));
        if (!vqc_exec_index_at(call->inputs[2], n, (size_t)in->dims[0], &index)) {
            return vqc_exec_bad_index(call, n, (size_t)in->dims[0]);
        }
        if (!(rows * columns <= MAX_SAMPLES) || !isfinite(left + top + w + h)) {
            return vqc_exec_fail(call, "rois: box %zu of %g x %g needs too many samples", n, h, w);
        }
        for (size_t i = 0; i < channels * r.height * r.width; i++) {
            double bh = h / (double)r.height;
            double bw = w / (double)r.width;
            double bin[4] = {top + (double)(i / r.width % r.height) * bh,
                             left + (double)(i % r.width) * bw, bh, bw};

            y[n * channels * r.height * r.width + i] =
                pool_bin(&r, x + (index * channels + i / (r.height * r.width)) * height * width,
                         height, width, bin, (size_t)rows, (size_t)columns);
        }
    }
    vqc_exec_target_store(out, VQC_CLASS_F64, y);
    return VQC_OK;
}
