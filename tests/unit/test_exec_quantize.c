/* QuantizeLinear and DequantizeLinear over large tensors: the thread count must not show. Values
 * are compared by tests/oracle/test_exec.py and test_exec_opsb.py. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/exec_op.h"
#include "core/exec/frame.h"
#include "tests/unit/model_builder.h"

typedef struct shape3 {
    int64_t dims[3];
    int64_t axis;
    int64_t block;
} shape3;

/* Runs `op` over x with scales and zero points along the axis (or in blocks of it). */
static vqc_buffer *run(const char *op, const vqc_buffer *x, const vqc_buffer *scale,
                       const vqc_buffer *zero, const shape3 *s, int threads)
{
    const vqc_exec_op *row = vqc_exec_find("", op, 25);
    vqc_exec_call *call = calloc(1, sizeof *call);
    vqc_model *model = mb_model(25, 10);
    Onnx__NodeProto *node = mb_node(model, NULL, op, "", "");
    const vqc_buffer *inputs[3] = {x, scale, zero};
    vqc_buffer *out = NULL;
    vqc_exec_frame frame = {0};
    vqc_error error = {0};

    cr_assert_not_null(call);
    cr_assert(vqc_node_add_int(model->arena, node, "axis", s->axis));
    cr_assert(vqc_node_add_int(model->arena, node, "block_size", s->block));
    *call = (vqc_exec_call){.node = node,
                            .op = row->op,
                            .opset = 25,
                            .inputs = inputs,
                            .input_count = 3,
                            .output_count = 1,
                            .outputs = &out,
                            .threads = threads,
                            .frame = &frame,
                            .error = &error};
    cr_assert_eq(row->shape(call), VQC_OK, "%s", error.message);
    out = vqc_buffer_create(call->types[0].dtype, call->types[0].dims, call->types[0].rank);
    cr_assert_not_null(out);
    cr_assert_eq(row->run(call), VQC_OK, "%s", error.message);
    vqc_exec_frame_clear(&frame);
    vqc_model_destroy(&model);
    free(call);
    return out;
}

static vqc_buffer *random_floats(const int64_t *dims, size_t rank, float scale, float least)
{
    vqc_buffer *buffer = vqc_buffer_create(VQC_DTYPE_FLOAT, dims, rank);
    mb_random random = {11};

    cr_assert_not_null(buffer);
    for (size_t i = 0; i < buffer->elements; i++) {
        float value = least + scale * (float)mb_random_below(&random, 1000);
        memcpy(buffer->data + i * sizeof value, &value, sizeof value);
    }
    return buffer;
}

static vqc_buffer *random_bytes(const int64_t *dims, size_t rank)
{
    vqc_buffer *buffer = vqc_buffer_create(VQC_DTYPE_UINT8, dims, rank);
    mb_random random = {13};

    cr_assert_not_null(buffer);
    for (size_t i = 0; i < buffer->elements; i++) {
        buffer->data[i] = (unsigned char)mb_random_below(&random, 256);
    }
    return buffer;
}

static void check_shape(const shape3 *s)
{
    int64_t blocks[3] = {s->dims[0], s->dims[1], s->dims[2]};
    bool blocked = s->block > 0;
    vqc_buffer *x = random_floats(s->dims, 3, 0.01f, -5.0f);
    vqc_buffer *scale;
    vqc_buffer *zero;
    vqc_buffer *codes;
    vqc_buffer *decoded;

    blocks[s->axis] = blocked ? (s->dims[s->axis] + s->block - 1) / s->block : s->dims[s->axis];
    scale = random_floats(blocked ? blocks : &blocks[s->axis], blocked ? 3 : 1, 1e-5f, 0.01f);
    zero = random_bytes(blocked ? blocks : &blocks[s->axis], blocked ? 3 : 1);
    codes = run("QuantizeLinear", x, scale, zero, s, 1);
    decoded = run("DequantizeLinear", codes, scale, zero, s, 1);
    for (int threads = 2; threads <= 5; threads += 3) {
        vqc_buffer *again = run("QuantizeLinear", x, scale, zero, s, threads);
        vqc_buffer *back = run("DequantizeLinear", again, scale, zero, s, threads);

        cr_expect_eq(memcmp(codes->data, again->data, codes->elements), 0);
        cr_expect_eq(memcmp(decoded->data, back->data, decoded->elements * sizeof(float)), 0);
        vqc_buffer_destroy(&again);
        vqc_buffer_destroy(&back);
    }
    vqc_buffer_destroy(&decoded);
    vqc_buffer_destroy(&codes);
    vqc_buffer_destroy(&zero);
    vqc_buffer_destroy(&scale);
    vqc_buffer_destroy(&x);
}

Test(exec_quantize, does_not_depend_on_threads)
{
    static const shape3 shapes[] = {
        {{300, 40, 50}, 2, 0},  /* a scale per column */
        {{3, 40, 5000}, 1, 0},  /* a scale per row, few tiles */
        {{64, 90, 101}, 1, 0},  /* many tiles */
        {{7, 300, 128}, 2, 32}, /* blocks of a row */
        {{7, 300, 130}, 2, 32}, /* the last one shorter */
        {{2, 301, 500}, 1, 64}, /* blocks of rows */
        {{1, 1, 400000}, 0, 0}, /* one scale */
    };

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        check_shape(&shapes[i]);
    }
}
