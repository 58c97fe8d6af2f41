#include "core/static/qoperator_build.h"

#include <string.h>

#include "core/memory.h"
#include "core/tensor.h"

const char VQC_NO_UNIT[] = "no unit";

bool vqc_qoperator_has_input(const Onnx__NodeProto *node, size_t input)
{
    return node->n_input > input && node->input[input] != NULL && node->input[input][0] != '\0';
}

static const vqc_value *find(const vqc_qoperator *q, const char *name)
{
    return vqc_scope_define(q->graph, q->graph->scopes[0], name);
}

static const Onnx__TensorProto *constant_of(const vqc_qoperator *q, const Onnx__NodeProto *node,
                                            size_t input)
{
    const vqc_value *value =
        vqc_qoperator_has_input(node, input) ? find(q, node->input[input]) : NULL;
    bool is_direct =
        value != NULL && (value->producer == NULL || vqc_node_is(value->producer, "Constant"));

    return is_direct ? vqc_value_constant(q->graph, value) : NULL;
}

/* ---- codes ---- */

/* Scale and zero point of a QuantizeLinear or DequantizeLinear. */
static bool read_parameters(const vqc_qoperator *q, const Onnx__NodeProto *node, vqc_codes *out)
{
    size_t zeros = 1;

    out->node = node;
    out->scale_tensor = constant_of(q, node, 1);
    if (out->scale_tensor == NULL || out->scale_tensor->data_type != VQC_DTYPE_FLOAT ||
        !vqc_tensor_elements(out->scale_tensor, &out->scales) || out->scales == 0 ||
        out->scale_tensor->n_dims > 1 || vqc_node_attr_int(node, "block_size", 0) != 0) {
        return false;
    }
    out->scale = node->input[1];
    out->axis = vqc_node_attr_int(node, "axis", 1);
    if (vqc_qoperator_has_input(node, 2)) {
        out->zero = node->input[2];
        out->zero_tensor = constant_of(q, node, 2);
        if (out->zero_tensor == NULL || !vqc_tensor_elements(out->zero_tensor, &zeros) ||
            zeros != out->scales) {
            return false;
        }
        out->dtype = out->zero_tensor->data_type;
    }
    return true;
}

bool vqc_qoperator_source(const vqc_qoperator *q, const Onnx__NodeProto *node, size_t input,
                          vqc_codes *out)
{
    const vqc_value *value =
        vqc_qoperator_has_input(node, input) ? find(q, node->input[input]) : NULL;
    const vqc_value *codes;

    memset(out, 0, sizeof *out);
    if (value == NULL || value->producer == NULL ||
        !vqc_node_is(value->producer, "DequantizeLinear") ||
        !vqc_qoperator_has_input(value->producer, 0) || !read_parameters(q, value->producer, out)) {
        return false;
    }
    out->name = value->producer->input[0];
    codes = find(q, out->name);
    out->payload = codes == NULL ? NULL : vqc_value_constant(q->graph, codes);
    if (out->dtype == VQC_DTYPE_UNDEFINED && out->payload != NULL) {
        out->dtype = out->payload->data_type;
    } else if (out->dtype == VQC_DTYPE_UNDEFINED && codes != NULL) {
        out->dtype = vqc_value_dtype(codes);
    }
    return out->dtype != VQC_DTYPE_UNDEFINED;
}

bool vqc_qoperator_parameters(const vqc_qoperator *q, const Onnx__NodeProto *node, vqc_codes *out)
{
    memset(out, 0, sizeof *out);
    if (!read_parameters(q, node, out)) {
        return false;
    }
    out->name = node->output[0];
    if (out->dtype == VQC_DTYPE_UNDEFINED) {
        out->dtype = (int32_t)vqc_node_attr_int(node, "output_dtype", VQC_DTYPE_UINT8);
    }
    return true;
}

bool vqc_qoperator_sink(const vqc_qoperator *q, const Onnx__NodeProto *node, size_t output,
                        vqc_codes *out)
{
    const vqc_value *value = node->n_output > output ? find(q, node->output[output]) : NULL;
    const vqc_use *use = value != NULL && value->use_count == 1 ? &value->uses[0] : NULL;

    return use != NULL && use->node != NULL && use->scope == q->graph->scopes[0] &&
           use->input == 0 && vqc_node_is(use->node, "QuantizeLinear") &&
           use->node->n_output == 1 && vqc_qoperator_parameters(q, use->node, out);
}

