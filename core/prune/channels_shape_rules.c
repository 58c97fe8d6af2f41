/* How atoms go through operators that move, join and cut axes. */
#include <string.h>

#include "core/prune/channels_trace.h"

static const char UNKNOWN[] = "shape of its input or output is unknown";

static const vqc_trace_value *ranked(const vqc_trace_value *value)
{
    return value != NULL && value->rank >= 0 ? value : NULL;
}

static int64_t whole(int64_t index, int64_t extent)
{
    return index < 0 ? index + extent : index;
}

/* ---- Reshape and its kin ---- */

/* A run of input axes and the run of output axes with the same elements. */
typedef struct segment {
    int in_first, in_end;
    int out_first, out_end;
    size_t elements;
} segment;

static bool next_segment(const vqc_trace_value *x, const vqc_trace_value *y, segment *s)
{
    size_t a = 1;
    size_t b = 1;

    s->in_first = s->in_end;
    s->out_first = s->out_end;
    if (s->in_end == x->rank || s->out_end == y->rank) {
        return false;
    }
    a = (size_t)x->dims[s->in_end++];
    b = (size_t)y->dims[s->out_end++];
    while (a != b) {
        if (a < b && s->in_end < x->rank) {
            if (!vqc_size_mul(a, (size_t)x->dims[s->in_end++], &a)) {
                return false;
            }
        } else if (a > b && s->out_end < y->rank) {
            if (!vqc_size_mul(b, (size_t)y->dims[s->out_end++], &b)) {
                return false;
            }
        } else {
            return false;
        }
    }
    s->elements = a;
    return true;
}

/* Product of dims [first, end). */
static size_t extent(const vqc_trace_value *value, int first, int end)
{
    size_t n = 1;

    for (int a = first; a < end; a++) {
        n *= (size_t)value->dims[a];
    }
    return n;
}

/* The label at element t of a segment. */
static uint32_t label_at(const vqc_trace *trace, const vqc_trace_labels *labels, size_t inner,
                         size_t t)
{
    return vqc_trace_find(trace, labels->atoms[t / inner % labels->count]);
}

/* Whether labels over the segment depend on the index of one output axis only; found[] gets them.
 */
static bool depends_on(const vqc_trace *trace, const vqc_trace_labels *labels, size_t inner,
                       const segment *s, size_t out_inner, vqc_trace_labels *found)
{
    for (size_t t = 0; t < s->elements; t++) {
        size_t at = t / out_inner % found->count;
        uint32_t root = label_at(trace, labels, inner, t);
        if (t / out_inner / found->count == 0 && t % out_inner == 0) {
            found->atoms[at] = root;
        } else if (found->atoms[at] != root) {
            return false;
        }
    }
    return true;
}

/*
 * Atoms of input axis `axis` on the axes of the output: where they are equal along all axes but
 * one, there; else (a split, as of heads from hidden units) what has the same index of the first
 * output axis is joined.
 */
static void cross_segment(vqc_trace *trace, const segment *s, int axis, vqc_trace_labels *labels)
{
    const vqc_trace_value *x = trace->inputs[0];
    const vqc_trace_value *y = trace->outputs[0];
    size_t inner = extent(x, axis + 1, s->in_end);
    vqc_trace_labels *found = NULL;
    int first = -1;

    if (s->elements > VQC_TRACE_MAX_AXIS) {
        vqc_trace_freeze(trace, labels, vqc_trace_because(trace, "has too many elements"));
        return;
    }
    for (int b = s->out_first; b < s->out_end; b++) {
        if (y->dims[b] > 1) {
            first = first < 0 ? b : first;
            found = vqc_trace_labels_create(trace, (size_t)y->dims[b]);
            if (found == NULL) {
                return;
            }
            if (depends_on(trace, labels, inner, s, extent(y, b + 1, s->out_end), found)) {
                vqc_trace_give(trace, 0, b, found);
                return;
            }
        }
    }
    if (extent(x, s->in_first, s->in_end) != labels->count || first < 0) {
        vqc_trace_freeze(trace, labels, vqc_trace_because(trace, "mixes channels with positions"));
        return;
    }
    found = vqc_trace_labels_create(trace, (size_t)y->dims[first]);
    for (size_t t = 0; t < s->elements && found != NULL; t++) {
        size_t at = t / extent(y, first + 1, s->out_end) % found->count;
        if (t % extent(y, first + 1, s->out_end) == 0) {
            found->atoms[at] = labels->atoms[t];
        }
        vqc_trace_join_atoms(trace, found->atoms[at], labels->atoms[t]);
    }
    vqc_trace_give(trace, 0, first, found);
}

