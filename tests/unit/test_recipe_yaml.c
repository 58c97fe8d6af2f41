/* formats/recipe_yaml*.c: what is read, and every message word for word. Runs from the project's
 * root. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/recipe_yaml.h"
#include "tests/unit/recipe_problems.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_SETS 4

static void expect(const char *text, const char *want)
{
    recipe_problems_expect(text, NULL, 0, want);
}

static vqc_recipe *parse_good(const char *text, const char *const *sets, size_t set_count)
{
    vqc_recipe *recipe;
    vqc_error error = {.message = ""};
    vqc_status status = vqc_recipe_parse(text, strlen(text), "dir.d/my.good.yaml", sets, set_count,
                                         &recipe, NULL, &error);
    cr_assert_eq(status, VQC_OK, "%s", error.message);
    return recipe;
}

static void assert_same_spec(const vqc_weight_spec *a, const vqc_weight_spec *b)
{
    cr_assert_str_eq(a->codec, b->codec);
    cr_assert_eq(a->bits, b->bits);
    cr_assert_eq(a->granularity, b->granularity);
    cr_assert_eq(a->block_size, b->block_size);
    cr_assert_eq(a->symmetric, b->symmetric);
    cr_assert_eq(a->range, b->range);
    cr_assert_float_eq(a->percentile, b->percentile, 0);
    cr_assert_eq(a->reduce_range, b->reduce_range);
    cr_assert_eq(a->min_elements, b->min_elements);
    cr_assert_eq(a->pattern, b->pattern);
    cr_assert_eq(a->activations, b->activations);
}

Test(recipe_yaml, every_key_is_read)
{
    vqc_recipe *r =
        parse_good("version: 1\n"
                   "target: {operators: onnxruntime, objective: speed}\n"
                   "weights:\n"
                   "  codec: int\n"
                   "  bits: 4\n"
                   "  granularity: block\n"
                   "  block_size: 64\n"
                   "  symmetric: false\n"
                   "  range: percentile\n"
                   "  percentile: 99.5\n"
                   "  min_elements: 100\n"
                   "  reduce_range: false\n"
                   "  pattern: matmul_nbits\n"
                   "activations: none\n"
                   "layers:\n"
                   "  - match: {name: [\"*.w\", 123], op: Conv, min_elements: 5,\n"
                   "            max_elements: 6, shape: [64, \"*\", 3, 0], first: 2,\n"
                   "            last: 3}\n"
                   "    codec: float8e5m2\n"
                   "    granularity: tensor\n"
                   "  - match: {name: x, op: [Gemm, com.microsoft.Attention], rank: 2}\n"
                   "    pattern: auto\n"
                   "    bits: 8\n"
                   "    granularity: channel\n"
                   "    activations: dynamic\n"
                   "    reduce_range: true\n"
                   "calibrate: {}\n"
                   "prune: {}\n"
                   "gates:\n"
                   "  max_size_ratio: 0.3\n"
                   "  min_weight_sqnr_db: 25\n"
                   "  per_layer: {max_size_ratio: 5e-1, min_weight_sqnr_db: 1.5e1}\n"
                   "  on_miss: remove_file\n"
                   "report: {sort: error, top: 7, file: out/r.json}\n",
                   NULL, 0);
    const vqc_match *m = &r->rules[0].match;

    cr_assert_str_eq(r->path, "dir.d/my.good.yaml");
    cr_assert_str_eq(r->name, "my.good");
    cr_assert_eq(r->version, 1);
    cr_assert_eq(r->operators, VQC_OPERATORS_ONNXRUNTIME);
    cr_assert_eq(r->objective, VQC_OBJECTIVE_SPEED);
    assert_same_spec(&r->weights, &(vqc_weight_spec){.codec = "int",
                                                     .bits = 4,
                                                     .granularity = VQC_GRANULARITY_BLOCK,
                                                     .block_size = 64,
                                                     .range = VQC_RANGE_PERCENTILE,
                                                     .percentile = 99.5,
                                                     .min_elements = 100,
                                                     .pattern = VQC_PATTERN_MATMUL_NBITS});
    cr_assert_eq(r->weights.set, (VQC_SPEC_ACTIVATIONS << 1) - 1);
    cr_assert_eq(r->rule_count, 2);
    cr_assert_eq(m->name_count, 2);
    cr_assert_str_eq(m->names[0], "*.w");
    cr_assert_str_eq(m->names[1], "123");
    cr_assert_eq(m->op_count, 1);
    cr_assert_str_eq(m->ops[0], "Conv");
    cr_assert(m->min_elements == 5 && m->max_elements == 6 && m->first == 2 && m->last == 3);
    cr_assert(m->shape_rank == 4 && m->shape[0] == 64 && m->shape[1] == -1 && m->shape[3] == 0);
    cr_assert_eq(m->rank, -1);
    cr_assert_eq(r->rules[0].line, 16);
    cr_assert_eq(r->rules[0].column, 5);
    cr_assert_eq(r->rules[0].spec.set, VQC_SPEC_CODEC | VQC_SPEC_GRANULARITY);
    cr_assert_str_eq(r->rules[0].spec.codec, "float8e5m2");
    m = &r->rules[1].match;
    cr_assert(m->name_count == 1 && m->op_count == 2 && m->rank == 2 && m->shape == NULL);
    cr_assert(m->min_elements == -1 && m->max_elements == -1 && m->first == 0 && m->last == 0);
    cr_assert_str_eq(m->ops[1], "com.microsoft.Attention");
    cr_assert_eq(r->rules[1].spec.activations, VQC_ACTIVATIONS_DYNAMIC);
    cr_assert(r->rules[1].spec.reduce_range);
    cr_assert_float_eq(r->gates.max_size_ratio, 0.3, 0);
    cr_assert_float_eq(r->gates.min_weight_sqnr_db, 25, 0);
    cr_assert_float_eq(r->gates.layer_max_size_ratio, 0.5, 0);
    cr_assert_float_eq(r->gates.layer_min_weight_sqnr_db, 15, 0);
    cr_assert(r->gates.remove_file);
    cr_assert_eq(r->report.sort, VQC_SORT_ERROR);
    cr_assert_eq(r->report.top, 7);
    cr_assert_str_eq(r->report.file, "out/r.json");
    vqc_recipe_destroy(&r);
}

/* The defaults that the table shows to readers are those that the core has. */
Test(recipe_yaml, documented_defaults_are_the_defaults)
{
    static const char *const texts[] = {
        "version: 1\n",
        "version: 1\ntarget: {operators: standard, objective: size}\nactivations: none\n"
        "weights: {codec: int, bits: 8, granularity: channel, symmetric: true, range: auto,\n"
        "  reduce_range: false, min_elements: 1024, pattern: auto}\nreport: {sort: model, top: "
        "0}\n",
        "version: 1\ntarget:\nweights:\nlayers:\ncalibrate:\nprune: ~\ngates: null\nreport: {}\n"};
    vqc_recipe *want;
    vqc_recipe *got;

    cr_assert_eq(vqc_recipe_create_default(&want, NULL), VQC_OK);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        got = parse_good(texts[i], NULL, 0);
        assert_same_spec(&got->weights, &want->weights);
        cr_assert_eq(got->operators, want->operators);
        cr_assert_eq(got->objective, want->objective);
        cr_assert_eq(got->report.sort, want->report.sort);
        cr_assert_eq(got->report.top, want->report.top);
        cr_assert_eq(got->gates.remove_file, want->gates.remove_file);
        cr_assert_eq(got->rule_count, 0);
        vqc_recipe_destroy(&got);
    }
    got = parse_good("version: 1\nweights: {granularity: block, block_size: 32}\n", NULL, 0);
    cr_assert_eq(got->weights.block_size, want->weights.block_size);
    vqc_recipe_destroy(&got);
    got = parse_good("version: 1\nweights: {range: percentile, percentile: 99.99}\n", NULL, 0);
    cr_assert_float_eq(got->weights.percentile, want->weights.percentile, 0);
    vqc_recipe_destroy(&got);
    vqc_recipe_destroy(&want);
}

