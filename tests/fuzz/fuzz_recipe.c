/* Fuzz target for the recipe reader. The input is the recipe, then, each behind a NUL byte, up to
 * four
 * --set arguments. Whatever is accepted must keep the bounds that the rest of the program relies
 * on. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/recipe_yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void check_spec(const vqc_weight_spec *spec)
{
    require(memchr(spec->codec, '\0', sizeof spec->codec) != NULL && spec->codec[0] != '\0');
    require(strchr("\2\3\4\5\6\10\20", spec->bits) != NULL && spec->bits != 0);
    require((unsigned)spec->granularity <= VQC_GRANULARITY_BLOCK);
    require(spec->block_size >= 2 && spec->block_size <= INT32_MAX);
    require((unsigned)spec->range <= VQC_RANGE_MSE);
    require(spec->percentile > 50 && spec->percentile <= 100);
    require(spec->min_elements >= 0);
    require((unsigned)spec->pattern <= VQC_PATTERN_MATMUL_NBITS);
    require((unsigned)spec->activations <= VQC_ACTIVATIONS_DYNAMIC);
}

static void check_recipe(const vqc_recipe *recipe)
{
    static const char *const names[] = {"/layer1/conv1", NULL};
    static const char *const ops[] = {"Conv", "com.microsoft.Attention"};
    static const int64_t dims[] = {64, 3, 7, 7};
    const vqc_match_subject subject = {"conv1.weight", names, ops, 2, dims, 4, 0, 3};
    vqc_weight_spec spec;
    int named_rule_hit = 0;
    bool named = false;
    bool *hits = calloc(recipe->rule_count + 1, sizeof *hits);

    require(hits != NULL && recipe->version == 1 && recipe->name[0] != '\0');
    check_spec(&recipe->weights);
    spec = vqc_recipe_resolve(recipe, &subject, &named, hits);
    check_spec(&spec);
    for (size_t i = 0; i < recipe->rule_count; i++) {
        const vqc_match *match = &recipe->rules[i].match;
        require(recipe->rules[i].spec.set != 0);
        require(hits[i] == vqc_match_test(match, &subject));
        named_rule_hit = named_rule_hit || (hits[i] && match->name_count > 0);
    }
    require(named == (named_rule_hit != 0));
    free(hits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *sets[4];
    size_t set_count = 0;
    char *text = malloc(size + 1);
    size_t length;
    vqc_recipe *recipe = NULL;
    vqc_messages problems = {0};
    vqc_error error;
    vqc_status status;

    require(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    length = strlen(text);
    for (size_t at = length + 1; at <= size && set_count < 4; at += strlen(text + at) + 1) {
        sets[set_count++] = text + at;
    }
    status =
        vqc_recipe_parse(text, length, "fuzz.yaml", sets, set_count, &recipe, &problems, &error);
    if (status == VQC_OK) {
        require(problems.count == 0);
        check_recipe(recipe);
    } else {
        require(status == VQC_ERR_USAGE && recipe == NULL && problems.count > 0);
        require(strncmp(error.message, "fuzz.yaml:", 10) == 0 ||
                strncmp(error.message, "--set ", 6) == 0);
    }
    vqc_messages_clear(&problems);
    vqc_recipe_destroy(&recipe);
    free(text);
    return 0;
}
