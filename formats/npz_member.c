/* Members of a .npz archive as streams: stored or inflated, with their CRC. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "formats/npz_archive.h"
#include "formats/npz_zip.h"

enum { WINDOW_BYTES = 1 << 16 };

struct vqc_zip_member {
    const vqc_zip_source *input;
    const vqc_zip_entry *entry;
    char where[VQC_ZIP_WHERE_BYTES];
    uint64_t offset;      /* of the next packed byte */
    uint64_t packed_left; /* packed bytes not yet read from the archive */
    uint64_t produced;    /* plain bytes handed out */
    uint32_t crc;
    z_stream inflater;
    bool inflating; /* inflater is to be ended */
    bool ended;     /* deflate's own end was reached */
    uint8_t window[WINDOW_BYTES];
};

static vqc_status read_stored(vqc_zip_member *stream, void *dst, size_t size_bytes, size_t *got,
                              vqc_error *error)
{
    vqc_status status;

    *got = size_bytes < stream->packed_left ? size_bytes : (size_t)stream->packed_left;
    status = vqc_zip_read_at(stream->input, stream->offset, dst, *got, "member data", error);
    stream->offset += *got;
    stream->packed_left -= *got;
    return status;
}

static vqc_status read_deflated(vqc_zip_member *stream, void *dst, size_t size_bytes, size_t *got,
                                vqc_error *error)
{
    z_stream *z = &stream->inflater;

    *got = 0;
    while (*got < size_bytes && !stream->ended) {
        size_t room = size_bytes - *got;
        int code;
        if (z->avail_in == 0 && stream->packed_left > 0) {
            size_t n =
                stream->packed_left < WINDOW_BYTES ? (size_t)stream->packed_left : WINDOW_BYTES;
            vqc_status status = vqc_zip_read_at(stream->input, stream->offset, stream->window, n,
                                                "member data", error);
            if (status != VQC_OK) {
                return status;
            }
            stream->offset += n;
            stream->packed_left -= n;
            z->next_in = stream->window;
            z->avail_in = (uInt)n;
        }
        if (room > (size_t)1 << 30) {
            room = (size_t)1 << 30; /* avail_out has 32 bits */
        }
        z->next_out = (Bytef *)dst + *got;
        z->avail_out = (uInt)room;
        code = inflate(z, Z_NO_FLUSH);
        *got += room - z->avail_out;
        stream->ended = code == Z_STREAM_END;
        if (code == Z_MEM_ERROR) {
            return vqc_fail(error, VQC_ERR_INTERNAL, "%s: out of memory in inflate", stream->where);
        }
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
            return vqc_fail(error, VQC_ERR_MODEL,
                            "%s: deflate data are corrupt after %" PRIu64 " bytes: %s",
                            stream->where, stream->produced + *got,
                            z->msg == NULL ? "no reason given" : z->msg);
        }
        if (code == Z_BUF_ERROR && stream->packed_left == 0 && z->avail_in == 0) {
            break; /* the packed bytes ran out before the stream's end */
        }
    }
    return VQC_OK;
}

vqc_status vqc_zip_member_read(void *context, void *dst, size_t size_bytes, size_t *got,
                               vqc_error *error)
{
    vqc_zip_member *stream = context;
    vqc_status status = stream->entry->method == ZIP_METHOD_STORED
                            ? read_stored(stream, dst, size_bytes, got, error)
                            : read_deflated(stream, dst, size_bytes, got, error);

    if (status == VQC_OK) {
        stream->crc = (uint32_t)crc32_z(stream->crc, dst, *got);
        stream->produced += *got;
    }
    return status;
}

vqc_status vqc_zip_member_check_end(const vqc_zip_member *stream, vqc_error *error)
{
    const vqc_zip_entry *entry = stream->entry;
    uint64_t unused = stream->packed_left + stream->inflater.avail_in;

    if (stream->produced != entry->plain_bytes) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: got %" PRIu64 " bytes, expected %" PRIu64 " from the directory",
                        stream->where, stream->produced, entry->plain_bytes);
    }
    if (unused != 0 || (stream->inflating && !stream->ended)) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: deflate data end wrongly: %" PRIu64 " of %" PRIu64 " bytes unused",
                        stream->where, unused, entry->packed_bytes);
    }
    if (stream->crc != entry->crc) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: got CRC %08" PRIx32 ", expected %08" PRIx32,
                        stream->where, stream->crc, entry->crc);
    }
    return VQC_OK;
}

vqc_status vqc_zip_member_open(const vqc_zip_source *input, const vqc_zip_entry *entry,
                               vqc_zip_member **out, vqc_error *error)
{
    vqc_zip_member *stream = calloc(1, sizeof *stream);

    *out = NULL;
    if (stream == NULL) {
        return vqc_fail_memory(error, sizeof *stream);
    }
    stream->input = input;
    stream->entry = entry;
    (void)vqc_zip_describe(input, entry->name, stream->where);
    stream->offset = entry->data_offset;
    stream->packed_left = entry->packed_bytes;
    if (entry->method == ZIP_METHOD_DEFLATE) {
        /* negative: raw deflate without zlib's header */
        if (inflateInit2(&stream->inflater, -MAX_WBITS) != Z_OK) {
            vqc_status status =
                vqc_fail(error, VQC_ERR_INTERNAL, "%s: cannot set up inflate", stream->where);
            free(stream);
            return status;
        }
        stream->inflating = true;
    }
    *out = stream;
    return VQC_OK;
}

void vqc_zip_member_close(vqc_zip_member **member)
{
    if (member == NULL || *member == NULL) {
        return;
    }
    if ((*member)->inflating) {
        (void)inflateEnd(&(*member)->inflater);
    }
    free(*member);
    *member = NULL;
}
