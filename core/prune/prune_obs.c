/* Optimal brain surgeon over the columns of a matrix, and the least squares after it. */
#include "core/prune/prune_obs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/gemm.h"
#include "core/memory.h"

enum { PANEL = 128 };

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- one pass over the columns ---- */

typedef struct obs_pass {
    const vqc_prune_job *job;
    const vqc_feedback_metric *metric;
    bool adaptive;
    float *e;       /* [rows, cols] */
    size_t width;   /* of a panel: a multiple of what the pattern needs */
    float *sum;     /* [rows][width] what the columns before the panel left: e R */
    float *scores;  /* [rows][width], adaptive only */
    float *scratch; /* of the products */
    size_t *counts; /* entries (blocks) of each panel that go; adaptive only */
} obs_pass;

/* N:M groups and blocks must not be cut by a panel. */
static size_t panel_width(const vqc_prune_pattern *pattern, size_t cols)
{
    size_t unit = pattern->kind == VQC_PRUNE_N_OF_M  ? pattern->of
                  : pattern->kind == VQC_PRUNE_BLOCK ? pattern->block_cols
                                                     : 1;
    return min_size(PANEL / unit * unit, cols);
}

static vqc_gemm panel_product(const obs_pass *p, size_t first, size_t width)
{
    size_t group_rows = p->job->rows / p->metric->groups;

    return (vqc_gemm){.m = group_rows,
                      .n = width,
                      .k = first,
                      .c_stride = p->width,
                      .threads = p->job->threads,
                      .left = vqc_gemm_left_rows(group_rows, p->job->cols),
                      .right = vqc_gemm_right_rows(p->job->cols),
                      .item_count = 1};
}

/* sum = e[:, before first] R[before first, panel] */
static void carry(obs_pass *p, size_t first, size_t width)
{
    size_t cols = p->job->cols, group_rows = p->job->rows / p->metric->groups;
    vqc_gemm g = panel_product(p, first, width);

    if (first == 0) {
        memset(p->sum, 0, p->job->rows * p->width * sizeof *p->sum);
        return;
    }
    for (size_t i = 0; i < p->metric->groups; i++) {
        vqc_gemm_item item = {.a = p->e + i * group_rows * cols,
                              .b = p->metric->factor + i * cols * cols + first,
                              .c = p->sum + i * group_rows * p->width};
        g.items = &item;
        vqc_gemm_run(&g, p->scratch);
    }
}

/* Scores of columns [from, to) of the panel, the square roots of what setting one to zero costs
 * now: |w_j| R_jj with the weights as the columns before `from` left them, so those that make up
 * for them best, w_j - e_j with (e R)_j = 0 from column to column. */
static void score_row(const obs_pass *p, size_t row, size_t first, size_t from, size_t to,
                      float *scores)
{
    size_t cols = p->job->cols;
    size_t group = row / (p->job->rows / p->metric->groups);
    const float *factor = p->metric->factor + group * cols * cols;
    const float *w = p->job->matrix + row * cols + first;
    float sum[PANEL];
    const float *rows = p->job->request->row_factors;
    float times = rows != NULL ? rows[row] : 1.0f;

    memcpy(sum + from, p->sum + row * p->width + from, (to - from) * sizeof *sum);
    for (size_t j = from; j < to; j++) {
        const float *line = factor + (first + j) * cols + first;
        float e = -sum[j] / line[j];
        scores[j] = times * fabsf(fmaf(w[j], line[j], sum[j]));
        for (size_t k = j + 1; k < to; k++) {
            sum[k] = fmaf(e, line[k], sum[k]);
        }
    }
}

