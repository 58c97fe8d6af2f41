/* QuantizeLinear and DequantizeLinear, all versions, of ai.onnx and com.microsoft. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_op.h"
#include "core/graph.h"
#include "kernels/kernels.h"

/* How scale and zero point lie over the data: seen as [outer, extent, inner] around the axis. */
typedef struct layout {
    size_t outer;
    size_t extent;
    size_t inner;
    size_t block;  /* elements along the axis per scale; 0: one scale per tensor */
    size_t blocks; /* scales along the axis */
    bool per_axis; /* the scale is a vector along the axis; else it has the data's other axes too */
} layout;

static vqc_status make_layout(vqc_exec_call *call, layout *out)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *scale = call->inputs[1];
    const vqc_buffer *zero = vqc_exec_input(call, 2);
    int64_t block = vqc_node_attr_int(call->node, "block_size", 0);
    size_t axis;

    memset(out, 0, sizeof *out);
    if (zero != NULL && zero->elements != scale->elements) {
        return vqc_exec_fail(call, "zero point: got %zu elements, expected %zu as the scale",
                             zero->elements, scale->elements);
    }
    if (block == 0 && scale->elements == 1 && scale->rank <= 1) {
        out->outer = out->extent = 1;
        out->inner = x->elements;
        return VQC_OK;
    }
    if (vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 1), x->rank, &axis) != VQC_OK) {
        if (x->rank != 1) {
            return VQC_ERR_MODEL;
        }
        axis = 0; /* the default axis 1 of a vector */
    }
    out->outer = out->inner = 1;
    out->extent = (size_t)x->dims[axis];
    for (size_t i = 0; i < x->rank; i++) {
        if (i != axis) {
            *(i < axis ? &out->outer : &out->inner) *= (size_t)x->dims[i];
        }
    }
    if (block == 0) {
        out->per_axis = true;
        out->block = 1;
        out->blocks = out->extent;
        if (scale->rank != 1 || scale->elements != out->extent) {
            return vqc_exec_fail(call, "scale: got %zu elements, expected %zu for axis %zu",
                                 scale->elements, out->extent, axis);
        }
        return VQC_OK;
    }
    if (block < 0 || scale->rank != x->rank) {
        return vqc_exec_fail(call, "block_size: got %lld with a scale of rank %zu",
                             (long long)block, scale->rank);
    }
    out->block = (size_t)block;
    out->blocks = out->extent / out->block + (out->extent % out->block != 0);
    for (size_t i = 0; i < x->rank; i++) {
        if ((size_t)scale->dims[i] != (i == axis ? out->blocks : (size_t)x->dims[i])) {
            return vqc_exec_fail(call,
                                 "scale: axis %zu has %lld elements, which does not fit "
                                 "block_size %lld",
                                 i, (long long)scale->dims[i], (long long)block);
        }
    }
    return VQC_OK;
}

/* n elements from `at` on with scales from `scale_at` on, one each (stride 1) or one for all (0).
 */
typedef vqc_status span_fn(vqc_exec_call *call, size_t at, size_t n, size_t scale_at,
                           size_t scale_stride);

/* Calls `span` over the whole tensor in the longest pieces that the layout allows. */
static vqc_status for_spans(vqc_exec_call *call, span_fn *span)
{
    layout l;
    vqc_status status = make_layout(call, &l);

    if (status != VQC_OK || call->inputs[0]->elements == 0) {
        return status;
    }
    if (l.block == 0) {
        return span(call, 0, l.inner, 0, 0);
    }
    for (size_t o = 0; status == VQC_OK && o < l.outer; o++) {
        size_t base = o * l.extent * l.inner;

        if (l.per_axis && l.inner == 1) {
            status = span(call, base, l.extent, 0, 1);
            continue;
        }
        for (size_t a = 0; status == VQC_OK && a < l.extent;) {
            size_t left = l.block - a % l.block;
            size_t run =
                l.inner == 1 && !l.per_axis ? (left < l.extent - a ? left : l.extent - a) : 1;
            size_t row = a / l.block;

            if (l.per_axis) {
                status = span(call, base + a * l.inner, l.inner, row, 0);
            } else if (l.inner == 1) {
                status = span(call, base + a, run, o * l.blocks + row, 0);
            } else {
                status = span(call, base + a * l.inner, l.inner, (o * l.blocks + row) * l.inner, 1);
            }
            a += run;
        }
    }
    return status;
}

