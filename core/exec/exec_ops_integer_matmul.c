/* Matrix products of 8-bit codes: MatMulInteger, QLinearMatMul and their com.microsoft relatives.
 */
#include <stdlib.h>
#include <string.h>

#include "core/exec/exec_ops_integer.h"
#include "core/graph.h"
#include "core/memory.h"
#include "kernels/kernels.h"

/* One product per batch; an operand without batches of its own takes part in all of them. */
typedef struct plan {
    size_t rows, cols, depth; /* of one product */
    size_t batches;
    size_t batch_rank;
    int64_t batch_dims[VQC_EXEC_MAX_RANK];
    size_t a_steps[VQC_EXEC_MAX_RANK]; /* batches of a to go on per step of a batch axis, or 0 */
    size_t b_steps[VQC_EXEC_MAX_RANK];
    size_t a_batches, b_batches;
    bool trans_a, trans_b; /* QGemm */
} plan;

static bool is_gemm(const vqc_exec_call *call)
{
    return strcmp(call->op, "QGemm") == 0;
}

/* Batches of one operand, and how far it goes on per step of the common batch axes. */
static size_t batch_steps(const vqc_buffer *x, const plan *p, size_t *steps)
{
    size_t own = x->rank > 2 ? x->rank - 2 : 0;
    size_t count = 1;

    for (size_t i = p->batch_rank; i-- > 0;) {
        size_t missing = p->batch_rank - own;
        size_t dim = i >= missing ? (size_t)x->dims[i - missing] : 1;

        steps[i] = dim == 1 ? 0 : count;
        count *= dim;
    }
    return count;
}

static vqc_status make_plan(vqc_exec_call *call, plan *p)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *a = call->inputs[roles->a];
    const vqc_buffer *b = call->inputs[roles->b];
    size_t b_depth;

    memset(p, 0, sizeof *p);
    if (a->rank == 0 || b->rank == 0 || (is_gemm(call) && (a->rank != 2 || b->rank != 2))) {
        return vqc_exec_fail(call, "got matrices of rank %zu and %zu", a->rank, b->rank);
    }
    p->trans_a = is_gemm(call) && vqc_node_attr_int(call->node, "transA", 0) != 0;
    p->trans_b = is_gemm(call) && vqc_node_attr_int(call->node, "transB", 0) != 0;
    p->rows = a->rank == 1 ? 1 : (size_t)a->dims[a->rank - (p->trans_a ? 1 : 2)];
    p->depth = (size_t)a->dims[a->rank - (p->trans_a ? 2 : 1)];
    p->cols = b->rank == 1 ? 1 : (size_t)b->dims[b->rank - (p->trans_b ? 2 : 1)];
    b_depth = (size_t)b->dims[b->rank == 1 ? 0 : b->rank - (p->trans_b ? 1 : 2)];
    if (p->depth != b_depth) {
        return vqc_exec_fail(call, "inner dimensions: got %zu and %zu", p->depth, b_depth);
    }
    if (!vqc_broadcast_dims(p->batch_dims, &p->batch_rank, a->dims,
                            a->rank > 2 ? a->rank - 2 : 0) ||
        !vqc_broadcast_dims(p->batch_dims, &p->batch_rank, b->dims,
                            b->rank > 2 ? b->rank - 2 : 0)) {
        return vqc_exec_fail(call, "batch dimensions of the two matrices do not fit together");
    }
    p->batches = 1;
    for (size_t i = 0; i < p->batch_rank; i++) {
        if (!vqc_size_mul(p->batches, (size_t)p->batch_dims[i], &p->batches)) {
            return vqc_exec_fail(call, "too many batches");
        }
    }
    p->a_batches = batch_steps(a, p, p->a_steps);
    p->b_batches = batch_steps(b, p, p->b_steps);
    return VQC_OK;
}

/* The number of a's (or b's) batch that belongs to batch i of the result. */
static size_t batch_of(const plan *p, const size_t *steps, size_t i)
{
    size_t at = 0;

    for (size_t axis = p->batch_rank; axis-- > 0;) {
        size_t dim = (size_t)p->batch_dims[axis];
        at += i % dim * steps[axis];
        i /= dim;
    }
    return at;
}

