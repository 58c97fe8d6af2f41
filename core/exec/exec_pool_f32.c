/* Pooling of float32 by kernels: first the rows of a window into one row, then along it. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_pool.h"
#include "core/memory.h"
#include "kernels/kernels.h"

enum { THREADS_PAY_FROM = 1 << 18 /* elements read */ };

int64_t vqc_pool_clip(const vqc_pool_window *w, size_t d, int64_t at, int64_t *first, int64_t *last)
{
    int64_t start = at * w->stride[d] - w->begin[d];
    int64_t step = w->dilation[d];
    int64_t area = w->in[d] + w->end[d] > start ? (w->in[d] + w->end[d] - start - 1) / step + 1 : 0;

    *first = start < 0 ? (-start + step - 1) / step : 0;
    *last = w->in[d] > start ? (w->in[d] - start - 1) / step + 1 : 0;
    *last = *last < w->kernel[d] ? *last : w->kernel[d];
    return area < w->kernel[d] ? area : w->kernel[d];
}

/* Columns that the windows of one output row reach, padding included. */
static size_t reach(const vqc_pool_window *w)
{
    size_t d = w->rank - 1;

    return (size_t)((w->out[d] - 1) * w->stride[d] + (w->kernel[d] - 1) * w->dilation[d] + 1);
}

bool vqc_pool_fits_f32(const vqc_pool_window *w)
{
    return (w->rank == 1 || w->rank == 2) && w->out_size > 0 &&
           reach(w) <= 2 * (size_t)w->in[w->rank - 1] + 4096;
}

/* One plane of a window; memory of one thread. */
typedef struct plane_job {
    const vqc_pool_window *w;
    bool is_max, include_pad;
    float *row;     /* [reach] window's rows combined, with padding */
    float *divisor; /* [out width] */
} plane_job;

/* Combines the data rows [first, last) of the window at output row `at` into job->row. */
static void combine_rows(const plane_job *job, const float *plane, int64_t at, int64_t first,
                         int64_t last)
{
    const vqc_pool_window *w = job->w;
    const vqc_kernels *k = vqc_kernels_get();
    size_t width = (size_t)w->in[w->rank - 1];
    size_t begin = (size_t)w->begin[w->rank - 1];
    size_t total = reach(w);
    size_t used = begin >= total ? 0 : width < total - begin ? width : total - begin;
    float nothing = job->is_max ? -INFINITY : 0.0f;

    for (size_t i = 0; i < total; i++) {
        if (i == begin && first < last) {
            i += used;
            if (i >= total) {
                break;
            }
        }
        job->row[i] = nothing;
    }
    for (int64_t r = first; r < last && used > 0; r++) {
        int64_t y = w->rank == 1 ? 0 : at * w->stride[0] - w->begin[0] + r * w->dilation[0];
        const float *from = plane + (size_t)y * width;

        if (r == first) {
            memcpy(job->row + begin, from, used * sizeof *from);
        } else {
            (job->is_max ? k->f32_max : k->f32_add)(job->row + begin, 1, from, 1, used,
                                                    job->row + begin);
        }
    }
}

static void pool_plane(const plane_job *job, const float *plane, float *y)
{
    const vqc_pool_window *w = job->w;
    const vqc_kernels *k = vqc_kernels_get();
    size_t d = w->rank - 1;
    size_t width = (size_t)w->out[d];
    int64_t divided_rows = -1;

    for (int64_t at = 0; at < (w->rank == 1 ? 1 : w->out[0]); at++) {
        float *target = y + (size_t)at * width;
        int64_t first = 0;
        int64_t last = 1;
        int64_t rows = w->rank == 1 ? 1 : vqc_pool_clip(w, 0, at, &first, &last);

        combine_rows(job, plane, at, first, last);
        if (job->is_max) {
            k->f32_max_pool(job->row, width, (size_t)w->kernel[d], (size_t)w->stride[d],
                            (size_t)w->dilation[d], target);
            continue;
        }
        k->f32_sum_pool(job->row, width, (size_t)w->kernel[d], (size_t)w->stride[d],
                        (size_t)w->dilation[d], target);
        rows = job->include_pad ? rows : last > first ? last - first : 0;
        for (size_t i = 0; rows != divided_rows && i < width; i++) {
            int64_t left;
            int64_t right;
            int64_t columns = vqc_pool_clip(w, d, (int64_t)i, &left, &right);

            columns = job->include_pad ? columns : right > left ? right - left : 0;
            job->divisor[i] = rows * columns == 0 ? 1.0f : (float)(rows * columns);
        }
        divided_rows = rows;
        k->f32_div(target, 1, job->divisor, 1, width, target);
    }
}

vqc_status vqc_pool_run_f32(vqc_exec_call *call, const vqc_pool_window *w, bool is_max,
                            bool include_pad, const float *x, float *y)
{
    int threads = call->threads > 1 && w->planes > 1 && w->planes * w->in_size >= THREADS_PAY_FROM
                      ? call->threads
                      : 1;
    size_t per_thread = reach(w) + (size_t)w->out[w->rank - 1] + 32;
    size_t size_bytes;
    float *memory;

    if (!vqc_size_mul(per_thread, (size_t)threads * sizeof *memory, &size_bytes)) {
        return vqc_fail_memory(call->error, size_bytes);
    }
    memory = vqc_exec_scratch(call, size_bytes);
    if (memory == NULL) {
        return VQC_ERR_INTERNAL;
    }
    /* one part of the planes per thread, each with its own memory */
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int part = 0; part < threads; part++) {
        plane_job job = {w, is_max, include_pad, memory + (size_t)part * per_thread, NULL};
        size_t first = w->planes * (size_t)part / (size_t)threads;
        size_t last = w->planes * ((size_t)part + 1) / (size_t)threads;

        job.divisor = job.row + reach(w);
        for (size_t plane = first; plane < last; plane++) {
            pool_plane(&job, x + plane * w->in_size, y + plane * w->out_size);
        }
    }
    return VQC_OK;
}

/* NaN wins, which f32_stats leaves out. */
static float row_maximum(const float *x, size_t length)
{
    vqc_f32_range range = {INFINITY, -INFINITY, 0};

    vqc_kernels_get()->f32_stats(x, length, &range);
    for (size_t i = 0; range.nonfinite > 0 && i < length; i++) {
        float v;
        memcpy(&v, (const char *)x + i * sizeof v, sizeof v);
        if (isnan(v)) {
            return v;
        }
    }
    return range.max;
}

void vqc_pool_rows_f32(const float *x, size_t rows, size_t length, bool is_max, int threads,
                       float *y)
{
    threads = threads > 1 && rows > 1 && rows * length >= THREADS_PAY_FROM ? threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        double squares = 0;

        if (is_max) {
            y[r] = row_maximum(x + r * length, length);
        } else {
            vqc_kernels_get()->f32_sums(x + r * length, length, &sum, &squares);
            y[r] = (float)(sum / (double)length);
        }
    }
}
