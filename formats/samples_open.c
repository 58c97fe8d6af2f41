#include "formats/samples_open.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/samples_source.h"

static bool is_picture(const char *name)
{
    return vqc_samples_name_ends(name, ".png") || vqc_samples_name_ends(name, ".jpg") ||
           vqc_samples_name_ends(name, ".jpeg") || vqc_samples_name_ends(name, ".jpe");
}

static bool is_array(const char *name)
{
    return vqc_samples_name_ends(name, ".npz") || vqc_samples_name_ends(name, ".npy");
}

static bool is_tensor(const char *name)
{
    return strncmp(name, "test_data_set_", 14) == 0 ||
           (strncmp(name, "input_", 6) == 0 && vqc_samples_name_ends(name, ".pb"));
}

/* What a folder holds. */
static vqc_status detect_folder(const char *path, vqc_samples_kind *kind, vqc_error *error)
{
    vqc_samples_names names = {0};
    size_t pictures = 0;
    size_t arrays = 0;
    size_t tensors = 0;
    vqc_status status = vqc_samples_list_folder(path, NULL, &names, error);

    if (status != VQC_OK) {
        return status;
    }
    for (size_t i = 0; i < names.count; i++) {
        pictures += is_picture(names.names[i]);
        arrays += is_array(names.names[i]);
        tensors += is_tensor(names.names[i]);
    }
    vqc_samples_names_clear(&names);
    if ((pictures > 0) + (arrays > 0) + (tensors > 0) > 1) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: holds %zu pictures, %zu .npz or .npy files and %zu ONNX test data; "
                        "expected one kind",
                        path, pictures, arrays, tensors);
    }
    if (pictures + arrays + tensors == 0) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: holds no samples; expected pictures (.png, .jpg), .npz or .npy files, "
                        "or test_data_set_0, ...",
                        path);
    }
    *kind = pictures > 0 ? VQC_SAMPLES_IMAGES
            : arrays > 0 ? VQC_SAMPLES_ARRAY_FOLDER
                         : VQC_SAMPLES_TENSORS;
    return VQC_OK;
}

/* The kind of an AUTO request; an explicit kind only has its path checked. */
static vqc_status detect(const vqc_samples_request *request, vqc_samples_kind *kind,
                         vqc_error *error)
{
    const char *path = request->path;
    bool wants_folder = *kind == VQC_SAMPLES_ARRAY_FOLDER || *kind == VQC_SAMPLES_TENSORS ||
                        *kind == VQC_SAMPLES_IMAGES;
    struct stat info;

    if (*kind == VQC_SAMPLES_SYNTHETIC || *kind == VQC_SAMPLES_FILES) {
        return VQC_OK;
    }
    if (path == NULL) {
        return vqc_fail(error, VQC_ERR_USAGE, "samples: no path is given");
    }
    if (stat(path, &info) != 0) {
        int problem = errno;
        if (*kind == VQC_SAMPLES_AUTO && problem == ENOENT && strcmp(path, "synthetic") == 0) {
            *kind = VQC_SAMPLES_SYNTHETIC;
            return VQC_OK;
        }
        return vqc_fail(error, VQC_ERR_IO, "%s: %s", path, strerror(problem));
    }
    if (*kind == VQC_SAMPLES_AUTO && S_ISDIR(info.st_mode)) {
        return detect_folder(path, kind, error);
    }
    if (wants_folder != S_ISDIR(info.st_mode)) {
        return vqc_fail(error, VQC_ERR_IO, "%s: expected a %s", path,
                        wants_folder ? "folder" : "file");
    }
    if (*kind == VQC_SAMPLES_AUTO && vqc_samples_name_ends(path, ".pb")) {
        *kind = VQC_SAMPLES_FILES;
    } else if (*kind == VQC_SAMPLES_AUTO && is_picture(path)) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: is one picture, expected a folder of them",
                        path);
    } else if (*kind == VQC_SAMPLES_AUTO) {
        *kind = VQC_SAMPLES_ARRAYS;
    }
    return VQC_OK;
}

