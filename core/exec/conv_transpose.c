/* Transposed convolution: a matrix product per block of output channels, whose columns are added to
 * the output where they belong. */
#include <string.h>

#include "core/exec/conv_f32.h"
#include "core/exec/gemm.h"
#include "core/exec/gemm_operand.h"
#include "core/memory.h"

enum { BLOCK_FLOATS = 1 << 18 /* of products in memory at a time and thread: 1 MiB */ };

/* Range [*from, *to) of input positions i on an axis whose output i * stride + reach - pad is
 * inside. */
static void inside(const vqc_conv *conv, size_t axis, size_t k, size_t *from, size_t *to)
{
    const int64_t stride = (int64_t)conv->stride[axis];
    const int64_t shift = (int64_t)(k * conv->dilation[axis]) - conv->pad[axis];
    const int64_t out = (int64_t)conv->out[axis];
    int64_t end = out > shift ? (out - shift + stride - 1) / stride : 0;

    *from = shift < 0 ? (size_t)((-shift + stride - 1) / stride) : 0;
    end = end < (int64_t)conv->in[axis] ? end : (int64_t)conv->in[axis];
    *to = end > (int64_t)*from ? (size_t)end : *from;
}

/* Adds products [taps][in_size] of one output channel to its plane. */
static void add_columns(const vqc_conv *conv, const float *products, float *y)
{
    for (size_t t = 0; t < conv->taps; t++, products += conv->in_size) {
        const size_t k[VQC_CONV_AXES] = {t / conv->kernel[2] / conv->kernel[1],
                                         t / conv->kernel[2] % conv->kernel[1],
                                         t % conv->kernel[2]};
        size_t from[VQC_CONV_AXES], to[VQC_CONV_AXES];
        int64_t shift[VQC_CONV_AXES];
        const size_t stride = conv->stride[2];

        for (size_t i = 0; i < VQC_CONV_AXES; i++) {
            inside(conv, i, k[i], &from[i], &to[i]);
            shift[i] = (int64_t)(k[i] * conv->dilation[i]) - conv->pad[i];
        }
        for (size_t d = from[0]; d < to[0]; d++) {
            for (size_t h = from[1]; h < to[1]; h++) {
                const size_t od = (size_t)((int64_t)(d * conv->stride[0]) + shift[0]);
                const size_t oh = (size_t)((int64_t)(h * conv->stride[1]) + shift[1]);
                const float *p = products + (d * conv->in[1] + h) * conv->in[2];
                float *row = y + (od * conv->out[1] + oh) * conv->out[2];

                for (size_t w = from[2]; w < to[2]; w++) {
                    row[(size_t)((int64_t)(w * stride) + shift[2])] += p[w];
                }
            }
        }
    }
}

typedef struct transposed {
    const vqc_exec_call *call;
    const vqc_conv *conv;
    const float *w, *x, *bias;
    float *y;
    size_t block; /* output channels at a time */
    size_t blocks;
} transposed;

/* Block `task` (over images, groups, blocks of channels). */
static void run_block(const transposed *t, size_t task, float *scratch)
{
    const vqc_conv *conv = t->conv;
    const vqc_epilogue *epilogue = &t->call->epilogue;
    const size_t image_group = task / t->blocks;
    const size_t group = image_group % conv->group;
    const size_t m0 = task % t->blocks * t->block;
    const size_t m = t->block < conv->m - m0 ? t->block : conv->m - m0;
    const size_t row = conv->m * conv->taps; /* of w */
    vqc_gemm_item item = {.a = t->w + group * conv->c * row + m0 * conv->taps,
                          .b = t->x + image_group * conv->c * conv->in_size,
                          .c = scratch};
    vqc_gemm g = {.m = m * conv->taps,
                  .n = conv->in_size,
                  .k = conv->c,
                  .c_stride = conv->in_size,
                  .threads = 1,
                  .items = &item,
                  .item_count = 1};

    g.left = vqc_gemm_left_columns(g.m, row);
    g.right = vqc_gemm_right_rows(conv->in_size);
    vqc_gemm_run(&g, scratch + t->block * conv->taps * conv->in_size);
    for (size_t i = 0; i < m; i++) {
        const size_t channel = group * conv->m + m0 + i;
        const size_t to = (image_group * conv->m + m0 + i) * conv->out_size;
        float *y = t->y + to;

        for (size_t o = 0; o < conv->out_size; o++) {
            y[o] = t->bias != NULL ? t->bias[channel] : 0.0f;
        }
        add_columns(conv, scratch + i * conv->taps * conv->in_size, y);
        for (size_t o = 0; epilogue->residual != NULL && o < conv->out_size; o++) {
            y[o] += epilogue->residual[to + o];
        }
        if (epilogue->act != VQC_ACT_NONE) {
            vqc_activate(epilogue, y, conv->out_size);
        }
    }
}

