/* From node lists to steps: names become slots, functions are expanded, bodies become blocks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/program_internal.h"
#include "core/layer.h"

/* One expansion of a function, or (function NULL) the main graph. Bodies belong to the instance
 * that they are in. */
typedef struct instance {
    const Onnx__FunctionProto *function;
    const Onnx__NodeProto *node; /* the call */
    vqc_pointer_map slots;       /* vqc_value -> slot */
} instance;

typedef struct compiler {
    vqc_program *program;
    const vqc_graph *graph;
    vqc_pointer_map scopes; /* Onnx__GraphProto, Onnx__FunctionProto -> index of the scope */
    vqc_pointer_map stored; /* vqc_value -> slot of its tensor */
    vqc_missing missing;
    vqc_exec_budget budget;
    uint64_t work_left;
    size_t depth;
    vqc_error *error;
} compiler;

static vqc_status compile_scope(compiler *self, instance *in, const vqc_scope *scope,
                                const vqc_value **roots, size_t root_count, vqc_block *block);

static vqc_status no_memory(const compiler *self)
{
    return vqc_fail_memory(self->error, 0);
}

/* ---- slots ---- */

static vqc_status load(compiler *self, const vqc_value *value, size_t *slot)
{
    vqc_buffer *buffer;
    vqc_status status;

    *slot = vqc_pointer_map_get(&self->stored, value, VQC_NO_SLOT);
    if (*slot != VQC_NO_SLOT) {
        return VQC_OK;
    }
    status = vqc_exec_load(&self->budget, value, &buffer, self->error);
    if (status != VQC_OK) {
        return status;
    }
    *slot = vqc_program_add_slot(self->program, value->name, 0);
    if (*slot == VQC_NO_SLOT || !vqc_pointer_map_set(&self->stored, value, *slot)) {
        (void)vqc_buffer_destroy(&buffer);
        return no_memory(self);
    }
    self->program->slots[*slot].constant = buffer;
    return VQC_OK;
}

/* The slot that a name means; VQC_NO_SLOT for an absent one. */
static vqc_status slot_of(compiler *self, const instance *in, const vqc_scope *scope,
                          const char *name, size_t *slot)
{
    static const size_t UNSET = SIZE_MAX - 1;
    const vqc_value *value;

    *slot = VQC_NO_SLOT;
    if (name == NULL || name[0] == '\0') {
        return VQC_OK;
    }
    value = vqc_scope_resolve(self->graph, scope, name);
    if (value == NULL) {
        return vqc_fail(self->error, VQC_ERR_MODEL,
                        "value \"%.200s\": nothing in the model defines it", name);
    }
    *slot = vqc_pointer_map_get(&in->slots, value, UNSET);
    if (*slot != UNSET) {
        return VQC_OK;
    }
    if (vqc_value_stored_tensor(value) != NULL || value->sparse != NULL) {
        return load(self, value, slot);
    }
    return vqc_fail(self->error, VQC_ERR_MODEL,
                    "value \"%.200s\": it is read where it is not computed yet", name);
}

static bool set_slot(instance *in, const vqc_value *value, size_t slot)
{
    return value == NULL || vqc_pointer_map_set(&in->slots, value, slot);
}

/* ---- the order of nodes ---- */

/* Nodes of one scope while they are put in order. */
typedef struct ordering {
    const vqc_scope *scope;
    Onnx__NodeProto **nodes;
    size_t count;
    vqc_pointer_map index; /* node -> place + 1 */
    bool *needed;
    bool *emitted;
    bool *open;   /* on the stack of the search */
    size_t *list; /* growing list of places: dependencies of one node after the other */
    size_t list_count;
    size_t list_capacity;
    size_t *first; /* [count] where a node's dependencies begin in list */
    size_t *end;   /* [count] */
} ordering;

static bool add_dependency(ordering *o, const vqc_value *value)
{
    size_t place;

    if (value == NULL || value->scope != o->scope || value->producer == NULL) {
        return true;
    }
    place = vqc_pointer_map_get(&o->index, value->producer, 0);
    if (place == 0) {
        return true;
    }
    if (o->list_count == o->list_capacity) {
        size_t capacity = o->list_capacity * 2 + 64;
        size_t *list = realloc(o->list, capacity * sizeof *list);
        if (list == NULL) {
            return false;
        }
        o->list = list;
        o->list_capacity = capacity;
    }
    o->list[o->list_count++] = place - 1;
    return true;
}

