#include "core/vq/norm_means.h"

#include <math.h>
#include <string.h>

#include "core/tensor.h"
#include "core/vq/bias_site.h"
#include "core/vq/vq_layout.h"

/* Gaussian expectations are sums over points this far apart, up to so many deviations. */
enum { POINTS = 65 };
static const double REACH = 4.0;

/* The channels of one value. */
typedef struct entry {
    const char *name;
    size_t channels;
    double *mean;     /* [channels] */
    double *variance; /* [channels] */
} entry;

struct vqc_norm_means {
    vqc_arena *arena;
    entry *entries; /* [count] in the order of the graph */
    size_t count;
    size_t capacity;
};

static const entry *find_entry(const vqc_norm_means *means, const char *name)
{
    for (size_t i = means->count; i-- > 0;) { /* producers are mostly near */
        if (strcmp(means->entries[i].name, name) == 0) {
            return &means->entries[i];
        }
    }
    return NULL;
}

/* A new entry for output 0 of the node; NULL when out of memory. */
static entry *add_entry(vqc_norm_means *means, const Onnx__NodeProto *node, size_t channels)
{
    entry *e = &means->entries[means->count];

    e->name = vqc_arena_strdup(means->arena, node->output[0]);
    e->channels = channels;
    e->mean = vqc_arena_calloc(means->arena, channels + 1, sizeof *e->mean);
    e->variance = vqc_arena_calloc(means->arena, channels + 1, sizeof *e->variance);
    if (e->name == NULL || e->mean == NULL || e->variance == NULL) {
        return NULL;
    }
    means->count++;
    return e;
}

/* ---- through the operators ---- */

/* Input `index` of the node as constant floats. */
static const float *constant_input(vqc_graph *graph, const Onnx__NodeProto *node, size_t index,
                                   size_t *count)
{
    const vqc_value *value = node->n_input > index && node->input[index] != NULL
                                 ? vqc_scope_define(graph, graph->scopes[0], node->input[index])
                                 : NULL;
    const Onnx__TensorProto *tensor = value == NULL ? NULL : vqc_value_constant(graph, value);
    const float *values;

    return tensor != NULL &&
                   vqc_tensor_borrow_f32(tensor, graph->arena, &values, count, NULL) == VQC_OK
               ? values
               : NULL;
}

static bool read_norm(vqc_norm_means *means, vqc_graph *graph, const Onnx__NodeProto *node)
{
    size_t channels = 0;
    size_t biases = 0;
    const float *scale = constant_input(graph, node, 1, &channels);
    const float *bias = constant_input(graph, node, 2, &biases);
    entry *e;

    if (scale == NULL || bias == NULL || channels != biases) {
        return true;
    }
    e = add_entry(means, node, channels);
    for (size_t c = 0; e != NULL && c < channels; c++) {
        double s = (double)vqc_f32_at(scale, c);
        e->mean[c] = (double)vqc_f32_at(bias, c);
        e->variance[c] = s * s;
    }
    return e != NULL;
}

/* What an activation does to one number. */
typedef struct activation {
    enum { NO_ACTIVATION, CLAMP, LEAKY, SIGMOID, TANH, HARD_SWISH, HARD_SIGMOID } kind;
    double low, high; /* CLAMP; slope (LEAKY, HARD_SIGMOID) and offset */
} activation;

static double activate(const activation *a, double x)
{
    switch (a->kind) {
    case CLAMP:
        return fmin(fmax(x, a->low), a->high);
    case LEAKY:
        return x < 0.0 ? x * a->low : x;
    case SIGMOID:
        return 1.0 / (1.0 + exp(-x));
    case TANH:
        return tanh(x);
    case HARD_SWISH:
        return x * fmin(fmax(x / 6.0 + 0.5, 0.0), 1.0);
    case HARD_SIGMOID:
        return fmin(fmax(x * a->low + a->high, 0.0), 1.0);
    default:
        return x;
    }
}

