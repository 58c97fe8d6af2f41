#include "core/vq/vq_feedback.h"

#include <stdlib.h>
#include <string.h>

#include "core/exec/gemm.h"
#include "core/memory.h"
#include "core/vq/cholesky.h"

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

vqc_status vqc_feedback_metric_create(const float *second, size_t groups, size_t cols,
                                      const size_t *order, double damping, int threads,
                                      vqc_feedback_metric *metric, vqc_error *error)
{
    size_t square, size;

    *metric = (vqc_feedback_metric){.groups = groups, .cols = cols};
    if (!vqc_size_mul(cols, cols, &square) || !vqc_size_mul(square, groups, &size) ||
        !vqc_size_mul(size, sizeof(float), &size)) {
        return vqc_fail_memory(error, SIZE_MAX);
    }
    metric->damped = malloc(size + 1);
    metric->factor = malloc(size + 1);
    if (metric->damped == NULL || metric->factor == NULL) {
        return vqc_fail_memory(error, size);
    }
    for (size_t g = 0; g < groups; g++) {
        const float *from = second + g * square;
        float *damped = metric->damped + g * square;
        double used;
        vqc_status status;

        for (size_t i = 0; i < cols; i++) {
            for (size_t j = 0; j < cols; j++) {
                damped[i * cols + j] =
                    order != NULL ? from[order[i] * cols + order[j]] : from[i * cols + j];
            }
        }
        status = vqc_cholesky_upper(damped, cols, damping, threads, metric->factor + g * square,
                                    &used, error);
        if (status != VQC_OK) {
            return status;
        }
        for (size_t i = 0; i < cols; i++) {
            damped[i * cols + i] = (float)((double)damped[i * cols + i] + used);
        }
    }
    return VQC_OK;
}

void vqc_feedback_metric_destroy(vqc_feedback_metric *metric)
{
    free(metric->damped);
    free(metric->factor);
    *metric = (vqc_feedback_metric){0};
}

/* Rows of a tile: so many that every thread has work, at most VQC_FEEDBACK_TILE. */
static size_t tile_rows(const vqc_feedback_pass *pass)
{
    size_t threads = pass->threads > 1 ? (size_t)pass->threads : 1;
    size_t rows = min_size((pass->rows + threads - 1) / threads, VQC_FEEDBACK_TILE);

    rows = rows > 0 ? rows : 1;
    return (rows + pass->align - 1) / pass->align * pass->align;
}

size_t vqc_feedback_tiles(const vqc_feedback_pass *pass)
{
    size_t rows = tile_rows(pass);

    return (pass->rows + rows - 1) / rows;
}

size_t vqc_feedback_threads(const vqc_feedback_pass *pass)
{
    size_t tiles = vqc_feedback_tiles(pass);
    size_t threads = pass->threads > 1 ? (size_t)pass->threads : 1;

    return tiles > 0 ? min_size(threads, tiles) : 1;
}

/* A thread's memory. */
typedef struct workspace {
    float *sum;   /* [tile rows][VQC_FEEDBACK_PANEL] */
    float *delta; /* [tile rows][VQC_FEEDBACK_PANEL] */
    float *scratch;
} workspace;

/* The product with `rows` rows that makes the sums of panel [col, end). */
static vqc_gemm panel_product(const vqc_feedback_pass *pass, size_t rows, size_t col, size_t end)
{
    return (vqc_gemm){.m = rows,
                      .n = end - col,
                      .k = pass->mode == VQC_FEEDBACK_FIRST ? col : pass->cols,
                      .c_stride = VQC_FEEDBACK_PANEL,
                      .threads = 1,
                      .left = vqc_gemm_left_rows(rows, pass->cols),
                      .right = vqc_gemm_right_rows(pass->cols)};
}

/* Floats of scratch that any panel product of a pass needs: 256 steps of 256 columns at most, or
 * all steps of one panel of columns. */
static size_t scratch_floats(const vqc_feedback_pass *pass)
{
    return ((pass->cols > 256 ? pass->cols : 256) + 1) * 256;
}

/* Rows [*from, *to) of the tile that are in the group of row `from`. */
static size_t group_of(const vqc_feedback_pass *pass, size_t row, size_t *end)
{
    size_t group_rows = pass->rows / pass->metric->groups;
    size_t group = row / group_rows;

    *end = (group + 1) * group_rows;
    return group;
}

static const float *matrix_of(const vqc_feedback_pass *pass, size_t group)
{
    const float *all =
        pass->mode == VQC_FEEDBACK_FIRST ? pass->metric->factor : pass->metric->damped;

    return all + group * pass->cols * pass->cols;
}

/* Sums of rows [row, end) for the columns [col, panel_end). */
static void panel_sums(const vqc_feedback_pass *pass, size_t row, size_t end, size_t col,
                       size_t panel_end, workspace *w)
{
    for (size_t first = row, next; first < end; first = next) {
        const float *from = pass->error_matrix + first * pass->cols;
        float *sum = w->sum + (first - row) * VQC_FEEDBACK_PANEL;

        if (pass->metric == NULL) {
            next = first + 1;
            memset(sum, 0, VQC_FEEDBACK_PANEL * sizeof *sum);
            if (pass->mode == VQC_FEEDBACK_DESCENT) {
                memcpy(sum, from + col, (panel_end - col) * sizeof *sum);
            }
            continue;
        }
        const float *matrix = matrix_of(pass, group_of(pass, first, &next));

        next = min_size(next, end);
        vqc_gemm g = panel_product(pass, next - first, col, panel_end);
        if (g.k == 0) {
            memset(sum, 0, (next - first) * VQC_FEEDBACK_PANEL * sizeof *sum);
            continue;
        }
        vqc_gemm_item item = {.a = from, .b = matrix + col, .c = sum};
        g.items = &item;
        g.item_count = 1;
        vqc_gemm_run(&g, w->scratch);
    }
}

