/* Both models side by side, value by value: where inside the model the error arises. */
#ifndef VQC_CORE_VERIFY_H
#define VQC_CORE_VERIFY_H

#include "core/data/samples.h"
#include "core/evaluate.h"
#include "core/graph.h"
#include "core/report.h"
#include "core/vqc.h"

/* One value that both models compute under the same name. */
typedef struct vqc_value_noise {
    const vqc_value *value; /* in the original's graph */
    double ref2;            /* sum of squares of the original's values */
    double err2;            /* sum of squared differences */
    double noise;           /* err2 / ref2 */
    double added;           /* noise above that of the noisiest input of its node, at least 0 */
} vqc_value_noise;

/* What one pass over the samples finds. */
typedef struct vqc_verified {
    vqc_program *programs[2];   /* original, written: the comparison borrows names from them */
    vqc_comparison *comparison; /* of the outputs */
    vqc_value_noise *values;    /* [value_count] in the caller's arena, in model order */
    size_t value_count;
    size_t value_samples; /* that the values were compared on */
} vqc_verified;

/*
 * Runs both models (graphs: original, written) once on every sample and compares their outputs
 * and, on `value_samples` of the samples, every float value that both main graphs compute under one
 * name with one shape. *out is cleared with vqc_verified_clear also after an error. Errors: those
 * of vqc_compare.
 */
vqc_status vqc_verify_run(const vqc_graph *const graphs[2], vqc_samples *samples,
                          size_t value_samples, const vqc_evaluate_options *options,
                          vqc_arena *arena, vqc_verified *out, vqc_error *error);
void vqc_verified_clear(vqc_verified *verified);

typedef struct vqc_verify_options {
    int threads;
    bool held_out; /* the samples are calibration samples kept apart */
    void (*progress)(void *context, const char *stage, size_t done, size_t total);
    void *progress_context;
} vqc_verify_options;

/*
 * Runs the original and the written model on all samples and fills report->verification: outputs,
 * accuracy, and on a few samples the values inside. Names the node that adds most noise, with the
 * recipe lines that would exclude it, in a note when the worst output is below 20 dB. Errors:
 * VQC_ERR_MODEL when one of the models cannot be run.
 */
vqc_status vqc_verify_models(const vqc_model *original, const vqc_model *written,
                             vqc_samples *samples, const vqc_verify_options *options,
                             vqc_report *report, vqc_error *error);

#endif