static const vqc_scope *scope_of(const compiler *self, const void *proto)
{
    size_t index = vqc_pointer_map_get(&self->scopes, proto, SIZE_MAX);

    return index == SIZE_MAX ? NULL : self->graph->scopes[index];
}

/* Adds the places of what a node reads, its bodies included (their nesting was bounded when the
 * file was read). */
static bool add_dependencies(const compiler *self, ordering *o, const vqc_scope *scope,
                             const Onnx__NodeProto *node)
{
    for (size_t i = 0; i < node->n_input; i++) {
        const char *name = node->input[i];
        if (name != NULL && name[0] != '\0' &&
            !add_dependency(o, vqc_scope_resolve(self->graph, scope, name))) {
            return false;
        }
    }
    for (size_t a = 0; a < node->n_attribute; a++) {
        const Onnx__GraphProto *body = node->attribute[a]->g;
        const vqc_scope *inner = body == NULL ? NULL : scope_of(self, body);
        for (size_t i = 0; inner != NULL && i < body->n_node; i++) {
            if (!add_dependencies(self, o, inner, body->node[i])) {
                return false;
            }
        }
        for (size_t i = 0; inner != NULL && i < body->n_output; i++) {
            const char *name = body->output[i]->name;
            if (name != NULL && !add_dependency(o, vqc_scope_resolve(self->graph, inner, name))) {
                return false;
            }
        }
    }
    return true;
}

/* Marks what the roots need and lists the dependencies of every such node. */
static vqc_status find_needed(const compiler *self, ordering *o, const vqc_value **roots,
                              size_t root_count)
{
    size_t *stack = calloc(o->count + 1, sizeof *stack);
    size_t depth = 0;
    bool ok = stack != NULL;

    for (size_t i = 0; ok && i < root_count; i++) {
        size_t place = 0;
        if (roots[i] != NULL && roots[i]->scope == o->scope && roots[i]->producer != NULL) {
            place = vqc_pointer_map_get(&o->index, roots[i]->producer, 0);
        }
        if (place > 0 && !o->needed[place - 1]) {
            o->needed[place - 1] = true;
            stack[depth++] = place - 1;
        }
    }
    while (ok && depth > 0) {
        size_t at = stack[--depth];
        o->first[at] = o->list_count;
        ok = add_dependencies(self, o, o->scope, o->nodes[at]);
        o->end[at] = o->list_count;
        for (size_t i = o->first[at]; ok && i < o->end[at]; i++) {
            if (!o->needed[o->list[i]]) {
                o->needed[o->list[i]] = true;
                stack[depth++] = o->list[i]; /* each node once: count places are enough */
            }
        }
    }
    free(stack);
    return ok ? VQC_OK : no_memory(self);
}

/* ---- nodes ---- */

static vqc_status add_step(compiler *self, vqc_block *block, vqc_step **out)
{
    if (self->program->step_count >= VQC_PROGRAM_MAX_STEPS) {
        return vqc_fail(self->error, VQC_ERR_MODEL,
                        "the model: got more than %d nodes with its functions expanded",
                        VQC_PROGRAM_MAX_STEPS);
    }
    if (block->count == block->capacity) {
        size_t capacity = block->capacity * 2 + 16;
        vqc_step *steps = realloc(block->steps, capacity * sizeof *steps);
        if (steps == NULL) {
            return no_memory(self);
        }
        block->steps = steps;
        block->capacity = capacity;
    }
    *out = &block->steps[block->count++];
    memset(*out, 0, sizeof **out);
    (*out)->id = self->program->step_count++;
    (*out)->residual = VQC_NO_SLOT;
    (*out)->plain = VQC_NO_SLOT;
    return VQC_OK;
}

