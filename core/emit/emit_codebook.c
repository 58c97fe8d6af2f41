/* Patterns of vector quantization: indices -> Gather from a codebook -> the weight. */
#include <string.h>

#include "core/codec/vq_form.h"
#include "core/emit/patterns.h"

enum {
    PLANE_NODE_BYTES = 150 /* about what the nodes of one bit plane take in the file */
};

/* One weight being written. */
typedef struct codebook_pattern {
    vqc_emitter *e;
    const vqc_code *code;
    const vqc_decision *decision;
    const vqc_layer *layer;
    const vqc_vq_layout *layout;
    const vqc_vq_shape *shape;
    const vqc_vq_code *vq; /* NULL: only sizes are known */
    size_t lines, blocks, books;
    size_t vectors;  /* whose indices are stored */
    bool is_integer; /* int8 codewords in front of DequantizeLinear */
    bool is_half;    /* float16 all the way */
    bool is_packed;  /* sub-vectors are of the weights that are not 0 */
} codebook_pattern;

/* A copy of `bytes` that lives as long as the model; NULL while only sizes matter. */
static const void *copy_of(const codebook_pattern *p, const void *from, size_t bytes)
{
    void *copy;

    if (p->e->status != VQC_OK || p->vq == NULL) {
        return NULL;
    }
    copy = vqc_arena_alloc(p->e->arena, bytes);
    if (copy == NULL) {
        vqc_emit_fail(p->e);
        return NULL;
    }
    memcpy(copy, from, bytes);
    return copy;
}

static uint8_t *new_bytes(const codebook_pattern *p, size_t count)
{
    uint8_t *bytes;

    if (p->e->status != VQC_OK || p->vq == NULL) {
        return NULL;
    }
    bytes = vqc_arena_alloc(p->e->arena, count);
    if (bytes == NULL) {
        vqc_emit_fail(p->e);
    }
    return bytes;
}

/* ---- indices ---- */

/* Bits as they are stored: whole bytes or words where bit planes would save less than their nodes
 * take. */
static int stored_bits(const vqc_vq_shape *shape, size_t vectors)
{
    int bits = vqc_vq_index_bits(shape);
    int whole = bits <= 8 ? 8 : 16;
    int rest = bits & 7;
    size_t planes = (size_t)((rest >> 2 & 1) + (rest >> 1 & 1) + (rest & 1));

    return vectors / 8 * (size_t)(whole - bits) <= planes * PLANE_NODE_BYTES ? whole : bits;
}

size_t vqc_emit_index_bytes(const vqc_vq_shape *shape, size_t vectors)
{
    int bits = stored_bits(shape, vectors);
    size_t bytes = vectors * (size_t)(bits / 8);

    for (size_t width = 1; width <= 4; width *= 2) {
        if (((size_t)bits & width) != 0) {
            bytes += (vectors * width + 7) / 8;
        }
    }
    return bytes * shape->stages;
}

/* Stored index i of a stage. */
static uint16_t index_at(const codebook_pattern *p, size_t stage, size_t i)
{
    bool is_sparse = p->code->sparse != NULL && !p->is_packed;

    return p->vq->indices[stage * p->vq->vectors + (is_sparse ? p->code->sparse->positions[i] : i)];
}

/* The indices of one stage as words. */
static uint8_t *words_of_indices(const codebook_pattern *p, size_t stage)
{
    uint8_t *words = new_bytes(p, p->vectors * 2);

    for (size_t i = 0; words != NULL && i < p->vectors; i++) {
        uint16_t index = index_at(p, stage, i);
        memcpy(words + i * 2, &index, 2);
    }
    return words;
}

/* Bits `shift` and up of the indices of one stage, a byte each. */
static uint8_t *byte_of_indices(const codebook_pattern *p, size_t stage, int shift)
{
    uint8_t *bytes = new_bytes(p, p->vectors);

    for (size_t i = 0; bytes != NULL && i < p->vectors; i++) {
        bytes[i] = (uint8_t)(index_at(p, stage, i) >> shift);
    }
    return bytes;
}

