#include "formats/onnx_plan.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/tensor.h"

enum { OWN_ENTRIES = 3 }; /* location, offset, length */

/* protobuf's own bound: no runtime reads a larger message. */
static const size_t HARD_LIMIT = INT32_MAX;
/* Room for what later tools may add before they meet the bound. */
static const size_t DEFAULT_LIMIT = ((size_t)2 << 30) - ((size_t)1 << 20);

static const char *name_of(const Onnx__TensorProto *tensor)
{
    return tensor->name == NULL ? "" : tensor->name;
}

static vqc_status collect(void *context, Onnx__TensorProto *tensor, vqc_tensor_role role,
                          vqc_error *error)
{
    vqc_write_plan *plan = context;
    bool was_external = tensor->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    bool large = tensor->has_raw_data && tensor->raw_data.len >= VQC_EXTERNAL_MIN_BYTES &&
                 vqc_dtype_describe(tensor->data_type)->bits > 0;
    size_t bytes;

    if (was_external && !tensor->has_raw_data) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "tensor \"%s\": external data without its bytes",
                        name_of(tensor));
    }
    /* A payload that does not fit its dims is passed through, but only inline: readers of external
     * data (ours among them) refuse it. */
    if (!was_external && (!large || !vqc_tensor_raw_bytes(tensor, &bytes))) {
        return VQC_OK;
    }
    if (plan->count == plan->capacity) {
        size_t capacity = plan->capacity == 0 ? 64 : 2 * plan->capacity;
        vqc_write_plan_item *grown = realloc(plan->items, capacity * sizeof *grown);
        if (grown == NULL) {
            return vqc_fail_memory(error, capacity * sizeof *grown);
        }
        plan->items = grown;
        plan->capacity = capacity;
    }
    plan->items[plan->count++] = (vqc_write_plan_item){
        .tensor = tensor, .saved = *tensor, .role = role, .was_external = was_external};
    return VQC_OK;
}

static void restore(vqc_write_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        *plan->items[i].tensor = plan->items[i].saved;
    }
    plan->patched = false;
}

/* Chooses what goes to the data file. `attributes`: also constants of nodes. */
static void choose(vqc_write_plan *plan, bool use_external, bool attributes)
{
    for (size_t i = 0; i < plan->count; i++) {
        vqc_write_plan_item *item = &plan->items[i];
        item->external = use_external && item->saved.raw_data.len >= VQC_EXTERNAL_MIN_BYTES &&
                         (item->was_external || attributes || item->role == VQC_ROLE_INITIALIZER);
        item->duplicate = false;
    }
}

/* Orders external items by payload, equal payloads by their place in the model. */
static int compare_payload(const void *a, const void *b)
{
    const vqc_write_plan_item *x = *(vqc_write_plan_item *const *)a;
    const vqc_write_plan_item *y = *(vqc_write_plan_item *const *)b;
    uintptr_t x_at = (uintptr_t)x->saved.raw_data.data;
    uintptr_t y_at = (uintptr_t)y->saved.raw_data.data;

    if (x_at != y_at) {
        return x_at < y_at ? -1 : 1;
    }
    if (x->saved.raw_data.len != y->saved.raw_data.len) {
        return x->saved.raw_data.len < y->saved.raw_data.len ? -1 : 1;
    }
    return x < y ? -1 : x > y;
}

/* Gives every external item its offset. Items that share their bytes (one range used by several
 * tensors of the input) share them in the output. */
static vqc_status place(vqc_write_plan *plan, vqc_error *error)
{
    vqc_write_plan_item **sorted = vqc_arena_calloc(plan->arena, plan->count, sizeof *sorted);
    size_t count = 0;
    size_t end = 0;

    if (sorted == NULL) {
        return vqc_fail_memory(error, plan->count * sizeof *sorted);
    }
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->items[i].external) {
            sorted[count++] = &plan->items[i];
        }
    }
    qsort(sorted, count, sizeof(vqc_write_plan_item *), compare_payload);
    for (size_t i = 1; i < count; i++) {
        /* payloads that are only sizes yet (dry run) have no address and are never the same */
        sorted[i]->duplicate =
            sorted[i]->saved.raw_data.data != NULL &&
            sorted[i]->saved.raw_data.data == sorted[i - 1]->saved.raw_data.data &&
            sorted[i]->saved.raw_data.len == sorted[i - 1]->saved.raw_data.len;
    }
    for (size_t i = 0; i < plan->count; i++) {
        vqc_write_plan_item *item = &plan->items[i];
        if (item->external && !item->duplicate) {
            if (!vqc_size_add(end, VQC_EXTERNAL_ALIGN - 1, &end)) {
                return vqc_fail(error, VQC_ERR_MODEL, "the external data is too large");
            }
            item->offset = end & ~(size_t)(VQC_EXTERNAL_ALIGN - 1);
            if (!vqc_size_add(item->offset, item->saved.raw_data.len, &end)) {
                return vqc_fail(error, VQC_ERR_MODEL, "the external data is too large");
            }
        }
    }
    for (size_t i = 1; i < count; i++) {
        if (sorted[i]->duplicate) {
            sorted[i]->offset = sorted[i - 1]->offset;
        }
    }
    plan->external_bytes = end;
    return VQC_OK;
}

