#include "core/layer.h"

#include <string.h>

#include "core/dtype.h"
#include "core/tensor.h"

enum {
    MAX_RANK = 16,     /* axes are followed through views up to this rank */
    TRACE_BUDGET = 256 /* nodes looked at on the way from one constant to its operators */
};

/* A float constant on its way to becoming a layer. */
typedef struct candidate {
    vqc_value *value;
    Onnx__TensorProto *tensor;
    size_t order;     /* place among all first uses; SIZE_MAX: only an output, or unused */
    size_t use_count; /* direct uses, Identity nodes looked through */
    bool is_output;
} candidate;

typedef struct finder {
    vqc_graph *graph;
    vqc_arena *arena;
    candidate *candidates;
    size_t count;
    size_t *slots; /* open addressing: candidate index + 1, keyed by value */
    size_t slot_count;
    size_t ordered;
} finder;

/* What the trace from a constant to its operators carries along. */
typedef struct view {
    int source_axis[MAX_RANK]; /* view axis -> axis of the stored tensor, -1: none */
    int64_t dims[MAX_RANK];    /* of the view, -1: unknown */
    size_t rank;
    bool known; /* rank, dims and axes still describe the view */
    bool direct;
} view;

typedef struct trace {
    finder *finder;
    vqc_layer *layer;
    bool decided;
    int budget;
} trace;

bool vqc_layer_is_depthwise(const vqc_layer *layer)
{
    return layer->node != NULL && vqc_node_is(layer->node, "Conv") && layer->rank > 2 &&
           layer->dims[1] == 1 && layer->dims[0] > 1 &&
           vqc_node_attr_int(layer->node, "group", 1) > 1;
}

Onnx__TensorProto *vqc_value_stored_tensor(const vqc_value *value)
{
    const Onnx__AttributeProto *attr;

    if (value->initializer != NULL) {
        return value->initializer;
    }
    if (value->producer == NULL || !vqc_node_is(value->producer, "Constant")) {
        return NULL;
    }
    attr = vqc_node_attr(value->producer, "value");
    return attr != NULL ? attr->t : NULL;
}

vqc_value *vqc_value_source(const vqc_graph *graph, vqc_value *value)
{
    vqc_value *start = value;

    for (size_t steps = 0; value != NULL && steps < graph->value_count; steps++) {
        vqc_value *input = value->source;

        if (input != NULL) { /* found before */
            value = input;
            break;
        }
        if (value->initializer != NULL || value->producer == NULL ||
            !vqc_node_is(value->producer, "Identity") || value->producer->n_input != 1) {
            break;
        }
        input = vqc_scope_resolve(graph, value->scope, value->producer->input[0]);
        if (input == NULL) {
            break;
        }
        value = input;
    }
    /* Every value on the way remembers the answer (in a ring it may be itself): long chains with
     * many readers stay linear. */
    while (start != NULL && start->source == NULL) {
        start->source = value;
        if (start == value) {
            break;
        }
        start = vqc_scope_resolve(graph, start->scope, start->producer->input[0]);
    }
    return value;
}

