/* Conv and ConvTranspose. */
#include <stdint.h>
#include <stdlib.h>

#include "core/exec/conv_f32.h"
#include "core/exec/gemm_operand.h"

/* Types and bias [m * group] of both operators. */
static vqc_status check_operands(vqc_exec_call *call, const vqc_conv *conv)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *bias = vqc_exec_input(call, 2);
    const vqc_class class = vqc_class_of(x->dtype);

    if (class != VQC_CLASS_F32 && class != VQC_CLASS_F64) {
        return vqc_exec_fail(call, "data type %s: not defined by ONNX",
                             vqc_dtype_describe(x->dtype)->name);
    }
    for (size_t i = 1; i < call->input_count; i++) {
        if (call->inputs[i] != NULL && call->inputs[i]->dtype != x->dtype) {
            return vqc_exec_fail(call, "input %zu: got %s, expected %s as input 0", i,
                                 vqc_dtype_describe(call->inputs[i]->dtype)->name,
                                 vqc_dtype_describe(x->dtype)->name);
        }
    }
    if (bias != NULL && (bias->rank != 1 || (size_t)bias->dims[0] != conv->m * conv->group)) {
        return vqc_exec_fail(call, "bias: got %zu elements of rank %zu, expected [%zu]",
                             bias->elements, bias->rank, conv->m * conv->group);
    }
    call->types[0].dtype = x->dtype;
    return VQC_OK;
}

static vqc_status shape_conv(vqc_exec_call *call)
{
    vqc_conv conv;
    vqc_status status =
        vqc_conv_geometry(call, call->inputs[0], call->inputs[1], &conv, &call->types[0]);

    return status == VQC_OK ? check_operands(call, &conv) : status;
}

static vqc_status shape_conv_transpose(vqc_exec_call *call)
{
    vqc_conv conv;
    vqc_status status =
        vqc_conv_transpose_geometry(call, call->inputs[0], call->inputs[1], &conv, &call->types[0]);

    return status == VQC_OK ? check_operands(call, &conv) : status;
}

/* The kernel element t as an index per axis. */
static void tap_index(const vqc_conv *conv, size_t t, size_t k[VQC_CONV_AXES])
{
    k[2] = t % conv->kernel[2];
    k[1] = t / conv->kernel[2] % conv->kernel[1];
    k[0] = t / conv->kernel[2] / conv->kernel[1];
}

/* Adds one input plane, filtered, to an output plane; transposed: from input elements to where they
 * go, else from output elements to where they come from. */
static void add_plane_f64(const vqc_conv *conv, bool transposed, const double *w, const double *x,
                          double *y)
{
    const size_t *own = transposed ? conv->in : conv->out;
    const size_t *other = transposed ? conv->out : conv->in;

    for (size_t i = 0; i < own[0] * own[1] * own[2]; i++) {
        const size_t at[VQC_CONV_AXES] = {i / own[2] / own[1], i / own[2] % own[1], i % own[2]};

        for (size_t t = 0; t < conv->taps; t++) {
            size_t k[VQC_CONV_AXES];
            size_t there = 0;
            bool inside = true;

            tap_index(conv, t, k);
            for (size_t a = 0; a < VQC_CONV_AXES; a++) {
                const int64_t to =
                    (int64_t)(at[a] * conv->stride[a] + k[a] * conv->dilation[a]) - conv->pad[a];

                inside = inside && to >= 0 && to < (int64_t)other[a];
                there = inside ? there * other[a] + (size_t)to : 0;
            }
            if (inside && transposed) {
                y[there] += w[t] * x[i];
            } else if (inside) {
                y[i] += w[t] * x[there];
            }
        }
    }
}

static vqc_status conv_f64(vqc_exec_call *call, const vqc_conv *conv, bool transposed)
{
    const vqc_buffer *bias_buffer = vqc_exec_input(call, 2);
    const double *x = vqc_operand_wide(call, call->inputs[0]);
    const double *w = vqc_operand_wide(call, call->inputs[1]);
    const double *bias = bias_buffer != NULL ? vqc_operand_wide(call, bias_buffer) : x;
    double *y = vqc_exec_scratch(call, call->outputs[0]->elements * sizeof *y);

    if (x == NULL || w == NULL || bias == NULL || y == NULL) {
        return vqc_operand_failed(call);
    }
    for (size_t i = 0; i < conv->n * conv->group * conv->m; i++) {
        const size_t m = i % (conv->group * conv->m);
        const size_t group = i / conv->m; /* over images */
        double *plane = y + i * conv->out_size;

        for (size_t o = 0; o < conv->out_size; o++) {
            plane[o] = bias_buffer != NULL ? bias[m] : 0.0;
        }
        for (size_t c = 0; c < conv->c; c++) {
            const size_t channel = group % conv->group * conv->c + c;
            const size_t filter = transposed ? channel * conv->m + m % conv->m : m * conv->c + c;

            add_plane_f64(conv, transposed, w + filter * conv->taps,
                          x + (group * conv->c + c) * conv->in_size, plane);
        }
    }
    vqc_operand_store_wide(call->outputs[0], y);
    return VQC_OK;
}

