/* Codecs that store weights as a shorter float: float16, bfloat16 and two kinds of float8 with
 * scales. */
#include <math.h>
#include <string.h>

#include "core/codec/int_fit.h"
#include "core/emit/patterns.h"

enum { CHUNK = 16 * 1024 };

/* float8e4m3fn reaches 448, float8e5m2 57344 (ONNX, "Float stored in 8 bits"). */
static const float E4M3FN_MAX = 448.0f;
static const float E5M2_MAX = 57344.0f;
static const float FLOAT16_MAX = 65504.0f;
static const float BFLOAT16_MAX = 0x1.FEp127f; /* what is above may round to infinity */

static bool is_e4m3fn(const vqc_decision *d)
{
    return d->codec == &vqc_codec_float8e4m3fn;
}

static bool is_bfloat16(const vqc_decision *d)
{
    return d->codec == &vqc_codec_bfloat16;
}

/* ---- float16, bfloat16 ---- */

static void half_prepare(vqc_decision *d, const vqc_target *target, const float *weights,
                         int64_t *opset_wanted)
{
    (void)weights;
    *opset_wanted = 0;
    d->bits = 16;
    d->grouping = vqc_grouping_tensor(d->layer->elements);
    if (d->layer->dtype == VQC_DTYPE_FLOAT16 || d->layer->dtype == VQC_DTYPE_BFLOAT16) {
        d->form = VQC_FORM_KEEP;
        d->reason = "already 16 bits";
        return;
    }
    d->form = VQC_FORM_FOLDABLE;
    if (is_bfloat16(d) && target->opset < 13 && target->max_opset >= 13) {
        *opset_wanted = 13; /* Cast knows bfloat16 since opset 13 */
    }
}

/* bfloat16 numbers below the normal range become zero: the pattern for opset < 13 has no
 * subnormals. */
static void flush_subnormals(uint16_t *codes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((codes[i] & 0x7F80) == 0) {
            codes[i] &= 0x8000;
        }
    }
}

static vqc_status refuse(const vqc_decision *d, vqc_error *error)
{
    return vqc_fail(error, VQC_ERR_MODEL, "has NaN, infinite or too large weights for %s",
                    d->codec->name);
}

static vqc_status half_fit(const vqc_decision *d, const float *weights, vqc_arena *payload_arena,
                           vqc_arena *arena, vqc_code *code, vqc_error *error)
{
    const vqc_kernels *k = vqc_kernels_get();
    size_t n = d->layer->elements;
    uint16_t *codes;
    size_t bytes;
    bool bad = false;

    code->decision = d;
    code->elements = n;
    if (!vqc_size_mul(n, sizeof *codes, &bytes) ||
        (codes = vqc_arena_alloc(payload_arena, bytes)) == NULL) {
        return vqc_fail_memory(error, n);
    }
    code->codes = codes;
#pragma omp parallel for schedule(static) reduction(|| : bad) if (n >= VQC_PARALLEL_ELEMENTS)
    for (size_t i = 0; i < n; i += CHUNK) {
        size_t count = n - i < CHUNK ? n - i : CHUNK;
        if (is_bfloat16(d)) {
            bad = bad || k->f32_count_nonfinite(weights + i, count) > 0 ||
                  k->f32_absmax(weights + i, count) > BFLOAT16_MAX;
            k->f32_bf16_convert(weights + i, count, codes + i);
            flush_subnormals(codes + i, count);
        } else {
            bad = bad || k->f32_count_nonfinite(weights + i, count) > 0 ||
                  k->f32_absmax(weights + i, count) > FLOAT16_MAX;
            k->f32_f16_convert(weights + i, count, codes + i);
        }
    }
    if (bad) {
        return refuse(d, error);
    }
    return vqc_code_measure(code, weights, arena, error);
}

static vqc_status half_check(const vqc_decision *d, const float *weights, vqc_error *error)
{
    const vqc_kernels *k = vqc_kernels_get();
    size_t n = d->layer->elements;

    if (k->f32_count_nonfinite(weights, n) > 0 ||
        k->f32_absmax(weights, n) > (is_bfloat16(d) ? BFLOAT16_MAX : FLOAT16_MAX)) {
        return refuse(d, error);
    }
    return VQC_OK;
}