static size_t slot_of(const finder *self, const vqc_value *value)
{
    size_t mask = self->slot_count - 1;
    size_t slot = (size_t)(((uint64_t)(uintptr_t)value * 0x9E3779B97F4A7C15u) >> 20) & mask;

    while (self->slots[slot] != 0 && self->candidates[self->slots[slot] - 1].value != value) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

static candidate *find_candidate(const finder *self, const vqc_value *value)
{
    size_t entry = self->slots[slot_of(self, value)];

    return entry == 0 ? NULL : &self->candidates[entry - 1];
}

static vqc_status collect_candidates(finder *self, vqc_error *error)
{
    const vqc_graph *graph = self->graph;

    self->slot_count = 16;
    while (self->slot_count < 2 * graph->value_count) {
        self->slot_count *= 2;
    }
    self->slots = vqc_arena_calloc(self->arena, self->slot_count, sizeof *self->slots);
    self->candidates = vqc_arena_calloc(self->arena, graph->value_count + 1, sizeof(candidate));
    if (self->slots == NULL || self->candidates == NULL) {
        return vqc_fail_memory(error, self->slot_count * sizeof *self->slots);
    }
    for (size_t i = 0; i < graph->value_count; i++) {
        vqc_value *value = graph->values[i];
        Onnx__TensorProto *tensor = vqc_value_stored_tensor(value);

        if (tensor == NULL || !vqc_dtype_describe(tensor->data_type)->is_float) {
            continue;
        }
        self->candidates[self->count] = (candidate){value, tensor, SIZE_MAX, 0, false};
        self->count++;
        self->slots[slot_of(self, value)] = self->count;
    }
    return VQC_OK;
}

static bool is_identity(const Onnx__NodeProto *node)
{
    return node != NULL && vqc_node_is(node, "Identity") && node->n_input == 1;
}

/* Gives every candidate its place and its number of uses. */
static void order_candidates(finder *self)
{
    const vqc_graph *graph = self->graph;

    for (size_t s = 0; s < graph->scope_count; s++) {
        const vqc_scope *scope = graph->scopes[s];
        size_t count;
        Onnx__NodeProto **nodes = vqc_scope_nodes(scope, &count);

        for (size_t n = 0; n < count; n++) {
            for (size_t i = 0; !is_identity(nodes[n]) && i < nodes[n]->n_input; i++) {
                const char *name = nodes[n]->input[i];
                vqc_value *value = vqc_scope_resolve(graph, scope, name);
                candidate *found =
                    value == NULL ? NULL : find_candidate(self, vqc_value_source(graph, value));
                if (found != NULL) {
                    found->order = found->order == SIZE_MAX ? self->ordered++ : found->order;
                    found->use_count++;
                }
            }
        }
    }
    for (size_t i = 0; i < graph->value_count; i++) {
        const vqc_value *value = graph->values[i];
        for (size_t u = 0; u < value->use_count; u++) {
            candidate *found;
            if (value->uses[u].node != NULL) {
                continue;
            }
            found = find_candidate(self, vqc_value_source(graph, graph->values[i]));
            if (found != NULL) {
                found->is_output = true;
                found->use_count++;
            }
        }
    }
}

/* Appends the uses of a value, those of an Identity's output in its place. Returns the new count.
 */
static size_t append_uses(const finder *self, const vqc_value *value, vqc_use *uses, size_t count,
                          size_t capacity, int depth)
{
    for (size_t u = 0; u < value->use_count; u++) {
        const vqc_use *use = &value->uses[u];

        if (is_identity(use->node) && use->node->n_output > 0) {
            const vqc_value *alias =
                vqc_scope_define(self->graph, use->scope, use->node->output[0]);
            if (alias != NULL && depth < 64) {
                count = append_uses(self, alias, uses, count, capacity, depth + 1);
            }
        } else if (count < capacity) {
            uses[count++] = *use;
        }
    }
    return count;
}

static bool has_identity_use(const vqc_value *value)
{
    for (size_t u = 0; u < value->use_count; u++) {
        if (is_identity(value->uses[u].node)) {
            return true;
        }
    }
    return false;
}

/* Whether the value is computed from constants alone; stops (false) when the budget is spent. */
static bool is_constant(trace *self, const vqc_scope *scope, const char *name, int depth)
{
    vqc_value *value;

    if (name == NULL || name[0] == '\0') {
        return true;
    }
    value = vqc_scope_resolve(self->finder->graph, scope, name);
    if (value == NULL) {
        return false;
    }
    if (vqc_value_stored_tensor(value) != NULL) {
        return true;
    }
    if (value->producer == NULL || depth > 16 || self->budget-- <= 0) {
        return false;
    }
    if (vqc_node_is(value->producer, "Constant")) {
        return true;
    }
    if (value->producer->n_input == 0) {
        return false; /* a generator such as RandomNormal */
    }
    for (size_t i = 0; i < value->producer->n_input; i++) {
        if (!is_constant(self, value->scope, value->producer->input[i], depth + 1)) {
            return false;
        }
    }
    return true;
}

/* Integers of an attribute or, since opset 13, of a constant input; false when they are not static.
 */
static bool static_ints(const trace *self, const vqc_use *use, const char *attr_name, size_t input,
                        int64_t *values, size_t capacity, size_t *count)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(use->node, attr_name);
    const vqc_value *value;
    Onnx__TensorProto *tensor;
    const void *raw;
    size_t size_bytes;

    if (attr != NULL) {
        *count = attr->n_ints;
        for (size_t i = 0; i < attr->n_ints && i < capacity; i++) {
            values[i] = attr->ints[i];
        }
        return attr->n_ints <= capacity;
    }
    if (input >= use->node->n_input) {
        return false;
    }
    value = vqc_scope_resolve(self->finder->graph, use->scope, use->node->input[input]);
    tensor = value == NULL ? NULL : vqc_value_constant(self->finder->graph, value);
    if (tensor == NULL || tensor->data_type != VQC_DTYPE_INT64 ||
        vqc_tensor_borrow_raw(tensor, self->finder->arena, &raw, &size_bytes, NULL) != VQC_OK ||
        size_bytes / sizeof *values > capacity) {
        return false;
    }
    *count = size_bytes / sizeof *values;
    memcpy(values, raw, *count * sizeof *values);
    return true;
}