/* n values of a scale or zero point as the given class, repeated when the stride is 0. */
static void load_parameter(const vqc_buffer *buffer, vqc_class class, size_t at, size_t stride,
                           size_t n, vqc_chunk *chunk)
{
    size_t count = stride == 0 ? 1 : n;

    if (buffer == NULL) {
        memset(chunk, 0, sizeof *chunk);
        return;
    }
    vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, count, chunk);
    vqc_element_convert(chunk, vqc_class_of(buffer->dtype), class, count);
    for (size_t i = 1; stride == 0 && i < n; i++) {
        if (class == VQC_CLASS_F32) {
            chunk->f32[i] = chunk->f32[0];
        } else {
            chunk->u64[i] = chunk->u64[0];
        }
    }
}

/* ---- float32 and codes of up to 16 bits: whole tiles by kernels ---- */

enum { PIECE_ELEMENTS = 1 << 16 }; /* what a thread should have to do at least */

/* rows x cols elements with a scale per row or per column. */
typedef struct tile {
    size_t at; /* first element */
    size_t rows, cols, stride;
    size_t scale_at; /* scale of the first row or column */
    bool by_column;
} tile;

typedef struct fast {
    const vqc_kernels *kernels;
    const unsigned char *x;
    unsigned char *out;
    size_t code_width;
    bool is_signed;
    const float *scale;
    const int32_t *zero; /* NULL: all 0 */
} fast;

typedef void tile_fn(const fast *f, const tile *t);

/* Tiles of a layout that has elements. */
static size_t tile_count(const layout *l)
{
    if (l->block == 0 || (l->per_axis && l->inner == 1)) {
        return 1;
    }
    if (l->per_axis) {
        return l->outer;
    }
    return l->inner == 1 && l->extent % l->block == 0 ? 1 : l->outer * l->blocks;
}

static tile tile_at(const layout *l, size_t i)
{
    size_t plane = l->extent * l->inner;

    if (l->block == 0) { /* one scale */
        return (tile){0, 1, l->inner, l->inner, 0, false};
    }
    if (l->per_axis && l->inner == 1) {
        return (tile){0, l->outer, l->extent, l->extent, 0, true};
    }
    if (l->per_axis) {
        return (tile){i * plane, l->extent, l->inner, l->inner, 0, false};
    }
    if (l->inner == 1 && l->extent % l->block == 0) { /* rows of one block each */
        return (tile){0, l->outer * l->blocks, l->block, l->block, 0, false};
    }
    size_t first = i % l->blocks * l->block;
    size_t length = l->extent - first < l->block ? l->extent - first : l->block;
    size_t at = i / l->blocks * plane + first * l->inner;

    if (l->inner == 1) {
        return (tile){at, 1, length, length, i, false};
    }
    return (tile){at, length, l->inner, l->inner, i * l->inner, true};
}

/* Part `piece` of `pieces` of a tile: some of its rows, or of its columns when it has few rows. */
static tile tile_piece(tile whole, size_t piece, size_t pieces)
{
    bool by_rows = whole.rows >= pieces;
    size_t total = by_rows ? whole.rows : whole.cols;
    size_t from = total / pieces * piece;
    size_t to = piece + 1 == pieces ? total : from + total / pieces;

    if (by_rows) {
        whole.at += from * whole.stride;
        whole.scale_at += whole.by_column ? 0 : from;
        whole.rows = to - from;
    } else {
        whole.at += from;
        whole.scale_at += whole.by_column ? from : 0;
        whole.cols = to - from;
    }
    return whole;
}

