#include "core/inspect_weight.h"

#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"
#include "core/layer.h"

enum {
    VIEW_BUDGET = 64,     /* views walked through from one operand to its weights */
    CHAIN_STEPS = 6,      /* nodes followed behind an integer operator to its scale */
    OWN_BUDGET = 1 << 24, /* values visited in all: keeps hostile graphs from taking long */
    WORK_BASE = 1 << 30   /* bytes that decoding may write, plus 256 x the model */
};

static const vqc_quantized_op QUANTIZED[] = {
    {"com.microsoft", "MatMulNBits", 1, 2, 3, 1, VQC_SCALE_NBITS, true},
    {"com.microsoft", "GatherBlockQuantized", 0, 2, 3, 0, VQC_SCALE_GATHER, false},
    {"", "Gather", 0, -1, -1, 0, VQC_SCALE_LAST, false}, /* of codes */
    {"", "MatMulInteger", 1, -1, 3, 1, VQC_SCALE_LAST, false},
    {"", "MatMulInteger", 0, -1, 2, 0, VQC_SCALE_FIRST, false},
    {"", "ConvInteger", 1, -1, 3, 1, VQC_SCALE_FIRST, false},
    {"", "QLinearConv", 3, 4, 5, 1, VQC_SCALE_FIRST, false},
    {"", "QLinearMatMul", 3, 4, 5, 1, VQC_SCALE_LAST, false},
    {"", "QLinearMatMul", 0, 1, 2, 0, VQC_SCALE_FIRST, false},
    {"com.microsoft", "QLinearConv", 3, 4, 5, 1, VQC_SCALE_FIRST, false},
    {"com.microsoft", "QGemm", 3, 4, 5, 1, VQC_SCALE_GEMM, false},
    {"com.microsoft", "MatMulIntegerToFloat", 1, 3, 5, 1, VQC_SCALE_LAST, false},
    {"com.microsoft", "DynamicQuantizeMatMul", 1, 2, 3, 1, VQC_SCALE_LAST, false},
    {"com.microsoft", "DynamicQuantizeLSTM", 1, 8, 9, 1, VQC_SCALE_LSTM, true},
    {"com.microsoft", "DynamicQuantizeLSTM", 2, 10, 11, 2, VQC_SCALE_LSTM, true},
    {"com.microsoft", "QAttention", 1, 4, 7, 1, VQC_SCALE_LAST, false},
};

static const vqc_quantized_op *find_quantized(const Onnx__NodeProto *node, size_t input)
{
    bool own = vqc_domain_is_onnx(node->domain);

    for (size_t i = 0; i < sizeof QUANTIZED / sizeof QUANTIZED[0]; i++) {
        const vqc_quantized_op *row = &QUANTIZED[i];

        if (row->weight == input && strcmp(row->op, node->op_type) == 0 &&
            (own ? row->domain[0] == '\0' : strcmp(row->domain, node->domain) == 0)) {
            return row;
        }
    }
    return NULL;
}

static const vqc_value *resolve_input(const vqc_weights *self, const vqc_scope *scope,
                                      const Onnx__NodeProto *node, size_t input)
{
    if (input >= node->n_input || node->input[input] == NULL || node->input[input][0] == '\0') {
        return NULL;
    }
    return vqc_scope_resolve(self->graph, scope, node->input[input]);
}

static bool is_constant(const vqc_weights *self, const vqc_value *value)
{
    return value != NULL && vqc_pointer_map_get(&self->constant, value, 0) != 0;
}

/* ---- which values are constant: one pass, producers come before their readers ---- */

static vqc_status mark_constants(vqc_weights *self, vqc_error *error)
{
    const vqc_graph *graph = self->graph;

    for (size_t i = 0; i < graph->value_count; i++) {
        const vqc_value *value = graph->values[i];
        if ((value->initializer != NULL || value->sparse != NULL) &&
            !vqc_pointer_map_set(&self->constant, value, 1)) {
            return vqc_fail_memory(error, 0);
        }
    }
    for (size_t s = 0; s < graph->scope_count; s++) {
        size_t count;
        Onnx__NodeProto **nodes = vqc_scope_nodes(graph->scopes[s], &count);

        for (size_t n = 0; n < count; n++) {
            bool constant = nodes[n]->op_type != NULL && !vqc_node_may_vary(nodes[n]);
            for (size_t i = 0; constant && i < nodes[n]->n_input; i++) {
                constant = nodes[n]->input[i] == NULL || nodes[n]->input[i][0] == '\0' ||
                           is_constant(self, resolve_input(self, graph->scopes[s], nodes[n], i));
            }
            for (size_t o = 0; constant && o < nodes[n]->n_output; o++) {
                const vqc_value *value =
                    vqc_scope_define(graph, graph->scopes[s], nodes[n]->output[o]);
                if (value != NULL && !vqc_pointer_map_set(&self->constant, value, 1)) {
                    return vqc_fail_memory(error, 0);
                }
            }
        }
    }
    return VQC_OK;
}

