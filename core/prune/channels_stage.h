/* Pruning channels as a recipe says. */
#ifndef VQC_CORE_PRUNE_CHANNELS_STAGE_H
#define VQC_CORE_PRUNE_CHANNELS_STAGE_H

#include "core/prune/prune_stage.h"

/* Whether the recipe removes channels. */
bool vqc_prune_channels_wanted(const vqc_recipe *recipe);

/*
 * Removes channels from stage->model: layers that a rule with sparsity 0 matches keep theirs.
 * Errors: VQC_ERR_USAGE when the recipe has a target or a score that needs calibration data and
 * there are none, those of vqc_prune_channels.
 */
vqc_status vqc_prune_channels_run(const vqc_prune_stage *stage, vqc_error *error);

#endif
