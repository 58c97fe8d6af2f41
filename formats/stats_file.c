#include "formats/stats_file.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file_util.h"

#define FORMAT_NAME "vqc-stats"
#define MAX_COUNT 9007199254740992.0 /* 2^53: whole numbers of JSON readers */

enum { HALF = VQC_OBSERVER_HALF_BINS };

/* ---- writing ---- */

static void put(vqc_writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(vqc_writer *w, const char *format, ...)
{
    char text[128];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    vqc_writer_put(w, text, (size_t)length);
}

/* Digits that give back the same number, with a point in every locale. */
static void put_number(vqc_writer *w, double value, int digits)
{
    char text[40];
    int length = snprintf(text, sizeof text, "%.*g", digits, value);

    for (int i = 0; i < length; i++) {
        if (text[i] == ',') {
            text[i] = '.';
        }
    }
    vqc_writer_put(w, text, (size_t)length);
}

static void put_key_number(vqc_writer *w, const char *key, double value, int digits)
{
    put(w, ",\n   \"%s\": ", key);
    put_number(w, value, digits);
}

static void put_key_count(vqc_writer *w, const char *key, uint64_t value)
{
    put(w, ",\n   \"%s\": %" PRIu64, key, value);
}

static void put_string(vqc_writer *w, const char *text)
{
    vqc_writer_put(w, "\"", 1);
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            put(w, "\\%c", *p);
        } else if ((unsigned char)*p < 0x20) {
            put(w, "\\u%04x", (unsigned)(unsigned char)*p);
        } else {
            vqc_writer_put(w, p, 1);
        }
    }
    vqc_writer_put(w, "\"", 1);
}

/* Runs of bins without long gaps: "first bin:count,count,...;first bin:count". */
static void put_histogram(vqc_writer *w, const uint64_t *bins)
{
    size_t last = VQC_OBSERVER_BINS; /* bin written last */

    put(w, ",\n   \"histogram\": \"");
    for (size_t b = 0; b < VQC_OBSERVER_BINS; b++) {
        if (bins[b] == 0) {
            continue;
        }
        if (last == VQC_OBSERVER_BINS || b - last > 4) {
            put(w, "%s%zu:", last == VQC_OBSERVER_BINS ? "" : ";", b);
        } else {
            for (size_t gap = last + 1; gap < b; gap++) {
                put(w, ",0");
            }
            put(w, ",");
        }
        put(w, "%" PRIu64, bins[b]);
        last = b;
    }
    put(w, "\"");
}

static void put_channels(vqc_writer *w, const vqc_tensor_stats *t)
{
    bool equal = true;

    put_key_count(w, "channel_axis", (uint64_t)t->channel_axis);
    put(w, ",\n   \"channel_mean\": [");
    for (size_t c = 0; c < t->channels; c++) {
        put(w, "%s", c == 0 ? "" : ",");
        put_number(w, t->channel_mean[c], 17);
        equal = equal && t->channel_elements[c] == t->channel_elements[0];
    }
    put(w, "],\n   \"channel_absmax\": [");
    for (size_t c = 0; c < t->channels; c++) {
        put(w, "%s", c == 0 ? "" : ",");
        put_number(w, (double)t->channel_absmax[c], 9);
    }
    put(w, "],\n   \"channel_elements\": [");
    for (size_t c = 0; c < (equal ? 1 : t->channels); c++) {
        put(w, "%s%" PRIu64, c == 0 ? "" : ",", t->channel_elements[c]);
    }
    put(w, "]");
}

static void put_tensor(vqc_writer *w, const vqc_tensor_stats *t)
{
    const vqc_observation *o = &t->all;
    int exponent;

    put(w, "  {\"name\": ");
    put_string(w, t->name);
    put_key_count(w, "samples", o->samples);
    put_key_count(w, "elements", o->elements);
    put_key_count(w, "zeros", o->zeros);
    put_key_count(w, "nan", o->nan_count);
    put_key_count(w, "infinite", o->infinite_count);
    if (o->elements > 0) {
        put_key_number(w, "min", (double)o->min, 9);
        put_key_number(w, "max", (double)o->max, 9);
        put_key_number(w, "sum", o->sum, 17);
        put_key_number(w, "sum_squares", o->sum_squares, 17);
        put_key_count(w, "averaged", o->averaged);
        put_key_number(w, "average_min", o->average_min, 17);
        put_key_number(w, "average_max", o->average_max, 17);
        put_key_number(w, "first_min", o->first_min, 17);
        put_key_number(w, "first_max", o->first_max, 17);
    }
    if (o->limit > 0.0f) {
        (void)frexpf(o->limit, &exponent);
        put(w, ",\n   \"limit_exponent\": %d", exponent - 1);
        put_histogram(w, o->bins);
    }
    if (t->channels > 0) {
        put_channels(w, t);
    }
    put(w, "}");
}

