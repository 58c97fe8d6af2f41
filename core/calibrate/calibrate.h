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
    /*
     * Per channel, when rank, axis and number of channels were the same in all samples and there
     * are at most VQC_STATS_MAX_CHANNELS; else channels = 0. The channel axis is 1 next to
     * convolutions, pools and batch normalisations, the last next to MatMul and Gemm; other values
     * have it at 1 from rank 4 on, else at the end.
     */
    size_t channels;
    int channel_axis;
    double *channel_mean;       /* [channels] mean over all finite values, 0 without any */
    float *channel_absmax;      /* [channels] */
    uint64_t *channel_elements; /* [channels] finite values */
} vqc_tensor_stats;

enum { VQC_STATS_MAX_CHANNELS = 1 << 16 };

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
    /* Of which values [value_count] the distribution is wanted; NULL: of all. The others' bins stay
     * empty: their observations are good for minmax and moving averages only. */
    const bool *histograms;
    bool no_channels; /* nothing per channel is wanted */
    void (*progress)(void *context, const char *stage, size_t done, size_t total);
    void *progress_context;
} vqc_calibrate_options;

/*
 * Runs the samples and observes `values` [value_count] of the main graph (float types only; others
 * are left out, and so are values that no sample computed). Same bits at every thread count: counts
 * are integers, sums of the samples' sums are exact. Memory: one runner per thread plus the
 * observations, whatever the number of samples. Errors: those of the executor and the samples. *out
 * is freed by vqc_stats_destroy.
 */
vqc_status vqc_calibrate(const vqc_graph *graph, const vqc_value *const *values, size_t value_count,
                         vqc_samples *samples, const vqc_calibrate_options *options,
                         vqc_stats **out, vqc_error *error);

void vqc_stats_destroy(vqc_stats **stats);

/* The tensor `name`, or NULL. */
const vqc_tensor_stats *vqc_stats_find(const vqc_stats *stats, const char *name);

/* Appends one line for each tensor that had NaN or infinite values: "value 'x': 12 NaN, 3 infinite
 * of 4000". */
vqc_status vqc_stats_report_nonfinite(const vqc_stats *stats, vqc_messages *list);

/* Adds another calibration of the same model (VQC_ERR_MODEL when fingerprints differ); tensors that
 * only one of them has are kept. After an error `into` is as it was. */
vqc_status vqc_stats_merge(vqc_stats *into, const vqc_stats *other, vqc_error *error);

/* Fingerprint of a model's weights and structure for vqc_stats.fingerprint; never 0. */
uint64_t vqc_stats_fingerprint(const vqc_model *model);

#endif
