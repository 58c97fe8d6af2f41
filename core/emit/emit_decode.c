/* Patterns that decode a weight in the graph: foldable arithmetic and DequantizeLinear. */
#include <string.h>

#include "core/codec/int_fit.h"
#include "core/codec/int_form.h"
#include "core/emit/patterns.h"

enum { MAX_RANK = 64 };

/* Bytes of scratch in the model's arena, or NULL while only sizes matter (or after a failure). */
static void *scratch(vqc_emitter *e, const vqc_code *code, size_t count, size_t item_bytes)
{
    void *memory;

    if (e->status != VQC_OK || code->codes == NULL) {
        return NULL;
    }
    memory = vqc_arena_calloc(e->arena, count, item_bytes);
    if (memory == NULL) {
        vqc_emit_fail(e);
    }
    return memory;
}

/* ---- unpacking ---- */

/* Bits of the planes that `bits` is split into, low plane first: 6 -> 4 + 2. */
static size_t split_planes(int bits, int widths[3])
{
    size_t count = 0;
    for (int width = 4; width >= 1; width /= 2) {
        if ((bits & width) != 0) {
            widths[count++] = width;
        }
    }
    return count;
}

/* [m, 1] packed bytes -> [m, k] fields, by shifting out what lies above and below. Opset 11. */
static const char *fields_by_shift(vqc_emitter *e, const char *packed, int width)
{
    int64_t fields = 8 / width;
    int64_t dims[2] = {1, fields};
    uint8_t left[8];
    const char *name;

    for (int f = 0; f < (int)fields; f++) {
        left[f] = (uint8_t)(8 - width - f * width);
    }
    name = vqc_emit_node(e, "BitShift", VQC_FRESH, packed,
                         vqc_emit_shared(e, VQC_DTYPE_UINT8, dims, 2, left, (size_t)fields), NULL);
    vqc_emit_attr_string(e, "direction", "LEFT");
    name = vqc_emit_node(e, "BitShift", VQC_FRESH, name,
                         vqc_emit_scalar_u8(e, (uint8_t)(8 - width)), NULL);
    vqc_emit_attr_string(e, "direction", "RIGHT");
    return vqc_emit_cast(e, name, VQC_DTYPE_FLOAT, VQC_FRESH);
}

/* The same in float arithmetic for opset 7 to 10: field f = floor(x / 2^(wf)) - 2^w floor(x /
 * 2^(w(f+1))). Bytes and powers of two: exact. */
static const char *fields_by_floor(vqc_emitter *e, const char *packed, int width)
{
    int64_t fields = 8 / width;
    int64_t dims[2] = {1, fields};
    float here[8];
    float above[8];
    const char *x;
    const char *low;
    const char *high;

    for (int f = 0; f < (int)fields; f++) {
        here[f] = 1.0f / (float)(1 << (f * width));
        above[f] = 1.0f / (float)(1 << ((f + 1) * width));
    }
    x = vqc_emit_cast(e, packed, VQC_DTYPE_FLOAT, VQC_FRESH);
    low =
        vqc_emit_node(e, "Mul", VQC_FRESH, x,
                      vqc_emit_shared(e, VQC_DTYPE_FLOAT, dims, 2, here, (size_t)fields * 4), NULL);
    low = vqc_emit_node(e, "Floor", VQC_FRESH, low, NULL, NULL);
    high = vqc_emit_node(e, "Mul", VQC_FRESH, x,
                         vqc_emit_shared(e, VQC_DTYPE_FLOAT, dims, 2, above, (size_t)fields * 4),
                         NULL);
    high = vqc_emit_node(e, "Floor", VQC_FRESH, high, NULL, NULL);
    high =
        vqc_emit_node(e, "Mul", VQC_FRESH, high, vqc_emit_scalar_f32(e, (float)(1 << width)), NULL);
    return vqc_emit_node(e, "Sub", VQC_FRESH, low, high, NULL);
}

