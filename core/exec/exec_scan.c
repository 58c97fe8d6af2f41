/* Scan (ONNX versions 8, and 9 on). */
#include <stdlib.h>
#include <string.h>

#include "core/exec/exec_control.h"
#include "core/graph.h"

typedef struct scan {
    const Onnx__GraphProto *body;
    size_t states;             /* values that go from round to round */
    size_t sliced;             /* inputs that are taken apart */
    size_t results;            /* outputs that are put together */
    const int64_t *input_axes; /* attributes, NULL: all 0 */
    const int64_t *output_axes;
    const int64_t *input_directions;
    const int64_t *output_directions;
} scan;

/* One list attribute of `count` entries; *out stays NULL without it. */
static vqc_status list_of(vqc_exec_call *call, const char *name, size_t count, const int64_t **out)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, name);

    *out = NULL;
    if (attr == NULL) {
        return VQC_OK;
    }
    if (attr->n_ints != count) {
        return vqc_exec_fail(call, "attribute \"%s\": got %zu values, expected %zu", name,
                             attr->n_ints, count);
    }
    *out = attr->ints;
    return VQC_OK;
}

static int64_t at(const int64_t *list, size_t i)
{
    return list == NULL ? 0 : list[i];
}

/* Reads the attributes; the node's inputs from `first` on are the states and the scanned ones. */
static vqc_status describe(vqc_exec_call *call, size_t first, scan *self)
{
    int64_t sliced = vqc_node_attr_int(call->node, "num_scan_inputs", 0);
    size_t inputs = call->input_count > first ? call->input_count - first : 0;
    vqc_status status;

    self->body = vqc_control_body(call);
    if (self->body == NULL) {
        return VQC_ERR_MODEL;
    }
    if (sliced < 1 || (uint64_t)sliced > inputs) {
        return vqc_exec_fail(call, "attribute \"num_scan_inputs\": got %lld for %zu inputs",
                             (long long)sliced, inputs);
    }
    self->sliced = (size_t)sliced;
    self->states = inputs - self->sliced;
    if (self->body->n_output < self->states || call->output_count > self->body->n_output) {
        return vqc_exec_fail(call,
                             "body has %zu outputs for %zu states and %zu outputs of the node",
                             self->body->n_output, self->states, call->output_count);
    }
    self->results = self->body->n_output - self->states;
    for (size_t i = first; i < call->input_count; i++) {
        if (call->inputs[i] == NULL) {
            return vqc_exec_fail(call, "input %zu is missing", i);
        }
    }
    if (first == 1) {
        return list_of(call, "directions", self->sliced, &self->input_directions);
    }
    status = list_of(call, "scan_input_axes", self->sliced, &self->input_axes);
    if (status == VQC_OK) {
        status = list_of(call, "scan_output_axes", self->results, &self->output_axes);
    }
    if (status == VQC_OK) {
        status = list_of(call, "scan_input_directions", self->sliced, &self->input_directions);
    }
    if (status == VQC_OK) {
        status = list_of(call, "scan_output_directions", self->results, &self->output_directions);
    }
    return status;
}

static vqc_status status_of(const vqc_exec_call *call)
{
    return call->error != NULL ? call->error->code : VQC_ERR_INTERNAL;
}

/* x[..., index, ...] at `axis` as an array of its own. */
static vqc_status slice(vqc_exec_call *call, const vqc_buffer *x, size_t axis, size_t index,
                        vqc_buffer **out)
{
    int64_t dims[VQC_EXEC_MAX_RANK];
    size_t outer = 1;
    size_t inner = x->width;

    for (size_t i = 0; i < x->rank; i++) {
        if (i < axis) {
            outer *= (size_t)x->dims[i];
            dims[i] = x->dims[i];
        } else if (i > axis) {
            inner *= (size_t)x->dims[i];
            dims[i - 1] = x->dims[i];
        }
    }
    *out = vqc_exec_new_buffer(call, x->dtype, dims, x->rank - 1);
    if (*out == NULL) {
        return status_of(call);
    }
    for (size_t o = 0; inner > 0 && o < outer; o++) {
        memcpy((*out)->data + o * inner, x->data + (o * (size_t)x->dims[axis] + index) * inner,
               inner);
    }
    return VQC_OK;
}

/* The working arrays of one pass over a sequence. */
typedef struct pass {
    const vqc_buffer **inputs; /* [states + sliced] */
    vqc_buffer **owned;        /* [states + sliced] */
    vqc_buffer **results;      /* [states + results] */
    vqc_rounds *rounds;        /* [results] */
} pass;

static void pass_end(vqc_exec_call *call, const scan *self, pass *p)
{
    for (size_t i = 0; p->owned != NULL && i < self->states + self->sliced; i++) {
        vqc_exec_drop(call, &p->owned[i]);
    }
    for (size_t i = 0; p->rounds != NULL && i < self->results; i++) {
        vqc_rounds_clear(call, &p->rounds[i]);
    }
    free(p->inputs);
    free(p->owned);
    free(p->results);
    free(p->rounds);
}

