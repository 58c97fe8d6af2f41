#include "formats/onnx_source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/tensor.h"
#include "formats/onnx_decode.h"

/* Large enough for full disk speed, small beside any model for which memory matters. */
enum { PIECE_BYTES = 4 << 20 };

enum { FUNCTION_ATTRIBUTE_PROTO = 11 }; /* field number in FunctionProto, since IR 9 */

vqc_onnx_source *vqc_onnx_source_of(const vqc_model *model)
{
    return model->release == vqc_onnx_source_release ? model->release_context : NULL;
}

void vqc_onnx_source_release(void *context)
{
    vqc_onnx_source *source = context;

    if (source == NULL) {
        return;
    }
    for (size_t i = 0; i < source->external_count; i++) {
        vqc_file_map_close(&source->externals[i].map);
    }
    if (source->mapped) {
        vqc_file_map_close(&source->model);
    }
    free(source->externals);
    free(source);
}

static bool inside(const vqc_file_map *map, const void *data, size_t size_bytes)
{
    uintptr_t start = (uintptr_t)map->data;
    uintptr_t at = (uintptr_t)data;

    return at >= start && at - start <= map->size_bytes &&
           size_bytes <= map->size_bytes - (at - start);
}

void vqc_onnx_source_discard(void *context, const void *data, size_t size_bytes)
{
    const vqc_onnx_source *source = context;
    bool ours = source->mapped && inside(&source->model, data, size_bytes);
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first;
    uintptr_t end;

    if (!ours && vqc_onnx_source_external_of(source, data, size_bytes) == NULL) {
        return;
    }
    first = ((uintptr_t)data + page - 1) / page * page;
    end = ((uintptr_t)data + size_bytes) / page * page;
    if (first < end) {
        /* Private, read-only, file-backed: the next access reads the page cache again. Only a hint.
         */
        (void)madvise((void *)first, end - first, MADV_DONTNEED);
    }
}

const vqc_onnx_external *vqc_onnx_source_external_of(const vqc_onnx_source *source,
                                                     const void *data, size_t size_bytes)
{
    for (size_t i = 0; i < source->external_count; i++) {
        if (inside(&source->externals[i].map, data, size_bytes)) {
            return &source->externals[i];
        }
    }
    return NULL;
}

void vqc_onnx_source_put(const vqc_onnx_source *source, vqc_writer *writer, const void *data,
                         size_t size_bytes)
{
    const uint8_t *at = data;

    if (source == NULL || size_bytes < PIECE_BYTES ||
        !(inside(&source->model, data, size_bytes) ||
          vqc_onnx_source_external_of(source, data, size_bytes) != NULL)) {
        vqc_writer_put(writer, data, size_bytes);
        return;
    }
    while (size_bytes > 0) {
        size_t piece = size_bytes < PIECE_BYTES ? size_bytes : PIECE_BYTES;
        vqc_writer_put(writer, at, piece);
        vqc_onnx_source_discard((void *)(uintptr_t)source, at, piece);
        at += piece;
        size_bytes -= piece;
    }
}

/* ---- external data ---- */

typedef struct loader {
    vqc_model *model;
    vqc_onnx_source *source;
    const char *folder;
} loader;

/* What the external_data entries of a tensor say. */
typedef struct external_range {
    const char *location;
    bool has_length;
    uint64_t offset;
    uint64_t length;
} external_range;

static const char *name_of(const Onnx__TensorProto *tensor)
{
    return tensor->name == NULL ? "" : tensor->name;
}

/* Decimal digits only: no sign, no blanks, no overflow. */
static bool parse_number(const char *text, uint64_t *value)
{
    uint64_t result = 0;

    if (text[0] == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(result, 10u, &result) ||
            __builtin_add_overflow(result, (uint64_t)(*text - '0'), &result)) {
            return false;
        }
    }
    *value = result;
    return true;
}