static const char *unpack_plane(vqc_emitter *e, const uint8_t *codes, size_t n, int shift,
                                int width, const int64_t *dims, size_t rank)
{
    size_t fields = 8 / (size_t)width;
    size_t bytes = n / fields + (n % fields != 0 ? 1 : 0);
    int64_t packed_dims[2] = {(int64_t)bytes, 1};
    const int64_t flat[1] = {-1};
    uint8_t *packed = NULL;
    const char *name;

    if (e->status != VQC_OK) {
        return "";
    }
    if (codes != NULL) {
        packed = vqc_arena_alloc(e->arena, bytes);
        if (packed == NULL) {
            vqc_emit_fail(e);
            return "";
        }
        vqc_kernels_get()->u8_pack_plane(codes, n, shift, width, packed);
    }
    name = vqc_emit_payload(e, "q", VQC_DTYPE_UINT8, packed_dims, 2, packed, bytes);
    name = e->opset >= 11 ? fields_by_shift(e, name, width) : fields_by_floor(e, name, width);
    if (n % fields != 0) { /* the last byte is not full */
        name = vqc_emit_reshape(e, name, flat, 1, VQC_FRESH);
        name = vqc_emit_take(e, name, 0, (int64_t)n, VQC_FRESH);
    }
    return vqc_emit_reshape(e, name, dims, rank, VQC_FRESH);
}

const char *vqc_emit_unpack(vqc_emitter *e, const uint8_t *codes, size_t n, int bits,
                            const int64_t *dims, size_t rank)
{
    int widths[3];
    size_t planes = split_planes(bits, widths);
    const char *sum = "";
    int shift = 0;

    for (size_t p = 0; p < planes; p++) {
        const char *plane = unpack_plane(e, codes, n, shift, widths[p], dims, rank);
        if (p == 0) {
            sum = plane;
        } else {
            plane = vqc_emit_node(e, "Mul", VQC_FRESH, plane,
                                  vqc_emit_scalar_f32(e, (float)(1 << shift)), NULL);
            sum = vqc_emit_node(e, "Add", VQC_FRESH, sum, plane, NULL);
        }
        shift += widths[p];
    }
    return sum;
}

/* ---- codes, zero points, scales ---- */

static vqc_dtype code_dtype(const vqc_decision *d)
{
    if (d->bits == 16) {
        return d->is_signed ? VQC_DTYPE_INT16 : VQC_DTYPE_UINT16;
    }
    return d->is_signed ? VQC_DTYPE_INT8 : VQC_DTYPE_UINT8;
}

/* The codes as whole bytes or words, of shape dims; `zeros` as in vqc_emit_values, but whole. */
static const char *whole_codes(vqc_emitter *e, const vqc_code *code, const char *zeros,
                               const int64_t *dims, size_t rank)
{
    const vqc_decision *d = code->decision;
    size_t width = d->bits == 16 ? 2 : 1;
    const int64_t stored[1] = {(int64_t)(code->sparse == NULL ? 0 : code->sparse->entries)};
    vqc_emit_zero zero = {.dtype = code_dtype(d), .raw = &d->middle, .tensor = zeros};
    const char *name;

    if (code->sparse == NULL) {
        return vqc_emit_payload(e, "q", zero.dtype, dims, rank, code->codes,
                                d->layer->elements * width);
    }
    name = vqc_emit_payload(e, "q", zero.dtype, stored, 1, vqc_emit_stored_codes(e, code, width),
                            code->sparse->entries * width);
    return vqc_emit_sparse(e, code->sparse, name, &zero, dims, rank, VQC_FRESH);
}

/* The stored codes, [entries], as float of shape dims. */
static const char *sparse_floats(vqc_emitter *e, const vqc_code *code, const char *zeros,
                                 const int64_t *dims, size_t rank)
{
    const vqc_decision *d = code->decision;
    const vqc_sparse *sparse = code->sparse;
    const float middle = (float)d->middle;
    const int64_t stored[1] = {(int64_t)sparse->entries};
    vqc_emit_zero zero = {.dtype = VQC_DTYPE_FLOAT, .raw = &middle, .tensor = zeros};
    size_t width = d->bits == 16 ? 2 : 1;
    const void *raw = vqc_emit_stored_codes(e, code, width);
    const char *name;

    if (d->bits == 8 || d->bits == 16) {
        name = vqc_emit_payload(e, "q", code_dtype(d), stored, 1, raw, sparse->entries * width);
        name = vqc_emit_cast(e, name, VQC_DTYPE_FLOAT, VQC_FRESH);
    } else {
        name = vqc_emit_unpack(e, raw, sparse->entries, d->bits, stored, 1);
    }
    return vqc_emit_sparse(e, sparse, name, &zero, dims, rank, VQC_FRESH);
}

