#include "core/vq/sequence_piece.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

/* What a piece is made of while it is put together. */
typedef struct assembly {
    vqc_sequence *self;
    vqc_arena *arena;
    bool coded;
    bool *wanted; /* [value_count] constants */
    Onnx__GraphProto *graph;
} assembly;

static bool add_initializer(assembly *a, const char *name, const Onnx__TensorProto *tensor)
{
    Onnx__TensorProto *copy = vqc_arena_alloc(a->arena, sizeof *copy);

    if (copy == NULL) {
        return false;
    }
    *copy = *tensor; /* the payload is shared */
    copy->name = (char *)(uintptr_t)name;
    a->graph->initializer[a->graph->n_initializer++] = copy;
    return true;
}

static bool add_node(assembly *a, const vqc_sequence_node *node)
{
    bool replaced = a->coded && node->replaced != NULL;

    a->graph->node[a->graph->n_node++] = replaced ? node->replaced : node->proto;
    return !replaced || add_initializer(a, node->bias->name, node->bias);
}

/* Wants the constants that a node reads. */
static void want_inputs(assembly *a, const vqc_sequence_node *node)
{
    for (size_t k = 0; k < node->input_count; k++) {
        if (a->self->values[node->inputs[k]].is_constant) {
            a->wanted[node->inputs[k]] = true;
        }
    }
}

/* Constant nodes behind the wanted values, then stored tensors. */
static bool add_constants(assembly *a)
{
    const vqc_sequence *self = a->self;
    bool sparse = false;

    for (size_t i = self->node_count; i-- > 0;) {
        const vqc_sequence_node *node = &self->nodes[self->order[i]];
        bool computes = false;

        for (size_t o = 0; node->is_constant && o < node->output_count; o++) {
            size_t v = node->outputs[o];
            computes =
                computes || (v != VQC_SEQUENCE_NONE && a->wanted[v] && !self->values[v].is_stored);
        }
        if (computes) {
            want_inputs(a, node);
            if (!add_node(a, node)) {
                return false;
            }
        }
    }
    for (size_t v = 0; v < self->value_count; v++) {
        const vqc_sequence_value *value = &self->values[v];
        const Onnx__TensorProto *tensor =
            a->coded && value->replaced != NULL ? value->replaced : value->tensor;

        if (!a->wanted[v] || !value->is_stored) {
            continue;
        }
        sparse = sparse || tensor == NULL;
        if (tensor != NULL && !add_initializer(a, value->name, tensor)) {
            return false;
        }
    }
    if (sparse) {
        const Onnx__GraphProto *from = self->graph->model->proto->graph;
        a->graph->sparse_initializer = from->sparse_initializer;
        a->graph->n_sparse_initializer = from->n_sparse_initializer;
    }
    return true;
}

static Onnx__ValueInfoProto **list_ports(assembly *a, const size_t *values, size_t count)
{
    Onnx__ValueInfoProto **list = vqc_arena_calloc(a->arena, count + 1, sizeof *list);

    for (size_t i = 0; list != NULL && i < count; i++) {
        list[i] = vqc_arena_alloc(a->arena, sizeof **list);
        if (list[i] == NULL) {
            return NULL;
        }
        onnx__value_info_proto__init(list[i]);
        list[i]->name = (char *)(uintptr_t)a->self->values[values[i]].name;
    }
    return list;
}

static bool assemble(assembly *a, const size_t *nodes, size_t node_count, const size_t *inputs,
                     size_t input_count, const size_t *outputs, size_t output_count)
{
    const vqc_sequence *self = a->self;
    size_t room = self->value_count + self->node_count + 1;

    onnx__graph_proto__init(a->graph);
    a->graph->name = (char *)(uintptr_t) "piece";
    a->graph->node = vqc_arena_calloc(a->arena, self->node_count + 1, sizeof *a->graph->node);
    a->graph->initializer = vqc_arena_calloc(a->arena, room, sizeof *a->graph->initializer);
    a->graph->input = list_ports(a, inputs, input_count);
    a->graph->output = list_ports(a, outputs, output_count);
    a->graph->n_input = input_count;
    a->graph->n_output = output_count;
    if (a->graph->node == NULL || a->graph->initializer == NULL || a->graph->input == NULL ||
        a->graph->output == NULL) {
        return false;
    }
    for (size_t i = 0; i < input_count; i++) {
        /* A model input with a default keeps it. */
        a->wanted[inputs[i]] = self->values[inputs[i]].is_stored;
    }
    for (size_t i = 0; i < node_count; i++) {
        want_inputs(a, &self->nodes[nodes[i]]);
        if (!add_node(a, &self->nodes[nodes[i]])) {
            return false;
        }
    }
    return add_constants(a);
}

static vqc_status make_runners(vqc_sequence_piece *piece, size_t count, int threads,
                               vqc_error *error)
{
    piece->runners = calloc(count + 1, sizeof(vqc_runner *));
    if (piece->runners == NULL) {
        return vqc_fail_memory(error, count * sizeof(vqc_runner *));
    }
    for (size_t i = 0; i < count; i++) {
        vqc_status status = vqc_runner_create(piece->program, threads, &piece->runners[i], error);
        if (status != VQC_OK) {
            return status;
        }
        piece->runner_count++;
    }
    return VQC_OK;
}

vqc_status vqc_sequence_piece_make(vqc_sequence *self, bool coded, const size_t *nodes,
                                   size_t node_count, const size_t *inputs, size_t input_count,
                                   const size_t *outputs, size_t output_count, size_t runners,
                                   int threads, vqc_sequence_piece *piece, vqc_error *error)
{
    assembly a = {.self = self, .coded = coded};
    vqc_status status = VQC_OK;
    Onnx__ModelProto *proto;

    memset(piece, 0, sizeof *piece);
    piece->arena = a.arena = vqc_arena_create();
    a.wanted = calloc(self->value_count + 1, sizeof *a.wanted);
    proto = a.arena == NULL ? NULL : vqc_arena_alloc(a.arena, sizeof *proto);
    a.graph = a.arena == NULL ? NULL : vqc_arena_alloc(a.arena, sizeof *a.graph);
    if (a.wanted == NULL || proto == NULL || a.graph == NULL ||
        !assemble(&a, nodes, node_count, inputs, input_count, outputs, output_count)) {
        status = vqc_fail_memory(error, self->value_count);
    } else {
        piece->model = *self->graph->model;
        piece->model.arena = a.arena;
        piece->model.proto = proto;
        piece->model.discard = NULL;
        *proto = *self->graph->model->proto;
        proto->graph = a.graph;
        status = vqc_graph_create(&piece->model, &piece->graph, error);
    }
    free(a.wanted);
    if (status == VQC_OK) {
        status = vqc_program_create(piece->graph, NULL, &piece->program, error);
    }
    if (status == VQC_OK) {
        status = make_runners(piece, runners, threads, error);
    }
    if (status != VQC_OK) {
        vqc_sequence_piece_clear(piece);
    }
    return status;
}

void vqc_sequence_piece_clear(vqc_sequence_piece *piece)
{
    for (size_t i = 0; i < piece->runner_count; i++) {
        vqc_runner_destroy(&piece->runners[i]);
    }
    free(piece->runners);
    vqc_program_destroy(&piece->program);
    vqc_graph_destroy(&piece->graph);
    vqc_arena_destroy(&piece->arena);
    memset(piece, 0, sizeof *piece);
}
