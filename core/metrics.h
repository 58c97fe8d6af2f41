/*
 * The one definition of the error of a decoded weight. With w the reference and w' the decoded
 * values of one tensor (or of many, their sums added up), n of them:
 *
 *     mse           = sum (w - w')^2 / n                          [unit of w squared]
 *     sqnr_db       = 10 log10(sum w^2 / sum (w - w')^2)          [dB], +INFINITY when all are
 * equal, -INFINITY when w is all zero and w' is not max_abs_error = max |w - w'| [unit of w] cosine
 * = sum w w' / sqrt(sum w^2 sum w'^2)           [-1, 1]; 1 when both are all zero, 0 when only one
 * is
 *
 * A NaN or infinity in either tensor makes mse, sqnr_db and cosine NaN: a number that would hide it
 * is not given. (kernels/kernels.h says how the sums are formed: 16 float lanes, flushed into
 * double.)
 */
#ifndef VQC_CORE_METRICS_H
#define VQC_CORE_METRICS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/vqc.h"
#include "kernels/kernels.h"

/*
 * Adds the error of dec [n] against ref [n] to *sums (start from all zero). Both may be unaligned.
 * Where float squares would underflow to nothing or overflow (|w| below 1e-19 or above 1e19) the
 * sums are formed again in double.
 */
void vqc_error_sums_add_f32(const float *ref, const float *dec, size_t n, vqc_error_sums *sums);

/* Whether squares left the range of float, so that the sums must be formed again in double. */
bool vqc_error_sums_out_of_range(const vqc_error_sums *sums);

/* Adds the sums of one layer to those of a whole. */
void vqc_error_sums_add(vqc_error_sums *total, const vqc_error_sums *part);

/* The metrics that belong to the sums; all zero for a count of 0. */
vqc_metrics vqc_metrics_from_sums(const vqc_error_sums *sums);

/* Both in one: metrics of dec [n] against ref [n]. */
vqc_metrics vqc_metrics_compare(const float *ref, const float *dec, size_t n);

#endif
