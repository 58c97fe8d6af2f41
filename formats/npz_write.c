/* Writing .npz: same arrays in, same bytes out. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "formats/npz.h"
#include "formats/npz_file.h"
#include "formats/npz_zip.h"

enum {
    CHUNK_BYTES = 1 << 16,
    MEMORY_LEVEL = 8,   /* zlib's default */
    VERSION_PLAIN = 20, /* format version that a reader needs: 2.0 has deflate */
    VERSION_ZIP64 = 45, /* 4.5 has zip64 */
    EXTRA64_ENTRY_BYTES = 4 + 24,
    EXTRA64_LOCAL_BYTES = 4 + 16,
    MAX_NAME_BYTES = 0xffff - 4
};

/* From this size on a member gets 64-bit sizes; the rest up to 2^32 is for deflate's overhead. */
#define ZIP64_MEMBER_BYTES ((uint64_t)0xf0000000)

typedef struct written_member {
    char *name; /* with ".npy" */
    size_t name_bytes;
    unsigned flags;
    bool zip64;
    uint32_t crc;
    uint64_t plain_bytes;
    uint64_t packed_bytes;
    uint64_t offset;
} written_member;

/* A small record under construction. */
typedef struct record {
    uint8_t bytes[96];
    size_t length;
} record;

static void put(record *out, uint64_t value, unsigned size_bytes)
{
    for (unsigned i = 0; i < size_bytes; i++) {
        out->bytes[out->length++] = (uint8_t)(value >> (8 * i));
    }
}

/* The fields from "version needed" to the name's length, the same in local header and directory. */
static void put_common(record *out, const written_member *member, vqc_npz_method method,
                       bool see_zip64)
{
    put(out, member->zip64 ? VERSION_ZIP64 : VERSION_PLAIN, 2);
    put(out, member->flags, 2);
    put(out, (uint64_t)method, 2);
    put(out, 0, 2);
    put(out, ZIP_DATE_1980_01_01, 2);
    put(out, member->crc, 4);
    put(out, see_zip64 ? ZIP_SEE_64_32BIT : member->packed_bytes, 4);
    put(out, see_zip64 ? ZIP_SEE_64_32BIT : member->plain_bytes, 4);
    put(out, member->name_bytes, 2);
}

static record make_local_header(const written_member *member, vqc_npz_method method)
{
    record out = {.length = 0};

    put(&out, ZIP_LOCAL_SIGNATURE, 4);
    put_common(&out, member, method, member->zip64);
    put(&out, member->zip64 ? EXTRA64_LOCAL_BYTES : 0, 2);
    return out;
}

static record make_local_extra(const written_member *member)
{
    record out = {.length = 0};

    if (member->zip64) {
        put(&out, ZIP_EXTRA64_ID, 2);
        put(&out, EXTRA64_LOCAL_BYTES - 4, 2);
        put(&out, member->plain_bytes, 8);
        put(&out, member->packed_bytes, 8);
    }
    return out;
}

/* Appends the plain bytes as they are. */
static vqc_status append_stored(vqc_npz_file *file, const void *data, size_t size_bytes,
                                written_member *member, vqc_error *error)
{
    member->crc = (uint32_t)crc32_z(member->crc, data, size_bytes);
    return vqc_npz_file_write(file, data, size_bytes, error);
}

/* Feeds bytes to the deflater and appends what comes out; `last` ends the stream. */
static vqc_status append_deflated(vqc_npz_file *file, z_stream *z, const void *data,
                                  size_t size_bytes, bool last, written_member *member,
                                  vqc_error *error)
{
    uint8_t chunk[CHUNK_BYTES];
    const uint8_t *at = data;
    int code = Z_OK;

    member->crc = (uint32_t)crc32_z(member->crc, data, size_bytes);
    do {
        size_t n = size_bytes < ((size_t)1 << 30) ? size_bytes : (size_t)1 << 30;
        bool flush = last && n == size_bytes;
        z->next_in = (Bytef *)(uintptr_t)at; /* zlib reads it only; older headers lack const */
        z->avail_in = (uInt)n;
        do {
            vqc_status status;
            z->next_out = chunk;
            z->avail_out = CHUNK_BYTES;
            code = deflate(z, flush ? Z_FINISH : Z_NO_FLUSH);
            if (code == Z_STREAM_ERROR) {
                return vqc_fail(error, VQC_ERR_INTERNAL, "member \"%s\": deflate failed",
                                member->name);
            }
            status = vqc_npz_file_write(file, chunk, CHUNK_BYTES - z->avail_out, error);
            if (status != VQC_OK) {
                return status;
            }
        } while (z->avail_out == 0);
        at += n;
        size_bytes -= n;
    } while (size_bytes > 0);
    if (last && code != Z_STREAM_END) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "member \"%s\": deflate did not end",
                        member->name);
    }
    return VQC_OK;
}

