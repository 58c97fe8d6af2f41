/* Running a compiled program. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/exec/program_internal.h"

enum {
    STEP_WORK_BYTES = 1024 /* what a step in a body counts, so that empty loops end as well */
};

static vqc_status run_subgraph(vqc_exec_call *call, const char *name,
                               const vqc_buffer *const *inputs, size_t input_count,
                               vqc_buffer **outputs, size_t output_count);

/* ---- making ---- */

static bool make_levels(vqc_runner *self)
{
    size_t count = self->program->depth + 1;

    self->levels = calloc(count, sizeof *self->levels);
    if (self->levels == NULL) {
        return false;
    }
    self->level_count = count;
    for (size_t i = 0; i < count; i++) {
        vqc_level *level = &self->levels[i];
        level->call = calloc(1, sizeof *level->call);
        level->inputs = calloc(self->program->widest + 1, sizeof *level->inputs);
        level->outputs = calloc(VQC_EXEC_MAX_OUTPUTS, sizeof *level->outputs);
        if (level->call == NULL || level->inputs == NULL || level->outputs == NULL) {
            return false;
        }
    }
    return true;
}

vqc_status vqc_runner_create(const vqc_program *program, int threads, vqc_runner **out,
                             vqc_error *error)
{
    vqc_runner *self = calloc(1, sizeof *self);

    *out = NULL;
    if (self == NULL) {
        return vqc_fail_memory(error, sizeof *self);
    }
    self->program = program;
    self->threads = threads > 0 ? threads : omp_get_max_threads();
    self->frame.subgraph = run_subgraph;
    self->frame.context = self;
    self->frame.budget.max_bytes = program->max_bytes;
    self->frame.budget.work_left = &self->work_left;
    self->work_left = (uint64_t)program->max_bytes * VQC_EXEC_WORK_FACTOR;
    self->values = calloc(program->slot_count + 1, sizeof *self->values);
    self->profile = calloc(program->step_count + 1, sizeof *self->profile);
    if (self->values == NULL || self->profile == NULL || !make_levels(self)) {
        vqc_runner_destroy(&self);
        return vqc_fail_memory(error, program->slot_count * sizeof *self->values);
    }
    for (size_t i = 0; i < program->slot_count; i++) {
        self->values[i] = program->slots[i].constant;
    }
    for (size_t i = 0; program->profile_ops != NULL && i < program->step_count; i++) {
        self->profile[i].op = program->profile_ops[i];
        self->profile[i].label = program->profile_labels[i];
    }
    *out = self;
    return VQC_OK;
}

/* Drops every value that is not the program's. */
static void clear_values(vqc_runner *self)
{
    for (size_t i = 0; self->values != NULL && i < self->program->slot_count; i++) {
        if (self->values[i] != NULL && self->values[i] != self->program->slots[i].constant) {
            (void)vqc_buffer_destroy(&self->values[i]);
        }
    }
    self->frame.budget.live_bytes = 0;
}

void vqc_runner_destroy(vqc_runner **runner)
{
    vqc_runner *self = runner == NULL ? NULL : *runner;

    if (self == NULL) {
        return;
    }
    clear_values(self);
    for (size_t i = 0; i < self->level_count; i++) {
        free(self->levels[i].call);
        free(self->levels[i].inputs);
        free(self->levels[i].outputs);
    }
    vqc_exec_frame_clear(&self->frame);
    free(self->levels);
    free(self->values);
    free(self->profile);
    free(self);
    *runner = NULL;
}

void vqc_runner_profile(vqc_runner *runner, bool on)
{
    runner->profiling = on;
}

const vqc_step_profile *vqc_runner_profile_steps(const vqc_runner *runner, size_t *count)
{
    *count = runner->program->step_count;
    return runner->profile;
}

size_t vqc_runner_peak_bytes(const vqc_runner *runner)
{
    return runner->frame.budget.peak_bytes;
}

/* ---- one step ---- */

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Whether what was fused can be applied to the output that the shape rule described; sets the
 * residual. */
