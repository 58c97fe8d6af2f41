/* Calibration without the samples that say nothing: a NaN in an input reaches every value. */
#ifndef VQC_CORE_DATA_SAMPLES_FINITE_H
#define VQC_CORE_DATA_SAMPLES_FINITE_H

#include "core/data/samples.h"

typedef struct vqc_samples_left_out {
    size_t count; /* samples with NaN or infinite inputs */
    size_t total; /* samples there were */
    size_t first; /* index of the first of them */
} vqc_samples_left_out;

/*
 * Reads all samples once and puts a source in place of *samples that leaves those out whose float
 * inputs are not all finite, with indices from 0; *samples stays as it is when there are none, or
 * when the source says that there cannot be any. Errors: VQC_ERR_MODEL when no sample is left;
 * those of reading; memory.
 */
vqc_status vqc_samples_keep_finite(vqc_samples **samples, int threads, vqc_samples_left_out *out,
                                   vqc_error *error);

#endif
