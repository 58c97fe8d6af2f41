/* Reports as JSON, by cJSON; docs/REPORT.md describes every key. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/vqc.h"

enum { JSON_FORMAT = 1 /* raised when a key changes its meaning or goes away */ };

/* One object being filled; `failed` stays set once memory was short. */
typedef struct json_object {
    cJSON *node;
    bool *failed;
} json_object;

static void keep(json_object to, cJSON *added)
{
    *to.failed = *to.failed || added == NULL;
}

/* Length of the UTF-8 sequence at `text`; 0 when it is not one (overlong, surrogate, cut off). */
static size_t utf8_length(const unsigned char *text)
{
    unsigned lead = text[0];
    size_t length = lead < 0x80   ? 1
                    : lead < 0xC2 ? 0
                    : lead < 0xE0 ? 2
                    : lead < 0xF0 ? 3
                    : lead < 0xF5 ? 4
                                  : 0;

    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    if ((lead == 0xE0 && text[1] < 0xA0) || (lead == 0xED && text[1] > 0x9F) ||
        (lead == 0xF0 && text[1] < 0x90) || (lead == 0xF4 && text[1] > 0x8F)) {
        return 0;
    }
    return length;
}

/* A copy in which every byte that is not UTF-8 has become U+FFFD: names in models are not checked.
 */
static char *to_utf8(const char *text)
{
    const unsigned char *from = (const unsigned char *)text;
    char *copy = malloc(3 * strlen(text) + 1);
    size_t used = 0;

    while (copy != NULL && *from != '\0') {
        size_t length = utf8_length(from);
        if (length == 0) {
            memcpy(copy + used, "\xEF\xBF\xBD", 3);
            used += 3;
            from++;
        } else {
            memcpy(copy + used, from, length);
            used += length;
            from += length;
        }
    }
    if (copy != NULL) {
        copy[used] = '\0';
    }
    return copy;
}

static cJSON *new_text(const char *value)
{
    char *text = to_utf8(value != NULL ? value : "");
    cJSON *item = text == NULL ? NULL : cJSON_CreateString(text);

    free(text);
    return item;
}

static void add_text(json_object to, const char *key, const char *value)
{
    cJSON *item = new_text(value);

    if (item == NULL || !cJSON_AddItemToObject(to.node, key, item)) {
        cJSON_Delete(item);
        *to.failed = true;
    }
}

static void add_bool(json_object to, const char *key, bool value)
{
    keep(to, cJSON_AddBoolToObject(to.node, key, value));
}

/* Whole numbers beyond 2^53 must not pass through a double. */
static void add_count(json_object to, const char *key, uint64_t value)
{
    char text[32];

    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    keep(to, cJSON_AddRawToObject(to.node, key, text));
}

static void add_integer(json_object to, const char *key, int64_t value)
{
    char text[32];

    (void)snprintf(text, sizeof text, "%" PRId64, value);
    keep(to, cJSON_AddRawToObject(to.node, key, text));
}

/* %.9g whatever the locale; null for what JSON cannot say. */
static void add_real(json_object to, const char *key, double value)
{
    char text[40];

    if (!isfinite(value)) {
        keep(to, cJSON_AddNullToObject(to.node, key));
        return;
    }
    (void)snprintf(text, sizeof text, "%.9g", value);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == ',' ? '.' : *p;
    }
    keep(to, cJSON_AddRawToObject(to.node, key, text));
}

static json_object add_object(json_object to, const char *key)
{
    json_object added = {cJSON_AddObjectToObject(to.node, key), to.failed};

    keep(to, added.node);
    return added;
}

static cJSON *add_array(json_object to, const char *key)
{
    cJSON *array = cJSON_AddArrayToObject(to.node, key);

    keep(to, array);
    return array;
}

/* A new object at the end of an array. */
static json_object append(cJSON *array, bool *failed)
{
    json_object item = {cJSON_CreateObject(), failed};

    if (item.node == NULL || !cJSON_AddItemToArray(array, item.node)) {
        cJSON_Delete(item.node);
        item.node = NULL;
        *failed = true;
    }
    return item;
}

static void add_dims(json_object to, const int64_t *dims, size_t rank)
{
    cJSON *array = add_array(to, "dims");

    for (size_t i = 0; i < rank && !*to.failed; i++) {
        char text[32];
        cJSON *item;

        (void)snprintf(text, sizeof text, "%" PRId64, dims[i]);
        item = cJSON_CreateRaw(text);
        if (item == NULL || !cJSON_AddItemToArray(array, item)) {
            cJSON_Delete(item);
            *to.failed = true;
        }
    }
}

