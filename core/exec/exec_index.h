/* What operators that address elements by index have in common. */
#ifndef VQC_CORE_EXEC_EXEC_INDEX_H
#define VQC_CORE_EXEC_EXEC_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/exec/exec_op.h"

/* Product of dims [from, to); the buffer that they describe exists, so it does not overflow unless
 * another dim is 0: then it is not the size of anything and must not be used. */
size_t vqc_exec_product(const int64_t *dims, size_t from, size_t to);

/* Index `position` of an int32 or int64 tensor, negative ones counted from the end; false when it
 * lies outside of [-extent, extent). */
static inline bool vqc_exec_index_at(const vqc_buffer *indices, size_t position, size_t extent,
                                     size_t *index)
{
    int64_t value;

    if (indices->dtype == VQC_DTYPE_INT64) {
        memcpy(&value, indices->data + position * sizeof value, sizeof value);
    } else {
        int32_t narrow;
        memcpy(&narrow, indices->data + position * sizeof narrow, sizeof narrow);
        value = narrow;
    }
    value += value < 0 ? (int64_t)extent : 0;
    *index = (size_t)value;
    return value >= 0 && (uint64_t)value < extent;
}

/* One element of `width` bytes; the usual widths without a call. */
static inline void vqc_exec_move(void *target, const void *source, size_t width)
{
    if (width == 4) {
        memcpy(target, source, 4);
    } else if (width == 8) {
        memcpy(target, source, 8);
    } else {
        memcpy(target, source, width);
    }
}

/* Error unless the tensor's type is int64 or, where allowed, int32. */
vqc_status vqc_exec_check_indices(vqc_exec_call *call, const vqc_buffer *indices, bool allow_int32);

/* The error for an entry for which vqc_exec_index_at() is false. */
vqc_status vqc_exec_bad_index(vqc_exec_call *call, size_t position, size_t extent);

/* Which of `choices` [count] the text attribute `name` is, the first one when it is absent; error
 * for any other text. */
vqc_status vqc_exec_choice(vqc_exec_call *call, const char *name, const char *const *choices,
                           size_t count, size_t *chosen);

/*
 * keys [n] of the elements start, start + stride, ... of a buffer of numbers: unsigned integers in
 * the order of the values (-0 equals +0, all NaN are equal and above everything).
 */
void vqc_exec_order_keys(const vqc_buffer *buffer, size_t start, size_t stride, size_t n,
                         uint64_t *keys);

#endif
