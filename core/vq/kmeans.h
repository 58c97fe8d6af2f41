/* k-means: training codebooks, and nearest codewords. */
#ifndef VQC_CORE_VQ_KMEANS_H
#define VQC_CORE_VQ_KMEANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct vqc_kmeans_options {
    size_t dim;                 /* 1..32 */
    size_t count;               /* K: codewords, 1..65536 */
    size_t iterations;          /* at most, per stage of a training: an effort */
    double tolerance;           /* stop when an iteration gains less than this share of the error */
    size_t points_per_codeword; /* train on at most this many times K points, drawn with the seed;
                                   0: all */
    uint64_t seed;
    int threads; /* at most; the result does not depend on it */
} vqc_kmeans_options;

/* dim and count given, the rest at its defaults. */
vqc_kmeans_options vqc_kmeans_options_default(size_t dim, size_t count);

/* What training did. */
typedef struct vqc_kmeans_result {
    size_t iterations; /* those on small samples of the points included */
    size_t repaired;   /* empty codewords that were given a new place */
    double error;      /* weighted squared error per point of the training sample, last iteration */
} vqc_kmeans_result;

/*
 * Trains codebook [count, dim] on points [n, dim] (row-major). weights: NULL, or [n, dim] when
 * per_entry, else [n]: importance of a point or of each of its entries, >= 0. When n <= count every
 * point gets a codeword and the rest repeat. dim 1 is solved exactly (dynamic programming on sorted
 * values; on a histogram of 65536 quantiles when there are more). result may be NULL. Errors: out
 * of memory. Values must be finite.
 */
vqc_status vqc_kmeans_train(const float *points, size_t n, const float *weights, bool per_entry,
                            const vqc_kmeans_options *options, float *codebook,
                            vqc_kmeans_result *result, vqc_error *error);

/*
 * Nearest codeword of every point (the lowest index among equals): codes [n]; distances [n]
 * squared, or NULL. weights as above with per_entry (a weight per point changes nothing): NULL, or
 * [n, dim].
 */
vqc_status vqc_kmeans_assign(const float *points, size_t n, const float *weights,
                             const float *codebook, size_t dim, size_t count, int threads,
                             uint16_t *codes, float *distances, vqc_error *error);

#endif
