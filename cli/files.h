/* Paths and small files of the command line. */
#ifndef VQC_CLI_FILES_H
#define VQC_CLI_FILES_H

#include <stdbool.h>

#include "core/memory.h"
#include "core/vqc.h"

/* Whether `path` is a readable file. Errors: VQC_ERR_IO: missing, a folder, not a file, not
 * readable. */
vqc_status vqc_file_check_input(const char *path, vqc_error *error);

/* Whether a file can be made at `path`: its folder exists and can be written. Errors: VQC_ERR_IO.
 */
vqc_status vqc_file_check_output(const char *path, vqc_error *error);

/* Whether the two paths name the same file, by device and inode when both exist, else by their
 * folder and name. */
bool vqc_file_same(const char *a, const char *b);

bool vqc_file_exists(const char *path);
bool vqc_file_is_folder(const char *path);

/* Makes the folder `path` and those above it that are missing. Errors: VQC_ERR_IO. */
vqc_status vqc_file_make_folder(const char *path, vqc_error *error);

/* "a/model.onnx", "int8" -> "model.int8.onnx": the file name without its folder, with the recipe's
 * name before the ending. */
char *vqc_file_output_name(vqc_arena *arena, const char *model, const char *recipe_name);

/* The folder of `path` with its slash: "a/model.onnx" -> "a/", "model.onnx" -> "". */
char *vqc_file_folder(vqc_arena *arena, const char *path);

/* Writes `text` to `path` through a temporary file, fsync and rename; an existing file is replaced.
 * Devices and pipes are written directly. Errors: VQC_ERR_IO. */
vqc_status vqc_file_write(const char *path, const char *text, vqc_error *error);

#endif
