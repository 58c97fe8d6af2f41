/* The executor of constant expressions: what is constant, limits, and errors. Results are compared
 * by tests/oracle/test_exec.py. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "core/exec/exec.h"
#include "core/exec/minifloat.h"
#include "core/exec/view.h"
#include "tests/unit/small_model.h"

static vqc_status evaluate(vqc_model *model, const char *name, const vqc_exec_limits *limits,
                           vqc_buffer **out, vqc_error *error)
{
    vqc_graph *graph = NULL;
    vqc_status status;

    cr_assert_eq(vqc_graph_create(model, &graph, error), VQC_OK);
    status = vqc_exec_constant(graph, vqc_scope_define(graph, graph->scopes[0], name), limits, out,
                               error);
    vqc_graph_destroy(&graph);
    return status;
}

static vqc_model *scaled_codes(void)
{
    static const int8_t codes[6] = {-1, 0, 1, 2, 3, -4};
    static const float scales[3] = {0.5f, 1.0f, 2.0f};
    vqc_model *model = small_model(13, 8);
    Onnx__NodeProto *node;

    SMALL_TENSOR(model, "q", VQC_DTYPE_INT8, codes, 2, 3);
    SMALL_TENSOR(model, "s", VQC_DTYPE_FLOAT, scales, 3);
    small_interface(model, true, "x");
    node = small_node(model, "", "DequantizeLinear", "q s", "w");
    cr_assert(vqc_node_add_int(model->arena, node, "axis", 1));
    (void)small_node(model, "", "Neg", "w", "n");
    (void)small_node(model, "", "Add", "n x", "y");
    return model;
}

Test(exec, evaluates_a_chain)
{
    static const float expected[6] = {0.5f, 0.0f, -2.0f, -1.0f, -3.0f, 8.0f};
    vqc_model *model = scaled_codes();
    vqc_buffer *out = NULL;
    vqc_error error = {0};

    cr_assert_eq(evaluate(model, "n", NULL, &out, &error), VQC_OK, "%s", error.message);
    cr_expect_eq(out->dtype, VQC_DTYPE_FLOAT);
    cr_expect_eq(out->rank, 2);
    cr_expect_eq(out->elements, 6);
    for (size_t i = 0; i < 6; i++) {
        float value;
        memcpy(&value, out->data + i * sizeof value, sizeof value);
        cr_expect_eq(value, expected[i]);
    }
    vqc_buffer_destroy(&out);
    vqc_model_destroy(&model);
}

Test(exec, names_what_is_not_constant)
{
    vqc_model *model = scaled_codes();
    vqc_buffer *out = NULL;
    vqc_error error = {0};

    cr_assert_eq(evaluate(model, "y", NULL, &out, &error), VQC_ERR_MODEL);
    cr_expect_null(out);
    cr_expect_not_null(strstr(error.message, "\"x\""));
    vqc_model_destroy(&model);
}

Test(exec, names_all_missing_operators)
{
    vqc_model *model = small_model(17, 8);
    vqc_buffer *out = NULL;
    vqc_error error = {0};

    SMALL_TENSOR(model, "a", VQC_DTYPE_FLOAT, NULL, 2, 2);
    (void)small_node(model, "my.domain", "Bar", "a", "b");
    (void)small_node(model, "my.domain", "Foo", "b", "c");
    (void)small_node(model, "my.domain", "Bar", "c", "d");
    cr_assert_eq(evaluate(model, "d", NULL, &out, &error), VQC_ERR_MODEL);
    cr_expect_not_null(strstr(error.message, "my.domain.Bar"));
    cr_expect_not_null(strstr(error.message, "my.domain.Foo"));
    vqc_model_destroy(&model);
}

Test(exec, keeps_to_its_limits)
{
    static const int64_t shape[1] = {1 << 20};
    vqc_model *model = small_model(13, 8);
    vqc_exec_limits limits = {.max_bytes = 1 << 21};
    uint64_t work = 5 << 20;
    vqc_buffer *out = NULL;
    vqc_error error = {0};

    SMALL_TENSOR(model, "shape", VQC_DTYPE_INT64, shape, 1);
    (void)small_node(model, "", "ConstantOfShape", "shape", "c"); /* 4 MiB */
    cr_expect_eq(evaluate(model, "c", &limits, &out, &error), VQC_ERR_MODEL);
    limits.max_bytes = 1 << 23;
    limits.work_left = &work;
    cr_expect_eq(evaluate(model, "c", &limits, &out, &error), VQC_OK);
    vqc_buffer_destroy(&out);
    cr_expect_eq(work, (uint64_t)1 << 20);
    cr_expect_eq(evaluate(model, "c", &limits, &out, &error), VQC_ERR_MODEL);
    vqc_model_destroy(&model);
}

Test(exec, initializers_that_callers_may_override_are_not_constant)
{
    vqc_model *model = small_model(13, 8);
    vqc_exec_limits defaults = {.take_defaults = true};
    vqc_buffer *out = NULL;
    vqc_error error = {0};

    SMALL_TENSOR(model, "w", VQC_DTYPE_FLOAT, NULL, 2, 2);
    small_interface(model, true, "w");
    (void)small_node(model, "", "Neg", "w", "n");
    cr_expect_eq(evaluate(model, "n", NULL, &out, &error), VQC_ERR_MODEL);
    cr_expect_eq(evaluate(model, "n", &defaults, &out, &error), VQC_OK);
    vqc_buffer_destroy(&out);
    model->proto->ir_version = 3;
    cr_expect_eq(evaluate(model, "n", NULL, &out, &error), VQC_OK);
    vqc_buffer_destroy(&out);
    vqc_model_destroy(&model);
}