static bool has_image_options(const vqc_image_options *image)
{
    return image->resize != VQC_IMAGE_RESIZE_NONE || image->filter != VQC_IMAGE_BILINEAR ||
           image->crop_height > 0 || image->bgr || image->layout != VQC_IMAGE_LAYOUT_AUTO ||
           image->mean_count > 0 || image->scale_count > 0;
}

static vqc_status open_kind(vqc_samples_kind kind, vqc_samples_source *source,
                            const vqc_samples_request *request, vqc_samples_problems *problems,
                            vqc_error *error)
{
    switch (kind) {
    case VQC_SAMPLES_ARRAYS:
        return vqc_samples_open_arrays(source, request, problems, error);
    case VQC_SAMPLES_ARRAY_FOLDER:
        return vqc_samples_open_array_folder(source, request, problems, error);
    case VQC_SAMPLES_TENSORS:
        return vqc_samples_open_tensors(source, request, problems, error);
    case VQC_SAMPLES_FILES:
        return vqc_samples_open_files(source, request, problems, error);
    case VQC_SAMPLES_IMAGES:
        return vqc_samples_open_images(source, request, problems, error);
    case VQC_SAMPLES_SYNTHETIC:
        return vqc_samples_open_synthetic(source, request, problems, error);
    default:
        return vqc_fail(error, VQC_ERR_INTERNAL, "samples of unknown kind %d", (int)kind);
    }
}

vqc_status vqc_samples_open(const vqc_samples_request *request, const vqc_program_port *inputs,
                            size_t input_count, vqc_samples **out, vqc_messages *problems,
                            vqc_error *error)
{
    vqc_error first = {VQC_OK, ""};
    vqc_samples_problems list = {.list = problems, .error = &first};
    vqc_samples_request one = *request;
    vqc_samples_source *source = NULL;
    vqc_samples_kind kind = request->kind;
    vqc_samples_file file = {NULL, request->path};
    vqc_status status;

    *out = NULL;
    status = detect(request, &kind, error);
    if (status == VQC_OK && kind == VQC_SAMPLES_FILES && one.file_count == 0) {
        one.files = &file;
        one.file_count = 1;
    }
    if (status == VQC_OK) {
        const char *path = kind == VQC_SAMPLES_SYNTHETIC ? "synthetic samples"
                           : kind == VQC_SAMPLES_FILES   ? one.files[0].path
                                                         : request->path;
        status = vqc_samples_source_create(path, inputs, input_count, &source, error);
    }
    if (status == VQC_OK) {
        source->label_offset = request->label_offset;
    }
    if (status == VQC_OK && kind != VQC_SAMPLES_IMAGES && has_image_options(&request->image)) {
        vqc_samples_problem(&list, VQC_ERR_USAGE, "%.300s: image options need a folder of pictures",
                            source->path);
    }
    if (status == VQC_OK && kind != VQC_SAMPLES_IMAGES && request->image.views > 1) {
        vqc_samples_problem(&list, VQC_ERR_USAGE,
                            "%.300s: calibrate.image.views needs a folder of pictures",
                            source->path);
    }
    if (status == VQC_OK) {
        status = open_kind(kind, source, &one, &list, error);
    }
    if (status != VQC_OK && error != NULL && list.count > 0) {
        vqc_samples_problem_error(&list, error); /* one more line */
    } else if (status != VQC_OK && error != NULL && problems != NULL) {
        (void)vqc_messages_add(problems, "%s", error->message);
    }
    if (status == VQC_OK && list.count > 0) {
        status = list.status;
        if (error != NULL) {
            *error = first;
        }
    }
    if (status != VQC_OK) {
        vqc_samples_source_destroy(&source);
        return status;
    }
    *out = &source->samples;
    return VQC_OK;
}