bool vqc_codes_are_plain(const vqc_codes *codes)
{
    return codes->scales == 1 &&
           (codes->dtype == VQC_DTYPE_UINT8 || codes->dtype == VQC_DTYPE_INT8);
}

/* Whether two constants are the same bytes; a missing one counts as zeros. */
static bool same_payload(const vqc_qoperator *q, const Onnx__TensorProto *a,
                         const Onnx__TensorProto *b)
{
    const Onnx__TensorProto *both[2] = {a, b};
    const unsigned char *raw[2] = {NULL, NULL};
    size_t bytes[2] = {0, 0};

    for (int i = 0; i < 2; i++) {
        const void *p = NULL;
        if (both[i] != NULL &&
            (vqc_tensor_borrow_raw(both[i], q->arena, &p, &bytes[i], NULL) != VQC_OK ||
             p == NULL)) {
            return false;
        }
        raw[i] = p;
    }
    if (a == NULL || b == NULL) {
        const unsigned char *only = a == NULL ? raw[1] : raw[0];
        size_t n = a == NULL ? bytes[1] : bytes[0];
        for (size_t i = 0; i < n; i++) {
            if (only[i] != 0) {
                return false;
            }
        }
        return true;
    }
    return bytes[0] == bytes[1] && memcmp(raw[0], raw[1], bytes[0]) == 0;
}

bool vqc_codes_agree(const vqc_qoperator *q, const vqc_codes *a, const vqc_codes *b)
{
    return a->dtype == b->dtype && a->scales == 1 && b->scales == 1 &&
           (strcmp(a->scale, b->scale) == 0 || same_payload(q, a->scale_tensor, b->scale_tensor)) &&
           ((a->zero != NULL && b->zero != NULL && strcmp(a->zero, b->zero) == 0) ||
            same_payload(q, a->zero_tensor, b->zero_tensor));
}

/* ---- constants ---- */

static bool grow(vqc_qoperator *q, void ***list, size_t count, size_t *capacity)
{
    void **more;

    if (count < *capacity) {
        return true;
    }
    more = vqc_arena_calloc(q->arena, *capacity * 2 + 64, sizeof *more);
    if (more == NULL) {
        q->failed = true;
        return false;
    }
    if (count > 0) {
        memcpy(more, *list, count * sizeof *more);
    }
    *list = more;
    *capacity = *capacity * 2 + 64;
    return true;
}

const char *vqc_qoperator_constant(vqc_qoperator *q, const char *hint, vqc_dtype dtype,
                                   const int64_t *dims, size_t rank, const void *raw,
                                   size_t raw_bytes)
{
    const char *name = vqc_graph_fresh_name(q->graph, hint);
    Onnx__TensorProto *tensor =
        name == NULL ? NULL : vqc_tensor_create(q->arena, name, dtype, dims, rank, raw, raw_bytes);
    void **list = (void **)q->added;

    if (tensor == NULL || !grow(q, &list, q->added_count, &q->added_capacity)) {
        q->failed = true;
        return NULL;
    }
    q->added = (Onnx__TensorProto **)list;
    q->added[q->added_count++] = tensor;
    return name;
}

const char *vqc_qoperator_zero(vqc_qoperator *q, const vqc_codes *codes, int64_t count)
{
    void *raw;
    const char *name;
    size_t zeros = 0;
    size_t bytes = count == 0 ? 1 : (size_t)count;

    if (codes->zero != NULL && vqc_tensor_elements(codes->zero_tensor, &zeros) &&
        (count == 0 || (codes->zero_tensor->n_dims == 1 && zeros == (size_t)count))) {
        return codes->zero;
    }
    for (size_t i = 0; i < q->zero_count; i++) {
        if (q->zeros[i].dtype == codes->dtype && q->zeros[i].count == count) {
            return q->zeros[i].name;
        }
    }
    raw = vqc_arena_calloc(q->arena, bytes, 1);
    if (raw == NULL) {
        q->failed = true;
        return NULL;
    }
    name = vqc_qoperator_constant(q, "z", (vqc_dtype)codes->dtype, &count, count == 0 ? 0 : 1, raw,
                                  bytes);
    if (name != NULL && q->zero_count < sizeof q->zeros / sizeof q->zeros[0]) {
        q->zeros[q->zero_count++] =
            (vqc_zero_constant){.dtype = codes->dtype, .count = count, .name = name};
    }
    return name;
}

