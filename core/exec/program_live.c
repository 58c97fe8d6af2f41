/* Which step is the last to use a value. */
#include <stdlib.h>
#include <string.h>

#include "core/exec/program_internal.h"

static void count_block(vqc_program *program, const vqc_block *block)
{
    for (size_t i = 0; i < block->count; i++) {
        const vqc_step *step = &block->steps[i];
        for (size_t k = 0; k < step->node->n_input; k++) {
            if (step->inputs[k] != VQC_NO_SLOT) {
                program->slots[step->inputs[k]].readers++;
            }
        }
        for (size_t r = 0; r < step->rest_count; r++) {
            for (size_t k = 0; k < step->rest[r].node->n_input; k++) {
                if (step->rest[r].inputs[k] != VQC_NO_SLOT) {
                    program->slots[step->rest[r].inputs[k]].readers++;
                }
            }
        }
        for (size_t b = 0; b < step->body_count; b++) {
            count_block(program, step->bodies[b].block);
        }
    }
    for (size_t i = 0; i < block->output_count; i++) {
        program->slots[block->outputs[i]].readers++;
    }
}

void vqc_program_count_readers(vqc_program *program)
{
    for (size_t i = 0; i < program->slot_count; i++) {
        program->slots[i].readers = 0;
    }
    count_block(program, &program->main);
    for (size_t i = 0; i < program->tap_count; i++) {
        program->slots[program->tap_slots[i]].readers++;
    }
}

/* A set of slots. */
typedef struct slot_set {
    size_t *slots;
    size_t count;
    size_t capacity;
} slot_set;

static bool set_push(slot_set *set, size_t slot)
{
    if (set->count == set->capacity) {
        size_t capacity = set->capacity * 2 + 16;
        size_t *slots = realloc(set->slots, capacity * sizeof *slots);
        if (slots == NULL) {
            return false;
        }
        set->slots = slots;
        set->capacity = capacity;
    }
    set->slots[set->count++] = slot;
    return true;
}

static bool set_add(slot_set *set, size_t slot)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->slots[i] == slot) {
            return true;
        }
    }
    return set_push(set, slot);
}

static size_t *set_keep(vqc_program *program, const slot_set *set)
{
    size_t *kept = vqc_arena_calloc(program->arena, set->count + 1, sizeof *kept);

    if (kept != NULL && set->count > 0) {
        memcpy(kept, set->slots, set->count * sizeof *kept);
    }
    return kept;
}

/* Adds what is read of enclosing blocks; blocks are numbered outer ones first. */
static bool add_outer(const vqc_program *program, slot_set *set, size_t block, size_t slot)
{
    if (slot == VQC_NO_SLOT || program->slots[slot].constant != NULL ||
        program->slots[slot].block >= block) {
        return true;
    }
    return set_add(set, slot);
}

static bool find_captures(vqc_program *program, vqc_block *block)
{
    bool ok = true;

    for (size_t i = 0; ok && i < block->count; i++) {
        vqc_step *step = &block->steps[i];
        slot_set set = {0};

        for (size_t b = 0; ok && b < step->body_count; b++) {
            vqc_block *body = step->bodies[b].block;
            ok = find_captures(program, body);
            for (size_t s = 0; ok && s < body->count; s++) {
                for (size_t k = 0; ok && k < body->steps[s].node->n_input; k++) {
                    ok = add_outer(program, &set, body->index, body->steps[s].inputs[k]);
                }
                for (size_t k = 0; ok && k < body->steps[s].rest_count; k++) {
                    const vqc_step *rest = &body->steps[s].rest[k];
                    for (size_t r = 0; ok && r < rest->node->n_input; r++) {
                        ok = add_outer(program, &set, body->index, rest->inputs[r]);
                    }
                }
                for (size_t k = 0; ok && k < body->steps[s].capture_count; k++) {
                    ok = add_outer(program, &set, body->index, body->steps[s].captures[k]);
                }
            }
            for (size_t k = 0; ok && k < body->output_count; k++) {
                ok = add_outer(program, &set, body->index, body->outputs[k]);
            }
        }
        step->capture_count = set.count;
        step->captures = set_keep(program, &set);
        ok = ok && step->captures != NULL;
        free(set.slots);
    }
    return ok;
}

/* Adds a slot of this block to the step's dead ones when it was not met before. */
static bool meet(vqc_program *program, const vqc_block *block, bool *met, slot_set *dead,
                 size_t slot)
{
    if (slot == VQC_NO_SLOT || met[slot] || program->slots[slot].constant != NULL ||
        program->slots[slot].block != block->index) {
        return true;
    }
    met[slot] = true;
    return set_push(dead, slot);
}

