/*
 * Fuzz target of the inspection. Two little-endian bytes give the length of the first model; what
 * follows it is the reference (none when the length reaches the end). The rows must add up to the
 * file, and every number must be one that can be shown.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/inspect.h"
#include "core/vqc.h"
#include "formats/onnx_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) require(condition, #condition, __LINE__)

static void require(int condition, const char *text, int line)
{
    if (!condition) {
        (void)fprintf(stderr, "fuzz_inspect.c:%d: not so: %s\n", line, text);
        abort();
    }
}

static void check_groups(const vqc_size_group *groups, size_t count, size_t total)
{
    size_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        REQUIRE(groups[i].key != NULL && groups[i].rows > 0);
        REQUIRE(i == 0 || groups[i].bytes <= groups[i - 1].bytes);
        sum += groups[i].bytes;
    }
    REQUIRE(sum <= total);
}

static void check_inspection(const vqc_inspection *seen, size_t size, bool has_reference)
{
    size_t sum = 0;
    char *json;

    REQUIRE(seen->size.total_bytes == size);
    for (size_t i = 0; i < seen->row_count; i++) {
        const vqc_size_row *row = &seen->rows[i];
        REQUIRE(row->name != NULL && row->scope != NULL && row->op != NULL);
        REQUIRE(row->kind != NULL && row->dtype != NULL);
        sum += row->bytes;
    }
    REQUIRE(sum == size);
    check_groups(seen->by_kind, seen->kind_count, size);
    check_groups(seen->by_op, seen->op_count, size);
    check_groups(seen->by_dtype, seen->dtype_count, size);
    for (size_t i = 0; i < seen->layer_count; i++) {
        const vqc_layer_report *layer = &seen->layers[i];
        REQUIRE(layer->name != NULL && layer->scope != NULL && layer->node != NULL);
        REQUIRE(layer->op != NULL && layer->reason != NULL && layer->codec != NULL);
        REQUIRE(layer->status == VQC_LAYER_MISSING || layer->after_bytes <= size);
        REQUIRE(has_reference || layer->metrics.count == 0);
    }
    json = vqc_inspection_to_json(seen);
    REQUIRE(json != NULL);
    free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vqc_model *model = NULL;
    vqc_model *reference = NULL;
    vqc_inspection *seen = NULL;
    vqc_error error = {VQC_OK, ""};
    size_t first;
    vqc_status status;

    if (size < 2) {
        return 0;
    }
    first = (size_t)data[0] | (size_t)data[1] << 8;
    data += 2;
    size -= 2;
    first = first < size ? first : size;
    status = vqc_onnx_parse(data, first, "fuzz", &model, &error);
    if (status == VQC_OK && first < size) {
        status = vqc_onnx_parse(data + first, size - first, "reference", &reference, &error);
    }
    if (status == VQC_OK) {
        status = vqc_inspect_model(model, reference, &seen, &error);
        REQUIRE((status == VQC_OK) == (seen != NULL));
        REQUIRE(status == VQC_OK || status == VQC_ERR_MODEL);
    }
    if (seen != NULL) {
        check_inspection(seen, first, reference != NULL);
    }
    vqc_inspection_destroy(&seen);
    vqc_model_destroy(&reference);
    vqc_model_destroy(&model);
    return 0;
}
