/*
 * Sequential calibration: walks a model layer by layer in graph order and tells of each layer what
 * it sees, in the original model (x) and in the model coded so far (y).
 *
 *     status = vqc_sequence_create(graph, layers, count, samples, NULL, &sequence, &error);
 *     while ((status = vqc_sequence_next(sequence, &batch, &error)) == VQC_OK && batch.count > 0) {
 *         for (size_t i = 0; i < batch.count; i++) {
 *             ... code layers[batch.items[i].layer] for batch.items[i].moments ...
 *             status = vqc_sequence_commit(sequence, batch.items[i].layer, decoded, bias, &error);
 *         }
 *     }
 *     vqc_sequence_destroy(&sequence);
 *
 * Of every sample the values that later nodes still need are kept for both models, so that each
 * node runs once per model. Nothing differs between the models before the first changed layer:
 * there, and wherever it does not reach, values are shared and run once. Results do not depend on
 * the number of threads.
 */
#ifndef VQC_CORE_VQ_SEQUENCE_H
#define VQC_CORE_VQ_SEQUENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/data/samples.h"
#include "core/error.h"
#include "core/graph.h"
#include "core/layer.h"
#include "core/vq/moments.h"

typedef struct vqc_sequence vqc_sequence;

typedef struct vqc_sequence_options {
    size_t
        max_samples; /* taken evenly from the source, other views only after all samples; 0: 64 */
    size_t max_vectors;        /* of a layer, over all samples; 0: as many as its moments gain by, 8
                                  per column, but at least 16384 and at most 65536 */
    int threads;               /* at most; 0: one per core */
    size_t memory_limit_bytes; /* of the values kept between two calls, taken as they come; 0: 1
                                  GiB. One layer's moments have as much, but at most 1 GiB */
} vqc_sequence_options;

/* One layer whose turn it is. */
typedef struct vqc_sequence_item {
    size_t layer; /* index in the list given to vqc_sequence_create */
    /*
     * NULL for a layer whose input is not observed: no Conv, Gemm or MatMul with its weight as
     * right operand, in a subgraph or function, read by another node before, values that are not
     * finite, or no input vectors at all. moments->second (and cross) are NULL when the layer has
     * too many inputs for the memory limit; means and power are there. Layers with the same input
     * share one struct.
     */
    const vqc_moments *moments;
    size_t samples; /* that the moments are of */
} vqc_sequence_item;

/* Valid until the next call of vqc_sequence_next or vqc_sequence_destroy. */
typedef struct vqc_sequence_batch {
    const vqc_sequence_item *items; /* [count] in graph order */
    size_t count;                   /* 0: every layer had its turn */
} vqc_sequence_batch;

/*
 * Begins a walk over the main graph. layers [count]: those that will be coded, each given once; the
 * rest of the model stays as it is. graph, its model and the layers must outlive the walk, and stay
 * unchanged; samples are read here (again only when the memory limit is very tight) and must
 * outlive it as well. options may be NULL. Errors: VQC_ERR_MODEL when the graph is malformed, what
 * reading samples reports, out of memory.
 */
vqc_status vqc_sequence_create(const vqc_graph *graph, const vqc_layer *const *layers, size_t count,
                               vqc_samples *samples, const vqc_sequence_options *options,
                               vqc_sequence **out, vqc_error *error);
void vqc_sequence_destroy(vqc_sequence **sequence);

/*
 * The next layers: all that read the value of the first layer in graph order that had no turn yet.
 * Layers without moments come in the first batch, before all others. A layer that was not committed
 * until now stays as it is. Errors: VQC_ERR_MODEL when the executor lacks operators or a node
 * fails, out of memory.
 */
vqc_status vqc_sequence_next(vqc_sequence *sequence, vqc_sequence_batch *batch, vqc_error *error);

/*
 * From now on the coded model has these weights [layer->elements] in the tensor's order (rounded to
 * its type; NULL: as they are), and this bias [channels] (NULL: as it is) in place of the tensor of
 * vqc_bias_site_find, or in place of none (vqc_bias_site.can_add). Both are copied. `layer` is one
 * of the last batch. Errors: VQC_ERR_INTERNAL for a layer that is not, a bias where there can be
 * none; out of memory.
 */
vqc_status vqc_sequence_commit(vqc_sequence *sequence, size_t layer, const float *weights,
                               const float *bias, vqc_error *error);

/* Samples in use: fewer than wanted when the memory limit was reached, taken evenly as well. */
size_t vqc_sequence_samples(const vqc_sequence *sequence);

/* Whether the memory limit was so tight that every batch computes everything in front of it again
 * (with few samples). */
bool vqc_sequence_recomputes(const vqc_sequence *sequence);

#endif
