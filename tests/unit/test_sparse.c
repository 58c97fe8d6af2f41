/*
 * Sparse storage: every form of every code is written at exactly the size that was foretold, and
 * the file decodes to the bits of the dense code; the smallest form is chosen.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/codec/sparse_choose.h"
#include "core/emit/patterns.h"
#include "core/exec/exec.h"
#include "core/inspect.h"
#include "tests/unit/coded_layer.h"

/* Gaussian values of which a share `zeros` is 0, exactly that many. */
static float *pruned(vqc_arena *arena, size_t n, double zeros, uint64_t seed)
{
    float *w = vqc_arena_calloc(arena, n + 1, sizeof *w);
    mb_random random = {seed};

    cr_assert_not_null(w);
    mb_random_fill(&random, w, n, 0.3f, 0.02f);
    for (size_t i = 0, left = (size_t)(zeros * (double)n + 0.5); i < n; i++) {
        if (mb_random_below(&random, n - i) < left) {
            w[i] = 0.0f;
            left--;
        }
    }
    return w;
}

/* ---- what is stored ---- */

/* Puts entries back in their places by plain loops. */
static void check_storage(const float *x, size_t n, vqc_sparse_form form, int bits)
{
    vqc_arena *arena = vqc_arena_create();
    float *stored = vqc_arena_calloc(arena, n + 2, sizeof *stored);
    float *back = vqc_arena_calloc(arena, n + 1, sizeof *back);
    uint8_t *side = vqc_arena_calloc(arena, n + 2, 2);
    vqc_sparse_counts counts;
    vqc_sparse sparse;
    size_t at = 0;

    vqc_sparse_count(x, n, &counts);
    sparse = vqc_sparse_of(&counts, form, bits);
    cr_assert(sparse.entries <= n + 1);
    cr_assert_eq(vqc_sparse_locate(&sparse, x, arena, NULL), VQC_OK);
    vqc_sparse_gather(&sparse, x, sizeof *x, stored);
    if (form == VQC_SPARSE_GAPS) {
        vqc_sparse_gaps(&sparse, side);
        for (size_t i = 0; i < sparse.entries; i++) {
            size_t gap = bits > 8 ? ((const uint16_t *)(const void *)side)[i] : side[i];
            cr_assert(gap < (size_t)1 << bits);
            cr_assert(i == 0 || gap > 0);
            at += gap;
            back[at] = stored[i];
        }
    } else {
        vqc_sparse_mask(&sparse, side);
        for (size_t i = 0; i < n; i++) {
            cr_assert(side[i] <= 1);
            at += side[i];
            back[i] = stored[side[i] * at];
        }
        cr_assert_eq(at + 1, sparse.entries);
    }
    cr_assert(memcmp(back, x, n * sizeof *x) == 0, "form %d, %d bits, %zu", (int)form, bits, n);
    vqc_arena_destroy(&arena);
}

Test(sparse, positions_are_found_again)
{
    static const double shares[] = {0.0, 0.3, 0.9, 0.99, 0.999, 1.0};
    vqc_arena *arena = vqc_arena_create();

    for (size_t n = 1; n < 5000; n += n < 70 ? 1 : 977) {
        for (size_t s = 0; s < sizeof shares / sizeof shares[0]; s++) {
            float *x = pruned(arena, n, shares[s], n * 7 + s);
            check_storage(x, n, VQC_SPARSE_MASK, 0);
            for (int b = VQC_SPARSE_MIN_GAP_BITS; b != 0; b = vqc_sparse_next_gap_bits(b)) {
                check_storage(x, n, VQC_SPARSE_GAPS, b);
            }
        }
    }
    vqc_arena_destroy(&arena);
}

/* One kept weight at a distance around every limit. */
Test(sparse, gaps_at_their_limits)
{
    static float x[2000];

    for (size_t at = 0; at < 800; at++) {
        for (int b = VQC_SPARSE_MIN_GAP_BITS; b != 0; b = vqc_sparse_next_gap_bits(b)) {
            memset(x, 0, sizeof x);
            x[at] = 1.0f;
            check_storage(x, 800, VQC_SPARSE_GAPS, b);
            x[0] = 2.0f;
            x[at + 600] = 3.0f;
            check_storage(x, 2000, VQC_SPARSE_GAPS, b);
        }
    }
}

/* ---- patterns ---- */

