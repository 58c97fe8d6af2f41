/* Pruning the layers of a model, and zeros through every codec. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/pipeline.h"
#include "core/prune/prune_stage.h"
#include "core/report.h"
#include "core/tensor.h"
#include "tests/unit/coded_layer.h"

/* ---- codecs ---- */

static void expect_zeros_kept(const coded_layer_options *options, const vqc_weight_spec *spec,
                              uint64_t seed)
{
    enum { ROWS = 48, COLS = 40, N = ROWS * COLS };
    static float w[N];
    mb_random random = {seed};
    coded_layer c;
    const float *decoded;

    /* far from zero in the mean: the range by itself might leave zero out */
    mb_random_fill(&random, w, N, 0.2f, seed % 2 == 0 ? 0.0f : 0.7f);
    for (size_t i = 0; i < N; i++) {
        w[i] = mb_random_below(&random, 2) == 0 ? 0.0f : w[i];
    }
    c = coded_layer_make(options, (const int64_t[]){ROWS, COLS}, 2, w, spec);
    if (c.decision.form != VQC_FORM_KEEP) {
        coded_layer_fit(&c);
        decoded = coded_layer_decode(&c);
        for (size_t i = 0; i < N; i++) {
            cr_assert(w[i] != 0.0f || decoded[i] == 0.0f,
                      "%s %d bits, granularity %d, symmetric %d, range %d, rounding %d: %g at %zu",
                      spec->codec, spec->bits, (int)spec->granularity, spec->symmetric,
                      (int)spec->range, (int)spec->rounding, (double)decoded[i], i);
        }
    }
    coded_layer_end(&c);
}

Test(prune_stage, zeros_stay_zero_in_every_integer_code)
{
    static const int widths[] = {2, 3, 4, 5, 6, 8, 16};
    static const vqc_range_method ranges[] = {VQC_RANGE_AUTO, VQC_RANGE_MINMAX,
                                              VQC_RANGE_PERCENTILE, VQC_RANGE_MSE};
    coded_layer_options options = coded_layer_defaults();
    uint64_t seed = 1;

    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        for (int g = VQC_GRANULARITY_TENSOR; g <= VQC_GRANULARITY_BLOCK; g++) {
            for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
                for (int variant = 0; variant < 4; variant++, seed++) {
                    vqc_weight_spec spec =
                        coded_layer_spec("int", widths[w], (vqc_granularity)g, variant % 2 == 0);
                    spec.range = ranges[r];
                    spec.percentile = 90.0;
                    spec.rounding = variant < 2 ? VQC_ROUNDING_BALANCED : VQC_ROUNDING_NEAREST;
                    options.opset = seed % 3 == 0 ? 21 : 13;
                    options.dtype = seed % 5 == 0 ? VQC_DTYPE_FLOAT16 : VQC_DTYPE_FLOAT;
                    expect_zeros_kept(&options, &spec, seed);
                }
            }
        }
    }
}

Test(prune_stage, zeros_stay_zero_in_every_float_code)
{
    static const char *const codecs[] = {"float16", "bfloat16", "float8e4m3fn", "float8e5m2"};
    coded_layer_options options = coded_layer_defaults();

    options.opset = 21;
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++) {
        for (int g = VQC_GRANULARITY_TENSOR; g <= VQC_GRANULARITY_CHANNEL; g++) {
            vqc_weight_spec spec = coded_layer_spec(codecs[i], 8, (vqc_granularity)g, true);
            expect_zeros_kept(&options, &spec, 7 + i);
        }
    }
}

/* ---- models ---- */

typedef struct pruned {
    vqc_model *model;
    vqc_recipe *recipe;
    vqc_report *report;
} pruned;

/* x [.., 32] -> A [32, 48] -> Relu -> B [48, 64]; a table of 40 x 32 rows is looked up for x. */
static pruned begin(void)
{
    pruned p = {.model = mb_model(13, 8)};

    mb_matrix(p.model, "T", 40, 32, 1);
    mb_matrix(p.model, "A", 32, 48, 2);
    mb_matrix(p.model, "B", 48, 64, 3);
    mb_input(p.model, NULL, "i");
    mb_node(p.model, NULL, "Gather", "T i", "x");
    mb_node(p.model, NULL, "MatMul", "x A", "h");
    mb_node(p.model, NULL, "Relu", "h", "r");
    mb_node(p.model, NULL, "MatMul", "r B", "y");
    mb_output(p.model, NULL, "y");
    cr_assert_eq(vqc_recipe_create_default(&p.recipe, NULL), VQC_OK);
    (void)strcpy(p.recipe->weights.codec, "keep");
    p.recipe->weights.sparse = VQC_SWITCH_OFF; /* the pruned tensors are looked at */
    return p;
}

static void run(pruned *p)
{
    vqc_run_options options = {.threads = 1};
    vqc_pipeline_options pipeline = {.run = &options};
    vqc_error error = {.message = ""};

    cr_assert_eq(vqc_report_create(&p->report, NULL), VQC_OK);
    cr_assert_eq(vqc_pipeline_run(p->model, p->recipe, &pipeline, p->report, &error), VQC_OK, "%s",
                 error.message);
}

static void end(pruned *p)
{
    vqc_report_destroy(&p->report);
    vqc_recipe_destroy(&p->recipe);
    vqc_model_destroy(&p->model);
}

