/* Strided views of buffers, read as a stream: what broadcasting, Transpose, Slice, ... have in
 * common. */
#ifndef VQC_CORE_EXEC_VIEW_H
#define VQC_CORE_EXEC_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include "core/exec/buffer.h"

/* Elements data + strides . index for every index below dims, last axis fastest. Strides count
 * elements and may be 0 (broadcast) or negative (Slice backwards). */
typedef struct vqc_view {
    const unsigned char *data; /* element at index 0, 0, ... */
    size_t width;              /* bytes per element */
    size_t rank;
    size_t dims[VQC_EXEC_MAX_RANK];
    ptrdiff_t strides[VQC_EXEC_MAX_RANK];
} vqc_view;

/* Reads a view front to back in pieces. */
typedef struct vqc_reader {
    vqc_view view; /* axes that are contiguous together are joined */
    size_t index[VQC_EXEC_MAX_RANK];
    const unsigned char *at;
    bool dense; /* the whole view is one contiguous run */
} vqc_reader;

/* The buffer as it is. */
vqc_view vqc_view_of(const vqc_buffer *buffer);

/* The buffer broadcast to dims [rank] by NumPy's rules; false when it does not fit. */
bool vqc_view_broadcast(const vqc_buffer *buffer, const int64_t *dims, size_t rank, vqc_view *out);

/* Starts reading. A view without elements (a zero dim) must not be read. */
void vqc_reader_start(vqc_reader *reader, const vqc_view *view);

/* The next n elements, contiguous: in `scratch` [n * width] or, when they already are, in place.
 * The caller never asks for more than the view has. */
const void *vqc_reader_next(vqc_reader *reader, size_t n, void *scratch);

/* Copies the whole view of `elements` elements to target [elements * width]. */
void vqc_view_copy(const vqc_view *view, size_t elements, void *target);

/* The same with up to `threads` threads when it is large. */
void vqc_view_copy_threads(const vqc_view *view, size_t elements, void *target, int threads);

/* `count` rows of `bytes`, which lie target_step and source_step bytes apart; short rows of the
 * usual sizes are moved without a call each. Target and source do not overlap. */
void vqc_copy_rows(void *target, size_t target_step, const void *source, ptrdiff_t source_step,
                   size_t count, size_t bytes);

/* NumPy's common shape of two shapes; false when they do not broadcast or the rank is too large.
 * dims [*rank] is read and written. */
bool vqc_broadcast_dims(int64_t *dims, size_t *rank, const int64_t *other, size_t other_rank);

#endif
