/* Accuracy and comparison of models on closed-form cases. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/evaluate.h"
#include "core/graph.h"
#include "tests/unit/model_builder.h"

enum { COUNT = 6, CLASSES = 8 };

/* Samples in memory. */
typedef struct memory_samples {
    vqc_samples samples;
    vqc_buffer *inputs[COUNT];
    vqc_buffer *targets[COUNT];
    int64_t labels[COUNT];
} memory_samples;

static vqc_status read_memory(vqc_samples *self, size_t index, size_t slot, vqc_sample *out,
                              vqc_error *error)
{
    memory_samples *all = self->state;

    (void)slot;
    (void)error;
    *out = (vqc_sample){.index = index,
                        .inputs = (const vqc_buffer *const *)&all->inputs[index],
                        .labels = self->has_labels ? &all->labels[index] : NULL,
                        .label_count = self->has_labels ? 1 : 0,
                        .target = all->targets[index]};
    return VQC_OK;
}

static void release_memory(vqc_samples *self, size_t slot)
{
    (void)self;
    (void)slot;
}

static void make_samples(memory_samples *all)
{
    const int64_t dims[] = {1, CLASSES};

    memset(all, 0, sizeof *all);
    all->samples = (vqc_samples){.count = COUNT,
                                 .has_labels = true,
                                 .path = "memory",
                                 .read = read_memory,
                                 .release = release_memory,
                                 .state = all};
    for (size_t i = 0; i < COUNT; i++) {
        all->inputs[i] = vqc_buffer_create(VQC_DTYPE_FLOAT, dims, 2);
        cr_assert_not_null(all->inputs[i]);
        memset(all->inputs[i]->data, 0, sizeof(float) * CLASSES);
    }
}

static void free_samples(memory_samples *all)
{
    for (size_t i = 0; i < COUNT; i++) {
        vqc_buffer_destroy(&all->inputs[i]);
        vqc_buffer_destroy(&all->targets[i]);
    }
}

static float *values_of(memory_samples *all, size_t index)
{
    return (float *)(void *)all->inputs[index]->data;
}

/* y = op(x, ...) as a program. */
typedef struct small_program {
    vqc_model *model;
    vqc_graph *graph;
    vqc_program *program;
} small_program;

static small_program make_program(const char *op)
{
    small_program made = {mb_model(17, 8), NULL, NULL};
    vqc_error error;

    mb_input(made.model, NULL, "x");
    mb_output(made.model, NULL, "y");
    (void)mb_node(made.model, NULL, op, strcmp(op, "Add") == 0 ? "x x" : "x", "y");
    cr_assert_eq(vqc_graph_create(made.model, &made.graph, &error), VQC_OK);
    cr_assert_eq(vqc_program_create(made.graph, NULL, &made.program, &error), VQC_OK, "%s",
                 error.message);
    return made;
}

static void free_program(small_program *made)
{
    vqc_program_destroy(&made->program);
    vqc_graph_destroy(&made->graph);
    vqc_model_destroy(&made->model);
}

Test(evaluate, ties_nan_and_missing_labels)
{
    memory_samples all;
    small_program same = make_program("Identity");
    vqc_evaluation result;
    vqc_error error;

    make_samples(&all);
    all.labels[0] = 0; /* all equal: class 0 is the first largest */
    all.labels[1] = 4; /* all equal: the fifth */
    all.labels[2] = 5; /* all equal: the sixth, outside of the top 5 */
    values_of(&all, 3)[7] = 1.0f;
    all.labels[3] = 7;
    values_of(&all, 4)[1] = NAN;
    values_of(&all, 4)[2] = 5.0f;
    all.labels[4] = 2; /* a miss: a NaN is in the row */
    all.labels[5] = VQC_SAMPLES_NO_LABEL;
    for (int threads = 1; threads < 4; threads += 2) {
        const vqc_evaluate_options options = {.threads = threads};
        cr_assert_eq(vqc_evaluate(same.program, &all.samples, &options, &result, &error), VQC_OK,
                     "%s", error.message);
        cr_expect(result.samples == 6 && result.labelled == 5 && result.classes == CLASSES);
        cr_expect_eq(result.top1_hits, 2);
        cr_expect_eq(result.top5_hits, 3);
        cr_expect_float_eq(result.top1, 0.4, 1e-15);
        cr_expect_eq(result.nonfinite, 1);
        cr_expect(isnan(result.mse) && isnan(result.perplexity));
        cr_expect_str_eq(result.output, "y");
    }
    all.labels[3] = CLASSES;
    cr_assert_eq(vqc_evaluate(same.program, &all.samples, NULL, &result, &error), VQC_ERR_MODEL);
    cr_expect_not_null(strstr(error.message, "sample 3: label 8"), "%s", error.message);
    free_program(&same);
    free_samples(&all);
}

