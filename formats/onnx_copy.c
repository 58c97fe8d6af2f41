/* Byte-for-byte copies of models with their external data. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "formats/file_util.h"
#include "formats/onnx_file.h"
#include "formats/onnx_source.h"

typedef struct copying {
    const vqc_onnx_source *source;
    const char *folder; /* of the copy */
    bool overwrite;
    vqc_arena *arena;
    vqc_output *output;
    char **made; /* [made_count] folders that were created, outermost first; in the arena */
    size_t made_count;
} copying;

static bool same_folder(const char *a, const char *b)
{
    struct stat x;
    struct stat y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Makes the missing folders of c->folder/location. */
static vqc_status make_folders(copying *c, const char *location, vqc_error *error)
{
    for (const char *slash = strchr(location, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        char *path =
            vqc_arena_printf(c->arena, "%s/%.*s", c->folder, (int)(slash - location), location);
        char **made = vqc_arena_calloc(c->arena, c->made_count + 1, sizeof *made);
        if (path == NULL || made == NULL) {
            return vqc_fail_memory(error, strlen(location));
        }
        if (mkdir(path, 0777) == 0) {
            if (c->made_count > 0) {
                memcpy(made, c->made, c->made_count * sizeof *made);
            }
            made[c->made_count++] = path;
            c->made = made;
        } else if (errno != EEXIST) {
            return vqc_fail(error, VQC_ERR_IO, "%s: cannot make the folder: %s", path,
                            strerror(errno));
        }
    }
    return VQC_OK;
}

static vqc_status copy_map(copying *c, const vqc_file_map *map, const char *path, vqc_error *error)
{
    vqc_writer *writer = NULL;
    vqc_status status = vqc_output_add(c->output, path, c->overwrite, &writer, error);

    if (status != VQC_OK) {
        return status;
    }
    vqc_onnx_source_put(c->source, writer, map->data, map->size_bytes);
    return vqc_writer_finish(writer, error);
}

/* Whether `path` already holds the bytes of `map`. */
static bool has_same_bytes(const vqc_file_map *map, const char *path)
{
    vqc_file_map there;
    bool same = false;

    if (vqc_file_map_open(path, &there, NULL) == VQC_OK) {
        same = there.size_bytes == map->size_bytes &&
               memcmp(there.data, map->data, map->size_bytes) == 0;
        vqc_file_map_close(&there);
    }
    return same;
}

static vqc_status copy_externals(copying *c, vqc_error *error)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < c->source->external_count && status == VQC_OK; i++) {
        const vqc_onnx_external *item = &c->source->externals[i];
        char *path = vqc_arena_printf(c->arena, "%s/%s", c->folder, item->location);
        if (path == NULL) {
            return vqc_fail_memory(error, strlen(item->location));
        }
        if (has_same_bytes(&item->map, path)) {
            continue;
        }
        status = make_folders(c, item->location, error);
        if (status == VQC_OK) {
            status = copy_map(c, &item->map, path, error);
        }
    }
    return status;
}

/* The copy must not land on external data of the input. */
static vqc_status check_target(const copying *c, const vqc_model *model, const char *path,
                               vqc_error *error)
{
    struct stat info;

    if (stat(path, &info) == 0) {
        for (size_t i = 0; i < c->source->external_count; i++) {
            const vqc_file_map *map = &c->source->externals[i].map;
            if (map->device == info.st_dev && map->inode == info.st_ino) {
                return vqc_fail(error, VQC_ERR_USAGE,
                                "%s: is external data of the input %s; choose another output name",
                                path, model->path);
            }
        }
    }
    return VQC_OK;
}

vqc_status vqc_onnx_copy(const vqc_model *model, const char *path,
                         const vqc_onnx_write_options *options, vqc_onnx_written *written,
                         vqc_error *error)
{
    copying c = {.source = vqc_onnx_source_of(model),
                 .overwrite = options != NULL && options->overwrite};
    char *folder = vqc_path_folder(path);
    char *input_folder = vqc_path_folder(model->path);
    vqc_status status;

    c.folder = folder;
    c.arena = vqc_arena_create();
    if (folder == NULL || input_folder == NULL || c.arena == NULL) {
        status = vqc_fail_memory(error, strlen(path));
        goto done;
    }
    if (c.source == NULL) {
        status = vqc_fail(error, VQC_ERR_INTERNAL, "%s: not read from a file, cannot be copied",
                          model->path);
        goto done;
    }
    status = check_target(&c, model, path, error);
    if (status == VQC_OK) {
        status = vqc_output_create(&c.output, error);
    }
    if (status == VQC_OK && !same_folder(folder, input_folder)) {
        status = copy_externals(&c, error);
    }
    if (status == VQC_OK) {
        status = copy_map(&c, &c.source->model, path, error);
    }
    if (status == VQC_OK) {
        status = vqc_output_commit(c.output, error);
    }
    if (status == VQC_OK && written != NULL) {
        *written = (vqc_onnx_written){model->file_size_bytes, model->external_size_bytes};
    }

done:
    vqc_output_destroy(&c.output);
    if (status != VQC_OK) {
        for (size_t i = c.made_count; i-- > 0;) {
            (void)rmdir(c.made[i]);
        }
    }
    vqc_arena_destroy(&c.arena);
    free(input_folder);
    free(folder);
    return status;
}
