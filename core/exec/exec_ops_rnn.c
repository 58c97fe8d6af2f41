/* LSTM, GRU, RNN. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/exec/exec_op.h"
#include "core/exec/recurrent.h"
#include "core/exec/working.h"
#include "core/graph.h"
#include "core/memory.h"

static const vqc_cell RNN = VQC_CELL_RNN;
static const vqc_cell GRU = VQC_CELL_GRU;
static const vqc_cell LSTM = VQC_CELL_LSTM;

enum { X, W, R, B, LENGTHS, INITIAL_H, INITIAL_C, PEEPHOLES, DIRECTION_WORK = 1 << 18 };

static const char *const DIRECTIONS[] = {"forward", "reverse", "bidirectional"};

/* Name and defaults of a gate's function. */
static const struct {
    const char *name;
    bool has_alpha, has_beta;
    float alpha, beta;
} FUNCTIONS[VQC_GATE_FUNCTION_COUNT] = {
    [VQC_GATE_SIGMOID] = {"Sigmoid", false, false, 0.0f, 0.0f},
    [VQC_GATE_TANH] = {"Tanh", false, false, 0.0f, 0.0f},
    [VQC_GATE_RELU] = {"Relu", false, false, 0.0f, 0.0f},
    [VQC_GATE_LEAKY_RELU] = {"LeakyRelu", true, false, 0.01f, 0.0f},
    [VQC_GATE_HARD_SIGMOID] = {"HardSigmoid", true, true, 0.2f, 0.5f},
    [VQC_GATE_AFFINE] = {"Affine", true, true, 1.0f, 0.0f},
    [VQC_GATE_THRESHOLDED_RELU] = {"ThresholdedRelu", true, false, 1.0f, 0.0f},
    [VQC_GATE_SCALED_TANH] = {"ScaledTanh", true, true, 1.0f, 1.0f},
    [VQC_GATE_ELU] = {"Elu", true, false, 1.0f, 0.0f},
    [VQC_GATE_SOFTSIGN] = {"Softsign", false, false, 0.0f, 0.0f},
    [VQC_GATE_SOFTPLUS] = {"Softplus", false, false, 0.0f, 0.0f},
};

/* Transposed weights: [directions, size, columns] and [directions, hidden, columns]. */
typedef struct packed_weights {
    void *w, *r;
} packed_weights;

/* Sizes that all parts need; `time` and `batch` are the axes of X. */
typedef struct rnn_sizes {
    size_t steps, batch, size, hidden, columns, directions;
    bool reverse_only;
    bool batch_first;
} rnn_sizes;

static vqc_class class_of(const vqc_buffer *buffer)
{
    return vqc_class_of(buffer->dtype) == VQC_CLASS_F64 ? VQC_CLASS_F64 : VQC_CLASS_F32;
}

/* ---- attributes ---- */

static vqc_status parse_activation(vqc_exec_call *call, const ProtobufCBinaryData *name,
                                   vqc_gate_activation *act)
{
    for (int f = 0; f < VQC_GATE_FUNCTION_COUNT; f++) {
        if (name->len == strlen(FUNCTIONS[f].name) &&
            strncasecmp((const char *)name->data, FUNCTIONS[f].name, name->len) == 0) {
            act->function = (vqc_gate_function)f;
            act->alpha = FUNCTIONS[f].alpha;
            act->beta = FUNCTIONS[f].beta;
            return VQC_OK;
        }
    }
    return vqc_exec_fail(call, "activations: got \"%.*s\"", (int)(name->len < 40 ? name->len : 40),
                         name->data == NULL ? "" : (const char *)name->data);
}

/* The functions of all directions, [directions][3]. alpha and beta go to those functions that take
 * them, in order. */
