#include "core/exec/buffer.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/tensor.h"

/* What several buffers share: memory of its own, or an arena into which a tensor was converted.
 * Constants are shared by runners of several threads, hence the atomic count. */
struct vqc_storage {
    atomic_size_t references;
    size_t size_bytes;
    size_t capacity; /* of memory that goes back to the pool */
    void *memory;
    vqc_arena *arena;
    vqc_pool *pool; /* NULL: free() */
};

size_t vqc_exec_width(int32_t dtype)
{
    int bits = vqc_dtype_describe(dtype)->bits;

    return bits <= 0 ? 0 : ((size_t)bits + 7) / 8;
}

bool vqc_exec_sizes(const int64_t *dims, size_t rank, size_t width, size_t *elements,
                    size_t *size_bytes)
{
    size_t all = 1; /* without zeros, so that any part of the product is safe to compute */
    bool zero = false;

    for (size_t i = 0; i < rank; i++) {
        if (dims[i] < 0 || (dims[i] > 0 && !vqc_size_mul(all, (size_t)dims[i], &all))) {
            return false;
        }
        zero = zero || dims[i] == 0;
    }
    if (all > (size_t)PTRDIFF_MAX / 32) { /* signed strides and any element width stay in range */
        return false;
    }
    *elements = zero ? 0 : all;
    return vqc_size_mul(*elements, width, size_bytes);
}

static vqc_buffer *new_header(int32_t dtype, const int64_t *dims, size_t rank, size_t *size_bytes)
{
    size_t width = vqc_exec_width(dtype);
    vqc_buffer *buffer;
    size_t elements;

    if (rank > VQC_EXEC_MAX_RANK || width == 0 ||
        !vqc_exec_sizes(dims, rank, width, &elements, size_bytes)) {
        return NULL;
    }
    buffer = calloc(1, sizeof *buffer);
    if (buffer == NULL) {
        return NULL;
    }
    buffer->dtype = dtype;
    buffer->rank = rank;
    buffer->elements = elements;
    buffer->width = width;
    if (rank > 0) {
        memcpy(buffer->dims, dims, rank * sizeof *dims);
    }
    return buffer;
}

static bool add_storage(vqc_buffer *buffer, void *memory, vqc_arena *arena, size_t size_bytes)
{
    buffer->storage = calloc(1, sizeof *buffer->storage);
    if (buffer->storage == NULL) {
        return false;
    }
    atomic_init(&buffer->storage->references, 1);
    buffer->storage->size_bytes = size_bytes;
    buffer->storage->memory = memory;
    buffer->storage->arena = arena;
    return true;
}

vqc_buffer *vqc_buffer_create(int32_t dtype, const int64_t *dims, size_t rank)
{
    size_t size_bytes;
    size_t rounded;
    void *memory;
    vqc_buffer *buffer = new_header(dtype, dims, rank, &size_bytes);

    if (buffer == NULL || !vqc_size_add(size_bytes, VQC_POOL_ALIGNMENT, &rounded)) {
        free(buffer);
        return NULL;
    }
    memory = aligned_alloc(VQC_POOL_ALIGNMENT, rounded - rounded % VQC_POOL_ALIGNMENT);
    if (memory == NULL || !add_storage(buffer, memory, NULL, size_bytes)) {
        free(memory);
        free(buffer);
        return NULL;
    }
    buffer->data = memory;
    return buffer;
}

vqc_buffer *vqc_buffer_create_in(vqc_pool *pool, int32_t dtype, const int64_t *dims, size_t rank)
{
    size_t size_bytes;
    size_t capacity;
    void *memory;
    vqc_buffer *buffer;

    if (pool == NULL) {
        return vqc_buffer_create(dtype, dims, rank);
    }
    buffer = new_header(dtype, dims, rank, &size_bytes);
    if (buffer == NULL) {
        return NULL;
    }
    memory = vqc_pool_take(pool, size_bytes, &capacity);
    if (memory == NULL || !add_storage(buffer, memory, NULL, size_bytes)) {
        vqc_pool_give(pool, memory, capacity);
        free(buffer);
        return NULL;
    }
    buffer->storage->pool = pool;
    buffer->storage->capacity = capacity;
    buffer->data = memory;
    return buffer;
}

void vqc_buffer_detach(vqc_buffer *buffer)
{
    if (buffer->storage != NULL && buffer->storage->pool != NULL) {
        vqc_pool_forget(buffer->storage->pool, buffer->storage->capacity);
        buffer->storage->pool = NULL;
    }
}

