#include "formats/recipe_yaml_read.h"

#include <assert.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CANDIDATES = 32, MAX_STRING_BYTES = 1024, SHOW_BYTES = 96, PATH_BYTES = 128 };

/* Where a group is read into. */
typedef struct target {
    vqc_yaml_context *context;
    vqc_recipe *recipe; /* owner of what is copied */
    char *base;         /* the group's struct */
    const char *path;   /* "weights." before the key, "" at the top */
} target;

static void read_group(const target *to, const vqc_key_group *group, const vqc_yaml_node *map);

/* "path: got X, expected Y" with an optional "; hint". */
static void note_mismatch(const target *to, const vqc_key_row *row, const vqc_yaml_node *node,
                          const char *hint)
{
    char expected[256] = "";
    char shown[SHOW_BYTES];
    bool quoted_number = (row->type == VQC_KEY_INT || row->type == VQC_KEY_INT64 ||
                          row->type == VQC_KEY_REAL || row->type == VQC_KEY_BOOL) &&
                         node->kind == VQC_YAML_SCALAR && !node->plain;

    vqc_key_row_expected(row, expected, sizeof expected);
    (void)vqc_yaml_node_show(node, shown, sizeof shown);
    vqc_yaml_problem_add(to->context, node->place, "%s%s: got %s%s, expected %s%s", to->path,
                         row->name, quoted_number ? "the string " : "", shown, expected, hint);
}

/* Plain decimal digits with an optional sign. */
static bool parse_integer(const vqc_yaml_node *node, long long *value)
{
    const char *digits = node->text;
    char *end;

    digits += *digits == '-' || *digits == '+' ? 1 : 0;
    if (node->kind != VQC_YAML_SCALAR || !node->plain || *digits == '\0' ||
        strspn(digits, "0123456789") != strlen(digits) || strlen(node->text) != node->length) {
        return false;
    }
    errno = 0;
    *value = strtoll(node->text, &end, 10);
    return errno == 0;
}

/* Digits with an optional sign, fraction and exponent: no hex, no nan, no inf. */
static bool parse_real(vqc_yaml_context *context, const vqc_yaml_node *node, double *value)
{
    locale_t c_locale;
    char *end;

    if (node->kind != VQC_YAML_SCALAR || !node->plain || node->length == 0 ||
        strspn(node->text, "0123456789+-.eE") != node->length ||
        strcspn(node->text, "0123456789") == node->length) {
        return false;
    }
    /* strtod would read a decimal comma where the caller has set such a locale. */
    c_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0) {
        context->out_of_memory = true;
        return false;
    }
    *value = strtod_l(node->text, &end, c_locale);
    freelocale(c_locale);
    return *end == '\0';
}

static bool in_range(const vqc_key_row *row, double value)
{
    if (row->allowed != NULL) {
        for (const int *allowed = row->allowed; *allowed != 0; allowed++) {
            if ((double)*allowed == value) {
                return true;
            }
        }
        return false;
    }
    return (row->min_exclusive ? value > row->min : value >= row->min) && value <= row->max;
}

static bool read_number(const target *to, const vqc_key_row *row, const vqc_yaml_node *node,
                        char *field)
{
    long long integer = 0;
    double real = 0;

    if (row->type == VQC_KEY_REAL) {
        if (!parse_real(to->context, node, &real) || !in_range(row, real)) {
            note_mismatch(to, row, node, "");
            return false;
        }
        memcpy(field, &real, sizeof real);
        return true;
    }
    if (!parse_integer(node, &integer) || !in_range(row, (double)integer)) {
        note_mismatch(to, row, node, "");
        return false;
    }
    if (row->type == VQC_KEY_INT || row->type == VQC_KEY_INT_AUTO) {
        int value = (int)integer;
        memcpy(field, &value, sizeof value);
    } else {
        int64_t value = integer;
        memcpy(field, &value, sizeof value);
    }
    return true;
}

static bool read_number_or_auto(const target *to, const vqc_key_row *row, const vqc_yaml_node *node,
                                char *field)
{
    if (node->kind == VQC_YAML_SCALAR && strcmp(node->text, "auto") == 0) {
        const int none = 0;
        memcpy(field, &none, sizeof none);
        return true;
    }
    return read_number(to, row, node, field);
}

