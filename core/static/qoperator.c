#include "core/static/qoperator.h"

#include <string.h>

#include "core/fold/fold.h"
#include "core/memory.h"
#include "core/static/qoperator_build.h"

enum { OLDEST_OPSET = 13 }; /* below, DequantizeLinear has no axis and MaxPool may lack uint8 */

typedef struct converter {
    const char *op;
    vqc_qoperator_fn *convert;
} converter;

/* Operators of ai.onnx. */
static const converter CONVERTERS[] = {
    {"Conv", vqc_qoperator_conv},
    {"MatMul", vqc_qoperator_matmul},
    {"Gemm", vqc_qoperator_gemm},
    {"Add", vqc_qoperator_binary},
    {"Mul", vqc_qoperator_binary},
    {"Sigmoid", vqc_qoperator_unary},
    {"LeakyRelu", vqc_qoperator_unary},
    {"AveragePool", vqc_qoperator_unary},
    {"GlobalAveragePool", vqc_qoperator_unary},
    {"Concat", vqc_qoperator_concat},
    {"Reshape", vqc_qoperator_move},
    {"Flatten", vqc_qoperator_move},
    {"Transpose", vqc_qoperator_move},
    {"Squeeze", vqc_qoperator_move},
    {"Unsqueeze", vqc_qoperator_move},
    {"MaxPool", vqc_qoperator_move},
    {"Slice", vqc_qoperator_move},
    {"Split", vqc_qoperator_move},
    {"Identity", vqc_qoperator_move},
    {"Expand", vqc_qoperator_move},
    {"Tile", vqc_qoperator_move},
    {"Gather", vqc_qoperator_move},
    {"Pad", vqc_qoperator_move},
    {"Resize", vqc_qoperator_move},
    {"DepthToSpace", vqc_qoperator_move},
    {"SpaceToDepth", vqc_qoperator_move},
};

/* Whether a node stands between codes: all that it can decode is decoded, all it makes is coded. */
static bool is_between_codes(const vqc_qoperator *q, const Onnx__NodeProto *node)
{
    vqc_codes codes;

    if (vqc_node_is(node, "QuantizeLinear") || vqc_node_is(node, "DequantizeLinear") ||
        !vqc_qoperator_source(q, node, 0, &codes)) {
        return false;
    }
    for (size_t i = 0; i < node->n_output; i++) {
        if (!vqc_qoperator_sink(q, node, i, &codes)) {
            return false;
        }
    }
    return true;
}

static void convert_node(vqc_qoperator *q, Onnx__NodeProto *node)
{
    const char *reason = VQC_NO_UNIT;

    for (size_t i = 0; i < sizeof CONVERTERS / sizeof CONVERTERS[0]; i++) {
        if (vqc_node_is(node, CONVERTERS[i].op)) {
            reason = CONVERTERS[i].convert(q, node);
            break;
        }
    }
    if (reason == NULL) {
        return;
    }
    if (reason != VQC_NO_UNIT) {
        vqc_qoperator_left(q, node->op_type, reason);
    } else if (is_between_codes(q, node)) {
        vqc_qoperator_left(q, node->op_type, "has no integer operator");
    }
    vqc_qoperator_keep(q, node);
}

/* QuantizeLinear nodes that converted nodes made superfluous are those whose output another node
 * of the list makes now. */
static bool is_made_twice(const vqc_pointer_map *made, const vqc_qoperator *q,
                          const Onnx__NodeProto *node)
{
    const vqc_value *value = node->n_output == 1 && vqc_node_is(node, "QuantizeLinear")
                                 ? vqc_scope_define(q->graph, q->graph->scopes[0], node->output[0])
                                 : NULL;
    return value != NULL && vqc_pointer_map_get(made, value, 0) != 0;
}

/* Takes out QuantizeLinear nodes whose codes an operator makes by itself. */
static vqc_status drop_superfluous(vqc_qoperator *q)
{
    vqc_pointer_map made = {0};
    size_t kept = 0;
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < q->node_count && status == VQC_OK; i++) {
        Onnx__NodeProto *node = q->nodes[i];
        if (is_made_twice(&made, q, node)) {
            continue;
        }
        for (size_t o = 0; o < node->n_output && status == VQC_OK; o++) {
            const vqc_value *value =
                vqc_scope_define(q->graph, q->graph->scopes[0], node->output[o]);
            if (value != NULL && !vqc_pointer_map_set(&made, value, 1)) {
                status = vqc_fail_memory(q->error, 0);
            }
        }
        q->nodes[kept++] = node;
    }
    q->node_count = kept;
    vqc_pointer_map_clear(&made);
    return status;
}

/* QuantizeLinear of what DequantizeLinear decoded by the same parameters: readers take the codes.
 */
