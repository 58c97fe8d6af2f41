/* Static quantization: the nodes that are written, biases, and what the result computes. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/static/measure.h"
#include "core/static/static_fit.h"
#include "core/static/static_rewrite.h"
#include "tests/unit/static_case.h"

static const int64_t IMAGE[] = {1, 4, 8, 8};

static vqc_model *network(int64_t opset, float bias)
{
    vqc_model *model = mb_model(opset, 8);

    mb_input(model, NULL, "x");
    STATIC_WEIGHT(model, "w1", 1, 0.2f, 6, 4, 3, 3);
    STATIC_WEIGHT(model, "b1", 2, bias, 6);
    STATIC_WEIGHT(model, "w2", 3, 0.2f, 5, 6, 1, 1);
    STATIC_WEIGHT(model, "w3", 4, 0.2f, 5, 6, 1, 1);
    mb_node(model, NULL, "Conv", "x w1 b1", "c");
    mb_node(model, NULL, "Relu", "c", "r");
    mb_node(model, NULL, "Conv", "r w2", "y1");
    mb_node(model, NULL, "Conv", "r w3", "y2");
    mb_node(model, NULL, "Tanh", "y2", "t");
    mb_node(model, NULL, "Add", "y1 t", "y");
    mb_output(model, NULL, "y");
    return model;
}

static Onnx__GraphProto *rewrite(static_case *c, bool simulate)
{
    Onnx__GraphProto *graph = NULL;
    vqc_error error = {0};

    cr_assert_eq(vqc_static_rewrite(&c->fixed, simulate, c->model->arena, &graph, &error), VQC_OK,
                 "%s", error.message);
    return graph;
}

static size_t count_nodes(const Onnx__GraphProto *graph, const char *op)
{
    size_t count = 0;

    for (size_t i = 0; i < graph->n_node; i++) {
        count += strcmp(graph->node[i]->op_type, op) == 0 ? 1 : 0;
    }
    return count;
}

static const Onnx__NodeProto *producer(const Onnx__GraphProto *graph, const char *name)
{
    for (size_t i = 0; i < graph->n_node; i++) {
        if (strcmp(graph->node[i]->output[0], name) == 0) {
            return graph->node[i];
        }
    }
    return NULL;
}

static const Onnx__TensorProto *initializer(const Onnx__GraphProto *graph, const char *name)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        if (strcmp(graph->initializer[i]->name, name) == 0) {
            return graph->initializer[i];
        }
    }
    return NULL;
}

/* Every value is made once, before it is read. */
static void assert_sorted(const Onnx__GraphProto *graph)
{
    for (size_t i = 0; i < graph->n_node; i++) {
        const Onnx__NodeProto *node = graph->node[i];
        for (size_t k = 0; k < node->n_input; k++) {
            bool found = node->input[k][0] == '\0' || strcmp(node->input[k], "x") == 0 ||
                         initializer(graph, node->input[k]) != NULL;
            for (size_t j = 0; j < i && !found; j++) {
                found = strcmp(graph->node[j]->output[0], node->input[k]) == 0;
            }
            cr_assert(found, "node %zu (%s) reads \"%s\" before it is there", i, node->op_type,
                      node->input[k]);
        }
        cr_assert_eq(producer(graph, node->output[0]), node, "\"%s\" is made twice",
                     node->output[0]);
        cr_assert_null(initializer(graph, node->output[0]));
    }
}

Test(static_rewrite, nodes)
{
    static_case c = static_case_make(network(17, 0.2f), NULL, IMAGE, 4);
    Onnx__GraphProto *graph = rewrite(&c, false);

    assert_sorted(graph);
    cr_assert_eq(count_nodes(graph, "Relu"), 0, "it is a part of the range");
    cr_assert_eq(count_nodes(graph, "Conv"), 3);
    /* x, r, y1, y2; two Convs read r through one pair */
    cr_assert_eq(count_nodes(graph, "QuantizeLinear"), 4);
    cr_assert_eq(count_nodes(graph, "DequantizeLinear"), 5, "these and the bias");
    cr_assert_eq(strcmp(producer(graph, "r")->op_type, "DequantizeLinear"), 0);
    cr_assert_eq(strcmp(producer(graph, "y1")->op_type, "DequantizeLinear"), 0);
    cr_assert_null(initializer(graph, "b1"), "the float bias is not read any more");
    for (size_t i = 0; i < graph->n_node; i++) {
        if (strcmp(graph->node[i]->op_type, "DequantizeLinear") == 0) {
            const Onnx__NodeProto *from = producer(graph, graph->node[i]->input[0]);
            cr_assert(from == NULL || strcmp(from->op_type, "QuantizeLinear") == 0);
        }
        for (size_t k = 0; k < graph->node[i]->n_input; k++) { /* no pair behind a pair */
            const Onnx__NodeProto *from = producer(graph, graph->node[i]->input[k]);
            cr_assert_not(strcmp(graph->node[i]->op_type, "QuantizeLinear") == 0 && from != NULL &&
                          strcmp(from->op_type, "DequantizeLinear") == 0);
        }
    }
    static_case_end(&c);
}

