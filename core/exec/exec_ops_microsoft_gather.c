/* com.microsoft.GatherBlockQuantized: rows of a table of codes with one scale per block. */
#include <string.h>

#include "core/exec/exec_ops_microsoft.h"
#include "core/graph.h"
#include "core/memory.h"

/* The table as [before, extent, inner] around the gathered axis and [rows, length, behind] around
 * the quantized one; lengths in values, not bytes. */
typedef struct table {
    int64_t dims[VQC_EXEC_MAX_RANK]; /* in values */
    size_t rank, axis, quantized;
    int bits;    /* of a value */
    bool packed; /* several values in a byte, low bits first */
    size_t block;
    size_t before, extent, inner;
    size_t length, behind, blocks; /* blocks along the quantized axis */
    size_t last_scales;            /* scales along the last axis */
} table;

static vqc_status read_axes(vqc_exec_call *call, const vqc_buffer *data, table *t)
{
    int64_t block = vqc_node_attr_int(call->node, "block_size", 128);
    int64_t bits = vqc_node_attr_int(call->node, "bits", 4);
    bool codes = vqc_class_of(data->dtype) != VQC_CLASS_F32;

    memset(t, 0, sizeof *t);
    if (data->rank == 0 ||
        (data->dtype == VQC_DTYPE_UINT8 && bits != 2 && bits != 4 && bits != 8)) {
        return vqc_exec_fail(call, "got rank %zu and %lld bits, expected 2, 4 or 8 bits",
                             data->rank, (long long)bits);
    }
    if (vqc_exec_axis(call, vqc_node_attr_int(call->node, "gather_axis", 0), data->rank,
                      &t->axis) != VQC_OK ||
        vqc_exec_axis(call, vqc_node_attr_int(call->node, "quantize_axis", 1), data->rank,
                      &t->quantized) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    t->rank = data->rank;
    memcpy(t->dims, data->dims, sizeof t->dims);
    t->packed = data->dtype == VQC_DTYPE_UINT8 && bits < 8;
    t->bits = data->dtype == VQC_DTYPE_UINT8 ? (int)bits : vqc_dtype_describe(data->dtype)->bits;
    if (t->packed && (t->axis == data->rank - 1 || t->axis == t->quantized)) {
        return vqc_exec_fail(call, "packed codes cannot be gathered along axis %zu", t->axis);
    }
    if (t->packed &&
        __builtin_mul_overflow(t->dims[t->rank - 1], 8 / bits, &t->dims[t->rank - 1])) {
        return vqc_exec_fail(call, "the table is too large");
    }
    if (block == 0 && !codes) {
        block = t->dims[t->quantized] > 0 ? t->dims[t->quantized] : 1;
    } else if (block < 16 || (block & (block - 1)) != 0) {
        return vqc_exec_fail(call, "block_size: got %lld, expected a power of 2 from 16 on",
                             (long long)block);
    }
    t->block = (size_t)block;
    return VQC_OK;
}

static vqc_status read_table(vqc_exec_call *call, table *t)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *scales = call->inputs[2];
    const vqc_buffer *zeros = vqc_exec_input(call, 3);
    size_t zero_last;

    if (read_axes(call, data, t) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    t->before = t->inner = t->behind = 1;
    for (size_t i = 0; i < t->rank; i++) {
        size_t dim = (size_t)t->dims[i];
        *(i < t->axis ? &t->before : &t->inner) *= i == t->axis ? 1 : dim;
        t->behind *= i > t->quantized ? dim : 1;
    }
    t->extent = (size_t)t->dims[t->axis];
    t->length = (size_t)t->dims[t->quantized];
    t->blocks = t->length / t->block + (t->length % t->block != 0);
    if (scales->rank != t->rank || vqc_class_of(scales->dtype) != VQC_CLASS_F32) {
        return vqc_exec_fail(call, "scales: got rank %zu and type %s, expected floats of rank %zu",
                             scales->rank, vqc_dtype_describe(scales->dtype)->name, t->rank);
    }
    for (size_t i = 0; i < t->rank; i++) {
        size_t want = i == t->quantized ? t->blocks : (size_t)t->dims[i];
        if ((size_t)scales->dims[i] != want) {
            return vqc_exec_fail(call, "scales: got %lld on axis %zu, expected %zu",
                                 (long long)scales->dims[i], i, want);
        }
    }
    t->last_scales = (size_t)scales->dims[t->rank - 1];
    if (zeros == NULL) {
        return VQC_OK;
    }
    zero_last = t->packed ? (t->last_scales * (size_t)t->bits + 7) / 8 : t->last_scales;
    if (zeros->dtype != data->dtype || zeros->rank != t->rank ||
        (size_t)zeros->dims[t->rank - 1] != zero_last ||
        (t->last_scales > 0 && zeros->elements != scales->elements / t->last_scales * zero_last)) {
        return vqc_exec_fail(call,
                             "zero points: got %zu of type %s, expected the scales' shape and the "
                             "type of the data",
                             zeros->elements, vqc_dtype_describe(zeros->dtype)->name);
    }
    return VQC_OK;
}

static vqc_status shape_gather(vqc_exec_call *call)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *indices = call->inputs[1];
    vqc_exec_type *type = &call->types[0];
    vqc_class class = vqc_class_of(data->dtype);
    table t;

    if (class == VQC_CLASS_NONE || class == VQC_CLASS_F64 || vqc_exec_width(data->dtype) != 1 ||
        data->dtype == VQC_DTYPE_BOOL ||
        (indices->dtype != VQC_DTYPE_INT32 && indices->dtype != VQC_DTYPE_INT64)) {
        return vqc_exec_fail(call,
                             "got types %s and %s, expected codes of at most 8 bits and "
                             "indices",
                             vqc_dtype_describe(data->dtype)->name,
                             vqc_dtype_describe(indices->dtype)->name);
    }
    if (read_table(call, &t) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    type->dtype = call->inputs[2]->dtype;
    type->rank = t.rank - 1 + indices->rank;
    if (type->rank > VQC_EXEC_MAX_RANK) {
        return vqc_exec_fail(call, "rank %zu is too large", type->rank);
    }
    memcpy(type->dims, t.dims, t.axis * sizeof *t.dims);
    memcpy(type->dims + t.axis, indices->dims, indices->rank * sizeof *t.dims);
    memcpy(type->dims + t.axis + indices->rank, t.dims + t.axis + 1,
           (t.rank - 1 - t.axis) * sizeof *t.dims);
    return VQC_OK;
}

/* Value `index` of a row of packed or whole-byte codes. */
static int32_t code_at(const vqc_buffer *x, const table *t, size_t row_bytes, size_t row,
                       size_t index)
{
    if (t->packed) {
        size_t bit = index * (size_t)t->bits;
        return x->data[row * row_bytes + bit / 8] >> bit % 8 & ((1 << t->bits) - 1);
    }
    return vqc_class_of(x->dtype) == VQC_CLASS_I64 ? (int8_t)x->data[row * row_bytes + index]
                                                   : x->data[row * row_bytes + index];
}

static float zero_at(const vqc_buffer *zeros, const table *t, int32_t dtype, size_t scale)
{
    size_t row_bytes = t->packed ? (t->last_scales * (size_t)t->bits + 7) / 8 : t->last_scales;

    if (zeros == NULL) {
        return dtype == VQC_DTYPE_UINT8 ? (float)(1 << (t->bits - 1)) : 0.0f;
    }
    return (float)code_at(zeros, t, row_bytes, scale / t->last_scales, scale % t->last_scales);
}

/* n <= VQC_EXEC_CHUNK values from `at` on that share a scale (stride 0) or have one each. */
static void dequantize_run(const vqc_exec_call *call, const table *t, size_t at, size_t n,
                           size_t scale_at, size_t stride, vqc_chunk *out)
{
    const vqc_buffer *data = call->inputs[0];
    const vqc_buffer *scales = call->inputs[2];
    const vqc_buffer *zeros = vqc_exec_input(call, 3);
    vqc_chunk scale;

    vqc_element_load(scales->dtype, scales->data + scale_at * scales->width, stride == 0 ? 1 : n,
                     &scale);
    if (vqc_class_of(data->dtype) == VQC_CLASS_F32) { /* float8, float4: no zero points */
        vqc_element_load(data->dtype, data->data + at, n, out);
        for (size_t i = 0; i < n; i++) {
            out->f32[i] *= scale.f32[i * stride];
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float zero = zero_at(zeros, t, data->dtype, scale_at + i * stride);
        out->f32[i] = ((float)code_at(data, t, 0, 0, at + i) - zero) * scale.f32[i * stride];
    }
}

/* The values [at, at + n) of the table into the output from element `to` on. */
static void copy_values(vqc_exec_call *call, const table *t, size_t at, size_t n, size_t to)
{
    vqc_buffer *out = call->outputs[0];
    vqc_chunk chunk;

    while (n > 0) {
        size_t place = at / t->behind % t->length; /* along the quantized axis */
        size_t row = at / t->behind / t->length;
        size_t b = at % t->behind;
        size_t scale = (row * t->blocks + place / t->block) * t->behind + b;
        size_t run = t->behind > 1 ? t->behind - b : t->block - place % t->block;

        if (t->behind == 1 && run > t->length - place) {
            run = t->length - place;
        }
        run = run < n ? run : n;
        run = run < VQC_EXEC_CHUNK ? run : VQC_EXEC_CHUNK;
        dequantize_run(call, t, at, run, scale, t->behind > 1 ? 1 : 0, &chunk);
        vqc_element_store(out->dtype, VQC_CLASS_F32, &chunk, run, NULL,
                          out->data + to * out->width);
        at += run;
        to += run;
        n -= run;
    }
}

static vqc_status run_gather(vqc_exec_call *call)
{
    const vqc_buffer *indices = call->inputs[1];
    vqc_buffer *out = call->outputs[0];
    table t;

    if (read_table(call, &t) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    for (size_t i = 0; out->elements > 0 && i < t.before * indices->elements; i++) {
        int64_t index = vqc_element_int(indices->dtype, indices->data, i % indices->elements);
        size_t to = i * t.inner;

        index += index < 0 ? (int64_t)t.extent : 0;
        if (index < 0 || (uint64_t)index >= t.extent) { /* as specified: zeros */
            memset(out->data + to * out->width, 0, t.inner * out->width);
            continue;
        }
        copy_values(call, &t, (i / indices->elements * t.extent + (size_t)index) * t.inner, t.inner,
                    to);
    }
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("GatherBlockQuantized", "com.microsoft", 1, 3, shape_gather, run_gather,
                 .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_microsoft_gather = {OPS, sizeof OPS / sizeof OPS[0]};