Test(recipe_yaml, shipped_recipes_load)
{
    static const char *const names[] = {
        "int8",        "int8-dynamic",      "int4-block32",   "float16", "mixed",
        "int8-static", "int8-qoperator",    "int16-static",   "fold",    "prune-50",
        "prune-int8",  "prune-int8-static", "prune-channels", "prune-vq"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        vqc_recipe *recipe;
        vqc_error error = {.message = ""};
        char path[64];
        (void)snprintf(path, sizeof path, "configs/%s.yaml", names[i]);
        cr_assert_eq(vqc_recipe_load(path, NULL, 0, &recipe, NULL, &error), VQC_OK, "%s",
                     error.message);
        cr_assert_str_eq(recipe->name, names[i]);
        cr_assert_str_eq(recipe->path, path);
        vqc_recipe_destroy(&recipe);
    }
}

Test(recipe_yaml, int8_yaml_is_the_built_in_default)
{
    vqc_recipe *file;
    vqc_recipe *built_in;

    cr_assert_eq(vqc_recipe_load("configs/int8.yaml", NULL, 0, &file, NULL, NULL), VQC_OK);
    cr_assert_eq(vqc_recipe_load(NULL, NULL, 0, &built_in, NULL, NULL), VQC_OK);
    cr_assert_str_eq(file->name, built_in->name);
    assert_same_spec(&file->weights, &built_in->weights);
    cr_assert_eq(file->operators, built_in->operators);
    cr_assert_eq(file->objective, built_in->objective);
    cr_assert_eq(file->rule_count, 0);
    cr_assert(isnan(file->gates.max_size_ratio) && isnan(file->gates.min_weight_sqnr_db));
    cr_assert(isnan(file->gates.layer_max_size_ratio));
    cr_assert(isnan(file->gates.layer_min_weight_sqnr_db));
    cr_assert_eq(file->report.sort, built_in->report.sort);
    cr_assert_eq(file->report.top, built_in->report.top);
    cr_assert_null(file->report.file);
    vqc_recipe_destroy(&file);
    vqc_recipe_destroy(&built_in);
}

/* Every YAML example in the reference is a recipe (with version: 1 put before it where it is left
 * out). */
Test(recipe_yaml, examples_in_the_reference_load)
{
    FILE *file = fopen("docs/RECIPE.md", "rb");
    char line[1024];
    char text[8192] = "";
    bool inside = false;
    size_t examples = 0;

    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (!inside && strcmp(line, "```yaml\n") == 0) {
            inside = true;
            *text = '\0';
        } else if (inside && strcmp(line, "```\n") == 0) {
            char whole[8300];
            inside = false;
            (void)snprintf(whole, sizeof whole, "%s%s",
                           strstr(text, "version: 1") == NULL ? "version: 1\n" : "", text);
            expect(whole, "");
            examples++;
        } else if (inside) {
            cr_assert(strlen(text) + strlen(line) < sizeof text);
            strcat(text, line);
        }
    }
    (void)fclose(file);
    cr_assert(examples >= 3);
}

