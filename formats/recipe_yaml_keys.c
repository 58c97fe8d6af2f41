#include "formats/recipe_yaml_keys.h"

#include <stdio.h>
#include <string.h>

#include "core/recipe.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_INT64_EXACT 9007199254740992.0 /* 2^53: larger integers are not exact in a double */

static const char *const operators_choices[] = {
    [VQC_OPERATORS_STANDARD] = "standard", [VQC_OPERATORS_ONNXRUNTIME] = "onnxruntime", NULL};
static const char *const objective_choices[] = {
    [VQC_OBJECTIVE_SIZE] = "size", [VQC_OBJECTIVE_SPEED] = "speed", NULL};
static const char *const codec_choices[] = {"keep",       "float16", "bfloat16", "float8e4m3fn",
                                            "float8e5m2", "int",     "vq",       NULL};
static const char *const granularity_choices[] = {[VQC_GRANULARITY_TENSOR] = "tensor",
                                                  [VQC_GRANULARITY_CHANNEL] = "channel",
                                                  [VQC_GRANULARITY_BLOCK] = "block",
                                                  NULL};
static const char *const range_choices[] = {[VQC_RANGE_AUTO] = "auto",
                                            [VQC_RANGE_MINMAX] = "minmax",
                                            [VQC_RANGE_PERCENTILE] = "percentile",
                                            [VQC_RANGE_MSE] = "mse",
                                            NULL};
static const char *const rounding_choices[] = {[VQC_ROUNDING_AUTO] = "auto",
                                               [VQC_ROUNDING_NEAREST] = "nearest",
                                               [VQC_ROUNDING_BALANCED] = "balanced",
                                               NULL};
static const char *const pattern_choices[] = {[VQC_PATTERN_AUTO] = "auto",
                                              [VQC_PATTERN_DEQUANTIZE_LINEAR] = "dequantize_linear",
                                              [VQC_PATTERN_FOLDABLE] = "foldable",
                                              [VQC_PATTERN_MATMUL_NBITS] = "matmul_nbits",
                                              NULL};
static const char *const activations_choices[] = {[VQC_ACTIVATIONS_NONE] = "none",
                                                  [VQC_ACTIVATIONS_DYNAMIC] = "dynamic",
                                                  [VQC_ACTIVATIONS_STATIC] = "static",
                                                  NULL};
static const char *const format_choices[] = {
    [VQC_STATIC_QDQ] = "qdq", [VQC_STATIC_QOPERATOR] = "qoperator", NULL};
static const char *const type_choices[] = {[VQC_ACTIVATION_UINT8] = "uint8",
                                           [VQC_ACTIVATION_INT8] = "int8",
                                           [VQC_ACTIVATION_UINT16] = "uint16",
                                           [VQC_ACTIVATION_INT16] = "int16",
                                           NULL};
static const char *const static_operators_choices[] = {[VQC_STATIC_OPERATORS_AUTO] = "auto",
                                                       [VQC_STATIC_OPERATORS_CHAINS] = "chains",
                                                       [VQC_STATIC_OPERATORS_LINEAR] = "linear",
                                                       NULL};
static const char *const observer_choices[] = {[VQC_OBSERVER_AUTO] = "auto",
                                               [VQC_OBSERVER_MINMAX] = "minmax",
                                               [VQC_OBSERVER_MOVING_AVERAGE] = "moving_average",
                                               [VQC_OBSERVER_PERCENTILE] = "percentile",
                                               [VQC_OBSERVER_ENTROPY] = "entropy",
                                               [VQC_OBSERVER_MSE] = "mse",
                                               NULL};
static const char *const weight_codes_choices[] = {[VQC_WEIGHT_CODES_INT8_SAFE] = "int8_safe",
                                                   [VQC_WEIGHT_CODES_INT8] = "int8",
                                                   [VQC_WEIGHT_CODES_UINT8] = "uint8",
                                                   NULL};
static const char *const switch_choices[] = {
    [VQC_SWITCH_AUTO] = "auto", [VQC_SWITCH_OFF] = "off", [VQC_SWITCH_ON] = "on", NULL};
