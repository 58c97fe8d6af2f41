/*
 * Opens a model and writes it again through formats/, for test_roundtrip.py.
 *
 *     roundtrip_tool MODE INPUT OUTPUT
 *
 * MODE: save, external (force external data), limit=BYTES (external data above that size), copy,
 * measure. `measure` writes nothing; all print "file_bytes external_bytes". The exit code is the
 * vqc_status.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/onnx_file.h"

int main(int argc, char **argv)
{
    vqc_onnx_write_options options = {0};
    vqc_onnx_written written = {0};
    vqc_model *model = NULL;
    vqc_error error = {0};
    vqc_status status;

    if (argc != 4) {
        fprintf(stderr, "usage: roundtrip_tool save|external|limit=N|copy|measure INPUT OUTPUT\n");
        return VQC_ERR_USAGE;
    }
    options.target = argv[3];
    options.force_external = strcmp(argv[1], "external") == 0;
    if (strncmp(argv[1], "limit=", 6) == 0) {
        options.external_limit = strtoul(argv[1] + 6, NULL, 10);
    }
    status = vqc_onnx_open(argv[2], &model, &error);
    if (status == VQC_OK) {
        if (strcmp(argv[1], "measure") == 0) {
            status = vqc_onnx_measure(model, &options, &written, &error);
        } else if (strcmp(argv[1], "copy") == 0) {
            status = vqc_onnx_copy(model, argv[3], &options, &written, &error);
        } else {
            status = vqc_onnx_save(model, argv[3], &options, &written, &error);
        }
    }
    vqc_model_destroy(&model);
    if (status != VQC_OK) {
        fprintf(stderr, "%s\n", error.message);
    } else {
        printf("%zu %zu\n", written.file_size_bytes, written.external_size_bytes);
    }
    return (int)status;
}
