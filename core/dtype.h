/* Tensor data types of the ONNX standard, by their own numbers (the system's onnx.proto may be
 * older). */
#ifndef VQC_CORE_DTYPE_H
#define VQC_CORE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum vqc_dtype {
    VQC_DTYPE_UNDEFINED = 0,
    VQC_DTYPE_FLOAT = 1,
    VQC_DTYPE_UINT8 = 2,
    VQC_DTYPE_INT8 = 3,
    VQC_DTYPE_UINT16 = 4,
    VQC_DTYPE_INT16 = 5,
    VQC_DTYPE_INT32 = 6,
    VQC_DTYPE_INT64 = 7,
    VQC_DTYPE_STRING = 8,
    VQC_DTYPE_BOOL = 9,
    VQC_DTYPE_FLOAT16 = 10,
    VQC_DTYPE_DOUBLE = 11,
    VQC_DTYPE_UINT32 = 12,
    VQC_DTYPE_UINT64 = 13,
    VQC_DTYPE_COMPLEX64 = 14,
    VQC_DTYPE_COMPLEX128 = 15,
    VQC_DTYPE_BFLOAT16 = 16,
    VQC_DTYPE_FLOAT8E4M3FN = 17,
    VQC_DTYPE_FLOAT8E4M3FNUZ = 18,
    VQC_DTYPE_FLOAT8E5M2 = 19,
    VQC_DTYPE_FLOAT8E5M2FNUZ = 20,
    VQC_DTYPE_UINT4 = 21,
    VQC_DTYPE_INT4 = 22,
    VQC_DTYPE_FLOAT4E2M1 = 23,
    VQC_DTYPE_FLOAT8E8M0 = 24,
    VQC_DTYPE_UINT2 = 25,
    VQC_DTYPE_INT2 = 26,
    VQC_DTYPE_FLOAT6E2M3 = 27,
    VQC_DTYPE_FLOAT6E3M2 = 28,
    VQC_DTYPE_COUNT
} vqc_dtype;

typedef struct vqc_dtype_info {
    const char *name;   /* lower case, as in the ONNX documentation: "float32", "int4" */
    int bits;           /* stored bits per element; 0: variable (string) or unknown */
    bool is_float;      /* float16, bfloat16, float32, float64: what a codec may code */
    int64_t ir_version; /* the IR version that introduced it */
} vqc_dtype_info;

/* The row of `dtype` (any int; unknown numbers give a row named "unknown" with bits 0). */
const vqc_dtype_info *vqc_dtype_describe(int32_t dtype);

/* Bytes of raw_data for `elements` values (sub-byte types packed, last byte filled up);
 * false when the type has no fixed width or the product overflows. */
bool vqc_dtype_bytes(int32_t dtype, size_t elements, size_t *size_bytes);

#endif
