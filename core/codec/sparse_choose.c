#include "core/codec/sparse_choose.h"

#include <string.h>

#include "core/number_text.h"
#include "core/tensor.h"

enum {
    FEW_ZEROS = 10,   /* no blocks are looked for where fewer than one weight in so many is 0 */
    STRAY_ZEROS = 50, /* one zero in so many may lie outside of blocks, and is kept */
    MAX_BLOCK = 1024  /* weights that share a bit */
};

static bool is_float_codec(const vqc_decision *d)
{
    return d->codec == &vqc_codec_float16 || d->codec == &vqc_codec_bfloat16 ||
           d->codec == &vqc_codec_float8e4m3fn || d->codec == &vqc_codec_float8e5m2;
}

const char *vqc_sparse_obstacle(const vqc_decision *d)
{
    if (d->spec.sparse == VQC_SWITCH_OFF) {
        return "the recipe says sparse: off";
    }
    if (d->layer->scope->opset < VQC_SPARSE_OPSET) {
        return "CumSum needs opset 11";
    }
    if (d->layer->elements > INT32_MAX) {
        return "more than 2^31 weights";
    }
    if (d->codec == &vqc_codec_vq && vqc_vq_is_packed(&d->vq)) {
        return NULL;
    }
    if (d->codec == &vqc_codec_vq && d->vq.is_masked && !(d->vq_effort.kept_share > 0.0)) {
        return "they stay exact by a bit per weight beside all indices";
    }
    if (d->codec == &vqc_codec_vq && d->vq.dim > 1 && !(d->vq_effort.kept_share > 0.0)) {
        return "no codeword of several weights is 0";
    }
    if (d->codec == &vqc_codec_vq) {
        return d->vq.stages > 1 || vqc_vq_books(&d->vq) > 1 || d->is_shared
                   ? "indices have a sparse form with a single codebook of the layer's own only"
                   : NULL;
    }
    if (d->codec == &vqc_codec_exact) {
        return d->layer->dtype == VQC_DTYPE_BFLOAT16 && d->layer->scope->opset < 20
                   ? "ConstantOfShape of bfloat16 needs opset 20"
                   : NULL;
    }
    if (d->codec != &vqc_codec_int && !is_float_codec(d)) {
        return "the codec has no sparse form";
    }
    if (d->form != VQC_FORM_FOLDABLE && d->form != VQC_FORM_DEQUANTIZE &&
        d->form != VQC_FORM_DYNAMIC_MATMUL && d->form != VQC_FORM_DYNAMIC_CONV) {
        return "the operator takes dense codes only";
    }
    if (d->form != VQC_FORM_FOLDABLE && d->form != VQC_FORM_DEQUANTIZE && d->has_zero_point) {
        return "the operator has a zero point per channel";
    }
    if (d->form == VQC_FORM_DEQUANTIZE && d->has_zero_point &&
        (d->grouping.is_blocked || d->bits > 8)) {
        return "DequantizeLinear with a zero point per block";
    }
    if (d->codec == &vqc_codec_bfloat16 && d->layer->scope->opset < 13) {
        return "Cast of bfloat16 needs opset 13";
    }
    return NULL;
}

/* Bytes that the code adds to the file in this storage (NULL: dense). */
static vqc_status weigh(vqc_graph *graph, const vqc_decision *d, const vqc_sparse *sparse,
                        size_t *bytes, vqc_error *error)
{
    const vqc_code code = {.decision = d, .sparse = sparse};
    vqc_patch *patch = vqc_patch_create(graph);
    vqc_emitter emitter = {
        .graph = graph,
        .patch = patch,
        .scope = d->layer->scope,
        .arena = graph->model->arena,
        .error = error,
        .opset = d->layer->scope->opset,
    };

    if (patch == NULL) {
        return vqc_fail_memory(error, 0);
    }
    d->codec->emit(&emitter, &code);
    *bytes = vqc_patch_added_bytes(patch);
    vqc_patch_drop(patch);
    return emitter.status;
}

/* Weighs a form and takes it when it is smaller than what was best. */
static vqc_status try_form(vqc_graph *graph, const vqc_decision *d, const vqc_sparse *form,
                           vqc_sparse *best, vqc_sparse_cost *cost, vqc_error *error)
{
    size_t bytes;
    vqc_status status = weigh(graph, d, form, &bytes, error);

    if (status != VQC_OK) {
        return status;
    }
    if (cost->sparse_bytes == 0 || bytes < cost->sparse_bytes) {
        cost->sparse_bytes = bytes;
        cost->sparse_name = vqc_sparse_name(form);
    }
    if (bytes < cost->bytes) {
        *best = *form;
        cost->bytes = bytes;
    }
    return VQC_OK;
}

/* 1 where the tensor has any bit set, else 0, in `arena`: a double below the range of float, or a
 * -0, is no 0. */
