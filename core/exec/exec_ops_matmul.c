/* MatMul and Gemm. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/exec_op.h"
#include "core/exec/gemm.h"
#include "core/exec/gemm_operand.h"
#include "core/graph.h"
#include "core/memory.h"

/* A constant operand, packed for the product. */
typedef struct packed {
    float *left;  /* or NULL */
    float *right; /* or NULL; of a batch: [count][packed bytes] */
    vqc_gemm_left left_form;
} packed;

static void release_packed(void *prepared)
{
    packed *p = prepared;

    if (p != NULL) {
        free(p->left);
        free(p->right);
        free(p);
    }
}

/* One product or a batch of them, as MatMul sees its inputs. */
typedef struct product {
    size_t m, n, k;
    size_t count;                  /* products */
    size_t batch_rank;             /* leading axes of the output */
    bool collapsed;                /* the batch of A became rows: one product */
    bool swapped;                  /* a single column: computed as one row of B^T A^T */
    size_t a_stride_m, a_stride_k; /* elements */
    size_t b_stride_k, b_stride_n;
} product;

static vqc_status check_types(vqc_exec_call *call)
{
    const int32_t dtype = call->inputs[0]->dtype;

    if (vqc_class_of(dtype) == VQC_CLASS_NONE || dtype == VQC_DTYPE_BOOL) {
        return vqc_exec_fail(call, "data type %s: not defined by ONNX",
                             vqc_dtype_describe(dtype)->name);
    }
    for (size_t i = 1; i < call->input_count; i++) {
        if (call->inputs[i] != NULL && call->inputs[i]->dtype != dtype) {
            return vqc_exec_fail(call, "input %zu: got %s, expected %s as input 0", i,
                                 vqc_dtype_describe(call->inputs[i]->dtype)->name,
                                 vqc_dtype_describe(dtype)->name);
        }
    }
    call->types[0].dtype = dtype;
    return VQC_OK;
}

/* ---- MatMul ---- */

/* NumPy's matmul: a vector on the left is a row, on the right a column, and its axis goes. */
static vqc_status shape_matmul(vqc_exec_call *call)
{
    const vqc_buffer *a = call->inputs[0];
    const vqc_buffer *b = call->inputs[1];
    vqc_exec_type *type = &call->types[0];
    vqc_status status = check_types(call);
    int64_t k_a, k_b;

    if (status != VQC_OK) {
        return status;
    }
    if (a->rank == 0 || b->rank == 0) {
        return vqc_exec_fail(call, "got inputs of rank %zu and %zu, expected at least 1", a->rank,
                             b->rank);
    }
    k_a = a->dims[a->rank - 1];
    k_b = b->dims[b->rank == 1 ? 0 : b->rank - 2];
    if (k_a != k_b) {
        return vqc_exec_fail(call, "inner dimensions differ: got %lld and %lld", (long long)k_a,
                             (long long)k_b);
    }
    type->rank = 0;
    if ((a->rank > 2 && !vqc_broadcast_dims(type->dims, &type->rank, a->dims, a->rank - 2)) ||
        (b->rank > 2 && !vqc_broadcast_dims(type->dims, &type->rank, b->dims, b->rank - 2))) {
        return vqc_exec_fail(call, "the leading dimensions of the inputs do not broadcast");
    }
    if (type->rank + 2 > VQC_EXEC_MAX_RANK) {
        return vqc_exec_fail(call, "got rank %zu, expected at most %d", type->rank + 2,
                             VQC_EXEC_MAX_RANK);
    }
    if (a->rank > 1) {
        type->dims[type->rank++] = a->dims[a->rank - 2];
    }
    if (b->rank > 1) {
        type->dims[type->rank++] = b->dims[b->rank - 1];
    }
    return VQC_OK;
}

