#include "core/exec/exec_norm_f32.h"

#include <math.h>

#include "kernels/kernels.h"

enum { THREADS_PAY_FROM = 1 << 17 /* elements */ };

static int threads_for(int threads, size_t elements)
{
    return threads > 1 && elements >= THREADS_PAY_FROM ? threads : 1;
}

void vqc_norm_channels_f32(const float *x, vqc_axis_span span, const float *factor,
                           const float *shift, int threads, float *y)
{
    const vqc_kernels *k = vqc_kernels_get();
    bool by_row = span.inner == 1; /* [N, C]: a vector of channels at a time */
    size_t items = by_row ? span.outer : span.outer * span.length;

    threads = threads_for(threads, span.outer * span.length * span.inner);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (size_t i = 0; i < items; i++) {
        if (by_row) {
            k->f32_normalize(x + i * span.length, span.length, 0.0f, 1.0f, factor, shift,
                             y + i * span.length);
        } else {
            k->f32_scale_shift(x + i * span.inner, span.inner, factor[i % span.length],
                               shift[i % span.length], y + i * span.inner);
        }
    }
}

void vqc_norm_rows_f32(const float *x, size_t outer, size_t length, bool centered, double epsilon,
                       const float *scale, const float *bias, int threads, double *mean,
                       double *inverse, float *y)
{
    const vqc_kernels *k = vqc_kernels_get();

    threads = threads_for(threads, outer * length);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (size_t o = 0; o < outer; o++) {
        const float *row = x + o * length;
        double variance = 0;

        if (centered) {
            k->f32_mean_variance(row, length, &mean[o], &variance);
        } else {
            double sum = 0;
            k->f32_sums(row, length, &sum, &variance);
            variance /= (double)length;
            mean[o] = 0;
        }
        inverse[o] = 1 / sqrt(variance + epsilon);
        k->f32_normalize(row, length, (float)mean[o], (float)inverse[o], scale, bias,
                         y + o * length);
    }
}

void vqc_norm_groups_f32(const float *x, vqc_axis_span span, size_t groups, bool by_group,
                         double epsilon, const double *scale, const double *bias, int threads,
                         float *y)
{
    const vqc_kernels *k = vqc_kernels_get();
    size_t channels = groups == 0 ? 0 : span.length / groups;
    size_t size = channels * span.inner;

    threads = threads_for(threads, span.outer * span.length * span.inner);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (size_t g = 0; g < span.outer * groups; g++) {
        double mean = 0;
        double variance = 0;

        k->f32_mean_variance(x + g * size, size, &mean, &variance);
        for (size_t c = 0; c < channels; c++) {
            size_t parameter = by_group ? g % groups : g % groups * channels + c;
            double factor = scale[parameter] / sqrt(variance + epsilon);
            size_t at = g * size + c * span.inner;

            k->f32_scale_shift(x + at, span.inner, (float)factor,
                               (float)(bias[parameter] - mean * factor), y + at);
        }
    }
}
