/* Recognising weights whose zeros are not stored: the patterns of core/emit/emit_sparse.c. */
#include "core/inspect_weight.h"
#include "core/layer.h"

enum { CHAIN_STEPS = 12 /* nodes between the weight and where its codes are spread, at most */ };

static const vqc_value *input_of(const vqc_weights *weights, const vqc_value *value, size_t input)
{
    const Onnx__NodeProto *node = value->producer;

    return node == NULL || input >= node->n_input || node->input[input][0] == '\0'
               ? NULL
               : vqc_scope_resolve(weights->graph, value->scope, node->input[input]);
}

static bool is_made_by(const vqc_value *value, const char *op)
{
    return value != NULL && value->producer != NULL && vqc_node_is(value->producer, op);
}

/* Places found by counting: a CumSum, times the mask where entry 0 stands for zeros. */
static bool is_counted(const vqc_weights *weights, const vqc_value *places)
{
    return is_made_by(places, "CumSum") ||
           (is_made_by(places, "Mul") && is_made_by(input_of(weights, places, 0), "CumSum"));
}

/* The input of a node through which the weights come, SIZE_MAX: none that patterns have. */
static size_t way_back(const Onnx__NodeProto *node)
{
    static const char *const first[] = {"Cast",      "Sub",       "Add",    "Mul",
                                        "Reshape",   "Transpose", "Gather", "DequantizeLinear",
                                        "Unsqueeze", "Squeeze",   "Slice"};

    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        if (vqc_node_is(node, first[i])) {
            return 0;
        }
    }
    return vqc_node_is(node, "Where") ? 1 : SIZE_MAX;
}

const vqc_value *vqc_value_spread_codes(const vqc_weights *weights, const vqc_value *value,
                                        const char **name)
{
    if (is_made_by(value, "ScatterElements") && is_made_by(input_of(weights, value, 1), "CumSum")) {
        *name = "gaps";
        return input_of(weights, value, 2);
    }
    if (is_made_by(value, "Gather") && is_counted(weights, input_of(weights, value, 1))) {
        *name = "bit mask";
        return input_of(weights, value, 0);
    }
    *name = "";
    return NULL;
}

const vqc_value *vqc_weight_stored_codes(const vqc_weights *weights, const vqc_value *from,
                                         const char **name)
{
    const vqc_value *value = from;
    const vqc_value *stored;

    *name = "";
    for (int i = 0; i < CHAIN_STEPS && value != NULL && value->producer != NULL; i++) {
        size_t next = way_back(value->producer);
        stored = vqc_value_spread_codes(weights, value, name);
        if (stored == NULL && is_made_by(value, "Gather")) { /* indices of a codebook */
            stored = vqc_value_spread_codes(weights, input_of(weights, value, 1), name);
        }
        if (stored != NULL) {
            return stored;
        }
        if (next == SIZE_MAX || vqc_value_stored_tensor(value) != NULL) {
            return NULL;
        }
        value = input_of(weights, value, next);
    }
    return NULL;
}
