/* Attributes of functions: references to the caller's and defaults. Parts of the format that are
 * newer than the system's onnx.proto are read from the unknown fields. */
#include <stdio.h>
#include <string.h>

#include "core/exec/program_internal.h"

enum {
    FIELD_ATTRIBUTE_PROTO = 11, /* FunctionProto.attribute_proto, IR version 9 */
    /* A default is a number or a short list. Unpacking recurses once per nested graph, which takes
     * at least 8 bytes of file, so that this bounds the stack as well. */
    MAX_DEFAULT_BYTES = 4096
};

/* The payload of a length-prefixed unknown field; false when it is not one. */
static bool field_payload(const ProtobufCMessageUnknownField *field, const uint8_t **payload,
                          size_t *length)
{
    size_t at = 0;
    uint64_t value = 0;

    if (field->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
        return false;
    }
    while (at < field->len && at < 9) {
        uint8_t byte = field->data[at];
        value |= (uint64_t)(byte & 0x7f) << (7 * at);
        at++;
        if ((byte & 0x80) == 0) {
            *payload = field->data + at;
            *length = (size_t)value;
            return value == field->len - at;
        }
    }
    return false;
}

void vqc_node_overload(const ProtobufCMessage *message, unsigned tag, char *text, size_t capacity)
{
    text[0] = '\0';
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        const uint8_t *payload;
        size_t length;
        if (message->unknown_fields[i].tag == tag &&
            field_payload(&message->unknown_fields[i], &payload, &length) && length < capacity) {
            memcpy(text, payload, length);
            text[length] = '\0';
        }
    }
}

/* The function's default of attribute `name`; *out is NULL without one. */
static vqc_status find_default(vqc_program *program, const Onnx__FunctionProto *function,
                               const char *name, const Onnx__AttributeProto **out, vqc_error *error)
{
    const ProtobufCMessage *base = &function->base;

    *out = NULL;
    for (unsigned i = 0; i < base->n_unknown_fields; i++) {
        const uint8_t *payload;
        size_t length;
        Onnx__AttributeProto **grown;
        Onnx__AttributeProto *attr;

        if (base->unknown_fields[i].tag != FIELD_ATTRIBUTE_PROTO ||
            !field_payload(&base->unknown_fields[i], &payload, &length)) {
            continue;
        }
        if (length > MAX_DEFAULT_BYTES) {
            return vqc_fail(error, VQC_ERR_MODEL,
                            "function \"%.100s\": got a default of %zu bytes for an attribute, "
                            "expected at most %d",
                            function->name, length, MAX_DEFAULT_BYTES);
        }
        attr = onnx__attribute_proto__unpack(NULL, length, payload);
        if (attr == NULL) {
            return vqc_fail(error, VQC_ERR_MODEL,
                            "function \"%.100s\": a default of an attribute cannot be read",
                            function->name);
        }
        if (attr->name == NULL || strcmp(attr->name, name) != 0) {
            onnx__attribute_proto__free_unpacked(attr, NULL);
            continue;
        }
        grown = vqc_arena_calloc(program->arena, program->unpacked_count + 1, sizeof *grown);
        if (grown == NULL) {
            onnx__attribute_proto__free_unpacked(attr, NULL);
            return vqc_fail_memory(error, sizeof *grown);
        }
        if (program->unpacked_count > 0) {
            memcpy(grown, program->unpacked, program->unpacked_count * sizeof *grown);
        }
        grown[program->unpacked_count++] = attr;
        program->unpacked = grown;
        *out = attr;
        return VQC_OK;
    }
    return VQC_OK;
}

/* What a referring attribute becomes: *out NULL when neither the call nor the function says. */
static vqc_status bind_one(vqc_program *program, const Onnx__FunctionProto *function,
                           const Onnx__NodeProto *call, const Onnx__AttributeProto *attr,
                           Onnx__AttributeProto **out, vqc_error *error)
{
    const Onnx__AttributeProto *source = vqc_node_attr(call, attr->ref_attr_name);

    *out = NULL;
    if (source == NULL) {
        vqc_status status = find_default(program, function, attr->ref_attr_name, &source, error);
        if (status != VQC_OK || source == NULL) {
            return status;
        }
    }
    if (source->g != NULL || source->n_graphs > 0) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "function \"%.100s\": attribute \"%.100s\" passes a graph on, which the "
                        "executor does not do",
                        function->name, attr->ref_attr_name);
    }
    *out = vqc_arena_alloc(program->arena, sizeof **out);
    if (*out == NULL) {
        return vqc_fail_memory(error, sizeof **out);
    }
    **out = *source;
    (*out)->name = attr->name;
    (*out)->ref_attr_name = NULL;
    return VQC_OK;
}

vqc_status vqc_function_bind(vqc_program *program, const Onnx__FunctionProto *function,
                             const Onnx__NodeProto *call, const Onnx__NodeProto *node,
                             const Onnx__NodeProto **out, vqc_error *error)
{
    Onnx__NodeProto *bound;
    size_t count = 0;
    bool refers = false;

    *out = node;
    for (size_t i = 0; i < node->n_attribute; i++) {
        const char *name = node->attribute[i]->ref_attr_name;
        refers = refers || (name != NULL && name[0] != '\0');
    }
    if (!refers) {
        return VQC_OK;
    }
    bound = vqc_arena_alloc(program->arena, sizeof *bound);
    if (bound == NULL) {
        return vqc_fail_memory(error, sizeof *bound);
    }
    *bound = *node;
    bound->attribute =
        vqc_arena_calloc(program->arena, node->n_attribute, sizeof *bound->attribute);
    if (bound->attribute == NULL) {
        return vqc_fail_memory(error, node->n_attribute * sizeof *bound->attribute);
    }
    for (size_t i = 0; i < node->n_attribute; i++) {
        Onnx__AttributeProto *attr = node->attribute[i];
        if (attr->ref_attr_name != NULL && attr->ref_attr_name[0] != '\0') {
            vqc_status status = bind_one(program, function, call, attr, &attr, error);
            if (status != VQC_OK) {
                return status;
            }
        }
        if (attr != NULL) {
            bound->attribute[count++] = attr;
        }
    }
    bound->n_attribute = count;
    *out = bound;
    return VQC_OK;
}
