#include "tests/unit/recipe_problems.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "formats/recipe_yaml.h"

void recipe_problems_expect(const char *text, const char *const *sets, size_t set_count,
                            const char *want)
{
    vqc_recipe *recipe = NULL;
    vqc_messages problems = {0};
    vqc_error error = {.message = ""};
    vqc_status status =
        vqc_recipe_parse(text, strlen(text), "t.yaml", sets, set_count, &recipe, &problems, &error);
    size_t size = 1;
    char *got;

    for (size_t i = 0; i < problems.count; i++) {
        size += strlen(problems.items[i]) + 1;
    }
    got = calloc(size, 1);
    cr_assert_not_null(got);
    for (size_t i = 0; i < problems.count; i++) {
        strcat(got, problems.items[i]);
        strcat(got, i + 1 < problems.count ? "\n" : "");
    }
    cr_assert_str_eq(got, want, "recipe:\n%s\ngot:\n%s\nexpected:\n%s", text, got, want);
    if (*want == '\0') {
        cr_assert_eq(status, VQC_OK, "%s", error.message);
        cr_assert_not_null(recipe);
    } else {
        cr_assert_eq(status, VQC_ERR_USAGE);
        cr_assert_eq(error.code, VQC_ERR_USAGE);
        cr_assert_null(recipe);
        cr_assert_eq(strncmp(error.message, problems.items[0], strlen(problems.items[0])), 0);
    }
    free(got);
    vqc_messages_clear(&problems);
    vqc_recipe_destroy(&recipe);
}
