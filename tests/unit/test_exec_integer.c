/* Integer operators of the executor: packed once or in every run, on one thread or two, the result
 * is that of plain loops. Other cases are compared with ONNX Runtime by
 * tests/oracle/test_exec_integer.py. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/exec/exec_op.h"
#include "core/exec/frame.h"
#include "tests/unit/model_builder.h"
#include "tests/unit/small_model.h"

enum { INPUTS = 10 };

static vqc_buffer *random_codes(mb_random *random, int32_t dtype, size_t rank, const int64_t *dims)
{
    vqc_buffer *buffer = vqc_buffer_create(dtype, dims, rank);

    cr_assert_not_null(buffer);
    for (size_t i = 0; i < buffer->elements * buffer->width; i++) {
        buffer->data[i] = (unsigned char)mb_random_next(random);
    }
    return buffer;
}

static vqc_buffer *one_float(float value)
{
    vqc_buffer *buffer = vqc_buffer_create(VQC_DTYPE_FLOAT, NULL, 0);

    memcpy(buffer->data, &value, sizeof value);
    return buffer;
}

static vqc_buffer *one_code(int32_t dtype, unsigned char value)
{
    vqc_buffer *buffer = vqc_buffer_create(dtype, NULL, 0);

    buffer->data[0] = value;
    return buffer;
}

/* Runs a node; weights are prepared first when `prepared`. The result is the caller's. */
static vqc_buffer *run(const Onnx__NodeProto *node, const vqc_buffer *const *inputs, bool prepared,
                       int threads)
{
    static vqc_exec_call call;
    const vqc_exec_op *op = vqc_exec_find(node->domain, node->op_type, 21);
    const vqc_buffer *constants[INPUTS];
    vqc_exec_frame frame = {0};
    vqc_error error = {0};
    vqc_buffer *out = NULL;

    cr_assert_not_null(op);
    call = (vqc_exec_call){.node = node,
                           .op = op->op,
                           .opset = 21,
                           .inputs = inputs,
                           .input_count = node->n_input,
                           .output_count = 1,
                           .outputs = &out,
                           .detail = op->detail,
                           .threads = threads,
                           .frame = &frame,
                           .error = &error};
    if (prepared) {
        memcpy(constants, inputs, sizeof constants);
        constants[0] = NULL; /* what flows */
        call.inputs = constants;
        cr_assert_eq(op->prepare(&call), VQC_OK, "%s", error.message);
        cr_assert_not_null(call.prepared);
        call.inputs = inputs;
    }
    cr_assert_eq(op->shape(&call), VQC_OK, "%s", error.message);
    out = vqc_buffer_create(call.types[0].dtype, call.types[0].dims, call.types[0].rank);
    cr_assert_not_null(out);
    cr_assert_eq(op->run(&call), VQC_OK, "%s", error.message);
    if (op->release != NULL && call.prepared != NULL) {
        op->release(call.prepared);
    }
    vqc_exec_frame_clear(&frame);
    return out;
}

/* All four ways give the same bytes; returns one of them. */
static vqc_buffer *run_all_ways(const Onnx__NodeProto *node, const vqc_buffer *const *inputs)
{
    vqc_buffer *first = run(node, inputs, false, 1);

    for (int way = 1; way < 4; way++) {
        vqc_buffer *again = run(node, inputs, way % 2 != 0, 1 + way / 2);

        cr_expect_eq(again->elements, first->elements);
        cr_expect_arr_eq(again->data, first->data, first->elements * first->width, "%s way %d",
                         node->op_type, way);
        vqc_buffer_destroy(&again);
    }
    return first;
}

static void destroy_all(vqc_buffer **inputs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        vqc_buffer_destroy(&inputs[i]);
    }
}

Test(exec_integer, matmul_is_exact)
{
    enum { M = 150, K = 1031, N = 139 };
    vqc_model *model = small_model(21, 10);
    Onnx__NodeProto *node = small_node(model, "", "MatMulInteger", "a b az bz", "y");
    mb_random random = {7};
    vqc_buffer *in[INPUTS] = {
        random_codes(&random, VQC_DTYPE_UINT8, 2, (const int64_t[]){M, K}),
        random_codes(&random, VQC_DTYPE_INT8, 2, (const int64_t[]){K, N}),
        one_code(VQC_DTYPE_UINT8, 200),
        random_codes(&random, VQC_DTYPE_INT8, 1, (const int64_t[]){N}),
    };
    vqc_buffer *out = run_all_ways(node, (const vqc_buffer *const *)in);

    for (size_t i = 0; i < M * N; i++) {
        int32_t sum = 0;
        int32_t got;
        for (size_t k = 0; k < K; k++) {
            sum += (in[0]->data[i / N * K + k] - 200) *
                   ((int8_t)in[1]->data[k * N + i % N] - (int8_t)in[3]->data[i % N]);
        }
        memcpy(&got, out->data + i * sizeof got, sizeof got);
        cr_assert_eq(got, sum, "element %zu: got %d, expected %d", i, got, sum);
    }
    vqc_buffer_destroy(&out);
    destroy_all(in, 4);
    vqc_model_destroy(&model);
}