static vqc_status half_decode(const vqc_code *code, vqc_arena *arena, float *weights,
                              vqc_error *error)
{
    const vqc_kernels *k = vqc_kernels_get();
    const uint16_t *codes = code->codes;
    size_t n = code->elements;

    (void)arena;
    (void)error;
#pragma omp parallel for schedule(static) if (n >= VQC_PARALLEL_ELEMENTS)
    for (size_t i = 0; i < n; i += CHUNK) {
        size_t count = n - i < CHUNK ? n - i : CHUNK;
        if (is_bfloat16(code->decision)) {
            k->bf16_f32_convert(codes + i, count, weights + i);
        } else {
            k->f16_f32_convert(codes + i, count, weights + i);
        }
    }
    return VQC_OK;
}

/*
 * bfloat16 below opset 13: the 16 bits as a number x; its upper 9 bits (sign, exponent) index a
 * table of
 * +-2^(e-127), the lower 7 are the fraction: w = table[x >> 7] * (1 + (x & 127) / 128). Exact.
 */
static void emit_bfloat16_table(vqc_emitter *e, const vqc_code *code, const char *codes)
{
    int64_t dims[1] = {512};
    float table[512];
    const char *x;
    const char *upper;
    const char *fraction;
    const char *power;

    for (int i = 0; i < 512; i++) {
        int exponent = i & 255;
        float value = exponent == 0 || exponent == 255 ? 0.0f : ldexpf(1.0f, exponent - 127);
        table[i] = i >= 256 ? -value : value;
    }
    x = vqc_emit_cast(e, codes, VQC_DTYPE_FLOAT, VQC_FRESH);
    upper = vqc_emit_node(e, "Mul", VQC_FRESH, x, vqc_emit_scalar_f32(e, 0x1p-7f), NULL);
    fraction = upper; /* x / 128 = upper + fraction, both exact in float */
    upper = vqc_emit_node(e, "Floor", VQC_FRESH, upper, NULL, NULL);
    fraction = vqc_emit_node(e, "Sub", VQC_FRESH, fraction, upper, NULL);
    fraction = vqc_emit_node(e, "Add", VQC_FRESH, fraction, vqc_emit_scalar_f32(e, 1.0f), NULL);
    upper = vqc_emit_cast(e, upper, VQC_DTYPE_INT32, VQC_FRESH);
    power = vqc_emit_node(e, "Gather", VQC_FRESH,
                          vqc_emit_shared(e, VQC_DTYPE_FLOAT, dims, 1, table, sizeof table), upper,
                          NULL);
    vqc_emit_finish(e, code, "Mul", power, fraction);
}

static void half_emit(vqc_emitter *e, const vqc_code *code)
{
    const vqc_layer *layer = code->decision->layer;
    bool bfloat16 = is_bfloat16(code->decision);
    bool table = bfloat16 && e->opset < 13;
    vqc_dtype dtype = table ? VQC_DTYPE_UINT16 : bfloat16 ? VQC_DTYPE_BFLOAT16 : VQC_DTYPE_FLOAT16;
    const int64_t stored[1] = {(int64_t)(code->sparse == NULL ? 0 : code->sparse->entries)};
    const double nothing = 0.0;
    const vqc_emit_zero zero = {.dtype = (vqc_dtype)layer->dtype, .raw = &nothing};
    const char *codes =
        code->sparse == NULL
            ? vqc_emit_payload(e, "q", dtype, layer->dims, layer->rank, code->codes,
                               layer->elements * 2)
            : vqc_emit_payload(e, "q", dtype, stored, 1, vqc_emit_stored_codes(e, code, 2),
                               code->sparse->entries * 2);

    if (table) { /* never sparse: vqc_sparse_obstacle */
        emit_bfloat16_table(e, code, codes);
        return;
    }
    if (code->sparse == NULL) {
        (void)vqc_emit_cast(e, codes, zero.dtype, layer->value->name);
    } else {
        codes = vqc_emit_cast(e, codes, zero.dtype, VQC_FRESH);
        (void)vqc_emit_sparse(e, code->sparse, codes, &zero, layer->dims, layer->rank,
                              layer->value->name);
    }
    if (e->status == VQC_OK) {
        e->status = vqc_patch_remove_constant(e->patch, layer->value, e->error);
    }
}

static bool half_reads_weights(const vqc_layer *layer, const vqc_weight_spec *spec)
{
    (void)layer;
    (void)spec;
    return false;
}

/* ---- float8 ---- */

static bool float8_reads_weights(const vqc_layer *layer, const vqc_weight_spec *spec)
{
    (void)layer;
    return spec->granularity != VQC_GRANULARITY_TENSOR;
}

