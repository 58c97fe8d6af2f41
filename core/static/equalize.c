#include "core/static/equalize.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/tensor.h"

enum {
    MAX_READERS = 16,
    MAX_STEPS = 8,  /* activations and pools between two layers */
    MAX_ROUNDS = 30 /* of all pairs */
};

static const double STILL = 1e-3;        /* logarithm of a scale that counts as no change */
static const double LARGEST_SCALE = 1e4; /* of one channel and round */

/* A constant that is scaled per channel. Element e of [rows, columns, kernel]. */
typedef struct side {
    Onnx__TensorProto *tensor; /* NULL: absent */
    float *values;             /* [elements] the scaled payload, once there is one */
    size_t elements;
    size_t rows, columns, kernel;
    size_t groups;
    bool transposed; /* rows are inputs: ConvTranspose, MatMul, Gemm without transB */
} side;

/* Constants that take 1 / s, and weights that take s. */
typedef struct link {
    size_t channels;
    side producer;   /* a linear layer, or absent */
    side vectors[2]; /* bias; or scale and bias of a normalization */
    side readers[MAX_READERS];
    size_t reader_count;
    const vqc_value *input; /* what the readers read */
} link;

typedef struct finder {
    const vqc_graph *graph;
    vqc_arena *arena;
    vqc_equalization *out;
    vqc_error *error;
} finder;

static bool has_input(const Onnx__NodeProto *node, size_t input)
{
    return node->n_input > input && node->input[input] != NULL && node->input[input][0] != '\0';
}

static const vqc_value *value_of(const finder *f, const char *name)
{
    return vqc_scope_define(f->graph, f->graph->scopes[0], name);
}

/* ---- finding ---- */

/* A float32 constant with payload that only this input reads. */
static Onnx__TensorProto *own_constant(const finder *f, const Onnx__NodeProto *node, size_t input)
{
    const vqc_value *value = has_input(node, input) ? value_of(f, node->input[input]) : NULL;
    Onnx__TensorProto *tensor;

    if (value == NULL || value->use_count != 1 || value->uses[0].node != node ||
        (value->producer != NULL && !vqc_node_is(value->producer, "Constant"))) {
        return NULL;
    }
    tensor = vqc_value_constant(f->graph, value);
    return tensor != NULL && tensor->data_type == VQC_DTYPE_FLOAT && tensor->has_raw_data &&
                   tensor->raw_data.data != NULL
               ? tensor
               : NULL;
}

/* A vector along the channels; *present is false where the node has no such input. */
static bool read_vector(const finder *f, const Onnx__NodeProto *node, size_t input, size_t channels,
                        side *out)
{
    size_t elements = 0;

    memset(out, 0, sizeof *out);
    if (!has_input(node, input)) {
        return true;
    }
    out->tensor = own_constant(f, node, input);
    if (out->tensor == NULL || !vqc_tensor_elements(out->tensor, &elements) ||
        elements != channels || out->tensor->n_dims == 0 ||
        (size_t)out->tensor->dims[out->tensor->n_dims - 1] != channels) {
        return false;
    }
    *out = (side){.tensor = out->tensor,
                  .elements = elements,
                  .rows = channels,
                  .columns = 1,
                  .kernel = 1,
                  .groups = 1};
    return true;
}

static bool is_conv(const Onnx__NodeProto *node)
{
    return vqc_node_is(node, "Conv") || vqc_node_is(node, "ConvTranspose");
}

static bool is_product(const Onnx__NodeProto *node)
{
    return vqc_node_is(node, "MatMul") ||
           (vqc_node_is(node, "Gemm") && vqc_node_attr_int(node, "transA", 0) == 0);
}

