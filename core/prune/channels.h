/*
 * Structured pruning: whole channels, filters, hidden units and attention heads are removed, and
 * everything that depends on them becomes smaller with them. The model keeps its inputs, outputs
 * and operator sets.
 */
#ifndef VQC_CORE_PRUNE_CHANNELS_H
#define VQC_CORE_PRUNE_CHANNELS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/data/samples.h"
#include "core/model.h"
#include "core/vqc.h"

typedef enum vqc_channel_scope {
    VQC_CHANNELS_PER_LAYER, /* the same share of every group of layers */
    VQC_CHANNELS_GLOBAL     /* one ranking over the whole model */
} vqc_channel_scope;

/* What a channel is worth. */
typedef enum vqc_channel_score {
    /* second order with samples, else magnitude */
    VQC_CHANNEL_SCORE_AUTO,
    /* sum w^2 of the weights that make the channel times sum w^2 of those that read it */
    VQC_CHANNEL_SCORE_MAGNITUDE,
    /* E[(x - E x)^2] sum w^2 over what reads the channel: Wanda (Sun et al., ICLR 2024) for
     * columns, with the mean taken up by the bias; needs samples */
    VQC_CHANNEL_SCORE_ACTIVATION,
    /* the least-squares error that is left when the remaining channels take over (Optimal Brain
     * Surgeon, Hassibi and Stork, NIPS 1992, on the inputs of what reads the channel); needs
     * samples */
    VQC_CHANNEL_SCORE_SECOND_ORDER
} vqc_channel_score;

typedef struct vqc_channel_options {
    /* Share of the removable channels to remove, 0 <= s < 1; with a target the most that is tried,
     * or NAN */
    double sparsity;
    /* The largest share (in steps of 1/32 of the sparsity) at which every output keeps this ratio
     * of signal to noise on samples that calibration does not see. NAN: unset; needs samples */
    double target_sqnr_db;
    vqc_channel_scope scope;
    vqc_channel_score score;
    size_t min_channels; /* of a layer that stay at least; 0: 1 */
    size_t multiple_of;  /* the number that stays is divisible by this; 0: 1. Layers with fewer
                            channels stay whole */
    /* Names of nodes and weights whose outputs stay whole, with * ? [a-z]; [exclude_count] */
    const char *const *exclude;
    size_t exclude_count;
    vqc_samples *samples; /* NULL: none; then nothing compensates for what is removed */
    size_t max_samples;   /* of them to calibrate with; 0: 64 */
    bool no_compensation; /* leaves the remaining weights as they are, also with samples */
    int threads;          /* at most; 0: one per core */
} vqc_channel_options;

/*
 * Prunes the main graph of `model` in place: an index made before is stale afterwards. Channels
 * that reach an output of the graph, a subgraph, or a node that cannot be made smaller stay, and
 * notes of `report` (whose arena must be there) name them. Removing a channel is the same as
 * putting zero in its place wherever weights read it; with samples the remaining weights of these
 * readers are fitted again by least squares, in graph order, and biases take over the means.
 *
 * Without effect (with a note) when nothing can be removed. On an error the model is unchanged.
 * Errors: VQC_ERR_USAGE for options that contradict each other, VQC_ERR_MODEL when the model is
 * malformed or samples do not fit, out of memory.
 */
vqc_status vqc_prune_channels(vqc_model *model, const vqc_channel_options *options,
                              vqc_report *report, vqc_error *error);

#endif
