/* Reading .npz: the zip directory is checked as a whole before any array is read. */
#include "formats/npz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/npz_archive.h"
#include "formats/npz_file.h"

static vqc_status load_member(const vqc_zip_source *input, const vqc_zip_entry *entry,
                              uint64_t max_bytes, vqc_array *out, vqc_error *error)
{
    char where[VQC_ZIP_WHERE_BYTES];
    size_t stem_bytes = strlen(entry->name) - strlen(".npy");
    vqc_zip_member *member = NULL;
    vqc_npy_source source = {NULL, vqc_zip_member_read, entry->plain_bytes};
    vqc_status status = vqc_zip_member_open(input, entry, &member, error);

    if (status != VQC_OK) {
        return status;
    }
    source.context = member;
    status =
        vqc_npy_decode(&source, vqc_zip_describe(input, entry->name, where), max_bytes, out, error);
    if (status == VQC_OK) {
        status = vqc_zip_member_check_end(member, error);
    }
    if (status == VQC_OK) {
        out->name = strndup(entry->name, stem_bytes);
        if (out->name == NULL) {
            status = vqc_fail_memory(error, stem_bytes + 1);
        }
    }
    vqc_zip_member_close(&member);
    if (status != VQC_OK) {
        vqc_array_clear(out);
    }
    return status;
}

static bool ends_with(const char *text, const char *suffix)
{
    size_t n = strlen(text);
    size_t m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

static vqc_status load_archive(const vqc_zip_source *input, uint64_t max_bytes, vqc_npz **out,
                               vqc_error *error)
{
    char where[VQC_ZIP_WHERE_BYTES];
    vqc_zip_directory directory = {0};
    vqc_npz *npz = NULL;
    vqc_status status = vqc_zip_directory_read(input, &directory, error);

    if (status != VQC_OK) {
        goto done;
    }
    npz = calloc(1, sizeof *npz);
    if (npz != NULL) {
        npz->arrays = calloc(directory.count + 1, sizeof *npz->arrays);
    }
    if (npz == NULL || npz->arrays == NULL) {
        status = vqc_fail_memory(error, (directory.count + 1) * sizeof *npz->arrays);
        goto done;
    }
    for (size_t i = 0; i < directory.count; i++) {
        const vqc_zip_entry *entry = &directory.entries[i];
        vqc_array *array = &npz->arrays[npz->count];
        if (ends_with(entry->name, "/") && entry->plain_bytes == 0) {
            continue; /* a folder */
        }
        if (!ends_with(entry->name, ".npy")) {
            status = vqc_fail(error, VQC_ERR_MODEL, "%s: expected a name that ends in .npy",
                              vqc_zip_describe(input, entry->name, where));
            goto done;
        }
        status = load_member(input, entry, max_bytes, array, error);
        if (status != VQC_OK) {
            goto done;
        }
        max_bytes -= array->size_bytes;
        npz->count++;
    }
done:
    vqc_zip_directory_clear(&directory);
    if (status == VQC_OK) {
        *out = npz;
    } else {
        vqc_npz_destroy(&npz);
    }
    return status;
}

vqc_status vqc_npz_read_limited(const char *path, uint64_t max_bytes, vqc_npz **out,
                                vqc_error *error)
{
    vqc_zip_source input = {.path = path, .fd = -1};
    vqc_status status;

    *out = NULL;
    status = vqc_npz_file_open_input(path, &input.fd, &input.size_bytes, error);
    if (status != VQC_OK) {
        return status;
    }
    status = load_archive(&input, max_bytes, out, error);
    (void)close(input.fd);
    return status;
}

vqc_status vqc_npz_read(const char *path, vqc_npz **out, vqc_error *error)
{
    return vqc_npz_read_limited(path, VQC_NPZ_DEFAULT_MAX_BYTES, out, error);
}

vqc_status vqc_npz_read_memory(const void *bytes, size_t size_bytes, const char *where,
                               uint64_t max_bytes, vqc_npz **out, vqc_error *error)
{
    vqc_zip_source input = {.path = where, .fd = -1, .memory = bytes, .size_bytes = size_bytes};

    *out = NULL;
    return load_archive(&input, max_bytes, out, error);
}

const vqc_array *vqc_npz_find(const vqc_npz *npz, const char *name)
{
    for (size_t i = 0; i < npz->count; i++) {
        if (strcmp(npz->arrays[i].name, name) == 0) {
            return &npz->arrays[i];
        }
    }
    return NULL;
}

void vqc_npz_destroy(vqc_npz **npz)
{
    if (npz == NULL || *npz == NULL) {
        return;
    }
    for (size_t i = 0; (*npz)->arrays != NULL && i < (*npz)->count; i++) {
        vqc_array_clear(&(*npz)->arrays[i]);
    }
    free((*npz)->arrays);
    free(*npz);
    *npz = NULL;
}