vqc_status vqc_int_matmul_shape(vqc_exec_call *call)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *a = call->inputs[roles->a];
    const vqc_buffer *b = call->inputs[roles->b];
    const vqc_buffer *y_scale = vqc_int_role(call, roles->y_scale);
    const vqc_buffer *y_zero = vqc_int_role(call, roles->y_zero);
    vqc_exec_type *type = &call->types[0];
    bool dynamic = roles->a_scale < 0 && roles->b_scale >= 0;
    plan p;

    if ((dynamic ? a->dtype != VQC_DTYPE_FLOAT : !vqc_int_is_codes(a)) || !vqc_int_is_codes(b)) {
        return vqc_exec_fail(call,
                             "got matrices of types %s and %s, expected %s and codes of 8 bits",
                             vqc_dtype_describe(a->dtype)->name, vqc_dtype_describe(b->dtype)->name,
                             dynamic ? "float32" : "codes");
    }
    if (y_scale != NULL && y_zero == NULL) {
        return vqc_exec_fail(call, "output zero point is missing");
    }
    if (y_scale != NULL && !vqc_int_is_codes(y_zero)) {
        return vqc_exec_fail(call, "output zero point: got type %s, expected uint8 or int8",
                             vqc_dtype_describe(y_zero->dtype)->name);
    }
    if (make_plan(call, &p) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (p.batch_rank + 2 > VQC_EXEC_MAX_RANK) {
        return vqc_exec_fail(call, "rank %zu is too large", p.batch_rank + 2);
    }
    type->dtype = roles->b_scale < 0 ? VQC_DTYPE_INT32
                  : y_scale != NULL  ? y_zero->dtype
                                     : VQC_DTYPE_FLOAT;
    memcpy(type->dims, p.batch_dims, sizeof type->dims);
    type->rank = p.batch_rank;
    if (a->rank > 1) {
        type->dims[type->rank++] = (int64_t)p.rows;
    }
    if (b->rank > 1) {
        type->dims[type->rank++] = (int64_t)p.cols;
    }
    return VQC_OK;
}

/* ---- parameters per row and column ---- */

/*
 * A scale or zero point as one value per line (row of a, column of b) of all batches of its
 * operand: one element, [lines], or the operand's shape with 1 in place of the depth. Returned as
 * float or int32 in scratch memory; NULL and call->error filled when it does not fit.
 */
static void *line_values(vqc_exec_call *call, const vqc_buffer *values, const char *what,
                         const vqc_buffer *operand, size_t batches, size_t lines, bool by_row,
                         bool floats)
{
    vqc_buffer reduced = *values;
    int64_t dims[VQC_EXEC_MAX_RANK];
    size_t rank = operand->rank > 2 ? operand->rank - 2 : 0;
    size_t total = batches * lines;
    vqc_view view;

    if (values->elements == 1) {
        return floats ? (void *)vqc_int_floats(call, values, what, total)
                      : (void *)vqc_int_ints(call, values, what, total);
    }
    memcpy(dims, operand->dims, sizeof dims);
    dims[rank++] = (int64_t)lines;
    if (values->rank >= 2) { /* the axis of the depth has one element: left out */
        size_t axis = values->rank - (by_row ? 1 : 2);
        if (values->dims[axis] != 1) {
            (void)vqc_exec_fail(call, "%s: got %lld values along the depth, expected 1", what,
                                (long long)values->dims[axis]);
            return NULL;
        }
        if (!by_row) {
            reduced.dims[axis] = reduced.dims[axis + 1];
        }
        reduced.rank--;
    }
    if (!vqc_view_broadcast(&reduced, dims, rank, &view)) {
        (void)vqc_exec_fail(call, "%s: got %zu values, expected 1 or one for each of %zu lines",
                            what, values->elements, lines);
        return NULL;
    }
    reduced.elements = total;
    reduced.data = vqc_exec_scratch(call, total * values->width + 1);
    if (reduced.data == NULL) {
        return NULL;
    }
    vqc_view_copy(&view, total, reduced.data);
    return floats ? (void *)vqc_int_floats(call, &reduced, what, total)
                  : (void *)vqc_int_ints(call, &reduced, what, total);
}

/* A zero point: one for all (`*one`), or per line. */
static vqc_status zero_points(vqc_exec_call *call, const vqc_buffer *zero, const char *what,
                              const vqc_buffer *operand, size_t batches, size_t lines, bool by_row,
                              int32_t *one, int32_t **per_line)
{
    *one = 0;
    *per_line = NULL;
    if (zero == NULL) {
        return VQC_OK;
    }
    if (zero->dtype != operand->dtype) {
        return vqc_exec_fail(call, "%s: got type %s, expected %s", what,
                             vqc_dtype_describe(zero->dtype)->name,
                             vqc_dtype_describe(operand->dtype)->name);
    }
    if (zero->elements == 1) {
        *one = (int32_t)vqc_element_int(zero->dtype, zero->data, 0);
        return VQC_OK;
    }
    *per_line = line_values(call, zero, what, operand, batches, lines, by_row, false);
    return *per_line == NULL ? vqc_int_failed(call) : VQC_OK;
}

