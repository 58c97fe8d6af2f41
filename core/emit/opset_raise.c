/* Raising the ai.onnx operator set: walks every node through the steps of its operator. */
#include <stdio.h>
#include <string.h>

#include "core/emit/opset_internal.h"

#define WAY_OUT "keep the model's own opset (pattern: foldable)"

/* ---- steps ---- */

/* The first version of the operator after `version` and up to `target`, 0 when there is none. */
static int64_t next_version(const vqc_opset_op *row, int64_t version, int64_t target)
{
    for (size_t i = 0; row->since[i] != 0; i++) {
        if (row->since[i] > version) {
            return row->since[i] <= target ? row->since[i] : 0;
        }
    }
    return 0;
}

/* Whether a function of the model itself defines this ai.onnx operator. */
static bool is_local_function(const vqc_graph *graph, const Onnx__NodeProto *node)
{
    const Onnx__ModelProto *proto = graph->model->proto;

    for (size_t i = 0; i < proto->n_functions; i++) {
        const Onnx__FunctionProto *function = proto->functions[i];
        if (function->name != NULL && strcmp(function->name, node->op_type) == 0 &&
            vqc_domain_is_onnx(function->domain)) {
            return true;
        }
    }
    return false;
}

static bool is_concerned(const vqc_graph *graph, const Onnx__NodeProto *node)
{
    return node->op_type != NULL && vqc_domain_is_onnx(node->domain) &&
           !is_local_function(graph, node);
}

