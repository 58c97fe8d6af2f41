#include "core/vq/vq_layout.h"

#include <string.h>

/* ---- which axes are rows ---- */

/* Whether `axis` counts outputs: the channel axis, and whole matrices in front of both axes. */
static bool is_row_axis(const vqc_layer *layer, size_t axis)
{
    int channel = layer->channel_axis;
    int reduction = layer->reduction_axis;
    size_t first;

    if (channel < 0 || reduction < 0 || channel == reduction) {
        return axis == 0 && layer->rank > 1;
    }
    first = (size_t)(channel < reduction ? channel : reduction);
    return axis == (size_t)channel || axis < first;
}

static bool is_conv(const vqc_layer *layer)
{
    return layer->op != NULL &&
           (strcmp(layer->op, "Conv") == 0 || strcmp(layer->op, "ConvTranspose") == 0);
}

static size_t dim_of(const vqc_layer *layer, size_t axis)
{
    return (size_t)layer->dims[axis];
}

/* Kernel positions of a convolution; 1 elsewhere. */
static size_t kernel_size(const vqc_layer *layer)
{
    size_t size = 1;

    for (size_t i = 2; is_conv(layer) && i < layer->rank; i++) {
        size *= dim_of(layer, i);
    }
    return size;
}

/* Whether the moments of the layer's input are those of the matrix' columns. */
static bool has_moments(const vqc_layer *layer)
{
    if (layer->node == NULL || layer->use_count == 0 || !layer->direct) {
        return false;
    }
    for (size_t i = 0; i < layer->use_count; i++) {
        const vqc_use *use = &layer->uses[i];
        bool conv = use->node != NULL && vqc_node_is(use->node, "Conv");
        bool linear = use->node != NULL && layer->rank == 2 &&
                      (vqc_node_is(use->node, "Gemm") || vqc_node_is(use->node, "MatMul"));
        if (use->input != 1 || (!conv && !linear)) {
            return false;
        }
    }
    return true;
}

static size_t conv_groups(const vqc_layer *layer, size_t rows)
{
    int64_t groups = layer->node != NULL && vqc_node_is(layer->node, "Conv")
                         ? vqc_node_attr_int(layer->node, "group", 1)
                         : 1;

    return groups > 0 && rows % (size_t)groups == 0 ? (size_t)groups : 1;
}

/* Axes in another order than the tensor's; axes of length 1 may stand anywhere. */
static bool is_permuted(const vqc_vq_layout *layout, const vqc_layer *layer)
{
    size_t last = 0;

    for (size_t i = 0; i < layout->rank; i++) {
        if (dim_of(layer, layout->axes[i]) != 1) {
            if (layout->axes[i] < last) {
                return true;
            }
            last = layout->axes[i];
        }
    }
    return false;
}

void vqc_vq_layout_make(const vqc_layer *layer, vqc_vq_along along, vqc_vq_layout *out)
{
    size_t rows[VQC_LAYER_MAX_RANK];
    size_t cols[VQC_LAYER_MAX_RANK];
    size_t row_axes = 0;
    size_t col_axes = 0;
    bool in_kernel =
        kernel_size(layer) > 1 && (along == VQC_VQ_ALONG_AUTO || along == VQC_VQ_ALONG_KERNEL ||
                                   along == VQC_VQ_ALONG_OUTPUT);

    memset(out, 0, sizeof *out);
    out->rows = out->cols = 1;
    out->down_rows = along == VQC_VQ_ALONG_OUTPUT;
    out->rank = layer->rank < VQC_LAYER_MAX_RANK ? layer->rank : VQC_LAYER_MAX_RANK;
    for (size_t i = 0; i < out->rank; i++) {
        if (is_row_axis(layer, i)) {
            rows[row_axes++] = i;
            out->rows *= dim_of(layer, i);
        } else {
            cols[col_axes++] = i;
            out->cols *= dim_of(layer, i);
        }
    }
    if (!in_kernel && kernel_size(layer) > 1) { /* the input channels, first so far, become last */
        size_t channels = cols[0];
        memmove(cols, cols + 1, (col_axes - 1) * sizeof *cols);
        cols[col_axes - 1] = channels;
    }
    for (size_t i = 0; i < out->rank; i++) {
        size_t *first = out->down_rows ? cols : rows;
        size_t *second = out->down_rows ? rows : cols;
        size_t count = out->down_rows ? col_axes : row_axes;
        out->axes[i] = i < count ? first[i] : second[i - count];
    }
    out->row_axes = row_axes;
    out->groups = conv_groups(layer, out->rows);
    out->is_permuted = is_permuted(out, layer);
    out->has_moments = has_moments(layer);
}

/* ---- tensor <-> matrix ---- */

/* Walks over the tensor in the order of layout->axes. */
typedef struct walk {
    size_t rank;
    size_t dims[VQC_LAYER_MAX_RANK];
    size_t steps[VQC_LAYER_MAX_RANK]; /* between neighbours along the axis, in elements */
    size_t at[VQC_LAYER_MAX_RANK];
    size_t offset;
} walk;

static walk walk_start(const vqc_vq_layout *layout, const vqc_layer *layer)
{
    size_t steps[VQC_LAYER_MAX_RANK];
    size_t step = 1;
    walk w = {.rank = layout->rank};

    for (size_t i = layout->rank; i-- > 0;) {
        steps[i] = step;
        step *= dim_of(layer, i);
    }
    for (size_t i = 0; i < layout->rank; i++) {
        w.dims[i] = dim_of(layer, layout->axes[i]);
        w.steps[i] = steps[layout->axes[i]];
    }
    return w;
}

static void walk_on(walk *w)
{
    for (size_t i = w->rank; i-- > 0;) {
        w->offset += w->steps[i];
        if (++w->at[i] < w->dims[i]) {
            return;
        }
        w->offset -= w->dims[i] * w->steps[i];
        w->at[i] = 0;
    }
}

/* Where the matrix has the entry that is stored at place i. */
static size_t matrix_place(const vqc_vq_layout *layout, size_t i)
{
    return layout->down_rows ? i % layout->rows * layout->cols + i / layout->rows : i;
}

void vqc_vq_layout_take(const vqc_vq_layout *layout, const vqc_layer *layer, const float *weights,
                        float *matrix)
{
    size_t n = layout->rows * layout->cols;
    walk w = walk_start(layout, layer);

    for (size_t i = 0; i < n; i++) {
        /* the weights may be unaligned */
        memcpy(&matrix[matrix_place(layout, i)], (const char *)weights + w.offset * sizeof *weights,
               sizeof *weights);
        walk_on(&w);
    }
}

void vqc_vq_layout_put(const vqc_vq_layout *layout, const vqc_layer *layer, const float *matrix,
                       float *weights)
{
    size_t n = layout->rows * layout->cols;
    walk w = walk_start(layout, layer);

    for (size_t i = 0; i < n; i++) {
        weights[w.offset] = matrix[matrix_place(layout, i)];
        walk_on(&w);
    }
}

size_t vqc_vq_layout_moment_column(const vqc_vq_layout *layout, const vqc_layer *layer, size_t col)
{
    size_t kernel = kernel_size(layer);
    size_t channels = layout->cols / kernel;
    size_t first = layout->rank;

    for (size_t i = 0; i < layout->rank && first == layout->rank; i++) {
        first = is_row_axis(layer, layout->axes[i]) ? layout->rank : layout->axes[i];
    }
    if (kernel == 1 || !is_conv(layer) || first < 2) { /* channels outside already */
        return col;
    }
    return col % channels * kernel + col / channels;
}
