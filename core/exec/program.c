#include "core/exec/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/program_internal.h"
#include "core/layer.h"

static const size_t LEAST_MAX_BYTES = (size_t)4 << 30;

size_t vqc_program_add_slot(vqc_program *program, const char *name, size_t block)
{
    if (program->slot_count == program->slot_capacity) {
        size_t capacity = program->slot_capacity * 2 + 64;
        vqc_slot *slots = realloc(program->slots, capacity * sizeof *slots);
        if (slots == NULL) {
            return VQC_NO_SLOT;
        }
        program->slots = slots;
        program->slot_capacity = capacity;
    }
    program->slots[program->slot_count] = (vqc_slot){.name = name, .block = block};
    return program->slot_count++;
}

/* ---- ports ---- */

static void describe_port(const Onnx__ValueInfoProto *info, vqc_program_port *port)
{
    const Onnx__TypeProto__Tensor *tensor;

    port->name = info->name != NULL ? info->name : "";
    port->rank = -1;
    if (info->type == NULL || info->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
        return;
    }
    tensor = info->type->tensor_type;
    port->dtype = tensor->elem_type;
    if (tensor->shape == NULL || tensor->shape->n_dim > VQC_EXEC_MAX_RANK) {
        return;
    }
    port->rank = (int)tensor->shape->n_dim;
    for (size_t i = 0; i < tensor->shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = tensor->shape->dim[i];
        port->dims[i] = -1;
        if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
            dim->dim_value >= 0) {
            port->dims[i] = dim->dim_value;
        } else if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM) {
            port->dim_names[i] = dim->dim_param;
        }
    }
}

static bool is_tensor(const Onnx__ValueInfoProto *info)
{
    return info->type == NULL || info->type->value_case == ONNX__TYPE_PROTO__VALUE__NOT_SET ||
           info->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
}

vqc_status vqc_graph_ports(const vqc_graph *graph, vqc_arena *arena, vqc_program_port **inputs,
                           size_t *count, vqc_error *error)
{
    const Onnx__GraphProto *proto = graph->scopes[0]->graph;

    *count = 0;
    *inputs = vqc_arena_calloc(arena, proto->n_input + 1, sizeof **inputs);
    if (*inputs == NULL) {
        return vqc_fail_memory(error, proto->n_input * sizeof **inputs);
    }
    for (size_t i = 0; i < proto->n_input; i++) {
        const Onnx__ValueInfoProto *info = proto->input[i];
        const vqc_value *value =
            info->name == NULL ? NULL : vqc_scope_define(graph, graph->scopes[0], info->name);
        bool stored =
            value != NULL && (vqc_value_stored_tensor(value) != NULL || value->sparse != NULL);
        if (stored && graph->model->proto->ir_version < 4) {
            continue;
        }
        if (!is_tensor(info)) {
            return vqc_fail(error, VQC_ERR_MODEL,
                            "input \"%.200s\": got a sequence, map or optional, expected a tensor",
                            info->name != NULL ? info->name : "");
        }
        describe_port(info, &(*inputs)[*count]);
        (*inputs)[(*count)++].has_default = stored;
    }
    return VQC_OK;
}

static vqc_status make_ports(vqc_program *program, vqc_error *error)
{
    const Onnx__GraphProto *proto = program->graph->scopes[0]->graph;
    vqc_status status = vqc_graph_ports(program->graph, program->arena, &program->inputs,
                                        &program->input_count, error);

    if (status != VQC_OK) {
        return status;
    }
    program->outputs =
        vqc_arena_calloc(program->arena, proto->n_output + 1, sizeof *program->outputs);
    program->defaults =
        vqc_arena_calloc(program->arena, proto->n_input + 1, sizeof *program->defaults);
    program->main.inputs =
        vqc_arena_calloc(program->arena, proto->n_input + 1, sizeof *program->main.inputs);
    program->main.outputs =
        vqc_arena_calloc(program->arena, proto->n_output + 1, sizeof *program->main.outputs);
    if (program->outputs == NULL || program->defaults == NULL || program->main.inputs == NULL ||
        program->main.outputs == NULL) {
        return vqc_fail_memory(error, proto->n_input * sizeof *program->inputs);
    }
    program->main.input_count = program->input_count;
    for (size_t i = 0; i < proto->n_output; i++) {
        describe_port(proto->output[i], &program->outputs[i]);
    }
    program->output_count = proto->n_output;
    program->main.output_count = proto->n_output;
    return VQC_OK;
}

