#include "core/vq/sequence.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/element.h"
#include "core/memory.h"
#include "core/tensor.h"
#include "core/vq/sequence_internal.h"

enum { DEFAULT_SAMPLES = 64 };

/* ---- making ---- */

static vqc_status set_up(vqc_sequence *self, const vqc_layer *const *layers, size_t count,
                         vqc_error *error)
{
    vqc_status status;

    self->layers = vqc_arena_calloc(self->arena, count + 1, sizeof *self->layers);
    self->turns = vqc_arena_calloc(self->arena, count + 1, sizeof *self->turns);
    self->items = vqc_arena_calloc(self->arena, count + 1, sizeof *self->items);
    self->sites = vqc_arena_calloc(self->arena, count + 1, sizeof *self->sites);
    if (self->layers == NULL || self->turns == NULL || self->items == NULL || self->sites == NULL) {
        return vqc_fail_memory(error, count * sizeof *self->layers);
    }
    self->layer_count = count;
    for (size_t i = 0; i < count; i++) {
        self->layers[i].layer = layers[i];
    }
    if (self->source->count == 0) {
        return vqc_fail(error, VQC_ERR_MODEL, "%.200s: got no samples, expected at least one",
                        self->source->path != NULL ? self->source->path : "samples");
    }
    status = vqc_sequence_index(self, error);
    if (status == VQC_OK) {
        status = vqc_sequence_read(self, error);
    }
    if (status == VQC_OK) {
        status = vqc_sequence_classify(self, error);
    }
    if (status == VQC_OK) {
        vqc_sequence_count_pending(self);
        vqc_sequence_drop_dead(self, VQC_SEQUENCE_NONE);
    }
    return status;
}

vqc_status vqc_sequence_create(const vqc_graph *graph, const vqc_layer *const *layers, size_t count,
                               vqc_samples *samples, const vqc_sequence_options *options,
                               vqc_sequence **out, vqc_error *error)
{
    vqc_sequence *self = calloc(1, sizeof *self);
    size_t wanted = options != NULL && options->max_samples > 0 ? options->max_samples
                                                                : (size_t)DEFAULT_SAMPLES;
    size_t there = vqc_samples_total(samples);
    vqc_status status;

    *out = NULL;
    if (self == NULL) {
        return vqc_fail_memory(error, sizeof *self);
    }
    self->graph = graph;
    self->source = samples;
    self->threads =
        options != NULL && options->threads > 0 ? options->threads : omp_get_max_threads();
    self->max_vectors = options != NULL ? options->max_vectors : 0;
    self->memory_limit = options != NULL && options->memory_limit_bytes > 0
                             ? options->memory_limit_bytes
                             : VQC_SEQUENCE_MEMORY;
    self->wanted_samples = wanted < there ? wanted : there;
    self->sample_count = self->wanted_samples;
    self->arena = vqc_arena_create();
    status = self->arena == NULL ? vqc_fail_memory(error, 0) : set_up(self, layers, count, error);
    if (status != VQC_OK) {
        vqc_sequence_destroy(&self);
    }
    *out = self;
    return status;
}

static void clear_batch(vqc_sequence *self)
{
    for (size_t i = 0; i < self->site_count; i++) {
        vqc_sequence_site_clear(&self->sites[i]);
    }
    self->site_count = 0;
    for (size_t i = 0; i < self->layer_count; i++) {
        self->layers[i].is_open = false;
    }
}

void vqc_sequence_destroy(vqc_sequence **sequence)
{
    vqc_sequence *self = sequence == NULL ? NULL : *sequence;

    if (self == NULL) {
        return;
    }
    if (self->sites != NULL) {
        clear_batch(self);
    }
    vqc_sequence_drop_all(self);
    vqc_arena_destroy(&self->arena);
    free(self);
    *sequence = NULL;
}

size_t vqc_sequence_samples(const vqc_sequence *sequence)
{
    return sequence->sample_count;
}

bool vqc_sequence_recomputes(const vqc_sequence *sequence)
{
    return sequence->recomputes;
}

/* ---- the next layers ---- */

/* Opens the layers without moments. */
static size_t take_unobserved(vqc_sequence *self)
{
    size_t count = 0;

    for (size_t i = 0; i < self->layer_count; i++) {
        vqc_sequence_layer *layer = &self->layers[i];
        if (layer->node == VQC_SEQUENCE_NONE) {
            layer->had_turn = layer->is_open = true;
            self->items[count++] = (vqc_sequence_item){.layer = i};
        }
    }
    return count;
}