Test(exec, is_constant)
{
    vqc_model *model = scaled_codes();
    vqc_graph *graph = NULL;
    vqc_error error = {0};

    (void)small_node(model, "", "RandomNormalLike", "w", "r");
    cr_assert_eq(vqc_graph_create(model, &graph, &error), VQC_OK);
    cr_expect(
        vqc_exec_is_constant(graph, vqc_scope_define(graph, graph->scopes[0], "n"), false, 9));
    cr_expect_not(
        vqc_exec_is_constant(graph, vqc_scope_define(graph, graph->scopes[0], "n"), false, 1));
    cr_expect_not(
        vqc_exec_is_constant(graph, vqc_scope_define(graph, graph->scopes[0], "y"), false, 9));
    cr_expect_not(
        vqc_exec_is_constant(graph, vqc_scope_define(graph, graph->scopes[0], "r"), false, 9));
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

/* A deep chain needs no stack; a cycle is found. */
Test(exec, deep_chain_and_cycle)
{
    enum { DEPTH = 20000 };
    vqc_model *model = small_model(13, 8);
    Onnx__GraphProto *graph = model->proto->graph;
    vqc_buffer *out = NULL;
    vqc_error error = {0};
    char names[2][16] = {"w", ""};

    SMALL_TENSOR(model, "w", VQC_DTYPE_FLOAT, NULL, 2);
    graph->node = vqc_arena_calloc(model->arena, DEPTH, sizeof *graph->node);
    for (int i = 0; i < DEPTH; i++) {
        const char *in = names[i % 2];
        const char *o = names[1 - i % 2];
        (void)snprintf(names[1 - i % 2], sizeof names[0], "v%d", i);
        graph->node[graph->n_node++] = vqc_node_create(model->arena, "Neg", "", "", &in, 1, &o, 1);
    }
    cr_expect_eq(evaluate(model, "v19999", NULL, &out, &error), VQC_OK, "%s", error.message);
    vqc_buffer_destroy(&out);
    graph->node[0]->input[0] = graph->node[DEPTH - 1]->output[0];
    cr_expect_eq(evaluate(model, "v19999", NULL, &out, &error), VQC_ERR_MODEL);
    cr_expect_not_null(strstr(error.message, "cycle"));
    vqc_model_destroy(&model);
}

/* Every code of every small float survives decoding and encoding. */
Test(exec, minifloats_round_trip)
{
    static const int32_t types[] = {VQC_DTYPE_FLOAT8E4M3FN, VQC_DTYPE_FLOAT8E4M3FNUZ,
                                    VQC_DTYPE_FLOAT8E5M2,   VQC_DTYPE_FLOAT8E5M2FNUZ,
                                    VQC_DTYPE_FLOAT4E2M1,   VQC_DTYPE_FLOAT6E2M3,
                                    VQC_DTYPE_FLOAT6E3M2,   VQC_DTYPE_FLOAT8E8M0};

    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        int codes = 1 << vqc_dtype_describe(types[t])->bits;
        for (int c = 0; c < codes; c++) {
            unsigned char code = (unsigned char)c;
            unsigned char back;
            float value;
            vqc_minifloat_decode(types[t], &code, 1, &value);
            if (value != value) {
                continue; /* NaN has several codes */
            }
            vqc_minifloat_encode(types[t], &value, 1, false, 0, &back);
            cr_expect_eq(back, code, "%s code %d became %d", vqc_dtype_describe(types[t])->name, c,
                         back);
        }
    }
}

/* Pieces of any length read the same stream. */
Test(exec, reader_in_pieces)
{
    const int64_t dims[3] = {3, 4, 5};
    vqc_buffer *buffer = vqc_buffer_create(VQC_DTYPE_INT16, dims, 3);
    vqc_view view;
    int16_t whole[60];
    int16_t pieces[60];

    cr_assert_not_null(buffer);
    for (int16_t i = 0; i < 60; i++) {
        memcpy(buffer->data + i * 2, &i, 2);
    }
    view = vqc_view_of(buffer); /* [4, 5, 3] reversed along its second axis */
    view.dims[0] = 4;
    view.dims[1] = 5;
    view.dims[2] = 3;
    view.strides[0] = 5;
    view.strides[1] = -1;
    view.strides[2] = 20;
    view.data += 4 * 2;
    vqc_view_copy(&view, 60, whole);
    for (size_t step = 1; step <= 60; step++) {
        vqc_reader reader;
        vqc_reader_start(&reader, &view);
        for (size_t at = 0; at < 60; at += step) {
            size_t n = 60 - at < step ? 60 - at : step;
            int16_t scratch[60];
            memcpy(pieces + at, vqc_reader_next(&reader, n, scratch), n * 2);
        }
        cr_assert_arr_eq(pieces, whole, sizeof whole);
    }
    for (int a = 0; a < 4; a++) {
        for (int b = 0; b < 5; b++) {
            for (int c = 0; c < 3; c++) {
                cr_expect_eq(whole[(a * 5 + b) * 3 + c], c * 20 + a * 5 + 4 - b);
            }
        }
    }
    vqc_buffer_destroy(&buffer);
}
