/*
 * com.microsoft.MatMulNBits: A times weights of 2 to 8 bits that are quantized in blocks along K.
 * Computed in float32 at every accuracy_level; weights become floats block by block on their way
 * into the product, so that a run needs no copy of them.
 */
#include <string.h>

#include "core/exec/exec_ops_microsoft.h"
#include "core/exec/gemm.h"
#include "core/exec/working.h"
#include "core/graph.h"
#include "core/memory.h"

enum { A, CODES, SCALES, ZEROS, GROUPS, BIAS, PANEL = 16 };

/* The weights [n, k]: codes in blocks of `block` values, each padded to whole bytes. */
typedef struct nbits {
    size_t n, k, block, blocks;
    int bits;
    size_t block_bytes; /* of codes */
    size_t zero_bytes;  /* of one row of packed zero points */
    const uint8_t *codes;
    const float *scales;  /* [n, blocks] */
    const float *f_zeros; /* [n, blocks] or NULL */
    const uint8_t *zeros; /* [n, zero_bytes] or NULL */
    bool omitted;         /* codes without elements: the product is 0 */
} nbits;

static vqc_status read_nbits(vqc_exec_call *call, nbits *w)
{
    const vqc_buffer *a = call->inputs[A];
    const vqc_buffer *codes = call->inputs[CODES];
    const vqc_buffer *scales = call->inputs[SCALES];
    const vqc_buffer *zeros = vqc_exec_input(call, ZEROS);
    int64_t k = vqc_node_attr_int(call->node, "K", 0);
    int64_t n = vqc_node_attr_int(call->node, "N", 0);
    int64_t bits = vqc_node_attr_int(call->node, "bits", 4);
    int64_t block = vqc_node_attr_int(call->node, "block_size", 0);

    memset(w, 0, sizeof *w);
    if (k < 1 || n < 1 || k > INT32_MAX || n > INT32_MAX || bits < 2 || bits > 8 || block < 16 ||
        block > (1 << 20) || (block & (block - 1)) != 0) {
        return vqc_exec_fail(call, "got K %lld, N %lld, bits %lld, block_size %lld", (long long)k,
                             (long long)n, (long long)bits, (long long)block);
    }
    if (vqc_node_attr_int(call->node, "weight_prepacked", 0) != 0 ||
        vqc_exec_input(call, GROUPS) != NULL) {
        return vqc_exec_fail(call, "weight_prepacked and g_idx are not supported");
    }
    if (vqc_class_of(a->dtype) != VQC_CLASS_F32 || codes->dtype != VQC_DTYPE_UINT8 ||
        vqc_class_of(scales->dtype) != VQC_CLASS_F32 || a->rank < 1 || a->dims[a->rank - 1] != k) {
        return vqc_exec_fail(call,
                             "got A of type %s and rank %zu, B of type %s, scales of type %s; "
                             "expected floats with %lld columns, uint8, floats",
                             vqc_dtype_describe(a->dtype)->name, a->rank,
                             vqc_dtype_describe(codes->dtype)->name,
                             vqc_dtype_describe(scales->dtype)->name, (long long)k);
    }
    w->n = (size_t)n;
    w->k = (size_t)k;
    w->bits = (int)bits;
    w->block = (size_t)block;
    w->blocks = (w->k + w->block - 1) / w->block;
    w->block_bytes = w->block * (size_t)bits / 8;
    w->zero_bytes = (w->blocks * (size_t)bits + 7) / 8;
    w->codes = codes->data;
    w->omitted = codes->elements == 0;
    if (w->omitted) {
        return VQC_OK;
    }
    if (codes->elements != w->n * w->blocks * w->block_bytes ||
        scales->elements != w->n * w->blocks) {
        return vqc_exec_fail(call, "got %zu bytes and %zu scales, expected %zu and %zu",
                             codes->elements, scales->elements, w->n * w->blocks * w->block_bytes,
                             w->n * w->blocks);
    }
    if (zeros != NULL && (zeros->dtype == VQC_DTYPE_UINT8
                              ? zeros->elements != w->n * w->zero_bytes
                              : zeros->dtype != a->dtype || zeros->elements != w->n * w->blocks)) {
        return vqc_exec_fail(call, "zero points: got %zu of type %s", zeros->elements,
                             vqc_dtype_describe(zeros->dtype)->name);
    }
    w->zeros = zeros != NULL && zeros->dtype == VQC_DTYPE_UINT8 ? zeros->data : NULL;
    return VQC_OK;
}

