/* Normalization operators and Dropout. Everything is computed in double. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_norm_f32.h"
#include "core/exec/exec_values.h"
#include "core/graph.h"

/* ---- what they share ---- */

/* Error unless buffer is a vector of `count` floating-point values. */
static vqc_status expect_vector(vqc_exec_call *call, size_t i, size_t count)
{
    if (vqc_exec_expect_float(call, i) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (call->inputs[i]->rank != 1 || call->inputs[i]->elements != count) {
        return vqc_exec_fail(call, "input %zu: got %zu values of rank %zu, expected %zu of rank 1",
                             i, call->inputs[i]->elements, call->inputs[i]->rank, count);
    }
    return VQC_OK;
}

/* Mean and variance (of the population) of n values `step` apart, in two passes. */
static void mean_variance(const double *x, size_t n, size_t step, double *mean, double *variance)
{
    double sum = 0;
    double squares = 0;

    for (size_t i = 0; i < n; i++) {
        sum += x[i * step];
    }
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        double centered = x[i * step] - *mean;
        squares += centered * centered;
    }
    *variance = squares / (double)n;
}

/* Batch and channel counts of [N, C, ...]; a vector is one channel per value of N. */
static vqc_status expect_channels(vqc_exec_call *call, size_t least_rank)
{
    if (vqc_exec_expect_float(call, 0) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (call->inputs[0]->rank < least_rank) {
        return vqc_exec_fail(call, "input 0: got rank %zu, expected at least %zu",
                             call->inputs[0]->rank, least_rank);
    }
    return VQC_OK;
}

/* ---- BatchNormalization ---- */

static bool is_training(const vqc_exec_call *call)
{
    return call->opset >= 14 && vqc_node_attr_int(call->node, "training_mode", 0) != 0;
}

static vqc_status shape_batch(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    size_t channels;

    if (expect_channels(call, 1) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    channels = in->rank > 1 ? (size_t)in->dims[1] : 1;
    if (call->opset < 9 && vqc_node_attr_int(call->node, "spatial", 1) == 0) {
        return vqc_exec_fail(call, "attribute \"spatial\": got 0, which is not supported");
    }
    for (size_t i = 1; i < 5; i++) {
        if (expect_vector(call, i, channels) != VQC_OK) {
            return VQC_ERR_MODEL;
        }
    }
    vqc_exec_type_like(&call->types[0], in);
    for (size_t i = 1; i < call->output_count; i++) {
        const char *name = call->node->output[i];
        if (!is_training(call) && name != NULL && name[0] != '\0') {
            return vqc_exec_fail(call, "output %zu: only computed in training", i);
        }
        vqc_exec_type_like(&call->types[i], call->inputs[i < 3 ? 2 + i : 4]);
    }
    return VQC_OK;
}

/* Mean and variance of each channel over the batch, in training; mixed into the running ones. */
static void batch_statistics(const double *x, vqc_axis_span span, double momentum, double *mean,
                             double *variance, double *running_mean, double *running_variance)
{
    double count = (double)(span.outer * span.inner);

    for (size_t c = 0; c < span.length; c++) {
        double sum = 0;
        double squares = 0;

        for (int pass = 0; pass < 2; pass++) {
            for (size_t n = 0; n < span.outer; n++) {
                const double *plane = x + (n * span.length + c) * span.inner;
                for (size_t i = 0; i < span.inner; i++) {
                    double centered = pass == 0 ? 0 : plane[i] - sum / count;
                    sum += pass == 0 ? plane[i] : 0;
                    squares += centered * centered;
                }
            }
        }
        mean[c] = sum / count;
        variance[c] = squares / count;
        running_mean[c] = running_mean[c] * momentum + mean[c] * (1 - momentum);
        running_variance[c] = running_variance[c] * momentum + variance[c] * (1 - momentum);
    }
}

/* y = (x - mean) / sqrt(variance + epsilon) * scale + bias per channel of [outer][length][inner] */
static void normalize_channels(double *x, vqc_axis_span span, const double *mean,
                               const double *variance, double epsilon, const double *scale,
                               const double *bias)
{
    for (size_t o = 0; o < span.outer; o++) {
        for (size_t c = 0; c < span.length; c++) {
            double factor = scale[c] / sqrt(variance[c] + epsilon);
            double *plane = x + (o * span.length + c) * span.inner;

            for (size_t i = 0; i < span.inner; i++) {
                plane[i] = (plane[i] - mean[c]) * factor + bias[c];
            }
        }
    }
}

/* Inference of float32: one factor and one shift per channel. */
static vqc_status run_batch_f32(vqc_exec_call *call, vqc_axis_span span, double epsilon)
{
    double *values[4];
    float *factor = vqc_exec_scratch(call, (span.length + 1) * sizeof *factor);
    float *shift = vqc_exec_scratch(call, (span.length + 1) * sizeof *shift);

    for (size_t i = 0; i < 4; i++) {
        values[i] = vqc_exec_doubles(call, call->inputs[i + 1]);
        if (values[i] == NULL) {
            return VQC_ERR_INTERNAL;
        }
    }
    if (factor == NULL || shift == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t c = 0; c < span.length; c++) {
        double f = values[0][c] / sqrt(values[3][c] + epsilon);
        factor[c] = (float)f;
        shift[c] = (float)(values[1][c] - values[2][c] * f);
    }
    vqc_norm_channels_f32((const float *)(const void *)call->inputs[0]->data, span, factor, shift,
                          call->threads, (float *)(void *)call->outputs[0]->data);
    return VQC_OK;
}

static vqc_status run_batch(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_axis_span span =
        in->rank > 1 ? vqc_axis_span_of(in, 1, 2) : (vqc_axis_span){in->elements, 1, 1};
    double epsilon = (double)vqc_node_attr_float(call->node, "epsilon", 1e-5f);
    double momentum = (double)vqc_node_attr_float(call->node, "momentum", 0.9f);
    double *values[5];
    double *mean = NULL;
    double *variance = NULL;

    if (in->dtype == VQC_DTYPE_FLOAT && !is_training(call)) {
        return run_batch_f32(call, span, epsilon);
    }
    for (size_t i = 0; i < 5; i++) {
        values[i] = vqc_exec_doubles(call, call->inputs[i]);
        if (values[i] == NULL) {
            return VQC_ERR_INTERNAL;
        }
    }
    mean = values[3];
    variance = values[4];
    if (is_training(call)) {
        mean = vqc_exec_double_scratch(call, span.length);
        variance = vqc_exec_double_scratch(call, span.length);
        if (mean == NULL || variance == NULL) {
            return VQC_ERR_INTERNAL;
        }
        batch_statistics(values[0], span, momentum, mean, variance, values[3], values[4]);
    }
    normalize_channels(values[0], span, mean, variance, epsilon, values[1], values[2]);
    vqc_exec_put_doubles(call->outputs[0], values[0]);
    for (size_t i = 1; i < call->output_count; i++) {
        if (call->outputs[i] != NULL) {
            vqc_exec_put_doubles(call->outputs[i], values[i < 3 ? 2 + i : 4]);
        }
    }
    return VQC_OK;
}

/* ---- InstanceNormalization, GroupNormalization ---- */

static vqc_status shape_instance(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];

    if (expect_channels(call, 3) != VQC_OK ||
        expect_vector(call, 1, (size_t)in->dims[1]) != VQC_OK ||
        expect_vector(call, 2, (size_t)in->dims[1]) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    vqc_exec_type_like(&call->types[0], in);
    return VQC_OK;
}

static vqc_status shape_group(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    int64_t groups = vqc_node_attr_int(call->node, "num_groups", 0);
    size_t parameters;

    if (expect_channels(call, 2) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (groups <= 0 || in->dims[1] % groups != 0) {
        return vqc_exec_fail(call, "attribute \"num_groups\": got %lld, expected a divisor of %lld",
                             (long long)groups, (long long)in->dims[1]);
    }
    /* one per group in opset 18, one per channel from 21 on */
    parameters = (size_t)(call->opset < 21 ? groups : in->dims[1]);
    if (expect_vector(call, 1, parameters) != VQC_OK ||
        expect_vector(call, 2, parameters) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    vqc_exec_type_like(&call->types[0], in);
    return VQC_OK;
}

/* Groups of channels of one sample; a group per channel is InstanceNormalization. */
static vqc_status run_group(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_axis_span span = vqc_axis_span_of(in, 1, 2);
    bool by_group = strcmp(call->op, "GroupNormalization") == 0;
    size_t groups = by_group ? (size_t)vqc_node_attr_int(call->node, "num_groups", 0) : span.length;
    size_t per_group = groups == 0 ? 0 : span.length / groups;
    double epsilon = (double)vqc_node_attr_float(call->node, "epsilon", 1e-5f);
    double *x;
    double *scale = vqc_exec_doubles(call, call->inputs[1]);
    double *bias = vqc_exec_doubles(call, call->inputs[2]);
    bool per_channel = call->inputs[1]->elements == span.length;

    if (scale == NULL || bias == NULL) {
        return VQC_ERR_INTERNAL;
    }
    if (in->dtype == VQC_DTYPE_FLOAT && in->elements > 0) {
        vqc_norm_groups_f32((const float *)(const void *)in->data, span, groups, !per_channel,
                            epsilon, scale, bias, call->threads,
                            (float *)(void *)call->outputs[0]->data);
        return VQC_OK;
    }
    x = vqc_exec_doubles(call, in);
    if (x == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t o = 0; o < span.outer * groups; o++) {
        double *group = x + o * per_group * span.inner;
        double mean;
        double variance;

        mean_variance(group, per_group * span.inner, 1, &mean, &variance);
        for (size_t c = 0; c < per_group; c++) {
            size_t channel = o % groups * per_group + c;
            size_t parameter = per_channel ? channel : o % groups;
            vqc_axis_span plane = {1, 1, span.inner};
            normalize_channels(group + c * span.inner, plane, &mean, &variance, epsilon,
                               scale + parameter, bias + parameter);
        }
    }
    vqc_exec_put_doubles(call->outputs[0], x);
    return VQC_OK;
}

/* ---- LayerNormalization, RMSNormalization ---- */

static vqc_status shape_layer(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    int64_t stash = vqc_node_attr_int(call->node, "stash_type", VQC_DTYPE_FLOAT);
    size_t axis;

    if (vqc_exec_expect_float(call, 0) != VQC_OK || vqc_exec_expect_float(call, 1) != VQC_OK ||
        vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", -1), in->rank, &axis) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (stash != VQC_DTYPE_FLOAT && stash != VQC_DTYPE_BFLOAT16 && stash != VQC_DTYPE_FLOAT16 &&
        stash != VQC_DTYPE_DOUBLE) {
        return vqc_exec_fail(call, "attribute \"stash_type\": got %lld, expected a float type",
                             (long long)stash);
    }
    if (call->output_count > (strcmp(call->op, "LayerNormalization") == 0 ? 3 : 1)) {
        return vqc_exec_fail(call, "got %zu outputs, more than defined", call->output_count);
    }
    vqc_exec_type_like(&call->types[0], in);
    for (size_t i = 1; i < call->output_count; i++) {
        vqc_exec_type_like(&call->types[i], in);
        call->types[i].dtype = (int32_t)stash;
        for (size_t d = axis; d < in->rank; d++) {
            call->types[i].dims[d] = 1;
        }
    }
    return VQC_OK;
}

/* Whether a float32 buffer has exactly the dims of in from `axis` on, with ones before. */
static bool covers(const vqc_buffer *buffer, const vqc_buffer *in, size_t axis)
{
    if (buffer->dtype != VQC_DTYPE_FLOAT || buffer->rank > in->rank ||
        buffer->rank < in->rank - axis) {
        return false;
    }
    for (size_t i = 0; i < buffer->rank; i++) {
        size_t d = in->rank - buffer->rank + i;
        if (buffer->dims[i] != (d < axis ? 1 : in->dims[d])) {
            return false;
        }
    }
    return true;
}

static vqc_status run_layer_f32(vqc_exec_call *call, vqc_axis_span span, bool centered,
                                double epsilon)
{
    const vqc_buffer *bias = vqc_exec_input(call, 2);
    double *stash[2] = {vqc_exec_double_scratch(call, span.outer),
                        vqc_exec_double_scratch(call, span.outer)};

    if (stash[0] == NULL || stash[1] == NULL) {
        return VQC_ERR_INTERNAL;
    }
    vqc_norm_rows_f32((const float *)(const void *)call->inputs[0]->data, span.outer, span.length,
                      centered, epsilon, (const float *)(const void *)call->inputs[1]->data,
                      bias == NULL ? NULL : (const float *)(const void *)bias->data, call->threads,
                      stash[0], stash[1], (float *)(void *)call->outputs[0]->data);
    for (size_t i = 1; i < call->output_count; i++) {
        if (call->outputs[i] != NULL) {
            vqc_exec_put_doubles(call->outputs[i], stash[i - 1]);
        }
    }
    return VQC_OK;
}

/* The spec computes in stash_type (float32 by default); double is at least as wide. */
static vqc_status run_layer(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    const vqc_buffer *bias_in = vqc_exec_input(call, 2);
    bool centered = strcmp(call->op, "LayerNormalization") == 0;
    double epsilon = (double)vqc_node_attr_float(call->node, "epsilon", 1e-5f);
    double *x;
    double *scale;
    double *bias = NULL;
    double *stash[2]; /* mean, 1 / standard deviation */
    vqc_axis_span span;
    size_t axis;

    if (vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", -1), in->rank, &axis) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    span = vqc_axis_span_of(in, axis, in->rank);
    if (in->dtype == VQC_DTYPE_FLOAT && in->elements > 0 && covers(call->inputs[1], in, axis) &&
        (bias_in == NULL || covers(bias_in, in, axis))) {
        return run_layer_f32(call, span, centered, epsilon);
    }
    x = vqc_exec_doubles(call, in);
    scale = vqc_exec_doubles_like(call, call->inputs[1], in, "scale");
    if (bias_in != NULL) {
        bias = vqc_exec_doubles_like(call, bias_in, in, "bias");
    }
    if (x == NULL || scale == NULL || (bias_in != NULL && bias == NULL)) {
        return VQC_ERR_MODEL;
    }
    stash[0] = vqc_exec_double_scratch(call, span.outer);
    stash[1] = vqc_exec_double_scratch(call, span.outer);
    if (stash[0] == NULL || stash[1] == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t o = 0; o < span.outer; o++) {
        double *row = x + o * span.length;
        double mean;
        double variance;

        mean_variance(row, span.length, 1, &mean, &variance);
        if (!centered) { /* mean of squares */
            variance = 0;
            mean = 0;
            for (size_t i = 0; i < span.length; i++) {
                variance += row[i] * row[i] / (double)span.length;
            }
        }
        stash[0][o] = mean;
        stash[1][o] = 1 / sqrt(variance + epsilon);
        for (size_t i = 0; i < span.length; i++) {
            row[i] = (row[i] - mean) * stash[1][o] * scale[o * span.length + i] +
                     (bias == NULL ? 0 : bias[o * span.length + i]);
        }
    }
    vqc_exec_put_doubles(call->outputs[0], x);
    for (size_t i = 1; i < call->output_count; i++) {
        if (call->outputs[i] != NULL) {
            vqc_exec_put_doubles(call->outputs[i], stash[i - 1]);
        }
    }
    return VQC_OK;
}

/* ---- LpNormalization ---- */

static vqc_status lp_span(vqc_exec_call *call, vqc_axis_span *span)
{
    size_t axis;
    vqc_status status = vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", -1),
                                      call->inputs[0]->rank, &axis);

    if (status == VQC_OK) {
        *span = vqc_axis_span_of(call->inputs[0], axis, axis + 1);
    }
    return status;
}

static vqc_status shape_lp(vqc_exec_call *call)
{
    int64_t p = vqc_node_attr_int(call->node, "p", 2);
    vqc_axis_span span;

    if (vqc_exec_expect_float(call, 0) != VQC_OK || lp_span(call, &span) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (p != 1 && p != 2) {
        return vqc_exec_fail(call, "attribute \"p\": got %lld, expected 1 or 2", (long long)p);
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    return VQC_OK;
}

static vqc_status run_lp(vqc_exec_call *call)
{
    bool absolute = vqc_node_attr_int(call->node, "p", 2) == 1;
    double *x = vqc_exec_doubles(call, call->inputs[0]);
    vqc_axis_span span;

    if (x == NULL || lp_span(call, &span) != VQC_OK) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t line = 0; line < span.outer * span.inner; line++) {
        double *first = x + line / span.inner * span.length * span.inner + line % span.inner;
        double sum = 0;

        for (size_t i = 0; i < span.length; i++) {
            double v = first[i * span.inner];
            sum += absolute ? fabs(v) : v * v;
        }
        sum = absolute ? sum : sqrt(sum);
        for (size_t i = 0; i < span.length; i++) { /* opset 22: 0 where the norm is 0 */
            first[i * span.inner] = sum == 0 ? 0 : first[i * span.inner] / sum;
        }
    }
    vqc_exec_put_doubles(call->outputs[0], x);
    return VQC_OK;
}

/* ---- LRN ---- */

static vqc_status shape_lrn(vqc_exec_call *call)
{
    int64_t size = vqc_node_attr_int(call->node, "size", 0);

    if (expect_channels(call, 2) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (size <= 0) {
        return vqc_exec_fail(call, "attribute \"size\": got %lld, expected a positive number",
                             (long long)size);
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    return VQC_OK;
}

/* Krizhevsky et al. 2012: x / (bias + alpha / size * sum of squares of nearby channels)^beta */
static vqc_status run_lrn(vqc_exec_call *call)
{
    vqc_axis_span span = vqc_axis_span_of(call->inputs[0], 1, 2);
    size_t size = (size_t)vqc_node_attr_int(call->node, "size", 0);
    double alpha = (double)vqc_node_attr_float(call->node, "alpha", 1e-4f);
    double beta = (double)vqc_node_attr_float(call->node, "beta", 0.75f);
    double bias = (double)vqc_node_attr_float(call->node, "bias", 1.0f);
    size_t before = (size - 1) / 2;
    size_t after = size - 1 - before;
    double *x = vqc_exec_doubles(call, call->inputs[0]);
    double *y = vqc_exec_double_scratch(call, call->inputs[0]->elements);

    if (x == NULL || y == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t plane = 0; plane < span.outer * span.length; plane++) {
        size_t c = plane % span.length;
        size_t first = c - (before < c ? before : c);
        size_t last = after < span.length - 1 - c ? c + after : span.length - 1;

        for (size_t i = 0; i < span.inner; i++) {
            double sum = 0;
            for (size_t k = first; k <= last; k++) {
                double v = x[(plane - c + k) * span.inner + i];
                sum += v * v;
            }
            y[plane * span.inner + i] =
                x[plane * span.inner + i] / pow(bias + alpha / (double)size * sum, beta);
        }
    }
    vqc_exec_put_doubles(call->outputs[0], y);
    return VQC_OK;
}

/* ---- MeanVarianceNormalization ---- */

static vqc_status mvn_axes(vqc_exec_call *call, bool *taken)
{
    int64_t axes[VQC_EXEC_MAX_RANK] = {0, 2, 3};
    size_t count = 3;
    bool given;
    vqc_status status =
        vqc_exec_ints_of(call, "axes", SIZE_MAX, axes, VQC_EXEC_MAX_RANK, &count, &given);

    for (size_t i = 0; status == VQC_OK && i < count; i++) {
        size_t axis;
        status = vqc_exec_axis(call, axes[i], call->inputs[0]->rank, &axis);
        if (status == VQC_OK) {
            taken[axis] = true;
        }
    }
    return status;
}

static vqc_status shape_mvn(vqc_exec_call *call)
{
    bool taken[VQC_EXEC_MAX_RANK] = {false};

    if (vqc_exec_expect_float(call, 0) != VQC_OK || mvn_axes(call, taken) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    return VQC_OK;
}

/* Number of the group (the axes not taken) that element `index` belongs to. */
static size_t group_of(const vqc_buffer *in, const bool *taken, size_t index)
{
    size_t group = 0;
    size_t factor = 1;

    for (size_t d = in->rank; d-- > 0;) {
        size_t dim = (size_t)in->dims[d];
        if (!taken[d]) {
            group += index % dim * factor;
            factor *= dim;
        }
        index /= dim;
    }
    return group;
}

/* The operator's function: (x - mean) / (sqrt(variance) + 1e-9) */
static vqc_status run_mvn(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    bool taken[VQC_EXEC_MAX_RANK] = {false};
    double *x = vqc_exec_doubles(call, in);
    double *mean;
    double *variance;
    size_t groups = 1;
    double count;

    if (x == NULL || mvn_axes(call, taken) != VQC_OK || in->elements == 0) {
        return x == NULL ? VQC_ERR_INTERNAL : VQC_OK;
    }
    for (size_t d = 0; d < in->rank; d++) {
        groups *= taken[d] ? 1 : (size_t)in->dims[d];
    }
    count = (double)(in->elements / groups);
    mean = vqc_exec_double_scratch(call, groups);
    variance = vqc_exec_double_scratch(call, groups);
    if (mean == NULL || variance == NULL) {
        return VQC_ERR_INTERNAL;
    }
    memset(mean, 0, groups * sizeof *mean);
    memset(variance, 0, groups * sizeof *variance);
    for (size_t i = 0; i < in->elements; i++) {
        mean[group_of(in, taken, i)] += x[i] / count;
    }
    for (size_t i = 0; i < in->elements; i++) {
        size_t group = group_of(in, taken, i);
        variance[group] += (x[i] - mean[group]) * (x[i] - mean[group]) / count;
    }
    for (size_t i = 0; i < in->elements; i++) {
        size_t group = group_of(in, taken, i);
        x[i] = (x[i] - mean[group]) / (sqrt(variance[group]) + 1e-9);
    }
    vqc_exec_put_doubles(call->outputs[0], x);
    return VQC_OK;
}

/* ---- Dropout: the identity, except in training ---- */

/* Scalar input i as a number, `fallback` when absent. */
static double scalar_input(const vqc_exec_call *call, size_t i, double fallback)
{
    const vqc_buffer *input = vqc_exec_input(call, i);
    vqc_chunk chunk;

    if (input == NULL || input->elements != 1 || vqc_class_of(input->dtype) == VQC_CLASS_NONE) {
        return fallback;
    }
    vqc_element_load(input->dtype, input->data, 1, &chunk);
    vqc_element_convert(&chunk, vqc_class_of(input->dtype), VQC_CLASS_F64, 1);
    return chunk.f64[0];
}

static vqc_status shape_dropout(vqc_exec_call *call)
{
    bool training = call->opset >= 12 && scalar_input(call, 2, 0) != 0;

    if (training && scalar_input(call, 1, 0.5) != 0) {
        return vqc_exec_fail(call, "training with random zeros is not supported");
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    call->types[0].alias = true;
    if (call->output_count > 1) {
        vqc_exec_type_like(&call->types[1], call->inputs[0]);
        call->types[1].dtype = call->opset >= 10 ? VQC_DTYPE_BOOL : call->inputs[0]->dtype;
    }
    return VQC_OK;
}

/* The mask: everything is kept. */
static vqc_status run_dropout(vqc_exec_call *call)
{
    vqc_buffer *mask = call->output_count > 1 ? call->outputs[1] : NULL;
    vqc_chunk chunk;

    for (size_t at = 0; mask != NULL && at < mask->elements; at += VQC_EXEC_CHUNK) {
        size_t left = mask->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        for (size_t i = 0; i < n; i++) {
            chunk.u64[i] = 1;
        }
        vqc_element_store(mask->dtype, VQC_CLASS_U64, &chunk, n, NULL,
                          mask->data + at * mask->width);
    }
    return VQC_OK;
}

#define NORM(op, since, inputs, shape, run)                                                        \
    VQC_EXEC_ROW(op, "", since, inputs, shape, run, .in_place = true)

static const vqc_exec_op OPS[] = {
    NORM("BatchNormalization", 7, 5, shape_batch, run_batch),
    NORM("InstanceNormalization", 6, 3, shape_instance, run_group),
    NORM("GroupNormalization", 18, 3, shape_group, run_group),
    NORM("LayerNormalization", 17, 2, shape_layer, run_layer),
    NORM("RMSNormalization", 23, 2, shape_layer, run_layer),
    NORM("LpNormalization", 1, 1, shape_lp, run_lp),
    NORM("LRN", 1, 1, shape_lrn, run_lrn),
    NORM("MeanVarianceNormalization", 9, 1, shape_mvn, run_mvn),
    VQC_EXEC_ROW("Dropout", "", 7, 1, shape_dropout, run_dropout, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_norm = {OPS, sizeof OPS / sizeof OPS[0]};
