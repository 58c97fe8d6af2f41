/* Rows of kernels/kernel_list.h for math kernels. */
#ifndef VQC_KERNELS_KERNEL_LIST_MATH_H
#define VQC_KERNELS_KERNEL_LIST_MATH_H

#define VQC_KERNEL_LIST_MATH(X)

#endif
