/* Copies of strided views in the order of the result: Transpose, Slice, Expand, DepthToSpace. */
#include <string.h>

#include "core/exec/view.h"
#include "kernels/kernels.h"

enum {
    TILE_FAST = 16,           /* along the axis that is contiguous in the source: a cache line */
    TILE_LAST = 16,           /* along the axis that is contiguous in the result */
    PARALLEL_BYTES = 4 << 20, /* below that, starting threads costs more than it saves */
    ROWS_PER_UNIT_BYTES = 1 << 15
};

/* The axes of the view but those that the innermost loops take. */
typedef struct outer_axes {
    size_t rank;
    size_t dims[VQC_EXEC_MAX_RANK];
    ptrdiff_t source[VQC_EXEC_MAX_RANK]; /* strides in bytes */
    ptrdiff_t target[VQC_EXEC_MAX_RANK];
    size_t count; /* product of dims */
} outer_axes;

/* Where flat index `i` of the outer axes lies. */
static void locate(const outer_axes *o, size_t i, ptrdiff_t *source, ptrdiff_t *target)
{
    *source = *target = 0;
    for (size_t k = o->rank; k-- > 0;) {
        size_t at = i % o->dims[k];
        i /= o->dims[k];
        *source += (ptrdiff_t)at * o->source[k];
        *target += (ptrdiff_t)at * o->target[k];
    }
}

static void add_axis(outer_axes *o, size_t dim, ptrdiff_t source, ptrdiff_t target)
{
    o->dims[o->rank] = dim;
    o->source[o->rank] = source;
    o->target[o->rank++] = target;
    o->count *= dim;
}

/* ---- rows that are contiguous in both ---- */

void vqc_copy_rows(void *target, size_t target_step, const void *source, ptrdiff_t source_step,
                   size_t count, size_t bytes)
{
    unsigned char *to = target;
    const unsigned char *from = source;

#define COPY_CONSTANT(size)                                                                        \
    case size:                                                                                     \
        for (size_t i = 0; i < count; i++, from += source_step, to += target_step) {               \
            memcpy(to, from, size);                                                                \
        }                                                                                          \
        break;
    switch (bytes) {
        COPY_CONSTANT(1)
        COPY_CONSTANT(2)
        COPY_CONSTANT(4)
        COPY_CONSTANT(8)
        COPY_CONSTANT(12)
        COPY_CONSTANT(16)
        COPY_CONSTANT(32)
        COPY_CONSTANT(64)
    case 0:
        break;
    default:
        for (size_t i = 0; i < count; i++, from += source_step, to += target_step) {
            memcpy(to, from, bytes);
        }
        break;
    }
#undef COPY_CONSTANT
}

static void copy_contiguous(const vqc_view *view, unsigned char *target, int threads)
{
    outer_axes o = {.count = 1};
    size_t last = view->rank - 1;
    size_t row = view->dims[last] * view->width;
    size_t count = last > 0 ? view->dims[last - 1] : 1;
    ptrdiff_t step = last > 0 ? view->strides[last - 1] * (ptrdiff_t)view->width : 0;
    ptrdiff_t place = (ptrdiff_t)(count * row);
    size_t parts = 1; /* of the rows, when there are few outer indices */

    for (size_t i = last > 0 ? last - 1 : 0; i-- > 0;) {
        add_axis(&o, view->dims[i], view->strides[i] * (ptrdiff_t)view->width, place);
        place *= (ptrdiff_t)view->dims[i];
    }
    for (size_t i = 0; i < o.rank / 2; i++) { /* last axis fastest */
        outer_axes swap = o;
        o.dims[i] = swap.dims[o.rank - 1 - i];
        o.source[i] = swap.source[o.rank - 1 - i];
        o.target[i] = swap.target[o.rank - 1 - i];
        o.dims[o.rank - 1 - i] = swap.dims[i];
        o.source[o.rank - 1 - i] = swap.source[i];
        o.target[o.rank - 1 - i] = swap.target[i];
    }
    if (threads > 1 && o.count < 4 * (size_t)threads) {
        parts = count * row / ROWS_PER_UNIT_BYTES + 1;
        parts = parts > count ? count : parts;
    }
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size_t i = 0; i < o.count * parts; i++) {
        size_t part = i % parts;
        size_t from = count / parts * part;
        size_t to = part + 1 == parts ? count : from + count / parts;
        ptrdiff_t source;
        ptrdiff_t at;

        locate(&o, i / parts, &source, &at);
        vqc_copy_rows(target + at + (ptrdiff_t)(from * row), row,
                      view->data + source + (ptrdiff_t)from * step, step, to - from, row);
    }
}

/* ---- transposes: one axis is contiguous in the source, another one in the target ---- */

