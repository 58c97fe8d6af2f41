/* The graph index: scopes, who defines, who reads, names. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/model_builder.h"

/* x -> If(c){ then: MatMul(x, W) ; else: If(c){ then: Add(x, W) ; else: own W } } -> y */
typedef struct nested {
    vqc_model *model;
    vqc_graph *graph;
    Onnx__NodeProto *outer;
    Onnx__NodeProto *inner;
    Onnx__NodeProto *matmul;
    Onnx__NodeProto *add;
    Onnx__NodeProto *own;
} nested;

static nested make_nested(void)
{
    const int64_t dims[2] = {2, 2};
    nested n = {.model = mb_model(13, 8)};
    Onnx__GraphProto *body;

    mb_input(n.model, NULL, "x");
    mb_input(n.model, NULL, "c");
    (void)mb_matrix(n.model, "W", 2, 2, 1);
    n.outer = mb_node(n.model, NULL, "If", "c", "y");
    n.outer->name = vqc_arena_strdup(n.model->arena, "outer");
    body = mb_body(n.model, n.outer, "then_branch");
    n.matmul = mb_node(n.model, body, "MatMul", "x W", "t");
    mb_output(n.model, body, "t");
    body = mb_body(n.model, n.outer, "else_branch");
    n.inner = mb_node(n.model, body, "If", "c", "u");
    mb_output(n.model, body, "u");
    body = mb_body(n.model, n.inner, "then_branch");
    n.add = mb_node(n.model, body, "Add", "x W", "t");
    mb_output(n.model, body, "t");
    body = mb_body(n.model, n.inner, "else_branch");
    (void)mb_initializer(n.model, body, mb_tensor(n.model, "W", VQC_DTYPE_DOUBLE, dims, 2, NULL));
    n.own = mb_node(n.model, body, "Sub", "x W", "t");
    mb_output(n.model, body, "t");
    mb_output(n.model, NULL, "y");
    n.graph = mb_index(n.model);
    return n;
}

static void end(nested *n)
{
    vqc_graph_destroy(&n->graph);
    cr_assert_null(n->graph);
    vqc_model_destroy(&n->model);
}

Test(graph, scopes_parents_before_children)
{
    static const char *const paths[] = {"", "outer/then_branch", "outer/else_branch",
                                        "outer/else_branch/-> u/then_branch",
                                        "outer/else_branch/-> u/else_branch"};
    static const size_t parents[] = {0, 0, 0, 2, 2};
    nested n = make_nested();

    cr_assert_eq(n.graph->scope_count, 5);
    for (size_t i = 0; i < 5; i++) {
        const vqc_scope *scope = n.graph->scopes[i];
        cr_assert_str_eq(scope->path, paths[i]);
        cr_assert_eq(scope->index, i);
        cr_assert_eq(scope->opset, 13);
        cr_assert_eq(scope->parent, i == 0 ? NULL : n.graph->scopes[parents[i]]);
    }
    end(&n);
}

Test(graph, uses_reach_into_bodies_and_stop_at_shadows)
{
    nested n = make_nested();
    vqc_value *outer = mb_value(n.graph, "W");
    const vqc_value *inner = vqc_scope_define(n.graph, n.graph->scopes[4], "W");

    cr_assert_eq(outer->use_count, 2);
    cr_assert(outer->uses[0].node == n.matmul && outer->uses[0].input == 1);
    cr_assert_eq(outer->uses[0].scope, n.graph->scopes[1]);
    cr_assert(outer->uses[1].node == n.add && outer->uses[1].scope == n.graph->scopes[3]);
    cr_assert_not_null(inner);
    cr_assert_neq(inner, outer);
    cr_assert_eq(inner->use_count, 1);
    cr_assert_eq(inner->uses[0].node, n.own);
    cr_assert_eq(vqc_scope_resolve(n.graph, n.graph->scopes[4], "W"), inner);
    cr_assert_eq(vqc_scope_resolve(n.graph, n.graph->scopes[3], "W"), outer);
    cr_assert_null(vqc_scope_define(n.graph, n.graph->scopes[3], "W"));
    cr_assert_null(vqc_scope_resolve(n.graph, n.graph->scopes[1], "nowhere"));
    /* "t" is defined in three bodies, each its own value, each an output of its graph */
    for (size_t s = 1; s < 5; s += s == 1 ? 2 : 1) {
        const vqc_value *t = vqc_scope_define(n.graph, n.graph->scopes[s], "t");
        cr_assert(t != NULL && t->use_count == 1 && t->uses[0].node == NULL);
        cr_assert_eq(t->uses[0].scope, n.graph->scopes[s]);
    }
    cr_assert_null(vqc_scope_resolve(n.graph, n.graph->scopes[0], "t"));
    end(&n);
}

