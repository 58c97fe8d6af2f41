/* RotaryEmbedding, LinearAttention, CausalConvWithState. All compute in double and round when
 * stored. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_attention.h"
#include "core/exec/working.h"
#include "core/graph.h"

static bool is_float(const vqc_buffer *buffer)
{
    vqc_class class = vqc_class_of(buffer->dtype);

    return class == VQC_CLASS_F32 || class == VQC_CLASS_F64;
}

/* Values of optional input i as double; *good becomes false without memory. */
static const double *optional(vqc_exec_call *call, size_t i, bool *good)
{
    const vqc_buffer *buffer = vqc_exec_input(call, i);
    const double *values = buffer == NULL ? NULL : vqc_exec_values(call, buffer, VQC_CLASS_F64);

    *good = *good && (buffer == NULL || values != NULL);
    return values;
}

/* ---- RotaryEmbedding ---- */

enum { COS = 1, SIN, POSITIONS };

typedef struct rotary {
    size_t batch, heads, length, head, half;
    bool flat;
} rotary;

static vqc_status parse_rotary(vqc_exec_call *call, rotary *r)
{
    const vqc_buffer *x = call->inputs[0];
    int64_t heads = vqc_node_attr_int(call->node, "num_heads", 0);
    int64_t part = vqc_node_attr_int(call->node, "rotary_embedding_dim", 0);
    int64_t dims[3];
    vqc_status status;

    if ((x->rank != 3 && x->rank != 4) || !is_float(x)) {
        return vqc_exec_fail(call, "X: got rank %zu, expected floats of rank 3 or 4", x->rank);
    }
    r->flat = x->rank == 3;
    if (r->flat && (heads < 1 || x->dims[2] % heads != 0)) {
        return vqc_exec_fail(call, "num_heads: got %lld for a last axis of %lld", (long long)heads,
                             (long long)x->dims[2]);
    }
    r->batch = (size_t)x->dims[0];
    r->heads = (size_t)(r->flat ? heads : x->dims[1]);
    r->length = (size_t)x->dims[r->flat ? 1 : 2];
    r->head = (size_t)(r->flat ? x->dims[2] / heads : x->dims[3]);
    if (part < 0 || (uint64_t)part > r->head || (part == 0 ? r->head % 2 : (size_t)part % 2) != 0) {
        return vqc_exec_fail(call, "rotary_embedding_dim: got %lld for heads of %zu",
                             (long long)part, r->head);
    }
    r->half = (part == 0 ? r->head : (size_t)part) / 2;
    dims[0] = vqc_exec_input(call, POSITIONS) != NULL ? -1 : x->dims[0];
    dims[1] = (int64_t)r->length;
    dims[2] = (int64_t)r->half;
    if (vqc_exec_input(call, POSITIONS) != NULL) {
        const int64_t positions[2] = {x->dims[0], (int64_t)r->length};
        dims[1] = (int64_t)r->half;
        status = vqc_exec_expect(call, COS, x->dtype, 2, dims);
        dims[0] = call->inputs[COS]->dims[0];
        if (status == VQC_OK) {
            status = vqc_exec_expect(call, SIN, x->dtype, 2, dims);
        }
        return status != VQC_OK ? status
                                : vqc_exec_expect(call, POSITIONS, VQC_DTYPE_INT64, 2, positions);
    }
    status = vqc_exec_expect(call, COS, x->dtype, 3, dims);
    return status != VQC_OK ? status : vqc_exec_expect(call, SIN, x->dtype, 3, dims);
}

vqc_status vqc_rotary_shape(vqc_exec_call *call)
{
    rotary r;

    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    return parse_rotary(call, &r);
}

