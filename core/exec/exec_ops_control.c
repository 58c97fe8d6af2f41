/* If, Loop, Scan. Their outputs are known only when the bodies have run. */
#include <stdlib.h>
#include <string.h>

#include "core/exec/exec_control.h"
#include "core/graph.h"
#include "core/memory.h"

/* ---- what rounds give ---- */

vqc_status vqc_rounds_add(vqc_exec_call *call, vqc_rounds *rounds, vqc_buffer *buffer)
{
    if (rounds->count == rounds->capacity) {
        size_t capacity = rounds->capacity * 2 + 8;
        vqc_buffer **items = realloc(rounds->items, capacity * sizeof *items);
        if (items == NULL) {
            vqc_exec_drop(call, &buffer);
            return vqc_fail_memory(call->error, capacity * sizeof *items);
        }
        rounds->items = items;
        rounds->capacity = capacity;
    }
    rounds->items[rounds->count++] = buffer;
    return VQC_OK;
}

void vqc_rounds_clear(vqc_exec_call *call, vqc_rounds *rounds)
{
    for (size_t i = 0; i < rounds->count; i++) {
        vqc_exec_drop(call, &rounds->items[i]);
    }
    free(rounds->items);
    *rounds = (vqc_rounds){NULL, 0, 0};
}

/* dims with a new axis of extent `room`; sets the number of runs before it and their bytes. */
static vqc_status add_axis(vqc_exec_call *call, const vqc_buffer *item, int64_t axis, size_t room,
                           int64_t *dims, size_t *outer, size_t *inner_bytes)
{
    size_t place;
    vqc_status status;

    if (item->rank >= VQC_EXEC_MAX_RANK) {
        return vqc_exec_fail(call, "got a result of rank %zu, expected less than %d", item->rank,
                             VQC_EXEC_MAX_RANK);
    }
    status = vqc_exec_axis(call, axis, item->rank + 1, &place);
    if (status != VQC_OK) {
        return status;
    }
    *outer = 1;
    *inner_bytes = item->width;
    for (size_t i = 0; i < item->rank; i++) {
        if (i < place) {
            *outer *= (size_t)item->dims[i];
        } else {
            *inner_bytes *= (size_t)item->dims[i];
        }
        dims[i < place ? i : i + 1] = item->dims[i];
    }
    dims[place] = (int64_t)room;
    return VQC_OK;
}

vqc_status vqc_rounds_stack(vqc_exec_call *call, const vqc_rounds *rounds, int64_t axis,
                            size_t room, bool reversed, vqc_buffer **out)
{
    const vqc_buffer *first = rounds->items[0];
    int64_t dims[VQC_EXEC_MAX_RANK];
    size_t outer;
    size_t inner_bytes;
    vqc_status status = add_axis(call, first, axis, room, dims, &outer, &inner_bytes);

    *out = NULL;
    if (status != VQC_OK) {
        return status;
    }
    for (size_t i = 1; i < rounds->count; i++) {
        const vqc_buffer *item = rounds->items[i];
        if (item->dtype != first->dtype || item->rank != first->rank ||
            memcmp(item->dims, first->dims, first->rank * sizeof first->dims[0]) != 0) {
            return vqc_exec_fail(call,
                                 "round %zu gives a result of another shape than round 0 for the "
                                 "same output",
                                 i);
        }
    }
    *out = vqc_exec_new_buffer(call, first->dtype, dims, first->rank + 1);
    if (*out == NULL) {
        return call->error != NULL ? call->error->code : VQC_ERR_INTERNAL;
    }
    if (rounds->count < room && (*out)->elements > 0) {
        memset((*out)->data, 0, (*out)->elements * (*out)->width);
    }
    for (size_t i = 0; inner_bytes > 0 && i < rounds->count; i++) {
        size_t at = reversed ? rounds->count - 1 - i : i;
        for (size_t o = 0; o < outer; o++) {
            memcpy((*out)->data + (o * room + at) * inner_bytes,
                   rounds->items[i]->data + o * inner_bytes, inner_bytes);
        }
    }
    return VQC_OK;
}

