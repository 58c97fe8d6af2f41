/* The operator table and what its rows share. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/exec/exec_op.h"
#include "core/graph.h"

static const vqc_exec_family *const FAMILIES[] = {
    &vqc_exec_ops_create,
    &vqc_exec_ops_elementwise,
    &vqc_exec_ops_index,
    &vqc_exec_ops_quantize,
    &vqc_exec_ops_shape,
    &vqc_exec_ops_matmul,
    &vqc_exec_ops_conv,
    &vqc_exec_ops_activation,
    &vqc_exec_ops_norm,
    &vqc_exec_ops_reduce,
    &vqc_exec_ops_pool,
    &vqc_exec_ops_rnn,
    &vqc_exec_ops_attention,
    &vqc_exec_ops_image,
    &vqc_exec_ops_signal,
    &vqc_exec_ops_select,
    &vqc_exec_ops_linear_algebra,
    &vqc_exec_ops_loss,
    &vqc_exec_ops_legacy,
    &vqc_exec_ops_integer,
    &vqc_exec_ops_microsoft,
    &vqc_exec_ops_microsoft_qlinear,
    &vqc_exec_ops_microsoft_gather,
    &vqc_exec_ops_microsoft_fused,
    &vqc_exec_ops_microsoft_nbits,
    &vqc_exec_ops_microsoft_lstm,
    &vqc_exec_ops_control,
    &vqc_exec_ops_detect,
    &vqc_exec_ops_scatter,
    &vqc_exec_ops_pad,
    &vqc_exec_ops_pattern,
    &vqc_exec_ops_elementwise_unary,
    &vqc_exec_ops_softmax,
};

const vqc_exec_op *vqc_exec_find(const char *domain, const char *op, int64_t version)
{
    const vqc_exec_op *best = NULL;

    if (vqc_domain_is_onnx(domain)) {
        domain = "";
    }
    for (size_t f = 0; op != NULL && f < sizeof FAMILIES / sizeof FAMILIES[0]; f++) {
        for (size_t i = 0; i < FAMILIES[f]->count; i++) {
            const vqc_exec_op *row = &FAMILIES[f]->ops[i];

            if (strcmp(row->op, op) == 0 && strcmp(row->domain, domain) == 0 &&
                row->since <= version && (best == NULL || row->since > best->since)) {
                best = row;
            }
        }
    }
    return best;
}

vqc_status vqc_exec_fail(vqc_exec_call *call, const char *format, ...)
{
    char text[512];
    const char *name = call->node->name;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (name == NULL || name[0] == '\0') {
        name = call->node->n_output > 0 ? call->node->output[0] : "";
    }
    return vqc_fail(call->error, VQC_ERR_MODEL, "node \"%.200s\" (%s): %s", name, call->op, text);
}

const vqc_buffer *vqc_exec_input(const vqc_exec_call *call, size_t i)
{
    return i < call->input_count ? call->inputs[i] : NULL;
}

void vqc_exec_type_like(vqc_exec_type *type, const vqc_buffer *buffer)
{
    type->dtype = buffer->dtype;
    type->rank = buffer->rank;
    memcpy(type->dims, buffer->dims, sizeof type->dims);
}

vqc_status vqc_exec_ints(vqc_exec_call *call, const vqc_buffer *buffer, int64_t *values,
                         size_t capacity, size_t *count)
{
    vqc_class class = vqc_class_of(buffer->dtype);

    if (buffer->rank > 1 || buffer->elements > capacity ||
        (class != VQC_CLASS_I64 && class != VQC_CLASS_U64)) {
        return vqc_exec_fail(
            call, "got %zu values of type %s and rank %zu, expected up to %zu integers",
            buffer->elements, vqc_dtype_describe(buffer->dtype)->name, buffer->rank, capacity);
    }
    for (size_t i = 0; i < buffer->elements; i++) {
        values[i] = vqc_element_int(buffer->dtype, buffer->data, i);
    }
    *count = buffer->elements;
    return VQC_OK;
}

vqc_status vqc_exec_ints_of(vqc_exec_call *call, const char *name, size_t input, int64_t *values,
                            size_t capacity, size_t *count, bool *given)
{
    const vqc_buffer *buffer = vqc_exec_input(call, input);
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, name);

    *given = buffer != NULL || attr != NULL;
    if (buffer != NULL) {
        return vqc_exec_ints(call, buffer, values, capacity, count);
    }
    if (attr == NULL) {
        return VQC_OK;
    }
    if (attr->n_ints > capacity) {
        return vqc_exec_fail(call, "attribute \"%s\": got %zu values, expected up to %zu", name,
                             attr->n_ints, capacity);
    }
    *count = attr->n_ints;
    if (attr->n_ints > 0) {
        memcpy(values, attr->ints, attr->n_ints * sizeof *values);
    }
    return VQC_OK;
}

vqc_status vqc_exec_axis(vqc_exec_call *call, int64_t axis, size_t rank, size_t *out)
{
    int64_t index = axis < 0 ? axis + (int64_t)rank : axis;

    if (index < 0 || (uint64_t)index >= rank) {
        return vqc_exec_fail(call, "axis: got %lld, expected one within rank %zu", (long long)axis,
                             rank);
    }
    *out = (size_t)index;
    return VQC_OK;
}
