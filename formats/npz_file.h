/* Files as the array formats use them: regular files in, complete files out. */
#ifndef VQC_FORMATS_NPZ_FILE_H
#define VQC_FORMATS_NPZ_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* Opens the regular file `path` for reading; *fd (-1 on error) is the caller's to close(),
 * *size_bytes its size now. VQC_ERR_IO when it cannot be opened or is a folder, pipe or device. */
vqc_status vqc_npz_file_open_input(const char *path, int *fd, uint64_t *size_bytes,
                                   vqc_error *error);

/* A new file under a temporary name, which takes its place at `path` only once it is complete. */
typedef struct vqc_npz_file vqc_npz_file;

/* Creates the temporary file in the folder of `path`. *out is NULL on error (VQC_ERR_IO or memory)
 * and else the caller's: vqc_npz_file_destroy(). */
vqc_status vqc_npz_file_create(const char *path, vqc_npz_file **out, vqc_error *error);

/* Appends size_bytes bytes (data may be NULL when that is 0). VQC_ERR_IO when it cannot. */
vqc_status vqc_npz_file_write(vqc_npz_file *file, const void *data, size_t size_bytes,
                              vqc_error *error);

/* Overwrites size_bytes bytes at `offset`, all of which were written before. */
vqc_status vqc_npz_file_overwrite(vqc_npz_file *file, uint64_t offset, const void *data,
                                  size_t size_bytes, vqc_error *error);

/* Bytes appended so far. */
uint64_t vqc_npz_file_size(const vqc_npz_file *file);

/* Syncs the file, renames it to its path and syncs the folder. */
vqc_status vqc_npz_file_commit(vqc_npz_file *file, vqc_error *error);

/* Frees; removes the temporary file when it was not committed. Accepts NULL. */
void vqc_npz_file_destroy(vqc_npz_file **file);

#endif
