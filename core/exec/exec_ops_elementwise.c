/* Elementwise operators: one function per operation and computing class, one loop for all. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/exec_binary.h"
#include "core/exec/exec_op.h"
#include "core/exec/typed_loops.h"
#include "core/graph.h"
#include "kernels/kernels.h"

/* out may be the same chunk as a. */
typedef void binary_fn(const vqc_chunk *a, const vqc_chunk *b, vqc_chunk *out, size_t n);

/* How inputs must be typed and what comes out. */
typedef enum fold_kind {
    FOLD_PLAIN,     /* all of one type, which is the result's */
    FOLD_COMPARE,   /* all of one type; the result is bool */
    FOLD_DIVIDE,    /* as FOLD_PLAIN; integers refuse a divisor of 0 */
    FOLD_MEAN,      /* as FOLD_PLAIN, divided by the number of inputs */
    FOLD_INTO_FIRST /* as FOLD_PLAIN; only the second input is broadcast */
} fold_kind;

typedef struct fold_detail {
    fold_kind kind;
    binary_fn *by_class[VQC_CLASS_COUNT]; /* NULL: not for this class */
    vqc_binary_f32 *f32;                  /* the same for float32 tensors, or NULL */
} fold_detail;

#define BINARY(name, field, type, expression)                                                      \
    static void name##_##field(const vqc_chunk *a, const vqc_chunk *b, vqc_chunk *out, size_t n)   \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            type x = a->field[i];                                                                  \
            type y = b->field[i];                                                                  \
            out->field[i] = (type)(expression);                                                    \
        }                                                                                          \
    }
/* Results of comparisons are 0 and 1 in the u64 field. The float32 field is half as wide, so that
 * out must not be a or b there: fold_step() gives it a chunk of its own. */
#define COMPARE(name, field, type, expression)                                                     \
    static void name##_##field(const vqc_chunk *a, const vqc_chunk *b, vqc_chunk *out, size_t n)   \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            type x = a->field[i];                                                                  \
            type y = b->field[i];                                                                  \
            out->u64[i] = (expression) ? 1 : 0;                                                    \
        }                                                                                          \
    }
#define ALL_CLASSES(name)                                                                          \
    {                                                                                              \
        name##_f32, name##_f64, name##_i64, name##_u64                                             \
    }
#define COMPARE_ALL(name, expression)                                                              \
    COMPARE(name, f32, float, expression)                                                          \
    COMPARE(name, f64, double, expression)                                                         \
    COMPARE(name, i64, int64_t, expression)                                                        \
    COMPARE(name, u64, uint64_t, expression)                                                       \
    static const fold_detail DETAIL_##name = {FOLD_COMPARE, ALL_CLASSES(name), NULL};