vqc_status vqc_rotary_run(vqc_exec_call *call)
{
    rotary r;
    bool good = true;
    bool interleaved = vqc_node_attr_int(call->node, "interleaved", 0) != 0;
    const vqc_buffer *positions = vqc_exec_input(call, POSITIONS);
    const double *x = optional(call, 0, &good);
    const double *cosines = optional(call, COS, &good);
    const double *sines = optional(call, SIN, &good);
    double *y = vqc_exec_target(call, call->outputs[0], VQC_CLASS_F64);
    vqc_status status = parse_rotary(call, &r);

    if (status != VQC_OK || !good || y == NULL) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    for (size_t i = 0; i < r.batch * r.length * r.heads; i++) {
        size_t b = i / (r.length * r.heads);
        size_t s = r.flat ? i / r.heads % r.length : i % r.length;
        size_t at = b * r.length + s;
        const double *from = x + i * r.head;
        double *to = y + i * r.head;

        if (positions != NULL &&
            !vqc_exec_index_at(positions, at, (size_t)call->inputs[COS]->dims[0], &at)) {
            return vqc_exec_bad_index(call, b * r.length + s, (size_t)call->inputs[COS]->dims[0]);
        }
        memcpy(to, from, r.head * sizeof *to);
        for (size_t k = 0; k < r.half; k++) {
            size_t one = interleaved ? 2 * k : k;
            size_t two = interleaved ? 2 * k + 1 : k + r.half;
            double c = cosines[at * r.half + k];
            double n = sines[at * r.half + k];

            to[one] = c * from[one] - n * from[two];
            to[two] = n * from[one] + c * from[two];
        }
    }
    vqc_exec_target_store(call->outputs[0], VQC_CLASS_F64, y);
    return VQC_OK;
}

/* ---- LinearAttention ---- */

enum { QUERY, KEY, VALUE, PAST, DECAY, BETA };

static const char *const RULES[] = {"gated_delta", "linear", "gated", "delta"};

typedef struct linear_attention {
    size_t batch, length, q_heads, kv_heads, key, value;
    bool gated, delta;
    size_t decays; /* per head: 1 or key */
    size_t betas;  /* per step: kv_heads or 1 */
    double scale;
} linear_attention;

static vqc_status parse_linear(vqc_exec_call *call, linear_attention *la)
{
    const vqc_buffer *q = call->inputs[QUERY];
    int64_t q_heads = vqc_node_attr_int(call->node, "q_num_heads", 0);
    int64_t kv_heads = vqc_node_attr_int(call->node, "kv_num_heads", 0);
    int64_t dims[4] = {q->dims[0], q->dims[1], -1, -1};
    size_t rule;
    vqc_status status = vqc_exec_choice(call, "update_rule", RULES, 4, &rule);

    for (size_t i = QUERY; status == VQC_OK && i <= BETA; i++) {
        if (i != PAST) {
            status = vqc_exec_expect(call, i, q->dtype, 3, dims);
        }
    }
    if (status != VQC_OK) {
        return status;
    }
    if (!is_float(q) || kv_heads < 1 || q_heads < 1 || q_heads % kv_heads != 0 ||
        q->dims[2] % q_heads != 0 || call->inputs[KEY]->dims[2] % kv_heads != 0 ||
        call->inputs[VALUE]->dims[2] % kv_heads != 0 ||
        q->dims[2] / q_heads != call->inputs[KEY]->dims[2] / kv_heads) {
        return vqc_exec_fail(call, "got %lld query heads and %lld key heads, which do not fit",
                             (long long)q_heads, (long long)kv_heads);
    }
    la->batch = (size_t)q->dims[0];
    la->length = (size_t)q->dims[1];
    la->q_heads = (size_t)q_heads;
    la->kv_heads = (size_t)kv_heads;
    la->key = (size_t)(q->dims[2] / q_heads);
    la->value = (size_t)(call->inputs[VALUE]->dims[2] / kv_heads);
    la->gated = rule == 0 || rule == 2;
    la->delta = rule == 0 || rule == 3;
    la->scale = (double)vqc_node_attr_float(call->node, "scale", 0.0f);
    la->scale = la->scale == 0.0 ? 1.0 / sqrt((double)la->key) : la->scale;
    if (la->gated != (vqc_exec_input(call, DECAY) != NULL) ||
        la->delta != (vqc_exec_input(call, BETA) != NULL)) {
        return vqc_exec_fail(call, "update_rule \"%s\" %s decay and %s beta", RULES[rule],
                             la->gated ? "needs" : "forbids", la->delta ? "needs" : "forbids");
    }
    if (la->gated) {
        size_t last = (size_t)call->inputs[DECAY]->dims[2];
        la->decays = last == la->kv_heads ? 1 : la->key;
        if (last != la->kv_heads * la->decays) {
            return vqc_exec_fail(call, "decay: last axis is %zu, expected %zu or %zu", last,
                                 la->kv_heads, la->kv_heads * la->key);
        }
    }
    if (la->delta) {
        la->betas = (size_t)call->inputs[BETA]->dims[2];
        if (la->betas != la->kv_heads && la->betas != 1) {
            return vqc_exec_fail(call, "beta: last axis is %zu, expected %zu or 1", la->betas,
                                 la->kv_heads);
        }
    }
    dims[1] = kv_heads;
    dims[2] = (int64_t)la->key;
    dims[3] = (int64_t)la->value;
    return vqc_exec_expect(call, PAST, 0, 4, dims);
}

