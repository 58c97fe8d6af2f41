#include "core/static/static_rewrite.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/tensor.h"

/* Constants of one kind that several Q/DQ pairs share. */
typedef struct shared_params {
    float scale;
    int32_t zero_point;
    int32_t dtype;
    const char *scale_name;
    const char *zero_name;
} shared_params;

typedef struct rewriter {
    const vqc_static_plan *plan;
    vqc_arena *arena;
    vqc_error *error;
    bool simulate;
    Onnx__NodeProto **nodes;
    size_t node_count;
    size_t node_capacity;
    Onnx__TensorProto **initializers;
    size_t initializer_count;
    size_t initializer_capacity;
    shared_params *params; /* [param_count] */
    size_t param_count;
    const char **dequantized;     /* [tensor_count] what quantized readers of a float tensor read */
    vqc_pointer_map dropped_uses; /* value -> uses that went away */
} rewriter;

static vqc_status no_memory(const rewriter *r)
{
    return vqc_fail_memory(r->error, 0);
}

/* ---- building ---- */

static vqc_status push_node(rewriter *r, Onnx__NodeProto *node)
{
    if (node == NULL) {
        return no_memory(r);
    }
    if (r->node_count == r->node_capacity) {
        size_t capacity = r->node_capacity * 2 + 64;
        Onnx__NodeProto **more = vqc_arena_calloc(r->arena, capacity, sizeof(void *));
        if (more == NULL) {
            return no_memory(r);
        }
        if (r->node_count > 0) {
            memcpy(more, r->nodes, r->node_count * sizeof(void *));
        }
        r->nodes = more;
        r->node_capacity = capacity;
    }
    r->nodes[r->node_count++] = node;
    return VQC_OK;
}

static vqc_status push_initializer(rewriter *r, Onnx__TensorProto *tensor)
{
    if (tensor == NULL) {
        return no_memory(r);
    }
    if (r->initializer_count == r->initializer_capacity) {
        size_t capacity = r->initializer_capacity * 2 + 64;
        Onnx__TensorProto **more = vqc_arena_calloc(r->arena, capacity, sizeof(void *));
        if (more == NULL) {
            return no_memory(r);
        }
        if (r->initializer_count > 0) {
            memcpy(more, r->initializers, r->initializer_count * sizeof(void *));
        }
        r->initializers = more;
        r->initializer_capacity = capacity;
    }
    r->initializers[r->initializer_count++] = tensor;
    return VQC_OK;
}

static const char *fresh(rewriter *r, const char *hint)
{
    return vqc_graph_fresh_name(r->plan->graph, hint);
}

/* A new initializer with a copy of raw; returns its name, NULL without memory. */
static const char *add_constant(rewriter *r, const char *hint, vqc_dtype dtype, const int64_t *dims,
                                size_t rank, const void *raw, size_t raw_bytes)
{
    const char *name = fresh(r, hint);
    void *copy = vqc_arena_alloc(r->arena, raw_bytes + 1);

    if (name == NULL || copy == NULL) {
        return NULL;
    }
    memcpy(copy, raw, raw_bytes);
    return push_initializer(
               r, vqc_tensor_create(r->arena, name, dtype, dims, rank, copy, raw_bytes)) == VQC_OK
               ? name
               : NULL;
}

static vqc_dtype code_dtype(const vqc_tensor *t)
{
    if (t->bits == 16) {
        return t->is_signed ? VQC_DTYPE_INT16 : VQC_DTYPE_UINT16;
    }
    return t->is_signed ? VQC_DTYPE_INT8 : VQC_DTYPE_UINT8;
}