static vqc_status compile_body(compiler *self, instance *in, const Onnx__GraphProto *body,
                               vqc_block *block)
{
    vqc_program *program = self->program;
    const vqc_scope *scope = scope_of(self, body);
    const vqc_value **roots;
    vqc_status status;

    if (scope == NULL) {
        return vqc_fail(self->error, VQC_ERR_MODEL, "a body that is not part of the graph");
    }
    block->index = program->block_count++;
    block->inputs = vqc_arena_calloc(program->arena, body->n_input + 1, sizeof *block->inputs);
    block->outputs = vqc_arena_calloc(program->arena, body->n_output + 1, sizeof *block->outputs);
    roots = calloc(body->n_output + 1, sizeof *roots);
    if (block->inputs == NULL || block->outputs == NULL || roots == NULL) {
        free(roots);
        return no_memory(self);
    }
    block->input_count = body->n_input;
    block->output_count = body->n_output;
    for (size_t i = 0; i < body->n_input; i++) {
        const char *name = body->input[i]->name != NULL ? body->input[i]->name : "";
        block->inputs[i] = vqc_program_add_slot(program, name, block->index);
        if (block->inputs[i] == VQC_NO_SLOT ||
            !set_slot(in, vqc_scope_define(self->graph, scope, name), block->inputs[i])) {
            free(roots);
            return no_memory(self);
        }
    }
    for (size_t i = 0; i < body->n_output; i++) {
        if (body->output[i]->name != NULL) {
            roots[i] = vqc_scope_resolve(self->graph, scope, body->output[i]->name);
        }
    }
    status = compile_scope(self, in, scope, roots, body->n_output, block);
    free(roots);
    for (size_t i = 0; status == VQC_OK && i < body->n_output; i++) {
        status = slot_of(self, in, scope, body->output[i]->name, &block->outputs[i]);
        if (status == VQC_OK && block->outputs[i] == VQC_NO_SLOT) {
            status = vqc_fail(self->error, VQC_ERR_MODEL, "body %.200s: its output %zu has no name",
                              scope->path, i);
        }
    }
    return status;
}

static vqc_status compile_bodies(compiler *self, instance *in, const Onnx__NodeProto *node,
                                 vqc_step *step)
{
    vqc_program *program = self->program;
    size_t count = 0;

    for (size_t a = 0; a < node->n_attribute; a++) {
        count += node->attribute[a]->g != NULL;
    }
    if (count == 0) {
        return VQC_OK;
    }
    step->bodies = vqc_arena_calloc(program->arena, count, sizeof *step->bodies);
    if (step->bodies == NULL) {
        return no_memory(self);
    }
    for (size_t a = 0; a < node->n_attribute; a++) {
        const Onnx__AttributeProto *attr = node->attribute[a];
        vqc_step_body *body;
        vqc_status status;

        if (attr->g == NULL) {
            continue;
        }
        body = &step->bodies[step->body_count];
        body->name = attr->name != NULL ? attr->name : "";
        body->block = vqc_arena_calloc(program->arena, 1, sizeof *body->block);
        if (body->block == NULL) {
            return no_memory(self);
        }
        step->body_count++; /* counted first: its steps are freed in any case */
        status = compile_body(self, in, attr->g, body->block);
        if (status != VQC_OK) {
            return status;
        }
    }
    return VQC_OK;
}

static vqc_status compile_operator(compiler *self, instance *in, const vqc_scope *scope,
                                   const Onnx__NodeProto *source, const Onnx__NodeProto *node,
                                   vqc_block *block)
{
    vqc_program *program = self->program;
    vqc_step step = {.node = node, .residual = VQC_NO_SLOT, .plain = VQC_NO_SLOT};
    vqc_step *place = NULL;
    vqc_status status;

    step.opset = vqc_exec_version(scope, node->domain);
    step.op = vqc_exec_find(node->domain, node->op_type, step.opset);
    step.inputs = vqc_arena_calloc(program->arena, node->n_input + 1, sizeof *step.inputs);
    step.outputs = vqc_arena_calloc(program->arena, node->n_output + 1, sizeof *step.outputs);
    if (step.inputs == NULL || step.outputs == NULL ||
        (step.op == NULL && !vqc_missing_add(&self->missing, node))) {
        return no_memory(self);
    }
    if (node->n_output > VQC_EXEC_MAX_OUTPUTS) {
        return vqc_fail(self->error, VQC_ERR_MODEL, "node \"%.200s\" (%s): got %zu outputs",
                        node->name != NULL ? node->name : "", node->op_type, node->n_output);
    }
    program->widest = node->n_input > program->widest ? node->n_input : program->widest;
    for (size_t i = 0; i < node->n_input; i++) {
        status = slot_of(self, in, scope, node->input[i], &step.inputs[i]);
        if (status != VQC_OK) {
            return status;
        }
    }
    status = add_step(self, block, &place);
    if (status != VQC_OK) {
        return status;
    }
    step.id = place->id;
    *place = step;
    status = compile_bodies(self, in, node, place); /* into other blocks: `place` stays valid */
    for (size_t i = 0; status == VQC_OK && i < node->n_output; i++) {
        const char *name = source->output[i] != NULL ? source->output[i] : "";
        size_t slot = vqc_program_add_slot(program, name, block->index);
        const vqc_value *value =
            name[0] == '\0' ? NULL : vqc_scope_define(self->graph, scope, name);
        if (slot == VQC_NO_SLOT || !set_slot(in, value, slot)) {
            return no_memory(self);
        }
        step.outputs[i] = slot; /* the same array as place->outputs */
    }
    return status;
}