/* Atoms through a change of shape. */
static const char *reshape_axes(vqc_trace *trace)
{
    const vqc_trace_value *x = ranked(trace->node->n_input > 0 ? trace->inputs[0] : NULL);
    const vqc_trace_value *y = ranked(trace->outputs[0]);
    segment s = {0};

    if (x == NULL || y == NULL) {
        return UNKNOWN;
    }
    for (int a = 0; a < x->rank; a++) {
        if (x->dims[a] <= 0) {
            return UNKNOWN;
        }
    }
    for (int a = 0; a < y->rank; a++) {
        if (y->dims[a] <= 0) {
            return UNKNOWN;
        }
    }
    while (next_segment(x, y, &s)) {
        int labelled = -1;
        for (int a = s.in_first; a < s.in_end; a++) {
            vqc_trace_labels *labels = vqc_trace_take(trace, 0, a);
            if (labels != NULL && labelled >= 0) {
                vqc_trace_freeze(trace, labels,
                                 vqc_trace_because(trace, "joins two axes of channels"));
            } else if (labels != NULL) {
                labelled = a;
                cross_segment(trace, &s, a, labels);
            }
        }
    }
    return "changes the shape in a way that is not followed";
}

static bool has_labels(const vqc_trace_value *value)
{
    bool any = false;

    for (int a = 0; a < value->rank; a++) {
        any = any || value->labels[a] != NULL;
    }
    return any;
}

/* Entries of a shape that is computed, where they are known: false when two are not. */
static bool known_entries(vqc_trace *trace, vqc_trace_edit *edit)
{
    const vqc_trace_value *x = trace->inputs[0];
    const vqc_trace_value *y = trace->outputs[0];
    segment s = {0};
    size_t rest = 0;
    int end = 0;

    while (next_segment(x, y, &s)) {
        bool fixed = s.in_end == s.in_first + 1 && x->labels[s.in_first] != NULL;
        for (int b = s.out_first; b < s.out_end; b++) {
            if (y->labels[b] != NULL) {
                continue;
            }
            if (fixed) {
                edit->fixed[b] = y->dims[b];
            } else if (s.in_end == s.in_first + 1 && s.out_end == s.out_first + 1 &&
                       s.in_first == s.out_first) {
                edit->fixed[b] = VQC_TRACE_RESHAPE_COPY;
            } else {
                edit->fixed[b] = VQC_TRACE_RESHAPE_REST;
                rest++;
            }
        }
        end = s.out_end;
    }
    return rest <= 1 && end == y->rank;
}

static const char *reshape_rule(vqc_trace *trace)
{
    const vqc_trace_value *x = ranked(trace->inputs[0]);
    const vqc_trace_value *y = ranked(trace->outputs[0]);
    const char *why = reshape_axes(trace);
    const int64_t *shape;
    size_t count;
    vqc_trace_edit *edit;

    if (x == NULL || y == NULL || !has_labels(y)) {
        return why;
    }
    edit = vqc_trace_add_edit(trace, VQC_EDIT_RESHAPE, (size_t)y->rank);
    if (edit == NULL) {
        return why;
    }
    edit->input = 1;
    for (int b = 0; b < y->rank; b++) {
        edit->labels[b] = y->labels[b];
    }
    if (vqc_node_attr_int(trace->node, "allowzero", 0) != 0) {
        why = "allowzero is not followed";
    } else if (vqc_trace_ints(trace, 1, &shape, &count) && count == (size_t)y->rank) {
        for (size_t b = 0; b < count; b++) {
            edit->fixed[b] = shape[b] == 0    ? VQC_TRACE_RESHAPE_COPY
                             : shape[b] == -1 ? VQC_TRACE_RESHAPE_REST
                                              : shape[b];
            if (shape[b] == -1) { /* also with atoms: what remains is what is left */
                edit->labels[b] = NULL;
            }
        }
        return why;
    } else if (known_entries(trace, edit)) {
        return why;
    } else {
        why = "its shape is computed";
    }
    trace->edit_count--;
    for (int b = 0; b < y->rank; b++) {
        vqc_trace_freeze(trace, y->labels[b], vqc_trace_because(trace, why));
    }
    return why;
}

