/* What the parts of the observer share. Only for observer*.c. */
#ifndef VQC_CORE_CALIBRATE_OBSERVER_SEARCH_H
#define VQC_CORE_CALIBRATE_OBSERVER_SEARCH_H

#include "core/calibrate/observer.h"

/* Bins in use: [first, end), empty when first == end. */
typedef struct vqc_bin_span {
    uint32_t first, end;
} vqc_bin_span;

vqc_bin_span vqc_observation_span(const vqc_observation *o);

/* Width of a bin; exact. */
double vqc_observation_width(const vqc_observation *o);

/* [lo, hi] cut to the extremes seen and widened to contain 0; {-r, r} when symmetric. */
vqc_range vqc_observation_cut(const vqc_observation *o, double lo, double hi, bool symmetric);

/* ENTROPY and MSE of observer.h; the observation has values other than zero. */
vqc_range vqc_observation_entropy(const vqc_observation *o, const vqc_observer_options *options);
vqc_range vqc_observation_least_mse(const vqc_observation *o, const vqc_observer_options *options);

#endif
