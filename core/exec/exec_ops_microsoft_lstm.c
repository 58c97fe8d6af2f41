/*
 * com.microsoft.DynamicQuantizeLSTM: an LSTM whose weights are codes of 8 bits and whose input and
 * state are quantized to uint8 before each product, as DynamicQuantizeLinear does.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/exec/exec_ops_microsoft.h"
#include "core/exec/recurrent.h"
#include "core/exec/working.h"
#include "core/graph.h"
#include "core/memory.h"
#include "kernels/kernels.h"

enum {
    X,
    W,
    R,
    B,
    LENGTHS,
    INITIAL_H,
    INITIAL_C,
    PEEPHOLES,
    W_SCALE,
    W_ZERO,
    R_SCALE,
    R_ZERO,
    MAX_COLUMNS = 1 << 28
};

typedef struct sizes {
    size_t steps, batch, size, hidden, columns, directions;
    bool reverse_only;
} sizes;

static vqc_status read_sizes(vqc_exec_call *call, sizes *s)
{
    static const char *const directions[] = {"forward", "reverse", "bidirectional"};
    const vqc_buffer *x = call->inputs[X];
    const vqc_buffer *r = call->inputs[R];
    size_t direction;
    vqc_status status = vqc_exec_choice(call, "direction", directions, 3, &direction);

    if (status != VQC_OK) {
        return status;
    }
    if (x->rank != 3 || r->rank != 3 || r->dims[1] < 1 || r->dims[1] > MAX_COLUMNS / 4 ||
        vqc_node_attr_int(call->node, "hidden_size", r->dims[1]) != r->dims[1]) {
        return vqc_exec_fail(call, "got X of rank %zu, R of rank %zu and hidden_size %lld", x->rank,
                             r->rank, (long long)vqc_node_attr_int(call->node, "hidden_size", 0));
    }
    s->steps = (size_t)x->dims[0];
    s->batch = (size_t)x->dims[1];
    s->size = (size_t)x->dims[2];
    s->hidden = (size_t)r->dims[1];
    s->columns = 4 * s->hidden;
    s->directions = direction == 2 ? 2 : 1;
    s->reverse_only = direction == 1;
    return VQC_OK;
}

/* Only the defaults Sigmoid, Tanh, Tanh. */
static vqc_status check_activations(vqc_exec_call *call)
{
    static const char *const expected[3] = {"Sigmoid", "Tanh", "Tanh"};
    const Onnx__AttributeProto *names = vqc_node_attr(call->node, "activations");

    for (size_t i = 0; names != NULL && i < names->n_strings; i++) {
        const ProtobufCBinaryData *name = &names->strings[i];
        if (name->len != strlen(expected[i % 3]) ||
            strncasecmp((const char *)name->data, expected[i % 3], name->len) != 0) {
            return vqc_exec_fail(call, "activations: got \"%.*s\", supported is %s here",
                                 (int)(name->len < 40 ? name->len : 40),
                                 name->data == NULL ? "" : (const char *)name->data,
                                 expected[i % 3]);
        }
    }
    return VQC_OK;
}

/* Scale or zero point: [directions] or [directions, columns]. */
static vqc_status check_parameter(vqc_exec_call *call, const sizes *s, size_t input, int32_t dtype)
{
    const vqc_buffer *p = vqc_exec_input(call, input);

    if (p == NULL || p->dtype != dtype || p->rank < 1 || p->rank > 2 ||
        (size_t)p->dims[0] != s->directions || (p->rank == 2 && (size_t)p->dims[1] != s->columns)) {
        return vqc_exec_fail(call, "input %zu: expected %s of shape [%zu] or [%zu, %zu]", input,
                             vqc_dtype_describe(dtype)->name, s->directions, s->directions,
                             s->columns);
    }
    return VQC_OK;
}

