/* YAML text to a tree of nodes that know where they come from, and the list of problems that point
 * at such nodes. Shared by the formats/recipe_yaml*.c files only. */
#ifndef VQC_FORMATS_RECIPE_YAML_TREE_H
#define VQC_FORMATS_RECIPE_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/memory.h"

/* Bounds on what a recipe may be; far above any real one, far below what takes a second to read. */
enum {
    VQC_YAML_MAX_BYTES = 1 << 20,
    VQC_YAML_MAX_NODES = 100000,
    VQC_YAML_MAX_DEPTH = 16,
    VQC_YAML_MAX_KEYS = 128,
    VQC_YAML_MAX_ANCHORS = 256,
    VQC_YAML_MAX_PROBLEMS = 100
};

typedef enum vqc_yaml_kind { VQC_YAML_SCALAR, VQC_YAML_LIST, VQC_YAML_MAP } vqc_yaml_kind;

/* A place in the recipe: line and column of the file (1-based), or one --set argument. */
typedef struct vqc_yaml_place {
    size_t set; /* 0 = the file, n = the n-th --set */
    size_t line;
    size_t column;
} vqc_yaml_place;

typedef struct vqc_yaml_node {
    vqc_yaml_kind kind;
    vqc_yaml_place place;
    bool plain;                  /* SCALAR: written without quotes */
    const char *text;            /* SCALAR: [length] bytes of UTF-8 and a NUL */
    size_t length;               /* SCALAR: bytes; LIST: items; MAP: pairs */
    struct vqc_yaml_node **keys; /* MAP: [length], scalars */
    struct vqc_yaml_node *
        *items; /* LIST, MAP: [length]; one node may have several parents (aliases) */
} vqc_yaml_node;

typedef struct vqc_yaml_problem {
    vqc_yaml_place place;
    size_t order; /* keeps the order of finding among equals */
    char *text;
} vqc_yaml_problem;

/* What one reading of a recipe works on. */
typedef struct vqc_yaml_context {
    vqc_arena *arena; /* nodes and problems; dies with the reading */
    const char *name; /* of the file, for messages */
    const char *const *sets;
    vqc_yaml_problem problems[VQC_YAML_MAX_PROBLEMS];
    size_t problem_count; /* all that were found, also those that did not fit */
    size_t node_count;
    size_t visits; /* nodes looked at while reading, an alias each time; same bound as nodes */
    bool out_of_memory;
} vqc_yaml_context;

/* Notes one problem at `place`. Out of memory sets context->out_of_memory. */
void vqc_yaml_problem_add(vqc_yaml_context *context, vqc_yaml_place place, const char *format, ...)
    VQC_PRINTF(3, 4);

/* Reads `text` ([length] bytes) as one YAML document. set: 0, or which --set the text comes from.
 * Returns the root, NULL after a problem (noted in the context) and for a document without content.
 */
vqc_yaml_node *vqc_yaml_tree_parse(vqc_yaml_context *context, const char *text, size_t length,
                                   size_t set);

/* New node without content; NULL when out of memory or over VQC_YAML_MAX_NODES (noted). */
vqc_yaml_node *vqc_yaml_node_create(vqc_yaml_context *context, vqc_yaml_kind kind,
                                    vqc_yaml_place place);

/* Appends an item, or for a map a key and its value. false when out of memory. */
bool vqc_yaml_node_append(vqc_yaml_context *context, vqc_yaml_node *parent, vqc_yaml_node *key,
                          vqc_yaml_node *item);

/* Place of `name` among the keys of a map, or map->length. */
size_t vqc_yaml_map_find(const vqc_yaml_node *map, const char *name, size_t length);

/* The value of `name` in `map`, or NULL; `map` may be NULL or not a map. */
const vqc_yaml_node *vqc_yaml_map_get(const vqc_yaml_node *map, const char *name);

/* Whether the node is nothing: an empty plain scalar, ~ or null. */
bool vqc_yaml_node_is_null(const vqc_yaml_node *node);

/* The node as messages show it: `"text"` (cut, control characters escaped), a list, a mapping,
 * nothing. Writes to text[size_bytes] and returns it. */
const char *vqc_yaml_node_show(const vqc_yaml_node *node, char *text, size_t size_bytes);

/* Copies [length] bytes for a message: at most `limit` of them, control characters and what is not
 * UTF-8 as \xNN. Returns out. */
const char *vqc_yaml_text_show(const char *text, size_t length, size_t limit, char *out,
                               size_t size_bytes);

#endif
