/* What the outputs of a pruned layer get back of what pruning took. */
#ifndef VQC_CORE_PRUNE_PRUNE_GAIN_H
#define VQC_CORE_PRUNE_PRUNE_GAIN_H

#include "core/error.h"
#include "core/vq/moments.h"

typedef enum vqc_prune_gain {
    VQC_PRUNE_GAIN_NONE,
    VQC_PRUNE_GAIN_POWER, /* every output its variance */
    VQC_PRUNE_GAIN_SLOPE, /* the layer its share of the original */
    VQC_PRUNE_GAINS
} vqc_prune_gain;

/*
 * Variances [rows] of the outputs matrix [rows, cols] x y for inputs y with the moments m; with
 * `cross` (m's, or NULL) for those that y would have been. product [rows, cols] is scratch.
 */
vqc_status vqc_prune_powers(const vqc_moments *m, const float *cross, const float *matrix,
                            size_t rows, size_t cols, int threads, float *product, double *power,
                            vqc_error *error);

/*
 * Scales `after` [rows, cols], pruned `before` with least squares over what is kept, whose error E
 * is orthogonal to what is kept in the metric of the layer's input (m, with second; groups of it
 * share the rows evenly):
 * - POWER: each output has less variance than it had. Each row is scaled to have that of `before`
 *   again, as statistics of a normalization behind it would do when they are estimated anew.
 * - SLOPE: <before, after> < <before, before>: of whatever a layer says, a share is missing. The
 *   whole matrix is scaled so that after = before + something orthogonal to it. That is noisier at
 *   the layer's own output, but over many layers those that say less and less are worse: half of
 *   mobilenetv2's weights took a quarter of its logits on pictures that it had not seen.
 * Nothing is scaled down, or by more than 1.5. Errors: out of memory.
 */
vqc_status vqc_prune_give_back(vqc_prune_gain gain, const vqc_moments *m, const float *before,
                               size_t rows, size_t cols, int threads, float *after,
                               vqc_error *error);

#endif