static vqc_status kept_bits(const vqc_layer *layer, vqc_arena *arena, const float **out,
                            vqc_error *error)
{
    size_t n = layer->elements;
    float *kept = vqc_arena_calloc(arena, n + 1, sizeof *kept);
    const void *raw;
    size_t size;
    vqc_status status = kept == NULL
                            ? vqc_fail_memory(error, n * sizeof *kept)
                            : vqc_tensor_borrow_raw(layer->tensor, arena, &raw, &size, error);

    for (size_t i = 0; i < n && status == VQC_OK; i++) {
        size_t width = size / n;
        uint64_t bits = 0;
        memcpy(&bits, (const char *)raw + i * width, width);
        kept[i] = bits != 0 ? 1.0f : 0.0f;
    }
    *out = kept;
    return status;
}

/* Whether a code is that of a sub-vector of several weights in its place. */
static bool codes_vectors(const vqc_decision *d)
{
    return d->codec == &vqc_codec_vq && d->vq.dim > 1 && !vqc_vq_is_packed(&d->vq);
}

/* 1 where a sub-vector has an entry that is not 0, else 0, in `arena`. */
static vqc_status kept_vectors(const vqc_decision *d, const float *x, vqc_arena *arena,
                               const float **out, vqc_error *error)
{
    const vqc_vq_shape *s = &d->vq;
    size_t blocks = vqc_vq_blocks(s);
    float *matrix = vqc_arena_calloc(arena, d->layer->elements, sizeof *matrix);
    float *kept = vqc_arena_calloc(arena, vqc_vq_vectors(s), sizeof *kept);

    if (matrix == NULL || kept == NULL) {
        return vqc_fail_memory(error, d->layer->elements * sizeof *matrix);
    }
    vqc_vq_layout_take(&d->vq_layout, d->layer, x, matrix);
    for (size_t r = 0; r < s->rows; r++) {
        for (size_t c = 0; c < s->cols; c++) {
            if (matrix[r * s->cols + c] != 0.0f) {
                kept[s->down_rows ? c * blocks + r / s->dim : r * blocks + c / s->dim] = 1.0f;
            }
        }
    }
    *out = kept;
    return VQC_OK;
}

/* How many codes of this decision there are: one per weight, or per sub-vector. */
static size_t stored_count(const vqc_decision *d)
{
    return codes_vectors(d) ? vqc_vq_vectors(&d->vq) : d->layer->elements;
}

/* The weights in the order in which the codec stores their codes, or for sub-vectors of several
 * weights anything that is 0 where all of them are: *out is x, or in `arena`. */
static vqc_status in_stored_order(const vqc_decision *d, const float *x, vqc_arena *arena,
                                  const float **out, vqc_error *error)
{
    vqc_vq_layout layout = d->vq_layout;
    float *stored;

    *out = x;
    if (codes_vectors(d)) {
        return kept_vectors(d, x, arena, out, error);
    }
    if (d->codec == &vqc_codec_exact) {
        return kept_bits(d->layer, arena, out, error);
    }
    if (d->codec != &vqc_codec_vq || !layout.is_permuted) {
        return VQC_OK;
    }
    stored = vqc_arena_calloc(arena, d->layer->elements, sizeof *stored);
    if (stored == NULL) {
        return vqc_fail_memory(error, d->layer->elements * sizeof *stored);
    }
    layout.down_rows = false; /* entries as they come */
    vqc_vq_layout_take(&layout, d->layer, x, stored);
    *out = stored;
    return VQC_OK;
}

vqc_status vqc_sparse_count_layer(const vqc_decision *d, const float *weights,
                                  vqc_sparse_counts *counts, vqc_error *error)
{
    vqc_arena *arena = vqc_arena_create();
    const float *stored;
    vqc_status status = arena == NULL ? vqc_fail_memory(error, 0)
                                      : in_stored_order(d, weights, arena, &stored, error);

    if (status == VQC_OK) {
        vqc_sparse_count(stored, stored_count(d), counts);
    }
    vqc_arena_destroy(&arena);
    return status;
}

/* Codes in one index of the first axis, as the codec stores them. */
static size_t line_of(const vqc_decision *d)
{
    const vqc_layer *layer = d->layer;
    size_t axis = d->codec == &vqc_codec_vq && d->vq_layout.is_permuted ? d->vq_layout.axes[0] : 0;

    return layer->rank == 0 ? layer->elements : layer->elements / (size_t)layer->dims[axis];
}

/* Whether the zeros of x [n] still are in blocks of that size, but for a few; *form: their mask.
 */