static vqc_status read_entries(const loader *l, const Onnx__TensorProto *tensor,
                               external_range *range, vqc_error *error)
{
    bool has_offset = false;

    memset(range, 0, sizeof *range);
    for (size_t i = 0; i < tensor->n_external_data; i++) {
        const Onnx__StringStringEntryProto *entry = tensor->external_data[i];
        const char *key = entry->key == NULL ? "" : entry->key;
        const char *value = entry->value == NULL ? "" : entry->value;
        bool is_offset = strcmp(key, "offset") == 0;
        bool is_length = strcmp(key, "length") == 0;

        if (strcmp(key, "location") == 0) {
            if (range->location != NULL) {
                return vqc_fail(error, VQC_ERR_MODEL,
                                "%s: tensor \"%s\": external data: two locations", l->model->path,
                                name_of(tensor));
            }
            range->location = value;
        } else if (is_offset || is_length) {
            if ((is_offset && has_offset) || (is_length && range->has_length) ||
                !parse_number(value, is_offset ? &range->offset : &range->length)) {
                return vqc_fail(error, VQC_ERR_MODEL,
                                "%s: tensor \"%s\": external data: %s \"%.40s\" is given twice or "
                                "not a number",
                                l->model->path, name_of(tensor), key, value);
            }
            has_offset |= is_offset;
            range->has_length |= is_length;
        }
    }
    if (range->location == NULL) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: tensor \"%s\": external data without a location",
                        l->model->path, name_of(tensor));
    }
    return VQC_OK;
}

/* Drops "." parts and repeated slashes, so that one file has one spelling. NULL: out of memory. */
static char *plain_location(vqc_arena *arena, const char *location)
{
    char *copy = vqc_arena_alloc(arena, strlen(location) + 1);
    size_t used = 0;

    if (copy == NULL) {
        return NULL;
    }
    for (const char *part = location; *part != '\0';) {
        size_t length = strcspn(part, "/");
        if (length > 0 && !(length == 1 && part[0] == '.')) {
            if (used > 0) {
                copy[used++] = '/';
            }
            memcpy(copy + used, part, length);
            used += length;
        }
        part += length + (part[length] == '/');
    }
    copy[used] = '\0';
    return copy;
}

/* Finds or maps the file at `location`. */
static vqc_status find_file(const loader *l, const Onnx__TensorProto *tensor, const char *location,
                            const vqc_file_map **map, vqc_error *error)
{
    vqc_onnx_source *source = l->source;
    vqc_onnx_external *item;
    char *plain = NULL;
    char *what;
    vqc_status status;

    /* Only spellings that pass the check are shortened: "/x" must not become "x". */
    if (vqc_path_is_below(location)) {
        plain = plain_location(l->model->arena, location);
        if (plain == NULL) {
            return vqc_fail_memory(error, strlen(location));
        }
        /* From the back: tensors of one file mostly follow each other. */
        for (size_t i = source->external_count; i-- > 0;) {
            if (strcmp(source->externals[i].location, plain) == 0) {
                *map = &source->externals[i].map;
                return VQC_OK;
            }
        }
    }
    if (source->external_count == source->external_capacity) {
        size_t capacity = source->external_capacity == 0 ? 4 : 2 * source->external_capacity;
        vqc_onnx_external *grown = realloc(source->externals, capacity * sizeof *grown);
        if (grown == NULL) {
            return vqc_fail_memory(error, capacity * sizeof *grown);
        }
        source->externals = grown;
        source->external_capacity = capacity;
    }
    what = vqc_arena_printf(l->model->arena, "%s: tensor \"%.200s\": external data", l->model->path,
                            name_of(tensor));
    if (what == NULL) {
        return vqc_fail_memory(error, strlen(l->model->path));
    }
    item = &source->externals[source->external_count];
    status =
        vqc_file_map_below(l->folder, plain == NULL ? location : plain, what, &item->map, error);
    if (status == VQC_OK) {
        item->location = plain;
        source->external_count++;
        *map = &item->map;
    }
    return status;
}

/* Bytes that dims and data type ask for; false in *known when the data type has no known width. */
static vqc_status wanted_bytes(const loader *l, const Onnx__TensorProto *tensor, bool *known,
                               size_t *bytes, vqc_error *error)
{
    char shape[160];
    size_t elements;

    if (tensor->data_type == VQC_DTYPE_STRING) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: tensor \"%s\": strings cannot be external data",
                        l->model->path, name_of(tensor));
    }
    *known = vqc_dtype_describe(tensor->data_type)->bits > 0;
    if (!vqc_tensor_elements(tensor, &elements) ||
        (*known && !vqc_dtype_bytes(tensor->data_type, elements, bytes))) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: tensor \"%s\": dims of %s are negative or too large", l->model->path,
                        name_of(tensor), vqc_tensor_describe(tensor, shape, sizeof shape));
    }
    return VQC_OK;
}

