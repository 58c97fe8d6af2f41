/* Vector quantization of a matrix: loss, layouts, masks, tails, groups, storage, threads. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/vq/vq_fit.h"
#include "tests/unit/model_builder.h"

enum { MOST = 40 * 61 };

/* A matrix, second moments of correlated inputs per group, a mask with holes. */
typedef struct fixture {
    size_t rows, cols, groups;
    float w[MOST];
    float h[4 * 61 * 61];
    uint8_t mask[MOST];
} fixture;

static void fill(fixture *f, size_t rows, size_t cols, size_t groups)
{
    mb_random random = {rows * 131 + cols};
    size_t samples = 2 * cols;
    float *x = malloc(samples * cols * sizeof *x);

    cr_assert_not_null(x);
    *f = (fixture){.rows = rows, .cols = cols, .groups = groups};
    mb_random_fill(&random, f->w, rows * cols, 0.2f, 0.0f);
    for (size_t i = 0; i < rows * cols; i++) {
        f->mask[i] = mb_random_below(&random, 4) != 0;
        f->w[i] *= 1.0f + (float)(i / cols % 5);
    }
    for (size_t g = 0; g < groups; g++) {
        mb_random_fill(&random, x, samples * cols, 1.0f, 0.0f);
        for (size_t s = 0; s < samples; s++) {
            for (size_t j = 1; j < cols; j++) {
                x[s * cols + j] = 0.8f * x[s * cols + j - 1] + 0.6f * x[s * cols + j];
            }
        }
        for (size_t i = 0; i < cols; i++) {
            for (size_t j = 0; j < cols; j++) {
                double sum = 0.0;
                for (size_t s = 0; s < samples; s++) {
                    sum += (double)x[s * cols + i] * (double)x[s * cols + j];
                }
                f->h[(g * cols + i) * cols + j] = (float)(sum / (double)samples);
            }
        }
    }
    free(x);
}

/* tr(E H E^T) of a decoded matrix; identity: H = I. */
static double loss_of(const fixture *f, const float *decoded, bool identity, bool masked)
{
    double loss = 0.0;

    for (size_t row = 0; row < f->rows; row++) {
        const float *h = f->h + row / (f->rows / f->groups) * f->cols * f->cols;
        for (size_t i = 0; i < f->cols; i++) {
            for (size_t j = 0; j < f->cols; j++) {
                size_t a = row * f->cols + i, b = row * f->cols + j;
                double weight = identity ? (i == j ? 1.0 : 0.0) : (double)h[i * f->cols + j];
                if (!masked || (f->mask[a] && f->mask[b])) {
                    loss +=
                        weight * (double)(f->w[a] - decoded[a]) * (double)(f->w[b] - decoded[b]);
                }
            }
        }
    }
    return loss;
}

typedef struct outcome {
    double loss;
    float decoded[MOST];
    uint64_t digest;
} outcome;

static uint64_t digest(uint64_t sum, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < size; i++) {
        sum = (sum ^ bytes[i]) * 1099511628211u;
    }
    return sum;
}

/* The stored forms say the same as the codebooks. */
static void check_storage(const vqc_vq_code *code)
{
    size_t size = code->shape.codebook_size * code->shape.dim;

    for (size_t i = 0; i < size * code->books * code->shape.stages; i++) {
        if (code->shape.storage == VQC_VQ_STORAGE_INT8) {
            float value = (float)code->codebooks_int8[i] * code->book_scales[i / size];
            cr_assert(!(fabsf(code->codebooks[i] - value) > 0.0f));
        } else if (code->shape.storage == VQC_VQ_STORAGE_FLOAT16) {
            uint16_t bits = code->codebooks_f16[i];
            int exponent = bits >> 10 & 31;
            float value = ldexpf((float)((bits & 1023) + (exponent > 0 ? 1024 : 0)),
                                 (exponent > 0 ? exponent : 1) - 25);
            cr_assert_float_eq(fabsf(code->codebooks[i]), value, 0.0f);
        }
    }
}

