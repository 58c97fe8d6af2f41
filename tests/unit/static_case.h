/* A small model on its way through static quantization: plan, observations, codes. */
#ifndef VQC_TESTS_UNIT_STATIC_CASE_H
#define VQC_TESTS_UNIT_STATIC_CASE_H

#include "core/plan.h"
#include "core/static/static_plan.h"
#include "tests/unit/model_runner.h"

typedef struct static_case {
    vqc_model *model;
    vqc_graph *graph;
    vqc_recipe *recipe;
    vqc_arena *arena;
    vqc_plan *plan; /* in the arena */
    vqc_static_plan fixed;
    runner_samples *samples;
    vqc_stats *stats;
} static_case;

/* The recipe of static_case_make: int8 weights per channel, uint8 activations, minmax. The
 * caller's. */
vqc_recipe *static_case_recipe(void);

/* Takes model and recipe (NULL: static_case_recipe), calibrates with 16 Gaussian samples of input
 * "x" with dims, codes the weights and decides. */
static_case static_case_make(vqc_model *model, vqc_recipe *recipe, const int64_t *dims,
                             size_t rank);
void static_case_end(static_case *c);

/* The unit whose first output is that; asserts that it is there. */
vqc_unit *static_case_unit(static_case *c, const char *output);
/* The tensor of that name; asserts that it is there. */
vqc_tensor *static_case_tensor(static_case *c, const char *name);

/* float32 initializer with Gaussian values times `deviation`. */
void static_case_weight(vqc_model *model, const char *name, const int64_t *dims, size_t rank,
                        uint64_t seed, float deviation);
#define STATIC_WEIGHT(model, name, seed, deviation, ...)                                           \
    static_case_weight(model, name, (const int64_t[]){__VA_ARGS__},                                \
                       sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), seed, deviation)

#endif
