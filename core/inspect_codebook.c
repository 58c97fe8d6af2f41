/* Recognising codebooks: indices -> Gather from a small constant table -> the weight. */
#include <string.h>

#include "core/codec/vq_form.h"
#include "core/inspect_weight.h"
#include "core/layer.h"

enum {
    CHAIN_STEPS = 10, /* nodes between the weight and its sub-vectors, at most */
    NODE_BUDGET = 64  /* inputs looked at in the expression of one stage's indices */
};

static const vqc_value *input_of(const vqc_weights *weights, const vqc_value *value, size_t input)
{
    const Onnx__NodeProto *node = value->producer;

    return node == NULL || input >= node->n_input || node->input[input][0] == '\0'
               ? NULL
               : vqc_scope_resolve(weights->graph, value->scope, node->input[input]);
}

static bool is_one_of(const Onnx__NodeProto *node, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (vqc_node_is(node, names[i])) {
            return true;
        }
    }
    return false;
}

/* The stored table behind Cast, Mul and Reshape, or NULL. */
static const Onnx__TensorProto *table_of(const vqc_weights *weights, const vqc_value *value)
{
    static const char *const steps[] = {"Cast", "Mul", "Reshape"};

    for (int i = 0; i < CHAIN_STEPS && value != NULL; i++) {
        const Onnx__TensorProto *tensor = vqc_value_stored_tensor(value);
        if (tensor != NULL) {
            return tensor;
        }
        if (value->producer == NULL || !is_one_of(value->producer, steps, 3)) {
            return NULL;
        }
        value = input_of(weights, value, 0);
    }
    return NULL;
}

/* Tables of the values of float8 (256) and the powers of two of bfloat16 (512) begin with 0 in
 * either half. */
static bool is_number_table(const Onnx__TensorProto *table)
{
    size_t width = table->data_type == VQC_DTYPE_FLOAT ? 4 : 2;
    size_t count = (size_t)table->dims[0];
    const uint8_t *raw = table->raw_data.data;
    uint8_t bits = 0;

    if (table->n_dims != 1 || (count != 256 && count != 512) || !table->has_raw_data ||
        table->raw_data.len != count * width) {
        return false;
    }
    for (size_t half = 0; half < 2; half++) {
        for (size_t i = 0; i < width; i++) {
            uint8_t byte = raw[half * (count / 2) * width + i];
            bits = (uint8_t)(bits | (i + 1 == width ? byte << 1 : byte)); /* without the sign */
        }
    }
    return bits == 0;
}

/* Offsets that are added to the indices: one for every codebook when they have four axes. */
static size_t count_groups(const vqc_weights *weights, const vqc_value *index)
{
    const vqc_value *value;
    const Onnx__TensorProto *tensor;

    if (!vqc_node_is(index->producer, "Add")) {
        return 1;
    }
    value = input_of(weights, index, 1);
    tensor = value == NULL ? NULL : vqc_value_stored_tensor(value);
    if (tensor == NULL || tensor->data_type != VQC_DTYPE_INT32 || tensor->n_dims != 4 ||
        tensor->dims[0] < 1 || tensor->dims[2] < 1 || tensor->dims[0] > 1 << 20 ||
        tensor->dims[2] > 1 << 20) {
        return 1;
    }
    return (size_t)tensor->dims[0] * (size_t)tensor->dims[2];
}

/* The inputs of the expression of one stage's indices that were looked at. */
typedef struct index_walk {
    const Onnx__TensorProto *counted[NODE_BUDGET];
    size_t tensors;
    int budget;
    size_t bytes;
} index_walk;

/* Payloads of 8 and 16 bits behind the indices, each once (below opset 11 fields are taken out of
 * one twice); constants of patterns have at most 8 elements. */
static void count_index_bytes(const vqc_weights *weights, const vqc_value *value, index_walk *walk)
{
    const Onnx__TensorProto *tensor = vqc_value_stored_tensor(value);
    size_t elements;
    size_t size_bytes;

    if (tensor != NULL) {
        bool is_new = walk->tensors < NODE_BUDGET;
        for (size_t i = 0; i < walk->tensors; i++) {
            is_new = is_new && walk->counted[i] != tensor;
        }
        if (is_new &&
            (tensor->data_type == VQC_DTYPE_UINT8 || tensor->data_type == VQC_DTYPE_UINT16) &&
            vqc_exec_sizes(tensor->dims, tensor->n_dims, vqc_exec_width(tensor->data_type),
                           &elements, &size_bytes) &&
            elements > 8) {
            walk->counted[walk->tensors++] = tensor;
            walk->bytes += size_bytes;
        }
        return;
    }
    for (size_t i = 0; value->producer != NULL && i < value->producer->n_input; i++) {
        const vqc_value *input = input_of(weights, value, i);
        if (input != NULL && walk->budget-- > 0) {
            count_index_bytes(weights, input, walk);
        }
    }
}

