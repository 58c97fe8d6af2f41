/* Arrays in the class that an operator computes in, and small things that operator families share.
 */
#ifndef VQC_CORE_EXEC_WORKING_H
#define VQC_CORE_EXEC_WORKING_H

#include <stddef.h>
#include <stdint.h>

#include "core/exec/exec_index.h"
#include "core/exec/exec_op.h"

/* Bytes of one element of a class: 4 for VQC_CLASS_F32, else 8. */
size_t vqc_class_width(vqc_class class);

/*
 * The values of a buffer as `class` [buffer->elements]: in place when they are stored like that and
 * aligned, else converted into scratch memory of this run. NULL and call->error when out of memory.
 * The buffer's type must have a class.
 */
const void *vqc_exec_values(vqc_exec_call *call, const vqc_buffer *buffer, vqc_class class);

/* Where a result of `class` is computed: the buffer itself when it stores that class and is
 * aligned, else scratch memory [out->elements]. NULL and call->error when out of memory. */
void *vqc_exec_target(vqc_exec_call *call, const vqc_buffer *out, vqc_class class);

/* Stores what was computed in the target (which is used up); floats are truncated to integers. */
void vqc_exec_target_store(vqc_buffer *out, vqc_class class, void *values);

/* Scratch memory for a * b elements of `width` bytes, checked; zeroed when `zeroed`. */
void *vqc_exec_scratch_array(vqc_exec_call *call, size_t a, size_t b, size_t width, bool zeroed);

/* Error unless the buffer (input `index`, may be NULL) is absent or has `rank` and `dtype` (0: any
 * type). A dim >= 0 in dims [rank] must match. */
vqc_status vqc_exec_expect(vqc_exec_call *call, size_t index, int32_t dtype, size_t rank,
                           const int64_t *dims);

/*
 * c [m, n] += a [m, k] b [k, n], all dense and of one class; each c is one chain of products in the
 * order of k (fused multiply-adds in float32), at any number of threads. Integers wrap.
 */
void vqc_exec_multiply(vqc_class class, const void *a, const void *b, void *c, size_t m, size_t k,
                       size_t n, int threads);

/* One operand of vqc_exec_multiply_rows: rows `stride` elements apart. */
typedef struct vqc_rows {
    const void *data;
    size_t stride;
} vqc_rows;

/* The same with rows that lie apart; those of c lie c_stride elements apart. */
void vqc_exec_multiply_rows(vqc_class class, vqc_rows a, vqc_rows b, void *c, size_t c_stride,
                            size_t m, size_t k, size_t n, int threads);

#endif
