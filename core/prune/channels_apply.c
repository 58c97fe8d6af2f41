#include "core/prune/channels_apply.h"

#include <string.h>

#include "core/tensor.h"

/* ---- the copy ---- */

static void *copy_of(vqc_arena *arena, const void *source, size_t count, size_t width)
{
    void *copy = vqc_arena_calloc(arena, count + 1, width);

    if (copy != NULL && count > 0) {
        memcpy(copy, source, count * width);
    }
    return copy;
}

static Onnx__NodeProto *copy_node(const Onnx__NodeProto *node, vqc_arena *arena)
{
    Onnx__NodeProto *copy = copy_of(arena, node, 1, sizeof *node);

    if (copy == NULL) {
        return NULL;
    }
    copy->input = copy_of(arena, node->input, node->n_input, sizeof *node->input);
    copy->output = copy_of(arena, node->output, node->n_output, sizeof *node->output);
    copy->attribute = copy_of(arena, node->attribute, node->n_attribute, sizeof *node->attribute);
    return copy->input == NULL || copy->output == NULL || copy->attribute == NULL ? NULL : copy;
}

vqc_status vqc_channels_copy(const vqc_model *model, vqc_arena *arena, vqc_model *out,
                             vqc_error *error)
{
    const Onnx__GraphProto *source = model->proto->graph;
    Onnx__ModelProto *proto = copy_of(arena, model->proto, 1, sizeof *proto);
    Onnx__GraphProto *graph = copy_of(arena, source, 1, sizeof *graph);
    bool complete = proto != NULL && graph != NULL;

    *out = *model;
    out->arena = arena;
    out->proto = proto;
    out->release = NULL;
    out->discard = NULL;
    if (complete) {
        proto->graph = graph;
        graph->node = copy_of(arena, source->node, source->n_node, sizeof *source->node);
        graph->initializer =
            copy_of(arena, source->initializer, source->n_initializer, sizeof *source->initializer);
        graph->value_info =
            copy_of(arena, source->value_info, source->n_value_info, sizeof *source->value_info);
        graph->input = copy_of(arena, source->input, source->n_input, sizeof *source->input);
        complete = graph->node != NULL && graph->initializer != NULL && graph->value_info != NULL &&
                   graph->input != NULL;
    }
    for (size_t i = 0; i < source->n_node && complete; i++) {
        graph->node[i] = copy_node(source->node[i], arena);
        complete = graph->node[i] != NULL;
    }
    return complete ? VQC_OK : vqc_fail_memory(error, source->n_node * sizeof(Onnx__NodeProto));
}

/* ---- constants ---- */

typedef struct cutting {
    vqc_trace *trace;
    const bool *removed;
    vqc_model *copy;
    vqc_arena *arena;
    vqc_error *error;
} cutting;

static bool is_cut(const cutting *c, const vqc_trace_labels *labels)
{
    return labels != NULL && vqc_trace_kept(c->trace, labels, c->removed) < labels->count;
}

/* Puts another tensor in the place of a constant of the copy: by its name. */
static vqc_status replace_constant(cutting *c, const char *name, Onnx__TensorProto *tensor)
{
    Onnx__GraphProto *graph = c->copy->proto->graph;

    for (size_t i = 0; i < graph->n_initializer; i++) {
        if (strcmp(graph->initializer[i]->name, name) == 0) {
            graph->initializer[i] = tensor;
            return VQC_OK;
        }
    }
    for (size_t i = 0; i < graph->n_node; i++) {
        Onnx__NodeProto *node = graph->node[i];
        if (node->n_output == 1 && vqc_node_is(node, "Constant") &&
            strcmp(node->output[0], name) == 0) {
            vqc_node_remove_attr(node, "value");
            return vqc_node_add_tensor(c->copy->arena, node, "value", tensor)
                       ? VQC_OK
                       : vqc_fail_memory(c->error, 0);
        }
    }
    return vqc_fail(c->error, VQC_ERR_INTERNAL, "constant \"%.200s\" was not found", name);
}