static activation activation_of(vqc_graph *graph, const Onnx__NodeProto *node)
{
    activation a = {.kind = NO_ACTIVATION};
    size_t count = 0;
    const float *bound;

    if (vqc_node_is(node, "Relu")) {
        return (activation){CLAMP, 0.0, HUGE_VAL};
    }
    if (vqc_node_is(node, "Clip")) {
        a = (activation){CLAMP, -HUGE_VAL, HUGE_VAL};
        a.low = (double)vqc_node_attr_float(node, "min", -INFINITY);
        a.high = (double)vqc_node_attr_float(node, "max", INFINITY);
        bound = constant_input(graph, node, 1, &count);
        a.low = bound != NULL && count == 1 ? (double)vqc_f32_at(bound, 0) : a.low;
        bound = constant_input(graph, node, 2, &count);
        a.high = bound != NULL && count == 1 ? (double)vqc_f32_at(bound, 0) : a.high;
        return a;
    }
    if (vqc_node_is(node, "LeakyRelu")) {
        return (activation){LEAKY, (double)vqc_node_attr_float(node, "alpha", 0.01f), 0.0};
    }
    if (vqc_node_is(node, "HardSigmoid")) {
        return (activation){HARD_SIGMOID, (double)vqc_node_attr_float(node, "alpha", 0.2f),
                            (double)vqc_node_attr_float(node, "beta", 0.5f)};
    }
    a.kind = vqc_node_is(node, "Sigmoid")     ? SIGMOID
             : vqc_node_is(node, "Tanh")      ? TANH
             : vqc_node_is(node, "HardSwish") ? HARD_SWISH
                                              : NO_ACTIVATION;
    return a;
}

/* Mean and variance of a(x) for Gaussian x, by the midpoint rule. */
static void expect(const activation *a, double mean, double variance, double *out_mean,
                   double *out_variance)
{
    double deviation = sqrt(variance);
    double weights = 0.0;
    double sum = 0.0;
    double sum2 = 0.0;

    for (int i = 0; i < POINTS; i++) {
        double z = REACH * (2.0 * i / (POINTS - 1) - 1.0);
        double weight = exp(-0.5 * z * z);
        double y = activate(a, mean + deviation * z);
        weights += weight;
        sum += weight * y;
        sum2 += weight * y * y;
    }
    *out_mean = sum / weights;
    *out_variance = fmax(sum2 / weights - *out_mean * *out_mean, 0.0);
}

/* The input's channels, after the activation. */
static bool pass_on(vqc_norm_means *means, const Onnx__NodeProto *node, const entry *from,
                    const activation *a)
{
    entry *e = add_entry(means, node, from->channels);

    for (size_t c = 0; e != NULL && c < from->channels; c++) {
        e->mean[c] = from->mean[c];
        e->variance[c] = from->variance[c];
        if (a->kind != NO_ACTIVATION) {
            expect(a, from->mean[c], from->variance[c], &e->mean[c], &e->variance[c]);
        }
    }
    return e != NULL;
}

/* Sums of independent values, and values one behind the other. */
static bool combine(vqc_norm_means *means, const Onnx__NodeProto *node, bool concat)
{
    size_t channels = 0;
    size_t at = 0;
    entry *e;

    for (size_t i = 0; i < node->n_input; i++) {
        const entry *from = find_entry(means, node->input[i]);
        if (from == NULL || (!concat && channels > 0 && from->channels != channels)) {
            return true;
        }
        channels = concat ? channels + from->channels : from->channels;
    }
    e = channels == 0 ? NULL : add_entry(means, node, channels);
    for (size_t i = 0; e != NULL && i < node->n_input; i++) {
        const entry *from = find_entry(means, node->input[i]);
        for (size_t c = 0; c < from->channels; c++) {
            e->mean[at + c] += from->mean[c];
            e->variance[at + c] += from->variance[c];
        }
        at += concat ? from->channels : 0;
    }
    return e != NULL || channels == 0;
}

/* Operators that leave the mean of a channel as it is, or nearly so. */
static bool keeps_means(const Onnx__NodeProto *node)
{
    return vqc_node_is(node, "Identity") || vqc_node_is(node, "Dropout") ||
           vqc_node_is(node, "Flatten") || vqc_node_is(node, "AveragePool") ||
           vqc_node_is(node, "GlobalAveragePool");
}

