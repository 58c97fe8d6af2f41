/* Balanced rounding: codes rounded so that the errors of the weights behind one output cancel. */
#ifndef VQC_CORE_CODEC_INT_BALANCE_H
#define VQC_CORE_CODEC_INT_BALANCE_H

#include "core/codec/codec.h"

/* Whether the decision's codes are to be balanced: asked for, or `auto` for weights where it pays.
 */
bool vqc_int_is_balanced(const vqc_decision *decision);

/*
 * Moves some codes by one step. The output of a channel is sum w x; inputs behind a ReLU have a
 * mean above zero, and then the rounding errors e of the channel cost (sum e)^2 mean(x)^2 on top of
 * sum e^2 var(x). With e in steps of the scale, as many codes as |sum e| (rounded) that are nearest
 * to the other neighbour move there, first within each kernel of a convolution (its weights see the
 * same input channel), then within the channel (or block). Needs no data. After Guo et al.,
 * "SQuant" (ICLR 2022), which derives both sums from the Hessian; the selection of whole sets by
 * threshold is our own. code->codes, scales, zero_points must be filled; errors: out of memory.
 */
vqc_status vqc_int_balance(const vqc_decision *decision, const float *weights, vqc_code *code,
                           vqc_error *error);

#endif
