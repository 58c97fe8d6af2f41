/*
 * Input planes with their padding around them, for strides above 1 split into phases: phase (a, b)
 * holds the elements of rows a, a + stride, ... and columns b, b + stride, ... Then output element
 * o = (depth, height, width index over the phase's pitch) reads element o + offset of a phase for
 * every tap, with one offset per tap for the whole plane: contiguous loads for any kernel, stride
 * and dilation.
 */
#ifndef VQC_CORE_EXEC_CONV_PLANES_H
#define VQC_CORE_EXEC_CONV_PLANES_H

#include "core/exec/conv.h"

typedef struct vqc_conv_planes {
    size_t size[VQC_CONV_AXES]; /* of a phase */
    size_t phase_floats;
    size_t plane_floats; /* all phases of a channel */
    size_t span;         /* elements from the first to the last output of a plane */
    size_t *offset;      /* [c * kernel] of every tap of a group's channels */
} vqc_conv_planes;

/* Sizes and offsets (in scratch memory of the call) of a convolution with outputs. Errors:
 * VQC_ERR_INTERNAL when they do not fit into memory. */
vqc_status vqc_conv_planes_plan(vqc_exec_call *call, const vqc_conv *conv, vqc_conv_planes *planes);

/* Copies what is not padding of `channels` channels x [channels, in] to out [channels,
 * plane_floats], whose padding is zero already. */
void vqc_conv_planes_copy(const vqc_conv *conv, const vqc_conv_planes *planes, const float *x,
                          size_t channels, float *out);

#endif