static vqc_status append_data(vqc_npz_file *file, const uint8_t *header, size_t header_bytes,
                              const vqc_array *array, vqc_npz_method method, written_member *member,
                              vqc_error *error)
{
    z_stream z = {0};
    vqc_status status;

    if (method == VQC_NPZ_STORED) {
        status = append_stored(file, header, header_bytes, member, error);
        if (status == VQC_OK && array->size_bytes > 0) {
            status = append_stored(file, array->data, array->size_bytes, member, error);
        }
        return status;
    }
    if (deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, -MAX_WBITS, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "member \"%s\": cannot set up deflate",
                        member->name);
    }
    status = append_deflated(file, &z, header, header_bytes, array->size_bytes == 0, member, error);
    if (status == VQC_OK && array->size_bytes > 0) {
        status = append_deflated(file, &z, array->data, array->size_bytes, true, member, error);
    }
    (void)deflateEnd(&z);
    return status;
}

static vqc_status write_member(vqc_npz_file *file, const vqc_array *array, vqc_npz_method method,
                               written_member *member, vqc_error *error)
{
    uint8_t *header = NULL;
    size_t header_bytes = 0;
    record local;
    record extra;
    uint64_t start;
    vqc_status status = vqc_npy_encode_header(array, &header, &header_bytes, error);

    if (status != VQC_OK) {
        return status;
    }
    member->offset = vqc_npz_file_size(file);
    member->plain_bytes = (uint64_t)header_bytes + array->size_bytes;
    member->zip64 = member->plain_bytes >= ZIP64_MEMBER_BYTES;
    local = make_local_header(member, method); /* room only: CRC and packed size come later */
    extra = make_local_extra(member);
    status = vqc_npz_file_write(file, local.bytes, local.length, error);
    if (status == VQC_OK) {
        status = vqc_npz_file_write(file, member->name, member->name_bytes, error);
    }
    if (status == VQC_OK) {
        status = vqc_npz_file_write(file, extra.bytes, extra.length, error);
    }
    start = vqc_npz_file_size(file);
    if (status == VQC_OK) {
        status = append_data(file, header, header_bytes, array, method, member, error);
    }
    free(header);
    if (status != VQC_OK) {
        return status;
    }
    member->packed_bytes = vqc_npz_file_size(file) - start;
    local = make_local_header(member, method);
    extra = make_local_extra(member);
    status = vqc_npz_file_overwrite(file, member->offset, local.bytes, local.length, error);
    if (status == VQC_OK) {
        status =
            vqc_npz_file_overwrite(file, start - extra.length, extra.bytes, extra.length, error);
    }
    return status;
}

static vqc_status write_entry(vqc_npz_file *file, written_member *member, vqc_npz_method method,
                              vqc_error *error)
{
    record fixed = {.length = 0};
    record extra = {.length = 0};
    vqc_status status;

    member->zip64 = member->zip64 || member->offset >= ZIP_SEE_64_32BIT;
    if (member->zip64) {
        put(&extra, ZIP_EXTRA64_ID, 2);
        put(&extra, EXTRA64_ENTRY_BYTES - 4, 2);
        put(&extra, member->plain_bytes, 8);
        put(&extra, member->packed_bytes, 8);
        put(&extra, member->offset, 8);
    }
    put(&fixed, ZIP_ENTRY_SIGNATURE, 4);
    put(&fixed, member->zip64 ? VERSION_ZIP64 : VERSION_PLAIN, 2); /* made by */
    put_common(&fixed, member, method, member->zip64);
    put(&fixed, extra.length, 2);
    put(&fixed, 0, 2); /* comment */
    put(&fixed, 0, 2); /* disk */
    put(&fixed, 0, 2); /* internal attributes */
    put(&fixed, 0, 4); /* external attributes */
    put(&fixed, member->zip64 ? ZIP_SEE_64_32BIT : member->offset, 4);
    status = vqc_npz_file_write(file, fixed.bytes, fixed.length, error);
    if (status == VQC_OK) {
        status = vqc_npz_file_write(file, member->name, member->name_bytes, error);
    }
    if (status == VQC_OK) {
        status = vqc_npz_file_write(file, extra.bytes, extra.length, error);
    }
    return status;
}