static product matmul_product(const vqc_exec_call *call)
{
    const vqc_buffer *a = call->inputs[0];
    const vqc_buffer *b = call->inputs[1];
    const vqc_exec_type *type = &call->types[0];
    product p = {.m = a->rank > 1 ? (size_t)a->dims[a->rank - 2] : 1,
                 .n = b->rank > 1 ? (size_t)b->dims[b->rank - 1] : 1,
                 .k = (size_t)a->dims[a->rank - 1],
                 .count = 1};

    p.batch_rank = type->rank - (a->rank > 1) - (b->rank > 1);
    for (size_t i = 0; i < p.batch_rank; i++) {
        p.count *= (size_t)type->dims[i]; /* at most the elements of the output, or 0 */
    }
    p.a_stride_m = p.k;
    p.a_stride_k = 1;
    p.b_stride_k = p.n;
    p.b_stride_n = 1;
    if (p.count > 1 && b->rank <= 2) {
        p.m *= p.count;
        p.count = 1;
        p.collapsed = true;
    }
    p.swapped = p.n == 1 && p.m > 1;
    return p;
}

/* Element offset of batch index `at` (over the output's leading axes) in a broadcast input. */
static size_t batch_offset(const vqc_exec_call *call, const product *p, const vqc_buffer *input,
                           size_t at)
{
    const size_t own = input->rank > 2 ? input->rank - 2 : 0;
    size_t stride = 1;
    size_t offset = 0;

    for (size_t i = 0; i < own; i++) {
        const size_t axis = p->batch_rank - 1 - i;
        const size_t extent = (size_t)call->types[0].dims[axis];
        const size_t dim = (size_t)input->dims[own - 1 - i];

        offset += dim == 1 ? 0 : at % extent * stride;
        at /= extent;
        stride *= dim;
    }
    return offset;
}

/* Runs the float32 product; a or b is not looked at where pre holds it. */
static vqc_status run_products(vqc_exec_call *call, const product *p, const packed *pre,
                               const float *a, const float *b, float *c)
{
    const vqc_buffer *const *in = call->inputs;
    vqc_gemm_item *items = vqc_exec_scratch(call, (p->count + 1) * sizeof *items);
    vqc_gemm g = {.m = p->swapped ? 1 : p->m,
                  .n = p->swapped ? p->m : p->n,
                  .k = p->k,
                  .epilogue = call->epilogue,
                  .threads = call->threads,
                  .items = items,
                  .item_count = p->count};
    size_t right_bytes = 0;
    void *scratch;

    if (items == NULL) {
        return vqc_operand_failed(call);
    }
    g.c_stride = g.n;
    g.left = pre != NULL && pre->left != NULL ? pre->left_form : vqc_gemm_left_rows(g.m, p->k);
    g.right = p->swapped ? vqc_gemm_right_columns(p->k) : vqc_gemm_right_rows(p->n);
    if (pre != NULL && pre->right != NULL) {
        g.right = vqc_gemm_right_packed();
    }
    (void)vqc_gemm_right_bytes(p->k, g.n, &right_bytes);
    for (size_t i = 0; i < p->count; i++) {
        const size_t at_a = p->collapsed ? 0 : batch_offset(call, p, in[0], i) * p->m * p->k;
        const size_t at_b = batch_offset(call, p, in[1], i) * p->k * p->n;
        const float *left = pre != NULL && pre->left != NULL ? pre->left : a + at_a;
        const float *right = b;

        if (pre == NULL || pre->right == NULL) {
            right += at_b;
        } else if (p->k * p->n > 0) {
            right = pre->right + at_b / (p->k * p->n) * (right_bytes / sizeof *right);
        }
        items[i] = (vqc_gemm_item){.a = p->swapped ? b + at_b : left,
                                   .b = p->swapped ? a + at_a : right,
                                   .c = c + i * p->m * p->n};
        if (call->epilogue.residual != NULL) {
            items[i].residual = call->epilogue.residual + i * p->m * p->n;
        }
    }
    scratch = vqc_exec_scratch(call, vqc_gemm_scratch_bytes(&g));
    if (scratch == NULL) {
        return vqc_operand_failed(call);
    }
    vqc_gemm_run(&g, scratch);
    return VQC_OK;
}

