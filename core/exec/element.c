#include "core/exec/element.h"

#include <math.h>
#include <string.h>

#include "core/exec/minifloat.h"
#include "kernels/kernels.h"

vqc_class vqc_class_of(int32_t dtype)
{
    static const signed char classes[VQC_DTYPE_COUNT] = {
        [VQC_DTYPE_UNDEFINED] = VQC_CLASS_NONE,     [VQC_DTYPE_FLOAT] = VQC_CLASS_F32,
        [VQC_DTYPE_UINT8] = VQC_CLASS_U64,          [VQC_DTYPE_INT8] = VQC_CLASS_I64,
        [VQC_DTYPE_UINT16] = VQC_CLASS_U64,         [VQC_DTYPE_INT16] = VQC_CLASS_I64,
        [VQC_DTYPE_INT32] = VQC_CLASS_I64,          [VQC_DTYPE_INT64] = VQC_CLASS_I64,
        [VQC_DTYPE_STRING] = VQC_CLASS_NONE,        [VQC_DTYPE_BOOL] = VQC_CLASS_U64,
        [VQC_DTYPE_FLOAT16] = VQC_CLASS_F32,        [VQC_DTYPE_DOUBLE] = VQC_CLASS_F64,
        [VQC_DTYPE_UINT32] = VQC_CLASS_U64,         [VQC_DTYPE_UINT64] = VQC_CLASS_U64,
        [VQC_DTYPE_COMPLEX64] = VQC_CLASS_NONE,     [VQC_DTYPE_COMPLEX128] = VQC_CLASS_NONE,
        [VQC_DTYPE_BFLOAT16] = VQC_CLASS_F32,       [VQC_DTYPE_FLOAT8E4M3FN] = VQC_CLASS_F32,
        [VQC_DTYPE_FLOAT8E4M3FNUZ] = VQC_CLASS_F32, [VQC_DTYPE_FLOAT8E5M2] = VQC_CLASS_F32,
        [VQC_DTYPE_FLOAT8E5M2FNUZ] = VQC_CLASS_F32, [VQC_DTYPE_UINT4] = VQC_CLASS_U64,
        [VQC_DTYPE_INT4] = VQC_CLASS_I64,           [VQC_DTYPE_FLOAT4E2M1] = VQC_CLASS_F32,
        [VQC_DTYPE_FLOAT8E8M0] = VQC_CLASS_F32,     [VQC_DTYPE_UINT2] = VQC_CLASS_U64,
        [VQC_DTYPE_INT2] = VQC_CLASS_I64,           [VQC_DTYPE_FLOAT6E2M3] = VQC_CLASS_F32,
        [VQC_DTYPE_FLOAT6E3M2] = VQC_CLASS_F32,
    };

    return dtype < 0 || dtype >= VQC_DTYPE_COUNT ? VQC_CLASS_NONE : (vqc_class)classes[dtype];
}

/* Widens contiguous elements of one C type into a field of the chunk. */
#define LOAD_AS(type, field, wide)                                                                 \
    do {                                                                                           \
        for (size_t i = 0; i < n; i++) {                                                           \
            type value;                                                                            \
            memcpy(&value, (const unsigned char *)source + i * sizeof value, sizeof value);        \
            chunk->field[i] = (wide)value;                                                         \
        }                                                                                          \
    } while (0)

