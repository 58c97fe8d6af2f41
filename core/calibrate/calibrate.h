/* Calibration: runs a model over samples and keeps an observation of every value asked for. */
#ifndef VQC_CORE_CALIBRATE_CALIBRATE_H
#define VQC_CORE_CALIBRATE_CALIBRATE_H

#include "core/calibrate/observer.h"
#include "core/data/samples.h"
#include "core/graph.h"

/* One observed tensor. */
typedef struct vqc_tensor_stats {
    const char *name; /* of the value in the main graph, in the arena of the stats */
    vqc_observation all;
    /* Per channel along channel_axis (1 for values of rank > 2 as Conv sees them, the last axis
     * otherwise), when the channel count was the same in all samples; else channels = 0. */
    size_t channels;
    int channel_axis;
    double *channel_mean;  /* [channels] mean over all finite values */
    float *channel_absmax; /* [channels] */
} vqc_tensor_stats;

typedef struct vqc_stats {
    vqc_arena *arena;
    vqc_tensor_stats *tensors; /* [count], sorted by name */
    size_t count;
    uint64_t samples;
    uint64_t fingerprint; /* of the model: names and payload of its weights; 0: unknown */
} vqc_stats;

typedef struct vqc_calibrate_options {
    int threads;
    size_t first, step,
        limit; /* which samples: see vqc_samples_for_each; step 0: 1; limit 0: all */
    void (*progress)(void *context, const char *stage, size_t done, size_t total);
    void *progress_context;
} vqc_calibrate_options;

/*
 * Runs the samples and observes `values` [value_count] of the main graph (float types only; others
 * are left out). Same result at every thread count. Memory: one runner per thread plus the
 * observations. Errors: those of the executor and the samples. *out is freed by vqc_stats_destroy.
 */
vqc_status vqc_calibrate(const vqc_graph *graph, const vqc_value *const *values, size_t value_count,
                         vqc_samples *samples, const vqc_calibrate_options *options,
                         vqc_stats **out, vqc_error *error);

void vqc_stats_destroy(vqc_stats **stats);

/* The tensor `name`, or NULL. */
const vqc_tensor_stats *vqc_stats_find(const vqc_stats *stats, const char *name);

/* Adds another calibration of the same model (VQC_ERR_MODEL when fingerprints differ); tensors that
 * only one of them has are kept. */
vqc_status vqc_stats_merge(vqc_stats *into, const vqc_stats *other, vqc_error *error);

/* Fingerprint of a model's weights and structure for vqc_stats.fingerprint; never 0. */
uint64_t vqc_stats_fingerprint(const vqc_model *model);

#endif
