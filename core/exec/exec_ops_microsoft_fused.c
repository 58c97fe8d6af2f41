/* com.microsoft FusedConv, FusedGemm and FusedMatMul: operators of ai.onnx with something before or
 * after them. float32. */
#include <string.h>

#include "core/exec/activation.h"
#include "core/exec/exec_ops_microsoft.h"
#include "core/graph.h"

/* What is behind a row, and as of which version. */
typedef struct fused {
    const char *op;
    int64_t version;
    size_t inputs; /* of the inner operator */
} fused;

static const fused CONV = {"Conv", 11, 3};
static const fused GEMM = {"Gemm", 13, 3};
static const fused MATMUL = {"MatMul", 13, 2};

/* ---- activations ---- */

/* Parameter i of the activation: activation_params of FusedConv, activation_alpha, ... of
 * FusedGemm.
 */
static float parameter(const vqc_exec_call *call, size_t i, float fallback)
{
    static const char *const names[2] = {"activation_alpha", "activation_beta"};
    const Onnx__AttributeProto *all = vqc_node_attr(call->node, "activation_params");

    if (all != NULL && all->n_floats > i) {
        return all->floats[i];
    }
    return vqc_node_attr_float(call->node, names[i], fallback);
}

static vqc_status read_activation(vqc_exec_call *call, vqc_epilogue *act)
{
    static const struct {
        const char *name;
        vqc_activation act;
        float alpha, beta;
    } known[] = {{"Relu", VQC_ACT_RELU, 0.0f, 0.0f},
                 {"Tanh", VQC_ACT_TANH, 0.0f, 0.0f},
                 {"Sigmoid", VQC_ACT_SIGMOID, 0.0f, 0.0f},
                 {"LeakyRelu", VQC_ACT_LEAKY_RELU, 0.01f, 0.0f},
                 {"Clip", VQC_ACT_CLIP, -3.402823466e+38f, 3.402823466e+38f},
                 {"HardSigmoid", VQC_ACT_HARD_SIGMOID, 0.2f, 0.5f}};
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, "activation");

    memset(act, 0, sizeof *act);
    if (attr == NULL || !attr->has_s || attr->s.len == 0) {
        return VQC_OK;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (attr->s.len == strlen(known[i].name) &&
            memcmp(attr->s.data, known[i].name, attr->s.len) == 0) {
            act->act = known[i].act;
            act->alpha = parameter(call, 0, known[i].alpha);
            act->beta = parameter(call, 1, known[i].beta);
            return VQC_OK;
        }
    }
    return vqc_exec_fail(call, "activation: got \"%.*s\"",
                         (int)(attr->s.len < 40 ? attr->s.len : 40), (const char *)attr->s.data);
}

/* ---- operands of FusedMatMul ---- */

static bool is_transposed(const vqc_exec_call *call, size_t i)
{
    return strcmp(call->op, "FusedMatMul") == 0 &&
           vqc_node_attr_int(call->node, i == 0 ? "transA" : "transB", 0) != 0;
}

/* Input i with its last two axes exchanged where the node says so; with data when `copy`. */
static vqc_status operand(vqc_exec_call *call, size_t i, bool copy, vqc_buffer *out)
{
    const vqc_buffer *x = call->inputs[i];
    vqc_view view;
    size_t last;

    *out = *x;
    if (!is_transposed(call, i) || x->rank < 2) {
        return VQC_OK;
    }
    last = x->rank - 1;
    out->dims[last] = x->dims[last - 1];
    out->dims[last - 1] = x->dims[last];
    if (!copy || x->elements == 0) {
        return VQC_OK;
    }
    if (!vqc_inner_buffer(call, x->dtype, out->dims, x->rank, out)) {
        return vqc_int_failed(call);
    }
    view = vqc_view_of(x);
    view.dims[last] = (size_t)x->dims[last - 1];
    view.dims[last - 1] = (size_t)x->dims[last];
    view.strides[last] = (ptrdiff_t)x->dims[last];
    view.strides[last - 1] = 1;
    vqc_view_copy(&view, x->elements, out->data);
    return VQC_OK;
}

