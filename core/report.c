#include "core/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

vqc_status vqc_report_create(vqc_report **out, vqc_error *error)
{
    vqc_arena *arena = vqc_arena_create();
    vqc_report *report = arena == NULL ? NULL : vqc_arena_calloc(arena, 1, sizeof *report);

    *out = NULL;
    if (report == NULL) {
        vqc_arena_destroy(&arena);
        return vqc_fail_memory(error, sizeof *report);
    }
    report->arena = arena;
    report->input = report->output = report->recipe = "";
    *out = report;
    return VQC_OK;
}

void vqc_report_destroy(vqc_report **report)
{
    if (report != NULL && *report != NULL) {
        vqc_arena *arena = (*report)->arena;
        *report = NULL;
        vqc_arena_destroy(&arena);
    }
}

/* Copies [count] items into an array with room for one more. */
static void *one_more(vqc_arena *arena, const void *items, size_t count, size_t item_bytes)
{
    char *grown = vqc_arena_calloc(arena, count + 1, item_bytes);
    if (grown != NULL && count > 0) {
        memcpy(grown, items, count * item_bytes);
    }
    return grown;
}

vqc_status vqc_report_note(vqc_report *report, vqc_error *error, const char *format, ...)
{
    char line[1024];
    const char **notes = one_more(report->arena, report->notes, report->note_count, sizeof *notes);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (notes == NULL ||
        (notes[report->note_count] = vqc_arena_strdup(report->arena, line)) == NULL) {
        return vqc_fail_memory(error, sizeof line);
    }
    report->notes = notes;
    report->note_count++;
    return VQC_OK;
}

void vqc_report_total(vqc_report *report)
{
    report->weight_elements = 0;
    report->weight_zeros = 0;
    report->weight_before_bytes = 0;
    report->weight_after_bytes = 0;
    report->coded_count = 0;
    report->kept_count = 0;
    for (size_t i = 0; i < report->layer_count; i++) {
        vqc_layer_report *layer = &report->layers[i];
        report->weight_elements += layer->elements;
        report->weight_zeros += layer->zeros;
        report->weight_before_bytes += layer->before_bytes;
        report->weight_after_bytes += layer->after_bytes;
        report->coded_count += layer->status == VQC_LAYER_CODED ? 1 : 0;
        report->kept_count += layer->status == VQC_LAYER_KEPT ? 1 : 0;
        layer->bits_per_weight =
            layer->elements == 0 ? 0.0 : 8.0 * (double)layer->after_bytes / (double)layer->elements;
    }
}

vqc_status vqc_report_unchanged(vqc_report *report, const char *reason, vqc_error *error)
{
    static const vqc_metrics nothing = {0};

    for (size_t i = 0; i < report->layer_count; i++) {
        vqc_layer_report *layer = &report->layers[i];
        if (layer->status == VQC_LAYER_CODED) {
            layer->status = VQC_LAYER_KEPT;
            layer->codec = "keep";
            layer->pattern = "";
            layer->reason = reason;
            layer->after_bytes = layer->before_bytes;
            layer->zeros = 0;
            layer->dense_bytes = 0;
            layer->metrics = layer->coding_metrics = nothing;
        }
    }
    report->unchanged = true;
    report->metrics = report->coding_metrics = nothing;
    report->opset_after = report->opset_before;
    report->ir_after = report->ir_before;
    report->note_count = 0;
    vqc_report_total(report);
    return vqc_report_note(report, error,
                           "nothing was to be gained: the output %s a copy of the input",
                           report->dry_run ? "would be" : "is");
}

static vqc_status add_miss(vqc_report *report, const char *gate, const char *layer, double limit,
                           double value, vqc_error *error)
{
    vqc_gate_miss *misses =
        one_more(report->arena, report->misses, report->miss_count, sizeof *misses);

    if (misses == NULL) {
        return vqc_fail_memory(error, sizeof *misses);
    }
    misses[report->miss_count] = (vqc_gate_miss){gate, layer, limit, value};
    report->misses = misses;
    report->miss_count++;
    return VQC_OK;
}

