#include "core/exec/exec_values.h"

#include <string.h>

#include "core/memory.h"

double *vqc_exec_double_scratch(vqc_exec_call *call, size_t count)
{
    size_t size_bytes;

    if (!vqc_size_mul(count + (count == 0), sizeof(double), &size_bytes)) {
        (void)vqc_fail_memory(call->error, size_bytes);
        return NULL;
    }
    return vqc_exec_scratch(call, size_bytes);
}

double *vqc_exec_doubles(vqc_exec_call *call, const vqc_buffer *buffer)
{
    double *values = vqc_exec_double_scratch(call, buffer->elements);
    vqc_class class = vqc_class_of(buffer->dtype);
    vqc_chunk chunk;

    for (size_t at = 0; values != NULL && at < buffer->elements; at += VQC_EXEC_CHUNK) {
        size_t left = buffer->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, n, &chunk);
        vqc_element_convert(&chunk, class, VQC_CLASS_F64, n);
        memcpy(values + at, chunk.f64, n * sizeof *values);
    }
    return values;
}

void vqc_exec_put_doubles(vqc_buffer *out, const double *values)
{
    vqc_chunk chunk;

    for (size_t at = 0; at < out->elements; at += VQC_EXEC_CHUNK) {
        size_t left = out->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        memcpy(chunk.f64, values + at, n * sizeof *values);
        vqc_element_store(out->dtype, VQC_CLASS_F64, &chunk, n, NULL, out->data + at * out->width);
    }
}

double *vqc_exec_doubles_like(vqc_exec_call *call, const vqc_buffer *buffer, const vqc_buffer *like,
                              const char *what)
{
    double *values;
    vqc_class class = vqc_class_of(buffer->dtype);
    vqc_view view;
    vqc_reader reader;
    vqc_chunk chunk;
    vqc_chunk scratch;

    if (class == VQC_CLASS_NONE || !vqc_view_broadcast(buffer, like->dims, like->rank, &view)) {
        (void)vqc_exec_fail(call, "%s: its type or shape does not fit the data", what);
        return NULL;
    }
    values = vqc_exec_double_scratch(call, like->elements);
    if (values == NULL || like->elements == 0) {
        return values;
    }
    vqc_reader_start(&reader, &view);
    for (size_t at = 0; at < like->elements; at += VQC_EXEC_CHUNK) {
        size_t left = like->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        vqc_element_load(buffer->dtype, vqc_reader_next(&reader, n, scratch.raw), n, &chunk);
        vqc_element_convert(&chunk, class, VQC_CLASS_F64, n);
        memcpy(values + at, chunk.f64, n * sizeof *values);
    }
    return values;
}

vqc_axis_span vqc_axis_span_of(const vqc_buffer *buffer, size_t first, size_t last)
{
    vqc_axis_span span = {1, 1, 1};

    for (size_t i = 0; i < buffer->rank; i++) {
        size_t *part = i < first ? &span.outer : i < last ? &span.length : &span.inner;
        *part *= (size_t)buffer->dims[i];
    }
    return span;
}

vqc_status vqc_exec_expect_float(vqc_exec_call *call, size_t i)
{
    const vqc_buffer *input = vqc_exec_input(call, i);

    if (input == NULL || (vqc_class_of(input->dtype) != VQC_CLASS_F32 &&
                          vqc_class_of(input->dtype) != VQC_CLASS_F64)) {
        return vqc_exec_fail(call, "input %zu: got %s, expected a floating-point type", i,
                             input == NULL ? "nothing" : vqc_dtype_describe(input->dtype)->name);
    }
    return VQC_OK;
}