/* The indices of one stage as int32 of shape dims. */
static const char *emit_indices(const codebook_pattern *p, size_t stage, const int64_t *dims,
                                size_t rank)
{
    vqc_emitter *e = p->e;
    int bits = stored_bits(p->shape, p->vectors);
    const char *name;
    const char *high;

    if (bits == 8) {
        name = vqc_emit_payload(e, "q", VQC_DTYPE_UINT8, dims, rank, byte_of_indices(p, stage, 0),
                                p->vectors);
    } else if (bits == 16) {
        name = vqc_emit_payload(e, "q", VQC_DTYPE_UINT16, dims, rank, words_of_indices(p, stage),
                                p->vectors * 2);
    } else if (bits < 8) {
        name = vqc_emit_unpack(e, byte_of_indices(p, stage, 0), p->vectors, bits, dims, rank);
    } else { /* the low byte whole, the rest in planes */
        name = vqc_emit_payload(e, "q", VQC_DTYPE_UINT8, dims, rank, byte_of_indices(p, stage, 0),
                                p->vectors);
        name = vqc_emit_cast(e, name, VQC_DTYPE_FLOAT, VQC_FRESH);
        high = vqc_emit_unpack(e, byte_of_indices(p, stage, 8), p->vectors, bits - 8, dims, rank);
        high = vqc_emit_node(e, "Mul", VQC_FRESH, high, vqc_emit_scalar_f32(e, 256.0f), NULL);
        name = vqc_emit_node(e, "Add", VQC_FRESH, name, high, NULL);
    }
    return vqc_emit_cast(e, name, VQC_DTYPE_INT32, VQC_FRESH);
}

/* int32 constant [count] of shape dims: i / repeat * each. */
static const char *emit_offsets(const codebook_pattern *p, const int64_t *dims, size_t rank,
                                size_t count, size_t repeat, size_t each)
{
    size_t bytes;
    int32_t *offsets;

    if (p->e->status != VQC_OK) {
        return "";
    }
    if (!vqc_size_mul(count, sizeof *offsets, &bytes) ||
        (offsets = vqc_arena_alloc(p->e->arena, bytes)) == NULL) {
        vqc_emit_fail(p->e);
        return "";
    }
    for (size_t i = 0; i < count; i++) {
        offsets[i] = (int32_t)(i / repeat * each);
    }
    return vqc_emit_shared(p->e, VQC_DTYPE_INT32, dims, rank, offsets, bytes);
}

/*
 * Indices into the codebooks of a stage lying one after the other. Groups of equal size are axes of
 * their own, [line groups, lines, block groups, blocks]; else every line and block has its offset.
 */
static const char *emit_grouped_indices(const codebook_pattern *p, size_t stage)
{
    const vqc_vq_shape *s = p->shape;
    size_t k = s->codebook_size;
    size_t line_run = (p->lines + s->line_groups - 1) / s->line_groups;
    size_t block_run = (p->blocks + s->block_groups - 1) / s->block_groups;
    const char *name;

    if (p->lines % s->line_groups == 0 && p->blocks % s->block_groups == 0) {
        const int64_t dims[4] = {(int64_t)s->line_groups, (int64_t)line_run,
                                 (int64_t)s->block_groups, (int64_t)block_run};
        const int64_t offset_dims[4] = {(int64_t)s->line_groups, 1, (int64_t)s->block_groups, 1};
        name = emit_indices(p, stage, dims, 4);
        return vqc_emit_node(p->e, "Add", VQC_FRESH, name,
                             emit_offsets(p, offset_dims, 4, p->books, 1, k), NULL);
    }
    const int64_t dims[2] = {(int64_t)p->lines, (int64_t)p->blocks};
    const int64_t line_dims[2] = {(int64_t)p->lines, 1};
    const int64_t block_dims[2] = {1, (int64_t)p->blocks};
    name = emit_indices(p, stage, dims, 2);
    if (s->line_groups > 1) {
        name = vqc_emit_node(p->e, "Add", VQC_FRESH, name,
                             emit_offsets(p, line_dims, 2, p->lines, line_run, k * s->block_groups),
                             NULL);
    }
    if (s->block_groups > 1) {
        name = vqc_emit_node(p->e, "Add", VQC_FRESH, name,
                             emit_offsets(p, block_dims, 2, p->blocks, block_run, k), NULL);
    }
    return name;
}

/* ---- codebooks ---- */

