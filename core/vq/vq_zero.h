/* Codebooks of matrices with zeros: 0 is a codeword of scalars, vectors are made of what is not 0
 * or stand behind a mask. */
#ifndef VQC_CORE_VQ_VQ_ZERO_H
#define VQC_CORE_VQ_VQ_ZERO_H

#include "core/vq/vq_fit.h"

/*
 * vqc_vq_fit without a mask; but where the shape is of scalars in one stage (dim 1, at least 3
 * codewords) and at least one entry in 32 of the matrix is 0, codebooks are trained on the other
 * entries with one codeword less, the last codeword of each is exactly 0, and the entries that are
 * 0 have it: zeros decode to 0.
 *
 * Packed shapes (core/vq/vq_packed.h) code the shape.packed - 1 entries that are not 0. Masked ones
 * have vectors of all entries, in which those that are 0 weigh nothing; code->mask is of the
 * others, and with effort->kept_share, vectors of zeros only have the last codeword.
 */
vqc_status vqc_vq_fit_zeros(const vqc_vq_shape *shape, const float *matrix, const float *second,
                            size_t groups, const vqc_vq_effort *effort, vqc_arena *arena,
                            vqc_vq_code *code, double *loss, vqc_error *error);

/* mask [n] in `arena`: 1 where the matrix is not 0, else 0; NULL when out of memory. */
uint8_t *vqc_vq_mask_of(const float *matrix, size_t n, vqc_arena *arena);

#endif
