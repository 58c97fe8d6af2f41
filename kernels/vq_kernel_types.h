/*
 * Arguments of the nearest-codeword kernels.
 *
 * f32_nearest: for every point the codeword with the smallest value
 *     v = fma(x[dim-1], f[dim-1], ... fma(x[1], f[1], fma(x[0], f[0], constant))),
 * one chain of fused multiply-adds, so that the bits are the same on every ISA: with f = -2 c and
 * constant = |c|^2 that is the squared distance without |x|^2. The lowest index among equals wins;
 * NaN and infinity never win: when nothing else is there, the code is 0 and the value infinity.
 * f32_nearest_1, _2, _4, _8, _16: the same for that dim, whatever job->dim says.
 */
#ifndef VQC_KERNELS_VQ_KERNEL_TYPES_H
#define VQC_KERNELS_VQ_KERNEL_TYPES_H

#include <stddef.h>
#include <stdint.h>

enum {
    VQC_NEAREST_POINTS = 16,   /* points of a panel */
    VQC_NEAREST_CODEWORDS = 8, /* codewords of a block */
    VQC_NEAREST_MAX_DIM = 64
};

typedef struct vqc_nearest {
    const float *x; /* panels [ceil(n / 16)][dim][16]; all of the last panel is readable */
    size_t n;
    size_t dim; /* 1 .. VQC_NEAREST_MAX_DIM */
    /* blocks [ceil(count / 8)][1 + dim][8]: constants, then factors of each entry. What fills up
     * the last block has constant INFINITY and factors 0. */
    const float *book;
    size_t count;    /* 1 .. 65536 */
    uint16_t *codes; /* [n] */
    float *values;   /* [n] the smallest values, or NULL */
} vqc_nearest;

#endif
