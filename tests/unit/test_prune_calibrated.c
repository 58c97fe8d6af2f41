/* Pruning a model of two layers with calibration data: what it costs at the output, by the
 * original's outputs on the samples that are held out. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/data/samples_subset.h"
#include "core/graph.h"
#include "core/pipeline.h"
#include "core/prune/prune_gain.h"
#include "core/report.h"
#include "core/static/measure.h"
#include "core/tensor.h"
#include "tests/unit/static_case.h"

enum { SAMPLES = 48, BATCH = 8, INPUTS = 32, HIDDEN = 48, OUTPUTS = 40 };
#define WEIGHTS ((size_t)(INPUTS * HIDDEN + HIDDEN * OUTPUTS))

/* x -> A, + c -> Relu -> B, + d */
static vqc_model *two_layers(void)
{
    vqc_model *model = mb_model(13, 8);

    STATIC_WEIGHT(model, "A", 2, 0.2f, INPUTS, HIDDEN);
    STATIC_WEIGHT(model, "c", 3, 0.1f, HIDDEN);
    STATIC_WEIGHT(model, "B", 4, 0.2f, HIDDEN, OUTPUTS);
    STATIC_WEIGHT(model, "d", 5, 0.1f, OUTPUTS);
    mb_input(model, NULL, "x");
    mb_node(model, NULL, "MatMul", "x A", "h");
    mb_node(model, NULL, "Add", "h c", "hc");
    mb_node(model, NULL, "Relu", "hc", "r");
    mb_node(model, NULL, "MatMul", "r B", "z");
    mb_node(model, NULL, "Add", "z d", "y");
    mb_output(model, NULL, "y");
    return model;
}

/* x -> W0 -> Relu -> W1 -> Relu ... */
static vqc_model *deep(void)
{
    static const char *const names[] = {"A", "B", "W2", "W3", "W4", "W5", "W6", "W7"};
    vqc_model *model = mb_model(13, 8);
    char inputs[16], from[8] = "x", to[8] = "x";

    mb_input(model, NULL, "x");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        STATIC_WEIGHT(model, names[i], (unsigned)i + 11, 0.3f, INPUTS, INPUTS);
        (void)snprintf(inputs, sizeof inputs, "%s %s", from, names[i]);
        (void)snprintf(to, sizeof to, "z%zu", i);
        mb_node(model, NULL, "MatMul", inputs, to);
        (void)snprintf(from, sizeof from, "r%zu", i);
        mb_node(model, NULL, "Relu", to, from);
    }
    mb_output(model, NULL, from);
    return model;
}

/* Neighbouring inputs are alike, and some are large: there is something to make up with. */
static runner_samples *correlated(void)
{
    runner_samples *s = runner_samples_make(SAMPLES, (const int64_t[]){BATCH, INPUTS}, 2, 9);

    for (size_t row = 0; row < (size_t)SAMPLES * BATCH; row++) {
        float *x = s->values + row * INPUTS;
        for (size_t i = 1; i < INPUTS; i++) {
            x[i] = 0.8f * x[i - 1] + 0.6f * x[i];
        }
        for (size_t i = 0; i < INPUTS; i++) {
            x[i] = (x[i] + 0.3f) * (i % 5 == 0 ? 3.0f : 1.0f);
        }
    }
    return s;
}

typedef struct outcome {
    double sqnr_db, sparsity;
    size_t zeros[2];            /* in A and B */
    size_t negative;            /* zeros with a sign */
    double without_db, with_db; /* what the note on outputs says; 0: there is none */
} outcome;

static void count_zeros(const vqc_model *model, outcome *out)
{
    const Onnx__GraphProto *graph = model->proto->graph;
    vqc_arena *arena = vqc_arena_create();

    for (size_t i = 0; i < graph->n_initializer; i++) {
        const char *name = graph->initializer[i]->name;
        bool is_a = strcmp(name, "A") == 0;
        const float *values;
        size_t n;
        if (!is_a && strcmp(name, "B") != 0) {
            continue;
        }
        cr_assert_eq(vqc_tensor_borrow_f32(graph->initializer[i], arena, &values, &n, NULL),
                     VQC_OK);
        for (size_t k = 0; k < n; k++) {
            out->zeros[is_a ? 0 : 1] += values[k] == 0.0f ? 1 : 0;
            out->negative += values[k] == 0.0f && signbit(values[k]) ? 1 : 0;
        }
    }
    vqc_arena_destroy(&arena);
}

