/* Operators that pick elements by their values: TopK, Unique, NonZero, Compress. */
#include <string.h>

#include "core/exec/exec_index.h"
#include "core/exec/exec_op.h"
#include "core/graph.h"
#include "core/memory.h"

/* ---- TopK ---- */

enum { PARALLEL_ELEMENTS = 1 << 16 }; /* below that, starting threads costs more than it saves */

typedef struct entry {
    uint64_t key;
    size_t index;
} entry;

static vqc_status topk_count(vqc_exec_call *call, int64_t *k)
{
    size_t count = 0;

    if (call->opset < 10) {
        *k = vqc_node_attr_int(call->node, "k", -1);
    } else if (vqc_exec_input(call, 1) == NULL) {
        return vqc_exec_fail(call, "k: got none, expected one integer");
    } else {
        vqc_status status = vqc_exec_ints(call, call->inputs[1], k, 1, &count);
        if (status != VQC_OK || count != 1) {
            return status != VQC_OK ? status : vqc_exec_fail(call, "k: got none");
        }
    }
    return *k >= 0 ? VQC_OK : vqc_exec_fail(call, "k: got %lld, expected 0 or more", (long long)*k);
}

static vqc_status shape_topk(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    size_t axis;
    int64_t k;
    vqc_status status = topk_count(call, &k);

    if (status == VQC_OK) {
        status = vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", -1), x->rank, &axis);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (vqc_class_of(x->dtype) == VQC_CLASS_NONE || k > x->dims[axis] || call->output_count > 2) {
        return vqc_exec_fail(call, "k: got %lld of %lld elements of type %s", (long long)k,
                             (long long)x->dims[axis], vqc_dtype_describe(x->dtype)->name);
    }
    for (size_t i = 0; i < call->output_count; i++) {
        vqc_exec_type_like(&call->types[i], x);
        call->types[i].dims[axis] = k;
    }
    call->types[1].dtype = VQC_DTYPE_INT64;
    return VQC_OK;
}

/* Smaller values go first out of the heap; of equal ones the later. */
static bool is_worse(const entry *a, const entry *b)
{
    return a->key < b->key || (a->key == b->key && a->index > b->index);
}

