/* Static quantization, the numbers: ranges, scales and zero points of activations. */
#ifndef VQC_CORE_STATIC_STATIC_RANGES_H
#define VQC_CORE_STATIC_STATIC_RANGES_H

#include "core/static/static_plan.h"

/* Range of one tensor by its own observer and statistics (AUTO counts as mse). */
vqc_range vqc_tensor_range(const vqc_static_plan *plan, size_t tensor);

/*
 * Makes range, scale, zero_point, bits and sign of every quantized tensor; tensors with one root
 * get the union of their ranges. scale = (max - min) / (2^bits - 1), zero_point = round(lo - min /
 * scale); symmetric: scale = max(|min|, |max|) / (2^(bits-1) - 1), zero_point in the middle.
 */
void vqc_static_ranges(vqc_static_plan *plan);

#endif
