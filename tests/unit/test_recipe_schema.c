/* configs/recipe.schema.json and docs/RECIPE.md against the table of keys that the reader follows.
 * VQC_UPDATE_GOLDEN=1 rewrites the schema from the table. Runs from the project's root. */
#include <criterion/criterion.h>

#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/recipe_yaml_keys.h"

#define SCHEMA_PATH "configs/recipe.schema.json"
#define DOCS_PATH "docs/RECIPE.md"

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    size_t length;
    cr_assert_not_null(file, "%s: cannot be opened (tests run from the project's root)", path);
    cr_assert_not_null(text);
    length = fread(text, 1, (1 << 20) - 1, file);
    cr_assert(length > 0 && !ferror(file), "%s: cannot be read", path);
    (void)fclose(file);
    return text;
}

static cJSON *properties_of(const vqc_key_group *group);

/* A word or number, or a list of up to four numbers. */
static void add_image_type(cJSON *schema)
{
    cJSON *types = cJSON_AddArrayToObject(schema, "type");
    cJSON *items = cJSON_AddObjectToObject(schema, "items");
    (void)cJSON_AddItemToArray(types, cJSON_CreateString("string"));
    (void)cJSON_AddItemToArray(types, cJSON_CreateString("number"));
    (void)cJSON_AddItemToArray(types, cJSON_CreateString("array"));
    (void)cJSON_AddStringToObject(items, "type", "number");
    (void)cJSON_AddNumberToObject(schema, "maxItems", 4);
}

static void add_types(cJSON *schema, const char *first, const char *second)
{
    cJSON *types;
    if (second == NULL) {
        (void)cJSON_AddStringToObject(schema, "type", first);
        return;
    }
    types = cJSON_AddArrayToObject(schema, "type");
    (void)cJSON_AddItemToArray(types, cJSON_CreateString(first));
    (void)cJSON_AddItemToArray(types, cJSON_CreateString(second));
}

/* YAML reads an unquoted 123 as a number, and it is a usual name of an ONNX value. */
static void add_name_type(cJSON *schema)
{
    cJSON *types;
    add_types(schema, "string", "number");
    types = cJSON_GetObjectItem(schema, "type");
    (void)cJSON_AddItemToArray(types, cJSON_CreateString("boolean"));
    (void)cJSON_AddNumberToObject(schema, "minLength", 1);
    (void)cJSON_AddNumberToObject(schema, "maxLength", 1024);
}

static void add_number(cJSON *schema, const vqc_key_row *row)
{
    add_types(schema, row->type == VQC_KEY_REAL ? "number" : "integer", NULL);
    if (row->allowed != NULL) {
        cJSON *values = cJSON_AddArrayToObject(schema, "enum");
        for (const int *value = row->allowed; *value != 0; value++) {
            (void)cJSON_AddItemToArray(values, cJSON_CreateNumber(*value));
        }
        return;
    }
    (void)cJSON_AddNumberToObject(schema, row->min_exclusive ? "exclusiveMinimum" : "minimum",
                                  row->min);
    if (row->max < 9e15) {
        (void)cJSON_AddNumberToObject(schema, "maximum", row->max);
    }
}

static void add_group(cJSON *schema, const vqc_key_row *row)
{
    bool required = strcmp(row->name, "match") == 0;
    add_types(schema, "object", required ? NULL : "null");
    (void)cJSON_AddFalseToObject(schema, "additionalProperties");
    if (required) {
        (void)cJSON_AddNumberToObject(schema, "minProperties", 1);
    }
    (void)cJSON_AddItemToObject(schema, "properties", properties_of(row->group));
}

static void add_rules(cJSON *schema, const vqc_key_row *row)
{
    cJSON *items;
    cJSON *required;
    add_types(schema, "array", "null");
    items = cJSON_AddObjectToObject(schema, "items");
    add_types(items, "object", NULL);
    (void)cJSON_AddFalseToObject(items, "additionalProperties");
    (void)cJSON_AddNumberToObject(items, "minProperties", 2);
    required = cJSON_AddArrayToObject(items, "required");
    (void)cJSON_AddItemToArray(required, cJSON_CreateString("match"));
    (void)cJSON_AddItemToObject(items, "properties", properties_of(row->group));
}

static void add_list(cJSON *schema, const vqc_key_row *row)
{
    cJSON *any = cJSON_CreateArray();
    cJSON *one = cJSON_CreateObject();
    cJSON *list;
    if (row->type == VQC_KEY_STRINGS) {
        cJSON *item = cJSON_CreateObject();
        add_name_type(one);
        add_name_type(item);
        list = cJSON_CreateObject();
        add_types(list, "array", NULL);
        (void)cJSON_AddNumberToObject(list, "minItems", 1);
        (void)cJSON_AddItemToObject(list, "items", item);
        (void)cJSON_AddItemToArray(any, one);
        (void)cJSON_AddItemToArray(any, list);
        (void)cJSON_AddItemToObject(schema, "anyOf", any);
        return;
    }
    add_types(schema, "array", NULL);
    (void)cJSON_AddNumberToObject(schema, "minItems", 1);
    list = cJSON_AddObjectToObject(schema, "items");
    add_number(one, &(vqc_key_row){.type = VQC_KEY_INT64, .min = row->min, .max = row->max});
    (void)cJSON_AddItemToArray(any, one);
    one = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(one, "const", "*");
    (void)cJSON_AddItemToArray(any, one);
    (void)cJSON_AddItemToObject(list, "anyOf", any);
}