static vqc_status shape_lstm(vqc_exec_call *call)
{
    sizes s;
    vqc_status status = read_sizes(call, &s);
    const vqc_buffer *w = call->inputs[W];
    const vqc_buffer *r = call->inputs[R];
    int64_t d, batch, hidden;

    if (status != VQC_OK) {
        return status;
    }
    d = (int64_t)s.directions;
    batch = (int64_t)s.batch;
    hidden = (int64_t)s.hidden;
    if (call->inputs[X]->dtype != VQC_DTYPE_FLOAT || !vqc_int_is_codes(w) || !vqc_int_is_codes(r)) {
        return vqc_exec_fail(call, "got types %s, %s and %s, expected float32 and codes of 8 bits",
                             vqc_dtype_describe(call->inputs[X]->dtype)->name,
                             vqc_dtype_describe(w->dtype)->name,
                             vqc_dtype_describe(r->dtype)->name);
    }
    if (vqc_exec_expect(call, W, 0, 3, (const int64_t[]){d, (int64_t)s.size, 4 * hidden}) !=
            VQC_OK ||
        vqc_exec_expect(call, R, 0, 3, (const int64_t[]){d, hidden, 4 * hidden}) != VQC_OK ||
        vqc_exec_expect(call, B, VQC_DTYPE_FLOAT, 2, (const int64_t[]){d, 8 * hidden}) != VQC_OK ||
        vqc_exec_expect(call, LENGTHS, VQC_DTYPE_INT32, 1, &batch) != VQC_OK ||
        vqc_exec_expect(call, INITIAL_H, VQC_DTYPE_FLOAT, 3, (const int64_t[]){d, batch, hidden}) !=
            VQC_OK ||
        vqc_exec_expect(call, INITIAL_C, VQC_DTYPE_FLOAT, 3, (const int64_t[]){d, batch, hidden}) !=
            VQC_OK ||
        vqc_exec_expect(call, PEEPHOLES, VQC_DTYPE_FLOAT, 2, (const int64_t[]){d, 3 * hidden}) !=
            VQC_OK ||
        check_parameter(call, &s, W_SCALE, VQC_DTYPE_FLOAT) != VQC_OK ||
        check_parameter(call, &s, R_SCALE, VQC_DTYPE_FLOAT) != VQC_OK ||
        check_parameter(call, &s, W_ZERO, w->dtype) != VQC_OK ||
        check_parameter(call, &s, R_ZERO, r->dtype) != VQC_OK ||
        check_activations(call) != VQC_OK) {
        return vqc_int_failed(call);
    }
    for (size_t i = 0; i < call->output_count; i++) {
        vqc_exec_type *type = &call->types[i];
        size_t at = 0;

        type->dtype = VQC_DTYPE_FLOAT;
        if (i == 0) {
            type->dims[at++] = (int64_t)s.steps;
        }
        type->dims[at++] = d;
        type->dims[at++] = batch;
        type->dims[at++] = hidden;
        type->rank = at;
    }
    return VQC_OK;
}

/* ---- products ---- */

/* What the products of one direction need. */
typedef struct products {
    const int16_t *right[2]; /* packed weights of the input and of the state */
    const float *scale[2];   /* [columns] */
    uint8_t *codes;          /* [rows, max(size, hidden)] */
    int16_t *left;
    float *scaled; /* [columns] */
    float *sums;   /* [rows, columns] */
    void *scratch;
} products;

/* out += quantized a times the weights. */
static void multiply(const vqc_recurrence *self, bool recurrent, const void *a, size_t rows,
                     void *out)
{
    const products *p = self->context;
    size_t depth = recurrent ? self->hidden : self->size;
    size_t columns = 4 * self->hidden;
    vqc_int_source source = {.data = p->codes, .stride = depth};
    vqc_int_result result = {
        .kind = VQC_INT_FLOATS, .data = p->sums, .stride = columns, .scale = p->scaled};
    float *target = out;
    float scale;
    uint8_t zero;

    vqc_int_quantize_dynamic(a, rows * depth, &scale, &zero, p->codes);
    source.zero = zero;
    for (size_t i = 0; i < columns; i++) {
        p->scaled[i] = scale * p->scale[recurrent][i];
    }
    vqc_int_pack(&source, rows, depth, VQC_INT_ROWS, 1, p->left);
    vqc_int_product(p->left, p->right[recurrent], rows, columns, depth, &result, self->threads,
                    p->scratch);
    for (size_t i = 0; i < rows * columns; i++) {
        target[i] += p->sums[i];
    }
}