static bool follow(vqc_norm_means *means, vqc_graph *graph, const Onnx__NodeProto *node)
{
    const activation none = {.kind = NO_ACTIVATION};
    const entry *from =
        node->n_input > 0 && node->input[0] != NULL ? find_entry(means, node->input[0]) : NULL;
    activation a;

    if (node->n_output == 0 || node->output[0] == NULL) {
        return true;
    }
    if (vqc_node_is(node, "BatchNormalization")) {
        return read_norm(means, graph, node);
    }
    if (from == NULL) {
        return true;
    }
    if (vqc_node_is(node, "Add")) {
        return combine(means, node, false);
    }
    if (vqc_node_is(node, "Concat")) {
        return vqc_node_attr_int(node, "axis", -1) != 1 || combine(means, node, true);
    }
    if (keeps_means(node)) {
        return pass_on(means, node, from, &none);
    }
    a = activation_of(graph, node);
    return a.kind == NO_ACTIVATION || pass_on(means, node, from, &a);
}

vqc_status vqc_norm_means_find(vqc_graph *graph, vqc_arena *arena, vqc_norm_means **out,
                               vqc_error *error)
{
    vqc_norm_means *means = vqc_arena_calloc(arena, 1, sizeof *means);
    size_t count;
    Onnx__NodeProto **nodes = vqc_scope_nodes(graph->scopes[0], &count);

    *out = means;
    if (means == NULL ||
        (means->entries = vqc_arena_calloc(arena, count + 1, sizeof *means->entries)) == NULL) {
        return vqc_fail_memory(error, count * sizeof *means->entries);
    }
    means->arena = arena;
    for (size_t i = 0; i < count; i++) {
        if (!follow(means, graph, nodes[i])) {
            return vqc_fail_memory(error, 0);
        }
    }
    return VQC_OK;
}

size_t vqc_norm_means_count(const vqc_norm_means *means)
{
    return means->count;
}

/* ---- correcting ---- */

vqc_status vqc_norm_means_correct(const vqc_norm_means *means, vqc_graph *graph,
                                  const vqc_layer *layer, const float *weights,
                                  const float *decoded, bool *done, vqc_error *error)
{
    const entry *input;
    vqc_vq_layout layout;
    vqc_bias_site site;
    const float *old;
    size_t count;
    size_t kernel;
    float *bias;
    float *change; /* in the tensor's order */
    float *matrix; /* the same as [rows, cols] */
    vqc_status status;

    *done = false;
    vqc_vq_layout_make(layer, VQC_VQ_ALONG_AUTO, &layout);
    if (!layout.has_moments || layer->node == NULL || layer->node->n_input < 2 ||
        !vqc_bias_site_find(graph, layer, &site)) {
        return VQC_OK;
    }
    input = find_entry(means, layer->node->input[0]);
    if (input == NULL || layout.cols * layout.groups % input->channels != 0 ||
        (layer->rank == 2 && layout.cols != input->channels)) {
        return VQC_OK; /* not followed, or flattened with a picture inside */
    }
    status = vqc_tensor_borrow_f32(site.tensor, graph->arena, &old, &count, error);
    bias = vqc_arena_calloc(graph->model->arena, layout.rows, sizeof *bias);
    change = vqc_arena_calloc(graph->arena, layout.rows * layout.cols, sizeof *change);
    matrix = vqc_arena_calloc(graph->arena, layout.rows * layout.cols, sizeof *matrix);
    if (status != VQC_OK || bias == NULL || change == NULL || matrix == NULL) {
        return status != VQC_OK ? status : vqc_fail_memory(error, layer->elements);
    }
    for (size_t i = 0; i < layer->elements; i++) {
        change[i] = vqc_f32_at(weights, i) - decoded[i];
    }
    kernel = layout.cols * layout.groups / input->channels;
    vqc_vq_layout_take(&layout, layer, change, matrix);
    for (size_t row = 0; row < layout.rows; row++) {
        size_t group = row / (layout.rows / layout.groups);
        double gain = 0.0;
        for (size_t c = 0; c < layout.cols; c++) {
            size_t column = vqc_vq_layout_moment_column(&layout, layer, c);
            gain += (double)matrix[row * layout.cols + c] *
                    input->mean[group * (layout.cols / kernel) + column / kernel];
        }
        bias[row] = (float)((double)vqc_f32_at(old, row) + site.ratio * gain);
    }
    status = vqc_tensor_set_f32(site.tensor, bias, layout.rows, graph->model->arena, error);
    *done = status == VQC_OK;
    return status;
}
