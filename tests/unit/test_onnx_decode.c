/* formats/onnx_decode: what the wire format may and may not say. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/onnx_decode.h"
#include "formats/onnx_file.h"

/* A growing message in wire format. */
typedef struct wire {
    uint8_t data[4096];
    size_t size;
} wire;

static void put_bytes(wire *w, const void *data, size_t size)
{
    cr_assert(size <= sizeof w->data - w->size);
    memcpy(w->data + w->size, data, size);
    w->size += size;
}

static void put_varint(wire *w, uint64_t value)
{
    uint8_t byte;

    for (; value >= 0x80; value >>= 7) {
        byte = (uint8_t)(value | 0x80);
        put_bytes(w, &byte, 1);
    }
    byte = (uint8_t)value;
    put_bytes(w, &byte, 1);
}

static void put_number(wire *w, uint32_t field, uint64_t value)
{
    put_varint(w, field << 3);
    put_varint(w, value);
}

static void put_field(wire *w, uint32_t field, const void *data, size_t size)
{
    put_varint(w, field << 3 | 2);
    put_varint(w, size);
    put_bytes(w, data, size);
}

static void put_text(wire *w, uint32_t field, const char *text)
{
    put_field(w, field, text, strlen(text));
}

static void put_message(wire *w, uint32_t field, const wire *message)
{
    put_field(w, field, message->data, message->size);
}

/* Field numbers of onnx.proto that the tests use, as message_field. */
enum {
    MODEL_IR_VERSION = 1,
    MODEL_GRAPH = 7,
    MODEL_OPSET = 8,
    GRAPH_NODE = 1,
    GRAPH_NAME = 2,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    NODE_INPUT = 1,
    NODE_OP_TYPE = 4,
    NODE_ATTRIBUTE = 5,
    ATTRIBUTE_GRAPH = 6,
    TENSOR_DIMS = 1,
    TENSOR_TYPE = 2,
    TENSOR_FLOATS = 4,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
    UNKNOWN = 1000
};

static const uint8_t PAYLOAD[100] = {1, 2, 3, [99] = 77};

/* Fields in ascending order everywhere and unknown fields last: what packing gives again. */
static void make_model(wire *model)
{
    wire tensor = {.size = 0};
    wire node = {.size = 0};
    wire graph = {.size = 0};
    static const uint8_t fixed[8] = {1, 2, 3, 4, 5, 6, 7, 8};

    put_number(&tensor, TENSOR_DIMS, 25);
    put_number(&tensor, TENSOR_TYPE, 1);
    put_text(&tensor, TENSOR_NAME, "w");
    put_field(&tensor, TENSOR_RAW, PAYLOAD, sizeof PAYLOAD);
    put_text(&tensor, UNKNOWN, "in the tensor");
    put_text(&node, NODE_INPUT, "x");
    put_text(&node, NODE_INPUT, "");
    put_text(&node, NODE_OP_TYPE, "Odd");
    put_number(&node, UNKNOWN, UINT64_MAX);
    put_message(&graph, GRAPH_NODE, &node);
    put_text(&graph, GRAPH_NAME, "g");
    put_message(&graph, GRAPH_INITIALIZER, &tensor);
    put_varint(&graph, UNKNOWN << 3 | 1);
    put_bytes(&graph, fixed, 8);
    put_varint(&graph, (UNKNOWN + 1) << 3 | 5);
    put_bytes(&graph, fixed, 4);
    model->size = 0;
    put_number(model, MODEL_IR_VERSION, 8);
    put_message(model, MODEL_GRAPH, &graph);
    put_text(model, UNKNOWN, "");
}

static vqc_status parse(const wire *w, vqc_model **model, vqc_error *error)
{
    return vqc_onnx_parse(w->data, w->size, "m", model, error);
}

static void expect_refused(const wire *w, const char *text)
{
    vqc_model *model = NULL;
    vqc_error error = {VQC_OK, ""};

    cr_assert_eq(parse(w, &model, &error), VQC_ERR_MODEL, "expected: %s", text);
    cr_assert_null(model);
    cr_assert_not_null(strstr(error.message, text), "got \"%s\", expected \"%s\"", error.message,
                       text);
}

