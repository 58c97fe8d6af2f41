#include "core/prune/channels_trace.h"

#include <stdlib.h>
#include <string.h>

#include "core/exec/program.h"
#include "core/layer.h"
#include "core/recipe.h"
#include "core/tensor.h"

/* ---- atoms ---- */

uint32_t vqc_trace_find(const vqc_trace *trace, uint32_t atom)
{
    while (trace->atoms[atom].parent != atom) {
        uint32_t above = trace->atoms[trace->atoms[atom].parent].parent;
        trace->atoms[atom].parent = above; /* halves the path */
        atom = above;
    }
    return atom;
}

void vqc_trace_join_atoms(vqc_trace *trace, uint32_t a, uint32_t b)
{
    a = vqc_trace_find(trace, a);
    b = vqc_trace_find(trace, b);
    if (a == b) {
        return;
    }
    if (b < a) { /* the first atom of a set is its root: independent of the order of joins */
        uint32_t t = a;
        a = b;
        b = t;
    }
    trace->atoms[b].parent = a;
    if (trace->atoms[a].frozen == NULL) {
        trace->atoms[a].frozen = trace->atoms[b].frozen;
    }
}

vqc_trace_labels *vqc_trace_labels_create(vqc_trace *trace, size_t count)
{
    vqc_trace_labels *labels = vqc_arena_alloc(trace->arena, sizeof *labels);

    if (labels != NULL) {
        labels->count = count;
        labels->atoms = vqc_arena_calloc(trace->arena, count + 1, sizeof *labels->atoms);
    }
    if (labels == NULL || labels->atoms == NULL) {
        trace->no_memory = true;
        return NULL;
    }
    return labels;
}

vqc_trace_labels *vqc_trace_fresh(vqc_trace *trace, size_t count)
{
    vqc_trace_labels *labels;

    if (trace->atom_count + count > trace->atom_capacity) {
        size_t capacity = (trace->atom_count + count) * 2;
        vqc_trace_atom *more =
            capacity > UINT32_MAX ? NULL : realloc(trace->atoms, capacity * sizeof *more);
        if (more == NULL) {
            trace->no_memory = true;
            return NULL;
        }
        trace->atoms = more;
        trace->atom_capacity = capacity;
    }
    labels = vqc_trace_labels_create(trace, count);
    if (labels == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t atom = (uint32_t)trace->atom_count++;
        trace->atoms[atom] = (vqc_trace_atom){.parent = atom};
        labels->atoms[i] = atom;
    }
    return labels;
}

void vqc_trace_freeze(vqc_trace *trace, const vqc_trace_labels *labels, const char *why)
{
    for (size_t i = 0; labels != NULL && i < labels->count; i++) {
        vqc_trace_atom *root = &trace->atoms[vqc_trace_find(trace, labels->atoms[i])];
        if (root->frozen == NULL) {
            root->frozen = why == NULL ? "out of memory" : why;
        }
    }
}

void vqc_trace_join(vqc_trace *trace, const vqc_trace_labels *a, const vqc_trace_labels *b,
                    const char *why)
{
    if (a == NULL || b == NULL || a->count != b->count) {
        vqc_trace_freeze(trace, a, why);
        vqc_trace_freeze(trace, b, why);
        return;
    }
    for (size_t i = 0; i < a->count; i++) {
        vqc_trace_join_atoms(trace, a->atoms[i], b->atoms[i]);
    }
}

size_t vqc_trace_kept(const vqc_trace *trace, const vqc_trace_labels *labels, const bool *removed)
{
    size_t kept = 0;

    for (size_t i = 0; i < labels->count; i++) {
        kept += removed[vqc_trace_find(trace, labels->atoms[i])] ? 0 : 1;
    }
    return kept;
}

/* ---- values ---- */

size_t vqc_trace_index(const vqc_trace *trace, const vqc_value *value)
{
    return value == NULL ? SIZE_MAX : vqc_pointer_map_get(&trace->map, value, SIZE_MAX);
}