static vqc_status parse_activations(vqc_exec_call *call, size_t directions,
                                    vqc_gate_activation acts[][3])
{
    vqc_cell cell = *(const vqc_cell *)call->detail;
    size_t per_direction = cell == VQC_CELL_LSTM ? 3 : cell == VQC_CELL_GRU ? 2 : 1;
    const Onnx__AttributeProto *names = vqc_node_attr(call->node, "activations");
    const Onnx__AttributeProto *alphas = vqc_node_attr(call->node, "activation_alpha");
    const Onnx__AttributeProto *betas = vqc_node_attr(call->node, "activation_beta");
    size_t alpha = 0;
    size_t beta = 0;

    if (names != NULL && names->n_strings != directions * per_direction) {
        return vqc_exec_fail(call, "activations: got %zu, expected %zu", names->n_strings,
                             directions * per_direction);
    }
    for (size_t i = 0; i < directions * per_direction; i++) {
        vqc_gate_activation *act = &acts[i / per_direction][i % per_direction];

        act->function =
            cell == VQC_CELL_RNN || i % per_direction > 0 ? VQC_GATE_TANH : VQC_GATE_SIGMOID;
        if (names != NULL) {
            vqc_status status = parse_activation(call, &names->strings[i], act);
            if (status != VQC_OK) {
                return status;
            }
        }
        if (FUNCTIONS[act->function].has_alpha && alphas != NULL && alpha < alphas->n_floats) {
            act->alpha = alphas->floats[alpha++];
        }
        if (FUNCTIONS[act->function].has_beta && betas != NULL && beta < betas->n_floats) {
            act->beta = betas->floats[beta++];
        }
    }
    return VQC_OK;
}

static vqc_status parse_sizes(vqc_exec_call *call, rnn_sizes *sizes)
{
    const vqc_buffer *x = call->inputs[X];
    const vqc_buffer *r = call->inputs[R];
    size_t direction;
    int64_t layout = vqc_node_attr_int(call->node, "layout", 0);
    int64_t hidden;
    vqc_status status = vqc_exec_choice(call, "direction", DIRECTIONS, 3, &direction);

    if (status != VQC_OK) {
        return status;
    }
    if (x->rank != 3 || r->rank != 3 || (layout != 0 && layout != 1)) {
        return vqc_exec_fail(call,
                             "got X of rank %zu, R of rank %zu, layout %lld; expected 3, 3, "
                             "and 0 or 1",
                             x->rank, r->rank, (long long)layout);
    }
    hidden = vqc_node_attr_int(call->node, "hidden_size", r->dims[2]);
    if (hidden != r->dims[2]) {
        return vqc_exec_fail(call, "hidden_size: got %lld, but R has %lld", (long long)hidden,
                             (long long)r->dims[2]);
    }
    sizes->batch_first = layout == 1;
    sizes->steps = (size_t)x->dims[layout == 1];
    sizes->batch = (size_t)x->dims[layout == 0];
    sizes->size = (size_t)x->dims[2];
    sizes->hidden = (size_t)hidden;
    sizes->directions = direction == 2 ? 2 : 1;
    sizes->reverse_only = direction == 1;
    if (!vqc_size_mul(sizes->hidden, vqc_cell_gates(*(const vqc_cell *)call->detail),
                      &sizes->columns) ||
        sizes->columns > INT32_MAX) {
        return vqc_exec_fail(call, "hidden_size: got %lld", (long long)hidden);
    }
    return VQC_OK;
}

/* ---- shape ---- */

static vqc_status check_inputs(vqc_exec_call *call, const rnn_sizes *sizes)
{
    int64_t directions = (int64_t)sizes->directions;
    int64_t batch = (int64_t)sizes->batch;
    int64_t hidden = (int64_t)sizes->hidden;
    int64_t columns = (int64_t)sizes->columns;
    int32_t dtype = call->inputs[X]->dtype;
    const int64_t w[3] = {directions, columns, (int64_t)sizes->size};
    const int64_t r[3] = {directions, columns, hidden};
    const int64_t b[2] = {directions, 2 * columns};
    const int64_t state[3] = {sizes->batch_first ? batch : directions,
                              sizes->batch_first ? directions : batch, hidden};
    const int64_t p[2] = {directions, 3 * hidden};
    vqc_status status = vqc_exec_expect(call, W, dtype, 3, w);

    if (status == VQC_OK) {
        status = vqc_exec_expect(call, R, dtype, 3, r);
    }
    if (status == VQC_OK) {
        status = vqc_exec_expect(call, B, dtype, 2, b);
    }
    if (status == VQC_OK) {
        status = vqc_exec_expect(call, LENGTHS, VQC_DTYPE_INT32, 1, &batch);
    }
    if (status == VQC_OK) {
        status = vqc_exec_expect(call, INITIAL_H, dtype, 3, state);
    }
    if (status == VQC_OK && *(const vqc_cell *)call->detail == VQC_CELL_LSTM) {
        status = vqc_exec_expect(call, INITIAL_C, dtype, 3, state);
    }
    if (status == VQC_OK && *(const vqc_cell *)call->detail == VQC_CELL_LSTM) {
        status = vqc_exec_expect(call, PEEPHOLES, dtype, 2, p);
    }
    return status;
}

