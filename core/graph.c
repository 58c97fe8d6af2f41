#include "core/graph.h"

#include <stdio.h>
#include <string.h>

#include "core/dtype.h"

/* ---- growing arrays in the index's arena (old copies stay in the arena: sizes double) ---- */

static bool grow(vqc_arena *arena, void **items, size_t count, size_t *capacity, size_t item_bytes)
{
    size_t wanted = *capacity == 0 ? 4 : *capacity * 2;
    void *grown;

    if (count < *capacity) {
        return true;
    }
    grown = vqc_arena_calloc(arena, wanted, item_bytes);
    if (grown == NULL) {
        return false;
    }
    if (count > 0) {
        memcpy(grown, *items, count * item_bytes);
    }
    *items = grown;
    *capacity = wanted;
    return true;
}

/* FNV-1a over the name, mixed with the scope's number (NULL: the name alone). */
static size_t hash_name(const vqc_scope *scope, const char *name)
{
    uint64_t number = scope == NULL ? 0 : (uint64_t)scope->index + 1;
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ number * UINT64_C(0x9e3779b97f4a7c15);
    for (const char *p = name; *p != '\0'; p++) {
        hash = (hash ^ (uint64_t)(unsigned char)*p) * UINT64_C(0x100000001b3);
    }
    hash ^= hash >> 29;
    return (size_t)hash;
}

vqc_value *vqc_scope_define(const vqc_graph *graph, const vqc_scope *scope, const char *name)
{
    vqc_value *value;

    if (graph->bucket_count == 0) {
        return NULL;
    }
    value = graph->buckets[hash_name(scope, name) & (graph->bucket_count - 1)];
    while (value != NULL && (value->scope != scope || strcmp(value->name, name) != 0)) {
        value = value->next_in_bucket;
    }
    return value;
}

vqc_value *vqc_scope_resolve(const vqc_graph *graph, const vqc_scope *scope, const char *name)
{
    for (; scope != NULL; scope = scope->parent) {
        vqc_value *value = vqc_scope_define(graph, scope, name);
        if (value != NULL) {
            return value;
        }
    }
    return NULL;
}

Onnx__NodeProto **vqc_scope_nodes(const vqc_scope *scope, size_t *count)
{
    if (scope->graph != NULL) {
        *count = scope->graph->n_node;
        return scope->graph->node;
    }
    *count = scope->function->n_node;
    return scope->function->node;
}

/* Whether some scope has a value of this name. */
static bool name_taken(const vqc_graph *graph, const char *name)
{
    const vqc_value *value = NULL;

    if (graph->bucket_count > 0) {
        value = graph->names[hash_name(NULL, name) & (graph->bucket_count - 1)];
    }
    while (value != NULL && strcmp(value->name, name) != 0) {
        value = value->next_of_name;
    }
    return value != NULL;
}

static void add_to_buckets(vqc_graph *graph, vqc_value *value)
{
    size_t mask = graph->bucket_count - 1;
    size_t slot = hash_name(value->scope, value->name) & mask;

    value->next_in_bucket = graph->buckets[slot];
    graph->buckets[slot] = value;
    if (!name_taken(graph, value->name)) {
        slot = hash_name(NULL, value->name) & mask;
        value->next_of_name = graph->names[slot];
        graph->names[slot] = value;
    }
}

static bool rehash(vqc_graph *graph)
{
    size_t wanted = graph->bucket_count == 0 ? 256 : graph->bucket_count * 4;
    vqc_value **buckets = vqc_arena_calloc(graph->arena, wanted, sizeof *buckets);
    vqc_value **names = vqc_arena_calloc(graph->arena, wanted, sizeof *names);

    if (buckets == NULL || names == NULL) {
        return false;
    }
    graph->buckets = buckets;
    graph->names = names;
    graph->bucket_count = wanted;
    for (size_t i = 0; i < graph->value_count; i++) {
        add_to_buckets(graph, graph->values[i]);
    }
    return true;
}

/* Finds or adds the value `name` of `scope`. */
static vqc_value *intern(vqc_graph *graph, vqc_scope *scope, const char *name)
{
    vqc_value *value = vqc_scope_define(graph, scope, name);

    if (value != NULL) {
        return value;
    }
    if (graph->value_count >= graph->bucket_count && !rehash(graph)) {
        return NULL;
    }
    if (!grow(graph->arena, (void **)&graph->values, graph->value_count, &graph->value_capacity,
              sizeof(vqc_value *))) {
        return NULL;
    }
    value = vqc_arena_calloc(graph->arena, 1, sizeof *value);
    if (value == NULL) {
        return NULL;
    }
    value->name = name;
    value->scope = scope;
    graph->values[graph->value_count++] = value;
    add_to_buckets(graph, value);
    return value;
}