static bool one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(text, *words) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_bool(const target *to, const vqc_key_row *row, const vqc_yaml_node *node,
                      char *field)
{
    static const char *const yes[] = {"yes", "Yes",  "YES",  "on", "On",
                                      "ON",  "True", "TRUE", "1",  NULL};
    static const char *const no[] = {"no",  "No",    "NO",    "off", "Off",
                                     "OFF", "False", "FALSE", "0",   NULL};
    bool value;

    if (node->kind == VQC_YAML_SCALAR && node->plain &&
        (strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0)) {
        value = node->text[0] == 't';
        memcpy(field, &value, sizeof value);
        return true;
    }
    note_mismatch(to, row, node,
                  node->kind != VQC_YAML_SCALAR ? ""
                  : one_of(node->text, yes)     ? "; did you mean true?"
                  : one_of(node->text, no)      ? "; did you mean false?"
                                                : "");
    return false;
}

/* What other tools call the same thing, and "int4" for two keys in one. */
static bool codec_hint(const vqc_yaml_node *node, char *hint, size_t size_bytes)
{
    static const char *const names[][2] = {
        {"fp16", "float16"},      {"f16", "float16"},
        {"half", "float16"},      {"bf16", "bfloat16"},
        {"fp8", "float8e4m3fn"},  {"float8", "float8e4m3fn"},
        {"e4m3", "float8e4m3fn"}, {"fp8_e4m3", "float8e4m3fn"},
        {"e5m2", "float8e5m2"},   {"fp8_e5m2", "float8e5m2"},
        {"none", "keep"},         {"float32", "keep"},
        {"fp32", "keep"},
    };
    const char *digits = node->text + (node->text[0] == 'u' ? 1 : 0);

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(node->text, names[i][0]) == 0) {
            (void)snprintf(hint, size_bytes, "; did you mean \"%s\"?", names[i][1]);
            return true;
        }
    }
    if (strncmp(digits, "int", 3) == 0 && digits[3] != '\0' && strlen(digits) <= 5 &&
        strspn(digits + 3, "0123456789") == strlen(digits + 3)) {
        (void)snprintf(hint, size_bytes, "; did you mean codec: int with bits: %s%s?", digits + 3,
                       digits != node->text ? " and symmetric: false" : "");
        return true;
    }
    return false;
}

static bool read_choice(const target *to, const vqc_key_row *row, const vqc_yaml_node *node,
                        char *field)
{
    char hint[SHOW_BYTES] = "";
    const char *nearest;
    size_t count = 0;

    for (; row->choices[count] != NULL; count++) {
        const char *choice = row->choices[count];
        if (node->kind != VQC_YAML_SCALAR || strlen(choice) != node->length ||
            memcmp(choice, node->text, node->length) != 0) {
            continue;
        }
        if (row->type == VQC_KEY_WORD) {
            memcpy(field, choice, strlen(choice) + 1);
        } else if (row->type == VQC_KEY_ENUM_BOOL) {
            bool value = count == 1;
            memcpy(field, &value, sizeof value);
        } else {
            /* C enums without negative constants have the size of int on every platform we build
             * for. */
            int value = (int)count;
            static_assert(sizeof(vqc_granularity) == sizeof value, "enums are stored as int");
            memcpy(field, &value, sizeof value);
        }
        return true;
    }
    if (node->kind == VQC_YAML_SCALAR &&
        (row->type != VQC_KEY_WORD || !codec_hint(node, hint, sizeof hint))) {
        nearest = vqc_recipe_nearest(node->text, node->length, row->choices, count);
        if (nearest != NULL) {
            (void)snprintf(hint, sizeof hint, "; did you mean \"%s\"?", nearest);
        }
    }
    note_mismatch(to, row, node, hint);
    return false;
}