static bool contains(const size_t *slots, size_t count, size_t slot)
{
    for (size_t i = 0; i < count; i++) {
        if (slots[i] == slot) {
            return true;
        }
    }
    return false;
}

static bool can_reuse(const vqc_step *step)
{
    size_t first = step->node->n_input > 0 ? step->inputs[0] : VQC_NO_SLOT;

    return first != VQC_NO_SLOT && step->op->in_place && step->body_count == 0 &&
           step->node->n_output > 0 && first != step->residual &&
           contains(step->dead, step->dead_count, first) &&
           !contains(step->inputs + 1, step->node->n_input - 1, first);
}

static bool find_last_uses(vqc_program *program, vqc_block *block, bool *met)
{
    bool ok = true;

    for (size_t i = 0; i < block->output_count; i++) {
        met[block->outputs[i]] = true; /* until the block ends */
    }
    for (size_t i = block->count; ok && i-- > 0;) {
        vqc_step *step = &block->steps[i];
        slot_set dead = {0};

        for (size_t k = 0; ok && k < step->node->n_output; k++) {
            ok = meet(program, block, met, &dead, step->outputs[k]);
        }
        for (size_t k = 0; ok && k < step->node->n_input; k++) {
            ok = meet(program, block, met, &dead, step->inputs[k]);
        }
        ok = ok && meet(program, block, met, &dead, step->residual);
        for (size_t k = 0; ok && k < step->rest_count; k++) {
            const vqc_step *rest = &step->rest[k];
            for (size_t r = 0; ok && r < rest->node->n_input; r++) {
                ok = meet(program, block, met, &dead, rest->inputs[r]);
            }
        }
        for (size_t k = 0; ok && k < step->capture_count; k++) {
            ok = meet(program, block, met, &dead, step->captures[k]);
        }
        step->dead_count = dead.count;
        step->dead = set_keep(program, &dead);
        ok = ok && step->dead != NULL;
        free(dead.slots);
        step->reuses = ok && can_reuse(step);
        for (size_t b = 0; ok && b < step->body_count; b++) {
            ok = find_last_uses(program, step->bodies[b].block, met);
        }
    }
    return ok;
}

/* Lists what each block has to drop when it ends. */
static bool list_slots(vqc_program *program, vqc_block *block)
{
    size_t count = 0;

    for (size_t s = 0; s < program->slot_count; s++) {
        count += program->slots[s].block == block->index && program->slots[s].constant == NULL;
    }
    block->slots = vqc_arena_calloc(program->arena, count + 1, sizeof *block->slots);
    if (block->slots == NULL) {
        return false;
    }
    for (size_t s = 0; s < program->slot_count; s++) {
        if (program->slots[s].block == block->index && program->slots[s].constant == NULL) {
            block->slots[block->slot_count++] = s;
        }
    }
    for (size_t i = 0; i < block->count; i++) {
        for (size_t b = 0; b < block->steps[i].body_count; b++) {
            if (!list_slots(program, block->steps[i].bodies[b].block)) {
                return false;
            }
        }
    }
    return true;
}

static bool attach_taps(vqc_program *program)
{
    for (size_t i = 0; i < program->main.count; i++) {
        vqc_step *step = &program->main.steps[i];
        size_t count = 0;

        for (size_t t = 0; t < program->tap_count; t++) {
            count += contains(step->outputs, step->node->n_output, program->tap_slots[t]);
        }
        if (count == 0) {
            continue;
        }
        step->taps = vqc_arena_calloc(program->arena, count, sizeof *step->taps);
        if (step->taps == NULL) {
            return false;
        }
        for (size_t t = 0; t < program->tap_count; t++) {
            if (contains(step->outputs, step->node->n_output, program->tap_slots[t])) {
                step->taps[step->tap_count++] = (vqc_step_tap){t, program->tap_slots[t]};
            }
        }
    }
    return true;
}

vqc_status vqc_program_live(vqc_program *program, vqc_error *error)
{
    bool *met = calloc(program->slot_count + 1, sizeof *met);
    bool ok = met != NULL && find_captures(program, &program->main) &&
              find_last_uses(program, &program->main, met) && list_slots(program, &program->main) &&
              attach_taps(program);

    free(met);
    if (!ok) {
        return vqc_fail_memory(error, 0);
    }
    vqc_program_count_readers(program);
    for (size_t i = 0; i < program->slot_count; i++) {
        if (program->slots[i].readers == 0) {
            (void)vqc_buffer_destroy(&program->slots[i].constant);
        }
    }
    return VQC_OK;
}