/* int8 codewords times the scale of their codebook, as float of shape dims. */
static const char *emit_scaled_codebook(const codebook_pattern *p, size_t stage, const char *name,
                                        const int64_t *dims, size_t rank)
{
    const int64_t scale_dims[3] = {(int64_t)p->books, 1, 1};
    const void *raw =
        p->vq == NULL ? NULL
                      : copy_of(p, p->vq->book_scales + stage * p->books, p->books * sizeof(float));
    const char *scale = vqc_emit_payload(p->e, "s", VQC_DTYPE_FLOAT, scale_dims,
                                         p->books == 1 ? 0 : 3, raw, p->books * sizeof(float));

    name = vqc_emit_cast(p->e, name, VQC_DTYPE_FLOAT, VQC_FRESH);
    name = vqc_emit_node(p->e, "Mul", VQC_FRESH, name, scale, NULL);
    return p->books == 1 ? name : vqc_emit_reshape(p->e, name, dims, rank, VQC_FRESH);
}

/* A codebook's payload: of its own, or one with what is equal in the model. */
static const char *emit_book(const codebook_pattern *p, vqc_dtype dtype, const int64_t *dims,
                             size_t rank, const void *from, size_t bytes)
{
    if (p->vq != NULL && p->decision->is_shared) {
        return vqc_emit_shared(p->e, dtype, dims, rank, from, bytes);
    }
    return vqc_emit_payload(p->e, "b", dtype, dims, rank,
                            p->vq == NULL ? NULL : copy_of(p, from, bytes), bytes);
}

/* The codebooks of one stage, [books * K, dim], or [K] of scalars: float, float16 or int8. */
static const char *emit_codebooks(const codebook_pattern *p, size_t stage)
{
    const vqc_vq_shape *s = p->shape;
    const vqc_vq_code *vq = p->vq;
    size_t n = p->books * s->codebook_size * s->dim;
    const int64_t dims[2] = {(int64_t)(p->books * s->codebook_size), (int64_t)s->dim};
    const int64_t grouped[3] = {(int64_t)p->books, (int64_t)s->codebook_size, (int64_t)s->dim};
    size_t rank = s->dim == 1 ? 1 : 2;
    const char *name;

    switch (s->storage) {
    case VQC_VQ_STORAGE_FLOAT32:
        return emit_book(p, VQC_DTYPE_FLOAT, dims, rank,
                         vq == NULL ? NULL : vq->codebooks + stage * n, n * sizeof(float));
    case VQC_VQ_STORAGE_FLOAT16:
        name = emit_book(p, VQC_DTYPE_FLOAT16, dims, rank,
                         vq == NULL ? NULL : vq->codebooks_f16 + stage * n, n * 2);
        return p->is_half ? name : vqc_emit_cast(p->e, name, VQC_DTYPE_FLOAT, VQC_FRESH);
    case VQC_VQ_STORAGE_INT8: {
        const int8_t *codes = vq == NULL ? NULL : vq->codebooks_int8 + stage * n;
        if (p->is_integer || p->books == 1) {
            name = emit_book(p, VQC_DTYPE_INT8, dims, rank, codes, n);
            return p->is_integer ? name : emit_scaled_codebook(p, stage, name, dims, rank);
        }
        name = emit_book(p, VQC_DTYPE_INT8, grouped, 3, codes, n);
        return emit_scaled_codebook(p, stage, name, dims, rank);
    }
    }
    return "";
}

/* ---- the weight from its sub-vectors ---- */

static void attr_ints(vqc_emitter *e, const char *name, const int64_t *values, size_t count)
{
    if (e->status == VQC_OK && !vqc_node_add_ints(e->arena, e->last, name, values, count)) {
        vqc_emit_fail(e);
    }
}

/* What comes behind the sub-vectors; the last of these takes the weight's name. */
typedef struct steps {
    bool reshape, transpose, scale, cast;
} steps;

static const char *target_of(const codebook_pattern *p, bool more)
{
    return more ? VQC_FRESH : p->layer->value->name;
}

