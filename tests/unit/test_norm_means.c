/* Means that BatchNormalization tells: followed through a graph, and what biases make of them. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/layer.h"
#include "core/tensor.h"
#include "core/vq/norm_means.h"
#include "tests/unit/model_builder.h"

enum { CHANNELS = 3, OUTPUTS = 2, KERNEL = 4 };

static const float SCALE[CHANNELS] = {1.0f, -2.0f, 0.5f};
static const float SHIFT[CHANNELS] = {0.0f, 1.0f, -3.0f};

static void add_floats(vqc_model *model, const char *name, int64_t count, const float *values)
{
    mb_initializer(model, NULL, mb_float_tensor(model, name, VQC_DTYPE_FLOAT, &count, 1, values));
}

/* E[max(x, 0)] of a Gaussian. */
static double relu_mean(double mean, double deviation)
{
    double z = mean / deviation;
    return deviation * exp(-0.5 * z * z) / sqrt(2.0 * 3.14159265358979) +
           mean * 0.5 * erfc(-z / sqrt(2.0));
}

/* BatchNormalization -> [Relu] -> Conv 2x2 with a bias. */
static vqc_model *make_model(bool relu)
{
    static const int64_t dims[] = {OUTPUTS, CHANNELS, 2, 2};
    static const float ones[CHANNELS] = {1.0f, 1.0f, 1.0f};
    static const float bias[OUTPUTS] = {10.0f, 20.0f};
    float weights[OUTPUTS * CHANNELS * KERNEL];
    vqc_model *model = mb_model(13, 7);
    mb_random random = {3};

    mb_random_fill(&random, weights, OUTPUTS * CHANNELS * KERNEL, 1.0f, 0.0f);
    mb_input(model, NULL, "x");
    add_floats(model, "scale", CHANNELS, SCALE);
    add_floats(model, "shift", CHANNELS, SHIFT);
    add_floats(model, "mean", CHANNELS, ones);
    add_floats(model, "var", CHANNELS, ones);
    add_floats(model, "b", OUTPUTS, bias);
    mb_initializer(model, NULL, mb_float_tensor(model, "w", VQC_DTYPE_FLOAT, dims, 4, weights));
    mb_node(model, NULL, "BatchNormalization", "x scale shift mean var", "n");
    if (relu) {
        mb_node(model, NULL, "Relu", "n", "r");
    }
    mb_node(model, NULL, "Conv", relu ? "r w b" : "n w b", "y");
    mb_output(model, NULL, "y");
    return model;
}

static const vqc_layer *find_layer(const vqc_layer *layers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(layers[i].value->name, name) == 0) {
            return &layers[i];
        }
    }
    return NULL;
}

static void check(bool relu)
{
    vqc_model *model = make_model(relu);
    vqc_graph *graph = mb_index(model);
    vqc_arena *arena = vqc_arena_create();
    vqc_norm_means *means;
    vqc_layer *layers;
    size_t count;
    const vqc_layer *layer;
    const float *weights;
    const float *bias;
    size_t elements;
    float decoded[OUTPUTS * CHANNELS * KERNEL];
    bool done;

    cr_assert_eq(vqc_norm_means_find(graph, arena, &means, NULL), VQC_OK);
    cr_assert_eq(vqc_norm_means_count(means), relu ? 2 : 1);
    cr_assert_eq(vqc_layers_find(graph, arena, &layers, &count, NULL), VQC_OK);
    layer = find_layer(layers, count, "w");
    cr_assert_not_null(layer);
    cr_assert_eq(vqc_tensor_borrow_f32(layer->tensor, arena, &weights, &elements, NULL), VQC_OK);
    for (size_t i = 0; i < elements; i++) { /* codes that are off by 0.1 * (channel + 1) */
        decoded[i] = weights[i] - 0.1f * (float)(i / KERNEL % CHANNELS + 1);
    }
    cr_assert_eq(vqc_norm_means_correct(means, graph, layer, weights, decoded, &done, NULL),
                 VQC_OK);
    cr_assert(done);
    layer = find_layer(layers, count, "w");
    cr_assert_eq(
        vqc_tensor_borrow_f32(mb_value(graph, "b")->initializer, arena, &bias, &elements, NULL),
        VQC_OK);
    for (size_t o = 0; o < OUTPUTS; o++) {
        double want = 10.0 * (double)(o + 1);
        for (size_t c = 0; c < CHANNELS; c++) {
            double mean = (double)SHIFT[c];
            mean = relu ? relu_mean(mean, fabs((double)SCALE[c])) : mean;
            want += KERNEL * 0.1 * (double)(c + 1) * mean;
        }
        cr_assert_float_eq(bias[o], want, 5e-3, "output %zu: got %g, expected %g", o,
                           (double)bias[o], want);
    }
    vqc_graph_destroy(&graph);
    vqc_arena_destroy(&arena);
    vqc_model_destroy(&model);
}

Test(norm_means, bias_behind_normalization)
{
    check(false);
}

Test(norm_means, bias_behind_relu)
{
    check(true);
}