/* Opens the first layer that had no turn yet, and all others with its input. */
static size_t take_turn(vqc_sequence *self)
{
    size_t input = VQC_SEQUENCE_NONE;
    size_t count = 0;

    for (size_t t = 0; t < self->turn_count; t++) {
        vqc_sequence_layer *layer = &self->layers[self->turns[t]];
        if (layer->had_turn || (input != VQC_SEQUENCE_NONE && layer->input != input)) {
            continue;
        }
        input = layer->input;
        layer->had_turn = layer->is_open = true;
        self->items[count++] = (vqc_sequence_item){.layer = self->turns[t]};
    }
    return count;
}

/* Measures what an item's layer sees, or finds that another one of the batch sees the same. */
static vqc_status observe(vqc_sequence *self, vqc_sequence_item *item, vqc_error *error)
{
    vqc_sequence_site *site = NULL;

    for (size_t i = 0; i < self->site_count && site == NULL; i++) {
        if (vqc_sequence_same_vectors(self->layers[self->sites[i].layer].layer,
                                      self->layers[item->layer].layer)) {
            site = &self->sites[i];
        }
    }
    if (site == NULL) {
        vqc_status status;

        site = &self->sites[self->site_count++];
        *site = (vqc_sequence_site){.layer = item->layer};
        status = vqc_sequence_measure(self, site, error);
        if (status != VQC_OK) {
            return status;
        }
    }
    if (site->is_valid) {
        item->moments = &site->moments;
        item->samples = site->samples;
    }
    return VQC_OK;
}

vqc_status vqc_sequence_next(vqc_sequence *self, vqc_sequence_batch *batch, vqc_error *error)
{
    size_t count = 0;
    size_t input;
    vqc_status status = VQC_OK;

    *batch = (vqc_sequence_batch){.items = self->items};
    clear_batch(self);
    if (!self->began) {
        self->began = true;
        count = take_unobserved(self);
    }
    if (count > 0) {
        batch->count = count;
        return VQC_OK;
    }
    count = take_turn(self);
    if (count == 0) {
        vqc_sequence_drop_all(self);
        return VQC_OK;
    }
    input = self->layers[self->items[0].layer].input;
    status = vqc_sequence_reach(self, input, error);
    for (size_t i = 0; i < count && status == VQC_OK; i++) {
        status = observe(self, &self->items[i], error);
    }
    if (status != VQC_OK) {
        clear_batch(self);
        return status;
    }
    vqc_sequence_count_pending(self);
    vqc_sequence_drop_dead(self, VQC_SEQUENCE_NONE);
    batch->count = count;
    return VQC_OK;
}

/* ---- what was coded ---- */

/* float32 values as raw bytes of a float type, in the arena; NULL: no memory. */
static void *store(vqc_arena *arena, int32_t dtype, const float *values, size_t count, size_t width)
{
    size_t size_bytes;
    unsigned char *raw =
        vqc_size_mul(count, width, &size_bytes) ? vqc_arena_alloc(arena, size_bytes) : NULL;
    vqc_chunk chunk;

    for (size_t i = 0; raw != NULL && i < count; i += VQC_EXEC_CHUNK) {
        size_t n = count - i < VQC_EXEC_CHUNK ? count - i : (size_t)VQC_EXEC_CHUNK;
        memcpy(chunk.f32, values + i, n * sizeof *values);
        vqc_element_store(dtype, VQC_CLASS_F32, &chunk, n, NULL, raw + i * width);
    }
    return raw;
}

/* A tensor like `like` with other values. *same: they are the ones that it has. */
static vqc_status retell(vqc_sequence *self, const Onnx__TensorProto *like, const float *values,
                         Onnx__TensorProto **out, bool *same, vqc_error *error)
{
    size_t width = vqc_exec_width(like->data_type);
    size_t elements;
    size_t old_bytes;
    const void *old;
    void *raw = NULL;
    vqc_status status;

    if (!vqc_tensor_elements(like, &elements)) {
        return vqc_fail(error, VQC_ERR_MODEL, "tensor \"%.200s\": its dimensions are not valid",
                        like->name != NULL ? like->name : "");
    }
    status = vqc_tensor_borrow_raw(like, self->arena, &old, &old_bytes, error);
    if (status != VQC_OK) {
        return status;
    }
    raw = store(self->arena, like->data_type, values, elements, width);
    *out = vqc_arena_alloc(self->arena, sizeof **out);
    if (raw == NULL || *out == NULL) {
        return vqc_fail_memory(error, elements * width);
    }
    *same = old_bytes == elements * width && memcmp(raw, old, old_bytes) == 0;
    onnx__tensor_proto__init(*out);
    (*out)->name = like->name;
    (*out)->has_data_type = 1;
    (*out)->data_type = like->data_type;
    (*out)->n_dims = like->n_dims;
    (*out)->dims = like->dims;
    (*out)->has_raw_data = 1;
    (*out)->raw_data.data = raw;
    (*out)->raw_data.len = elements * width;
    return VQC_OK;
}

