/* Folding: what goes into weights, what must stay, and that the model computes the same. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/fold/fold.h"
#include "tests/unit/model_runner.h"

enum { CHANNELS = 6 };

static const int64_t IMAGE[] = {2, 4, 7, 7};
static const int64_t ROWS[] = {3, 5};
static const double TOLERANCE = 2e-6;

static void add_tensor(vqc_model *model, const char *name, const int64_t *dims, size_t rank,
                       uint64_t seed, float deviation, float mean)
{
    float values[4096];
    size_t n = 1;
    mb_random random = {seed};

    for (size_t i = 0; i < rank; i++) {
        n *= (size_t)dims[i];
    }
    cr_assert_leq(n, sizeof values / sizeof values[0]);
    mb_random_fill(&random, values, n, deviation, mean);
    mb_initializer(model, NULL, mb_float_tensor(model, name, VQC_DTYPE_FLOAT, dims, rank, values));
}

#define TENSOR(model, name, seed, deviation, mean, ...)                                            \
    add_tensor(model, name, (const int64_t[]){__VA_ARGS__},                                        \
               sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), seed, deviation, mean)

/* scale, B, mean, var of a BatchNormalization over CHANNELS channels. */
static void add_norm_constants(vqc_model *model)
{
    float var[CHANNELS];

    TENSOR(model, "scale", 11, 0.5f, 1.0f, CHANNELS);
    TENSOR(model, "shift", 12, 1.0f, 0.0f, CHANNELS);
    TENSOR(model, "mean", 13, 1.0f, 0.0f, CHANNELS);
    for (size_t c = 0; c < CHANNELS; c++) {
        var[c] = 0.25f + 0.5f * (float)c;
    }
    mb_initializer(
        model, NULL,
        mb_float_tensor(model, "var", VQC_DTYPE_FLOAT, (const int64_t[]){CHANNELS}, 1, var));
}

static vqc_fold_counts fold(vqc_model *model)
{
    vqc_fold_counts counts;
    vqc_error error = {0};

    cr_assert_eq(vqc_fold_model(model, &counts, &error), VQC_OK, "%s", error.message);
    return counts;
}

/* Folds and compares with the model before; the counts. Destroys the model. */
static vqc_fold_counts fold_same(vqc_model *model, const int64_t *dims, size_t rank,
                                 size_t nodes_left)
{
    vqc_model *before = mb_reopen(model);
    vqc_fold_counts counts = fold(model);
    vqc_model *after = mb_reopen(model);

    cr_assert_eq(after->proto->graph->n_node, nodes_left, "%zu nodes are left",
                 after->proto->graph->n_node);
    runner_assert_same(before, after, dims, rank, 77, TOLERANCE);
    vqc_model_destroy(&before);
    vqc_model_destroy(&after);
    vqc_model_destroy(&model);
    return counts;
}

/* x -> Conv -> BatchNormalization -> y */
static vqc_model *conv_norm(bool bias)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    TENSOR(model, "w", 1, 0.3f, 0.0f, CHANNELS, 4, 3, 3);
    if (bias) {
        TENSOR(model, "b", 2, 1.0f, 0.0f, CHANNELS);
    }
    add_norm_constants(model);
    mb_node(model, NULL, "Conv", bias ? "x w b" : "x w", "c");
    mb_node(model, NULL, "BatchNormalization", "c scale shift mean var", "y");
    mb_output(model, NULL, "y");
    return model;
}

static void assert_counts(vqc_fold_counts got, size_t norms, size_t scales, size_t constants,
                          size_t idle)
{
    cr_assert_eq(got.norms, norms, "norms: %zu", got.norms);
    cr_assert_eq(got.scales, scales, "scales: %zu", got.scales);
    cr_assert_eq(got.constants, constants, "constants: %zu", got.constants);
    cr_assert_eq(got.idle, idle, "idle: %zu", got.idle);
}

/* ---- BatchNormalization ---- */

Test(fold, norm_into_conv)
{
    assert_counts(fold_same(conv_norm(true), IMAGE, 4, 1), 1, 0, 0, 0);
    assert_counts(fold_same(conv_norm(false), IMAGE, 4, 1), 1, 0, 0, 0);
}

