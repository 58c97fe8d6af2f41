#include "core/patch.h"

#include <string.h>

#include "core/tensor.h"

/* A small constant that is in the model, or (patch != NULL) will be once that patch is applied. */
struct vqc_shared_constant {
    struct vqc_shared_constant *next;          /* of the same bucket, newest first */
    struct vqc_shared_constant *next_in_patch; /* added by the same patch */
    const vqc_patch *patch;
    const vqc_scope *scope;
    const Onnx__TensorProto *tensor;
    const char *name;
};

typedef enum edit_kind { ADD_INITIALIZER, ADD_FRONT_NODE, REPLACE_NODE, REMOVE_CONSTANT } edit_kind;

typedef struct edit {
    struct edit *next;
    edit_kind kind;
    vqc_scope *scope;
    Onnx__TensorProto *tensor;   /* ADD_INITIALIZER */
    Onnx__ValueInfoProto *input; /* ADD_INITIALIZER below IR 4: listed as graph input too */
    Onnx__NodeProto *node;       /* ADD_FRONT_NODE, REPLACE_NODE */
    Onnx__NodeProto **nodes;     /* REPLACE_NODE: [count] put in its place */
    size_t count;
    bool keep;        /* REPLACE_NODE: the node itself stays, behind the new ones */
    vqc_value *value; /* REMOVE_CONSTANT */
} edit;

typedef struct opset_need {
    struct opset_need *next;
    const char *domain;
    int64_t version;
} opset_need;

struct vqc_patch {
    vqc_graph *graph;
    edit *first;
    edit **last;
    opset_need *opsets;
    int64_t ir_version;
    uint64_t fresh;                     /* the graph's name counter before this patch */
    struct vqc_shared_constant *shared; /* those that it adds, newest first */
};

vqc_patch *vqc_patch_create(vqc_graph *graph)
{
    vqc_patch *patch = vqc_arena_calloc(graph->arena, 1, sizeof *patch);
    if (patch != NULL) {
        patch->graph = graph;
        patch->last = &patch->first;
        patch->fresh = graph->fresh;
    }
    return patch;
}

/* Bytes of one embedded message with its one-byte tag and its length prefix. Every field that a
 * patch touches has a number below 16. */
static size_t embedded_bytes(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    size_t prefix = 1;
    for (size_t rest = size; rest >= 128; rest >>= 7) {
        prefix++;
    }
    return 1 + prefix + size;
}

static edit *add_edit(vqc_patch *patch, edit_kind kind, vqc_scope *scope)
{
    edit *item = vqc_arena_calloc(patch->graph->arena, 1, sizeof *item);
    if (item != NULL) {
        item->kind = kind;
        item->scope = scope;
        *patch->last = item;
        patch->last = &item->next;
    }
    return item;
}

static vqc_status no_memory(vqc_error *error)
{
    return vqc_fail(error, VQC_ERR_INTERNAL, "out of memory while editing the model");
}

vqc_status vqc_patch_prepend_node(vqc_patch *patch, vqc_scope *scope, Onnx__NodeProto *node,
                                  vqc_error *error)
{
    edit *item = node == NULL ? NULL : add_edit(patch, ADD_FRONT_NODE, scope);
    if (item == NULL) {
        return no_memory(error);
    }
    item->node = node;
    return VQC_OK;
}

/*
 * Before IR 4 every initializer is listed as a graph input as well, and before opset 9 a Constant
 * node holds floating point only. Such constants go to the main graph: bodies have no inputs to
 * list them in.
 */
