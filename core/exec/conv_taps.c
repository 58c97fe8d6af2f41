/*
 * The planes of a group are copied once with their padding, for strides above 1 split into phases:
 * phase (a, b) holds the elements of rows a, a + stride, ... and columns b, b + stride, ... Then
 * output element o = (depth, height, width index over the phase's pitch) reads element o + offset
 * of a phase for every tap, with one offset per tap for the whole plane: a one-dimensional
 * convolution with contiguous loads for any kernel, stride and dilation. Narrow maps (7 x 7) fill
 * vectors across rows; what is computed between the rows is left out when copying to the output.
 */
#include "core/exec/conv_taps.h"

#include <math.h>
#include <string.h>

#include "core/exec/gemm_operand.h"
#include "core/memory.h"
#include "kernels/kernels.h"

enum { ROW_MIN = 32 /* from this output width on rows are computed in place, one by one */ };

/* Multiply-adds below which threads are not woken. */
#define MIN_PARALLEL_MACS 500000.0

typedef struct plane {
    size_t size[VQC_CONV_AXES]; /* of a phase */
    size_t phase_floats;
    size_t plane_floats; /* all phases of a channel */
    size_t taps;         /* c * kernel */
    size_t span;         /* elements from the first to the last output of a plane */
    size_t group_floats; /* scratch of a thread: planes of a group, then one output */
    size_t *offset;      /* [taps] */
} plane;

bool vqc_conv_taps_fit(const vqc_conv *conv)
{
    return conv->group > 1 && conv->m <= 2 && conv->c <= 4;
}