static void view_transpose(const trace *self, const vqc_use *use, view *out)
{
    int64_t perm[MAX_RANK];
    size_t count = 0;
    view in = *out;

    if (!static_ints(self, use, "perm", SIZE_MAX, perm, MAX_RANK, &count)) {
        count = in.rank;
        for (size_t i = 0; i < count; i++) {
            perm[i] = (int64_t)(count - 1 - i);
        }
    }
    out->known = in.known && count == in.rank;
    for (size_t i = 0; out->known && i < count; i++) {
        if (perm[i] < 0 || (size_t)perm[i] >= in.rank) {
            out->known = false;
            return;
        }
        out->source_axis[i] = in.source_axis[perm[i]];
        out->dims[i] = in.dims[perm[i]];
    }
}

static void view_unsqueeze(const trace *self, const vqc_use *use, view *out)
{
    int64_t axes[MAX_RANK];
    size_t count = 0;
    view in = *out;
    bool inserted[MAX_RANK] = {false};
    size_t next = 0;

    out->known = in.known && static_ints(self, use, "axes", 1, axes, MAX_RANK, &count) &&
                 in.rank + count <= MAX_RANK;
    if (!out->known) {
        return;
    }
    out->rank = in.rank + count;
    for (size_t i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + (int64_t)out->rank : axes[i];
        if (axis < 0 || (size_t)axis >= out->rank || inserted[axis]) {
            out->known = false;
            return;
        }
        inserted[axis] = true;
    }
    for (size_t i = 0; i < out->rank; i++) {
        out->source_axis[i] = inserted[i] ? -1 : in.source_axis[next];
        out->dims[i] = inserted[i] ? 1 : in.dims[next];
        next += !inserted[i];
    }
}

static void view_squeeze(const trace *self, const vqc_use *use, view *out)
{
    int64_t axes[MAX_RANK];
    size_t count = 0;
    size_t rank = 0;
    view in = *out;
    bool all = vqc_node_attr(use->node, "axes") == NULL && use->node->n_input < 2;
    bool removed[MAX_RANK] = {false};

    out->known = in.known && (all || static_ints(self, use, "axes", 1, axes, MAX_RANK, &count));
    for (size_t i = 0; out->known && !all && i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + (int64_t)in.rank : axes[i];
        if (axis < 0 || (size_t)axis >= in.rank) {
            out->known = false;
            return;
        }
        removed[axis] = true;
    }
    for (size_t i = 0; out->known && i < in.rank; i++) {
        if (all && in.dims[i] < 0) {
            out->known = false;
        } else if (!(all ? in.dims[i] == 1 : removed[i])) {
            out->source_axis[rank] = in.source_axis[i];
            out->dims[rank++] = in.dims[i];
        }
    }
    out->rank = rank;
}

