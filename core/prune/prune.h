/*
 * Pruning one weight matrix: which entries become zero, and what the others change by to make up
 * for it. What the tensor of a model has to do with the matrix is core/vq/vq_layout.h; the layers
 * of a model are pruned by core/prune/prune_stage.h.
 */
#ifndef VQC_CORE_PRUNE_PRUNE_H
#define VQC_CORE_PRUNE_PRUNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum { VQC_PRUNE_MAX_GROUP = 64, VQC_PRUNE_MAX_BLOCK = 128 };

/* What says how much a weight is missed. */
typedef enum vqc_prune_score {
    VQC_PRUNE_SCORE_AUTO,      /* obs where the layer's input was seen, else magnitude */
    VQC_PRUNE_SCORE_MAGNITUDE, /* |w| */
    VQC_PRUNE_SCORE_WANDA,     /* |w| sqrt(E[x^2]) (Sun et al., Wanda, 2023) */
    VQC_PRUNE_SCORE_OBS        /* w^2 / [H^-1]_jj (optimal brain surgeon, as in SparseGPT) */
} vqc_prune_score;

typedef enum vqc_prune_kind {
    VQC_PRUNE_UNSTRUCTURED,
    VQC_PRUNE_N_OF_M,  /* of every M neighbouring columns N stay */
    VQC_PRUNE_BLOCK,   /* whole blocks of rows x columns */
    VQC_PRUNE_CHANNELS /* whole channels of the model, not of a matrix: core/prune/channels.h */
} vqc_prune_kind;

typedef struct vqc_prune_pattern {
    vqc_prune_kind kind;
    size_t keep; /* N_OF_M: 1 <= keep < of <= VQC_PRUNE_MAX_GROUP; a shorter last
                    group of t columns keeps ceil(keep t / of) */
    size_t of;
    size_t block_rows, block_cols; /* BLOCK: 1 .. VQC_PRUNE_MAX_BLOCK; those at the edges are cut */
} vqc_prune_pattern;

typedef struct vqc_prune_request {
    vqc_prune_pattern pattern;
    vqc_prune_score score;    /* not AUTO */
    double sparsity;          /* share of entries (BLOCK: of blocks) that become zero, rounded to a
                                 whole number; N_OF_M does not look at it */
    bool per_row;             /* UNSTRUCTURED, not adaptive: every row loses the same share */
    bool compensate;          /* change the kept entries; needs `second` */
    int steps;                /* of the least-squares reconstruction of the kept entries */
    double damping;           /* of H, in means of its diagonal */
    int threads;              /* at most; results do not depend on it */
    const float *row_factors; /* [rows] > 0 that scores are multiplied by before they are compared
                                 across rows; NULL: 1 */
} vqc_prune_request;

/* Unstructured, half of the entries, compensated in 10 steps with damping 0.01, one thread. */
vqc_prune_request vqc_prune_request_default(void);

/* What is known of the layer's input; groups of rows / groups rows have inputs of their own. */
typedef struct vqc_prune_input {
    size_t groups;       /* 1 without inputs */
    const float *second; /* [groups][cols][cols] H, the second moment to keep small tr(E H E^T) for;
                            NULL: not known */
    const double *power; /* [groups][cols] E[x^2] for wanda; NULL: the diagonal of H */
} vqc_prune_input;

/*
 * Prunes W [rows, cols] in place; mask [rows, cols] is 1 for what is kept. Exactly the asked number
 * of entries is 0 in mask, ties go to the lower index.
 *
 * With compensate: the columns are visited in order, and what a pruned entry leaves in the output
 * is made up for by the columns behind it (Hassibi and Stork, Second order derivatives for network
 * pruning, 1993; Frantar and Alistarh, SparseGPT, 2023); with score obs the mask is chosen panel by
 * panel (128 columns; groups of M) from the weights as they are by then. After that the kept
 * entries of each row go towards their least-squares optimum by `steps` steps of preconditioned
 * conjugate gradients, none of which makes tr(E (H + damping) E^T) larger.
 *
 * *loss (may be NULL): tr(E H E^T) / tr(W H W^T) with the damped H, with H = I when `second` is
 * NULL. Errors: VQC_ERR_INTERNAL for a request that does not fit its input, VQC_ERR_MODEL "has NaN
 * or infinite weights" (W is unchanged), out of memory.
 */
vqc_status vqc_prune_matrix(const vqc_prune_request *request, const vqc_prune_input *input,
                            size_t rows, size_t cols, float *matrix, uint8_t *mask, double *loss,
                            vqc_error *error);

/* Entries that `sparsity` of n are: rounded to the nearest whole number. */
size_t vqc_prune_count(double sparsity, size_t n);

/* Columns that stay of a group of `length` columns (less than pattern->of only at the end). */
size_t vqc_prune_group_keep(const vqc_prune_pattern *pattern, size_t length);

#endif
