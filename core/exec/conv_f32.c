#include "core/exec/conv_f32.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/conv_planes.h"
#include "core/exec/conv_taps.h"
#include "core/exec/gemm.h"
#include "core/exec/gemm_operand.h"
#include "core/memory.h"
#include "kernels/kernels.h"

enum {
    COLS = VQC_GEMM_COLS,
    CHUNK_FLOATS = 1 << 20, /* of padded planes at a time, when several images fit: 4 MiB */
    MIN_PARALLEL_FLOATS = 1 << 16,
    FILL_PANELS = 16,          /* filled together ... */
    MIN_CHUNK = 8,             /* ... by at least this many steps */
    MIN_PLANE_FLOATS = 1 << 16 /* planes this small are always made */
};

/* Padded planes may be this many times as large as the input and output planes. */
#define MOST_PADDING 4.0

/* Packed when a run first wants it that way, because only the input tells how. */
struct vqc_conv_weights {
    const unsigned char *source; /* borrowed [group][m][c * taps], any alignment */
    size_t group, m, k;
    float *plain;                     /* for vqc_conv_taps */
    size_t left_floats, right_floats; /* of a group */
    _Atomic(float *) left;            /* one left matrix [m, k] per group */
    _Atomic(float *) right;           /* one right matrix [k, m] per group */
};

vqc_conv_weights *vqc_conv_weights_create(const vqc_conv *conv, const unsigned char *w)
{
    vqc_conv_weights *weights = calloc(1, sizeof *weights);
    size_t left_bytes, right_bytes, all_bytes;

    if (weights == NULL) {
        return NULL;
    }
    weights->source = w;
    weights->group = conv->group;
    weights->m = conv->m;
    weights->k = conv->c * conv->taps;
    if (!vqc_gemm_left_bytes(weights->m, weights->k, &left_bytes) ||
        !vqc_gemm_right_bytes(weights->k, weights->m, &right_bytes) ||
        !vqc_size_mul(left_bytes, conv->group, &all_bytes) ||
        !vqc_size_mul(right_bytes, conv->group, &all_bytes)) {
        goto failed;
    }
    weights->left_floats = left_bytes / sizeof(float);
    weights->right_floats = right_bytes / sizeof(float);
    if (vqc_conv_taps_fit(conv)) {
        const size_t size_bytes = conv->group * weights->m * weights->k * sizeof(float);

        weights->plain = vqc_operand_memory(size_bytes);
        if (weights->plain == NULL) {
            goto failed;
        }
        memcpy(weights->plain, w, size_bytes);
    }
    return weights;
failed:
    vqc_conv_weights_destroy(weights);
    return NULL;
}

void vqc_conv_weights_destroy(vqc_conv_weights *weights)
{
    if (weights != NULL) {
        free(weights->plain);
        free(atomic_load(&weights->left));
        free(atomic_load(&weights->right));
        free(weights);
    }
}

/* All groups packed as left or right matrices; NULL without memory. */
static float *pack_weights(const vqc_conv_weights *weights, bool right)
{
    const size_t m = weights->m, k = weights->k;
    const size_t group_floats = right ? weights->right_floats : weights->left_floats;
    const size_t plain_bytes = m * k * sizeof(float);
    float *copy = vqc_operand_memory(plain_bytes);
    float *packed = vqc_operand_memory(weights->group * group_floats * sizeof *packed);

    for (size_t g = 0; copy != NULL && packed != NULL && plain_bytes > 0 && g < weights->group;
         g++) {
        memcpy(copy, weights->source + g * plain_bytes, plain_bytes);
        if (right) {
            vqc_gemm_pack_right(copy, k, m, 1, k, packed + g * group_floats);
        } else {
            vqc_gemm_pack_left(copy, m, k, k, 1, packed + g * group_floats);
        }
    }
    if (copy == NULL) {
        free(packed);
        packed = NULL;
    }
    free(copy);
    return packed;
}