/* Names of scale and zero point; equal ones are written once. */
static const shared_params *params_of(rewriter *r, const vqc_tensor *t)
{
    vqc_dtype dtype = code_dtype(t);
    shared_params *p;
    unsigned char zero[2] = {(unsigned char)(t->zero_point & 0xFF),
                             (unsigned char)(t->zero_point >> 8 & 0xFF)};

    for (size_t i = 0; i < r->param_count; i++) {
        p = &r->params[i];
        if (p->scale == t->scale && p->zero_point == t->zero_point && p->dtype == (int32_t)dtype) {
            return p;
        }
    }
    p = &r->params[r->param_count];
    *p = (shared_params){.scale = t->scale, .zero_point = t->zero_point, .dtype = (int32_t)dtype};
    for (size_t i = 0; i < r->param_count && (p->scale_name == NULL || p->zero_name == NULL); i++) {
        const shared_params *other = &r->params[i];
        if (other->scale == t->scale) {
            p->scale_name = other->scale_name;
        }
        if (other->zero_point == t->zero_point && other->dtype == p->dtype) {
            p->zero_name = other->zero_name;
        }
    }
    if (p->scale_name == NULL) {
        p->scale_name = add_constant(r, "s", VQC_DTYPE_FLOAT, NULL, 0, &t->scale, sizeof t->scale);
    }
    if (p->zero_name == NULL) {
        p->zero_name = add_constant(r, "z", dtype, NULL, 0, zero, t->bits == 16 ? 2 : 1);
    }
    if (p->scale_name == NULL || p->zero_name == NULL) {
        return NULL;
    }
    r->param_count++;
    return p;
}

/* input -> QuantizeLinear -> DequantizeLinear -> output */
static vqc_status push_pair(rewriter *r, const vqc_tensor *t, const char *input, const char *output)
{
    const shared_params *p = params_of(r, t);
    const char *domain =
        t->bits == 16 && r->plan->graph->scopes[0]->opset < 21 ? "com.microsoft" : "";
    const char *codes = fresh(r, "q");
    vqc_status status;

    if (p == NULL || codes == NULL) {
        return no_memory(r);
    }
    const char *quantize[3] = {input, p->scale_name, p->zero_name};
    const char *dequantize[3] = {codes, p->scale_name, p->zero_name};
    status = push_node(
        r, vqc_node_create(r->arena, "QuantizeLinear", domain, NULL, quantize, 3, &codes, 1));
    if (status == VQC_OK) {
        status = push_node(r, vqc_node_create(r->arena, "DequantizeLinear", domain, NULL,
                                              dequantize, 3, &output, 1));
    }
    return status;
}

/* A node that shares everything but its lists of names. `inputs` >= node->n_input. */
static Onnx__NodeProto *copy_node(rewriter *r, const Onnx__NodeProto *node, size_t inputs)
{
    Onnx__NodeProto *copy = vqc_arena_alloc(r->arena, sizeof *copy);

    if (copy == NULL) {
        return NULL;
    }
    *copy = *node;
    copy->n_input = inputs;
    copy->input = vqc_arena_calloc(r->arena, inputs + 1, sizeof(char *));
    copy->output = vqc_arena_calloc(r->arena, node->n_output + 1, sizeof(char *));
    if (copy->input == NULL || copy->output == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < inputs; i++) {
        copy->input[i] = i < node->n_input ? node->input[i] : (char *)"";
    }
    memcpy(copy->output, node->output, node->n_output * sizeof(char *));
    return copy;
}

/* One use of a constant is gone. */
static vqc_status drop_use(rewriter *r, const char *name)
{
    const vqc_graph *graph = r->plan->graph;
    const vqc_value *value =
        name == NULL || name[0] == '\0' ? NULL : vqc_scope_define(graph, graph->scopes[0], name);

    if (value == NULL || vqc_value_constant(graph, value) == NULL) {
        return VQC_OK;
    }
    return vqc_pointer_map_set(&r->dropped_uses, value,
                               vqc_pointer_map_get(&r->dropped_uses, value, 0) + 1)
               ? VQC_OK
               : no_memory(r);
}

static bool is_unused(const rewriter *r, const char *name)
{
    const vqc_graph *graph = r->plan->graph;
    const vqc_value *value = vqc_scope_define(graph, graph->scopes[0], name);
    size_t dropped = value == NULL ? 0 : vqc_pointer_map_get(&r->dropped_uses, value, 0);

    return dropped > 0 && dropped == value->use_count;
}

/* ---- biases ---- */

static const float *float_bias(const rewriter *r, const vqc_unit *unit)
{
    const float *values = unit->bias_values;
    size_t elements;

    if (values == NULL && unit->bias != NULL &&
        vqc_tensor_borrow_f32(unit->bias, r->arena, &values, &elements, r->error) != VQC_OK) {
        return NULL;
    }
    return values;
}

