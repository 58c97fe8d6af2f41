/* Pictures: decoding, limits, resizing, options, and samples from a folder of them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/image_decode.h"
#include "formats/image_resize.h"
#include "formats/samples_open.h"

/* 3 x 2 pixels: red, green, blue; (10,20,30), (40,50,60), (70,80,90) */
static const uint8_t rgb_png[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48,
    0x44, 0x52, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x02, 0x08, 0x02, 0x00, 0x00,
    0x00, 0x12, 0x16, 0xf1, 0x4d, 0x00, 0x00, 0x00, 0x18, 0x49, 0x44, 0x41, 0x54, 0x78,
    0xda, 0x63, 0xf8, 0xcf, 0xc0, 0xc0, 0xf0, 0x9f, 0x81, 0x81, 0xe1, 0x3f, 0x23, 0x97,
    0x88, 0x1c, 0x04, 0x00, 0x00, 0x31, 0x33, 0x03, 0xef, 0x76, 0xd3, 0xc3, 0x69, 0x00,
    0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
};
/* 8 x 8 pixels of grey 77, which is one coefficient: exact in every JPEG library */
static const uint8_t grey_jpeg[] = {
    0xff, 0xd8, 0xff, 0xe0, 0x00, 0x10, 0x4a, 0x46, 0x49, 0x46, 0x00, 0x01, 0x01, 0x00, 0x00, 0x01,
    0x00, 0x01, 0x00, 0x00, 0xff, 0xdb, 0x00, 0x43, 0x00, 0x1b, 0x12, 0x14, 0x17, 0x14, 0x11, 0x1b,
    0x17, 0x16, 0x17, 0x1e, 0x1c, 0x1b, 0x20, 0x28, 0x42, 0x2b, 0x28, 0x25, 0x25, 0x28, 0x51, 0x3a,
    0x3d, 0x30, 0x42, 0x60, 0x55, 0x65, 0x64, 0x5f, 0x55, 0x5d, 0x5b, 0x6a, 0x78, 0x99, 0x81, 0x6a,
    0x71, 0x90, 0x73, 0x5b, 0x5d, 0x85, 0xb5, 0x86, 0x90, 0x9e, 0xa3, 0xab, 0xad, 0xab, 0x67, 0x80,
    0xbc, 0xc9, 0xba, 0xa6, 0xc7, 0x99, 0xa8, 0xab, 0xa4, 0xff, 0xc0, 0x00, 0x0b, 0x08, 0x00, 0x08,
    0x00, 0x08, 0x01, 0x01, 0x11, 0x00, 0xff, 0xc4, 0x00, 0x14, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0xff, 0xc4, 0x00, 0x14,
    0x10, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0xff, 0xda, 0x00, 0x08, 0x01, 0x01, 0x00, 0x00, 0x3f, 0x00, 0x03, 0xff, 0xd9,
};

static vqc_error error;

Test(samples_image, png_and_jpeg_become_rgb)
{
    static const uint8_t wanted[18] = {255, 0,  0,  0,  255, 0,  0,  0,  255,
                                       10,  20, 30, 40, 50,  60, 70, 80, 90};
    vqc_image image;

    cr_assert_eq(vqc_image_decode(rgb_png, sizeof rgb_png, "a", &image, &error), VQC_OK, "%s",
                 error.message);
    cr_assert(image.width == 3 && image.height == 2);
    cr_expect_arr_eq(image.pixels, wanted, sizeof wanted);
    vqc_image_clear(&image);
    cr_assert_null(image.pixels);
    cr_assert_eq(vqc_image_decode(grey_jpeg, sizeof grey_jpeg, "a", &image, &error), VQC_OK, "%s",
                 error.message);
    cr_assert(image.width == 8 && image.height == 8);
    for (size_t i = 0; i < 192; i++) {
        cr_expect(image.pixels[i] >= 76 && image.pixels[i] <= 78);
    }
    vqc_image_clear(&image);
}