/* ---- making ---- */

static vqc_status prepare_block(vqc_program *program, vqc_exec_call *call,
                                const vqc_buffer **inputs, const vqc_block *block)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; status == VQC_OK && i < block->count; i++) {
        vqc_step *step = &block->steps[i];

        if (step->op->prepare != NULL) {
            for (size_t k = 0; k < step->node->n_input; k++) {
                inputs[k] = step->inputs[k] == VQC_NO_SLOT
                                ? NULL
                                : program->slots[step->inputs[k]].constant;
            }
            call->node = step->node;
            call->op = step->op->op;
            call->opset = step->opset;
            call->inputs = inputs;
            call->input_count = step->node->n_input;
            call->output_count = step->node->n_output;
            call->detail = step->op->detail;
            call->prepared = NULL;
            call->epilogue = step->epilogue;
            status = step->op->prepare(call);
            step->prepared = call->prepared;
            vqc_exec_frame_reset(call->frame);
        }
        for (size_t b = 0; status == VQC_OK && b < step->body_count; b++) {
            status = prepare_block(program, call, inputs, step->bodies[b].block);
        }
    }
    return status;
}

/* Lets the rows look at their constant inputs. */
static vqc_status prepare(vqc_program *program, vqc_error *error)
{
    uint64_t work_left = UINT64_MAX;
    vqc_exec_frame frame = {.budget = {.max_bytes = program->max_bytes, .work_left = &work_left}};
    vqc_exec_call *call = calloc(1, sizeof *call);
    const vqc_buffer **inputs = calloc(program->widest + 1, sizeof *inputs);
    vqc_status status;

    if (call == NULL || inputs == NULL) {
        status = vqc_fail_memory(error, sizeof *call);
    } else {
        call->frame = &frame;
        call->threads = 1;
        call->error = error;
        status = prepare_block(program, call, inputs, &program->main);
    }
    vqc_exec_frame_clear(&frame);
    free(inputs);
    free(call);
    return status;
}

static vqc_status label_block(vqc_program *program, const vqc_block *block)
{
    for (size_t i = 0; i < block->count; i++) {
        const vqc_step *step = &block->steps[i];
        const char *label = step->node->name;
        char text[256];
        size_t used = (size_t)snprintf(text, sizeof text, "%.60s", step->op->op);

        for (size_t r = 0; r < step->rest_count && used < sizeof text - 64; r++) {
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "+%.60s", step->rest[r].op->op);
        }
        if (label == NULL || label[0] == '\0') {
            label = step->node->n_output > 0 ? step->node->output[0] : "";
        }
        program->profile_ops[step->id] = vqc_arena_strdup(program->arena, text);
        program->profile_labels[step->id] = label;
        if (program->profile_ops[step->id] == NULL) {
            return VQC_ERR_INTERNAL;
        }
        for (size_t b = 0; b < step->body_count; b++) {
            if (label_block(program, step->bodies[b].block) != VQC_OK) {
                return VQC_ERR_INTERNAL;
            }
        }
    }
    return VQC_OK;
}

/* Numbers what is left of the steps, outer ones before those in their bodies. */
static void number_block(vqc_program *program, vqc_block *block)
{
    for (size_t i = 0; i < block->count; i++) {
        block->steps[i].id = program->step_count++;
        for (size_t b = 0; b < block->steps[i].body_count; b++) {
            number_block(program, block->steps[i].bodies[b].block);
        }
    }
}