static const char *const equalize_choices[] = {[VQC_EQUALIZE_AUTO] = "auto",
                                               [VQC_EQUALIZE_NONE] = "none",
                                               [VQC_EQUALIZE_CROSS_LAYER] = "cross_layer",
                                               [VQC_EQUALIZE_SMOOTH] = "smooth",
                                               NULL};
static const char *const fallback_choices[] = {"float", "int16", NULL};
static const char *const sort_choices[] = {
    [VQC_SORT_MODEL] = "model", [VQC_SORT_BYTES] = "bytes", [VQC_SORT_ERROR] = "error", NULL};
static const int version_allowed[] = {1, 0};
static const int bits_allowed[] = {2, 3, 4, 5, 6, 8, 16, 0};

static const vqc_key_row target_rows[] = {
    {.name = "operators",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_recipe, operators),
     .choices = operators_choices,
     .fallback = "standard",
     .help = "Operators the written model may use: those of the ONNX standard, or also ONNX "
             "Runtime's own (com.microsoft)."},
    {.name = "objective",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_recipe, objective),
     .choices = objective_choices,
     .fallback = "size",
     .help = "What to favour where the smallest pattern is not the fastest one."},
    {.name = "output_sqnr_db",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_recipe, accuracy.output_sqnr_db),
     .min = 0,
     .max = 200,
     .help =
         "With activations: static or codec vq: least signal-to-quantization-noise ratio of the "
         "model's outputs, in dB, on calibration samples kept apart; what hurts most is left "
         "out, or gets more bits (vq), until it is met."},
    {.name = "max_accuracy_drop",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_recipe, accuracy.max_accuracy_drop),
     .min = 0,
     .max = 100,
     .help = "With activations: static: the same for top-1 accuracy, in points; needs labels."},
    {.name = "fallback",
     .type = VQC_KEY_ENUM_BOOL,
     .offset = offsetof(vqc_recipe, accuracy.wide_fallback),
     .choices = fallback_choices,
     .fallback = "float",
     .help = "What the layers get that hurt most: float or 16-bit activations."},
};
static const vqc_key_group target_group = {target_rows, COUNT_OF(target_rows), NULL, 0};

