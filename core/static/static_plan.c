#include "core/static/static_plan.h"

#include <string.h>

#include "core/memory.h"
#include "core/static/static_ranges.h"
#include "core/static/static_units.h"

/* Concat joins tensors under one scale: not when one of them would lose more than two bits. */
static const float CONCAT_MAX_RATIO = 4.0f;

/* ---- finding units and tensors ---- */

static vqc_plan_layer *find_weight(const vqc_plan *plan, const Onnx__NodeProto *node)
{
    for (size_t i = 0; i < plan->count; i++) {
        vqc_plan_layer *item = &plan->layers[i];
        const vqc_layer *layer = item->layer;

        if (layer->use_count > 0 && layer->uses[0].node == node && layer->uses[0].input == 1) {
            return item;
        }
    }
    return NULL;
}

/* The tensor of an input or output name; adds it. VQC_NO_TENSOR for constants and other types. */
static size_t add_tensor(vqc_static_plan *p, const char *name, size_t producer)
{
    const vqc_value *value;
    size_t index;
    int32_t dtype;

    if (name == NULL || name[0] == '\0') {
        return VQC_NO_TENSOR;
    }
    value = vqc_scope_define(p->graph, p->graph->scopes[0], name);
    if (value == NULL || value->initializer != NULL || value->sparse != NULL ||
        (value->producer != NULL && vqc_node_is(value->producer, "Constant"))) {
        return VQC_NO_TENSOR;
    }
    dtype = vqc_value_dtype(value);
    if (dtype != VQC_DTYPE_FLOAT && dtype != VQC_DTYPE_UNDEFINED) {
        return VQC_NO_TENSOR;
    }
    index = vqc_pointer_map_get(&p->tensor_of, value, VQC_NO_TENSOR);
    if (index == VQC_NO_TENSOR) {
        index = p->tensor_count++;
        p->tensors[index].value = value;
        p->tensors[index].producer = VQC_NO_TENSOR;
        if (!vqc_pointer_map_set(&p->tensor_of, value, index)) {
            p->tensor_count--;
            p->out_of_memory = true;
            return VQC_NO_TENSOR;
        }
    }
    if (producer != VQC_NO_TENSOR) {
        p->tensors[index].producer = producer;
    }
    return index;
}

static void find_bias(vqc_static_plan *p, vqc_unit *unit)
{
    const Onnx__NodeProto *node = unit->node;
    const vqc_value *value;

    if (unit->kind != VQC_UNIT_LINEAR || node->n_input < 3 || node->input[2][0] == '\0') {
        return;
    }
    value = vqc_scope_resolve(p->graph, p->graph->scopes[0], node->input[2]);
    unit->bias = value == NULL ? NULL : vqc_value_constant(p->graph, value);
    if (unit->bias == NULL || unit->bias->data_type != VQC_DTYPE_FLOAT || unit->bias->n_dims != 1 ||
        (size_t)unit->bias->dims[0] != unit->weight->layer->channels) {
        unit->kind = VQC_UNIT_FLOAT; /* a computed or oddly shaped bias: no int32 form */
    }
}

static bool is_excluded(vqc_static_plan *p, const vqc_unit *unit, size_t index)
{
    const vqc_static_options *options = &p->recipe->fixed;
    const char *name = unit->node->name == NULL ? "" : unit->node->name;
    const char *op = vqc_node_op_name(unit->node, p->arena);
    const vqc_layer *layer = unit->weight == NULL ? NULL : unit->weight->layer;
    vqc_match_subject subject = {
        .tensor_name = layer != NULL ? layer->value->name
                                     : (unit->node->n_output > 0 ? unit->node->output[0] : ""),
        .node_names = &name,
        .node_ops = &op,
        .node_count = 1,
        .dims = layer == NULL ? NULL : layer->dims,
        .rank = layer == NULL ? 0 : layer->rank,
        .index = (int64_t)index,
        .count = (int64_t)p->unit_count,
    };

    p->out_of_memory = p->out_of_memory || op == NULL;
    for (size_t i = 0; op != NULL && i < options->exclude_count; i++) {
        if (vqc_match_test(&options->exclude[i], &subject)) {
            return true;
        }
    }
    return false;
}