/* Scratch of the product of a block with m rows. */
static size_t scratch_for(vqc_gemm *shape, size_t m)
{
    shape->m = m;
    shape->left = vqc_gemm_left_columns(m, 0);
    return vqc_gemm_scratch_bytes(shape);
}

vqc_status vqc_conv_transpose_f32(vqc_exec_call *call, const vqc_conv *conv, const float *w,
                                  const float *x, const float *bias, float *y)
{
    transposed t = {.call = call, .conv = conv, .w = w, .x = x, .bias = bias, .y = y, .block = 1};
    vqc_gemm_item item = {0};
    vqc_gemm shape = {
        .k = conv->c, .n = conv->in_size, .threads = 1, .items = &item, .item_count = 1};
    size_t channel_floats, thread_bytes, product_bytes, last_bytes, all_bytes, tasks, threads;
    float *scratch;

    if (conv->m == 0 || conv->n == 0 || conv->out_size == 0) {
        return VQC_OK;
    }
    if (!vqc_size_mul(conv->taps, conv->in_size, &channel_floats) ||
        !vqc_size_mul(channel_floats, sizeof *scratch, &thread_bytes)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    if (channel_floats > 0 && BLOCK_FLOATS / channel_floats > 1) {
        t.block = BLOCK_FLOATS / channel_floats;
        t.block = t.block < conv->m ? t.block : conv->m;
    }
    if (call->threads > 1 && conv->n * conv->group == 1 && t.block > 1) {
        const size_t share = (conv->m + (size_t)call->threads - 1) / (size_t)call->threads;
        t.block = share < t.block ? share : t.block;
    }
    t.blocks = (conv->m + t.block - 1) / t.block;
    tasks = t.blocks * conv->n * conv->group;
    threads = call->threads > 1 && tasks > 1 ? (size_t)call->threads : 1;
    threads = threads < tasks ? threads : tasks;
    shape.right = vqc_gemm_right_rows(conv->in_size);
    thread_bytes = t.block * channel_floats * sizeof *scratch;
    product_bytes = scratch_for(&shape, t.block * conv->taps);
    last_bytes = scratch_for(&shape, (conv->m - (t.blocks - 1) * t.block) * conv->taps);
    product_bytes = last_bytes > product_bytes ? last_bytes : product_bytes;
    if (!vqc_size_add(thread_bytes, product_bytes, &thread_bytes) ||
        !vqc_size_mul(thread_bytes, threads, &all_bytes)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    scratch = vqc_exec_scratch(call, all_bytes);
    if (scratch == NULL) {
        return vqc_operand_failed(call);
    }
#pragma omp parallel for schedule(static, 1) num_threads((int)threads) if (threads > 1)
    for (size_t thread = 0; thread < threads; thread++) {
        const size_t end = (thread + 1) * tasks / threads;

        for (size_t task = thread * tasks / threads; task < end; task++) {
            run_block(&t, task, scratch + thread * (thread_bytes / sizeof *scratch));
        }
    }
    return VQC_OK;
}
