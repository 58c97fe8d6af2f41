/* The zip directory of a .npz archive, checked as a whole before any member is read. */
#include "formats/npz_archive.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/npz.h"
#include "formats/npz_zip.h"

/* A deflate stream yields at most 258 bytes (the longest match) per 2 bits (its two shortest
 * codes). */
enum { DEFLATE_MAX_RATIO = 258 * 8 / 2 };

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] | (unsigned)p[1] << 8;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) | (uint32_t)get16(p + 2) << 16;
}

static uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32;
}

vqc_status vqc_zip_read_at(const vqc_zip_source *input, uint64_t offset, void *dst,
                           size_t size_bytes, const char *what, vqc_error *error)
{
    size_t done = 0;

    if (offset > input->size_bytes || size_bytes > input->size_bytes - offset) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: truncated: %s takes bytes %" PRIu64 " to %" PRIu64
                        ", the file has %" PRIu64,
                        input->path, what, offset, offset + size_bytes, input->size_bytes);
    }
    if (input->fd < 0) {
        memcpy(dst, input->memory + offset, size_bytes);
        return VQC_OK;
    }
    while (done < size_bytes) {
        ssize_t n =
            pread(input->fd, (uint8_t *)dst + done, size_bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return vqc_fail(error, VQC_ERR_IO, "%s: cannot read %s: %s", input->path, what,
                            n < 0 ? strerror(errno) : "the file shrank meanwhile");
        }
        done += (size_t)n;
    }
    return VQC_OK;
}

const char *vqc_zip_describe(const vqc_zip_source *input, const char *name, char *text)
{
    int used = snprintf(text, VQC_ZIP_WHERE_BYTES, "%.300s: member \"%.256s\"", input->path, name);

    for (int i = 0; i < used && i < VQC_ZIP_WHERE_BYTES; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
            text[i] = '?';
        }
    }
    return text;
}

/* ---- the zip directory ---- */

/* Where the directory lies and how many entries it has, from the record at the end of the file. */
typedef struct zip_end {
    uint64_t entry_count;
    uint64_t directory_bytes;
    uint64_t directory_offset;
    uint64_t own_offset; /* of the first of the end records */
} zip_end;

/* Replaces *end by the zip64 end record, when there is a locator before the plain one. */
static vqc_status read_end64(const vqc_zip_source *input, zip_end *end, vqc_error *error)
{
    uint8_t locator[ZIP_LOCATOR64_BYTES];
    uint8_t record[ZIP_END64_BYTES];
    uint64_t offset;
    vqc_status status;

    if (end->own_offset < ZIP_LOCATOR64_BYTES) {
        return VQC_OK;
    }
    status = vqc_zip_read_at(input, end->own_offset - ZIP_LOCATOR64_BYTES, locator, sizeof locator,
                             "zip64 locator", error);
    if (status != VQC_OK || get32(locator) != ZIP_LOCATOR64_SIGNATURE) {
        return status;
    }
    offset = get64(locator + 8);
    if (get32(locator + 4) != 0 || get32(locator + 16) > 1) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: is one part of a split archive, expected a whole", input->path);
    }
    if (offset > end->own_offset - ZIP_LOCATOR64_BYTES) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: zip64 end record at %" PRIu64 ", expected it before its locator",
                        input->path, offset);
    }
    status = vqc_zip_read_at(input, offset, record, sizeof record, "zip64 end record", error);
    if (status != VQC_OK) {
        return status;
    }
    if (get32(record) != ZIP_END64_SIGNATURE || get32(record + 16) != 0 ||
        get32(record + 20) != 0 || get64(record + 24) != get64(record + 32)) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: zip64 end record at %" PRIu64 " is malformed",
                        input->path, offset);
    }
    end->entry_count = get64(record + 32);
    end->directory_bytes = get64(record + 40);
    end->directory_offset = get64(record + 48);
    end->own_offset = offset;
    return VQC_OK;
}

