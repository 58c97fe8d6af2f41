/* Channels: what goes through which operator, against the same model with zeros in the weights that
 * read removed channels. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pipeline.h"
#include "core/prune/channels.h"
#include "core/prune/channels_set.h"
#include "core/report.h"
#include "tests/unit/channels_zeroed.h"
#include "tests/unit/model_runner.h"

static const int64_t IMAGE[] = {2, 4, 6, 6};
static const int64_t ROWS[] = {2, 5, 12};
static const double TOLERANCE = 1e-5;

static void tensor(vqc_model *model, const char *name, uint64_t seed, const int64_t *dims,
                   size_t rank)
{
    float values[8192];
    size_t n = 1;
    mb_random random = {seed};

    for (size_t i = 0; i < rank; i++) {
        n *= (size_t)dims[i];
    }
    cr_assert_leq(n, sizeof values / sizeof values[0]);
    mb_random_fill(&random, values, n, 0.4f, 0.3f);
    mb_initializer(model, NULL, mb_float_tensor(model, name, VQC_DTYPE_FLOAT, dims, rank, values));
}

#define TENSOR(model, name, seed, ...)                                                             \
    tensor(model, name, seed, (const int64_t[]){__VA_ARGS__},                                      \
           sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void ints(vqc_model *model, const char *name, const int64_t *values, int64_t count)
{
    mb_initializer(model, NULL, mb_tensor(model, name, VQC_DTYPE_INT64, &count, 1, values));
}

#define INTS(model, name, ...)                                                                     \
    ints(model, name, (const int64_t[]){__VA_ARGS__},                                              \
         sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static vqc_model *begin(void)
{
    vqc_model *model = mb_model(17, 8);
    mb_input(model, NULL, "x");
    return model;
}

static void add_int(vqc_model *model, Onnx__NodeProto *node, const char *name, int64_t value)
{
    cr_assert(vqc_node_add_int(model->arena, node, name, value));
}

static void add_ints(vqc_model *model, Onnx__NodeProto *node, const char *name,
                     const int64_t *values, size_t count)
{
    cr_assert(vqc_node_add_ints(model->arena, node, name, values, count));
}

/* A 1x1 convolution to `to` channels behind `from` (channels in), with a bias. */
static void conv1(vqc_model *model, const char *from, const char *to_name, uint64_t seed,
                  int64_t channels_in, int64_t channels_out)
{
    char w[32];
    char b[32];
    char inputs[96];

    (void)snprintf(w, sizeof w, "w_%s", to_name);
    (void)snprintf(b, sizeof b, "b_%s", to_name);
    (void)snprintf(inputs, sizeof inputs, "%s %s %s", from, w, b);
    TENSOR(model, w, seed, channels_out, channels_in, 1, 1);
    TENSOR(model, b, seed + 100, channels_out);
    mb_node(model, NULL, "Conv", inputs, to_name);
}

/* Ends with a layer whose channels are the output's. */
static void end_conv(vqc_model *model, const char *from, int64_t channels_in)
{
    conv1(model, from, "y", 90, channels_in, 3);
    mb_output(model, NULL, "y");
}

static const Onnx__TensorProto *find(const vqc_model *model, const char *name)
{
    for (size_t i = 0; i < model->proto->graph->n_initializer; i++) {
        if (strcmp(model->proto->graph->initializer[i]->name, name) == 0) {
            return model->proto->graph->initializer[i];
        }
    }
    cr_assert_fail("no initializer %s", name);
    return NULL;
}

/* What happened: the cut model, to look at. */
typedef struct outcome {
    vqc_model *model; /* that was given, owner of the memory */
    vqc_model *cut;   /* read again */
    size_t removed;   /* atoms' classes */
} outcome;

