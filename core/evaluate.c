#include "core/evaluate.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/data/samples_convert.h"
#include "core/evaluate_sums.h"
#include "core/metrics.h"

/* One of the models that run. */
typedef struct side {
    const vqc_program *program;
    const vqc_program_port *inputs;
    size_t input_count;
    size_t output_count;
    size_t token_input;      /* input_count: none */
    vqc_runner **runners;    /* [slots] */
    vqc_buffer ***outputs;   /* [slots][output_count] */
    vqc_accuracy_sums *sums; /* [jobs] */
} side;

typedef struct evaluation_run {
    side sides[2]; /* the model alone, or the reference and the model */
    size_t side_count;
    size_t *input_of;     /* [inputs of side 1] the reference's input; its count: none */
    size_t *output_of;    /* [outputs of side 0] the model's output */
    vqc_pair_sums *pairs; /* [jobs][outputs of side 0] */
    size_t slots;
    size_t jobs;
    size_t first;
    size_t step;
    size_t limit;
    int threads;     /* of vqc_samples_for_each */
    int run_threads; /* of one runner */
    const vqc_evaluate_options *options;
    omp_lock_t lock; /* guards done and the progress callback */
    size_t done;
    omp_lock_t tap_lock; /* held while a tapped sample runs */
} evaluation_run;

static void free_side(side *self, size_t slots)
{
    for (size_t i = 0; i < slots; i++) {
        if (self->runners != NULL) {
            vqc_runner_destroy(&self->runners[i]);
        }
        if (self->outputs != NULL && self->outputs[i] != NULL) {
            for (size_t o = 0; o < self->output_count; o++) {
                vqc_buffer_destroy(&self->outputs[i][o]);
            }
            free(self->outputs[i]);
        }
    }
    free(self->runners);
    free(self->outputs);
    free(self->sums);
}

static vqc_status make_side(side *self, const vqc_program *program, const evaluation_run *run,
                            vqc_error *error)
{
    self->program = program;
    self->inputs = vqc_program_inputs(program, &self->input_count);
    (void)vqc_program_outputs(program, &self->output_count);
    self->token_input = vqc_accuracy_token_input(program);
    self->runners = calloc(run->slots + 1, sizeof(vqc_runner *));
    self->outputs = calloc(run->slots + 1, sizeof(vqc_buffer **));
    self->sums = calloc(run->jobs + 1, sizeof *self->sums);
    if (self->runners == NULL || self->outputs == NULL || self->sums == NULL) {
        return vqc_fail_memory(error, run->jobs * sizeof *self->sums);
    }
    return VQC_OK;
}

/* Sets jobs, slots and threads. A few samples on many cores: each run gets several of them. */
static void plan_run(evaluation_run *run, const vqc_samples *samples,
                     const vqc_evaluate_options *options)
{
    size_t limit;
    size_t cores;

    run->options = options;
    run->first = options->first;
    run->step = options->step == 0 ? 1 : options->step;
    run->limit = options->limit == 0 ? SIZE_MAX : options->limit;
    limit = run->limit < samples->count ? run->limit : samples->count;
    run->jobs = run->first < limit ? (limit - run->first - 1) / run->step + 1 : 0;
    cores = vqc_samples_slots(options->threads);
    run->slots = cores < run->jobs ? cores : run->jobs;
    run->threads = (int)run->slots;
    run->run_threads = run->slots > 0 ? (int)(cores / run->slots) : 1;
}

/* ---- one sample ---- */

/* The inputs of side 1 out of those of side 0; made[i] is a buffer of its own or NULL. */
static vqc_status match_inputs(const evaluation_run *run, const vqc_sample *sample,
                               const vqc_buffer **inputs, vqc_buffer **made, vqc_error *error)
{
    const side *other = &run->sides[1];

    for (size_t i = 0; i < other->input_count; i++) {
        size_t from = run->input_of[i];
        const vqc_buffer *source = from < run->sides[0].input_count ? sample->inputs[from] : NULL;
        inputs[i] = source;
        if (source == NULL || other->inputs[i].dtype == VQC_DTYPE_UNDEFINED ||
            other->inputs[i].dtype == source->dtype) {
            continue;
        }
        made[i] = vqc_buffer_alias(source, source->dims, source->rank);
        if (made[i] == NULL) {
            return vqc_fail_memory(error, sizeof(vqc_buffer));
        }
        if (vqc_samples_convert(&made[i], other->inputs[i].dtype, other->inputs[i].name, error) !=
            VQC_OK) {
            return error != NULL ? error->code : VQC_ERR_MODEL;
        }
        inputs[i] = made[i];
    }
    return VQC_OK;
}

