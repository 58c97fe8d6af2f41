/* Normalization of float32 by kernels. */
#ifndef VQC_CORE_EXEC_EXEC_NORM_F32_H
#define VQC_CORE_EXEC_EXEC_NORM_F32_H

#include "core/exec/exec_values.h"

/* y = x * factor[c] + shift[c] per channel of [outer][length][inner]; y may be x. */
void vqc_norm_channels_f32(const float *x, vqc_axis_span span, const float *factor,
                           const float *shift, int threads, float *y);

/* Rows of [outer][length]: (x - mean) / sqrt(variance + epsilon) * scale + bias with scale, bias
 * [length] (bias may be NULL); not centered: mean 0 and the mean of squares instead of the
 * variance. mean, inverse [outer] get what was used. y may be x. length >= 1. */
void vqc_norm_rows_f32(const float *x, size_t outer, size_t length, bool centered, double epsilon,
                       const float *scale, const float *bias, int threads, double *mean,
                       double *inverse, float *y);

/* Groups of `channels` channels of [outer * groups][channels][inner], one mean and variance each;
 * parameter p of channel c of group g is g % groups * channels + c, or g % groups (by_group). */
void vqc_norm_groups_f32(const float *x, vqc_axis_span span, size_t groups, bool by_group,
                         double epsilon, const double *scale, const double *bias, int threads,
                         float *y);

#endif
