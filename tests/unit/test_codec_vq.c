/*
 * Codec vq: layouts, decisions, and patterns that decode to exactly what the codec says. Codes are
 * made up here where the pattern is what counts: any index may point to any codeword.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/emit/patterns.h"
#include "core/exec/exec.h"
#include "core/metrics.h"
#include "tests/unit/coded_layer.h"

static vqc_weight_spec vq_spec(int dim, int codebook_size, int stages, vqc_vq_storage storage)
{
    vqc_weight_spec spec = coded_layer_spec("vq", 8, VQC_GRANULARITY_CHANNEL, true);

    spec.dim = dim;
    spec.codebook_size = codebook_size;
    spec.stages = stages;
    spec.codebook_type = storage;
    spec.channel_scale = VQC_SWITCH_OFF;
    spec.set |= VQC_SPEC_CODEBOOK_TYPE;
    return spec;
}

static float *gaussian(vqc_arena *arena, size_t n, uint64_t seed)
{
    float *w = vqc_arena_calloc(arena, n + 1, sizeof *w);
    mb_random random = {seed};

    cr_assert_not_null(w);
    mb_random_fill(&random, w, n, 0.3f, 0.02f);
    return w;
}

/* ---- layouts ---- */

typedef struct layout_case {
    const char *op;
    const char *inputs;
    bool trans_b;
    int64_t dims[4];
    size_t rank;
    vqc_vq_along along;
    size_t rows, cols;
    bool is_permuted, has_moments;
} layout_case;

static const layout_case LAYOUTS[] = {
    {"Conv", "x W", false, {6, 4, 3, 3}, 4, VQC_VQ_ALONG_AUTO, 6, 36, false, true},
    {"Conv", "x W", false, {6, 4, 3, 3}, 4, VQC_VQ_ALONG_KERNEL, 6, 36, false, true},
    {"Conv", "x W", false, {6, 4, 3, 3}, 4, VQC_VQ_ALONG_INPUT, 6, 36, true, true},
    {"Conv", "x W", false, {6, 4, 3, 3}, 4, VQC_VQ_ALONG_OUTPUT, 6, 36, true, true},
    {"Conv", "x W", false, {6, 4, 1, 1}, 4, VQC_VQ_ALONG_AUTO, 6, 4, false, true},
    {"Conv", "x W", false, {6, 4, 5}, 3, VQC_VQ_ALONG_INPUT, 6, 20, true, true},
    {"ConvTranspose", "x W", false, {4, 6, 2, 3}, 4, VQC_VQ_ALONG_AUTO, 6, 24, true, false},
    {"ConvTranspose", "x W", false, {4, 6, 2, 3}, 4, VQC_VQ_ALONG_INPUT, 6, 24, true, false},
    {"MatMul", "x W", false, {7, 5}, 2, VQC_VQ_ALONG_AUTO, 5, 7, true, true},
    {"MatMul", "x W", false, {7, 5}, 2, VQC_VQ_ALONG_OUTPUT, 5, 7, false, true},
    {"MatMul", "W x", false, {7, 5}, 2, VQC_VQ_ALONG_AUTO, 7, 5, false, false},
    {"Gemm", "x W", false, {7, 5}, 2, VQC_VQ_ALONG_INPUT, 5, 7, true, true},
    {"Gemm", "x W", true, {5, 7}, 2, VQC_VQ_ALONG_INPUT, 5, 7, false, true},
    {"MatMul", "x W", false, {3, 7, 5}, 3, VQC_VQ_ALONG_AUTO, 15, 7, true, false},
    {"Gather", "W x", false, {9, 80}, 2, VQC_VQ_ALONG_AUTO, 9, 80, false, false},
    {"Gather", "W x", false, {9, 8}, 2, VQC_VQ_ALONG_AUTO, 9, 8, false, false},
    {"LSTM", "x W R", false, {2, 8, 5}, 3, VQC_VQ_ALONG_AUTO, 16, 5, false, false},
    {"com.microsoft.Attention", "x W", false, {6, 9}, 2, VQC_VQ_ALONG_AUTO, 9, 6, true, false},
    {"Einsum", "x W", false, {7, 9}, 2, VQC_VQ_ALONG_AUTO, 7, 9, false, false},
};
enum { LAYOUT_COUNT = sizeof LAYOUTS / sizeof LAYOUTS[0] };

