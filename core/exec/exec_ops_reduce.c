/* Reductions over any axes, ArgMax and ArgMin. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_values.h"
#include "core/graph.h"
#include "kernels/kernels.h"

typedef enum reduce_kind {
    REDUCE_SUM,
    REDUCE_MEAN,
    REDUCE_MAX,
    REDUCE_MIN,
    REDUCE_PROD,
    REDUCE_L1,
    REDUCE_L2,
    REDUCE_LOG_SUM,
    REDUCE_LOG_SUM_EXP,
    REDUCE_SUM_SQUARE
} reduce_kind;

static const reduce_kind KINDS[] = {
    REDUCE_SUM, REDUCE_MEAN, REDUCE_MAX,     REDUCE_MIN,         REDUCE_PROD,
    REDUCE_L1,  REDUCE_L2,   REDUCE_LOG_SUM, REDUCE_LOG_SUM_EXP, REDUCE_SUM_SQUARE};

/*
 * Which axes go away. Axes are an attribute up to a version (ReduceSum: 12, others: 17) and an
 * input from then on; none means all, or with noop_with_empty_axes nothing (the function of one
 * element, such as the square, still applies).
 */
static vqc_status find_axes(vqc_exec_call *call, bool *reduced)
{
    const vqc_buffer *in = call->inputs[0];
    bool by_input = call->opset >= (strcmp(call->op, "ReduceSum") == 0 ? 13 : 18);
    int64_t axes[VQC_EXEC_MAX_RANK];
    size_t count = 0;
    bool given = false;

    memset(reduced, 0, VQC_EXEC_MAX_RANK * sizeof *reduced);
    if (vqc_exec_ints_of(call, by_input ? "" : "axes", by_input ? 1 : SIZE_MAX, axes,
                         VQC_EXEC_MAX_RANK, &count, &given) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (!given || count == 0) {
        bool keep = by_input && vqc_node_attr_int(call->node, "noop_with_empty_axes", 0) != 0;
        for (size_t i = 0; i < in->rank; i++) {
            reduced[i] = !keep;
        }
        return VQC_OK;
    }
    for (size_t i = 0; i < count; i++) {
        size_t axis;
        if (vqc_exec_axis(call, axes[i], in->rank, &axis) != VQC_OK) {
            return VQC_ERR_MODEL;
        }
        reduced[axis] = true;
    }
    return VQC_OK;
}

static void set_reduced_dims(vqc_exec_call *call, const bool *reduced, bool keep)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_exec_type *type = &call->types[0];

    type->rank = 0;
    for (size_t i = 0; i < in->rank; i++) {
        if (!reduced[i]) {
            type->dims[type->rank++] = in->dims[i];
        } else if (keep) {
            type->dims[type->rank++] = 1;
        }
    }
}

static size_t reduced_count(const vqc_buffer *in, const bool *reduced)
{
    size_t count = 1;

    for (size_t i = 0; i < in->rank; i++) {
        count *= reduced[i] ? (size_t)in->dims[i] : 1;
    }
    return count;
}

static vqc_status shape_reduce(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    reduce_kind kind = *(const reduce_kind *)call->detail;
    vqc_class class = vqc_class_of(in->dtype);
    bool reduced[VQC_EXEC_MAX_RANK];

    if (class == VQC_CLASS_NONE ||
        (in->dtype == VQC_DTYPE_BOOL && kind != REDUCE_MAX && kind != REDUCE_MIN)) {
        return vqc_exec_fail(call, "data type %s: not defined by ONNX",
                             vqc_dtype_describe(in->dtype)->name);
    }
    if (find_axes(call, reduced) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (kind == REDUCE_MEAN && class >= VQC_CLASS_I64 && reduced_count(in, reduced) == 0) {
        return vqc_exec_fail(call, "got an empty set of integers, which has no mean");
    }
    call->types[0].dtype = in->dtype;
    set_reduced_dims(call, reduced, vqc_node_attr_int(call->node, "keepdims", 1) != 0);
    return VQC_OK;
}

/* The input with its reduced axes last, so that the values of one result follow each other. */
static vqc_view reduced_last(const vqc_buffer *in, const bool *reduced)
{
    vqc_view from = vqc_view_of(in);
    vqc_view to = from;
    size_t rank = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < in->rank; i++) {
            if (reduced[i] == (pass == 1)) {
                to.dims[rank] = from.dims[i];
                to.strides[rank++] = from.strides[i];
            }
        }
    }
    return to;
}