/* Scales and zero points in arrays that are aligned and of the kernels' types. */
static vqc_status widen_parameters(vqc_exec_call *call, fast *f)
{
    const vqc_buffer *scale = call->inputs[1];
    const vqc_buffer *zero = vqc_exec_input(call, 2);
    float *scales;
    int32_t *zeros = NULL;
    bool any = false;

    scales = vqc_exec_scratch(call, (scale->elements + 1) * sizeof *scales);
    if (zero != NULL) {
        zeros = vqc_exec_scratch(call, (zero->elements + 1) * sizeof *zeros);
    }
    if (scales == NULL || (zero != NULL && zeros == NULL)) {
        return VQC_ERR_INTERNAL;
    }
    memcpy(scales, scale->data, scale->elements * sizeof *scales);
    for (size_t at = 0; zero != NULL && at < zero->elements; at += VQC_EXEC_CHUNK) {
        size_t left = zero->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;
        vqc_chunk chunk;

        vqc_element_load(zero->dtype, zero->data + at * zero->width, n, &chunk);
        for (size_t i = 0; i < n; i++) {
            zeros[at + i] = (int32_t)chunk.i64[i];
            any = any || zeros[at + i] != 0;
        }
    }
    f->scale = scales;
    f->zero = any ? zeros : NULL;
    return VQC_OK;
}

/* Calls `run` over the whole tensor, in several threads when it is large. codes: the integer type.
 */
static vqc_status run_tiles(vqc_exec_call *call, tile_fn *run, int32_t codes)
{
    const vqc_buffer *x = call->inputs[0];
    fast f = {.kernels = vqc_kernels_get(),
              .x = x->data,
              .out = call->outputs[0]->data,
              .code_width = vqc_exec_width(codes),
              .is_signed = vqc_class_of(codes) == VQC_CLASS_I64};
    size_t most = x->elements / PIECE_ELEMENTS;
    size_t pieces = call->threads > 1 ? (size_t)call->threads : 1;
    layout l;
    size_t tiles;
    vqc_status status = make_layout(call, &l);

    if (status != VQC_OK || x->elements == 0) {
        return status;
    }
    status = widen_parameters(call, &f);
    if (status != VQC_OK) {
        return status;
    }
    tiles = tile_count(&l);
    pieces = pieces > most ? most : pieces;
    if (pieces <= 1) {
        for (size_t i = 0; i < tiles; i++) {
            tile t = tile_at(&l, i);
            run(&f, &t);
        }
        return VQC_OK;
    }
    if (tiles < pieces) { /* few: each is cut into pieces */
        for (size_t i = 0; i < tiles; i++) {
            tile t = tile_at(&l, i);
#pragma omp parallel for num_threads((int)pieces)
            for (size_t p = 0; p < pieces; p++) {
                tile part = tile_piece(t, p, pieces);
                run(&f, &part);
            }
        }
        return VQC_OK;
    }
#pragma omp parallel for num_threads((int)pieces)
    for (size_t i = 0; i < tiles; i++) {
        tile t = tile_at(&l, i);
        run(&f, &t);
    }
    return VQC_OK;
}

/* ---- DequantizeLinear ---- */

static vqc_status shape_dequantize(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *zero = vqc_exec_input(call, 2);
    int64_t to = vqc_node_attr_int(call->node, "output_dtype", 0);
    vqc_class class = vqc_class_of(x->dtype);
    layout l;

    if (class == VQC_CLASS_NONE || class == VQC_CLASS_F64 ||
        vqc_class_of(call->inputs[1]->dtype) != VQC_CLASS_F32 ||
        (zero != NULL && zero->dtype != x->dtype)) {
        return vqc_exec_fail(call, "got types %s and %s, expected codes and float scales",
                             vqc_dtype_describe(x->dtype)->name,
                             vqc_dtype_describe(call->inputs[1]->dtype)->name);
    }
    vqc_exec_type_like(&call->types[0], x);
    call->types[0].dtype = to != 0 ? (int32_t)to : call->inputs[1]->dtype;
    if (to < 0 || to >= VQC_DTYPE_COUNT || vqc_class_of(call->types[0].dtype) != VQC_CLASS_F32) {
        return vqc_exec_fail(call, "output_dtype: got %lld", (long long)to);
    }
    return make_layout(call, &l);
}