static vqc_status shape_nbits(vqc_exec_call *call)
{
    const vqc_buffer *bias = vqc_exec_input(call, BIAS);
    vqc_exec_type *type = &call->types[0];
    nbits w;

    if (read_nbits(call, &w) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (bias != NULL && (bias->elements != w.n || vqc_class_of(bias->dtype) != VQC_CLASS_F32)) {
        return vqc_exec_fail(call, "bias: got %zu values of type %s, expected %zu floats",
                             bias->elements, vqc_dtype_describe(bias->dtype)->name, w.n);
    }
    vqc_exec_type_like(type, call->inputs[A]);
    type->dims[type->rank - 1] = (int64_t)w.n;
    return VQC_OK;
}

/* Field `index` of packed fields, low bits first. The fields lie within `bytes`. */
static unsigned field(const uint8_t *packed, size_t bytes, size_t index, int bits)
{
    size_t bit = index * (size_t)bits;
    unsigned word = packed[bit / 8];

    if (bit / 8 + 1 < bytes) {
        word |= (unsigned)packed[bit / 8 + 1] << 8;
    }
    return word >> bit % 8 & ((1u << bits) - 1);
}

static float zero_of(const nbits *w, size_t row, size_t block)
{
    if (w->f_zeros != NULL) {
        return w->f_zeros[row * w->blocks + block];
    }
    if (w->zeros != NULL) {
        return (float)field(w->zeros + row * w->zero_bytes, w->zero_bytes, block, w->bits);
    }
    return (float)(1 << (w->bits - 1));
}

/* n values of one block from value `first` on, into every PANEL-th float. */
static void decode_block(const nbits *w, const uint8_t *codes, size_t first, size_t n, float zero,
                         float scale, float *to)
{
    float values[128];

    if (w->bits == 8) { /* a table would be longer than most blocks */
        for (size_t i = 0; i < n; i++) {
            to[i * PANEL] = ((float)codes[first + i] - zero) * scale;
        }
        return;
    }
    for (unsigned i = 0; i < 1u << w->bits; i++) {
        values[i] = ((float)i - zero) * scale;
    }
    if (w->bits == 4 && first % 2 == 0) {
        for (size_t i = 0; i < n; i++) {
            to[i * PANEL] = values[codes[(first + i) / 2] >> (i % 2 * 4) & 15];
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        to[i * PANEL] = values[field(codes, w->block_bytes, first + i, w->bits)];
    }
}

/* vqc_gemm_fill_fn: panels of 16 columns of the weights as floats. */
static void fill(const void *context, const float *b, size_t k0, size_t k, size_t n0, size_t n,
                 float *panels)
{
    const nbits *w = context;

    (void)b;
    for (size_t j = 0; j < n; j++) {
        size_t row = n0 + j;
        float *to = panels + j / PANEL * k * PANEL + j % PANEL;

        for (size_t at = k0; at < k0 + k;) {
            size_t block = at / w->block;
            size_t end = (block + 1) * w->block < k0 + k ? (block + 1) * w->block : k0 + k;

            decode_block(w, w->codes + (row * w->blocks + block) * w->block_bytes, at % w->block,
                         end - at, zero_of(w, row, block), w->scales[row * w->blocks + block],
                         to + (at - k0) * PANEL);
            at = end;
        }
    }
    for (size_t j = n; j % PANEL != 0; j++) { /* unused columns of the last panel */
        for (size_t i = 0; i < k; i++) {
            panels[(j / PANEL * k + i) * PANEL + j % PANEL] = 0.0f;
        }
    }
}

static vqc_status run_nbits(vqc_exec_call *call)
{
    const vqc_buffer *a = call->inputs[A];
    const vqc_buffer *bias = vqc_exec_input(call, BIAS);
    const vqc_buffer *zeros = vqc_exec_input(call, ZEROS);
    vqc_buffer *out = call->outputs[0];
    vqc_gemm_item item = {0};
    vqc_gemm g = {0};
    float *scratch;
    nbits w;

    if (read_nbits(call, &w) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    if (out->elements == 0) {
        return VQC_OK;
    }
    item.a = vqc_exec_values(call, a, VQC_CLASS_F32);
    item.c = vqc_exec_target(call, out, VQC_CLASS_F32);
    item.col_bias = bias == NULL ? NULL : vqc_exec_values(call, bias, VQC_CLASS_F32);
    w.scales = w.omitted ? NULL : vqc_exec_values(call, call->inputs[SCALES], VQC_CLASS_F32);
    if (zeros != NULL && w.zeros == NULL && !w.omitted) {
        w.f_zeros = vqc_exec_values(call, zeros, VQC_CLASS_F32);
    }
    if (item.a == NULL || item.c == NULL || (bias != NULL && item.col_bias == NULL) ||
        (!w.omitted && w.scales == NULL) ||
        (zeros != NULL && !w.omitted && w.zeros == NULL && w.f_zeros == NULL)) {
        return vqc_int_failed(call);
    }
    g.m = a->elements / w.k;
    g.n = w.n;
    g.k = w.omitted ? 0 : w.k;
    g.c_stride = w.n;
    g.left = vqc_gemm_left_rows(g.m, w.k);
    g.right.form = VQC_GEMM_RIGHT_FILL;
    g.right.fill = fill;
    g.right.context = &w;
    g.threads = call->threads < 1 ? 1 : call->threads;
    g.items = &item;
    g.item_count = 1;
    scratch = vqc_exec_scratch(call, vqc_gemm_scratch_bytes(&g) + 1);
    if (scratch == NULL) {
        return vqc_int_failed(call);
    }
    vqc_gemm_run(&g, scratch);
    vqc_exec_target_store(out, VQC_CLASS_F32, item.c);
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("MatMulNBits", "com.microsoft", 1, 3, shape_nbits, run_nbits, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_microsoft_nbits = {OPS, sizeof OPS / sizeof OPS[0]};
