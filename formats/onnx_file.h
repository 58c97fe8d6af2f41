/* ONNX files in and out: zero-copy reading, external data, atomic writing. */
#ifndef VQC_FORMATS_ONNX_FILE_H
#define VQC_FORMATS_ONNX_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/model.h"

/*
 * Maps and parses `path` with its external data. Before unpacking, the wire format is scanned: nesting
 * depth, every length, UTF-8-free. raw_data of 64 bytes and more is borrowed from the mapping.
 * Errors: VQC_ERR_IO (open, map, missing external file), VQC_ERR_MODEL (malformed, external path leaving the
 * folder, range outside the external file, payload that does not fit dims).
 */
vqc_status vqc_onnx_open(const char *path, vqc_model **out, vqc_error *error);

/* The same for bytes in memory (tests, fuzzing): no external data allowed; `data` is borrowed. */
vqc_status vqc_onnx_parse(const void *data, size_t size_bytes, const char *name, vqc_model **out,
                          vqc_error *error);

typedef struct vqc_onnx_write_options {
    bool overwrite;        /* replace an existing target */
    bool force_external;   /* write tensors of >= 1 KiB to "<name>.data" also when not needed */
    size_t external_limit; /* inline size from which external data is used; 0: 2 GiB - 1 MiB */
} vqc_onnx_write_options;

typedef struct vqc_onnx_written {
    size_t file_size_bytes;     /* the .onnx file */
    size_t external_size_bytes; /* its .data file, 0: none */
} vqc_onnx_written;

/*
 * Serializes to a temporary file beside `path`, fsyncs, renames. External data is written when the model
 * had some, is larger than external_limit, or force_external. Nothing is left behind on error or
 * when vqc_onnx_cleanup() is called from a signal handler. Errors: VQC_ERR_IO; VQC_ERR_USAGE when the target
 * exists and overwrite is false.
 */
vqc_status vqc_onnx_save(const vqc_model *model, const char *path,
                         const vqc_onnx_write_options *options, vqc_onnx_written *written,
                         vqc_error *error);

/* The sizes that vqc_onnx_save would write, without writing. */
vqc_status vqc_onnx_measure(const vqc_model *model, const vqc_onnx_write_options *options,
                            vqc_onnx_written *written, vqc_error *error);

/* Copies the model file (and its external data) byte for byte to `path`, atomically: for models in which nothing
 * was changed. */
vqc_status vqc_onnx_copy(const vqc_model *model, const char *path,
                         const vqc_onnx_write_options *options, vqc_onnx_written *written,
                         vqc_error *error);

/* Removes temporary files of writes in progress; async-signal-safe. */
void vqc_onnx_cleanup(void);

#endif