/* (q - zero_point) * scale: the difference exactly, one rounding to float32, one product. */
static vqc_status dequantize_span(vqc_exec_call *call, size_t at, size_t n, size_t scale_at,
                                  size_t stride)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *scales = call->inputs[1];
    const vqc_buffer *zeros = vqc_exec_input(call, 2);
    vqc_buffer *out = call->outputs[0];
    bool integers = vqc_class_of(x->dtype) != VQC_CLASS_F32;
    vqc_chunk values;
    vqc_chunk scale;
    vqc_chunk zero;

    for (size_t done = 0; done < n; done += VQC_EXEC_CHUNK) {
        size_t count = n - done < VQC_EXEC_CHUNK ? n - done : VQC_EXEC_CHUNK;
        size_t from = scale_at + done * stride;

        vqc_element_load(x->dtype, x->data + (at + done) * x->width, count, &values);
        load_parameter(scales, VQC_CLASS_F32, from, stride, count, &scale);
        load_parameter(zeros, integers ? VQC_CLASS_I64 : VQC_CLASS_F32, from, stride, count, &zero);
        if (integers) {
            for (size_t i = 0; i < count; i++) { /* codes have at most 32 bits: no overflow */
                values.i64[i] -= zero.i64[i];
            }
            vqc_element_convert(&values, VQC_CLASS_I64, VQC_CLASS_F32, count);
        } else if (zeros != NULL) {
            for (size_t i = 0; i < count; i++) {
                values.f32[i] -= zero.f32[i];
            }
        }
        for (size_t i = 0; i < count; i++) {
            values.f32[i] *= scale.f32[i];
        }
        vqc_element_store(out->dtype, VQC_CLASS_F32, &values, count, NULL,
                          out->data + (at + done) * out->width);
    }
    return VQC_OK;
}

/* A type below 16 bits is kept in a byte here, so that the kernels for bytes decode it too. */
static void dequantize_rows(const fast *f, const tile *t)
{
    const vqc_kernels *k = f->kernels;
    const void *codes = f->x + t->at * f->code_width;
    float *target = (float *)(void *)(f->out + t->at * sizeof *target);
    const float *scale = f->scale + t->scale_at;
    const int32_t *zero = f->zero == NULL ? NULL : f->zero + t->scale_at;

    if (f->code_width == 1 && f->is_signed) {
        (t->by_column ? k->s8_f32_dequantize_cols : k->s8_f32_dequantize_rows)(
            codes, t->rows, t->cols, t->stride, scale, zero, target, t->stride);
    } else if (f->code_width == 1) {
        (t->by_column ? k->u8_f32_dequantize_cols : k->u8_f32_dequantize_rows)(
            codes, t->rows, t->cols, t->stride, scale, zero, target, t->stride);
    } else if (f->is_signed) {
        (t->by_column ? k->s16_f32_dequantize_cols : k->s16_f32_dequantize_rows)(
            codes, t->rows, t->cols, t->stride, scale, zero, target, t->stride);
    } else {
        (t->by_column ? k->u16_f32_dequantize_cols : k->u16_f32_dequantize_rows)(
            codes, t->rows, t->cols, t->stride, scale, zero, target, t->stride);
    }
}

static vqc_status run_dequantize(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    bool integers = vqc_class_of(x->dtype) != VQC_CLASS_F32;

    if (integers && x->width <= 2 && x->dtype != VQC_DTYPE_BOOL &&
        call->inputs[1]->dtype == VQC_DTYPE_FLOAT && call->types[0].dtype == VQC_DTYPE_FLOAT) {
        return run_tiles(call, dequantize_rows, x->dtype);
    }
    return for_spans(call, dequantize_span);
}

