/* Fuzz target for the ONNX reader. Whatever is accepted must be measurable and writable, and what
 * is written must read back to the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/tensor.h"
#include "formats/onnx_file.h"
#include "formats/onnx_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

/* Reads every payload to its last byte. */
static vqc_status read_payload(void *context, Onnx__TensorProto *tensor, vqc_tensor_role role,
                               vqc_error *error)
{
    vqc_arena *arena = context;
    const void *raw;
    size_t bytes;
    size_t measured;
    unsigned sum = 0;
    vqc_status status = vqc_tensor_borrow_raw(tensor, arena, &raw, &bytes, error);

    (void)role;
    require((status == VQC_OK) == vqc_tensor_raw_bytes(tensor, &measured));
    require(status == VQC_OK ? bytes == measured : status == VQC_ERR_MODEL);
    for (size_t i = 0; status == VQC_OK && i < bytes; i++) {
        sum += ((const uint8_t *)raw)[i];
    }
    require(sum <= bytes * 255);
    if (status == VQC_OK && vqc_dtype_describe(tensor->data_type)->is_float) {
        const float *values;
        size_t count;
        require(vqc_tensor_borrow_f32(tensor, arena, &values, &count, error) == VQC_OK);
    }
    return VQC_OK;
}

/* Packs the model into a malloc'ed buffer of exactly its size. */
static uint8_t *pack(const vqc_model *model, size_t *size)
{
    vqc_onnx_written written;
    vqc_error error;
    uint8_t *packed;

    require(vqc_onnx_measure(model, NULL, &written, &error) == VQC_OK);
    *size = written.file_size_bytes;
    packed = malloc(*size + 1);
    require(packed != NULL);
    require(onnx__model_proto__pack(model->proto, packed) == *size);
    return packed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vqc_model *model = NULL;
    vqc_model *again = NULL;
    vqc_onnx_write_options external = {.force_external = true};
    vqc_onnx_written written;
    vqc_error error = {VQC_OK, ""};
    vqc_status status = vqc_onnx_parse(data, size, "fuzz", &model, &error);
    uint8_t *first;
    uint8_t *second;
    size_t first_size;
    size_t second_size;

    require((status == VQC_OK) == (model != NULL));
    if (status != VQC_OK) {
        require(status == VQC_ERR_MODEL && error.message[0] != '\0');
        return 0;
    }
    require(vqc_onnx_each_tensor(model->proto, read_payload, model->arena, &error) == VQC_OK);
    require(vqc_onnx_measure(model, &external, &written, &error) == VQC_OK);
    first = pack(model, &first_size);
    require(vqc_onnx_parse(first, first_size, "again", &again, &error) == VQC_OK);
    second = pack(again, &second_size);
    require(first_size == second_size && memcmp(first, second, first_size) == 0);
    vqc_model_destroy(&again);
    vqc_model_destroy(&model);
    free(first);
    free(second);
    return 0;
}
