/* Where each payload goes when a model is written: the one computation behind vqc_onnx_measure and
 * vqc_onnx_save. Private to formats/onnx_*.c. */
#ifndef VQC_FORMATS_ONNX_PLAN_H
#define VQC_FORMATS_ONNX_PLAN_H

#include "core/memory.h"
#include "core/model.h"
#include "formats/onnx_file.h"
#include "formats/onnx_source.h"

enum {
    VQC_EXTERNAL_MIN_BYTES =
        1024,               /* smaller tensors stay in the model: runtimes read them for shapes */
    VQC_EXTERNAL_ALIGN = 64 /* a cache line and every vector width */
};

/* One tensor that goes to external data, or whose external data comes back. */
typedef struct vqc_write_plan_item {
    Onnx__TensorProto *tensor;
    Onnx__TensorProto saved; /* the tensor as it was, to put it back */
    vqc_tensor_role role;
    bool was_external;
    bool external;  /* goes to the data file */
    bool duplicate; /* external, and the same bytes have been placed before */
    size_t offset;  /* in the data file */
} vqc_write_plan_item;

typedef struct vqc_write_plan {
    const vqc_model *model;
    vqc_arena *arena;
    vqc_write_plan_item *items; /* [count], model order */
    size_t count;
    size_t capacity;
    bool patched;         /* the tensors are as they will be written */
    const char *location; /* name of the data file */
    size_t inline_bytes;  /* of the .onnx file */
    size_t external_bytes;
} vqc_write_plan;

/*
 * Plans writing `model` to `path` and patches its tensors accordingly: packing model->proto now
 * gives the file. Call vqc_write_plan_destroy in any case: it puts the tensors back. Errors:
 * VQC_ERR_MODEL (too large), out of memory.
 */
vqc_status vqc_write_plan_create(vqc_write_plan *plan, const vqc_model *model, const char *path,
                                 const vqc_onnx_write_options *options, vqc_error *error);

/* Puts the tensors back and frees. */
void vqc_write_plan_destroy(vqc_write_plan *plan);

#endif
