#include "core/exec/conv_planes.h"

#include "core/exec/gemm_operand.h"
#include "core/memory.h"
#include "kernels/kernels.h"

/* Offsets of the taps of the first channel; the others lie a plane further each. */
static void set_offsets(const vqc_conv *conv, const vqc_conv_planes *p)
{
    for (size_t t = 0; t < conv->taps; t++) {
        const size_t k[VQC_CONV_AXES] = {t / conv->kernel[2] / conv->kernel[1],
                                         t / conv->kernel[2] % conv->kernel[1],
                                         t % conv->kernel[2]};
        size_t phase = 0;
        size_t within = 0;

        for (size_t i = 0; i < VQC_CONV_AXES; i++) {
            const size_t reach = k[i] * conv->dilation[i];

            phase = phase * conv->stride[i] + reach % conv->stride[i];
            within = within * p->size[i] + reach / conv->stride[i];
        }
        p->offset[t] = phase * p->phase_floats + within;
    }
    for (size_t i = conv->taps; i < conv->c * conv->taps; i++) {
        p->offset[i] = p->offset[i - conv->taps] + p->plane_floats;
    }
}

vqc_status vqc_conv_planes_plan(vqc_exec_call *call, const vqc_conv *conv, vqc_conv_planes *p)
{
    const size_t phases = conv->stride[0] * conv->stride[1] * conv->stride[2];
    size_t count, size_bytes;

    p->phase_floats = 1;
    for (size_t i = 0; i < VQC_CONV_AXES; i++) {
        const size_t reach = (conv->kernel[i] - 1) * conv->dilation[i];
        const size_t padded = (conv->out[i] - 1) * conv->stride[i] + reach + 1;

        p->size[i] = padded / conv->stride[i] + (padded % conv->stride[i] != 0);
        if (!vqc_size_mul(p->phase_floats, p->size[i], &p->phase_floats)) {
            return vqc_fail_memory(call->error, SIZE_MAX);
        }
    }
    p->span = ((conv->out[0] - 1) * p->size[1] + conv->out[1] - 1) * p->size[2] + conv->out[2];
    if (!vqc_size_mul(p->phase_floats, phases, &p->plane_floats) ||
        !vqc_size_mul(p->plane_floats, conv->c, &count) ||
        !vqc_size_mul(count, sizeof(float), &size_bytes) ||
        !vqc_size_mul(conv->c * conv->taps, sizeof *p->offset, &size_bytes)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    p->offset = vqc_exec_scratch(call, size_bytes);
    if (p->offset == NULL) {
        return vqc_operand_failed(call);
    }
    if (conv->c > 0) {
        set_offsets(conv, p);
    }
    return VQC_OK;
}

/* Phase elements [*from, *to) of an axis that are not padding; element i is input i * stride +
 * phase - pad. */
static void inside(const vqc_conv *conv, const vqc_conv_planes *p, size_t axis, size_t phase,
                   size_t *from, size_t *to)
{
    const size_t stride = conv->stride[axis];
    const size_t pad = (size_t)conv->pad[axis];
    const size_t end = conv->in[axis] + pad;
    const size_t first = pad > phase ? (pad - phase + stride - 1) / stride : 0;
    const size_t last = end > phase ? (end - phase + stride - 1) / stride : 0;

    *to = last < p->size[axis] ? last : p->size[axis];
    *from = first < *to ? first : *to;
}

/* Whether a tap reads from a phase of an axis. */
static bool is_read(const vqc_conv *conv, size_t axis, size_t phase)
{
    for (size_t k = 0; k < conv->kernel[axis] && k < conv->stride[axis]; k++) {
        if (k * conv->dilation[axis] % conv->stride[axis] == phase) {
            return true;
        }
    }
    return false;
}

/* What is not padding of one phase. */
typedef struct phase_copy {
    size_t from[VQC_CONV_AXES], to[VQC_CONV_AXES]; /* phase elements */
    size_t in, out;                                /* the first of them in both arrays */
} phase_copy;

/* false: nothing of the phase is to be copied. */
static bool plan_phase(const vqc_conv *conv, const vqc_conv_planes *p,
                       const size_t phase[VQC_CONV_AXES], phase_copy *copy)
{
    copy->in = copy->out = 0;
    for (size_t i = 0; i < VQC_CONV_AXES; i++) {
        if (!is_read(conv, i, phase[i])) {
            return false;
        }
        inside(conv, p, i, phase[i], &copy->from[i], &copy->to[i]);
        if (copy->from[i] >= copy->to[i]) {
            return false;
        }
        copy->in = copy->in * conv->in[i] + copy->from[i] * conv->stride[i] + phase[i] -
                   (size_t)conv->pad[i];
        copy->out = copy->out * p->size[i] + copy->from[i];
    }
    return true;
}

/* That phase of one channel. */
static void copy_phase(const vqc_conv *conv, const vqc_conv_planes *p, const phase_copy *copy,
                       const float *x, float *out)
{
    const size_t in_depth = conv->stride[0] * conv->in[1] * conv->in[2];
    const size_t out_depth = p->size[1] * p->size[2];

    x += copy->in;
    out += copy->out;
    for (size_t d = copy->from[0]; d < copy->to[0]; d++, x += in_depth, out += out_depth) {
        vqc_kernels_get()->f32_copy_rows(x, copy->to[1] - copy->from[1],
                                         copy->to[2] - copy->from[2], conv->stride[1] * conv->in[2],
                                         conv->stride[2], out, p->size[2]);
    }
}

void vqc_conv_planes_copy(const vqc_conv *conv, const vqc_conv_planes *p, const float *x,
                          size_t channels, float *out)
{
    const size_t *stride = conv->stride;

    for (size_t a = 0; a < stride[0] * stride[1] * stride[2]; a++) {
        const size_t phase[VQC_CONV_AXES] = {a / stride[2] / stride[1], a / stride[2] % stride[1],
                                             a % stride[2]};
        phase_copy copy;

        if (plan_phase(conv, p, phase, &copy)) {
            for (size_t c = 0; c < channels; c++) {
                copy_phase(conv, p, &copy, x + c * conv->in_size,
                           out + c * p->plane_floats + a * p->phase_floats);
            }
        }
    }
}
