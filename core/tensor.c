#include "core/tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"

/* Typed fields and raw_data are both read as they lie in memory. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "big-endian hosts are not supported");
_Static_assert(sizeof(float) == 4 && sizeof(double) == 8, "IEEE 754 float and double");

/* Which typed field of TensorProto carries a data type when it is not raw_data. */
typedef enum carrier {
    CARRIER_NONE,
    CARRIER_FLOAT,
    CARRIER_DOUBLE,
    CARRIER_INT32,
    CARRIER_INT64,
    CARRIER_UINT64
} carrier;

typedef struct typed_field {
    const char *name;
    const void *data;
    size_t count;      /* items in the field */
    size_t item_bytes; /* of one item in memory */
} typed_field;

static carrier carrier_of(int32_t dtype)
{
    switch (dtype) {
    case VQC_DTYPE_FLOAT:
    case VQC_DTYPE_COMPLEX64:
        return CARRIER_FLOAT;
    case VQC_DTYPE_DOUBLE:
    case VQC_DTYPE_COMPLEX128:
        return CARRIER_DOUBLE;
    case VQC_DTYPE_INT64:
        return CARRIER_INT64;
    case VQC_DTYPE_UINT32:
    case VQC_DTYPE_UINT64:
        return CARRIER_UINT64;
    default:
        return vqc_dtype_describe(dtype)->bits == 0 ? CARRIER_NONE : CARRIER_INT32;
    }
}

static typed_field typed_field_of(const Onnx__TensorProto *tensor)
{
    switch (carrier_of(tensor->data_type)) {
    case CARRIER_FLOAT:
        return (typed_field){"float_data", tensor->float_data, tensor->n_float_data, 4};
    case CARRIER_DOUBLE:
        return (typed_field){"double_data", tensor->double_data, tensor->n_double_data, 8};
    case CARRIER_INT32:
        return (typed_field){"int32_data", tensor->int32_data, tensor->n_int32_data, 4};
    case CARRIER_INT64:
        return (typed_field){"int64_data", tensor->int64_data, tensor->n_int64_data, 8};
    case CARRIER_UINT64:
        return (typed_field){"uint64_data", tensor->uint64_data, tensor->n_uint64_data, 8};
    case CARRIER_NONE:
        break;
    }
    return (typed_field){"no typed field", NULL, 0, 1};
}

/*
 * Items that the typed field must have. Source: onnx.proto, comments of TensorProto.int32_data:
 * types of 8 bits and more one item per element; 4- and 2-bit types one item per packed byte; 6-bit
 * floats one item per element; complex types two items per element (float_data, double_data).
 */
static bool typed_items(int32_t dtype, size_t elements, size_t *items)
{
    switch (dtype) {
    case VQC_DTYPE_COMPLEX64:
    case VQC_DTYPE_COMPLEX128:
        return vqc_size_mul(elements, 2, items);
    case VQC_DTYPE_UINT4:
    case VQC_DTYPE_INT4:
    case VQC_DTYPE_FLOAT4E2M1:
        *items = elements / 2 + elements % 2;
        return true;
    case VQC_DTYPE_UINT2:
    case VQC_DTYPE_INT2:
        *items = elements / 4 + (elements % 4 != 0);
        return true;
    default:
        *items = elements;
        return true;
    }
}

bool vqc_tensor_elements(const Onnx__TensorProto *tensor, size_t *elements)
{
    size_t count = 1;
    bool empty = false;

    for (size_t i = 0; i < tensor->n_dims; i++) {
        int64_t dim = tensor->dims[i];
        if (dim < 0 || (uint64_t)dim > SIZE_MAX) {
            return false;
        }
        if (dim == 0) {
            empty = true; /* [huge, huge, 0] is empty, not an overflow */
        } else if (!empty && !vqc_size_mul(count, (size_t)dim, &count)) {
            /* A zero may still come: look for it before giving up. */
            for (i++; i < tensor->n_dims && tensor->dims[i] > 0; i++) {
            }
            if (i == tensor->n_dims || tensor->dims[i] < 0) {
                return false;
            }
            empty = true;
        }
    }
    *elements = empty ? 0 : count;
    return true;
}

