/* Fuzz target of tensors in .pb files: a look at the header and the whole say the same, and what
 * was read is written and read back alike. */
#include <string.h>

#include "formats/tensor_pb.h"
#include "tests/fuzz/fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const vqc_buffer *buffer, const char *name)
{
    char folder[] = "/tmp/vqc-fuzz-XXXXXX";
    char path[64];
    char *name_again = NULL;
    vqc_buffer *again = NULL;
    vqc_error error = {VQC_OK, ""};

    REQUIRE(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/t.pb", folder);
    REQUIRE(vqc_tensor_pb_write(path, name, buffer, &error) == VQC_OK);
    REQUIRE(vqc_tensor_pb_read(path, &again, &name_again, &error) == VQC_OK);
    REQUIRE(again->dtype == buffer->dtype && again->rank == buffer->rank);
    REQUIRE(memcmp(again->dims, buffer->dims, buffer->rank * sizeof *buffer->dims) == 0);
    REQUIRE(buffer->elements == 0 ||
            memcmp(again->data, buffer->data, buffer->elements * buffer->width) == 0);
    REQUIRE(strcmp(name_again, name) == 0);
    REQUIRE(unlink(path) == 0 && rmdir(folder) == 0);
    free(name_again);
    (void)vqc_buffer_destroy(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[FUZZ_PATH_BYTES];
    int fd = fuzz_file_open(data, size, path);
    int64_t dims[VQC_EXEC_MAX_RANK];
    size_t rank = 0;
    int32_t dtype = 0;
    char *name = NULL;
    char *peeked = NULL;
    vqc_buffer *buffer = NULL;
    vqc_error error = {VQC_OK, ""};
    vqc_status peek = vqc_tensor_pb_peek(path, &dtype, dims, &rank, &peeked, &error);
    vqc_status status = vqc_tensor_pb_read(path, &buffer, &name, &error);

    if (status == VQC_OK) {
        REQUIRE(peek == VQC_OK && dtype == buffer->dtype && rank == buffer->rank);
        REQUIRE(memcmp(dims, buffer->dims, rank * sizeof *dims) == 0 && strcmp(name, peeked) == 0);
        REQUIRE(buffer->elements == 0 || buffer->data != NULL);
        check_again(buffer, name);
    } else {
        REQUIRE(status == VQC_ERR_MODEL && buffer == NULL && name == NULL);
        REQUIRE(error.message[0] != '\0');
    }
    (void)vqc_buffer_destroy(&buffer);
    free(name);
    free(peeked);
    (void)close(fd);
    return 0;
}