static vqc_status no_memory(vqc_error *error)
{
    return vqc_fail(error, VQC_ERR_INTERNAL, "out of memory while indexing the model");
}

static vqc_status defined_twice(const vqc_graph *graph, const vqc_value *value, vqc_error *error)
{
    return vqc_fail(error, VQC_ERR_MODEL, "%s: value \"%s\" is defined twice%s%s",
                    graph->model->path, value->name, value->scope->path[0] != '\0' ? " in " : "",
                    value->scope->path);
}

/* ---- scopes ---- */

static int64_t function_opset(const Onnx__FunctionProto *function, const char *domain)
{
    for (size_t i = 0; i < function->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *entry = function->opset_import[i];
        const char *name = entry->domain == NULL ? "" : entry->domain;
        if ((vqc_domain_is_onnx(name) && vqc_domain_is_onnx(domain)) || strcmp(name, domain) == 0) {
            return entry->version;
        }
    }
    return 0;
}

static vqc_scope *add_scope(vqc_graph *graph, vqc_scope *parent, Onnx__GraphProto *proto,
                            Onnx__FunctionProto *function, char *path)
{
    vqc_scope *scope = vqc_arena_calloc(graph->arena, 1, sizeof *scope);

    if (scope == NULL || path == NULL ||
        !grow(graph->arena, (void **)&graph->scopes, graph->scope_count, &graph->scope_capacity,
              sizeof(vqc_scope *))) {
        return NULL;
    }
    scope->parent = parent;
    scope->graph = proto;
    scope->function = function;
    scope->path = path;
    scope->index = graph->scope_count;
    if (parent != NULL) {
        scope->opset = parent->opset;
        scope->ms_opset = parent->ms_opset;
    } else if (function != NULL) {
        scope->opset = function_opset(function, "");
        scope->ms_opset = function_opset(function, "com.microsoft");
    } else {
        scope->opset = vqc_model_opset(graph->model->proto, "");
        scope->ms_opset = vqc_model_opset(graph->model->proto, "com.microsoft");
    }
    graph->scopes[graph->scope_count++] = scope;
    return scope;
}

static char *body_path(vqc_graph *graph, const vqc_scope *scope, const Onnx__NodeProto *node,
                       const Onnx__AttributeProto *attr, size_t number)
{
    const char *label = vqc_node_label(node, graph->arena);
    const char *slash = scope->path[0] == '\0' ? "" : "/";
    const char *name = attr->name == NULL ? "body" : attr->name;

    if (label == NULL) {
        return NULL;
    }
    if (attr->n_graphs > 0) {
        return vqc_arena_printf(graph->arena, "%s%s%s/%s[%zu]", scope->path, slash, label, name,
                                number);
    }
    return vqc_arena_printf(graph->arena, "%s%s%s/%s", scope->path, slash, label, name);
}

/* Adds the bodies that the nodes of `scope` carry. Depth was bounded when the file was read. */
static bool add_bodies(vqc_graph *graph, vqc_scope *scope)
{
    size_t count;
    Onnx__NodeProto **nodes = vqc_scope_nodes(scope, &count);

    for (size_t i = 0; i < count; i++) {
        for (size_t a = 0; a < nodes[i]->n_attribute; a++) {
            Onnx__AttributeProto *attr = nodes[i]->attribute[a];
            size_t bodies = attr->n_graphs + (attr->g != NULL ? 1 : 0);
            for (size_t b = 0; b < bodies; b++) {
                Onnx__GraphProto *body = b < attr->n_graphs ? attr->graphs[b] : attr->g;
                vqc_scope *inner =
                    add_scope(graph, scope, body, NULL, body_path(graph, scope, nodes[i], attr, b));
                if (inner == NULL || !add_bodies(graph, inner)) {
                    return false;
                }
            }
        }
    }
    return true;
}

/* ---- definitions and uses ---- */