/* The function that a node calls, or NULL. */
static const Onnx__FunctionProto *find_function(const compiler *self, const Onnx__NodeProto *node)
{
    const Onnx__ModelProto *proto = self->graph->model->proto;
    const char *domain = vqc_domain_is_onnx(node->domain) ? "" : node->domain;
    char wanted[256];
    char got[256];

    for (size_t i = 0; i < proto->n_functions; i++) {
        const Onnx__FunctionProto *function = proto->functions[i];
        const char *other = vqc_domain_is_onnx(function->domain) ? "" : function->domain;
        if (function->name == NULL || strcmp(function->name, node->op_type) != 0 ||
            strcmp(domain, other) != 0) {
            continue;
        }
        vqc_node_overload(&node->base, 8, wanted, sizeof wanted);
        vqc_node_overload(&function->base, 13, got, sizeof got);
        if (strcmp(wanted, got) == 0) {
            return function;
        }
    }
    return NULL;
}

/* Expands a call: the function's inputs are the caller's slots, its outputs become the caller's. */
static vqc_status compile_call(compiler *self, instance *in, const vqc_scope *scope,
                               const Onnx__NodeProto *source, const Onnx__NodeProto *node,
                               const Onnx__FunctionProto *function, vqc_block *block)
{
    const vqc_scope *inner = scope_of(self, function);
    instance inside = {function, node, {0}};
    const vqc_value **roots = calloc(function->n_output + 1, sizeof *roots);
    vqc_status status = roots == NULL ? no_memory(self) : VQC_OK;

    if (status == VQC_OK && (inner == NULL || node->n_input > function->n_input ||
                             node->n_output > function->n_output)) {
        status = vqc_fail(self->error, VQC_ERR_MODEL,
                          "function \"%.100s\": called with %zu inputs and %zu outputs, has %zu "
                          "and %zu",
                          function->name, node->n_input, node->n_output, function->n_input,
                          function->n_output);
    }
    for (size_t i = 0; status == VQC_OK && i < function->n_input; i++) {
        size_t slot = VQC_NO_SLOT;
        if (i < node->n_input) {
            status = slot_of(self, in, scope, node->input[i], &slot);
        }
        if (status == VQC_OK &&
            !set_slot(&inside, vqc_scope_define(self->graph, inner, function->input[i]), slot)) {
            status = no_memory(self);
        }
    }
    for (size_t i = 0; status == VQC_OK && i < node->n_output; i++) {
        roots[i] = vqc_scope_define(self->graph, inner, function->output[i]);
    }
    if (status == VQC_OK) {
        status = compile_scope(self, &inside, inner, roots, node->n_output, block);
    }
    for (size_t i = 0; status == VQC_OK && i < node->n_output; i++) {
        size_t slot;
        const vqc_value *value;
        if (source->output[i] == NULL || source->output[i][0] == '\0') {
            continue;
        }
        value = vqc_scope_define(self->graph, scope, source->output[i]);
        status = slot_of(self, &inside, inner, function->output[i], &slot);
        if (status == VQC_OK && !set_slot(in, value, slot)) {
            status = no_memory(self);
        }
    }
    vqc_pointer_map_clear(&inside.slots);
    free(roots);
    return status;
}

static vqc_status compile_node(compiler *self, instance *in, const vqc_scope *scope,
                               const Onnx__NodeProto *source, vqc_block *block)
{
    const Onnx__NodeProto *node = source;
    const Onnx__FunctionProto *function;

    if (node->op_type == NULL) {
        return vqc_fail(self->error, VQC_ERR_MODEL, "node \"%.200s\": it has no operator",
                        node->name != NULL ? node->name : "");
    }
    if (in->function != NULL) {
        vqc_status status =
            vqc_function_bind(self->program, in->function, in->node, source, &node, self->error);
        if (status != VQC_OK) {
            return status;
        }
    }
    function = find_function(self, node);
    return function != NULL ? compile_call(self, in, scope, source, node, function, block)
                            : compile_operator(self, in, scope, source, node, block);
}

