/* Patches: what they cost in bytes, what they do, and what dropping them gives back. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/patch.h"
#include "core/tensor.h"
#include "formats/onnx_file.h"
#include "tests/unit/model_builder.h"

/* Bytes of a length prefix. */
static size_t prefix(size_t length)
{
    size_t bytes = 1;
    for (; length >= 128; length >>= 7) {
        bytes++;
    }
    return bytes;
}

static size_t scope_bytes(const vqc_scope *scope)
{
    return scope->graph != NULL ? onnx__graph_proto__get_packed_size(scope->graph)
                                : onnx__function_proto__get_packed_size(scope->function);
}

static size_t file_bytes(const vqc_model *model)
{
    vqc_onnx_written size;
    vqc_error error = {0};
    cr_assert_eq(vqc_onnx_measure(model, NULL, &size, &error), VQC_OK, "%s", error.message);
    return size.file_size_bytes + size.external_size_bytes;
}

/*
 * Applies the patch, all of whose edits are in `scope`, and asserts that the scope grew by exactly
 * what the patch said, and the file by that plus what the length prefixes of the messages around
 * the scope changed (which no patch can know: they belong to all edits together).
 */
static void apply_and_weigh(vqc_model *model, vqc_patch *patch, const vqc_scope *scope)
{
    size_t added = vqc_patch_added_bytes(patch);
    size_t removed = vqc_patch_removed_bytes(patch);
    size_t scope_before = scope_bytes(scope);
    size_t file_before = file_bytes(model);
    size_t scope_after;
    vqc_error error = {0};

    cr_assert_eq(vqc_patch_apply(patch, &error), VQC_OK, "%s", error.message);
    scope_after = scope_bytes(scope);
    cr_assert_eq(scope_before + added - removed, scope_after, "added %zu, removed %zu: %zu -> %zu",
                 added, removed, scope_before, scope_after);
    if (scope->parent == NULL) {
        cr_assert_eq(file_before + added - removed + prefix(scope_after),
                     file_bytes(model) + prefix(scope_before));
    }
}

/* x -> Relu a -> MatMul W b -> Add(k) c -> If { MatMul(c, W) } y, and a function with a Constant */
typedef struct sample {
    vqc_model *model;
    vqc_graph *graph;
    vqc_scope *top;
    vqc_scope *branch;
    vqc_scope *function;
    Onnx__NodeProto *relu;
    Onnx__NodeProto *matmul;
    Onnx__NodeProto *constant;
    Onnx__NodeProto *inner;
} sample;

static sample make_sample(int64_t ir_version)
{
    const int64_t dims[1] = {20};
    sample s = {.model = mb_model(13, ir_version)};
    Onnx__FunctionProto *function = mb_function(s.model, "local", "F", "x", "y", 13);
    Onnx__NodeProto *node;
    Onnx__GraphProto *body;

    mb_input(s.model, NULL, "x");
    mb_input(s.model, NULL, "W");
    (void)mb_matrix(s.model, "W", 10, 20, 1);
    (void)mb_matrix(s.model, "V", 10, 20, 2);
    s.relu = mb_node(s.model, NULL, "Relu", "x", "a");
    s.matmul = mb_node(s.model, NULL, "MatMul", "a W", "b");
    s.constant =
        mb_constant(s.model, NULL, "k", mb_tensor(s.model, "", VQC_DTYPE_FLOAT, dims, 1, NULL));
    (void)mb_node(s.model, NULL, "Add", "b k", "c");
    node = mb_node(s.model, NULL, "If", "cond", "y");
    body = mb_body(s.model, node, "then_branch");
    s.inner = mb_node(s.model, body, "MatMul", "c W", "t");
    mb_output(s.model, body, "t");
    mb_output(s.model, NULL, "y");
    node = mb_free_node(s.model, "Constant", "", "fk");
    cr_assert(vqc_node_add_tensor(s.model->arena, node, "value",
                                  mb_tensor(s.model, "", VQC_DTYPE_FLOAT, dims, 1, NULL)));
    mb_function_add(s.model, function, node);
    mb_function_add(s.model, function, mb_free_node(s.model, "Mul", "x fk", "y"));
    s.graph = mb_index(s.model);
    s.top = s.graph->scopes[0];
    s.branch = s.graph->scopes[1];
    s.function = s.graph->scopes[2];
    return s;
}

static void end(sample *s)
{
    vqc_graph_destroy(&s->graph);
    vqc_model_destroy(&s->model);
}