/* The packed form that a run wants; the first to want it makes it. NULL without memory. */
static const float *packed_weights(vqc_conv_weights *weights, bool right)
{
    _Atomic(float *) *place = right ? &weights->right : &weights->left;
    float *packed = atomic_load_explicit(place, memory_order_acquire);

    if (packed == NULL) {
#pragma omp critical(vqc_conv_weights)
        {
            packed = atomic_load_explicit(place, memory_order_acquire);
            if (packed == NULL) {
                packed = pack_weights(weights, right);
                atomic_store_explicit(place, packed, memory_order_release);
            }
        }
    }
    return packed;
}

/* ---- im2col from the input itself, 16 output positions at a time ---- */

/* Positions next to each other in one output row. */
typedef struct segment {
    size_t column; /* in the panel */
    size_t length;
    int64_t d, h, w; /* input position of the first kernel element, may lie in the padding */
} segment;

static size_t find_segments(const vqc_conv *conv, size_t at, size_t n, segment segments[COLS])
{
    size_t count = 0;

    for (size_t column = 0; column < n;) {
        const size_t ow = at % conv->out[2];
        const size_t oh = at / conv->out[2] % conv->out[1];
        const size_t od = at / conv->out[2] / conv->out[1];
        const size_t row = conv->out[2] - ow;
        const size_t length = row < n - column ? row : n - column;

        segments[count++] = (segment){.column = column,
                                      .length = length,
                                      .d = (int64_t)(od * conv->stride[0]) - conv->pad[0],
                                      .h = (int64_t)(oh * conv->stride[1]) - conv->pad[1],
                                      .w = (int64_t)(ow * conv->stride[2]) - conv->pad[2]};
        column += length;
        at += length;
    }
    return count;
}

/* out[i] = row[w + i * stride], 0 outside of [0, width). */
static void copy_segment(const float *row, int64_t w, int64_t stride, int64_t width, size_t length,
                         float *out)
{
    const int64_t last = w + (int64_t)(length - 1) * stride;

    if (row == NULL || w >= width || last < 0) {
        memset(out, 0, length * sizeof *out);
    } else if (w >= 0 && last < width) {
        if (stride == 1 && length == COLS) {
            memcpy(out, row + w, COLS * sizeof *out);
        } else {
            for (size_t i = 0; i < length; i++) {
                out[i] = row[w + (int64_t)i * stride];
            }
        }
    } else {
        for (size_t i = 0; i < length; i++, w += stride) {
            out[i] = w >= 0 && w < width ? row[w] : 0.0f;
        }
    }
}

/* Steps [k0, k0 + k) of 16 columns. */
static void fill_panel(const vqc_conv *conv, const float *x, size_t k0, size_t k,
                       const segment *segments, size_t count, float *panel)
{
    const int64_t *pad = conv->pad;
    size_t tap = k0 % conv->taps;
    size_t kw = tap % conv->kernel[2];
    const float *channel = x + k0 / conv->taps * conv->in_size;
    const float *rows[COLS];
    bool fresh = true; /* rows are to be found */

    (void)pad;
    for (size_t p = 0; p < k; p++, panel += COLS) {
        const int64_t dw = (int64_t)(kw * conv->dilation[2]);

        for (size_t s = 0; fresh && s < count; s++) {
            const size_t kh = tap / conv->kernel[2] % conv->kernel[1];
            const size_t kd = tap / conv->kernel[2] / conv->kernel[1];
            const int64_t d = segments[s].d + (int64_t)(kd * conv->dilation[0]);
            const int64_t h = segments[s].h + (int64_t)(kh * conv->dilation[1]);
            const bool inside =
                d >= 0 && d < (int64_t)conv->in[0] && h >= 0 && h < (int64_t)conv->in[1];

            rows[s] = inside ? channel + ((size_t)d * conv->in[1] + (size_t)h) * conv->in[2] : NULL;
        }
        for (size_t s = 0; s < count; s++) {
            copy_segment(rows[s], segments[s].w + dw, (int64_t)conv->stride[2],
                         (int64_t)conv->in[2], segments[s].length, panel + segments[s].column);
        }
        fresh = ++kw == conv->kernel[2];
        kw = fresh ? 0 : kw;
        if (++tap == conv->taps) {
            tap = 0;
            channel += conv->in_size;
        }
    }
}

