#include "core/calibrate/calibrate_collect.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/calibrate/calibrate_sum.h"
#include "core/dtype.h"
#include "kernels/kernels.h"

/* Where neighbouring operators see the channels. */
typedef enum axis_rule { AXIS_BY_RANK, AXIS_SECOND, AXIS_LAST } axis_rule;

/* What is kept of one value besides its observation; guarded by `lock`. */
typedef struct tensor_sums {
    omp_lock_t lock;
    axis_rule rule;
    bool other_type;       /* not a float */
    bool histogram;        /* the bins are wanted */
    bool channels_differ;  /* or are too many */
    size_t first_position; /* of the earliest sample in the moving average */
    int64_t sum[VQC_SUM_LIMBS], sum_squares[VQC_SUM_LIMBS];
    /* Moving averages: extremes times their weights, and the weights. */
    int64_t average_min[VQC_SUM_LIMBS], average_max[VQC_SUM_LIMBS], weight[VQC_SUM_LIMBS];
    int64_t *channel_sums; /* [channels][VQC_SUM_LIMBS_FLOATS] */
} tensor_sums;

/* Scratch of one thread. */
typedef struct slot_scratch {
    float *values; /* converted to float32 */
    size_t capacity;
    double *sums; /* [channel_capacity], the others too */
    float *absmax;
    uint64_t *elements;
    size_t channel_capacity;
} slot_scratch;

struct vqc_collector {
    vqc_stats *stats;
    const vqc_value **values; /* [count], as stats->tensors */
    tensor_sums *sums;
    size_t count;
    size_t locks; /* initialised */
    slot_scratch *slots;
    size_t slot_count;
    size_t samples;
    bool no_channels;
};

static int compare_values(const void *a, const void *b)
{
    const vqc_value *const *p = a, *const *q = b;
    return strcmp((*p)->name, (*q)->name);
}

static axis_rule rule_of_op(const Onnx__NodeProto *node)
{
    static const char *const second[] = {"Conv",
                                         "ConvTranspose",
                                         "MaxPool",
                                         "AveragePool",
                                         "LpPool",
                                         "GlobalLpPool",
                                         "GlobalAveragePool",
                                         "GlobalMaxPool",
                                         "BatchNormalization",
                                         "DeformConv",
                                         "InstanceNormalization",
                                         "GroupNormalization"};
    if (node == NULL || node->op_type == NULL)
        return AXIS_BY_RANK;
    for (size_t i = 0; i < sizeof second / sizeof *second; i++)
        if (strcmp(node->op_type, second[i]) == 0)
            return AXIS_SECOND;
    return strcmp(node->op_type, "MatMul") == 0 || strcmp(node->op_type, "Gemm") == 0
               ? AXIS_LAST
               : AXIS_BY_RANK;
}

/* Readers decide before the producer: channel statistics are for the weights that read a value. */
static axis_rule rule_of_value(const vqc_value *value)
{
    for (size_t i = 0; i < value->use_count; i++) {
        const axis_rule rule = rule_of_op(value->uses[i].node);
        if (rule != AXIS_BY_RANK && value->uses[i].input == 0)
            return rule;
    }
    return rule_of_op(value->producer);
}

/* Marks the values whose bins are wanted; wanted [count] as values, NULL: all. */
static void want_histograms(vqc_collector *c, const vqc_value *const *values, const bool *wanted,
                            size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const vqc_value **at =
            bsearch(&values[i], c->values, c->count, sizeof *c->values, compare_values);
        if (at != NULL && (wanted == NULL || wanted[i]))
            c->sums[at - c->values].histogram = true;
    }
}