static vqc_patch *new_patch(const sample *s)
{
    vqc_patch *patch = vqc_patch_create(s->graph);
    cr_assert_not_null(patch);
    cr_assert_eq(vqc_patch_added_bytes(patch), 0);
    cr_assert_eq(vqc_patch_removed_bytes(patch), 0);
    return patch;
}

static Onnx__TensorProto *bytes_tensor(const sample *s, const char *name, int64_t n)
{
    return mb_tensor(s->model, name, VQC_DTYPE_UINT8, &n, 1, NULL);
}

Test(patch, a_constant_is_an_initializer_or_a_node)
{
    static const int64_t sizes[] = {0, 1, 60, 120, 128, 200, 16300, 16400, 70000};
    for (int64_t ir = 3; ir <= 8; ir += 5) {
        sample s = make_sample(ir);
        vqc_scope *scopes[] = {s.top, s.branch, s.function};
        for (size_t i = 0; i < 3 * sizeof sizes / sizeof sizes[0]; i++) {
            vqc_scope *scope = scopes[i % 3];
            size_t nodes;
            size_t initializers = scope->graph == NULL ? 0 : scope->graph->n_initializer;
            bool as_node = ir < 4 || scope->graph == NULL;
            vqc_patch *patch = new_patch(&s);
            vqc_error error;
            char name[16];
            Onnx__NodeProto **list;
            (void)vqc_scope_nodes(scope, &nodes);
            (void)snprintf(name, sizeof name, "new%zu", i);
            cr_assert_eq(
                vqc_patch_add_constant(patch, scope, bytes_tensor(&s, name, sizes[i / 3]), &error),
                VQC_OK);
            apply_and_weigh(s.model, patch, scope);
            list = vqc_scope_nodes(scope, &initializers);
            cr_assert_eq(initializers, nodes + (as_node ? 1 : 0));
            if (as_node) {
                const Onnx__NodeProto *node = list[i / 3]; /* in front, behind the earlier ones */
                cr_assert_str_eq(node->op_type, "Constant");
                cr_assert_str_eq(node->output[0], name);
                cr_assert_str_eq(vqc_node_attr(node, "value")->t->name, "");
            } else {
                const Onnx__GraphProto *graph = scope->graph;
                cr_assert_str_eq(graph->initializer[graph->n_initializer - 1]->name, name);
            }
        }
        end(&s);
    }
}

Test(patch, nodes_in_front_keep_their_order)
{
    sample s = make_sample(8);
    vqc_error error;
    size_t count;
    Onnx__NodeProto **nodes;
    Onnx__NodeProto *made[4];

    for (int i = 0; i < 4; i += 2) { /* two patches of two nodes */
        vqc_patch *patch = new_patch(&s);
        for (int k = i; k < i + 2; k++) {
            made[k] = mb_free_node(s.model, "Relu", "x", k == 0 ? "p0" : "p");
            cr_assert_eq(vqc_patch_prepend_node(patch, s.top, made[k], &error), VQC_OK);
        }
        apply_and_weigh(s.model, patch, s.top);
    }
    nodes = vqc_scope_nodes(s.top, &count);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(nodes[i], made[i]);
    }
    cr_assert_eq(nodes[4], s.relu);
    end(&s);
}

Test(patch, replacing_inserting_removing)
{
    sample s = make_sample(8);
    Onnx__NodeProto *three[3];
    Onnx__NodeProto **nodes;
    vqc_patch *patch;
    vqc_error error;
    size_t count;

    for (int i = 0; i < 3; i++) {
        three[i] = mb_free_node(s.model, "Relu", "x", "r");
    }
    patch = new_patch(&s);
    cr_assert_eq(vqc_patch_replace_node(patch, s.top, s.matmul, three, 3, &error), VQC_OK);
    apply_and_weigh(s.model, patch, s.top);
    nodes = vqc_scope_nodes(s.top, &count);
    cr_assert_eq(count, 7);
    cr_assert(nodes[0] == s.relu && nodes[1] == three[0] && nodes[3] == three[2] &&
              nodes[4] == s.constant);

    patch = new_patch(&s);
    cr_assert_eq(vqc_patch_replace_node(patch, s.top, three[1], NULL, 0, &error), VQC_OK);
    apply_and_weigh(s.model, patch, s.top);
    nodes = vqc_scope_nodes(s.top, &count);
    cr_assert(count == 6 && nodes[1] == three[0] && nodes[2] == three[2]);

    patch = new_patch(&s);
    cr_assert_eq(vqc_patch_insert_before(patch, s.branch, s.inner, three, 2, &error), VQC_OK);
    apply_and_weigh(s.model, patch, s.branch);
    nodes = vqc_scope_nodes(s.branch, &count);
    cr_assert(count == 3 && nodes[0] == three[0] && nodes[1] == three[1] && nodes[2] == s.inner);
    end(&s);
}

