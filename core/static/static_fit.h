/* Static quantization, the weights: codes, and biases that take over what rounding changed. */
#ifndef VQC_CORE_STATIC_STATIC_FIT_H
#define VQC_CORE_STATIC_STATIC_FIT_H

#include "core/static/static_plan.h"

/*
 * Codes the weights of all float32 layers with codec int (plan_layer.code and .decoded, in `arena`;
 * payloads in the model's arena), those of LINEAR units and the others. A weight that cannot be
 * coded makes its unit FLOAT.
 */
vqc_status vqc_static_fit_weights(vqc_static_plan *plan, vqc_arena *arena, vqc_error *error);

/*
 * bias += (W - W') E[x] per output channel, with the means that calibration saw per input channel
 * (Nagel et al., "Data-Free Quantization", ICCV 2019, section 4.2, with measured means). For a
 * convolution the border, where part of the window is padding, is treated like the inside. Units
 * without channel means, and MatMul, which has no bias, stay as they are. *corrected: how many.
 */
vqc_status vqc_static_correct_biases(vqc_static_plan *plan, size_t *corrected, vqc_error *error);

/* Takes the corrections back. */
void vqc_static_uncorrect_biases(vqc_static_plan *plan);

/*
 * int32 biases must hold bias / (input scale * weight scale): where that would pass 2^30 the weight
 * scale of the channel is raised and its codes are made anew. *raised: how many channels.
 */
vqc_status vqc_static_fit_biases(vqc_static_plan *plan, size_t *raised, vqc_error *error);

#endif
