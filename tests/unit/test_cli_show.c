/* The order of layers, and that what is printed adds up. The text, table and terminal parts come
 * from test_cli_text.c, which is linked into the same program. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/show_inspection.c"
#include "core/cpu.h"

enum { LAYERS = 5 };

static vqc_arena *arena;
static vqc_layer_report layers[LAYERS];

static void setup(void)
{
    static const char *const names[LAYERS] = {"a", "b", "c", "d,\"q\"", "e"};
    static const size_t bytes[LAYERS] = {100, 300, 300, 50, 200};
    static const double sqnr_db[LAYERS] = {40, (double)INFINITY, 20, 0, 30};
    static const int64_t dims[] = {10, 10};
    arena = vqc_cli_arena();
    for (size_t i = 0; i < LAYERS; i++) {
        layers[i] = (vqc_layer_report){
            .name = names[i],
            .scope = "",
            .node = "node",
            .op = "MatMul",
            .dtype = "float32",
            .dims = dims,
            .rank = 2,
            .elements = 100,
            .use_count = 1,
            .status = i == 3 ? VQC_LAYER_KEPT : VQC_LAYER_CODED,
            .codec = i == 3 ? "keep" : "int8 channel",
            .pattern = "",
            .reason = i == 3 ? "too small" : "",
            .before_bytes = 4 * bytes[i],
            .after_bytes = bytes[i],
            .bits_per_weight = (double)bytes[i] * 8 / 100,
            .metrics = {.count = i == 3 ? 0 : 100, .sqnr_db = sqnr_db[i], .cosine = 1},
        };
    }
}

static void teardown(void)
{
    vqc_arena_destroy(&arena);
}

TestSuite(cli_show, .init = setup, .fini = teardown);

/* The names of the first `count` layers, one letter each. */
static const char *order_of(vqc_report_sort sort, size_t count)
{
    static char letters[LAYERS + 1];
    const vqc_layer_report **order = vqc_show_order(arena, layers, LAYERS, sort, count);
    memset(letters, 0, sizeof letters);
    for (size_t i = 0; i < count; i++)
        letters[i] = order[i]->name[0];
    return letters;
}

Test(cli_show, order)
{
    cr_expect_str_eq(order_of(VQC_SORT_MODEL, 5), "abcde");
    cr_expect_str_eq(order_of(VQC_SORT_MODEL, 3), "bce"); /* the largest, in model order */
    cr_expect_str_eq(order_of(VQC_SORT_BYTES, 5), "bcead");
    cr_expect_str_eq(order_of(VQC_SORT_BYTES, 2), "bc");
    cr_expect_str_eq(order_of(VQC_SORT_ERROR, 5), "ceabd"); /* exact, then not measured */
    cr_expect_str_eq(order_of(VQC_SORT_ERROR, 1), "c");
}

/* Sum of the numbers in one column of CSV text; fields with commas are counted right because of
 * their quotes. */
static long column_sum(const char *csv, int column)
{
    long sum = 0;
    for (const char *line = strchr(csv, '\n') + 1; *line != '\0'; line = strchr(line, '\n') + 1) {
        bool quoted = false;
        int at = 0;
        const char *c = line;
        for (; *c != '\n' && at < column; c++) {
            quoted = *c == '"' ? !quoted : quoted;
            at += *c == ',' && !quoted;
        }
        sum += strtol(c, NULL, 10);
    }
    return sum;
}

Test(cli_show, csv_adds_up)
{
    vqc_inspection model = {
        .path = "m.onnx", .ref_path = "", .layers = layers, .layer_count = LAYERS};
    model.size.total_bytes = 2000;
    for (size_t top = 0; top <= LAYERS; top++) {
        char *text = NULL;
        size_t size = 0;
        FILE *stream = open_memstream(&text, &size);
        vqc_show_options options = {.sort = VQC_SORT_BYTES, .top = top};
        vqc_show_inspection_csv(stream, &model, &options);
        fclose(stream);
        cr_expect_eq(column_sum(text, 10), 2000, "top %zu:\n%s", top, text);
        if (top == 0)
            cr_expect_not_null(strstr(text, "\nweight,\"d,\"\"q\"\"\",,"), "%s", text);
        free(text);
    }
}

Test(cli_show, compress_table_adds_up)
{
    vqc_report report = {.input = "m.onnx",
                         .output = "m.int8.onnx",
                         .recipe = "r",
                         .layers = layers,
                         .layer_count = LAYERS,
                         .weight_elements = 500,
                         .weight_after_bytes = 950};
    report.before.total_bytes = 5000;
    report.after.total_bytes = 1000;
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    vqc_show_options options = {.term = {100, false}, .sort = VQC_SORT_BYTES, .top = 2};
    vqc_show_report(stream, &report, 0, &options);
    fclose(stream);
    cr_expect_not_null(strstr(text, "3 more (-v shows all)"), "%s", text);
    char *more = strstr(text, "3 more");
    cr_expect_not_null(strstr(more, " 1,400 "), "%s", text); /* 4 * (200 + 100 + 50) */
    cr_expect_not_null(strstr(more, " 350"), "%s", text);
    cr_expect_not_null(strstr(more, "all that is no weight"), "%s", text);
    cr_expect_not_null(strstr(more, " 1,200 "), "%s", text); /* 5000 - 4 * 950 */
    cr_expect_not_null(strstr(text, "d,\"q\": too small (50 bytes)"), "%s", text);
    free(text);
}

Test(cli_show, cpu_names)
{
    vqc_error error = {0};
    cr_expect_str_eq(vqc_cpu_available(0), "c");
    cr_expect_eq(vqc_cpu_select("C", &error), VQC_ERR_USAGE);
    cr_expect_not_null(strstr(error.message, "\"C\""), "%s", error.message);
    size_t count = 0;
    for (const char *name; (name = vqc_cpu_available(count)) != NULL; count++) {
        cr_expect_eq(vqc_cpu_select(name, &error), VQC_OK);
        cr_expect_str_eq(vqc_cpu_name(), name);
    }
    cr_expect_leq(count, 3);
}
