/* Every byte of a model's files in exactly one row. */
#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"
#include "core/inspect_weight.h"
#include "core/layer.h"
#include "core/tensor.h"

/* protobuf field numbers that decide how long a tag is: below 16 one byte, else two (onnx.proto) */
enum { FIELD_SMALL = 1, FIELD_LARGE = 16, MAX_DEPTH = 128 };

typedef struct sizer {
    vqc_weights *weights;
    vqc_inspection *out;
    vqc_pointer_map scopes; /* GraphProto -> index of its scope */
    size_t capacity;
    size_t
        *overhead; /* [capacity] bytes of a row that are not payload: where encodings may differ */
    vqc_error *error;
    size_t total; /* bytes of the .onnx file in rows so far */
    struct {
        const unsigned char *start;
        const unsigned char *end;
        size_t row;
    } * ranges; /* external payloads, to count shared ones once */
    size_t range_count;
    size_t range_capacity;
} sizer;

static size_t varint_size(uint64_t value)
{
    size_t bytes = 1;

    while (value >= 0x80) {
        value >>= 7;
        bytes++;
    }
    return bytes;
}

/* Bytes of a length-delimited field with `length` bytes inside. */
static size_t framed(size_t field, size_t length)
{
    return (field < FIELD_LARGE ? 1u : 2u) + varint_size(length) + length;
}

static size_t packed(const void *message)
{
    return protobuf_c_message_get_packed_size(message);
}

static bool is_external(const Onnx__TensorProto *tensor)
{
    return tensor->has_data_location &&
           tensor->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
}

/* A tensor as it lies in the .onnx file: external payloads are elsewhere. */
static size_t tensor_size(const Onnx__TensorProto *tensor)
{
    Onnx__TensorProto copy = *tensor;

    if (is_external(tensor)) {
        copy.has_raw_data = 0;
    }
    return packed(&copy);
}

static vqc_size_row *add_row(sizer *self, const char *name, const vqc_scope *scope,
                             const char *kind, size_t bytes, size_t overhead)
{
    vqc_inspection *out = self->out;
    vqc_size_row *row;

    if (out->row_count ==
        self->capacity) { /* the arena keeps the old array: doubling bounds the waste */
        size_t capacity = self->capacity == 0 ? 256 : self->capacity * 2;
        vqc_size_row *rows = vqc_arena_calloc(out->arena, capacity, sizeof *rows);
        size_t *overheads = realloc(self->overhead, capacity * sizeof *overheads);
        if (overheads != NULL) {
            self->overhead = overheads;
        }
        if (rows == NULL || overheads == NULL) {
            vqc_fail_memory(self->error, capacity * sizeof *rows);
            return NULL;
        }
        if (out->row_count > 0) {
            memcpy(rows, out->rows, out->row_count * sizeof *rows);
        }
        out->rows = rows;
        self->capacity = capacity;
    }
    self->overhead[out->row_count] = overhead;
    row = &out->rows[out->row_count++];
    row->name = vqc_arena_strdup(out->arena, name != NULL ? name : "");
    row->scope = vqc_arena_strdup(out->arena, scope != NULL ? scope->path : "");
    row->op = "";
    row->dtype = "";
    row->kind = kind;
    row->bytes = bytes;
    self->total += bytes;
    if (row->name == NULL || row->scope == NULL) {
        vqc_fail_memory(self->error, 0);
        return NULL;
    }
    return row;
}

static bool add_range(sizer *self, const Onnx__TensorProto *tensor, size_t row)
{
    if (self->range_count == self->range_capacity) {
        size_t capacity = self->range_capacity == 0 ? 64 : self->range_capacity * 2;
        void *ranges = realloc(self->ranges, capacity * sizeof *self->ranges);
        if (ranges == NULL) {
            return false;
        }
        self->ranges = ranges;
        self->range_capacity = capacity;
    }
    self->ranges[self->range_count].start = tensor->raw_data.data;
    self->ranges[self->range_count].end = tensor->raw_data.data + tensor->raw_data.len;
    self->ranges[self->range_count++].row = row;
    return true;
}