static bool try_blocks(const float *x, size_t n, size_t line, size_t rows, size_t cols,
                       size_t zeros, float *filled, vqc_sparse *form)
{
    vqc_sparse_counts counts;

    if (n / line % rows != 0 || line % cols != 0 ||
        vqc_sparse_fill_blocks(x, n, line, rows, cols, filled) < zeros - zeros / STRAY_ZEROS) {
        return false;
    }
    vqc_sparse_count(filled, n, &counts);
    *form = vqc_sparse_of(&counts, VQC_SPARSE_MASK, 0);
    form->line = line;
    form->block_rows = rows;
    form->block_cols = cols;
    return true;
}

/* Weighs masks of blocks, each a small factor larger than the one before, while the zeros are in
 * such blocks. */
static vqc_status choose_blocks(vqc_graph *graph, const vqc_decision *d, const float *stored,
                                size_t zeros, bool exactly, vqc_sparse *sparse,
                                vqc_sparse_cost *cost, vqc_error *error)
{
    static const size_t factors[] = {7, 5, 3, 2}; /* pairs nearly fit blocks of 5 */
    enum { FACTORS = sizeof factors / sizeof factors[0] };
    size_t n = d->layer->elements;
    size_t line = line_of(d);
    size_t size[2] = {1, 1};
    vqc_arena *arena = vqc_arena_create();
    float *filled = arena == NULL ? NULL : vqc_arena_calloc(arena, n, sizeof *filled);
    vqc_status status = filled == NULL ? vqc_fail_memory(error, n * sizeof *filled) : VQC_OK;

    for (size_t step = 0; step < 2 * FACTORS && status == VQC_OK; step++) {
        size_t axis = step / FACTORS;
        vqc_sparse form;
        size[axis] *= factors[step % FACTORS];
        if (size[0] * size[1] > MAX_BLOCK ||
            !try_blocks(stored, n, line, size[0], size[1], zeros, filled, &form) ||
            (exactly && form.kept != n - zeros)) {
            size[axis] /= factors[step % FACTORS];
            continue;
        }
        status = try_form(graph, d, &form, sparse, cost, error);
        step--; /* the same factor again */
    }
    vqc_arena_destroy(&arena);
    return status;
}

/* vqc_sparse_choose for weights in the order in which their codes are stored. */
static vqc_status choose_stored(vqc_graph *graph, const vqc_decision *d, const float *stored,
                                vqc_sparse *sparse, vqc_sparse_cost *c, vqc_error *error)
{
    bool is_packed = d->codec == &vqc_codec_vq && vqc_vq_is_packed(&d->vq);
    vqc_sparse_counts counts;
    vqc_sparse form;
    vqc_status status;

    *c = (vqc_sparse_cost){.sparse_name = ""};
    status = weigh(graph, d, NULL, &c->dense_bytes, error);
    c->bytes = is_packed ? SIZE_MAX : c->dense_bytes; /* packed vectors have no dense form */
    if (status != VQC_OK) {
        return status;
    }
    vqc_sparse_count(stored, stored_count(d), &counts);
    *sparse = vqc_sparse_of(&counts, VQC_SPARSE_NONE, 0);
    if (counts.kept < counts.elements && vqc_sparse_obstacle(d) == NULL) {
        form = vqc_sparse_of(&counts, VQC_SPARSE_MASK, 0);
        status = try_form(graph, d, &form, sparse, c, error);
        for (int b = VQC_SPARSE_MIN_GAP_BITS; b != 0 && status == VQC_OK;
             b = vqc_sparse_next_gap_bits(b)) {
            form = vqc_sparse_of(&counts, VQC_SPARSE_GAPS, b);
            if (is_packed && form.entries != form.kept) {
                continue; /* entries in between have no codeword */
            }
            status = try_form(graph, d, &form, sparse, c, error);
        }
        if (status == VQC_OK && !codes_vectors(d) &&
            counts.elements - counts.kept >= counts.elements / FEW_ZEROS) {
            status = choose_blocks(graph, d, stored, counts.elements - counts.kept, is_packed,
                                   sparse, c, error);
        }
    }
    return status;
}

vqc_status vqc_sparse_choose(vqc_graph *graph, const vqc_decision *d, const float *weights,
                             vqc_sparse *sparse, vqc_sparse_cost *cost, vqc_error *error)
{
    vqc_sparse_cost local;
    vqc_arena *arena = vqc_arena_create();
    const float *stored;
    vqc_status status = arena == NULL ? vqc_fail_memory(error, 0)
                                      : in_stored_order(d, weights, arena, &stored, error);

    if (status == VQC_OK) {
        status = choose_stored(graph, d, stored, sparse, cost == NULL ? &local : cost, error);
    }
    vqc_arena_destroy(&arena);
    return status;
}