const char *vqc_trace_because(vqc_trace *trace, const char *why)
{
    const char *label = vqc_node_label(trace->node, trace->arena);
    const char *op = vqc_node_op_name(trace->node, trace->arena);
    const char *text = label == NULL || op == NULL
                           ? NULL
                           : vqc_arena_printf(trace->arena, "%s \"%.120s\": %s", op, label, why);

    trace->no_memory = trace->no_memory || text == NULL;
    return text == NULL ? why : text;
}

vqc_trace_labels *vqc_trace_take(vqc_trace *trace, size_t i, int axis)
{
    vqc_trace_value *value = i < trace->node->n_input ? trace->inputs[i] : NULL;

    if (value == NULL || axis < 0 || axis >= value->rank) {
        return NULL;
    }
    trace->taken[i] |= 1u << axis;
    if (value->labels[axis] == NULL && value->is_constant && value->dims[axis] > 1 &&
        value->dims[axis] <= VQC_TRACE_MAX_AXIS) {
        value->labels[axis] = vqc_trace_fresh(trace, (size_t)value->dims[axis]);
    }
    return value->labels[axis];
}

void vqc_trace_give(vqc_trace *trace, size_t output, int axis, vqc_trace_labels *labels)
{
    vqc_trace_value *value = output < trace->node->n_output ? trace->outputs[output] : NULL;

    if (labels == NULL) {
        return;
    }
    if (value == NULL) { /* an output that nothing reads, or an absent one: nothing to follow */
        return;
    }
    if (axis >= 0 && axis < value->rank && value->dims[axis] < 0) {
        value->dims[axis] = (int64_t)labels->count;
    }
    if (axis < 0 || axis >= value->rank || value->dims[axis] != (int64_t)labels->count) {
        vqc_trace_freeze(trace, labels, vqc_trace_because(trace, "shape of its output is unknown"));
        return;
    }
    if (labels->count == 1) {
        vqc_trace_freeze(trace, labels, vqc_trace_because(trace, "has a single channel"));
        return;
    }
    value->labels[axis] = labels;
}

const char *vqc_trace_same(vqc_trace *trace)
{
    for (int a = 0; trace->inputs[0] != NULL && a < trace->inputs[0]->rank; a++) {
        vqc_trace_give(trace, 0, a, vqc_trace_take(trace, 0, a));
    }
    return NULL;
}

bool vqc_trace_ints(vqc_trace *trace, size_t input, const int64_t **values, size_t *count)
{
    const vqc_trace_value *value = input < trace->node->n_input ? trace->inputs[input] : NULL;
    const void *raw;
    size_t bytes;
    int64_t *copy;

    if (value == NULL || !value->is_constant ||
        (value->tensor->data_type != VQC_DTYPE_INT64 &&
         value->tensor->data_type != VQC_DTYPE_INT32) ||
        !vqc_tensor_elements(value->tensor, count) || *count > VQC_EXEC_MAX_RANK * 64 ||
        vqc_tensor_borrow_raw(value->tensor, trace->arena, &raw, &bytes, NULL) != VQC_OK) {
        return false;
    }
    copy = vqc_arena_calloc(trace->arena, *count + 1, sizeof *copy);
    if (copy == NULL) {
        trace->no_memory = true;
        return false;
    }
    for (size_t i = 0; i < *count; i++) {
        if (value->tensor->data_type == VQC_DTYPE_INT64) {
            memcpy(&copy[i], (const char *)raw + i * sizeof *copy, sizeof *copy);
        } else {
            int32_t narrow;
            memcpy(&narrow, (const char *)raw + i * sizeof narrow, sizeof narrow);
            copy[i] = narrow;
        }
    }
    *values = copy;
    return true;
}

bool vqc_trace_ints_of(vqc_trace *trace, const char *name, size_t input, const int64_t **values,
                       size_t *count)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(trace->node, name);

    if (attr != NULL) {
        *values = attr->ints;
        *count = attr->n_ints;
        return true;
    }
    return vqc_trace_ints(trace, input, values, count);
}

/* ---- lists ---- */

