/*
 * Fuzz target of arrays read by pieces. The first byte chooses the length of the pieces, the rest
 * is the .npz or .npy file. What the pieces give is what the reader of whole files gives, and both
 * refuse the same files, but for deflated data that are only looked at when they are read.
 */
#include <string.h>

#include "formats/npz.h"
#include "formats/npz_slices.h"
#include "tests/fuzz/fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT_BYTES = 1 << 22 };

/* Reads the array in pieces into `all` [its size]. */
static vqc_status read_pieces(vqc_npz_slices *slices, size_t index, size_t total, size_t step,
                              uint8_t *all, vqc_error *error)
{
    vqc_status status = VQC_OK;

    for (size_t at = 0; status == VQC_OK && at < total; at += step) {
        size_t count = total - at < step ? total - at : step;
        status = vqc_npz_slices_read(slices, index, at, count, all + at, error);
    }
    return status;
}

static void check_array(vqc_npz_slices *slices, size_t index, unsigned choice, const vqc_npz *whole)
{
    size_t count;
    const vqc_npz_slices_array *array = &vqc_npz_slices_arrays(slices, &count)[index];
    size_t total = array->type.size_bytes;
    const vqc_array *same =
        whole != NULL && array->name != NULL ? vqc_npz_find(whole, array->name) : NULL;
    vqc_error error = {VQC_OK, ""};
    vqc_status status;
    size_t width;
    uint8_t *all;

    if (total > LIMIT_BYTES) {
        return;
    }
    width = (size_t)vqc_dtype_describe((int32_t)array->type.dtype)->bits / 8;
    REQUIRE(width > 0);
    all = malloc(total + 1);
    REQUIRE(all != NULL);
    status = read_pieces(slices, index, total, width * (1 + choice), all, &error);
    if (status == VQC_OK && same != NULL) {
        REQUIRE(same->size_bytes == total && memcmp(same->data, all, total) == 0);
    }
    REQUIRE(status == VQC_OK || (status == VQC_ERR_MODEL && error.message[0] != '\0'));
    REQUIRE(status == VQC_OK || whole == NULL);
    if (status == VQC_OK && total > width) {
        /* A step back. */
        uint8_t first[32];
        REQUIRE(width <= sizeof first);
        REQUIRE(vqc_npz_slices_read(slices, index, 0, width, first, &error) == VQC_OK);
        REQUIRE(memcmp(first, all, width) == 0);
    }
    free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[FUZZ_PATH_BYTES];
    vqc_npz_slices *slices = NULL;
    vqc_npz *whole = NULL;
    vqc_error error = {VQC_OK, ""};
    size_t count = 0;
    int fd;

    if (size == 0) {
        return 0;
    }
    fd = fuzz_file_open(data + 1, size - 1, path);
    (void)vqc_npz_read_memory(data + 1, size - 1, "fuzz.npz", LIMIT_BYTES, &whole, &error);
    if (vqc_npz_slices_open(path, &slices, &error) == VQC_OK) {
        REQUIRE(vqc_npz_slices_arrays(slices, &count) != NULL || count == 0);
        for (size_t i = 0; i < count; i++) {
            check_array(slices, i, data[0], whole);
        }
    } else {
        REQUIRE(slices == NULL && whole == NULL && error.message[0] != '\0');
    }
    vqc_npz_slices_destroy(&slices);
    vqc_npz_destroy(&whole);
    (void)close(fd);
    return 0;
}
