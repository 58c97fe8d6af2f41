/* Attention, RotaryEmbedding, LinearAttention, CausalConvWithState. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_attention.h"
#include "core/exec/working.h"
#include "core/graph.h"
#include "core/memory.h"

enum { Q, K, V, MASK, PAST_K, PAST_V, NONPAD, THREAD_WORK = 1 << 20 };

/* Sizes and attributes of one call. */
typedef struct attention {
    vqc_class class;
    size_t batch, q_heads, kv_heads, q_length, past, length; /* length: past + new keys */
    size_t head, v_head;
    bool flat; /* Q, K and V have rank 3: heads lie in the last axis */
    double scale, softcap;
    bool causal;
    int64_t left, right, mode;
    const int64_t *nonpad; /* [batch] or NULL */
    const void *mask;      /* of class, or NULL */
    bool mask_is_bool;
    size_t mask_length; /* keys that the mask has; the others are masked out */
    size_t mask_strides[4];
    const void *q, *k, *v; /* q as given; k, v [batch, kv_heads, length, head] */
    void *y, *scores;      /* scores may be NULL */
} attention;

/* ---- parsing ---- */

static vqc_status split_heads(vqc_exec_call *call, size_t input, const char *name, size_t *heads,
                              size_t *length, size_t *head)
{
    const vqc_buffer *buffer = call->inputs[input];
    int64_t count = vqc_node_attr_int(call->node, name, 0);

    if (buffer->rank == 4) {
        if (count != 0 && count != buffer->dims[1]) {
            return vqc_exec_fail(call, "%s: got %lld, input %zu has %lld", name, (long long)count,
                                 input, (long long)buffer->dims[1]);
        }
        *heads = (size_t)buffer->dims[1];
        *length = (size_t)buffer->dims[2];
        *head = (size_t)buffer->dims[3];
        return VQC_OK;
    }
    if (count < 1 || buffer->dims[2] % count != 0) {
        return vqc_exec_fail(call, "%s: got %lld for input %zu with a last axis of %lld", name,
                             (long long)count, input, (long long)buffer->dims[2]);
    }
    *heads = (size_t)count;
    *length = (size_t)buffer->dims[1];
    *head = (size_t)(buffer->dims[2] / count);
    return VQC_OK;
}