/* ---- scopes ---- */

/* Compiles the needed nodes: in the order of the file as far as that is one. */
static vqc_status emit(compiler *self, instance *in, ordering *o, vqc_block *block)
{
    size_t *stack = calloc(o->count + 1, sizeof *stack);
    vqc_status status = stack == NULL ? no_memory(self) : VQC_OK;

    for (size_t i = 0; status == VQC_OK && i < o->count; i++) {
        size_t depth = 0;
        if (!o->needed[i] || o->emitted[i]) {
            continue;
        }
        stack[depth++] = i;
        o->open[i] = true;
        while (status == VQC_OK && depth > 0) {
            size_t at = stack[depth - 1];
            while (o->first[at] < o->end[at] && o->emitted[o->list[o->first[at]]]) {
                o->first[at]++;
            }
            if (o->first[at] == o->end[at]) {
                o->emitted[at] = true;
                depth--;
                status = compile_node(self, in, o->scope, o->nodes[at], block);
            } else if (o->open[o->list[o->first[at]]]) {
                status = vqc_fail(self->error, VQC_ERR_MODEL,
                                  "node \"%.200s\" (%s): got a cycle, expected nodes in order",
                                  o->nodes[at]->name != NULL ? o->nodes[at]->name : "",
                                  o->nodes[at]->op_type != NULL ? o->nodes[at]->op_type : "");
            } else {
                o->open[o->list[o->first[at]]] = true;
                stack[depth++] = o->list[o->first[at]];
            }
        }
    }
    free(stack);
    return status;
}

static vqc_status compile_scope(compiler *self, instance *in, const vqc_scope *scope,
                                const vqc_value **roots, size_t root_count, vqc_block *block)
{
    ordering o = {.scope = scope};
    vqc_status status = VQC_OK;

    if (self->depth >= VQC_PROGRAM_MAX_DEPTH) {
        return vqc_fail(self->error, VQC_ERR_MODEL,
                        "%.200s: bodies and functions are nested more than %d deep", scope->path,
                        VQC_PROGRAM_MAX_DEPTH);
    }
    self->depth++;
    if (self->depth > self->program->depth) {
        self->program->depth = self->depth;
    }
    o.nodes = vqc_scope_nodes(scope, &o.count);
    o.needed = calloc(o.count + 1, sizeof *o.needed);
    o.emitted = calloc(o.count + 1, sizeof *o.emitted);
    o.open = calloc(o.count + 1, sizeof *o.open);
    o.first = calloc(o.count + 1, sizeof *o.first);
    o.end = calloc(o.count + 1, sizeof *o.end);
    if (o.needed == NULL || o.emitted == NULL || o.open == NULL || o.first == NULL ||
        o.end == NULL) {
        status = no_memory(self);
    }
    for (size_t i = 0; status == VQC_OK && i < o.count; i++) {
        if (!vqc_pointer_map_set(&o.index, o.nodes[i], i + 1)) {
            status = no_memory(self);
        }
    }
    if (status == VQC_OK) {
        status = find_needed(self, &o, roots, root_count);
    }
    if (status == VQC_OK) {
        status = emit(self, in, &o, block);
    }
    vqc_pointer_map_clear(&o.index);
    free(o.needed);
    free(o.emitted);
    free(o.open);
    free(o.first);
    free(o.end);
    free(o.list);
    self->depth--;
    return status;
}

/* ---- the main graph ---- */

static vqc_status index_scopes(compiler *self)
{
    for (size_t i = 0; i < self->graph->scope_count; i++) {
        const vqc_scope *scope = self->graph->scopes[i];
        const void *key =
            scope->graph != NULL ? (const void *)scope->graph : (const void *)scope->function;
        if (!vqc_pointer_map_set(&self->scopes, key, i)) {
            return no_memory(self);
        }
    }
    return VQC_OK;
}

