/* Einsum; Det. */
#include <string.h>

#include "core/exec/exec_linear_algebra.h"
#include "core/exec/working.h"
#include "core/graph.h"
#include "core/memory.h"

/* ---- Einsum ---- */

/* Labels: letters, then the axes that "..." stands for, counted from the last one. */
enum { LETTERS = 52, LABELS = LETTERS + VQC_EXEC_MAX_RANK, MAX_TERMS = 32 };

typedef unsigned char label;

typedef struct subscripts {
    size_t rank;
    label labels[VQC_EXEC_MAX_RANK];
} subscripts;

typedef struct equation {
    subscripts in[MAX_TERMS];
    subscripts out;
    size_t dims[LABELS]; /* 0 .. : extent, after broadcasting */
    bool known[LABELS];
    size_t ellipsis; /* axes that "..." stands for at most */
} equation;

/* An operand or a partial product: strided, no label twice, no axis of extent 1. */
typedef struct einsum_term {
    vqc_view view;
    label labels[VQC_EXEC_MAX_RANK];
} einsum_term;

static vqc_status bad_equation(vqc_exec_call *call, const char *why)
{
    return vqc_exec_fail(call, "equation: %s", why);
}

static int letter_of(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    return c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1;
}

/* Reads one term up to ',' or '-' or the end. `ellipsis` axes stand for "...", which is allowed
 * once; the number of letters goes to *letters, whether there are dots to *dots. */
static vqc_status parse_term(vqc_exec_call *call, const char **at, const char *end, size_t ellipsis,
                             subscripts *term)
{
    bool dots = false;

    term->rank = 0;
    for (; *at < end && **at != ',' && **at != '-'; (*at)++) {
        size_t more = 1;
        int letter = letter_of(**at);

        if (**at == ' ') {
            continue;
        }
        if (**at == '.') {
            if (dots || end - *at < 3 || memcmp(*at, "...", 3) != 0) {
                return bad_equation(call, "misplaced \".\"");
            }
            dots = true;
            *at += 2;
            more = ellipsis;
        } else if (letter < 0) {
            return vqc_exec_fail(call, "equation: unexpected byte 0x%02x", (unsigned char)**at);
        }
        if (term->rank + more > VQC_EXEC_MAX_RANK) {
            return bad_equation(call, "too many labels in one term");
        }
        for (size_t i = 0; i < more; i++) {
            term->labels[term->rank++] =
                (label)(**at == '.' ? LETTERS + more - 1 - i : (size_t)letter);
        }
    }
    return VQC_OK;
}

/* Letters of the term that starts at `at`. */
static size_t count_letters(const char *at, const char *end)
{
    size_t count = 0;

    for (; at < end && *at != ',' && *at != '-'; at++) {
        count += letter_of(*at) >= 0;
    }
    return count;
}

static vqc_status take_dims(vqc_exec_call *call, const subscripts *term, const vqc_buffer *buffer,
                            equation *eq)
{
    if (term->rank != buffer->rank) {
        return vqc_exec_fail(call, "equation: a term has %zu labels for an operand of rank %zu",
                             term->rank, buffer->rank);
    }
    for (size_t i = 0; i < term->rank; i++) {
        label l = term->labels[i];
        size_t dim = (size_t)buffer->dims[i];

        if (!eq->known[l] || eq->dims[l] == 1) {
            eq->dims[l] = dim;
        } else if (dim != eq->dims[l] && dim != 1) {
            return vqc_exec_fail(call, "equation: one label has extents %zu and %zu", eq->dims[l],
                                 dim);
        }
        eq->known[l] = true;
    }
    return VQC_OK;
}

