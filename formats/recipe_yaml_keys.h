/* The table of recipe keys: the one place that says which keys there are, what they take and what
 * they mean. The reader, docs/RECIPE.md and configs/recipe.schema.json follow it; a test keeps the
 * latter two true. A new key is one row. */
#ifndef VQC_FORMATS_RECIPE_YAML_KEYS_H
#define VQC_FORMATS_RECIPE_YAML_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

typedef enum vqc_key_type {
    VQC_KEY_BOOL,      /* bool */
    VQC_KEY_INT,       /* int, within min..max or one of `allowed` */
    VQC_KEY_INT64,     /* int64_t, within min..max */
    VQC_KEY_INT_AUTO,  /* int, within min..max, or "auto": 0 */
    VQC_KEY_REAL,      /* double, within min..max */
    VQC_KEY_ENUM,      /* an enum whose constants are the places in `choices` */
    VQC_KEY_ENUM_BOOL, /* bool: false = choices[0], true = choices[1] */
    VQC_KEY_WORD,      /* char[24]: one of `choices`, copied */
    VQC_KEY_STRING,    /* char * */
    VQC_KEY_STRINGS,   /* char ** and, at count_offset, size_t: one string or a list */
    VQC_KEY_SHAPE,     /* int64_t * and, at count_offset, size_t: integers or "*" (-1) */
    VQC_KEY_SIZES,     /* the same without "*" */
    VQC_KEY_GROUP,     /* a mapping with the keys of `group`, at offset */
    VQC_KEY_RULES,     /* vqc_layer_rule * and count: a list of mappings with the keys of `group` */
    VQC_KEY_MATCHES,   /* vqc_match * and count: a list of mappings with the keys of `group` */
    VQC_KEY_IMAGE,     /* one of vqc_image_option_keys of the vqc_image_options at offset */
    VQC_KEY_UNAVAILABLE /* reserved for a later version: only an empty mapping is accepted */
} vqc_key_type;

typedef struct vqc_key_group vqc_key_group;

typedef struct vqc_key_row {
    const char *name;
    vqc_key_type type;
    size_t offset;       /* of the field in the group's struct */
    size_t count_offset; /* STRINGS, SHAPE, SIZES, RULES: of the count */
    double min, max;     /* INT, INT64, REAL, SHAPE, SIZES: inclusive */
    bool min_exclusive;
    const int *allowed;         /* INT: the only values, closed by 0; NULL = min..max */
    const char *const *choices; /* closed by NULL */
    unsigned spec_bit;          /* VQC_SPEC_*, for keys of vqc_weight_spec; else 0 */
    const vqc_key_group *group;
    const char *fallback; /* the default as written in YAML; NULL = unset */
    const char *help;     /* one sentence for the reference and the schema */
} vqc_key_row;

/* Keys of one struct; `parts` take in the keys of further structs that lie inside it. */
struct vqc_key_group {
    const vqc_key_row *rows;
    size_t row_count;
    const struct vqc_key_part {
        const vqc_key_group *group;
        size_t offset;
    } * parts;
    size_t part_count;
};

/* Keys of codec vq in a vqc_weight_spec, and of the mapping vq: (vqc_vq_options). */
extern const vqc_key_group vqc_codebook_keys;
extern const vqc_key_group vqc_vq_keys;

/* Keys under prune (of a vqc_recipe), and those of a rule that prunes otherwise (of a
 * vqc_weight_spec). */
extern const vqc_key_group vqc_prune_keys;
extern const vqc_key_group vqc_sparsity_keys;

/* Keys under gates (of a vqc_gates). */
extern const vqc_key_group vqc_gates_keys;

/* The keys at the top of a recipe. Constant, never NULL. */
const vqc_key_group *vqc_recipe_keys(void);

/* Row `index` of the group with its parts, in the order of documentation, and in *offset the place
 * of the row's struct inside the group's struct. NULL behind the last one. */
const vqc_key_row *vqc_key_group_row(const vqc_key_group *group, size_t index, size_t *offset);

/* The row called `name` ([length] bytes) in the group or its parts, or NULL. */
const vqc_key_row *vqc_key_group_find(const vqc_key_group *group, const char *name, size_t length,
                                      size_t *offset);

/* Appends what a key accepts ("one of 2, 3, 4", "an integer of at least 2") to `text`, a
 * NUL-terminated string of capacity size_bytes, cut off when it does not fit. */
void vqc_key_row_expected(const vqc_key_row *row, char *text, size_t size_bytes);

/* Appends one Markdown table row per key to `rows` ("| `weights.bits` | one of 2, … | `8` | … |"),
 * the table of docs/RECIPE.md. Returns VQC_ERR_INTERNAL when out of memory. */
vqc_status vqc_recipe_describe(vqc_messages *rows);

#endif
