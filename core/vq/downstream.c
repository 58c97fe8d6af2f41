#include "core/vq/downstream.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/element.h"
#include "core/memory.h"
#include "core/vq/sequence_piece.h"

struct vqc_downstream {
    const vqc_reference *reference;
    vqc_sequence *sequence; /* the graph's index; no walk is made */
    size_t samples;
    int threads;
    size_t *places; /* [values of the sequence] place among the kept ones, or VQC_SEQUENCE_NONE */
    size_t kept_count;
    vqc_buffer **kept; /* [samples][kept_count] */
};

/* ---- what lies behind a layer ---- */

/* Nodes that a layer's values reach, what they read from outside, and the model outputs there. */
typedef struct extent {
    size_t *nodes; /* [node_count] producers first */
    size_t node_count;
    size_t *inputs; /* [input_count] values */
    size_t input_count;
    size_t *outputs; /* [output_count] values */
    size_t *ports;   /* [output_count] which outputs of the model they are */
    size_t output_count;
} extent;

static void clear_extent(extent *e)
{
    free(e->nodes);
    free(e->inputs);
    free(e->outputs);
    free(e->ports);
    *e = (extent){0};
}

static bool reads_any(const vqc_sequence_node *node, const bool *reached)
{
    for (size_t k = 0; k < node->input_count; k++) {
        if (reached[node->inputs[k]]) {
            return true;
        }
    }
    return false;
}

/* Takes a node with the values that it reads from outside. */
static void take_node(const vqc_sequence *s, size_t at, extent *e, bool *reached, bool *listed)
{
    const vqc_sequence_node *node = &s->nodes[at];

    e->nodes[e->node_count++] = at;
    for (size_t k = 0; k < node->input_count; k++) {
        size_t v = node->inputs[k];
        if (!s->values[v].is_constant && !reached[v] && !listed[v]) {
            listed[v] = true;
            e->inputs[e->input_count++] = v;
        }
    }
    for (size_t o = 0; o < node->output_count; o++) {
        if (node->outputs[o] != VQC_SEQUENCE_NONE) {
            reached[node->outputs[o]] = true;
        }
    }
}

/* False: out of memory. */
static bool find_extent(const vqc_sequence *s, size_t layer, extent *e)
{
    const Onnx__GraphProto *graph = s->graph->model->proto->graph;
    bool *reached = calloc(s->value_count + 1, sizeof *reached);
    bool *listed = calloc(s->value_count + 1, sizeof *listed);
    bool made;

    *e = (extent){0};
    e->nodes = calloc(s->node_count + 1, sizeof *e->nodes);
    e->inputs = calloc(s->value_count + 1, sizeof *e->inputs);
    e->outputs = calloc(graph->n_output + 1, sizeof *e->outputs);
    e->ports = calloc(graph->n_output + 1, sizeof *e->ports);
    made = reached != NULL && listed != NULL && e->nodes != NULL && e->inputs != NULL &&
           e->outputs != NULL && e->ports != NULL;
    for (size_t i = 0; made && i < s->node_count; i++) {
        size_t at = s->order[i];
        if (!s->nodes[at].is_constant &&
            (at == s->layers[layer].node || reads_any(&s->nodes[at], reached))) {
            take_node(s, at, e, reached, listed);
        }
    }
    for (size_t o = 0; made && o < graph->n_output; o++) {
        size_t v = vqc_sequence_lookup(s, graph->output[o]->name);
        if (v != VQC_SEQUENCE_NONE && reached[v]) {
            e->outputs[e->output_count] = v;
            e->ports[e->output_count++] = o;
        }
    }
    free(reached);
    free(listed);
    return made;
}

/* ---- keeping values of the original ---- */

typedef struct keeping {
    vqc_downstream *self;
    size_t sample;
} keeping;

static vqc_status keep_value(void *context, size_t index, const vqc_buffer *buffer,
                             vqc_error *error)
{
    keeping *k = context;
    vqc_buffer **slot = &k->self->kept[k->sample * k->self->kept_count + index];

    if (vqc_class_of(buffer->dtype) == VQC_CLASS_NONE || *slot != NULL) {
        return VQC_OK;
    }
    *slot = vqc_buffer_create(buffer->dtype, buffer->dims, buffer->rank);
    if (*slot == NULL) {
        return vqc_fail_memory(error, buffer->elements * buffer->width);
    }
    if (buffer->elements > 0) {
        memcpy((*slot)->data, buffer->data, buffer->elements * buffer->width);
    }
    return VQC_OK;
}

