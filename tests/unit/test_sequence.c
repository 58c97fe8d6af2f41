/* Sequential calibration: moments of layers against outputs of the layers themselves. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/vq/bias_site.h"
#include "core/vq/sequence.h"
#include "tests/unit/model_runner.h"

enum { MOST_LAYERS = 16, MOST_SAMPLES = 64 };

/* ---- a model, its layers and samples ---- */

typedef struct walk {
    vqc_model *model; /* the original */
    vqc_model *coded; /* the same with what was committed */
    vqc_graph *graph;
    vqc_arena *arena;
    const vqc_layer *layers[MOST_LAYERS];
    size_t count;
    runner_samples *samples;
    vqc_sequence *sequence;
    vqc_sequence_options options;
} walk;

static walk begin(vqc_model *model, size_t samples, const int64_t *dims, size_t rank)
{
    walk w = {.model = model, .coded = mb_reopen(model), .graph = mb_index(model)};
    vqc_layer *layers;
    size_t count;
    vqc_error error = {0};

    w.arena = vqc_arena_create();
    cr_assert_eq(vqc_layers_find(w.graph, w.arena, &layers, &count, &error), VQC_OK, "%s",
                 error.message);
    for (size_t i = 0; i < count; i++) {
        if (layers[i].role == VQC_ROLE_WEIGHT) {
            w.layers[w.count++] = &layers[i];
        }
    }
    w.samples = runner_samples_make(samples, dims, rank, 7);
    w.options = (vqc_sequence_options){.max_samples = samples, .threads = 2};
    return w;
}

static void start(walk *w)
{
    vqc_error error = {0};

    cr_assert_eq(vqc_sequence_create(w->graph, w->layers, w->count, &w->samples->source,
                                     &w->options, &w->sequence, &error),
                 VQC_OK, "%s", error.message);
}

static vqc_sequence_batch next(walk *w)
{
    vqc_sequence_batch batch;
    vqc_error error = {0};

    cr_assert_eq(vqc_sequence_next(w->sequence, &batch, &error), VQC_OK, "%s", error.message);
    return batch;
}

static void end(walk *w)
{
    vqc_sequence_destroy(&w->sequence);
    runner_samples_end(w->samples);
    vqc_arena_destroy(&w->arena);
    vqc_graph_destroy(&w->graph);
    vqc_model_destroy(&w->coded);
    vqc_model_destroy(&w->model);
}

static size_t index_of(const walk *w, const char *name)
{
    for (size_t i = 0; i < w->count; i++) {
        if (strcmp(w->layers[i]->value->name, name) == 0) {
            return i;
        }
    }
    cr_assert_fail("%s", name);
    return 0;
}

static void set_initializer(vqc_model *model, const char *name, const float *values)
{
    Onnx__GraphProto *graph = model->proto->graph;

    for (size_t i = 0; i < graph->n_initializer; i++) {
        Onnx__TensorProto *t = graph->initializer[i];
        if (strcmp(t->name, name) == 0) {
            uint8_t *raw = vqc_arena_alloc(model->arena, t->raw_data.len);
            cr_assert_not_null(raw);
            memcpy(raw, values, t->raw_data.len);
            t->raw_data.data = raw;
            return;
        }
    }
    cr_assert_fail("%s", name);
}

/* Changes a layer and its bias in both the walk and the coded model. */
static void change(walk *w, size_t index, uint64_t seed, const char *bias_name)
{
    const vqc_layer *layer = w->layers[index];
    float *weights = calloc(layer->elements + 1, sizeof *weights);
    float *bias = calloc(layer->channels + 1, sizeof *bias);
    mb_random random = {seed};
    vqc_error error = {0};

    memcpy(weights, layer->tensor->raw_data.data, layer->elements * sizeof *weights);
    for (size_t i = 0; i < layer->elements; i++) {
        weights[i] += 0.3f * mb_random_gauss(&random);
    }
    mb_random_fill(&random, bias, layer->channels, 0.5f, 0.1f);
    cr_assert_eq(
        vqc_sequence_commit(w->sequence, index, weights, bias_name != NULL ? bias : NULL, &error),
        VQC_OK, "%s", error.message);
    set_initializer(w->coded, layer->value->name, weights);
    if (bias_name != NULL) {
        set_initializer(w->coded, bias_name, bias);
    }
    free(bias);
    free(weights);
}