Test(patch, removing_constants)
{
    static const char *const names[] = {"V", "W", "k"};
    for (int64_t ir = 3; ir <= 8; ir += 5) {
        sample s = make_sample(ir);
        for (size_t i = 0; i < 3; i++) {
            vqc_patch *patch = new_patch(&s);
            vqc_error error;
            cr_assert_eq(vqc_patch_remove_constant(patch, mb_value(s.graph, names[i]), &error),
                         VQC_OK);
            apply_and_weigh(s.model, patch, s.top);
        }
        cr_assert_eq(s.top->graph->n_initializer, 0);
        cr_assert_eq(s.top->graph->n_input, 1, "W is no longer an input");
        cr_assert_str_eq(s.top->graph->input[0]->name, "x");
        cr_assert_eq(s.top->graph->n_node, 4, "the Constant node is gone");
        end(&s);
    }
}

Test(patch, removing_a_constant_of_a_function)
{
    sample s = make_sample(8);
    vqc_patch *patch = new_patch(&s);
    vqc_error error;

    cr_assert_eq(
        vqc_patch_remove_constant(patch, vqc_scope_define(s.graph, s.function, "fk"), &error),
        VQC_OK);
    apply_and_weigh(s.model, patch, s.function);
    cr_assert_eq(s.function->function->n_node, 1);
    end(&s);
}

Test(patch, removing_a_front_node_moves_the_front)
{
    sample s = make_sample(8);
    Onnx__NodeProto *front = mb_free_node(s.model, "Relu", "x", "f");
    Onnx__NodeProto *second = mb_free_node(s.model, "Relu", "x", "g");
    vqc_patch *patch = new_patch(&s);
    vqc_error error;
    size_t count;

    cr_assert_eq(vqc_patch_prepend_node(patch, s.top, front, &error), VQC_OK);
    apply_and_weigh(s.model, patch, s.top);
    patch = new_patch(&s);
    cr_assert_eq(vqc_patch_replace_node(patch, s.top, front, NULL, 0, &error), VQC_OK);
    apply_and_weigh(s.model, patch, s.top);
    patch = new_patch(&s);
    cr_assert_eq(vqc_patch_prepend_node(patch, s.top, second, &error), VQC_OK);
    apply_and_weigh(s.model, patch, s.top);
    cr_assert_eq(vqc_scope_nodes(s.top, &count)[0], second);
    end(&s);
}

static const char *shared(vqc_patch *patch, vqc_scope *scope, float value)
{
    const char *name = vqc_patch_shared_constant(patch, scope, "c", VQC_DTYPE_FLOAT, NULL, 0,
                                                 &value, sizeof value);
    cr_assert_not_null(name);
    return name;
}

Test(patch, equal_constants_are_shared)
{
    sample s = make_sample(8);
    const int64_t one[1] = {1};
    const int64_t pair[2] = {1, 1};
    const float value = 0.5f;
    vqc_patch *patch = new_patch(&s);
    const char *first = shared(patch, s.top, value);
    size_t bytes = vqc_patch_added_bytes(patch);
    const char *rank1;
    const char *rank2;
    const char *bits;

    cr_assert_eq(shared(patch, s.top, value), first);
    cr_assert_eq(shared(patch, s.branch, value), first, "seen from inside a body");
    cr_assert_eq(vqc_patch_added_bytes(patch), bytes, "the second one is free");
    rank1 = vqc_patch_shared_constant(patch, s.top, "c", VQC_DTYPE_FLOAT, one, 1, &value, 4);
    rank2 = vqc_patch_shared_constant(patch, s.top, "c", VQC_DTYPE_FLOAT, pair, 2, &value, 4);
    bits = vqc_patch_shared_constant(patch, s.top, "c", VQC_DTYPE_INT32, NULL, 0, &value, 4);
    cr_assert(rank1 != NULL && rank2 != NULL && bits != NULL);
    cr_assert_str_neq(rank1, first);
    cr_assert_str_neq(rank2, first);
    cr_assert_str_neq(rank2, rank1);
    cr_assert_str_neq(bits, first);
    cr_assert_str_neq(shared(patch, s.top, -0.5f), first);
    apply_and_weigh(s.model, patch, s.top);
    patch = new_patch(&s);
    cr_assert_eq(shared(patch, s.top, value), first, "in the model now");
    cr_assert_eq(vqc_patch_added_bytes(patch), 0);
    end(&s);
}