static const vqc_key_row weights_rows[] = {
    {.name = "codec",
     .type = VQC_KEY_WORD,
     .offset = offsetof(vqc_weight_spec, codec),
     .choices = codec_choices,
     .spec_bit = VQC_SPEC_CODEC,
     .fallback = "int",
     .help = "How a weight is stored; keep leaves it as it is."},
    {.name = "bits",
     .type = VQC_KEY_INT,
     .offset = offsetof(vqc_weight_spec, bits),
     .allowed = bits_allowed,
     .spec_bit = VQC_SPEC_BITS,
     .fallback = "8",
     .help = "Bits per weight of codec int."},
    {.name = "granularity",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_weight_spec, granularity),
     .choices = granularity_choices,
     .spec_bit = VQC_SPEC_GRANULARITY,
     .fallback = "channel",
     .help = "How many weights share one scale: the whole tensor, an output channel, or a block "
             "of block_size."},
    {.name = "block_size",
     .type = VQC_KEY_INT64,
     .offset = offsetof(vqc_weight_spec, block_size),
     .min = 2,
     .max = 2147483647.0,
     .spec_bit = VQC_SPEC_BLOCK_SIZE,
     .fallback = "32",
     .help = "Weights per scale along the reduction axis, with granularity block."},
    {.name = "symmetric",
     .type = VQC_KEY_BOOL,
     .offset = offsetof(vqc_weight_spec, symmetric),
     .spec_bit = VQC_SPEC_SYMMETRIC,
     .fallback = "true",
     .help = "Whether zero lies at the middle code; false stores a zero point per scale and suits "
             "lopsided weights."},
    {.name = "range",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_weight_spec, range),
     .choices = range_choices,
     .spec_bit = VQC_SPEC_RANGE,
     .fallback = "auto",
     .help =
         "How the range that the codes cover is chosen: the extremes, a percentile, or the "
         "smallest squared error (mse); auto is mse below 8 bits, minmax from 8 bits on and for "
         "very large layers."},
    {.name = "percentile",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_weight_spec, percentile),
     .min = 50,
     .max = 100,
     .min_exclusive = true,
     .spec_bit = VQC_SPEC_PERCENTILE,
     .fallback = "99.99",
     .help = "Share of the weights inside the range, in percent, with range percentile: of the "
             "magnitudes "
             "when symmetric, of each tail otherwise."},
    {.name = "reduce_range",
     .type = VQC_KEY_BOOL,
     .offset = offsetof(vqc_weight_spec, reduce_range),
     .spec_bit = VQC_SPEC_REDUCE_RANGE,
     .fallback = "false",
     .help = "Use 7 of the 8 bits, so that integer kernels on x86 processors without VNNI do not "
             "overflow."},
    {.name = "rounding",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_weight_spec, rounding),
     .choices = rounding_choices,
     .spec_bit = VQC_SPEC_ROUNDING,
     .fallback = "auto",
     .help = "Each weight to its nearest code, or balanced: so that the errors of one output "
             "channel cancel; auto balances all but very large matrices."},
    {.name = "min_elements",
     .type = VQC_KEY_INT64,
     .offset = offsetof(vqc_weight_spec, min_elements),
     .min = 0,
     .max = MAX_INT64_EXACT,
     .spec_bit = VQC_SPEC_MIN_ELEMENTS,
     .fallback = "1024",
     .help = "Weights with fewer elements stay as they are."},
    {.name = "pattern",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_weight_spec, pattern),
     .choices = pattern_choices,
     .spec_bit = VQC_SPEC_PATTERN,
     .fallback = "auto",
     .help = "How the codes are written into the graph; auto picks by operator, opset and "
             "target.objective."},
    {.name = "sparse",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_weight_spec, sparse),
     .choices = switch_choices,
     .spec_bit = VQC_SPEC_SPARSE,
     .fallback = "auto",
     .help = "Whether a weight with zeros is stored without them where that is smaller; auto: "
             "codes always, weights that stay float where the recipe prunes; on: these too in "
             "every recipe; off: nothing."},
};

static const struct vqc_key_part weights_parts[] = {{&vqc_codebook_keys, 0}};
static const vqc_key_group weights_group = {weights_rows, COUNT_OF(weights_rows), weights_parts,
                                            COUNT_OF(weights_parts)};

static const vqc_key_row activations_rows[] = {
    {.name = "activations",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_weight_spec, activations),
     .choices = activations_choices,
     .spec_bit = VQC_SPEC_ACTIVATIONS,
     .fallback = "none",
     .help = "none: activations stay float; dynamic: quantized to 8 bits at every run, where the "
             "operator has an integer form; static: quantized with ranges from calibration data."},
};
static const vqc_key_group activations_group = {activations_rows, COUNT_OF(activations_rows), NULL,
                                                0};

static const vqc_key_row observer_rows[] = {
    {.name = "observer",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_weight_spec, observer),
     .choices = observer_choices,
     .spec_bit = VQC_SPEC_OBSERVER,
     .fallback = "auto",
     .help = "With activations: static: how the range of the layer's input and output is found."},
};
static const vqc_key_group observer_group = {observer_rows, COUNT_OF(observer_rows), NULL, 0};

