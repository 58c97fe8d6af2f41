/*
 * What BatchNormalization tells of activations without any data: behind it a channel has about the
 * mean B and the standard deviation |scale| of its parameters. Read before folding takes them away.
 */
#ifndef VQC_CORE_VQ_NORM_MEANS_H
#define VQC_CORE_VQ_NORM_MEANS_H

#include "core/graph.h"
#include "core/layer.h"

typedef struct vqc_norm_means vqc_norm_means;

/*
 * Follows the means through the main graph: from BatchNormalization through activations (as if the
 * values were Gaussian), poolings, Add, Concat and Flatten. *out is in `arena` and copies what it
 * needs; it is empty when the model has no BatchNormalization. Errors: out of memory. Source: Nagel
 * et al. 2019, "Data-Free Quantization", section 4.2.
 */
vqc_status vqc_norm_means_find(vqc_graph *graph, vqc_arena *arena, vqc_norm_means **out,
                               vqc_error *error);

size_t vqc_norm_means_count(const vqc_norm_means *means);

/*
 * Moves the bias of a Conv, Gemm or MatMul by what its coded weights change the mean of its outputs
 * when its inputs have the known means: b + (W - W') E[x]. weights, decoded [elements] in the
 * tensor's order. *done is false where the input's means or the bias are not known. The new bias is
 * in the model's arena. Errors: out of memory.
 */
vqc_status vqc_norm_means_correct(const vqc_norm_means *means, vqc_graph *graph,
                                  const vqc_layer *layer, const float *weights,
                                  const float *decoded, bool *done, vqc_error *error);

#endif
