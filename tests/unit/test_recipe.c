/* core/recipe.c: defaults, merging, globs, matching, resolving. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/recipe.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

Test(recipe, defaults)
{
    vqc_recipe *recipe;
    vqc_error error;

    cr_assert_eq(vqc_recipe_create_default(&recipe, &error), VQC_OK);
    cr_assert_str_eq(recipe->name, "int8");
    cr_assert_str_eq(recipe->path, "built-in default");
    cr_assert_eq(recipe->version, 1);
    cr_assert_eq(recipe->operators, VQC_OPERATORS_STANDARD);
    cr_assert_eq(recipe->objective, VQC_OBJECTIVE_SIZE);
    cr_assert_eq(recipe->rule_count, 0);
    cr_assert(isnan(recipe->gates.max_size_ratio) && isnan(recipe->gates.min_weight_sqnr_db));
    cr_assert(isnan(recipe->gates.layer_max_size_ratio));
    cr_assert(isnan(recipe->gates.layer_min_weight_sqnr_db));
    cr_assert_not(recipe->gates.remove_file);
    cr_assert_eq(recipe->report.sort, VQC_SORT_MODEL);
    cr_assert_null(recipe->report.file);
    cr_assert_eq(recipe->weights.set, 0);
    cr_assert_str_eq(recipe->weights.codec, "int");
    cr_assert_eq(recipe->weights.bits, 8);
    cr_assert_eq(recipe->weights.granularity, VQC_GRANULARITY_CHANNEL);
    cr_assert_eq(recipe->weights.block_size, 32);
    cr_assert(recipe->weights.symmetric);
    cr_assert_eq(recipe->weights.range, VQC_RANGE_AUTO);
    cr_assert_float_eq(recipe->weights.percentile, 99.99, 0);
    cr_assert_not(recipe->weights.reduce_range);
    cr_assert_eq(recipe->weights.min_elements, 1024);
    cr_assert_eq(recipe->weights.pattern, VQC_PATTERN_AUTO);
    cr_assert_eq(recipe->weights.activations, VQC_ACTIVATIONS_NONE);
    vqc_recipe_destroy(&recipe);
    cr_assert_null(recipe);
    vqc_recipe_destroy(&recipe);
    vqc_recipe_destroy(NULL);
}

/* A spec in which every field differs from the default: each bit must carry over its own key alone.
 */
static vqc_weight_spec other_spec(void)
{
    vqc_weight_spec spec = {.codec = "float16",
                            .bits = 3,
                            .granularity = VQC_GRANULARITY_BLOCK,
                            .block_size = 64,
                            .symmetric = false,
                            .range = VQC_RANGE_MSE,
                            .percentile = 90,
                            .reduce_range = true,
                            .min_elements = 7,
                            .pattern = VQC_PATTERN_FOLDABLE,
                            .activations = VQC_ACTIVATIONS_DYNAMIC};
    return spec;
}

static unsigned differing_keys(const vqc_weight_spec *a, const vqc_weight_spec *b)
{
    return (strcmp(a->codec, b->codec) != 0 ? VQC_SPEC_CODEC : 0u) |
           (a->bits != b->bits ? VQC_SPEC_BITS : 0u) |
           (a->granularity != b->granularity ? VQC_SPEC_GRANULARITY : 0u) |
           (a->block_size != b->block_size ? VQC_SPEC_BLOCK_SIZE : 0u) |
           (a->symmetric != b->symmetric ? VQC_SPEC_SYMMETRIC : 0u) |
           (a->range != b->range ? VQC_SPEC_RANGE : 0u) |
           (fabs(a->percentile - b->percentile) > 0 ? VQC_SPEC_PERCENTILE : 0u) |
           (a->reduce_range != b->reduce_range ? VQC_SPEC_REDUCE_RANGE : 0u) |
           (a->min_elements != b->min_elements ? VQC_SPEC_MIN_ELEMENTS : 0u) |
           (a->pattern != b->pattern ? VQC_SPEC_PATTERN : 0u) |
           (a->activations != b->activations ? VQC_SPEC_ACTIVATIONS : 0u);
}

