/* One report line per weight, with its error against the weight of the reference that it stands
 * for. */
#include <stdlib.h>
#include <string.h>

#include "core/codec/vq_form.h"
#include "core/dtype.h"
#include "core/inspect_weight.h"
#include "core/layer.h"
#include "core/metrics.h"

enum {
    CHAIN_STEPS = 6,        /* nodes followed behind an operator to the name of its float output */
    DISCARD_BYTES = 1 << 20 /* mapped tensors from this size on are let go after their use */
};

/* One name under which a weight of the compressed model may be found. */
typedef struct match_key {
    char *text;
    size_t index;
} match_key;

typedef struct matcher {
    vqc_weights *weights;
    vqc_arena *arena;
    match_key *keys;
    size_t count;
    size_t capacity;
} matcher;

/* What tools append to names when they quantize; a name without it is the original's. */
static const char *const SUFFIXES[] = {
    "_quantized", "_DequantizeLinear_Output", "_DequantizeLinear", "_quant", "_Q2", "_Q4", "_Q8",
    "_Q4G32",     "_output_quantized"};

static bool add_key(matcher *self, size_t index, const char *kind, const char *scope,
                    const char *name, size_t length, size_t input)
{
    if (self->count == self->capacity) {
        size_t capacity = self->capacity == 0 ? 256 : self->capacity * 2;
        match_key *keys = realloc(self->keys, capacity * sizeof *keys);
        if (keys == NULL) {
            return false;
        }
        self->keys = keys;
        self->capacity = capacity;
    }
    self->keys[self->count].text = length > 4096
                                       ? NULL
                                       : vqc_arena_printf(self->arena, "%s\n%s\n%zu\n%.*s", kind,
                                                          scope, input, (int)length, name);
    self->keys[self->count].index = index;
    return self->keys[self->count++].text != NULL;
}

/* The name and the name without each tool's suffix. */
static bool add_keys(matcher *self, size_t index, const char *kind, const char *scope,
                     const char *name, size_t input)
{
    size_t length = strlen(name);
    bool memory = length == 0 || add_key(self, index, kind, scope, name, length, input);

    for (size_t i = 0; memory && i < sizeof SUFFIXES / sizeof SUFFIXES[0]; i++) {
        size_t tail = strlen(SUFFIXES[i]);
        if (length > tail && strcmp(name + length - tail, SUFFIXES[i]) == 0) {
            memory = add_key(self, index, kind, scope, name, length - tail, input);
        }
    }
    return memory;
}

static int compare_keys(const void *a, const void *b)
{
    const match_key *x = a;
    const match_key *y = b;
    int order = strcmp(x->text, y->text);

    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

/* Names along Cast, Mul, Add and DequantizeLinear behind a quantized operator: one of them is the
 * output of the float operator that it replaced. */
static bool add_output_keys(matcher *self, size_t index, const vqc_weight *weight)
{
    static const char *const ops[] = {"Cast", "Mul", "Add", "DequantizeLinear"};
    const vqc_graph *graph = self->weights->graph;
    const char *name = weight->node->n_output > 0 ? weight->node->output[0] : "";
    const vqc_scope *scope = weight->scope;
    bool memory = true;

    for (int step = 0; memory && step < CHAIN_STEPS; step++) {
        const vqc_value *value = vqc_scope_define(graph, scope, name);
        bool go_on = false;

        memory = add_keys(self, index, "output", weight->scope->path, name, weight->float_input);
        if (value == NULL || value->use_count != 1 || value->uses[0].node == NULL ||
            weight->quantized == NULL) {
            break;
        }
        for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
            go_on = go_on || strcmp(value->uses[0].node->op_type, ops[i]) == 0;
        }
        if (!go_on || value->uses[0].node->n_output == 0) {
            break;
        }
        scope = value->uses[0].scope;
        name = value->uses[0].node->output[0];
    }
    return memory;
}

