/* A part of a sample source as a source of its own: calibration and held-out samples. */
#ifndef VQC_CORE_DATA_SAMPLES_SUBSET_H
#define VQC_CORE_DATA_SAMPLES_SUBSET_H

#include "core/data/samples.h"

/*
 * Every stride-th sample of the first `limit` (0: all) is `held_out`, the others are not: of each
 * run of `stride` samples the last. Two subsets with and without held_out never share a sample.
 * With fewer than 2 * stride samples both are everything that there is. The source is borrowed and
 * must outlive the subset; at most one of its subsets is read at a time.
 */
vqc_status vqc_samples_subset(vqc_samples *source, size_t limit, size_t stride, bool held_out,
                              vqc_samples **out, vqc_error *error);

#endif
