#include "core/fold/fold.h"

#include <string.h>

#include "core/exec/exec.h"
#include "core/layer.h"
#include "core/memory.h"
#include "core/patch.h"
#include "core/tensor.h"

enum {
    SMALL_BYTES = 1024,    /* results up to this size are stored however small their inputs are */
    CONSTANT_BUDGET = 4096 /* nodes looked at to tell whether a value is constant */
};

static const vqc_value *find(const vqc_graph *graph, const char *name)
{
    return name == NULL || name[0] == '\0' ? NULL : vqc_scope_define(graph, graph->scopes[0], name);
}

void vqc_fold_compact(vqc_graph *graph)
{
    Onnx__GraphProto *proto = graph->scopes[0]->graph;
    size_t kept = 0;

    for (size_t i = 0; i < proto->n_node; i++) {
        if (proto->node[i] != NULL) {
            proto->node[kept++] = proto->node[i];
        }
    }
    proto->n_node = kept;
}

/* ---- constants ---- */

/* Whether some reader of a constant value is not constant itself: then it is worth computing. */
static bool is_frontier(const vqc_graph *graph, const vqc_value *value)
{
    for (size_t i = 0; i < value->use_count; i++) {
        const Onnx__NodeProto *node = value->uses[i].node;
        const vqc_value *output;

        if (node == NULL || node->n_output == 0 || value->uses[i].scope != graph->scopes[0]) {
            return true;
        }
        output = find(graph, node->output[0]);
        if (output == NULL || !vqc_exec_is_constant(graph, output, false, CONSTANT_BUDGET)) {
            return true;
        }
    }
    return false;
}

/* Stored bytes that computing the value once would make unnecessary, at least: those that its
 * nodes read. Not exact for constants with other readers; the size of the file is checked later. */
static size_t source_bytes(const vqc_graph *graph, const vqc_value *value, int depth)
{
    const Onnx__TensorProto *tensor = vqc_value_stored_tensor(value);
    size_t bytes = 0;

    if (tensor != NULL) {
        return vqc_tensor_raw_bytes(tensor, &bytes) && value->use_count == 1 ? bytes : 0;
    }
    if (value->producer == NULL || depth > 64) {
        return 0;
    }
    for (size_t i = 0; i < value->producer->n_input; i++) {
        const vqc_value *input = find(graph, value->producer->input[i]);
        bytes += input == NULL ? 0 : source_bytes(graph, input, depth + 1);
    }
    return bytes;
}

static bool is_whole_bytes(int32_t dtype)
{
    const vqc_dtype_info *info = vqc_dtype_describe(dtype);
    return info->bits > 0 && info->bits % 8 == 0;
}

/* Computes one value and puts it into the model as an initializer of its name. */
static vqc_status store_value(vqc_graph *graph, const vqc_value *value, bool *stored,
                              vqc_error *error)
{
    vqc_arena *arena = graph->model->arena;
    vqc_buffer *buffer = NULL;
    vqc_error ignored;
    size_t bytes;
    void *raw;
    vqc_patch *patch;
    vqc_status status = VQC_OK;

    *stored = false;
    if (vqc_exec_constant(graph, value, NULL, &buffer, &ignored) != VQC_OK) {
        return VQC_OK; /* an operator that is missing here: the nodes stay */
    }
    bytes = buffer->elements * buffer->width;
    if (is_whole_bytes(buffer->dtype) &&
        (bytes <= SMALL_BYTES || bytes <= source_bytes(graph, value, 0))) {
        raw = vqc_arena_alloc(arena, bytes + 1);
        patch = vqc_patch_create(graph);
        if (raw == NULL || patch == NULL) {
            status = vqc_fail_memory(error, bytes);
        } else {
            memcpy(raw, buffer->data, bytes);
            status = vqc_patch_add_constant(
                patch, graph->scopes[0],
                vqc_tensor_create(arena, value->name, (vqc_dtype)buffer->dtype, buffer->dims,
                                  buffer->rank, raw, bytes),
                error);
            if (status == VQC_OK) {
                status = vqc_patch_replace_node(patch, graph->scopes[0], value->producer, NULL, 0,
                                                error);
            }
            if (status == VQC_OK) {
                status = vqc_patch_apply(patch, error);
            }
            *stored = status == VQC_OK;
        }
    }
    vqc_buffer_destroy(&buffer);
    return status;
}

vqc_status vqc_fold_constants(vqc_graph *graph, size_t *count, vqc_error *error)
{
    vqc_status status = VQC_OK;

    *count = 0;
    for (size_t i = 0; i < graph->value_count && status == VQC_OK; i++) {
        const vqc_value *value = graph->values[i];
        bool stored = false;

        if (value->scope != graph->scopes[0] || value->producer == NULL ||
            value->producer->n_output != 1 || value->use_count == 0 ||
            vqc_node_is(value->producer, "Constant") ||
            !vqc_exec_is_constant(graph, value, false, CONSTANT_BUDGET) ||
            !is_frontier(graph, value)) {
            continue;
        }
        status = store_value(graph, value, &stored, error);
        *count += stored ? 1 : 0;
    }
    return status;
}

/* ---- nodes that do nothing ---- */

