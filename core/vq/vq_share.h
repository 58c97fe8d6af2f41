/* Codebooks that several layers share. */
#ifndef VQC_CORE_VQ_VQ_SHARE_H
#define VQC_CORE_VQ_VQ_SHARE_H

#include "core/plan.h"

/*
 * Codes the layers of the plan whose recipe names a shared codebook, those of one name with one
 * codebook that is trained over all of them, and leaves the codes in plan->layers[].code (in
 * `arena`, which must live as long as the plan). Patterns write the codebook once. A name that only
 * one layer has is left to be coded like any other. Layers whose values cannot be coded become
 * such that stay, with a reason. Errors: VQC_ERR_USAGE when layers of one name differ in
 * dimension, codewords, stages or type of codewords; out of memory.
 */
vqc_status vqc_vq_share(vqc_plan *plan, const char *recipe_path, vqc_arena *arena,
                        vqc_error *error);

#endif
