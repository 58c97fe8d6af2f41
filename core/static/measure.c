#include "core/static/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/evaluate_sums.h"
#include "core/exec/element.h"
#include "core/exec/program.h"
#include "kernels/kernels.h"

static const double STANDARD_ERRORS = 2.0; /* that a gain has to have */

/* One kept sample. */
typedef struct kept {
    vqc_buffer **inputs;  /* [input_count], NULL where the model's default is taken */
    vqc_buffer **outputs; /* [output_count] of the original */
    int64_t label;
    bool has_label;
} kept;

struct vqc_reference {
    kept *samples; /* [count] */
    size_t count;
    size_t input_count;
    size_t output_count;
};

/* ---- reading numbers ---- */

/* Squares of one output: sum ref^2 and sum (ref - got)^2, and what is not a number. */
typedef struct output_sums {
    double ref2;
    double err2;
    size_t nonfinite;
} output_sums;

/* float32 by the kernel, whose sums are in float: false, and nothing is done, where values are not
 * finite or squares leave the range of float. */
static bool compare_f32(const vqc_buffer *ref, const vqc_buffer *got, output_sums *sums)
{
    vqc_error_sums all = {0};

    if (ref->dtype != VQC_DTYPE_FLOAT || got->dtype != VQC_DTYPE_FLOAT) {
        return false;
    }
    vqc_kernels_get()->f32_error((const float *)(const void *)ref->data,
                                 (const float *)(const void *)got->data, ref->elements, &all);
    if (!isfinite(all.sum_err2) || !isfinite(all.sum_ref2) ||
        all.sum_err2 <= 1e-30 * (double)ref->elements) {
        return false;
    }
    sums->ref2 += all.sum_ref2;
    sums->err2 += all.sum_err2;
    return true;
}

static void compare(const vqc_buffer *ref, const vqc_buffer *got, output_sums *sums)
{
    double a[VQC_EXEC_CHUNK];
    double b[VQC_EXEC_CHUNK];

    if (compare_f32(ref, got, sums)) {
        return;
    }
    for (size_t at = 0; at < ref->elements; at += VQC_EXEC_CHUNK) {
        size_t n = ref->elements - at < VQC_EXEC_CHUNK ? ref->elements - at : VQC_EXEC_CHUNK;
        vqc_buffer_load_f64(ref, at, n, a);
        vqc_buffer_load_f64(got, at, n, b);
        for (size_t i = 0; i < n; i++) {
            double error = a[i] - b[i];
            if (!isfinite(a[i])) {
                continue; /* the original says nothing here */
            }
            sums->ref2 += a[i] * a[i];
            if (isfinite(b[i])) {
                sums->err2 += error * error;
            } else {
                sums->nonfinite++;
                sums->err2 += a[i] * a[i] + 1.0;
            }
        }
    }
}

/* Place of the largest element; -1 for a buffer without numbers, or with a NaN: it is no class. */
static int64_t top1(const vqc_buffer *buffer)
{
    size_t place;

    if (vqc_class_of(buffer->dtype) == VQC_CLASS_NONE || buffer->elements == 0) {
        return -1;
    }
    place = vqc_buffer_argmax(buffer, 0, buffer->elements);
    return place < buffer->elements ? (int64_t)place : -1;
}

/* ---- keeping ---- */

static vqc_buffer *copy_buffer(const vqc_buffer *source)
{
    vqc_buffer *copy = vqc_buffer_create(source->dtype, source->dims, source->rank);

    if (copy != NULL && source->elements > 0) {
        memcpy(copy->data, source->data, source->elements * source->width);
    }
    return copy;
}

static void clear_buffers(vqc_buffer **buffers, size_t count)
{
    for (size_t i = 0; buffers != NULL && i < count; i++) {
        vqc_buffer_destroy(&buffers[i]);
    }
    free(buffers);
}

typedef struct keeping {
    vqc_reference *self;
    vqc_runner **runners; /* [slots] */
    size_t first;
    size_t step;
} keeping;

