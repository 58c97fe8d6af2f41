/* The outputs of `vqc run`: figures, and arrays to write. */
#ifndef VQC_CLI_RUN_RESULTS_H
#define VQC_CLI_RUN_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/data/samples.h"
#include "core/exec/program.h"

/* Figures of one output of one sample. */
typedef struct vqc_run_figures {
    int32_t dtype;
    size_t rank;
    int64_t dims[VQC_EXEC_MAX_RANK];
    uint64_t count;     /* finite values */
    uint64_t nonfinite; /* others */
    double min;         /* of the finite ones */
    double max;
    double sum;
} vqc_run_figures;

typedef struct vqc_run_results {
    size_t samples;
    size_t output_count;
    const vqc_program_port *ports; /* [output_count] */
    vqc_run_figures *figures;      /* [samples][output_count] */
    vqc_buffer **kept;             /* [samples][output_count] when they are written, or NULL */
    vqc_step_profile *profile;     /* [profile_count] all threads together, or NULL */
    size_t profile_count;
    size_t peak_bytes; /* largest sum of arrays alive in one thread */
} vqc_run_results;

typedef struct vqc_run_model_options {
    size_t limit; /* 0: all samples */
    int threads;
    bool keep; /* fill `kept` */
    bool profile;
    void (*progress)(void *context, const char *stage, size_t done, size_t total);
    void *progress_context;
} vqc_run_model_options;

/* Runs the samples. On success the results are the caller's. */
vqc_status vqc_run_samples(const vqc_program *program, vqc_samples *samples,
                           const vqc_run_model_options *options, vqc_run_results *out,
                           vqc_error *error);
void vqc_run_results_clear(vqc_run_results *results);

/* Whether the outputs can be written to `path` (.npz, or .pb for one output of one sample). Errors:
 * VQC_ERR_USAGE. */
vqc_status vqc_run_check_output(const char *path, const vqc_program *program, size_t samples,
                                vqc_error *error);

/* Writes `kept`: one array per output, all samples along a new leading axis when there are several.
 * In .npz, bfloat16 and floats of 8 bits and fewer become float32, 4-bit integers int8. Errors:
 * VQC_ERR_MODEL (shapes that differ between samples), VQC_ERR_IO. */
vqc_status vqc_run_write(const char *path, const vqc_run_results *results, vqc_error *error);

/* Prints the table of outputs. */
void vqc_run_show(const vqc_run_results *results);

/* Prints the steps that took longest. */
void vqc_run_show_profile(const vqc_run_results *results);

#endif
