/* The vectors that a linear layer multiplies with its weights: rows of a matrix, or patches. */
#ifndef VQC_CORE_VQ_SEQUENCE_VECTORS_H
#define VQC_CORE_VQ_SEQUENCE_VECTORS_H

#include "core/exec/buffer.h"
#include "core/exec/conv.h"
#include "core/layer.h"

/* Those of one sample, in both models. */
typedef struct vqc_vectors {
    size_t count;  /* 0: none, or the models' inputs differ in shape */
    size_t groups; /* each vector has a part [cols] for every group */
    size_t cols;
    const float *x, *y;
    float *made_x, *made_y; /* converted from another type, or NULL */
    bool is_conv;
    vqc_conv conv;
    size_t row_stride, col_stride; /* of matrices, in elements */
} vqc_vectors;

/*
 * Finds the vectors in inputs x and y of the layer's Conv, Gemm or MatMul, which are borrowed.
 * Errors: VQC_ERR_MODEL when they do not fit the node; out of memory. Cleared by vqc_vectors_clear
 * in any case.
 */
vqc_status vqc_vectors_find(const vqc_layer *layer, const vqc_buffer *x, const vqc_buffer *y,
                            vqc_vectors *out, vqc_error *error);
void vqc_vectors_clear(vqc_vectors *vectors);

/* Copies vector `index` out of data (x or y of the same struct): the part of group g to
 * to[g * group_stride], [cols] each. */
void vqc_vectors_copy(const vqc_vectors *vectors, const float *data, size_t index, float *to,
                      size_t group_stride);

#endif