Test(samples_image, every_cut_and_flipped_byte_is_survived)
{
    const struct {
        const uint8_t *bytes;
        size_t size_bytes;
    } files[2] = {{rgb_png, sizeof rgb_png}, {grey_jpeg, sizeof grey_jpeg}};

    for (size_t f = 0; f < 2; f++) {
        size_t size_bytes = files[f].size_bytes;
        for (size_t at = 0; at < size_bytes; at++) {
            uint8_t *bytes = malloc(size_bytes); /* of its own, so that ASan sees the end */
            vqc_image image;
            vqc_status status;
            cr_assert_not_null(bytes);
            memcpy(bytes, files[f].bytes, size_bytes);
            bytes[at] ^= 0xff;
            status = vqc_image_decode(bytes, size_bytes, "flipped", &image, &error);
            cr_assert(status == VQC_OK || strncmp(error.message, "flipped: ", 9) == 0);
            vqc_image_clear(&image);
            free(bytes);
            bytes = malloc(at + 1);
            cr_assert_not_null(bytes);
            memcpy(bytes, files[f].bytes, at);
            status = vqc_image_decode(bytes, at, "cut", &image, &error);
            /* without its last marker a JPEG file may still have every pixel */
            cr_expect(status == VQC_ERR_MODEL || (f == 1 && at + 2 >= size_bytes), "%zu", at);
            vqc_image_clear(&image);
            free(bytes);
        }
    }
}

Test(samples_image, huge_pictures_are_refused_before_memory_is_taken)
{
    uint8_t bytes[sizeof rgb_png];
    vqc_image image;

    memcpy(bytes, rgb_png, sizeof bytes);
    bytes[18] = 0xff; /* width 65,283; the header's CRC is wrong then, which is an error as well */
    cr_assert_eq(vqc_image_decode(bytes, sizeof bytes, "a", &image, &error), VQC_ERR_MODEL);
    cr_assert_null(image.pixels);
}

static vqc_image make_image(size_t height, size_t width, const uint8_t *grey)
{
    vqc_image image = {malloc(height * width * 3), height, width};

    cr_assert_not_null(image.pixels);
    for (size_t i = 0; i < height * width; i++) {
        image.pixels[3 * i] = image.pixels[3 * i + 1] = grey[i];
        image.pixels[3 * i + 2] = (uint8_t)(255 - grey[i]);
    }
    return image;
}

/* Resizes a row of grey values and compares. */
static void expect_row(const uint8_t *row, size_t n, vqc_image_filter filter, const uint8_t *wanted,
                       size_t m)
{
    for (int across = 0; across < 2; across++) {
        vqc_image image = across ? make_image(n, 1, row) : make_image(1, n, row);
        cr_assert_eq(
            vqc_image_resize_to(&image, across ? m : 1, across ? 1 : m, filter, "a", &error),
            VQC_OK);
        cr_assert_eq(across ? image.height : image.width, m);
        for (size_t i = 0; i < m; i++) {
            cr_expect_eq(image.pixels[3 * i], wanted[i], "%zu: %d, expected %d", i,
                         image.pixels[3 * i], wanted[i]);
        }
        vqc_image_clear(&image);
    }
}

Test(samples_image, resizing_follows_its_formula)
{
    static const uint8_t two[] = {0, 200};
    static const uint8_t four[] = {0, 100, 200, 40};

    /* up by 2: positions -0.25, 0.25, 0.75, 1.25 of the source, weights 1/4 and 3/4 */
    expect_row(two, 2, VQC_IMAGE_BILINEAR, (const uint8_t[]){0, 50, 150, 200}, 4);
    /* down by 2, f = 2: weights 3/4, 3/4, 1/4 of 7/4 at the border */
    expect_row(four, 4, VQC_IMAGE_BILINEAR, (const uint8_t[]){71, 117}, 2);
    /* down by 4, f = 4: weights 5/8, 7/8, 7/8, 5/8 of 3 */
    expect_row(four, 4, VQC_IMAGE_BILINEAR, (const uint8_t[]){96}, 1);
    expect_row(four, 4, VQC_IMAGE_NEAREST, (const uint8_t[]){100, 40}, 2);
    expect_row(two, 2, VQC_IMAGE_NEAREST, (const uint8_t[]){0, 0, 200, 200, 200}, 5);
    expect_row(four, 4, VQC_IMAGE_BILINEAR, four, 4);
}

