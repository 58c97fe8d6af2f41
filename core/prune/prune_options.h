/* What a recipe says about pruning. */
#ifndef VQC_CORE_PRUNE_PRUNE_OPTIONS_H
#define VQC_CORE_PRUNE_PRUNE_OPTIONS_H

#include "core/prune/prune.h"

typedef enum vqc_prune_scope {
    VQC_PRUNE_SCOPE_LAYER,  /* every layer loses the same share */
    VQC_PRUNE_SCOPE_GLOBAL, /* the smallest |w| relative to their layer's norm go */
    VQC_PRUNE_SCOPE_OUTPUT  /* with samples: by what the model's output shows; else as LAYER */
} vqc_prune_scope;
typedef enum vqc_prune_compensation {
    VQC_PRUNE_COMPENSATE_AUTO, /* where the layer's input was seen */
    VQC_PRUNE_COMPENSATE_OFF
} vqc_prune_compensation;

typedef struct vqc_prune_options {
    double sparsity;  /* share of a layer's (or all layers') weights; NAN: not given */
    double threshold; /* |w| up to it; NAN: not given */
    char *pattern;    /* "unstructured", "N:M", "block" or "channels"; NULL: unstructured */
    int64_t *block;   /* [block_rank]: rows, columns */
    size_t block_rank;
    vqc_prune_score score;
    vqc_prune_scope scope;
    vqc_prune_compensation compensate;
    int64_t multiple_of;   /* CHANNELS: the number that stays is divisible by this */
    int64_t min_channels;  /* CHANNELS: of a layer that stay at least */
    double output_sqnr_db; /* the largest sparsity that keeps it; NAN: not given */
} vqc_prune_options;

/* Nothing is pruned. */
vqc_prune_options vqc_prune_options_default(void);

/* The pattern in numbers. False when `pattern` is none, or the sizes are out of range; *fault (may
 * be NULL) then says what was expected. */
bool vqc_prune_options_pattern(const vqc_prune_options *options, vqc_prune_pattern *out,
                               const char **fault);

#endif
