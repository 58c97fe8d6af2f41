/* Stats after they were made: looking up, reporting, merging, and whose they are. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/calibrate/calibrate.h"
#include "core/tensor.h"

void vqc_stats_destroy(vqc_stats **stats)
{
    if (stats == NULL || *stats == NULL)
        return;
    vqc_arena_destroy(&(*stats)->arena);
    free(*stats);
    *stats = NULL;
}

const vqc_tensor_stats *vqc_stats_find(const vqc_stats *stats, const char *name)
{
    size_t low = 0, high = stats->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(name, stats->tensors[middle].name);
        if (order == 0)
            return &stats->tensors[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

vqc_status vqc_stats_report_nonfinite(const vqc_stats *stats, vqc_messages *list)
{
    vqc_status status = VQC_OK;
    for (size_t i = 0; i < stats->count && status == VQC_OK; i++) {
        const vqc_observation *o = &stats->tensors[i].all;
        const unsigned long long nan = o->nan_count, infinite = o->infinite_count;
        if (nan + infinite > 0)
            status = vqc_messages_add(list, "value '%s': %llu NaN, %llu infinite of %llu",
                                      stats->tensors[i].name, nan, infinite,
                                      nan + infinite + (unsigned long long)o->elements);
    }
    return status;
}

/* ---- merging ---- */

static bool copy_channels(vqc_arena *arena, vqc_tensor_stats *to, const vqc_tensor_stats *from)
{
    const size_t n = from->channels;
    if (n == 0)
        return true;
    to->channel_mean = vqc_arena_calloc(arena, n, sizeof *to->channel_mean);
    to->channel_absmax = vqc_arena_calloc(arena, n, sizeof *to->channel_absmax);
    to->channel_elements = vqc_arena_calloc(arena, n, sizeof *to->channel_elements);
    if (to->channel_mean == NULL || to->channel_absmax == NULL || to->channel_elements == NULL)
        return false;
    memcpy(to->channel_mean, from->channel_mean, n * sizeof *to->channel_mean);
    memcpy(to->channel_absmax, from->channel_absmax, n * sizeof *to->channel_absmax);
    memcpy(to->channel_elements, from->channel_elements, n * sizeof *to->channel_elements);
    return true;
}

static void drop_channels(vqc_tensor_stats *t)
{
    t->channels = 0;
    t->channel_axis = 0;
    t->channel_mean = NULL;
    t->channel_absmax = NULL;
    t->channel_elements = NULL;
}

/* Both have seen the value. A tensor that was always empty has no channels and agrees with any. */
static bool merge_tensor(vqc_arena *arena, vqc_tensor_stats *into, const vqc_tensor_stats *other)
{
    const bool into_empty =
        into->all.elements + into->all.nan_count + into->all.infinite_count == 0;
    const bool other_empty =
        other->all.elements + other->all.nan_count + other->all.infinite_count == 0;
    vqc_observation_merge(&into->all, &other->all);
    if (other_empty)
        return true;
    if (into_empty) {
        into->channels = other->channels;
        into->channel_axis = other->channel_axis;
        return copy_channels(arena, into, other);
    }
    if (into->channels != other->channels || into->channel_axis != other->channel_axis) {
        drop_channels(into);
        return true;
    }
    for (size_t c = 0; c < into->channels; c++) {
        const double n = (double)into->channel_elements[c], m = (double)other->channel_elements[c];
        if (m > 0.0)
            into->channel_mean[c] =
                (into->channel_mean[c] * n + other->channel_mean[c] * m) / (n + m);
        into->channel_elements[c] += other->channel_elements[c];
        into->channel_absmax[c] = fmaxf(into->channel_absmax[c], other->channel_absmax[c]);
    }
    return true;
}

vqc_status vqc_stats_merge(vqc_stats *into, const vqc_stats *other, vqc_error *error)
{
    if (into->fingerprint != 0 && other->fingerprint != 0 &&
        into->fingerprint != other->fingerprint)
        return vqc_fail(error, VQC_ERR_MODEL,
                        "calibrations of different models cannot be merged: fingerprints %016llx "
                        "and %016llx",
                        (unsigned long long)into->fingerprint,
                        (unsigned long long)other->fingerprint);
    const size_t most = into->count + other->count;
    vqc_arena *arena = vqc_arena_create();
    vqc_tensor_stats *tensors =
        arena == NULL ? NULL : vqc_arena_calloc(arena, most + 1, sizeof *tensors);
    size_t a = 0, b = 0, count = 0;
    bool room = tensors != NULL;
    while (room && (a < into->count || b < other->count)) {
        const int order = a == into->count ? 1
                          : b == other->count
                              ? -1
                              : strcmp(into->tensors[a].name, other->tensors[b].name);
        const vqc_tensor_stats *from = order <= 0 ? &into->tensors[a] : &other->tensors[b];
        vqc_tensor_stats *to = &tensors[count++];
        memcpy(to, from, sizeof *to);
        to->name = vqc_arena_strdup(arena, from->name);
        room = to->name != NULL && copy_channels(arena, to, from);
        if (room && order == 0)
            room = merge_tensor(arena, to, &other->tensors[b]);
        a += order <= 0;
        b += order >= 0;
    }
    if (!room) {
        vqc_arena_destroy(&arena);
        return vqc_fail_memory(error, most * sizeof *tensors);
    }
    vqc_arena_destroy(&into->arena);
    into->arena = arena;
    into->tensors = tensors;
    into->count = count;
    into->samples += other->samples;
    if (into->fingerprint == 0)
        into->fingerprint = other->fingerprint;
    return VQC_OK;
}