/* The codes as float, of shape dims. */
static const char *float_codes(vqc_emitter *e, const vqc_code *code, const char *zeros,
                               const int64_t *dims, size_t rank)
{
    const vqc_decision *d = code->decision;

    if (code->sparse != NULL) {
        return sparse_floats(e, code, zeros, dims, rank);
    }
    if (d->bits == 8 || d->bits == 16) {
        return vqc_emit_cast(e, whole_codes(e, code, NULL, dims, rank), VQC_DTYPE_FLOAT, VQC_FRESH);
    }
    return vqc_emit_unpack(e, code->codes, d->layer->elements, d->bits, dims, rank);
}

/* One zero point per group as whole bytes or words. */
static const char *whole_zero_points(vqc_emitter *e, const vqc_code *code, const int64_t *dims,
                                     size_t rank)
{
    const vqc_decision *d = code->decision;
    size_t groups = vqc_grouping_count(&d->grouping);
    size_t item = d->bits == 16 ? 2 : 1;
    uint8_t *raw = scratch(e, code, groups, item);

    for (size_t g = 0; raw != NULL && g < groups; g++) {
        uint16_t zero = (uint16_t)code->zero_points[g];
        memcpy(raw + g * item, &zero, item); /* little-endian */
    }
    if (d->is_signed) {
        return vqc_emit_payload(e, "z", d->bits == 16 ? VQC_DTYPE_INT16 : VQC_DTYPE_INT8, dims,
                                rank, raw, groups * item);
    }
    return vqc_emit_payload(e, "z", d->bits == 16 ? VQC_DTYPE_UINT16 : VQC_DTYPE_UINT8, dims, rank,
                            raw, groups * item);
}

/* Zero points as float; many of them are packed like the codes. */
static const char *float_zero_points(vqc_emitter *e, const vqc_code *code, const int64_t *dims,
                                     size_t rank)
{
    const vqc_decision *d = code->decision;
    size_t groups = vqc_grouping_count(&d->grouping);

    if (d->bits < 8 && groups * (size_t)(8 - d->bits) > 8 * 256) { /* saves more than its nodes */
        uint8_t *raw = scratch(e, code, groups, 1);
        for (size_t g = 0; raw != NULL && g < groups; g++) {
            raw[g] = (uint8_t)code->zero_points[g];
        }
        return vqc_emit_unpack(e, raw, groups, d->bits, dims, rank);
    }
    return vqc_emit_cast(e, whole_zero_points(e, code, dims, rank), VQC_DTYPE_FLOAT, VQC_FRESH);
}

const char *vqc_emit_scales(vqc_emitter *e, const vqc_code *code, const int64_t *dims, size_t rank)
{
    size_t groups = vqc_grouping_count(&code->decision->grouping);
    const char *name;

    if (!code->decision->scale_f16) {
        float *copy = scratch(e, code, groups, sizeof *copy);
        if (copy != NULL) {
            memcpy(copy, code->scales, groups * sizeof *copy);
        }
        return vqc_emit_payload(e, "s", VQC_DTYPE_FLOAT, dims, rank, copy, groups * sizeof *copy);
    }
    uint16_t *copy = scratch(e, code, groups, sizeof *copy);
    if (copy != NULL) {
        memcpy(copy, code->scales_f16, groups * sizeof *copy);
    }
    name = vqc_emit_payload(e, "s", VQC_DTYPE_FLOAT16, dims, rank, copy, groups * sizeof *copy);
    name = vqc_emit_cast(e, name, VQC_DTYPE_FLOAT, VQC_FRESH);
    return vqc_emit_node(e, "Mul", VQC_FRESH, name, vqc_emit_scalar_f32(e, VQC_SCALE_UNIT), NULL);
}

size_t vqc_emit_scale_shape(const vqc_code *code, int64_t dims[64])
{
    const vqc_decision *d = code->decision;
    const vqc_layer *layer = d->layer;
    size_t first = layer->channel_joins_outer ? 0 : (size_t)layer->channel_axis;
    size_t rank = 0;

    if (layer->channel_axis < 0 || d->grouping.len == 1) {
        return 0;
    }
    for (size_t i = first; i < layer->rank && rank < MAX_RANK; i++) {
        dims[rank++] = i <= (size_t)layer->channel_axis ? layer->dims[i] : 1;
    }
    return rank;
}

void vqc_emit_finish(vqc_emitter *e, const vqc_code *code, const char *op, const char *a,
                     const char *b)
{
    const vqc_layer *layer = code->decision->layer;
    const char *name = layer->value->name;

    if (layer->dtype == VQC_DTYPE_FLOAT) {
        (void)vqc_emit_node(e, op, name, a, b, NULL);
    } else {
        const char *wide = vqc_emit_node(e, op, VQC_FRESH, a, b, NULL);
        (void)vqc_emit_cast(e, wide, (vqc_dtype)layer->dtype, name);
    }
    if (e->status == VQC_OK) {
        e->status = vqc_patch_remove_constant(e->patch, layer->value, e->error);
    }
}