static void describe_unit(vqc_static_plan *p, size_t index)
{
    vqc_unit *unit = &p->units[index];
    const Onnx__NodeProto *node = unit->node;

    unit->label = vqc_node_label(node, p->arena);
    unit->clamp = unit->output = VQC_NO_TENSOR;
    unit->kind = vqc_unit_kind_of(p->graph, node);
    if (unit->kind == VQC_UNIT_LINEAR) {
        unit->weight = find_weight(p->plan, node);
        if (unit->weight == NULL || !unit->weight->is_static) {
            unit->kind = VQC_UNIT_FLOAT;
        }
    }
    find_bias(p, unit);
    for (size_t i = 0; i < node->n_input && unit->data_count < VQC_UNIT_MAX_DATA; i++) {
        if (vqc_unit_reads_data(node, unit->kind, i)) {
            size_t tensor = add_tensor(p, node->input[i], VQC_NO_TENSOR);
            if (tensor == VQC_NO_TENSOR) { /* a constant operand, another type */
                unit->kind = VQC_UNIT_FLOAT;
                unit->data_count = 0;
                break;
            }
            unit->data[unit->data_count++] = tensor;
        }
    }
    for (size_t i = 0; i < node->n_output; i++) {
        size_t tensor = add_tensor(p, node->output[i], index);
        if (i == 0) {
            unit->output = tensor;
        }
        if (tensor == VQC_NO_TENSOR) {
            unit->kind = VQC_UNIT_FLOAT;
        }
    }
    if (node->n_output > 1 && !vqc_node_is(node, "Split")) {
        unit->kind = VQC_UNIT_FLOAT;
    }
    unit->excluded = unit->kind != VQC_UNIT_FLOAT && is_excluded(p, unit, index);
}

/* Readers of every tensor, also the float ones; reads from subgraphs and graph outputs pin it. */
static vqc_status find_readers(vqc_static_plan *p, vqc_error *error)
{
    vqc_pointer_map unit_of = {0};
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < p->unit_count && status == VQC_OK; i++) {
        if (!vqc_pointer_map_set(&unit_of, p->units[i].node, i)) {
            status = vqc_fail_memory(error, 0);
        }
    }
    for (size_t t = 0; t < p->tensor_count && status == VQC_OK; t++) {
        vqc_tensor *tensor = &p->tensors[t];
        const vqc_value *value = tensor->value;
        size_t *readers = vqc_arena_calloc(p->arena, value->use_count + 1, sizeof *readers);

        if (readers == NULL) {
            status = vqc_fail_memory(error, value->use_count * sizeof *readers);
            break;
        }
        for (size_t u = 0; u < value->use_count; u++) {
            size_t unit = value->uses[u].node == NULL
                              ? VQC_NO_TENSOR
                              : vqc_pointer_map_get(&unit_of, value->uses[u].node, VQC_NO_TENSOR);
            if (unit == VQC_NO_TENSOR) {
                tensor->is_output = true;
            } else {
                readers[tensor->reader_count++] = unit;
            }
        }
        tensor->readers = readers;
    }
    vqc_pointer_map_clear(&unit_of);
    return status;
}

/* Relu or Clip that alone reads what a unit computes. */
static void find_clamps(vqc_static_plan *p)
{
    for (size_t i = 0; i < p->unit_count; i++) {
        vqc_unit *unit = &p->units[i];
        const vqc_tensor *out;

        if ((unit->kind != VQC_UNIT_LINEAR && unit->kind != VQC_UNIT_CHAIN) ||
            unit->output == VQC_NO_TENSOR) {
            continue;
        }
        out = &p->tensors[unit->output];
        if (out->reader_count == 1 && !out->is_output &&
            p->units[out->readers[0]].kind == VQC_UNIT_CLAMP) {
            unit->clamp = out->readers[0];
        }
    }
}