static void add_fallback(cJSON *schema, const vqc_key_row *row)
{
    if (row->fallback == NULL) {
        return;
    }
    if (row->type == VQC_KEY_BOOL || row->type == VQC_KEY_INT || row->type == VQC_KEY_INT64 ||
        row->type == VQC_KEY_REAL) {
        cJSON *value = cJSON_Parse(row->fallback);
        cr_assert_not_null(value, "%s: default %s", row->name, row->fallback);
        (void)cJSON_AddItemToObject(schema, "default", value);
    } else {
        (void)cJSON_AddStringToObject(schema, "default", row->fallback);
    }
}

static cJSON *schema_of(const vqc_key_row *row)
{
    cJSON *schema = cJSON_CreateObject();
    cJSON *values;

    (void)cJSON_AddStringToObject(schema, "description", row->help);
    switch (row->type) {
    case VQC_KEY_BOOL:
        add_types(schema, "boolean", NULL);
        break;
    case VQC_KEY_INT:
    case VQC_KEY_INT64:
    case VQC_KEY_REAL:
        add_number(schema, row);
        break;
    case VQC_KEY_INT_AUTO: {
        cJSON *any = cJSON_AddArrayToObject(schema, "anyOf");
        cJSON *number = cJSON_CreateObject();
        cJSON *word = cJSON_CreateObject();
        add_number(number, &(vqc_key_row){.type = VQC_KEY_INT, .min = row->min, .max = row->max});
        (void)cJSON_AddStringToObject(word, "const", "auto");
        (void)cJSON_AddItemToArray(any, number);
        (void)cJSON_AddItemToArray(any, word);
        break;
    }
    case VQC_KEY_ENUM:
    case VQC_KEY_ENUM_BOOL:
    case VQC_KEY_WORD:
        add_types(schema, "string", NULL);
        values = cJSON_AddArrayToObject(schema, "enum");
        for (const char *const *choice = row->choices; *choice != NULL; choice++) {
            (void)cJSON_AddItemToArray(values, cJSON_CreateString(*choice));
        }
        break;
    case VQC_KEY_STRING:
        add_name_type(schema);
        break;
    case VQC_KEY_STRINGS:
    case VQC_KEY_SHAPE:
        add_list(schema, row);
        break;
    case VQC_KEY_SIZES:
        add_types(schema, "array", NULL);
        (void)cJSON_AddNumberToObject(schema, "minItems", 1);
        add_number(cJSON_AddObjectToObject(schema, "items"),
                   &(vqc_key_row){.type = VQC_KEY_INT64, .min = row->min, .max = row->max});
        break;
    case VQC_KEY_GROUP:
        add_group(schema, row);
        break;
    case VQC_KEY_RULES:
        add_rules(schema, row);
        break;
    case VQC_KEY_MATCHES: {
        cJSON *items = cJSON_AddObjectToObject(schema, "items");
        add_types(schema, "array", "null");
        add_types(items, "object", NULL);
        (void)cJSON_AddItemToObject(items, "properties", properties_of(row->group));
        (void)cJSON_AddBoolToObject(items, "additionalProperties", false);
        (void)cJSON_AddNumberToObject(items, "minProperties", 1);
        break;
    }
    case VQC_KEY_IMAGE:
        add_image_type(schema);
        break;
    case VQC_KEY_UNAVAILABLE:
        add_types(schema, "object", "null");
        (void)cJSON_AddNumberToObject(schema, "maxProperties", 0);
        break;
    }
    add_fallback(schema, row);
    return schema;
}

static cJSON *properties_of(const vqc_key_group *group)
{
    cJSON *properties = cJSON_CreateObject();
    const vqc_key_row *row;
    size_t offset;
    for (size_t i = 0; (row = vqc_key_group_row(group, i, &offset)) != NULL; i++) {
        cr_assert_null(cJSON_GetObjectItem(properties, row->name), "%s stands in the table twice",
                       row->name);
        (void)cJSON_AddItemToObject(properties, row->name, schema_of(row));
    }
    return properties;
}