/* The model packs to exactly `w` again. */
static void expect_same(const vqc_model *model, const wire *w)
{
    uint8_t packed[sizeof w->data];

    cr_assert_eq(onnx__model_proto__get_packed_size(model->proto), w->size);
    cr_assert_eq(onnx__model_proto__pack(model->proto, packed), w->size);
    cr_assert_eq(memcmp(packed, w->data, w->size), 0);
}

Test(onnx_decode, round_trip_with_unknown_fields)
{
    wire w = {.size = 0};
    vqc_model *model = NULL;
    vqc_error error;
    const Onnx__TensorProto *tensor;

    make_model(&w);
    cr_assert_eq(parse(&w, &model, &error), VQC_OK, "%s", error.message);
    expect_same(model, &w);
    tensor = model->proto->graph->initializer[0];
    cr_assert_eq(tensor->raw_data.len, sizeof PAYLOAD);
    cr_assert(tensor->raw_data.data > w.data && tensor->raw_data.data < w.data + w.size,
              "large payloads are borrowed");
    cr_assert_str_eq(model->proto->graph->node[0]->input[1], "");
    vqc_model_destroy(&model);
}

Test(onnx_decode, every_truncation)
{
    wire w = {.size = 0};
    size_t accepted = 0;

    make_model(&w);
    for (size_t size = 0; size < w.size; size++) {
        vqc_model *model = NULL;
        vqc_error error = {VQC_OK, ""};
        uint8_t *cut = malloc(size == 0 ? 1 : size); /* exact size: overreads are seen */
        vqc_status status;
        memcpy(cut, w.data, size);
        status = vqc_onnx_parse(cut, size, "m", &model, &error);
        cr_assert(status == VQC_OK ? model != NULL : status == VQC_ERR_MODEL, "%zu bytes: %s", size,
                  error.message);
        accepted += status == VQC_OK;
        vqc_model_destroy(&model);
        free(cut);
    }
    /* Only between the graph and the unknown field behind it the file may end. */
    cr_assert_eq(accepted, 1);
}

Test(onnx_decode, every_changed_byte)
{
    static const uint8_t changes[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff};
    wire w = {.size = 0};

    make_model(&w);
    for (size_t at = 0; at < w.size; at++) {
        for (size_t i = 0; i < sizeof changes; i++) {
            vqc_model *model = NULL;
            vqc_error error;
            vqc_onnx_written written;
            vqc_status status;
            w.data[at] ^= changes[i];
            status = parse(&w, &model, &error);
            cr_assert(status == VQC_OK || status == VQC_ERR_MODEL);
            if (status == VQC_OK) {
                cr_assert_eq(vqc_onnx_measure(model, NULL, &written, &error), VQC_OK);
                cr_assert_eq(written.file_size_bytes,
                             onnx__model_proto__get_packed_size(model->proto));
            }
            vqc_model_destroy(&model);
            w.data[at] ^= changes[i];
        }
    }
}

Test(onnx_decode, not_a_model)
{
    wire w = {.size = 0};

    expect_refused(&w, "empty");
    put_number(&w, MODEL_IR_VERSION, 8);
    expect_refused(&w, "no graph");
    w.size = 0;
    put_bytes(&w, "# a text file\n", 14);
    expect_refused(&w, "m: byte 0: ");
}

Test(onnx_decode, bad_tags_and_numbers)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *text;
    } cases[] = {
        {"\x3b\x3c", 2, "groups are not supported"},
        {"\x3c", 1, "groups are not supported"},
        {"\x3e", 1, "unknown wire type"},
        {"\x3f", 1, "unknown wire type"},
        {"\x02\x00", 2, "field number is out of range"},
        {"\x80\x80\x80\x80\x10\x00", 6, "field number is out of range"},
        {"\x80\x80\x80", 3, "field tag is cut off"},
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 11, "field tag is cut off"},
        {"\x08", 1, "a number is cut off"},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "longer than 10 bytes"},
        {"\xc1\x3e\x01\x02\x03", 5, "a number is cut off"}, /* 64-bit */
        {"\xc5\x3e\x01\x02\x03", 5, "a number is cut off"}, /* 32-bit */
        {"\x3a", 1, "a length is cut off"},
        {"\x3a\x05\x01", 3, "field 7 has length 5, but only 1 bytes remain"},
        {"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "length 18446744073709551615"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wire w = {.size = 0};
        put_bytes(&w, cases[i].bytes, cases[i].size);
        expect_refused(&w, cases[i].text);
    }
}