/* ---- shapes without evaluating, where that is easy ---- */

/* Data type of a constant value by the operators that give back the type of their first input. */
static int32_t static_dtype(const vqc_weights *self, const vqc_value *value)
{
    static const char *const same[] = {"Identity", "Reshape", "Transpose", "Mul",      "Sub",
                                       "Add",      "Gather",  "Squeeze",   "Unsqueeze"};

    for (int depth = 0; depth < 32 && value != NULL; depth++) {
        const Onnx__TensorProto *tensor = vqc_value_stored_tensor(value);
        bool follow = false;

        if (tensor != NULL) {
            return tensor->data_type;
        }
        if (value->producer == NULL) {
            break;
        }
        if (vqc_node_is(value->producer, "Cast")) {
            return (int32_t)vqc_node_attr_int(value->producer, "to", 0);
        }
        if (vqc_node_is(value->producer, "DequantizeLinear") &&
            vqc_node_attr_int(value->producer, "output_dtype", 0) == 0) {
            value = resolve_input(self, value->scope, value->producer, 1);
            continue;
        }
        for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
            follow = follow || vqc_node_is(value->producer, same[i]);
        }
        if (!follow) {
            break;
        }
        value = resolve_input(self, value->scope, value->producer, 0);
    }
    return VQC_DTYPE_UNDEFINED;
}

/* A Reshape to a stored shape without 0 and -1 says everything itself. */
static bool reshape_shape(vqc_weights *self, const vqc_value *value, int64_t *dims, size_t *rank)
{
    const vqc_value *shape = resolve_input(self, value->scope, value->producer, 1);
    const Onnx__TensorProto *tensor = shape == NULL ? NULL : vqc_value_stored_tensor(shape);
    vqc_buffer *buffer = NULL;
    bool known;

    if (tensor == NULL || tensor->data_type != VQC_DTYPE_INT64 || tensor->n_dims != 1 ||
        vqc_buffer_from_tensor(tensor, &buffer, NULL) != VQC_OK) {
        return false;
    }
    known = buffer->elements > 0 && buffer->elements <= VQC_EXEC_MAX_RANK;
    *rank = buffer->elements;
    for (size_t i = 0; known && i < buffer->elements; i++) {
        memcpy(&dims[i], buffer->data + i * sizeof *dims, sizeof *dims);
        known = dims[i] > 0;
    }
    vqc_buffer_destroy(&buffer);
    return known;
}

static bool static_shape(vqc_weights *self, const vqc_value *value, int32_t *dtype, int64_t *dims,
                         size_t *rank, int depth)
{
    const Onnx__TensorProto *tensor = vqc_value_stored_tensor(value);
    const vqc_value *input;
    int known;

    if (tensor != NULL) {
        if (tensor->n_dims > VQC_EXEC_MAX_RANK) {
            return false;
        }
        *dtype = tensor->data_type;
        *rank = tensor->n_dims;
        if (*rank > 0) {
            memcpy(dims, tensor->dims, *rank * sizeof *dims);
        }
        return true;
    }
    if (value->producer == NULL || depth > 32) {
        return false;
    }
    input = resolve_input(self, value->scope, value->producer, 0);
    if (input != NULL && strcmp(value->producer->op_type, "DequantizeLinear") == 0) {
        const vqc_value *scale = resolve_input(self, value->scope, value->producer, 1);
        int64_t to = vqc_node_attr_int(value->producer, "output_dtype", 0);
        int64_t scale_dims[VQC_EXEC_MAX_RANK];
        size_t scale_rank;
        int32_t ignored;
        if (scale == NULL ||
            !static_shape(self, scale, dtype, scale_dims, &scale_rank, depth + 1)) {
            return false;
        }
        *dtype = to != 0 ? (int32_t)to : *dtype;
        return static_shape(self, input, &ignored, dims, rank, depth + 1);
    }
    if (input != NULL && vqc_node_is(value->producer, "Cast")) {
        int32_t ignored;
        *dtype = (int32_t)vqc_node_attr_int(value->producer, "to", 0);
        return static_shape(self, input, &ignored, dims, rank, depth + 1);
    }
    if (vqc_node_is(value->producer, "Reshape") && reshape_shape(self, value, dims, rank)) {
        *dtype = static_dtype(self, value);
        if (*dtype != VQC_DTYPE_UNDEFINED) {
            return true;
        }
    }
    if (input != NULL && vqc_node_is(value->producer, "Identity")) {
        return static_shape(self, input, dtype, dims, rank, depth + 1);
    }
    *dtype = vqc_value_dtype(value);
    known = vqc_value_shape(value, dims, VQC_EXEC_MAX_RANK);
    *rank = known < 0 ? 0 : (size_t)known;
    for (size_t i = 0; i < *rank && i < VQC_EXEC_MAX_RANK; i++) {
        known = dims[i] < 0 ? -1 : known;
    }
    return *dtype != VQC_DTYPE_UNDEFINED && known >= 0 && *rank <= VQC_EXEC_MAX_RANK;
}

