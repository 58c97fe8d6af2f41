/* Scalar steps of the integer kernels, shared by the C reference and the odd ends of the SIMD
 * kernels. What the kernels do is said in kernel_list_int.h. */
#ifndef VQC_KERNELS_INT_SCALAR_H
#define VQC_KERNELS_INT_SCALAR_H

#include "kernels/lanes.h"

/* Bytes as codes of either sign. */
VQC_INLINE int32_t int_code(const void *x, size_t i, enum vqc_code code)
{
    return code == VQC_CODE_U8 ? (int32_t)((const uint8_t *)x)[i] : ((const int8_t *)x)[i];
}

/* Rows [row, rows_end) of x into panels. */
VQC_INLINE void int_pack_rows_scalar(const void *x, enum vqc_code code, size_t rows, size_t depth,
                                     size_t x_stride, int32_t zero_point, size_t width,
                                     int16_t *packed, size_t panel)
{
    for (size_t r = 0; r < rows; r++) {
        int16_t *target = packed + r / width * panel + r % width * 2;
        const char *row = (const char *)x + r * x_stride;
        for (size_t d = 0; d < depth; d++)
            target[d / 2 * width * 2 + d % 2] = (int16_t)(int_code(row, d, code) - zero_point);
        if (depth % 2 != 0)
            target[depth / 2 * width * 2 + 1] = 0;
    }
    for (size_t r = rows; r % width != 0; r++)
        for (size_t p = 0; p < (depth + 1) / 2; p++)
            memset(packed + r / width * panel + (p * width + r % width) * 2, 0, 2 * sizeof *packed);
}

/* Columns [first, cols) of x into panels; `first` is a multiple of width. */
VQC_INLINE void int_pack_cols_scalar(const void *x, enum vqc_code code, size_t depth, size_t first,
                                     size_t cols, size_t x_stride, int32_t zero_point, size_t width,
                                     int16_t *packed, size_t panel)
{
    for (size_t c0 = first; c0 < cols; c0 += width) {
        for (size_t p = 0; p < (depth + 1) / 2; p++) {
            int16_t *target = packed + c0 / width * panel + p * width * 2;
            const char *upper = (const char *)x + 2 * p * x_stride + c0;
            for (size_t i = 0; i < width; i++) {
                const bool inside = c0 + i < cols;
                const bool pair = inside && 2 * p + 1 < depth;
                target[2 * i] = (int16_t)(inside ? int_code(upper, i, code) - zero_point : 0);
                target[2 * i + 1] =
                    (int16_t)(pair ? int_code(upper + x_stride, i, code) - zero_point : 0);
            }
        }
    }
}

/* Bounds of (q - zero_point) as floats: exact, and clamping before rounding gives the same as
 * after. */
VQC_INLINE float int_low(enum vqc_code code, int32_t zero_point)
{
    return (float)((code == VQC_CODE_U8 ? 0 : -128) - zero_point);
}

VQC_INLINE float int_high(enum vqc_code code, int32_t zero_point)
{
    return (float)((code == VQC_CODE_U8 ? 255 : 127) - zero_point);
}

/* clamp(round(t) + zero_point); adding 1.5 * 2^23 rounds to the nearest even integer. */
VQC_INLINE uint8_t int_round_code(float t, enum vqc_code code, int32_t zero_point)
{
    const float magic = 12582912.0f;
    if (isnan(t))
        t = 0.0f;
    t = vqc_lane_max(t, int_low(code, zero_point));
    t = vqc_lane_min(t, int_high(code, zero_point));
    return (uint8_t)((int32_t)((t + magic) - magic) + zero_point);
}

VQC_INLINE uint8_t int_requantize_one(int32_t acc, int32_t bias, float scale, enum vqc_code code,
                                      int32_t zero_point)
{
    const int32_t sum = (int32_t)((uint32_t)acc + (uint32_t)bias);
    return int_round_code((float)sum * scale, code, zero_point);
}

#endif