/* ---- what the moments have to be ---- */

/* A value of a model for one sample. */
static vqc_buffer *value_of(const walk *w, const vqc_model *model, const char *name, size_t sample)
{
    vqc_model *copy = mb_reopen(model);
    vqc_buffer *out;

    mb_output(copy, NULL, name);
    out = runner_run(copy, w->samples->dims, w->samples->rank,
                     w->samples->values + sample * w->samples->elements,
                     copy->proto->graph->n_output - 1);
    vqc_model_destroy(&copy);
    return out;
}

/* The layer's node alone with other weights, on one input. */
static vqc_buffer *apply(const walk *w, const vqc_layer *layer, const float *weights,
                         const vqc_buffer *input)
{
    vqc_model *model = mb_model(w->graph->scopes[0]->opset, 8);
    Onnx__NodeProto *node = mb_node(model, NULL, layer->node->op_type, "v w", "o");
    vqc_buffer *out;

    mb_input(model, NULL, "v");
    mb_output(model, NULL, "o");
    mb_initializer(model, NULL,
                   mb_float_tensor(model, "w", VQC_DTYPE_FLOAT, layer->dims, layer->rank, weights));
    node->attribute = layer->node->attribute;
    node->n_attribute = layer->node->n_attribute;
    out = runner_run(model, input->dims, input->rank, (const float *)(const void *)input->data, 0);
    vqc_model_destroy(&model);
    return out;
}

static float output_at(const vqc_layer *layer, const vqc_buffer *out, size_t row, size_t vector)
{
    const float *data = (const float *)(const void *)out->data;
    size_t inner = 1;

    if (strcmp(layer->node->op_type, "Conv") != 0) {
        return data[vector * (size_t)out->dims[out->rank - 1] + row];
    }
    for (size_t i = 2; i < out->rank; i++) {
        inner *= (size_t)out->dims[i];
    }
    return data[(vector / inner * (size_t)out->dims[1] + row) * inner + vector % inner];
}

/* Weight of an output row for column `col` of its group. */
static double weight_at(const vqc_layer *layer, const float *weights, size_t row, size_t col)
{
    size_t cols = layer->elements / layer->channels;

    return (double)(layer->channel_axis == 0 ? weights[row * cols + col]
                                             : weights[col * layer->channels + row]);
}

/*
 * For any weights a and b: E[a x] = a mean_x, Cov(a x, b y) = a (cross + second) b^T and
 * Cov(a y, b y) = a second b^T, where a x is what the operator itself gives.
 */
