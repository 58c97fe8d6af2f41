#include "tests/unit/model_builder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/tensor.h"
#include "formats/onnx_file.h"
#include "kernels/kernels.h"

/* Copies a list of pointers into one with room for one more. */
static void *longer(vqc_model *model, const void *items, size_t count)
{
    void **grown = vqc_arena_calloc(model->arena, count + 1, sizeof *grown);
    cr_assert_not_null(grown);
    if (count > 0) {
        memcpy(grown, items, count * sizeof *grown);
    }
    return grown;
}

#define APPEND(model, list, count, item)                                                           \
    do {                                                                                           \
        (list) = longer(model, list, count);                                                       \
        (list)[(count)++] = (item);                                                                \
    } while (0)

static char *copy(vqc_model *model, const char *text)
{
    char *made = vqc_arena_strdup(model->arena, text);
    cr_assert_not_null(made);
    return made;
}

static Onnx__GraphProto *main_or(vqc_model *model, Onnx__GraphProto *graph)
{
    return graph == NULL ? model->proto->graph : graph;
}

vqc_model *mb_model(int64_t opset, int64_t ir_version)
{
    vqc_model *model = NULL;
    vqc_error error;

    cr_assert_eq(vqc_model_create("m.onnx", &model, &error), VQC_OK);
    model->proto->has_ir_version = 1;
    model->proto->ir_version = ir_version;
    model->proto->graph = vqc_arena_alloc(model->arena, sizeof *model->proto->graph);
    cr_assert_not_null(model->proto->graph);
    onnx__graph_proto__init(model->proto->graph);
    model->proto->graph->name = copy(model, "g");
    cr_assert_eq(vqc_model_set_opset(model, "", opset, &error), VQC_OK);
    return model;
}

const void *mb_serialize(const vqc_model *model, size_t *size_bytes)
{
    uint8_t *bytes;

    *size_bytes = onnx__model_proto__get_packed_size(model->proto);
    bytes = vqc_arena_alloc(model->arena, *size_bytes);
    cr_assert_not_null(bytes);
    cr_assert_eq(onnx__model_proto__pack(model->proto, bytes), *size_bytes);
    return bytes;
}

vqc_model *mb_reopen(const vqc_model *model)
{
    size_t size;
    const void *bytes = mb_serialize(model, &size);
    vqc_model *again = NULL;
    vqc_error error = {0};

    cr_assert_eq(vqc_onnx_parse(bytes, size, "again.onnx", &again, &error), VQC_OK, "%s",
                 error.message);
    return again;
}

Onnx__TensorProto *mb_tensor(vqc_model *model, const char *name, vqc_dtype dtype,
                             const int64_t *dims, size_t rank, const void *raw)
{
    size_t elements = 1;
    size_t bytes;
    void *data;
    Onnx__TensorProto *tensor;

    for (size_t i = 0; i < rank; i++) {
        elements *= (size_t)dims[i];
    }
    cr_assert(vqc_dtype_bytes((int32_t)dtype, elements, &bytes));
    data = vqc_arena_calloc(model->arena, bytes + 1, 1);
    cr_assert_not_null(data);
    if (raw != NULL && bytes > 0) {
        memcpy(data, raw, bytes);
    }
    tensor = vqc_tensor_create(model->arena, name, dtype, dims, rank, data, bytes);
    cr_assert_not_null(tensor);
    return tensor;
}