/* ---- floating point: in double ---- */

typedef struct wide_sum {
    double value; /* sum, product, extremum; with LogSumExp: sum of exp(x - max) */
    double max;   /* LogSumExp */
} wide_sum;

static double wide_start(reduce_kind kind)
{
    return kind == REDUCE_MAX    ? -INFINITY
           : kind == REDUCE_MIN  ? INFINITY
           : kind == REDUCE_PROD ? 1.0
                                 : 0.0;
}

/* Running sum of exponentials relative to the largest value so far: one pass, no overflow. */
static void add_exponential(wide_sum *acc, double x)
{
    if (isnan(x) || isinf(x)) {
        acc->value = isnan(x) ? x : x > 0 ? INFINITY : acc->value;
        acc->max = x > 0 ? x : acc->max;
    } else if (x > acc->max) {
        acc->value = (acc->value == 0 ? 0 : acc->value * exp(acc->max - x)) + 1.0;
        acc->max = x;
    } else {
        acc->value += isinf(acc->max) ? 0 : exp(x - acc->max);
    }
}

/* The loop is inside each case, so that the kind is looked at once. */
#define ADD_ALL(expression)                                                                        \
    for (size_t i = 0; i < n; i++) {                                                               \
        double v = x[i];                                                                           \
        value = (expression);                                                                      \
    }                                                                                              \
    break

static void wide_add(reduce_kind kind, wide_sum *acc, const double *x, size_t n)
{
    double value = acc->value;

    switch (kind) {
    case REDUCE_SUM:
    case REDUCE_MEAN:
    case REDUCE_LOG_SUM:
        ADD_ALL(value + v);
    case REDUCE_MAX: /* NaN stays */
        ADD_ALL(value > v || isnan(value) ? value : v);
    case REDUCE_MIN:
        ADD_ALL(value < v || isnan(value) ? value : v);
    case REDUCE_PROD:
        ADD_ALL(value * v);
    case REDUCE_L1:
        ADD_ALL(value + fabs(v));
    case REDUCE_L2:
    case REDUCE_SUM_SQUARE:
        ADD_ALL(value + v * v);
    case REDUCE_LOG_SUM_EXP:
        for (size_t i = 0; i < n; i++) {
            add_exponential(acc, x[i]);
        }
        return;
    }
    acc->value = value;
}

static double wide_result(reduce_kind kind, const wide_sum *acc, size_t count)
{
    switch (kind) {
    case REDUCE_MEAN:
        return acc->value / (double)count;
    case REDUCE_L2:
        return sqrt(acc->value);
    case REDUCE_LOG_SUM:
        return log(acc->value);
    case REDUCE_LOG_SUM_EXP:
        return acc->value == 0 || isinf(acc->max) ? log(acc->value) : acc->max + log(acc->value);
    default:
        return acc->value;
    }
}

/* ---- integers: modulo 2^64 ---- */

static uint64_t integer_limit(int32_t dtype, bool max)
{
    int bits = dtype == VQC_DTYPE_BOOL ? 1 : vqc_dtype_describe(dtype)->bits;

    if (vqc_class_of(dtype) == VQC_CLASS_U64) {
        return max ? 0 : bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    }
    /* the start of a maximum is the smallest value */
    return max ? UINT64_MAX << (bits - 1) : ((uint64_t)1 << (bits - 1)) - 1;
}

static uint64_t integer_start(reduce_kind kind, int32_t dtype)
{
    return kind == REDUCE_MAX || kind == REDUCE_MIN ? integer_limit(dtype, kind == REDUCE_MAX)
                                                    : (kind == REDUCE_PROD ? 1 : 0);
}

