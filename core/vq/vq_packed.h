/* Coding the weights of a matrix that are not 0 as vectors of neighbours among them. */
#ifndef VQC_CORE_VQ_VQ_PACKED_H
#define VQC_CORE_VQ_VQ_PACKED_H

#include "core/vq/vq_fit.h"

/*
 * vqc_vq_fit for a packed shape: matrix [rows, cols] has shape->packed - 1 entries that are not 0.
 * Codebooks are trained on these, packed; with `second` (as there) indices are then chosen anew,
 * effort->sweeps times, for tr(E H E^T) of the whole matrix with all other indices fixed. *loss as
 * there. Errors: as there; VQC_ERR_INTERNAL when another number of entries is not 0.
 */
vqc_status vqc_vq_fit_packed(const vqc_vq_shape *shape, const float *matrix, const float *second,
                             size_t groups, const vqc_vq_effort *effort, vqc_arena *arena,
                             vqc_vq_code *code, double *loss, vqc_error *error);

#endif