Test(static_rewrite, bias_codes)
{
    static_case c = static_case_make(network(17, 0.2f), NULL, IMAGE, 4);
    Onnx__GraphProto *graph = rewrite(&c, false);
    const vqc_unit *unit = static_case_unit(&c, "c");
    const Onnx__NodeProto *conv = NULL;
    const Onnx__NodeProto *dequantize;
    const Onnx__TensorProto *codes;
    const Onnx__TensorProto *scales;
    float bias[6];

    for (size_t i = 0; i < graph->n_node && conv == NULL; i++) {
        conv = strcmp(graph->node[i]->op_type, "Conv") == 0 ? graph->node[i] : NULL;
    }
    dequantize = producer(graph, conv->input[2]);
    cr_assert_eq(dequantize->n_input, 2, "zero point 0");
    cr_assert_eq(vqc_node_attr_int(dequantize, "axis", 1), 0);
    codes = initializer(graph, dequantize->input[0]);
    scales = initializer(graph, dequantize->input[1]);
    cr_assert_eq(codes->data_type, VQC_DTYPE_INT32);
    cr_assert(codes->n_dims == 1 && codes->dims[0] == 6);
    cr_assert(scales->n_dims == 1 && scales->dims[0] == 6);
    memcpy(bias, unit->bias->raw_data.data, sizeof bias);
    for (size_t i = 0; i < 6; i++) {
        float scale = static_case_tensor(&c, "x")->scale * unit->weight->code->scales[i];
        float stored;
        int32_t code;
        memcpy(&stored, scales->raw_data.data + 4 * i, 4);
        memcpy(&code, codes->raw_data.data + 4 * i, 4);
        cr_assert_eq(stored, scale);
        cr_assert_eq(code, (int32_t)rint((double)bias[i] / (double)scale));
        cr_assert_neq(code, 0);
    }
    static_case_end(&c);
}

/* Domain of all activations' pairs: 16 bits are standard from opset 21 on. */
static void check_wide(int64_t opset, const char *domain)
{
    vqc_recipe *recipe = static_case_recipe();

    recipe->fixed.type = VQC_ACTIVATION_UINT16;
    static_case c = static_case_make(network(opset, 0.2f), recipe, IMAGE, 4);
    Onnx__GraphProto *graph = rewrite(&c, false);
    cr_assert_eq(vqc_static_needs_microsoft(&c.fixed), domain[0] != '\0');
    for (size_t i = 0; i < graph->n_node; i++) {
        if (strcmp(graph->node[i]->op_type, "QuantizeLinear") == 0) {
            const char *got = graph->node[i]->domain == NULL ? "" : graph->node[i]->domain;
            cr_assert_str_eq(got, domain);
            cr_assert_eq(initializer(graph, graph->node[i]->input[2])->data_type, VQC_DTYPE_UINT16);
        }
    }
    static_case_end(&c);
}

Test(static_rewrite, sixteen_bits)
{
    check_wide(13, "com.microsoft");
    check_wide(20, "com.microsoft");
    check_wide(21, "");
}

/* A Relu behind a unit that stays float is not gone. */
Test(static_rewrite, float_islands)
{
    static_case c = static_case_make(network(17, 0.2f), NULL, IMAGE, 4);

    static_case_unit(&c, "c")->in_float = true;
    vqc_static_plan_decide(&c.fixed);
    Onnx__GraphProto *graph = rewrite(&c, false);
    assert_sorted(graph);
    cr_assert_eq(count_nodes(graph, "Relu"), 1);
    cr_assert_eq(count_nodes(graph, "QuantizeLinear"), 3, "r, y1, y2");
    cr_assert_not_null(initializer(graph, "b1"));
    cr_assert_str_eq(producer(graph, "r")->op_type, "Relu");
    static_case_end(&c);
}

