#include "formats/image_decode.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

enum {
    MAX_SIDE = 1 << 16,
    MAX_SCANS = 64, /* a progressive JPEG of cameras and editors has about 10; each costs a pass */
    PNG_CHUNK_BYTES = 1 << 23,
    PNG_CHUNKS = 128,
    PNG_SIGNATURE_BYTES = 8,
    JPEG_MEMORY_BYTES = 1 << 30 /* coefficients of a progressive picture: 6 bytes per pixel */
};

void vqc_image_clear(vqc_image *image)
{
    free(image->pixels);
    *image = (vqc_image){0};
}

/* Checks the size and allocates the pixels. */
static vqc_status allocate_image(size_t width, size_t height, const char *where, vqc_image *out,
                                 vqc_error *error)
{
    if (width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE ||
        width * height > VQC_IMAGE_MAX_PIXELS) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: got a picture of %zu x %zu pixels, expected at most %d sides and %d "
                        "pixels",
                        where, width, height, (int)MAX_SIDE, (int)VQC_IMAGE_MAX_PIXELS);
    }
    out->pixels = malloc(width * height * 3);
    if (out->pixels == NULL) {
        return vqc_fail_memory(error, width * height * 3);
    }
    out->width = width;
    out->height = height;
    return VQC_OK;
}

/* ---- JPEG ---- */

/* What outlives a longjmp lies here and not in local variables. */
typedef struct jpeg_state {
    struct jpeg_decompress_struct decoder;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    char message[JMSG_LENGTH_MAX];
    vqc_image *out;
    uint8_t *row; /* CMYK */
} jpeg_state;

static _Noreturn void jpeg_fail(j_common_ptr common)
{
    jpeg_state *state = common->client_data;

    common->err->format_message(common, state->message);
    longjmp(state->failed, 1);
}

/* Warnings: a cut file is an error (the rest would be grey), odd data are taken as they are. */
static void jpeg_message(j_common_ptr common, int level)
{
    if (level < 0 && common->err->msg_code == JWRN_JPEG_EOF) {
        jpeg_fail(common);
    }
}

static void jpeg_silent(j_common_ptr common)
{
    (void)common;
}

/* Stops files with thousands of scans, each of which takes a pass over the whole picture. */
static void jpeg_progress(j_common_ptr common)
{
    jpeg_state *state = common->client_data;

    if (state->decoder.input_scan_number > MAX_SCANS) {
        (void)snprintf(state->message, sizeof state->message, "more than %d scans", (int)MAX_SCANS);
        longjmp(state->failed, 1);
    }
}

/* A row of CMYK, stored inverted by Adobe's programs, to RGB. */
static void convert_cmyk(const uint8_t *cmyk, size_t width, bool inverted, uint8_t *rgb)
{
    for (size_t x = 0; x < width; x++, cmyk += 4, rgb += 3) {
        unsigned flip = inverted ? 0 : 255;
        unsigned k = flip ^ cmyk[3]; /* 255 - k */
        for (int c = 0; c < 3; c++) {
            rgb[c] = (uint8_t)(((flip ^ cmyk[c]) * k + 127) / 255);
        }
    }
}

/* Decodes into state->out, whose pixels are allocated. Leaves by longjmp on an error. */
static void jpeg_rows(jpeg_state *state)
{
    struct jpeg_decompress_struct *decoder = &state->decoder;
    size_t stride = state->out->width * 3;

    while (decoder->output_scanline < decoder->output_height) {
        uint8_t *target = state->out->pixels + decoder->output_scanline * stride;
        JSAMPROW row = state->row != NULL ? state->row : target;
        (void)jpeg_read_scanlines(decoder, &row, 1);
        if (state->row != NULL) {
            convert_cmyk(state->row, state->out->width, decoder->saw_Adobe_marker, target);
        }
    }
    (void)jpeg_finish_decompress(decoder);
}

static vqc_status decode_jpeg(const uint8_t *bytes, size_t size_bytes, const char *where,
                              vqc_image *out, vqc_error *error)
{
    jpeg_state *state = calloc(1, sizeof *state);
    vqc_status status;

    if (state == NULL) {
        return vqc_fail_memory(error, sizeof *state);
    }
    state->out = out;
    state->decoder.err = jpeg_std_error(&state->errors);
    state->decoder.client_data = state;
    state->errors.error_exit = jpeg_fail;
    state->errors.emit_message = jpeg_message;
    state->errors.output_message = jpeg_silent;
    state->progress.progress_monitor = jpeg_progress;
    if (setjmp(state->failed) != 0) {
        status = vqc_fail(error, VQC_ERR_MODEL, "%s: JPEG: %s", where, state->message);
        goto done;
    }
    jpeg_create_decompress(&state->decoder);
    state->decoder.progress = &state->progress;
    state->decoder.mem->max_memory_to_use = JPEG_MEMORY_BYTES;
    jpeg_mem_src(&state->decoder, bytes, (unsigned long)size_bytes);
    (void)jpeg_read_header(&state->decoder, TRUE);
    status =
        allocate_image(state->decoder.image_width, state->decoder.image_height, where, out, error);
    if (status != VQC_OK) {
        goto done;
    }
    if (state->decoder.jpeg_color_space == JCS_CMYK ||
        state->decoder.jpeg_color_space == JCS_YCCK) {
        state->decoder.out_color_space = JCS_CMYK;
        state->row = malloc(out->width * 4);
        if (state->row == NULL) {
            status = vqc_fail_memory(error, out->width * 4);
            goto done;
        }
    } else {
        state->decoder.out_color_space = JCS_RGB;
    }
    (void)jpeg_start_decompress(&state->decoder);
    jpeg_rows(state);
    status = VQC_OK;
done:
    jpeg_destroy_decompress(&state->decoder);
    free(state->row);
    free(state);
    return status;
}