/* Bytes of the packed weights of one direction: of W, of R. */
static bool packed_bytes(size_t columns, size_t size, size_t hidden, size_t bytes[2])
{
    return vqc_int_packed_bytes(columns, size, VQC_INT_COLS, &bytes[0]) &&
           vqc_int_packed_bytes(columns, hidden, VQC_INT_COLS, &bytes[1]) &&
           bytes[0] < SIZE_MAX / 8 && bytes[1] < SIZE_MAX / 8;
}

/* Packs W (or R) of all directions, `bytes` each. */
static vqc_status pack_weights(vqc_exec_call *call, size_t input, size_t zero_input, size_t bytes,
                               int16_t *packed)
{
    const vqc_buffer *w = call->inputs[input];
    const vqc_buffer *zero = call->inputs[zero_input];
    size_t depth = (size_t)w->dims[1];
    size_t columns = (size_t)w->dims[2];

    for (size_t d = 0; d < (size_t)w->dims[0]; d++) {
        int32_t *zeros = NULL;
        vqc_int_source source = {.data = w->data + d * depth * columns,
                                 .is_signed = w->dtype == VQC_DTYPE_INT8,
                                 .across = true,
                                 .stride = columns};

        if (zero->rank == 2) {
            zeros = malloc(columns * sizeof *zeros);
            if (zeros == NULL) {
                return vqc_fail_memory(call->error, columns * sizeof *zeros);
            }
            for (size_t i = 0; i < columns; i++) {
                zeros[i] = (int32_t)vqc_element_int(zero->dtype, zero->data, d * columns + i);
            }
            source.zeros = zeros;
        } else {
            source.zero = (int32_t)vqc_element_int(zero->dtype, zero->data, d);
        }
        vqc_int_pack(&source, columns, depth, VQC_INT_COLS, call->threads,
                     packed + d * (bytes / sizeof *packed));
        free(zeros);
    }
    return VQC_OK;
}

static vqc_status pack_both(vqc_exec_call *call, size_t directions, const size_t bytes[2],
                            int16_t *packed)
{
    vqc_status status = pack_weights(call, W, W_ZERO, bytes[0], packed);

    return status != VQC_OK ? status
                            : pack_weights(call, R, R_ZERO, bytes[1],
                                           packed + directions * (bytes[0] / sizeof *packed));
}

/* Packs the weights when they and their zero points are constant; what does not fit is left to the
 * shape rule. */
static vqc_status prepare_lstm(vqc_exec_call *call)
{
    const vqc_buffer *w = vqc_exec_input(call, W);
    const vqc_buffer *r = vqc_exec_input(call, R);
    const vqc_buffer *zeros[2] = {vqc_exec_input(call, W_ZERO), vqc_exec_input(call, R_ZERO)};
    size_t bytes[2];
    vqc_status status;

    call->prepared = NULL;
    if (w == NULL || r == NULL || w->rank != 3 || r->rank != 3 || !vqc_int_is_codes(w) ||
        !vqc_int_is_codes(r) || w->elements == 0 || r->elements == 0 || w->dims[0] != r->dims[0] ||
        w->dims[0] > 2 || w->dims[2] != r->dims[2]) {
        return VQC_OK;
    }
    for (size_t i = 0; i < 2; i++) {
        if (zeros[i] == NULL || zeros[i]->rank < 1 || zeros[i]->rank > 2 ||
            zeros[i]->dims[0] != w->dims[0] || !vqc_int_is_codes(zeros[i]) ||
            (zeros[i]->rank == 2 && zeros[i]->dims[1] != w->dims[2])) {
            return VQC_OK;
        }
    }
    if (!packed_bytes((size_t)w->dims[2], (size_t)w->dims[1], (size_t)r->dims[1], bytes) ||
        (call->prepared = malloc((size_t)w->dims[0] * (bytes[0] + bytes[1]))) == NULL) {
        return vqc_fail_memory(call->error, w->elements);
    }
    status = pack_both(call, (size_t)w->dims[0], bytes, call->prepared);
    if (status != VQC_OK) {
        free(call->prepared);
        call->prepared = NULL;
    }
    return status;
}