const char *vqc_tensor_describe(const Onnx__TensorProto *tensor, char *text, size_t capacity)
{
    const vqc_dtype_info *info = vqc_dtype_describe(tensor->data_type);
    size_t used;

    if (strcmp(info->name, "unknown") == 0) {
        (void)snprintf(text, capacity, "data type %" PRId32 " [", tensor->data_type);
    } else {
        (void)snprintf(text, capacity, "%s [", info->name);
    }
    used = strlen(text);
    for (size_t i = 0; i < tensor->n_dims && used + 24 < capacity; i++) {
        (void)snprintf(text + used, capacity - used, i == 0 ? "%" PRId64 : ",%" PRId64,
                       tensor->dims[i]);
        used += strlen(text + used);
        if (i + 1 < tensor->n_dims && used + 24 >= capacity) {
            (void)snprintf(text + used, capacity - used, ",...");
            used += strlen(text + used);
        }
    }
    if (used + 1 < capacity) {
        text[used] = ']';
        text[used + 1] = '\0';
    }
    return text;
}

static const char *name_of(const Onnx__TensorProto *tensor)
{
    return tensor->name == NULL ? "" : tensor->name;
}

bool vqc_tensor_raw_bytes(const Onnx__TensorProto *tensor, size_t *size_bytes)
{
    size_t elements;
    size_t bytes;
    size_t items;

    if (tensor->segment != NULL || tensor->data_type == VQC_DTYPE_STRING ||
        !vqc_tensor_elements(tensor, &elements)) {
        return false;
    }
    if (carrier_of(tensor->data_type) == CARRIER_NONE) {
        *size_bytes = tensor->raw_data.len;
        return tensor->has_raw_data;
    }
    if (!vqc_dtype_bytes(tensor->data_type, elements, &bytes)) {
        return false;
    }
    if (tensor->has_raw_data) {
        if (tensor->raw_data.len != bytes) {
            return false;
        }
    } else if (!typed_items(tensor->data_type, elements, &items) ||
               typed_field_of(tensor).count != items) {
        return false;
    }
    *size_bytes = bytes;
    return true;
}

/* Says why vqc_tensor_raw_bytes refused. */
static vqc_status explain_bad_payload(const Onnx__TensorProto *tensor, vqc_error *error)
{
    char shape[160];
    size_t elements;
    size_t wanted = 0;
    typed_field field = typed_field_of(tensor);
    const char *name = name_of(tensor);

    (void)vqc_tensor_describe(tensor, shape, sizeof shape);
    if (tensor->segment != NULL) {
        return vqc_fail(error, VQC_ERR_MODEL, "tensor \"%s\": segmented tensors are not supported",
                        name);
    }
    if (tensor->data_type == VQC_DTYPE_STRING) {
        return vqc_fail(error, VQC_ERR_MODEL, "tensor \"%s\": got strings, expected numbers", name);
    }
    if (!vqc_tensor_elements(tensor, &elements)) {
        return vqc_fail(error, VQC_ERR_MODEL, "tensor \"%s\": dims of %s are negative or too large",
                        name, shape);
    }
    if (carrier_of(tensor->data_type) == CARRIER_NONE) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "tensor \"%s\": %s has no raw_data and no known typed field", name, shape);
    }
    if (!vqc_dtype_bytes(tensor->data_type, elements, &wanted)) {
        return vqc_fail(error, VQC_ERR_MODEL, "tensor \"%s\": %s is too large", name, shape);
    }
    if (tensor->has_raw_data) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "tensor \"%s\": raw_data has %zu bytes, expected %zu for %s", name,
                        tensor->raw_data.len, wanted, shape);
    }
    (void)typed_items(tensor->data_type, elements, &wanted);
    return vqc_fail(error, VQC_ERR_MODEL, "tensor \"%s\": %s has %zu items, expected %zu for %s",
                    name, field.name, field.count, wanted, shape);
}

