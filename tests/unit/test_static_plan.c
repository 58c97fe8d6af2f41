/* Static quantization: which nodes compute with integers, and the scales between them. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/static/static_ranges.h"
#include "tests/unit/static_case.h"

static const int64_t IMAGE[] = {1, 4, 8, 8};
static const int64_t ROWS[] = {3, 16};

/* x -> Conv -> Relu -> Conv -> y */
static vqc_model *conv_relu_conv(int64_t opset)
{
    vqc_model *model = mb_model(opset, 8);

    mb_input(model, NULL, "x");
    STATIC_WEIGHT(model, "w1", 1, 0.2f, 6, 4, 3, 3);
    STATIC_WEIGHT(model, "b1", 2, 0.2f, 6);
    STATIC_WEIGHT(model, "w2", 3, 0.2f, 5, 6, 1, 1);
    mb_node(model, NULL, "Conv", "x w1 b1", "c");
    mb_node(model, NULL, "Relu", "c", "r");
    mb_node(model, NULL, "Conv", "r w2", "y");
    mb_output(model, NULL, "y");
    return model;
}

static void quantized(static_case *c, const char *output, bool wanted)
{
    cr_assert_eq(static_case_unit(c, output)->quantized, wanted, "%s should %sbe quantized", output,
                 wanted ? "" : "not ");
}

Test(static_plan, conv_relu_conv)
{
    static_case c = static_case_make(conv_relu_conv(17), NULL, IMAGE, 4);
    vqc_unit *first = static_case_unit(&c, "c");
    size_t done;
    size_t possible;

    quantized(&c, "c", true);
    quantized(&c, "y", true);
    quantized(&c, "r", false);
    cr_assert_eq(static_case_unit(&c, "r")->kind, VQC_UNIT_CLAMP);
    cr_assert_eq(&c.fixed.units[first->clamp], static_case_unit(&c, "r"));
    cr_assert(static_case_tensor(&c, "x")->quantized);
    cr_assert_not(static_case_tensor(&c, "c")->quantized, "the Relu is a part of the range");
    cr_assert(static_case_tensor(&c, "r")->quantized);
    cr_assert(static_case_tensor(&c, "y")->quantized);
    cr_assert(static_case_tensor(&c, "y")->is_output);
    cr_assert_eq(static_case_tensor(&c, "r")->range.min, 0.0f);
    cr_assert_eq(static_case_tensor(&c, "r")->zero_point, 0);
    vqc_static_plan_count(&c.fixed, &done, &possible);
    cr_assert(done == 2 && possible == 2);
    static_case_end(&c);
}

Test(static_plan, relu_with_other_readers_stays)
{
    vqc_model *model = conv_relu_conv(17);

    mb_output(model, NULL, "c"); /* what is before the Relu is seen outside */
    static_case c = static_case_make(model, NULL, IMAGE, 4);
    cr_assert_eq(static_case_unit(&c, "c")->clamp, VQC_NO_TENSOR);
    cr_assert(static_case_tensor(&c, "c")->quantized);
    static_case_end(&c);
}

/* x -> Conv a -> Conv b; s = a + b -> last Conv, or s is the output */
static static_case residual(bool last, vqc_static_mode mode)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    STATIC_WEIGHT(model, "w1", 1, 0.2f, 4, 4, 3, 3);
    STATIC_WEIGHT(model, "w2", 2, 0.2f, 4, 4, 1, 1);
    mb_node(model, NULL, "Conv", "x w1", "a");
    cr_assert(vqc_node_add_ints(model->arena, model->proto->graph->node[0], "pads",
                                (const int64_t[]){1, 1, 1, 1}, 4));
    mb_node(model, NULL, "Conv", "a w2", "b");
    mb_node(model, NULL, "Add", "a b", "s");
    if (last) {
        STATIC_WEIGHT(model, "w3", 3, 0.2f, 4, 4, 1, 1);
        mb_node(model, NULL, "Conv", "s w3", "y");
    }
    mb_output(model, NULL, last ? "y" : "s");
    static_case c = static_case_make(model, NULL, IMAGE, 4);
    c.fixed.mode = mode;
    vqc_static_plan_decide(&c.fixed);
    return c;
}

