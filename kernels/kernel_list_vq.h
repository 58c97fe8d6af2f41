/* Rows of kernels/kernel_list.h for vector quantization. */
#ifndef VQC_KERNELS_KERNEL_LIST_VQ_H
#define VQC_KERNELS_KERNEL_LIST_VQ_H

#include "kernels/vq_kernel_types.h"

#define VQC_KERNEL_LIST_VQ(X)                                                                      \
    X(f32_nearest, NEAREST, F32, void, (const vqc_nearest *job))                                   \
    X(f32_nearest_1, NEAREST, F32, void, (const vqc_nearest *job))                                 \
    X(f32_nearest_2, NEAREST, F32, void, (const vqc_nearest *job))                                 \
    X(f32_nearest_4, NEAREST, F32, void, (const vqc_nearest *job))                                 \
    X(f32_nearest_8, NEAREST, F32, void, (const vqc_nearest *job))                                 \
    X(f32_nearest_16, NEAREST, F32, void, (const vqc_nearest *job))

#endif