static vqc_status plan_plane(vqc_exec_call *call, const vqc_conv *conv, plane *p)
{
    size_t phases = conv->stride[0] * conv->stride[1] * conv->stride[2];
    size_t size_bytes = 0;
    size_t at = 0;

    p->phase_floats = 1;
    for (size_t i = 0; i < VQC_CONV_AXES; i++) {
        const size_t reach = (conv->kernel[i] - 1) * conv->dilation[i];
        const size_t padded = (conv->out[i] - 1) * conv->stride[i] + reach + 1;

        p->size[i] = padded / conv->stride[i] + (padded % conv->stride[i] != 0);
        if (!vqc_size_mul(p->phase_floats, p->size[i], &p->phase_floats)) {
            return vqc_fail_memory(call->error, SIZE_MAX);
        }
    }
    p->taps = conv->c * conv->taps;
    p->span = ((conv->out[0] - 1) * p->size[1] + conv->out[1] - 1) * p->size[2] + conv->out[2];
    if (!vqc_size_mul(p->phase_floats, phases, &p->plane_floats) ||
        !vqc_size_mul(p->plane_floats, conv->c, &p->group_floats) ||
        !vqc_size_add(p->group_floats, p->span + 16, &p->group_floats) ||
        !vqc_size_mul(p->group_floats, sizeof(float), &size_bytes)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    p->group_floats = (p->group_floats + 15) / 16 * 16;
    p->offset = vqc_exec_scratch(call, p->taps * sizeof *p->offset);
    if (p->offset == NULL) {
        return vqc_operand_failed(call);
    }
    for (size_t c = 0; c < conv->c; c++) {
        for (size_t t = 0; t < conv->taps; t++) {
            const size_t k[VQC_CONV_AXES] = {t / conv->kernel[2] / conv->kernel[1],
                                             t / conv->kernel[2] % conv->kernel[1],
                                             t % conv->kernel[2]};
            size_t phase = 0;
            size_t inside = 0;

            for (size_t i = 0; i < VQC_CONV_AXES; i++) {
                const size_t reach = k[i] * conv->dilation[i];

                phase = phase * conv->stride[i] + reach % conv->stride[i];
                inside = inside * p->size[i] + reach / conv->stride[i];
            }
            p->offset[at++] = c * p->plane_floats + phase * p->phase_floats + inside;
        }
    }
    return VQC_OK;
}

/* Phase elements [*from, *to) of an axis that are not padding; element i is input i * stride +
 * phase - pad. */
static void inside(const vqc_conv *conv, const plane *p, size_t axis, size_t phase, size_t *from,
                   size_t *to)
{
    const size_t stride = conv->stride[axis];
    const size_t pad = (size_t)conv->pad[axis];
    const size_t end = conv->in[axis] + pad;
    const size_t first = pad > phase ? (pad - phase + stride - 1) / stride : 0;
    const size_t last = end > phase ? (end - phase + stride - 1) / stride : 0;

    *to = last < p->size[axis] ? last : p->size[axis];
    *from = first < *to ? first : *to;
}

/* Copies what is not padding of c channels x to the planes `out`, whose padding is zero already. */
static void copy_planes(const vqc_conv *conv, const plane *p, const float *x, float *out)
{
    const size_t *stride = conv->stride;
    size_t from[VQC_CONV_AXES], to[VQC_CONV_AXES];

    for (size_t c = 0; c < conv->c; c++, x += conv->in_size) {
        for (size_t a = 0; a < stride[0] * stride[1] * stride[2]; a++, out += p->phase_floats) {
            const size_t phase[VQC_CONV_AXES] = {a / stride[2] / stride[1],
                                                 a / stride[2] % stride[1], a % stride[2]};

            for (size_t i = 0; i < VQC_CONV_AXES; i++) {
                inside(conv, p, i, phase[i], &from[i], &to[i]);
            }
            for (size_t d = from[0]; d < to[0] && to[1] > from[1] && to[2] > from[2]; d++) {
                const size_t in_d = d * stride[0] + phase[0] - (size_t)conv->pad[0];
                const size_t in_h = from[1] * stride[1] + phase[1] - (size_t)conv->pad[1];
                const size_t in_w = from[2] * stride[2] + phase[2] - (size_t)conv->pad[2];

                vqc_kernels_get()->f32_copy_rows(
                    x + (in_d * conv->in[1] + in_h) * conv->in[2] + in_w, to[1] - from[1],
                    to[2] - from[2], stride[1] * conv->in[2], stride[2],
                    out + (d * p->size[1] + from[1]) * p->size[2] + from[2], p->size[2]);
            }
        }
    }
}

/* One output channel from the padded planes; linear: scratch [p->span]. */
static void run_channel(const vqc_conv *conv, const plane *p, vqc_taps_row row, const float *planes,
                        float *linear, float *y)
{
    const size_t width = conv->out[2];
    const bool dense = p->size[2] == width && (p->size[1] == conv->out[1] || conv->out[0] == 1);

    if (dense || width < ROW_MIN) {
        row.x = planes;
        row.n = p->span;
        row.out = dense ? y : linear;
        vqc_kernels_get()->f32_taps(&row);
    }
    for (size_t d = 0; !dense && d < conv->out[0]; d++, y += conv->out[1] * width) {
        const size_t at = d * p->size[1] * p->size[2];

        if (width < ROW_MIN) {
            vqc_kernels_get()->f32_copy_rows(linear + at, conv->out[1], width, p->size[2], 1, y,
                                             width);
            continue;
        }
        for (size_t h = 0; h < conv->out[1]; h++) {
            row.x = planes + at + h * p->size[2];
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

    copy_planes(conv, p, x + at * conv->c * conv->in_size, planes);
    for (size_t i = 0; i < conv->m; i++) {
        const size_t channel = group * conv->m + i;
        const size_t to = (at * conv->m + i) * conv->out_size;
        const vqc_taps_row row = {.offset = p->offset,
                                  .weight = weights + channel * p->taps,
                                  .taps = p->taps,
                                  .bias = bias != NULL ? bias[channel] : 0.0f,
                                  .clamp = clamp,
                                  .lo = epilogue->act == VQC_ACT_CLIP ? epilogue->alpha : 0.0f,
                                  .hi = epilogue->act == VQC_ACT_CLIP ? epilogue->beta
                                                                      : (float)INFINITY};

        run_channel(conv, p, row, planes, planes + conv->c * p->plane_floats, y + to);
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

        memset(scratch + thread * p.group_floats, 0, conv->c * p.plane_floats * sizeof *scratch);
        for (size_t at = thread * count / threads; at < end; at++) {
            run_group(call, conv, &p, weights, x, bias, y, at, scratch + thread * p.group_floats);
        }
    }
    return VQC_OK;
}
