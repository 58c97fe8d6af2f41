/*
 * The planes of a group are copied once with their padding and phases (conv_planes.h), then every
 * output channel is a one-dimensional convolution with contiguous loads. Narrow maps (7 x 7) fill
 * vectors across rows; what is computed between the rows is left out when copying to the output.
 */
#include "core/exec/conv_taps.h"

#include <math.h>
#include <string.h>

#include "core/exec/conv_depthwise.h"
#include "core/exec/conv_planes.h"
#include "core/exec/gemm_operand.h"
#include "core/memory.h"
#include "kernels/kernels.h"

enum { ROW_MIN = 32 /* from this output width on rows are computed in place, one by one */ };

/* Multiply-adds below which threads are not woken. */
#define MIN_PARALLEL_MACS 500000.0

typedef struct plane {
    vqc_conv_planes in;
    size_t taps;         /* c * kernel */
    size_t group_floats; /* scratch of a thread: planes of a group, then one output */
} plane;

bool vqc_conv_taps_fit(const vqc_conv *conv)
{
    return conv->group > 1 && conv->m <= 2 && conv->c <= 4;
}

static vqc_status plan_plane(vqc_exec_call *call, const vqc_conv *conv, plane *p)
{
    const vqc_status status = vqc_conv_planes_plan(call, conv, &p->in);
    size_t size_bytes;

    if (status != VQC_OK) {
        return status;
    }
    p->taps = conv->c * conv->taps;
    if (!vqc_size_mul(p->in.plane_floats, conv->c, &p->group_floats) ||
        !vqc_size_add(p->group_floats, p->in.span + 16, &p->group_floats) ||
        !vqc_size_mul(p->group_floats, sizeof(float), &size_bytes)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    p->group_floats = (p->group_floats + 15) / 16 * 16;
    return VQC_OK;
}

/* One output channel from the padded planes; linear: scratch [p->span]. */
static void run_channel(const vqc_conv *conv, const plane *p, vqc_taps_row row, const float *planes,
                        float *linear, float *y)
{
    const size_t width = conv->out[2];
    const bool dense =
        p->in.size[2] == width && (p->in.size[1] == conv->out[1] || conv->out[0] == 1);

    if (dense || width < ROW_MIN) {
        row.x = planes;
        row.n = p->in.span;
        row.out = dense ? y : linear;
        vqc_kernels_get()->f32_taps(&row);
    }
    for (size_t d = 0; !dense && d < conv->out[0]; d++, y += conv->out[1] * width) {
        const size_t at = d * p->in.size[1] * p->in.size[2];

        if (width < ROW_MIN) {
            vqc_kernels_get()->f32_copy_rows(linear + at, conv->out[1], width, p->in.size[2], 1, y,
                                             width);
            continue;
        }
        for (size_t h = 0; h < conv->out[1]; h++) {
            row.x = planes + at + h * p->in.size[2];
            row.n = width;
            row.out = y + h * width;
            vqc_kernels_get()->f32_taps(&row);
        }
    }
}

static void finish(const vqc_epilogue *epilogue, const float *residual, float *y, size_t n)
{
    for (size_t i = 0; residual != NULL && i < n; i++) {
        y[i] += residual[i];
    }
    if (epilogue->act != VQC_ACT_NONE) {
        vqc_activate(epilogue, y, n);
    }
}

/* Group `at` (over images and groups). */
static void run_group(const vqc_exec_call *call, const vqc_conv *conv, const plane *p,
                      const float *weights, const float *x, const float *bias, float *y, size_t at,
                      float *planes)
{
    const vqc_epilogue *epilogue = &call->epilogue;
    const bool clamp = epilogue->residual == NULL &&
                       (epilogue->act == VQC_ACT_RELU || epilogue->act == VQC_ACT_CLIP);
    const size_t group = at % conv->group;

    vqc_conv_planes_copy(conv, &p->in, x + at * conv->c * conv->in_size, conv->c, planes);
    for (size_t i = 0; i < conv->m; i++) {
        const size_t channel = group * conv->m + i;
        const size_t to = (at * conv->m + i) * conv->out_size;
        const vqc_taps_row row = {.offset = p->in.offset,
                                  .weight = weights + channel * p->taps,
                                  .taps = p->taps,
                                  .bias = bias != NULL ? bias[channel] : 0.0f,
                                  .clamp = clamp,
                                  .lo = epilogue->act == VQC_ACT_CLIP ? epilogue->alpha : 0.0f,
                                  .hi = epilogue->act == VQC_ACT_CLIP ? epilogue->beta
                                                                      : (float)INFINITY};

        run_channel(conv, p, row, planes, planes + conv->c * p->in.plane_floats, y + to);
        if (!clamp) {
            finish(epilogue, epilogue->residual != NULL ? epilogue->residual + to : NULL, y + to,
                   conv->out_size);
        }
    }
}

vqc_status vqc_conv_taps(vqc_exec_call *call, const vqc_conv *conv, const float *weights,
                         const float *x, const float *bias, float *y)
{
    const size_t count = conv->n * conv->group;
    const double macs = (double)count * (double)conv->m * (double)conv->out_size * (double)conv->c *
                        (double)conv->taps;
    size_t threads = call->threads > 1 && macs >= MIN_PARALLEL_MACS ? (size_t)call->threads : 1;
    size_t size_bytes;
    plane p;
    float *scratch;
    vqc_status status;

    if (count == 0 || conv->out_size == 0) {
        return VQC_OK;
    }
    if (vqc_conv_depthwise_fits(conv)) {
        return vqc_conv_depthwise(call, conv, weights, x, bias, y);
    }
    status = plan_plane(call, conv, &p);
    if (status != VQC_OK) {
        return status;
    }
    threads = threads < count ? threads : count;
    if (!vqc_size_mul(p.group_floats * sizeof *scratch, threads, &size_bytes)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    scratch = vqc_exec_scratch(call, size_bytes);
    if (scratch == NULL) {
        return vqc_operand_failed(call);
    }
#pragma omp parallel for schedule(static, 1) num_threads((int)threads) if (threads > 1)
    for (size_t thread = 0; thread < threads; thread++) {
        const size_t end = (thread + 1) * count / threads;

        memset(scratch + thread * p.group_floats, 0, conv->c * p.in.plane_floats * sizeof *scratch);
        for (size_t at = thread * count / threads; at < end; at++) {
            run_group(call, conv, &p, weights, x, bias, y, at, scratch + thread * p.group_floats);
        }
    }
    return VQC_OK;
}
