/* Version adapters for attributes that became inputs. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/emit/opset_adapters.h"

/* Moves the INTS attribute `name` to input `index`; an absent attribute leaves the input absent. */
static vqc_status ints_to_input(vqc_raise *raise, Onnx__NodeProto *node, const char *name,
                                size_t index)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(node, name);
    vqc_status status = VQC_OK;

    if (attr != NULL && attr->n_ints > 0) {
        status = vqc_raise_set_input(raise, node, index,
                                     vqc_raise_ints(raise, name, attr->ints, attr->n_ints));
    }
    vqc_node_remove_attr(node, name);
    return status;
}

/*
 * Squeeze, Unsqueeze, ReduceSum at 13 and the other reductions at 18: `axes` is input 1. Without
 * axes (or with an empty list) all of them were meant; that is what an absent input means, too
 * (noop_with_empty_axes is 0).
 */
vqc_status vqc_adapt_axes_input(vqc_raise *raise, Onnx__NodeProto *node)
{
    return ints_to_input(raise, node, "axes", 1);
}

const char *vqc_block_unsqueeze_13(const vqc_raise *raise, const vqc_scope *scope,
                                   const Onnx__NodeProto *node)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(node, "axes");

    (void)raise;
    (void)scope;
    return attr == NULL || attr->n_ints == 0 ? "its attribute \"axes\" is missing" : NULL;
}

/* ---- Clip 6 -> 11: min and max are scalars of the input's type ---- */

/* Whether a bound says more than "no bound"; the defaults of Clip 6 were the float32 limits. */
static bool clip_bound(const Onnx__NodeProto *node, const char *name, float none, float *bound)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(node, name);

    *bound = attr != NULL && attr->has_f ? attr->f : none;
    return *bound < none || *bound > none;
}

const char *vqc_block_clip_11(const vqc_raise *raise, const vqc_scope *scope,
                              const Onnx__NodeProto *node)
{
    float bound;
    const char *data = vqc_opset_input(node, 0);

    if (data == NULL) {
        return "its input is missing";
    }
    if (clip_bound(node, "min", -FLT_MAX, &bound) || clip_bound(node, "max", FLT_MAX, &bound)) {
        return vqc_opset_scalar_like_blocker(raise, scope, data);
    }
    return NULL;
}

/* Source: ONNX Clip 6 and 11. The bounds are rounded to the type of the input. */
vqc_status vqc_adapt_clip_11(vqc_raise *raise, Onnx__NodeProto *node)
{
    float low;
    float high;
    bool has_low = clip_bound(node, "min", -FLT_MAX, &low);
    bool has_high = clip_bound(node, "max", FLT_MAX, &high);
    vqc_status status = VQC_OK;

    vqc_node_remove_attr(node, "min");
    vqc_node_remove_attr(node, "max");
    if (has_low) {
        status = vqc_raise_set_input(raise, node, 1,
                                     vqc_raise_scalar_like(raise, "min", low, node->input[0]));
    }
    if (status == VQC_OK && has_high) {
        status = vqc_raise_set_input(raise, node, 2,
                                     vqc_raise_scalar_like(raise, "max", high, node->input[0]));
    }
    return status;
}

/* ---- DFT 17 -> 20: axis is input 2, and its default moved from 1 to -2 ---- */

vqc_status vqc_adapt_dft_20(vqc_raise *raise, Onnx__NodeProto *node)
{
    int64_t axis = vqc_node_attr_int(node, "axis", 1);

    vqc_node_remove_attr(node, "axis");
    return vqc_raise_set_input(raise, node, 2, vqc_raise_int(raise, "axis", axis));
}

/* ---- Dropout ---- */

const char *vqc_block_dropout_10(const vqc_raise *raise, const vqc_scope *scope,
                                 const Onnx__NodeProto *node)
{
    const char *data = vqc_opset_input(node, 0);

    if (!vqc_opset_output_used(raise, scope, node, 1)) {
        return NULL;
    }
    if (data == NULL) {
        return "its input is missing";
    }
    return vqc_opset_dtype(raise, scope, data) == VQC_DTYPE_UNDEFINED && raise->target < 15
               ? "its mask is read, and the mask's data type is not known"
               : NULL;
}

/* Dropout 7 -> 10: the mask became bool. A mask that nobody reads goes, another is cast back. */
vqc_status vqc_adapt_dropout_10(vqc_raise *raise, Onnx__NodeProto *node)
{
    Onnx__NodeProto *cast;

    if (!vqc_opset_output_used(raise, raise->scope, node, 1)) {
        vqc_raise_trim_outputs(node, 1);
        return VQC_OK;
    }
    if (raise->facts.dtype == VQC_DTYPE_UNDEFINED) {
        const char *const inputs[] = {NULL, node->input[0]};
        return vqc_raise_behind(raise, node, 1, "CastLike", inputs, 2) != NULL ? VQC_OK
                                                                               : VQC_ERR_INTERNAL;
    }
    cast = vqc_raise_behind(raise, node, 1, "Cast", (const char *const[]){NULL}, 1);
    return cast == NULL ? VQC_ERR_INTERNAL
                        : vqc_raise_set_int(raise, cast, "to", raise->facts.dtype);
}

