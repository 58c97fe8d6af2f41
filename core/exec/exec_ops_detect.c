/* Operators with results of a length that only the data tell: NonMaxSuppression; and counts of
 * n-grams: TfIdfVectorizer. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_index.h"
#include "core/exec/exec_op.h"
#include "core/graph.h"
#include "core/memory.h"

/* ---- NonMaxSuppression ---- */

typedef struct box {
    float x1, y1, x2, y2; /* corners in order */
    float area;
} box;

typedef struct candidate {
    float score;
    size_t index;
} candidate;

/* The three scalar inputs and the sizes. */
typedef struct suppression {
    size_t batches, classes, boxes;
    size_t most; /* boxes that are kept per class */
    float iou_threshold;
    bool has_score_threshold;
    float score_threshold;
    bool centered;
} suppression;

/* What the shape rule leaves for run. */
typedef struct selected {
    size_t count;
    int64_t *triples; /* [count, 3] batch, class, box */
} selected;

static vqc_status scalar_input(vqc_exec_call *call, size_t input, bool integer, const void **out)
{
    const vqc_buffer *buffer = vqc_exec_input(call, input);

    *out = NULL;
    if (buffer == NULL) {
        return VQC_OK;
    }
    if (buffer->elements != 1 || buffer->dtype != (integer ? VQC_DTYPE_INT64 : VQC_DTYPE_FLOAT)) {
        return vqc_exec_fail(call, "input %zu: got %zu elements of type %s, expected one %s", input,
                             buffer->elements, vqc_dtype_describe(buffer->dtype)->name,
                             integer ? "int64" : "float32");
    }
    *out = buffer->data;
    return VQC_OK;
}

static vqc_status read_suppression(vqc_exec_call *call, suppression *out)
{
    const vqc_buffer *boxes = call->inputs[0];
    const vqc_buffer *scores = call->inputs[1];
    const void *most;
    const void *iou;
    const void *score;
    int64_t limit = 0;
    int64_t centered = vqc_node_attr_int(call->node, "center_point_box", 0);
    vqc_status status = scalar_input(call, 2, true, &most);

    memset(out, 0, sizeof *out);
    status = status != VQC_OK ? status : scalar_input(call, 3, false, &iou);
    status = status != VQC_OK ? status : scalar_input(call, 4, false, &score);
    if (status != VQC_OK) {
        return status;
    }
    if (boxes->dtype != VQC_DTYPE_FLOAT || scores->dtype != VQC_DTYPE_FLOAT || boxes->rank != 3 ||
        scores->rank != 3 || boxes->dims[2] != 4 || boxes->dims[0] != scores->dims[0] ||
        boxes->dims[1] != scores->dims[2] || (centered != 0 && centered != 1)) {
        return vqc_exec_fail(call, "expected float32 boxes [batches, boxes, 4] and scores "
                                   "[batches, classes, boxes]");
    }
    if (most != NULL) {
        memcpy(&limit, most, sizeof limit);
    }
    if (iou != NULL) {
        memcpy(&out->iou_threshold, iou, sizeof out->iou_threshold);
    }
    if (score != NULL) {
        out->has_score_threshold = true;
        memcpy(&out->score_threshold, score, sizeof out->score_threshold);
    }
    out->batches = (size_t)boxes->dims[0];
    out->boxes = (size_t)boxes->dims[1];
    out->classes = (size_t)scores->dims[1];
    out->most = limit <= 0 ? 0 : (uint64_t)limit < out->boxes ? (size_t)limit : out->boxes;
    out->centered = centered == 1;
    return VQC_OK;
}

/* Corners (any diagonal pair, y first) or centre, width and height. */
static void load_boxes(const vqc_buffer *boxes, size_t batch, const suppression *s, box *out)
{
    for (size_t i = 0; i < s->boxes; i++) {
        float v[4];

        memcpy(v, boxes->data + (batch * s->boxes + i) * sizeof v, sizeof v);
        if (s->centered) {
            float half_width = v[2] / 2.0f;
            float half_height = v[3] / 2.0f;
            out[i].x1 = v[0] - half_width;
            out[i].x2 = v[0] + half_width;
            out[i].y1 = v[1] - half_height;
            out[i].y2 = v[1] + half_height;
        } else {
            out[i].y1 = v[0] < v[2] ? v[0] : v[2];
            out[i].y2 = v[0] < v[2] ? v[2] : v[0];
            out[i].x1 = v[1] < v[3] ? v[1] : v[3];
            out[i].x2 = v[1] < v[3] ? v[3] : v[1];
        }
        out[i].area = (out[i].x2 - out[i].x1) * (out[i].y2 - out[i].y1);
    }
}