Test(patch, a_shared_constant_is_used_only_where_it_can_be_seen)
{
    sample s = make_sample(8);
    vqc_patch *patch = new_patch(&s);
    const char *inside = shared(patch, s.branch, 2.0f);
    const char *local = shared(patch, s.function, 2.0f);
    const char *top;

    cr_assert_str_neq(local, inside, "a function sees nothing else");
    top = shared(patch, s.top, 2.0f);
    cr_assert_str_neq(top, inside, "the main graph does not see into its bodies");
    cr_assert_str_neq(top, local);
    cr_assert_eq(s.branch->graph->n_initializer, 0, "nothing happens before apply");
    cr_assert_eq(vqc_patch_apply(patch, NULL), VQC_OK);
    cr_assert_eq(s.branch->graph->n_initializer, 1);
    cr_assert_str_eq(s.branch->graph->initializer[0]->name, inside);
    cr_assert_str_eq(s.function->function->node[0]->output[0], local);
    cr_assert_str_eq(s.top->graph->initializer[2]->name, top);
    end(&s);
}

Test(patch, dropping_gives_names_and_constants_back)
{
    sample s = make_sample(8);
    size_t size;
    const void *before = mb_serialize(s.model, &size);
    vqc_patch *patch = new_patch(&s);
    char *kept = vqc_arena_strdup(s.model->arena, shared(patch, s.top, 3.0f));
    char *fresh = vqc_graph_fresh_name(s.graph, "t");
    size_t added = vqc_patch_added_bytes(patch);
    vqc_error error;
    size_t size_after;
    const void *after;

    cr_assert_eq(vqc_patch_replace_node(patch, s.top, s.matmul, NULL, 0, &error), VQC_OK);
    vqc_patch_need_ir(patch, 10);
    vqc_patch_drop(patch);
    after = mb_serialize(s.model, &size_after);
    cr_assert_eq(size, size_after);
    cr_assert_arr_eq(before, after, size);
    patch = new_patch(&s);
    cr_assert_str_eq(shared(patch, s.top, 3.0f), kept, "made anew, under the same name");
    cr_assert_eq(vqc_patch_added_bytes(patch), added);
    cr_assert_str_eq(vqc_graph_fresh_name(s.graph, "t"), fresh);
    apply_and_weigh(s.model, patch, s.top);
    cr_assert_eq(s.model->proto->ir_version, 8);
    end(&s);
}

Test(patch, versions)
{
    sample s = make_sample(8);
    vqc_patch *patch = new_patch(&s);
    vqc_error error;

    cr_assert_eq(vqc_patch_need_opset(patch, "com.microsoft", 1, &error), VQC_OK);
    cr_assert_eq(vqc_patch_need_opset(patch, "", 11, &error), VQC_OK);
    vqc_patch_need_ir(patch, 10);
    vqc_patch_need_ir(patch, 7);
    cr_assert_eq(vqc_model_opset(s.model->proto, "com.microsoft"), 0);
    cr_assert_eq(vqc_patch_apply(patch, &error), VQC_OK);
    cr_assert_eq(vqc_model_opset(s.model->proto, "com.microsoft"), 1);
    cr_assert_eq(vqc_model_opset(s.model->proto, ""), 13, "never lowered");
    cr_assert_eq(s.model->proto->ir_version, 10);
    cr_assert_eq(s.top->graph->n_input, 2, "an overridable input of IR 8 stays one");
    end(&s);
}

Test(patch, leaving_ir_3_takes_initializers_out_of_the_inputs)
{
    sample s = make_sample(3);
    vqc_patch *patch = new_patch(&s);

    vqc_patch_need_ir(patch, 10);
    cr_assert_eq(vqc_patch_apply(patch, NULL), VQC_OK);
    cr_assert_eq(s.model->proto->ir_version, 10);
    cr_assert_eq(s.top->graph->n_input, 1);
    cr_assert_str_eq(s.top->graph->input[0]->name, "x");
    cr_assert_eq(s.top->graph->n_initializer, 2);
    end(&s);
}

