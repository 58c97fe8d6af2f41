/* Activation functions and Clip. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_binary.h"
#include "core/exec/exec_unary.h"
#include "core/graph.h"

/* log(1 + exp(x)) without overflow. */
static float softplus(float x)
{
    return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
}

static double softplus_wide(double x)
{
    return fmax(x, 0.0) + log1p(exp(-fabs(x)));
}

/* sqrt(2 / pi) and sqrt(1 / 2) */
#define SQRT_2_PI 0.79788456080286535588
#define SQRT_HALF 0.70710678118654752440

/* 0.5 x (1 + erf(x / sqrt(2))), or its approximation by tanh (Hendrycks & Gimpel 2016). */
static double gelu(double x, bool approximate)
{
    return 0.5 * x *
           (1.0 +
            (approximate ? tanh(SQRT_2_PI * (x + 0.044715 * x * x * x)) : erf(x * SQRT_HALF)));
}

VQC_UNARY_KERNEL(relu)
VQC_UNARY_KERNEL(sigmoid)
VQC_UNARY_KERNEL(tanh)
VQC_UNARY_KERNEL(hard_swish)
VQC_PARAMETRIC_KERNEL(leaky_relu)
VQC_PARAMETRIC_KERNEL(hard_sigmoid)
VQC_PARAMETRIC_KERNEL(swish)
VQC_PARAMETRIC_KERNEL(clip)

/* Comparisons are written so that NaN stays NaN. */
VQC_UNARY(relu, f32, float, x < 0 ? 0.0f : x)
VQC_UNARY(relu, f64, double, x < 0 ? 0.0 : x)
VQC_UNARY(relu, i64, int64_t, x < 0 ? 0 : x)
static const vqc_unary DETAIL_relu = {.by_class = {relu_f32, relu_f64, relu_i64, NULL},
                                      .f32 = relu_kernel};

#define ACTIVATION(name, expression_f32, expression_f64, ...)                                      \
    VQC_UNARY(name, f32, float, expression_f32)                                                    \
    VQC_UNARY(name, f64, double, expression_f64)                                                   \
    static const vqc_unary DETAIL_##name = {.by_class = {name##_f32, name##_f64, NULL, NULL},      \
                                            __VA_ARGS__};

ACTIVATION(sigmoid, 1.0f / (1.0f + expf(-x)), 1.0 / (1.0 + exp(-x)), .f32 = sigmoid_kernel)
ACTIVATION(tanh, tanhf(x), tanh(x), .f32 = tanh_kernel)
ACTIVATION(softplus, softplus(x), softplus_wide(x), .names = {NULL})
ACTIVATION(softsign, x / (1.0f + fabsf(x)), x / (1.0 + fabs(x)), .names = {NULL})
ACTIVATION(mish, x *tanhf(softplus(x)), x *tanh(softplus_wide(x)), .names = {NULL})
ACTIVATION(hard_swish, x *fminf(fmaxf(x / 6.0f + 0.5f, 0.0f), 1.0f),
           x *fmin(fmax(x / 6.0 + 0.5, 0.0), 1.0), .f32 = hard_swish_kernel)
ACTIVATION(leaky_relu, x < 0 ? a * x : x, x < 0 ? a * x : x, .f32 = leaky_relu_kernel,
           .names = {"alpha"}, .defaults = {(double)0.01f})
ACTIVATION(elu, x < 0 ? a * expm1f(x) : x, x < 0 ? a * expm1(x) : x, .names = {"alpha"},
           .defaults = {1.0})
ACTIVATION(celu, x < 0 ? a * expm1f(x / a) : x, x < 0 ? a * expm1(x / a) : x, .names = {"alpha"},
           .defaults = {1.0})
/* Klambauer et al. 2017: alpha and gamma as float32, as in the operator's definition */
ACTIVATION(selu, b *(x > 0 ? x : a * expm1f(x)), b *(x > 0 ? x : a * expm1(x)),
           .names = {"alpha", "gamma"},
           .defaults = {1.67326319217681884765625, 1.05070102214813232421875})