/* What the file decodes W to, against the codec's decode rounded to the layer's type. */
static void check_decoded(coded_layer *c, const char *what)
{
    vqc_model *again = mb_reopen(c->model);
    vqc_graph *graph = mb_index(again);
    float *wanted = coded_layer_decode(c);
    size_t n = c->layer->elements;
    vqc_buffer *got = NULL;
    vqc_error error = {0};
    Onnx__TensorProto *raw;

    cr_assert_eq(vqc_exec_constant(graph, mb_value(graph, "W"), NULL, &got, &error), VQC_OK,
                 "%s: %s", what, error.message);
    cr_assert(got->dtype == c->layer->dtype && got->elements == n && got->rank == c->layer->rank,
              "%s", what);
    cr_assert(memcmp(got->dims, c->layer->dims, got->rank * sizeof *got->dims) == 0, "%s", what);
    coded_layer_round((vqc_dtype)c->layer->dtype, wanted, n);
    raw = mb_float_tensor(c->model, "", (vqc_dtype)c->layer->dtype, c->layer->dims, c->layer->rank,
                          wanted);
    if (c->decision.codec == &vqc_codec_vq &&
        (vqc_vq_is_packed(&c->decision.vq) || c->decision.vq.is_masked)) {
        uint8_t *bytes = got->data;
        for (size_t i = 0; i < n; i++) { /* a 0 may be a -0 */
            uint64_t item = 0;
            memcpy(&item, bytes + i * got->width, got->width);
            item = item == (uint64_t)1 << (8 * got->width - 1) ? 0 : item;
            memcpy(bytes + i * got->width, &item, got->width);
            cr_assert(c->weights[i] != 0.0f || item == 0, "%s: no zero", what);
        }
    }
    cr_assert(memcmp(got->data, raw->raw_data.data, n * got->width) == 0,
              "%s: not what the codec decodes", what);
    vqc_buffer_destroy(&got);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&again);
}

typedef struct layer_case {
    const char *op;
    const char *inputs;
    int64_t dims[4];
    size_t rank;
} layer_case;

static const layer_case LAYERS[] = {
    {"MatMul", "x W", {33, 21}, 2},
    {"Conv", "x W", {20, 3, 3, 3}, 4},
    {"LSTM", "x W R", {2, 28, 9}, 3},
    {"MatMul", "x W", {517}, 1},
};
static const int64_t OPSETS[] = {11, 13, 21};
static const double SHARES[] = {0.0, 0.5, 0.9, 0.997, 1.0};

/* The layer in one form (bits 0: mask), as it is when the spec says sparse: on. Returns whether it
 * can be sparse. */
static bool write_form(const layer_case *layer, coded_layer_options o, const vqc_weight_spec *spec,
                       double zeros, int bits)
{
    vqc_arena *arena = vqc_arena_create();
    size_t n = coded_layer_elements(layer->dims, layer->rank);
    vqc_sparse_counts counts;
    vqc_sparse sparse;
    vqc_error error = {0};
    coded_layer c;
    char what[200];
    bool able;
    bool is_packed;

    o.op = layer->op;
    o.inputs = layer->inputs;
    c = coded_layer_make(&o, layer->dims, layer->rank, pruned(arena, n, zeros, n + (size_t)bits),
                         spec);
    if (strcmp(spec->codec, "int") == 0 && spec->sparse == VQC_SWITCH_ON) {
        c.decision.codec = &vqc_codec_exact;
        vqc_codec_exact.prepare(&c.decision, &c.target, NULL, &c.opset_wanted);
    }
    (void)snprintf(
        what, sizeof what, "%s opset %d type %d %s %d bits, granularity %d, %s%s, %g, %d", o.op,
        (int)o.opset, (int)o.dtype, spec->codec, spec->bits, (int)spec->granularity,
        vqc_form_name(c.decision.form), spec->symmetric ? "" : " asymmetric", zeros, bits);
    able = c.decision.form != VQC_FORM_KEEP && vqc_sparse_obstacle(&c.decision) == NULL;
    is_packed = c.decision.codec == &vqc_codec_vq && vqc_vq_is_packed(&c.decision.vq);
    if (able) {
        cr_assert_eq(vqc_sparse_count_layer(&c.decision, c.weights, &counts, &error), VQC_OK);
        sparse = vqc_sparse_of(&counts, bits == 0 ? VQC_SPARSE_MASK : VQC_SPARSE_GAPS, bits);
        able = !is_packed || sparse.form == VQC_SPARSE_MASK || sparse.entries == sparse.kept;
    }
    if (able) {
        vqc_code sizes = {.decision = &c.decision, .sparse = &sparse};
        vqc_patch *patch = coded_layer_emit(&c, &sizes);
        size_t added = vqc_patch_added_bytes(patch);
        vqc_patch_drop(patch);
        coded_layer_fit(&c);
        cr_assert_eq(vqc_sparse_settle(c.graph, &c.code, c.weights, c.arena, &sparse, &error),
                     VQC_OK, "%s: %s", what, error.message);
        cr_assert_eq(c.code.sparse, &sparse);
        patch = coded_layer_emit(&c, &c.code);
        cr_assert_eq(vqc_patch_added_bytes(patch), added, "%s: %zu, foretold %zu", what,
                     vqc_patch_added_bytes(patch), added);
        cr_assert_eq(vqc_patch_apply(patch, &error), VQC_OK, "%s", error.message);
        check_decoded(&c, what);
    }
    coded_layer_end(&c);
    vqc_arena_destroy(&arena);
    return able;
}