Test(fold, norm_constants_are_gone)
{
    vqc_model *model = conv_norm(true);

    fold(model);
    cr_assert_eq(model->proto->graph->n_initializer, 2, "weight and bias");
    vqc_model_destroy(&model);
}

Test(fold, epsilon_counts)
{
    vqc_model *model = conv_norm(true);

    cr_assert(vqc_node_add_float(model->arena, model->proto->graph->node[1], "epsilon", 0.5f));
    fold_same(model, IMAGE, 4, 1);
}

Test(fold, norm_into_grouped_conv)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    TENSOR(model, "w", 1, 0.3f, 0.0f, CHANNELS, 2, 3, 3);
    add_norm_constants(model);
    cr_assert(vqc_node_add_int(model->arena, mb_node(model, NULL, "Conv", "x w", "c"), "group", 2));
    mb_node(model, NULL, "BatchNormalization", "c scale shift mean var", "y");
    mb_output(model, NULL, "y");
    assert_counts(fold_same(model, IMAGE, 4, 1), 1, 0, 0, 0);
}

static void conv_transpose(int64_t group)
{
    vqc_model *model = mb_model(17, 8);
    const int64_t dims[] = {4, CHANNELS / group, 3, 3};

    mb_input(model, NULL, "x");
    add_tensor(model, "w", dims, 4, 1, 0.3f, 0.0f);
    TENSOR(model, "b", 2, 1.0f, 0.0f, CHANNELS);
    add_norm_constants(model);
    cr_assert(vqc_node_add_int(model->arena, mb_node(model, NULL, "ConvTranspose", "x w b", "c"),
                               "group", group));
    mb_node(model, NULL, "BatchNormalization", "c scale shift mean var", "y");
    mb_output(model, NULL, "y");
    assert_counts(fold_same(model, IMAGE, 4, 1), 1, 0, 0, 0);
}

Test(fold, norm_into_conv_transpose)
{
    conv_transpose(1);
    conv_transpose(2);
}

static void gemm(bool trans_b)
{
    vqc_model *model = mb_model(17, 8);
    Onnx__NodeProto *node;

    mb_input(model, NULL, "x");
    if (trans_b) {
        TENSOR(model, "w", 1, 0.5f, 0.0f, CHANNELS, 5);
    } else {
        TENSOR(model, "w", 1, 0.5f, 0.0f, 5, CHANNELS);
    }
    TENSOR(model, "b", 2, 1.0f, 0.0f, CHANNELS);
    add_norm_constants(model);
    node = mb_node(model, NULL, "Gemm", "x w b", "c");
    cr_assert(vqc_node_add_int(model->arena, node, "transB", trans_b ? 1 : 0));
    mb_node(model, NULL, "BatchNormalization", "c scale shift mean var", "y");
    mb_output(model, NULL, "y");
    assert_counts(fold_same(model, ROWS, 2, 1), 1, 0, 0, 0);
}

Test(fold, norm_into_gemm)
{
    gemm(false);
    gemm(true);
}

/* ---- Mul and Add ---- */

Test(fold, scales_of_a_conv)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    TENSOR(model, "w", 1, 0.3f, 0.0f, CHANNELS, 4, 3, 3);
    TENSOR(model, "m", 2, 1.0f, 0.0f, 1, CHANNELS, 1, 1);
    TENSOR(model, "a", 3, 1.0f, 0.0f, CHANNELS, 1, 1);
    TENSOR(model, "k", 4, 1.0f, 2.0f, 1);
    mb_node(model, NULL, "Conv", "x w", "c");
    mb_node(model, NULL, "Mul", "c m", "d");
    mb_node(model, NULL, "Add", "a d", "e"); /* the constant comes first */
    mb_node(model, NULL, "Mul", "e k", "y");
    mb_output(model, NULL, "y");
    assert_counts(fold_same(model, IMAGE, 4, 1), 0, 3, 0, 0);
}

Test(fold, scales_of_a_gemm)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    TENSOR(model, "w", 1, 0.3f, 0.0f, 5, CHANNELS);
    TENSOR(model, "m", 2, 1.0f, 0.0f, CHANNELS);
    TENSOR(model, "a", 3, 1.0f, 0.0f, 1, CHANNELS);
    mb_node(model, NULL, "Gemm", "x w", "c");
    mb_node(model, NULL, "Mul", "c m", "d");
    mb_node(model, NULL, "Add", "d a", "y");
    mb_output(model, NULL, "y");
    assert_counts(fold_same(model, ROWS, 2, 1), 0, 2, 0, 0);
}

