#include "formats/npz_slices.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/npz_archive.h"
#include "formats/npz_file.h"
#include "formats/npz_zip.h"

enum { SCRATCH_BYTES = 1 << 16 };

/* How the bytes of one array are reached. */
typedef struct slice_source {
    const vqc_zip_entry *entry; /* NULL in a .npy file */
    char *name;
    uint64_t data_offset;   /* in the file, of stored data */
    vqc_zip_member *member; /* deflated: the stream, `position` bytes of data into it */
    size_t position;
    vqc_array whole; /* Fortran order: all of it */
} slice_source;

struct vqc_npz_slices {
    char *path;
    vqc_zip_source file;
    vqc_zip_directory directory;
    vqc_npz_slices_array *arrays; /* [count] */
    slice_source *sources;        /* [count] */
    size_t count;
};

/* ---- .npy ---- */

typedef struct file_stream {
    const vqc_zip_source *file;
    uint64_t offset;
} file_stream;

static vqc_status read_file(void *context, void *dst, size_t size_bytes, size_t *got,
                            vqc_error *error)
{
    file_stream *stream = context;
    uint64_t left = stream->file->size_bytes - stream->offset;
    vqc_status status;

    *got = size_bytes < left ? size_bytes : (size_t)left;
    status = vqc_zip_read_at(stream->file, stream->offset, dst, *got, "array", error);
    stream->offset += *got;
    return status;
}

/* Whether the elements lie in another order than C order. */
static bool is_reordered(const vqc_npy_layout *layout)
{
    size_t wide = 0;

    for (size_t d = 0; d < layout->rank; d++) {
        wide += layout->dims[d] > 1;
    }
    return layout->fortran_order && wide > 1 && layout->size_bytes > 0;
}

static vqc_status open_npy(vqc_npz_slices *self, vqc_error *error)
{
    file_stream stream = {&self->file, 0};
    vqc_npy_source source = {&stream, read_file, self->file.size_bytes};
    vqc_status status = vqc_npy_read_layout(&source, self->path, &self->arrays[0].type, error);

    if (status != VQC_OK) {
        return status;
    }
    self->count = 1;
    self->sources[0].data_offset = self->arrays[0].type.header_bytes;
    if (is_reordered(&self->arrays[0].type)) {
        stream.offset = 0;
        status = vqc_npy_decode(&source, self->path, VQC_NPZ_MAX_FORTRAN_BYTES,
                                &self->sources[0].whole, error);
    }
    return status;
}

/* ---- .npz ---- */