static const vqc_key_row match_rows[] = {
    {.name = "name",
     .type = VQC_KEY_STRINGS,
     .offset = offsetof(vqc_match, names),
     .count_offset = offsetof(vqc_match, name_count),
     .help = "Glob, or list of globs, against the weight's name and the names of the nodes that "
             "use it."},
    {.name = "op",
     .type = VQC_KEY_STRINGS,
     .offset = offsetof(vqc_match, ops),
     .count_offset = offsetof(vqc_match, op_count),
     .help =
         "Operator, or list of operators, that use the weight: Conv, MatMul, or with its domain "
         "com.microsoft.Attention."},
    {.name = "min_elements",
     .type = VQC_KEY_INT64,
     .offset = offsetof(vqc_match, min_elements),
     .min = 0,
     .max = MAX_INT64_EXACT,
     .help = "Weights with at least so many elements."},
    {.name = "max_elements",
     .type = VQC_KEY_INT64,
     .offset = offsetof(vqc_match, max_elements),
     .min = 0,
     .max = MAX_INT64_EXACT,
     .help = "Weights with at most so many elements."},
    {.name = "rank",
     .type = VQC_KEY_INT,
     .offset = offsetof(vqc_match, rank),
     .min = 0,
     .max = 64,
     .help = "Weights with so many dimensions."},
    {.name = "shape",
     .type = VQC_KEY_SHAPE,
     .offset = offsetof(vqc_match, shape),
     .count_offset = offsetof(vqc_match, shape_rank),
     .min = 0,
     .max = MAX_INT64_EXACT,
     .help = "Weights of this shape; \"*\" stands for any size of one dimension."},
    {.name = "first",
     .type = VQC_KEY_INT64,
     .offset = offsetof(vqc_match, first),
     .min = 1,
     .max = MAX_INT64_EXACT,
     .help = "The first so many layers of the model; with last, either end."},
    {.name = "last",
     .type = VQC_KEY_INT64,
     .offset = offsetof(vqc_match, last),
     .min = 1,
     .max = MAX_INT64_EXACT,
     .help = "The last so many layers of the model; with first, either end."},
};
static const vqc_key_group match_group = {match_rows, COUNT_OF(match_rows), NULL, 0};

static const vqc_key_row rule_rows[] = {
    {.name = "match",
     .type = VQC_KEY_GROUP,
     .offset = offsetof(vqc_layer_rule, match),
     .group = &match_group,
     .help = "Which layers the rule applies to: those that agree with every key given."},
};
static const struct vqc_key_part rule_parts[] = {
    {&weights_group, offsetof(vqc_layer_rule, spec)},
    {&vqc_codebook_keys, offsetof(vqc_layer_rule, spec)},
    {&activations_group, offsetof(vqc_layer_rule, spec)},
    {&observer_group, offsetof(vqc_layer_rule, spec)},
    {&vqc_sparsity_keys, offsetof(vqc_layer_rule, spec)},
};
static const vqc_key_group rule_group = {rule_rows, COUNT_OF(rule_rows), rule_parts,
                                         COUNT_OF(rule_parts)};

/* Rows at the top of the recipe's struct: offsets are those in vqc_recipe. */
static const vqc_key_row static_rows[] = {
    {.name = "format",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_recipe, fixed.format),
     .choices = format_choices,
     .fallback = "qdq",
     .help = "How integer operators are written: QuantizeLinear and DequantizeLinear around float "
             "operators (qdq), or QLinearConv, QLinearMatMul, ... (qoperator)."},
    {.name = "type",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_recipe, fixed.type),
     .choices = type_choices,
     .fallback = "uint8",
     .help = "Data type of quantized activations."},
    {.name = "symmetric",
     .type = VQC_KEY_BOOL,
     .offset = offsetof(vqc_recipe, fixed.symmetric),
     .fallback = "false",
     .help = "Zero point of activations at the middle code."},
    {.name = "operators",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_recipe, fixed.operators),
     .choices = static_operators_choices,
     .fallback = "auto",
     .help =
         "Which operators become integer: every one in chains that can, only linear ones (Conv, "
         "Gemm, MatMul with weights), or what measures better (auto)."},
    {.name = "observer",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_recipe, weights.observer),
     .choices = observer_choices,
     .fallback = "auto",
     .help = "How ranges of activations are found; auto takes for each tensor what gives the least "
             "output error."},
    {.name = "percentile",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_recipe, fixed.percentile),
     .min = 50,
     .max = 100,
     .min_exclusive = true,
     .fallback = "99.99",
     .help = "Share of the values inside the range, in percent, with observer percentile."},
    {.name = "weight_codes",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_recipe, fixed.weight_codes),
     .choices = weight_codes_choices,
     .fallback = "int8_safe",
     .help =
         "Codes of the weights: int8 that no processor overflows on (int8_safe), all of int8, or "
         "uint8."},
    {.name = "bias_correction",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_recipe, fixed.bias_correction),
     .choices = switch_choices,
     .fallback = "auto",
     .help =
         "Whether biases take over what rounding the weights changes on average; auto measures."},
    {.name = "equalize",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_recipe, fixed.equalize),
     .choices = equalize_choices,
     .fallback = "auto",
     .help =
         "Scale channels between layers before quantizing: cross_layer for convolutions, smooth "
         "for matrix products, or what measures better (auto)."},
    {.name = "exclude",
     .type = VQC_KEY_MATCHES,
     .offset = offsetof(vqc_recipe, fixed.exclude),
     .count_offset = offsetof(vqc_recipe, fixed.exclude_count),
     .group = &match_group,
     .help = "Nodes that stay float: by name or operator of the node, or the first or last so many "
             "nodes."},
};
static const vqc_key_group static_group = {static_rows, COUNT_OF(static_rows), NULL, 0};