Test(static_plan, residual_add)
{
    static_case c = residual(true, VQC_STATIC_CHAINS);
    quantized(&c, "s", true);
    static_case_end(&c);

    c = residual(true, VQC_STATIC_LINEAR);
    quantized(&c, "s", false);
    cr_assert(static_case_tensor(&c, "s")->quantized, "the last Conv reads it");
    static_case_end(&c);

    c = residual(false, VQC_STATIC_CHAINS);
    quantized(&c, "s", false); /* nobody wants its codes */
    quantized(&c, "b", true);
    static_case_end(&c);
}

Test(static_plan, add_of_a_float_stays_float)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    STATIC_WEIGHT(model, "w1", 1, 0.2f, 4, 4, 1, 1);
    STATIC_WEIGHT(model, "w2", 2, 0.2f, 4, 4, 1, 1);
    mb_node(model, NULL, "Conv", "x w1", "a");
    mb_node(model, NULL, "Tanh", "a", "t"); /* no integer form */
    mb_node(model, NULL, "Add", "a t", "s");
    mb_node(model, NULL, "Conv", "s w2", "y");
    mb_output(model, NULL, "y");
    static_case c = static_case_make(model, NULL, IMAGE, 4);
    quantized(&c, "s", false);
    quantized(&c, "y", true);
    cr_assert_not(static_case_tensor(&c, "t")->quantized);
    static_case_end(&c);
}

/* Two Convs into a Concat into a Conv; the second has weights `times` as large. */
static static_case concat(float times)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    STATIC_WEIGHT(model, "w1", 1, 0.2f, 4, 4, 1, 1);
    STATIC_WEIGHT(model, "w2", 1, 0.2f * times, 4, 4, 1, 1);
    STATIC_WEIGHT(model, "w3", 3, 0.2f, 2, 8, 1, 1);
    mb_node(model, NULL, "Conv", "x w1", "a");
    mb_node(model, NULL, "Conv", "x w2", "b");
    cr_assert(
        vqc_node_add_int(model->arena, mb_node(model, NULL, "Concat", "a b", "s"), "axis", 1));
    mb_node(model, NULL, "Conv", "s w3", "y");
    mb_output(model, NULL, "y");
    return static_case_make(model, NULL, IMAGE, 4);
}

Test(static_plan, concat)
{
    static_case c = concat(2.0f);
    quantized(&c, "s", true);
    cr_assert_eq(static_case_tensor(&c, "a")->scale, static_case_tensor(&c, "b")->scale);
    cr_assert_eq(static_case_tensor(&c, "a")->scale, static_case_tensor(&c, "s")->scale);
    cr_assert_eq(static_case_tensor(&c, "a")->zero_point, static_case_tensor(&c, "s")->zero_point);
    static_case_end(&c);

    c = concat(50.0f); /* the first would lose nearly 6 bits */
    quantized(&c, "s", false);
    cr_assert_lt(static_case_tensor(&c, "a")->scale, static_case_tensor(&c, "b")->scale / 20.0f);
    static_case_end(&c);
}

Test(static_plan, what_moves_values_shares_scales)
{
    vqc_model *model = mb_model(17, 8);
    Onnx__NodeProto *pool;
    const int64_t two = 2;
    const int64_t shape[] = {1, -1};

    mb_input(model, NULL, "x");
    STATIC_WEIGHT(model, "w1", 1, 0.2f, 4, 4, 1, 1);
    STATIC_WEIGHT(model, "w2", 3, 0.2f, 64, 3);
    mb_initializer(model, NULL, mb_tensor(model, "shape", VQC_DTYPE_INT64, &two, 1, shape));
    mb_node(model, NULL, "Conv", "x w1", "a");
    pool = mb_node(model, NULL, "MaxPool", "a", "p");
    cr_assert(vqc_node_add_ints(model->arena, pool, "kernel_shape", (const int64_t[]){2, 2}, 2));
    cr_assert(vqc_node_add_ints(model->arena, pool, "strides", (const int64_t[]){2, 2}, 2));
    mb_node(model, NULL, "Reshape", "p shape", "f");
    mb_node(model, NULL, "MatMul", "f w2", "y");
    mb_output(model, NULL, "y");
    static_case c = static_case_make(model, NULL, IMAGE, 4);
    quantized(&c, "p", true);
    quantized(&c, "f", true);
    for (size_t i = 0; i < 3; i++) {
        const char *names[] = {"a", "p", "f"};
        cr_assert_eq(static_case_tensor(&c, names[i])->root, static_case_tensor(&c, "a")->root);
        cr_assert_eq(static_case_tensor(&c, names[i])->scale, static_case_tensor(&c, "a")->scale);
    }
    static_case_end(&c);
}

