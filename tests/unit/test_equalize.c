/* Equalization: the float function stays, and the ranges of the channels become alike. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/static/equalize.h"
#include "tests/unit/model_runner.h"

enum { LIMIT = 4096 };

/* Gaussian values; row r of the first dimension times 10^((r % 3) - 1). */
static void uneven(vqc_model *model, const char *name, const int64_t *dims, size_t rank,
                   uint64_t seed)
{
    float values[LIMIT];
    size_t n = 1;
    mb_random random = {seed};

    for (size_t i = 0; i < rank; i++) {
        n *= (size_t)dims[i];
    }
    cr_assert_leq(n, LIMIT);
    mb_random_fill(&random, values, n, 0.3f, 0.05f);
    for (size_t i = 0; i < n; i++) {
        values[i] *= powf(10.0f, (float)(i / (n / (size_t)dims[0]) % 3) - 1.0f);
    }
    mb_initializer(model, NULL, mb_float_tensor(model, name, VQC_DTYPE_FLOAT, dims, rank, values));
}

static size_t run(vqc_model *model, const int64_t *dims, size_t rank, float *out)
{
    return runner_run_random(model, dims, rank, 5, 0.1f, out, LIMIT);
}

static void check_same(vqc_model *model, const int64_t *dims, size_t rank, const float *before,
                       size_t n, double tolerance)
{
    static float after[LIMIT];
    double largest = 0.0;

    cr_assert_eq(run(model, dims, rank, after), n);
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)before[i]));
    }
    cr_assert_gt(largest, 0.0);
    for (size_t i = 0; i < n; i++) {
        cr_assert_leq(fabs((double)before[i] - (double)after[i]), tolerance * largest,
                      "element %zu: %g, %g", i, (double)before[i], (double)after[i]);
    }
}

static const Onnx__TensorProto *constant(const vqc_model *model, const char *name)
{
    for (size_t i = 0; i < model->proto->graph->n_initializer; i++) {
        if (strcmp(model->proto->graph->initializer[i]->name, name) == 0) {
            return model->proto->graph->initializer[i];
        }
    }
    cr_assert_fail("no constant %s", name);
    return NULL;
}

/* Largest magnitude of one row. */
static double row_absmax(const vqc_model *model, const char *name, size_t row)
{
    const Onnx__TensorProto *t = constant(model, name);
    size_t width = t->raw_data.len / sizeof(float) / (size_t)t->dims[0];
    double absmax = 0.0;

    for (size_t i = 0; i < width; i++) {
        float v;
        memcpy(&v, t->raw_data.data + (row * width + i) * sizeof v, sizeof v);
        absmax = fmax(absmax, fabs((double)v));
    }
    return absmax;
}

/* Largest ratio between the same rows of two weights: 1 when they are equalized. */
static double mismatch(const vqc_model *model, const char *a, const char *b)
{
    double worst = 1.0;

    for (size_t r = 0; r < (size_t)constant(model, a)->dims[0]; r++) {
        double ratio = row_absmax(model, a, r) / row_absmax(model, b, r);
        worst = fmax(worst, fmax(ratio, 1.0 / ratio));
    }
    return worst;
}

/* Conv, Relu, depthwise Conv, PRelu, MaxPool, Conv: the paper's case and its triple. */
static vqc_model *convolutions(void)
{
    vqc_model *model = mb_model(13, 8);
    const int64_t first[] = {6, 3, 3, 3};
    const int64_t depthwise[] = {6, 1, 3, 3};
    const int64_t last[] = {4, 3, 1, 1}; /* two groups */
    const int64_t six[] = {6};
    const int64_t slopes[] = {6, 1, 1};
    const int64_t window[] = {2, 2};
    Onnx__NodeProto *node;

    uneven(model, "w1", first, 4, 1);
    uneven(model, "b1", six, 1, 2);
    uneven(model, "w2", depthwise, 4, 3);
    uneven(model, "b2", six, 1, 4);
    uneven(model, "slope", slopes, 3, 5);
    uneven(model, "w3", last, 4, 6);
    mb_input(model, NULL, "x");
    mb_node(model, NULL, "Conv", "x w1 b1", "a");
    mb_node(model, NULL, "Relu", "a", "b");
    node = mb_node(model, NULL, "Conv", "b w2 b2", "c");
    cr_assert(vqc_node_add_int(model->arena, node, "group", 6));
    mb_node(model, NULL, "PRelu", "c slope", "d");
    node = mb_node(model, NULL, "MaxPool", "d", "e");
    cr_assert(vqc_node_add_ints(model->arena, node, "kernel_shape", window, 2));
    node = mb_node(model, NULL, "Conv", "e w3", "y");
    cr_assert(vqc_node_add_int(model->arena, node, "group", 2));
    mb_output(model, NULL, "y");
    return model;
}

