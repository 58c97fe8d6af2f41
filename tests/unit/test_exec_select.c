/* Operators that select, scatter and pad, called row by row: ties, thread counts, errors. Results
 * over many types and shapes are compared by tests/oracle/test_exec_opsb.py. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/exec_op.h"
#include "core/exec/frame.h"
#include "tests/unit/model_builder.h"

enum { MOST = 4 };

/* One operator on inputs that the test owns. */
typedef struct fixture {
    vqc_model *model;
    Onnx__NodeProto *node;
    vqc_buffer *inputs[MOST];
    size_t input_count;
    vqc_buffer *outputs[MOST];
    vqc_exec_frame frame;
    vqc_error error;
} fixture;

static fixture start(const char *op)
{
    fixture f = {.model = mb_model(25, 10)};

    f.node = mb_node(f.model, NULL, op, "", "");
    return f;
}

static void add_input(fixture *f, int32_t dtype, const int64_t *dims, size_t rank, const void *data)
{
    vqc_buffer *buffer = vqc_buffer_create(dtype, dims, rank);

    cr_assert_not_null(buffer);
    if (data != NULL && buffer->elements > 0) {
        memcpy(buffer->data, data, buffer->elements * buffer->width);
    }
    f->inputs[f->input_count++] = buffer;
}

static vqc_status run(fixture *f, size_t output_count, int threads)
{
    const vqc_exec_op *row = vqc_exec_find("", f->node->op_type, 25);
    vqc_exec_call *call = calloc(1, sizeof *call);
    const vqc_buffer *inputs[MOST];
    vqc_status status;

    cr_assert_not_null(row);
    cr_assert_not_null(call);
    memcpy(inputs, f->inputs, sizeof inputs);
    call->node = f->node;
    call->op = row->op;
    call->opset = 25;
    call->inputs = inputs;
    call->input_count = f->input_count;
    call->output_count = output_count;
    call->outputs = f->outputs;
    call->detail = row->detail;
    call->threads = threads;
    call->frame = &f->frame;
    call->error = &f->error;
    status = row->shape(call);
    for (size_t i = 0; status == VQC_OK && i < output_count; i++) {
        f->outputs[i] =
            vqc_buffer_create(call->types[i].dtype, call->types[i].dims, call->types[i].rank);
        cr_assert_not_null(f->outputs[i]);
    }
    if (status == VQC_OK) {
        status = row->run(call);
    }
    vqc_exec_frame_reset(&f->frame);
    free(call);
    return status;
}

static void drop_outputs(fixture *f)
{
    for (size_t i = 0; i < MOST; i++) {
        vqc_buffer_destroy(&f->outputs[i]);
    }
}

static void finish(fixture *f)
{
    drop_outputs(f);
    for (size_t i = 0; i < f->input_count; i++) {
        vqc_buffer_destroy(&f->inputs[i]);
    }
    vqc_exec_frame_clear(&f->frame);
    vqc_model_destroy(&f->model);
}

Test(exec_select, topk_breaks_ties_by_lower_index)
{
    static const float x[6] = {1.0f, 3.0f, -0.0f, 3.0f, 0.0f, 1.0f};
    static const int64_t k = 5;
    static const int64_t expected[5] = {1, 3, 0, 5, 2};
    fixture f = start("TopK");

    add_input(&f, VQC_DTYPE_FLOAT, (int64_t[]){6}, 1, x);
    add_input(&f, VQC_DTYPE_INT64, (int64_t[]){1}, 1, &k);
    cr_assert_eq(run(&f, 2, 1), VQC_OK, "%s", f.error.message);
    cr_expect_eq(memcmp(f.outputs[1]->data, expected, sizeof expected), 0);
    finish(&f);
}