static vqc_status shape_rnn(vqc_exec_call *call)
{
    vqc_gate_activation acts[2][3];
    rnn_sizes sizes;
    vqc_class class = vqc_class_of(call->inputs[X]->dtype);
    vqc_status status;

    if (class != VQC_CLASS_F32 && class != VQC_CLASS_F64) {
        return vqc_exec_fail(call, "got type %s, expected a float type",
                             vqc_dtype_describe(call->inputs[X]->dtype)->name);
    }
    status = parse_sizes(call, &sizes);
    if (status == VQC_OK) {
        status = check_inputs(call, &sizes);
    }
    if (status == VQC_OK) {
        status = parse_activations(call, sizes.directions, acts);
    }
    if (status != VQC_OK) {
        return status;
    }
    for (size_t i = 0; i < call->output_count; i++) {
        vqc_exec_type *type = &call->types[i];
        size_t at = 0;

        type->dtype = call->inputs[X]->dtype;
        if (i == 0) {
            type->dims[at++] = (int64_t)(sizes.batch_first ? sizes.batch : sizes.steps);
        }
        if (i == 0 && sizes.batch_first) {
            type->dims[at++] = (int64_t)sizes.steps;
        }
        type->dims[at++] = (int64_t)(i > 0 && sizes.batch_first ? sizes.batch : sizes.directions);
        if (i > 0 || !sizes.batch_first) {
            type->dims[at++] =
                (int64_t)(i > 0 && sizes.batch_first ? sizes.directions : sizes.batch);
        }
        type->dims[at++] = (int64_t)sizes.hidden;
        type->rank = at;
    }
    return VQC_OK;
}

/* ---- weights ---- */

/* out [directions, columns_in, rows_in] = the last two axes of weights [directions, rows_in,
 * columns_in] exchanged. */
static void transpose(const vqc_buffer *weights, vqc_class class, unsigned char *out)
{
    size_t rows = (size_t)weights->dims[1];
    size_t columns = (size_t)weights->dims[2];
    size_t width = vqc_class_width(class);
    vqc_chunk chunk;

    for (size_t at = 0; at < weights->elements; at += VQC_EXEC_CHUNK) {
        size_t n =
            weights->elements - at < VQC_EXEC_CHUNK ? weights->elements - at : VQC_EXEC_CHUNK;
        vqc_element_load(weights->dtype, weights->data + at * weights->width, n, &chunk);
        for (size_t i = 0; i < n; i++) {
            size_t d = (at + i) / (rows * columns);
            size_t row = (at + i) / columns % rows;
            size_t column = (at + i) % columns;
            memcpy(out + ((d * columns + column) * rows + row) * width, chunk.raw + i * width,
                   width);
        }
    }
}

static void release_rnn(void *prepared)
{
    packed_weights *packed = prepared;

    free(packed->w);
    free(packed->r);
    free(packed);
}

/* Packs W and R when both are constant. What does not fit is left to the shape rule. */
static vqc_status prepare_rnn(vqc_exec_call *call)
{
    const vqc_buffer *w = vqc_exec_input(call, W);
    const vqc_buffer *r = vqc_exec_input(call, R);
    packed_weights *packed;

    if (w == NULL || r == NULL || w->rank != 3 || r->rank != 3 || w->dtype != r->dtype ||
        (vqc_class_of(w->dtype) != VQC_CLASS_F32 && vqc_class_of(w->dtype) != VQC_CLASS_F64)) {
        return VQC_OK;
    }
    packed = calloc(1, sizeof *packed);
    if (packed == NULL) {
        return vqc_fail_memory(call->error, sizeof *packed);
    }
    packed->w = calloc(w->elements + 1, vqc_class_width(class_of(w)));
    packed->r = calloc(r->elements + 1, vqc_class_width(class_of(r)));
    if (packed->w == NULL || packed->r == NULL) {
        release_rnn(packed);
        return vqc_fail_memory(call->error, w->elements * vqc_class_width(class_of(w)));
    }
    transpose(w, class_of(w), packed->w);
    transpose(r, class_of(r), packed->r);
    call->prepared = packed;
    return VQC_OK;
}