/* Python's remainder: the sign of the divisor. */
static int64_t floor_mod(int64_t x, int64_t y)
{
    int64_t r = y == -1 ? 0 : x % y;

    return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

/* The same for floats; a zero takes the divisor's sign (exact: fmod is, and the sum of two floats
 * of opposite sign and |r| < |y| is rounded once). */
static double float_mod(double x, double y)
{
    double r = fmod(x, y);

    if (r == 0.0) {
        return copysign(0.0, y);
    }
    return (r < 0) != (y < 0) ? r + y : r;
}

/* C's remainder: the sign of the dividend. */
static int64_t trunc_mod(int64_t x, int64_t y)
{
    return y == -1 ? 0 : x % y;
}

/* NaN wins, as in NumPy and ONNX Runtime. */
static double max_of(double x, double y)
{
    return isnan(x) || isnan(y) ? (double)NAN : x > y ? x : y;
}

static double min_of(double x, double y)
{
    return isnan(x) || isnan(y) ? (double)NAN : x < y ? x : y;
}

/* Integers wrap: computed unsigned, which C defines. */
BINARY(add, f32, float, x + y)
BINARY(add, f64, double, x + y)
BINARY(add, i64, int64_t, (uint64_t)x + (uint64_t)y)
BINARY(add, u64, uint64_t, x + y)
BINARY(sub, f32, float, x - y)
BINARY(sub, f64, double, x - y)
BINARY(sub, i64, int64_t, (uint64_t)x - (uint64_t)y)
BINARY(sub, u64, uint64_t, x - y)
BINARY(mul, f32, float, x *y)
BINARY(mul, f64, double, x *y)
BINARY(mul, i64, int64_t, (uint64_t)x *(uint64_t)y)
BINARY(mul, u64, uint64_t, x *y)
BINARY(div, f32, float, x / y)
BINARY(div, f64, double, x / y)
BINARY(div, i64, int64_t, y == -1 ? 0 - (uint64_t)x : (uint64_t)(x / y))
BINARY(div, u64, uint64_t, x / y)
BINARY(mod, i64, int64_t, floor_mod(x, y))
BINARY(mod, u64, uint64_t, x % y)
BINARY(fmod, f32, float, fmodf(x, y))
BINARY(fmod, f64, double, fmod(x, y))
BINARY(fmod, i64, int64_t, trunc_mod(x, y))
BINARY(floor_mod, f32, float, float_mod((double)x, (double)y))
BINARY(floor_mod, f64, double, float_mod(x, y))
BINARY(prelu, f32, float, x < 0 ? x * y : x)
BINARY(prelu, f64, double, x < 0 ? x * y : x)
BINARY(prelu, i64, int64_t, x < 0 ? (int64_t)((uint64_t)x * (uint64_t)y) : x)
BINARY(prelu, u64, uint64_t, y == 0 ? x : x) /* never negative */
BINARY(max, f32, float, max_of((double)x, (double)y))
BINARY(max, f64, double, max_of(x, y))
BINARY(max, i64, int64_t, x > y ? x : y)
BINARY(max, u64, uint64_t, x > y ? x : y)
BINARY(min, f32, float, min_of((double)x, (double)y))
BINARY(min, f64, double, min_of(x, y))
BINARY(min, i64, int64_t, x < y ? x : y)
BINARY(min, u64, uint64_t, x < y ? x : y)
BINARY(and, u64, uint64_t, x &y)
BINARY(or, u64, uint64_t, x | y)
BINARY(xor, u64, uint64_t, x ^ y)
BINARY(shift_left, u64, uint64_t, y < 64 ? x << y : 0)
BINARY(shift_right, u64, uint64_t, y < 64 ? x >> y : 0)
/* Values are sign-extended to 64 bits, so that shifts beyond the type's width come out right. */
BINARY(shift_left, i64, int64_t, y >= 0 && y < 64 ? (uint64_t)x << y : 0)
BINARY(shift_right, i64, int64_t, x >> (y >= 0 && y < 64 ? y : 63))
COMPARE_ALL(equal, x == y)
COMPARE_ALL(greater, x > y)
COMPARE_ALL(greater_equal, x >= y)
COMPARE_ALL(less, x < y)
COMPARE_ALL(less_equal, x <= y)

#define KERNEL_OF(name)                                                                            \
    static void name##_kernel(const float *a, size_t a_step, const float *b, size_t b_step,        \
                              size_t n, float *y)                                                  \
    {                                                                                              \
        vqc_kernels_get()->f32_##name(a, a_step, b, b_step, n, y);                                 \
    }
KERNEL_OF(add)
KERNEL_OF(sub)
KERNEL_OF(mul)
KERNEL_OF(div)
KERNEL_OF(max)
KERNEL_OF(min)

