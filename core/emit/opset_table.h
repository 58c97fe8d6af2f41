/* The history of every ai.onnx operator: facts only, generated. Private to core/emit/opset_*. */
#ifndef VQC_CORE_EMIT_OPSET_TABLE_H
#define VQC_CORE_EMIT_OPSET_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum {
    VQC_OPSET_OLDEST = 7,        /* older models are never raised */
    VQC_OPSET_NEWEST = 28,       /* newest ai.onnx version the table knows */
    VQC_OPSET_MAX_VERSIONS = 12, /* since-versions per operator, with the closing 0 */
};

typedef struct vqc_opset_op {
    const char *name;
    uint8_t since[VQC_OPSET_MAX_VERSIONS]; /* ascending, closed by 0 */
    uint32_t changed;         /* bit k: since[k] differs from since[k-1] in more than added types */
    uint8_t removed;          /* version at which it was deprecated for good; 0: still there */
    const char *output_types; /* per output: '0'..'9' type of that input; b bool, f float32, i
                                 int64, s string, u uint8, w int32; '?' or past the end: unknown */
} vqc_opset_op;

extern const vqc_opset_op vqc_opset_ops[]; /* sorted by name */
extern const size_t vqc_opset_op_count;

#endif
