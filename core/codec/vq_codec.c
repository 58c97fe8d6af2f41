/* The vq codec: indices into trained codebooks of short vectors. */
#include <stdio.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/codec/int_fit.h"
#include "core/codec/vq_form.h"
#include "core/emit/patterns.h"
#include "core/vq/vq_zero.h"

static bool vq_reads_weights(const vqc_layer *layer, const vqc_weight_spec *spec)
{
    (void)layer;
    (void)spec;
    return true; /* channel_scale: auto, and the scales of int8 where that is taken instead */
}

static vqc_status vq_fit(const vqc_decision *d, const float *weights, vqc_arena *payload_arena,
                         vqc_arena *arena, vqc_code *code, vqc_error *error)
{
    const vqc_vq_layout *layout = &d->vq_layout;
    vqc_vq_effort effort = d->vq_effort;
    float *matrix = vqc_arena_calloc(arena, d->layer->elements, sizeof *matrix);
    vqc_status status;

    (void)payload_arena; /* patterns copy what they write */
    code->decision = d;
    code->elements = d->layer->elements;
    code->vq = vqc_arena_calloc(arena, 1, sizeof *code->vq);
    if (matrix == NULL || code->vq == NULL) {
        return vqc_fail_memory(error, d->layer->elements * sizeof *matrix);
    }
    status = vqc_int_check_finite(weights, d->layer->elements, error);
    if (status != VQC_OK) {
        return status;
    }
#ifdef _OPENMP
    effort.threads = omp_get_max_threads();
#endif
    vqc_vq_layout_take(layout, d->layer, weights, matrix);
    status = vqc_vq_fit_zeros(&d->vq, matrix, NULL, 1, &effort, arena, code->vq, NULL, error);
    if (status == VQC_OK) {
        status = vqc_vq_set_scales(code, arena, error);
    }
    return status == VQC_OK ? vqc_code_measure(code, weights, arena, error) : status;
}

static vqc_status vq_check(const vqc_decision *d, const float *weights, vqc_error *error)
{
    return vqc_int_check_finite(weights, d->layer->elements, error);
}

float vqc_vq_dequantize_scale(const vqc_vq_code *code, size_t row)
{
    const vqc_vq_shape *s = &code->shape;
    size_t group = s->down_rows || s->line_groups == 1
                       ? 0
                       : row / ((s->rows + s->line_groups - 1) / s->line_groups);
    float scale = code->book_scales[group * s->block_groups];

    return code->row_scales == NULL ? scale : scale * code->row_scales[row];
}

vqc_status vqc_vq_set_scales(vqc_code *code, vqc_arena *arena, vqc_error *error)
{
    const vqc_vq_shape *s = &code->vq->shape;

    if (code->decision->form != VQC_FORM_DEQUANTIZE) {
        return VQC_OK;
    }
    code->groups = s->row_scales || s->line_groups > 1 ? s->rows : 1;
    code->scales = vqc_arena_calloc(arena, code->groups, sizeof *code->scales);
    if (code->scales == NULL) {
        return vqc_fail_memory(error, code->groups * sizeof *code->scales);
    }
    for (size_t row = 0; row < code->groups; row++) {
        code->scales[row] = vqc_vq_dequantize_scale(code->vq, row);
    }
    return VQC_OK;
}

/* As DequantizeLinear computes: the codeword's integers times one scale per row. */
static vqc_status decode_dequantize(const vqc_vq_code *code, vqc_arena *arena, float *matrix,
                                    vqc_error *error)
{
    const vqc_vq_shape *s = &code->shape;
    size_t n = code->books * s->codebook_size * s->dim;
    vqc_vq_code whole = *code;

    whole.codebooks = vqc_arena_calloc(arena, n, sizeof *whole.codebooks);
    whole.row_scales = vqc_arena_calloc(arena, s->rows, sizeof *whole.row_scales);
    if (whole.codebooks == NULL || whole.row_scales == NULL) {
        return vqc_fail_memory(error, n * sizeof *whole.codebooks);
    }
    for (size_t i = 0; i < n; i++) {
        whole.codebooks[i] = (float)code->codebooks_int8[i];
    }
    for (size_t r = 0; r < s->rows; r++) {
        whole.row_scales[r] = vqc_vq_dequantize_scale(code, r);
    }
    vqc_vq_decode(&whole, matrix);
    return VQC_OK;
}

static vqc_status vq_decode(const vqc_code *code, vqc_arena *arena, float *weights,
                            vqc_error *error)
{
    const vqc_decision *d = code->decision;
    float *matrix = vqc_arena_calloc(arena, code->elements, sizeof *matrix);
    vqc_status status = VQC_OK;

    if (matrix == NULL) {
        return vqc_fail_memory(error, code->elements * sizeof *matrix);
    }
    if (d->form == VQC_FORM_DEQUANTIZE) {
        status = decode_dequantize(code->vq, arena, matrix, error);
    } else {
        vqc_vq_decode(code->vq, matrix);
    }
    if (status == VQC_OK) {
        vqc_vq_layout_put(&d->vq_layout, d->layer, matrix, weights);
    }
    return status;
}

static const char *storage_name(vqc_vq_storage storage)
{
    return storage == VQC_VQ_STORAGE_FLOAT32   ? "float32"
           : storage == VQC_VQ_STORAGE_FLOAT16 ? "float16"
                                               : "int8";
}

vqc_codebook_report vqc_vq_describe(const vqc_decision *d)
{
    const vqc_vq_shape *s = &d->vq;
    size_t books = vqc_vq_books(s);
    size_t width = s->storage == VQC_VQ_STORAGE_FLOAT32   ? 4
                   : s->storage == VQC_VQ_STORAGE_FLOAT16 ? 2
                                                          : 1;
    vqc_codebook_report report = {
        .dim = s->dim,
        .codebook_size = s->codebook_size,
        .stages = s->stages,
        .codebooks = books,
        .type = storage_name(s->storage),
        .is_scaled = s->row_scales,
        .is_masked = s->is_masked,
        .index_bytes = vqc_emit_index_bytes(s, vqc_vq_vectors(s)),
        .codebook_bytes = s->stages * books * s->codebook_size * s->dim * width,
    };
    return report;
}

const char *vqc_codebook_name(const vqc_codebook_report *codebook, vqc_arena *arena)
{
    char stages[32] = "";
    char groups[48] = "";

    if (codebook->stages > 1) {
        (void)snprintf(stages, sizeof stages, "%zux", codebook->stages);
    }
    if (codebook->codebooks > 1) {
        (void)snprintf(groups, sizeof groups, " %zu groups", codebook->codebooks);
    }
    return vqc_arena_printf(arena, "vq %s%zux%zu %s%s%s%s", stages, codebook->dim,
                            codebook->codebook_size, codebook->type, groups,
                            codebook->is_scaled ? " scaled" : "",
                            codebook->is_masked ? " masked" : "");
}

static const char *vq_describe(const vqc_decision *d, vqc_arena *arena)
{
    vqc_codebook_report report = vqc_vq_describe(d);

    return vqc_codebook_name(&report, arena);
}

static void vq_emit(vqc_emitter *emitter, const vqc_code *code)
{
    vqc_emit_codebook(emitter, code);
}

const vqc_codec vqc_codec_vq = {
    .name = "vq",
    .reads_weights = vq_reads_weights,
    .prepare = vqc_vq_prepare,
    .fit = vq_fit,
    .check = vq_check,
    .decode = vq_decode,
    .emit = vq_emit,
    .describe = vq_describe,
};
