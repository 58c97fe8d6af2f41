/* Resize and Upsample. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_image.h"
#include "core/exec/resample.h"
#include "core/exec/working.h"
#include "core/graph.h"

enum { THREAD_WORK = 1 << 20, MAX_LENGTH = 1 << 30 };

typedef struct resize_plan {
    vqc_resample how;
    vqc_resample_axis axes[VQC_EXEC_MAX_RANK];
    bool moves[VQC_EXEC_MAX_RANK]; /* the axis is not simply copied */
    float extrapolation;
} resize_plan;

static const char *const MODES[] = {"nearest", "linear", "cubic", "bilinear"};
static const char *const COORDINATES[] = {
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
    "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize",
};
static const char *const ROUNDINGS[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
static const char *const POLICIES[] = {"stretch", "not_larger", "not_smaller"};

/* Attributes of version 11 and later. */
static vqc_status parse_modes(vqc_exec_call *call, resize_plan *plan)
{
    size_t choice;
    vqc_status status = vqc_exec_choice(call, "coordinate_transformation_mode", COORDINATES,
                                        sizeof COORDINATES / sizeof COORDINATES[0], &choice);

    plan->how.coordinate = (vqc_resample_coordinate)choice;
    if (status == VQC_OK) {
        status = vqc_exec_choice(call, "nearest_mode", ROUNDINGS, 4, &choice);
        plan->how.rounding = (vqc_resample_rounding)choice;
    }
    plan->how.cubic_a = vqc_node_attr_float(call->node, "cubic_coeff_a", -0.75f);
    plan->how.antialias = vqc_node_attr_int(call->node, "antialias", 0) != 0;
    plan->how.exclude_outside = vqc_node_attr_int(call->node, "exclude_outside", 0) != 0;
    plan->extrapolation = vqc_node_attr_float(call->node, "extrapolation_value", 0.0f);
    return status;
}

/* Real numbers of input `index` into values [count]; *given = false when absent or empty. */
static vqc_status read_reals(vqc_exec_call *call, size_t index, float *values, size_t count,
                             bool *given)
{
    const vqc_buffer *buffer = vqc_exec_input(call, index);
    vqc_chunk chunk;

    *given = buffer != NULL && buffer->elements > 0;
    if (!*given) {
        return VQC_OK;
    }
    if (buffer->rank != 1 || buffer->elements != count ||
        (vqc_class_of(buffer->dtype) != VQC_CLASS_F32 &&
         vqc_class_of(buffer->dtype) != VQC_CLASS_F64)) {
        return vqc_exec_fail(call, "input %zu: got %zu values of type %s, expected %zu floats",
                             index, buffer->elements, vqc_dtype_describe(buffer->dtype)->name,
                             count);
    }
    vqc_element_load(buffer->dtype, buffer->data, count, &chunk);
    vqc_element_convert(&chunk, vqc_class_of(buffer->dtype), VQC_CLASS_F32, count);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(chunk.f32[i])) {
            return vqc_exec_fail(call, "input %zu: value %zu is not a finite number", index, i);
        }
        values[i] = chunk.f32[i];
    }
    return VQC_OK;
}

static vqc_status set_scale(vqc_exec_call *call, vqc_resample_axis *axis, float scale)
{
    float length = floorf((float)axis->in * scale);

    if (!(scale > 0.0f) || !(length <= (float)MAX_LENGTH)) {
        return vqc_exec_fail(call,
                             "scale: got %g for an axis of length %zu, expected > 0 and at "
                             "most %d elements",
                             (double)scale, axis->in, MAX_LENGTH);
    }
    axis->scale = scale;
    axis->out = (size_t)length;
    return VQC_OK;
}

