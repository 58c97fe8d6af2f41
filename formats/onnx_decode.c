#include "formats/onnx_decode.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    WIRE_VARINT = 0,
    WIRE_64BIT = 1,
    WIRE_LENGTH = 2,
    WIRE_GROUP_START = 3,
    WIRE_GROUP_END = 4,
    WIRE_32BIT = 5,
    VARINT_MAX_BYTES = 10
};

/* Where the decoder is, for messages. */
typedef struct step {
    const ProtobufCFieldDescriptor *field;
    size_t index; /* in a repeated field */
} step;

typedef struct decoder {
    vqc_arena *arena;
    const uint8_t *base; /* start of the whole input */
    const char *name;
    vqc_error *error;
    size_t depth;
    step path[VQC_ONNX_MAX_DEPTH + 1];
} decoder;

/* One field as it lies in the input. */
typedef struct wire_field {
    uint32_t number;
    int wire_type;
    const uint8_t *value; /* after the tag; of length-delimited ones with the length */
    size_t value_bytes;
    const uint8_t *body; /* length-delimited: after the length */
    size_t body_bytes;
    uint64_t varint; /* WIRE_VARINT */
} wire_field;

/* What a known field is on the wire. */
typedef enum encoding {
    ENCODING_UNKNOWN, /* no such field, or with another wire type */
    ENCODING_SINGLE,
    ENCODING_PACKED
} encoding;

static vqc_status decode_message(decoder *d, const ProtobufCMessageDescriptor *type,
                                 const uint8_t *at, const uint8_t *end, ProtobufCMessage **out);

/* Writes "graph.node[3].attribute[0]" for the current place. */
static void describe_path(const decoder *d, char *text, size_t capacity)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < d->depth && used + 1 < capacity; i++) {
        const step *s = &d->path[i];
        int length =
            s->field->label == PROTOBUF_C_LABEL_REPEATED
                ? snprintf(text + used, capacity - used, "%s%s[%zu]", i == 0 ? "" : ".",
                           s->field->name, s->index)
                : snprintf(text + used, capacity - used, "%s%s", i == 0 ? "" : ".", s->field->name);
        used += length < 0 ? 0 : (size_t)length;
    }
    if (used >= capacity) {
        memcpy(text + capacity - 4, "...", 4);
    }
}

/* Reports a malformed input at `at`; field (may be NULL) is the one that is being read. */
static vqc_status malformed(const decoder *d, const uint8_t *at,
                            const ProtobufCFieldDescriptor *field, const char *what)
{
    char path[320];

    describe_path(d, path, sizeof path);
    return vqc_fail(d->error, VQC_ERR_MODEL, "%s: byte %zu: %s%s%s%s%s", d->name,
                    (size_t)(at - d->base), path, path[0] != '\0' && field != NULL ? "." : "",
                    field == NULL ? "" : field->name, path[0] != '\0' || field != NULL ? ": " : "",
                    what);
}

/* Reads a varint of at most 64 bits; false when it does not end or is too long. */
static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    const uint8_t *p = *at;
    uint64_t result = 0;

    for (unsigned shift = 0; shift < 7 * VARINT_MAX_BYTES && p < end; shift += 7) {
        uint8_t byte = *p++;
        /* The tenth byte has room for one bit; what does not fit is dropped, as everywhere. */
        result |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *value = result;
            *at = p;
            return true;
        }
    }
    return false;
}

