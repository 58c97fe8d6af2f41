/* The constant that is added to a layer's output, channel by channel, and that may be corrected
 * when the layer is coded. */
#ifndef VQC_CORE_VQ_BIAS_SITE_H
#define VQC_CORE_VQ_BIAS_SITE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/graph.h"
#include "core/layer.h"

typedef struct vqc_bias_site {
    Onnx__TensorProto *tensor; /* float32 [channels] (or with dims of 1 in front); NULL: none */
    vqc_value *value;          /* its initializer; NULL right after vqc_bias_site_add */
    Onnx__NodeProto *node;     /* that adds it: the layer's own, or the Add behind a MatMul */
    size_t input;              /* which input of that node */
    size_t channels;
    /* The tensor has to change by ratio times what the layer's product is to gain: alpha / beta of
     * a Gemm, else 1. */
    double ratio;
    const Onnx__TensorProto *shared; /* what the node adds now, when it is not its own; or NULL */
    bool can_add;                    /* no tensor, but vqc_bias_site_add can make one */
} vqc_bias_site;

/*
 * Finds the bias of a Conv, Gemm or MatMul (a MatMul whose only reader is an Add of a constant of N
 * elements): a float32 initializer that nothing else reads, that no caller may override and that is
 * no output. Returns whether there is one; *out says more in both cases.
 */
bool vqc_bias_site_find(const vqc_graph *graph, const vqc_layer *layer, vqc_bias_site *out);

/*
 * Gives the node of a site with can_add a float32 initializer of its own with values [channels]
 * (NULL: zeros, or what it adds now when that is a constant it shares); site->tensor is set. The
 * graph index does not know the new name until it is made anew. Errors: VQC_ERR_INTERNAL for a site
 * without can_add; out of memory: then the model is unchanged.
 */
vqc_status vqc_bias_site_add(vqc_graph *graph, const vqc_layer *layer, const float *values,
                             vqc_bias_site *site, vqc_error *error);

/*
 * The values [rows] that the site's tensor gets (in place of what the node adds now, if anything)
 * when its layer's product is to gain gain[rows]; in `arena`. NULL when there can be no bias.
 * Errors: out of memory.
 */
vqc_status vqc_bias_site_values(const vqc_bias_site *site, const double *gain, size_t rows,
                                vqc_arena *arena, float **values, vqc_error *error);

#endif
