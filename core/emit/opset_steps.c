/*
 * The decisions: every step in the history of ai.onnx that changes more than types and wording, and
 * a few whose wording hides a change. A step that is not listed only allowed more data types.
 * tests/oracle/test_opset.py compares this list with the schemas, and docs/OPSETS.md is printed
 * from it.
 */
#include <string.h>

#include "core/emit/opset_adapters.h"

#define SAME(op, since, note)                                                                      \
    {                                                                                              \
        op, since, NULL, NULL, note                                                                \
    }
#define STEP(op, since, adapter, note)                                                             \
    {                                                                                              \
        op, since, adapter, NULL, note                                                             \
    }
#define STEP_IF(op, since, adapter, blocker, note)                                                 \
    {                                                                                              \
        op, since, adapter, blocker, note                                                          \
    }

static const char axes_note[] = "axes becomes an input";
static const char newer_note[] = "new attributes, whose defaults keep the meaning";
static const char cast_note[] = "saturate and round_mode only concern 8-bit floats, which are new";

const vqc_opset_step vqc_opset_steps[] = {
    SAME("ArgMax", 12, newer_note),
    SAME("ArgMin", 12, newer_note),
    SAME("Attention", 24, "new optional input; shorter masks are also allowed"),
    SAME("Attention", 25, newer_note),
    SAME("AveragePool", 10, newer_note),
    SAME("AveragePool", 19, newer_note),
    SAME("AveragePool", 22,
         "windows that would start in the padding after the data are left out, as "
         "runtimes always did"),
    STEP_IF("BatchNormalization", 9, vqc_adapt_batchnorm_9, vqc_block_batchnorm_9,
            "spatial = 0 becomes a normalization of the input flattened to [N, features]; not when "
            "its statistics are read"),
    STEP_IF("BatchNormalization", 14, vqc_adapt_batchnorm_14, vqc_block_batchnorm_14,
            "statistics among the outputs meant training: training_mode says so; not when "
            "saved_mean or saved_var are read"),
    SAME("Cast", 19, cast_note),
    SAME("Cast", 24, cast_note),
    SAME("CastLike", 19, cast_note),
    SAME("CastLike", 24, cast_note),
    STEP_IF("Clip", 11, vqc_adapt_clip_11, vqc_block_clip_11,
            "min and max become inputs; below opset 15 not when the input's data type is unknown"),
    SAME("Constant", 11, newer_note),
    SAME("Constant", 12, newer_note),
    SAME("ConvTranspose", 11,
         "the text on how odd automatic padding is split was corrected; runtimes "
         "compute the same for both versions"),
    STEP("DFT", 20, vqc_adapt_dft_20, "axis becomes an input"),
    SAME("DepthToSpace", 11, newer_note),
    SAME("DequantizeLinear", 13, newer_note),
    SAME("DequantizeLinear", 21, newer_note),
    SAME("DequantizeLinear", 23, newer_note),
    STEP_IF(
        "Dropout", 10, vqc_adapt_dropout_10, vqc_block_dropout_10,
        "the mask becomes bool: a read one is cast back, another is dropped; below opset 15 not "
        "when it is read and its type is unknown"),
    STEP("Dropout", 12, vqc_adapt_dropout_12,
         "ratio becomes an input; the mask of inference, undefined before, is all true"),
    STEP_IF("Erf", 13, NULL, vqc_block_integers, "not for integers, which are no longer allowed"),
    SAME("GRU", 14, newer_note),
    SAME("GatherND", 12, newer_note),
    SAME("Gemm", 11, "C may now be left out"),
    STEP("GridSample", 20, vqc_adapt_gridsample_20,
         "bilinear and bicubic are called linear and cubic"),
    STEP_IF("GroupNormalization", 21, vqc_adapt_groupnorm_21, vqc_block_groupnorm_21,
            "scale and bias are repeated from groups to channels"),
    STEP_IF("Hardmax", 13, vqc_adapt_softmax_13, vqc_block_softmax_13,
            "one axis instead of a matrix view; Flatten and Reshape where the shape is not known"),
    SAME("LSTM", 14, newer_note),
    STEP_IF("LogSoftmax", 13, vqc_adapt_softmax_13, vqc_block_softmax_13,
            "one axis instead of a matrix view; Flatten and Reshape where the shape is not known"),
    SAME("LpPool", 18, newer_note),
    SAME("Max", 8, "broadcasting is now allowed"),
    SAME("MaxPool", 8, "new optional output and attribute"),
    SAME("MaxPool", 10, newer_note),
    SAME("MaxPool", 22,
         "windows that would start in the padding after the data are left out, as "
         "runtimes always did"),
    SAME("Mean", 8, "broadcasting is now allowed"),
    STEP_IF("MeanVarianceNormalization", 9, vqc_adapt_meanvar_9, vqc_block_meanvar_9,
            "experimental until 8: across_channels becomes axes; not with normalize_variance = 0"),
    STEP(
        "MeanVarianceNormalization", 13, vqc_adapt_meanvar_13,
        "the default axes are written out, because the checker cannot infer through their default"),
    SAME("Min", 8, "broadcasting is now allowed"),
    SAME("OneHot", 11, "negative indices now count from the end, as runtimes always did"),
    SAME("OptionalHasElement", 18, "the input may now be left out"),
    STEP_IF(
        "Pad", 11, vqc_adapt_pad_11, vqc_block_pad_11,
        "pads and value become inputs; below opset 15 not when value is not 0 and the input's data "
        "type is unknown"),
    SAME("Pad", 18, "new optional input"),
    SAME("QuantizeLinear", 13, newer_note),
    SAME("QuantizeLinear", 19, newer_note),
    SAME("QuantizeLinear", 21, newer_note),
    SAME("QuantizeLinear", 23, newer_note),
    SAME("RNN", 14, newer_note),
    SAME("Range", 27, newer_note),
    STEP("ReduceL1", 18, vqc_adapt_axes_input, axes_note),
    STEP("ReduceL2", 18, vqc_adapt_axes_input, axes_note),
    STEP("ReduceLogSum", 18, vqc_adapt_axes_input, axes_note),
    STEP_IF("ReduceLogSum", 28, NULL, vqc_block_integers,
            "not for integers, which are no longer allowed"),
    STEP("ReduceLogSumExp", 18, vqc_adapt_axes_input, axes_note),
    STEP_IF("ReduceLogSumExp", 28, NULL, vqc_block_integers,
            "not for integers, which are no longer allowed"),
    STEP("ReduceMax", 18, vqc_adapt_axes_input, axes_note),
    STEP("ReduceMean", 18, vqc_adapt_axes_input, axes_note),
    STEP("ReduceMin", 18, vqc_adapt_axes_input, axes_note),
    STEP("ReduceProd", 18, vqc_adapt_axes_input, axes_note),
    STEP("ReduceSum", 13, vqc_adapt_axes_input, axes_note),
    STEP("ReduceSumSquare", 18, vqc_adapt_axes_input, axes_note),
    SAME("Reshape", 14, newer_note),
    STEP_IF(
        "Resize", 11, vqc_adapt_resize_11, vqc_block_resize_11,
        "asymmetric coordinates; nearest rounds down when growing and up when shrinking, in two "
        "nodes where it does both or the scales are not constant"),
    STEP_IF("Resize", 13, vqc_adapt_resize_13, vqc_block_resize_13,
            "tf_half_pixel_for_nn becomes half_pixel with another rounding (only for nearest with "
            "floor "
            "or round_prefer_floor); empty scales beside sizes go"),
    SAME("Resize", 18, newer_note),
    STEP("RoiAlign", 16, vqc_adapt_roialign_16, "output_half_pixel is what was meant"),
    STEP_IF("Scan", 9, vqc_adapt_scan_9, vqc_block_scan_9,
            "the batch becomes a Scan around the old one; not with sequence_lens"),
    STEP("Scatter", 11, vqc_adapt_scatter_11, "becomes ScatterElements"),
    SAME("ScatterElements", 16, newer_note),
    SAME("ScatterND", 16, newer_note),
    SAME("Shape", 15, newer_note),
    STEP_IF("Slice", 10, vqc_adapt_slice_10, vqc_block_slice_10,
            "starts, ends, axes become inputs"),
    STEP_IF("Softmax", 13, vqc_adapt_softmax_13, vqc_block_softmax_13,
            "one axis instead of a matrix view; Flatten and Reshape where the shape is not known"),
    SAME("SpaceToDepth", 28, newer_note),
    STEP("Split", 13, vqc_adapt_split_13, "split becomes an input"),
    STEP("Split", 18, vqc_adapt_split_18, "equal parts are asked for with num_outputs"),
    STEP("Squeeze", 13, vqc_adapt_axes_input, axes_note),
    SAME("Sum", 8, "broadcasting is now allowed"),
    SAME("ThresholdedRelu", 10, "experimental before, with the same meaning"),
    STEP_IF("TopK", 10, vqc_adapt_topk_10, vqc_block_topk_10, "k becomes an input"),
    SAME("TopK", 11, newer_note),
    STEP_IF("Unsqueeze", 13, vqc_adapt_axes_input, vqc_block_unsqueeze_13, axes_note),
    STEP_IF("Upsample", 9, vqc_adapt_upsample_9, vqc_block_upsample_9, "scales becomes an input"),
    STEP_IF("Upsample", 10, vqc_adapt_upsample_10, vqc_block_upsample_10, "becomes Resize"),
};
const size_t vqc_opset_step_count = sizeof vqc_opset_steps / sizeof *vqc_opset_steps;

const char *const vqc_opset_dropped_ops[] = {"ATen",
                                             "Affine",
                                             "ConstantFill",
                                             "Crop",
                                             "DynamicSlice",
                                             "GRUUnit",
                                             "GivenTensorFill",
                                             "ImageScaler",
                                             "LoopIndexTensor",
                                             "ParametricSoftplus",
                                             "Scale",
                                             "ScaledTanh",
                                             NULL};

const vqc_opset_op *vqc_opset_find_op(const char *name)
{
    size_t low = 0;
    size_t high = vqc_opset_op_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, vqc_opset_ops[middle].name);
        if (order == 0) {
            return &vqc_opset_ops[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

const vqc_opset_step *vqc_opset_find_step(const char *op, int64_t since)
{
    size_t low = 0;
    size_t high = vqc_opset_step_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(op, vqc_opset_steps[middle].op);
        if (order == 0) {
            order =
                (since > vqc_opset_steps[middle].since) - (since < vqc_opset_steps[middle].since);
        }
        if (order == 0) {
            return &vqc_opset_steps[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}