/* Reads the field at *at and moves behind it. */
static vqc_status next_field(const decoder *d, const uint8_t **at, const uint8_t *end,
                             wire_field *field)
{
    const uint8_t *start = *at;
    const uint8_t *p = start;
    uint64_t tag;
    uint64_t length;

    if (!read_varint(&p, end, &tag)) {
        return malformed(d, start, NULL, "the field tag is cut off or not a number");
    }
    if (tag > UINT32_MAX || tag >> 3 == 0) {
        return malformed(d, start, NULL, "the field number is out of range: not ONNX data");
    }
    memset(field, 0, sizeof *field);
    field->number = (uint32_t)(tag >> 3);
    field->wire_type = (int)(tag & 7);
    field->value = p;
    switch (field->wire_type) {
    case WIRE_VARINT:
        if (!read_varint(&p, end, &field->varint)) {
            return malformed(d, start, NULL, "a number is cut off or longer than 10 bytes");
        }
        break;
    case WIRE_64BIT:
    case WIRE_32BIT: {
        size_t bytes = field->wire_type == WIRE_64BIT ? 8 : 4;
        if ((size_t)(end - p) < bytes) {
            return malformed(d, start, NULL, "a number is cut off");
        }
        p += bytes;
        break;
    }
    case WIRE_LENGTH:
        if (!read_varint(&p, end, &length)) {
            return malformed(d, start, NULL, "a length is cut off or longer than 10 bytes");
        }
        if (length > (uint64_t)(end - p)) {
            char text[128];
            (void)snprintf(text, sizeof text,
                           "field %" PRIu32 " has length %" PRIu64 ", but only %zu bytes remain",
                           field->number, length, (size_t)(end - p));
            return malformed(d, start, NULL, text);
        }
        field->body = p;
        field->body_bytes = (size_t)length;
        p += length;
        break;
    case WIRE_GROUP_START:
    case WIRE_GROUP_END:
        return malformed(d, start, NULL, "groups are not supported");
    default:
        return malformed(d, start, NULL, "unknown wire type: not ONNX data");
    }
    field->value_bytes = (size_t)(p - field->value);
    *at = p;
    return VQC_OK;
}

static int wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32BIT;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64BIT;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_LENGTH;
    default:
        return WIRE_VARINT;
    }
}

/* Bytes of one item of a field in its struct. */
static size_t item_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

/* Finds the field of `type` for what was read; *known is a cache of the last one found. */
static encoding classify(const ProtobufCMessageDescriptor *type, const wire_field *field,
                         const ProtobufCFieldDescriptor **known)
{
    int wanted;

    if (*known == NULL || (*known)->id != field->number) {
        *known = protobuf_c_message_descriptor_get_field(type, field->number);
    }
    if (*known == NULL) {
        return ENCODING_UNKNOWN;
    }
    wanted = wire_type_of((*known)->type);
    if (field->wire_type == wanted) {
        return ENCODING_SINGLE;
    }
    /* Readers must take repeated numbers packed and unpacked, whatever the schema says. */
    return field->wire_type == WIRE_LENGTH && (*known)->label == PROTOBUF_C_LABEL_REPEATED
               ? ENCODING_PACKED
               : ENCODING_UNKNOWN;
}

static size_t *counter_of(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return (size_t *)((char *)message + field->quantifier_offset);
}

static void *member_of(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return (char *)message + field->offset;
}

/* Items of a packed field. */
static vqc_status count_packed(const decoder *d, const ProtobufCFieldDescriptor *known,
                               const wire_field *field, size_t *count)
{
    int wire_type = wire_type_of(known->type);
    size_t width = wire_type == WIRE_64BIT ? 8 : 4;
    size_t ends = 0;

    if (wire_type != WIRE_VARINT) {
        if (field->body_bytes % width != 0) {
            return malformed(d, field->value, known, "the length is not a whole number of items");
        }
        *count = field->body_bytes / width;
        return VQC_OK;
    }
    for (size_t i = 0; i < field->body_bytes; i++) {
        ends += (field->body[i] & 0x80) == 0;
    }
    *count = ends;
    return VQC_OK;
}

static void store_varint(ProtobufCType type, uint64_t value, void *member)
{
    uint32_t low = (uint32_t)value; /* protobuf cuts 32-bit types off silently */

    switch (type) {
    case PROTOBUF_C_TYPE_SINT32:
        low = (low >> 1) ^ (0u - (low & 1));
        memcpy(member, &low, 4);
        break;
    case PROTOBUF_C_TYPE_SINT64:
        value = (value >> 1) ^ (UINT64_C(0) - (value & 1));
        memcpy(member, &value, 8);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        memcpy(member, &value, 8);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)member = value != 0;
        break;
    default:
        memcpy(member, &low, 4);
        break;
    }
}