/* Low bytes of each item: uint8 from int32_data, uint32 from uint64_data, packed 4-bit bytes, ...
 */
static void narrow_items(const typed_field *field, size_t width, uint8_t *out)
{
    const uint8_t *in = field->data;

    for (size_t i = 0; i < field->count; i++) {
        memcpy(out + i * width, in + i * field->item_bytes, width);
    }
}

/* float6 codes, one per int32 item, into the little-endian bit stream that raw_data has. */
static void pack_six_bits(const int32_t *codes, size_t count, uint8_t *out)
{
    uint32_t bits = 0;
    unsigned pending = 0;

    for (size_t i = 0; i < count; i++) {
        bits |= ((uint32_t)codes[i] & 0x3fu) << pending;
        pending += 6;
        while (pending >= 8) {
            *out++ = (uint8_t)bits;
            bits >>= 8;
            pending -= 8;
        }
    }
    if (pending > 0) {
        *out = (uint8_t)bits;
    }
}

vqc_status vqc_tensor_borrow_raw(const Onnx__TensorProto *tensor, vqc_arena *arena,
                                 const void **raw, size_t *size_bytes, vqc_error *error)
{
    static const uint64_t nothing[1]; /* a valid address for empty tensors */
    typed_field field;
    size_t width;
    uint8_t *copy;

    *raw = NULL;
    *size_bytes = 0;
    if (!vqc_tensor_raw_bytes(tensor, size_bytes)) {
        return explain_bad_payload(tensor, error);
    }
    if (*size_bytes == 0) {
        *raw = nothing;
        return VQC_OK;
    }
    if (tensor->has_raw_data) {
        *raw = tensor->raw_data.data;
        return VQC_OK;
    }
    field = typed_field_of(tensor);
    if (*size_bytes == field.count * field.item_bytes) {
        *raw =
            field.data; /* float, double, int32, int64, uint64 and complex are stored as they are */
        return VQC_OK;
    }
    copy = vqc_arena_alloc(arena, *size_bytes);
    if (copy == NULL) {
        return vqc_fail_memory(error, *size_bytes);
    }
    if (vqc_dtype_describe(tensor->data_type)->bits == 6) {
        pack_six_bits(tensor->int32_data, tensor->n_int32_data, copy);
    } else {
        width = *size_bytes / field.count; /* exact: sub-byte types have one item per byte */
        narrow_items(&field, width, copy);
    }
    *raw = copy;
    return VQC_OK;
}

vqc_status vqc_tensor_borrow_f32(const Onnx__TensorProto *tensor, vqc_arena *arena,
                                 const float **values, size_t *elements, vqc_error *error)
{
    const vqc_kernels *kernels = vqc_kernels_get();
    const void *raw;
    size_t raw_bytes;
    size_t total;
    float *copy;
    vqc_status status;

    *values = NULL;
    *elements = 0;
    if (!vqc_dtype_describe(tensor->data_type)->is_float) {
        char shape[160];
        return vqc_fail(error, VQC_ERR_MODEL,
                        "tensor \"%s\": got %s, expected float16, bfloat16, float32 or float64",
                        name_of(tensor), vqc_tensor_describe(tensor, shape, sizeof shape));
    }
    status = vqc_tensor_borrow_raw(tensor, arena, &raw, &raw_bytes, error);
    if (status != VQC_OK) {
        return status;
    }
    (void)vqc_tensor_elements(tensor, elements);
    if (tensor->data_type == VQC_DTYPE_FLOAT) {
        *values = raw;
        return VQC_OK;
    }
    if (!vqc_size_mul(*elements, sizeof(float), &total)) {
        return vqc_fail_memory(error, SIZE_MAX);
    }
    copy = vqc_arena_alloc(arena, total);
    if (copy == NULL) {
        return vqc_fail_memory(error, total);
    }
    switch (tensor->data_type) { /* the kernels take unaligned pointers */
    case VQC_DTYPE_FLOAT16:
        kernels->f16_f32_convert(raw, *elements, copy);
        break;
    case VQC_DTYPE_BFLOAT16:
        kernels->bf16_f32_convert(raw, *elements, copy);
        break;
    default:
        kernels->f64_f32_convert(raw, *elements, copy);
        break;
    }
    *values = copy;
    return VQC_OK;
}

