#include "formats/tensor_pb.h"

#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"
#include "core/memory.h"
#include "core/tensor.h"
#include "formats/file_util.h"
#include "formats/npz_file.h"
#include "formats/onnx_decode.h"

/* A mapped file and the message in it. */
typedef struct mapped_tensor {
    vqc_file_map map;
    vqc_arena *arena;
    const Onnx__TensorProto *tensor;
} mapped_tensor;

static void unmap_tensor(mapped_tensor *mapped)
{
    vqc_arena_destroy(&mapped->arena);
    vqc_file_map_close(&mapped->map);
}

static vqc_status map_tensor(const char *path, mapped_tensor *mapped, vqc_error *error)
{
    ProtobufCMessage *message = NULL;
    const Onnx__TensorProto *tensor;
    vqc_status status = vqc_file_map_open(path, &mapped->map, error);

    if (status != VQC_OK) {
        return status;
    }
    mapped->arena = vqc_arena_create();
    if (mapped->arena == NULL) {
        return vqc_fail_memory(error, 0);
    }
    status = vqc_onnx_decode(&onnx__tensor_proto__descriptor, mapped->map.data,
                             mapped->map.size_bytes, path, mapped->arena, &message, error);
    if (status != VQC_OK) {
        return status;
    }
    tensor = (const Onnx__TensorProto *)message;
    if (tensor->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: the tensor's data lie in another file, expected them in this one",
                        path);
    }
    if (vqc_exec_width(tensor->data_type) == 0 || tensor->n_dims > VQC_EXEC_MAX_RANK) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: got a tensor of type %s and rank %zu, expected numbers of rank at "
                        "most %d",
                        path, vqc_dtype_describe(tensor->data_type)->name, tensor->n_dims,
                        (int)VQC_EXEC_MAX_RANK);
    }
    mapped->tensor = tensor;
    return VQC_OK;
}

static vqc_status copy_name(const Onnx__TensorProto *tensor, char **name, vqc_error *error)
{
    if (name == NULL) {
        return VQC_OK;
    }
    *name = strdup(tensor->name != NULL ? tensor->name : "");
    return *name == NULL ? vqc_fail_memory(error, 1) : VQC_OK;
}

vqc_status vqc_tensor_pb_read(const char *path, vqc_buffer **buffer, char **name, vqc_error *error)
{
    mapped_tensor mapped = {.tensor = NULL};
    vqc_buffer *borrowed = NULL;
    vqc_buffer *copy = NULL;
    vqc_status status = map_tensor(path, &mapped, error);

    *buffer = NULL;
    if (name != NULL) {
        *name = NULL;
    }
    if (status == VQC_OK) {
        status = vqc_buffer_from_tensor(mapped.tensor, &borrowed, error);
        if (status != VQC_OK) {
            (void)vqc_error_prefix(error, "%.300s", path);
        }
    }
    if (status == VQC_OK) {
        copy = vqc_buffer_create(borrowed->dtype, borrowed->dims, borrowed->rank);
        if (copy == NULL) {
            status = vqc_fail_memory(error, borrowed->elements * borrowed->width);
        }
    }
    if (status == VQC_OK) {
        if (copy->elements > 0) {
            memcpy(copy->data, borrowed->data, copy->elements * copy->width);
        }
        status = copy_name(mapped.tensor, name, error);
    }
    if (status == VQC_OK) {
        *buffer = copy;
        copy = NULL;
    }
    vqc_buffer_destroy(&copy);
    vqc_buffer_destroy(&borrowed);
    unmap_tensor(&mapped);
    return status;
}

vqc_status vqc_tensor_pb_peek(const char *path, int32_t *dtype, int64_t dims[VQC_EXEC_MAX_RANK],
                              size_t *rank, char **name, vqc_error *error)
{
    mapped_tensor mapped = {.tensor = NULL};
    vqc_status status = map_tensor(path, &mapped, error);

    if (name != NULL) {
        *name = NULL;
    }
    if (status == VQC_OK) {
        *dtype = mapped.tensor->data_type;
        *rank = mapped.tensor->n_dims;
        for (size_t d = 0; d < *rank; d++) {
            dims[d] = mapped.tensor->dims[d];
        }
        status = copy_name(mapped.tensor, name, error);
    }
    unmap_tensor(&mapped);
    return status;
}

/* One byte per element into fields of `bits` bits, low bits first. */
static void pack(const vqc_buffer *buffer, int bits, uint8_t *raw)
{
    unsigned mask = (1u << bits) - 1;

    for (size_t i = 0; i < buffer->elements; i++) {
        size_t position = i * (size_t)bits;
        unsigned field = (buffer->data[i] & mask) << position % 8;
        raw[position / 8] |= (uint8_t)field;
        if (field > 0xff) {
            raw[position / 8 + 1] |= (uint8_t)(field >> 8);
        }
    }
}

vqc_status vqc_tensor_pb_write(const char *path, const char *name, const vqc_buffer *buffer,
                               vqc_error *error)
{
    vqc_arena *arena = vqc_arena_create();
    int bits = vqc_dtype_describe(buffer->dtype)->bits;
    size_t raw_bytes = buffer->elements * buffer->width;
    vqc_npz_file *file = NULL;
    const void *raw = buffer->data;
    Onnx__TensorProto *tensor = NULL;
    uint8_t *bytes = NULL;
    size_t size_bytes;
    vqc_status status = VQC_OK;

    if (arena != NULL && bits % 8 != 0) {
        uint8_t *packed;
        raw_bytes = (buffer->elements * (size_t)bits + 7) / 8;
        packed = vqc_arena_calloc(arena, raw_bytes + 1, 1);
        if (packed != NULL) {
            pack(buffer, bits, packed);
        }
        raw = packed;
    }
    if (arena != NULL && raw != NULL) {
        tensor = vqc_tensor_create(arena, name, (vqc_dtype)buffer->dtype, buffer->dims,
                                   buffer->rank, raw, raw_bytes);
    }
    if (tensor == NULL) {
        status = vqc_fail_memory(error, raw_bytes);
        goto done;
    }
    size_bytes = onnx__tensor_proto__get_packed_size(tensor);
    bytes = malloc(size_bytes + 1);
    if (bytes == NULL) {
        status = vqc_fail_memory(error, size_bytes);
        goto done;
    }
    (void)onnx__tensor_proto__pack(tensor, bytes);
    status = vqc_npz_file_create(path, &file, error);
    if (status == VQC_OK) {
        status = vqc_npz_file_write(file, bytes, size_bytes, error);
    }
    if (status == VQC_OK) {
        status = vqc_npz_file_commit(file, error);
    }
done:
    vqc_npz_file_destroy(&file);
    free(bytes);
    vqc_arena_destroy(&arena);
    return status;
}