/* Reads "outputs of pruned layers get ... back: output SQNR 6.0 -> 6.4 dB ...". */
static void read_note(const vqc_report *report, outcome *out)
{
    for (size_t i = 0; i < report->note_count; i++) {
        const char *found = strstr(report->notes[i], " back: output SQNR ");
        char *end;
        if (found != NULL) {
            out->without_db = strtod(found + strlen(" back: output SQNR "), &end);
            cr_assert_eq(strncmp(end, " -> ", 4), 0);
            out->with_db = strtod(end + 4, NULL);
        }
    }
}

/* Prunes by these options, with the samples when `seen`. */
static outcome prune_model(vqc_model *(*make)(void), const vqc_prune_options *prune, bool seen)
{
    vqc_model *model = make(), *original = make();
    runner_samples *samples = correlated();
    vqc_run_options options = {.threads = 1};
    vqc_pipeline_options pipeline = {.run = &options, .samples = seen ? &samples->source : NULL};
    vqc_error error = {.message = ""};
    vqc_recipe *recipe = NULL;
    vqc_report *report = NULL;
    vqc_samples *apart = NULL;
    vqc_reference *reference = NULL;
    vqc_graph *graph = NULL;
    vqc_score score;
    outcome out = {0};

    cr_assert_eq(vqc_recipe_create_default(&recipe, NULL), VQC_OK);
    cr_assert_eq(vqc_report_create(&report, NULL), VQC_OK);
    (void)strcpy(recipe->weights.codec, "keep");
    recipe->weights.sparse = VQC_SWITCH_OFF; /* the pruned tensors are looked at */
    recipe->prune = *prune;
    cr_assert_eq(vqc_pipeline_run(model, recipe, &pipeline, report, &error), VQC_OK, "%s",
                 error.message);
    count_zeros(model, &out);
    read_note(report, &out);
    if (make == two_layers) {
        out.sparsity = (double)(out.zeros[0] + out.zeros[1]) / (double)WEIGHTS;
        cr_assert_eq(report->weight_zeros, out.zeros[0] + out.zeros[1]);
    }

    cr_assert_eq(vqc_graph_create(original, &graph, NULL), VQC_OK);
    cr_assert_eq(vqc_samples_held_out(&samples->source, &apart, NULL), VQC_OK);
    cr_assert_lt(apart->count, (size_t)SAMPLES);
    cr_assert_eq(vqc_reference_create(graph, apart, 0, 1, SAMPLES, 1 << 24, 1, &reference, &error),
                 VQC_OK);
    cr_assert_eq(vqc_reference_score(reference, model, 0, 1, &score, &error), VQC_OK);
    out.sqnr_db = score.sqnr_db;
    vqc_reference_destroy(&reference);
    vqc_samples_destroy(&apart);
    vqc_graph_destroy(&graph);
    vqc_report_destroy(&report);
    vqc_recipe_destroy(&recipe);
    vqc_model_destroy(&model);
    vqc_model_destroy(&original);
    runner_samples_end(samples);
    return out;
}

static outcome prune(const vqc_prune_options *options, bool seen)
{
    return prune_model(two_layers, options, seen);
}

Test(prune_calibrated, outputs_get_back_what_the_model_gains_by)
{
    vqc_prune_options options = vqc_prune_options_default();
    bool gained = false;

    options.scope = VQC_PRUNE_SCOPE_LAYER;
    for (int tenths = 3; tenths < 10; tenths++) {
        outcome out;
        options.sparsity = 0.1 * tenths;
        out = prune_model(deep, &options, true);
        if (out.with_db > 0.0) {
            gained = true;
            cr_expect_geq(out.with_db, out.without_db + 0.1, "%g -> %g", out.without_db,
                          out.with_db);
            cr_expect_float_eq(out.sqnr_db, out.with_db, 0.051, "noted %g dB, measured %g",
                               out.with_db, out.sqnr_db);
        }
        options.compensate = VQC_PRUNE_COMPENSATE_OFF;
        cr_expect_eq(prune_model(deep, &options, true).with_db, 0.0,
                     "nothing is scaled without compensation");
        options.compensate = VQC_PRUNE_COMPENSATE_AUTO;
    }
    cr_expect(gained);
}

