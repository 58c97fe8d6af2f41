/* Version adapters for Scan and for operators that were renamed or lost data types. */
#include <string.h>

#include "core/emit/opset_adapters.h"

vqc_status vqc_adapt_scatter_11(vqc_raise *raise, Onnx__NodeProto *node)
{
    return vqc_raise_set_op(raise, node, "ScatterElements");
}

/* Erf 13 and ReduceLogSum, ReduceLogSumExp 28 take no integers any more. */
const char *vqc_block_integers(const vqc_raise *raise, const vqc_scope *scope,
                               const Onnx__NodeProto *node)
{
    const char *data = vqc_opset_input(node, 0);
    int32_t dtype = data == NULL ? VQC_DTYPE_UNDEFINED : vqc_opset_dtype(raise, scope, data);

    return dtype == VQC_DTYPE_UNDEFINED || vqc_dtype_describe(dtype)->is_float
               ? NULL
               : "integers are no longer allowed for it";
}

/* ---- Scan 8 -> 9 ---- */

const char *vqc_block_scan_9(const vqc_raise *raise, const vqc_scope *scope,
                             const Onnx__NodeProto *node)
{
    const Onnx__AttributeProto *body = vqc_node_attr(node, "body");

    (void)raise;
    (void)scope;
    if (vqc_opset_input(node, 0) != NULL) {
        return "sequence_lens has no counterpart since version 9";
    }
    return body == NULL || body->g == NULL || node->n_input < 2 ||
                   vqc_node_attr_int(node, "num_scan_inputs", 0) <= 0
               ? "its body or its inputs are missing"
               : NULL;
}

static Onnx__ValueInfoProto **fresh_values(vqc_raise *raise, size_t count, const char **names)
{
    Onnx__ValueInfoProto **infos = vqc_arena_calloc(raise->arena, count + 1, sizeof *infos);

    for (size_t i = 0; infos != NULL && i < count; i++) {
        char *name = vqc_raise_fresh(raise, "batch_");
        infos[i] = vqc_arena_alloc(raise->arena, sizeof **infos);
        if (name == NULL || infos[i] == NULL) {
            return NULL;
        }
        onnx__value_info_proto__init(infos[i]);
        infos[i]->name = name;
        names[i] = name;
    }
    return infos;
}

/* The graph that runs `inner` once: inputs and outputs are its own. */
static Onnx__GraphProto *wrap_node(vqc_raise *raise, Onnx__NodeProto *inner,
                                   Onnx__ValueInfoProto **inputs, Onnx__ValueInfoProto **outputs)
{
    Onnx__GraphProto *graph = vqc_arena_alloc(raise->arena, sizeof *graph);
    Onnx__NodeProto **nodes = vqc_arena_calloc(raise->arena, 1, sizeof *nodes);

    if (graph == NULL || nodes == NULL) {
        return NULL;
    }
    onnx__graph_proto__init(graph);
    nodes[0] = inner;
    graph->name = vqc_arena_strdup(raise->arena, "batch");
    graph->node = nodes;
    graph->n_node = 1;
    graph->input = inputs;
    graph->n_input = inner->n_input;
    graph->output = outputs;
    graph->n_output = inner->n_output;
    return graph->name != NULL ? graph : NULL;
}

/*
 * Scan 8 ran its body for every batch element and every position of the sequence; version 9 knows
 * no batch. So the new node scans the batch axis of every input, states included, and its body is a
 * second Scan over the sequence with the old body. Source: ONNX Scan 8 and 9.
 */
vqc_status vqc_adapt_scan_9(vqc_raise *raise, Onnx__NodeProto *node)
{
    size_t inputs = node->n_input - 1;
    const char **names = vqc_arena_calloc(raise->arena, inputs + node->n_output + 1, sizeof *names);
    Onnx__ValueInfoProto **ins = names == NULL ? NULL : fresh_values(raise, inputs, names);
    Onnx__ValueInfoProto **outs =
        ins == NULL ? NULL : fresh_values(raise, node->n_output, names + inputs);
    Onnx__AttributeProto *attr = vqc_arena_alloc(raise->arena, sizeof *attr);
    Onnx__NodeProto *inner;

    if (outs == NULL || attr == NULL) {
        return vqc_raise_memory(raise);
    }
    inner = vqc_node_create(raise->arena, "Scan", "", NULL, names, inputs, names + inputs,
                            node->n_output);
    if (inner == NULL ||
        vqc_raise_rename_attr(raise, node, "directions", "scan_input_directions") != VQC_OK) {
        return vqc_raise_memory(raise);
    }
    inner->attribute = node->attribute;
    inner->n_attribute = node->n_attribute;
    onnx__attribute_proto__init(attr);
    attr->name = vqc_arena_strdup(raise->arena, "body");
    attr->has_type = 1;
    attr->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
    attr->g = wrap_node(raise, inner, ins, outs);
    node->attribute = vqc_arena_calloc(raise->arena, 1, sizeof *node->attribute);
    if (attr->name == NULL || attr->g == NULL || node->attribute == NULL) {
        return vqc_raise_memory(raise);
    }
    node->attribute[0] = attr;
    node->n_attribute = 1;
    memmove(node->input, node->input + 1, inputs * sizeof *node->input);
    node->n_input = inputs;
    return vqc_raise_set_int(raise, node, "num_scan_inputs", (int64_t)inputs);
}