Test(static_plan, matmul_may_give_floats)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    STATIC_WEIGHT(model, "w1", 1, 0.2f, 16, 8);
    STATIC_WEIGHT(model, "w2", 2, 0.2f, 8, 4);
    mb_node(model, NULL, "MatMul", "x w1", "a");
    mb_node(model, NULL, "Relu", "a", "r");
    mb_node(model, NULL, "MatMul", "r w2", "y");
    mb_output(model, NULL, "y");
    static_case c = static_case_make(model, NULL, ROWS, 2);
    cr_assert(static_case_unit(&c, "a")->quantized && static_case_unit(&c, "a")->quantized_output);
    cr_assert(static_case_unit(&c, "y")->quantized);
    cr_assert_not(static_case_unit(&c, "y")->quantized_output);
    cr_assert_not(static_case_tensor(&c, "y")->quantized);
    static_case_end(&c);
}

static vqc_match match_op(vqc_recipe *recipe, const char *op)
{
    vqc_match match = {.min_elements = -1, .max_elements = -1, .rank = -1, .op_count = 1};

    match.ops = vqc_arena_calloc(recipe->arena, 1, sizeof *match.ops);
    match.ops[0] = vqc_arena_strdup(recipe->arena, op);
    return match;
}

Test(static_plan, excluded_nodes)
{
    vqc_recipe *recipe = static_case_recipe();
    vqc_match match = match_op(recipe, "Conv");
    char *glob = (char *)"y";

    match.names = &glob;
    match.name_count = 1;
    vqc_model *model = conv_relu_conv(17);
    model->proto->graph->node[2]->name = (char *)"y";
    recipe->fixed.exclude = &match;
    recipe->fixed.exclude_count = 1;
    static_case c = static_case_make(model, recipe, IMAGE, 4);
    quantized(&c, "c", true);
    quantized(&c, "y", false);
    cr_assert(static_case_unit(&c, "y")->excluded);
    static_case_end(&c);
}

Test(static_plan, in_float_and_back)
{
    static_case c = static_case_make(conv_relu_conv(17), NULL, IMAGE, 4);
    size_t done;
    size_t possible;

    static_case_unit(&c, "c")->in_float = true;
    vqc_static_plan_decide(&c.fixed);
    quantized(&c, "c", false);
    cr_assert_not(static_case_tensor(&c, "x")->quantized);
    cr_assert(static_case_tensor(&c, "r")->quantized, "the second Conv reads it");
    cr_assert_not(vqc_tensor_comes_quantized(&c.fixed, vqc_static_tensor(&c.fixed, "r")));
    vqc_static_plan_count(&c.fixed, &done, &possible);
    cr_assert(done == 1 && possible == 2);
    static_case_unit(&c, "c")->in_float = false;
    vqc_static_plan_decide(&c.fixed);
    quantized(&c, "c", true);
    static_case_end(&c);
}

Test(static_plan, weights_that_cannot_be_integers_stay)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    STATIC_WEIGHT(model, "w1", 1, 0.2f, 16, 16);
    STATIC_WEIGHT(model, "w2", 2, 0.2f, 16, 4);
    STATIC_WEIGHT(model, "w3", 3, 0.2f, 16, 4);
    mb_node(model, NULL, "MatMul", "x w1", "a"); /* read twice */
    mb_node(model, NULL, "MatMul", "a w1", "b");
    cr_assert(
        vqc_node_add_float(model->arena, mb_node(model, NULL, "Gemm", "b w2", "d"), "alpha", 0.5f));
    mb_node(model, NULL, "MatMul", "b w3", "e");
    mb_node(model, NULL, "Add", "d e", "y");
    mb_output(model, NULL, "y");
    static_case c = static_case_make(model, NULL, ROWS, 2);
    quantized(&c, "a", false);
    quantized(&c, "b", false);
    quantized(&c, "d", false);
    quantized(&c, "e", true);
    static_case_end(&c);
}