static coded_layer_options options_at(int64_t opset)
{
    coded_layer_options o = coded_layer_defaults();
    o.opset = opset;
    o.ir_version = opset < 21 ? 8 : 10;
    return o;
}

/* Every share of zeros in two forms. */
static size_t all_shares(const layer_case *layer, const coded_layer_options *o,
                         const vqc_weight_spec *spec)
{
    size_t written = 0;

    for (size_t s = 0; s < sizeof SHARES / sizeof SHARES[0]; s++) {
        int bits = 2 + (int)(s + layer->rank) % 8;
        written += write_form(layer, *o, spec, SHARES[s], bits == 9 ? 16 : bits) ? 1 : 0;
        written += write_form(layer, *o, spec, SHARES[s], 0) ? 1 : 0;
    }
    return written;
}

static void all_ints(vqc_pattern pattern, vqc_dtype dtype)
{
    static const int bits[] = {2, 3, 4, 6, 8, 16};
    size_t written = 0;

    for (size_t i = 0; i < 4 * 3 * 6 * 3 * 2; i++) {
        coded_layer_options o = options_at(OPSETS[i / 4 % 3]);
        vqc_weight_spec spec =
            coded_layer_spec("int", bits[i / 12 % 6], (vqc_granularity)(i / 72 % 3), i / 216 == 0);
        spec.pattern = pattern;
        spec.block_size = i % 2 == 0 ? 7 : 3;
        o.dtype = dtype;
        o.as_constant = i % 5 == 0;
        written += all_shares(&LAYERS[i % 4], &o, &spec);
    }
    cr_assert_gt(written, 500);
}

Test(sparse, foldable_ints)
{
    all_ints(VQC_PATTERN_FOLDABLE, VQC_DTYPE_FLOAT);
}
Test(sparse, foldable_ints_of_float16)
{
    all_ints(VQC_PATTERN_FOLDABLE, VQC_DTYPE_FLOAT16);
}
Test(sparse, dequantize_linear)
{
    all_ints(VQC_PATTERN_DEQUANTIZE_LINEAR, VQC_DTYPE_FLOAT);
}

Test(sparse, float_codecs)
{
    static const char *const codecs[] = {"float16", "bfloat16", "float8e4m3fn", "float8e5m2"};
    size_t written = 0;

    for (size_t i = 0; i < 4 * 4 * 3 * 2; i++) {
        coded_layer_options o = options_at(OPSETS[i / 16 % 3]);
        vqc_weight_spec spec =
            coded_layer_spec(codecs[i / 4 % 4], 8, VQC_GRANULARITY_CHANNEL, true);
        o.dtype = i / 48 == 0 ? VQC_DTYPE_FLOAT : VQC_DTYPE_DOUBLE;
        written += all_shares(&LAYERS[i % 4], &o, &spec);
    }
    cr_assert_gt(written, 500);
}

/* Weights that stay, of every type. */
Test(sparse, kept_floats)
{
    static const vqc_dtype dtypes[] = {VQC_DTYPE_FLOAT, VQC_DTYPE_FLOAT16, VQC_DTYPE_DOUBLE,
                                       VQC_DTYPE_BFLOAT16};
    size_t written = 0;

    for (size_t i = 0; i < 4 * 4 * 3; i++) {
        coded_layer_options o = options_at(OPSETS[i / 16]);
        vqc_weight_spec spec = coded_layer_spec("int", 8, VQC_GRANULARITY_TENSOR, true);
        spec.sparse = VQC_SWITCH_ON;
        o.dtype = dtypes[i / 4 % 4];
        o.as_constant = i % 3 == 0;
        written += all_shares(&LAYERS[i % 4], &o, &spec);
    }
    cr_assert_eq(written, (3 * 3 + 1) * 4 * 5 * 2); /* bfloat16 from opset 20 on */
}

