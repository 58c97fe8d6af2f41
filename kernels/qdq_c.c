/* C reference of the quantize kernels that divide (kernel_list_qdq.h): the definition of their
 * results. */
#include "kernels/lanes.h"

/* Smallest and largest code of a type. */
static int32_t code_low(enum vqc_code code)
{
    return code == VQC_CODE_S8 ? -128 : code == VQC_CODE_S16 ? -32768 : 0;
}

static int32_t code_high(enum vqc_code code)
{
    return code_low(code) + (vqc_code_size(code) == 1 ? 255 : 65535);
}

/* Clamping before rounding gives the same as after, because the bounds are integers; adding and
 * subtracting 1.5 * 2^23 rounds to the nearest even integer for |t| <= 2^21. */
static int32_t divide_one(float x, float scale, int32_t zero_point, enum vqc_code code)
{
    const float magic = 12582912.0f;
    float t = x / scale;
    if (isnan(t))
        t = 0.0f;
    t = vqc_lane_max(t, (float)(code_low(code) - zero_point));
    t = vqc_lane_min(t, (float)(code_high(code) - zero_point));
    return (int32_t)((t + magic) - magic) + zero_point;
}

#define DIVIDE_FLAT(t, T, code)                                                                    \
    void vqc_f32_##t##_divide_quantize__c(const float *x, size_t n, float scale,                   \
                                          int32_t zero_point, T *q)                                \
    {                                                                                              \
        for (size_t i = 0; i < n; i++)                                                             \
            vqc_code_store(q, i, code,                                                             \
                           divide_one(((const vqc_f32_at *)x)[i], scale, zero_point, code));       \
    }

#define DIVIDE_COLS(t, T, code)                                                                    \
    void vqc_f32_##t##_divide_quantize_cols__c(const float *x, size_t rows, size_t cols,           \
                                               size_t x_stride, const float *scale,                \
                                               const int32_t *zero_point, T *q, size_t q_stride)   \
    {                                                                                              \
        for (size_t i = 0; i < rows * cols; i++) {                                                 \
            const size_t r = i / cols, c = i % cols;                                               \
            const int32_t zero = zero_point != NULL ? zero_point[c] : 0;                           \
            vqc_code_store(                                                                        \
                q, r *q_stride + c, code,                                                          \
                divide_one(((const vqc_f32_at *)x)[r * x_stride + c], scale[c], zero, code));      \
        }                                                                                          \
    }

DIVIDE_FLAT(u16, uint16_t, VQC_CODE_U16)
DIVIDE_FLAT(s16, int16_t, VQC_CODE_S16)
DIVIDE_COLS(u8, uint8_t, VQC_CODE_U8)
DIVIDE_COLS(s8, int8_t, VQC_CODE_S8)
DIVIDE_COLS(u16, uint16_t, VQC_CODE_U16)
DIVIDE_COLS(s16, int16_t, VQC_CODE_S16)