/* The operator's name, copied: the inspection outlives the model. */
static const char *own_op_name(const Onnx__NodeProto *node, vqc_arena *arena)
{
    const char *name = vqc_node_op_name(node, arena);

    return name == NULL ? NULL : vqc_arena_strdup(arena, name);
}

/* The operator that reads a value first, or "" */
static const char *reader_op(const sizer *self, const vqc_value *value, vqc_arena *arena)
{
    size_t index = vqc_pointer_map_get(&self->weights->owner, value, VQC_NOBODY);
    const Onnx__NodeProto *node = NULL;

    if (index < self->weights->count) {
        node = self->weights->items[index].node;
    } else {
        for (size_t u = 0; u < value->use_count && node == NULL; u++) {
            node = value->uses[u].node;
        }
    }
    return node == NULL ? "" : own_op_name(node, arena);
}

/* A row for a stored tensor that takes `bytes` of the .onnx file. value: NULL when it has no name
 * of its own. */
static vqc_status add_tensor(sizer *self, const Onnx__TensorProto *tensor, const vqc_value *value,
                             const vqc_scope *scope, size_t bytes)
{
    vqc_inspection *out = self->out;
    size_t index = vqc_pointer_map_get(&self->weights->owner, value, VQC_NOBODY);
    bool weight = index < self->weights->count;
    bool raw = tensor->has_raw_data && !is_external(tensor);
    size_t payload = raw ? tensor->raw_data.len : 0;
    vqc_size_row *row = add_row(self, value != NULL ? value->name : tensor->name, scope,
                                weight ? "weight" : "constant", bytes, bytes - payload);
    int64_t *dims;
    size_t elements;

    if (row == NULL) {
        return VQC_ERR_INTERNAL;
    }
    if (weight) {
        self->weights->items[index].bytes += bytes;
        self->weights->items[index].bytes +=
            is_external(tensor) && tensor->has_raw_data ? tensor->raw_data.len : 0;
    }
    dims = vqc_arena_calloc(out->arena, tensor->n_dims + 1, sizeof *dims);
    if (dims == NULL) {
        return vqc_fail_memory(self->error, tensor->n_dims * sizeof *dims);
    }
    if (tensor->n_dims > 0) {
        memcpy(dims, tensor->dims, tensor->n_dims * sizeof *dims);
    }
    row->dims = dims;
    row->rank = tensor->n_dims;
    row->elements = vqc_tensor_elements(tensor, &elements) ? elements : 0;
    row->dtype = vqc_dtype_describe(tensor->data_type)->name;
    row->op = value != NULL ? reader_op(self, value, out->arena) : "";
    if (row->op == NULL ||
        (is_external(tensor) && tensor->has_raw_data && tensor->raw_data.len > 0 &&
         !add_range(self, tensor, (size_t)(row - out->rows)))) {
        return vqc_fail_memory(self->error, 0);
    }
    return VQC_OK;
}

/* A sparse tensor as one row; its parts are never external here. */
static vqc_status add_sparse(sizer *self, const Onnx__SparseTensorProto *sparse,
                             const vqc_value *value, const vqc_scope *scope, size_t bytes)
{
    const char *name = sparse->values != NULL ? sparse->values->name : "";
    vqc_size_row *row =
        add_row(self, value != NULL ? value->name : name, scope, "constant", bytes, bytes);

    if (row == NULL) {
        return VQC_ERR_INTERNAL;
    }
    if (sparse->values != NULL) {
        row->dtype = vqc_dtype_describe(sparse->values->data_type)->name;
        for (size_t i = 0; i < 2; i++) {
            const Onnx__TensorProto *part = i == 0 ? sparse->values : sparse->indices;
            if (part != NULL && is_external(part) && part->has_raw_data &&
                !add_range(self, part, (size_t)(row - self->out->rows))) {
                return vqc_fail_memory(self->error, 0);
            }
        }
    }
    return VQC_OK;
}

