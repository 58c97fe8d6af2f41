/* vqc compress */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/compress.h"
#include "cli/files.h"
#include "cli/show.h"
#include "cli/term.h"
#include "cli/text.h"
#include "core/cpu.h"
#include "core/error.h"

enum { MISSES_SHOWN = 10 };

/* Loads the recipe and prints what is wrong with it, one line each. */
static vqc_status load_recipe(const vqc_compress_args *args, vqc_recipe **recipe)
{
    vqc_messages problems = {0};
    vqc_error error = {0};
    vqc_status status =
        vqc_recipe_load(args->config, args->sets, args->set_count, recipe, &problems, &error);
    if (status != VQC_OK) {
        for (size_t i = 0; i < problems.count; i++)
            vqc_cli_error("%s", problems.items[i]);
        if (problems.count == 0)
            vqc_cli_error("%s", error.message);
    }
    vqc_messages_clear(&problems);
    return status;
}

static size_t count_gates(const vqc_gates *gates)
{
    return (size_t)!isnan(gates->max_size_ratio) + (size_t)!isnan(gates->min_weight_sqnr_db) +
           (size_t)!isnan(gates->layer_max_size_ratio) +
           (size_t)!isnan(gates->layer_min_weight_sqnr_db) +
           (size_t)!isnan(gates->min_output_sqnr_db) + (size_t)!isnan(gates->min_cosine) +
           (size_t)!isnan(gates->min_top1_agreement) + (size_t)!isnan(gates->max_accuracy_drop) +
           (size_t)!isnan(gates->min_accuracy);
}

/* What can be known to go wrong before a model is read. */
static vqc_status check_job(const vqc_job *job, const vqc_compress_args *args, vqc_error *error)
{
    vqc_status status = vqc_file_check_input(job->input, error);
    if (status != VQC_OK || args->dry_run)
        return status;
    if (vqc_file_same(job->input, job->output))
        return args->force ? VQC_OK
                           : vqc_fail(error, VQC_ERR_USAGE,
                                      "%s: the output would replace the model itself; use --force "
                                      "to do that",
                                      job->output);
    status = vqc_file_check_output(job->output, error);
    if (status == VQC_OK && !args->force && vqc_file_exists(job->output))
        status = vqc_fail(error, VQC_ERR_USAGE,
                          "%s: exists already; use --force to replace it or --output to write "
                          "elsewhere",
                          job->output);
    return status;
}

/* One line for each gate that was missed. */
static void print_misses(const vqc_job *job, const vqc_report *report, bool all)
{
    for (size_t i = 0; i < report->miss_count; i++) {
        const vqc_gate_miss *miss = &report->misses[i];
        if (i == MISSES_SHOWN && !all) {
            vqc_cli_error("%s: %zu more gates missed (-v shows all)", job->input,
                          report->miss_count - i);
            break;
        }
        const char *wanted = strstr(miss->gate, "min_") != NULL ? "at least" : "at most";
        vqc_cli_error("%s: %s%sgate %s missed: got %.4g, expected %s %.4g", job->input, miss->layer,
                      *miss->layer != '\0' ? ": " : "", miss->gate, miss->value, wanted,
                      miss->limit);
    }
}

/* Notes the numbers of a report that outlive it. */
static void keep_numbers(vqc_job *job, const vqc_report *report)
{
    job->done = true;
    job->unchanged = report->unchanged;
    /* An unchanged model's report has a note that says so: the summary says it already. */
    job->note_count = report->note_count - (report->unchanged && report->note_count > 0);
    job->before_bytes = report->before.total_bytes;
    job->after_bytes = report->after.total_bytes;
    job->weight_bytes = report->weight_after_bytes;
    job->weight_elements = report->weight_elements;
    job->measured = report->metrics.count > 0;
    job->sqnr_db = report->metrics.sqnr_db;
    job->sum_ref2 = report->metrics.sum_ref2;
    job->sum_err2 = report->metrics.sum_err2;
    job->time_ns = report->time_ns;
}

/* The JSON object of a job, without a newline at its end. */
static char *job_json(vqc_arena *arena, const vqc_job *job, const vqc_report *report)
{
    if (report == NULL)
        return vqc_text_printf(arena,
                               "{\"format\": 1, \"kind\": \"compress\", \"input\": %s, \"error\": "
                               "%s, \"exit_code\": %d}",
                               vqc_text_json(arena, job->input), vqc_text_json(arena, job->message),
                               (int)job->status);
    char *text = vqc_cli_check(vqc_report_to_json(report));
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == '\n')
        length--;
    char *copy = vqc_cli_check(vqc_arena_strndup(arena, text, length));
    free(text);
    return copy;
}

/* What all jobs of a run share. */
typedef struct batch {
    vqc_arena *arena;
    const vqc_compress_args *args;
    const vqc_recipe *recipe;
    const char *report_path; /* NULL: no report file */
    vqc_show_options show;
} batch;