/* ---- packing ---- */

static vqc_int_source source_of(const vqc_buffer *x, size_t batch, size_t elements, bool across,
                                size_t stride, int32_t zero, const int32_t *zeros, size_t lines)
{
    return (vqc_int_source){.data = x->data + batch * elements,
                            .is_signed = x->dtype == VQC_DTYPE_INT8,
                            .across = across,
                            .stride = stride,
                            .zero = zero,
                            .zeros = zeros == NULL ? NULL : zeros + batch * lines};
}

/* All batches of b, one behind the other. */
static vqc_status pack_right(vqc_exec_call *call, const plan *p, int16_t *packed, size_t size_bytes)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *b = call->inputs[roles->b];
    int32_t zero;
    int32_t *zeros;

    if (zero_points(call, vqc_int_role(call, roles->b_zero), "zero point of the right matrix", b,
                    p->b_batches, p->cols, false, &zero, &zeros) != VQC_OK) {
        return vqc_int_failed(call);
    }
    for (size_t i = 0; i < p->b_batches; i++) {
        vqc_int_source source = source_of(b, i, p->depth * p->cols, !p->trans_b,
                                          p->trans_b ? p->depth : p->cols, zero, zeros, p->cols);
        vqc_int_pack(&source, p->cols, p->depth, VQC_INT_COLS, call->threads,
                     packed + i * (size_bytes / sizeof *packed));
    }
    return VQC_OK;
}

vqc_status vqc_int_matmul_prepare(vqc_exec_call *call)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *b = vqc_int_role(call, roles->b);
    vqc_buffer left = {.rank = 2};
    const vqc_buffer *inputs[16] = {NULL};
    vqc_exec_call probe = *call;
    size_t size_bytes;
    size_t all;
    vqc_status status;
    plan p;

    call->prepared = NULL;
    if (b == NULL || b->rank < 2 || !vqc_int_is_codes(b) || call->input_count > 16 ||
        (vqc_int_is_given(call, roles->b_zero) && vqc_int_role(call, roles->b_zero) == NULL)) {
        return VQC_OK; /* packed in every run */
    }
    p.trans_b = is_gemm(call) && vqc_node_attr_int(call->node, "transB", 0) != 0;
    memcpy(inputs, call->inputs, call->input_count * sizeof *inputs);
    left.dims[is_gemm(call) && vqc_node_attr_int(call->node, "transA", 0) != 0 ? 0 : 1] =
        b->dims[b->rank - (p.trans_b ? 1 : 2)];
    inputs[roles->a] = &left; /* a has no rows: the plan is that of b alone */
    probe.inputs = inputs;
    if (make_plan(&probe, &p) != VQC_OK) {
        return vqc_int_failed(call);
    }
    if (!vqc_int_packed_bytes(p.cols, p.depth, VQC_INT_COLS, &size_bytes) ||
        !vqc_size_mul(size_bytes, p.b_batches, &all) ||
        (call->prepared = malloc(all + 1)) == NULL) {
        return vqc_fail_memory(call->error, size_bytes);
    }
    status = pack_right(&probe, &p, call->prepared, size_bytes);
    if (status != VQC_OK) {
        free(call->prepared);
        call->prepared = NULL;
    }
    return status;
}

/* ---- running ---- */

/* Scales, bias and where the sums go. */
typedef struct output {
    vqc_int_result result;   /* of batch 0 */
    const float *row_scales; /* [a batches * rows] or NULL */
    const float *col_scales; /* [b batches * cols] */
    float a_scale;           /* when row_scales is NULL */
    const int32_t *matrix;   /* QGemm: C [rows, cols] or NULL */
} output;

/* a_scale b_scale / y_scale per column, in the order of operations of ONNX Runtime; a scale per row
 * is multiplied with those when the row is finished. */