static void float8_prepare(vqc_decision *d, const vqc_target *target, const float *weights,
                           int64_t *opset_wanted)
{
    vqc_weight_spec as_int = d->spec;
    const vqc_codec *codec = d->codec;

    /* groups and scales are those of a symmetric 8-bit code in the foldable pattern */
    d->spec.bits = 8;
    d->spec.range = VQC_RANGE_MINMAX;
    d->spec.symmetric = true;
    d->spec.reduce_range = false;
    d->spec.pattern = VQC_PATTERN_FOLDABLE;
    d->spec.activations = VQC_ACTIVATIONS_NONE;
    vqc_codec_int.prepare(d, target, weights, opset_wanted);
    d->spec = as_int;
    d->codec = codec;
    d->form = VQC_FORM_FOLDABLE;
    d->is_signed = false;
    /* the scale of a float8 group is absmax / 448 or / 57344: cover() divides by hi - middle */
    d->middle = 0;
    d->hi = is_e4m3fn(d) ? (int32_t)E4M3FN_MAX : (int32_t)E5M2_MAX;
    d->lo = -d->hi;
}

static void float8_tile(const vqc_decision *d, const vqc_tile *t, const float *weights,
                        const vqc_code *code, uint8_t *codes)
{
    const vqc_kernels *k = vqc_kernels_get();
    float row[1024];

    for (size_t r = 0; r < t->rows; r++) {
        for (size_t c = 0; c < t->cols; c += 1024) {
            size_t n = t->cols - c < 1024 ? t->cols - c : 1024;
            size_t at = t->offset + r * t->stride + c;
            memcpy(row, (const char *)weights + at * sizeof *row, n * sizeof *row);
            for (size_t i = 0; i < n; i++) {
                row[i] *= vqc_inverse_scale(code->scales[t->param + (t->by_row ? r : c + i)]);
            }
            if (is_e4m3fn(d)) {
                k->f32_e4m3fn_convert(row, n, codes + at);
            } else {
                k->f32_e5m2_convert(row, n, codes + at);
            }
        }
    }
}

static vqc_status float8_fit(const vqc_decision *d, const float *weights, vqc_arena *payload_arena,
                             vqc_arena *arena, vqc_code *code, vqc_error *error)
{
    vqc_tile *tiles;
    size_t tile_count;
    size_t *unit_start;
    size_t units;
    vqc_status status;

    code->decision = d;
    code->elements = d->layer->elements;
    code->groups = vqc_grouping_count(&d->grouping);
    status =
        vqc_grouping_tiles(&d->grouping, arena, &tiles, &tile_count, &unit_start, &units, error);
    if (status != VQC_OK) {
        return status;
    }
    status = vqc_int_fit_scales(d, weights, tiles, unit_start, units, arena, code, error);
    if (status != VQC_OK) {
        return status;
    }
    code->codes = vqc_arena_alloc(payload_arena, code->elements);
    if (code->codes == NULL) {
        return vqc_fail_memory(error, code->elements);
    }
#pragma omp parallel for schedule(dynamic, 4) if (code->elements >= VQC_PARALLEL_ELEMENTS)
    for (size_t t = 0; t < tile_count; t++) {
        float8_tile(d, &tiles[t], weights, code, code->codes);
    }
    return vqc_code_measure(code, weights, arena, error);
}

static vqc_status float8_check(const vqc_decision *d, const float *weights, vqc_error *error)
{
    return vqc_int_check_finite(weights, d->layer->elements, error);
}

static vqc_status float8_decode(const vqc_code *code, vqc_arena *arena, float *weights,
                                vqc_error *error)
{
    const vqc_kernels *k = vqc_kernels_get();
    const uint8_t *codes = code->codes;
    vqc_tile *tiles;
    size_t tile_count;
    size_t *unit_start;
    size_t units;
    vqc_status status = vqc_grouping_tiles(&code->decision->grouping, arena, &tiles, &tile_count,
                                           &unit_start, &units, error);

    if (status != VQC_OK) {
        return status;
    }
#pragma omp parallel for schedule(dynamic, 4) if (code->elements >= VQC_PARALLEL_ELEMENTS)
    for (size_t i = 0; i < tile_count; i++) {
        const vqc_tile *t = &tiles[i];
        for (size_t r = 0; r < t->rows; r++) {
            size_t at = t->offset + r * t->stride;
            if (is_e4m3fn(code->decision)) {
                k->e4m3fn_f32_convert(codes + at, t->cols, weights + at);
            } else {
                k->e5m2_f32_convert(codes + at, t->cols, weights + at);
            }
            for (size_t c = 0; c < t->cols; c++) {
                weights[at + c] *= code->scales[t->param + (t->by_row ? r : c)];
            }
        }
    }
    return VQC_OK;
}

