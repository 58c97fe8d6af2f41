#include "core/bench.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/cpu.h"
#include "core/exec/conv_f32.h"
#include "core/exec/frame.h"
#include "core/exec/gemm.h"
#include "core/memory.h"
#include "core/recipe.h"
#include "kernels/kernel_call.h"

enum {
    CACHE_BYTES = 128 << 10,  /* read and written; fits the second-level cache of current cores */
    LARGE_BYTES = 64 << 20,   /* of the larger tensor; beyond most last-level caches */
    BUFFER_BYTES = 128 << 20, /* one tensor: f32 to f64 writes twice what it reads */
    COLS = 512,               /* shape of the _rows and _cols kernels */
    PARAMS = LARGE_BYTES / COLS,
    HALF_BINS = 4096, /* 8192 bins, those of the observers */
    WIDTH = 4,        /* bits of packed fields */
    REPEATS = 5
};

/* Float operations per element of quantize_sse: multiply, two clamps, round, multiply, subtract,
 * multiply, add. */
#define SSE_FLOPS 8.0

typedef struct buffers {
    uint8_t *in, *out;                    /* [BUFFER_BYTES] */
    uint8_t *in2;                         /* [LARGE_BYTES] */
    float *scale, *inv_scale, *min, *max; /* [PARAMS] */
    int32_t *zero_point;
    double *sse;
    uint64_t *counts; /* [2 * HALF_BINS] */
} buffers;

/* Processor time: others on the machine take turns, which is not the kernel's time. */
static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static bool allocate(vqc_arena *arena, buffers *b)
{
    b->in = vqc_arena_alloc(arena, BUFFER_BYTES);
    b->out = vqc_arena_alloc(arena, BUFFER_BYTES);
    b->in2 = vqc_arena_alloc(arena, LARGE_BYTES);
    b->scale = vqc_arena_calloc(arena, PARAMS, sizeof *b->scale);
    b->inv_scale = vqc_arena_calloc(arena, PARAMS, sizeof *b->inv_scale);
    b->min = vqc_arena_calloc(arena, PARAMS, sizeof *b->min);
    b->max = vqc_arena_calloc(arena, PARAMS, sizeof *b->max);
    b->zero_point = vqc_arena_calloc(arena, PARAMS, sizeof *b->zero_point);
    b->sse = vqc_arena_calloc(arena, PARAMS, sizeof *b->sse);
    b->counts = vqc_arena_calloc(arena, (size_t)2 * HALF_BINS, sizeof *b->counts);
    return b->in != NULL && b->out != NULL && b->in2 != NULL && b->scale != NULL &&
           b->inv_scale != NULL && b->min != NULL && b->max != NULL && b->zero_point != NULL &&
           b->sse != NULL && b->counts != NULL;
}

/* Uniform floats in -1 .. 1 (as doubles where the kernel reads those), or random codes. */
static void fill(const buffers *b, const vqc_kernel_info *info)
{
    uint64_t state = 1;
    const bool doubles = info->family == VQC_FAMILY_TO_F32 && info->kind == VQC_KIND_F64;
    const bool codes =
        !doubles && info->family >= VQC_FAMILY_DEQUANTIZE && info->family != VQC_FAMILY_FROM_F32 &&
        info->family != VQC_FAMILY_INT_DIVIDE && info->family < VQC_FAMILY_MATH_UNARY;
    for (size_t i = 0; i < LARGE_BYTES / 8; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const float pair[2] = {(float)(int32_t)(state >> 32) * 0x1p-31f,
                               (float)(int32_t)(state >> 16) * 0x1p-31f};
        const double value = (double)pair[0];
        if (codes)
            memcpy(b->in + i * 8, &(uint64_t){state ^ state >> 29}, 8);
        else
            memcpy(b->in + i * 8, doubles ? (const void *)&value : (const void *)pair, 8);
    }
    memcpy(b->in2, b->in, LARGE_BYTES);
    memset(b->out, 0, BUFFER_BYTES);
    for (size_t i = 0; i < PARAMS; i++) {
        b->scale[i] = 1.0f / 127.0f;
        b->inv_scale[i] = 127.0f;
        b->zero_point[i] = info->kind == VQC_KIND_U8 || info->kind == VQC_KIND_U16 ? 128 : 0;
    }
}