static const fold_detail DETAIL_add = {FOLD_PLAIN, ALL_CLASSES(add), add_kernel};
static const fold_detail DETAIL_mean = {FOLD_MEAN, {add_f32, add_f64, NULL, NULL}, NULL};
static const fold_detail DETAIL_sub = {FOLD_PLAIN, ALL_CLASSES(sub), sub_kernel};
static const fold_detail DETAIL_mul = {FOLD_PLAIN, ALL_CLASSES(mul), mul_kernel};
static const fold_detail DETAIL_div = {FOLD_DIVIDE, ALL_CLASSES(div), div_kernel};
static const fold_detail DETAIL_mod = {FOLD_DIVIDE, {NULL, NULL, mod_i64, mod_u64}, NULL};
/* Opset 28 defines fmod = 0 for floats. */
static const fold_detail DETAIL_mod_28 = {
    FOLD_DIVIDE, {floor_mod_f32, floor_mod_f64, mod_i64, mod_u64}, NULL};
static const fold_detail DETAIL_fmod = {FOLD_DIVIDE, {fmod_f32, fmod_f64, fmod_i64, mod_u64}, NULL};
static const fold_detail DETAIL_prelu = {FOLD_INTO_FIRST, ALL_CLASSES(prelu), NULL};
static const fold_detail DETAIL_max = {FOLD_PLAIN, ALL_CLASSES(max), max_kernel};
static const fold_detail DETAIL_min = {FOLD_PLAIN, ALL_CLASSES(min), min_kernel};
/* Signed integers share the bits of unsigned ones: the u64 field is the i64 field. */
static const fold_detail DETAIL_and = {FOLD_PLAIN, {NULL, NULL, and_u64, and_u64}, NULL};
static const fold_detail DETAIL_or = {FOLD_PLAIN, {NULL, NULL, or_u64, or_u64}, NULL};
static const fold_detail DETAIL_xor = {FOLD_PLAIN, {NULL, NULL, xor_u64, xor_u64}, NULL};
static const fold_detail DETAIL_shift_left = {
    FOLD_PLAIN, {NULL, NULL, shift_left_i64, shift_left_u64}, NULL};
static const fold_detail DETAIL_shift_right = {
    FOLD_PLAIN, {NULL, NULL, shift_right_i64, shift_right_u64}, NULL};

/* Attributes choose between two rows of functions for these; NULL: the attribute is wrong. */
static const fold_detail *resolve_detail(const vqc_exec_call *call)
{
    if (strcmp(call->op, "Mod") == 0) {
        return vqc_node_attr_int(call->node, "fmod", 0) != 0 ? &DETAIL_fmod : call->detail;
    }
    if (strcmp(call->op, "BitShift") == 0) {
        const Onnx__AttributeProto *attr = vqc_node_attr(call->node, "direction");
        if (attr != NULL && attr->s.len == 4 && memcmp(attr->s.data, "LEFT", 4) == 0) {
            return &DETAIL_shift_left;
        }
        return attr != NULL && attr->s.len == 5 && memcmp(attr->s.data, "RIGHT", 5) == 0
                   ? &DETAIL_shift_right
                   : NULL;
    }
    return call->detail;
}

/* Common shape of all inputs into type 0. */
static vqc_status broadcast_all(vqc_exec_call *call)
{
    vqc_exec_type *type = &call->types[0];

    type->rank = 0;
    for (size_t i = 0; i < call->input_count; i++) {
        const vqc_buffer *input = call->inputs[i];

        if (input == NULL) {
            return vqc_exec_fail(call, "input %zu is missing", i);
        }
        if (!vqc_broadcast_dims(type->dims, &type->rank, input->dims, input->rank)) {
            return vqc_exec_fail(call, "input %zu: its shape does not broadcast with the others",
                                 i);
        }
    }
    return VQC_OK;
}

