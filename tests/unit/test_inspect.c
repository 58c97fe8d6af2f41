/* Inspection of models in memory and its JSON. Files are compared by tests/oracle/test_inspect.py.
 */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/inspect.h"
#include "core/pointer_map.h"
#include "tests/unit/small_model.h"

static vqc_model *quantized_model(void)
{
    static const int8_t codes[64 * 4] = {1, 2, 3};
    static const float scales[4] = {0.5f, 1.0f, 2.0f, 4.0f};
    vqc_model *model = small_model(13, 8);
    Onnx__NodeProto *node;

    SMALL_TENSOR(model, "q", VQC_DTYPE_INT8, codes, 64, 4);
    SMALL_TENSOR(model, "s", VQC_DTYPE_FLOAT, scales, 4);
    SMALL_TENSOR(model, "b", VQC_DTYPE_FLOAT, NULL, 4);
    small_interface(model, true, "x");
    small_interface(model, false, "y");
    node = small_node(model, "", "DequantizeLinear", "q s", "W");
    cr_assert(vqc_node_add_int(model->arena, node, "axis", 1));
    (void)small_node(model, "", "MatMul", "x W", "h");
    (void)small_node(model, "", "Add", "h b", "y");
    model->file_size_bytes = protobuf_c_message_get_packed_size(&model->proto->base);
    return model;
}

static vqc_model *float_model(void)
{
    vqc_model *model = small_model(13, 8);
    float *values = vqc_arena_calloc(model->arena, 64 * 4, sizeof *values);

    values[0] = 0.5f;
    values[1] = 2.0f;
    values[2] = 7.0f; /* stored as 3 * 2 */
    SMALL_TENSOR(model, "W", VQC_DTYPE_FLOAT, values, 64, 4);
    small_interface(model, true, "x");
    small_interface(model, false, "h");
    (void)small_node(model, "", "MatMul", "x W", "h");
    model->file_size_bytes = protobuf_c_message_get_packed_size(&model->proto->base);
    return model;
}

Test(inspect, sizes_and_errors)
{
    vqc_model *model = quantized_model();
    vqc_model *reference = float_model();
    vqc_inspection *out = NULL;
    vqc_error error = {0};
    size_t total = 0;
    size_t expected = 0;

    cr_assert_eq(vqc_inspect_model(model, reference, &out, &error), VQC_OK, "%s", error.message);
    for (size_t i = 0; i < out->row_count; i++) {
        total += out->rows[i].bytes;
        cr_expect_str_neq(out->rows[i].kind, "padding");
    }
    cr_expect_eq(total, model->file_size_bytes);
    cr_assert_eq(out->layer_count, 1);
    cr_expect_str_eq(out->layers[0].name, "W");
    cr_expect_str_eq(out->layers[0].codec, "int8 channel");
    cr_expect_str_eq(out->layers[0].pattern, "DequantizeLinear");
    cr_expect_eq(out->layers[0].metrics.count, 256);
    cr_expect_float_eq(out->layers[0].metrics.sum_err2, 1.0, 0.0);
    cr_expect_float_eq(out->layers[0].metrics.max_abs_error, 1.0, 0.0);
    for (size_t i = 0; i < out->row_count; i++) {
        bool serves =
            strcmp(out->rows[i].kind, "weight") == 0 ||
            (strcmp(out->rows[i].kind, "node") == 0 && strcmp(out->rows[i].name, "W") == 0);
        expected += serves ? out->rows[i].bytes : 0;
    }
    cr_expect_eq(out->layers[0].after_bytes, expected);
    vqc_inspection_destroy(&out);
    cr_expect_null(out);
    vqc_model_destroy(&model);
    vqc_model_destroy(&reference);
}

/* Names from a file need not be UTF-8; JSON must be. */
Test(inspect, json_is_valid)
{
    vqc_model *model = float_model();
    vqc_inspection *out = NULL;
    vqc_error error = {0};
    char *json;
    cJSON *tree;

    model->proto->producer_name = vqc_arena_strdup(model->arena, "a\"\\\n\xff\xc3(\xe2\x82\xac");
    cr_assert_eq(vqc_inspect_model(model, NULL, &out, &error), VQC_OK);
    vqc_model_destroy(&model); /* the inspection must not borrow from it */
    json = vqc_inspection_to_json(out);
    cr_assert_not_null(json);
    cr_expect_eq(json[strlen(json) - 1], '\n');
    tree = cJSON_Parse(json);
    cr_assert_not_null(tree);
    cr_expect_eq(cJSON_GetObjectItem(tree, "format")->valueint, 1);
    cr_expect_str_eq(cJSON_GetObjectItem(tree, "producer")->valuestring,
                     "a\"\\\n\xef\xbf\xbd\xef\xbf\xbd(\xe2\x82\xac");
    cr_expect(cJSON_IsNull(cJSON_GetObjectItem(tree, "metrics")));
    cJSON_Delete(tree);
    free(json);
    vqc_inspection_destroy(&out);
}

Test(inspect, destroy_accepts_null)
{
    vqc_inspection *none = NULL;

    vqc_inspection_destroy(NULL);
    vqc_inspection_destroy(&none);
}

Test(pointer_map, holds_many)
{
    enum { N = 5000 };
    static char items[N];
    vqc_pointer_map map = {0};

    cr_expect_eq(vqc_pointer_map_get(&map, items, 7), 7);
    for (size_t i = 0; i < N; i++) {
        cr_assert(vqc_pointer_map_set(&map, &items[i], i));
    }
    cr_assert(vqc_pointer_map_set(&map, &items[3], 99));
    cr_expect_eq(map.count, N);
    for (size_t i = 0; i < N; i++) {
        cr_assert_eq(vqc_pointer_map_get(&map, &items[i], N), i == 3 ? 99 : i);
    }
    vqc_pointer_map_clear(&map);
    cr_expect_eq(vqc_pointer_map_get(&map, &items[1], 5), 5);
}