static size_t sparse_size(const Onnx__SparseTensorProto *sparse)
{
    Onnx__SparseTensorProto copy = *sparse;
    size_t bytes;

    copy.values = copy.indices = NULL;
    bytes = packed(&copy);
    bytes += sparse->values != NULL ? framed(FIELD_SMALL, tensor_size(sparse->values)) : 0;
    bytes += sparse->indices != NULL ? framed(FIELD_SMALL, tensor_size(sparse->indices)) : 0;
    return bytes;
}

static size_t graph_size(const Onnx__GraphProto *graph, int depth);

static size_t attribute_size(const Onnx__AttributeProto *attr, int depth)
{
    Onnx__AttributeProto copy = *attr;
    size_t bytes;

    copy.t = NULL;
    copy.g = NULL;
    copy.sparse_tensor = NULL;
    copy.n_tensors = copy.n_graphs = copy.n_sparse_tensors = 0;
    bytes = packed(&copy);
    bytes += attr->t != NULL ? framed(FIELD_SMALL, tensor_size(attr->t)) : 0;
    bytes += attr->g != NULL ? framed(FIELD_SMALL, graph_size(attr->g, depth + 1)) : 0;
    bytes +=
        attr->sparse_tensor != NULL ? framed(FIELD_LARGE, sparse_size(attr->sparse_tensor)) : 0;
    for (size_t i = 0; i < attr->n_tensors; i++) {
        bytes += framed(FIELD_SMALL, tensor_size(attr->tensors[i]));
    }
    for (size_t i = 0; i < attr->n_graphs; i++) {
        bytes += framed(FIELD_SMALL, graph_size(attr->graphs[i], depth + 1));
    }
    for (size_t i = 0; i < attr->n_sparse_tensors; i++) {
        bytes += framed(FIELD_LARGE, sparse_size(attr->sparse_tensors[i]));
    }
    return bytes;
}

static size_t node_size(const Onnx__NodeProto *node, int depth)
{
    Onnx__NodeProto copy = *node;
    size_t bytes;

    copy.n_attribute = 0;
    bytes = packed(&copy);
    for (size_t i = 0; i < node->n_attribute; i++) {
        bytes += framed(FIELD_SMALL, attribute_size(node->attribute[i], depth));
    }
    return bytes;
}

static size_t graph_size(const Onnx__GraphProto *graph, int depth)
{
    Onnx__GraphProto copy = *graph;
    size_t bytes;

    if (depth > MAX_DEPTH) { /* the reader refuses such nesting */
        return 0;
    }
    copy.n_node = copy.n_initializer = copy.n_sparse_initializer = 0;
    bytes = packed(&copy);
    for (size_t i = 0; i < graph->n_node; i++) {
        bytes += framed(FIELD_SMALL, node_size(graph->node[i], depth));
    }
    for (size_t i = 0; i < graph->n_initializer; i++) {
        bytes += framed(FIELD_SMALL, tensor_size(graph->initializer[i]));
    }
    for (size_t i = 0; i < graph->n_sparse_initializer; i++) {
        bytes += framed(FIELD_SMALL, sparse_size(graph->sparse_initializer[i]));
    }
    return bytes;
}

static vqc_status add_graph(sizer *self, const Onnx__GraphProto *graph, const vqc_scope *scope,
                            int depth);

/* The scope of a subgraph, or the enclosing one when the index has none. */
static const vqc_scope *scope_of(const sizer *self, const Onnx__GraphProto *graph,
                                 const vqc_scope *outside)
{
    size_t index = vqc_pointer_map_get(&self->scopes, graph, SIZE_MAX);

    return index == SIZE_MAX ? outside : self->weights->graph->scopes[index];
}