/* Products of packed int16 pairs: one block as the executor cuts it, or a whole layer. */
static vqc_kernel_args gemm_arguments(const buffers *b, bool in_cache)
{
    const size_t rows = in_cache ? 48 : 768, cols = in_cache ? 128 : 1024;
    const size_t pairs = in_cache ? 128 : 512;
    return (vqc_kernel_args){.rows = rows,
                             .cols = cols,
                             .depth = pairs,
                             .in = b->in,
                             .in_stride = pairs * 2 * VQC_INT_ROWS,
                             .in2 = b->in2,
                             .in2_stride = pairs * 2 * VQC_INT_COLS,
                             .out = b->out,
                             .out_stride = cols};
}

/* The 3x3 window of a depthwise convolution over a plane of 28 x 28 or 224 x 224. */
static vqc_kernel_args taps_arguments(const buffers *b, bool in_cache)
{
    enum { TAPS = 9 };
    static int32_t offsets[2][TAPS];
    const size_t pitch = in_cache ? 30 : 226;
    for (size_t i = 0; i < TAPS; i++)
        offsets[in_cache][i] = (int32_t)(i / 3 * pitch + i % 3);
    return (vqc_kernel_args){.rows = 1,
                             .cols = pitch * (pitch - 2),
                             .depth = TAPS,
                             .in = b->in,
                             .in2 = b->in2,
                             .offsets = offsets[in_cache],
                             .out = b->out};
}

/* Panels of a 3-wide convolution; the offsets lie where other kernels have their second input. */
static vqc_gemm_gather gather_arguments(const buffers *b, size_t elements)
{
    static const size_t begin[2] = {0, 100}, column[2] = {0, 9};
    const size_t k = elements / VQC_GEMM_COLS;
    for (size_t i = 0; i < k; i++) {
        const size_t offset = i / 3 * VQC_GEMM_COLS + i % 3;
        memcpy(b->in2 + i * sizeof offset, &offset, sizeof offset);
    }
    return (vqc_gemm_gather){.x = (const void *)b->in,
                             .offset = (const void *)b->in2,
                             .k = k,
                             .start = begin,
                             .column = column,
                             .pieces = 2,
                             .out = (void *)b->out};
}

/* Blocks of the float32 products, one as the executor cuts them, and a 3 x 3 depthwise map; or
 * matrices and maps beyond the caches. */
static void float_product(const buffers *b, bool in_cache, vqc_gemm_block *g, vqc_taps_row *t)
{
    static size_t offsets[9];
    const size_t m = in_cache ? 120 : 960, n = in_cache ? 256 : 1024, k = in_cache ? 256 : 1024;
    const size_t width = in_cache ? 114 : 1026;
    for (size_t i = 0; i < 9; i++)
        offsets[i] = i / 3 * width + i % 3;
    /* Rows per panel that suit the tiles of every ISA. */
    *g = (vqc_gemm_block){.m = m,
                          .n = n,
                          .k = k,
                          .a = (const void *)b->in2,
                          .mr = 6,
                          .a_row = 1,
                          .a_step = 6,
                          .a_panel = 6 * k,
                          .b = (const void *)b->in,
                          .b_step = VQC_GEMM_COLS,
                          .b_panel = VQC_GEMM_COLS * k,
                          .c = (void *)b->out,
                          .c_stride = n};
    *t = (vqc_taps_row){.x = (const void *)b->in,
                        .offset = offsets,
                        .weight = (const void *)b->in2,
                        .taps = 9,
                        .out = (void *)b->out,
                        .n = (width - 2) * width - 2};
}