/* The weight of a linear layer. */
static bool read_weight(const finder *f, const Onnx__NodeProto *node, side *out)
{
    Onnx__TensorProto *tensor = is_conv(node) || is_product(node) ? own_constant(f, node, 1) : NULL;
    size_t group = is_conv(node) ? (size_t)vqc_node_attr_int(node, "group", 1) : 1;

    memset(out, 0, sizeof *out);
    if (tensor == NULL || tensor->n_dims < (is_conv(node) ? 3u : 2u) ||
        (!is_conv(node) && tensor->n_dims != 2) || !vqc_tensor_elements(tensor, &out->elements) ||
        out->elements == 0 || group == 0 || tensor->raw_data.len != out->elements * sizeof(float) ||
        (size_t)tensor->dims[0] % group != 0) {
        return false;
    }
    out->tensor = tensor;
    out->rows = (size_t)tensor->dims[0];
    out->columns = (size_t)tensor->dims[1];
    out->kernel = out->elements / (out->rows * out->columns);
    out->groups = group;
    out->transposed = vqc_node_is(node, "ConvTranspose") || vqc_node_is(node, "MatMul") ||
                      (vqc_node_is(node, "Gemm") && vqc_node_attr_int(node, "transB", 0) == 0);
    return true;
}

/* Output or input channels of a weight. */
static size_t channels_of(const side *s, bool output)
{
    return s->transposed == output ? s->columns * s->groups : s->rows;
}

/* The channel of element e on the side of the outputs or the inputs. */
static size_t channel_at(const side *s, size_t e, bool output)
{
    size_t row = e / (s->columns * s->kernel);
    size_t column = e / s->kernel % s->columns;

    return s->transposed == output ? row / (s->rows / s->groups) * s->columns + column : row;
}

static float scalar_or(const finder *f, const Onnx__NodeProto *node, size_t input, const char *attr,
                       float absent)
{
    const vqc_value *value = has_input(node, input) ? value_of(f, node->input[input]) : NULL;
    const Onnx__TensorProto *tensor = value == NULL ? NULL : vqc_value_constant(f->graph, value);
    const float *values;
    size_t count;
    float first;

    if (!has_input(node, input)) {
        return vqc_node_attr_float(node, attr, absent);
    }
    if (tensor == NULL ||
        vqc_tensor_borrow_f32(tensor, f->arena, &values, &count, NULL) != VQC_OK || count != 1) {
        return NAN;
    }
    memcpy(&first, values, sizeof first);
    return first;
}

/* Whether f(s x) = s f(x) per channel for every s > 0. */
static bool is_homogeneous(const finder *f, const Onnx__NodeProto *node, bool picture)
{
    static const char *const pools[] = {"MaxPool", "AveragePool", "GlobalAveragePool",
                                        "GlobalMaxPool"};

    if (node->n_output != 1) {
        return false;
    }
    if (vqc_node_is(node, "Relu") || vqc_node_is(node, "LeakyRelu") ||
        vqc_node_is(node, "Identity") || vqc_node_is(node, "PRelu")) {
        return true;
    }
    if (vqc_node_is(node, "Clip")) {
        float lo = scalar_or(f, node, 1, "min", -INFINITY);
        float hi = scalar_or(f, node, 2, "max", INFINITY);
        return (lo == 0.0f || lo <= -3.4e38f) && hi >= 3.4e38f;
    }
    for (size_t i = 0; picture && i < sizeof pools / sizeof pools[0]; i++) {
        if (vqc_node_is(node, pools[i])) {
            return true;
        }
    }
    return false;
}

/* All readers of a value are linear layers of one kind with weights of their own. */
static bool read_readers(const finder *f, const vqc_value *value, link *l)
{
    bool picture =
        value->use_count > 0 && value->uses[0].node != NULL && is_conv(value->uses[0].node);

    if (value->use_count == 0 || value->use_count > MAX_READERS) {
        return false;
    }
    for (size_t i = 0; i < value->use_count; i++) {
        const vqc_use *use = &value->uses[i];
        if (use->node == NULL || use->scope != f->graph->scopes[0] || use->input != 0 ||
            is_conv(use->node) != picture || !read_weight(f, use->node, &l->readers[i]) ||
            channels_of(&l->readers[i], false) != channels_of(&l->readers[0], false)) {
            return false;
        }
    }
    l->input = value;
    l->reader_count = value->use_count;
    l->channels = channels_of(&l->readers[0], false);
    return true;
}