Test(recipe_yaml, unknown_keys)
{
    expect("version: 1\nweights:\n  granularty: block\n",
           "t.yaml:3:3: unknown key \"granularty\"; did you mean \"granularity\"?");
    expect("version: 1\nWeights: {}\n", "t.yaml:2:1: unknown key \"Weights\"; did you mean "
                                        "\"weights\"?");
    expect("version: 1\nweights: {block-size: 4, btis: 4}\n",
           "t.yaml:2:11: unknown key \"block-size\"; did you mean \"block_size\"?\n"
           "t.yaml:2:26: unknown key \"btis\"; did you mean \"bits\"?");
    expect("version: 1\ntarget: {zzz: 1}\n",
           "t.yaml:2:10: unknown key \"zzz\"; expected one of operators, objective, "
           "output_sqnr_db, max_accuracy_drop, fallback");
    expect("version: 1\nbits: 4\n", "t.yaml:2:1: unknown key \"bits\"; it belongs under weights");
    expect("version: 1\nlayers:\n- op: Conv\n  match: {first: 1}\n  bits: 4\n",
           "t.yaml:3:3: unknown key \"op\"; it belongs under layers[].match");
    expect("version: 1\nweights: {activations: dynamic}\n",
           "t.yaml:2:11: unknown key \"activations\"; it belongs under layers[]");
    expect("version: 1\nweights: {gates: 1}\n",
           "t.yaml:2:11: unknown key \"gates\"; it belongs at the top of the recipe");
    expect("version: 1\nweights: {<<: {}}\n",
           "t.yaml:2:11: unknown key \"<<\"; merge keys are not supported");
    expect("verson: 1\n", "t.yaml:1:1: unknown key \"verson\"; did you mean \"version\"?");
    expect("version: 1\nlayers:\n  - mach: {op: Conv}\n    bits: 4\n",
           "t.yaml:3:5: unknown key \"mach\"; did you mean \"match\"?");
}

Test(recipe_yaml, wrong_values)
{
    expect("version: 1\nweights:\n  bits: 7\n",
           "t.yaml:3:9: weights.bits: got \"7\", expected one of 2, 3, 4, 5, 6, 8, 16");
    expect("version: 1\nweights: {bits: 0x4}\n",
           "t.yaml:2:17: weights.bits: got \"0x4\", expected one of 2, 3, 4, 5, 6, 8, 16");
    expect("version: 1\nweights: {bits: '4'}\n",
           "t.yaml:2:17: weights.bits: got the string \"4\", expected one of 2, 3, 4, 5, 6, 8, 16");
    expect("version: 1\nweights: {bits: 4.0}\n",
           "t.yaml:2:17: weights.bits: got \"4.0\", expected one of 2, 3, 4, 5, 6, 8, 16");
    expect("version: 1\nweights: {bits: [4]}\n",
           "t.yaml:2:17: weights.bits: got a list of 1, expected one of 2, 3, 4, 5, 6, 8, 16");
    expect("version: 1\nweights: {bits: {a: 4}}\n",
           "t.yaml:2:17: weights.bits: got a mapping, expected one of 2, 3, 4, 5, 6, 8, 16");
    expect("version: 1\nweights: {bits: }\n",
           "t.yaml:2:17: weights.bits: got nothing, expected one of 2, 3, 4, 5, 6, 8, 16");
    expect("version: 1\nweights: {granularity: block, block_size: 1}\n",
           "t.yaml:2:43: weights.block_size: got \"1\", expected an integer of at least 2");
    expect(
        "version: 1\nweights: {min_elements: 99999999999999999999}\n",
        "t.yaml:2:25: weights.min_elements: got \"99999999999999999999\", expected an integer of "
        "at least 0");
    expect("version: 1\nweights: {min_elements: 1_000}\n",
           "t.yaml:2:25: weights.min_elements: got \"1_000\", expected an integer of at least 0");
    expect(
        "version: 1\nweights: {symmetric: yes}\n",
        "t.yaml:2:22: weights.symmetric: got \"yes\", expected true or false; did you mean true?");
    expect("version: 1\nweights: {symmetric: Off}\n",
           "t.yaml:2:22: weights.symmetric: got \"Off\", expected true or false; did you mean "
           "false?");
    expect("version: 1\nweights: {symmetric: \"true\"}\n",
           "t.yaml:2:22: weights.symmetric: got the string \"true\", expected true or false");
    expect("version: 1\nreport: {file: ''}\n",
           "t.yaml:2:16: report.file: got an empty string, expected 1 to 1024 bytes without NUL");
    expect("version: 1\nreport: {file: \"a\\0b\"}\n",
           "t.yaml:2:16: report.file: got a string with a NUL byte, expected 1 to 1024 bytes "
           "without NUL");
    expect("version: 1\nreport: {file: ~}\n",
           "t.yaml:2:16: report.file: got nothing, expected a string");
    expect("version: 1\nweights: int8\n", "t.yaml:2:10: weights: got \"int8\", expected a mapping");
    expect("version: 1\nlayers: {match: 1}\n",
           "t.yaml:2:9: layers: got a mapping, expected a list of mappings");
}

