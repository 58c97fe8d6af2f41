/* Rows of kernels/kernel_list.h for gemm kernels. */
#ifndef VQC_KERNELS_KERNEL_LIST_GEMM_H
#define VQC_KERNELS_KERNEL_LIST_GEMM_H

#define VQC_KERNEL_LIST_GEMM(X)

#endif
