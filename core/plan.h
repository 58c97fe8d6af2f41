/* The plan: which layers a model has, and what the recipe makes of each. */
#ifndef VQC_CORE_PLAN_H
#define VQC_CORE_PLAN_H

#include "core/codec/codec.h"
#include "core/recipe.h"

/* One line of the plan. */
typedef struct vqc_plan_layer {
    vqc_layer *layer;
    vqc_weight_spec spec;
    bool may_code; /* codable by role, size and recipe; else `reason` says why not */
    const char *reason;
    bool is_static;        /* its operator may compute with static integer activations */
    vqc_decision decision; /* valid after vqc_plan_prepare when may_code */
    vqc_code *code;        /* when it was coded before the layers' turn; else NULL */
    const float *decoded;  /* [elements] what `code` decodes to, when somebody asked; else NULL */
    const uint8_t *mask;   /* [elements] 0: pruned, and stays zero; NULL: not pruned */
    bool wide_weight;      /* the accuracy target wants its weight as float16 */
} vqc_plan_layer;

typedef struct vqc_plan {
    vqc_plan_layer *layers; /* [count] the weights, and what else a recipe names */
    size_t count;
    bool *rule_hits; /* [recipe->rule_count] */
    bool has_data;   /* there are calibration samples to code by */
} vqc_plan;

/* Finds the layers and resolves the recipe for each. Everything lives in `arena`. */
vqc_status vqc_plan_resolve(vqc_graph *graph, const vqc_recipe *recipe, vqc_arena *arena,
                            vqc_plan *plan, vqc_error *error);

/* Layers below min_elements that only static quantization would have coded stay as they are. */
void vqc_plan_keep_small(vqc_plan *plan);

/*
 * Lets each layer's codec decide for its form. max_opset: how far the opset may be raised (0: not
 * at all). Returns in *opset_wanted the highest opset that a decision asks for beyond the layer's
 * own (0: none). The weights are read where a decision depends on them unless `probe`.
 */
vqc_status vqc_plan_prepare(vqc_plan *plan, const vqc_recipe *recipe, int64_t max_opset, bool probe,
                            int64_t *opset_wanted, vqc_error *error);

/* Decides one layer anew after its spec was changed, at the opset that the model has. */
vqc_status vqc_plan_prepare_again(vqc_plan_layer *item, const vqc_recipe *recipe, vqc_error *error);

/*
 * Gives layers whose codebook does not pay to the codec that does: int8 with a scale per channel
 * where that is hardly larger (1/16), else float16. Layers that share a codebook, whose cost is not
 * theirs alone, are left as they are. Comes after vqc_plan_prepare without `probe`; layers that
 * have a code already are left alone. Reasons are in `arena`.
 */
vqc_status vqc_plan_settle(vqc_graph *graph, vqc_plan *plan, const vqc_recipe *recipe,
                           vqc_arena *arena, vqc_error *error);

#endif
