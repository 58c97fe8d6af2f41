/* Elementwise operators of float32 tensors by kernels, with broadcasting. */
#ifndef VQC_CORE_EXEC_EXEC_BINARY_H
#define VQC_CORE_EXEC_EXEC_BINARY_H

#include "core/exec/exec_op.h"

/* y[i] = a[i * a_step] op b[i * b_step] for n values, steps 0 or 1; y may be a or b. */
typedef void vqc_binary_f32(const float *a, size_t a_step, const float *b, size_t b_step, size_t n,
                            float *y);

/* out = a op b, both broadcast to out's shape (which the caller has checked); out->data may be that
 * of an input of the same shape. Uses up to `threads` threads for large tensors. */
void vqc_binary_run(vqc_binary_f32 *kernel, const vqc_buffer *a, const vqc_buffer *b,
                    vqc_buffer *out, int threads);

/* The same for inputs of any one type and an output of any type; elements as the buffers have
 * them. y does not overlap a and b. */
typedef void vqc_binary_bytes(const void *a, size_t a_step, const void *b, size_t b_step, size_t n,
                              void *y);

/* vqc_binary_run for such a loop; out->data is its own. */
void vqc_binary_run_bytes(vqc_binary_bytes *loop, const vqc_buffer *a, const vqc_buffer *b,
                          vqc_buffer *out, int threads);

#endif