static void sift_down(entry *heap, size_t at, size_t size)
{
    entry moved = heap[at];

    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= size) {
            break;
        }
        if (child + 1 < size && is_worse(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (!is_worse(&heap[child], &moved)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* The k best of n elements into heap [k], best first. flip: all ones for the smallest. */
static void best_of_lane(const vqc_buffer *x, size_t start, size_t stride, size_t n, uint64_t flip,
                         entry *heap, size_t k)
{
    uint64_t keys[VQC_EXEC_CHUNK];
    size_t size = 0;

    for (size_t at = 0; at < n; at += VQC_EXEC_CHUNK) {
        size_t count = n - at < VQC_EXEC_CHUNK ? n - at : VQC_EXEC_CHUNK;

        vqc_exec_order_keys(x, start + at * stride, stride, count, keys);
        for (size_t i = 0; i < count; i++) {
            entry next = {keys[i] ^ flip, at + i};

            if (size < k) {
                heap[size++] = next;
                for (size_t j = k / 2; size == k && j-- > 0;) {
                    sift_down(heap, j, k);
                }
            } else if (next.key > heap[0].key) { /* an equal one that comes later loses */
                heap[0] = next;
                sift_down(heap, 0, k);
            }
        }
    }
    for (size_t left = k; left > 1; left--) { /* the worst to the end */
        entry worst = heap[0];
        heap[0] = heap[left - 1];
        heap[left - 1] = worst;
        sift_down(heap, 0, left - 1);
    }
}

static vqc_status run_topk(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    vqc_buffer *values = call->outputs[0];
    vqc_buffer *places = call->output_count > 1 ? call->outputs[1] : NULL;
    uint64_t flip = vqc_node_attr_int(call->node, "largest", 1) == 0 ? UINT64_MAX : 0;
    int threads = x->elements >= PARALLEL_ELEMENTS ? call->threads : 1;
    size_t axis;
    size_t n;
    size_t k;
    size_t inner;
    size_t lanes;
    size_t size_bytes;
    entry *heaps;

    if (values->elements == 0) {
        return VQC_OK;
    }
    (void)vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", -1), x->rank, &axis);
    n = (size_t)x->dims[axis];
    k = (size_t)values->dims[axis];
    inner = vqc_exec_product(x->dims, axis + 1, x->rank);
    lanes = values->elements / k;
    threads = lanes < (size_t)threads ? (int)lanes : threads;
    if (!vqc_size_mul(k * sizeof *heaps, (size_t)threads, &size_bytes)) {
        return vqc_fail_memory(call->error, size_bytes);
    }
    heaps = vqc_exec_scratch(call, size_bytes);
    if (heaps == NULL) {
        return VQC_ERR_INTERNAL;
    }
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        entry *heap = heaps + (size_t)t * k;

        for (size_t lane = (size_t)t; lane < lanes; lane += (size_t)threads) {
            size_t from = lane / inner * n * inner + lane % inner;
            size_t to = lane / inner * k * inner + lane % inner;

            best_of_lane(x, from, inner, n, flip, heap, k);
            for (size_t i = 0; i < k; i++) {
                int64_t index = (int64_t)heap[i].index;
                size_t at = to + i * inner;
                memcpy(values->data + at * x->width,
                       x->data + (from + heap[i].index * inner) * x->width, x->width);
                if (places != NULL) {
                    memcpy(places->data + at * sizeof index, &index, sizeof index);
                }
            }
        }
    }
    return VQC_OK;
}

/* ---- NonZero ---- */

/* mask [n] = whether the elements from `at` on differ from 0 (-0 does not); returns how many. */
static size_t mark_nonzero(const vqc_buffer *x, size_t at, size_t n, bool *mask)
{
    const unsigned char *from = x->data + at * x->width;
    vqc_class class = vqc_class_of(x->dtype);
    size_t count = 0;
    vqc_chunk chunk;

    if (x->width == 1 && class != VQC_CLASS_F32) {
        for (size_t i = 0; i < n; i++) {
            mask[i] = from[i] != 0;
            count += mask[i];
        }
        return count;
    }
    vqc_element_load(x->dtype, from, n, &chunk);
    for (size_t i = 0; i < n; i++) {
        mask[i] = class == VQC_CLASS_F32   ? chunk.f32[i] != 0.0f
                  : class == VQC_CLASS_F64 ? chunk.f64[i] != 0.0
                                           : chunk.u64[i] != 0;
        count += mask[i];
    }
    return count;
}

static vqc_status shape_nonzero(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    int64_t count = 0;
    bool mask[VQC_EXEC_CHUNK];

    if (vqc_class_of(x->dtype) == VQC_CLASS_NONE) {
        return vqc_exec_fail(call, "data type %s: expected numbers",
                             vqc_dtype_describe(x->dtype)->name);
    }
    for (size_t at = 0; at < x->elements; at += VQC_EXEC_CHUNK) {
        size_t left = x->elements - at;
        count += (int64_t)mark_nonzero(x, at, left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK, mask);
    }
    call->types[0].dtype = VQC_DTYPE_INT64;
    call->types[0].rank = 2;
    call->types[0].dims[0] = (int64_t)x->rank;
    call->types[0].dims[1] = count;
    return VQC_OK;
}

/* The coordinates of element `flat` into column `found` of out [rank, count]. */
static void store_coordinates(const vqc_buffer *x, size_t flat, vqc_buffer *out, size_t found)
{
    size_t count = (size_t)out->dims[1];

    for (size_t k = x->rank; k-- > 0;) {
        int64_t index = (int64_t)(k == 0 ? flat : flat % (size_t)x->dims[k]);
        flat = k == 0 ? 0 : flat / (size_t)x->dims[k];
        memcpy(out->data + (k * count + found) * sizeof index, &index, sizeof index);
    }
}

static vqc_status run_nonzero(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    bool mask[VQC_EXEC_CHUNK];
    size_t found = 0;

    for (size_t at = 0; call->outputs[0]->elements > 0 && at < x->elements; at += VQC_EXEC_CHUNK) {
        size_t left = x->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;
        size_t count = mark_nonzero(x, at, n, mask);

        for (size_t i = 0; count > 0 && i < n; i++) {
            if (mask[i]) {
                store_coordinates(x, at + i, call->outputs[0], found++);
            }
        }
    }
    return VQC_OK;
}

/* ---- Compress ---- */

/* The input as [outer, n, row bytes] around the axis; without one, flat. */
typedef struct slabs {
    bool flat;
    size_t axis;
    size_t outer;
    size_t n;
    size_t row_bytes;
} slabs;

static vqc_status find_slabs(vqc_exec_call *call, slabs *out)
{
    const vqc_buffer *x = call->inputs[0];
    vqc_status status;

    memset(out, 0, sizeof *out);
    if (vqc_node_attr(call->node, "axis") == NULL) {
        *out = (slabs){true, 0, 1, x->elements, x->width};
        return VQC_OK;
    }
    status = vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", 0), x->rank, &out->axis);
    if (status == VQC_OK) {
        out->n = (size_t)x->dims[out->axis];
        out->outer = vqc_exec_product(x->dims, 0, out->axis);
        out->row_bytes = vqc_exec_product(x->dims, out->axis + 1, x->rank) * x->width;
    }
    return status;
}

static vqc_status shape_compress(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *condition = call->inputs[1];
    vqc_exec_type *type = &call->types[0];
    slabs s;
    int64_t kept = 0;
    vqc_status status = find_slabs(call, &s);

    if (status != VQC_OK) {
        return status;
    }
    if (condition->dtype != VQC_DTYPE_BOOL || condition->rank != 1) {
        return vqc_exec_fail(call, "condition: got %s of rank %zu, expected a bool vector",
                             vqc_dtype_describe(condition->dtype)->name, condition->rank);
    }
    for (size_t i = 0; i < condition->elements; i++) {
        if (condition->data[i] != 0 && i >= s.n) {
            return vqc_exec_fail(call, "condition: entry %zu is true, but there are %zu elements",
                                 i, s.n);
        }
        kept += condition->data[i] != 0;
    }
    vqc_exec_type_like(type, x);
    if (s.flat) {
        type->rank = 1;
    }
    type->dims[s.axis] = kept;
    return VQC_OK;
}

static vqc_status run_compress(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *condition = call->inputs[1];
    unsigned char *target = call->outputs[0]->data;
    slabs s;
    vqc_status status = find_slabs(call, &s);

    if (status != VQC_OK || call->outputs[0]->elements == 0) {
        return status;
    }
    for (size_t o = 0; o < s.outer; o++) {
        for (size_t i = 0; i < condition->elements && i < s.n; i++) {
            if (condition->data[i] != 0) {
                memcpy(target, x->data + (o * s.n + i) * s.row_bytes, s.row_bytes);
                target += s.row_bytes;
            }
        }
    }
    return VQC_OK;
}

/* ---- Unique ---- */

typedef struct unique_state {
    size_t groups;
    size_t *first;   /* [groups] first item of each group, in the order of the output */
    size_t *counts;  /* [groups] */
    size_t *inverse; /* [n] group of each item */
} unique_state;

/* keys [n, m] of the items: elements, or the subtensors along an axis. */
static void item_keys(const vqc_buffer *x, const slabs *s, size_t m, uint64_t *keys)
{
    size_t inner = s->flat ? 1 : s->row_bytes / x->width;

    for (size_t o = 0; x->elements > 0 && o < s->outer; o++) {
        for (size_t i = 0; i < s->n; i++) {
            vqc_exec_order_keys(x, (o * s->n + i) * inner, 1, inner, keys + i * m + o * inner);
        }
    }
}

static int compare_items(const uint64_t *keys, size_t m, size_t a, size_t b)
{
    for (size_t k = 0; k < m; k++) {
        if (keys[a * m + k] != keys[b * m + k]) {
            return keys[a * m + k] < keys[b * m + k] ? -1 : 1;
        }
    }
    return 0;
}

/* Stable merge sort, bottom up; `other` [n] is room for it. Returns the array with the result. */
static size_t *sort_items(const uint64_t *keys, size_t m, size_t n, size_t *order, size_t *other)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t at = 0; at < n; at += 2 * width) {
            size_t middle = n - at < width ? n : at + width;
            size_t end = n - at < 2 * width ? n : at + 2 * width;
            size_t left = at;
            size_t right = middle;

            for (size_t i = at; i < end; i++) {
                bool take_left =
                    left < middle &&
                    (right >= end || compare_items(keys, m, order[left], order[right]) <= 0);
                other[i] = take_left ? order[left++] : order[right++];
            }
        }
        size_t *swap = order;
        order = other;
        other = swap;
    }
    return order;
}