/* One string; plain numbers are names too (ONNX values are often called 123). */
static bool read_string(const target *to, const vqc_key_row *row, const vqc_yaml_node *node,
                        char **out)
{
    to->context->visits += node->kind == VQC_YAML_SCALAR ? node->length / 16 : 0;
    if (node->kind != VQC_YAML_SCALAR || vqc_yaml_node_is_null(node)) {
        note_mismatch(to, row, node, "");
        return false;
    }
    if (node->length == 0 || node->length > MAX_STRING_BYTES ||
        strlen(node->text) != node->length) {
        vqc_yaml_problem_add(to->context, node->place,
                             "%s%s: got %s, expected 1 to %d bytes without NUL", to->path,
                             row->name,
                             node->length == 0                 ? "an empty string"
                             : node->length > MAX_STRING_BYTES ? "a longer string"
                                                               : "a string with a NUL byte",
                             (int)MAX_STRING_BYTES);
        return false;
    }
    *out = vqc_arena_strndup(to->recipe->arena, node->text, node->length);
    to->context->out_of_memory = to->context->out_of_memory || *out == NULL;
    return *out != NULL;
}

static bool within_budget(vqc_yaml_context *context, const vqc_yaml_node *node)
{
    bool within = context->visits <= VQC_YAML_MAX_NODES;
    if (within && ++context->visits > VQC_YAML_MAX_NODES) {
        vqc_yaml_problem_add(context, node->place,
                             "recipe too large: aliases stand for more than %d values",
                             (int)VQC_YAML_MAX_NODES);
    }
    return context->visits <= VQC_YAML_MAX_NODES;
}

/* An array of `count` items for the recipe; NULL (noted) when out of memory. */
static void *new_array(const target *to, size_t count, size_t item_bytes)
{
    void *array = vqc_arena_calloc(to->recipe->arena, count, item_bytes);
    to->context->out_of_memory = to->context->out_of_memory || array == NULL;
    return array;
}

static void read_strings(const target *to, const vqc_key_row *row, const vqc_yaml_node *node,
                         char *base)
{
    size_t count = node->kind == VQC_YAML_LIST ? node->length : 1;
    char **strings;
    bool ok = true;

    if (node->kind == VQC_YAML_MAP || count == 0) {
        note_mismatch(to, row, node, "");
        return;
    }
    strings = new_array(to, count, sizeof *strings);
    for (size_t i = 0; strings != NULL && i < count; i++) {
        const vqc_yaml_node *item = node->kind == VQC_YAML_LIST ? node->items[i] : node;
        if (!within_budget(to->context, item)) {
            return;
        }
        ok = read_string(to, row, item, &strings[i]) && ok;
    }
    if (ok && strings != NULL) {
        memcpy(base + row->offset, &strings, sizeof strings);
        memcpy(base + row->count_offset, &count, sizeof count);
    }
}

static void read_shape(const target *to, const vqc_key_row *row, const vqc_yaml_node *node,
                       char *base)
{
    int64_t *shape;
    bool ok = true;

    if (node->kind != VQC_YAML_LIST || node->length == 0) {
        note_mismatch(to, row, node, "");
        return;
    }
    shape = new_array(to, node->length, sizeof *shape);
    for (size_t i = 0; shape != NULL && i < node->length; i++) {
        const vqc_yaml_node *item = node->items[i];
        long long size = -1;
        bool any = row->type == VQC_KEY_SHAPE && item->kind == VQC_YAML_SCALAR &&
                   strcmp(item->text, "*") == 0;
        if (!within_budget(to->context, item)) {
            return;
        }
        if (!any && (!parse_integer(item, &size) || !in_range(row, (double)size))) {
            note_mismatch(to, row, item, "");
            ok = false;
        }
        shape[i] = size;
    }
    if (ok && shape != NULL) {
        memcpy(base + row->offset, &shape, sizeof shape);
        memcpy(base + row->count_offset, &node->length, sizeof node->length);
    }
}

/* Appends the names of the group's keys; returns how many there are now. */
static size_t key_names(const vqc_key_group *group, const char **names)
{
    const vqc_key_row *row;
    size_t count = 0;
    size_t offset;
    while (count < MAX_CANDIDATES && (row = vqc_key_group_row(group, count, &offset)) != NULL) {
        names[count++] = row->name;
    }
    return count;
}