/* Columns [from, to) of a panel, the mask of which is known: errors, and what they leave behind. */
static void visit_row(const obs_pass *p, size_t row, size_t first, size_t width, size_t from,
                      size_t to)
{
    size_t cols = p->job->cols;
    size_t group = row / (p->job->rows / p->metric->groups);
    const float *factor = p->metric->factor + group * cols * cols;
    const float *w = p->job->matrix + row * cols + first;
    const uint8_t *mask = p->job->mask + row * cols + first;
    float *e = p->e + row * cols + first;
    float *sum = p->sum + row * p->width;

    for (size_t j = from; j < to; j++) {
        const float *line = factor + (first + j) * cols + first;
        e[j] = mask[j] != 0 ? -sum[j] / line[j] : w[j];
        for (size_t k = j + 1; k < width; k++) {
            sum[k] = fmaf(e[j], line[k], sum[k]);
        }
    }
}

/* Blocks (entries) of the panel that the mask takes. */
static size_t count_gone(const vqc_prune_job *job, size_t first, size_t width)
{
    const vqc_prune_pattern *pattern = &job->request->pattern;
    bool blocks = pattern->kind == VQC_PRUNE_BLOCK;
    size_t down = blocks ? pattern->block_rows : 1;
    size_t across = blocks ? pattern->block_cols : 1;
    size_t gone = 0;

    for (size_t r = 0; r < job->rows; r += down) {
        for (size_t c = first; c < first + width; c += across) {
            gone += job->mask[r * job->cols + c] == 0 ? 1 : 0;
        }
    }
    return gone;
}

/* How many of each panel go: as many as would by the scores of the weights as they are, over the
 * whole matrix. Which ones is then for the panel to say. */
static vqc_status share_panels(obs_pass *p, vqc_error *error)
{
    const vqc_prune_job *job = p->job;
    const vqc_prune_pattern *pattern = &job->request->pattern;
    size_t rows = job->rows, cols = job->cols, n = rows * cols;
    float *scores = malloc(n * sizeof *scores + 1);
    vqc_status status;

    p->counts = calloc(cols / p->width + 1, sizeof *p->counts);
    if (scores == NULL || p->counts == NULL) {
        free(scores);
        return vqc_fail_memory(error, n * sizeof *scores);
    }
    for (size_t i = 0; i < n; i++) {
        size_t j = i % cols, group = i / cols / (rows / p->metric->groups);
        scores[i] = fabsf(job->matrix[i] * p->metric->factor[(group * cols + j) * cols + j]);
        scores[i] *= job->request->row_factors != NULL ? job->request->row_factors[i / cols] : 1.0f;
    }
    if (pattern->kind == VQC_PRUNE_BLOCK) {
        n = ((rows + pattern->block_rows - 1) / pattern->block_rows) *
            ((cols + pattern->block_cols - 1) / pattern->block_cols);
    }
    status = vqc_prune_mask(job, scores, rows, cols, cols,
                            vqc_prune_count(job->request->sparsity, n), job->mask, cols, error);
    for (size_t first = 0; first < cols && status == VQC_OK; first += p->width) {
        p->counts[first / p->width] = count_gone(job, first, min_size(p->width, cols - first));
    }
    free(scores);
    return status;
}

static vqc_status choose_panel(obs_pass *p, size_t first, size_t width, vqc_error *error)
{
    size_t rows = p->job->rows, cols = p->job->cols;

#pragma omp parallel for schedule(static) num_threads(p->job->threads) if (rows * width > 65536)
    for (size_t r = 0; r < rows; r++) {
        score_row(p, r, first, 0, width, p->scores + r * p->width);
    }
    return vqc_prune_mask(p->job, p->scores, rows, width, p->width, p->counts[first / p->width],
                          p->job->mask + first, cols, error);
}

static vqc_status visit_panel(obs_pass *p, size_t first, size_t width, vqc_error *error)
{
    const vqc_prune_pattern *pattern = &p->job->request->pattern;
    bool by_group = p->adaptive && pattern->kind == VQC_PRUNE_N_OF_M;
    size_t step = by_group ? pattern->of : width;
    vqc_status status = VQC_OK;

    carry(p, first, width);
    if (p->adaptive && !by_group) {
        status = choose_panel(p, first, width, error);
    }
    if (status != VQC_OK) {
        return status;
    }
#pragma omp parallel for schedule(static)                                                          \
    num_threads(p->job->threads) if (p->job->rows * width > 8192)
    for (size_t r = 0; r < p->job->rows; r++) {
        for (size_t from = 0; from < width; from += step) {
            size_t to = min_size(from + step, width);
            if (by_group) { /* each group sees what the groups before it left */
                float scores[PANEL];
                score_row(p, r, first, from, to, scores);
                vqc_prune_keep_largest(scores + from, to - from,
                                       vqc_prune_group_keep(pattern, to - from),
                                       p->job->mask + r * p->job->cols + first + from);
            }
            visit_row(p, r, first, width, from, to);
        }
    }
    return VQC_OK;
}