Test(recipe_yaml, real_numbers)
{
    static const char *const bad[] = {".nan", "nan", ".inf", "-.inf", "1e400", "0x1p-2", "1,5",
                                      "0",    "-1",  "1.5",  "e",     ".",     "1.2.3",  "--1"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char text[64];
        char want[160];
        /* In a block, as a comma would end the value in { }. */
        (void)snprintf(text, sizeof text, "version: 1\ngates:\n  max_size_ratio: %s\n", bad[i]);
        (void)snprintf(want, sizeof want,
                       "t.yaml:3:19: gates.max_size_ratio: got \"%s\", expected a number above 0 "
                       "and at most 1",
                       bad[i]);
        expect(text, want);
    }
    expect("version: 1\ngates: {max_size_ratio: 1}\n", "");
    expect("version: 1\ngates: {max_size_ratio: +.5e-3}\n", "");
    expect(
        "version: 1\nweights: {range: percentile, percentile: 50}\n",
        "t.yaml:2:42: weights.percentile: got \"50\", expected a number above 50 and at most 100");
}

Test(recipe_yaml, words)
{
    expect("version: 1\ntarget: {operators: onnx-runtime}\n",
           "t.yaml:2:21: target.operators: got \"onnx-runtime\", expected standard or onnxruntime; "
           "did you mean \"onnxruntime\"?");
    expect("version: 1\nweights: {range: max}\n",
           "t.yaml:2:18: weights.range: got \"max\", expected one of auto, minmax, percentile, "
           "mse; did "
           "you mean \"minmax\"?");
    expect("version: 1\nweights: {range: entropy}\n",
           "t.yaml:2:18: weights.range: got \"entropy\", expected one of auto, minmax, percentile, "
           "mse");
    expect(
        "version: 1\nweights: {granularity: per_channel}\n",
        "t.yaml:2:24: weights.granularity: got \"per_channel\", expected one of tensor, channel, "
        "block; did you mean \"channel\"?");
    expect("version: 1\nweights: {codec: fp16}\n",
           "t.yaml:2:18: weights.codec: got \"fp16\", expected one of keep, float16, bfloat16, "
           "float8e4m3fn, float8e5m2, int, vq; did you mean \"float16\"?");
    expect("version: 1\nweights: {codec: uint4}\n",
           "t.yaml:2:18: weights.codec: got \"uint4\", expected one of keep, float16, bfloat16, "
           "float8e4m3fn, float8e5m2, int, vq; did you mean codec: int with bits: 4 and symmetric: "
           "false?");
    expect("version: 1\nweights: {codec: \"in\\0t\\x1b[31m\"}\n",
           "t.yaml:2:18: weights.codec: got \"in\\x00t\\x1B[31m\", expected one of keep, float16, "
           "bfloat16, float8e4m3fn, float8e5m2, int, vq");
    expect("version: 1\ngates: {max_size_ratio: 0.5, on_miss: remove}\n",
           "t.yaml:2:39: gates.on_miss: got \"remove\", expected keep_file or remove_file; did you "
           "mean \"remove_file\"?");
}

Test(recipe_yaml, documents)
{
    expect("", "t.yaml:1:1: got an empty recipe, expected at least version: 1");
    expect("# only a comment\n\n", "t.yaml:1:1: got an empty recipe, expected at least version: 1");
    expect("---\n", "t.yaml:1:1: got an empty recipe, expected at least version: 1");
    expect("- version: 1\n",
           "t.yaml:1:1: got a list of 1, expected a mapping that starts with version: 1");
    expect("version 1\n",
           "t.yaml:1:1: got \"version 1\", expected a mapping that starts with version: 1");
    expect("weights: {bits: 4}\n", "t.yaml:1:1: missing key \"version\", expected version: 1");
    expect("version: 2\nsomething: new\n",
           "t.yaml:1:10: version: got 2, expected 1, the only version this vqc reads");
    expect("version: one\n", "t.yaml:1:10: version: got \"one\", expected 1");
    expect("version: 1\n---\nversion: 1\n",
           "t.yaml:2:1: a second document starts here; expected one recipe per file");
    expect("\xef\xbb\xbfversion: 1\r\nweights:\r\n  bits: 4\r\n", "");
    expect("\xef\xbb\xbfversion: 1\r\nweights:\r\n  bitz: 4\r\n",
           "t.yaml:3:3: unknown key \"bitz\"; did you mean \"bits\"?");
    expect("{\"version\": 1, \"weights\": {\"codec\": \"float16\"}}", "");
    expect("%YAML 1.2\n---\nversion: 1\n...\n", "");
    expect(
        "version: 1\nweights: {b\xc3\xa9t: 1, x: 2}\n",
        "t.yaml:2:11: unknown key \"b\xc3\xa9t\"; expected one of codec, bits, granularity, "
        "block_size, symmetric, range, percentile, reduce_range, rounding, min_elements, pattern, "
        "sparse, "
        "dim, codebook_size, bits_per_weight, along, codebook_type, stages, channel_scale, "
        "output_groups, input_groups, shared_codebook\n"
        "t.yaml:2:19: unknown key \"x\"; expected one of codec, bits, granularity, block_size, "
        "symmetric, range, percentile, reduce_range, rounding, min_elements, pattern, sparse, dim, "
        "codebook_size, bits_per_weight, along, codebook_type, stages, channel_scale, "
        "output_groups, input_groups, shared_codebook");
}

