#include "examples/lenet_onnx.h"

#include <onnx/onnx.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "formats/npz_file.h"

enum { NODES = 12, MAX_INPUTS = 3, MAX_ATTRIBUTES = 4, MAX_INTS = 4, MAX_TEXT = 24 };

/* Every message of the model; the pointers of each lead to others in here. */
typedef struct builder {
    Onnx__ModelProto model;
    Onnx__OperatorSetIdProto opset;
    Onnx__OperatorSetIdProto *opsets[1];
    Onnx__GraphProto graph;
    Onnx__NodeProto node[NODES];
    Onnx__NodeProto *nodes[NODES];
    char *node_inputs[NODES][MAX_INPUTS];
    char *node_outputs[NODES][1];
    Onnx__AttributeProto attribute[NODES][MAX_ATTRIBUTES];
    Onnx__AttributeProto *attributes[NODES][MAX_ATTRIBUTES];
    int64_t ints[NODES][MAX_ATTRIBUTES][MAX_INTS];
    Onnx__TensorProto tensor[2 * LENET_LAYERS];
    Onnx__TensorProto *tensors[2 * LENET_LAYERS];
    int64_t tensor_dims[2 * LENET_LAYERS][4];
    char tensor_names[2 * LENET_LAYERS][MAX_TEXT];
    char node_names[NODES][MAX_TEXT];
    char value_names[NODES][MAX_TEXT];
    Onnx__ValueInfoProto value[2];
    Onnx__ValueInfoProto *inputs[1];
    Onnx__ValueInfoProto *outputs[1];
    Onnx__TypeProto type[2];
    Onnx__TypeProto__Tensor tensor_type[2];
    Onnx__TensorShapeProto shape[2];
    Onnx__TensorShapeProto__Dimension dimension[2][4];
    Onnx__TensorShapeProto__Dimension *dimensions[2][4];
    size_t node_count;
} builder;

/* protobuf-c's fields are char *, though it only reads them when packing. */
static char *text(const char *literal)
{
    return (char *)(uintptr_t)literal;
}

/* Appends a node that takes the value before it; its output is called "<name>.out", or `output`. */
static Onnx__NodeProto *add_node(builder *b, const char *op, const char *name, const char *output)
{
    size_t n = b->node_count++;
    Onnx__NodeProto *node = &b->node[n];

    onnx__node_proto__init(node);
    (void)snprintf(b->node_names[n], MAX_TEXT, "%s", name);
    if (output != NULL) {
        (void)snprintf(b->value_names[n], MAX_TEXT, "%s", output);
    } else {
        (void)snprintf(b->value_names[n], MAX_TEXT, "%s.out", name);
    }
    node->op_type = text(op);
    node->name = b->node_names[n];
    b->node_inputs[n][0] = n == 0 ? text("image") : b->value_names[n - 1];
    node->input = b->node_inputs[n];
    node->n_input = 1;
    b->node_outputs[n][0] = b->value_names[n];
    node->output = b->node_outputs[n];
    node->n_output = 1;
    node->attribute = b->attributes[n];
    b->nodes[n] = node;
    return node;
}

static Onnx__AttributeProto *add_attribute(builder *b, Onnx__NodeProto *node, const char *name)
{
    size_t n = (size_t)(node - b->node);
    Onnx__AttributeProto *attribute = &b->attribute[n][node->n_attribute];

    onnx__attribute_proto__init(attribute);
    attribute->name = text(name);
    attribute->has_type = 1;
    b->attributes[n][node->n_attribute++] = attribute;
    return attribute;
}

/* An attribute of `count` integers, all the same. */
static void add_ints(builder *b, Onnx__NodeProto *node, const char *name, int64_t value,
                     size_t count)
{
    int64_t *ints = b->ints[node - b->node][node->n_attribute];
    Onnx__AttributeProto *attribute = add_attribute(b, node, name);

    for (size_t i = 0; i < count; i++) {
        ints[i] = value;
    }
    attribute->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
    attribute->ints = ints;
    attribute->n_ints = count;
}

static void add_int(builder *b, Onnx__NodeProto *node, const char *name, int64_t value)
{
    Onnx__AttributeProto *attribute = add_attribute(b, node, name);

    attribute->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    attribute->has_i = 1;
    attribute->i = value;
}

static void set_tensor(builder *b, size_t index, const char *name, float *data, size_t count)
{
    Onnx__TensorProto *tensor = &b->tensor[index];

    onnx__tensor_proto__init(tensor);
    tensor->name = text(name);
    tensor->has_data_type = 1;
    tensor->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor->dims = b->tensor_dims[index];
    tensor->has_raw_data = 1;
    tensor->raw_data.data = (uint8_t *)data;
    tensor->raw_data.len = count * sizeof *data;
    b->tensors[index] = tensor;
}