static bool find_weights(vqc_exec_call *call, vqc_class class, packed_weights *packed)
{
    if (call->prepared != NULL) {
        *packed = *(const packed_weights *)call->prepared;
        return true;
    }
    packed->w =
        vqc_exec_scratch_array(call, call->inputs[W]->elements, 1, vqc_class_width(class), false);
    packed->r =
        vqc_exec_scratch_array(call, call->inputs[R]->elements, 1, vqc_class_width(class), false);
    if (packed->w == NULL || packed->r == NULL) {
        return false;
    }
    transpose(call->inputs[W], class, packed->w);
    transpose(call->inputs[R], class, packed->r);
    return true;
}

/* ---- run ---- */

static const void *offset(const void *array, size_t elements, vqc_class class)
{
    return array == NULL ? NULL : (const unsigned char *)array + elements * vqc_class_width(class);
}

/* Bias Wb + Rb of direction d into bias [columns]; Rb of a GRU's candidate stays apart when it is
 * multiplied by the reset gate. */
static void join_bias(vqc_recurrence *rec, const void *b, size_t d, size_t columns, void *bias)
{
    size_t apart =
        rec->cell == VQC_CELL_GRU && rec->linear_before_reset ? 2 * rec->hidden : columns;
    const void *wb = offset(b, d * 2 * columns, rec->class);
    const void *rb = offset(wb, columns, rec->class);

    for (size_t i = 0; b != NULL && i < columns; i++) {
        if (rec->class == VQC_CLASS_F32) {
            ((float *)bias)[i] = ((const float *)wb)[i];
            ((float *)bias)[i] += i < apart ? ((const float *)rb)[i] : 0.0f;
        } else {
            ((double *)bias)[i] = ((const double *)wb)[i];
            ((double *)bias)[i] += i < apart ? ((const double *)rb)[i] : 0.0;
        }
    }
    rec->bias = bias;
    rec->candidate_rb = apart < columns ? offset(rb, apart, rec->class) : NULL;
}

/* Copies rows [batch] of direction d between a state tensor and the dense rows of a recurrence. */
static void copy_state(const rnn_sizes *sizes, size_t d, size_t width, unsigned char *tensor,
                       unsigned char *rows, bool to_tensor)
{
    size_t row_bytes = sizes->hidden * width;

    for (size_t b = 0; b < sizes->batch; b++) {
        size_t at = sizes->batch_first ? b * sizes->directions + d : d * sizes->batch + b;
        if (to_tensor) {
            memcpy(tensor + at * row_bytes, rows + b * row_bytes, row_bytes);
        } else {
            memcpy(rows + b * row_bytes, tensor + at * row_bytes, row_bytes);
        }
    }
}

/* X as [steps, batch, size]. */
static const void *find_x(vqc_exec_call *call, const rnn_sizes *sizes, vqc_class class)
{
    const unsigned char *x = vqc_exec_values(call, call->inputs[X], class);
    size_t row = sizes->size * vqc_class_width(class);
    unsigned char *turned;

    if (x == NULL || !sizes->batch_first) {
        return x;
    }
    turned = vqc_exec_scratch_array(call, sizes->steps * sizes->batch, 1, row, false);
    for (size_t i = 0; turned != NULL && i < sizes->steps * sizes->batch; i++) {
        size_t t = i / sizes->batch;
        size_t b = i % sizes->batch;
        memcpy(turned + i * row, x + (b * sizes->steps + t) * row, row);
    }
    return turned;
}

