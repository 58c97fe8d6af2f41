/* One model file through the compressor: read, compress, gate, write. */
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/data/samples_subset.h"
#include "core/error.h"
#include "core/pipeline.h"
#include "core/report.h"
#include "core/verify.h"
#include "formats/compress_samples.h"
#include "formats/onnx_file.h"
#include "formats/stats_file.h"

typedef struct job {
    const char *input;
    const char *output;
    const vqc_recipe *recipe;
    vqc_run_options run;
    vqc_report *report;
    vqc_model *model;
    vqc_compress_samples samples;
    bool samples_open;
    const char *cache; /* calibration cache, or NULL */
    vqc_onnx_write_options write;
    vqc_onnx_written size; /* of the output */
} job;

static void progress(const job *j, const char *stage)
{
    if (j->run.progress != NULL) {
        j->run.progress(j->run.progress_context, stage, 0, 0);
    }
}

static vqc_file_size file_size(size_t file_bytes, size_t external_bytes)
{
    vqc_file_size size = {file_bytes + external_bytes, file_bytes, external_bytes};
    return size;
}

static vqc_status start_report(job *j, vqc_error *error)
{
    vqc_report *report;
    vqc_status status = vqc_report_create(&j->report, error);

    if (status != VQC_OK) {
        return status;
    }
    report = j->report;
    report->input = vqc_arena_strdup(report->arena, j->input);
    report->output = vqc_arena_strdup(report->arena, j->run.dry_run ? "" : j->output);
    report->recipe = vqc_arena_strdup(report->arena, j->recipe->path);
    report->dry_run = j->run.dry_run;
    report->before = file_size(j->model->file_size_bytes, j->model->external_size_bytes);
    if (report->input == NULL || report->output == NULL || report->recipe == NULL) {
        return vqc_fail_memory(error, strlen(j->input));
    }
    return VQC_OK;
}

/* Reads the calibration cache when it is there. */
static vqc_status load_cache(const job *j, vqc_stats **stats, vqc_error *error)
{
    bool there = j->cache != NULL && vqc_recipe_is_static(j->recipe) && access(j->cache, F_OK) == 0;
    vqc_status status;

    *stats = NULL;
    if (!there || j->samples.calibration == NULL) {
        return VQC_OK;
    }
    status = vqc_stats_load(j->cache, stats, error);
    return status == VQC_OK
               ? vqc_report_note(j->report, error,
                                 "ranges are from the calibration cache %s (%llu samples)",
                                 j->cache, (unsigned long long)(*stats)->samples)
               : status;
}

/* Everything that runs the model and rewrites it. A second attempt, with another opset, has no use
 * for the cache, which belongs to the first. */
static vqc_status run_pipeline(job *j, bool second, vqc_error *error)
{
    vqc_stats *made = NULL;
    vqc_pipeline_options options = {
        .run = &j->run,
        .keep_opset = second,
        .samples = j->samples.calibration,
        .stats_path = j->cache,
        .made = second || j->cache == NULL ? NULL : &made,
    };
    uint64_t start = vqc_report_clock();
    uint64_t other = 0;
    size_t stages = j->report->stage_count;
    vqc_status status = second ? VQC_OK : load_cache(j, &options.stats, error);

    if (status == VQC_OK) {
        status = vqc_pipeline_run(j->model, j->recipe, &options, j->report, error);
    }
    if (status == VQC_OK && made != NULL && j->cache != NULL && !second && !j->run.dry_run) {
        status = vqc_stats_save(made, j->cache, false, error);
    }
    for (size_t i = stages; i < j->report->stage_count; i++) {
        other += j->report->stages[i].time_ns;
    }
    if (status == VQC_OK) {
        uint64_t whole = vqc_report_clock() - start;
        status = vqc_report_stage(j->report, "encode", whole > other ? whole - other : 0, error);
    }
    vqc_stats_destroy(&made);
    vqc_stats_destroy(&options.stats);
    return status;
}