void vqc_element_load(int32_t dtype, const void *source, size_t n, vqc_chunk *chunk)
{
    const vqc_kernels *kernels = vqc_kernels_get();

    switch (dtype) {
    case VQC_DTYPE_FLOAT:
    case VQC_DTYPE_DOUBLE:
    case VQC_DTYPE_INT64:
    case VQC_DTYPE_UINT64:
        memcpy(chunk, source, n * (size_t)vqc_dtype_describe(dtype)->bits / 8);
        break;
    case VQC_DTYPE_FLOAT16:
        kernels->f16_f32_convert(source, n, chunk->f32);
        break;
    case VQC_DTYPE_BFLOAT16:
        kernels->bf16_f32_convert(source, n, chunk->f32);
        break;
    case VQC_DTYPE_INT8:
    case VQC_DTYPE_INT4:
    case VQC_DTYPE_INT2:
        LOAD_AS(int8_t, i64, int64_t);
        break;
    case VQC_DTYPE_INT16:
        LOAD_AS(int16_t, i64, int64_t);
        break;
    case VQC_DTYPE_INT32:
        LOAD_AS(int32_t, i64, int64_t);
        break;
    case VQC_DTYPE_UINT8:
    case VQC_DTYPE_UINT4:
    case VQC_DTYPE_UINT2:
        LOAD_AS(uint8_t, u64, uint64_t);
        break;
    case VQC_DTYPE_BOOL:
        LOAD_AS(uint8_t, u64, uint64_t) /* any byte but 0 is true */;
        for (size_t i = 0; i < n; i++) {
            chunk->u64[i] = chunk->u64[i] != 0;
        }
        break;
    case VQC_DTYPE_UINT16:
        LOAD_AS(uint16_t, u64, uint64_t);
        break;
    case VQC_DTYPE_UINT32:
        LOAD_AS(uint32_t, u64, uint64_t);
        break;
    default:
        vqc_minifloat_decode(dtype, source, n, chunk->f32);
        break;
    }
}

static int64_t double_to_int(double value)
{
    if (isnan(value)) {
        return 0;
    }
    if (value >= 0x1p63) {
        return INT64_MAX;
    }
    return value < -0x1p63 ? INT64_MIN : (int64_t)value;
}

static uint64_t double_to_uint(double value)
{
    if (value < 0x1p63) { /* also negative values and NaN */
        return (uint64_t)double_to_int(value);
    }
    return value >= 0x1p64 ? UINT64_MAX : value >= 0x1p63 ? (uint64_t)value : 0;
}

/* In-place conversion; upwards in memory for narrowing, downwards for widening (f32 to 8 bytes). */
#define CONVERT_NARROW(from_field)                                                                 \
    for (size_t i = 0; i < n; i++) {                                                               \
        float value = (float)chunk->from_field[i];                                                 \
        memcpy(&chunk->raw[i * sizeof value], &value, sizeof value);                               \
    }
#define CONVERT_WIDEN(to_field, function)                                                          \
    for (size_t i = n; i-- > 0;) {                                                                 \
        float value;                                                                               \
        memcpy(&value, &chunk->raw[i * sizeof value], sizeof value);                               \
        chunk->to_field[i] = function((double)value);                                              \
    }
#define CONVERT_SAME(to_field, from_field, function)                                               \
    for (size_t i = 0; i < n; i++) {                                                               \
        chunk->to_field[i] = function(chunk->from_field[i]);                                       \
    }

void vqc_element_convert(vqc_chunk *chunk, vqc_class from, vqc_class to, size_t n)
{
    if (from == to || from == VQC_CLASS_NONE || to == VQC_CLASS_NONE) {
        return;
    }
    if (from == VQC_CLASS_F32) {
        if (to == VQC_CLASS_F64) {
            CONVERT_WIDEN(f64, (double))
        } else if (to == VQC_CLASS_I64) {
            CONVERT_WIDEN(i64, double_to_int)
        } else {
            CONVERT_WIDEN(u64, double_to_uint)
        }
    } else if (from == VQC_CLASS_F64) {
        if (to == VQC_CLASS_F32) {
            CONVERT_NARROW(f64)
        } else if (to == VQC_CLASS_I64) {
            CONVERT_SAME(i64, f64, double_to_int)
        } else {
            CONVERT_SAME(u64, f64, double_to_uint)
        }
    } else if (from == VQC_CLASS_I64) {
        if (to == VQC_CLASS_F32) {
            CONVERT_NARROW(i64)
        } else if (to == VQC_CLASS_F64) {
            CONVERT_SAME(f64, i64, (double))
        } /* to U64: the same bits */
    } else {
        if (to == VQC_CLASS_F32) {
            CONVERT_NARROW(u64)
        } else if (to == VQC_CLASS_F64) {
            CONVERT_SAME(f64, u64, (double))
        }
    }
}