/* The constant operand of Mul or Add, and the other input. */
static bool read_scaling(const finder *f, const Onnx__NodeProto *node, size_t channels, side *out,
                         const vqc_value **other)
{
    for (size_t i = 0; i < 2 && node->n_input == 2; i++) {
        if (own_constant(f, node, i) != NULL && read_vector(f, node, i, channels, out)) {
            *other = value_of(f, node->input[1 - i]);
            return *other != NULL;
        }
    }
    return false;
}

/* The linear layer that the link's input comes from through homogeneous nodes that are read once,
 * or NULL. The bias of a MatMul in an Add of its own becomes vectors[1]. */
static const Onnx__NodeProto *linear_before(const finder *f, link *l, bool picture)
{
    const vqc_value *value = l->input;

    for (int i = 0; i < MAX_STEPS && value != NULL && value->producer != NULL; i++) {
        const Onnx__NodeProto *node = value->producer;

        if (i > 0 && (value->use_count != 1 || value->uses[0].node == NULL)) {
            return NULL;
        }
        if (picture ? is_conv(node) : is_product(node)) {
            return node;
        }
        if (!picture && l->vectors[1].tensor == NULL && vqc_node_is(node, "Add") &&
            read_scaling(f, node, l->channels, &l->vectors[1], &value)) {
            continue;
        }
        if (!is_homogeneous(f, node, picture)) {
            return NULL;
        }
        value = value_of(f, node->input[0]);
    }
    return NULL;
}

/* The producer of the link's input is a linear layer. */
static bool read_linear_producer(const finder *f, link *l)
{
    bool picture = is_conv(l->input->uses[0].node);
    const Onnx__NodeProto *node = linear_before(f, l, picture);

    return node != NULL && read_weight(f, node, &l->producer) &&
           channels_of(&l->producer, true) == l->channels &&
           (vqc_node_is(node, "MatMul") || read_vector(f, node, 2, l->channels, &l->vectors[0]));
}

/* LayerNormalization, RMSNormalization, or Mul by a vector and Add of one behind it. */
static bool read_norm_producer(const finder *f, link *l)
{
    const Onnx__NodeProto *node = l->input->producer;
    const vqc_value *before;

    if (node == NULL || is_conv(l->input->uses[0].node)) {
        return false;
    }
    if (vqc_node_is(node, "LayerNormalization") || vqc_node_is(node, "RMSNormalization")) {
        return has_input(node, 1) && read_vector(f, node, 1, l->channels, &l->vectors[0]) &&
               read_vector(f, node, 2, l->channels, &l->vectors[1]);
    }
    if (vqc_node_is(node, "Add")) {
        if (!read_scaling(f, node, l->channels, &l->vectors[1], &before) ||
            before->producer == NULL || before->use_count != 1) {
            return false;
        }
        node = before->producer;
    }
    return vqc_node_is(node, "Mul") && read_scaling(f, node, l->channels, &l->vectors[0], &before);
}

/* ---- scaling ---- */