static const vqc_key_row image_rows[] = {
    {.name = "resize",
     .type = VQC_KEY_IMAGE,
     .help = "256: the short side; 224x320: exactly height x width."},
    {.name = "filter", .type = VQC_KEY_IMAGE, .help = "bilinear (with antialiasing) or nearest."},
    {.name = "crop", .type = VQC_KEY_IMAGE, .help = "Centre crop: 224 or 224x320."},
    {.name = "order", .type = VQC_KEY_IMAGE, .help = "Channels: rgb or bgr."},
    {.name = "layout",
     .type = VQC_KEY_IMAGE,
     .help = "nchw or nhwc; else what the model's input says."},
    {.name = "mean",
     .type = VQC_KEY_IMAGE,
     .help = "Subtracted from each value 0..255: one number, or [a, b, c] in the tensor's order of "
             "channels."},
    {.name = "scale", .type = VQC_KEY_IMAGE, .help = "Multiplied afterwards, the same way."},
    {.name = "std", .type = VQC_KEY_IMAGE, .help = "Divided by afterwards; instead of scale."},
};
static const vqc_key_group image_group = {image_rows, COUNT_OF(image_rows), NULL, 0};
static const vqc_key_row view_rows[] = {
    {.name = "views",
     .type = VQC_KEY_INT64,
     .offset = offsetof(vqc_image_options, views),
     .min = 1,
     .max = VQC_IMAGE_MAX_VIEWS,
     .fallback = "1",
     .help =
         "With prune and codec vq: inputs made of each picture, further ones cropped beside the "
         "centre, every second mirrored."},
};
static const struct vqc_key_part view_parts[] = {{&image_group, 0}};
static const vqc_key_group calibrate_image_group = {view_rows, COUNT_OF(view_rows), view_parts,
                                                    COUNT_OF(view_parts)};

