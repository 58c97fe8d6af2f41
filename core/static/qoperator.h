/*
 * Static quantization, the other form: DequantizeLinear -> operator -> QuantizeLinear becomes one
 * operator that computes on codes (QLinearConv, QLinearMatMul, MaxPool on uint8, ...).
 */
#ifndef VQC_CORE_STATIC_QOPERATOR_H
#define VQC_CORE_STATIC_QOPERATOR_H

#include "core/model.h"

enum { VQC_QOPERATOR_KINDS = 48 };

/* Nodes of one kind. */
typedef struct vqc_qoperator_kind {
    const char *op;     /* converted: the integer operator; left: the float one */
    const char *reason; /* left: why; converted: "" */
    size_t count;
} vqc_qoperator_kind;

/* Which operator reads the codes of a weight now. */
typedef struct vqc_qoperator_layer {
    const char *weight; /* the value that was decoded from them */
    const char *op;
} vqc_qoperator_layer;

typedef struct vqc_qoperator_result {
    size_t converted;                                  /* nodes that compute on codes now */
    size_t left;                                       /* nodes between codes that stay float */
    size_t vanished;                                   /* QuantizeLinear that undid a decoding */
    vqc_qoperator_kind done[VQC_QOPERATOR_KINDS];      /* [done_count] */
    vqc_qoperator_kind remaining[VQC_QOPERATOR_KINDS]; /* [remaining_count] */
    size_t done_count;
    size_t remaining_count;
    vqc_qoperator_layer *layers; /* [layer_count] in the model's arena */
    size_t layer_count;
} vqc_qoperator_result;

/*
 * Replaces in the main graph of a QDQ model every node unit DequantizeLinear.. -> node ->
 * QuantizeLinear that has an integer form: Conv (QLinearConv), MatMul (QLinearMatMul; with a float
 * result MatMulInteger, Cast, Mul), Gemm (the same with an int32 bias; with `microsoft` QGemm),
 * what only moves values under one scale and zero point (the same operator on codes), and with
 * `microsoft` Add, Mul, Sigmoid, LeakyRelu, AveragePool, GlobalAveragePool and Concat (QLinearAdd,
 * ...). A QuantizeLinear that undoes a DequantizeLinear goes; so do nodes and constants that
 * nothing reads any more. Units without an integer form stay as they are. Below opset 13 nothing is
 * done.
 *
 * Payloads of weights may be missing (raw_data.data NULL) while only sizes matter: the model then
 * gets the same nodes and sizes. Imports com.microsoft only when it is used. Every index over the
 * model is stale afterwards. Errors: out of memory.
 */
vqc_status vqc_qoperator_convert(vqc_model *model, bool microsoft, vqc_qoperator_result *result,
                                 vqc_error *error);

#endif
