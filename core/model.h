/* A model in memory: the ONNX protobuf itself plus the arena and mappings that its parts live in.
 */
#ifndef VQC_CORE_MODEL_H
#define VQC_CORE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <onnx/onnx.pb-c.h>

#include "core/error.h"
#include "core/memory.h"

/*
 * Tensor payloads. After reading, every TensorProto whose data is stored as bytes has
 * has_raw_data = 1 and raw_data pointing at it: into the arena, into the mapped model file, or into
 * a mapped external data file. Pointers may be unaligned. A tensor with external data keeps
 * data_location = EXTERNAL and its external_data entries as they were read; the writer decides
 * where its bytes go and rewrites them. Core code therefore never opens a file.
 *
 * All protobuf messages, strings and arrays of `proto` live in `arena`: nothing is freed singly, an
 * edit just allocates more. Never call protobuf_c_message_free_unpacked() on any part.
 */
typedef struct vqc_model {
    vqc_arena *arena;
    Onnx__ModelProto *proto;
    char *path;                 /* as given by the user; for messages */
    size_t file_size_bytes;     /* the .onnx file itself */
    size_t external_size_bytes; /* all external data files together, counted once each */
    size_t external_file_count;
    bool has_external_data;
    void (*release)(void *context); /* unmaps the files; called once by vqc_model_destroy */
    void *release_context;
    /* Hint that [data, data+size) will not be read again soon: lets the reader drop pages of the
     * mapping from the resident set. May be NULL. Content stays readable. */
    void (*discard)(void *context, const void *data, size_t size_bytes);
} vqc_model;

/* New model with an arena, an empty ModelProto and a copy of `path`; everything else is zero. */
vqc_status vqc_model_create(const char *path, vqc_model **out, vqc_error *error);

/* Frees the arena, the mappings and the struct (malloc'ed); accepts NULL; sets *model to NULL. */
void vqc_model_destroy(vqc_model **model);

/* Version of the operator set `domain` ("" = ai.onnx, also imported as "ai.onnx") that the model
 * imports; 0 when it does not. */
int64_t vqc_model_opset(const Onnx__ModelProto *proto, const char *domain);

/* Whether a domain string means the default operator set ("", "ai.onnx" or NULL). */
bool vqc_domain_is_onnx(const char *domain);

/* Adds or raises an opset import (never lowers). */
vqc_status vqc_model_set_opset(vqc_model *model, const char *domain, int64_t version,
                               vqc_error *error);

#endif