static void set_input(vqc_exec_call *call, pass *p, size_t index, vqc_buffer *buffer)
{
    vqc_exec_drop(call, &p->owned[index]);
    p->owned[index] = buffer;
    p->inputs[index] = buffer;
}

static vqc_status one_round(vqc_exec_call *call, const scan *self, const vqc_buffer *const *values,
                            pass *p, size_t round, size_t length)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; status == VQC_OK && i < self->sliced; i++) {
        const vqc_buffer *x = values[self->states + i];
        size_t index = at(self->input_directions, i) != 0 ? length - 1 - round : round;
        size_t axis;
        vqc_buffer *part;
        status = vqc_exec_axis(call, at(self->input_axes, i), x->rank, &axis);
        if (status == VQC_OK) {
            status = slice(call, x, axis, index, &part);
        }
        if (status == VQC_OK) {
            set_input(call, p, self->states + i, part);
        }
    }
    if (status == VQC_OK) {
        status = vqc_exec_subgraph(call, "body", p->inputs, self->states + self->sliced, p->results,
                                   self->body->n_output);
    }
    if (status != VQC_OK) {
        return status;
    }
    for (size_t i = 0; i < self->states; i++) {
        set_input(call, p, i, p->results[i]);
    }
    for (size_t i = 0; i < self->results; i++) {
        vqc_buffer *result = p->results[self->states + i];
        if (status == VQC_OK) {
            status = vqc_rounds_add(call, &p->rounds[i], result);
        } else {
            vqc_exec_drop(call, &result);
        }
    }
    return status;
}

static vqc_status put_together(vqc_exec_call *call, const scan *self, const pass *p, size_t room,
                               vqc_buffer **outputs)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; status == VQC_OK && i < call->output_count; i++) {
        size_t k = i - self->states;
        if (i < self->states) {
            outputs[i] = vqc_buffer_alias(p->inputs[i], p->inputs[i]->dims, p->inputs[i]->rank);
            status = outputs[i] == NULL ? vqc_fail_memory(call->error, sizeof(vqc_buffer)) : VQC_OK;
        } else if (p->rounds[k].count == 0) {
            status = vqc_rounds_empty(call, self->body->output[i], at(self->output_axes, k),
                                      &outputs[i]);
        } else {
            status = vqc_rounds_stack(call, &p->rounds[k], at(self->output_axes, k), room,
                                      at(self->output_directions, k) != 0, &outputs[i]);
        }
    }
    return status;
}

/* values [states + sliced]; outputs [call->output_count]; `length` rounds, outputs have `room`. */
static vqc_status run_pass(vqc_exec_call *call, const scan *self, const vqc_buffer *const *values,
                           size_t length, size_t room, vqc_buffer **outputs)
{
    size_t inputs = self->states + self->sliced;
    pass p = {.inputs = calloc(inputs, sizeof *p.inputs),
              .owned = calloc(inputs, sizeof *p.owned),
              .results = calloc(self->body->n_output + 1, sizeof *p.results),
              .rounds = calloc(self->results + 1, sizeof *p.rounds)};
    vqc_status status = VQC_OK;

    if (p.inputs == NULL || p.owned == NULL || p.results == NULL || p.rounds == NULL) {
        status = vqc_fail_memory(call->error, inputs * sizeof *p.inputs);
    }
    for (size_t i = 0; status == VQC_OK && i < self->states; i++) {
        p.inputs[i] = values[i];
    }
    for (size_t t = 0; status == VQC_OK && t < length; t++) {
        status = one_round(call, self, values, &p, t, length);
    }
    if (status == VQC_OK) {
        status = put_together(call, self, &p, room, outputs);
    }
    pass_end(call, self, &p);
    return status;
}

/* The common extent of the scanned inputs along their axes; `skip` leading axes do not count. */
static vqc_status sequence_length(vqc_exec_call *call, const scan *self,
                                  const vqc_buffer *const *values, size_t skip, size_t *length)
{
    for (size_t i = 0; i < self->sliced; i++) {
        const vqc_buffer *x = values[self->states + i];
        size_t axis;
        vqc_status status;

        if (x->rank <= skip) {
            return vqc_exec_fail(call, "scan input %zu: got rank %zu, expected more than %zu", i,
                                 x->rank, skip);
        }
        status = vqc_exec_axis(call, at(self->input_axes, i), x->rank - skip, &axis);
        if (status != VQC_OK) {
            return status;
        }
        if (i > 0 && (size_t)x->dims[axis + skip] != *length) {
            return vqc_exec_fail(call, "scan input %zu: got a sequence of %lld, expected %zu", i,
                                 (long long)x->dims[axis + skip], *length);
        }
        *length = (size_t)x->dims[axis + skip];
    }
    return VQC_OK;
}