/* The first group below `group` that has the key `name`: its path in `path`. */
static bool find_home(const vqc_key_group *group, const vqc_yaml_node *name, const char *prefix,
                      char *path, size_t size_bytes)
{
    const vqc_key_row *row;
    size_t offset;
    for (size_t i = 0; (row = vqc_key_group_row(group, i, &offset)) != NULL; i++) {
        char inner[PATH_BYTES];
        if (row->group == NULL) {
            continue;
        }
        (void)snprintf(inner, sizeof inner, "%s%s%s%s", prefix, *prefix != '\0' ? "." : "",
                       row->name, row->type == VQC_KEY_RULES ? "[]" : "");
        if (vqc_key_group_find(row->group, name->text, name->length, &offset) != NULL) {
            (void)snprintf(path, size_bytes, "%s", inner);
            return true;
        }
        if (find_home(row->group, name, inner, path, size_bytes)) {
            return true;
        }
    }
    return false;
}

static void note_unknown_key(const target *to, const vqc_key_group *group, const vqc_yaml_node *key)
{
    const char *names[MAX_CANDIDATES];
    size_t count = key_names(group, names);
    char shown[SHOW_BYTES];
    char text[384] = "";
    size_t offset;

    if (to->context->problem_count >= VQC_YAML_MAX_PROBLEMS) {
        to->context->problem_count++; /* counted; not worth a search for the nearest */
        return;
    }
    (void)vqc_yaml_text_show(key->text, key->length, 64, shown, sizeof shown);
    if (strcmp(key->text, "<<") == 0) {
        (void)snprintf(text, sizeof text, "; merge keys are not supported");
    } else if (find_home(vqc_recipe_keys(), key, "", text, sizeof text)) {
        char home[PATH_BYTES];
        (void)snprintf(home, sizeof home, "%.100s", text);
        (void)snprintf(text, sizeof text, "; it belongs under %s", home);
    } else if (vqc_key_group_find(vqc_recipe_keys(), key->text, key->length, &offset) != NULL) {
        (void)snprintf(text, sizeof text, "; it belongs at the top of the recipe");
    }
    if (*text == '\0') {
        const char *nearest = vqc_recipe_nearest(key->text, key->length, names, count);
        if (nearest != NULL) {
            (void)snprintf(text, sizeof text, "; did you mean \"%s\"?", nearest);
        }
    }
    if (*text == '\0') {
        for (size_t i = 0; i < count; i++) {
            size_t used = strlen(text);
            (void)snprintf(text + used, sizeof text - used, "%s%s",
                           i == 0 ? "; expected one of " : ", ", names[i]);
        }
    }
    vqc_yaml_problem_add(to->context, key->place, "unknown key \"%s\"%s", shown, text);
}

/* Whether one of the map's unknown keys was likely meant to be `name`: then `name` is misspelt, and
 * not missing as well. */
static bool is_misspelt(const vqc_key_group *group, const vqc_yaml_node *map, const char *name)
{
    const char *names[MAX_CANDIDATES];
    size_t count = key_names(group, names);
    size_t offset;
    for (size_t i = 0; i < map->length; i++) {
        const vqc_yaml_node *key = map->keys[i];
        const char *nearest;
        if (vqc_key_group_find(group, key->text, key->length, &offset) != NULL) {
            continue;
        }
        nearest = vqc_recipe_nearest(key->text, key->length, names, count);
        if (nearest != NULL && strcmp(nearest, name) == 0) {
            return true;
        }
    }
    return false;
}

static void read_rule(const target *list, const vqc_key_row *row, const vqc_yaml_node *node,
                      size_t index, vqc_layer_rule *rule)
{
    char path[PATH_BYTES];
    target to = {list->context, list->recipe, (char *)rule, path};
    const vqc_yaml_node *match;
    size_t problems_before = list->context->problem_count;

    *rule = (vqc_layer_rule){.match = {.min_elements = -1, .max_elements = -1, .rank = -1}};
    rule->line = node->place.set == 0 ? (int)node->place.line : 0;
    rule->column = node->place.set == 0 ? (int)node->place.column : 0;
    if (node->kind != VQC_YAML_MAP) {
        char shown[SHOW_BYTES];
        vqc_yaml_problem_add(to.context, node->place, "layers[%zu]: got %s, expected a mapping",
                             index, vqc_yaml_node_show(node, shown, sizeof shown));
        return;
    }
    (void)snprintf(path, sizeof path, "layers[%zu].", index);
    read_group(&to, row->group, node);
    match = vqc_yaml_map_get(node, "match");
    if (match == NULL) {
        if (!is_misspelt(row->group, node, "match")) {
            vqc_yaml_problem_add(to.context, node->place,
                                 "layers[%zu]: missing key \"match\", expected which layers the "
                                 "rule is for; use weights for all of them",
                                 index);
        }
    } else if (vqc_yaml_node_is_null(match) ||
               (match->kind == VQC_YAML_MAP && match->length == 0)) {
        vqc_yaml_problem_add(to.context, match->place,
                             "layers[%zu].match: got no keys, expected at least one; use weights "
                             "for all layers",
                             index);
    }
    if (rule->spec.set == 0 && to.context->problem_count == problems_before) {
        vqc_yaml_problem_add(to.context, node->place,
                             "layers[%zu]: nothing to do, expected a key of weights (such as codec "
                             "or bits), activations, observer or sparsity beside match",
                             index);
    }
}

