/* Version adapters for normalizations and the softmax family. */
#include "core/emit/opset_adapters.h"

enum { MAX_RANK = 16 };

/* ---- Softmax, LogSoftmax, Hardmax 11 -> 13 ---- */

/*
 * Up to version 12 the input was seen as a matrix whose rows are the dimensions from `axis` on;
 * since 13 the operator works along one dimension. Both agree when at most one of the dimensions
 * from axis on is not 1. Returns that dimension, or -1 when the shape does not say.
 */
static int64_t single_axis(const int64_t *dims, int64_t rank, int64_t axis)
{
    int64_t found = -1;

    for (int64_t i = axis; i < rank; i++) {
        if (dims[i] != 1) {
            if (found >= 0) {
                return -1;
            }
            found = i;
        }
    }
    return found >= 0 ? found : rank - 1;
}

/* The one axis that means the same as the old matrix view, as a non-negative number; -1: none is
 * known. */
static int64_t softmax_axis(const vqc_raise *raise, const Onnx__NodeProto *node, int64_t *rank)
{
    int64_t dims[MAX_RANK];
    int64_t axis = vqc_node_attr_int(node, "axis", 1);
    const char *sides[] = {vqc_opset_input(node, 0), vqc_opset_output(node, 0)};

    *rank = raise->facts.rank;
    for (size_t i = 0; i < 2 && *rank < 0; i++) {
        *rank =
            sides[i] == NULL ? -1 : vqc_opset_stated_shape(raise, raise->scope, sides[i], NULL, 0);
    }
    if (*rank < 0) {
        return -1;
    }
    axis = axis < 0 ? axis + *rank : axis;
    if (axis < 0 || axis >= *rank) {
        return -1;
    }
    if (axis == *rank - 1) {
        return axis;
    }
    for (size_t i = 0; i < 2; i++) { /* input and output have the same shape */
        int64_t stated = sides[i] == NULL ? -1
                                          : vqc_opset_stated_shape(raise, raise->scope, sides[i],
                                                                   dims, MAX_RANK);
        if (stated == *rank && stated <= MAX_RANK) {
            int64_t found = single_axis(dims, stated, axis);
            if (found >= 0) {
                return found;
            }
        }
    }
    return -1;
}

const char *vqc_block_softmax_13(const vqc_raise *raise, const vqc_scope *scope,
                                 const Onnx__NodeProto *node)
{
    const char *data = vqc_opset_input(node, 0);
    int64_t axis = vqc_node_attr_int(node, "axis", 1);
    int64_t rank = data == NULL ? -1 : vqc_opset_rank(raise, scope, data);

    return rank >= 0 && (axis < -rank || axis > rank) ? "its axis is outside its input" : NULL;
}

/* Source: ONNX Softmax 11 and 13. Where the shape is not known: Flatten, operator, Reshape back. */
vqc_status vqc_adapt_softmax_13(vqc_raise *raise, Onnx__NodeProto *node)
{
    int64_t old_axis = vqc_node_attr_int(node, "axis", 1);
    int64_t rank;
    int64_t axis = softmax_axis(raise, node, &rank);
    const char *shape;
    const char *flat;
    Onnx__NodeProto *flatten;
    Onnx__NodeProto *reshape;

    vqc_node_remove_attr(node, "axis"); /* the default is now -1, the last */
    if (old_axis == -1 || (axis >= 0 && axis == rank - 1)) {
        return VQC_OK;
    }
    if (axis >= 0) {
        return vqc_raise_set_int(raise, node, "axis", axis);
    }
    shape = vqc_raise_before(raise, "Shape", (const char *const[]){node->input[0]}, 1, NULL);
    flat = shape == NULL ? NULL
                         : vqc_raise_before(raise, "Flatten", (const char *const[]){node->input[0]},
                                            1, &flatten);
    if (flat == NULL) {
        return VQC_ERR_INTERNAL;
    }
    if (old_axis != 1 && vqc_raise_set_int(raise, flatten, "axis", old_axis) != VQC_OK) {
        return VQC_ERR_INTERNAL;
    }
    reshape = vqc_raise_behind(raise, node, 0, "Reshape", (const char *const[]){NULL, shape}, 2);
    if (reshape == NULL) {
        return VQC_ERR_INTERNAL;
    }
    if (raise->target >= 14 && vqc_raise_set_int(raise, reshape, "allowzero", 1) != VQC_OK) {
        return VQC_ERR_INTERNAL; /* an empty dimension stays empty */
    }
    return vqc_raise_set_input(raise, node, 0, flat);
}

