/* The plan: which weights are layers, what the rules make of them, which opset they wish for. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/plan.h"
#include "tests/unit/model_builder.h"

typedef struct planned {
    vqc_model *model;
    vqc_graph *graph;
    vqc_recipe *recipe;
    vqc_arena *arena;
    vqc_plan plan;
} planned;

static planned begin(int64_t opset)
{
    planned p = {.model = mb_model(opset, 8), .arena = vqc_arena_create()};
    vqc_error error;

    cr_assert_not_null(p.arena);
    cr_assert_eq(vqc_recipe_create_default(&p.recipe, &error), VQC_OK);
    return p;
}

static void resolve(planned *p)
{
    vqc_error error = {0};

    p->graph = mb_index(p->model);
    cr_assert_eq(vqc_plan_resolve(p->graph, p->recipe, p->arena, &p->plan, &error), VQC_OK, "%s",
                 error.message);
}

static int64_t prepare(planned *p, int64_t max_opset)
{
    vqc_error error = {0};
    int64_t wanted = -1;

    cr_assert_eq(vqc_plan_prepare(&p->plan, p->recipe, max_opset, false, &wanted, &error), VQC_OK,
                 "%s", error.message);
    return wanted;
}

static void end(planned *p)
{
    vqc_graph_destroy(&p->graph);
    vqc_recipe_destroy(&p->recipe);
    vqc_arena_destroy(&p->arena);
    vqc_model_destroy(&p->model);
}

static vqc_plan_layer *layer(planned *p, const char *name)
{
    for (size_t i = 0; i < p->plan.count; i++) {
        if (strcmp(p->plan.layers[i].layer->value->name, name) == 0) {
            return &p->plan.layers[i];
        }
    }
    return NULL;
}

/* Adds an empty rule; the caller fills it. */
static vqc_layer_rule *add_rule(planned *p)
{
    vqc_layer_rule *grown =
        vqc_arena_calloc(p->recipe->arena, p->recipe->rule_count + 1, sizeof *grown);
    vqc_layer_rule *rule;

    cr_assert_not_null(grown);
    if (p->recipe->rule_count > 0) {
        memcpy(grown, p->recipe->rules, p->recipe->rule_count * sizeof *grown);
    }
    p->recipe->rules = grown;
    rule = &grown[p->recipe->rule_count++];
    rule->spec = vqc_weight_spec_default();
    rule->match.min_elements = rule->match.max_elements = -1;
    rule->match.rank = -1;
    return rule;
}

static char **one_text(planned *p, const char *text)
{
    char **list = vqc_arena_calloc(p->recipe->arena, 1, sizeof *list);
    cr_assert_not_null(list);
    list[0] = vqc_arena_strdup(p->recipe->arena, text);
    return list;
}

static void match_name(planned *p, vqc_layer_rule *rule, const char *glob)
{
    rule->match.names = one_text(p, glob);
    rule->match.name_count = 1;
}

static void match_op(planned *p, vqc_layer_rule *rule, const char *op)
{
    rule->match.ops = one_text(p, op);
    rule->match.op_count = 1;
}

static void set_bits(vqc_layer_rule *rule, int bits)
{
    rule->spec.set |= VQC_SPEC_BITS;
    rule->spec.bits = bits;
}

static void set_keep(vqc_layer_rule *rule)
{
    rule->spec.set |= VQC_SPEC_CODEC;
    (void)strcpy(rule->spec.codec, "keep");
}

/* x -> MatMul A -> Gemm(B, bias) -> MatMul C -> y; a table in an Add */
static void three_layers(planned *p)
{
    mb_input(p->model, NULL, "x");
    (void)mb_matrix(p->model, "A", 64, 64, 1);
    (void)mb_matrix(p->model, "B", 64, 40, 2);
    (void)mb_matrix(p->model, "bias", 1, 40, 3);
    (void)mb_matrix(p->model, "C", 40, 10, 4);
    (void)mb_matrix(p->model, "table", 200, 10, 5);
    (void)mb_node(p->model, NULL, "MatMul", "x A", "h1");
    (void)mb_node(p->model, NULL, "Gemm", "h1 B bias", "h2");
    (void)mb_node(p->model, NULL, "MatMul", "h2 C", "h3");
    (void)mb_node(p->model, NULL, "Add", "h3 table", "y");
    mb_output(p->model, NULL, "y");
}

Test(plan, weights_are_coded_biases_and_tables_are_left)
{
    planned p = begin(13);

    three_layers(&p);
    resolve(&p);
    cr_assert_eq(p.plan.count, 3);
    cr_assert_str_eq(p.plan.layers[0].layer->value->name, "A");
    cr_assert(layer(&p, "A")->may_code && layer(&p, "B")->may_code);
    cr_assert_null(layer(&p, "bias"));
    cr_assert_null(layer(&p, "table"));
    cr_assert_not(layer(&p, "C")->may_code);
    cr_assert_str_eq(layer(&p, "C")->reason, "fewer elements than min_elements");
    end(&p);
}

