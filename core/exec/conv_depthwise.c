#include "core/exec/conv_depthwise.h"

#include <math.h>

#include "core/exec/gemm_operand.h"
#include "core/memory.h"
#include "kernels/kernels.h"

enum {
    LANES = VQC_DEPTHWISE_CHANNELS,
    MIN_CHANNELS = LANES / 2,
    MAX_EXTENT = 1 << 13,        /* of anything that the sizes below are made of */
    MAX_SCRATCH_FLOATS = 1 << 15 /* 128 KiB: level 2 */
};

/* Multiply-adds below which threads are not woken. */
#define MIN_PARALLEL_MACS 500000.0

/* The kernel's job but for the data. */
static vqc_depthwise job_of(const vqc_conv *conv)
{
    return (vqc_depthwise){.x_plane = conv->in_size,
                           .in_h = conv->in[1],
                           .in_w = conv->in[2],
                           .kernel_h = conv->kernel[1],
                           .kernel_w = conv->kernel[2],
                           .stride_h = conv->stride[1],
                           .stride_w = conv->stride[2],
                           .dilation_h = conv->dilation[1],
                           .dilation_w = conv->dilation[2],
                           .pad_top = (size_t)conv->pad[1],
                           .pad_left = (size_t)conv->pad[2],
                           .out_plane = conv->out_size,
                           .out_h = conv->out[1],
                           .out_w = conv->out[2]};
}

bool vqc_conv_depthwise_fits(const vqc_conv *conv)
{
    const vqc_depthwise d = job_of(conv);

    if (conv->c != 1 || conv->m != 1 || conv->group < MIN_CHANNELS || conv->kernel[0] != 1 ||
        conv->stride[0] != 1 || conv->pad[0] != 0 || conv->in[0] != 1 || conv->out[0] != 1 ||
        conv->taps > VQC_DEPTHWISE_TAPS || d.out_w == 0 || d.out_w > MAX_EXTENT ||
        d.dilation_h > MAX_EXTENT || d.dilation_w > MAX_EXTENT || d.stride_w > MAX_EXTENT) {
        return false;
    }
    return vqc_depthwise_ring(&d) <= VQC_DEPTHWISE_RING &&
           vqc_depthwise_floats(&d) <= MAX_SCRATCH_FLOATS;
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

/* Channels [channel, channel + d.channels) of an image. */
static void run_block(const vqc_exec_call *call, const vqc_conv *conv, vqc_depthwise d,
                      const float *weights, const float *bias, float *y, size_t image,
                      size_t channel)
{
    const vqc_epilogue *epilogue = &call->epilogue;
    const size_t at = image * conv->group + channel;

    d.x += at * conv->in_size;
    d.weight = weights + channel * conv->taps;
    d.bias = bias != NULL ? bias + channel : NULL;
    d.out = y + at * conv->out_size;
    d.channels = conv->group - channel < LANES ? conv->group - channel : LANES;
    d.clamp = epilogue->residual == NULL &&
              (epilogue->act == VQC_ACT_RELU || epilogue->act == VQC_ACT_CLIP);
    d.lo = epilogue->act == VQC_ACT_CLIP ? epilogue->alpha : 0.0f;
    d.hi = epilogue->act == VQC_ACT_CLIP ? epilogue->beta : (float)INFINITY;
    vqc_kernels_get()->f32_depthwise(&d);
    if (!d.clamp) {
        finish(epilogue,
               epilogue->residual != NULL ? epilogue->residual + at * conv->out_size : NULL, d.out,
               d.channels * conv->out_size);
    }
}

vqc_status vqc_conv_depthwise(vqc_exec_call *call, const vqc_conv *conv, const float *weights,
                              const float *x, const float *bias, float *y)
{
    const size_t blocks = conv->group / LANES + (conv->group % LANES != 0);
    const size_t count = conv->n * blocks;
    const double macs =
        (double)conv->n * (double)conv->group * (double)conv->out_size * (double)conv->taps;
    vqc_depthwise d = job_of(conv);
    /* Whole cache lines for each thread. */
    const size_t floats = (vqc_depthwise_floats(&d) + 15) / 16 * 16;
    size_t threads = call->threads > 1 && macs >= MIN_PARALLEL_MACS ? (size_t)call->threads : 1;
    size_t size_bytes;
    float *scratch;

    if (count == 0 || conv->out_size == 0) {
        return VQC_OK;
    }
    threads = threads < count ? threads : count;
    if (!vqc_size_mul(floats * sizeof *scratch, threads, &size_bytes)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    scratch = vqc_exec_scratch(call, size_bytes);
    if (scratch == NULL) {
        return vqc_operand_failed(call);
    }
    d.x = x;
#pragma omp parallel for schedule(static, 1) num_threads((int)threads) if (threads > 1)
    for (size_t thread = 0; thread < threads; thread++) {
        const size_t end = (thread + 1) * count / threads;
        vqc_depthwise own = d;

        own.scratch = scratch + thread * floats;
        for (size_t at = thread * count / threads; at < end; at++) {
            run_block(call, conv, own, weights, bias, y, at / blocks, at % blocks * LANES);
        }
    }
    return VQC_OK;
}
