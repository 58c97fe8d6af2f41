/* BatchNormalization, Mul and Add with constants per channel, folded into the weights before them.
 */
#include <math.h>
#include <string.h>

#include "core/fold/fold.h"
#include "core/layer.h"
#include "core/memory.h"
#include "core/patch.h"
#include "core/tensor.h"

/* y = scale[c] * x + shift[c] for the channels of a layer's output. */
typedef struct affine {
    double *scale; /* [channels] */
    double *shift; /* [channels] */
    size_t channels;
} affine;

/* A layer whose weights can take it in. */
typedef struct host {
    Onnx__NodeProto *node;
    Onnx__TensorProto *weight;
    Onnx__TensorProto *bias; /* NULL: none */
    size_t channels;
    size_t outer; /* the weight is [outer, channels, inner] with groups folded into outer */
    size_t inner;
    size_t groups; /* ConvTranspose: output channels are counted group by group */
} host;

static const vqc_value *find(const vqc_graph *graph, const char *name)
{
    return name == NULL || name[0] == '\0' ? NULL : vqc_scope_define(graph, graph->scopes[0], name);
}

/* A float32 constant that only this input reads: it may be changed. */
static Onnx__TensorProto *own_constant(const vqc_graph *graph, const char *name)
{
    const vqc_value *value = find(graph, name);
    Onnx__TensorProto *tensor = value == NULL ? NULL : vqc_value_stored_tensor(value);

    if (tensor == NULL || vqc_value_constant(graph, value) != tensor || value->use_count != 1 ||
        tensor->data_type != VQC_DTYPE_FLOAT) {
        return NULL;
    }
    return tensor;
}

static vqc_status read_floats(const vqc_graph *graph, const char *name, vqc_arena *arena,
                              const float **values, size_t *count)
{
    const vqc_value *value = find(graph, name);
    Onnx__TensorProto *tensor = value == NULL ? NULL : vqc_value_constant(graph, value);

    if (tensor == NULL || tensor->data_type != VQC_DTYPE_FLOAT) {
        return VQC_ERR_MODEL;
    }
    return vqc_tensor_borrow_f32(tensor, arena, values, count, NULL);
}

/* Whether the node is a layer that can take in what follows its output. */
static bool find_host(const vqc_graph *graph, Onnx__NodeProto *node, host *out)
{
    bool transpose = vqc_node_is(node, "ConvTranspose");
    bool gemm = vqc_node_is(node, "Gemm");
    int axis;
    size_t elements;

    memset(out, 0, sizeof *out);
    if ((!transpose && !gemm && !vqc_node_is(node, "Conv")) || node->n_input < 2 ||
        node->n_output != 1) {
        return false;
    }
    out->node = node;
    out->weight = own_constant(graph, node->input[1]);
    if (out->weight == NULL || out->weight->n_dims < 2 ||
        !vqc_tensor_elements(out->weight, &elements) || elements == 0) {
        return false;
    }
    if (gemm && (vqc_node_attr_float(node, "alpha", 1.0f) != 1.0f ||
                 vqc_node_attr_float(node, "beta", 1.0f) != 1.0f || out->weight->n_dims != 2)) {
        return false;
    }
    out->groups = transpose ? (size_t)vqc_node_attr_int(node, "group", 1) : 1;
    axis = transpose || (gemm && vqc_node_attr_int(node, "transB", 0) == 0) ? 1 : 0;
    out->channels = (size_t)out->weight->dims[axis] * out->groups;
    out->outer = axis == 1 ? (size_t)out->weight->dims[0] : 1;
    out->inner = elements / out->outer / (size_t)out->weight->dims[axis];
    if (out->groups == 0 || out->outer % out->groups != 0) {
        return false;
    }
    if (node->n_input > 2 && node->input[2][0] != '\0') {
        out->bias = own_constant(graph, node->input[2]);
        return out->bias != NULL && out->bias->n_dims == 1 &&
               (size_t)out->bias->dims[0] == out->channels;
    }
    return true;
}

/* ---- what follows ---- */

