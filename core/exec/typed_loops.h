/* Loops over arrays of one C type for what would otherwise go through the computing classes of
 * element.h: comparisons, casts, selections, powers. Inputs may be unaligned. */
#ifndef VQC_CORE_EXEC_TYPED_LOOPS_H
#define VQC_CORE_EXEC_TYPED_LOOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/exec/exec_binary.h"

/* The loop of a comparison operator of ONNX ("Less", ...) for two tensors of `dtype` into bool;
 * NULL where there is none for the type. */
vqc_binary_bytes *vqc_typed_compare(const char *op, int32_t dtype);

/* y[i] = x[i] for n values, as Cast defines it; x and y do not overlap. */
typedef void vqc_typed_cast_fn(const void *x, size_t n, void *y);

/* NULL where there is no loop for the pair of types. The same values as vqc_element_convert. */
vqc_typed_cast_fn *vqc_typed_cast(int32_t from, int32_t to);

/* y[i] = condition[i] ? yes[i] : no[i] for n elements of `width` bytes. */
void vqc_typed_select(const unsigned char *condition, const void *yes, const void *no, size_t n,
                      size_t width, void *y);

/* y[i] = x[i]^exponent, y may be x; false, and nothing is done, for an exponent other than -1, 0,
 * 0.5, 1, 2, 3. Special values as powf has them. */
bool vqc_typed_power(const float *x, size_t n, float exponent, float *y);

#endif
