/* What channels are worth to the layers that read them, from the inputs of these layers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/element.h"
#include "core/exec/exec.h"
#include "core/prune/channels_set.h"

/* Where element (row, group of the convolution, column) of a consumer's weight lies. */
typedef struct weight_view {
    size_t rows, columns, kernel; /* of one group */
    size_t row_step, column_step;
} weight_view;

static vqc_status load_weight(const vqc_trace *trace, const vqc_trace_consumer *consumer,
                              float **out, weight_view *view, vqc_error *error)
{
    vqc_buffer *buffer = NULL;
    vqc_chunk chunk;
    size_t outer = 1;
    size_t between = 1;
    vqc_status status = vqc_exec_constant(trace->graph, trace->values[consumer->weight].value, NULL,
                                          &buffer, error);

    *out = NULL;
    if (status != VQC_OK) {
        return status;
    }
    *out = malloc((buffer->elements + 1) * sizeof **out);
    if (*out == NULL) {
        vqc_buffer_destroy(&buffer);
        return vqc_fail_memory(error, 0);
    }
    for (size_t at = 0; at < buffer->elements; at += VQC_EXEC_CHUNK) {
        size_t n = buffer->elements - at < VQC_EXEC_CHUNK ? buffer->elements - at : VQC_EXEC_CHUNK;
        vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, n, &chunk);
        vqc_element_convert(&chunk, vqc_class_of(buffer->dtype), VQC_CLASS_F64, n);
        for (size_t i = 0; i < n; i++) {
            (*out)[at + i] = (float)chunk.f64[i];
        }
    }
    /* everything before the column axis counts as rows, everything behind as kernel positions */
    for (size_t a = 0; a < buffer->rank; a++) {
        if (a < (size_t)consumer->axis) {
            outer *= (size_t)buffer->dims[a];
        } else if (a > (size_t)consumer->axis) {
            between *= (size_t)buffer->dims[a];
        }
    }
    view->columns = (size_t)buffer->dims[consumer->axis];
    view->rows = outer / consumer->groups;
    view->kernel = between;
    view->column_step = between;
    view->row_step = between * view->columns;
    vqc_buffer_destroy(&buffer);
    return VQC_OK;
}

vqc_status vqc_channel_gram(const vqc_trace *trace, const vqc_trace_consumer *consumer,
                            bool diagonal, double *gram, vqc_error *error)
{
    weight_view v;
    float *w;
    size_t n = consumer->labels->count;
    vqc_status status = load_weight(trace, consumer, &w, &v, error);

    if (status != VQC_OK) {
        return status;
    }
    if (v.columns * consumer->groups != n) {
        free(w);
        return vqc_fail(error, VQC_ERR_INTERNAL, "a weight does not fit its input");
    }
    for (size_t g = 0; g < consumer->groups; g++) {
        for (size_t r = 0; r < v.rows; r++) {
            const float *row = w + (g * v.rows + r) * v.row_step;
            for (size_t k = 0; k < v.kernel; k++) {
                for (size_t i = 0; i < v.columns; i++) {
                    double wi = (double)row[i * v.column_step + k];
                    size_t at = g * v.columns + i;
                    if (diagonal) {
                        gram[at] += wi * wi;
                        continue;
                    }
                    for (size_t j = 0; j < v.columns; j++) {
                        gram[at * n + g * v.columns + j] += wi * (double)row[j * v.column_step + k];
                    }
                }
            }
        }
    }
    free(w);
    return VQC_OK;
}