/* Type and dims of a constant value; evaluates it when the model does not say. */
static bool find_shape(vqc_weights *self, const vqc_value *value, int32_t *dtype, int64_t *dims,
                       size_t *rank)
{
    vqc_buffer *buffer = NULL;

    if (static_shape(self, value, dtype, dims, rank, 0)) {
        return true;
    }
    if (vqc_weights_evaluate(self, value, &buffer, NULL) != VQC_OK) {
        return false;
    }
    *dtype = buffer->dtype;
    *rank = buffer->rank;
    memcpy(dims, buffer->dims, *rank * sizeof *dims);
    vqc_buffer_destroy(&buffer);
    return true;
}

/* ---- finding ---- */

/* Whether the node gives back elements of its inputs unchanged. */
static bool is_view(const Onnx__NodeProto *node)
{
    static const char *const views[] = {"Identity", "Transpose", "Squeeze", "Unsqueeze", "Reshape",
                                        "Flatten",  "Slice",     "Concat",  "Split"};

    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
        if (vqc_node_is(node, views[i])) {
            return true;
        }
    }
    return false;
}

/*
 * Whether the walk back to the weight goes on behind this view. A Reshape of something computed is
 * the last step of what decodes a weight and carries its name; any other view is a step of the
 * model's own.
 */
static bool goes_on(const vqc_weights *self, const vqc_value *value)
{
    const vqc_value *input;

    if (value->initializer != NULL || value->producer == NULL || !is_view(value->producer)) {
        return false;
    }
    input = resolve_input(self, value->scope, value->producer, 0);
    if (input == NULL) {
        return false;
    }
    return !vqc_node_is(value->producer, "Reshape") || vqc_value_stored_tensor(input) != NULL ||
           input->producer == NULL || is_view(input->producer) ||
           strcmp(input->producer->op_type, "DequantizeLinear") == 0;
}

static vqc_status add_weight(vqc_weights *self, const vqc_weight *weight, vqc_error *error)
{
    size_t index = vqc_pointer_map_get(&self->found, weight->value, VQC_NOBODY);

    if (index != VQC_NOBODY) {
        self->items[index].use_count++;
        return VQC_OK;
    }
    if (self->count == self->capacity) {
        size_t capacity = self->capacity == 0 ? 64 : self->capacity * 2;
        vqc_weight *items = realloc(self->items, capacity * sizeof *items);
        if (items == NULL) {
            return vqc_fail_memory(error, capacity * sizeof *items);
        }
        self->items = items;
        self->capacity = capacity;
    }
    if (!vqc_pointer_map_set(&self->found, weight->value, self->count)) {
        return vqc_fail_memory(error, 0);
    }
    self->items[self->count] = *weight;
    self->items[self->count++].use_count = 1;
    return VQC_OK;
}

/* The one node that reads a value, or NULL. */
static const vqc_use *only_use(const vqc_value *value)
{
    return value != NULL && value->use_count == 1 && value->uses[0].node != NULL ? &value->uses[0]
                                                                                 : NULL;
}

/* The factor of a Mul that is the weight's scale: the constant one, or of two constants the one on
 * the side on which the operator has the weight. */