/* `sizes`, with what keep_aspect_ratio_policy makes of them. */
static vqc_status apply_sizes(vqc_exec_call *call, resize_plan *plan, const size_t *axes,
                              size_t count)
{
    int64_t sizes[VQC_EXEC_MAX_RANK];
    size_t given;
    size_t policy;
    float common = 0.0f;
    const vqc_resize_version *version = call->detail;
    vqc_status status =
        vqc_exec_ints(call, call->inputs[version->sizes], sizes, VQC_EXEC_MAX_RANK, &given);

    if (status == VQC_OK) {
        status = vqc_exec_choice(call, "keep_aspect_ratio_policy", POLICIES, 3, &policy);
    }
    if (status == VQC_OK && given != count) {
        status = vqc_exec_fail(call, "sizes: got %zu values, expected %zu", given, count);
    }
    for (size_t i = 0; status == VQC_OK && i < count; i++) {
        vqc_resample_axis *axis = &plan->axes[axes[i]];
        if (sizes[i] < 0 || sizes[i] > MAX_LENGTH || (axis->in == 0 && sizes[i] > 0)) {
            return vqc_exec_fail(call, "sizes: got %lld for axis %zu of length %zu",
                                 (long long)sizes[i], axes[i], axis->in);
        }
        axis->out = (size_t)sizes[i];
        axis->scale = axis->in > 0 ? (float)sizes[i] / (float)axis->in : 1.0f;
        if (i == 0 || (policy == 1 ? axis->scale < common : axis->scale > common)) {
            common = axis->scale;
        }
    }
    for (size_t i = 0; status == VQC_OK && policy > 0 && i < count; i++) {
        vqc_resample_axis *axis = &plan->axes[axes[i]];
        float length = floorf((float)axis->in * common + 0.5f);
        if (!(length <= (float)MAX_LENGTH)) {
            return vqc_exec_fail(call, "sizes: axis %zu would get %g elements", axes[i],
                                 (double)length);
        }
        axis->scale = common;
        axis->out = (size_t)length;
    }
    return status;
}

/* The axes that scales, sizes and roi speak of. */
static vqc_status parse_axes(vqc_exec_call *call, size_t *axes, size_t *count)
{
    size_t rank = call->inputs[0]->rank;
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, "axes");
    bool seen[VQC_EXEC_MAX_RANK] = {false};

    *count = rank;
    for (size_t i = 0; i < rank; i++) {
        axes[i] = i;
    }
    if (attr == NULL) {
        return VQC_OK;
    }
    if (attr->n_ints > rank) {
        return vqc_exec_fail(call, "axes: got %zu for rank %zu", attr->n_ints, rank);
    }
    *count = attr->n_ints;
    for (size_t i = 0; i < attr->n_ints; i++) {
        vqc_status status = vqc_exec_axis(call, attr->ints[i], rank, &axes[i]);
        if (status != VQC_OK) {
            return status;
        }
        if (seen[axes[i]]) {
            return vqc_exec_fail(call, "axes: got axis %zu twice", axes[i]);
        }
        seen[axes[i]] = true;
    }
    return VQC_OK;
}

static vqc_status parse_scales(vqc_exec_call *call, resize_plan *plan, const size_t *axes,
                               size_t count)
{
    const vqc_resize_version *version = call->detail;
    const vqc_buffer *sizes = version->sizes > 0 ? vqc_exec_input(call, version->sizes) : NULL;
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, "scales");
    float values[2 * VQC_EXEC_MAX_RANK];
    bool given;
    vqc_status status;

    if (version->scales == 0) {
        given = attr != NULL && attr->n_floats == count;
        if (given) {
            memcpy(values, attr->floats, count * sizeof values[0]);
        }
        status = VQC_OK;
    } else {
        status = read_reals(call, version->scales, values, count, &given);
    }
    if (status == VQC_OK && !given && (sizes == NULL || sizes->elements == 0)) {
        status = vqc_exec_fail(call, "expected %zu scales or sizes", count);
    }
    if (status == VQC_OK && !given) {
        status = apply_sizes(call, plan, axes, count);
    } else {
        for (size_t i = 0; status == VQC_OK && i < count; i++) {
            status = set_scale(call, &plan->axes[axes[i]], values[i]);
        }
    }
    if (status != VQC_OK || plan->how.coordinate != VQC_COORDINATE_TF_CROP_AND_RESIZE) {
        return status;
    }
    status = read_reals(call, version->roi, values, 2 * count, &given);
    if (status == VQC_OK && !given) {
        status = vqc_exec_fail(call, "tf_crop_and_resize needs roi");
    }
    for (size_t i = 0; status == VQC_OK && i < count; i++) {
        plan->axes[axes[i]].start = values[i];
        plan->axes[axes[i]].end = values[count + i];
        plan->moves[axes[i]] = true;
    }
    return status;
}

