/* What is said about running both models and about quantized activations: as text and as JSON. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/show_verification.c"

enum { VALUES = 10, ACTIVATIONS = 9 };

static vqc_value_error outputs[2];
static vqc_value_error values[VALUES];
static vqc_activation_report activations[ACTIVATIONS];
static char names[VALUES][8];
static vqc_report report;

static vqc_value_error make_value(const char *name, double sqnr_db, double added_db)
{
    const double none = (double)NAN;
    return (vqc_value_error){.name = name,
                             .node = name,
                             .op = "Conv",
                             .sqnr_db = sqnr_db,
                             .cosine = none,
                             .max_abs_error = none,
                             .agreement = none,
                             .added_db = added_db};
}

static void setup(void)
{
    const double none = (double)NAN;

    outputs[0] = (vqc_value_error){"y", "last", "Gemm", 24.06, 0.998, 0.5, 0.9375, none};
    outputs[1] = (vqc_value_error){"classes", "best", "ArgMax", none, none, none, 0.75, none};
    for (size_t i = 0; i < VALUES; i++) {
        snprintf(names[i], sizeof names[i], "v%zu", i);
        values[i] = make_value(names[i], 60.0 - (double)i, i == 7 ? INFINITY : 80.0 - (double)i);
    }
    for (size_t i = 0; i < ACTIVATIONS; i++)
        activations[i] = (vqc_activation_report){.name = names[i],
                                                 .node = i == 0 ? "" : "n",
                                                 .op = i == 0 ? "" : "Relu",
                                                 .type = "uint8",
                                                 .observer = "mse",
                                                 .min = 0.0,
                                                 .max = i == 6 ? 1.0 : 4.0, /* of 4.5 seen */
                                                 .seen_min = 0.0,
                                                 .seen_max = i == 2 ? 4.0 : 4.5,
                                                 .scale = 0.25,
                                                 .zero_point = 3};
    report = (vqc_report){.input = "m.onnx",
                          .output = "s.onnx",
                          .recipe = "r",
                          .integer_layers = 53,
                          .possible_layers = 54,
                          .folded = 7,
                          .activations = activations,
                          .activation_count = ACTIVATIONS,
                          .verification = {.data = "d.npz",
                                           .held_out = true,
                                           .samples = 16,
                                           .outputs = outputs,
                                           .output_count = 2,
                                           .values = values,
                                           .value_count = VALUES,
                                           .value_samples = 4,
                                           .min_sqnr_db = 24.06,
                                           .top1_before = 83.0,
                                           .top1_after = 82.4,
                                           .top5_before = none,
                                           .top5_after = none,
                                           .mse_before = none,
                                           .mse_after = none,
                                           .perplexity_before = none,
                                           .perplexity_after = none}};
}

TestSuite(cli_verification, .init = setup);

/* Head and tables as one text; the caller frees it. */
static char *shown(bool all)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    vqc_show_options options = {.term = {120, false}, .all = all};
    vqc_arena *arena = vqc_cli_arena();

    vqc_show_verification_head(stream, arena, &report, &options.term);
    fputs("----\n", stream);
    vqc_show_verification(stream, arena, &report, &options);
    fclose(stream);
    vqc_arena_destroy(&arena);
    return text;
}

static void expect_part(const char *text, const char *part)
{
    cr_expect_not_null(strstr(text, part), "no \"%s\" in:\n%s", part, text);
}

Test(cli_verification, head)
{
    char *text = shown(false);

    expect_part(text, "  integers      53 of 54 layers compute with integers\n");
    expect_part(text, "  outputs       SQNR 24.1 dB in the worst of 2\n");
    expect_part(text, "                on 16 samples kept apart of d.npz\n");
    expect_part(text, "  accuracy      top-1 83.00% -> 82.40%, 0.60 points lost\n");
    cr_expect_null(strstr(text, "NaN"), "%s", text);
    cr_expect_null(strstr(text, "random"), "%s", text);
    cr_expect_null(strstr(text, "perplexity"), "%s", text);
    free(text);
}

