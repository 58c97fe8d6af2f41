/*
 * Evaluates the outputs of models that have no inputs, for test_exec.py.
 *
 *     exec_tool MODEL...
 *
 * Output i of MODEL goes to MODEL.i.raw, one element after the other as core/exec keeps them. For
 * each one line is printed: "ok MODEL i DTYPE RANK DIM..." or "error MODEL i MESSAGE".
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/exec/exec.h"
#include "formats/onnx_file.h"

static int write_output(const char *path, size_t index, const vqc_buffer *buffer)
{
    char name[4096];
    FILE *file;
    size_t size = buffer->elements * buffer->width;

    (void)snprintf(name, sizeof name, "%s.%zu.raw", path, index);
    file = fopen(name, "wb");
    if (file == NULL || (size > 0 && fwrite(buffer->data, 1, size, file) != size) ||
        fclose(file) != 0) {
        fprintf(stderr, "%s: cannot be written\n", name);
        return 1;
    }
    printf("ok %s %zu %" PRId32 " %zu", path, index, buffer->dtype, buffer->rank);
    for (size_t i = 0; i < buffer->rank; i++) {
        printf(" %" PRId64, buffer->dims[i]);
    }
    printf("\n");
    return 0;
}

static int run_model(const char *path)
{
    vqc_model *model = NULL;
    vqc_graph *graph = NULL;
    vqc_error error = {0};
    int failed = 0;

    if (vqc_onnx_open(path, &model, &error) != VQC_OK ||
        vqc_graph_create(model, &graph, &error) != VQC_OK) {
        printf("error %s 0 %s\n", path, error.message);
    }
    for (size_t i = 0; graph != NULL && i < model->proto->graph->n_output; i++) {
        const char *name = model->proto->graph->output[i]->name;
        const vqc_value *value =
            name == NULL ? NULL : vqc_scope_define(graph, graph->scopes[0], name);
        vqc_buffer *buffer = NULL;

        if (value == NULL) {
            printf("error %s %zu no value %s\n", path, i, name == NULL ? "" : name);
        } else if (vqc_exec_constant(graph, value, NULL, &buffer, &error) != VQC_OK) {
            printf("error %s %zu %s\n", path, i, error.message);
        } else {
            failed |= write_output(path, i, buffer);
        }
        vqc_buffer_destroy(&buffer);
    }
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        failed |= run_model(argv[i]);
    }
    return failed;
}