Test(recipe_yaml, utf16)
{
    static const char text[] = "\xff\xfev\0e\0r\0s\0i\0o\0n\0:\0 \0"
                               "1\0\n\0b\0i\0t\0s\0:\0 \0"
                               "4\0";
    vqc_recipe *recipe;
    vqc_error error;

    cr_assert_eq(vqc_recipe_parse(text, sizeof text - 1, "t.yaml", NULL, 0, &recipe, NULL, &error),
                 VQC_ERR_USAGE);
    cr_assert_str_eq(error.message, "t.yaml:2:1: unknown key \"bits\"; it belongs under weights");
}

Test(recipe_yaml, not_yaml)
{
    expect("version: 1\nlayers:\n- match: {name: *.weight}\n",
           "t.yaml:3:18: not valid YAML: did not find expected alphabetic or numeric character "
           "while scanning an alias; a value that starts with * needs quotes: \"*.weight\"");
    expect("version: 1\nlayers:\n- match: {name: *weight}\n",
           "t.yaml:3:17: unknown alias *weight; a value that starts with * needs quotes: "
           "\"*weight\"");
    expect("version: 1\nweights:\n\tbits: 4\n",
           "t.yaml:3:1: not valid YAML: found character that cannot start any token while scanning "
           "for the next token; YAML is indented with spaces, not tabs");
    expect("version: 1\nweights: \xff\n",
           "t.yaml:2:10: not valid YAML: invalid leading UTF-8 octet; expected UTF-8 text without "
           "control characters");
    expect("version: 1\nweights: \x01\n",
           "t.yaml:2:10: not valid YAML: control characters are not allowed; expected UTF-8 text "
           "without control characters");
    expect("version: 1\nweights: {bits: 4\n",
           "t.yaml:3:1: not valid YAML: did not find expected ',' or '}' while parsing a flow "
           "mapping");
    expect("version: 1\nweights: !!map {}\n",
           "t.yaml:2:10: YAML tag \"tag:yaml.org,2002:map\" is not supported; a value that starts "
           "with ! needs quotes");
    expect("version: 1\n[a]: 1\n", "t.yaml:2:1: got a list of 1 as a key, expected a name");
}

Test(recipe_yaml, duplicate_keys)
{
    expect("version: 1\nweights: {bits: 4}\nweights: {bits: 8}\n",
           "t.yaml:3:1: duplicate key \"weights\"; the first is in line 2");
    expect("version: 1\nweights:\n  bits: 4\n  symmetric: true\n  \"bits\": 4\n",
           "t.yaml:5:3: duplicate key \"bits\"; the first is in line 3");
}

Test(recipe_yaml, aliases)
{
    expect("version: 1\nweights: &w {bits: 4}\nlayers:\n- {match: {op: &o [Conv, Gemm]}, bits: "
           "8}\n- {match: {op: *o, rank: 2}, bits: 6}\n",
           "");
    expect("version: 1\nweights: &w {range: *w}\n",
           "t.yaml:2:21: unknown alias *w; a value that starts with * needs quotes: \"*w\"");
    /* Changing one use of an alias with --set leaves the other alone. */
    vqc_recipe *recipe =
        parse_good("version: 1\nlayers:\n- &r {match: {first: 1}, bits: 4}\n- *r\n",
                   (const char *const[]){"weights.bits=6"}, 1);
    cr_assert_eq(recipe->rule_count, 2);
    cr_assert(recipe->rules[0].spec.bits == 4 && recipe->rules[1].spec.bits == 4);
    vqc_recipe_destroy(&recipe);
}