static const char *transpose_rule(vqc_trace *trace)
{
    const vqc_trace_value *x = ranked(trace->inputs[0]);
    const Onnx__AttributeProto *perm = vqc_node_attr(trace->node, "perm");

    if (x == NULL || (perm != NULL && perm->n_ints != (size_t)x->rank)) {
        return UNKNOWN;
    }
    for (int b = 0; b < x->rank; b++) {
        int a = perm == NULL ? x->rank - 1 - b : (int)whole(perm->ints[b], x->rank);
        vqc_trace_give(trace, 0, b, vqc_trace_take(trace, 0, a));
    }
    return NULL;
}

/* ---- joining and cutting ---- */

static const char *concat_rule(vqc_trace *trace)
{
    const vqc_trace_value *y = ranked(trace->outputs[0]);
    int64_t axis = vqc_node_attr_int(trace->node, "axis", 1);
    vqc_trace_labels *joined;
    size_t at = 0;
    bool any = false;

    for (size_t i = 0; i < trace->node->n_input; i++) {
        const vqc_trace_value *x = ranked(trace->inputs[i]);
        if (x == NULL || y == NULL || x->rank != y->rank) {
            return UNKNOWN;
        }
        any = any || has_labels(x);
    }
    if (!any || y == NULL) {
        return "joins values that cannot be cut";
    }
    axis = whole(axis, y->rank);
    for (size_t i = 0; i < trace->node->n_input; i++) {
        if (axis < 0 || axis >= y->rank || trace->inputs[i]->dims[axis] < 0) {
            return UNKNOWN;
        }
    }
    for (int a = 0; a < y->rank; a++) {
        vqc_trace_labels *all = NULL;
        if (a == axis || y->dims[a] == 1) {
            continue;
        }
        for (size_t i = 0; i < trace->node->n_input; i++) {
            vqc_trace_labels *labels = vqc_trace_take(trace, i, a);
            if (i > 0) {
                vqc_trace_join(trace, all, labels,
                               vqc_trace_because(trace, "another input cannot be cut"));
            }
            all = i == 0 || labels == NULL ? labels : all;
        }
        vqc_trace_give(trace, 0, a, all);
    }
    joined = y->dims[axis] > VQC_TRACE_MAX_AXIS || y->dims[axis] < 0
                 ? NULL
                 : vqc_trace_labels_create(trace, (size_t)y->dims[axis]);
    for (size_t i = 0; i < trace->node->n_input && joined != NULL; i++) {
        size_t count = (size_t)trace->inputs[i]->dims[axis];
        vqc_trace_labels *labels = vqc_trace_take(trace, i, (int)axis);
        if (labels == NULL) { /* stays, beside others that may go */
            labels = vqc_trace_fresh(trace, count);
            vqc_trace_freeze(trace, labels, "part of a Concat");
        }
        if (labels == NULL || count > joined->count - at) {
            return UNKNOWN;
        }
        memcpy(joined->atoms + at, labels->atoms, count * sizeof *joined->atoms);
        at += count;
    }
    vqc_trace_give(trace, 0, (int)axis, joined);
    return NULL;
}