Test(samples_image, sizes_of_the_short_side)
{
    vqc_image_options options = {0};
    size_t height = 333;
    size_t width = 500;

    cr_assert_eq(vqc_image_options_set(&options, "resize", "256", &error), VQC_OK);
    vqc_image_resized(&options, &height, &width);
    cr_expect(height == 256 && width == 384, "%zu x %zu", height, width);
    height = 500;
    width = 333;
    vqc_image_resized(&options, &height, &width);
    cr_expect(height == 384 && width == 256);
    cr_assert_eq(vqc_image_options_set(&options, "resize", "10x20", &error), VQC_OK);
    vqc_image_resized(&options, &height, &width);
    cr_expect(height == 10 && width == 20);
}

Test(samples_image, options_are_read_and_refused)
{
    static const char *const good[][2] = {
        {"resize", "256"}, {"crop", "224x320"}, {"order", "bgr"},     {"layout", "nhwc"},
        {"mean", "1:2:3"}, {"std", "4"},        {"filter", "nearest"}};
    static const char *const bad[][2] = {
        {"resize", "0"},   {"resize", "16385"}, {"crop", "3x"},    {"crop", "-3"},
        {"order", "grb"},  {"layout", "n"},     {"mean", "1:2"},   {"mean", "1:2:3:4"},
        {"mean", "nan"},   {"std", "0"},        {"scale", "1e99"}, {"filter", ""},
        {"mean", "1;2;3"}, {"size", "3"},       {"mean", ""},      {"resize", "9999999999999"}};
    vqc_image_options options = {0};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cr_expect_eq(vqc_image_options_set(&options, good[i][0], good[i][1], &error), VQC_OK);
    }
    cr_expect(options.bgr && options.layout == VQC_IMAGE_NHWC && options.crop_width == 320 &&
              options.crop_height == 224 && options.mean[2] == 3.0f && options.mean_count == 3 &&
              options.scale[0] == 0.25f && options.scale_count == 1);
    cr_expect_eq(vqc_image_options_set(&options, "scale", "2", &error), VQC_ERR_USAGE);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vqc_image_options fresh = {0};
        cr_expect_eq(vqc_image_options_set(&fresh, bad[i][0], bad[i][1], &error), VQC_ERR_USAGE,
                     "%s=%s", bad[i][0], bad[i][1]);
    }
}

Test(samples_image, a_folder_with_labels)
{
    char folder[] = "/tmp/vqc-image-XXXXXX";
    char path[80];
    char labels[80];
    const vqc_program_port port = {
        .name = "x", .dtype = VQC_DTYPE_FLOAT, .rank = 4, .dims = {1, 3, -1, -1}};
    vqc_samples_request request = {.path = folder, .labels = labels};
    vqc_samples *samples = NULL;
    vqc_messages problems = {0};
    vqc_sample sample = {0};
    float values[18];
    FILE *file;

    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/a.png", folder);
    (void)snprintf(labels, sizeof labels, "%s/labels.tsv", folder);
    file = fopen(path, "wb");
    cr_assert(file != NULL && fwrite(rgb_png, sizeof rgb_png, 1, file) == 1);
    (void)fclose(file);
    file = fopen(labels, "w");
    cr_assert(file != NULL && fputs("a.png\t41\n", file) >= 0);
    (void)fclose(file);
    request.label_offset = 1;
    request.image.bgr = true;
    cr_assert_eq(vqc_image_options_set(&request.image, "mean", "30:20:10", &error), VQC_OK);
    cr_assert_eq(vqc_image_options_set(&request.image, "scale", "0.5", &error), VQC_OK);
    cr_assert_eq(vqc_samples_open(&request, &port, 1, &samples, &problems, &error), VQC_OK, "%s",
                 error.message);
    cr_assert(samples->count == 1 && samples->has_labels && !samples->sequential);
    cr_assert_eq(samples->read(samples, 0, 0, &sample, &error), VQC_OK, "%s", error.message);
    cr_expect(sample.label_count == 1 && sample.labels[0] == 42);
    cr_assert_eq(sample.inputs[0]->elements, 18);
    memcpy(values, sample.inputs[0]->data, sizeof values);
    cr_expect_eq(values[2], (255.0f - 30.0f) * 0.5f); /* blue of the third pixel comes first */
    cr_expect_eq(values[3], 0.0f);
    cr_expect_eq(values[12 + 3], 0.0f);
    cr_expect_eq(values[12], (255.0f - 10.0f) * 0.5f);
    vqc_samples_destroy(&samples);
    request.image.crop_height = 4;
    request.image.crop_width = 4;
    cr_assert_eq(vqc_samples_open(&request, &port, 1, &samples, &problems, &error), VQC_OK);
    cr_assert_eq(samples->read(samples, 0, 0, &sample, &error), VQC_ERR_MODEL);
    cr_expect_not_null(strstr(error.message, "a.png: got a picture of 3 x 2"), "%s", error.message);
    vqc_samples_destroy(&samples);
    vqc_messages_clear(&problems);
    (void)unlink(path);
    (void)unlink(labels);
    (void)rmdir(folder);
}