/* Axes that a Reshape leaves alone at the front and the back keep their meaning; those that it
 * joins or splits are no axis of the stored tensor any more. */
static void view_reshape(const trace *self, const vqc_use *use, view *out)
{
    int64_t shape[MAX_RANK];
    size_t count = 0;
    size_t front = 0;
    size_t back = 0;
    int64_t known = 1;
    int64_t total = 1;
    size_t open = SIZE_MAX;
    view in = *out;

    out->known = in.known && static_ints(self, use, "shape", 1, shape, MAX_RANK, &count);
    for (size_t i = 0; out->known && i < in.rank; i++) {
        out->known = in.dims[i] > 0 && !__builtin_mul_overflow(total, in.dims[i], &total);
    }
    for (size_t i = 0; out->known && i < count; i++) {
        shape[i] = shape[i] == 0 && i < in.rank ? in.dims[i] : shape[i];
        if (shape[i] == -1 && open == SIZE_MAX) {
            open = i;
        } else {
            out->known = shape[i] > 0 && !__builtin_mul_overflow(known, shape[i], &known);
        }
    }
    if (!out->known || total % known != 0 || (open == SIZE_MAX && total != known)) {
        out->known = false;
        return;
    }
    if (open != SIZE_MAX) {
        shape[open] = total / known;
    }
    while (front < count && front < in.rank && shape[front] == in.dims[front]) {
        front++;
    }
    while (back < count - front && back < in.rank - front &&
           shape[count - 1 - back] == in.dims[in.rank - 1 - back]) {
        back++;
    }
    out->rank = count;
    for (size_t i = 0; i < count; i++) {
        out->dims[i] = shape[i];
        out->source_axis[i] = i < front           ? in.source_axis[i]
                              : i >= count - back ? in.source_axis[in.rank - (count - i)]
                                                  : -1;
    }
}

/*
 * Steps through a node that only rearranges or converts its constant input, so that what reads its
 * output still reads this weight. False: the node is a reader in its own right.
 */
static bool step_through(trace *self, const vqc_use *use, view *seen)
{
    const Onnx__NodeProto *node = use->node;
    const char *op = node->op_type;

    if (!vqc_domain_is_onnx(node->domain) || node->n_output == 0) {
        return false;
    }
    if (strcmp(op, "Concat") == 0) {
        for (size_t i = 0; i < node->n_input; i++) {
            if (!is_constant(self, use->scope, node->input[i], 0)) {
                return false;
            }
        }
    } else if (use->input != 0) {
        return false;
    }
    if (strcmp(op, "Transpose") == 0) {
        view_transpose(self, use, seen);
    } else if (strcmp(op, "Unsqueeze") == 0) {
        view_unsqueeze(self, use, seen);
    } else if (strcmp(op, "Squeeze") == 0) {
        view_squeeze(self, use, seen);
    } else if (strcmp(op, "Slice") == 0 || strcmp(op, "Concat") == 0 || strcmp(op, "Split") == 0) {
        for (size_t i = 0; i < MAX_RANK; i++) {
            seen->dims[i] = -1;
        }
    } else if (strcmp(op, "Reshape") == 0) {
        view_reshape(self, use, seen);
    } else if (strcmp(op, "Flatten") == 0) {
        seen->known = false;
    } else if (strcmp(op, "Cast") != 0 && strcmp(op, "QuantizeLinear") != 0 &&
               strcmp(op, "DequantizeLinear") != 0 && strcmp(op, "CastLike") != 0) {
        return false;
    }
    seen->direct = false;
    return true;
}

static int role_rank(vqc_layer_role role)
{
    static const int ranks[] = {
        [VQC_ROLE_SCALE] = 4, [VQC_ROLE_WEIGHT] = 3, [VQC_ROLE_NORM] = 2,
        [VQC_ROLE_BIAS] = 1,  [VQC_ROLE_OTHER] = 0,
    };

    return ranks[role];
}

/* A view may leave a matrix with one of its axes spread over several: the nearest other axis stands
 * in. */