/* Fills in what one Gather says; false when it is not one from a codebook. */
static bool read_stage(const vqc_weights *weights, const vqc_value *value, vqc_codebook_report *out)
{
    const vqc_value *book;
    const vqc_value *index;
    const vqc_value *stored;
    const Onnx__TensorProto *table;
    const char *form;
    index_walk walk = {.budget = NODE_BUDGET};
    size_t width;
    size_t elements;
    size_t size_bytes;

    if (value->producer == NULL || !vqc_node_is(value->producer, "Gather") ||
        vqc_node_attr_int(value->producer, "axis", 0) != 0) {
        return false;
    }
    book = input_of(weights, value, 0);
    index = input_of(weights, value, 1);
    stored = index == NULL ? NULL : vqc_value_spread_codes(weights, index, &form);
    index = stored != NULL ? stored : index; /* without those of sub-vectors that are 0 */
    table = book == NULL ? NULL : table_of(weights, book);
    if (table == NULL || index == NULL || index->producer == NULL ||
        !(vqc_node_is(index->producer, "Cast") || vqc_node_is(index->producer, "Add")) ||
        table->n_dims < 1 || table->n_dims > 3) {
        return false;
    }
    width = vqc_exec_width(table->data_type);
    if (!vqc_exec_sizes(table->dims, table->n_dims, width, &elements, &size_bytes) ||
        elements == 0 || is_number_table(table)) {
        return false;
    }
    out->type = vqc_dtype_describe(table->data_type)->name;
    out->dim = table->n_dims == 1 ? 1 : (size_t)table->dims[table->n_dims - 1];
    out->codebooks = table->n_dims == 3 ? (size_t)table->dims[0] : count_groups(weights, index);
    out->codebook_size = elements / out->dim / out->codebooks;
    out->codebook_bytes += size_bytes;
    count_index_bytes(weights, index, &walk);
    out->index_bytes += walk.bytes;
    out->stages++;
    return out->codebook_size >= 2 && out->codebook_size <= VQC_VQ_MAX_CODEBOOK &&
           out->dim <= VQC_VQ_MAX_DIM;
}

bool vqc_weight_codebook(const vqc_weights *weights, const vqc_weight *weight,
                         vqc_codebook_report *out)
{
    static const char *const steps[] = {"Cast",    "Mul",   "Transpose",
                                        "Reshape", "Slice", "DequantizeLinear"};
    const vqc_value *value = weight->value;
    const vqc_value *stored;
    const char *form;

    memset(out, 0, sizeof *out);
    for (int i = 0; i < CHAIN_STEPS && value != NULL && value->producer != NULL &&
                    is_one_of(value->producer, steps, sizeof steps / sizeof steps[0]);
         i++) {
        if (vqc_node_is(value->producer, "Mul")) { /* scales are stored, a mask is unpacked */
            const vqc_value *factor = input_of(weights, value, 1);
            bool is_stored = factor != NULL && table_of(weights, factor) != NULL;
            out->is_scaled = out->is_scaled || is_stored;
            out->is_masked = out->is_masked || !is_stored;
        }
        value = input_of(weights, value, 0);
    }
    stored = value == NULL ? NULL : vqc_value_spread_codes(weights, value, &form);
    if (stored != NULL) { /* vectors of kept weights come one after the other, without scales */
        static const char *const line[] = {"Reshape", "Slice"};
        value = stored;
        while (value != NULL && value->producer != NULL && is_one_of(value->producer, line, 2)) {
            value = input_of(weights, value, 0);
            out->is_scaled = false;
            out->is_masked = false;
        }
    }
    for (int i = 0; i < VQC_VQ_MAX_STAGES && value != NULL && value->producer != NULL &&
                    vqc_node_is(value->producer, "Add");
         i++) {
        const vqc_value *last = input_of(weights, value, 1);
        if (last == NULL || !read_stage(weights, last, out)) {
            memset(out, 0, sizeof *out);
            return false;
        }
        value = input_of(weights, value, 0);
    }
    if (value == NULL || !read_stage(weights, value, out)) {
        memset(out, 0, sizeof *out);
        return false;
    }
    return true;
}