static bool ends_with(const char *text, const char *suffix)
{
    size_t n = strlen(text);
    size_t m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

/* Reads on to the end of a member and checks its CRC. */
static vqc_status check_rest(vqc_zip_member *member, vqc_error *error)
{
    uint8_t *scratch = malloc(SCRATCH_BYTES);
    size_t got = 1;
    vqc_status status = VQC_OK;

    if (scratch == NULL) {
        return vqc_fail_memory(error, SCRATCH_BYTES);
    }
    while (status == VQC_OK && got > 0) {
        status = vqc_zip_member_read(member, scratch, SCRATCH_BYTES, &got, error);
    }
    free(scratch);
    return status == VQC_OK ? vqc_zip_member_check_end(member, error) : status;
}

/* Opens the stream of a member and reads its header; *layout may be the one known already. */
static vqc_status open_member(const vqc_npz_slices *self, const vqc_zip_entry *entry,
                              vqc_npy_layout *layout, vqc_zip_member **member, vqc_error *error)
{
    char where[VQC_ZIP_WHERE_BYTES];
    vqc_npy_source source = {NULL, vqc_zip_member_read, entry->plain_bytes};
    vqc_status status = vqc_zip_member_open(&self->file, entry, member, error);

    if (status != VQC_OK) {
        return status;
    }
    source.context = *member;
    return vqc_npy_read_layout(&source, vqc_zip_describe(&self->file, entry->name, where), layout,
                               error);
}

static vqc_status decode_whole(const vqc_npz_slices *self, slice_source *slice, vqc_error *error)
{
    char where[VQC_ZIP_WHERE_BYTES];
    vqc_npy_source source = {NULL, vqc_zip_member_read, slice->entry->plain_bytes};
    vqc_zip_member *member = NULL;
    vqc_status status = vqc_zip_member_open(&self->file, slice->entry, &member, error);

    if (status != VQC_OK) {
        return status;
    }
    source.context = member;
    status = vqc_npy_decode(&source, vqc_zip_describe(&self->file, slice->entry->name, where),
                            VQC_NPZ_MAX_FORTRAN_BYTES, &slice->whole, error);
    if (status == VQC_OK) {
        status = vqc_zip_member_check_end(member, error);
    }
    vqc_zip_member_close(&member);
    return status;
}

static vqc_status add_member(vqc_npz_slices *self, const vqc_zip_entry *entry, vqc_error *error)
{
    vqc_npz_slices_array *array = &self->arrays[self->count];
    slice_source *slice = &self->sources[self->count];
    vqc_status status;

    self->count++;
    slice->entry = entry;
    slice->name = strndup(entry->name, strlen(entry->name) - strlen(".npy"));
    if (slice->name == NULL) {
        return vqc_fail_memory(error, strlen(entry->name));
    }
    array->name = slice->name;
    status = open_member(self, entry, &array->type, &slice->member, error);
    if (status != VQC_OK) {
        return status;
    }
    if (is_reordered(&array->type)) {
        vqc_zip_member_close(&slice->member);
        return decode_whole(self, slice, error);
    }
    if (entry->method == ZIP_METHOD_STORED) {
        slice->data_offset = entry->data_offset + array->type.header_bytes;
        status = check_rest(slice->member, error);
        vqc_zip_member_close(&slice->member);
        return status;
    }
    array->sequential = true;
    return VQC_OK;
}

static vqc_status open_npz(vqc_npz_slices *self, vqc_error *error)
{
    char where[VQC_ZIP_WHERE_BYTES];
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < self->directory.count && status == VQC_OK; i++) {
        const vqc_zip_entry *entry = &self->directory.entries[i];
        if (ends_with(entry->name, "/") && entry->plain_bytes == 0) {
            continue; /* a folder */
        }
        if (!ends_with(entry->name, ".npy")) {
            return vqc_fail(error, VQC_ERR_MODEL, "%s: expected a name that ends in .npy",
                            vqc_zip_describe(&self->file, entry->name, where));
        }
        status = add_member(self, entry, error);
    }
    return status;
}

static vqc_status allocate(vqc_npz_slices *self, size_t count, vqc_error *error)
{
    self->arrays = calloc(count + 1, sizeof *self->arrays);
    self->sources = calloc(count + 1, sizeof *self->sources);
    if (self->arrays == NULL || self->sources == NULL) {
        return vqc_fail_memory(error, (count + 1) * sizeof *self->arrays);
    }
    return VQC_OK;
}

vqc_status vqc_npz_slices_open(const char *path, vqc_npz_slices **out, vqc_error *error)
{
    vqc_npz_slices *self = calloc(1, sizeof *self);
    uint8_t magic[6] = {0};
    vqc_status status;

    *out = NULL;
    if (self == NULL) {
        return vqc_fail_memory(error, sizeof *self);
    }
    self->file.fd = -1;
    self->path = strdup(path);
    if (self->path == NULL) {
        status = vqc_fail_memory(error, strlen(path));
        goto done;
    }
    self->file.path = self->path;
    status = vqc_npz_file_open_input(path, &self->file.fd, &self->file.size_bytes, error);
    if (status == VQC_OK && self->file.size_bytes >= sizeof magic) {
        status = vqc_zip_read_at(&self->file, 0, magic, sizeof magic, "first bytes", error);
    }
    if (status != VQC_OK) {
        goto done;
    }
    if (memcmp(magic, "\x93NUMPY", sizeof magic) == 0) {
        status = allocate(self, 1, error);
        status = status == VQC_OK ? open_npy(self, error) : status;
        goto done;
    }
    status = vqc_zip_directory_read(&self->file, &self->directory, error);
    if (status == VQC_OK) {
        status = allocate(self, self->directory.count, error);
    }
    if (status == VQC_OK) {
        status = open_npz(self, error);
    }
done:
    if (status == VQC_OK) {
        *out = self;
    } else {
        vqc_npz_slices_destroy(&self);
    }
    return status;
}

