#include "cli/model_data.h"

#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/files.h"
#include "cli/term.h"
#include "cli/text.h"
#include "formats/onnx_file.h"
#include "formats/samples_open.h"

/* Prints the operators that are missing; VQC_ERR_MODEL when there are some. */
static vqc_status check_operators(const char *path, const vqc_graph *graph, vqc_error *error)
{
    vqc_messages missing = {0};
    vqc_status status = vqc_program_missing(graph, &missing, error);
    if (status == VQC_OK && missing.count > 0) {
        vqc_cli_error("%s: cannot be run; vqc lacks %zu of its operators:", path, missing.count);
        for (size_t i = 0; i < missing.count; i++)
            vqc_cli_error("  %s", missing.items[i]);
        error->message[0] = '\0';
        status = VQC_ERR_MODEL;
    }
    vqc_messages_clear(&missing);
    return status;
}

vqc_status vqc_ready_model_open(const char *path, vqc_ready_model *out)
{
    vqc_error error = {VQC_OK, ""};
    memset(out, 0, sizeof *out);
    vqc_status status = vqc_file_check_input(path, &error);
    if (status == VQC_OK)
        status = vqc_onnx_open(path, &out->model, &error);
    if (status == VQC_OK)
        status = vqc_graph_create(out->model, &out->graph, &error);
    if (status == VQC_OK)
        status = check_operators(path, out->graph, &error);
    if (status == VQC_OK)
        status = vqc_program_create(out->graph, NULL, &out->program, &error);
    if (status != VQC_OK && error.message[0] != '\0') {
        bool named = strstr(error.message, path) != NULL;
        vqc_cli_error("%s%s%s", named ? "" : path, named ? "" : ": ", error.message);
    }
    return status;
}

void vqc_ready_model_close(vqc_ready_model *ready)
{
    vqc_program_destroy(&ready->program);
    vqc_graph_destroy(&ready->graph);
    vqc_model_destroy(&ready->model);
}

vqc_status vqc_ready_samples_open(const vqc_ready_model *ready, const vqc_samples_request *request,
                                  vqc_samples **out)
{
    vqc_messages problems = {0};
    vqc_error error = {VQC_OK, ""};
    size_t count = 0;
    const vqc_program_port *inputs = vqc_program_inputs(ready->program, &count);
    vqc_status status = vqc_samples_open(request, inputs, count, out, &problems, &error);
    if (status != VQC_OK) {
        for (size_t i = 0; i < problems.count; i++)
            vqc_cli_error("%s", problems.items[i]);
        if (problems.count == 0)
            vqc_cli_error("%s", error.message);
    } else if ((*out)->is_synthetic) {
        vqc_cli_error("the samples are random numbers: what is measured with them says nothing "
                      "about real data");
    }
    vqc_messages_clear(&problems);
    return status;
}

bool vqc_args_image(const char *command, const char *text, vqc_image_options *options)
{
    vqc_arena *arena = vqc_cli_arena();
    char *copy = vqc_text_printf(arena, "%s", text);
    bool good = true;
    for (char *item = copy; item != NULL && good;) {
        char *comma = strchr(item, ',');
        vqc_error error = {VQC_OK, ""};
        if (comma != NULL)
            *comma = '\0';
        char *equals = strchr(item, '=');
        if (equals == NULL) {
            vqc_args_error(command, "--image: got \"%s\", expected KEY=VALUE", item);
            good = false;
        } else {
            *equals = '\0';
            if (vqc_image_options_set(options, item, equals + 1, &error) != VQC_OK) {
                vqc_args_error(command, "--image: %s", error.message);
                good = false;
            }
        }
        item = comma == NULL ? NULL : comma + 1;
    }
    vqc_arena_destroy(&arena);
    return good;
}
