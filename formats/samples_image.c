/* Samples from a folder of pictures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/element.h"
#include "formats/file_util.h"
#include "formats/image_decode.h"
#include "formats/image_resize.h"
#include "formats/samples_source.h"

/* Views lie at most this part of the crop's side away from the centre, where what pictures show is.
 * KL divergence of half-pruned models on other pictures, fitted to one view of each, to four from
 * anywhere, to four near the centre: mobilenetv2 0.417, 0.451, 0.384; squeezenet 0.161, 0.162,
 * 0.149. */
enum { SHIFT_SHARE = 8 };

typedef struct image_samples {
    char *folder;
    vqc_samples_names names;
    int64_t *classes; /* [names.count], or NULL */
    vqc_image_options options;
    size_t port; /* the input that gets the picture */
    bool nhwc;
    bool batch;      /* the input has a batch dimension, of 1 */
    size_t channels; /* 1 or 3 */
    float mean[3];
    float scale[3];
} image_samples;

static void close_images(void *detail)
{
    image_samples *images = detail;

    if (images != NULL) {
        vqc_samples_names_clear(&images->names);
        free(images->classes);
        free(images->folder);
        free(images);
    }
}

static bool is_picture(const char *name)
{
    return vqc_samples_name_ends(name, ".png") || vqc_samples_name_ends(name, ".jpg") ||
           vqc_samples_name_ends(name, ".jpeg") || vqc_samples_name_ends(name, ".jpe");
}

/* Channel c of the tensor at a pixel, 0..255. Grey is the luma of ITU-R BT.601 in 16 fractional
 * bits, as Pillow's convert("L"). */
static unsigned channel_value(const image_samples *images, const uint8_t *rgb, size_t c)
{
    if (images->channels == 1) {
        return (19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 0x8000u) >> 16;
    }
    return rgb[images->options.bgr ? 2 - c : c];
}

/* The part of a picture that becomes a sample. */
typedef struct part {
    size_t top, left, height, width;
    bool mirrored; /* left to right */
} part;

/* Where a crop begins along one side: in the centre, or drawn from around it. */
static size_t place_along(size_t side, size_t crop, size_t view, uint64_t drawn)
{
    size_t centre = (side - crop) / 2;
    size_t most = crop / SHIFT_SHARE > 0 ? crop / SHIFT_SHARE : 1;
    size_t before = centre < most ? centre : most;
    size_t behind = side - crop - centre < most ? side - crop - centre : most;

    return view == 0 ? centre : centre - before + (size_t)(drawn % (before + behind + 1));
}

/* View 0 is the centre of the picture of height x width, others lie around it, at a place that is
 * drawn from index and view: the same in every run. */
static void place_view(size_t index, size_t view, size_t height, size_t width, part *p)
{
    uint64_t z = vqc_samples_draw((uint64_t)index * VQC_IMAGE_MAX_VIEWS + view);

    p->top = place_along(height, p->height, view, z >> 32);
    p->left = place_along(width, p->width, view, z & 0xffffffffu);
    p->mirrored = view % 2 == 1;
}

/* A part of the picture, as the input wants it. */
static void fill_tensor(const image_samples *images, const vqc_image *image, const part *p,
                        vqc_buffer *out)
{
    size_t pixel_step = images->nhwc ? images->channels : 1;
    size_t channel_step = images->nhwc ? 1 : p->height * p->width;
    bool bytes = out->dtype == VQC_DTYPE_UINT8;
    vqc_class class = vqc_class_of(out->dtype);

    for (size_t y = 0; y < p->height; y++) {
        const uint8_t *row = image->pixels + ((p->top + y) * image->width + p->left) * 3;
        for (size_t x = 0; x < p->width; x++) {
            const uint8_t *rgb = row + 3 * (p->mirrored ? p->width - 1 - x : x);
            size_t at = (y * p->width + x) * pixel_step;
            for (size_t c = 0; c < images->channels; c++, at += channel_step) {
                unsigned value = channel_value(images, rgb, c);
                float real = ((float)value - images->mean[c]) * images->scale[c];
                unsigned char *to = out->data + at * out->width;
                if (bytes) {
                    *to = (unsigned char)value;
                } else if (out->dtype == VQC_DTYPE_FLOAT) {
                    memcpy(to, &real, sizeof real);
                } else {
                    vqc_chunk chunk;
                    chunk.f32[0] = real;
                    vqc_element_convert(&chunk, VQC_CLASS_F32, class, 1);
                    vqc_element_store(out->dtype, class, &chunk, 1, NULL, to);
                }
            }
        }
    }
}