/* Room for one more item; false when out of memory. */
static bool grow(vqc_trace *trace, void **items, size_t count, size_t *capacity, size_t width)
{
    void *more;

    if (count < *capacity) {
        return true;
    }
    more = realloc(*items, (count * 2 + 16) * width);
    if (more == NULL) {
        trace->no_memory = true;
        return false;
    }
    *items = more;
    *capacity = count * 2 + 16;
    return true;
}

void vqc_trace_add_producer(vqc_trace *trace, size_t input, int axis,
                            const vqc_trace_labels *labels)
{
    void *items = trace->producers;

    if (labels != NULL && grow(trace, &items, trace->producer_count, &trace->producer_capacity,
                               sizeof *trace->producers)) {
        trace->producers = items;
        trace->producers[trace->producer_count++] = (vqc_trace_producer){
            .node = trace->node_index,
            .weight = vqc_trace_index(trace, trace->inputs[input]->value),
            .axis = axis,
            .labels = labels,
        };
    }
}

void vqc_trace_add_consumer(vqc_trace *trace, vqc_trace_consumer consumer)
{
    void *items = trace->consumers;

    if (consumer.labels != NULL && grow(trace, &items, trace->consumer_count,
                                        &trace->consumer_capacity, sizeof *trace->consumers)) {
        trace->consumers = items;
        consumer.node = trace->node_index;
        trace->consumers[trace->consumer_count++] = consumer;
    }
}

vqc_trace_edit *vqc_trace_add_edit(vqc_trace *trace, vqc_trace_edit_kind kind, size_t count)
{
    void *items = trace->edits;
    vqc_trace_edit *edit;

    if (!grow(trace, &items, trace->edit_count, &trace->edit_capacity, sizeof *trace->edits)) {
        return NULL;
    }
    trace->edits = items;
    edit = &trace->edits[trace->edit_count];
    *edit = (vqc_trace_edit){.kind = kind, .node = trace->node_index, .count = count};
    edit->fixed = vqc_arena_calloc(trace->arena, count + 1, sizeof *edit->fixed);
    edit->labels = vqc_arena_calloc(trace->arena, count + 1, sizeof *edit->labels);
    if (edit->fixed == NULL || edit->labels == NULL) {
        trace->no_memory = true;
        return NULL;
    }
    trace->edit_count++;
    return edit;
}

/* ---- shapes ---- */

typedef struct shape_run {
    vqc_trace *trace;
    const size_t *indices; /* tap -> value */
    vqc_program *program;
    vqc_runner *runner;
} shape_run;

static vqc_status see_shape(void *context, size_t index, const vqc_buffer *buffer, vqc_error *error)
{
    shape_run *run = context;
    vqc_trace_value *value = &run->trace->values[run->indices[index]];

    (void)error;
    value->rank = (int)buffer->rank;
    memcpy(value->dims, buffer->dims, buffer->rank * sizeof *buffer->dims);
    return VQC_OK;
}

static vqc_status run_once(shape_run *run, const vqc_buffer *const *inputs, vqc_error *error)
{
    size_t count;
    const vqc_program_port *ports = vqc_program_inputs(run->program, &count);
    const vqc_graph *graph = run->trace->graph;
    const vqc_tap tap = {.seen = see_shape, .context = run};
    vqc_buffer **outputs;
    vqc_status status;

    for (size_t i = 0; i < count; i++) {
        size_t index =
            vqc_trace_index(run->trace, vqc_scope_define(graph, graph->scopes[0], ports[i].name));
        if (inputs[i] != NULL && index != SIZE_MAX) {
            run->trace->values[index].rank = (int)inputs[i]->rank;
            memcpy(run->trace->values[index].dims, inputs[i]->dims,
                   inputs[i]->rank * sizeof *inputs[i]->dims);
        }
    }

    (void)vqc_program_outputs(run->program, &count);
    outputs = calloc(count + 1, sizeof *outputs);
    if (outputs == NULL) {
        return vqc_fail_memory(error, count * sizeof *outputs);
    }
    status = vqc_runner_run(run->runner, inputs, outputs, &tap, error);
    for (size_t i = 0; i < count; i++) {
        vqc_buffer_destroy(&outputs[i]);
    }
    free(outputs);
    return status;
}

