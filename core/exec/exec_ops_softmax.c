/* Softmax, LogSoftmax, Hardmax. */
#include <math.h>

#include "core/exec/exec_values.h"
#include "core/graph.h"

typedef enum soft_kind { SOFTMAX, LOG_SOFTMAX, HARDMAX } soft_kind;

static const soft_kind KIND_softmax = SOFTMAX;
static const soft_kind KIND_log_softmax = LOG_SOFTMAX;
static const soft_kind KIND_hardmax = HARDMAX;

/* Before opset 13 the input is flattened to two axes at `axis` (default 1) and rows are normalized;
 * from 13 on it is one axis (default -1). */
static vqc_status find_span(vqc_exec_call *call, vqc_axis_span *span)
{
    const vqc_buffer *in = call->inputs[0];
    int64_t given = vqc_node_attr_int(call->node, "axis", call->opset < 13 ? 1 : -1);
    size_t axis = 0;

    if (in->rank == 0) { /* a scalar is its own maximum */
        *span = (vqc_axis_span){1, 1, 1};
        return VQC_OK;
    }
    /* axis = rank, everything in rows of one, is allowed before 13 */
    if (call->opset < 13 && given == (int64_t)in->rank) {
        *span = vqc_axis_span_of(in, in->rank, in->rank);
        return VQC_OK;
    }
    if (vqc_exec_axis(call, given, in->rank, &axis) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    *span = vqc_axis_span_of(in, axis, call->opset < 13 ? in->rank : axis + 1);
    return VQC_OK;
}

static vqc_status shape_soft(vqc_exec_call *call)
{
    vqc_axis_span span;

    if (vqc_exec_expect_float(call, 0) != VQC_OK || find_span(call, &span) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    return VQC_OK;
}

/* One line of n values, `step` apart. NaN spreads over the line. */
static void soft_line(soft_kind kind, double *x, size_t n, size_t step)
{
    double max = -INFINITY;
    double sum = 0;
    size_t first = 0;

    for (size_t i = 0; i < n; i++) {
        if (x[i * step] > max) {
            max = x[i * step];
            first = i;
        }
    }
    if (kind == HARDMAX) {
        for (size_t i = 0; i < n; i++) {
            x[i * step] = i == first ? 1 : 0;
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        double shifted = x[i * step] - max;
        sum += exp(shifted);
        x[i * step] = kind == SOFTMAX ? exp(shifted) : shifted;
    }
    for (size_t i = 0; i < n; i++) {
        x[i * step] = kind == SOFTMAX ? x[i * step] / sum : x[i * step] - log(sum);
    }
}

static vqc_status run_soft(vqc_exec_call *call)
{
    const soft_kind *kind = call->detail;
    double *x = vqc_exec_doubles(call, call->inputs[0]);
    vqc_axis_span span;

    if (x == NULL || find_span(call, &span) != VQC_OK) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t o = 0; o < span.outer; o++) {
        for (size_t i = 0; i < span.inner; i++) {
            soft_line(*kind, x + o * span.length * span.inner + i, span.length, span.inner);
        }
    }
    vqc_exec_put_doubles(call->outputs[0], x);
    return VQC_OK;
}

#define SOFT(op, what)                                                                             \
    VQC_EXEC_ROW(op, "", 1, 1, shape_soft, run_soft, .detail = &KIND_##what, .in_place = true)

static const vqc_exec_op OPS[] = {
    SOFT("Softmax", softmax),
    SOFT("LogSoftmax", log_softmax),
    SOFT("Hardmax", hardmax),
};

const vqc_exec_family vqc_exec_ops_softmax = {OPS, sizeof OPS / sizeof OPS[0]};
