/*
 * Arguments of the matrix product kernels.
 *
 * - f32_gemm: C [m, n] = finish(chain over p = 0 .. k-1 of c = fma(A[i, p], B[p, j], c)). Each
 *   output element is one chain of fused multiply-adds in increasing p, so the result bits are the
 *   same on every ISA, and for a long k cut into calls that continue from C.
 * - f32_gemm_rows: rows of A that the ISA's largest tile takes at a time; block.mr of at most this
 *   is fast, any mr >= 1 works.
 * - f32_taps: out[i] = finish(chain over t = 0 .. taps-1 of fma(weight[t], x[i + offset[t]], c)):
 *   depthwise and grouped convolutions over planes that are padded beforehand.
 * - f32_gemm_pack: x [rows, cols] to panels of `width` columns: out[j / width][row][j % width],
 *   the last panel filled up with zeros: [ceil(cols / width) * rows * width].
 *
 * - f32_copy_rows: out[i * out_stride + j] = x[i * x_stride + j * x_step], x_step >= 1: planes
 *   with padding around them or without, phases of strided convolutions.
 * - f32_gemm_gather: one panel of B from where its elements lie, see vqc_gemm_gather: the columns
 *   of a convolution over planes that are padded beforehand.
 *
 * Pointers are aligned to 4 bytes. finish: c + residual when there is one, then the clamp, which
 * keeps NaN and takes the limit on a tie: c = lo > c ? lo : c, then hi < c ? hi : c.
 */
#ifndef VQC_KERNELS_GEMM_TYPES_H
#define VQC_KERNELS_GEMM_TYPES_H

#include <stdbool.h>
#include <stddef.h>

enum {
    VQC_GEMM_COLS = 16,    /* columns of a panel of B */
    VQC_GEMM_MAX_ROWS = 12 /* largest f32_gemm_rows */
};

typedef struct vqc_gemm_block {
    size_t m, n, k;
    /*
     * A[i, p] = a[i / mr * a_panel + i % mr * a_row + p * a_step]; a_row or a_step is 1.
     * Packed: a_row 1, a_step mr, a_panel k * mr. Row-major: a_row lda, a_step 1, a_panel mr * lda.
     * Transposed: a_row 1, a_step lda, a_panel mr.
     */
    const float *a;
    size_t mr, a_row, a_step, a_panel;
    /*
     * B[p, j] = b[j / 16 * b_panel + p * b_step + j % 16]. Packed: b_step 16, b_panel k * 16.
     * Row-major: b_step ldb, b_panel 16. All 16 columns of every panel are readable.
     */
    const float *b;
    size_t b_step, b_panel;
    float *c; /* [m, n], rows c_stride apart */
    size_t c_stride;
    bool accumulate;       /* chains start from C, not from the biases */
    const float *row_bias; /* [m] or NULL: start of the chains, 0 without */
    const float *col_bias; /* [n] or NULL; with both: their sum */
    const float *residual; /* [m, n], rows c_stride apart, or NULL */
    bool clamp;
    float lo, hi;
} vqc_gemm_block;

typedef struct vqc_taps_row {
    const float *x;
    const size_t *offset; /* [taps] */
    const float *weight;  /* [taps] */
    size_t taps;
    float bias;
    bool clamp;
    float lo, hi;
    float *out; /* [n] */
    size_t n;
} vqc_taps_row;

/* out[p * 16 + j] = x[offset[p] + start[s] + j - column[s]] with the last piece s that begins at or
 * before column j. For every step and piece 16 elements from x[offset[p] + start[s]] are readable.
 */
typedef struct vqc_gemm_gather {
    const float *x;
    const size_t *offset; /* [k] */
    size_t k;
    const size_t *start;  /* [pieces] */
    const size_t *column; /* [pieces] 0 = column[0] < column[1] < ... < 16 */
    size_t pieces;        /* 1 to 16 */
    float *out;           /* [k][16] */
} vqc_gemm_gather;

#endif
