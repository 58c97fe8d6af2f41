/* Shared by the files of the pruning stage. */
#ifndef VQC_CORE_PRUNE_PRUNE_INTERNAL_H
#define VQC_CORE_PRUNE_PRUNE_INTERNAL_H

#include "core/prune/prune_gain.h"
#include "core/prune/prune_share.h"
#include "core/prune/prune_stage.h"
#include "core/static/measure.h"
#include "core/vq/bias_site.h"
#include "core/vq/downstream.h"
#include "core/vq/moments.h"
#include "core/vq/vq_layout.h"

/* One layer that is pruned. */
typedef struct vqc_prune_part {
    const vqc_layer *layer;
    vqc_vq_layout layout;
    vqc_bias_site bias;
    const float *weights;  /* [elements] original, in the tensor's order */
    double asked;          /* share that the recipe wants of this layer; NAN: part of the whole */
    double sparsity;       /* share that is pruned now */
    float *pruned;         /* [elements]; NULL: not pruned */
    float *bias_values;    /* [rows] corrected; NULL: as it is */
    bool was_seen;         /* pruned for its input */
    vqc_prune_curve curve; /* measured, with scope output */
    bool equal_shares;     /* outputs lose the same share of their power each, not the same power */
} vqc_prune_part;

typedef struct vqc_prune_parts {
    const vqc_prune_stage *stage;
    vqc_error *error;
    vqc_graph *graph;
    vqc_prune_pattern pattern;
    vqc_prune_part *parts; /* [count] */
    const vqc_layer **layers;
    size_t count;
    int threads;
    vqc_samples *samples;   /* to prune for; NULL: by the weights alone */
    vqc_reference *measure; /* the original's outputs on samples kept apart, or NULL */
    vqc_arena *arena;       /* of the stage */
    vqc_arena *attempt;     /* of the pruned weights in hand */
    size_t used_samples;
    vqc_score score;  /* of the weights in hand, when is_scored */
    bool is_scored;   /* since the last walk */
    bool probing;     /* layers are pruned one by one: all see the original's values */
    bool is_measured; /* the parts have curves */
    bool takes_equal; /* scope output: every layer loses the same share after all */
    vqc_prune_gain gain;
    bool has_gain; /* the gain has been chosen */
} vqc_prune_parts;

/* Prunes every part to its sparsity, for its input where samples are there. */
vqc_status vqc_prune_walk(vqc_prune_parts *p);

/* Gives every part its sparsity: its own, or its part of `sparsity` of all. */
vqc_status vqc_prune_share_out(vqc_prune_parts *p, double sparsity);

/* Runs the model with the pruned weights of all parts (SIZE_MAX) or of one, the original's in the
 * others, on the first `samples` (0: all) of p->measure; `behind` is used where it is not NULL. */
vqc_status vqc_prune_measure(vqc_prune_parts *p, size_t only, vqc_downstream *behind,
                             size_t samples, vqc_score *score);

#endif
