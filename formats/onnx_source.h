/* Where the bytes of an open model come from: its mapped file and the mapped external data files.
 * Private to formats/onnx_*.c. */
#ifndef VQC_FORMATS_ONNX_SOURCE_H
#define VQC_FORMATS_ONNX_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/model.h"
#include "formats/file_util.h"

/* One external data file. */
typedef struct vqc_onnx_external {
    char *
        location; /* below the model's folder, without "." parts and double slashes; in the arena */
    vqc_file_map map;
} vqc_onnx_external;

/* The release context of every model that formats/onnx_read.c made. */
typedef struct vqc_onnx_source {
    vqc_file_map model;           /* of vqc_onnx_parse: the caller's bytes, device and inode 0 */
    bool mapped;                  /* `model` is a mapping of ours */
    vqc_onnx_external *externals; /* [external_count], in the order of first use */
    size_t external_count;
    size_t external_capacity;
} vqc_onnx_source;

/* The source of `model`, or NULL when it was not read from bytes. */
vqc_onnx_source *vqc_onnx_source_of(const vqc_model *model);

/* vqc_model.release: unmaps everything and frees the source. */
void vqc_onnx_source_release(void *context);

/* vqc_model.discard: drops whole pages of our mappings inside [data, data + size) from the resident
 * set. */
void vqc_onnx_source_discard(void *context, const void *data, size_t size_bytes);

/*
 * Writes a payload to `writer`. What lies in a mapping goes piece by piece and is dropped from the
 * resident set behind the writer, so that writing does not hold the payload in memory.
 */
void vqc_onnx_source_put(const vqc_onnx_source *source, vqc_writer *writer, const void *data,
                         size_t size_bytes);

/* The external file that [data, data + size) lies in, or NULL. */
const vqc_onnx_external *vqc_onnx_source_external_of(const vqc_onnx_source *source,
                                                     const void *data, size_t size_bytes);

/*
 * Points raw_data of every tensor with external data into the mapped files below `folder` (NULL:
 * there are none, external data is an error) and fills the model's external_* fields. Errors:
 * VQC_ERR_MODEL (no or bad location, offset or length; range outside the file; size that does not
 * fit dims and data type), VQC_ERR_IO.
 */
vqc_status vqc_onnx_source_load_externals(vqc_model *model, const char *folder, vqc_error *error);

/* ---- tensors of a model, wherever they are ---- */

typedef enum vqc_tensor_role {
    VQC_ROLE_INITIALIZER, /* of the main graph or a subgraph */
    VQC_ROLE_ATTRIBUTE,   /* of a node: Constant values and the like */
    VQC_ROLE_SPARSE       /* values or indices of a sparse tensor */
} vqc_tensor_role;

typedef vqc_status vqc_tensor_visitor(void *context, Onnx__TensorProto *tensor,
                                      vqc_tensor_role role, vqc_error *error);

/* Calls `visit` for every TensorProto of the model (graphs, subgraphs, functions, training info) in
 * model order, until it fails. */
vqc_status vqc_onnx_each_tensor(const Onnx__ModelProto *model, vqc_tensor_visitor *visit,
                                void *context, vqc_error *error);

/* The same for what hangs on one attribute. */
vqc_status vqc_onnx_each_tensor_of(const Onnx__AttributeProto *attribute, vqc_tensor_visitor *visit,
                                   void *context, vqc_error *error);

#endif
