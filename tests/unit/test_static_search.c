/* Measuring models, keeping samples apart, searching for what meets a target, verifying. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/data/samples_subset.h"
#include "core/static/measure.h"
#include "core/static/static_rewrite.h"
#include "core/static/static_search.h"
#include "core/verify.h"
#include "tests/unit/coded_layer.h"
#include "tests/unit/static_case.h"

static const int64_t ROWS[] = {1, 8};
static vqc_error error;

/* ---- measure ---- */

/* y = x * factor, with factor [8] */
static vqc_model *scaling(const float *factor)
{
    vqc_model *model = mb_model(17, 8);
    const int64_t eight = 8;

    mb_input(model, NULL, "x");
    mb_initializer(model, NULL, mb_float_tensor(model, "k", VQC_DTYPE_FLOAT, &eight, 1, factor));
    mb_node(model, NULL, "Mul", "x k", "y");
    mb_output(model, NULL, "y");
    return model;
}

static vqc_score score_of(vqc_model *original, vqc_model *changed, runner_samples *samples,
                          int threads)
{
    vqc_graph *graph = mb_index(original);
    vqc_reference *reference = NULL;
    vqc_score score;

    cr_assert_eq(vqc_reference_create(graph, &samples->source, 0, 1, 0, (size_t)1 << 20, threads,
                                      &reference, &error),
                 VQC_OK, "%s", error.message);
    cr_assert_eq(vqc_reference_count(reference), samples->source.count);
    cr_assert_eq(vqc_reference_score(reference, changed, 0, threads, &score, &error), VQC_OK, "%s",
                 error.message);
    vqc_reference_destroy(&reference);
    vqc_graph_destroy(&graph);
    return score;
}