static void fit(const fixture *f, const vqc_vq_shape *shape, bool moments, bool masked, int sweeps,
                int threads, outcome *out)
{
    vqc_vq_effort effort = {
        .seed = 3, .threads = threads, .kmeans_iterations = 20, .sweeps = sweeps};
    vqc_arena *arena = vqc_arena_create();
    vqc_vq_code code;
    vqc_error error;
    size_t words;

    cr_assert_not_null(arena);
    cr_assert_eq(vqc_vq_fit(shape, f->w, moments ? f->h : NULL, f->groups, masked ? f->mask : NULL,
                            &effort, arena, &code, &out->loss, &error),
                 VQC_OK);
    cr_assert_eq(code.vectors, vqc_vq_vectors(shape));
    words = shape->stages * code.vectors;
    for (size_t i = 0; i < words; i++) {
        cr_assert_lt(code.indices[i], shape->codebook_size);
    }
    check_storage(&code);
    vqc_vq_decode(&code, out->decoded);
    out->digest = digest(1, code.indices, words * sizeof *code.indices);
    out->digest =
        digest(out->digest, code.codebooks,
               shape->stages * code.books * shape->codebook_size * shape->dim * sizeof(float));
    if (shape->row_scales) {
        out->digest = digest(out->digest, code.row_scales, shape->rows * sizeof(float));
    }
    vqc_arena_destroy(&arena);
}

static vqc_vq_shape shape_of(const fixture *f, size_t dim, size_t count)
{
    return (vqc_vq_shape){.rows = f->rows,
                          .cols = f->cols,
                          .dim = dim,
                          .codebook_size = count,
                          .stages = 1,
                          .line_groups = 1,
                          .block_groups = 1};
}

/* Every layout: the loss is what decoding gives; sweeps never make it worse by more than the
 * damping can explain; threads change nothing. */
static void check_shape(const fixture *f, const vqc_vq_shape *shape, bool moments, bool masked)
{
    static outcome out, more, threaded;

    fit(f, shape, moments, masked, 0, 1, &out);
    cr_expect_float_eq(out.loss / loss_of(f, out.decoded, !moments, masked), 1.0, 1e-3);
    fit(f, shape, moments, masked, 3, 1, &more);
    cr_expect_float_eq(more.loss / loss_of(f, more.decoded, !moments, masked), 1.0, 1e-3);
    cr_expect_leq(more.loss, out.loss * 1.001, "dim %zu down %d stages %zu: %g -> %g", shape->dim,
                  shape->down_rows, shape->stages, out.loss, more.loss);
    fit(f, shape, moments, masked, 3, 3, &threaded);
    cr_expect_eq(threaded.digest, more.digest,
                 "dim %zu down %d stages %zu K %zu scales %d storage %d lg %zu bg %zu moments %d "
                 "masked %d loss %.9g %.9g",
                 shape->dim, shape->down_rows, shape->stages, shape->codebook_size,
                 shape->row_scales, (int)shape->storage, shape->line_groups, shape->block_groups,
                 moments, masked, threaded.loss, more.loss);
}

Test(vq_fit, every_layout_reports_the_loss_it_has)
{
    static fixture f;
    static const size_t dims[] = {1, 2, 3, 4, 9};

    fill(&f, 24, 61, 2);
    for (size_t i = 0; i < 5 * 16; i++) {
        vqc_vq_shape shape = shape_of(&f, dims[i % 5], 7 + i % 5);
        size_t way = i / 5;

        shape.down_rows = way % 2 == 1;
        shape.row_scales = way / 2 % 2 == 1;
        shape.stages = 1 + way / 4 % 2;
        shape.storage = (vqc_vq_storage)(i % 3);
        shape.line_groups = 1 + i % 2;
        shape.block_groups = 1 + i / 2 % 2;
        check_shape(&f, &shape, i % 7 != 0, way / 8 % 2 == 1);
    }
}

