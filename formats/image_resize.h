/* Resizing and cropping of 8-bit RGB pictures. */
#ifndef VQC_FORMATS_IMAGE_RESIZE_H
#define VQC_FORMATS_IMAGE_RESIZE_H

#include "core/data/samples_request.h"
#include "formats/image_decode.h"

/*
 * The size that the options give a picture of height x width: VQC_IMAGE_RESIZE_SHORT makes the
 * short side resize_height and the long one floor(long * resize_height / short).
 */
void vqc_image_resized(const vqc_image_options *options, size_t *height, size_t *width);

/*
 * Replaces the pixels by a picture of height x width.
 *
 * Bilinear with antialiasing, the rows' direction first, as Pillow does (which may
 * round in another order of directions): with s = source / target
 * along an axis and f = max(s, 1), target pixel i is the sum of source pixels j weighted by
 * max(0, 1 - |j + 0.5 - (i + 0.5) s| / f), normalized; weights are rounded to 22 fractional bits
 * and each direction rounds to 8 bits. Nearest: source pixel floor((i + 0.5) s).
 *
 * Errors: VQC_ERR_MODEL when the result or what lies between has more than VQC_IMAGE_MAX_PIXELS
 * pixels; memory. `where` names the file.
 */
vqc_status vqc_image_resize_to(vqc_image *image, size_t height, size_t width,
                               vqc_image_filter filter, const char *where, vqc_error *error);

#endif
