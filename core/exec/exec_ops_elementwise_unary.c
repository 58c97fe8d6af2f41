/* Mathematical functions of one input, tests for special values, BitCast. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_unary.h"
#include "core/graph.h"

/* The same function in float and double. */
#define FLOATS(name, expression_f32, expression_f64, ...)                                          \
    VQC_UNARY(name, f32, float, expression_f32)                                                    \
    VQC_UNARY(name, f64, double, expression_f64)                                                   \
    static const vqc_unary DETAIL_##name = {.by_class = {name##_f32, name##_f64, NULL, NULL},      \
                                            __VA_ARGS__};

VQC_UNARY_KERNEL(sqrt)
VQC_UNARY_KERNEL(exp)
VQC_UNARY_KERNEL(log)
VQC_UNARY_KERNEL(erf)

/* Loops that the compiler makes vectors of. */
#define DIRECT(name, expression)                                                                   \
    static void name##_direct(const float *x, size_t n, const double *p, float *y)                 \
    {                                                                                              \
        (void)p;                                                                                   \
        _Pragma("omp simd") for (size_t i = 0; i < n; i++)                                         \
        {                                                                                          \
            float value;                                                                           \
            memcpy(&value, (const unsigned char *)x + i * sizeof value, sizeof value);             \
            y[i] = (expression);                                                                   \
        }                                                                                          \
    }

/* floorf and the like without a call; what is 2^23 and more, or NaN, is an integer already. */
static inline float cut_to_integer(float x)
{
    return (float)(int32_t)(fabsf(x) < 0x1p23f ? x : 0.0f);
}

static inline float floor_of(float x)
{
    const float t = cut_to_integer(x);
    const float down = copysignf(t - (t > x ? 1.0f : 0.0f), x);
    return fabsf(x) < 0x1p23f ? down : x;
}

static inline float ceil_of(float x)
{
    return -floor_of(-x);
}

/* Adding and subtracting 2^23 rounds halves to even. */
static inline float round_of(float x)
{
    const float t = copysignf((fabsf(x) + 0x1p23f) - 0x1p23f, x);
    return fabsf(x) < 0x1p23f ? t : x;
}

DIRECT(neg, -value)
DIRECT(abs, fabsf(value))
DIRECT(reciprocal, 1.0f / value)
DIRECT(floor, floor_of(value))
DIRECT(ceil, ceil_of(value))
DIRECT(round, round_of(value))

FLOATS(sqrt, sqrtf(x), sqrt(x), .f32 = sqrt_kernel)
FLOATS(exp, expf(x), exp(x), .f32 = exp_kernel)
FLOATS(log, logf(x), log(x), .f32 = log_kernel)
FLOATS(sin, sinf(x), sin(x), .f32 = NULL)
FLOATS(cos, cosf(x), cos(x), .f32 = NULL)
FLOATS(tan, tanf(x), tan(x), .f32 = NULL)
FLOATS(asin, asinf(x), asin(x), .f32 = NULL)
FLOATS(acos, acosf(x), acos(x), .f32 = NULL)
FLOATS(atan, atanf(x), atan(x), .f32 = NULL)
FLOATS(sinh, sinhf(x), sinh(x), .f32 = NULL)
FLOATS(cosh, coshf(x), cosh(x), .f32 = NULL)
FLOATS(asinh, asinhf(x), asinh(x), .f32 = NULL)
FLOATS(acosh, acoshf(x), acosh(x), .f32 = NULL)
FLOATS(atanh, atanhf(x), atanh(x), .f32 = NULL)
FLOATS(reciprocal, 1.0f / x, 1.0 / x, .f32 = reciprocal_direct)
FLOATS(floor, floorf(x), floor(x), .f32 = floor_direct)
FLOATS(ceil, ceilf(x), ceil(x), .f32 = ceil_direct)
FLOATS(round, nearbyintf(x), nearbyint(x), .f32 = round_direct) /* halves to even, as ONNX wants */
/* Erf is defined for integers too; the result is cut to an integer. */
VQC_UNARY(erf, f32, float, erff(x))
VQC_UNARY(erf, f64, double, erf(x))
VQC_UNARY(erf, i64, int64_t, erf((double)x))
VQC_UNARY(erf, u64, uint64_t, erf((double)x))
VQC_UNARY(neg, f32, float, -x)
VQC_UNARY(neg, f64, double, -x)
VQC_UNARY(neg, i64, int64_t, 0 - (uint64_t)x)
VQC_UNARY(abs, f32, float, fabsf(x))
VQC_UNARY(abs, f64, double, fabs(x))
VQC_UNARY(abs, i64, int64_t, x < 0 ? 0 - (uint64_t)x : (uint64_t)x)
VQC_UNARY(abs, u64, uint64_t, x)
VQC_UNARY(sign, f32, float, isnan(x) ? x : (float)((x > 0) - (x < 0)))
VQC_UNARY(sign, f64, double, isnan(x) ? x : (double)((x > 0) - (x < 0)))
VQC_UNARY(sign, i64, int64_t, (x > 0) - (x < 0))
VQC_UNARY(sign, u64, uint64_t, x > 0)
VQC_UNARY(bitwise_not, u64, uint64_t, ~x)
VQC_UNARY(logical_not, u64, uint64_t, !x)

static const vqc_unary DETAIL_erf = {.by_class = {erf_f32, erf_f64, erf_i64, erf_u64},
                                     .f32 = erf_kernel};