/* ---- PNG ---- */

typedef struct png_state {
    const uint8_t *at;
    size_t left;
    png_structp decoder;
    png_infop info;
    jmp_buf failed;
    char message[160];
    vqc_image *out;
    png_bytep *rows;
} png_state;

static _Noreturn void png_failed(png_structp decoder, png_const_charp text)
{
    png_state *state = png_get_error_ptr(decoder);

    (void)snprintf(state->message, sizeof state->message, "%s", text);
    longjmp(state->failed, 1);
}

static void png_warned(png_structp decoder, png_const_charp text)
{
    (void)decoder;
    (void)text;
}

static void png_take(png_structp decoder, png_bytep dst, size_t size_bytes)
{
    png_state *state = png_get_io_ptr(decoder);

    if (size_bytes > state->left) {
        png_failed(decoder, "truncated");
    }
    memcpy(dst, state->at, size_bytes);
    state->at += size_bytes;
    state->left -= size_bytes;
}

/* Everything to three channels of 8 bits. */
static void png_ask_for_rgb(png_state *state)
{
    png_set_expand(state->decoder); /* palettes and 1, 2, 4 bits; transparency to alpha */
    png_set_scale_16(state->decoder);
    png_set_gray_to_rgb(state->decoder);
    png_set_strip_alpha(state->decoder);
    (void)png_set_interlace_handling(state->decoder);
    png_read_update_info(state->decoder, state->info);
}

static vqc_status png_decode_rows(png_state *state, const char *where, vqc_error *error)
{
    vqc_image *out = state->out;
    vqc_status status;

    png_read_info(state->decoder, state->info);
    status = allocate_image(png_get_image_width(state->decoder, state->info),
                            png_get_image_height(state->decoder, state->info), where, out, error);
    if (status != VQC_OK) {
        return status;
    }
    png_ask_for_rgb(state);
    if (png_get_rowbytes(state->decoder, state->info) != out->width * 3) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "%s: PNG: rows of %zu bytes for %zu pixels", where,
                        png_get_rowbytes(state->decoder, state->info), out->width);
    }
    state->rows = calloc(out->height, sizeof *state->rows);
    if (state->rows == NULL) {
        return vqc_fail_memory(error, out->height * sizeof *state->rows);
    }
    for (size_t y = 0; y < out->height; y++) {
        state->rows[y] = out->pixels + y * out->width * 3;
    }
    png_read_image(state->decoder, state->rows);
    png_read_end(state->decoder, NULL);
    return VQC_OK;
}

static vqc_status decode_png(const uint8_t *bytes, size_t size_bytes, const char *where,
                             vqc_image *out, vqc_error *error)
{
    png_state *state = calloc(1, sizeof *state);
    vqc_status status;

    if (state == NULL) {
        return vqc_fail_memory(error, sizeof *state);
    }
    state->at = bytes;
    state->left = size_bytes;
    state->out = out;
    if (setjmp(state->failed) != 0) {
        status = vqc_fail(error, VQC_ERR_MODEL, "%s: PNG: %s", where, state->message);
        goto done;
    }
    state->decoder = png_create_read_struct(PNG_LIBPNG_VER_STRING, state, png_failed, png_warned);
    if (state->decoder != NULL) {
        state->info = png_create_info_struct(state->decoder);
    }
    if (state->info == NULL) {
        status = vqc_fail_memory(error, 0);
        goto done;
    }
    png_set_user_limits(state->decoder, MAX_SIDE, MAX_SIDE);
    png_set_chunk_malloc_max(state->decoder, PNG_CHUNK_BYTES);
    png_set_chunk_cache_max(state->decoder, PNG_CHUNKS);
    png_set_read_fn(state->decoder, state, png_take);
    status = png_decode_rows(state, where, error);
done:
    png_destroy_read_struct(&state->decoder, &state->info, NULL);
    free(state->rows);
    free(state);
    return status;
}

vqc_status vqc_image_decode(const uint8_t *bytes, size_t size_bytes, const char *where,
                            vqc_image *out, vqc_error *error)
{
    vqc_status status;

    *out = (vqc_image){0};
    if (size_bytes >= PNG_SIGNATURE_BYTES && png_sig_cmp(bytes, 0, PNG_SIGNATURE_BYTES) == 0) {
        status = decode_png(bytes, size_bytes, where, out, error);
    } else if (size_bytes >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff) {
        status = decode_jpeg(bytes, size_bytes, where, out, error);
    } else {
        status = vqc_fail(error, VQC_ERR_MODEL, "%s: is neither a PNG nor a JPEG file", where);
    }
    if (status != VQC_OK) {
        vqc_image_clear(out);
    }
    return status;
}