/* Shapes as the model states them; those of a run that failed half-way are not mixed with others.
 */
static void state_shapes(vqc_trace *trace)
{
    for (size_t i = 0; i < trace->value_count; i++) {
        vqc_trace_value *out = &trace->values[i];
        if (out->is_constant) {
            out->rank = (int)out->tensor->n_dims;
            for (size_t d = 0; d < out->tensor->n_dims; d++) {
                out->dims[d] = out->tensor->dims[d];
            }
        } else {
            out->rank = vqc_value_shape(out->value, out->dims, VQC_EXEC_MAX_RANK);
        }
        out->rank = out->rank > VQC_EXEC_MAX_RANK ? -1 : out->rank;
    }
}

/* Runs on zeros, free dimensions as given (the first one, usually the batch, 1). */
static vqc_status run_zeros(shape_run *run, int64_t free_dim, vqc_error *error)
{
    size_t count;
    const vqc_program_port *ports = vqc_program_inputs(run->program, &count);
    vqc_buffer **inputs = calloc(count + 1, sizeof *inputs);
    vqc_status status = inputs == NULL ? vqc_fail_memory(error, count * sizeof *inputs) : VQC_OK;

    for (size_t i = 0; i < count && status == VQC_OK; i++) {
        int64_t dims[VQC_EXEC_MAX_RANK] = {0};
        if (ports[i].has_default) {
            continue;
        }
        if (ports[i].rank < 0) {
            status = vqc_fail(error, VQC_ERR_MODEL, "input \"%s\": unknown rank", ports[i].name);
            continue;
        }
        for (int a = 0; a < ports[i].rank; a++) {
            dims[a] = ports[i].dims[a] >= 0 ? ports[i].dims[a] : a == 0 ? 1 : free_dim;
        }
        inputs[i] = vqc_buffer_create(ports[i].dtype, dims, (size_t)ports[i].rank);
        if (inputs[i] == NULL) {
            status = vqc_fail(error, VQC_ERR_MODEL, "input \"%s\": cannot be made", ports[i].name);
        } else {
            memset(inputs[i]->data, 0, inputs[i]->elements * inputs[i]->width);
        }
    }
    if (status == VQC_OK) {
        status = run_once(run, (const vqc_buffer *const *)inputs, error);
    }
    for (size_t i = 0; inputs != NULL && i < count; i++) {
        vqc_buffer_destroy(&inputs[i]);
    }
    free(inputs);
    return status;
}

static vqc_status run_samples(shape_run *run, vqc_samples *samples, vqc_error *error)
{
    vqc_sample sample;
    vqc_status status = samples->read(samples, 0, 0, &sample, error);

    if (status == VQC_OK) {
        status = run_once(run, sample.inputs, error);
        samples->release(samples, 0);
    }
    return status;
}

/* Shapes by running; where that fails, those that the model states remain. */
static vqc_status find_shapes(vqc_trace *trace, vqc_samples *samples, vqc_error *error)
{
    static const int64_t free_dims[] = {1, 8, 64, 320, 16000};
    shape_run run = {.trace = trace};
    const vqc_value **taps = calloc(trace->value_count + 1, sizeof *taps);
    size_t *indices = calloc(trace->value_count + 1, sizeof *indices);
    vqc_program_options options = {.taps = taps};
    vqc_error ignored;
    vqc_status status = VQC_OK;

    if (taps == NULL || indices == NULL) {
        status = vqc_fail_memory(error, trace->value_count * sizeof *indices);
        goto done;
    }
    for (size_t i = 0; i < trace->value_count; i++) {
        const vqc_value *value = trace->values[i].value;
        if (value->producer != NULL && value->use_count > 0 && !trace->values[i].is_constant) {
            indices[options.tap_count] = i;
            taps[options.tap_count++] = value;
        }
    }
    run.indices = indices;
    if (vqc_program_create(trace->graph, &options, &run.program, &ignored) == VQC_OK &&
        vqc_runner_create(run.program, 1, &run.runner, &ignored) == VQC_OK) {
        vqc_status one = VQC_ERR_MODEL;
        if (samples != NULL && samples->count > 0) {
            status = run_samples(&run, samples, error);
            goto done;
        }
        for (size_t i = 0; i < sizeof free_dims / sizeof free_dims[0] && one == VQC_ERR_MODEL;
             i++) {
            one = run_zeros(&run, free_dims[i], &ignored);
            if (one != VQC_OK) {
                state_shapes(trace);
            }
        }
    }
done:
    vqc_runner_destroy(&run.runner);
    vqc_program_destroy(&run.program);
    free(taps);
    free(indices);
    return status;
}