static Onnx__TensorProto *find_constant(const Onnx__GraphProto *graph, const char *name)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        if (strcmp(graph->initializer[i]->name, name) == 0) {
            return graph->initializer[i];
        }
    }
    for (size_t i = 0; i < graph->n_node; i++) {
        const Onnx__NodeProto *node = graph->node[i];
        if (node->n_output == 1 && vqc_node_is(node, "Constant") &&
            strcmp(node->output[0], name) == 0) {
            const Onnx__AttributeProto *attr = vqc_node_attr(node, "value");
            return attr == NULL ? NULL : attr->t;
        }
    }
    return NULL;
}

/* raw without the removed indices of one axis; dims[axis] becomes what is left. */
static const void *cut_axis(cutting *c, const void *raw, int64_t *dims, size_t rank, size_t axis,
                            size_t width, const vqc_trace_labels *labels)
{
    size_t kept = vqc_trace_kept(c->trace, labels, c->removed);
    size_t outer = 1;
    size_t inner = width;
    unsigned char *out;
    unsigned char *to;

    for (size_t a = 0; a < rank; a++) {
        if (a < axis) {
            outer *= (size_t)dims[a];
        } else if (a > axis) {
            inner *= (size_t)dims[a];
        }
    }
    to = out = vqc_arena_alloc(c->copy->arena, outer * kept * inner + 1);
    for (size_t o = 0; o < outer && out != NULL; o++) {
        for (size_t i = 0; i < labels->count; i++) {
            if (!c->removed[vqc_trace_find(c->trace, labels->atoms[i])]) {
                memcpy(to, (const unsigned char *)raw + (o * labels->count + i) * inner, inner);
                to += inner;
            }
        }
    }
    dims[axis] = (int64_t)kept;
    return out;
}

static vqc_status cut_constant(cutting *c, const vqc_trace_value *value, const float *refit)
{
    int64_t dims[VQC_EXEC_MAX_RANK];
    const void *raw = refit;
    size_t bytes;
    size_t elements = 1;
    size_t width = refit != NULL ? sizeof *refit : vqc_exec_width(value->tensor->data_type);
    Onnx__TensorProto *tensor;
    vqc_status status = VQC_OK;

    memcpy(dims, value->tensor->dims, (size_t)value->rank * sizeof *dims);
    if (refit == NULL) {
        status = vqc_tensor_borrow_raw(value->tensor, c->arena, &raw, &bytes, c->error);
    }
    for (int a = 0; a < value->rank && status == VQC_OK; a++) {
        if (is_cut(c, value->labels[a])) {
            raw = cut_axis(c, raw, dims, (size_t)value->rank, (size_t)a, width, value->labels[a]);
            if (raw == NULL) {
                status = vqc_fail_memory(c->error, width);
            }
        }
    }
    if (status != VQC_OK) {
        return status;
    }
    for (int a = 0; a < value->rank; a++) {
        elements *= (size_t)dims[a];
    }
    /* the tensor of a Constant node may have no name */
    const char *name = value->tensor->name != NULL ? value->tensor->name : value->value->name;
    if (raw == refit && refit != NULL) { /* nothing was cut, and so nothing copied */
        raw = copy_of(c->copy->arena, refit, elements, width);
        if (raw == NULL) {
            return vqc_fail_memory(c->error, elements * width);
        }
    }
    tensor = vqc_tensor_create(c->copy->arena, name, (vqc_dtype)value->tensor->data_type, dims,
                               (size_t)value->rank, raw, elements * width);
    return tensor == NULL ? vqc_fail_memory(c->error, elements)
                          : replace_constant(c, value->value->name, tensor);
}

static vqc_status cut_constants(cutting *c, const vqc_channels_refit *refits, size_t refit_count)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < c->trace->value_count && status == VQC_OK; i++) {
        const vqc_trace_value *value = &c->trace->values[i];
        const float *refit = NULL;
        bool any = false;

        if (!value->is_constant) {
            continue;
        }
        for (size_t k = 0; k < refit_count; k++) {
            refit = refits[k].value == i ? refits[k].weights : refit;
        }
        for (int a = 0; a < value->rank; a++) {
            any = any || is_cut(c, value->labels[a]);
        }
        if (any || refit != NULL) {
            status = cut_constant(c, value, refit);
        }
    }
    return status;
}

/* ---- nodes that count channels ---- */

