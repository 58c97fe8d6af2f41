/* Choosing scales and zero points of integer codes: min-max, percentile, or least squared error. */
#ifndef VQC_CORE_CODEC_INT_FIT_H
#define VQC_CORE_CODEC_INT_FIT_H

#include "core/codec/codec.h"

/*
 * Fills code->scales (and scales_f16, zero_points) for weights [elements] by the decision's range
 * method. Errors: VQC_ERR_MODEL when a weight is NaN or infinite, out of memory.
 */
vqc_status vqc_int_fit_scales(const vqc_decision *decision, const float *weights,
                              const vqc_tile *tiles, const size_t *unit_start, size_t units,
                              vqc_arena *arena, vqc_code *code, vqc_error *error);

/* VQC_ERR_MODEL when one of the n weights is NaN, infinite, or so large that decoding could
 * overflow. */
vqc_status vqc_int_check_finite(const float *weights, size_t n, vqc_error *error);

/* The range method in force: `auto` searches below 8 bits, in all but very large layers. */
vqc_range_method vqc_int_range(const vqc_decision *decision);

/* The k-th smallest (from 0) of x[n], k < n, no NaN; x is reordered (Wirth's selection, linear on
 * average). */
float vqc_select_kth(float *x, size_t n, size_t k);

/* 1 / scale, or 0 for scale 0 (then every code is the zero point). */
float vqc_inverse_scale(float scale);

/* Stored scales: float16 of scale * 2^10. */
#define VQC_SCALE_UNIT 0x1p-10f

#endif