/* Groups that end within a sub-vector (rows / groups is no multiple of dim). */
Test(vq_fit, groups_end_within_subvectors_down_rows)
{
    static fixture f;
    vqc_vq_shape shape;

    fill(&f, 12, 9, 4);
    shape = shape_of(&f, 4, 5);
    shape.down_rows = true;
    check_shape(&f, &shape, true, false);
    shape.row_scales = true;
    check_shape(&f, &shape, true, true);
}

Test(vq_fit, feedback_is_better_than_plain_and_descent_better_still)
{
    static fixture f;
    static outcome plain, feedback, swept;

    fill(&f, 40, 60, 1);
    for (size_t down = 0; down < 2; down++) {
        vqc_vq_shape shape = shape_of(&f, 4, 32);
        double of_plain;

        shape.down_rows = down == 1;
        fit(&f, &shape, false, false, 0, 2, &plain);
        of_plain = loss_of(&f, plain.decoded, false, false);
        fit(&f, &shape, true, false, 0, 2, &feedback);
        fit(&f, &shape, true, false, 6, 2, &swept);
        cr_expect_lt(feedback.loss, 0.8 * of_plain);
        cr_expect_lt(swept.loss, 0.9 * feedback.loss);
    }
}

/* One step of descent by brute force: no single index can be exchanged for a better one. */
Test(vq_fit, no_single_exchange_helps_after_many_sweeps)
{
    static fixture f;
    static float decoded[MOST];
    vqc_vq_effort effort = {.seed = 1, .threads = 1, .kmeans_iterations = 20, .sweeps = 60};
    vqc_vq_code code;
    vqc_arena *arena = vqc_arena_create();
    vqc_vq_shape shape;
    double loss;

    fill(&f, 6, 20, 1);
    /* The loss that is lowered has the damping in it. */
    double mean = 0.0;
    for (size_t i = 0; i < 20; i++) {
        mean += (double)f.h[i * 21] / 20.0;
    }
    shape = shape_of(&f, 3, 5);
    cr_assert_not_null(arena);
    cr_assert_eq(vqc_vq_fit(&shape, f.w, f.h, 1, NULL, &effort, arena, &code, &loss, NULL), VQC_OK);
    for (size_t i = 0; i < 20; i++) {
        f.h[i * 21] += (float)(0.01 * mean);
    }
    vqc_vq_decode(&code, decoded);
    loss = loss_of(&f, decoded, false, false);
    for (size_t v = 0; v < code.vectors; v++) {
        uint16_t kept = code.indices[v];
        for (uint16_t k = 0; k < 5; k++) {
            code.indices[v] = k;
            vqc_vq_decode(&code, decoded);
            cr_expect_geq(loss_of(&f, decoded, false, false), loss * (1.0 - 1e-5));
        }
        code.indices[v] = kept;
    }
    vqc_arena_destroy(&arena);
}

/* Large and small weights, no metric: the small ones are 0, the large ones their means. */
Test(vq_fit, weights_that_are_not_worth_it_become_zero)
{
    static const float weights[16] = {5.0f,  0.1f,  -0.2f, 0.1f,  -5.0f, 0.2f,  0.1f,  -0.1f,
                                      0.05f, -0.1f, 5.0f,  -0.2f, 0.1f,  -5.0f, -0.1f, 0.2f};
    vqc_vq_effort effort = {.seed = 1, .threads = 1, .kmeans_iterations = 20, .sweeps = 2};
    vqc_arena *arena = vqc_arena_create();
    float decoded[16];

    cr_assert_not_null(arena);
    effort.kept_share = 0.25;
    for (int down = 0; down < 2; down++) {
        vqc_vq_shape shape = {.rows = 4,
                              .cols = 4,
                              .dim = 1,
                              .down_rows = down == 1,
                              .codebook_size = 3,
                              .stages = 1,
                              .line_groups = 1,
                              .block_groups = 1};
        vqc_vq_code code;
        vqc_error error;
        cr_assert_eq(
            vqc_vq_fit(&shape, weights, NULL, 1, NULL, &effort, arena, &code, NULL, &error),
            VQC_OK);
        cr_assert_float_eq(code.codebooks[2], 0.0f, 0.0f, "the last codeword is 0");
        vqc_vq_decode(&code, decoded);
        for (size_t i = 0; i < 16; i++) {
            cr_expect_float_eq(decoded[i], fabsf(weights[i]) > 1.0f ? weights[i] : 0.0f, 1e-6f);
        }
        shape.row_scales = true;
        cr_assert_eq(
            vqc_vq_fit(&shape, weights, NULL, 1, NULL, &effort, arena, &code, NULL, &error),
            VQC_ERR_INTERNAL);
    }
    vqc_arena_destroy(&arena);
}