vqc_status vqc_static_plan_create(vqc_graph *graph, vqc_plan *plan, const vqc_recipe *recipe,
                                  vqc_arena *arena, vqc_static_plan *out, vqc_error *error)
{
    size_t count;
    Onnx__NodeProto **nodes = vqc_scope_nodes(graph->scopes[0], &count);

    memset(out, 0, sizeof *out);
    out->graph = graph;
    out->plan = plan;
    out->recipe = recipe;
    out->arena = arena;
    out->units = vqc_arena_calloc(arena, count + 1, sizeof *out->units);
    out->tensors = vqc_arena_calloc(arena, graph->value_count + 1, sizeof *out->tensors);
    if (out->units == NULL || out->tensors == NULL) {
        return vqc_fail_memory(error, count * sizeof *out->units);
    }
    out->unit_count = count;
    for (size_t i = 0; i < count; i++) {
        out->units[i].node = nodes[i];
        describe_unit(out, i);
        if (out->units[i].label == NULL || out->out_of_memory) {
            return vqc_fail_memory(error, 0);
        }
    }
    for (size_t t = 0; t < out->tensor_count; t++) {
        out->tensors[t].root = t;
        out->tensors[t].observer = recipe->weights.observer;
    }
    if (find_readers(out, error) != VQC_OK) {
        return VQC_ERR_INTERNAL;
    }
    find_clamps(out);
    for (size_t i = 0; i < count; i++) { /* observers that a rule names for a layer */
        const vqc_unit *unit = &out->units[i];
        if (unit->kind == VQC_UNIT_LINEAR) {
            vqc_observer_kind kind = unit->weight->spec.observer;
            out->tensors[unit->data[0]].observer = kind;
            out->tensors[vqc_unit_result(out, i)].observer = kind;
        }
    }
    return VQC_OK;
}

void vqc_static_plan_clear(vqc_static_plan *plan)
{
    vqc_pointer_map_clear(&plan->tensor_of);
}

size_t vqc_unit_result(const vqc_static_plan *plan, size_t index)
{
    const vqc_unit *unit = &plan->units[index];
    return unit->clamp != VQC_NO_TENSOR ? plan->units[unit->clamp].output : unit->output;
}

size_t vqc_static_tensor(const vqc_static_plan *p, const char *name)
{
    const vqc_value *value = vqc_scope_define(p->graph, p->graph->scopes[0], name);
    return value == NULL ? VQC_NO_TENSOR : vqc_pointer_map_get(&p->tensor_of, value, VQC_NO_TENSOR);
}

/* ---- observations ---- */

static bool takes_part(const vqc_unit *unit)
{
    return unit->kind == VQC_UNIT_LINEAR || unit->kind == VQC_UNIT_CHAIN ||
           unit->kind == VQC_UNIT_SHAPE;
}

vqc_status vqc_static_plan_values(const vqc_static_plan *p, const vqc_value ***values,
                                  size_t *count, vqc_error *error)
{
    bool *wanted = vqc_arena_calloc(p->arena, p->tensor_count + 1, sizeof *wanted);

    *count = 0;
    *values = vqc_arena_calloc(p->arena, p->tensor_count + 1, sizeof **values);
    if (*values == NULL || wanted == NULL) {
        return vqc_fail_memory(error, p->tensor_count * sizeof **values);
    }
    for (size_t i = 0; i < p->unit_count; i++) {
        const vqc_unit *unit = &p->units[i];
        if (takes_part(unit) && unit->output != VQC_NO_TENSOR) {
            for (size_t d = 0; d < unit->data_count; d++) {
                wanted[unit->data[d]] = true;
            }
            wanted[vqc_unit_result(p, i)] = true;
        }
    }
    for (size_t t = 0; t < p->tensor_count; t++) {
        if (wanted[t]) {
            (*values)[(*count)++] = p->tensors[t].value;
        }
    }
    return VQC_OK;
}