static void check_moments(const walk *w, const vqc_sequence_item *item)
{
    const vqc_layer *layer = w->layers[item->layer];
    const vqc_moments *m = item->moments;
    size_t rows = layer->channels;
    float *weights[2];
    double *sums = calloc(rows * (4 + 2 * rows) + 1, sizeof *sums);
    double *xy = sums + 4 * rows, *yy = xy + rows * rows; /* a x b y, a y b y */
    size_t count = 0;
    mb_random random = {99};

    cr_assert(m != NULL && m->second != NULL);
    cr_assert_eq(m->cols * layer->channels, layer->elements);
    for (size_t k = 0; k < 2; k++) {
        weights[k] = calloc(layer->elements + 1, sizeof(float));
        mb_random_fill(&random, weights[k], layer->elements, 1.0f, 0.2f);
    }
    for (size_t s = 0; s < item->samples; s++) {
        vqc_buffer *x = value_of(w, w->model, layer->node->input[0], s);
        vqc_buffer *y = value_of(w, w->coded, layer->node->input[0], s);
        vqc_buffer *ax = apply(w, layer, weights[0], x), *ay = apply(w, layer, weights[0], y);
        vqc_buffer *by = apply(w, layer, weights[1], y);
        size_t n = ax->elements / rows;
        for (size_t v = 0; v < n; v++) {
            for (size_t i = 0; i < rows; i++) {
                double axi = (double)output_at(layer, ax, i, v);
                double ayi = (double)output_at(layer, ay, i, v);
                sums[i] += axi;
                sums[rows + i] += ayi;
                sums[2 * rows + i] += (double)output_at(layer, by, i, v);
                for (size_t j = 0; j < rows; j++) {
                    xy[i * rows + j] += axi * (double)output_at(layer, by, j, v);
                    yy[i * rows + j] += ayi * (double)output_at(layer, by, j, v);
                }
            }
        }
        count += n;
        vqc_buffer_destroy(&x);
        vqc_buffer_destroy(&y);
        vqc_buffer_destroy(&ax);
        vqc_buffer_destroy(&ay);
        vqc_buffer_destroy(&by);
    }
    cr_assert_eq(m->count, count);
    for (size_t i = 0; i < rows; i++) {
        size_t g = i / (rows / m->groups);
        double mean_x = 0.0, mean_y = 0.0;
        for (size_t c = 0; c < m->cols; c++) {
            mean_x += weight_at(layer, weights[0], i, c) * m->mean_x[g * m->cols + c];
            mean_y += weight_at(layer, weights[0], i, c) * m->mean_y[g * m->cols + c];
        }
        cr_assert_float_eq(mean_x, sums[i] / (double)count, 1e-4 * (1.0 + fabs(mean_x)));
        cr_assert_float_eq(mean_y, sums[rows + i] / (double)count, 1e-4 * (1.0 + fabs(mean_y)));
        for (size_t j = g * (rows / m->groups); j < (g + 1) * (rows / m->groups); j++) {
            double n = (double)count;
            double want_xy = xy[i * rows + j] / n - sums[i] / n * (sums[2 * rows + j] / n);
            double want_yy = yy[i * rows + j] / n - sums[rows + i] / n * (sums[2 * rows + j] / n);
            double got_yy = 0.0, got_cross = 0.0, size = 0.0;
            for (size_t c = 0; c < m->cols; c++) {
                double a = weight_at(layer, weights[0], i, c);
                size_t row = (g * m->cols + c) * m->cols;
                for (size_t d = 0; d < m->cols; d++) {
                    double b = weight_at(layer, weights[1], j, d);
                    got_yy += a * b * (double)m->second[row + d];
                    got_cross += m->cross == NULL ? 0.0 : a * b * (double)m->cross[row + d];
                    size += fabs(a * b * (double)m->second[row + d]);
                }
            }
            cr_assert_float_eq(got_yy, want_yy, 1e-4 * (size + 0.1), "%s %zu %zu: %g, %g",
                               layer->value->name, i, j, got_yy, want_yy);
            cr_assert_float_eq(got_yy + got_cross, want_xy, 1e-4 * (size + 0.1),
                               "%s %zu %zu: %g, %g", layer->value->name, i, j, got_yy + got_cross,
                               want_xy);
        }
    }
    free(weights[0]);
    free(weights[1]);
    free(sums);
}

/* Walks to the end, checks everything on the way and changes every layer. Returns the batches. */
static size_t check_walk(walk *w, size_t *offered)
{
    size_t batches = 0;
    vqc_sequence_batch batch;

    *offered = 0;
    start(w);
    for (batch = next(w); batch.count > 0; batch = next(w)) {
        for (size_t i = 0; i < batch.count; i++) {
            if (batch.items[i].moments != NULL) {
                check_moments(w, &batch.items[i]);
                (*offered)++;
            }
        }
        for (size_t i = 0; i < batch.count; i++) {
            change(w, batch.items[i].layer, 100 + batches * 10 + i, NULL);
        }
        batches++;
    }
    return batches;
}

/* ---- models ---- */

static void add_ints(vqc_model *model, Onnx__NodeProto *node, const char *name, size_t count,
                     const int64_t *values)
{
    cr_assert(vqc_node_add_ints(model->arena, node, name, values, count));
}

#define INTS(model, node, name, ...)                                                               \
    add_ints(model, node, name, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                \
             (const int64_t[]){__VA_ARGS__})