/* With a metric: a smaller share keeps less and costs more, zeros are exact, threads change
 * nothing; sub-vectors of every layout. */
Test(vq_fit, fewer_sub_vectors_are_kept_for_a_smaller_share)
{
    static const double shares[] = {0.6, 0.3, 0.1};
    static fixture f;
    vqc_arena *arena = vqc_arena_create();

    cr_assert_not_null(arena);
    fill(&f, 24, 36, 1);
    for (size_t way = 0; way < 6; way++) {
        vqc_vq_shape shape = shape_of(&f, (size_t)1 << way % 3, 9);
        size_t most = SIZE_MAX;
        shape.down_rows = way > 2;
        for (size_t i = 0; i < 3; i++) {
            vqc_vq_effort effort = {.seed = 1, .kmeans_iterations = 20, .sweeps = 3};
            uint64_t digests[2];
            size_t kept = 0;
            for (int t = 0; t < 2; t++) {
                vqc_vq_code code;
                vqc_error error;
                double loss;
                effort.kept_share = shares[i];
                effort.threads = 1 + 3 * t;
                cr_assert_eq(
                    vqc_vq_fit(&shape, f.w, f.h, 1, NULL, &effort, arena, &code, &loss, &error),
                    VQC_OK);
                digests[t] = digest(1, code.indices, code.vectors * sizeof *code.indices);
                for (size_t k = 0; k < shape.dim; k++) {
                    cr_assert_float_eq(code.codebooks[8 * shape.dim + k], 0.0f, 0.0f);
                }
                for (size_t v = 0; t == 0 && v < code.vectors; v++) {
                    kept += code.indices[v] != 8 ? 1 : 0;
                }
            }
            cr_expect_eq(digests[0], digests[1]);
            cr_expect(kept > 0 && kept < most, "way %zu share %g: kept %zu, before %zu", way,
                      shares[i], kept, most);
            most = kept;
        }
    }
    vqc_arena_destroy(&arena);
}

Test(vq_fit, bad_weights_and_dead_inputs)
{
    static fixture f;
    static outcome out;
    vqc_vq_effort effort = vqc_vq_effort_default();
    vqc_vq_code code;
    vqc_arena *arena = vqc_arena_create();
    vqc_error error;
    vqc_vq_shape shape;
    double loss;

    fill(&f, 8, 20, 1);
    shape = shape_of(&f, 4, 6);
    cr_assert_not_null(arena);
    /* A dead input, and a row of zeros. */
    for (size_t i = 0; i < 20; i++) {
        f.h[i * 20 + 5] = f.h[5 * 20 + i] = 0.0f;
        f.w[i] = 0.0f;
    }
    shape.row_scales = true;
    fit(&f, &shape, true, false, 3, 1, &out);
    cr_expect(isfinite(out.loss));
    for (size_t i = 0; i < 20; i++) {
        cr_expect_float_eq(out.decoded[i], 0.0f, 0.0f);
    }
    memset(f.h, 0, 20 * 20 * sizeof *f.h);
    fit(&f, &shape, true, false, 3, 1, &out);
    cr_expect_float_eq(out.loss, 0.0, 0.0);
    f.w[3] = NAN;
    cr_expect_eq(vqc_vq_fit(&shape, f.w, f.h, 1, NULL, &effort, arena, &code, &loss, &error),
                 VQC_ERR_MODEL);
    vqc_arena_destroy(&arena);
}
