/* com.microsoft MatMulNBits and GatherBlockQuantized: blocks of 2, 4 or 8 bits that the operator
 * decodes itself (ONNX Runtime contrib operators, domain version 1). */
#include <stdlib.h>
#include <string.h>

#include "core/emit/patterns.h"

enum {
    TRANSPOSE_TILE = 64,
    ACCURACY_LEVEL_INT8 = 4 /* inputs quantized to int8 per block; other levels run 8-60 x slower */
};

static const char MICROSOFT[] = "com.microsoft";

typedef struct nbits_shape {
    size_t k;
    size_t n;
    size_t block;
    size_t blocks;
    bool transposed; /* the weight is [n, k] already */
} nbits_shape;

static nbits_shape shape_of(const vqc_code *code)
{
    const vqc_layer *layer = code->decision->layer;
    nbits_shape s;

    s.transposed = vqc_node_attr_int(layer->uses[0].node, "transB", 0) != 0;
    s.k = (size_t)layer->dims[s.transposed ? 1 : 0];
    s.n = (size_t)layer->dims[s.transposed ? 0 : 1];
    s.block = (size_t)code->decision->spec.block_size;
    s.blocks = code->decision->grouping.blocks;
    return s;
}

static void *alloc(vqc_emitter *e, size_t count, size_t item_bytes)
{
    void *memory = e->status == VQC_OK ? vqc_arena_calloc(e->arena, count, item_bytes) : NULL;
    if (memory == NULL) {
        vqc_emit_fail(e);
    }
    return memory;
}

/* Codes [k, n] or [n, k] -> rows of blocks [n, blocks * block] packed to `bits`, low field first.
 * The part of the last block behind k is zero and never read. */
static uint8_t *pack_rows(vqc_emitter *e, const vqc_code *code, const nbits_shape *s)
{
    const vqc_kernels *kernels = vqc_kernels_get();
    int bits = code->decision->bits;
    size_t row = s->blocks * s->block;
    size_t row_bytes = row * (size_t)bits / 8;
    const uint8_t *codes = code->codes;
    uint8_t *packed = alloc(e, s->n, row_bytes);
    bool no_memory = false;

    if (packed == NULL) {
        return NULL;
    }
#pragma omp parallel for schedule(static)                                                          \
    reduction(||                                                                                   \
              : no_memory) if (s->n * s->k >= VQC_PARALLEL_ELEMENTS)
    for (size_t first = 0; first < s->n; first += TRANSPOSE_TILE) {
        size_t count = s->n - first < TRANSPOSE_TILE ? s->n - first : TRANSPOSE_TILE;
        uint8_t *rows = calloc(count, row);
        if (rows == NULL) {
            no_memory = true;
            continue;
        }
        for (size_t k = 0; k < s->k; k++) {
            for (size_t j = 0; j < count; j++) {
                size_t at = s->transposed ? (first + j) * s->k + k : k * s->n + first + j;
                rows[j * row + k] = codes[at];
            }
        }
        for (size_t j = 0; j < count; j++) {
            uint8_t *out = packed + (first + j) * row_bytes;
            if (bits == 8) {
                memcpy(out, rows + j * row, row);
            } else {
                kernels->u8_pack(rows + j * row, row, bits, out);
            }
        }
        free(rows);
    }
    if (no_memory) {
        vqc_emit_fail(e);
        return NULL;
    }
    return packed;
}

/* Group of (row, block): scales lie [blocks, n] for [k, n] weights and [n, blocks] otherwise. */
static size_t group_of(const nbits_shape *s, size_t row, size_t block)
{
    return s->transposed ? row * s->blocks + block : block * s->n + row;
}

static const char *emit_scales(vqc_emitter *e, const vqc_code *code, const nbits_shape *s)
{
    int64_t dims[2] = {(int64_t)s->n, (int64_t)s->blocks};
    float *scales = NULL;

    if (code->codes != NULL && (scales = alloc(e, s->n * s->blocks, sizeof *scales)) != NULL) {
        for (size_t n = 0; n < s->n; n++) {
            for (size_t b = 0; b < s->blocks; b++) {
                scales[n * s->blocks + b] = code->scales[group_of(s, n, b)];
            }
        }
    }
    return vqc_emit_payload(e, "s", VQC_DTYPE_FLOAT, dims, 2, scales, s->n * s->blocks * 4);
}

/* Zero points packed per row like the codes, [n, ceil(blocks * bits / 8)]. */
static const char *emit_zero_points(vqc_emitter *e, const vqc_code *code, const nbits_shape *s)
{
    size_t bits = (size_t)code->decision->bits;
    size_t row_bytes = (s->blocks * bits + 7) / 8;
    int64_t dims[2] = {(int64_t)s->n, (int64_t)row_bytes};
    uint8_t *packed = NULL;

    if (code->codes != NULL && (packed = alloc(e, s->n, row_bytes)) != NULL) {
        for (size_t n = 0; n < s->n; n++) {
            for (size_t b = 0; b < s->blocks; b++) {
                unsigned zero = (unsigned)code->zero_points[group_of(s, n, b)];
                packed[n * row_bytes + b * bits / 8] |= (uint8_t)(zero << (b * bits % 8));
            }
        }
    }
    return vqc_emit_payload(e, "z", VQC_DTYPE_UINT8, dims, 2, packed, s->n * row_bytes);
}

