/* The graph patterns in which coded weights are written (docs/PATTERNS.md lists them with their
 * sizes). */
#ifndef VQC_CORE_EMIT_PATTERNS_H
#define VQC_CORE_EMIT_PATTERNS_H

#include "core/codec/codec.h"

/*
 * All of these write code->decision->layer through `e`. With code->codes == NULL only sizes are
 * real (for the cost and --dry-run). Failures are in e->status.
 */

/* codes -> [unpack] -> DequantizeLinear -> weight. Opset 10 (per tensor), 13 (channel), 21 (block,
 * 4 and 16 bits). */
void vqc_emit_dequantize(vqc_emitter *e, const vqc_code *code);

/* codes -> [unpack] -> Cast -> [Sub] -> Mul -> [Reshape, Cast] -> weight. Any opset from 7 up. */
void vqc_emit_foldable(vqc_emitter *e, const vqc_code *code);

/* The same with another source of the float codes: values(e, code, zeros, dims, rank) gives them in
 * shape dims; zeros: NULL, or the zero points as float that broadcast against it. */
typedef const char *vqc_emit_values(vqc_emitter *e, const vqc_code *code, const char *zeros,
                                    const int64_t *dims, size_t rank);
void vqc_emit_foldable_with(vqc_emitter *e, const vqc_code *code, vqc_emit_values *values);

/* com.microsoft MatMulNBits for every reader. */
void vqc_emit_matmul_nbits(vqc_emitter *e, const vqc_code *code);

/* com.microsoft GatherBlockQuantized for every reader. */
void vqc_emit_gather_block(vqc_emitter *e, const vqc_code *code);

/* DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul [-> Add] for every reader. Opset 11. */
void vqc_emit_dynamic_matmul(vqc_emitter *e, const vqc_code *code);

/* DynamicQuantizeLinear -> ConvInteger -> Cast -> Mul [-> Add] for every reader. Opset 11. */
void vqc_emit_dynamic_conv(vqc_emitter *e, const vqc_code *code);

/* Whether the layer is W or R of an LSTM that DynamicQuantizeLSTM can replace. The plan codes W and
 * R both in this form or neither. */
bool vqc_emit_lstm_is_dynamic(const vqc_layer *layer);

/* com.microsoft DynamicQuantizeLSTM, once both W and R are coded. */
void vqc_emit_dynamic_lstm(vqc_emitter *e, const vqc_code *code);

/*
 * Vector quantization: indices -> [unpack, Add] -> Gather from a codebook -> [Add stages] ->
 * [Slice] -> Reshape -> [Transpose] -> [Mul scales, Cast] -> weight, from opset 7 up; or, when the
 * decision's form is DEQUANTIZE, int8 codewords -> ... -> DequantizeLinear -> weight.
 */
void vqc_emit_codebook(vqc_emitter *e, const vqc_code *code);

/* Bytes of `vectors` indices in each of all stages as vqc_emit_codebook stores them. */
size_t vqc_emit_index_bytes(const vqc_vq_shape *shape, size_t vectors);

/* Index of `node` in the scope's node list, SIZE_MAX when it is not there (any more). */
size_t vqc_emit_place_of(const vqc_scope *scope, const Onnx__NodeProto *node);

/* ---- pieces ---- */

/*
 * Codes of `bits` (1..7; unsigned, [n], NULL: sizes only) as a float tensor of shape dims: bit
 * planes of 4, 2 and 1 bits packed in bytes, taken apart by BitShift (opset 11) or float
 * arithmetic. Exact.
 */
const char *vqc_emit_unpack(vqc_emitter *e, const uint8_t *codes, size_t n, int bits,
                            const int64_t *dims, size_t rank);

/* What stands where nothing is kept: `raw`, one item of `dtype`, or the tensor named `tensor` of
 * that type that broadcasts against the weight. */
typedef struct vqc_emit_zero {
    vqc_dtype dtype;
    const void *raw;
    const char *tensor;
} vqc_emit_zero;

/*
 * The tensor `values` [sparse->entries] of the stored codes spread to shape dims by ScatterElements
 * (GAPS) or Gather (MASK), ending in `output`. Opset 11. Exact. code->codes or ->vq tell whether
 * positions are known.
 */
const char *vqc_emit_sparse(vqc_emitter *e, const vqc_sparse *sparse, const char *values,
                            const vqc_emit_zero *zero, const int64_t *dims, size_t rank,
                            const char *output);

/*
 * The same for float values of the kept weights alone, one after the other behind one value of no
 * importance; values may go on behind them. GAPS without entries in between. What is not kept is 0,
 * or -0 by the sign of the value that was kept before it.
 */
const char *vqc_emit_sparse_packed(vqc_emitter *e, const vqc_sparse *sparse, const char *values,
                                   const int64_t *dims, size_t rank, const char *output);

/* Bytes of the stored codes of `code`, item_bytes each, in the model's arena; NULL while only sizes
 * matter. */
void *vqc_emit_stored_codes(vqc_emitter *e, const vqc_code *code, size_t item_bytes);

/* scales (float32, or float16 times 2^-10 when the decision says so) with shape dims. */
const char *vqc_emit_scales(vqc_emitter *e, const vqc_code *code, const int64_t *dims, size_t rank);

/* Ends a decode chain: casts to the layer's data type if needed, gives the value its name. `op`
 * with a, b is the last node of the chain. */
void vqc_emit_finish(vqc_emitter *e, const vqc_code *code, const char *op, const char *a,
                     const char *b);

/* Shape of scales that broadcasts against the weight (per tensor: rank 0; channel: [C, 1, ...]). */
size_t vqc_emit_scale_shape(const vqc_code *code, int64_t dims[64]);

#endif