/* ---- running ---- */

/* The scales of one direction as [columns]. */
static float *scales_of(vqc_exec_call *call, const sizes *s, size_t input, size_t d)
{
    vqc_buffer part = *call->inputs[input];

    part.elements = part.rank == 2 ? s->columns : 1;
    part.data += d * part.elements * part.width;
    return vqc_int_floats(call, &part, "scale", s->columns);
}

/* Working memory of one direction. */
static vqc_status make_products(vqc_exec_call *call, const sizes *s, size_t d,
                                const int16_t *packed, const size_t bytes[2], products *p)
{
    size_t rows = (s->steps > 0 ? s->steps : 1) * s->batch;
    size_t widest = s->size > s->hidden ? s->size : s->hidden;
    size_t left_bytes;

    if (!vqc_int_packed_bytes(rows, widest, VQC_INT_ROWS, &left_bytes)) {
        return vqc_fail_memory(call->error, rows);
    }
    p->right[0] = packed + d * (bytes[0] / sizeof *packed);
    p->right[1] = packed + (s->directions * bytes[0] + d * bytes[1]) / sizeof *packed;
    p->scale[0] = scales_of(call, s, W_SCALE, d);
    p->scale[1] = scales_of(call, s, R_SCALE, d);
    p->codes = vqc_exec_scratch_array(call, rows, widest, 1, false);
    p->left = vqc_exec_scratch(call, left_bytes + 1);
    p->scaled = vqc_exec_scratch_array(call, s->columns, 1, sizeof(float), false);
    p->sums = vqc_exec_scratch_array(call, rows, s->columns, sizeof(float), false);
    p->scratch = vqc_exec_scratch(call, vqc_int_scratch_bytes(call->threads));
    return p->scale[0] == NULL || p->scale[1] == NULL || p->codes == NULL || p->left == NULL ||
                   p->scaled == NULL || p->sums == NULL || p->scratch == NULL
               ? vqc_int_failed(call)
               : VQC_OK;
}

/* Floats of optional input i from element `at` on, `n` of them, copied; zeros when absent. */
static float *copy_floats(vqc_exec_call *call, size_t input, size_t at, size_t n)
{
    const vqc_buffer *buffer = vqc_exec_input(call, input);
    float *values = vqc_exec_scratch_array(call, n, 1, sizeof *values, true);

    if (values != NULL && buffer != NULL) {
        memcpy(values, buffer->data + at * sizeof *values, n * sizeof *values);
    }
    return values;
}