Test(plan, min_elements_is_inclusive)
{
    planned p = begin(13);

    three_layers(&p);
    p.recipe->weights.min_elements = 400;
    resolve(&p);
    cr_assert(layer(&p, "C")->may_code, "400 weights are not fewer than 400");
    end(&p);
    p = begin(13);
    three_layers(&p);
    p.recipe->weights.min_elements = 401;
    resolve(&p);
    cr_assert_not(layer(&p, "C")->may_code);
    end(&p);
}

Test(plan, later_rules_win_and_say_whether_they_matched)
{
    planned p = begin(13);
    vqc_layer_rule *rule;

    three_layers(&p);
    rule = add_rule(&p);
    match_op(&p, rule, "MatMul");
    set_bits(rule, 4);
    rule = add_rule(&p);
    match_name(&p, rule, "A");
    set_bits(rule, 2);
    rule = add_rule(&p);
    match_name(&p, rule, "nothing*");
    set_keep(rule);
    rule = add_rule(&p);
    match_op(&p, rule, "Gemm");
    set_keep(rule);
    resolve(&p);
    cr_assert_eq(layer(&p, "A")->spec.bits, 2);
    cr_assert_eq(layer(&p, "C")->spec.bits, 4);
    cr_assert_eq(layer(&p, "B")->spec.bits, 8);
    cr_assert_not(layer(&p, "B")->may_code);
    cr_assert_str_eq(layer(&p, "B")->reason, "recipe says keep");
    cr_assert(p.plan.rule_hits[0] && p.plan.rule_hits[1] && p.plan.rule_hits[3]);
    cr_assert_not(p.plan.rule_hits[2]);
    end(&p);
}

Test(plan, a_name_brings_in_what_is_no_weight)
{
    planned p = begin(13);
    vqc_layer_rule *rule;

    three_layers(&p);
    rule = add_rule(&p);
    match_name(&p, rule, "table");
    set_bits(rule, 5);
    rule = add_rule(&p);
    match_op(&p, rule, "Gemm"); /* an operator alone does not name its bias */
    set_bits(rule, 6);
    resolve(&p);
    cr_assert_not_null(layer(&p, "table"));
    cr_assert_eq(layer(&p, "table")->spec.bits, 5);
    cr_assert(layer(&p, "table")->may_code, "%s", layer(&p, "table")->reason);
    cr_assert_null(layer(&p, "bias"));
    cr_assert_eq(layer(&p, "B")->spec.bits, 6);
    end(&p);
}

Test(plan, first_and_last_count_weights_only)
{
    planned p = begin(13);
    vqc_layer_rule *rule;

    three_layers(&p);
    rule = add_rule(&p);
    rule->match.first = 1;
    rule->match.last = 1;
    set_keep(rule);
    p.recipe->weights.min_elements = 0;
    resolve(&p);
    cr_assert_not(layer(&p, "A")->may_code);
    cr_assert(layer(&p, "B")->may_code);
    cr_assert_not(layer(&p, "C")->may_code, "C is the last weight, though not the last constant");
    end(&p);
}

Test(plan, an_output_of_the_graph_stays)
{
    planned p = begin(13);

    three_layers(&p);
    mb_output(p.model, NULL, "A");
    resolve(&p);
    cr_assert_not(layer(&p, "A")->may_code);
    cr_assert_str_eq(layer(&p, "A")->reason, "is an output of its graph");
    end(&p);
}

Test(plan, a_tied_weight_is_one_layer)
{
    planned p = begin(13);

    (void)mb_matrix(p.model, "W", 64, 64, 1);
    (void)mb_node(p.model, NULL, "Identity", "W", "same");
    (void)mb_node(p.model, NULL, "Gather", "W i", "e");
    (void)mb_node(p.model, NULL, "MatMul", "e W", "h");
    (void)mb_node(p.model, NULL, "MatMul", "h same", "y");
    resolve(&p);
    cr_assert_eq(p.plan.count, 1);
    cr_assert_eq(p.plan.layers[0].layer->use_count, 3);
    end(&p);
}