Test(cli_verification, head_of_one_output)
{
    report.verification.output_count = 1;
    report.verification.held_out = false;
    report.verification.is_synthetic = true;
    report.verification.nonfinite = 1234;
    report.verification.top1_after = 83.5;
    report.verification.perplexity_before = 3.76;
    report.verification.perplexity_after = 4.01;
    char *text = shown(false);

    expect_part(text,
                "  output        SQNR 24.1 dB, cosine 0.998000, largest error 0.5, same top-1 "
                "in 93.8%\n");
    expect_part(text, "on 16 samples of random numbers\n");
    expect_part(text, "random inputs: real ones may give quite different figures\n");
    expect_part(text, "1,234 NaN or infinite values in outputs of the written model\n");
    expect_part(text, "0.50 points gained");
    expect_part(text, "  perplexity    3.76 -> 4.01\n");
    free(text);
}

Test(cli_verification, nothing_where_nothing_was_run)
{
    report = (vqc_report){.input = "m.onnx"};
    char *text = shown(true);
    cr_expect_str_eq(text, "----\n");
    free(text);
}

/* The short tables have what adds most noise, and what is cut off most. */
Test(cli_verification, short_tables)
{
    char *text = shown(false);
    char *noise = strstr(text, "most noise");
    char *ranges = strstr(text, "activation ");

    cr_assert_not_null(noise);
    cr_assert_not_null(ranges);
    expect_part(text,
                "  output   operator  SQNR dB    cosine  max error  same top-1  same value\n");
    expect_part(text,
                "  classes  ArgMax                                                   75.0%\n");
    expect_part(noise, "v9");
    cr_expect_lt(strstr(noise, "v9"), strstr(noise, "v8"));
    cr_expect_null(strstr(text, "v7"), "%s", text); /* it adds none */
    expect_part(noise, "4 more (-v shows all)");
    expect_part(ranges, "v6");
    expect_part(ranges, "0 .. 1 ");
    cr_expect_null(strstr(ranges, "v2"), "%s", ranges); /* nothing of it is cut off */
    expect_part(ranges, "input");
    expect_part(ranges, "4 more (-v shows all)");
    free(text);
    text = shown(true);
    expect_part(strstr(text, "activation "), "v2");
    expect_part(text, "v1 ");
    cr_expect_null(strstr(text, "more (-v"), "%s", text);
    free(text);
}

static double number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    cr_assert(cJSON_IsNumber(item), "%s", key);
    return item->valuedouble;
}

static bool is_null(const cJSON *object, const char *key)
{
    return cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(object, key));
}

Test(cli_verification, json)
{
    values[0].sqnr_db = INFINITY;
    char *text = vqc_report_to_json(&report);
    cJSON *root = cJSON_Parse(text);
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(root, "verification");
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "activations");

    cr_assert_not_null(root, "%s", text);
    cr_expect_eq(number(root, "format"), 1.0);
    cr_expect_eq(number(root, "folded"), 7.0);
    cr_expect_eq(number(root, "integer_layers"), 53.0);
    cr_expect_eq(number(root, "possible_layers"), 54.0);
    cr_assert_eq(cJSON_GetArraySize(list), ACTIVATIONS);
    cr_expect_eq(number(cJSON_GetArrayItem(list, 6), "max"), 1.0);
    cr_expect_eq(number(cJSON_GetArrayItem(list, 6), "seen_max"), 4.5);
    cr_expect_eq(number(cJSON_GetArrayItem(list, 6), "zero_point"), 3.0);
    cr_expect_eq(number(v, "top1_after"), 82.4);
    cr_expect(is_null(v, "top5_before") && is_null(v, "perplexity_after"));
    list = cJSON_GetObjectItemCaseSensitive(v, "outputs");
    cr_assert_eq(cJSON_GetArraySize(list), 2);
    cr_expect(is_null(cJSON_GetArrayItem(list, 1), "sqnr_db"));
    cr_expect_eq(number(cJSON_GetArrayItem(list, 1), "agreement"), 0.75);
    list = cJSON_GetObjectItemCaseSensitive(v, "values");
    cr_assert_eq(cJSON_GetArraySize(list), VALUES);
    cr_expect(is_null(cJSON_GetArrayItem(list, 0), "sqnr_db"));
    cr_expect(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(list, 0), "equal")));
    cr_expect_eq(number(cJSON_GetArrayItem(list, 9), "added_db"), 71.0);
    cJSON_Delete(root);
    free(text);
    report.verification.data = NULL;
    text = vqc_report_to_json(&report);
    cr_expect_not_null(strstr(text, "\"verification\":\tnull"), "%s", text);
    free(text);
}