/* ---- foldable ---- */

/* codes - zero point, as float. */
static const char *centred(vqc_emitter *e, const vqc_code *code, const char *codes,
                           const char *zero_points)
{
    if (zero_points != NULL) {
        return vqc_emit_node(e, "Sub", VQC_FRESH, codes, zero_points, NULL);
    }
    if (code->decision->middle == 0) {
        return codes;
    }
    return vqc_emit_node(e, "Sub", VQC_FRESH, codes,
                         vqc_emit_scalar_f32(e, (float)code->decision->middle), NULL);
}

static void foldable_channels(vqc_emitter *e, const vqc_code *code, vqc_emit_values *values)
{
    const vqc_decision *d = code->decision;
    int64_t dims[MAX_RANK];
    size_t rank = vqc_emit_scale_shape(code, dims);
    const char *z = d->has_zero_point ? float_zero_points(e, code, dims, rank) : NULL;
    const char *q = values(e, code, z, d->layer->dims, d->layer->rank);

    q = centred(e, code, q, z);
    vqc_emit_finish(e, code, "Mul", q, vqc_emit_scales(e, code, dims, rank));
}

/* One value per block, repeated for every weight of the block: [pre, nb, 1, post] -> [pre, len,
 * post]. */
static const char *spread_blocks(vqc_emitter *e, const vqc_grouping *g, const char *values)
{
    const int64_t repeats[4] = {1, 1, (int64_t)g->block, 1};
    const int64_t flat[3] = {(int64_t)g->pre, (int64_t)(g->blocks * g->block), (int64_t)g->post};

    values = vqc_emit_node(e, "Tile", VQC_FRESH, values, vqc_emit_ints(e, repeats, 4), NULL);
    values = vqc_emit_reshape(e, values, flat, 3, VQC_FRESH);
    return vqc_emit_take(e, values, 1, (int64_t)g->len, VQC_FRESH);
}

static void foldable_blocks(vqc_emitter *e, const vqc_code *code, vqc_emit_values *values)
{
    const vqc_decision *d = code->decision;
    const vqc_grouping *g = &d->grouping;
    const vqc_layer *layer = d->layer;
    bool even = g->len % g->block == 0;
    const int64_t scale_dims[4] = {(int64_t)g->pre, (int64_t)g->blocks, 1, (int64_t)g->post};
    const int64_t even_dims[4] = {(int64_t)g->pre, (int64_t)g->blocks, (int64_t)g->block,
                                  (int64_t)g->post};
    const int64_t odd_dims[3] = {(int64_t)g->pre, (int64_t)g->len, (int64_t)g->post};
    const char *z = d->has_zero_point ? float_zero_points(e, code, scale_dims, 4) : NULL;
    const char *s = vqc_emit_scales(e, code, scale_dims, 4);
    const char *q;

    if (!even) {
        z = z == NULL ? NULL : spread_blocks(e, g, z);
        s = spread_blocks(e, g, s);
    }
    q = values(e, code, z, even ? even_dims : odd_dims, even ? 4 : 3);
    q = vqc_emit_node(e, "Mul", VQC_FRESH, centred(e, code, q, z), s, NULL);
    vqc_emit_finish(e, code, "Reshape", q, vqc_emit_ints(e, layer->dims, layer->rank));
}

void vqc_emit_foldable_with(vqc_emitter *e, const vqc_code *code, vqc_emit_values *values)
{
    if (code->decision->grouping.is_blocked) {
        foldable_blocks(e, code, values);
    } else {
        foldable_channels(e, code, values);
    }
}

void vqc_emit_foldable(vqc_emitter *e, const vqc_code *code)
{
    vqc_emit_foldable_with(e, code, float_codes);
}

/* ---- DequantizeLinear ---- */

/* 4-bit codes packed two to a byte as ONNX does, low nibble first; int4 is the code with its top
 * bit turned over. */