/* Numbers of an integer constant of the copy; NULL: it is none. */
static int64_t *read_ints(cutting *c, const char *name, size_t *count, int32_t *dtype)
{
    const Onnx__TensorProto *tensor = find_constant(c->copy->proto->graph, name);
    const void *raw;
    size_t bytes;
    int64_t *values;

    if (tensor == NULL || !vqc_tensor_elements(tensor, count) ||
        vqc_tensor_borrow_raw(tensor, c->arena, &raw, &bytes, NULL) != VQC_OK) {
        return NULL;
    }
    *dtype = tensor->data_type;
    values = vqc_arena_calloc(c->arena, *count + 1, sizeof *values);
    for (size_t i = 0; i < *count && values != NULL; i++) {
        if (*dtype == VQC_DTYPE_INT32) {
            int32_t narrow;
            memcpy(&narrow, (const char *)raw + i * sizeof narrow, sizeof narrow);
            values[i] = narrow;
        } else {
            memcpy(&values[i], (const char *)raw + i * sizeof *values, sizeof *values);
        }
    }
    return values;
}

static vqc_status add_initializer(cutting *c, Onnx__TensorProto *tensor)
{
    Onnx__GraphProto *graph = c->copy->proto->graph;
    Onnx__TensorProto **more =
        vqc_arena_calloc(c->copy->arena, graph->n_initializer + 2, sizeof *more);

    if (more == NULL) {
        return vqc_fail_memory(c->error, graph->n_initializer * sizeof *more);
    }
    if (graph->n_initializer > 0) {
        memcpy(more, graph->initializer, graph->n_initializer * sizeof *more);
    }
    more[graph->n_initializer++] = tensor;
    graph->initializer = more;
    return VQC_OK;
}

/* A Constant node in front of all others: below IR 4 initializers have to be graph inputs. */
static vqc_status add_constant_node(cutting *c, Onnx__TensorProto *tensor)
{
    Onnx__GraphProto *graph = c->copy->proto->graph;
    vqc_arena *arena = c->copy->arena;
    const char *output = tensor->name;
    Onnx__NodeProto *node = vqc_node_create(arena, "Constant", "", output, NULL, 0, &output, 1);
    Onnx__NodeProto **more = vqc_arena_calloc(arena, graph->n_node + 2, sizeof *more);

    if (node == NULL || more == NULL || !vqc_node_add_tensor(arena, node, "value", tensor)) {
        return vqc_fail_memory(c->error, graph->n_node * sizeof *more);
    }
    more[0] = node;
    memcpy(more + 1, graph->node, graph->n_node * sizeof *more);
    graph->node = more;
    graph->n_node++;
    return VQC_OK;
}

/* Makes input `input` of the node read these numbers; in place where nobody else reads it. */
static vqc_status set_ints(cutting *c, Onnx__NodeProto *node, size_t input, int32_t dtype,
                           const int64_t *values, size_t count)
{
    const char *name = input < node->n_input ? node->input[input] : "";
    const vqc_graph *graph = c->trace->graph;
    const vqc_value *value =
        name[0] == '\0' ? NULL : vqc_scope_define(graph, graph->scopes[0], name);
    bool in_place = value != NULL && value->use_count == 1 &&
                    find_constant(c->copy->proto->graph, name) != NULL;
    int64_t dims = (int64_t)count;
    size_t width = dtype == VQC_DTYPE_INT32 ? sizeof(int32_t) : sizeof(int64_t);
    unsigned char *raw = vqc_arena_calloc(c->copy->arena, count + 1, width);
    Onnx__TensorProto *tensor;
    vqc_status status;

    name = in_place ? name : vqc_graph_fresh_name((vqc_graph *)(uintptr_t)graph, "extents");
    if (raw == NULL || name == NULL) {
        return vqc_fail_memory(c->error, count * width);
    }
    for (size_t i = 0; i < count; i++) {
        int32_t narrow = (int32_t)values[i];
        memcpy(raw + i * width, width == sizeof narrow ? (const void *)&narrow : &values[i], width);
    }
    tensor =
        vqc_tensor_create(c->copy->arena, name, (vqc_dtype)dtype, &dims, 1, raw, count * width);
    if (tensor == NULL) {
        return vqc_fail_memory(c->error, count * width);
    }
    if (in_place) {
        return replace_constant(c, name, tensor);
    }
    status =
        c->copy->proto->ir_version < 4 ? add_constant_node(c, tensor) : add_initializer(c, tensor);
    if (status == VQC_OK && !vqc_node_set_input(c->copy->arena, node, input, name)) {
        status = vqc_fail_memory(c->error, 0);
    }
    return status;
}