static vqc_status label(vqc_program *program, vqc_error *error)
{
    program->step_count = 0;
    number_block(program, &program->main);
    program->profile_ops =
        vqc_arena_calloc(program->arena, program->step_count + 1, sizeof *program->profile_ops);
    program->profile_labels =
        vqc_arena_calloc(program->arena, program->step_count + 1, sizeof *program->profile_labels);
    if (program->profile_ops == NULL || program->profile_labels == NULL ||
        label_block(program, &program->main) != VQC_OK) {
        return vqc_fail_memory(error, program->step_count * sizeof *program->profile_ops);
    }
    return VQC_OK;
}

static vqc_status set_up(vqc_program *program, const vqc_program_options *options, vqc_error *error)
{
    program->tap_count = options != NULL ? options->tap_count : 0;
    program->max_bytes = options != NULL ? options->max_bytes : 0;
    if (program->max_bytes == 0) {
        program->max_bytes = vqc_exec_default_bytes(program->graph->model);
        if (program->max_bytes < LEAST_MAX_BYTES) {
            program->max_bytes = LEAST_MAX_BYTES;
        }
    } else if (program->max_bytes > SIZE_MAX / VQC_EXEC_WORK_FACTOR) {
        program->max_bytes = SIZE_MAX / VQC_EXEC_WORK_FACTOR;
    }
    program->tap_slots =
        vqc_arena_calloc(program->arena, program->tap_count + 1, sizeof *program->tap_slots);
    if (program->tap_slots == NULL) {
        return vqc_fail_memory(error, program->tap_count * sizeof *program->tap_slots);
    }
    program->taps = options != NULL ? options->taps : NULL;
    return make_ports(program, error);
}

vqc_status vqc_program_create(const vqc_graph *graph, const vqc_program_options *options,
                              vqc_program **out, vqc_error *error)
{
    vqc_program *program = calloc(1, sizeof *program);
    vqc_status status;

    *out = NULL;
    if (program == NULL) {
        return vqc_fail_memory(error, sizeof *program);
    }
    program->graph = graph;
    program->arena = vqc_arena_create();
    status = program->arena == NULL ? vqc_fail_memory(error, 0) : set_up(program, options, error);
    if (status == VQC_OK) {
        status = vqc_program_compile(program, error);
    }
    if (status == VQC_OK) {
        status = vqc_program_fold(program, error);
    }
    if (status == VQC_OK && (options == NULL || !options->no_fusion)) {
        status = vqc_program_fuse(program, error);
    }
    if (status == VQC_OK) {
        status = vqc_program_live(program, error);
    }
    if (status == VQC_OK) {
        status = label(program, error);
    }
    if (status == VQC_OK) {
        status = prepare(program, error);
    }
    program->taps = NULL; /* the caller's, no longer needed */
    if (status != VQC_OK) {
        vqc_program_destroy(&program);
    }
    *out = program;
    return status;
}

static void clear_block(vqc_block *block)
{
    for (size_t i = 0; i < block->count; i++) {
        vqc_step *step = &block->steps[i];
        if (step->op != NULL && step->op->release != NULL && step->prepared != NULL) {
            step->op->release(step->prepared);
        }
        for (size_t b = 0; b < step->body_count; b++) {
            clear_block(step->bodies[b].block);
        }
    }
    free(block->steps);
}

void vqc_program_destroy(vqc_program **program)
{
    vqc_program *self = program == NULL ? NULL : *program;

    if (self == NULL) {
        return;
    }
    clear_block(&self->main);
    for (size_t i = 0; i < self->slot_count; i++) {
        (void)vqc_buffer_destroy(&self->slots[i].constant);
    }
    for (size_t i = 0; self->defaults != NULL && i < self->input_count; i++) {
        (void)vqc_buffer_destroy(&self->defaults[i]);
    }
    for (size_t i = 0; i < self->unpacked_count; i++) {
        onnx__attribute_proto__free_unpacked(self->unpacked[i], NULL);
    }
    free(self->slots);
    vqc_arena_destroy(&self->arena);
    free(self);
    *program = NULL;
}

