/* Rows of kernels/kernel_list.h for integer matrix products and requantization.
 *
 * Operands of a product are packed into panels of int16 pairs: the values of a panel's W rows
 * (left operand, W = VQC_INT_ROWS) or columns (right operand, W = VQC_INT_COLS) at depths 2p and
 * 2p + 1 lie at panel + (p * W + i) * 2 and the int16 behind it. What is missing at an odd depth
 * or in the last panel is 0. The zero point is taken off while packing: 8-bit codes minus their
 * zero point fit int16, and two products of such values fit int32, so sums are exact modulo 2^32.
 *
 * - T_s16_pack_rows: x[rows][depth] into panels of `width` rows, `panel` int16 apart (>= width *
 *   depth rounded up to even). zero_point is a value of T.
 * - T_s16_pack_cols: x[depth][cols] into panels of `width` columns.
 * - s16_s32_gemm: c[rows][cols] = (accumulate ? c : 0) + left right, modulo 2^32, over `pairs`
 *   pairs of depths; left_panel and right_panel are the distances between panels in int16.
 * - s16_s32_taps: sums[i] = sum over t of weights[t] * x[offsets[t] + i], modulo 2^32, for i < n
 *   rounded up to 16: as many values are read behind every offset and written.
 * - s32_T_requantize_rows, _cols: q = clamp(round((float)(acc + bias) * scale) + zero_point) to the
 *   range of T, round to nearest even, with a bias (NULL: none, added modulo 2^32) and a scale per
 *   row or column; zero_point is a value of T; NaN counts as 0.
 * - s32_f32_scale_cols: x = (float)acc * scale + bias, each operation rounded, with a scale and a
 *   float bias (NULL: none) per column.
 * - f32_T_divide_quantize: q = clamp(round(x / scale) + zero_point), the division rounded to float,
 *   as ONNX QuantizeLinear says; NaN counts as 0. */
#ifndef VQC_KERNELS_KERNEL_LIST_INT_H
#define VQC_KERNELS_KERNEL_LIST_INT_H

#define VQC_INT_ROWS 6
#define VQC_INT_COLS 16

#define VQC_KERNEL_LIST_INT_CODES(X, t, K, T)                                                      \
    X(t##_s16_pack_rows, INT_PACK_ROWS, K, void,                                                   \
      (const T *x, size_t rows, size_t depth, size_t x_stride, int32_t zero_point, size_t width,   \
       int16_t *packed, size_t panel))                                                             \
    X(t##_s16_pack_cols, INT_PACK_COLS, K, void,                                                   \
      (const T *x, size_t depth, size_t cols, size_t x_stride, int32_t zero_point, size_t width,   \
       int16_t *packed, size_t panel))                                                             \
    X(s32_##t##_requantize_rows, INT_REQUANTIZE_ROWS, K, void,                                     \
      (const int32_t *acc, size_t rows, size_t cols, size_t acc_stride, const int32_t *bias,       \
       const float *scale, int32_t zero_point, T *q, size_t q_stride))                             \
    X(s32_##t##_requantize_cols, INT_REQUANTIZE_COLS, K, void,                                     \
      (const int32_t *acc, size_t rows, size_t cols, size_t acc_stride, const int32_t *bias,       \
       const float *scale, int32_t zero_point, T *q, size_t q_stride))                             \
    X(f32_##t##_divide_quantize, INT_DIVIDE, K, void,                                              \
      (const float *x, size_t n, float scale, int32_t zero_point, T *q))

#define VQC_KERNEL_LIST_INT(X)                                                                     \
    VQC_KERNEL_LIST_INT_CODES(X, u8, U8, uint8_t)                                                  \
    VQC_KERNEL_LIST_INT_CODES(X, s8, S8, int8_t)                                                   \
    X(s32_f32_scale_cols, INT_SCALE_COLS, F32, void,                                               \
      (const int32_t *acc, size_t rows, size_t cols, size_t acc_stride, const float *scale,        \
       const float *bias, float *x, size_t x_stride))                                              \
    X(s16_s32_gemm, INT_GEMM, S16, void,                                                           \
      (const int16_t *left, size_t left_panel, const int16_t *right, size_t right_panel,           \
       size_t rows, size_t cols, size_t pairs, bool accumulate, int32_t *c, size_t c_stride))      \
    X(s16_s32_taps, INT_TAPS, S16, void,                                                           \
      (const int16_t *x, size_t n, const int32_t *offsets, const int16_t *weights, size_t taps,    \
       int32_t *sums))

#endif
