/* NumPy .npy arrays in memory and on disk. formats/npz.h builds archives of them. */
#ifndef VQC_FORMATS_NPY_H
#define VQC_FORMATS_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"
#include "core/error.h"

enum {
    VQC_NPY_MAX_RANK = 64,              /* NumPy's own limit */
    VQC_NPY_MAX_HEADER_BYTES = 1 << 16, /* numeric types need a few hundred */
    VQC_NPY_DATA_ALIGNMENT = 64
};

/* One dense array: row-major (C order), the machine's (little-endian) byte order. */
typedef struct vqc_array {
    char *name;      /* key in the archive without ".npy"; NULL for an array of its own */
    vqc_dtype dtype; /* float16/32/64, int8-64, uint8-64 or bool */
    int64_t *dims;   /* [rank], each >= 0; NULL for a scalar */
    size_t rank;
    void *data;        /* [size_bytes], never NULL after a read, aligned to 64 bytes */
    size_t size_bytes; /* product of dims times the element size */
} vqc_array;

/* Where vqc_npy_decode() gets its bytes from, front to back. */
typedef struct vqc_npy_source {
    void *context;
    /* Up to size_bytes bytes into dst; *got is less only at the end of the data. */
    vqc_status (*read)(void *context, void *dst, size_t size_bytes, size_t *got, vqc_error *error);
    uint64_t claimed_bytes; /* size of header and data together, as the container says */
} vqc_npy_source;

/* What the header of a .npy stream says. */
typedef struct vqc_npy_layout {
    vqc_dtype dtype;
    unsigned item_bytes;
    bool big_endian;
    bool fortran_order; /* the first index runs fastest */
    int64_t dims[VQC_NPY_MAX_RANK];
    size_t rank;
    uint64_t header_bytes; /* magic, version and text: the data follow */
    size_t size_bytes;     /* of the data */
} vqc_npy_layout;

/* Whether .npy has a plain type for `dtype`: bool, the 8 to 64-bit integers, float16, 32 and 64. */
bool vqc_npy_supports(vqc_dtype dtype);

/* Multiplies dims [rank] and the element size into *size_bytes. False when a dimension is negative,
 * `dtype` is not supported, or the product does not fit into int64_t. Zero dimensions do not hide
 * an overflow of the others, so that any sub-product of dims is safe to compute. */
bool vqc_npy_array_bytes(vqc_dtype dtype, const int64_t *dims, size_t rank, size_t *size_bytes);

/* Number of elements of a valid array. */
size_t vqc_array_count(const vqc_array *array);

/* Frees name, dims and data and zeroes the struct; accepts NULL. */
void vqc_array_clear(vqc_array *array);

/* Reads one .npy stream (format 1.0, 2.0, 3.0) into *out, which the caller clears; on an error *out
 * is empty. Fortran order is turned into C order, big-endian data into little-endian, bool bytes
 * other than 0 into 1. Nothing is allocated for data before the header's shape agrees with
 * source->claimed_bytes and is at most max_bytes. `where` starts every message.
 * Errors: VQC_ERR_MODEL for bad or unsupported data (object, structured, complex, string types),
 * what source->read says, or out of memory. Format: NEP 1. */
vqc_status vqc_npy_decode(const vqc_npy_source *source, const char *where, uint64_t max_bytes,
                          vqc_array *out, vqc_error *error);

/* Reads the header alone; the source stands at the first byte of the data then. The shape agrees
 * with source->claimed_bytes. Errors as vqc_npy_decode(). */
vqc_status vqc_npy_read_layout(const vqc_npy_source *source, const char *where,
                               vqc_npy_layout *layout, vqc_error *error);

/* `count` elements as stored become little-endian and bool 0 or 1; the order of elements stays. */
void vqc_npy_normalise(const vqc_npy_layout *layout, void *data, size_t count);

/* Reads the .npy file at `path` (a regular file); as vqc_npy_decode(). VQC_ERR_IO when it cannot be
 * read. */
vqc_status vqc_npy_read(const char *path, vqc_array *out, vqc_error *error);

/* Reads .npy bytes [size_bytes] from memory; as vqc_npy_decode(). `where` names them in messages.
 */
vqc_status vqc_npy_read_memory(const void *bytes, size_t size_bytes, const char *where,
                               vqc_array *out, vqc_error *error);

/* Makes the format 1.0 header of `array` (C order, little-endian), padded to a multiple of 64 bytes
 * as NumPy does. *header is malloc'ed [*header_bytes] and the caller's. Errors: VQC_ERR_INTERNAL
 * when the array contradicts itself (negative dims, size_bytes not the product) or memory is out.
 */
vqc_status vqc_npy_encode_header(const vqc_array *array, uint8_t **header, size_t *header_bytes,
                                 vqc_error *error);

/* Writes `array` to `path` as .npy, atomically as vqc_npz_write() does. */
vqc_status vqc_npy_write(const char *path, const vqc_array *array, vqc_error *error);

#endif