static bool take_factor(const vqc_weights *self, vqc_weight *weight, const vqc_scope *scope,
                        const Onnx__NodeProto *mul)
{
    for (size_t k = 0; k < 2; k++) {
        size_t side = k == 0 ? weight->input & 1 : 1 - (weight->input & 1);
        const vqc_value *factor = resolve_input(self, scope, mul, side);

        if (is_constant(self, factor)) {
            weight->scale = factor;
            weight->scale_node = mul;
            return true;
        }
    }
    return false;
}

/*
 * MatMulInteger -> Cast -> Mul(., Mul(x_scale, w_scale)) or -> Mul(., x_scale) -> Mul(., w_scale):
 * the constant factor is the weight's scale. Gather -> DequantizeLinear(., scale, zero point), or
 * Gather -> MatMulInteger as one of its operands.
 */
static void find_scale_behind(const vqc_weights *self, vqc_weight *weight)
{
    const vqc_value *value;

    if (weight->node->n_output == 0) {
        return;
    }
    value = vqc_scope_define(self->graph, weight->scope, weight->node->output[0]);
    for (int step = 0; step < CHAIN_STEPS; step++) {
        const vqc_use *use = only_use(value);

        if (use == NULL || use->node->n_output == 0) {
            return;
        }
        if (vqc_node_is(weight->node, "Gather")) {
            if (strcmp(use->node->op_type, "DequantizeLinear") == 0 && use->input == 0) {
                weight->scale = resolve_input(self, use->scope, use->node, 1);
                weight->zero = resolve_input(self, use->scope, use->node, 2);
                weight->scale_node = use->node;
            } else if (vqc_node_is(use->node, "MatMulInteger") && use->input < 2) {
                vqc_weight reader = {.scope = use->scope, .node = use->node, .input = use->input};
                find_scale_behind(self, &reader);
                weight->scale = reader.scale;
                weight->scale_node = reader.scale_node;
                weight->zero = resolve_input(self, use->scope, use->node, use->input + 2);
            }
            return;
        }
        if (vqc_node_is(use->node, "Mul")) {
            const vqc_value *other = resolve_input(self, use->scope, use->node, 1 - use->input);
            bool product =
                other != NULL && other->producer != NULL && vqc_node_is(other->producer, "Mul");

            if (product && take_factor(self, weight, other->scope, other->producer)) {
                return;
            }
            if (is_constant(self, other)) {
                weight->scale = other;
                weight->scale_node = use->node;
                return;
            }
        } else if (!vqc_node_is(use->node, "Cast")) {
            return;
        }
        value = vqc_scope_define(self->graph, use->scope, use->node->output[0]);
    }
}

/* Dims of the weight of a quantized operator as floats. */
static bool quantized_dims(vqc_weights *self, vqc_weight *weight)
{
    int32_t dtype;
    const Onnx__NodeProto *node = weight->node;
    size_t size_bytes;

    if (!find_shape(self, weight->value, &dtype, weight->dims, &weight->rank)) {
        return false;
    }
    if (weight->quantized->rule == VQC_SCALE_NBITS) {
        weight->rank = 2;
        weight->dims[0] = vqc_node_attr_int(node, "N", 0);
        weight->dims[1] = vqc_node_attr_int(node, "K", 0);
    } else if (weight->quantized->rule == VQC_SCALE_GATHER && dtype == VQC_DTYPE_UINT8 &&
               weight->rank > 0) {
        int64_t bits = vqc_node_attr_int(node, "bits", 4);
        if (bits != 2 && bits != 4 && bits != 8) {
            return false;
        }
        if (__builtin_mul_overflow(weight->dims[weight->rank - 1], 8 / bits,
                                   &weight->dims[weight->rank - 1])) {
            return false;
        }
    }
    return weight->rank >= 1 && vqc_exec_sizes(weight->dims, weight->rank, sizeof(float),
                                               &weight->elements, &size_bytes);
}

static vqc_status look_at_quantized(vqc_weights *self, vqc_weight *weight, vqc_error *error)
{
    const vqc_quantized_op *row = weight->quantized;

    weight->value = weight->operand;
    weight->float_input = row->float_input;
    if (!quantized_dims(self, weight)) {
        return VQC_OK;
    }
    if (row->scale >= 0) {
        weight->scale = resolve_input(self, weight->scope, weight->node, (size_t)row->scale);
        weight->scale_node = weight->node;
    } else {
        find_scale_behind(self, weight);
    }
    weight->scale = is_constant(self, weight->scale) ? weight->scale : NULL;
    if (vqc_node_is(weight->node, "Gather") && weight->scale == NULL) {
        return VQC_OK; /* not codes: any table of integers */
    }
    if (row->zero >= 0) {
        weight->zero = resolve_input(self, weight->scope, weight->node, (size_t)row->zero);
    }
    return add_weight(self, weight, error);
}

