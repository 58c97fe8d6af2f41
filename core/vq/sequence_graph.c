/* What depends on what in the main graph; bodies of control flow count as their node. */
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/vq/sequence_internal.h"

/* ---- names ---- */

static size_t hash_name(const char *name)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */

    for (; *name != '\0'; name++) {
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    }
    return (size_t)(hash ^ hash >> 29);
}

size_t vqc_sequence_lookup(const vqc_sequence *self, const char *name)
{
    size_t mask = self->bucket_count - 1;

    if (name == NULL || name[0] == '\0') {
        return VQC_SEQUENCE_NONE;
    }
    for (size_t at = hash_name(name) & mask; self->buckets[at] != 0; at = (at + 1) & mask) {
        if (strcmp(self->values[self->buckets[at] - 1].name, name) == 0) {
            return self->buckets[at] - 1;
        }
    }
    return VQC_SEQUENCE_NONE;
}

/* The value with that name, made when it is new. Room for all was made before. */
static size_t define(vqc_sequence *self, const char *name)
{
    size_t mask = self->bucket_count - 1;
    size_t found = vqc_sequence_lookup(self, name);
    size_t at;

    if (found != VQC_SEQUENCE_NONE || name == NULL || name[0] == '\0') {
        return found;
    }
    for (at = hash_name(name) & mask; self->buckets[at] != 0; at = (at + 1) & mask) {
    }
    self->values[self->value_count] =
        (vqc_sequence_value){.name = name, .producer = VQC_SEQUENCE_NONE};
    self->buckets[at] = ++self->value_count;
    return self->value_count - 1;
}

static vqc_status make_room(vqc_sequence *self, const Onnx__GraphProto *graph, vqc_error *error)
{
    size_t count = graph->n_input + graph->n_initializer + graph->n_sparse_initializer + 1;

    for (size_t i = 0; i < graph->n_node; i++) {
        count += graph->node[i]->n_output;
    }
    for (self->bucket_count = 16; self->bucket_count < 2 * count; self->bucket_count *= 2) {
    }
    self->values = vqc_arena_calloc(self->arena, count, sizeof *self->values);
    self->buckets = vqc_arena_calloc(self->arena, self->bucket_count, sizeof *self->buckets);
    self->nodes = vqc_arena_calloc(self->arena, graph->n_node + 1, sizeof *self->nodes);
    self->order = vqc_arena_calloc(self->arena, graph->n_node + 1, sizeof *self->order);
    self->order_rank = vqc_arena_calloc(self->arena, graph->n_node + 1, sizeof *self->order_rank);
    self->node_count = graph->n_node;
    return self->values == NULL || self->buckets == NULL || self->nodes == NULL ||
                   self->order == NULL || self->order_rank == NULL
               ? vqc_fail_memory(error, count * sizeof *self->values)
               : VQC_OK;
}

static Onnx__TensorProto *constant_tensor(const Onnx__NodeProto *node)
{
    const Onnx__AttributeProto *attr =
        vqc_node_is(node, "Constant") ? vqc_node_attr(node, "value") : NULL;

    return attr == NULL ? NULL : attr->t;
}

static vqc_status define_values(vqc_sequence *self, const Onnx__GraphProto *graph, vqc_error *error)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        size_t v = define(self, graph->initializer[i]->name);
        if (v != VQC_SEQUENCE_NONE) {
            self->values[v].tensor = graph->initializer[i];
            self->values[v].is_stored = true;
        }
    }
    for (size_t i = 0; i < graph->n_sparse_initializer; i++) {
        const Onnx__TensorProto *values = graph->sparse_initializer[i]->values;
        size_t v = values == NULL ? VQC_SEQUENCE_NONE : define(self, values->name);
        if (v != VQC_SEQUENCE_NONE) {
            self->values[v].is_stored = true;
        }
    }
    for (size_t i = 0; i < graph->n_input; i++) {
        (void)define(self, graph->input[i]->name);
    }
    for (size_t i = 0; i < graph->n_node; i++) {
        vqc_sequence_node *node = &self->nodes[i];

        node->proto = graph->node[i];
        node->output_count = node->proto->n_output;
        node->outputs =
            vqc_arena_calloc(self->arena, node->output_count + 1, sizeof *node->outputs);
        if (node->outputs == NULL) {
            return vqc_fail_memory(error, node->output_count * sizeof *node->outputs);
        }
        for (size_t o = 0; o < node->output_count; o++) {
            size_t v = define(self, node->proto->output[o]);
            node->outputs[o] = v;
            if (v != VQC_SEQUENCE_NONE) {
                self->values[v].producer = i;
                self->values[v].tensor = constant_tensor(node->proto);
                self->values[v].is_stored = self->values[v].tensor != NULL;
            }
        }
    }
    return VQC_OK;
}

