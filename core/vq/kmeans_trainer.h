/* A training of k-means in progress: what its stages share. */
#ifndef VQC_CORE_VQ_KMEANS_TRAINER_H
#define VQC_CORE_VQ_KMEANS_TRAINER_H

#include "core/memory.h"
#include "core/vq/kmeans_parts.h"

typedef struct kmeans_share {
    double share;
    size_t codeword;
} kmeans_share;

/*
 * Row k of sums: the features of the points of codeword k, their weights, their powers, each times
 * the point's weight. Arrays are large enough for the last stage.
 */
typedef struct kmeans_trainer {
    const vqc_kmeans_options *options;
    const kmeans_points *points; /* of this stage */
    size_t count;                /* codewords of this stage */
    size_t columns;              /* of sums: features + 2 */
    size_t chunks;               /* of this stage */
    size_t max_chunks;
    float *book;
    double *sums;        /* [max_chunks][count][columns]; the total is chunk 0's */
    double *errors;      /* [count] weighted squared error of the points of a codeword */
    kmeans_share *order; /* [count] */
    kmeans_share *cheap; /* [count] and touched [count]: of an exchange */
    bool *touched;
    float *codebook; /* [count, dim] */
    float *kept;     /* [count, dim] a codebook to go back to */
    uint64_t random;
} kmeans_trainer;

/* Arrays for trainings with at most `count` codewords; false when out of memory. */
bool kmeans_trainer_make(kmeans_trainer *t, vqc_arena *arena, size_t n, size_t features,
                         size_t count);

/* The points and number of codewords that the following calls work on. */
void kmeans_trainer_stage(kmeans_trainer *t, const kmeans_points *points, size_t count);

/* One iteration: assigns every point, moves every codeword `stride` of the way to the mean of its
 * points. Returns the weighted squared error that the whole way leaves. */
double kmeans_iterate(kmeans_trainer *t, double stride);

/* Iterations until one gains less than `tolerance` of the error, at most `most`; codewords without
 * points get new places, at most t->count times. Returns the error; adds to *result. */
double kmeans_settle(kmeans_trainer *t, size_t most, double tolerance, vqc_kmeans_result *result);

/* For qsort: larger shares first, lower codewords first among equals. */
int kmeans_heavier_first(const void *a, const void *b);

/* t->order: codewords by their errors, the largest first. */
void kmeans_order(kmeans_trainer *t);

/* Codeword `to` becomes a neighbour of `from`, which gives way as far; random direction, size by
 * the error that `from` had in the last iteration. */
void kmeans_split_one(kmeans_trainer *t, size_t from, size_t to);

/* Codewords to begin with, for points of many times their number. Small codebooks: k-means++; large
 * ones: doubled again and again from a small one, with a few iterations in between, which keeps the
 * density of codewords. false when out of memory. */
bool kmeans_begin(kmeans_trainer *t, size_t count, vqc_kmeans_result *result);

/* Moves codewords that hardly matter beside those with the largest errors, as long as that helps:
 * at most `rounds` times. `error` is what kmeans_settle left; returns what is left now. */
double kmeans_exchange(kmeans_trainer *t, int rounds, double error, vqc_kmeans_result *result);

#endif