/* Rows for the tensors and graphs inside an attribute. */
static vqc_status add_attribute(sizer *self, const Onnx__AttributeProto *attr,
                                const vqc_value *value, const vqc_scope *scope, int depth)
{
    vqc_status status = VQC_OK;

    if (attr->t != NULL) {
        status = add_tensor(self, attr->t, value, scope, framed(FIELD_SMALL, tensor_size(attr->t)));
    }
    if (status == VQC_OK && attr->g != NULL) {
        status = add_graph(self, attr->g, scope_of(self, attr->g, scope), depth + 1);
    }
    if (status == VQC_OK && attr->sparse_tensor != NULL) {
        status = add_sparse(self, attr->sparse_tensor, value, scope,
                            framed(FIELD_LARGE, sparse_size(attr->sparse_tensor)));
    }
    for (size_t i = 0; status == VQC_OK && i < attr->n_tensors; i++) {
        status = add_tensor(self, attr->tensors[i], NULL, scope,
                            framed(FIELD_SMALL, tensor_size(attr->tensors[i])));
    }
    for (size_t i = 0; status == VQC_OK && i < attr->n_graphs; i++) {
        status =
            add_graph(self, attr->graphs[i], scope_of(self, attr->graphs[i], scope), depth + 1);
    }
    for (size_t i = 0; status == VQC_OK && i < attr->n_sparse_tensors; i++) {
        status = add_sparse(self, attr->sparse_tensors[i], NULL, scope,
                            framed(FIELD_LARGE, sparse_size(attr->sparse_tensors[i])));
    }
    return status;
}

/* The node's own row gets what its inner parts do not; `bytes` is the whole node with its tag. */
static vqc_status add_node(sizer *self, const Onnx__NodeProto *node, const vqc_scope *scope,
                           size_t bytes, int depth)
{
    size_t before = self->total;
    bool constant = vqc_node_is(node, "Constant") && node->n_output > 0;
    const vqc_value *value =
        constant ? vqc_scope_define(self->weights->graph, scope, node->output[0]) : NULL;
    size_t index = vqc_pointer_map_get(&self->weights->owner, node, VQC_NOBODY);
    const char *name = node->name != NULL && node->name[0] != '\0' ? node->name
                       : node->n_output > 0                        ? node->output[0]
                                                                   : "";
    vqc_size_row *row;
    vqc_status status = VQC_OK;

    for (size_t i = 0; status == VQC_OK && i < node->n_attribute; i++) {
        status = add_attribute(self, node->attribute[i], value, scope, depth);
    }
    if (status != VQC_OK) {
        return status;
    }
    bytes -= self->total - before;
    row = add_row(self, name, scope, "node", bytes, bytes);
    if (row == NULL) {
        return VQC_ERR_INTERNAL;
    }
    if (index < self->weights->count) {
        self->weights->items[index].bytes += bytes;
    }
    row->op = own_op_name(index < self->weights->count ? self->weights->items[index].node : node,
                          self->out->arena);
    return row->op != NULL ? VQC_OK : vqc_fail_memory(self->error, 0);
}