static void add_weights(vqc_model *model, const char *name, size_t rank, const int64_t *dims,
                        uint64_t seed)
{
    float values[4096];
    size_t elements = 1;
    mb_random random = {seed};

    for (size_t i = 0; i < rank; i++) {
        elements *= (size_t)dims[i];
    }
    cr_assert_leq(elements, sizeof values / sizeof *values);
    mb_random_fill(&random, values, elements, 0.4f, 0.0f);
    mb_initializer(model, NULL, mb_float_tensor(model, name, VQC_DTYPE_FLOAT, dims, rank, values));
}

#define WEIGHTS(model, name, seed, ...)                                                            \
    add_weights(model, name, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                   \
                (const int64_t[]){__VA_ARGS__}, seed)

static vqc_model *two_layers(void)
{
    vqc_model *model = mb_model(17, 8);
    Onnx__NodeProto *gemm;

    mb_input(model, NULL, "x");
    WEIGHTS(model, "w1", 1, 6, 9);
    WEIGHTS(model, "b1", 2, 9);
    WEIGHTS(model, "w2", 3, 4, 9);
    WEIGHTS(model, "b2", 4, 4);
    mb_node(model, NULL, "MatMul", "x w1", "m");
    mb_node(model, NULL, "Add", "m b1", "a");
    mb_node(model, NULL, "Relu", "a", "r");
    gemm = mb_node(model, NULL, "Gemm", "r w2 b2", "y");
    cr_assert(vqc_node_add_int(model->arena, gemm, "transB", 1));
    mb_output(model, NULL, "y");
    return model;
}

Test(sequence, two_layers)
{
    walk w = begin(two_layers(), 12, (const int64_t[]){5, 6}, 2);
    vqc_sequence_batch batch;
    size_t first, second;

    cr_assert_eq(w.count, 2);
    first = index_of(&w, "w1");
    second = index_of(&w, "w2");
    start(&w);
    batch = next(&w);
    cr_assert(batch.count == 1 && batch.items[0].layer == first);
    cr_assert_null(batch.items[0].moments->cross);
    check_moments(&w, &batch.items[0]);
    change(&w, first, 50, "b1");
    batch = next(&w);
    cr_assert(batch.count == 1 && batch.items[0].layer == second);
    cr_assert_not_null(batch.items[0].moments->cross);
    cr_assert_eq(batch.items[0].samples, 12);
    check_moments(&w, &batch.items[0]);
    change(&w, second, 51, "b2");
    cr_assert_eq(next(&w).count, 0);
    cr_assert_eq(next(&w).count, 0);
    end(&w);
}

/* Diagonal of the raw second moment, against sums over the samples. */
Test(sequence, power)
{
    walk w = begin(two_layers(), 3, (const int64_t[]){5, 6}, 2);
    vqc_sequence_batch batch;
    double power[6] = {0};

    start(&w);
    batch = next(&w);
    for (size_t i = 0; i < (size_t)3 * 5 * 6; i++) {
        power[i % 6] += (double)w.samples->values[i] * (double)w.samples->values[i] / 15.0;
    }
    for (size_t i = 0; i < 6; i++) {
        cr_assert_float_eq(batch.items[0].moments->power[i], power[i], 1e-9);
    }
    end(&w);
}

/* Weights that stay leave nothing to tell apart; those that were not committed as well. */
Test(sequence, nothing_changes)
{
    for (int commit = 0; commit < 2; commit++) {
        walk w = begin(two_layers(), 4, (const int64_t[]){5, 6}, 2);
        const float *same = (const float *)(const void *)w.layers[0]->tensor->raw_data.data;
        vqc_error error = {0};

        start(&w);
        (void)next(&w);
        if (commit == 1) {
            cr_assert_eq(vqc_sequence_commit(w.sequence, 0, same, NULL, &error), VQC_OK);
        }
        cr_assert_null(next(&w).items[0].moments->cross);
        end(&w);
    }
}

Test(sequence, commit_of_another_layer_fails)
{
    walk w = begin(two_layers(), 4, (const int64_t[]){5, 6}, 2);
    vqc_error error = {0};

    start(&w);
    (void)next(&w);
    cr_assert_eq(vqc_sequence_commit(w.sequence, 1, NULL, NULL, &error), VQC_ERR_INTERNAL);
    cr_assert_eq(vqc_sequence_commit(w.sequence, 9, NULL, NULL, &error), VQC_ERR_INTERNAL);
    end(&w);
}