static vqc_status check_savable(const vqc_stats *stats, const char *path, vqc_error *error)
{
    if (stats->count > VQC_STATS_FILE_MAX_TENSORS) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: %zu tensors, a calibration cache holds %d", path,
                        stats->count, VQC_STATS_FILE_MAX_TENSORS);
    }
    for (size_t i = 0; i < stats->count; i++) {
        const vqc_observation *o = &stats->tensors[i].all;
        if ((double)o->elements > MAX_COUNT || (double)o->nan_count > MAX_COUNT ||
            (double)o->infinite_count > MAX_COUNT) {
            return vqc_fail(error, VQC_ERR_MODEL, "%s: value '%s' has more than 2^53 elements",
                            path, stats->tensors[i].name);
        }
    }
    return VQC_OK;
}

vqc_status vqc_stats_save(const vqc_stats *stats, const char *path, bool overwrite,
                          vqc_error *error)
{
    vqc_output *output = NULL;
    vqc_writer *w = NULL;
    vqc_status status = check_savable(stats, path, error);

    if (status == VQC_OK) {
        status = vqc_output_create(&output, error);
    }
    if (status == VQC_OK) {
        status = vqc_output_add(output, path, overwrite, &w, error);
    }
    if (status == VQC_OK) {
        put(w, "{\"format\": \"" FORMAT_NAME "\",\n \"version\": %d,\n", VQC_STATS_FILE_VERSION);
        put(w, " \"fingerprint\": \"%016" PRIx64 "\",\n \"samples\": %" PRIu64 ",\n",
            stats->fingerprint, stats->samples);
        put(w, " \"bins\": %d,\n \"tensors\": [", VQC_OBSERVER_BINS);
        for (size_t i = 0; i < stats->count; i++) {
            put(w, "%s", i == 0 ? "\n" : ",\n");
            put_tensor(w, &stats->tensors[i]);
        }
        put(w, "]}\n");
        status = vqc_writer_finish(w, error);
    }
    if (status == VQC_OK) {
        status = vqc_output_commit(output, error);
    }
    vqc_output_destroy(&output);
    return status;
}

/* ---- reading ---- */

/* Where the reader is, and the first problem. */
typedef struct reader {
    const char *path;
    const char *tensor; /* name; NULL at the top */
    vqc_arena *arena;
    vqc_error *error;
    vqc_status status;
} reader;

static void fail(reader *r, const char *key, const char *problem)
{
    if (r->status != VQC_OK) {
        return;
    }
    if (r->tensor != NULL) {
        r->status = vqc_fail(r->error, VQC_ERR_MODEL, "%s: tensor '%.200s': %s: %s", r->path,
                             r->tensor, key, problem);
    } else {
        r->status = vqc_fail(r->error, VQC_ERR_MODEL, "%s: %s: %s", r->path, key, problem);
    }
}

static const cJSON *item_of(reader *r, const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    if (item == NULL) {
        fail(r, key, "is missing");
    }
    return item;
}

static double finite_of(reader *r, const cJSON *item, const char *key)
{
    if (item == NULL || !cJSON_IsNumber(item) || !isfinite(item->valuedouble)) {
        fail(r, key, "not a finite number");
        return 0.0;
    }
    return item->valuedouble;
}

static double read_real(reader *r, const cJSON *object, const char *key)
{
    return finite_of(r, item_of(r, object, key), key);
}

/* A number that a float can hold. */
static float float_of(reader *r, const cJSON *item, const char *key)
{
    double value = finite_of(r, item, key);

    if (fabs(value) > 0x1.fffffep127) {
        fail(r, key, "not a float32");
        return 0.0f;
    }
    return (float)value;
}

static uint64_t count_of(reader *r, const cJSON *item, const char *key)
{
    double value = finite_of(r, item, key);

    if (value < 0.0 || value > MAX_COUNT || value != floor(value)) {
        fail(r, key, "not a count (a whole number up to 2^53)");
        return 0;
    }
    return (uint64_t)value;
}

static uint64_t read_count(reader *r, const cJSON *object, const char *key)
{
    return count_of(r, item_of(r, object, key), key);
}