/* A float Conv between integers is hidden from ONNX Runtime, which would code its weights. */
Test(static_rewrite, float_layers_between_integers)
{
    static_case c = static_case_make(network(17, 0.2f), NULL, IMAGE, 4);

    static_case_unit(&c, "y1")->in_float = true; /* r -> y1 -> Add, in float */
    vqc_static_plan_decide(&c.fixed);
    cr_assert_eq(count_nodes(rewrite(&c, false), "Max"), 0, "its output is not quantized");
    static_case_end(&c);

    vqc_model *model = network(17, 0.2f);
    STATIC_WEIGHT(model, "w4", 5, 0.2f, 3, 5, 1, 1);
    mb_node(model, NULL, "Conv", "y w4", "z");
    mb_node(model, NULL, "Relu", "y1", "y1r");
    mb_node(model, NULL, "Conv", "y1r w4b", "z2");
    STATIC_WEIGHT(model, "w4b", 6, 0.2f, 3, 5, 1, 1);
    mb_output(model, NULL, "z");
    mb_output(model, NULL, "z2");
    c = static_case_make(model, NULL, IMAGE, 4);
    static_case_unit(&c, "y1")->in_float = true; /* r -> y1 -> Relu -> codes */
    vqc_static_plan_decide(&c.fixed);
    Onnx__GraphProto *graph = rewrite(&c, false);
    assert_sorted(graph);
    cr_assert_eq(count_nodes(graph, "Max"), 1);
    cr_assert_eq(count_nodes(rewrite(&c, true), "Max"), 0, "not while searching");
    for (size_t i = 0; i < graph->n_node; i++) {
        if (strcmp(graph->node[i]->op_type, "Max") == 0) {
            cr_assert_str_eq(graph->node[i]->input[0], "r");
            cr_assert_str_eq(graph->node[i + 1]->op_type, "Conv");
            cr_assert_str_eq(graph->node[i + 1]->input[0], graph->node[i]->output[0]);
        }
    }
    static_case_end(&c);
}

/* ---- what it computes ---- */

static vqc_score score(static_case *c, vqc_model *model)
{
    vqc_reference *reference = NULL;
    vqc_score out;
    vqc_error error = {0};

    cr_assert_eq(vqc_reference_create(c->graph, &c->samples->source, 0, 1, 0, (size_t)1 << 20, 1,
                                      &reference, &error),
                 VQC_OK, "%s", error.message);
    if (model == NULL) {
        vqc_static_swap_weights(&c->fixed);
        cr_assert_eq(vqc_static_simulation(&c->fixed, &model, &error), VQC_OK, "%s", error.message);
        cr_assert_eq(vqc_reference_score(reference, model, 0, 1, &out, &error), VQC_OK, "%s",
                     error.message);
        vqc_static_swap_weights(&c->fixed);
        vqc_model_destroy(&model);
    } else {
        cr_assert_eq(vqc_reference_score(reference, model, 0, 1, &out, &error), VQC_OK, "%s",
                     error.message);
    }
    vqc_reference_destroy(&reference);
    return out;
}

Test(static_rewrite, simulation_is_close_and_leaves_no_trace)
{
    static_case c = static_case_make(network(17, 0.2f), NULL, IMAGE, 4);
    vqc_score narrow = score(&c, NULL);
    vqc_score again = score(&c, NULL);

    cr_assert(narrow.sqnr_db > 25.0 && narrow.sqnr_db < 55.0, "%.1f dB", narrow.sqnr_db);
    cr_assert(narrow.sqnr_db == again.sqnr_db, "%.17g %.17g", narrow.sqnr_db, again.sqnr_db);
    cr_assert_eq(score(&c, c.model).sqnr_db, INFINITY, "the model is as it was");
    for (size_t t = 0; t < c.fixed.tensor_count; t++) {
        c.fixed.tensors[t].wide = true;
    }
    vqc_static_plan_decide(&c.fixed);
    cr_assert_gt(score(&c, NULL).sqnr_db, narrow.sqnr_db + 2.0, "weights alone are coded finer");
    static_case_end(&c);
}

/* ---- biases ---- */

Test(static_fit, bias_correction)
{
    static_case c = static_case_make(network(17, 0.2f), NULL, IMAGE, 4);
    const vqc_unit *unit = static_case_unit(&c, "c");
    const vqc_tensor_stats *x = static_case_tensor(&c, "x")->stats;
    const float *w = (const float *)(const void *)unit->weight->layer->tensor->raw_data.data;
    size_t corrected = 0;
    vqc_error error = {0};

    cr_assert_eq(x->channels, 4);
    cr_assert_eq(vqc_static_correct_biases(&c.fixed, &corrected, &error), VQC_OK);
    cr_assert_eq(corrected, 3);
    cr_assert_not_null(static_case_unit(&c, "y1")->bias_values, "a bias where there was none");
    for (size_t o = 0; o < 6; o++) {
        float bias;
        double wanted;
        memcpy(&bias, unit->bias->raw_data.data + 4 * o, 4);
        wanted = (double)bias;
        for (size_t i = 0; i < 4; i++) {
            for (size_t k = 0; k < 9; k++) {
                size_t at = (o * 4 + i) * 9 + k;
                wanted += ((double)w[at] - (double)unit->weight->decoded[at]) * x->channel_mean[i];
            }
        }
        cr_assert_float_eq((double)unit->bias_values[o], wanted, 1e-6);
    }
    vqc_static_uncorrect_biases(&c.fixed);
    cr_assert_null(unit->bias_values);
    static_case_end(&c);
}