static vqc_status parse(vqc_exec_call *call, resize_plan *plan)
{
    const vqc_buffer *in = call->inputs[0];
    const vqc_resize_version *version = call->detail;
    size_t axes[VQC_EXEC_MAX_RANK];
    size_t count;
    size_t mode;
    vqc_status status = vqc_exec_choice(call, "mode", MODES, 4, &mode);

    memset(plan, 0, sizeof *plan);
    plan->how.mode = mode == 3 ? VQC_RESAMPLE_LINEAR : (vqc_resample_mode)mode;
    plan->how.coordinate = VQC_COORDINATE_ASYMMETRIC;
    plan->how.rounding = VQC_ROUND_FLOOR;
    for (size_t i = 0; i < in->rank; i++) {
        plan->axes[i] = (vqc_resample_axis){
            .in = (size_t)in->dims[i], .out = (size_t)in->dims[i], .scale = 1.0f, .end = 1.0f};
    }
    if (status == VQC_OK && version->modes) {
        status = parse_modes(call, plan);
    }
    if (status == VQC_OK) {
        status = parse_axes(call, axes, &count);
    }
    if (status == VQC_OK) {
        status = parse_scales(call, plan, axes, count);
    }
    for (size_t i = 0; i < in->rank; i++) {
        const vqc_resample_axis *axis = &plan->axes[i];
        plan->moves[i] = plan->moves[i] || axis->in != axis->out || axis->scale != 1.0f ||
                         plan->how.coordinate == VQC_COORDINATE_TF_HALF_PIXEL_FOR_NN;
    }
    return status;
}

vqc_status vqc_resize_shape(vqc_exec_call *call)
{
    resize_plan plan;
    vqc_exec_type *type = &call->types[0];
    vqc_status status = parse(call, &plan);

    if (status != VQC_OK) {
        return status;
    }
    if (plan.how.mode != VQC_RESAMPLE_NEAREST &&
        vqc_class_of(call->inputs[0]->dtype) == VQC_CLASS_NONE) {
        return vqc_exec_fail(call, "got type %s, expected numbers",
                             vqc_dtype_describe(call->inputs[0]->dtype)->name);
    }
    vqc_exec_type_like(type, call->inputs[0]);
    for (size_t i = 0; i < type->rank; i++) {
        type->dims[i] = (int64_t)plan.axes[i].out;
    }
    return VQC_OK;
}

/* ---- nearest ---- */

/* Whether output 2 i and 2 i + 1 are input i. */
static bool is_doubling(size_t length, const size_t *table, size_t count)
{
    bool doubles = count == 2 * length;

    for (size_t j = 0; doubles && j < count; j++) {
        doubles = table[j] == j / 2;
    }
    return doubles;
}

/* One axis after the other, elements moved as they are. */
static void gather_axis(const unsigned char *in, unsigned char *out, size_t outer, size_t length,
                        const size_t *table, size_t count, size_t row)
{
    if (row == 4 && is_doubling(length, table, count)) {
        for (size_t j = 0; j < outer * length; j++) {
            uint32_t pair[2];

            memcpy(&pair[0], in + 4 * j, 4);
            pair[1] = pair[0];
            memcpy(out + 8 * j, pair, 8);
        }
        return;
    }
    for (size_t o = 0; o < outer; o++) {
        const unsigned char *from = in + o * length * row;
        unsigned char *to = out + o * count * row;

        if (row == 4) {
            for (size_t j = 0; j < count; j++) {
                memcpy(to + 4 * j, from + 4 * table[j], 4);
            }
            continue;
        }
        for (size_t j = 0; j < count; j++) {
            memcpy(to + j * row, from + table[j] * row, row);
        }
    }
}

/* ---- linear and cubic ---- */

typedef struct axis_table {
    size_t taps;
    const size_t *indices; /* [out, taps] */
    const float *weights;  /* [out, taps] */
} axis_table;

/* out [outer, count, row] = weighted sums over the middle axis of in [outer, length, row]; one sum
 * in the order of the taps for each element. */
