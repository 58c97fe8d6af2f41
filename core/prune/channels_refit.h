/* Fitting the weights that read removed channels again, so that the remaining ones take over. */
#ifndef VQC_CORE_PRUNE_CHANNELS_REFIT_H
#define VQC_CORE_PRUNE_CHANNELS_REFIT_H

#include "core/prune/channels_apply.h"

/* The bias of a layer after pruning: values [count] of the outputs that stay. */
typedef struct vqc_channels_bias {
    size_t value; /* the layer's weight in trace->values */
    float *values;
    size_t count;
} vqc_channels_bias;

typedef struct vqc_channels_fit {
    vqc_channels_refit *weights; /* [weight_count] */
    size_t weight_count;
    vqc_channels_bias *biases; /* [bias_count] */
    size_t bias_count;
} vqc_channels_fit;

/*
 * Walks the layers of the traced model in graph order. x: the input of a layer in the original
 * model, y: in the pruned one as it is so far, k: the channels that stay. Weights become
 *
 *     W'_k = W_k + (W Cov(x, y_k) - W_k Cov(y_k, y_k)) (Cov(y_k, y_k) + d I)^-1
 *
 * the least-squares fit of W x by W'_k y_k with a ridge towards the weights as they were, and
 * biases gain W E x - W'_k E y_k. Layers that cannot be observed keep their weights. *out lives in
 * `arena`. Errors: what running the model reports, out of memory.
 */
vqc_status vqc_channels_fit_create(vqc_trace *trace, vqc_graph *graph, const bool *removed,
                                   vqc_samples *samples, size_t max_samples, int threads,
                                   vqc_arena *arena, vqc_channels_fit *out, vqc_error *error);

/* Sets the biases in a copy that was cut. */
vqc_status vqc_channels_set_biases(const vqc_trace *trace, const vqc_channels_fit *fit,
                                   vqc_model *copy, vqc_error *error);

#endif