static vqc_status edit_group(cutting *c, const vqc_trace_edit *edit, Onnx__NodeProto *node)
{
    vqc_node_remove_attr(node, "group");
    return vqc_node_add_int(c->copy->arena, node, "group",
                            (int64_t)vqc_trace_kept(c->trace, edit->labels[0], c->removed))
               ? VQC_OK
               : vqc_fail_memory(c->error, 0);
}

static vqc_status edit_reshape(cutting *c, const vqc_trace_edit *edit, Onnx__NodeProto *node)
{
    int64_t values[VQC_EXEC_MAX_RANK];

    for (size_t b = 0; b < edit->count; b++) {
        values[b] = edit->labels[b] != NULL
                        ? (int64_t)vqc_trace_kept(c->trace, edit->labels[b], c->removed)
                    : edit->fixed[b] == VQC_TRACE_RESHAPE_COPY ? 0
                    : edit->fixed[b] == VQC_TRACE_RESHAPE_REST ? -1
                                                               : edit->fixed[b];
    }
    return set_ints(c, node, edit->input, VQC_DTYPE_INT64, values, edit->count);
}

static vqc_status edit_split(cutting *c, const vqc_trace_edit *edit, Onnx__NodeProto *node)
{
    int64_t *sizes = vqc_arena_calloc(c->arena, edit->count + 1, sizeof *sizes);

    if (sizes == NULL) {
        return vqc_fail_memory(c->error, edit->count * sizeof *sizes);
    }
    for (size_t o = 0; o < edit->count; o++) {
        sizes[o] = (int64_t)vqc_trace_kept(c->trace, edit->labels[o], c->removed);
    }
    vqc_node_remove_attr(node, "num_outputs");
    if (c->trace->opset >= 13) {
        return set_ints(c, node, 1, VQC_DTYPE_INT64, sizes, edit->count);
    }
    vqc_node_remove_attr(node, "split");
    return vqc_node_add_ints(c->copy->arena, node, "split", sizes, edit->count)
               ? VQC_OK
               : vqc_fail_memory(c->error, 0);
}

/* How many of the first `count` indices stay. */
static int64_t kept_before(const cutting *c, const vqc_trace_labels *labels, int64_t count)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < count; i++) {
        kept += c->removed[vqc_trace_find(c->trace, labels->atoms[i])] ? 0 : 1;
    }
    return kept;
}

static vqc_status edit_slice(cutting *c, const vqc_trace_edit *edit, Onnx__NodeProto *node)
{
    static const char *const names[2] = {"starts", "ends"};
    vqc_status status = VQC_OK;

    for (size_t k = 0; k < 2 && status == VQC_OK; k++) {
        int64_t bound = kept_before(c, edit->labels[0], k == 0 ? edit->start : edit->end);
        const Onnx__AttributeProto *attr = vqc_node_attr(node, names[k]);
        size_t count = 0;
        int32_t dtype = VQC_DTYPE_INT64;
        int64_t *values = attr != NULL ? copy_of(c->arena, attr->ints, attr->n_ints, sizeof *values)
                                       : read_ints(c, node->input[k + 1], &count, &dtype);
        count = attr != NULL ? attr->n_ints : count;
        if (values == NULL || edit->slot >= count) {
            return vqc_fail(c->error, VQC_ERR_INTERNAL, "bounds of a Slice were not found");
        }
        values[edit->slot] = bound;
        if (attr == NULL) {
            status = set_ints(c, node, k + 1, dtype, values, count);
        } else {
            vqc_node_remove_attr(node, names[k]);
            status = vqc_node_add_ints(c->copy->arena, node, names[k], values, count)
                         ? VQC_OK
                         : vqc_fail_memory(c->error, 0);
        }
    }
    return status;
}