static uint64_t integer_add(reduce_kind kind, bool is_signed, uint64_t acc, const uint64_t *x,
                            size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v = x[i];
        bool less = is_signed ? (int64_t)v < (int64_t)acc : v < acc;

        switch (kind) {
        case REDUCE_MAX:
            acc = less ? acc : v;
            break;
        case REDUCE_MIN:
            acc = less ? v : acc;
            break;
        case REDUCE_PROD:
            acc *= v;
            break;
        case REDUCE_L1:
            acc += is_signed && (int64_t)v < 0 ? 0 - v : v;
            break;
        case REDUCE_SUM_SQUARE:
            acc += v * v;
            break;
        default:
            acc += v;
            break;
        }
    }
    return acc;
}

/* Mean of integers is cut towards zero. */
static uint64_t integer_mean(bool is_signed, uint64_t sum, size_t count)
{
    return is_signed ? (uint64_t)((int64_t)sum / (int64_t)count) : sum / count;
}

typedef struct reduction {
    reduce_kind kind;
    vqc_class class; /* of the data */
    bool wide;       /* computed in double */
    size_t count;    /* values per result */
} reduction;

/* One result from the reader's next `count` values, at out[index]. */
static void reduce_one(const reduction *r, vqc_reader *reader, int32_t dtype, vqc_buffer *out,
                       size_t index)
{
    wide_sum acc = {wide_start(r->kind), -INFINITY};
    uint64_t integer = r->wide ? 0 : integer_start(r->kind, dtype);
    bool is_signed = r->class == VQC_CLASS_I64;
    vqc_chunk scratch;
    vqc_chunk chunk;

    for (size_t at = 0; at < r->count; at += VQC_EXEC_CHUNK) {
        size_t n = r->count - at < VQC_EXEC_CHUNK ? r->count - at : VQC_EXEC_CHUNK;

        vqc_element_load(dtype, vqc_reader_next(reader, n, scratch.raw), n, &chunk);
        if (r->wide) {
            vqc_element_convert(&chunk, r->class, VQC_CLASS_F64, n);
            wide_add(r->kind, &acc, chunk.f64, n);
        } else {
            integer = integer_add(r->kind, is_signed, integer, chunk.u64, n);
        }
    }
    if (r->wide) {
        chunk.f64[0] = wide_result(r->kind, &acc, r->count);
    } else {
        chunk.u64[0] =
            r->kind == REDUCE_MEAN ? integer_mean(is_signed, integer, r->count) : integer;
    }
    vqc_element_store(dtype, r->wide ? VQC_CLASS_F64 : r->class, &chunk, 1, NULL,
                      out->data + index * out->width);
}

/* ---- float32: rows by kernels ---- */

enum { THREADS_PAY_FROM = 1 << 18 /* elements */ };

/* Whether the reduced axes are the last ones (axes of one do not count), so that results come from
 * rows. */
static bool reduces_rows(const vqc_buffer *in, const bool *reduced)
{
    bool seen = false;

    for (size_t i = 0; i < in->rank; i++) {
        if (in->dims[i] == 1) {
            continue;
        }
        if (seen && !reduced[i]) {
            return false;
        }
        seen = seen || reduced[i];
    }
    return true;
}

/*
 * One row of n values, n >= 1. The kernels' float squares lose values below 1e-19 and above 1e19,
 * and their extrema skip NaN: such rows, and kinds without a kernel, are done in double; false
 * then.
 */
static bool reduce_row_f32(reduce_kind kind, const float *x, size_t n, float *y)
{
    const vqc_kernels *k = vqc_kernels_get();
    wide_sum acc = {0, 0};
    double sum = 0;
    double squares = 0;

    if (kind == REDUCE_MAX || kind == REDUCE_MIN) {
        vqc_f32_range range = {INFINITY, -INFINITY, 0};

        k->f32_stats(x, n, &range);
        *y = kind == REDUCE_MAX ? range.max : range.min;
        return range.nonfinite == 0;
    }
    k->f32_sums(x, n, &sum, &squares);
    if ((kind == REDUCE_L2 || kind == REDUCE_SUM_SQUARE) &&
        !(squares >= (double)n * 1e-30 && squares < 1e36)) {
        return false;
    }
    acc.value = kind == REDUCE_L2 || kind == REDUCE_SUM_SQUARE ? squares : sum;
    *y = (float)wide_result(kind, &acc, n);
    return true;
}

