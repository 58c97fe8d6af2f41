/* Pruning with compensation; see core/prune/prune.h. */
#ifndef VQC_CORE_PRUNE_PRUNE_OBS_H
#define VQC_CORE_PRUNE_PRUNE_OBS_H

#include "core/prune/prune.h"
#include "core/vq/vq_feedback.h"

/* One matrix being pruned. */
typedef struct vqc_prune_job {
    const vqc_prune_request *request;
    const vqc_prune_input *input;
    size_t rows, cols;
    const float *matrix; /* [rows, cols] W */
    uint8_t *mask;       /* [rows, cols] */
    int threads;
} vqc_prune_job;

/*
 * One pass over the columns: fills e [rows, cols] = W - pruned W (0 on entry), and the mask when
 * `adaptive`; else the mask is given. Errors: out of memory.
 */
vqc_status vqc_prune_compensate(const vqc_prune_job *job, const vqc_feedback_metric *metric,
                                bool adaptive, float *e, vqc_error *error);

/*
 * `steps` steps of conjugate gradients per row over the kept entries, from e = W - pruned W towards
 * the least tr(E H E^T), H = metric->damped. A row that rounding made worse is left as it was.
 * loss_before, loss_after: summed over rows; may be NULL. Errors: out of memory.
 */
vqc_status vqc_prune_refine(const vqc_prune_job *job, const vqc_feedback_metric *metric, int steps,
                            float *e, double *loss_before, double *loss_after, vqc_error *error);

/* Mask of scores [rows, cols] (row_stride apart in both) by the request's pattern, with `count` of
 * the entries (BLOCK: of the blocks) going, cut by columns. Errors: out of memory. */
vqc_status vqc_prune_mask(const vqc_prune_job *job, const float *scores, size_t rows, size_t cols,
                          size_t scores_stride, size_t count, uint8_t *mask, size_t mask_stride,
                          vqc_error *error);

/* N:M: of [n] neighbouring scores the `keep` largest stay, the first among equals. */
void vqc_prune_keep_largest(const float *scores, size_t n, size_t keep, uint8_t *mask);

#endif