vqc_status vqc_linear_attention_shape(vqc_exec_call *call)
{
    const vqc_buffer *past = vqc_exec_input(call, PAST);
    linear_attention la;
    vqc_status status = parse_linear(call, &la);

    if (status != VQC_OK) {
        return status;
    }
    if (past != NULL && !is_float(past)) {
        return vqc_exec_fail(call, "past_state: expected floats");
    }
    vqc_exec_type_like(&call->types[0], call->inputs[QUERY]);
    if (__builtin_mul_overflow((int64_t)la.q_heads, (int64_t)la.value, &call->types[0].dims[2])) {
        return vqc_exec_fail(call, "value: heads are too large");
    }
    call->types[1].dtype = past != NULL ? past->dtype : call->inputs[QUERY]->dtype;
    call->types[1].rank = 4;
    call->types[1].dims[0] = (int64_t)la.batch;
    call->types[1].dims[1] = (int64_t)la.kv_heads;
    call->types[1].dims[2] = (int64_t)la.key;
    call->types[1].dims[3] = (int64_t)la.value;
    return VQC_OK;
}

/* One step of one head: state [key, value] is updated from k, v; `update` [value] is scratch. */
static void step_state(const linear_attention *la, const double *k, const double *v,
                       const double *decay, const double *beta, double *state, double *update)
{
    for (size_t i = 0; la->gated && i < la->key; i++) {
        double keep = exp(decay[la->decays == 1 ? 0 : i]);
        for (size_t j = 0; j < la->value; j++) {
            state[i * la->value + j] *= keep;
        }
    }
    memcpy(update, v, la->value * sizeof *update);
    if (la->delta) {
        for (size_t i = 0; i < la->key; i++) {
            for (size_t j = 0; j < la->value; j++) {
                update[j] -= state[i * la->value + j] * k[i];
            }
        }
        for (size_t j = 0; j < la->value; j++) {
            update[j] *= beta[0];
        }
    }
    for (size_t i = 0; i < la->key; i++) {
        for (size_t j = 0; j < la->value; j++) {
            state[i * la->value + j] += k[i] * update[j];
        }
    }
}

vqc_status vqc_linear_attention_run(vqc_exec_call *call)
{
    linear_attention la;
    vqc_status status = parse_linear(call, &la);
    bool good = true;
    const double *q = optional(call, QUERY, &good);
    const double *k = optional(call, KEY, &good);
    const double *v = optional(call, VALUE, &good);
    const double *past = optional(call, PAST, &good);
    const double *decay = optional(call, DECAY, &good);
    const double *beta = optional(call, BETA, &good);
    double *y = vqc_exec_target(call, call->outputs[0], VQC_CLASS_F64);
    size_t group = la.q_heads / la.kv_heads;
    double *state = vqc_exec_scratch_array(call, la.key, la.value, sizeof *state, false);
    double *update = vqc_exec_scratch_array(call, la.value, 1, sizeof *update, false);
    double *present = NULL;

    if (call->output_count > 1) {
        present = vqc_exec_target(call, call->outputs[1], VQC_CLASS_F64);
        good = good && present != NULL;
    }
    if (status != VQC_OK || !good || y == NULL || state == NULL || update == NULL) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    for (size_t n = 0; n < la.batch * la.kv_heads; n++) {
        size_t b = n / la.kv_heads;
        size_t h = n % la.kv_heads;
        size_t size = la.key * la.value;

        memset(state, 0, size * sizeof *state);
        if (past != NULL) {
            memcpy(state, past + n * size, size * sizeof *state);
        }
        for (size_t t = 0; t < la.length; t++) {
            size_t row = b * la.length + t;

            step_state(
                &la, k + (row * la.kv_heads + h) * la.key, v + (row * la.kv_heads + h) * la.value,
                la.gated ? decay + (row * la.kv_heads + h) * la.decays : NULL,
                la.delta ? beta + row * la.betas + (la.betas == 1 ? 0 : h) : NULL, state, update);
            for (size_t g = h * group; g < (h + 1) * group; g++) {
                const double *query = q + (row * la.q_heads + g) * la.key;
                double *out = y + (row * la.q_heads + g) * la.value;

                for (size_t j = 0; j < la.value; j++) {
                    double sum = 0.0;
                    for (size_t i = 0; i < la.key; i++) {
                        sum += query[i] * state[i * la.value + j];
                    }
                    out[j] = la.scale * sum;
                }
            }
        }
        if (present != NULL) {
            memcpy(present + n * size, state, size * sizeof *state);
        }
    }
    vqc_exec_target_store(call->outputs[0], VQC_CLASS_F64, y);
    if (present != NULL) {
        vqc_exec_target_store(call->outputs[1], VQC_CLASS_F64, present);
    }
    return VQC_OK;
}