vqc_status vqc_scan_run(vqc_exec_call *call)
{
    scan self = {.body = NULL};
    size_t length = 0;
    vqc_status status = describe(call, 0, &self);

    if (status == VQC_OK) {
        status = sequence_length(call, &self, call->inputs, 0, &length);
    }
    return status == VQC_OK ? run_pass(call, &self, call->inputs, length, length, call->outputs)
                            : status;
}

/* Lengths of the sequences, all `length` when they are not given. */
static vqc_status batch_lengths(vqc_exec_call *call, size_t batch, size_t length, size_t *lengths)
{
    const vqc_buffer *given = call->inputs[0];

    if (given != NULL && (given->dtype != VQC_DTYPE_INT64 || given->elements != batch)) {
        return vqc_exec_fail(call,
                             "sequence_lens: got %zu values of type %s, expected %zu of int64",
                             given->elements, vqc_dtype_describe(given->dtype)->name, batch);
    }
    for (size_t b = 0; b < batch; b++) {
        int64_t value =
            given == NULL ? (int64_t)length : vqc_element_int(given->dtype, given->data, b);
        if (value < 0 || (uint64_t)value > length) {
            return vqc_exec_fail(call, "sequence_lens: got %lld, expected 0 to %zu",
                                 (long long)value, length);
        }
        lengths[b] = (size_t)value;
    }
    return VQC_OK;
}

/* One sequence of the batch; its outputs join `rounds`. */
static vqc_status run_sequence(vqc_exec_call *call, const scan *self, size_t b, size_t length,
                               size_t room, vqc_rounds *rounds)
{
    size_t count = self->states + self->sliced;
    vqc_buffer **parts = calloc(count + 1, sizeof *parts);
    vqc_buffer **outputs = calloc(call->output_count + 1, sizeof *outputs);
    vqc_status status = VQC_OK;

    if (parts == NULL || outputs == NULL) {
        status = vqc_fail_memory(call->error, count * sizeof *parts);
    }
    for (size_t i = 0; status == VQC_OK && i < count; i++) {
        status = slice(call, call->inputs[1 + i], 0, b, &parts[i]);
    }
    if (status == VQC_OK) {
        status = run_pass(call, self, (const vqc_buffer *const *)parts, length, room, outputs);
    }
    for (size_t i = 0; outputs != NULL && i < call->output_count; i++) {
        if (status == VQC_OK) {
            status = vqc_rounds_add(call, &rounds[i], outputs[i]);
        } else {
            vqc_exec_drop(call, &outputs[i]);
        }
    }
    for (size_t i = 0; parts != NULL && i < count; i++) {
        vqc_exec_drop(call, &parts[i]);
    }
    free(parts);
    free(outputs);
    return status;
}

vqc_status vqc_scan_run_batched(vqc_exec_call *call)
{
    scan self = {.body = NULL};
    vqc_rounds *rounds = calloc(call->output_count + 1, sizeof *rounds);
    size_t *lengths = NULL;
    size_t length = 0;
    size_t batch = 0;
    vqc_status status =
        rounds == NULL ? vqc_fail_memory(call->error, sizeof *rounds) : describe(call, 1, &self);

    if (status == VQC_OK) {
        status = sequence_length(call, &self, call->inputs + 1, 1, &length);
    }
    for (size_t i = 1; status == VQC_OK && i < call->input_count; i++) {
        const vqc_buffer *x = call->inputs[i];
        if (x->rank == 0 || (i > 1 && (size_t)x->dims[0] != batch)) {
            status = vqc_exec_fail(call, "input %zu: its batch axis is not that of input 1", i);
        } else {
            batch = (size_t)x->dims[0];
        }
    }
    if (status == VQC_OK && batch == 0) {
        status = vqc_exec_fail(call, "got an empty batch, expected at least one sequence");
    }
    if (status == VQC_OK) {
        lengths = calloc(batch, sizeof *lengths);
        status = lengths == NULL ? vqc_fail_memory(call->error, batch * sizeof *lengths)
                                 : batch_lengths(call, batch, length, lengths);
    }
    for (size_t b = 0; status == VQC_OK && b < batch; b++) {
        status = run_sequence(call, &self, b, lengths[b], length, rounds);
    }
    for (size_t i = 0; status == VQC_OK && i < call->output_count; i++) {
        status = vqc_rounds_stack(call, &rounds[i], 0, batch, false, &call->outputs[i]);
    }
    for (size_t i = 0; rounds != NULL && i < call->output_count; i++) {
        vqc_rounds_clear(call, &rounds[i]);
    }
    free(rounds);
    free(lengths);
    return status;
}