#define SAMPLES_ROWS(images)                                                                       \
    {.name = "data",                                                                               \
     .type = VQC_KEY_STRING,                                                                       \
     .offset = offsetof(vqc_samples_request, path),                                                \
     .help =                                                                                       \
         "Samples: an .npz or .npy file, a folder of pictures, of arrays, or of ONNX test data "   \
         "sets; synthetic: random numbers."},                                                      \
        {.name = "labels",                                                                         \
         .type = VQC_KEY_STRING,                                                                   \
         .offset = offsetof(vqc_samples_request, labels),                                          \
         .help = "File of classes for a folder of pictures or arrays: file name and class."},      \
        {.name = "label_offset",                                                                   \
         .type = VQC_KEY_INT64,                                                                    \
         .offset = offsetof(vqc_samples_request, label_offset),                                    \
         .min = -MAX_INT64_EXACT,                                                                  \
         .max = MAX_INT64_EXACT,                                                                   \
         .fallback = "0",                                                                          \
         .help = "Added to every class of the labels."},                                           \
        {.name = "samples",                                                                        \
         .type = VQC_KEY_INT64,                                                                    \
         .offset = offsetof(vqc_samples_request, max_samples),                                     \
         .min = 0,                                                                                 \
         .max = MAX_INT64_EXACT,                                                                   \
         .fallback = "0",                                                                          \
         .help = "At most so many samples, evenly spread; 0: all."},                               \
        {.name = "seed",                                                                           \
         .type = VQC_KEY_INT64,                                                                    \
         .offset = offsetof(vqc_samples_request, seed),                                            \
         .min = 0,                                                                                 \
         .max = MAX_INT64_EXACT,                                                                   \
         .fallback = "0",                                                                          \
         .help = "Of synthetic samples."},                                                         \
    {                                                                                              \
        .name = "image", .type = VQC_KEY_GROUP, .offset = offsetof(vqc_samples_request, image),    \
        .group = &images, .help = "How pictures become tensors."                                   \
    }

static const vqc_key_row evaluate_rows[] = {SAMPLES_ROWS(image_group)};
static const vqc_key_group evaluate_group = {evaluate_rows, COUNT_OF(evaluate_rows), NULL, 0};

static const vqc_key_row samples_rows[] = {SAMPLES_ROWS(calibrate_image_group)};
static const vqc_key_group samples_group = {samples_rows, COUNT_OF(samples_rows), NULL, 0};
static const vqc_key_row calibrate_rows[] = {
    {.name = "cache",
     .type = VQC_KEY_STRING,
     .offset = offsetof(vqc_data_options, cache),
     .help = "Calibration cache: read when it is there, written when it is not."},
};
static const struct vqc_key_part calibrate_parts[] = {
    {&samples_group, offsetof(vqc_data_options, calibrate)},
};
static const vqc_key_group calibrate_group = {calibrate_rows, COUNT_OF(calibrate_rows),
                                              calibrate_parts, COUNT_OF(calibrate_parts)};

static const vqc_key_row report_rows[] = {
    {.name = "sort",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_report_options, sort),
     .choices = sort_choices,
     .fallback = "model",
     .help = "Order of the layer table: as in the model, largest first, or worst first."},
    {.name = "top",
     .type = VQC_KEY_INT64,
     .offset = offsetof(vqc_report_options, top),
     .min = 0,
     .max = MAX_INT64_EXACT,
     .fallback = "0",
     .help = "Weights shown in the table; 0: the 10 largest (-v shows all)."},
    {.name = "file",
     .type = VQC_KEY_STRING,
     .offset = offsetof(vqc_report_options, file),
     .help = "Also write the report as JSON to this file."},
};
static const vqc_key_group report_group = {report_rows, COUNT_OF(report_rows), NULL, 0};

