#include "core/exec/int_gemm.h"

#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/memory.h"
#include "kernels/kernels.h"

enum {
    PACK_LINES = 48,        /* per task; whole panels of either width */
    PARALLEL_MACS = 1 << 19 /* below this a second thread costs more than it brings */
};

size_t vqc_int_panel(size_t depth, size_t width)
{
    return (depth + depth % 2) * width;
}

bool vqc_int_packed_bytes(size_t lines, size_t depth, size_t width, size_t *size_bytes)
{
    size_t padded;

    return vqc_size_add(lines, width - 1, &padded) && vqc_size_add(depth, depth % 2, &depth) &&
           vqc_size_mul(padded / width * width, depth, size_bytes) &&
           vqc_size_mul(*size_bytes, sizeof(int16_t), size_bytes);
}

/* Takes zeros[line] off the lines of packed panels; the padding stays 0. */
static void shift_lines(const int32_t *zeros, size_t lines, size_t depth, size_t width,
                        int16_t *packed)
{
    size_t panel = vqc_int_panel(depth, width);

    for (size_t line = 0; line < lines; line++) {
        int16_t *at = packed + line / width * panel + line % width * 2;
        for (size_t d = 0; d < depth; d++) {
            int16_t *value = at + d / 2 * width * 2 + d % 2;
            *value = (int16_t)(*value - zeros[line]);
        }
    }
}

static void pack_lines(const vqc_int_source *s, size_t first, size_t lines, size_t depth,
                       size_t width, int16_t *packed)
{
    const vqc_kernels *k = vqc_kernels_get();
    size_t panel = vqc_int_panel(depth, width);
    int16_t *to = packed + first / width * panel;
    const uint8_t *from = s->data + (s->across ? first : first * s->stride);
    const int8_t *codes = (const int8_t *)from;

    if (s->across && s->is_signed) {
        k->s8_s16_pack_cols(codes, depth, lines, s->stride, s->zero, width, to, panel);
    } else if (s->across) {
        k->u8_s16_pack_cols(from, depth, lines, s->stride, s->zero, width, to, panel);
    } else if (s->is_signed) {
        k->s8_s16_pack_rows(codes, lines, depth, s->stride, s->zero, width, to, panel);
    } else {
        k->u8_s16_pack_rows(from, lines, depth, s->stride, s->zero, width, to, panel);
    }
    if (s->zeros != NULL) {
        shift_lines(s->zeros + first, lines, depth, width, to);
    }
}

void vqc_int_pack(const vqc_int_source *source, size_t lines, size_t depth, size_t width,
                  int threads, int16_t *packed)
{
    const bool parallel = threads > 1 && lines > PACK_LINES && lines * depth > PARALLEL_MACS;

    (void)parallel;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) if (parallel)
#endif
    for (size_t first = 0; first < lines; first += PACK_LINES) {
        pack_lines(source, first, lines - first < PACK_LINES ? lines - first : PACK_LINES, depth,
                   width, packed);
    }
}

size_t vqc_int_scratch_bytes(int threads)
{
    return (size_t)(threads < 1 ? 1 : threads) * VQC_INT_BLOCK_ROWS * VQC_INT_BLOCK_COLS *
           sizeof(int32_t);
}

/* Rows whose scale has a factor of their own: one at a time, with the products as scales. */
static void finish_row(const vqc_int_result *result, const int32_t *sums, size_t r, size_t c0,
                       size_t cols)
{
    vqc_int_result one = *result;
    float scale[VQC_INT_BLOCK_COLS];

    one.scale_2 = NULL;
    for (size_t done = 0; done < cols; done += VQC_INT_BLOCK_COLS) {
        size_t n = cols - done < VQC_INT_BLOCK_COLS ? cols - done : VQC_INT_BLOCK_COLS;
        size_t size = result->kind == VQC_INT_FLOATS ? sizeof(float) : 1;

        for (size_t c = 0; c < n; c++) {
            scale[c] = result->scale_2[r] * result->scale[c0 + done + c] / result->divisor;
        }
        one.data = (char *)result->data + (r * result->stride + c0 + done) * size;
        one.scale = scale;
        one.bias = result->bias == NULL ? NULL : result->bias + c0 + done;
        one.f_bias = result->f_bias == NULL ? NULL : result->f_bias + c0 + done;
        vqc_int_finish(&one, sums + done, n, 0, 1, 0, n);
    }
}