/* x [2, C, 30, 31], window 3 x 3 with padding 1, stride 2 down; groups of `per` input channels. */
static void check_conv(int64_t channels, int64_t per, int64_t filters)
{
    enum { H = 30, W = 31, OUT_H = 15 };
    vqc_model *model = small_model(21, 10);
    Onnx__NodeProto *node = small_node(model, "", "ConvInteger", "x w xz wz", "y");
    mb_random random = {11};
    vqc_buffer *in[INPUTS] = {
        random_codes(&random, VQC_DTYPE_UINT8, 4, (const int64_t[]){2, channels, H, W}),
        random_codes(&random, VQC_DTYPE_INT8, 4, (const int64_t[]){filters, per, 3, 3}),
        one_code(VQC_DTYPE_UINT8, 90),
        one_code(VQC_DTYPE_INT8, 5),
    };
    vqc_buffer *out;
    int64_t out_group = filters / (channels / per);

    cr_assert(vqc_node_add_ints(model->arena, node, "pads", (const int64_t[]){1, 1, 1, 1}, 4));
    cr_assert(vqc_node_add_ints(model->arena, node, "strides", (const int64_t[]){2, 1}, 2));
    cr_assert(vqc_node_add_int(model->arena, node, "group", channels / per));
    out = run_all_ways(node, (const vqc_buffer *const *)in);
    for (int64_t i = 0; i < 2 * filters * OUT_H * W; i++) {
        int64_t x = i % W, y = i / W % OUT_H, f = i / (W * OUT_H) % filters;
        int64_t image = i / (W * OUT_H * filters);
        int32_t sum = 0;
        int32_t got;
        for (int64_t t = 0; t < per * 9; t++) {
            int64_t iy = y * 2 + t % 9 / 3 - 1, ix = x + t % 3 - 1;
            int64_t c = image * channels + f / out_group * per + t / 9;
            if (iy >= 0 && iy < H && ix >= 0 && ix < W) {
                sum += (in[0]->data[(c * H + iy) * W + ix] - 90) *
                       ((int8_t)in[1]->data[f * per * 9 + t] - 5);
            }
        }
        memcpy(&got, out->data + (size_t)i * sizeof got, sizeof got);
        cr_assert_eq(got, sum, "element %lld: got %d, expected %d", (long long)i, got, sum);
    }
    vqc_buffer_destroy(&out);
    destroy_all(in, 4);
    vqc_model_destroy(&model);
}

Test(exec_integer, conv_is_exact)
{
    check_conv(64, 64, 20);
    check_conv(6, 3, 14);
    check_conv(48, 1, 48);
    check_conv(24, 1, 48);
}

/* A wrong shape, type or attribute is an error that says what was expected. */
Test(exec_integer, rejects_contradictions)
{
    vqc_model *model = small_model(21, 10);
    Onnx__NodeProto *node = small_node(model, "", "ConvInteger", "x w", "y");
    mb_random random = {3};
    vqc_buffer *in[INPUTS] = {
        random_codes(&random, VQC_DTYPE_UINT8, 4, (const int64_t[]){1, 4, 5, 5}),
        random_codes(&random, VQC_DTYPE_UINT8, 4, (const int64_t[]){2, 3, 3, 3}),
    };
    const vqc_exec_op *op = vqc_exec_find("", "ConvInteger", 21);
    vqc_error error = {0};
    vqc_exec_call call = {.node = node,
                          .op = "ConvInteger",
                          .inputs = (const vqc_buffer *const *)in,
                          .input_count = 2,
                          .output_count = 1,
                          .detail = op->detail,
                          .error = &error};

    cr_expect_eq(op->shape(&call), VQC_ERR_MODEL);
    cr_expect_not_null(strstr(error.message, "4 input channels"), "%s", error.message);
    in[1]->dims[1] = 4; /* not read by the shape rule */
    cr_assert(vqc_node_add_ints(model->arena, node, "strides", (const int64_t[]){0, 1}, 2));
    cr_expect_eq(op->shape(&call), VQC_ERR_MODEL);
    cr_expect_not_null(strstr(error.message, "strides"), "%s", error.message);
    destroy_all(in, 2);
    vqc_model_destroy(&model);
}

/* The example of the specification of DynamicQuantizeLinear. */
Test(exec_integer, dynamic_quantize_as_specified)
{
    static const float x[6] = {0, 2, -3, -2.5f, 1.34f, 0.5f};
    static const unsigned char want[6] = {153, 255, 0, 26, 221, 179};
    vqc_buffer *scale = one_float(0);
    const vqc_exec_op *op = vqc_exec_find("", "DynamicQuantizeLinear", 21);
    vqc_buffer in = {.dtype = VQC_DTYPE_FLOAT, .rank = 1, .dims = {6}, .elements = 6, .width = 4};
    unsigned char codes[6], zero;
    vqc_buffer y = {.data = codes}, z = {.data = &zero};
    vqc_buffer *outputs[3] = {&y, scale, &z};
    const vqc_buffer *inputs[1] = {&in};
    float got;
    vqc_exec_call call = {.op = op->op, .inputs = inputs, .input_count = 1, .outputs = outputs};

    in.data = (unsigned char *)(uintptr_t)x;
    cr_assert_eq(op->run(&call), VQC_OK);
    cr_expect_arr_eq(codes, want, sizeof codes);
    cr_expect_eq(zero, 153);
    memcpy(&got, scale->data, sizeof got);
    cr_expect_float_eq(got, 5.0f / 255.0f, 1e-9f);
    vqc_buffer_destroy(&scale);
}
