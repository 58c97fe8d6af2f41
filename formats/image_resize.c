#include "formats/image_resize.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { WEIGHT_BITS = 22, CHANNELS = 3 };

/* Which source pixels make each target pixel of one axis. */
typedef struct axis {
    size_t *first;    /* [target] */
    size_t *count;    /* [target] */
    int32_t *weights; /* [target, most] fixed point */
    size_t most;
} axis;

static void free_axis(axis *self)
{
    free(self->first);
    free(self->count);
    free(self->weights);
}

/* floor((i + 0.5) source / target) */
static size_t nearest_source(size_t i, size_t source, size_t target)
{
    size_t at = (2 * i + 1) * source / (2 * target);

    return at < source ? at : source - 1;
}

/* Weights of one target pixel into weights [*count]. */
static void triangle_weights(double centre, double spread, size_t source, size_t *first,
                             size_t *count, double *scratch, int32_t *weights)
{
    double low = floor(centre - spread + 0.5);
    double high = floor(centre + spread + 0.5);
    size_t begin = low > 0.0 ? (size_t)low : 0;
    size_t end = high < (double)source ? (size_t)high : source;
    double sum = 0.0;

    for (size_t j = begin; j < end; j++) {
        double distance = fabs((double)j + 0.5 - centre) / spread;
        scratch[j - begin] = distance < 1.0 ? 1.0 - distance : 0.0;
        sum += scratch[j - begin];
    }
    for (size_t j = begin; j < end; j++) {
        double weight = sum > 0.0 ? scratch[j - begin] / sum : 0.0;
        weights[j - begin] = (int32_t)floor(weight * (double)(1 << WEIGHT_BITS) + 0.5);
    }
    *first = begin;
    *count = end - begin;
}

static vqc_status make_axis(size_t source, size_t target, vqc_image_filter filter, axis *out,
                            vqc_error *error)
{
    double scale = (double)source / (double)target;
    double spread = scale > 1.0 ? scale : 1.0;
    double *scratch;

    *out = (axis){.most = filter == VQC_IMAGE_NEAREST ? 1 : (size_t)ceil(spread) * 2 + 1};
    out->first = calloc(target, sizeof *out->first);
    out->count = calloc(target, sizeof *out->count);
    out->weights = calloc(target * out->most, sizeof *out->weights);
    scratch = calloc(out->most, sizeof *scratch);
    if (out->first == NULL || out->count == NULL || out->weights == NULL || scratch == NULL) {
        free(scratch);
        return vqc_fail_memory(error, target * out->most * sizeof *out->weights);
    }
    for (size_t i = 0; i < target; i++) {
        int32_t *weights = out->weights + i * out->most;
        if (filter == VQC_IMAGE_NEAREST) {
            out->first[i] = nearest_source(i, source, target);
            out->count[i] = 1;
            weights[0] = 1 << WEIGHT_BITS;
        } else {
            triangle_weights(((double)i + 0.5) * scale, spread, source, &out->first[i],
                             &out->count[i], scratch, weights);
        }
    }
    free(scratch);
    return VQC_OK;
}

static uint8_t round_sum(int64_t sum)
{
    int64_t value = sum >> WEIGHT_BITS;

    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* out [lines, target] = in [lines, source], each pixel CHANNELS bytes; along the row. */
static void resize_rows(const uint8_t *in, size_t lines, size_t source, const axis *along,
                        size_t target, uint8_t *out)
{
    for (size_t y = 0; y < lines; y++, in += source * CHANNELS, out += target * CHANNELS) {
        for (size_t x = 0; x < target; x++) {
            const uint8_t *from = in + along->first[x] * CHANNELS;
            const int32_t *weights = along->weights + x * along->most;
            int64_t sums[CHANNELS] = {1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1),
                                      1 << (WEIGHT_BITS - 1)};
            for (size_t j = 0; j < along->count[x]; j++, from += CHANNELS) {
                for (size_t c = 0; c < CHANNELS; c++) {
                    sums[c] += (int64_t)from[c] * weights[j];
                }
            }
            for (size_t c = 0; c < CHANNELS; c++) {
                out[x * CHANNELS + c] = round_sum(sums[c]);
            }
        }
    }
}

/* out [target, row] = in [source, row], row bytes each; across the rows. */
static void resize_columns(const uint8_t *in, size_t row, const axis *along, size_t target,
                           uint8_t *out)
{
    for (size_t y = 0; y < target; y++, out += row) {
        const uint8_t *from = in + along->first[y] * row;
        const int32_t *weights = along->weights + y * along->most;
        for (size_t i = 0; i < row; i++) {
            int64_t sum = 1 << (WEIGHT_BITS - 1);
            for (size_t j = 0; j < along->count[y]; j++) {
                sum += (int64_t)from[j * row + i] * weights[j];
            }
            out[i] = round_sum(sum);
        }
    }
}

/* One direction; takes the old pixels' place. */
static vqc_status resize_axis(vqc_image *image, bool rows, size_t target, vqc_image_filter filter,
                              vqc_error *error)
{
    size_t source = rows ? image->width : image->height;
    size_t size_bytes = target * (rows ? image->height : image->width) * CHANNELS;
    axis along = {0};
    uint8_t *out;
    vqc_status status;

    if (source == target) {
        return VQC_OK;
    }
    status = make_axis(source, target, filter, &along, error);
    out = status == VQC_OK ? malloc(size_bytes) : NULL;
    if (status == VQC_OK && out == NULL) {
        status = vqc_fail_memory(error, size_bytes);
    }
    if (status == VQC_OK && rows) {
        resize_rows(image->pixels, image->height, source, &along, target, out);
        image->width = target;
    } else if (status == VQC_OK) {
        resize_columns(image->pixels, image->width * CHANNELS, &along, target, out);
        image->height = target;
    }
    if (status == VQC_OK) {
        free(image->pixels);
        image->pixels = out;
    }
    free_axis(&along);
    return status;
}

void vqc_image_resized(const vqc_image_options *options, size_t *height, size_t *width)
{
    size_t side = (size_t)options->resize_height;

    if (options->resize == VQC_IMAGE_RESIZE_EXACT) {
        *height = side;
        *width = (size_t)options->resize_width;
    } else if (options->resize == VQC_IMAGE_RESIZE_SHORT && *height <= *width) {
        *width = *width * side / *height;
        *height = side;
    } else if (options->resize == VQC_IMAGE_RESIZE_SHORT) {
        *height = *height * side / *width;
        *width = side;
    }
}

vqc_status vqc_image_resize_to(vqc_image *image, size_t height, size_t width,
                               vqc_image_filter filter, const char *where, vqc_error *error)
{
    vqc_status status;

    /* sides are at most 2^16 * VQC_IMAGE_MAX_SIDE: no product overflows */
    if (height * width > VQC_IMAGE_MAX_PIXELS || image->height * width > VQC_IMAGE_MAX_PIXELS) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: resizing %zu x %zu to %zu x %zu (width x height) takes more than %d "
                        "pixels",
                        where, image->width, image->height, width, height,
                        (int)VQC_IMAGE_MAX_PIXELS);
    }
    status = resize_axis(image, true, width, filter, error);
    return status == VQC_OK ? resize_axis(image, false, height, filter, error) : status;
}