static Onnx__StringStringEntryProto *make_entry(vqc_arena *arena, const char *key,
                                                const char *value)
{
    Onnx__StringStringEntryProto *entry = vqc_arena_alloc(arena, sizeof *entry);

    if (entry != NULL) {
        onnx__string_string_entry_proto__init(entry);
        entry->key = vqc_arena_strdup(arena, key);
        entry->value = value == NULL ? NULL : vqc_arena_strdup(arena, value);
        if (entry->key == NULL || entry->value == NULL) {
            entry = NULL;
        }
    }
    return entry;
}

/* Entries of the input that are kept: all but ours, and the checksum only while it is still true.
 */
static bool keeps_entry(const vqc_write_plan *plan, const vqc_write_plan_item *item,
                        const Onnx__StringStringEntryProto *entry)
{
    const vqc_onnx_source *source = vqc_onnx_source_of(plan->model);
    const char *key = entry->key == NULL ? "" : entry->key;

    if (strcmp(key, "location") == 0 || strcmp(key, "offset") == 0 || strcmp(key, "length") == 0) {
        return false;
    }
    return strcmp(key, "checksum") != 0 ||
           (source != NULL && vqc_onnx_source_external_of(source, item->saved.raw_data.data,
                                                          item->saved.raw_data.len) != NULL);
}

static vqc_status patch_external(vqc_write_plan *plan, const vqc_write_plan_item *item,
                                 vqc_error *error)
{
    Onnx__TensorProto *tensor = item->tensor;
    Onnx__StringStringEntryProto **entries;
    size_t old = item->was_external ? item->saved.n_external_data : 0;
    size_t count = OWN_ENTRIES;

    entries = vqc_arena_calloc(plan->arena, OWN_ENTRIES + old, sizeof *entries);
    if (entries == NULL) {
        return vqc_fail_memory(error, (OWN_ENTRIES + old) * sizeof *entries);
    }
    entries[0] = make_entry(plan->arena, "location", plan->location);
    entries[1] =
        make_entry(plan->arena, "offset", vqc_arena_printf(plan->arena, "%zu", item->offset));
    entries[2] = make_entry(plan->arena, "length",
                            vqc_arena_printf(plan->arena, "%zu", item->saved.raw_data.len));
    if (entries[0] == NULL || entries[1] == NULL || entries[2] == NULL) {
        return vqc_fail_memory(error, sizeof **entries);
    }
    for (size_t i = 0; i < old; i++) {
        if (keeps_entry(plan, item, item->saved.external_data[i])) {
            entries[count++] = item->saved.external_data[i];
        }
    }
    tensor->external_data = entries;
    tensor->n_external_data = count;
    tensor->has_data_location = 1;
    tensor->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    tensor->has_raw_data = 0;
    tensor->raw_data = (ProtobufCBinaryData){0, NULL};
    return VQC_OK;
}

static void patch_inline(const vqc_write_plan_item *item)
{
    Onnx__TensorProto *tensor = item->tensor;

    if (item->was_external) {
        tensor->external_data = NULL;
        tensor->n_external_data = 0;
        tensor->has_data_location = 0;
        tensor->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT;
    }
}

/* Patches all tensors for the current choice and measures. */
static vqc_status patch(vqc_write_plan *plan, bool use_external, bool attributes, vqc_error *error)
{
    vqc_status status;

    restore(plan);
    choose(plan, use_external, attributes);
    status = place(plan, error);
    plan->patched = true;
    for (size_t i = 0; i < plan->count && status == VQC_OK; i++) {
        if (plan->items[i].external) {
            status = patch_external(plan, &plan->items[i], error);
        } else {
            patch_inline(&plan->items[i]);
        }
    }
    if (status == VQC_OK) {
        plan->inline_bytes = onnx__model_proto__get_packed_size(plan->model->proto);
    }
    return status;
}

vqc_status vqc_write_plan_create(vqc_write_plan *plan, const vqc_model *model, const char *path,
                                 const vqc_onnx_write_options *options, vqc_error *error)
{
    size_t limit = options->external_limit == 0 ? DEFAULT_LIMIT : options->external_limit;
    bool use_external = model->has_external_data || options->force_external;
    vqc_status status;

    memset(plan, 0, sizeof *plan);
    plan->model = model;
    plan->arena = vqc_arena_create();
    if (plan->arena != NULL) {
        plan->location = vqc_arena_printf(plan->arena, "%s.data", vqc_path_base(path));
    }
    if (plan->location == NULL) {
        return vqc_fail_memory(error, strlen(path));
    }
    limit = limit > HARD_LIMIT ? HARD_LIMIT : limit;
    status = vqc_onnx_each_tensor(model->proto, collect, plan, error);
    if (status == VQC_OK) {
        status = patch(plan, use_external, false, error);
    }
    if (status == VQC_OK && !use_external && plan->inline_bytes > limit) {
        status = patch(plan, true, false, error);
    }
    if (status == VQC_OK && plan->inline_bytes > limit) {
        status = patch(plan, true, true, error);
    }
    if (status == VQC_OK && plan->inline_bytes > HARD_LIMIT) {
        status = vqc_fail(error, VQC_ERR_MODEL,
                          "%s: %zu bytes remain in the ONNX file besides its external data, the "
                          "limit is %zu",
                          path, plan->inline_bytes, HARD_LIMIT);
    }
    return status;
}

void vqc_write_plan_destroy(vqc_write_plan *plan)
{
    if (plan->patched) {
        restore(plan);
    }
    free(plan->items);
    vqc_arena_destroy(&plan->arena);
    memset(plan, 0, sizeof *plan);
}