/* Decimal digits at *text, which moves behind them. */
static bool read_digits(const char **text, uint64_t *value)
{
    const char *p = *text;

    *value = 0;
    while (*p >= '0' && *p <= '9') {
        if (*value > (uint64_t)MAX_COUNT) {
            return false;
        }
        *value = *value * 10 + (uint64_t)(*p++ - '0');
    }
    if (p == *text || *value > (uint64_t)MAX_COUNT) {
        return false;
    }
    *text = p;
    return true;
}

static void read_histogram(reader *r, const cJSON *object, vqc_observation *o)
{
    const cJSON *item = item_of(r, object, "histogram");
    const char *p = cJSON_IsString(item) ? item->valuestring : NULL;
    uint64_t next = 0, total = 0;

    if (p == NULL) {
        fail(r, "histogram", "not a string");
        return;
    }
    while (*p != '\0') {
        uint64_t bin, count;
        if (!read_digits(&p, &bin) || bin < next || *p != ':') {
            fail(r, "histogram", "wanted a bin above the last one and ':'");
            return;
        }
        do {
            p++;
            if (!read_digits(&p, &count)) {
                fail(r, "histogram", "wanted a count");
                return;
            }
            if (bin >= VQC_OBSERVER_BINS) {
                fail(r, "histogram", "more bins than there are");
                return;
            }
            o->bins[bin++] = count;
            total += count; /* at most 8192 * 2^53 */
        } while (*p == ',');
        next = bin;
        if (*p == ';' && p[1] != '\0') {
            p++;
        } else if (*p != '\0') {
            fail(r, "histogram", "wanted ',' or ';'");
            return;
        }
    }
    if (total != o->elements - o->zeros) {
        fail(r, "histogram", "does not add up to elements - zeros");
    }
}

static void read_bins(reader *r, const cJSON *object, vqc_observation *o)
{
    double exponent;

    if (o->elements == o->zeros) {
        return;
    }
    exponent = read_real(r, object, "limit_exponent");
    if (exponent < -100.0 || exponent > 127.0 || exponent != floor(exponent)) {
        fail(r, "limit_exponent", "not a whole number from -100 to 127");
        return;
    }
    o->limit = ldexpf(1.0f, (int)exponent);
    if (exponent < 127.0 && fmaxf(-o->min, o->max) >= o->limit) {
        fail(r, "limit_exponent", "min or max lies beyond it");
        return;
    }
    read_histogram(r, object, o);
}

static void read_observation(reader *r, const cJSON *object, vqc_observation *o)
{
    vqc_observation_init(o);
    o->samples = read_count(r, object, "samples");
    o->elements = read_count(r, object, "elements");
    o->zeros = read_count(r, object, "zeros");
    o->nan_count = read_count(r, object, "nan");
    o->infinite_count = read_count(r, object, "infinite");
    if (o->zeros > o->elements) {
        fail(r, "zeros", "more than elements");
    }
    if (r->status != VQC_OK || o->elements == 0) {
        return;
    }
    o->min = float_of(r, item_of(r, object, "min"), "min");
    o->max = float_of(r, item_of(r, object, "max"), "max");
    if (o->min > o->max) {
        fail(r, "min", "larger than max");
    }
    o->sum = read_real(r, object, "sum");
    o->sum_squares = read_real(r, object, "sum_squares");
    o->averaged = read_count(r, object, "averaged");
    if (o->averaged == 0 || o->averaged > o->samples) {
        fail(r, "averaged", "wanted 1 .. samples");
    }
    o->average_min = read_real(r, object, "average_min");
    o->average_max = read_real(r, object, "average_max");
    o->first_min = read_real(r, object, "first_min");
    o->first_max = read_real(r, object, "first_max");
    read_bins(r, object, o);
}

static const cJSON *array_of(reader *r, const cJSON *object, const char *key)
{
    const cJSON *item = item_of(r, object, key);

    if (item != NULL && !cJSON_IsArray(item)) {
        fail(r, key, "not an array");
    }
    return item;
}