/* The scales of the rows, broadcast against the tensor. */
static const char *emit_row_scales(const codebook_pattern *p)
{
    const vqc_vq_shape *s = p->shape;
    int64_t dims[VQC_LAYER_MAX_RANK];
    uint16_t *half = NULL;
    const char *name;
    size_t first = s->down_rows ? p->layout->rank - p->layout->row_axes : 0;

    for (size_t i = 0; i < p->layout->rank; i++) {
        dims[i] = 1;
    }
    for (size_t i = first; i < first + p->layout->row_axes; i++) {
        dims[p->layout->axes[i]] = p->layer->dims[p->layout->axes[i]];
    }
    if (p->vq != NULL && p->e->status == VQC_OK) {
        half = vqc_arena_alloc(p->e->arena, s->rows * sizeof *half);
        if (half == NULL) {
            vqc_emit_fail(p->e);
            return "";
        }
        vqc_kernels_get()->f32_f16_convert(p->vq->row_scales, s->rows, half);
    }
    name = vqc_emit_payload(p->e, "s", VQC_DTYPE_FLOAT16, dims, p->layout->rank, half, s->rows * 2);
    return vqc_emit_cast(p->e, name, VQC_DTYPE_FLOAT, VQC_FRESH);
}

/* DequantizeLinear with one scale, or one per row. */
static void emit_dequantize(const codebook_pattern *p, const char *codes)
{
    const vqc_vq_shape *s = p->shape;
    bool by_row = s->row_scales || p->books > 1;
    size_t n = by_row ? s->rows : 1;
    const int64_t dims[1] = {(int64_t)n};
    float *scales = NULL;
    const char *name;
    const char *zero = NULL;

    if (p->vq != NULL && p->e->status == VQC_OK) {
        scales = vqc_arena_alloc(p->e->arena, n * sizeof *scales);
        if (scales == NULL) {
            vqc_emit_fail(p->e);
            return;
        }
        for (size_t i = 0; i < n; i++) {
            scales[i] = vqc_vq_dequantize_scale(p->vq, i);
        }
    }
    name = vqc_emit_payload(p->e, "s", VQC_DTYPE_FLOAT, dims, by_row ? 1 : 0, scales,
                            n * sizeof *scales);
    if (p->decision->is_static && strcmp(p->layer->op, "Gemm") == 0) {
        /* ONNX Runtime makes no QGemm of a weight without */
        uint8_t *raw = new_bytes(p, n);
        if (raw != NULL) {
            memset(raw, 0, n);
        }
        zero = vqc_emit_payload(p->e, "z", VQC_DTYPE_INT8, dims, by_row ? 1 : 0, raw, n);
    }
    (void)vqc_emit_node(p->e, "DequantizeLinear", p->layer->value->name, codes, name, zero);
    if (by_row && p->layer->channel_axis != 1) { /* 1 is the default */
        vqc_emit_attr_int(p->e, "axis", p->layer->channel_axis);
    }
}

/* A bit per weight in the order of the tensor, a byte each; NULL while only sizes matter. */
static uint8_t *mask_of_tensor(const codebook_pattern *p)
{
    size_t n = p->layer->elements;
    uint8_t *bits = new_bytes(p, n);
    vqc_arena *arena = bits == NULL ? NULL : vqc_arena_create();
    float *matrix = arena == NULL ? NULL : vqc_arena_calloc(arena, n, sizeof *matrix);
    float *tensor = arena == NULL ? NULL : vqc_arena_calloc(arena, n, sizeof *tensor);

    if (bits != NULL && (matrix == NULL || tensor == NULL)) {
        vqc_emit_fail(p->e);
        bits = NULL;
    }
    for (size_t i = 0; bits != NULL && i < n; i++) {
        matrix[i] = (float)p->vq->mask[i];
    }
    if (bits != NULL) {
        vqc_vq_layout_put(p->layout, p->layer, matrix, tensor);
    }
    for (size_t i = 0; bits != NULL && i < n; i++) {
        bits[i] = tensor[i] != 0.0f;
    }
    vqc_arena_destroy(&arena);
    return bits;
}

/* 0 where the weight is: times the mask, integers as int32 (ONNX Runtime multiplies no int8). */
static const char *emit_masked(const codebook_pattern *p, const char *name, const char *output)
{
    const char *mask = vqc_emit_unpack(p->e, mask_of_tensor(p), p->layer->elements, 1,
                                       p->layer->dims, p->layer->rank);

    if (!p->is_integer) {
        return vqc_emit_node(p->e, "Mul", output, name, mask, NULL);
    }
    name = vqc_emit_cast(p->e, name, VQC_DTYPE_INT32, VQC_FRESH);
    mask = vqc_emit_cast(p->e, mask, VQC_DTYPE_INT32, VQC_FRESH);
    name = vqc_emit_node(p->e, "Mul", VQC_FRESH, name, mask, NULL);
    return vqc_emit_cast(p->e, name, VQC_DTYPE_INT8, output);
}

