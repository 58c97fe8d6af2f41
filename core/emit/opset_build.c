/* Building blocks of the version adapters: shared constants and nodes around the current node. */
#include <stdio.h>
#include <string.h>

#include "core/emit/opset_internal.h"
#include "core/tensor.h"
#include "kernels/kernels.h"

struct vqc_raise_constant {
    const vqc_scope *scope;
    const Onnx__TensorProto *tensor;
    const char *name;
    uint64_t hash;
    vqc_raise_constant *next;
};

vqc_status vqc_raise_memory(vqc_raise *raise)
{
    return vqc_fail(raise->error, VQC_ERR_INTERNAL, "out of memory while raising the opset");
}

static bool insert_node(vqc_raise *raise, vqc_node_list *list, size_t at, Onnx__NodeProto *node)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        Onnx__NodeProto **grown = vqc_arena_calloc(raise->arena, capacity, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        if (list->count > 0) {
            memcpy(grown, list->items, list->count * sizeof *grown);
        }
        list->items = grown;
        list->capacity = capacity;
    }
    memmove(list->items + at + 1, list->items + at, (list->count - at) * sizeof *list->items);
    list->items[at] = node;
    list->count++;
    return true;
}

vqc_status vqc_raise_append(vqc_raise *raise, Onnx__NodeProto *node)
{
    return insert_node(raise, &raise->out, raise->out.count, node) ? VQC_OK
                                                                   : vqc_raise_memory(raise);
}

char *vqc_raise_fresh(vqc_raise *raise, const char *hint)
{
    char *name = vqc_graph_fresh_name(raise->names, hint);
    if (name == NULL) {
        (void)vqc_raise_memory(raise);
    }
    return name;
}