static vqc_status find_end(const vqc_zip_source *input, zip_end *end, vqc_error *error)
{
    size_t tail_bytes = ZIP_END_BYTES + 0xffff; /* a comment may follow the record */
    uint8_t *tail;
    const uint8_t *record = NULL;
    vqc_status status;

    if (input->size_bytes < tail_bytes) {
        tail_bytes = (size_t)input->size_bytes;
    }
    if (tail_bytes < ZIP_END_BYTES) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: got %" PRIu64 " bytes, too few for a .npz archive", input->path,
                        input->size_bytes);
    }
    tail = malloc(tail_bytes);
    if (tail == NULL) {
        return vqc_fail_memory(error, tail_bytes);
    }
    status = vqc_zip_read_at(input, input->size_bytes - tail_bytes, tail, tail_bytes, "end record",
                             error);
    if (status != VQC_OK) {
        goto done;
    }
    for (size_t at = tail_bytes - ZIP_END_BYTES + 1; at-- > 0 && record == NULL;) {
        if (get32(tail + at) == ZIP_END_SIGNATURE &&
            get16(tail + at + 20) == tail_bytes - ZIP_END_BYTES - at) {
            record = tail + at;
            end->own_offset = input->size_bytes - tail_bytes + at;
        }
    }
    if (record == NULL) {
        status =
            vqc_fail(error, VQC_ERR_MODEL,
                     "%s: no zip end record found: truncated, or not a .npz archive", input->path);
        goto done;
    }
    if (get16(record + 4) != 0 || get16(record + 6) != 0 ||
        get16(record + 8) != get16(record + 10)) {
        status = vqc_fail(error, VQC_ERR_MODEL,
                          "%s: is one part of a split archive, expected a whole", input->path);
        goto done;
    }
    end->entry_count = get16(record + 10);
    end->directory_bytes = get32(record + 12);
    end->directory_offset = get32(record + 16);
    status = read_end64(input, end, error);
    if (status != VQC_OK) {
        goto done;
    }
    if (end->directory_offset > end->own_offset ||
        end->directory_bytes > end->own_offset - end->directory_offset) {
        status =
            vqc_fail(error, VQC_ERR_MODEL,
                     "%s: directory of %" PRIu64 " bytes at %" PRIu64
                     " reaches over the end record at %" PRIu64,
                     input->path, end->directory_bytes, end->directory_offset, end->own_offset);
    } else if (end->directory_bytes > VQC_NPZ_MAX_DIRECTORY_BYTES ||
               end->entry_count > VQC_NPZ_MAX_MEMBERS ||
               end->entry_count > end->directory_bytes / ZIP_ENTRY_BYTES) {
        status =
            vqc_fail(error, VQC_ERR_MODEL,
                     "%s: got %" PRIu64 " members in a directory of %" PRIu64
                     " bytes, expected at most %d members, %d bytes, and %d bytes per member",
                     input->path, end->entry_count, end->directory_bytes, (int)VQC_NPZ_MAX_MEMBERS,
                     (int)VQC_NPZ_MAX_DIRECTORY_BYTES, (int)ZIP_ENTRY_BYTES);
    }
done:
    free(tail);
    return status;
}

/* Fills those of plain, packed and offset (may be NULL) that say "see zip64" from the extra fields.
 */
static bool resolve_zip64(const uint8_t *extra, size_t extra_bytes, uint64_t *plain,
                          uint64_t *packed, uint64_t *offset)
{
    uint64_t *fields[3] = {plain, packed, offset};
    bool wanted = false;

    for (int i = 0; i < 3; i++) {
        wanted = wanted || (fields[i] != NULL && *fields[i] == ZIP_SEE_64_32BIT);
    }
    while (wanted && extra_bytes >= 4) {
        unsigned id = get16(extra);
        size_t length = get16(extra + 2);
        if (length > extra_bytes - 4) {
            return false;
        }
        if (id == ZIP_EXTRA64_ID) {
            const uint8_t *at = extra + 4;
            for (int i = 0; i < 3; i++) {
                if (fields[i] != NULL && *fields[i] == ZIP_SEE_64_32BIT) {
                    if (length < 8) {
                        return false;
                    }
                    *fields[i] = get64(at);
                    at += 8;
                    length -= 8;
                }
            }
            return true;
        }
        extra += 4 + length;
        extra_bytes -= 4 + length;
    }
    return !wanted;
}