vqc_status vqc_tensor_set_f32(Onnx__TensorProto *tensor, const float *values, size_t count,
                              vqc_arena *arena, vqc_error *error)
{
    const vqc_kernels *kernels = vqc_kernels_get();
    size_t width = (size_t)vqc_dtype_describe(tensor->data_type)->bits / 8;
    size_t size_bytes;
    void *raw = (void *)(uintptr_t)values; /* never written through */

    if (!vqc_dtype_describe(tensor->data_type)->is_float) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "tensor \"%s\": its type takes no float values",
                        name_of(tensor));
    }
    if (!vqc_size_mul(count, width, &size_bytes)) {
        return vqc_fail_memory(error, SIZE_MAX);
    }
    if (tensor->data_type != VQC_DTYPE_FLOAT) {
        raw = vqc_arena_alloc(arena, size_bytes);
        if (raw == NULL) {
            return vqc_fail_memory(error, size_bytes);
        }
    }
    if (tensor->data_type == VQC_DTYPE_FLOAT16) {
        kernels->f32_f16_convert(values, count, raw);
    } else if (tensor->data_type == VQC_DTYPE_BFLOAT16) {
        kernels->f32_bf16_convert(values, count, raw);
    } else if (tensor->data_type == VQC_DTYPE_DOUBLE) {
        double *wide = raw;
        for (size_t i = 0; i < count; i++) {
            wide[i] = (double)values[i];
        }
    }
    tensor->has_raw_data = 1;
    tensor->raw_data.data = raw;
    tensor->raw_data.len = size_bytes;
    tensor->n_float_data = tensor->n_double_data = tensor->n_int32_data = 0;
    tensor->n_external_data = 0;
    tensor->external_data = NULL;
    tensor->has_data_location = 0;
    return VQC_OK;
}

vqc_status vqc_tensor_exchange_f32(vqc_tensor_exchange **list, Onnx__TensorProto *tensor,
                                   const float *values, size_t count, vqc_arena *arena,
                                   vqc_error *error)
{
    vqc_tensor_exchange *item = vqc_arena_alloc(arena, sizeof *item);
    vqc_status status;

    if (item == NULL) {
        return vqc_fail_memory(error, sizeof *item);
    }
    *item = (vqc_tensor_exchange){.tensor = tensor, .before = *tensor, .earlier = *list};
    status = vqc_tensor_set_f32(tensor, values, count, arena, error);
    if (status == VQC_OK) {
        *list = item;
    }
    return status;
}

void vqc_tensor_exchange_back(vqc_tensor_exchange **list)
{
    for (; *list != NULL; *list = (*list)->earlier) {
        *(*list)->tensor = (*list)->before;
    }
}

Onnx__TensorProto *vqc_tensor_create(vqc_arena *arena, const char *name, vqc_dtype dtype,
                                     const int64_t *dims, size_t rank, const void *raw,
                                     size_t raw_bytes)
{
    Onnx__TensorProto *tensor = vqc_arena_alloc(arena, sizeof *tensor);

    if (tensor == NULL) {
        return NULL;
    }
    onnx__tensor_proto__init(tensor);
    tensor->name = vqc_arena_strdup(arena, name);
    tensor->dims = vqc_arena_calloc(arena, rank, sizeof *tensor->dims);
    if (tensor->name == NULL || tensor->dims == NULL) {
        return NULL;
    }
    if (rank > 0) {
        memcpy(tensor->dims, dims, rank * sizeof *dims);
    }
    tensor->n_dims = rank;
    tensor->has_data_type = 1;
    tensor->data_type = (int32_t)dtype;
    tensor->has_raw_data = 1;
    tensor->raw_data.len = raw_bytes;
    tensor->raw_data.data = (uint8_t *)(uintptr_t)raw; /* never written through */
    return tensor;
}
