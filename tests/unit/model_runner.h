/* Running models with one float32 input in unit tests, and samples for them in memory. */
#ifndef VQC_TESTS_UNIT_MODEL_RUNNER_H
#define VQC_TESTS_UNIT_MODEL_RUNNER_H

#include "core/data/samples.h"
#include "tests/unit/model_builder.h"

enum { RUNNER_MAX_RANK = 4 };

/* Samples of one float32 input with given dims, Gaussian values; the first field is the source. */
typedef struct runner_samples {
    vqc_samples source;
    int64_t dims[RUNNER_MAX_RANK];
    size_t rank;
    size_t elements; /* of one sample */
    float *values;   /* [count * elements], may be changed */
    int64_t *labels; /* [count], or NULL; may be set */
    size_t *reads;   /* [count] how often each sample was read */
    vqc_buffer views[64];
    const vqc_buffer *pointers[64];
} runner_samples;

/* Samples from a seed; released by runner_samples_end. */
runner_samples *runner_samples_make(size_t count, const int64_t *dims, size_t rank, uint64_t seed);
void runner_samples_end(runner_samples *samples);

/* The model's output `output` for x [elements]; asserts success. The caller's, vqc_buffer_destroy.
 */
vqc_buffer *runner_run(vqc_model *model, const int64_t *dims, size_t rank, const float *x,
                       size_t output);

/* Runs the model on Gaussian values from `seed` with that mean and deviation 1 and copies output 0
 * into out [capacity]; how many values that are. */
size_t runner_run_random(vqc_model *model, const int64_t *dims, size_t rank, uint64_t seed,
                         float mean, float *out, size_t capacity);

/* Asserts that both models give the same output 0 for Gaussian inputs from `seed`, up to
 * `tolerance` times the largest magnitude. */
void runner_assert_same(vqc_model *a, vqc_model *b, const int64_t *dims, size_t rank, uint64_t seed,
                        double tolerance);

/* Nodes of the main graph with that operator. */
size_t runner_count_nodes(const vqc_model *model, const char *op);

#endif
