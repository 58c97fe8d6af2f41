/* Version adapters for resampling operators. */
#include <string.h>

#include "core/emit/opset_adapters.h"
#include "core/tensor.h"

enum { RESIZE_ROI = 1, RESIZE_SCALES = 2, RESIZE_SIZES = 3, MAX_SCALES = 16 };

/* Before version 9 the scales are an attribute, then an input. */
const char *vqc_block_upsample_10(const vqc_raise *raise, const vqc_scope *scope,
                                  const Onnx__NodeProto *node)
{
    (void)raise;
    (void)scope;
    return vqc_opset_input(node, 1) == NULL && vqc_node_attr(node, "scales") == NULL
               ? "its scales are missing"
               : NULL;
}

/* Upsample 9 -> 10: the same operator under a new name, which may also shrink. */
vqc_status vqc_adapt_upsample_10(vqc_raise *raise, Onnx__NodeProto *node)
{
    raise->was_upsample = true;
    return vqc_raise_set_op(raise, node, "Resize");
}

/* ---- Resize 10 -> 11 ---- */

/* The scales when they are constant (else 0): how many, and which directions they go. */
static size_t read_scales(const vqc_raise *raise, const Onnx__NodeProto *node, float *scales,
                          bool *grows, bool *shrinks)
{
    const Onnx__TensorProto *tensor = vqc_opset_constant_input(raise, raise->scope, node, 1);
    const float *values;
    size_t count;
    vqc_error ignored;

    *grows = false;
    *shrinks = false;
    if (tensor == NULL ||
        vqc_tensor_borrow_f32(tensor, raise->arena, &values, &count, &ignored) != VQC_OK ||
        count > MAX_SCALES) {
        return 0;
    }
    memcpy(scales, values, count * sizeof *scales);
    for (size_t i = 0; i < count; i++) {
        *grows = *grows || scales[i] > 1.0f;
        *shrinks = *shrinks || scales[i] < 1.0f;
    }
    return count;
}

static const char *empty_roi(vqc_raise *raise)
{
    return raise->target >= 13 ? "" : vqc_raise_floats(raise, "roi", NULL, 0);
}

/* Gives the node the inputs (data, no roi, scales) and the attributes of the old meaning. */
static vqc_status resize_form(vqc_raise *raise, Onnx__NodeProto *node, const char *data,
                              const char *scales, bool shrinks)
{
    const char *roi = empty_roi(raise);
    bool nearest = vqc_opset_attr_is(node, "mode", "nearest", "nearest");
    vqc_status status = vqc_raise_set_input(raise, node, 0, data);

    if (status == VQC_OK) {
        status = vqc_raise_set_input(raise, node, RESIZE_ROI, roi);
    }
    if (status == VQC_OK) {
        status = vqc_raise_set_input(raise, node, RESIZE_SCALES, scales);
    }
    if (status == VQC_OK) {
        status = vqc_raise_set_string(raise, node, "coordinate_transformation_mode", "asymmetric");
    }
    if (status == VQC_OK && nearest) {
        status = vqc_raise_set_string(raise, node, "nearest_mode", shrinks ? "ceil" : "floor");
    }
    return status;
}

const char *vqc_block_resize_11(const vqc_raise *raise, const vqc_scope *scope,
                                const Onnx__NodeProto *node)
{
    (void)raise;
    (void)scope;
    return vqc_opset_input(node, 0) == NULL || vqc_opset_input(node, 1) == NULL
               ? "its input \"X\" or \"scales\" is missing"
               : NULL;
}

/* Scales of the growing or the shrinking half of a Resize that may do both. */
static const char *half_scales(vqc_raise *raise, const char *scales, const float *values,
                               size_t count, bool shrink)
{
    const float one = 1.0f;
    float half[MAX_SCALES];
    const char *bound;

    for (size_t i = 0; i < count; i++) {
        half[i] = (values[i] < 1.0f) == shrink ? values[i] : 1.0f;
    }
    if (count > 0) {
        return vqc_raise_floats(raise, "scales", half, count);
    }
    bound = vqc_raise_floats(raise, "one", &one, 1);
    return bound == NULL ? NULL
                         : vqc_raise_before(raise, shrink ? "Min" : "Max",
                                            (const char *const[]){scales, bound}, 2, NULL);
}

