/* Values of all samples: reading inputs, running pieces, dropping what is dead. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/vq/sequence_piece.h"

enum { LEAST_SAMPLES = 8 /* with fewer, the walk recomputes instead of keeping values */ };

/* ---- kept values ---- */

static void drop_sample(vqc_sequence_value *value, size_t sample)
{
    if (value->x != NULL) {
        (void)vqc_buffer_destroy(&value->x[sample]);
        (void)vqc_buffer_destroy(&value->y[sample]);
    }
}

static void drop_value(const vqc_sequence *self, vqc_sequence_value *value)
{
    for (size_t s = 0; value->x != NULL && s < self->wanted_samples; s++) {
        drop_sample(value, s);
    }
    free(value->x);
    value->x = value->y = NULL;
}

void vqc_sequence_drop_all(vqc_sequence *self)
{
    for (size_t v = 0; v < self->value_count; v++) {
        drop_value(self, &self->values[v]);
    }
}

void vqc_sequence_drop_dead(vqc_sequence *self, size_t keep)
{
    for (size_t v = 0; v < self->value_count; v++) {
        vqc_sequence_value *value = &self->values[v];
        bool is_needed = self->recomputes ? value->is_given : value->pending > 0;
        if (value->x != NULL && v != keep && !is_needed) {
            drop_value(self, value);
        }
    }
}

static vqc_status make_room(const vqc_sequence *self, size_t v, vqc_error *error)
{
    vqc_sequence_value *value = &self->values[v];

    if (value->x == NULL) {
        value->x = calloc(2 * self->wanted_samples + 1, sizeof(vqc_buffer *));
        if (value->x == NULL) {
            return vqc_fail_memory(error, self->wanted_samples * sizeof(vqc_buffer *));
        }
        value->y = value->x + self->wanted_samples;
    }
    return VQC_OK;
}

/* Bytes that are kept of one sample; what models share counts once, aliases count each. */
static size_t kept_bytes(const vqc_sequence *self, size_t sample)
{
    size_t sum = 0;

    for (size_t v = 0; v < self->value_count; v++) {
        const vqc_sequence_value *value = &self->values[v];
        if (value->x != NULL && value->x[sample] != NULL) {
            sum += vqc_buffer_owned_bytes(value->x[sample]);
        }
        if (value->x != NULL && value->y[sample] != NULL) {
            sum += vqc_buffer_owned_bytes(value->y[sample]);
        }
    }
    return sum;
}

/* vqc_samples_spread, but [0, first) come before any others. */
static size_t choose(size_t k, size_t wanted, size_t first, size_t total)
{
    if (wanted <= first) {
        return vqc_samples_spread(k, wanted, first);
    }
    return k < first ? k : first + vqc_samples_spread(k - first, wanted - first, total - first);
}

/* Gives up samples evenly: pictures are often sorted by what they show. The first one stays. */
static void thin_out(vqc_sequence *self, size_t count)
{
    size_t first =
        self->source->count < self->sample_count ? self->source->count : self->sample_count;

    for (size_t v = 0; v < self->value_count; v++) {
        vqc_sequence_value *value = &self->values[v];
        for (size_t k = 0; value->x != NULL && k < count; k++) {
            size_t from = choose(k, count, first, self->sample_count);
            if (from != k) {
                drop_sample(value, k);
                value->x[k] = value->x[from];
                value->y[k] = value->y[from];
                value->x[from] = value->y[from] = NULL;
            }
        }
        for (size_t s = count; s < self->sample_count; s++) {
            drop_sample(value, s);
        }
    }
    self->sample_count = count;
}

/* ---- reading ---- */

/* Samples evenly spread over a source, with other views when there are not enough, as a source for
 * one pass over them. */
static vqc_status read_spread(vqc_samples *samples, size_t index, size_t slot, vqc_sample *out,
                              vqc_error *error)
{
    vqc_samples *source = samples->state;
    size_t place = choose(index, samples->count, source->count, vqc_samples_total(source));
    vqc_status status = source->read(source, place, slot, out, error);

    out->index = index;
    return status;
}

static void release_spread(vqc_samples *samples, size_t slot)
{
    vqc_samples *source = samples->state;

    source->release(source, slot);
}

static vqc_status take_sample(void *context, size_t slot, const vqc_sample *sample,
                              vqc_error *error)
{
    const vqc_sequence *self = context;
    size_t s = sample->index;

    (void)slot;
    for (size_t i = 0; i < self->port_count; i++) {
        const vqc_buffer *in = sample->inputs[i];
        vqc_buffer *copy;

        if (in == NULL) {
            continue;
        }
        copy = vqc_buffer_create(in->dtype, in->dims, in->rank);
        if (copy == NULL) {
            return vqc_fail_memory(error, in->elements * in->width);
        }
        if (in->elements > 0) {
            memcpy(copy->data, in->data, in->elements * in->width);
        }
        self->values[self->ports[i]].x[s] = copy;
    }
    return VQC_OK;
}

