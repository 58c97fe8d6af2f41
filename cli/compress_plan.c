/* Which file each model of `vqc compress` is written to, and that none gets in another's way. */
#include <string.h>

#include "cli/compress.h"
#include "cli/files.h"
#include "cli/text.h"
#include "core/error.h"

/* Whether --output names a folder. Errors: VQC_ERR_USAGE when it has to and does not. */
static vqc_status output_is_folder(const vqc_compress_args *args, bool *folder, vqc_error *error)
{
    *folder = false;
    if (args->output == NULL)
        return VQC_OK;
    size_t length = strlen(args->output);
    *folder = args->output[length - 1] == '/' || vqc_file_is_folder(args->output);
    if (!*folder && args->model_count > 1)
        return vqc_fail(error, VQC_ERR_USAGE,
                        "--output %s: %zu models need a folder; write %s/ to have it made",
                        args->output, args->model_count, args->output);
    return VQC_OK;
}

/* Two models of the run against each other. */
static vqc_status check_pair(const vqc_job *a, const vqc_job *b, vqc_error *error)
{
    if (vqc_file_same(a->input, b->input))
        return vqc_fail(error, VQC_ERR_USAGE, "%s and %s are the same model; name it once",
                        a->input, b->input);
    if (vqc_file_same(a->output, b->output))
        return vqc_fail(error, VQC_ERR_USAGE,
                        "%s and %s would both be written to %s; compress them in two runs",
                        a->input, b->input, a->output);
    const vqc_job *from = vqc_file_same(a->output, b->input) ? a : b;
    const vqc_job *to = from == a ? b : a;
    if (vqc_file_same(from->output, to->input))
        return vqc_fail(error, VQC_ERR_USAGE,
                        "%s is a model to read and also the output of %s; leave it out, or use "
                        "--output FOLDER/",
                        to->input, from->input);
    return VQC_OK;
}

/* A calibration cache belongs to one model and must not be one of the other files. */
static vqc_status check_cache(const vqc_compress_args *args, const char *cache, const vqc_job *job,
                              const char *report_path, vqc_error *error)
{
    if (cache == NULL)
        return VQC_OK;
    if (args->model_count > 1)
        return vqc_fail(error, VQC_ERR_USAGE,
                        "%s: a calibration cache belongs to one model, got %zu models; compress "
                        "them one by one, or without it",
                        cache, args->model_count);
    if (vqc_file_same(cache, job->input) || vqc_file_same(cache, job->output) ||
        (report_path != NULL && vqc_file_same(cache, report_path)))
        return vqc_fail(error, VQC_ERR_USAGE,
                        "%s: the calibration cache has the name of the model, its output or the "
                        "report",
                        cache);
    return VQC_OK;
}

vqc_status vqc_compress_plan(vqc_arena *arena, const vqc_compress_args *args,
                             const vqc_recipe *recipe, const char *report_path, vqc_job *jobs,
                             vqc_error *error)
{
    bool folder;
    vqc_status status = output_is_folder(args, &folder, error);
    if (status != VQC_OK)
        return status;
    for (size_t i = 0; i < args->model_count; i++) {
        const char *model = args->models[i];
        char *name = vqc_file_output_name(arena, model, recipe->name);
        jobs[i].input = model;
        if (folder) {
            bool slash = args->output[strlen(args->output) - 1] == '/';
            jobs[i].output = vqc_text_printf(arena, "%s%s%s", args->output, slash ? "" : "/", name);
        } else if (args->output != NULL) {
            jobs[i].output = args->output;
        } else {
            jobs[i].output = vqc_text_printf(arena, "%s%s", vqc_file_folder(arena, model), name);
        }
    }
    for (size_t i = 0; i < args->model_count; i++) {
        for (size_t j = 0; j < i; j++)
            if ((status = check_pair(&jobs[j], &jobs[i], error)) != VQC_OK)
                return status;
        if (report_path != NULL && (vqc_file_same(report_path, jobs[i].input) ||
                                    vqc_file_same(report_path, jobs[i].output)))
            return vqc_fail(error, VQC_ERR_USAGE, "%s: the report would replace a model",
                            report_path);
    }
    status = check_cache(args, args->cache != NULL ? args->cache : recipe->data.cache, &jobs[0],
                         report_path, error);
    if (status != VQC_OK)
        return status;
    if (report_path != NULL && args->config != NULL && vqc_file_same(report_path, args->config))
        return vqc_fail(error, VQC_ERR_USAGE, "%s: the report would replace the recipe",
                        report_path);
    if (folder && !args->dry_run && (status = vqc_file_make_folder(args->output, error)) != VQC_OK)
        return status;
    if (report_path != NULL && !vqc_file_exists(report_path))
        return vqc_file_check_output(report_path, error);
    return VQC_OK;
}