/* One Mul behind a Conv with that constant; how many nodes are left. */
static size_t left_after_mul(const int64_t *dims, size_t rank, int64_t channels)
{
    vqc_model *model = mb_model(17, 8);
    const int64_t weight[] = {channels, 4, 1, 1};
    vqc_model *before;
    vqc_model *after;
    size_t left;

    mb_input(model, NULL, "x");
    add_tensor(model, "w", weight, 4, 1, 0.3f, 0.0f);
    add_tensor(model, "m", dims, rank, 2, 1.0f, 0.0f);
    mb_node(model, NULL, "Conv", "x w", "c");
    mb_node(model, NULL, "Mul", "c m", "y");
    mb_output(model, NULL, "y");
    before = mb_reopen(model);
    fold(model);
    after = mb_reopen(model);
    left = after->proto->graph->n_node;
    runner_assert_same(before, after, IMAGE, 4, 5, TOLERANCE);
    vqc_model_destroy(&before);
    vqc_model_destroy(&after);
    vqc_model_destroy(&model);
    return left;
}

Test(fold, other_broadcasts_stay)
{
    cr_assert_eq(left_after_mul((const int64_t[]){7}, 1, 7), 2, "7 columns are not 7 channels");
    cr_assert_eq(left_after_mul((const int64_t[]){7, 1}, 2, 7), 2, "7 rows are not 7 channels");
    cr_assert_eq(left_after_mul((const int64_t[]){2, 1, 1, 1}, 4, 2), 2, "a batch of 2");
    cr_assert_eq(left_after_mul((const int64_t[]){7, 1, 1}, 3, 1), 2, "makes 7 channels of 1");
    cr_assert_eq(left_after_mul((const int64_t[]){1, 1, 1, 1, 1}, 5, 7), 2, "adds an axis");
    cr_assert_eq(left_after_mul((const int64_t[]){7, 1, 1}, 3, 7), 1);
    cr_assert_eq(left_after_mul((const int64_t[]){1}, 1, 7), 1);
}

/* ---- what must stay ---- */

/* A change to conv_norm after which nothing may be folded. */
static void must_stay(void (*change)(vqc_model *model))
{
    vqc_model *model = conv_norm(true);
    vqc_model *before;
    vqc_fold_counts counts;

    change(model);
    before = mb_reopen(model);
    counts = fold(model);
    assert_counts(counts, 0, 0, 0, 0);
    cr_assert_eq(model->proto->graph->n_node, before->proto->graph->n_node);
    cr_assert_eq(model->proto->graph->n_initializer, before->proto->graph->n_initializer);
    runner_assert_same(before, model, IMAGE, 4, 6, 0.0);
    vqc_model_destroy(&before);
    vqc_model_destroy(&model);
}

static void share_weight(vqc_model *model)
{
    mb_node(model, NULL, "Conv", "x w", "other");
    mb_output(model, NULL, "other");
}

static void share_bias(vqc_model *model)
{
    mb_node(model, NULL, "Conv", "x w2 b", "other");
    TENSOR(model, "w2", 9, 1.0f, 0.0f, CHANNELS, 4, 1, 1);
    mb_output(model, NULL, "other");
}

static void second_reader(vqc_model *model)
{
    mb_node(model, NULL, "Relu", "c", "other");
    mb_output(model, NULL, "other");
}

static void give_out(vqc_model *model)
{
    mb_output(model, NULL, "c");
}

static void give_out_weight(vqc_model *model)
{
    mb_output(model, NULL, "w");
}

static void negative_variance(vqc_model *model)
{
    Onnx__GraphProto *graph = model->proto->graph;
    static float var[CHANNELS] = {1, 1, -1, 1, 1, 1};

    for (size_t i = 0; i < graph->n_initializer; i++) {
        if (strcmp(graph->initializer[i]->name, "var") == 0) {
            graph->initializer[i]->raw_data.data = (uint8_t *)var;
        }
    }
}

Test(fold, what_others_see_stays)
{
    must_stay(share_weight);
    must_stay(share_bias);
    must_stay(second_reader);
    must_stay(give_out);
    must_stay(give_out_weight);
}