/* Removes `share` and compares the cut model with the zeroed one. */
static outcome prune_with(vqc_model *model, const int64_t *dims, size_t rank,
                          const vqc_channel_options *options)
{
    vqc_graph *graph = mb_index(model);
    runner_samples *samples = runner_samples_make(1, dims, rank, 5);
    vqc_trace *trace = NULL;
    vqc_channel_set *set = NULL;
    vqc_model cut;
    vqc_model zeroed;
    vqc_model *twin;
    vqc_error error = {0};
    outcome out = {.model = model};
    bool *removed;

    cr_assert_eq(vqc_trace_create(graph, &samples->source, options->exclude, options->exclude_count,
                                  &trace, &error),
                 VQC_OK, "%s", error.message);
    cr_assert_eq(vqc_channel_set_create(trace, &set, &error), VQC_OK);
    cr_assert_eq(vqc_channel_score_magnitude(set, &error), VQC_OK, "%s", error.message);
    removed = calloc(trace->atom_count + 1, 1);
    vqc_channel_set_select(set, options, options->sparsity, removed);
    for (size_t g = 0; g < set->group_count; g++) {
        out.removed += set->groups[g].removed;
    }
    cr_assert_eq(vqc_channels_copy(model, model->arena, &zeroed, &error), VQC_OK);
    cr_assert(channels_zero(trace, removed, &zeroed));
    cr_assert_eq(vqc_channels_copy(model, model->arena, &cut, &error), VQC_OK);
    cr_assert_eq(vqc_channels_cut(trace, removed, NULL, 0, &cut, &error), VQC_OK, "%s",
                 error.message);
    out.cut = mb_reopen(&cut);
    twin = mb_reopen(&zeroed);
    runner_assert_same(twin, out.cut, dims, rank, 31, TOLERANCE);
    vqc_model_destroy(&twin);
    free(removed);
    vqc_channel_set_destroy(&set);
    vqc_trace_destroy(&trace);
    vqc_graph_destroy(&graph);
    runner_samples_end(samples);
    return out;
}

static outcome prune(vqc_model *model, const int64_t *dims, size_t rank)
{
    vqc_channel_options options = {.sparsity = 0.5};
    return prune_with(model, dims, rank, &options);
}

static void done(outcome *out)
{
    vqc_model_destroy(&out->cut);
    vqc_model_destroy(&out->model);
}

static void assert_dim(const outcome *out, const char *name, size_t axis, int64_t expected)
{
    cr_assert_eq(find(out->cut, name)->dims[axis], expected, "%s axis %zu: got %lld, wanted %lld",
                 name, axis, (long long)find(out->cut, name)->dims[axis], (long long)expected);
}

/* ---- one operator after the other ---- */

Test(prune_channels, chain)
{
    vqc_model *model = begin();
    outcome out;

    conv1(model, "x", "a", 1, 4, 8);
    mb_node(model, NULL, "Relu", "a", "r");
    end_conv(model, "r", 8);
    out = prune(model, IMAGE, 4);
    assert_dim(&out, "w_a", 0, 4);
    assert_dim(&out, "b_a", 0, 4);
    assert_dim(&out, "w_y", 1, 4);
    assert_dim(&out, "w_y", 0, 3);
    done(&out);
}

Test(prune_channels, residual_joins_both_branches)
{
    vqc_model *model = begin();
    outcome out;

    conv1(model, "x", "a", 1, 4, 8);
    conv1(model, "a", "b", 2, 8, 8);
    mb_node(model, NULL, "Add", "a b", "s");
    mb_node(model, NULL, "Relu", "s", "r");
    end_conv(model, "r", 8);
    out = prune(model, IMAGE, 4);
    cr_assert_eq(out.removed, 4, "one group");
    assert_dim(&out, "w_a", 0, 4);
    assert_dim(&out, "w_b", 0, 4);
    assert_dim(&out, "w_b", 1, 4);
    done(&out);
}

Test(prune_channels, concat_keeps_offsets)
{
    vqc_model *model = begin();
    outcome out;

    conv1(model, "x", "a", 1, 4, 8);
    conv1(model, "x", "b", 2, 4, 6);
    add_int(model, mb_node(model, NULL, "Concat", "a x b", "c"), "axis", 1);
    end_conv(model, "c", 18);
    out = prune(model, IMAGE, 4);
    assert_dim(&out, "w_a", 0, 4);
    assert_dim(&out, "w_b", 0, 3);
    assert_dim(&out, "w_y", 1, 11);
    done(&out);
}

static outcome depthwise(int64_t multiplier)
{
    vqc_model *model = begin();

    conv1(model, "x", "a", 1, 4, 8);
    TENSOR(model, "dw", 3, 8 * multiplier, 1, 3, 3);
    TENSOR(model, "db", 4, 8 * multiplier);
    add_int(model, mb_node(model, NULL, "Conv", "a dw db", "d"), "group", 8);
    end_conv(model, "d", 8 * multiplier);
    return prune(model, IMAGE, 4);
}

