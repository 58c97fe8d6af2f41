#include "core/vq/vq_types.h"

#include <string.h>

bool vqc_vq_is_packed(const vqc_vq_shape *shape)
{
    return shape->packed > 0 && shape->dim > 1;
}

size_t vqc_vq_lines(const vqc_vq_shape *shape)
{
    if (vqc_vq_is_packed(shape)) {
        return 1;
    }
    return shape->down_rows ? shape->cols : shape->rows;
}

static size_t line_length(const vqc_vq_shape *shape)
{
    if (vqc_vq_is_packed(shape)) {
        return shape->packed;
    }
    return shape->down_rows ? shape->rows : shape->cols;
}

static size_t ceil_div(size_t a, size_t b)
{
    return a / b + (a % b != 0 ? 1 : 0);
}

size_t vqc_vq_blocks(const vqc_vq_shape *shape)
{
    return ceil_div(line_length(shape), shape->dim);
}

size_t vqc_vq_vectors(const vqc_vq_shape *shape)
{
    return vqc_vq_lines(shape) * vqc_vq_blocks(shape);
}

size_t vqc_vq_books(const vqc_vq_shape *shape)
{
    return shape->line_groups * shape->block_groups;
}

size_t vqc_vq_book_of(const vqc_vq_shape *shape, size_t vector)
{
    size_t blocks = vqc_vq_blocks(shape);
    size_t line = vector / blocks;
    size_t block = vector % blocks;

    return line / ceil_div(vqc_vq_lines(shape), shape->line_groups) * shape->block_groups +
           block / ceil_div(blocks, shape->block_groups);
}

int vqc_vq_index_bits(const vqc_vq_shape *shape)
{
    int bits = 1;

    while (((size_t)1 << bits) < shape->codebook_size) {
        bits++;
    }
    return bits;
}

size_t vqc_vq_kept_place(const vqc_vq_code *code, size_t i)
{
    const vqc_vq_shape *s = &code->shape;
    size_t at = code->kept[i];

    return s->down_rows ? at % s->rows * s->cols + at / s->rows : at;
}

/* Zeros, and the packed weights in their places. */
static void decode_packed(const vqc_vq_code *code, float *matrix)
{
    const vqc_vq_shape *s = &code->shape;
    size_t book_size = s->codebook_size * s->dim;

    memset(matrix, 0, s->rows * s->cols * sizeof *matrix);
    for (size_t i = 1; i < s->packed; i++) {
        float sum = 0.0f;
        for (size_t t = 0; t < s->stages; t++) {
            size_t index = code->indices[t * code->vectors + i / s->dim];
            float value = code->codebooks[t * book_size + index * s->dim + i % s->dim];
            sum = t == 0 ? value : sum + value;
        }
        matrix[vqc_vq_kept_place(code, i - 1)] = sum;
    }
}

void vqc_vq_decode(const vqc_vq_code *code, float *matrix)
{
    const vqc_vq_shape *s = &code->shape;
    size_t blocks = vqc_vq_blocks(s);
    size_t length = line_length(s);
    size_t book_size = s->codebook_size * s->dim;

    if (vqc_vq_is_packed(s)) {
        decode_packed(code, matrix);
        return;
    }
    for (size_t v = 0; v < code->vectors; v++) {
        size_t line = v / blocks;
        size_t first = v % blocks * s->dim;
        size_t count = length - first < s->dim ? length - first : s->dim;
        size_t book = vqc_vq_book_of(s, v);
        for (size_t i = 0; i < count; i++) {
            size_t row = s->down_rows ? first + i : line;
            size_t col = s->down_rows ? line : first + i;
            float sum = 0.0f;
            for (size_t t = 0; t < s->stages; t++) {
                const float *codebook = code->codebooks + (t * code->books + book) * book_size;
                float value = codebook[code->indices[t * code->vectors + v] * s->dim + i];
                sum = t == 0 ? value : sum + value;
            }
            matrix[row * s->cols + col] =
                code->row_scales != NULL ? sum * code->row_scales[row] : sum;
        }
    }
    for (size_t i = 0; code->mask != NULL && i < s->rows * s->cols; i++) {
        matrix[i] = code->mask[i] == 0 ? 0.0f : matrix[i];
    }
}