Test(recipe_yaml, layer_rules)
{
    expect("version: 1\nlayers:\n- match: {}\n  bits: 4\n",
           "t.yaml:3:10: layers[0].match: got no keys, expected at least one; use weights for all "
           "layers");
    expect("version: 1\nlayers:\n- match:\n  bits: 4\n",
           "t.yaml:3:9: layers[0].match: got no keys, expected at least one; use weights for all "
           "layers");
    expect("version: 1\nlayers:\n- bits: 4\n",
           "t.yaml:3:3: layers[0]: missing key \"match\", expected which layers the rule is for; "
           "use weights for all of them");
    expect(
        "version: 1\nlayers:\n- match: {op: Conv}\n",
        "t.yaml:3:3: layers[0]: nothing to do, expected a key of weights (such as codec or bits), "
        "activations, observer or sparsity beside match");
    expect("version: 1\nlayers: [Conv]\n",
           "t.yaml:2:10: layers[0]: got \"Conv\", expected a mapping");
    expect("version: 1\nlayers:\n- {match: {op: []}, bits: 4}\n",
           "t.yaml:3:16: layers[0].match.op: got a list of 0, expected a string or a list of "
           "strings");
    expect("version: 1\nlayers:\n- {match: {name: [a, [b]]}, bits: 4}\n",
           "t.yaml:3:22: layers[0].match.name: got a list of 1, expected a string or a list of "
           "strings");
    expect("version: 1\nlayers:\n- {match: {shape: [1, -1, x]}, bits: 4}\n",
           "t.yaml:3:23: layers[0].match.shape: got \"-1\", expected a list of sizes or \"*\"\n"
           "t.yaml:3:27: layers[0].match.shape: got \"x\", expected a list of sizes or \"*\"");
    expect("version: 1\nlayers:\n- {match: {first: 0}, bits: 4}\n",
           "t.yaml:3:19: layers[0].match.first: got \"0\", expected an integer of at least 1");
    expect(
        "version: 1\nlayers:\n- {match: {op: [Conv, matmul]}, bits: 4}\n",
        "t.yaml:3:23: layers[0].match.op: got \"matmul\", expected an operator's exact name; did "
        "you mean \"MatMul\"?");
    expect("version: 1\nlayers:\n- {match: {op: com.acme.matmul}, bits: 4}\n", "");
    expect("version: 1\nlayers:\n- {match: {name: 'w[0'}, bits: 4}\n",
           "t.yaml:3:18: layers[0].match.name: got \"w[0\": a [ is never closed; write \\[ for a "
           "bracket");
    expect("version: 1\nlayers:\n- {match: {name: 'w\\'}, bits: 4}\n",
           "t.yaml:3:18: layers[0].match.name: got \"w\\\": a \\ at the end escapes nothing; write "
           "\\\\ for a backslash");
    expect("version: 1\nlayers:\n- {match: {name: ['w\\[0', 'a[]b]', '[!]]', '[\\]]']}, bits: 4}\n",
           "");
    expect("version: 1\nlayers:\n- {match: {min_elements: 9, max_elements: 8}, bits: 4}\n",
           "t.yaml:3:43: layers[0].match.max_elements: got 8, expected at least min_elements (9)");
    expect("version: 1\nlayers:\n- {match: {rank: 2, shape: [1, 2, 3]}, bits: 4}\n",
           "t.yaml:3:18: layers[0].match.rank: got 2, expected the 3 of shape; remove it");
}

Test(recipe_yaml, keys_without_effect)
{
    expect("version: 1\nweights: {codec: float16, bits: 8}\n",
           "t.yaml:2:33: weights.bits has no effect with codec float16; remove it, or set codec: "
           "int");
    expect("version: 1\nweights: {codec: keep, min_elements: 8, pattern: auto}\n",
           "t.yaml:2:38: weights.min_elements has no effect with codec keep; remove it, or set "
           "another codec\n"
           "t.yaml:2:50: weights.pattern has no effect with codec keep; remove it, or set codec: "
           "int");
    expect("version: 1\nweights: {codec: float8e4m3fn, granularity: tensor, range: mse}\n",
           "t.yaml:2:60: weights.range has no effect with codec float8e4m3fn; remove it, or set "
           "codec: int");
    expect("version: 1\nweights: {block_size: 32}\n",
           "t.yaml:2:23: weights.block_size has no effect with granularity channel; remove it, or "
           "set granularity: block");
    expect("version: 1\nweights: {percentile: 99, range: mse}\n",
           "t.yaml:2:23: weights.percentile has no effect with range mse; remove it, or set range: "
           "percentile");
    expect("version: 1\nweights: {reduce_range: true, bits: 4}\n",
           "t.yaml:2:25: weights.reduce_range has no effect with bits 4; remove it, or set bits: "
           "8");
    expect("version: 1\ngates: {on_miss: remove_file}\n",
           "t.yaml:2:18: gates.on_miss has no effect without a limit; remove it, or set "
           "max_size_ratio or min_weight_sqnr_db");
    /* A rule answers for what it sets itself, not for what it inherits. */
    expect("version: 1\nlayers:\n- {match: {first: 1}, codec: float16}\nweights: {bits: 4, "
           "granularity: block, block_size: 16}\n",
           "");
    expect("version: 1\nlayers:\n- {match: {first: 1}, bits: 8}\nweights: {codec: float16}\n",
           "t.yaml:3:29: layers[0].bits has no effect with codec float16; remove it, or set codec: "
           "int");
    expect("version: 1\nlayers:\n- {match: {first: 1}, block_size: 8}\nweights: {granularity: "
           "block}\n",
           "");
    /* What could not be read gives no reason for a second complaint. */
    expect(
        "version: 1\nweights: {granularity: blok, block_size: 32}\n",
        "t.yaml:2:24: weights.granularity: got \"blok\", expected one of tensor, channel, block; "
        "did you mean \"block\"?");
}

Test(recipe_yaml, matmul_nbits)
{
#define ORT "version: 1\ntarget: {operators: onnxruntime}\nweights: "
#define NBITS "weights.pattern: matmul_nbits "
    expect(ORT "{pattern: matmul_nbits, granularity: block}\n", "");
    expect(ORT "{pattern: matmul_nbits, granularity: block, bits: 3, block_size: 48}\n",
           "t.yaml:3:60: " NBITS "takes bits 2, 4 or 8, got 3; change bits, or set pattern: auto\n"
           "t.yaml:3:75: " NBITS "takes a block_size that is a power of two and at least 16, got "
           "48; change block_size, or set pattern: auto");
    expect(ORT "{pattern: matmul_nbits, granularity: block, block_size: 8}\n",
           "t.yaml:3:66: " NBITS "takes a block_size that is a power of two and at least 16, got "
           "8; change block_size, or set pattern: auto");
    expect(ORT "{pattern: matmul_nbits}\n",
           "t.yaml:3:20: " NBITS "has a scale per block, got granularity channel; set granularity: "
           "block, or pattern: auto");
    expect(ORT "{pattern: matmul_nbits, codec: float8e5m2}\n",
           "t.yaml:3:20: weights.pattern has no effect with codec float8e5m2; remove it, or set "
           "codec: int");
    expect("version: 1\nweights: {pattern: matmul_nbits, granularity: block}\n",
           "t.yaml:2:20: " NBITS "is an operator of ONNX Runtime, got target.operators: standard; "
           "set target.operators: onnxruntime, or pattern: auto");
    expect(ORT "{pattern: matmul_nbits, granularity: block}\nlayers:\n"
               "- {match: {first: 1}, bits: 6}\n- {match: {last: 1}, codec: float16}\n",
           "t.yaml:5:29: layers[0].pattern: matmul_nbits takes bits 2, 4 or 8, got 6; change bits, "
           "or set pattern: auto");
}