/* bool: every value but zero is true, in whatever class it is (so 0.5 too). */
static void store_bool(vqc_class from, const vqc_chunk *chunk, size_t n, unsigned char *target)
{
    for (size_t i = 0; i < n; i++) {
        switch (from) {
        case VQC_CLASS_F32:
            target[i] = chunk->f32[i] != 0.0f;
            break;
        case VQC_CLASS_F64:
            target[i] = chunk->f64[i] != 0.0;
            break;
        default:
            target[i] = chunk->u64[i] != 0;
            break;
        }
    }
}

#define STORE_AS(type)                                                                             \
    for (size_t i = 0; i < n; i++) {                                                               \
        type value = (type)chunk->u64[i]; /* modulo 2^width for signed and unsigned alike */       \
        memcpy((unsigned char *)target + i * sizeof value, &value, sizeof value);                  \
    }

static void store_integer(int32_t dtype, const vqc_chunk *chunk, size_t n, void *target)
{
    unsigned char *bytes = target;

    switch (vqc_dtype_describe(dtype)->bits) {
    case 64:
        memcpy(target, chunk->u64, n * sizeof chunk->u64[0]);
        break;
    case 32:
        STORE_AS(uint32_t)
        break;
    case 16:
        STORE_AS(uint16_t)
        break;
    case 8:
        STORE_AS(uint8_t)
        break;
    default: { /* 4 and 2 bits: cut off, sign-extended into the byte */
        unsigned mask = (1u << vqc_dtype_describe(dtype)->bits) - 1;
        unsigned sign = vqc_class_of(dtype) == VQC_CLASS_I64 ? (mask + 1) / 2 : 0;
        for (size_t i = 0; i < n; i++) {
            unsigned field = (unsigned)chunk->u64[i] & mask;
            bytes[i] = (unsigned char)((field ^ sign) - sign);
        }
        break;
    }
    }
}

void vqc_element_store(int32_t dtype, vqc_class from, vqc_chunk *chunk, size_t n,
                       const vqc_store_mode *mode, void *target)
{
    static const vqc_store_mode plain = {false, VQC_SCALE_UP};
    const vqc_kernels *kernels = vqc_kernels_get();
    vqc_class natural = vqc_class_of(dtype);

    if (dtype == VQC_DTYPE_BOOL) {
        store_bool(from, chunk, n, target);
        return;
    }
    mode = mode != NULL ? mode : &plain;
    vqc_element_convert(chunk, from, natural, n);
    switch (dtype) {
    case VQC_DTYPE_FLOAT:
        memcpy(target, chunk->f32, n * sizeof chunk->f32[0]);
        break;
    case VQC_DTYPE_DOUBLE:
        memcpy(target, chunk->f64, n * sizeof chunk->f64[0]);
        break;
    case VQC_DTYPE_FLOAT16:
        kernels->f32_f16_convert(chunk->f32, n, target);
        break;
    case VQC_DTYPE_BFLOAT16:
        kernels->f32_bf16_convert(chunk->f32, n, target);
        break;
    default:
        if (natural == VQC_CLASS_F32) {
            vqc_minifloat_encode(dtype, chunk->f32, n, !mode->no_saturate, (int)mode->e8m0, target);
        } else {
            store_integer(dtype, chunk, n, target);
        }
        break;
    }
}

int64_t vqc_element_int(int32_t dtype, const unsigned char *data, size_t index)
{
    vqc_chunk chunk;

    vqc_element_load(dtype, data + index * (size_t)((vqc_dtype_describe(dtype)->bits + 7) / 8), 1,
                     &chunk);
    return chunk.i64[0];
}