static bool was_seen(const vqc_static_plan *p, size_t tensor)
{
    const vqc_tensor_stats *stats = tensor == VQC_NO_TENSOR ? NULL : p->tensors[tensor].stats;
    return stats != NULL && stats->all.elements > 0 && stats->all.nan_count == 0 &&
           stats->all.infinite_count == 0;
}

void vqc_static_plan_observe(vqc_static_plan *p, const vqc_stats *stats)
{
    for (size_t t = 0; t < p->tensor_count; t++) {
        p->tensors[t].stats = vqc_stats_find(stats, p->tensors[t].value->name);
        memset(p->tensors[t].is_found, 0, sizeof p->tensors[t].is_found);
    }
    for (size_t i = 0; i < p->unit_count; i++) {
        vqc_unit *unit = &p->units[i];
        if (!takes_part(unit)) {
            continue;
        }
        for (size_t d = 0; d < unit->data_count; d++) {
            unit->excluded = unit->excluded || !was_seen(p, unit->data[d]);
        }
        unit->excluded = unit->excluded || !was_seen(p, vqc_unit_result(p, i));
    }
}

/* ---- deciding ---- */

/* Whether a tensor comes out of a unit as integers. */
bool vqc_tensor_comes_quantized(const vqc_static_plan *p, size_t tensor)
{
    size_t producer = p->tensors[tensor].producer;
    const vqc_unit *unit;

    if (producer == VQC_NO_TENSOR) {
        return false;
    }
    unit = &p->units[producer];
    if (unit->kind == VQC_UNIT_CLAMP && unit->data_count == 1) { /* folded into the unit before */
        size_t before = p->tensors[unit->data[0]].producer;
        return before != VQC_NO_TENSOR && p->units[before].clamp == producer &&
               p->units[before].quantized && p->units[before].quantized_output;
    }
    return unit->quantized && unit->quantized_output;
}

bool vqc_tensor_has_quantized_reader(const vqc_static_plan *p, size_t tensor)
{
    const vqc_tensor *t = &p->tensors[tensor];

    for (size_t i = 0; i < t->reader_count; i++) {
        if (p->units[t->readers[i]].quantized) {
            return true;
        }
    }
    return false;
}

/* Some output of a unit is read as integers. */
static bool is_wanted(const vqc_static_plan *p, size_t index)
{
    const vqc_unit *unit = &p->units[index];

    if (vqc_tensor_has_quantized_reader(p, vqc_unit_result(p, index))) {
        return true;
    }
    for (size_t o = 1; o < unit->node->n_output; o++) {
        size_t tensor = vqc_static_tensor(p, unit->node->output[o]);
        if (tensor != VQC_NO_TENSOR && vqc_tensor_has_quantized_reader(p, tensor)) {
            return true;
        }
    }
    return false;
}

static float width_of(const vqc_static_plan *p, size_t tensor)
{
    vqc_range range = vqc_tensor_range(p, tensor);
    return range.max - range.min;
}

/* Concat under one scale: the widest input must not drown the narrowest. */
static bool concat_fits(const vqc_static_plan *p, const vqc_unit *unit)
{
    float narrow = width_of(p, unit->data[0]);
    float wide = narrow;

    for (size_t i = 1; i < unit->data_count; i++) {
        float width = width_of(p, unit->data[i]);
        narrow = width < narrow ? width : narrow;
        wide = width > wide ? width : wide;
    }
    return wide <= CONCAT_MAX_RATIO * narrow;
}

