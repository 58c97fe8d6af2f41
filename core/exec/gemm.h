/*
 * float32 matrix products for everything in core/: packed, cache-blocked, parallel, with bias,
 * residual and activation applied while the result is in cache.
 *
 * Every output element is one chain of fused multiply-adds over k in increasing order, so the bits
 * do not depend on the instruction set, the blocking or the number of threads.
 *
 *     vqc_gemm g = {.m = m, .n = n, .k = k, .c_stride = n, .threads = 1,
 *                   .left = vqc_gemm_left_rows(m, k), .right = vqc_gemm_right_rows(n)};
 *     vqc_gemm_item item = {.a = a, .b = b, .c = c};
 *     float *scratch = malloc(vqc_gemm_scratch_bytes(&g));
 *     g.items = &item, g.item_count = 1;
 *     vqc_gemm_run(&g, scratch);                    C [m, n] = A [m, k] B [k, n]
 *
 * X^T X of X [rows, cols]: m = n = cols, k = rows, left = vqc_gemm_left_columns(cols, cols),
 * right = vqc_gemm_right_rows(cols), a = b = X; g.accumulate adds to what is in C.
 *
 * An operand that is used many times (a weight) is packed once: vqc_gemm_pack_left, _right.
 */
#ifndef VQC_CORE_EXEC_GEMM_H
#define VQC_CORE_EXEC_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "core/exec/activation.h"

/* How A lies in memory; see kernels/gemm_types.h. */
typedef struct vqc_gemm_left {
    size_t mr, row, step, panel;
} vqc_gemm_left;

/* A [m, k] row-major, rows lda apart. */
vqc_gemm_left vqc_gemm_left_rows(size_t m, size_t lda);

/* A [m, k] stored transposed as [k, m], rows of that lda apart. */
vqc_gemm_left vqc_gemm_left_columns(size_t m, size_t lda);

/* A [m, k] packed by vqc_gemm_pack_left. */
vqc_gemm_left vqc_gemm_left_packed(size_t m, size_t k);

/* Bytes of A [m, k] or B [k, n] packed; false when that does not fit into size_t. */
bool vqc_gemm_left_bytes(size_t m, size_t k, size_t *size_bytes);
bool vqc_gemm_right_bytes(size_t k, size_t n, size_t *size_bytes);

/*
 * Packs element (i, p) = a[i * row_stride + p * step_stride] into packed [vqc_gemm_left_bytes].
 * The form belongs to the active instruction set.
 */
void vqc_gemm_pack_left(const float *a, size_t m, size_t k, size_t row_stride, size_t step_stride,
                        float *packed);

/* Packs element (p, j) = b[p * step_stride + j * column_stride] into packed
 * [vqc_gemm_right_bytes]. */
void vqc_gemm_pack_right(const float *b, size_t k, size_t n, size_t step_stride,
                         size_t column_stride, float *packed);

/*
 * Makes a block of B on the way: columns [n0, n0 + n), steps [k0, k0 + k) as panels of 16 columns,
 * [ceil(n / 16)][k][16], unused columns of the last panel finite. b: from the item. n0 is a
 * multiple of 16.
 */
typedef void vqc_gemm_fill_fn(const void *context, const float *b, size_t k0, size_t k, size_t n0,
                              size_t n, float *panels);

typedef enum vqc_gemm_right_form {
    VQC_GEMM_RIGHT_PACKED,
    VQC_GEMM_RIGHT_ROWS,    /* [k, n] row-major */
    VQC_GEMM_RIGHT_COLUMNS, /* stored transposed: [n, k] row-major */
    VQC_GEMM_RIGHT_FILL
} vqc_gemm_right_form;

typedef struct vqc_gemm_right {
    vqc_gemm_right_form form;
    size_t stride;          /* between rows of what is stored */
    vqc_gemm_fill_fn *fill; /* VQC_GEMM_RIGHT_FILL */
    const void *context;
} vqc_gemm_right;

vqc_gemm_right vqc_gemm_right_rows(size_t ldb);
vqc_gemm_right vqc_gemm_right_columns(size_t ldb);
vqc_gemm_right vqc_gemm_right_packed(void);

/* One of several products of the same shape. Borrowed, aligned to 4 bytes. */
typedef struct vqc_gemm_item {
    const float *a;
    const float *b;
    float *c;              /* [m, n], rows c_stride apart; overlaps no input */
    const float *row_bias; /* [m] or NULL */
    const float *col_bias; /* [n] or NULL */
    const float *residual; /* as c, or NULL: added after the chains, before the activation */
} vqc_gemm_item;

typedef struct vqc_gemm {
    size_t m, n, k;
    size_t c_stride;
    vqc_gemm_left left;
    vqc_gemm_right right;
    bool accumulate;       /* chains start from C instead of the biases */
    vqc_epilogue epilogue; /* its residual is not looked at */
    int threads;           /* at most; >= 1 */
    const vqc_gemm_item *items;
    size_t item_count;
} vqc_gemm;

/* Scratch memory that vqc_gemm_run needs, 64-byte aligned preferred. */
size_t vqc_gemm_scratch_bytes(const vqc_gemm *g);

/* Computes all items. scratch: [vqc_gemm_scratch_bytes]. Any of m, n, k may be 0. */
void vqc_gemm_run(const vqc_gemm *g, float *scratch);

#endif