static bool epilogue_fits(const vqc_runner *self, const vqc_step *step, vqc_exec_call *call)
{
    const vqc_exec_type *type = &call->types[0];
    const vqc_buffer *residual;

    if (type->dtype != VQC_DTYPE_FLOAT || type->alias) {
        return false;
    }
    if (step->residual == VQC_NO_SLOT) {
        return true;
    }
    residual = self->values[step->residual];
    if (residual == NULL || residual->dtype != VQC_DTYPE_FLOAT || residual->rank != type->rank ||
        memcmp(residual->dims, type->dims, type->rank * sizeof type->dims[0]) != 0 ||
        (uintptr_t)residual->data % sizeof(float) != 0) {
        return false;
    }
    call->epilogue.residual = (const float *)(const void *)residual->data;
    return true;
}

/* Calls the row; *fused tells whether the epilogue was applied. */
static vqc_status call_row(vqc_runner *self, const vqc_step *step, vqc_level *level, bool *fused)
{
    vqc_exec_call *call = level->call;
    vqc_buffer **spare = NULL;
    vqc_status status = vqc_exec_begin(call, step->node, step->op, step->opset);

    *fused = true;
    if (status != VQC_OK) {
        return status;
    }
    if (step->op->shape != NULL) {
        status = step->op->shape(call);
    }
    if (status == VQC_OK && !step->op->makes_outputs) {
        if (step->rest_count > 0 && !epilogue_fits(self, step, call)) {
            call->epilogue = (vqc_epilogue){.act = VQC_ACT_NONE};
            *fused = false;
        }
        if (step->reuses) {
            spare = &self->values[step->inputs[0]];
        }
        status = vqc_exec_make_outputs(call, spare);
    }
    if (status == VQC_OK && step->op->run != NULL) {
        status = step->op->run(call);
    }
    return status;
}

static vqc_status show_taps(vqc_runner *self, const vqc_step *step)
{
    for (size_t i = 0; self->tap != NULL && i < step->tap_count; i++) {
        vqc_status status = self->tap->seen(self->tap->context, step->taps[i].index,
                                            self->values[step->taps[i].slot], self->error);
        if (status != VQC_OK) {
            return status;
        }
    }
    return VQC_OK;
}

static vqc_status run_step(vqc_runner *self, const vqc_step *step)
{
    vqc_level *level = &self->levels[self->depth];
    vqc_exec_call *call = level->call;
    size_t mark = self->frame.block_count;
    size_t count = step->node->n_output;
    bool fused;
    vqc_status status;

    for (size_t i = 0; i < step->node->n_input; i++) {
        level->inputs[i] = step->inputs[i] == VQC_NO_SLOT ? NULL : self->values[step->inputs[i]];
    }
    memset(level->outputs, 0, count * sizeof *level->outputs);
    level->step = step;
    call->inputs = level->inputs;
    call->outputs = level->outputs;
    call->prepared = step->prepared;
    call->epilogue = step->epilogue;
    call->threads = self->threads;
    call->frame = &self->frame;
    call->error = self->error;
    status = call_row(self, step, level, &fused);
    vqc_exec_frame_reset_to(&self->frame, mark);
    for (size_t i = 0; i < count; i++) {
        size_t slot = i == 0 && !fused ? step->plain : step->outputs[i];
        if (status == VQC_OK) {
            self->values[slot] = level->outputs[i];
        } else {
            vqc_exec_release(&self->frame.budget, &level->outputs[i]);
        }
    }
    for (size_t i = 0; status == VQC_OK && !fused && i < step->rest_count; i++) {
        status = run_step(self, &step->rest[i]);
    }
    if (status == VQC_OK) {
        status = show_taps(self, step);
    }
    for (size_t i = 0; i < step->dead_count; i++) {
        vqc_exec_release(&self->frame.budget, &self->values[step->dead[i]]);
    }
    return status;
}

vqc_status vqc_runner_step(vqc_runner *runner, const vqc_step *step)
{
    uint64_t begin;
    vqc_status status;

    if (!runner->profiling) {
        return run_step(runner, step);
    }
    begin = now_ns();
    status = run_step(runner, step);
    runner->profile[step->id].time_ns += now_ns() - begin;
    runner->profile[step->id].calls++;
    return status;
}

/* ---- bodies ---- */

static const vqc_block *find_body(const vqc_step *step, const char *name)
{
    for (size_t i = 0; i < step->body_count; i++) {
        if (strcmp(step->bodies[i].name, name) == 0) {
            return step->bodies[i].block;
        }
    }
    return NULL;
}

