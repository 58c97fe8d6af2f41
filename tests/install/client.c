/* What a user of libvqc writes: compresses argv[1] to argv[2] with the default recipe. */
#include <stdio.h>
#include <stdlib.h>
#include <vqc.h>

int main(int argc, char **argv)
{
    vqc_recipe *recipe = NULL;
    vqc_report *report = NULL;
    vqc_error error = {0};
    if (argc != 3)
        return 2;
    vqc_status status = vqc_recipe_load(NULL, NULL, 0, &recipe, NULL, &error);
    if (status == VQC_OK)
        status = vqc_compress_file(argv[1], argv[2], recipe, NULL, &report, &error);
    if (status == VQC_OK) {
        char *json = vqc_report_to_json(report);
        printf("vqc %s: %zu -> %zu bytes, %zu weights coded, JSON %s\n", vqc_version(),
               report->before.total_bytes, report->after.total_bytes, report->coded_count,
               json != NULL && json[0] == '{' ? "ok" : "missing");
        if (json == NULL || report->after.total_bytes >= report->before.total_bytes ||
            report->coded_count == 0)
            status = VQC_ERR_INTERNAL;
        free(json);
    } else {
        fprintf(stderr, "%s\n", error.message);
    }
    vqc_report_destroy(&report);
    vqc_recipe_destroy(&recipe);
    return (int)status;
}