static vqc_trace_labels *part(vqc_trace *trace, const vqc_trace_labels *labels, int64_t first,
                              int64_t count)
{
    vqc_trace_labels *out = NULL;

    if (labels != NULL && first >= 0 && count >= 0 && first + count <= (int64_t)labels->count) {
        out = vqc_trace_labels_create(trace, (size_t)count);
        if (out != NULL) {
            memcpy(out->atoms, labels->atoms + first, (size_t)count * sizeof *out->atoms);
        }
    }
    return out;
}

static const char *split_rule(vqc_trace *trace)
{
    const vqc_trace_value *x = ranked(trace->inputs[0]);
    int64_t axis = vqc_node_attr_int(trace->node, "axis", 0);
    size_t parts = trace->node->n_output;
    const int64_t *sizes = NULL;
    size_t count = 0;
    vqc_trace_labels *labels;
    vqc_trace_edit *edit;
    int64_t at = 0;
    int64_t each;

    if (x == NULL || parts == 0) {
        return UNKNOWN;
    }
    axis = whole(axis, x->rank);
    for (int a = 0; a < x->rank; a++) {
        for (size_t o = 0; o < parts && a != axis; o++) {
            vqc_trace_give(trace, o, a, vqc_trace_take(trace, 0, a));
        }
    }
    labels = axis < x->rank ? x->labels[axis] : NULL;
    if (labels == NULL) {
        return NULL;
    }
    each = ((int64_t)labels->count + (int64_t)parts - 1) / (int64_t)parts;
    if ((vqc_node_attr(trace->node, "split") != NULL || trace->node->n_input > 1) &&
        (!vqc_trace_ints_of(trace, "split", 1, &sizes, &count) || count != parts)) {
        return "sizes of its parts are computed";
    }
    edit = vqc_trace_add_edit(trace, VQC_EDIT_SPLIT, parts);
    for (size_t o = 0; o < parts && edit != NULL; o++) {
        int64_t left = (int64_t)labels->count - at;
        int64_t size = sizes != NULL ? sizes[o] : each < left ? each : left;
        vqc_trace_labels *out = part(trace, labels, at, size);
        if (out == NULL) {
            trace->edit_count--;
            return "its parts do not fit";
        }
        edit->labels[o] = out;
        vqc_trace_give(trace, o, (int)axis, out);
        at += size;
    }
    (void)vqc_trace_take(trace, 0, (int)axis);
    return NULL;
}

/* One slot of a Slice over an axis with atoms; false: leave it to be frozen. */
static bool slice_axis(vqc_trace *trace, int axis, size_t slot, int64_t start, int64_t end)
{
    const vqc_trace_labels *labels = trace->inputs[0]->labels[axis];
    int64_t n = (int64_t)labels->count;
    vqc_trace_labels *out;
    vqc_trace_edit *edit;

    start = whole(start, n);
    end = whole(end, n);
    start = start < 0 ? 0 : start > n ? n : start;
    end = end < start ? start : end > n ? n : end;
    out = part(trace, labels, start, end - start);
    if (out == NULL || out->count < 2) {
        return false;
    }
    edit = vqc_trace_add_edit(trace, VQC_EDIT_SLICE, 1);
    if (edit == NULL) {
        return false;
    }
    edit->labels[0] = labels;
    edit->slot = slot;
    edit->start = start;
    edit->end = end;
    (void)vqc_trace_take(trace, 0, axis);
    vqc_trace_give(trace, 0, axis, out);
    return true;
}

