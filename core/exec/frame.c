#include "core/exec/frame.h"

#include <stdlib.h>
#include <string.h>

#include "core/layer.h"
#include "core/memory.h"

enum { DEFAULT_BASE_BYTES = 256 << 20, DEFAULT_FACTOR = 64 };

/* ---- memory ---- */

void *vqc_exec_scratch(vqc_exec_call *call, size_t size_bytes)
{
    vqc_exec_frame *frame = call->frame;
    vqc_exec_block block = {0};

    if (frame->block_count == frame->block_capacity) {
        size_t capacity = frame->block_capacity * 2 + 8;
        vqc_exec_block *blocks = realloc(frame->blocks, capacity * sizeof *blocks);
        if (blocks == NULL) {
            (void)vqc_fail_memory(call->error, capacity * sizeof *blocks);
            return NULL;
        }
        frame->blocks = blocks;
        frame->block_capacity = capacity;
    }
    block.memory = vqc_pool_take(&frame->pool, size_bytes, &block.capacity);
    if (block.memory == NULL) {
        (void)vqc_fail_memory(call->error, size_bytes);
        return NULL;
    }
    frame->blocks[frame->block_count++] = block;
    return block.memory;
}

void vqc_exec_frame_reset_to(vqc_exec_frame *frame, size_t mark)
{
    while (frame->block_count > mark) {
        vqc_exec_block *block = &frame->blocks[--frame->block_count];
        vqc_pool_give(&frame->pool, block->memory, block->capacity);
    }
}

void vqc_exec_frame_reset(vqc_exec_frame *frame)
{
    vqc_exec_frame_reset_to(frame, 0);
}

void vqc_exec_frame_clear(vqc_exec_frame *frame)
{
    vqc_exec_frame_reset(frame);
    free(frame->blocks);
    frame->blocks = NULL;
    frame->block_capacity = 0;
    vqc_pool_clear(&frame->pool);
}

size_t vqc_exec_default_bytes(const vqc_model *model)
{
    size_t total;

    if (!vqc_size_add(model->file_size_bytes, model->external_size_bytes, &total) ||
        !vqc_size_mul(total, DEFAULT_FACTOR, &total) ||
        !vqc_size_add(total, DEFAULT_BASE_BYTES, &total)) {
        return SIZE_MAX / VQC_EXEC_WORK_FACTOR;
    }
    return total > SIZE_MAX / VQC_EXEC_WORK_FACTOR ? SIZE_MAX / VQC_EXEC_WORK_FACTOR : total;
}

int64_t vqc_exec_version(const vqc_scope *scope, const char *domain)
{
    if (vqc_domain_is_onnx(domain)) {
        return scope->opset;
    }
    return strcmp(domain, "com.microsoft") == 0 && scope->ms_opset > 0 ? scope->ms_opset : 1;
}

vqc_status vqc_exec_account(vqc_exec_budget *budget, size_t size_bytes, const char *name,
                            vqc_error *error)
{
    size_t live;

    if (!vqc_size_add(budget->live_bytes, size_bytes, &live) || live > budget->max_bytes ||
        size_bytes > *budget->work_left) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "value \"%.200s\": computing it takes more memory or work than the limit "
                        "of %zu MiB allows",
                        name, budget->max_bytes >> 20);
    }
    budget->live_bytes = live;
    if (live > budget->peak_bytes) {
        budget->peak_bytes = live;
    }
    *budget->work_left -= size_bytes;
    return VQC_OK;
}

void vqc_exec_release(vqc_exec_budget *budget, vqc_buffer **buffer)
{
    budget->live_bytes -= vqc_buffer_destroy(buffer);
}

vqc_status vqc_exec_load(vqc_exec_budget *budget, const vqc_value *value, vqc_buffer **out,
                         vqc_error *error)
{
    vqc_status status;

    if (vqc_value_stored_tensor(value) != NULL) {
        status = vqc_buffer_from_tensor(vqc_value_stored_tensor(value), out, error);
    } else {
        status = vqc_buffer_from_sparse(value->sparse, budget->max_bytes - budget->live_bytes, out,
                                        error);
    }
    if (status == VQC_OK) {
        status = vqc_exec_account(budget, vqc_buffer_owned_bytes(*out), value->name, error);
        if (status != VQC_OK) {
            (void)vqc_buffer_destroy(out);
        }
    }
    return status;
}

/* ---- one operator ---- */