/* Inputs with a mean, so that rounding shifts outputs: the correction must take the shift away. */
Test(static_fit, correction_removes_the_mean_error)
{
    vqc_model *model = mb_model(17, 8);
    const int64_t rows[] = {64, 16};
    double shift[2] = {0.0, 0.0};
    vqc_error error = {0};
    size_t corrected;

    mb_input(model, NULL, "x");
    mb_node(model, NULL, "Exp", "x", "e");
    STATIC_WEIGHT(model, "w", 1, 0.2f, 16, 8);
    STATIC_WEIGHT(model, "b", 2, 0.2f, 8);
    mb_node(model, NULL, "Gemm", "e w b", "y");
    mb_output(model, NULL, "y");
    vqc_recipe *recipe = static_case_recipe();
    recipe->weights.rounding = VQC_ROUNDING_NEAREST;
    recipe->fixed.type = VQC_ACTIVATION_UINT16; /* weights are what is coarse */
    static_case c = static_case_make(model, recipe, rows, 2);
    for (int pass = 0; pass < 2; pass++) {
        vqc_model *changed = NULL;
        if (pass == 1) {
            cr_assert_eq(vqc_static_correct_biases(&c.fixed, &corrected, &error), VQC_OK);
            cr_assert_eq(corrected, 1);
        }
        for (size_t s = 0; s < 16; s++) {
            const float *x = c.samples->values + s * c.samples->elements;
            vqc_buffer *y[2] = {runner_run(c.model, rows, 2, x, 0), NULL};
            vqc_static_swap_weights(&c.fixed);
            cr_assert_eq(vqc_static_simulation(&c.fixed, &changed, &error), VQC_OK);
            y[1] = runner_run(changed, rows, 2, x, 0);
            vqc_static_swap_weights(&c.fixed);
            for (size_t i = 0; i < y[0]->elements; i += 8) { /* the first output */
                float v[2];
                memcpy(&v[0], y[0]->data + 4 * i, 4);
                memcpy(&v[1], y[1]->data + 4 * i, 4);
                shift[pass] += (double)v[1] - (double)v[0];
            }
            vqc_buffer_destroy(&y[0]);
            vqc_buffer_destroy(&y[1]);
            vqc_model_destroy(&changed);
        }
    }
    cr_assert_lt(fabs(shift[1]), 0.1 * fabs(shift[0]), "%g -> %g", shift[0], shift[1]);
    static_case_end(&c);
}

Test(static_fit, large_biases_raise_scales)
{
    static_case c = static_case_make(network(17, 1e7f), NULL, IMAGE, 4);
    const vqc_unit *unit = static_case_unit(&c, "c");
    const float *w = (const float *)(const void *)unit->weight->layer->tensor->raw_data.data;
    const int8_t *codes = unit->weight->code->codes;
    float before[6];
    size_t raised = 0;
    vqc_error error = {0};

    memcpy(before, unit->weight->code->scales, sizeof before);
    cr_assert_eq(vqc_static_fit_biases(&c.fixed, &raised, &error), VQC_OK);
    cr_assert(raised > 0 && raised <= 6, "%zu", raised);
    for (size_t o = 0; o < 6; o++) {
        float scale = unit->weight->code->scales[o];
        float bias;
        memcpy(&bias, unit->bias->raw_data.data + 4 * o, 4);
        cr_assert_leq(fabs((double)bias) /
                          ((double)static_case_tensor(&c, "x")->scale * (double)scale),
                      1073741824.0);
        cr_assert_geq(scale, before[o]);
        for (size_t i = o * 36; i < (o + 1) * 36 && scale > before[o]; i++) {
            cr_assert_eq(codes[i], (int8_t)rintf(w[i] / scale));
        }
    }
    static_case_end(&c);
}

Test(static_fit, ordinary_biases_raise_nothing)
{
    static_case c = static_case_make(network(17, 1.0f), NULL, IMAGE, 4);
    size_t raised = 1;
    vqc_error error = {0};

    cr_assert_eq(vqc_static_fit_biases(&c.fixed, &raised, &error), VQC_OK);
    cr_assert_eq(raised, 0);
    static_case_end(&c);
}

Test(static_fit, weights_with_nan_stay_float)
{
    vqc_model *model = network(17, 0.2f);
    const float nan_value = NAN;

    memcpy(model->proto->graph->initializer[3]->raw_data.data, &nan_value, 4); /* w3 */
    vqc_recipe *recipe = static_case_recipe();
    static_case c = static_case_make(model, recipe, IMAGE, 4);
    cr_assert_not(static_case_unit(&c, "y2")->quantized);
    cr_assert(static_case_unit(&c, "c")->quantized);
    static_case_end(&c);
}