Test(prune_channels, depthwise_follows_its_input)
{
    outcome out = depthwise(1);

    assert_dim(&out, "dw", 0, 4);
    cr_assert_eq(vqc_node_attr_int(out.cut->proto->graph->node[1], "group", 1), 4);
    done(&out);
    out = depthwise(2);
    assert_dim(&out, "w_a", 0, 4);
    assert_dim(&out, "dw", 0, 8);
    assert_dim(&out, "w_y", 1, 8);
    done(&out);
}

Test(prune_channels, groups_lose_the_same_places)
{
    vqc_model *model = begin();
    outcome out;

    conv1(model, "x", "a", 1, 4, 12);
    TENSOR(model, "gw", 3, 6, 4, 1, 1);
    add_int(model, mb_node(model, NULL, "Conv", "a gw", "g"), "group", 3);
    end_conv(model, "g", 6);
    out = prune(model, IMAGE, 4);
    assert_dim(&out, "w_a", 0, 6);
    assert_dim(&out, "gw", 1, 2);
    assert_dim(&out, "gw", 0, 3);
    cr_assert_eq(vqc_node_attr_int(out.cut->proto->graph->node[1], "group", 1), 3);
    done(&out);
}

Test(prune_channels, norm_slopes_and_constants)
{
    vqc_model *model = begin();
    outcome out;

    conv1(model, "x", "a", 1, 4, 8);
    TENSOR(model, "scale", 2, 8);
    TENSOR(model, "shift", 3, 8);
    TENSOR(model, "mean", 4, 8);
    {
        const float var[8] = {1, 2, 3, 4, 5, 6, 7, 8};
        const int64_t n = 8;
        mb_initializer(model, NULL, mb_float_tensor(model, "var", VQC_DTYPE_FLOAT, &n, 1, var));
    }
    mb_node(model, NULL, "BatchNormalization", "a scale shift mean var", "n");
    TENSOR(model, "slope", 5, 8, 1, 1);
    mb_node(model, NULL, "PRelu", "n slope", "p");
    TENSOR(model, "factor", 6, 1, 8, 1, 1);
    mb_node(model, NULL, "Mul", "p factor", "m");
    end_conv(model, "m", 8);
    out = prune(model, IMAGE, 4);
    assert_dim(&out, "var", 0, 4);
    assert_dim(&out, "slope", 0, 4);
    assert_dim(&out, "factor", 1, 4);
    done(&out);
}

Test(prune_channels, squeeze_and_excite)
{
    vqc_model *model = begin();
    outcome out;

    conv1(model, "x", "a", 1, 4, 8);
    mb_node(model, NULL, "GlobalAveragePool", "a", "g");
    conv1(model, "g", "h", 2, 8, 4);
    mb_node(model, NULL, "Relu", "h", "hr");
    conv1(model, "hr", "e", 3, 4, 8);
    mb_node(model, NULL, "Sigmoid", "e", "s");
    mb_node(model, NULL, "Mul", "a s", "m");
    end_conv(model, "m", 8);
    out = prune(model, IMAGE, 4);
    assert_dim(&out, "w_a", 0, 4);
    assert_dim(&out, "w_h", 1, 4);
    assert_dim(&out, "w_h", 0, 2);
    assert_dim(&out, "w_e", 0, 4);
    done(&out);
}

Test(prune_channels, through_flatten_to_gemm)
{
    vqc_model *model = begin();
    outcome out;

    conv1(model, "x", "a", 1, 4, 8);
    mb_node(model, NULL, "Flatten", "a", "f");
    TENSOR(model, "gw", 2, 288, 6);
    mb_node(model, NULL, "Gemm", "f gw", "h");
    TENSOR(model, "ow", 3, 6, 5);
    mb_node(model, NULL, "MatMul", "h ow", "y");
    mb_output(model, NULL, "y");
    out = prune(model, IMAGE, 4);
    assert_dim(&out, "gw", 0, 144);
    assert_dim(&out, "gw", 1, 3);
    assert_dim(&out, "ow", 0, 3);
    done(&out);
}