/* Runs side `which` in this slot; its outputs stay there. */
static vqc_status run_side(evaluation_run *run, size_t which, size_t slot,
                           const vqc_buffer *const *inputs, const vqc_tap *tap, vqc_error *error)
{
    side *self = &run->sides[which];
    vqc_status status;

    if (self->runners[slot] == NULL) {
        status = vqc_runner_create(self->program, run->run_threads, &self->runners[slot], error);
        if (status != VQC_OK) {
            return status;
        }
        self->outputs[slot] = calloc(self->output_count + 1, sizeof(vqc_buffer *));
        if (self->outputs[slot] == NULL) {
            return vqc_fail_memory(error, self->output_count * sizeof(vqc_buffer *));
        }
    }
    return vqc_runner_run(self->runners[slot], inputs, self->outputs[slot], tap, error);
}

static void drop_outputs(evaluation_run *run, size_t slot)
{
    for (size_t s = 0; s < run->side_count; s++) {
        side *self = &run->sides[s];
        for (size_t o = 0; self->outputs[slot] != NULL && o < self->output_count; o++) {
            vqc_buffer_destroy(&self->outputs[slot][o]);
        }
    }
}

static vqc_status run_second(evaluation_run *run, size_t slot, const vqc_sample *sample,
                             const vqc_tap *tap, vqc_error *error)
{
    size_t count = run->sides[1].input_count;
    const vqc_buffer **inputs = calloc(count + 1, sizeof(const vqc_buffer *));
    vqc_buffer **made = calloc(count + 1, sizeof(vqc_buffer *));
    vqc_status status;

    if (inputs == NULL || made == NULL) {
        free(inputs);
        free(made);
        return vqc_fail_memory(error, count * sizeof(vqc_buffer *));
    }
    status = match_inputs(run, sample, inputs, made, error);
    if (status == VQC_OK) {
        status = run_side(run, 1, slot, inputs, tap, error);
    }
    for (size_t i = 0; i < count; i++) {
        vqc_buffer_destroy(&made[i]);
    }
    free(inputs);
    free(made);
    return status;
}

static void report_progress(evaluation_run *run)
{
    omp_set_lock(&run->lock);
    run->done++;
    if (run->options->progress != NULL) {
        run->options->progress(run->options->progress_context, run->done, run->jobs);
    }
    omp_unset_lock(&run->lock);
}

/* Whether a job is tapped: those at k * jobs / samples for k < samples. */
static bool is_tapped(const evaluation_run *run, size_t job, size_t *which)
{
    size_t samples = run->options->taps == NULL ? 0 : run->options->taps->samples;

    samples = samples < run->jobs ? samples : run->jobs;
    *which = (job * samples + run->jobs - 1) / run->jobs;
    return *which < samples && *which * run->jobs / samples == job;
}

/* The sample through the reference and, where there is one, the model. */
static vqc_status run_sides(evaluation_run *run, size_t job, size_t slot, const vqc_sample *sample,
                            vqc_error *error)
{
    const vqc_compare_taps *taps = run->options->taps;
    size_t which = 0;
    vqc_status status;

    if (run->side_count == 1) {
        return run_side(run, 0, slot, sample->inputs, NULL, error);
    }
    if (!is_tapped(run, job, &which)) {
        status = run_side(run, 0, slot, sample->inputs, NULL, error);
        return status == VQC_OK ? run_second(run, slot, sample, NULL, error) : status;
    }
    omp_set_lock(&run->tap_lock);
    taps->begin(taps->context, which);
    status = run_side(run, 0, slot, sample->inputs, &taps->taps[0], error);
    if (status == VQC_OK) {
        status = run_second(run, slot, sample, &taps->taps[1], error);
    }
    omp_unset_lock(&run->tap_lock);
    return status;
}