Test(fold, a_norm_without_a_real_scale_stays)
{
    vqc_model *model = conv_norm(true);

    negative_variance(model);
    assert_counts(fold(model), 0, 0, 0, 0);
    cr_assert_eq(model->proto->graph->n_node, 2);
    vqc_model_destroy(&model);
}

Test(fold, training_norm_stays)
{
    vqc_model *model = conv_norm(true);
    Onnx__NodeProto *norm = model->proto->graph->node[1];
    static char *outputs[] = {(char *)"y", (char *)"m", (char *)"v"};

    cr_assert(vqc_node_add_int(model->arena, norm, "training_mode", 1));
    norm->output = outputs;
    norm->n_output = 3;
    assert_counts(fold(model), 0, 0, 0, 0);
    cr_assert_eq(model->proto->graph->n_node, 2);
    vqc_model_destroy(&model);
}

Test(fold, large_scales_stay)
{
    vqc_model *model = mb_model(17, 8);
    const float huge = 1e38f;

    mb_input(model, NULL, "x");
    TENSOR(model, "w", 1, 0.3f, 0.0f, CHANNELS, 4, 3, 3);
    mb_initializer(model, NULL, mb_float_tensor(model, "m", VQC_DTYPE_FLOAT, NULL, 0, &huge));
    mb_node(model, NULL, "Conv", "x w", "c");
    mb_node(model, NULL, "Mul", "c m", "y");
    mb_output(model, NULL, "y");
    assert_counts(fold(model), 0, 0, 0, 0);
    vqc_model_destroy(&model);
}

Test(fold, scaled_gemm_stays)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    TENSOR(model, "w", 1, 0.3f, 0.0f, 5, CHANNELS);
    TENSOR(model, "b", 3, 0.3f, 0.0f, CHANNELS);
    TENSOR(model, "m", 2, 1.0f, 0.0f, CHANNELS);
    cr_assert(
        vqc_node_add_float(model->arena, mb_node(model, NULL, "Gemm", "x w b", "c"), "beta", 0.5f));
    mb_node(model, NULL, "Mul", "c m", "y");
    mb_output(model, NULL, "y");
    assert_counts(fold_same(model, ROWS, 2, 2), 0, 0, 0, 0);
}

/* A weight that a body of If reads as well must keep its values. */
Test(fold, weights_read_in_subgraphs_stay)
{
    vqc_model *model = conv_norm(true);
    const unsigned char yes = 1;
    Onnx__NodeProto *node = mb_free_node(model, "If", "cond", "other");
    Onnx__GraphProto *bodies[2] = {mb_body(model, node, "then_branch"),
                                   mb_body(model, node, "else_branch")};

    mb_initializer(model, NULL, mb_tensor(model, "cond", VQC_DTYPE_BOOL, NULL, 0, &yes));
    for (size_t i = 0; i < 2; i++) {
        const char *names[2] = {"o1", "o2"};
        mb_node(model, bodies[i], "Identity", "w", names[i]);
        mb_output(model, bodies[i], names[i]);
    }
    mb_node(model, NULL, "If", "cond", "other")->attribute = node->attribute;
    model->proto->graph->node[2]->n_attribute = node->n_attribute;
    mb_output(model, NULL, "other");
    cr_assert_eq(fold(model).norms, 0);
    cr_assert_eq(runner_count_nodes(model, "BatchNormalization"), 1);
    vqc_model_destroy(&model);
}

/* ---- constants ---- */

Test(fold, constant_expressions)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    TENSOR(model, "w", 1, 0.3f, 0.0f, 5, 6);
    TENSOR(model, "k", 2, 0.3f, 0.0f, 6);
    mb_node(model, NULL, "Mul", "w k", "w1");
    mb_node(model, NULL, "Relu", "w1", "w2");
    mb_node(model, NULL, "MatMul", "x w2", "y");
    mb_output(model, NULL, "y");
    assert_counts(fold_same(model, ROWS, 2, 1), 0, 0, 1, 0);
}