/* FNV-1a over place, type, dims and content. */
static uint64_t hash_constant(const vqc_scope *scope, vqc_dtype dtype, const int64_t *dims,
                              size_t rank, const void *raw, size_t raw_bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ (scope->index << 8) ^ (uint64_t)dtype ^ rank;
    const unsigned char *bytes = raw;

    for (size_t i = 0; i < rank; i++) {
        hash = (hash ^ (uint64_t)dims[i]) * UINT64_C(0x100000001b3);
    }
    for (size_t i = 0; i < raw_bytes; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static bool same_constant(const vqc_raise_constant *have, const vqc_scope *scope, vqc_dtype dtype,
                          const int64_t *dims, size_t rank, const void *raw, size_t raw_bytes)
{
    const Onnx__TensorProto *tensor = have->tensor;

    return have->scope == scope && tensor->data_type == (int32_t)dtype && tensor->n_dims == rank &&
           (rank == 0 || memcmp(tensor->dims, dims, rank * sizeof *dims) == 0) &&
           tensor->raw_data.len == raw_bytes &&
           (raw_bytes == 0 || memcmp(tensor->raw_data.data, raw, raw_bytes) == 0);
}

static bool add_initializer(vqc_raise *raise, Onnx__TensorProto *tensor)
{
    if (raise->initializer_count == raise->initializer_capacity) {
        size_t capacity = raise->initializer_capacity == 0 ? 16 : 2 * raise->initializer_capacity;
        Onnx__TensorProto **grown = vqc_arena_calloc(raise->arena, capacity, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        if (raise->initializer_count > 0) {
            memcpy(grown, raise->initializers, raise->initializer_count * sizeof *grown);
        }
        raise->initializers = grown;
        raise->initializer_capacity = capacity;
    }
    raise->initializers[raise->initializer_count++] = tensor;
    return true;
}

/* Puts the tensor where the current node can read it as `name`. */
static bool place_constant(vqc_raise *raise, const char *name, vqc_dtype dtype, const int64_t *dims,
                           size_t rank, const void *raw, size_t raw_bytes,
                           Onnx__TensorProto **tensor)
{
    bool initializer = raise->scope->index == 0 && raise->graph->model->proto->ir_version >= 4;
    const char *const outputs[] = {name};
    Onnx__NodeProto *node;

    *tensor =
        vqc_tensor_create(raise->arena, initializer ? name : "", dtype, dims, rank, raw, raw_bytes);
    if (*tensor == NULL) {
        return false;
    }
    if (initializer) {
        return add_initializer(raise, *tensor);
    }
    (*tensor)->name = NULL; /* the node's output names it; an empty name would still be written */
    node = vqc_node_create(raise->arena, "Constant", "", NULL, NULL, 0, outputs, 1);
    return node != NULL && vqc_node_add_tensor(raise->arena, node, "value", *tensor) &&
           insert_node(raise, &raise->out, raise->out.count, node);
}

const char *vqc_raise_shared(vqc_raise *raise, const char *hint, vqc_dtype dtype,
                             const int64_t *dims, size_t rank, const void *raw, size_t raw_bytes)
{
    uint64_t hash = hash_constant(raise->scope, dtype, dims, rank, raw, raw_bytes);
    vqc_raise_constant **bucket = &raise->constants[hash % VQC_RAISE_BUCKETS];
    vqc_raise_constant *entry;
    Onnx__TensorProto *tensor;
    char *copy;

    for (entry = *bucket; entry != NULL; entry = entry->next) {
        if (entry->hash == hash &&
            same_constant(entry, raise->scope, dtype, dims, rank, raw, raw_bytes)) {
            return entry->name;
        }
    }
    entry = vqc_arena_calloc(raise->arena, 1, sizeof *entry);
    copy = vqc_arena_alloc(raise->arena, raw_bytes == 0 ? 1 : raw_bytes);
    if (entry == NULL || copy == NULL || (entry->name = vqc_raise_fresh(raise, hint)) == NULL) {
        (void)vqc_raise_memory(raise);
        return NULL;
    }
    if (raw_bytes > 0) {
        memcpy(copy, raw, raw_bytes);
    }
    if (!place_constant(raise, entry->name, dtype, dims, rank, copy, raw_bytes, &tensor)) {
        (void)vqc_raise_memory(raise);
        return NULL;
    }
    entry->scope = raise->scope;
    entry->tensor = tensor;
    entry->hash = hash;
    entry->next = *bucket;
    *bucket = entry;
    return entry->name;
}

const char *vqc_raise_ints(vqc_raise *raise, const char *hint, const int64_t *values, size_t count)
{
    int64_t length = (int64_t)count;
    return vqc_raise_shared(raise, hint, VQC_DTYPE_INT64, &length, 1, values,
                            count * sizeof *values);
}

const char *vqc_raise_int(vqc_raise *raise, const char *hint, int64_t value)
{
    return vqc_raise_shared(raise, hint, VQC_DTYPE_INT64, NULL, 0, &value, sizeof value);
}

const char *vqc_raise_floats(vqc_raise *raise, const char *hint, const float *values, size_t count)
{
    int64_t length = (int64_t)count;
    return vqc_raise_shared(raise, hint, VQC_DTYPE_FLOAT, &length, 1, values,
                            count * sizeof *values);
}

const char *vqc_opset_scalar_like_blocker(const vqc_raise *raise, const vqc_scope *scope,
                                          const char *like)
{
    switch (vqc_opset_dtype(raise, scope, like)) {
    case VQC_DTYPE_FLOAT:
    case VQC_DTYPE_DOUBLE:
    case VQC_DTYPE_FLOAT16:
        return NULL;
    case VQC_DTYPE_UNDEFINED: /* CastLike came with opset 15 */
        return raise->target >= 15 ? NULL
                                   : "the data type of its input is not known, and a constant of "
                                     "that type is needed";
    default:
        return "its input is not of a float type that this version allows";
    }
}

const char *vqc_raise_scalar_like(vqc_raise *raise, const char *hint, float value, const char *like)
{
    int32_t dtype = raise->facts.dtype;
    double wide = (double)value;
    uint16_t half;
    const char *plain;

    switch (dtype) {
    case VQC_DTYPE_DOUBLE:
        return vqc_raise_shared(raise, hint, VQC_DTYPE_DOUBLE, NULL, 0, &wide, sizeof wide);
    case VQC_DTYPE_FLOAT16:
        vqc_kernels_get()->f32_f16_convert(&value, 1, &half);
        return vqc_raise_shared(raise, hint, VQC_DTYPE_FLOAT16, NULL, 0, &half, sizeof half);
    default:
        plain = vqc_raise_shared(raise, hint, VQC_DTYPE_FLOAT, NULL, 0, &value, sizeof value);
        if (plain == NULL || dtype == VQC_DTYPE_FLOAT) {
            return plain;
        }
        return vqc_raise_before(raise, "CastLike", (const char *[]){plain, like}, 2, NULL);
    }
}

const char *vqc_raise_before(vqc_raise *raise, const char *op, const char *const *inputs,
                             size_t input_count, Onnx__NodeProto **node)
{
    char *name = vqc_raise_fresh(raise, "raised_");
    Onnx__NodeProto *made = NULL;

    if (name != NULL) {
        made = vqc_node_create(raise->arena, op, "", NULL, inputs, input_count,
                               (const char *[]){name}, 1);
    }
    if (made == NULL || !insert_node(raise, &raise->out, raise->out.count, made)) {
        (void)vqc_raise_memory(raise);
        return NULL;
    }
    if (node != NULL) {
        *node = made;
    }
    return name;
}

Onnx__NodeProto *vqc_raise_behind(vqc_raise *raise, Onnx__NodeProto *current, size_t index,
                                  const char *op, const char *const *inputs, size_t input_count)
{
    char *fresh = vqc_raise_fresh(raise, "raised_");
    const char *const outputs[] = {current->output[index]};
    const char *names[4];
    Onnx__NodeProto *node;

    if (fresh == NULL || input_count > sizeof names / sizeof *names) {
        return NULL;
    }
    for (size_t i = 0; i < input_count; i++) {
        names[i] = inputs[i] == NULL ? fresh : inputs[i];
    }
    node = vqc_node_create(raise->arena, op, "", NULL, names, input_count, outputs, 1);
    if (node == NULL || !insert_node(raise, &raise->after, raise->after_at, node)) {
        (void)vqc_raise_memory(raise);
        return NULL;
    }
    raise->after_at++;
    current->output[index] = fresh;
    return node;
}

vqc_status vqc_raise_set_int(vqc_raise *raise, Onnx__NodeProto *node, const char *name,
                             int64_t value)
{
    vqc_node_remove_attr(node, name);
    return vqc_node_add_int(raise->arena, node, name, value) ? VQC_OK : vqc_raise_memory(raise);
}

vqc_status vqc_raise_set_string(vqc_raise *raise, Onnx__NodeProto *node, const char *name,
                                const char *value)
{
    vqc_node_remove_attr(node, name);
    return vqc_node_add_string(raise->arena, node, name, value) ? VQC_OK : vqc_raise_memory(raise);
}

vqc_status vqc_raise_set_input(vqc_raise *raise, Onnx__NodeProto *node, size_t index,
                               const char *name)
{
    if (name == NULL) {
        return VQC_ERR_INTERNAL; /* the one that returned NULL filled the error */
    }
    return vqc_node_set_input(raise->arena, node, index, name) ? VQC_OK : vqc_raise_memory(raise);
}

vqc_status vqc_raise_set_op(vqc_raise *raise, Onnx__NodeProto *node, const char *op)
{
    node->op_type = vqc_arena_strdup(raise->arena, op);
    return node->op_type != NULL ? VQC_OK : vqc_raise_memory(raise);
}

vqc_status vqc_raise_rename_attr(vqc_raise *raise, Onnx__NodeProto *node, const char *from,
                                 const char *to)
{
    for (size_t i = 0; i < node->n_attribute; i++) {
        if (node->attribute[i]->name != NULL && strcmp(node->attribute[i]->name, from) == 0) {
            node->attribute[i]->name = vqc_arena_strdup(raise->arena, to);
            return node->attribute[i]->name != NULL ? VQC_OK : vqc_raise_memory(raise);
        }
    }
    return VQC_OK;
}

void vqc_raise_trim_outputs(Onnx__NodeProto *node, size_t count)
{
    if (node->n_output > count) {
        node->n_output = count;
    }
}