/* Whether every bias is within 2^30 steps of input scale * weight scale; codewords cannot be coded
 * anew for a larger scale as integers are. */
static bool fits_codes(const vqc_code *code, const float *bias, size_t n, float input_scale)
{
    for (size_t c = 0; c < n; c++) {
        float b;
        memcpy(&b, (const char *)bias + c * sizeof b, sizeof b); /* may be unaligned */
        if (fabsf(b) > 0x1p30f * (input_scale * code->scales[code->groups > 1 ? c : 0])) {
            return false;
        }
    }
    return true;
}

/*
 * bias = int32 codes with scale = input scale * weight scale and zero point 0, so that integer
 * kernels add it to their sums. Scales are large enough: see vqc_static_fit_bias.
 */
static vqc_status quantize_bias(rewriter *r, const vqc_unit *unit, Onnx__NodeProto *node)
{
    const vqc_code *code = unit->weight->code;
    float input_scale = r->plan->tensors[unit->data[0]].scale;
    int64_t n = (int64_t)unit->weight->layer->channels;
    int64_t groups = (int64_t)code->groups;
    const float *bias = float_bias(r, unit);
    int32_t *codes = vqc_arena_calloc(r->arena, (size_t)n + 1, sizeof *codes);
    float *scales = vqc_arena_calloc(r->arena, (size_t)n + 1, sizeof *scales);
    const char *inputs[2];
    const char *output = fresh(r, "b");
    Onnx__NodeProto *dequantize;

    if (bias == NULL || codes == NULL || scales == NULL || output == NULL) {
        return no_memory(r);
    }
    if (code->vq != NULL && !fits_codes(code, bias, (size_t)n, input_scale)) {
        return VQC_OK; /* a float bias: right, though no integer kernel takes it */
    }
    for (int64_t c = 0; c < n; c++) {
        float scale = input_scale * code->scales[groups > 1 ? c : 0];
        float b;
        memcpy(&b, (const char *)bias + (size_t)c * sizeof b, sizeof b); /* may be unaligned */
        double q = scale > 0.0f ? rint((double)b / (double)scale) : 0.0;
        scales[groups > 1 ? c : 0] = scale;
        codes[c] = (int32_t)fmin(fmax(q, -2147483647.0), 2147483647.0);
    }
    inputs[0] = add_constant(r, "b", VQC_DTYPE_INT32, &n, 1, codes, (size_t)n * sizeof *codes);
    inputs[1] = groups > 1 ? add_constant(r, "s", VQC_DTYPE_FLOAT, &groups, 1, scales,
                                          (size_t)groups * sizeof *scales)
                           : add_constant(r, "s", VQC_DTYPE_FLOAT, NULL, 0, scales, sizeof *scales);
    if (inputs[0] == NULL || inputs[1] == NULL) {
        return no_memory(r);
    }
    dequantize = vqc_node_create(r->arena, "DequantizeLinear", "", NULL, inputs, 2, &output, 1);
    if (dequantize == NULL || (groups > 1 && !vqc_node_add_int(r->arena, dequantize, "axis", 0))) {
        return no_memory(r);
    }
    node->input[2] = (char *)(uintptr_t)output;
    return push_node(r, dequantize);
}

static vqc_status replace_bias(rewriter *r, const vqc_unit *unit, Onnx__NodeProto *node)
{
    int64_t n = (int64_t)unit->weight->layer->channels;
    const char *name;

    if (unit->bias == NULL && unit->bias_values == NULL) {
        return VQC_OK;
    }
    if (unit->bias != NULL && drop_use(r, unit->node->input[2]) != VQC_OK) {
        return VQC_ERR_INTERNAL;
    }
    if (!r->simulate && unit->quantized) {
        return quantize_bias(r, unit, node);
    }
    name =
        add_constant(r, "b", VQC_DTYPE_FLOAT, &n, 1, unit->bias_values, (size_t)n * sizeof(float));
    node->input[2] = (char *)(uintptr_t)name;
    return name == NULL ? no_memory(r) : VQC_OK;
}