/* conv - relu - grouped, strided, padded conv - depthwise, dilated conv with SAME padding. */
static vqc_model *convolutions(void)
{
    vqc_model *model = mb_model(17, 8);
    Onnx__NodeProto *node;

    mb_input(model, NULL, "x");
    WEIGHTS(model, "w1", 1, 6, 3, 3, 2);
    WEIGHTS(model, "b1", 2, 6);
    WEIGHTS(model, "w2", 3, 4, 3, 2, 3);
    WEIGHTS(model, "w3", 4, 4, 1, 3, 3);
    node = mb_node(model, NULL, "Conv", "x w1 b1", "c1");
    INTS(model, node, "pads", 1, 0, 1, 1);
    mb_node(model, NULL, "Relu", "c1", "r1");
    node = mb_node(model, NULL, "Conv", "r1 w2", "c2");
    cr_assert(vqc_node_add_int(model->arena, node, "group", 2));
    INTS(model, node, "strides", 2, 1);
    INTS(model, node, "pads", 0, 2, 1, 0);
    mb_node(model, NULL, "Tanh", "c2", "r2");
    node = mb_node(model, NULL, "Conv", "r2 w3", "y");
    cr_assert(vqc_node_add_int(model->arena, node, "group", 4));
    INTS(model, node, "dilations", 1, 2);
    cr_assert(vqc_node_add_string(model->arena, node, "auto_pad", "SAME_UPPER"));
    mb_output(model, NULL, "y");
    return model;
}

Test(sequence, convolutions)
{
    walk w = begin(convolutions(), 5, (const int64_t[]){2, 3, 8, 7}, 4);
    size_t offered;

    cr_assert_eq(check_walk(&w, &offered), 3);
    cr_assert_eq(offered, 3);
    end(&w);
}

/* Samples have rank 4 here: a fifth axis is put in front. */
Test(sequence, one_and_three_dimensions)
{
    vqc_model *model = mb_model(17, 8);
    walk w;
    size_t offered;

    mb_input(model, NULL, "x");
    WEIGHTS(model, "w1", 1, 4, 2, 2, 1, 3);
    WEIGHTS(model, "w2", 2, 5, 4, 3);
    mb_initializer(
        model, NULL,
        mb_tensor(model, "axes", VQC_DTYPE_INT64, (const int64_t[]){1}, 1, (const int64_t[]){0}));
    mb_initializer(model, NULL,
                   mb_tensor(model, "s", VQC_DTYPE_INT64, (const int64_t[]){3}, 1,
                             (const int64_t[]){0, 4, -1}));
    mb_node(model, NULL, "Unsqueeze", "x axes", "u");
    mb_node(model, NULL, "Conv", "u w1", "c");
    mb_node(model, NULL, "Reshape", "c s", "f");
    INTS(model, mb_node(model, NULL, "Conv", "f w2", "y"), "strides", 2);
    mb_output(model, NULL, "y");
    w = begin(model, 4, (const int64_t[]){2, 3, 2, 8}, 4);
    cr_assert_eq(check_walk(&w, &offered), 2);
    cr_assert_eq(offered, 2);
    end(&w);
}

/* Three layers read one value, another waits for a residual sum. */
static vqc_model *branches(void)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    WEIGHTS(model, "q", 1, 6, 6);
    WEIGHTS(model, "k", 2, 6, 6);
    WEIGHTS(model, "v", 3, 6, 6);
    WEIGHTS(model, "o", 4, 6, 6);
    WEIGHTS(model, "p", 5, 6, 3);
    mb_node(model, NULL, "Sigmoid", "x", "s");
    mb_node(model, NULL, "MatMul", "s q", "sq");
    mb_node(model, NULL, "MatMul", "s k", "sk");
    mb_node(model, NULL, "Mul", "sq sk", "qk");
    mb_node(model, NULL, "MatMul", "s v", "sv");
    mb_node(model, NULL, "Add", "qk sv", "sum");
    mb_node(model, NULL, "MatMul", "sum o", "so");
    mb_node(model, NULL, "Add", "so s", "t");
    mb_node(model, NULL, "MatMul", "t p", "y");
    mb_output(model, NULL, "y");
    return model;
}

