/* Tree of nodes to recipe fields, by the table of keys; then the rules between keys. Shared by the
 * formats/recipe_yaml*.c files only. */
#ifndef VQC_FORMATS_RECIPE_YAML_READ_H
#define VQC_FORMATS_RECIPE_YAML_READ_H

#include "core/recipe.h"
#include "formats/recipe_yaml_keys.h"
#include "formats/recipe_yaml_tree.h"

/* Fills `recipe` (holding the defaults) from the map `root`; notes every problem in the context. */
void vqc_recipe_read(vqc_yaml_context *context, const vqc_yaml_node *root, vqc_recipe *recipe);

/* Notes keys that contradict each other or have no effect. To be called after vqc_recipe_read with
 * the same arguments. Keys that could not be read count as unknown and raise nothing further. */
void vqc_recipe_check(vqc_yaml_context *context, const vqc_yaml_node *root,
                      const vqc_recipe *recipe);

/* The candidate that `written` ([length] bytes) most likely meant, or NULL: by edit distance with
 * swaps, ignoring case and - against _; else one that is contained in it or contains it. */
const char *vqc_recipe_nearest(const char *written, size_t length, const char *const *candidates,
                               size_t count);

#endif