Test(recipe, merge_takes_each_named_key_alone)
{
    for (unsigned bit = 1; bit <= VQC_SPEC_ACTIVATIONS; bit <<= 1) {
        vqc_weight_spec base = vqc_weight_spec_default();
        const vqc_weight_spec before = base;
        vqc_weight_spec over = other_spec();
        over.set = bit;
        vqc_weight_spec_merge(&base, &over);
        cr_assert_eq(differing_keys(&base, &before), bit, "bit %#x", bit);
        cr_assert_eq(differing_keys(&base, &over), ((VQC_SPEC_ACTIVATIONS << 1) - 1) & ~bit);
        cr_assert_eq(base.set, bit);
    }
}

Test(recipe, glob)
{
    static const struct {
        const char *glob;
        const char *text;
        bool fits;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"*", "", true},
        {"**", "anything/at.all", true},
        {"conv1", "conv1", true},
        {"conv1", "conv12", false},
        {"conv?", "conv12", false},
        {"conv??", "conv12", true},
        {"*.weight", "a.b.weight", true},
        {"*.weight", "a.b.weights", false},
        {"a*b*c", "a-b-b-c", true},
        {"a*b*c", "a-c-b", false},
        {"*ab", "aab", true},
        {"*aab*", "aaaab", true},
        {"l[0-3].w", "l2.w", true},
        {"l[0-3].w", "l4.w", false},
        {"l[!0-3].w", "l4.w", true},
        {"l[^0-3].w", "l2.w", false},
        {"[]]", "]", true},
        {"[!]]", "]", false},
        {"[!]]", "a", true},
        {"[a-]", "-", true},
        {"[a-c-e]", "-", true},
        {"[\\]]", "]", true},
        {"[\\a-\\c]", "b", true},
        {"[", "[", true}, /* never closed: literal */
        {"a[b", "a[b", true},
        {"a[b", "ab", false},
        {"w\\[0\\]", "w[0]", true},
        {"w\\[0\\]", "w0", false},
        {"\\*", "*", true},
        {"\\*", "x", false},
        {"\\", "\\", true}, /* nothing to escape: literal */
        {"[z-a]", "b", false},
        {"\xc3\xa9*", "\xc3\xa9t\xc3\xa9", true},
        {"[\x80-\xff]", "\xc3", true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        cr_assert_eq(vqc_glob_test(cases[i].glob, cases[i].text), cases[i].fits, "%s on %s",
                     cases[i].glob, cases[i].text);
    }
}

/* A backtracking matcher needs 2^500 steps for these; the criterion timeout makes that a failure.
 */
Test(recipe, glob_is_never_exponential, .timeout = 5)
{
    enum { STARS = 500, LENGTH = 20000 };
    static char glob[2 * STARS + 16];
    static char text[LENGTH + 1];

    memset(text, 'a', LENGTH);
    for (size_t i = 0; i < STARS; i++) {
        memcpy(glob + 2 * i, "*a", 2);
    }
    memcpy(glob + 2 * STARS, "b", 2);
    cr_assert_not(vqc_glob_test(glob, text));
    memcpy(glob + 2 * STARS, "*", 2);
    cr_assert(vqc_glob_test(glob, text));
    for (size_t i = 0; i < STARS; i++) {
        memcpy(glob + 2 * i, "*[", 2);
    }
    memcpy(glob + 2 * STARS, "b", 2);
    cr_assert_not(vqc_glob_test(glob, text));
}

static const char *const conv_names[] = {"/features/conv1", "/head/conv"};
static const char *const conv_ops[] = {"Conv", "com.acme.Conv"};
static const int64_t conv_dims[] = {64, 3, 7, 7};

static vqc_match_subject conv_subject(void)
{
    vqc_match_subject subject = {.tensor_name = "conv1.weight",
                                 .node_names = conv_names,
                                 .node_ops = conv_ops,
                                 .node_count = 2,
                                 .dims = conv_dims,
                                 .rank = 4,
                                 .index = 0,
                                 .count = 10};
    return subject;
}