Test(equalize, convolutions_compute_the_same_with_even_channels)
{
    static float before[LIMIT];
    const int64_t dims[] = {1, 3, 12, 12};
    vqc_model *model = convolutions();
    vqc_graph *graph = mb_index(model);
    size_t n = run(model, dims, 4, before);
    double uneven_before = mismatch(model, "w1", "w2");
    vqc_equalization q;
    vqc_error error = {0};

    cr_assert_eq(vqc_equalize_cross_layer(graph, model->arena, &q, &error), VQC_OK);
    cr_assert_eq(q.links, 2);
    cr_assert_eq(q.tensor_count, 5);
    check_same(model, dims, 4, before, n, 1e-5);
    cr_assert_gt(uneven_before, 1.5);
    cr_assert_lt(mismatch(model, "w1", "w2"), 1.01);
    vqc_equalization_swap(&q);
    check_same(model, dims, 4, before, n, 0.0);
    cr_assert_eq(mismatch(model, "w1", "w2"), uneven_before);
    vqc_equalization_swap(&q);
    cr_assert_lt(mismatch(model, "w1", "w2"), 1.01);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

/* Gemm with and without transB, LeakyRelu; ConvTranspose on both sides. */
Test(equalize, products_and_transposed_convolutions)
{
    static float before[LIMIT];
    const int64_t rows[] = {3, 10};
    const int64_t a[] = {8, 10};
    const int64_t b[] = {8, 5};
    const int64_t eight[] = {8};
    const int64_t picture[] = {1, 4, 5, 5};
    const int64_t up[] = {4, 3, 2, 2};
    const int64_t down[] = {6, 2, 2, 2};
    vqc_model *model = mb_model(13, 8);
    vqc_graph *graph;
    vqc_equalization q;
    vqc_error error = {0};
    Onnx__NodeProto *node;
    size_t n;

    uneven(model, "w1", a, 2, 1);
    uneven(model, "b1", eight, 1, 2);
    uneven(model, "w2", b, 2, 3);
    mb_input(model, NULL, "x");
    node = mb_node(model, NULL, "Gemm", "x w1 b1", "a");
    cr_assert(vqc_node_add_int(model->arena, node, "transB", 1));
    mb_node(model, NULL, "LeakyRelu", "a", "b");
    mb_node(model, NULL, "MatMul", "b w2", "y");
    mb_output(model, NULL, "y");
    n = run(model, rows, 2, before);
    graph = mb_index(model);
    cr_assert_eq(vqc_equalize_cross_layer(graph, model->arena, &q, &error), VQC_OK);
    cr_assert_eq(q.links, 1);
    check_same(model, rows, 2, before, n, 1e-5);
    cr_assert_lt(mismatch(model, "w1", "w2"), 1.01);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);

    model = mb_model(13, 8);
    uneven(model, "w1", up, 4, 1);
    uneven(model, "w2", down, 4, 2);
    mb_input(model, NULL, "x");
    node = mb_node(model, NULL, "ConvTranspose", "x w1", "a");
    cr_assert(vqc_node_add_int(model->arena, node, "group", 2));
    mb_node(model, NULL, "Relu", "a", "b");
    node = mb_node(model, NULL, "ConvTranspose", "b w2", "y");
    cr_assert(vqc_node_add_int(model->arena, node, "group", 3));
    mb_output(model, NULL, "y");
    n = run(model, picture, 4, before);
    graph = mb_index(model);
    cr_assert_eq(vqc_equalize_cross_layer(graph, model->arena, &q, &error), VQC_OK);
    cr_assert_eq(q.links, 1);
    check_same(model, picture, 4, before, n, 1e-5);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

/* MatMul with its bias in an Add. */
Test(equalize, bias_in_a_node_of_its_own)
{
    static float before[LIMIT];
    const int64_t rows[] = {3, 7};
    const int64_t a[] = {7, 6};
    const int64_t b[] = {6, 5};
    const int64_t six[] = {6};
    vqc_model *model = mb_model(13, 8);
    vqc_graph *graph;
    vqc_equalization q;
    vqc_error error = {0};
    size_t n;

    uneven(model, "w1", a, 2, 1);
    uneven(model, "b1", six, 1, 2);
    uneven(model, "w2", b, 2, 3);
    mb_input(model, NULL, "x");
    mb_node(model, NULL, "MatMul", "x w1", "a");
    mb_node(model, NULL, "Add", "b1 a", "b");
    mb_node(model, NULL, "Relu", "b", "c");
    mb_node(model, NULL, "MatMul", "c w2", "y");
    mb_output(model, NULL, "y");
    n = run(model, rows, 2, before);
    graph = mb_index(model);
    cr_assert_eq(vqc_equalize_cross_layer(graph, model->arena, &q, &error), VQC_OK);
    cr_assert_eq(q.links, 1);
    cr_assert_eq(q.tensor_count, 3);
    check_same(model, rows, 2, before, n, 1e-5);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

/* What must not be scaled: two readers, a shared weight, an upper end, Sigmoid, a graph output. */
Test(equalize, pairs_that_do_not_qualify)
{
    static const struct {
        const char *op;
        const char *inputs;
        const char *read; /* by the second layer */
        const char *second;
        const char *output;
    } cases[] = {
        {"Clip", "a zero six", "b", "w2", "y"}, {"Sigmoid", "a", "b", "w2", "y"},
        {"Relu", "a", "b", "w1", "y"},          {"Relu", "a", "b", "w2", "b"},
        {"Softmax", "a", "b", "w2", "y"},
    };
    const int64_t square[] = {6, 6};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vqc_model *model = mb_model(13, 8);
        const float ends[] = {0.0f, 6.0f};
        char inputs[32];
        vqc_graph *graph;
        vqc_equalization q;
        vqc_error error = {0};

        uneven(model, "w1", square, 2, 1);
        uneven(model, "w2", square, 2, 2);
        mb_initializer(model, NULL, mb_tensor(model, "zero", VQC_DTYPE_FLOAT, NULL, 0, &ends[0]));
        mb_initializer(model, NULL, mb_tensor(model, "six", VQC_DTYPE_FLOAT, NULL, 0, &ends[1]));
        mb_input(model, NULL, "x");
        mb_node(model, NULL, "MatMul", "x w1", "a");
        mb_node(model, NULL, cases[i].op, cases[i].inputs, "b");
        (void)strcpy(inputs, "b ");
        (void)strcat(inputs, cases[i].second);
        mb_node(model, NULL, "MatMul", inputs, "y");
        mb_output(model, NULL, cases[i].output);
        graph = mb_index(model);
        cr_assert_eq(vqc_equalize_cross_layer(graph, model->arena, &q, &error), VQC_OK);
        cr_assert_eq(q.links, 0, "case %zu", i);
        cr_assert_eq(q.tensor_count, 0, "case %zu", i);
        vqc_graph_destroy(&graph);
        vqc_model_destroy(&model);
    }
}

/* LayerNormalization feeds two products; their input gets even channels. */
Test(equalize, smooth_moves_outliers_into_the_weights)
{
    static float before[LIMIT];
    const int64_t rows[] = {4, 6};
    const int64_t six[] = {6};
    const int64_t wide[] = {6, 8};
    vqc_model *model = mb_model(17, 8);
    float absmax[6];
    double means[6] = {0};
    uint64_t seen[6] = {1, 1, 1, 1, 1, 1};
    char name[] = "h";
    vqc_tensor_stats tensor = {.name = name,
                               .channels = 6,
                               .channel_axis = 1,
                               .channel_mean = means,
                               .channel_absmax = absmax,
                               .channel_elements = seen};
    vqc_stats stats = {.tensors = &tensor, .count = 1};
    vqc_graph *graph;
    vqc_equalization q;
    vqc_error error = {0};
    double first;
    double s;
    size_t n;

    uneven(model, "g", six, 1, 1);
    uneven(model, "c", six, 1, 2);
    uneven(model, "w1", wide, 2, 3);
    uneven(model, "w2", wide, 2, 4);
    mb_input(model, NULL, "x");
    mb_node(model, NULL, "LayerNormalization", "x g c", "h");
    mb_node(model, NULL, "MatMul", "h w1", "p");
    mb_node(model, NULL, "Gemm", "h w2", "r");
    mb_node(model, NULL, "Mul", "p r", "y");
    mb_output(model, NULL, "y");
    for (size_t i = 0; i < 6; i++) {
        absmax[i] = powf(10.0f, (float)i - 2.0f);
    }
    n = run(model, rows, 2, before);
    graph = mb_index(model);
    first = row_absmax(model, "g", 5);
    s = sqrt((double)absmax[5]) /
        sqrt(fmax(row_absmax(model, "w1", 5), row_absmax(model, "w2", 5)));
    cr_assert_eq(vqc_equalize_smooth(graph, &stats, 0.5, model->arena, &q, &error), VQC_OK);
    cr_assert_eq(q.links, 1);
    cr_assert_eq(q.tensor_count, 4);
    check_same(model, rows, 2, before, n, 1e-5);
    cr_assert_float_eq(row_absmax(model, "g", 5), first / s, 1e-5 * first / s,
                       "gamma / s with s = max|X|^0.5 / max|W|^0.5");
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}