#define WIDE_PRODUCT(name, type)                                                                   \
    static void name(const product *p, const type *a, const type *b, type *c)                      \
    {                                                                                              \
        for (size_t i = 0; i < p->m; i++) {                                                        \
            type *row = c + i * p->n;                                                              \
            for (size_t j = 0; j < p->n; j++) {                                                    \
                row[j] = 0;                                                                        \
            }                                                                                      \
            for (size_t s = 0; s < p->k; s++) {                                                    \
                const type x = a[i * p->a_stride_m + s * p->a_stride_k];                           \
                const type *y = b + s * p->b_stride_k;                                             \
                for (size_t j = 0; j < p->n; j++) {                                                \
                    row[j] += x * y[j * p->b_stride_n];                                            \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
WIDE_PRODUCT(product_f64, double)
WIDE_PRODUCT(product_u64, uint64_t)

/* float64, or integers modulo 2^64, of which the lower bits are the result modulo 2^width. */
static void wide_product(vqc_class class, const product *p, const void *a, const void *b, void *c)
{
    if (class == VQC_CLASS_F64) {
        product_f64(p, a, b, c);
    } else {
        product_u64(p, a, b, c);
    }
}

static vqc_status matmul_wide(vqc_exec_call *call, const product *p)
{
    const vqc_class class = vqc_class_of(call->types[0].dtype);
    const char *a = vqc_operand_wide(call, call->inputs[0]);
    const char *b = vqc_operand_wide(call, call->inputs[1]);
    size_t size_bytes;
    char *c = NULL;

    if (vqc_size_mul(call->outputs[0]->elements, sizeof(int64_t), &size_bytes)) {
        c = vqc_exec_scratch(call, size_bytes);
    }
    if (a == NULL || b == NULL || c == NULL) {
        return vqc_operand_failed(call);
    }
    for (size_t i = 0; i < p->count; i++) {
        const size_t at_a = p->collapsed ? 0 : batch_offset(call, p, call->inputs[0], i);
        const size_t at_b = batch_offset(call, p, call->inputs[1], i);

        wide_product(class, p, a + at_a * p->m * p->k * sizeof(int64_t),
                     b + at_b * p->k * p->n * sizeof(int64_t),
                     c + i * p->m * p->n * sizeof(int64_t));
    }
    vqc_operand_store_wide(call->outputs[0], c);
    return VQC_OK;
}

static vqc_status run_matmul(vqc_exec_call *call)
{
    const product p = matmul_product(call);
    const packed *pre = call->prepared;
    const float *a, *b;
    float *c;
    vqc_status status;

    if (call->outputs[0]->elements == 0) {
        return VQC_OK;
    }
    if (vqc_class_of(call->types[0].dtype) != VQC_CLASS_F32) {
        return matmul_wide(call, &p);
    }
    if (p.swapped) {
        pre = NULL;
    }
    a = pre != NULL && pre->left != NULL ? pre->left : vqc_operand_f32(call, call->inputs[0]);
    b = pre != NULL && pre->right != NULL ? pre->right : vqc_operand_f32(call, call->inputs[1]);
    c = vqc_operand_target(call, call->outputs[0]);
    if (a == NULL || b == NULL || c == NULL) {
        return vqc_operand_failed(call);
    }
    status = run_products(call, &p, pre, a, b, c);
    if (status == VQC_OK) {
        vqc_operand_store(call->outputs[0], c);
    }
    return status;
}

/* Packs a constant right operand [..., k, n], or else a constant left matrix [m, k]. */
static vqc_status prepare_matmul(vqc_exec_call *call)
{
    const vqc_buffer *a = vqc_exec_input(call, 0);
    const vqc_buffer *b = vqc_exec_input(call, 1);
    const vqc_buffer *constant = b != NULL ? b : a;
    packed *p;
    size_t rows, cols, size_bytes, all_bytes, count;
    float *copy;

    if (constant == NULL || (a != NULL && b != NULL) || constant->dtype != VQC_DTYPE_FLOAT ||
        constant->rank < 2 || constant->elements == 0 || (constant == a && a->rank != 2)) {
        return VQC_OK;
    }
    rows = (size_t)constant->dims[constant->rank - 2];
    cols = (size_t)constant->dims[constant->rank - 1];
    count = constant->elements / (rows * cols);
    if (constant == b && cols == 1) {
        return VQC_OK; /* a single column is used as it lies */
    }
    if (!(constant == b ? vqc_gemm_right_bytes(rows, cols, &size_bytes)
                        : vqc_gemm_left_bytes(rows, cols, &size_bytes)) ||
        !vqc_size_mul(size_bytes, count, &all_bytes)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    p = calloc(1, sizeof *p);
    copy = vqc_operand_copy(constant);
    if (p == NULL || copy == NULL) {
        free(p);
        free(copy);
        return vqc_fail_memory(call->error, all_bytes);
    }
    call->prepared = p;
    *(constant == b ? &p->right : &p->left) = vqc_operand_memory(all_bytes);
    p->left_form = vqc_gemm_left_packed(rows, cols);
    for (size_t i = 0; p->right != NULL && i < count; i++) {
        vqc_gemm_pack_right(copy + i * rows * cols, rows, cols, cols, 1,
                            p->right + i * (size_bytes / sizeof *copy));
    }
    if (p->left != NULL) {
        vqc_gemm_pack_left(copy, rows, cols, cols, 1, p->left);
    }
    free(copy);
    return p->left != NULL || p->right != NULL ? VQC_OK : vqc_fail_memory(call->error, all_bytes);
}

/* ---- Gemm: Y = alpha A' B' + beta C ---- */

static vqc_status shape_gemm(vqc_exec_call *call)
{
    const vqc_buffer *a = call->inputs[0];
    const vqc_buffer *b = call->inputs[1];
    const vqc_buffer *c = vqc_exec_input(call, 2);
    const bool across_a = vqc_node_attr_int(call->node, "transA", 0) != 0;
    const bool across_b = vqc_node_attr_int(call->node, "transB", 0) != 0;
    vqc_exec_type *type = &call->types[0];
    vqc_status status = check_types(call);

    if (status != VQC_OK) {
        return status;
    }
    if (a->rank != 2 || b->rank != 2) {
        return vqc_exec_fail(call, "got inputs of rank %zu and %zu, expected matrices", a->rank,
                             b->rank);
    }
    if (a->dims[across_a ? 0 : 1] != b->dims[across_b ? 1 : 0]) {
        return vqc_exec_fail(call, "inner dimensions differ: got %lld and %lld",
                             (long long)a->dims[across_a ? 0 : 1],
                             (long long)b->dims[across_b ? 1 : 0]);
    }
    if (c == NULL && call->opset < 11) {
        return vqc_exec_fail(call, "input 2 is missing");
    }
    type->rank = 2;
    type->dims[0] = a->dims[across_a ? 1 : 0];
    type->dims[1] = b->dims[across_b ? 0 : 1];
    if (c != NULL) {
        vqc_view view;

        if (!vqc_view_broadcast(c, type->dims, 2, &view)) {
            return vqc_exec_fail(call, "C does not broadcast to [%lld, %lld]",
                                 (long long)type->dims[0], (long long)type->dims[1]);
        }
    }
    return VQC_OK;
}

static product gemm_product(const vqc_exec_call *call)
{
    const vqc_buffer *a = call->inputs[0];
    const vqc_buffer *b = call->inputs[1];
    const bool across_a = vqc_node_attr_int(call->node, "transA", 0) != 0;
    const bool across_b = vqc_node_attr_int(call->node, "transB", 0) != 0;
    product p = {.m = (size_t)a->dims[across_a ? 1 : 0],
                 .n = (size_t)b->dims[across_b ? 0 : 1],
                 .k = (size_t)a->dims[across_a ? 0 : 1],
                 .count = 1};

    p.a_stride_m = across_a ? 1 : p.k;
    p.a_stride_k = across_a ? p.m : 1;
    p.b_stride_k = across_b ? 1 : p.n;
    p.b_stride_n = across_b ? p.k : 1;
    return p;
}

/* y[i] = alpha y[i] + beta c[i] over [m, n], C broadcast. */
static vqc_status add_scaled(vqc_exec_call *call, const product *p, float alpha, float beta,
                             float *y)
{
    const vqc_buffer *c = vqc_exec_input(call, 2);
    const float *values = c != NULL ? vqc_operand_f32(call, c) : NULL;
    vqc_view view = {0};

    if (c != NULL) {
        if (values == NULL) {
            return vqc_operand_failed(call);
        }
        (void)vqc_view_broadcast(c, call->types[0].dims, 2, &view); /* checked by the shape rule */
    }
    for (size_t i = 0; i < p->m; i++) {
        for (size_t j = 0; j < p->n; j++) {
            float *at = &y[i * p->n + j];

            *at *= alpha;
            if (c != NULL) {
                *at +=
                    beta * values[(ptrdiff_t)i * view.strides[0] + (ptrdiff_t)j * view.strides[1]];
            }
            if (call->epilogue.residual != NULL) {
                *at += call->epilogue.residual[i * p->n + j];
            }
        }
    }
    vqc_activate(&call->epilogue, y, p->m * p->n);
    return VQC_OK;
}

/* Sets the start of the chains from C when alpha and beta are 1. */
static vqc_status set_bias(vqc_exec_call *call, const product *p, vqc_gemm *g, vqc_gemm_item *item)
{
    const vqc_buffer *c = vqc_exec_input(call, 2);
    const float *values;
    float *row;

    if (c == NULL) {
        return VQC_OK;
    }
    values = vqc_operand_f32(call, c);
    if (values == NULL) {
        return vqc_operand_failed(call);
    }
    if (c->elements == p->m * p->n && c->elements > 1 && p->m > 1) {
        memcpy(item->c, values, c->elements * sizeof *values);
        g->accumulate = true;
    } else if (c->elements == p->n && (c->rank < 2 || c->dims[c->rank - 1] == (int64_t)p->n)) {
        item->col_bias = values;
    } else if (c->elements == p->m && c->elements > 1) {
        item->row_bias = values;
    } else {
        row = vqc_exec_scratch(call, p->n * sizeof *row); /* a scalar */
        if (row == NULL) {
            return vqc_operand_failed(call);
        }
        for (size_t j = 0; j < p->n; j++) {
            row[j] = values[0];
        }
        item->col_bias = row;
    }
    return VQC_OK;
}

static vqc_status gemm_f32(vqc_exec_call *call, const product *p)
{
    const float alpha = vqc_node_attr_float(call->node, "alpha", 1.0f);
    const float beta = vqc_node_attr_float(call->node, "beta", 1.0f);
    const bool plain = alpha == 1.0f && (beta == 1.0f || vqc_exec_input(call, 2) == NULL);
    const packed *pre = call->prepared;
    float *y = vqc_operand_target(call, call->outputs[0]);
    vqc_gemm_item item = {.a = vqc_operand_f32(call, call->inputs[0]),
                          .b = pre != NULL && pre->right != NULL
                                   ? pre->right
                                   : vqc_operand_f32(call, call->inputs[1]),
                          .c = y};
    vqc_gemm g = {.m = p->m,
                  .n = p->n,
                  .k = p->k,
                  .c_stride = p->n,
                  .threads = call->threads,
                  .items = &item,
                  .item_count = 1};
    vqc_status status = VQC_OK;
    void *scratch;

    g.left = p->a_stride_k == 1 ? vqc_gemm_left_rows(p->m, p->a_stride_m)
                                : vqc_gemm_left_columns(p->m, p->a_stride_k);
    g.right = p->b_stride_n == 1 ? vqc_gemm_right_rows(p->b_stride_k)
                                 : vqc_gemm_right_columns(p->b_stride_n);
    if (pre != NULL && pre->right != NULL) {
        g.right = vqc_gemm_right_packed();
    }
    scratch = vqc_exec_scratch(call, vqc_gemm_scratch_bytes(&g));
    if (y == NULL || item.a == NULL || item.b == NULL || scratch == NULL) {
        return vqc_operand_failed(call);
    }
    if (plain) {
        g.epilogue = call->epilogue;
        item.residual = call->epilogue.residual;
        status = set_bias(call, p, &g, &item);
    }
    if (status == VQC_OK) {
        vqc_gemm_run(&g, scratch);
        status = plain ? VQC_OK : add_scaled(call, p, alpha, beta, y);
    }
    if (status == VQC_OK) {
        vqc_operand_store(call->outputs[0], y);
    }
    return status;
}

/* alpha and beta are float attributes; integers are computed as the product of integers when both
 * are whole numbers. */
static vqc_status gemm_wide(vqc_exec_call *call, const product *p)
{
    const float alpha = vqc_node_attr_float(call->node, "alpha", 1.0f);
    const float beta = vqc_node_attr_float(call->node, "beta", 1.0f);
    const vqc_class class = vqc_class_of(call->types[0].dtype);
    const vqc_buffer *c = vqc_exec_input(call, 2);
    const void *a = vqc_operand_wide(call, call->inputs[0]);
    const void *b = vqc_operand_wide(call, call->inputs[1]);
    const void *start = c != NULL ? vqc_operand_wide(call, c) : a;
    const size_t n = p->n;
    vqc_view view = {0};
    size_t size_bytes;
    void *y = NULL;

    if (class != VQC_CLASS_F64 && (!(fabsf(alpha) < 0x1p31f) || !(fabsf(beta) < 0x1p31f) ||
                                   truncf(alpha) != alpha || truncf(beta) != beta)) {
        return vqc_exec_fail(call, "alpha, beta: got %g and %g, expected whole numbers for %s",
                             (double)alpha, (double)beta,
                             vqc_dtype_describe(call->types[0].dtype)->name);
    }
    if (vqc_size_mul(call->outputs[0]->elements, sizeof(int64_t), &size_bytes)) {
        y = vqc_exec_scratch(call, size_bytes);
    }
    if (a == NULL || b == NULL || start == NULL || y == NULL) {
        return vqc_operand_failed(call);
    }
    wide_product(class, p, a, b, y);
    if (c != NULL) {
        (void)vqc_view_broadcast(c, call->types[0].dims, 2, &view); /* checked by the shape rule */
    }
    for (size_t i = 0; i < p->m * n; i++) {
        const ptrdiff_t at =
            (ptrdiff_t)(i / n) * view.strides[0] + (ptrdiff_t)(i % n) * view.strides[1];

        if (class == VQC_CLASS_F64) {
            const double add = c != NULL ? (double)beta * ((const double *)start)[at] : 0.0;
            ((double *)y)[i] = (double)alpha * ((double *)y)[i] + add;
        } else {
            const uint64_t add =
                c != NULL ? (uint64_t)(int64_t)beta * ((const uint64_t *)start)[at] : 0;
            ((uint64_t *)y)[i] = (uint64_t)(int64_t)alpha * ((uint64_t *)y)[i] + add;
        }
    }
    vqc_operand_store_wide(call->outputs[0], y);
    return VQC_OK;
}

static vqc_status run_gemm(vqc_exec_call *call)
{
    const product p = gemm_product(call);

    if (call->outputs[0]->elements == 0) {
        return VQC_OK;
    }
    return vqc_class_of(call->types[0].dtype) == VQC_CLASS_F32 ? gemm_f32(call, &p)
                                                               : gemm_wide(call, &p);
}

static vqc_status prepare_gemm(vqc_exec_call *call)
{
    const vqc_buffer *b = vqc_exec_input(call, 1);
    const bool across = vqc_node_attr_int(call->node, "transB", 0) != 0;
    packed *p;
    size_t k, n, size_bytes;
    float *copy;

    if (b == NULL || b->dtype != VQC_DTYPE_FLOAT || b->rank != 2 || b->elements == 0) {
        return VQC_OK;
    }
    k = (size_t)b->dims[across ? 1 : 0];
    n = (size_t)b->dims[across ? 0 : 1];
    if (!vqc_gemm_right_bytes(k, n, &size_bytes)) {
        return vqc_fail_memory(call->error, SIZE_MAX);
    }
    p = calloc(1, sizeof *p);
    copy = vqc_operand_copy(b);
    if (p != NULL) {
        p->right = vqc_operand_memory(size_bytes);
        call->prepared = p;
    }
    if (p == NULL || copy == NULL || p->right == NULL) {
        free(copy);
        return vqc_fail_memory(call->error, size_bytes);
    }
    vqc_gemm_pack_right(copy, k, n, across ? 1 : n, across ? k : 1, p->right);
    free(copy);
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("MatMul", "", 1, 2, shape_matmul, run_matmul, .prepare = prepare_matmul,
                 .release = release_packed, .fuses = true),
    VQC_EXEC_ROW("Gemm", "", 7, 2, shape_gemm, run_gemm, .prepare = prepare_gemm,
                 .release = release_packed, .fuses = true),
};

const vqc_exec_family vqc_exec_ops_matmul = {OPS, sizeof OPS / sizeof OPS[0]};
