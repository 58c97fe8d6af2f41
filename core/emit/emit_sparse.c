/* Patterns of sparse storage: stored codes -> codes of every weight. */
#include <string.h>

#include "core/emit/patterns.h"
#include "core/tensor.h"

/* ---- pieces ---- */

static uint8_t *new_bytes(vqc_emitter *e, const vqc_sparse *sparse, size_t count)
{
    uint8_t *bytes;

    if (e->status != VQC_OK || sparse->positions == NULL) {
        return NULL;
    }
    bytes = vqc_arena_alloc(e->arena, count);
    if (bytes == NULL) {
        vqc_emit_fail(e);
    }
    return bytes;
}

void *vqc_emit_stored_codes(vqc_emitter *e, const vqc_code *code, size_t item_bytes)
{
    const vqc_sparse *sparse = code->sparse;
    size_t bytes;
    void *out;

    if (code->codes == NULL || sparse->positions == NULL || e->status != VQC_OK) {
        return NULL;
    }
    out =
        vqc_size_mul(sparse->entries, item_bytes, &bytes) ? vqc_arena_alloc(e->arena, bytes) : NULL;
    if (out == NULL) {
        vqc_emit_fail(e);
        return NULL;
    }
    vqc_sparse_gather(sparse, code->codes, item_bytes, out);
    return out;
}

/* Sums of x [n] up to and with each element. */
static const char *running_sum(vqc_emitter *e, const char *x)
{
    const int32_t axis = 0;

    return vqc_emit_node(e, "CumSum", VQC_FRESH, x,
                         vqc_emit_shared(e, VQC_DTYPE_INT32, NULL, 0, &axis, sizeof axis), NULL);
}

/* ---- gaps ---- */

/* Where the entries go, int32 [entries]. */
static const char *emit_positions(vqc_emitter *e, const vqc_sparse *sparse)
{
    const int64_t dims[1] = {(int64_t)sparse->entries};
    size_t width = sparse->gap_bits > 8 ? 2 : 1;
    uint8_t *gaps = new_bytes(e, sparse, sparse->entries * width);
    const char *name;

    if (gaps != NULL) {
        vqc_sparse_gaps(sparse, gaps);
    }
    name = sparse->gap_bits >= 8
               ? vqc_emit_payload(e, "g", width == 1 ? VQC_DTYPE_UINT8 : VQC_DTYPE_UINT16, dims, 1,
                                  gaps, sparse->entries * width)
               : vqc_emit_unpack(e, gaps, sparse->entries, sparse->gap_bits, dims, 1);
    return running_sum(e, vqc_emit_cast(e, name, VQC_DTYPE_INT32, VQC_FRESH));
}

/* [elements] of what stands where nothing is kept. */
static const char *emit_base(vqc_emitter *e, const vqc_sparse *sparse, const vqc_emit_zero *zero,
                             const int64_t *dims, size_t rank)
{
    const int64_t flat[1] = {(int64_t)sparse->elements};
    const int64_t one[1] = {1};
    size_t width = (size_t)vqc_dtype_describe((int32_t)zero->dtype)->bits / 8;
    const char *name;
    void *raw;
    bool is_default = zero->dtype == VQC_DTYPE_FLOAT;
    Onnx__TensorProto *value;

    if (zero->tensor != NULL) {
        name =
            vqc_emit_node(e, "Expand", VQC_FRESH, zero->tensor, vqc_emit_ints(e, dims, rank), NULL);
        return rank == 1 ? name : vqc_emit_reshape(e, name, flat, 1, VQC_FRESH);
    }
    name = vqc_emit_node(e, "ConstantOfShape", VQC_FRESH, vqc_emit_ints(e, flat, 1), NULL, NULL);
    for (size_t i = 0; i < width; i++) {
        is_default = is_default && ((const unsigned char *)zero->raw)[i] == 0;
    }
    if (is_default || e->status != VQC_OK) {
        return name;
    }
    raw = vqc_arena_alloc(e->arena, width);
    value = raw == NULL ? NULL
                        : vqc_tensor_create(e->arena, "", zero->dtype, one, 1,
                                            memcpy(raw, zero->raw, width), width);
    if (value == NULL || !vqc_node_add_tensor(e->arena, e->last, "value", value)) {
        vqc_emit_fail(e);
    }
    return name;
}

static const char *emit_gaps(vqc_emitter *e, const vqc_sparse *sparse, const char *values,
                             const vqc_emit_zero *zero, const int64_t *dims, size_t rank,
                             const char *output)
{
    const char *base = emit_base(e, sparse, zero, dims, rank);
    const char *name = vqc_emit_node(e, "ScatterElements", rank == 1 ? output : VQC_FRESH, base,
                                     emit_positions(e, sparse), values);

    return rank == 1 ? name : vqc_emit_reshape(e, name, dims, rank, output);
}