/* The inner operator on its inputs. */
static vqc_status make_inner(vqc_exec_call *call, bool copy, vqc_buffer operands[2],
                             const vqc_buffer *inputs[3], vqc_inner *inner)
{
    const fused *f = call->detail;

    for (size_t i = 0; i < f->inputs; i++) {
        inputs[i] = vqc_exec_input(call, i);
        if (i < 2) {
            if (operand(call, i, copy, &operands[i]) != VQC_OK) {
                return vqc_int_failed(call);
            }
            inputs[i] = &operands[i];
        }
    }
    return vqc_inner_shape(call, f->op, f->version, inputs,
                           f->inputs == 3 && inputs[2] == NULL ? 2 : f->inputs, inner);
}

static vqc_status shape_fused(vqc_exec_call *call)
{
    const vqc_buffer *added = vqc_exec_input(call, 3);
    const vqc_buffer *inputs[3];
    vqc_buffer operands[2];
    vqc_epilogue act;
    vqc_inner inner;

    if (call->inputs[0]->dtype != VQC_DTYPE_FLOAT) {
        return vqc_exec_fail(call, "got type %s, expected float32",
                             vqc_dtype_describe(call->inputs[0]->dtype)->name);
    }
    if (vqc_node_attr_int(call->node, "transBatchA", 0) != 0 ||
        vqc_node_attr_int(call->node, "transBatchB", 0) != 0) {
        return vqc_exec_fail(call, "transBatchA and transBatchB are not supported");
    }
    if (read_activation(call, &act) != VQC_OK ||
        make_inner(call, false, operands, inputs, &inner) != VQC_OK) {
        return vqc_int_failed(call);
    }
    call->types[0] = inner.call.types[0];
    call->types[0].alias = false;
    if (added != NULL &&
        (added->dtype != VQC_DTYPE_FLOAT || added->rank != call->types[0].rank ||
         memcmp(added->dims, call->types[0].dims, added->rank * sizeof *added->dims) != 0)) {
        return vqc_exec_fail(call, "Z does not have the type and shape of the result");
    }
    return VQC_OK;
}

static vqc_status run_fused(vqc_exec_call *call)
{
    const vqc_buffer *added = vqc_exec_input(call, 3);
    bool scaled = strcmp(call->op, "FusedMatMul") == 0;
    float alpha = scaled ? vqc_node_attr_float(call->node, "alpha", 1.0f) : 1.0f;
    vqc_buffer *out = call->outputs[0];
    float *y = (float *)(void *)out->data;
    const vqc_buffer *inputs[3];
    vqc_buffer operands[2];
    vqc_epilogue act;
    vqc_inner inner;

    if (read_activation(call, &act) != VQC_OK ||
        make_inner(call, true, operands, inputs, &inner) != VQC_OK) {
        return vqc_int_failed(call);
    }
    inner.call.prepared = call->prepared;
    if (vqc_inner_run(&inner, out) != VQC_OK) {
        return vqc_int_failed(call);
    }
    for (size_t i = 0; alpha != 1.0f && i < out->elements; i++) {
        y[i] *= alpha;
    }
    for (size_t i = 0; added != NULL && i < out->elements; i++) {
        float z;
        memcpy(&z, added->data + i * sizeof z, sizeof z);
        y[i] += z;
    }
    if (act.act != VQC_ACT_NONE) {
        vqc_activate(&act, y, out->elements);
    }
    return VQC_OK;
}

#define ROW(name, what)                                                                            \
    VQC_EXEC_ROW(name, "com.microsoft", 1, 2, shape_fused, run_fused, .detail = &(what))

static const vqc_exec_op OPS[] = {
    ROW("FusedConv", CONV),
    ROW("FusedGemm", GEMM),
    ROW("FusedMatMul", MATMUL),
};

const vqc_exec_family vqc_exec_ops_microsoft_fused = {OPS, sizeof OPS / sizeof OPS[0]};
