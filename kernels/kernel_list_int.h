/* Rows of kernels/kernel_list.h for int kernels. */
#ifndef VQC_KERNELS_KERNEL_LIST_INT_H
#define VQC_KERNELS_KERNEL_LIST_INT_H

#define VQC_KERNEL_LIST_INT(X)

#endif