/* ---- BatchNormalization ---- */

static bool statistics_used(const vqc_raise *raise, const vqc_scope *scope,
                            const Onnx__NodeProto *node, size_t from, size_t to)
{
    for (size_t i = from; i <= to; i++) {
        if (vqc_opset_output_used(raise, scope, node, i)) {
            return true;
        }
    }
    return false;
}

const char *vqc_block_batchnorm_9(const vqc_raise *raise, const vqc_scope *scope,
                                  const Onnx__NodeProto *node)
{
    if (node->n_input < 5) {
        return "one of its five inputs is missing";
    }
    return vqc_node_attr_int(node, "spatial", 1) == 0 && statistics_used(raise, scope, node, 1, 4)
               ? "per-feature statistics (spatial = 0) are computed and read"
               : NULL;
}

/* BatchNormalization 7 -> 9. spatial = 0 has one scale per feature: the same as normalizing the
 * input flattened to [N, features], which version 9 recommends. */
vqc_status vqc_adapt_batchnorm_9(vqc_raise *raise, Onnx__NodeProto *node)
{
    static const int64_t flat_shape[] = {-1};
    bool per_feature = vqc_node_attr_int(node, "spatial", 1) == 0 && raise->facts.rank != 2;
    const char *shape;
    const char *flat;
    const char *minus_one;

    vqc_node_remove_attr(node, "spatial");
    if (!per_feature) {
        return VQC_OK;
    }
    minus_one = vqc_raise_ints(raise, "shape", flat_shape, 1);
    shape = minus_one == NULL
                ? NULL
                : vqc_raise_before(raise, "Shape", (const char *const[]){node->input[0]}, 1, NULL);
    flat = shape == NULL
               ? NULL
               : vqc_raise_before(raise, "Flatten", (const char *const[]){node->input[0]}, 1, NULL);
    if (flat == NULL || vqc_raise_behind(raise, node, 0, "Reshape",
                                         (const char *const[]){NULL, shape}, 2) == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t i = 1; i < 5; i++) {
        const char *const inputs[] = {node->input[i], minus_one};
        vqc_status status = vqc_raise_set_input(
            raise, node, i, vqc_raise_before(raise, "Reshape", inputs, 2, NULL));
        if (status != VQC_OK) {
            return status;
        }
    }
    vqc_raise_trim_outputs(node, 1);
    return vqc_raise_set_input(raise, node, 0, flat);
}

const char *vqc_block_batchnorm_14(const vqc_raise *raise, const vqc_scope *scope,
                                   const Onnx__NodeProto *node)
{
    return statistics_used(raise, scope, node, 3, 4)
               ? "its saved statistics are read, which version 14 no longer has"
               : NULL;
}

/* BatchNormalization 9 -> 14. Until 13, listing statistics as outputs was how a node said
 * "training". */
vqc_status vqc_adapt_batchnorm_14(vqc_raise *raise, Onnx__NodeProto *node)
{
    bool training = false;

    for (size_t i = 1; i < 5; i++) {
        training = training || vqc_opset_output(node, i) != NULL;
    }
    vqc_raise_trim_outputs(node, training ? 3 : 1);
    return training ? vqc_raise_set_int(raise, node, "training_mode", 1) : VQC_OK;
}

/* ---- GroupNormalization 18 -> 21 ---- */

const char *vqc_block_groupnorm_21(const vqc_raise *raise, const vqc_scope *scope,
                                   const Onnx__NodeProto *node)
{
    (void)raise;
    (void)scope;
    return node->n_input < 3 || vqc_node_attr_int(node, "num_groups", 0) <= 0
               ? "its inputs or its attribute \"num_groups\" are missing"
               : NULL;
}