Test(prune_channels, reshape_counts_channels)
{
    vqc_model *model = begin();
    outcome out;

    conv1(model, "x", "a", 1, 4, 8);
    INTS(model, "shape", 2, 288);
    mb_node(model, NULL, "Reshape", "a shape", "f");
    TENSOR(model, "gw", 2, 288, 6);
    mb_node(model, NULL, "MatMul", "f gw", "y");
    mb_output(model, NULL, "y");
    out = prune(model, IMAGE, 4);
    assert_dim(&out, "gw", 0, 144);
    done(&out);
}

Test(prune_channels, split_and_slice)
{
    vqc_model *model = begin();
    outcome out;

    conv1(model, "x", "a", 1, 4, 12);
    INTS(model, "sizes", 5, 7);
    add_int(model, mb_node(model, NULL, "Split", "a sizes", "p q"), "axis", 1);
    INTS(model, "starts", 2);
    INTS(model, "ends", 6);
    INTS(model, "axes", 1);
    mb_node(model, NULL, "Slice", "a starts ends axes", "s");
    add_int(model, mb_node(model, NULL, "Concat", "q s p", "c"), "axis", 1);
    end_conv(model, "c", 16);
    out = prune(model, IMAGE, 4);
    assert_dim(&out, "w_a", 0, 6);
    done(&out);
}

/* q, k, v: [2, 5, 12] -> three heads of four. */
static outcome attention(bool excluded)
{
    static const char *const exclude[] = {"w_v"};
    vqc_channel_options options = {.sparsity = 0.34};
    vqc_model *model = begin();
    const int64_t perm[] = {0, 2, 1, 3};
    const int64_t keys[] = {0, 2, 3, 1};

    if (excluded) {
        options.exclude = exclude;
        options.exclude_count = 1;
    }
    INTS(model, "split", 0, 0, 3, 4);
    INTS(model, "join", 0, 0, 12);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"q", "k", "v"};
        char text[6][32];
        (void)snprintf(text[0], 32, "w_%s", names[i]);
        (void)snprintf(text[1], 32, "x w_%s", names[i]);
        (void)snprintf(text[2], 32, "%s split", names[i]);
        (void)snprintf(text[3], 32, "%s4", names[i]);
        (void)snprintf(text[4], 32, "%st", names[i]);
        TENSOR(model, text[0], (uint64_t)(11 + i), 12, 12);
        mb_node(model, NULL, "MatMul", text[1], names[i]);
        mb_node(model, NULL, "Reshape", text[2], text[3]);
        add_ints(model, mb_node(model, NULL, "Transpose", text[3], text[4]), "perm",
                 i == 1 ? keys : perm, 4);
    }
    mb_node(model, NULL, "MatMul", "qt kt", "scores");
    add_int(model, mb_node(model, NULL, "Softmax", "scores", "share"), "axis", -1);
    mb_node(model, NULL, "MatMul", "share vt", "mixed");
    add_ints(model, mb_node(model, NULL, "Transpose", "mixed", "back"), "perm", perm, 4);
    mb_node(model, NULL, "Reshape", "back join", "joined");
    TENSOR(model, "w_o", 20, 12, 12);
    mb_node(model, NULL, "MatMul", "joined w_o", "y");
    mb_output(model, NULL, "y");
    return prune_with(model, ROWS, 3, &options);
}

Test(prune_channels, heads_go_as_a_whole)
{
    outcome out = attention(false);

    cr_assert_eq(out.removed, 1, "a head");
    assert_dim(&out, "w_q", 1, 8);
    assert_dim(&out, "w_k", 1, 8);
    assert_dim(&out, "w_v", 1, 8);
    assert_dim(&out, "w_o", 0, 8);
    assert_dim(&out, "w_o", 1, 12);
    done(&out);
}

Test(prune_channels, excluded_heads_stay)
{
    outcome out = attention(true);

    cr_assert_eq(out.removed, 0);
    assert_dim(&out, "w_q", 1, 12);
    done(&out);
}