#define DEFINE_BLEND(name, type)                                                                   \
    static void name(const type *in, type *restrict out, const axis_table *table, size_t j,        \
                     size_t row)                                                                   \
    {                                                                                              \
        const size_t *indices = table->indices + j * table->taps;                                  \
        const float *weights = table->weights + j * table->taps;                                   \
        for (size_t t = 0; t < table->taps; t++) {                                                 \
            const type *from = in + indices[t] * row;                                              \
            type weight = (type)weights[t];                                                        \
            if (t == 0) {                                                                          \
                _Pragma("omp simd") for (size_t k = 0; k < row; k++)                               \
                {                                                                                  \
                    out[k] = weight * from[k];                                                     \
                }                                                                                  \
            } else {                                                                               \
                _Pragma("omp simd") for (size_t k = 0; k < row; k++)                               \
                {                                                                                  \
                    out[k] += weight * from[k];                                                    \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE_BLEND(blend_f32, float)
DEFINE_BLEND(blend_f64, double)

static void blend_axis(vqc_exec_call *call, vqc_class class, const void *in, void *out,
                       size_t outer, const vqc_resample_axis *axis, const axis_table *table,
                       size_t row)
{
    double work = (double)outer * (double)axis->out * (double)row * (double)table->taps;

#pragma omp parallel for num_threads(call->threads)                                                \
    schedule(static) if (call->threads > 1 && work >= THREAD_WORK)
    for (size_t i = 0; i < outer * axis->out; i++) {
        size_t o = i / axis->out;
        size_t j = i % axis->out;

        if (class == VQC_CLASS_F32) {
            blend_f32((const float *)in + o * axis->in * row, (float *)out + i * row, table, j,
                      row);
        } else {
            blend_f64((const double *)in + o * axis->in * row, (double *)out + i * row, table, j,
                      row);
        }
    }
}

/* Tables of one axis. inside [out] tells where the extrapolation value does not stand. */
static bool make_table(vqc_exec_call *call, const resize_plan *plan, size_t i, axis_table *table,
                       bool **inside)
{
    const vqc_resample_axis *axis = &plan->axes[i];
    vqc_resample how = plan->how;
    size_t taps;
    size_t *indices;
    float *weights;

    if (!((const vqc_resize_version *)call->detail)->modes && how.mode == VQC_RESAMPLE_NEAREST &&
        axis->scale < 1.0f) {
        how.rounding = VQC_ROUND_CEIL; /* what ONNX Runtime and the tests of version 10 do */
    }
    taps = vqc_resample_taps(&how, axis);
    indices = vqc_exec_scratch_array(call, axis->out, taps, sizeof *indices, true);
    weights = vqc_exec_scratch_array(call, axis->out, taps, sizeof *weights, true);
    *inside = vqc_exec_scratch_array(call, axis->out, 1, sizeof **inside, true);
    if (indices == NULL || weights == NULL || *inside == NULL) {
        return false;
    }
    for (size_t j = 0; j < axis->out; j++) {
        (*inside)[j] = vqc_resample_at(&how, axis, j, indices + j * taps, weights + j * taps);
    }
    *table = (axis_table){taps, indices, weights};
    return true;
}

/* Puts the extrapolation value where one of the axes is outside. */
static void extrapolate(const resize_plan *plan, bool *const *inside, vqc_buffer *out)
{
    for (size_t i = 0; i < out->rank; i++) {
        size_t outer = vqc_exec_product(out->dims, 0, i);
        size_t inner = vqc_exec_product(out->dims, i + 1, out->rank);

        if (inside[i] == NULL || memchr(inside[i], false, plan->axes[i].out) == NULL) {
            continue;
        }
        for (size_t at = 0; at < outer * plan->axes[i].out; at++) {
            if (inside[i][at % plan->axes[i].out]) {
                continue;
            }
            for (size_t k = 0; k < inner; k++) {
                vqc_chunk chunk = {.f32 = {plan->extrapolation}};
                vqc_element_store(out->dtype, VQC_CLASS_F32, &chunk, 1, NULL,
                                  out->data + (at * inner + k) * out->width);
            }
        }
    }
}

/* Interpolated integers are kept within their type (cubic weights overshoot). */
static void saturate(int32_t dtype, double *values, size_t count)
{
    int bits = vqc_dtype_describe(dtype)->bits;
    bool is_signed = vqc_class_of(dtype) == VQC_CLASS_I64;
    double low = is_signed ? -ldexp(1.0, bits - 1) : 0.0;
    double high = ldexp(1.0, is_signed ? bits - 1 : bits) - 1.0;

    for (size_t i = 0; i < count; i++) {
        values[i] = fmin(fmax(values[i], low), high);
    }
}

/*
 * The axes in the order in which the array grows least: the most shrinking one first. Of equal ones
 * the last when elements are only moved, so that outer axes move longer rows; the first in a sum,
 * whose rounding depends on the order.
 */
static size_t next_axis(const resize_plan *plan, size_t rank, const bool *done)
{
    const bool moved = plan->how.mode == VQC_RESAMPLE_NEAREST;
    size_t best = rank;

    for (size_t i = 0; i < rank; i++) {
        if (plan->moves[i] && !done[i] &&
            (best == rank || plan->axes[i].scale < plan->axes[best].scale ||
             (moved && plan->axes[i].scale <= plan->axes[best].scale))) {
            best = i;
        }
    }
    return best;
}

static vqc_class class_of(const resize_plan *plan, int32_t dtype)
{
    if (plan->how.mode == VQC_RESAMPLE_NEAREST) {
        return VQC_CLASS_NONE;
    }
    return vqc_class_of(dtype) == VQC_CLASS_F32 ? VQC_CLASS_F32 : VQC_CLASS_F64;
}

vqc_status vqc_resize_run(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    resize_plan plan;
    vqc_status status = parse(call, &plan);
    vqc_class class = class_of(&plan, in->dtype);
    size_t width = class == VQC_CLASS_NONE ? in->width : vqc_class_width(class);
    bool *inside[VQC_EXEC_MAX_RANK] = {NULL};
    bool done[VQC_EXEC_MAX_RANK] = {false};
    int64_t dims[VQC_EXEC_MAX_RANK];
    const void *values;
    void *result = NULL;
    size_t axis;

    axis = next_axis(&plan, in->rank, done);
    if (status == VQC_OK && out->elements > 0 && axis == in->rank) {
        memcpy(out->data, in->data, out->elements * in->width);
    }
    if (status != VQC_OK || out->elements == 0 || axis == in->rank) {
        return status;
    }
    values = class == VQC_CLASS_NONE ? in->data : vqc_exec_values(call, in, class);
    if (values == NULL) {
        return VQC_ERR_INTERNAL;
    }
    memcpy(dims, in->dims, sizeof dims);
    while (axis < in->rank) {
        size_t outer = vqc_exec_product(dims, 0, axis);
        size_t row = vqc_exec_product(dims, axis + 1, in->rank);
        size_t next;
        axis_table table;

        done[axis] = true;
        next = next_axis(&plan, in->rank, done);
        dims[axis] = (int64_t)plan.axes[axis].out;
        if (next == in->rank) {
            result = class == VQC_CLASS_NONE ? out->data : vqc_exec_target(call, out, class);
        } else {
            result =
                vqc_exec_scratch_array(call, vqc_exec_product(dims, 0, in->rank), 1, width, false);
        }
        if (result == NULL || !make_table(call, &plan, axis, &table, &inside[axis])) {
            return VQC_ERR_INTERNAL;
        }
        if (class == VQC_CLASS_NONE) {
            gather_axis(values, result, outer, plan.axes[axis].in, table.indices,
                        plan.axes[axis].out, row * width);
        } else {
            blend_axis(call, class, values, result, outer, &plan.axes[axis], &table, row);
        }
        values = result;
        axis = next;
    }
    if (class != VQC_CLASS_NONE) {
        if (class == VQC_CLASS_F64 && vqc_class_of(out->dtype) != VQC_CLASS_F64) {
            saturate(out->dtype, result, out->elements);
        }
        vqc_exec_target_store(out, class, result);
    }
    extrapolate(&plan, inside, out);
    return VQC_OK;
}
