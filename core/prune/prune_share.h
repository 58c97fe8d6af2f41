/* Zeros shared out over layers by what they do to a model's output. */
#ifndef VQC_CORE_PRUNE_PRUNE_SHARE_H
#define VQC_CORE_PRUNE_PRUNE_SHARE_H

#include <stddef.h>

#include "core/error.h"

enum { VQC_PRUNE_CURVE_POINTS = 3 };

/* What one layer, pruned by itself, does to the output: noise relative to the output's power. */
typedef struct vqc_prune_curve {
    double shares[VQC_PRUNE_CURVE_POINTS]; /* of the layer's weights, increasing, between 0 and 1 */
    double noises[VQC_PRUNE_CURVE_POINTS];
    size_t count;
} vqc_prune_curve;

/* Adds a point behind all others; a noise that grows too slowly counts as more. */
void vqc_prune_curve_add(vqc_prune_curve *curve, double share, double noise);

/* Noise at any share, 0 at 0: powers of s / (1 - s) through the points, of which there are at least
 * two. */
double vqc_prune_curve_noise(const vqc_prune_curve *curve, double share);

/*
 * lost [layers]: how many of its counts [layers] weights (0: none to share) each layer loses, so
 * that exactly `gone` (at most all) go and the sum of the noises is least, to one part in 64 of
 * every layer. Noises of layers add up where they are small. Errors: out of memory. Source: Shoham
 * and Gersho 1988, with kept weights as bits; for pruning Frantar and Alistarh, SPDY, 2022.
 */
vqc_status vqc_prune_share_by_curves(const vqc_prune_curve *curves, const size_t *counts,
                                     size_t layers, size_t gone, size_t *lost, vqc_error *error);

#endif