Test(sequence, branches)
{
    walk w = begin(branches(), 6, (const int64_t[]){2, 3, 6}, 3);
    vqc_sequence_batch batch;
    size_t offered;

    start(&w);
    batch = next(&w);
    cr_assert_eq(batch.count, 3);
    cr_assert_eq(batch.items[0].moments, batch.items[2].moments);
    vqc_sequence_destroy(&w.sequence);
    cr_assert_eq(check_walk(&w, &offered), 3);
    cr_assert_eq(offered, 5);
    end(&w);
}

/* A weight inside an If has no moments and comes first; one behind it sees the coded If. */
Test(sequence, control_flow)
{
    vqc_model *model = mb_model(17, 8);
    Onnx__NodeProto *branch;
    Onnx__GraphProto *body;
    vqc_sequence_batch batch;
    walk w;
    size_t first;

    mb_input(model, NULL, "x");
    WEIGHTS(model, "w0", 1, 6, 6);
    WEIGHTS(model, "inside", 2, 6, 6);
    WEIGHTS(model, "w1", 3, 6, 4);
    mb_initializer(model, NULL,
                   mb_float_tensor(model, "zero", VQC_DTYPE_FLOAT, NULL, 0, (const float[]){0.0f}));
    mb_node(model, NULL, "MatMul", "x w0", "a");
    mb_node(model, NULL, "ReduceSum", "a", "total");
    cr_assert(vqc_node_add_int(model->arena, model->proto->graph->node[1], "keepdims", 0));
    mb_node(model, NULL, "Greater", "total zero", "is");
    branch = mb_node(model, NULL, "If", "is", "b");
    body = mb_body(model, branch, "then_branch");
    mb_node(model, body, "MatMul", "a inside", "then");
    mb_output(model, body, "then");
    body = mb_body(model, branch, "else_branch");
    mb_node(model, body, "Neg", "a", "else");
    mb_output(model, body, "else");
    mb_node(model, NULL, "MatMul", "b w1", "y");
    mb_output(model, NULL, "y");
    w = begin(model, 8, (const int64_t[]){2, 6}, 2);
    cr_assert_eq(w.count, 3);
    start(&w);
    batch = next(&w);
    first = index_of(&w, "inside");
    cr_assert(batch.count == 1 && batch.items[0].layer == first);
    cr_assert_null(batch.items[0].moments);
    change(&w, first, 60, NULL);
    batch = next(&w);
    cr_assert_eq(batch.items[0].layer, index_of(&w, "w0"));
    cr_assert_null(batch.items[0].moments->cross);
    batch = next(&w);
    cr_assert_eq(batch.items[0].layer, index_of(&w, "w1"));
    cr_assert_not_null(batch.items[0].moments->cross);
    check_moments(&w, &batch.items[0]);
    end(&w);
}

/* A weight that a Gather reads before the MatMul has to be coded before: no moments. */
Test(sequence, tied_weights)
{
    vqc_model *model = mb_model(17, 8);
    vqc_sequence_batch batch;
    walk w;

    mb_input(model, NULL, "x");
    WEIGHTS(model, "table", 1, 6, 6);
    WEIGHTS(model, "w", 2, 6, 6);
    mb_node(model, NULL, "ArgMax", "x", "at");
    cr_assert(vqc_node_add_int(model->arena, model->proto->graph->node[0], "axis", 1));
    cr_assert(vqc_node_add_int(model->arena, model->proto->graph->node[0], "keepdims", 0));
    mb_node(model, NULL, "Gather", "table at", "g");
    mb_node(model, NULL, "MatMul", "g w", "h");
    mb_node(model, NULL, "MatMul", "h table", "y");
    mb_output(model, NULL, "y");
    w = begin(model, 8, (const int64_t[]){2, 6}, 2);
    start(&w);
    batch = next(&w);
    cr_assert(batch.count == 1 && batch.items[0].layer == index_of(&w, "table"));
    cr_assert_null(batch.items[0].moments);
    change(&w, batch.items[0].layer, 61, NULL);
    batch = next(&w);
    cr_assert_eq(batch.items[0].layer, index_of(&w, "w"));
    check_moments(&w, &batch.items[0]);
    end(&w);
}