/* Groups equal neighbours of `order`; for sorted = 0 renumbers the groups by first occurrence. */
static void make_groups(unique_state *state, const uint64_t *keys, size_t m, size_t n,
                        const size_t *order, bool sorted, size_t *rename)
{
    state->groups = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || compare_items(keys, m, order[i - 1], order[i]) != 0) {
            state->first[state->groups] = order[i]; /* the sort is stable: the first of its kind */
            state->counts[state->groups++] = 0;
        }
        state->counts[state->groups - 1]++;
        state->inverse[order[i]] = state->groups - 1;
    }
    if (sorted || n == 0) {
        return;
    }
    size_t *counts = rename + n; /* copies by item */
    size_t next = 0;

    for (size_t g = 0; g < state->groups; g++) {
        counts[state->first[g]] = state->counts[g];
    }
    for (size_t i = 0; i < n; i++) { /* items in order; the first of a group gives its number */
        size_t group = state->inverse[i];
        if (state->first[group] == i) {
            rename[group] = next++;
        }
        state->inverse[i] = rename[group];
    }
    next = 0;
    for (size_t i = 0; i < n; i++) { /* no overtaking: group g's first item is at or after g */
        if (state->inverse[i] == next) {
            state->first[next] = i;
            state->counts[next++] = counts[i];
        }
    }
}