static vqc_status store_packed(const decoder *d, const ProtobufCFieldDescriptor *known,
                               const wire_field *field, char *items, size_t *count)
{
    size_t width = item_bytes(known->type);
    const uint8_t *at = field->body;
    const uint8_t *end = at + field->body_bytes;

    if (wire_type_of(known->type) != WIRE_VARINT) {
        if (field->body_bytes > 0) {
            memcpy(items + *count * width, at, field->body_bytes);
        }
        *count += field->body_bytes / width;
        return VQC_OK;
    }
    while (at < end) {
        const uint8_t *start = at;
        uint64_t value;
        if (!read_varint(&at, end, &value)) {
            return malformed(d, start, known, "a number is cut off or longer than 10 bytes");
        }
        store_varint(known->type, value, items + *count * width);
        (*count)++;
    }
    return VQC_OK;
}

static vqc_status store_string(decoder *d, const ProtobufCFieldDescriptor *known,
                               const wire_field *field, char **member)
{
    const uint8_t *nul = memchr(field->body, 0, field->body_bytes);

    if (nul != NULL) {
        return malformed(d, nul, known, "the text contains a NUL byte");
    }
    *member = vqc_arena_strndup(d->arena, (const char *)field->body, field->body_bytes);
    return *member == NULL ? vqc_fail_memory(d->error, field->body_bytes) : VQC_OK;
}

static vqc_status store_bytes(decoder *d, const wire_field *field, ProtobufCBinaryData *member)
{
    member->len = field->body_bytes;
    member->data = (uint8_t *)(uintptr_t)field->body;
    if (field->body_bytes < VQC_ONNX_BORROW_BYTES) {
        member->data = vqc_arena_alloc(d->arena, field->body_bytes);
        if (member->data == NULL) {
            return vqc_fail_memory(d->error, field->body_bytes);
        }
        memcpy(member->data, field->body, field->body_bytes);
    }
    return VQC_OK;
}

/* Stores one item that is not packed. */
static vqc_status store_single(decoder *d, const ProtobufCFieldDescriptor *known,
                               const wire_field *field, size_t index, void *member)
{
    vqc_status status;

    switch (known->type) {
    case PROTOBUF_C_TYPE_STRING:
        return store_string(d, known, field, member);
    case PROTOBUF_C_TYPE_BYTES:
        return store_bytes(d, field, member);
    case PROTOBUF_C_TYPE_MESSAGE:
        d->path[d->depth] = (step){known, index};
        if (d->depth >= VQC_ONNX_MAX_DEPTH) {
            return malformed(d, field->value, known,
                             "nested too deeply (more than 100 messages in one another)");
        }
        d->depth++;
        status = decode_message(d, known->descriptor, field->body, field->body + field->body_bytes,
                                member);
        d->depth--;
        return status;
    default:
        if (field->wire_type == WIRE_VARINT) {
            store_varint(known->type, field->varint, member);
        } else {
            memcpy(member, field->value, field->value_bytes);
        }
        return VQC_OK;
    }
}