static vqc_status shape_fold(vqc_exec_call *call)
{
    const fold_detail *detail = resolve_detail(call);
    int32_t dtype = call->inputs[0]->dtype;
    vqc_class class = vqc_class_of(dtype);

    if (detail == NULL || class == VQC_CLASS_NONE || detail->by_class[class] == NULL) {
        return vqc_exec_fail(call, "data type %s or its attributes: not defined by ONNX",
                             vqc_dtype_describe(dtype)->name);
    }
    for (size_t i = 1; i < call->input_count; i++) {
        if (call->inputs[i] != NULL && call->inputs[i]->dtype != dtype) {
            return vqc_exec_fail(call, "input %zu: got %s, expected %s as input 0", i,
                                 vqc_dtype_describe(call->inputs[i]->dtype)->name,
                                 vqc_dtype_describe(dtype)->name);
        }
    }
    call->types[0].dtype = detail->kind == FOLD_COMPARE ? VQC_DTYPE_BOOL : dtype;
    if (broadcast_all(call) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (detail->kind == FOLD_INTO_FIRST && (call->types[0].rank != call->inputs[0]->rank ||
                                            memcmp(call->types[0].dims, call->inputs[0]->dims,
                                                   call->types[0].rank * sizeof(int64_t)) != 0)) {
        return vqc_exec_fail(call, "input 1: its shape does not broadcast to input 0");
    }
    return VQC_OK;
}

static bool has_zero(const vqc_chunk *chunk, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (chunk->u64[i] == 0) {
            return true;
        }
    }
    return false;
}

static vqc_status fold_chunk(vqc_exec_call *call, const fold_detail *detail, vqc_reader *readers,
                             size_t n, unsigned char *target)
{
    int32_t dtype = call->inputs[0]->dtype;
    vqc_class class = vqc_class_of(dtype);
    vqc_chunk scratch;
    vqc_chunk left;
    vqc_chunk right;
    vqc_chunk compared;
    bool compare = detail->kind == FOLD_COMPARE;

    vqc_element_load(dtype, vqc_reader_next(&readers[0], n, scratch.raw), n, &left);
    for (size_t i = 1; i < call->input_count; i++) {
        vqc_element_load(dtype, vqc_reader_next(&readers[i], n, scratch.raw), n, &right);
        if (detail->kind == FOLD_DIVIDE && class >= VQC_CLASS_I64 && has_zero(&right, n)) {
            return vqc_exec_fail(call, "got an integer divisor of 0");
        }
        detail->by_class[class](&left, &right, compare ? &compared : &left, n);
    }
    for (size_t i = 0; detail->kind == FOLD_MEAN && i < n; i++) {
        if (class == VQC_CLASS_F32) {
            left.f32[i] /= (float)call->input_count;
        } else {
            left.f64[i] /= (double)call->input_count;
        }
    }
    vqc_element_store(call->types[0].dtype, compare ? VQC_CLASS_U64 : class,
                      compare ? &compared : &left, n, NULL, target);
    return VQC_OK;
}

static vqc_status run_fold(vqc_exec_call *call)
{
    const fold_detail *detail = resolve_detail(call);
    vqc_buffer *out = call->outputs[0];
    vqc_reader *readers;
    vqc_status status = VQC_OK;

    if (detail->f32 != NULL && out->dtype == VQC_DTYPE_FLOAT && call->input_count >= 2) {
        vqc_binary_run(detail->f32, call->inputs[0], call->inputs[1], out, call->threads);
        for (size_t i = 2; i < call->input_count; i++) {
            vqc_binary_run(detail->f32, out, call->inputs[i], out, call->threads);
        }
        return VQC_OK;
    }
    if (detail->kind == FOLD_COMPARE && call->input_count == 2) {
        vqc_binary_bytes *loop = vqc_typed_compare(call->op, call->inputs[0]->dtype);
        if (loop != NULL) {
            vqc_binary_run_bytes(loop, call->inputs[0], call->inputs[1], out, call->threads);
            return VQC_OK;
        }
    }
    readers = calloc(call->input_count, sizeof *readers);
    if (readers == NULL) {
        return vqc_fail_memory(call->error, call->input_count * sizeof *readers);
    }
    for (size_t i = 0; i < call->input_count; i++) {
        vqc_view view;
        (void)vqc_view_broadcast(call->inputs[i], out->dims, out->rank,
                                 &view); /* shape rule checked it */
        vqc_reader_start(&readers[i], &view);
    }
    for (size_t at = 0; status == VQC_OK && at < out->elements; at += VQC_EXEC_CHUNK) {
        size_t left = out->elements - at;
        status = fold_chunk(call, detail, readers, left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK,
                            out->data + at * out->width);
    }
    free(readers);
    return status;
}