static vqc_status build_matcher(matcher *self, vqc_error *error)
{
    bool memory = true;

    for (size_t i = 0; memory && i < self->weights->count; i++) {
        const vqc_weight *weight = &self->weights->items[i];
        const char *node = weight->node->name != NULL ? weight->node->name : "";

        memory = add_keys(self, i, "value", weight->value->scope->path, weight->value->name, 0) &&
                 add_output_keys(self, i, weight) &&
                 add_keys(self, i, "node", weight->scope->path, node, weight->float_input);
    }
    if (!memory) {
        return vqc_fail_memory(error, 0);
    }
    if (self->count > 0) {
        qsort(self->keys, self->count, sizeof *self->keys, compare_keys);
    }
    return VQC_OK;
}

/* First weight under this key that is not taken yet; VQC_NOBODY: none. */
static size_t look_up(const matcher *self, const bool *taken, const char *kind, const char *scope,
                      const char *name, size_t input)
{
    match_key wanted = {NULL, 0};
    size_t low = 0;
    size_t high = self->count;

    if (name[0] == '\0' || strlen(name) > 4096) {
        return VQC_NOBODY;
    }
    wanted.text = vqc_arena_printf(self->arena, "%s\n%s\n%zu\n%s", kind, scope, input, name);
    if (wanted.text == NULL) {
        return VQC_NOBODY;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_keys(&self->keys[middle], &wanted) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < self->count && strcmp(self->keys[low].text, wanted.text) == 0; low++) {
        if (!taken[self->keys[low].index]) {
            return self->keys[low].index;
        }
    }
    return VQC_NOBODY;
}

/* Value name and scope first, then the output of the node that reads it, then that node's name. */
static size_t find_match(const matcher *self, const bool *taken, const vqc_weight *reference)
{
    const char *output = reference->node->n_output > 0 ? reference->node->output[0] : "";
    const char *node = reference->node->name != NULL ? reference->node->name : "";
    size_t index =
        look_up(self, taken, "value", reference->value->scope->path, reference->value->name, 0);

    if (index == VQC_NOBODY) {
        index =
            look_up(self, taken, "output", reference->scope->path, output, reference->float_input);
    }
    if (index == VQC_NOBODY) {
        index = look_up(self, taken, "node", reference->scope->path, node, reference->float_input);
    }
    return index;
}

/* ---- errors ---- */

static bool same_dims(const int64_t *a, size_t a_rank, const int64_t *b, size_t b_rank)
{
    return a_rank == b_rank && memcmp(a, b, a_rank * sizeof *a) == 0;
}

/* Pages of a mapped weight will not be needed again: peak memory stays at one weight's. */
static void discard(const vqc_weights *weights, const vqc_weight *weight)
{
    const Onnx__TensorProto *tensor = vqc_value_stored_tensor(weight->value);

    if (tensor != NULL && tensor->has_raw_data && tensor->raw_data.len >= DISCARD_BYTES &&
        weights->model->discard != NULL) {
        weights->model->discard(weights->model->release_context, tensor->raw_data.data,
                                tensor->raw_data.len);
    }
}

static uint64_t count_zeros(const float *values, const int64_t *dims, size_t rank)
{
    size_t elements;
    size_t size_bytes;

    return vqc_exec_sizes(dims, rank, sizeof(float), &elements, &size_bytes)
               ? vqc_kernels_get()->f32_count_zero(values, elements)
               : 0;
}

/* Exact zeros among the weights, 0 when they cannot be decoded. Errors: internal ones only. */
static vqc_status find_zeros(vqc_weights *weights, const vqc_weight *weight, uint64_t *zeros,
                             vqc_error *error)
{
    int64_t dims[VQC_EXEC_MAX_RANK];
    size_t rank = 0;
    float *values = NULL;
    vqc_error why = {0};
    vqc_status status =
        vqc_weight_decode(weights, weight, weight->quantized != NULL, &values, dims, &rank, &why);

    *zeros = status == VQC_OK ? count_zeros(values, dims, rank) : 0;
    free(values);
    discard(weights, weight);
    if (status == VQC_ERR_INTERNAL) {
        *error = why;
        return status;
    }
    return VQC_OK;
}

