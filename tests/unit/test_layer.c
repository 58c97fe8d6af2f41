/* Which constants are weights, and along which axes. */
#include <criterion/criterion.h>

#include "core/layer.h"
#include "tests/unit/small_model.h"

typedef struct found {
    vqc_model *model;
    vqc_graph *graph;
    vqc_arena *arena;
    vqc_layer *layers;
    size_t count;
} found;

static found find(vqc_model *model)
{
    found self = {.model = model, .arena = vqc_arena_create()};
    vqc_error error = {0};

    cr_assert_eq(vqc_graph_create(model, &self.graph, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(vqc_layers_find(self.graph, self.arena, &self.layers, &self.count, &error), VQC_OK,
                 "%s", error.message);
    return self;
}

static void drop(found *self)
{
    vqc_arena_destroy(&self->arena);
    vqc_graph_destroy(&self->graph);
    vqc_model_destroy(&self->model);
}

static void expect(const vqc_layer *layer, const char *name, vqc_layer_role role, int channel,
                   int reduction)
{
    cr_assert_str_eq(layer->value->name, name);
    cr_expect_eq(layer->role, role, "%s: role %s", name, vqc_layer_role_name(layer->role));
    cr_expect_eq(layer->channel_axis, channel, "%s: channel %d", name, layer->channel_axis);
    cr_expect_eq(layer->reduction_axis, reduction, "%s: reduction %d", name, layer->reduction_axis);
    cr_expect_eq(layer->outer * layer->channels * layer->inner, layer->elements);
}

Test(layer, roles_and_axes)
{
    vqc_model *model = small_model(17, 8);
    found self;

    SMALL_TENSOR(model, "unused", VQC_DTYPE_FLOAT, NULL, 4, 4);
    SMALL_TENSOR(model, "wide", VQC_DTYPE_FLOAT, NULL, 10, 64);
    SMALL_TENSOR(model, "narrow", VQC_DTYPE_FLOAT, NULL, 10, 8);
    SMALL_TENSOR(model, "conv", VQC_DTYPE_FLOAT, NULL, 6, 3, 5, 5);
    SMALL_TENSOR(model, "bias", VQC_DTYPE_FLOAT, NULL, 6);
    SMALL_TENSOR(model, "convt", VQC_DTYPE_FLOAT, NULL, 6, 3, 2, 2);
    SMALL_TENSOR(model, "w", VQC_DTYPE_FLOAT, NULL, 2, 64, 12);
    SMALL_TENSOR(model, "gamma", VQC_DTYPE_FLOAT, NULL, 8);
    SMALL_TENSOR(model, "scale", VQC_DTYPE_FLOAT, NULL, 8);
    SMALL_TENSOR(model, "table", VQC_DTYPE_FLOAT, NULL, 8, 8);
    SMALL_TENSOR(model, "vector", VQC_DTYPE_FLOAT, NULL, 1, 8, 1);
    SMALL_TENSOR(model, "ids", VQC_DTYPE_INT64, NULL, 3);
    SMALL_TENSOR(model, "attention", VQC_DTYPE_FLOAT16, NULL, 16, 48);
    small_interface(model, true, "x");
    (void)small_node(model, "", "Gather", "wide ids", "a");
    (void)small_node(model, "", "Gather", "narrow ids", "b");
    (void)small_node(model, "", "Conv", "x conv bias", "c");
    (void)small_node(model, "", "ConvTranspose", "x convt", "d");
    (void)small_node(model, "", "LSTM", "x w - -", "e");
    (void)small_node(model, "", "LayerNormalization", "x gamma", "f");
    (void)small_node(model, "", "QuantizeLinear", "x scale", "g");
    (void)small_node(model, "", "Add", "x table", "h");
    (void)small_node(model, "", "Add", "x vector", "i");
    (void)small_node(model, "com.microsoft", "Attention", "x attention", "j");
    self = find(model);
    cr_assert_eq(self.count, 11);
    expect(&self.layers[0], "wide", VQC_ROLE_WEIGHT, 0, 1);
    expect(&self.layers[1], "narrow", VQC_ROLE_WEIGHT, 1, 1);
    expect(&self.layers[2], "conv", VQC_ROLE_WEIGHT, 0, 1);
    expect(&self.layers[3], "bias", VQC_ROLE_BIAS, -1, -1);
    expect(&self.layers[4], "convt", VQC_ROLE_WEIGHT, 1, 0);
    cr_expect_eq(self.layers[4].outer, 6);
    cr_expect_eq(self.layers[4].channels, 3);
    cr_expect_eq(self.layers[4].inner, 4);
    expect(&self.layers[5], "w", VQC_ROLE_WEIGHT, 1, 2);
    cr_expect(self.layers[5].channel_joins_outer);
    expect(&self.layers[6], "gamma", VQC_ROLE_NORM, -1, -1);
    expect(&self.layers[7], "scale", VQC_ROLE_SCALE, -1, -1);
    expect(&self.layers[8], "table", VQC_ROLE_OTHER, 0, 1);
    expect(&self.layers[9], "vector", VQC_ROLE_BIAS, 0, 2);
    expect(&self.layers[10], "attention", VQC_ROLE_WEIGHT, 1, 0);
    cr_expect_str_eq(self.layers[10].op, "com.microsoft.Attention");
    drop(&self);
}

Test(layer, matmul_and_gemm)
{
    vqc_model *model = small_model(17, 8);
    Onnx__NodeProto *gemm;
    found self;

    SMALL_TENSOR(model, "b", VQC_DTYPE_FLOAT, NULL, 3, 4, 5);
    SMALL_TENSOR(model, "a", VQC_DTYPE_FLOAT, NULL, 4, 5);
    SMALL_TENSOR(model, "g", VQC_DTYPE_FLOAT, NULL, 4, 5);
    SMALL_TENSOR(model, "gt", VQC_DTYPE_FLOAT, NULL, 4, 5);
    SMALL_TENSOR(model, "v", VQC_DTYPE_FLOAT, NULL, 5);
    small_interface(model, true, "x");
    (void)small_node(model, "", "MatMul", "x b", "o1");
    (void)small_node(model, "", "MatMul", "a x", "o2");
    (void)small_node(model, "", "Gemm", "x g", "o3");
    gemm = small_node(model, "", "Gemm", "x gt", "o4");
    cr_assert(vqc_node_add_int(model->arena, gemm, "transB", 1));
    (void)small_node(model, "", "MatMul", "x v", "o5");
    self = find(model);
    cr_assert_eq(self.count, 5);
    expect(&self.layers[0], "b", VQC_ROLE_WEIGHT, 2, 1);
    expect(&self.layers[1], "a", VQC_ROLE_WEIGHT, 0, 1);
    expect(&self.layers[2], "g", VQC_ROLE_WEIGHT, 1, 0);
    expect(&self.layers[3], "gt", VQC_ROLE_WEIGHT, 0, 1);
    expect(&self.layers[4], "v", VQC_ROLE_WEIGHT, -1, -1);
    drop(&self);
}

/* Axes are those of the stored tensor even when a view lies in between; operators behind it decide.
 */
Test(layer, through_views)
{
    static const int64_t perm[] = {1, 0};
    static const int64_t shape[] = {-1, 10};
    vqc_model *model = small_model(13, 8);
    Onnx__NodeProto *transpose;
    Onnx__NodeProto *cast;
    Onnx__NodeProto *concat;
    found self;

    SMALL_TENSOR(model, "t", VQC_DTYPE_FLOAT, NULL, 20, 30);
    SMALL_TENSOR(model, "r", VQC_DTYPE_FLOAT, NULL, 16, 4, 4, 10);
    SMALL_TENSOR(model, "shape", VQC_DTYPE_INT64, shape, 2);
    SMALL_TENSOR(model, "h", VQC_DTYPE_FLOAT16, NULL, 7, 9);
    SMALL_TENSOR(model, "token", VQC_DTYPE_FLOAT, NULL, 1, 9);
    small_interface(model, true, "x");
    transpose = small_node(model, "", "Transpose", "t", "tt");
    cr_assert(vqc_node_add_ints(model->arena, transpose, "perm", perm, 2));
    (void)small_node(model, "", "MatMul", "x tt", "o1");
    (void)small_node(model, "", "Reshape", "r shape", "rr");
    (void)small_node(model, "", "MatMul", "x rr", "o2");
    cast = small_node(model, "", "Cast", "h", "hh");
    cr_assert(vqc_node_add_int(model->arena, cast, "to", VQC_DTYPE_FLOAT));
    (void)small_node(model, "", "Identity", "hh", "hi");
    (void)small_node(model, "", "MatMul", "x hi", "o3");
    concat = small_node(model, "", "Concat", "token x", "o4"); /* with an activation: no weight */
    cr_assert(vqc_node_add_int(model->arena, concat, "axis", 0));
    (void)small_node(model, "", "MatMul", "o4 hi", "o5");
    self = find(model);
    cr_assert_eq(self.count, 4);
    expect(&self.layers[0], "t", VQC_ROLE_WEIGHT, 0, 1);
    cr_expect_not(self.layers[0].direct);
    cr_expect_str_eq(self.layers[0].op, "MatMul");
    expect(&self.layers[1], "r", VQC_ROLE_WEIGHT, 3, 2);
    expect(&self.layers[2], "h", VQC_ROLE_WEIGHT, 1, 0);
    expect(&self.layers[3], "token", VQC_ROLE_OTHER, 0, 1);
    drop(&self);
}

Test(layer, ties_identity_and_outputs)
{
    vqc_model *model = small_model(17, 8);
    found self;

    SMALL_TENSOR(model, "both", VQC_DTYPE_FLOAT, NULL, 12, 80);
    SMALL_TENSOR(model, "shown", VQC_DTYPE_FLOAT, NULL, 8, 8);
    SMALL_TENSOR(model, "open", VQC_DTYPE_FLOAT, NULL, 8, 8);
    SMALL_TENSOR(model, "mixed", VQC_DTYPE_FLOAT, NULL, 8);
    SMALL_TENSOR(model, "ids", VQC_DTYPE_INT64, NULL, 3);
    small_interface(model, true, "x");
    small_interface(model, true, "open");
    small_interface(model, false, "shown");
    (void)small_node(model, "", "Identity", "both", "alias");
    (void)small_node(model, "", "Gather", "alias ids", "o1");
    (void)small_node(model, "", "Gather", "both ids", "o2");
    (void)small_node(model, "", "MatMul", "x open", "o3");
    (void)small_node(model, "", "Mul", "x mixed", "o4");
    (void)small_node(model, "", "QuantizeLinear", "x mixed", "o5");
    self = find(model);
    cr_assert_eq(self.count, 4);
    expect(&self.layers[0], "both", VQC_ROLE_WEIGHT, 0, 1);
    cr_expect_eq(self.layers[0].use_count, 2);
    cr_expect_str_eq(self.layers[0].uses[0].node->output[0], "o1");
    expect(&self.layers[1], "open", VQC_ROLE_WEIGHT, 1, 0);
    cr_expect(self.layers[1].overridable);
    expect(&self.layers[2], "mixed", VQC_ROLE_SCALE, -1, -1);
    cr_assert_str_eq(self.layers[3].value->name, "shown");
    cr_expect(self.layers[3].is_output);
    drop(&self);
}

/* In IR 3 every initializer is a graph input: nobody overrides it. */
Test(layer, old_models_list_initializers_as_inputs)
{
    vqc_model *model = small_model(9, 3);
    found self;

    SMALL_TENSOR(model, "w", VQC_DTYPE_FLOAT, NULL, 8, 8);
    small_interface(model, true, "x");
    small_interface(model, true, "w");
    (void)small_node(model, "", "MatMul", "x w", "o");
    self = find(model);
    cr_assert_eq(self.count, 1);
    cr_expect_not(self.layers[0].overridable);
    drop(&self);
}

Test(layer, einsum_axes_follow_the_equation)
{
    vqc_model *model = small_model(17, 8);
    Onnx__NodeProto *node;
    found self;

    SMALL_TENSOR(model, "w", VQC_DTYPE_FLOAT, NULL, 4, 6);
    small_interface(model, true, "x");
    node = small_node(model, "", "Einsum", "x w", "o");
    cr_assert(vqc_node_add_string(model->arena, node, "equation", "bi, oi -> bo"));
    self = find(model);
    cr_assert_eq(self.count, 1);
    expect(&self.layers[0], "w", VQC_ROLE_WEIGHT, 0, 1);
    drop(&self);
}
