/* What a change to one layer does to a model's outputs, without running what lies before it. */
#ifndef VQC_CORE_VQ_DOWNSTREAM_H
#define VQC_CORE_VQ_DOWNSTREAM_H

#include "core/static/measure.h"
#include "core/vq/sequence.h"

/* What is enough to compare single layers with each other. */
enum {
    VQC_DOWNSTREAM_SAMPLES = 16,     /* that they are measured on */
    VQC_DOWNSTREAM_BYTES = 512 << 20 /* of kept values of the original */
};

typedef struct vqc_downstream vqc_downstream;

/*
 * Runs the model of `graph` on the first `samples` samples of `reference` (0: all) and keeps what
 * the nodes behind each of the layers [count] read from before them. `source`: any samples of the
 * model. Everything is borrowed. *out NULL, with VQC_OK: more than max_bytes would have to be kept,
 * or values that cannot be. Errors: those of running the model, out of memory.
 */
vqc_status vqc_downstream_create(const vqc_graph *graph, const vqc_layer *const *layers,
                                 size_t count, vqc_samples *source, const vqc_reference *reference,
                                 size_t samples, size_t max_bytes, int threads,
                                 vqc_downstream **out, vqc_error *error);
void vqc_downstream_destroy(vqc_downstream **downstream);

/*
 * The score of the model with the tensors that it has now, of which only that of layer `layer` (and
 * its bias) may differ from the original: runs that layer's node and all behind it. Same result at
 * every thread count. Errors: those of running the model, out of memory.
 */
vqc_status vqc_downstream_score(vqc_downstream *downstream, size_t layer, vqc_score *score,
                                vqc_error *error);

#endif
