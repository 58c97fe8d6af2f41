/* Rows of kernels/kernel_list.h for QuantizeLinear, which divides by the scale; together with
 * f32_u8_divide_quantize and f32_s8_divide_quantize of kernel_list_int.h.
 *
 * - f32_T_divide_quantize: q = clamp(round(x / scale) + zero_point) to the range of T, the division
 *   rounded to float, then to the nearest even integer; NaN counts as 0. |zero_point| <= 2^20.
 * - f32_T_divide_quantize_cols: the same with a scale and a zero point (NULL: all 0) per column. */
#ifndef VQC_KERNELS_KERNEL_LIST_QDQ_H
#define VQC_KERNELS_KERNEL_LIST_QDQ_H

#define VQC_KERNEL_LIST_QDQ_FLAT(X, t, K, T)                                                       \
    X(f32_##t##_divide_quantize, DIVIDE, K, void,                                                  \
      (const float *x, size_t n, float scale, int32_t zero_point, T *q))

#define VQC_KERNEL_LIST_QDQ_COLS(X, t, K, T)                                                       \
    X(f32_##t##_divide_quantize_cols, DIVIDE_COLS, K, void,                                        \
      (const float *x, size_t rows, size_t cols, size_t x_stride, const float *scale,              \
       const int32_t *zero_point, T *q, size_t q_stride))

#define VQC_KERNEL_LIST_QDQ(X)                                                                     \
    VQC_KERNEL_LIST_QDQ_FLAT(X, u16, U16, uint16_t)                                                \
    VQC_KERNEL_LIST_QDQ_FLAT(X, s16, S16, int16_t)                                                 \
    VQC_KERNEL_LIST_QDQ_COLS(X, u8, U8, uint8_t)                                                   \
    VQC_KERNEL_LIST_QDQ_COLS(X, s8, S8, int8_t)                                                    \
    VQC_KERNEL_LIST_QDQ_COLS(X, u16, U16, uint16_t)                                                \
    VQC_KERNEL_LIST_QDQ_COLS(X, s16, S16, int16_t)

#endif