/* Dropout 10 -> 12: ratio is input 1. Without training_mode (input 2) it stays an identity. */
vqc_status vqc_adapt_dropout_12(vqc_raise *raise, Onnx__NodeProto *node)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(node, "ratio");
    vqc_status status = VQC_OK;

    if (attr != NULL && attr->has_f) {
        float ratio = attr->f;
        status = vqc_raise_set_input(
            raise, node, 1,
            vqc_raise_shared(raise, "ratio", VQC_DTYPE_FLOAT, NULL, 0, &ratio, sizeof ratio));
    }
    vqc_node_remove_attr(node, "ratio");
    return status;
}

/* ---- Pad 2 -> 11: pads and value are inputs ---- */

static bool pad_value(const Onnx__NodeProto *node, float *value)
{
    *value = vqc_node_attr_float(node, "value", 0.0f);
    return vqc_opset_attr_is(node, "mode", "constant", "constant") &&
           (*value < 0.0f || *value > 0.0f || isnan(*value) || signbit(*value));
}

const char *vqc_block_pad_11(const vqc_raise *raise, const vqc_scope *scope,
                             const Onnx__NodeProto *node)
{
    const Onnx__AttributeProto *pads = vqc_node_attr(node, "pads");
    const char *data = vqc_opset_input(node, 0);
    float value;

    if (pads == NULL || data == NULL) {
        return "its attribute \"pads\" or its input is missing";
    }
    return pad_value(node, &value) ? vqc_opset_scalar_like_blocker(raise, scope, data) : NULL;
}

vqc_status vqc_adapt_pad_11(vqc_raise *raise, Onnx__NodeProto *node)
{
    const Onnx__AttributeProto *pads = vqc_node_attr(node, "pads");
    float value;
    bool has_value = pad_value(node, &value);
    vqc_status status = vqc_raise_set_input(
        raise, node, 1, vqc_raise_ints(raise, "pads", pads->ints, pads->n_ints));

    vqc_node_remove_attr(node, "pads");
    vqc_node_remove_attr(node, "value");
    if (status == VQC_OK && has_value) {
        status = vqc_raise_set_input(raise, node, 2,
                                     vqc_raise_scalar_like(raise, "value", value, node->input[0]));
    }
    return status;
}

/* ---- Slice 1 -> 10, Split 2 -> 13 -> 18, TopK 1 -> 10, Upsample 7 -> 9 ---- */

const char *vqc_block_slice_10(const vqc_raise *raise, const vqc_scope *scope,
                               const Onnx__NodeProto *node)
{
    const Onnx__AttributeProto *starts = vqc_node_attr(node, "starts");
    const Onnx__AttributeProto *ends = vqc_node_attr(node, "ends");
    const Onnx__AttributeProto *axes = vqc_node_attr(node, "axes");

    (void)raise;
    (void)scope;
    if (starts == NULL || ends == NULL || starts->n_ints == 0 || starts->n_ints != ends->n_ints ||
        (axes != NULL && axes->n_ints != 0 && axes->n_ints != starts->n_ints)) {
        return "its attributes \"starts\", \"ends\" and \"axes\" do not fit together";
    }
    return NULL;
}

vqc_status vqc_adapt_slice_10(vqc_raise *raise, Onnx__NodeProto *node)
{
    vqc_status status = ints_to_input(raise, node, "starts", 1);

    if (status == VQC_OK) {
        status = ints_to_input(raise, node, "ends", 2);
    }
    return status == VQC_OK ? ints_to_input(raise, node, "axes", 3) : status;
}

vqc_status vqc_adapt_split_13(vqc_raise *raise, Onnx__NodeProto *node)
{
    return ints_to_input(raise, node, "split", 1);
}

/* Split 18: "equal parts" is no longer what an absent `split` says by itself. */
vqc_status vqc_adapt_split_18(vqc_raise *raise, Onnx__NodeProto *node)
{
    if (vqc_opset_input(node, 1) != NULL) {
        return VQC_OK;
    }
    return vqc_raise_set_int(raise, node, "num_outputs", (int64_t)node->n_output);
}

const char *vqc_block_topk_10(const vqc_raise *raise, const vqc_scope *scope,
                              const Onnx__NodeProto *node)
{
    (void)raise;
    (void)scope;
    return vqc_node_attr(node, "k") == NULL ? "its attribute \"k\" is missing" : NULL;
}

vqc_status vqc_adapt_topk_10(vqc_raise *raise, Onnx__NodeProto *node)
{
    int64_t k = vqc_node_attr_int(node, "k", 1);

    vqc_node_remove_attr(node, "k");
    return vqc_raise_set_input(raise, node, 1, vqc_raise_ints(raise, "k", &k, 1));
}

const char *vqc_block_upsample_9(const vqc_raise *raise, const vqc_scope *scope,
                                 const Onnx__NodeProto *node)
{
    const Onnx__AttributeProto *scales = vqc_node_attr(node, "scales");

    (void)raise;
    (void)scope;
    return scales == NULL || scales->n_floats == 0 ? "its attribute \"scales\" is missing" : NULL;
}

vqc_status vqc_adapt_upsample_9(vqc_raise *raise, Onnx__NodeProto *node)
{
    const Onnx__AttributeProto *scales = vqc_node_attr(node, "scales");
    vqc_status status = vqc_raise_set_input(
        raise, node, 1, vqc_raise_floats(raise, "scales", scales->floats, scales->n_floats));

    vqc_node_remove_attr(node, "scales");
    return status;
}
