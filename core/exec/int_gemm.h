/*
 * Exact products of 8-bit integer matrices: both operands without their zero points, packed for the
 * kernel s16_s32_gemm (kernels/kernel_list_int.h), sums modulo 2^32.
 *
 * A packed operand consists of panels of W lines: W = VQC_INT_ROWS rows of the left matrix or
 * VQC_INT_COLS columns of the right one. All of a panel's depth lies together.
 */
#ifndef VQC_CORE_EXEC_INT_GEMM_H
#define VQC_CORE_EXEC_INT_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VQC_INT_BLOCK_DEPTH = 512, /* depths per pass over a block: its panels stay in level 1 and 2 */
    VQC_INT_BLOCK_ROWS = 96,
    VQC_INT_BLOCK_COLS = 128
};

/* A matrix of 8-bit codes [lines, depth] in memory. */
typedef struct vqc_int_source {
    const uint8_t *data;
    bool is_signed;
    bool across;          /* a line is a column: element (line, d) is data[d * stride + line] ...
                             else data[line * stride + d] */
    size_t stride;        /* elements between rows in memory */
    int32_t zero;         /* taken off every code; one of the type's values */
    const int32_t *zeros; /* [lines] taken off as well (then zero should be 0), or NULL */
} vqc_int_source;

/* What becomes of the sums [rows, cols]. */
typedef struct vqc_int_result {
    enum {
        VQC_INT_SUMS,  /* int32, as they are */
        VQC_INT_CODES, /* uint8 or int8: requantized */
        VQC_INT_FLOATS /* float32: scaled */
    } kind;
    void *data;
    size_t stride;        /* elements between rows of data */
    bool is_signed;       /* codes */
    bool by_row;          /* scale and bias are [rows], else [cols]; codes only */
    int32_t zero_point;   /* codes */
    const float *scale;   /* codes and floats */
    const int32_t *bias;  /* codes; NULL: none */
    const float *f_bias;  /* floats, [cols]; NULL: none */
    const float *scale_2; /* [rows] or NULL: the scale of element (r, c) is then scale_2[r] *
                             scale[c] / divisor; not with by_row */
    float divisor;
} vqc_int_result;

/* int16 values from one panel of `width` lines to the next. */
size_t vqc_int_panel(size_t depth, size_t width);

/* Bytes of `lines` packed lines; false when that does not fit. */
bool vqc_int_packed_bytes(size_t lines, size_t depth, size_t width, size_t *size_bytes);

/* Packs all lines in panels of `width`. threads: cores that it may use. */
void vqc_int_pack(const vqc_int_source *source, size_t lines, size_t depth, size_t width,
                  int threads, int16_t *packed);

/* Bytes of scratch memory that a product of this size needs: sums of one block per thread. */
size_t vqc_int_scratch_bytes(int threads);

/*
 * left [rows, depth] times right [depth, cols] into result; both packed by vqc_int_pack. scratch:
 * [vqc_int_scratch_bytes(threads)].
 */
void vqc_int_product(const int16_t *left, const int16_t *right, size_t rows, size_t cols,
                     size_t depth, const vqc_int_result *result, int threads, void *scratch);

/* Writes one block of sums [rows, cols] (`stride` apart) from row r0 and column c0 of result on. */
void vqc_int_finish(const vqc_int_result *result, const int32_t *sums, size_t stride, size_t r0,
                    size_t rows, size_t c0, size_t cols);

#endif
