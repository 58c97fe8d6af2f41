/* core/tensor and core/model: payloads of every data type, raw and typed, and what is refused. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/model.h"
#include "core/tensor.h"

static vqc_arena *arena;

static void make_arena(void)
{
    arena = vqc_arena_create();
    cr_assert_not_null(arena);
}

static void drop_arena(void)
{
    vqc_arena_destroy(&arena);
}

TestSuite(tensor, .init = make_arena, .fini = drop_arena);

static Onnx__TensorProto *make(int32_t dtype, int64_t dim)
{
    Onnx__TensorProto *tensor = vqc_tensor_create(arena, "w", (vqc_dtype)dtype, &dim, 1, NULL, 0);
    cr_assert_not_null(tensor);
    tensor->has_raw_data = 0;
    return tensor;
}

static void expect_raw(const Onnx__TensorProto *tensor, const void *wanted, size_t wanted_bytes)
{
    const void *raw;
    size_t bytes;
    size_t measured;
    vqc_error error;

    cr_assert_eq(vqc_tensor_borrow_raw(tensor, arena, &raw, &bytes, &error), VQC_OK,
                 "data type %d: %s", tensor->data_type, error.message);
    cr_assert(vqc_tensor_raw_bytes(tensor, &measured));
    cr_assert_eq(measured, bytes);
    cr_assert_eq(bytes, wanted_bytes, "data type %d: %zu bytes", tensor->data_type, bytes);
    cr_assert_eq(memcmp(raw, wanted, bytes), 0, "data type %d: other bytes", tensor->data_type);
}

static void expect_refused(const Onnx__TensorProto *tensor, const char *text)
{
    const void *raw = tensor;
    size_t bytes;
    vqc_error error = {VQC_OK, ""};

    cr_assert_eq(vqc_tensor_borrow_raw(tensor, arena, &raw, &bytes, &error), VQC_ERR_MODEL);
    cr_assert_not_null(strstr(error.message, text), "%s", error.message);
    cr_assert_null(raw);
    cr_assert_not(vqc_tensor_raw_bytes(tensor, &bytes));
}

/* Types whose items lie in int32_data and the bytes they pack to: five elements of each. */
Test(tensor, int32_data_packs_like_raw_data)
{
    static const struct {
        int32_t dtype;
        int32_t items[5];
        size_t count;
        uint8_t raw[20];
        size_t raw_bytes;
    } cases[] = {
        {VQC_DTYPE_INT8, {-128, -1, 0, 1, 127}, 5, {0x80, 0xff, 0, 1, 0x7f}, 5},
        {VQC_DTYPE_UINT8, {255, 128, 0, 1, 127}, 5, {0xff, 0x80, 0, 1, 0x7f}, 5},
        {VQC_DTYPE_BOOL, {1, 0, 1, 1, 0}, 5, {1, 0, 1, 1, 0}, 5},
        {VQC_DTYPE_INT16, {-2, 258, 0, 1, -32768}, 5, {0xfe, 0xff, 2, 1, 0, 0, 1, 0, 0, 0x80}, 10},
        {VQC_DTYPE_UINT16, {65535, 258, 0, 1, 2}, 5, {0xff, 0xff, 2, 1, 0, 0, 1, 0, 2, 0}, 10},
        {VQC_DTYPE_FLOAT16, {0x3c00, 1, 2, 3, 4}, 5, {0, 0x3c, 1, 0, 2, 0, 3, 0, 4, 0}, 10},
        {VQC_DTYPE_BFLOAT16, {0x3f80, 1, 2, 3, 4}, 5, {0x80, 0x3f, 1, 0, 2, 0, 3, 0, 4, 0}, 10},
        {VQC_DTYPE_INT32,
         {-1, 1, 0, 0, 256},
         5,
         {255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0},
         20},
        {VQC_DTYPE_FLOAT8E4M3FN, {1, 2, 3, 0x80, 0xff}, 5, {1, 2, 3, 0x80, 0xff}, 5},
        {VQC_DTYPE_FLOAT8E4M3FNUZ, {1, 2, 3, 0x80, 0xff}, 5, {1, 2, 3, 0x80, 0xff}, 5},
        {VQC_DTYPE_FLOAT8E5M2, {1, 2, 3, 0x80, 0xff}, 5, {1, 2, 3, 0x80, 0xff}, 5},
        {VQC_DTYPE_FLOAT8E5M2FNUZ, {1, 2, 3, 0x80, 0xff}, 5, {1, 2, 3, 0x80, 0xff}, 5},
        {VQC_DTYPE_FLOAT8E8M0, {1, 2, 3, 0x80, 0xff}, 5, {1, 2, 3, 0x80, 0xff}, 5},
        /* one item holds one packed byte */
        {VQC_DTYPE_UINT4, {0x21, 0x43, 0x05}, 3, {0x21, 0x43, 0x05}, 3},
        {VQC_DTYPE_INT4, {0xf1, -1, 0x08}, 3, {0xf1, 0xff, 0x08}, 3},
        {VQC_DTYPE_FLOAT4E2M1, {0x21, 0x43, 0x05}, 3, {0x21, 0x43, 0x05}, 3},
        {VQC_DTYPE_UINT2, {0xe4, 0x01}, 2, {0xe4, 0x01}, 2},
        {VQC_DTYPE_INT2, {0xe4, 0x03}, 2, {0xe4, 0x03}, 2},
        /* one item holds one element, raw_data the bit stream: 1 | 2<<6 | 3<<12 | 63<<18 | 32<<24
         */
        {VQC_DTYPE_FLOAT6E2M3, {1, 2, 3, 63, 32}, 5, {0x81, 0x30, 0xfc, 0x20}, 4},
        {VQC_DTYPE_FLOAT6E3M2, {1, 2, 3, 63, 32}, 5, {0x81, 0x30, 0xfc, 0x20}, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Onnx__TensorProto *tensor = make(cases[i].dtype, 5);
        tensor->int32_data = (int32_t *)(uintptr_t)cases[i].items;
        tensor->n_int32_data = cases[i].count;
        expect_raw(tensor, cases[i].raw, cases[i].raw_bytes);
        tensor->n_int32_data--;
        expect_refused(tensor, "int32_data has");
        tensor->n_int32_data = 0;
        tensor->has_raw_data = 1;
        tensor->raw_data.data = (uint8_t *)(uintptr_t)cases[i].raw;
        tensor->raw_data.len = cases[i].raw_bytes;
        expect_raw(tensor, cases[i].raw, cases[i].raw_bytes);
        tensor->raw_data.len--;
        expect_refused(tensor, "raw_data has");
    }
}

Test(tensor, wide_typed_fields)
{
    float floats[] = {1.5f, -0.0f, 3, 4};
    double doubles[] = {1.5, -0.0, 3, 4};
    int64_t longs[] = {-1, INT64_MIN};
    uint64_t words[] = {UINT64_MAX, 7};
    uint32_t narrow[] = {UINT32_MAX, 7};
    Onnx__TensorProto *tensor = make(VQC_DTYPE_FLOAT, 4);

    tensor->float_data = floats;
    tensor->n_float_data = 4;
    expect_raw(tensor, floats, sizeof floats);
    tensor->data_type = VQC_DTYPE_COMPLEX64;
    expect_refused(tensor, "float_data has 4 items, expected 8 for complex64 [4]");
    tensor->dims[0] = 2;
    expect_raw(tensor, floats, sizeof floats);
    tensor = make(VQC_DTYPE_DOUBLE, 4);
    tensor->double_data = doubles;
    tensor->n_double_data = 4;
    expect_raw(tensor, doubles, sizeof doubles);
    tensor->data_type = VQC_DTYPE_COMPLEX128;
    tensor->dims[0] = 2;
    expect_raw(tensor, doubles, sizeof doubles);
    tensor = make(VQC_DTYPE_INT64, 2);
    tensor->int64_data = longs;
    tensor->n_int64_data = 2;
    expect_raw(tensor, longs, sizeof longs);
    tensor = make(VQC_DTYPE_UINT64, 2);
    tensor->uint64_data = words;
    tensor->n_uint64_data = 2;
    expect_raw(tensor, words, sizeof words);
    tensor->data_type = VQC_DTYPE_UINT32;
    expect_raw(tensor, narrow, sizeof narrow);
}

Test(tensor, refused_and_empty)
{
    static const uint8_t bytes[4] = {1, 2, 3, 4};
    Onnx__TensorProto *tensor = make(VQC_DTYPE_FLOAT, -1);
    Onnx__TensorProto__Segment segment = ONNX__TENSOR_PROTO__SEGMENT__INIT;
    size_t elements;

    expect_refused(tensor, "negative or too large");
    tensor->dims[0] = INT64_MAX;
    expect_refused(tensor, "too large");
    tensor->dims[0] = 0;
    expect_raw(tensor, "", 0);
    tensor->data_type = 99;
    expect_refused(tensor, "data type 99");
    tensor->has_raw_data = 1;
    tensor->raw_data = (ProtobufCBinaryData){4, (uint8_t *)(uintptr_t)bytes};
    expect_raw(tensor, bytes, 4); /* unknown types keep what is there */
    tensor->data_type = VQC_DTYPE_STRING;
    expect_refused(tensor, "got strings");
    tensor->data_type = VQC_DTYPE_FLOAT;
    tensor->dims[0] = 1;
    tensor->segment = &segment;
    expect_refused(tensor, "segmented");
    tensor->segment = NULL;
    tensor->n_dims = 0;
    expect_raw(tensor, bytes, 4);
    cr_assert(vqc_tensor_elements(tensor, &elements) && elements == 1);
}

Test(tensor, elements_of_empty_and_huge_shapes)
{
    static const struct {
        int64_t dims[4];
        bool fits;
        size_t elements;
    } cases[] = {
        {{2, 3, 4, 5}, true, 120},
        {{INT64_MAX, INT64_MAX, INT64_MAX, 0}, true, 0},
        {{0, INT64_MAX, INT64_MAX, 2}, true, 0},
        {{INT64_MAX, INT64_MAX, 1, 1}, false, 0},
        {{INT64_MAX, INT64_MAX, 0, -1}, false, 0},
        {{0, 1, 1, -1}, false, 0},
        {{INT64_MAX, INT64_MAX, -1, 0}, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Onnx__TensorProto *tensor =
            vqc_tensor_create(arena, "", VQC_DTYPE_FLOAT, cases[i].dims, 4, NULL, 0);
        size_t elements = 0;
        cr_assert_eq(vqc_tensor_elements(tensor, &elements), cases[i].fits, "case %zu", i);
        cr_assert_eq(elements, cases[i].elements, "case %zu", i);
    }
}

Test(tensor, float_values)
{
    static const uint16_t halves[] = {0x0000, 0x8000, 0x0001, 0x03ff, 0x0400,
                                      0x3c00, 0xc000, 0x7bff, 0x7c00, 0xfc00};
    static const float half_values[] = {0.0f, -0.0f, 0x1p-24f, 0x3ffp-24f, 0x1p-14f,
                                        1.0f, -2.0f, 65504.0f, INFINITY,   -INFINITY};
    static const uint16_t brains[] = {0x0000, 0x8000, 0x3f80, 0xc040, 0x7f80, 0x0001};
    static const float brain_values[] = {0.0f, -0.0f, 1.0f, -3.0f, INFINITY, 0x1p-133f};
    static const double doubles[] = {0.1, 1e300, -2.5, 0x1p-149};
    static const float double_values[] = {0.1f, INFINITY, -2.5f, 0x1p-149f};
    static const struct {
        vqc_dtype dtype;
        const void *raw;
        size_t raw_bytes;
        const float *values;
        int64_t count;
    } cases[] = {
        {VQC_DTYPE_FLOAT16, halves, sizeof halves, half_values, 10},
        {VQC_DTYPE_BFLOAT16, brains, sizeof brains, brain_values, 6},
        {VQC_DTYPE_DOUBLE, doubles, sizeof doubles, double_values, 4},
        {VQC_DTYPE_FLOAT, half_values, sizeof half_values, half_values, 10},
    };
    uint8_t shifted[128];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const float *values;
        size_t count;
        vqc_error error;
        Onnx__TensorProto *tensor;
        memcpy(shifted + 1, cases[i].raw, cases[i].raw_bytes); /* payloads may be unaligned */
        tensor = vqc_tensor_create(arena, "w", cases[i].dtype, &cases[i].count, 1, shifted + 1,
                                   cases[i].raw_bytes);
        cr_assert_eq(vqc_tensor_borrow_f32(tensor, arena, &values, &count, &error), VQC_OK);
        cr_assert_eq(count, (size_t)cases[i].count);
        cr_assert_eq(memcmp(values, cases[i].values, count * sizeof(float)), 0, "case %zu", i);
    }
}

Test(tensor, half_nan_stays_nan)
{
    static const uint16_t halves[] = {0x7e00, 0xfe01};
    static const int64_t dim = 2;
    const float *values;
    size_t count;
    vqc_error error;
    Onnx__TensorProto *tensor =
        vqc_tensor_create(arena, "w", VQC_DTYPE_FLOAT16, &dim, 1, halves, sizeof halves);

    cr_assert_eq(vqc_tensor_borrow_f32(tensor, arena, &values, &count, &error), VQC_OK);
    cr_assert(isnan(values[0]) && isnan(values[1]));
    cr_assert(!signbit(values[0]) && signbit(values[1]));
}

Test(tensor, integers_are_not_floats)
{
    const float *values;
    size_t count;
    vqc_error error;

    cr_assert_eq(vqc_tensor_borrow_f32(make(VQC_DTYPE_INT8, 3), arena, &values, &count, &error),
                 VQC_ERR_MODEL);
    cr_assert_str_eq(error.message,
                     "tensor \"w\": got int8 [3], expected float16, bfloat16, float32 or float64");
    cr_assert_null(values);
}

Test(tensor, describe)
{
    char text[64];
    int64_t dims[40];
    Onnx__TensorProto *tensor = make(VQC_DTYPE_INT4, 7);

    cr_assert_str_eq(vqc_tensor_describe(tensor, text, sizeof text), "int4 [7]");
    tensor->n_dims = 0;
    cr_assert_str_eq(vqc_tensor_describe(tensor, text, sizeof text), "int4 []");
    for (size_t i = 0; i < 40; i++) {
        dims[i] = INT64_MIN;
    }
    tensor->dims = dims;
    tensor->n_dims = 40;
    cr_assert_str_eq(vqc_tensor_describe(tensor, text, sizeof text),
                     "int4 [-9223372036854775808,-9223372036854775808,...]");
    tensor->data_type = -5;
    tensor->n_dims = 0;
    cr_assert_str_eq(vqc_tensor_describe(tensor, text, sizeof text), "data type -5 []");
}

Test(model, opsets)
{
    vqc_model *model = NULL;
    vqc_error error;

    cr_assert_eq(vqc_model_create("m.onnx", &model, &error), VQC_OK);
    cr_assert_eq(vqc_model_opset(model->proto, ""), 0);
    cr_assert_eq(vqc_model_set_opset(model, NULL, 13, &error), VQC_OK);
    cr_assert_eq(vqc_model_set_opset(model, "com.microsoft", 1, &error), VQC_OK);
    cr_assert_eq(model->proto->n_opset_import, 2);
    cr_assert_eq(vqc_model_opset(model->proto, "ai.onnx"), 13);
    cr_assert_eq(vqc_model_set_opset(model, "ai.onnx", 11, &error), VQC_OK);
    cr_assert_eq(vqc_model_opset(model->proto, ""), 13, "never lowered");
    cr_assert_eq(vqc_model_set_opset(model, "ai.onnx", 21, &error), VQC_OK);
    cr_assert_eq(vqc_model_opset(model->proto, NULL), 21);
    cr_assert_eq(vqc_model_opset(model->proto, "com.microsoft"), 1);
    cr_assert_eq(vqc_model_opset(model->proto, "other"), 0);
    cr_assert_eq(model->proto->n_opset_import, 2);
    vqc_model_destroy(&model);
    cr_assert_null(model);
    vqc_model_destroy(&model);
}

Test(tensor, exchanged_values_come_back)
{
    const float first[2] = {1.0f, 2.0f}, second[2] = {3.0f, 4.0f}, half[1] = {0.5f};
    Onnx__TensorProto *plain = make(VQC_DTYPE_FLOAT, 2);
    Onnx__TensorProto *narrow = make(VQC_DTYPE_FLOAT16, 1);
    Onnx__TensorProto *codes = make(VQC_DTYPE_INT8, 1);
    uint16_t stored = 0x4000; /* 2.0 */
    vqc_tensor_exchange *list = NULL;
    vqc_error error = {VQC_OK, ""};
    int8_t code = 5;

    cr_assert_eq(vqc_tensor_set_f32(plain, first, 2, arena, &error), VQC_OK);
    narrow->has_raw_data = codes->has_raw_data = 1;
    narrow->raw_data = (ProtobufCBinaryData){sizeof stored, (uint8_t *)&stored};
    codes->raw_data = (ProtobufCBinaryData){1, (uint8_t *)&code};

    cr_assert_eq(vqc_tensor_exchange_f32(&list, plain, second, 2, arena, &error), VQC_OK);
    cr_assert_eq(vqc_tensor_exchange_f32(&list, plain, first, 2, arena, &error),
                 VQC_OK); /* twice */
    cr_assert_eq(vqc_tensor_exchange_f32(&list, plain, second, 2, arena, &error), VQC_OK);
    cr_assert_eq(vqc_tensor_exchange_f32(&list, narrow, half, 1, arena, &error), VQC_OK);
    cr_assert_eq(vqc_tensor_exchange_f32(&list, codes, half, 1, arena, &error), VQC_ERR_INTERNAL);
    expect_raw(plain, second, sizeof second);
    expect_raw(narrow, &(const uint16_t){0x3800}, sizeof stored); /* 0.5 */
    expect_raw(codes, &code, 1);

    vqc_tensor_exchange_back(&list);
    cr_assert_null(list);
    expect_raw(plain, first, sizeof first);
    expect_raw(narrow, &stored, sizeof stored);
    expect_raw(codes, &code, 1);
}
