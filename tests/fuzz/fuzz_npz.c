/* Fuzz target of the .npz reader: arrays that come out are whole, named and in bounds. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/npz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT_BYTES = 1 << 24 };

#define REQUIRE(condition) require(condition, #condition, __LINE__)

static void require(int condition, const char *text, int line)
{
    if (!condition) {
        (void)fprintf(stderr, "fuzz_npz.c:%d: not so: %s\n", line, text);
        abort();
    }
}

static void check_array(const vqc_array *array)
{
    const uint8_t *bytes = array->data;
    size_t size;
    unsigned sum = 0;

    REQUIRE(array->data != NULL && (array->rank == 0 || array->dims != NULL));
    REQUIRE(vqc_npy_array_bytes(array->dtype, array->dims, array->rank, &size));
    REQUIRE(size == array->size_bytes && size <= LIMIT_BYTES);
    for (size_t i = 0; i < size; i++) {
        sum += bytes[i];
        REQUIRE(array->dtype != VQC_DTYPE_BOOL || bytes[i] <= 1);
    }
    REQUIRE(sum <= size * 255);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vqc_npz *npz = NULL;
    vqc_array array = {0};
    vqc_error error = {VQC_OK, ""};
    size_t total = 0;
    vqc_status status = vqc_npz_read_memory(data, size, "fuzz.npz", LIMIT_BYTES, &npz, &error);

    REQUIRE((status == VQC_OK) == (npz != NULL));
    if (status == VQC_OK) {
        for (size_t i = 0; i < npz->count; i++) {
            check_array(&npz->arrays[i]);
            REQUIRE(npz->arrays[i].name != NULL);
            REQUIRE(vqc_npz_find(npz, npz->arrays[i].name) == &npz->arrays[i]);
            total += npz->arrays[i].size_bytes;
        }
        REQUIRE(total <= LIMIT_BYTES);
    } else {
        REQUIRE(status == VQC_ERR_MODEL && strncmp(error.message, "fuzz.npz", 8) == 0);
    }
    vqc_npz_destroy(&npz);
    /* The same bytes as a single array. */
    status = vqc_npy_read_memory(data, size, "fuzz.npy", &array, &error);
    if (status == VQC_OK) {
        REQUIRE(array.size_bytes <= size);
        check_array(&array);
    } else {
        REQUIRE(status == VQC_ERR_MODEL && array.data == NULL);
    }
    vqc_array_clear(&array);
    return 0;
}
