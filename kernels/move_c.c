/* C reference of the kernels that move data (kernel_list_move.h). */
#include "kernels/move_scalar.h"

void vqc_f32_transpose__c(const float *x, size_t rows, size_t cols, size_t x_stride, float *out,
                          size_t out_stride)
{
    move_transpose_scalar(x, rows, cols, x_stride, out, out_stride);
}