static void complete_axes(vqc_operand *operand, int rank)
{
    int last = rank - 1;

    if (operand->role != VQC_ROLE_WEIGHT || rank < 2) {
        return;
    }
    if (operand->channel_axis < 0) {
        operand->channel_axis = operand->reduction_axis == 0 ? last : 0;
        operand->channel_joins_outer = false;
    }
    if (operand->reduction_axis < 0) {
        operand->reduction_axis = operand->channel_axis == last ? last - 1 : last;
    }
}

/* Takes the role of one reader into the layer when it outranks what was found so far. */
static void decide(trace *self, const vqc_use *use, const view *seen)
{
    vqc_layer *layer = self->layer;
    const int64_t *dims = seen->known ? seen->dims : layer->dims;
    size_t rank = seen->known ? seen->rank : layer->rank;
    vqc_operand operand = vqc_operand_describe(use->node, use->input, dims, rank);

    if (!seen->known && operand.role == VQC_ROLE_WEIGHT) { /* an unknown view: the general rule */
        operand.channel_axis = layer->rank >= 2 ? 0 : -1;
        operand.reduction_axis = layer->rank >= 2 ? (int)layer->rank - 1 : -1;
        operand.channel_joins_outer = false;
    } else if (seen->known) {
        int channel = operand.channel_axis;
        int reduction = operand.reduction_axis;
        operand.channel_axis = channel < 0 ? -1 : seen->source_axis[channel];
        operand.reduction_axis = reduction < 0 ? -1 : seen->source_axis[reduction];
        complete_axes(&operand, (int)layer->rank);
    }
    if (self->decided && role_rank(operand.role) <= role_rank(layer->role)) {
        return;
    }
    self->decided = true;
    layer->role = operand.role;
    layer->channel_axis = operand.channel_axis;
    layer->reduction_axis = operand.reduction_axis;
    layer->channel_joins_outer = operand.channel_joins_outer && operand.channel_axis > 0;
    layer->node = use->node;
    layer->input = use->input;
    layer->direct = seen->direct;
}

/* The formal parameter behind input `input` of a call to a function of the model, or NULL. */
static const vqc_value *function_parameter(const vqc_graph *graph, const Onnx__NodeProto *node,
                                           size_t input)
{
    for (size_t s = 0; s < graph->scope_count && !vqc_domain_is_onnx(node->domain); s++) {
        const Onnx__FunctionProto *function = graph->scopes[s]->function;

        if (function != NULL && function->domain != NULL && function->name != NULL &&
            strcmp(function->domain, node->domain) == 0 &&
            strcmp(function->name, node->op_type) == 0 && input < function->n_input) {
            return vqc_scope_define(graph, graph->scopes[s], function->input[input]);
        }
    }
    return NULL;
}

static void trace_uses(trace *self, const vqc_use *uses, size_t count, const view *seen, int depth)
{
    for (size_t u = 0; u < count && self->budget > 0; u++) {
        const vqc_use *use = &uses[u];
        const vqc_value *next = NULL;
        view through = *seen;

        if (use->node == NULL || use->node->op_type == NULL) {
            continue;
        }
        self->budget--;
        if (depth < 16) {
            if (is_identity(use->node) || step_through(self, use, &through)) {
                for (size_t o = 0; o < use->node->n_output; o++) {
                    next = vqc_scope_define(self->finder->graph, use->scope, use->node->output[o]);
                    if (next != NULL && next->use_count > 0) {
                        trace_uses(self, next->uses, next->use_count, &through, depth + 1);
                    }
                }
                continue;
            }
            next = function_parameter(self->finder->graph, use->node, use->input);
        }
        if (next != NULL && next->use_count > 0) {
            trace_uses(self, next->uses, next->use_count, seen, depth + 1);
        } else {
            decide(self, use, seen);
        }
    }
}

static vqc_status fill_uses(const finder *self, const candidate *from, vqc_layer *layer,
                            vqc_error *error)
{
    vqc_use *uses;

    layer->uses = from->value->uses;
    layer->use_count = from->value->use_count;
    if (!has_identity_use(from->value)) {
        return VQC_OK;
    }
    uses = vqc_arena_calloc(self->arena, from->use_count, sizeof *uses);
    if (uses == NULL) {
        return vqc_fail_memory(error, from->use_count * sizeof *uses);
    }
    layer->uses = uses;
    layer->use_count = append_uses(self, from->value, uses, 0, from->use_count, 0);
    return VQC_OK;
}