/* Sub-vectors [.., dim] of all lines in the order of the layout -> the tensor. */
static void emit_tensor(const codebook_pattern *p, const char *name, const steps *todo)
{
    const vqc_vq_shape *s = p->shape;
    const vqc_vq_layout *layout = p->layout;
    size_t length = s->down_rows ? s->rows : s->cols;
    int64_t dims[VQC_LAYER_MAX_RANK];
    int64_t order[VQC_LAYER_MAX_RANK];
    bool more = p->is_integer || todo->cast || s->is_masked;

    if (!p->is_packed &&
        p->blocks * s->dim != length) { /* the last sub-vector of a line is cut off */
        const int64_t line_dims[2] = {(int64_t)p->lines, (int64_t)(p->blocks * s->dim)};
        name = vqc_emit_reshape(p->e, name, line_dims, 2, VQC_FRESH);
        name = vqc_emit_take(p->e, name, 1, (int64_t)length, VQC_FRESH);
    }
    for (size_t i = 0; i < layout->rank; i++) {
        dims[i] = p->layer->dims[todo->transpose ? layout->axes[i] : i];
        order[layout->axes[i]] = (int64_t)i;
    }
    if (todo->reshape) {
        name = vqc_emit_reshape(p->e, name, dims, layout->rank,
                                target_of(p, more || todo->transpose || todo->scale));
    }
    if (todo->transpose) {
        name =
            vqc_emit_node(p->e, "Transpose", target_of(p, more || todo->scale), name, NULL, NULL);
        attr_ints(p->e, "perm", order, layout->rank);
    }
    if (todo->scale) {
        name = vqc_emit_node(p->e, "Mul", target_of(p, more), name, emit_row_scales(p), NULL);
    }
    if (s->is_masked) {
        name = emit_masked(p, name, target_of(p, p->is_integer || todo->cast));
    }
    if (p->is_integer) {
        emit_dequantize(p, name);
    } else if (todo->cast) {
        (void)vqc_emit_cast(p->e, name, (vqc_dtype)p->layer->dtype, p->layer->value->name);
    }
}

/* The sum over the stages, [.., dim] or in the order of the tensor's axes when `dims` has them. */
static const char *emit_stages(const codebook_pattern *p, const int64_t *dims, size_t rank,
                               const char *last)
{
    const char *sum = "";

    for (size_t stage = 0; stage < p->shape->stages; stage++) {
        const char *index =
            p->books > 1 ? emit_grouped_indices(p, stage) : emit_indices(p, stage, dims, rank);
        const char *book = emit_codebooks(p, stage);
        bool ends = stage + 1 == p->shape->stages;
        const char *name =
            vqc_emit_node(p->e, "Gather", ends && stage == 0 ? last : VQC_FRESH, book, index, NULL);
        sum = stage == 0 ? name
                         : vqc_emit_node(p->e, "Add", ends ? last : VQC_FRESH, sum, name, NULL);
    }
    return sum;
}

/* Sub-vectors of the weights that are not 0 spread to shape dims. */
static const char *emit_packed(const codebook_pattern *p, const int64_t *dims, size_t rank,
                               const char *last)
{
    const int64_t vectors[1] = {(int64_t)p->vectors};
    const int64_t flat[1] = {(int64_t)(p->vectors * p->shape->dim)};
    const char *values = emit_stages(p, vectors, 1, VQC_FRESH);

    values = vqc_emit_reshape(p->e, values, flat, 1, VQC_FRESH);
    return vqc_emit_sparse_packed(p->e, p->code->sparse, values, dims, rank, last);
}

/* The index of the codeword 0: that of a sub-vector that is not kept. */
static int32_t index_of_zero(const codebook_pattern *p)
{
    const vqc_sparse *sparse = p->code->sparse;
    size_t entry = 0;
    size_t v = 0;

    if (p->vq == NULL || sparse->positions == NULL) {
        return 0;
    }
    if (sparse->form == VQC_SPARSE_MASK) {
        return p->vq->indices[sparse->positions[0]];
    }
    while (entry < sparse->entries && sparse->positions[entry] == v) {
        entry++;
        v++;
    }
    return v < p->vq->vectors ? p->vq->indices[v] : 0; /* else every one is stored */
}

