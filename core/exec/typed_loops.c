#include "core/exec/typed_loops.h"

#include <math.h>
#include <string.h>

#include "core/dtype.h"
#include "kernels/kernels.h"

/* Element i of an array that may be unaligned. */
#define DEFINE_AT(tag, type)                                                                       \
    static inline type at_##tag(const void *x, size_t i)                                           \
    {                                                                                              \
        type value;                                                                                \
        memcpy(&value, (const unsigned char *)x + i * sizeof value, sizeof value);                 \
        return value;                                                                              \
    }
DEFINE_AT(f32, float)
DEFINE_AT(i32, int32_t)
DEFINE_AT(i64, int64_t)
DEFINE_AT(u8, uint8_t)
DEFINE_AT(u32, uint32_t)
DEFINE_AT(u64, uint64_t)
DEFINE_AT(u16, uint16_t)

/* ---- comparisons ---- */

#define DEFINE_COMPARE(name, op, tag, type)                                                        \
    static void name##_##tag(const void *a, size_t a_step, const void *b, size_t b_step, size_t n, \
                             void *y)                                                              \
    {                                                                                              \
        unsigned char *out = y;                                                                    \
        if (a_step == 1 && b_step == 1) {                                                          \
            _Pragma("omp simd") for (size_t i = 0; i < n; i++)                                     \
            {                                                                                      \
                out[i] = at_##tag(a, i) op at_##tag(b, i);                                         \
            }                                                                                      \
        } else if (a_step == 1) {                                                                  \
            const type right = at_##tag(b, 0);                                                     \
            _Pragma("omp simd") for (size_t i = 0; i < n; i++)                                     \
            {                                                                                      \
                out[i] = at_##tag(a, i) op right;                                                  \
            }                                                                                      \
        } else {                                                                                   \
            const type left = at_##tag(a, 0);                                                      \
            for (size_t i = 0; i < n; i++) {                                                       \
                out[i] = left op at_##tag(b, i * b_step);                                          \
            }                                                                                      \
        }                                                                                          \
    }
#define DEFINE_COMPARES(name, op)                                                                  \
    DEFINE_COMPARE(name, op, f32, float)                                                           \
    DEFINE_COMPARE(name, op, i32, int32_t)                                                         \
    DEFINE_COMPARE(name, op, i64, int64_t)
DEFINE_COMPARES(equal, ==)
DEFINE_COMPARES(greater, >)
DEFINE_COMPARES(greater_equal, >=)
DEFINE_COMPARES(less, <)
DEFINE_COMPARES(less_equal, <=)

vqc_binary_bytes *vqc_typed_compare(const char *op, int32_t dtype)
{
    static const struct {
        const char *op;
        vqc_binary_bytes *f32, *i32, *i64;
    } loops[] = {
        {"Equal", equal_f32, equal_i32, equal_i64},
        {"Greater", greater_f32, greater_i32, greater_i64},
        {"GreaterOrEqual", greater_equal_f32, greater_equal_i32, greater_equal_i64},
        {"Less", less_f32, less_i32, less_i64},
        {"LessOrEqual", less_equal_f32, less_equal_i32, less_equal_i64},
    };

    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        if (strcmp(loops[i].op, op) == 0) {
            return dtype == VQC_DTYPE_FLOAT   ? loops[i].f32
                   : dtype == VQC_DTYPE_INT32 ? loops[i].i32
                   : dtype == VQC_DTYPE_INT64 ? loops[i].i64
                                              : NULL;
        }
    }
    return NULL;
}

/* ---- casts ---- */

/* Truncated; NaN gives 0, what does not fit the nearest 64-bit value. */
static inline int64_t float_to_int(float x)
{
    if (x >= -0x1p63f && x < 0x1p63f) {
        return (int64_t)x;
    }
    return isnan(x) ? 0 : x > 0 ? INT64_MAX : INT64_MIN;
}

#define DEFINE_CAST(name, to_type, value)                                                          \
    static void name(const void *x, size_t n, void *y)                                             \
    {                                                                                              \
        to_type *out = y;                                                                          \
        _Pragma("omp simd") for (size_t i = 0; i < n; i++)                                         \
        {                                                                                          \
            out[i] = (to_type)(value);                                                             \
        }                                                                                          \
    }
DEFINE_CAST(bool_to_f32, float, at_u8(x, i) != 0)
DEFINE_CAST(bool_to_i32, int32_t, at_u8(x, i) != 0)
DEFINE_CAST(bool_to_i64, int64_t, at_u8(x, i) != 0)
DEFINE_CAST(u8_to_f32, float, at_u8(x, i))
DEFINE_CAST(i32_to_f32, float, at_i32(x, i))
DEFINE_CAST(i64_to_f32, float, at_i64(x, i))
DEFINE_CAST(i32_to_i64, int64_t, at_i32(x, i))
DEFINE_CAST(i64_to_i32, int32_t, (uint32_t)at_u64(x, i)) /* wraps */
DEFINE_CAST(f32_to_bool, unsigned char, at_f32(x, i) != 0.0f)
DEFINE_CAST(i32_to_bool, unsigned char, at_i32(x, i) != 0)
DEFINE_CAST(i64_to_bool, unsigned char, at_i64(x, i) != 0)
DEFINE_CAST(f32_to_i64, int64_t, float_to_int(at_f32(x, i)))
DEFINE_CAST(f32_to_i32, int32_t, (uint32_t)(uint64_t)float_to_int(at_f32(x, i)))