static void add_texts(json_object to, const char *key, const char *const *texts, size_t count)
{
    cJSON *array = add_array(to, key);

    for (size_t i = 0; i < count && !*to.failed; i++) {
        cJSON *item = new_text(texts[i]);
        if (item == NULL || !cJSON_AddItemToArray(array, item)) {
            cJSON_Delete(item);
            *to.failed = true;
        }
    }
}

static void add_size(json_object to, const char *key, const vqc_file_size *size)
{
    json_object item = add_object(to, key);

    add_count(item, "total_bytes", size->total_bytes);
    add_count(item, "file_size_bytes", size->file_size_bytes);
    add_count(item, "external_bytes", size->external_bytes);
}

/* null when nothing was measured. */
static void add_metrics(json_object to, const char *key, const vqc_metrics *metrics)
{
    json_object item;

    if (metrics->count == 0) {
        keep(to, cJSON_AddNullToObject(to.node, key));
        return;
    }
    item = add_object(to, key);
    add_count(item, "count", metrics->count);
    add_real(item, "mse", metrics->mse);
    add_real(item, "sqnr_db", metrics->sqnr_db);
    add_bool(item, "equal", metrics->sum_err2 == 0.0 && metrics->max_abs_error == 0.0);
    add_real(item, "max_abs_error", metrics->max_abs_error);
    add_real(item, "cosine", metrics->cosine);
}

/* null for weights that are not vector quantized. */
static void add_codebook(json_object to, const vqc_codebook_report *codebook)
{
    json_object item;

    if (codebook->dim == 0) {
        keep(to, cJSON_AddNullToObject(to.node, "codebook"));
        return;
    }
    item = add_object(to, "codebook");
    add_count(item, "dim", codebook->dim);
    add_count(item, "codebook_size", codebook->codebook_size);
    add_count(item, "stages", codebook->stages);
    add_count(item, "codebooks", codebook->codebooks);
    add_text(item, "type", codebook->type);
    add_bool(item, "is_scaled", codebook->is_scaled);
    add_bool(item, "is_masked", codebook->is_masked);
    add_count(item, "index_bytes", codebook->index_bytes);
    add_count(item, "codebook_bytes", codebook->codebook_bytes);
}

static const char *status_name(vqc_layer_status status)
{
    return status == VQC_LAYER_CODED ? "coded" : status == VQC_LAYER_KEPT ? "kept" : "missing";
}

static void add_layers(json_object to, const vqc_layer_report *layers, size_t count)
{
    cJSON *array = add_array(to, "layers");

    for (size_t i = 0; i < count && !*to.failed; i++) {
        const vqc_layer_report *layer = &layers[i];
        json_object item = append(array, to.failed);

        if (*to.failed) {
            return;
        }
        add_text(item, "name", layer->name);
        add_text(item, "scope", layer->scope);
        add_text(item, "node", layer->node);
        add_text(item, "op", layer->op);
        add_text(item, "dtype", layer->dtype);
        add_dims(item, layer->dims, layer->rank);
        add_count(item, "elements", layer->elements);
        add_count(item, "use_count", layer->use_count);
        add_text(item, "status", status_name(layer->status));
        add_text(item, "codec", layer->codec);
        add_text(item, "pattern", layer->pattern);
        add_text(item, "reason", layer->reason);
        add_count(item, "before_bytes", layer->before_bytes);
        add_count(item, "after_bytes", layer->after_bytes);
        add_real(item, "bits_per_weight", layer->bits_per_weight);
        add_codebook(item, &layer->codebook);
        if (layer->zeros > 0) {
            add_count(item, "zeros", layer->zeros);
            add_real(item, "sparsity", (double)layer->zeros / (double)layer->elements);
            if (layer->dense_bytes > 0) {
                add_count(item, "dense_bytes", layer->dense_bytes);
            }
        }
        add_metrics(item, "metrics", &layer->metrics);
        if (layer->coding_metrics.count > 0) {
            add_metrics(item, "coding_metrics", &layer->coding_metrics);
        }
    }
}

static void add_groups(json_object to, const char *key, const vqc_size_group *groups, size_t count)
{
    cJSON *array = add_array(to, key);

    for (size_t i = 0; i < count && !*to.failed; i++) {
        json_object item = append(array, to.failed);

        if (*to.failed) {
            return;
        }
        add_text(item, "key", groups[i].key);
        add_count(item, "bytes", groups[i].bytes);
        add_count(item, "elements", groups[i].elements);
        add_count(item, "rows", groups[i].rows);
    }
}