static vqc_status run_direction(vqc_exec_call *call, const sizes *s, size_t d, products *p,
                                const int64_t *lengths, float *y)
{
    vqc_recurrence rec = {.cell = VQC_CELL_LSTM, .class = VQC_CLASS_F32};
    size_t state = s->batch * s->hidden;
    float *bias = copy_floats(call, B, d * 2 * s->columns, 2 * s->columns);

    rec.steps = s->steps;
    rec.batch = s->batch;
    rec.size = s->size;
    rec.hidden = s->hidden;
    rec.reverse = s->reverse_only || d == 1;
    rec.input_forget = vqc_node_attr_int(call->node, "input_forget", 0) != 0;
    rec.clip = (double)vqc_node_attr_float(call->node, "clip", 0.0f);
    rec.acts[0].function = VQC_GATE_SIGMOID;
    rec.acts[1].function = rec.acts[2].function = VQC_GATE_TANH;
    rec.lengths = lengths;
    rec.bias = bias;
    rec.x = vqc_exec_values(call, call->inputs[X], VQC_CLASS_F32);
    rec.h = copy_floats(call, INITIAL_H, d * state, state);
    rec.c = copy_floats(call, INITIAL_C, d * state, state);
    rec.y = y + d * state;
    rec.y_step = s->directions * state;
    rec.y_row = s->hidden;
    rec.inputs = vqc_exec_scratch_array(call, s->steps * s->batch, s->columns, 4, false);
    rec.gates = vqc_exec_scratch_array(call, s->batch, s->columns, 4, false);
    rec.extra = vqc_exec_scratch_array(call, s->batch, 2 * s->hidden, 4, false);
    rec.threads = call->threads;
    rec.multiply = multiply;
    rec.context = p;
    if (vqc_exec_input(call, PEEPHOLES) != NULL) {
        rec.peepholes = copy_floats(call, PEEPHOLES, d * 3 * s->hidden, 3 * s->hidden);
        if (rec.peepholes == NULL) {
            return vqc_int_failed(call);
        }
    }
    if (bias == NULL || rec.x == NULL || rec.h == NULL || rec.c == NULL || rec.inputs == NULL ||
        rec.gates == NULL || rec.extra == NULL) {
        return vqc_int_failed(call);
    }
    for (size_t i = 0; i < s->columns; i++) {
        bias[i] += bias[s->columns + i];
    }
    vqc_recurrence_run(&rec);
    for (size_t i = 1; i < 3 && i < call->output_count; i++) {
        memcpy(call->outputs[i]->data + d * state * sizeof(float), i == 1 ? rec.h : rec.c,
               state * sizeof(float));
    }
    return VQC_OK;
}

static vqc_status read_lengths(vqc_exec_call *call, const sizes *s, int64_t *lengths)
{
    const vqc_buffer *buffer = vqc_exec_input(call, LENGTHS);

    for (size_t b = 0; b < s->batch; b++) {
        lengths[b] =
            buffer == NULL ? (int64_t)s->steps : vqc_element_int(buffer->dtype, buffer->data, b);
        if (lengths[b] < 0 || (uint64_t)lengths[b] > s->steps) {
            return vqc_exec_fail(call, "sequence_lens: got %lld, expected 0 to %zu",
                                 (long long)lengths[b], s->steps);
        }
    }
    return VQC_OK;
}

static vqc_status run_lstm(vqc_exec_call *call)
{
    const int16_t *packed = call->prepared;
    int64_t *lengths;
    size_t bytes[2];
    vqc_status status;
    sizes s;

    status = read_sizes(call, &s);
    if (status != VQC_OK || call->output_count == 0) {
        return status;
    }
    if (!packed_bytes(s.columns, s.size, s.hidden, bytes)) {
        return vqc_fail_memory(call->error, s.columns);
    }
    lengths = vqc_exec_scratch_array(call, s.batch + 1, 1, sizeof *lengths, false);
    if (lengths == NULL || read_lengths(call, &s, lengths) != VQC_OK) {
        return vqc_int_failed(call);
    }
    if (packed == NULL) {
        int16_t *own = vqc_exec_scratch(call, s.directions * (bytes[0] + bytes[1]) + 1);
        if (own == NULL || pack_both(call, s.directions, bytes, own) != VQC_OK) {
            return vqc_int_failed(call);
        }
        packed = own;
    }
    memset(call->outputs[0]->data, 0, call->outputs[0]->elements * sizeof(float));
    for (size_t d = 0; status == VQC_OK && d < s.directions; d++) {
        products p;

        status = make_products(call, &s, d, packed, bytes, &p);
        if (status == VQC_OK) {
            status =
                run_direction(call, &s, d, &p, lengths, (float *)(void *)call->outputs[0]->data);
        }
    }
    return status;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("DynamicQuantizeLSTM", "com.microsoft", 1, 3, shape_lstm, run_lstm, .detail = NULL,
                 .prepare = prepare_lstm, .release = vqc_int_release),
};

const vqc_exec_family vqc_exec_ops_microsoft_lstm = {OPS, sizeof OPS / sizeof OPS[0]};