/* A score of four samples with these noises. */
static vqc_score score_of(double a, double b, double c, double d)
{
    return (vqc_score){
        .samples = 4, .sqnr_db = -10.0 * log10(a + b + c + d), .sample_noise = {a, b, c, d}};
}

Test(prune_calibrated, gains_are_more_than_chance)
{
    vqc_score before = score_of(0.10, 0.20, 0.30, 0.10);
    vqc_score all = score_of(0.08, 0.17, 0.26, 0.08); /* every sample a bit */
    vqc_score one = score_of(0.10, 0.20, 0.18, 0.11); /* more in sum, but by one sample */
    vqc_score worse = score_of(0.10, 0.20, 0.30, 0.12);
    vqc_score broken = all;

    broken.nonfinite = 1;
    cr_expect_gt(one.sqnr_db, all.sqnr_db - 0.1);
    cr_expect(vqc_score_gains(&before, &all, 0.2));
    cr_expect_not(vqc_score_gains(&before, &all, 3.0), "not that much");
    cr_expect_not(vqc_score_gains(&before, &one, 0.2), "chance");
    cr_expect_not(vqc_score_gains(&before, &worse, 0.0));
    cr_expect_not(vqc_score_gains(&before, &broken, 0.2));
    cr_expect(vqc_score_gains(&broken, &before, 0.2), "numbers again");
}

enum { GAIN_ROWS = 6, GAIN_COLS = 5, GAIN_GROUPS = 2 };

/* <a, b> in the metric of the group of `row`. */
static double gain_dot(const float *second, const float *a, const float *b, size_t row)
{
    const float *metric =
        second + row / (GAIN_ROWS / GAIN_GROUPS) * (size_t)(GAIN_COLS * GAIN_COLS);
    double sum = 0.0;

    for (size_t i = 0; i < GAIN_COLS; i++) {
        for (size_t j = 0; j < GAIN_COLS; j++) {
            sum += (double)a[row * GAIN_COLS + i] * (double)metric[i * GAIN_COLS + j] *
                   (double)b[row * GAIN_COLS + j];
        }
    }
    return sum;
}

Test(prune_calibrated, what_outputs_get_back)
{
    float second[GAIN_GROUPS * GAIN_COLS * GAIN_COLS];
    float before[GAIN_ROWS * GAIN_COLS], after[GAIN_ROWS * GAIN_COLS];
    vqc_moments m = {.groups = GAIN_GROUPS, .cols = GAIN_COLS, .second = second};

    for (size_t i = 0; i < GAIN_GROUPS * GAIN_COLS * GAIN_COLS; i++) {
        bool diagonal = i % (GAIN_COLS * GAIN_COLS) % (GAIN_COLS + 1) == 0;
        second[i] = diagonal ? 1.0f + 0.125f * (float)(i / 7) : 0.25f;
    }
    for (int gain = 0; gain < VQC_PRUNE_GAINS; gain++) {
        double whole = 0.0, kept = 0.0;
        for (size_t i = 0; i < GAIN_ROWS * GAIN_COLS; i++) {
            before[i] = 0.1f + (float)(i * 7 % 11) / 11.0f;
            after[i] = i % 7 == 1 ? 0.0f : before[i];
        }
        cr_assert_eq(vqc_prune_give_back((vqc_prune_gain)gain, &m, before, GAIN_ROWS, GAIN_COLS, 1,
                                         after, NULL),
                     VQC_OK);
        for (size_t r = 0; r < GAIN_ROWS; r++) {
            double was = gain_dot(second, before, before, r),
                   is = gain_dot(second, after, after, r);
            whole += was;
            kept += gain_dot(second, before, after, r);
            if (gain == VQC_PRUNE_GAIN_POWER) {
                cr_expect_float_eq(is, was, 1e-5 * was, "row %zu: %g of %g", r, is, was);
            }
        }
        for (size_t i = 0; i < GAIN_ROWS * GAIN_COLS; i++) {
            cr_expect(i % 7 != 1 || after[i] == 0.0f, "zeros stay");
            cr_expect(gain != VQC_PRUNE_GAIN_NONE || i % 7 == 1 || after[i] == before[i]);
        }
        if (gain == VQC_PRUNE_GAIN_SLOPE) {
            cr_expect_float_eq(kept, whole, 1e-5 * whole, "%g of %g", kept, whole);
        } else if (gain == VQC_PRUNE_GAIN_NONE) {
            cr_expect_lt(kept, 0.95 * whole);
        }
    }
}