/* Only what has no bit set is left out: a -0 is stored. */
Test(sparse, kept_floats_are_the_same_bits)
{
    const int64_t dims[2] = {64, 64};
    vqc_arena *arena = vqc_arena_create();
    vqc_weight_spec spec = coded_layer_spec("int", 8, VQC_GRANULARITY_TENSOR, true);
    coded_layer_options o = options_at(13);
    float *values = pruned(arena, 4096, 0.9, 5);
    vqc_sparse_counts counts;
    vqc_sparse sparse;
    vqc_error error = {0};
    size_t kept = 0;

    for (size_t i = 0; i < 4096; i += 5) {
        values[i] = values[i] == 0.0f ? -0.0f : values[i];
    }
    for (size_t i = 0; i < 4096; i++) {
        kept += values[i] != 0.0f || signbit(values[i]) ? 1 : 0;
    }
    for (int bits = 0; bits <= 16; bits += bits == 0 ? 2 : bits == 8 ? 8 : bits < 8 ? 1 : 2) {
        coded_layer c = coded_layer_make(&o, dims, 2, values, &spec);
        vqc_patch *patch;
        c.decision.codec = &vqc_codec_exact;
        vqc_codec_exact.prepare(&c.decision, &c.target, NULL, &c.opset_wanted);
        cr_assert_eq(vqc_sparse_count_layer(&c.decision, c.weights, &counts, &error), VQC_OK);
        cr_assert_eq(counts.kept, kept);
        sparse = vqc_sparse_of(&counts, bits == 0 ? VQC_SPARSE_MASK : VQC_SPARSE_GAPS, bits);
        coded_layer_fit(&c);
        cr_assert_eq(vqc_sparse_settle(c.graph, &c.code, c.weights, c.arena, &sparse, &error),
                     VQC_OK);
        cr_assert_eq(sparse.kept, kept);
        patch = coded_layer_emit(&c, &c.code);
        cr_assert_eq(vqc_patch_apply(patch, &error), VQC_OK);
        check_decoded(&c, "signed zeros");
        coded_layer_end(&c);
    }
    vqc_arena_destroy(&arena);
}

Test(sparse, scalar_codebooks)
{
    static const layer_case layers[] = {
        {"MatMul", "x W", {33, 21}, 2},
        {"Conv", "x W", {20, 3, 3, 3}, 4},
        {"Gather", "W x", {43, 25}, 2},
        {"MatMul", "x W", {40, 30}, 2},
    };
    static const int sizes[] = {3, 4, 16, 40, 300};
    size_t written = 0;

    for (size_t i = 0; i < 4 * 5 * 3 * 2; i++) {
        coded_layer_options o = options_at(OPSETS[i % 3]);
        vqc_weight_spec spec = coded_layer_spec("vq", 8, VQC_GRANULARITY_CHANNEL, true);
        spec.dim = 1;
        spec.codebook_size = sizes[i / 4 % 5];
        spec.codebook_type = (vqc_vq_storage)(i / 20 % 3);
        spec.set = VQC_SPEC_CODEBOOK_TYPE;
        spec.along = i % 2 == 0 ? VQC_VQ_ALONG_INPUT : VQC_VQ_ALONG_OUTPUT;
        spec.channel_scale = i % 7 == 0 ? VQC_SWITCH_ON : VQC_SWITCH_OFF;
        o.dtype = i % 5 == 0 ? VQC_DTYPE_FLOAT16 : VQC_DTYPE_FLOAT;
        o.objective = i / 60 == 0 ? VQC_OBJECTIVE_SIZE : VQC_OBJECTIVE_SPEED;
        written += all_shares(&layers[i % 4], &o, &spec);
    }
    cr_assert_gt(written, 500);
}

/* Vectors of the weights that are not 0. */
Test(sparse, packed_vectors)
{
    static const layer_case layers[] = {
        {"MatMul", "x W", {33, 21}, 2},
        {"Conv", "x W", {20, 3, 3, 3}, 4},
        {"LSTM", "x W R", {2, 28, 9}, 3},
        {"MatMul", "x W", {40, 30}, 2},
    };
    size_t written = 0;

    for (size_t i = 0; i < 4 * 3 * 3 * 2; i++) {
        coded_layer_options o = options_at(OPSETS[i % 3]);
        vqc_weight_spec spec = coded_layer_spec("vq", 8, VQC_GRANULARITY_CHANNEL, true);
        spec.sparse = VQC_SWITCH_ON;
        spec.dim = i / 4 % 3 == 0 ? 2 : i / 4 % 3 == 1 ? 4 : 3;
        spec.codebook_size = i % 2 == 0 ? 16 : 5;
        spec.codebook_type = (vqc_vq_storage)(i / 12 % 3);
        spec.set = VQC_SPEC_CODEBOOK_TYPE;
        spec.stages = i / 36 == 0 ? 1 : 2;
        spec.along = i % 3 == 0   ? VQC_VQ_ALONG_INPUT
                     : i % 3 == 1 ? VQC_VQ_ALONG_OUTPUT
                                  : VQC_VQ_ALONG_AUTO;
        o.dtype = i % 5 == 0 ? VQC_DTYPE_FLOAT16 : VQC_DTYPE_FLOAT;
        for (int bits = 0; bits <= 16; bits += bits == 0 ? 4 : bits == 8 ? 8 : 2) {
            written += write_form(&layers[i % 4], o, &spec, 0.5, bits) ? 1 : 0;
            written += write_form(&layers[i % 4], o, &spec, 0.85, bits) ? 1 : 0;
        }
    }
    cr_assert_gt(written, 400);
}

