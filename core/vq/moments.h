/*
 * What calibration knows of the input of one linear layer: x is what the layer sees in the original
 * model, y what it sees in the model coded so far (the same while nothing is coded before it).
 */
#ifndef VQC_CORE_VQ_MOMENTS_H
#define VQC_CORE_VQ_MOMENTS_H

#include <stddef.h>

#include "core/error.h"
#include "core/layer.h"
#include "core/memory.h"
#include "core/vq/vq_layout.h"

/*
 * Columns are those of the layer's weight matrix W [rows, cols]: for a convolution the patch in the
 * order (input channel, kernel positions) of one group. Convolution groups have moments of their
 * own: rows / groups rows of W belong to each. Owned by whoever filled it.
 */
typedef struct vqc_moments {
    size_t groups;
    size_t cols;
    size_t count;   /* input vectors that were seen (per group) */
    double *mean_x; /* [groups][cols] E[x] */
    double *mean_y; /* [groups][cols] E[y] */
    float *second;  /* [groups][cols][cols] E[(y - E y)(y - E y)^T], symmetric */
    float *cross;   /* [groups][cols][cols] E[(x - y - E(x - y))(y - E y)^T]; NULL: all zero */
    double *power;  /* [groups][cols] E[x^2], not centred */
} vqc_moments;

/*
 * The moments with columns in the order of the layout's matrix: *out borrows from `from` where that
 * is their order already, else it has arrays in `arena`. Without second there is no cross either.
 * Errors: out of memory.
 */
vqc_status vqc_moments_order(const vqc_moments *from, const vqc_vq_layout *layout,
                             const vqc_layer *layer, vqc_arena *arena, vqc_moments *out,
                             vqc_error *error);

/*
 * Second moments of many inputs from few vectors promise more than they hold: their small
 * eigenvalues are too small, and errors put there come back with other data. Multiplies what is off
 * the diagonals of second and cross by `keep` (Ledoit and Wolf 2004), in copies in `arena`. Nothing
 * is done without second. Errors: out of memory.
 */
vqc_status vqc_moments_shrink(vqc_moments *moments, float keep, vqc_arena *arena, vqc_error *error);

/* What the mean of each output loses when its weights change and its inputs are y in place of x:
 * gain[rows] = W E[x] - W' E[y]. before, after [rows, cols], in the order of the moments. */
void vqc_moments_gain(const vqc_moments *moments, const float *before, const float *after,
                      size_t rows, double *gain);

#endif