static size_t join_codes(vqc_qoperator *q, Onnx__NodeProto *const *nodes, size_t count)
{
    size_t joined = 0;

    for (size_t i = 0; i < count; i++) {
        const vqc_value *value;
        vqc_codes from;
        vqc_codes to;
        bool main_only = true;

        if (!vqc_node_is(nodes[i], "QuantizeLinear") || nodes[i]->n_output != 1 ||
            !vqc_qoperator_source(q, nodes[i], 0, &from) ||
            !vqc_qoperator_parameters(q, nodes[i], &to) || !vqc_codes_agree(q, &from, &to)) {
            continue;
        }
        value = vqc_scope_define(q->graph, q->graph->scopes[0], nodes[i]->output[0]);
        for (size_t u = 0; value != NULL && u < value->use_count; u++) {
            main_only = main_only && value->uses[u].node != NULL &&
                        value->uses[u].scope == q->graph->scopes[0];
        }
        if (value == NULL || !main_only) {
            continue;
        }
        for (size_t u = 0; u < value->use_count; u++) {
            value->uses[u].node->input[value->uses[u].input] = (char *)(uintptr_t)from.name;
        }
        joined += value->use_count > 0 ? 1 : 0;
    }
    return joined;
}

/* Types of values that are not there any more. */
static vqc_status drop_value_infos(vqc_model *model, vqc_error *error)
{
    Onnx__GraphProto *proto = model->proto->graph;
    vqc_graph *graph = NULL;
    size_t kept = 0;
    vqc_status status = vqc_graph_create(model, &graph, error);

    for (size_t i = 0; status == VQC_OK && i < proto->n_value_info; i++) {
        const char *name = proto->value_info[i]->name;
        const vqc_value *value =
            name == NULL ? NULL : vqc_scope_define(graph, graph->scopes[0], name);
        if (value != NULL && (value->producer != NULL || value->initializer != NULL ||
                              value->sparse != NULL || value->graph_input != NULL)) {
            proto->value_info[kept++] = proto->value_info[i];
        }
    }
    if (status == VQC_OK) {
        proto->n_value_info = kept;
    }
    vqc_graph_destroy(&graph);
    return status;
}

/* The new lists become the graph's. */
static vqc_status install(vqc_qoperator *q, vqc_model *model)
{
    Onnx__GraphProto *proto = model->proto->graph;
    Onnx__TensorProto **all = vqc_arena_calloc(q->arena, proto->n_initializer + q->added_count + 1,
                                               sizeof(Onnx__TensorProto *));
    vqc_status status;

    if (all == NULL || q->failed) {
        return vqc_fail_memory(q->error, 0);
    }
    if (proto->n_initializer > 0) {
        memcpy(all, proto->initializer, proto->n_initializer * sizeof(void *));
    }
    if (q->added_count > 0) {
        memcpy(all + proto->n_initializer, q->added, q->added_count * sizeof(void *));
    }
    status = drop_superfluous(q);
    if (status == VQC_OK && q->used_microsoft) {
        status = vqc_model_set_opset(model, "com.microsoft", 1, q->error);
    }
    if (status == VQC_OK) {
        proto->initializer = all;
        proto->n_initializer += q->added_count;
        proto->node = q->nodes;
        proto->n_node = q->node_count;
        status = vqc_fold_sweep(q->graph, q->error);
    }
    return status == VQC_OK ? drop_value_infos(model, q->error) : status;
}

vqc_status vqc_qoperator_convert(vqc_model *model, bool microsoft, vqc_qoperator_result *result,
                                 vqc_error *error)
{
    vqc_qoperator q = {
        .arena = model->arena, .error = error, .result = result, .microsoft = microsoft};
    Onnx__NodeProto **nodes;
    size_t count;
    vqc_status status;

    memset(result, 0, sizeof *result);
    status = vqc_graph_create(model, &q.graph, error);
    if (status != VQC_OK || q.graph->scopes[0]->opset < OLDEST_OPSET) {
        vqc_graph_destroy(&q.graph);
        return status;
    }
    nodes = vqc_scope_nodes(q.graph->scopes[0], &count);
    result->vanished = join_codes(&q, nodes, count);
    for (size_t i = 0; i < count; i++) { /* an operator may need what its QuantizeLinear reads */
        if (vqc_node_is(nodes[i], "Constant")) {
            vqc_qoperator_keep(&q, nodes[i]);
        }
    }
    for (size_t i = 0; i < count && !q.failed; i++) {
        if (!vqc_node_is(nodes[i], "Constant")) {
            convert_node(&q, nodes[i]);
        }
    }
    status = q.failed ? vqc_fail_memory(error, 0) : install(&q, model);
    vqc_graph_destroy(&q.graph);
    return status;
}