static vqc_status add_listed_initializer(vqc_patch *patch, Onnx__TensorProto *tensor,
                                         vqc_error *error)
{
    vqc_arena *arena = patch->graph->model->arena;
    edit *item = add_edit(patch, ADD_INITIALIZER, patch->graph->scopes[0]);
    Onnx__ValueInfoProto *info = vqc_arena_alloc(arena, sizeof *info);
    Onnx__TypeProto *type = vqc_arena_alloc(arena, sizeof *type);
    Onnx__TypeProto__Tensor *tensor_type = vqc_arena_alloc(arena, sizeof *tensor_type);
    Onnx__TensorShapeProto *shape = vqc_arena_alloc(arena, sizeof *shape);

    if (item == NULL || info == NULL || type == NULL || tensor_type == NULL || shape == NULL) {
        return no_memory(error);
    }
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor_type);
    onnx__tensor_shape_proto__init(shape);
    shape->dim = vqc_arena_calloc(arena, tensor->n_dims + 1, sizeof *shape->dim);
    if (shape->dim == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < tensor->n_dims; i++) {
        Onnx__TensorShapeProto__Dimension *dim = vqc_arena_alloc(arena, sizeof *dim);
        if (dim == NULL) {
            return no_memory(error);
        }
        onnx__tensor_shape_proto__dimension__init(dim);
        dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        dim->dim_value = tensor->dims[i];
        shape->dim[shape->n_dim++] = dim;
    }
    tensor_type->has_elem_type = 1;
    tensor_type->elem_type = tensor->data_type;
    tensor_type->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor_type;
    info->name = tensor->name;
    info->type = type;
    item->tensor = tensor;
    item->input = info;
    return VQC_OK;
}

vqc_status vqc_patch_add_constant(vqc_patch *patch, vqc_scope *scope, Onnx__TensorProto *tensor,
                                  vqc_error *error)
{
    vqc_arena *arena = patch->graph->model->arena;
    edit *item;

    if (tensor == NULL) {
        return no_memory(error);
    }
    if (patch->graph->model->proto->ir_version < 4 && scope->opset < 9) {
        return add_listed_initializer(patch, tensor, error);
    }
    if (scope->graph == NULL || patch->graph->model->proto->ir_version < 4) {
        const char *outputs[1] = {tensor->name};
        Onnx__NodeProto *node = vqc_node_create(arena, "Constant", "", NULL, NULL, 0, outputs, 1);
        if (node == NULL || !vqc_node_add_tensor(arena, node, "value", tensor)) {
            return no_memory(error);
        }
        tensor->name = (char *)(uintptr_t)protobuf_c_empty_string;
        return vqc_patch_prepend_node(patch, scope, node, error);
    }
    item = add_edit(patch, ADD_INITIALIZER, scope);
    if (item == NULL) {
        return no_memory(error);
    }
    item->tensor = tensor;
    return VQC_OK;
}

enum { SHARED_BUCKETS = 4096 };

/* The list in which a constant of this content, defined in this scope, is or would be. */
static struct vqc_shared_constant **shared_bucket(const vqc_graph *graph, const vqc_scope *scope,
                                                  const void *raw, size_t raw_bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ scope->index; /* FNV-1a */
    const uint8_t *bytes = raw;

    for (size_t i = 0; i < raw_bytes; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return &graph->shared[(hash >> 32) % SHARED_BUCKETS];
}

/* An equal constant of this scope or an enclosing one, or NULL. */
static const char *find_shared(const vqc_patch *patch, const vqc_scope *scope, vqc_dtype dtype,
                               const int64_t *dims, size_t rank, const void *raw, size_t raw_bytes)
{
    for (; scope != NULL; scope = scope->parent) {
        const struct vqc_shared_constant *item =
            *shared_bucket(patch->graph, scope, raw, raw_bytes);
        for (; item != NULL; item = item->next) {
            const Onnx__TensorProto *have = item->tensor;
            if (item->scope == scope && (item->patch == NULL || item->patch == patch) &&
                have->data_type == (int32_t)dtype && have->n_dims == rank &&
                have->raw_data.len == raw_bytes &&
                (rank == 0 || memcmp(have->dims, dims, rank * sizeof *dims) == 0) &&
                memcmp(have->raw_data.data, raw, raw_bytes) == 0) {
                return item->name;
            }
        }
    }
    return NULL;
}

const char *vqc_patch_shared_constant(vqc_patch *patch, vqc_scope *scope, const char *hint,
                                      vqc_dtype dtype, const int64_t *dims, size_t rank,
                                      const void *raw, size_t raw_bytes)
{
    vqc_graph *graph = patch->graph;
    vqc_arena *arena = graph->model->arena;
    struct vqc_shared_constant **bucket;
    struct vqc_shared_constant *item;
    Onnx__TensorProto *tensor;
    void *copy;
    const char *found;
    char *name;

    if (graph->shared == NULL) {
        graph->shared = vqc_arena_calloc(graph->arena, SHARED_BUCKETS, sizeof(item));
        if (graph->shared == NULL) {
            return NULL;
        }
    }
    found = find_shared(patch, scope, dtype, dims, rank, raw, raw_bytes);
    if (found != NULL) {
        return found;
    }
    name = vqc_graph_fresh_name(graph, hint);
    copy = vqc_arena_alloc(arena, raw_bytes);
    item = vqc_arena_calloc(graph->arena, 1, sizeof *item);
    if (name == NULL || copy == NULL || item == NULL) {
        return NULL;
    }
    if (raw_bytes > 0) {
        memcpy(copy, raw, raw_bytes);
    }
    tensor = vqc_tensor_create(arena, name, dtype, dims, rank, copy, raw_bytes);
    if (tensor == NULL || vqc_patch_add_constant(patch, scope, tensor, NULL) != VQC_OK) {
        return NULL;
    }
    item->patch = patch;
    item->scope = scope;
    item->tensor = tensor;
    item->name = name;
    bucket = shared_bucket(graph, scope, raw, raw_bytes);
    item->next = *bucket;
    *bucket = item;
    item->next_in_patch = patch->shared;
    patch->shared = item;
    return name;
}

static vqc_status add_replacement(vqc_patch *patch, vqc_scope *scope, Onnx__NodeProto *node,
                                  Onnx__NodeProto *const *nodes, size_t count, bool keep,
                                  vqc_error *error)
{
    edit *item = add_edit(patch, REPLACE_NODE, scope);
    if (item == NULL) {
        return no_memory(error);
    }
    item->node = node;
    item->keep = keep;
    item->count = count;
    item->nodes = vqc_arena_calloc(patch->graph->arena, count + 1, sizeof(Onnx__NodeProto *));
    if (item->nodes == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] == NULL) {
            return no_memory(error);
        }
        item->nodes[i] = nodes[i];
    }
    return VQC_OK;
}

