/* Operands of matrix products and convolutions as the arrays that these compute with. */
#ifndef VQC_CORE_EXEC_GEMM_OPERAND_H
#define VQC_CORE_EXEC_GEMM_OPERAND_H

#include "core/exec/exec_op.h"

/*
 * Values of a float32, float16, bfloat16, ... buffer as float32, aligned to 4 bytes: its own data
 * or a copy in scratch memory of this call. NULL, with call->error filled, without memory.
 */
const float *vqc_operand_f32(vqc_exec_call *call, const vqc_buffer *buffer);

/* Values of a buffer of any class but VQC_CLASS_F32, 8 bytes each, in scratch memory of this call;
 * NULL without memory. */
const void *vqc_operand_wide(vqc_exec_call *call, const vqc_buffer *buffer);

/* Memory for the float32 values of a buffer to be written: its own when it is float32, otherwise
 * scratch for vqc_operand_store. NULL without memory. */
float *vqc_operand_target(vqc_exec_call *call, vqc_buffer *buffer);

/* Rounds float32 values to the buffer's type, unless they are its own data. */
void vqc_operand_store(vqc_buffer *buffer, const float *values);

/* Stores values of 8 bytes of the buffer's class (integers are cut to their width). */
void vqc_operand_store_wide(vqc_buffer *buffer, const void *values);

/* Status after one of the above gave NULL. */
vqc_status vqc_operand_failed(const vqc_exec_call *call);

/* Copy of a constant float32 buffer, aligned to 64 bytes, with free(); NULL without memory. */
float *vqc_operand_copy(const vqc_buffer *buffer);

/* Memory aligned to 64 bytes, with free(); NULL without memory. */
float *vqc_operand_memory(size_t size_bytes);

#endif