/* The result's labels when there is no "->": "..." and then what occurs once, in order. */
static vqc_status implied_output(vqc_exec_call *call, equation *eq, size_t terms)
{
    size_t seen[LETTERS] = {0};

    for (size_t i = 0; i < eq->ellipsis; i++) {
        eq->out.labels[eq->out.rank++] = (label)(LETTERS + eq->ellipsis - 1 - i);
    }
    for (size_t t = 0; t < terms; t++) {
        for (size_t i = 0; i < eq->in[t].rank; i++) {
            if (eq->in[t].labels[i] < LETTERS) {
                seen[eq->in[t].labels[i]]++;
            }
        }
    }
    for (size_t l = 0; l < LETTERS; l++) {
        if (seen[l] != 1) {
            continue;
        }
        if (eq->out.rank == VQC_EXEC_MAX_RANK) {
            return bad_equation(call, "too many labels in the result");
        }
        eq->out.labels[eq->out.rank++] = (label)l;
    }
    return VQC_OK;
}

static vqc_status check_output(vqc_exec_call *call, const equation *eq)
{
    bool seen[LABELS] = {false};

    for (size_t i = 0; i < eq->out.rank; i++) {
        label l = eq->out.labels[i];
        if (!eq->known[l] || seen[l]) {
            return bad_equation(call, "a label of the result is repeated or in no operand");
        }
        seen[l] = true;
    }
    return VQC_OK;
}

static vqc_status parse_equation(vqc_exec_call *call, equation *eq)
{
    const Onnx__AttributeProto *attr = vqc_node_attr(call->node, "equation");
    const char *at = attr == NULL ? "" : (const char *)attr->s.data;
    const char *end = attr == NULL || attr->s.data == NULL ? at : at + attr->s.len;
    vqc_status status = VQC_OK;

    memset(eq, 0, sizeof *eq);
    if (call->input_count > MAX_TERMS) {
        return vqc_exec_fail(call, "got %zu operands, expected at most %d", call->input_count,
                             MAX_TERMS);
    }
    for (size_t t = 0; status == VQC_OK && t < call->input_count; t++) {
        size_t letters = count_letters(at, end);
        size_t rank = call->inputs[t] == NULL ? 0 : call->inputs[t]->rank;
        size_t dots = rank > letters ? rank - letters : 0;

        if (call->inputs[t] == NULL || call->inputs[t]->dtype != call->inputs[0]->dtype) {
            return vqc_exec_fail(call, "operand %zu is missing or of another type", t);
        }
        if (t > 0) {
            if (at == end || *at != ',') {
                return vqc_exec_fail(call, "equation: fewer terms than %zu operands",
                                     call->input_count);
            }
            at++;
            letters = count_letters(at, end);
            dots = rank > letters ? rank - letters : 0;
        }
        status = parse_term(call, &at, end, dots, &eq->in[t]);
        if (status == VQC_OK) {
            status = take_dims(call, &eq->in[t], call->inputs[t], eq);
        }
        eq->ellipsis = dots > eq->ellipsis ? dots : eq->ellipsis;
    }
    if (status != VQC_OK) {
        return status;
    }
    if (at == end) {
        status = implied_output(call, eq, call->input_count);
    } else if (end - at >= 2 && at[0] == '-' && at[1] == '>') {
        at += 2;
        status = parse_term(call, &at, end, eq->ellipsis, &eq->out);
        if (status == VQC_OK && at != end) {
            status = bad_equation(call, "something follows the result");
        }
    } else {
        status = vqc_exec_fail(call, "equation: more terms than %zu operands", call->input_count);
    }
    return status == VQC_OK ? check_output(call, eq) : status;
}

static vqc_status shape_einsum(vqc_exec_call *call)
{
    vqc_exec_type *type = &call->types[0];
    equation eq;
    vqc_status status = parse_equation(call, &eq);

    if (status != VQC_OK) {
        return status;
    }
    if (vqc_class_of(call->inputs[0]->dtype) == VQC_CLASS_NONE) {
        return vqc_exec_fail(call, "got type %s, expected numbers",
                             vqc_dtype_describe(call->inputs[0]->dtype)->name);
    }
    type->dtype = call->inputs[0]->dtype;
    type->rank = eq.out.rank;
    for (size_t i = 0; i < eq.out.rank; i++) {
        type->dims[i] = (int64_t)eq.dims[eq.out.labels[i]];
    }
    return VQC_OK;
}