static vqc_status write_end(vqc_npz_file *file, uint64_t directory_offset, uint64_t count,
                            vqc_error *error)
{
    uint64_t own_offset = vqc_npz_file_size(file);
    uint64_t directory_bytes = own_offset - directory_offset;
    bool zip64 = count >= ZIP_SEE_64_16BIT || directory_offset >= ZIP_SEE_64_32BIT ||
                 directory_bytes >= ZIP_SEE_64_32BIT;
    record end = {.length = 0};
    vqc_status status;

    if (zip64) {
        record end64 = {.length = 0};
        put(&end64, ZIP_END64_SIGNATURE, 4);
        put(&end64, ZIP_END64_BYTES - 12, 8); /* what follows this field */
        put(&end64, VERSION_ZIP64, 2);
        put(&end64, VERSION_ZIP64, 2);
        put(&end64, 0, 4);
        put(&end64, 0, 4);
        put(&end64, count, 8);
        put(&end64, count, 8);
        put(&end64, directory_bytes, 8);
        put(&end64, directory_offset, 8);
        put(&end64, ZIP_LOCATOR64_SIGNATURE, 4);
        put(&end64, 0, 4);
        put(&end64, own_offset, 8);
        put(&end64, 1, 4);
        status = vqc_npz_file_write(file, end64.bytes, end64.length, error);
        if (status != VQC_OK) {
            return status;
        }
    }
    put(&end, ZIP_END_SIGNATURE, 4);
    put(&end, 0, 2);
    put(&end, 0, 2);
    put(&end, zip64 ? ZIP_SEE_64_16BIT : count, 2);
    put(&end, zip64 ? ZIP_SEE_64_16BIT : count, 2);
    put(&end, zip64 ? ZIP_SEE_64_32BIT : directory_bytes, 4);
    put(&end, zip64 ? ZIP_SEE_64_32BIT : directory_offset, 4);
    put(&end, 0, 2); /* comment */
    return vqc_npz_file_write(file, end.bytes, end.length, error);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Every array has a name that a zip directory can hold, and no two have the same. */
static vqc_status check_names(const vqc_array *arrays, size_t count, vqc_error *error)
{
    const char **names = calloc(count + 1, sizeof *names);
    vqc_status status = VQC_OK;

    if (names == NULL) {
        return vqc_fail_memory(error, (count + 1) * sizeof *names);
    }
    for (size_t i = 0; i < count && status == VQC_OK; i++) {
        names[i] = arrays[i].name;
        if (names[i] == NULL || names[i][0] == '\0' || strlen(names[i]) > MAX_NAME_BYTES) {
            status = vqc_fail(error, VQC_ERR_INTERNAL,
                              "array %zu: got a name of %zu bytes, expected 1 to %d", i,
                              names[i] == NULL ? (size_t)0 : strlen(names[i]), (int)MAX_NAME_BYTES);
        }
    }
    if (status == VQC_OK) {
        qsort(names, count, sizeof *names, compare_names);
    }
    for (size_t i = 1; i < count && status == VQC_OK; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            status = vqc_fail(error, VQC_ERR_INTERNAL,
                              "array name \"%s\" is there twice, expected once", names[i]);
        }
    }
    free(names);
    return status;
}

static vqc_status name_member(const vqc_array *array, written_member *member, vqc_error *error)
{
    size_t stem_bytes = strlen(array->name);

    member->name_bytes = stem_bytes + strlen(".npy");
    member->name = malloc(member->name_bytes + 1);
    if (member->name == NULL) {
        return vqc_fail_memory(error, member->name_bytes + 1);
    }
    memcpy(member->name, array->name, stem_bytes);
    memcpy(member->name + stem_bytes, ".npy", sizeof ".npy");
    for (size_t i = 0; i < stem_bytes; i++) {
        if ((unsigned char)member->name[i] >= 0x80) {
            member->flags = ZIP_FLAG_UTF8;
        }
    }
    return VQC_OK;
}

vqc_status vqc_npz_write(const char *path, const vqc_array *arrays, size_t count,
                         vqc_npz_method method, vqc_error *error)
{
    vqc_npz_file *file = NULL;
    written_member *members = NULL;
    uint64_t directory_offset;
    vqc_status status = check_names(arrays, count, error);

    if (status != VQC_OK) {
        goto done;
    }
    if (method != VQC_NPZ_STORED && method != VQC_NPZ_DEFLATED) {
        status = vqc_fail(error, VQC_ERR_INTERNAL, "%s: got method %d, expected stored or deflated",
                          path, (int)method);
        goto done;
    }
    members = calloc(count + 1, sizeof *members);
    if (members == NULL) {
        status = vqc_fail_memory(error, (count + 1) * sizeof *members);
        goto done;
    }
    status = vqc_npz_file_create(path, &file, error);
    for (size_t i = 0; i < count && status == VQC_OK; i++) {
        status = name_member(&arrays[i], &members[i], error);
        if (status == VQC_OK) {
            status = write_member(file, &arrays[i], method, &members[i], error);
        }
    }
    if (status != VQC_OK) {
        goto done;
    }
    directory_offset = vqc_npz_file_size(file);
    for (size_t i = 0; i < count && status == VQC_OK; i++) {
        status = write_entry(file, &members[i], method, error);
    }
    if (status == VQC_OK) {
        status = write_end(file, directory_offset, count, error);
    }
    if (status == VQC_OK) {
        status = vqc_npz_file_commit(file, error);
    }
done:
    for (size_t i = 0; members != NULL && i < count; i++) {
        free(members[i].name);
    }
    free(members);
    vqc_npz_file_destroy(&file);
    return status;
}