vqc_typed_cast_fn *vqc_typed_cast(int32_t from, int32_t to)
{
    static const struct {
        int32_t from, to;
        vqc_typed_cast_fn *loop;
    } casts[] = {
        {VQC_DTYPE_BOOL, VQC_DTYPE_FLOAT, bool_to_f32},
        {VQC_DTYPE_BOOL, VQC_DTYPE_INT32, bool_to_i32},
        {VQC_DTYPE_BOOL, VQC_DTYPE_INT64, bool_to_i64},
        {VQC_DTYPE_UINT8, VQC_DTYPE_FLOAT, u8_to_f32},
        {VQC_DTYPE_INT32, VQC_DTYPE_FLOAT, i32_to_f32},
        {VQC_DTYPE_INT64, VQC_DTYPE_FLOAT, i64_to_f32},
        {VQC_DTYPE_INT32, VQC_DTYPE_INT64, i32_to_i64},
        {VQC_DTYPE_INT64, VQC_DTYPE_INT32, i64_to_i32},
        {VQC_DTYPE_FLOAT, VQC_DTYPE_BOOL, f32_to_bool},
        {VQC_DTYPE_INT32, VQC_DTYPE_BOOL, i32_to_bool},
        {VQC_DTYPE_INT64, VQC_DTYPE_BOOL, i64_to_bool},
        {VQC_DTYPE_FLOAT, VQC_DTYPE_INT64, f32_to_i64},
        {VQC_DTYPE_FLOAT, VQC_DTYPE_INT32, f32_to_i32},
    };

    for (size_t i = 0; i < sizeof casts / sizeof *casts; i++) {
        if (casts[i].from == from && casts[i].to == to) {
            return casts[i].loop;
        }
    }
    return NULL;
}

/* ---- selection ---- */

#define DEFINE_SELECT(tag, type)                                                                   \
    static void select_##tag(const unsigned char *condition, const void *yes, const void *no,      \
                             size_t n, void *y)                                                    \
    {                                                                                              \
        _Pragma("omp simd") for (size_t i = 0; i < n; i++)                                         \
        {                                                                                          \
            const type mask = (type)(0 - (type)(condition[i] != 0));                               \
            const type value =                                                                     \
                (type)((at_##tag(yes, i) & mask) | (at_##tag(no, i) & (type)~mask));               \
            memcpy((unsigned char *)y + i * sizeof value, &value, sizeof value);                   \
        }                                                                                          \
    }
DEFINE_SELECT(u8, uint8_t)
DEFINE_SELECT(u16, uint16_t)
DEFINE_SELECT(u32, uint32_t)
DEFINE_SELECT(u64, uint64_t)

void vqc_typed_select(const unsigned char *condition, const void *yes, const void *no, size_t n,
                      size_t width, void *y)
{
    switch (width) {
    case 1:
        select_u8(condition, yes, no, n, y);
        return;
    case 2:
        select_u16(condition, yes, no, n, y);
        return;
    case 4:
        select_u32(condition, yes, no, n, y);
        return;
    case 8:
        select_u64(condition, yes, no, n, y);
        return;
    default:
        break;
    }
    for (size_t i = 0; i < n; i++) {
        const void *from = condition[i] != 0 ? yes : no;
        memcpy((unsigned char *)y + i * width, (const unsigned char *)from + i * width, width);
    }
}

/* ---- powers ---- */

/* The root of -0 is -0 and that of -inf is NaN, where the power 0.5 is +0 and +inf. */
static void square_root(const float *x, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        const float value = at_f32(x, i);
        y[i] = (value == -INFINITY ? INFINITY : value) + 0.0f;
    }
    vqc_kernels_get()->f32_sqrt(y, n, y);
}

bool vqc_typed_power(const float *x, size_t n, float exponent, float *y)
{
    if (exponent == 2.0f) {
        vqc_kernels_get()->f32_mul(x, 1, x, 1, n, y);
    } else if (exponent == 0.5f) {
        square_root(x, n, y);
    } else if (exponent == 3.0f) { /* in double: rounded once */
        for (size_t i = 0; i < n; i++) {
            const double value = (double)at_f32(x, i);
            y[i] = (float)(value * value * value);
        }
    } else if (exponent == -1.0f) {
        for (size_t i = 0; i < n; i++) {
            y[i] = 1.0f / at_f32(x, i);
        }
    } else if (exponent == 1.0f) {
        memmove(y, x, n * sizeof *y);
    } else if (exponent == 0.0f) {
        for (size_t i = 0; i < n; i++) {
            y[i] = 1.0f;
        }
    } else {
        return false;
    }
    return true;
}