static const vqc_unary DETAIL_neg = {.by_class = {neg_f32, neg_f64, neg_i64, NULL},
                                     .f32 = neg_direct};
static const vqc_unary DETAIL_abs = {.by_class = {abs_f32, abs_f64, abs_i64, abs_u64},
                                     .f32 = abs_direct};
static const vqc_unary DETAIL_sign = {.by_class = {sign_f32, sign_f64, sign_i64, sign_u64}};
static const vqc_unary DETAIL_bitwise_not = {
    .by_class = {NULL, NULL, bitwise_not_u64, bitwise_not_u64}};
static const vqc_unary DETAIL_logical_not = {.by_class = {NULL, NULL, NULL, logical_not_u64}};

/* ---- IsNaN, IsInf ---- */

static vqc_status shape_special(vqc_exec_call *call)
{
    vqc_class class = vqc_class_of(call->inputs[0]->dtype);

    if (class != VQC_CLASS_F32 && class != VQC_CLASS_F64) {
        return vqc_exec_fail(call, "data type %s: not defined by ONNX",
                             vqc_dtype_describe(call->inputs[0]->dtype)->name);
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    call->types[0].dtype = VQC_DTYPE_BOOL;
    return VQC_OK;
}

static vqc_status run_special(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    bool nan = strcmp(call->op, "IsNaN") == 0;
    bool negative = !nan && vqc_node_attr_int(call->node, "detect_negative", 1) != 0;
    bool positive = !nan && vqc_node_attr_int(call->node, "detect_positive", 1) != 0;
    vqc_class class = vqc_class_of(in->dtype);
    vqc_chunk chunk;

    for (size_t at = 0; at < in->elements; at += VQC_EXEC_CHUNK) {
        size_t left = in->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        vqc_element_load(in->dtype, in->data + at * in->width, n, &chunk);
        vqc_element_convert(&chunk, class, VQC_CLASS_F64, n);
        for (size_t i = 0; i < n; i++) {
            double x = chunk.f64[i];
            call->outputs[0]->data[at + i] =
                (nan && isnan(x)) || (isinf(x) && (x > 0 ? positive : negative));
        }
    }
    return VQC_OK;
}

/* ---- BitCast ---- */

static vqc_status shape_bit_cast(vqc_exec_call *call)
{
    int32_t to = (int32_t)vqc_node_attr_int(call->node, "to", 0);
    int32_t from = call->inputs[0]->dtype;

    if (vqc_dtype_describe(to)->bits == 0 ||
        vqc_dtype_describe(to)->bits != vqc_dtype_describe(from)->bits) {
        return vqc_exec_fail(call, "attribute \"to\": got %s, expected a type as wide as %s",
                             vqc_dtype_describe(to)->name, vqc_dtype_describe(from)->name);
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    call->types[0].dtype = to;
    return VQC_OK;
}

/* Types below a byte are kept one per byte, signed ones extended: only their low bits are theirs.
 */
static vqc_status run_bit_cast(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    unsigned bits = (unsigned)vqc_dtype_describe(out->dtype)->bits;
    bool extend = out->dtype == VQC_DTYPE_INT4 || out->dtype == VQC_DTYPE_INT2;

    if (bits >= 8) {
        memcpy(out->data, in->data, out->elements * out->width);
        return VQC_OK;
    }
    for (size_t i = 0; i < out->elements; i++) {
        unsigned code = in->data[i] & ((1u << bits) - 1u);
        if (extend && (code >> (bits - 1)) != 0) {
            code |= 0xffu << bits;
        }
        out->data[i] = (unsigned char)code;
    }
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_UNARY_ROW("Neg", 6, neg),
    VQC_UNARY_ROW("Abs", 6, abs),
    VQC_UNARY_ROW("Sign", 9, sign),
    VQC_UNARY_ROW("Sqrt", 6, sqrt),
    VQC_UNARY_ROW("Exp", 6, exp),
    VQC_UNARY_ROW("Log", 6, log),
    VQC_UNARY_ROW("Sin", 7, sin),
    VQC_UNARY_ROW("Cos", 7, cos),
    VQC_UNARY_ROW("Tan", 7, tan),
    VQC_UNARY_ROW("Asin", 7, asin),
    VQC_UNARY_ROW("Acos", 7, acos),
    VQC_UNARY_ROW("Atan", 7, atan),
    VQC_UNARY_ROW("Sinh", 9, sinh),
    VQC_UNARY_ROW("Cosh", 9, cosh),
    VQC_UNARY_ROW("Asinh", 9, asinh),
    VQC_UNARY_ROW("Acosh", 9, acosh),
    VQC_UNARY_ROW("Atanh", 9, atanh),
    VQC_UNARY_ROW("Erf", 9, erf),
    VQC_UNARY_ROW("Reciprocal", 6, reciprocal),
    VQC_UNARY_ROW("Floor", 6, floor),
    VQC_UNARY_ROW("Ceil", 6, ceil),
    VQC_UNARY_ROW("Round", 11, round),
    VQC_UNARY_ROW("Not", 1, logical_not),
    VQC_UNARY_ROW("BitwiseNot", 18, bitwise_not),
    VQC_EXEC_ROW("IsNaN", "", 9, 1, shape_special, run_special, .detail = NULL),
    VQC_EXEC_ROW("IsInf", "", 10, 1, shape_special, run_special, .detail = NULL),
    VQC_EXEC_ROW("BitCast", "", 26, 1, shape_bit_cast, run_bit_cast, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_elementwise_unary = {OPS, sizeof OPS / sizeof OPS[0]};
