/* Prints the inspection of a model as JSON, for test_inspect.py: inspect_tool MODEL [REFERENCE] */
#include <stdio.h>
#include <stdlib.h>

#include "core/vqc.h"

int main(int argc, char **argv)
{
    vqc_inspection *inspection = NULL;
    vqc_error error = {0};
    vqc_status status;
    char *json;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: inspect_tool MODEL [REFERENCE]\n");
        return VQC_ERR_USAGE;
    }
    status = vqc_inspect_file(argv[1], argc == 3 ? argv[2] : NULL, &inspection, &error);
    if (status != VQC_OK) {
        fprintf(stderr, "%s\n", error.message);
        return (int)status;
    }
    json = vqc_inspection_to_json(inspection);
    if (json == NULL) {
        fprintf(stderr, "out of memory\n");
        status = VQC_ERR_INTERNAL;
    } else {
        fputs(json, stdout);
    }
    free(json);
    vqc_inspection_destroy(&inspection);
    return (int)status;
}