/* Whether `got` is the crop of 1 x 2 pixels of rgb_png at (top, left). */
static bool is_crop(const uint8_t *got, size_t top, size_t left, bool mirrored)
{
    static const uint8_t pixels[18] = {255, 0,  0,  0,  255, 0,  0,  0,  255,
                                       10,  20, 30, 40, 50,  60, 70, 80, 90};

    for (size_t x = 0; x < 2; x++) {
        for (size_t c = 0; c < 3; c++) {
            size_t from = (top * 3 + left + (mirrored ? 1 - x : x)) * 3 + c;
            if (got[c * 2 + x] != pixels[from]) {
                return false;
            }
        }
    }
    return true;
}

/* View 0 is the centre; others are crops inside the picture, odd ones mirrored. */
Test(samples_image, views_are_crops_elsewhere)
{
    char folder[] = "/tmp/vqc_images_XXXXXX";
    char path[64];
    const vqc_program_port port = {
        .name = "x", .dtype = VQC_DTYPE_UINT8, .rank = 4, .dims = {1, 3, 1, 2}};
    vqc_samples_request request = {.path = folder};
    vqc_samples *samples = NULL;
    vqc_messages problems = {0};
    vqc_sample sample = {0};
    size_t places[4] = {0};
    FILE *file;

    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/a.png", folder);
    file = fopen(path, "wb");
    cr_assert(file != NULL && fwrite(rgb_png, sizeof rgb_png, 1, file) == 1);
    (void)fclose(file);
    request.image = (vqc_image_options){.crop_height = 1, .crop_width = 2};
    request.image.views = VQC_IMAGE_MAX_VIEWS;
    cr_assert_eq(vqc_samples_open(&request, &port, 1, &samples, &problems, &error), VQC_OK, "%s",
                 error.message);
    cr_assert_eq(samples->count, 1);
    cr_assert_eq(samples->views, VQC_IMAGE_MAX_VIEWS);
    for (size_t v = 0; v < VQC_IMAGE_MAX_VIEWS; v++) {
        size_t found = 0;
        cr_assert_eq(samples->read(samples, v, 0, &sample, &error), VQC_OK, "%s", error.message);
        for (size_t p = 0; p < 4; p++) {
            if (is_crop(sample.inputs[0]->data, p / 2, p % 2, v % 2 == 1)) {
                found++;
                places[p] += v > 0 ? 1 : 0;
                cr_expect(v > 0 || p == 0, "view 0 is not the centre");
            }
        }
        cr_expect_eq(found, 1, "view %zu", v);
    }
    cr_expect(places[0] > 0 && places[1] > 0 && places[2] > 0 && places[3] > 0);
    cr_expect_eq(samples->read(samples, VQC_IMAGE_MAX_VIEWS, 0, &sample, &error), VQC_ERR_INTERNAL);
    vqc_samples_destroy(&samples);
    vqc_messages_clear(&problems);
    (void)unlink(path);
    (void)rmdir(folder);
}

Test(samples_image, views_need_pictures)
{
    const vqc_program_port port = {
        .name = "x", .dtype = VQC_DTYPE_FLOAT, .rank = 4, .dims = {1, 3, 2, 2}};
    vqc_samples_request request = {.kind = VQC_SAMPLES_SYNTHETIC, .image.views = 2};
    vqc_samples *samples = NULL;
    vqc_messages problems = {0};

    cr_assert_eq(vqc_samples_open(&request, &port, 1, &samples, &problems, &error), VQC_ERR_USAGE);
    cr_expect_not_null(strstr(error.message, "calibrate.image.views needs a folder of pictures"),
                       "%s", error.message);
    vqc_messages_clear(&problems);
}