vqc_status vqc_exec_begin(vqc_exec_call *call, const Onnx__NodeProto *node, const vqc_exec_op *op,
                          int64_t opset)
{
    call->node = node;
    call->op = op->op;
    call->opset = opset;
    call->input_count = node->n_input;
    call->output_count = node->n_output;
    call->detail = op->detail;
    memset(call->types, 0, node->n_output * sizeof call->types[0]);
    for (size_t i = 0; i < op->min_inputs; i++) {
        if (vqc_exec_input(call, i) == NULL) {
            return vqc_exec_fail(call, "input %zu is missing, expected at least %zu", i,
                                 op->min_inputs);
        }
    }
    return VQC_OK;
}

/* Whether the spare buffer is what output 0 shall be. */
static bool fits(const vqc_buffer *spare, const vqc_exec_type *type)
{
    return spare != NULL && spare->dtype == type->dtype && spare->rank == type->rank &&
           memcmp(spare->dims, type->dims, type->rank * sizeof type->dims[0]) == 0 &&
           vqc_buffer_is_sole(spare);
}

vqc_status vqc_exec_make_outputs(vqc_exec_call *call, vqc_buffer **spare)
{
    vqc_exec_frame *frame = call->frame;

    for (size_t i = 0; i < call->output_count; i++) {
        const vqc_exec_type *type = &call->types[i];
        size_t width = vqc_exec_width(type->dtype);
        size_t elements;
        size_t size_bytes;

        if (type->rank > VQC_EXEC_MAX_RANK || width == 0 ||
            !vqc_exec_sizes(type->dims, type->rank, width, &elements, &size_bytes)) {
            return vqc_exec_fail(
                call, "output %zu: got type %s and a shape of rank %zu that cannot be computed", i,
                vqc_dtype_describe(type->dtype)->name, type->rank);
        }
        if (type->alias) {
            call->outputs[i] = vqc_buffer_alias(call->inputs[0], type->dims, type->rank);
        } else if (i == 0 && spare != NULL && fits(*spare, type)) {
            call->outputs[i] = *spare;
            *spare = NULL;
        } else {
            vqc_status status =
                vqc_exec_account(&frame->budget, size_bytes, call->node->output[i], call->error);
            if (status != VQC_OK) {
                return status;
            }
            call->outputs[i] =
                vqc_buffer_create_in(&frame->pool, type->dtype, type->dims, type->rank);
            frame->budget.live_bytes -= call->outputs[i] == NULL ? size_bytes : 0;
        }
        if (call->outputs[i] == NULL) {
            return vqc_fail_memory(call->error, size_bytes);
        }
    }
    return VQC_OK;
}

vqc_buffer *vqc_exec_new_buffer(vqc_exec_call *call, int32_t dtype, const int64_t *dims,
                                size_t rank)
{
    vqc_exec_frame *frame = call->frame;
    size_t width = vqc_exec_width(dtype);
    const char *name = call->node->n_output > 0 ? call->node->output[0] : call->op;
    size_t elements;
    size_t size_bytes;
    vqc_buffer *buffer;

    if (rank > VQC_EXEC_MAX_RANK || width == 0 ||
        !vqc_exec_sizes(dims, rank, width, &elements, &size_bytes)) {
        (void)vqc_exec_fail(call, "got type %s and a shape of rank %zu that cannot be computed",
                            vqc_dtype_describe(dtype)->name, rank);
        return NULL;
    }
    if (vqc_exec_account(&frame->budget, size_bytes, name, call->error) != VQC_OK) {
        return NULL;
    }
    buffer = vqc_buffer_create_in(&frame->pool, dtype, dims, rank);
    if (buffer == NULL) {
        frame->budget.live_bytes -= size_bytes;
        (void)vqc_fail_memory(call->error, size_bytes);
    }
    return buffer;
}

void vqc_exec_drop(vqc_exec_call *call, vqc_buffer **buffer)
{
    vqc_exec_release(&call->frame->budget, buffer);
}

vqc_status vqc_exec_subgraph(vqc_exec_call *call, const char *name, const vqc_buffer *const *inputs,
                             size_t input_count, vqc_buffer **outputs, size_t output_count)
{
    if (call->frame->subgraph == NULL) {
        return vqc_exec_fail(call, "subgraph \"%s\" cannot be run while constants are computed",
                             name);
    }
    return call->frame->subgraph(call, name, inputs, input_count, outputs, output_count);
}
