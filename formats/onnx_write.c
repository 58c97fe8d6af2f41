#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/file_util.h"
#include "formats/onnx_file.h"
#include "formats/onnx_plan.h"
#include "formats/onnx_source.h"

static const vqc_onnx_write_options DEFAULTS;

/* A protobuf-c buffer that goes to a file. */
typedef struct packing {
    ProtobufCBuffer base; /* first: protobuf-c hands us its address */
    vqc_writer *writer;
    const vqc_onnx_source *source;
} packing;

static void append(ProtobufCBuffer *buffer, size_t size, const uint8_t *data)
{
    packing *p = (packing *)(void *)buffer;
    vqc_onnx_source_put(p->source, p->writer, data, size);
}

/* Whether `path` names the file behind `map`. */
static bool same_file(const char *path, const vqc_file_map *map)
{
    struct stat info;
    return stat(path, &info) == 0 && info.st_dev == map->device && info.st_ino == map->inode;
}

/* Refuses to write over a file of the input that the input would still need afterwards. */
static vqc_status protect_input(const vqc_model *model, const char *path, const char *target,
                                vqc_error *error)
{
    const vqc_onnx_source *source = vqc_onnx_source_of(model);

    if (source == NULL || !source->mapped) {
        return VQC_OK;
    }
    /* The input itself is replaced: then its data file may go as well. */
    if (target != path && same_file(path, &source->model)) {
        return VQC_OK;
    }
    for (size_t i = 0; i < source->external_count; i++) {
        if (same_file(target, &source->externals[i].map)) {
            return vqc_fail(error, VQC_ERR_USAGE,
                            "%s: is external data of the input %s; choose another output name",
                            target, model->path);
        }
    }
    return VQC_OK;
}

static vqc_status write_data_file(const vqc_write_plan *plan, vqc_writer *writer, vqc_error *error)
{
    static const uint8_t zeros[VQC_EXTERNAL_ALIGN];
    const vqc_onnx_source *source = vqc_onnx_source_of(plan->model);

    for (size_t i = 0; i < plan->count; i++) {
        const vqc_write_plan_item *item = &plan->items[i];
        if (item->external && !item->duplicate) {
            vqc_writer_put(writer, zeros, item->offset - vqc_writer_size(writer));
            vqc_onnx_source_put(source, writer, item->saved.raw_data.data,
                                item->saved.raw_data.len);
        }
    }
    return vqc_writer_finish(writer, error);
}

static vqc_status write_model_file(const vqc_write_plan *plan, vqc_writer *writer, vqc_error *error)
{
    packing p = {{append}, writer, vqc_onnx_source_of(plan->model)};

    (void)onnx__model_proto__pack_to_buffer(plan->model->proto, &p.base);
    if (vqc_writer_size(writer) != plan->inline_bytes) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "%s: packed to %zu bytes, expected %zu",
                        plan->model->path, vqc_writer_size(writer), plan->inline_bytes);
    }
    return vqc_writer_finish(writer, error);
}

static vqc_status save_planned(const vqc_write_plan *plan, const char *path, bool overwrite,
                               vqc_error *error)
{
    vqc_output *output = NULL;
    vqc_writer *writer = NULL;
    char *data_path = NULL;
    char *folder = vqc_path_folder(path);
    vqc_status status = VQC_ERR_INTERNAL;

    if (folder == NULL) {
        return vqc_fail_memory(error, strlen(path));
    }
    status = protect_input(plan->model, path, path, error);
    if (status == VQC_OK) {
        status = vqc_output_create(&output, error);
    }
    if (status == VQC_OK && plan->external_bytes > 0) {
        data_path = vqc_arena_printf(plan->arena, "%s/%s", folder, plan->location);
        status = data_path == NULL ? vqc_fail_memory(error, strlen(folder))
                                   : protect_input(plan->model, path, data_path, error);
        /* The data file is put in place first: a model must never be there without its data. */
        if (status == VQC_OK) {
            status = vqc_output_add(output, data_path, overwrite, &writer, error);
        }
        if (status == VQC_OK) {
            status = write_data_file(plan, writer, error);
        }
    }
    if (status == VQC_OK) {
        status = vqc_output_add(output, path, overwrite, &writer, error);
    }
    if (status == VQC_OK) {
        status = write_model_file(plan, writer, error);
    }
    if (status == VQC_OK) {
        status = vqc_output_commit(output, error);
    }
    vqc_output_destroy(&output);
    free(folder);
    return status;
}

vqc_status vqc_onnx_save(const vqc_model *model, const char *path,
                         const vqc_onnx_write_options *options, vqc_onnx_written *written,
                         vqc_error *error)
{
    vqc_write_plan plan;
    vqc_status status;

    options = options == NULL ? &DEFAULTS : options;
    status = vqc_write_plan_create(&plan, model, path, options, error);
    if (status == VQC_OK) {
        status = save_planned(&plan, path, options->overwrite, error);
    }
    if (status == VQC_OK && written != NULL) {
        *written = (vqc_onnx_written){plan.inline_bytes, plan.external_bytes};
    }
    vqc_write_plan_destroy(&plan);
    return status;
}

vqc_status vqc_onnx_measure(const vqc_model *model, const vqc_onnx_write_options *options,
                            vqc_onnx_written *written, vqc_error *error)
{
    vqc_write_plan plan;
    vqc_status status;

    options = options == NULL ? &DEFAULTS : options;
    status = vqc_write_plan_create(
        &plan, model, options->target == NULL ? model->path : options->target, options, error);
    if (status == VQC_OK) {
        *written = (vqc_onnx_written){plan.inline_bytes, plan.external_bytes};
    }
    vqc_write_plan_destroy(&plan);
    return status;
}

void vqc_onnx_cleanup(void)
{
    vqc_output_cleanup();
}
