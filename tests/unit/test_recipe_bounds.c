/* formats/recipe_yaml*.c on input that is made to hurt: depth, size, aliases, and memory running
 * out. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/recipe_yaml.h"

/* `unit` repeated after `head`, closed by `tail`; parsed within the timeout. Returns the problems.
 */
static vqc_messages parse_repeated(const char *head, const char *unit, size_t count,
                                   const char *tail, vqc_status want)
{
    size_t size = strlen(head) + count * strlen(unit) + strlen(tail);
    char *text = malloc(size + 1);
    char *end = text;
    vqc_recipe *recipe;
    vqc_messages problems = {0};

    cr_assert_not_null(text);
    end = stpcpy(end, head);
    for (size_t i = 0; i < count; i++) {
        end = stpcpy(end, unit);
    }
    (void)stpcpy(end, tail);
    cr_assert_eq(vqc_recipe_parse(text, size, "t.yaml", NULL, 0, &recipe, &problems, NULL), want);
    vqc_recipe_destroy(&recipe);
    free(text);
    return problems;
}

Test(recipe_bounds, hostile_input, .timeout = 20)
{
    vqc_messages p = parse_repeated("version: 1\nlayers: ", "[", 100000, "", VQC_ERR_USAGE);
    cr_assert_str_eq(p.items[0], "t.yaml:2:24: nested too deeply: expected at most 16 levels");
    vqc_messages_clear(&p);
    p = parse_repeated("version: 1\nlayers: ", "{a: ", 100000, "", VQC_ERR_USAGE);
    cr_assert_str_eq(p.items[0], "t.yaml:2:69: nested too deeply: expected at most 16 levels");
    vqc_messages_clear(&p);
    p = parse_repeated("version: 1\nlayers: [", "1,", 200000, "]", VQC_ERR_USAGE);
    cr_assert_eq(p.count, 1);
    cr_assert_not_null(strstr(p.items[0], "recipe too large: expected at most 100000 values"));
    vqc_messages_clear(&p);
    p = parse_repeated("version: 1\nlayers: [", "1,", 50000, "]", VQC_ERR_USAGE);
    cr_assert_eq(p.count, 101, "100 problems and how many more there are");
    cr_assert_str_eq(p.items[100], "t.yaml: 49900 more problems are not shown");
    vqc_messages_clear(&p);
    p = parse_repeated("version: 1\nlayers:\n- &r {match: {first: 1}, bits: 4}\n", "- *r\n", 30000,
                       "", VQC_ERR_USAGE);
    cr_assert_not_null(strstr(p.items[0], "aliases stand for more than 100000 values"));
    vqc_messages_clear(&p);
    p = parse_repeated("version: 1\nlayers:\n- &r {match: {first: 1}, bits: 4}\n", "- *r\n", 1000,
                       "", VQC_OK);
    vqc_messages_clear(&p);
    p = parse_repeated("version: 1\nweights: {", "? &a b\n", 3, "}", VQC_ERR_USAGE);
    vqc_messages_clear(&p);
    p = parse_repeated("version: 1\nlayers: [", "&a 1,", 1000, "]", VQC_ERR_USAGE);
    cr_assert_not_null(strstr(p.items[0], "too many anchors: expected at most 256"));
    vqc_messages_clear(&p);
    p = parse_repeated("version: 1\nweights: # ", "x", 2000000, "\n", VQC_ERR_USAGE);
    cr_assert_str_eq(p.items[0],
                     "t.yaml:1:1: recipe too large: got 2000023 bytes, expected at most "
                     "1048576");
    vqc_messages_clear(&p);
}

/* Each level stands for ten times the one before; reading must look at no more than is written. */
Test(recipe_bounds, billion_laughs, .timeout = 10)
{
    vqc_messages p =
        parse_repeated("version: 1\nlayers:\n"
                       "- &a [x, x, x, x, x, x, x, x, x, x]\n"
                       "- &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
                       "- &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
                       "- &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
                       "- &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\n"
                       "- &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n",
                       "- [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]\n", 3, "", VQC_ERR_USAGE);
    cr_assert_eq(p.count, 9);
    cr_assert_str_eq(p.items[5], "t.yaml:8:3: layers[5]: got a list of 10, expected a mapping");
    vqc_messages_clear(&p);
}

/* Long lists behind many aliases, where the key really is a list of strings. */
Test(recipe_bounds, aliased_names, .timeout = 10)
{
    char names[4096] = "version: 1\nlayers:\n- match: {name: &n [";
    vqc_messages p;
    for (size_t i = 0; i < 500; i++) {
        strcat(names, "x, ");
    }
    strcat(names, "x]}\n  bits: 4\n");
    p = parse_repeated(names, "- {match: {name: *n}, bits: 4}\n", 5000, "", VQC_ERR_USAGE);
    cr_assert_eq(p.count, 1);
    cr_assert_not_null(strstr(p.items[0], "aliases stand for more than 100000 values"));
    vqc_messages_clear(&p);
    p = parse_repeated(names, "- {match: {name: *n}, bits: 4}\n", 100, "", VQC_OK);
    vqc_messages_clear(&p);
}