static vqc_status fill_layer(finder *self, const candidate *from, vqc_layer *layer,
                             vqc_error *error)
{
    trace walk = {self, layer, false, TRACE_BUDGET};
    view seen = {
        .rank = from->tensor->n_dims, .known = from->tensor->n_dims <= MAX_RANK, .direct = true};
    int64_t ir_version = self->graph->model->proto->ir_version;

    layer->value = from->value;
    layer->tensor = from->tensor;
    layer->scope = from->value->scope;
    layer->dims = from->tensor->dims;
    layer->rank = from->tensor->n_dims;
    layer->dtype = from->tensor->data_type;
    layer->is_output = from->is_output;
    layer->is_initializer = from->value->initializer != NULL;
    layer->overridable =
        layer->is_initializer && from->value->graph_input != NULL && ir_version >= 4;
    layer->role = VQC_ROLE_OTHER;
    layer->channel_axis = layer->reduction_axis = -1;
    layer->op = "";
    layer->node_name = "";
    if (!vqc_tensor_elements(from->tensor, &layer->elements)) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "tensor \"%s\": got dimensions that are negative or too large, expected a "
                        "tensor that fits into memory",
                        from->value->name);
    }
    if (fill_uses(self, from, layer, error) != VQC_OK) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t i = 0; seen.known && i < seen.rank; i++) {
        seen.source_axis[i] = (int)i;
        seen.dims[i] = layer->dims[i];
    }
    trace_uses(&walk, layer->uses, layer->use_count, &seen, 0);
    if (layer->node != NULL) {
        layer->op = vqc_node_op_name(layer->node, self->arena);
        layer->node_name = vqc_node_label(layer->node, self->arena);
        if (layer->op == NULL || layer->node_name == NULL) {
            return vqc_fail_memory(error, 0);
        }
    }
    layer->outer = layer->channels = layer->inner = 1;
    for (size_t i = 0; i < layer->rank; i++) { /* products of parts of `elements`: see below */
        size_t *part = layer->channel_axis < 0 || (int)i > layer->channel_axis ? &layer->inner
                       : (int)i < layer->channel_axis                          ? &layer->outer
                                                                               : &layer->channels;
        if (!vqc_size_mul(*part, (size_t)layer->dims[i], part)) {
            return vqc_fail(error, VQC_ERR_MODEL, "tensor \"%s\": dimensions overflow",
                            from->value->name); /* with a 0 among them the product alone is small */
        }
    }
    return VQC_OK;
}

vqc_status vqc_layers_find(vqc_graph *graph, vqc_arena *arena, vqc_layer **out, size_t *count,
                           vqc_error *error)
{
    finder self = {.graph = graph, .arena = arena};
    const candidate **sorted;
    vqc_layer *layers;
    size_t last = 0;
    size_t total = 0;
    vqc_status status;

    *out = NULL;
    *count = 0;
    status = collect_candidates(&self, error);
    if (status != VQC_OK) {
        return status;
    }
    order_candidates(&self);
    sorted = vqc_arena_calloc(arena, self.count + 1, sizeof *sorted);
    layers = vqc_arena_calloc(arena, self.count + 1, sizeof *layers);
    if (sorted == NULL || layers == NULL) {
        return vqc_fail_memory(error, self.count * sizeof *layers);
    }
    last = self.ordered;
    for (size_t i = 0; i < self.count; i++) {
        const candidate *from = &self.candidates[i];
        if (from->order != SIZE_MAX) {
            sorted[from->order] = from;
        } else if (from->is_output) {
            sorted[last++] = from;
        }
    }
    for (total = 0; total < last; total++) {
        status = fill_layer(&self, sorted[total], &layers[total], error);
        if (status != VQC_OK) {
            return status;
        }
    }
    *out = layers;
    *count = total;
    return VQC_OK;
}