/* What the inspection of the written model says of its one weight. */
static void check_inspected(const coded_layer *c, const char *form, const char *what)
{
    vqc_model *again = mb_reopen(c->model);
    vqc_inspection *found = NULL;
    vqc_error error = {0};
    const vqc_layer_report *layer;
    const vqc_vq_shape *shape = &c->code.vq->shape;
    size_t index_bytes = vqc_emit_index_bytes(
        shape, c->code.sparse != NULL ? c->code.sparse->entries : vqc_vq_vectors(shape));

    cr_assert_eq(vqc_inspect_model(again, NULL, &found, &error), VQC_OK, "%s: %s", what,
                 error.message);
    cr_assert_eq(found->layer_count, 1, "%s", what);
    layer = &found->layers[0];
    cr_assert_str_eq(layer->codec, c->decision.codec->describe(&c->decision, c->arena), "%s: %s",
                     what, layer->codec);
    cr_assert_not_null(strstr(layer->pattern, form), "%s: %s", what, layer->pattern);
    cr_assert_eq(layer->codebook.index_bytes, index_bytes, "%s: %zu bytes of indices, %zu expected",
                 what, layer->codebook.index_bytes, index_bytes);
    vqc_inspection_destroy(&found);
    vqc_model_destroy(&again);
}

/* Vectors one of whose codewords is 0: indices of the others. */
Test(sparse, indices_of_vectors)
{
    static const int64_t dims[][4] = {{64, 48}, {24, 10, 3, 3}, {20, 70}};
    vqc_arena *arena = vqc_arena_create();

    for (int i = 0; i < 3 * 2 * 8; i++) {
        static const int gap_bits[] = {0, 2, 3, 4, 5, 6, 8, 16}; /* 0: mask */
        coded_layer_options o = options_at(OPSETS[i % 3]);
        vqc_weight_spec spec = coded_layer_spec("vq", 8, VQC_GRANULARITY_CHANNEL, true);
        size_t rank = i % 3 == 1 ? 4 : 2;
        size_t n = coded_layer_elements(dims[i % 3], rank);
        int bits = gap_bits[i / 6];
        vqc_sparse_counts counts;
        vqc_sparse sparse;
        vqc_patch *patch;
        vqc_error error = {0};
        coded_layer c;
        float *decoded;
        char what[100];
        o.op = rank == 4 ? "Conv" : "MatMul";
        spec.dim = i / 3 % 2 == 0 ? 4 : 2;
        spec.codebook_size = 32;
        spec.channel_scale = VQC_SWITCH_OFF;
        (void)snprintf(what, sizeof what, "%s opset %d, dim %d, %d bits", o.op, (int)o.opset,
                       spec.dim, bits);
        c = coded_layer_make(&o, dims[i % 3], rank, pruned(arena, n, 0.0, (uint64_t)i), &spec);
        c.decision.vq_effort.kept_share = 0.3;
        cr_assert_null(vqc_sparse_obstacle(&c.decision), "%s", what);
        coded_layer_fit(&c);
        decoded = coded_layer_decode(&c);
        cr_assert_eq(vqc_sparse_count_layer(&c.decision, decoded, &counts, &error), VQC_OK);
        cr_assert(counts.kept > 0 && counts.kept < counts.elements / 2 && counts.elements < n);
        sparse = vqc_sparse_of(&counts, bits == 0 ? VQC_SPARSE_MASK : VQC_SPARSE_GAPS, bits);
        cr_assert_eq(vqc_sparse_settle(c.graph, &c.code, decoded, c.arena, &sparse, &error), VQC_OK,
                     "%s: %s", what, error.message);
        cr_assert_eq(c.code.sparse, &sparse, "%s", what);
        patch = coded_layer_emit(&c, &c.code);
        cr_assert_eq(vqc_patch_apply(patch, &error), VQC_OK, "%s", error.message);
        check_decoded(&c, what);
        check_inspected(&c, bits == 0 ? "bit mask" : "gaps", what);
        coded_layer_end(&c);
    }
    vqc_arena_destroy(&arena);
}

