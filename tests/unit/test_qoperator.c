/* Operators on codes in the place of DequantizeLinear, operator, QuantizeLinear: same outputs. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/static/qoperator.h"
#include "tests/unit/model_runner.h"

enum { CHANNELS = 4, SIDE = 8, FEATURES = CHANNELS * SIDE * SIDE / 4, CLASSES = 5 };

static const float Y_SCALE = 0.05f;

static vqc_model *start(void)
{
    vqc_model *model = mb_model(13, 8);
    const uint8_t zero = 128;
    const uint8_t other = 120;
    const float scale = 0.02f;

    mb_initializer(model, NULL, mb_float_tensor(model, "sx", VQC_DTYPE_FLOAT, NULL, 0, &scale));
    mb_initializer(model, NULL, mb_tensor(model, "zx", VQC_DTYPE_UINT8, NULL, 0, &zero));
    mb_initializer(model, NULL, mb_float_tensor(model, "sy", VQC_DTYPE_FLOAT, NULL, 0, &Y_SCALE));
    mb_initializer(model, NULL, mb_tensor(model, "zy", VQC_DTYPE_UINT8, NULL, 0, &other));
    mb_input(model, NULL, "x");
    mb_node(model, NULL, "QuantizeLinear", "x sx zx", "xq");
    mb_node(model, NULL, "DequantizeLinear", "xq sx zx", "xd");
    return model;
}

/* Random int8 codes named NAMEq, scales per channel NAMEs, decoded as NAME. */
static void weight(vqc_model *model, const char *name, const int64_t *dims, size_t rank, int axis)
{
    char text[64];
    char inputs[80];
    int8_t codes[4096];
    float scales[64];
    size_t n = 1;
    mb_random random = {7 + (uint64_t)rank};

    for (size_t i = 0; i < rank; i++) {
        n *= (size_t)dims[i];
    }
    for (size_t i = 0; i < n; i++) {
        codes[i] = (int8_t)((int)mb_random_below(&random, 255) - 127);
    }
    for (size_t i = 0; i < (size_t)dims[axis]; i++) {
        scales[i] = 0.002f + 0.001f * (float)mb_random_below(&random, 5);
    }
    (void)snprintf(text, sizeof text, "%sq", name);
    mb_initializer(model, NULL, mb_tensor(model, text, VQC_DTYPE_INT8, dims, rank, codes));
    (void)snprintf(text, sizeof text, "%ss", name);
    mb_initializer(model, NULL,
                   mb_float_tensor(model, text, VQC_DTYPE_FLOAT, &dims[axis], 1, scales));
    (void)snprintf(inputs, sizeof inputs, "%sq %ss", name, name);
    cr_assert(vqc_node_add_int(model->arena, mb_node(model, NULL, "DequantizeLinear", inputs, name),
                               "axis", axis));
}

/* int32 bias of n channels in the scale 0.02 * weight scales; factor 1 fits. */
static void bias(vqc_model *model, const char *of, int64_t n, float input_scale)
{
    int32_t codes[64];
    float scales[64];
    char text[64];

    for (int64_t i = 0; i < n; i++) {
        codes[i] = (int32_t)(i * 37 - 60);
    }
    (void)snprintf(text, sizeof text, "%ss", of);
    for (size_t i = 0; i < model->proto->graph->n_initializer; i++) {
        const Onnx__TensorProto *t = model->proto->graph->initializer[i];
        if (strcmp(t->name, text) == 0) {
            memcpy(scales, t->raw_data.data, (size_t)n * sizeof(float));
        }
    }
    for (int64_t i = 0; i < n; i++) {
        scales[i] *= input_scale;
    }
    mb_initializer(model, NULL, mb_tensor(model, "bq", VQC_DTYPE_INT32, &n, 1, codes));
    mb_initializer(model, NULL, mb_float_tensor(model, "bs", VQC_DTYPE_FLOAT, &n, 1, scales));
    cr_assert(vqc_node_add_int(model->arena, mb_node(model, NULL, "DequantizeLinear", "bq bs", "b"),
                               "axis", 0));
}