static vqc_status keep_sample(void *context, size_t slot, const vqc_sample *sample,
                              vqc_error *error)
{
    keeping *k = context;
    vqc_reference *self = k->self;
    kept *to = &self->samples[(sample->index - k->first) / k->step];

    to->inputs = calloc(self->input_count + 1, sizeof(void *));
    to->outputs = calloc(self->output_count + 1, sizeof(void *));
    if (to->inputs == NULL || to->outputs == NULL) {
        return vqc_fail_memory(error, 0);
    }
    for (size_t i = 0; i < self->input_count; i++) {
        if (sample->inputs[i] != NULL) {
            to->inputs[i] = copy_buffer(sample->inputs[i]);
            if (to->inputs[i] == NULL) {
                return vqc_fail_memory(error, sample->inputs[i]->elements);
            }
        }
    }
    to->has_label = sample->labels != NULL && sample->label_count == 1;
    to->label = to->has_label ? sample->labels[0] : VQC_SAMPLES_NO_LABEL;
    return vqc_runner_run(k->runners[slot], (const vqc_buffer *const *)to->inputs, to->outputs,
                          NULL, error);
}

static void destroy_runners(vqc_runner **runners, size_t count)
{
    for (size_t i = 0; runners != NULL && i < count; i++) {
        vqc_runner_destroy(&runners[i]);
    }
    free(runners);
}

static vqc_status create_runners(const vqc_program *program, size_t count, vqc_runner ***out,
                                 vqc_error *error)
{
    vqc_status status = VQC_OK;

    *out = calloc(count + 1, sizeof(void *));
    if (*out == NULL) {
        return vqc_fail_memory(error, count * sizeof(void *));
    }
    for (size_t i = 0; i < count && status == VQC_OK; i++) {
        status = vqc_runner_create(program, count == 1 ? 0 : 1, &(*out)[i], error);
    }
    if (status != VQC_OK) {
        destroy_runners(*out, count);
        *out = NULL;
    }
    return status;
}

static size_t sample_bytes(const vqc_reference *self, const kept *sample)
{
    size_t bytes = 0;

    for (size_t i = 0; i < self->input_count; i++) {
        bytes +=
            sample->inputs[i] == NULL ? 0 : sample->inputs[i]->elements * sample->inputs[i]->width;
    }
    for (size_t i = 0; i < self->output_count; i++) {
        bytes += sample->outputs[i]->elements * sample->outputs[i]->width;
    }
    return bytes;
}

static void clear_sample(const vqc_reference *self, kept *sample)
{
    clear_buffers(sample->inputs, self->input_count);
    clear_buffers(sample->outputs, self->output_count);
    sample->inputs = sample->outputs = NULL;
}

vqc_status vqc_reference_create(const vqc_graph *graph, vqc_samples *samples, size_t first,
                                size_t step, size_t limit, size_t max_bytes, int threads,
                                vqc_reference **out, vqc_error *error)
{
    vqc_program *program = NULL;
    keeping k = {.first = first, .step = step == 0 ? 1 : step};
    size_t slots = vqc_samples_slots(threads);
    size_t available = samples->count > first ? (samples->count - first - 1) / k.step + 1 : 0;
    vqc_status status;

    *out = NULL;
    limit = limit == 0 || limit > available ? available : limit;
    if (limit == 0) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: got %zu samples, expected at least %zu",
                        samples->path, samples->count, first + 1);
    }
    status = vqc_program_create(graph, NULL, &program, error);
    if (status != VQC_OK) {
        return status;
    }
    k.self = calloc(1, sizeof *k.self);
    if (k.self != NULL) {
        (void)vqc_program_inputs(program, &k.self->input_count);
        (void)vqc_program_outputs(program, &k.self->output_count);
        k.self->samples = calloc(limit, sizeof *k.self->samples);
    }
    if (k.self == NULL || k.self->samples == NULL) {
        status = vqc_fail_memory(error, limit * sizeof(kept));
        goto done;
    }
    k.self->count = limit;
    status = create_runners(program, slots, &k.runners, error);
    if (status == VQC_OK) { /* one by itself tells how many fit into memory */
        status = vqc_samples_for_each(samples, first, k.step, first + 1, threads, keep_sample, &k,
                                      error);
    }
    if (status == VQC_OK && limit > 1) {
        size_t bytes = sample_bytes(k.self, &k.self->samples[0]) + 1;
        size_t fit = max_bytes / bytes;
        limit = fit < 1 ? 1 : (fit < limit ? fit : limit);
        clear_sample(k.self, &k.self->samples[0]);
        k.self->count = limit;
        status = vqc_samples_for_each(samples, first, k.step, first + (limit - 1) * k.step + 1,
                                      threads, keep_sample, &k, error);
    }
done:
    destroy_runners(k.runners, slots);
    vqc_program_destroy(&program);
    if (status != VQC_OK) {
        vqc_reference_destroy(&k.self);
    }
    *out = k.self;
    return status;
}

