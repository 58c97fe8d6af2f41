#include "formats/compress_samples.h"

#include <stdio.h>
#include <string.h>

#include "core/graph.h"
#include "formats/samples_open.h"

/* All problems in one message; the first stands in `error` already when there are no others. */
static void join_problems(const vqc_messages *problems, vqc_error *error)
{
    size_t used = 0;

    for (size_t i = 0; error != NULL && i < problems->count && used < sizeof error->message; i++) {
        int n = snprintf(error->message + used, sizeof error->message - used, "%s%s",
                         i > 0 ? "; " : "", problems->items[i]);
        used += n > 0 ? (size_t)n : 0;
    }
}

static vqc_status open_one(const vqc_samples_request *request, const char *path,
                           const vqc_program_port *ports, size_t port_count, vqc_samples **out,
                           vqc_error *error)
{
    vqc_samples_request asked = *request;
    vqc_messages problems = {0};
    vqc_status status;

    asked.path = path;
    status = vqc_samples_open(&asked, ports, port_count, out, &problems, error);
    if (status != VQC_OK && problems.count > 1) {
        join_problems(&problems, error);
    }
    vqc_messages_clear(&problems);
    return status;
}

static bool has_image_options(const vqc_image_options *image)
{
    static const vqc_image_options none;
    return memcmp(image, &none, sizeof none) != 0;
}

vqc_status vqc_compress_samples_open(const vqc_model *model, const vqc_recipe *recipe,
                                     const vqc_run_options *options, vqc_compress_samples *out,
                                     vqc_error *error)
{
    const char *calibration =
        options->calibration_data != NULL ? options->calibration_data : recipe->data.calibrate.path;
    const char *evaluation =
        options->evaluation_data != NULL ? options->evaluation_data : recipe->data.evaluate.path;
    vqc_samples_request evaluate = recipe->data.evaluate;
    vqc_graph *graph = NULL;
    vqc_program_port *ports;
    size_t port_count;
    vqc_status status;

    memset(out, 0, sizeof *out);
    if (calibration == NULL && evaluation == NULL) {
        return VQC_OK;
    }
    if (!has_image_options(&evaluate.image)) {
        evaluate.image = recipe->data.calibrate.image;
        evaluate.image.views = 1;
    }
    if (evaluate.labels == NULL && evaluate.label_offset == 0) {
        evaluate.label_offset = recipe->data.calibrate.label_offset;
    }
    status = vqc_graph_create((vqc_model *)(uintptr_t)model, &graph, error);
    if (status == VQC_OK) {
        status = vqc_graph_ports(graph, graph->arena, &ports, &port_count, error);
    }
    if (status == VQC_OK && calibration != NULL) {
        status = open_one(&recipe->data.calibrate, calibration, ports, port_count,
                          &out->calibration, error);
    }
    if (status == VQC_OK && calibration != NULL) {
        status =
            vqc_samples_keep_finite(&out->calibration, options->threads, &out->left_out, error);
    }
    if (status == VQC_OK && evaluation != NULL) {
        status = open_one(&evaluate, evaluation, ports, port_count, &out->evaluation, error);
    }
    if (status != VQC_OK) {
        vqc_compress_samples_close(out);
    }
    vqc_graph_destroy(&graph);
    return status;
}

void vqc_compress_samples_close(vqc_compress_samples *samples)
{
    vqc_samples_destroy(&samples->calibration);
    vqc_samples_destroy(&samples->evaluation);
}
