/* Small models built in memory, for unit tests of what looks at graphs. */
#ifndef VQC_TESTS_UNIT_SMALL_MODEL_H
#define VQC_TESTS_UNIT_SMALL_MODEL_H

#include <criterion/criterion.h>
#include <string.h>

#include "core/graph.h"
#include "core/model.h"
#include "core/tensor.h"

enum { SMALL_MAX = 32 };

/* An empty model of the given opset and IR version; com.microsoft 1 is imported too. */
static inline vqc_model *small_model(int64_t opset, int64_t ir_version)
{
    vqc_model *model = NULL;
    Onnx__GraphProto *graph;
    vqc_error error;

    cr_assert_eq(vqc_model_create("small.onnx", &model, &error), VQC_OK);
    model->proto->has_ir_version = 1;
    model->proto->ir_version = ir_version;
    graph = model->proto->graph = vqc_arena_alloc(model->arena, sizeof *graph);
    onnx__graph_proto__init(graph);
    graph->node = vqc_arena_calloc(model->arena, SMALL_MAX, sizeof *graph->node);
    graph->initializer = vqc_arena_calloc(model->arena, SMALL_MAX, sizeof *graph->initializer);
    graph->input = vqc_arena_calloc(model->arena, SMALL_MAX, sizeof *graph->input);
    graph->output = vqc_arena_calloc(model->arena, SMALL_MAX, sizeof *graph->output);
    cr_assert_eq(vqc_model_set_opset(model, "", opset, &error), VQC_OK);
    cr_assert_eq(vqc_model_set_opset(model, "com.microsoft", 1, &error), VQC_OK);
    return model;
}

/* A node; inputs and outputs are separated by blanks ("x W"), "-" is an absent input. */
static inline Onnx__NodeProto *small_node(vqc_model *model, const char *domain, const char *op,
                                          const char *inputs, const char *outputs)
{
    Onnx__GraphProto *graph = model->proto->graph;
    const char *names[2][8];
    size_t counts[2] = {0, 0};
    Onnx__NodeProto *node;

    for (int side = 0; side < 2; side++) {
        char *text = vqc_arena_strdup(model->arena, side == 0 ? inputs : outputs);
        char *place = NULL;
        for (char *word = strtok_r(text, " ", &place); word != NULL;
             word = strtok_r(NULL, " ", &place)) {
            names[side][counts[side]++] = strcmp(word, "-") == 0 ? "" : word;
        }
    }
    node = vqc_node_create(model->arena, op, domain, outputs, names[0], counts[0], names[1],
                           counts[1]);
    cr_assert_not_null(node);
    cr_assert_lt(graph->n_node, (size_t)SMALL_MAX);
    graph->node[graph->n_node++] = node;
    return node;
}

/* An initializer of any type with borrowed raw data (NULL: zeros). */
static inline Onnx__TensorProto *small_tensor(vqc_model *model, const char *name, vqc_dtype dtype,
                                              size_t rank, const int64_t *dims, const void *raw)
{
    Onnx__GraphProto *graph = model->proto->graph;
    size_t elements = 1;
    size_t size_bytes = 0;
    Onnx__TensorProto *tensor;

    for (size_t i = 0; i < rank; i++) {
        elements *= (size_t)dims[i];
    }
    cr_assert(vqc_dtype_bytes((int32_t)dtype, elements, &size_bytes));
    raw = raw != NULL ? raw : vqc_arena_calloc(model->arena, size_bytes + 1, 1);
    tensor = vqc_tensor_create(model->arena, name, dtype, dims, rank, raw, size_bytes);
    cr_assert_not_null(tensor);
    graph->initializer[graph->n_initializer++] = tensor;
    return tensor;
}

#define SMALL_TENSOR(model, name, dtype, raw, ...)                                                 \
    small_tensor(model, name, dtype, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),           \
                 (const int64_t[]){__VA_ARGS__}, raw)

/* Lists a name as a graph input or output. */
static inline void small_interface(vqc_model *model, bool input, const char *name)
{
    Onnx__GraphProto *graph = model->proto->graph;
    Onnx__ValueInfoProto *info = vqc_arena_alloc(model->arena, sizeof *info);

    onnx__value_info_proto__init(info);
    info->name = vqc_arena_strdup(model->arena, name);
    if (input) {
        graph->input[graph->n_input++] = info;
    } else {
        graph->output[graph->n_output++] = info;
    }
}

#endif
