#include "cli/run_results.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"
#include "core/error.h"
#include "core/exec/element.h"

/* Counts, range and sum of one output. */
static void measure(const vqc_buffer *buffer, vqc_run_figures *out)
{
    vqc_class class = vqc_class_of(buffer->dtype);

    *out = (vqc_run_figures){.dtype = buffer->dtype,
                             .rank = buffer->rank,
                             .min = (double)INFINITY,
                             .max = -(double)INFINITY};
    memcpy(out->dims, buffer->dims, sizeof out->dims);
    for (size_t at = 0; class != VQC_CLASS_NONE && at < buffer->elements; at += VQC_EXEC_CHUNK) {
        size_t left = buffer->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;
        vqc_chunk chunk;
        vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, n, &chunk);
        vqc_element_convert(&chunk, class, VQC_CLASS_F64, n);
        for (size_t i = 0; i < n; i++) {
            double value = chunk.f64[i];
            if (!isfinite(value)) {
                out->nonfinite++;
                continue;
            }
            out->count++;
            out->sum += value;
            out->min = value < out->min ? value : out->min;
            out->max = value > out->max ? value : out->max;
        }
    }
}

/* What the threads of a run share. */
typedef struct run_state {
    const vqc_program *program;
    const vqc_run_model_options *options;
    vqc_run_results *out;
    vqc_runner **runners; /* [slots] */
    size_t slots;
    int run_threads;
    omp_lock_t lock;
    size_t done;
} run_state;

/* A copy that borrows from neither the model nor the sample. */
static vqc_status keep_output(const vqc_buffer *buffer, vqc_buffer **kept, vqc_error *error)
{
    *kept = vqc_buffer_create(buffer->dtype, buffer->dims, buffer->rank);
    if (*kept == NULL)
        return vqc_fail_memory(error, buffer->elements * buffer->width);
    memcpy((*kept)->data, buffer->data, buffer->elements * buffer->width);
    return VQC_OK;
}

static vqc_status run_sample(void *context, size_t slot, const vqc_sample *sample, vqc_error *error)
{
    run_state *run = context;
    vqc_run_results *out = run->out;
    vqc_status status = VQC_OK;
    if (run->runners[slot] == NULL) {
        status = vqc_runner_create(run->program, run->run_threads, &run->runners[slot], error);
        if (status != VQC_OK)
            return status;
        vqc_runner_profile(run->runners[slot], run->options->profile);
    }
    vqc_buffer **outputs = calloc(out->output_count + 1, sizeof(vqc_buffer *));
    if (outputs == NULL)
        return vqc_fail_memory(error, out->output_count * sizeof(vqc_buffer *));
    status = vqc_runner_run(run->runners[slot], sample->inputs, outputs, NULL, error);
    if (status != VQC_OK)
        (void)vqc_error_prefix(error, "sample %zu", sample->index);
    for (size_t i = 0; i < out->output_count && status == VQC_OK; i++) {
        size_t place = sample->index * out->output_count + i;
        measure(outputs[i], &out->figures[place]);
        if (out->kept != NULL)
            status = keep_output(outputs[i], &out->kept[place], error);
    }
    for (size_t i = 0; i < out->output_count; i++)
        vqc_buffer_destroy(&outputs[i]);
    free(outputs);
    omp_set_lock(&run->lock);
    run->done++;
    if (run->options->progress != NULL)
        run->options->progress(run->options->progress_context, "running", run->done, out->samples);
    omp_unset_lock(&run->lock);
    return status;
}

/* Adds the profiles of all runners up. */
static vqc_status add_profiles(const run_state *run, vqc_error *error)
{
    vqc_run_results *out = run->out;
    for (size_t s = 0; s < run->slots; s++) {
        size_t count = 0;
        if (run->runners[s] == NULL)
            continue;
        size_t peak = vqc_runner_peak_bytes(run->runners[s]);
        out->peak_bytes = peak > out->peak_bytes ? peak : out->peak_bytes;
        const vqc_step_profile *steps = vqc_runner_profile_steps(run->runners[s], &count);
        if (out->profile == NULL && run->options->profile) {
            out->profile = calloc(count + 1, sizeof *out->profile);
            if (out->profile == NULL)
                return vqc_fail_memory(error, count * sizeof *out->profile);
            out->profile_count = count;
        }
        for (size_t i = 0; i < out->profile_count; i++) {
            out->profile[i].op = steps[i].op;
            out->profile[i].label = steps[i].label;
            out->profile[i].calls += steps[i].calls;
            out->profile[i].time_ns += steps[i].time_ns;
        }
    }
    return VQC_OK;
}

vqc_status vqc_run_samples(const vqc_program *program, vqc_samples *samples,
                           const vqc_run_model_options *options, vqc_run_results *out,
                           vqc_error *error)
{
    run_state run = {.program = program, .options = options, .out = out};
    memset(out, 0, sizeof *out);
    out->ports = vqc_program_outputs(program, &out->output_count);
    out->samples =
        options->limit > 0 && options->limit < samples->count ? options->limit : samples->count;
    size_t cores = vqc_samples_slots(options->threads);
    run.slots = cores < out->samples ? cores : out->samples;
    run.run_threads = run.slots > 0 ? (int)(cores / run.slots) : 1;
    size_t places = out->samples * out->output_count;
    run.runners = calloc(run.slots + 1, sizeof(vqc_runner *));
    out->figures = calloc(places + 1, sizeof *out->figures);
    out->kept = options->keep ? calloc(places + 1, sizeof(vqc_buffer *)) : NULL;
    vqc_status status;
    if (run.runners == NULL || out->figures == NULL || (options->keep && out->kept == NULL)) {
        status = vqc_fail_memory(error, places * sizeof *out->figures);
    } else {
        omp_init_lock(&run.lock);
        status = vqc_samples_for_each(samples, 0, 1, out->samples, (int)run.slots, run_sample, &run,
                                      error);
        omp_destroy_lock(&run.lock);
    }
    if (status == VQC_OK)
        status = add_profiles(&run, error);
    for (size_t s = 0; run.runners != NULL && s < run.slots; s++)
        vqc_runner_destroy(&run.runners[s]);
    free(run.runners);
    if (status != VQC_OK)
        vqc_run_results_clear(out);
    return status;
}

void vqc_run_results_clear(vqc_run_results *results)
{
    for (size_t i = 0; results->kept != NULL && i < results->samples * results->output_count; i++)
        vqc_buffer_destroy(&results->kept[i]);
    free(results->kept);
    free(results->figures);
    free(results->profile);
    memset(results, 0, sizeof *results);
}