/* The operand with repeated labels as diagonals and without axes of extent 1. */
static bool make_term(vqc_exec_call *call, const subscripts *in, const vqc_buffer *buffer,
                      vqc_class class, einsum_term *term)
{
    ptrdiff_t stride = 1;

    memset(term, 0, sizeof *term);
    term->view.width = vqc_class_width(class);
    term->view.data = vqc_exec_values(call, buffer, class);
    for (size_t i = buffer->rank; i-- > 0;) {
        size_t k = 0;

        if (buffer->dims[i] == 1) {
            continue;
        }
        while (k < term->view.rank && term->labels[k] != in->labels[i]) {
            k++;
        }
        if (k == term->view.rank) {
            term->view.rank++;
            term->labels[k] = in->labels[i];
            term->view.dims[k] = (size_t)buffer->dims[i];
        }
        term->view.strides[k] += stride;
        stride *= (ptrdiff_t)buffer->dims[i];
    }
    return term->view.data != NULL;
}

static bool has_label(const einsum_term *term, label l, size_t *at)
{
    for (size_t i = 0; i < term->view.rank; i++) {
        if (term->labels[i] == l) {
            *at = i;
            return true;
        }
    }
    return false;
}

/* Appends to order the axes of term that are (both: also in other) and (needed or not). Their
 * extents are multiplied into *extent. */
static void select_axes(const einsum_term *term, const einsum_term *other, bool both,
                        const bool *needed, bool want_needed, size_t *order, size_t *count,
                        size_t *extent)
{
    size_t at;

    *extent = 1;
    for (size_t i = 0; i < term->view.rank; i++) {
        label l = term->labels[i];
        if (has_label(other, l, &at) == both && needed[l] == want_needed) {
            order[(*count)++] = i;
            *extent *= term->view.dims[i];
        }
    }
}

/* Strides of a dense array. */
static void set_strides(vqc_view *view)
{
    ptrdiff_t stride = 1;

    for (size_t i = view->rank; i-- > 0;) {
        view->strides[i] = stride;
        stride *= (ptrdiff_t)view->dims[i];
    }
}

/* Dense copy of the term with its axes in the given order. */
static bool pack_term(vqc_exec_call *call, einsum_term *term, const size_t *order)
{
    einsum_term packed = *term;
    size_t elements = 1;
    unsigned char *data;

    for (size_t i = 0; i < term->view.rank; i++) {
        packed.labels[i] = term->labels[order[i]];
        packed.view.dims[i] = term->view.dims[order[i]];
        packed.view.strides[i] = term->view.strides[order[i]];
        if (!vqc_size_mul(elements, packed.view.dims[i], &elements)) {
            (void)vqc_fail_memory(call->error, SIZE_MAX);
            return false;
        }
    }
    data = vqc_exec_scratch_array(call, elements, 1, term->view.width, false);
    if (data == NULL) {
        return false;
    }
    if (elements > 0) {
        vqc_view_copy(&packed.view, elements, data);
    }
    packed.view.data = data;
    set_strides(&packed.view);
    *term = packed;
    return true;
}

/* out[i] = sum of row i of rows [count, length]; floats are summed in double. */
static void sum_rows(vqc_class class, const void *rows, size_t count, size_t length, void *out)
{
    for (size_t i = 0; i < count; i++) {
        double sum = 0.0;
        uint64_t whole = 0;

        for (size_t k = 0; k < length; k++) {
            if (class == VQC_CLASS_F32) {
                sum += (double)((const float *)rows)[i * length + k];
            } else if (class == VQC_CLASS_F64) {
                sum += ((const double *)rows)[i * length + k];
            } else {
                whole += ((const uint64_t *)rows)[i * length + k];
            }
        }
        if (class == VQC_CLASS_F32) {
            ((float *)out)[i] = (float)sum;
        } else if (class == VQC_CLASS_F64) {
            ((double *)out)[i] = sum;
        } else {
            ((uint64_t *)out)[i] = whole;
        }
    }
}

