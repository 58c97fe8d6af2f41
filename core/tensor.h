/* Reading and building TensorProto payloads of every ONNX data type. */
#ifndef VQC_CORE_TENSOR_H
#define VQC_CORE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <onnx/onnx.pb-c.h>

#include "core/dtype.h"
#include "core/error.h"
#include "core/memory.h"

/* Element i of floats that may be unaligned, as payloads are. */
static inline float vqc_f32_at(const float *values, size_t i)
{
    float value;
    memcpy(&value, (const char *)values + i * sizeof value, sizeof value);
    return value;
}

/* Number of elements (product of dims; 1 for a scalar); false when a dim is negative or it
 * overflows. */
bool vqc_tensor_elements(const Onnx__TensorProto *tensor, size_t *elements);

/* Writes "float32 [64,3,7,7]" into text [capacity >= 64] for messages (shortened with "..." when
 * too long); returns text. */
const char *vqc_tensor_describe(const Onnx__TensorProto *tensor, char *text, size_t capacity);

/* Stored payload bytes of a tensor that uses raw or external data or typed fields, as if written
 * as raw_data; false for strings and malformed tensors. */
bool vqc_tensor_raw_bytes(const Onnx__TensorProto *tensor, size_t *size_bytes);

/*
 * Little-endian raw bytes of the tensor, [vqc_tensor_raw_bytes]. Borrowed from the tensor when it
 * has raw_data (or float_data/double_data of its own width); otherwise converted into `arena`.
 * Errors: length of the payload does not fit dims and data type (VQC_ERR_MODEL), strings.
 */
vqc_status vqc_tensor_borrow_raw(const Onnx__TensorProto *tensor, vqc_arena *arena,
                                 const void **raw, size_t *size_bytes, vqc_error *error);

/*
 * The tensor's values as float32, [elements]: float16, bfloat16, float32 exactly; float64 rounded
 * to nearest. *values may be unaligned (read it with memcpy or the kernels). Borrowed when the
 * tensor is float32 with raw_data, else converted into `arena`. Errors: not a float type, bad
 * payload.
 */
vqc_status vqc_tensor_borrow_f32(const Onnx__TensorProto *tensor, vqc_arena *arena,
                                 const float **values, size_t *elements, vqc_error *error);

/*
 * Gives the tensor other values [count] of its own float data type (rounded to nearest): float32
 * values are borrowed, others converted into `arena`. Its dims stay. Errors: not a float type, out
 * of memory; the tensor is unchanged then.
 */
vqc_status vqc_tensor_set_f32(Onnx__TensorProto *tensor, const float *values, size_t count,
                              vqc_arena *arena, vqc_error *error);

/* Tensors that hold other values for a while, the last one first. NULL: none. */
typedef struct vqc_tensor_exchange {
    Onnx__TensorProto *tensor;
    Onnx__TensorProto before; /* borrows what it borrowed */
    struct vqc_tensor_exchange *earlier;
} vqc_tensor_exchange;

/*
 * Gives the tensor other values as vqc_tensor_set_f32 does and remembers in *list what it held;
 * the entry lies in `arena`, too. The same errors; the tensor is unchanged then.
 */
vqc_status vqc_tensor_exchange_f32(vqc_tensor_exchange **list, Onnx__TensorProto *tensor,
                                   const float *values, size_t count, vqc_arena *arena,
                                   vqc_error *error);

/* Gives all tensors in *list back what they held; *list is NULL then. */
void vqc_tensor_exchange_back(vqc_tensor_exchange **list);

/* New tensor in `arena` with raw_data = borrowed `raw` (may be NULL while only sizes matter).
 * `name` and dims are copied. NULL when out of memory. */
Onnx__TensorProto *vqc_tensor_create(vqc_arena *arena, const char *name, vqc_dtype dtype,
                                     const int64_t *dims, size_t rank, const void *raw,
                                     size_t raw_bytes);

#endif