/* ---- nodes ---- */

static Onnx__NodeProto *push(vqc_qoperator *q, Onnx__NodeProto *node)
{
    void **list = (void **)q->nodes;

    if (node == NULL || !grow(q, &list, q->node_count, &q->node_capacity)) {
        q->failed = true;
        return NULL;
    }
    q->nodes = (Onnx__NodeProto **)list;
    q->nodes[q->node_count++] = node;
    return node;
}

void vqc_qoperator_keep(vqc_qoperator *q, Onnx__NodeProto *node)
{
    (void)push(q, node);
}

Onnx__NodeProto *vqc_qoperator_push(vqc_qoperator *q, const char *op, const char *domain,
                                    const Onnx__NodeProto *from, const char *const *inputs,
                                    size_t input_count, const char *output)
{
    Onnx__NodeProto *node = NULL;
    bool complete = output != NULL;

    for (size_t i = 0; i < input_count; i++) {
        complete = complete && inputs[i] != NULL;
    }
    if (complete) {
        node = vqc_node_create(q->arena, op, domain, from == NULL ? NULL : from->name, inputs,
                               input_count, &output, 1);
    }
    if (node != NULL && from != NULL && from->n_attribute > 0) {
        node->attribute = vqc_arena_calloc(q->arena, from->n_attribute, sizeof(void *));
        if (node->attribute == NULL) {
            q->failed = true;
            return NULL;
        }
        memcpy(node->attribute, from->attribute, from->n_attribute * sizeof(void *));
        node->n_attribute = from->n_attribute;
    }
    q->used_microsoft = q->used_microsoft || strcmp(domain, "com.microsoft") == 0;
    return push(q, node);
}

Onnx__NodeProto *vqc_qoperator_push_copy(vqc_qoperator *q, const Onnx__NodeProto *from,
                                         const char *const *inputs, size_t input_count,
                                         const char *const *outputs)
{
    Onnx__NodeProto *node = vqc_node_create(q->arena, from->op_type, "", from->name, inputs,
                                            input_count, outputs, from->n_output);

    if (node != NULL) {
        node->attribute = from->attribute;
        node->n_attribute = from->n_attribute;
    }
    return push(q, node);
}

/* ---- counting ---- */

static void count_kind(vqc_qoperator_kind *kinds, size_t *count, const char *op, const char *reason)
{
    for (size_t i = 0; i < *count; i++) {
        if (strcmp(kinds[i].op, op) == 0 && strcmp(kinds[i].reason, reason) == 0) {
            kinds[i].count++;
            return;
        }
    }
    if (*count < VQC_QOPERATOR_KINDS) {
        kinds[(*count)++] = (vqc_qoperator_kind){.op = op, .reason = reason, .count = 1};
    }
}

void vqc_qoperator_done(vqc_qoperator *q, const char *op, const char *weight)
{
    vqc_qoperator_result *r = q->result;

    r->converted++;
    count_kind(r->done, &r->done_count, op, "");
    if (weight == NULL) {
        return;
    }
    if (r->layer_count == q->layer_capacity) {
        size_t capacity = q->layer_capacity * 2 + 64;
        vqc_qoperator_layer *more = vqc_arena_calloc(q->arena, capacity, sizeof *more);
        if (more == NULL) {
            q->failed = true;
            return;
        }
        if (r->layer_count > 0) {
            memcpy(more, r->layers, r->layer_count * sizeof *more);
        }
        r->layers = more;
        q->layer_capacity = capacity;
    }
    r->layers[r->layer_count++] = (vqc_qoperator_layer){.weight = weight, .op = op};
}

void vqc_qoperator_left(vqc_qoperator *q, const char *op, const char *reason)
{
    q->result->left++;
    count_kind(q->result->remaining, &q->result->remaining_count, op, reason);
}