ACTIVATION(thresholded_relu, x > a || isnan(x) ? x : 0.0f, x > a || isnan(x) ? x : 0.0,
           .names = {"alpha"}, .defaults = {1.0})
ACTIVATION(hard_sigmoid, isnan(x) ? x : fmaxf(0.0f, fminf(1.0f, a *x + b)),
           isnan(x) ? x : fmax(0.0, fmin(1.0, a *x + b)), .f32 = hard_sigmoid_kernel,
           .names = {"alpha", "beta"}, .defaults = {(double)0.2f, 0.5})
ACTIVATION(swish, x / (1.0f + expf(-a * x)), x / (1.0 + exp(-a * x)), .f32 = swish_kernel,
           .names = {"alpha"}, .defaults = {1.0})

/* p[0] = 1 for the approximation by tanh. */
static vqc_status gelu_parameters(vqc_exec_call *call, double *p)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, "approximate");

    p[0] = p[1] = 0;
    if (attr == NULL || (attr->s.len == 4 && memcmp(attr->s.data, "none", 4) == 0)) {
        return VQC_OK;
    }
    if (attr->s.len == 4 && memcmp(attr->s.data, "tanh", 4) == 0) {
        p[0] = 1;
        return VQC_OK;
    }
    return vqc_exec_fail(call, "attribute \"approximate\": got \"%.*s\", expected none or tanh",
                         (int)(attr->s.len < 64 ? attr->s.len : 64), (const char *)attr->s.data);
}

/* 0.5 (1 + tanh(t)) is sigmoid(2 t). */
static void gelu_kernel(const float *x, size_t n, const double *p, float *y)
{
    const vqc_kernels *k = vqc_kernels_get();
    float inner[VQC_EXEC_CHUNK];

    if (p[0] == 0) {
        k->f32_gelu(x, n, y);
        return;
    }
    for (size_t at = 0; at < n; at += VQC_EXEC_CHUNK) {
        size_t part = n - at < VQC_EXEC_CHUNK ? n - at : VQC_EXEC_CHUNK;

        k->f32_mul(x + at, 1, x + at, 1, part, inner);
        k->f32_scale_shift(inner, part, (float)(2 * SQRT_2_PI * 0.044715), (float)(2 * SQRT_2_PI),
                           inner);
        k->f32_mul(x + at, 1, inner, 1, part, inner);
        k->f32_sigmoid(inner, part, inner);
        k->f32_mul(x + at, 1, inner, 1, part, y + at);
    }
}

ACTIVATION(gelu, gelu((double)x, a != 0), gelu(x, a != 0), .parameters = gelu_parameters,
           .f32 = gelu_kernel)

/* Shrink is also defined for integers; computed in the wider float and cut. */
static double shrink(double x, double bias, double lambda)
{
    return x < -lambda ? x + bias : x > lambda ? x - bias : isnan(x) ? x : 0.0;
}

static void shrink_f32(vqc_chunk *chunk, size_t n, const double *p)
{
    for (size_t i = 0; i < n; i++) {
        chunk->f32[i] = (float)shrink((double)chunk->f32[i], p[0], p[1]);
    }
}

static void shrink_f64(vqc_chunk *chunk, size_t n, const double *p)
{
    for (size_t i = 0; i < n; i++) {
        chunk->f64[i] = shrink(chunk->f64[i], p[0], p[1]);
    }
}

static void shrink_i64(vqc_chunk *chunk, size_t n, const double *p)
{
    vqc_element_convert(chunk, VQC_CLASS_I64, VQC_CLASS_F64, n);
    shrink_f64(chunk, n, p);
    vqc_element_convert(chunk, VQC_CLASS_F64, VQC_CLASS_I64, n);
}

static void shrink_u64(vqc_chunk *chunk, size_t n, const double *p)
{
    vqc_element_convert(chunk, VQC_CLASS_U64, VQC_CLASS_F64, n);
    shrink_f64(chunk, n, p);
    vqc_element_convert(chunk, VQC_CLASS_F64, VQC_CLASS_U64, n);
}

