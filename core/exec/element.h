/* Numbers of every ONNX type in four computing classes, so that no operator is written per data
 * type. */
#ifndef VQC_CORE_EXEC_ELEMENT_H
#define VQC_CORE_EXEC_ELEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"

enum {
    VQC_EXEC_CHUNK = 512 /* elements that operators take at a time: 4 KiB, fits level 1 caches */
};

/*
 * float16, bfloat16 and the smaller floats compute in float32 and are rounded when stored: for one
 * + - * / this is the correctly rounded result (24 >= 2 * 11 + 2 bits). Integers compute modulo
 * 2^64 and are cut to their width when stored, which is C's and NumPy's wrap-around.
 */
typedef enum vqc_class {
    VQC_CLASS_F32,
    VQC_CLASS_F64,
    VQC_CLASS_I64, /* signed integers */
    VQC_CLASS_U64, /* unsigned integers and bool (0, 1) */
    VQC_CLASS_COUNT,
    VQC_CLASS_NONE = -1 /* complex, strings: can be moved, not computed with */
} vqc_class;

typedef union vqc_chunk {
    float f32[VQC_EXEC_CHUNK];
    double f64[VQC_EXEC_CHUNK];
    int64_t i64[VQC_EXEC_CHUNK];
    uint64_t u64[VQC_EXEC_CHUNK];
    unsigned char raw[VQC_EXEC_CHUNK * 16];
} vqc_chunk;

/* The class a type computes in. */
vqc_class vqc_class_of(int32_t dtype);

/* Loads n <= VQC_EXEC_CHUNK contiguous elements of `dtype` in the class of that type. `source` may
 * be unaligned; it may not lie inside `chunk`. The type must have a class. */
void vqc_element_load(int32_t dtype, const void *source, size_t n, vqc_chunk *chunk);

/*
 * Converts n elements from one class to another in place: to float rounded to nearest even; from
 * float to integers truncated, NaN to 0, out of range to the nearest 64-bit value (ONNX leaves that
 * open).
 */
void vqc_element_convert(vqc_chunk *chunk, vqc_class from, vqc_class to, size_t n);

/* How Cast to the types of 8 bits and fewer treats values that do not fit. */
typedef struct vqc_store_mode {
    bool no_saturate; /* Cast attribute saturate = 0: overflow gives infinity or NaN */
    enum { VQC_SCALE_UP, VQC_SCALE_DOWN, VQC_SCALE_NEAREST } e8m0; /* round_mode of float8e8m0 */
} vqc_store_mode;

/*
 * Stores n elements that are in class `from` as `dtype` (mode may be NULL: saturate, up). Integers
 * wrap, bool becomes value != 0, floats round to nearest even. `chunk` is used up. `target` may be
 * unaligned and must not overlap the chunk.
 */
void vqc_element_store(int32_t dtype, vqc_class from, vqc_chunk *chunk, size_t n,
                       const vqc_store_mode *mode, void *target);

/* One element as int64 (for indices, axes, shapes); the type must be an integer or bool. */
int64_t vqc_element_int(int32_t dtype, const unsigned char *data, size_t index);

#endif
