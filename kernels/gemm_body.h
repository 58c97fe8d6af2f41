/*
 * Matrix product kernels, written once over a vector of 16 float lanes. A gemm_ISA.c file defines
 * the type g16 and g16_zero, g16_set, g16_load, g16_store, g16_load_n, g16_store_n (first n < 16
 * lanes), g16_fma(x, y, z) = x * y + z, g16_add, g16_max(x, y) = x > y ? x : y, g16_min, g16_even
 * (elements 0, 2, ... of x followed by those of y), then
 * GEMM_ROWS (rows of its largest tile, 6 or 12) and KERNEL(name), and includes this file. With
 * GEMM_HALF it defines the type g8 of 8 lanes and g8_set, g8_load, g8_store and g8_fma too.
 *
 * A tile keeps up to 12 rows x 16 columns, or fewer rows x more columns, in registers: named
 * variables, not arrays, because compilers leave indexed arrays of vectors in memory.
 */
#ifndef VQC_KERNELS_GEMM_BODY_H
#define VQC_KERNELS_GEMM_BODY_H

#include "kernels/lanes.h"

#define ROWS_1(X) X(0)
#define ROWS_2(X) ROWS_1(X) X(1)
#define ROWS_3(X) ROWS_2(X) X(2)
#define ROWS_4(X) ROWS_3(X) X(3)
#define ROWS_5(X) ROWS_4(X) X(4)
#define ROWS_6(X) ROWS_5(X) X(5)
#define ROWS_7(X) ROWS_6(X) X(6)
#define ROWS_8(X) ROWS_7(X) X(7)
#define ROWS_9(X) ROWS_8(X) X(8)
#define ROWS_10(X) ROWS_9(X) X(9)
#define ROWS_11(X) ROWS_10(X) X(10)
#define ROWS_12(X) ROWS_11(X) X(11)

/* Where a tile lies and what its block says of it: plain values, because a vector store could
 * change anything behind a pointer and everything would be read again. */
typedef struct gemm_tile {
    const float *a, *b;
    float *c;
    const float *row_bias; /* zeros without a bias */
    const float *col_bias, *residual;
    size_t k, a_row, a_step, a_panel, b_step, b_panel, c_stride;
    bool accumulate, clamp;
    float lo, hi;
} gemm_tile;

/* Tiles of R rows x 1, 2 or 4 whole panels. `row` is the literal 1 for all but row-major A. */
#define DECLARE_1(i) g16 acc_##i;
#define LOAD_1(i) acc_##i = g16_load(c + i * ldc);
#define BIAS_1(i) acc_##i = g16_set(bias[i]);
#define COL_1(i) acc_##i = g16_add(acc_##i, col);
#define STEP_1(i) acc_##i = g16_fma(g16_set(a[i * row]), b0, acc_##i);
#define RESIDUAL_1(i) acc_##i = g16_add(acc_##i, g16_load(residual + i * ldc));
#define CLAMP_1(i) acc_##i = g16_min(hi, g16_max(lo, acc_##i));
#define STORE_1(i) g16_store(c + i * ldc, acc_##i);
#define TILE_1(R)                                                                                  \
    VQC_INLINE void tile_##R##x1_body(const gemm_tile *t, size_t row, size_t step)                 \
    {                                                                                              \
        const float *a = t->a, *b = t->b, *bias = t->row_bias, *residual = t->residual;            \
        float *c = t->c;                                                                           \
        const size_t b_step = t->b_step, ldc = t->c_stride;                                        \
        const bool clamp = t->clamp;                                                               \
        const g16 lo = g16_set(t->lo), hi = g16_set(t->hi);                                        \
        ROWS_##R(DECLARE_1) if (t->accumulate)                                                     \
        {                                                                                          \
            ROWS_##R(LOAD_1)                                                                       \
        }                                                                                          \
        else                                                                                       \
        {                                                                                          \
            ROWS_##R(BIAS_1) if (t->col_bias != NULL)                                              \
            {                                                                                      \
                const g16 col = g16_load(t->col_bias);                                             \
                ROWS_##R(COL_1)                                                                    \
            }                                                                                      \
        }                                                                                          \
        for (size_t p = t->k; p > 0; p--) {                                                        \
            const g16 b0 = g16_load(b);                                                            \
            ROWS_##R(STEP_1) a += step;                                                            \
            b += b_step;                                                                           \
        }                                                                                          \
        if (residual != NULL) {                                                                    \
            ROWS_##R(RESIDUAL_1)                                                                   \
        }                                                                                          \
        if (clamp) {                                                                               \
            ROWS_##R(CLAMP_1)                                                                      \
        }                                                                                          \
        ROWS_##R(STORE_1)                                                                          \
    }                                                                                              \
    TILE_BOTH(R, 1)