/* ---- nodes ---- */

static bool is_folded_clamp(const vqc_static_plan *p, size_t index)
{
    const vqc_unit *unit = &p->units[index];
    size_t producer;

    if (unit->kind != VQC_UNIT_CLAMP || unit->data_count != 1) {
        return false;
    }
    producer = p->tensors[unit->data[0]].producer;
    return producer != VQC_NO_TENSOR && p->units[producer].clamp == index &&
           p->units[producer].quantized && p->units[producer].quantized_output;
}

/* Inputs of a quantized unit that come as floats are read through a pair of their own. */
static void rename_inputs(rewriter *r, const vqc_unit *unit, Onnx__NodeProto *node)
{
    for (size_t i = 0, d = 0; i < node->n_input && d < unit->data_count; i++) {
        size_t tensor = vqc_static_tensor(r->plan, node->input[i]);
        if (tensor == unit->data[d]) {
            if (r->dequantized[tensor] != NULL) {
                node->input[i] = (char *)(uintptr_t)r->dequantized[tensor];
            }
            d++;
        }
    }
}

/* Behind a tensor that is computed in float and read as integers. */
static vqc_status push_reader_pair(rewriter *r, size_t tensor)
{
    const vqc_tensor *t = &r->plan->tensors[tensor];

    if (!t->quantized || vqc_tensor_comes_quantized(r->plan, tensor) ||
        !vqc_tensor_has_quantized_reader(r->plan, tensor)) {
        return VQC_OK;
    }
    r->dequantized[tensor] = fresh(r, "d");
    return r->dequantized[tensor] == NULL ? no_memory(r)
                                          : push_pair(r, t, t->value->name, r->dequantized[tensor]);
}

/* The pairs behind a quantized unit; its outputs get new names, the old ones mean decoded values.
 */
static vqc_status push_output_pairs(rewriter *r, size_t index, Onnx__NodeProto *node)
{
    const vqc_static_plan *p = r->plan;
    vqc_status status = push_node(r, node);

    for (size_t o = 0; o < node->n_output && status == VQC_OK; o++) {
        size_t tensor = o == 0 ? vqc_unit_result(p, index)
                               : vqc_static_tensor(p, p->units[index].node->output[o]);
        const char *raw = fresh(r, "r");
        if (raw == NULL) {
            return no_memory(r);
        }
        node->output[o] = (char *)(uintptr_t)raw;
        status = push_pair(r, &p->tensors[tensor], raw, p->tensors[tensor].value->name);
    }
    return status;
}

/*
 * ONNX Runtime (WeightBiasQuantization, from 1.20 on) codes the weights of a float Conv,
 * ConvTranspose or Gemm between DequantizeLinear and QuantizeLinear as int8 per tensor by itself:
 * what stays float here would be worse off than with codes of its own (mobilenetv2 with six float
 * layers: -0.8 dB instead of 22). A Max of one input, which is the input, hides the pattern.
 */
static bool looks_quantizable(const vqc_static_plan *p, size_t index)
{
    const Onnx__NodeProto *node = p->units[index].node;
    size_t input = node->n_input < 2 ? VQC_NO_TENSOR : vqc_static_tensor(p, node->input[0]);
    size_t output = node->n_output != 1 ? VQC_NO_TENSOR : vqc_static_tensor(p, node->output[0]);

    if ((!vqc_node_is(node, "Conv") && !vqc_node_is(node, "ConvTranspose") &&
         !vqc_node_is(node, "Gemm")) ||
        input == VQC_NO_TENSOR || output == VQC_NO_TENSOR || p->units[index].quantized ||
        !vqc_tensor_comes_quantized(p, input)) {
        return false;
    }
    for (size_t i = 0; i < p->tensors[output].reader_count; i++) { /* Relu, Clip, ... */
        const Onnx__NodeProto *reader = p->units[p->tensors[output].readers[i]].node;
        size_t behind =
            reader->n_output == 0 ? VQC_NO_TENSOR : vqc_static_tensor(p, reader->output[0]);
        if (behind != VQC_NO_TENSOR && p->tensors[behind].quantized) {
            return true;
        }
    }
    return p->tensors[output].quantized;
}

