/* Every TensorProto of a model. The depth of the recursion is bounded by VQC_ONNX_MAX_DEPTH when
 * reading. */
#include "formats/onnx_source.h"

typedef struct walk {
    vqc_tensor_visitor *visit;
    void *context;
    vqc_error *error;
} walk;

static vqc_status walk_graph(const walk *w, const Onnx__GraphProto *graph);

static vqc_status walk_tensor(const walk *w, Onnx__TensorProto *tensor, vqc_tensor_role role)
{
    return tensor == NULL ? VQC_OK : w->visit(w->context, tensor, role, w->error);
}

static vqc_status walk_sparse(const walk *w, const Onnx__SparseTensorProto *sparse)
{
    vqc_status status;

    if (sparse == NULL) {
        return VQC_OK;
    }
    status = walk_tensor(w, sparse->values, VQC_ROLE_SPARSE);
    return status != VQC_OK ? status : walk_tensor(w, sparse->indices, VQC_ROLE_SPARSE);
}

static vqc_status walk_attribute(const walk *w, const Onnx__AttributeProto *attribute)
{
    vqc_status status = walk_tensor(w, attribute->t, VQC_ROLE_ATTRIBUTE);

    for (size_t i = 0; i < attribute->n_tensors && status == VQC_OK; i++) {
        status = walk_tensor(w, attribute->tensors[i], VQC_ROLE_ATTRIBUTE);
    }
    if (status == VQC_OK) {
        status = walk_sparse(w, attribute->sparse_tensor);
    }
    for (size_t i = 0; i < attribute->n_sparse_tensors && status == VQC_OK; i++) {
        status = walk_sparse(w, attribute->sparse_tensors[i]);
    }
    if (status == VQC_OK && attribute->g != NULL) {
        status = walk_graph(w, attribute->g);
    }
    for (size_t i = 0; i < attribute->n_graphs && status == VQC_OK; i++) {
        status = walk_graph(w, attribute->graphs[i]);
    }
    return status;
}

static vqc_status walk_nodes(const walk *w, Onnx__NodeProto *const *nodes, size_t count)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < count && status == VQC_OK; i++) {
        for (size_t k = 0; k < nodes[i]->n_attribute && status == VQC_OK; k++) {
            status = walk_attribute(w, nodes[i]->attribute[k]);
        }
    }
    return status;
}

static vqc_status walk_graph(const walk *w, const Onnx__GraphProto *graph)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < graph->n_initializer && status == VQC_OK; i++) {
        status = walk_tensor(w, graph->initializer[i], VQC_ROLE_INITIALIZER);
    }
    for (size_t i = 0; i < graph->n_sparse_initializer && status == VQC_OK; i++) {
        status = walk_sparse(w, graph->sparse_initializer[i]);
    }
    return status != VQC_OK ? status : walk_nodes(w, graph->node, graph->n_node);
}

vqc_status vqc_onnx_each_tensor(const Onnx__ModelProto *model, vqc_tensor_visitor *visit,
                                void *context, vqc_error *error)
{
    walk w = {visit, context, error};
    vqc_status status = model->graph == NULL ? VQC_OK : walk_graph(&w, model->graph);

    for (size_t i = 0; i < model->n_functions && status == VQC_OK; i++) {
        status = walk_nodes(&w, model->functions[i]->node, model->functions[i]->n_node);
    }
    for (size_t i = 0; i < model->n_training_info && status == VQC_OK; i++) {
        const Onnx__TrainingInfoProto *info = model->training_info[i];
        if (info->initialization != NULL) {
            status = walk_graph(&w, info->initialization);
        }
        if (info->algorithm != NULL && status == VQC_OK) {
            status = walk_graph(&w, info->algorithm);
        }
    }
    return status;
}

vqc_status vqc_onnx_each_tensor_of(const Onnx__AttributeProto *attribute, vqc_tensor_visitor *visit,
                                   void *context, vqc_error *error)
{
    walk w = {visit, context, error};

    return walk_attribute(&w, attribute);
}