void vqc_reference_destroy(vqc_reference **reference)
{
    vqc_reference *self = *reference;

    if (self == NULL) {
        return;
    }
    for (size_t i = 0; self->samples != NULL && i < self->count; i++) {
        clear_sample(self, &self->samples[i]);
    }
    free(self->samples);
    free(self);
    *reference = NULL;
}

double vqc_score_noise(const vqc_score *score)
{
    return score->nonfinite > 0 ? HUGE_VAL : pow(10.0, -score->sqnr_db / 10.0);
}

bool vqc_score_gains(const vqc_score *before, const vqc_score *after, double least_db)
{
    size_t n = before->samples < after->samples ? before->samples : after->samples;
    double sum = 0.0, sum2 = 0.0, mean, variance;

    if (after->nonfinite > 0 || before->nonfinite > 0) {
        return after->nonfinite < before->nonfinite;
    }
    if (!(after->sqnr_db >= before->sqnr_db + least_db)) {
        return false;
    }
    n = n < VQC_SCORE_SAMPLES ? n : VQC_SCORE_SAMPLES;
    for (size_t i = 0; i < n; i++) {
        double gain = before->sample_noise[i] - after->sample_noise[i];
        sum += gain;
        sum2 += gain * gain;
    }
    if (n < 2) {
        return true;
    }
    mean = sum / (double)n;
    variance = (sum2 - sum * mean) / (double)(n - 1);
    return mean > 0.0 && mean * mean * (double)n >= STANDARD_ERRORS * STANDARD_ERRORS * variance;
}

size_t vqc_reference_count(const vqc_reference *reference)
{
    return reference->count;
}

/* ---- scoring ---- */

typedef struct scoring {
    const vqc_reference *self;
    output_sums *sums; /* [samples * output_count] */
    bool *agrees;      /* [samples] */
    bool *right_ref;   /* [samples] */
    bool *right;       /* [samples] */
} scoring;

/* outputs[o] NULL: the same as the original's. */
static vqc_status judge_sample(const scoring *s, size_t index, const vqc_buffer *const *outputs,
                               vqc_error *error)
{
    const vqc_reference *self = s->self;
    const kept *sample = &self->samples[index];

    for (size_t o = 0; o < self->output_count; o++) {
        const vqc_buffer *got = outputs[o] != NULL ? outputs[o] : sample->outputs[o];

        if (got->elements != sample->outputs[o]->elements) {
            return vqc_fail(error, VQC_ERR_MODEL,
                            "output %zu: got %zu elements, expected %zu as from the original", o,
                            got->elements, sample->outputs[o]->elements);
        }
        if (vqc_class_of(got->dtype) != VQC_CLASS_NONE) {
            compare(sample->outputs[o], got, &s->sums[index * self->output_count + o]);
        }
    }
    if (self->output_count > 0) {
        int64_t ref = top1(sample->outputs[0]);
        int64_t got = outputs[0] != NULL ? top1(outputs[0]) : ref;

        s->agrees[index] = ref == got;
        s->right_ref[index] = sample->has_label && ref >= 0 && ref == sample->label;
        s->right[index] = sample->has_label && got >= 0 && got == sample->label;
    }
    return VQC_OK;
}

static vqc_status score_sample(const scoring *s, size_t index, vqc_runner *runner, vqc_error *error)
{
    const vqc_reference *self = s->self;
    vqc_buffer **outputs = calloc(self->output_count + 1, sizeof(void *));
    vqc_status status;

    if (outputs == NULL) {
        return vqc_fail_memory(error, self->output_count * sizeof(void *));
    }
    status = vqc_runner_run(runner, (const vqc_buffer *const *)self->samples[index].inputs, outputs,
                            NULL, error);
    if (status == VQC_OK) {
        status = judge_sample(s, index, (const vqc_buffer *const *)outputs, error);
    }
    clear_buffers(outputs, self->output_count);
    return status;
}

static vqc_status score_all(const scoring *s, const vqc_program *program, size_t samples,
                            int threads, vqc_error *error)
{
    size_t slots = vqc_samples_slots(threads);
    vqc_runner **runners;
    vqc_status first = VQC_OK;
    size_t first_index = SIZE_MAX;
    vqc_status status;

    slots = slots > samples ? samples : slots;
    status = create_runners(program, slots, &runners, error);
    if (status != VQC_OK) {
        return status;
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)slots) if (slots > 1)
    for (size_t i = 0; i < samples; i++) {
        vqc_error local;
        size_t slot = 0;
#ifdef _OPENMP
        slot = (size_t)omp_get_thread_num();
#endif
        vqc_status one = score_sample(s, i, runners[slot], &local);
        if (one != VQC_OK) {
#pragma omp critical(vqc_measure_error)
            if (i < first_index) {
                first_index = i;
                first = one;
                if (error != NULL) {
                    *error = local;
                }
            }
        }
    }
    destroy_runners(runners, slots);
    return first;
}

