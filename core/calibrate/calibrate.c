#include "core/calibrate/calibrate.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/calibrate/calibrate_collect.h"

/* One run of vqc_calibrate. */
typedef struct calibration {
    const vqc_calibrate_options *options;
    vqc_collector *collector;
    vqc_program *program;
    vqc_runner **runners; /* [slots] */
    size_t slots;
    size_t output_count;
    vqc_buffer **outputs; /* [slots][output_count] */
    size_t first, step, limit, jobs;
    size_t done;
    omp_lock_t progress_lock;
} calibration;

/* Context of the tap of one run. */
typedef struct tap_place {
    vqc_collector *collector;
    size_t slot, position;
} tap_place;

static vqc_status see(void *context, size_t index, const vqc_buffer *buffer, vqc_error *error)
{
    const tap_place *place = context;
    return vqc_collector_see(place->collector, place->slot, place->position, index, buffer, error);
}

static vqc_status run_sample(void *context, size_t slot, const vqc_sample *sample, vqc_error *error)
{
    calibration *c = context;
    vqc_buffer **outputs = c->outputs + slot * c->output_count;
    tap_place place = {c->collector, slot, (sample->index - c->first) / c->step};
    const vqc_tap tap = {see, &place};
    const vqc_status status =
        vqc_runner_run(c->runners[slot], sample->inputs, outputs, &tap, error);
    for (size_t i = 0; i < c->output_count; i++)
        vqc_buffer_destroy(&outputs[i]);
    if (status != VQC_OK)
        return vqc_error_prefix(error, "sample %zu", sample->index);
    omp_set_lock(&c->progress_lock);
    c->done++;
    if (c->options->progress != NULL)
        c->options->progress(c->options->progress_context, "calibrate", c->done, c->jobs);
    omp_unset_lock(&c->progress_lock);
    return VQC_OK;
}

/* Threads that samples do not keep busy help inside the runs. */
static vqc_status prepare(calibration *c, const vqc_graph *graph, const vqc_value *const *values,
                          size_t value_count, vqc_error *error)
{
    const size_t threads = vqc_samples_slots(c->options->threads);
    c->slots = threads < c->jobs ? threads : c->jobs;
    vqc_status status = vqc_collector_create(values, value_count, c->slots, c->jobs, c->options,
                                             &c->collector, error);
    if (status != VQC_OK)
        return status;
    vqc_program_options options = {0};
    options.taps = vqc_collector_values(c->collector, &options.tap_count);
    status = vqc_program_create(graph, &options, &c->program, error);
    if (status != VQC_OK)
        return status;
    (void)vqc_program_outputs(c->program, &c->output_count);
    c->runners = calloc(c->slots, sizeof(*c->runners));
    c->outputs = calloc(c->slots * c->output_count + 1, sizeof(*c->outputs));
    if (c->runners == NULL || c->outputs == NULL)
        return vqc_fail_memory(error, c->slots * c->output_count * sizeof(*c->outputs));
    for (size_t i = 0; i < c->slots && status == VQC_OK; i++)
        status = vqc_runner_create(c->program, (int)(threads / c->slots), &c->runners[i], error);
    return status;
}

vqc_status vqc_calibrate(const vqc_graph *graph, const vqc_value *const *values, size_t value_count,
                         vqc_samples *samples, const vqc_calibrate_options *options,
                         vqc_stats **out, vqc_error *error)
{
    calibration c = {.options = options, .first = options->first};
    *out = NULL;
    c.step = options->step == 0 ? 1 : options->step;
    c.limit =
        options->limit == 0 || options->limit > samples->count ? samples->count : options->limit;
    c.jobs = c.first < c.limit ? (c.limit - c.first - 1) / c.step + 1 : 0;
    if (c.jobs == 0)
        return vqc_fail(error, VQC_ERR_USAGE,
                        "%s: no samples to calibrate with (%zu in all, from %zu on, below %zu)",
                        samples->path != NULL ? samples->path : "samples", samples->count, c.first,
                        c.limit);
    omp_init_lock(&c.progress_lock);
    vqc_status status = prepare(&c, graph, values, value_count, error);
    if (status == VQC_OK)
        status = vqc_samples_for_each(samples, c.first, c.step, c.limit, (int)c.slots, run_sample,
                                      &c, error);
    if (status == VQC_OK) {
        *out = vqc_collector_finish(c.collector);
        (*out)->fingerprint = vqc_stats_fingerprint(graph->model);
    }
    for (size_t i = 0; c.runners != NULL && i < c.slots; i++)
        vqc_runner_destroy(&c.runners[i]);
    free(c.runners);
    free(c.outputs);
    vqc_program_destroy(&c.program);
    vqc_collector_destroy(&c.collector);
    omp_destroy_lock(&c.progress_lock);
    return status;
}