/* Resizes, crops and converts a decoded picture. */
static vqc_status convert_picture(const vqc_samples_source *self, vqc_image *image, size_t index,
                                  size_t view, const char *path, vqc_buffer **out, vqc_error *error)
{
    const image_samples *images = self->detail;
    const vqc_image_options *options = &images->options;
    const vqc_program_port *port = &self->ports[images->port];
    size_t height = image->height;
    size_t width = image->width;
    part p = {0};
    int64_t dims[4] = {1, 0, 0, 0};
    int64_t *shape = images->batch ? dims + 1 : dims;
    char wanted[VQC_SAMPLES_TEXT];
    vqc_status status;

    vqc_image_resized(options, &height, &width);
    status = vqc_image_resize_to(image, height, width, options->filter, path, error);
    if (status != VQC_OK) {
        return status;
    }
    p.height = options->crop_height > 0 ? (size_t)options->crop_height : height;
    p.width = options->crop_width > 0 ? (size_t)options->crop_width : width;
    if (p.height > height || p.width > width) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: got a picture of %zu x %zu (width x height%s), smaller than the crop "
                        "of %zu x %zu; a resize before it makes it larger",
                        path, width, height,
                        options->resize != VQC_IMAGE_RESIZE_NONE ? ", resized" : "", p.width,
                        p.height);
    }
    shape[images->nhwc ? 2 : 0] = (int64_t)images->channels;
    shape[images->nhwc ? 0 : 1] = (int64_t)p.height;
    shape[images->nhwc ? 1 : 2] = (int64_t)p.width;
    if (!vqc_samples_shape_fits(port, dims, (size_t)port->rank)) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: got a picture of %zu x %zu (width x height) after resize and crop, "
                        "but input \"%.100s\" is %.200s; set resize or crop",
                        path, p.width, p.height, port->name,
                        vqc_samples_describe_port(port, wanted));
    }
    *out = vqc_buffer_create(port->dtype, dims, (size_t)port->rank);
    if (*out == NULL) {
        return vqc_fail_memory(error, p.height * p.width * images->channels * sizeof(float));
    }
    place_view(index, view, height, width, &p);
    fill_tensor(images, image, &p, *out);
    return VQC_OK;
}

static vqc_status fill_image(vqc_samples_source *self, size_t index, vqc_samples_slot *slot,
                             vqc_error *error)
{
    image_samples *images = self->detail;
    char *path = vqc_samples_join(images->folder, images->names.names[index]);
    vqc_file_map map = {0};
    vqc_image image = {0};
    vqc_status status;

    if (path == NULL) {
        return vqc_fail_memory(error, 0);
    }
    status = vqc_file_map_open(path, &map, error);
    if (status == VQC_OK) {
        status = vqc_image_decode(map.data, map.size_bytes, path, &image, error);
    }
    vqc_file_map_close(&map);
    if (status == VQC_OK) {
        status = convert_picture(self, &image, index, slot->view, path, &slot->inputs[images->port],
                                 error);
    }
    vqc_image_clear(&image);
    free(path);
    if (status == VQC_OK && images->classes != NULL) {
        slot->labels = malloc(sizeof *slot->labels);
        if (slot->labels == NULL) {
            return vqc_fail_memory(error, sizeof *slot->labels);
        }
        slot->labels[0] = images->classes[index];
        slot->label_count = 1;
    }
    return status;
}

/* ---- opening ---- */

static bool is_channels(int64_t dim)
{
    return dim == 1 || dim == 3;
}

/* Finds layout and channels of the input; adds a problem when it cannot be a picture. */
static void find_layout(const vqc_samples_source *self, image_samples *images,
                        vqc_samples_problems *problems)
{
    const vqc_program_port *port = &self->ports[images->port];
    const int64_t *dims = port->rank == 4 ? port->dims + 1 : port->dims;
    char got[VQC_SAMPLES_TEXT];
    int64_t channels;

    images->batch = port->rank == 4;
    if ((port->rank != 3 && port->rank != 4) || (images->batch && port->dims[0] > 1) ||
        (vqc_class_of(port->dtype) != VQC_CLASS_F32 && port->dtype != VQC_DTYPE_DOUBLE &&
         port->dtype != VQC_DTYPE_UINT8)) {
        vqc_samples_problem(problems, VQC_ERR_MODEL,
                            "%.300s: input \"%.100s\" is %.200s; pictures need float or uint8 "
                            "values with 3 dimensions, or 4 with a batch of 1",
                            self->path, port->name, vqc_samples_describe_port(port, got));
        return;
    }
    switch (images->options.layout) {
    case VQC_IMAGE_LAYOUT_AUTO:
        images->nhwc = !is_channels(dims[0]) && is_channels(dims[2]);
        break;
    default:
        images->nhwc = images->options.layout == VQC_IMAGE_NHWC;
        break;
    }
    channels = dims[images->nhwc ? 2 : 0];
    images->channels = channels == 1 ? 1 : 3;
    if (channels >= 0 && !is_channels(channels)) {
        vqc_samples_problem(problems, VQC_ERR_MODEL,
                            "%.300s: input \"%.100s\" is %.200s, which has %lld channels as %s; "
                            "pictures have 1 or 3",
                            self->path, port->name, vqc_samples_describe_port(port, got),
                            (long long)channels, images->nhwc ? "nhwc" : "nchw");
    }
}

