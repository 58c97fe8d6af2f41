#include "core/inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/inspect_weight.h"

/* "ai.onnx 13, com.microsoft 1", in the model's order. */
static const char *list_opsets(const Onnx__ModelProto *model, vqc_arena *arena)
{
    const char *text = "";

    for (size_t i = 0; text != NULL && i < model->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *set = model->opset_import[i];
        text = vqc_arena_printf(arena, "%s%s%s %lld", text, i > 0 ? ", " : "",
                                vqc_domain_is_onnx(set->domain) ? "ai.onnx" : set->domain,
                                (long long)set->version);
        if (i == 63 && model->n_opset_import > 64) { /* hostile lists would grow quadratically */
            return text == NULL ? NULL : vqc_arena_printf(arena, "%s, ...", text);
        }
    }
    return text;
}

/* ---- sums over rows that share a key ---- */

typedef const char *row_key(const vqc_size_row *row);

static const char *key_kind(const vqc_size_row *row)
{
    return row->kind;
}

static const char *key_op(const vqc_size_row *row)
{
    return row->op;
}

static const char *key_dtype(const vqc_size_row *row)
{
    return row->dtype;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(((const vqc_size_group *)a)->key, ((const vqc_size_group *)b)->key);
}

/* Largest first; equal ones by key, so that the order never depends on the sort. */
static int compare_bytes(const void *a, const void *b)
{
    const vqc_size_group *x = a;
    const vqc_size_group *y = b;

    if (x->bytes != y->bytes) {
        return x->bytes > y->bytes ? -1 : 1;
    }
    return strcmp(x->key, y->key);
}

static vqc_status group_rows(vqc_inspection *out, row_key *key, vqc_size_group **groups,
                             size_t *count, vqc_error *error)
{
    vqc_size_group *all = vqc_arena_calloc(out->arena, out->row_count + 1, sizeof *all);
    size_t used = 0;

    if (all == NULL) {
        return vqc_fail_memory(error, out->row_count * sizeof *all);
    }
    for (size_t i = 0; i < out->row_count; i++) {
        all[i] = (vqc_size_group){key(&out->rows[i]), out->rows[i].bytes, out->rows[i].elements, 1};
    }
    qsort(all, out->row_count, sizeof *all, compare_keys);
    for (size_t i = 0; i < out->row_count; i++) {
        if (used > 0 && strcmp(all[used - 1].key, all[i].key) == 0) {
            all[used - 1].bytes += all[i].bytes;
            all[used - 1].elements += all[i].elements;
            all[used - 1].rows++;
        } else {
            all[used++] = all[i];
        }
    }
    qsort(all, used, sizeof *all, compare_bytes);
    *groups = all;
    *count = used;
    return VQC_OK;
}

/* ---- putting it together ---- */

static vqc_file_size size_of_model(const vqc_model *model)
{
    vqc_file_size size = {0};

    size.file_size_bytes = model->file_size_bytes;
    size.external_bytes = model->external_size_bytes;
    size.total_bytes = size.file_size_bytes + size.external_bytes;
    return size;
}

static vqc_status add_note(vqc_inspection *out, vqc_error *error, size_t missing, size_t unknown)
{
    const char **notes = vqc_arena_calloc(out->arena, 2, sizeof *notes);

    if (notes == NULL) {
        return vqc_fail_memory(error, 2 * sizeof *notes);
    }
    out->notes = notes;
    if (missing > 0) {
        notes[out->note_count++] = vqc_arena_printf(
            out->arena, "%zu weight%s of the reference ha%s no counterpart in this model", missing,
            missing == 1 ? "" : "s", missing == 1 ? "s" : "ve");
    }
    if (unknown > 0) {
        notes[out->note_count++] =
            vqc_arena_printf(out->arena, "%zu weight%s could not be compared: see the reasons",
                             unknown, unknown == 1 ? "" : "s");
    }
    for (size_t i = 0; i < out->note_count; i++) {
        if (notes[i] == NULL) {
            return vqc_fail_memory(error, 0);
        }
    }
    return VQC_OK;
}

/* Totals over the layers of this model, and notes. */
static vqc_status sum_up(vqc_inspection *out, bool has_reference, vqc_error *error)
{
    size_t bytes = 0;
    size_t missing = 0;
    size_t unknown = 0;

    for (size_t i = 0; i < out->layer_count; i++) {
        const vqc_layer_report *layer = &out->layers[i];
        if (layer->status == VQC_LAYER_MISSING) {
            missing++;
            continue;
        }
        bytes += layer->after_bytes;
        out->weight_elements += layer->elements;
        unknown += has_reference && layer->metrics.count == 0 && layer->elements > 0 &&
                   layer->before_bytes > 0;
    }
    out->bits_per_weight =
        out->weight_elements == 0 ? 0.0 : 8.0 * (double)bytes / (double)out->weight_elements;
    return add_note(out, error, missing, unknown);
}