/* Adds the weights that a float operand consists of: itself, or what views and Concat put together.
 */
static vqc_status add_bases(vqc_weights *self, vqc_weight *weight, const vqc_value *value,
                            size_t *budget, vqc_error *error)
{
    int32_t dtype;
    size_t size_bytes;
    bool many;
    vqc_status status = VQC_OK;

    if (*budget == 0) {
        return VQC_OK;
    }
    --*budget;
    if (!goes_on(self, value)) {
        weight->value = value;
        if (!find_shape(self, value, &dtype, weight->dims, &weight->rank) ||
            !vqc_dtype_describe(dtype)->is_float ||
            !vqc_exec_sizes(weight->dims, weight->rank, sizeof(double), &weight->elements,
                            &size_bytes)) {
            return VQC_OK;
        }
        return add_weight(self, weight, error);
    }
    many = vqc_node_is(value->producer, "Concat");
    for (size_t i = 0; status == VQC_OK && i < (many ? value->producer->n_input : 1); i++) {
        const vqc_value *input = resolve_input(self, value->scope, value->producer, i);
        if (input != NULL) {
            status = add_bases(self, weight, input, budget, error);
        }
    }
    return status;
}

/* Whether a table that Gather reads holds codes rather than floats. */
static bool is_coded_table(vqc_weights *self, const vqc_value *value)
{
    int32_t dtype;
    int64_t dims[VQC_EXEC_MAX_RANK];
    size_t rank;

    return find_shape(self, value, &dtype, dims, &rank) && !vqc_dtype_describe(dtype)->is_float;
}

static vqc_status look_at_input(vqc_weights *self, const vqc_scope *scope,
                                const Onnx__NodeProto *node, size_t input, vqc_error *error)
{
    vqc_weight weight = {.scope = scope, .node = node, .input = input, .float_input = input};
    vqc_operand operand;
    int32_t dtype;
    int64_t seen[VQC_EXEC_MAX_RANK] = {2, 2};
    size_t seen_rank;
    size_t budget = VIEW_BUDGET;

    weight.operand = resolve_input(self, scope, node, input);
    if (!is_constant(self, weight.operand)) {
        return VQC_OK;
    }
    weight.quantized = find_quantized(node, input);
    if (weight.quantized != NULL &&
        (!vqc_node_is(node, "Gather") || is_coded_table(self, weight.operand))) {
        return look_at_quantized(self, &weight, error);
    }
    weight.quantized = NULL;
    /* rank 2 stands for any matrix: only inputs that may be weights are worth a look at their shape
     */
    operand = vqc_operand_describe(node, input, seen, 2);
    if (operand.role != VQC_ROLE_WEIGHT ||
        !find_shape(self, weight.operand, &dtype, seen, &seen_rank) ||
        !vqc_dtype_describe(dtype)->is_float) {
        return VQC_OK;
    }
    operand = vqc_operand_describe(node, input, seen, seen_rank);
    return operand.role != VQC_ROLE_WEIGHT
               ? VQC_OK
               : add_bases(self, &weight, weight.operand, &budget, error);
}

vqc_status vqc_weights_find(vqc_model *model, vqc_weights *weights, vqc_error *error)
{
    vqc_status status;
    size_t total = model->file_size_bytes;

    memset(weights, 0, sizeof *weights);
    weights->model = model;
    if (!vqc_size_add(total, model->external_size_bytes, &total) ||
        !vqc_size_mul(total, 256, &total)) {
        total = SIZE_MAX / 2;
    }
    weights->work_left = (uint64_t)total + WORK_BASE;
    status = vqc_graph_create(model, &weights->graph, error);
    if (status == VQC_OK) {
        status = mark_constants(weights, error);
    }
    for (size_t s = 0; status == VQC_OK && s < weights->graph->scope_count; s++) {
        const vqc_scope *scope = weights->graph->scopes[s];
        size_t count;
        Onnx__NodeProto **nodes = vqc_scope_nodes(scope, &count);

        for (size_t n = 0; status == VQC_OK && n < count; n++) {
            const vqc_value *first =
                nodes[n]->n_output > 0
                    ? vqc_scope_define(weights->graph, scope, nodes[n]->output[0])
                    : NULL;
            if (nodes[n]->op_type == NULL || is_constant(weights, first)) {
                continue; /* part of what decodes a weight, not a reader of it */
            }
            for (size_t i = 0; status == VQC_OK && i < nodes[n]->n_input; i++) {
                status = look_at_input(weights, scope, nodes[n], i, error);
            }
        }
    }
    return status;
}