Test(prune_channels, other_axes_and_transposed_convolution)
{
    vqc_model *model = begin();
    const int64_t last[] = {0, 2, 3, 1};
    outcome out;

    TENSOR(model, "tw", 1, 4, 8, 2, 2);
    TENSOR(model, "tb", 2, 8);
    mb_node(model, NULL, "ConvTranspose", "x tw tb", "t");
    add_ints(model, mb_node(model, NULL, "Transpose", "t", "n"), "perm", last, 4);
    TENSOR(model, "mw", 3, 8, 6);
    mb_node(model, NULL, "MatMul", "n mw", "m");
    TENSOR(model, "mb", 4, 6);
    mb_node(model, NULL, "Add", "m mb", "b");
    INTS(model, "pads", 0, 1, 0, 0, 0, 1, 0, 0);
    mb_node(model, NULL, "Pad", "b pads", "p");
    INTS(model, "axes", 1, 2);
    add_int(model, mb_node(model, NULL, "ReduceSum", "p axes", "r"), "keepdims", 0);
    TENSOR(model, "ow", 5, 6, 3);
    mb_node(model, NULL, "MatMul", "r ow", "y");
    mb_output(model, NULL, "y");
    out = prune(model, IMAGE, 4);
    assert_dim(&out, "tw", 1, 4);
    assert_dim(&out, "mw", 0, 4);
    assert_dim(&out, "mw", 1, 3);
    assert_dim(&out, "mb", 0, 3);
    done(&out);
}

/* ---- what stays ---- */

Test(prune_channels, counts_are_rounded)
{
    vqc_channel_options options = {.sparsity = 0.5, .multiple_of = 3};
    vqc_model *model = begin();
    outcome out;

    conv1(model, "x", "a", 1, 4, 8);
    end_conv(model, "a", 8);
    out = prune_with(model, IMAGE, 4, &options);
    assert_dim(&out, "w_a", 0, 6);
    done(&out);
    options = (vqc_channel_options){.sparsity = 0.9, .min_channels = 5};
    model = begin();
    conv1(model, "x", "a", 1, 4, 8);
    end_conv(model, "a", 8);
    out = prune_with(model, IMAGE, 4, &options);
    assert_dim(&out, "w_a", 0, 5);
    done(&out);
}

/* Removes half by the public function; the notes joined. */
static void prune_public(vqc_model *model, vqc_report **report)
{
    vqc_channel_options options = {.sparsity = 0.5, .target_sqnr_db = (double)NAN};
    runner_samples *samples = runner_samples_make(8, IMAGE, 4, 5);
    vqc_error error = {0};

    options.samples = &samples->source;
    cr_assert_eq(vqc_report_create(report, &error), VQC_OK);
    cr_assert_eq(vqc_prune_channels(model, &options, *report, &error), VQC_OK, "%s", error.message);
    runner_samples_end(samples);
}

static bool is_noted(const vqc_report *report, const char *text)
{
    for (size_t i = 0; i < report->note_count; i++) {
        if (strstr(report->notes[i], text) != NULL) {
            return true;
        }
    }
    return false;
}

Test(prune_channels, what_stays_is_named)
{
    vqc_model *model = begin();
    vqc_report *report = NULL;

    conv1(model, "x", "a", 1, 4, 8);
    add_int(model, mb_node(model, NULL, "Softmax", "a", "s"), "axis", 1);
    conv1(model, "s", "b", 2, 8, 8);
    end_conv(model, "b", 8);
    prune_public(model, &report);
    cr_assert(is_noted(report, "normalizes over the channels"));
    cr_assert(is_noted(report, "is an output of the model"));
    cr_assert_eq(find(model, "w_a")->dims[0], 8);
    cr_assert_eq(find(model, "w_b")->dims[0], 4);
    cr_assert_eq(find(model, "w_y")->dims[0], 3);
    vqc_report_destroy(&report);
    vqc_model_destroy(&model);
}

Test(prune_channels, options_are_checked)
{
    vqc_model *model = begin();
    vqc_channel_options options = {.sparsity = 1.0, .target_sqnr_db = (double)NAN};
    vqc_error error = {0};

    conv1(model, "x", "a", 1, 4, 8);
    end_conv(model, "a", 8);
    cr_assert_eq(vqc_prune_channels(model, &options, NULL, &error), VQC_ERR_USAGE);
    options = (vqc_channel_options){.sparsity = 0.5, .target_sqnr_db = 20.0};
    cr_assert_eq(vqc_prune_channels(model, &options, NULL, &error), VQC_ERR_USAGE);
    options = (vqc_channel_options){
        .sparsity = 0.5, .target_sqnr_db = (double)NAN, .score = VQC_CHANNEL_SCORE_SECOND_ORDER};
    cr_assert_eq(vqc_prune_channels(model, &options, NULL, &error), VQC_ERR_USAGE);
    vqc_model_destroy(&model);
}

/* ---- with samples ---- */

