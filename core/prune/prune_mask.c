/* Masks of the three patterns from scores. */
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/prune/prune_obs.h"
#include "core/prune/prune_select.h"
#include "kernels/kernels.h"

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t ceil_div(size_t a, size_t b)
{
    return a / b + (a % b != 0 ? 1 : 0);
}

size_t vqc_prune_count(double sparsity, size_t n)
{
    double count = sparsity * (double)n + 0.5;

    return count <= 0.0 ? 0 : count >= (double)n ? n : (size_t)count;
}

size_t vqc_prune_group_keep(const vqc_prune_pattern *pattern, size_t length)
{
    return ceil_div(pattern->keep * length, pattern->of);
}

void vqc_prune_keep_largest(const float *scores, size_t n, size_t keep, uint8_t *mask)
{
    for (size_t i = 0; i < n; i++) {
        size_t larger = 0;
        for (size_t j = 0; j < n; j++) {
            larger += scores[j] > scores[i] || (scores[j] == scores[i] && j < i) ? 1 : 0;
        }
        mask[i] = larger < keep;
    }
}

static void mask_groups(const vqc_prune_job *job, const float *scores, size_t rows, size_t cols,
                        size_t scores_stride, uint8_t *mask, size_t mask_stride)
{
    const vqc_prune_pattern *pattern = &job->request->pattern;

#pragma omp parallel for schedule(static) num_threads(job->threads) if (rows * cols > 65536)
    for (size_t r = 0; r < rows; r++) {
        size_t whole = cols / pattern->of * pattern->of;
        size_t tail = cols - whole;
        vqc_kernels_get()->f32_group_mask(scores + r * scores_stride, whole, pattern->of,
                                          pattern->keep, mask + r * mask_stride);
        vqc_prune_keep_largest(scores + r * scores_stride + whole, tail,
                               vqc_prune_group_keep(pattern, tail), mask + r * mask_stride + whole);
    }
}

/* Mean square of the scores of one block. */
static float block_score(const float *scores, size_t rows, size_t cols, size_t stride)
{
    double sum = 0.0;

    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++) {
            double score = (double)scores[r * stride + c];
            sum += score * score;
        }
    }
    return (float)(sum / (double)(rows * cols));
}

static vqc_status mask_blocks(const vqc_prune_job *job, const float *scores, size_t rows,
                              size_t cols, size_t scores_stride, size_t count, uint8_t *mask,
                              size_t mask_stride, vqc_error *error)
{
    const vqc_prune_pattern *pattern = &job->request->pattern;
    size_t down = ceil_div(rows, pattern->block_rows);
    size_t across = ceil_div(cols, pattern->block_cols);
    float *blocks = calloc(down * across + 1, sizeof *blocks);
    uint8_t *kept = calloc(down * across + 1, 1);

    if (blocks == NULL || kept == NULL) {
        free(blocks);
        free(kept);
        return vqc_fail_memory(error, down * across * sizeof *blocks);
    }
    for (size_t b = 0; b < down * across; b++) {
        size_t r = b / across * pattern->block_rows;
        size_t c = b % across * pattern->block_cols;
        blocks[b] =
            block_score(scores + r * scores_stride + c, min_size(pattern->block_rows, rows - r),
                        min_size(pattern->block_cols, cols - c), scores_stride);
    }
    vqc_prune_lowest(blocks, down * across, min_size(count, down * across), kept);
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++) {
            mask[r * mask_stride + c] =
                kept[r / pattern->block_rows * across + c / pattern->block_cols];
        }
    }
    free(blocks);
    free(kept);
    return VQC_OK;
}

vqc_status vqc_prune_mask(const vqc_prune_job *job, const float *scores, size_t rows, size_t cols,
                          size_t scores_stride, size_t count, uint8_t *mask, size_t mask_stride,
                          vqc_error *error)
{
    const float **lines;
    size_t *lengths;
    vqc_prune_cut cut;

    if (job->request->pattern.kind == VQC_PRUNE_N_OF_M) {
        mask_groups(job, scores, rows, cols, scores_stride, mask, mask_stride);
        return VQC_OK;
    }
    if (job->request->pattern.kind == VQC_PRUNE_BLOCK) {
        return mask_blocks(job, scores, rows, cols, scores_stride, count, mask, mask_stride, error);
    }
    if (scores_stride == cols && mask_stride == cols) {
        vqc_prune_lowest(scores, rows * cols, count, mask);
        return VQC_OK;
    }
    lines = calloc(rows + 1, sizeof *lines);
    lengths = calloc(rows + 1, sizeof *lengths);
    if (lines == NULL || lengths == NULL) {
        free(lines);
        free(lengths);
        return vqc_fail_memory(error, rows * sizeof *lines);
    }
    for (size_t r = 0; r < rows; r++) {
        lines[r] = scores + r * scores_stride;
        lengths[r] = cols;
    }
    cut = vqc_prune_cut_find(lines, lengths, rows, min_size(count, rows * cols));
    for (size_t r = 0; r < rows; r++) {
        vqc_prune_cut_apply(&cut, lines[r], cols, mask + r * mask_stride);
    }
    free(lines);
    free(lengths);
    return VQC_OK;
}