static vqc_status run_body(vqc_runner *self, const vqc_block *body, const vqc_buffer *const *inputs,
                           vqc_buffer **outputs)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < body->input_count; i++) {
        self->values[body->inputs[i]] =
            vqc_buffer_alias(inputs[i], inputs[i]->dims, inputs[i]->rank);
        if (self->values[body->inputs[i]] == NULL) {
            return vqc_fail_memory(self->error, sizeof(vqc_buffer));
        }
    }
    for (size_t i = 0; status == VQC_OK && i < body->count; i++) {
        status = vqc_runner_step(self, &body->steps[i]);
    }
    for (size_t i = 0; status == VQC_OK && i < body->output_count; i++) {
        const vqc_buffer *value = self->values[body->outputs[i]];
        if (value == NULL) {
            return vqc_fail(self->error, VQC_ERR_MODEL, "value \"%.200s\": it was not computed",
                            self->program->slots[body->outputs[i]].name);
        }
        outputs[i] = vqc_buffer_alias(value, value->dims, value->rank);
        if (outputs[i] == NULL) {
            return vqc_fail_memory(self->error, sizeof(vqc_buffer));
        }
    }
    return status;
}

static vqc_status run_subgraph(vqc_exec_call *call, const char *name,
                               const vqc_buffer *const *inputs, size_t input_count,
                               vqc_buffer **outputs, size_t output_count)
{
    vqc_runner *self = call->frame->context;
    const vqc_block *body = find_body(self->levels[self->depth].step, name);
    uint64_t work;
    vqc_status status;

    memset(outputs, 0, output_count * sizeof *outputs);
    if (body == NULL) {
        return vqc_exec_fail(call, "attribute \"%s\" is missing", name);
    }
    if (body->input_count != input_count || body->output_count != output_count) {
        return vqc_exec_fail(
            call, "body \"%s\": got %zu inputs and %zu outputs, expected %zu and %zu", name,
            body->input_count, body->output_count, input_count, output_count);
    }
    work = (uint64_t)STEP_WORK_BYTES * (body->count + 1);
    if (self->work_left < work || self->depth + 1 >= self->level_count) {
        return vqc_exec_fail(call, "body \"%s\": running it takes more work than the limit allows",
                             name);
    }
    self->work_left -= work;
    self->depth++;
    status = run_body(self, body, inputs, outputs);
    self->depth--;
    for (size_t i = 0; i < body->slot_count; i++) {
        vqc_exec_release(&self->frame.budget, &self->values[body->slots[i]]);
    }
    for (size_t i = 0; status != VQC_OK && i < output_count; i++) {
        vqc_exec_release(&self->frame.budget, &outputs[i]);
    }
    return status;
}

/* ---- a run ---- */

static void describe_dims(char *text, size_t capacity, const int64_t *dims,
                          const char *const *names, size_t rank)
{
    size_t used = (size_t)snprintf(text, capacity, "[");

    for (size_t i = 0; i < rank && used + 80 < capacity; i++) {
        const char *comma = i > 0 ? "," : "";
        if (dims[i] >= 0) {
            used +=
                (size_t)snprintf(text + used, capacity - used, "%s%lld", comma, (long long)dims[i]);
        } else {
            used += (size_t)snprintf(text + used, capacity - used, "%s%.40s", comma,
                                     names != NULL && names[i] != NULL ? names[i] : "?");
        }
    }
    (void)snprintf(text + used, capacity - used, "]");
}

static vqc_status check_input(const vqc_runner *self, const vqc_program_port *port,
                              const vqc_buffer *input)
{
    bool fits = port->dtype == VQC_DTYPE_UNDEFINED || port->dtype == input->dtype;
    char got[400];
    char wanted[400];

    if (port->rank >= 0) {
        fits = fits && (size_t)port->rank == input->rank;
        for (size_t i = 0; fits && i < input->rank; i++) {
            fits = port->dims[i] < 0 || port->dims[i] == input->dims[i];
        }
    }
    if (fits) {
        return VQC_OK;
    }
    describe_dims(got, sizeof got, input->dims, NULL, input->rank);
    if (port->rank >= 0) {
        describe_dims(wanted, sizeof wanted, port->dims, port->dim_names, (size_t)port->rank);
    } else {
        (void)snprintf(wanted, sizeof wanted, "any shape");
    }
    return vqc_fail(self->error, VQC_ERR_MODEL, "input \"%.100s\": got %s %s, expected %s %s",
                    port->name, vqc_dtype_describe(input->dtype)->name, got,
                    port->dtype == VQC_DTYPE_UNDEFINED ? "any type"
                                                       : vqc_dtype_describe(port->dtype)->name,
                    wanted);
}