static bool allocate(vqc_collector *c, const vqc_value *const *values, size_t count, size_t slots)
{
    c->stats = calloc(1, sizeof *c->stats);
    c->values = calloc(count + 1, sizeof *c->values);
    c->sums = calloc(count + 1, sizeof *c->sums);
    c->slots = calloc(slots, sizeof *c->slots);
    c->slot_count = slots;
    if (c->stats == NULL || c->values == NULL || c->sums == NULL || c->slots == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        c->values[i] = values[i];
    qsort(c->values, count, sizeof *c->values, compare_values);
    for (size_t i = 0; i < count; i++)
        if (c->count == 0 || strcmp(c->values[c->count - 1]->name, c->values[i]->name) != 0)
            c->values[c->count++] = c->values[i];
    c->stats->arena = vqc_arena_create();
    if (c->stats->arena == NULL)
        return false;
    c->stats->tensors = vqc_arena_calloc(c->stats->arena, c->count, sizeof *c->stats->tensors);
    if (c->stats->tensors == NULL)
        return false;
    for (size_t i = 0; i < c->count; i++) {
        vqc_tensor_stats *t = &c->stats->tensors[i];
        t->name = vqc_arena_strdup(c->stats->arena, c->values[i]->name);
        if (t->name == NULL)
            return false;
        vqc_observation_init(&t->all);
        c->sums[i].rule = rule_of_value(c->values[i]);
        omp_init_lock(&c->sums[i].lock);
        c->locks++;
    }
    return true;
}

vqc_status vqc_collector_create(const vqc_value *const *values, size_t count, size_t slots,
                                size_t samples, const vqc_calibrate_options *options,
                                vqc_collector **out, vqc_error *error)
{
    vqc_collector *c = calloc(1, sizeof *c);
    *out = NULL;
    if (c == NULL || !allocate(c, values, count, slots)) {
        vqc_collector_destroy(&c);
        return vqc_fail_memory(error, count * sizeof(vqc_tensor_stats));
    }
    c->samples = samples;
    c->no_channels = options->no_channels;
    want_histograms(c, values, options->histograms, count);
    *out = c;
    return VQC_OK;
}

const vqc_value *const *vqc_collector_values(const vqc_collector *collector, size_t *count)
{
    *count = collector->count;
    return (const vqc_value *const *)collector->values;
}

void vqc_collector_destroy(vqc_collector **collector)
{
    vqc_collector *c = *collector;
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->locks; i++) {
        omp_destroy_lock(&c->sums[i].lock);
        free(c->sums[i].channel_sums);
    }
    for (size_t i = 0; c->slots != NULL && i < c->slot_count; i++) {
        free(c->slots[i].values);
        free(c->slots[i].sums);
        free(c->slots[i].absmax);
        free(c->slots[i].elements);
    }
    vqc_stats_destroy(&c->stats);
    free(c->values);
    free(c->sums);
    free(c->slots);
    free(c);
    *collector = NULL;
}

/* ---- one value of one sample ---- */

/* The values as float32: the buffer's own, or converted into the slot. NULL: no memory. */
static const float *borrow_floats(slot_scratch *s, const vqc_buffer *buffer)
{
    const vqc_kernels *k = vqc_kernels_get();
    const size_t n = buffer->elements;
    if (buffer->dtype == VQC_DTYPE_FLOAT)
        return (const float *)(const void *)buffer->data;
    if (n > s->capacity || s->values == NULL) {
        size_t size_bytes;
        float *grown =
            vqc_size_mul(n + 1, sizeof *grown, &size_bytes) ? realloc(s->values, size_bytes) : NULL;
        if (grown == NULL)
            return NULL;
        s->values = grown;
        s->capacity = n;
    }
    const void *data = buffer->data;
    if (buffer->dtype == VQC_DTYPE_FLOAT16)
        k->f16_f32_convert(data, n, s->values);
    else if (buffer->dtype == VQC_DTYPE_BFLOAT16)
        k->bf16_f32_convert(data, n, s->values);
    else
        k->f64_f32_convert(data, n, s->values);
    return s->values;
}

/* Zeroed per-channel sums of a slot. */
static bool clear_channels(slot_scratch *s, size_t channels)
{
    if (channels > s->channel_capacity) {
        double *sums = realloc(s->sums, channels * sizeof *sums);
        s->sums = sums != NULL ? sums : s->sums;
        float *absmax = realloc(s->absmax, channels * sizeof *absmax);
        s->absmax = absmax != NULL ? absmax : s->absmax;
        uint64_t *elements = realloc(s->elements, channels * sizeof *elements);
        s->elements = elements != NULL ? elements : s->elements;
        if (sums == NULL || absmax == NULL || elements == NULL)
            return false;
        s->channel_capacity = channels;
    }
    if (channels > 0) {
        memset(s->sums, 0, channels * sizeof *s->sums);
        memset(s->absmax, 0, channels * sizeof *s->absmax);
        memset(s->elements, 0, channels * sizeof *s->elements);
    }
    return true;
}

/* How a buffer divides into channels: x [outer, channels, inner]. */
typedef struct channel_view {
    int axis; /* -1: none */
    size_t outer, channels, inner;
} channel_view;

static channel_view divide(const vqc_buffer *buffer, axis_rule rule)
{
    const size_t rank = buffer->rank;
    channel_view v = {-1, 1, 0, 1};
    if (rank == 0 || buffer->elements == 0 || (rule == AXIS_SECOND && rank < 2))
        return v;
    const bool second = rule == AXIS_SECOND || (rule == AXIS_BY_RANK && rank >= 4);
    const size_t axis = second ? 1 : rank - 1;
    if ((uint64_t)buffer->dims[axis] > VQC_STATS_MAX_CHANNELS)
        return v;
    v.axis = (int)axis;
    v.channels = (size_t)buffer->dims[axis];
    for (size_t i = 0; i < rank; i++) {
        if (i < axis)
            v.outer *= (size_t)buffer->dims[i];
        if (i > axis)
            v.inner *= (size_t)buffer->dims[i];
    }
    return v;
}

