/* The compressor: plan -> (raise opset) -> encode -> emit, over a model in memory. */
#ifndef VQC_CORE_PIPELINE_H
#define VQC_CORE_PIPELINE_H

#include "core/calibrate/calibrate.h"
#include "core/data/samples.h"
#include "core/model.h"
#include "core/recipe.h"
#include "core/vqc.h"

typedef struct vqc_pipeline_options {
    /* threads, progress, dry_run (sizes only: tensor payloads stay NULL in the model); not NULL */
    const vqc_run_options *run;
    bool keep_opset; /* never raise it */
    /* What static quantization calibrates with; NULL: none, and such layers stay weight-only. */
    vqc_samples *samples;
    /* Observations from an earlier calibration of this model, as folding and a raised opset leave
     * it (VQC_ERR_MODEL when they are of another); NULL: calibrate. */
    vqc_stats *stats;
    const char *stats_path; /* of these observations, for messages; may be NULL */
    /* Where to leave all that was observed, for a cache, the caller's to destroy; may be NULL. */
    vqc_stats **made;
} vqc_pipeline_options;

/*
 * Compresses `model` in place by `recipe` and fills the layers, notes, versions and weight totals
 * of `report` (whose arena must be there). Sizes of the files, gates and times are the caller's.
 */
vqc_status vqc_pipeline_run(vqc_model *model, const vqc_recipe *recipe,
                            const vqc_pipeline_options *options, vqc_report *report,
                            vqc_error *error);

#endif
