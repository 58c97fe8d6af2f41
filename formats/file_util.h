/* Files as bytes: read-only mappings, opening below a folder, and groups of outputs that appear
 * together or not at all. */
#ifndef VQC_FORMATS_FILE_UTIL_H
#define VQC_FORMATS_FILE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/error.h"

/* A whole regular file, mapped private and read-only. A file that another process truncates while
 * it is mapped raises SIGBUS on access: as with every mmap reader, inputs must not be cut while in
 * use. */
typedef struct vqc_file_map {
    const uint8_t *data; /* [size_bytes]; not NULL, also for an empty file */
    size_t size_bytes;
    dev_t device; /* with inode: which file it is, whatever its name */
    ino_t inode;
} vqc_file_map;

/* Maps `path`. Errors: VQC_ERR_IO (cannot be opened, is not a regular file, cannot be mapped). */
vqc_status vqc_file_map_open(const char *path, vqc_file_map *map, vqc_error *error);

/*
 * Maps `location`, a relative path, below `folder`. `what` starts the error messages. Errors:
 * VQC_ERR_MODEL when the location is empty, absolute, contains ".." or leads out of the folder
 * through a symbolic link; VQC_ERR_IO as above. The check and the opening are one step (openat2),
 * or symbolic links are refused altogether where the kernel has no openat2.
 */
vqc_status vqc_file_map_below(const char *folder, const char *location, const char *what,
                              vqc_file_map *map, vqc_error *error);

/* Unmaps; an empty or zeroed map is accepted. */
void vqc_file_map_close(vqc_file_map *map);

/* The folder part of a path ("." when there is none, "/" for the root) into a malloc'ed string;
 * NULL when out of memory. */
char *vqc_path_folder(const char *path);

/* What follows the last slash; borrowed from `path`. */
const char *vqc_path_base(const char *path);

/* Whether a relative path stays below its folder by its text alone: not empty, not absolute, no
 * "..". */
bool vqc_path_is_below(const char *location);

/* ---- output ---- */

/* One file of a group while it is written: buffered, with a sticky error. */
typedef struct vqc_writer vqc_writer;

/* Files that are written under temporary names beside their targets and renamed together. */
typedef struct vqc_output vqc_output;

/* New empty group. */
vqc_status vqc_output_create(vqc_output **out, vqc_error *error);

/*
 * Starts a file of the group; `path` is its final name. Errors: VQC_ERR_USAGE when the target
 * exists and `overwrite` is false; VQC_ERR_IO when it is not a regular file or the folder cannot be
 * written. The writer belongs to the group.
 */
vqc_status vqc_output_add(vqc_output *output, const char *path, bool overwrite, vqc_writer **writer,
                          vqc_error *error);

/* Appends; after a failure it does nothing and vqc_writer_finish says what went wrong. Large pieces
 * go to the file without being copied. */
void vqc_writer_put(vqc_writer *writer, const void *data, size_t size_bytes);

/* Bytes put so far. */
size_t vqc_writer_size(const vqc_writer *writer);

/* Flushes, fsyncs and closes the temporary file. Errors: VQC_ERR_IO, also from earlier puts. */
vqc_status vqc_writer_finish(vqc_writer *writer, vqc_error *error);

/*
 * For writers of their own: vqc_output_cleanup will remove the file `path` (below PATH_MAX bytes)
 * until the note, which is returned, is given to vqc_temporary_forget. NULL: no memory, no note.
 */
void *vqc_temporary_note(const char *path);
void vqc_temporary_forget(void *note);

/* Renames all files, in the order in which they were added. Every writer must be finished. When one
 * rename fails the earlier ones are undone. */
vqc_status vqc_output_commit(vqc_output *output, vqc_error *error);

/* Removes what was not committed; accepts NULL; sets *output to NULL. */
void vqc_output_destroy(vqc_output **output);

/* Removes the temporary files of all groups that are being written; async-signal-safe. */
void vqc_output_cleanup(void);

#endif
