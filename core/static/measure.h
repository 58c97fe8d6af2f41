/*
 * What a change to a model costs, measured: the original's outputs on some samples are kept, and
 * changed models are run on the same samples against them.
 */
#ifndef VQC_CORE_STATIC_MEASURE_H
#define VQC_CORE_STATIC_MEASURE_H

#include "core/data/samples.h"
#include "core/graph.h"

typedef struct vqc_reference vqc_reference;

enum { VQC_SCORE_SAMPLES = 64 };

typedef struct vqc_score {
    double sqnr_db; /* 10 log10(sum ref^2 / sum (ref - got)^2) over all samples: worst output */
    size_t worst_output; /* which one */
    size_t values;       /* compared in it */
    double agreement;    /* share of samples with the same top-1 class in output 0 */
    double
        accuracy_ref; /* share of samples whose label is the original's top-1; NAN without labels */
    double accuracy;  /* the same of the changed model */
    size_t samples;
    size_t nonfinite; /* NaN and infinities in the outputs of the changed model */
    double sample_noise[VQC_SCORE_SAMPLES]; /* of the first samples: sum of (ref - got)^2 over that
                                               of ref^2 of all samples; of all outputs together */
} vqc_score;

/* What a score means as noise: its share of the output's power; HUGE_VAL with NaN or infinities. */
double vqc_score_noise(const vqc_score *score);

/* Whether `after` is better by at least least_db, and by more than chance: by two standard errors
 * of the differences between the same (first 64) samples. */
bool vqc_score_gains(const vqc_score *before, const vqc_score *after, double least_db);

/*
 * Runs `graph` on samples first, first + step, ... (at most `limit` of them) and keeps inputs and
 * outputs in memory (at most max_bytes of them together; fewer samples then). At least one sample.
 */
vqc_status vqc_reference_create(const vqc_graph *graph, vqc_samples *samples, size_t first,
                                size_t step, size_t limit, size_t max_bytes, int threads,
                                vqc_reference **out, vqc_error *error);
void vqc_reference_destroy(vqc_reference **reference);

size_t vqc_reference_count(const vqc_reference *reference);

/*
 * Runs a changed model (same inputs and outputs) on the first `samples` of the kept samples (0:
 * all). Integer and bool outputs count as the numbers that they are. Same result at every thread
 * count.
 */
vqc_status vqc_reference_score(const vqc_reference *reference, const vqc_model *model,
                               size_t samples, int threads, vqc_score *out, vqc_error *error);

/* Inputs of a kept sample in the order of the program's, NULL where a default is taken. */
const vqc_buffer *const *vqc_reference_inputs(const vqc_reference *reference, size_t sample);

size_t vqc_reference_outputs(const vqc_reference *reference);

/* The score when outputs[sample * vqc_reference_outputs() + output] came on the first `samples`
 * samples; NULL: the same as the original's. */
vqc_status vqc_reference_compare(const vqc_reference *reference, const vqc_buffer *const *outputs,
                                 size_t samples, vqc_score *out, vqc_error *error);

#endif