static vqc_status find_unique(vqc_exec_call *call, const slabs *s)
{
    const vqc_buffer *x = call->inputs[0];
    size_t n = s->n;
    size_t m = n == 0 ? 0 : x->elements / n;
    unique_state *state = vqc_exec_scratch(call, sizeof *state);
    uint64_t *keys;
    size_t *order;
    size_t size_bytes;

    if (!vqc_size_mul(x->elements + 1, sizeof *keys, &size_bytes) ||
        !vqc_size_mul(n + 1, 7 * sizeof *order, &size_bytes)) {
        return vqc_fail_memory(call->error, size_bytes);
    }
    keys = vqc_exec_scratch(call, (x->elements + 1) * sizeof *keys);
    order = vqc_exec_scratch(call, size_bytes);
    if (state == NULL || keys == NULL || order == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
    }
    state->first = order + 2 * n;
    state->counts = order + 3 * n;
    state->inverse = order + 4 * n;
    item_keys(x, s, m, keys);
    make_groups(state, keys, m, n, sort_items(keys, m, n, order, order + n),
                vqc_node_attr_int(call->node, "sorted", 1) != 0, order + 5 * n);
    call->state = state;
    return VQC_OK;
}

static vqc_status shape_unique(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    slabs s;
    vqc_status status = find_slabs(call, &s);

    if (status == VQC_OK && vqc_class_of(x->dtype) == VQC_CLASS_NONE) {
        status = vqc_exec_fail(call, "data type %s: expected numbers",
                               vqc_dtype_describe(x->dtype)->name);
    }
    if (status == VQC_OK && x->elements == 0 && s.n > 0) {
        status = vqc_exec_fail(call, "got %zu subtensors without elements", s.n);
    }
    if (status == VQC_OK && call->output_count > 4) {
        status = vqc_exec_fail(call, "got %zu outputs, expected up to 4", call->output_count);
    }
    if (status == VQC_OK) {
        status = find_unique(call, &s);
    }
    if (status != VQC_OK) {
        return status;
    }
    vqc_exec_type_like(&call->types[0], x);
    if (s.flat) {
        call->types[0].rank = 1;
    }
    call->types[0].dims[s.axis] = (int64_t)((unique_state *)call->state)->groups;
    for (size_t i = 1; i < call->output_count; i++) {
        call->types[i].dtype = VQC_DTYPE_INT64;
        call->types[i].rank = 1;
        call->types[i].dims[0] =
            i == 2 ? (int64_t)s.n : (int64_t)((unique_state *)call->state)->groups;
    }
    return VQC_OK;
}

static void store_counts(const vqc_exec_call *call, size_t output, const size_t *values)
{
    for (size_t i = 0; output < call->output_count && i < call->outputs[output]->elements; i++) {
        int64_t value = (int64_t)values[i];
        memcpy(call->outputs[output]->data + i * sizeof value, &value, sizeof value);
    }
}

static vqc_status run_unique(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    const unique_state *state = call->state;
    unsigned char *target = call->outputs[0]->data;
    slabs s;
    vqc_status status = find_slabs(call, &s);

    for (size_t o = 0; status == VQC_OK && call->outputs[0]->elements > 0 && o < s.outer; o++) {
        for (size_t g = 0; g < state->groups; g++, target += s.row_bytes) {
            memcpy(target, x->data + (o * s.n + state->first[g]) * s.row_bytes, s.row_bytes);
        }
    }
    store_counts(call, 1, state->first);
    store_counts(call, 2, state->inverse);
    store_counts(call, 3, state->counts);
    return status;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("TopK", "", 1, 1, shape_topk, run_topk, .detail = NULL),
    VQC_EXEC_ROW("NonZero", "", 9, 1, shape_nonzero, run_nonzero, .detail = NULL),
    VQC_EXEC_ROW("Compress", "", 9, 2, shape_compress, run_compress, .detail = NULL),
    VQC_EXEC_ROW("Unique", "", 11, 1, shape_unique, run_unique, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_select = {OPS, sizeof OPS / sizeof OPS[0]};