static vqc_status parse_heads(vqc_exec_call *call, attention *at)
{
    size_t rank = call->inputs[Q]->rank;
    size_t heads, length, v_length;
    vqc_status status;

    if ((rank != 3 && rank != 4) || call->inputs[K]->rank != rank ||
        call->inputs[V]->rank != rank) {
        return vqc_exec_fail(call, "Q, K, V: expected three tensors of rank 3 or of rank 4");
    }
    at->flat = rank == 3;
    at->batch = (size_t)call->inputs[Q]->dims[0];
    status = split_heads(call, Q, "q_num_heads", &at->q_heads, &at->q_length, &at->head);
    if (status == VQC_OK) {
        status = split_heads(call, K, "kv_num_heads", &at->kv_heads, &length, &heads);
    }
    if (status == VQC_OK && heads != at->head) {
        status = vqc_exec_fail(call, "K: head size is %zu, expected %zu", heads, at->head);
    }
    if (status == VQC_OK) {
        status = split_heads(call, V, "kv_num_heads", &heads, &v_length, &at->v_head);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (heads != at->kv_heads || v_length != length || at->kv_heads == 0 ||
        at->q_heads % at->kv_heads != 0 || call->inputs[K]->dims[0] != call->inputs[Q]->dims[0] ||
        call->inputs[V]->dims[0] != call->inputs[Q]->dims[0]) {
        return vqc_exec_fail(call, "Q, K, V: batch, heads or lengths do not fit together");
    }
    at->length = length;
    return VQC_OK;
}

static vqc_status parse_past(vqc_exec_call *call, attention *at)
{
    const vqc_buffer *past = vqc_exec_input(call, PAST_K);
    int64_t dims[4] = {(int64_t)at->batch, (int64_t)at->kv_heads, -1, (int64_t)at->head};
    vqc_status status;

    if ((past == NULL) != (vqc_exec_input(call, PAST_V) == NULL)) {
        return vqc_exec_fail(call, "past_key and past_value must come together");
    }
    if (past == NULL) {
        return VQC_OK;
    }
    status = vqc_exec_expect(call, PAST_K, call->inputs[K]->dtype, 4, dims);
    if (status != VQC_OK) {
        return status;
    }
    dims[2] = past->dims[2];
    dims[3] = (int64_t)at->v_head;
    at->past = (size_t)past->dims[2];
    if (!vqc_size_add(at->length, at->past, &at->length)) {
        return vqc_exec_fail(call, "past_key: too long");
    }
    return vqc_exec_expect(call, PAST_V, call->inputs[V]->dtype, 4, dims);
}

static vqc_status parse_mask(vqc_exec_call *call, attention *at)
{
    const vqc_buffer *mask = vqc_exec_input(call, MASK);
    const size_t want[4] = {at->batch, at->q_heads, at->q_length, at->length};
    size_t stride = 1;

    if (mask == NULL) {
        return VQC_OK;
    }
    at->mask_is_bool = mask->dtype == VQC_DTYPE_BOOL;
    if (mask->rank < 1 || mask->rank > 4 ||
        (!at->mask_is_bool && vqc_class_of(mask->dtype) != VQC_CLASS_F32 &&
         vqc_class_of(mask->dtype) != VQC_CLASS_F64)) {
        return vqc_exec_fail(call, "attn_mask: got rank %zu and type %s", mask->rank,
                             vqc_dtype_describe(mask->dtype)->name);
    }
    at->mask_length = (size_t)mask->dims[mask->rank - 1];
    for (size_t i = 4; i-- > 4 - mask->rank;) {
        size_t dim = (size_t)mask->dims[i + mask->rank - 4];

        if (i == 3 ? dim > at->length : dim != 1 && dim != want[i]) {
            return vqc_exec_fail(call, "attn_mask: axis %zu is %zu, expected %zu",
                                 i + mask->rank - 4, dim, want[i]);
        }
        at->mask_strides[i] = dim == 1 ? 0 : stride;
        stride *= dim;
    }
    return VQC_OK;
}

static vqc_status parse_attributes(vqc_exec_call *call, attention *at)
{
    int64_t precision = vqc_node_attr_int(call->node, "softmax_precision", VQC_DTYPE_FLOAT);

    at->scale = (double)vqc_node_attr_float(call->node, "scale", 0.0f);
    if (vqc_node_attr(call->node, "scale") == NULL) {
        at->scale = 1.0 / sqrt((double)at->head);
    }
    at->softcap = (double)vqc_node_attr_float(call->node, "softcap", 0.0f);
    at->causal = vqc_node_attr_int(call->node, "is_causal", 0) != 0;
    at->left = vqc_node_attr_int(call->node, "left_window_size", -1);
    at->right = vqc_node_attr_int(call->node, "right_window_size", -1);
    at->mode = vqc_node_attr_int(call->node, "qk_matmul_output_mode", 0);
    if (at->mode < 0 || at->mode > 3 || at->left < -1 || at->right < -1) {
        return vqc_exec_fail(call, "got qk_matmul_output_mode %lld and a window of %lld, %lld",
                             (long long)at->mode, (long long)at->left, (long long)at->right);
    }
    if (precision != VQC_DTYPE_FLOAT && precision != VQC_DTYPE_FLOAT16 &&
        precision != VQC_DTYPE_BFLOAT16 && precision != VQC_DTYPE_DOUBLE) {
        return vqc_exec_fail(call, "softmax_precision: got %lld", (long long)precision);
    }
    return VQC_OK;
}

static vqc_status parse(vqc_exec_call *call, attention *at)
{
    const vqc_buffer *nonpad = vqc_exec_input(call, NONPAD);
    vqc_class class = vqc_class_of(call->inputs[Q]->dtype);
    vqc_status status;

    memset(at, 0, sizeof *at);
    at->class = class == VQC_CLASS_F64 ? VQC_CLASS_F64 : VQC_CLASS_F32;
    if ((class != VQC_CLASS_F32 && class != VQC_CLASS_F64) ||
        call->inputs[K]->dtype != call->inputs[Q]->dtype ||
        vqc_class_of(call->inputs[V]->dtype) != class) {
        return vqc_exec_fail(call, "Q, K, V: expected float types that agree");
    }
    status = parse_heads(call, at);
    if (status == VQC_OK) {
        status = parse_past(call, at);
    }
    if (status == VQC_OK) {
        status = parse_mask(call, at);
    }
    if (status == VQC_OK) {
        status = parse_attributes(call, at);
    }
    if (status == VQC_OK && nonpad != NULL) {
        int64_t batch = (int64_t)at->batch;
        status = vqc_exec_expect(call, NONPAD, VQC_DTYPE_INT64, 1, &batch);
        if (status == VQC_OK && vqc_exec_input(call, PAST_K) != NULL) {
            status = vqc_exec_fail(call, "nonpad_kv_seqlen and past_key exclude each other");
        }
    }
    return status;
}

static void set_type(vqc_exec_type *type, int32_t dtype, size_t a, size_t b, size_t c, size_t d)
{
    type->dtype = dtype;
    type->rank = 4;
    type->dims[0] = (int64_t)a;
    type->dims[1] = (int64_t)b;
    type->dims[2] = (int64_t)c;
    type->dims[3] = (int64_t)d;
}

static vqc_status shape_attention(vqc_exec_call *call)
{
    attention at;
    vqc_status status = parse(call, &at);
    int32_t dtype = call->inputs[Q]->dtype;

    if (status != VQC_OK) {
        return status;
    }
    if (call->output_count > 4) {
        return vqc_exec_fail(call, "got %zu outputs, expected at most 4", call->output_count);
    }
    set_type(&call->types[0], dtype, at.batch, at.q_heads, at.q_length, at.v_head);
    if (at.flat) {
        call->types[0].rank = 3;
        call->types[0].dims[1] = (int64_t)at.q_length;
        if (__builtin_mul_overflow((int64_t)at.q_heads, (int64_t)at.v_head,
                                   &call->types[0].dims[2])) {
            return vqc_exec_fail(call, "V: heads are too large");
        }
    }
    set_type(&call->types[1], dtype, at.batch, at.kv_heads, at.length, at.head);
    set_type(&call->types[2], call->inputs[V]->dtype, at.batch, at.kv_heads, at.length, at.v_head);
    set_type(&call->types[3], dtype, at.batch, at.q_heads, at.q_length, at.length);
    return VQC_OK;
}

/* ---- running ---- */

/* past and new rows, joined as [batch, kv_heads, length, head]; in `target` or scratch memory. */
static const void *join_cache(vqc_exec_call *call, const attention *at, size_t input,
                              size_t past_input, size_t head, void *target)
{
    const vqc_buffer *past = vqc_exec_input(call, past_input);
    size_t row = head * vqc_class_width(at->class);
    size_t fresh = at->length - at->past;
    const unsigned char *now = vqc_exec_values(call, call->inputs[input], at->class);
    const unsigned char *before = past == NULL ? NULL : vqc_exec_values(call, past, at->class);
    unsigned char *out = target;

    if (now == NULL || (past != NULL && before == NULL)) {
        return NULL;
    }
    if (out == NULL && past == NULL && !at->flat) {
        return now;
    }
    if (out == NULL) {
        out = vqc_exec_scratch_array(call, at->batch * at->kv_heads * at->length, 1, row, false);
    }
    for (size_t i = 0; out != NULL && i < at->batch * at->kv_heads; i++) {
        unsigned char *to = out + i * at->length * row;
        size_t b = i / at->kv_heads;
        size_t h = i % at->kv_heads;

        if (at->past > 0 && row > 0) {
            memcpy(to, before + i * at->past * row, at->past * row);
        }
        for (size_t s = 0; s < fresh && row > 0; s++) {
            size_t from = at->flat ? (b * fresh + s) * at->kv_heads + h : i * fresh + s;
            memcpy(to + (at->past + s) * row, now + from * row, row);
        }
    }
    return out;
}

static double get(vqc_class class, const void *values, size_t i)
{
    return class == VQC_CLASS_F32 ? (double)((const float *)values)[i]
                                  : ((const double *)values)[i];
}

static void set(vqc_class class, void *values, size_t i, double value)
{
    if (class == VQC_CLASS_F32) {
        ((float *)values)[i] = (float)value;
    } else {
        ((double *)values)[i] = value;
    }
}

/* What is added to the score of query s and key j: the mask, and -infinity where the query must
 * not look. */
static double bias_of(const attention *at, size_t b, size_t h, size_t s, size_t j)
{
    int64_t offset = (int64_t)at->past;
    int64_t distance; /* of the key ahead of the query */

    if (at->nonpad != NULL) {
        if ((int64_t)j >= at->nonpad[b]) {
            return -INFINITY;
        }
        offset = at->nonpad[b] - (int64_t)at->q_length;
    }
    distance = (int64_t)j - ((int64_t)s + offset);
    if ((at->causal && distance > 0) || (at->right >= 0 && distance > at->right) ||
        (at->left >= 0 && -distance > at->left)) {
        return -INFINITY;
    }
    if (at->mask != NULL) {
        double value;

        if (j >= at->mask_length) {
            return -INFINITY;
        }
        value = get(at->class, at->mask,
                    b * at->mask_strides[0] + h * at->mask_strides[1] + s * at->mask_strides[2] +
                        j * at->mask_strides[3]);
        if (!at->mask_is_bool) {
            return value;
        }
        return value != 0.0 ? 0.0 : -INFINITY;
    }
    return 0.0;
}

/* One row of scores to probabilities in place, and what of it the node wants to see to `seen`. */
static void soften_row(const attention *at, size_t b, size_t h, size_t s, void *scores, size_t from,
                       void *seen, size_t seen_from)
{
    double most = -INFINITY;
    double bias_most = -INFINITY;
    double sum = 0.0;

    for (size_t j = 0; j < at->length; j++) {
        double score = get(at->class, scores, from + j);
        double bias = bias_of(at, b, h, s, j);

        if (seen != NULL && at->mode == 0) {
            set(at->class, seen, seen_from + j, score);
        }
        score = at->softcap > 0.0 ? at->softcap * tanh(score / at->softcap) : score;
        if (seen != NULL && at->mode == 1) {
            set(at->class, seen, seen_from + j, score);
        }
        score += bias;
        if (seen != NULL && at->mode == 2) {
            set(at->class, seen, seen_from + j, score);
        }
        set(at->class, scores, from + j, score);
        bias_most = bias > bias_most ? bias : bias_most;
        most = score > most ? score : most;
    }
    for (size_t j = 0; j < at->length; j++) {
        double e = bias_most == -INFINITY || most == -INFINITY
                       ? 0.0
                       : exp(get(at->class, scores, from + j) - most);
        sum += e;
        set(at->class, scores, from + j, e);
    }
    for (size_t j = 0; j < at->length; j++) {
        double p = sum == 0.0 ? 0.0 : get(at->class, scores, from + j) / sum;
        set(at->class, scores, from + j, p);
        if (seen != NULL && at->mode == 3) {
            set(at->class, seen, seen_from + j, p);
        }
    }
}

/* Scratch memory of one thread, in elements. */
typedef struct attention_space {
    size_t q, k, scores, y, total;
} attention_space;

/* One head of one sample; memory [space.total]. */
static void run_head(const attention *at, size_t index, const attention_space *space,
                     unsigned char *memory)
{
    size_t width = vqc_class_width(at->class);
    size_t b = index / at->q_heads;
    size_t h = index % at->q_heads;
    size_t kv = b * at->kv_heads + h / (at->q_heads / at->kv_heads);
    const unsigned char *keys = (const unsigned char *)at->k + kv * at->length * at->head * width;
    unsigned char *q = memory + space->q * width;
    unsigned char *k = memory + space->k * width;
    unsigned char *scores = memory + space->scores * width;
    unsigned char *y = memory + space->y * width;

    for (size_t s = 0; s < at->q_length; s++) {
        size_t row = at->flat ? (b * at->q_length + s) * at->q_heads + h : index * at->q_length + s;
        for (size_t d = 0; d < at->head; d++) {
            set(at->class, q, s * at->head + d,
                get(at->class, at->q, row * at->head + d) * at->scale);
        }
    }
    for (size_t j = 0; j < at->length; j++) {
        for (size_t d = 0; d < at->head; d++) {
            memcpy(k + (d * at->length + j) * width, keys + (j * at->head + d) * width, width);
        }
    }
    memset(scores, 0, at->q_length * at->length * width);
    memset(y, 0, at->q_length * at->v_head * width);
    vqc_exec_multiply(at->class, q, k, scores, at->q_length, at->head, at->length, 1);
    for (size_t s = 0; s < at->q_length; s++) {
        soften_row(at, b, h, s, scores, s * at->length, at->scores,
                   (index * at->q_length + s) * at->length);
    }
    vqc_exec_multiply(at->class, scores,
                      (const unsigned char *)at->v + kv * at->length * at->v_head * width, y,
                      at->q_length, at->length, at->v_head, 1);
    for (size_t s = 0; s < at->q_length; s++) {
        size_t row = at->flat ? (b * at->q_length + s) * at->q_heads + h : index * at->q_length + s;
        memcpy((unsigned char *)at->y + row * at->v_head * width, y + s * at->v_head * width,
               at->v_head * width);
    }
}

static vqc_status run_heads(vqc_exec_call *call, const attention *at)
{
    size_t width = vqc_class_width(at->class);
    size_t heads = at->batch * at->q_heads;
    double work =
        (double)heads * (double)at->q_length * (double)at->length * (double)(at->head + at->v_head);
    size_t parts = call->threads > 1 && work >= THREAD_WORK ? (size_t)call->threads : 1;
    attention_space space = {0};
    size_t scores;
    size_t keys;
    unsigned char *memory;

    parts = parts < heads ? parts : heads;
    space.k = at->q_length * at->head; /* as large as an input's head, like the other two */
    if (!vqc_size_mul(at->q_length, at->length, &scores) ||
        !vqc_size_mul(at->length, at->head, &keys) || !vqc_size_add(space.k, keys, &space.scores) ||
        !vqc_size_add(space.scores, scores, &space.y) ||
        !vqc_size_add(space.y, at->q_length * at->v_head, &space.total)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    memory = vqc_exec_scratch_array(call, parts, space.total, width, false);
    if (memory == NULL) {
        return VQC_ERR_INTERNAL;
    }
#pragma omp parallel for num_threads((int)parts) schedule(static) if (parts > 1)
    for (size_t p = 0; p < parts; p++) {
        for (size_t i = p * heads / parts; i < (p + 1) * heads / parts; i++) {
            run_head(at, i, &space, memory + p * space.total * width);
        }
    }
    return VQC_OK;
}

static vqc_status run_attention(vqc_exec_call *call)
{
    attention at;
    vqc_status status = parse(call, &at);
    const vqc_buffer *mask = vqc_exec_input(call, MASK);
    const vqc_buffer *nonpad = vqc_exec_input(call, NONPAD);
    void *targets[4] = {NULL};

    if (status != VQC_OK) {
        return status;
    }
    for (size_t i = 0; i < call->output_count; i++) {
        targets[i] = vqc_exec_target(call, call->outputs[i], at.class);
        if (targets[i] == NULL) {
            return VQC_ERR_INTERNAL;
        }
    }
    at.q = vqc_exec_values(call, call->inputs[Q], at.class);
    at.k = join_cache(call, &at, K, PAST_K, at.head, targets[1]);
    at.v = join_cache(call, &at, V, PAST_V, at.v_head, targets[2]);
    at.mask = mask == NULL ? NULL : vqc_exec_values(call, mask, at.class);
    at.nonpad = nonpad == NULL ? NULL : vqc_exec_values(call, nonpad, VQC_CLASS_I64);
    if (at.q == NULL || at.k == NULL || at.v == NULL || (mask != NULL && at.mask == NULL) ||
        (nonpad != NULL && at.nonpad == NULL)) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t b = 0; at.nonpad != NULL && b < at.batch; b++) {
        if (at.nonpad[b] < 0 || (uint64_t)at.nonpad[b] > at.length) {
            return vqc_exec_fail(call, "nonpad_kv_seqlen: got %lld, expected 0 to %zu",
                                 (long long)at.nonpad[b], at.length);
        }
    }
    at.y = targets[0];
    at.scores = targets[3];
    status = targets[0] == NULL ? VQC_OK : run_heads(call, &at);
    for (size_t i = 0; status == VQC_OK && i < call->output_count; i++) {
        vqc_exec_target_store(call->outputs[i], at.class, targets[i]);
    }
    return status;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("Attention", "", 23, 3, shape_attention, run_attention, .detail = NULL),
    VQC_EXEC_ROW("RotaryEmbedding", "", 23, 3, vqc_rotary_shape, vqc_rotary_run, .detail = NULL),
    VQC_EXEC_ROW("LinearAttention", "", 27, 3, vqc_linear_attention_shape, vqc_linear_attention_run,
                 .detail = NULL),
    VQC_EXEC_ROW("CausalConvWithState", "", 27, 2, vqc_causal_conv_shape, vqc_causal_conv_run,
                 .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_attention = {OPS, sizeof OPS / sizeof OPS[0]};