static coded_layer make(const layout_case *l, const vqc_weight_spec *spec, coded_layer_options o,
                        vqc_arena *arena)
{
    size_t n = coded_layer_elements(l->dims, l->rank);

    o.op = l->op;
    o.inputs = l->inputs;
    o.trans_b = l->trans_b;
    return coded_layer_make(&o, l->dims, l->rank, gaussian(arena, n, n + 1), spec);
}

Test(codec_vq, layouts_go_there_and_back)
{
    for (int i = 0; i < LAYOUT_COUNT; i++) {
        const layout_case *l = &LAYOUTS[i];
        vqc_arena *arena = vqc_arena_create();
        vqc_weight_spec spec = vq_spec(1, 2, 1, VQC_VQ_STORAGE_FLOAT32);
        coded_layer c = make(l, &spec, coded_layer_defaults(), arena);
        size_t n = c.layer->elements;
        float *matrix = vqc_arena_calloc(arena, n, sizeof *matrix);
        float *back = vqc_arena_calloc(arena, n, sizeof *back);
        vqc_vq_layout layout;

        vqc_vq_layout_make(c.layer, l->along, &layout);
        cr_assert(layout.rows == l->rows && layout.cols == l->cols, "%s %d: %zu x %zu", l->op, i,
                  layout.rows, layout.cols);
        cr_assert_eq(layout.is_permuted, l->is_permuted, "%s %d", l->op, i);
        cr_assert_eq(layout.has_moments, l->has_moments, "%s %d", l->op, i);
        cr_assert_eq(layout.down_rows, l->along == VQC_VQ_ALONG_OUTPUT);
        vqc_vq_layout_take(&layout, c.layer, c.weights, matrix);
        vqc_vq_layout_put(&layout, c.layer, matrix, back);
        cr_assert_arr_eq(back, c.weights, n * sizeof *back, "%s %d", l->op, i);
        coded_layer_end(&c);
        vqc_arena_destroy(&arena);
    }
}

/* By plain indexing: what entry (row, col) of the matrix is in the tensor. */
Test(codec_vq, matrices_have_outputs_as_rows)
{
    vqc_arena *arena = vqc_arena_create();
    vqc_weight_spec spec = vq_spec(1, 2, 1, VQC_VQ_STORAGE_FLOAT32);
    float matrix[216];
    vqc_vq_layout layout;

    for (int i = 0; i < 4; i++) { /* Conv [6, 4, 3, 3] */
        coded_layer c = make(&LAYOUTS[i], &spec, coded_layer_defaults(), arena);
        vqc_vq_layout_make(c.layer, LAYOUTS[i].along, &layout);
        vqc_vq_layout_take(&layout, c.layer, c.weights, matrix);
        for (size_t r = 0; r < 6; r++) {
            for (size_t col = 0; col < 36; col++) {
                size_t channel = i == 2 ? col % 4 : col / 9;
                size_t position = i == 2 ? col / 4 : col % 9;
                cr_assert_eq(matrix[r * 36 + col], c.weights[(r * 4 + channel) * 9 + position]);
                cr_assert_eq(vqc_vq_layout_moment_column(&layout, c.layer, col),
                             channel * 9 + position);
            }
        }
        coded_layer_end(&c);
    }
    for (int i = 8; i < 10; i++) { /* MatMul [7, 5] */
        coded_layer c = make(&LAYOUTS[i], &spec, coded_layer_defaults(), arena);
        vqc_vq_layout_make(c.layer, LAYOUTS[i].along, &layout);
        vqc_vq_layout_take(&layout, c.layer, c.weights, matrix);
        for (size_t r = 0; r < 5; r++) {
            for (size_t col = 0; col < 7; col++) {
                cr_assert_eq(matrix[r * 7 + col], c.weights[col * 5 + r]);
                cr_assert_eq(vqc_vq_layout_moment_column(&layout, c.layer, col), col);
            }
        }
        coded_layer_end(&c);
    }
    vqc_arena_destroy(&arena);
}

