/* The int codec: 2 to 16 bits, symmetric or not, per tensor, channel or block. */
#include <math.h>
#include <string.h>

#include "core/codec/int_balance.h"
#include "core/codec/int_fit.h"
#include "core/codec/int_form.h"
#include "core/codec/int_pairs.h"
#include "core/emit/patterns.h"
#include "core/metrics.h"

/* ---- coding ---- */

static bool is_wide(const vqc_decision *decision)
{
    return decision->bits > 8;
}

/* Scales, inverse scales and zero points of one tile, [rows] or [cols]. */
static void quantize_tile(const vqc_decision *d, const vqc_tile *t, const float *weights,
                          const vqc_code *code, const float *inverse, vqc_error_sums *sums)
{
    const vqc_kernels *k = vqc_kernels_get();
    const float *x = weights + t->offset;
    const float *scale = code->scales + t->param;
    const float *inv = inverse + t->param;
    const int32_t *zero = code->zero_points + t->param;

#define QUANTIZE(kind, type)                                                                       \
    do {                                                                                           \
        type *q = (type *)code->codes + t->offset;                                                 \
        if (t->by_row) {                                                                           \
            k->f32_##kind##_quantize_error_rows(x, t->rows, t->cols, t->stride, scale, inv, zero,  \
                                                d->lo, d->hi, q, t->stride, sums);                 \
        } else {                                                                                   \
            k->f32_##kind##_quantize_error_cols(x, t->rows, t->cols, t->stride, scale, inv, zero,  \
                                                d->lo, d->hi, q, t->stride, sums);                 \
        }                                                                                          \
    } while (0)

    if (is_wide(d)) {
        if (d->is_signed) {
            QUANTIZE(s16, int16_t);
        } else {
            QUANTIZE(u16, uint16_t);
        }
    } else if (d->is_signed) {
        QUANTIZE(s8, int8_t);
    } else {
        QUANTIZE(u8, uint8_t);
    }
#undef QUANTIZE
}

static void dequantize_tile(const vqc_code *code, const vqc_tile *t, float *out)
{
    const vqc_kernels *k = vqc_kernels_get();
    const vqc_decision *d = code->decision;
    const float *scale = code->scales + t->param;
    const int32_t *zero = code->zero_points + t->param;
    float *x = out + t->offset;

#define DEQUANTIZE(kind, type)                                                                     \
    do {                                                                                           \
        const type *q = (const type *)code->codes + t->offset;                                     \
        if (t->by_row) {                                                                           \
            k->kind##_f32_dequantize_rows(q, t->rows, t->cols, t->stride, scale, zero, x,          \
                                          t->stride);                                              \
        } else {                                                                                   \
            k->kind##_f32_dequantize_cols(q, t->rows, t->cols, t->stride, scale, zero, x,          \
                                          t->stride);                                              \
        }                                                                                          \
    } while (0)

    if (is_wide(d)) {
        if (d->is_signed) {
            DEQUANTIZE(s16, int16_t);
        } else {
            DEQUANTIZE(u16, uint16_t);
        }
    } else if (d->is_signed) {
        DEQUANTIZE(s8, int8_t);
    } else {
        DEQUANTIZE(u8, uint8_t);
    }
#undef DEQUANTIZE
}

/* Codes all tiles in parallel; sums are added up in tile order, so the result does not depend on
 * threads. */
static vqc_status quantize(const vqc_decision *decision, const float *weights,
                           const vqc_tile *tiles, size_t tile_count, const float *inverse,
                           vqc_arena *arena, vqc_code *code, vqc_error *error)
{
    vqc_error_sums *sums = vqc_arena_calloc(arena, tile_count == 0 ? 1 : tile_count, sizeof *sums);

    if (sums == NULL) {
        return vqc_fail_memory(error, tile_count * sizeof *sums);
    }
#pragma omp parallel for schedule(dynamic,                                                         \
                                  4) if (decision->layer->elements >= VQC_PARALLEL_ELEMENTS)
    for (size_t t = 0; t < tile_count; t++) {
        quantize_tile(decision, &tiles[t], weights, code, inverse, &sums[t]);
    }
    for (size_t t = 0; t < tile_count; t++) {
        vqc_error_sums_add(&code->sums, &sums[t]);
    }
    return VQC_OK;
}

/* Whether the codes go to kernels that may add products in 16 bits. */
static bool avoids_overflow(const vqc_decision *d)
{
    return d->is_static && d->weight_codes == VQC_WEIGHT_CODES_INT8_SAFE && d->is_signed;
}