/* Codebooks that have no codeword 0 for every zero: a mask beside all indices. */
Test(sparse, masks_keep_zeros)
{
    static const layer_case layers[] = {
        {"MatMul", "x W", {33, 21}, 2},
        {"Conv", "x W", {20, 3, 3, 3}, 4},
        {"Gemm", "x W", {40, 32}, 2},
    };
    static const struct {
        int dim, size, stages, output_groups, input_groups;
        vqc_switch scale;
    } shapes[] = {{4, 16, 1, 2, 1, VQC_SWITCH_OFF}, {2, 16, 1, 1, 3, VQC_SWITCH_OFF},
                  {3, 8, 1, 1, 1, VQC_SWITCH_ON},   {1, 8, 2, 1, 1, VQC_SWITCH_OFF},
                  {1, 2, 1, 1, 1, VQC_SWITCH_OFF},  {2, 8, 3, 4, 1, VQC_SWITCH_ON}};
    static const int64_t opsets[] = {9, 11, 13, 21};
    vqc_arena *arena = vqc_arena_create();
    size_t inspected = 0;

    for (int i = 0; i < 3 * 6 * 4 * 2; i++) {
        const layer_case *l = &layers[i % 3];
        coded_layer_options o = options_at(opsets[i / 18 % 4]);
        vqc_weight_spec spec = coded_layer_spec("vq", 8, VQC_GRANULARITY_CHANNEL, true);
        size_t n = coded_layer_elements(l->dims, l->rank);
        size_t zeros = 0;
        vqc_patch *patch;
        vqc_error error = {0};
        coded_layer c;
        const vqc_vq_shape *s;
        const float *decoded;
        char what[100];
        o.op = l->op;
        o.inputs = l->inputs;
        o.objective = i / 72 == 0 ? VQC_OBJECTIVE_SIZE : VQC_OBJECTIVE_SPEED;
        o.dtype = i % 7 == 0 ? VQC_DTYPE_FLOAT16 : VQC_DTYPE_FLOAT;
        spec.sparse = VQC_SWITCH_ON;
        spec.dim = shapes[i / 3 % 6].dim;
        spec.codebook_size = shapes[i / 3 % 6].size;
        spec.stages = shapes[i / 3 % 6].stages;
        spec.output_groups = shapes[i / 3 % 6].output_groups;
        spec.input_groups = shapes[i / 3 % 6].input_groups;
        spec.channel_scale = shapes[i / 3 % 6].scale;
        spec.along = i % 2 == 0 ? VQC_VQ_ALONG_INPUT : VQC_VQ_ALONG_OUTPUT;
        c = coded_layer_make(&o, l->dims, l->rank, pruned(arena, n, 0.4, (uint64_t)i), &spec);
        (void)snprintf(what, sizeof what, "%s opset %d: %s, %s", l->op, (int)o.opset,
                       c.decision.codec->describe(&c.decision, c.arena),
                       vqc_form_name(c.decision.form));
        cr_assert(c.decision.vq.is_masked && strstr(what, " masked") != NULL, "%s", what);
        coded_layer_fit(&c);
        decoded = coded_layer_decode(&c);
        for (size_t k = 0; k < n; k++) {
            zeros += c.weights[k] == 0.0f;
            cr_assert(c.weights[k] != 0.0f || decoded[k] == 0.0f, "%s", what);
        }
        cr_assert_geq(zeros, n * 2 / 5, "%s", what);
        patch = coded_layer_emit(&c, &c.code);
        cr_assert_eq(vqc_patch_apply(patch, &error), VQC_OK, "%s", error.message);
        check_decoded(&c, what);
        s = &c.code.vq->shape;
        if (vqc_vq_lines(s) % s->line_groups == 0 && vqc_vq_blocks(s) % s->block_groups == 0 &&
            (c.decision.form == VQC_FORM_FOLDABLE || !s->row_scales)) {
            /* it takes uneven groups for one codebook, and scales for those of DequantizeLinear */
            check_inspected(&c, "", what);
            inspected++;
        }
        coded_layer_end(&c);
    }
    cr_assert_geq(inspected, 96);
    vqc_arena_destroy(&arena);
}