/*
 * Resize 10 said nothing about coordinates. What ONNX Runtime computes for it (and for Upsample)
 * is: asymmetric coordinates; nearest rounds down along dimensions that grow and up along those
 * that shrink. A nearest Resize that does both, or whose scales are only known at run time, becomes
 * two: one grows, one shrinks.
 */
vqc_status vqc_adapt_resize_11(vqc_raise *raise, Onnx__NodeProto *node)
{
    float values[MAX_SCALES];
    bool grows = true;
    bool shrinks = false;
    size_t count = 0;
    const char *data = node->input[0];
    const char *scales = node->input[1];
    const char *half;
    Onnx__NodeProto *first;

    if (!raise->was_upsample) {
        count = read_scales(raise, node, values, &grows, &shrinks);
    }
    if (!vqc_opset_attr_is(node, "mode", "nearest", "nearest") || raise->was_upsample ||
        (count > 0 && !(grows && shrinks))) {
        return resize_form(raise, node, data, scales, shrinks);
    }
    half = half_scales(raise, scales, values, count, false);
    data = half == NULL ? NULL
                        : vqc_raise_before(raise, "Resize", (const char *const[]){data}, 1, &first);
    if (data == NULL || vqc_raise_set_string(raise, first, "mode", "nearest") != VQC_OK ||
        resize_form(raise, first, first->input[0], half, false) != VQC_OK) {
        return VQC_ERR_INTERNAL;
    }
    half = half_scales(raise, scales, values, count, true);
    return half == NULL ? VQC_ERR_INTERNAL : resize_form(raise, node, data, half, true);
}

/* ---- Resize 11 -> 13 ---- */

static bool is_tf_half_pixel(const Onnx__NodeProto *node)
{
    return vqc_opset_attr_is(node, "coordinate_transformation_mode", "tf_half_pixel_for_nn",
                             "half_pixel");
}

/*
 * tf_half_pixel_for_nn went: x = (i + 0.5) / scale, half a pixel more than half_pixel's x'.
 * Rounding it down is rounding x' half up, and rounding it half down is rounding x' up.
 */
static const char *half_pixel_rounding(const Onnx__NodeProto *node)
{
    if (!vqc_opset_attr_is(node, "mode", "nearest", "nearest")) {
        return NULL;
    }
    if (vqc_opset_attr_is(node, "nearest_mode", "floor", "round_prefer_floor")) {
        return "round_prefer_ceil";
    }
    if (vqc_opset_attr_is(node, "nearest_mode", "round_prefer_floor", "round_prefer_floor")) {
        return "ceil";
    }
    return NULL;
}

const char *vqc_block_resize_13(const vqc_raise *raise, const vqc_scope *scope,
                                const Onnx__NodeProto *node)
{
    (void)raise;
    (void)scope;
    return is_tf_half_pixel(node) && half_pixel_rounding(node) == NULL
               ? "tf_half_pixel_for_nn with this rounding went with version 13"
               : NULL;
}

vqc_status vqc_adapt_resize_13(vqc_raise *raise, Onnx__NodeProto *node)
{
    vqc_status status = VQC_OK;

    if (is_tf_half_pixel(node)) {
        const char *rounding = half_pixel_rounding(node);
        status = vqc_raise_set_string(raise, node, "nearest_mode", rounding);
        if (status == VQC_OK) {
            status =
                vqc_raise_set_string(raise, node, "coordinate_transformation_mode", "half_pixel");
        }
    }
    /* With sizes, version 11 wanted empty scales there and version 13 wants none. */
    if (status == VQC_OK && vqc_opset_input(node, RESIZE_SIZES) != NULL) {
        status = vqc_raise_set_input(raise, node, RESIZE_SCALES, "");
    }
    return status;
}

/* ---- RoiAlign 10 -> 16, GridSample 16 -> 20 ---- */

vqc_status vqc_adapt_roialign_16(vqc_raise *raise, Onnx__NodeProto *node)
{
    return vqc_raise_set_string(raise, node, "coordinate_transformation_mode", "output_half_pixel");
}

vqc_status vqc_adapt_gridsample_20(vqc_raise *raise, Onnx__NodeProto *node)
{
    if (vqc_opset_attr_is(node, "mode", "nearest", "bilinear")) {
        return VQC_OK;
    }
    if (vqc_opset_attr_is(node, "mode", "bicubic", "bilinear")) {
        return vqc_raise_set_string(raise, node, "mode", "cubic");
    }
    vqc_node_remove_attr(node, "mode"); /* the default is the same thing under its new name */
    return VQC_OK;
}