/* A payload of one's own, once per tensor; NULL: no memory. */
static float *own_payload(const finder *f, Onnx__TensorProto *tensor)
{
    vqc_equalization *out = f->out;
    vqc_equalized_tensor *item;
    void *copy;

    for (size_t i = 0; i < out->tensor_count; i++) {
        if (out->tensors[i].tensor == tensor) {
            return (float *)(void *)tensor->raw_data.data;
        }
    }
    if (out->tensor_count == out->tensor_capacity) {
        size_t capacity = out->tensor_capacity * 2 + 32;
        vqc_equalized_tensor *more = vqc_arena_calloc(f->arena, capacity, sizeof *more);
        if (more == NULL) {
            return NULL;
        }
        if (out->tensor_count > 0) {
            memcpy(more, out->tensors, out->tensor_count * sizeof *more);
        }
        out->tensors = more;
        out->tensor_capacity = capacity;
    }
    copy = vqc_arena_alloc(f->arena, tensor->raw_data.len + 1);
    if (copy == NULL) {
        return NULL;
    }
    memcpy(copy, tensor->raw_data.data, tensor->raw_data.len);
    item = &out->tensors[out->tensor_count++];
    item->tensor = tensor;
    item->other = tensor->raw_data;
    tensor->raw_data.data = copy;
    return copy;
}

static bool take_payload(const finder *f, side *s)
{
    s->values = s->tensor == NULL ? NULL : own_payload(f, s->tensor);
    return s->tensor == NULL || s->values != NULL;
}

static bool take_payloads(const finder *f, link *l)
{
    bool ok = take_payload(f, &l->producer) && take_payload(f, &l->vectors[0]) &&
              take_payload(f, &l->vectors[1]);

    for (size_t i = 0; i < l->reader_count; i++) {
        ok = ok && take_payload(f, &l->readers[i]);
    }
    return ok;
}

static void raise_absmax(const side *s, bool output, double *absmax)
{
    for (size_t e = 0; s->values != NULL && e < s->elements; e++) {
        size_t c = channel_at(s, e, output);
        absmax[c] = fmax(absmax[c], fabs((double)s->values[e]));
    }
}

static void multiply(side *s, bool output, const double *scales, bool divide)
{
    for (size_t e = 0; s->values != NULL && e < s->elements; e++) {
        double scale = scales[channel_at(s, e, output)];
        s->values[e] =
            (float)(divide ? (double)s->values[e] / scale : (double)s->values[e] * scale);
    }
}

static void apply(link *l, const double *scales)
{
    multiply(&l->producer, true, scales, true);
    multiply(&l->vectors[0], true, scales, true);
    multiply(&l->vectors[1], true, scales, true);
    for (size_t i = 0; i < l->reader_count; i++) {
        multiply(&l->readers[i], false, scales, false);
    }
}

/* s = sqrt(first / second), 1 where a channel is empty or not finite. */
static double scale_of(double first, double second)
{
    double s = first > 0.0 && second > 0.0 ? sqrt(first / second) : 1.0;
    return isfinite(s) ? fmin(fmax(s, 1.0 / LARGEST_SCALE), LARGEST_SCALE) : 1.0;
}

/* ---- the two methods ---- */

/* Finds links; at most one for each value. */
static vqc_status find_links(const finder *f, bool smooth, link **links, size_t *count)
{
    const vqc_graph *graph = f->graph;

    *count = 0;
    *links = vqc_arena_calloc(f->arena, graph->value_count + 1, sizeof **links);
    if (*links == NULL) {
        return vqc_fail_memory(f->error, graph->value_count * sizeof **links);
    }
    for (size_t i = 0; i < graph->value_count; i++) {
        link *l = &(*links)[*count];
        bool fits;

        memset(l, 0, sizeof *l);
        if (graph->values[i]->scope != graph->scopes[0] || graph->values[i]->producer == NULL ||
            !read_readers(f, graph->values[i], l)) {
            continue;
        }
        if (smooth) {
            fits = read_norm_producer(f, l);
            if (!fits) {
                memset(l->vectors, 0, sizeof l->vectors);
                fits = !is_conv(l->input->uses[0].node) && read_linear_producer(f, l);
            }
        } else {
            fits = l->reader_count == 1 && read_linear_producer(f, l);
        }
        if (fits && !take_payloads(f, l)) {
            return vqc_fail_memory(f->error, 0);
        }
        *count += fits ? 1 : 0;
    }
    return VQC_OK;
}