/*
 * Where a product of integers gives floats, ONNX Runtime looks for what follows first: MatMul and
 * Add with a constant become a Gemm with a float bias, and Relu or Clip belong to the product; then
 * it finds no integer operator. A Max of one input in between keeps them apart.
 */
static bool is_joined_with_reader(const vqc_static_plan *p, size_t index)
{
    const vqc_unit *unit = &p->units[index];
    const vqc_tensor *output = unit->output == VQC_NO_TENSOR ? NULL : &p->tensors[unit->output];
    const Onnx__NodeProto *reader;

    if (unit->kind != VQC_UNIT_LINEAR || !unit->quantized || unit->quantized_output ||
        output == NULL || output->reader_count != 1) {
        return false;
    }
    reader = p->units[output->readers[0]].node;
    if (vqc_node_is(reader, "Relu") || vqc_node_is(reader, "Clip")) {
        return true;
    }
    return vqc_node_is(unit->node, "MatMul") && vqc_node_is(reader, "Add") &&
           reader->n_input == 2 &&
           (vqc_static_tensor(p, reader->input[0]) == VQC_NO_TENSOR ||
            vqc_static_tensor(p, reader->input[1]) == VQC_NO_TENSOR);
}

/* `node` is a copy already. */
static vqc_status push_apart(rewriter *r, Onnx__NodeProto *node)
{
    const char *output = node->output[0];
    const char *raw = fresh(r, "r");
    vqc_status status;

    if (raw == NULL) {
        return no_memory(r);
    }
    node->output[0] = (char *)(uintptr_t)raw;
    status = push_node(r, node);
    return status == VQC_OK
               ? push_node(r, vqc_node_create(r->arena, "Max", "", NULL, &raw, 1, &output, 1))
               : status;
}

static vqc_status push_float_node(rewriter *r, size_t index, Onnx__NodeProto *node)
{
    const char *input;
    const char *output;
    vqc_status status;

    if (r->simulate || !looks_quantizable(r->plan, index)) {
        return push_node(r, node);
    }
    input = node->input[0];
    output = fresh(r, "f");
    node = copy_node(r, node, node->n_input);
    if (node == NULL || output == NULL) {
        return no_memory(r);
    }
    node->input[0] = (char *)(uintptr_t)output;
    status = push_node(r, vqc_node_create(r->arena, "Max", "", NULL, &input, 1, &output, 1));
    return status == VQC_OK ? push_node(r, node) : status;
}

static vqc_status rewrite_unit(rewriter *r, size_t index)
{
    const vqc_static_plan *p = r->plan;
    const vqc_unit *unit = &p->units[index];
    Onnx__NodeProto *node = unit->node;
    vqc_status status = VQC_OK;

    if (is_folded_clamp(p, index)) {
        for (size_t i = 1; i < node->n_input && status == VQC_OK; i++) {
            status = drop_use(r, node->input[i]);
        }
        return status;
    }
    if (unit->quantized || unit->bias_values != NULL) {
        bool adds_bias = unit->bias == NULL && unit->bias_values != NULL;
        node = copy_node(r, node, adds_bias && node->n_input < 3 ? 3 : node->n_input);
        if (node == NULL) {
            return no_memory(r);
        }
        if (unit->kind == VQC_UNIT_LINEAR && (unit->quantized || unit->bias_values != NULL) &&
            !(r->simulate && unit->bias_values == NULL)) {
            status = replace_bias(r, unit, node);
        }
    }
    if (status == VQC_OK && unit->quantized) {
        rename_inputs(r, unit, node);
    }
    if (status == VQC_OK && unit->quantized && unit->quantized_output) {
        return push_output_pairs(r, index, node);
    }
    if (status == VQC_OK) {
        status = !r->simulate && is_joined_with_reader(p, index) ? push_apart(r, node)
                                                                 : push_float_node(r, index, node);
    }
    for (size_t o = 0; o < unit->node->n_output && status == VQC_OK; o++) {
        size_t tensor = vqc_static_tensor(p, unit->node->output[o]);
        if (tensor != VQC_NO_TENSOR) {
            status = push_reader_pair(r, tensor);
        }
    }
    return status;
}