static vqc_status define_io(vqc_graph *graph, vqc_scope *scope, vqc_error *error)
{
    const Onnx__GraphProto *proto = scope->graph;

    for (size_t i = 0; i < proto->n_input; i++) {
        const char *name = proto->input[i]->name;
        vqc_value *value;
        if (name == NULL || name[0] == '\0') {
            continue;
        }
        value = intern(graph, scope, name);
        if (value == NULL) {
            return no_memory(error);
        }
        if (value->graph_input != NULL) {
            return defined_twice(graph, value, error);
        }
        value->graph_input = proto->input[i];
        value->info = proto->input[i];
    }
    for (size_t i = 0; i < proto->n_initializer; i++) {
        Onnx__TensorProto *tensor = proto->initializer[i];
        vqc_value *value;
        if (tensor->name == NULL || tensor->name[0] == '\0') {
            continue;
        }
        value = intern(graph, scope, tensor->name);
        if (value == NULL) {
            return no_memory(error);
        }
        if (value->initializer != NULL) {
            return defined_twice(graph, value, error);
        }
        value->initializer = tensor;
    }
    for (size_t i = 0; i < proto->n_sparse_initializer; i++) {
        Onnx__SparseTensorProto *sparse = proto->sparse_initializer[i];
        vqc_value *value;
        if (sparse->values == NULL || sparse->values->name == NULL ||
            sparse->values->name[0] == '\0') {
            continue;
        }
        value = intern(graph, scope, sparse->values->name);
        if (value == NULL) {
            return no_memory(error);
        }
        if (value->initializer != NULL || value->sparse != NULL) {
            return defined_twice(graph, value, error);
        }
        value->sparse = sparse;
    }
    return VQC_OK;
}

static vqc_status define_nodes(vqc_graph *graph, vqc_scope *scope, vqc_error *error)
{
    size_t count;
    Onnx__NodeProto **nodes = vqc_scope_nodes(scope, &count);

    for (size_t i = 0; i < count; i++) {
        for (size_t o = 0; o < nodes[i]->n_output; o++) {
            const char *name = nodes[i]->output[o];
            vqc_value *value;
            if (name == NULL || name[0] == '\0') {
                continue;
            }
            value = intern(graph, scope, name);
            if (value == NULL) {
                return no_memory(error);
            }
            if (value->producer != NULL || value->initializer != NULL || value->sparse != NULL ||
                value->graph_input != NULL) {
                return defined_twice(graph, value, error);
            }
            value->producer = nodes[i];
            value->output = o;
        }
    }
    return VQC_OK;
}

static vqc_status define_scope(vqc_graph *graph, vqc_scope *scope, vqc_error *error)
{
    if (scope->graph != NULL) {
        vqc_status status = define_io(graph, scope, error);
        if (status != VQC_OK) {
            return status;
        }
    } else {
        for (size_t i = 0; i < scope->function->n_input; i++) {
            if (intern(graph, scope, scope->function->input[i]) == NULL) {
                return no_memory(error);
            }
        }
    }
    return define_nodes(graph, scope, error);
}

static void note_info(vqc_graph *graph, const vqc_scope *scope, Onnx__ValueInfoProto *const *infos,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (infos[i]->name != NULL) {
            vqc_value *value = vqc_scope_define(graph, scope, infos[i]->name);
            if (value != NULL && value->info == NULL) {
                value->info = infos[i];
            }
        }
    }
}

static bool add_use(vqc_graph *graph, vqc_scope *scope, Onnx__NodeProto *node, size_t input,
                    const char *name)
{
    vqc_value *value;

    if (name == NULL || name[0] == '\0') {
        return true;
    }
    value = vqc_scope_resolve(graph, scope, name);
    if (value == NULL) {
        return true;
    }
    if (!grow(graph->arena, (void **)&value->uses, value->use_count, &value->use_capacity,
              sizeof(vqc_use))) {
        return false;
    }
    value->uses[value->use_count++] = (vqc_use){scope, node, input};
    return true;
}

static bool use_scope(vqc_graph *graph, vqc_scope *scope)
{
    size_t count;
    Onnx__NodeProto **nodes = vqc_scope_nodes(scope, &count);

    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < nodes[i]->n_input; k++) {
            if (!add_use(graph, scope, nodes[i], k, nodes[i]->input[k])) {
                return false;
            }
        }
    }
    if (scope->graph != NULL) {
        note_info(graph, scope, scope->graph->value_info, scope->graph->n_value_info);
        note_info(graph, scope, scope->graph->output, scope->graph->n_output);
        for (size_t i = 0; i < scope->graph->n_output; i++) {
            if (!add_use(graph, scope, NULL, i, scope->graph->output[i]->name)) {
                return false;
            }
        }
        return true;
    }
    for (size_t i = 0; i < scope->function->n_output; i++) {
        if (!add_use(graph, scope, NULL, i, scope->function->output[i])) {
            return false;
        }
    }
    return true;
}

static vqc_status build(vqc_graph *graph, vqc_error *error)
{
    Onnx__ModelProto *proto = graph->model->proto;
    vqc_scope *scope;

    if (proto->graph == NULL) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: the model has no graph", graph->model->path);
    }
    scope = add_scope(graph, NULL, proto->graph, NULL, vqc_arena_strdup(graph->arena, ""));
    if (scope == NULL || !add_bodies(graph, scope)) {
        return no_memory(error);
    }
    for (size_t i = 0; i < proto->n_functions; i++) {
        Onnx__FunctionProto *function = proto->functions[i];
        const char *name = function->name == NULL ? "" : function->name;
        scope = add_scope(graph, NULL, NULL, function,
                          vqc_arena_printf(graph->arena, "function %s", name));
        if (scope == NULL || !add_bodies(graph, scope)) {
            return no_memory(error);
        }
    }
    for (size_t i = 0; i < graph->scope_count; i++) {
        vqc_status status = define_scope(graph, graph->scopes[i], error);
        if (status != VQC_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < graph->scope_count; i++) {
        if (!use_scope(graph, graph->scopes[i])) {
            return no_memory(error);
        }
    }
    return VQC_OK;
}