static void add_rows(json_object to, const vqc_size_row *rows, size_t count)
{
    cJSON *array = add_array(to, "rows");

    for (size_t i = 0; i < count && !*to.failed; i++) {
        json_object item = append(array, to.failed);

        if (*to.failed) {
            return;
        }
        add_text(item, "name", rows[i].name);
        add_text(item, "scope", rows[i].scope);
        add_text(item, "op", rows[i].op);
        add_text(item, "kind", rows[i].kind);
        add_text(item, "dtype", rows[i].dtype);
        add_dims(item, rows[i].dims, rows[i].rank);
        add_count(item, "elements", rows[i].elements);
        add_count(item, "bytes", rows[i].bytes);
        add_bool(item, "has_ref", rows[i].has_ref);
    }
}

/* The finished text with a newline at its end; frees the tree. */
static char *print_tree(json_object root)
{
    char *text = *root.failed ? NULL : cJSON_Print(root.node);
    char *line = NULL;
    size_t length;

    cJSON_Delete(root.node);
    if (text == NULL) {
        return NULL;
    }
    length = strlen(text);
    line = malloc(length + 2);
    if (line != NULL) {
        memcpy(line, text, length);
        memcpy(line + length, "\n", 2);
    }
    cJSON_free(text);
    return line;
}

static void add_run(json_object root, const vqc_report *report)
{
    cJSON *array = add_array(root, "stages");

    for (size_t i = 0; i < report->stage_count && !*root.failed; i++) {
        json_object item = append(array, root.failed);
        if (*root.failed) {
            return;
        }
        add_text(item, "stage", report->stages[i].stage);
        add_count(item, "time_ns", report->stages[i].time_ns);
    }
    add_count(root, "time_ns", report->time_ns);
    add_count(root, "peak_memory_bytes", report->peak_memory_bytes);
}

static void add_misses(json_object root, const vqc_report *report)
{
    cJSON *array = add_array(root, "gate_misses");

    for (size_t i = 0; i < report->miss_count && !*root.failed; i++) {
        json_object item = append(array, root.failed);
        if (*root.failed) {
            return;
        }
        add_text(item, "gate", report->misses[i].gate);
        add_text(item, "layer", report->misses[i].layer);
        add_real(item, "limit", report->misses[i].limit);
        add_real(item, "value", report->misses[i].value);
    }
}

static void add_activations(json_object root, const vqc_report *report)
{
    cJSON *array = add_array(root, "activations");

    for (size_t i = 0; i < report->activation_count && !*root.failed; i++) {
        const vqc_activation_report *activation = &report->activations[i];
        json_object item = append(array, root.failed);
        if (*root.failed) {
            return;
        }
        add_text(item, "name", activation->name);
        add_text(item, "node", activation->node);
        add_text(item, "op", activation->op);
        add_text(item, "type", activation->type);
        add_text(item, "observer", activation->observer);
        add_real(item, "min", activation->min);
        add_real(item, "max", activation->max);
        add_real(item, "seen_min", activation->seen_min);
        add_real(item, "seen_max", activation->seen_max);
        add_real(item, "scale", activation->scale);
        add_integer(item, "zero_point", activation->zero_point);
    }
}

static bool is_equal(double sqnr_db)
{
    return isinf(sqnr_db) && sqnr_db > 0.0;
}

static void add_value_errors(json_object to, const char *key, const vqc_value_error *values,
                             size_t count, bool inside)
{
    cJSON *array = add_array(to, key);

    for (size_t i = 0; i < count && !*to.failed; i++) {
        const vqc_value_error *value = &values[i];
        json_object item = append(array, to.failed);
        if (*to.failed) {
            return;
        }
        add_text(item, "name", value->name);
        add_text(item, "node", value->node);
        add_text(item, "op", value->op);
        add_real(item, "sqnr_db", value->sqnr_db);
        add_bool(item, "equal", is_equal(value->sqnr_db));
        if (inside) {
            add_real(item, "added_db", value->added_db);
        } else {
            add_real(item, "cosine", value->cosine);
            add_real(item, "max_abs_error", value->max_abs_error);
            add_real(item, "agreement", value->agreement);
        }
    }
}