const vqc_npz_slices_array *vqc_npz_slices_arrays(const vqc_npz_slices *slices, size_t *count)
{
    *count = slices->count;
    return slices->arrays;
}

/* Moves a deflated member's stream to `offset`. */
static vqc_status seek_member(vqc_npz_slices *self, size_t index, size_t offset, vqc_error *error)
{
    slice_source *slice = &self->sources[index];
    uint8_t *scratch = NULL;
    vqc_status status = VQC_OK;

    if (slice->member == NULL || offset < slice->position) {
        vqc_npy_layout again;
        vqc_zip_member_close(&slice->member);
        slice->position = 0;
        status = open_member(self, slice->entry, &again, &slice->member, error);
    }
    if (status == VQC_OK && offset > slice->position) {
        scratch = malloc(SCRATCH_BYTES);
        status = scratch == NULL ? vqc_fail_memory(error, SCRATCH_BYTES) : VQC_OK;
    }
    while (status == VQC_OK && slice->position < offset) {
        size_t left = offset - slice->position;
        size_t want = left < SCRATCH_BYTES ? left : SCRATCH_BYTES;
        size_t got = 0;
        status = vqc_zip_member_read(slice->member, scratch, want, &got, error);
        slice->position += got;
        if (status == VQC_OK && got != want) {
            status = vqc_fail(error, VQC_ERR_MODEL, "%s: \"%s\": truncated in the data", self->path,
                              slice->name);
        }
    }
    free(scratch);
    return status;
}

static vqc_status read_deflated(vqc_npz_slices *self, size_t index, size_t offset,
                                size_t size_bytes, void *dst, vqc_error *error)
{
    slice_source *slice = &self->sources[index];
    size_t got = 0;
    vqc_status status = seek_member(self, index, offset, error);

    if (status == VQC_OK) {
        status = vqc_zip_member_read(slice->member, dst, size_bytes, &got, error);
        slice->position += got;
    }
    if (status == VQC_OK && got != size_bytes) {
        status = vqc_fail(
            error, VQC_ERR_MODEL, "%s: \"%s\": truncated in the data: got %zu bytes, expected %zu",
            self->path, slice->name, slice->position, self->arrays[index].type.size_bytes);
    }
    if (status == VQC_OK && slice->position == self->arrays[index].type.size_bytes) {
        status = check_rest(slice->member, error);
        vqc_zip_member_close(&slice->member);
    }
    if (status != VQC_OK) {
        vqc_zip_member_close(&slice->member);
    }
    return status;
}

vqc_status vqc_npz_slices_read(vqc_npz_slices *slices, size_t index, size_t offset,
                               size_t size_bytes, void *dst, vqc_error *error)
{
    const vqc_npz_slices_array *array = &slices->arrays[index];
    const slice_source *slice = &slices->sources[index];
    vqc_status status;

    if (size_bytes == 0) {
        return VQC_OK;
    }
    if (slice->whole.data != NULL) {
        memcpy(dst, (const uint8_t *)slice->whole.data + offset, size_bytes);
        return VQC_OK;
    }
    if (array->sequential) {
        status = read_deflated(slices, index, offset, size_bytes, dst, error);
    } else {
        status = vqc_zip_read_at(&slices->file, slice->data_offset + offset, dst, size_bytes,
                                 "array", error);
    }
    if (status == VQC_OK) {
        vqc_npy_normalise(&array->type, dst, size_bytes / array->type.item_bytes);
    }
    return status;
}

void vqc_npz_slices_destroy(vqc_npz_slices **slices)
{
    vqc_npz_slices *self;

    if (slices == NULL || *slices == NULL) {
        return;
    }
    self = *slices;
    for (size_t i = 0; i < self->count; i++) {
        vqc_zip_member_close(&self->sources[i].member);
        vqc_array_clear(&self->sources[i].whole);
        free(self->sources[i].name);
    }
    vqc_zip_directory_clear(&self->directory);
    if (self->file.fd >= 0) {
        (void)close(self->file.fd);
    }
    free(self->arrays);
    free(self->sources);
    free(self->path);
    free(self);
    *slices = NULL;
}