/* ---- fingerprint ---- */

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 29;
}

/* Four chains, so that a model's weights take as long as reading them. */
static uint64_t mix_bytes(uint64_t hash, const void *data, size_t size_bytes)
{
    uint64_t lanes[4] = {hash, hash + 1, hash + 2, hash + 3};
    const unsigned char *p = data;
    size_t i = 0;
    for (; i + 32 <= size_bytes; i += 32) {
        uint64_t words[4];
        memcpy(words, p + i, sizeof words);
        for (size_t k = 0; k < 4; k++)
            lanes[k] = mix(lanes[k], words[k]);
    }
    for (; i < size_bytes; i++)
        lanes[0] = mix(lanes[0], p[i]);
    for (size_t k = 0; k < 4; k++)
        hash = mix(hash, lanes[k]);
    return mix(hash, size_bytes);
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    return text == NULL ? mix(hash, 0) : mix_bytes(hash, text, strlen(text));
}

static uint64_t mix_tensor(uint64_t hash, const Onnx__TensorProto *t)
{
    hash = mix_text(hash, t->name);
    hash = mix(hash, (uint64_t)(uint32_t)t->data_type);
    for (size_t i = 0; i < t->n_dims; i++)
        hash = mix(hash, (uint64_t)t->dims[i]);
    if (t->has_raw_data)
        hash = mix_bytes(hash, t->raw_data.data, t->raw_data.len);
    hash = mix_bytes(hash, t->float_data, t->n_float_data * sizeof *t->float_data);
    hash = mix_bytes(hash, t->int32_data, t->n_int32_data * sizeof *t->int32_data);
    hash = mix_bytes(hash, t->int64_data, t->n_int64_data * sizeof *t->int64_data);
    hash = mix_bytes(hash, t->double_data, t->n_double_data * sizeof *t->double_data);
    return mix_bytes(hash, t->uint64_data, t->n_uint64_data * sizeof *t->uint64_data);
}

static uint64_t mix_nodes(uint64_t hash, Onnx__NodeProto *const *nodes, size_t count);

static uint64_t mix_graph(uint64_t hash, const Onnx__GraphProto *graph)
{
    for (size_t i = 0; i < graph->n_initializer; i++)
        hash = mix_tensor(hash, graph->initializer[i]);
    for (size_t i = 0; i < graph->n_sparse_initializer; i++) {
        const Onnx__SparseTensorProto *sparse = graph->sparse_initializer[i];
        if (sparse->values != NULL)
            hash = mix_tensor(hash, sparse->values);
        if (sparse->indices != NULL)
            hash = mix_tensor(hash, sparse->indices);
    }
    return mix_nodes(hash, graph->node, graph->n_node);
}

/* Depth is bounded: the reader refuses deeply nested models. */
static uint64_t mix_attribute(uint64_t hash, const Onnx__AttributeProto *a)
{
    hash = mix_text(hash, a->name);
    hash = mix(hash, (uint64_t)a->i);
    hash = mix_bytes(hash, &a->f, sizeof a->f);
    hash = mix_bytes(hash, a->s.data, a->s.len);
    hash = mix_bytes(hash, a->ints, a->n_ints * sizeof *a->ints);
    hash = mix_bytes(hash, a->floats, a->n_floats * sizeof *a->floats);
    if (a->t != NULL)
        hash = mix_tensor(hash, a->t);
    return a->g != NULL ? mix_graph(hash, a->g) : hash;
}

static uint64_t mix_nodes(uint64_t hash, Onnx__NodeProto *const *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const Onnx__NodeProto *node = nodes[i];
        hash = mix_text(hash, node->op_type);
        hash = mix_text(hash, node->domain);
        for (size_t k = 0; k < node->n_input; k++)
            hash = mix_text(hash, node->input[k]);
        for (size_t k = 0; k < node->n_output; k++)
            hash = mix_text(hash, node->output[k]);
        for (size_t k = 0; k < node->n_attribute; k++)
            hash = mix_attribute(hash, node->attribute[k]);
    }
    return hash;
}

uint64_t vqc_stats_fingerprint(const vqc_model *model)
{
    uint64_t hash = 0x76716373746174u;
    if (model->proto->graph != NULL)
        hash = mix_graph(hash, model->proto->graph);
    for (size_t i = 0; i < model->proto->n_functions; i++)
        hash = mix_nodes(mix_text(hash, model->proto->functions[i]->name),
                         model->proto->functions[i]->node, model->proto->functions[i]->n_node);
    return hash == 0 ? 1 : hash;
}
