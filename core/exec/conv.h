/* The geometry of convolutions: attributes, padding and output sizes, common to Conv, ConvTranspose
 * and the integer convolutions. */
#ifndef VQC_CORE_EXEC_CONV_H
#define VQC_CORE_EXEC_CONV_H

#include "core/exec/exec_op.h"

enum { VQC_CONV_AXES = 3 };

/* One convolution; 1 and 2 spatial axes are filled up in front with axes of size 1. */
typedef struct vqc_conv {
    size_t n;     /* images */
    size_t group; /* >= 1 */
    size_t c;     /* input channels of a group */
    size_t m;     /* output channels of a group */
    size_t in[VQC_CONV_AXES], out[VQC_CONV_AXES], kernel[VQC_CONV_AXES]; /* depth, height, width */
    size_t stride[VQC_CONV_AXES], dilation[VQC_CONV_AXES];               /* >= 1 */
    int64_t pad[VQC_CONV_AXES];                                          /* in front, >= 0 */
    size_t taps;                                                         /* product of kernel */
    size_t in_size, out_size; /* products of in and out */
} vqc_conv;

/*
 * Reads the attributes auto_pad, dilations, group, kernel_shape, pads and strides (Conv since
 * version 1, ConvInteger and QLinearConv since 10) and checks them against x [n, c, ...] and
 * w [m, c / group, ...]; *conv and rank and dims of *type (not its dtype) are set. Up to three
 * spatial axes. Errors: VQC_ERR_MODEL, call->error filled.
 */
vqc_status vqc_conv_geometry(vqc_exec_call *call, const vqc_buffer *x, const vqc_buffer *w,
                             vqc_conv *conv, vqc_exec_type *type);

/*
 * The group, channels and kernel that weights [m, c / group, ...] of a Conv alone tell (for packing
 * them before any input is known); false when they are not weights of a valid Conv.
 */
bool vqc_conv_weight_shape(const vqc_exec_call *call, const vqc_buffer *w, vqc_conv *conv);

/*
 * vqc_conv_geometry for ConvTranspose (since version 1), with output_padding and output_shape; w is
 * [c, m / group, ...]. conv->pad counts what is cut off in front of the full output. An
 * output_shape beyond the full output ends with elements that nothing but the bias reaches.
 */
vqc_status vqc_conv_transpose_geometry(vqc_exec_call *call, const vqc_buffer *x,
                                       const vqc_buffer *w, vqc_conv *conv, vqc_exec_type *type);

#endif
