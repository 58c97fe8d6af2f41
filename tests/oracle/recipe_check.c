/* Reads recipes with vqc's reader, for tests/oracle/test_schema.py: recipe_check FILE... prints for
 * each file "FILE N" and its N problems, each on a line of its own. Exit code 1 when a file could
 * not be read. */
#include <stdio.h>

#include "formats/recipe_yaml.h"

int main(int argc, char **argv)
{
    int exit_code = 0;

    for (int i = 1; i < argc; i++) {
        vqc_recipe *recipe;
        vqc_messages problems = {0};
        vqc_error error;
        vqc_status status = vqc_recipe_load(argv[i], NULL, 0, &recipe, &problems, &error);
        if (status != VQC_OK && status != VQC_ERR_USAGE) {
            (void)fprintf(stderr, "%s\n", error.message);
            exit_code = 1;
        }
        (void)printf("%s %zu\n", argv[i], problems.count);
        for (size_t p = 0; p < problems.count; p++) {
            (void)printf("%s\n", problems.items[p]);
        }
        vqc_messages_clear(&problems);
        vqc_recipe_destroy(&recipe);
    }
    return exit_code;
}