/* ---- constants ---- */

static vqc_status copy_initializers(rewriter *r, const Onnx__GraphProto *graph)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < graph->n_initializer && status == VQC_OK; i++) {
        if (!is_unused(r, graph->initializer[i]->name)) {
            status = push_initializer(r, graph->initializer[i]);
        }
    }
    return status;
}

/* Constant nodes that nothing reads any more. */
static void drop_constant_nodes(rewriter *r)
{
    size_t kept = 0;

    for (size_t i = 0; i < r->node_count; i++) {
        Onnx__NodeProto *node = r->nodes[i];
        if (!vqc_node_is(node, "Constant") || node->n_output != 1 ||
            !is_unused(r, node->output[0])) {
            r->nodes[kept++] = node;
        }
    }
    r->node_count = kept;
}

vqc_status vqc_static_rewrite(const vqc_static_plan *plan, bool simulate, vqc_arena *arena,
                              Onnx__GraphProto **out, vqc_error *error)
{
    const Onnx__GraphProto *graph = plan->graph->scopes[0]->graph;
    rewriter r = {.plan = plan, .arena = arena, .error = error, .simulate = simulate};
    vqc_status status = VQC_OK;

    *out = vqc_arena_alloc(arena, sizeof **out);
    r.params = vqc_arena_calloc(arena, plan->tensor_count + 1, sizeof *r.params);
    r.dequantized = vqc_arena_calloc(arena, plan->tensor_count + 1, sizeof *r.dequantized);
    if (*out == NULL || r.params == NULL || r.dequantized == NULL) {
        return no_memory(&r);
    }
    for (size_t t = 0; t < plan->tensor_count && status == VQC_OK; t++) {
        if (plan->tensors[t].producer == VQC_NO_TENSOR) { /* inputs of the graph */
            status = push_reader_pair(&r, t);
        }
    }
    for (size_t i = 0; i < plan->unit_count && status == VQC_OK; i++) {
        status = rewrite_unit(&r, i);
    }
    drop_constant_nodes(&r);
    if (status == VQC_OK) {
        status = copy_initializers(&r, graph);
    }
    vqc_pointer_map_clear(&r.dropped_uses);
    if (status == VQC_OK) {
        **out = *graph;
        (*out)->node = r.nodes;
        (*out)->n_node = r.node_count;
        (*out)->initializer = r.initializers;
        (*out)->n_initializer = r.initializer_count;
    }
    return status;
}

bool vqc_static_needs_microsoft(const vqc_static_plan *plan)
{
    for (size_t t = 0; t < plan->tensor_count; t++) {
        if (plan->tensors[t].quantized && plan->tensors[t].bits == 16) {
            return plan->graph->scopes[0]->opset < 21;
        }
    }
    return false;
}

vqc_status vqc_static_simulation(const vqc_static_plan *plan, vqc_model **out, vqc_error *error)
{
    const vqc_model *source = plan->graph->model;
    Onnx__GraphProto *graph;
    vqc_status status = vqc_model_create(source->path, out, error);

    if (status != VQC_OK) {
        return status;
    }
    status = vqc_static_rewrite(plan, true, (*out)->arena, &graph, error);
    if (status == VQC_OK) {
        *(*out)->proto = *source->proto;
        (*out)->proto->graph = graph;
        (*out)->file_size_bytes = source->file_size_bytes;
        (*out)->external_size_bytes = source->external_size_bytes;
        if (vqc_static_needs_microsoft(plan)) {
            status = vqc_model_set_opset(*out, "com.microsoft", 1, error);
        }
    }
    if (status != VQC_OK) {
        vqc_model_destroy(out);
    }
    return status;
}

void vqc_static_swap_weights(const vqc_static_plan *plan)
{
    for (size_t i = 0; i < plan->plan->count; i++) {
        vqc_plan_layer *item = &plan->plan->layers[i];
        Onnx__TensorProto *tensor = item->layer->tensor;
        const float *other = item->decoded;

        if (other != NULL && !item->wide_weight) {
            item->decoded = (const float *)(const void *)tensor->raw_data.data;
            tensor->raw_data.data = (uint8_t *)(uintptr_t)other;
        }
    }
}