void vqc_int_finish(const vqc_int_result *result, const int32_t *sums, size_t stride, size_t r0,
                    size_t rows, size_t c0, size_t cols)
{
    const vqc_kernels *k = vqc_kernels_get();
    size_t at = r0 * result->stride + c0;
    size_t parameter = result->by_row ? r0 : c0;
    const int32_t *bias = result->bias == NULL ? NULL : result->bias + parameter;

    if (result->kind == VQC_INT_SUMS) {
        for (size_t r = 0; r < rows; r++) {
            memcpy((int32_t *)result->data + at + r * result->stride, sums + r * stride,
                   cols * sizeof *sums);
        }
        return;
    }
    if (result->scale_2 != NULL) {
        for (size_t r = 0; r < rows; r++) {
            finish_row(result, sums + r * stride, r0 + r, c0, cols);
        }
        return;
    }
    if (result->kind == VQC_INT_FLOATS) {
        k->s32_f32_scale_cols(sums, rows, cols, stride, result->scale + c0,
                              result->f_bias == NULL ? NULL : result->f_bias + c0,
                              (float *)result->data + at, result->stride);
    } else if (result->is_signed && result->by_row) {
        k->s32_s8_requantize_rows(sums, rows, cols, stride, bias, result->scale + parameter,
                                  result->zero_point, (int8_t *)result->data + at, result->stride);
    } else if (result->is_signed) {
        k->s32_s8_requantize_cols(sums, rows, cols, stride, bias, result->scale + parameter,
                                  result->zero_point, (int8_t *)result->data + at, result->stride);
    } else if (result->by_row) {
        k->s32_u8_requantize_rows(sums, rows, cols, stride, bias, result->scale + parameter,
                                  result->zero_point, (uint8_t *)result->data + at, result->stride);
    } else {
        k->s32_u8_requantize_cols(sums, rows, cols, stride, bias, result->scale + parameter,
                                  result->zero_point, (uint8_t *)result->data + at, result->stride);
    }
}

/* One block of the result, all depths; `sums` holds a block. */
static void product_block(const int16_t *left, const int16_t *right, size_t r0, size_t rows,
                          size_t c0, size_t cols, size_t depth, const vqc_int_result *result,
                          int32_t *sums)
{
    const vqc_kernels *k = vqc_kernels_get();
    size_t left_panel = vqc_int_panel(depth, VQC_INT_ROWS);
    size_t right_panel = vqc_int_panel(depth, VQC_INT_COLS);
    size_t stride = VQC_INT_BLOCK_COLS;
    size_t pairs = (depth + 1) / 2;

    left += r0 / VQC_INT_ROWS * left_panel;
    right += c0 / VQC_INT_COLS * right_panel;
    if (result->kind == VQC_INT_SUMS) {
        sums = (int32_t *)result->data + r0 * result->stride + c0;
        stride = result->stride;
    }
    for (size_t p = 0; p < pairs || p == 0; p += VQC_INT_BLOCK_DEPTH / 2) {
        size_t n = pairs - p < VQC_INT_BLOCK_DEPTH / 2 ? pairs - p : VQC_INT_BLOCK_DEPTH / 2;

        k->s16_s32_gemm(left + p * 2 * VQC_INT_ROWS, left_panel, right + p * 2 * VQC_INT_COLS,
                        right_panel, rows, cols, n, p > 0, sums, stride);
    }
    if (result->kind != VQC_INT_SUMS) {
        vqc_int_finish(result, sums, stride, r0, rows, c0, cols);
    }
}

void vqc_int_product(const int16_t *left, const int16_t *right, size_t rows, size_t cols,
                     size_t depth, const vqc_int_result *result, int threads, void *scratch)
{
    size_t down = (rows + VQC_INT_BLOCK_ROWS - 1) / VQC_INT_BLOCK_ROWS;
    size_t across = (cols + VQC_INT_BLOCK_COLS - 1) / VQC_INT_BLOCK_COLS;
    const bool parallel =
        threads > 1 && down * across > 1 && rows * cols * (depth + 1) > PARALLEL_MACS;

    (void)parallel;
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (parallel)
#endif
    for (size_t b = 0; b < down * across; b++) {
        size_t r0 = b % down * VQC_INT_BLOCK_ROWS;
        size_t c0 = b / down * VQC_INT_BLOCK_COLS;
        int32_t *sums = scratch;

#ifdef _OPENMP
        sums += (size_t)omp_get_thread_num() * VQC_INT_BLOCK_ROWS * VQC_INT_BLOCK_COLS;
#endif
        product_block(
            left, right, r0, rows - r0 < VQC_INT_BLOCK_ROWS ? rows - r0 : VQC_INT_BLOCK_ROWS, c0,
            cols - c0 < VQC_INT_BLOCK_COLS ? cols - c0 : VQC_INT_BLOCK_COLS, depth, result, sums);
    }
}