static bool read_norm(const vqc_graph *graph, const Onnx__NodeProto *node, size_t channels,
                      vqc_arena *arena, affine *out)
{
    const float *p[4];
    size_t count;
    double epsilon = (double)vqc_node_attr_float(node, "epsilon", 1e-5f);

    if (!vqc_node_is(node, "BatchNormalization") || node->n_input != 5 || node->n_output != 1 ||
        vqc_node_attr_int(node, "training_mode", 0) != 0 ||
        vqc_node_attr_int(node, "spatial", 1) != 1) {
        return false;
    }
    for (size_t i = 0; i < 4; i++) {
        if (read_floats(graph, node->input[i + 1], arena, &p[i], &count) != VQC_OK ||
            count != channels) {
            return false;
        }
    }
    for (size_t c = 0; c < channels; c++) {
        double scale = (double)vqc_f32_at(p[0], c) / sqrt((double)vqc_f32_at(p[3], c) + epsilon);
        out->scale[c] = scale;
        out->shift[c] = (double)vqc_f32_at(p[1], c) - (double)vqc_f32_at(p[2], c) * scale;
        if (!isfinite(scale) || !isfinite(out->shift[c])) {
            return false;
        }
    }
    return true;
}

/* Whether a constant's dims mean one value per channel of an output of that rank, or one value. */
static bool is_per_channel(const Onnx__TensorProto *tensor, size_t channels, size_t rank)
{
    size_t place = rank - 2; /* axes behind the channel axis */

    for (size_t i = 0; i < tensor->n_dims; i++) {
        size_t from_end = tensor->n_dims - 1 - i;
        if (tensor->dims[i] != 1 && (from_end != place || (size_t)tensor->dims[i] != channels)) {
            return false;
        }
    }
    return tensor->n_dims <= rank;
}

static bool read_scale(const vqc_graph *graph, const Onnx__NodeProto *node, const host *h,
                       const char *output, vqc_arena *arena, affine *out)
{
    bool mul = vqc_node_is(node, "Mul");
    const vqc_value *value;
    Onnx__TensorProto *tensor;
    const float *values;
    size_t count;
    size_t other;

    if ((!mul && !vqc_node_is(node, "Add")) || node->n_input != 2 || node->n_output != 1) {
        return false;
    }
    other = strcmp(node->input[0], output) == 0 ? 1 : 0;
    value = find(graph, node->input[other]);
    tensor = value == NULL ? NULL : vqc_value_constant(graph, value);
    if (tensor == NULL || strcmp(node->input[1 - other], output) != 0 ||
        !is_per_channel(tensor, h->channels, h->weight->n_dims) ||
        read_floats(graph, node->input[other], arena, &values, &count) != VQC_OK ||
        (count != 1 && count != h->channels)) {
        return false;
    }
    for (size_t c = 0; c < h->channels; c++) {
        double v = (double)vqc_f32_at(values, count == 1 ? 0 : c);
        out->scale[c] = mul ? v : 1.0;
        out->shift[c] = mul ? 0.0 : v;
        if (!isfinite(v)) {
            return false;
        }
    }
    return true;
}

/* ---- taking in ---- */

static vqc_status scale_weight(vqc_graph *graph, const host *h, const affine *a, vqc_arena *scratch,
                               vqc_error *error)
{
    const float *old;
    size_t count;
    float *fresh;
    size_t per_group = h->channels / h->groups;
    vqc_status status = vqc_tensor_borrow_f32(h->weight, scratch, &old, &count, error);

    if (status != VQC_OK) {
        return status;
    }
    fresh = vqc_arena_alloc(graph->model->arena, count * sizeof *fresh + 1);
    if (fresh == NULL) {
        return vqc_fail_memory(error, count * sizeof *fresh);
    }
    for (size_t o = 0; o < h->outer; o++) {
        size_t group = o / (h->outer / h->groups);
        for (size_t c = 0; c < per_group; c++) {
            double scale = a->scale[group * per_group + c];
            for (size_t i = 0; i < h->inner; i++) {
                size_t at = (o * per_group + c) * h->inner + i;
                fresh[at] = (float)((double)vqc_f32_at(old, at) * scale);
            }
        }
    }
    return vqc_tensor_set_f32(h->weight, fresh, count, graph->model->arena, error);
}

