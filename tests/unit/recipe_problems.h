/* What reading a recipe complains about. */
#ifndef VQC_TESTS_UNIT_RECIPE_PROBLEMS_H
#define VQC_TESTS_UNIT_RECIPE_PROBLEMS_H

#include <stddef.h>

/* Parses `text` as t.yaml with sets [set_count] and asserts that the problems, one per line, are
 * `want` ("": the recipe is good). */
void recipe_problems_expect(const char *text, const char *const *sets, size_t set_count,
                            const char *want);

#endif
