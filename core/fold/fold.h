/*
 * Folding: what a model computes from constants alone is computed once, and what scales or shifts
 * the channels of a layer becomes part of its weights. The model computes the same function up to
 * float rounding, with fewer nodes.
 */
#ifndef VQC_CORE_FOLD_FOLD_H
#define VQC_CORE_FOLD_FOLD_H

#include "core/graph.h"

/* What was done. */
typedef struct vqc_fold_counts {
    size_t norms;     /* BatchNormalization nodes that went into weights */
    size_t scales;    /* Mul and Add with a constant per channel that did */
    size_t constants; /* nodes that were computed */
    size_t idle;      /* Identity and Dropout nodes that were taken out */
} vqc_fold_counts;

/*
 * Folds the main graph of `model` in place; its index must be made anew afterwards. Subgraphs and
 * functions are left as they are. Errors: out of memory; a node that cannot be folded stays.
 */
vqc_status vqc_fold_model(vqc_model *model, vqc_fold_counts *counts, vqc_error *error);

/* The parts, each over a fresh index; *count: nodes that went away. */
vqc_status vqc_fold_channels(vqc_graph *graph, size_t *norms, size_t *scales, vqc_error *error);
vqc_status vqc_fold_constants(vqc_graph *graph, size_t *count, vqc_error *error);
vqc_status vqc_fold_idle(vqc_graph *graph, size_t *count, vqc_error *error);

/* Takes nodes marked by a NULL entry out of the main graph's list. */
void vqc_fold_compact(vqc_graph *graph);

/* Removes initializers and Constant nodes of the main graph that nothing reads any more, and were
 * read before. */
vqc_status vqc_fold_sweep(vqc_graph *graph, vqc_error *error);

#endif