static const vqc_key_row root_rows[] = {
    {.name = "version",
     .type = VQC_KEY_INT,
     .offset = offsetof(vqc_recipe, version),
     .allowed = version_allowed,
     .help = "Version of the recipe format. Required."},
    {.name = "target",
     .type = VQC_KEY_GROUP,
     .group = &target_group,
     .help = "What the written model is for."},
    {.name = "weights",
     .type = VQC_KEY_GROUP,
     .offset = offsetof(vqc_recipe, weights),
     .group = &weights_group,
     .help = "How every weight is stored unless a rule under layers says otherwise."},
    {.name = "layers",
     .type = VQC_KEY_RULES,
     .offset = offsetof(vqc_recipe, rules),
     .count_offset = offsetof(vqc_recipe, rule_count),
     .group = &rule_group,
     .help = "Rules for some of the layers, each with match and any key of weights or activations, "
             "or a sparsity; later rules win."},
    {.name = "fold",
     .type = VQC_KEY_BOOL,
     .offset = offsetof(vqc_recipe, fold),
     .fallback = "false",
     .help = "Fold BatchNormalization and constant expressions into weights first; activations: "
             "static does it anyway."},
    {.name = "static",
     .type = VQC_KEY_GROUP,
     .group = &static_group,
     .help = "How activations: static quantizes."},
    {.name = "vq",
     .type = VQC_KEY_GROUP,
     .offset = offsetof(vqc_recipe, vq),
     .group = &vqc_vq_keys,
     .help = "How the codebooks of codec vq are trained."},
    {.name = "calibrate",
     .type = VQC_KEY_GROUP,
     .offset = offsetof(vqc_recipe, data),
     .group = &calibrate_group,
     .help =
         "Samples that activations: static calibrates with, and that codec vq and prune use when "
         "they are there."},
    {.name = "evaluate",
     .type = VQC_KEY_GROUP,
     .offset = offsetof(vqc_recipe, data.evaluate),
     .group = &evaluate_group,
     .help = "Samples on which the original and the written model are compared; image: as under "
             "calibrate when not given."},
    {.name = "verify",
     .type = VQC_KEY_BOOL,
     .offset = offsetof(vqc_recipe, verify),
     .fallback = "true",
     .help = "Run the original and the written model on samples, when there are any, and report "
             "their difference."},
    {.name = "prune",
     .type = VQC_KEY_GROUP,
     .group = &vqc_prune_keys,
     .help = "Which weights become zero before they are coded."},
    {.name = "gates",
     .type = VQC_KEY_GROUP,
     .offset = offsetof(vqc_recipe, gates),
     .group = &vqc_gates_keys,
     .help = "Limits of size and quality; a miss makes the exit code 5."},
    {.name = "report",
     .type = VQC_KEY_GROUP,
     .offset = offsetof(vqc_recipe, report),
     .group = &report_group,
     .help = "How the report is shown and where else it goes."},
};
static const struct vqc_key_part root_parts[] = {
    {&activations_group, offsetof(vqc_recipe, weights)},
};
static const vqc_key_group root_group = {root_rows, COUNT_OF(root_rows), root_parts,
                                         COUNT_OF(root_parts)};

const vqc_key_group *vqc_recipe_keys(void)
{
    return &root_group;
}

const vqc_key_row *vqc_key_group_row(const vqc_key_group *group, size_t index, size_t *offset)
{
    *offset = 0;
    if (index < group->row_count) {
        return &group->rows[index];
    }
    index -= group->row_count;
    for (size_t i = 0; i < group->part_count; i++) {
        const vqc_key_group *part = group->parts[i].group;
        if (index < part->row_count) {
            *offset = group->parts[i].offset;
            return &part->rows[index];
        }
        index -= part->row_count;
    }
    return NULL;
}

const vqc_key_row *vqc_key_group_find(const vqc_key_group *group, const char *name, size_t length,
                                      size_t *offset)
{
    const vqc_key_row *row;
    for (size_t i = 0; (row = vqc_key_group_row(group, i, offset)) != NULL; i++) {
        if (strlen(row->name) == length && memcmp(row->name, name, length) == 0) {
            return row;
        }
    }
    return NULL;
}

static void append(char *text, size_t size_bytes, const char *more)
{
    size_t used = strlen(text);
    (void)snprintf(text + used, size_bytes - used, "%s", more);
}

static void append_number(char *text, size_t size_bytes, double value)
{
    char number[32];
    (void)snprintf(number, sizeof number, "%.17g", value);
    append(text, size_bytes, number);
}

/* "1", "standard or onnxruntime", "one of 2, 3, 4". */
static void append_choices(const vqc_key_row *row, char *text, size_t size_bytes)
{
    size_t count = 0;
    while (row->allowed != NULL ? row->allowed[count] != 0 : row->choices[count] != NULL) {
        count++;
    }
    append(text, size_bytes, count > 2 ? "one of " : "");
    for (size_t i = 0; i < count; i++) {
        append(text, size_bytes, i == 0 ? "" : count == 2 ? " or " : ", ");
        if (row->allowed != NULL) {
            append_number(text, size_bytes, (double)row->allowed[i]);
        } else {
            append(text, size_bytes, row->choices[i]);
        }
    }
}

