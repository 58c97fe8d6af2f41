/* Arrays of a .npz or .npy file by pieces, so that a large file never lies in memory as a whole. */
#ifndef VQC_FORMATS_NPZ_SLICES_H
#define VQC_FORMATS_NPZ_SLICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "formats/npy.h"

/* Fortran order cannot be cut along the first axis: such arrays are read whole, up to this size. */
#define VQC_NPZ_MAX_FORTRAN_BYTES ((uint64_t)1 << 30)

typedef struct vqc_npz_slices vqc_npz_slices;

typedef struct vqc_npz_slices_array {
    const char *name;    /* without ".npy"; NULL in a .npy file */
    vqc_npy_layout type; /* the shape and element type */
    bool sequential;     /* deflated: pieces come cheaply in increasing order only */
} vqc_npz_slices_array;

/*
 * Opens `path`, which is told apart by its first bytes, and reads the headers of all arrays. What
 * vqc_npz_read() and vqc_npy_read() refuse is refused here as well; the CRCs of stored members are
 * checked now, those of deflated ones when their last byte is read. Errors: VQC_ERR_MODEL,
 * VQC_ERR_IO.
 */
vqc_status vqc_npz_slices_open(const char *path, vqc_npz_slices **out, vqc_error *error);

/* The arrays [*count], in the order of the file; borrowed. */
const vqc_npz_slices_array *vqc_npz_slices_arrays(const vqc_npz_slices *slices, size_t *count);

/*
 * Bytes [offset, offset + size_bytes) of the data of array `index` in C order and little-endian;
 * both are multiples of the element size and lie in the array. Sequential arrays: one thread at a
 * time, and a step back inflates from the start again; others: any threads at once. Errors:
 * VQC_ERR_MODEL for corrupt data, VQC_ERR_IO.
 */
vqc_status vqc_npz_slices_read(vqc_npz_slices *slices, size_t index, size_t offset,
                               size_t size_bytes, void *dst, vqc_error *error);

/* Frees and closes; accepts NULL; sets *slices to NULL. */
void vqc_npz_slices_destroy(vqc_npz_slices **slices);

#endif
