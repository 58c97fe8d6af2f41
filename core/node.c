/* Reading and building nodes and attributes. Part of core/graph.h. */
#include <stdio.h>
#include <string.h>

#include "core/graph.h"

const Onnx__AttributeProto *vqc_node_attr(const Onnx__NodeProto *node, const char *name)
{
    for (size_t i = 0; i < node->n_attribute; i++) {
        const Onnx__AttributeProto *attr = node->attribute[i];
        if (attr->name != NULL && strcmp(attr->name, name) == 0) {
            return attr;
        }
    }
    return NULL;
}

int64_t vqc_node_attr_int(const Onnx__NodeProto *node, const char *name, int64_t fallback)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(node, name);
    return attr != NULL && attr->has_i ? attr->i : fallback;
}

float vqc_node_attr_float(const Onnx__NodeProto *node, const char *name, float fallback)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(node, name);
    return attr != NULL && attr->has_f ? attr->f : fallback;
}

const char *vqc_node_op_name(const Onnx__NodeProto *node, vqc_arena *arena)
{
    const char *op = node->op_type == NULL ? "" : node->op_type;
    if (vqc_domain_is_onnx(node->domain)) {
        return op;
    }
    return vqc_arena_printf(arena, "%s.%s", node->domain, op);
}

bool vqc_node_is(const Onnx__NodeProto *node, const char *op)
{
    return node->op_type != NULL && strcmp(node->op_type, op) == 0 &&
           vqc_domain_is_onnx(node->domain);
}

bool vqc_node_is_random(const Onnx__NodeProto *node)
{
    static const char *const names[] = {"RandomNormal",      "RandomUniform", "RandomNormalLike",
                                        "RandomUniformLike", "Bernoulli",     "Multinomial"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (vqc_node_is(node, names[i])) {
            return true;
        }
    }
    return vqc_node_is(node, "Dropout") && node->n_input > 2 && node->input[2] != NULL &&
           node->input[2][0] != '\0';
}

bool vqc_node_may_vary(const Onnx__NodeProto *node)
{
    for (size_t i = 0; i < node->n_attribute; i++) {
        if (node->attribute[i]->g != NULL || node->attribute[i]->n_graphs > 0) {
            return true;
        }
    }
    return vqc_node_is_random(node) || (node->n_input == 0 && !vqc_node_is(node, "Constant"));
}

const char *vqc_node_label(const Onnx__NodeProto *node, vqc_arena *arena)
{
    if (node->name != NULL && node->name[0] != '\0') {
        return node->name;
    }
    for (size_t i = 0; i < node->n_output; i++) {
        if (node->output[i] != NULL && node->output[i][0] != '\0') {
            return vqc_arena_printf(arena, "-> %s", node->output[i]);
        }
    }
    return "(unnamed)";
}

static char **copy_names(vqc_arena *arena, const char *const *names, size_t count)
{
    char **copies = vqc_arena_calloc(arena, count == 0 ? 1 : count, sizeof *copies);
    if (copies == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        copies[i] = vqc_arena_strdup(arena, names[i]);
        if (copies[i] == NULL) {
            return NULL;
        }
    }
    return copies;
}

Onnx__NodeProto *vqc_node_create(vqc_arena *arena, const char *op_type, const char *domain,
                                 const char *name, const char *const *inputs, size_t input_count,
                                 const char *const *outputs, size_t output_count)
{
    Onnx__NodeProto *node = vqc_arena_alloc(arena, sizeof *node);
    if (node == NULL) {
        return NULL;
    }
    onnx__node_proto__init(node);
    node->op_type = vqc_arena_strdup(arena, op_type);
    node->input = copy_names(arena, inputs, input_count);
    node->output = copy_names(arena, outputs, output_count);
    node->n_input = input_count;
    node->n_output = output_count;
    if (node->op_type == NULL || node->input == NULL || node->output == NULL) {
        return NULL;
    }
    if (!vqc_domain_is_onnx(domain) && (node->domain = vqc_arena_strdup(arena, domain)) == NULL) {
        return NULL;
    }
    if (name != NULL && name[0] != '\0' && (node->name = vqc_arena_strdup(arena, name)) == NULL) {
        return NULL;
    }
    return node;
}