/* ---- CausalConvWithState ---- */

enum { WEIGHT = 1, BIAS, STATE };

static const char *const ACTIVATIONS[] = {"none", "silu", "swish"};

vqc_status vqc_causal_conv_shape(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *weight = call->inputs[WEIGHT];
    size_t activation;
    int64_t dims[3];
    vqc_status status = vqc_exec_choice(call, "activation", ACTIVATIONS, 3, &activation);

    if (status != VQC_OK) {
        return status;
    }
    if (x->rank != 3 || !is_float(x) || weight->rank != 3 || weight->dims[2] < 1) {
        return vqc_exec_fail(call, "expected floats of rank 3 and a kernel");
    }
    dims[0] = x->dims[1];
    dims[1] = 1;
    dims[2] = weight->dims[2];
    status = vqc_exec_expect(call, WEIGHT, x->dtype, 3, dims);
    if (status == VQC_OK) {
        status = vqc_exec_expect(call, BIAS, x->dtype, 1, dims);
    }
    dims[0] = x->dims[0];
    dims[1] = x->dims[1];
    dims[2] = weight->dims[2] - 1;
    if (status == VQC_OK) {
        status = vqc_exec_expect(call, STATE, x->dtype, 3, dims);
    }
    vqc_exec_type_like(&call->types[0], x);
    vqc_exec_type_like(&call->types[1], x);
    call->types[1].dims[2] = dims[2];
    return status;
}

vqc_status vqc_causal_conv_run(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    size_t length = (size_t)in->dims[2];
    size_t channels = (size_t)in->dims[1];
    size_t kernel = (size_t)call->inputs[WEIGHT]->dims[2];
    size_t before = kernel - 1;
    bool good = true;
    const double *x = optional(call, 0, &good);
    const double *weight = optional(call, WEIGHT, &good);
    const double *bias = optional(call, BIAS, &good);
    const double *past = optional(call, STATE, &good);
    double *y = vqc_exec_target(call, call->outputs[0], VQC_CLASS_F64);
    double *line = vqc_exec_scratch_array(call, before + length, 1, sizeof *line, true);
    double *present = NULL;
    size_t activation;

    (void)vqc_exec_choice(call, "activation", ACTIVATIONS, 3, &activation);
    if (call->output_count > 1) {
        present = vqc_exec_target(call, call->outputs[1], VQC_CLASS_F64);
        good = good && present != NULL;
    }
    if (!good || y == NULL || line == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t n = 0; n < (size_t)in->dims[0] * channels; n++) {
        const double *w = weight + n % channels * kernel;

        if (past != NULL) {
            memcpy(line, past + n * before, before * sizeof *line);
        }
        memcpy(line + before, x + n * length, length * sizeof *line);
        for (size_t i = 0; i < length; i++) {
            double sum = bias == NULL ? 0.0 : bias[n % channels];

            for (size_t k = 0; k < kernel; k++) {
                sum += line[i + k] * w[k];
            }
            y[n * length + i] = activation == 0 ? sum : sum / (1.0 + exp(-sum));
        }
        if (present != NULL) {
            memcpy(present + n * before, line + length, before * sizeof *present);
        }
    }
    vqc_exec_target_store(call->outputs[0], VQC_CLASS_F64, y);
    if (present != NULL) {
        vqc_exec_target_store(call->outputs[1], VQC_CLASS_F64, present);
    }
    return VQC_OK;
}