/* Also counts the zeros of the first. Compares the two as they lie, or, when their layouts differ
 * or may differ because one of them is inside a quantized operator, as their operators compute with
 * them. */
static vqc_status measure(vqc_weights *weights, const vqc_weight *weight, vqc_weights *reference,
                          const vqc_weight *original, vqc_error_sums *sums, uint64_t *zeros,
                          vqc_error *error)
{
    vqc_status status = VQC_OK;
    bool done = false;
    int first = weight->quantized != NULL || original->quantized != NULL;

    for (int as_operand = first; status == VQC_OK && !done && as_operand < 2; as_operand++) {
        float *got = NULL;
        float *want = NULL;
        int64_t got_dims[VQC_EXEC_MAX_RANK];
        int64_t want_dims[VQC_EXEC_MAX_RANK];
        size_t got_rank = 0;
        size_t want_rank = 0;

        status =
            vqc_weight_decode(weights, weight, as_operand != 0, &got, got_dims, &got_rank, error);
        if (status == VQC_OK) {
            status = vqc_weight_decode(reference, original, as_operand != 0, &want, want_dims,
                                       &want_rank, error);
        }
        if (status == VQC_OK && same_dims(got_dims, got_rank, want_dims, want_rank)) {
            size_t elements;
            size_t size_bytes;
            if (vqc_exec_sizes(got_dims, got_rank, sizeof(float), &elements, &size_bytes)) {
                vqc_error_sums_add_f32(want, got, elements, sums);
                *zeros = count_zeros(got, got_dims, got_rank);
            }
            done = true;
        }
        free(got);
        free(want);
    }
    discard(weights, weight);
    discard(reference, original);
    if (status == VQC_OK && !done) {
        status = vqc_fail(error, VQC_ERR_MODEL, "its shape is not that of the reference");
    }
    return status;
}

/* ---- reports ---- */

/* The inspection outlives the models: nothing may be borrowed from them. NULL stays NULL. */
static const char *copy_text(const char *text, vqc_arena *arena)
{
    return text == NULL ? NULL : vqc_arena_strdup(arena, text);
}

static vqc_status fill_report(vqc_weights *weights, const vqc_weight *weight, vqc_arena *arena,
                              vqc_layer_report *out, vqc_error *error)
{
    const Onnx__TensorProto *tensor = vqc_value_stored_tensor(weight->value);
    int64_t *dims = vqc_arena_calloc(arena, weight->rank + 1, sizeof *dims);
    const char *form;

    memset(out, 0, sizeof *out);
    out->name = vqc_arena_strdup(arena, weight->value->name);
    out->scope = vqc_arena_strdup(arena, weight->value->scope->path);
    out->node = copy_text(vqc_node_label(weight->node, arena), arena);
    out->op = copy_text(vqc_node_op_name(weight->node, arena), arena);
    out->dtype = tensor != NULL ? vqc_dtype_describe(tensor->data_type)->name : "float32";
    out->rank = weight->rank;
    out->elements = weight->elements;
    out->use_count = weight->use_count;
    out->status = vqc_weight_is_plain(weight) ? VQC_LAYER_KEPT : VQC_LAYER_CODED;
    out->codec = weight->quantized == NULL && vqc_weight_codebook(weights, weight, &out->codebook)
                     ? vqc_codebook_name(&out->codebook, arena)
                     : vqc_weight_codec(weights, weight, arena);
    (void)vqc_weight_stored_codes(weights, weight->value, &form);
    out->pattern = vqc_arena_printf(arena, "%s%s%s", vqc_weight_pattern(weight),
                                    form[0] == '\0' ? "" : ", ", form);
    out->reason = "";
    out->after_bytes = weight->bytes;
    out->bits_per_weight =
        weight->elements == 0 ? 0.0 : 8.0 * (double)weight->bytes / (double)weight->elements;
    if (dims == NULL || out->name == NULL || out->scope == NULL || out->node == NULL ||
        out->op == NULL || out->codec == NULL || out->pattern == NULL) {
        return vqc_fail_memory(error, 0);
    }
    memcpy(dims, weight->dims, weight->rank * sizeof *dims);
    out->dims = dims;
    return VQC_OK;
}

