/*
 * What calibration knows of the input of one linear layer: x is what the layer sees in the original
 * model, y what it sees in the model coded so far (the same while nothing is coded before it).
 */
#ifndef VQC_CORE_VQ_MOMENTS_H
#define VQC_CORE_VQ_MOMENTS_H

#include <stddef.h>

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

#endif