/* Values of an initializer by its name, in `arena`. */
static const float *values_of(const pruned *p, const char *name, size_t *n, vqc_arena *arena)
{
    const Onnx__GraphProto *graph = p->model->proto->graph;
    const float *values = NULL;

    for (size_t i = 0; i < graph->n_initializer; i++) {
        if (strcmp(graph->initializer[i]->name, name) == 0) {
            cr_assert_eq(vqc_tensor_borrow_f32(graph->initializer[i], arena, &values, n, NULL),
                         VQC_OK);
        }
    }
    cr_assert_not_null(values);
    return values;
}

static size_t zeros_in(const pruned *p, const char *name)
{
    vqc_arena *arena = vqc_arena_create();
    size_t n, zeros = 0;
    const float *values = values_of(p, name, &n, arena);

    for (size_t i = 0; i < n; i++) {
        zeros += values[i] == 0.0f;
    }
    vqc_arena_destroy(&arena);
    return zeros;
}

Test(prune_stage, each_layer_loses_its_share_and_tables_none)
{
    pruned p = begin();

    p.recipe->prune.sparsity = 0.3;
    run(&p);
    cr_assert_eq(zeros_in(&p, "A"), vqc_prune_count(0.3, 32 * 48));
    cr_assert_eq(zeros_in(&p, "B"), vqc_prune_count(0.3, 48 * 64));
    cr_assert_eq(zeros_in(&p, "T"), 0);
    cr_assert_eq(p.report->weight_zeros,
                 vqc_prune_count(0.3, 32 * 48) + vqc_prune_count(0.3, 48 * 64));
    end(&p);
}

Test(prune_stage, a_rule_prunes_otherwise)
{
    pruned p = begin();
    char *names[] = {"A", "T"};
    vqc_layer_rule rules[2];

    memset(rules, 0, sizeof rules);
    for (size_t i = 0; i < 2; i++) {
        rules[i].match = (vqc_match){.names = &names[i],
                                     .name_count = 1,
                                     .min_elements = -1,
                                     .max_elements = -1,
                                     .rank = -1};
        rules[i].spec.set = VQC_SPEC_SPARSITY;
        rules[i].spec.sparsity = i == 0 ? 0.0 : 0.25;
    }
    p.recipe->prune.sparsity = 0.5;
    p.recipe->rules = rules;
    p.recipe->rule_count = 2;
    run(&p);
    cr_assert_eq(zeros_in(&p, "A"), 0);
    cr_assert_eq(zeros_in(&p, "B"), 48 * 64 / 2);
    cr_assert_eq(zeros_in(&p, "T"), 40 * 32 / 4);
    end(&p);
}

Test(prune_stage, groups_run_along_the_inputs)
{
    pruned p = begin();
    vqc_arena *arena = vqc_arena_create();
    char pattern[] = "3:8";
    const float *b;
    size_t n;

    p.recipe->prune.pattern = pattern;
    run(&p);
    b = values_of(&p, "B", &n, arena); /* [inputs 48, outputs 64] */
    for (size_t out = 0; out < 64; out++) {
        for (size_t in = 0; in < 48; in += 8) {
            size_t kept = 0;
            for (size_t k = 0; k < 8; k++) {
                kept += b[(in + k) * 64 + out] != 0.0f;
            }
            cr_assert_eq(kept, 3);
        }
    }
    vqc_arena_destroy(&arena);
    end(&p);
}

Test(prune_stage, threshold_and_scope)
{
    pruned p = begin();
    vqc_arena *arena = vqc_arena_create();
    size_t n, below = 0;
    const float *a = values_of(&p, "A", &n, arena);

    for (size_t i = 0; i < n; i++) {
        below += fabsf(a[i]) <= 0.01f;
    }
    cr_assert_gt(below, 0);
    p.recipe->prune.threshold = (double)0.01f;
    run(&p);
    cr_assert_eq(zeros_in(&p, "A"), below);
    end(&p);
    p = begin();
    p.recipe->prune.sparsity = 0.4;
    p.recipe->prune.scope = VQC_PRUNE_SCOPE_GLOBAL;
    run(&p);
    n = zeros_in(&p, "A") + zeros_in(&p, "B");
    cr_assert_eq(n, vqc_prune_count(0.4, 32 * 48 + 48 * 64));
    cr_assert_neq(zeros_in(&p, "A"), vqc_prune_count(0.4, 32 * 48));
    end(&p);
    vqc_arena_destroy(&arena);
}

Test(prune_stage, scores_that_need_data_say_so)
{
    pruned p = begin();
    vqc_run_options options = {.threads = 1};
    vqc_pipeline_options pipeline = {.run = &options};
    vqc_error error = {.message = ""};

    p.recipe->prune.sparsity = 0.5;
    p.recipe->prune.score = VQC_PRUNE_SCORE_OBS;
    cr_assert_eq(vqc_report_create(&p.report, NULL), VQC_OK);
    cr_assert_eq(vqc_pipeline_run(p.model, p.recipe, &pipeline, p.report, &error), VQC_ERR_USAGE);
    cr_assert_str_eq(error.message,
                     "built-in default: prune: this score needs calibration data: got none, "
                     "expected --calib PATH or calibrate.data in the recipe");
    end(&p);
}