/* 3 x 3 depthwise convolutions of 8 channels, 28 x 28 or beyond the caches. */
static vqc_depthwise depthwise_arguments(const buffers *b, bool in_cache)
{
    static float scratch[1 << 16];
    const size_t size = in_cache ? 28 : 1024;
    const vqc_depthwise d = {.x = (const void *)b->in,
                             .x_plane = size * size,
                             .in_h = size,
                             .in_w = size,
                             .weight = (const void *)b->in2,
                             .kernel_h = 3,
                             .kernel_w = 3,
                             .stride_h = 1,
                             .stride_w = 1,
                             .dilation_h = 1,
                             .dilation_w = 1,
                             .pad_top = 1,
                             .pad_left = 1,
                             .out = (void *)b->out,
                             .out_plane = size * size,
                             .out_h = size,
                             .out_w = size,
                             .channels = VQC_DEPTHWISE_CHANNELS,
                             .scratch = scratch};
    return d;
}

/* Points against a codebook of 256, both in the cache. */
static vqc_nearest nearest_arguments(const buffers *b, size_t index)
{
    const size_t dim = index == VQC_INDEX_f32_nearest_1    ? 1
                       : index == VQC_INDEX_f32_nearest_2  ? 2
                       : index == VQC_INDEX_f32_nearest_8  ? 8
                       : index == VQC_INDEX_f32_nearest_16 ? 16
                       : index == VQC_INDEX_f32_nearest    ? 9
                                                           : 4;
    return (vqc_nearest){.x = (const void *)b->in,
                         .n = 2048,
                         .dim = dim,
                         .book = (const void *)b->in2,
                         .count = 256,
                         .codes = (void *)b->out};
}

/* Codes of every type are 8-bit wide; the shape does not depend on it. */
static vqc_kernel_args arguments(const buffers *b, const vqc_kernel_info *info, size_t elements)
{
    const vqc_kernel_family f = info->family;
    const bool is_2d = f == VQC_FAMILY_TRANSPOSE || f == VQC_FAMILY_SCORE_COLS ||
                       f == VQC_FAMILY_MINMAX_ROWS || f == VQC_FAMILY_MINMAX_COLS ||
                       f == VQC_FAMILY_MOMENTS_COLS || f == VQC_FAMILY_SSE_ROWS ||
                       f == VQC_FAMILY_SSE_COLS || f == VQC_FAMILY_QUANTIZE_ROWS ||
                       f == VQC_FAMILY_QUANTIZE_COLS || f == VQC_FAMILY_QUANTIZE_ERROR_ROWS ||
                       f == VQC_FAMILY_QUANTIZE_ERROR_COLS || f == VQC_FAMILY_DEQUANTIZE_ROWS ||
                       f == VQC_FAMILY_DEQUANTIZE_COLS || f == VQC_FAMILY_DIVIDE_COLS ||
                       f == VQC_FAMILY_GEMM_PACK || f == VQC_FAMILY_COPY_ROWS ||
                       (f >= VQC_FAMILY_INT_PACK_ROWS && f <= VQC_FAMILY_INT_SCALE_COLS &&
                        f != VQC_FAMILY_INT_DIVIDE);
    const bool pack = f == VQC_FAMILY_INT_PACK_ROWS || f == VQC_FAMILY_INT_PACK_COLS;
    const bool is_unsigned = info->kind == VQC_KIND_U8 || info->kind == VQC_KIND_U16;
    /* from 0.5 on, the first two 1/256 of the keys up to 1 apart */
    static const uint32_t bounds[VQC_COUNT_BOUNDS] = {0x3f000000, 0x3f008000, 0x3f100000,
                                                      0x3f200000, 0x3f300000, 0x3f400000,
                                                      0x3f500000, 0x3f600000};
    const bool normalize = f == VQC_FAMILY_MATH_NORMALIZE;
    const size_t cols = is_2d ? COLS : elements;
    return (vqc_kernel_args){
        .rows = elements / cols,
        .cols = cols,
        .in_stride = cols,
        .out_stride = f == VQC_FAMILY_TRANSPOSE       ? elements / cols
                      : f == VQC_FAMILY_INT_PACK_COLS ? VQC_INT_COLS * (elements / cols)
                      : pack                          ? VQC_INT_COLS * cols
                                                      : cols,
        .in = b->in,
        .in2 = b->in2,
        .out = b->out,
        .scale = normalize ? (const float *)(const void *)b->in2 : b->scale,
        .inv_scale = b->inv_scale,
        .zero_point = is_2d && !is_unsigned && f < VQC_FAMILY_INT_PACK_ROWS ? NULL : b->zero_point,
        .bias = normalize                        ? (const void *)b->in2
                : f == VQC_FAMILY_INT_SCALE_COLS ? (const void *)b->scale
                                                 : (const void *)b->zero_point,
        .lo = is_unsigned ? 0 : -128,
        .hi = is_unsigned ? 255 : 127,
        .width = pack                        ? VQC_INT_COLS
                 : f == VQC_FAMILY_COPY_ROWS ? 1
                 : f == VQC_FAMILY_GEMM_PACK ? (int)VQC_GEMM_COLS
                                             : WIDTH,
        .inv_bin_width = (float)HALF_BINS,
        .half_bins = HALF_BINS,
        .bounds = bounds,
        .depth = f == VQC_FAMILY_GROUP_MASK ? 2 : 0,
        .counts = b->counts,
        .min = b->min,
        .max = b->max,
        .sse = b->sse,
        .iterations = elements,
        .a = f == VQC_FAMILY_THRESHOLD_MASK ? 0.5f : -0.5f,
        .b = 0.5f,
        .a_step = 1,
        .b_step = 1,
        .window = 3,
        .step = 1,
        .dilation = 1};
}