bool vqc_buffer_is_sole(const vqc_buffer *buffer)
{
    return buffer->storage != NULL && atomic_load(&buffer->storage->references) == 1;
}

vqc_buffer *vqc_buffer_alias(const vqc_buffer *source, const int64_t *dims, size_t rank)
{
    size_t size_bytes;
    vqc_buffer *buffer = new_header(source->dtype, dims, rank, &size_bytes);

    if (buffer == NULL || buffer->elements != source->elements) {
        free(buffer);
        return NULL;
    }
    buffer->data = source->data;
    buffer->storage = source->storage;
    if (buffer->storage != NULL) {
        (void)atomic_fetch_add(&buffer->storage->references, 1);
    }
    return buffer;
}

/* Fields of `bits` bits, low bits of the first byte first, into one byte each. */
static void unpack(const unsigned char *raw, size_t raw_bytes, int bits, bool is_signed,
                   vqc_buffer *out)
{
    unsigned mask = (1u << bits) - 1;
    unsigned sign = is_signed ? 1u << (bits - 1) : 0;

    for (size_t i = 0; i < out->elements; i++) {
        size_t position = i * (size_t)bits;
        unsigned word = raw[position / 8];
        unsigned field;

        if (position / 8 + 1 < raw_bytes) {
            word |= (unsigned)raw[position / 8 + 1] << 8;
        }
        field = word >> position % 8 & mask;
        out->data[i] = (unsigned char)((field ^ sign) - sign);
    }
}

vqc_status vqc_buffer_from_tensor(const Onnx__TensorProto *tensor, vqc_buffer **out,
                                  vqc_error *error)
{
    const vqc_dtype_info *info = vqc_dtype_describe(tensor->data_type);
    const char *name = tensor->name != NULL ? tensor->name : "";
    vqc_arena *arena = NULL;
    vqc_buffer *buffer = NULL;
    const void *raw;
    size_t raw_bytes;
    size_t elements;
    size_t size_bytes;
    vqc_status status;

    *out = NULL;
    if (info->bits <= 0 || tensor->n_dims > VQC_EXEC_MAX_RANK) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "tensor \"%s\": got data type %s of rank %zu, expected numbers of rank at "
                        "most %d",
                        name, info->name, tensor->n_dims, VQC_EXEC_MAX_RANK);
    }
    if (!vqc_exec_sizes(tensor->dims, tensor->n_dims, vqc_exec_width(tensor->data_type), &elements,
                        &size_bytes)) {
        return vqc_fail(
            error, VQC_ERR_MODEL,
            "tensor \"%s\": got dimensions that are negative or whose product overflows", name);
    }
    arena = vqc_arena_create();
    if (arena == NULL) {
        return vqc_fail_memory(error, 0);
    }
    status = vqc_tensor_borrow_raw(tensor, arena, &raw, &raw_bytes, error);
    if (status != VQC_OK) {
        goto done;
    }
    if (info->bits % 8 != 0) {
        buffer = vqc_buffer_create(tensor->data_type, tensor->dims, tensor->n_dims);
    } else {
        buffer = new_header(tensor->data_type, tensor->dims, tensor->n_dims, &size_bytes);
    }
    if (buffer == NULL) {
        status = vqc_fail_memory(error, raw_bytes);
        goto done;
    }
    if (info->bits % 8 != 0) {
        bool is_signed = tensor->data_type == VQC_DTYPE_INT4 || tensor->data_type == VQC_DTYPE_INT2;
        if (raw_bytes < (buffer->elements * (size_t)info->bits + 7) / 8) {
            status = vqc_fail(error, VQC_ERR_MODEL, "tensor \"%s\": got %zu bytes for %zu elements",
                              name, raw_bytes, buffer->elements);
            goto done;
        }
        unpack(raw, raw_bytes, info->bits, is_signed, buffer);
    } else if (raw_bytes != buffer->elements * buffer->width) {
        status = vqc_fail(error, VQC_ERR_MODEL, "tensor \"%s\": got %zu bytes for %zu elements",
                          name, raw_bytes, buffer->elements);
        goto done;
    } else {
        union {
            const void *constant;
            unsigned char *data;
        } cast = {.constant = raw}; /* borrowed data is never written: see vqc_buffer */
        buffer->data = cast.data;
        if (vqc_arena_used(arena) > 0) { /* converted: the copy lives in the arena */
            if (!add_storage(buffer, NULL, arena, vqc_arena_used(arena))) {
                status = vqc_fail_memory(error, sizeof(vqc_storage));
                goto done;
            }
            arena = NULL;
        }
    }
    *out = buffer;
    buffer = NULL;
