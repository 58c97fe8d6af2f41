#include "formats/recipe_yaml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/recipe_yaml_read.h"
#include "formats/recipe_yaml_tree.h"

enum { SHOW_BYTES = 96 };

/* "configs/int8.yaml" -> "int8". */
static char *stem_of(vqc_arena *arena, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t length = dot != NULL && dot != base ? (size_t)(dot - base) : strlen(base);
    return length > 0 ? vqc_arena_strndup(arena, base, length) : vqc_arena_strdup(arena, "recipe");
}

/* What the default recipe is once --set has changed it: "int4", "float16", "int8-dynamic". */
static char *name_of_default(const vqc_recipe *recipe)
{
    const vqc_weight_spec *spec = &recipe->weights;
    bool is_int = strcmp(spec->codec, "int") == 0;
    const char *suffix = spec->activations == VQC_ACTIVATIONS_DYNAMIC ? "-dynamic" : "";
    if (!is_int) {
        return vqc_arena_strdup(recipe->arena, spec->codec);
    }
    return vqc_arena_printf(recipe->arena, "int%d%s", spec->bits, suffix);
}

/* A copy of a map that can be changed: the original may stand in several places (aliases). */
static vqc_yaml_node *copy_map(vqc_yaml_context *context, const vqc_yaml_node *map,
                               vqc_yaml_place place)
{
    vqc_yaml_node *copy = vqc_yaml_node_create(context, VQC_YAML_MAP, place);
    for (size_t i = 0; copy != NULL && map != NULL && i < map->length; i++) {
        if (!vqc_yaml_node_append(context, copy, map->keys[i], map->items[i])) {
            return NULL;
        }
    }
    return copy;
}

/* The value of "key=value": YAML when it looks like a collection or quotes, else a plain word. */
static vqc_yaml_node *set_value(vqc_yaml_context *context, const char *value, vqc_yaml_place place)
{
    vqc_yaml_node *node;

    if (*value != '\0' && strchr("[{\"'", *value) != NULL) {
        return vqc_yaml_tree_parse(context, value, strlen(value), place.set);
    }
    node = vqc_yaml_node_create(context, VQC_YAML_SCALAR, place);
    if (node != NULL) {
        node->plain = true;
        node->length = strlen(value);
        node->text = vqc_arena_strdup(context->arena, value);
        context->out_of_memory = context->out_of_memory || node->text == NULL;
    }
    return context->out_of_memory ? NULL : node;
}

/* Index of key text[0..length) in the map, appended with `value` when missing; SIZE_MAX when
 * out of memory. The key then belongs to the --set. */
static size_t set_key(vqc_yaml_context *context, vqc_yaml_node *map, const char *text,
                      size_t length, vqc_yaml_node *value, vqc_yaml_place place)
{
    size_t found = vqc_yaml_map_find(map, text, length);
    vqc_yaml_node *key;

    if (found < map->length) {
        return found;
    }
    key = vqc_yaml_node_create(context, VQC_YAML_SCALAR, place);
    if (key == NULL) {
        return SIZE_MAX;
    }
    key->plain = true;
    key->length = length;
    key->text = vqc_arena_strndup(context->arena, text, length);
    if (key->text == NULL || !vqc_yaml_node_append(context, map, key, value)) {
        context->out_of_memory = true;
        return SIZE_MAX;
    }
    return found;
}

/* Puts one --set into the tree. */
static void apply_set(vqc_yaml_context *context, vqc_yaml_node *root, size_t index)
{
    vqc_yaml_place place = {index + 1, 0, 0};
    const char *text = context->sets[index];
    const char *equals = strchr(text, '=');
    vqc_yaml_node *map = root;
    vqc_yaml_node *value;

    if (equals == NULL) {
        vqc_yaml_problem_add(context, place, "got no \"=\", expected key=value");
        return;
    }
    value = set_value(context, equals + 1, place);
    while (value != NULL) {
        size_t length = strcspn(text, ".=");
        vqc_yaml_node *child;
        size_t at;
        if (length == 0) {
            vqc_yaml_problem_add(context, place, "got an empty key, expected key=value");
            return;
        }
        at = set_key(context, map, text, length, value, place);
        if (at == SIZE_MAX) {
            return;
        }
        if (text[length] == '=') {
            map->items[at] = value;
            return;
        }
        child = map->items[at];
        if (child->kind == VQC_YAML_LIST && child != value) {
            vqc_yaml_problem_add(context, place,
                                 "cannot reach into the list \"%.*s\", expected the whole list",
                                 (int)(length < 64 ? length : 64), text);
            return;
        }
        /* A scalar in the way is replaced; its key tells what it should have been. */
        child =
            copy_map(context, child->kind == VQC_YAML_MAP && child != value ? child : NULL, place);
        if (child == NULL) {
            return;
        }
        map->items[at] = child;
        map = child;
        text += length + 1;
    }
}