static vqc_status edit_nodes(cutting *c)
{
    size_t node_count = c->copy->proto->graph->n_node;
    Onnx__NodeProto **nodes =
        copy_of(c->arena, c->copy->proto->graph->node, node_count, sizeof *nodes);
    vqc_status status = nodes == NULL ? vqc_fail_memory(c->error, node_count) : VQC_OK;

    for (size_t e = 0; e < c->trace->edit_count && status == VQC_OK; e++) {
        const vqc_trace_edit *edit = &c->trace->edits[e];
        Onnx__NodeProto *node = nodes[edit->node];
        bool any = false;

        for (size_t i = 0; i < edit->count; i++) {
            any = any || is_cut(c, edit->labels[i]);
        }
        if (!any) {
            continue;
        }
        switch (edit->kind) {
        case VQC_EDIT_GROUP:
            status = edit_group(c, edit, node);
            break;
        case VQC_EDIT_RESHAPE:
            status = edit_reshape(c, edit, node);
            break;
        case VQC_EDIT_SPLIT:
            status = edit_split(c, edit, node);
            break;
        case VQC_EDIT_SLICE:
            status = edit_slice(c, edit, node);
            break;
        }
    }
    return status;
}

/* ---- stated shapes ---- */

/* The same type with other extents. */
static Onnx__ValueInfoProto *resize_info(const cutting *c, const Onnx__ValueInfoProto *info,
                                         const vqc_trace_value *value)
{
    vqc_arena *arena = c->copy->arena;
    Onnx__ValueInfoProto *out = copy_of(arena, info, 1, sizeof *info);
    Onnx__TypeProto *type = copy_of(arena, info->type, 1, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = copy_of(arena, info->type->tensor_type, 1, sizeof *tensor);
    Onnx__TensorShapeProto *shape =
        copy_of(arena, info->type->tensor_type->shape, 1, sizeof *shape);

    if (out == NULL || type == NULL || tensor == NULL || shape == NULL) {
        return NULL;
    }
    shape->dim = copy_of(arena, shape->dim, shape->n_dim, sizeof(void *));
    for (size_t a = 0; shape->dim != NULL && a < shape->n_dim && a < (size_t)value->rank; a++) {
        if (is_cut(c, value->labels[a])) {
            shape->dim[a] = copy_of(arena, shape->dim[a], 1, sizeof **shape->dim);
            if (shape->dim[a] == NULL) {
                return NULL;
            }
            shape->dim[a]->dim_value =
                (int64_t)vqc_trace_kept(c->trace, value->labels[a], c->removed);
        }
    }
    out->type = type;
    type->tensor_type = tensor;
    tensor->shape = shape;
    return shape->dim == NULL ? NULL : out;
}

/* Stated shapes of inner values are dropped where they changed; those of constants that are listed
 * as inputs follow. */
static vqc_status restate_shapes(cutting *c)
{
    Onnx__GraphProto *graph = c->copy->proto->graph;
    size_t kept = 0;

    for (size_t list = 0; list < 2; list++) {
        size_t count = list == 0 ? graph->n_value_info : graph->n_input;
        for (size_t i = 0; i < count; i++) {
            Onnx__ValueInfoProto *info = list == 0 ? graph->value_info[i] : graph->input[i];
            size_t index =
                vqc_trace_index(c->trace, vqc_scope_define(c->trace->graph,
                                                           c->trace->graph->scopes[0], info->name));
            const vqc_trace_value *value = index == SIZE_MAX ? NULL : &c->trace->values[index];
            bool any = false;

            for (int a = 0; value != NULL && a < value->rank; a++) {
                any = any || is_cut(c, value->labels[a]);
            }
            if (list == 0 && !any) {
                graph->value_info[kept++] = info;
            }
            if (list == 1 && any && info->type != NULL && info->type->tensor_type != NULL &&
                info->type->tensor_type->shape != NULL) {
                graph->input[i] = resize_info(c, info, value);
                if (graph->input[i] == NULL) {
                    return vqc_fail_memory(c->error, 0);
                }
            }
        }
    }
    graph->n_value_info = kept;
    return VQC_OK;
}

vqc_status vqc_channels_cut(vqc_trace *trace, const bool *removed, const vqc_channels_refit *refits,
                            size_t refit_count, vqc_model *copy, vqc_error *error)
{
    cutting c = {.trace = trace, .removed = removed, .copy = copy, .error = error};
    vqc_status status;

    c.arena = vqc_arena_create();
    if (c.arena == NULL) {
        return vqc_fail_memory(error, 0);
    }
    status = cut_constants(&c, refits, refit_count);
    if (status == VQC_OK) {
        status = edit_nodes(&c);
    }
    if (status == VQC_OK) {
        status = restate_shapes(&c);
    }
    vqc_arena_destroy(&c.arena);
    return status;
}