static bool is_dropped(const char *op)
{
    for (size_t i = 0; vqc_opset_dropped_ops[i] != NULL; i++) {
        if (strcmp(vqc_opset_dropped_ops[i], op) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether an attribute takes its value from the arguments of the function around it. */
static bool has_reference(const Onnx__NodeProto *node)
{
    for (size_t i = 0; i < node->n_attribute; i++) {
        const char *name = node->attribute[i]->ref_attr_name;
        if (name != NULL && name[0] != '\0') {
            return true;
        }
    }
    return false;
}

/* Why `node` cannot take the step to `version`, or NULL. */
static const char *step_blocker(const vqc_raise *raise, const vqc_scope *scope,
                                const Onnx__NodeProto *node, const vqc_opset_op *row,
                                int64_t version)
{
    const vqc_opset_step *step = vqc_opset_find_step(node->op_type, version);

    if (step == NULL || (step->adapt == NULL && step->blocker == NULL)) {
        return row->removed == version ? "removed from ai.onnx" : NULL;
    }
    if (step->adapt != NULL && (node->n_input == 0 || node->n_output == 0)) {
        return "it has no input or no output";
    }
    if (step->adapt != NULL && has_reference(node)) {
        return "its attributes are arguments of the function";
    }
    return step->blocker == NULL ? NULL : step->blocker(raise, scope, node);
}

/* Why `node` cannot be raised, as text in the scratch arena, or NULL. *memory: out of memory. */
static const char *node_blocker(const vqc_raise *raise, const vqc_scope *scope,
                                const Onnx__NodeProto *node, bool *memory)
{
    const vqc_opset_op *row = vqc_opset_find_op(node->op_type);
    const char *text = NULL;

    if (scope->opset < VQC_OPSET_OLDEST) {
        text = vqc_arena_printf(raise->arena, "opset %lld; models below opset %d are never raised",
                                (long long)scope->opset, VQC_OPSET_OLDEST);
    } else if (row == NULL) {
        text = is_dropped(node->op_type) ? "removed from ai.onnx after opset 9"
                                         : "not an operator of ai.onnx up to opset 28";
    } else if (scope->opset < row->since[0] &&
               vqc_opset_find_step(node->op_type, row->since[0]) == NULL) {
        text = vqc_arena_printf(raise->arena, "not in ai.onnx opset %lld, only since %d",
                                (long long)scope->opset, row->since[0]);
    } else {
        int64_t version = scope->opset;
        while ((version = next_version(row, version, raise->target)) != 0) {
            const char *reason = step_blocker(raise, scope, node, row, version);
            if (reason != NULL) {
                text = vqc_arena_printf(raise->arena, "cannot become version %lld: %s",
                                        (long long)version, reason);
                *memory = text == NULL;
                return text;
            }
        }
        return NULL;
    }
    *memory = text == NULL;
    return text;
}

/* ---- check ---- */

/* One kind of blocker: the same operator for the same reason. */
typedef struct kind {
    const char *op;
    const char *reason;
    const char *label;
    const char *path;
    size_t count;
    struct kind *next;
} kind;

static bool note_kind(vqc_raise *raise, kind **kinds, const vqc_scope *scope,
                      const Onnx__NodeProto *node, const char *reason)
{
    kind *entry;

    for (; *kinds != NULL; kinds = &(*kinds)->next) {
        if (strcmp((*kinds)->op, node->op_type) == 0 && strcmp((*kinds)->reason, reason) == 0) {
            (*kinds)->count++;
            return true;
        }
    }
    entry = vqc_arena_calloc(raise->arena, 1, sizeof *entry);
    if (entry == NULL) {
        return false;
    }
    *entry =
        (kind){node->op_type, reason, vqc_node_label(node, raise->arena), scope->path, 1, NULL};
    *kinds = entry;
    return entry->label != NULL;
}

static vqc_status report_kinds(const kind *kinds, vqc_messages *blockers)
{
    vqc_status status = VQC_OK;

    for (; kinds != NULL && status == VQC_OK; kinds = kinds->next) {
        char more[48] = "";
        if (kinds->count > 1) {
            (void)snprintf(more, sizeof more, " and %zu more", kinds->count - 1);
        }
        status = vqc_messages_add(blockers, "node \"%s\"%s%s%s (%s): %s; " WAY_OUT, kinds->label,
                                  kinds->path[0] != '\0' ? " in " : "", kinds->path, more,
                                  kinds->op, kinds->reason);
        /* e.g. node "n1" in If_3/then_branch and 2 more (Crop): removed from ... */
    }
    return status;
}

static vqc_status collect(vqc_raise *raise, kind **kinds)
{
    for (size_t s = 0; s < raise->graph->scope_count; s++) {
        const vqc_scope *scope = raise->graph->scopes[s];
        size_t count;
        Onnx__NodeProto **nodes = vqc_scope_nodes(scope, &count);
        for (size_t i = 0; i < count && scope->opset != 0 && scope->opset < raise->target; i++) {
            bool memory = false;
            const char *reason = is_concerned(raise->graph, nodes[i])
                                     ? node_blocker(raise, scope, nodes[i], &memory)
                                     : NULL;
            if (memory || (reason != NULL && !note_kind(raise, kinds, scope, nodes[i], reason))) {
                return vqc_raise_memory(raise);
            }
        }
    }
    return VQC_OK;
}

static vqc_status bad_target(int64_t target, vqc_error *error)
{
    return vqc_fail(error, VQC_ERR_USAGE, "target opset: got %lld, expected %d to %d",
                    (long long)target, VQC_OPSET_OLDEST, VQC_OPSET_NEWEST);
}

/* Source of the rules: core/emit/opset_steps.c. Cost: linear in the nodes. */
vqc_status vqc_opset_check(const vqc_graph *graph, int64_t target, vqc_messages *blockers,
                           vqc_error *error)
{
    vqc_raise raise = {.graph = graph, .target = target, .error = error};
    size_t before = blockers->count;
    kind *kinds = NULL;
    vqc_status status;

    if (target < VQC_OPSET_OLDEST || target > VQC_OPSET_NEWEST) {
        return bad_target(target, error);
    }
    raise.arena = vqc_arena_create();
    if (raise.arena == NULL) {
        return vqc_raise_memory(&raise);
    }
    status = collect(&raise, &kinds);
    if (status == VQC_OK && report_kinds(kinds, blockers) != VQC_OK) {
        status = vqc_raise_memory(&raise);
    }
    if (status == VQC_OK && blockers->count > before) {
        status = vqc_fail(error, VQC_ERR_MODEL, "%s: cannot be raised to opset %lld: %s",
                          graph->model->path, (long long)target, blockers->items[before]);
    }
    vqc_arena_destroy(&raise.arena);
    return status;
}

/* ---- raise ---- */

/* Whether some step on the node's way rewrites it. */
static bool is_rewritten(const Onnx__NodeProto *node, int64_t from, int64_t target)
{
    const vqc_opset_op *row = vqc_opset_find_op(node->op_type);

    while (row != NULL && (from = next_version(row, from, target)) != 0) {
        const vqc_opset_step *step = vqc_opset_find_step(node->op_type, from);
        if (step != NULL && step->adapt != NULL) {
            return true;
        }
    }
    return false;
}

/* Facts about input 0 of every node that will be rewritten, in walking order. */
static vqc_node_facts *gather_facts(const vqc_raise *raise)
{
    vqc_node_facts *facts;
    size_t total = 0;
    size_t count;

    for (size_t s = 0; s < raise->graph->scope_count; s++) {
        (void)vqc_scope_nodes(raise->graph->scopes[s], &count);
        total += count;
    }
    facts = vqc_arena_calloc(raise->arena, total + 1, sizeof *facts);
    total = 0;
    for (size_t s = 0; facts != NULL && s < raise->graph->scope_count; s++) {
        const vqc_scope *scope = raise->graph->scopes[s];
        Onnx__NodeProto **nodes = vqc_scope_nodes(scope, &count);
        for (size_t i = 0; i < count; i++, total++) {
            const char *name = vqc_opset_input(nodes[i], 0);
            facts[total] = (vqc_node_facts){VQC_DTYPE_UNDEFINED, -1};
            if (name != NULL && scope->opset != 0 && is_concerned(raise->graph, nodes[i]) &&
                is_rewritten(nodes[i], scope->opset, raise->target)) {
                facts[total].dtype = vqc_opset_dtype(raise, scope, name);
                facts[total].rank = vqc_opset_rank(raise, scope, name);
            }
        }
    }
    return facts;
}

static vqc_status raise_node(vqc_raise *raise, Onnx__NodeProto *node)
{
    const vqc_opset_op *row = vqc_opset_find_op(node->op_type);
    int64_t version = raise->scope->opset;
    vqc_status status = VQC_OK;

    raise->after.count = 0;
    raise->was_upsample = false;
    while (row != NULL && status == VQC_OK &&
           (version = next_version(row, version, raise->target)) != 0) {
        const vqc_opset_step *step = vqc_opset_find_step(node->op_type, version);
        if (step != NULL && step->adapt != NULL) {
            raise->after_at = 0; /* a later step's nodes come first: they are nearer to the node */
            status = step->adapt(raise, node);
            row = vqc_opset_find_op(node->op_type); /* it may have a new name */
        }
    }
    if (status == VQC_OK) {
        status = vqc_raise_append(raise, node);
    }
    for (size_t i = 0; status == VQC_OK && i < raise->after.count; i++) {
        status = vqc_raise_append(raise, raise->after.items[i]);
    }
    return status;
}

/* Descriptions of outputs that adapters took away. */
static void drop_stale_infos(const vqc_raise *raise, Onnx__GraphProto *proto)
{
    size_t kept = 0;

    for (size_t i = 0; i < proto->n_value_info; i++) {
        Onnx__ValueInfoProto *info = proto->value_info[i];
        const vqc_value *value =
            info->name == NULL ? NULL : vqc_scope_define(raise->graph, raise->scope, info->name);
        if (value == NULL || value->producer == NULL || value->output < value->producer->n_output) {
            proto->value_info[kept++] = info;
        }
    }
    proto->n_value_info = kept;
}

static vqc_status raise_scope(vqc_raise *raise, const vqc_node_facts *facts)
{
    vqc_scope *scope = raise->scope;
    size_t count;
    Onnx__NodeProto **nodes = vqc_scope_nodes(scope, &count);

    raise->out = (vqc_node_list){NULL, 0, 0};
    for (size_t i = 0; i < count; i++) {
        vqc_status status;
        raise->facts = facts[i];
        status = is_concerned(raise->graph, nodes[i]) ? raise_node(raise, nodes[i])
                                                      : vqc_raise_append(raise, nodes[i]);
        if (status != VQC_OK) {
            return status;
        }
    }
    if (scope->graph != NULL) {
        drop_stale_infos(raise, scope->graph);
        scope->graph->node = raise->out.items;
        scope->graph->n_node = raise->out.count;
    } else {
        scope->function->node = raise->out.items;
        scope->function->n_node = raise->out.count;
        for (size_t i = 0; i < scope->function->n_opset_import; i++) {
            Onnx__OperatorSetIdProto *entry = scope->function->opset_import[i];
            if (vqc_domain_is_onnx(entry->domain)) {
                entry->version = raise->target;
                entry->has_version = 1;
            }
        }
    }
    return VQC_OK;
}

static vqc_status append_initializers(vqc_raise *raise)
{
    Onnx__GraphProto *graph = raise->graph->model->proto->graph;
    size_t total = graph->n_initializer + raise->initializer_count;
    Onnx__TensorProto **grown;

    if (raise->initializer_count == 0) {
        return VQC_OK;
    }
    grown = vqc_arena_calloc(raise->arena, total, sizeof *grown);
    if (grown == NULL) {
        return vqc_raise_memory(raise);
    }
    if (graph->n_initializer > 0) {
        memcpy(grown, graph->initializer, graph->n_initializer * sizeof *grown);
    }
    memcpy(grown + graph->n_initializer, raise->initializers,
           raise->initializer_count * sizeof *grown);
    graph->initializer = grown;
    graph->n_initializer = total;
    return VQC_OK;
}

/* Source of the rules: core/emit/opset_steps.c. Numerics: the same operations on the same numbers.
 */
vqc_status vqc_opset_raise(vqc_graph *graph, int64_t target, vqc_error *error)
{
    vqc_raise raise = {.graph = graph,
                       .names = graph,
                       .arena = graph->model->arena,
                       .target = target,
                       .error = error};
    vqc_messages blockers = {NULL, 0, 0};
    const vqc_node_facts *facts;
    vqc_status status = vqc_opset_check(graph, target, &blockers, error);

    vqc_messages_clear(&blockers);
    if (status != VQC_OK) {
        return status;
    }
    facts = gather_facts(&raise);
    if (facts == NULL) {
        return vqc_raise_memory(&raise);
    }
    for (size_t s = 0; s < graph->scope_count && status == VQC_OK; s++) {
        size_t count;
        (void)vqc_scope_nodes(graph->scopes[s], &count);
        raise.scope = graph->scopes[s];
        if (raise.scope->opset != 0 && raise.scope->opset < target) {
            status = raise_scope(&raise, facts);
        }
        facts += count;
    }
    if (status == VQC_OK) {
        status = append_initializers(&raise);
    }
    if (status == VQC_OK && graph->scopes[0]->opset < target) {
        status = vqc_model_set_opset(graph->model, "", target, error);
    }
    return status;
}
