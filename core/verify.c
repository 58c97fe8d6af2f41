#include "core/verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/program.h"
#include "core/pointer_map.h"
#include "kernels/kernels.h"

/* Squares of one value in one sample. */
typedef struct value_sums {
    double ref2;
    double err2;
} value_sums;

/* Values of one run of the original, kept until the other model has run. */
typedef struct side_by_side {
    vqc_value_noise *values; /* [count] */
    size_t count;
    vqc_buffer **kept; /* [count] of the original, for the current sample */
    value_sums *sums;  /* [samples][count], added up in the order of the samples */
    value_sums *row;   /* of the current sample */
} side_by_side;

static bool is_computed_float(const vqc_value *value)
{
    int32_t dtype = vqc_value_dtype(value);
    return value->producer != NULL && !vqc_node_is(value->producer, "Constant") &&
           value->scope->parent == NULL && value->scope->graph != NULL &&
           (dtype == VQC_DTYPE_FLOAT || dtype == VQC_DTYPE_UNDEFINED);
}

/* Pairs of values of both main graphs with one name. */
static vqc_status find_pairs(const vqc_graph *original, const vqc_graph *written, size_t samples,
                             vqc_arena *arena, side_by_side *s, const vqc_value ***refs,
                             const vqc_value ***others, vqc_error *error)
{
    *refs = vqc_arena_calloc(arena, original->value_count + 1, sizeof **refs);
    *others = vqc_arena_calloc(arena, original->value_count + 1, sizeof **others);
    s->values = vqc_arena_calloc(arena, original->value_count + 1, sizeof *s->values);
    if (*refs == NULL || *others == NULL || s->values == NULL) {
        return vqc_fail_memory(error, original->value_count * sizeof *s->values);
    }
    for (size_t i = 0; i < original->value_count; i++) {
        const vqc_value *value = original->values[i];
        const vqc_value *other;

        if (value->scope != original->scopes[0] || !is_computed_float(value)) {
            continue;
        }
        other = vqc_scope_define(written, written->scopes[0], value->name);
        if (other != NULL && is_computed_float(other)) {
            (*refs)[s->count] = value;
            (*others)[s->count] = other;
            s->values[s->count++].value = value;
        }
    }
    s->kept = vqc_arena_calloc(arena, s->count + 1, sizeof *s->kept);
    s->sums = vqc_arena_calloc(arena, s->count * samples + 1, sizeof *s->sums);
    return s->kept == NULL || s->sums == NULL
               ? vqc_fail_memory(error, s->count * samples * sizeof *s->sums)
               : VQC_OK;
}

static vqc_status keep_value(void *context, size_t index, const vqc_buffer *buffer,
                             vqc_error *error)
{
    side_by_side *s = context;
    vqc_buffer *copy;

    if (buffer->dtype != VQC_DTYPE_FLOAT) {
        return VQC_OK;
    }
    copy = vqc_buffer_create(buffer->dtype, buffer->dims, buffer->rank);
    if (copy == NULL) {
        return vqc_fail_memory(error, buffer->elements * buffer->width);
    }
    if (buffer->elements > 0) {
        memcpy(copy->data, buffer->data, buffer->elements * buffer->width);
    }
    vqc_buffer_destroy(&s->kept[index]);
    s->kept[index] = copy;
    return VQC_OK;
}

static vqc_status compare_value(void *context, size_t index, const vqc_buffer *buffer,
                                vqc_error *error)
{
    side_by_side *s = context;
    const vqc_buffer *ref = s->kept[index];
    vqc_error_sums sums = {0};

    (void)error;
    if (ref != NULL && buffer->dtype == ref->dtype && buffer->elements == ref->elements) {
        vqc_kernels_get()->f32_error((const float *)(const void *)ref->data,
                                     (const float *)(const void *)buffer->data, ref->elements,
                                     &sums);
        s->row[index] = (value_sums){sums.sum_ref2, sums.sum_err2};
    }
    vqc_buffer_destroy(&s->kept[index]);
    return VQC_OK;
}

static void begin_sample(void *context, size_t which)
{
    side_by_side *s = context;
    s->row = s->sums + which * s->count;
}

static void drop_kept(side_by_side *s)
{
    for (size_t i = 0; s->kept != NULL && i < s->count; i++) {
        vqc_buffer_destroy(&s->kept[i]);
    }
}

/* Noise of every value, and how much of it its own node has added. */
static vqc_status rate(side_by_side *s, size_t samples, const vqc_graph *original, vqc_error *error)
{
    vqc_pointer_map place = {0};
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < s->count * samples; i++) {
        s->values[i % s->count].ref2 += s->sums[i].ref2;
        s->values[i % s->count].err2 += s->sums[i].err2;
    }
    for (size_t i = 0; i < s->count && status == VQC_OK; i++) {
        vqc_value_noise *v = &s->values[i];
        const Onnx__NodeProto *node = v->value->producer;
        double before = 0.0;

        v->noise = v->ref2 > 0.0 ? v->err2 / v->ref2 : (v->err2 > 0.0 ? HUGE_VAL : 0.0);
        for (size_t k = 0; k < node->n_input; k++) {
            const vqc_value *input =
                vqc_scope_define(original, original->scopes[0], node->input[k]);
            size_t at = input == NULL ? 0 : vqc_pointer_map_get(&place, input, 0);
            before = at > 0 && s->values[at - 1].noise > before ? s->values[at - 1].noise : before;
        }
        v->added = v->noise > before ? v->noise - before : 0.0;
        if (!vqc_pointer_map_set(&place, v->value, i + 1)) {
            status = vqc_fail_memory(error, 0);
        }
    }
    vqc_pointer_map_clear(&place);
    return status;
}

vqc_status vqc_verify_run(const vqc_graph *const graphs[2], vqc_samples *samples,
                          size_t value_samples, const vqc_evaluate_options *options,
                          vqc_arena *arena, vqc_verified *out, vqc_error *error)
{
    side_by_side s = {0};
    vqc_compare_taps taps = {
        .samples = value_samples < samples->count ? value_samples : samples->count,
        .taps = {{keep_value, &s}, {compare_value, &s}},
        .begin = begin_sample,
        .context = &s,
    };
    vqc_evaluate_options run = *options;
    const vqc_value **values[2];
    vqc_status status;

    *out = (vqc_verified){.value_samples = taps.samples};
    status =
        find_pairs(graphs[0], graphs[1], taps.samples, arena, &s, &values[0], &values[1], error);
    for (int i = 0; i < 2 && status == VQC_OK; i++) {
        vqc_program_options tapped = {.taps = values[i], .tap_count = s.count};
        status = vqc_program_create(graphs[i], &tapped, &out->programs[i], error);
    }
    run.taps = &taps;
    if (status == VQC_OK) {
        status =
            vqc_compare(out->programs[0], out->programs[1], samples, &run, &out->comparison, error);
    }
    drop_kept(&s);
    if (status == VQC_OK) {
        status = rate(&s, taps.samples, graphs[0], error);
    }
    out->values = s.values;
    out->value_count = s.count;
    return status;
}

void vqc_verified_clear(vqc_verified *verified)
{
    vqc_comparison_destroy(&verified->comparison);
    for (int i = 0; i < 2; i++) {
        vqc_program_destroy(&verified->programs[i]);
    }
}