static vqc_match any_match(void)
{
    vqc_match match = {.min_elements = -1, .max_elements = -1, .rank = -1};
    return match;
}

Test(recipe, match_names_and_ops)
{
    vqc_match_subject subject = conv_subject();
    vqc_match match = any_match();
    char *names[] = {(char *)"nothing", (char *)"conv1.*"};
    char *ops[] = {(char *)"MatMul", (char *)"com.acme.Conv"};

    cr_assert(vqc_match_test(&match, &subject), "no key set: everything matches");
    match.names = names;
    match.name_count = 1;
    cr_assert_not(vqc_match_test(&match, &subject));
    match.name_count = 2;
    cr_assert(vqc_match_test(&match, &subject), "tensor name");
    names[1] = (char *)"/head/*";
    cr_assert(vqc_match_test(&match, &subject), "name of the second node");
    match.ops = ops;
    match.op_count = 1;
    cr_assert_not(vqc_match_test(&match, &subject), "every key must match");
    match.op_count = 2;
    cr_assert(vqc_match_test(&match, &subject), "operator with its domain");
    ops[1] = (char *)"acme.Conv";
    cr_assert_not(vqc_match_test(&match, &subject));
    ops[1] = (char *)"conv";
    cr_assert_not(vqc_match_test(&match, &subject), "case counts");
    subject.node_count = 0;
    subject.tensor_name = NULL;
    cr_assert_not(vqc_match_test(&match, &subject), "nothing to compare with");
}

Test(recipe, match_sizes)
{
    static const int64_t huge[] = {INT64_MAX, 2};
    static const int64_t empty[] = {0, 5};
    vqc_match_subject subject = conv_subject(); /* 9408 elements */
    vqc_match match = any_match();

    match.min_elements = 9408;
    match.max_elements = 9408;
    cr_assert(vqc_match_test(&match, &subject));
    match.min_elements = 9409;
    match.max_elements = -1;
    cr_assert_not(vqc_match_test(&match, &subject));
    match.min_elements = -1;
    match.max_elements = 9407;
    cr_assert_not(vqc_match_test(&match, &subject));
    subject.dims = huge;
    subject.rank = 2;
    cr_assert_not(vqc_match_test(&match, &subject), "the product does not wrap");
    subject.dims = empty;
    match.max_elements = 0;
    cr_assert(vqc_match_test(&match, &subject));
    subject.rank = 0;
    match.max_elements = 1;
    match.rank = 0;
    cr_assert(vqc_match_test(&match, &subject), "a scalar has one element and no dimension");
}

Test(recipe, match_shape)
{
    vqc_match_subject subject = conv_subject();
    vqc_match match = any_match();
    int64_t shape[] = {64, -1, 7, 7};

    match.shape = shape;
    match.shape_rank = 4;
    cr_assert(vqc_match_test(&match, &subject));
    shape[3] = 5;
    cr_assert_not(vqc_match_test(&match, &subject));
    match.shape_rank = 3;
    cr_assert_not(vqc_match_test(&match, &subject));
    match.shape = NULL;
    match.rank = 4;
    cr_assert(vqc_match_test(&match, &subject));
    match.rank = 3;
    cr_assert_not(vqc_match_test(&match, &subject));
}

Test(recipe, match_first_and_last_mean_either_end)
{
    static const struct {
        int64_t first, last;
        const char *hits; /* of 10 layers */
    } cases[] = {{0, 0, "##########"}, {1, 0, "#........."},  {0, 2, "........##"},
                 {2, 1, "##.......#"}, {99, 0, "##########"}, {0, INT64_MAX, "##########"}};
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        vqc_match match = any_match();
        match.first = cases[c].first;
        match.last = cases[c].last;
        for (int64_t i = 0; i < 10; i++) {
            vqc_match_subject subject = conv_subject();
            subject.index = i;
            cr_assert_eq(vqc_match_test(&match, &subject), cases[c].hits[i] == '#',
                         "case %zu, layer %d", c, (int)i);
        }
    }
}