static void start_units(vqc_static_plan *p)
{
    for (size_t i = 0; i < p->unit_count; i++) {
        vqc_unit *unit = &p->units[i];
        bool may = !unit->excluded && !unit->in_float;

        switch (unit->kind) {
        case VQC_UNIT_LINEAR:
        case VQC_UNIT_SHAPE:
            unit->quantized = may;
            break;
        case VQC_UNIT_CHAIN:
            unit->quantized = may && p->mode == VQC_STATIC_CHAINS &&
                              (!vqc_node_is(unit->node, "Concat") || concat_fits(p, unit));
            break;
        case VQC_UNIT_CLAMP:
        case VQC_UNIT_FLOAT:
            unit->quantized = false;
            break;
        }
        unit->quantized_output = unit->quantized;
    }
}

/* One pass; false when nothing changed. */
static bool refine_units(vqc_static_plan *p)
{
    bool changed = false;

    for (size_t i = 0; i < p->unit_count; i++) {
        vqc_unit *unit = &p->units[i];

        if (!unit->quantized) {
            continue;
        }
        if (unit->kind == VQC_UNIT_LINEAR) {
            /* a matrix product may give floats; a convolution has no such integer form */
            bool output = vqc_node_is(unit->node, "Conv") || is_wanted(p, i);
            changed = changed || output != unit->quantized_output;
            unit->quantized_output = output;
            continue;
        }
        bool keep = is_wanted(p, i);
        for (size_t d = 0; d < unit->data_count && keep; d++) {
            keep = vqc_tensor_comes_quantized(p, unit->data[d]);
        }
        if (!keep) {
            unit->quantized = unit->quantized_output = false;
            changed = true;
        }
    }
    return changed;
}

static size_t root_of(vqc_static_plan *p, size_t tensor)
{
    while (p->tensors[tensor].root != tensor) {
        tensor = p->tensors[tensor].root = p->tensors[p->tensors[tensor].root].root;
    }
    return tensor;
}

static void join(vqc_static_plan *p, size_t a, size_t b)
{
    a = root_of(p, a);
    b = root_of(p, b);
    p->tensors[a > b ? a : b].root = a > b ? b : a;
}

/* Tensors that are quantized, and those under one scale. */
static void mark_tensors(vqc_static_plan *p)
{
    for (size_t t = 0; t < p->tensor_count; t++) {
        p->tensors[t].root = t;
        p->tensors[t].quantized = false;
    }
    for (size_t i = 0; i < p->unit_count; i++) {
        const vqc_unit *unit = &p->units[i];

        if (!unit->quantized) {
            continue;
        }
        for (size_t d = 0; d < unit->data_count; d++) {
            p->tensors[unit->data[d]].quantized = true;
        }
        if (unit->quantized_output) {
            p->tensors[vqc_unit_result(p, i)].quantized = true;
        }
        for (size_t o = 1; o < unit->node->n_output; o++) {
            size_t tensor = vqc_static_tensor(p, unit->node->output[o]);
            p->tensors[tensor].quantized = true;
            join(p, unit->data[0], tensor);
        }
        if (unit->kind == VQC_UNIT_SHAPE || vqc_node_is(unit->node, "Concat")) {
            for (size_t d = 0; d < unit->data_count; d++) {
                join(p, unit->data[d], vqc_unit_result(p, i));
            }
        }
    }
    for (size_t t = 0; t < p->tensor_count; t++) {
        (void)root_of(p, t);
    }
}

void vqc_static_plan_decide(vqc_static_plan *p)
{
    start_units(p);
    while (refine_units(p)) {
    }
    mark_tensors(p);
    vqc_static_ranges(p);
}

void vqc_static_plan_count(const vqc_static_plan *plan, size_t *quantized, size_t *possible)
{
    *quantized = *possible = 0;
    for (size_t i = 0; i < plan->unit_count; i++) {
        const vqc_unit *unit = &plan->units[i];
        *possible += unit->kind == VQC_UNIT_LINEAR && !unit->excluded ? 1 : 0;
        *quantized += unit->kind == VQC_UNIT_LINEAR && unit->quantized ? 1 : 0;
    }
}
