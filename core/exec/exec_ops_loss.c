/* Losses: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss. Both compute in double and round
 * once, when a result is stored. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_index.h"
#include "core/exec/exec_op.h"
#include "core/graph.h"
#include "core/memory.h"

typedef enum reduction { LOSS_MEAN, LOSS_SUM, LOSS_NONE } reduction;

static const char *const REDUCTIONS[] = {"mean", "sum", "none"}; /* in the order of the enum */

/* Inputs 0, 1, 2: scores [N, C, d...], labels [N, d...], weights [C] or none. */
static vqc_status shape_loss(vqc_exec_call *call)
{
    const vqc_buffer *scores = call->inputs[0];
    const vqc_buffer *labels = call->inputs[1];
    const vqc_buffer *weights = vqc_exec_input(call, 2);
    vqc_class class = vqc_class_of(scores->dtype);
    size_t how;
    vqc_status status = vqc_exec_check_indices(call, labels, true);

    if (status == VQC_OK) {
        status = vqc_exec_choice(call, "reduction", REDUCTIONS, 3, &how);
    }
    if (status != VQC_OK) {
        return status;
    }
    if ((class != VQC_CLASS_F32 && class != VQC_CLASS_F64) || scores->rank < 2 ||
        labels->rank + 1 != scores->rank) {
        return vqc_exec_fail(call, "scores: got %s of rank %zu with labels of rank %zu",
                             vqc_dtype_describe(scores->dtype)->name, scores->rank, labels->rank);
    }
    for (size_t i = 0; i < labels->rank; i++) {
        if (labels->dims[i] != scores->dims[i == 0 ? 0 : i + 1]) {
            return vqc_exec_fail(call, "labels: axis %zu has %lld elements, which does not fit", i,
                                 (long long)labels->dims[i]);
        }
    }
    if (weights != NULL && (weights->rank != 1 || weights->dims[0] != scores->dims[1] ||
                            weights->dtype != scores->dtype)) {
        return vqc_exec_fail(call, "weights: got %zu, expected %lld of the scores' type",
                             weights->elements, (long long)scores->dims[1]);
    }
    vqc_exec_type_like(&call->types[0], labels);
    call->types[0].dtype = scores->dtype;
    call->types[0].rank = how == LOSS_NONE ? labels->rank : 0;
    if (call->output_count > 1) {
        vqc_exec_type_like(&call->types[1], scores);
    }
    return VQC_OK;
}

/* A whole buffer of floats as doubles in scratch memory. */
static double *load_doubles(vqc_exec_call *call, const vqc_buffer *buffer)
{
    size_t size_bytes;
    double *out;
    vqc_chunk chunk;

    if (!vqc_size_mul(buffer->elements + 1, sizeof *out, &size_bytes)) {
        return NULL;
    }
    out = vqc_exec_scratch(call, size_bytes);
    for (size_t at = 0; out != NULL && at < buffer->elements; at += VQC_EXEC_CHUNK) {
        size_t left = buffer->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, n, &chunk);
        vqc_element_convert(&chunk, vqc_class_of(buffer->dtype), VQC_CLASS_F64, n);
        memcpy(out + at, chunk.f64, n * sizeof *out);
    }
    return out;
}

static void store_doubles(vqc_buffer *out, const double *values)
{
    vqc_chunk chunk;

    for (size_t at = 0; at < out->elements; at += VQC_EXEC_CHUNK) {
        size_t left = out->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        memcpy(chunk.f64, values + at, n * sizeof *values);
        vqc_element_store(out->dtype, VQC_CLASS_F64, &chunk, n, NULL, out->data + at * out->width);
    }
}

/* y [n, classes, inner] = log(softmax(y)) over the classes. */
static void log_softmax(double *y, size_t n, size_t classes, size_t inner)
{
    for (size_t at = 0; at < n * inner; at++) {
        double *column = y + at / inner * classes * inner + at % inner;
        double most = -(double)INFINITY;
        double sum = 0.0;

        for (size_t c = 0; c < classes; c++) {
            most = column[c * inner] > most ? column[c * inner] : most;
        }
        for (size_t c = 0; c < classes; c++) {
            sum += exp(column[c * inner] - most);
        }
        for (size_t c = 0; c < classes; c++) {
            column[c * inner] = column[c * inner] - most - log(sum);
        }
    }
}

/* loss [labels] = -y[label] * weight; reduces it. Labels equal to ignore_index count for nothing.
 */
static vqc_status reduce_loss(vqc_exec_call *call, const double *y, const double *weights)
{
    const vqc_buffer *scores = call->inputs[0];
    const vqc_buffer *labels = call->inputs[1];
    vqc_buffer *out = call->outputs[0];
    bool can_ignore = vqc_node_attr(call->node, "ignore_index") != NULL;
    int64_t ignore = vqc_node_attr_int(call->node, "ignore_index", 0);
    size_t classes = (size_t)scores->dims[1];
    size_t inner = vqc_exec_product(scores->dims, 2, scores->rank);
    double *losses = vqc_exec_scratch(call, (labels->elements + 1) * sizeof *losses);
    double sum = 0.0;
    double weight_sum = 0.0;
    size_t how;
    vqc_status status = vqc_exec_choice(call, "reduction", REDUCTIONS, 3, &how);

    if (status != VQC_OK || losses == NULL) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    for (size_t i = 0; i < labels->elements; i++) {
        int64_t label = vqc_element_int(labels->dtype, labels->data, i);
        double weight;

        losses[i] = 0.0;
        if (can_ignore && label == ignore) {
            continue;
        }
        if (label < 0 || (uint64_t)label >= classes) {
            return vqc_exec_fail(call, "labels: got %lld, expected one below %zu", (long long)label,
                                 classes);
        }
        weight = weights == NULL ? 1.0 : weights[label];
        losses[i] = -y[(i / inner * classes + (size_t)label) * inner + i % inner] * weight;
        sum += losses[i];
        weight_sum += weight;
    }
    if (how == LOSS_NONE) {
        store_doubles(out, losses);
    } else {
        sum = how == LOSS_MEAN ? sum / weight_sum : sum;
        store_doubles(out, &sum);
    }
    return VQC_OK;
}

static vqc_status run_loss(vqc_exec_call *call)
{
    const vqc_buffer *scores = call->inputs[0];
    const vqc_buffer *weights = vqc_exec_input(call, 2);
    double *y = load_doubles(call, scores);
    double *w = weights == NULL ? NULL : load_doubles(call, weights);

    if (y == NULL || (weights != NULL && w == NULL)) {
        return vqc_fail_memory(call->error, scores->elements * sizeof *y);
    }
    if (strcmp(call->op, "SoftmaxCrossEntropyLoss") == 0 && scores->elements > 0) {
        log_softmax(y, (size_t)scores->dims[0], (size_t)scores->dims[1],
                    vqc_exec_product(scores->dims, 2, scores->rank));
    }
    if (call->output_count > 1) {
        store_doubles(call->outputs[1], y);
    }
    return reduce_loss(call, y, w);
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("NegativeLogLikelihoodLoss", "", 12, 2, shape_loss, run_loss, .detail = NULL),
    VQC_EXEC_ROW("SoftmaxCrossEntropyLoss", "", 12, 2, shape_loss, run_loss, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_loss = {OPS, sizeof OPS / sizeof OPS[0]};
