#include "core/exec/exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/exec_op.h"
#include "core/exec/frame.h"
#include "core/layer.h"
#include "core/memory.h"

enum { LOOKUP_START = 64 };

/* One node to run. */
typedef struct step {
    const Onnx__NodeProto *node;
    const vqc_scope *scope;
    const vqc_exec_op *op;
    vqc_buffer **outputs; /* [node->n_output], NULL before the run and after the last use */
    size_t *uses;         /* [node->n_output] readers still to come */
    size_t next_input;    /* while planning: the next input to follow */
    bool done;            /* while planning: all inputs are planned */
} step;

typedef struct executor {
    const vqc_graph *graph;
    bool take_defaults;
    step *steps; /* [count], in the order of discovery */
    size_t count;
    size_t capacity;
    size_t *order; /* [ordered] step indices, producers first */
    size_t ordered;
    size_t *slots; /* [slot_count] step index + 1, keyed by node */
    size_t slot_count;
    vqc_exec_frame frame;
    char missing[768]; /* "Foo, com.x.Bar" */
    vqc_error *error;
} executor;

/* ---- planning ---- */

static size_t find_slot(const executor *self, const Onnx__NodeProto *node)
{
    size_t mask = self->slot_count - 1;
    size_t slot = (size_t)(((uint64_t)(uintptr_t)node * 0x9E3779B97F4A7C15u) >> 20) & mask;

    while (self->slots[slot] != 0 && self->steps[self->slots[slot] - 1].node != node) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

static step *find_step(const executor *self, const Onnx__NodeProto *node)
{
    size_t entry = self->slot_count == 0 ? 0 : self->slots[find_slot(self, node)];

    return entry == 0 ? NULL : &self->steps[entry - 1];
}

static vqc_status grow(executor *self)
{
    size_t capacity = self->capacity == 0 ? LOOKUP_START : self->capacity * 2;
    step *steps = realloc(self->steps, capacity * sizeof *steps);
    size_t *order;

    if (steps == NULL) {
        return vqc_fail_memory(self->error, capacity * sizeof *steps);
    }
    self->steps = steps;
    order = realloc(self->order, capacity * sizeof *order);
    if (order == NULL) {
        return vqc_fail_memory(self->error, capacity * sizeof *order);
    }
    self->order = order;
    self->capacity = capacity;
    free(self->slots);
    self->slot_count = 4 * capacity;
    self->slots = calloc(self->slot_count, sizeof *self->slots);
    if (self->slots == NULL) {
        self->slot_count = 0;
        return vqc_fail_memory(self->error, 4 * capacity * sizeof *self->slots);
    }
    for (size_t i = 0; i < self->count; i++) {
        self->slots[find_slot(self, self->steps[i].node)] = i + 1;
    }
    return VQC_OK;
}

static void note_missing(executor *self, const Onnx__NodeProto *node)
{
    char name[160];
    size_t used = strlen(self->missing);
    size_t length;
    const char *at;
    bool foreign = !vqc_domain_is_onnx(node->domain);

    (void)snprintf(name, sizeof name, "%.64s%s%.64s", foreign ? node->domain : "",
                   foreign ? "." : "", node->op_type);
    length = strlen(name);
    at = strstr(self->missing, name);
    if ((at != NULL && (at[length] == '\0' || at[length] == ',') &&
         (at == self->missing || at[-1] == ' ')) ||
        used + length + 3 > sizeof self->missing) {
        return;
    }
    (void)snprintf(self->missing + used, sizeof self->missing - used, "%s%s", used > 0 ? ", " : "",
                   name);
}

static bool is_stored(const executor *self, const vqc_value *value)
{
    if (vqc_value_stored_tensor(value) == NULL && value->sparse == NULL) {
        return false;
    }
    return value->graph_input == NULL || self->take_defaults ||
           self->graph->model->proto->ir_version < 4;
}

static vqc_status not_constant(const executor *self, const char *name)
{
    return vqc_fail(self->error, VQC_ERR_MODEL,
                    "value \"%.200s\": got one that is only known when the model runs, expected a "
                    "constant",
                    name);
}

/* Adds the producer of a value to the plan; *added tells whether it is new. */
static vqc_status plan_value(executor *self, const vqc_value *value, size_t *index, bool *added)
{
    const Onnx__NodeProto *node = value->producer;
    step *found = find_step(self, node);
    step *fresh;

    *added = found == NULL;
    if (found != NULL) {
        *index = (size_t)(found - self->steps);
        return VQC_OK;
    }
    if (self->count == self->capacity && grow(self) != VQC_OK) {
        return VQC_ERR_INTERNAL;
    }
    if (node->n_output > VQC_EXEC_MAX_OUTPUTS || node->op_type == NULL) {
        return vqc_fail(self->error, VQC_ERR_MODEL, "value \"%.200s\": its node has %zu outputs",
                        value->name, node->n_output);
    }
    fresh = &self->steps[self->count];
    memset(fresh, 0, sizeof *fresh);
    fresh->node = node;
    fresh->scope = value->scope;
    fresh->op =
        vqc_exec_find(node->domain, node->op_type, vqc_exec_version(value->scope, node->domain));
    if (fresh->op != NULL && fresh->op->makes_outputs) {
        fresh->op = NULL; /* subgraphs are not run here */
    }
    fresh->outputs = calloc(node->n_output, sizeof *fresh->outputs);
    fresh->uses = calloc(node->n_output, sizeof *fresh->uses);
    *index = self->count++; /* counted first, so that it is freed in any case */
    self->slots[find_slot(self, node)] = self->count;
    if (fresh->outputs == NULL || fresh->uses == NULL) {
        return vqc_fail_memory(self->error, node->n_output * sizeof *fresh->uses);
    }
    if (fresh->op == NULL) {
        note_missing(self, node);
    }
    return VQC_OK;
}

/* The value behind an input: NULL for an absent one. *stored: it needs no step. */
static vqc_status input_value(const executor *self, const step *at, size_t input,
                              const vqc_value **value, bool *stored)
{
    const char *name = at->node->input[input];

    *value = NULL;
    *stored = true;
    if (name == NULL || name[0] == '\0') {
        return VQC_OK;
    }
    *value = vqc_scope_resolve(self->graph, at->scope, name);
    if (*value == NULL) {
        return not_constant(self, name);
    }
    *stored = is_stored(self, *value);
    return *stored || (*value)->producer != NULL ? VQC_OK : not_constant(self, name);
}

/* Depth-first, without recursion: `stack` holds step indices whose inputs are being followed. */
static vqc_status plan(executor *self, const vqc_value *root)
{
    size_t *stack = NULL;
    size_t depth = 0;
    size_t room = 0;
    size_t index;
    bool added;
    vqc_status status = plan_value(self, root, &index, &added);

    while (status == VQC_OK) {
        const vqc_value *value;
        bool stored;

        if (depth == room) {
            size_t *more = realloc(stack, (room + 1) * 2 * sizeof *stack);
            if (more == NULL) {
                status = vqc_fail_memory(self->error, room * sizeof *stack);
                break;
            }
            stack = more;
            room = (room + 1) * 2;
        }
        if (added) {
            stack[depth++] = index;
            added = false;
        }
        index = stack[depth - 1];
        if (self->steps[index].next_input == self->steps[index].node->n_input) {
            self->steps[index].done = true;
            self->order[self->ordered++] = index;
            if (--depth == 0) {
                break;
            }
            continue;
        }
        status = input_value(self, &self->steps[index], self->steps[index].next_input++, &value,
                             &stored);
        if (status == VQC_OK && !stored) {
            status = plan_value(self, value, &index, &added);
            if (status == VQC_OK && !added && !self->steps[index].done) {
                status =
                    vqc_fail(self->error, VQC_ERR_MODEL,
                             "value \"%.200s\": got a cycle, expected nodes in order", value->name);
            }
            if (status == VQC_OK) {
                self->steps[index].uses[value->output]++;
            }
        }
    }
    free(stack);
    if (status == VQC_OK && self->missing[0] != '\0') {
        status = vqc_fail(self->error, VQC_ERR_MODEL,
                          "value \"%.150s\": operators that cannot be computed here: %s",
                          root->name, self->missing);
    }
    return status;
}

/* ---- running ---- */

static void release(executor *self, vqc_buffer **buffer)
{
    vqc_exec_release(&self->frame.budget, buffer);
}

static vqc_status load_stored(executor *self, const vqc_value *value, vqc_buffer **out)
{
    return vqc_exec_load(&self->frame.budget, value, out, self->error);
}

static vqc_status call_op(executor *self, const step *at, const vqc_buffer *const *inputs,
                          vqc_exec_call *call)
{
    vqc_status status;

    call->inputs = inputs;
    call->outputs = at->outputs;
    call->threads = 1;
    call->frame = &self->frame;
    call->error = self->error;
    status = vqc_exec_begin(call, at->node, at->op, vqc_exec_version(at->scope, at->node->domain));
    if (status == VQC_OK) {
        status = at->op->shape(call);
    }
    if (status == VQC_OK) {
        status = vqc_exec_make_outputs(call, NULL);
    }
    if (status == VQC_OK && at->op->run != NULL) {
        status = at->op->run(call);
    }
    vqc_exec_frame_reset(&self->frame);
    return status;
}

static vqc_status run_step(executor *self, step *at)
{
    size_t count = at->node->n_input;
    const vqc_buffer **inputs = calloc(count + 1, sizeof *inputs);
    vqc_buffer **loaded = calloc(count + 1, sizeof *loaded); /* stored ones, for this step only */
    vqc_exec_call *call = calloc(1, sizeof *call);
    vqc_status status = VQC_OK;

    if (inputs == NULL || loaded == NULL || call == NULL) {
        status = vqc_fail_memory(self->error, sizeof *call);
    }
    for (size_t i = 0; status == VQC_OK && i < count; i++) {
        const vqc_value *value;
        bool stored;

        status = input_value(self, at, i, &value, &stored);
        if (status == VQC_OK && value != NULL && stored) {
            status = load_stored(self, value, &loaded[i]);
            inputs[i] = loaded[i];
        } else if (status == VQC_OK && value != NULL) {
            inputs[i] = find_step(self, value->producer)->outputs[value->output];
        }
    }
    if (status == VQC_OK) {
        status = call_op(self, at, inputs, call);
    }
    for (size_t i = 0; loaded != NULL && i < count; i++) {
        const vqc_value *value;
        bool stored;

        release(self, &loaded[i]);
        if (status == VQC_OK && input_value(self, at, i, &value, &stored) == VQC_OK && !stored) {
            step *producer = find_step(self, value->producer);
            if (--producer->uses[value->output] == 0) {
                release(self, &producer->outputs[value->output]);
            }
        }
    }
    for (size_t i = 0; status == VQC_OK && i < at->node->n_output; i++) {
        if (at->uses[i] == 0) { /* an output that nobody here reads */
            release(self, &at->outputs[i]);
        }
    }
    free(call);
    free(loaded);
    free(inputs);
    return status;
}

static void executor_clear(executor *self)
{
    for (size_t i = 0; i < self->count; i++) {
        for (size_t o = 0; self->steps[i].outputs != NULL && o < self->steps[i].node->n_output;
             o++) {
            vqc_buffer_destroy(&self->steps[i].outputs[o]);
        }
        free(self->steps[i].outputs);
        free(self->steps[i].uses);
    }
    free(self->steps);
    free(self->order);
    free(self->slots);
    vqc_exec_frame_clear(&self->frame);
}

vqc_status vqc_exec_constant(const vqc_graph *graph, const vqc_value *value,
                             const vqc_exec_limits *limits, vqc_buffer **out, vqc_error *error)
{
    executor self = {.graph = graph, .error = error};
    uint64_t own_work;
    step *root;
    vqc_status status;

    *out = NULL;
    self.take_defaults = limits != NULL && limits->take_defaults;
    self.frame.budget.max_bytes = limits != NULL && limits->max_bytes > 0
                                      ? limits->max_bytes
                                      : vqc_exec_default_bytes(graph->model);
    own_work = (uint64_t)self.frame.budget.max_bytes * VQC_EXEC_WORK_FACTOR;
    self.frame.budget.work_left =
        limits != NULL && limits->work_left != NULL ? limits->work_left : &own_work;
    if (is_stored(&self, value)) {
        return load_stored(&self, value, out);
    }
    if (value->producer == NULL) {
        return not_constant(&self, value->name);
    }
    status = plan(&self, value);
    if (status == VQC_OK) {
        root = find_step(&self, value->producer);
        root->uses[value->output]++;
        for (size_t i = 0; status == VQC_OK && i < self.ordered; i++) {
            status = run_step(&self, &self.steps[self.order[i]]);
        }
        if (status == VQC_OK) {
            *out = root->outputs[value->output];
            root->outputs[value->output] = NULL;
            vqc_buffer_detach(*out);
        }
    }
    executor_clear(&self);
    return status;
}

/* ---- is it constant at all? ---- */

static bool walk_constant(const vqc_graph *graph, const vqc_value *value, bool take_defaults,
                          size_t *budget, int depth)
{
    const Onnx__NodeProto *node = value->producer;

    if (value->initializer != NULL || value->sparse != NULL) {
        return value->graph_input == NULL || take_defaults || graph->model->proto->ir_version < 4;
    }
    if (node == NULL || node->op_type == NULL || vqc_node_may_vary(node) || *budget == 0 ||
        depth > 200) {
        return false;
    }
    --*budget;
    for (size_t i = 0; i < node->n_input; i++) {
        const vqc_value *input;

        if (node->input[i] == NULL || node->input[i][0] == '\0') {
            continue;
        }
        input = vqc_scope_resolve(graph, value->scope, node->input[i]);
        if (input == NULL || !walk_constant(graph, input, take_defaults, budget, depth + 1)) {
            return false;
        }
    }
    return true;
}

bool vqc_exec_is_constant(const vqc_graph *graph, const vqc_value *value, bool take_defaults,
                          size_t budget)
{
    return walk_constant(graph, value, take_defaults, &budget, 0);
}