/* Seconds are noisy, the shortest of a few is not: time of one call, of `calls` in a row. */
static double time_kernel(const vqc_kernels *table, size_t index, const vqc_kernel_args *a,
                          size_t calls)
{
    vqc_kernel_results results;
    memset(&results, 0, sizeof results);
    const double start = now_ns();
    for (size_t i = 0; i < calls; i++)
        vqc_kernel_call(table, index, a, &results);
    return (now_ns() - start) / (double)calls;
}

static double time_memcpy(const buffers *b, size_t size_bytes, size_t calls)
{
    void *(*volatile copy)(void *, const void *, size_t) = memcpy; /* must not be left out */
    const double start = now_ns();
    for (size_t i = 0; i < calls; i++)
        copy(b->out, b->in, size_bytes);
    return (now_ns() - start) / (double)calls;
}

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

/* How often to call in a row so that one measurement takes about a millisecond. */
static size_t calls_for(double call_ns)
{
    const double calls = 1e6 / (call_ns + 1.0);
    return calls < 1.0 ? 1 : (size_t)calls + 1;
}

static size_t bytes_per_call(const vqc_kernel_info *info, size_t elements, size_t *in, size_t *out)
{
    vqc_kernel_tensor_bytes(info, elements, WIDTH, in, out);
    size_t bytes = *in + *out;
    if (info->family == VQC_FAMILY_ERROR || info->family == VQC_FAMILY_MATH_BINARY)
        bytes += *in; /* the second input */
    if (info->family == VQC_FAMILY_MATH_NORMALIZE)
        bytes += 2 * *in; /* scale and bias */
    if (info->family == VQC_FAMILY_UNPACK_PLANE)
        bytes += *out; /* read as well */
    return bytes;
}

/* Elements per call: a multiple of COLS that fills the working set. */
static size_t elements_for(const vqc_kernel_info *info, bool in_cache)
{
    size_t in, out;
    const size_t bytes = bytes_per_call(info, COLS, &in, &out);
    if (bytes == 0)
        return 100000; /* the probe: iterations */
    const size_t blocks =
        in_cache ? CACHE_BYTES / bytes : (size_t)LARGE_BYTES / (in > out ? in : out);
    const size_t most = (size_t)LARGE_BYTES / in;
    return (blocks < most ? blocks : most) * COLS;
}