vqc_status vqc_patch_replace_node(vqc_patch *patch, vqc_scope *scope, Onnx__NodeProto *node,
                                  Onnx__NodeProto *const *replacement, size_t count,
                                  vqc_error *error)
{
    return add_replacement(patch, scope, node, replacement, count, false, error);
}

vqc_status vqc_patch_insert_before(vqc_patch *patch, vqc_scope *scope, Onnx__NodeProto *node,
                                   Onnx__NodeProto *const *nodes, size_t count, vqc_error *error)
{
    return add_replacement(patch, scope, node, nodes, count, true, error);
}

vqc_status vqc_patch_remove_constant(vqc_patch *patch, vqc_value *value, vqc_error *error)
{
    edit *item;

    if (value->initializer == NULL) {
        return vqc_patch_replace_node(patch, value->scope, value->producer, NULL, 0, error);
    }
    item = add_edit(patch, REMOVE_CONSTANT, value->scope);
    if (item == NULL) {
        return no_memory(error);
    }
    item->value = value;
    return VQC_OK;
}

vqc_status vqc_patch_need_opset(vqc_patch *patch, const char *domain, int64_t version,
                                vqc_error *error)
{
    opset_need *need = vqc_arena_calloc(patch->graph->arena, 1, sizeof *need);
    if (need == NULL) {
        return no_memory(error);
    }
    need->domain = domain;
    need->version = version;
    need->next = patch->opsets;
    patch->opsets = need;
    return VQC_OK;
}

void vqc_patch_need_ir(vqc_patch *patch, int64_t ir_version)
{
    if (ir_version > patch->ir_version) {
        patch->ir_version = ir_version;
    }
}

size_t vqc_patch_added_bytes(const vqc_patch *patch)
{
    size_t bytes = 0;

    for (const edit *item = patch->first; item != NULL; item = item->next) {
        if (item->input != NULL) {
            bytes += embedded_bytes(&item->input->base);
        }
        if (item->kind == ADD_INITIALIZER) {
            bytes += embedded_bytes(&item->tensor->base);
        } else if (item->kind == ADD_FRONT_NODE) {
            bytes += embedded_bytes(&item->node->base);
        }
        for (size_t i = 0; i < item->count; i++) {
            bytes += embedded_bytes(&item->nodes[i]->base);
        }
    }
    return bytes;
}

