#include "tests/unit/static_case.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/static/static_fit.h"

enum { SAMPLES = 16 };

vqc_recipe *static_case_recipe(void)
{
    vqc_recipe *recipe = NULL;
    vqc_error error = {0};

    cr_assert_eq(vqc_recipe_create_default(&recipe, &error), VQC_OK);
    recipe->weights.activations = VQC_ACTIVATIONS_STATIC;
    recipe->weights.min_elements = 0;
    recipe->weights.observer = VQC_OBSERVER_MINMAX;
    return recipe;
}

static_case static_case_make(vqc_model *model, vqc_recipe *recipe, const int64_t *dims, size_t rank)
{
    static_case c = {.model = model, .arena = vqc_arena_create()};
    vqc_calibrate_options options = {.threads = 1};
    const vqc_value **values;
    size_t count;
    int64_t ignored;
    vqc_error error = {0};

    c.plan = vqc_arena_calloc(c.arena, 1, sizeof *c.plan);
    cr_assert_not_null(c.plan);
    c.recipe = recipe == NULL ? static_case_recipe() : recipe;
    c.graph = mb_index(model);
    c.samples = runner_samples_make(SAMPLES, dims, rank, 42);
    cr_assert_eq(vqc_plan_resolve(c.graph, c.recipe, c.arena, c.plan, &error), VQC_OK, "%s",
                 error.message);
    cr_assert_eq(vqc_plan_prepare(c.plan, c.recipe, 0, false, &ignored, &error), VQC_OK, "%s",
                 error.message);
    cr_assert_eq(vqc_static_plan_create(c.graph, c.plan, c.recipe, c.arena, &c.fixed, &error),
                 VQC_OK, "%s", error.message);
    cr_assert_eq(vqc_static_plan_values(&c.fixed, &values, &count, &error), VQC_OK);
    cr_assert_eq(
        vqc_calibrate(c.graph, values, count, &c.samples->source, &options, &c.stats, &error),
        VQC_OK, "%s", error.message);
    vqc_static_plan_observe(&c.fixed, c.stats);
    cr_assert_eq(vqc_static_fit_weights(&c.fixed, c.arena, &error), VQC_OK, "%s", error.message);
    vqc_static_plan_decide(&c.fixed);
    return c;
}

void static_case_end(static_case *c)
{
    vqc_static_plan_clear(&c->fixed);
    vqc_stats_destroy(&c->stats);
    runner_samples_end(c->samples);
    vqc_graph_destroy(&c->graph);
    vqc_recipe_destroy(&c->recipe);
    vqc_arena_destroy(&c->arena);
    vqc_model_destroy(&c->model);
}

vqc_unit *static_case_unit(static_case *c, const char *output)
{
    for (size_t i = 0; i < c->fixed.unit_count; i++) {
        if (strcmp(c->fixed.units[i].node->output[0], output) == 0) {
            return &c->fixed.units[i];
        }
    }
    cr_assert_fail("no node gives \"%s\"", output);
    return NULL;
}

vqc_tensor *static_case_tensor(static_case *c, const char *name)
{
    size_t index = vqc_static_tensor(&c->fixed, name);

    cr_assert_neq(index, VQC_NO_TENSOR, "no tensor \"%s\"", name);
    return &c->fixed.tensors[index];
}

void static_case_weight(vqc_model *model, const char *name, const int64_t *dims, size_t rank,
                        uint64_t seed, float deviation)
{
    float values[4096];
    size_t n = 1;
    mb_random random = {seed};

    for (size_t i = 0; i < rank; i++) {
        n *= (size_t)dims[i];
    }
    cr_assert_leq(n, sizeof values / sizeof values[0]);
    mb_random_fill(&random, values, n, deviation, 0.0f);
    mb_initializer(model, NULL, mb_float_tensor(model, name, VQC_DTYPE_FLOAT, dims, rank, values));
}