static const vqc_unary DETAIL_shrink = {
    .by_class = {shrink_f32, shrink_f64, shrink_i64, shrink_u64},
    .names = {"bias", "lambd"},
    .defaults = {0.0, 0.5}};

/* ---- Clip: limits as attributes (6) or scalar inputs (11) ---- */

static vqc_status shape_clip(vqc_exec_call *call)
{
    int32_t dtype = call->inputs[0]->dtype;

    if (vqc_class_of(dtype) == VQC_CLASS_NONE || dtype == VQC_DTYPE_BOOL) {
        return vqc_exec_fail(call, "data type %s: not defined by ONNX",
                             vqc_dtype_describe(dtype)->name);
    }
    for (size_t i = 1; i < 3 && call->opset >= 11; i++) {
        const vqc_buffer *limit = vqc_exec_input(call, i);
        if (limit != NULL && (limit->dtype != dtype || limit->elements != 1)) {
            return vqc_exec_fail(call, "input %zu: got %zu values of type %s, expected one of %s",
                                 i, limit->elements, vqc_dtype_describe(limit->dtype)->name,
                                 vqc_dtype_describe(dtype)->name);
        }
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    return VQC_OK;
}

#define CLIP_CLASS(field)                                                                          \
    for (size_t i = 0; low != NULL && i < n; i++) {                                                \
        chunk->field[i] = chunk->field[i] < low->field[0] ? low->field[0] : chunk->field[i];       \
    }                                                                                              \
    for (size_t i = 0; high != NULL && i < n; i++) {                                               \
        chunk->field[i] = chunk->field[i] > high->field[0] ? high->field[0] : chunk->field[i];     \
    }

static void clip_chunk(vqc_class class, vqc_chunk *chunk, const vqc_chunk *low,
                       const vqc_chunk *high, size_t n)
{
    if (class == VQC_CLASS_I64) {
        CLIP_CLASS(i64)
    } else {
        CLIP_CLASS(u64)
    }
}

/* Limit i (0: min, 1: max) in the data's class; false when there is none. */
static bool clip_limit(const vqc_exec_call *call, size_t i, vqc_chunk *limit)
{
    const char *name = i == 0 ? "min" : "max";
    const vqc_buffer *input = vqc_exec_input(call, i + 1);
    vqc_class class = vqc_class_of(call->inputs[0]->dtype);

    if (call->opset >= 11) {
        if (input != NULL) {
            vqc_element_load(input->dtype, input->data, 1, limit);
        }
        return input != NULL;
    }
    limit->f32[0] = vqc_node_attr_float(call->node, name, 0.0f);
    vqc_element_convert(limit, VQC_CLASS_F32, class, 1);
    return vqc_node_attr(call->node, name) != NULL;
}

/* Floats take their limits as parameters, absent ones as infinities. */
static vqc_status clip_parameters(vqc_exec_call *call, double *p)
{
    for (size_t i = 0; i < 2; i++) {
        vqc_chunk limit;

        p[i] = i == 0 ? -INFINITY : INFINITY;
        if (clip_limit(call, i, &limit)) {
            vqc_element_convert(&limit, vqc_class_of(call->inputs[0]->dtype), VQC_CLASS_F64, 1);
            p[i] = limit.f64[0];
        }
    }
    return VQC_OK;
}

ACTIVATION(clip, b < (x < a ? a : x) ? b : (x < a ? a : x),
           b < (x < a ? a : x) ? b : (x < a ? a : x), .parameters = clip_parameters,
           .f32 = clip_kernel)

static vqc_status run_clip(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    vqc_class class = vqc_class_of(in->dtype);
    vqc_chunk limits[2];
    const vqc_chunk *low = clip_limit(call, 0, &limits[0]) ? &limits[0] : NULL;
    const vqc_chunk *high = clip_limit(call, 1, &limits[1]) ? &limits[1] : NULL;
    vqc_chunk chunk;

    if (class == VQC_CLASS_F32 || class == VQC_CLASS_F64) {
        call->detail = &DETAIL_clip;
        return vqc_unary_run(call);
    }
    for (size_t at = 0; at < out->elements; at += VQC_EXEC_CHUNK) {
        size_t left = out->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        vqc_element_load(in->dtype, in->data + at * in->width, n, &chunk);
        clip_chunk(class, &chunk, low, high, n);
        vqc_element_store(out->dtype, class, &chunk, n, NULL, out->data + at * out->width);
    }
    return VQC_OK;
}

/* ---- SwiGLU ---- */

static vqc_status shape_swiglu(vqc_exec_call *call)
{
    const vqc_buffer *a = call->inputs[0];
    const vqc_buffer *b = call->inputs[1];
    vqc_class class = vqc_class_of(a->dtype);

    if ((class != VQC_CLASS_F32 && class != VQC_CLASS_F64) || a->dtype != b->dtype ||
        a->rank != b->rank || memcmp(a->dims, b->dims, a->rank * sizeof *a->dims) != 0) {
        return vqc_exec_fail(call, "expected two inputs of one floating-point type and one shape");
    }
    vqc_exec_type_like(&call->types[0], a);
    return VQC_OK;
}

/* a sigmoid(alpha a) b */
static vqc_status run_swiglu(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    vqc_class class = vqc_class_of(in->dtype);
    double alpha = (double)vqc_node_attr_float(call->node, "alpha", 1.0f);
    vqc_chunk gate;
    vqc_chunk value;

    if (in->dtype == VQC_DTYPE_FLOAT) {
        call->detail = &DETAIL_swish;
        if (vqc_unary_run(call) != VQC_OK) {
            return VQC_ERR_INTERNAL;
        }
        vqc_binary_run(vqc_kernels_get()->f32_mul, out, call->inputs[1], out, call->threads);
        return VQC_OK;
    }
    for (size_t at = 0; at < out->elements; at += VQC_EXEC_CHUNK) {
        size_t left = out->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        vqc_element_load(in->dtype, in->data + at * in->width, n, &gate);
        vqc_element_load(in->dtype, call->inputs[1]->data + at * in->width, n, &value);
        if (class == VQC_CLASS_F32) {
            swish_f32(&gate, n, (const double[2]){alpha, 0});
        } else {
            swish_f64(&gate, n, (const double[2]){alpha, 0});
        }
        for (size_t i = 0; i < n; i++) {
            if (class == VQC_CLASS_F32) {
                gate.f32[i] *= value.f32[i];
            } else {
                gate.f64[i] *= value.f64[i];
            }
        }
        vqc_element_store(out->dtype, class, &gate, n, NULL, out->data + at * out->width);
    }
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_UNARY_ROW("Relu", 6, relu),
    VQC_UNARY_ROW("LeakyRelu", 6, leaky_relu),
    VQC_UNARY_ROW("Elu", 6, elu),
    VQC_UNARY_ROW("Selu", 6, selu),
    VQC_UNARY_ROW("Celu", 12, celu),
    VQC_UNARY_ROW("ThresholdedRelu", 10, thresholded_relu),
    VQC_UNARY_ROW("Sigmoid", 6, sigmoid),
    VQC_UNARY_ROW("HardSigmoid", 6, hard_sigmoid),
    VQC_UNARY_ROW("HardSwish", 14, hard_swish),
    VQC_UNARY_ROW("Tanh", 6, tanh),
    VQC_UNARY_ROW("Softplus", 1, softplus),
    VQC_UNARY_ROW("Softsign", 1, softsign),
    VQC_UNARY_ROW("Mish", 18, mish),
    VQC_UNARY_ROW("Gelu", 20, gelu),
    VQC_UNARY_ROW("Swish", 24, swish),
    VQC_UNARY_ROW("Shrink", 9, shrink),
    VQC_EXEC_ROW("SwiGLU", "", 28, 2, shape_swiglu, run_swiglu, .detail = NULL),
    VQC_EXEC_ROW("Clip", "", 6, 1, shape_clip, run_clip, .in_place = true),
};

const vqc_exec_family vqc_exec_ops_activation = {OPS, sizeof OPS / sizeof OPS[0]};