/* Channels are optional: all four keys or none. */
static void read_channels(reader *r, const cJSON *object, vqc_tensor_stats *t)
{
    const cJSON *means, *maxima, *counts, *item;
    uint64_t axis;
    int length;

    if (cJSON_GetObjectItemCaseSensitive(object, "channel_mean") == NULL) {
        return;
    }
    axis = read_count(r, object, "channel_axis");
    means = array_of(r, object, "channel_mean");
    maxima = array_of(r, object, "channel_absmax");
    counts = array_of(r, object, "channel_elements");
    if (r->status != VQC_OK) {
        return;
    }
    length = cJSON_GetArraySize(means);
    if (axis >= VQC_EXEC_MAX_RANK) {
        fail(r, "channel_axis", "beyond the largest rank");
    }
    if (length < 1 || length > VQC_STATS_MAX_CHANNELS || cJSON_GetArraySize(maxima) != length ||
        (cJSON_GetArraySize(counts) != length && cJSON_GetArraySize(counts) != 1)) {
        fail(r, "channel_mean", "too many channels, or not as many as in the other lists");
    }
    if (r->status != VQC_OK) {
        return;
    }
    t->channels = (size_t)length;
    t->channel_axis = (int)axis;
    t->channel_mean = vqc_arena_calloc(r->arena, t->channels, sizeof *t->channel_mean);
    t->channel_absmax = vqc_arena_calloc(r->arena, t->channels, sizeof *t->channel_absmax);
    t->channel_elements = vqc_arena_calloc(r->arena, t->channels, sizeof *t->channel_elements);
    if (t->channel_mean == NULL || t->channel_absmax == NULL || t->channel_elements == NULL) {
        r->status = vqc_fail_memory(r->error, t->channels * sizeof(double));
        return;
    }
    item = means->child;
    for (size_t c = 0; c < t->channels; c++, item = item->next) {
        t->channel_mean[c] = finite_of(r, item, "channel_mean");
    }
    item = maxima->child;
    for (size_t c = 0; c < t->channels; c++, item = item->next) {
        t->channel_absmax[c] = float_of(r, item, "channel_absmax");
        if (t->channel_absmax[c] < 0.0f) {
            fail(r, "channel_absmax", "negative");
        }
    }
    item = counts->child;
    for (size_t c = 0; c < t->channels; c++) {
        t->channel_elements[c] = count_of(r, item, "channel_elements");
        item = item->next != NULL ? item->next : item;
    }
}

/* A key that this version does not have is an error: it would be dropped in silence. */
static void check_keys(reader *r, const cJSON *object, const char *const *keys, size_t count)
{
    for (const cJSON *item = object->child; item != NULL; item = item->next) {
        size_t i = 0;
        while (i < count && strcmp(item->string, keys[i]) != 0) {
            i++;
        }
        if (i == count) {
            fail(r, item->string, "unknown key");
        }
    }
}

static void read_tensor(reader *r, const cJSON *object, vqc_tensor_stats *t,
                        const vqc_tensor_stats *before)
{
    static const char *const keys[] = {"name",
                                       "samples",
                                       "elements",
                                       "zeros",
                                       "nan",
                                       "infinite",
                                       "min",
                                       "max",
                                       "sum",
                                       "sum_squares",
                                       "averaged",
                                       "average_min",
                                       "average_max",
                                       "first_min",
                                       "first_max",
                                       "histogram",
                                       "limit_exponent",
                                       "channel_axis",
                                       "channel_mean",
                                       "channel_absmax",
                                       "channel_elements"};
    const cJSON *name;

    if (!cJSON_IsObject(object)) {
        fail(r, "tensors", "wanted objects");
        return;
    }
    name = item_of(r, object, "name");
    if (!cJSON_IsString(name)) {
        fail(r, "name", "not a string");
        return;
    }
    if (before != NULL && strcmp(before->name, name->valuestring) >= 0) {
        fail(r, name->valuestring, "names are not sorted or occur twice");
        return;
    }
    t->name = vqc_arena_strdup(r->arena, name->valuestring);
    if (t->name == NULL) {
        r->status = vqc_fail_memory(r->error, strlen(name->valuestring) + 1);
        return;
    }
    r->tensor = t->name;
    check_keys(r, object, keys, sizeof keys / sizeof *keys);
    read_observation(r, object, &t->all);
    if (r->status == VQC_OK) {
        read_channels(r, object, t);
    }
    r->tensor = NULL;
}

static void read_tensors(reader *r, const cJSON *root, vqc_stats *stats)
{
    const cJSON *list = array_of(r, root, "tensors");
    int count;

    if (r->status != VQC_OK) {
        return;
    }
    count = cJSON_GetArraySize(list);
    if (count > VQC_STATS_FILE_MAX_TENSORS) {
        fail(r, "tensors", "too many");
        return;
    }
    stats->tensors = vqc_arena_calloc(r->arena, (size_t)count + 1, sizeof *stats->tensors);
    if (stats->tensors == NULL) {
        r->status = vqc_fail_memory(r->error, (size_t)count * sizeof *stats->tensors);
        return;
    }
    for (const cJSON *item = list->child; item != NULL && r->status == VQC_OK; item = item->next) {
        vqc_tensor_stats *t = &stats->tensors[stats->count];
        read_tensor(r, item, t, stats->count > 0 ? t - 1 : NULL);
        stats->count++;
    }
}

