/* Static quantization as a stage of the pipeline: calibrate, fit, search, and rewrite the graph. */
#ifndef VQC_CORE_STATIC_STATIC_RUN_H
#define VQC_CORE_STATIC_STATIC_RUN_H

#include "core/data/samples.h"
#include "core/report.h"
#include "core/static/static_plan.h"

typedef struct vqc_static_job {
    vqc_graph *graph;
    vqc_plan *plan; /* resolved and prepared */
    const vqc_recipe *recipe;
    vqc_arena *arena;       /* lives as long as the codes are needed */
    vqc_samples *samples;   /* to calibrate with, and to measure with those kept apart */
    vqc_stats *stats;       /* from a calibration cache, or NULL; else made here */
    const char *stats_path; /* of that cache, for messages */
    bool keep_stats;        /* for a cache: observe also what this recipe has no use for */
    int threads;
    vqc_report *report;
    void (*progress)(void *context, const char *stage, size_t done, size_t total);
    void *progress_context;
} vqc_static_job;

/*
 * Calibrates (unless job.stats is there), codes the weights, decides by measuring, writes the
 * decisions into the model's main graph (whose index is stale afterwards) and leaves the codes of
 * quantized layers in plan->layers[].code; layers that stay float lose is_static. Observations are
 * left in job.stats (the caller's to destroy).
 */
vqc_status vqc_static_run(vqc_static_job *job, vqc_error *error);

/* Observes what a plan needs on the samples that are not kept apart; on all of them when nothing is
 * measured: the recipe decides everything and does not verify. */
vqc_status vqc_static_calibrate(const vqc_static_job *job, const vqc_static_plan *plan,
                                vqc_stats **stats, vqc_error *error);

#endif
