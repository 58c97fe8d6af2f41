/* Pruning the layers of a model. */
#ifndef VQC_CORE_PRUNE_PRUNE_STAGE_H
#define VQC_CORE_PRUNE_PRUNE_STAGE_H

#include "core/data/samples.h"
#include "core/plan.h"
#include "core/report.h"

/* A weight as it was before it was pruned. */
typedef struct vqc_prune_original {
    const Onnx__TensorProto *tensor; /* of the model, pruned now */
    const void *pruned;              /* its payload then: another one was changed since */
    Onnx__TensorProto before;        /* borrows what the model still holds */
} vqc_prune_original;

typedef struct vqc_prune_originals {
    vqc_prune_original *items; /* [count] in the model's arena */
    size_t count;
} vqc_prune_originals;

typedef struct vqc_prune_stage {
    vqc_model *model;
    const vqc_recipe *recipe;
    vqc_samples *samples; /* calibration data, or NULL */
    int threads;
    vqc_report *report;
    void (*progress)(void *context, const char *stage, size_t done, size_t total);
    void *progress_context;
    vqc_prune_originals *originals; /* out: of the weights that were pruned; may be NULL */
} vqc_prune_stage;

/*
 * Prunes the weights in the model: their tensors have exact zeros afterwards, so whatever codes
 * them starts from these. Pruned are the weights of operators that sum over inputs (no tables of
 * Gather, no depthwise convolutions) with at least weights.min_elements elements, and what a rule
 * with a sparsity matches.
 *
 * With samples that the executor can run the model on, layers are pruned in the order of the graph,
 * each for what the layers pruned before it feed it (core/vq/sequence.h), kept weights and biases
 * make up for what is gone. Scope global shares the zeros out by |w| relative to the layer's norm:
 * to first order, what is lost at the outputs of all layers, each relative to its own signal.
 * Scope output measures what every layer by itself does to the model's output (prune_share.h).
 *
 * Notes say what was done. Errors: VQC_ERR_USAGE when the recipe wants calibration data and there
 * are none, what running the model reports, out of memory.
 */
vqc_status vqc_prune_run(const vqc_prune_stage *stage, vqc_error *error);

/* The tensor of this layer before it was pruned; NULL when it was not, or was changed since. */
const Onnx__TensorProto *vqc_prune_original_of(const vqc_prune_originals *originals,
                                               const vqc_layer *layer);

/* Exact zeros among the weights of a layer; 0 when they cannot be read. */
size_t vqc_prune_zeros(const vqc_layer *layer);

/* plan->layers[].mask of the layers that are pruned and may be coded. Errors: out of memory. */
vqc_status vqc_prune_set_masks(vqc_plan *plan, const vqc_recipe *recipe, vqc_arena *arena,
                               vqc_error *error);

#endif