/* null when the models were not run. */
static void add_verification(json_object root, const vqc_verification *v)
{
    json_object item;

    if (v->data == NULL) {
        keep(root, cJSON_AddNullToObject(root.node, "verification"));
        return;
    }
    item = add_object(root, "verification");
    add_text(item, "data", v->data);
    add_bool(item, "held_out", v->held_out);
    add_bool(item, "is_synthetic", v->is_synthetic);
    add_count(item, "samples", v->samples);
    add_real(item, "min_sqnr_db", v->min_sqnr_db);
    add_bool(item, "equal", is_equal(v->min_sqnr_db) && v->nonfinite == 0);
    add_count(item, "nonfinite", v->nonfinite);
    add_real(item, "top1_before", v->top1_before);
    add_real(item, "top1_after", v->top1_after);
    add_real(item, "top5_before", v->top5_before);
    add_real(item, "top5_after", v->top5_after);
    add_real(item, "mse_before", v->mse_before);
    add_real(item, "mse_after", v->mse_after);
    add_real(item, "perplexity_before", v->perplexity_before);
    add_real(item, "perplexity_after", v->perplexity_after);
    add_value_errors(item, "outputs", v->outputs, v->output_count, false);
    add_count(item, "value_samples", v->value_samples);
    add_value_errors(item, "values", v->values, v->value_count, true);
}

char *vqc_report_to_json(const vqc_report *report)
{
    bool failed = false;
    json_object root = {cJSON_CreateObject(), &failed};

    if (root.node == NULL) {
        return NULL;
    }
    add_count(root, "format", JSON_FORMAT);
    add_text(root, "kind", "compress");
    add_text(root, "input", report->input);
    add_text(root, "output", report->output);
    add_text(root, "recipe", report->recipe);
    add_bool(root, "dry_run", report->dry_run);
    add_bool(root, "unchanged", report->unchanged);
    add_bool(root, "file_removed", report->file_removed);
    add_size(root, "before", &report->before);
    add_size(root, "after", &report->after);
    add_real(root, "size_ratio",
             report->before.total_bytes == 0
                 ? (double)NAN
                 : (double)report->after.total_bytes / (double)report->before.total_bytes);
    add_integer(root, "opset_before", report->opset_before);
    add_integer(root, "opset_after", report->opset_after);
    add_integer(root, "ir_before", report->ir_before);
    add_integer(root, "ir_after", report->ir_after);
    add_count(root, "weight_elements", report->weight_elements);
    if (report->weight_zeros > 0) {
        add_count(root, "weight_zeros", report->weight_zeros);
        add_real(root, "weight_sparsity",
                 (double)report->weight_zeros / (double)report->weight_elements);
    }
    add_count(root, "weight_before_bytes", report->weight_before_bytes);
    add_count(root, "weight_after_bytes", report->weight_after_bytes);
    add_count(root, "coded_count", report->coded_count);
    add_count(root, "kept_count", report->kept_count);
    add_metrics(root, "metrics", &report->metrics);
    if (report->coding_metrics.count > 0) {
        add_metrics(root, "coding_metrics", &report->coding_metrics);
    }
    add_layers(root, report->layers, report->layer_count);
    add_count(root, "folded", report->folded);
    add_count(root, "integer_layers", report->integer_layers);
    add_count(root, "possible_layers", report->possible_layers);
    add_activations(root, report);
    add_verification(root, &report->verification);
    add_texts(root, "notes", report->notes, report->note_count);
    add_misses(root, report);
    add_run(root, report);
    return print_tree(root);
}

char *vqc_inspection_to_json(const vqc_inspection *inspection)
{
    bool failed = false;
    json_object root = {cJSON_CreateObject(), &failed};

    if (root.node == NULL) {
        return NULL;
    }
    add_count(root, "format", JSON_FORMAT);
    add_text(root, "kind", "report");
    add_text(root, "path", inspection->path);
    add_text(root, "ref_path", inspection->ref_path);
    add_size(root, "size", &inspection->size);
    if (inspection->ref_path[0] != '\0') {
        add_size(root, "ref_size", &inspection->ref_size);
    }
    add_integer(root, "ir_version", inspection->ir_version);
    add_text(root, "opsets", inspection->opsets);
    add_text(root, "producer", inspection->producer);
    add_count(root, "weight_elements", inspection->weight_elements);
    add_real(root, "bits_per_weight", inspection->bits_per_weight);
    add_metrics(root, "metrics", &inspection->metrics);
    add_groups(root, "by_kind", inspection->by_kind, inspection->kind_count);
    add_groups(root, "by_op", inspection->by_op, inspection->op_count);
    add_groups(root, "by_dtype", inspection->by_dtype, inspection->dtype_count);
    add_layers(root, inspection->layers, inspection->layer_count);
    add_rows(root, inspection->rows, inspection->row_count);
    add_texts(root, "notes", inspection->notes, inspection->note_count);
    return print_tree(root);
}