/* vqc_gemm_fill_fn over x of one image and group. */
static void fill_im2col(const void *context, const float *x, size_t k0, size_t k, size_t n0,
                        size_t n, float *panels)
{
    const vqc_conv *conv = context;

    for (size_t j = 0; j < n; j += COLS, panels += k * COLS) {
        const size_t width = n - j < COLS ? n - j : COLS;
        segment segments[COLS];
        const size_t count = find_segments(conv, n0 + j, width, segments);

        if (width < COLS) {
            memset(panels, 0, k * COLS * sizeof *panels);
        }
        fill_panel(conv, x, k0, k, segments, count, panels);
    }
}

/* ---- im2col from padded planes ---- */

typedef struct padded {
    const vqc_conv *conv;
    vqc_conv_planes in;
    size_t image_floats; /* planes of all groups of an image */
    size_t images;       /* in memory at a time */
    float *planes;
} padded;

/* Pieces of output rows that make 16 columns. */
typedef struct panel_pieces {
    size_t start[COLS], column[COLS];
    size_t count;
} panel_pieces;

/* The pieces of the panels of columns [n0, n0 + n). */
static void find_pieces(const padded *p, size_t n0, size_t n, panel_pieces *pieces)
{
    const size_t *size = p->in.size, *out = p->conv->out;
    size_t w = n0 % out[2], h = n0 / out[2] % out[1], d = n0 / out[2] / out[1];

    for (size_t j = 0; j < n; j += COLS, pieces++) {
        const size_t width = n - j < COLS ? n - j : COLS;

        pieces->count = 0;
        for (size_t at = 0; at < width;) {
            const size_t row = out[2] - w;
            const size_t length = row < width - at ? row : width - at;

            pieces->start[pieces->count] = (d * size[1] + h) * size[2] + w;
            pieces->column[pieces->count++] = at;
            at += length;
            w += length;
            if (w == out[2]) {
                w = 0;
                h++;
                d += h == out[1];
                h = h == out[1] ? 0 : h;
            }
        }
    }
}

/*
 * vqc_gemm_fill_fn over the planes of one image and group. Some taps of all panels before the next
 * taps: so the input is read along its rows, a channel at a time, and not one vector of each of
 * hundreds of rows after the other.
 */
static void fill_planes(const void *context, const float *planes, size_t k0, size_t k, size_t n0,
                        size_t n, float *panels)
{
    const padded *p = context;
    const size_t taps = p->conv->taps;
    const size_t chunk = taps >= MIN_CHUNK ? taps : (MIN_CHUNK + taps - 1) / taps * taps;
    panel_pieces pieces[FILL_PANELS];

    for (size_t j = 0; j < n; j += FILL_PANELS * COLS, panels += FILL_PANELS * COLS * k) {
        const size_t width = n - j < FILL_PANELS * COLS ? n - j : FILL_PANELS * COLS;
        const size_t count = (width + COLS - 1) / COLS;
        size_t steps = chunk - k0 % chunk;

        find_pieces(p, n0 + j, width, pieces);
        for (size_t at = 0; at < k; at += steps, steps = chunk) {
            steps = count == 1 || steps > k - at ? k - at : steps;
            for (size_t i = 0; i < count; i++) {
                const vqc_gemm_gather g = {.x = planes,
                                           .offset = p->in.offset + k0 + at,
                                           .k = steps,
                                           .start = pieces[i].start,
                                           .column = pieces[i].column,
                                           .pieces = pieces[i].count,
                                           .out = panels + (i * k + at) * COLS};

                vqc_kernels_get()->f32_gemm_gather(&g);
            }
        }
    }
}

/* Whether planes with padding are of a size like the input's and output's; huge padding or strides
 * make them larger. */