static vqc_status read_lengths(vqc_exec_call *call, const rnn_sizes *sizes, int64_t *lengths)
{
    const vqc_buffer *buffer = vqc_exec_input(call, LENGTHS);

    for (size_t b = 0; b < sizes->batch; b++) {
        lengths[b] = (int64_t)sizes->steps;
        if (buffer != NULL) {
            lengths[b] = vqc_element_int(buffer->dtype, buffer->data, b);
        }
        if (lengths[b] < 0 || (uint64_t)lengths[b] > sizes->steps) {
            return vqc_exec_fail(call, "sequence_lens: got %lld, expected 0 to %zu",
                                 (long long)lengths[b], sizes->steps);
        }
    }
    return VQC_OK;
}

/* Values of optional input i; *absent_ok stays true unless there was no memory for them. */
static const void *optional(vqc_exec_call *call, size_t i, vqc_class class, bool *good)
{
    const vqc_buffer *buffer = vqc_exec_input(call, i);
    const void *values = buffer == NULL ? NULL : vqc_exec_values(call, buffer, class);

    *good = *good && (buffer == NULL || values != NULL);
    return values;
}

/* Fills what differs between the directions; scratch memory is theirs alone. */
static bool make_direction(vqc_exec_call *call, const rnn_sizes *sizes, size_t d, const void *b,
                           vqc_recurrence *rec)
{
    size_t width = vqc_class_width(rec->class);
    size_t rows = sizes->steps * sizes->batch; /* of Y, which exists */
    void *bias = vqc_exec_scratch_array(call, sizes->columns, 1, width, true);

    rec->h = vqc_exec_scratch_array(call, sizes->batch, sizes->hidden, width, true);
    rec->c = vqc_exec_scratch_array(call, sizes->batch, sizes->hidden, width, true);
    rec->inputs = vqc_exec_scratch_array(call, rows, sizes->columns, width, false);
    rec->gates = vqc_exec_scratch_array(call, sizes->batch, sizes->columns, width, false);
    rec->extra = vqc_exec_scratch_array(call, sizes->batch, 2 * sizes->hidden, width, false);
    if (bias == NULL || rec->h == NULL || rec->c == NULL || rec->inputs == NULL ||
        rec->gates == NULL || rec->extra == NULL) {
        return false;
    }
    rec->reverse = sizes->reverse_only || d == 1;
    rec->w = offset(rec->w, d * sizes->size * sizes->columns, rec->class);
    rec->r = offset(rec->r, d * sizes->hidden * sizes->columns, rec->class);
    rec->peepholes = offset(rec->peepholes, d * 3 * sizes->hidden, rec->class);
    rec->y_step = sizes->directions * sizes->hidden * (sizes->batch_first ? 1 : sizes->batch);
    rec->y_row = sizes->hidden * (sizes->batch_first ? sizes->steps * sizes->directions : 1);
    rec->y = (unsigned char *)rec->y +
             d * sizes->hidden * (sizes->batch_first ? 1 : sizes->batch) * width;
    join_bias(rec, b, d, sizes->columns, bias);
    return true;
}

/* What all directions share. */
static bool make_common(vqc_exec_call *call, const rnn_sizes *sizes, vqc_recurrence *rec)
{
    packed_weights packed;
    bool good = find_weights(call, rec->class, &packed);

    rec->cell = *(const vqc_cell *)call->detail;
    rec->steps = sizes->steps;
    rec->batch = sizes->batch;
    rec->size = sizes->size;
    rec->hidden = sizes->hidden;
    rec->linear_before_reset = vqc_node_attr_int(call->node, "linear_before_reset", 0) != 0;
    rec->input_forget = vqc_node_attr_int(call->node, "input_forget", 0) != 0;
    rec->clip = (double)vqc_node_attr_float(call->node, "clip", 0.0f);
    rec->x = find_x(call, sizes, rec->class);
    if (rec->cell == VQC_CELL_LSTM) {
        rec->peepholes = optional(call, PEEPHOLES, rec->class, &good);
    }
    if (!good || rec->x == NULL) {
        return false;
    }
    rec->w = packed.w;
    rec->r = packed.r;
    return true;
}