static cJSON *whole_schema(void)
{
    cJSON *schema = cJSON_CreateObject();
    cJSON *required;
    (void)cJSON_AddStringToObject(schema, "$schema", "http://json-schema.org/draft-07/schema#");
    (void)cJSON_AddStringToObject(schema, "title", "vqc recipe");
    (void)cJSON_AddStringToObject(schema, "description",
                                  "How vqc compresses an ONNX model. See docs/RECIPE.md.");
    add_types(schema, "object", NULL);
    (void)cJSON_AddFalseToObject(schema, "additionalProperties");
    required = cJSON_AddArrayToObject(schema, "required");
    (void)cJSON_AddItemToArray(required, cJSON_CreateString("version"));
    (void)cJSON_AddItemToObject(schema, "properties", properties_of(vqc_recipe_keys()));
    return schema;
}

/* Path of the first difference, "" when there is none. */
static void find_difference(const cJSON *want, const cJSON *got, const char *at, char *path,
                            size_t size_bytes)
{
    const cJSON *item;
    char inner[512];

    if (cJSON_Compare(want, got, true)) {
        return;
    }
    if (cJSON_IsObject(want) && cJSON_IsObject(got)) {
        cJSON_ArrayForEach(item, got)
        {
            if (cJSON_GetObjectItemCaseSensitive(want, item->string) == NULL) {
                (void)snprintf(path, size_bytes, "%s.%s (not in the table)", at, item->string);
                return;
            }
        }
        cJSON_ArrayForEach(item, want)
        {
            (void)snprintf(inner, sizeof inner, "%.300s.%s", at, item->string);
            find_difference(item, cJSON_GetObjectItemCaseSensitive(got, item->string), inner, path,
                            size_bytes);
            if (*path != '\0') {
                return;
            }
        }
    }
    (void)snprintf(path, size_bytes, "%s", at);
}

Test(recipe_schema, agrees_with_the_table)
{
    cJSON *want = whole_schema();
    char path[512] = "";
    char *text;
    cJSON *got;

    if (getenv("VQC_UPDATE_GOLDEN") != NULL) {
        FILE *file = fopen(SCHEMA_PATH, "wb");
        char *printed = cJSON_Print(want);
        cr_assert_not_null(file, SCHEMA_PATH ": cannot be written");
        for (const char *at = printed; *at != '\0'; at++) { /* two spaces instead of tabs */
            bool behind_key = at > printed && at[-1] == ':';
            int put = *at != '\t'  ? fputc(*at, file)
                      : behind_key ? fputc(' ', file)
                                   : fputs("  ", file);
            cr_assert(put != EOF);
        }
        cr_assert(fprintf(file, "\n") > 0 && fclose(file) == 0);
        free(printed);
    }
    text = read_text(SCHEMA_PATH);
    got = cJSON_Parse(text);
    cr_assert_not_null(got, SCHEMA_PATH ": not valid JSON");
    find_difference(want, got, "schema", path, sizeof path);
    cr_assert_str_empty(path, SCHEMA_PATH " differs from the table of keys at %s", path);
    cJSON_Delete(want);
    cJSON_Delete(got);
    free(text);
}

Test(recipe_schema, the_comparison_sees_a_difference)
{
    cJSON *want = whole_schema();
    cJSON *got = cJSON_Duplicate(want, true);
    cJSON *weights = cJSON_GetObjectItem(cJSON_GetObjectItem(got, "properties"), "weights");
    cJSON *bits = cJSON_GetObjectItem(cJSON_GetObjectItem(weights, "properties"), "bits");
    char path[512] = "";

    find_difference(want, got, "schema", path, sizeof path);
    cr_assert_str_empty(path);
    cJSON_ReplaceItemInObject(bits, "default", cJSON_CreateNumber(4));
    find_difference(want, got, "schema", path, sizeof path);
    cr_assert_str_eq(path, "schema.properties.weights.properties.bits.default");
    (void)cJSON_AddTrueToObject(bits, "deprecated");
    *path = '\0';
    find_difference(want, got, "schema", path, sizeof path);
    cr_assert_str_eq(path,
                     "schema.properties.weights.properties.bits.deprecated (not in the table)");
    cJSON_Delete(want);
    cJSON_Delete(got);
}

/* Every key's row stands in the reference, in order, and no row is left from a key that is gone. */
Test(recipe_schema, reference_has_every_key)
{
    vqc_messages rows = {0};
    char *text = read_text(DOCS_PATH);
    size_t next = 0;
    char *save = NULL;

    cr_assert_eq(vqc_recipe_describe(&rows), VQC_OK);
    cr_assert(rows.count > 30);
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        if (strncmp(line, "| `", 3) != 0) {
            continue;
        }
        cr_assert(next < rows.count, DOCS_PATH ": no such key: %s", line);
        cr_assert_str_eq(line, rows.items[next],
                         DOCS_PATH ": row differs from the table:\n%s\nexpected\n%s", line,
                         rows.items[next]);
        next++;
    }
    cr_assert_eq(next, rows.count, DOCS_PATH ": missing row: %s",
                 next < rows.count ? rows.items[next] : "");
    vqc_messages_clear(&rows);
    free(text);
}
