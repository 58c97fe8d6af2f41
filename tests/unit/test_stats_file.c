/* Calibration caches: what is written comes back, equal stats give equal bytes, and broken files
 * are refused. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/stats_file.h"
#include "tests/unit/model_builder.h"
#include "tests/unit/same_stats.h"

static const char *const names[] = {"a \"quoted\\ name", "empty", "relu", "z/\xC3\xA9\n"};

static vqc_stats *some_stats(uint64_t seed)
{
    vqc_stats *s = calloc(1, sizeof *s);
    mb_random random = {seed};
    float x[3000];
    cr_assert_not_null(s);
    s->arena = vqc_arena_create();
    s->tensors = vqc_arena_calloc(s->arena, 4, sizeof *s->tensors);
    s->count = 4;
    s->samples = 3;
    s->fingerprint = 0x0123456789abcdef;
    for (size_t t = 0; t < 4; t++) {
        vqc_tensor_stats *tensor = &s->tensors[t];
        tensor->name = names[t];
        vqc_observation_init(&tensor->all);
        for (int sample = 0; sample < 3; sample++) {
            mb_random_fill(&random, x, 3000, ldexpf(1.0f, (int)t * 20 - 30), 0.0f);
            x[5] = NAN;
            x[7] = -INFINITY;
            for (size_t i = 0; t == 2 && i < 3000; i++)
                x[i] = fmaxf(x[i], 0.0f);
            vqc_observe(&tensor->all, x, t == 1 ? 0 : 3000);
        }
        if (t % 2 != 0)
            continue;
        tensor->channels = 3 + t;
        tensor->channel_axis = 1;
        tensor->channel_mean = vqc_arena_calloc(s->arena, 5, sizeof(double));
        tensor->channel_absmax = vqc_arena_calloc(s->arena, 5, sizeof(float));
        tensor->channel_elements = vqc_arena_calloc(s->arena, 5, sizeof(uint64_t));
        for (size_t c = 0; c < 5; c++) {
            tensor->channel_mean[c] = (double)mb_random_gauss(&random) / 3.0;
            tensor->channel_absmax[c] = fabsf(mb_random_gauss(&random));
            tensor->channel_elements[c] = t == 0 ? 99 : 50 + c;
        }
    }
    return s;
}

/* The file as text; the caller's. */
static char *text_of(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    cr_assert(file != NULL && text != NULL);
    const size_t size = fread(text, 1, (1 << 20) - 1, file);
    cr_assert(size > 0 && size < (1 << 20) - 1);
    (void)fclose(file);
    return text;
}

static char folder[64];

