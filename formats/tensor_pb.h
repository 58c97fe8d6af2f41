/* Single tensors as ONNX keeps them in .pb files: serialized TensorProto messages. */
#ifndef VQC_FORMATS_TENSOR_PB_H
#define VQC_FORMATS_TENSOR_PB_H

#include <stddef.h>

#include "core/error.h"
#include "core/exec/buffer.h"

/*
 * Reads the TensorProto at `path`: *buffer is a copy of its values, *name (may be NULL) a malloc'ed
 * copy of its name, "" when it has none; both are the caller's. Errors: VQC_ERR_IO; VQC_ERR_MODEL
 * for malformed messages, data that do not fit dims and type, strings and external data.
 */
vqc_status vqc_tensor_pb_read(const char *path, vqc_buffer **buffer, char **name, vqc_error *error);

/* The same without the values: only what type, dims [*rank] and name they have. */
vqc_status vqc_tensor_pb_peek(const char *path, int32_t *dtype, int64_t dims[VQC_EXEC_MAX_RANK],
                              size_t *rank, char **name, vqc_error *error);

/* Writes `buffer` as a TensorProto called `name` with raw data to `path`, which is replaced when it
 * is complete. Types below a byte are packed as ONNX wants. Errors: VQC_ERR_IO, memory. */
vqc_status vqc_tensor_pb_write(const char *path, const char *name, const vqc_buffer *buffer,
                               vqc_error *error);

#endif