vqc_status vqc_rounds_empty(vqc_exec_call *call, const Onnx__ValueInfoProto *declared, int64_t axis,
                            vqc_buffer **out)
{
    const Onnx__TypeProto__Tensor *type = NULL;
    int64_t dims[VQC_EXEC_MAX_RANK];
    vqc_buffer shape = {0};
    size_t outer;
    size_t inner_bytes;
    vqc_status status;

    *out = NULL;
    if (declared->type != NULL &&
        declared->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
        type = declared->type->tensor_type;
    }
    if (type == NULL || vqc_exec_width(type->elem_type) == 0) {
        return vqc_exec_fail(call,
                             "no round was run, and the body does not declare the type of its "
                             "output \"%.100s\"",
                             declared->name != NULL ? declared->name : "");
    }
    shape.dtype = type->elem_type;
    shape.width = vqc_exec_width(type->elem_type);
    if (type->shape != NULL && type->shape->n_dim < VQC_EXEC_MAX_RANK) {
        shape.rank = type->shape->n_dim;
        for (size_t i = 0; i < shape.rank; i++) {
            const Onnx__TensorShapeProto__Dimension *dim = type->shape->dim[i];
            bool known = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
                         dim->dim_value > 0;
            shape.dims[i] = known ? dim->dim_value : 0;
        }
    }
    status = add_axis(call, &shape, axis, 0, dims, &outer, &inner_bytes);
    if (status == VQC_OK) {
        *out = vqc_exec_new_buffer(call, shape.dtype, dims, shape.rank + 1);
        status =
            *out == NULL ? (call->error != NULL ? call->error->code : VQC_ERR_INTERNAL) : VQC_OK;
    }
    return status;
}

const Onnx__GraphProto *vqc_control_body(vqc_exec_call *call)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, "body");

    if (attr == NULL || attr->g == NULL) {
        (void)vqc_exec_fail(call, "attribute \"body\" is missing");
        return NULL;
    }
    return attr->g;
}

/* ---- If ---- */

static vqc_status truth(vqc_exec_call *call, const vqc_buffer *cond, const char *what, bool *out)
{
    if (cond->dtype != VQC_DTYPE_BOOL || cond->elements != 1) {
        return vqc_exec_fail(call, "%s: got %zu values of type %s, expected one bool", what,
                             cond->elements, vqc_dtype_describe(cond->dtype)->name);
    }
    *out = cond->data[0] != 0;
    return VQC_OK;
}

static vqc_status run_if(vqc_exec_call *call)
{
    bool yes = false;
    vqc_status status = truth(call, call->inputs[0], "cond", &yes);

    if (status != VQC_OK) {
        return status;
    }
    return vqc_exec_subgraph(call, yes ? "then_branch" : "else_branch", NULL, 0, call->outputs,
                             call->output_count);
}

/* ---- Loop ---- */

typedef struct loop {
    const Onnx__GraphProto *body;
    size_t carried;            /* values that go from round to round */
    size_t scanned;            /* outputs that collect one value per round */
    const vqc_buffer **inputs; /* [2 + carried] */
    vqc_buffer **owned;        /* [2 + carried] those of inputs that are this loop's, else NULL */
    vqc_buffer **results;      /* [1 + carried + scanned] of a round */
    vqc_rounds *rounds;        /* [scanned] */
} loop;

static vqc_status loop_start(vqc_exec_call *call, loop *self)
{
    size_t inputs;

    self->body = vqc_control_body(call);
    if (self->body == NULL) {
        return VQC_ERR_MODEL;
    }
    self->carried = call->input_count > 2 ? call->input_count - 2 : 0;
    inputs = self->carried + 2;
    if (self->body->n_output < self->carried + 1 || call->output_count > self->body->n_output - 1) {
        return vqc_exec_fail(call,
                             "body has %zu outputs for %zu carried values and %zu outputs of the "
                             "node",
                             self->body->n_output, self->carried, call->output_count);
    }
    self->scanned = self->body->n_output - 1 - self->carried;
    self->inputs = calloc(inputs, sizeof *self->inputs);
    self->owned = calloc(inputs, sizeof *self->owned);
    self->results = calloc(self->body->n_output, sizeof *self->results);
    self->rounds = calloc(self->scanned + 1, sizeof *self->rounds);
    if (self->inputs == NULL || self->owned == NULL || self->results == NULL ||
        self->rounds == NULL) {
        return vqc_fail_memory(call->error, self->body->n_output * sizeof *self->rounds);
    }
    for (size_t i = 0; i < self->carried; i++) {
        self->inputs[2 + i] = call->inputs[2 + i];
        if (self->inputs[2 + i] == NULL) {
            return vqc_exec_fail(call, "input %zu is missing", 2 + i);
        }
    }
    return VQC_OK;
}

static void loop_end(vqc_exec_call *call, loop *self)
{
    for (size_t i = 0; self->owned != NULL && i < self->carried + 2; i++) {
        vqc_exec_drop(call, &self->owned[i]);
    }
    for (size_t i = 0; self->rounds != NULL && i < self->scanned; i++) {
        vqc_rounds_clear(call, &self->rounds[i]);
    }
    free(self->inputs);
    free(self->owned);
    free(self->results);
    free(self->rounds);
}

