/* How the tensor of a layer becomes the matrix that vector quantization works on, and back. */
#ifndef VQC_CORE_VQ_VQ_LAYOUT_H
#define VQC_CORE_VQ_VQ_LAYOUT_H

#include "core/layer.h"
#include "core/recipe.h"
#include "core/vq/vq_types.h"

/*
 * W [rows, cols]: rows are the layer's outputs (channel axis, for several matrices in one tensor
 * one after the other), cols what it sums over. The order of columns depends on what sub-vectors
 * run along: input channels (kernel positions outside, channels inside) or kernel positions
 * (channels outside, as convolution weights are stored).
 */
typedef struct vqc_vq_layout {
    size_t rows;
    size_t cols;
    size_t groups; /* of a convolution: rows / groups rows share their inputs; else 1 */
    bool down_rows;
    /* the tensor's axes in the order rows..., cols... (or cols..., rows... when down_rows): the
     * order in which sub-vectors are stored */
    size_t rank;
    size_t axes[VQC_LAYER_MAX_RANK];
    size_t row_axes;  /* how many of them are rows */
    bool is_permuted; /* axes is not 0, 1, 2, ...: decoding needs a Transpose */
    bool has_moments; /* the layer is a Conv, Gemm or MatMul of a matrix whose input can be observed
                       */
} vqc_vq_layout;

/* along AUTO: chosen by the operator, see docs/RECIPE.md. */
void vqc_vq_layout_make(const vqc_layer *layer, vqc_vq_along along, vqc_vq_layout *out);

/* weights [elements] in the tensor's order -> matrix [rows, cols], and back. */
void vqc_vq_layout_take(const vqc_vq_layout *layout, const vqc_layer *layer, const float *weights,
                        float *matrix);
void vqc_vq_layout_put(const vqc_vq_layout *layout, const vqc_layer *layer, const float *matrix,
                       float *weights);

/* Column `col` of the matrix in the order of vqc_moments (input channel, kernel positions). */
size_t vqc_vq_layout_moment_column(const vqc_vq_layout *layout, const vqc_layer *layer, size_t col);

#endif