/* 0 is a codeword of its own where there are zeros to store. */
Test(sparse, codebooks_decode_zeros_to_zero)
{
    const int64_t dims[2] = {64, 80};
    vqc_arena *arena = vqc_arena_create();

    for (int i = 0; i < 6; i++) {
        vqc_weight_spec spec = coded_layer_spec("vq", 8, VQC_GRANULARITY_CHANNEL, true);
        coded_layer_options o = options_at(13);
        coded_layer c;
        const float *decoded;
        spec.dim = 1;
        spec.codebook_size = 16;
        spec.codebook_type = (vqc_vq_storage)(i % 3);
        spec.output_groups = i < 3 ? 1 : 4;
        c = coded_layer_make(&o, dims, 2, pruned(arena, 5120, 0.4, 3), &spec);
        coded_layer_fit(&c);
        decoded = coded_layer_decode(&c);
        cr_assert_eq(c.code.vq->shape.codebook_size, 16);
        for (size_t k = 0; k < 5120; k++) {
            cr_assert((c.weights[k] == 0.0f) == (decoded[k] == 0.0f));
        }
        coded_layer_end(&c);
    }
    vqc_arena_destroy(&arena);
}

/* ---- the choice ---- */

/* Bytes of a 512 x 512 MatMul with int8 codes. */
static void weigh_matrix(double zeros, int64_t opset, vqc_sparse *sparse, size_t *dense,
                         size_t *bytes)
{
    const int64_t dims[2] = {512, 512};
    vqc_arena *arena = vqc_arena_create();
    vqc_weight_spec spec = coded_layer_spec("int", 8, VQC_GRANULARITY_CHANNEL, true);
    coded_layer_options o = options_at(opset);
    coded_layer c = coded_layer_make(&o, dims, 2, pruned(arena, 512 * 512, zeros, 5), &spec);
    vqc_sparse_cost cost;
    vqc_error error = {0};

    cr_assert_eq(vqc_sparse_choose(c.graph, &c.decision, c.weights, sparse, &cost, &error), VQC_OK,
                 "%s", error.message);
    *dense = cost.dense_bytes;
    *bytes = cost.bytes;
    cr_assert(cost.bytes <= cost.dense_bytes);
    cr_assert(cost.sparse_bytes == 0 || cost.bytes <= cost.sparse_bytes);
    coded_layer_end(&c);
    vqc_arena_destroy(&arena);
}

Test(sparse, a_matrix_takes_what_it_should)
{
    vqc_sparse sparse;
    size_t dense;
    size_t bytes;

    for (int64_t opset = 11; opset <= 21; opset += 2) {
        weigh_matrix(0.9, opset, &sparse, &dense, &bytes);
        cr_assert_eq(sparse.form, VQC_SPARSE_GAPS);
        cr_assert_lt((double)bytes, 0.18 * (double)dense, "90%%: %zu of %zu", bytes, dense);
        weigh_matrix(0.5, opset, &sparse, &dense, &bytes);
        cr_assert_eq(sparse.form, VQC_SPARSE_MASK);
        cr_assert_lt((double)bytes, 0.63 * (double)dense, "50%%: %zu of %zu", bytes, dense);
        weigh_matrix(1.0, opset, &sparse, &dense, &bytes);
        cr_assert_lt(bytes, 4000);
    }
}

Test(sparse, dense_stays_where_it_is_smallest)
{
    vqc_sparse sparse;
    size_t dense;
    size_t bytes;

    weigh_matrix(0.0, 13, &sparse, &dense, &bytes);
    cr_assert_eq(sparse.form, VQC_SPARSE_NONE);
    cr_assert_eq(bytes, dense);
    weigh_matrix(0.1, 13, &sparse, &dense, &bytes); /* a bit per weight costs 12.5% */
    cr_assert_eq(sparse.form, VQC_SPARSE_NONE);
    weigh_matrix(0.2, 13, &sparse, &dense, &bytes);
    cr_assert_eq(sparse.form, VQC_SPARSE_MASK);
    weigh_matrix(0.9, 10, &sparse, &dense, &bytes); /* no CumSum */
    cr_assert_eq(sparse.form, VQC_SPARSE_NONE);
    cr_assert_eq(bytes, dense);
}

/* Zeros in whole blocks of [rows, cols] of the tensor [96, 80] take a bit per block; what decodes
 * is that of the dense code. A stray zero in a kept block is stored. */