static const char *slice_rule(vqc_trace *trace)
{
    const vqc_trace_value *x = ranked(trace->inputs[0]);
    const int64_t *starts, *ends, *axes = NULL, *steps = NULL;
    size_t counts[4] = {0};
    bool new_form = vqc_node_attr(trace->node, "starts") == NULL;

    if (x == NULL || !vqc_trace_ints_of(trace, "starts", 1, &starts, &counts[0]) ||
        !vqc_trace_ints_of(trace, "ends", 2, &ends, &counts[1]) || counts[0] != counts[1]) {
        return "its bounds are computed";
    }
    if ((new_form ? trace->node->n_input > 3 && trace->node->input[3][0] != '\0'
                  : vqc_node_attr(trace->node, "axes") != NULL) &&
        (!vqc_trace_ints_of(trace, "axes", 3, &axes, &counts[2]) || counts[2] != counts[0])) {
        return "its axes are computed";
    }
    if (new_form && trace->node->n_input > 4 && trace->node->input[4][0] != '\0' &&
        (!vqc_trace_ints(trace, 4, &steps, &counts[3]) || counts[3] != counts[0])) {
        return "its steps are computed";
    }
    for (int a = 0; a < x->rank; a++) {
        size_t slot = 0;
        while (slot < counts[0] &&
               (axes != NULL ? whole(axes[slot], x->rank) : (int64_t)slot) != a) {
            slot++;
        }
        if (x->labels[a] == NULL) {
            continue;
        }
        if (slot == counts[0]) {
            vqc_trace_give(trace, 0, a, vqc_trace_take(trace, 0, a));
        } else if (steps == NULL || steps[slot] == 1) {
            (void)slice_axis(trace, a, slot, starts[slot], ends[slot]);
        }
    }
    return "cuts the channels in a way that is not followed";
}

static const char *gather_rule(vqc_trace *trace)
{
    const vqc_trace_value *x = ranked(trace->inputs[0]);
    const vqc_trace_value *indices = ranked(trace->node->n_input > 1 ? trace->inputs[1] : NULL);
    int64_t axis = vqc_node_attr_int(trace->node, "axis", 0);

    if (x == NULL || indices == NULL) {
        return UNKNOWN;
    }
    axis = whole(axis, x->rank);
    for (int a = 0; a < x->rank; a++) {
        vqc_trace_labels *labels;
        if (a == axis) {
            continue;
        }
        labels = vqc_trace_take(trace, 0, a);
        if (x->is_constant && x->rank == 2) { /* a table makes channels */
            vqc_trace_add_producer(trace, 0, a, labels);
        }
        vqc_trace_give(trace, 0, a < axis ? a : a - 1 + indices->rank, labels);
    }
    return "picks channels by index";
}

/* ---- sizes ---- */

static const char *pad_rule(vqc_trace *trace)
{
    const vqc_trace_value *x = ranked(trace->inputs[0]);
    const int64_t *pads;
    size_t count;

    if (x == NULL || !vqc_trace_ints_of(trace, "pads", 1, &pads, &count) ||
        count != 2 * (size_t)x->rank) {
        return "its padding is computed";
    }
    for (int a = 0; a < x->rank; a++) {
        if (pads[a] == 0 && pads[a + x->rank] == 0) {
            vqc_trace_give(trace, 0, a, vqc_trace_take(trace, 0, a));
        }
    }
    return "pads the channels";
}

/* Axes that keep their extent; a constant list of extents at `input` is adjusted. */
static const char *resized(vqc_trace *trace, size_t input)
{
    const vqc_trace_value *x = ranked(trace->inputs[0]);
    const vqc_trace_value *y = ranked(trace->outputs[0]);
    const int64_t *sizes = NULL;
    size_t count = 0;
    bool listed = input < trace->node->n_input && trace->node->input[input][0] != '\0';
    vqc_trace_edit *edit = NULL;

    if (x == NULL || y == NULL || y->rank < x->rank) {
        return UNKNOWN;
    }
    if (listed && (!vqc_trace_ints(trace, input, &sizes, &count) || count != (size_t)y->rank)) {
        return "its sizes are computed";
    }
    if (listed && has_labels(x)) {
        edit = vqc_trace_add_edit(trace, VQC_EDIT_RESHAPE, count);
        for (size_t a = 0; edit != NULL && a < count; a++) {
            edit->fixed[a] = sizes[a];
            edit->input = input;
        }
    }
    for (int a = 0; a < x->rank; a++) {
        int b = a + y->rank - x->rank;
        if (x->dims[a] == y->dims[b] && x->labels[a] != NULL) {
            vqc_trace_labels *labels = vqc_trace_take(trace, 0, a);
            vqc_trace_give(trace, 0, b, labels);
            if (edit != NULL && sizes[b] != 1) {
                edit->labels[b] = labels;
            }
        }
    }
    return "resizes the channels";
}