static vqc_status store_singular(decoder *d, const ProtobufCFieldDescriptor *known,
                                 const wire_field *field, ProtobufCMessage *message)
{
    void *member = member_of(message, known);
    vqc_status status;

    if ((known->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        uint32_t *chosen = (uint32_t *)((char *)message + known->quantifier_offset);
        /* The members share their memory. Merging two is protobuf's rule for messages; nobody
         * writes that. */
        if (*chosen != 0 && (*chosen != known->id || known->type == PROTOBUF_C_TYPE_MESSAGE)) {
            return malformed(d, field->value, known, "one of several alternatives is given twice");
        }
        status = store_single(d, known, field, 0, member);
        *chosen = known->id;
        return status;
    }
    if (known->type == PROTOBUF_C_TYPE_MESSAGE && *(ProtobufCMessage **)member != NULL) {
        return malformed(d, field->value, known, "is given twice");
    }
    status = store_single(d, known, field, 0, member);
    if (known->quantifier_offset != 0) {
        *(protobuf_c_boolean *)((char *)message + known->quantifier_offset) = 1;
    }
    return status;
}

static void store_unknown(const wire_field *field, ProtobufCMessage *message)
{
    ProtobufCMessageUnknownField *unknown = &message->unknown_fields[message->n_unknown_fields++];

    unknown->tag = field->number;
    unknown->wire_type = (ProtobufCWireType)field->wire_type;
    unknown->len = field->value_bytes;
    unknown->data = (uint8_t *)(uintptr_t)field->value;
}

/* First pass over a message: counts items of repeated fields (into their own counters) and unknown
 * fields, and checks the structure of this level. */
static vqc_status count_fields(const decoder *d, const uint8_t *at, const uint8_t *end,
                               ProtobufCMessage *message, size_t *unknown)
{
    const ProtobufCFieldDescriptor *known = NULL;

    *unknown = 0;
    while (at < end) {
        wire_field field;
        size_t items = 1;
        encoding how;
        vqc_status status = next_field(d, &at, end, &field);
        if (status != VQC_OK) {
            return status;
        }
        how = classify(message->descriptor, &field, &known);
        if (how == ENCODING_UNKNOWN) {
            (*unknown)++;
            continue;
        }
        if (known->label != PROTOBUF_C_LABEL_REPEATED) {
            continue;
        }
        if (how == ENCODING_PACKED) {
            status = count_packed(d, known, &field, &items);
            if (status != VQC_OK) {
                return status;
            }
        }
        *counter_of(message, known) += items;
    }
    return VQC_OK;
}

/* Allocates what count_fields counted and sets the counters back to zero. */
static vqc_status allocate_fields(decoder *d, ProtobufCMessage *message, size_t unknown)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;

    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->label == PROTOBUF_C_LABEL_REPEATED && *counter_of(message, field) > 0) {
            void *items =
                vqc_arena_calloc(d->arena, *counter_of(message, field), item_bytes(field->type));
            if (items == NULL) {
                return vqc_fail_memory(d->error,
                                       *counter_of(message, field) * item_bytes(field->type));
            }
            *(void **)member_of(message, field) = items;
            *counter_of(message, field) = 0;
        }
    }
    if (unknown > UINT32_MAX) {
        return malformed(d, d->base, NULL, "too many unknown fields");
    }
    if (unknown > 0) {
        message->unknown_fields =
            vqc_arena_calloc(d->arena, unknown, sizeof *message->unknown_fields);
        if (message->unknown_fields == NULL) {
            return vqc_fail_memory(d->error, unknown * sizeof *message->unknown_fields);
        }
    }
    return VQC_OK;
}

/* Second pass: fills the message. */
static vqc_status store_fields(decoder *d, const uint8_t *at, const uint8_t *end,
                               ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *known = NULL;
    vqc_status status = VQC_OK;

    while (at < end && status == VQC_OK) {
        wire_field field;
        encoding how;

        status = next_field(d, &at, end, &field);
        if (status != VQC_OK) {
            break;
        }
        how = classify(message->descriptor, &field, &known);
        if (how == ENCODING_UNKNOWN) {
            store_unknown(&field, message);
        } else if (known->label != PROTOBUF_C_LABEL_REPEATED) {
            status = store_singular(d, known, &field, message);
        } else {
            size_t *count = counter_of(message, known);
            char *items = *(char **)member_of(message, known);
            if (how == ENCODING_PACKED) {
                status = store_packed(d, known, &field, items, count);
            } else {
                status = store_single(d, known, &field, *count,
                                      items + *count * item_bytes(known->type));
                (*count)++;
            }
        }
    }
    return status;
}

static vqc_status decode_message(decoder *d, const ProtobufCMessageDescriptor *type,
                                 const uint8_t *at, const uint8_t *end, ProtobufCMessage **out)
{
    ProtobufCMessage *message = vqc_arena_alloc(d->arena, type->sizeof_message);
    size_t unknown;
    vqc_status status;

    if (message == NULL) {
        return vqc_fail_memory(d->error, type->sizeof_message);
    }
    protobuf_c_message_init(type, message);
    status = count_fields(d, at, end, message, &unknown);
    if (status == VQC_OK) {
        status = allocate_fields(d, message, unknown);
    }
    if (status == VQC_OK) {
        status = store_fields(d, at, end, message);
    }
    if (status == VQC_OK) {
        *out = message;
    }
    return status;
}

vqc_status vqc_onnx_decode(const ProtobufCMessageDescriptor *type, const uint8_t *data,
                           size_t size_bytes, const char *name, vqc_arena *arena,
                           ProtobufCMessage **message, vqc_error *error)
{
    decoder d = {.arena = arena, .base = data, .name = name, .error = error};

    *message = NULL;
    return decode_message(&d, type, data, data + size_bytes, message);
}