vqc_status vqc_prune_compensate(const vqc_prune_job *job, const vqc_feedback_metric *metric,
                                bool adaptive, float *e, vqc_error *error)
{
    obs_pass p = {.job = job, .metric = metric, .adaptive = adaptive, .e = e};
    size_t size, bytes = 64;
    vqc_status status = VQC_OK;

    p.width = panel_width(&job->request->pattern, job->cols);
    for (size_t first = p.width; first < job->cols; first += p.width) {
        vqc_gemm g = panel_product(&p, first, min_size(p.width, job->cols - first));
        size_t needed = vqc_gemm_scratch_bytes(&g);
        bytes = needed > bytes ? needed : bytes;
    }
    if (!vqc_size_mul(job->rows, p.width, &size) || !vqc_size_mul(size, sizeof(float), &size)) {
        return vqc_fail_memory(error, SIZE_MAX);
    }
    p.sum = malloc(size + 1);
    p.scores = malloc(adaptive ? size + 1 : 1);
    if (posix_memalign((void **)&p.scratch, 64, bytes) != 0) {
        p.scratch = NULL;
    }
    if (p.sum == NULL || p.scores == NULL || p.scratch == NULL) {
        status = vqc_fail_memory(error, size);
    }
    if (status == VQC_OK && adaptive && job->request->pattern.kind != VQC_PRUNE_N_OF_M) {
        status = share_panels(&p, error);
    }
    for (size_t first = 0; first < job->cols && status == VQC_OK; first += p.width) {
        status = visit_panel(&p, first, min_size(p.width, job->cols - first), error);
    }
    free(p.sum);
    free(p.counts);
    free(p.scores);
    free(p.scratch);
    return status;
}

/* ---- least squares over the kept entries ---- */

typedef struct refinement {
    const vqc_prune_job *job;
    const vqc_feedback_metric *metric;
    float *e;         /* [rows, cols] W - pruned W */
    float *start;     /* [rows, cols] e as it was */
    float *residual;  /* [rows, cols] descent direction of the loss, 0 where pruned */
    float *direction; /* [rows, cols] */
    float *product;   /* [rows, cols] */
    double *rho;      /* [rows] residual . preconditioned residual */
    double *loss;     /* [rows] at the start */
} refinement;

static double dot(const float *x, const float *y, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)y[i];
    }
    return sum;
}

/* Diagonal of H for the row. */
static float diagonal(const refinement *f, size_t row, size_t col)
{
    size_t cols = f->job->cols;
    size_t group = row / (f->job->rows / f->metric->groups);

    return f->metric->damped[group * cols * cols + col * cols + col];
}

/* The first residual and direction from product = e H. */
static void start_row(const refinement *f, size_t row)
{
    size_t cols = f->job->cols;
    const uint8_t *mask = f->job->mask + row * cols;
    const float *product = f->product + row * cols;
    float *residual = f->residual + row * cols;
    float *direction = f->direction + row * cols;
    double rho = 0.0;

    f->loss[row] = dot(f->e + row * cols, product, cols);
    for (size_t j = 0; j < cols; j++) {
        residual[j] = mask[j] != 0 ? product[j] : 0.0f;
        direction[j] = residual[j] / diagonal(f, row, j);
        rho += (double)residual[j] * (double)direction[j];
    }
    f->rho[row] = rho;
}

