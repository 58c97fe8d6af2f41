/* Choosing how the code of one weight is stored: dense, or in the sparse form that is smallest. */
#ifndef VQC_CORE_CODEC_SPARSE_CHOOSE_H
#define VQC_CORE_CODEC_SPARSE_CHOOSE_H

#include "core/codec/codec.h"

/* Why the code of this decision is stored dense whatever it holds; NULL when it need not be. */
const char *vqc_sparse_obstacle(const vqc_decision *decision);

/* Counts for weights [elements] (may be unaligned) in the order in which the codec stores their
 * codes. Errors: out of memory. */
vqc_status vqc_sparse_count_layer(const vqc_decision *decision, const float *weights,
                                  vqc_sparse_counts *counts, vqc_error *error);

/* What the storage of one weight's code adds to the file. */
typedef struct vqc_sparse_cost {
    size_t dense_bytes;
    size_t bytes;            /* of the chosen form */
    size_t sparse_bytes;     /* of the smallest sparse form, also where dense is smaller; 0: none */
    const char *sparse_name; /* of that form: "bit mask"; "" */
} vqc_sparse_cost;

/*
 * The smallest storage for weights [elements] (may be unaligned; what is 0 is not kept): every form
 * is emitted with sizes only and weighed, dense wins ties. *sparse has no positions. *cost (may be
 * NULL). Errors: those of emitting.
 */
vqc_status vqc_sparse_choose(vqc_graph *graph, const vqc_decision *decision, const float *weights,
                             vqc_sparse *sparse, vqc_sparse_cost *cost, vqc_error *error);

/*
 * After fit: finds the positions of what *sparse (by vqc_sparse_choose) keeps of `code`, in
 * `arena`, and sets code->sparse (NULL: dense). Where a weight that is 0 was coded as something
 * else, it is kept, and the form is chosen again. Errors: out of memory, those of decoding and
 * emitting.
 */
vqc_status vqc_sparse_settle(vqc_graph *graph, vqc_code *code, const float *weights,
                             vqc_arena *arena, vqc_sparse *sparse, vqc_error *error);

/* The code's pattern for reports: "foldable", "DequantizeLinear, 5-bit gaps"; NULL: out of memory.
 */
const char *vqc_sparse_pattern(const vqc_code *code, vqc_arena *arena);

/*
 * The decision's reason, and behind it what the zeros of the layer gained, or why they gain
 * nothing; the latter from `notable` zeros on. cost: by vqc_sparse_choose. NULL: out of memory.
 */
const char *vqc_sparse_reason(const vqc_decision *decision, const vqc_sparse *sparse,
                              const vqc_sparse_cost *cost, size_t notable, vqc_arena *arena);

#endif