static int compare_problems(const void *left, const void *right)
{
    const vqc_yaml_problem *a = left;
    const vqc_yaml_problem *b = right;
    const size_t keys[4][2] = {{a->place.set, b->place.set},
                               {a->place.line, b->place.line},
                               {a->place.column, b->place.column},
                               {a->order, b->order}};
    for (size_t i = 0; i < 4; i++) {
        if (keys[i][0] != keys[i][1]) {
            return keys[i][0] < keys[i][1] ? -1 : 1;
        }
    }
    return 0;
}

static void format_problem(const vqc_yaml_context *context, const vqc_yaml_problem *problem,
                           char *line, size_t size_bytes)
{
    char shown[256];
    if (problem->place.set > 0) {
        const char *set = context->sets[problem->place.set - 1];
        (void)vqc_yaml_text_show(set, strlen(set), 128, shown, sizeof shown);
        (void)snprintf(line, size_bytes, "--set %s: %s", shown, problem->text);
    } else {
        (void)vqc_yaml_text_show(context->name, strlen(context->name), 200, shown, sizeof shown);
        (void)snprintf(line, size_bytes, "%s:%zu:%zu: %s", shown, problem->place.line,
                       problem->place.column, problem->text);
    }
}

/* Hands the problems over, sorted; returns VQC_ERR_USAGE with the first in `error`. */
static vqc_status report_problems(vqc_yaml_context *context, vqc_messages *messages,
                                  vqc_error *error)
{
    size_t kept = context->problem_count < VQC_YAML_MAX_PROBLEMS ? context->problem_count
                                                                 : VQC_YAML_MAX_PROBLEMS;
    char first[sizeof error->message - 64];
    char line[1024];

    qsort(context->problems, kept, sizeof context->problems[0], compare_problems);
    for (size_t i = 0; messages != NULL && i < kept; i++) {
        format_problem(context, &context->problems[i], line, sizeof line);
        if (vqc_messages_add(messages, "%s", line) != VQC_OK) {
            return vqc_fail_memory(error, strlen(line));
        }
    }
    if (messages != NULL && context->problem_count > kept &&
        vqc_messages_add(
            messages, "%s: %zu more problems are not shown",
            vqc_yaml_text_show(context->name, strlen(context->name), 200, line, sizeof line),
            context->problem_count - kept) != VQC_OK) {
        return vqc_fail_memory(error, sizeof line);
    }
    format_problem(context, &context->problems[0], first, sizeof first);
    if (context->problem_count > 1) {
        return vqc_fail(error, VQC_ERR_USAGE, "%s (and %zu more)", first,
                        context->problem_count - 1);
    }
    return vqc_fail(error, VQC_ERR_USAGE, "%s", first);
}

/* The tree of the file, or of the default when text is NULL: always a map, unless a problem was
 * noted. */
static vqc_yaml_node *file_tree(vqc_yaml_context *context, const char *text, size_t length)
{
    vqc_yaml_place top = {0, 1, 1};
    vqc_yaml_node *root;
    char shown[SHOW_BYTES];

    if (text == NULL) {
        vqc_yaml_node *value;
        root = vqc_yaml_node_create(context, VQC_YAML_MAP, top);
        value = set_value(context, "1", top);
        if (root != NULL && value != NULL) {
            (void)set_key(context, root, "version", strlen("version"), value, top);
        }
        return root;
    }
    if (length > VQC_YAML_MAX_BYTES) {
        vqc_yaml_problem_add(context, top, "recipe too large: got %zu bytes, expected at most %d",
                             length, (int)VQC_YAML_MAX_BYTES);
        return NULL;
    }
    root = vqc_yaml_tree_parse(context, text, length, 0);
    if (context->problem_count > 0 && root == NULL) {
        return NULL;
    }
    if (root == NULL || vqc_yaml_node_is_null(root)) {
        vqc_yaml_problem_add(context, top, "got an empty recipe, expected at least version: 1");
        return NULL;
    }
    if (root->kind != VQC_YAML_MAP) {
        vqc_yaml_problem_add(context, root->place,
                             "got %s, expected a mapping that starts with version: 1",
                             vqc_yaml_node_show(root, shown, sizeof shown));
        return NULL;
    }
    return root;
}

