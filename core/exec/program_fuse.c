/* Joins an operator with what is applied to its result elementwise, so that the result is not
 * written and read once more. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/program_internal.h"

/* Who reads a slot, while each slot has one reader. */
typedef struct fuser {
    vqc_program *program;
    vqc_block *block;
    size_t *reader; /* [slot_count] step of this block + 1, or 0 */
    vqc_error *error;
} fuser;

/* A constant input or attribute of Clip: a finite or infinite float32 scalar. */
static bool clip_bound(const vqc_program *program, const vqc_step *step, const char *attr,
                       size_t input, float *bound)
{
    size_t slot = input < step->node->n_input ? step->inputs[input] : VQC_NO_SLOT;
    const vqc_buffer *value;

    if (vqc_node_attr(step->node, attr) != NULL) {
        *bound = vqc_node_attr_float(step->node, attr, *bound);
        return true;
    }
    if (slot == VQC_NO_SLOT) {
        return true;
    }
    value = program->slots[slot].constant;
    if (value == NULL || value->dtype != VQC_DTYPE_FLOAT || value->elements != 1) {
        return false;
    }
    memcpy(bound, value->data, sizeof *bound);
    return true;
}

/* The activation that a step is, of its input 0. */
static bool as_activation(const vqc_program *program, const vqc_step *step, vqc_epilogue *out)
{
    const Onnx__NodeProto *node = step->node;

    *out = (vqc_epilogue){.act = VQC_ACT_NONE};
    if (step->body_count > 0 || node->n_output != 1 || node->n_input < 1) {
        return false;
    }
    if (vqc_node_is(node, "Relu")) {
        out->act = VQC_ACT_RELU;
    } else if (vqc_node_is(node, "Sigmoid")) {
        out->act = VQC_ACT_SIGMOID;
    } else if (vqc_node_is(node, "Tanh")) {
        out->act = VQC_ACT_TANH;
    } else if (vqc_node_is(node, "HardSwish")) {
        out->act = VQC_ACT_HARD_SWISH;
    } else if (vqc_node_is(node, "LeakyRelu")) {
        out->act = VQC_ACT_LEAKY_RELU;
        out->alpha = vqc_node_attr_float(node, "alpha", 0.01f);
    } else if (vqc_node_is(node, "HardSigmoid")) {
        out->act = VQC_ACT_HARD_SIGMOID;
        out->alpha = vqc_node_attr_float(node, "alpha", 0.2f);
        out->beta = vqc_node_attr_float(node, "beta", 0.5f);
    } else if (vqc_node_is(node, "Clip")) {
        out->act = VQC_ACT_CLIP;
        out->alpha = -INFINITY;
        out->beta = INFINITY;
        return clip_bound(program, step, "min", 1, &out->alpha) &&
               clip_bound(program, step, "max", 2, &out->beta) && !isnan(out->alpha) &&
               !isnan(out->beta);
    }
    return out->act != VQC_ACT_NONE;
}

/* The one step of this block that reads a slot, when nobody else does. */
static vqc_step *only_reader(const fuser *self, size_t slot)
{
    size_t place = self->reader[slot];

    return self->program->slots[slot].readers == 1 && place > 0 ? &self->block->steps[place - 1]
                                                                : NULL;
}

/* x * Sigmoid(x): the Mul behind a Sigmoid that shares its input, when x has no other readers. */
static vqc_step *silu_after(const fuser *self, size_t slot, vqc_step **sigmoid)
{
    for (size_t i = self->reader[slot]; i > 0 && i <= self->block->count; i--) {
        vqc_step *mul = &self->block->steps[i - 1];
        size_t other;
        if (mul->removed || !vqc_node_is(mul->node, "Mul") || mul->node->n_input != 2 ||
            self->program->slots[slot].readers != 2) {
            return NULL;
        }
        other = mul->inputs[0] == slot ? mul->inputs[1] : mul->inputs[0];
        if ((mul->inputs[0] != slot && mul->inputs[1] != slot) || other == slot ||
            other == VQC_NO_SLOT || self->program->slots[other].readers != 1) {
            return NULL;
        }
        for (size_t k = i - 1; k-- > 0;) {
            vqc_step *at = &self->block->steps[k];
            if (!at->removed && at->node->n_output == 1 && at->outputs[0] == other) {
                *sigmoid = at;
                return vqc_node_is(at->node, "Sigmoid") && at->inputs[0] == slot ? mul : NULL;
            }
        }
        return NULL;
    }
    return NULL;
}

/* Whether the outputs after the first are read by nobody. */
static bool has_one_result(const fuser *self, const vqc_step *step)
{
    for (size_t i = 1; i < step->node->n_output; i++) {
        if (self->program->slots[step->outputs[i]].readers > 0) {
            return false;
        }
    }
    return step->node->n_output > 0;
}

