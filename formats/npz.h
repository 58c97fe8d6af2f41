/* NumPy .npz archives: zip files with one .npy member per array. */
#ifndef VQC_FORMATS_NPZ_H
#define VQC_FORMATS_NPZ_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "formats/npy.h"

/* Most bytes of array data that vqc_npz_read() takes from one archive. */
#define VQC_NPZ_DEFAULT_MAX_BYTES ((uint64_t)16 << 30)

/* Most members of one archive, and most bytes of its central directory. */
enum { VQC_NPZ_MAX_MEMBERS = 1 << 20, VQC_NPZ_MAX_DIRECTORY_BYTES = 1 << 28 };

/* An archive read into memory; it owns its arrays. */
typedef struct vqc_npz {
    vqc_array *arrays; /* [count], in the order of the zip directory */
    size_t count;
} vqc_npz;

/* How vqc_npz_write() stores members. */
typedef enum vqc_npz_method { VQC_NPZ_STORED = 0, VQC_NPZ_DEFLATED = 8 } vqc_npz_method;

/* Reads every array of the archive at `path`, at most VQC_NPZ_DEFAULT_MAX_BYTES of data together.
 * *out is set to NULL first and is the caller's on success (vqc_npz_destroy()).
 * Takes stored and deflated members, zip64, data descriptors, any numeric .npy type and order
 * (vqc_npy_decode()); entries of folders are passed over. Refuses, with VQC_ERR_MODEL and a message
 * that names file, member, what was got and what was wanted: anything truncated, wrong CRCs, sizes
 * that disagree between directory, local header, .npy header and data, duplicate names, overlapping
 * members, encryption, split archives, members that are not .npy. VQC_ERR_IO when the file cannot
 * be read. */
vqc_status vqc_npz_read(const char *path, vqc_npz **out, vqc_error *error);

/* vqc_npz_read() with the caller's limit on the bytes of all arrays together. */
vqc_status vqc_npz_read_limited(const char *path, uint64_t max_bytes, vqc_npz **out,
                                vqc_error *error);

/* vqc_npz_read_limited() of an archive that lies in memory [size_bytes]; `where` names it in
 * messages. */
vqc_status vqc_npz_read_memory(const void *bytes, size_t size_bytes, const char *where,
                               uint64_t max_bytes, vqc_npz **out, vqc_error *error);

/* The array called `name` (without ".npy"), borrowed from npz, or NULL. */
const vqc_array *vqc_npz_find(const vqc_npz *npz, const char *name);

/* Frees the archive and its arrays; accepts NULL and sets *npz to NULL. */
void vqc_npz_destroy(vqc_npz **npz);

/* Writes `arrays` [count] to `path`. Same arrays, method and zlib, same bytes: dates are
 * 1980-01-01, no paths, no users. The bytes go to a new file in the same folder, are synced and
 * then renamed to `path`, so that `path` is either as it was or complete; after an error nothing is
 * left behind. Errors: VQC_ERR_INTERNAL for arrays that contradict themselves, names that are NULL,
 * empty, longer than a zip name or twice there; VQC_ERR_IO when the folder or file cannot be
 * written. */
vqc_status vqc_npz_write(const char *path, const vqc_array *arrays, size_t count,
                         vqc_npz_method method, vqc_error *error);

#endif
