#include "core/exec/view.h"

#include <string.h>

vqc_view vqc_view_of(const vqc_buffer *buffer)
{
    vqc_view view = {buffer->data, buffer->width, buffer->rank, {0}, {0}};
    ptrdiff_t stride = 1;

    for (size_t i = buffer->rank; i-- > 0;) {
        view.dims[i] = (size_t)buffer->dims[i];
        view.strides[i] = stride;
        stride *= buffer->dims[i] > 0 ? (ptrdiff_t)buffer->dims[i] : 1;
    }
    return view;
}

bool vqc_view_broadcast(const vqc_buffer *buffer, const int64_t *dims, size_t rank, vqc_view *out)
{
    vqc_view own = vqc_view_of(buffer);

    if (buffer->rank > rank || rank > VQC_EXEC_MAX_RANK) {
        return false;
    }
    *out = own;
    out->rank = rank;
    for (size_t i = 0; i < rank; i++) {
        size_t missing = rank - own.rank;
        bool wide = i >= missing && own.dims[i - missing] != 1;

        if (wide && own.dims[i - missing] != (size_t)dims[i]) {
            return false;
        }
        out->dims[i] = (size_t)dims[i];
        out->strides[i] = wide ? own.strides[i - missing] : 0;
    }
    return true;
}

void vqc_reader_start(vqc_reader *reader, const vqc_view *view)
{
    vqc_view *joined = &reader->view;

    memset(reader, 0, sizeof *reader);
    joined->data = view->data;
    joined->width = view->width;
    for (size_t i = 0; i < view->rank; i++) {
        size_t last = joined->rank - 1;

        if (view->dims[i] == 1) {
            continue;
        }
        if (joined->rank > 0 &&
            joined->strides[last] == view->strides[i] * (ptrdiff_t)view->dims[i]) {
            joined->dims[last] *= view->dims[i];
            joined->strides[last] = view->strides[i];
            continue;
        }
        joined->dims[joined->rank] = view->dims[i];
        joined->strides[joined->rank++] = view->strides[i];
    }
    if (joined->rank == 0) {
        joined->rank = 1;
        joined->dims[0] = 1;
        joined->strides[0] = 1;
    }
    reader->at = view->data;
    reader->dense = joined->rank == 1 && joined->strides[0] == 1;
}

/* Copies n elements that lie `stride` elements apart; one loop per width so that it is a plain
 * move. */
static void gather(unsigned char *target, const unsigned char *from, ptrdiff_t stride, size_t n,
                   size_t width)
{
    ptrdiff_t step = stride * (ptrdiff_t)width;

#define GATHER_WIDTH(bytes)                                                                        \
    case bytes:                                                                                    \
        for (size_t i = 0; i < n; i++, from += step) {                                             \
            memcpy(target + i * bytes, from, bytes);                                               \
        }                                                                                          \
        break;
    if (stride == 1) {
        memcpy(target, from, n * width);
        return;
    }
    switch (width) {
        GATHER_WIDTH(1)
        GATHER_WIDTH(2)
        GATHER_WIDTH(4)
        GATHER_WIDTH(8)
        GATHER_WIDTH(16)
    default:
        break;
    }
#undef GATHER_WIDTH
}

/* Moves the reader n elements on along the last axis (n <= what is left of it). */
static void advance(vqc_reader *reader, size_t n)
{
    const vqc_view *view = &reader->view;
    size_t axis = view->rank - 1;
    ptrdiff_t width = (ptrdiff_t)view->width;

    reader->index[axis] += n;
    reader->at += (ptrdiff_t)n * view->strides[axis] * width;
    while (axis > 0 && reader->index[axis] == view->dims[axis]) {
        reader->at -= (ptrdiff_t)view->dims[axis] * view->strides[axis] * width;
        reader->index[axis--] = 0;
        reader->index[axis]++;
        reader->at += view->strides[axis] * width;
    }
}

const void *vqc_reader_next(vqc_reader *reader, size_t n, void *scratch)
{
    size_t last = reader->view.rank - 1;
    unsigned char *target = scratch;
    const unsigned char *at = reader->at;

    if (reader->dense) {
        reader->at += n * reader->view.width;
        return at;
    }
    while (n > 0) {
        size_t run = reader->view.dims[last] - reader->index[last];

        run = run < n ? run : n;
        gather(target, reader->at, reader->view.strides[last], run, reader->view.width);
        target += run * reader->view.width;
        n -= run;
        advance(reader, run);
    }
    return scratch;
}

void vqc_view_copy(const vqc_view *view, size_t elements, void *target)
{
    vqc_view_copy_threads(view, elements, target, 1);
}

bool vqc_broadcast_dims(int64_t *dims, size_t *rank, const int64_t *other, size_t other_rank)
{
    size_t common = *rank > other_rank ? *rank : other_rank;
    int64_t own[VQC_EXEC_MAX_RANK];

    if (common > VQC_EXEC_MAX_RANK) {
        return false;
    }
    memcpy(own, dims, *rank * sizeof *own);
    for (size_t i = 0; i < common; i++) {
        int64_t a = i < common - *rank ? 1 : own[i - (common - *rank)];
        int64_t b = i < common - other_rank ? 1 : other[i - (common - other_rank)];

        if (a != b && a != 1 && b != 1) {
            return false;
        }
        dims[i] = a == 1 ? b : a;
    }
    *rank = common;
    return true;
}