/* ---- threads and memory ---- */

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count)
{
    const unsigned char *b = bytes;

    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ b[i]) * 1099511628211u;
    }
    return hash;
}

/* A number that depends on every bit of every moment of a walk. */
static uint64_t hash_walk(walk *w)
{
    uint64_t hash = 1;
    vqc_sequence_batch batch;

    start(w);
    for (batch = next(w); batch.count > 0; batch = next(w)) {
        for (size_t i = 0; i < batch.count; i++) {
            const vqc_moments *m = batch.items[i].moments;
            size_t width = m->groups * m->cols;
            hash = hash_bytes(hash, &m->count, sizeof m->count);
            hash = hash_bytes(hash, m->mean_x, width * sizeof *m->mean_x);
            hash = hash_bytes(hash, m->mean_y, width * sizeof *m->mean_y);
            hash = hash_bytes(hash, m->power, width * sizeof *m->power);
            hash = hash_bytes(hash, m->second, width * m->cols * sizeof *m->second);
            if (m->cross != NULL) {
                hash = hash_bytes(hash, m->cross, width * m->cols * sizeof *m->cross);
            }
        }
        for (size_t i = 0; i < batch.count; i++) {
            change(w, batch.items[i].layer, 200 + i, NULL);
        }
    }
    vqc_sequence_destroy(&w->sequence);
    return hash;
}

Test(sequence, threads_give_the_same_bits)
{
    uint64_t hash[3];

    for (int t = 0; t < 3; t++) {
        /* 9 samples of 100 x 90 places: more than are looked at */
        walk w = begin(convolutions(), 9, (const int64_t[]){1, 3, 100, 90}, 4);
        w.options.threads = t == 2 ? 7 : t + 1;
        hash[t] = hash_walk(&w);
        end(&w);
    }
    cr_assert_eq(hash[0], hash[1]);
    cr_assert_eq(hash[0], hash[2]);
}

/* A limit that holds some of the samples, and one that holds not even the least. */
Test(sequence, memory_limit)
{
    static const size_t limits[] = {12 * 2 * 5 * 6 * 4 * 4, 100};

    for (size_t i = 0; i < 2; i++) {
        walk w = begin(branches(), 32, (const int64_t[]){4, 5, 6}, 3);

        w.options.memory_limit_bytes = limits[i];
        start(&w);
        (void)next(&w);
        (void)next(&w);
        cr_assert_eq(vqc_sequence_recomputes(w.sequence), i == 1);
        cr_assert_lt(vqc_sequence_samples(w.sequence), 32);
        cr_assert_geq(vqc_sequence_samples(w.sequence), 8);
        vqc_sequence_destroy(&w.sequence);
        end(&w);
    }
}

/* Fewer samples than there are come evenly from all of them; other views only after all. */
Test(sequence, samples_are_spread)
{
    static const bool wanted[2][12] = {{1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0},
                                       {1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0}};

    for (size_t views = 1; views <= 2; views++) {
        walk w = begin(two_layers(), 12, (const int64_t[]){5, 6}, 2);
        w.samples->source.count = 12 / views;
        w.samples->source.views = views;
        w.options.max_samples = views == 1 ? 5 : 9;
        start(&w);
        cr_assert_eq(vqc_sequence_samples(w.sequence), w.options.max_samples);
        for (size_t i = 0; i < 12; i++) {
            cr_assert_eq(w.samples->reads[i], wanted[views - 1][i] ? 1 : 0, "sample %zu", i);
        }
        end(&w);
    }
}