static bool is_finite_at(const float *x, size_t i)
{
    float value;
    memcpy(&value, (const char *)x + i * sizeof value, sizeof value);
    return isfinite(value);
}

/* Sum of a column in double, for values whose sums leave the range of float; rare. */
static double sum_column(const float *x, const channel_view *v, size_t column)
{
    double sum = 0.0;
    for (size_t r = 0; r < v->outer; r++) {
        float value;
        memcpy(&value, (const char *)x + (r * v->channels + column) * sizeof value, sizeof value);
        sum += isfinite(value) ? (double)value : 0.0;
    }
    return sum;
}

/* Moments of everything and, into the slot, sums per channel. */
static vqc_value_moments measure(slot_scratch *s, const channel_view *v, const float *x, size_t n)
{
    vqc_value_moments all = VQC_VALUE_MOMENTS_NONE;
    if (v->axis < 0 || v->inner == 1) {
        vqc_value_moments_add(&all, x, n);
        if (v->axis < 0)
            return all;
        vqc_kernels_get()->f32_moments_cols(x, v->outer, v->channels, v->channels, s->sums,
                                            s->absmax);
        for (size_t c = 0; c < v->channels; c++) {
            s->elements[c] = v->outer;
            if (!isfinite(s->sums[c]))
                s->sums[c] = sum_column(x, v, c);
        }
        for (size_t i = 0; all.elements < n && i < n; i++)
            s->elements[i % v->channels] -= !is_finite_at(x, i);
        return all;
    }
    for (size_t plane = 0; plane < v->outer * v->channels; plane++) {
        const size_t c = plane % v->channels;
        vqc_value_moments m = VQC_VALUE_MOMENTS_NONE;
        vqc_value_moments_add(&m, x + plane * v->inner, v->inner);
        all.elements += m.elements;
        all.zeros += m.zeros;
        all.nan_count += m.nan_count;
        all.infinite_count += m.infinite_count;
        all.min = fminf(all.min, m.min);
        all.max = fmaxf(all.max, m.max);
        all.sum += m.sum;
        all.sum_squares += m.sum_squares;
        s->sums[c] += m.sum;
        s->elements[c] += m.elements;
        if (m.elements > 0)
            s->absmax[c] = fmaxf(s->absmax[c], fmaxf(-m.min, m.max));
    }
    return all;
}

/* Makes room for the channels of the first sample, or finds that these differ. */
static bool agree_on_channels(vqc_collector *c, vqc_tensor_stats *t, tensor_sums *sums,
                              const channel_view *v)
{
    if (sums->channels_differ)
        return true;
    if (sums->channel_sums != NULL || v->axis < 0) {
        sums->channels_differ =
            v->axis < 0 || t->channels != v->channels || t->channel_axis != v->axis;
        return true;
    }
    sums->channel_sums = calloc(v->channels, VQC_SUM_LIMBS_FLOATS * sizeof *sums->channel_sums);
    /* The arena is shared by all tensors. */
#pragma omp critical(vqc_collector_arena)
    {
        vqc_arena *arena = c->stats->arena;
        t->channel_mean = vqc_arena_calloc(arena, v->channels, sizeof *t->channel_mean);
        t->channel_absmax = vqc_arena_calloc(arena, v->channels, sizeof *t->channel_absmax);
        t->channel_elements = vqc_arena_calloc(arena, v->channels, sizeof *t->channel_elements);
    }
    t->channels = v->channels;
    t->channel_axis = v->axis;
    return sums->channel_sums != NULL && t->channel_mean != NULL && t->channel_absmax != NULL &&
           t->channel_elements != NULL;
}

static void add_channels(vqc_tensor_stats *t, tensor_sums *sums, const slot_scratch *s)
{
    for (size_t i = 0; i < t->channels; i++) {
        vqc_sum_add(sums->channel_sums + i * VQC_SUM_LIMBS_FLOATS, VQC_SUM_LIMBS_FLOATS,
                    s->sums[i]);
        t->channel_absmax[i] = fmaxf(t->channel_absmax[i], s->absmax[i]);
        t->channel_elements[i] += s->elements[i];
    }
}

/* Weight of the sample at a position in the moving average of all. */
static double averaging_weight(size_t position, size_t samples)
{
    const double age = (double)(samples - 1 - position);
    return pow(1.0 - VQC_OBSERVER_AVERAGING, age) * (position == 0 ? 1.0 : VQC_OBSERVER_AVERAGING);
}