#define DECLARE_2(i) g16 acc_##i##_0, acc_##i##_1;
#define LOAD_2(i)                                                                                  \
    acc_##i##_0 = g16_load(c + i * ldc);                                                           \
    acc_##i##_1 = g16_load(c + i * ldc + VQC_GEMM_COLS);
#define BIAS_2(i) acc_##i##_0 = acc_##i##_1 = g16_set(bias[i]);
#define COL_2(i)                                                                                   \
    acc_##i##_0 = g16_add(acc_##i##_0, g16_load(col));                                             \
    acc_##i##_1 = g16_add(acc_##i##_1, g16_load(col + VQC_GEMM_COLS));
#define STEP_2(i)                                                                                  \
    {                                                                                              \
        const g16 x = g16_set(a[i * row]);                                                         \
        acc_##i##_0 = g16_fma(x, b0, acc_##i##_0);                                                 \
        acc_##i##_1 = g16_fma(x, b1, acc_##i##_1);                                                 \
    }
#define RESIDUAL_2(i)                                                                              \
    acc_##i##_0 = g16_add(acc_##i##_0, g16_load(residual + i * ldc));                              \
    acc_##i##_1 = g16_add(acc_##i##_1, g16_load(residual + i * ldc + VQC_GEMM_COLS));
#define CLAMP_2(i)                                                                                 \
    acc_##i##_0 = g16_min(hi, g16_max(lo, acc_##i##_0));                                           \
    acc_##i##_1 = g16_min(hi, g16_max(lo, acc_##i##_1));
