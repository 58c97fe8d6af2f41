/*
 * Observers: what is kept of a tensor's values while samples stream by, in constant memory, and the
 * ranges that are made of it.
 */
#ifndef VQC_CORE_CALIBRATE_OBSERVER_H
#define VQC_CORE_CALIBRATE_OBSERVER_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef enum vqc_observer_kind {
    VQC_OBSERVER_AUTO,           /* per tensor the one with the least output error */
    VQC_OBSERVER_MINMAX,         /* extremes over all samples */
    VQC_OBSERVER_MOVING_AVERAGE, /* of the samples' extremes */
    VQC_OBSERVER_PERCENTILE,     /* of the histogram, both tails */
    VQC_OBSERVER_ENTROPY,        /* least Kullback-Leibler divergence over clip points */
    VQC_OBSERVER_MSE             /* least mean squared error over clip points */
} vqc_observer_kind;

enum {
    VQC_OBSERVER_BINS = 8192, /* so that at least 2048 lie between 0 and the largest magnitude */
    VQC_OBSERVER_HALF_BINS = VQC_OBSERVER_BINS / 2
};

/* Weight of a new sample in the moving averages. */
#define VQC_OBSERVER_AVERAGING 0.01

/*
 * Statistics of one tensor. A plain struct, so that it can be copied, compared, merged and written
 * to a calibration cache. Bins cover [-limit, limit] and count the finite values other than zero:
 * with w = limit / VQC_OBSERVER_HALF_BINS, x > 0 is in bin HALF + floor(x / w), x < 0 in bin
 * HALF - 1 - floor(-x / w). limit is the smallest power of two above all magnitudes (2^-100 at
 * least; 2^127 at most, where the last bin holds what is larger) and grows by joining pairs of
 * bins, which is exact and independent of the order of the samples.
 */
typedef struct vqc_observation {
    uint64_t samples;  /* runs seen */
    uint64_t elements; /* finite values seen */
    uint64_t zeros;    /* of these; they are not in the bins */
    uint64_t nan_count;
    uint64_t infinite_count;
    float min, max;                  /* of the finite values; +inf, -inf before the first */
    double sum, sum_squares;         /* of the finite values */
    double average_min, average_max; /* moving average of the samples' extremes, in sample order */
    double first_min, first_max;     /* where the moving averages began */
    uint64_t averaged;               /* samples in them: those with a finite value */
    float limit;                     /* 0: no value but zeros seen */
    uint64_t bins[VQC_OBSERVER_BINS];
} vqc_observation;

/* What one pass over an array finds. Starts as VQC_VALUE_MOMENTS_NONE; accumulates. */
typedef struct vqc_value_moments {
    uint64_t elements, zeros, nan_count, infinite_count;
    float min, max;
    double sum, sum_squares;
} vqc_value_moments;

#define VQC_VALUE_MOMENTS_NONE ((vqc_value_moments){.min = INFINITY, .max = -INFINITY})

/* A range of real values that codes cover; always contains 0. */
typedef struct vqc_range {
    float min, max;
} vqc_range;

void vqc_observation_init(vqc_observation *o);

/* Adds the values of one sample, x [n], float32, may be unaligned. NaN and infinities are counted
 * and otherwise passed over. */
void vqc_observe(vqc_observation *o, const float *x, size_t n);

/* Adds the moments of x [n] to *moments; the first half of vqc_observe. */
void vqc_value_moments_add(vqc_value_moments *moments, const float *x, size_t n);

/* Counts x [n] into the bins, whose limit grows as needed; absmax: the largest finite magnitude in
 * x. Independent of the order of calls. The second half of vqc_observe. */
void vqc_observation_count(vqc_observation *o, const float *x, size_t n, float absmax);

/* The limit grows as if x had been counted; the bins stay. */
void vqc_observation_reach(vqc_observation *o, float absmax);

/* Adds the moments of one sample (all fields but the bins): samples rises by one. */
void vqc_observation_add_sample(vqc_observation *o, const vqc_value_moments *moments);

/*
 * Adds what another observation saw. All fields but the moving averages are independent of order
 * (sum and sum_squares up to double rounding: merge in a fixed order for the same bits); the moving
 * averages continue as if the other's samples came afterwards.
 */
void vqc_observation_merge(vqc_observation *into, const vqc_observation *other);

/* How codes lie: what the searches of entropy and mse minimise over. */
typedef struct vqc_observer_options {
    vqc_observer_kind kind; /* not AUTO */
    double percentile;      /* 99.99: share inside the range, each tail gets half the rest */
    int bits;               /* 8 or 16 */
    bool symmetric;         /* range [-r, r] */
} vqc_observer_options;

/* The range of one tensor by one observer. {0, 0} when nothing but zeros was seen; MINMAX when the
 * kind's search has nothing to decide (entropy with more levels than bins, a percentile that would
 * leave only 0). Formulas and sources: docs/CALIBRATION.md. */
vqc_range vqc_observation_range(const vqc_observation *o, const vqc_observer_options *options);

/* Mean squared error of quantizing what the histogram holds to `bits` over `range`, estimated from
 * the bins (uniform inside a bin, zeros exact): asymmetric with 2^bits - 1 steps and a rounded zero
 * point, symmetric with 2^(bits - 1) - 1 steps to each side of 0. */
double vqc_observation_mse(const vqc_observation *o, vqc_range range, int bits, bool symmetric);

/* Kullback-Leibler divergence that ENTROPY minimises, for clipping at `bins` bins to each side of
 * zero; INFINITY where it is not defined. For tests and reports. */
double vqc_observation_divergence(const vqc_observation *o, const vqc_observer_options *options,
                                  uint32_t bins);

/* "auto", "minmax", "moving_average", "percentile", "entropy", "mse" */
const char *vqc_observer_name(vqc_observer_kind kind);

#endif