void vqc_weights_clear(vqc_weights *weights)
{
    vqc_pointer_map_clear(&weights->constant);
    vqc_pointer_map_clear(&weights->found);
    vqc_pointer_map_clear(&weights->owner);
    free(weights->items);
    vqc_graph_destroy(&weights->graph);
    memset(weights, 0, sizeof *weights);
}

/* ---- who owns what ---- */

typedef struct owning {
    vqc_weights *weights;
    size_t index;
    size_t budget;
    const vqc_value **stack;
    size_t depth;
    size_t capacity;
} owning;

static bool push(owning *self, const vqc_value *value)
{
    if (value == NULL) {
        return true;
    }
    if (self->depth == self->capacity) {
        size_t capacity = self->capacity == 0 ? 64 : self->capacity * 2;
        const vqc_value **stack = realloc(self->stack, capacity * sizeof *stack);
        if (stack == NULL) {
            return false;
        }
        self->stack = stack;
        self->capacity = capacity;
    }
    self->stack[self->depth++] = value;
    return true;
}

/* Marks a value or node as this weight's, or as shared when another one has it. True: go on from
 * it. */
static bool claim(owning *self, const void *item, bool *memory)
{
    vqc_pointer_map *owner = &self->weights->owner;
    size_t before = vqc_pointer_map_get(owner, item, VQC_NOBODY);
    size_t now = before == VQC_NOBODY ? self->index : VQC_SHARED;

    if (before == self->index || before == VQC_SHARED) {
        return false;
    }
    *memory = *memory && vqc_pointer_map_set(owner, item, now);
    return true;
}

static bool own_weight(owning *self, const vqc_weight *weight)
{
    bool memory = push(self, weight->value) && push(self, weight->scale) &&
                  push(self, is_constant(self->weights, weight->zero) ? weight->zero : NULL);

    while (memory && self->depth > 0) {
        const vqc_value *value = self->stack[--self->depth];

        if (self->budget == 0 || !claim(self, value, &memory)) {
            continue;
        }
        self->budget--;
        if (value->initializer != NULL || value->producer == NULL) {
            continue;
        }
        claim(self, value->producer, &memory);
        for (size_t i = 0; i < value->producer->n_input; i++) {
            memory = memory &&
                     push(self, resolve_input(self->weights, value->scope, value->producer, i));
        }
    }
    self->depth = 0;
    return memory;
}

/* Constants that something outside their weight reads as well (a common shape vector) are shared.
 */
static bool find_outside_uses(vqc_weights *weights)
{
    for (size_t v = 0; v < weights->graph->value_count; v++) {
        const vqc_value *value = weights->graph->values[v];
        size_t index = vqc_pointer_map_get(&weights->owner, value, VQC_NOBODY);
        const vqc_weight *weight = index < weights->count ? &weights->items[index] : NULL;

        if (weight == NULL || value == weight->value) {
            continue;
        }
        for (size_t u = 0; u < value->use_count; u++) {
            const Onnx__NodeProto *node = value->uses[u].node;
            if (node != weight->node && node != weight->scale_node &&
                (node == NULL || vqc_pointer_map_get(&weights->owner, node, VQC_NOBODY) != index) &&
                !vqc_pointer_map_set(&weights->owner, value, VQC_SHARED)) {
                return false;
            }
        }
    }
    return true;
}

vqc_status vqc_weights_own(vqc_weights *weights, vqc_error *error)
{
    owning self = {.weights = weights, .budget = OWN_BUDGET};
    bool memory = true;

    for (self.index = 0; memory && self.index < weights->count; self.index++) {
        memory = own_weight(&self, &weights->items[self.index]);
    }
    free(self.stack);
    memory = memory && find_outside_uses(weights);
    return memory ? VQC_OK : vqc_fail_memory(error, 0);
}