/* ---- patterns ---- */

/* A code with the decision's shape and contents at random. */
static void invent_code(coded_layer *c, mb_random *random)
{
    const vqc_kernels *k = vqc_kernels_get();
    const vqc_vq_shape *s = &c->decision.vq;
    vqc_vq_code *vq = vqc_arena_calloc(c->arena, 1, sizeof *vq);
    size_t books = vqc_vq_books(s);
    size_t vectors = vqc_vq_vectors(s);
    size_t entries = s->stages * books * s->codebook_size * s->dim;

    c->code = (vqc_code){.decision = &c->decision, .elements = c->layer->elements, .vq = vq};
    *vq = (vqc_vq_code){.shape = *s, .books = books, .vectors = vectors};
    vq->indices = vqc_arena_calloc(c->arena, s->stages * vectors, sizeof *vq->indices);
    vq->codebooks = vqc_arena_calloc(c->arena, entries, sizeof *vq->codebooks);
    vq->codebooks_f16 = vqc_arena_calloc(c->arena, entries, sizeof *vq->codebooks_f16);
    vq->codebooks_int8 = vqc_arena_calloc(c->arena, entries, sizeof *vq->codebooks_int8);
    vq->book_scales = vqc_arena_calloc(c->arena, s->stages * books, sizeof *vq->book_scales);
    for (size_t i = 0; i < s->stages * vectors; i++) {
        vq->indices[i] = (uint16_t)mb_random_below(random, (uint32_t)s->codebook_size);
    }
    for (size_t i = 0; i < s->stages * books; i++) {
        vq->book_scales[i] = 0.001f * (float)(1 + mb_random_below(random, 1000));
    }
    mb_random_fill(random, vq->codebooks, entries, 0.3f, 0.02f);
    for (size_t i = 0; i < entries; i++) {
        float scale = vq->book_scales[i / (s->codebook_size * s->dim)];
        if (s->storage == VQC_VQ_STORAGE_FLOAT16) {
            k->f32_f16_convert(&vq->codebooks[i], 1, &vq->codebooks_f16[i]);
            k->f16_f32_convert(&vq->codebooks_f16[i], 1, &vq->codebooks[i]);
        } else if (s->storage == VQC_VQ_STORAGE_INT8) {
            vq->codebooks_int8[i] = (int8_t)((int)mb_random_below(random, 255) - 127);
            vq->codebooks[i] = (float)vq->codebooks_int8[i] * scale;
        }
    }
    if (s->row_scales) {
        vq->row_scales = vqc_arena_calloc(c->arena, s->rows, sizeof *vq->row_scales);
        for (size_t i = 0; i < s->rows; i++) {
            vq->row_scales[i] = (float)(1 + mb_random_below(random, 2000)) / 1024.0f;
        }
        coded_layer_round(VQC_DTYPE_FLOAT16, vq->row_scales, s->rows);
    }
}

/* The file decodes W to what the codec says, rounded to the layer's type. */
static void check_decoded(coded_layer *c, const char *what)
{
    vqc_model *again = mb_reopen(c->model);
    vqc_graph *graph = mb_index(again);
    float *wanted = coded_layer_decode(c);
    vqc_dtype dtype = (vqc_dtype)c->layer->dtype;
    size_t n = c->layer->elements;
    vqc_buffer *got = NULL;
    vqc_error error = {0};
    Onnx__TensorProto *raw;

    cr_assert_eq(vqc_exec_constant(graph, mb_value(graph, "W"), NULL, &got, &error), VQC_OK,
                 "%s: %s", what, error.message);
    cr_assert(got->dtype == c->layer->dtype && got->elements == n && got->rank == c->layer->rank,
              "%s", what);
    cr_assert(memcmp(got->dims, c->layer->dims, got->rank * sizeof *got->dims) == 0, "%s", what);
    coded_layer_round(dtype, wanted, n);
    raw = mb_float_tensor(c->model, "", dtype, c->layer->dims, c->layer->rank, wanted);
    cr_assert(memcmp(got->data, raw->raw_data.data, n * got->width) == 0,
              "%s: not what the codec decodes", what);
    vqc_buffer_destroy(&got);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&again);
}