size_t vqc_patch_removed_bytes(const vqc_patch *patch)
{
    size_t bytes = 0;

    for (const edit *item = patch->first; item != NULL; item = item->next) {
        if (item->kind == REPLACE_NODE && !item->keep) {
            bytes += embedded_bytes(&item->node->base);
        } else if (item->kind == REMOVE_CONSTANT) {
            bytes += embedded_bytes(&item->value->initializer->base);
            if (item->value->graph_input != NULL) {
                bytes += embedded_bytes(&item->value->graph_input->base);
            }
        }
    }
    return bytes;
}

void vqc_patch_drop(vqc_patch *patch)
{
    for (const struct vqc_shared_constant *item = patch->shared; item != NULL;
         item = item->next_in_patch) {
        struct vqc_shared_constant **link = shared_bucket(
            patch->graph, item->scope, item->tensor->raw_data.data, item->tensor->raw_data.len);
        while (*link != item) {
            link = &(*link)->next;
        }
        *link = item->next;
    }
    patch->shared = NULL;
    patch->graph->fresh = patch->fresh;
}

/* ---- applying: first everything that can fail, then everything that cannot ---- */

static Onnx__NodeProto ***node_array(const vqc_scope *scope, size_t **count)
{
    if (scope->graph != NULL) {
        *count = &scope->graph->n_node;
        return &scope->graph->node;
    }
    *count = &scope->function->n_node;
    return &scope->function->node;
}