/* [1, C / groups] as a value: a constant when C is known, else computed from the input. */
static const char *group_shape(vqc_raise *raise, const Onnx__NodeProto *node, int64_t groups)
{
    int64_t dims[MAX_RANK];
    int64_t shape[] = {1, 0};
    int rank = vqc_opset_stated_shape(raise, raise->scope, node->input[0], dims, MAX_RANK);
    Onnx__NodeProto *made;
    const char *channels;
    const char *number;
    const char *per_group;

    if (rank >= 2 && dims[1] > 0) {
        shape[1] = dims[1] / groups;
        return vqc_raise_ints(raise, "shape", shape, 2);
    }
    channels = vqc_raise_before(raise, "Shape", (const char *const[]){node->input[0]}, 1, &made);
    if (channels == NULL || vqc_raise_set_int(raise, made, "start", 1) != VQC_OK ||
        vqc_raise_set_int(raise, made, "end", 2) != VQC_OK) {
        return NULL;
    }
    number = vqc_raise_ints(raise, "groups", &groups, 1);
    per_group = number == NULL ? NULL
                               : vqc_raise_before(raise, "Div",
                                                  (const char *const[]){channels, number}, 2, NULL);
    number = per_group == NULL ? NULL : vqc_raise_ints(raise, "shape", shape, 1);
    channels =
        number == NULL
            ? NULL
            : vqc_raise_before(raise, "Concat", (const char *const[]){number, per_group}, 2, &made);
    return channels == NULL || vqc_raise_set_int(raise, made, "axis", 0) != VQC_OK ? NULL
                                                                                   : channels;
}

/* Source: ONNX GroupNormalization 18 and 21: scale and bias are per channel, no longer per group.
 */
vqc_status vqc_adapt_groupnorm_21(vqc_raise *raise, Onnx__NodeProto *node)
{
    const int64_t column_shape[] = {-1, 1};
    const int64_t flat_shape[] = {-1};
    const char *wide = group_shape(raise, node, vqc_node_attr_int(node, "num_groups", 1));
    const char *column = vqc_raise_ints(raise, "shape", column_shape, 2);
    const char *flat = vqc_raise_ints(raise, "shape", flat_shape, 1);

    if (wide == NULL || column == NULL || flat == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t i = 1; i < 3; i++) {
        const char *value = vqc_raise_before(
            raise, "Reshape", (const char *const[]){node->input[i], column}, 2, NULL);
        if (value != NULL) {
            value = vqc_raise_before(raise, "Expand", (const char *const[]){value, wide}, 2, NULL);
        }
        if (value != NULL) {
            value = vqc_raise_before(raise, "Reshape", (const char *const[]){value, flat}, 2, NULL);
        }
        if (vqc_raise_set_input(raise, node, i, value) != VQC_OK) {
            return VQC_ERR_INTERNAL;
        }
    }
    return VQC_OK;
}

/* ---- MeanVarianceNormalization: experimental until 8, with other attributes ---- */

const char *vqc_block_meanvar_9(const vqc_raise *raise, const vqc_scope *scope,
                                const Onnx__NodeProto *node)
{
    (void)raise;
    (void)scope;
    return vqc_node_attr_int(node, "normalize_variance", 1) == 0
               ? "normalize_variance = 0 has no counterpart since version 9"
               : NULL;
}

vqc_status vqc_adapt_meanvar_9(vqc_raise *raise, Onnx__NodeProto *node)
{
    static const int64_t all[] = {0, 1, 2, 3};
    bool across = vqc_node_attr_int(node, "across_channels", 0) != 0;

    vqc_node_remove_attr(node, "across_channels");
    vqc_node_remove_attr(node, "normalize_variance");
    if (across && !vqc_node_add_ints(raise->arena, node, "axes", all, 4)) {
        return vqc_raise_memory(raise);
    }
    return VQC_OK; /* the default axes 0, 2, 3 are what was meant */
}

/* Version 13 is a function whose body the checker's shape inference cannot follow without the
 * attribute. */
vqc_status vqc_adapt_meanvar_13(vqc_raise *raise, Onnx__NodeProto *node)
{
    static const int64_t usual[] = {0, 2, 3};

    if (vqc_node_attr(node, "axes") == NULL &&
        !vqc_node_add_ints(raise->arena, node, "axes", usual, 3)) {
        return vqc_raise_memory(raise);
    }
    return VQC_OK;
}
