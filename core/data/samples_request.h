/* What samples are asked for: plain data that the command line or a recipe fills, and
 * formats/samples_open.h answers. */
#ifndef VQC_CORE_DATA_SAMPLES_REQUEST_H
#define VQC_CORE_DATA_SAMPLES_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef enum vqc_samples_kind {
    VQC_SAMPLES_AUTO,         /* from what `path` is and holds */
    VQC_SAMPLES_ARRAYS,       /* one .npz or .npy file */
    VQC_SAMPLES_ARRAY_FOLDER, /* a folder of .npz or .npy files, one sample each */
    VQC_SAMPLES_TENSORS,  /* a folder with input_K.pb and output_K.pb, or with several of these */
    VQC_SAMPLES_IMAGES,   /* a folder of PNG and JPEG files */
    VQC_SAMPLES_FILES,    /* request.files, one file per input: a single sample */
    VQC_SAMPLES_SYNTHETIC /* random numbers */
} vqc_samples_kind;

typedef enum vqc_image_resize {
    VQC_IMAGE_RESIZE_NONE,
    VQC_IMAGE_RESIZE_SHORT, /* the short side to resize_height, the other in proportion */
    VQC_IMAGE_RESIZE_EXACT  /* to resize_height x resize_width */
} vqc_image_resize;

typedef enum vqc_image_filter {
    VQC_IMAGE_BILINEAR, /* with antialiasing: the triangle is as wide as the source's share */
    VQC_IMAGE_NEAREST
} vqc_image_filter;

typedef enum vqc_image_layout {
    VQC_IMAGE_LAYOUT_AUTO, /* from the model's input: where it has 1 or 3 channels */
    VQC_IMAGE_NCHW,
    VQC_IMAGE_NHWC
} vqc_image_layout;

/*
 * From a picture to a tensor: resize, centre crop, order of channels, then for every value x in
 * 0..255 of channel c
 *
 *     y = (x - mean[c]) * scale[c]
 *
 * in float32, c counted in the order of the tensor (with bgr, mean[0] belongs to blue). An `std` is
 * a scale of 1 / std.
 */
typedef struct vqc_image_options {
    vqc_image_resize resize;
    int64_t resize_height; /* the short side for VQC_IMAGE_RESIZE_SHORT */
    int64_t resize_width;
    vqc_image_filter filter;
    int64_t crop_height; /* 0: no crop */
    int64_t crop_width;
    bool bgr;
    vqc_image_layout layout;
    size_t mean_count; /* 0: no mean; 1: one for all channels; 3 */
    float mean[3];
    size_t scale_count; /* the same */
    float scale[3];
    size_t views; /* vqc_samples.views: view v > 0 is a crop beside the centre, odd ones mirrored
                     left to right; 0: 1 */
} vqc_image_options;

/* One input from one file (.pb, .npy). */
typedef struct vqc_samples_file {
    const char *input; /* NULL: by the tensor's own name, else by its place in the list */
    const char *path;
} vqc_samples_file;

/* Value of a free dimension for synthetic samples. */
typedef struct vqc_samples_dim {
    const char *name; /* of the dimension, "sequence_length" */
    int64_t value;
} vqc_samples_dim;

typedef struct vqc_samples_request {
    vqc_samples_kind kind;
    const char *path;       /* not for FILES and SYNTHETIC */
    const char *labels;     /* file of classes for a folder of pictures or arrays; NULL: none */
    int64_t label_offset;   /* added to every class */
    size_t max_samples;     /* 0: all; else so many, evenly spread over what is there */
    uint64_t seed;          /* synthetic */
    size_t synthetic_count; /* 0: 16 */
    const vqc_samples_dim *dims; /* synthetic, [dim_count]; free dimensions are 1 without */
    size_t dim_count;
    const vqc_samples_file *files; /* [file_count] */
    size_t file_count;
    vqc_image_options image;
} vqc_samples_request;

/* Largest side that resize and crop may ask for; most views of a picture. */
enum { VQC_IMAGE_MAX_SIDE = 16384, VQC_IMAGE_MAX_VIEWS = 16 };

/*
 * Sets one of the keys resize ("256", "224x320": height x width), filter (bilinear, nearest), crop
 * ("224", "224x320"), order (rgb, bgr), layout (nchw, nhwc), mean, scale, std ("127.5",
 * "104:117:123"). Errors: VQC_ERR_USAGE with what was got and wanted.
 */
vqc_status vqc_image_options_set(vqc_image_options *options, const char *key, const char *value,
                                 vqc_error *error);

/* The keys of vqc_image_options_set, NULL at the end. */
extern const char *const vqc_image_option_keys[];

#endif
