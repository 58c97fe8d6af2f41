#include "core/vq/vq_zero.h"

#include <string.h>

#include "core/vq/vq_packed.h"

enum { NOTABLE_ZEROS = 32 };

/* books * size items -> books * (size + 1), the last of each book 0; NULL stays NULL. */
static vqc_status append_zeros(void **items, size_t books, size_t size, size_t width,
                               vqc_arena *arena, vqc_error *error)
{
    unsigned char *out;

    if (*items == NULL) {
        return VQC_OK;
    }
    out = vqc_arena_calloc(arena, books * (size + 1), width);
    if (out == NULL) {
        return vqc_fail_memory(error, books * (size + 1) * width);
    }
    for (size_t b = 0; b < books; b++) {
        memcpy(out + b * (size + 1) * width, (unsigned char *)*items + b * size * width,
               size * width);
    }
    *items = out;
    return VQC_OK;
}

uint8_t *vqc_vq_mask_of(const float *matrix, size_t n, vqc_arena *arena)
{
    uint8_t *mask = vqc_arena_alloc(arena, n);

    for (size_t i = 0; mask != NULL && i < n; i++) {
        mask[i] = matrix[i] != 0.0f;
    }
    return mask;
}

/* Gives vectors of entries that are all 0 in the mask the last codeword. */
static void choose_last(vqc_vq_code *code, const uint8_t *mask)
{
    const vqc_vq_shape *s = &code->shape;
    size_t length = s->down_rows ? s->rows : s->cols;
    size_t blocks = vqc_vq_blocks(s);

    for (size_t v = 0; v < code->vectors; v++) {
        size_t line = v / blocks;
        size_t first = v % blocks * s->dim;
        bool any = false;
        for (size_t k = first; k < first + s->dim && k < length; k++) {
            any = any || mask[s->down_rows ? k * s->cols + line : line * s->cols + k] != 0;
        }
        if (!any) {
            code->indices[v] = (uint16_t)(s->codebook_size - 1);
        }
    }
}

/* Gives the code of the entries in mask the further codeword 0 for the others. */
static vqc_status add_zero(vqc_vq_code *code, const uint8_t *mask, vqc_arena *arena,
                           vqc_error *error)
{
    vqc_vq_shape *s = &code->shape;
    size_t size = s->codebook_size;
    void *floats = code->codebooks;
    void *halves = code->codebooks_f16;
    void *bytes = code->codebooks_int8;
    vqc_status status = append_zeros(&floats, code->books, size, sizeof(float), arena, error);

    if (status == VQC_OK) {
        status = append_zeros(&halves, code->books, size, sizeof(uint16_t), arena, error);
    }
    if (status == VQC_OK) {
        status = append_zeros(&bytes, code->books, size, sizeof(int8_t), arena, error);
    }
    if (status != VQC_OK) {
        return status;
    }
    code->codebooks = floats;
    code->codebooks_f16 = halves;
    code->codebooks_int8 = bytes;
    s->codebook_size = size + 1;
    choose_last(code, mask);
    return VQC_OK;
}

vqc_status vqc_vq_fit_zeros(const vqc_vq_shape *shape, const float *matrix, const float *second,
                            size_t groups, const vqc_vq_effort *effort, vqc_arena *arena,
                            vqc_vq_code *code, double *loss, vqc_error *error)
{
    size_t n = shape->rows * shape->cols;
    size_t zeros = 0;
    vqc_vq_shape less = *shape;
    uint8_t *mask;
    vqc_status status;

    if (vqc_vq_is_packed(shape)) {
        return vqc_vq_fit_packed(shape, matrix, second, groups, effort, arena, code, loss, error);
    }
    for (size_t i = 0; i < n; i++) {
        zeros += matrix[i] == 0.0f ? 1 : 0;
    }
    if (!shape->is_masked && (shape->dim > 1 || shape->stages > 1 || shape->codebook_size < 3 ||
                              zeros == n || zeros * NOTABLE_ZEROS < n)) {
        return vqc_vq_fit(shape, matrix, second, groups, NULL, effort, arena, code, loss, error);
    }
    mask = vqc_vq_mask_of(matrix, n, arena);
    if (mask == NULL) {
        return vqc_fail_memory(error, n);
    }
    if (shape->is_masked || effort->kept_share > 0.0) {
        status = vqc_vq_fit(shape, matrix, second, groups, mask, effort, arena, code, loss, error);
        if (status == VQC_OK && shape->is_masked) {
            code->mask = mask;
        }
        if (status == VQC_OK && effort->kept_share > 0.0) { /* the last codeword is 0 */
            choose_last(code, mask);
        }
        return status;
    }
    less.codebook_size--;
    status = vqc_vq_fit(&less, matrix, second, groups, mask, effort, arena, code, loss, error);
    return status == VQC_OK ? add_zero(code, mask, arena, error) : status;
}
