/* Both models side by side, value by value: where inside the model the error arises. */
#ifndef VQC_CORE_VERIFY_H
#define VQC_CORE_VERIFY_H

#include "core/data/samples.h"
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

/*
 * Runs both models on the first `sample_limit` samples and compares every float value that both
 * main graphs compute under one name with one shape; model order. *out: [*count] in arena. Errors:
 * those of the executor and of the samples.
 */
vqc_status vqc_verify_values(const vqc_graph *original, const vqc_graph *written,
                             vqc_samples *samples, size_t sample_limit, vqc_arena *arena,
                             vqc_value_noise **out, size_t *count, vqc_error *error);

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