static void read_rules(const target *to, const vqc_key_row *row, const vqc_yaml_node *node,
                       char *base)
{
    vqc_layer_rule *rules;

    if (vqc_yaml_node_is_null(node)) {
        return;
    }
    if (node->kind != VQC_YAML_LIST) {
        note_mismatch(to, row, node, "");
        return;
    }
    rules = new_array(to, node->length, sizeof *rules);
    for (size_t i = 0; rules != NULL && i < node->length; i++) {
        if (!within_budget(to->context, node->items[i])) {
            return;
        }
        read_rule(to, row, node->items[i], i, &rules[i]);
    }
    memcpy(base + row->offset, &rules, sizeof rules);
    memcpy(base + row->count_offset, &node->length, sizeof node->length);
}

static void read_nested(const target *to, const vqc_key_row *row, const vqc_yaml_node *node,
                        char *field)
{
    char path[PATH_BYTES];
    target inner = {to->context, to->recipe, field, path};

    if (vqc_yaml_node_is_null(node)) {
        return;
    }
    if (node->kind != VQC_YAML_MAP) {
        note_mismatch(to, row, node, "");
        return;
    }
    (void)snprintf(path, sizeof path, "%.*s%s.", PATH_BYTES / 2, to->path, row->name);
    read_group(&inner, row->group, node);
}

/* A list of mappings, each a vqc_match. */
static void read_matches(const target *to, const vqc_key_row *row, const vqc_yaml_node *node,
                         char *base)
{
    vqc_match *matches;

    if (vqc_yaml_node_is_null(node)) {
        return;
    }
    if (node->kind != VQC_YAML_LIST) {
        note_mismatch(to, row, node, "");
        return;
    }
    matches = new_array(to, node->length, sizeof *matches);
    for (size_t i = 0; matches != NULL && i < node->length; i++) {
        char path[PATH_BYTES];
        target inner = {to->context, to->recipe, (char *)&matches[i], path};

        if (!within_budget(to->context, node->items[i])) {
            return;
        }
        matches[i] = (vqc_match){.min_elements = -1, .max_elements = -1, .rank = -1};
        (void)snprintf(path, sizeof path, "%.*s%s[%zu].", PATH_BYTES / 2, to->path, row->name, i);
        if (node->items[i]->kind != VQC_YAML_MAP || node->items[i]->length == 0) {
            vqc_yaml_problem_add(to->context, node->items[i]->place,
                                 "%s%s[%zu]: got no keys, expected a mapping such as {op: Softmax}",
                                 to->path, row->name, i);
            continue;
        }
        read_group(&inner, row->group, node->items[i]);
    }
    memcpy(base + row->offset, &matches, sizeof matches);
    memcpy(base + row->count_offset, &node->length, sizeof node->length);
}

/* A word, a number, or a list of numbers, which becomes "a:b:c". */
static void read_image(const target *to, const vqc_key_row *row, const vqc_yaml_node *node,
                       char *base)
{
    char text[128] = "";
    size_t count = node->kind == VQC_YAML_LIST ? node->length : 1;
    vqc_error error;

    if (node->kind == VQC_YAML_MAP || vqc_yaml_node_is_null(node) || count == 0 || count > 4) {
        note_mismatch(to, row, node, "");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const vqc_yaml_node *item = node->kind == VQC_YAML_LIST ? node->items[i] : node;
        size_t used = strlen(text);
        if (item->kind != VQC_YAML_SCALAR || used + item->length + 2 > sizeof text) {
            note_mismatch(to, row, node, "");
            return;
        }
        (void)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? ":" : "", item->text);
    }
    if (vqc_image_options_set((vqc_image_options *)(void *)base, row->name, text, &error) !=
        VQC_OK) {
        vqc_yaml_problem_add(to->context, node->place, "%s%s: %s", to->path, row->name,
                             error.message);
    }
}