Test(exec_select, topk_does_not_depend_on_threads)
{
    int64_t k = 17;
    float *x = calloc((size_t)300 * 400, sizeof *x);
    mb_random random = {7};
    int64_t *alone = NULL;
    fixture f = start("TopK");

    cr_assert_not_null(x);
    for (size_t i = 0; i < (size_t)300 * 400; i++) {
        x[i] = (float)mb_random_below(&random, 50);
    }
    add_input(&f, VQC_DTYPE_FLOAT, (int64_t[]){300, 400}, 2, x);
    add_input(&f, VQC_DTYPE_INT64, (int64_t[]){1}, 1, &k);
    for (int threads = 1; threads <= 3; threads++) {
        size_t size = (size_t)300 * 17 * sizeof *alone;

        cr_assert_eq(run(&f, 2, threads), VQC_OK, "%s", f.error.message);
        if (alone == NULL) {
            alone = malloc(size);
            cr_assert_not_null(alone);
            memcpy(alone, f.outputs[1]->data, size);
        }
        cr_expect_eq(memcmp(alone, f.outputs[1]->data, size), 0, "%d threads", threads);
        drop_outputs(&f);
    }
    free(alone);
    free(x);
    finish(&f);
}

Test(exec_select, nonzero_of_a_scalar_has_no_rows)
{
    static const float x = 2.0f;
    fixture f = start("NonZero");

    add_input(&f, VQC_DTYPE_FLOAT, NULL, 0, &x);
    cr_assert_eq(run(&f, 1, 1), VQC_OK, "%s", f.error.message);
    cr_expect_eq(f.outputs[0]->dims[0], 0);
    cr_expect_eq(f.outputs[0]->dims[1], 1);
    finish(&f);
}

Test(exec_select, scatter_refuses_an_index_outside)
{
    static const int64_t index = 2;
    fixture f = start("ScatterElements");

    add_input(&f, VQC_DTYPE_FLOAT, (int64_t[]){2}, 1, (float[]){1.0f, 2.0f});
    add_input(&f, VQC_DTYPE_INT64, (int64_t[]){1}, 1, &index);
    add_input(&f, VQC_DTYPE_FLOAT, (int64_t[]){1}, 1, (float[]){5.0f});
    cr_expect_eq(run(&f, 1, 1), VQC_ERR_MODEL);
    cr_expect_not_null(strstr(f.error.message, "out of range"));
    finish(&f);
}

Test(exec_select, suppression_keeps_the_first_of_two_equal_boxes)
{
    static const float boxes[3][4] = {{0, 0, 1, 1}, {0, 0, 1, 1}, {2, 2, 3, 3}};
    static const float scores[3] = {0.5f, 0.5f, 0.25f};
    static const int64_t most = 3;
    static const float threshold = 0.5f;
    static const int64_t expected[6] = {0, 0, 0, 0, 0, 2};
    fixture f = start("NonMaxSuppression");

    add_input(&f, VQC_DTYPE_FLOAT, (int64_t[]){1, 3, 4}, 3, boxes);
    add_input(&f, VQC_DTYPE_FLOAT, (int64_t[]){1, 1, 3}, 3, scores);
    add_input(&f, VQC_DTYPE_INT64, (int64_t[]){1}, 1, &most);
    add_input(&f, VQC_DTYPE_FLOAT, (int64_t[]){1}, 1, &threshold);
    cr_assert_eq(run(&f, 1, 1), VQC_OK, "%s", f.error.message);
    cr_assert_eq(f.outputs[0]->dims[0], 2);
    cr_expect_eq(memcmp(f.outputs[0]->data, expected, sizeof expected), 0);
    finish(&f);
}

Test(exec_select, pad_refuses_to_cut_more_than_there_is)
{
    static const int64_t pads[2] = {-2, -1};
    fixture f = start("Pad");

    add_input(&f, VQC_DTYPE_FLOAT, (int64_t[]){2}, 1, (float[]){1.0f, 2.0f});
    add_input(&f, VQC_DTYPE_INT64, (int64_t[]){2}, 1, pads);
    cr_expect_eq(run(&f, 1, 1), VQC_ERR_MODEL);
    finish(&f);
}
