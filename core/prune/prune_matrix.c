#include "core/prune/prune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/prune/prune_obs.h"
#include "core/prune/prune_select.h"
#include "core/vq/cholesky.h"
#include "kernels/kernels.h"

vqc_prune_request vqc_prune_request_default(void)
{
    return (vqc_prune_request){.pattern = {.kind = VQC_PRUNE_UNSTRUCTURED},
                               .score = VQC_PRUNE_SCORE_OBS,
                               .sparsity = 0.5,
                               .compensate = true,
                               .steps = 10,
                               .damping = 0.01,
                               .threads = 1};
}

static vqc_status check_request(const vqc_prune_request *r, const vqc_prune_input *input,
                                size_t rows, vqc_error *error)
{
    const vqc_prune_pattern *p = &r->pattern;
    bool fits = true;

    if (p->kind == VQC_PRUNE_N_OF_M) {
        fits = p->keep >= 1 && p->keep < p->of && p->of <= VQC_PRUNE_MAX_GROUP;
    } else if (p->kind == VQC_PRUNE_BLOCK) {
        fits = p->block_rows >= 1 && p->block_rows <= VQC_PRUNE_MAX_BLOCK && p->block_cols >= 1 &&
               p->block_cols <= VQC_PRUNE_MAX_BLOCK;
    }
    if (!fits) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "pruning: the pattern's sizes are out of range");
    }
    if (r->score == VQC_PRUNE_SCORE_AUTO || input->groups == 0 || rows % input->groups != 0) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "pruning: no score, or groups that do not divide");
    }
    if (input->second == NULL && (r->compensate || r->score == VQC_PRUNE_SCORE_OBS ||
                                  (r->score == VQC_PRUNE_SCORE_WANDA && input->power == NULL))) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "pruning: the score needs the layer's input");
    }
    return VQC_OK;
}

/* ---- scores of the weights as they are ---- */

/* [cols] square roots of E[x^2], or of 1 / [H^-1]_jj: what a column's weights are multiplied by. */
static vqc_status column_factors(const vqc_prune_job *job, const vqc_feedback_metric *metric,
                                 size_t group, float *factors, vqc_error *error)
{
    const vqc_prune_input *input = job->input;
    size_t cols = job->cols;
    const float *second = input->second == NULL ? NULL : input->second + group * cols * cols;
    float *inverse;
    vqc_status status;

    if (job->request->score == VQC_PRUNE_SCORE_WANDA) {
        for (size_t j = 0; j < cols; j++) {
            double power = input->power != NULL ? input->power[group * cols + j]
                                                : (double)second[j * cols + j];
            factors[j] = (float)sqrt(power > 0.0 ? power : 0.0);
        }
        return VQC_OK;
    }
    inverse = calloc(cols * cols + 1, sizeof *inverse);
    if (inverse == NULL) {
        return vqc_fail_memory(error, cols * cols * sizeof *inverse);
    }
    for (size_t j = 0; j < cols; j++) {
        inverse[j * cols + j] = 1.0f;
    }
    status = vqc_cholesky_solve(metric->factor + group * cols * cols, cols, inverse, cols,
                                job->threads, error);
    for (size_t j = 0; j < cols && status == VQC_OK; j++) {
        float diagonal = inverse[j * cols + j];
        factors[j] = diagonal > 0.0f ? 1.0f / sqrtf(diagonal) : 0.0f;
    }
    free(inverse);
    return status;
}

static vqc_status score_matrix(const vqc_prune_job *job, const vqc_feedback_metric *metric,
                               float *scores, vqc_error *error)
{
    size_t group_rows = job->rows / job->input->groups;
    float *factors;
    vqc_status status = VQC_OK;

    if (job->request->score == VQC_PRUNE_SCORE_MAGNITUDE) {
        for (size_t i = 0; i < job->rows * job->cols; i++) {
            scores[i] = fabsf(job->matrix[i]);
        }
        return VQC_OK;
    }
    factors = calloc(job->cols + 1, sizeof *factors);
    if (factors == NULL) {
        return vqc_fail_memory(error, job->cols * sizeof *factors);
    }
    for (size_t g = 0; g < job->input->groups && status == VQC_OK; g++) {
        status = column_factors(job, metric, g, factors, error);
        if (status == VQC_OK) {
            size_t at = g * group_rows * job->cols;
            vqc_kernels_get()->f32_score_cols(job->matrix + at, group_rows, job->cols, job->cols,
                                              factors, scores + at, job->cols);
        }
    }
    free(factors);
    return status;
}

/* Scores of different rows become comparable. */
static void weigh_rows(const vqc_prune_job *job, float *scores)
{
    const float *times = job->request->row_factors;

    for (size_t i = 0; times != NULL && i < job->rows * job->cols; i++) {
        scores[i] *= times[i / job->cols];
    }
}