Test(recipe, resolve_later_rules_win_key_by_key)
{
    vqc_layer_rule rules[4];
    vqc_recipe *recipe;
    vqc_match_subject subject = conv_subject();
    char *conv[] = {(char *)"Conv"};
    char *gather[] = {(char *)"Gather"};
    char *name[] = {(char *)"conv1*"};
    bool hits[4] = {false, false, false, true};
    bool named = true;
    vqc_weight_spec spec;

    cr_assert_eq(vqc_recipe_create_default(&recipe, NULL), VQC_OK);
    memset(rules, 0, sizeof rules);
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        rules[i].match = any_match();
        rules[i].match.op_count = 1;
        rules[i].match.ops = conv;
    }
    rules[0].spec.set = VQC_SPEC_BITS | VQC_SPEC_SYMMETRIC;
    rules[0].spec.bits = 4;
    rules[0].spec.symmetric = false;
    rules[1].match.ops = gather;
    rules[1].spec.set = VQC_SPEC_BITS;
    rules[1].spec.bits = 2;
    rules[2].spec.set = VQC_SPEC_BITS;
    rules[2].spec.bits = 6;
    recipe->rules = rules;
    recipe->rule_count = 3;
    spec = vqc_recipe_resolve(recipe, &subject, &named, hits);
    cr_assert_eq(spec.bits, 6, "the last rule that matches");
    cr_assert_not(spec.symmetric, "keys that the last rule does not name stay");
    cr_assert_eq(spec.granularity, VQC_GRANULARITY_CHANNEL, "defaults stay");
    cr_assert(hits[0] && !hits[1] && hits[2] && hits[3]);
    cr_assert_not(named);
    rules[3].match = any_match();
    rules[3].match.names = name;
    rules[3].match.name_count = 1;
    recipe->rule_count = 4;
    (void)vqc_recipe_resolve(recipe, &subject, &named, NULL);
    cr_assert(named);
    (void)vqc_recipe_resolve(recipe, &subject, NULL, NULL);
    cr_assert_eq(recipe->weights.bits, 8, "the recipe itself is not touched");
    vqc_recipe_destroy(&recipe);
}

Test(recipe, resolve_drops_dynamic_where_it_cannot_be)
{
    vqc_recipe *recipe;
    vqc_match_subject subject = conv_subject();

    cr_assert_eq(vqc_recipe_create_default(&recipe, NULL), VQC_OK);
    recipe->weights.activations = VQC_ACTIVATIONS_DYNAMIC;
    cr_assert_eq(vqc_recipe_resolve(recipe, &subject, NULL, NULL).activations,
                 VQC_ACTIVATIONS_DYNAMIC);
    recipe->weights.bits = 4;
    cr_assert_eq(vqc_recipe_resolve(recipe, &subject, NULL, NULL).activations,
                 VQC_ACTIVATIONS_NONE);
    recipe->weights.bits = 8;
    recipe->weights.granularity = VQC_GRANULARITY_BLOCK;
    cr_assert_eq(vqc_recipe_resolve(recipe, &subject, NULL, NULL).activations,
                 VQC_ACTIVATIONS_NONE);
    recipe->weights.granularity = VQC_GRANULARITY_TENSOR;
    memcpy(recipe->weights.codec, "keep", 5);
    cr_assert_eq(vqc_recipe_resolve(recipe, &subject, NULL, NULL).activations,
                 VQC_ACTIVATIONS_NONE);
    vqc_recipe_destroy(&recipe);
}

Test(recipe, uses_codec_also_in_a_rule)
{
    vqc_layer_rule rules[2] = {{.spec = {.codec = "vq"}}, {.spec = {.bits = 4}}};
    vqc_recipe recipe = {.weights = {.codec = "int"}, .rules = rules, .rule_count = 2};

    cr_assert(vqc_recipe_uses_codec(&recipe, "int"));
    cr_assert_not(vqc_recipe_uses_codec(&recipe, "vq")); /* not set by the rule */
    rules[0].spec.set = VQC_SPEC_CODEC;
    cr_assert(vqc_recipe_uses_codec(&recipe, "vq"));
    cr_assert_not(vqc_recipe_uses_codec(&recipe, "keep"));
}
