/* float32 convolutions. */
#ifndef VQC_CORE_EXEC_CONV_F32_H
#define VQC_CORE_EXEC_CONV_F32_H

#include "core/exec/conv.h"

/* Weights as the convolution wants them; made once per constant, shared by runs of several threads.
 * They are packed by the first run that wants them packed in its way, under a lock of their own. */
typedef struct vqc_conv_weights vqc_conv_weights;

/* w: [m group, c, kernel] float32 of any alignment; stays the caller's, until destroy. NULL without
 * memory. */
vqc_conv_weights *vqc_conv_weights_create(const vqc_conv *conv, const unsigned char *w);
void vqc_conv_weights_destroy(vqc_conv_weights *weights);

/*
 * y [n, m group, out] = epilogue(conv(x [n, c group, in]) + bias [m group] (or NULL)). Each output
 * is one chain of fused multiply-adds from the bias over channel, depth, height, width of the
 * kernel; padding counts as zeros. Uses call->threads and scratch memory of the call.
 */
vqc_status vqc_conv_f32(vqc_exec_call *call, const vqc_conv *conv, vqc_conv_weights *weights,
                        const float *x, const float *bias, float *y);

/* The same of the transposed convolution; w [c group, m, kernel] float32. */
vqc_status vqc_conv_transpose_f32(vqc_exec_call *call, const vqc_conv *conv, const float *w,
                                  const float *x, const float *bias, float *y);

#endif