#define STORE_2(i)                                                                                 \
    g16_store(c + i * ldc, acc_##i##_0);                                                           \
    g16_store(c + i * ldc + VQC_GEMM_COLS, acc_##i##_1);
#define TILE_2(R)                                                                                  \
    VQC_INLINE void tile_##R##x2_body(const gemm_tile *t, size_t row, size_t step)                 \
    {                                                                                              \
        const float *a = t->a, *b = t->b, *d = b + t->b_panel;                                     \
        const float *bias = t->row_bias, *col = t->col_bias, *residual = t->residual;              \
        float *c = t->c;                                                                           \
        const size_t b_step = t->b_step, ldc = t->c_stride;                                        \
        const bool clamp = t->clamp;                                                               \
        const g16 lo = g16_set(t->lo), hi = g16_set(t->hi);                                        \
        ROWS_##R(DECLARE_2) if (t->accumulate)                                                     \
        {                                                                                          \
            ROWS_##R(LOAD_2)                                                                       \
        }                                                                                          \
        else                                                                                       \
        {                                                                                          \
            ROWS_##R(BIAS_2) if (col != NULL)                                                      \
            {                                                                                      \
                ROWS_##R(COL_2)                                                                    \
            }                                                                                      \
        }                                                                                          \
        for (size_t p = t->k; p > 0; p--) {                                                        \
            const g16 b0 = g16_load(b), b1 = g16_load(d);                                          \
            ROWS_##R(STEP_2) a += step;                                                            \
            b += b_step;                                                                           \
            d += b_step;                                                                           \
        }                                                                                          \
        if (residual != NULL) {                                                                    \
            ROWS_##R(RESIDUAL_2)                                                                   \
        }                                                                                          \
        if (clamp) {                                                                               \
            ROWS_##R(CLAMP_2)                                                                      \
        }                                                                                          \
        ROWS_##R(STORE_2)                                                                          \
    }                                                                                              \
    TILE_BOTH(R, 2)

#define DECLARE_4(i) g16 acc_##i##_0, acc_##i##_1, acc_##i##_2, acc_##i##_3;
#define LOAD_4(i)                                                                                  \
    LOAD_2(i)                                                                                      \
    acc_##i##_2 = g16_load(c + i * ldc + 2 * VQC_GEMM_COLS);                                       \
    acc_##i##_3 = g16_load(c + i * ldc + 3 * VQC_GEMM_COLS);
#define BIAS_4(i) BIAS_2(i) acc_##i##_2 = acc_##i##_3 = acc_##i##_0;
#define COL_4(i)                                                                                   \
    COL_2(i)                                                                                       \
    acc_##i##_2 = g16_add(acc_##i##_2, g16_load(col + 2 * VQC_GEMM_COLS));                         \
    acc_##i##_3 = g16_add(acc_##i##_3, g16_load(col + 3 * VQC_GEMM_COLS));
#define STEP_4(i)                                                                                  \
    {                                                                                              \
        const g16 x = g16_set(a[i * row]);                                                         \
        acc_##i##_0 = g16_fma(x, g16_load(b), acc_##i##_0);                                        \
        acc_##i##_1 = g16_fma(x, g16_load(b + panel), acc_##i##_1);                                \
        acc_##i##_2 = g16_fma(x, g16_load(d), acc_##i##_2);                                        \
        acc_##i##_3 = g16_fma(x, g16_load(d + panel), acc_##i##_3);                                \
    }
#define RESIDUAL_4(i)                                                                              \
    RESIDUAL_2(i)                                                                                  \
    acc_##i##_2 = g16_add(acc_##i##_2, g16_load(residual + i * ldc + 2 * VQC_GEMM_COLS));          \
    acc_##i##_3 = g16_add(acc_##i##_3, g16_load(residual + i * ldc + 3 * VQC_GEMM_COLS));
#define CLAMP_4(i)                                                                                 \
    CLAMP_2(i)                                                                                     \
    acc_##i##_2 = g16_min(hi, g16_max(lo, acc_##i##_2));                                           \
    acc_##i##_3 = g16_min(hi, g16_max(lo, acc_##i##_3));
#define STORE_4(i)                                                                                 \
    STORE_2(i)                                                                                     \
    g16_store(c + i * ldc + 2 * VQC_GEMM_COLS, acc_##i##_2);                                       \
    g16_store(c + i * ldc + 3 * VQC_GEMM_COLS, acc_##i##_3);
#define TILE_4(R)                                                                                  \
    VQC_INLINE void tile_##R##x4_body(const gemm_tile *t, size_t row, size_t step)                 \
    {                                                                                              \
        const size_t panel = t->b_panel, b_step = t->b_step, ldc = t->c_stride;                    \
        const float *a = t->a, *b = t->b, *d = b + 2 * panel;                                      \
        const float *bias = t->row_bias, *col = t->col_bias, *residual = t->residual;              \
        float *c = t->c;                                                                           \
        const bool clamp = t->clamp;                                                               \
        const g16 lo = g16_set(t->lo), hi = g16_set(t->hi);                                        \
        ROWS_##R(DECLARE_4) if (t->accumulate)                                                     \
        {                                                                                          \
            ROWS_##R(LOAD_4)                                                                       \
        }                                                                                          \
        else                                                                                       \
        {                                                                                          \
            ROWS_##R(BIAS_4) if (col != NULL)                                                      \
            {                                                                                      \
                ROWS_##R(COL_4)                                                                    \
            }                                                                                      \
        }                                                                                          \
        for (size_t p = t->k; p > 0; p--) {                                                        \
            ROWS_##R(STEP_4) a += step;                                                            \
            b += b_step;                                                                           \
            d += b_step;                                                                           \
        }                                                                                          \
        if (residual != NULL) {                                                                    \
            ROWS_##R(RESIDUAL_4)                                                                   \
        }                                                                                          \
        if (clamp) {                                                                               \
            ROWS_##R(CLAMP_4)                                                                      \
        }                                                                                          \
        ROWS_##R(STORE_4)                                                                          \
    }                                                                                              \
    TILE_BOTH(R, 4)

/* Two loops: with rows next to each other, and with rows a_row apart and steps next to each other.
 */
#define TILE_BOTH(R, P)                                                                            \
    static void tile_##R##x##P(const gemm_tile *t)                                                 \
    {                                                                                              \
        if (t->a_row == 1)                                                                         \
            tile_##R##x##P##_body(t, 1, t->a_step);                                                \
        else                                                                                       \
            tile_##R##x##P##_body(t, t->a_row, 1);                                                 \
    }

TILE_1(1)
TILE_1(2)
TILE_1(3)
TILE_1(4)
TILE_1(5)
TILE_1(6)
TILE_2(1)
TILE_2(2)
TILE_4(1)
#if GEMM_ROWS == 12
TILE_2(3)
TILE_2(4)
TILE_2(5)
TILE_2(6)
TILE_2(7)
TILE_2(8)
TILE_2(9)
TILE_2(10)
TILE_2(11)
TILE_2(12)
TILE_1(7)
TILE_1(8)
TILE_1(9)
TILE_1(10)
TILE_1(11)
TILE_1(12)
TILE_4(2)
TILE_4(3)
TILE_4(4)
#endif

typedef void tile_fn(const gemm_tile *t);

/* By rows - 1; NULL where the registers do not suffice. */
static tile_fn *const tiles_1[GEMM_ROWS] = {tile_1x1,  tile_2x1, tile_3x1, tile_4x1,
                                            tile_5x1,  tile_6x1,
#if GEMM_ROWS == 12
                                            tile_7x1,  tile_8x1, tile_9x1, tile_10x1,
                                            tile_11x1, tile_12x1
#endif
};
static tile_fn *const tiles_2[GEMM_ROWS] = {tile_1x2,  tile_2x2,
#if GEMM_ROWS == 12
                                            tile_3x2,  tile_4x2, tile_5x2, tile_6x2,
                                            tile_7x2,  tile_8x2, tile_9x2, tile_10x2,
                                            tile_11x2, tile_12x2
#endif
};
static tile_fn *const tiles_4[GEMM_ROWS] = {tile_1x4,
#if GEMM_ROWS == 12
                                            tile_2x4, tile_3x4, tile_4x4
#endif
};

#ifdef GEMM_HALF
/* The first 8 columns of a panel for R rows of each of two panels of A: as many chains as a whole
 * tile, for the end of a block that is not wider. Chains only: what starts and finishes them is in
 * c, see gemm_edge. */
#define LOAD_H(i)                                                                                  \
    g8 acc_##i##_0 = g8_load(c + i * ldc), acc_##i##_1 = g8_load(c + (i + rows) * ldc);
#define STEP_H(i)                                                                                  \
    acc_##i##_0 = g8_fma(g8_set(a[i * row]), b0, acc_##i##_0);                                     \
    acc_##i##_1 = g8_fma(g8_set(d[i * row]), b0, acc_##i##_1);
#define STORE_H(i)                                                                                 \
    g8_store(c + i * ldc, acc_##i##_0);                                                            \
    g8_store(c + (i + rows) * ldc, acc_##i##_1);
#define TILE_H(R)                                                                                  \
    VQC_INLINE void tile_##R##xh_body(const gemm_tile *t, size_t row, size_t step)                 \
    {                                                                                              \
        const float *a = t->a, *b = t->b, *d = a + t->a_panel;                                     \
        float *c = t->c;                                                                           \
        const size_t b_step = t->b_step, ldc = t->c_stride, rows = R;                              \
        ROWS_##R(LOAD_H) for (size_t p = t->k; p > 0; p--)                                         \
        {                                                                                          \
            const g8 b0 = g8_load(b);                                                              \
            ROWS_##R(STEP_H) a += step;                                                            \
            d += step;                                                                             \
            b += b_step;                                                                           \
        }                                                                                          \
        ROWS_##R(STORE_H)                                                                          \
    }                                                                                              \
    TILE_BOTH(R, h)

TILE_H(4)
TILE_H(5)
TILE_H(6)
static tile_fn *const tiles_half[GEMM_ROWS] = {NULL, NULL, NULL, tile_4xh, tile_5xh, tile_6xh};
#endif

/* n floats; short ones by two overlapping moves. */
VQC_INLINE void copy_row(float *to, const float *from, size_t n)
{
    for (; n > 16; n -= 16, to += 16, from += 16)
        g16_store(to, g16_load(from));
    if (n > 8) {
        float head[8], tail[8];
        memcpy(head, from, sizeof head);
        memcpy(tail, from + n - 8, sizeof tail);
        memcpy(to, head, sizeof head);
        memcpy(to + n - 8, tail, sizeof tail);
    } else {
        vqc_copy_short(to, from, n * sizeof *to);
    }
}

/* Most values of an edge: 4 panels x 4 rows or 2 x 12. */
enum { EDGE_FLOATS = 2 * VQC_GEMM_MAX_ROWS * VQC_GEMM_COLS };

/* A tile of `rows` rows of which n columns are in use, not whole panels: the chains run in memory
 * of its own, once as wide as the tile. */
static void gemm_edge(const gemm_tile *tile, tile_fn *run, size_t rows, size_t n)
{
    const size_t wide = (n + VQC_GEMM_COLS - 1) / VQC_GEMM_COLS * VQC_GEMM_COLS;
    float c[EDGE_FLOATS], col[4 * VQC_GEMM_COLS];
    gemm_tile t = *tile;
    for (size_t j = 0; j < wide; j += VQC_GEMM_COLS)
        g16_store(col + j, g16_zero());
    if (t.col_bias != NULL)
        copy_row(col, t.col_bias, n);
    for (size_t i = 0; i < rows; i++) {
        float *to = c + i * wide;
        for (size_t j = 0; j < wide; j += VQC_GEMM_COLS)
            g16_store(to + j, t.col_bias != NULL
                                  ? g16_add(g16_set(t.row_bias[i]), g16_load(col + j))
                                  : g16_set(t.row_bias[i]));
        if (t.accumulate)
            copy_row(to, tile->c + i * t.c_stride, n);
    }
    t.c = c;
    t.c_stride = wide;
    t.accumulate = true;
    t.clamp = false;
    t.residual = NULL;
    run(&t);
    for (size_t i = 0; i < rows; i++) {
        float *from = c + i * wide;
        if (tile->residual != NULL)
            copy_row(col, tile->residual + i * tile->c_stride, n);
        for (size_t j = 0; j < wide && (tile->residual != NULL || tile->clamp);
             j += VQC_GEMM_COLS) {
            g16 acc = g16_load(from + j);
            if (tile->residual != NULL)
                acc = g16_add(acc, g16_load(col + j));
            if (tile->clamp)
                acc = g16_min(g16_set(tile->hi), g16_max(g16_set(tile->lo), acc));
            g16_store(from + j, acc);
        }
        copy_row(tile->c + i * tile->c_stride, from, n);
    }
}

size_t KERNEL(f32_gemm_rows)(void)
{
    return GEMM_ROWS;
}

/* Columns a tile of `rows` rows takes of n. */
VQC_INLINE size_t gemm_tile_cols(size_t rows, size_t n)
{
    if (tiles_4[rows - 1] != NULL && n > 3 * VQC_GEMM_COLS)
        return vqc_min_size(4 * VQC_GEMM_COLS, n);
    return vqc_min_size(tiles_2[rows - 1] != NULL ? 2 * VQC_GEMM_COLS : VQC_GEMM_COLS, n);
}

/* One tile of `rows` rows and n columns. */
VQC_INLINE void gemm_tile_run(const gemm_tile *t, size_t rows, size_t n)
{
    tile_fn *run = n > 2 * VQC_GEMM_COLS ? tiles_4[rows - 1]
                   : n > VQC_GEMM_COLS   ? tiles_2[rows - 1]
                                         : tiles_1[rows - 1];
    if (n % VQC_GEMM_COLS == 0)
        run(t);
    else
        gemm_edge(t, run, rows, n);
}

/* Moves a tile `rows` down; its a is set by the caller. */
VQC_INLINE void gemm_tile_down(gemm_tile *t, const vqc_gemm_block *g, size_t rows)
{
    t->c += rows * t->c_stride;
    t->row_bias += g->row_bias != NULL ? rows : 0; /* else zeros, the same for all */
    t->residual = t->residual != NULL ? t->residual + rows * t->c_stride : NULL;
}

/* Rows [from, to) of n columns, t at their corner, in tiles of at most `tall`. */
static void gemm_strip(const vqc_gemm_block *g, gemm_tile t, size_t from, size_t to, size_t tall,
                       size_t n)
{
    const float *panel = t.a;
    for (size_t i = from; i < to;) {
        const size_t end = vqc_min_size(g->mr, to - i);
        size_t rows;
#ifdef GEMM_HALF
        if (n <= VQC_GEMM_COLS / 2 && g->mr == tall && tiles_half[tall - 1] != NULL &&
            to - i >= 2 * tall) {
            t.a = panel;
            gemm_edge(&t, tiles_half[tall - 1], 2 * tall, n);
            gemm_tile_down(&t, g, 2 * tall);
            panel += 2 * g->a_panel;
            i += 2 * tall;
            continue;
        }
#endif
        for (size_t r = 0; r < end; r += rows) {
            rows = vqc_min_size(tall, end - r);
            t.a = panel + r * g->a_row;
            gemm_tile_run(&t, rows, n);
            gemm_tile_down(&t, g, rows);
        }
        panel += g->a_panel;
        i += end;
    }
}

/* Rows [from, to) in tiles of at most `tall`; from: where a panel of A begins. Columns outside,
 * rows inside: a panel of B stays in the level 1 cache, A comes from level 2. */
static void gemm_rows_of(const vqc_gemm_block *g, size_t from, size_t to, size_t tall)
{
    static const float zeros[VQC_GEMM_MAX_ROWS];
    gemm_tile t = {.k = g->k,
                   .a = g->a + from / g->mr * g->a_panel,
                   .a_row = g->a_row,
                   .a_step = g->a_step,
                   .a_panel = g->a_panel,
                   .b_step = g->b_step,
                   .b_panel = g->b_panel,
                   .c_stride = g->c_stride,
                   .row_bias = g->row_bias != NULL ? g->row_bias + from : zeros,
                   .accumulate = g->accumulate,
                   .clamp = g->clamp,
                   .lo = g->lo,
                   .hi = g->hi};
    for (size_t j = 0; j < g->n;) {
        const size_t cols = gemm_tile_cols(tall, g->n - j);
        const size_t corner = from * g->c_stride + j;
        t.b = g->b + j / VQC_GEMM_COLS * g->b_panel;
        t.c = g->c + corner;
        t.col_bias = g->col_bias != NULL ? g->col_bias + j : NULL;
        t.residual = g->residual != NULL ? g->residual + corner : NULL;
        gemm_strip(g, t, from, to, tall, cols);
        j += cols;
    }
}

/* A few rows at the end have tiles that are wider than those of the others. */
void KERNEL(f32_gemm)(const vqc_gemm_block *g)
{
    const size_t tall = vqc_min_size(vqc_min_size(g->mr, g->m), GEMM_ROWS);
    if (tall == 0)
        return;
    const size_t rest = g->m % g->mr;
    if (rest > 0 && rest < tall && gemm_tile_cols(rest, g->n) > gemm_tile_cols(tall, g->n)) {
        gemm_rows_of(g, 0, g->m - rest, tall);
        gemm_rows_of(g, g->m - rest, g->m, rest);
        return;
    }
    gemm_rows_of(g, 0, g->m, tall);
}

/* ---- taps ---- */

VQC_INLINE g16 taps_clamp(const vqc_taps_row *r, g16 acc)
{
    return r->clamp ? g16_min(g16_set(r->hi), g16_max(g16_set(r->lo), acc)) : acc;
}

/* Outputs [i, i + 16) and up to three more vectors, the last of them at `last`: overlapping outputs
 * are computed twice, which needs no masks. */
#define TAPS_START(q) g16 c##q = g16_set(r->bias);
#define TAPS_STEP(q) c##q = g16_fma(w, g16_load(x + at_##q), c##q);
#define TAPS_FINISH(q) g16_store(r->out + i + at_##q, taps_clamp(r, c##q));
#define TAPS(V, ALL)                                                                               \
    VQC_INLINE void taps_##V(const vqc_taps_row *r, size_t i, size_t last)                         \
    {                                                                                              \
        const size_t at_0 = V > 1 ? 0 : last - i, at_1 = V > 2 ? 16 : last - i,                    \
                     at_2 = V > 3 ? 32 : last - i, at_3 = last - i;                                \
        (void)at_0, (void)at_1, (void)at_2, (void)at_3;                                            \
        ALL(TAPS_START) for (size_t t = 0; t < r->taps; t++)                                       \
        {                                                                                          \
            const g16 w = g16_set(r->weight[t]);                                                   \
            const float *x = r->x + i + r->offset[t];                                              \
            ALL(TAPS_STEP)                                                                         \
        }                                                                                          \
        ALL(TAPS_FINISH)                                                                           \
    }
TAPS(1, ROWS_1)
TAPS(2, ROWS_2)
TAPS(3, ROWS_3)
TAPS(4, ROWS_4)

void KERNEL(f32_taps)(const vqc_taps_row *r)
{
    size_t i = 0;
    if (r->n < 16) {
        g16 c = g16_set(r->bias);
        if (r->n == 0)
            return;
        for (size_t t = 0; t < r->taps; t++)
            c = g16_fma(g16_set(r->weight[t]), g16_load_n(r->x + r->offset[t], r->n), c);
        g16_store_n(r->out, r->n, taps_clamp(r, c));
        return;
    }
    for (; i + 64 <= r->n; i += 64)
        taps_4(r, i, i + 48);
    const size_t rest = r->n - i, last = r->n - 16;
    if (rest > 48)
        taps_4(r, i, last);
    else if (rest > 32)
        taps_3(r, i, last);
    else if (rest > 16)
        taps_2(r, i, last);
    else if (rest > 0)
        taps_1(r, last, last);
}

/* ---- packing ---- */

void KERNEL(f32_copy_rows)(const float *x, size_t rows, size_t cols, size_t x_stride, size_t x_step,
                           float *out, size_t out_stride)
{
    for (size_t i = 0; i < rows; i++, x += x_stride, out += out_stride) {
        size_t j = 0;
        if (x_step == 1) {
            copy_row(out, x, cols);
            continue;
        }
        /* The vector reads one element behind the last that it needs. */
        for (; x_step == 2 && j + 16 < cols; j += 16)
            g16_store(out + j, g16_even(g16_load(x + 2 * j), g16_load(x + 2 * j + 16)));
        for (; j < cols; j++)
            out[j] = x[j * x_step];
    }
}

void KERNEL(f32_gemm_pack)(const float *x, size_t rows, size_t cols, size_t x_stride, size_t width,
                           float *out)
{
    size_t j = 0;
    if (width == VQC_GEMM_COLS)
        for (; j + width <= cols; j += width)
            for (size_t i = 0; i < rows; i++, out += width)
                g16_store(out, g16_load(x + i * x_stride + j));
    for (; j < cols; j += width) {
        const size_t n = vqc_min_size(width, cols - j);
        for (size_t i = 0; i < rows; i++, out += width)
            for (size_t l = 0; l < width; l++)
                out[l] = l < n ? x[i * x_stride + j + l] : 0.0f;
    }
}

/* Panels of rows that are 8 or 4 outputs wide: pieces of a half or a quarter of it. */
VQC_INLINE bool gather_even(const vqc_gemm_gather *g)
{
    const size_t *offset = g->offset, *start = g->start;
    float *out = g->out;
    if (g->pieces == 2 && g->column[1] == 8) {
        const float *x = g->x + start[0], *y = g->x + start[1];
        for (size_t p = 0; p < g->k; p++, out += VQC_GEMM_COLS) {
            g8_store(out, g8_load(x + offset[p]));
            g8_store(out + 8, g8_load(y + offset[p]));
        }
        return true;
    }
    if (g->pieces == 4 && g->column[1] == 4 && g->column[2] == 8 && g->column[3] == 12) {
        const float *x = g->x + start[0], *y = g->x + start[1];
        const float *z = g->x + start[2], *w = g->x + start[3];
        for (size_t p = 0; p < g->k; p++, out += VQC_GEMM_COLS) {
            g8_store(out, g8_load_halves(x + offset[p], y + offset[p]));
            g8_store(out + 8, g8_load_halves(z + offset[p], w + offset[p]));
        }
        return true;
    }
    return false;
}

/* Every piece is moved as a whole vector; what it writes too much the next piece or step replaces.
 */
void KERNEL(f32_gemm_gather)(const vqc_gemm_gather *g)
{
    const size_t *offset = g->offset, *column = g->column, *start = g->start;
    const size_t last = g->k == 0 ? 0 : g->k - 1;
    float *out = g->out;
    float spare[2 * VQC_GEMM_COLS];
    if (g->k == 0)
        return;
    if (g->pieces == 1) {
        const float *x = g->x + start[0];
        for (size_t p = 0; p <= last; p++, out += VQC_GEMM_COLS)
            g16_store(out, g16_load(x + offset[p]));
        return;
    }
    if (gather_even(g))
        return;
    if (g->pieces == 2) {
        const float *x = g->x + start[0], *y = g->x + start[1];
        const size_t at = column[1];
        for (size_t p = 0; p < last; p++, out += VQC_GEMM_COLS) {
            g16_store(out, g16_load(x + offset[p]));
            g16_store(out + at, g16_load(y + offset[p]));
        }
    } else {
        for (size_t p = 0; p < last; p++, out += VQC_GEMM_COLS)
            for (size_t s = 0; s < g->pieces; s++)
                g16_store(out + column[s], g16_load(g->x + offset[p] + start[s]));
    }
    for (size_t s = 0; s < g->pieces; s++)
        g16_store(spare + column[s], g16_load(g->x + offset[last] + start[s]));
    g16_store(out, g16_load(spare));
}

#include "kernels/depthwise_body.h"

#endif