static void read_unavailable(const target *to, const vqc_key_row *row, const vqc_yaml_node *key,
                             const vqc_yaml_node *node)
{
    if (vqc_yaml_node_is_null(node) || (node->kind == VQC_YAML_MAP && node->length == 0)) {
        return;
    }
    /* The key's own place, unless a --set has put something below it. */
    vqc_yaml_problem_add(to->context, node->place.set != 0 ? node->place : key->place,
                         "\"%s\" is not available in this version of vqc; remove it", row->name);
}

static void read_key(const target *to, const vqc_key_row *row, const vqc_yaml_node *key,
                     const vqc_yaml_node *node, char *base)
{
    char *field = base + row->offset;
    bool ok = false;

    switch (row->type) {
    case VQC_KEY_BOOL:
        ok = read_bool(to, row, node, field);
        break;
    case VQC_KEY_INT:
    case VQC_KEY_INT64:
    case VQC_KEY_REAL:
        ok = read_number(to, row, node, field);
        break;
    case VQC_KEY_INT_AUTO:
        ok = read_number_or_auto(to, row, node, field);
        break;
    case VQC_KEY_ENUM:
    case VQC_KEY_ENUM_BOOL:
    case VQC_KEY_WORD:
        ok = read_choice(to, row, node, field);
        break;
    case VQC_KEY_STRING: {
        char *text;
        ok = read_string(to, row, node, &text);
        if (ok) {
            memcpy(field, &text, sizeof text);
        }
        break;
    }
    case VQC_KEY_STRINGS:
        read_strings(to, row, node, base);
        break;
    case VQC_KEY_SHAPE:
    case VQC_KEY_SIZES:
        read_shape(to, row, node, base);
        break;
    case VQC_KEY_GROUP:
        read_nested(to, row, node, field);
        break;
    case VQC_KEY_RULES:
        read_rules(to, row, node, base);
        break;
    case VQC_KEY_MATCHES:
        read_matches(to, row, node, base);
        break;
    case VQC_KEY_IMAGE:
        read_image(to, row, node, base);
        break;
    case VQC_KEY_UNAVAILABLE:
        read_unavailable(to, row, key, node);
        break;
    }
    if (ok && row->spec_bit != 0) {
        /* Rows with a spec_bit live in a vqc_weight_spec at base. */
        unsigned set;
        memcpy(&set, base + offsetof(vqc_weight_spec, set), sizeof set);
        set |= row->spec_bit;
        memcpy(base + offsetof(vqc_weight_spec, set), &set, sizeof set);
    }
}

static void read_group(const target *to, const vqc_key_group *group, const vqc_yaml_node *map)
{
    for (size_t i = 0; i < map->length && !to->context->out_of_memory; i++) {
        const vqc_yaml_node *key = map->keys[i];
        size_t offset;
        const vqc_key_row *row = vqc_key_group_find(group, key->text, key->length, &offset);
        if (!within_budget(to->context, key)) {
            return;
        }
        if (row == NULL) {
            note_unknown_key(to, group, key);
        } else {
            read_key(to, row, key, map->items[i], to->base + offset);
        }
    }
}

void vqc_recipe_read(vqc_yaml_context *context, const vqc_yaml_node *root, vqc_recipe *recipe)
{
    target to = {context, recipe, (char *)recipe, ""};
    const vqc_yaml_node *version = vqc_yaml_map_get(root, "version");
    long long number;

    if (version != NULL && parse_integer(version, &number) && number != 1) {
        /* What the other keys of another version mean is not for this one to say. */
        vqc_yaml_problem_add(context, version->place,
                             "version: got %lld, expected 1, the only version this vqc reads",
                             number);
        return;
    }
    if (version == NULL && !is_misspelt(vqc_recipe_keys(), root, "version")) {
        vqc_yaml_problem_add(context, root->place, "missing key \"version\", expected version: 1");
    }
    read_group(&to, vqc_recipe_keys(), root);
}