Test(prune_calibrated, compensation_beats_magnitude)
{
    vqc_prune_options options = vqc_prune_options_default();
    outcome plain, seen, uncompensated;

    options.sparsity = 0.5;
    plain = prune(&options, false);
    seen = prune(&options, true);
    options.compensate = VQC_PRUNE_COMPENSATE_OFF;
    uncompensated = prune(&options, true);
    cr_assert_eq(plain.zeros[0], (size_t)(INPUTS * HIDDEN / 2));
    cr_assert_eq(plain.zeros[1], (size_t)(HIDDEN * OUTPUTS / 2));
    cr_assert_eq(seen.zeros[0], plain.zeros[0]);
    cr_assert_eq(seen.zeros[1], plain.zeros[1]);
    cr_assert_eq(plain.negative + seen.negative + uncompensated.negative, 0);
    cr_assert_gt(seen.sqnr_db, plain.sqnr_db + 3.0, "%.2f dB by magnitude, %.2f compensated",
                 plain.sqnr_db, seen.sqnr_db);
    cr_assert_gt(seen.sqnr_db, uncompensated.sqnr_db + 1.0, "%.2f dB kept, %.2f compensated",
                 uncompensated.sqnr_db, seen.sqnr_db);
}

Test(prune_calibrated, patterns_reach_their_share)
{
    static const struct {
        char *pattern;
        double least;
    } cases[] = {{"2:4", 0.5}, {"1:4", 0.75}, {"3:8", 0.625}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vqc_prune_options options = vqc_prune_options_default();
        outcome got;
        options.pattern = cases[i].pattern;
        got = prune(&options, true);
        cr_assert_eq(got.sparsity, cases[i].least, "%s: %.4f", cases[i].pattern, got.sparsity);
        cr_assert_eq(got.negative, 0);
        cr_assert_gt(got.sqnr_db, 3.0);
    }
}

/* The most that keeps the target: it is kept, and two steps of the search further it is not. */
Test(prune_calibrated, target_is_kept_and_used_up)
{
    static const double targets[] = {12.0, 20.0, 28.0};
    double before = 1.0;

    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        vqc_prune_options options = vqc_prune_options_default();
        outcome got, more;
        options.output_sqnr_db = targets[i];
        got = prune(&options, true);
        cr_assert_geq(got.sqnr_db, targets[i]);
        cr_assert(got.sparsity > 0.05 && got.sparsity < before, "%.1f dB: %.4f", targets[i],
                  got.sparsity);
        before = got.sparsity;
        options.output_sqnr_db = (double)NAN;
        options.sparsity = got.sparsity + 2.0 / 128.0;
        more = prune(&options, true);
        cr_assert_lt(more.sqnr_db, targets[i], "%.1f dB: %.4f keeps %.2f dB, %.4f keeps %.2f dB",
                     targets[i], got.sparsity, got.sqnr_db, more.sparsity, more.sqnr_db);
    }
}

/* A sparsity beside the target is the most that is pruned. */
Test(prune_calibrated, target_with_a_cap)
{
    vqc_prune_options options = vqc_prune_options_default();
    outcome got;

    options.output_sqnr_db = 3.0;
    options.sparsity = 0.25;
    got = prune(&options, true);
    cr_assert_eq(got.sparsity, 0.25);
}