/* r -> codes -> y */
static void finish(vqc_model *model)
{
    mb_node(model, NULL, "QuantizeLinear", "r sy zy", "yq");
    mb_node(model, NULL, "DequantizeLinear", "yq sy zy", "y");
    mb_output(model, NULL, "y");
}

static size_t count_nodes(const vqc_model *model, const char *op)
{
    size_t count = 0;
    for (size_t i = 0; i < model->proto->graph->n_node; i++) {
        count += strcmp(model->proto->graph->node[i]->op_type, op) == 0 ? 1 : 0;
    }
    return count;
}

/* Converts; the outputs may move by `codes` steps of Y_SCALE. */
static vqc_qoperator_result convert(vqc_model *model, bool microsoft, const int64_t *dims,
                                    size_t rank, float codes)
{
    static float before[4096];
    static float after[4096];
    vqc_qoperator_result result;
    vqc_error error = {0};
    size_t n = runner_run_random(model, dims, rank, 99, 0.0f, before, 4096);
    size_t moved = 0;

    cr_assert_eq(vqc_qoperator_convert(model, microsoft, &result, &error), VQC_OK, "%s",
                 error.message);
    cr_assert_eq(runner_run_random(model, dims, rank, 99, 0.0f, after, 4096), n);
    for (size_t i = 0; i < n; i++) {
        cr_assert_leq(fabsf(before[i] - after[i]), codes * Y_SCALE + 1e-5f, "element %zu: %g, %g",
                      i, (double)before[i], (double)after[i]);
        moved += fabsf(before[i]) > 2.0f * Y_SCALE ? 1 : 0;
    }
    cr_assert_gt(moved, n / 8, "the outputs say something");
    return result;
}

static const int64_t PICTURE[] = {1, CHANNELS, SIDE, SIDE};

Test(qoperator, conv_and_max_pool)
{
    vqc_model *model = start();
    const int64_t dims[] = {CHANNELS, CHANNELS, 3, 3};
    const int64_t two[] = {2, 2};
    Onnx__NodeProto *pool;
    vqc_qoperator_result result;

    weight(model, "w", dims, 4, 0);
    bias(model, "w", CHANNELS, 0.02f);
    mb_node(model, NULL, "Conv", "xd w b", "c");
    mb_node(model, NULL, "QuantizeLinear", "c sy zy", "cq");
    mb_node(model, NULL, "DequantizeLinear", "cq sy zy", "cd");
    pool = mb_node(model, NULL, "MaxPool", "cd", "r");
    cr_assert(vqc_node_add_ints(model->arena, pool, "kernel_shape", two, 2));
    finish(model);
    result = convert(model, false, PICTURE, 4, 1.0f);
    cr_assert_eq(result.converted, 2);
    cr_assert_eq(result.left, 0);
    cr_assert_eq(count_nodes(model, "QLinearConv"), 1);
    cr_assert_eq(count_nodes(model, "DequantizeLinear"), 1, "only the output's");
    cr_assert_eq(count_nodes(model, "QuantizeLinear"), 1, "only the input's");
    cr_assert_eq(vqc_model_opset(model->proto, "com.microsoft"), 0);
    cr_assert_eq(result.layer_count, 1);
    cr_assert_str_eq(result.layers[0].weight, "w");
    cr_assert_str_eq(result.layers[0].op, "QLinearConv");
    for (size_t i = 0; i < model->proto->graph->n_initializer; i++) {
        cr_assert_str_neq(model->proto->graph->initializer[i]->name, "bs", "unused constants go");
    }
    vqc_model_destroy(&model);
}

Test(qoperator, a_bias_in_another_scale_stays)
{
    vqc_model *model = start();
    const int64_t dims[] = {CHANNELS, CHANNELS, 3, 3};
    vqc_qoperator_result result;

    weight(model, "w", dims, 4, 0);
    bias(model, "w", CHANNELS, 0.03f);
    mb_node(model, NULL, "Conv", "xd w b", "r");
    finish(model);
    result = convert(model, true, PICTURE, 4, 0.0f);
    cr_assert_eq(result.converted, 0);
    cr_assert_eq(result.left, 1);
    cr_assert_str_eq(result.remaining[0].op, "Conv");
    cr_assert_eq(count_nodes(model, "Conv"), 1);
    vqc_model_destroy(&model);
}

