/* Encoding: each layer of a plan is weighed, coded, and written into the graph; one at a time. */
#ifndef VQC_CORE_ENCODE_LAYERS_H
#define VQC_CORE_ENCODE_LAYERS_H

#include "core/plan.h"
#include "core/prune/prune_stage.h"
#include "core/vq/norm_means.h"
#include "core/vqc.h"

/* What constants took in the file before their channels were cut, by name. */
typedef struct vqc_encode_before {
    const char **names; /* [count] of values of the main graph */
    size_t *bytes;      /* [count] */
    size_t count;
} vqc_encode_before;

typedef struct vqc_encode {
    vqc_model *model;
    vqc_graph *graph;
    const vqc_recipe *recipe;
    vqc_plan *plan; /* prepared; codes that are there are taken as they are */
    const vqc_run_options *options;
    vqc_report *report; /* its layers are filled */
    vqc_error *error;
    const vqc_norm_means *norm_means;     /* means of activations known without data; NULL: none */
    const vqc_prune_originals *originals; /* what pruned weights were; NULL: none */
    const vqc_encode_before *before; /* for reports; NULL: what weights take in the graph now */
    vqc_error_sums sums;        /* out: of all coded and all pruned layers, against the originals */
    vqc_error_sums coding_sums; /* out: the same against the pruned weights */
    size_t norm_biases;         /* out: biases corrected by norm_means */
    size_t unpruned;            /* out: layers whose code does not keep their zeros */
} vqc_encode;

/* Remembers the float constants of the main graph, in `arena`. Errors: out of memory, those of
 * vqc_layers_find. */
vqc_status vqc_encode_before_find(vqc_graph *graph, vqc_arena *arena, vqc_encode_before *out,
                                  vqc_error *error);

/*
 * A layer whose code does not make it smaller, or whose values cannot be coded, stays, and its
 * report says why. In a dry run sizes are measured and nothing is coded. Errors: VQC_ERR_INTERNAL,
 * out of memory.
 */
vqc_status vqc_encode_layers(vqc_encode *r);

/* The fused kernels measure the error but not the cosine: it is then not a number, not 0. */
vqc_metrics vqc_encode_metrics(const vqc_error_sums *sums);

#endif