/* ---- Pow: exponent of its own type ---- */

static vqc_status shape_pow(vqc_exec_call *call)
{
    vqc_class base = vqc_class_of(call->inputs[0]->dtype);
    vqc_class exponent = vqc_class_of(call->inputs[1]->dtype);

    if (base == VQC_CLASS_NONE || exponent == VQC_CLASS_NONE) {
        return vqc_exec_fail(call, "data type %s: not defined by ONNX",
                             vqc_dtype_describe(call->inputs[0]->dtype)->name);
    }
    call->types[0].dtype = call->inputs[0]->dtype;
    return broadcast_all(call);
}

/* Integers modulo 2^64 by squaring; a negative exponent gives 1 / x^-n, cut to an integer. */
static uint64_t integer_power(int64_t base, int64_t exponent)
{
    uint64_t result = 1;
    uint64_t square = (uint64_t)base;

    if (exponent < 0) {
        return base == 1 ? 1 : base == -1 ? ((uint64_t)exponent & 1 ? UINT64_MAX : 1) : 0;
    }
    for (uint64_t left = (uint64_t)exponent; left != 0; left >>= 1) {
        result *= left & 1 ? square : 1;
        square *= square;
    }
    return result;
}

static void power_chunk(vqc_class class, vqc_chunk *base, const vqc_chunk *exponent, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (class == VQC_CLASS_F32) {
            base->f32[i] = powf(base->f32[i], exponent->f32[i]);
        } else if (class == VQC_CLASS_F64) {
            base->f64[i] = pow(base->f64[i], exponent->f64[i]);
        } else {
            base->u64[i] = integer_power(base->i64[i], exponent->i64[i]);
        }
    }
}

/* float32 to one of the usual powers; false when it is another. */
static bool run_usual_power(const vqc_exec_call *call)
{
    const vqc_buffer *base = call->inputs[0];
    const vqc_buffer *exponent = call->inputs[1];
    vqc_buffer *out = call->outputs[0];
    vqc_chunk chunk;

    if (base->dtype != VQC_DTYPE_FLOAT || exponent->elements != 1 ||
        base->elements != out->elements || vqc_class_of(exponent->dtype) == VQC_CLASS_U64) {
        return false;
    }
    vqc_element_load(exponent->dtype, exponent->data, 1, &chunk);
    vqc_element_convert(&chunk, vqc_class_of(exponent->dtype), VQC_CLASS_F64, 1);
    return vqc_typed_power((const float *)(const void *)base->data, out->elements,
                           (float)chunk.f64[0] == chunk.f64[0] ? (float)chunk.f64[0] : NAN,
                           (float *)(void *)out->data);
}

/* Two integers exactly; two floats of at most 32 bits in float, everything else in double. */
static vqc_status run_pow(vqc_exec_call *call)
{
    vqc_buffer *out = call->outputs[0];
    vqc_class classes[2] = {vqc_class_of(call->inputs[0]->dtype),
                            vqc_class_of(call->inputs[1]->dtype)};
    bool integers = classes[0] >= VQC_CLASS_I64 && classes[1] >= VQC_CLASS_I64;
    bool narrow = classes[0] == VQC_CLASS_F32 && classes[1] == VQC_CLASS_F32;
    vqc_class class = integers ? VQC_CLASS_I64 : narrow ? VQC_CLASS_F32 : VQC_CLASS_F64;
    vqc_reader readers[2];
    vqc_chunk chunks[2];
    vqc_chunk scratch;

    if (run_usual_power(call)) {
        return VQC_OK;
    }
    for (size_t i = 0; i < 2; i++) {
        vqc_view view;
        (void)vqc_view_broadcast(call->inputs[i], out->dims, out->rank, &view);
        vqc_reader_start(&readers[i], &view);
    }
    for (size_t at = 0; at < out->elements; at += VQC_EXEC_CHUNK) {
        size_t left = out->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        for (size_t i = 0; i < 2; i++) {
            vqc_element_load(call->inputs[i]->dtype, vqc_reader_next(&readers[i], n, scratch.raw),
                             n, &chunks[i]);
            vqc_element_convert(&chunks[i], classes[i], class, n);
        }
        power_chunk(class, &chunks[0], &chunks[1], n);
        vqc_element_store(out->dtype, class, &chunks[0], n, NULL, out->data + at * out->width);
    }
    return VQC_OK;
}

