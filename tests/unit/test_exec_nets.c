/* Recurrent, image and linear algebra operators on cases that can be computed by hand, and their
 * errors. Everything else is compared by tests/oracle/test_exec_nets.py. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/exec/exec.h"
#include "tests/unit/small_model.h"

/* Computes value "y" of the model, which is destroyed; *error says why not. */
static vqc_buffer *compute(vqc_model *model, vqc_error *error)
{
    vqc_graph *graph = NULL;
    vqc_buffer *out = NULL;

    cr_assert_eq(vqc_graph_create(model, &graph, error), VQC_OK, "%s", error->message);
    (void)vqc_exec_constant(graph, vqc_scope_define(graph, graph->scopes[0], "y"), NULL, &out,
                            error);
    vqc_graph_destroy(&graph);
    return out;
}

static void expect_floats(vqc_model *model, const float *expected, size_t count)
{
    vqc_error error = {0};
    vqc_buffer *out = compute(model, &error);

    cr_assert_not_null(out, "%s", error.message);
    cr_assert_eq(out->elements, count);
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, out->data + i * sizeof value, sizeof value);
        cr_expect_float_eq(value, expected[i], 1e-6f, "element %zu: %g", i, (double)value);
    }
    vqc_buffer_destroy(&out);
    vqc_model_destroy(&model);
}

static void expect_error(vqc_model *model, const char *part)
{
    vqc_error error = {0};
    vqc_buffer *out = compute(model, &error);

    cr_expect_null(out);
    cr_expect_eq(error.code, VQC_ERR_MODEL);
    cr_expect_not_null(strstr(error.message, part), "%s", error.message);
    vqc_model_destroy(&model);
}

/* An RNN with Relu adds its input to its state: running sums, per direction and sequence. */
Test(exec_nets, rnn_keeps_to_sequence_lengths)
{
    static const float x[6] = {1, 10, 2, 20, 3, 30}; /* [3 steps, 2 rows, 1] */
    static const float one[2] = {1, 1};
    static const int32_t lengths[2] = {3, 2};
    static const float expected[12] = {1, 10, 6, 30, 3, 30, 5, 20, 6, 0, 3, 0};
    vqc_model *model = small_model(14, 8);
    Onnx__NodeProto *node;

    SMALL_TENSOR(model, "x", VQC_DTYPE_FLOAT, x, 3, 2, 1);
    SMALL_TENSOR(model, "w", VQC_DTYPE_FLOAT, one, 2, 1, 1);
    SMALL_TENSOR(model, "r", VQC_DTYPE_FLOAT, one, 2, 1, 1);
    SMALL_TENSOR(model, "b", VQC_DTYPE_FLOAT, NULL, 2, 2);
    SMALL_TENSOR(model, "l", VQC_DTYPE_INT32, lengths, 2);
    node = small_node(model, "", "RNN", "x w r b l", "y");
    cr_assert(vqc_node_add_string(model->arena, node, "direction", "bidirectional"));
    cr_assert(vqc_node_add_int(model->arena, node, "hidden_size", 1));
    {
        static ProtobufCBinaryData relu[2];
        Onnx__AttributeProto *attr;
        cr_assert(vqc_node_add_string(model->arena, node, "activations", "x"));
        attr = node->attribute[node->n_attribute - 1];
        relu[0] = relu[1] = (ProtobufCBinaryData){4, (uint8_t *)(uintptr_t) "Relu"};
        attr->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
        attr->strings = relu;
        attr->n_strings = 2;
    }
    expect_floats(model, expected, 12);
}

Test(exec_nets, rnn_names_a_length_out_of_range)
{
    static const int32_t lengths[1] = {4};
    vqc_model *model = small_model(14, 8);

    SMALL_TENSOR(model, "x", VQC_DTYPE_FLOAT, NULL, 3, 1, 1);
    SMALL_TENSOR(model, "w", VQC_DTYPE_FLOAT, NULL, 1, 4, 1);
    SMALL_TENSOR(model, "r", VQC_DTYPE_FLOAT, NULL, 1, 4, 1);
    SMALL_TENSOR(model, "b", VQC_DTYPE_FLOAT, NULL, 1, 8);
    SMALL_TENSOR(model, "l", VQC_DTYPE_INT32, lengths, 1);
    (void)small_node(model, "", "LSTM", "x w r b l", "y");
    expect_error(model, "sequence_lens: got 4");
}

Test(exec_nets, resize_doubles_by_nearest)
{
    static const float x[2] = {1, 2};
    static const float scales[2] = {1, 2};
    static const float expected[4] = {1, 1, 2, 2};
    vqc_model *model = small_model(13, 8);

    SMALL_TENSOR(model, "x", VQC_DTYPE_FLOAT, x, 1, 2);
    SMALL_TENSOR(model, "r", VQC_DTYPE_FLOAT, NULL, 0);
    SMALL_TENSOR(model, "s", VQC_DTYPE_FLOAT, scales, 2);
    (void)small_node(model, "", "Resize", "x r s", "y");
    expect_floats(model, expected, 4);
}

Test(exec_nets, resize_refuses_scales_that_are_not_positive)
{
    static const float scales[2] = {1, -2};
    vqc_model *model = small_model(13, 8);

    SMALL_TENSOR(model, "x", VQC_DTYPE_FLOAT, NULL, 1, 2);
    SMALL_TENSOR(model, "r", VQC_DTYPE_FLOAT, NULL, 0);
    SMALL_TENSOR(model, "s", VQC_DTYPE_FLOAT, scales, 2);
    (void)small_node(model, "", "Resize", "x r s", "y");
    expect_error(model, "scale: got -2");
}

Test(exec_nets, einsum_multiplies_and_transposes)
{
    static const float a[4] = {1, 2, 3, 4};
    static const float b[4] = {5, 6, 7, 8};
    static const float expected[4] = {19, 43, 22, 50};
    vqc_model *model = small_model(12, 7);
    Onnx__NodeProto *node;

    SMALL_TENSOR(model, "a", VQC_DTYPE_FLOAT, a, 2, 2);
    SMALL_TENSOR(model, "b", VQC_DTYPE_FLOAT, b, 2, 2);
    node = small_node(model, "", "Einsum", "a b", "y");
    cr_assert(vqc_node_add_string(model->arena, node, "equation", "ij, jk -> ki"));
    expect_floats(model, expected, 4);
}

Test(exec_nets, einsum_refuses_equations_that_do_not_fit)
{
    static const char *const EQUATIONS[][2] = {
        {"ij,jk->iz", "in no operand"}, {"ijk,jk->i", "rank 2"},
        {"ij", "fewer terms"},          {"ij,jk,kl->il", "more terms"},
        {"i.j,jk->ik", "misplaced"},    {"ij,j?->i", "0x3f"},
        {"ij,jk->ii", "repeated"},      {"", "rank 2"},
    };

    for (size_t i = 0; i < sizeof EQUATIONS / sizeof EQUATIONS[0]; i++) {
        vqc_model *model = small_model(12, 7);
        Onnx__NodeProto *node;

        SMALL_TENSOR(model, "a", VQC_DTYPE_FLOAT, NULL, 2, 2);
        SMALL_TENSOR(model, "b", VQC_DTYPE_FLOAT, NULL, 2, 2);
        node = small_node(model, "", "Einsum", "a b", "y");
        cr_assert(vqc_node_add_string(model->arena, node, "equation", EQUATIONS[i][0]));
        expect_error(model, EQUATIONS[i][1]);
    }
}
