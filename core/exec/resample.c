#include "core/exec/resample.h"

#include <math.h>

/* Coordinates beyond this say "far outside"; they stay exact in double and fit int64. */
#define FAR 4e15

/* Where element `position` of the result lies in the input; float32 like ONNX Runtime, so that
 * both fall on the same side of a half. */
static double coordinate(vqc_resample_coordinate mode, const vqc_resample_axis *axis,
                         size_t position)
{
    float x = (float)position;
    float in = (float)axis->in;
    float length = axis->scale * in; /* may have a fraction when scales are given */
    float adjust;

    switch (mode) {
    case VQC_COORDINATE_HALF_PIXEL:
        return (x + 0.5f) / axis->scale - 0.5f;
    case VQC_COORDINATE_HALF_PIXEL_SYMMETRIC:
        adjust = (float)axis->out / length;
        return in / 2.0f * (1.0f - adjust) + (x + 0.5f) / axis->scale - 0.5f;
    case VQC_COORDINATE_PYTORCH_HALF_PIXEL:
        return axis->out > 1 ? (x + 0.5f) / axis->scale - 0.5f : 0.0f;
    case VQC_COORDINATE_ALIGN_CORNERS:
        return axis->out > 1 && length != 1.0f ? x * (in - 1.0f) / (length - 1.0f) : 0.0f;
    case VQC_COORDINATE_ASYMMETRIC:
        return x / axis->scale;
    case VQC_COORDINATE_TF_HALF_PIXEL_FOR_NN:
        return (x + 0.5f) / axis->scale;
    case VQC_COORDINATE_TF_CROP_AND_RESIZE:
        if (axis->out > 1) {
            return axis->start * (in - 1.0f) +
                   x * (axis->end - axis->start) * (in - 1.0f) / (float)(axis->out - 1);
        }
        return 0.5f * (axis->start + axis->end) * (in - 1.0f);
    }
    return 0.0;
}

static size_t clamp_index(double index, size_t length)
{
    if (!(index > 0.0)) {
        return 0;
    }
    return index < (double)length ? (size_t)index : length - 1;
}

static double round_as(vqc_resample_rounding rounding, double x)
{
    switch (rounding) {
    case VQC_ROUND_PREFER_FLOOR:
        return ceil(x - 0.5);
    case VQC_ROUND_PREFER_CEIL:
        return floor(x + 0.5);
    case VQC_ROUND_FLOOR:
        return floor(x);
    case VQC_ROUND_CEIL:
        return ceil(x);
    }
    return x;
}

/* Keys' cubic kernel at distance x >= 0 (Keys 1981, equation 15 with a instead of -1/2). */
static double cubic_weight(double x, double a)
{
    if (x <= 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    }
    return x < 2.0 ? ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a : 0.0;
}

/* Antialiasing stretches the kernel by 1 / scale when shrinking. */
static double stretch(const vqc_resample *how, const vqc_resample_axis *axis)
{
    return how->antialias && axis->scale < 1.0f ? (double)axis->scale : 1.0;
}

/* First tap relative to the element on the left. */
static double first_tap(const vqc_resample *how, const vqc_resample_axis *axis)
{
    double support = how->mode == VQC_RESAMPLE_CUBIC ? 2.0 : 1.0;

    return floor(-support / stretch(how, axis)) + 1.0;
}

size_t vqc_resample_taps(const vqc_resample *how, const vqc_resample_axis *axis)
{
    return how->mode == VQC_RESAMPLE_NEAREST ? 1 : (size_t)(2.0 - 2.0 * first_tap(how, axis));
}

bool vqc_resample_at(const vqc_resample *how, const vqc_resample_axis *axis, size_t position,
                     size_t *indices, float *weights)
{
    double x = coordinate(how->coordinate, axis, position);
    double scale = stretch(how, axis);
    double left;
    double sum = 0.0;
    size_t taps = vqc_resample_taps(how, axis);

    if (how->coordinate == VQC_COORDINATE_TF_CROP_AND_RESIZE &&
        !(x >= 0.0 && x <= (double)(axis->in - 1))) {
        indices[0] = 0;
        return false;
    }
    x = x > -FAR ? fmin(x, FAR) : -FAR;
    if (how->mode == VQC_RESAMPLE_NEAREST) {
        indices[0] = clamp_index(round_as(how->rounding, x), axis->in);
        weights[0] = 1.0f;
        return true;
    }
    left = floor(x);
    for (size_t pass = 0; pass < 2; pass++) { /* the sum, then the weights divided by it */
        for (size_t i = 0; i < taps; i++) {
            double at = left + first_tap(how, axis) + (double)i;
            double distance = fabs((at - x) * scale);
            double weight = how->mode == VQC_RESAMPLE_CUBIC
                                ? cubic_weight(distance, (double)how->cubic_a)
                                : fmax(0.0, 1.0 - distance);

            if (how->exclude_outside && (at < 0.0 || at >= (double)axis->in)) {
                weight = 0.0;
            }
            indices[i] = clamp_index(at, axis->in);
            weights[i] = (float)(sum != 0.0 ? weight / sum : weight);
            sum += pass == 0 ? weight : 0.0;
        }
    }
    return true;
}