static Onnx__AttributeProto *add_attr(vqc_arena *arena, Onnx__NodeProto *node, const char *name,
                                      Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto **grown =
        vqc_arena_calloc(arena, node->n_attribute + 1, sizeof *node->attribute);
    Onnx__AttributeProto *attr = vqc_arena_alloc(arena, sizeof *attr);
    if (grown == NULL || attr == NULL) {
        return NULL;
    }
    onnx__attribute_proto__init(attr);
    attr->name = vqc_arena_strdup(arena, name);
    if (attr->name == NULL) {
        return NULL;
    }
    attr->has_type = 1;
    attr->type = type;
    if (node->n_attribute > 0) {
        memcpy(grown, node->attribute, node->n_attribute * sizeof *grown);
    }
    grown[node->n_attribute] = attr;
    node->attribute = grown;
    node->n_attribute++;
    return attr;
}

bool vqc_node_add_int(vqc_arena *arena, Onnx__NodeProto *node, const char *name, int64_t value)
{
    Onnx__AttributeProto *attr =
        add_attr(arena, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (attr == NULL) {
        return false;
    }
    attr->has_i = 1;
    attr->i = value;
    return true;
}

bool vqc_node_add_ints(vqc_arena *arena, Onnx__NodeProto *node, const char *name,
                       const int64_t *values, size_t count)
{
    int64_t *copy = vqc_arena_calloc(arena, count == 0 ? 1 : count, sizeof *copy);
    Onnx__AttributeProto *attr =
        add_attr(arena, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    if (attr == NULL || copy == NULL) {
        return false;
    }
    if (count > 0) {
        memcpy(copy, values, count * sizeof *copy);
    }
    attr->ints = copy;
    attr->n_ints = count;
    return true;
}

bool vqc_node_add_float(vqc_arena *arena, Onnx__NodeProto *node, const char *name, float value)
{
    Onnx__AttributeProto *attr =
        add_attr(arena, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (attr == NULL) {
        return false;
    }
    attr->has_f = 1;
    attr->f = value;
    return true;
}

bool vqc_node_add_string(vqc_arena *arena, Onnx__NodeProto *node, const char *name,
                         const char *value)
{
    Onnx__AttributeProto *attr =
        add_attr(arena, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    char *copy = vqc_arena_strdup(arena, value);
    if (attr == NULL || copy == NULL) {
        return false;
    }
    attr->has_s = 1;
    attr->s.data = (uint8_t *)copy;
    attr->s.len = strlen(value);
    return true;
}

bool vqc_node_add_tensor(vqc_arena *arena, Onnx__NodeProto *node, const char *name,
                         Onnx__TensorProto *value)
{
    Onnx__AttributeProto *attr =
        add_attr(arena, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR);
    if (attr == NULL) {
        return false;
    }
    attr->t = value;
    return true;
}

void vqc_node_remove_attr(Onnx__NodeProto *node, const char *name)
{
    size_t kept = 0;
    for (size_t i = 0; i < node->n_attribute; i++) {
        Onnx__AttributeProto *attr = node->attribute[i];
        if (attr->name == NULL || strcmp(attr->name, name) != 0) {
            node->attribute[kept++] = attr;
        }
    }
    node->n_attribute = kept;
}

bool vqc_node_set_input(vqc_arena *arena, Onnx__NodeProto *node, size_t index, const char *name)
{
    char *copy = vqc_arena_strdup(arena, name);
    if (copy == NULL) {
        return false;
    }
    if (index >= node->n_input) {
        char **grown = vqc_arena_calloc(arena, index + 1, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        if (node->n_input > 0) {
            memcpy(grown, node->input, node->n_input * sizeof *grown);
        }
        for (size_t i = node->n_input; i < index; i++) {
            grown[i] = vqc_arena_strdup(arena, "");
            if (grown[i] == NULL) {
                return false;
            }
        }
        node->input = grown;
        node->n_input = index + 1;
    }
    node->input[index] = copy;
    return true;
}