/* One directory entry at p [left] into *entry; *used is its size. */
static vqc_status parse_entry(const vqc_zip_source *input, const uint8_t *p, size_t left,
                              vqc_zip_entry *entry, size_t *used, vqc_error *error)
{
    char where[VQC_ZIP_WHERE_BYTES];
    size_t name_bytes;
    size_t extra_bytes;
    char *name;

    if (left < ZIP_ENTRY_BYTES || get32(p) != ZIP_ENTRY_SIGNATURE) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: malformed directory entry", input->path);
    }
    name_bytes = get16(p + 28);
    extra_bytes = get16(p + 30);
    *used = ZIP_ENTRY_BYTES + name_bytes + extra_bytes + get16(p + 32);
    if (*used > left) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: directory entry takes %zu bytes, only %zu are left", input->path,
                        *used, left);
    }
    if (memchr(p + ZIP_ENTRY_BYTES, 0, name_bytes) != NULL) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: a member's name has a zero byte", input->path);
    }
    name = calloc(1, name_bytes + 1);
    if (name == NULL) {
        return vqc_fail_memory(error, name_bytes + 1);
    }
    memcpy(name, p + ZIP_ENTRY_BYTES, name_bytes);
    entry->name = name;
    entry->flags = get16(p + 8);
    entry->method = get16(p + 10);
    entry->crc = get32(p + 16);
    entry->packed_bytes = get32(p + 20);
    entry->plain_bytes = get32(p + 24);
    entry->local_offset = get32(p + 42);
    (void)vqc_zip_describe(input, name, where);
    if (!resolve_zip64(p + ZIP_ENTRY_BYTES + name_bytes, extra_bytes, &entry->plain_bytes,
                       &entry->packed_bytes, &entry->local_offset)) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: sizes of 64 bits are missing or malformed",
                        where);
    }
    if ((entry->flags & ZIP_FLAG_ENCRYPTED) != 0) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: is encrypted, expected plain data", where);
    }
    if (entry->method != ZIP_METHOD_STORED && entry->method != ZIP_METHOD_DEFLATE) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: got compression method %u, expected 0 (stored) or 8 (deflate)", where,
                        entry->method);
    }
    if (entry->method == ZIP_METHOD_STORED && entry->packed_bytes != entry->plain_bytes) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: is stored, but takes %" PRIu64 " bytes for %" PRIu64, where,
                        entry->packed_bytes, entry->plain_bytes);
    }
    if (entry->plain_bytes / DEFLATE_MAX_RATIO > entry->packed_bytes) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: claims %" PRIu64 " bytes out of %" PRIu64
                        ", deflate reaches at most %d times",
                        where, entry->plain_bytes, entry->packed_bytes, (int)DEFLATE_MAX_RATIO);
    }
    return VQC_OK;
}

/* Compares the local header with the directory and sets entry->data_offset. */
static vqc_status check_local_header(const vqc_zip_source *input,
                                     const vqc_zip_directory *directory, vqc_zip_entry *entry,
                                     vqc_error *error)
{
    uint8_t fixed[ZIP_LOCAL_BYTES];
    char where[VQC_ZIP_WHERE_BYTES];
    uint8_t *rest = NULL;
    size_t name_bytes;
    size_t extra_bytes;
    uint64_t plain;
    uint64_t packed;
    vqc_status status =
        vqc_zip_read_at(input, entry->local_offset, fixed, sizeof fixed, "local header", error);

    if (status != VQC_OK) {
        return status;
    }
    (void)vqc_zip_describe(input, entry->name, where);
    if (get32(fixed) != ZIP_LOCAL_SIGNATURE) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: no local header at %" PRIu64, where,
                        entry->local_offset);
    }
    name_bytes = get16(fixed + 26);
    extra_bytes = get16(fixed + 28);
    rest = malloc(name_bytes + extra_bytes + 1);
    if (rest == NULL) {
        return vqc_fail_memory(error, name_bytes + extra_bytes + 1);
    }
    status = vqc_zip_read_at(input, entry->local_offset + ZIP_LOCAL_BYTES, rest,
                             name_bytes + extra_bytes, "local header", error);
    if (status != VQC_OK) {
        goto done;
    }
    packed = get32(fixed + 18);
    plain = get32(fixed + 22);
    if (name_bytes != strlen(entry->name) || memcmp(rest, entry->name, name_bytes) != 0 ||
        get16(fixed + 8) != entry->method ||
        ((get16(fixed + 6) ^ entry->flags) & (ZIP_FLAG_ENCRYPTED | ZIP_FLAG_DESCRIPTOR)) != 0) {
        status = vqc_fail(error, VQC_ERR_MODEL,
                          "%s: local header and directory differ in name, method or flags", where);
        goto done;
    }
    if ((entry->flags & ZIP_FLAG_DESCRIPTOR) == 0 &&
        (!resolve_zip64(rest + name_bytes, extra_bytes, &plain, &packed, NULL) ||
         plain != entry->plain_bytes || packed != entry->packed_bytes ||
         get32(fixed + 14) != entry->crc)) {
        status = vqc_fail(error, VQC_ERR_MODEL,
                          "%s: local header and directory differ in sizes or CRC", where);
        goto done;
    }
    entry->data_offset = entry->local_offset + ZIP_LOCAL_BYTES + name_bytes + extra_bytes;
    if (entry->data_offset > directory->offset ||
        entry->packed_bytes > directory->offset - entry->data_offset) {
        status =
            vqc_fail(error, VQC_ERR_MODEL,
                     "%s: %" PRIu64 " bytes at %" PRIu64 " reach over the directory at %" PRIu64,
                     where, entry->packed_bytes, entry->data_offset, directory->offset);
    }