/* Eight channels of which the last four are mixtures of the first four. */
static vqc_model *dependent(bool bias)
{
    vqc_model *model = begin();
    float w[8][4];
    mb_random random = {3};

    mb_random_fill(&random, &w[0][0], 16, 1.0f, 0.2f);
    for (size_t c = 4; c < 8; c++) {
        for (size_t i = 0; i < 4; i++) {
            w[c][i] = 0.7f * w[c - 4][i] - 0.9f * w[(c - 3) % 4][i];
        }
    }
    mb_initializer(
        model, NULL,
        mb_float_tensor(model, "w_a", VQC_DTYPE_FLOAT, (const int64_t[]){8, 4, 1, 1}, 4, &w[0][0]));
    mb_node(model, NULL, "Conv", "x w_a", "a");
    if (bias) {
        TENSOR(model, "w_y", 6, 3, 8, 3, 3);
        TENSOR(model, "b_y", 7, 3);
    } else {
        TENSOR(model, "w_y", 6, 3, 8, 3, 3);
    }
    mb_node(model, NULL, "Conv", bias ? "a w_y b_y" : "a w_y", "y");
    mb_output(model, NULL, "y");
    return model;
}

/* 10 log10(sum a^2 / sum (a - b)^2) of the outputs for inputs that no calibration saw. */
static double sqnr_of(vqc_model *a, vqc_model *b)
{
    float x[2 * 4 * 6 * 6];
    mb_random random = {77};
    vqc_buffer *ya;
    vqc_buffer *yb;
    double signal = 0.0;
    double noise = 0.0;

    mb_random_fill(&random, x, sizeof x / sizeof x[0], 1.0f, 0.0f);
    ya = runner_run(a, IMAGE, 4, x, 0);
    yb = runner_run(b, IMAGE, 4, x, 0);
    cr_assert_eq(ya->elements, yb->elements);
    for (size_t i = 0; i < ya->elements; i++) {
        double u = (double)((const float *)(const void *)ya->data)[i];
        double v = (double)((const float *)(const void *)yb->data)[i];
        signal += u * u;
        noise += (u - v) * (u - v);
    }
    vqc_buffer_destroy(&ya);
    vqc_buffer_destroy(&yb);
    return 10.0 * log10(signal / (noise + 1e-30));
}

static double prune_dependent(bool bias, vqc_channel_options options, int64_t *left)
{
    vqc_model *model = dependent(bias);
    vqc_model *before = mb_reopen(model);
    vqc_model *after;
    runner_samples *samples = runner_samples_make(32, IMAGE, 4, 5);
    vqc_report *report = NULL;
    vqc_error error = {0};
    double db;

    options.samples = &samples->source;
    cr_assert_eq(vqc_report_create(&report, &error), VQC_OK);
    cr_assert_eq(vqc_prune_channels(model, &options, report, &error), VQC_OK, "%s", error.message);
    after = mb_reopen(model);
    *left = find(after, "w_a")->dims[0];
    cr_assert_eq(find(after, "w_y")->dims[1], *left);
    db = sqnr_of(before, after);
    runner_samples_end(samples);
    vqc_report_destroy(&report);
    vqc_model_destroy(&before);
    vqc_model_destroy(&after);
    vqc_model_destroy(&model);
    return db;
}

Test(prune_channels, the_others_take_over)
{
    vqc_channel_options options = {.sparsity = 0.5, .target_sqnr_db = (double)NAN};
    int64_t left;
    double fitted = prune_dependent(true, options, &left);

    cr_assert_eq(left, 4);
    cr_assert_gt(fitted, 30.0, "got %.1f dB", fitted);
    fitted = prune_dependent(false, options, &left);
    cr_assert_gt(fitted, 30.0, "without a bias: got %.1f dB", fitted);
    options.no_compensation = true;
    fitted = prune_dependent(true, options, &left);
    cr_assert_lt(fitted, 15.0, "plain: got %.1f dB", fitted);
}

Test(prune_channels, as_much_as_the_target_allows)
{
    vqc_channel_options options = {.sparsity = (double)NAN, .target_sqnr_db = 30.0};
    int64_t left;
    double db = prune_dependent(true, options, &left);

    cr_assert_eq(left, 4, "%lld are left", (long long)left);
    cr_assert_gt(db, 29.0);
    options.target_sqnr_db = 300.0;
    (void)prune_dependent(true, options, &left);
    cr_assert_eq(left, 8);
    options.target_sqnr_db = -50.0;
    (void)prune_dependent(true, options, &left);
    cr_assert_eq(left, 2);
}