/* Two rows of doubles for the widest link. */
static double *scratch_of(const finder *f, const link *links, size_t count, size_t *widest)
{
    *widest = 1;
    for (size_t i = 0; i < count; i++) {
        *widest = links[i].channels > *widest ? links[i].channels : *widest;
    }
    return vqc_arena_calloc(f->arena, 2 * *widest, sizeof(double));
}

vqc_status vqc_equalize_cross_layer(const vqc_graph *graph, vqc_arena *arena, vqc_equalization *out,
                                    vqc_error *error)
{
    finder f = {.graph = graph, .arena = arena, .out = out, .error = error};
    link *links;
    size_t count;
    size_t widest;
    double *scratch;
    bool moved = true;
    vqc_status status;

    memset(out, 0, sizeof *out);
    status = find_links(&f, false, &links, &count);
    scratch = status == VQC_OK ? scratch_of(&f, links, count, &widest) : NULL;
    if (scratch == NULL) {
        vqc_equalization_swap(out);
        return status != VQC_OK ? status : vqc_fail_memory(error, 0);
    }
    for (int round = 0; round < MAX_ROUNDS && moved; round++) {
        moved = false;
        for (size_t i = 0; i < count; i++) {
            link *l = &links[i];
            memset(scratch, 0, 2 * widest * sizeof *scratch);
            raise_absmax(&l->producer, true, scratch);
            raise_absmax(&l->readers[0], false, scratch + widest);
            for (size_t c = 0; c < l->channels; c++) {
                scratch[c] = scale_of(scratch[c], scratch[widest + c]);
                moved = moved || fabs(log(scratch[c])) > STILL;
            }
            apply(l, scratch);
        }
    }
    out->links = count;
    return VQC_OK;
}

/* Whether the observation has a largest magnitude for every channel of the link. */
static bool is_observed(const vqc_tensor_stats *stats, const link *l)
{
    return stats != NULL && stats->channels == l->channels && stats->channel_absmax != NULL &&
           stats->channel_axis > 0;
}

vqc_status vqc_equalize_smooth(const vqc_graph *graph, const vqc_stats *stats, double alpha,
                               vqc_arena *arena, vqc_equalization *out, vqc_error *error)
{
    finder f = {.graph = graph, .arena = arena, .out = out, .error = error};
    link *links;
    size_t count;
    size_t widest;
    double *scratch;
    vqc_status status;

    memset(out, 0, sizeof *out);
    status = find_links(&f, true, &links, &count);
    scratch = status == VQC_OK ? scratch_of(&f, links, count, &widest) : NULL;
    if (scratch == NULL) {
        vqc_equalization_swap(out);
        return status != VQC_OK ? status : vqc_fail_memory(error, 0);
    }
    for (size_t i = 0; i < count; i++) {
        link *l = &links[i];
        const vqc_tensor_stats *seen = vqc_stats_find(stats, l->input->name);

        if (!is_observed(seen, l)) {
            continue;
        }
        memset(scratch, 0, 2 * widest * sizeof *scratch);
        for (size_t r = 0; r < l->reader_count; r++) {
            raise_absmax(&l->readers[r], false, scratch);
        }
        for (size_t c = 0; c < l->channels; c++) {
            double x = (double)seen->channel_absmax[c];
            double w = scratch[c];
            double s = x > 0.0 && w > 0.0 ? pow(x, alpha) / pow(w, 1.0 - alpha) : 1.0;
            scratch[c] = isfinite(s) ? fmin(fmax(s, 1.0 / LARGEST_SCALE), LARGEST_SCALE) : 1.0;
        }
        apply(l, scratch);
        out->links++;
    }
    return VQC_OK;
}

void vqc_equalization_swap(vqc_equalization *equalization)
{
    for (size_t i = 0; i < equalization->tensor_count; i++) {
        vqc_equalized_tensor *item = &equalization->tensors[i];
        ProtobufCBinaryData now = item->tensor->raw_data;
        item->tensor->raw_data = item->other;
        item->other = now;
    }
}