static double peak_gflops(const vqc_kernels *table)
{
    const vqc_kernel_args a = {.iterations = 20000};
    double best = time_kernel(table, VQC_INDEX_probe_fma, &a, 1);
    for (int i = 0; i < 2 * REPEATS; i++)
        best = smaller(best, time_kernel(table, VQC_INDEX_probe_fma, &a, 1));
    return (double)a.iterations * VQC_PROBE_FMA_FLOPS / best;
}

/* One kernel and working set on the wanted ISAs; kernel, C and memcpy take turns, so that all see
 * the same machine. */
static void bench_kernel(const vqc_bench_options *options, const buffers *b, size_t index,
                         bool in_cache, const bool wanted[VQC_ISA_COUNT],
                         const double peaks[VQC_ISA_COUNT])
{
    const vqc_kernel_info *info = &vqc_kernel_infos[index];
    const bool gemm = info->family == VQC_FAMILY_INT_GEMM || info->family == VQC_FAMILY_INT_TAPS;
    const bool compute = info->family == VQC_FAMILY_PROBE_FMA;
    const vqc_kernel_args product = info->family == VQC_FAMILY_INT_TAPS
                                        ? taps_arguments(b, in_cache)
                                        : gemm_arguments(b, in_cache);
    vqc_gemm_block block;
    vqc_taps_row taps;
    float_product(b, in_cache, &block, &taps);
    const bool float_gemm = info->family == VQC_FAMILY_GEMM, tap = info->family == VQC_FAMILY_TAPS;
    const vqc_depthwise depthwise = depthwise_arguments(b, in_cache);
    const bool deep = info->family == VQC_FAMILY_DEPTHWISE;
    const vqc_nearest search = nearest_arguments(b, index);
    const bool nearest = info->family == VQC_FAMILY_NEAREST;
    const size_t elements = nearest      ? search.n * search.count * search.dim
                            : float_gemm ? block.m * block.n * block.k
                            : tap        ? taps.n * taps.taps
                            : deep       ? depthwise.channels * depthwise.out_plane * 9
                            : !gemm      ? elements_for(info, in_cache)
                                         : product.rows * product.cols * product.depth *
                                          (info->family == VQC_FAMILY_INT_GEMM ? 2 : 1);
    vqc_kernel_args a = gemm ? product : arguments(b, info, elements);
    a.gemm = &block;
    a.taps = &taps;
    a.depthwise = &depthwise;
    vqc_gemm_gather gather;
    if (info->family == VQC_FAMILY_GEMM_GATHER) {
        gather = gather_arguments(b, elements);
        a.gather = &gather;
    }
    a.nearest = &search;
    size_t in, out;
    const size_t bytes = bytes_per_call(info, elements, &in, &out);
    double best[VQC_ISA_COUNT], best_copy = time_memcpy(b, bytes / 2, 1);
    for (int isa = 0; isa < VQC_ISA_COUNT; isa++)
        if (wanted[isa] || isa == VQC_ISA_C)
            best[isa] = time_kernel(vqc_kernels_table((vqc_isa)isa), index, &a, 1);
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        for (int isa = 0; isa < VQC_ISA_COUNT; isa++) {
            if (!wanted[isa] && isa != VQC_ISA_C)
                continue;
            /* After other code, wide vector units take half a millisecond to run at full speed. */
            if (isa != VQC_ISA_C)
                (void)time_kernel(vqc_kernels_table((vqc_isa)isa), index, &a, calls_for(best[isa]));
            best[isa] = smaller(best[isa], time_kernel(vqc_kernels_table((vqc_isa)isa), index, &a,
                                                       calls_for(best[isa])));
        }
        best_copy = smaller(best_copy, time_memcpy(b, bytes / 2, calls_for(best_copy)));
    }
    for (int isa = 0; isa < VQC_ISA_COUNT; isa++) {
        if (!wanted[isa])
            continue;
        vqc_bench_result r = {.kernel = info->name,
                              .cpu = vqc_isa_name((vqc_isa)isa),
                              .in_cache = in_cache,
                              .elements = elements,
                              .working_bytes = bytes,
                              .ns_per_element = best[isa] / (double)elements,
                              .speed_over_c = best[VQC_ISA_C] / best[isa]};
        const double flops =
            compute                                        ? VQC_PROBE_FMA_FLOPS
            : gemm || float_gemm || tap || deep || nearest ? 2.0 /* a multiply-add */
            : info->family >= VQC_FAMILY_SSE && info->family <= VQC_FAMILY_SSE_COLS ? SSE_FLOPS
                                                                                    : 0.0;
        r.gflops = flops * (double)elements / best[isa];
        r.peak_gflops = flops > 0.0 ? peaks[isa] : 0.0;
        r.gb_per_s = (double)bytes / best[isa];
        r.memcpy_gb_per_s = bytes > 0 ? (double)(bytes / 2 * 2) / best_copy : 0.0;
        options->result(options->context, &r);
    }
}

