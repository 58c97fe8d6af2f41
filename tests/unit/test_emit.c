/*
 * Patterns: a code of which only sizes are known costs what the real one costs, and the graph that
 * is written decodes to exactly what the codec says. (ONNX Runtime runs the patterns in
 * tests/oracle/test_codecs.py.)
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/emit/patterns.h"
#include "core/exec/exec.h"
#include "tests/unit/coded_layer.h"

/* Emits the sizes only, fits, emits the real code, applies. */
static void write_layer(coded_layer *c)
{
    vqc_code sizes = {.decision = &c->decision};
    vqc_patch *patch = coded_layer_emit(c, &sizes);
    size_t added = vqc_patch_added_bytes(patch);
    size_t removed = vqc_patch_removed_bytes(patch);
    size_t before = onnx__graph_proto__get_packed_size(c->model->proto->graph);
    vqc_error error = {0};

    vqc_patch_drop(patch);
    coded_layer_fit(c);
    patch = coded_layer_emit(c, &c->code);
    cr_assert_eq(vqc_patch_added_bytes(patch), added, "%s: %zu, foretold %zu",
                 vqc_form_name(c->decision.form), vqc_patch_added_bytes(patch), added);
    cr_assert_eq(vqc_patch_removed_bytes(patch), removed);
    cr_assert_eq(vqc_patch_apply(patch, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(onnx__graph_proto__get_packed_size(c->model->proto->graph),
                 before + added - removed);
}

/* What the written file decodes W to, against codec->decode rounded to the layer's type. */
static void check_decoded(coded_layer *c, const char *what)
{
    vqc_model *again = mb_reopen(c->model);
    vqc_graph *graph = mb_index(again);
    float *wanted = coded_layer_decode(c);
    vqc_dtype dtype = (vqc_dtype)c->layer->dtype;
    size_t n = c->layer->elements;
    vqc_buffer *got = NULL;
    vqc_error error = {0};
    Onnx__TensorProto *raw;

    cr_assert_eq(vqc_exec_constant(graph, mb_value(graph, "W"), NULL, &got, &error), VQC_OK,
                 "%s: %s", what, error.message);
    cr_assert(got->dtype == c->layer->dtype && got->elements == n && got->rank == c->layer->rank,
              "%s", what);
    cr_assert(n == 0 || memcmp(got->dims, c->layer->dims, got->rank * sizeof *got->dims) == 0);
    coded_layer_round(dtype, wanted, n);
    raw = mb_float_tensor(c->model, "", dtype, c->layer->dims, c->layer->rank, wanted);
    cr_assert(memcmp(got->data, raw->raw_data.data, n * got->width) == 0,
              "%s: not what the codec decodes", what);
    vqc_buffer_destroy(&got);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&again);
}

typedef struct layer_case {
    const char *op;
    const char *inputs;
    int64_t dims[4];
    size_t rank;
} layer_case;

static const layer_case LAYERS[] = {
    {"MatMul", "x W", {33, 21}, 2},   {"Conv", "x W", {50, 3, 3, 3}, 4},
    {"Gather", "W x", {13, 35}, 2},   {"ConvTranspose", "x W", {5, 7, 3}, 3},
    {"LSTM", "x W R", {2, 28, 9}, 3}, {"MatMul", "x W", {2, 19, 11}, 3},
    {"Einsum", "x W", {7, 9}, 2},     {"com.microsoft.Attention", "x W", {12, 36}, 2},
};
static const int64_t OPSETS[] = {7, 10, 11, 13, 19, 21};
enum { LAYER_COUNT = 8, OPSET_COUNT = 6 };

static float *gaussian(vqc_arena *arena, size_t n, uint64_t seed)
{
    float *w = vqc_arena_calloc(arena, n + 1, sizeof *w);
    mb_random random = {seed};
    cr_assert_not_null(w);
    mb_random_fill(&random, w, n, 0.3f, 0.02f);
    return w;
}

/* One layer through codec, pattern, file and executor. */
static void round_trip(const layer_case *layer, coded_layer_options o, const vqc_weight_spec *spec,
                       vqc_form *form)
{
    vqc_arena *arena = vqc_arena_create();
    size_t n = coded_layer_elements(layer->dims, layer->rank);
    coded_layer c;
    char what[160];

    o.op = layer->op;
    o.inputs = layer->inputs;
    c = coded_layer_make(&o, layer->dims, layer->rank, gaussian(arena, n, n + 1), spec);
    (void)snprintf(what, sizeof what,
                   "%s opset %d dtype %d: %s %d bits, granularity %d, symmetric "
                   "%d, %s",
                   layer->op, (int)o.opset, (int)o.dtype, spec->codec, spec->bits,
                   (int)spec->granularity, (int)spec->symmetric, vqc_form_name(c.decision.form));
    if (form != NULL) {
        *form = c.decision.form;
    }
    if (c.decision.form != VQC_FORM_KEEP) {
        write_layer(&c);
        check_decoded(&c, what);
        for (size_t i = 0; i < c.model->proto->graph->n_input; i++) {
            cr_assert_str_neq(c.model->proto->graph->input[i]->name, c.layer->value->name,
                              "%s: the weight is no input any more", what);
        }
    }
    coded_layer_end(&c);
    vqc_arena_destroy(&arena);
}

static coded_layer_options options_at(int64_t opset)
{
    coded_layer_options o = coded_layer_defaults();
    o.opset = opset;
    o.ir_version = opset < 9 ? 3 : opset < 21 ? 8 : 10;
    return o;
}

static void all_ints(vqc_pattern pattern, vqc_dtype dtype)
{
    static const int bits[] = {2, 3, 4, 5, 6, 8, 16};
    static const int64_t blocks[] = {16, 5, 3};

    for (int l = 0; l < LAYER_COUNT; l++) {
        for (int s = 0; s < OPSET_COUNT; s++) {
            for (int i = 0; i < 7 * 3 * 2; i++) {
                coded_layer_options o = options_at(OPSETS[s]);
                vqc_weight_spec spec =
                    coded_layer_spec("int", bits[i % 7], (vqc_granularity)(i / 7 % 3), i < 21);
                spec.pattern = pattern;
                spec.block_size = blocks[(l + i) % 3];
                o.dtype = dtype;
                o.as_constant = (l + i) % 4 == 0;
                round_trip(&LAYERS[l], o, &spec, NULL);
            }
        }
    }
}

Test(emit, foldable_float32)
{
    all_ints(VQC_PATTERN_FOLDABLE, VQC_DTYPE_FLOAT);
}
Test(emit, foldable_float16)
{
    all_ints(VQC_PATTERN_FOLDABLE, VQC_DTYPE_FLOAT16);
}
Test(emit, foldable_float64)
{
    all_ints(VQC_PATTERN_FOLDABLE, VQC_DTYPE_DOUBLE);
}
Test(emit, foldable_bfloat16)
{
    all_ints(VQC_PATTERN_FOLDABLE, VQC_DTYPE_BFLOAT16);
}
Test(emit, dequantize_linear)
{
    all_ints(VQC_PATTERN_DEQUANTIZE_LINEAR, VQC_DTYPE_FLOAT);
}
Test(emit, whatever_fits_best)
{
    all_ints(VQC_PATTERN_AUTO, VQC_DTYPE_FLOAT);
}

Test(emit, dequantize_linear_is_used_where_the_opset_has_it)
{
    static const struct {
        int bits;
        vqc_granularity granularity;
        int64_t opset;
    } since[] = {
        {8, VQC_GRANULARITY_TENSOR, 10},  {8, VQC_GRANULARITY_CHANNEL, 13},
        {8, VQC_GRANULARITY_BLOCK, 21},   {4, VQC_GRANULARITY_TENSOR, 13},
        {3, VQC_GRANULARITY_CHANNEL, 13}, {16, VQC_GRANULARITY_TENSOR, 21},
    };
    for (size_t i = 0; i < sizeof since / sizeof since[0]; i++) {
        for (int s = 0; s < OPSET_COUNT; s++) {
            vqc_weight_spec spec =
                coded_layer_spec("int", since[i].bits, since[i].granularity, true);
            vqc_form form;
            spec.pattern = VQC_PATTERN_DEQUANTIZE_LINEAR;
            round_trip(&LAYERS[0], options_at(OPSETS[s]), &spec, &form);
            cr_assert_eq(form,
                         OPSETS[s] >= since[i].opset ? VQC_FORM_DEQUANTIZE : VQC_FORM_FOLDABLE);
        }
    }
}

Test(emit, odd_sizes)
{
    static const layer_case shapes[] = {
        {"MatMul", "x W", {1, 1}, 2},     {"MatMul", "x W", {1, 3}, 2},
        {"MatMul", "x W", {7, 1}, 2},     {"MatMul", "x W", {5, 3}, 2},
        {"Conv", "x W", {1, 1, 1, 1}, 4}, {"Conv", "x W", {3, 1, 5}, 3},
        {"MatMul", "x W", {17}, 1},       {"Gather", "W x", {9}, 1},
        {"MatMul", "x W", {300, 301}, 2}, {"Conv", "x W", {1, 70001, 1}, 3},
    };
    for (size_t l = 0; l < sizeof shapes / sizeof shapes[0]; l++) {
        for (int i = 0; i < 3 * 3 * 2 * 2; i++) {
            static const int bits[] = {3, 4, 8};
            vqc_weight_spec spec =
                coded_layer_spec("int", bits[i % 3], (vqc_granularity)(i / 3 % 3), i < 18);
            spec.block_size = 2 + i % 5;
            spec.pattern = i % 2 == 0 ? VQC_PATTERN_FOLDABLE : VQC_PATTERN_DEQUANTIZE_LINEAR;
            round_trip(&shapes[l], options_at(i % 4 == 0 ? 7 : 21), &spec, NULL);
        }
    }
}

/* float16 scales and packed zero points are chosen from some number of groups on: both sides. */
Test(emit, around_the_thresholds_of_small_patterns)
{
    for (int64_t groups = 40; groups <= 700; groups += groups < 60 ? 1 : 37) {
        layer_case layer = {"Gather", "W x", {groups, 18}, 2};
        vqc_weight_spec spec = coded_layer_spec("int", 4, VQC_GRANULARITY_CHANNEL, false);
        spec.pattern = VQC_PATTERN_FOLDABLE;
        round_trip(&layer, options_at(groups % 2 == 0 ? 7 : 13), &spec, NULL);
        spec.bits = 3;
        spec.granularity = VQC_GRANULARITY_BLOCK;
        spec.block_size = 8;
        round_trip(&layer, options_at(11), &spec, NULL);
    }
}

Test(emit, reduced_range_and_other_ranges)
{
    for (int i = 0; i < 3 * 3 * 2; i++) {
        vqc_weight_spec spec = coded_layer_spec("int", 8, (vqc_granularity)(i % 3), i < 9);
        spec.reduce_range = true;
        spec.range = i / 3 % 3 == 0   ? VQC_RANGE_MINMAX
                     : i / 3 % 3 == 1 ? VQC_RANGE_PERCENTILE
                                      : VQC_RANGE_MSE;
        spec.rounding = VQC_ROUNDING_BALANCED;
        round_trip(&LAYERS[i % LAYER_COUNT], options_at(OPSETS[i % OPSET_COUNT]), &spec, NULL);
    }
}

Test(emit, float_codecs)
{
    static const char *const codecs[] = {"float16", "bfloat16", "float8e4m3fn", "float8e5m2"};
    static const vqc_dtype types[] = {VQC_DTYPE_FLOAT, VQC_DTYPE_DOUBLE, VQC_DTYPE_FLOAT16,
                                      VQC_DTYPE_BFLOAT16};
    for (int i = 0; i < 4 * 4 * 3; i++) {
        for (int l = 0; l < LAYER_COUNT; l++) {
            for (int s = 0; s < OPSET_COUNT; s++) {
                coded_layer_options o = options_at(OPSETS[s]);
                vqc_weight_spec spec =
                    coded_layer_spec(codecs[i % 4], 8, (vqc_granularity)(i / 16), true);
                o.dtype = types[i / 4 % 4];
                o.as_constant = (l + s) % 2 == 0;
                spec.block_size = 7;
                round_trip(&LAYERS[l], o, &spec, NULL);
            }
        }
    }
}

/* ---- patterns that replace the readers: sizes; their meaning is ONNX Runtime's to judge ---- */

static void foretold(const layer_case *layer, coded_layer_options o, const vqc_weight_spec *spec,
                     vqc_form wanted, const char *op)
{
    vqc_arena *arena = vqc_arena_create();
    size_t n = coded_layer_elements(layer->dims, layer->rank);
    size_t count;
    bool found = false;
    Onnx__NodeProto **nodes;
    coded_layer c;

    o.op = layer->op;
    o.inputs = layer->inputs;
    c = coded_layer_make(&o, layer->dims, layer->rank, gaussian(arena, n, n), spec);
    cr_assert_eq(c.decision.form, wanted, "%s: %s", layer->op, vqc_form_name(c.decision.form));
    write_layer(&c);
    nodes = vqc_scope_nodes(c.graph->scopes[0], &count);
    for (size_t i = 0; i < count; i++) {
        found = found || strcmp(nodes[i]->op_type, op) == 0;
        cr_assert_str_neq(nodes[i]->op_type, layer->op, "the reader is replaced");
    }
    cr_assert(found, "%s", op);
    coded_layer_end(&c);
    vqc_arena_destroy(&arena);
}

Test(emit, block_operators_of_onnx_runtime)
{
    static const layer_case linear[] = {{"MatMul", "x W", {70, 21}, 2},
                                        {"MatMul", "x W", {16, 1}, 2},
                                        {"Gemm", "x W b", {64, 33}, 2}};
    static const layer_case gather = {"Gather", "W x", {13, 36}, 2};
    static const int bits[] = {2, 4, 8};

    for (int i = 0; i < 3 * 3 * 2 * 2; i++) {
        coded_layer_options o = options_at(i < 18 ? 13 : 21);
        vqc_weight_spec spec =
            coded_layer_spec("int", bits[i % 3], (vqc_granularity)(i / 3 % 3), i / 9 % 2 == 0);
        spec.block_size = 16 << (i % 2);
        o.operators = VQC_OPERATORS_ONNXRUNTIME;
        for (size_t l = 0; l < 3; l++) {
            foretold(&linear[l], o, &spec, VQC_FORM_MATMUL_NBITS, "MatMulNBits");
        }
        o.trans_b = true;
        foretold(&linear[2], o, &spec, VQC_FORM_MATMUL_NBITS, "MatMulNBits");
        o.trans_b = false;
        foretold(&gather, o, &spec, VQC_FORM_GATHER_BLOCK, "GatherBlockQuantized");
    }
}

Test(emit, dynamic_activations)
{
    static const layer_case matmul = {"MatMul", "x W", {70, 21}, 2};
    static const layer_case gemm = {"Gemm", "x W b", {64, 33}, 2};
    static const layer_case conv[] = {{"Conv", "x W", {50, 3, 3, 3}, 4},
                                      {"Conv", "x W b", {50, 3, 3, 3}, 4},
                                      {"Conv", "x W b", {6, 30, 3}, 3}};

    for (int i = 0; i < 2 * 2 * 2; i++) {
        coded_layer_options o = options_at(i < 4 ? 11 : 21);
        vqc_weight_spec spec = coded_layer_spec("int", 8, (vqc_granularity)(i % 2), i / 2 % 2 == 0);
        spec.activations = VQC_ACTIVATIONS_DYNAMIC;
        foretold(&matmul, o, &spec, VQC_FORM_DYNAMIC_MATMUL, "MatMulInteger");
        foretold(&gemm, o, &spec, VQC_FORM_DYNAMIC_MATMUL, "MatMulInteger");
        o.trans_b = true;
        foretold(&gemm, o, &spec, VQC_FORM_DYNAMIC_MATMUL, "MatMulInteger");
        o.trans_b = false;
        for (size_t l = 0; l < 3; l++) {
            foretold(&conv[l], o, &spec, VQC_FORM_DYNAMIC_CONV, "ConvInteger");
        }
    }
}

/* ---- the pieces ---- */

Test(emit, unpacking_any_width_and_length)
{
    static const int64_t opsets[] = {7, 11};
    mb_random random = {3};

    for (int bits = 1; bits <= 7; bits++) {
        for (int64_t n = 1; n < 80; n += n < 20 ? 1 : 13) {
            for (int s = 0; s < 2; s++) {
                vqc_model *model = mb_model(opsets[s], 8);
                vqc_graph *graph = mb_index(model);
                vqc_patch *patch = vqc_patch_create(graph);
                vqc_error error = {0};
                vqc_emitter e = {.graph = graph,
                                 .patch = patch,
                                 .scope = graph->scopes[0],
                                 .arena = model->arena,
                                 .error = &error,
                                 .opset = opsets[s]};
                uint8_t codes[80];
                vqc_buffer *got = NULL;
                for (int64_t i = 0; i < n; i++) {
                    codes[i] = (uint8_t)mb_random_below(&random, (size_t)1 << bits);
                }
                (void)vqc_emit_node(&e, "Identity", "result",
                                    vqc_emit_unpack(&e, codes, (size_t)n, bits, &n, 1), NULL, NULL);
                cr_assert_eq(e.status, VQC_OK);
                cr_assert_eq(vqc_patch_apply(patch, &error), VQC_OK);
                vqc_graph_destroy(&graph);
                graph = mb_index(model);
                cr_assert_eq(
                    vqc_exec_constant(graph, mb_value(graph, "result"), NULL, &got, &error), VQC_OK,
                    "%s", error.message);
                cr_assert(got->dtype == VQC_DTYPE_FLOAT && got->rank == 1 && got->dims[0] == n);
                for (int64_t i = 0; i < n; i++) {
                    float value;
                    memcpy(&value, got->data + i * 4, 4);
                    cr_assert_eq(value, (float)codes[i]);
                }
                vqc_buffer_destroy(&got);
                vqc_graph_destroy(&graph);
                vqc_model_destroy(&model);
            }
        }
    }
}

Test(emit, after_a_failure_nothing_happens)
{
    vqc_model *model = mb_model(13, 8);
    vqc_graph *graph = mb_index(model);
    vqc_error error = {0};
    vqc_emitter e = {.graph = graph,
                     .patch = vqc_patch_create(graph),
                     .scope = graph->scopes[0],
                     .arena = model->arena,
                     .error = &error,
                     .opset = 13};

    vqc_emit_fail(&e);
    cr_assert_eq(e.status, VQC_ERR_INTERNAL);
    cr_assert_str_eq(vqc_emit_node(&e, "Relu", VQC_FRESH, "x", NULL, NULL), "");
    cr_assert_str_eq(vqc_emit_scalar_f32(&e, 1.0f), "");
    cr_assert_str_eq(vqc_emit_cast(&e, "x", VQC_DTYPE_FLOAT, VQC_FRESH), "");
    vqc_emit_flush(&e, graph->scopes[0], NULL, false);
    cr_assert_eq(vqc_patch_added_bytes(e.patch), 0);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}