static const char *native_int4(vqc_emitter *e, const vqc_code *code)
{
    const vqc_decision *d = code->decision;
    size_t n = d->layer->elements;
    size_t bytes = n / 2 + n % 2;
    uint8_t *packed = scratch(e, code, bytes, 1);

    if (packed != NULL) {
        vqc_kernels_get()->u8_pack(code->codes, n, 4, packed);
        for (size_t i = 0; i < bytes && !d->has_zero_point; i++) {
            packed[i] ^= 0x88;
        }
        if (!d->has_zero_point && n % 2 != 0) {
            packed[bytes - 1] &= 0x0F;
        }
    }
    return vqc_emit_payload(e, "q", d->has_zero_point ? VQC_DTYPE_UINT4 : VQC_DTYPE_INT4,
                            d->layer->dims, d->layer->rank, packed, bytes);
}

static const char *native_uint4_zero_points(vqc_emitter *e, const vqc_code *code,
                                            const int64_t *dims, size_t rank)
{
    size_t groups = vqc_grouping_count(&code->decision->grouping);
    size_t bytes = groups / 2 + groups % 2;
    uint8_t *packed = scratch(e, code, bytes, 1);

    for (size_t g = 0; packed != NULL && g < groups; g++) {
        packed[g / 2] |= (uint8_t)(code->zero_points[g] << (g % 2 * 4));
    }
    return vqc_emit_payload(e, "z", VQC_DTYPE_UINT4, dims, rank, packed, bytes);
}

/* Signed codes need none, but ONNX Runtime makes no QGemm of a weight without. */
static bool writes_zero_points(const vqc_decision *d)
{
    return d->has_zero_point || !d->is_signed ||
           (d->is_static && strcmp(d->layer->op, "Gemm") == 0);
}

/* Zero points of a sparse code, [C] or one, in a shape that broadcasts against the weight. */
static const char *along_axis(vqc_emitter *e, const vqc_code *code, const char *zeros)
{
    int64_t dims[MAX_RANK];
    size_t rank = vqc_emit_scale_shape(code, dims);

    return code->sparse == NULL || rank <= 1 ? zeros
                                             : vqc_emit_reshape(e, zeros, dims, rank, VQC_FRESH);
}

void vqc_emit_dequantize(vqc_emitter *e, const vqc_code *code)
{
    const vqc_decision *d = code->decision;
    const vqc_grouping *g = &d->grouping;
    const vqc_layer *layer = d->layer;
    bool native4 = d->bits == 4 && e->opset >= 21 && code->sparse == NULL;
    int axis = g->is_blocked ? layer->reduction_axis : layer->channel_axis;
    int64_t dims[MAX_RANK];
    size_t rank = 0;
    const char *q;
    const char *z = NULL;
    const char *s;

    if (g->is_blocked) {
        rank = layer->rank < MAX_RANK ? layer->rank : MAX_RANK;
        memcpy(dims, layer->dims, rank * sizeof *dims);
        dims[axis] = (int64_t)g->blocks;
    } else if (g->len > 1) {
        dims[rank++] = (int64_t)g->len;
    }
    if (native4) {
        q = native_int4(e, code);
        z = d->has_zero_point ? native_uint4_zero_points(e, code, dims, rank) : NULL;
    } else if (d->bits >= 8) {
        z = writes_zero_points(d) ? whole_zero_points(e, code, dims, rank) : NULL;
        q = whole_codes(e, code, d->has_zero_point ? along_axis(e, code, z) : NULL, layer->dims,
                        layer->rank);
    } else {
        const char *zeros = NULL;
        if (d->has_zero_point) {
            z = whole_zero_points(e, code, dims, rank);
            zeros = code->sparse == NULL
                        ? NULL
                        : vqc_emit_cast(e, along_axis(e, code, z), VQC_DTYPE_FLOAT, VQC_FRESH);
        }
        q = float_codes(e, code, zeros, layer->dims, layer->rank);
        if (d->has_zero_point) {
            q = vqc_emit_cast(e, q, VQC_DTYPE_UINT8, VQC_FRESH);
        } else { /* signed codes need no zero point per channel */
            q = vqc_emit_cast(e, centred(e, code, q, NULL), VQC_DTYPE_INT8, VQC_FRESH);
        }
    }
    s = vqc_emit_scales(e, code, dims, rank);
    (void)vqc_emit_node(e, "DequantizeLinear", layer->value->name, q, s, z);
    if (rank > 0 && axis != 1) { /* 1 is the default */
        vqc_emit_attr_int(e, "axis", axis);
    }
    if (g->is_blocked) {
        vqc_emit_attr_int(e, "block_size", (int64_t)g->block);
    }
    if (e->status == VQC_OK) {
        e->status = vqc_patch_remove_constant(e->patch, layer->value, e->error);
    }
}