/* [2, 24] x a weight; trans_b: stored [CLASSES, 24]. */
static vqc_model *product(const char *op, bool trans_b, bool with_bias, bool coded)
{
    vqc_model *model = start();
    const int64_t plain[] = {24, CLASSES};
    const int64_t turned[] = {CLASSES, 24};
    Onnx__NodeProto *node;

    weight(model, "w", trans_b ? turned : plain, 2, trans_b ? 0 : 1);
    if (with_bias) {
        bias(model, "w", CLASSES, 0.02f);
    }
    node = mb_node(model, NULL, op, with_bias ? "xd w b" : "xd w", coded ? "r" : "y");
    if (trans_b) {
        cr_assert(vqc_node_add_int(model->arena, node, "transB", 1));
    }
    if (coded) {
        finish(model);
    } else {
        mb_output(model, NULL, "y");
    }
    return model;
}

static const int64_t ROWS[] = {2, 24};

Test(qoperator, matrix_products)
{
    static const struct {
        const char *op;
        bool trans_b, with_bias, coded, microsoft;
        const char *becomes;
    } cases[] = {
        {"MatMul", false, false, true, false, "QLinearMatMul"},
        {"MatMul", false, false, false, false, "MatMulInteger"},
        {"MatMul", false, false, true, true, "QLinearMatMul"},
        {"Gemm", false, false, true, false, "MatMulInteger"},
        {"Gemm", true, true, true, false, "MatMulInteger"},
        {"Gemm", true, true, false, false, "MatMulInteger"},
        {"Gemm", false, true, true, true, "QGemm"},
        {"Gemm", true, true, false, true, "QGemm"},
        {"Gemm", true, false, true, true, "QGemm"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vqc_model *model =
            product(cases[i].op, cases[i].trans_b, cases[i].with_bias, cases[i].coded);
        vqc_qoperator_result result =
            convert(model, cases[i].microsoft, ROWS, 2, cases[i].coded ? 1.0f : 0.0f);
        cr_assert_eq(result.converted, 1, "case %zu", i);
        cr_assert_eq(count_nodes(model, cases[i].becomes), 1, "case %zu", i);
        cr_assert_eq(count_nodes(model, cases[i].op), 0, "case %zu", i);
        cr_assert_eq(vqc_model_opset(model->proto, "com.microsoft"),
                     strcmp(cases[i].becomes, "QGemm") == 0 ? 1 : 0, "case %zu", i);
        vqc_model_destroy(&model);
    }
}

/* Sizes do not depend on whether the codes are there. */
Test(qoperator, missing_payloads_give_the_same_sizes)
{
    for (int microsoft = 0; microsoft < 2; microsoft++) {
        vqc_model *full = product("Gemm", true, true, true);
        vqc_model *empty = product("Gemm", true, true, true);
        vqc_qoperator_result result;
        vqc_error error = {0};

        for (size_t i = 0; i < empty->proto->graph->n_initializer; i++) {
            Onnx__TensorProto *t = empty->proto->graph->initializer[i];
            if (strcmp(t->name, "wq") == 0 || strcmp(t->name, "ws") == 0) {
                t->raw_data.data = NULL;
            }
        }
        cr_assert_eq(vqc_qoperator_convert(full, microsoft == 1, &result, &error), VQC_OK);
        cr_assert_eq(vqc_qoperator_convert(empty, microsoft == 1, &result, &error), VQC_OK);
        cr_assert_eq(result.converted, 1);
        cr_assert_eq(onnx__model_proto__get_packed_size(full->proto),
                     onnx__model_proto__get_packed_size(empty->proto));
        vqc_model_destroy(&full);
        vqc_model_destroy(&empty);
    }
}

Test(qoperator, operators_of_com_microsoft_only_on_request)
{
    for (int microsoft = 0; microsoft < 2; microsoft++) {
        vqc_model *model = start();
        vqc_qoperator_result result;

        mb_node(model, NULL, "Sigmoid", "xd", "g");
        mb_node(model, NULL, "QuantizeLinear", "g sy zx", "gq");
        mb_node(model, NULL, "DequantizeLinear", "gq sy zx", "gd");
        mb_node(model, NULL, "Mul", "gd xd", "m");
        mb_node(model, NULL, "QuantizeLinear", "m sy zy", "mq");
        mb_node(model, NULL, "DequantizeLinear", "mq sy zy", "md");
        mb_node(model, NULL, "Add", "md xd", "r");
        finish(model);
        result = convert(model, microsoft == 1, PICTURE, 4, 1.0f);
        cr_assert_eq(result.converted, microsoft == 1 ? 3 : 0);
        cr_assert_eq(result.left, microsoft == 1 ? 0 : 3);
        cr_assert_eq(count_nodes(model, "QLinearAdd"), (size_t)microsoft);
        cr_assert_eq(count_nodes(model, "QLinearMul"), (size_t)microsoft);
        cr_assert_eq(count_nodes(model, "QLinearSigmoid"), (size_t)microsoft);
        cr_assert_eq(vqc_model_opset(model->proto, "com.microsoft"), microsoft);
        vqc_model_destroy(&model);
    }
}

Test(qoperator, moving_joining_and_other_readers)
{
    vqc_model *model = start();
    const int64_t pads[] = {0, 0, 1, 1, 0, 0, 0, 0};
    const int64_t eight[] = {8};
    Onnx__NodeProto *join;
    vqc_qoperator_result result;

    mb_initializer(model, NULL, mb_tensor(model, "pads", VQC_DTYPE_INT64, eight, 1, pads));
    mb_node(model, NULL, "Pad", "xd pads", "p");
    mb_node(model, NULL, "QuantizeLinear", "p sx zx", "pq"); /* the same parameters */
    mb_node(model, NULL, "DequantizeLinear", "pq sx zx", "pd");
    mb_node(model, NULL, "QuantizeLinear", "pd sx zx", "again"); /* undoes the line above */
    mb_node(model, NULL, "DequantizeLinear", "again sx zx", "d2");
    mb_node(model, NULL, "Transpose", "d2", "t");
    mb_node(model, NULL, "QuantizeLinear", "t sx zx", "tq");
    mb_node(model, NULL, "DequantizeLinear", "tq sx zx", "td");
    join = mb_node(model, NULL, "Concat", "td td", "c");
    cr_assert(vqc_node_add_int(model->arena, join, "axis", 0));
    mb_node(model, NULL, "QuantizeLinear", "c sx zx", "cq");
    mb_node(model, NULL, "DequantizeLinear", "cq sx zx", "cd");
    mb_node(model, NULL, "Transpose", "cd", "u");
    mb_node(model, NULL, "QuantizeLinear", "u sy zy", "uq"); /* others: stays */
    mb_node(model, NULL, "DequantizeLinear", "uq sy zy", "y");
    mb_output(model, NULL, "y");
    result = convert(model, false, PICTURE, 4, 0.0f);
    cr_assert_eq(result.vanished, 1);
    cr_assert_eq(result.converted, 3);
    cr_assert_eq(result.left, 1);
    cr_assert_str_eq(result.remaining[0].reason, "scale or zero point changes");
    cr_assert_eq(count_nodes(model, "QuantizeLinear"), 2);
    cr_assert_eq(count_nodes(model, "DequantizeLinear"), 2);
    vqc_model_destroy(&model);
}

Test(qoperator, old_models_stay)
{
    vqc_model *model = mb_model(10, 8);
    vqc_qoperator_result result;
    vqc_error error = {0};

    mb_input(model, NULL, "x");
    mb_node(model, NULL, "Relu", "x", "y");
    mb_output(model, NULL, "y");
    cr_assert_eq(vqc_qoperator_convert(model, true, &result, &error), VQC_OK);
    cr_assert_eq(result.converted, 0);
    cr_assert_eq(count_nodes(model, "Relu"), 1);
    vqc_model_destroy(&model);
}