static const char *resize_rule(vqc_trace *trace)
{
    if (vqc_node_attr(trace->node, "axes") != NULL) {
        return "axes of Resize are not followed";
    }
    return resized(trace, trace->opset >= 11 ? 3 : SIZE_MAX);
}

static const char *expand_rule(vqc_trace *trace)
{
    return resized(trace, 1);
}

static const char *tile_rule(vqc_trace *trace)
{
    const vqc_trace_value *x = ranked(trace->inputs[0]);
    const int64_t *repeats;
    size_t count;

    if (x == NULL || !vqc_trace_ints(trace, 1, &repeats, &count) || count != (size_t)x->rank) {
        return "its repeats are computed";
    }
    for (int a = 0; a < x->rank; a++) {
        if (repeats[a] == 1) {
            vqc_trace_give(trace, 0, a, vqc_trace_take(trace, 0, a));
        }
    }
    return "repeats the channels";
}

static const char *reduce_rule(vqc_trace *trace)
{
    const vqc_trace_value *x = ranked(trace->inputs[0]);
    bool keep = vqc_node_attr_int(trace->node, "keepdims", 1) != 0;
    bool sum = strcmp(trace->node->op_type, "ReduceSum") == 0;
    bool reduced[VQC_EXEC_MAX_RANK] = {false};
    const int64_t *axes = NULL;
    size_t count = 0;
    bool given = vqc_node_attr(trace->node, "axes") != NULL ||
                 (trace->node->n_input > 1 && trace->node->input[1][0] != '\0');
    int out = 0;

    if (x == NULL) {
        return UNKNOWN;
    }
    if (given && !vqc_trace_ints_of(trace, "axes", 1, &axes, &count)) {
        return "its axes are computed";
    }
    if (count == 0 && vqc_node_attr_int(trace->node, "noop_with_empty_axes", 0) != 0) {
        return vqc_trace_same(trace);
    }
    for (int a = 0; a < x->rank; a++) {
        reduced[a] = count == 0;
    }
    for (size_t i = 0; i < count; i++) {
        int64_t a = whole(axes[i], x->rank);
        if (a >= 0 && a < x->rank) {
            reduced[a] = true;
        }
    }
    for (int a = 0; a < x->rank; a++) {
        if (!reduced[a]) {
            vqc_trace_give(trace, 0, out, vqc_trace_take(trace, 0, a));
        } else if (sum) { /* a channel that is gone is a zero less to add */
            (void)vqc_trace_take(trace, 0, a);
        }
        out += !reduced[a] || keep ? 1 : 0;
    }
    return "reduces over the channels";
}

/* Axes of the input whose extents are read by one use of a shape: bits, all when unknown. */
static uint32_t axes_read(vqc_trace *trace, const vqc_use *use, int rank)
{
    const uint32_t all = UINT32_MAX;
    const vqc_value *value = NULL;
    const Onnx__NodeProto *shape_node = trace->node;
    const int64_t *indices;
    size_t count;
    uint32_t bits = 0;

    if (use->node == NULL || use->scope != trace->graph->scopes[0] ||
        !vqc_node_is(use->node, "Gather") || use->input != 0 || use->node->n_input < 2) {
        return all;
    }
    value = vqc_scope_resolve(trace->graph, use->scope, use->node->input[1]);
    if (value == NULL || vqc_trace_index(trace, value) == SIZE_MAX) {
        return all;
    }
    {
        vqc_trace_value *one = &trace->values[vqc_trace_index(trace, value)];
        vqc_trace_value **inputs = trace->inputs;
        Onnx__NodeProto *gather = use->node;
        vqc_trace_value *both[2] = {NULL, one};
        bool known;

        trace->node = gather;
        trace->inputs = both;
        known = vqc_trace_ints(trace, 1, &indices, &count);
        trace->node = shape_node;
        trace->inputs = inputs;
        if (!known) {
            return all;
        }
    }
    for (size_t i = 0; i < count; i++) {
        int64_t a = whole(indices[i], rank);
        bits |= a >= 0 && a < rank ? 1u << a : 0;
    }
    return bits;
}

