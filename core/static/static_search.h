/* Static quantization, the search: how much, by which observers, and what must stay float. */
#ifndef VQC_CORE_STATIC_STATIC_SEARCH_H
#define VQC_CORE_STATIC_STATIC_SEARCH_H

#include "core/report.h"
#include "core/static/measure.h"
#include "core/static/static_plan.h"

typedef struct vqc_static_search {
    vqc_static_plan *plan;
    const vqc_reference *reference; /* the float model's outputs on samples kept apart */
    int threads;
    uint64_t sample_work; /* multiply-adds of one sample, to bound the number of trials */
    vqc_report *report;
    vqc_score score; /* of the plan as it stands */
    /* By vqc_static_mode: what the plan is worth with the observers that it came with. */
    vqc_score modes[2];
    bool is_scored[2];
    size_t trials;   /* models that were run */
    bool target_met; /* true also when no target was set */
    void (*progress)(void *context, const char *stage, size_t done, size_t total);
    void *progress_context;
} vqc_static_search;

/*
 * Decides the plan by measuring: chains or only linear operators (recipe: auto), observers
 * (auto: first one for all, then tensor by tensor), bias correction (auto), and, when the accuracy
 * target is missed, which units stay float or get 16-bit activations: those whose quantization
 * alone costs most go first, until the target is met. What it did goes into the report's notes.
 * Deterministic: the number of trials is bounded by work, not time.
 */
vqc_status vqc_static_search_run(vqc_static_search *search, vqc_error *error);

/* Whether the recipe leaves anything to vqc_static_search_run or sets a target. */
bool vqc_static_search_needed(const vqc_static_plan *plan);

/* Sets the plan's mode and scores what it would write, unless search->is_scored. */
vqc_status vqc_static_search_mode(vqc_static_search *search, vqc_static_mode mode, vqc_score *out,
                                  vqc_error *error);

#endif