/* The Conv or Gemm node of layer `index` and its two initializers. */
static void add_layer(builder *b, const lenet_layer *layer, size_t index, const char *output)
{
    bool is_conv = layer->out_side > 1;
    Onnx__NodeProto *node = add_node(b, is_conv ? "Conv" : "Gemm", layer->name, output);
    int64_t *dims = b->tensor_dims[2 * index];
    char *weight_name = b->tensor_names[2 * index];
    char *bias_name = b->tensor_names[2 * index + 1];

    (void)snprintf(weight_name, MAX_TEXT, "%s.weight", layer->name);
    (void)snprintf(bias_name, MAX_TEXT, "%s.bias", layer->name);
    node->input[1] = weight_name;
    node->input[2] = bias_name;
    node->n_input = 3;
    set_tensor(b, 2 * index, weight_name, layer->weight, layer->weight_count);
    set_tensor(b, 2 * index + 1, bias_name, layer->bias, (size_t)layer->out_channels);
    b->tensor_dims[2 * index + 1][0] = layer->out_channels;
    b->tensor[2 * index + 1].n_dims = 1;
    dims[0] = layer->out_channels;
    if (is_conv) {
        dims[1] = layer->in_channels;
        dims[2] = dims[3] = layer->kernel;
        b->tensor[2 * index].n_dims = 4;
        add_ints(b, node, "kernel_shape", layer->kernel, 2);
        add_ints(b, node, "pads", index == 0 ? 2 : 0, 4);
        add_ints(b, node, "strides", 1, 2);
    } else {
        dims[1] = layer->in_channels * layer->kernel * layer->kernel;
        b->tensor[2 * index].n_dims = 2;
        add_int(b, node, "transB", 1); /* the weight is [out, in] */
    }
}

static void add_pool(builder *b, const char *name)
{
    Onnx__NodeProto *node = add_node(b, "MaxPool", name, NULL);

    add_ints(b, node, "kernel_shape", 2, 2);
    add_ints(b, node, "strides", 2, 2);
}

/* Float value `name` of shape [N, dims...]. */
static void set_value(builder *b, size_t which, const char *name, const int64_t *dims, size_t count)
{
    onnx__value_info_proto__init(&b->value[which]);
    onnx__type_proto__init(&b->type[which]);
    onnx__type_proto__tensor__init(&b->tensor_type[which]);
    onnx__tensor_shape_proto__init(&b->shape[which]);
    for (size_t i = 0; i <= count; i++) {
        Onnx__TensorShapeProto__Dimension *d = &b->dimension[which][i];
        onnx__tensor_shape_proto__dimension__init(d);
        if (i == 0) {
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            d->dim_param = text("N");
        } else {
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            d->dim_value = dims[i - 1];
        }
        b->dimensions[which][i] = d;
    }
    b->shape[which].dim = b->dimensions[which];
    b->shape[which].n_dim = count + 1;
    b->tensor_type[which].has_elem_type = 1;
    b->tensor_type[which].elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    b->tensor_type[which].shape = &b->shape[which];
    b->type[which].value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    b->type[which].tensor_type = &b->tensor_type[which];
    b->value[which].name = text(name);
    b->value[which].type = &b->type[which];
}

static void build(builder *b, const lenet *net)
{
    static const int64_t image_dims[3] = {1, 28, 28};
    static const int64_t logits_dims[1] = {LENET_CLASSES};
    Onnx__NodeProto *flatten;

    add_layer(b, lenet_get_layer(net, 0), 0, NULL);
    (void)add_node(b, "Relu", "relu1", NULL);
    add_pool(b, "pool1");
    add_layer(b, lenet_get_layer(net, 1), 1, NULL);
    (void)add_node(b, "Relu", "relu2", NULL);
    add_pool(b, "pool2");
    flatten = add_node(b, "Flatten", "flatten", NULL);
    add_int(b, flatten, "axis", 1);
    add_layer(b, lenet_get_layer(net, 2), 2, NULL);
    (void)add_node(b, "Relu", "relu3", NULL);
    add_layer(b, lenet_get_layer(net, 3), 3, NULL);
    (void)add_node(b, "Relu", "relu4", NULL);
    add_layer(b, lenet_get_layer(net, 4), 4, "logits");

    set_value(b, 0, "image", image_dims, 3);
    set_value(b, 1, "logits", logits_dims, 1);
    b->inputs[0] = &b->value[0];
    b->outputs[0] = &b->value[1];

    onnx__graph_proto__init(&b->graph);
    b->graph.name = text("lenet5");
    b->graph.node = b->nodes;
    b->graph.n_node = b->node_count;
    b->graph.initializer = b->tensors;
    b->graph.n_initializer = (size_t)2 * LENET_LAYERS;
    b->graph.input = b->inputs;
    b->graph.n_input = 1;
    b->graph.output = b->outputs;
    b->graph.n_output = 1;

    onnx__operator_set_id_proto__init(&b->opset);
    b->opset.domain = text("");
    b->opset.has_version = 1;
    b->opset.version = 13;
    b->opsets[0] = &b->opset;
    onnx__model_proto__init(&b->model);
    b->model.has_ir_version = 1;
    b->model.ir_version = 7;
    b->model.producer_name = text("make_lenet5");
    b->model.doc_string = text("LeNet-5 for drawn digits, trained by make_lenet5");
    b->model.graph = &b->graph;
    b->model.opset_import = b->opsets;
    b->model.n_opset_import = 1;
}

vqc_status lenet_write_onnx(const lenet *net, const char *path, vqc_error *error)
{
    builder *b = calloc(1, sizeof *b);
    vqc_npz_file *file = NULL;
    uint8_t *packed = NULL;
    size_t packed_bytes;
    vqc_status status;

    if (b == NULL) {
        return vqc_fail_memory(error, sizeof *b);
    }
    build(b, net);
    packed_bytes = onnx__model_proto__get_packed_size(&b->model);
    packed = malloc(packed_bytes);
    if (packed == NULL) {
        status = vqc_fail_memory(error, packed_bytes);
        goto done;
    }
    (void)onnx__model_proto__pack(&b->model, packed);
    status = vqc_npz_file_create(path, &file, error);
    if (status == VQC_OK) {
        status = vqc_npz_file_write(file, packed, packed_bytes, error);
    }
    if (status == VQC_OK) {
        status = vqc_npz_file_commit(file, error);
    }
done:
    vqc_npz_file_destroy(&file);
    free(packed);
    free(b);
    return status;
}
