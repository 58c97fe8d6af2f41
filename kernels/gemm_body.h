/*
 * Matrix product kernels, written once over a vector of 16 float lanes. A gemm_ISA.c file defines
 * the type g16 and g16_zero, g16_set, g16_load, g16_store, g16_load_n, g16_store_n (first n < 16
 * lanes), g16_fma(x, y, z) = x * y + z, g16_add, g16_max(x, y) = x > y ? x : y, g16_min, g16_even
 * (elements 0, 2, ... of x followed by those of y), then
 * GEMM_ROWS (rows of its largest tile, 6 or 12) and KERNEL(name), and includes this file.
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

/* One tile of a block: a, b, c, biases and residual at its corner. */
typedef struct gemm_tile {
    const vqc_gemm_block *g;
    const float *a, *b;
    float *c;
    const float *row_bias, *col_bias, *residual;
    size_t n; /* columns in use */
} gemm_tile;

/* Start of the chains of one row in panel q of the tile, of which n columns are in use. */
VQC_INLINE g16 tile_start(const gemm_tile *t, size_t row, size_t q, size_t n)
{
    if (t->g->accumulate) {
        const float *c = t->c + row * t->g->c_stride + q * VQC_GEMM_COLS;
        return n < VQC_GEMM_COLS ? g16_load_n(c, n) : g16_load(c);
    }
    const g16 start = t->row_bias != NULL ? g16_set(t->row_bias[row]) : g16_zero();
    if (t->col_bias == NULL)
        return start;
    const float *bias = t->col_bias + q * VQC_GEMM_COLS;
    return g16_add(start, n < VQC_GEMM_COLS ? g16_load_n(bias, n) : g16_load(bias));
}

VQC_INLINE void tile_finish(const gemm_tile *t, size_t row, size_t q, size_t n, g16 acc)
{
    const size_t at = row * t->g->c_stride + q * VQC_GEMM_COLS;
    if (t->residual != NULL)
        acc = g16_add(acc, n < VQC_GEMM_COLS ? g16_load_n(t->residual + at, n)
                                             : g16_load(t->residual + at));
    if (t->g->clamp)
        acc = g16_min(g16_set(t->g->hi), g16_max(g16_set(t->g->lo), acc));
    if (n < VQC_GEMM_COLS)
        g16_store_n(t->c + at, n, acc);
    else
        g16_store(t->c + at, acc);
}

VQC_INLINE size_t panel_columns(size_t n, size_t q)
{
    return vqc_min_size(n - q * VQC_GEMM_COLS, VQC_GEMM_COLS);
}

/* Tiles of R rows x 1, 2 or 4 panels. `row` is the literal 1 for all but row-major A. */
#define START_1(i) g16 acc_##i = tile_start(t, i, 0, n0);
#define STEP_1(i) acc_##i = g16_fma(g16_set(a[i * row]), b0, acc_##i);
#define FINISH_1(i) tile_finish(t, i, 0, n0, acc_##i);
#define TILE_1(R)                                                                                  \
    VQC_INLINE void tile_##R##x1_body(const gemm_tile *t, size_t row, size_t step)                 \
    {                                                                                              \
        const float *a = t->a, *b = t->b;                                                          \
        const size_t n0 = t->n, b_step = t->g->b_step;                                             \
        ROWS_##R(START_1) for (size_t p = t->g->k; p > 0; p--)                                     \
        {                                                                                          \
            const g16 b0 = g16_load(b);                                                            \
            ROWS_##R(STEP_1) a += step;                                                            \
            b += b_step;                                                                           \
        }                                                                                          \
        ROWS_##R(FINISH_1)                                                                         \
    }                                                                                              \
    TILE_BOTH(R, 1)

#define START_2(i)                                                                                 \
    g16 acc_##i##_0 = tile_start(t, i, 0, n0);                                                     \
    g16 acc_##i##_1 = tile_start(t, i, 1, n1);
#define STEP_2(i)                                                                                  \
    {                                                                                              \
        const g16 x = g16_set(a[i * row]);                                                         \
        acc_##i##_0 = g16_fma(x, b0, acc_##i##_0);                                                 \
        acc_##i##_1 = g16_fma(x, b1, acc_##i##_1);                                                 \
    }