/* Sub-vectors of several weights: indices spread, then looked up, [vectors, dim]. */
static const char *emit_sparse_vectors(const codebook_pattern *p)
{
    const vqc_sparse *sparse = p->code->sparse;
    const int64_t stored[1] = {(int64_t)sparse->entries};
    const int64_t all[1] = {(int64_t)sparse->elements};
    const int32_t nothing = index_of_zero(p);
    const vqc_emit_zero zero = {.dtype = VQC_DTYPE_INT32, .raw = &nothing};
    const char *index = emit_indices(p, 0, stored, 1);

    index = vqc_emit_sparse(p->e, sparse, index, &zero, all, 1, VQC_FRESH);
    return vqc_emit_node(p->e, "Gather", VQC_FRESH, emit_codebooks(p, 0), index, NULL);
}

/* Scalars of the stored indices spread to shape dims. */
static const char *emit_sparse(const codebook_pattern *p, const int64_t *dims, size_t rank,
                               const char *last)
{
    const int64_t stored[1] = {(int64_t)p->vectors};
    const float nothing = 0.0f;
    const vqc_emit_zero zero = {.dtype = p->is_integer ? VQC_DTYPE_INT8
                                         : p->is_half  ? VQC_DTYPE_FLOAT16
                                                       : VQC_DTYPE_FLOAT,
                                .raw = &nothing};
    const char *values = emit_stages(p, stored, 1, VQC_FRESH);

    return vqc_emit_sparse(p->e, p->code->sparse, values, &zero, dims, rank, last);
}

void vqc_emit_codebook(vqc_emitter *e, const vqc_code *code)
{
    const vqc_decision *d = code->decision;
    vqc_vq_shape shape = code->vq != NULL ? code->vq->shape : d->vq;
    const vqc_vq_shape *s = &shape;
    const vqc_layer *layer = d->layer;
    bool is_packed = code->sparse != NULL && vqc_vq_is_packed(s);
    if (!is_packed) {
        shape.packed = 0; /* of a packed code this is its size with all zeros stored */
    }
    codebook_pattern p = {
        .e = e,
        .code = code,
        .decision = d,
        .layer = layer,
        .layout = &d->vq_layout,
        .shape = s,
        .vq = code->vq,
        .lines = vqc_vq_lines(s),
        .blocks = vqc_vq_blocks(s),
        .books = vqc_vq_books(s),
        .vectors = code->sparse != NULL && !is_packed ? code->sparse->entries : vqc_vq_vectors(s),
        .is_packed = is_packed,
        .is_integer = d->form == VQC_FORM_DEQUANTIZE,
        .is_half = layer->dtype == VQC_DTYPE_FLOAT16 && s->storage == VQC_VQ_STORAGE_FLOAT16 &&
                   s->stages == 1 && !s->row_scales && !is_packed && !s->is_masked,
    };
    steps todo = {
        .transpose = p.layout->is_permuted,
        .scale = s->row_scales && !p.is_integer,
        .cast = layer->dtype != VQC_DTYPE_FLOAT && !p.is_half,
    };
    int64_t dims[VQC_LAYER_MAX_RANK] = {(int64_t)p.lines, (int64_t)p.blocks};
    size_t rank = 2;
    const char *last;

    todo.reshape = !is_packed && (s->dim > 1 || p.books > 1);
    if (!todo.reshape) { /* scalars: the indices already have the tensor's shape */
        rank = p.layout->rank;
        for (size_t i = 0; i < rank; i++) {
            dims[i] = layer->dims[todo.transpose ? p.layout->axes[i] : i];
        }
    }
    last = todo.reshape || todo.transpose || todo.scale || todo.cast || p.is_integer || s->is_masked
               ? VQC_FRESH
               : layer->value->name;
    if (code->sparse == NULL) {
        last = emit_stages(&p, dims, rank, last);
    } else if (is_packed) {
        last = emit_packed(&p, dims, rank, last);
    } else {
        last = s->dim > 1 ? emit_sparse_vectors(&p) : emit_sparse(&p, dims, rank, last);
    }
    emit_tensor(&p, last, &todo);
    if (e->status == VQC_OK) {
        e->status = vqc_patch_remove_constant(e->patch, layer->value, e->error);
    }
}
