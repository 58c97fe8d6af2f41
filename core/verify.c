#include "core/verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/program.h"
#include "core/pointer_map.h"
#include "kernels/kernels.h"

/* Values of one run of the original, kept until the other model has run. */
typedef struct side_by_side {
    vqc_value_noise *values; /* [count] */
    size_t count;
    vqc_buffer **kept; /* [count] of the original, for the current sample */
} side_by_side;

static bool is_computed_float(const vqc_value *value)
{
    int32_t dtype = vqc_value_dtype(value);
    return value->producer != NULL && !vqc_node_is(value->producer, "Constant") &&
           value->scope->parent == NULL && value->scope->graph != NULL &&
           (dtype == VQC_DTYPE_FLOAT || dtype == VQC_DTYPE_UNDEFINED);
}

/* Pairs of values of both main graphs with one name. */
static vqc_status find_pairs(const vqc_graph *original, const vqc_graph *written, vqc_arena *arena,
                             side_by_side *s, const vqc_value ***refs, const vqc_value ***others,
                             vqc_error *error)
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
    return s->kept == NULL ? vqc_fail_memory(error, s->count * sizeof *s->kept) : VQC_OK;
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
        s->values[index].ref2 += sums.sum_ref2;
        s->values[index].err2 += sums.sum_err2;
    }
    return VQC_OK;
}

static void drop_kept(side_by_side *s)
{
    for (size_t i = 0; s->kept != NULL && i < s->count; i++) {
        vqc_buffer_destroy(&s->kept[i]);
    }
}

/* Runs one program on one sample with a tap. */
static vqc_status run_tapped(const vqc_program *program, vqc_runner *runner,
                             const vqc_buffer *const *inputs, const vqc_tap *tap, vqc_error *error)
{
    size_t count;
    vqc_buffer **outputs;
    vqc_status status;

    (void)vqc_program_outputs(program, &count);
    outputs = calloc(count + 1, sizeof(void *));
    if (outputs == NULL) {
        return vqc_fail_memory(error, count * sizeof(void *));
    }
    status = vqc_runner_run(runner, inputs, outputs, tap, error);
    for (size_t i = 0; i < count; i++) {
        vqc_buffer_destroy(&outputs[i]);
    }
    free(outputs);
    return status;
}

typedef struct pair_of_programs {
    side_by_side *values;
    vqc_program *programs[2];
    vqc_runner *runners[2];
} pair_of_programs;

static vqc_status run_sample(void *context, size_t slot, const vqc_sample *sample, vqc_error *error)
{
    pair_of_programs *pair = context;
    vqc_tap keep = {keep_value, pair->values};
    vqc_tap compare = {compare_value, pair->values};
    vqc_status status =
        run_tapped(pair->programs[0], pair->runners[0], sample->inputs, &keep, error);

    (void)slot; /* one thread: the sums are then added in the order of the samples */
    if (status == VQC_OK) {
        status = run_tapped(pair->programs[1], pair->runners[1], sample->inputs, &compare, error);
    }
    return status;
}

/* Noise of every value, and how much of it its own node has added. */
static vqc_status rate(side_by_side *s, const vqc_graph *original, vqc_error *error)
{
    vqc_pointer_map place = {0};
    vqc_status status = VQC_OK;

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

vqc_status vqc_verify_values(const vqc_graph *original, const vqc_graph *written,
                             vqc_samples *samples, size_t sample_limit, vqc_arena *arena,
                             vqc_value_noise **out, size_t *count, vqc_error *error)
{
    side_by_side s = {0};
    pair_of_programs pair = {.values = &s};
    const vqc_value **taps[2];
    const vqc_graph *graphs[2] = {original, written};
    vqc_status status = find_pairs(original, written, arena, &s, &taps[0], &taps[1], error);

    for (int i = 0; i < 2 && status == VQC_OK; i++) {
        vqc_program_options options = {.taps = taps[i], .tap_count = s.count};
        status = vqc_program_create(graphs[i], &options, &pair.programs[i], error);
        if (status == VQC_OK) {
            status = vqc_runner_create(pair.programs[i], 0, &pair.runners[i], error);
        }
    }
    if (status == VQC_OK) {
        status = vqc_samples_for_each(samples, 0, 1, sample_limit, 1, run_sample, &pair, error);
    }
    drop_kept(&s);
    if (status == VQC_OK) {
        status = rate(&s, original, error);
    }
    for (int i = 0; i < 2; i++) {
        vqc_runner_destroy(&pair.runners[i]);
        vqc_program_destroy(&pair.programs[i]);
    }
    *out = s.values;
    *count = s.count;
    return status;
}