static vqc_status run_original(vqc_downstream *self, vqc_runner *runner, size_t sample,
                               vqc_error *error)
{
    keeping k = {self, sample};
    vqc_tap tap = {keep_value, &k};
    size_t count = vqc_reference_outputs(self->reference);
    vqc_buffer **outputs = calloc(count + 1, sizeof(void *));
    vqc_status status;

    if (outputs == NULL) {
        return vqc_fail_memory(error, count * sizeof(void *));
    }
    status =
        vqc_runner_run(runner, vqc_reference_inputs(self->reference, sample), outputs, &tap, error);
    for (size_t o = 0; o < count; o++) {
        (void)vqc_buffer_destroy(&outputs[o]);
    }
    free(outputs);
    return status;
}

/* Bytes kept of a sample; *all: nothing is missing. */
static size_t kept_bytes(const vqc_downstream *self, size_t sample, bool *all)
{
    size_t bytes = 0;

    for (size_t i = 0; i < self->kept_count; i++) {
        const vqc_buffer *buffer = self->kept[sample * self->kept_count + i];

        *all = *all && buffer != NULL;
        bytes += buffer != NULL ? buffer->elements * buffer->width : 0;
    }
    return bytes;
}

/* Runs the original sample by sample, by all threads; *fits: everything could be kept. */
static vqc_status keep_all(vqc_downstream *self, const vqc_program *program, size_t max_bytes,
                           bool *fits, vqc_error *error)
{
    vqc_runner *runner = NULL;
    size_t sum = 0;
    vqc_status status = vqc_runner_create(program, self->threads, &runner, error);

    *fits = true;
    for (size_t i = 0; i < self->samples && status == VQC_OK && *fits; i++) {
        status = run_original(self, runner, i, error);
        sum += kept_bytes(self, i, fits);
        *fits = *fits && sum / (i + 1) <= max_bytes / self->samples;
    }
    vqc_runner_destroy(&runner);
    return status;
}

/* Values that any layer's nodes read from before it, and where they will be kept. */
static vqc_status list_values(vqc_downstream *self, const vqc_graph *graph, size_t count,
                              const vqc_value **taps, vqc_error *error)
{
    vqc_sequence *s = self->sequence;

    for (size_t v = 0; v < s->value_count; v++) {
        self->places[v] = VQC_SEQUENCE_NONE;
    }
    for (size_t i = 0; i < count; i++) {
        extent e;
        bool made = find_extent(s, i, &e);

        for (size_t k = 0; made && k < e.input_count; k++) {
            size_t v = e.inputs[k];
            const vqc_value *value = vqc_scope_define(graph, graph->scopes[0], s->values[v].name);
            if (self->places[v] == VQC_SEQUENCE_NONE && value != NULL) {
                taps[self->kept_count] = value;
                self->places[v] = self->kept_count++;
            }
        }
        clear_extent(&e);
        if (!made) {
            return vqc_fail_memory(error, s->value_count);
        }
    }
    return VQC_OK;
}

static vqc_status set_up(vqc_downstream *self, const vqc_graph *graph, size_t count,
                         size_t max_bytes, bool *fits, vqc_error *error)
{
    size_t values = self->sequence->value_count;
    const vqc_value **taps = calloc(values + 1, sizeof(void *));
    vqc_program_options options = {.taps = taps};
    vqc_program *program = NULL;
    vqc_status status = VQC_OK;

    self->places = calloc(values + 1, sizeof *self->places);
    if (taps == NULL || self->places == NULL) {
        status = vqc_fail_memory(error, values * sizeof *self->places);
    }
    if (status == VQC_OK) {
        status = list_values(self, graph, count, taps, error);
    }
    if (status == VQC_OK) {
        options.tap_count = self->kept_count;
        self->kept = calloc(self->samples * self->kept_count + 1, sizeof(vqc_buffer *));
        status = self->kept == NULL ? vqc_fail_memory(error, self->kept_count)
                                    : vqc_program_create(graph, &options, &program, error);
    }
    if (status == VQC_OK) {
        status = keep_all(self, program, max_bytes, fits, error);
    }
    vqc_program_destroy(&program);
    free(taps);
    return status;
}