/* Rows for all of a graph but its own tag and length, which the caller counts. */
static vqc_status add_graph(sizer *self, const Onnx__GraphProto *graph, const vqc_scope *scope,
                            int depth)
{
    Onnx__GraphProto copy = *graph;
    size_t interface = 0;
    size_t info = 0;
    size_t rest;
    vqc_status status = VQC_OK;

    if (depth > MAX_DEPTH) {
        return VQC_OK;
    }
    for (size_t i = 0; status == VQC_OK && i < graph->n_initializer; i++) {
        const char *name = graph->initializer[i]->name;
        status = add_tensor(self, graph->initializer[i],
                            vqc_scope_define(self->weights->graph, scope, name != NULL ? name : ""),
                            scope, framed(FIELD_SMALL, tensor_size(graph->initializer[i])));
    }
    for (size_t i = 0; status == VQC_OK && i < graph->n_sparse_initializer; i++) {
        status = add_sparse(self, graph->sparse_initializer[i], NULL, scope,
                            framed(FIELD_SMALL, sparse_size(graph->sparse_initializer[i])));
    }
    for (size_t i = 0; status == VQC_OK && i < graph->n_node; i++) {
        status = add_node(self, graph->node[i], scope,
                          framed(FIELD_SMALL, node_size(graph->node[i], depth)), depth);
    }
    if (status != VQC_OK) {
        return status;
    }
    for (size_t i = 0; i < graph->n_input + graph->n_output; i++) {
        interface +=
            framed(FIELD_SMALL, packed(i < graph->n_input ? graph->input[i]
                                                          : graph->output[i - graph->n_input]));
    }
    for (size_t i = 0; i < graph->n_value_info; i++) {
        info += framed(FIELD_SMALL, packed(graph->value_info[i]));
    }
    copy.n_node = copy.n_initializer = copy.n_sparse_initializer = 0;
    rest = packed(&copy) - interface - info;
    if ((interface > 0 && add_row(self, "graph inputs and outputs", scope, "value_info", interface,
                                  interface) == NULL) ||
        (info > 0 && add_row(self, "value_info", scope, "value_info", info, info) == NULL) ||
        (rest > 0 && add_row(self, "graph structure", scope, "structure", rest, rest) == NULL)) {
        return VQC_ERR_INTERNAL;
    }
    return VQC_OK;
}

static vqc_status add_function(sizer *self, const Onnx__FunctionProto *function,
                               const vqc_scope *scope)
{
    size_t before = self->total;
    Onnx__FunctionProto copy = *function;
    size_t bytes;
    vqc_status status = VQC_OK;

    copy.n_node = 0;
    bytes = packed(&copy);
    for (size_t i = 0; i < function->n_node; i++) {
        bytes += framed(FIELD_SMALL, node_size(function->node[i], 0));
    }
    bytes = framed(FIELD_LARGE, bytes);
    for (size_t i = 0; status == VQC_OK && i < function->n_node; i++) {
        status = add_node(self, function->node[i], scope,
                          framed(FIELD_SMALL, node_size(function->node[i], 0)), 0);
    }
    bytes -= self->total - before;
    if (status == VQC_OK &&
        add_row(self, "function structure", scope, "structure", bytes, bytes) == NULL) {
        status = VQC_ERR_INTERNAL;
    }
    return status;
}

static vqc_status add_model(sizer *self)
{
    const vqc_graph *index = self->weights->graph;
    const Onnx__ModelProto *model = self->weights->model->proto;
    Onnx__ModelProto copy = *model;
    size_t before;
    size_t frame;
    size_t training = 0;
    size_t metadata;
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < index->scope_count && status == VQC_OK; i++) {
        if (index->scopes[i]->graph == model->graph) {
            before = self->total;
            status = add_graph(self, model->graph, index->scopes[i], 0);
            frame = framed(FIELD_SMALL, graph_size(model->graph, 0)) - (self->total - before);
            if (status == VQC_OK &&
                add_row(self, "graph tag and length", NULL, "structure", frame, frame) == NULL) {
                status = VQC_ERR_INTERNAL;
            }
        } else if (index->scopes[i]->function != NULL) {
            status = add_function(self, index->scopes[i]->function, index->scopes[i]);
        }
    }
    if (status != VQC_OK) {
        return status;
    }
    for (size_t i = 0; i < model->n_training_info; i++) {
        training += framed(FIELD_LARGE, packed(model->training_info[i]));
    }
    copy.graph = NULL;
    copy.n_functions = copy.n_training_info = 0;
    metadata = packed(&copy);
    if ((training > 0 &&
         add_row(self, "training_info", NULL, "structure", training, training) == NULL) ||
        (metadata > 0 &&
         add_row(self, "model metadata", NULL, "metadata", metadata, metadata) == NULL)) {
        return VQC_ERR_INTERNAL;
    }
    return VQC_OK;
}

