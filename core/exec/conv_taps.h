/* Depthwise and nearly depthwise convolutions: no matrix product, one pass over padded planes. */
#ifndef VQC_CORE_EXEC_CONV_TAPS_H
#define VQC_CORE_EXEC_CONV_TAPS_H

#include "core/exec/conv.h"

/* Whether the convolution is better computed this way: one or two output channels per group of few
 * input channels. */
bool vqc_conv_taps_fit(const vqc_conv *conv);

/* As vqc_conv_f32; weights [m group, c, kernel] aligned to 4 bytes. */
vqc_status vqc_conv_taps(vqc_exec_call *call, const vqc_conv *conv, const float *weights,
                         const float *x, const float *bias, float *y);

#endif