Onnx__TensorProto *mb_float_tensor(vqc_model *model, const char *name, vqc_dtype dtype,
                                   const int64_t *dims, size_t rank, const float *values)
{
    size_t n = 1;
    double *wide;
    uint16_t *half;

    for (size_t i = 0; i < rank; i++) {
        n *= (size_t)dims[i];
    }
    wide = vqc_arena_calloc(model->arena, n + 1, sizeof *wide);
    half = vqc_arena_calloc(model->arena, n + 1, sizeof *half);
    cr_assert(wide != NULL && half != NULL);
    switch (dtype) {
    case VQC_DTYPE_FLOAT16:
        vqc_kernels_get()->f32_f16_convert(values, n, half);
        return mb_tensor(model, name, dtype, dims, rank, half);
    case VQC_DTYPE_BFLOAT16:
        vqc_kernels_get()->f32_bf16_convert(values, n, half);
        return mb_tensor(model, name, dtype, dims, rank, half);
    case VQC_DTYPE_DOUBLE:
        for (size_t i = 0; i < n; i++) {
            wide[i] = (double)values[i];
        }
        return mb_tensor(model, name, dtype, dims, rank, wide);
    default:
        cr_assert_eq(dtype, VQC_DTYPE_FLOAT);
        return mb_tensor(model, name, dtype, dims, rank, values);
    }
}

Onnx__TensorProto *mb_initializer(vqc_model *model, Onnx__GraphProto *graph,
                                  Onnx__TensorProto *tensor)
{
    graph = main_or(model, graph);
    APPEND(model, graph->initializer, graph->n_initializer, tensor);
    return tensor;
}

Onnx__TensorProto *mb_matrix(vqc_model *model, const char *name, int64_t rows, int64_t cols,
                             uint64_t seed)
{
    const int64_t dims[2] = {rows, cols};
    size_t n = (size_t)rows * (size_t)cols;
    float *values = vqc_arena_calloc(model->arena, n, sizeof *values);
    mb_random random = {seed};

    cr_assert_not_null(values);
    mb_random_fill(&random, values, n, 0.1f, 0.0f);
    return mb_initializer(model, NULL, mb_tensor(model, name, VQC_DTYPE_FLOAT, dims, 2, values));
}

/* Splits at blanks into names[32]; "-" becomes "". */
static size_t split(vqc_model *model, const char *text, const char *names[32])
{
    char *rest = copy(model, text);
    char *place = NULL;
    size_t count = 0;

    for (char *word = strtok_r(rest, " ", &place); word != NULL;
         word = strtok_r(NULL, " ", &place)) {
        cr_assert_lt(count, 32);
        names[count++] = strcmp(word, "-") == 0 ? "" : word;
    }
    return count;
}

Onnx__NodeProto *mb_free_node(vqc_model *model, const char *op, const char *inputs,
                              const char *outputs)
{
    const char *in[32];
    const char *out[32];
    size_t in_count = split(model, inputs, in);
    size_t out_count = split(model, outputs, out);
    char *domain = copy(model, op);
    char *dot = strrchr(domain, '.');
    Onnx__NodeProto *node;

    if (dot != NULL) {
        *dot = '\0';
    }
    node = vqc_node_create(model->arena, dot == NULL ? op : dot + 1, dot == NULL ? "" : domain,
                           NULL, in, in_count, out, out_count);
    cr_assert_not_null(node);
    return node;
}

Onnx__NodeProto *mb_node(vqc_model *model, Onnx__GraphProto *graph, const char *op,
                         const char *inputs, const char *outputs)
{
    Onnx__NodeProto *node = mb_free_node(model, op, inputs, outputs);

    graph = main_or(model, graph);
    APPEND(model, graph->node, graph->n_node, node);
    return node;
}

Onnx__NodeProto *mb_constant(vqc_model *model, Onnx__GraphProto *graph, const char *output,
                             Onnx__TensorProto *tensor)
{
    Onnx__NodeProto *node = mb_node(model, graph, "Constant", "", output);
    cr_assert(vqc_node_add_tensor(model->arena, node, "value", tensor));
    return node;
}