Test(plan, wishes_for_the_opset)
{
    static const struct {
        int64_t opset;
        vqc_pattern pattern;
        vqc_granularity granularity;
        int bits;
        int64_t max_opset;
        int64_t wanted;
        vqc_form form;
    } rows[] = {
        {9, VQC_PATTERN_DEQUANTIZE_LINEAR, VQC_GRANULARITY_TENSOR, 8, 28, 10, VQC_FORM_DEQUANTIZE},
        {9, VQC_PATTERN_DEQUANTIZE_LINEAR, VQC_GRANULARITY_CHANNEL, 8, 28, 13, VQC_FORM_DEQUANTIZE},
        {13, VQC_PATTERN_DEQUANTIZE_LINEAR, VQC_GRANULARITY_CHANNEL, 8, 28, 0, VQC_FORM_DEQUANTIZE},
        {13, VQC_PATTERN_DEQUANTIZE_LINEAR, VQC_GRANULARITY_BLOCK, 4, 28, 21, VQC_FORM_DEQUANTIZE},
        {13, VQC_PATTERN_DEQUANTIZE_LINEAR, VQC_GRANULARITY_BLOCK, 4, 0, 0, VQC_FORM_FOLDABLE},
        {13, VQC_PATTERN_FOLDABLE, VQC_GRANULARITY_BLOCK, 4, 28, 0, VQC_FORM_FOLDABLE},
        {9, VQC_PATTERN_AUTO, VQC_GRANULARITY_CHANNEL, 8, 28, 0, VQC_FORM_FOLDABLE},
        {13, VQC_PATTERN_AUTO, VQC_GRANULARITY_CHANNEL, 8, 28, 0, VQC_FORM_DEQUANTIZE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        planned p = begin(rows[i].opset);
        three_layers(&p);
        p.recipe->weights.pattern = rows[i].pattern;
        p.recipe->weights.granularity = rows[i].granularity;
        p.recipe->weights.bits = rows[i].bits;
        resolve(&p);
        cr_assert_eq(prepare(&p, rows[i].max_opset), rows[i].wanted, "row %zu", i);
        cr_assert_eq(layer(&p, "A")->decision.form, rows[i].form, "row %zu: %s", i,
                     vqc_form_name(layer(&p, "A")->decision.form));
        end(&p);
    }
}

Test(plan, dynamic_activations_wish_for_11)
{
    planned p = begin(9);

    three_layers(&p);
    p.recipe->weights.activations = VQC_ACTIVATIONS_DYNAMIC;
    resolve(&p);
    cr_assert_eq(prepare(&p, 28), 11);
    cr_assert_eq(layer(&p, "A")->decision.form, VQC_FORM_DYNAMIC_MATMUL);
    cr_assert_eq(prepare(&p, 0), 0);
    cr_assert_neq(layer(&p, "A")->decision.form, VQC_FORM_DYNAMIC_MATMUL);
    cr_assert_str_eq(layer(&p, "A")->decision.reason,
                     "activations stay float: DynamicQuantizeLinear needs opset 11");
    end(&p);
}

Test(plan, an_lstm_is_dynamic_with_both_weights_or_not_at_all)
{
    const int64_t w_dims[3] = {1, 64, 24};
    const int64_t r_dims[3] = {1, 64, 16};

    for (int i = 0; i < 2; i++) {
        planned p = begin(14);
        vqc_layer_rule *rule;
        (void)mb_initializer(p.model, NULL,
                             mb_tensor(p.model, "W", VQC_DTYPE_FLOAT, w_dims, 3, NULL));
        (void)mb_initializer(p.model, NULL,
                             mb_tensor(p.model, "R", VQC_DTYPE_FLOAT, r_dims, 3, NULL));
        (void)mb_node(p.model, NULL, "LSTM", "x W R", "y");
        p.recipe->weights.activations = VQC_ACTIVATIONS_DYNAMIC;
        p.recipe->operators = VQC_OPERATORS_ONNXRUNTIME;
        if (i == 1) {
            rule = add_rule(&p);
            match_name(&p, rule, "R");
            set_keep(rule);
        }
        resolve(&p);
        (void)prepare(&p, 28);
        cr_assert_eq(layer(&p, "W")->decision.form,
                     i == 0 ? VQC_FORM_DYNAMIC_LSTM : VQC_FORM_FOLDABLE);
        cr_assert(i == 0 || strstr(layer(&p, "W")->decision.reason, "both weights") != NULL);
        end(&p);
    }
}

Test(plan, halves_have_nothing_to_gain_from_a_half)
{
    const int64_t dims[2] = {64, 64};
    planned p = begin(13);

    (void)mb_initializer(p.model, NULL, mb_tensor(p.model, "W", VQC_DTYPE_FLOAT16, dims, 2, NULL));
    (void)mb_node(p.model, NULL, "MatMul", "x W", "y");
    (void)strcpy(p.recipe->weights.codec, "float16");
    resolve(&p);
    cr_assert(layer(&p, "W")->may_code);
    (void)prepare(&p, 0);
    cr_assert_not(layer(&p, "W")->may_code);
    cr_assert_str_eq(layer(&p, "W")->reason, "already 16 bits");
    end(&p);
}
