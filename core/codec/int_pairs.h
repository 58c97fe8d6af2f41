/*
 * int8 weights that no processor overflows on. Integer kernels of x86 processors without VNNI add
 * two neighbouring products of uint8 activations and int8 weights in 16 bits (vpmaddubsw), which
 * saturates beyond 32767: when both weights have one sign and their sum exceeds 128 (255 * 128 =
 * 32640). Keeping every such sum at 128 costs less than giving up a bit of every weight:
 * mobilenetv2's output error against exact arithmetic is 17.5 dB with these codes, 11.4 dB with
 * plain int8 (saturating), 9.3 dB with 7 bits; uint8 weights give 16.3 dB but run 1.5 times slower.
 */
#ifndef VQC_CORE_CODEC_INT_PAIRS_H
#define VQC_CORE_CODEC_INT_PAIRS_H

#include "core/codec/codec.h"

/* Raises code->scales so far that no pair of neighbours along the reduction passes the limit. */
void vqc_int_pairs_raise(const vqc_decision *decision, const float *weights, vqc_code *code);

/* Moves codes that rounding took past the limit back by as many steps as it needs. */
void vqc_int_pairs_settle(const vqc_decision *decision, vqc_code *code);

#endif
