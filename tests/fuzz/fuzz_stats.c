/*
 * Fuzz target of calibration caches. What is accepted is written and read back as the same bytes,
 * merges with itself, and every observer makes a sane range of it.
 */
#include <math.h>
#include <string.h>

#include "formats/stats_file.h"
#include "tests/fuzz/fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ranges(const vqc_observation *o)
{
    for (int kind = VQC_OBSERVER_MINMAX; kind <= VQC_OBSERVER_MSE; kind++) {
        const vqc_observer_options options = {.kind = (vqc_observer_kind)kind,
                                              .bits = 8,
                                              .symmetric = kind % 2 != 0,
                                              .percentile = 99.9};
        vqc_range range = vqc_observation_range(o, &options);
        REQUIRE(isfinite(range.min) && isfinite(range.max));
        REQUIRE(range.min <= 0 && range.max >= 0);
    }
}

/* The bytes of the stats as a file; the caller's. */
static char *saved(const vqc_stats *stats, size_t *size)
{
    char folder[] = "/tmp/vqc-fuzz-XXXXXX";
    char path[64];
    vqc_error error = {VQC_OK, ""};
    char *text;
    FILE *file;
    long end = 0;

    REQUIRE(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/stats.json", folder);
    REQUIRE(vqc_stats_save(stats, path, false, &error) == VQC_OK);
    file = fopen(path, "rb");
    REQUIRE(file != NULL && fseek(file, 0, SEEK_END) == 0 && (end = ftell(file)) >= 0);
    *size = (size_t)end;
    text = malloc(*size + 1);
    REQUIRE(text != NULL && fseek(file, 0, SEEK_SET) == 0);
    REQUIRE(fread(text, 1, *size, file) == *size && fclose(file) == 0);
    REQUIRE(unlink(path) == 0 && rmdir(folder) == 0);
    return text;
}

static void check_again(const vqc_stats *stats)
{
    vqc_error error = {VQC_OK, ""};
    vqc_stats *again = NULL;
    size_t size = 0;
    size_t size_again = 0;
    char *text = saved(stats, &size);
    char *text_again;

    REQUIRE(vqc_stats_parse("again.json", text, size, &again, &error) == VQC_OK);
    text_again = saved(again, &size_again);
    REQUIRE(size == size_again && memcmp(text, text_again, size) == 0);
    (void)vqc_stats_merge(again, stats, &error);
    for (size_t i = 0; i < again->count; i++) {
        check_ranges(&again->tensors[i].all);
    }
    vqc_stats_destroy(&again);
    free(text);
    free(text_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vqc_stats *stats = NULL;
    vqc_error error = {VQC_OK, ""};
    char *text = malloc(size + 1);
    vqc_status status;

    REQUIRE(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    status = vqc_stats_parse("fuzz.json", text, size, &stats, &error);
    if (status == VQC_OK) {
        for (size_t i = 0; i < stats->count; i++) {
            REQUIRE(vqc_stats_find(stats, stats->tensors[i].name) == &stats->tensors[i]);
            check_ranges(&stats->tensors[i].all);
        }
        check_again(stats);
    } else {
        REQUIRE(status == VQC_ERR_MODEL && stats == NULL && error.message[0] != '\0');
    }
    vqc_stats_destroy(&stats);
    free(text);
    return 0;
}