Test(recipe_yaml, dynamic)
{
    expect("version: 1\nactivations: dynamic\nweights: {granularity: tensor}\n", "");
    expect(
        "version: 1\nactivations: dynamic\nweights: {bits: 4}\n",
        "t.yaml:2:14: activations: dynamic takes codec int with bits 8 and granularity tensor or "
        "channel, got bits 4; change that, or set activations: none");
    expect(
        "version: 1\nactivations: dynamic\nweights: {codec: float16}\n",
        "t.yaml:2:14: activations: dynamic takes codec int with bits 8 and granularity tensor or "
        "channel, got codec float16; change that, or set activations: none");
    expect(
        "version: 1\nlayers:\n- {match: {op: Gemm}, activations: dynamic, granularity: block}\n",
        "t.yaml:3:36: layers[0].activations: dynamic takes codec int with bits 8 and granularity "
        "tensor or channel, got granularity block; change that, or set activations: none");
    expect("version: 1\nactivations: dynamic\nlayers:\n- {match: {op: Gemm}, bits: 4}\n"
           "- {match: {op: Conv}, granularity: block}\n- {match: {op: Gather}, codec: keep}\n"
           "- {match: {op: RNN}, bits: 4, activations: none}\n",
           "t.yaml:4:29: layers[0].bits: got 4, expected 8 with activations: dynamic; add "
           "activations: none here to store these weights only\n"
           "t.yaml:5:36: layers[1].granularity: got block, expected tensor or channel with "
           "activations: dynamic; add activations: none here to store these weights only");
}

Test(recipe_yaml, all_problems_in_one_run_in_order)
{
    static const char *const sets[] = {"weights.bitz=4", "foo", "report.top=-1"};
    vqc_recipe *recipe;
    vqc_messages problems = {0};
    vqc_error error;
    const char *text = "version: 1\nlayers:\n- {match: {op: Conv}, codec: float16, bits: 4}\n"
                       "weights:\n  symmetric: 3\n  codc: int\n  bits: 9\n"
                       "gates: {max_size_ratio: 2}\nrepport: 1\n";

    recipe_problems_expect(
        text, sets, 3,
        "t.yaml:3:45: layers[0].bits has no effect with codec float16; remove it, or set codec: "
        "int\n"
        "t.yaml:5:14: weights.symmetric: got \"3\", expected true or false\n"
        "t.yaml:6:3: unknown key \"codc\"; did you mean \"codec\"?\n"
        "t.yaml:7:9: weights.bits: got \"9\", expected one of 2, 3, 4, 5, 6, 8, 16\n"
        "t.yaml:8:25: gates.max_size_ratio: got \"2\", expected a number above 0 and at most 1\n"
        "t.yaml:9:1: unknown key \"repport\"; did you mean \"report\"?\n"
        "--set weights.bitz=4: unknown key \"bitz\"; did you mean \"bits\"?\n"
        "--set foo: got no \"=\", expected key=value\n"
        "--set report.top=-1: report.top: got \"-1\", expected an integer of at least 0");
    cr_assert_eq(
        vqc_recipe_parse(text, strlen(text), "t.yaml", sets, 3, &recipe, &problems, &error),
        VQC_ERR_USAGE);
    cr_assert_str_eq(error.message, "t.yaml:3:45: layers[0].bits has no effect with codec float16; "
                                    "remove it, or set codec: int (and 8 more)");
    vqc_messages_clear(&problems);
    cr_assert_eq(vqc_recipe_parse(text, strlen(text), "t.yaml", sets, 3, &recipe, NULL, NULL),
                 VQC_ERR_USAGE, "neither list nor error record is needed");
}

Test(recipe_yaml, set_values)
{
    static const char *const sets[] = {"weights.bits=2",
                                       "target.objective=speed",
                                       "activations=none",
                                       "gates.max_size_ratio=0.3",
                                       "weights.bits=4",
                                       "report.file=a=b#c: d",
                                       "layers=[{match: {op: Gather}, codec: keep}]",
                                       "gates.per_layer={max_size_ratio: 0.5}"};
    vqc_recipe *r = parse_good("version: 1\nweights: {bits: 8}\ngates: 3\n", sets, COUNT_OF(sets));

    cr_assert_eq(r->weights.bits, 4, "the last one wins");
    cr_assert_eq(r->objective, VQC_OBJECTIVE_SPEED);
    cr_assert_float_eq(r->gates.max_size_ratio, 0.3, 0);
    cr_assert_float_eq(r->gates.layer_max_size_ratio, 0.5, 0);
    cr_assert_str_eq(r->report.file, "a=b#c: d");
    cr_assert_eq(r->rule_count, 1);
    cr_assert_eq(r->rules[0].line, 0);
    cr_assert_str_eq(r->rules[0].spec.codec, "keep");
    cr_assert_str_eq(r->name, "my.good");
    vqc_recipe_destroy(&r);
}