Test(patch, many_patches_over_many_nodes)
{
    enum { NODES = 4000, STEP = 7 };
    sample s = {.model = mb_model(13, 8)};
    char in[24];
    char out[24];
    size_t count;
    size_t front = 0;
    size_t at;
    Onnx__NodeProto **nodes;
    vqc_error error;

    for (int i = 0; i < NODES; i++) {
        (void)snprintf(in, sizeof in, "v%d", i);
        (void)snprintf(out, sizeof out, "v%d", i + 1);
        (void)mb_node(s.model, NULL, "Relu", in, out);
    }
    s.graph = mb_index(s.model);
    s.top = s.graph->scopes[0];
    for (int i = 0; i < NODES; i += STEP) {
        vqc_patch *patch = new_patch(&s);
        vqc_value *value;
        Onnx__NodeProto *two[2];
        (void)snprintf(in, sizeof in, "v%d", i);
        (void)snprintf(out, sizeof out, "v%d", i + 1);
        value = mb_value(s.graph, out);
        two[0] = mb_free_node(s.model, "Abs", in, "between");
        two[1] = mb_free_node(s.model, "Neg", "between", out);
        cr_assert_eq(vqc_patch_prepend_node(patch, s.top,
                                            mb_free_node(s.model, "Sin", "x", "front"), &error),
                     VQC_OK);
        cr_assert_eq(vqc_patch_replace_node(patch, s.top, value->producer, two, 2, &error), VQC_OK);
        cr_assert_eq(vqc_patch_apply(patch, &error), VQC_OK);
        front++;
    }
    nodes = vqc_scope_nodes(s.top, &count);
    cr_assert_eq(count, NODES + 2 * front);
    for (at = 0; at < front; at++) {
        cr_assert_str_eq(nodes[at]->op_type, "Sin");
    }
    for (int i = 0; i < NODES; i++) {
        if (i % STEP == 0) {
            cr_assert_str_eq(nodes[at++]->op_type, "Abs");
        }
        cr_assert_str_eq(nodes[at]->op_type, i % STEP == 0 ? "Neg" : "Relu");
        (void)snprintf(out, sizeof out, "v%d", i + 1);
        cr_assert_str_eq(nodes[at++]->output[0], out);
    }
    end(&s);
}

/* Any mixture of edits costs what it says. */
Test(patch, random_edits_cost_what_they_say)
{
    mb_random random = {20240607};

    for (int round = 0; round < 200; round++) {
        sample s = make_sample(round % 2 == 0 ? 3 : 8);
        size_t node_count = s.top->graph->n_node;
        Onnx__NodeProto **nodes =
            vqc_arena_calloc(s.model->arena, node_count, sizeof(Onnx__NodeProto *));
        vqc_patch *patch = new_patch(&s);
        vqc_error error;
        char name[24];

        memcpy(nodes, s.top->graph->node, node_count * sizeof *nodes);
        for (size_t n = 0; n < node_count; n++) {
            size_t choice = mb_random_below(&random, 6);
            Onnx__NodeProto *fresh[3];
            size_t made = mb_random_below(&random, 4);
            for (size_t i = 0; i < made; i++) {
                fresh[i] = mb_free_node(s.model, "LeakyRelu", "x", "someOutput");
                cr_assert(vqc_node_add_float(s.model->arena, fresh[i], "alpha", 0.1f));
            }
            (void)snprintf(name, sizeof name, "n%zu", n);
            if (choice == 0) {
                (void)vqc_patch_replace_node(patch, s.top, nodes[n], fresh, made, &error);
            } else if (choice == 1) {
                (void)vqc_patch_insert_before(patch, s.top, nodes[n], fresh, made, &error);
            } else if (choice == 2) {
                (void)vqc_patch_add_constant(
                    patch, s.top, bytes_tensor(&s, name, (int64_t)mb_random_below(&random, 20000)),
                    &error);
            } else if (choice == 3) {
                (void)shared(patch, s.top, (float)mb_random_below(&random, 3));
            } else if (choice == 4 && made > 0) {
                (void)vqc_patch_prepend_node(patch, s.top, fresh[0], &error);
            }
        }
        if (mb_random_below(&random, 2) == 0) {
            (void)vqc_patch_remove_constant(patch, mb_value(s.graph, "W"), &error);
        }
        if (mb_random_below(&random, 2) == 0) {
            (void)vqc_patch_remove_constant(patch, mb_value(s.graph, "V"), &error);
        }
        apply_and_weigh(s.model, patch, s.top);
        end(&s);
    }
}