static void run_directions(vqc_exec_call *call, const rnn_sizes *sizes, vqc_recurrence *recs)
{
    double work = (double)sizes->steps * (double)sizes->batch * (double)sizes->columns *
                  (double)(sizes->size + sizes->hidden);
    bool apart = sizes->directions == 2 && call->threads > 1 && work >= DIRECTION_WORK;

    for (size_t d = 0; d < sizes->directions; d++) {
        recs[d].threads = apart ? 1 : call->threads;
    }
#pragma omp parallel for num_threads(2) if (apart)
    for (size_t d = 0; d < sizes->directions; d++) {
        vqc_recurrence_run(&recs[d]);
    }
}

static vqc_status run_rnn(vqc_exec_call *call)
{
    vqc_recurrence recs[2] = {{.class = class_of(call->inputs[X])}};
    vqc_class class = recs[0].class;
    size_t width = vqc_class_width(class);
    void *targets[3] = {NULL}; /* Y, Y_h, Y_c */
    rnn_sizes sizes;
    int64_t *lengths;
    bool good = true;
    const void *b = optional(call, B, class, &good);
    const void *h0 = optional(call, INITIAL_H, class, &good);
    const void *c0 = NULL;
    vqc_status status = parse_sizes(call, &sizes);

    if (*(const vqc_cell *)call->detail == VQC_CELL_LSTM) {
        c0 = optional(call, INITIAL_C, class, &good);
    }
    lengths = vqc_exec_scratch_array(call, sizes.batch, 1, sizeof *lengths, false);
    for (size_t i = 0; i < 3 && i < call->output_count; i++) {
        targets[i] = vqc_exec_target(call, call->outputs[i], class);
        good = good && targets[i] != NULL;
    }
    if (targets[0] == NULL) { /* the node has no outputs at all */
        return good ? VQC_OK : VQC_ERR_INTERNAL;
    }
    if (!good || lengths == NULL || status != VQC_OK) {
        return VQC_ERR_INTERNAL;
    }
    memset(targets[0], 0, call->outputs[0]->elements * width);
    status = read_lengths(call, &sizes, lengths);
    recs[0].lengths = lengths;
    recs[0].y = targets[0];
    if (status != VQC_OK || !make_common(call, &sizes, &recs[0])) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    recs[1] = recs[0];
    for (size_t d = 0; d < sizes.directions; d++) {
        vqc_gate_activation acts[2][3];

        (void)parse_activations(call, sizes.directions, acts);
        memcpy(recs[d].acts, acts[d], sizeof recs[d].acts);
        if (!make_direction(call, &sizes, d, b, &recs[d])) {
            return VQC_ERR_INTERNAL;
        }
        if (h0 != NULL) {
            copy_state(&sizes, d, width, (unsigned char *)(uintptr_t)h0, recs[d].h, false);
        }
        if (c0 != NULL) {
            copy_state(&sizes, d, width, (unsigned char *)(uintptr_t)c0, recs[d].c, false);
        }
    }
    run_directions(call, &sizes, recs);
    for (size_t d = 0; d < sizes.directions; d++) {
        for (size_t i = 1; i < 3 && targets[i] != NULL; i++) {
            copy_state(&sizes, d, width, targets[i], i == 1 ? recs[d].h : recs[d].c, true);
        }
    }
    for (size_t i = 0; i < 3 && targets[i] != NULL; i++) {
        vqc_exec_target_store(call->outputs[i], class, targets[i]);
    }
    return VQC_OK;
}

/* Version 1 of the three had an attribute that let the sequence be left out; it is always computed.
 */
static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("RNN", "", 1, 3, shape_rnn, run_rnn, .detail = &RNN, .prepare = prepare_rnn,
                 .release = release_rnn),
    VQC_EXEC_ROW("GRU", "", 3, 3, shape_rnn, run_rnn, .detail = &GRU, .prepare = prepare_rnn,
                 .release = release_rnn),
    VQC_EXEC_ROW("LSTM", "", 1, 3, shape_rnn, run_rnn, .detail = &LSTM, .prepare = prepare_rnn,
                 .release = release_rnn),
};

const vqc_exec_family vqc_exec_ops_rnn = {OPS, sizeof OPS / sizeof OPS[0]};