static void reduce_rows_f32(const reduction *r, const vqc_buffer *in, vqc_buffer *out, int threads)
{
    threads = threads > 1 && in->elements >= THREADS_PAY_FROM ? threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (size_t i = 0; i < out->elements; i++) {
        const unsigned char *row = in->data + i * r->count * sizeof(float);
        float y = 0;

        if (!reduce_row_f32(r->kind, (const float *)(const void *)row, r->count, &y)) {
            wide_sum acc = {wide_start(r->kind), -INFINITY};
            vqc_chunk chunk;

            for (size_t at = 0; at < r->count; at += VQC_EXEC_CHUNK) {
                size_t n = r->count - at < VQC_EXEC_CHUNK ? r->count - at : VQC_EXEC_CHUNK;
                vqc_element_load(VQC_DTYPE_FLOAT, row + at * sizeof y, n, &chunk);
                vqc_element_convert(&chunk, VQC_CLASS_F32, VQC_CLASS_F64, n);
                wide_add(r->kind, &acc, chunk.f64, n);
            }
            y = (float)wide_result(r->kind, &acc, r->count);
        }
        memcpy(out->data + i * sizeof y, &y, sizeof y);
    }
}

static bool has_row_kernel(reduce_kind kind)
{
    return kind != REDUCE_PROD && kind != REDUCE_L1 && kind != REDUCE_LOG_SUM_EXP;
}

static vqc_status run_reduce(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    reduction r = {*(const reduce_kind *)call->detail, vqc_class_of(in->dtype), false, 0};
    bool reduced[VQC_EXEC_MAX_RANK];
    vqc_view view;
    vqc_reader reader;

    if (find_axes(call, reduced) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    r.count = reduced_count(in, reduced);
    r.wide = r.class < VQC_CLASS_I64 || r.kind == REDUCE_L2 || r.kind == REDUCE_LOG_SUM ||
             r.kind == REDUCE_LOG_SUM_EXP;
    if (in->dtype == VQC_DTYPE_FLOAT && r.count > 0 && has_row_kernel(r.kind) &&
        reduces_rows(in, reduced)) {
        reduce_rows_f32(&r, in, out, call->threads);
        return VQC_OK;
    }
    if (r.count > 0 && out->elements > 0) {
        view = reduced_last(in, reduced);
        vqc_reader_start(&reader, &view);
    }
    for (size_t i = 0; i < out->elements; i++) {
        reduce_one(&r, &reader, in->dtype, out, i);
    }
    return VQC_OK;
}

/* ---- ArgMax, ArgMin ---- */

static vqc_status arg_axis(vqc_exec_call *call, size_t *axis)
{
    return vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 0), call->inputs[0]->rank,
                         axis);
}