static Onnx__NodeProto *custom_node(vqc_emitter *e, const char *op, const Onnx__NodeProto *like,
                                    const char *const *inputs, size_t input_count,
                                    const char *output)
{
    Onnx__NodeProto *node =
        vqc_node_create(e->arena, op, MICROSOFT, like->name, inputs, input_count, &output, 1);
    vqc_emit_add(e, node);
    return node;
}

static void done(vqc_emitter *e, const vqc_code *code)
{
    if (e->status == VQC_OK) {
        e->status = vqc_patch_need_opset(e->patch, MICROSOFT, 1, e->error);
    }
    if (e->status == VQC_OK) {
        e->status = vqc_patch_remove_constant(e->patch, code->decision->layer->value, e->error);
    }
}

void vqc_emit_matmul_nbits(vqc_emitter *e, const vqc_code *code)
{
    const vqc_decision *d = code->decision;
    const vqc_layer *layer = d->layer;
    nbits_shape s = shape_of(code);
    size_t blob = s.block * (size_t)d->bits / 8;
    int64_t dims[3] = {(int64_t)s.n, (int64_t)s.blocks, (int64_t)blob};
    uint8_t *packed = code->codes == NULL ? NULL : pack_rows(e, code, &s);
    const char *inputs[4] = {""};

    inputs[1] = vqc_emit_payload(e, "q", VQC_DTYPE_UINT8, dims, 3, packed, s.n * s.blocks * blob);
    inputs[2] = emit_scales(e, code, &s);
    inputs[3] = d->has_zero_point ? emit_zero_points(e, code, &s) : "";
    for (size_t i = 0; i < layer->use_count && e->status == VQC_OK; i++) {
        Onnx__NodeProto *old = layer->uses[i].node;
        bool has_bias = vqc_node_is(old, "Gemm") && old->n_input > 2 && old->input[2][0] != '\0';
        const char *product =
            has_bias ? vqc_graph_fresh_name(e->graph, "t") : (const char *)old->output[0];
        if (product == NULL) {
            vqc_emit_fail(e);
            return;
        }
        e->collecting = true;
        inputs[0] = old->input[0];
        (void)custom_node(e, "MatMulNBits", old, inputs, d->has_zero_point ? 4 : 3, product);
        vqc_emit_attr_int(e, "K", (int64_t)s.k);
        vqc_emit_attr_int(e, "N", (int64_t)s.n);
        vqc_emit_attr_int(e, "bits", d->bits);
        vqc_emit_attr_int(e, "block_size", (int64_t)s.block);
        vqc_emit_attr_int(e, "accuracy_level", ACCURACY_LEVEL_INT8);
        if (has_bias) {
            (void)vqc_emit_node(e, "Add", old->output[0], product, old->input[2], NULL);
        }
        vqc_emit_flush(e, layer->uses[i].scope, old, false);
    }
    done(e, code);
}

void vqc_emit_gather_block(vqc_emitter *e, const vqc_code *code)
{
    const vqc_decision *d = code->decision;
    const vqc_layer *layer = d->layer;
    size_t rows = (size_t)layer->dims[0];
    size_t cols = (size_t)layer->dims[1];
    size_t bytes = rows * cols * (size_t)d->bits / 8;
    int64_t dims[2] = {layer->dims[0], (int64_t)(cols * (size_t)d->bits / 8)};
    nbits_shape s = {cols, rows, (size_t)d->spec.block_size, d->grouping.blocks, true};
    const char *inputs[4];
    const uint8_t *raw = code->codes;

    if (code->codes != NULL && d->bits < 8) { /* rows fill whole bytes */
        uint8_t *packed = alloc(e, bytes, 1);
        if (packed != NULL) {
            vqc_kernels_get()->u8_pack(code->codes, rows * cols, d->bits, packed);
        }
        raw = packed;
    }
    inputs[0] = vqc_emit_payload(e, "q", VQC_DTYPE_UINT8, dims, 2, raw, bytes);
    inputs[2] = emit_scales(e, code, &s);
    inputs[3] = d->has_zero_point ? emit_zero_points(e, code, &s) : "";
    for (size_t i = 0; i < layer->use_count && e->status == VQC_OK; i++) {
        Onnx__NodeProto *old = layer->uses[i].node;
        e->collecting = true;
        inputs[1] = old->input[1];
        (void)custom_node(e, "GatherBlockQuantized", old, inputs, d->has_zero_point ? 4 : 3,
                          old->output[0]);
        vqc_emit_attr_int(e, "gather_axis", 0);
        vqc_emit_attr_int(e, "quantize_axis", 1);
        vqc_emit_attr_int(e, "block_size", d->spec.block_size);
        vqc_emit_attr_int(e, "bits", d->bits);
        vqc_emit_flush(e, layer->uses[i].scope, old, false);
    }
    done(e, code);
}