static const char *shape_rule(vqc_trace *trace)
{
    const vqc_trace_value *x = ranked(trace->inputs[0]);
    const vqc_trace_value *y = trace->outputs[0];
    uint32_t bits = 0;

    if (x == NULL || y == NULL || vqc_node_attr(trace->node, "start") != NULL ||
        vqc_node_attr(trace->node, "end") != NULL) {
        return "the number of channels is computed with";
    }
    for (size_t u = 0; u < y->value->use_count; u++) {
        bits |= axes_read(trace, &y->value->uses[u], x->rank);
    }
    for (int a = 0; a < x->rank; a++) {
        if ((bits & (1u << a)) == 0) {
            (void)vqc_trace_take(trace, 0, a);
        }
    }
    return "the number of channels is computed with";
}

/* Blocks of b * b channels become positions, or the other way round; they go together. */
static const char *depth_rule(vqc_trace *trace)
{
    const vqc_trace_value *x = ranked(trace->inputs[0]);
    const vqc_trace_value *y = ranked(trace->outputs[0]);
    bool to_space = strcmp(trace->node->op_type, "DepthToSpace") == 0;
    const Onnx__AttributeProto *mode = vqc_node_attr(trace->node, "mode");
    bool rows_first = mode != NULL && mode->s.len == 3 && memcmp(mode->s.data, "CRD", 3) == 0;
    size_t block;
    size_t few;
    vqc_trace_labels *in;
    vqc_trace_labels *out;

    if (x == NULL || y == NULL || x->rank != 4 || y->rank != 4 || x->labels[1] == NULL ||
        x->dims[1] < 1 || y->dims[1] < 1) {
        return UNKNOWN;
    }
    in = vqc_trace_take(trace, 0, 1);
    few = (size_t)(to_space ? y->dims[1] : x->dims[1]);
    block = (size_t)(to_space ? x->dims[1] : y->dims[1]) / few;
    out = vqc_trace_labels_create(trace, (size_t)y->dims[1]);
    for (size_t i = 0; i < few * block && out != NULL; i++) {
        size_t channel = rows_first ? i / block : i % few;
        if (!to_space) {
            out->atoms[i] = in->atoms[i % few];
        } else if (i == (rows_first ? channel * block : channel)) {
            out->atoms[channel] = in->atoms[i];
        } else {
            vqc_trace_join_atoms(trace, out->atoms[channel], in->atoms[i]);
        }
    }
    vqc_trace_give(trace, 0, 1, out);
    return NULL;
}

vqc_trace_rule *vqc_trace_shape_rule_find(const Onnx__NodeProto *node)
{
    static const struct {
        const char *op;
        vqc_trace_rule *rule;
    } rows[] = {
        {"Reshape", reshape_rule},
        {"Flatten", reshape_axes},
        {"Squeeze", reshape_axes},
        {"Unsqueeze", reshape_axes},
        {"Transpose", transpose_rule},
        {"Concat", concat_rule},
        {"Split", split_rule},
        {"Slice", slice_rule},
        {"Gather", gather_rule},
        {"Pad", pad_rule},
        {"Resize", resize_rule},
        {"Upsample", resize_rule},
        {"Expand", expand_rule},
        {"Tile", tile_rule},
        {"ReduceSum", reduce_rule},
        {"ReduceMean", reduce_rule},
        {"ReduceMax", reduce_rule},
        {"ReduceMin", reduce_rule},
        {"ReduceProd", reduce_rule},
        {"ReduceL1", reduce_rule},
        {"ReduceL2", reduce_rule},
        {"ReduceLogSum", reduce_rule},
        {"ReduceLogSumExp", reduce_rule},
        {"ReduceSumSquare", reduce_rule},
        {"Shape", shape_rule},
        {"DepthToSpace", depth_rule},
        {"SpaceToDepth", depth_rule},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(node->op_type, rows[i].op) == 0) {
            return rows[i].rule;
        }
    }
    return NULL;
}
