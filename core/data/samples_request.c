#include "core/data/samples_request.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const vqc_image_option_keys[] = {"resize", "filter", "crop", "order", "layout",
                                             "mean",   "scale",  "std",  NULL};

/* A side at *at, which is moved behind it. */
static bool parse_side(const char **at, int64_t *side)
{
    int64_t value = 0;
    const char *p = *at;

    while (*p >= '0' && *p <= '9' && value <= VQC_IMAGE_MAX_SIDE) {
        value = value * 10 + (*p++ - '0');
    }
    if (p == *at || value < 1 || value > VQC_IMAGE_MAX_SIDE) {
        return false;
    }
    *at = p;
    *side = value;
    return true;
}

/* "N" or "HxW"; *two says which. */
static bool parse_size(const char *text, int64_t *height, int64_t *width, bool *two)
{
    const char *at = text;

    if (!parse_side(&at, height)) {
        return false;
    }
    *two = *at == 'x';
    *width = *height;
    if (*two) {
        at++;
        if (!parse_side(&at, width)) {
            return false;
        }
    }
    return *at == '\0';
}

/* One or three finite numbers between colons. */
static bool parse_channels(const char *text, double values[3], size_t *count)
{
    const char *at = text;

    *count = 0;
    for (;;) {
        char *end = NULL;
        double value;
        errno = 0;
        value = strtod(at, &end);
        if (end == at || errno == ERANGE || !isfinite((float)value) || *count == 3) {
            return false;
        }
        values[(*count)++] = value;
        if (*end == '\0') {
            break;
        }
        if (*end != ':') {
            return false;
        }
        at = end + 1;
    }
    return *count == 1 || *count == 3;
}

static vqc_status set_channels(vqc_image_options *options, const char *key, const char *value,
                               vqc_error *error)
{
    double values[3];
    size_t count = 0;
    bool is_std = strcmp(key, "std") == 0;
    bool is_mean = strcmp(key, "mean") == 0;

    if (!parse_channels(value, values, &count)) {
        return vqc_fail(error, VQC_ERR_USAGE,
                        "%s: got \"%.80s\", expected one number for all channels or three, such as "
                        "104:117:123",
                        key, value);
    }
    if (!is_mean && options->scale_count != 0) {
        return vqc_fail(error, VQC_ERR_USAGE, "%s: the scale is given twice (scale or std)", key);
    }
    for (size_t c = 0; c < count; c++) {
        if (is_std && !(values[c] > 0.0 && isfinite((float)(1.0 / values[c])))) {
            return vqc_fail(error, VQC_ERR_USAGE, "std: got %g, expected a number above 0",
                            values[c]);
        }
        if (is_mean) {
            options->mean[c] = (float)values[c];
        } else {
            options->scale[c] = (float)(is_std ? 1.0 / values[c] : values[c]);
        }
    }
    *(is_mean ? &options->mean_count : &options->scale_count) = count;
    return VQC_OK;
}

/* The place of `value` among `words` (NULL at the end), or an error. */
static vqc_status choose(const char *key, const char *value, const char *first, const char *second,
                         int *choice, vqc_error *error)
{
    *choice = strcmp(value, second) == 0;
    if (*choice == 0 && strcmp(value, first) != 0) {
        return vqc_fail(error, VQC_ERR_USAGE, "%s: got \"%.80s\", expected %s or %s", key, value,
                        first, second);
    }
    return VQC_OK;
}

vqc_status vqc_image_options_set(vqc_image_options *options, const char *key, const char *value,
                                 vqc_error *error)
{
    bool is_resize = strcmp(key, "resize") == 0;
    vqc_status status;
    int choice = 0;
    bool two = false;

    if (is_resize || strcmp(key, "crop") == 0) {
        int64_t height = 0;
        int64_t width = 0;
        if (!parse_size(value, &height, &width, &two)) {
            return vqc_fail(error, VQC_ERR_USAGE,
                            "%s: got \"%.80s\", expected one side or HEIGHTxWIDTH, each 1 to %d",
                            key, value, (int)VQC_IMAGE_MAX_SIDE);
        }
        *(is_resize ? &options->resize_height : &options->crop_height) = height;
        *(is_resize ? &options->resize_width : &options->crop_width) = width;
        if (is_resize) {
            options->resize = two ? VQC_IMAGE_RESIZE_EXACT : VQC_IMAGE_RESIZE_SHORT;
        }
        return VQC_OK;
    }
    if (strcmp(key, "filter") == 0) {
        status = choose(key, value, "bilinear", "nearest", &choice, error);
        options->filter = choice == 0 ? VQC_IMAGE_BILINEAR : VQC_IMAGE_NEAREST;
        return status;
    }
    if (strcmp(key, "order") == 0) {
        status = choose(key, value, "rgb", "bgr", &choice, error);
        options->bgr = choice == 1;
        return status;
    }
    if (strcmp(key, "layout") == 0) {
        status = choose(key, value, "nchw", "nhwc", &choice, error);
        options->layout = choice == 0 ? VQC_IMAGE_NCHW : VQC_IMAGE_NHWC;
        return status;
    }
    if (strcmp(key, "mean") == 0 || strcmp(key, "scale") == 0 || strcmp(key, "std") == 0) {
        return set_channels(options, key, value, error);
    }
    return vqc_fail(error, VQC_ERR_USAGE,
                    "unknown image option \"%.80s\", expected resize, filter, crop, order, layout, "
                    "mean, scale or std",
                    key);
}