static void check_blocks(const char *codec, int dim, size_t rows, size_t cols, size_t strays)
{
    const int64_t dims[2] = {96, 80};
    vqc_arena *arena = vqc_arena_create();
    vqc_weight_spec spec = coded_layer_spec(codec, 8, VQC_GRANULARITY_CHANNEL, true);
    coded_layer_options o = options_at(13);
    float *values = pruned(arena, 7680, 0.0, 5);
    mb_random random = {7};
    coded_layer c;
    vqc_sparse sparse;
    vqc_sparse_cost cost;
    vqc_patch *patch;
    vqc_error error = {0};

    for (size_t at = 0; at < 7680; at += cols) {
        if (at / 80 % rows == 0 && mb_random_below(&random, 2) == 0) {
            for (size_t i = 0; i < rows * cols; i++) {
                values[at + i / cols * 80 + i % cols] = 0.0f;
            }
        }
    }
    for (size_t i = 0; i < strays; i++) {
        values[i * 13] = 0.0f;
    }
    spec.dim = dim;
    spec.codebook_size = 16;
    spec.sparse = VQC_SWITCH_ON;
    c = coded_layer_make(&o, dims, 2, values, &spec);
    cr_assert_eq(vqc_sparse_choose(c.graph, &c.decision, c.weights, &sparse, &cost, &error),
                 VQC_OK);
    if (strays == 0 || dim == 1) {
        cr_assert_str_eq(vqc_sparse_name(&sparse), "block mask", "%s %zu x %zu", codec, rows, cols);
        bool turned = c.decision.codec == &vqc_codec_vq && c.decision.vq_layout.is_permuted;
        cr_assert(strays > 0 /* smaller blocks may hold them */ ||
                      (turned ? sparse.block_rows % cols == 0 && sparse.block_cols % rows == 0
                              : sparse.block_rows % rows == 0 && sparse.block_cols % cols == 0),
                  "%s %zu x %zu: %zu x %zu", codec, rows, cols, sparse.block_rows,
                  sparse.block_cols);
    }
    coded_layer_fit(&c);
    cr_assert_eq(vqc_sparse_settle(c.graph, &c.code, c.weights, c.arena, &sparse, &error), VQC_OK,
                 "%s", error.message);
    patch = coded_layer_emit(&c, &c.code);
    cr_assert_eq(vqc_patch_added_bytes(patch), cost.bytes);
    cr_assert_eq(vqc_patch_apply(patch, &error), VQC_OK, "%s", error.message);
    check_decoded(&c, codec);
    coded_layer_end(&c);
    vqc_arena_destroy(&arena);
}

Test(sparse, zeros_in_blocks)
{
    static const size_t sizes[][2] = {{4, 1}, {1, 4}, {3, 5}, {8, 2}, {1, 80}};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t strays = 0; strays < 20; strays += 19) {
            check_blocks("int", 1, sizes[i][0], sizes[i][1], strays);
            check_blocks("float16", 1, sizes[i][0], sizes[i][1], strays);
            check_blocks("vq", 1, sizes[i][0], sizes[i][1], strays);
            check_blocks("vq", 4, sizes[i][0], sizes[i][1], strays);
        }
    }
}

/* A weight that is 0 but was coded as something else keeps its code. */
Test(sparse, codes_that_are_not_zero_are_kept)
{
    const int64_t dims[2] = {64, 64};
    vqc_arena *arena = vqc_arena_create();
    vqc_weight_spec spec = coded_layer_spec("int", 8, VQC_GRANULARITY_CHANNEL, true);
    coded_layer_options o = options_at(13);
    coded_layer c = coded_layer_make(&o, dims, 2, pruned(arena, 4096, 0.9, 5), &spec);
    vqc_sparse sparse;
    vqc_patch *patch;
    size_t kept;
    vqc_error error = {0};

    cr_assert_eq(vqc_sparse_choose(c.graph, &c.decision, c.weights, &sparse, NULL, &error), VQC_OK);
    kept = sparse.kept;
    coded_layer_fit(&c);
    for (size_t i = 0, left = 5; i < 4096 && left > 0; i++) {
        if (c.weights[i] == 0.0f) {
            ((int8_t *)c.code.codes)[i] = 3;
            left--;
        }
    }
    cr_assert_eq(vqc_sparse_settle(c.graph, &c.code, c.weights, c.arena, &sparse, &error), VQC_OK,
                 "%s", error.message);
    cr_assert_eq(sparse.kept, kept + 5);
    cr_assert_eq(c.code.sparse, &sparse);
    patch = coded_layer_emit(&c, &c.code);
    cr_assert_eq(vqc_patch_apply(patch, &error), VQC_OK, "%s", error.message);
    check_decoded(&c, "changed codes");
    coded_layer_end(&c);
    vqc_arena_destroy(&arena);
}
