/* Training the codebooks of one weight matrix and coding it. */
#ifndef VQC_CORE_VQ_VQ_FIT_H
#define VQC_CORE_VQ_VQ_FIT_H

#include "core/error.h"
#include "core/memory.h"
#include "core/vq/vq_types.h"

typedef struct vqc_vq_effort {
    uint64_t seed;
    int threads;           /* at most; results do not depend on it */
    int kmeans_iterations; /* at most, per codebook */
    double damping;        /* added to H, as a share of its mean diagonal; 0: 0.01 */
    int sweeps; /* coordinate-descent sweeps over the indices, each followed by a refit */
    /*
     * Above 0 and below 1: the last codeword of every codebook is exactly 0, and a sub-vector gets
     * another one only where that lowers the loss by more than a limit (Lagrangian cost of what is
     * stored for it). The limit: this share of the sub-vectors would add more to the loss, were
     * they 0 and coded later ones made up for them. One stage, no row scales, no shared codebook.
     */
    double kept_share;
} vqc_vq_effort;

vqc_vq_effort vqc_vq_effort_default(void);

/*
 * Codes W [rows, cols]. `second` [groups][cols][cols] is the input second moment H per group of
 * rows / groups rows, NULL: the identity (plain k-means, entries equally important); then `groups`
 * is ignored. With H: k-means weighted by its diagonal, error feedback column block by column block
 * in the exact block metric, then coordinate descent and closed-form refit of the codebooks,
 * always for tr(E H E^T), E = W - decoded. H is damped inside (0.01 of its mean diagonal; dead
 * inputs are harmless). Additive stages are refined jointly.
 *
 * mask [rows, cols] (NULL: none): entries that are 0 there weigh nothing while fitting.
 *
 * *loss (NULL: not wanted, which saves a product with H): tr(E H E^T) summed over groups (undamped
 * H). `code` is in `arena`. Errors: VQC_ERR_MODEL
 * "has NaN or infinite weights", out of memory.
 */
vqc_status vqc_vq_fit(const vqc_vq_shape *shape, const float *matrix, const float *second,
                      size_t groups, const uint8_t *mask, const vqc_vq_effort *effort,
                      vqc_arena *arena, vqc_vq_code *code, double *loss, vqc_error *error);

/*
 * The target that makes up for an input that is already off:
 * W' = W + W Cov(x - y, y) (Cov(y) + damping * mean diagonal * I)^-1, per group. second and cross
 * as in vqc_moments; adjusted [rows, cols] may be W itself.
 */
vqc_status vqc_vq_adjust(const float *matrix, size_t rows, size_t cols, size_t groups,
                         const float *second, const float *cross, double damping, int threads,
                         float *adjusted, vqc_error *error);

/*
 * Uniform quantization with the same error feedback and coordinate descent (GPTQ), for comparison
 * and for integer codecs: codes in [lo, hi], decoded = scale[row or row, block] * (code - zero).
 * block: columns per scale, 0: the whole row. scales and zeros are given; codes are chosen.
 */
vqc_status vqc_uniform_fit(const float *matrix, size_t rows, size_t cols, const float *second,
                           size_t groups, const float *scales, const int32_t *zeros, size_t block,
                           int32_t lo, int32_t hi, int sweeps, int threads, int32_t *codes,
                           double *loss, vqc_error *error);

/*
 * The least tr(E H E^T) that any code of `bits` bits per weight can reach on Gaussian weights that
 * are independent with variance variances[row] in row `row`: reverse water-filling over the
 * variances times the eigenvalues of H (Cover and Thomas, Elements of Information Theory, 10.3.3).
 * second [groups][cols][cols], not damped; NULL: the identity. Takes cols^3 time per group. Errors:
 * out of memory; VQC_ERR_MODEL when second is not finite.
 */
vqc_status vqc_vq_waterfill(const float *second, size_t groups, const double *variances,
                            size_t rows, size_t cols, double bits, double *loss, vqc_error *error);

#endif
