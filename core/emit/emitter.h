/*
 * Building a pattern: constants and nodes with a sticky status, so that a pattern reads like the
 * graph it makes. After the first failure every call does nothing and returns "".
 */
#ifndef VQC_CORE_EMIT_EMITTER_H
#define VQC_CORE_EMIT_EMITTER_H

#include "core/dtype.h"
#include "core/graph.h"
#include "core/patch.h"

typedef struct vqc_emitter {
    vqc_graph *graph;
    vqc_patch *patch;
    vqc_scope *scope; /* where constants and nodes go */
    vqc_arena *arena; /* the model's */
    vqc_status status;
    vqc_error *error;
    int64_t opset;              /* ai.onnx version to write for */
    bool collecting;            /* nodes go to `nodes` instead of the front of the scope */
    Onnx__NodeProto *nodes[48]; /* collected, in order */
    size_t node_count;
    Onnx__NodeProto *last; /* made last, for attributes */
} vqc_emitter;

/* What an output is called: a fresh short name, or a given one. */
#define VQC_FRESH NULL

/* A payload of its own: raw is borrowed (NULL while only sizes matter). Returns its name. */
const char *vqc_emit_payload(vqc_emitter *e, const char *hint, vqc_dtype dtype, const int64_t *dims,
                             size_t rank, const void *raw, size_t raw_bytes);

/* The same under a given name. */
const char *vqc_emit_named_payload(vqc_emitter *e, const char *name, vqc_dtype dtype,
                                   const int64_t *dims, size_t rank, const void *raw,
                                   size_t raw_bytes);

/* Small constants shared with other patterns of the model. */
const char *vqc_emit_shared(vqc_emitter *e, vqc_dtype dtype, const int64_t *dims, size_t rank,
                            const void *raw, size_t raw_bytes);
const char *vqc_emit_scalar_f32(vqc_emitter *e, float value);
const char *vqc_emit_scalar_u8(vqc_emitter *e, uint8_t value);
const char *vqc_emit_ints(vqc_emitter *e, const int64_t *values, size_t count);

/* A node with one output; inputs end at the first NULL. Returns the name of its output. */
const char *vqc_emit_node(vqc_emitter *e, const char *op, const char *output, const char *in0,
                          const char *in1, const char *in2);

const char *vqc_emit_cast(vqc_emitter *e, const char *input, vqc_dtype to, const char *output);
const char *vqc_emit_reshape(vqc_emitter *e, const char *input, const int64_t *dims, size_t rank,
                             const char *output);
/* The first `count` elements of a 1-D tensor, or of axis `axis`. */
const char *vqc_emit_take(vqc_emitter *e, const char *input, int64_t axis, int64_t count,
                          const char *output);

/* Attributes of the node made last. */
void vqc_emit_attr_int(vqc_emitter *e, const char *name, int64_t value);
void vqc_emit_attr_string(vqc_emitter *e, const char *name, const char *value);

/* Appends a node made elsewhere. */
void vqc_emit_add(vqc_emitter *e, Onnx__NodeProto *node);

/* Puts the collected nodes in the place of `node` (keep: in front of it) and ends collecting. */
void vqc_emit_flush(vqc_emitter *e, vqc_scope *scope, Onnx__NodeProto *node, bool keep);

/* Marks the emitter as failed (first failure wins). */
void vqc_emit_fail(vqc_emitter *e);

#endif