done:
    free(rest);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const vqc_zip_entry *const *)a)->name,
                  (*(const vqc_zip_entry *const *)b)->name);
}

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = (*(const vqc_zip_entry *const *)a)->local_offset;
    uint64_t y = (*(const vqc_zip_entry *const *)b)->local_offset;
    return (x > y) - (x < y);
}

/* No name twice; no byte of the file in two members (that is how small files claim petabytes). */
static vqc_status check_distinct(const vqc_zip_source *input, const vqc_zip_directory *directory,
                                 vqc_error *error)
{
    char where[VQC_ZIP_WHERE_BYTES];
    const vqc_zip_entry **sorted = calloc(directory->count + 1, sizeof *sorted);
    vqc_status status = VQC_OK;

    if (sorted == NULL) {
        return vqc_fail_memory(error, (directory->count + 1) * sizeof *sorted);
    }
    for (size_t i = 0; i < directory->count; i++) {
        sorted[i] = &directory->entries[i];
    }
    qsort(sorted, directory->count, sizeof *sorted, compare_names);
    for (size_t i = 1; i < directory->count && status == VQC_OK; i++) {
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0) {
            status = vqc_fail(error, VQC_ERR_MODEL, "%s: is there twice, expected once",
                              vqc_zip_describe(input, sorted[i]->name, where));
        }
    }
    qsort(sorted, directory->count, sizeof *sorted, compare_offsets);
    for (size_t i = 1; i < directory->count && status == VQC_OK; i++) {
        uint64_t end = sorted[i - 1]->data_offset + sorted[i - 1]->packed_bytes;
        if (end > sorted[i]->local_offset) {
            status = vqc_fail(
                error, VQC_ERR_MODEL,
                "%s: starts at %" PRIu64 ", inside the member before it, which ends at "
                "%" PRIu64,
                vqc_zip_describe(input, sorted[i]->name, where), sorted[i]->local_offset, end);
        }
    }
    free(sorted);
    return status;
}

void vqc_zip_directory_clear(vqc_zip_directory *directory)
{
    for (size_t i = 0; i < directory->count; i++) {
        free((char *)directory->entries[i].name);
    }
    free(directory->entries);
    *directory = (vqc_zip_directory){0};
}

vqc_status vqc_zip_directory_read(const vqc_zip_source *input, vqc_zip_directory *directory,
                                  vqc_error *error)
{
    zip_end end = {0};
    uint8_t *bytes = NULL;
    size_t size_bytes;
    size_t at = 0;
    vqc_status status = find_end(input, &end, error);

    if (status != VQC_OK) {
        return status;
    }
    size_bytes = (size_t)end.directory_bytes;
    directory->offset = end.directory_offset;
    bytes = malloc(size_bytes + 1);
    directory->entries = calloc((size_t)end.entry_count + 1, sizeof *directory->entries);
    if (bytes == NULL || directory->entries == NULL) {
        status = vqc_fail_memory(error, size_bytes);
        goto done;
    }
    status = vqc_zip_read_at(input, end.directory_offset, bytes, size_bytes, "directory", error);
    while (status == VQC_OK && directory->count < end.entry_count) {
        size_t used = 0;
        vqc_zip_entry *entry = &directory->entries[directory->count++];
        status = parse_entry(input, bytes + at, size_bytes - at, entry, &used, error);
        at += used;
    }
    if (status == VQC_OK && at != size_bytes) {
        status = vqc_fail(error, VQC_ERR_MODEL, "%s: entries take %zu bytes of a directory of %zu",
                          input->path, at, size_bytes);
    }
    for (size_t i = 0; i < directory->count && status == VQC_OK; i++) {
        status = check_local_header(input, directory, &directory->entries[i], error);
    }
    if (status == VQC_OK) {
        status = check_distinct(input, directory, error);
    }
done:
    free(bytes);
    return status;
}