typedef struct plane {
    size_t fast;         /* elements along the axis that is contiguous in the source */
    size_t last;         /* along the axis that is contiguous in the target */
    ptrdiff_t from_step; /* bytes between neighbours of the last axis in the source */
    ptrdiff_t to_step;   /* bytes between neighbours of the fast axis in the target */
} plane;

/* Elements [0, fast) of the fast axis by the whole last axis, in tiles of which source and target
 * stay in the cache. */
#define TRANSPOSE_WIDTH(bytes)                                                                     \
    static void transpose_##bytes(const plane *p, const unsigned char *source,                     \
                                  unsigned char *target, size_t fast)                              \
    {                                                                                              \
        for (size_t b0 = 0; b0 < p->last; b0 += TILE_LAST) {                                       \
            size_t n = p->last - b0 < TILE_LAST ? p->last - b0 : TILE_LAST;                        \
            const unsigned char *from = source + (ptrdiff_t)b0 * p->from_step;                     \
            unsigned char *to = target + b0 * (bytes);                                             \
            for (size_t a = 0; a < fast; a++, from += (bytes), to += p->to_step) {                 \
                const unsigned char *at = from;                                                    \
                for (size_t b = 0; b < n; b++, at += p->from_step) {                               \
                    memcpy(to + b * (bytes), at, bytes);                                           \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
TRANSPOSE_WIDTH(1)
TRANSPOSE_WIDTH(2)
TRANSPOSE_WIDTH(4)
TRANSPOSE_WIDTH(8)
TRANSPOSE_WIDTH(16)

static void transpose_tile(size_t width, const plane *p, const unsigned char *source,
                           unsigned char *target, size_t fast)
{
    switch (width) {
    case 1:
        transpose_1(p, source, target, fast);
        break;
    case 2:
        transpose_2(p, source, target, fast);
        break;
    case 4:
        if (p->last >= 8 && fast >= 8 && p->from_step > 0 && p->from_step % 4 == 0) {
            vqc_kernels_get()->f32_transpose((const float *)(const void *)source, p->last, fast,
                                             (size_t)p->from_step / 4, (float *)(void *)target,
                                             (size_t)p->to_step / 4);
        } else {
            transpose_4(p, source, target, fast);
        }
        break;
    case 8:
        transpose_8(p, source, target, fast);
        break;
    default:
        transpose_16(p, source, target, fast);
        break;
    }
}

/* `fast` is the axis with stride 1. */
static void copy_transposed(const vqc_view *view, size_t fast, unsigned char *target, int threads)
{
    size_t last = view->rank - 1;
    ptrdiff_t width = (ptrdiff_t)view->width;
    ptrdiff_t places[VQC_EXEC_MAX_RANK]; /* strides of the target in bytes */
    outer_axes o = {.count = 1};
    plane p = {.fast = view->dims[fast],
               .last = view->dims[last],
               .from_step = view->strides[last] * width};
    size_t tile = (size_t)TILE_FAST * 4 / view->width; /* a cache line */
    size_t tiles;

    places[last] = width;
    for (size_t i = last; i-- > 0;) {
        places[i] = places[i + 1] * (ptrdiff_t)view->dims[i + 1];
    }
    p.to_step = places[fast];
    for (size_t i = 0; i < last; i++) {
        if (i != fast) {
            add_axis(&o, view->dims[i], view->strides[i] * width, places[i]);
        }
    }
    tile = tile > p.fast ? p.fast : tile;
    tile = p.last < TILE_LAST ? p.fast : tile; /* few long streams: no need for tiles */
    if (p.last < TILE_LAST && threads > 1) {
        tile = p.fast / (size_t)threads + 1;
    }
    tiles = p.fast / tile + (p.fast % tile != 0);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size_t i = 0; i < o.count * tiles; i++) {
        size_t from = i % tiles * tile;
        size_t n = p.fast - from < tile ? p.fast - from : tile;
        ptrdiff_t source;
        ptrdiff_t at;

        locate(&o, i / tiles, &source, &at);
        transpose_tile(view->width, &p, view->data + source + (ptrdiff_t)from * width,
                       target + at + (ptrdiff_t)from * p.to_step, n);
    }
}

void vqc_view_copy_threads(const vqc_view *view, size_t elements, void *target, int threads)
{
    vqc_reader reader;
    const vqc_view *joined = &reader.view;
    size_t last;
    size_t fast;

    if (elements == 0) {
        return;
    }
    if (threads < 1 || elements * view->width < PARALLEL_BYTES) {
        threads = 1;
    }
    vqc_reader_start(&reader, view);
    last = joined->rank - 1;
    for (fast = 0; fast < last && joined->strides[fast] != 1; fast++) {
    }
    if (reader.dense) {
        memcpy(target, view->data, elements * view->width);
    } else if (joined->strides[last] == 1) {
        copy_contiguous(joined, target, threads);
    } else if (fast < last) {
        copy_transposed(joined, fast, target, threads);
    } else {
        vqc_reader_next(&reader, elements, target);
    }
}
