/* Mathematical operators in closed form: semantics that changed between versions, special values,
 * and errors. tests/oracle/test_exec_math.py compares all of them with other implementations. */
#include <criterion/criterion.h>
#include <math.h>

#include "core/exec/exec.h"
#include "tests/unit/small_model.h"

/* Evaluates "y"; the buffer becomes the caller's. */
static vqc_status evaluate(vqc_model *model, vqc_buffer **out, vqc_error *error)
{
    vqc_graph *graph = NULL;
    vqc_status status;

    cr_assert_eq(vqc_graph_create(model, &graph, error), VQC_OK);
    status =
        vqc_exec_constant(graph, vqc_scope_define(graph, graph->scopes[0], "y"), NULL, out, error);
    vqc_graph_destroy(&graph);
    return status;
}

static void expect_floats(vqc_model *model, const float *expected, size_t count)
{
    vqc_buffer *out = NULL;
    vqc_error error = {0};

    cr_assert_eq(evaluate(model, &out, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(out->dtype, VQC_DTYPE_FLOAT);
    cr_assert_eq(out->elements, count);
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, out->data + i * sizeof value, sizeof value);
        cr_expect(isnan(expected[i])   ? isnan(value)
                  : isinf(expected[i]) ? value == expected[i]
                                       : fabsf(value - expected[i]) < 1e-6f,
                  "%s, value %zu: got %g, expected %g", model->proto->graph->node[0]->op_type, i,
                  (double)value, (double)expected[i]);
    }
    vqc_buffer_destroy(&out);
    vqc_model_destroy(&model);
}

static vqc_model *of_zeros(int64_t opset, const char *op)
{
    static const float zeros[8] = {0};
    vqc_model *model = small_model(opset, 8);

    SMALL_TENSOR(model, "x", VQC_DTYPE_FLOAT, zeros, 2, 2, 2);
    (void)small_node(model, "", op, "x", "y");
    return model;
}

Test(exec_math, softmax_flattened_its_input_before_opset_13)
{
    static const float flat[8] = {.25f, .25f, .25f, .25f, .25f, .25f, .25f, .25f};
    static const float last[8] = {.5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f};

    expect_floats(of_zeros(11, "Softmax"), flat, 8);
    expect_floats(of_zeros(13, "Softmax"), last, 8);
}

Test(exec_math, activations_keep_nan)
{
    static const float x[4] = {-2.0f, 3.0f, NAN, INFINITY};
    static const struct {
        const char *op;
        float y[4];
    } cases[] = {
        {"Relu", {0.0f, 3.0f, NAN, INFINITY}},
        {"LeakyRelu", {-0.02f, 3.0f, NAN, INFINITY}},
        {"HardSigmoid", {0.1f, 1.0f, NAN, 1.0f}},
        {"Sigmoid", {0.11920292f, 0.95257413f, NAN, 1.0f}},
        {"Softsign", {-2.0f / 3.0f, 0.75f, NAN, NAN}},
        {"Tanh", {-0.96402758f, 0.99505475f, NAN, 1.0f}},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vqc_model *model = small_model(13, 8);
        SMALL_TENSOR(model, "x", VQC_DTYPE_FLOAT, x, 4);
        (void)small_node(model, "", cases[i].op, "x", "y");
        expect_floats(model, cases[i].y, 4);
    }
}

Test(exec_math, reductions_of_nothing)
{
    static const struct {
        const char *op;
        float y;
    } cases[] = {{"ReduceSum", 0.0f}, {"ReduceProd", 1.0f}, {"ReduceL2", 0.0f}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vqc_model *model = small_model(13, 8);
        SMALL_TENSOR(model, "x", VQC_DTYPE_FLOAT, NULL, 0, 2);
        (void)small_node(model, "", cases[i].op, "x", "y");
        expect_floats(model, &cases[i].y, 1);
    }
}

Test(exec_math, an_average_over_padding_divides_by_what_there_is)
{
    static const float x[4] = {1, 2, 3, 4};
    static const float y[4] = {10.0f / 4, 10.0f / 4, 10.0f / 4, 10.0f / 4};
    static const int64_t pads[4] = {1, 1, 1, 1};
    static const int64_t kernel[2] = {3, 3};
    vqc_model *model = small_model(13, 8);
    Onnx__NodeProto *node;

    SMALL_TENSOR(model, "x", VQC_DTYPE_FLOAT, x, 1, 1, 2, 2);
    node = small_node(model, "", "AveragePool", "x", "y");
    cr_assert(vqc_node_add_ints(model->arena, node, "kernel_shape", kernel, 2));
    cr_assert(vqc_node_add_ints(model->arena, node, "pads", pads, 4));
    expect_floats(model, y, 4);
}

Test(exec_math, a_window_too_large_is_an_error)
{
    static const float x[4] = {1, 2, 3, 4};
    static const int64_t kernel[2] = {3, 3};
    vqc_model *model = small_model(13, 8);
    Onnx__NodeProto *node;
    vqc_buffer *out = NULL;
    vqc_error error = {0};

    SMALL_TENSOR(model, "x", VQC_DTYPE_FLOAT, x, 1, 1, 2, 2);
    node = small_node(model, "", "MaxPool", "x", "y");
    cr_assert(vqc_node_add_ints(model->arena, node, "kernel_shape", kernel, 2));
    cr_expect_eq(evaluate(model, &out, &error), VQC_ERR_MODEL);
    cr_expect_not_null(strstr(error.message, "does not fit"));
    vqc_model_destroy(&model);
}
