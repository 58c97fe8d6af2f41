/*
 * Samples: the inputs (and labels) that a model is calibrated, verified and evaluated with. Core
 * code sees only this; formats/ reads npz, pb folders and pictures behind it.
 */
#ifndef VQC_CORE_DATA_SAMPLES_H
#define VQC_CORE_DATA_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/exec/buffer.h"
#include "core/exec/program.h"

enum { VQC_SAMPLES_NO_LABEL = -1, VQC_SAMPLES_MAX_SLOTS = 1024 };

/* One run of the model. */
typedef struct vqc_sample {
    size_t index;
    const vqc_buffer *const *inputs; /* [input count of the program], NULL: left to its default */
    const int64_t *labels;           /* [label_count] classes, or tokens; NULL without */
    size_t label_count;
    /* float targets with the shape of output 0 (mean squared error); NULL without */
    const vqc_buffer *target;
} vqc_sample;

typedef struct vqc_samples vqc_samples;

/*
 * A source of samples. `read` fills `out` with sample `index`, whose memory the source keeps until
 * `release` is called with the same slot; slots [0, slot_count) are the callers' threads, each of
 * which holds at most one sample, slot_count <= VQC_SAMPLES_MAX_SLOTS. With `sequential`, reads
 * come one at a time and in increasing order (leaving samples out is allowed; an index that is not
 * above the last one begins a new pass); else from several threads at once.
 *
 * A sample may have `views`: other crops of a picture, mirrored or not, that a model should take
 * for the same. Index count * v + i reads view v of sample i; [0, count) are the samples as they
 * are. A source with views is not sequential. Only what fits weights to inputs reads other views.
 */
struct vqc_samples {
    size_t count;
    size_t views; /* of each sample, 0 and 1: one; see above */
    bool sequential;
    bool has_labels;
    bool is_synthetic;
    bool is_finite;     /* no input can be NaN or infinite: pictures, random numbers */
    size_t input_count; /* of vqc_sample.inputs */
    const char *path;   /* for messages */
    vqc_status (*read)(vqc_samples *self, size_t index, size_t slot, vqc_sample *out,
                       vqc_error *error);
    void (*release)(vqc_samples *self, size_t slot);
    void (*destroy)(vqc_samples *self);
    void *state;
};

/* Samples with all their views: indices that can be read. */
size_t vqc_samples_total(const vqc_samples *samples);

/* The k-th of `wanted` places evenly spread over [0, total): floor(k * total / wanted) without
 * overflow. The first is 0; at least k where total >= wanted. */
size_t vqc_samples_spread(size_t k, size_t wanted, size_t total);

/*
 * 64 random bits, the same for the same key; keys that are VQC_SAMPLES_DRAW_STEP apart give the
 * numbers of SplitMix64, a counter through a bijective mixing function. Source: Steele, Lea and
 * Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
 */
#define VQC_SAMPLES_DRAW_STEP UINT64_C(0x9e3779b97f4a7c15)
uint64_t vqc_samples_draw(uint64_t key);

/* Frees the source; accepts NULL; sets *samples to NULL. */
void vqc_samples_destroy(vqc_samples **samples);

/* Called for one sample; several threads at once, `slot` tells them apart. */
typedef vqc_status vqc_sample_fn(void *context, size_t slot, const vqc_sample *sample,
                                 vqc_error *error);

/*
 * Calls `run` for samples first, first + step, ... below `limit` (and below count) from `threads`
 * threads (0: one per core), handed out in order (step 0 counts as 1). What `run` adds up must not
 * depend on the order: keep results by sample index, or in exact sums. The first error (of the
 * lowest index) is returned.
 */
vqc_status vqc_samples_for_each(vqc_samples *samples, size_t first, size_t step, size_t limit,
                                int threads, vqc_sample_fn *run, void *context, vqc_error *error);

/* How many slots vqc_samples_for_each uses with `threads` (0: one per core). */
size_t vqc_samples_slots(int threads);

#endif