#define FINISH_2(i)                                                                                \
    tile_finish(t, i, 0, n0, acc_##i##_0);                                                         \
    tile_finish(t, i, 1, n1, acc_##i##_1);
#define TILE_2(R)                                                                                  \
    VQC_INLINE void tile_##R##x2_body(const gemm_tile *t, size_t row, size_t step)                 \
    {                                                                                              \
        const float *a = t->a, *b = t->b, *c = b + t->g->b_panel;                                  \
        const size_t n0 = VQC_GEMM_COLS, n1 = panel_columns(t->n, 1), b_step = t->g->b_step;       \
        ROWS_##R(START_2) for (size_t p = t->g->k; p > 0; p--)                                     \
        {                                                                                          \
            const g16 b0 = g16_load(b), b1 = g16_load(c);                                          \
            ROWS_##R(STEP_2) a += step;                                                            \
            b += b_step;                                                                           \
            c += b_step;                                                                           \
        }                                                                                          \
        ROWS_##R(FINISH_2)                                                                         \
    }                                                                                              \
    TILE_BOTH(R, 2)

#define START_4(i)                                                                                 \
    START_2(i) g16 acc_##i##_2 = tile_start(t, i, 2, n0), acc_##i##_3 = tile_start(t, i, 3, n3);
#define STEP_4(i)                                                                                  \
    {                                                                                              \
        const g16 x = g16_set(a[i * row]);                                                         \
        acc_##i##_0 = g16_fma(x, g16_load(b), acc_##i##_0);                                        \
        acc_##i##_1 = g16_fma(x, g16_load(b + panel), acc_##i##_1);                                \
        acc_##i##_2 = g16_fma(x, g16_load(c), acc_##i##_2);                                        \
        acc_##i##_3 = g16_fma(x, g16_load(c + panel), acc_##i##_3);                                \
    }
#define FINISH_4(i)                                                                                \
    FINISH_2(i)                                                                                    \
    tile_finish(t, i, 2, n0, acc_##i##_2);                                                         \
    tile_finish(t, i, 3, n3, acc_##i##_3);
#define TILE_4(R)                                                                                  \
    VQC_INLINE void tile_##R##x4_body(const gemm_tile *t, size_t row, size_t step)                 \
    {                                                                                              \
        const size_t panel = t->g->b_panel, b_step = t->g->b_step;                                 \
        const float *a = t->a, *b = t->b, *c = b + 2 * panel;                                      \
        const size_t n0 = VQC_GEMM_COLS, n1 = n0, n3 = panel_columns(t->n, 3);                     \
        ROWS_##R(START_4) for (size_t p = t->g->k; p > 0; p--)                                     \
        {                                                                                          \
            ROWS_##R(STEP_4) a += step;                                                            \
            b += b_step;                                                                           \
            c += b_step;                                                                           \
        }                                                                                          \
        ROWS_##R(FINISH_4)                                                                         \
    }                                                                                              \
    TILE_BOTH(R, 4)

/* Two loops: with rows next to each other, and with rows a_row apart and steps next to each other.
 */
#define TILE_BOTH(R, P)                                                                            \
    static void tile_##R##x##P(const gemm_tile *t)                                                 \
    {                                                                                              \
        if (t->g->a_row == 1)                                                                      \
            tile_##R##x##P##_body(t, 1, t->g->a_step);                                             \
        else                                                                                       \
            tile_##R##x##P##_body(t, t->g->a_row, 1);                                              \
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

/* All columns of the rows [i, i + rows) of a panel of A, `panels` panels of B from j on. */
VQC_INLINE void gemm_tile_at(const vqc_gemm_block *g, size_t i, size_t rows, size_t j, size_t cols)
{
    const gemm_tile t = {
        .g = g,
        .a = g->a + i / g->mr * g->a_panel + i % g->mr * g->a_row,
        .b = g->b + j / VQC_GEMM_COLS * g->b_panel,
        .c = g->c + i * g->c_stride + j,
        .row_bias = g->row_bias != NULL ? g->row_bias + i : NULL,
        .col_bias = g->col_bias != NULL ? g->col_bias + j : NULL,
        .residual = g->residual != NULL ? g->residual + i * g->c_stride + j : NULL,
        .n = cols,
    };
    if (cols > 2 * VQC_GEMM_COLS)
        tiles_4[rows - 1](&t);
    else if (cols > VQC_GEMM_COLS)
        tiles_2[rows - 1](&t);
    else
        tiles_1[rows - 1](&t);
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

/* Rows [from, to) in tiles of at most `tall`. Columns outside, rows inside: a panel of B stays in
 * the level 1 cache, A comes from level 2. */
VQC_INLINE void gemm_rows_of(const vqc_gemm_block *g, size_t from, size_t to, size_t tall)
{
    for (size_t j = 0; j < g->n;) {
        const size_t cols = gemm_tile_cols(tall, g->n - j);
        for (size_t i = from; i < to;) {
            const size_t rows = vqc_min_size(vqc_min_size(g->mr - i % g->mr, to - i), tall);
            gemm_tile_at(g, i, rows, j, cols);
            i += rows;
        }
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

#endif