static void run_job(const batch *run, vqc_job *job, size_t index)
{
    const vqc_compress_args *args = run->args;
    vqc_report *report = NULL;
    vqc_error error = {0};
    char *label = vqc_text_clean(run->arena, job->input);
    if (args->model_count > 1)
        label = vqc_text_printf(run->arena, "[%zu/%zu] %s", index + 1, args->model_count, label);
    vqc_progress progress;
    vqc_progress_start(&progress, label, args->quiet);
    vqc_run_options options = {
        .threads = args->threads,
        .calibration_data = args->calib,
        .evaluation_data = args->eval,
        .calibration_cache = args->cache,
        .dry_run = args->dry_run,
        .overwrite = args->force,
        .progress = vqc_progress_update,
        .progress_context = &progress,
    };
    job->status = check_job(job, args, &error);
    if (job->status == VQC_OK)
        job->status =
            vqc_compress_file(job->input, job->output, run->recipe, &options, &report, &error);
    vqc_progress_finish(&progress);
    bool useful = report != NULL && (job->status == VQC_OK || job->status == VQC_ERR_GATE);
    if (job->status != VQC_OK) {
        bool named =
            strstr(error.message, job->input) != NULL || strstr(error.message, job->output) != NULL;
        job->message = vqc_text_printf(run->arena, "%s%s%s", named ? "" : job->input,
                                       named ? "" : ": ", error.message);
    }
    if (useful && report->miss_count > 0)
        print_misses(job, report, args->verbose);
    else if (job->status != VQC_OK)
        vqc_cli_error("%s", job->message);
    if (useful)
        keep_numbers(job, report);
    if (args->json || run->report_path != NULL)
        job->json = job_json(run->arena, job, useful ? report : NULL);
    if (useful && !args->quiet && !args->json && (args->model_count == 1 || args->verbose)) {
        vqc_show_report(stdout, report, count_gates(&run->recipe->gates), &run->show);
        if (args->model_count > 1)
            fputc('\n', stdout);
    }
    vqc_report_destroy(&report);
}

/* The exit code of a run: that of the first model that failed; a missed gate counts only when none
 * did. */
static int overall_code(const vqc_job *jobs, size_t count)
{
    int code = VQC_OK;
    for (size_t i = 0; i < count; i++)
        if (jobs[i].status != VQC_OK && (code == VQC_OK || code == VQC_ERR_GATE))
            code = jobs[i].status != VQC_ERR_GATE || code == VQC_OK ? (int)jobs[i].status : code;
    return code;
}

/* Runs all jobs and prints and writes their results; returns the exit code. */
static int run_all(const batch *run, vqc_job *jobs)
{
    const vqc_compress_args *args = run->args;
    for (size_t i = 0; i < args->model_count; i++)
        run_job(run, &jobs[i], i);
    int code = overall_code(jobs, args->model_count);
    if (args->model_count > 1 && !args->quiet && !args->json)
        vqc_compress_show_summary(jobs, args->model_count, args->dry_run);
    if (!args->json && run->report_path == NULL)
        return code;
    char *json = vqc_compress_json(run->arena, jobs, args->model_count, code);
    if (args->json)
        fputs(json, stdout);
    vqc_error error = {0};
    if (run->report_path != NULL && vqc_file_write(run->report_path, json, &error) != VQC_OK) {
        vqc_cli_error("%s", error.message);
        if (code == VQC_OK || code == VQC_ERR_GATE)
            code = (int)error.code;
    }
    return code;
}

int vqc_cmd_compress(int argc, char **argv)
{
    vqc_arena *arena = vqc_cli_arena();
    vqc_recipe *recipe = NULL;
    vqc_compress_args args;
    vqc_error error = {0};
    int code = VQC_OK;
    if (!vqc_compress_parse(argc, argv, arena, &args, &code))
        goto done;
    if (args.cpu != NULL && (code = (int)vqc_cpu_select(args.cpu, &error)) != VQC_OK) {
        vqc_cli_error("compress: %s", error.message);
        goto done;
    }
    if ((code = (int)load_recipe(&args, &recipe)) != VQC_OK)
        goto done;
    batch run = {
        .arena = arena,
        .args = &args,
        .recipe = recipe,
        .report_path = args.report != NULL ? args.report
                       : args.dry_run      ? NULL /* writes only what the command line names */
                                           : recipe->report.file,
        .show = {.term = vqc_term_stdout(),
                 .sort = recipe->report.sort,
                 .top = (size_t)recipe->report.top,
                 .all = args.verbose,
                 .set_count = args.set_count},
    };
    vqc_job *jobs = vqc_cli_check(vqc_arena_calloc(arena, args.model_count, sizeof *jobs));
    code = (int)vqc_compress_plan(arena, &args, recipe, run.report_path, jobs, &error);
    if (code != VQC_OK)
        vqc_cli_error("%s", error.message);
    else
        code = run_all(&run, jobs);
done:
    vqc_recipe_destroy(&recipe);
    vqc_arena_destroy(&arena);
    return code;
}
