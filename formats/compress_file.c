/* One model file through the compressor: read, compress, gate, write. */
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "core/error.h"
#include "core/pipeline.h"
#include "core/report.h"
#include "core/static/static_run.h"
#include "core/verify.h"
#include "formats/compress_samples.h"
#include "formats/onnx_file.h"

typedef struct job {
    const char *input;
    const char *output;
    const vqc_recipe *recipe;
    vqc_run_options run;
    vqc_report *report;
    vqc_model *model;
    vqc_compress_samples samples;
    bool samples_open;
    vqc_onnx_write_options write;
    vqc_onnx_written size; /* of the output */
} job;

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

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

/* Opens and compresses; fills j->report and j->size. */
static vqc_status compress_once(job *j, bool keep_opset, vqc_error *error)
{
    vqc_pipeline_options options = {.run = &j->run, .keep_opset = keep_opset};
    uint64_t start = now_ns();
    uint64_t opened;
    vqc_status status;

    vqc_report_destroy(&j->report);
    vqc_model_destroy(&j->model);
    progress(j, "read");
    status = vqc_onnx_open(j->input, &j->model, error);
    opened = now_ns();
    if (status == VQC_OK) {
        status = start_report(j, error);
    }
    if (status == VQC_OK) {
        status = vqc_report_stage(j->report, "read", opened - start, error);
    }
    if (status == VQC_OK && !j->samples_open) {
        status = vqc_compress_samples_open(j->model, j->recipe, &j->run, &j->samples, error);
        j->samples_open = status == VQC_OK;
    }
    options.samples = j->samples.calibration;
    if (status == VQC_OK) {
        status = vqc_pipeline_run(j->model, j->recipe, &options, j->report, error);
    }
    if (status == VQC_OK) {
        status = vqc_report_stage(j->report, "encode", now_ns() - opened, error);
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
    uint64_t start = now_ns();
    vqc_samples *samples = j->samples.evaluation;
    vqc_samples *subset = NULL;
    vqc_model *original = NULL;
    vqc_status status = VQC_OK;

    if (j->run.dry_run || j->report->unchanged) {
        return VQC_OK;
    }
    if (samples == NULL && j->samples.calibration != NULL) {
        options.held_out = true;
        status = vqc_static_held_out(j->samples.calibration, &subset, error);
        samples = subset;
    }
    if (status == VQC_OK && samples == NULL) {
        return vqc_gates_need_outputs(&j->recipe->gates)
                   ? vqc_fail(error, VQC_ERR_USAGE,
                              "%s: its gates need the model to be run: got no samples, expected "
                              "--eval PATH or evaluate.data in the recipe",
                              j->recipe->path)
                   : VQC_OK;
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
        status = vqc_report_stage(j->report, "verify", now_ns() - start, error);
    }
    vqc_samples_destroy(&subset);
    vqc_model_destroy(&original);
    return status;
}

/* Writes what was made, or a copy of the input when nothing was gained. */
static vqc_status write_output(job *j, vqc_error *error)
{
    uint64_t start = now_ns();
    vqc_status status;

    progress(j, "write");
    status = j->report->unchanged ? vqc_onnx_copy(j->model, j->output, &j->write, &j->size, error)
                                  : vqc_onnx_save(j->model, j->output, &j->write, &j->size, error);
    if (status == VQC_OK) {
        j->report->after = file_size(j->size.file_size_bytes, j->size.external_size_bytes);
        status = vqc_report_stage(j->report, "write", now_ns() - start, error);
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
    if ((report->coded_count == 0 && report->folded == 0) ||
        report->after.total_bytes >= report->before.total_bytes) {
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
    uint64_t start = now_ns();
    vqc_status status;

    *out = NULL;
    if (options != NULL) {
        j.run = *options;
    }
    j.write.overwrite = j.run.overwrite;
    j.write.target = j.output[0] != '\0' ? j.output : NULL;
    status = compress_and_write(&j, error);
    if (status == VQC_OK) {
        j.report->time_ns = now_ns() - start;
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