/* Sizes first, then the code: the cost is foretold, and the file decodes as the codec does. */
static void write_and_check(coded_layer *c, const char *what)
{
    vqc_code sizes = {.decision = &c->decision};
    vqc_patch *patch = coded_layer_emit(c, &sizes);
    size_t added = vqc_patch_added_bytes(patch);
    size_t removed = vqc_patch_removed_bytes(patch);
    size_t before = onnx__graph_proto__get_packed_size(c->model->proto->graph);
    vqc_error error = {0};

    vqc_patch_drop(patch);
    patch = coded_layer_emit(c, &c->code);
    cr_assert_eq(vqc_patch_added_bytes(patch), added, "%s: %zu bytes, foretold %zu", what,
                 vqc_patch_added_bytes(patch), added);
    cr_assert_eq(vqc_patch_apply(patch, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(onnx__graph_proto__get_packed_size(c->model->proto->graph),
                 before + added - removed, "%s", what);
    check_decoded(c, what);
}

static void round_trip(const layout_case *l, const vqc_weight_spec *spec, int64_t opset,
                       vqc_dtype dtype, mb_random *random)
{
    vqc_arena *arena = vqc_arena_create();
    coded_layer_options o = coded_layer_defaults();
    coded_layer c;
    char what[200];

    o.opset = opset;
    o.ir_version = opset < 9 ? 3 : 8;
    o.dtype = dtype;
    o.as_constant = opset == 10;
    c = make(l, spec, o, arena);
    cr_assert_eq(c.decision.codec, &vqc_codec_vq);
    c.decision.vq.codebook_size =
        (size_t)spec->codebook_size; /* also more than there are vectors */
    (void)snprintf(what, sizeof what,
                   "%s opset %d dtype %d along %d: dim %d K %d stages %d groups %d %d storage %d "
                   "scale %d",
                   l->op, (int)opset, (int)dtype, (int)spec->along, spec->dim, spec->codebook_size,
                   spec->stages, spec->output_groups, spec->input_groups, (int)spec->codebook_type,
                   (int)spec->channel_scale);
    invent_code(&c, random);
    write_and_check(&c, what);
    coded_layer_end(&c);
    vqc_arena_destroy(&arena);
}

static const layout_case LAYERS[] = {
    {.op = "MatMul", .inputs = "x W", .dims = {33, 21}, .rank = 2},
    {.op = "Gemm", .inputs = "x W", .trans_b = true, .dims = {16, 24}, .rank = 2},
    {.op = "Conv", .inputs = "x W", .dims = {10, 3, 3, 3}, .rank = 4},
    {.op = "Conv", .inputs = "x W", .dims = {10, 12, 1, 1}, .rank = 4},
    {.op = "ConvTranspose", .inputs = "x W", .dims = {5, 7, 3}, .rank = 3},
    {.op = "Gather", .inputs = "W x", .dims = {13, 35}, .rank = 2},
    {.op = "LSTM", .inputs = "x W R", .dims = {2, 28, 9}, .rank = 3},
    {.op = "MatMul", .inputs = "x W", .dims = {2, 19, 11}, .rank = 3},
};
enum { LAYER_COUNT = sizeof LAYERS / sizeof LAYERS[0] };

/* Every dimension against widths of indices: bytes, words, and planes of all kinds. */
Test(codec_vq, any_dim_and_codebook_size)
{
    static const int dims[] = {1, 2, 3, 4, 8, 9, 32};
    static const int sizes[] = {2, 3, 5, 16, 37, 100, 256, 300, 1024, 5000, 65536};
    static const int64_t opsets[] = {7, 10, 11, 13, 21};
    const layout_case wide = {.op = "MatMul", .inputs = "x W", .dims = {64, 200}, .rank = 2};
    mb_random random = {3};

    for (int d = 0; d < 7; d++) {
        for (int k = 0; k < 11; k++) {
            vqc_weight_spec spec = vq_spec(dims[d], sizes[k], 1, VQC_VQ_STORAGE_FLOAT16);
            round_trip(&wide, &spec, opsets[(d + k) % 5], VQC_DTYPE_FLOAT, &random);
            round_trip(&LAYERS[(d + k) % LAYER_COUNT], &spec, opsets[(d + k + 1) % 5],
                       VQC_DTYPE_FLOAT, &random);
        }
    }
}

/* Everything else against everything else. */
Test(codec_vq, any_combination)
{
    static const int64_t opsets[] = {7, 11, 13};
    static const vqc_dtype dtypes[] = {VQC_DTYPE_FLOAT, VQC_DTYPE_FLOAT16, VQC_DTYPE_DOUBLE,
                                       VQC_DTYPE_FLOAT};
    mb_random random = {4};

    for (int i = 0; i < 4 * 3 * 3 * 2 * 3 * LAYER_COUNT; i++) {
        int at = i;
        vqc_weight_spec spec = vq_spec(1 + i % 5, 17, 1, VQC_VQ_STORAGE_FLOAT16);
        const layout_case *layer = &LAYERS[at % LAYER_COUNT];
        at /= LAYER_COUNT;
        spec.along = (vqc_vq_along)(at % 4);
        at /= 4;
        spec.codebook_type = (vqc_vq_storage)(at % 3);
        at /= 3;
        spec.stages = 1 + at % 3;
        at /= 3;
        spec.channel_scale = at % 2 == 0 ? VQC_SWITCH_OFF : VQC_SWITCH_ON;
        at /= 2;
        spec.output_groups = at == 1 ? 3 : at == 2 ? 4 : 1;
        spec.input_groups = at == 1 ? 2 : 1;
        round_trip(layer, &spec, opsets[i % 3], dtypes[i / 3 % 4], &random);
    }
}

/* ---- decisions ---- */

static coded_layer decide(const char *op, const int64_t *dims, size_t rank,
                          const vqc_weight_spec *spec, vqc_objective objective, vqc_arena *arena)
{
    layout_case l = {.op = op, .inputs = strcmp(op, "Gather") == 0 ? "W x" : "x W", .rank = rank};
    coded_layer_options o = coded_layer_defaults();

    memcpy(l.dims, dims, rank * sizeof *dims);
    o.objective = objective;
    return make(&l, spec, o, arena);
}

Test(codec_vq, dim_and_size_follow_the_bits_and_the_layer)
{
    static const struct {
        double bits;
        int64_t rows, cols;
        size_t dim, size;
    } cases[] = {
        {4.0, 512, 512, 2, 256},    {2.0, 512, 512, 4, 256}, {1.0, 1024, 1024, 8, 256},
        {3.0, 2048, 1024, 4, 4096}, {3.0, 256, 256, 2, 64},  {2.5, 512, 512, 2, 32},
        {4.0, 32, 32, 1, 16},       {2.0, 64, 64, 1, 4},     {8.0, 512, 512, 1, 256},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int64_t dims[2] = {cases[i].rows, cases[i].cols};
        vqc_arena *arena = vqc_arena_create();
        vqc_weight_spec spec = vq_spec(0, 0, 1, VQC_VQ_STORAGE_FLOAT16);
        coded_layer c;
        spec.bits_per_weight = cases[i].bits;
        c = decide("MatMul", dims, 2, &spec, VQC_OBJECTIVE_SIZE, arena);
        cr_assert(c.decision.vq.dim == cases[i].dim && c.decision.vq.codebook_size == cases[i].size,
                  "%g bits %d x %d: dim %zu, %zu codewords", cases[i].bits, (int)cases[i].rows,
                  (int)cases[i].cols, c.decision.vq.dim, c.decision.vq.codebook_size);
        coded_layer_end(&c);
        vqc_arena_destroy(&arena);
    }
}

Test(codec_vq, few_sub_vectors_get_fewer_codewords)
{
    const int64_t dims[2] = {40, 40};
    vqc_arena *arena = vqc_arena_create();
    vqc_weight_spec spec = vq_spec(2, 256, 1, VQC_VQ_STORAGE_FLOAT16);
    coded_layer c = decide("MatMul", dims, 2, &spec, VQC_OBJECTIVE_SIZE, arena);

    cr_assert_eq(c.decision.vq.codebook_size, 128, "800 sub-vectors: %zu codewords",
                 c.decision.vq.codebook_size);
    cr_assert_not_null(strstr(c.decision.reason, "fewer codewords"));
    coded_layer_end(&c);
    vqc_arena_destroy(&arena);
}

Test(codec_vq, speed_means_integers_in_front_of_dequantizelinear)
{
    const int64_t dims[2] = {128, 96};
    vqc_arena *arena = vqc_arena_create();
    mb_random random = {9};

    for (int i = 0; i < 8; i++) {
        vqc_weight_spec spec = vq_spec(1 + i % 4, 200, 1, VQC_VQ_STORAGE_INT8);
        coded_layer c;
        spec.channel_scale = i % 2 == 0 ? VQC_SWITCH_ON : VQC_SWITCH_OFF;
        spec.output_groups = i >= 4 ? 3 : 1;
        c = decide("MatMul", dims, 2, &spec, VQC_OBJECTIVE_SPEED, arena);
        cr_assert_eq(c.decision.form, VQC_FORM_DEQUANTIZE, "%d: %s", i, c.decision.reason);
        invent_code(&c, &random);
        write_and_check(&c, "objective: speed");
        coded_layer_end(&c);
    }
    for (int i = 0; i < 3; i++) { /* what DequantizeLinear cannot say, or nobody would fuse */
        vqc_weight_spec spec = vq_spec(2, 200, i == 0 ? 2 : 1, VQC_VQ_STORAGE_INT8);
        coded_layer c;
        spec.input_groups = i == 1 ? 2 : 1;
        c = decide(i == 2 ? "Gather" : "MatMul", dims, 2, &spec, VQC_OBJECTIVE_SPEED, arena);
        cr_assert_eq(c.decision.form, VQC_FORM_FOLDABLE);
        cr_assert_eq(c.decision.reason[0] == '\0', i == 2, "%s", c.decision.reason);
        coded_layer_end(&c);
    }
    vqc_arena_destroy(&arena);
}

Test(codec_vq, fitted_codes_are_measured_and_written)
{
    for (int i = 0; i < LAYER_COUNT; i++) {
        vqc_arena *arena = vqc_arena_create();
        vqc_weight_spec spec = vq_spec(2, 16, 1 + i % 2, (vqc_vq_storage)(i % 3));
        coded_layer c;
        vqc_metrics got;
        vqc_metrics wanted;
        spec.channel_scale = i % 2 == 0 ? VQC_SWITCH_ON : VQC_SWITCH_OFF;
        c = make(&LAYERS[i], &spec, coded_layer_defaults(), arena);
        coded_layer_fit(&c);
        got = vqc_metrics_from_sums(&c.code.sums);
        wanted = vqc_metrics_compare(c.weights, coded_layer_decode(&c), c.layer->elements);
        cr_assert_eq(got.max_abs_error, wanted.max_abs_error);
        cr_assert(fabs(got.sqnr_db - wanted.sqnr_db) < 1e-6);
        cr_assert_gt(got.sqnr_db, 6.0, "%s %d: %.2f dB", LAYERS[i].op, i, got.sqnr_db);
        write_and_check(&c, "fitted");
        coded_layer_end(&c);
        vqc_arena_destroy(&arena);
    }
}

Test(codec_vq, refuses_what_is_not_finite)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    float w[64 * 32];
    mb_random random = {12};

    for (size_t i = 0; i < 3; i++) {
        const int64_t dims[2] = {64, 32};
        coded_layer_options o = coded_layer_defaults();
        vqc_weight_spec spec = vq_spec(2, 16, 1, VQC_VQ_STORAGE_FLOAT16);
        coded_layer c;
        vqc_error error = {0};
        mb_random_fill(&random, w, 64 * 32, 0.3f, 0.0f);
        w[1000] = bad[i];
        c = coded_layer_make(&o, dims, 2, w, &spec);
        cr_assert_eq(
            c.decision.codec->fit(&c.decision, c.weights, c.model->arena, c.arena, &c.code, &error),
            VQC_ERR_MODEL);
        cr_assert_eq(c.decision.codec->check(&c.decision, c.weights, &error), VQC_ERR_MODEL);
        coded_layer_end(&c);
    }
}