/* ---- what nodes read ---- */

/* A growing list of values without repetitions. */
typedef struct reading {
    vqc_sequence *self;
    size_t *list;
    size_t count;
    size_t capacity;
    bool *listed; /* [value_count] */
    bool out_of_memory;
} reading;

static void read_value(reading *r, const char *name)
{
    size_t v = vqc_sequence_lookup(r->self, name);

    if (v == VQC_SEQUENCE_NONE || r->listed[v]) {
        return; /* absent; a name that nothing defines is the compiler's to complain about */
    }
    if (r->count == r->capacity) {
        size_t capacity = r->capacity * 2 + 16;
        size_t *list = realloc(r->list, capacity * sizeof *list);
        if (list == NULL) {
            r->out_of_memory = true;
            return;
        }
        r->list = list;
        r->capacity = capacity;
    }
    r->listed[v] = true;
    r->list[r->count++] = v;
}

static const vqc_scope *scope_of(const vqc_graph *graph, const Onnx__GraphProto *body)
{
    for (size_t i = 0; i < graph->scope_count; i++) {
        if (graph->scopes[i]->graph == body) {
            return graph->scopes[i];
        }
    }
    return NULL;
}

/* Reads a name inside a body when it means a value of the main graph. */
static void read_captured(reading *r, const vqc_scope *scope, const char *name)
{
    const vqc_value *value = name == NULL || name[0] == '\0' || scope == NULL
                                 ? NULL
                                 : vqc_scope_resolve(r->self->graph, scope, name);

    if (value == NULL || value->scope == r->self->graph->scopes[0]) {
        read_value(r, name);
    }
}

static void read_bodies(reading *r, const Onnx__NodeProto *node);

static void read_body(reading *r, const Onnx__GraphProto *body)
{
    const vqc_scope *scope = scope_of(r->self->graph, body);

    for (size_t i = 0; i < body->n_node; i++) {
        for (size_t k = 0; k < body->node[i]->n_input; k++) {
            read_captured(r, scope, body->node[i]->input[k]);
        }
        read_bodies(r, body->node[i]); /* nesting was bounded when the file was read */
    }
    for (size_t i = 0; i < body->n_output; i++) {
        read_captured(r, scope, body->output[i]->name);
    }
}

static void read_bodies(reading *r, const Onnx__NodeProto *node)
{
    for (size_t a = 0; a < node->n_attribute; a++) {
        if (node->attribute[a]->g != NULL) {
            read_body(r, node->attribute[a]->g);
        }
        for (size_t g = 0; g < node->attribute[a]->n_graphs; g++) {
            read_body(r, node->attribute[a]->graphs[g]);
        }
    }
}

static vqc_status list_inputs(vqc_sequence *self, vqc_error *error)
{
    reading r = {.self = self, .listed = calloc(self->value_count + 1, sizeof(bool))};

    r.out_of_memory = r.listed == NULL;
    for (size_t i = 0; i < self->node_count && !r.out_of_memory; i++) {
        vqc_sequence_node *node = &self->nodes[i];

        r.count = 0;
        for (size_t k = 0; k < node->proto->n_input; k++) {
            read_value(&r, node->proto->input[k]);
        }
        read_bodies(&r, node->proto);
        node->input_count = r.count;
        node->inputs = vqc_arena_calloc(self->arena, r.count + 1, sizeof *node->inputs);
        r.out_of_memory = r.out_of_memory || node->inputs == NULL;
        for (size_t k = 0; k < r.count; k++) {
            r.listed[r.list[k]] = false;
            if (!r.out_of_memory) {
                node->inputs[k] = r.list[k];
            }
        }
    }
    free(r.list);
    free(r.listed);
    return r.out_of_memory ? vqc_fail_memory(error, self->value_count) : VQC_OK;
}

