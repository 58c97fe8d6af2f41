/* The meaning of removing channels, the slow way: the same model with zeros in all weights that
 * read them. For test_prune_channels.c and prune_tool.c. */
#ifndef VQC_TESTS_UNIT_CHANNELS_ZEROED_H
#define VQC_TESTS_UNIT_CHANNELS_ZEROED_H

#include <stdlib.h>
#include <string.h>

#include "core/prune/channels_apply.h"
#include "core/prune/channels_trace.h"
#include "core/tensor.h"

/*
 * `copy` (vqc_channels_copy of the traced model) gets zeros in the columns of removed channels.
 * Only float32 constants can be changed: false when there are others.
 */
static inline bool channels_zero(const vqc_trace *trace, const bool *removed, vqc_model *copy)
{
    for (size_t k = 0; k < trace->consumer_count; k++) {
        const vqc_trace_consumer *c = &trace->consumers[k];
        const vqc_trace_value *value = &trace->values[c->weight];
        Onnx__GraphProto *graph = copy->proto->graph;
        const float *source;
        float *values;
        size_t elements;
        size_t inner = 1;
        size_t columns;
        Onnx__TensorProto *tensor = NULL;
        bool stored = false;

        for (size_t i = 0; i < graph->n_initializer; i++) {
            if (strcmp(graph->initializer[i]->name, value->value->name) == 0) {
                tensor = graph->initializer[i];
            }
        }
        for (size_t i = 0; i < graph->n_node && tensor == NULL; i++) {
            const Onnx__AttributeProto *attr = vqc_node_attr(graph->node[i], "value");
            if (attr != NULL && vqc_node_is(graph->node[i], "Constant") &&
                strcmp(graph->node[i]->output[0], value->value->name) == 0) {
                tensor = attr->t;
            }
        }
        if (tensor == NULL || tensor->data_type != VQC_DTYPE_FLOAT ||
            vqc_tensor_borrow_f32(tensor, copy->arena, &source, &elements, NULL) != VQC_OK) {
            return false;
        }
        values = vqc_arena_alloc(copy->arena, elements * sizeof *values + 1);
        if (values == NULL) {
            return false;
        }
        memcpy(values, source, elements * sizeof *values);
        columns = (size_t)tensor->dims[c->axis];
        for (size_t a = (size_t)c->axis + 1; a < tensor->n_dims; a++) {
            inner *= (size_t)tensor->dims[a];
        }
        for (size_t e = 0; e < elements; e++) {
            size_t column = e / inner % columns;
            size_t group = e / inner / columns / (elements / inner / columns / c->groups);
            if (removed[vqc_trace_find(trace, c->labels->atoms[group * columns + column])]) {
                values[e] = 0.0f;
            }
        }
        {
            Onnx__TensorProto *fresh =
                vqc_tensor_create(copy->arena, tensor->name, VQC_DTYPE_FLOAT, tensor->dims,
                                  tensor->n_dims, values, elements * sizeof *values);
            for (size_t i = 0; i < graph->n_initializer && fresh != NULL; i++) {
                if (graph->initializer[i] == tensor) {
                    graph->initializer[i] = fresh;
                    stored = true;
                }
            }
            if (!stored && fresh != NULL) {
                for (size_t i = 0; i < graph->n_node; i++) {
                    if (vqc_node_is(graph->node[i], "Constant") &&
                        strcmp(graph->node[i]->output[0], value->value->name) == 0) {
                        vqc_node_remove_attr(graph->node[i], "value");
                        stored = vqc_node_add_tensor(copy->arena, graph->node[i], "value", fresh);
                    }
                }
            }
        }
        if (!stored) {
            return false;
        }
    }
    return true;
}

#endif
