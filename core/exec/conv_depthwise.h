/* Depthwise convolutions of pictures: one input and one output channel per group. */
#ifndef VQC_CORE_EXEC_CONV_DEPTHWISE_H
#define VQC_CORE_EXEC_CONV_DEPTHWISE_H

#include "core/exec/conv.h"

/* Whether vqc_conv_depthwise computes it: enough channels to fill vectors with, and rows that a
 * cache holds. */
bool vqc_conv_depthwise_fits(const vqc_conv *conv);

/* As vqc_conv_f32, for what fits; weights [group, kernel] aligned to 4 bytes. */
vqc_status vqc_conv_depthwise(vqc_exec_call *call, const vqc_conv *conv, const float *weights,
                              const float *x, const float *bias, float *y);

#endif
