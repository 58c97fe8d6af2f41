/* Shape rules and run functions of the attention family; their rows are in exec_ops_attention.c. */
#ifndef VQC_CORE_EXEC_EXEC_ATTENTION_H
#define VQC_CORE_EXEC_EXEC_ATTENTION_H

#include "core/exec/exec_op.h"

/* RotaryEmbedding (Su et al., arXiv 2104.09864). Source: ONNX RotaryEmbedding 23. */
vqc_exec_fn vqc_rotary_shape;
vqc_exec_fn vqc_rotary_run;

/* LinearAttention: a state of outer products of keys and values. Source: ONNX LinearAttention 27.
 */
vqc_exec_fn vqc_linear_attention_shape;
vqc_exec_fn vqc_linear_attention_run;

/* CausalConvWithState: depthwise convolution over the past. Source: ONNX CausalConvWithState 27. */
vqc_exec_fn vqc_causal_conv_shape;
vqc_exec_fn vqc_causal_conv_run;

#endif