static vqc_status evaluate_sample(void *context, size_t slot, const vqc_sample *sample,
                                  vqc_error *error)
{
    evaluation_run *run = context;
    size_t job = (sample->index - run->first) / run->step;
    const side *reference = &run->sides[0];
    const vqc_buffer *tokens = reference->token_input < reference->input_count
                                   ? sample->inputs[reference->token_input]
                                   : NULL;
    vqc_status status;

    if (job >= run->jobs) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "sample %zu is outside of the pass",
                        sample->index);
    }
    status = run_sides(run, job, slot, sample, error);
    for (size_t s = 0; s < run->side_count && status == VQC_OK; s++) {
        side *self = &run->sides[s];
        status = vqc_accuracy_add(sample, tokens, self->outputs[slot], self->output_count,
                                  &self->sums[job], error);
    }
    for (size_t o = 0; run->side_count == 2 && o < reference->output_count && status == VQC_OK;
         o++) {
        size_t output_count = 0;
        const vqc_program_port *outputs = vqc_program_outputs(reference->program, &output_count);
        status = vqc_pair_add(reference->outputs[slot][o],
                              run->sides[1].outputs[slot][run->output_of[o]], outputs[o].name,
                              &run->pairs[job * output_count + o], error);
    }
    drop_outputs(run, slot);
    report_progress(run);
    return status;
}

/* ---- results ---- */

static void add_up(const evaluation_run *run, const side *self, vqc_evaluation *out)
{
    size_t count = 0;
    const vqc_program_port *outputs = vqc_program_outputs(self->program, &count);
    double sum_err2 = 0.0;
    double sum_nll = 0.0;

    *out = (vqc_evaluation){.samples = run->jobs, .output = count > 0 ? outputs[0].name : ""};
    for (size_t job = 0; job < run->jobs; job++) {
        const vqc_accuracy_sums *sums = &self->sums[job];
        out->nonfinite += sums->nonfinite;
        out->labelled += sums->labelled;
        out->top1_hits += sums->top1_hits;
        out->top5_hits += sums->top5_hits;
        out->classes = sums->labelled > 0 ? sums->classes : out->classes;
        out->target_values += sums->target_values;
        out->tokens += sums->tokens;
        sum_err2 += sums->sum_err2;
        sum_nll += sums->sum_nll;
    }
    out->top1 = out->top5 = out->mse = out->cross_entropy = out->perplexity = (double)NAN;
    if (out->labelled > 0) {
        out->top1 = (double)out->top1_hits / (double)out->labelled;
        out->top5 = out->classes > 5 ? (double)out->top5_hits / (double)out->labelled : (double)NAN;
    }
    if (out->target_values > 0) {
        out->mse = sum_err2 / (double)out->target_values;
    }
    if (out->tokens > 0) {
        out->cross_entropy = sum_nll / (double)out->tokens;
        out->perplexity = exp(out->cross_entropy);
    }
}

static void add_up_pairs(const evaluation_run *run, vqc_comparison *out)
{
    size_t count = 0;
    const vqc_program_port *ports = vqc_program_outputs(run->sides[0].program, &count);

    for (size_t o = 0; o < count; o++) {
        vqc_output_comparison *output = &out->outputs[o];
        vqc_error_sums total = {0};
        bool poisoned = false;
        output->name = ports[o].name;
        output->dtype = ports[o].dtype;
        for (size_t job = 0; job < run->jobs; job++) {
            const vqc_pair_sums *sums = &run->pairs[job * count + o];
            vqc_error_sums_add(&total, &sums->errors);
            poisoned = poisoned || sums->poisoned;
            output->nonfinite_ref += sums->nonfinite_ref;
            output->nonfinite += sums->nonfinite;
            output->values += sums->values;
            output->equal += sums->equal;
            output->rows += sums->rows;
            output->top1_equal += sums->top1_equal;
        }
        output->is_integer = output->values > 0;
        output->metrics = vqc_metrics_from_sums(&total);
        if (poisoned) {
            output->metrics.mse = output->metrics.sqnr_db = output->metrics.cosine = (double)NAN;
            output->metrics.max_abs_error = (double)INFINITY;
        }
    }
}

static vqc_status run_all(evaluation_run *run, vqc_samples *samples, vqc_error *error)
{
    vqc_status status;

    omp_init_lock(&run->lock);
    omp_init_lock(&run->tap_lock);
    status = vqc_samples_for_each(samples, run->first, run->step, run->limit, run->threads,
                                  evaluate_sample, run, error);
    omp_destroy_lock(&run->lock);
    omp_destroy_lock(&run->tap_lock);
    return status;
}

static void free_run(evaluation_run *run)
{
    free_side(&run->sides[0], run->slots);
    free_side(&run->sides[1], run->slots);
    free(run->input_of);
    free(run->output_of);
    free(run->pairs);
}

