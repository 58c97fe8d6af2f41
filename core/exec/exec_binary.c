#include "core/exec/exec_binary.h"

enum {
    BLOCK = 1 << 14,            /* elements that a thread takes at a time: 64 KiB */
    THREADS_PAY_FROM = 1 << 18, /* elements */
};

/* Both inputs over the output's axes, axes that are contiguous in both joined. */
typedef struct joined_pair {
    size_t rank;
    size_t dims[VQC_EXEC_MAX_RANK];
    size_t strides[2][VQC_EXEC_MAX_RANK];
} joined_pair;

static joined_pair join_axes(const vqc_view *a, const vqc_view *b)
{
    joined_pair pair = {0};

    for (size_t i = 0; i < a->rank; i++) {
        size_t dim = a->dims[i];
        size_t sa = (size_t)a->strides[i]; /* broadcast views have no negative strides */
        size_t sb = (size_t)b->strides[i];
        size_t last = pair.rank - 1;

        if (dim == 1) {
            continue;
        }
        if (pair.rank > 0 && pair.strides[0][last] == sa * dim &&
            pair.strides[1][last] == sb * dim) {
            pair.dims[last] *= dim;
            pair.strides[0][last] = sa;
            pair.strides[1][last] = sb;
            continue;
        }
        pair.dims[pair.rank] = dim;
        pair.strides[0][pair.rank] = sa;
        pair.strides[1][pair.rank++] = sb;
    }
    if (pair.rank == 0) {
        pair.rank = 1;
        pair.dims[0] = 1;
    }
    return pair;
}

/* Where row `row` (all axes but the last) starts in input `which`. */
static size_t row_offset(const joined_pair *pair, size_t which, size_t row)
{
    size_t offset = 0;

    for (size_t d = pair->rank - 1; d-- > 0;) {
        offset += row % pair->dims[d] * pair->strides[which][d];
        row /= pair->dims[d];
    }
    return offset;
}

/* One of the two. */
typedef struct any_loop {
    vqc_binary_f32 *f32;
    vqc_binary_bytes *bytes;
} any_loop;

static void run_any(any_loop loop, const vqc_buffer *a, const vqc_buffer *b, vqc_buffer *out,
                    int threads)
{
    vqc_view views[2];
    joined_pair pair;
    size_t length;
    size_t blocks;
    size_t items;

    if (out->elements == 0) {
        return;
    }
    (void)vqc_view_broadcast(a, out->dims, out->rank, &views[0]);
    (void)vqc_view_broadcast(b, out->dims, out->rank, &views[1]);
    pair = join_axes(&views[0], &views[1]);
    length = pair.dims[pair.rank - 1];
    blocks = length / BLOCK + (length % BLOCK != 0);
    items = out->elements / length * blocks;
    threads = threads > 1 && out->elements >= THREADS_PAY_FROM ? threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (size_t item = 0; item < items; item++) {
        size_t row = item / blocks;
        size_t at = item % blocks * BLOCK;
        size_t n = length - at < BLOCK ? length - at : BLOCK;
        size_t step_a = pair.strides[0][pair.rank - 1];
        size_t step_b = pair.strides[1][pair.rank - 1];
        const void *left = a->data + (row_offset(&pair, 0, row) + at * step_a) * a->width;
        const void *right = b->data + (row_offset(&pair, 1, row) + at * step_b) * b->width;
        void *y = out->data + (row * length + at) * out->width;

        if (loop.f32 != NULL) {
            loop.f32(left, step_a, right, step_b, n, y);
        } else {
            loop.bytes(left, step_a, right, step_b, n, y);
        }
    }
}

void vqc_binary_run(vqc_binary_f32 *kernel, const vqc_buffer *a, const vqc_buffer *b,
                    vqc_buffer *out, int threads)
{
    run_any((any_loop){.f32 = kernel}, a, b, out, threads);
}

void vqc_binary_run_bytes(vqc_binary_bytes *loop, const vqc_buffer *a, const vqc_buffer *b,
                          vqc_buffer *out, int threads)
{
    run_any((any_loop){.bytes = loop}, a, b, out, threads);
}