/* Makes `buffer` the loop's value `index`. */
static void loop_set(vqc_exec_call *call, loop *self, size_t index, vqc_buffer *buffer)
{
    vqc_exec_drop(call, &self->owned[index]);
    self->owned[index] = buffer;
    self->inputs[index] = buffer;
}

static vqc_status loop_round(vqc_exec_call *call, loop *self, int64_t number)
{
    vqc_buffer *counter = vqc_exec_new_buffer(call, VQC_DTYPE_INT64, NULL, 0);
    vqc_status status;

    if (counter == NULL) {
        return call->error != NULL ? call->error->code : VQC_ERR_INTERNAL;
    }
    memcpy(counter->data, &number, sizeof number);
    loop_set(call, self, 0, counter);
    status = vqc_exec_subgraph(call, "body", self->inputs, self->carried + 2, self->results,
                               self->body->n_output);
    if (status != VQC_OK) {
        return status;
    }
    for (size_t i = 0; i <= self->carried; i++) {
        loop_set(call, self, 1 + i, self->results[i]);
    }
    for (size_t i = 0; i < self->scanned; i++) {
        vqc_buffer *result = self->results[1 + self->carried + i];
        if (status == VQC_OK) {
            status = vqc_rounds_add(call, &self->rounds[i], result);
        } else {
            vqc_exec_drop(call, &result);
        }
    }
    return status;
}

static vqc_status loop_outputs(vqc_exec_call *call, loop *self)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; status == VQC_OK && i < call->output_count; i++) {
        if (i < self->carried) {
            const vqc_buffer *value = self->inputs[2 + i];
            call->outputs[i] = vqc_buffer_alias(value, value->dims, value->rank);
            status =
                call->outputs[i] == NULL ? vqc_fail_memory(call->error, sizeof *value) : VQC_OK;
            continue;
        }
        if (self->rounds[i - self->carried].count == 0) {
            status = vqc_rounds_empty(call, self->body->output[1 + i], 0, &call->outputs[i]);
        } else {
            const vqc_rounds *rounds = &self->rounds[i - self->carried];
            status = vqc_rounds_stack(call, rounds, 0, rounds->count, false, &call->outputs[i]);
        }
    }
    return status;
}

static vqc_status loop_limits(vqc_exec_call *call, loop *self, int64_t *trips, bool *going)
{
    const vqc_buffer *count = vqc_exec_input(call, 0);
    const vqc_buffer *cond = vqc_exec_input(call, 1);
    vqc_status status = VQC_OK;

    *trips = INT64_MAX;
    *going = true;
    if (count != NULL && (count->dtype != VQC_DTYPE_INT64 || count->elements != 1)) {
        return vqc_exec_fail(call, "M: got %zu values of type %s, expected one int64",
                             count->elements, vqc_dtype_describe(count->dtype)->name);
    }
    if (count != NULL) {
        *trips = vqc_element_int(count->dtype, count->data, 0);
    }
    if (cond != NULL) {
        self->inputs[1] = cond;
        status = truth(call, cond, "cond", going);
    } else {
        vqc_buffer *yes = vqc_exec_new_buffer(call, VQC_DTYPE_BOOL, NULL, 0);
        if (yes == NULL) {
            return call->error != NULL ? call->error->code : VQC_ERR_INTERNAL;
        }
        yes->data[0] = 1;
        loop_set(call, self, 1, yes);
    }
    return status;
}

static vqc_status run_loop(vqc_exec_call *call)
{
    loop self = {.body = NULL};
    int64_t trips = 0;
    bool going = false;
    vqc_status status = loop_start(call, &self);

    if (status == VQC_OK) {
        status = loop_limits(call, &self, &trips, &going);
    }
    for (int64_t i = 0; status == VQC_OK && going && i < trips; i++) {
        status = loop_round(call, &self, i);
        if (status == VQC_OK) {
            status = truth(call, self.inputs[1], "body output 0", &going);
        }
    }
    if (status == VQC_OK) {
        status = loop_outputs(call, &self);
    }
    loop_end(call, &self);
    return status;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("If", "", 1, 1, NULL, run_if, .makes_outputs = true),
    VQC_EXEC_ROW("Loop", "", 1, 0, NULL, run_loop, .makes_outputs = true),
    VQC_EXEC_ROW("Scan", "", 8, 0, NULL, vqc_scan_run_batched, .makes_outputs = true),
    VQC_EXEC_ROW("Scan", "", 9, 1, NULL, vqc_scan_run, .makes_outputs = true),
};

const vqc_exec_family vqc_exec_ops_control = {OPS, sizeof OPS / sizeof OPS[0]};