vqc_status vqc_downstream_create(const vqc_graph *graph, const vqc_layer *const *layers,
                                 size_t count, vqc_samples *source, const vqc_reference *reference,
                                 size_t samples, size_t max_bytes, int threads,
                                 vqc_downstream **out, vqc_error *error)
{
    vqc_sequence_options options = {.max_samples = 1, .threads = threads};
    vqc_downstream *self = calloc(1, sizeof *self);
    size_t available = vqc_reference_count(reference);
    bool fits = false;
    vqc_status status;

    *out = NULL;
    if (self == NULL) {
        return vqc_fail_memory(error, sizeof *self);
    }
    self->reference = reference;
    self->samples = samples == 0 || samples > available ? available : samples;
    self->threads = (int)vqc_samples_slots(threads);
    status = vqc_sequence_create(graph, layers, count, source, &options, &self->sequence, error);
    if (status == VQC_OK) {
        status = set_up(self, graph, count, max_bytes, &fits, error);
    }
    if (status != VQC_OK || !fits) {
        vqc_downstream_destroy(&self);
    }
    *out = self;
    return status;
}

void vqc_downstream_destroy(vqc_downstream **downstream)
{
    vqc_downstream *self = *downstream;

    if (self == NULL) {
        return;
    }
    for (size_t i = 0; self->kept != NULL && i < self->samples * self->kept_count; i++) {
        (void)vqc_buffer_destroy(&self->kept[i]);
    }
    free(self->kept);
    free(self->places);
    vqc_sequence_destroy(&self->sequence);
    free(self);
    *downstream = NULL;
}

/* ---- running what lies behind a layer ---- */

static vqc_status run_behind(const vqc_downstream *self, const extent *e, vqc_runner *runner,
                             size_t sample, vqc_buffer **outputs, vqc_error *error)
{
    const vqc_buffer **inputs = calloc(e->input_count + 1, sizeof(void *));
    vqc_buffer **got = calloc(e->output_count + 1, sizeof(void *));
    vqc_status status = inputs == NULL || got == NULL
                            ? vqc_fail_memory(error, e->input_count * sizeof(void *))
                            : VQC_OK;

    if (status == VQC_OK) {
        for (size_t i = 0; i < e->input_count; i++) {
            inputs[i] = self->kept[sample * self->kept_count + self->places[e->inputs[i]]];
        }
        status = vqc_runner_run(runner, inputs, got, NULL, error);
    }
    for (size_t o = 0; status == VQC_OK && o < e->output_count; o++) {
        outputs[e->ports[o]] = got[o];
    }
    free(inputs);
    free(got);
    return status;
}

/* All samples; the error of the lowest is reported. */
static vqc_status run_samples(const vqc_downstream *self, const extent *e,
                              const vqc_sequence_piece *piece, vqc_buffer **outputs,
                              vqc_error *error)
{
    size_t stride = vqc_reference_outputs(self->reference);
    size_t failed = SIZE_MAX;
    vqc_status result = VQC_OK;

#pragma omp parallel for schedule(dynamic, 1)                                                      \
    num_threads((int)piece->runner_count) if (piece->runner_count > 1)
    for (size_t s = 0; s < self->samples; s++) {
        vqc_error local = {VQC_OK, ""};
        vqc_status status = run_behind(self, e, piece->runners[omp_get_thread_num()], s,
                                       outputs + s * stride, &local);
        if (status != VQC_OK) {
#pragma omp critical(vqc_downstream_error)
            if (s < failed) {
                failed = s;
                result = status;
                if (error != NULL) {
                    *error = local;
                }
            }
        }
    }
    return result;
}

vqc_status vqc_downstream_score(vqc_downstream *self, size_t layer, vqc_score *score,
                                vqc_error *error)
{
    size_t total = self->samples * vqc_reference_outputs(self->reference);
    size_t workers = (size_t)self->threads < self->samples ? (size_t)self->threads : self->samples;
    vqc_buffer **outputs = calloc(total + 1, sizeof(vqc_buffer *));
    vqc_sequence_piece piece = {0};
    extent e;
    vqc_status status = VQC_OK;

    if (!find_extent(self->sequence, layer, &e) || outputs == NULL) {
        status = vqc_fail_memory(error, total * sizeof *outputs);
    }
    if (status == VQC_OK && e.output_count > 0) {
        status = vqc_sequence_piece_make(self->sequence, false, e.nodes, e.node_count, e.inputs,
                                         e.input_count, e.outputs, e.output_count, workers,
                                         self->threads / (int)workers, &piece, error);
        if (status == VQC_OK) {
            status = run_samples(self, &e, &piece, outputs, error);
        }
    }
    if (status == VQC_OK) {
        status = vqc_reference_compare(self->reference, (const vqc_buffer *const *)outputs,
                                       self->samples, score, error);
    }
    for (size_t i = 0; outputs != NULL && i < total; i++) {
        (void)vqc_buffer_destroy(&outputs[i]);
    }
    free(outputs);
    vqc_sequence_piece_clear(&piece);
    clear_extent(&e);
    return status;
}