/* Limits on outputs need samples, on accuracy labels: better said before the work than after it. */
static vqc_status check_samples(const job *j, vqc_error *error)
{
    const vqc_gates *gates = &j->recipe->gates;
    const vqc_samples *calibration = j->samples.calibration;
    const vqc_samples *compared =
        j->samples.evaluation != NULL ? j->samples.evaluation : calibration;
    const vqc_samples *lacking = NULL;
    const char *key = "";

    if (compared == NULL && !j->run.dry_run && vqc_gates_need_outputs(gates)) {
        return vqc_fail(error, VQC_ERR_USAGE,
                        "%s: its gates need the model to be run: got no samples, expected --eval "
                        "PATH or evaluate.data in the recipe",
                        j->recipe->path);
    }
    if (!isnan(j->recipe->accuracy.max_accuracy_drop) && calibration != NULL &&
        !calibration->has_labels) {
        lacking = calibration;
        key = "target.max_accuracy_drop";
    } else if (compared != NULL && !compared->has_labels &&
               (!isnan(gates->max_accuracy_drop) || !isnan(gates->min_accuracy))) {
        lacking = compared;
        key = isnan(gates->min_accuracy) ? "gates.max_accuracy_drop" : "gates.min_accuracy";
    }
    return lacking == NULL ? VQC_OK
                           : vqc_fail(error, VQC_ERR_MODEL,
                                      "%s: got samples without labels, expected labels for %s",
                                      lacking->path, key);
}

/* Says which calibration samples were left out. */
static vqc_status note_left_out(const job *j, vqc_error *error)
{
    const vqc_samples_left_out *out = &j->samples.left_out;

    return out->count == 0
               ? VQC_OK
               : vqc_report_note(j->report, error,
                                 "%s: %zu of %zu calibration samples have NaN or infinite inputs "
                                 "and are left out, the first is sample %zu",
                                 j->samples.calibration->path, out->count, out->total, out->first);
}

/* Opens and compresses; fills j->report and j->size. */
static vqc_status compress_once(job *j, bool keep_opset, vqc_error *error)
{
    uint64_t start = vqc_report_clock();
    uint64_t opened;
    vqc_status status;

    vqc_report_destroy(&j->report);
    vqc_model_destroy(&j->model);
    progress(j, "read");
    status = vqc_onnx_open(j->input, &j->model, error);
    opened = vqc_report_clock();
    if (status == VQC_OK) {
        status = start_report(j, error);
    }
    if (status == VQC_OK) {
        status = vqc_report_stage(j->report, "read", opened - start, error);
    }
    if (status == VQC_OK && !j->samples_open) {
        status = vqc_compress_samples_open(j->model, j->recipe, &j->run, &j->samples, error);
        j->samples_open = status == VQC_OK;
        if (status == VQC_OK) {
            status = check_samples(j, error);
        }
    }
    if (status == VQC_OK) {
        status = note_left_out(j, error);
    }
    if (status == VQC_OK) {
        status = run_pipeline(j, keep_opset, error);
    }
    if (status == VQC_OK) {
        status = vqc_onnx_measure(j->model, &j->write, &j->size, error);
    }
    if (status == VQC_OK) {
        j->report->after = file_size(j->size.file_size_bytes, j->size.external_size_bytes);
    }
    return status;
}

/* Runs the original and what was made on samples that the recipe names, or on those kept apart. */
static vqc_status verify(job *j, vqc_error *error)
{
    vqc_verify_options options = {
        .threads = j->run.threads,
        .progress = j->run.progress,
        .progress_context = j->run.progress_context,
    };
    uint64_t start = vqc_report_clock();
    vqc_samples *samples = j->samples.evaluation;
    vqc_samples *subset = NULL;
    vqc_model *original = NULL;
    vqc_status status = VQC_OK;

    if (j->run.dry_run || j->report->unchanged || !j->recipe->verify) {
        return VQC_OK;
    }
    if (samples == NULL && j->samples.calibration != NULL) {
        options.held_out = true;
        status = vqc_samples_held_out(j->samples.calibration, &subset, error);
        samples = subset;
        if (status == VQC_OK && subset->count == j->samples.calibration->count) {
            options.held_out = false;
            status = vqc_report_note(j->report, error,
                                     "too few calibration samples to keep some apart: errors are "
                                     "measured on those that ranges were made with");
        }
    }
    if (status == VQC_OK && samples == NULL) {
        return VQC_OK;
    }
    if (status == VQC_OK) {
        status = vqc_onnx_open(j->input, &original, error);
    }
    if (status == VQC_OK) {
        status = vqc_verify_models(original, j->model, samples, &options, j->report, error);
    }
    if (status == VQC_ERR_MODEL && j->samples.evaluation == NULL &&
        !vqc_gates_need_outputs(&j->recipe->gates)) {
        status = vqc_report_note(j->report, error, "not verified: %s", error->message);
    }
    if (status == VQC_OK) {
        status = vqc_report_stage(j->report, "verify", vqc_report_clock() - start, error);
    }
    vqc_samples_destroy(&subset);
    vqc_model_destroy(&original);
    return status;
}