/* Whether intersection over union is above the threshold; boxes without area overlap nothing. */
static bool overlaps(const box *a, const box *b, float threshold)
{
    float width = (a->x2 < b->x2 ? a->x2 : b->x2) - (a->x1 > b->x1 ? a->x1 : b->x1);
    float height = (a->y2 < b->y2 ? a->y2 : b->y2) - (a->y1 > b->y1 ? a->y1 : b->y1);
    float shared;
    float all;

    if (!(width > 0.0f) || !(height > 0.0f)) {
        return false;
    }
    shared = width * height;
    all = a->area + b->area - shared;
    if (!(a->area > 0.0f) || !(b->area > 0.0f) || !(all > 0.0f)) {
        return false;
    }
    return shared / all > threshold;
}

/* Higher scores first, of equal ones the earlier box. */
static bool before(const candidate *a, const candidate *b)
{
    return a->score > b->score || (a->score == b->score && a->index < b->index);
}

static void sift(candidate *heap, size_t at, size_t size)
{
    candidate moved = heap[at];

    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= size) {
            break;
        }
        child += child + 1 < size && before(&heap[child + 1], &heap[child]);
        if (!before(&heap[child], &moved)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* Greedy suppression in one class; kept [most] gets box numbers. Returns how many. */
static size_t suppress_class(const suppression *s, const box *boxes, const unsigned char *scores,
                             candidate *heap, size_t *kept)
{
    size_t size = 0;
    size_t count = 0;

    for (size_t i = 0; i < s->boxes; i++) {
        float score;
        memcpy(&score, scores + i * sizeof score, sizeof score);
        if (!isnan(score) && (!s->has_score_threshold || score > s->score_threshold)) {
            heap[size++] = (candidate){score, i};
        }
    }
    for (size_t i = size / 2; i-- > 0;) {
        sift(heap, i, size);
    }
    while (size > 0 && count < s->most) {
        size_t next = heap[0].index;
        bool free_of_others = true;

        heap[0] = heap[--size];
        sift(heap, 0, size);
        for (size_t k = 0; k < count && free_of_others; k++) {
            free_of_others = !overlaps(&boxes[next], &boxes[kept[k]], s->iou_threshold);
        }
        if (free_of_others) {
            kept[count++] = next;
        }
    }
    return count;
}

static vqc_status shape_nms(vqc_exec_call *call)
{
    const vqc_buffer *scores = call->inputs[1];
    suppression s;
    selected *result = vqc_exec_scratch(call, sizeof *result);
    box *boxes;
    candidate *heap;
    size_t *kept;
    size_t room;
    vqc_status status = read_suppression(call, &s);

    if (status != VQC_OK || result == NULL) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    if (!vqc_size_mul(s.batches, s.classes, &room) || !vqc_size_mul(room, s.most, &room) ||
        !vqc_size_mul(room + 1, 3 * sizeof *result->triples, &room)) {
        return vqc_fail_memory(call->error, room);
    }
    boxes = vqc_exec_scratch(call, (s.boxes + 1) * sizeof *boxes);
    heap = vqc_exec_scratch(call, (s.boxes + 1) * sizeof *heap);
    kept = vqc_exec_scratch(call, (s.boxes + 1) * sizeof *kept);
    result->count = 0;
    result->triples = vqc_exec_scratch(call, room);
    if (boxes == NULL || heap == NULL || kept == NULL || result->triples == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t b = 0; s.most > 0 && b < s.batches; b++) {
        load_boxes(call->inputs[0], b, &s, boxes);
        for (size_t c = 0; c < s.classes; c++) {
            size_t count = suppress_class(
                &s, boxes, scores->data + (b * s.classes + c) * s.boxes * sizeof(float), heap,
                kept);
            for (size_t i = 0; i < count; i++) {
                int64_t *triple = result->triples + 3 * result->count++;
                triple[0] = (int64_t)b;
                triple[1] = (int64_t)c;
                triple[2] = (int64_t)kept[i];
            }
        }
    }
    call->state = result;
    call->types[0].dtype = VQC_DTYPE_INT64;
    call->types[0].rank = 2;
    call->types[0].dims[0] = (int64_t)result->count;
    call->types[0].dims[1] = 3;
    return VQC_OK;
}

static vqc_status run_nms(vqc_exec_call *call)
{
    const selected *result = call->state;

    if (result->count > 0) {
        memcpy(call->outputs[0]->data, result->triples, result->count * 3 * sizeof(int64_t));
    }
    return VQC_OK;
}

/* ---- TfIdfVectorizer (pools of integers) ---- */

typedef struct vectorizer {
    int64_t min_length, max_length, max_skip;
    size_t mode; /* 0 TF, 1 IDF, 2 TFIDF */
    const int64_t *pool;
    size_t pool_size;
    const int64_t *starts; /* of the 1-grams, 2-grams, ... in the pool */
    size_t start_count;
    const int64_t *columns; /* output column of each n-gram */
    size_t column_count;
    const float *weights; /* NULL: all 1 */
    size_t width;         /* columns of the output */
} vectorizer;

static vqc_status read_attributes(vqc_exec_call *call, vectorizer *v)
{
    static const char *const modes[] = {"TF", "IDF", "TFIDF"};
    const Onnx__AttributeProto *pool = vqc_node_attr(call->node, "pool_int64s");
    const Onnx__AttributeProto *starts = vqc_node_attr(call->node, "ngram_counts");
    const Onnx__AttributeProto *columns = vqc_node_attr(call->node, "ngram_indexes");
    const Onnx__AttributeProto *weights = vqc_node_attr(call->node, "weights");

    memset(v, 0, sizeof *v);
    if (pool == NULL || starts == NULL || columns == NULL ||
        vqc_node_attr(call->node, "mode") == NULL) {
        return vqc_exec_fail(call, "expected the attributes mode, pool_int64s (pools of strings "
                                   "cannot be computed here), ngram_counts and ngram_indexes");
    }
    v->min_length = vqc_node_attr_int(call->node, "min_gram_length", 0);
    v->max_length = vqc_node_attr_int(call->node, "max_gram_length", 0);
    v->max_skip = vqc_node_attr_int(call->node, "max_skip_count", -1);
    v->pool = pool->ints;
    v->pool_size = pool->n_ints;
    v->starts = starts->ints;
    v->start_count = starts->n_ints;
    v->columns = columns->ints;
    v->column_count = columns->n_ints;
    if (v->min_length < 1 || v->max_length < v->min_length || v->max_skip < 0 ||
        (uint64_t)v->max_length > v->start_count) {
        return vqc_exec_fail(call, "got n-grams of %lld to %lld items and %lld to skip",
                             (long long)v->min_length, (long long)v->max_length,
                             (long long)v->max_skip);
    }
    if (weights != NULL) {
        v->weights = weights->floats;
        if (weights->n_floats != v->column_count) {
            return vqc_exec_fail(call, "weights: got %zu, expected %zu", weights->n_floats,
                                 v->column_count);
        }
    }
    return vqc_exec_choice(call, "mode", modes, 3, &v->mode);
}

/* Checks that the pool divides into n-grams, one per column entry. */
static vqc_status check_pool(vqc_exec_call *call, vectorizer *v)
{
    size_t grams = 0;

    for (size_t n = 1; n <= v->start_count; n++) {
        int64_t from = v->starts[n - 1];
        int64_t to = n < v->start_count ? v->starts[n] : (int64_t)v->pool_size;

        if (from < 0 || to < from || (uint64_t)to > v->pool_size || (size_t)(to - from) % n != 0) {
            return vqc_exec_fail(call, "ngram_counts: entry %zu does not fit the pool", n - 1);
        }
        grams += (size_t)(to - from) / n;
    }
    if (grams != v->column_count) {
        return vqc_exec_fail(call, "ngram_indexes: got %zu, expected %zu", v->column_count, grams);
    }
    for (size_t i = 0; i < grams; i++) {
        if (v->columns[i] < 0 || v->columns[i] > INT32_MAX) {
            return vqc_exec_fail(call, "ngram_indexes: got %lld", (long long)v->columns[i]);
        }
        v->width = (size_t)v->columns[i] >= v->width ? (size_t)v->columns[i] + 1 : v->width;
    }
    return VQC_OK;
}

static vqc_status shape_tfidf(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    vectorizer v;
    vqc_status status = read_attributes(call, &v);

    if (status == VQC_OK) {
        status = check_pool(call, &v);
    }
    if (status != VQC_OK) {
        return status;
    }
    if ((x->dtype != VQC_DTYPE_INT32 && x->dtype != VQC_DTYPE_INT64) || x->rank < 1 ||
        x->rank > 2) {
        return vqc_exec_fail(call, "got %s of rank %zu, expected integers [C] or [N, C]",
                             vqc_dtype_describe(x->dtype)->name, x->rank);
    }
    call->types[0].dtype = VQC_DTYPE_FLOAT;
    call->types[0].rank = x->rank;
    call->types[0].dims[0] = x->dims[0];
    call->types[0].dims[x->rank - 1] = (int64_t)v.width;
    return VQC_OK;
}

/* How often the n-gram occurs in the row with its items `step` apart. */
static size_t occurrences(const vqc_buffer *x, size_t row, size_t length, const int64_t *gram,
                          size_t n, size_t step)
{
    size_t count = 0;
    size_t span;

    if (!vqc_size_mul(n - 1, step, &span)) {
        return 0;
    }
    for (size_t at = 0; length > span && at < length - span; at++) {
        size_t k = 0;
        while (k < n &&
               vqc_element_int(x->dtype, x->data, row * length + at + k * step) == gram[k]) {
            k++;
        }
        count += k == n;
    }
    return count;
}

/* Counts into the row's columns. Single items are counted once; longer n-grams with 0, 1, ...
 * max_skip_count items between neighbours. */
static void count_row(const vectorizer *v, const vqc_buffer *x, size_t row, size_t length,
                      float *target)
{
    size_t gram = 0;

    for (size_t n = 1; n <= v->start_count; n++) {
        size_t to = n < v->start_count ? (size_t)v->starts[n] : v->pool_size;

        for (size_t at = (size_t)v->starts[n - 1]; at < to; at += n, gram++) {
            size_t count = 0;

            if ((int64_t)n < v->min_length || (int64_t)n > v->max_length) {
                continue;
            }
            for (size_t skip = 0; skip <= (n == 1 ? 0 : (uint64_t)v->max_skip); skip++) {
                if (skip >= length) {
                    break; /* farther apart than the row is long */
                }
                count += occurrences(x, row, length, v->pool + at, n, skip + 1);
            }
            if (count > 0) {
                float weight = v->weights == NULL ? 1.0f : v->weights[gram];
                float value = v->mode == 0   ? (float)count
                              : v->mode == 1 ? weight
                                             : (float)count * weight;
                target[v->columns[gram]] = value;
            }
        }
    }
}

static vqc_status run_tfidf(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    size_t length = (size_t)x->dims[x->rank - 1];
    size_t rows = x->rank == 1 ? 1 : (size_t)x->dims[0];
    vectorizer v;
    vqc_status status = read_attributes(call, &v);

    if (status == VQC_OK) {
        status = check_pool(call, &v);
    }
    if (status != VQC_OK) {
        return status;
    }
    memset(out->data, 0, out->elements * out->width);
    for (size_t r = 0; r < rows; r++) {
        count_row(&v, x, r, length, (float *)(void *)out->data + r * v.width);
    }
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("NonMaxSuppression", "", 10, 2, shape_nms, run_nms, .detail = NULL),
    VQC_EXEC_ROW("TfIdfVectorizer", "", 9, 1, shape_tfidf, run_tfidf, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_detect = {OPS, sizeof OPS / sizeof OPS[0]};