static bool is_idle(const vqc_graph *graph, const Onnx__NodeProto *node)
{
    if (node->n_output != 1 || node->n_input == 0 || node->input[0][0] == '\0') {
        return false;
    }
    if (vqc_node_is(node, "Identity")) {
        return true;
    }
    if (!vqc_node_is(node, "Dropout")) {
        return false;
    }
    if (node->n_input > 2 && node->input[2][0] != '\0') { /* training_mode */
        const vqc_value *value = find(graph, node->input[2]);
        const Onnx__TensorProto *tensor = value == NULL ? NULL : vqc_value_constant(graph, value);
        return tensor != NULL && tensor->has_raw_data && tensor->raw_data.len == 1 &&
               tensor->raw_data.data[0] == 0;
    }
    return true;
}

/* Readers in subgraphs might mean another value by the name of the input. */
static bool can_be_renamed(const vqc_graph *graph, const vqc_value *value)
{
    for (size_t i = 0; i < value->use_count; i++) {
        if (value->uses[i].node == NULL || value->uses[i].scope != graph->scopes[0]) {
            return false;
        }
    }
    return value->use_count > 0;
}

vqc_status vqc_fold_idle(vqc_graph *graph, size_t *count, vqc_error *error)
{
    size_t node_count;
    Onnx__NodeProto **nodes = vqc_scope_nodes(graph->scopes[0], &node_count);

    (void)error;
    *count = 0;
    for (size_t i = 0; i < node_count; i++) {
        const vqc_value *output;
        char *source;

        if (!is_idle(graph, nodes[i])) {
            continue;
        }
        output = find(graph, nodes[i]->output[0]);
        if (output == NULL || !can_be_renamed(graph, output)) {
            continue;
        }
        source = nodes[i]->input[0];
        for (size_t u = 0; u < output->use_count; u++) {
            output->uses[u].node->input[output->uses[u].input] = source;
        }
        nodes[i] = NULL;
        ++*count;
    }
    vqc_fold_compact(graph);
    return VQC_OK;
}

/* ---- what nothing reads ---- */

static bool is_dead(const vqc_graph *graph, const Onnx__NodeProto *node)
{
    for (size_t i = 0; i < node->n_output; i++) {
        const vqc_value *value = find(graph, node->output[i]);
        if (value != NULL && value->use_count > 0) {
            return false;
        }
    }
    return true;
}

static vqc_status sweep_initializers(vqc_graph *graph, vqc_error *error)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < graph->value_count && status == VQC_OK; i++) {
        vqc_value *value = graph->values[i];
        vqc_patch *patch;

        if (value->scope != graph->scopes[0] || value->initializer == NULL ||
            value->use_count > 0 ||
            (value->graph_input != NULL && graph->model->proto->ir_version >= 4)) {
            continue;
        }
        patch = vqc_patch_create(graph);
        status = patch == NULL ? vqc_fail_memory(error, 0)
                               : vqc_patch_remove_constant(patch, value, error);
        if (status == VQC_OK) {
            status = vqc_patch_apply(patch, error);
        }
    }
    return status;
}

vqc_status vqc_fold_sweep(vqc_graph *graph, vqc_error *error)
{
    vqc_model *model = graph->model;
    bool again = true;
    vqc_status status = VQC_OK;

    while (again && status == VQC_OK) { /* dead nodes make others dead */
        vqc_graph *index = NULL;
        size_t count;
        Onnx__NodeProto **nodes;

        again = false;
        status = vqc_graph_create(model, &index, error);
        if (status != VQC_OK) {
            return status;
        }
        nodes = vqc_scope_nodes(index->scopes[0], &count);
        for (size_t i = 0; i < count; i++) {
            if (is_dead(index, nodes[i])) {
                nodes[i] = NULL;
                again = true;
            }
        }
        vqc_fold_compact(index);
        if (!again) {
            status = sweep_initializers(index, error);
        }
        vqc_graph_destroy(&index);
    }
    return status;
}

/* ---- the whole ---- */

typedef vqc_status fold_fn(vqc_graph *graph, size_t *a, size_t *b, vqc_error *error);

static vqc_status fold_idle_nodes(vqc_graph *graph, size_t *a, size_t *b, vqc_error *error)
{
    (void)b;
    return vqc_fold_idle(graph, a, error);
}

static vqc_status fold_constant_nodes(vqc_graph *graph, size_t *a, size_t *b, vqc_error *error)
{
    (void)b;
    return vqc_fold_constants(graph, a, error);
}

/* One pass over a fresh index, and a sweep behind it. */
static vqc_status pass(vqc_model *model, fold_fn *fold, size_t *a, size_t *b, vqc_error *error)
{
    vqc_graph *graph = NULL;
    vqc_status status = vqc_graph_create(model, &graph, error);

    if (status == VQC_OK) {
        status = fold(graph, a, b, error);
    }
    if (status == VQC_OK && *a + *b > 0) {
        status = vqc_fold_sweep(graph, error);
    }
    vqc_graph_destroy(&graph);
    return status;
}

vqc_status vqc_fold_model(vqc_model *model, vqc_fold_counts *counts, vqc_error *error)
{
    size_t unused = 0;
    bool again = true;
    vqc_status status;

    memset(counts, 0, sizeof *counts);
    status = pass(model, fold_idle_nodes, &counts->idle, &unused, error);
    if (status == VQC_OK) {
        status = pass(model, fold_constant_nodes, &counts->constants, &unused, error);
    }
    while (again && status == VQC_OK) { /* a new bias is known to the next index only */
        size_t norms = 0;
        size_t scales = 0;
        status = pass(model, vqc_fold_channels, &norms, &scales, error);
        counts->norms += norms;
        counts->scales += scales;
        again = norms + scales > 0;
    }
    return status;
}
