#include "tests/unit/coded_layer.h"

#include <criterion/criterion.h>
#include <string.h>

size_t coded_layer_elements(const int64_t *dims, size_t rank)
{
    size_t n = 1;
    for (size_t i = 0; i < rank; i++) {
        n *= (size_t)dims[i];
    }
    return n;
}

void coded_layer_round(vqc_dtype dtype, float *x, size_t n)
{
    const vqc_kernels *k = vqc_kernels_get();

    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        if (dtype == VQC_DTYPE_FLOAT16) {
            k->f32_f16_convert(&x[i], 1, &half);
            k->f16_f32_convert(&half, 1, &x[i]);
        } else if (dtype == VQC_DTYPE_BFLOAT16) {
            k->f32_bf16_convert(&x[i], 1, &half);
            k->bf16_f32_convert(&half, 1, &x[i]);
        }
    }
}

coded_layer_options coded_layer_defaults(void)
{
    return (coded_layer_options){
        .op = "MatMul", .inputs = "x W", .dtype = VQC_DTYPE_FLOAT, .opset = 13, .ir_version = 8};
}

vqc_weight_spec coded_layer_spec(const char *codec, int bits, vqc_granularity granularity,
                                 bool symmetric)
{
    vqc_weight_spec spec = vqc_weight_spec_default();

    (void)strncpy(spec.codec, codec, sizeof spec.codec - 1);
    spec.bits = bits;
    spec.granularity = granularity;
    spec.symmetric = symmetric;
    spec.range = VQC_RANGE_MINMAX;
    spec.rounding = VQC_ROUNDING_NEAREST;
    spec.min_elements = 0;
    return spec;
}

static void build(coded_layer *c, const coded_layer_options *o, const int64_t *dims, size_t rank,
                  const float *values)
{
    Onnx__TensorProto *tensor =
        mb_float_tensor(c->model, o->as_constant ? "" : "W", o->dtype, dims, rank, values);
    Onnx__NodeProto *node;

    mb_input(c->model, NULL, "x");
    if (o->as_constant) {
        (void)mb_constant(c->model, NULL, "W", tensor);
    } else {
        (void)mb_initializer(c->model, NULL, tensor);
        if (c->model->proto->ir_version < 4) {
            mb_input(c->model, NULL, "W");
        }
    }
    node = mb_node(c->model, NULL, o->op, o->inputs, "y");
    if (o->trans_b) {
        cr_assert(vqc_node_add_int(c->model->arena, node, "transB", 1));
    }
    mb_output(c->model, NULL, "y");
}

coded_layer coded_layer_make(const coded_layer_options *options, const int64_t *dims, size_t rank,
                             const float *values, const vqc_weight_spec *spec)
{
    coded_layer c = {.arena = vqc_arena_create()};
    size_t n = coded_layer_elements(dims, rank);
    vqc_layer *layers;
    size_t count;
    vqc_error error = {0};

    cr_assert_not_null(c.arena);
    c.model = mb_model(options->opset, options->ir_version == 0 ? 8 : options->ir_version);
    build(&c, options, dims, rank, values);
    c.graph = mb_index(c.model);
    cr_assert_eq(vqc_layers_find(c.graph, c.arena, &layers, &count, &error), VQC_OK, "%s",
                 error.message);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(layers[i].value->name, "W") == 0) {
            c.layer = &layers[i];
        }
    }
    cr_assert_not_null(c.layer);
    cr_assert_eq(c.layer->elements, n);
    c.weights = vqc_arena_calloc(c.arena, n + 1, sizeof *c.weights);
    cr_assert_not_null(c.weights);
    memcpy(c.weights, values, n * sizeof *values);
    coded_layer_round(options->dtype, c.weights, n);
    c.target =
        (vqc_target){.operators = options->operators,
                     .objective = options->objective,
                     .opset = options->opset,
                     .max_opset = options->max_opset == 0 ? options->opset : options->max_opset};
    c.decision.layer = c.layer;
    c.decision.spec = *spec;
    c.decision.codec = vqc_codec_find(spec->codec);
    c.decision.reason = "";
    cr_assert_not_null(c.decision.codec);
    c.decision.codec->prepare(&c.decision, &c.target, c.weights, &c.opset_wanted);
    return c;
}

void coded_layer_fit(coded_layer *c)
{
    vqc_error error = {0};

    memset(&c->code, 0, sizeof c->code);
    cr_assert_eq(c->decision.codec->fit(&c->decision, c->weights, c->model->arena, c->arena,
                                        &c->code, &error),
                 VQC_OK, "%s", error.message);
    cr_assert_eq(c->code.elements, c->layer->elements);
}

float *coded_layer_decode(coded_layer *c)
{
    float *out = vqc_arena_calloc(c->arena, c->layer->elements + 1, sizeof *out);
    vqc_error error = {0};

    cr_assert_not_null(out);
    cr_assert_eq(c->decision.codec->decode(&c->code, c->arena, out, &error), VQC_OK, "%s",
                 error.message);
    return out;
}

vqc_patch *coded_layer_emit(const coded_layer *c, const vqc_code *code)
{
    vqc_patch *patch = vqc_patch_create(c->graph);
    vqc_error error = {0};
    vqc_emitter emitter = {
        .graph = c->graph,
        .patch = patch,
        .scope = c->layer->scope,
        .arena = c->model->arena,
        .error = &error,
        .opset = c->layer->scope->opset,
    };

    cr_assert_not_null(patch);
    c->decision.codec->emit(&emitter, code);
    cr_assert_eq(emitter.status, VQC_OK, "%s", error.message);
    return patch;
}

void coded_layer_end(coded_layer *c)
{
    vqc_graph_destroy(&c->graph);
    vqc_model_destroy(&c->model);
    vqc_arena_destroy(&c->arena);
}

int32_t coded_layer_code(const coded_layer *c, size_t i)
{
    if (c->decision.bits > 8) {
        return c->decision.is_signed ? ((const int16_t *)c->code.codes)[i]
                                     : ((const uint16_t *)c->code.codes)[i];
    }
    return c->decision.is_signed ? ((const int8_t *)c->code.codes)[i]
                                 : ((const uint8_t *)c->code.codes)[i];
}

size_t coded_layer_group(const coded_layer *c, size_t i)
{
    const vqc_grouping *g = &c->decision.grouping;
    size_t post = i % g->post;
    size_t len = i / g->post % g->len;
    size_t pre = i / g->post / g->len;

    return g->is_blocked ? (pre * g->blocks + len / g->block) * g->post + post : len;
}
