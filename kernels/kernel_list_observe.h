/* Rows of kernels/kernel_list.h for observe kernels. */
#ifndef VQC_KERNELS_KERNEL_LIST_OBSERVE_H
#define VQC_KERNELS_KERNEL_LIST_OBSERVE_H

#define VQC_KERNEL_LIST_OBSERVE(X)

#endif