static vqc_status check_layer(vqc_report *report, const vqc_layer_report *layer,
                              const vqc_gates *gates, vqc_error *error)
{
    double ratio =
        layer->before_bytes == 0 ? 1.0 : (double)layer->after_bytes / (double)layer->before_bytes;
    vqc_status status = VQC_OK;

    if (!isnan(gates->layer_max_size_ratio) && ratio > gates->layer_max_size_ratio) {
        status = add_miss(report, "per_layer.max_size_ratio", layer->name,
                          gates->layer_max_size_ratio, ratio, error);
    }
    if (status == VQC_OK && !isnan(gates->layer_min_weight_sqnr_db) && layer->metrics.count > 0 &&
        !(layer->metrics.sqnr_db >= gates->layer_min_weight_sqnr_db)) {
        status = add_miss(report, "per_layer.min_weight_sqnr_db", layer->name,
                          gates->layer_min_weight_sqnr_db, layer->metrics.sqnr_db, error);
    }
    return status;
}

/* A gate that wants at least `limit`; a value that is not a number misses it. */
static vqc_status check_least(vqc_report *report, const char *gate, const char *output,
                              double limit, double value, vqc_error *error)
{
    return isnan(limit) || value >= limit ? VQC_OK
                                          : add_miss(report, gate, output, limit, value, error);
}

/* Gates on what running both models showed; a copy of the original meets them all. */
static vqc_status check_verification(vqc_report *report, const vqc_gates *gates, vqc_error *error)
{
    const vqc_verification *v = &report->verification;
    double drop = v->top1_before - v->top1_after;
    vqc_status status = VQC_OK;

    if (v->data == NULL || report->unchanged || report->dry_run) {
        return VQC_OK;
    }
    status = check_least(report, "min_output_sqnr_db", "", gates->min_output_sqnr_db,
                         v->min_sqnr_db, error);
    for (size_t i = 0; i < v->output_count && status == VQC_OK; i++) {
        const vqc_value_error *output = &v->outputs[i];
        if (!isnan(output->sqnr_db)) {
            status = check_least(report, "min_cosine", output->name, gates->min_cosine,
                                 output->cosine, error);
        }
    }
    if (status == VQC_OK && v->output_count > 0) {
        status = check_least(report, "min_top1_agreement", v->outputs[0].name,
                             gates->min_top1_agreement, v->outputs[0].agreement, error);
    }
    if (status == VQC_OK && !isnan(gates->max_accuracy_drop) &&
        !(drop <= gates->max_accuracy_drop)) {
        status = add_miss(report, "max_accuracy_drop", "", gates->max_accuracy_drop, drop, error);
    }
    if (status == VQC_OK) {
        status = check_least(report, "min_accuracy", "", gates->min_accuracy, v->top1_after, error);
    }
    return status;
}

vqc_status vqc_report_check_gates(vqc_report *report, const vqc_gates *gates, vqc_error *error)
{
    double ratio = report->before.total_bytes == 0
                       ? 1.0
                       : (double)report->after.total_bytes / (double)report->before.total_bytes;
    vqc_status status = VQC_OK;

    if (!isnan(gates->max_size_ratio) && ratio > gates->max_size_ratio) {
        status = add_miss(report, "max_size_ratio", "", gates->max_size_ratio, ratio, error);
    }
    if (status == VQC_OK && !isnan(gates->min_weight_sqnr_db) && report->metrics.count > 0 &&
        !(report->metrics.sqnr_db >= gates->min_weight_sqnr_db)) {
        status = add_miss(report, "min_weight_sqnr_db", "", gates->min_weight_sqnr_db,
                          report->metrics.sqnr_db, error);
    }
    if (status == VQC_OK) {
        status = check_verification(report, gates, error);
    }
    for (size_t i = 0; i < report->layer_count && status == VQC_OK; i++) {
        if (report->layers[i].status == VQC_LAYER_CODED) {
            status = check_layer(report, &report->layers[i], gates, error);
        }
    }
    return status;
}

uint64_t vqc_report_clock(void)
{
    struct timespec now = {0, 0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

vqc_status vqc_report_stage(vqc_report *report, const char *stage, uint64_t time_ns,
                            vqc_error *error)
{
    vqc_stage_time *stages;

    for (size_t i = 0; i < report->stage_count; i++) {
        if (strcmp(report->stages[i].stage, stage) == 0) {
            report->stages[i].time_ns += time_ns;
            return VQC_OK;
        }
    }
    stages = one_more(report->arena, report->stages, report->stage_count, sizeof *stages);
    if (stages == NULL) {
        return vqc_fail_memory(error, sizeof *stages);
    }
    stages[report->stage_count++] = (vqc_stage_time){stage, time_ns};
    report->stages = stages;
    return VQC_OK;
}