/* Sums over the labels that neither the result nor another operand has. */
static bool reduce_term(vqc_exec_call *call, vqc_class class, const bool *needed, einsum_term *term)
{
    static const einsum_term NOTHING;
    size_t order[VQC_EXEC_MAX_RANK];
    size_t count = 0;
    size_t kept;
    size_t outer;
    size_t length;
    void *sums;

    select_axes(term, &NOTHING, false, needed, true, order, &count, &outer);
    kept = count;
    select_axes(term, &NOTHING, false, needed, false, order, &count, &length);
    if (kept == count) {
        return true;
    }
    sums = vqc_exec_scratch_array(call, outer, 1, term->view.width, false);
    if (sums == NULL || !pack_term(call, term, order)) {
        return false;
    }
    sum_rows(class, term->view.data, outer, length, sums);
    term->view.data = sums;
    term->view.rank = kept;
    set_strides(&term->view);
    return true;
}

/* Copies the chosen axes of term behind the axes that the result has so far. */
static void add_axes(einsum_term *result, const einsum_term *term, const size_t *order, size_t from,
                     size_t to)
{
    for (size_t i = from; i < to; i++) {
        result->labels[result->view.rank] = term->labels[order[i]];
        result->view.dims[result->view.rank++] = term->view.dims[order[i]];
    }
}

/* How two terms are multiplied: [batch, m, k] by [batch, k, n]. */
typedef struct einsum_plan {
    size_t batch, m, k, n;
    size_t order_a[VQC_EXEC_MAX_RANK];
    size_t order_b[VQC_EXEC_MAX_RANK];
    einsum_term result; /* without data */
} einsum_plan;

/* Batch and summed axes come in a's order on both sides. */
static vqc_status plan_product(vqc_exec_call *call, const bool *needed, const einsum_term *a,
                               const einsum_term *b, einsum_plan *plan)
{
    size_t count_a = 0;
    size_t count_b = 0;
    size_t from;

    memset(plan, 0, sizeof *plan);
    plan->result.view.width = a->view.width;
    select_axes(a, b, true, needed, true, plan->order_a, &count_a, &plan->batch);
    for (; count_b < count_a; count_b++) {
        (void)has_label(b, a->labels[plan->order_a[count_b]], &plan->order_b[count_b]);
    }
    select_axes(a, b, false, needed, true, plan->order_a, &count_a, &plan->m);
    add_axes(&plan->result, a, plan->order_a, 0, count_a);
    from = count_a;
    select_axes(a, b, true, needed, false, plan->order_a, &count_a, &plan->k);
    for (size_t i = from; i < count_a; i++) {
        (void)has_label(b, a->labels[plan->order_a[i]], &plan->order_b[count_b++]);
    }
    from = count_b;
    select_axes(b, a, false, needed, true, plan->order_b, &count_b, &plan->n);
    if (plan->result.view.rank + count_b - from > VQC_EXEC_MAX_RANK) {
        return vqc_exec_fail(call, "equation: a partial product has more than %d axes",
                             VQC_EXEC_MAX_RANK);
    }
    add_axes(&plan->result, b, plan->order_b, from, count_b);
    set_strides(&plan->result.view);
    return VQC_OK;
}

