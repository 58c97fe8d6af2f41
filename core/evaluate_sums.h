/* The sums of one sample that core/evaluate.h adds up, and the reading of numbers that scores need.
 * Only for core/evaluate*.c and core/static/measure.c. */
#ifndef VQC_CORE_EVALUATE_SUMS_H
#define VQC_CORE_EVALUATE_SUMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/data/samples.h"
#include "core/exec/buffer.h"
#include "core/exec/program.h"
#include "kernels/kernels.h"

/* Accuracy of one sample. */
typedef struct vqc_accuracy_sums {
    uint64_t nonfinite;
    uint64_t labelled;
    uint64_t top1_hits;
    uint64_t top5_hits;
    size_t classes;
    uint64_t target_values;
    double sum_err2;
    uint64_t tokens;
    double sum_nll; /* -log probability of the tokens that came, in nats */
} vqc_accuracy_sums;

/* One output of two models for one sample. */
typedef struct vqc_pair_sums {
    vqc_error_sums errors;
    bool poisoned; /* a value that is not finite in one and different in the other */
    uint64_t nonfinite_ref;
    uint64_t nonfinite;
    uint64_t values;
    uint64_t equal;
    uint64_t rows;
    uint64_t top1_equal;
} vqc_pair_sums;

/* n <= VQC_EXEC_CHUNK values from element `at` on as double; a class of numbers. */
void vqc_buffer_load_f64(const vqc_buffer *buffer, size_t at, size_t n, double *values);

/* The place of the first largest of the values [first, first + count), counted from `first` on;
 * `count` when there is a NaN; 0 when there are none or all are -infinity. */
size_t vqc_buffer_argmax(const vqc_buffer *buffer, size_t first, size_t count);

/* Adds what outputs [output_count] say to *sums. `tokens` is the input that output 0 predicts, or
 * NULL. Errors: VQC_ERR_MODEL for labels, targets or tokens that do not fit output 0. */
vqc_status vqc_accuracy_add(const vqc_sample *sample, const vqc_buffer *tokens,
                            vqc_buffer *const *outputs, size_t output_count,
                            vqc_accuracy_sums *sums, vqc_error *error);

/* Which input of the program output 0 predicts token by token, or input_count: an integer one that
 * is called input_ids or is the first of its kind, when output 0 is a float of rank 3. */
size_t vqc_accuracy_token_input(const vqc_program *program);

/* Whether the tokens [batch, seq] and the output [batch, seq, vocabulary] belong together. */
bool vqc_accuracy_tokens_fit(const vqc_buffer *tokens, const vqc_buffer *output);

/* Compares one output; VQC_ERR_MODEL when shapes or kinds differ (`name` is in the message). */
vqc_status vqc_pair_add(const vqc_buffer *ref, const vqc_buffer *got, const char *name,
                        vqc_pair_sums *sums, vqc_error *error);

#endif
