/* Static quantization: equalization tried, measured, and kept where it helps. */
#ifndef VQC_CORE_STATIC_STATIC_EQUALIZE_H
#define VQC_CORE_STATIC_STATIC_EQUALIZE_H

#include "core/static/static_run.h"
#include "core/static/static_search.h"

/*
 * Equalizes the model's weights as the recipe says (static.equalize): cross_layer and smooth are
 * carried out, auto only where the quantized model's output SQNR on samples kept apart gains by it.
 * The plan must be observed with `stats` and its weights coded; both are made anew for what was
 * equalized. *own: the observations that the plan then stands on when they are not `stats` (the
 * caller's to destroy, after the plan's last use), else NULL. What was gained goes into the notes.
 * Measures by `search`, which keeps the scores of what the plan has become.
 */
vqc_status vqc_static_equalize(vqc_static_job *job, vqc_static_search *search,
                               const vqc_stats *stats, vqc_stats **own, vqc_error *error);

#endif