static bool planes_fit(const vqc_conv *conv, const vqc_conv_planes *p)
{
    const double most = (double)conv->in_size + (double)conv->out_size * (double)conv->m;

    return (double)p->plane_floats <= MOST_PADDING * most + MIN_PLANE_FLOATS;
}

/* Plans planes and takes memory for those of some images, padding zero; p->planes stays NULL when
 * they do not pay. */
static vqc_status make_planes(vqc_exec_call *call, const vqc_conv *conv, padded *p)
{
    size_t floats, size_bytes;
    const vqc_status status = vqc_conv_planes_plan(call, conv, &p->in);

    if (status != VQC_OK || !planes_fit(conv, &p->in)) {
        return status;
    }
    p->conv = conv;
    if (!vqc_size_mul(p->in.plane_floats, conv->c * conv->group, &p->image_floats)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    p->images = p->image_floats > 0 ? CHUNK_FLOATS / p->image_floats : conv->n;
    p->images = p->images < 1 ? 1 : p->images < conv->n ? p->images : conv->n;
    /* Behind the last plane a gather reads what it does not use. */
    if (!vqc_size_mul(p->image_floats, p->images, &floats) ||
        !vqc_size_add(floats, COLS, &floats) ||
        !vqc_size_mul(floats, sizeof *p->planes, &size_bytes)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    p->planes = vqc_exec_scratch(call, size_bytes);
    if (p->planes == NULL) {
        return vqc_operand_failed(call);
    }
    memset(p->planes, 0, size_bytes);
    return VQC_OK;
}

/* The planes of `images` images x. */
static void fill_images(const vqc_exec_call *call, const padded *p, const float *x, size_t images)
{
    const vqc_conv *conv = p->conv;
    const size_t channels = images * conv->group * conv->c;
    const bool large = channels * conv->in_size >= MIN_PARALLEL_FLOATS;
    size_t threads = call->threads > 1 && large ? (size_t)call->threads : 1;

    threads = threads < channels ? threads : channels;
#pragma omp parallel for schedule(static, 1) num_threads((int)threads) if (threads > 1)
    for (size_t thread = 0; thread < threads; thread++) {
        const size_t from = thread * channels / threads;
        const size_t to = (thread + 1) * channels / threads;

        vqc_conv_planes_copy(conv, &p->in, x + from * conv->in_size, to - from,
                             p->planes + from * p->in.plane_floats);
    }
}

/* ---- the convolution ---- */

/* Whether output position i reads input position i only. */
static bool is_pointwise(const vqc_conv *conv)
{
    for (size_t i = 0; i < VQC_CONV_AXES; i++) {
        if (conv->kernel[i] != 1 || conv->stride[i] != 1 || conv->pad[i] != 0 ||
            conv->in[i] != conv->out[i]) {
            return false;
        }
    }
    return true;
}

/* Whether an output channel is one number, of all elements of its input channels. */
static bool is_single(const vqc_conv *conv)
{
    for (size_t i = 0; i < VQC_CONV_AXES; i++) {
        if (conv->kernel[i] != conv->in[i] || conv->pad[i] != 0 || conv->out[i] != 1) {
            return false;
        }
    }
    return true;
}

/* Such a convolution: all images as rows times the weights, so that output channels and not the one
 * output position fill the vectors. */
static vqc_status run_single(vqc_exec_call *call, const vqc_conv *conv, vqc_conv_weights *weights,
                             const float *x, const float *bias, float *y)
{
    const size_t k = conv->c * conv->taps;
    const float *right = packed_weights(weights, true);
    const float *residual = call->epilogue.residual;
    vqc_gemm_item *items = vqc_exec_scratch(call, conv->group * sizeof *items);
    vqc_gemm g = {.m = conv->n,
                  .n = conv->m,
                  .k = k,
                  .c_stride = conv->group * conv->m,
                  .left = vqc_gemm_left_rows(conv->n, conv->group * k),
                  .right = vqc_gemm_right_packed(),
                  .epilogue = call->epilogue,
                  .threads = call->threads,
                  .items = items,
                  .item_count = conv->group};
    void *scratch = vqc_exec_scratch(call, vqc_gemm_scratch_bytes(&g));

    if (right == NULL) {
        return vqc_fail_memory(call->error, conv->group * weights->right_floats * sizeof *right);
    }
    if (items == NULL || scratch == NULL) {
        return vqc_operand_failed(call);
    }
    for (size_t i = 0; i < conv->group; i++) {
        items[i] = (vqc_gemm_item){.a = x + i * k,
                                   .b = right + i * weights->right_floats,
                                   .c = y + i * conv->m,
                                   .col_bias = bias != NULL ? bias + i * conv->m : NULL,
                                   .residual = residual != NULL ? residual + i * conv->m : NULL};
    }
    vqc_gemm_run(&g, scratch);
    return VQC_OK;
}

/* Product i, over images and groups, but for its right side. */
static vqc_gemm_item item_of(const vqc_exec_call *call, const vqc_conv *conv, const float *left,
                             size_t group_floats, const float *bias, float *y, size_t i)
{
    const float *residual = call->epilogue.residual;
    const size_t to = i * conv->m * conv->out_size;

    return (vqc_gemm_item){.a = left + i % conv->group * group_floats,
                           .c = y + to,
                           .row_bias = bias != NULL ? bias + i % conv->group * conv->m : NULL,
                           .residual = residual != NULL ? residual + to : NULL};
}

vqc_status vqc_conv_f32(vqc_exec_call *call, const vqc_conv *conv, vqc_conv_weights *weights,
                        const float *x, const float *bias, float *y)
{
    const size_t image = conv->group * conv->c * conv->in_size;
    padded p = {.images = conv->n};
    vqc_gemm g = {.m = conv->m,
                  .n = conv->out_size,
                  .k = conv->c * conv->taps,
                  .c_stride = conv->out_size,
                  .left = vqc_gemm_left_packed(conv->m, conv->c * conv->taps),
                  .right = vqc_gemm_right_rows(conv->in_size),
                  .epilogue = call->epilogue,
                  .threads = call->threads};
    const float *left;
    vqc_gemm_item *items;
    void *scratch;
    vqc_status status = VQC_OK;

    if (conv->n == 0 || conv->out_size == 0 || conv->m == 0) {
        return VQC_OK;
    }
    if (vqc_conv_taps_fit(conv)) {
        return vqc_conv_taps(call, conv, weights->plain, x, bias, y);
    }
    if (is_single(conv)) {
        return run_single(call, conv, weights, x, bias, y);
    }
    left = packed_weights(weights, false);
    if (left == NULL) {
        return vqc_fail_memory(call->error, conv->group * weights->left_floats * sizeof *left);
    }
    if (!is_pointwise(conv)) {
        status = make_planes(call, conv, &p);
        g.right = (vqc_gemm_right){.form = VQC_GEMM_RIGHT_FILL,
                                   .fill = p.planes != NULL ? fill_planes : fill_im2col,
                                   .context = p.planes != NULL ? (const void *)&p : conv};
    }
    items = vqc_exec_scratch(call, p.images * conv->group * sizeof *items);
    g.item_count = p.images * conv->group;
    scratch = vqc_exec_scratch(call, vqc_gemm_scratch_bytes(&g));
    if (status != VQC_OK || items == NULL || scratch == NULL) {
        return status != VQC_OK ? status : vqc_operand_failed(call);
    }
    g.items = items;
    for (size_t n = 0; n < conv->n; n += p.images) {
        const size_t images = p.images < conv->n - n ? p.images : conv->n - n;

        g.item_count = images * conv->group;
        if (p.planes != NULL) {
            fill_images(call, &p, x + n * image, images);
        }
        for (size_t i = 0; i < g.item_count; i++) {
            items[i] =
                item_of(call, conv, left, weights->left_floats, bias, y, n * conv->group + i);
            items[i].b = p.planes != NULL ? p.planes + i * conv->c * p.in.plane_floats
                                          : x + n * image + i * conv->c * conv->in_size;
        }
        vqc_gemm_run(&g, scratch);
    }
    return VQC_OK;
}