static vqc_status shape_arg(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    bool reduced[VQC_EXEC_MAX_RANK] = {false};
    size_t axis;

    if (vqc_class_of(in->dtype) == VQC_CLASS_NONE) {
        return vqc_exec_fail(call, "data type %s: not defined by ONNX",
                             vqc_dtype_describe(in->dtype)->name);
    }
    if (arg_axis(call, &axis) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (in->dims[axis] == 0) {
        return vqc_exec_fail(call, "axis %zu: got no values to choose from", axis);
    }
    reduced[axis] = true;
    call->types[0].dtype = VQC_DTYPE_INT64;
    set_reduced_dims(call, reduced, vqc_node_attr_int(call->node, "keepdims", 1) != 0);
    return VQC_OK;
}

/* Whether value i of the chunk replaces the best one so far; NaN counts as larger and as smaller
 * than everything, as in NumPy. */
static bool arg_better(vqc_class class, const vqc_chunk *x, size_t i, const vqc_chunk *best,
                       bool max, bool last)
{
    double nan_rank;
    bool more;
    bool less;

    if (class == VQC_CLASS_F32 || class == VQC_CLASS_F64) {
        double v = class == VQC_CLASS_F32 ? (double)x->f32[i] : x->f64[i];
        double w = class == VQC_CLASS_F32 ? (double)best->f32[0] : best->f64[0];

        nan_rank = (isnan(v) ? 1.0 : 0.0) - (isnan(w) ? 1.0 : 0.0);
        more = v > w;
        less = v < w;
        if (isnan(v) || isnan(w)) {
            return nan_rank > 0 || (nan_rank >= 0 && last);
        }
    } else if (class == VQC_CLASS_I64) {
        more = x->i64[i] > best->i64[0];
        less = x->i64[i] < best->i64[0];
    } else {
        more = x->u64[i] > best->u64[0];
        less = x->u64[i] < best->u64[0];
    }
    return (max ? more : less) || (last && !more && !less);
}

static vqc_status run_arg(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    bool max = strcmp(call->op, "ArgMax") == 0;
    bool last = vqc_node_attr_int(call->node, "select_last_index", 0) != 0;
    bool reduced[VQC_EXEC_MAX_RANK] = {false};
    vqc_class class = vqc_class_of(in->dtype);
    vqc_chunk scratch;
    vqc_chunk chunk;
    vqc_chunk best;
    vqc_view view;
    vqc_reader reader;
    size_t axis;

    if (arg_axis(call, &axis) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    reduced[axis] = true;
    view = reduced_last(in, reduced);
    if (out->elements > 0) {
        vqc_reader_start(&reader, &view);
    }
    for (size_t o = 0; o < out->elements; o++) {
        size_t count = (size_t)in->dims[axis];
        int64_t chosen = 0;

        for (size_t at = 0; at < count; at += VQC_EXEC_CHUNK) {
            size_t n = count - at < VQC_EXEC_CHUNK ? count - at : VQC_EXEC_CHUNK;

            vqc_element_load(in->dtype, vqc_reader_next(&reader, n, scratch.raw), n, &chunk);
            for (size_t i = 0; i < n; i++) {
                if (at + i == 0 || arg_better(class, &chunk, i, &best, max, last)) {
                    chosen = (int64_t)(at + i);
                    best.u64[0] = class == VQC_CLASS_F32 ? best.u64[0] : chunk.u64[i];
                    best.f32[0] = class == VQC_CLASS_F32 ? chunk.f32[i] : best.f32[0];
                }
            }
        }
        memcpy(out->data + o * sizeof chosen, &chosen, sizeof chosen);
    }
    return VQC_OK;
}

#define REDUCE(op, kind)                                                                           \
    VQC_EXEC_ROW(op, "", 1, 1, shape_reduce, run_reduce, .detail = &KINDS[kind])
#define ARG(op) VQC_EXEC_ROW(op, "", 1, 1, shape_arg, run_arg, .detail = NULL)

static const vqc_exec_op OPS[] = {
    REDUCE("ReduceSum", REDUCE_SUM),
    REDUCE("ReduceMean", REDUCE_MEAN),
    REDUCE("ReduceMax", REDUCE_MAX),
    REDUCE("ReduceMin", REDUCE_MIN),
    REDUCE("ReduceProd", REDUCE_PROD),
    REDUCE("ReduceL1", REDUCE_L1),
    REDUCE("ReduceL2", REDUCE_L2),
    REDUCE("ReduceLogSum", REDUCE_LOG_SUM),
    REDUCE("ReduceLogSumExp", REDUCE_LOG_SUM_EXP),
    REDUCE("ReduceSumSquare", REDUCE_SUM_SQUARE),
    ARG("ArgMax"),
    ARG("ArgMin"),
};

const vqc_exec_family vqc_exec_ops_reduce = {OPS, sizeof OPS / sizeof OPS[0]};
