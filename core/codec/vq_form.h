/* Choosing dimension, codebook size and form of the vq codec for one layer. */
#ifndef VQC_CORE_CODEC_VQ_FORM_H
#define VQC_CORE_CODEC_VQ_FORM_H

#include "core/codec/codec.h"
#include "core/vqc.h"

/* vqc_codec.prepare of the vq codec. A layer that codebooks do not suit is given to int8. */
void vqc_vq_prepare(vqc_decision *decision, const vqc_target *target, const float *weights,
                    int64_t *opset_wanted);

/* Makes the decision one for int8 codes with a scale per channel. */
void vqc_vq_prepare_int8(vqc_decision *decision, const vqc_target *target, const float *weights,
                         int64_t *opset_wanted);

/* What the report says of a decision of the vq codec. */
vqc_codebook_report vqc_vq_describe(const vqc_decision *decision);

/* "vq 2x256 float16": dim x codewords, in front of them the stages, behind them what else there is;
 * in arena. */
const char *vqc_codebook_name(const vqc_codebook_report *codebook, vqc_arena *arena);

/* Fills code->scales and groups from code->vq where codewords are decoded by DequantizeLinear. */
vqc_status vqc_vq_set_scales(vqc_code *code, vqc_arena *arena, vqc_error *error);

/* The scale of row `row` where int8 codewords are decoded by DequantizeLinear. */
float vqc_vq_dequantize_scale(const vqc_vq_code *code, size_t row);

#endif