/* A weight of the reference beside its counterpart. */
static vqc_status fill_pair(vqc_weights *weights, const vqc_weight *weight, vqc_weights *reference,
                            const vqc_weight *original, vqc_inspection *out,
                            vqc_layer_report *layer, vqc_error_sums *total, vqc_error *error)
{
    vqc_layer_report before;
    vqc_error_sums sums = {0};
    vqc_error why = {0};
    vqc_status status = fill_report(reference, original, out->arena, &before, error);

    if (status == VQC_OK && weight != NULL) {
        status = fill_report(weights, weight, out->arena, layer, error);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (weight == NULL) {
        *layer = before;
        layer->status = VQC_LAYER_MISSING;
        layer->codec = layer->pattern = "";
        layer->after_bytes = 0;
        layer->bits_per_weight = 0.0;
        layer->reason = "no weight of this name, and none that an operator of the same output or "
                        "name reads";
    } else {
        layer->name = before.name; /* the reference's identity: that is what users know */
        layer->scope = before.scope;
        layer->node = before.node;
        layer->op = before.op;
        layer->dtype = before.dtype;
        layer->dims = before.dims;
        layer->rank = before.rank;
        status = measure(weights, weight, reference, original, &sums, &layer->zeros, &why);
        if (status == VQC_ERR_INTERNAL) {
            *error = why;
            return status;
        }
        layer->reason = status == VQC_OK ? "" : vqc_arena_strdup(out->arena, why.message);
        layer->metrics = vqc_metrics_from_sums(&sums);
        vqc_error_sums_add(total, &sums);
        if (layer->reason == NULL) {
            return vqc_fail_memory(error, 0);
        }
    }
    layer->before_bytes = before.after_bytes;
    return VQC_OK;
}

vqc_status vqc_inspect_layers(vqc_weights *weights, vqc_weights *reference, vqc_inspection *out,
                              vqc_error *error)
{
    matcher match = {.weights = weights, .arena = vqc_arena_create()};
    size_t limit = weights->count + (reference != NULL ? reference->count : 0);
    bool *taken = calloc(weights->count + 1, sizeof *taken);
    vqc_error_sums total = {0};
    vqc_status status = VQC_OK;

    out->layers = vqc_arena_calloc(out->arena, limit + 1, sizeof *out->layers);
    if (match.arena == NULL || taken == NULL || out->layers == NULL) {
        status = vqc_fail_memory(error, limit * sizeof *out->layers);
        goto done;
    }
    status = reference != NULL ? build_matcher(&match, error) : VQC_OK;
    for (size_t i = 0; status == VQC_OK && reference != NULL && i < reference->count; i++) {
        size_t index = find_match(&match, taken, &reference->items[i]);
        const vqc_weight *weight = index == VQC_NOBODY ? NULL : &weights->items[index];

        if (weight != NULL) {
            taken[index] = true;
        }
        status = fill_pair(weights, weight, reference, &reference->items[i], out,
                           &out->layers[out->layer_count], &total, error);
        out->layer_count += status == VQC_OK;
    }
    for (size_t i = 0; status == VQC_OK && i < weights->count; i++) {
        if (taken[i]) {
            continue;
        }
        status = fill_report(weights, &weights->items[i], out->arena,
                             &out->layers[out->layer_count], error);
        if (status == VQC_OK) {
            status = find_zeros(weights, &weights->items[i], &out->layers[out->layer_count].zeros,
                                error);
        }
        if (reference != NULL) {
            out->layers[out->layer_count].reason = "not in the reference";
        }
        out->layer_count += status == VQC_OK;
    }
    out->metrics = vqc_metrics_from_sums(&total);
done:
    free(match.keys);
    vqc_arena_destroy(&match.arena);
    free(taken);
    return status;
}