vqc_status vqc_graph_create(vqc_model *model, vqc_graph **out, vqc_error *error)
{
    vqc_arena *arena = vqc_arena_create();
    vqc_graph *graph;
    vqc_status status;

    *out = NULL;
    graph = arena == NULL ? NULL : vqc_arena_calloc(arena, 1, sizeof *graph);
    if (graph == NULL) {
        vqc_arena_destroy(&arena);
        return no_memory(error);
    }
    graph->arena = arena;
    graph->model = model;
    status = build(graph, error);
    if (status != VQC_OK) {
        vqc_arena_destroy(&arena);
        return status;
    }
    *out = graph;
    return VQC_OK;
}

void vqc_graph_destroy(vqc_graph **graph)
{
    if (graph != NULL && *graph != NULL) {
        vqc_arena *arena = (*graph)->arena;
        *graph = NULL;
        vqc_arena_destroy(&arena);
    }
}

/* ---- facts about values ---- */

static const Onnx__TensorProto *constant_node_tensor(const Onnx__NodeProto *node)
{
    const Onnx__AttributeProto *attr;

    if (node == NULL || !vqc_node_is(node, "Constant")) {
        return NULL;
    }
    attr = vqc_node_attr(node, "value");
    return attr == NULL ? NULL : attr->t;
}

static const Onnx__TensorProto *own_tensor(const vqc_value *value)
{
    return value->initializer != NULL ? value->initializer : constant_node_tensor(value->producer);
}

int32_t vqc_value_dtype(const vqc_value *value)
{
    const Onnx__TensorProto *tensor = own_tensor(value);

    if (tensor != NULL) {
        return tensor->data_type;
    }
    if (value->info != NULL && value->info->type != NULL &&
        value->info->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
        return value->info->type->tensor_type->elem_type;
    }
    return VQC_DTYPE_UNDEFINED;
}

int vqc_value_shape(const vqc_value *value, int64_t *dims, size_t dims_capacity)
{
    const Onnx__TensorProto *tensor = own_tensor(value);
    const Onnx__TensorShapeProto *shape;

    if (tensor != NULL) {
        for (size_t i = 0; dims != NULL && i < tensor->n_dims && i < dims_capacity; i++) {
            dims[i] = tensor->dims[i];
        }
        return (int)tensor->n_dims;
    }
    if (value->info == NULL || value->info->type == NULL ||
        value->info->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ||
        value->info->type->tensor_type->shape == NULL) {
        return -1;
    }
    shape = value->info->type->tensor_type->shape;
    for (size_t i = 0; dims != NULL && i < shape->n_dim && i < dims_capacity; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = shape->dim[i];
        dims[i] = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE
                      ? dim->dim_value
                      : -1;
    }
    return (int)shape->n_dim;
}

Onnx__TensorProto *vqc_value_constant(const vqc_graph *graph, const vqc_value *value)
{
    /* Identity chains are finite (values are defined once), but a malformed file may make a ring.
     */
    for (int hops = 0; value != NULL && hops < 64; hops++) {
        const Onnx__TensorProto *tensor = own_tensor(value);
        if (tensor != NULL) {
            bool overridable = value->initializer != NULL && value->graph_input != NULL &&
                               graph->model->proto->ir_version >= 4;
            return overridable ? NULL : (Onnx__TensorProto *)(uintptr_t)tensor;
        }
        if (value->producer == NULL || !vqc_node_is(value->producer, "Identity") ||
            value->producer->n_input != 1) {
            return NULL;
        }
        value = vqc_scope_resolve(graph, value->scope, value->producer->input[0]);
    }
    return NULL;
}

char *vqc_graph_fresh_name(vqc_graph *graph, const char *hint)
{
    char *name;
    size_t length = strlen(hint);
    /* "a1" + 0 must not meet "a" + 10 */
    const char *gap = length > 0 && hint[length - 1] >= '0' && hint[length - 1] <= '9' ? "_" : "";

    do {
        name = vqc_arena_printf(graph->model->arena, "%s%s%llu", hint, gap,
                                (unsigned long long)graph->fresh++);
    } while (name != NULL && name_taken(graph, name));
    return name;
}
