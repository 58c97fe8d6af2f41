/* Raising the opset: blockers, shared constants, malformed nodes. Outputs are compared by
 * tests/oracle/test_opset.py. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/emit/opset_internal.h"
#include "core/opset.h"

enum { MAX_NODES = 8 };

/* A model of opset `opset` with up to MAX_NODES nodes in the main graph. */
static vqc_model *make_model(int64_t opset, int64_t ir_version)
{
    vqc_model *model = NULL;
    vqc_error error;

    cr_assert_eq(vqc_model_create("m.onnx", &model, &error), VQC_OK);
    model->proto->has_ir_version = 1;
    model->proto->ir_version = ir_version;
    model->proto->graph = vqc_arena_alloc(model->arena, sizeof *model->proto->graph);
    onnx__graph_proto__init(model->proto->graph);
    model->proto->graph->node =
        vqc_arena_calloc(model->arena, MAX_NODES, sizeof *model->proto->graph->node);
    cr_assert_eq(vqc_model_set_opset(model, "", opset, &error), VQC_OK);
    return model;
}

static Onnx__NodeProto *add_node(vqc_model *model, const char *op, const char *name,
                                 const char *input, const char *output)
{
    Onnx__GraphProto *graph = model->proto->graph;
    Onnx__NodeProto *node =
        vqc_node_create(model->arena, op, "", name, &input, input != NULL, &output, output != NULL);

    cr_assert_not_null(node);
    cr_assert_lt(graph->n_node, (size_t)MAX_NODES);
    graph->node[graph->n_node++] = node;
    return node;
}

static vqc_status raise_to(vqc_model *model, int64_t target, vqc_messages *blockers)
{
    vqc_graph *graph = NULL;
    vqc_error error;
    vqc_status status = vqc_graph_create(model, &graph, &error);

    cr_assert_eq(status, VQC_OK);
    status = vqc_opset_check(graph, target, blockers, &error);
    if (status == VQC_OK) {
        status = vqc_opset_raise(graph, target, &error);
    }
    vqc_graph_destroy(&graph);
    return status;
}

static void expect_blocked(vqc_model *model, int64_t target, const char *line)
{
    vqc_messages blockers = {NULL, 0, 0};
    size_t nodes = model->proto->graph->n_node;
    int64_t opset = vqc_model_opset(model->proto, "");

    cr_assert_eq(raise_to(model, target, &blockers), VQC_ERR_MODEL);
    cr_assert_eq(blockers.count, 1);
    cr_assert_str_eq(blockers.items[0], line);
    cr_assert_eq(model->proto->graph->n_node, nodes);
    cr_assert_eq(vqc_model_opset(model->proto, ""), opset);
    vqc_messages_clear(&blockers);
    vqc_model_destroy(&model);
}

Test(opset, target_out_of_range)
{
    vqc_model *model = make_model(11, 8);
    vqc_messages blockers = {NULL, 0, 0};

    cr_assert_eq(raise_to(model, 6, &blockers), VQC_ERR_USAGE);
    cr_assert_eq(raise_to(model, 29, &blockers), VQC_ERR_USAGE);
    cr_assert_eq(blockers.count, 0);
    vqc_model_destroy(&model);
}

Test(opset, nothing_to_do)
{
    vqc_model *model = make_model(17, 8);
    vqc_messages blockers = {NULL, 0, 0};

    (void)add_node(model, "Crop", "c", "x", "y"); /* would block, but nothing is raised */
    cr_assert_eq(raise_to(model, 13, &blockers), VQC_OK);
    cr_assert_eq(vqc_model_opset(model->proto, ""), 17);
    vqc_model_destroy(&model);
}

Test(opset, removed_operators_are_named_once)
{
    vqc_model *model = make_model(7, 8);

    (void)add_node(model, "Crop", "first", "x", "y");
    (void)add_node(model, "Relu", "fine", "y", "z");
    (void)add_node(model, "Crop", "second", "z", "w");
    expect_blocked(model, 13,
                   "node \"first\" and 1 more (Crop): removed from ai.onnx after opset 9; keep the "
                   "model's own opset (pattern: foldable)");
}

Test(opset, old_models_stay)
{
    vqc_model *model = make_model(6, 3);

    (void)add_node(model, "Relu", "r", "x", "y");
    expect_blocked(model, 13,
                   "node \"r\" (Relu): opset 6; models below opset 7 are never raised; keep the "
                   "model's own opset (pattern: foldable)");
}

Test(opset, operators_of_later_versions)
{
    vqc_model *model = make_model(9, 8);

    (void)add_node(model, "Gelu", "g", "x", "y");
    expect_blocked(model, 13,
                   "node \"g\" (Gelu): not in ai.onnx opset 9, only since 20; keep the model's own "
                   "opset (pattern: foldable)");
}

/* Every operator of the table as a node with nothing, and with names only: a message or success, no
 * crash. */