static Onnx__ValueInfoProto *value_info(vqc_model *model, const char *name)
{
    Onnx__ValueInfoProto *info = vqc_arena_alloc(model->arena, sizeof *info);
    Onnx__TypeProto *type = vqc_arena_alloc(model->arena, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = vqc_arena_alloc(model->arena, sizeof *tensor);

    cr_assert(info != NULL && type != NULL && tensor != NULL);
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    tensor->has_elem_type = 1;
    tensor->elem_type = VQC_DTYPE_FLOAT;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    info->name = copy(model, name);
    info->type = type;
    return info;
}

void mb_input(vqc_model *model, Onnx__GraphProto *graph, const char *name)
{
    graph = main_or(model, graph);
    APPEND(model, graph->input, graph->n_input, value_info(model, name));
}

void mb_output(vqc_model *model, Onnx__GraphProto *graph, const char *name)
{
    graph = main_or(model, graph);
    APPEND(model, graph->output, graph->n_output, value_info(model, name));
}

Onnx__GraphProto *mb_body(vqc_model *model, Onnx__NodeProto *node, const char *name)
{
    Onnx__AttributeProto *attr = vqc_arena_alloc(model->arena, sizeof *attr);
    Onnx__GraphProto *graph = vqc_arena_alloc(model->arena, sizeof *graph);

    cr_assert(attr != NULL && graph != NULL);
    onnx__attribute_proto__init(attr);
    onnx__graph_proto__init(graph);
    attr->name = copy(model, name);
    attr->has_type = 1;
    attr->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
    attr->g = graph;
    graph->name = copy(model, name);
    APPEND(model, node->attribute, node->n_attribute, attr);
    return graph;
}

static char **names_of(vqc_model *model, const char *text, size_t *count)
{
    const char *names[32];
    char **list;

    *count = split(model, text, names);
    list = vqc_arena_calloc(model->arena, *count + 1, sizeof *list);
    cr_assert_not_null(list);
    for (size_t i = 0; i < *count; i++) {
        list[i] = copy(model, names[i]);
    }
    return list;
}

Onnx__FunctionProto *mb_function(vqc_model *model, const char *domain, const char *name,
                                 const char *inputs, const char *outputs, int64_t opset)
{
    Onnx__FunctionProto *function = vqc_arena_alloc(model->arena, sizeof *function);
    Onnx__OperatorSetIdProto *import = vqc_arena_alloc(model->arena, sizeof *import);

    cr_assert(function != NULL && import != NULL);
    onnx__function_proto__init(function);
    onnx__operator_set_id_proto__init(import);
    import->domain = copy(model, "");
    import->has_version = 1;
    import->version = opset;
    function->domain = copy(model, domain);
    function->name = copy(model, name);
    function->input = names_of(model, inputs, &function->n_input);
    function->output = names_of(model, outputs, &function->n_output);
    APPEND(model, function->opset_import, function->n_opset_import, import);
    APPEND(model, model->proto->functions, model->proto->n_functions, function);
    return function;
}

void mb_function_add(vqc_model *model, Onnx__FunctionProto *function, Onnx__NodeProto *node)
{
    APPEND(model, function->node, function->n_node, node);
}

vqc_graph *mb_index(vqc_model *model)
{
    vqc_graph *graph = NULL;
    vqc_error error = {0};

    cr_assert_eq(vqc_graph_create(model, &graph, &error), VQC_OK, "%s", error.message);
    return graph;
}

vqc_value *mb_value(const vqc_graph *graph, const char *name)
{
    vqc_value *value = vqc_scope_define(graph, graph->scopes[0], name);
    cr_assert_not_null(value, "no value %s", name);
    return value;
}

uint64_t mb_random_next(mb_random *random)
{
    uint64_t z = (random->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

size_t mb_random_below(mb_random *random, size_t limit)
{
    return (size_t)(mb_random_next(random) % limit);
}

float mb_random_gauss(mb_random *random)
{
    double u = ((double)(mb_random_next(random) >> 11) + 0.5) * 0x1p-53;
    double v = (double)(mb_random_next(random) >> 11) * 0x1p-53;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

void mb_random_fill(mb_random *random, float *x, size_t n, float deviation, float mean)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = mb_random_gauss(random) * deviation + mean;
    }
}
