/* Cutting channels out of a model, on a copy of its graph. */
#ifndef VQC_CORE_PRUNE_CHANNELS_APPLY_H
#define VQC_CORE_PRUNE_CHANNELS_APPLY_H

#include "core/model.h"
#include "core/prune/channels_trace.h"

/*
 * A copy of `model` whose main graph can be edited while the original stays: nodes and lists are
 * copied, tensors, attributes and strings are shared. *out lives in `arena` and is never given to
 * vqc_model_destroy; the model must outlive it. Errors: out of memory.
 */
vqc_status vqc_channels_copy(const vqc_model *model, vqc_arena *arena, vqc_model *out,
                             vqc_error *error);

/* Other values for a constant of the trace, before it is cut: float32 [elements], borrowed. */
typedef struct vqc_channels_refit {
    size_t value; /* in trace->values */
    const float *weights;
} vqc_channels_refit;

/*
 * Removes atoms (removed: [trace->atom_count] by root) from `copy`, a copy of the traced model, of
 * which no index may exist. refits [refit_count]: weights that were fitted again. Errors:
 * VQC_ERR_MODEL for broken tensors, out of memory; the copy is of no use then.
 */
vqc_status vqc_channels_cut(vqc_trace *trace, const bool *removed, const vqc_channels_refit *refits,
                            size_t refit_count, vqc_model *copy, vqc_error *error);

#endif