/* ---- order ---- */

enum { UNSEEN, OPEN, CLOSED };

/* Depth-first from one node; producers are closed first. */
static vqc_status put_in_order(vqc_sequence *self, size_t first, unsigned char *state,
                               size_t *stack, size_t *next, size_t *placed, vqc_error *error)
{
    size_t depth = 0;

    stack[depth++] = first;
    state[first] = OPEN;
    while (depth > 0) {
        size_t at = stack[depth - 1];
        const vqc_sequence_node *node = &self->nodes[at];
        size_t producer;

        if (next[at] == node->input_count) {
            state[at] = CLOSED;
            self->order_rank[at] = *placed;
            self->order[(*placed)++] = at;
            depth--;
            continue;
        }
        producer = self->values[node->inputs[next[at]++]].producer;
        if (producer == VQC_SEQUENCE_NONE || state[producer] == CLOSED) {
            continue;
        }
        if (state[producer] == OPEN) {
            return vqc_fail(error, VQC_ERR_MODEL,
                            "node \"%.200s\" (%.60s): got a cycle, expected nodes in order",
                            node->proto->name != NULL ? node->proto->name : "",
                            node->proto->op_type != NULL ? node->proto->op_type : "");
        }
        state[producer] = OPEN;
        stack[depth++] = producer;
    }
    return VQC_OK;
}

static vqc_status make_order(vqc_sequence *self, vqc_error *error)
{
    unsigned char *state = calloc(self->node_count + 1, sizeof *state);
    size_t *stack = calloc(self->node_count + 1, 2 * sizeof *stack);
    size_t placed = 0;
    vqc_status status =
        state == NULL || stack == NULL ? vqc_fail_memory(error, self->node_count) : VQC_OK;

    for (size_t i = 0; i < self->node_count && status == VQC_OK; i++) {
        if (state[i] == UNSEEN) {
            status =
                put_in_order(self, i, state, stack, stack + self->node_count + 1, &placed, error);
        }
    }
    free(stack);
    free(state);
    return status;
}

static vqc_status find_ports(vqc_sequence *self, vqc_error *error)
{
    vqc_program_port *ports;
    vqc_status status = vqc_graph_ports(self->graph, self->arena, &ports, &self->port_count, error);

    if (status != VQC_OK) {
        return status;
    }
    self->ports = vqc_arena_calloc(self->arena, self->port_count + 1, sizeof *self->ports);
    if (self->ports == NULL) {
        return vqc_fail_memory(error, self->port_count * sizeof *self->ports);
    }
    for (size_t i = 0; i < self->port_count; i++) {
        self->ports[i] = vqc_sequence_lookup(self, ports[i].name);
        if (self->ports[i] == VQC_SEQUENCE_NONE) {
            return vqc_fail(error, VQC_ERR_MODEL, "input %zu: it has no name", i);
        }
        self->values[self->ports[i]].is_given = !ports[i].has_default;
    }
    return VQC_OK;
}

vqc_status vqc_sequence_index(vqc_sequence *self, vqc_error *error)
{
    const Onnx__GraphProto *graph = self->graph->model->proto->graph;
    vqc_status status = make_room(self, graph, error);

    if (status == VQC_OK) {
        status = define_values(self, graph, error);
    }
    if (status == VQC_OK) {
        status = list_inputs(self, error);
    }
    if (status == VQC_OK) {
        status = make_order(self, error);
    }
    return status == VQC_OK ? find_ports(self, error) : status;
}

/* ---- constants and layers ---- */

