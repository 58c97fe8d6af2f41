/* Matrix product kernels: the reference that defines their result bits. */
#include "kernels/lanes.h"

#define DECLARE(name, family, kind, ret, params) VQC_KERNEL_DECLARE(c, name, ret, params)
VQC_KERNEL_LIST_GEMM(DECLARE)

static float clamp(float c, float lo, float hi)
{
    c = lo > c ? lo : c;
    return hi < c ? hi : c;
}

size_t vqc_f32_gemm_rows__c(void)
{
    return 6;
}

void vqc_f32_gemm__c(const vqc_gemm_block *g)
{
    for (size_t i = 0; i < g->m; i++) {
        const float *a = g->a + i / g->mr * g->a_panel + i % g->mr * g->a_row;
        const float start = g->row_bias != NULL ? g->row_bias[i] : 0.0f;
        for (size_t j = 0; j < g->n; j++) {
            const float *b = g->b + j / VQC_GEMM_COLS * g->b_panel + j % VQC_GEMM_COLS;
            float c = g->col_bias != NULL ? start + g->col_bias[j] : start;
            if (g->accumulate)
                c = g->c[i * g->c_stride + j];
            for (size_t p = 0; p < g->k; p++)
                c = fmaf(a[p * g->a_step], b[p * g->b_step], c);
            if (g->residual != NULL)
                c += g->residual[i * g->c_stride + j];
            g->c[i * g->c_stride + j] = g->clamp ? clamp(c, g->lo, g->hi) : c;
        }
    }
}

void vqc_f32_taps__c(const vqc_taps_row *r)
{
    for (size_t i = 0; i < r->n; i++) {
        float c = r->bias;
        for (size_t t = 0; t < r->taps; t++)
            c = fmaf(r->weight[t], r->x[i + r->offset[t]], c);
        r->out[i] = r->clamp ? clamp(c, r->lo, r->hi) : c;
    }
}

void vqc_f32_copy_rows__c(const float *x, size_t rows, size_t cols, size_t x_stride, size_t x_step,
                          float *out, size_t out_stride)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            out[i * out_stride + j] = x[i * x_stride + j * x_step];
}

void vqc_f32_gemm_pack__c(const float *x, size_t rows, size_t cols, size_t x_stride, size_t width,
                          float *out)
{
    for (size_t j = 0; j < cols; j += width) {
        const size_t n = vqc_min_size(width, cols - j);
        for (size_t i = 0; i < rows; i++, out += width) {
            for (size_t l = 0; l < width; l++)
                out[l] = l < n ? x[i * x_stride + j + l] : 0.0f;
        }
    }
}

void vqc_f32_gemm_gather__c(const vqc_gemm_gather *g)
{
    float *out = g->out;
    for (size_t p = 0; p < g->k; p++) {
        size_t s = 0;
        for (size_t j = 0; j < VQC_GEMM_COLS; j++) {
            if (s + 1 < g->pieces && g->column[s + 1] == j)
                s++;
            *out++ = g->x[g->offset[p] + g->start[s] + j - g->column[s]];
        }
    }
}
