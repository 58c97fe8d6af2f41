/* Calibration samples in two parts that never share one: those that decide, and those kept apart to
 * measure what was decided. */
#ifndef VQC_CORE_DATA_SAMPLES_SUBSET_H
#define VQC_CORE_DATA_SAMPLES_SUBSET_H

#include "core/data/samples.h"

/* One sample in four is held out, the last of each run of four. */
enum { VQC_SAMPLES_HOLD_OUT = 4 };

/*
 * The samples that decide, or those held out, as a source of their own with indices from 0. With
 * fewer than 2 * VQC_SAMPLES_HOLD_OUT samples both are everything that there is. The source is
 * borrowed and must outlive the part, which the caller destroys; at most one of its parts is read
 * at a time. Errors: memory.
 */
vqc_status vqc_samples_seen(vqc_samples *source, vqc_samples **out, vqc_error *error);
vqc_status vqc_samples_held_out(vqc_samples *source, vqc_samples **out, vqc_error *error);

#endif
