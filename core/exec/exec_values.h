/* Whole tensors as double: how operators that visit elements in no fixed order treat every type but
 * their fast one. float16, bfloat16 and integers of up to 53 bits are exact in double. */
#ifndef VQC_CORE_EXEC_EXEC_VALUES_H
#define VQC_CORE_EXEC_EXEC_VALUES_H

#include "core/exec/exec_op.h"

/* The buffer's values in memory of this run; NULL (error filled) when there is none. The type must
 * have a class. */
double *vqc_exec_doubles(vqc_exec_call *call, const vqc_buffer *buffer);

/* Memory of this run for count doubles, uninitialised; NULL (error filled). */
double *vqc_exec_double_scratch(vqc_exec_call *call, size_t count);

/* Rounds values [out->elements] to out's type. */
void vqc_exec_put_doubles(vqc_buffer *out, const double *values);

/* Values of a buffer [dims] that broadcasts to like's dims, in doubles [elements of like]; NULL
 * (error filled, `what` names it) when it does not. */
double *vqc_exec_doubles_like(vqc_exec_call *call, const vqc_buffer *buffer, const vqc_buffer *like,
                              const char *what);

/* A tensor as [outer][length][inner] around one axis. */
typedef struct vqc_axis_span {
    size_t outer, length, inner;
} vqc_axis_span;

/* Axes [first, last) of a buffer taken together as the middle. */
vqc_axis_span vqc_axis_span_of(const vqc_buffer *buffer, size_t first, size_t last);

/* Error unless input i is there and of a floating-point type that computes. */
vqc_status vqc_exec_expect_float(vqc_exec_call *call, size_t i);

#endif