static vqc_status combined_scales(vqc_exec_call *call, const plan *p, output *out)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *a = call->inputs[roles->a];
    const vqc_buffer *a_scale = vqc_int_role(call, roles->a_scale);
    float alpha = is_gemm(call) ? vqc_node_attr_float(call->node, "alpha", 1.0f) : 1.0f;
    size_t total = p->b_batches * p->cols;
    float y_scale;
    float *scales = line_values(call, call->inputs[roles->b_scale], "scale of the right matrix",
                                call->inputs[roles->b], p->b_batches, p->cols, false, true);

    if (scales == NULL || vqc_int_float(call, vqc_int_role(call, roles->y_scale), "output scale",
                                        1.0f, &y_scale) != VQC_OK) {
        return vqc_int_failed(call);
    }
    out->col_scales = scales;
    out->result.divisor = y_scale;
    if (a_scale != NULL && a_scale->elements != 1) {
        out->row_scales = line_values(call, a_scale, "scale of the left matrix", a, p->a_batches,
                                      p->rows, true, true);
        return out->row_scales == NULL ? vqc_int_failed(call) : VQC_OK;
    }
    if (vqc_int_float(call, a_scale, "scale of the left matrix", out->a_scale, &out->a_scale) !=
        VQC_OK) {
        return vqc_int_failed(call);
    }
    for (size_t i = 0; i < total; i++) {
        scales[i] = alpha * out->a_scale * scales[i] / y_scale;
    }
    return VQC_OK;
}

/* The bias: float [cols], or QGemm's int32 C that broadcasts to [rows, cols]. */
static vqc_status load_bias(vqc_exec_call *call, const plan *p, output *out)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *bias = vqc_int_role(call, roles->bias);
    const int64_t dims[2] = {(int64_t)p->rows, (int64_t)p->cols};
    bool floats = !is_gemm(call);
    vqc_view view;
    int32_t *matrix;

    if (bias == NULL) {
        return VQC_OK;
    }
    if (floats) {
        out->result.f_bias = vqc_int_floats(call, bias, "bias", p->cols);
        return out->result.f_bias == NULL ? vqc_int_failed(call) : VQC_OK;
    }
    if (bias->dtype != VQC_DTYPE_INT32 || !vqc_view_broadcast(bias, dims, 2, &view)) {
        return vqc_exec_fail(call, "C: got %zu elements of type %s, expected int32 for [%zu, %zu]",
                             bias->elements, vqc_dtype_describe(bias->dtype)->name, p->rows,
                             p->cols);
    }
    if (bias->elements == p->cols && (bias->rank < 2 || bias->dims[0] == 1) &&
        out->result.kind == VQC_INT_CODES) {
        out->result.bias = vqc_int_ints(call, bias, "C", p->cols);
        return out->result.bias == NULL ? vqc_int_failed(call) : VQC_OK;
    }
    matrix = vqc_exec_scratch(call, p->rows * p->cols * sizeof *matrix + 1);
    if (matrix == NULL) {
        return vqc_int_failed(call);
    }
    vqc_view_copy(&view, p->rows * p->cols, matrix);
    out->matrix = matrix;
    return VQC_OK;
}

static vqc_status describe_output(vqc_exec_call *call, const plan *p, output *out)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *y_zero = vqc_int_role(call, roles->y_zero);
    vqc_buffer *y = call->outputs[0];
    vqc_status status = VQC_OK;

    out->result.data = y->data;
    out->result.stride = p->cols;
    out->result.kind = y->dtype == VQC_DTYPE_INT32   ? VQC_INT_SUMS
                       : y->dtype == VQC_DTYPE_FLOAT ? VQC_INT_FLOATS
                                                     : VQC_INT_CODES;
    out->result.is_signed = y->dtype == VQC_DTYPE_INT8;
    if (out->result.kind == VQC_INT_SUMS) {
        return VQC_OK;
    }
    if (out->result.kind == VQC_INT_CODES) {
        status = vqc_int_zero(call, y_zero, "output zero point", y->dtype, &out->result.zero_point);
    }
    if (status == VQC_OK) {
        status = combined_scales(call, p, out);
    }
    return status == VQC_OK ? load_bias(call, p, out) : status;
}

/* The left matrix: codes, or floats that are quantized here (DynamicQuantizeMatMul). */
static vqc_status left_codes(vqc_exec_call *call, vqc_buffer *codes, output *out, int32_t *zero)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *a = call->inputs[roles->a];
    uint8_t zero_point;

    *codes = *a;
    *zero = 0;
    if (a->dtype != VQC_DTYPE_FLOAT) {
        return VQC_OK;
    }
    codes->dtype = VQC_DTYPE_UINT8;
    codes->width = 1;
    codes->data = vqc_exec_scratch(call, a->elements + 1);
    if (codes->data == NULL) {
        return vqc_int_failed(call);
    }
    vqc_int_quantize_dynamic((const float *)(const void *)a->data, a->elements, &out->a_scale,
                             &zero_point, codes->data);
    *zero = zero_point;
    return VQC_OK;
}