/* ---- recipes ---- */

/* Channels of w_a that are left when configs/prune-channels.yaml takes half of them. */
/* What configs/prune-channels.yaml with changes `sets` [count] and one rule (or NULL) makes of the
 * model: its report. */
static vqc_report *run_with(vqc_model *model, vqc_samples *samples, const char *const *sets,
                            size_t count, vqc_layer_rule *rule)
{
    const vqc_run_options run = {.threads = 1};
    const vqc_pipeline_options options = {.run = &run, .samples = samples};
    vqc_recipe *recipe = NULL;
    vqc_report *report = NULL;
    vqc_error error = {0};

    cr_assert_eq(vqc_recipe_load("configs/prune-channels.yaml", sets, count, &recipe, NULL, &error),
                 VQC_OK, "%s", error.message);
    recipe->rules = rule;
    recipe->rule_count = rule != NULL ? 1 : 0;
    cr_assert_eq(vqc_report_create(&report, &error), VQC_OK);
    cr_assert_eq(vqc_pipeline_run(model, recipe, &options, report, &error), VQC_OK, "%s",
                 error.message);
    vqc_recipe_destroy(&recipe);
    return report;
}

static int64_t run_recipe(vqc_layer_rule *rule, size_t *removed)
{
    static const char *const sets[] = {"prune.sparsity=0.5", "prune.multiple_of=1"};
    vqc_model *model = begin();
    runner_samples *samples = runner_samples_make(8, IMAGE, 4, 5);
    vqc_report *report;
    int64_t left;

    conv1(model, "x", "a", 1, 4, 8);
    mb_node(model, NULL, "Relu", "a", "r");
    end_conv(model, "r", 8);
    report = run_with(model, &samples->source, sets, 2, rule);
    left = find(model, "w_a")->dims[0];
    *removed = report->removed_channels;
    for (size_t i = 0; i < report->layer_count; i++) {
        const vqc_layer_report *layer = &report->layers[i];
        cr_assert_gt(layer->after_bytes, layer->elements * sizeof(float));
        if (strcmp(layer->name, "w_a") == 0) { /* before: with all its channels */
            size_t gone = (size_t)(8 - left) * (layer->elements / (size_t)left) * sizeof(float);
            cr_assert_geq(layer->before_bytes, layer->after_bytes + gone);
            cr_assert_leq(layer->before_bytes, layer->after_bytes + gone + 4); /* lengths */
        }
    }
    vqc_report_destroy(&report);
    runner_samples_end(samples);
    vqc_model_destroy(&model);
    return left;
}

Test(prune_channels, by_recipe)
{
    char *names[] = {"w_a"};
    vqc_layer_rule rule = {
        .match =
            {.names = names, .name_count = 1, .min_elements = -1, .max_elements = -1, .rank = -1},
        .spec = {.set = VQC_SPEC_SPARSITY, .sparsity = 0.0},
    };
    size_t removed;

    cr_assert_eq(run_recipe(NULL, &removed), 4);
    cr_assert_eq(removed, 4);
    cr_assert_eq(run_recipe(&rule, &removed), 8, "a rule keeps it");
    cr_assert_eq(removed, 0);
}

/* One sample: nothing varies, and covariances are what rounding leaves. */
Test(prune_channels, by_recipe_and_one_sample)
{
    static const int64_t row[] = {1, 12};
    vqc_model *model = begin();
    runner_samples *samples = runner_samples_make(1, row, 2, 5);
    vqc_report *report;

    TENSOR(model, "u", 1, 12, 96);
    mb_node(model, NULL, "Gemm", "x u", "a");
    TENSOR(model, "v", 2, 96, 64);
    mb_node(model, NULL, "Gemm", "a v", "b");
    TENSOR(model, "w", 3, 64, 5);
    mb_node(model, NULL, "Gemm", "b w", "y");
    mb_output(model, NULL, "y");
    report = run_with(model, &samples->source, NULL, 0, NULL);
    cr_assert_gt(report->removed_channels, 0);
    vqc_report_destroy(&report);
    runner_samples_end(samples);
    vqc_model_destroy(&model);
}