/* The addend of an Add behind `slot`, VQC_NO_SLOT when it is not one. */
static size_t addend(const vqc_program *program, const vqc_step *add, size_t slot)
{
    size_t other;

    if (!vqc_node_is(add->node, "Add") || add->node->n_input != 2) {
        return VQC_NO_SLOT;
    }
    other = add->inputs[0] == slot ? add->inputs[1] : add->inputs[0];
    if (other == slot || other == VQC_NO_SLOT) {
        return VQC_NO_SLOT;
    }
    /* A constant of one channel's shape is a bias: it would never fit, and Add is as fast. */
    return program->slots[other].constant != NULL ? VQC_NO_SLOT : other;
}

static bool is_plain(const vqc_step *step)
{
    return !step->removed && step->rest_count == 0;
}

/* Moves what follows step `first` into it; the joined step takes the place of the last. */
static vqc_status join(fuser *self, size_t first, vqc_step **parts, size_t count,
                       vqc_epilogue epilogue, size_t residual)
{
    vqc_program *program = self->program;
    vqc_step joined = self->block->steps[first];
    vqc_step *last = parts[count - 1];
    size_t *outputs =
        vqc_arena_calloc(program->arena, joined.node->n_output + 1, sizeof *joined.outputs);
    vqc_step *rest = vqc_arena_calloc(program->arena, count, sizeof *rest);

    if (outputs == NULL || rest == NULL) {
        return vqc_fail_memory(self->error, count * sizeof *rest);
    }
    memcpy(outputs, joined.outputs, joined.node->n_output * sizeof *outputs);
    joined.plain = outputs[0];
    outputs[0] = last->outputs[0];
    joined.outputs = outputs;
    for (size_t i = 0; i < count; i++) {
        rest[i] = *parts[i];
        parts[i]->removed = true;
    }
    joined.rest = rest;
    joined.rest_count = count;
    joined.epilogue = epilogue;
    joined.residual = residual;
    self->block->steps[first].removed = true;
    *last = joined;
    return VQC_OK;
}

static vqc_status fuse_step(fuser *self, size_t place)
{
    vqc_step *step = &self->block->steps[place];
    vqc_step *parts[3];
    size_t count = 0;
    size_t residual = VQC_NO_SLOT;
    size_t slot;
    vqc_epilogue epilogue = {.act = VQC_ACT_NONE};
    vqc_step *next;
    vqc_step *sigmoid = NULL;

    if (!is_plain(step) || !step->op->fuses || !has_one_result(self, step)) {
        return VQC_OK;
    }
    slot = step->outputs[0];
    next = only_reader(self, slot);
    if (next != NULL && is_plain(next) && next->node->n_output == 1 &&
        addend(self->program, next, slot) != VQC_NO_SLOT) {
        residual = addend(self->program, next, slot);
        parts[count++] = next;
        slot = next->outputs[0];
        next = only_reader(self, slot);
    }
    if (next != NULL && is_plain(next) && next->inputs[0] == slot &&
        as_activation(self->program, next, &epilogue)) {
        parts[count++] = next;
    } else {
        next = silu_after(self, slot, &sigmoid);
        if (next != NULL && is_plain(next) && is_plain(sigmoid)) {
            epilogue = (vqc_epilogue){.act = VQC_ACT_SILU};
            parts[count++] = sigmoid;
            parts[count++] = next;
        } else {
            epilogue = (vqc_epilogue){.act = VQC_ACT_NONE};
        }
    }
    return count == 0 ? VQC_OK : join(self, place, parts, count, epilogue, residual);
}

static void find_readers(const fuser *self)
{
    for (size_t i = 0; i < self->block->count; i++) {
        const vqc_step *step = &self->block->steps[i];
        for (size_t k = 0; k < step->node->n_input; k++) {
            if (step->inputs[k] != VQC_NO_SLOT) {
                self->reader[step->inputs[k]] = i + 1; /* the last one */
            }
        }
    }
}

static vqc_status fuse_block(fuser *self, vqc_block *block)
{
    vqc_status status = VQC_OK;
    size_t kept = 0;

    self->block = block;
    find_readers(self);
    for (size_t i = 0; status == VQC_OK && i < block->count; i++) {
        status = fuse_step(self, i);
    }
    for (size_t i = 0; status == VQC_OK && i < block->count; i++) {
        if (!block->steps[i].removed) {
            block->steps[kept] = block->steps[i];
            kept++;
        }
    }
    block->count = status == VQC_OK ? kept : block->count;
    for (size_t i = 0; status == VQC_OK && i < block->count; i++) {
        for (size_t b = 0; status == VQC_OK && b < block->steps[i].body_count; b++) {
            status = fuse_block(self, block->steps[i].bodies[b].block);
        }
    }
    return status;
}

vqc_status vqc_program_fuse(vqc_program *program, vqc_error *error)
{
    fuser self = {.program = program, .error = error};
    vqc_status status;

    vqc_program_count_readers(program);
    self.reader = calloc(program->slot_count + 1, sizeof *self.reader);
    if (self.reader == NULL) {
        return vqc_fail_memory(error, program->slot_count * sizeof *self.reader);
    }
    status = fuse_block(&self, &program->main);
    free(self.reader);
    return status;
}
