/* Rows of kernels/kernel_list.h for gemm kernels. */
#ifndef VQC_KERNELS_KERNEL_LIST_GEMM_H
#define VQC_KERNELS_KERNEL_LIST_GEMM_H

#include "kernels/gemm_types.h"

#define VQC_KERNEL_LIST_GEMM(X)                                                                    \
    X(f32_gemm_rows, GEMM_ROWS, F32, size_t, (void))                                               \
    X(f32_gemm, GEMM, F32, void, (const vqc_gemm_block *block))                                    \
    X(f32_taps, TAPS, F32, void, (const vqc_taps_row *row))                                        \
    X(f32_depthwise, DEPTHWISE, F32, void, (const vqc_depthwise *job))                             \
    X(f32_gemm_pack, GEMM_PACK, F32, void,                                                         \
      (const float *x, size_t rows, size_t cols, size_t x_stride, size_t width, float *out))       \
    X(f32_copy_rows, COPY_ROWS, F32, void,                                                         \
      (const float *x, size_t rows, size_t cols, size_t x_stride, size_t x_step, float *out,       \
       size_t out_stride))                                                                         \
    X(f32_gemm_gather, GEMM_GATHER, F32, void, (const vqc_gemm_gather *gather))

#endif