/* One step along the direction, product = direction H. */
static void step_row(const refinement *f, size_t row)
{
    size_t cols = f->job->cols;
    const uint8_t *mask = f->job->mask + row * cols;
    const float *product = f->product + row * cols;
    float *e = f->e + row * cols;
    float *residual = f->residual + row * cols;
    float *direction = f->direction + row * cols;
    double curvature = dot(direction, product, cols);
    double rho = 0.0;
    float alpha, beta;

    if (!(f->rho[row] > 0.0) || !(curvature > 0.0)) {
        return; /* there already */
    }
    alpha = (float)(f->rho[row] / curvature);
    for (size_t j = 0; j < cols; j++) {
        e[j] = fmaf(-alpha, direction[j], e[j]);
        residual[j] = mask[j] != 0 ? fmaf(-alpha, product[j], residual[j]) : 0.0f;
        rho += (double)residual[j] * (double)(residual[j] / diagonal(f, row, j));
    }
    beta = (float)(rho / f->rho[row]);
    for (size_t j = 0; j < cols; j++) {
        direction[j] = fmaf(beta, direction[j], residual[j] / diagonal(f, row, j));
    }
    f->rho[row] = rho;
}

static vqc_status multiply(const refinement *f, const float *x, vqc_error *error)
{
    return vqc_feedback_product(x, f->job->rows, f->job->cols, f->metric->groups, f->metric->damped,
                                f->job->threads, f->product, error);
}

static vqc_status run_refinement(refinement *f, int steps, double *loss_before, double *loss_after,
                                 vqc_error *error)
{
    size_t rows = f->job->rows, cols = f->job->cols;
    double before = 0.0, after = 0.0;
    vqc_status status = multiply(f, f->e, error);

    memcpy(f->start, f->e, rows * cols * sizeof *f->e);
    for (size_t r = 0; r < rows && status == VQC_OK; r++) {
        start_row(f, r);
    }
    for (int i = 0; i < steps && status == VQC_OK; i++) {
        status = multiply(f, f->direction, error);
        if (status != VQC_OK) {
            break;
        }
#pragma omp parallel for schedule(static) num_threads(f->job->threads) if (rows * cols > 65536)
        for (size_t r = 0; r < rows; r++) {
            step_row(f, r);
        }
    }
    if (status == VQC_OK) {
        status = multiply(f, f->e, error);
    }
    for (size_t r = 0; r < rows && status == VQC_OK; r++) {
        double loss = dot(f->e + r * cols, f->product + r * cols, cols);
        if (!(loss <= f->loss[r])) { /* nothing was left to gain, and rounding lost it */
            memcpy(f->e + r * cols, f->start + r * cols, cols * sizeof *f->e);
            loss = f->loss[r];
        }
        before += f->loss[r];
        after += loss;
    }
    if (loss_before != NULL) {
        *loss_before = before;
    }
    if (loss_after != NULL) {
        *loss_after = after;
    }
    return status;
}

vqc_status vqc_prune_refine(const vqc_prune_job *job, const vqc_feedback_metric *metric, int steps,
                            float *e, double *loss_before, double *loss_after, vqc_error *error)
{
    refinement f = {.job = job, .metric = metric, .e = e};
    size_t size;
    vqc_status status;

    if (!vqc_size_mul(job->rows, job->cols, &size) || !vqc_size_mul(size, sizeof(float), &size)) {
        return vqc_fail_memory(error, SIZE_MAX);
    }
    f.start = malloc(size + 1);
    f.residual = malloc(size + 1);
    f.direction = malloc(size + 1);
    f.product = malloc(size + 1);
    f.rho = calloc(job->rows + 1, sizeof *f.rho);
    f.loss = calloc(job->rows + 1, sizeof *f.loss);
    status = f.start == NULL || f.residual == NULL || f.direction == NULL || f.product == NULL ||
                     f.rho == NULL || f.loss == NULL
                 ? vqc_fail_memory(error, 4 * size)
                 : run_refinement(&f, steps, loss_before, loss_after, error);
    free(f.start);
    free(f.residual);
    free(f.direction);
    free(f.product);
    free(f.rho);
    free(f.loss);
    return status;
}
