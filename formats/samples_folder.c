/* Folders and label files of samples. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "formats/file_util.h"
#include "formats/samples_source.h"

enum { MAX_LABEL_COLUMNS = 16 };

void vqc_samples_names_clear(vqc_samples_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->names[i]);
    }
    free(names->names);
    *names = (vqc_samples_names){0};
}

bool vqc_samples_name_ends(const char *name, const char *ending)
{
    size_t n = strlen(name);
    size_t m = strlen(ending);

    return n >= m && strcasecmp(name + n - m, ending) == 0;
}

char *vqc_samples_join(const char *folder, const char *name)
{
    char *path = NULL;
    size_t length = strlen(folder);
    const char *slash = length > 0 && folder[length - 1] == '/' ? "" : "/";

    return asprintf(&path, "%s%s%s", folder, slash, name) < 0 ? NULL : path;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

vqc_status vqc_samples_list_folder(const char *folder, bool (*wanted)(const char *name),
                                   vqc_samples_names *out, vqc_error *error)
{
    DIR *dir = opendir(folder);
    size_t capacity = 0;
    vqc_status status = VQC_OK;

    *out = (vqc_samples_names){0};
    if (dir == NULL) {
        return vqc_fail(error, VQC_ERR_IO, "%s: %s", folder, strerror(errno));
    }
    errno = 0;
    for (struct dirent *entry; status == VQC_OK && (entry = readdir(dir)) != NULL; errno = 0) {
        if (entry->d_name[0] == '.' || (wanted != NULL && !wanted(entry->d_name))) {
            continue;
        }
        if (out->count == capacity) {
            char **grown;
            capacity = capacity == 0 ? 64 : 2 * capacity;
            grown = realloc(out->names, capacity * sizeof *grown);
            if (grown == NULL) {
                status = vqc_fail_memory(error, capacity * sizeof *grown);
                break;
            }
            out->names = grown;
        }
        out->names[out->count] = strdup(entry->d_name);
        if (out->names[out->count] == NULL) {
            status = vqc_fail_memory(error, strlen(entry->d_name) + 1);
            break;
        }
        out->count++;
    }
    if (status == VQC_OK && errno != 0) {
        status = vqc_fail(error, VQC_ERR_IO, "%s: %s", folder, strerror(errno));
    }
    (void)closedir(dir);
    if (status != VQC_OK) {
        vqc_samples_names_clear(out);
    } else if (out->count > 0) {
        qsort(out->names, out->count, sizeof *out->names, compare_texts);
    }
    return status;
}

/* ---- labels ---- */

typedef struct label_row {
    char *file;
    int64_t label;
} label_row;

struct vqc_samples_labels {
    label_row *rows; /* [count], sorted by file */
    size_t count;
};

static int compare_rows(const void *a, const void *b)
{
    return strcmp(((const label_row *)a)->file, ((const label_row *)b)->file);
}

/* Cuts a line into fields in place; returns their number. */
static size_t split_line(char *line, char separator, char **fields)
{
    size_t count = 0;
    char *at = line;

    while (count < MAX_LABEL_COLUMNS) {
        char *end = strchr(at, separator);
        char *last;
        if (end != NULL) {
            *end = '\0';
        }
        while (*at == ' ' || *at == '"') {
            at++;
        }
        last = at + strlen(at);
        while (last > at && (last[-1] == ' ' || last[-1] == '"' || last[-1] == '\r')) {
            *--last = '\0';
        }
        fields[count++] = at;
        if (end == NULL) {
            break;
        }
        at = end + 1;
    }
    return count;
}

static bool parse_class(const char *text, int64_t *value)
{
    char *end = NULL;
    long long parsed;

    errno = 0;
    parsed = strtoll(text, &end, 10);
    *value = (int64_t)parsed;
    return end != text && *end == '\0' && errno == 0 && parsed >= 0;
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcasecmp(word, *words) == 0) {
            return true;
        }
    }
    return false;
}

/* The columns that a header names. */
static void read_header(char **fields, size_t count, size_t *file_column, size_t *class_column)
{
    static const char *const files[] = {"file", "filename", "file_name", "image", "path", NULL};
    static const char *const classes[] = {"class", "label", "target", "class_id", "label_id", NULL};

    for (size_t i = count; i-- > 0;) {
        *file_column = is_one_of(fields[i], files) ? i : *file_column;
        *class_column = is_one_of(fields[i], classes) ? i : *class_column;
    }
}

static vqc_status add_row(vqc_samples_labels *labels, size_t *capacity, const char *file,
                          int64_t label, vqc_error *error)
{
    if (labels->count == *capacity) {
        size_t more = *capacity == 0 ? 256 : 2 * *capacity;
        label_row *grown = realloc(labels->rows, more * sizeof *grown);
        if (grown == NULL) {
            return vqc_fail_memory(error, more * sizeof *grown);
        }
        labels->rows = grown;
        *capacity = more;
    }
    labels->rows[labels->count].file = strdup(vqc_path_base(file));
    if (labels->rows[labels->count].file == NULL) {
        return vqc_fail_memory(error, strlen(file) + 1);
    }
    labels->rows[labels->count++].label = label;
    return VQC_OK;
}