static vqc_status replace(vqc_sequence *self, size_t value, const float *values, vqc_error *error)
{
    vqc_sequence_value *v = &self->values[value];
    Onnx__TensorProto *tensor = NULL;
    bool same = false;
    vqc_status status = retell(self, v->tensor, values, &tensor, &same, error);

    if (status == VQC_OK) {
        v->replaced = same ? NULL : tensor;
    }
    return status;
}

/* Gives the layer's node a bias of its own in the coded model. */
static vqc_status add_bias(vqc_sequence *self, const vqc_sequence_layer *layer, const float *bias,
                           vqc_error *error)
{
    vqc_sequence_node *node = NULL;
    int64_t dim = (int64_t)layer->bias.channels;
    size_t size_bytes = layer->bias.channels * sizeof *bias;
    Onnx__NodeProto *copy;
    float *raw;
    char *name;

    for (size_t i = 0; i < self->node_count; i++) {
        if (self->nodes[i].proto == layer->bias.node) {
            node = &self->nodes[i];
        }
    }
    if (node == NULL) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "node \"%.200s\": it is not in the main graph",
                        layer->layer->node_name != NULL ? layer->layer->node_name : "");
    }
    copy = vqc_arena_alloc(self->arena, sizeof *copy);
    raw = vqc_arena_alloc(self->arena, size_bytes);
    name = vqc_arena_printf(self->arena, "bias of node %zu", (size_t)(node - self->nodes));
    while (name != NULL && vqc_sequence_lookup(self, name) != VQC_SEQUENCE_NONE) {
        name = vqc_arena_printf(self->arena, "%s'", name);
    }
    if (copy == NULL || raw == NULL || name == NULL) {
        return vqc_fail_memory(error, size_bytes);
    }
    memcpy(raw, bias, size_bytes);
    *copy = *node->proto;
    copy->input = vqc_arena_calloc(self->arena, copy->n_input + 3, sizeof *copy->input);
    node->bias = vqc_tensor_create(self->arena, name, VQC_DTYPE_FLOAT, &dim, 1, raw, size_bytes);
    if (copy->input == NULL || node->bias == NULL) {
        return vqc_fail_memory(error, size_bytes);
    }
    memcpy(copy->input, node->proto->input, copy->n_input * sizeof *copy->input);
    if (!vqc_node_set_input(self->arena, copy, layer->bias.input, name)) {
        return vqc_fail_memory(error, size_bytes);
    }
    node->replaced = copy;
    return VQC_OK;
}

vqc_status vqc_sequence_commit(vqc_sequence *self, size_t index, const float *weights,
                               const float *bias, vqc_error *error)
{
    vqc_sequence_layer *layer = index < self->layer_count ? &self->layers[index] : NULL;
    vqc_status status = VQC_OK;

    if (layer == NULL || !layer->is_open) {
        return vqc_fail(error, VQC_ERR_INTERNAL,
                        "sequence: got layer %zu, expected one of the last batch", index);
    }
    if (weights != NULL && layer->value != VQC_SEQUENCE_NONE) {
        status = replace(self, layer->value, weights, error);
    }
    if (bias != NULL && status == VQC_OK) {
        size_t value = layer->bias.tensor == NULL
                           ? VQC_SEQUENCE_NONE
                           : vqc_sequence_lookup(self, layer->bias.value->name);
        if (value != VQC_SEQUENCE_NONE) {
            status = replace(self, value, bias, error);
        } else if (layer->bias.can_add) {
            status = add_bias(self, layer, bias, error);
        } else {
            status = vqc_fail(error, VQC_ERR_INTERNAL,
                              "layer \"%.200s\": got a bias, but it can have none",
                              layer->layer->value->name);
        }
    }
    return status;
}