/* ---- the walk ---- */

static vqc_status collect_values(vqc_trace *trace, vqc_error *error)
{
    const vqc_graph *graph = trace->graph;

    trace->values = vqc_arena_calloc(trace->arena, graph->value_count + 1, sizeof *trace->values);
    if (trace->values == NULL) {
        return vqc_fail_memory(error, graph->value_count * sizeof *trace->values);
    }
    for (size_t i = 0; i < graph->value_count; i++) {
        const vqc_value *value = graph->values[i];
        vqc_trace_value *out = &trace->values[trace->value_count];
        Onnx__TensorProto *tensor;

        if (value->scope != graph->scopes[0]) {
            continue;
        }
        if (!vqc_pointer_map_set(&trace->map, value, trace->value_count)) {
            return vqc_fail_memory(error, 0);
        }
        out->value = value;
        tensor = vqc_value_stored_tensor(value);
        if (tensor != NULL && vqc_value_constant(graph, value) == tensor &&
            tensor->n_dims <= VQC_EXEC_MAX_RANK && vqc_exec_width(tensor->data_type) > 0) {
            out->is_constant = true;
            out->tensor = tensor;
        }
        trace->value_count++;
    }
    state_shapes(trace);
    return VQC_OK;
}

/* Axes of an input that the rule said nothing about; atoms that a constant has or could get in
 * other places are joined to none here, so all its axes are frozen. */
static void freeze_rest(vqc_trace *trace, size_t i, const char *why)
{
    vqc_trace_value *value = trace->inputs[i];

    for (int a = 0; value != NULL && a < value->rank; a++) {
        if ((trace->taken[i] & (1u << a)) == 0) {
            const vqc_trace_labels *labels = vqc_trace_take(trace, i, a);
            if (labels != NULL) {
                vqc_trace_freeze(trace, labels, vqc_trace_because(trace, why));
            }
        }
    }
}

static bool is_excluded(const Onnx__NodeProto *node, const char *const *exclude, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        if (node->name != NULL && node->name[0] != '\0' && vqc_glob_test(exclude[k], node->name)) {
            return true;
        }
        for (size_t i = 0; i < node->n_input; i++) {
            if (node->input[i][0] != '\0' && vqc_glob_test(exclude[k], node->input[i])) {
                return true;
            }
        }
    }
    return false;
}

static vqc_trace_value *value_named(vqc_trace *trace, const char *name)
{
    size_t index = name == NULL || name[0] == '\0'
                       ? SIZE_MAX
                       : vqc_trace_index(
                             trace, vqc_scope_resolve(trace->graph, trace->graph->scopes[0], name));
    return index == SIZE_MAX ? NULL : &trace->values[index];
}

/* Readers outside of the main graph's nodes cannot follow. */
static void freeze_escaping(vqc_trace *trace, vqc_trace_value *value)
{
    for (size_t u = 0; u < value->value->use_count; u++) {
        const vqc_use *use = &value->value->uses[u];
        const char *why = use->node == NULL                       ? "is an output of the model"
                          : use->scope != trace->graph->scopes[0] ? "is read by a subgraph"
                                                                  : NULL;
        for (int a = 0; why != NULL && a < value->rank; a++) {
            if (value->labels[a] != NULL) {
                vqc_trace_freeze(trace, value->labels[a], vqc_trace_because(trace, why));
            }
        }
    }
}