/* The lines of text [a string]. */
static vqc_status read_lines(const char *path, char *text, int64_t offset,
                             vqc_samples_labels *labels, vqc_samples_problems *problems,
                             vqc_error *error)
{
    size_t file_column = 0;
    size_t class_column = 1;
    size_t capacity = 0;
    size_t number = 0;
    bool first = true;
    vqc_status status = VQC_OK;

    for (char *line = text; line != NULL && status == VQC_OK;) {
        char *end = strchr(line, '\n');
        char *fields[MAX_LABEL_COLUMNS];
        size_t count;
        int64_t label = 0;
        if (end != NULL) {
            *end = '\0';
        }
        number++;
        count = split_line(line, strchr(line, '\t') != NULL ? '\t' : ',', fields);
        line = end == NULL ? NULL : end + 1;
        if (count == 1 && fields[0][0] == '\0') {
            continue;
        }
        if (count > file_column && count > class_column &&
            parse_class(fields[class_column], &label) &&
            !__builtin_add_overflow(label, offset, &label) && label >= 0) {
            status = add_row(labels, &capacity, fields[file_column], label, error);
        } else if (first && count > 1) {
            read_header(fields, count, &file_column, &class_column);
        } else {
            vqc_samples_problem(problems, VQC_ERR_MODEL,
                                "%.300s:%zu: expected a file and its class (a number from 0 on), "
                                "separated by a tab or comma",
                                path, number);
        }
        first = false;
    }
    return status;
}

vqc_status vqc_samples_labels_read(const char *path, int64_t offset, vqc_samples_labels **out,
                                   vqc_samples_problems *problems, vqc_error *error)
{
    vqc_samples_labels *labels = calloc(1, sizeof *labels);
    vqc_file_map map = {0};
    char *text = NULL;
    vqc_status status;

    *out = NULL;
    if (labels == NULL) {
        return vqc_fail_memory(error, sizeof *labels);
    }
    status = vqc_file_map_open(path, &map, error);
    if (status != VQC_OK) {
        goto done;
    }
    if (memchr(map.data, 0, map.size_bytes) != NULL) {
        status = vqc_fail(error, VQC_ERR_MODEL, "%s: has zero bytes, expected a text file", path);
        goto done;
    }
    text = strndup((const char *)map.data, map.size_bytes);
    if (text == NULL) {
        status = vqc_fail_memory(error, map.size_bytes);
        goto done;
    }
    status = read_lines(path, text, offset, labels, problems, error);
    if (status != VQC_OK) {
        goto done;
    }
    if (labels->count > 0) {
        qsort(labels->rows, labels->count, sizeof *labels->rows, compare_rows);
    }
    for (size_t i = 1; i < labels->count; i++) {
        if (strcmp(labels->rows[i - 1].file, labels->rows[i].file) == 0 &&
            labels->rows[i - 1].label != labels->rows[i].label) {
            vqc_samples_problem(problems, VQC_ERR_MODEL,
                                "%.300s: \"%.200s\" has two classes, %" PRId64 " and %" PRId64,
                                path, labels->rows[i].file, labels->rows[i - 1].label,
                                labels->rows[i].label);
        }
    }
    *out = labels;
    labels = NULL;
done:
    free(text);
    vqc_file_map_close(&map);
    vqc_samples_labels_destroy(&labels);
    return status;
}

bool vqc_samples_labels_find(const vqc_samples_labels *labels, const char *name, int64_t *label)
{
    size_t low = 0;
    size_t high = labels->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(labels->rows[middle].file, name);
        if (order == 0) {
            *label = labels->rows[middle].label;
            return true;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

void vqc_samples_labels_destroy(vqc_samples_labels **labels)
{
    if (labels == NULL || *labels == NULL) {
        return;
    }
    for (size_t i = 0; i < (*labels)->count; i++) {
        free((*labels)->rows[i].file);
    }
    free((*labels)->rows);
    free(*labels);
    *labels = NULL;
}

vqc_status vqc_samples_labels_match(const vqc_samples_labels *labels, const char *labels_path,
                                    const vqc_samples_names *names, int64_t **classes,
                                    vqc_samples_problems *problems, vqc_error *error)
{
    size_t found = 0;
    int64_t *out = malloc((names->count + 1) * sizeof *out);

    *classes = NULL;
    if (out == NULL) {
        return vqc_fail_memory(error, (names->count + 1) * sizeof *out);
    }
    for (size_t i = 0; i < names->count; i++) {
        if (vqc_samples_labels_find(labels, names->names[i], &out[i])) {
            found++;
        } else {
            out[i] = VQC_SAMPLES_NO_LABEL;
        }
    }
    for (size_t i = 0; i < labels->count && found > 0; i++) {
        const char *file = labels->rows[i].file;
        if (bsearch(&file, names->names, names->count, sizeof *names->names, compare_texts) ==
            NULL) {
            vqc_samples_problem(problems, VQC_ERR_IO, "%.300s: \"%.200s\" is not in the folder",
                                labels_path, file);
        }
    }
    if (found == 0) {
        vqc_samples_problem(problems, VQC_ERR_MODEL,
                            "%.300s: none of its %zu files is in the folder (which has \"%.200s\")",
                            labels_path, labels->count, names->count > 0 ? names->names[0] : "");
    }
    *classes = out;
    return VQC_OK;
}