static vqc_status take_inputs(vqc_runner *self, const vqc_buffer *const *inputs)
{
    const vqc_program *program = self->program;

    for (size_t i = 0; i < program->input_count; i++) {
        const vqc_buffer *input = inputs != NULL ? inputs[i] : NULL;
        size_t slot = program->main.inputs[i];
        vqc_status status;

        if (input == NULL) {
            input = program->defaults[i];
        }
        if (input == NULL) {
            return vqc_fail(self->error, VQC_ERR_MODEL, "input \"%.200s\": it was not given",
                            program->inputs[i].name);
        }
        status = check_input(self, &program->inputs[i], input);
        if (status != VQC_OK) {
            return status;
        }
        if (program->slots[slot].readers > 0) {
            self->values[slot] = vqc_buffer_alias(input, input->dims, input->rank);
            if (self->values[slot] == NULL) {
                return vqc_fail_memory(self->error, sizeof *input);
            }
        }
    }
    return VQC_OK;
}

/* Taps on values that no step computes: inputs and constants. */
static vqc_status show_first_taps(vqc_runner *self)
{
    const vqc_program *program = self->program;

    for (size_t i = 0; self->tap != NULL && i < program->tap_count; i++) {
        const vqc_buffer *value = self->values[program->tap_slots[i]];
        if (value != NULL) {
            vqc_status status = self->tap->seen(self->tap->context, i, value, self->error);
            if (status != VQC_OK) {
                return status;
            }
        }
    }
    return VQC_OK;
}

/* Whether a buffer without a storage of its own looks into one of the caller's. */
static bool is_callers(const vqc_runner *self, const vqc_buffer *buffer,
                       const vqc_buffer *const *inputs)
{
    for (size_t i = 0; inputs != NULL && i < self->program->input_count; i++) {
        if (buffer->storage == NULL && inputs[i] != NULL && inputs[i]->data == buffer->data) {
            return true;
        }
    }
    return false;
}

static vqc_status give_outputs(vqc_runner *self, const vqc_buffer *const *inputs,
                               vqc_buffer **outputs)
{
    const vqc_program *program = self->program;

    for (size_t i = 0; i < program->output_count; i++) {
        const vqc_buffer *value = self->values[program->main.outputs[i]];
        if (value == NULL) {
            return vqc_fail(self->error, VQC_ERR_MODEL, "output \"%.200s\": it was not computed",
                            program->outputs[i].name);
        }
        if (is_callers(self, value, inputs)) {
            outputs[i] = vqc_buffer_create(value->dtype, value->dims, value->rank);
            if (outputs[i] != NULL && value->elements > 0) {
                memcpy(outputs[i]->data, value->data, value->elements * value->width);
            }
        } else {
            outputs[i] = vqc_buffer_alias(value, value->dims, value->rank);
        }
        if (outputs[i] == NULL) {
            return vqc_fail_memory(self->error, value->elements * value->width);
        }
        vqc_buffer_detach(outputs[i]);
    }
    return VQC_OK;
}

vqc_status vqc_runner_run(vqc_runner *runner, const vqc_buffer *const *inputs, vqc_buffer **outputs,
                          const vqc_tap *tap, vqc_error *error)
{
    const vqc_program *program = runner->program;
    vqc_status status;

    memset(outputs, 0, program->output_count * sizeof *outputs);
    runner->tap = tap;
    runner->error = error;
    runner->depth = 0;
    runner->work_left = (uint64_t)program->max_bytes * VQC_EXEC_WORK_FACTOR;
    status = take_inputs(runner, inputs);
    if (status == VQC_OK) {
        status = show_first_taps(runner);
    }
    for (size_t i = 0; status == VQC_OK && i < program->main.count; i++) {
        status = vqc_runner_step(runner, &program->main.steps[i]);
    }
    if (status == VQC_OK) {
        status = give_outputs(runner, inputs, outputs);
    }
    clear_values(runner);
    for (size_t i = 0; status != VQC_OK && i < program->output_count; i++) {
        (void)vqc_buffer_destroy(&outputs[i]);
    }
    runner->tap = NULL;
    runner->error = NULL;
    return status;
}
