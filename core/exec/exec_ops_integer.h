/* What the quantized operators of ai.onnx and com.microsoft have in common. */
#ifndef VQC_CORE_EXEC_EXEC_OPS_INTEGER_H
#define VQC_CORE_EXEC_EXEC_OPS_INTEGER_H

#include "core/exec/exec_op.h"
#include "core/exec/int_gemm.h"

/* Which input of an operator is what; -1: it has none. */
typedef struct vqc_int_roles {
    signed char a, a_scale, a_zero;
    signed char b, b_scale, b_zero;
    signed char bias;
    signed char y_scale, y_zero;
} vqc_int_roles;

/*
 * Matrix products of 8-bit codes. call->detail is a vqc_int_roles. The result is int32 without
 * scales, codes when y_scale is given, else float. Operators: MatMulInteger, QLinearMatMul, QGemm,
 * MatMulIntegerToFloat, DynamicQuantizeMatMul (a is float and has no scale).
 */
vqc_exec_fn vqc_int_matmul_shape;
vqc_exec_fn vqc_int_matmul_run;
vqc_exec_fn vqc_int_matmul_prepare;

/* Convolutions of 8-bit codes; call->detail as above. ConvInteger, QLinearConv. */
vqc_exec_fn vqc_int_conv_shape;
vqc_exec_fn vqc_int_conv_run;
vqc_exec_fn vqc_int_conv_prepare;

/* Frees what the two prepare functions made: one block of packed panels. */
void vqc_int_release(void *prepared);

/* The status behind a NULL from one of the functions here or vqc_exec_scratch. */
vqc_status vqc_int_failed(const vqc_exec_call *call);

/* Whether a buffer has codes of type uint8 or int8. */
bool vqc_int_is_codes(const vqc_buffer *buffer);

/* Whether the node names its input `role` (also when its value is not known yet). */
bool vqc_int_is_given(const vqc_exec_call *call, int role);

/* The input `role`, or NULL when there is none. */
const vqc_buffer *vqc_int_role(const vqc_exec_call *call, int role);

/* One float (or integer) from a buffer with one element; an error naming `what` otherwise. NULL
 * gives the fallback. */
vqc_status vqc_int_float(vqc_exec_call *call, const vqc_buffer *buffer, const char *what,
                         float fallback, float *value);
vqc_status vqc_int_zero(vqc_exec_call *call, const vqc_buffer *buffer, const char *what,
                        int32_t dtype, int32_t *value);

/* n elements of a buffer as float or int32, repeated when it has only one; in scratch memory. NULL
 * with call->error filled when it has another number, another class of type, or no memory. */
float *vqc_int_floats(vqc_exec_call *call, const vqc_buffer *buffer, const char *what, size_t n);
int32_t *vqc_int_ints(vqc_exec_call *call, const vqc_buffer *buffer, const char *what, size_t n);

/*
 * DynamicQuantizeLinear (ai.onnx 11): scale = (max(0, x) - min(0, x)) / 255, or 1 when x is all
 * zero; zero point = round(-min / scale); codes[n].
 */
void vqc_int_quantize_dynamic(const float *x, size_t n, float *scale, uint8_t *zero_point,
                              uint8_t *codes);

#endif
