#include "core/dtype.h"

#include "core/memory.h"

static const vqc_dtype_info INFO[VQC_DTYPE_COUNT] = {
    [VQC_DTYPE_UNDEFINED] = {"undefined", 0, false, 1},
    [VQC_DTYPE_FLOAT] = {"float32", 32, true, 1},
    [VQC_DTYPE_UINT8] = {"uint8", 8, false, 1},
    [VQC_DTYPE_INT8] = {"int8", 8, false, 1},
    [VQC_DTYPE_UINT16] = {"uint16", 16, false, 1},
    [VQC_DTYPE_INT16] = {"int16", 16, false, 1},
    [VQC_DTYPE_INT32] = {"int32", 32, false, 1},
    [VQC_DTYPE_INT64] = {"int64", 64, false, 1},
    [VQC_DTYPE_STRING] = {"string", 0, false, 1},
    [VQC_DTYPE_BOOL] = {"bool", 8, false, 1},
    [VQC_DTYPE_FLOAT16] = {"float16", 16, true, 1},
    [VQC_DTYPE_DOUBLE] = {"float64", 64, true, 1},
    [VQC_DTYPE_UINT32] = {"uint32", 32, false, 1},
    [VQC_DTYPE_UINT64] = {"uint64", 64, false, 1},
    [VQC_DTYPE_COMPLEX64] = {"complex64", 64, false, 1},
    [VQC_DTYPE_COMPLEX128] = {"complex128", 128, false, 1},
    [VQC_DTYPE_BFLOAT16] = {"bfloat16", 16, true, 4},
    [VQC_DTYPE_FLOAT8E4M3FN] = {"float8e4m3fn", 8, false, 9},
    [VQC_DTYPE_FLOAT8E4M3FNUZ] = {"float8e4m3fnuz", 8, false, 9},
    [VQC_DTYPE_FLOAT8E5M2] = {"float8e5m2", 8, false, 9},
    [VQC_DTYPE_FLOAT8E5M2FNUZ] = {"float8e5m2fnuz", 8, false, 9},
    [VQC_DTYPE_UINT4] = {"uint4", 4, false, 10},
    [VQC_DTYPE_INT4] = {"int4", 4, false, 10},
    [VQC_DTYPE_FLOAT4E2M1] = {"float4e2m1", 4, false, 11},
    [VQC_DTYPE_FLOAT8E8M0] = {"float8e8m0", 8, false, 12},
    [VQC_DTYPE_UINT2] = {"uint2", 2, false, 13},
    [VQC_DTYPE_INT2] = {"int2", 2, false, 13},
    [VQC_DTYPE_FLOAT6E2M3] = {"float6e2m3", 6, false, 14},
    [VQC_DTYPE_FLOAT6E3M2] = {"float6e3m2", 6, false, 14},
};

const vqc_dtype_info *vqc_dtype_describe(int32_t dtype)
{
    static const vqc_dtype_info unknown = {"unknown", 0, false, 1};
    return dtype < 0 || dtype >= VQC_DTYPE_COUNT ? &unknown : &INFO[dtype];
}

bool vqc_dtype_bytes(int32_t dtype, size_t elements, size_t *size_bytes)
{
    size_t bits;
    const vqc_dtype_info *info = vqc_dtype_describe(dtype);

    if (info->bits == 0) {
        return false;
    }
    if (info->bits % 8 == 0) {
        return vqc_size_mul(elements, (size_t)info->bits / 8, size_bytes);
    }
    if (!vqc_size_mul(elements, (size_t)info->bits, &bits) || !vqc_size_add(bits, 7, &bits)) {
        return false;
    }
    *size_bytes = bits / 8;
    return true;
}
