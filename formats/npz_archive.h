/* Zip archives as .npz uses them: the directory is checked as a whole, then members are read as
 * streams. */
#ifndef VQC_FORMATS_NPZ_ARCHIVE_H
#define VQC_FORMATS_NPZ_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum { VQC_ZIP_WHERE_BYTES = 640 };

/* The archive's bytes: a file or memory. */
typedef struct vqc_zip_source {
    const char *path;      /* for messages */
    int fd;                /* -1: memory */
    const uint8_t *memory; /* [size_bytes], or NULL */
    uint64_t size_bytes;
} vqc_zip_source;

typedef struct vqc_zip_entry {
    const char *name; /* malloc'ed, with its ".npy" */
    unsigned flags;
    unsigned method;
    uint32_t crc;
    uint64_t packed_bytes;
    uint64_t plain_bytes;
    uint64_t local_offset;
    uint64_t data_offset;
} vqc_zip_entry;

typedef struct vqc_zip_directory {
    vqc_zip_entry *entries; /* [count] */
    size_t count;
    uint64_t offset; /* where it starts, and member data end */
} vqc_zip_directory;

/* Reads exactly size_bytes bytes at `offset`; `what` names them when the archive ends before.
 * Several threads may call it at once. Errors: VQC_ERR_MODEL (beyond the end), VQC_ERR_IO. */
vqc_status vqc_zip_read_at(const vqc_zip_source *input, uint64_t offset, void *dst,
                           size_t size_bytes, const char *what, vqc_error *error);

/* Writes 'file: member "name"' with control characters replaced into text [VQC_ZIP_WHERE_BYTES],
 * for messages; returns text. */
const char *vqc_zip_describe(const vqc_zip_source *input, const char *name, char *text);

/* Reads and checks the whole directory with all local headers (what is refused: formats/npz.h).
 * vqc_zip_directory_clear() is due also after an error; *directory must be zeroed before. */
vqc_status vqc_zip_directory_read(const vqc_zip_source *input, vqc_zip_directory *directory,
                                  vqc_error *error);

/* Frees the entries. */
void vqc_zip_directory_clear(vqc_zip_directory *directory);

/* One member being read from its start to its end. */
typedef struct vqc_zip_member vqc_zip_member;

/* Starts at the beginning of `entry`; input and entry are borrowed. *out is the caller's. */
vqc_status vqc_zip_member_open(const vqc_zip_source *input, const vqc_zip_entry *entry,
                               vqc_zip_member **out, vqc_error *error);

/* A vqc_npy_source.read; context is the member. */
vqc_status vqc_zip_member_read(void *context, void *dst, size_t size_bytes, size_t *got,
                               vqc_error *error);

/* The whole member was used, has the size that the directory claims, and its CRC. */
vqc_status vqc_zip_member_check_end(const vqc_zip_member *member, vqc_error *error);

/* Frees; accepts NULL; sets *member to NULL. */
void vqc_zip_member_close(vqc_zip_member **member);

#endif
