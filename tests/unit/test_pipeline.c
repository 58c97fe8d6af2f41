/* The pipeline over whole models: what is coded and what stays, sizes, versions, dry runs, threads.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/exec/exec.h"
#include "core/pipeline.h"
#include "core/report.h"
#include "formats/onnx_file.h"
#include "tests/unit/model_builder.h"

typedef struct piped {
    vqc_model *model;
    vqc_recipe *recipe;
    vqc_report *report;
    vqc_run_options run;
    vqc_pipeline_options options;
    size_t before;
    size_t after;
} piped;

static piped begin(vqc_model *model)
{
    piped p = {.model = model, .run = {.threads = 1}};
    vqc_error error;

    cr_assert_eq(vqc_recipe_create_default(&p.recipe, &error), VQC_OK);
    p.recipe->weights.min_elements = 0;
    return p;
}

static size_t file_bytes(const vqc_model *model)
{
    vqc_onnx_written size;
    vqc_error error = {0};
    cr_assert_eq(vqc_onnx_measure(model, NULL, &size, &error), VQC_OK, "%s", error.message);
    return size.file_size_bytes + size.external_size_bytes;
}

static void compress(piped *p)
{
    vqc_error error = {0};

    p->options.run = &p->run;
    cr_assert_eq(vqc_report_create(&p->report, &error), VQC_OK);
    p->before = file_bytes(p->model);
    cr_assert_eq(vqc_pipeline_run(p->model, p->recipe, &p->options, p->report, &error), VQC_OK,
                 "%s", error.message);
    p->after = file_bytes(p->model);
}

static void end(piped *p)
{
    vqc_report_destroy(&p->report);
    vqc_recipe_destroy(&p->recipe);
    vqc_model_destroy(&p->model);
}

static const vqc_layer_report *layer(const piped *p, const char *name)
{
    for (size_t i = 0; i < p->report->layer_count; i++) {
        if (strcmp(p->report->layers[i].name, name) == 0) {
            return &p->report->layers[i];
        }
    }
    cr_assert_fail("no layer %s", name);
    return NULL;
}

static bool is_coded(const piped *p, const char *name)
{
    return layer(p, name)->status == VQC_LAYER_CODED;
}

/* SQNR of the value `name` of scope `s` in the written model against a float32 tensor. */
static double written_sqnr(const piped *p, size_t s, const char *name,
                           const Onnx__TensorProto *source)
{
    vqc_model *again = mb_reopen(p->model);
    vqc_graph *graph = mb_index(again);
    vqc_value *value = vqc_scope_define(graph, graph->scopes[s], name);
    vqc_buffer *got = NULL;
    vqc_error error = {0};
    double signal = 0.0;
    double noise = 0.0;

    cr_assert_not_null(value, "%s", name);
    cr_assert_eq(vqc_exec_constant(graph, value, NULL, &got, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(got->elements * 4, source->raw_data.len);
    for (size_t i = 0; i < got->elements; i++) {
        float a;
        float b;
        memcpy(&a, source->raw_data.data + i * 4, 4);
        memcpy(&b, got->data + i * 4, 4);
        signal += (double)a * (double)a;
        noise += ((double)a - (double)b) * ((double)a - (double)b);
    }
    vqc_buffer_destroy(&got);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&again);
    return 10.0 * log10(signal / noise);
}

static Onnx__TensorProto *random_tensor(vqc_model *model, const char *name, int64_t rows,
                                        int64_t cols, uint64_t seed)
{
    const int64_t dims[2] = {rows, cols};
    size_t n = (size_t)(rows * cols);
    float *values = vqc_arena_calloc(model->arena, n, sizeof *values);
    mb_random random = {seed};

    cr_assert_not_null(values);
    mb_random_fill(&random, values, n, 0.1f, 0.0f);
    return mb_tensor(model, name, VQC_DTYPE_FLOAT, dims, 2, values);
}

static vqc_model *two_matmuls(int64_t opset, int64_t ir_version)
{
    vqc_model *model = mb_model(opset, ir_version);

    mb_input(model, NULL, "x");
    (void)mb_matrix(model, "A", 64, 96, 1);
    (void)mb_matrix(model, "B", 96, 40, 2);
    if (ir_version < 4) {
        mb_input(model, NULL, "A");
        mb_input(model, NULL, "B");
    }
    (void)mb_node(model, NULL, "MatMul", "x A", "h");
    (void)mb_node(model, NULL, "MatMul", "h B", "y");
    mb_output(model, NULL, "y");
    return model;
}

Test(pipeline, weights_become_codes)
{
    piped p = begin(two_matmuls(13, 8));
    const Onnx__TensorProto *a = p.model->proto->graph->initializer[0];

    compress(&p);
    cr_assert(is_coded(&p, "A") && is_coded(&p, "B"));
    cr_assert_eq(p.report->coded_count, 2);
    cr_assert_eq(p.report->weight_elements, 64 * 96 + 96 * 40);
    cr_assert_lt(p.after, p.before / 3);
    /* the file also loses a byte of the graph's length prefix */
    cr_assert_leq(
        p.before - p.after - (p.report->weight_before_bytes - p.report->weight_after_bytes), 1);
    cr_assert_eq(p.report->opset_after, 13);
    cr_assert_eq(p.report->ir_after, 8);
    cr_assert_gt(written_sqnr(&p, 0, "A", a), 35.0);
    cr_assert_float_eq(written_sqnr(&p, 0, "A", a), layer(&p, "A")->metrics.sqnr_db, 1e-3);
    end(&p);
}

Test(pipeline, keep_changes_nothing)
{
    piped p = begin(two_matmuls(9, 3));
    size_t size;
    const void *before = mb_serialize(p.model, &size);
    size_t size_after;
    const void *after;

    (void)strcpy(p.recipe->weights.codec, "keep");
    compress(&p);
    after = mb_serialize(p.model, &size_after);
    cr_assert_eq(size, size_after);
    cr_assert_arr_eq(before, after, size);
    cr_assert_eq(p.report->kept_count, 2);
    cr_assert_str_eq(layer(&p, "A")->reason, "recipe says keep");
    end(&p);
}

Test(pipeline, what_would_be_larger_stays)
{
    vqc_model *model = mb_model(13, 8);
    piped p;

    (void)mb_matrix(model, "tiny", 3, 2, 1);
    (void)mb_matrix(model, "big", 64, 64, 1);
    (void)mb_node(model, NULL, "MatMul", "x tiny", "h");
    (void)mb_node(model, NULL, "MatMul", "h big", "y");
    p = begin(model);
    compress(&p);
    cr_assert(is_coded(&p, "big") && !is_coded(&p, "tiny"));
    cr_assert_eq(strncmp(layer(&p, "tiny")->reason, "would be larger: ", 17), 0);
    cr_assert_eq(layer(&p, "tiny")->after_bytes, layer(&p, "tiny")->before_bytes);
    end(&p);
}

Test(pipeline, not_a_number_stays)
{
    for (int dry = 0; dry < 2; dry++) {
        vqc_model *model = two_matmuls(13, 8);
        const float nan = NAN;
        piped p;
        memcpy(model->proto->graph->initializer[0]->raw_data.data + 40, &nan, 4);
        p = begin(model);
        p.run.dry_run = dry != 0;
        compress(&p);
        cr_assert(!is_coded(&p, "A") && is_coded(&p, "B"));
        cr_assert_str_eq(layer(&p, "A")->reason, "has 1 NaN or infinite weights");
        cr_assert(dry != 0 || isfinite(p.report->metrics.sqnr_db));
        end(&p);
    }
}

Test(pipeline, tied_weights_are_coded_once)
{
    vqc_model *model = mb_model(13, 8);
    piped p;

    (void)mb_matrix(model, "W", 64, 64, 1);
    (void)mb_node(model, NULL, "Gather", "W i", "e");
    (void)mb_node(model, NULL, "MatMul", "e W", "h");
    (void)mb_node(model, NULL, "MatMul", "h W", "y");
    p = begin(model);
    compress(&p);
    cr_assert_eq(p.report->layer_count, 1);
    cr_assert_eq(layer(&p, "W")->use_count, 3);
    cr_assert(is_coded(&p, "W"));
    cr_assert_lt(p.after, 64 * 64 + 1500);
    end(&p);
}

Test(pipeline, models_of_ir_3_keep_their_version_where_they_can)
{
    piped p = begin(two_matmuls(9, 3));
    const Onnx__TensorProto *a = p.model->proto->graph->initializer[0];

    compress(&p);
    cr_assert_eq(p.report->coded_count, 2);
    cr_assert(p.report->opset_after == 9 && p.report->ir_after == 3);
    cr_assert_eq(p.model->proto->graph->n_input, 1, "the old weights are no inputs any more");
    cr_assert_eq(p.model->proto->graph->n_initializer, 0);
    cr_assert_gt(written_sqnr(&p, 0, "A", a), 35.0);
    end(&p);
}

Test(pipeline, the_opset_is_raised_only_when_a_pattern_needs_it)
{
    static const struct {
        int64_t opset;
        int64_t ir_version;
        vqc_pattern pattern;
        vqc_granularity granularity;
        int bits;
        bool keep_opset;
        int64_t opset_after;
    } rows[] = {
        {9, 4, VQC_PATTERN_AUTO, VQC_GRANULARITY_CHANNEL, 8, false, 9},
        {9, 4, VQC_PATTERN_AUTO, VQC_GRANULARITY_BLOCK, 4, false, 9},
        {9, 4, VQC_PATTERN_DEQUANTIZE_LINEAR, VQC_GRANULARITY_CHANNEL, 8, false, 13},
        {9, 4, VQC_PATTERN_DEQUANTIZE_LINEAR, VQC_GRANULARITY_CHANNEL, 8, true, 9},
        {13, 8, VQC_PATTERN_DEQUANTIZE_LINEAR, VQC_GRANULARITY_BLOCK, 4, false, 21},
        {21, 10, VQC_PATTERN_DEQUANTIZE_LINEAR, VQC_GRANULARITY_BLOCK, 4, false, 21},
        {22, 10, VQC_PATTERN_AUTO, VQC_GRANULARITY_CHANNEL, 8, false, 22},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        piped p = begin(two_matmuls(rows[i].opset, rows[i].ir_version));
        p.recipe->weights.pattern = rows[i].pattern;
        p.recipe->weights.granularity = rows[i].granularity;
        p.recipe->weights.bits = rows[i].bits;
        p.options.keep_opset = rows[i].keep_opset;
        compress(&p);
        cr_assert_eq(p.report->opset_before, rows[i].opset);
        cr_assert_eq(p.report->opset_after, rows[i].opset_after, "row %zu: %d", i,
                     (int)p.report->opset_after);
        cr_assert_eq(vqc_model_opset(p.model->proto, ""), rows[i].opset_after);
        cr_assert_eq(p.report->coded_count, 2);
        cr_assert(p.report->note_count == (rows[i].opset_after > rows[i].opset ? 1u : 0u));
        end(&p);
    }
}

Test(pipeline, constant_nodes_bodies_and_functions)
{
    vqc_model *model = mb_model(15, 8);
    Onnx__TensorProto *constant = random_tensor(model, "", 64, 64, 2);
    Onnx__TensorProto *local = random_tensor(model, "L", 64, 64, 3);
    Onnx__TensorProto *inside = random_tensor(model, "", 64, 64, 4);
    Onnx__FunctionProto *function = mb_function(model, "local", "F", "x", "y", 15);
    Onnx__NodeProto *node;
    Onnx__GraphProto *body;
    piped p;

    (void)mb_constant(model, NULL, "K", constant);
    (void)mb_node(model, NULL, "MatMul", "x K", "h");
    node = mb_node(model, NULL, "If", "c", "t");
    body = mb_body(model, node, "then_branch");
    (void)mb_initializer(model, body, local);
    (void)mb_node(model, body, "MatMul", "h L", "r");
    mb_output(model, body, "r");
    (void)mb_node(model, NULL, "local.F", "t", "y");
    node = mb_free_node(model, "Constant", "", "I");
    cr_assert(vqc_node_add_tensor(model->arena, node, "value", inside));
    mb_function_add(model, function, node);
    mb_function_add(model, function, mb_free_node(model, "MatMul", "x I", "y"));
    mb_output(model, NULL, "y");
    p = begin(model);
    compress(&p);
    cr_assert(is_coded(&p, "K") && is_coded(&p, "L") && is_coded(&p, "I"));
    cr_assert_str_eq(layer(&p, "K")->scope, "");
    cr_assert_not_null(strstr(layer(&p, "L")->scope, "then_branch"));
    cr_assert_str_eq(layer(&p, "I")->scope, "function F");
    cr_assert_gt(written_sqnr(&p, 0, "K", constant), 35.0);
    cr_assert_gt(written_sqnr(&p, 1, "L", local), 35.0);
    cr_assert_gt(written_sqnr(&p, 2, "I", inside), 35.0);
    end(&p);
}

Test(pipeline, an_overridable_input_is_coded_and_told)
{
    vqc_model *model = two_matmuls(13, 8);
    piped p;

    mb_input(model, NULL, "A");
    p = begin(model);
    compress(&p);
    cr_assert(is_coded(&p, "A"));
    cr_assert_eq(p.model->proto->graph->n_input, 1);
    cr_assert_eq(p.report->note_count, 1);
    cr_assert_not_null(strstr(p.report->notes[0], "\"A\" was also a graph input"));
    end(&p);
}

Test(pipeline, a_weight_that_is_an_output_stays)
{
    vqc_model *model = two_matmuls(13, 8);
    piped p;

    mb_output(model, NULL, "A");
    p = begin(model);
    compress(&p);
    cr_assert(!is_coded(&p, "A") && is_coded(&p, "B"));
    end(&p);
}

Test(pipeline, rules_without_a_match_are_told)
{
    piped p = begin(two_matmuls(13, 8));
    vqc_layer_rule rule = {
        .match = {.min_elements = 1000000, .max_elements = -1, .rank = -1}, .line = 7, .column = 5};

    p.recipe->rules = &rule;
    p.recipe->rule_count = 1;
    compress(&p);
    cr_assert_eq(p.report->note_count, 1);
    cr_assert_not_null(strstr(p.report->notes[0], ":7:5: this rule matches no weight"));
    end(&p);
}

/* Recipes that take every branch of the codecs and patterns. */
static void set_recipe(vqc_recipe *recipe, int i)
{
    static const int bits[] = {8, 4, 3, 6, 16, 2};
    vqc_weight_spec *spec = &recipe->weights;

    spec->bits = bits[i % 6];
    spec->granularity = (vqc_granularity)(i % 3);
    spec->symmetric = i % 2 == 0;
    spec->pattern = i % 4 == 0   ? VQC_PATTERN_AUTO
                    : i % 4 == 1 ? VQC_PATTERN_FOLDABLE
                                 : VQC_PATTERN_DEQUANTIZE_LINEAR;
    if (i % 5 == 4) {
        (void)strcpy(spec->codec, i % 2 == 0 ? "float16" : "float8e4m3fn");
    }
    if (i % 7 == 3) {
        spec->bits = 8;
        spec->granularity = VQC_GRANULARITY_CHANNEL;
        spec->activations = VQC_ACTIVATIONS_DYNAMIC;
    }
    recipe->operators = i % 3 == 2 ? VQC_OPERATORS_ONNXRUNTIME : VQC_OPERATORS_STANDARD;
}

Test(pipeline, a_dry_run_foretells_the_bytes)
{
    for (int i = 0; i < 42; i++) {
        static const int64_t versions[][2] = {{7, 3}, {9, 4}, {13, 8}, {21, 10}};
        const int64_t *version = versions[i % 4];
        piped p[2];
        for (int dry = 0; dry < 2; dry++) {
            p[dry] = begin(two_matmuls(version[0], version[1]));
            set_recipe(p[dry].recipe, i);
            p[dry].run.dry_run = dry != 0;
            compress(&p[dry]);
        }
        cr_assert_eq(p[0].after, p[1].after, "recipe %d: %zu, foretold %zu", i, p[0].after,
                     p[1].after);
        cr_assert_eq(p[0].report->layer_count, p[1].report->layer_count);
        for (size_t k = 0; k < p[0].report->layer_count; k++) {
            const vqc_layer_report *a = &p[0].report->layers[k];
            const vqc_layer_report *b = &p[1].report->layers[k];
            cr_assert(a->status == b->status && a->after_bytes == b->after_bytes);
            cr_assert_str_eq(a->codec, b->codec);
            cr_assert_str_eq(a->pattern, b->pattern);
            cr_assert_eq(b->metrics.count, 0);
        }
        cr_assert_eq(p[0].report->opset_after, p[1].report->opset_after);
        end(&p[0]);
        end(&p[1]);
    }
}

/* Large enough for several threads, with range search and balanced rounding. */
static vqc_model *wide_model(void)
{
    const int64_t dims[4] = {96, 64, 3, 3};
    vqc_model *model = mb_model(13, 8);
    size_t n = 96 * 64 * 9;
    float *values = vqc_arena_calloc(model->arena, n, sizeof *values);
    mb_random random = {77};

    cr_assert_not_null(values);
    mb_random_fill(&random, values, n, 0.05f, 0.01f);
    (void)mb_matrix(model, "A", 1100, 1024, 9);
    (void)mb_initializer(model, NULL, mb_tensor(model, "C", VQC_DTYPE_FLOAT, dims, 4, values));
    (void)mb_node(model, NULL, "MatMul", "x A", "h");
    (void)mb_node(model, NULL, "Conv", "z C", "y");
    return model;
}

Test(pipeline, the_same_bytes_at_any_number_of_threads)
{
    for (int i = 0; i < 3; i++) {
        piped first = begin(wide_model());
        size_t size;
        const void *bytes;
        first.recipe->weights.bits = i == 0 ? 8 : 4;
        first.recipe->weights.granularity = (vqc_granularity)(i == 0 ? 1 : i);
        first.recipe->weights.range = i == 0 ? VQC_RANGE_MINMAX : VQC_RANGE_MSE;
        compress(&first);
        bytes = mb_serialize(first.model, &size);
        for (int threads = 2; threads <= 3; threads++) {
            piped p = begin(wide_model());
            size_t other_size;
            const void *other;
            p.recipe->weights = first.recipe->weights;
            p.run.threads = threads;
            compress(&p);
            other = mb_serialize(p.model, &other_size);
            cr_assert_eq(other_size, size);
            cr_assert(memcmp(other, bytes, size) == 0, "%d threads, recipe %d", threads, i);
            cr_assert_eq(p.report->metrics.mse, first.report->metrics.mse);
            cr_assert_eq(p.report->metrics.max_abs_error, first.report->metrics.max_abs_error);
            end(&p);
        }
        end(&first);
    }
}

/* Every use of progress comes with a sane count. */
typedef struct seen {
    size_t calls;
    size_t last;
} seen;

static void watch(void *context, const char *stage, size_t done, size_t total)
{
    seen *s = context;
    cr_assert_not_null(stage);
    cr_assert_leq(done, total);
    cr_assert_geq(done, s->last);
    s->last = done;
    s->calls++;
}

Test(pipeline, progress_goes_forward)
{
    piped p = begin(two_matmuls(13, 8));
    seen s = {0, 0};

    p.run.progress = watch;
    p.run.progress_context = &s;
    compress(&p);
    cr_assert_eq(s.calls, 3);
    cr_assert_eq(s.last, 64 * 96 + 96 * 40);
    end(&p);
}