static void append_range(const vqc_key_row *row, char *text, size_t size_bytes)
{
    append(text, size_bytes, row->type == VQC_KEY_REAL ? "a number" : "an integer");
    append(text, size_bytes, row->min_exclusive ? " above " : " of at least ");
    append_number(text, size_bytes, row->min);
    /* Limits that only keep the arithmetic exact would just be noise. */
    if (row->max < 2147483647.0) {
        append(text, size_bytes, " and at most ");
        append_number(text, size_bytes, row->max);
    }
}

void vqc_key_row_expected(const vqc_key_row *row, char *text, size_t size_bytes)
{
    switch (row->type) {
    case VQC_KEY_BOOL:
        append(text, size_bytes, "true or false");
        break;
    case VQC_KEY_ENUM:
    case VQC_KEY_ENUM_BOOL:
    case VQC_KEY_WORD:
        append_choices(row, text, size_bytes);
        break;
    case VQC_KEY_INT:
        if (row->allowed != NULL) {
            append_choices(row, text, size_bytes);
            break;
        }
        append_range(row, text, size_bytes);
        break;
    case VQC_KEY_INT64:
    case VQC_KEY_REAL:
        append_range(row, text, size_bytes);
        break;
    case VQC_KEY_INT_AUTO:
        append(text, size_bytes, "auto, or ");
        append_range(row, text, size_bytes);
        break;
    case VQC_KEY_STRING:
        append(text, size_bytes, "a string");
        break;
    case VQC_KEY_STRINGS:
        append(text, size_bytes, "a string or a list of strings");
        break;
    case VQC_KEY_SHAPE:
        append(text, size_bytes, "a list of sizes or \"*\"");
        break;
    case VQC_KEY_SIZES:
        append(text, size_bytes, "a list of sizes, each ");
        append_range(row, text, size_bytes);
        break;
    case VQC_KEY_GROUP:
        append(text, size_bytes, "a mapping");
        break;
    case VQC_KEY_IMAGE:
        append(text, size_bytes, "a word, a number or a list of numbers");
        break;
    case VQC_KEY_RULES:
    case VQC_KEY_MATCHES:
        append(text, size_bytes, "a list of mappings");
        break;
    case VQC_KEY_UNAVAILABLE:
        append(text, size_bytes, "nothing yet");
        break;
    }
}

static vqc_status describe_group(const vqc_key_group *group, const char *prefix, vqc_messages *rows)
{
    const vqc_key_row *row;
    size_t offset;
    vqc_status status = VQC_OK;

    for (size_t i = 0; status == VQC_OK && (row = vqc_key_group_row(group, i, &offset)) != NULL;
         i++) {
        char expected[256] = "";
        char path[128];
        bool is_known = group == &rule_group && row->spec_bit != 0 &&
                        row->spec_bit != VQC_SPEC_OBSERVER && row->spec_bit != VQC_SPEC_SPARSITY;
        if (is_known) {
            continue; /* the keys of weights and activations have their rows already */
        }
        vqc_key_row_expected(row, expected, sizeof expected);
        (void)snprintf(path, sizeof path, "%s%s", prefix, row->name);
        status = vqc_messages_add(rows, "| `%s` | %s | %s%s%s | %s |", path, expected,
                                  row->fallback != NULL ? "`" : "",
                                  row->fallback != NULL ? row->fallback : "",
                                  row->fallback != NULL ? "`" : "", row->help);
        if (status == VQC_OK && row->group != NULL) {
            char inner[160];
            (void)snprintf(inner, sizeof inner, "%s%s", path,
                           row->type == VQC_KEY_RULES || row->type == VQC_KEY_MATCHES ? "[]."
                                                                                      : ".");
            status = describe_group(row->group, inner, rows);
        }
    }
    return status;
}

vqc_status vqc_recipe_describe(vqc_messages *rows)
{
    return describe_group(&root_group, "", rows);
}