/* Whether all sub-vectors that are not kept have the same index: that of a codeword 0. */
static bool zeros_agree(const vqc_vq_code *vq, const float *kept)
{
    size_t first = SIZE_MAX;

    for (size_t v = 0; v < vq->vectors; v++) {
        if (kept[v] != 0.0f) {
            continue;
        }
        first = first == SIZE_MAX ? v : first;
        if (vq->indices[v] != vq->indices[first]) {
            return false;
        }
    }
    return true;
}

vqc_status vqc_sparse_settle(vqc_graph *graph, vqc_code *code, const float *weights,
                             vqc_arena *arena, vqc_sparse *sparse, vqc_error *error)
{
    size_t n = code->elements;
    float *decoded;
    const float *stored;
    vqc_sparse_cost cost;
    bool same = true;
    vqc_status status;

    code->sparse = NULL;
    if (sparse->form == VQC_SPARSE_NONE) {
        return VQC_OK;
    }
    decoded = vqc_arena_calloc(arena, n, sizeof *decoded);
    if (decoded == NULL) {
        return vqc_fail_memory(error, n * sizeof *decoded);
    }
    status = code->decision->codec->decode(code, arena, decoded, error);
    if (status != VQC_OK) {
        return status;
    }
    for (size_t i = 0; i < n; i++) {
        float weight;
        memcpy(&weight, (const char *)weights + i * sizeof weight, sizeof weight);
        same = same && (weight != 0.0f || decoded[i] == 0.0f);
        decoded[i] = weight != 0.0f ? weight : decoded[i];
    }
    status = in_stored_order(code->decision, decoded, arena, &stored, error);
    if (status == VQC_OK && !same) {
        status = choose_stored(graph, code->decision, stored, sparse, &cost, error);
    }
    if (status != VQC_OK || sparse->form == VQC_SPARSE_NONE) {
        return status;
    }
    if (codes_vectors(code->decision) && !zeros_agree(code->vq, stored)) {
        sparse->form = VQC_SPARSE_NONE;
        return VQC_OK;
    }
    if (sparse->block_rows * sparse->block_cols > 1) {
        float *filled = vqc_arena_calloc(arena, n, sizeof *filled);
        if (filled == NULL) {
            return vqc_fail_memory(error, n * sizeof *filled);
        }
        (void)vqc_sparse_fill_blocks(stored, n, sparse->line, sparse->block_rows,
                                     sparse->block_cols, filled);
        stored = filled;
    }
    code->sparse = sparse;
    return vqc_sparse_locate(sparse, stored, arena, error);
}

const char *vqc_sparse_pattern(const vqc_code *code, vqc_arena *arena)
{
    const char *name = vqc_form_name(code->decision->form);

    return code->sparse == NULL
               ? name
               : vqc_arena_printf(arena, "%s, %s", name, vqc_sparse_name(code->sparse));
}

const char *vqc_sparse_reason(const vqc_decision *d, const vqc_sparse *sparse,
                              const vqc_sparse_cost *cost, size_t notable, vqc_arena *arena)
{
    size_t zeros = sparse->elements - sparse->kept;
    double percent = 100.0 * (double)zeros / (double)sparse->elements;
    const char *obstacle = vqc_sparse_obstacle(d);
    const char *joint = d->reason[0] != '\0' ? "; " : "";
    bool was_kept = d->codec == &vqc_codec_exact; /* its reason is why it would be stored dense */

    if (sparse->form != VQC_SPARSE_NONE) {
        bool pays = cost->bytes < cost->dense_bytes; /* packed vectors may not */
        size_t gain = pays ? cost->dense_bytes - cost->bytes : cost->bytes - cost->dense_bytes;
        return vqc_arena_printf(arena, "%s%s%.1f%% zeros %s %s bytes: %s as %s, %s dense",
                                was_kept ? "" : d->reason, was_kept ? "" : joint, percent,
                                pays ? "save" : "cost", vqc_number(gain).text,
                                vqc_number(cost->bytes).text, vqc_sparse_name(sparse),
                                vqc_number(cost->dense_bytes).text);
    }
    if (d->codec == &vqc_codec_vq && d->vq.is_masked) {
        return vqc_arena_printf(arena, "%s%szeros stay exact by a bit per weight, %s bytes",
                                d->reason, joint, vqc_number((d->layer->elements + 7) / 8).text);
    }
    if (zeros < notable) {
        return d->reason;
    }
    if (obstacle != NULL || cost->sparse_bytes == 0) {
        return vqc_arena_printf(arena, "%s%s%.1f%% zeros gain nothing: %s", d->reason, joint,
                                percent, obstacle != NULL ? obstacle : "stored dense");
    }
    return vqc_arena_printf(arena, "%s%s%.1f%% zeros gain nothing: %s bytes dense, %s as %s",
                            d->reason, joint, percent, vqc_number(cost->dense_bytes).text,
                            vqc_number(cost->sparse_bytes).text, cost->sparse_name);
}