/* Bias as float32, *ok = false without memory. */
static const float *bias_f32(vqc_exec_call *call, bool *ok)
{
    const vqc_buffer *buffer = vqc_exec_input(call, 2);
    const float *bias = buffer != NULL ? vqc_operand_f32(call, buffer) : NULL;

    *ok = buffer == NULL || bias != NULL;
    return bias;
}

static vqc_status run_conv(vqc_exec_call *call)
{
    vqc_conv_weights *weights = call->prepared;
    vqc_conv_weights *own = NULL;
    const float *x, *bias, *w;
    float *y;
    vqc_exec_type type;
    vqc_conv conv;
    bool ok;
    vqc_status status = vqc_conv_geometry(call, call->inputs[0], call->inputs[1], &conv, &type);

    if (status != VQC_OK || call->outputs[0]->elements == 0) {
        return status;
    }
    if (call->outputs[0]->dtype == VQC_DTYPE_DOUBLE) {
        return conv_f64(call, &conv, false);
    }
    x = vqc_operand_f32(call, call->inputs[0]);
    y = vqc_operand_target(call, call->outputs[0]);
    bias = bias_f32(call, &ok);
    if (x == NULL || y == NULL || !ok) {
        return vqc_operand_failed(call);
    }
    if (weights == NULL) {
        w = vqc_operand_f32(call, call->inputs[1]);
        own = w != NULL ? vqc_conv_weights_create(&conv, (const unsigned char *)w) : NULL;
        weights = own;
    }
    if (weights == NULL) {
        return vqc_fail_memory(call->error, call->inputs[1]->elements * sizeof *x);
    }
    status = vqc_conv_f32(call, &conv, weights, x, bias, y);
    vqc_conv_weights_destroy(own);
    if (status == VQC_OK) {
        vqc_operand_store(call->outputs[0], y);
    }
    return status;
}

static vqc_status run_conv_transpose(vqc_exec_call *call)
{
    const float *x, *w, *bias;
    float *y;
    vqc_exec_type type;
    vqc_conv conv;
    bool ok;
    vqc_status status =
        vqc_conv_transpose_geometry(call, call->inputs[0], call->inputs[1], &conv, &type);

    if (status != VQC_OK || call->outputs[0]->elements == 0) {
        return status;
    }
    if (call->outputs[0]->dtype == VQC_DTYPE_DOUBLE) {
        return conv_f64(call, &conv, true);
    }
    x = vqc_operand_f32(call, call->inputs[0]);
    w = call->prepared != NULL ? call->prepared : vqc_operand_f32(call, call->inputs[1]);
    y = vqc_operand_target(call, call->outputs[0]);
    bias = bias_f32(call, &ok);
    if (x == NULL || w == NULL || y == NULL || !ok) {
        return vqc_operand_failed(call);
    }
    status = vqc_conv_transpose_f32(call, &conv, w, x, bias, y);
    if (status == VQC_OK) {
        vqc_operand_store(call->outputs[0], y);
    }
    return status;
}

/* Makes constant weights ready; their shape and the group say all that this needs. */
static vqc_status prepare_conv(vqc_exec_call *call)
{
    const vqc_buffer *w = vqc_exec_input(call, 1);
    vqc_conv conv;

    if (w == NULL || w->dtype != VQC_DTYPE_FLOAT || !vqc_conv_weight_shape(call, w, &conv)) {
        return VQC_OK; /* what is wrong with the weights, the shape rule says */
    }
    call->prepared = vqc_conv_weights_create(&conv, w->data);
    return call->prepared != NULL ? VQC_OK : vqc_fail_memory(call->error, w->elements * w->width);
}

static void release_conv(void *prepared)
{
    vqc_conv_weights_destroy(prepared);
}

/* An aligned copy of constant weights. */
static vqc_status prepare_conv_transpose(vqc_exec_call *call)
{
    const vqc_buffer *w = vqc_exec_input(call, 1);

    if (w == NULL || w->dtype != VQC_DTYPE_FLOAT || (uintptr_t)w->data % sizeof(float) == 0) {
        return VQC_OK;
    }
    call->prepared = vqc_operand_copy(w);
    return call->prepared != NULL ? VQC_OK : vqc_fail_memory(call->error, w->elements * w->width);
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("Conv", "", 1, 2, shape_conv, run_conv, .prepare = prepare_conv,
                 .release = release_conv, .fuses = true),
    VQC_EXEC_ROW("ConvTranspose", "", 1, 2, shape_conv_transpose, run_conv_transpose,
                 .prepare = prepare_conv_transpose, .release = free, .fuses = true),
};

const vqc_exec_family vqc_exec_ops_conv = {OPS, sizeof OPS / sizeof OPS[0]};