Test(recipe_yaml, set_names_the_default)
{
    static const struct {
        const char *set, *name;
    } cases[] = {{"weights.bits=4", "int4"},
                 {"weights.codec=float16", "float16"},
                 {"activations=dynamic", "int8-dynamic"},
                 {"report.top=3", "int8"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        vqc_recipe *recipe;
        cr_assert_eq(vqc_recipe_load(NULL, &cases[i].set, 1, &recipe, NULL, NULL), VQC_OK);
        cr_assert_str_eq(recipe->name, cases[i].name);
        cr_assert_str_eq(recipe->path, "built-in default");
        vqc_recipe_destroy(&recipe);
    }
}

Test(recipe_yaml, set_problems)
{
    static const struct {
        const char *set, *want;
    } cases[] = {
        {"weights.bitz=4", "unknown key \"bitz\"; did you mean \"bits\"?"},
        {"bits=4", "unknown key \"bits\"; it belongs under weights"},
        {"weights.bits=", "weights.bits: got nothing, expected one of 2, 3, 4, 5, 6, 8, 16"},
        {"weights.bits= 4", "weights.bits: got \" 4\", expected one of 2, 3, 4, 5, 6, 8, 16"},
        {"weights.bits=\"4\"",
         "weights.bits: got the string \"4\", expected one of 2, 3, 4, 5, 6, 8, 16"},
        {"weights", "got no \"=\", expected key=value"},
        {"=4", "got an empty key, expected key=value"},
        {"weights.=4", "got an empty key, expected key=value"},
        {".bits=4", "got an empty key, expected key=value"},
        {"layers.0.bits=4", "cannot reach into the list \"layers\", expected the whole list"},
        {"version.x=1", "version: got a mapping, expected 1"},
        {"version=2", "version: got 2, expected 1, the only version this vqc reads"},
        {"layers=[{match: {op: Gather}]",
         "not valid YAML: did not find expected ',' or '}' while parsing a flow mapping"},
        {"weights={bits: 4, bits: 8}", "duplicate key \"bits\"; the first is in line 1"},
        {"weights.block_size=8", "weights.block_size has no effect with granularity channel; "
                                 "remove it, or set granularity: block"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char want[512];
        (void)snprintf(want, sizeof want, "--set %s: %s", cases[i].set, cases[i].want);
        recipe_problems_expect("version: 1\nlayers: [{match: {op: Conv}, bits: 6}]\n",
                               &cases[i].set, 1, want);
    }
}

/* A --set may overrule what the file builds upon without editing the file. */
Test(recipe_yaml, set_overrules_without_complaint)
{
    recipe_problems_expect(
        "version: 1\nweights: {bits: 4, granularity: block, block_size: 16, range: "
        "percentile, percentile: 99}\nlayers: [{match: {op: Conv}, bits: 6}]\n",
        (const char *const[]){"weights.codec=float16"}, 1, "");
    recipe_problems_expect("version: 1\nweights: {granularity: block, block_size: 16}\n",
                           (const char *const[]){"weights.granularity=tensor"}, 1, "");
    recipe_problems_expect("version: 1\nweights: {range: percentile, percentile: 99}\n",
                           (const char *const[]){"weights.range=mse"}, 1, "");
}

Test(recipe_yaml, files)
{
    vqc_recipe *recipe;
    vqc_messages problems = {0};
    vqc_error error;
    char path[] = "/tmp/vqc-recipe-XXXXXX";
    char want[256];
    int file = mkstemp(path);
    FILE *stream = fdopen(file, "wb");

    cr_assert_not_null(stream);
    cr_assert_eq(vqc_recipe_load("no/such.yaml", NULL, 0, &recipe, &problems, &error), VQC_ERR_IO);
    cr_assert_str_eq(error.message, "no/such.yaml: cannot be opened: No such file or directory");
    cr_assert_eq(vqc_recipe_load("configs", NULL, 0, &recipe, &problems, &error), VQC_ERR_IO);
    cr_assert_str_eq(error.message, "configs: cannot be read: Is a directory");
    cr_assert_eq(problems.count, 0);
    for (size_t i = 0; i <= 1 << 20; i++) {
        cr_assert(fputc('#', stream) != EOF);
    }
    cr_assert_eq(fclose(stream), 0);
    cr_assert_eq(vqc_recipe_load(path, NULL, 0, &recipe, &problems, &error), VQC_ERR_USAGE);
    (void)snprintf(want, sizeof want, "%s: recipe too large: expected at most 1048576 bytes", path);
    cr_assert_str_eq(error.message, want);
    cr_assert_eq(problems.count, 1);
    cr_assert_str_eq(problems.items[0], want);
    cr_assert_eq(truncate(path, 0), 0);
    vqc_messages_clear(&problems);
    cr_assert_eq(vqc_recipe_load(path, NULL, 0, &recipe, &problems, &error), VQC_ERR_USAGE);
    (void)snprintf(want, sizeof want, "%s:1:1: got an empty recipe, expected at least version: 1",
                   path);
    cr_assert_str_eq(error.message, want);
    vqc_messages_clear(&problems);
    (void)unlink(path);
}