/* ---- mask ---- */

/* 1 where a weight is kept, else 0: float [elements]. */
static const char *emit_mask_bits(vqc_emitter *e, const vqc_sparse *sparse)
{
    const int64_t flat[1] = {(int64_t)sparse->elements};
    size_t count = vqc_sparse_blocks(sparse);
    size_t rows = sparse->elements / sparse->line / sparse->block_rows;
    const int64_t blocks[4] = {(int64_t)rows, 1, (int64_t)(count / rows), 1};
    const int64_t spread[4] = {blocks[0], (int64_t)sparse->block_rows, blocks[2],
                               (int64_t)sparse->block_cols};
    uint8_t *bits = new_bytes(e, sparse, count);
    const char *name;

    if (bits != NULL && count == sparse->elements) {
        vqc_sparse_mask(sparse, bits);
    } else if (bits != NULL) {
        vqc_sparse_block_mask(sparse, bits);
    }
    if (count == sparse->elements) {
        return vqc_emit_unpack(e, bits, count, 1, flat, 1);
    }
    name = vqc_emit_unpack(e, bits, count, 1, blocks, 4);
    name = vqc_emit_node(e, "Expand", VQC_FRESH, name, vqc_emit_ints(e, spread, 4), NULL);
    return vqc_emit_reshape(e, name, flat, 1, VQC_FRESH);
}

static const char *emit_mask(vqc_emitter *e, const vqc_sparse *sparse, const char *values,
                             const vqc_emit_zero *zero, const int64_t *dims, size_t rank,
                             const char *output)
{
    bool spread = zero->tensor != NULL;
    const char *mask;
    const char *name;

    mask = emit_mask_bits(e, sparse);
    mask = vqc_emit_cast(e, mask, VQC_DTYPE_INT32, VQC_FRESH);
    name = running_sum(e, mask);
    if (!spread) { /* entry 0 is the zero */
        name = vqc_emit_node(e, "Mul", VQC_FRESH, name, mask, NULL);
    }
    name =
        vqc_emit_node(e, "Gather", rank == 1 && !spread ? output : VQC_FRESH, values, name, NULL);
    if (rank != 1) {
        name = vqc_emit_reshape(e, name, dims, rank, spread ? VQC_FRESH : output);
    }
    if (spread) {
        mask = vqc_emit_cast(e, mask, VQC_DTYPE_BOOL, VQC_FRESH);
        mask = rank == 1 ? mask : vqc_emit_reshape(e, mask, dims, rank, VQC_FRESH);
        name = vqc_emit_node(e, "Where", output, mask, name, zero->tensor);
    }
    return name;
}

const char *vqc_emit_sparse(vqc_emitter *e, const vqc_sparse *sparse, const char *values,
                            const vqc_emit_zero *zero, const int64_t *dims, size_t rank,
                            const char *output)
{
    return sparse->form == VQC_SPARSE_GAPS ? emit_gaps(e, sparse, values, zero, dims, rank, output)
                                           : emit_mask(e, sparse, values, zero, dims, rank, output);
}

const char *vqc_emit_sparse_packed(vqc_emitter *e, const vqc_sparse *sparse, const char *values,
                                   const int64_t *dims, size_t rank, const char *output)
{
    const float nothing = 0.0f;
    const vqc_emit_zero zero = {.dtype = VQC_DTYPE_FLOAT, .raw = &nothing};
    const int64_t first[1] = {1};
    const int64_t end[1] = {(int64_t)sparse->kept + 1};
    const char *mask;
    const char *name;

    if (sparse->form == VQC_SPARSE_GAPS) {
        name = vqc_emit_node(e, "Slice", VQC_FRESH, values, vqc_emit_ints(e, first, 1),
                             vqc_emit_ints(e, end, 1));
        return emit_gaps(e, sparse, name, &zero, dims, rank, output);
    }
    mask = emit_mask_bits(e, sparse);
    name = running_sum(e, vqc_emit_cast(e, mask, VQC_DTYPE_INT32, VQC_FRESH));
    name = vqc_emit_node(e, "Gather", VQC_FRESH, values, name, NULL);
    name = vqc_emit_node(e, "Mul", rank == 1 ? output : VQC_FRESH, name, mask, NULL);
    return rank == 1 ? name : vqc_emit_reshape(e, name, dims, rank, output);
}