static void sum_up(const scoring *s, size_t samples, vqc_score *out)
{
    size_t outputs = s->self->output_count;
    size_t labels = 0;
    size_t agree = 0;
    size_t right_ref = 0;
    size_t right = 0;

    memset(out, 0, sizeof *out);
    out->samples = samples;
    out->sqnr_db = INFINITY;
    for (size_t o = 0; o < outputs; o++) {
        output_sums all = {0};
        size_t values = 0;
        double db;
        for (size_t i = 0; i < samples; i++) {
            const output_sums *one = &s->sums[i * outputs + o];
            all.ref2 += one->ref2;
            all.err2 += one->err2;
            out->nonfinite += one->nonfinite;
            values += s->self->samples[i].outputs[o]->elements;
        }
        for (size_t i = 0; i < samples && i < VQC_SCORE_SAMPLES && all.ref2 > 0.0; i++) {
            out->sample_noise[i] += s->sums[i * outputs + o].err2 / all.ref2;
        }
        db = all.err2 > 0.0 ? 10.0 * log10(all.ref2 / all.err2) : INFINITY;
        if (db < out->sqnr_db) {
            out->sqnr_db = db;
            out->worst_output = o;
            out->values = values;
        }
    }
    for (size_t i = 0; i < samples; i++) {
        labels += s->self->samples[i].has_label ? 1 : 0;
        agree += s->agrees[i] ? 1 : 0;
        right_ref += s->right_ref[i] ? 1 : 0;
        right += s->right[i] ? 1 : 0;
    }
    out->agreement = samples > 0 ? (double)agree / (double)samples : 1.0;
    out->accuracy_ref = labels > 0 ? (double)right_ref / (double)labels : (double)NAN;
    out->accuracy = labels > 0 ? (double)right / (double)labels : (double)NAN;
}

static vqc_status start_scoring(scoring *s, size_t samples, vqc_error *error)
{
    s->sums = calloc(samples * s->self->output_count + 1, sizeof *s->sums);
    s->agrees = calloc(samples + 1, 3);
    if (s->sums == NULL || s->agrees == NULL) {
        return vqc_fail_memory(error, samples * sizeof *s->sums);
    }
    s->right_ref = s->agrees + samples;
    s->right = s->agrees + 2 * samples;
    return VQC_OK;
}

static void end_scoring(scoring *s)
{
    free(s->sums);
    free(s->agrees);
}

vqc_status vqc_reference_score(const vqc_reference *self, const vqc_model *model, size_t samples,
                               int threads, vqc_score *out, vqc_error *error)
{
    vqc_graph *graph = NULL;
    vqc_program *program = NULL;
    scoring s = {.self = self};
    vqc_status status;

    samples = samples == 0 || samples > self->count ? self->count : samples;
    status = vqc_graph_create((vqc_model *)(uintptr_t)model, &graph, error);
    if (status == VQC_OK) {
        status = vqc_program_create(graph, NULL, &program, error);
    }
    if (status == VQC_OK) {
        status = start_scoring(&s, samples, error);
    }
    if (status == VQC_OK) {
        status = score_all(&s, program, samples, threads, error);
    }
    if (status == VQC_OK) {
        sum_up(&s, samples, out);
    }
    end_scoring(&s);
    vqc_program_destroy(&program);
    vqc_graph_destroy(&graph);
    return status;
}

const vqc_buffer *const *vqc_reference_inputs(const vqc_reference *self, size_t sample)
{
    return (const vqc_buffer *const *)self->samples[sample].inputs;
}

size_t vqc_reference_outputs(const vqc_reference *self)
{
    return self->output_count;
}

vqc_status vqc_reference_compare(const vqc_reference *self, const vqc_buffer *const *outputs,
                                 size_t samples, vqc_score *out, vqc_error *error)
{
    scoring s = {.self = self};
    vqc_status status = start_scoring(&s, samples, error);

    for (size_t i = 0; i < samples && status == VQC_OK; i++) {
        status = judge_sample(&s, i, outputs + i * self->output_count, error);
    }
    if (status == VQC_OK) {
        sum_up(&s, samples, out);
    }
    end_scoring(&s);
    return status;
}
