/* C reference of the integer kernels: the definition of their results. */
#include "kernels/int_scalar.h"

static void requantize(const int32_t *acc, size_t rows, size_t cols, size_t acc_stride,
                       const int32_t *bias, const float *scale, bool by_row, int32_t zero_point,
                       enum vqc_code code, uint8_t *q, size_t q_stride)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            const size_t at = by_row ? r : c;
            q[r * q_stride + c] = int_requantize_one(
                acc[r * acc_stride + c], bias != NULL ? bias[at] : 0, scale[at], code, zero_point);
        }
}

#define INT_CODES(t, T, CODE)                                                                      \
    void vqc_##t##_s16_pack_rows__c(const T *x, size_t rows, size_t depth, size_t x_stride,        \
                                    int32_t zero_point, size_t width, int16_t *packed,             \
                                    size_t panel)                                                  \
    {                                                                                              \
        int_pack_rows_scalar(x, CODE, rows, depth, x_stride, zero_point, width, packed, panel);    \
    }                                                                                              \
    void vqc_##t##_s16_pack_cols__c(const T *x, size_t depth, size_t cols, size_t x_stride,        \
                                    int32_t zero_point, size_t width, int16_t *packed,             \
                                    size_t panel)                                                  \
    {                                                                                              \
        int_pack_cols_scalar(x, CODE, depth, 0, cols, x_stride, zero_point, width, packed, panel); \
    }                                                                                              \
    void vqc_s32_##t##_requantize_rows__c(                                                         \
        const int32_t *acc, size_t rows, size_t cols, size_t acc_stride, const int32_t *bias,      \
        const float *scale, int32_t zero_point, T *q, size_t q_stride)                             \
    {                                                                                              \
        requantize(acc, rows, cols, acc_stride, bias, scale, true, zero_point, CODE, (uint8_t *)q, \
                   q_stride);                                                                      \
    }                                                                                              \
    void vqc_s32_##t##_requantize_cols__c(                                                         \
        const int32_t *acc, size_t rows, size_t cols, size_t acc_stride, const int32_t *bias,      \
        const float *scale, int32_t zero_point, T *q, size_t q_stride)                             \
    {                                                                                              \
        requantize(acc, rows, cols, acc_stride, bias, scale, false, zero_point, CODE,              \
                   (uint8_t *)q, q_stride);                                                        \
    }                                                                                              \
    void vqc_f32_##t##_divide_quantize__c(const float *x, size_t n, float scale,                   \
                                          int32_t zero_point, T *q)                                \
    {                                                                                              \
        const vqc_f32_at *at = x;                                                                  \
        for (size_t i = 0; i < n; i++)                                                             \
            q[i] = (T)int_round_code(at[i] / scale, CODE, zero_point);                             \
    }
INT_CODES(u8, uint8_t, VQC_CODE_U8)
INT_CODES(s8, int8_t, VQC_CODE_S8)

void vqc_s32_f32_scale_cols__c(const int32_t *acc, size_t rows, size_t cols, size_t acc_stride,
                               const float *scale, const float *bias, float *x, size_t x_stride)
{
    vqc_f32_at *out = x;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            float value = (float)acc[r * acc_stride + c] * scale[c];
            if (bias != NULL)
                value += bias[c];
            out[r * x_stride + c] = value;
        }
}

void vqc_s16_s32_gemm__c(const int16_t *left, size_t left_panel, const int16_t *right,
                         size_t right_panel, size_t rows, size_t cols, size_t pairs,
                         bool accumulate, int32_t *c, size_t c_stride)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < cols; j++) {
            const int16_t *a = left + r / VQC_INT_ROWS * left_panel + r % VQC_INT_ROWS * 2;
            const int16_t *b = right + j / VQC_INT_COLS * right_panel + j % VQC_INT_COLS * 2;
            int32_t *target = c + r * c_stride + j;
            uint32_t sum = accumulate ? (uint32_t)*target : 0;
            for (size_t p = 0; p < pairs; p++) {
                sum += (uint32_t)(a[0] * b[0]) + (uint32_t)(a[1] * b[1]);
                a += VQC_INT_ROWS * 2;
                b += VQC_INT_COLS * 2;
            }
            *target = (int32_t)sum;
        }
}

void vqc_s16_s32_taps__c(const int16_t *x, size_t n, const int32_t *offsets, const int16_t *weights,
                         size_t taps, int32_t *sums)
{
    for (size_t i = 0; i < (n + 15) / 16 * 16; i++) {
        uint32_t sum = 0;
        for (size_t t = 0; t < taps; t++)
            sum += (uint32_t)(x[(size_t)offsets[t] + i] * weights[t]);
        sums[i] = (int32_t)sum;
    }
}
