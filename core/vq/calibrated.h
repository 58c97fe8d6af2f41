/*
 * Coding weights by what their layers see: the layers that can be observed are coded in the order
 * of the graph, each against what the layers coded before it feed it.
 */
#ifndef VQC_CORE_VQ_CALIBRATED_H
#define VQC_CORE_VQ_CALIBRATED_H

#include "core/data/samples.h"
#include "core/plan.h"
#include "core/report.h"

typedef struct vqc_calibrated_job {
    vqc_graph *graph;
    vqc_plan *plan; /* resolved and prepared */
    const vqc_recipe *recipe;
    vqc_arena *arena; /* the model's: codes become the file's payloads */
    vqc_samples *samples;
    bool for_static; /* only codebooks of static layers, whose biases are corrected later */
    int threads;
    vqc_report *report;
    void (*progress)(void *context, const char *stage, size_t done, size_t total);
    void *progress_context;
} vqc_calibrated_job;

/*
 * Leaves the codes in plan->layers[].code and writes corrected biases into the model. Layers that
 * cannot be observed, or whose values cannot be coded, are left to be coded by themselves. Source:
 * error feedback after GPTQ (Frantar et al. 2022), with targets adjusted to the inputs that the
 * coded model has (docs/VQ.md).
 */
vqc_status vqc_calibrated_run(vqc_calibrated_job *job, vqc_error *error);

#endif