static void read_fingerprint(reader *r, const cJSON *root, uint64_t *fingerprint)
{
    const cJSON *item = item_of(r, root, "fingerprint");
    const char *text = cJSON_IsString(item) ? item->valuestring : "";

    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) {
        fail(r, "fingerprint", "wanted 16 hexadecimal digits");
        return;
    }
    *fingerprint = strtoull(text, NULL, 16);
}

static void read_root(reader *r, const cJSON *root, vqc_stats *stats)
{
    static const char *const keys[] = {"format",  "version", "fingerprint",
                                       "samples", "bins",    "tensors"};
    const cJSON *format = cJSON_GetObjectItemCaseSensitive(root, "format");

    if (!cJSON_IsString(format) || strcmp(format->valuestring, FORMAT_NAME) != 0) {
        fail(r, "format", "not \"" FORMAT_NAME "\": this is no calibration cache");
        return;
    }
    if (read_count(r, root, "version") != VQC_STATS_FILE_VERSION) {
        fail(r, "version", "this program reads version 1; calibrate anew");
        return;
    }
    check_keys(r, root, keys, sizeof keys / sizeof *keys);
    if (read_count(r, root, "bins") != VQC_OBSERVER_BINS) {
        fail(r, "bins", "this program has histograms of 8192 bins");
    }
    read_fingerprint(r, root, &stats->fingerprint);
    stats->samples = read_count(r, root, "samples");
    if (r->status == VQC_OK) {
        read_tensors(r, root, stats);
    }
}

vqc_status vqc_stats_parse(const char *path, const char *text, size_t size_bytes, vqc_stats **out,
                           vqc_error *error)
{
    reader r = {.path = path, .error = error, .status = VQC_OK};
    vqc_stats *stats;
    cJSON *root;

    *out = NULL;
    if (size_bytes > VQC_STATS_FILE_MAX_BYTES) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: %zu bytes, a calibration cache has at most %d",
                        path, size_bytes, VQC_STATS_FILE_MAX_BYTES);
    }
    root = cJSON_ParseWithLength(text, size_bytes);
    if (root == NULL) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: not JSON, or cut off", path);
    }
    stats = calloc(1, sizeof *stats);
    if (stats != NULL) {
        stats->arena = r.arena = vqc_arena_create();
    }
    if (stats == NULL || stats->arena == NULL) {
        r.status = vqc_fail_memory(error, sizeof *stats);
    } else {
        read_root(&r, root, stats);
    }
    cJSON_Delete(root);
    if (r.status != VQC_OK) {
        vqc_stats_destroy(&stats);
        return r.status;
    }
    *out = stats;
    return VQC_OK;
}

vqc_status vqc_stats_load(const char *path, vqc_stats **out, vqc_error *error)
{
    vqc_file_map map;
    vqc_status status = vqc_file_map_open(path, &map, error);

    *out = NULL;
    if (status == VQC_OK) {
        status = vqc_stats_parse(path, (const char *)map.data, map.size_bytes, out, error);
        vqc_file_map_close(&map);
    }
    return status;
}

vqc_status vqc_stats_load_merged(const char *const *paths, size_t count, vqc_stats **out,
                                 vqc_error *error)
{
    vqc_stats *stats = NULL;
    vqc_status status = count == 0
                            ? vqc_fail(error, VQC_ERR_USAGE, "no calibration cache was given")
                            : vqc_stats_load(paths[0], &stats, error);

    *out = NULL;
    for (size_t i = 1; i < count && status == VQC_OK; i++) {
        vqc_stats *next = NULL;
        status = vqc_stats_load(paths[i], &next, error);
        if (status == VQC_OK) {
            status = vqc_stats_merge(stats, next, error);
            if (status != VQC_OK) {
                status = vqc_error_prefix(error, "%s and %s", paths[0], paths[i]);
            }
        }
        vqc_stats_destroy(&next);
    }
    if (status != VQC_OK) {
        vqc_stats_destroy(&stats);
    }
    *out = stats;
    return status;
}

vqc_status vqc_stats_check_model(const vqc_stats *stats, const char *path, const vqc_model *model,
                                 vqc_error *error)
{
    uint64_t wanted = vqc_stats_fingerprint(model);

    if (stats->fingerprint == 0 || stats->fingerprint == wanted) {
        return VQC_OK;
    }
    return vqc_fail(error, VQC_ERR_MODEL,
                    "%s is the calibration of another model: its fingerprint is %016" PRIx64
                    ", that of %s is %016" PRIx64,
                    path, stats->fingerprint, model->path, wanted);
}