/*
 * The writer of the file may have encoded it otherwise than this program would: longer (padded
 * varints), which gets a row of its own, or shorter (packed dims), which is taken off the rows in
 * proportion to their bytes that are not payload.
 */
static vqc_status settle(sizer *self, size_t actual, const char *name, const char *kind)
{
    size_t excess;
    size_t overhead = 0;
    size_t taken = 0;

    if (actual >= self->total) {
        excess = actual - self->total;
        return excess == 0 || add_row(self, name, NULL, kind, excess, 0) != NULL ? VQC_OK
                                                                                 : VQC_ERR_INTERNAL;
    }
    excess = self->total - actual;
    for (size_t i = 0; i < self->out->row_count; i++) {
        overhead += self->overhead[i];
    }
    for (size_t i = 0; i < self->out->row_count && overhead > 0; i++) {
        size_t share = (size_t)((double)self->overhead[i] / (double)overhead * (double)excess);
        share = share < self->out->rows[i].bytes ? share : self->out->rows[i].bytes;
        share = share < excess - taken ? share : excess - taken;
        self->out->rows[i].bytes -= share;
        taken += share;
    }
    for (size_t i = 0; i < self->out->row_count && taken < excess; i++) { /* rounding leftovers */
        size_t left = excess - taken;
        size_t share = self->out->rows[i].bytes < left ? self->out->rows[i].bytes : left;
        share = share > 1 && left < self->out->row_count ? 1 : share;
        self->out->rows[i].bytes -= share;
        taken += share;
    }
    self->total -= taken;
    return VQC_OK;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct {
        const unsigned char *start;
        const unsigned char *end;
        size_t row;
    } *x = a, *y = b;

    if (x->start != y->start) {
        return x->start < y->start ? -1 : 1;
    }
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Adds external payloads to their rows; bytes that several tensors share go to the first. */
static vqc_status add_external(sizer *self, size_t actual)
{
    const unsigned char *covered = NULL;
    size_t inline_total = self->total;
    vqc_status status;

    if (self->range_count > 0) {
        qsort(self->ranges, self->range_count, sizeof *self->ranges, compare_ranges);
    }
    for (size_t i = 0; i < self->range_count; i++) {
        const unsigned char *start =
            covered != NULL && self->ranges[i].start < covered ? covered : self->ranges[i].start;
        if (self->ranges[i].end > start) {
            size_t bytes = (size_t)(self->ranges[i].end - start);
            self->out->rows[self->ranges[i].row].bytes += bytes;
            self->overhead[self->ranges[i].row] = bytes;
            self->total += bytes;
            covered = self->ranges[i].end;
        }
    }
    self->total -= inline_total;
    status = settle(self, actual, "external data padding", "padding");
    self->total += inline_total;
    return status;
}

vqc_status vqc_inspect_sizes(vqc_weights *weights, vqc_inspection *inspection, vqc_error *error)
{
    sizer self = {.weights = weights, .out = inspection, .error = error};
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < weights->graph->scope_count; i++) {
        const vqc_scope *scope = weights->graph->scopes[i];
        if (scope->graph != NULL && !vqc_pointer_map_set(&self.scopes, scope->graph, i)) {
            status = vqc_fail_memory(error, 0);
        }
    }
    if (status == VQC_OK) {
        status = add_model(&self);
    }
    if (status == VQC_OK) {
        status = settle(&self, weights->model->file_size_bytes, "encoding overhead", "padding");
    }
    if (status == VQC_OK) {
        memset(self.overhead, 0, self.capacity * sizeof *self.overhead);
        status = add_external(&self, weights->model->external_size_bytes);
    }
    vqc_pointer_map_clear(&self.scopes);
    free(self.overhead);
    free(self.ranges);
    return status;
}