/* ---- what the kernels are for ---- */

enum { GEMM_SIZE = 1024, CONV_CHANNELS = 64, CONV_SIZE = 56 };

static const char *const driver_names[] = {"driver_gemm_1024", "driver_conv_3x3_64x56x56"};
enum { DRIVER_COUNT = sizeof driver_names / sizeof *driver_names };

/* A whole product [1024, 1024] x [1024, 1024], packing included. */
static vqc_status run_gemm(vqc_exec_call *call, const buffers *b)
{
    vqc_gemm_item item = {.a = (const void *)b->in, .b = (const void *)b->in2, .c = (void *)b->out};
    vqc_gemm g = {.m = GEMM_SIZE,
                  .n = GEMM_SIZE,
                  .k = GEMM_SIZE,
                  .c_stride = GEMM_SIZE,
                  .left = vqc_gemm_left_rows(GEMM_SIZE, GEMM_SIZE),
                  .right = vqc_gemm_right_rows(GEMM_SIZE),
                  .threads = 1,
                  .items = &item,
                  .item_count = 1};
    float *scratch = vqc_exec_scratch(call, vqc_gemm_scratch_bytes(&g));
    if (scratch == NULL)
        return VQC_ERR_INTERNAL;
    vqc_gemm_run(&g, scratch);
    return VQC_OK;
}

static vqc_conv conv_3x3(void)
{
    return (vqc_conv){.n = 1,
                      .group = 1,
                      .c = CONV_CHANNELS,
                      .m = CONV_CHANNELS,
                      .in = {1, CONV_SIZE, CONV_SIZE},
                      .out = {1, CONV_SIZE, CONV_SIZE},
                      .kernel = {1, 3, 3},
                      .stride = {1, 1, 1},
                      .dilation = {1, 1, 1},
                      .pad = {0, 1, 1},
                      .taps = 9,
                      .in_size = (size_t)CONV_SIZE * CONV_SIZE,
                      .out_size = (size_t)CONV_SIZE * CONV_SIZE};
}

/* One run of a driver, weights of the convolution packed before. */
static vqc_status run_driver(vqc_exec_call *call, const buffers *b, size_t which,
                             vqc_conv_weights *weights)
{
    const vqc_conv conv = conv_3x3();
    const vqc_status status =
        which == 0 ? run_gemm(call, b)
                   : vqc_conv_f32(call, &conv, weights, (const void *)b->in, NULL, (void *)b->out);
    vqc_exec_frame_reset(call->frame);
    return status;
}

