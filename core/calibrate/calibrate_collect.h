/* Collects what taps show into stats, from several threads; the part of calibration that needs no
 * executor. */
#ifndef VQC_CORE_CALIBRATE_CALIBRATE_COLLECT_H
#define VQC_CORE_CALIBRATE_CALIBRATE_COLLECT_H

#include "core/calibrate/calibrate.h"

typedef struct vqc_collector vqc_collector;

/*
 * For `values` [count] (duplicates are dropped), `slots` threads and samples at positions
 * [0, samples); of the options only what is wanted of each value counts. Errors: memory.
 */
vqc_status vqc_collector_create(const vqc_value *const *values, size_t count, size_t slots,
                                size_t samples, const vqc_calibrate_options *options,
                                vqc_collector **out, vqc_error *error);

/* The values, without duplicates, sorted by name: what to tap. */
const vqc_value *const *vqc_collector_values(const vqc_collector *collector, size_t *count);

/* Adds value `index` of vqc_collector_values of the sample at `position`, each at most once. A slot
 * is used by one thread at a time. Errors: memory. */
vqc_status vqc_collector_see(vqc_collector *collector, size_t slot, size_t position, size_t index,
                             const vqc_buffer *buffer, vqc_error *error);

/* The stats of everything seen; the caller's. The collector is used up (destroy it). */
vqc_stats *vqc_collector_finish(vqc_collector *collector);

/* Accepts NULL; sets *collector to NULL. */
void vqc_collector_destroy(vqc_collector **collector);

#endif