/* Whether the size that the options give is the one of the input, when both are known. */
static void check_size(const vqc_samples_source *self, const image_samples *images,
                       vqc_samples_problems *problems)
{
    const vqc_image_options *options = &images->options;
    const vqc_program_port *port = &self->ports[images->port];
    const int64_t *dims = port->dims + (images->batch ? 1 : 0) + (images->nhwc ? 0 : 1);
    int64_t height = options->crop_height;
    int64_t width = options->crop_width;
    const char *what = "crop";

    if (height == 0 && options->resize == VQC_IMAGE_RESIZE_EXACT) {
        height = options->resize_height;
        width = options->resize_width;
        what = "resize";
    }
    if (height > 0 && ((dims[0] >= 0 && dims[0] != height) || (dims[1] >= 0 && dims[1] != width))) {
        char got[VQC_SAMPLES_TEXT];
        vqc_samples_problem(problems, VQC_ERR_USAGE,
                            "%.300s: %s makes pictures of %lldx%lld (height x width), but input "
                            "\"%.100s\" is %.200s",
                            self->path, what, (long long)height, (long long)width, port->name,
                            vqc_samples_describe_port(port, got));
    }
}

static void set_scaling(const vqc_samples_source *self, image_samples *images,
                        vqc_samples_problems *problems)
{
    const vqc_image_options *options = &images->options;

    for (size_t c = 0; c < 3; c++) {
        images->mean[c] = options->mean_count == 0   ? 0.0f
                          : options->mean_count == 1 ? options->mean[0]
                                                     : options->mean[c];
        images->scale[c] = options->scale_count == 0   ? 1.0f
                           : options->scale_count == 1 ? options->scale[0]
                                                       : options->scale[c];
    }
    if (images->channels == 1 && (options->mean_count == 3 || options->scale_count == 3)) {
        vqc_samples_problem(problems, VQC_ERR_USAGE,
                            "%.300s: mean, scale and std: got 3 numbers, expected 1 for a model "
                            "with one channel",
                            self->path);
    }
    if (self->ports[images->port].dtype == VQC_DTYPE_UINT8 &&
        (options->mean_count > 0 || options->scale_count > 0)) {
        vqc_samples_problem(problems, VQC_ERR_USAGE,
                            "%.300s: mean, scale and std do not go with the uint8 input \"%.100s\"",
                            self->path, self->ports[images->port].name);
    }
}

/* The one input without a default. */
static bool find_input(const vqc_samples_source *self, image_samples *images,
                       vqc_samples_problems *problems)
{
    char names[VQC_SAMPLES_TEXT];
    size_t required = 0;

    for (size_t i = self->port_count; i-- > 0;) {
        if (!self->ports[i].has_default) {
            required++;
            images->port = i;
        }
    }
    if (required != 1) {
        vqc_samples_problem(problems, VQC_ERR_MODEL,
                            "%.300s: pictures go with models of one input, this one has %zu: %s",
                            self->path, required, vqc_samples_list_ports(self, names));
    }
    return required == 1;
}

vqc_status vqc_samples_open_images(vqc_samples_source *self, const vqc_samples_request *request,
                                   vqc_samples_problems *problems, vqc_error *error)
{
    image_samples *images = calloc(1, sizeof *images);
    vqc_samples_labels *labels = NULL;
    vqc_status status;

    if (images == NULL) {
        return vqc_fail_memory(error, sizeof *images);
    }
    self->detail = images;
    self->close = close_images;
    self->fill = fill_image;
    self->samples.is_finite = true;
    self->samples.views = request->image.views > 1 ? request->image.views : 1;
    images->options = request->image;
    images->folder = strdup(self->path);
    if (images->folder == NULL) {
        return vqc_fail_memory(error, strlen(self->path) + 1);
    }
    status = vqc_samples_list_folder(self->path, is_picture, &images->names, error);
    if (status == VQC_OK && images->names.count == 0) {
        status = vqc_fail(error, VQC_ERR_MODEL, "%s: has no .png or .jpg files", self->path);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (find_input(self, images, problems)) {
        size_t found = problems->count;
        find_layout(self, images, problems);
        if (problems->count == found) {
            check_size(self, images, problems);
            set_scaling(self, images, problems);
        }
    }
    if (request->labels != NULL) {
        status = vqc_samples_labels_read(request->labels, request->label_offset, &labels, problems,
                                         error);
        if (status == VQC_OK) {
            status = vqc_samples_labels_match(labels, request->labels, &images->names,
                                              &images->classes, problems, error);
        }
        vqc_samples_labels_destroy(&labels);
    }
    self->samples.has_labels = images->classes != NULL;
    vqc_samples_source_set_count(self, images->names.count, request->max_samples);
    return status;
}
