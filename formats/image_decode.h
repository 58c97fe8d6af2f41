/* PNG and JPEG files to 8-bit RGB. */
#ifndef VQC_FORMATS_IMAGE_DECODE_H
#define VQC_FORMATS_IMAGE_DECODE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* Most pixels of one picture, decoded or resized: 64 Mi, 201 MB of RGB. */
enum { VQC_IMAGE_MAX_PIXELS = 1 << 26 };

/* A picture in RGB, rows from the top, no padding. */
typedef struct vqc_image {
    uint8_t *pixels; /* [height, width, 3] malloc'ed */
    size_t height;
    size_t width;
} vqc_image;

/*
 * Decodes a PNG or JPEG file that lies in memory [size_bytes], told apart by its first bytes.
 * Greyscale becomes equal channels, 16 bits are rounded to 8, palettes are looked up, alpha is
 * dropped (the colours are as stored, not blended), CMYK becomes RGB as (255 - c)(255 - k) / 255;
 * gamma, colour profiles and the EXIF orientation are not applied. JPEG: accurate integer DCT,
 * smooth chroma upsampling. All as Pillow's Image.open().convert("RGB") does. `where` names the
 * file in messages. Errors: VQC_ERR_MODEL: neither format, truncated or corrupt, more than
 * VQC_IMAGE_MAX_PIXELS pixels; memory. On an error *out is empty.
 */
vqc_status vqc_image_decode(const uint8_t *bytes, size_t size_bytes, const char *where,
                            vqc_image *out, vqc_error *error);

/* Frees the pixels. */
void vqc_image_clear(vqc_image *image);

#endif
