/* What can be removed from a traced model, in which order, and the choice of how much. */
#ifndef VQC_CORE_PRUNE_CHANNELS_SET_H
#define VQC_CORE_PRUNE_CHANNELS_SET_H

#include "core/prune/channels.h"
#include "core/prune/channels_trace.h"

/* Layers whose outputs lose the same channels: those that a sum joins, or one alone. */
typedef struct vqc_channel_group {
    size_t producer;   /* the first one, in trace->producers */
    size_t count;      /* of classes */
    uint32_t *classes; /* [count] roots; sorted: the first is to be removed first */
    double *cost;      /* [count] what removing it adds, as a share of what its readers compute;
                          never decreasing */
    size_t indices;    /* of one class along the axis of the first producer */
    size_t fixed;      /* indices of that axis that always stay */
    size_t removed;    /* how many classes were chosen */
} vqc_channel_group;

typedef struct vqc_channel_set {
    vqc_trace *trace; /* borrowed */
    vqc_arena *arena;
    vqc_channel_group *groups; /* [group_count] in model order */
    size_t group_count;
    size_t class_count; /* of all groups */
    size_t *group_of;   /* [atom_count] by root; SIZE_MAX: frozen, or nothing makes it */
    size_t *slot_of;    /* [atom_count] by root: place in the group as it was made */
} vqc_channel_set;

/* Finds the groups; costs are 0, and classes in the order of their channels. */
vqc_status vqc_channel_set_create(vqc_trace *trace, vqc_channel_set **out, vqc_error *error);
void vqc_channel_set_destroy(vqc_channel_set **set);

/* Sorts a group by the cost of its classes, score[count] by slot. */
vqc_status vqc_channel_group_sort(vqc_channel_group *group, const double *score, vqc_error *error);

/*
 * Chooses a share of the classes and writes removed [trace->atom_count] by root. Counts are rounded
 * as options->multiple_of and min_channels want it; two indices at least stay along every axis.
 */
void vqc_channel_set_select(vqc_channel_set *set, const vqc_channel_options *options, double share,
                            bool *removed);

/* ---- scores ---- */

/* Sorts all groups by VQC_CHANNEL_SCORE_MAGNITUDE. */
vqc_status vqc_channel_score_magnitude(vqc_channel_set *set, vqc_error *error);

/* Sorts all groups by ACTIVATION or SECOND_ORDER, from the inputs of the layers that read them on
 * `limit` of the samples (0: 64). */
vqc_status vqc_channel_score_samples(vqc_channel_set *set, vqc_samples *samples, size_t limit,
                                     vqc_channel_score score, int threads, vqc_error *error);

/*
 * gram [count, count] += what a consumer makes of pairs of channels: sum of w_i w_j over rows and
 * kernel positions of its weight, for its input's channels i, j of the same group of a convolution.
 * diagonal only: gram is [count]. Errors: the weight cannot be computed.
 */
vqc_status vqc_channel_gram(const vqc_trace *trace, const vqc_trace_consumer *consumer,
                            bool diagonal, double *gram, vqc_error *error);

#endif