/* ---- Where: moves elements of any type ---- */

static vqc_status shape_where(vqc_exec_call *call)
{
    if (call->input_count != 3 || call->inputs[0]->dtype != VQC_DTYPE_BOOL ||
        call->inputs[1]->dtype != call->inputs[2]->dtype) {
        return vqc_exec_fail(call, "expected a bool and two inputs of one type");
    }
    call->types[0].dtype = call->inputs[1]->dtype;
    return broadcast_all(call);
}

static vqc_status run_where(vqc_exec_call *call)
{
    vqc_buffer *out = call->outputs[0];
    vqc_reader readers[3];
    vqc_chunk chunks[3];
    size_t width = out->width;

    for (size_t i = 0; i < 3; i++) {
        vqc_view view;
        (void)vqc_view_broadcast(call->inputs[i], out->dims, out->rank, &view);
        vqc_reader_start(&readers[i], &view);
    }
    for (size_t at = 0; at < out->elements; at += VQC_EXEC_CHUNK) {
        size_t left = out->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;
        const unsigned char *condition = vqc_reader_next(&readers[0], n, chunks[0].raw);
        const unsigned char *yes = vqc_reader_next(&readers[1], n, chunks[1].raw);
        const unsigned char *no = vqc_reader_next(&readers[2], n, chunks[2].raw);

        vqc_typed_select(condition, yes, no, n, width, out->data + at * width);
    }
    return VQC_OK;
}

#define FOLD(op, since, inputs, what)                                                              \
    VQC_EXEC_ROW(op, "", since, inputs, shape_fold, run_fold, .detail = &DETAIL_##what,            \
                 .in_place = true)
/* Since 7 where older versions broadcast by other rules (attributes axis and broadcast). */
static const vqc_exec_op OPS[] = {
    FOLD("Add", 7, 2, add),
    FOLD("Sub", 7, 2, sub),
    FOLD("Mul", 7, 2, mul),
    FOLD("Div", 7, 2, div),
    FOLD("Mod", 10, 2, mod),
    FOLD("Mod", 28, 2, mod_28),
    FOLD("PRelu", 7, 2, prelu),
    FOLD("Max", 8, 1, max),
    FOLD("Min", 8, 1, min),
    FOLD("Sum", 8, 1, add),
    FOLD("Mean", 8, 1, mean),
    FOLD("And", 7, 2, and),
    FOLD("Or", 7, 2, or),
    FOLD("Xor", 7, 2, xor),
    FOLD("BitwiseAnd", 18, 2, and),
    FOLD("BitwiseOr", 18, 2, or),
    FOLD("BitwiseXor", 18, 2, xor),
    FOLD("BitShift", 11, 2, shift_left),
    FOLD("Equal", 7, 2, equal),
    FOLD("Greater", 7, 2, greater),
    FOLD("GreaterOrEqual", 12, 2, greater_equal),
    FOLD("Less", 7, 2, less),
    FOLD("LessOrEqual", 12, 2, less_equal),
    VQC_EXEC_ROW("Pow", "", 7, 2, shape_pow, run_pow, .detail = NULL),
    VQC_EXEC_ROW("Where", "", 9, 3, shape_where, run_where, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_elementwise = {OPS, sizeof OPS / sizeof OPS[0]};