static vqc_status mask_by_scores(const vqc_prune_job *job, const vqc_feedback_metric *metric,
                                 vqc_error *error)
{
    const vqc_prune_request *request = job->request;
    const vqc_prune_pattern *pattern = &request->pattern;
    size_t rows = job->rows, cols = job->cols;
    size_t count = rows * cols;
    float *scores = malloc(count * sizeof *scores + 1);
    vqc_status status =
        scores == NULL ? vqc_fail_memory(error, count) : score_matrix(job, metric, scores, error);

    if (status == VQC_OK) {
        weigh_rows(job, scores);
    }
    if (pattern->kind == VQC_PRUNE_BLOCK) {
        count = ((rows + pattern->block_rows - 1) / pattern->block_rows) *
                ((cols + pattern->block_cols - 1) / pattern->block_cols);
    }
    if (status == VQC_OK && request->per_row && pattern->kind == VQC_PRUNE_UNSTRUCTURED) {
        size_t gone = 0;
        for (size_t r = 0; r < rows; r++) {
            size_t upto = vqc_prune_count(request->sparsity, (r + 1) * cols);
            vqc_prune_lowest(scores + r * cols, cols, upto - gone < cols ? upto - gone : cols,
                             job->mask + r * cols);
            gone = upto;
        }
    } else if (status == VQC_OK) {
        status = vqc_prune_mask(job, scores, rows, cols, cols,
                                vqc_prune_count(request->sparsity, count), job->mask, cols, error);
    }
    free(scores);
    return status;
}

/* ---- the whole ---- */

/* x = W - e where kept, +0 where not. */
static void write_pruned(const vqc_prune_job *job, const float *e, float *matrix)
{
    for (size_t i = 0; i < job->rows * job->cols; i++) {
        matrix[i] = job->mask[i] == 0 ? 0.0f : e != NULL ? matrix[i] - e[i] : matrix[i];
    }
}

/* tr(E H E^T) / tr(W H W^T); e NULL: what is masked out. */
static vqc_status relative_loss(const vqc_prune_job *job, const vqc_feedback_metric *metric,
                                float *e, double *loss, vqc_error *error)
{
    size_t n = job->rows * job->cols;
    const float *second = metric->cols > 0 ? metric->damped : NULL;
    float *product = malloc(n * sizeof *product + 1);
    vqc_status status = product == NULL ? vqc_fail_memory(error, n * sizeof *product) : VQC_OK;
    double whole, lost;

    if (status == VQC_OK) {
        status = vqc_feedback_product(job->matrix, job->rows, job->cols, job->input->groups, second,
                                      job->threads, product, error);
    }
    if (status == VQC_OK) {
        whole = vqc_feedback_dot(job->matrix, product, job->rows, job->cols);
        status = vqc_feedback_product(e, job->rows, job->cols, job->input->groups, second,
                                      job->threads, product, error);
        if (status == VQC_OK) {
            lost = vqc_feedback_dot(e, product, job->rows, job->cols);
            *loss = whole > 0.0 ? lost / whole : 0.0;
        }
    }
    free(product);
    return status;
}

static vqc_status run(vqc_prune_job *job, float *matrix, double *loss, vqc_error *error)
{
    const vqc_prune_request *request = job->request;
    size_t n = job->rows * job->cols;
    bool compensate = request->compensate;
    bool adaptive = compensate && request->score == VQC_PRUNE_SCORE_OBS;
    vqc_feedback_metric metric = {0};
    float *e = NULL;
    vqc_status status = VQC_OK;

    if (job->input->second != NULL &&
        (compensate || loss != NULL || request->score == VQC_PRUNE_SCORE_OBS)) {
        status = vqc_feedback_metric_create(job->input->second, job->input->groups, job->cols, NULL,
                                            request->damping, job->threads, &metric, error);
    }
    if (status == VQC_OK && !adaptive) {
        status = mask_by_scores(job, &metric, error);
    }
    if (status == VQC_OK && (compensate || loss != NULL)) {
        e = calloc(n + 1, sizeof *e);
        status = e == NULL ? vqc_fail_memory(error, n * sizeof *e) : VQC_OK;
    }
    if (status == VQC_OK && compensate) {
        status = vqc_prune_compensate(job, &metric, adaptive, e, error);
        if (status == VQC_OK && request->steps > 0) {
            status = vqc_prune_refine(job, &metric, request->steps, e, NULL, NULL, error);
        }
    } else if (status == VQC_OK && loss != NULL) {
        for (size_t i = 0; i < n; i++) {
            e[i] = job->mask[i] == 0 ? matrix[i] : 0.0f;
        }
    }
    if (status == VQC_OK && loss != NULL) {
        status = relative_loss(job, &metric, e, loss, error);
    }
    if (status == VQC_OK) {
        write_pruned(job, compensate ? e : NULL, matrix);
    }
    free(e);
    vqc_feedback_metric_destroy(&metric);
    return status;
}

vqc_status vqc_prune_matrix(const vqc_prune_request *request, const vqc_prune_input *input,
                            size_t rows, size_t cols, float *matrix, uint8_t *mask, double *loss,
                            vqc_error *error)
{
    vqc_prune_job job = {.request = request,
                         .input = input,
                         .rows = rows,
                         .cols = cols,
                         .matrix = matrix,
                         .mask = mask,
                         .threads = request->threads > 1 ? request->threads : 1};
    vqc_status status = check_request(request, input, rows, error);

    if (status != VQC_OK) {
        return status;
    }
    if (loss != NULL) {
        *loss = 0.0;
    }
    if (rows == 0 || cols == 0) {
        return VQC_OK;
    }
    if (vqc_kernels_get()->f32_count_nonfinite(matrix, rows * cols) > 0) {
        return vqc_fail(error, VQC_ERR_MODEL, "has NaN or infinite weights");
    }
    return run(&job, matrix, loss, error);
}