Test(graph, producers_and_graph_inputs)
{
    nested n = make_nested();
    const vqc_value *y = mb_value(n.graph, "y");
    const vqc_value *x = mb_value(n.graph, "x");

    cr_assert(y->producer == n.outer && y->output == 0 && y->graph_input == NULL);
    cr_assert_not_null(y->info);
    cr_assert(x->producer == NULL && x->graph_input != NULL && x->initializer == NULL);
    cr_assert_eq(x->use_count, 3);
    cr_assert_eq(mb_value(n.graph, "c")->use_count, 2);
    cr_assert_null(vqc_value_constant(n.graph, x));
    end(&n);
}

Test(graph, loop_body_inputs_hide_outer_values)
{
    vqc_model *model = mb_model(13, 8);
    Onnx__NodeProto *loop;
    Onnx__GraphProto *body;
    vqc_graph *graph;

    (void)mb_matrix(model, "W", 2, 2, 1);
    mb_input(model, NULL, "m");
    loop = mb_node(model, NULL, "Loop", "m - W", "y");
    body = mb_body(model, loop, "body");
    mb_input(model, body, "i");
    mb_input(model, body, "go");
    mb_input(model, body, "W");
    (void)mb_node(model, body, "Relu", "W", "r");
    mb_output(model, body, "go");
    mb_output(model, body, "r");
    graph = mb_index(model);
    cr_assert_eq(mb_value(graph, "W")->use_count, 1, "the body reads its own input");
    cr_assert_eq(mb_value(graph, "W")->uses[0].node, loop);
    cr_assert_eq(vqc_scope_define(graph, graph->scopes[1], "W")->use_count, 1);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(graph, functions_are_worlds_of_their_own)
{
    vqc_model *model = mb_model(13, 8);
    Onnx__FunctionProto *function = mb_function(model, "local", "F", "x", "y", 17);
    Onnx__NodeProto *inside = mb_free_node(model, "MatMul", "x W", "y");
    const vqc_scope *scope;
    vqc_graph *graph;

    (void)mb_matrix(model, "W", 2, 2, 1);
    mb_function_add(model, function, inside);
    (void)mb_node(model, NULL, "local.F", "W", "z");
    graph = mb_index(model);
    cr_assert_eq(graph->scope_count, 2);
    scope = graph->scopes[1];
    cr_assert(scope->graph == NULL && scope->function == function && scope->parent == NULL);
    cr_assert_str_eq(scope->path, "function F");
    cr_assert_eq(scope->opset, 17);
    cr_assert_eq(mb_value(graph, "W")->use_count, 1, "the function cannot see the main graph's W");
    cr_assert_null(vqc_scope_resolve(graph, scope, "W"));
    cr_assert_eq(vqc_scope_define(graph, scope, "x")->uses[0].node, inside);
    cr_assert_null(vqc_scope_define(graph, scope, "y")->uses[0].node, "an output of the function");
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

static void expect_twice(vqc_model *model, const char *name)
{
    vqc_graph *graph = NULL;
    vqc_error error = {0};
    char wanted[64];

    (void)snprintf(wanted, sizeof wanted, "value \"%s\" is defined twice", name);
    cr_assert_eq(vqc_graph_create(model, &graph, &error), VQC_ERR_MODEL);
    cr_assert_null(graph);
    cr_assert_not_null(strstr(error.message, wanted), "%s", error.message);
    vqc_model_destroy(&model);
}

Test(graph, duplicates_are_refused)
{
    vqc_model *model = mb_model(13, 8);
    (void)mb_matrix(model, "W", 2, 2, 1);
    (void)mb_matrix(model, "W", 2, 2, 2);
    expect_twice(model, "W");

    model = mb_model(13, 8);
    (void)mb_node(model, NULL, "Relu", "x", "y");
    (void)mb_node(model, NULL, "Relu", "x", "y");
    expect_twice(model, "y");

    model = mb_model(13, 8);
    (void)mb_matrix(model, "W", 2, 2, 1);
    (void)mb_node(model, NULL, "Relu", "x", "W");
    expect_twice(model, "W");

    model = mb_model(13, 8);
    mb_input(model, NULL, "x");
    mb_input(model, NULL, "x");
    expect_twice(model, "x");

    model = mb_model(13, 8);
    mb_input(model, NULL, "x");
    (void)mb_node(model, NULL, "Relu", "z", "x");
    expect_twice(model, "x");
}

Test(graph, no_graph_is_refused)
{
    vqc_model *model = mb_model(13, 8);
    vqc_graph *graph = NULL;
    vqc_error error = {0};

    model->proto->graph = NULL;
    cr_assert_eq(vqc_graph_create(model, &graph, &error), VQC_ERR_MODEL);
    cr_assert_null(graph);
    cr_assert_not_null(strstr(error.message, "no graph"));
    vqc_model_destroy(&model);
}

Test(graph, many_values_and_undefined_inputs)
{
    vqc_model *model = mb_model(13, 8);
    vqc_graph *graph;
    char in[32];
    char out[32];

    for (int i = 0; i < 3000; i++) { /* the table grows several times */
        (void)snprintf(in, sizeof in, "v%d nobody", i);
        (void)snprintf(out, sizeof out, "v%d", i + 1);
        (void)mb_node(model, NULL, "Add", in, out);
    }
    graph = mb_index(model);
    cr_assert_eq(graph->value_count, 3000);
    for (int i = 1; i <= 3000; i++) {
        const vqc_value *value;
        (void)snprintf(out, sizeof out, "v%d", i);
        value = mb_value(graph, out);
        cr_assert_eq(value->use_count, i == 3000 ? 0 : 1);
        cr_assert_eq(value->producer, model->proto->graph->node[i - 1]);
    }
    cr_assert_null(vqc_scope_define(graph, graph->scopes[0], "nobody"));
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(graph, constants_through_identity)
{
    const int64_t dims[1] = {3};
    vqc_model *model = mb_model(13, 8);
    Onnx__TensorProto *weight = mb_matrix(model, "W", 2, 2, 1);
    Onnx__TensorProto *tensor = mb_tensor(model, "", VQC_DTYPE_FLOAT, dims, 1, NULL);
    Onnx__NodeProto *branch;
    Onnx__GraphProto *body;
    vqc_graph *graph;

    (void)mb_constant(model, NULL, "k", tensor);
    (void)mb_node(model, NULL, "Identity", "W", "w1");
    (void)mb_node(model, NULL, "Identity", "w1", "w2");
    (void)mb_node(model, NULL, "Identity", "k", "k1");
    (void)mb_node(model, NULL, "Relu", "W", "no");
    (void)mb_node(model, NULL, "Identity", "ring2", "ring1");
    (void)mb_node(model, NULL, "Identity", "ring1", "ring2");
    branch = mb_node(model, NULL, "If", "c", "y");
    body = mb_body(model, branch, "then_branch");
    (void)mb_node(model, body, "Identity", "w2", "inner");
    graph = mb_index(model);
    cr_assert_eq(vqc_value_constant(graph, mb_value(graph, "W")), weight);
    cr_assert_eq(vqc_value_constant(graph, mb_value(graph, "w2")), weight);
    cr_assert_eq(vqc_value_constant(graph, mb_value(graph, "k")), tensor);
    cr_assert_eq(vqc_value_constant(graph, mb_value(graph, "k1")), tensor);
    cr_assert_eq(vqc_value_constant(graph, vqc_scope_define(graph, graph->scopes[1], "inner")),
                 weight);
    cr_assert_null(vqc_value_constant(graph, mb_value(graph, "no")));
    cr_assert_null(vqc_value_constant(graph, mb_value(graph, "ring1")));
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(graph, an_initializer_that_is_an_input_may_be_overridden_since_ir_4)
{
    for (int64_t ir = 3; ir <= 4; ir++) {
        vqc_model *model = mb_model(7, ir);
        Onnx__TensorProto *weight = mb_matrix(model, "W", 2, 2, 1);
        vqc_graph *graph;
        mb_input(model, NULL, "W");
        graph = mb_index(model);
        cr_assert_not_null(mb_value(graph, "W")->graph_input);
        cr_assert_eq(vqc_value_constant(graph, mb_value(graph, "W")), ir == 3 ? weight : NULL);
        vqc_graph_destroy(&graph);
        vqc_model_destroy(&model);
    }
}

Test(graph, types_and_shapes)
{
    const int64_t dims[3] = {3, 4, 5};
    int64_t got[8] = {0};
    vqc_model *model = mb_model(13, 8);
    vqc_graph *graph;

    (void)mb_initializer(model, NULL, mb_tensor(model, "h", VQC_DTYPE_FLOAT16, dims, 3, NULL));
    (void)mb_constant(model, NULL, "k", mb_tensor(model, "", VQC_DTYPE_INT8, dims, 2, NULL));
    mb_input(model, NULL, "x");
    (void)mb_node(model, NULL, "Relu", "x", "y");
    graph = mb_index(model);
    cr_assert_eq(vqc_value_dtype(mb_value(graph, "h")), VQC_DTYPE_FLOAT16);
    cr_assert_eq(vqc_value_shape(mb_value(graph, "h"), got, 8), 3);
    cr_assert_arr_eq(got, dims, sizeof dims);
    cr_assert_eq(vqc_value_shape(mb_value(graph, "h"), got, 1), 3, "the rank, whatever fits");
    cr_assert_eq(vqc_value_dtype(mb_value(graph, "k")), VQC_DTYPE_INT8);
    cr_assert_eq(vqc_value_shape(mb_value(graph, "k"), NULL, 0), 2);
    cr_assert_eq(vqc_value_dtype(mb_value(graph, "x")), VQC_DTYPE_FLOAT);
    cr_assert_eq(vqc_value_shape(mb_value(graph, "x"), got, 8), -1);
    cr_assert_eq(vqc_value_dtype(mb_value(graph, "y")), VQC_DTYPE_UNDEFINED);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(graph, fresh_names_meet_nothing)
{
    vqc_model *model = mb_model(13, 8);
    Onnx__NodeProto *branch;
    Onnx__GraphProto *body;
    vqc_graph *graph;
    char names[64][24];

    (void)mb_node(model, NULL, "Relu", "x", "t0");
    (void)mb_node(model, NULL, "Relu", "x", "t2");
    branch = mb_node(model, NULL, "If", "c", "y");
    body = mb_body(model, branch, "then_branch");
    (void)mb_node(model, body, "Relu", "x", "t1");
    (void)mb_node(model, body, "Relu", "x", "a10");
    graph = mb_index(model);
    for (size_t i = 0; i < 64; i++) {
        char *name = vqc_graph_fresh_name(graph, i % 3 == 0 ? "t" : i % 3 == 1 ? "a" : "a1");
        cr_assert(name != NULL && strlen(name) < sizeof names[i]);
        (void)snprintf(names[i], sizeof names[i], "%s", name);
        for (size_t s = 0; s < graph->scope_count; s++) {
            cr_assert_null(vqc_scope_define(graph, graph->scopes[s], name));
        }
        for (size_t k = 0; k < i; k++) {
            cr_assert_str_neq(names[k], names[i]);
        }
    }
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(graph, reading_and_building_nodes)
{
    const int64_t three[3] = {4, 5, 6};
    vqc_model *model = mb_model(13, 8);
    Onnx__NodeProto *node = mb_free_node(model, "com.microsoft.Attention", "x", "y");
    Onnx__NodeProto *plain = mb_free_node(model, "Conv", "x", "");

    cr_assert(vqc_node_add_int(model->arena, node, "i", -3));
    cr_assert(vqc_node_add_float(model->arena, node, "f", 2.5f));
    cr_assert(vqc_node_add_ints(model->arena, node, "is", three, 3));
    cr_assert(vqc_node_add_string(model->arena, node, "s", "RIGHT"));
    cr_assert_eq(vqc_node_attr_int(node, "i", 9), -3);
    cr_assert_eq(vqc_node_attr_int(node, "absent", 9), 9);
    cr_assert_eq(vqc_node_attr_float(node, "f", 0.0f), 2.5f);
    cr_assert_eq(vqc_node_attr(node, "is")->n_ints, 3);
    vqc_node_remove_attr(node, "i");
    cr_assert_null(vqc_node_attr(node, "i"));
    cr_assert_eq(node->n_attribute, 3);
    vqc_node_remove_attr(node, "i");
    cr_assert_eq(node->n_attribute, 3);
    cr_assert_str_eq(vqc_node_op_name(node, model->arena), "com.microsoft.Attention");
    cr_assert_str_eq(vqc_node_op_name(plain, model->arena), "Conv");
    cr_assert_not(vqc_node_is(node, "Attention"));
    cr_assert(vqc_node_is(plain, "Conv"));
    cr_assert_str_eq(vqc_node_label(node, model->arena), "-> y");
    cr_assert(vqc_node_set_input(model->arena, node, 3, "z"));
    cr_assert_eq(node->n_input, 4);
    cr_assert_str_eq(node->input[1], "");
    cr_assert_str_eq(node->input[3], "z");
    vqc_model_destroy(&model);
}

/* The nodes whose outputs follow from their inputs alone. */
Test(graph, nodes_that_may_vary)
{
    static const struct {
        const char *op, *inputs;
        bool random, varies;
    } cases[] = {
        {"Relu", "x", false, false},        {"Constant", "", false, false},
        {"RandomNormal", "", true, true},   {"RandomUniformLike", "x", true, true},
        {"Bernoulli", "x", true, true},     {"Multinomial", "x", true, true},
        {"SequenceEmpty", "", false, true}, {"Dropout", "x r t", true, true},
        {"Dropout", "x r", false, false},
    };
    vqc_model *model = mb_model(13, 8);
    Onnx__NodeProto *node;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        node = mb_node(model, NULL, cases[i].op, cases[i].inputs, "y");
        cr_assert_eq(vqc_node_is_random(node), cases[i].random, "%s", cases[i].op);
        cr_assert_eq(vqc_node_may_vary(node), cases[i].varies, "%s", cases[i].op);
    }
    node = mb_node(model, NULL, "If", "c", "y");
    cr_assert_not(vqc_node_may_vary(node));
    (void)mb_body(model, node, "then_branch");
    cr_assert(vqc_node_may_vary(node) && !vqc_node_is_random(node));
    vqc_model_destroy(&model);
}
