/*
 * Operators of the executor. A new one is a row in the table of its family's file (exec_ops_*.c); a
 * new family is a new file and a row in exec_table.c.
 */
#ifndef VQC_CORE_EXEC_EXEC_OP_H
#define VQC_CORE_EXEC_EXEC_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <onnx/onnx.pb-c.h>

#include "core/error.h"
#include "core/exec/buffer.h"
#include "core/exec/element.h"
#include "core/exec/view.h"

enum { VQC_EXEC_MAX_OUTPUTS = 64 };

/* What a shape rule says about one output. */
typedef struct vqc_exec_type {
    int32_t dtype;
    size_t rank;
    int64_t dims[VQC_EXEC_MAX_RANK];
    bool alias; /* same data as input 0, other dims: nothing is computed for this output */
} vqc_exec_type;

/* One node being executed. */
typedef struct vqc_exec_call {
    const Onnx__NodeProto *node;
    const char *op;                  /* as in the table */
    int64_t opset;                   /* version of the operator's domain in force */
    const vqc_buffer *const *inputs; /* [input_count], NULL where absent */
    size_t input_count;
    size_t output_count;
    vqc_exec_type types[VQC_EXEC_MAX_OUTPUTS]; /* [output_count], filled by the shape rule */
    vqc_buffer **outputs;                      /* [output_count], made from types before run */
    const void *detail;                        /* from the table row */
    vqc_error *error;
} vqc_exec_call;

typedef vqc_status vqc_exec_fn(vqc_exec_call *call);

/* One operator from one version of its domain on, up to the next row with the same name. */
typedef struct vqc_exec_op {
    const char *op;
    const char *domain; /* "" = ai.onnx */
    int64_t since;
    size_t min_inputs;  /* inputs that must be there, from the first on */
    vqc_exec_fn *shape; /* checks the inputs and sets types; every error belongs here or in run */
    vqc_exec_fn *run;   /* fills outputs that are not aliases; NULL: all of them are */
    const void *detail;
} vqc_exec_op;

typedef struct vqc_exec_family {
    const vqc_exec_op *ops;
    size_t count;
} vqc_exec_family;

/* The row for an operator at a version of its domain, or NULL. */
const vqc_exec_op *vqc_exec_find(const char *domain, const char *op, int64_t version);

/* The families; each is defined in its exec_ops_*.c. */
extern const vqc_exec_family vqc_exec_ops_create;      /* Constant, Cast, Range, Shape, ... */
extern const vqc_exec_family vqc_exec_ops_elementwise; /* Add, BitShift, Where, ... */
extern const vqc_exec_family vqc_exec_ops_index;       /* Gather, ScatterND, CumSum, ... */
extern const vqc_exec_family vqc_exec_ops_quantize;    /* QuantizeLinear, DequantizeLinear */
extern const vqc_exec_family vqc_exec_ops_shape;       /* Reshape, Transpose, Concat, ... */

/* ---- helpers for shape rules and run functions ---- */

/* Fills call->error: node, operator, then the formatted text. Returns VQC_ERR_MODEL. */
vqc_status vqc_exec_fail(vqc_exec_call *call, const char *format, ...) VQC_PRINTF(2, 3);

/* Input i, or NULL when absent. */
const vqc_buffer *vqc_exec_input(const vqc_exec_call *call, size_t i);

/* Type of output 0 = dtype and dims of a buffer. */
void vqc_exec_type_like(vqc_exec_type *type, const vqc_buffer *buffer);

/* Integer contents of a buffer of rank <= 1 into values [capacity]. */
vqc_status vqc_exec_ints(vqc_exec_call *call, const vqc_buffer *buffer, int64_t *values,
                         size_t capacity, size_t *count);

/*
 * Integers given as attribute `name` (old versions) or input `input` (new ones). *given is false,
 * and nothing else is set, when neither is there.
 */
vqc_status vqc_exec_ints_of(vqc_exec_call *call, const char *name, size_t input, int64_t *values,
                            size_t capacity, size_t *count, bool *given);

/* An axis in [-rank, rank) as an index; error otherwise. */
vqc_status vqc_exec_axis(vqc_exec_call *call, int64_t axis, size_t rank, size_t *out);

#endif