vqc_status vqc_sequence_read(vqc_sequence *self, vqc_error *error)
{
    vqc_samples wanted = *self->source;
    vqc_status status = VQC_OK;

    wanted.count = self->sample_count;
    wanted.read = read_spread;
    wanted.release = release_spread;
    wanted.state = self->source;

    for (size_t i = 0; i < self->port_count && status == VQC_OK; i++) {
        status = make_room(self, self->ports[i], error);
    }
    if (status == VQC_OK) {
        status = vqc_samples_for_each(&wanted, 0, 1, wanted.count, self->threads, take_sample, self,
                                      error);
    }
    for (size_t i = 0; i < self->port_count && status == VQC_OK; i++) {
        vqc_sequence_value *value = &self->values[self->ports[i]];
        for (size_t s = 0; s < self->sample_count; s++) {
            value->is_given = value->is_given || value->x[s] != NULL;
        }
    }
    return status;
}

/* ---- one piece ---- */

typedef struct stretch {
    vqc_sequence *self;
    size_t target;
    size_t *nodes; /* [node_count] */
    size_t node_count;
    size_t *inputs; /* values */
    size_t input_count;
    size_t *outputs;
    size_t output_count;
    bool differs; /* some output does */
    vqc_sequence_piece original;
    vqc_sequence_piece coded;
} stretch;

/* Finds what the nodes read from outside, and what of their outputs will be needed. */
static bool find_ends(stretch *p)
{
    vqc_sequence *self = p->self;
    bool *listed = calloc(self->value_count + 1, sizeof *listed);

    p->inputs = calloc(self->value_count + 1, sizeof *p->inputs);
    p->outputs = calloc(self->value_count + 1, sizeof *p->outputs);
    if (listed == NULL || p->inputs == NULL || p->outputs == NULL) {
        free(listed);
        return false;
    }
    for (size_t i = 0; i < p->node_count; i++) {
        self->nodes[p->nodes[i]].is_done = true;
    }
    vqc_sequence_count_pending(self);
    for (size_t i = 0; i < p->node_count; i++) {
        const vqc_sequence_node *node = &self->nodes[p->nodes[i]];
        for (size_t k = 0; k < node->input_count; k++) {
            size_t v = node->inputs[k];
            if (!self->values[v].is_constant && !listed[v]) {
                listed[v] = true;
                p->inputs[p->input_count++] = v;
            }
        }
        for (size_t o = 0; o < node->output_count; o++) {
            size_t v = node->outputs[o];
            if (v == VQC_SEQUENCE_NONE) {
                continue;
            }
            listed[v] = true;
            if (v == p->target || (self->values[v].pending > 0 && !self->recomputes)) {
                p->outputs[p->output_count++] = v;
                p->differs = p->differs || self->values[v].differs;
            }
        }
    }
    free(listed);
    return true;
}

static vqc_status run_side(const stretch *p, const vqc_sequence_piece *piece, bool coded,
                           size_t worker, size_t sample, vqc_buffer **outputs, vqc_error *error)
{
    const vqc_sequence *self = p->self;
    const vqc_buffer **inputs = calloc(p->input_count + 1, sizeof(void *));
    vqc_status status;

    if (inputs == NULL) {
        return vqc_fail_memory(error, p->input_count * sizeof(void *));
    }
    for (size_t i = 0; i < p->input_count; i++) {
        const vqc_sequence_value *value = &self->values[p->inputs[i]];
        inputs[i] = coded && value->y[sample] != NULL ? value->y[sample] : value->x[sample];
    }
    status = vqc_runner_run(piece->runners[worker], inputs, outputs, NULL, error);
    free(inputs);
    return status;
}

static vqc_status run_sample(const stretch *p, size_t worker, size_t sample, vqc_error *error)
{
    const vqc_sequence *self = p->self;
    vqc_buffer **outputs = calloc(2 * p->output_count + 1, sizeof(void *));
    vqc_status status;

    if (outputs == NULL) {
        return vqc_fail_memory(error, p->output_count * sizeof(void *));
    }
    status = run_side(p, &p->original, false, worker, sample, outputs, error);
    if (status == VQC_OK && p->differs) {
        status = run_side(p, &p->coded, true, worker, sample, outputs + p->output_count, error);
    }
    for (size_t i = 0; i < p->output_count; i++) {
        vqc_sequence_value *value = &self->values[p->outputs[i]];
        vqc_buffer **y = &outputs[p->output_count + i];
        if (status != VQC_OK) {
            (void)vqc_buffer_destroy(&outputs[i]);
            continue;
        }
        value->x[sample] = outputs[i];
        if (value->differs) {
            value->y[sample] = *y;
        } else {
            (void)vqc_buffer_destroy(y);
        }
    }
    free(outputs);
    for (size_t i = 0; status == VQC_OK && i < p->input_count; i++) {
        vqc_sequence_value *value = &self->values[p->inputs[i]];
        if (value->pending == 0 && !(self->recomputes && value->is_given)) {
            drop_sample(value, sample);
        }
    }
    return status;
}