/* The bias after scaling and shifting; a new initializer where there was none. */
static vqc_status shift_bias(vqc_graph *graph, host *h, const affine *a, vqc_arena *scratch,
                             vqc_error *error)
{
    vqc_arena *arena = graph->model->arena;
    float *fresh = vqc_arena_alloc(arena, h->channels * sizeof *fresh + 1);
    int64_t dims = (int64_t)h->channels;
    const float *old = NULL;
    size_t count;
    char *name;
    vqc_patch *patch;
    vqc_status status = VQC_OK;

    if (fresh == NULL) {
        return vqc_fail_memory(error, h->channels * sizeof *fresh);
    }
    if (h->bias != NULL) {
        status = vqc_tensor_borrow_f32(h->bias, scratch, &old, &count, error);
    }
    for (size_t c = 0; c < h->channels && status == VQC_OK; c++) {
        double b = old == NULL ? 0.0 : (double)vqc_f32_at(old, c);
        fresh[c] = (float)(b * a->scale[c] + a->shift[c]);
    }
    if (status != VQC_OK || h->bias != NULL) {
        return status == VQC_OK ? vqc_tensor_set_f32(h->bias, fresh, h->channels, arena, error)
                                : status;
    }
    name = vqc_graph_fresh_name(graph, "bias");
    patch = vqc_patch_create(graph);
    if (name == NULL || patch == NULL) {
        return vqc_fail_memory(error, 0);
    }
    status = vqc_patch_add_constant(patch, graph->scopes[0],
                                    vqc_tensor_create(arena, name, VQC_DTYPE_FLOAT, &dims, 1, fresh,
                                                      h->channels * sizeof *fresh),
                                    error);
    if (status == VQC_OK) {
        status = vqc_patch_apply(patch, error);
    }
    if (status == VQC_OK && !vqc_node_set_input(arena, h->node, 2, name)) {
        status = vqc_fail_memory(error, 0);
    }
    return status;
}

/* Whether every product stays in float32. */
static bool stays_finite(const host *h, const affine *a, vqc_arena *scratch)
{
    const float *w;
    size_t count;
    double most = 0.0;

    if (vqc_tensor_borrow_f32(h->weight, scratch, &w, &count, NULL) != VQC_OK) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)vqc_f32_at(w, i)));
    }
    for (size_t c = 0; c < h->channels; c++) {
        if (!(fabs(a->scale[c]) * most < 1e37) || !(fabs(a->shift[c]) < 1e37)) {
            return false;
        }
    }
    return true;
}

/* Folds what reads the output of nodes[index] alone; *kind: 0 nothing, 1 norm, 2 scale. */
static vqc_status fold_one(vqc_graph *graph, size_t index, vqc_arena *scratch, int *kind,
                           vqc_error *error)
{
    size_t count;
    Onnx__NodeProto **nodes = vqc_scope_nodes(graph->scopes[0], &count);
    const vqc_value *output;
    const vqc_use *use;
    host h;
    affine a;
    vqc_status status;

    *kind = 0;
    if (!find_host(graph, nodes[index], &h)) {
        return VQC_OK;
    }
    output = find(graph, h.node->output[0]);
    use = output != NULL && output->use_count == 1 ? &output->uses[0] : NULL;
    if (use == NULL || use->node == NULL || use->scope != graph->scopes[0]) {
        return VQC_OK;
    }
    a.channels = h.channels;
    a.scale = vqc_arena_calloc(scratch, h.channels, sizeof *a.scale);
    a.shift = vqc_arena_calloc(scratch, h.channels, sizeof *a.shift);
    if (a.scale == NULL || a.shift == NULL) {
        return vqc_fail_memory(error, h.channels * sizeof *a.scale);
    }
    if (use->input == 0 && read_norm(graph, use->node, h.channels, scratch, &a)) {
        *kind = 1;
    } else if (read_scale(graph, use->node, &h, output->name, scratch, &a)) {
        *kind = 2;
    }
    if (*kind == 0 || !stays_finite(&h, &a, scratch)) {
        *kind = 0;
        return VQC_OK;
    }
    status = scale_weight(graph, &h, &a, scratch, error);
    if (status == VQC_OK) {
        status = shift_bias(graph, &h, &a, scratch, error);
    }
    if (status == VQC_OK) {
        nodes = vqc_scope_nodes(graph->scopes[0], &count); /* a new Constant may have moved them */
        for (size_t i = 0; i < count; i++) {
            if (nodes[i] == use->node) {
                h.node->output[0] = nodes[i]->output[0];
                nodes[i] = NULL;
                break;
            }
        }
        vqc_fold_compact(graph);
    }
    return status;
}

vqc_status vqc_fold_channels(vqc_graph *graph, size_t *norms, size_t *scales, vqc_error *error)
{
    size_t count;
    vqc_status status = VQC_OK;

    *norms = *scales = 0;
    (void)vqc_scope_nodes(graph->scopes[0], &count);
    for (size_t i = 0; i < count && status == VQC_OK;) {
        vqc_arena *scratch = vqc_arena_create();
        int kind = 0;

        status =
            scratch == NULL ? vqc_fail_memory(error, 0) : fold_one(graph, i, scratch, &kind, error);
        vqc_arena_destroy(&scratch);
        *norms += kind == 1 ? 1 : 0;
        *scales += kind == 2 ? 1 : 0;
        i += kind == 0 ? 1 : 0; /* else there may be more behind the same layer */
        (void)vqc_scope_nodes(graph->scopes[0], &count);
    }
    return status;
}