/* So do those that a memory limit leaves. */
Test(sequence, memory_limit_leaves_samples_evenly)
{
    walk w = begin(two_layers(), 32, (const int64_t[]){5, 6}, 2);
    vqc_sequence_batch batch;
    double wanted[9] = {0};
    size_t count;

    for (size_t i = 0; i < w.samples->elements * 32; i++) { /* no two are alike */
        w.samples->values[i] += 0.1f * (float)(i / w.samples->elements);
    }
    w.options.memory_limit_bytes = 20 * 5 * 9 * sizeof(float); /* of the second layer's input */
    start(&w);
    (void)next(&w);
    batch = next(&w);
    count = vqc_sequence_samples(w.sequence);
    cr_assert(count >= 8 && count <= 20, "%zu", count);
    cr_assert_eq(batch.count, 1);
    cr_assert_eq(batch.items[0].samples, count);
    for (size_t k = 0; k < count; k++) {
        vqc_buffer *r = value_of(&w, w.model, "r", k * 32 / count);
        for (size_t i = 0; i < r->elements; i++) {
            float value;
            memcpy(&value, r->data + i * sizeof value, sizeof value);
            wanted[i % 9] += (double)value / (double)(r->elements / 9 * count);
        }
        vqc_buffer_destroy(&r);
    }
    for (size_t c = 0; c < 9; c++) {
        cr_assert_float_eq(batch.items[0].moments->mean_x[c], wanted[c], 1e-5 * (1.0 + wanted[c]));
    }
    end(&w);
}

/* ---- biases ---- */

static const vqc_layer *layer_of(const walk *w, const char *name)
{
    return w->layers[index_of(w, name)];
}

Test(sequence, bias_sites)
{
    walk w = begin(two_layers(), 1, (const int64_t[]){5, 6}, 2);
    vqc_bias_site site;

    cr_assert(vqc_bias_site_find(w.graph, layer_of(&w, "w1"), &site));
    cr_assert_str_eq(site.tensor->name, "b1");
    cr_assert(site.input == 1 && site.channels == 9 && vqc_node_is(site.node, "Add"));
    cr_assert(vqc_bias_site_find(w.graph, layer_of(&w, "w2"), &site));
    cr_assert_str_eq(site.tensor->name, "b2");
    cr_assert(site.input == 2 && site.channels == 4 && site.ratio == 1.0);
    end(&w);
}

/* alpha and beta: the tensor changes by alpha / beta of what the product is to gain. */
Test(sequence, bias_site_of_a_scaled_gemm)
{
    vqc_model *model = two_layers();
    Onnx__NodeProto *gemm = model->proto->graph->node[3];
    vqc_bias_site site;
    walk w;

    cr_assert(vqc_node_add_float(model->arena, gemm, "alpha", 3.0f));
    cr_assert(vqc_node_add_float(model->arena, gemm, "beta", 2.0f));
    w = begin(model, 1, (const int64_t[]){5, 6}, 2);
    cr_assert(vqc_bias_site_find(w.graph, layer_of(&w, "w2"), &site));
    cr_assert_eq(site.ratio, 1.5);
    end(&w);
}

/* A Conv without bias is given one, in the walk and in the model. */
Test(sequence, bias_is_added)
{
    static const float bias[4] = {0.5f, -1.0f, 2.0f, 0.25f};
    walk w = begin(convolutions(), 5, (const int64_t[]){2, 3, 8, 7}, 4);
    const vqc_layer *layer = layer_of(&w, "w2");
    vqc_bias_site site;
    vqc_sequence_batch batch;
    vqc_error error = {0};

    cr_assert(!vqc_bias_site_find(w.graph, layer, &site));
    cr_assert(site.can_add && site.channels == 4);
    start(&w);
    (void)next(&w);
    (void)next(&w);
    cr_assert_eq(vqc_sequence_commit(w.sequence, index_of(&w, "w2"), NULL, bias, &error), VQC_OK);
    batch = next(&w);
    cr_assert_eq(batch.count, 1);
    cr_assert_not_null(batch.items[0].moments->cross);
    vqc_model_destroy(&w.coded);
    cr_assert_eq(vqc_bias_site_add(w.graph, layer, bias, &site, &error), VQC_OK);
    cr_assert(site.tensor != NULL && !site.can_add);
    w.coded = mb_reopen(w.model);
    site.node->n_input = 2; /* the original again, which check_moments compares with */
    check_moments(&w, &batch.items[0]);
    end(&w);
}
