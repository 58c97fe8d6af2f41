/* Exact selection of the lowest scores. */
#ifndef VQC_CORE_PRUNE_PRUNE_SELECT_H
#define VQC_CORE_PRUNE_PRUNE_SELECT_H

#include <stddef.h>
#include <stdint.h>

/* Every score below the threshold goes, and of those equal to it the first `ties`. */
typedef struct vqc_prune_cut {
    float threshold;
    size_t ties;
} vqc_prune_cut;

/*
 * The cut that takes the k lowest of all scores in `arrays` arrays scores[i] [counts[i]], finite
 * and not negative (-0 counts as 0); k at most the number of scores. Few scores are copied and
 * selected; of many, a sample and a pass or two that count narrow the place of the cut down until
 * few are left; whatever the scores, each pass leaves at most a quarter of the keys.
 */
vqc_prune_cut vqc_prune_cut_find(const float *const *scores, const size_t *counts, size_t arrays,
                                 size_t k);

/* mask [n]: 0 where the cut takes, else 1. Ties are used up from array to array. */
void vqc_prune_cut_apply(vqc_prune_cut *cut, const float *scores, size_t n, uint8_t *mask);

/* The same for one array: mask is 0 for the k lowest of n scores. */
void vqc_prune_lowest(const float *scores, size_t n, size_t k, uint8_t *mask);

#endif