const vqc_program_port *vqc_program_inputs(const vqc_program *program, size_t *count)
{
    *count = program->input_count;
    return program->inputs;
}

const vqc_program_port *vqc_program_outputs(const vqc_program *program, size_t *count)
{
    *count = program->output_count;
    return program->outputs;
}

/* ---- what is missing ---- */

bool vqc_missing_add(vqc_missing *missing, const Onnx__NodeProto *node)
{
    const char *domain = vqc_domain_is_onnx(node->domain) ? "" : node->domain;

    for (size_t i = 0; i < missing->count; i++) {
        if (strcmp(missing->entries[i].op, node->op_type) == 0 &&
            strcmp(missing->entries[i].domain, domain) == 0) {
            missing->entries[i].nodes++;
            return true;
        }
    }
    if (missing->count == missing->capacity) {
        size_t capacity = missing->capacity * 2 + 8;
        struct vqc_missing_entry *entries =
            realloc(missing->entries, capacity * sizeof *missing->entries);
        if (entries == NULL) {
            return false;
        }
        missing->entries = entries;
        missing->capacity = capacity;
    }
    missing->entries[missing->count++] = (struct vqc_missing_entry){domain, node->op_type, 1};
    return true;
}

void vqc_missing_text(const vqc_missing *missing, size_t index, char *text, size_t capacity)
{
    const struct vqc_missing_entry *entry = &missing->entries[index];

    (void)snprintf(text, capacity, "%.60s%s%.60s (%zu node%s)", entry->domain,
                   entry->domain[0] != '\0' ? "." : "", entry->op, entry->nodes,
                   entry->nodes == 1 ? "" : "s");
}

void vqc_missing_clear(vqc_missing *missing)
{
    free(missing->entries);
    *missing = (vqc_missing){0};
}

static bool calls_function(const Onnx__ModelProto *proto, const Onnx__NodeProto *node)
{
    const char *domain = vqc_domain_is_onnx(node->domain) ? "" : node->domain;

    for (size_t i = 0; i < proto->n_functions; i++) {
        const Onnx__FunctionProto *function = proto->functions[i];
        const char *other = vqc_domain_is_onnx(function->domain) ? "" : function->domain;
        if (function->name != NULL && strcmp(function->name, node->op_type) == 0 &&
            strcmp(other, domain) == 0) {
            return true;
        }
    }
    return false;
}

vqc_status vqc_program_missing(const vqc_graph *graph, vqc_messages *missing, vqc_error *error)
{
    vqc_missing found = {0};
    vqc_status status = VQC_OK;

    for (size_t s = 0; s < graph->scope_count; s++) {
        const vqc_scope *scope = graph->scopes[s];
        size_t count;
        Onnx__NodeProto **nodes = vqc_scope_nodes(scope, &count);

        for (size_t i = 0; i < count && status == VQC_OK; i++) {
            if (nodes[i]->op_type != NULL && !calls_function(graph->model->proto, nodes[i]) &&
                vqc_exec_find(nodes[i]->domain, nodes[i]->op_type,
                              vqc_exec_version(scope, nodes[i]->domain)) == NULL &&
                !vqc_missing_add(&found, nodes[i])) {
                status = vqc_fail_memory(error, found.count);
            }
        }
    }
    for (size_t i = 0; i < found.count && status == VQC_OK; i++) {
        char text[160];
        vqc_missing_text(&found, i, text, sizeof text);
        if (vqc_messages_add(missing, "%s", text) != VQC_OK) {
            status = vqc_fail_memory(error, sizeof text);
        }
    }
    vqc_missing_clear(&found);
    return status;
}