Test(fold, constants_are_not_blown_up)
{
    vqc_model *model = mb_model(17, 8);
    const int64_t shape[] = {64, 64};
    const int64_t two = 2;

    mb_input(model, NULL, "x");
    TENSOR(model, "k", 2, 0.3f, 0.0f, 1);
    mb_initializer(model, NULL, mb_tensor(model, "shape", VQC_DTYPE_INT64, &two, 1, shape));
    mb_node(model, NULL, "Expand", "k shape", "big");
    mb_node(model, NULL, "MatMul", "x big", "y");
    mb_output(model, NULL, "y");
    assert_counts(fold(model), 0, 0, 0, 0);
    cr_assert_eq(runner_count_nodes(model, "Expand"), 1);
    vqc_model_destroy(&model);
}

Test(fold, constant_outputs_keep_their_name)
{
    vqc_model *model = mb_model(17, 8);
    vqc_buffer *y;
    float first;
    const float x[] = {0.0f};

    mb_input(model, NULL, "x");
    mb_node(model, NULL, "Relu", "x", "used");
    mb_output(model, NULL, "used");
    mb_initializer(model, NULL,
                   mb_float_tensor(model, "k", VQC_DTYPE_FLOAT, NULL, 0, (const float[]){3.0f}));
    mb_node(model, NULL, "Add", "k k", "six");
    mb_output(model, NULL, "six");
    fold(model);
    y = runner_run(model, (const int64_t[]){1}, 1, x, 1);
    memcpy(&first, y->data, sizeof first);
    cr_assert_eq(first, 6.0f);
    vqc_buffer_destroy(&y);
    vqc_model_destroy(&model);
}

/* ---- idle nodes ---- */

Test(fold, idle_nodes)
{
    vqc_model *model = mb_model(17, 8);
    const unsigned char no = 0;
    const float ratio = 0.5f;

    mb_input(model, NULL, "x");
    mb_initializer(model, NULL, mb_float_tensor(model, "r", VQC_DTYPE_FLOAT, NULL, 0, &ratio));
    mb_initializer(model, NULL, mb_tensor(model, "t", VQC_DTYPE_BOOL, NULL, 0, &no));
    mb_node(model, NULL, "Identity", "x", "a");
    mb_node(model, NULL, "Identity", "a", "b");
    mb_node(model, NULL, "Dropout", "b", "c");
    mb_node(model, NULL, "Dropout", "c r t", "d");
    mb_node(model, NULL, "Add", "d a", "y");
    mb_output(model, NULL, "y");
    assert_counts(fold_same(model, ROWS, 2, 1), 0, 0, 0, 4);
}

Test(fold, nodes_that_are_needed_stay)
{
    vqc_model *model = mb_model(17, 8);
    const unsigned char yes = 1;
    const float ratio = 0.0f;

    mb_input(model, NULL, "x");
    mb_initializer(model, NULL, mb_float_tensor(model, "r", VQC_DTYPE_FLOAT, NULL, 0, &ratio));
    mb_initializer(model, NULL, mb_tensor(model, "t", VQC_DTYPE_BOOL, NULL, 0, &yes));
    mb_node(model, NULL, "Dropout", "x r t", "a"); /* training */
    mb_node(model, NULL, "Dropout", "a", "b mask");
    mb_node(model, NULL, "Relu", "b", "c");
    mb_node(model, NULL, "Identity", "c", "y"); /* the output's name */
    mb_output(model, NULL, "y");
    mb_output(model, NULL, "mask");
    assert_counts(fold(model), 0, 0, 0, 0);
    cr_assert_eq(model->proto->graph->n_node, 4);
    vqc_model_destroy(&model);
}

/* Everything at once: Identity between Conv and BatchNormalization, scale computed from constants.
 */
Test(fold, passes_feed_each_other)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    TENSOR(model, "w", 1, 0.3f, 0.0f, CHANNELS, 4, 3, 3);
    add_norm_constants(model);
    mb_node(model, NULL, "Abs", "scale", "scale2");
    mb_node(model, NULL, "Conv", "x w", "c");
    mb_node(model, NULL, "Identity", "c", "d");
    mb_node(model, NULL, "BatchNormalization", "d scale2 shift mean var", "y");
    mb_output(model, NULL, "y");
    assert_counts(fold_same(model, IMAGE, 4, 1), 1, 0, 1, 1);
}

Test(fold, nothing_to_do)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    TENSOR(model, "w", 1, 0.3f, 0.0f, 5, 5);
    mb_node(model, NULL, "MatMul", "x w", "y");
    mb_output(model, NULL, "y");
    assert_counts(fold_same(model, ROWS, 2, 1), 0, 0, 0, 0);
}
