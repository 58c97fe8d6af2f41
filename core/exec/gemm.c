#include "core/exec/gemm.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/kernels.h"

enum {
    COLS = VQC_GEMM_COLS,
    BLOCK_K = 256, /* a panel of B, 16 KiB, stays in the level 1 cache ... */
    BLOCK_M = 120, /* ... 120 KiB of A and ... */
    BLOCK_N = 256, /* ... 256 KiB of B in level 2 */
    /* A level 1 cache as most processors have it, for reading B where it lies. */
    LINE_FLOATS = 16,
    L1_SETS = 64,
    L1_WAYS = 8,
    DIRECT_PANELS = 12 /* panels of A that read B before packing it pays */
};

/* Products below this many multiply-adds are not worth waking threads. */
#define MIN_PARALLEL_MACS 500000.0

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t ceil_div(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

/*
 * Time of a tile of `rows` rows in tenths of a row of the largest. Fewer rows read as much of B; a
 * tile of fewer than `least` cannot hide the latency of the multiply-adds (two units of four
 * cycles) and takes as long as one of `least`, but for one or two rows, whose tiles are wider:
 * measured 2.5 and 3 rows of six.
 */
static size_t tile_cost(size_t rows, size_t most, size_t least)
{
    if (rows == 0) {
        return 0;
    }
    if (rows <= 2 && most < 12) {
        return 20 + 5 * rows;
    }
    rows = rows < least ? least : rows;
    return 10 * rows + 2 * (most - rows);
}

/* Rows per panel for m rows. */
static size_t panel_rows(size_t m)
{
    const size_t most = vqc_kernels_get()->f32_gemm_rows();
    const size_t least = most >= 12 ? 6 : 4;
    size_t best = most;
    size_t best_cost = SIZE_MAX;

    for (size_t rows = most; rows >= least; rows--) {
        const size_t cost =
            m / rows * tile_cost(rows, most, least) + tile_cost(m % rows, most, least);

        if (cost < best_cost) {
            best = rows;
            best_cost = cost;
        }
    }
    return min_size(best, m > 0 ? m : 1);
}

vqc_gemm_left vqc_gemm_left_rows(size_t m, size_t lda)
{
    const size_t mr = panel_rows(m);

    return (vqc_gemm_left){.mr = mr, .row = lda, .step = 1, .panel = mr * lda};
}

vqc_gemm_left vqc_gemm_left_columns(size_t m, size_t lda)
{
    const size_t mr = panel_rows(m);

    return (vqc_gemm_left){.mr = mr, .row = 1, .step = lda, .panel = mr};
}

vqc_gemm_left vqc_gemm_left_packed(size_t m, size_t k)
{
    const size_t mr = panel_rows(m);

    return (vqc_gemm_left){.mr = mr, .row = 1, .step = mr, .panel = mr * k};
}

vqc_gemm_right vqc_gemm_right_rows(size_t ldb)
{
    return (vqc_gemm_right){.form = VQC_GEMM_RIGHT_ROWS, .stride = ldb};
}

vqc_gemm_right vqc_gemm_right_columns(size_t ldb)
{
    return (vqc_gemm_right){.form = VQC_GEMM_RIGHT_COLUMNS, .stride = ldb};
}

vqc_gemm_right vqc_gemm_right_packed(void)
{
    return (vqc_gemm_right){.form = VQC_GEMM_RIGHT_PACKED};
}

static bool panel_bytes(size_t lines, size_t width, size_t k, size_t *size_bytes)
{
    size_t elements;

    return vqc_size_mul(ceil_div(lines, width), width * sizeof(float), &elements) &&
           vqc_size_mul(elements, k, size_bytes);
}

bool vqc_gemm_left_bytes(size_t m, size_t k, size_t *size_bytes)
{
    return panel_bytes(m, panel_rows(m), k, size_bytes);
}

bool vqc_gemm_right_bytes(size_t k, size_t n, size_t *size_bytes)
{
    return panel_bytes(n, COLS, k, size_bytes);
}

/* Columns [0, n) of element (p, j) = b[p * step + j * column] to panels of `width`. */
static void pack(const float *b, size_t k, size_t n, size_t step, size_t column, size_t width,
                 float *out)
{
    if (column == 1) {
        vqc_kernels_get()->f32_gemm_pack(b, k, n, step, width, out);
        return;
    }
    for (size_t j = 0; j < n; j += width, out += width * k) {
        const size_t count = min_size(width, n - j);

        if (step == 1 && count == width) {
            vqc_kernels_get()->f32_transpose(b + j * column, width, k, column, out, width);
            continue;
        }

        for (size_t l = 0; l < width; l++) {
            const float *from = b + (j + l) * column;

            for (size_t p = 0; p < k; p++) {
                out[p * width + l] = l < count ? from[p * step] : 0.0f;
            }
        }
    }
}

void vqc_gemm_pack_left(const float *a, size_t m, size_t k, size_t row_stride, size_t step_stride,
                        float *packed)
{
    pack(a, k, m, step_stride, row_stride, panel_rows(m), packed);
}

void vqc_gemm_pack_right(const float *b, size_t k, size_t n, size_t step_stride,
                         size_t column_stride, float *packed)
{
    pack(b, k, n, step_stride, column_stride, COLS, packed);
}

/* How a product is cut: tasks are independent, each does whole chains. */
typedef struct cut {
    size_t block_k;
    size_t block_n, n_parts;
    size_t block_m, m_parts; /* rows of a task */
    size_t tasks;
    size_t threads;
    bool direct; /* B is read where it lies */
} cut;

/* Whether 16 columns of `steps` rows that lie `stride` floats apart fit the level 1 cache: rows
 * that are a power of two apart share a few of its sets. */
static bool fits_cache(size_t steps, size_t stride)
{
    size_t sets = L1_SETS;

    if (stride % LINE_FLOATS == 0) {
        for (size_t lines = stride / LINE_FLOATS; lines % 2 == 0 && sets > 1; lines /= 2) {
            sets /= 2;
        }
    }
    return steps <= 2 * sets * L1_WAYS; /* half of it may come from level 2 */
}

/* Packing B pays when many panels of A read what was packed, or when it would not stay in the level
 * 1 cache as it lies. */
static bool reads_in_place(const vqc_gemm *g, size_t block_k)
{
    if (g->right.form != VQC_GEMM_RIGHT_ROWS) {
        return g->right.form == VQC_GEMM_RIGHT_PACKED;
    }
    return g->m <= 2 * g->left.mr ||
           (g->m <= DIRECT_PANELS * g->left.mr && fits_cache(block_k, g->right.stride));
}

static cut plan_cut(const vqc_gemm *g)
{
    const bool flat =
        g->right.form == VQC_GEMM_RIGHT_ROWS || g->right.form == VQC_GEMM_RIGHT_PACKED;
    const double macs = (double)g->m * (double)g->n * (double)g->k * (double)g->item_count;
    cut c = {.threads = g->threads > 1 && macs >= MIN_PARALLEL_MACS ? (size_t)g->threads : 1};
    size_t wanted;

    c.block_k = ceil_div(g->k, g->k > BLOCK_K ? ceil_div(g->k, BLOCK_K) : 1);
    if (flat && g->m <= g->left.mr) {
        c.block_k = g->k; /* B is read once, no cache to save for */
    }
    wanted = ceil_div(c.threads, g->item_count > 0 ? g->item_count : 1);
    c.direct = reads_in_place(g, c.block_k);
    c.block_n = ceil_div(ceil_div(g->n, wanted), COLS) * COLS;
    c.block_n = min_size(c.block_n > 0 ? c.block_n : COLS, BLOCK_N);
    c.n_parts = ceil_div(g->n, c.block_n);
    wanted = ceil_div(wanted, c.n_parts > 0 ? c.n_parts : 1);
    c.block_m = ceil_div(ceil_div(g->m, g->left.mr), wanted) * g->left.mr;
    c.m_parts = c.block_m > 0 ? ceil_div(g->m, c.block_m) : 0;
    c.tasks = c.n_parts * c.m_parts * g->item_count;
    c.threads = min_size(c.threads, c.tasks);
    return c;
}

/* Floats of scratch per thread: one block of B. */
static size_t block_floats(const vqc_gemm *g, const cut *c)
{
    if (c->direct) {
        return g->right.form == VQC_GEMM_RIGHT_PACKED ? 0 : c->block_k * COLS;
    }
    return c->block_k * c->block_n;
}

size_t vqc_gemm_scratch_bytes(const vqc_gemm *g)
{
    const cut c = plan_cut(g);

    return c.threads * block_floats(g, &c) * sizeof(float);
}

static void set_clamp(const vqc_epilogue *epilogue, vqc_gemm_block *block)
{
    block->clamp = epilogue->act == VQC_ACT_RELU || epilogue->act == VQC_ACT_CLIP;
    block->lo = epilogue->act == VQC_ACT_CLIP ? epilogue->alpha : 0.0f;
    block->hi = epilogue->act == VQC_ACT_CLIP ? epilogue->beta : (float)INFINITY;
}

/* Rows [i0, i1) of a block whose B is set; in pieces of A that fit the cache. */
static void run_rows(const vqc_gemm *g, const vqc_gemm_item *item, vqc_gemm_block *block, size_t i0,
                     size_t i1, size_t j, size_t k0)
{
    const bool last = k0 + block->k == g->k;
    const size_t piece = ceil_div(BLOCK_M, g->left.mr) * g->left.mr;

    block->accumulate = g->accumulate || k0 > 0;
    block->col_bias = item->col_bias != NULL ? item->col_bias + j : NULL;
    block->clamp = false;
    if (last) {
        set_clamp(&g->epilogue, block);
    }
    for (size_t i = i0; i < i1; i += piece) {
        block->m = min_size(piece, i1 - i);
        block->a = item->a + i / g->left.mr * g->left.panel + k0 * g->left.step;
        block->c = item->c + i * g->c_stride + j;
        block->row_bias = item->row_bias != NULL ? item->row_bias + i : NULL;
        block->residual =
            last && item->residual != NULL ? item->residual + i * g->c_stride + j : NULL;
        vqc_kernels_get()->f32_gemm(block);
        if (last && !block->clamp && g->epilogue.act != VQC_ACT_NONE) {
            for (size_t r = 0; r < block->m; r++) {
                vqc_activate(&g->epilogue, block->c + r * g->c_stride, block->n);
            }
        }
    }
}

/* Sets B of columns [j, j + n), steps [k0, k0 + k) from where it lies or by packing it. */
static void set_right(const vqc_gemm *g, const vqc_gemm_item *item, const cut *c,
                      vqc_gemm_block *block, size_t j, size_t k0, float *scratch)
{
    const vqc_gemm_right *right = &g->right;

    block->b_step = COLS;
    if (right->form == VQC_GEMM_RIGHT_PACKED) {
        block->b = item->b + j * g->k + k0 * COLS;
        block->b_panel = g->k * COLS;
        return;
    }
    if (c->direct && block->n % COLS == 0) {
        block->b = item->b + k0 * right->stride + j;
        block->b_step = right->stride;
        block->b_panel = COLS;
        return;
    }
    block->b = scratch;
    block->b_panel = block->k * COLS;
    if (right->form == VQC_GEMM_RIGHT_ROWS) {
        pack(item->b + k0 * right->stride + j, block->k, block->n, right->stride, 1, COLS, scratch);
    } else if (right->form == VQC_GEMM_RIGHT_COLUMNS) {
        pack(item->b + j * right->stride + k0, block->k, block->n, 1, right->stride, COLS, scratch);
    } else {
        right->fill(right->context, item->b, k0, block->k, j, block->n, scratch);
    }
}

static void run_task(const vqc_gemm *g, const cut *c, size_t task, float *scratch)
{
    const vqc_gemm_item *item = &g->items[task / (c->n_parts * c->m_parts)];
    const size_t part = task % (c->n_parts * c->m_parts);
    const size_t j0 = part / c->m_parts * c->block_n;
    const size_t j1 = min_size(j0 + c->block_n, g->n);
    const size_t i0 = part % c->m_parts * c->block_m;
    const size_t i1 = min_size(i0 + c->block_m, g->m);
    vqc_gemm_block block = {.mr = g->left.mr,
                            .a_row = g->left.row,
                            .a_step = g->left.step,
                            .a_panel = g->left.panel,
                            .c_stride = g->c_stride};
    size_t k0 = 0;

    do {
        block.k = min_size(c->block_k, g->k - k0);
        for (size_t j = j0; j < j1; j += block.n) {
            block.n = j1 - j;
            /* Whole panels can be read in place, the rest of the last one cannot. */
            if (c->direct && g->right.form == VQC_GEMM_RIGHT_ROWS && block.n > COLS) {
                block.n = block.n / COLS * COLS;
            }
            set_right(g, item, c, &block, j, k0, scratch);
            run_rows(g, item, &block, i0, i1, j, k0);
        }
        k0 += block.k;
    } while (k0 < g->k);
}

void vqc_gemm_run(const vqc_gemm *g, float *scratch)
{
    const cut c = plan_cut(g);
    const size_t floats = block_floats(g, &c);

    if (c.threads <= 1) {
        for (size_t task = 0; task < c.tasks; task++) {
            run_task(g, &c, task, scratch);
        }
        return;
    }
#pragma omp parallel for schedule(static, 1) num_threads((int)c.threads)
    for (size_t thread = 0; thread < c.threads; thread++) {
        /* Neighbouring tasks share B or A: each thread takes a run of them. */
        const size_t end = (thread + 1) * c.tasks / c.threads;

        for (size_t task = thread * c.tasks / c.threads; task < end; task++) {
            run_task(g, &c, task, scratch + thread * floats);
        }
    }
}