/* a = the product of a and b, summed over the labels that both have and nobody needs. */
static vqc_status contract(vqc_exec_call *call, vqc_class class, const bool *needed, einsum_term *a,
                           einsum_term *b)
{
    size_t width = a->view.width;
    size_t rows;
    unsigned char *out;
    einsum_plan plan;
    vqc_status status = plan_product(call, needed, a, b, &plan);

    if (status == VQC_OK && plan.n < plan.m) { /* the inner loop goes along n */
        einsum_term swap = *a;
        *a = *b;
        *b = swap;
        status = plan_product(call, needed, a, b, &plan);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (!vqc_size_mul(plan.batch, plan.m, &rows)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    out = vqc_exec_scratch_array(call, rows, plan.n, width, true);
    if (out == NULL || !pack_term(call, a, plan.order_a) || !pack_term(call, b, plan.order_b)) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t i = 0; i < plan.batch && plan.k > 0 && rows > 0; i++) {
        vqc_exec_multiply(class, a->view.data + i * plan.m * plan.k * width,
                          b->view.data + i * plan.k * plan.n * width,
                          out + i * plan.m * plan.n * width, plan.m, plan.k, plan.n, call->threads);
    }
    *a = plan.result;
    a->view.data = out;
    return VQC_OK;
}

/* Writes the term with the axes of the result. */
static void write_result(const equation *eq, const einsum_term *term, vqc_buffer *out, void *target)
{
    vqc_view view = {.data = term->view.data, .width = term->view.width, .rank = eq->out.rank};

    for (size_t i = 0; i < eq->out.rank; i++) {
        size_t at;

        view.dims[i] = eq->dims[eq->out.labels[i]];
        if (has_label(term, eq->out.labels[i], &at)) {
            view.strides[i] = term->view.strides[at];
        }
    }
    vqc_view_copy(&view, out->elements, target);
}

static vqc_status run_einsum(vqc_exec_call *call)
{
    vqc_class class = vqc_class_of(call->inputs[0]->dtype);
    vqc_buffer *out = call->outputs[0];
    size_t count = call->input_count;
    equation eq;
    einsum_term *terms;
    void *target;
    vqc_status status = parse_equation(call, &eq);

    class = class == VQC_CLASS_I64 ? VQC_CLASS_U64 : class; /* modulo 2^64 they are the same */
    terms = vqc_exec_scratch_array(call, count, 1, sizeof *terms, false);
    target = vqc_exec_target(call, out, class);
    if (status != VQC_OK || terms == NULL || target == NULL) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    for (size_t t = 0; t < count; t++) {
        if (!make_term(call, &eq.in[t], call->inputs[t], class, &terms[t])) {
            return VQC_ERR_INTERNAL;
        }
    }
    for (size_t t = 0; t < count; t++) {
        bool needed[LABELS] = {false};

        for (size_t i = 0; i < eq.out.rank; i++) {
            needed[eq.out.labels[i]] = true;
        }
        for (size_t o = t + 1; o < count; o++) {
            for (size_t i = 0; i < terms[o].view.rank; i++) {
                needed[terms[o].labels[i]] = true;
            }
        }
        if (t > 0) {
            bool either[LABELS];

            memcpy(either, needed, sizeof either);
            for (size_t i = 0; i < terms[0].view.rank; i++) {
                either[terms[0].labels[i]] = true;
            }
            if (!reduce_term(call, class, either, &terms[t])) {
                return VQC_ERR_INTERNAL;
            }
            status = contract(call, class, needed, &terms[0], &terms[t]);
            if (status != VQC_OK) {
                return status;
            }
        } else if (!reduce_term(call, class, needed, &terms[0])) {
            return VQC_ERR_INTERNAL;
        }
    }
    if (out->elements > 0) {
        write_result(&eq, &terms[0], out, target);
    }
    vqc_exec_target_store(out, class, target);
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("Einsum", "", 12, 1, shape_einsum, run_einsum, .detail = NULL),
    VQC_EXEC_ROW("Det", "", 11, 1, vqc_det_shape, vqc_det_run, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_linear_algebra = {OPS, sizeof OPS / sizeof OPS[0]};