/* What a run has to find: outputs, then taps. */
static vqc_status collect_roots(compiler *self, const vqc_value **roots)
{
    const vqc_program *program = self->program;
    const vqc_scope *scope = self->graph->scopes[0];

    for (size_t i = 0; i < program->output_count; i++) {
        roots[i] = vqc_scope_define(self->graph, scope, program->outputs[i].name);
        if (roots[i] == NULL) {
            return vqc_fail(self->error, VQC_ERR_MODEL,
                            "output \"%.200s\": nothing in the model defines it",
                            program->outputs[i].name);
        }
    }
    for (size_t i = 0; i < program->tap_count; i++) {
        const vqc_value *tap = program->taps[i];
        if (tap == NULL || tap->scope != scope) {
            return vqc_fail(self->error, VQC_ERR_MODEL,
                            "value \"%.200s\": got one of a subgraph or function, expected a tap "
                            "of the main graph",
                            tap != NULL ? tap->name : "");
        }
        roots[program->output_count + i] = tap;
    }
    return VQC_OK;
}

static vqc_status find_root_slots(compiler *self, const instance *in, const vqc_scope *scope)
{
    vqc_program *program = self->program;
    vqc_status status = VQC_OK;

    for (size_t i = 0; status == VQC_OK && i < program->output_count; i++) {
        status = slot_of(self, in, scope, program->outputs[i].name, &program->main.outputs[i]);
        if (status == VQC_OK && program->main.outputs[i] == VQC_NO_SLOT) {
            status = vqc_fail(self->error, VQC_ERR_MODEL, "output \"%.200s\": it is never computed",
                              program->outputs[i].name);
        }
    }
    for (size_t i = 0; status == VQC_OK && i < program->tap_count; i++) {
        status = slot_of(self, in, scope, program->taps[i]->name, &program->tap_slots[i]);
        if (status == VQC_OK && program->tap_slots[i] == VQC_NO_SLOT) {
            status = vqc_fail(self->error, VQC_ERR_MODEL, "value \"%.200s\": it is never computed",
                              program->taps[i]->name);
        }
    }
    return status;
}

static vqc_status report_missing(const compiler *self)
{
    char list[800] = "";
    size_t used = 0;
    size_t left_out = 0;

    for (size_t i = 0; i < self->missing.count; i++) {
        char text[160];
        vqc_missing_text(&self->missing, i, text, sizeof text);
        if (used + strlen(text) + 3 > sizeof list) {
            left_out++;
            continue;
        }
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%s", used > 0 ? ", " : "", text);
    }
    if (left_out > 0) {
        return vqc_fail(self->error, VQC_ERR_MODEL,
                        "operators that the executor lacks: %s, and %zu more", list, left_out);
    }
    return vqc_fail(self->error, VQC_ERR_MODEL, "operators that the executor lacks: %s", list);
}

static vqc_status compile_main(compiler *self, instance *in)
{
    vqc_program *program = self->program;
    const vqc_scope *scope = self->graph->scopes[0];
    const vqc_value **roots = calloc(program->output_count + program->tap_count + 1, sizeof *roots);
    vqc_status status = roots == NULL ? no_memory(self) : index_scopes(self);

    for (size_t i = 0; status == VQC_OK && i < program->input_count; i++) {
        const vqc_value *value = vqc_scope_define(self->graph, scope, program->inputs[i].name);
        size_t slot = vqc_program_add_slot(program, program->inputs[i].name, 0);
        program->main.inputs[i] = slot;
        if (slot == VQC_NO_SLOT || !set_slot(in, value, slot)) {
            status = no_memory(self);
        } else if (program->inputs[i].has_default) {
            status = vqc_exec_load(&self->budget, value, &program->defaults[i], self->error);
        }
    }
    if (status == VQC_OK) {
        status = collect_roots(self, roots);
    }
    if (status == VQC_OK) {
        status = compile_scope(self, in, scope, roots, program->output_count + program->tap_count,
                               &program->main);
    }
    if (status == VQC_OK && self->missing.count > 0) {
        status = report_missing(self);
    }
    if (status == VQC_OK) {
        status = find_root_slots(self, in, scope);
    }
    free(roots);
    return status;
}

vqc_status vqc_program_compile(vqc_program *program, vqc_error *error)
{
    compiler self = {.program = program, .graph = program->graph, .error = error};
    instance main_instance = {0};
    vqc_status status;

    self.budget.max_bytes = program->max_bytes;
    self.work_left = (uint64_t)program->max_bytes * VQC_EXEC_WORK_FACTOR;
    self.budget.work_left = &self.work_left;
    program->block_count = 1;
    status = compile_main(&self, &main_instance);
    vqc_pointer_map_clear(&main_instance.slots);
    vqc_pointer_map_clear(&self.scopes);
    vqc_pointer_map_clear(&self.stored);
    vqc_missing_clear(&self.missing);
    return status;
}
