/* Fuzz target of the picture decoder: what comes out is whole, what is refused is empty. */
#include "formats/image_decode.h"
#include "tests/fuzz/fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vqc_image image = {NULL, 0, 0};
    vqc_error error = {VQC_OK, ""};
    vqc_status status = vqc_image_decode(data, size, "fuzz.png", &image, &error);
    unsigned sum = 0;

    if (status == VQC_OK) {
        REQUIRE(image.pixels != NULL && image.width > 0 && image.height > 0);
        REQUIRE(image.width <= (size_t)VQC_IMAGE_MAX_PIXELS / image.height);
        for (size_t i = 0; i < image.width * image.height * 3; i++) {
            sum += image.pixels[i];
        }
        REQUIRE(sum <= image.width * image.height * 3 * 255);
    } else {
        REQUIRE(status == VQC_ERR_MODEL && error.message[0] != '\0');
        REQUIRE(image.pixels == NULL && image.width == 0 && image.height == 0);
    }
    vqc_image_clear(&image);
    return 0;
}