Test(opset, nodes_without_anything)
{
    for (size_t i = 0; i < vqc_opset_op_count; i++) {
        for (int64_t opset = 7; opset < 28; opset += 1) {
            for (int named = 0; named < 2; named++) {
                vqc_model *model = make_model(opset, named == 0 ? 3 : 8);
                vqc_messages blockers = {NULL, 0, 0};
                vqc_status status;
                (void)add_node(model, vqc_opset_ops[i].name, NULL, named != 0 ? "x" : NULL,
                               named != 0 ? "y" : NULL);
                status = raise_to(model, 28, &blockers);
                cr_assert_eq(status, blockers.count == 0 ? VQC_OK : VQC_ERR_MODEL);
                vqc_messages_clear(&blockers);
                vqc_model_destroy(&model);
            }
        }
    }
}

static void add_squeezes(vqc_model *model)
{
    static const int64_t axes[] = {1};
    Onnx__NodeProto *node = add_node(model, "Unsqueeze", "a", "x", "p");

    cr_assert(vqc_node_add_ints(model->arena, node, "axes", axes, 1));
    node = add_node(model, "Squeeze", "b", "p", "q");
    cr_assert(vqc_node_add_ints(model->arena, node, "axes", axes, 1));
}

Test(opset, equal_constants_are_one_initializer)
{
    vqc_model *model = make_model(11, 4);
    vqc_messages blockers = {NULL, 0, 0};
    const Onnx__GraphProto *graph = model->proto->graph;

    add_squeezes(model);
    cr_assert_eq(raise_to(model, 13, &blockers), VQC_OK);
    cr_assert_eq(vqc_model_opset(model->proto, ""), 13);
    cr_assert_eq(graph->n_initializer, 1);
    cr_assert_eq(graph->n_node, 2);
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(graph->node[i]->n_attribute, 0);
        cr_assert_eq(graph->node[i]->n_input, 2);
        cr_assert_str_eq(graph->node[i]->input[1], graph->initializer[0]->name);
    }
    vqc_model_destroy(&model);
}

Test(opset, constants_are_nodes_where_initializers_would_be_inputs)
{
    vqc_model *model = make_model(11, 3);
    vqc_messages blockers = {NULL, 0, 0};
    const Onnx__GraphProto *graph = model->proto->graph;

    add_squeezes(model);
    cr_assert_eq(raise_to(model, 13, &blockers), VQC_OK);
    cr_assert_eq(graph->n_initializer, 0);
    cr_assert_eq(graph->n_node, 3);
    cr_assert_str_eq(graph->node[0]->op_type, "Constant");
    cr_assert_str_eq(graph->node[1]->input[1], graph->node[0]->output[0]);
    cr_assert_str_eq(graph->node[2]->input[1], graph->node[0]->output[0]);
    cr_assert_eq(model->proto->ir_version, 3);
    vqc_model_destroy(&model);
}

Test(opset, softmax_of_unknown_rank_keeps_the_matrix_view)
{
    static const char *const expected[] = {"Shape", "Flatten", "Softmax", "Reshape"};
    vqc_model *model = make_model(11, 8);
    vqc_messages blockers = {NULL, 0, 0};
    const Onnx__GraphProto *graph = model->proto->graph;

    (void)add_node(model, "Softmax", "s", "x", "y");
    cr_assert_eq(raise_to(model, 13, &blockers), VQC_OK);
    cr_assert_eq(graph->n_node, 4);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_str_eq(graph->node[i]->op_type, expected[i]);
    }
    cr_assert_str_eq(graph->node[3]->output[0], "y");
    vqc_model_destroy(&model);
}

Test(opset, other_operator_sets_are_left_alone)
{
    vqc_model *model = make_model(7, 8);
    vqc_messages blockers = {NULL, 0, 0};
    Onnx__NodeProto *node = add_node(model, "Crop", "c", "x", "y");

    node->domain = vqc_arena_strdup(model->arena, "com.example");
    cr_assert_eq(raise_to(model, 21, &blockers), VQC_OK);
    cr_assert_eq(model->proto->graph->n_node, 1);
    cr_assert_str_eq(model->proto->graph->node[0]->op_type, "Crop");
    vqc_model_destroy(&model);
}

Test(opset, tables_are_sorted_and_found)
{
    for (size_t i = 0; i < vqc_opset_op_count; i++) {
        cr_assert_eq(vqc_opset_find_op(vqc_opset_ops[i].name), &vqc_opset_ops[i]);
    }
    for (size_t i = 0; i < vqc_opset_step_count; i++) {
        const vqc_opset_step *step = &vqc_opset_steps[i];
        cr_assert_eq(vqc_opset_find_step(step->op, step->since), step);
        cr_assert_not_null(vqc_opset_find_op(step->op));
    }
    cr_assert_null(vqc_opset_find_op("Crop"));
}