/* ---- QuantizeLinear ---- */

static int32_t quantized_type(const vqc_exec_call *call)
{
    const vqc_buffer *zero = vqc_exec_input(call, 2);
    int64_t to = vqc_node_attr_int(call->node, "output_dtype", 0);

    if (zero != NULL) {
        return zero->dtype;
    }
    return to > 0 && to < VQC_DTYPE_COUNT ? (int32_t)to : VQC_DTYPE_UINT8;
}

static vqc_status shape_quantize(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    int32_t to = quantized_type(call);
    int bits = vqc_dtype_describe(to)->bits;
    layout l;

    if ((vqc_class_of(x->dtype) != VQC_CLASS_F32 && x->dtype != VQC_DTYPE_INT32) ||
        vqc_class_of(call->inputs[1]->dtype) != VQC_CLASS_F32 || bits == 0 || bits > 16 ||
        to == VQC_DTYPE_BOOL || to == VQC_DTYPE_FLOAT16 || to == VQC_DTYPE_BFLOAT16 ||
        to == VQC_DTYPE_FLOAT8E8M0) {
        return vqc_exec_fail(call, "got types %s and %s, expected a float tensor and codes",
                             vqc_dtype_describe(x->dtype)->name, vqc_dtype_describe(to)->name);
    }
    vqc_exec_type_like(&call->types[0], x);
    call->types[0].dtype = to;
    return make_layout(call, &l);
}

/* The type that the quotient is rounded to: attribute `precision`, else that of the scale. */
static int32_t quotient_type(const vqc_exec_call *call)
{
    int64_t precision = vqc_node_attr_int(call->node, "precision", 0);

    return precision == VQC_DTYPE_FLOAT || precision == VQC_DTYPE_FLOAT16 ||
                   precision == VQC_DTYPE_BFLOAT16
               ? (int32_t)precision
               : call->inputs[1]->dtype;
}

/* saturate(round(x / scale) + zero_point), halves to even; NaN counts as 0. */
static void quantize_integers(vqc_chunk *values, const vqc_chunk *zero, int32_t to, size_t n)
{
    int bits = vqc_dtype_describe(to)->bits;
    bool is_signed = vqc_class_of(to) == VQC_CLASS_I64;
    float lo = is_signed ? -ldexpf(1.0f, bits - 1) : 0.0f;
    float hi = ldexpf(1.0f, is_signed ? bits - 1 : bits) - 1.0f;

    for (size_t i = n; i-- > 0;) { /* backwards: the result is wider than the float in its place */
        float q = nearbyintf(values->f32[i]);
        double shifted = isnan(q) ? (double)zero->i64[i] : (double)q + (double)zero->i64[i];

        shifted = shifted < (double)lo ? (double)lo : shifted > (double)hi ? (double)hi : shifted;
        values->i64[i] = (int64_t)shifted;
    }
}

static vqc_status quantize_span(vqc_exec_call *call, size_t at, size_t n, size_t scale_at,
                                size_t stride)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *zeros = vqc_exec_input(call, 2);
    vqc_buffer *out = call->outputs[0];
    bool integers = vqc_class_of(out->dtype) != VQC_CLASS_F32;
    vqc_store_mode mode = {vqc_node_attr_int(call->node, "saturate", 1) == 0, VQC_SCALE_UP};
    vqc_chunk values;
    vqc_chunk scale;
    vqc_chunk zero;
    vqc_chunk rounded;

    for (size_t done = 0; done < n; done += VQC_EXEC_CHUNK) {
        size_t count = n - done < VQC_EXEC_CHUNK ? n - done : VQC_EXEC_CHUNK;
        size_t from = scale_at + done * stride;

        vqc_element_load(x->dtype, x->data + (at + done) * x->width, count, &values);
        vqc_element_convert(&values, vqc_class_of(x->dtype), VQC_CLASS_F32, count);
        load_parameter(call->inputs[1], VQC_CLASS_F32, from, stride, count, &scale);
        for (size_t i = 0; i < count; i++) {
            values.f32[i] /= scale.f32[i];
        }
        if (quotient_type(call) != VQC_DTYPE_FLOAT) {
            vqc_element_store(quotient_type(call), VQC_CLASS_F32, &values, count, NULL,
                              rounded.raw);
            vqc_element_load(quotient_type(call), rounded.raw, count, &values);
        }
        if (integers) {
            load_parameter(zeros, VQC_CLASS_I64, from, stride, count, &zero);
            quantize_integers(&values, &zero, out->dtype, count);
        }
        vqc_element_store(out->dtype, integers ? VQC_CLASS_I64 : VQC_CLASS_F32, &values, count,
                          &mode, out->data + (at + done) * out->width);
    }
    return VQC_OK;
}