/* A graph in a model, in `w`. */
static void wrap_graph(const wire *graph, wire *w)
{
    w->size = 0;
    put_message(w, MODEL_GRAPH, graph);
}

Test(onnx_decode, messages_say_where)
{
    wire node = {.size = 0};
    wire graph = {.size = 0};
    wire w = {.size = 0};

    put_message(&graph, GRAPH_NODE, &node);
    put_field(&node, NODE_OP_TYPE, "a\0b", 3);
    put_message(&graph, GRAPH_NODE, &node);
    wrap_graph(&graph, &w);
    expect_refused(&w, "m: byte 9: graph.node[1].op_type: the text contains a NUL byte");
}

Test(onnx_decode, messages_given_twice)
{
    wire graph = {.size = 0};
    wire w = {.size = 0};
    wire type = {.size = 0};
    wire input = {.size = 0};

    put_text(&graph, GRAPH_NAME, "g");
    put_message(&w, MODEL_GRAPH, &graph);
    put_message(&w, MODEL_GRAPH, &graph);
    expect_refused(&w, "graph: is given twice");
    put_field(&type, 1, "", 0); /* tensor_type */
    put_field(&type, 4, "", 0); /* sequence_type */
    put_message(&input, 2, &type);
    put_message(&graph, GRAPH_INPUT, &input);
    wrap_graph(&graph, &w);
    expect_refused(&w, "graph.input[0].type.sequence_type: one of several alternatives");
}

Test(onnx_decode, scalars_given_twice_last_counts)
{
    wire graph = {.size = 0};
    wire w = {.size = 0};
    vqc_model *model = NULL;
    vqc_error error;

    put_text(&graph, GRAPH_NAME, "first");
    put_text(&graph, GRAPH_NAME, "second");
    wrap_graph(&graph, &w);
    put_number(&w, MODEL_IR_VERSION, 7);
    put_number(&w, MODEL_IR_VERSION, 8);
    cr_assert_eq(parse(&w, &model, &error), VQC_OK);
    cr_assert_str_eq(model->proto->graph->name, "second");
    cr_assert_eq(model->proto->ir_version, 8);
    vqc_model_destroy(&model);
}

Test(onnx_decode, packed_and_unpacked_numbers)
{
    static const float floats[3] = {1, 2, 3};
    wire tensor = {.size = 0};
    wire graph = {.size = 0};
    wire w = {.size = 0};
    vqc_model *model = NULL;
    vqc_error error;
    const Onnx__TensorProto *decoded;

    put_number(&tensor, TENSOR_DIMS, 3);
    put_field(&tensor, TENSOR_DIMS, "\x01\x80\x01", 3); /* packed: 1, 128 */
    put_field(&tensor, TENSOR_DIMS, "", 0);
    put_number(&tensor, TENSOR_DIMS, (uint64_t)-5);
    put_field(&tensor, TENSOR_FLOATS, floats, 8);
    put_varint(&tensor, TENSOR_FLOATS << 3 | 5);
    put_bytes(&tensor, &floats[2], 4);
    put_message(&graph, GRAPH_INITIALIZER, &tensor);
    wrap_graph(&graph, &w);
    cr_assert_eq(parse(&w, &model, &error), VQC_OK, "%s", error.message);
    decoded = model->proto->graph->initializer[0];
    cr_assert_eq(decoded->n_dims, 4);
    cr_assert(decoded->dims[0] == 3 && decoded->dims[1] == 1 && decoded->dims[2] == 128 &&
              decoded->dims[3] == -5);
    cr_assert_eq(decoded->n_float_data, 3);
    cr_assert_eq(memcmp(decoded->float_data, floats, sizeof floats), 0);
    vqc_model_destroy(&model);

    tensor.size = 0;
    put_field(&tensor, TENSOR_FLOATS, floats, 7);
    graph.size = 0;
    put_message(&graph, GRAPH_INITIALIZER, &tensor);
    wrap_graph(&graph, &w);
    expect_refused(&w,
                   "graph.initializer[0].float_data: the length is not a whole number of items");
    tensor.size = 0;
    put_field(&tensor, TENSOR_DIMS, "\x01\x80", 2);
    graph.size = 0;
    put_message(&graph, GRAPH_INITIALIZER, &tensor);
    wrap_graph(&graph, &w);
    expect_refused(&w, "graph.initializer[0].dims: a number is cut off");
}