/* Samples first .. below the count in use; the error of the lowest is reported. */
static vqc_status run_samples(const stretch *p, size_t first, size_t workers, vqc_error *error)
{
    size_t count = p->self->sample_count;
    size_t failed = SIZE_MAX;
    vqc_status result = VQC_OK;

#pragma omp parallel for schedule(dynamic, 1) num_threads((int)workers) if (workers > 1)
    for (size_t s = first; s < count; s++) {
        vqc_error local = {VQC_OK, ""};
        vqc_status status = run_sample(p, (size_t)omp_get_thread_num(), s, &local);
        if (status != VQC_OK) {
#pragma omp critical(vqc_sequence_error)
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

/* Lowers the number of samples as far as the limit wants; false: that leaves too few. */
static bool fit_samples(vqc_sequence *self, size_t expected)
{
    size_t least =
        self->wanted_samples < LEAST_SAMPLES ? self->wanted_samples : (size_t)LEAST_SAMPLES;

    if (self->recomputes) {
        return true;
    }
    if (expected > 0 && self->memory_limit / expected < self->sample_count) {
        size_t count = self->memory_limit / expected;
        if (count < least) {
            return false;
        }
        thin_out(self, count);
    }
    return true;
}

/* The first sample tells how much all will need, then come the others. */
static vqc_status run_all(const stretch *p, size_t workers, bool *fits, vqc_error *error)
{
    vqc_sequence *self = p->self;
    size_t sum = 0;
    vqc_status status = run_sample(p, 0, 0, error);

    *fits = true;
    if (status != VQC_OK) {
        return status;
    }
    *fits = fit_samples(self, kept_bytes(self, 0));
    if (!*fits) {
        return VQC_OK;
    }
    status = run_samples(p, 1, workers, error);
    for (size_t s = 0; s < self->sample_count && status == VQC_OK && !self->recomputes; s++) {
        sum += kept_bytes(self, s);
    }
    if (status == VQC_OK && sum > self->memory_limit) { /* samples of different sizes */
        *fits = fit_samples(self, sum / self->sample_count + 1);
    }
    return status;
}

static vqc_status compile_sides(stretch *p, size_t workers, vqc_error *error)
{
    vqc_sequence *self = p->self;
    int inner = self->threads / (int)workers;
    vqc_status status = VQC_OK;

    inner = inner < 1 ? 1 : inner;
    for (size_t i = 0; i < p->output_count && status == VQC_OK; i++) {
        status = make_room(self, p->outputs[i], error);
    }
    if (status == VQC_OK) {
        status = vqc_sequence_piece_make(self, false, p->nodes, p->node_count, p->inputs,
                                         p->input_count, p->outputs, p->output_count, workers,
                                         inner, &p->original, error);
    }
    if (status == VQC_OK && p->differs) {
        status =
            vqc_sequence_piece_make(self, true, p->nodes, p->node_count, p->inputs, p->input_count,
                                    p->outputs, p->output_count, workers, inner, &p->coded, error);
    }
    return status;
}

static vqc_status reach(vqc_sequence *self, size_t target, bool *fits, vqc_error *error)
{
    stretch p = {.self = self, .target = target};
    size_t workers = (size_t)self->threads;
    vqc_status status = VQC_OK;

    *fits = true;
    workers = workers > self->sample_count ? self->sample_count : workers;
    p.nodes = calloc(self->node_count + 1, sizeof *p.nodes);
    if (p.nodes == NULL) {
        return vqc_fail_memory(error, self->node_count * sizeof *p.nodes);
    }
    status = vqc_sequence_segment(self, target, p.nodes, &p.node_count, error);
    if (status == VQC_OK && p.node_count > 0) {
        vqc_sequence_mark_differing(self, p.nodes, p.node_count);
        if (!find_ends(&p)) {
            status = vqc_fail_memory(error, self->value_count * sizeof *p.inputs);
        }
        if (status == VQC_OK) {
            status = compile_sides(&p, workers, error);
        }
        if (status == VQC_OK) {
            status = run_all(&p, workers, fits, error);
        }
    }
    vqc_sequence_count_pending(self);
    vqc_sequence_drop_dead(self, target);
    vqc_sequence_piece_clear(&p.original);
    vqc_sequence_piece_clear(&p.coded);
    free(p.inputs);
    free(p.outputs);
    free(p.nodes);
    return status;
}

static void forget(vqc_sequence *self)
{
    for (size_t i = 0; i < self->node_count; i++) {
        self->nodes[i].is_done = false;
    }
}

vqc_status vqc_sequence_reach(vqc_sequence *self, size_t target, vqc_error *error)
{
    bool fits;
    vqc_status status;

    if (self->recomputes) {
        forget(self);
    }
    status = reach(self, target, &fits, error);
    if (status != VQC_OK || fits) {
        return status;
    }
    /* From here on only the models' inputs are kept. */
    vqc_sequence_drop_all(self);
    self->recomputes = true;
    self->sample_count =
        self->wanted_samples < LEAST_SAMPLES ? self->wanted_samples : (size_t)LEAST_SAMPLES;
    forget(self);
    status = vqc_sequence_read(self, error);
    return status == VQC_OK ? reach(self, target, &fits, error) : status;
}