/* ---- ranges ---- */

static void check_codes(static_case *c, const char *name, float levels, float lo)
{
    const vqc_tensor *t = static_case_tensor(c, name);
    float room = t->bits == 16 ? 2.0f : 1.0f; /* 16-bit ranges reach twice as far */
    float min = room * fminf(t->stats->all.min, 0.0f);
    float max = room * fmaxf(t->stats->all.max, 0.0f);
    float scale = (max - min) / levels;

    cr_assert_float_eq(t->scale, scale, 1e-6f * scale, "%s: %g, %g", name, (double)t->scale,
                       (double)scale);
    cr_assert_eq(t->zero_point, (int32_t)rintf(lo - min / t->scale), "%s", name);
}

Test(static_ranges, types)
{
    static const struct {
        vqc_activation_type type;
        float levels, lo;
        int bits;
        bool is_signed;
    } rows[] = {{VQC_ACTIVATION_UINT8, 255.0f, 0.0f, 8, false},
                {VQC_ACTIVATION_INT8, 255.0f, -128.0f, 8, true},
                {VQC_ACTIVATION_UINT16, 65535.0f, 0.0f, 16, false},
                {VQC_ACTIVATION_INT16, 65535.0f, -32768.0f, 16, true}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        vqc_recipe *recipe = static_case_recipe();
        recipe->fixed.type = rows[i].type;
        static_case c = static_case_make(conv_relu_conv(21), recipe, IMAGE, 4);
        for (size_t n = 0; n < 3; n++) {
            const char *names[] = {"x", "r", "y"};
            check_codes(&c, names[n], rows[i].levels, rows[i].lo);
            cr_assert_eq(static_case_tensor(&c, names[n])->bits, rows[i].bits);
            cr_assert_eq(static_case_tensor(&c, names[n])->is_signed, rows[i].is_signed);
        }
        static_case_end(&c);
    }
}

Test(static_ranges, symmetric)
{
    vqc_recipe *recipe = static_case_recipe();

    recipe->fixed.symmetric = true;
    static_case c = static_case_make(conv_relu_conv(17), recipe, IMAGE, 4);
    const vqc_tensor *x = static_case_tensor(&c, "x");
    float most = fmaxf(-x->stats->all.min, x->stats->all.max);
    cr_assert_eq(x->zero_point, 128);
    cr_assert_float_eq(x->scale, most / 127.0f, 1e-6f * most);
    static_case_end(&c);

    recipe = static_case_recipe();
    recipe->fixed.symmetric = true;
    recipe->fixed.type = VQC_ACTIVATION_INT8;
    c = static_case_make(conv_relu_conv(17), recipe, IMAGE, 4);
    cr_assert_eq(static_case_tensor(&c, "x")->zero_point, 0);
    static_case_end(&c);
}

Test(static_ranges, wide_tensors)
{
    static_case c = static_case_make(conv_relu_conv(17), NULL, IMAGE, 4);

    static_case_tensor(&c, "r")->wide = true;
    vqc_static_plan_decide(&c.fixed);
    cr_assert_eq(static_case_tensor(&c, "r")->bits, 16);
    cr_assert_eq(static_case_tensor(&c, "x")->bits, 8);
    check_codes(&c, "r", 65535.0f, 0.0f);
    static_case_end(&c);
}

Test(static_ranges, nothing_but_zeros)
{
    vqc_model *model = conv_relu_conv(17);
    Onnx__TensorProto *w = model->proto->graph->initializer[0];
    Onnx__TensorProto *b = model->proto->graph->initializer[1];

    memset(w->raw_data.data, 0, w->raw_data.len);
    memset(b->raw_data.data, 0, b->raw_data.len);
    static_case c = static_case_make(model, NULL, IMAGE, 4);
    const vqc_tensor *r = static_case_tensor(&c, "r");
    cr_assert(r->quantized && r->scale > 0.0f && isfinite(r->scale));
    cr_assert_eq(r->zero_point, 0);
    static_case_end(&c);
}