/* One call per row with its scale, or one for all rows with a scale per column. */
static void quantize_rows(const fast *f, const tile *t)
{
    const vqc_kernels *k = f->kernels;

    for (size_t r = 0; r < (t->by_column ? 1 : t->rows); r++) {
        size_t at = t->at + r * t->stride;
        const float *x = (const float *)(const void *)(f->x + at * sizeof *x);
        void *q = f->out + at * f->code_width;
        const float *scale = f->scale + t->scale_at + r;
        const int32_t *zeros = f->zero == NULL ? NULL : f->zero + t->scale_at + r;
        int32_t zero = zeros == NULL ? 0 : *zeros;

        if (t->by_column && f->code_width == 1) {
            if (f->is_signed) {
                k->f32_s8_divide_quantize_cols(x, t->rows, t->cols, t->stride, scale, zeros, q,
                                               t->stride);
            } else {
                k->f32_u8_divide_quantize_cols(x, t->rows, t->cols, t->stride, scale, zeros, q,
                                               t->stride);
            }
        } else if (t->by_column) {
            if (f->is_signed) {
                k->f32_s16_divide_quantize_cols(x, t->rows, t->cols, t->stride, scale, zeros, q,
                                                t->stride);
            } else {
                k->f32_u16_divide_quantize_cols(x, t->rows, t->cols, t->stride, scale, zeros, q,
                                                t->stride);
            }
        } else if (f->code_width == 1) {
            if (f->is_signed) {
                k->f32_s8_divide_quantize(x, t->cols, *scale, zero, q);
            } else {
                k->f32_u8_divide_quantize(x, t->cols, *scale, zero, q);
            }
        } else {
            if (f->is_signed) {
                k->f32_s16_divide_quantize(x, t->cols, *scale, zero, q);
            } else {
                k->f32_u16_divide_quantize(x, t->cols, *scale, zero, q);
            }
        }
    }
}

static vqc_status run_quantize(vqc_exec_call *call)
{
    int32_t to = call->types[0].dtype;

    if (call->inputs[0]->dtype == VQC_DTYPE_FLOAT && call->inputs[1]->dtype == VQC_DTYPE_FLOAT &&
        quotient_type(call) == VQC_DTYPE_FLOAT &&
        (to == VQC_DTYPE_UINT8 || to == VQC_DTYPE_INT8 || to == VQC_DTYPE_UINT16 ||
         to == VQC_DTYPE_INT16)) {
        return run_tiles(call, quantize_rows, to);
    }
    return for_spans(call, quantize_span);
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("DequantizeLinear", "", 10, 2, shape_dequantize, run_dequantize, .detail = NULL),
    VQC_EXEC_ROW("DequantizeLinear", "com.microsoft", 1, 2, shape_dequantize, run_dequantize,
                 .detail = NULL),
    VQC_EXEC_ROW("QuantizeLinear", "", 10, 2, shape_quantize, run_quantize, .detail = NULL),
    VQC_EXEC_ROW("QuantizeLinear", "com.microsoft", 1, 2, shape_quantize, run_quantize,
                 .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_quantize = {OPS, sizeof OPS / sizeof OPS[0]};
