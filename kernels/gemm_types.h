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
 * - f32_depthwise: out[c][h][w] = finish(chain over kernel rows and columns of fma(weight, x, c))
 *   of up to 8 channels; x is 0 outside of the plane. See vqc_depthwise.
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

enum {
    VQC_DEPTHWISE_CHANNELS = 8,
    VQC_DEPTHWISE_TAPS = 128,  /* at most kernel_h * kernel_w */
    VQC_DEPTHWISE_RING = 64,   /* at most vqc_depthwise_ring */
    VQC_DEPTHWISE_WAITING = 64 /* outputs of a channel that are stored together, or more */
};

/* Channels of a depthwise convolution; the input is zero where a tap lies outside of it. */
typedef struct vqc_depthwise {
    const float *x; /* [channels][in_h][in_w], planes x_plane apart */
    size_t x_plane, in_h, in_w;
    const float *weight; /* [channels][kernel_h][kernel_w] */
    const float *bias;   /* [channels] or NULL */
    size_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w; /* >= 1 */
    size_t pad_top, pad_left;
    float *out; /* [channels][out_h][out_w], planes out_plane apart */
    size_t out_plane, out_h, out_w;
    size_t channels; /* 1 to 8 */
    bool clamp;      /* there is no residual */
    float lo, hi;
    float *scratch; /* [vqc_depthwise_floats] */
} vqc_depthwise;

/* Input rows that the taps of an output row span. */
static inline size_t vqc_depthwise_ring(const vqc_depthwise *d)
{
    return (d->kernel_h - 1) * d->dilation_h + 1;
}

/* Input columns that an output row reads, padding included; out_w > 0. */
static inline size_t vqc_depthwise_pitch(const vqc_depthwise *d)
{
    return (d->out_w - 1) * d->stride_w + (d->kernel_w - 1) * d->dilation_w + 1;
}

/* Weights, a row of zeros, the ring of input rows and outputs, of 8 channels. The caller sees to it
 * that nothing overflows. */
static inline size_t vqc_depthwise_floats(const vqc_depthwise *d)
{
    return VQC_DEPTHWISE_CHANNELS *
           (d->kernel_h * d->kernel_w + (vqc_depthwise_ring(d) + 1) * vqc_depthwise_pitch(d) +
            VQC_DEPTHWISE_WAITING + d->out_w);
}

#endif
