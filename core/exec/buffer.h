/* Arrays inside the executor. */
#ifndef VQC_CORE_EXEC_BUFFER_H
#define VQC_CORE_EXEC_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <onnx/onnx.pb-c.h>

#include "core/dtype.h"
#include "core/error.h"
#include "core/exec/buffer_pool.h"

enum { VQC_EXEC_MAX_RANK = 16 };

typedef struct vqc_storage vqc_storage;

/*
 * A dense row-major array of one ONNX data type. Types below a byte (int4, float4e2m1, ...) and of
 * 6 bits take one byte per element here: integers as int8 or uint8, floats as their code.
 */
typedef struct vqc_buffer {
    int32_t dtype;
    size_t rank;
    int64_t dims[VQC_EXEC_MAX_RANK];
    size_t elements;
    size_t width;         /* bytes per element */
    unsigned char *data;  /* [elements * width]; may be unaligned; written only by its maker */
    vqc_storage *storage; /* counts references; NULL: data is borrowed from the model */
} vqc_buffer;

/* Bytes per element in a buffer; 0 for strings and unknown types. */
size_t vqc_exec_width(int32_t dtype);

/* Product of dims [rank] and of `width`, checked; false when a dim is negative or it overflows. */
bool vqc_exec_sizes(const int64_t *dims, size_t rank, size_t width, size_t *elements,
                    size_t *size_bytes);

/* New buffer of dtype and dims [rank] with uninitialised data, or NULL (memory, rank, type, sizes).
 */
vqc_buffer *vqc_buffer_create(int32_t dtype, const int64_t *dims, size_t rank);

/* The same with memory from a pool (NULL: as above), which must outlive the buffer or
 * vqc_buffer_detach. */
vqc_buffer *vqc_buffer_create_in(vqc_pool *pool, int32_t dtype, const int64_t *dims, size_t rank);

/* Takes the buffer's memory out of its pool for good: it may be destroyed anywhere, at any time. */
void vqc_buffer_detach(vqc_buffer *buffer);

/* Whether nobody else (no alias, not the model) has the buffer's data. */
bool vqc_buffer_is_sole(const vqc_buffer *buffer);

/* New buffer over the same data with other dims of the same number of elements; NULL: no memory. */
vqc_buffer *vqc_buffer_alias(const vqc_buffer *source, const int64_t *dims, size_t rank);

/*
 * The tensor's values. Whole-byte types with raw data are borrowed (the model must outlive the
 * buffer), others are copied. Errors: VQC_ERR_MODEL for strings, unknown types, a rank above
 * VQC_EXEC_MAX_RANK, or a payload that does not fit.
 */
vqc_status vqc_buffer_from_tensor(const Onnx__TensorProto *tensor, vqc_buffer **out,
                                  vqc_error *error);

/* The same of a sparse tensor, filled up with zeros. At most limit_bytes are allocated. */
vqc_status vqc_buffer_from_sparse(const Onnx__SparseTensorProto *sparse, size_t limit_bytes,
                                  vqc_buffer **out, vqc_error *error);

/* Bytes that this buffer owns together with its aliases; 0 when borrowed. */
size_t vqc_buffer_owned_bytes(const vqc_buffer *buffer);

/* Drops one reference; accepts NULL; sets *buffer to NULL. Returns the bytes that became free. */
size_t vqc_buffer_destroy(vqc_buffer **buffer);

#endif
