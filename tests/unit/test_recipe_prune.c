/* Recipes that prune: what is read, contradicts itself or has no effect. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/prune/prune_stage.h"
#include "formats/recipe_yaml.h"

static vqc_recipe *parse(const char *text)
{
    vqc_recipe *recipe = NULL;
    vqc_messages problems = {0};
    vqc_error error = {.message = ""};

    cr_assert_eq(
        vqc_recipe_parse(text, strlen(text), "t.yaml", NULL, 0, &recipe, &problems, &error), VQC_OK,
        "%s", error.message);
    vqc_messages_clear(&problems);
    return recipe;
}

static void expect(const char *text, const char *want)
{
    vqc_recipe *recipe = NULL;
    vqc_messages problems = {0};
    vqc_error error = {.message = ""};

    cr_assert_eq(
        vqc_recipe_parse(text, strlen(text), "t.yaml", NULL, 0, &recipe, &problems, &error),
        VQC_ERR_USAGE);
    cr_assert_eq(problems.count, 1);
    cr_assert_str_eq(problems.items[0], want);
    vqc_messages_clear(&problems);
}

Test(recipe_prune, keys)
{
    vqc_recipe *r = parse("version: 1\n"
                          "prune: {sparsity: 0.75, pattern: block, block: [4, 2], score: wanda,\n"
                          "  scope: global, compensate: off, target: {output_sqnr_db: 20}}\n"
                          "layers:\n- match: {op: Conv}\n  sparsity: 0\n");
    vqc_prune_pattern pattern;

    cr_assert_eq(r->prune.sparsity, 0.75);
    cr_assert(vqc_prune_options_pattern(&r->prune, &pattern, NULL));
    cr_assert_eq(pattern.kind, VQC_PRUNE_BLOCK);
    cr_assert_eq(pattern.block_rows, 4);
    cr_assert_eq(pattern.block_cols, 2);
    cr_assert_eq(r->prune.score, VQC_PRUNE_SCORE_WANDA);
    cr_assert_eq(r->prune.scope, VQC_PRUNE_SCOPE_GLOBAL);
    cr_assert_eq(r->prune.compensate, VQC_PRUNE_COMPENSATE_OFF);
    cr_assert_eq(r->prune.output_sqnr_db, 20.0);
    cr_assert_eq(r->rules[0].spec.set, VQC_SPEC_SPARSITY);
    vqc_recipe_destroy(&r);
    r = parse("version: 1\nprune: {pattern: \"3:16\"}\n");
    cr_assert(vqc_prune_options_pattern(&r->prune, &pattern, NULL));
    cr_assert_eq(pattern.kind, VQC_PRUNE_N_OF_M);
    cr_assert_eq(pattern.keep, 3);
    cr_assert_eq(pattern.of, 16);
    vqc_recipe_destroy(&r);
    expect("version: 1\nprune: [1]\n", "t.yaml:2:8: prune: got a list of 1, expected a mapping");
    expect("version: 1\nprune: {pattern: \"4:2\"}\n",
           "t.yaml:2:18: prune.pattern: got \"4:2\", expected unstructured, block, channels, or "
           "\"N:M\" with 1 "
           "<= N < M <= "
           "64");
    expect("version: 1\nprune: {sparsity: 0.5, pattern: block, block: [0, 2]}\n",
           "t.yaml:2:48: prune.block: got \"0\", expected a list of sizes, each an integer of at "
           "least 1 and at most 128");
    expect("version: 1\nprune: {sparsity: 0.5, pattern: block, block: [\"*\", 2]}\n",
           "t.yaml:2:48: prune.block: got \"*\", expected a list of sizes, each an integer of at "
           "least 1 and at most 128");
    expect("version: 1\nprune: {sparsity: 0.5, pattern: block, block: [2]}\n",
           "t.yaml:2:47: prune.block: got a list of 1, expected two sizes of 1 to 128: [rows, "
           "columns]");
    expect("version: 1\nprune: {pattern: \"2:4\", sparsity: 0.5}\n",
           "t.yaml:2:35: prune.sparsity has no effect with a pattern N:M, which says how many "
           "weights stay; remove it");
    expect("version: 1\nprune: {score: obs}\n",
           "t.yaml:2:16: prune.score has no effect when nothing is pruned; remove it, or set "
           "sparsity");
    expect("version: 1\nprune: {sparsity: 4}\n",
           "t.yaml:2:19: prune.sparsity: got \"4\", expected a number of at least 0 "
           "and at most 1");
}
