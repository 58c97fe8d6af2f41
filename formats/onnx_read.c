#include <stdlib.h>
#include <string.h>

#include "formats/onnx_decode.h"
#include "formats/onnx_file.h"
#include "formats/onnx_source.h"

/* Decodes source->model into a new model that owns `source`; on failure the source is released. */
static vqc_status read_source(vqc_onnx_source *source, const char *path, const char *folder,
                              vqc_model **out, vqc_error *error)
{
    vqc_model *model = NULL;
    ProtobufCMessage *message = NULL;
    vqc_status status = vqc_model_create(path, &model, error);

    if (status != VQC_OK) {
        vqc_onnx_source_release(source);
        return status;
    }
    model->release = vqc_onnx_source_release;
    model->release_context = source;
    model->discard = source->mapped ? vqc_onnx_source_discard : NULL;
    model->file_size_bytes = source->model.size_bytes;
    if (model->file_size_bytes == 0) {
        status =
            vqc_fail(error, VQC_ERR_MODEL, "%s: the file is empty, expected an ONNX model", path);
        goto done;
    }
    status = vqc_onnx_decode(&onnx__model_proto__descriptor, source->model.data,
                             source->model.size_bytes, path, model->arena, &message, error);
    if (status != VQC_OK) {
        goto done;
    }
    model->proto = (Onnx__ModelProto *)(void *)message;
    if (model->proto->graph == NULL) {
        status = vqc_fail(error, VQC_ERR_MODEL, "%s: no graph in it: not an ONNX model", path);
        goto done;
    }
    status = vqc_onnx_source_load_externals(model, folder, error);
    /* A page fault may map megabytes around the header that was wanted: give them back. */
    vqc_onnx_source_discard(source, source->model.data, source->model.size_bytes);

done:
    if (status != VQC_OK) {
        vqc_model_destroy(&model);
    }
    *out = model;
    return status;
}

vqc_status vqc_onnx_open(const char *path, vqc_model **out, vqc_error *error)
{
    vqc_onnx_source *source = calloc(1, sizeof *source);
    char *folder = vqc_path_folder(path);
    vqc_status status;

    *out = NULL;
    if (source == NULL || folder == NULL) {
        status = vqc_fail_memory(error, sizeof *source);
        free(source);
    } else {
        status = vqc_file_map_open(path, &source->model, error);
        if (status == VQC_OK) {
            source->mapped = true;
            status = read_source(source, path, folder, out, error);
        } else {
            free(source);
        }
    }
    free(folder);
    return status;
}

vqc_status vqc_onnx_parse(const void *data, size_t size_bytes, const char *name, vqc_model **out,
                          vqc_error *error)
{
    vqc_onnx_source *source = calloc(1, sizeof *source);

    *out = NULL;
    if (source == NULL) {
        return vqc_fail_memory(error, sizeof *source);
    }
    source->model.data = data;
    source->model.size_bytes = size_bytes;
    return read_source(source, name, NULL, out, error);
}
