#include "core/exec/exec_unary.h"

#include "core/graph.h"

vqc_status vqc_unary_shape(vqc_exec_call *call)
{
    const vqc_unary *detail = call->detail;
    vqc_class class = vqc_class_of(call->inputs[0]->dtype);

    if (class == VQC_CLASS_NONE || detail->by_class[class] == NULL) {
        return vqc_exec_fail(call, "data type %s: not defined by ONNX",
                             vqc_dtype_describe(call->inputs[0]->dtype)->name);
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    return VQC_OK;
}

static vqc_status read_parameters(vqc_exec_call *call, const vqc_unary *detail, double *p)
{
    if (detail->parameters != NULL) {
        return detail->parameters(call, p);
    }
    for (size_t i = 0; i < 2; i++) {
        p[i] = detail->defaults[i];
        if (detail->names[i] != NULL && vqc_node_attr(call->node, detail->names[i]) != NULL) {
            p[i] = (double)vqc_node_attr_float(call->node, detail->names[i], 0.0f);
        }
    }
    return VQC_OK;
}

enum {
    BLOCK = 1 << 14,            /* elements that a thread takes at a time: 64 KiB of float32 */
    THREADS_PAY_FROM = 1 << 18, /* elements */
};

vqc_status vqc_unary_run(vqc_exec_call *call)
{
    const vqc_unary *detail = call->detail;
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    vqc_class class = vqc_class_of(in->dtype);
    int threads = out->elements >= THREADS_PAY_FROM && call->threads > 1 ? call->threads : 1;
    bool direct = in->dtype == VQC_DTYPE_FLOAT && detail->f32 != NULL;
    size_t step = direct ? BLOCK : VQC_EXEC_CHUNK;
    size_t blocks = out->elements / step + (out->elements % step != 0);
    double p[2] = {0, 0};
    vqc_status status = read_parameters(call, detail, p);

    if (status != VQC_OK) {
        return status;
    }
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (size_t block = 0; block < blocks; block++) {
        size_t at = block * step;
        size_t n = out->elements - at < step ? out->elements - at : step;
        vqc_chunk chunk;

        if (direct) {
            detail->f32((const float *)(const void *)in->data + at, n, p,
                        (float *)(void *)out->data + at);
            continue;
        }
        vqc_element_load(in->dtype, in->data + at * in->width, n, &chunk);
        detail->by_class[class](&chunk, n, p);
        vqc_element_store(out->dtype, class, &chunk, n, NULL, out->data + at * out->width);
    }
    return VQC_OK;
}