/* Sizes of the reference's weights: its own rows are of no interest here. */
static vqc_status measure_reference(vqc_model *model, vqc_weights *weights, vqc_error *error)
{
    vqc_inspection scratch = {.arena = vqc_arena_create()};
    vqc_arena *arena = scratch.arena;
    vqc_status status = arena == NULL ? vqc_fail_memory(error, 0) : VQC_OK;

    if (status == VQC_OK) {
        status = vqc_weights_find(model, weights, error);
    }
    if (status == VQC_OK) {
        status = vqc_weights_own(weights, error);
    }
    if (status == VQC_OK) {
        status = vqc_inspect_sizes(weights, &scratch, error);
    }
    vqc_arena_destroy(&arena);
    return status;
}

/* Rows of weights for which --ref found a counterpart. */
static void mark_rows(vqc_inspection *out)
{
    for (size_t i = 0, next = 0; i < out->row_count && out->layer_count > 0; i++) {
        /* rows and layers come in nearly the same order: go on where the last one was found */
        for (size_t k = 0; strcmp(out->rows[i].kind, "weight") == 0 && k < 64; k++) {
            const vqc_layer_report *layer = &out->layers[(next + k) % out->layer_count];
            if (layer->metrics.count > 0 && strcmp(layer->name, out->rows[i].name) == 0 &&
                strcmp(layer->scope, out->rows[i].scope) == 0) {
                out->rows[i].has_ref = true;
                next = (next + k) % out->layer_count;
                break;
            }
        }
    }
}

static vqc_status fill(vqc_inspection *out, vqc_model *model, vqc_model *reference_model,
                       vqc_error *error)
{
    vqc_weights weights = {0};
    vqc_weights reference = {0};
    bool has_reference = reference_model != NULL;
    vqc_status status = vqc_weights_find(model, &weights, error);

    if (status == VQC_OK) {
        status = vqc_weights_own(&weights, error);
    }
    if (status == VQC_OK) {
        status = vqc_inspect_sizes(&weights, out, error);
    }
    if (status == VQC_OK && has_reference) {
        status = measure_reference(reference_model, &reference, error);
    }
    if (status == VQC_OK) {
        status = vqc_inspect_layers(&weights, has_reference ? &reference : NULL, out, error);
    }
    if (status == VQC_OK) {
        mark_rows(out);
        status = group_rows(out, key_kind, &out->by_kind, &out->kind_count, error);
    }
    if (status == VQC_OK) {
        status = group_rows(out, key_op, &out->by_op, &out->op_count, error);
    }
    if (status == VQC_OK) {
        status = group_rows(out, key_dtype, &out->by_dtype, &out->dtype_count, error);
    }
    if (status == VQC_OK) {
        status = sum_up(out, has_reference, error);
    }
    vqc_weights_clear(&reference);
    vqc_weights_clear(&weights);
    return status;
}

vqc_status vqc_inspect_model(vqc_model *model, vqc_model *reference, vqc_inspection **out,
                             vqc_error *error)
{
    vqc_inspection *inspection = calloc(1, sizeof *inspection);
    vqc_status status;

    *out = NULL;
    if (inspection == NULL || (inspection->arena = vqc_arena_create()) == NULL) {
        free(inspection);
        return vqc_fail_memory(error, sizeof *inspection);
    }
    inspection->path = vqc_arena_strdup(inspection->arena, model->path != NULL ? model->path : "");
    inspection->ref_path = vqc_arena_strdup(
        inspection->arena, reference != NULL && reference->path != NULL ? reference->path : "");
    inspection->producer = vqc_arena_strdup(
        inspection->arena, model->proto->producer_name != NULL ? model->proto->producer_name : "");
    inspection->opsets = list_opsets(model->proto, inspection->arena);
    inspection->ir_version = model->proto->ir_version;
    inspection->size = size_of_model(model);
    if (reference != NULL) {
        inspection->ref_size = size_of_model(reference);
    }
    if (inspection->path == NULL || inspection->ref_path == NULL || inspection->producer == NULL ||
        inspection->opsets == NULL) {
        status = vqc_fail_memory(error, 0);
    } else {
        status = fill(inspection, model, reference, error);
    }
    if (status != VQC_OK) {
        vqc_inspection_destroy(&inspection);
        return status;
    }
    *out = inspection;
    return VQC_OK;
}

void vqc_inspection_destroy(vqc_inspection **inspection)
{
    vqc_arena *arena;

    if (inspection == NULL || *inspection == NULL) {
        return;
    }
    arena = (*inspection)->arena;
    vqc_arena_destroy(&arena);
    free(*inspection);
    *inspection = NULL;
}