Test(measure, known_noise)
{
    const float one[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const float more[8] = {1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f};
    const float minus[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    runner_samples *samples = runner_samples_make(20, ROWS, 2, 1);
    vqc_model *models[3] = {scaling(one), scaling(more), scaling(minus)};
    vqc_score score;

    samples->labels = calloc(20, sizeof *samples->labels);
    for (size_t s = 0; s < 20; s++) {
        for (size_t i = 1; i < 8; i++) {
            const float *x = samples->values + 8 * s;
            samples->labels[s] = x[i] > x[samples->labels[s]] ? (int64_t)i : samples->labels[s];
        }
    }
    samples->labels[3] = (samples->labels[3] + 1) % 8; /* the original is wrong once */

    score = score_of(models[0], models[0], samples, 1);
    cr_assert_eq(score.sqnr_db, INFINITY);
    cr_assert(score.agreement == 1.0 && score.accuracy == 0.95 && score.accuracy_ref == 0.95);
    cr_assert(score.samples == 20 && score.nonfinite == 0);

    score = score_of(models[0], models[1], samples, 2);
    cr_assert_float_eq(score.sqnr_db, 20.0 * log10(8.0), 1e-5, "%g", score.sqnr_db);
    cr_assert_eq(score.accuracy, 0.95);

    score = score_of(models[0], models[2], samples, 2);
    cr_assert_float_eq(score.sqnr_db, -20.0 * log10(2.0), 1e-9);
    cr_assert_lt(score.agreement, 0.3);
    cr_assert_eq(score.accuracy_ref, 0.95);
    for (size_t i = 0; i < 3; i++) {
        vqc_model_destroy(&models[i]);
    }
    runner_samples_end(samples);
}

Test(measure, what_is_not_finite_counts)
{
    const float one[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const float bad[8] = {1, 1, NAN, 1, 1, INFINITY, 1, 1};
    runner_samples *samples = runner_samples_make(5, ROWS, 2, 1);
    vqc_model *models[2] = {scaling(one), scaling(bad)};
    vqc_score score = score_of(models[0], models[1], samples, 2);

    cr_assert_eq(score.nonfinite, 10);
    cr_assert_lt(score.sqnr_db, 10.0);
    cr_assert(isnan(score.accuracy), "no labels");
    vqc_model_destroy(&models[0]);
    vqc_model_destroy(&models[1]);
    runner_samples_end(samples);
}

Test(measure, memory_bounds_the_samples)
{
    const float one[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    runner_samples *samples = runner_samples_make(20, ROWS, 2, 1);
    vqc_model *model = scaling(one);
    vqc_graph *graph = mb_index(model);
    vqc_reference *reference = NULL;

    cr_assert_eq(vqc_reference_create(graph, &samples->source, 2, 3, 0, 200, 1, &reference, &error),
                 VQC_OK);
    cr_assert_eq(vqc_reference_count(reference), 3, "64 bytes a sample");
    vqc_reference_destroy(&reference);
    cr_assert_eq(
        vqc_reference_create(graph, &samples->source, 20, 1, 0, 200, 1, &reference, &error),
        VQC_ERR_MODEL);
    cr_assert_null(reference);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
    runner_samples_end(samples);
}

/* ---- samples kept apart ---- */

static vqc_status nothing(void *context, size_t slot, const vqc_sample *sample, vqc_error *ignored)
{
    bool *seen = context;

    (void)slot;
    (void)ignored;
    seen[sample->index] = true; /* indices of a subset begin at 0 and have no gaps */
    return VQC_OK;
}

static void read_subset(runner_samples *all, bool held_out, size_t wanted)
{
    bool seen[128] = {false};
    vqc_samples *subset = NULL;

    cr_assert_eq(held_out ? vqc_samples_held_out(&all->source, &subset, &error)
                          : vqc_samples_seen(&all->source, &subset, &error),
                 VQC_OK);
    cr_assert_eq(subset->count, wanted, "%zu of %zu", subset->count, all->source.count);
    cr_assert_eq(vqc_samples_for_each(subset, 0, 1, subset->count, 2, nothing, seen, &error),
                 VQC_OK);
    for (size_t i = 0; i < wanted; i++) {
        cr_assert(seen[i]);
    }
    vqc_samples_destroy(&subset);
}

Test(samples_subset, disjoint_and_complete)
{
    for (size_t count = 1; count <= 40; count++) {
        runner_samples *all = runner_samples_make(count, ROWS, 2, 1);
        bool small = count < 8;
        read_subset(all, false, small ? count : count - count / 4);
        for (size_t i = 0; i < count; i++) {
            cr_assert_eq(all->reads[i], small || i % 4 != 3 ? 1 : 0);
        }
        read_subset(all, true, small ? count : count / 4);
        for (size_t i = 0; i < count; i++) {
            cr_assert_eq(all->reads[i], small ? 2 : 1, "sample %zu", i);
        }
        runner_samples_end(all);
    }
}

/* ---- int8 codes that no processor overflows on ---- */

/* Largest sum of two neighbours of one sign: neighbours along the reduction, input channels of a
 * convolution innermost, kernel positions in the order of the tensor. */
static int worst_pair(const coded_layer *c, size_t channels, size_t inputs, size_t kernel,
                      size_t channel_step, size_t input_step, size_t kernel_step)
{
    const int8_t *codes = c->code.codes;
    int worst = 0;

    for (size_t o = 0; o < channels; o++) {
        int before = 0;
        for (size_t n = 0; n < inputs * kernel; n++) {
            int code = codes[o * channel_step + n % inputs * input_step + n / inputs * kernel_step];
            if (n % 2 == 1 && before * code > 0 && abs(before + code) > worst) {
                worst = abs(before + code);
            }
            before = code;
        }
    }
    return worst;
}

static coded_layer coded(const char *op, const int64_t *dims, size_t rank, bool trans_b,
                         vqc_granularity granularity, vqc_rounding rounding, vqc_weight_codes codes)
{
    coded_layer_options options = coded_layer_defaults();
    vqc_weight_spec spec = coded_layer_spec("int", 8, granularity, true);
    size_t n = coded_layer_elements(dims, rank);
    float *values = calloc(n, sizeof *values);
    mb_random random = {n};

    for (size_t i = 0; i < n; i++) { /* many large weights side by side */
        values[i] = (float)mb_random_below(&random, 2001) / 1000.0f - 0.7f;
    }
    options.op = op;
    options.trans_b = trans_b;
    spec.rounding = rounding;
    coded_layer c = coded_layer_make(&options, dims, rank, values, &spec);
    c.decision.is_static = true;
    c.decision.weight_codes = codes;
    coded_layer_fit(&c);
    free(values);
    return c;
}

typedef struct pair_case {
    const char *op;
    int64_t dims[4];
    size_t rank;
    bool trans_b;
    size_t channels, inputs, kernel, channel_step, input_step, kernel_step;
} pair_case;

static const pair_case PAIRS[] = {
    {"Conv", {7, 5, 3, 3}, 4, false, 7, 5, 9, 45, 9, 1},
    {"Conv", {6, 8, 1, 1}, 4, false, 6, 8, 1, 8, 1, 0},
    {"Conv", {6, 4, 5, 1}, 4, false, 6, 4, 5, 20, 5, 1},
    {"MatMul", {30, 9}, 2, false, 9, 1, 30, 1, 0, 9},
    {"Gemm", {31, 9}, 2, false, 9, 1, 31, 1, 0, 9},
    {"Gemm", {9, 31}, 2, true, 9, 1, 31, 31, 0, 1},
};

Test(int_pairs, sums_stay_small)
{
    for (size_t i = 0; i < sizeof PAIRS / sizeof PAIRS[0]; i++) {
        for (int variant = 0; variant < 4; variant++) {
            const pair_case *p = &PAIRS[i];
            vqc_granularity granularity =
                variant & 1 ? VQC_GRANULARITY_TENSOR : VQC_GRANULARITY_CHANNEL;
            vqc_rounding rounding = variant & 2 ? VQC_ROUNDING_BALANCED : VQC_ROUNDING_NEAREST;
            coded_layer c = coded(p->op, p->dims, p->rank, p->trans_b, granularity, rounding,
                                  VQC_WEIGHT_CODES_INT8_SAFE);
            int worst = worst_pair(&c, p->channels, p->inputs, p->kernel, p->channel_step,
                                   p->input_step, p->kernel_step);
            cr_assert(worst <= 128 && worst > 100, "%s %zu/%d: %d", p->op, i, variant, worst);
            coded_layer_end(&c);

            c = coded(p->op, p->dims, p->rank, p->trans_b, granularity, rounding,
                      VQC_WEIGHT_CODES_INT8);
            cr_assert_gt(worst_pair(&c, p->channels, p->inputs, p->kernel, p->channel_step,
                                    p->input_step, p->kernel_step),
                         160, "full codes are not cut");
            coded_layer_end(&c);
        }
    }
}

/* ---- the search ---- */

/* x -> MatMul a -> Relu -> MatMul b -> y with widths 8 -> 16 -> 4 */
static static_case searched(double target_db, double drop, bool wide)
{
    vqc_model *model = mb_model(21, 10);

    mb_input(model, NULL, "x");
    STATIC_WEIGHT(model, "w1", 1, 0.5f, 8, 16);
    STATIC_WEIGHT(model, "w2", 2, 0.5f, 16, 4);
    mb_node(model, NULL, "MatMul", "x w1", "a");
    mb_node(model, NULL, "Relu", "a", "r");
    mb_node(model, NULL, "MatMul", "r w2", "y");
    mb_output(model, NULL, "y");
    vqc_recipe *recipe = static_case_recipe();
    recipe->weights.observer = VQC_OBSERVER_AUTO;
    recipe->accuracy.output_sqnr_db = target_db;
    recipe->accuracy.max_accuracy_drop = drop;
    recipe->accuracy.wide_fallback = wide;
    static_case c = static_case_make(model, recipe, ROWS, 2);
    if (!isnan(drop)) {
        c.samples->labels = calloc(c.samples->source.count, sizeof(int64_t));
    }
    return c;
}

static vqc_static_search search(static_case *c)
{
    vqc_static_search s = {.plan = &c->fixed, .threads = 2, .sample_work = 100};
    vqc_reference *reference = NULL;

    cr_assert_eq(vqc_reference_create(c->graph, &c->samples->source, 0, 1, 0, (size_t)1 << 20, 2,
                                      &reference, &error),
                 VQC_OK);
    s.reference = reference;
    cr_assert_eq(vqc_report_create(&s.report, &error), VQC_OK);
    cr_assert_eq(vqc_static_search_run(&s, &error), VQC_OK, "%s", error.message);
    vqc_reference_destroy(&reference);
    s.reference = NULL;
    return s;
}

static bool has_note(const vqc_report *report, const char *part)
{
    for (size_t i = 0; i < report->note_count; i++) {
        if (strstr(report->notes[i], part) != NULL) {
            return true;
        }
    }
    return false;
}

static size_t count_quantized(const static_case *c)
{
    size_t quantized;
    size_t possible;

    vqc_static_plan_count(&c->fixed, &quantized, &possible);
    return quantized;
}

Test(static_search, no_target)
{
    static_case c = searched((double)NAN, (double)NAN, false);
    vqc_static_search s = search(&c);

    cr_assert(s.target_met && s.trials > 2);
    cr_assert_eq(count_quantized(&c), 2);
    cr_assert(s.score.sqnr_db > 25.0 && s.score.sqnr_db < 60.0, "%g", s.score.sqnr_db);
    cr_assert_not(has_note(s.report, "accuracy target"));
    vqc_report_destroy(&s.report);
    static_case_end(&c);
}

Test(static_search, a_target_forces_units_to_float)
{
    static_case c = searched((double)NAN, (double)NAN, false);
    vqc_static_search s = search(&c);
    double without = s.score.sqnr_db;

    vqc_report_destroy(&s.report);
    static_case_end(&c);

    c = searched(without + 1.5, (double)NAN, false);
    s = search(&c);
    cr_assert(s.target_met);
    cr_assert_geq(s.score.sqnr_db, without + 1.5);
    cr_assert_lt(count_quantized(&c), 2);
    cr_assert(has_note(s.report, "to meet the accuracy target"));
    vqc_report_destroy(&s.report);
    static_case_end(&c);

    c = searched(without - 8.0, (double)NAN, false); /* met with the margin of few values */
    s = search(&c);
    cr_assert(s.target_met);
    cr_assert_eq(count_quantized(&c), 2);
    vqc_report_destroy(&s.report);
    static_case_end(&c);
}

Test(static_search, wide_fallback)
{
    static_case c = searched((double)NAN, (double)NAN, true);
    vqc_static_search s = search(&c);
    double without = s.score.sqnr_db;
    size_t wide = 0;

    vqc_report_destroy(&s.report);
    static_case_end(&c);

    c = searched(without + 1.0, (double)NAN, true);
    s = search(&c);
    for (size_t t = 0; t < c.fixed.tensor_count; t++) {
        wide += c.fixed.tensors[t].quantized && c.fixed.tensors[t].bits == 16 ? 1 : 0;
    }
    cr_assert(s.target_met);
    cr_assert(wide > 0 || count_quantized(&c) < 2);
    for (size_t u = 0; u < c.fixed.unit_count; u++) { /* float only where its weight is wide */
        const vqc_unit *unit = &c.fixed.units[u];
        cr_assert(unit->kind != VQC_UNIT_LINEAR || !unit->in_float || unit->weight->wide_weight);
    }
    vqc_report_destroy(&s.report);
    static_case_end(&c);
}

Test(static_search, an_unreachable_target_is_said)
{
    static_case c = searched((double)NAN, -1.0, false); /* one point better than the original */
    vqc_static_search s = search(&c);

    cr_assert_not(s.target_met);
    cr_assert(has_note(s.report, "cannot be met"));
    vqc_report_destroy(&s.report);
    static_case_end(&c);
}

Test(static_search, same_decisions_again)
{
    vqc_static_search s[2];

    for (size_t i = 0; i < 2; i++) {
        static_case c = searched(45.0, (double)NAN, false);
        s[i] = search(&c);
        vqc_report_destroy(&s[i].report);
        static_case_end(&c);
    }
    cr_assert(s[0].score.sqnr_db == s[1].score.sqnr_db);
    cr_assert_eq(s[0].trials, s[1].trials);
}

/* ---- verify ---- */

/* x -> MatMul a -> Relu r -> MatMul y; the second weight times `factor` */
static vqc_model *two_layers(float factor)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    STATIC_WEIGHT(model, "w1", 1, 0.5f, 8, 16);
    STATIC_WEIGHT(model, "w2", 2, 0.5f * factor, 16, 4);
    mb_node(model, NULL, "MatMul", "x w1", "a");
    mb_node(model, NULL, "Relu", "a", "r");
    mb_node(model, NULL, "MatMul", "r w2", "y");
    mb_output(model, NULL, "y");
    return model;
}

Test(verify, names_the_value_where_the_error_arises)
{
    vqc_model *models[2] = {two_layers(1.0f), two_layers(1.25f)};
    vqc_graph *graphs[2] = {mb_index(models[0]), mb_index(models[1])};
    runner_samples *samples = runner_samples_make(6, ROWS, 2, 1);
    vqc_arena *arena = vqc_arena_create();
    const vqc_evaluate_options options = {.threads = 2};
    vqc_verified found;

    cr_assert_eq(vqc_verify_run((const vqc_graph *const *)graphs, &samples->source, 4, &options,
                                arena, &found, &error),
                 VQC_OK, "%s", error.message);
    const vqc_value_noise *values = found.values;
    cr_assert_eq(found.value_count, 3);
    cr_assert_eq(found.value_samples, 4);
    for (size_t i = 0; i < found.value_count; i++) {
        bool last = strcmp(values[i].value->name, "y") == 0;
        cr_assert_gt(values[i].ref2, 0.0);
        cr_assert_float_eq(values[i].noise, last ? 0.0625 : 0.0, 1e-6);
        cr_assert_float_eq(values[i].added, last ? 0.0625 : 0.0, 1e-6);
    }
    for (size_t i = 0; i < 6; i++) {
        cr_assert_eq(samples->reads[i], 1, "one pass");
    }
    cr_assert_float_eq(found.comparison->outputs[0].metrics.sqnr_db, 20.0 * log10(4.0), 1e-4);
    vqc_verified_clear(&found);
    vqc_arena_destroy(&arena);
    runner_samples_end(samples);
    for (size_t i = 0; i < 2; i++) {
        vqc_graph_destroy(&graphs[i]);
        vqc_model_destroy(&models[i]);
    }
}

/* A report with the layer w2, that lost `lost`, `coded` of it by coding. */
static vqc_report *report_of_w2(double lost, double coded)
{
    vqc_report *report = NULL;

    cr_assert_eq(vqc_report_create(&report, &error), VQC_OK);
    report->layers = vqc_arena_calloc(report->arena, 1, sizeof *report->layers);
    report->layer_count = 1;
    report->layers[0].name = "w2";
    report->layers[0].scope = "";
    report->layers[0].metrics.sum_err2 = lost;
    report->layers[0].coding_metrics.count = coded < lost ? 64 : 0;
    report->layers[0].coding_metrics.sum_err2 = coded;
    return report;
}

Test(verify, names_the_weights_that_hurt)
{
    vqc_model *models[2] = {two_layers(1.0f), two_layers(1.25f)};
    runner_samples *samples = runner_samples_make(6, ROWS, 2, 1);
    vqc_verify_options options = {.threads = 2};
    const double lost[] = {1.0, 1.0, 1.0, 0.0};
    const double coded[] = {1.0, 0.0, 0.75, 0.0};
    const char *const wanted[] = {"[\"w2\"]}, codec: int", "[\"w2\"]}, sparsity: 0",
                                  "[\"w2\"]}, codec: int", NULL};

    for (size_t i = 0; i < sizeof lost / sizeof *lost; i++) {
        vqc_report *report = report_of_w2(lost[i], coded[i]);
        cr_assert_eq(
            vqc_verify_models(models[0], models[1], &samples->source, &options, report, &error),
            VQC_OK, "%s", error.message);
        if (wanted[i] != NULL) {
            cr_assert(has_note(report, wanted[i]), "case %zu: %s", i, report->notes[0]);
        }
        cr_assert_eq(report->note_count, wanted[i] != NULL ? 1 : 0, "case %zu", i);
        vqc_report_destroy(&report);
    }
    runner_samples_end(samples);
    vqc_model_destroy(&models[0]);
    vqc_model_destroy(&models[1]);
}

Test(verify, whole_models)
{
    vqc_model *models[2] = {two_layers(1.0f), two_layers(1.25f)};
    runner_samples *samples = runner_samples_make(6, ROWS, 2, 1);
    vqc_verify_options options = {.threads = 2, .held_out = true};
    vqc_report *report = NULL;

    cr_assert_eq(vqc_report_create(&report, &error), VQC_OK);
    cr_assert_eq(
        vqc_verify_models(models[0], models[1], &samples->source, &options, report, &error), VQC_OK,
        "%s", error.message);
    cr_assert_float_eq(report->verification.min_sqnr_db, 20.0 * log10(4.0), 1e-4);
    cr_assert_eq(report->verification.samples, 6);
    cr_assert(report->verification.held_out);
    cr_assert_eq(report->verification.output_count, 1);
    vqc_report_destroy(&report);

    cr_assert_eq(vqc_report_create(&report, &error), VQC_OK);
    cr_assert_eq(
        vqc_verify_models(models[0], models[0], &samples->source, &options, report, &error),
        VQC_OK);
    cr_assert_eq(report->verification.min_sqnr_db, INFINITY);
    cr_assert_eq(report->note_count, 0);
    vqc_report_destroy(&report);
    runner_samples_end(samples);
    vqc_model_destroy(&models[0]);
    vqc_model_destroy(&models[1]);
}
