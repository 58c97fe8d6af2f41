/* Reads a recipe: YAML text and --set overrides in, a validated vqc_recipe out. */
#ifndef VQC_FORMATS_RECIPE_YAML_H
#define VQC_FORMATS_RECIPE_YAML_H

#include <stddef.h>

#include "core/error.h"
#include "core/recipe.h"

/* Reads the recipe file at `path`, or takes the built-in default when path is NULL, and applies
 * `sets` on top of it.
 * path: file name, at most 1 MiB of YAML; NULL = built-in default.
 * sets: [set_count] "key=value" with dotted keys (weights.bits=4); later ones win; NULL when none.
 *   A value that starts with [ { " or ' is YAML, any other is taken as it stands.
 * out: the recipe, to be freed with vqc_recipe_destroy; NULL on error. Its name is the stem of the
 *   file name, "int8" for the default, and after the codec (int4, float16) for the default with
 * sets. problems: every problem is appended, one line each, in file order, then those of `sets`:
 *   "int8.yaml:3:9: weights.bits: got ..., expected ..." or "--set weights.bitz=4: unknown key
 * ...". May be NULL. error: the first problem and how many more there are. Returns VQC_ERR_USAGE
 * for a bad recipe, VQC_ERR_IO when the file cannot be read. */
vqc_status vqc_recipe_load(const char *path, const char *const *sets, size_t set_count,
                           vqc_recipe **out, vqc_messages *problems, vqc_error *error);

/* The same for text in memory.
 * text: [length] bytes, UTF-8 or UTF-16 with or without a byte order mark; need not end in NUL.
 * name: what messages call the text and where recipe->path and ->name come from. */
vqc_status vqc_recipe_parse(const char *text, size_t length, const char *name,
                            const char *const *sets, size_t set_count, vqc_recipe **out,
                            vqc_messages *problems, vqc_error *error);

#endif
