/* Operators that ONNX had as experiments up to opset 9 and then withdrew; models of that time still
 * use them. Upsample is with Resize in exec_ops_image.c. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_op.h"
#include "core/exec/working.h"
#include "core/graph.h"

static vqc_status expect_floats(vqc_exec_call *call)
{
    vqc_class class = vqc_class_of(call->inputs[0]->dtype);

    if (class != VQC_CLASS_F32 && class != VQC_CLASS_F64) {
        return vqc_exec_fail(call, "got type %s, expected a float type",
                             vqc_dtype_describe(call->inputs[0]->dtype)->name);
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    return VQC_OK;
}

/* ---- Crop ---- */

/* First row and column that stay; the size of what stays goes to type->dims. */
static vqc_status parse_crop(vqc_exec_call *call, vqc_exec_type *type, int64_t *top, int64_t *left)
{
    const vqc_buffer *in = call->inputs[0];
    const Onnx__AttributeProto *border = vqc_node_attr(call->node, "border");
    const Onnx__AttributeProto *scale = vqc_node_attr(call->node, "scale");
    int64_t height, width;

    if (in->rank != 4 || border == NULL || border->n_ints != 4 ||
        (scale != NULL && scale->n_ints != 2)) {
        return vqc_exec_fail(call, "expected rank 4, 4 borders and no scale or 2");
    }
    for (size_t i = 0; i < 4; i++) { /* left, top, right, bottom */
        if (border->ints[i] < 0 || border->ints[i] > in->dims[i % 2 == 0 ? 3 : 2]) {
            return vqc_exec_fail(call, "border: got %lld", (long long)border->ints[i]);
        }
    }
    *left = border->ints[0];
    *top = border->ints[1];
    height = scale != NULL ? scale->ints[0] : in->dims[2] - *top - border->ints[3];
    width = scale != NULL ? scale->ints[1] : in->dims[3] - *left - border->ints[2];
    if (height < 0 || width < 0 || height > in->dims[2] - *top || width > in->dims[3] - *left) {
        return vqc_exec_fail(call, "got a result of %lld x %lld from %lld x %lld",
                             (long long)height, (long long)width, (long long)in->dims[2],
                             (long long)in->dims[3]);
    }
    vqc_exec_type_like(type, in);
    type->dims[2] = height;
    type->dims[3] = width;
    return VQC_OK;
}

static vqc_status shape_crop(vqc_exec_call *call)
{
    int64_t top, left;

    return parse_crop(call, &call->types[0], &top, &left);
}

static vqc_status run_crop(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    vqc_exec_type type;
    vqc_view view = vqc_view_of(in);
    int64_t top, left;
    vqc_status status = parse_crop(call, &type, &top, &left);

    if (status != VQC_OK || out->elements == 0) {
        return status;
    }
    view.data += (size_t)(top * in->dims[3] + left) * in->width;
    view.dims[2] = (size_t)out->dims[2];
    view.dims[3] = (size_t)out->dims[3];
    vqc_view_copy(&view, out->elements, out->data);
    return VQC_OK;
}

/* ---- ImageScaler: x scale + bias[channel] ---- */

static vqc_status shape_scaler(vqc_exec_call *call)
{
    const Onnx__AttributeProto *bias = vqc_node_attr(call->node, "bias");

    if (call->inputs[0]->rank != 4 || bias == NULL ||
        bias->n_floats != (uint64_t)call->inputs[0]->dims[1]) {
        return vqc_exec_fail(call, "expected rank 4 and a bias for each channel");
    }
    return expect_floats(call);
}

static vqc_status run_scaler(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_class class = vqc_class_of(in->dtype) == VQC_CLASS_F64 ? VQC_CLASS_F64 : VQC_CLASS_F32;
    const float *bias = vqc_node_attr(call->node, "bias")->floats;
    float scale = vqc_node_attr_float(call->node, "scale", 1.0f);
    const void *x = vqc_exec_values(call, in, class);
    void *y = vqc_exec_target(call, call->outputs[0], class);
    size_t plane = (size_t)in->dims[2] * (size_t)in->dims[3];

    if (x == NULL || y == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t i = 0; i < in->elements; i++) {
        float shift = bias[i / plane % (size_t)in->dims[1]];

        if (class == VQC_CLASS_F32) {
            ((float *)y)[i] = ((const float *)x)[i] * scale + shift;
        } else {
            ((double *)y)[i] = ((const double *)x)[i] * (double)scale + (double)shift;
        }
    }
    vqc_exec_target_store(call->outputs[0], class, y);
    return VQC_OK;
}

/* ---- Affine, ParametricSoftplus, ScaledTanh ---- */

typedef enum { AFFINE_KIND, SOFTPLUS_KIND, TANH_KIND } curve;

static const curve AFFINE = AFFINE_KIND;
static const curve SOFTPLUS = SOFTPLUS_KIND;
static const curve TANH = TANH_KIND;

static vqc_status run_curve(vqc_exec_call *call)
{
    curve kind = *(const curve *)call->detail;
    double alpha = (double)vqc_node_attr_float(call->node, "alpha", 1.0f);
    double beta =
        (double)vqc_node_attr_float(call->node, "beta", kind == AFFINE_KIND ? 0.0f : 1.0f);
    const double *x = vqc_exec_values(call, call->inputs[0], VQC_CLASS_F64);
    double *y = vqc_exec_target(call, call->outputs[0], VQC_CLASS_F64);

    if (x == NULL || y == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t i = 0; i < call->inputs[0]->elements; i++) {
        if (kind == AFFINE_KIND) {
            y[i] = alpha * x[i] + beta;
        } else if (kind == TANH_KIND) {
            y[i] = alpha * tanh(beta * x[i]);
        } else {
            double z = beta * x[i];
            y[i] = alpha * (z > 0.0 ? z + log1p(exp(-z)) : log1p(exp(z)));
        }
    }
    vqc_exec_target_store(call->outputs[0], VQC_CLASS_F64, y);
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("Crop", "", 1, 1, shape_crop, run_crop, .detail = NULL),
    VQC_EXEC_ROW("ImageScaler", "", 1, 1, shape_scaler, run_scaler, .detail = NULL),
    VQC_EXEC_ROW("Affine", "", 1, 1, expect_floats, run_curve, .detail = &AFFINE),
    VQC_EXEC_ROW("ParametricSoftplus", "", 1, 1, expect_floats, run_curve, .detail = &SOFTPLUS),
    VQC_EXEC_ROW("ScaledTanh", "", 1, 1, expect_floats, run_curve, .detail = &TANH),
};

const vqc_exec_family vqc_exec_ops_legacy = {OPS, sizeof OPS / sizeof OPS[0]};