vqc_status vqc_evaluate(const vqc_program *program, vqc_samples *samples,
                        const vqc_evaluate_options *options, vqc_evaluation *out, vqc_error *error)
{
    static const vqc_evaluate_options defaults = {0};
    evaluation_run run = {.side_count = 1};
    vqc_status status;

    *out = (vqc_evaluation){0};
    plan_run(&run, samples, options != NULL ? options : &defaults);
    status = make_side(&run.sides[0], program, &run, error);
    if (status == VQC_OK) {
        status = run_all(&run, samples, error);
    }
    if (status == VQC_OK) {
        add_up(&run, &run.sides[0], out);
    }
    free_run(&run);
    return status;
}

/* ---- two models ---- */

static size_t find_port(const vqc_program_port *ports, size_t count, const char *name)
{
    size_t i = 0;

    while (i < count && strcmp(ports[i].name, name) != 0) {
        i++;
    }
    return i;
}

static vqc_status match_ports(evaluation_run *run, vqc_error *error)
{
    const side *reference = &run->sides[0];
    const side *other = &run->sides[1];
    size_t count = 0;
    const vqc_program_port *ours = vqc_program_outputs(reference->program, &count);
    const vqc_program_port *theirs = vqc_program_outputs(other->program, &count);

    run->input_of = calloc(other->input_count + 1, sizeof *run->input_of);
    run->output_of = calloc(reference->output_count + 1, sizeof *run->output_of);
    if (run->input_of == NULL || run->output_of == NULL) {
        return vqc_fail_memory(error, other->input_count * sizeof *run->input_of);
    }
    for (size_t i = 0; i < other->input_count; i++) {
        const vqc_program_port *port = &other->inputs[i];
        run->input_of[i] = find_port(reference->inputs, reference->input_count, port->name);
        if (run->input_of[i] == reference->input_count && other->input_count == 1 &&
            reference->input_count == 1) {
            run->input_of[i] = 0;
        }
        if (run->input_of[i] == reference->input_count && !port->has_default) {
            return vqc_fail(error, VQC_ERR_MODEL,
                            "input \"%.200s\" of the model is no input of the reference",
                            port->name);
        }
    }
    if (reference->output_count != other->output_count) {
        return vqc_fail(error, VQC_ERR_MODEL, "the model has %zu outputs, the reference has %zu",
                        other->output_count, reference->output_count);
    }
    for (size_t o = 0; o < reference->output_count; o++) {
        size_t at = find_port(theirs, other->output_count, ours[o].name);
        run->output_of[o] = at < other->output_count ? at : o;
    }
    return VQC_OK;
}

vqc_status vqc_compare(const vqc_program *reference, const vqc_program *program,
                       vqc_samples *samples, const vqc_evaluate_options *options,
                       vqc_comparison **out, vqc_error *error)
{
    static const vqc_evaluate_options defaults = {0};
    evaluation_run run = {.side_count = 2};
    vqc_comparison *comparison = calloc(1, sizeof *comparison);
    vqc_status status;
    size_t outputs;

    *out = NULL;
    if (comparison == NULL) {
        return vqc_fail_memory(error, sizeof *comparison);
    }
    plan_run(&run, samples, options != NULL ? options : &defaults);
    status = make_side(&run.sides[0], reference, &run, error);
    if (status == VQC_OK) {
        status = make_side(&run.sides[1], program, &run, error);
    }
    if (status == VQC_OK) {
        status = match_ports(&run, error);
    }
    outputs = run.sides[0].output_count;
    if (status == VQC_OK) {
        run.pairs = calloc(run.jobs * outputs + 1, sizeof *run.pairs);
        comparison->outputs = calloc(outputs + 1, sizeof *comparison->outputs);
        comparison->output_count = outputs;
        if (run.pairs == NULL || comparison->outputs == NULL) {
            status = vqc_fail_memory(error, run.jobs * outputs * sizeof *run.pairs);
        }
    }
    if (status == VQC_OK) {
        status = run_all(&run, samples, error);
    }
    if (status == VQC_OK) {
        add_up(&run, &run.sides[0], &comparison->reference);
        add_up(&run, &run.sides[1], &comparison->model);
        add_up_pairs(&run, comparison);
        *out = comparison;
        comparison = NULL;
    }
    vqc_comparison_destroy(&comparison);
    free_run(&run);
    return status;
}

void vqc_comparison_destroy(vqc_comparison **comparison)
{
    if (comparison == NULL || *comparison == NULL) {
        return;
    }
    free((*comparison)->outputs);
    free(*comparison);
    *comparison = NULL;
}
