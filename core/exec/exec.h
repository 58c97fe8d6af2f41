/*
 * The executor of constant expressions: computes a value whose producers are all constant, as the
 * ONNX operator specifications define it. float32 arithmetic is done in float32 with one rounding
 * per operation; float16, bfloat16 and smaller floats compute in float32 and are rounded when
 * stored.
 *
 *     vqc_buffer *weight = NULL;
 *     vqc_status status = vqc_exec_constant(graph, value, NULL, &weight, &error);
 *     ... weight->data, weight->dims ...
 *     vqc_buffer_destroy(&weight);
 */
#ifndef VQC_CORE_EXEC_EXEC_H
#define VQC_CORE_EXEC_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/exec/buffer.h"
#include "core/graph.h"

/* Bounds against models that are made to eat memory or time. */
typedef struct vqc_exec_limits {
    size_t max_bytes;    /* of arrays alive at a time; 0: 256 MiB + 64 x the size of the model */
    uint64_t *work_left; /* bytes that may still be written, counted down over many calls; NULL: 16
                            x max_bytes per call */
    bool take_defaults;  /* initializers that a caller may override count as constants */
} vqc_exec_limits;

/*
 * Computes `value`. limits: may be NULL. *out: NULL on error, else the caller's; it may borrow from
 * the model. Intermediate arrays are freed after their last use. Errors: VQC_ERR_MODEL when the
 * value depends on something that is not constant, an operator is not in the table (all such
 * operators are named), a node contradicts its specification, or the limits are passed.
 */
vqc_status vqc_exec_constant(const vqc_graph *graph, const vqc_value *value,
                             const vqc_exec_limits *limits, vqc_buffer **out, vqc_error *error);

/*
 * Whether the value depends on constants only (its operators need not be in the table), looking at
 * no more than `budget` nodes. take_defaults as in vqc_exec_limits.
 */
bool vqc_exec_is_constant(const vqc_graph *graph, const vqc_value *value, bool take_defaults,
                          size_t budget);

#endif