static void find_constants(vqc_sequence *self)
{
    for (size_t v = 0; v < self->value_count; v++) {
        self->values[v].is_constant = self->values[v].is_stored && !self->values[v].is_given;
    }
    for (size_t i = 0; i < self->node_count; i++) {
        vqc_sequence_node *node = &self->nodes[self->order[i]];

        node->is_constant = !vqc_node_may_vary(node->proto);
        for (size_t k = 0; k < node->input_count; k++) {
            node->is_constant = node->is_constant && self->values[node->inputs[k]].is_constant;
        }
        for (size_t o = 0; o < node->output_count; o++) {
            if (node->outputs[o] != VQC_SEQUENCE_NONE) {
                self->values[node->outputs[o]].is_constant = node->is_constant;
            }
        }
    }
}

/* The first node in order, constant ones apart, that sees the value; VQC_SEQUENCE_NONE: none. */
static size_t first_reader(const vqc_sequence *self, size_t value, bool *seen)
{
    size_t found = VQC_SEQUENCE_NONE;

    memset(seen, 0, self->value_count * sizeof *seen);
    seen[value] = true;
    for (size_t i = 0; i < self->node_count && found == VQC_SEQUENCE_NONE; i++) {
        const vqc_sequence_node *node = &self->nodes[self->order[i]];
        bool reads = false;

        for (size_t k = 0; k < node->input_count; k++) {
            reads = reads || seen[node->inputs[k]];
        }
        if (!reads) {
            continue;
        }
        if (!node->is_constant) {
            found = self->order[i];
        }
        for (size_t o = 0; o < node->output_count; o++) {
            if (node->outputs[o] != VQC_SEQUENCE_NONE) {
                seen[node->outputs[o]] = true;
            }
        }
    }
    return found;
}

/* Whether the node multiplies its input 0 with this layer's weight as input 1. */
static bool multiplies(const vqc_layer *layer)
{
    const Onnx__NodeProto *node = layer->node;

    if (node == NULL || layer->input != 1 || node->n_input < 2 || layer->elements == 0) {
        return false;
    }
    if (vqc_node_is(node, "Conv")) {
        return layer->direct && layer->rank >= 3 && layer->rank <= 5;
    }
    return (vqc_node_is(node, "MatMul") || vqc_node_is(node, "Gemm")) && layer->rank == 2 &&
           layer->reduction_axis >= 0;
}

static void place_layer(vqc_sequence *self, vqc_sequence_layer *item, bool *seen)
{
    const vqc_layer *layer = item->layer;
    size_t reader;

    item->node = item->input = item->value = VQC_SEQUENCE_NONE;
    if (layer->scope != self->graph->scopes[0]) {
        return;
    }
    item->value = vqc_sequence_lookup(self, layer->value->name);
    if (item->value == VQC_SEQUENCE_NONE || !self->values[item->value].is_constant ||
        !multiplies(layer)) {
        return;
    }
    reader = first_reader(self, item->value, seen);
    if (reader == VQC_SEQUENCE_NONE || self->nodes[reader].proto != layer->node) {
        return;
    }
    item->input = vqc_sequence_lookup(self, layer->node->input[0]);
    if (item->input != VQC_SEQUENCE_NONE && !self->values[item->input].is_constant) {
        item->node = reader;
    }
}

/* Marks what the inputs of layers are computed from. */
static void find_needed(vqc_sequence *self)
{
    for (size_t i = 0; i < self->turn_count; i++) {
        size_t producer = self->values[self->layers[self->turns[i]].input].producer;
        if (producer != VQC_SEQUENCE_NONE) {
            self->nodes[producer].is_needed = true;
        }
    }
    for (size_t i = self->node_count; i-- > 0;) {
        const vqc_sequence_node *node = &self->nodes[self->order[i]];
        for (size_t k = 0; node->is_needed && k < node->input_count; k++) {
            size_t producer = self->values[node->inputs[k]].producer;
            if (producer != VQC_SEQUENCE_NONE) {
                self->nodes[producer].is_needed = true;
            }
        }
    }
}

/* Insertion sort by the place of the node: lists are short and mostly in order. */
static void sort_turns(vqc_sequence *self)
{
    for (size_t i = 1; i < self->turn_count; i++) {
        size_t turn = self->turns[i];
        size_t rank = self->order_rank[self->layers[turn].node];
        size_t at = i;

        for (; at > 0 && self->order_rank[self->layers[self->turns[at - 1]].node] > rank; at--) {
            self->turns[at] = self->turns[at - 1];
        }
        self->turns[at] = turn;
    }
}