/* Everything but bins and channels; the lock is held. */
static void add_moments(const vqc_collector *c, vqc_observation *o, tensor_sums *sums,
                        const vqc_value_moments *m, size_t position)
{
    o->samples++;
    o->nan_count += m->nan_count;
    o->infinite_count += m->infinite_count;
    if (m->elements == 0)
        return;
    o->elements += m->elements;
    o->zeros += m->zeros;
    o->min = fminf(o->min, m->min);
    o->max = fmaxf(o->max, m->max);
    vqc_sum_add(sums->sum, VQC_SUM_LIMBS, m->sum);
    vqc_sum_add(sums->sum_squares, VQC_SUM_LIMBS, m->sum_squares);
    const double weight = averaging_weight(position, c->samples);
    vqc_sum_add(sums->average_min, VQC_SUM_LIMBS, weight * (double)m->min);
    vqc_sum_add(sums->average_max, VQC_SUM_LIMBS, weight * (double)m->max);
    vqc_sum_add(sums->weight, VQC_SUM_LIMBS, weight);
    if (o->averaged++ == 0 || position < sums->first_position) {
        sums->first_position = position;
        o->first_min = (double)m->min;
        o->first_max = (double)m->max;
    }
}

vqc_status vqc_collector_see(vqc_collector *collector, size_t slot, size_t position, size_t index,
                             const vqc_buffer *buffer, vqc_error *error)
{
    tensor_sums *sums = &collector->sums[index];
    vqc_tensor_stats *t = &collector->stats->tensors[index];
    slot_scratch *s = &collector->slots[slot];
    if (!vqc_dtype_describe(buffer->dtype)->is_float) {
        omp_set_lock(&sums->lock);
        sums->other_type = true;
        omp_unset_lock(&sums->lock);
        return VQC_OK;
    }
    const channel_view view =
        collector->no_channels ? (channel_view){-1, 1, 0, 1} : divide(buffer, sums->rule);
    const float *x = borrow_floats(s, buffer);
    if (x == NULL || !clear_channels(s, view.channels))
        return vqc_fail_memory(error, buffer->elements * sizeof *x);
    const vqc_value_moments m = measure(s, &view, x, buffer->elements);
    bool room = true;
    omp_set_lock(&sums->lock);
    if (buffer->elements > 0)
        room = agree_on_channels(collector, t, sums, &view);
    if (room && buffer->elements > 0 && !sums->channels_differ)
        add_channels(t, sums, s);
    if (sums->histogram)
        vqc_observation_count(&t->all, x, buffer->elements, fmaxf(-m.min, m.max));
    else
        vqc_observation_reach(&t->all, fmaxf(-m.min, m.max));
    add_moments(collector, &t->all, sums, &m, position);
    omp_unset_lock(&sums->lock);
    return room ? VQC_OK : vqc_fail_memory(error, view.channels * sizeof(double));
}

/* ---- the end ---- */

static void finish_tensor(vqc_tensor_stats *t, const tensor_sums *sums)
{
    vqc_observation *o = &t->all;
    o->sum = vqc_sum_value(sums->sum, VQC_SUM_LIMBS);
    o->sum_squares = vqc_sum_value(sums->sum_squares, VQC_SUM_LIMBS);
    if (o->averaged > 0) {
        /* 1 when every sample had a finite value */
        const double weight = vqc_sum_value(sums->weight, VQC_SUM_LIMBS);
        o->average_min = vqc_sum_value(sums->average_min, VQC_SUM_LIMBS) / weight;
        o->average_max = vqc_sum_value(sums->average_max, VQC_SUM_LIMBS) / weight;
    }
    if (sums->channels_differ) {
        t->channels = 0;
        t->channel_axis = 0;
        t->channel_mean = NULL;
        t->channel_absmax = NULL;
        t->channel_elements = NULL;
    }
    for (size_t i = 0; i < t->channels; i++) {
        const double sum =
            vqc_sum_value(sums->channel_sums + i * VQC_SUM_LIMBS_FLOATS, VQC_SUM_LIMBS_FLOATS);
        t->channel_mean[i] =
            t->channel_elements[i] > 0 ? sum / (double)t->channel_elements[i] : 0.0;
    }
}

vqc_stats *vqc_collector_finish(vqc_collector *collector)
{
    vqc_stats *stats = collector->stats;
    for (size_t i = 0; i < collector->count; i++) {
        vqc_tensor_stats *t = &stats->tensors[i];
        if (collector->sums[i].other_type || t->all.samples == 0)
            continue;
        finish_tensor(t, &collector->sums[i]);
        if (&stats->tensors[stats->count] != t)
            memcpy(&stats->tensors[stats->count], t, sizeof *t);
        stats->count++;
    }
    stats->samples = collector->samples;
    collector->stats = NULL;
    return stats;
}
