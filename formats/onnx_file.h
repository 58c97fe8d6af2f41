/* ONNX files in and out: zero-copy reading, external data, atomic writing. */
#ifndef VQC_FORMATS_ONNX_FILE_H
#define VQC_FORMATS_ONNX_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/model.h"

/*
 * Maps and parses `path` with its external data. Nesting depth, tags and every length are checked
 * while decoding (formats/onnx_decode.h). bytes fields of 64 bytes and more, unknown fields and
 * external data are borrowed from the mapping: read-only, valid as long as the model. Only the
 * pages with headers are touched. Payloads in the model file are not checked here
 * (vqc_tensor_borrow_raw does): what nobody uses passes through as it is. Models without a graph
 * are refused. Errors: VQC_ERR_IO (open, map, missing external file), VQC_ERR_MODEL (malformed,
 * external path leaving the folder, range outside the external file, external payload that does not
 * fit dims).
 */
vqc_status vqc_onnx_open(const char *path, vqc_model **out, vqc_error *error);

/* The same for bytes in memory (tests, fuzzing): no external data allowed; `data` is borrowed. */
vqc_status vqc_onnx_parse(const void *data, size_t size_bytes, const char *name, vqc_model **out,
                          vqc_error *error);

typedef struct vqc_onnx_write_options {
    bool overwrite;        /* replace an existing target */
    bool force_external;   /* write tensors of >= 1 KiB to "<name>.data" also when not needed */
    size_t external_limit; /* inline size above which external data is used; 0: 2 GiB - 1 MiB */
    const char *target; /* vqc_onnx_measure only: the path that vqc_onnx_save will get (its name is
                           part of the file with external data); NULL: the path of the model */
} vqc_onnx_write_options;

typedef struct vqc_onnx_written {
    size_t file_size_bytes;     /* the .onnx file */
    size_t external_size_bytes; /* its .data file, 0: none */
} vqc_onnx_written;

/*
 * Serializes to a temporary file beside `path`, fsyncs, renames; options may be NULL (all zero).
 * When the model had external data, would be larger than external_limit, or with force_external,
 * the initializers of >= 1 KiB (and what was external before) go to "<name>.data" beside it, each
 * range aligned to 64 bytes, equal payload pointers only once; when that is not enough, node
 * attributes follow. Nothing is left behind and existing targets are untouched on error or when
 * vqc_onnx_cleanup() is called from a signal handler. Tensors are patched while it runs and put
 * back: no other thread may read the model meanwhile. Overwriting replaces the directory entry: a
 * model that is mapped from `path` stays readable. Errors: VQC_ERR_IO; VQC_ERR_USAGE when a target
 * exists and overwrite is false, or when the output would replace external data that the input
 * needs; VQC_ERR_MODEL when even with external data more than 2 GiB would stay in the ONNX file.
 */
vqc_status vqc_onnx_save(const vqc_model *model, const char *path,
                         const vqc_onnx_write_options *options, vqc_onnx_written *written,
                         vqc_error *error);

/* The sizes that vqc_onnx_save would write, without writing. */
vqc_status vqc_onnx_measure(const vqc_model *model, const vqc_onnx_write_options *options,
                            vqc_onnx_written *written, vqc_error *error);

/*
 * Copies the model file byte for byte to `path`, atomically: for models in which nothing was
 * changed (it is the mapped input that is copied, not model->proto). The names of external data
 * files are part of the model, so they keep their places relative to it: in another folder they are
 * copied under the same names (folders are made where needed; a file with the same bytes that is
 * there already is left alone, another one is replaced only with `overwrite`); in the same folder
 * both models share them. written->external_size_bytes counts them in both cases. force_external
 * and external_limit do not apply. Errors as vqc_onnx_save.
 */
vqc_status vqc_onnx_copy(const vqc_model *model, const char *path,
                         const vqc_onnx_write_options *options, vqc_onnx_written *written,
                         vqc_error *error);

/* Removes temporary files of writes in progress; async-signal-safe. */
void vqc_onnx_cleanup(void);

#endif
