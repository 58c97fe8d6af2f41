/*
 * What a model's outputs are worth: accuracy against labels, and the distance to another model's
 * outputs on the same samples. Every figure is a sum over samples, kept by sample and added in
 * their order, so nothing depends on the number of threads. Outputs are not kept.
 */
#ifndef VQC_CORE_EVALUATE_H
#define VQC_CORE_EVALUATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/data/samples.h"
#include "core/exec/program.h"
#include "core/vqc.h"

/* Looks into both models of vqc_compare while some of the samples run. */
typedef struct vqc_compare_taps {
    size_t
        samples; /* that are looked at, evenly spread over all, one at a time; others in parallel */
    vqc_tap taps[2]; /* of the reference, of the model: of the values that the programs were made
                        with */
    void (*begin)(void *context, size_t which); /* before the reference runs; which < samples */
    void *context;
} vqc_compare_taps;

typedef struct vqc_evaluate_options {
    int threads;  /* 0: one per core */
    size_t first; /* samples first, first + step, ... below limit, as in vqc_samples_for_each */
    size_t step;  /* 0: 1 */
    size_t limit; /* 0: all */
    /* Called with the number of samples done so far, one thread at a time; may be NULL. */
    void (*progress)(void *context, size_t done, size_t total);
    void *progress_context;
    const vqc_compare_taps *taps; /* vqc_compare only; may be NULL */
} vqc_evaluate_options;

/*
 * Accuracy of output 0.
 *
 * Classes (samples with labels): the output without its dimensions of 1 is [classes], or
 * [labels, classes] when a sample has several labels (a batch, a sequence). top1: share of labels
 * that are the first largest value; top5: share whose value is among the five largest, equal values
 * counting in the order of their classes. A row with a NaN is a miss. An integer output with one
 * value per label is the class itself.
 *
 * Mean squared error (samples with a target): sum (y - t)^2 / n over all values.
 *
 * Perplexity (an integer input [batch, seq], a float output [batch, seq, vocabulary], no labels):
 * exp of the mean of -log softmax(y[b, t])[input[b, t + 1]] over all b and t < seq - 1.
 */
typedef struct vqc_evaluation {
    size_t samples;     /* that were run */
    uint64_t nonfinite; /* NaN and infinities in all outputs */
    uint64_t labelled;  /* labels compared; 0: no classes */
    uint64_t top1_hits;
    uint64_t top5_hits;
    size_t classes;         /* of the last sample with labels; 0: the output is the class */
    double top1;            /* top1_hits / labelled, NaN without labels */
    double top5;            /* NaN without labels, and when there are no more than 5 classes */
    uint64_t target_values; /* values compared with targets; 0: none */
    double mse;             /* NaN without targets */
    uint64_t tokens;        /* predicted tokens; 0: not a token model */
    double cross_entropy;   /* mean, in nats; NaN without tokens */
    double perplexity;
    const char *output; /* name of output 0, the program's */
} vqc_evaluation;

/* Runs all samples through the program. options may be NULL. Errors: what reading or running a
 * sample says (of the lowest sample); VQC_ERR_MODEL for labels, targets or tokens that do not fit
 * the output. */
vqc_status vqc_evaluate(const vqc_program *program, vqc_samples *samples,
                        const vqc_evaluate_options *options, vqc_evaluation *out, vqc_error *error);

/* One output of two models over all samples together. */
typedef struct vqc_output_comparison {
    const char *name; /* of the reference's program */
    int32_t dtype;    /* of the reference */
    bool is_integer;  /* integers and bools are only compared for equality */
    /* Floats: count, mse, sqnr_db = 10 log10(sum ref^2 / sum (ref - got)^2), max_abs_error, cosine;
     * NaN as soon as a value is not finite in one model and different in the other. Values that are
     * the same infinity, or NaN, in both are left out. */
    vqc_metrics metrics;
    uint64_t nonfinite_ref; /* NaN and infinities in the reference's output */
    uint64_t nonfinite;     /* in the other model's */
    uint64_t values;        /* integers: compared */
    uint64_t equal;         /* integers: the same */
    /* Where the output without its dimensions of 1 is [classes] or [rows, classes]: rows whose
     * first largest value is at the same place in both. rows 0: it is not. */
    uint64_t rows;
    uint64_t top1_equal;
} vqc_output_comparison;

typedef struct vqc_comparison {
    vqc_output_comparison *outputs; /* [output_count], in the reference's order */
    size_t output_count;
    vqc_evaluation reference; /* accuracy of both, as vqc_evaluate would say */
    vqc_evaluation model;
} vqc_comparison;

/*
 * Runs every sample through both programs. Inputs and outputs belong together by name, outputs
 * without a counterpart by their place; samples must have been opened with the reference's inputs,
 * float inputs are rounded to the other model's type. *out is the caller's; the programs must
 * outlive it. Errors as vqc_evaluate; VQC_ERR_MODEL when the models' inputs or outputs do not fit
 * each other.
 */
vqc_status vqc_compare(const vqc_program *reference, const vqc_program *program,
                       vqc_samples *samples, const vqc_evaluate_options *options,
                       vqc_comparison **out, vqc_error *error);

/* Frees; accepts NULL; sets *comparison to NULL. */
void vqc_comparison_destroy(vqc_comparison **comparison);

#endif