/* text NULL: the built-in default. */
static vqc_status parse(const char *text, size_t length, const char *name, const char *const *sets,
                        size_t set_count, vqc_recipe **out, vqc_messages *problems,
                        vqc_error *error)
{
    vqc_arena *arena = vqc_arena_create();
    vqc_yaml_context *context = NULL;
    vqc_yaml_node *root;
    vqc_recipe *recipe = NULL;
    vqc_status status;

    *out = NULL;
    if (arena != NULL) {
        context = vqc_arena_calloc(arena, 1, sizeof *context);
    }
    if (context == NULL) {
        status = vqc_fail_memory(error, sizeof *context);
        goto done;
    }
    status = vqc_recipe_create_default(&recipe, error);
    if (status != VQC_OK) {
        goto done;
    }
    context->arena = arena;
    context->name = name != NULL ? name : recipe->path;
    context->sets = sets;
    root = file_tree(context, text, length);
    for (size_t i = 0; root != NULL && i < set_count; i++) {
        apply_set(context, root, i);
    }
    if (root != NULL && !context->out_of_memory) {
        vqc_recipe_read(context, root, recipe);
    }
    if (root != NULL && !context->out_of_memory) {
        vqc_recipe_check(context, root, recipe);
    }
    if (!context->out_of_memory && context->problem_count == 0) {
        recipe->name = text != NULL    ? stem_of(recipe->arena, name)
                       : set_count > 0 ? name_of_default(recipe)
                                       : recipe->name;
        recipe->path = vqc_arena_strdup(recipe->arena, context->name);
        context->out_of_memory = recipe->name == NULL || recipe->path == NULL;
    }
    if (context->out_of_memory) {
        status = vqc_fail_memory(error, length);
    } else if (context->problem_count > 0) {
        status = report_problems(context, problems, error);
    } else {
        *out = recipe;
        recipe = NULL;
    }
done:
    vqc_recipe_destroy(&recipe);
    vqc_arena_destroy(&arena);
    return status;
}

vqc_status vqc_recipe_parse(const char *text, size_t length, const char *name,
                            const char *const *sets, size_t set_count, vqc_recipe **out,
                            vqc_messages *problems, vqc_error *error)
{
    return parse(text, length, name, sets, set_count, out, problems, error);
}

/* The whole file, at most one byte more than a recipe may have; also from a pipe. */
static vqc_status read_file(const char *path, char **text, size_t *length, vqc_error *error)
{
    FILE *file = fopen(path, "rb");
    vqc_status status = VQC_OK;

    *text = NULL;
    if (file == NULL) {
        return vqc_fail(error, VQC_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    }
    *text = malloc((size_t)VQC_YAML_MAX_BYTES + 1);
    if (*text == NULL) {
        status = vqc_fail_memory(error, (size_t)VQC_YAML_MAX_BYTES + 1);
        goto done;
    }
    *length = fread(*text, 1, (size_t)VQC_YAML_MAX_BYTES + 1, file);
    if (ferror(file)) {
        status = vqc_fail(error, VQC_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
        free(*text);
        *text = NULL;
    } else if (*length > VQC_YAML_MAX_BYTES) {
        status = vqc_fail(error, VQC_ERR_USAGE, "%s: recipe too large: expected at most %d bytes",
                          path, (int)VQC_YAML_MAX_BYTES);
        free(*text);
        *text = NULL;
    }
done:
    (void)fclose(file);
    return status;
}

vqc_status vqc_recipe_load(const char *path, const char *const *sets, size_t set_count,
                           vqc_recipe **out, vqc_messages *problems, vqc_error *error)
{
    char *text = NULL;
    size_t length = 0;
    vqc_status status;

    *out = NULL;
    if (path == NULL) {
        return parse(NULL, 0, NULL, sets, set_count, out, problems, error);
    }
    status = read_file(path, &text, &length, error);
    if (status == VQC_OK) {
        status = parse(text, length, path, sets, set_count, out, problems, error);
    } else if (status == VQC_ERR_USAGE && problems != NULL && error != NULL &&
               vqc_messages_add(problems, "%s", error->message) != VQC_OK) {
        status = vqc_fail_memory(error, sizeof error->message);
    }
    free(text);
    return status;
}