/* sum += delta M for the columns of the panel that are still to be visited (all others in DESCENT
 * would do no harm, but nobody reads them). */
static void spread(const vqc_feedback_pass *pass, const vqc_feedback_visit *v, size_t panel_col,
                   size_t panel_end, workspace *w)
{
    size_t from = v->col + v->width;
    size_t count = panel_end - from;

    for (size_t i = 0; i < v->rows; i++) {
        float *e = pass->error_matrix + (v->row + i) * pass->cols + v->col;
        float *sum = w->sum + i * VQC_FEEDBACK_PANEL + (from - panel_col);
        const float *matrix = NULL;
        size_t unused;

        if (pass->metric != NULL && count > 0) {
            matrix = matrix_of(pass, group_of(pass, v->row + i, &unused)) + from;
        }
        for (size_t j = 0; j < v->width; j++) {
            float delta = v->delta[i * v->width + j];

            if (delta == 0.0f) {
                continue;
            }
            e[j] += delta;
            if (matrix != NULL) {
                const float *line = matrix + (v->col + j) * pass->cols;
#pragma omp simd
                for (size_t c = 0; c < count; c++) {
                    sum[c] += delta * line[c];
                }
            }
        }
    }
}

static void run_tile(const vqc_feedback_pass *pass, size_t tile, size_t thread, workspace *w)
{
    size_t height = tile_rows(pass);
    size_t row = tile * height;
    size_t end = min_size(row + height, pass->rows);

    for (size_t step = 0, last; step < pass->steps; step = last) {
        size_t col = pass->step_first[step];

        last = step + 1;
        while (last < pass->steps && pass->step_first[last + 1] - col <= VQC_FEEDBACK_PANEL) {
            last++;
        }
        panel_sums(pass, row, end, col, pass->step_first[last], w);
        for (size_t s = step; s < last; s++) {
            vqc_feedback_visit v = {.row = row,
                                    .rows = end - row,
                                    .step = s,
                                    .col = pass->step_first[s],
                                    .width = pass->step_first[s + 1] - pass->step_first[s],
                                    .tile = tile,
                                    .thread = thread,
                                    .sum = w->sum + (pass->step_first[s] - col),
                                    .sum_stride = VQC_FEEDBACK_PANEL,
                                    .delta = w->delta};

            pass->visit(pass->context, &v);
            spread(pass, &v, col, pass->step_first[last], w);
        }
    }
}

vqc_status vqc_feedback_run(const vqc_feedback_pass *pass, vqc_error *error)
{
    size_t threads = vqc_feedback_threads(pass);
    size_t tiles = vqc_feedback_tiles(pass);
    size_t panel = tile_rows(pass) * VQC_FEEDBACK_PANEL;
    size_t floats, size;
    float *memory = NULL;

    if (!vqc_size_add(2 * panel, scratch_floats(pass), &floats) ||
        !vqc_size_mul(floats * sizeof *memory, threads, &size) ||
        posix_memalign((void **)&memory, 64, size) != 0) {
        return vqc_fail_memory(error, floats);
    }
#pragma omp parallel for schedule(static, 1) num_threads((int)threads) if (threads > 1)
    for (size_t thread = 0; thread < threads; thread++) {
        float *own = memory + thread * floats;
        workspace w = {.sum = own, .delta = own + panel, .scratch = own + 2 * panel};

        for (size_t tile = thread; tile < tiles; tile += threads) {
            run_tile(pass, tile, thread, &w);
        }
    }
    free(memory);
    return VQC_OK;
}

vqc_status vqc_feedback_product(const float *x, size_t rows, size_t cols, size_t groups,
                                const float *second, int threads, float *result, vqc_error *error)
{
    size_t group_rows = rows / groups;
    vqc_gemm g = {.m = group_rows,
                  .n = cols,
                  .k = cols,
                  .c_stride = cols,
                  .threads = threads > 1 ? threads : 1,
                  .left = vqc_gemm_left_rows(group_rows, cols),
                  .right = vqc_gemm_right_rows(cols)};
    vqc_gemm_item item;
    size_t size;
    float *scratch = NULL;

    if (second == NULL) {
        memcpy(result, x, rows * cols * sizeof *x);
        return VQC_OK;
    }
    g.item_count = 1;
    size = vqc_gemm_scratch_bytes(&g);
    if (posix_memalign((void **)&scratch, 64, size + 64) != 0) {
        return vqc_fail_memory(error, size);
    }
    for (size_t group = 0; group < groups; group++) {
        item = (vqc_gemm_item){.a = x + group * group_rows * cols,
                               .b = second + group * cols * cols,
                               .c = result + group * group_rows * cols};
        g.items = &item;
        vqc_gemm_run(&g, scratch);
    }
    free(scratch);
    return VQC_OK;
}

double vqc_feedback_dot(const float *x, const float *y, size_t rows, size_t cols)
{
    double total = 0.0;

    for (size_t row = 0; row < rows; row++) {
        double sum[4] = {0.0, 0.0, 0.0, 0.0};

        for (size_t j = 0; j < cols; j++) {
            sum[j % 4] += (double)x[row * cols + j] * (double)y[row * cols + j];
        }
        total += sum[0] + sum[1] + (sum[2] + sum[3]);
    }
    return total;
}
