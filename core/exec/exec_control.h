/* What Loop and Scan share: the values that every round gives, put together at the end. */
#ifndef VQC_CORE_EXEC_EXEC_CONTROL_H
#define VQC_CORE_EXEC_EXEC_CONTROL_H

#include "core/exec/exec_op.h"

/* A list of arrays that are owned. */
typedef struct vqc_rounds {
    vqc_buffer **items;
    size_t count;
    size_t capacity;
} vqc_rounds;

/* Takes the buffer, also when there is no memory for it. */
vqc_status vqc_rounds_add(vqc_exec_call *call, vqc_rounds *rounds, vqc_buffer *buffer);

/* Drops all. */
void vqc_rounds_clear(vqc_exec_call *call, vqc_rounds *rounds);

/*
 * Stacks the arrays, all of one type and shape, along a new axis of extent `room` >= count (what is
 * left is zero); `reversed` puts the first last. Errors: shapes that differ; an axis out of range.
 */
vqc_status vqc_rounds_stack(vqc_exec_call *call, const vqc_rounds *rounds, int64_t axis,
                            size_t room, bool reversed, vqc_buffer **out);

/* What stacking no arrays at all gives: type and shape are what the body declares for its output.
 */
vqc_status vqc_rounds_empty(vqc_exec_call *call, const Onnx__ValueInfoProto *declared, int64_t axis,
                            vqc_buffer **out);

/* The body in attribute "body"; NULL (and call->error filled) without one. */
const Onnx__GraphProto *vqc_control_body(vqc_exec_call *call);

/* Scan from version 9 on, and version 8, which has a batch axis. */
vqc_status vqc_scan_run(vqc_exec_call *call);
vqc_status vqc_scan_run_batched(vqc_exec_call *call);

#endif
