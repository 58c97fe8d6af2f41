#include "core/emit/emitter.h"

#include <string.h>

#include "core/tensor.h"

void vqc_emit_fail(vqc_emitter *e)
{
    if (e->status == VQC_OK) {
        e->status = vqc_fail(e->error, VQC_ERR_INTERNAL, "out of memory while writing a pattern");
    }
}

const char *vqc_emit_named_payload(vqc_emitter *e, const char *name, vqc_dtype dtype,
                                   const int64_t *dims, size_t rank, const void *raw,
                                   size_t raw_bytes)
{
    Onnx__TensorProto *tensor;

    if (e->status != VQC_OK) {
        return "";
    }
    tensor =
        name == NULL ? NULL : vqc_tensor_create(e->arena, name, dtype, dims, rank, raw, raw_bytes);
    if (tensor == NULL || vqc_patch_add_constant(e->patch, e->scope, tensor, e->error) != VQC_OK) {
        vqc_emit_fail(e);
        return "";
    }
    vqc_patch_need_ir(e->patch, vqc_dtype_describe((int32_t)dtype)->ir_version);
    return name;
}

const char *vqc_emit_payload(vqc_emitter *e, const char *hint, vqc_dtype dtype, const int64_t *dims,
                             size_t rank, const void *raw, size_t raw_bytes)
{
    if (e->status != VQC_OK) {
        return "";
    }
    return vqc_emit_named_payload(e, vqc_graph_fresh_name(e->graph, hint), dtype, dims, rank, raw,
                                  raw_bytes);
}

const char *vqc_emit_shared(vqc_emitter *e, vqc_dtype dtype, const int64_t *dims, size_t rank,
                            const void *raw, size_t raw_bytes)
{
    const char *name;

    if (e->status != VQC_OK) {
        return "";
    }
    name = vqc_patch_shared_constant(e->patch, e->scope, "c", dtype, dims, rank, raw, raw_bytes);
    if (name == NULL) {
        vqc_emit_fail(e);
        return "";
    }
    return name;
}

const char *vqc_emit_scalar_f32(vqc_emitter *e, float value)
{
    return vqc_emit_shared(e, VQC_DTYPE_FLOAT, NULL, 0, &value, sizeof value);
}

const char *vqc_emit_scalar_u8(vqc_emitter *e, uint8_t value)
{
    return vqc_emit_shared(e, VQC_DTYPE_UINT8, NULL, 0, &value, sizeof value);
}

const char *vqc_emit_ints(vqc_emitter *e, const int64_t *values, size_t count)
{
    int64_t dims[1] = {(int64_t)count};
    return vqc_emit_shared(e, VQC_DTYPE_INT64, dims, 1, values, count * sizeof *values);
}

void vqc_emit_add(vqc_emitter *e, Onnx__NodeProto *node)
{
    if (e->status != VQC_OK) {
        return;
    }
    if (node == NULL) {
        vqc_emit_fail(e);
    } else if (!e->collecting) {
        e->status = vqc_patch_prepend_node(e->patch, e->scope, node, e->error);
    } else if (e->node_count == sizeof e->nodes / sizeof e->nodes[0]) {
        vqc_emit_fail(e);
    } else {
        e->nodes[e->node_count++] = node;
    }
    e->last = node;
}

const char *vqc_emit_node(vqc_emitter *e, const char *op, const char *output, const char *in0,
                          const char *in1, const char *in2)
{
    const char *inputs[3] = {in0, in1, in2};
    size_t count = in0 == NULL ? 0 : in1 == NULL ? 1 : in2 == NULL ? 2 : 3;
    const char *outputs[1];

    if (e->status != VQC_OK) {
        return "";
    }
    outputs[0] = output != VQC_FRESH ? output : vqc_graph_fresh_name(e->graph, "t");
    if (outputs[0] == NULL) {
        vqc_emit_fail(e);
        return "";
    }
    vqc_emit_add(e, vqc_node_create(e->arena, op, "", NULL, inputs, count, outputs, 1));
    return outputs[0];
}

void vqc_emit_attr_int(vqc_emitter *e, const char *name, int64_t value)
{
    if (e->status == VQC_OK && !vqc_node_add_int(e->arena, e->last, name, value)) {
        vqc_emit_fail(e);
    }
}

void vqc_emit_attr_string(vqc_emitter *e, const char *name, const char *value)
{
    if (e->status == VQC_OK && !vqc_node_add_string(e->arena, e->last, name, value)) {
        vqc_emit_fail(e);
    }
}

const char *vqc_emit_cast(vqc_emitter *e, const char *input, vqc_dtype to, const char *output)
{
    const char *name = vqc_emit_node(e, "Cast", output, input, NULL, NULL);
    vqc_emit_attr_int(e, "to", (int64_t)to);
    return name;
}

const char *vqc_emit_reshape(vqc_emitter *e, const char *input, const int64_t *dims, size_t rank,
                             const char *output)
{
    return vqc_emit_node(e, "Reshape", output, input, vqc_emit_ints(e, dims, rank), NULL);
}

const char *vqc_emit_take(vqc_emitter *e, const char *input, int64_t axis, int64_t count,
                          const char *output)
{
    const int64_t zero[1] = {0};
    const int64_t end[1] = {count};
    const int64_t axes[1] = {axis};
    const char *name;

    if (e->opset >= 10) { /* Slice takes its bounds as inputs since opset 10 */
        const char *starts = vqc_emit_ints(e, zero, 1);
        const char *ends = vqc_emit_ints(e, end, 1);
        if (axis == 0) {
            return vqc_emit_node(e, "Slice", output, input, starts, ends);
        }
        /* before the node: in a function body it is a node as well */
        const char *along = vqc_emit_ints(e, axes, 1);
        name = vqc_emit_node(e, "Slice", output, input, starts, ends);
        if (e->status == VQC_OK && !vqc_node_set_input(e->arena, e->last, 3, along)) {
            vqc_emit_fail(e);
        }
        return name;
    }
    name = vqc_emit_node(e, "Slice", output, input, NULL, NULL);
    if (e->status == VQC_OK && (!vqc_node_add_ints(e->arena, e->last, "starts", zero, 1) ||
                                !vqc_node_add_ints(e->arena, e->last, "ends", end, 1) ||
                                !vqc_node_add_ints(e->arena, e->last, "axes", axes, 1))) {
        vqc_emit_fail(e);
    }
    return name;
}

void vqc_emit_flush(vqc_emitter *e, vqc_scope *scope, Onnx__NodeProto *node, bool keep)
{
    if (e->status == VQC_OK) {
        e->status =
            keep ? vqc_patch_insert_before(e->patch, scope, node, e->nodes, e->node_count, e->error)
                 : vqc_patch_replace_node(e->patch, scope, node, e->nodes, e->node_count, e->error);
    }
    e->collecting = false;
    e->node_count = 0;
}