/* Writes what was made, or a copy of the input when nothing was gained. */
static vqc_status write_output(job *j, vqc_error *error)
{
    uint64_t start = vqc_report_clock();
    vqc_status status;

    progress(j, "write");
    status = j->report->unchanged ? vqc_onnx_copy(j->model, j->output, &j->write, &j->size, error)
                                  : vqc_onnx_save(j->model, j->output, &j->write, &j->size, error);
    if (status == VQC_OK) {
        j->report->after = file_size(j->size.file_size_bytes, j->size.external_size_bytes);
        status = vqc_report_stage(j->report, "write", vqc_report_clock() - start, error);
    }
    return status;
}

static vqc_status compress_and_write(job *j, vqc_error *error)
{
    vqc_report *report;
    vqc_status status = compress_once(j, false, error);

    if (status == VQC_OK && j->report->after.total_bytes >= j->report->before.total_bytes &&
        j->report->opset_after > j->report->opset_before) {
        status = compress_once(j, true, error); /* what the raised opset added was too much */
    }
    if (status != VQC_OK) {
        return status;
    }
    report = j->report;
    /* a pruned model is what was asked for, also where it is not smaller yet */
    if (report->weight_zeros == 0 &&
        ((report->coded_count == 0 && report->folded == 0 && report->removed_channels == 0) ||
         report->after.total_bytes >= report->before.total_bytes)) {
        status = vqc_report_unchanged(report, "the whole file would not be smaller", error);
        report->after = report->before;
    }
    if (status == VQC_OK) {
        status = verify(j, error);
    }
    if (status == VQC_OK) {
        status = vqc_report_check_gates(report, &j->recipe->gates, error);
    }
    if (status == VQC_OK && !j->run.dry_run) {
        report->file_removed = report->miss_count > 0 && j->recipe->gates.remove_file;
        if (!report->file_removed) {
            status = write_output(j, error);
        }
    }
    return status;
}

static size_t peak_memory(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (size_t)usage.ru_maxrss * 1024 : 0;
}

vqc_status vqc_compress_file(const char *input, const char *output, const vqc_recipe *recipe,
                             const vqc_run_options *options, vqc_report **out, vqc_error *error)
{
    job j = {.input = input, .output = output == NULL ? "" : output, .recipe = recipe};
    uint64_t start = vqc_report_clock();
    vqc_status status;

    *out = NULL;
    if (options != NULL) {
        j.run = *options;
    }
    j.cache = j.run.calibration_cache != NULL ? j.run.calibration_cache : recipe->data.cache;
    j.write.overwrite = j.run.overwrite;
    j.write.target = j.output[0] != '\0' ? j.output : NULL;
    status = compress_and_write(&j, error);
    if (status == VQC_OK) {
        j.report->time_ns = vqc_report_clock() - start;
        j.report->peak_memory_bytes = peak_memory();
        if (j.report->miss_count > 0) {
            const vqc_gate_miss *miss = &j.report->misses[0];
            status =
                vqc_fail(error, VQC_ERR_GATE, "%s: gate %s missed%s%s: got %.4g, limit %.4g%s",
                         input, miss->gate, miss->layer[0] != '\0' ? " by " : "", miss->layer,
                         miss->value, miss->limit, j.report->miss_count > 1 ? " (and others)" : "");
        }
        *out = j.report;
        j.report = NULL;
    }
    vqc_compress_samples_close(&j.samples);
    vqc_report_destroy(&j.report);
    vqc_model_destroy(&j.model);
    return status;
}