static void trace_node(vqc_trace *trace, bool excluded)
{
    vqc_trace_rule *rule = vqc_trace_rule_find(trace->node);
    const char *why = rule == NULL ? "channels cannot be followed through this operator" : NULL;

    if (rule != NULL) {
        why = rule(trace);
    }
    for (size_t i = 0; i < trace->node->n_input; i++) {
        freeze_rest(trace, i, why != NULL ? why : "depends on the number of channels");
    }
    for (size_t o = 0; o < trace->node->n_output; o++) {
        vqc_trace_value *value = trace->outputs[o];
        for (int a = 0; value != NULL && a < value->rank && excluded; a++) {
            vqc_trace_freeze(trace, value->labels[a], vqc_trace_because(trace, "is excluded"));
        }
        if (value != NULL) {
            freeze_escaping(trace, value);
        }
    }
}

static vqc_status walk(vqc_trace *trace, const char *const *exclude, size_t exclude_count,
                       vqc_error *error)
{
    size_t count;
    Onnx__NodeProto **nodes = vqc_scope_nodes(trace->graph->scopes[0], &count);

    for (size_t n = 0; n < count; n++) {
        trace->node = nodes[n];
        trace->node_index = n;
        trace->inputs =
            vqc_arena_calloc(trace->arena, nodes[n]->n_input + 1, sizeof *trace->inputs);
        trace->outputs =
            vqc_arena_calloc(trace->arena, nodes[n]->n_output + 1, sizeof *trace->outputs);
        trace->taken = vqc_arena_calloc(trace->arena, nodes[n]->n_input + 1, sizeof *trace->taken);
        if (trace->inputs == NULL || trace->outputs == NULL || trace->taken == NULL) {
            return vqc_fail_memory(error, nodes[n]->n_input * sizeof *trace->inputs);
        }
        for (size_t i = 0; i < nodes[n]->n_input; i++) {
            trace->inputs[i] = value_named(trace, nodes[n]->input[i]);
        }
        for (size_t o = 0; o < nodes[n]->n_output; o++) {
            trace->outputs[o] = value_named(trace, nodes[n]->output[o]);
        }
        if (!vqc_node_is(nodes[n], "Constant")) {
            trace_node(trace, is_excluded(nodes[n], exclude, exclude_count));
        }
        if (trace->no_memory) {
            return vqc_fail_memory(error, 0);
        }
    }
    for (size_t i = 0; i < trace->value_count; i++) { /* constants that escape */
        if (trace->values[i].is_constant && trace->values[i].value->use_count > 0) {
            const vqc_use *use = &trace->values[i].value->uses[0];
            trace->node = use->node != NULL ? use->node : trace->node;
            if (trace->node != NULL) {
                freeze_escaping(trace, &trace->values[i]);
            }
        }
    }
    return trace->no_memory ? vqc_fail_memory(error, 0) : VQC_OK;
}

vqc_status vqc_trace_create(const vqc_graph *graph, vqc_samples *samples,
                            const char *const *exclude, size_t exclude_count, vqc_trace **out,
                            vqc_error *error)
{
    vqc_trace *trace = calloc(1, sizeof *trace);
    vqc_status status = VQC_OK;

    *out = NULL;
    if (trace == NULL) {
        return vqc_fail_memory(error, sizeof *trace);
    }
    trace->graph = graph;
    trace->opset = graph->scopes[0]->opset;
    trace->arena = vqc_arena_create();
    if (trace->arena == NULL) {
        status = vqc_fail_memory(error, 0);
    }
    if (status == VQC_OK) {
        status = collect_values(trace, error);
    }
    if (status == VQC_OK) {
        status = find_shapes(trace, samples, error);
    }
    if (status == VQC_OK) {
        status = walk(trace, exclude, exclude_count, error);
    }
    if (status != VQC_OK) {
        vqc_trace_destroy(&trace);
    }
    *out = trace;
    return status;
}

void vqc_trace_destroy(vqc_trace **trace)
{
    if (*trace == NULL) {
        return;
    }
    vqc_pointer_map_clear(&(*trace)->map);
    vqc_arena_destroy(&(*trace)->arena);
    free((*trace)->atoms);
    free((*trace)->producers);
    free((*trace)->consumers);
    free((*trace)->edits);
    free(*trace);
    *trace = NULL;
}
