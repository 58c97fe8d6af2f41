/* Resize and Upsample: which elements of one axis make up each element of the result. */
#ifndef VQC_CORE_EXEC_RESAMPLE_H
#define VQC_CORE_EXEC_RESAMPLE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum vqc_resample_mode {
    VQC_RESAMPLE_NEAREST,
    VQC_RESAMPLE_LINEAR,
    VQC_RESAMPLE_CUBIC
} vqc_resample_mode;

/* Order of the names in coordinate_transformation_mode as exec_ops_resize.c lists them. */
typedef enum vqc_resample_coordinate {
    VQC_COORDINATE_HALF_PIXEL,
    VQC_COORDINATE_HALF_PIXEL_SYMMETRIC,
    VQC_COORDINATE_PYTORCH_HALF_PIXEL,
    VQC_COORDINATE_ALIGN_CORNERS,
    VQC_COORDINATE_ASYMMETRIC,
    VQC_COORDINATE_TF_HALF_PIXEL_FOR_NN,
    VQC_COORDINATE_TF_CROP_AND_RESIZE
} vqc_resample_coordinate;

typedef enum vqc_resample_rounding {
    VQC_ROUND_PREFER_FLOOR,
    VQC_ROUND_PREFER_CEIL,
    VQC_ROUND_FLOOR,
    VQC_ROUND_CEIL
} vqc_resample_rounding;

typedef struct vqc_resample {
    vqc_resample_mode mode;
    vqc_resample_coordinate coordinate;
    vqc_resample_rounding rounding;
    float cubic_a;
    bool antialias;
    bool exclude_outside;
} vqc_resample;

typedef struct vqc_resample_axis {
    size_t in;        /* length, >= 1 */
    size_t out;       /* length, >= 1 */
    float scale;      /* > 0 */
    float start, end; /* roi of tf_crop_and_resize */
} vqc_resample_axis;

/* Taps that one element of the result has. */
size_t vqc_resample_taps(const vqc_resample *how, const vqc_resample_axis *axis);

/*
 * Indices (within the axis) and weights [vqc_resample_taps] of element `position` of the result;
 * weights sum to 1. False when it lies outside the region of tf_crop_and_resize, where the
 * extrapolation value stands. Source: ONNX Resize 10 to 19.
 */
bool vqc_resample_at(const vqc_resample *how, const vqc_resample_axis *axis, size_t position,
                     size_t *indices, float *weights);

#endif