/* All codes, or the stored ones of a sparse code, of shape dims as float: a Cast where the opset
 * has float8, else a table of 256 values. */
static const char *float8_floats(vqc_emitter *e, const vqc_code *code, const int64_t *dims,
                                 size_t rank)
{
    const vqc_kernels *k = vqc_kernels_get();
    bool is_sparse = code->sparse != NULL;
    size_t n = is_sparse ? code->sparse->entries : code->decision->layer->elements;
    const void *raw = is_sparse ? vqc_emit_stored_codes(e, code, 1) : code->codes;
    bool e4m3fn = is_e4m3fn(code->decision);
    int64_t table_dims[1] = {256};
    uint8_t all[256];
    float values[256];
    uint16_t table[256];
    const char *name;

    if (e->opset >= 19) {
        name = vqc_emit_payload(e, "q", e4m3fn ? VQC_DTYPE_FLOAT8E4M3FN : VQC_DTYPE_FLOAT8E5M2,
                                dims, rank, raw, n);
        return vqc_emit_cast(e, name, VQC_DTYPE_FLOAT, VQC_FRESH);
    }
    for (int i = 0; i < 256; i++) {
        all[i] = (uint8_t)i;
    }
    if (e4m3fn) {
        k->e4m3fn_f32_convert(all, 256, values);
    } else {
        k->e5m2_f32_convert(all, 256, values);
    }
    for (int i = 0; i < 256;
         i++) { /* NaN and infinities are never coded: keep them out of the file */
        values[i] = isfinite(values[i]) ? values[i] : 0.0f;
    }
    k->f32_f16_convert(values, 256, table); /* exact: both kinds are subsets of float16 */
    name = vqc_emit_payload(e, "q", VQC_DTYPE_UINT8, dims, rank, raw, n);
    name = vqc_emit_cast(e, name, VQC_DTYPE_INT32, VQC_FRESH);
    name = vqc_emit_node(e, "Gather", VQC_FRESH,
                         vqc_emit_shared(e, VQC_DTYPE_FLOAT16, table_dims, 1, table, sizeof table),
                         name, NULL);
    return vqc_emit_cast(e, name, VQC_DTYPE_FLOAT, VQC_FRESH);
}

static const char *float8_values(vqc_emitter *e, const vqc_code *code, const char *zeros,
                                 const int64_t *dims, size_t rank)
{
    const int64_t stored[1] = {(int64_t)(code->sparse == NULL ? 0 : code->sparse->entries)};
    const float nothing = 0.0f;
    const vqc_emit_zero zero = {.dtype = VQC_DTYPE_FLOAT, .raw = &nothing, .tensor = zeros};

    if (code->sparse == NULL) {
        return float8_floats(e, code, dims, rank);
    }
    return vqc_emit_sparse(e, code->sparse, float8_floats(e, code, stored, 1), &zero, dims, rank,
                           VQC_FRESH);
}

static void float8_emit(vqc_emitter *e, const vqc_code *code)
{
    vqc_emit_foldable_with(e, code, float8_values);
}

static const char *plain_describe(const vqc_decision *d, vqc_arena *arena)
{
    if (d->bits == 16) {
        return d->codec->name;
    }
    if (d->grouping.is_blocked) {
        return vqc_arena_printf(arena, "%s block %zu", d->codec->name, d->grouping.block);
    }
    return vqc_arena_printf(arena, "%s %s", d->codec->name,
                            d->grouping.len > 1 ? "channel" : "tensor");
}

const vqc_codec vqc_codec_float16 = {
    "float16",  half_reads_weights, half_prepare, half_fit,
    half_check, half_decode,        half_emit,    plain_describe,
};
const vqc_codec vqc_codec_bfloat16 = {
    "bfloat16", half_reads_weights, half_prepare, half_fit,
    half_check, half_decode,        half_emit,    plain_describe,
};
const vqc_codec vqc_codec_float8e4m3fn = {
    "float8e4m3fn", float8_reads_weights, float8_prepare, float8_fit,
    float8_check,   float8_decode,        float8_emit,    plain_describe,
};
const vqc_codec vqc_codec_float8e5m2 = {
    "float8e5m2", float8_reads_weights, float8_prepare, float8_fit,
    float8_check, float8_decode,        float8_emit,    plain_describe,
};
