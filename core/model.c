#include "core/model.h"

#include <stdlib.h>
#include <string.h>

void vqc_model_destroy(vqc_model **model)
{
    if (model == NULL || *model == NULL) {
        return;
    }
    if ((*model)->release != NULL) {
        (*model)->release((*model)->release_context);
    }
    vqc_arena_destroy(&(*model)->arena);
    free(*model);
    *model = NULL;
}

vqc_status vqc_model_create(const char *path, vqc_model **out, vqc_error *error)
{
    vqc_model *model;

    *out = NULL;
    model = calloc(1, sizeof *model);
    if (model == NULL) {
        return vqc_fail_memory(error, sizeof *model);
    }
    model->arena = vqc_arena_create();
    if (model->arena != NULL) {
        model->path = vqc_arena_strdup(model->arena, path);
        model->proto = vqc_arena_alloc(model->arena, sizeof *model->proto);
    }
    if (model->path == NULL || model->proto == NULL) {
        vqc_model_destroy(&model);
        return vqc_fail_memory(error, sizeof *model->proto);
    }
    onnx__model_proto__init(model->proto);
    *out = model;
    return VQC_OK;
}

bool vqc_domain_is_onnx(const char *domain)
{
    return domain == NULL || domain[0] == '\0' || strcmp(domain, "ai.onnx") == 0;
}

static bool same_domain(const char *a, const char *b)
{
    if (vqc_domain_is_onnx(a) || vqc_domain_is_onnx(b)) {
        return vqc_domain_is_onnx(a) && vqc_domain_is_onnx(b);
    }
    return strcmp(a, b) == 0;
}

int64_t vqc_model_opset(const Onnx__ModelProto *proto, const char *domain)
{
    int64_t version = 0;

    /* A domain that is imported twice counts with its highest version: raising can then never
     * lower. */
    for (size_t i = 0; i < proto->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *entry = proto->opset_import[i];
        if (same_domain(entry->domain, domain) && entry->version > version) {
            version = entry->version;
        }
    }
    return version;
}

vqc_status vqc_model_set_opset(vqc_model *model, const char *domain, int64_t version,
                               vqc_error *error)
{
    Onnx__ModelProto *proto = model->proto;
    Onnx__OperatorSetIdProto **entries;
    Onnx__OperatorSetIdProto *entry;
    bool found = false;

    for (size_t i = 0; i < proto->n_opset_import; i++) {
        entry = proto->opset_import[i];
        if (same_domain(entry->domain, domain)) {
            found = true;
            if (!entry->has_version || entry->version < version) {
                entry->has_version = 1;
                entry->version = version;
            }
        }
    }
    if (found) {
        return VQC_OK;
    }
    entries = vqc_arena_calloc(model->arena, proto->n_opset_import + 1, sizeof *entries);
    entry = vqc_arena_alloc(model->arena, sizeof *entry);
    if (entries == NULL || entry == NULL) {
        return vqc_fail_memory(error, sizeof *entry);
    }
    onnx__operator_set_id_proto__init(entry);
    entry->domain = vqc_arena_strdup(model->arena, domain == NULL ? "" : domain);
    if (entry->domain == NULL) {
        return vqc_fail_memory(error, 1);
    }
    entry->has_version = 1;
    entry->version = version;
    if (proto->n_opset_import > 0) {
        memcpy(entries, proto->opset_import, proto->n_opset_import * sizeof *entries);
    }
    entries[proto->n_opset_import] = entry;
    proto->opset_import = entries;
    proto->n_opset_import++;
    return VQC_OK;
}