static void make_folder(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/vqc-stats-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static const char *path_of(const char *name)
{
    static char paths[4][128];
    static size_t next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void remove_folder(void)
{
    (void)unlink(path_of("a.json"));
    (void)unlink(path_of("b.json"));
    (void)rmdir(folder);
}

Test(stats_file, round_trip_and_equal_bytes, .init = make_folder, .fini = remove_folder)
{
    vqc_stats *stats = some_stats(1), *again = some_stats(1), *loaded = NULL;
    vqc_error error = {0};
    cr_assert_eq(vqc_stats_save(stats, path_of("a.json"), false, &error), VQC_OK, "%s",
                 error.message);
    cr_assert_eq(vqc_stats_save(again, path_of("b.json"), false, &error), VQC_OK);
    cr_assert_eq(vqc_stats_save(again, path_of("b.json"), false, &error), VQC_ERR_USAGE);
    char *a = text_of(path_of("a.json")), *b = text_of(path_of("b.json"));
    cr_assert_str_eq(a, b);
    cr_assert_eq(vqc_stats_load(path_of("a.json"), &loaded, &error), VQC_OK, "%s", error.message);
    same_stats_assert(stats, loaded);
    cr_assert_eq(vqc_stats_save(loaded, path_of("b.json"), true, &error), VQC_OK);
    free(b);
    b = text_of(path_of("b.json"));
    cr_assert_str_eq(a, b);
    free(a);
    free(b);
    vqc_stats_destroy(&stats);
    vqc_stats_destroy(&again);
    vqc_stats_destroy(&loaded);
}

Test(stats_file, merging_files, .init = make_folder, .fini = remove_folder)
{
    vqc_stats *a = some_stats(1), *b = some_stats(2), *loaded = NULL;
    vqc_error error = {0};
    cr_assert_eq(vqc_stats_save(a, path_of("a.json"), false, &error), VQC_OK);
    cr_assert_eq(vqc_stats_save(b, path_of("b.json"), false, &error), VQC_OK);
    const char *const paths[] = {path_of("a.json"), path_of("b.json")};
    cr_assert_eq(vqc_stats_load_merged(paths, 2, &loaded, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(vqc_stats_merge(a, b, &error), VQC_OK);
    same_stats_assert(a, loaded);
    cr_assert_eq(loaded->samples, 6);
    cr_assert_eq(loaded->tensors[2].channel_elements[4], 108);
    vqc_stats_destroy(&loaded);
    b->fingerprint = 7;
    cr_assert_eq(vqc_stats_save(b, path_of("b.json"), true, &error), VQC_OK);
    cr_assert_eq(vqc_stats_load_merged(paths, 2, &loaded, &error), VQC_ERR_MODEL);
    cr_assert(strstr(error.message, "a.json") != NULL && strstr(error.message, "b.json") != NULL &&
                  strstr(error.message, "0000000000000007") != NULL,
              "%s", error.message);
    cr_assert_null(loaded);
    vqc_stats_destroy(&a);
    vqc_stats_destroy(&b);
}

Test(stats_file, another_model)
{
    vqc_stats *stats = some_stats(1);
    vqc_model *model = mb_model(17, 8);
    vqc_error error = {0};
    cr_assert_eq(vqc_stats_check_model(stats, "c.json", model, &error), VQC_ERR_MODEL);
    cr_assert(strstr(error.message, "c.json") != NULL &&
                  strstr(error.message, "0123456789abcdef") != NULL &&
                  strstr(error.message, model->path) != NULL,
              "%s", error.message);
    stats->fingerprint = vqc_stats_fingerprint(model);
    cr_assert_eq(vqc_stats_check_model(stats, "c.json", model, &error), VQC_OK);
    vqc_stats_destroy(&stats);
    vqc_model_destroy(&model);
}

/* One replacement in a good file and what the message must say. */
typedef struct broken {
    const char *from, *to, *says;
} broken;

static vqc_status parse(const char *text, size_t size, vqc_error *error)
{
    vqc_stats *stats = NULL;
    const vqc_status status = vqc_stats_parse("x.json", text, size, &stats, error);
    cr_assert_eq(status == VQC_OK, stats != NULL);
    vqc_stats_destroy(&stats);
    return status;
}

static const char good[] =
    "{\"format\": \"vqc-stats\", \"version\": 1, \"fingerprint\": \"00000000000000ff\","
    "\"samples\": 2, \"bins\": 8192, \"tensors\": [{\"name\": \"t\", \"samples\": 2,"
    "\"elements\": 7, \"zeros\": 2, \"nan\": 0, \"infinite\": 1, \"min\": -1.5, \"max\": 3,"
    "\"sum\": 2, \"sum_squares\": 9, \"averaged\": 2, \"average_min\": -1, \"average_max\": 2,"
    "\"first_min\": -1, \"first_max\": 2, \"limit_exponent\": 2, \"histogram\": "
    "\"2600:1,0,2;8000:2\","
    "\"channel_axis\": 1, \"channel_mean\": [0.5, 1], \"channel_absmax\": [1, 3],"
    "\"channel_elements\": [4, 3]}]}";

Test(stats_file, broken_files_are_refused)
{
    static const broken cases[] = {
        {"vqc-stats", "other", "no calibration cache"},
        {"\"version\": 1", "\"version\": 2", "version"},
        {"\"version\": 1,", "", "version: is missing"},
        {"\"bins\": 8192", "\"bins\": 4096", "8192"},
        {"00000000000000ff", "00000000000000FG", "hexadecimal"},
        {"\"tensors\": [", "\"tensors\": [1,", "wanted objects"},
        {"\"name\": \"t\"", "\"name\": 4", "name"},
        {"\"samples\": 2,\"elements\"", "\"elements\"", "samples: is missing"},
        {"\"elements\": 7", "\"elements\": -7", "not a count"},
        {"\"elements\": 7", "\"elements\": 7.5", "not a count"},
        {"\"elements\": 7", "\"elements\": 1e300", "not a count"},
        {"\"elements\": 7", "\"elements\": \"7\"", "not a finite number"},
        {"\"elements\": 7", "\"elements\": 8", "does not add up"},
        {"\"zeros\": 2", "\"zeros\": 9", "more than elements"},
        {"\"min\": -1.5", "\"min\": 1e39", "not a float32"},
        {"\"min\": -1.5", "\"min\": 4", "larger than max"},
        {"\"max\": 3", "\"max\": 4", "beyond"},
        {"\"max\": 3", "\"max\": null", "not a finite number"},
        {"\"averaged\": 2", "\"averaged\": 3", "averaged"},
        {"\"limit_exponent\": 2", "\"limit_exponent\": 1e9", "-100 to 127"},
        {"\"limit_exponent\": 2", "\"limit_exponent\": 0.5", "-100 to 127"},
        {"2600:", "9000:", "more bins"},
        {"8000:2", "8191:1,1", "more bins"},
        {"8000:2", "2601:2", "above the last one"},
        {"8000:2", "8000:", "wanted a count"},
        {"8000:2", "8000:2;", "wanted"},
        {"8000:2", "8000:99999999999999999999", "wanted a count"},
        {"8000:2", "8000:-2", "wanted a count"},
        {"\"2600:1,0,2;8000:2\"", "17", "not a string"},
        {"\"channel_axis\": 1", "\"channel_axis\": 99", "largest rank"},
        {"[0.5, 1]", "[0.5, \"1\"]", "channel_mean"},
        {"[0.5, 1]", "[0.5]", "as in the other lists"},
        {"[0.5, 1]", "[]", "as in the other lists"},
        {"[1, 3]", "[1, -3]", "negative"},
        {"[4, 3]", "{}", "not an array"},
        {"\"sum\": 2", "\"sums\": 2", "unknown key"},
        {"\"samples\": 2, \"bins\"", "\"sampels\": 2, \"bins\"", "unknown key"}};
    vqc_error error = {0};
    cr_assert_eq(parse(good, sizeof good - 1, &error), VQC_OK, "%s", error.message);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[2 * sizeof good];
        const char *at = strstr(good, cases[i].from);
        cr_assert_not_null(at, "%s", cases[i].from);
        (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, cases[i].to,
                       at + strlen(cases[i].from));
        cr_assert_eq(parse(text, strlen(text), &error), VQC_ERR_MODEL, "%s", cases[i].to);
        cr_assert(strstr(error.message, cases[i].says) != NULL && strstr(error.message, "x.json"),
                  "%s: %s", cases[i].to, error.message);
    }
    for (size_t size = 0; size + 1 < sizeof good - 1; size++)
        cr_assert_eq(parse(good, size, &error), VQC_ERR_MODEL, "cut at %zu", size);
}

Test(stats_file, names_must_be_sorted)
{
    static const char empty[] = "\"samples\": 1, \"elements\": 0, \"zeros\": 0, \"nan\": 0, "
                                "\"infinite\": 0}";
    vqc_error error = {0};
    for (int order = -1; order <= 1; order++) {
        char text[1024];
        (void)snprintf(text, sizeof text,
                       "{\"format\": \"vqc-stats\", \"version\": 1, \"fingerprint\": "
                       "\"0000000000000001\", \"samples\": 1, \"bins\": 8192, \"tensors\": "
                       "[{\"name\": \"%s\", %s, {\"name\": \"m\", %s]}",
                       order < 0   ? "a"
                       : order > 0 ? "z"
                                   : "m",
                       empty, empty);
        cr_assert_eq(parse(text, strlen(text), &error), order < 0 ? VQC_OK : VQC_ERR_MODEL, "%d %s",
                     order, error.message);
    }
}