Test(onnx_decode, other_wire_types_are_kept_as_unknown)
{
    wire graph = {.size = 0};
    wire w = {.size = 0};
    vqc_model *model = NULL;
    vqc_error error;

    put_number(&graph, GRAPH_NAME, 5); /* a text in the schema */
    put_number(&graph, GRAPH_NODE, 6); /* a message in the schema */
    put_text(&w, MODEL_IR_VERSION, "x");
    put_message(&w, MODEL_GRAPH, &graph);
    cr_assert_eq(parse(&w, &model, &error), VQC_OK, "%s", error.message);
    cr_assert_null(model->proto->graph->name);
    cr_assert_eq(model->proto->graph->n_node, 0);
    cr_assert_eq(model->proto->graph->base.n_unknown_fields, 2);
    cr_assert_eq(model->proto->base.n_unknown_fields, 1);
    cr_assert_eq(onnx__model_proto__get_packed_size(model->proto), w.size);
    vqc_model_destroy(&model);
}

/* `levels` messages in one another; `fields` repeat from the inside out. */
static uint8_t *make_bomb(size_t levels, const uint32_t *fields, size_t field_count, size_t *size)
{
    size_t capacity = levels * 6 + 16;
    uint8_t *data = malloc(capacity);
    uint8_t *start = data + capacity;

    cr_assert_not_null(data);
    for (size_t i = 0; i < levels; i++) {
        wire head = {.size = 0};
        put_varint(&head, fields[i % field_count] << 3 | 2);
        put_varint(&head, (uint64_t)(data + capacity - start));
        start -= head.size;
        memcpy(start, head.data, head.size);
    }
    *size = (size_t)(data + capacity - start);
    memmove(data, start, *size);
    return data;
}

static void expect_bomb_refused(size_t levels, const uint32_t *fields, size_t field_count,
                                bool refused)
{
    size_t size;
    uint8_t *data = make_bomb(levels, fields, field_count, &size);
    vqc_model *model = NULL;
    vqc_error error = {VQC_OK, ""};
    vqc_status status = vqc_onnx_parse(data, size, "m", &model, &error);

    cr_assert_eq(status, refused ? VQC_ERR_MODEL : VQC_OK, "%zu levels: %s", levels, error.message);
    cr_assert(!refused || strstr(error.message, "nested too deeply") != NULL, "%s", error.message);
    vqc_model_destroy(&model);
    free(data);
}

Test(onnx_decode, nesting)
{
    /* From the inside: the last field is the outermost, model.graph. */
    static const uint32_t graphs[] = {ATTRIBUTE_GRAPH, NODE_ATTRIBUTE, GRAPH_NODE};
    uint32_t fields[101];

    for (size_t i = 0; i < 101; i++) {
        fields[i] = graphs[i % 3];
    }
    fields[99] = MODEL_GRAPH; /* 100 levels = 33 x 3 + graph */
    expect_bomb_refused(100, fields, 101, false);
    for (size_t i = 0; i < 101; i++) {
        fields[i] = graphs[(i + 2) % 3];
    }
    fields[100] = MODEL_GRAPH;
    expect_bomb_refused(101, fields, 101, true);
}

Test(onnx_decode, nesting_bombs)
{
    static const uint32_t graphs[] = {ATTRIBUTE_GRAPH, NODE_ATTRIBUTE, GRAPH_NODE};
    static const uint32_t types[] = {1, 4}; /* Sequence.elem_type, TypeProto.sequence_type */
    enum { LEVELS = 30000 };
    uint32_t *fields = calloc(LEVELS + 4, sizeof *fields);

    cr_assert_not_null(fields);
    for (size_t i = 0; i < LEVELS; i++) {
        fields[i] = graphs[i % 3];
    }
    fields[LEVELS] = MODEL_GRAPH;
    expect_bomb_refused(LEVELS + 1, fields, LEVELS + 1, true);
    for (size_t i = 0; i < LEVELS; i++) {
        fields[i] = types[i % 2];
    }
    fields[LEVELS] = 2; /* ValueInfoProto.type */
    fields[LEVELS + 1] = GRAPH_INPUT;
    fields[LEVELS + 2] = MODEL_GRAPH;
    expect_bomb_refused(LEVELS + 3, fields, LEVELS + 3, true);
    free(fields);
}
