/* Steps whose inputs are all constant are computed once, when the program is made. */
#include <string.h>

#include "core/exec/program_internal.h"

enum {
    KEPT_BASE_BYTES = 64 << 20,
    KEPT_FACTOR = 16 /* a 2-bit weight as float32 */
};

/* Whether an operator in the block, or in blocks inside, gives new numbers in every run: what holds
 * it is not folded. */
static bool block_is_random(const vqc_block *block)
{
    for (size_t i = 0; i < block->count; i++) {
        const vqc_step *step = &block->steps[i];
        if (vqc_node_is_random(step->node)) {
            return true;
        }
        for (size_t b = 0; b < step->body_count; b++) {
            if (block_is_random(step->bodies[b].block)) {
                return true;
            }
        }
    }
    return false;
}

/* Whether all that a block reads is constant or defined by itself or the blocks inside. */
static bool block_is_closed(const vqc_program *program, const vqc_block *block, size_t first)
{
    for (size_t i = 0; i < block->count; i++) {
        const vqc_step *step = &block->steps[i];
        for (size_t k = 0; k < step->node->n_input; k++) {
            const vqc_slot *slot =
                step->inputs[k] == VQC_NO_SLOT ? NULL : &program->slots[step->inputs[k]];
            if (slot != NULL && slot->constant == NULL && slot->block < first) {
                return false;
            }
        }
        for (size_t b = 0; b < step->body_count; b++) {
            if (!block_is_closed(program, step->bodies[b].block, first)) {
                return false;
            }
        }
    }
    for (size_t i = 0; i < block->output_count; i++) {
        const vqc_slot *slot = &program->slots[block->outputs[i]];
        if (slot->constant == NULL && slot->block < first) {
            return false;
        }
    }
    return true;
}

static bool is_constant(const vqc_program *program, const vqc_step *step)
{
    if (vqc_node_is_random(step->node)) {
        return false;
    }
    for (size_t i = 0; i < step->node->n_input; i++) {
        if (step->inputs[i] != VQC_NO_SLOT && program->slots[step->inputs[i]].constant == NULL) {
            return false;
        }
    }
    for (size_t b = 0; b < step->body_count; b++) {
        /* Blocks are numbered outer ones first: a smaller number is an enclosing block. */
        if (block_is_random(step->bodies[b].block) ||
            !block_is_closed(program, step->bodies[b].block, step->bodies[b].block->index)) {
            return false;
        }
    }
    return true;
}

static vqc_status fold_block(vqc_program *program, vqc_runner *runner, vqc_block *block,
                             size_t *kept_bytes, size_t limit)
{
    vqc_error ignored;

    for (size_t i = 0; i < block->count; i++) {
        vqc_step *step = &block->steps[i];
        size_t bytes = *kept_bytes;
        vqc_status status;

        for (size_t b = 0; b < step->body_count; b++) {
            status = fold_block(program, runner, step->bodies[b].block, kept_bytes, limit);
            if (status != VQC_OK) {
                return status;
            }
        }
        if (!is_constant(program, step)) {
            continue;
        }
        runner->error = &ignored;
        status = vqc_runner_step(runner, step);
        if (status == VQC_ERR_INTERNAL) {
            return vqc_fail_memory(NULL, 0);
        }
        for (size_t o = 0; o < step->node->n_output && status == VQC_OK; o++) {
            const vqc_buffer *value = runner->values[step->outputs[o]];
            bytes += value == NULL ? 0 : vqc_buffer_owned_bytes(value);
        }
        if (status != VQC_OK || bytes > limit) {
            /* Too large to keep, or wrong: it may be in a branch that is never taken, and if not,
             * the run says so. */
            for (size_t o = 0; o < step->node->n_output; o++) {
                vqc_exec_release(&runner->frame.budget, &runner->values[step->outputs[o]]);
            }
            continue;
        }
        for (size_t o = 0; o < step->node->n_output; o++) {
            vqc_buffer *value = runner->values[step->outputs[o]];
            if (value != NULL) {
                vqc_buffer_detach(value);
                program->slots[step->outputs[o]].constant = value;
            }
        }
        *kept_bytes = bytes;
        step->removed = true;
    }
    return VQC_OK;
}

static void sweep(vqc_block *block)
{
    size_t kept = 0;

    for (size_t i = 0; i < block->count; i++) {
        if (!block->steps[i].removed) {
            if (kept != i) {
                block->steps[kept] = block->steps[i];
            }
            for (size_t b = 0; b < block->steps[kept].body_count; b++) {
                sweep(block->steps[kept].bodies[b].block);
            }
            kept++;
        }
    }
    block->count = kept;
}

vqc_status vqc_program_fold(vqc_program *program, vqc_error *error)
{
    const vqc_model *model = program->graph->model;
    vqc_runner *runner = NULL;
    size_t limit;
    size_t kept_bytes = 0;
    vqc_status status = vqc_runner_create(program, 0, &runner, error);

    if (status != VQC_OK) {
        return status;
    }
    if (!vqc_size_add(model->file_size_bytes, model->external_size_bytes, &limit) ||
        !vqc_size_mul(limit, KEPT_FACTOR, &limit) ||
        !vqc_size_add(limit, KEPT_BASE_BYTES, &limit) || limit > program->max_bytes) {
        limit = program->max_bytes;
    }
    runner->work_left = (uint64_t)limit * VQC_EXEC_WORK_FACTOR;
    status = fold_block(program, runner, &program->main, &kept_bytes, limit);
    if (status != VQC_OK) {
        status = vqc_fail_memory(error, 0);
    }
    vqc_runner_destroy(&runner);
    if (status == VQC_OK) {
        sweep(&program->main);
    }
    return status;
}
