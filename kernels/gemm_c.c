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

static float depthwise_at(const vqc_depthwise *d, size_t c, size_t h, size_t w)
{
    const float *weight = d->weight + c * d->kernel_h * d->kernel_w;
    float sum = d->bias != NULL ? d->bias[c] : 0.0f;
    for (size_t i = 0; i < d->kernel_h; i++) {
        for (size_t k = 0; k < d->kernel_w; k++) {
            const size_t row = h * d->stride_h + i * d->dilation_h;
            const size_t col = w * d->stride_w + k * d->dilation_w;
            const bool inside = row >= d->pad_top && row - d->pad_top < d->in_h &&
                                col >= d->pad_left && col - d->pad_left < d->in_w;
            const float x =
                inside ? d->x[c * d->x_plane + (row - d->pad_top) * d->in_w + col - d->pad_left]
                       : 0.0f;
            sum = fmaf(weight[i * d->kernel_w + k], x, sum);
        }
    }
    return d->clamp ? clamp(sum, d->lo, d->hi) : sum;
}

void vqc_f32_depthwise__c(const vqc_depthwise *d)
{
    for (size_t c = 0; c < d->channels; c++)
        for (size_t h = 0; h < d->out_h; h++)
            for (size_t w = 0; w < d->out_w; w++)
                d->out[c * d->out_plane + h * d->out_w + w] = depthwise_at(d, c, h, w);
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