/* A driver of the executor with the kernels in use, as a share of their peak. */
static vqc_status bench_driver(const vqc_bench_options *options, const buffers *b, size_t which,
                               double peak, vqc_error *error)
{
    const double macs = which == 0 ? (double)GEMM_SIZE * GEMM_SIZE * GEMM_SIZE
                                   : 9.0 * CONV_CHANNELS * CONV_CHANNELS * CONV_SIZE * CONV_SIZE;
    const vqc_conv conv = conv_3x3();
    vqc_exec_frame frame = {0};
    vqc_exec_call call = {.threads = 1, .frame = &frame, .error = error};
    vqc_conv_weights *weights = vqc_conv_weights_create(&conv, b->in2);
    vqc_status status = weights == NULL ? vqc_fail_memory(error, LARGE_BYTES) : VQC_OK;
    double best = INFINITY;
    for (int repeat = 0; status == VQC_OK && repeat < 3 * REPEATS; repeat++) {
        const double start = now_ns();
        status = run_driver(&call, b, which, weights);
        best = smaller(best, now_ns() - start);
    }
    vqc_conv_weights_destroy(weights);
    vqc_exec_frame_clear(&frame);
    if (status != VQC_OK)
        return status;
    const vqc_bench_result r = {.kernel = driver_names[which],
                                .cpu = vqc_isa_name(vqc_kernels_isa()),
                                .elements = (size_t)macs,
                                .ns_per_element = best / macs,
                                .gflops = 2.0 * macs / best,
                                .peak_gflops = peak};
    options->result(options->context, &r);
    return VQC_OK;
}

/* Which ISAs to show; C is measured in any case. */
static vqc_status choose_isas(const char *cpu, bool wanted[VQC_ISA_COUNT], vqc_error *error)
{
    if (cpu != NULL && strcmp(cpu, "all") != 0) {
        const vqc_status status = vqc_cpu_select(cpu, error);
        if (status != VQC_OK)
            return status;
    }
    for (int isa = 0; isa < VQC_ISA_COUNT; isa++)
        wanted[isa] = cpu != NULL && strcmp(cpu, "all") == 0
                          ? vqc_kernels_table((vqc_isa)isa) != NULL
                          : (vqc_isa)isa == vqc_kernels_isa();
    return VQC_OK;
}

vqc_status vqc_bench_run(const vqc_bench_options *options, vqc_error *error)
{
    const char *glob = options->kernel_glob != NULL ? options->kernel_glob : "*";
    bool wanted[VQC_ISA_COUNT];
    double peaks[VQC_ISA_COUNT] = {0};
    size_t matches = 0;
    for (size_t i = 0; i < VQC_KERNEL_COUNT; i++)
        matches += vqc_glob_test(glob, vqc_kernel_infos[i].name);
    for (size_t i = 0; i < DRIVER_COUNT; i++)
        matches += vqc_glob_test(glob, driver_names[i]);
    if (matches == 0)
        return vqc_fail(error, VQC_ERR_USAGE, "--kernel: no kernel matches \"%s\"", glob);
    vqc_status status = choose_isas(options->cpu, wanted, error);
    if (status != VQC_OK)
        return status;
    buffers b;
    vqc_arena *arena = vqc_arena_create();
    if (arena == NULL || !allocate(arena, &b)) {
        status = vqc_fail_memory(error, (size_t)2 * BUFFER_BYTES + LARGE_BYTES);
        goto done;
    }
    for (int isa = 0; isa < VQC_ISA_COUNT; isa++)
        if (wanted[isa])
            peaks[isa] = peak_gflops(vqc_kernels_table((vqc_isa)isa));
    for (size_t i = 0; i < VQC_KERNEL_COUNT; i++) {
        if (!vqc_glob_test(glob, vqc_kernel_infos[i].name) ||
            vqc_kernel_infos[i].family == VQC_FAMILY_GEMM_ROWS) /* a constant, nothing to time */
            continue;
        fill(&b, &vqc_kernel_infos[i]);
        bench_kernel(options, &b, i, true, wanted, peaks);
        if (vqc_kernel_infos[i].family != VQC_FAMILY_PROBE_FMA &&
            vqc_kernel_infos[i].family != VQC_FAMILY_NEAREST)
            bench_kernel(options, &b, i, false, wanted, peaks);
    }
    fill(&b, &vqc_kernel_infos[VQC_INDEX_f32_gemm]);
    for (size_t i = 0; i < DRIVER_COUNT && status == VQC_OK; i++)
        if (vqc_glob_test(glob, driver_names[i]) && wanted[vqc_kernels_isa()])
            status = bench_driver(options, &b, i, peaks[vqc_kernels_isa()], error);
done:
    vqc_arena_destroy(&arena);
    return status;
}