vqc_status vqc_sequence_classify(vqc_sequence *self, vqc_error *error)
{
    bool *seen = calloc(self->value_count + 1, sizeof *seen);

    if (seen == NULL) {
        return vqc_fail_memory(error, self->value_count * sizeof *seen);
    }
    find_constants(self);
    self->turn_count = 0;
    for (size_t i = 0; i < self->layer_count; i++) {
        place_layer(self, &self->layers[i], seen);
        (void)vqc_bias_site_find(self->graph, self->layers[i].layer, &self->layers[i].bias);
        if (self->layers[i].node != VQC_SEQUENCE_NONE) {
            self->turns[self->turn_count++] = i;
        }
    }
    free(seen);
    sort_turns(self);
    find_needed(self);
    return VQC_OK;
}

/* ---- pieces ---- */

void vqc_sequence_count_pending(vqc_sequence *self)
{
    for (size_t v = 0; v < self->value_count; v++) {
        self->values[v].pending = 0;
    }
    for (size_t i = 0; i < self->node_count; i++) {
        const vqc_sequence_node *node = &self->nodes[i];
        for (size_t k = 0; node->is_needed && !node->is_done && k < node->input_count; k++) {
            self->values[node->inputs[k]].pending++;
        }
    }
    for (size_t i = 0; i < self->turn_count; i++) {
        const vqc_sequence_layer *layer = &self->layers[self->turns[i]];
        self->values[layer->input].pending += layer->had_turn ? 0 : 1;
    }
}

static void mark_node(vqc_sequence *self, const vqc_sequence_node *node)
{
    bool differs = node->replaced != NULL;

    for (size_t k = 0; k < node->input_count; k++) {
        differs = differs || self->values[node->inputs[k]].differs;
    }
    for (size_t o = 0; o < node->output_count; o++) {
        vqc_sequence_value *value =
            node->outputs[o] == VQC_SEQUENCE_NONE ? NULL : &self->values[node->outputs[o]];
        if (value != NULL) {
            value->differs = differs || value->replaced != NULL;
        }
    }
}

void vqc_sequence_mark_differing(vqc_sequence *self, const size_t *nodes, size_t count)
{
    for (size_t v = 0; v < self->value_count; v++) {
        vqc_sequence_value *value = &self->values[v];
        if (value->producer == VQC_SEQUENCE_NONE && value->is_constant) {
            value->differs = value->replaced != NULL;
        }
    }
    for (size_t i = 0; i < self->node_count; i++) {
        if (self->nodes[self->order[i]].is_constant) {
            mark_node(self, &self->nodes[self->order[i]]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        mark_node(self, &self->nodes[nodes[i]]);
    }
}

vqc_status vqc_sequence_segment(const vqc_sequence *self, size_t target, size_t *nodes,
                                size_t *count, vqc_error *error)
{
    bool *in = calloc(self->node_count + 1, sizeof *in);
    size_t first = self->values[target].producer;

    *count = 0;
    if (in == NULL) {
        return vqc_fail_memory(error, self->node_count);
    }
    if (first != VQC_SEQUENCE_NONE && !self->nodes[first].is_done) {
        in[first] = true;
        for (size_t i = self->order_rank[first] + 1; i-- > 0;) {
            const vqc_sequence_node *node = &self->nodes[self->order[i]];
            for (size_t k = 0; in[self->order[i]] && k < node->input_count; k++) {
                size_t producer = self->values[node->inputs[k]].producer;
                if (producer != VQC_SEQUENCE_NONE && !self->nodes[producer].is_done &&
                    !self->nodes[producer].is_constant) {
                    in[producer] = true;
                }
            }
        }
        for (size_t i = 0; i <= self->order_rank[first]; i++) {
            if (in[self->order[i]]) {
                nodes[(*count)++] = self->order[i];
            }
        }
    }
    free(in);
    return VQC_OK;
}