Test(evaluate, parts_of_the_samples_and_targets)
{
    const vqc_evaluate_options options = {.first = 1, .step = 2, .limit = 5};
    memory_samples all;
    small_program twice = make_program("Add");
    vqc_evaluation result;
    vqc_error error;

    make_samples(&all);
    all.samples.has_labels = false;
    for (size_t i = 0; i < COUNT; i++) {
        all.targets[i] = vqc_buffer_create(VQC_DTYPE_FLOAT, all.inputs[i]->dims, 2);
        memset(all.targets[i]->data, 0, sizeof(float) * CLASSES);
        values_of(&all, i)[0] = (float)i; /* 2 i against 0 */
    }
    cr_assert_eq(vqc_evaluate(twice.program, &all.samples, &options, &result, &error), VQC_OK);
    cr_expect_eq(result.samples, 2); /* 1 and 3 */
    cr_expect_eq(result.target_values, 16);
    cr_expect_float_eq(result.mse, (4.0 + 36.0) / 16.0, 1e-12);
    cr_expect_eq(result.labelled, 0);
    free_program(&twice);
    free_samples(&all);
}

Test(evaluate, two_models_in_closed_form)
{
    memory_samples all;
    small_program same = make_program("Identity");
    small_program twice = make_program("Add");
    small_program negative = make_program("Neg");
    vqc_comparison *comparison = NULL;
    const vqc_output_comparison *output;
    vqc_error error;

    make_samples(&all);
    all.samples.has_labels = false;
    for (size_t i = 0; i < COUNT; i++) {
        values_of(&all, i)[i] = 1.0f;
    }
    /* 2 x against x: the error is as large as the signal, the direction the same */
    cr_assert_eq(vqc_compare(same.program, twice.program, &all.samples, NULL, &comparison, &error),
                 VQC_OK);
    cr_assert_eq(comparison->output_count, 1);
    output = &comparison->outputs[0];
    cr_expect_str_eq(output->name, "y");
    cr_expect_eq(output->metrics.count, COUNT * CLASSES);
    cr_expect_float_eq(output->metrics.sqnr_db, 0.0, 1e-12);
    cr_expect_float_eq(output->metrics.cosine, 1.0, 1e-12);
    cr_expect_float_eq(output->metrics.max_abs_error, 1.0, 1e-12);
    cr_expect(output->rows == COUNT && output->top1_equal == COUNT && !output->is_integer);
    cr_expect(comparison->reference.samples == COUNT && comparison->model.samples == COUNT);
    vqc_comparison_destroy(&comparison);
    /* -x against x: 4 times the energy, opposite, another largest value */
    cr_assert_eq(
        vqc_compare(same.program, negative.program, &all.samples, NULL, &comparison, &error),
        VQC_OK);
    output = &comparison->outputs[0];
    cr_expect_float_eq(output->metrics.sqnr_db, -10.0 * log10(4.0), 1e-12);
    cr_expect_float_eq(output->metrics.cosine, -1.0, 1e-12);
    cr_expect_eq(output->top1_equal, 0);
    vqc_comparison_destroy(&comparison);
    /* infinity in both is left out; -infinity against infinity is not */
    values_of(&all, 2)[0] = INFINITY;
    cr_assert_eq(vqc_compare(same.program, twice.program, &all.samples, NULL, &comparison, &error),
                 VQC_OK);
    output = &comparison->outputs[0];
    cr_expect(output->metrics.count == COUNT * CLASSES - 1 && output->nonfinite_ref == 1 &&
              output->nonfinite == 1);
    cr_expect_float_eq(output->metrics.sqnr_db, 0.0, 1e-12);
    vqc_comparison_destroy(&comparison);
    cr_assert_eq(
        vqc_compare(same.program, negative.program, &all.samples, NULL, &comparison, &error),
        VQC_OK);
    cr_expect(isnan(comparison->outputs[0].metrics.sqnr_db));
    vqc_comparison_destroy(&comparison);
    free_program(&same);
    free_program(&twice);
    free_program(&negative);
    free_samples(&all);
}