static vqc_status load_external(void *context, Onnx__TensorProto *tensor, vqc_tensor_role role,
                                vqc_error *error)
{
    const loader *l = context;
    char shape[160];
    external_range range;
    const vqc_file_map *map = NULL;
    bool known = false;
    size_t wanted = 0;
    vqc_status status;

    (void)role;
    if (tensor->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        return VQC_OK;
    }
    l->model->has_external_data = true;
    if (l->folder == NULL) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: tensor \"%s\": external data, but the model is not a file",
                        l->model->path, name_of(tensor));
    }
    status = read_entries(l, tensor, &range, error);
    if (status == VQC_OK) {
        status = wanted_bytes(l, tensor, &known, &wanted, error);
    }
    if (status == VQC_OK) {
        status = find_file(l, tensor, range.location, &map, error);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (!range.has_length) {
        /* The standard makes the length optional: the rest of the file, or what the tensor needs.
         */
        range.length = known                             ? wanted
                       : range.offset <= map->size_bytes ? map->size_bytes - range.offset
                                                         : 0;
    }
    if (known && range.length != wanted) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: tensor \"%s\": external data has %" PRIu64
                        " bytes, expected %zu for %s",
                        l->model->path, name_of(tensor), range.length, wanted,
                        vqc_tensor_describe(tensor, shape, sizeof shape));
    }
    if (range.offset > map->size_bytes || range.length > map->size_bytes - range.offset) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: tensor \"%s\": external data at offset %" PRIu64 ", length %" PRIu64
                        " lies outside \"%s\", which has %zu bytes",
                        l->model->path, name_of(tensor), range.offset, range.length, range.location,
                        map->size_bytes);
    }
    tensor->has_raw_data = 1;
    tensor->raw_data.len = (size_t)range.length;
    tensor->raw_data.data = (uint8_t *)(uintptr_t)(map->data + range.offset);
    return VQC_OK;
}

static vqc_status refuse_external(void *context, Onnx__TensorProto *tensor, vqc_tensor_role role,
                                  vqc_error *error)
{
    (void)role;
    if (tensor->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        return VQC_OK;
    }
    return vqc_fail(error, VQC_ERR_MODEL,
                    "%s: tensor \"%s\": external data in the default value of a function's "
                    "attribute is not supported",
                    (const char *)context, name_of(tensor));
}

/*
 * Default values of function attributes are newer than the system's schema and pass through as
 * unknown fields, file references included: those would break when the model is written elsewhere,
 * so they are refused instead. What cannot be decoded is no such value and passes through.
 */
static vqc_status check_function_defaults(const vqc_model *model, vqc_arena *arena,
                                          vqc_error *error)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < model->proto->n_functions && status == VQC_OK; i++) {
        const ProtobufCMessage *function = &model->proto->functions[i]->base;
        for (size_t k = 0; k < function->n_unknown_fields && status == VQC_OK; k++) {
            const ProtobufCMessageUnknownField *field = &function->unknown_fields[k];
            ProtobufCMessage *attribute = NULL;
            size_t prefix = 0;

            if (field->tag != FUNCTION_ATTRIBUTE_PROTO ||
                field->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
                continue;
            }
            while ((field->data[prefix++] & 0x80) != 0) { /* the length, checked when it was read */
            }
            status = vqc_onnx_decode(&onnx__attribute_proto__descriptor, field->data + prefix,
                                     field->len - prefix, model->path, arena, &attribute, NULL);
            if (status == VQC_OK) {
                status = vqc_onnx_each_tensor_of((Onnx__AttributeProto *)(void *)attribute,
                                                 refuse_external, model->path, error);
            } else if (status == VQC_ERR_MODEL) {
                status = VQC_OK;
            } else {
                status = vqc_fail_memory(error, field->len);
            }
        }
    }
    return status;
}

vqc_status vqc_onnx_source_load_externals(vqc_model *model, const char *folder, vqc_error *error)
{
    loader l = {model, vqc_onnx_source_of(model), folder};
    vqc_arena *scratch = vqc_arena_create();
    vqc_status status = scratch == NULL ? vqc_fail_memory(error, 1)
                                        : check_function_defaults(model, scratch, error);

    vqc_arena_destroy(&scratch);
    if (status == VQC_OK) {
        status = vqc_onnx_each_tensor(model->proto, load_external, &l, error);
    }

    model->external_file_count = l.source->external_count;
    model->external_size_bytes = 0;
    for (size_t i = 0; i < l.source->external_count; i++) {
        const vqc_file_map *map = &l.source->externals[i].map;
        bool seen =
            false; /* under another name: a hard link or a symbolic link inside the folder */
        for (size_t k = 0; k < i && !seen; k++) {
            seen = l.source->externals[k].map.device == map->device &&
                   l.source->externals[k].map.inode == map->inode;
        }
        if (!seen) {
            model->external_size_bytes += map->size_bytes;
        }
    }
    return status;
}