done:
    vqc_buffer_destroy(&buffer);
    vqc_arena_destroy(&arena);
    return status;
}

/* Linear index of entry i: indices are [count] linear ones or [count, rank] coordinates. */
static bool sparse_index(const vqc_buffer *indices, size_t i, const vqc_buffer *into, size_t *index)
{
    size_t columns = indices->rank == 2 ? (size_t)indices->dims[1] : 1;
    size_t linear = 0;

    for (size_t k = 0; k < columns; k++) {
        size_t extent = indices->rank == 2 ? (size_t)into->dims[k] : into->elements;
        int64_t at;

        memcpy(&at, indices->data + (i * columns + k) * sizeof at, sizeof at);
        if (at < 0 || (uint64_t)at >= extent) {
            return false;
        }
        linear = linear * extent + (size_t)at;
    }
    *index = linear;
    return true;
}

vqc_status vqc_buffer_from_sparse(const Onnx__SparseTensorProto *sparse, size_t limit_bytes,
                                  vqc_buffer **out, vqc_error *error)
{
    vqc_buffer *values = NULL;
    vqc_buffer *indices = NULL;
    vqc_buffer *dense = NULL;
    vqc_status status = VQC_OK;
    size_t elements;
    size_t size_bytes;

    *out = NULL;
    if (sparse->values == NULL || sparse->indices == NULL) {
        return vqc_fail(error, VQC_ERR_MODEL, "sparse tensor: values or indices are missing");
    }
    status = vqc_buffer_from_tensor(sparse->values, &values, error);
    if (status == VQC_OK) {
        status = vqc_buffer_from_tensor(sparse->indices, &indices, error);
    }
    if (status != VQC_OK) {
        goto done;
    }
    if (indices->dtype != VQC_DTYPE_INT64 || indices->rank < 1 || indices->rank > 2 ||
        (size_t)indices->dims[0] != values->elements || sparse->n_dims > VQC_EXEC_MAX_RANK ||
        (indices->rank == 2 && (size_t)indices->dims[1] != sparse->n_dims) ||
        !vqc_exec_sizes(sparse->dims, sparse->n_dims, values->width, &elements, &size_bytes) ||
        size_bytes > limit_bytes) {
        status = vqc_fail(error, VQC_ERR_MODEL,
                          "sparse tensor \"%s\": values, indices and dimensions do not agree",
                          sparse->values->name != NULL ? sparse->values->name : "");
        goto done;
    }
    dense = vqc_buffer_create(values->dtype, sparse->dims, sparse->n_dims);
    if (dense == NULL) {
        status = vqc_fail_memory(error, size_bytes);
        goto done;
    }
    memset(dense->data, 0, size_bytes);
    for (size_t i = 0; i < values->elements; i++) {
        size_t index;
        if (!sparse_index(indices, i, dense, &index)) {
            status = vqc_fail(error, VQC_ERR_MODEL, "sparse tensor \"%s\": index out of range",
                              sparse->values->name != NULL ? sparse->values->name : "");
            goto done;
        }
        memcpy(dense->data + index * dense->width, values->data + i * dense->width, dense->width);
    }
    *out = dense;
    dense = NULL;
done:
    vqc_buffer_destroy(&dense);
    vqc_buffer_destroy(&indices);
    vqc_buffer_destroy(&values);
    return status;
}

size_t vqc_buffer_owned_bytes(const vqc_buffer *buffer)
{
    return buffer->storage == NULL ? 0 : buffer->storage->size_bytes;
}

size_t vqc_buffer_destroy(vqc_buffer **buffer)
{
    vqc_storage *storage;
    size_t freed = 0;

    if (buffer == NULL || *buffer == NULL) {
        return 0;
    }
    storage = (*buffer)->storage;
    if (storage != NULL && atomic_fetch_sub(&storage->references, 1) == 1) {
        freed = storage->size_bytes;
        if (storage->pool != NULL) {
            vqc_pool_give(storage->pool, storage->memory, storage->capacity);
        } else {
            free(storage->memory);
        }
        vqc_arena_destroy(&storage->arena);
        free(storage);
    }
    free(*buffer);
    *buffer = NULL;
    return freed;
}