static bool reserve_nodes(vqc_arena *arena, vqc_scope *scope, size_t extra)
{
    size_t *count;
    Onnx__NodeProto ***nodes = node_array(scope, &count);
    size_t wanted = *count + extra;
    Onnx__NodeProto **grown;

    if (wanted <= scope->node_capacity) {
        return true;
    }
    wanted += wanted / 2 + 64;
    grown = vqc_arena_calloc(arena, wanted, sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    if (*count > 0) {
        memcpy(grown, *nodes, *count * sizeof *grown);
    }
    *nodes = grown;
    scope->node_capacity = wanted;
    return true;
}

static bool reserve_initializers(vqc_arena *arena, vqc_scope *scope, size_t extra)
{
    Onnx__GraphProto *graph = scope->graph;
    size_t wanted = graph->n_initializer + extra;
    Onnx__TensorProto **grown;

    if (wanted <= scope->initializer_capacity) {
        return true;
    }
    wanted += wanted / 2 + 64;
    grown = vqc_arena_calloc(arena, wanted, sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    if (graph->n_initializer > 0) {
        memcpy(grown, graph->initializer, graph->n_initializer * sizeof *grown);
    }
    graph->initializer = grown;
    scope->initializer_capacity = wanted;
    return true;
}

/* Room for the constants that are listed as graph inputs (old models: small, so a copy each time).
 */
static bool reserve_inputs(const vqc_patch *patch)
{
    Onnx__GraphProto *graph = patch->graph->model->proto->graph;
    Onnx__ValueInfoProto **grown;
    size_t extra = 0;

    for (const edit *item = patch->first; item != NULL; item = item->next) {
        extra += item->input != NULL ? 1 : 0;
    }
    if (extra == 0) {
        return true;
    }
    grown = vqc_arena_calloc(patch->graph->model->arena, graph->n_input + extra, sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    if (graph->n_input > 0) {
        memcpy(grown, graph->input, graph->n_input * sizeof *grown);
    }
    graph->input = grown;
    return true;
}

/* Room in every touched scope for all that the patch adds there. */
static bool reserve_all(vqc_patch *patch)
{
    vqc_arena *arena = patch->graph->model->arena;

    for (const edit *item = patch->first; item != NULL; item = item->next) {
        item->scope->pending_nodes = 0;
        item->scope->pending_initializers = 0;
    }
    for (const edit *item = patch->first; item != NULL; item = item->next) {
        item->scope->pending_nodes += item->kind == ADD_FRONT_NODE ? 1 : item->count;
        item->scope->pending_initializers += item->kind == ADD_INITIALIZER ? 1 : 0;
    }
    for (const edit *item = patch->first; item != NULL; item = item->next) {
        vqc_scope *scope = item->scope;
        if ((scope->pending_nodes > 0 && !reserve_nodes(arena, scope, scope->pending_nodes)) ||
            (scope->pending_initializers > 0 &&
             !reserve_initializers(arena, scope, scope->pending_initializers))) {
            return false;
        }
    }
    return true;
}

static void insert_nodes(vqc_scope *scope, size_t place, Onnx__NodeProto *const *nodes,
                         size_t count)
{
    size_t *total;
    Onnx__NodeProto ***array = node_array(scope, &total);

    memmove(*array + place + count, *array + place, (*total - place) * sizeof **array);
    for (size_t i = 0; i < count; i++) {
        (*array)[place + i] = nodes[i];
    }
    *total += count;
}

static void replace_node(const edit *item)
{
    size_t *total;
    Onnx__NodeProto ***array = node_array(item->scope, &total);
    size_t place = 0;

    while (place < *total && (*array)[place] != item->node) {
        place++;
    }
    if (place == *total) {
        return; /* replaced by an earlier edit of the same patch */
    }
    if (!item->keep) {
        memmove(*array + place, *array + place + 1, (*total - place - 1) * sizeof **array);
        (*total)--;
        if (place < item->scope->front_count) {
            item->scope->front_count--;
        }
    }
    insert_nodes(item->scope, place, item->nodes, item->count);
}

static void remove_constant(const vqc_value *value)
{
    Onnx__GraphProto *graph = value->scope->graph;
    size_t kept = 0;

    for (size_t i = 0; i < graph->n_initializer; i++) {
        if (graph->initializer[i] != value->initializer) {
            graph->initializer[kept++] = graph->initializer[i];
        }
    }
    graph->n_initializer = kept;
    kept = 0;
    for (size_t i = 0; i < graph->n_input; i++) {
        if (graph->input[i] != value->graph_input) {
            graph->input[kept++] = graph->input[i];
        }
    }
    graph->n_input = kept;
}

/* IR 4 ended the rule that initializers are graph inputs; left there they could be overridden and
 * ONNX Runtime would fold nothing that depends on them. */
static void drop_initializer_inputs(Onnx__GraphProto *graph)
{
    size_t kept = 0;

    for (size_t i = 0; i < graph->n_input; i++) {
        bool is_initializer = false;
        for (size_t k = 0; k < graph->n_initializer && !is_initializer; k++) {
            const char *name = graph->initializer[k]->name;
            is_initializer = name != NULL && graph->input[i]->name != NULL &&
                             strcmp(name, graph->input[i]->name) == 0;
        }
        if (!is_initializer) {
            graph->input[kept++] = graph->input[i];
        }
    }
    graph->n_input = kept;
}

static vqc_status apply_versions(vqc_patch *patch, vqc_error *error)
{
    vqc_model *model = patch->graph->model;

    for (const opset_need *need = patch->opsets; need != NULL; need = need->next) {
        vqc_status status = vqc_model_set_opset(model, need->domain, need->version, error);
        if (status != VQC_OK) {
            return status;
        }
    }
    if (patch->ir_version > model->proto->ir_version) {
        if (model->proto->ir_version < 4) {
            drop_initializer_inputs(model->proto->graph);
        }
        model->proto->has_ir_version = 1;
        model->proto->ir_version = patch->ir_version;
    }
    return VQC_OK;
}

vqc_status vqc_patch_apply(vqc_patch *patch, vqc_error *error)
{
    vqc_status status;

    if (!reserve_all(patch) || !reserve_inputs(patch)) {
        return no_memory(error);
    }
    status = apply_versions(patch, error);
    if (status != VQC_OK) {
        return status;
    }
    for (const edit *item = patch->first; item != NULL; item = item->next) {
        switch (item->kind) {
        case ADD_INITIALIZER:
            item->scope->graph->initializer[item->scope->graph->n_initializer++] = item->tensor;
            if (item->input != NULL) {
                item->scope->graph->input[item->scope->graph->n_input++] = item->input;
            }
            break;
        case ADD_FRONT_NODE:
            insert_nodes(item->scope, item->scope->front_count, &item->node, 1);
            item->scope->front_count++;
            break;
        case REPLACE_NODE:
            replace_node(item);
            break;
        case REMOVE_CONSTANT:
            remove_constant(item->value);
            break;
        }
    }
    for (struct vqc_shared_constant *item = patch->shared; item != NULL;
         item = item->next_in_patch) {
        item->patch = NULL;
    }
    return VQC_OK;
}
