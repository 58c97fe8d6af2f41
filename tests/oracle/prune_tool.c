/*
 * Removes channels from a model, for test_prune_channels.py.
 *
 *     prune_tool INPUT OUTPUT [ZEROED] [--sparsity S] [--multiple M] [--min N] [--global]
 *                [--exclude GLOB] [--target DB] [--samples PATH] [--score NAME] [--plain] [--fold]
 *
 * ZEROED gets the model with zeros in the weights that read the removed channels instead (by
 * magnitude; without samples). Prints the notes of the report. The exit code is the vqc_status.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fold/fold.h"
#include "core/prune/channels.h"
#include "core/prune/channels_set.h"
#include "core/report.h"
#include "formats/onnx_file.h"
#include "formats/samples_open.h"
#include "tests/unit/channels_zeroed.h"

static vqc_status save(vqc_model *model, const char *path, vqc_error *error)
{
    vqc_onnx_write_options options = {.target = path};
    vqc_onnx_written written;

    return vqc_onnx_save(model, path, &options, &written, error);
}

/* The zeroed twin: the same choice, made again. */
static vqc_status write_zeroed(vqc_model *model, const vqc_channel_options *options,
                               const char *path, vqc_error *error)
{
    vqc_graph *graph = NULL;
    vqc_trace *trace = NULL;
    vqc_channel_set *set = NULL;
    vqc_model copy;
    bool *removed = NULL;
    vqc_status status = vqc_graph_create(model, &graph, error);

    if (status == VQC_OK) {
        status =
            vqc_trace_create(graph, NULL, options->exclude, options->exclude_count, &trace, error);
    }
    if (status == VQC_OK) {
        status = vqc_channel_set_create(trace, &set, error);
    }
    if (status == VQC_OK) {
        status = vqc_channel_score_magnitude(set, error);
    }
    if (status == VQC_OK) {
        removed = calloc(trace->atom_count + 1, 1);
        vqc_channel_set_select(set, options, options->sparsity, removed);
    }
    if (status == VQC_OK) {
        status = vqc_channels_copy(model, model->arena, &copy, error);
    }
    if (status == VQC_OK && channels_zero(trace, removed, &copy)) {
        copy.release = model->release;
        copy.release_context = model->release_context;
        status = save(&copy, path, error);
    }
    free(removed);
    vqc_channel_set_destroy(&set);
    vqc_trace_destroy(&trace);
    vqc_graph_destroy(&graph);
    return status;
}

static vqc_status open_samples(vqc_model *model, const char *path, vqc_samples **samples,
                               vqc_error *error)
{
    vqc_samples_request request = {.path = path};
    vqc_program_port *ports;
    vqc_graph *graph = NULL;
    size_t count;
    vqc_status status = vqc_graph_create(model, &graph, error);

    if (status == VQC_OK) {
        status = vqc_graph_ports(graph, model->arena, &ports, &count, error);
    }
    if (status == VQC_OK) {
        status = vqc_samples_open(&request, ports, count, samples, NULL, error);
    }
    vqc_graph_destroy(&graph);
    return status;
}

int main(int argc, char **argv)
{
    static const char *const scores[] = {"auto", "magnitude", "activation", "second-order"};
    const char *paths[3] = {NULL, NULL, NULL};
    const char *exclude[8];
    const char *samples_path = NULL;
    size_t path_count = 0;
    bool fold = false;
    vqc_channel_options options = {.sparsity = 0.25, .target_sqnr_db = (double)NAN};
    vqc_model *model = NULL;
    vqc_report *report = NULL;
    vqc_error error = {0};
    vqc_fold_counts counts;
    vqc_status status;

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        bool takes = true;
        if (strcmp(argv[i], "--sparsity") == 0) {
            options.sparsity = atof(value);
        } else if (strcmp(argv[i], "--target") == 0) {
            options.target_sqnr_db = atof(value);
        } else if (strcmp(argv[i], "--multiple") == 0) {
            options.multiple_of = (size_t)atoi(value);
        } else if (strcmp(argv[i], "--min") == 0) {
            options.min_channels = (size_t)atoi(value);
        } else if (strcmp(argv[i], "--samples") == 0) {
            samples_path = value;
        } else if (strcmp(argv[i], "--exclude") == 0 && options.exclude_count < 8) {
            exclude[options.exclude_count++] = value;
            options.exclude = exclude;
        } else if (strcmp(argv[i], "--score") == 0) {
            for (size_t k = 0; k < 4; k++) {
                options.score =
                    strcmp(value, scores[k]) == 0 ? (vqc_channel_score)k : options.score;
            }
        } else {
            takes = false;
            if (strcmp(argv[i], "--global") == 0) {
                options.scope = VQC_CHANNELS_GLOBAL;
            } else if (strcmp(argv[i], "--plain") == 0) {
                options.no_compensation = true;
            } else if (strcmp(argv[i], "--fold") == 0) {
                fold = true;
            } else if (path_count < 3) {
                paths[path_count++] = argv[i];
            }
        }
        i += takes ? 1 : 0;
    }
    if (path_count < 2) {
        fprintf(stderr, "usage: prune_tool INPUT OUTPUT [ZEROED] [options]\n");
        return VQC_ERR_USAGE;
    }
    status = vqc_onnx_open(paths[0], &model, &error);
    if (status == VQC_OK) {
        status = vqc_report_create(&report, &error);
    }
    if (status == VQC_OK && fold) {
        status = vqc_fold_model(model, &counts, &error);
    }
    if (status == VQC_OK && paths[2] != NULL) {
        status = write_zeroed(model, &options, paths[2], &error);
    }
    if (status == VQC_OK && samples_path != NULL) {
        status = open_samples(model, samples_path, &options.samples, &error);
    }
    if (status == VQC_OK) {
        status = vqc_prune_channels(model, &options, report, &error);
    }
    for (size_t i = 0; status == VQC_OK && i < report->note_count; i++) {
        printf("%s\n", report->notes[i]);
    }
    if (status == VQC_OK) {
        status = save(model, paths[1], &error);
    }
    if (status != VQC_OK) {
        fprintf(stderr, "%s\n", error.message);
    }
    vqc_samples_destroy(&options.samples);
    vqc_report_destroy(&report);
    vqc_model_destroy(&model);
    return (int)status;
}
