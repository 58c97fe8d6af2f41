/* Softmax, LogSoftmax, Hardmax. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_values.h"
#include "core/graph.h"
#include "core/memory.h"
#include "kernels/kernels.h"

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

enum {
    THREADS_PAY_FROM = 1 << 16, /* elements */
    LINES = 16                  /* lines across memory that are gathered together */
};

/* Lines [first, first + count) of one outer index across memory, through `lines` [count][length].
 */
static void soft_across(soft_kind kind, const char *x, char *y, vqc_axis_span span, size_t first,
                        size_t count, float *lines)
{
    const vqc_kernels *k = vqc_kernels_get();

    for (size_t i = 0; i < span.length; i++) {
        for (size_t c = 0; c < count; c++) {
            memcpy(&lines[c * span.length + i], x + (i * span.inner + first + c) * sizeof *lines,
                   sizeof *lines);
        }
    }
    for (size_t c = 0; c < count; c++) {
        float *line = lines + c * span.length;
        (kind == SOFTMAX ? k->f32_softmax : k->f32_log_softmax)(line, span.length, line);
    }
    for (size_t i = 0; i < span.length; i++) {
        for (size_t c = 0; c < count; c++) {
            memcpy(y + (i * span.inner + first + c) * sizeof *lines, &lines[c * span.length + i],
                   sizeof *lines);
        }
    }
}

/* float32 by kernels; one item is a row, or a few lines across memory. */
static vqc_status soft_f32(vqc_exec_call *call, soft_kind kind, vqc_axis_span span)
{
    const char *x = (const char *)call->inputs[0]->data;
    char *y = (char *)call->outputs[0]->data;
    size_t per_outer = span.inner == 1 ? 1 : (span.inner + LINES - 1) / LINES;
    size_t items = span.outer * per_outer;
    size_t plane = span.length * span.inner * sizeof(float);
    int threads =
        call->threads > 1 && call->outputs[0]->elements >= THREADS_PAY_FROM ? call->threads : 1;
    float *memory = NULL;
    size_t size_bytes;

    if (span.inner > 1) {
        if (!vqc_size_mul(span.length, sizeof *memory * LINES * (size_t)threads, &size_bytes)) {
            return vqc_fail_memory(call->error, size_bytes);
        }
        memory = vqc_exec_scratch(call, size_bytes);
        if (memory == NULL) {
            return VQC_ERR_INTERNAL;
        }
    }
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int part = 0; part < threads; part++) {
        size_t last = items * ((size_t)part + 1) / (size_t)threads;

        for (size_t item = items * (size_t)part / (size_t)threads; item < last; item++) {
            size_t offset = item / per_outer * plane;
            size_t first = item % per_outer * LINES;

            if (span.inner > 1) {
                soft_across(kind, x + offset, y + offset, span, first,
                            span.inner - first < LINES ? span.inner - first : LINES,
                            memory + (size_t)part * LINES * span.length);
            } else {
                const vqc_kernels *k = vqc_kernels_get();
                (kind == SOFTMAX ? k->f32_softmax
                                 : k->f32_log_softmax)((const float *)(const void *)(x + offset),
                                                       span.length, (float *)(void *)(y + offset));
            }
        }
    }
    return VQC_OK;
}

static vqc_status run_soft(vqc_exec_call *call)
{
    const soft_kind *kind = call->detail;
    double *x;
    vqc_axis_span span;

    if (find_span(call, &span) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (call->inputs[0]->dtype == VQC_DTYPE_FLOAT && *kind != HARDMAX) {
        return call->outputs[0]->elements == 0 ? VQC_OK : soft_f32(call, *kind, span);
    }
    x = vqc_exec_doubles(call, call->inputs[0]);
    if (x == NULL) {
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