static vqc_status int_fit(const vqc_decision *decision, const float *weights,
                          vqc_arena *payload_arena, vqc_arena *arena, vqc_code *code,
                          vqc_error *error)
{
    size_t elements = decision->layer->elements;
    vqc_tile *tiles;
    size_t tile_count;
    size_t *unit_start;
    size_t units;
    float *inverse;
    size_t bytes;
    vqc_status status;

    code->decision = decision;
    code->elements = elements;
    code->groups = vqc_grouping_count(&decision->grouping);
    status = vqc_grouping_tiles(&decision->grouping, arena, &tiles, &tile_count, &unit_start,
                                &units, error);
    if (status != VQC_OK) {
        return status;
    }
    status = vqc_int_fit_scales(decision, weights, tiles, unit_start, units, arena, code, error);
    if (status != VQC_OK) {
        return status;
    }
    if (avoids_overflow(decision)) {
        vqc_int_pairs_raise(decision, weights, code);
    }
    inverse = vqc_arena_calloc(arena, code->groups, sizeof *inverse);
    if (inverse == NULL || !vqc_size_mul(elements, is_wide(decision) ? 2 : 1, &bytes)) {
        return vqc_fail_memory(error, code->groups * sizeof *inverse);
    }
    for (size_t g = 0; g < code->groups; g++) {
        inverse[g] = vqc_inverse_scale(code->scales[g]);
        if (!decision->has_zero_point) {
            code->zero_points[g] = decision->middle;
        }
    }
    /* whole bytes go into the file as they are; narrower codes are packed from a scratch copy */
    code->codes =
        vqc_arena_alloc(vqc_int_codes_are_payload(decision) ? payload_arena : arena, bytes);
    if (code->codes == NULL) {
        return vqc_fail_memory(error, bytes);
    }
    status = quantize(decision, weights, tiles, tile_count, inverse, arena, code, error);
    if (status == VQC_OK && vqc_int_is_balanced(decision)) {
        status = vqc_int_balance(decision, weights, code, error);
        if (status == VQC_OK) {
            if (avoids_overflow(decision)) {
                vqc_int_pairs_settle(decision, code);
            }
            status = vqc_code_measure(code, weights, arena, error);
        }
    } else if (status == VQC_OK && decision->layer->dtype != VQC_DTYPE_FLOAT) {
        status = vqc_code_measure(code, weights, arena, error);
    }
    return status;
}

static vqc_status int_check(const vqc_decision *decision, const float *weights, vqc_error *error)
{
    return vqc_int_check_finite(weights, decision->layer->elements, error);
}

static vqc_status int_decode(const vqc_code *code, vqc_arena *arena, float *weights,
                             vqc_error *error)
{
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
    for (size_t t = 0; t < tile_count; t++) {
        dequantize_tile(code, &tiles[t], weights);
    }
    return VQC_OK;
}

static void int_emit(vqc_emitter *emitter, const vqc_code *code)
{
    switch (code->decision->form) {
    case VQC_FORM_DEQUANTIZE:
        vqc_emit_dequantize(emitter, code);
        break;
    case VQC_FORM_FOLDABLE:
        vqc_emit_foldable(emitter, code);
        break;
    case VQC_FORM_MATMUL_NBITS:
        vqc_emit_matmul_nbits(emitter, code);
        break;
    case VQC_FORM_GATHER_BLOCK:
        vqc_emit_gather_block(emitter, code);
        break;
    case VQC_FORM_DYNAMIC_MATMUL:
        vqc_emit_dynamic_matmul(emitter, code);
        break;
    case VQC_FORM_DYNAMIC_CONV:
        vqc_emit_dynamic_conv(emitter, code);
        break;
    case VQC_FORM_DYNAMIC_LSTM:
        vqc_emit_dynamic_lstm(emitter, code);
        break;
    case VQC_FORM_KEEP:
        break;
    }
}

static const char *int_describe(const vqc_decision *decision, vqc_arena *arena)
{
    const char *type = decision->has_zero_point ? "uint" : "int";
    const vqc_grouping *g = &decision->grouping;

    if (g->is_blocked) {
        return vqc_arena_printf(arena, "%s%d block %zu", type, decision->bits, g->block);
    }
    return vqc_arena_printf(arena, "%s%d %s", type, decision->bits,
                            g->len > 1 ? "channel" : "tensor");
}

const vqc_codec vqc_codec_int = {
    .name = "int",
    .reads_weights = vqc_int_reads_weights,
    .prepare = vqc_int_prepare,
    .fit = int_fit,
    .check = int_check,
    .decode = int_decode,
    .emit = int_emit,
    .describe = int_describe,
};
