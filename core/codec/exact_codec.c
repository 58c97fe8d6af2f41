/* Weights that stay as they are but for their zeros, which are not stored: the sparse form of
 * "keep". It has no row in the table; core/encode_layers.c takes it where it is smaller. */
#include <string.h>

#include "core/codec/codec.h"
#include "core/emit/patterns.h"
#include "core/tensor.h"

static size_t item_bytes(const vqc_layer *layer)
{
    return (size_t)vqc_dtype_describe(layer->dtype)->bits / 8;
}

static bool exact_reads_weights(const vqc_layer *layer, const vqc_weight_spec *spec)
{
    (void)layer;
    (void)spec;
    return false;
}

static void exact_prepare(vqc_decision *d, const vqc_target *target, const float *weights,
                          int64_t *opset_wanted)
{
    (void)target;
    (void)weights;
    *opset_wanted = 0;
    d->bits = (int)item_bytes(d->layer) * 8;
    d->grouping = vqc_grouping_tensor(d->layer->elements);
    d->form = VQC_FORM_FOLDABLE;
}

static vqc_status exact_fit(const vqc_decision *d, const float *weights, vqc_arena *payload_arena,
                            vqc_arena *arena, vqc_code *code, vqc_error *error)
{
    const void *raw;
    size_t size;
    vqc_status status = vqc_tensor_borrow_raw(d->layer->tensor, arena, &raw, &size, error);

    (void)payload_arena; /* what is stored is gathered by the pattern */
    if (status != VQC_OK) {
        return status;
    }
    code->decision = d;
    code->elements = d->layer->elements;
    code->codes = vqc_arena_alloc(arena, size + 1);
    if (code->codes == NULL) {
        return vqc_fail_memory(error, size);
    }
    memcpy(code->codes, raw, size);
    return vqc_code_measure(code, weights, arena, error);
}

static vqc_status exact_decode(const vqc_code *code, vqc_arena *arena, float *weights,
                               vqc_error *error)
{
    const float *values;
    size_t elements;
    vqc_status status =
        vqc_tensor_borrow_f32(code->decision->layer->tensor, arena, &values, &elements, error);

    if (status == VQC_OK) {
        memcpy(weights, values, elements * sizeof *weights);
    }
    return status;
}

/* Dense, for its size only: the tensor as it stands. */
static void exact_emit(vqc_emitter *e, const vqc_code *code)
{
    const vqc_layer *layer = code->decision->layer;
    const vqc_dtype dtype = (vqc_dtype)layer->dtype;
    const int64_t stored[1] = {(int64_t)(code->sparse == NULL ? 0 : code->sparse->entries)};
    const double nothing = 0.0; /* all its bits are 0, as those of a 0 of any type */
    const vqc_emit_zero zero = {.dtype = dtype, .raw = &nothing};
    size_t width = item_bytes(layer);
    const char *values;

    if (code->sparse == NULL) {
        (void)vqc_emit_named_payload(e, layer->value->name, dtype, layer->dims, layer->rank, NULL,
                                     layer->elements * width);
        return;
    }
    values = vqc_emit_payload(e, "w", dtype, stored, 1, vqc_emit_stored_codes(e, code, width),
                              code->sparse->entries * width);
    (void)vqc_emit_sparse(e, code->sparse, values, &zero, layer->dims, layer->rank,
                          layer->value->name);
    if (e->status == VQC_OK) {
        e->status = vqc_patch_remove_constant(e->patch, layer->value, e->error);
    }
}

static const char *exact_describe(const vqc_decision *d, vqc_arena *arena)
{
    (void)arena;
    return vqc_dtype_describe(d->layer->dtype)->name;
}

const vqc_codec vqc_codec_exact = {
    .name = "keep",
    .reads_weights = exact_reads_weights,
    .prepare = exact_prepare,
    .fit = exact_fit,
    .decode = exact_decode,
    .emit = exact_emit,
    .describe = exact_describe,
};