/* The sums of QGemm with a C that is more than a row of biases: all of them, then C, then codes. */
static vqc_status run_with_matrix(vqc_exec_call *call, const plan *p, const output *out,
                                  const int16_t *left, const int16_t *right, void *scratch)
{
    size_t total = p->rows * p->cols;
    uint32_t *sums = vqc_exec_scratch(call, total * sizeof *sums + 1);
    vqc_int_result plain = {.kind = VQC_INT_SUMS, .data = sums, .stride = p->cols};

    if (sums == NULL) {
        return vqc_int_failed(call);
    }
    vqc_int_product(left, right, p->rows, p->cols, p->depth, &plain, call->threads, scratch);
    for (size_t i = 0; i < total; i++) {
        sums[i] += (uint32_t)out->matrix[i];
    }
    vqc_int_finish(&out->result, (const int32_t *)sums, p->cols, 0, p->rows, 0, p->cols);
    return VQC_OK;
}

static vqc_status run_batches(vqc_exec_call *call, const plan *p, const output *out,
                              const vqc_buffer *a, int32_t zero, const int32_t *zeros,
                              const int16_t *right, size_t right_bytes)
{
    /* with one right matrix the rows of all batches are one long left matrix */
    bool one = p->b_batches == 1 && !p->trans_a;
    size_t rows = one ? p->a_batches * p->rows : p->rows;
    size_t batches = one ? 1 : p->batches;
    size_t width = vqc_exec_width(call->outputs[0]->dtype);
    size_t left_bytes;
    int16_t *left;
    void *scratch = vqc_exec_scratch(call, vqc_int_scratch_bytes(call->threads));

    if (!vqc_int_packed_bytes(rows, p->depth, VQC_INT_ROWS, &left_bytes)) {
        return vqc_fail_memory(call->error, p->depth);
    }
    left = vqc_exec_scratch(call, left_bytes + 1);
    if (left == NULL || scratch == NULL) {
        return vqc_int_failed(call);
    }
    for (size_t i = 0; i < batches; i++) {
        size_t a_batch = one ? 0 : batch_of(p, p->a_steps, i);
        size_t b_batch = one ? 0 : batch_of(p, p->b_steps, i);
        const int16_t *b = right + b_batch * (right_bytes / sizeof *right);
        vqc_int_source source = source_of(a, a_batch, rows * p->depth, p->trans_a,
                                          p->trans_a ? p->rows : p->depth, zero, zeros, rows);
        vqc_int_result result = out->result;

        vqc_int_pack(&source, rows, p->depth, VQC_INT_ROWS, call->threads, left);
        result.data = (char *)result.data + i * rows * p->cols * width;
        result.scale = out->col_scales == NULL ? NULL : out->col_scales + b_batch * p->cols;
        result.scale_2 = out->row_scales == NULL ? NULL : out->row_scales + a_batch * rows;
        if (out->matrix != NULL) {
            output whole = *out;
            whole.result = result;
            return run_with_matrix(call, p, &whole, left, b, scratch);
        }
        vqc_int_product(left, b, rows, p->cols, p->depth, &result, call->threads, scratch);
    }
    return VQC_OK;
}

vqc_status vqc_int_matmul_run(vqc_exec_call *call)
{
    const vqc_int_roles *roles = call->detail;
    const vqc_buffer *a = call->inputs[roles->a];
    output out = {.a_scale = 1.0f};
    int16_t *right = call->prepared;
    int32_t zero;
    int32_t *zeros = NULL;
    size_t right_bytes;
    size_t all;
    vqc_buffer codes;
    vqc_status status;
    plan p;

    status = make_plan(call, &p);
    if (status != VQC_OK || call->outputs[0]->elements == 0) {
        return status;
    }
    status = left_codes(call, &codes, &out, &zero);
    if (status == VQC_OK && a->dtype != VQC_DTYPE_FLOAT) {
        status =
            zero_points(call, vqc_int_role(call, roles->a_zero), "zero point of the left matrix", a,
                        p.a_batches, p.rows, true, &zero, &zeros);
    }
    if (status == VQC_OK) {
        status = describe_output(call, &p, &out);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (!vqc_int_packed_bytes(p.cols, p.depth, VQC_INT_COLS, &right_bytes) ||
        !vqc_size_mul(right_bytes, p.b_batches, &all)) {
        return vqc_fail_memory(call->error, p.depth);
    }
    if (right == NULL) {
        right = vqc_exec_scratch(call, all + 1);
        status = right == NULL ? vqc_int_failed(call) : pack_right(call, &p, right, right_bytes);
    }
    return status == VQC_OK ? run_batches(call, &p, &out, &codes, zero, zeros, right, right_bytes)
                            : status;
}
