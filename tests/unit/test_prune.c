/* Pruning of one matrix: exact counts, patterns, compensation. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/prune/prune.h"
#include "core/prune/prune_select.h"
#include "tests/unit/model_builder.h"

enum { SAMPLES = 100 };

static float *gaussians(size_t n, uint64_t seed)
{
    mb_random random = {seed};
    float *x = malloc((n + 1) * sizeof *x);

    cr_assert_not_null(x);
    mb_random_fill(&random, x, n, 1.0f, 0.0f);
    return x;
}

/* Second moments [groups][n][n] of neighbours that resemble one another. */
static float *second_moments(size_t groups, size_t n, uint64_t seed)
{
    float *h = calloc(groups * n * n + 1, sizeof *h);

    cr_assert_not_null(h);
    for (size_t g = 0; g < groups; g++) {
        float *x = gaussians(n * SAMPLES, seed + g);
        for (size_t s = 0; s < SAMPLES; s++) {
            for (size_t j = 1; j < n; j++) {
                x[s * n + j] = 0.7f * x[s * n + j - 1] + 0.7f * x[s * n + j];
            }
            for (size_t i = 0; i < n; i++) {
                for (size_t j = 0; j < n; j++) {
                    h[(g * n + i) * n + j] += x[s * n + i] * x[s * n + j] / (float)SAMPLES;
                }
            }
        }
        free(x);
    }
    return h;
}

static size_t zeros_of(const uint8_t *mask, size_t n)
{
    size_t zeros = 0;

    for (size_t i = 0; i < n; i++) {
        cr_assert(mask[i] <= 1);
        zeros += mask[i] == 0;
    }
    return zeros;
}

/* What is masked out is 0, what is kept without compensation is as it was. */
static void expect_applied(const float *before, const float *after, const uint8_t *mask, size_t n,
                           bool compensated)
{
    for (size_t i = 0; i < n; i++) {
        if (mask[i] == 0) {
            cr_assert(after[i] == 0.0f && !signbit(after[i]));
        } else if (!compensated) {
            cr_assert_eq(after[i], before[i]);
        }
    }
}

Test(prune, cut_takes_exactly_the_lowest)
{
    mb_random random = {11};

    for (size_t round = 0; round < 200; round++) {
        size_t n = mb_random_below(&random, 3000) + 1;
        size_t k = mb_random_below(&random, n + 1);
        size_t split = mb_random_below(&random, n + 1);
        float *scores = malloc(n * sizeof *scores);
        uint8_t *mask = malloc(n);
        float largest_gone = -1.0f, least_kept = INFINITY;
        size_t last_gone = 0, first_kept = n;
        cr_assert(scores != NULL && mask != NULL);
        mb_random_fill(&random, scores, n, 1.0f, 0.0f);
        for (size_t i = 0; i < n; i++) {
            scores[i] = fabsf(scores[i]);
            if (round % 2 == 0) {
                scores[i] = floorf(scores[i] * 4.0f) * 0.25f; /* many ties */
            }
            scores[i] *= round % 5 == 0 ? 1e-41f : 1.0f; /* denormals */
        }
        vqc_prune_cut cut = vqc_prune_cut_find((const float *const[]){scores, scores + split},
                                               (const size_t[]){split, n - split}, 2, k);
        vqc_prune_cut_apply(&cut, scores, split, mask);
        vqc_prune_cut_apply(&cut, scores + split, n - split, mask + split);
        cr_assert_eq(zeros_of(mask, n), k);
        for (size_t i = 0; i < n; i++) {
            if (mask[i] == 0 && scores[i] >= largest_gone) {
                largest_gone = scores[i];
                last_gone = i;
            }
            if (mask[i] != 0 && scores[i] < least_kept) {
                least_kept = scores[i];
                first_kept = i;
            }
        }
        cr_assert(largest_gone < least_kept ||
                  (largest_gone == least_kept && last_gone < first_kept));
        free(scores);
        free(mask);
    }
}

static int by_value(const void *a, const void *b)
{
    float x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y ? 1 : 0;
}

/* Scores of many kinds: a sample of them, or their evenly spread bits, may mislead. */
static float score_of_kind(size_t kind, size_t i, mb_random *random)
{
    uint32_t bits = (uint32_t)mb_random_below(random, 0x7f000000);
    float uniform = (float)mb_random_below(random, 1 << 24) / (float)(1 << 24), any;

    memcpy(&any, &bits, sizeof any);
    switch (kind) {
    case 0:
        return uniform;
    case 1:
        return 0.25f; /* all equal */
    case 2:
        return uniform < 0.9f ? 0.0f : uniform;
    case 3:
        return floorf(uniform * 4.0f) * 0.125f; /* four values */
    case 4:
        return any; /* every exponent */
    case 5:
        return i % 100 < 99 ? 1.0f + uniform * 1e-6f : uniform; /* nearly all next to 1 */
    default:
        return i % 64 == 0 ? 1000.0f + uniform : uniform; /* in step with a sample */
    }
}

Test(prune, cut_of_many_scores)
{
    static const size_t lengths[] = {1025, 20000, 1 << 17};
    mb_random random = {23};

    for (size_t kind = 0; kind < 7; kind++) {
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            size_t n = lengths[l], first = mb_random_below(&random, n);
            float *scores = malloc(n * sizeof *scores), *sorted = malloc(n * sizeof *sorted);
            cr_assert(scores != NULL && sorted != NULL);
            for (size_t i = 0; i < n; i++) {
                scores[i] = score_of_kind(kind, i, &random);
            }
            memcpy(sorted, scores, n * sizeof *sorted);
            qsort(sorted, n, sizeof *sorted, by_value);
            for (size_t round = 0; round < 12; round++) {
                size_t k = round == 0 ? 1 : round == 1 ? n : 1 + mb_random_below(&random, n);
                size_t ties = 1;
                vqc_prune_cut cut =
                    vqc_prune_cut_find((const float *const[]){scores, scores + first, scores},
                                       (const size_t[]){first, n - first, 0}, 3, k);
                while (ties < k && sorted[k - 1 - ties] == sorted[k - 1]) {
                    ties++;
                }
                cr_assert_eq(cut.threshold, sorted[k - 1], "kind %zu, rank %zu of %zu: %.9g, %.9g",
                             kind, k, n, (double)cut.threshold, (double)sorted[k - 1]);
                cr_assert_eq(cut.ties, ties, "kind %zu, rank %zu of %zu: ties %zu, %zu", kind, k, n,
                             cut.ties, ties);
            }
            free(scores);
            free(sorted);
        }
    }
}

typedef struct shape {
    size_t rows, cols, groups;
} shape;

static const shape shapes[] = {{1, 1, 1},   {3, 7, 1},    {5, 64, 1},  {16, 130, 1},
                               {8, 150, 2}, {12, 131, 3}, {40, 33, 4}, {130, 129, 1}};

/* Prunes random matrices by every score, with and without compensation. */
static void for_every_score(vqc_prune_request request,
                            void (*check)(const vqc_prune_request *, const shape *,
                                          const uint8_t *))
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        size_t n = s->rows * s->cols;
        float *h = second_moments(s->groups, s->cols, 5 + i);
        vqc_prune_input input = {.groups = s->groups, .second = h};
        for (int score = VQC_PRUNE_SCORE_MAGNITUDE; score <= VQC_PRUNE_SCORE_OBS; score++) {
            for (int compensate = 0; compensate < 2; compensate++) {
                float *before = gaussians(n, 77 + i);
                float *after = gaussians(n, 77 + i);
                uint8_t *mask = malloc(n + 1);
                cr_assert_not_null(mask);
                request.score = (vqc_prune_score)score;
                request.compensate = compensate != 0;
                cr_assert_eq(
                    vqc_prune_matrix(&request, &input, s->rows, s->cols, after, mask, NULL, NULL),
                    VQC_OK);
                expect_applied(before, after, mask, n, request.compensate);
                check(&request, s, mask);
                free(before);
                free(after);
                free(mask);
            }
        }
        free(h);
    }
}

static void expect_count(const vqc_prune_request *request, const shape *s, const uint8_t *mask)
{
    size_t n = s->rows * s->cols;

    cr_assert_eq(zeros_of(mask, n), vqc_prune_count(request->sparsity, n));
    for (size_t r = 0; r < s->rows && request->per_row && !request->compensate; r++) {
        size_t zeros = zeros_of(mask + r * s->cols, s->cols);
        cr_assert(fabs((double)zeros - request->sparsity * (double)s->cols) < 1.5);
    }
}

Test(prune, unstructured_sparsity_is_exact)
{
    static const double shares[] = {0.0, 0.31, 0.5, 0.9, 1.0};
    vqc_prune_request request = vqc_prune_request_default();

    request.threads = 2;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        request.sparsity = shares[i];
        request.per_row = i % 2 == 1;
        for_every_score(request, expect_count);
    }
}

static void expect_groups(const vqc_prune_request *request, const shape *s, const uint8_t *mask)
{
    size_t keep = request->pattern.keep, of = request->pattern.of;

    for (size_t r = 0; r < s->rows; r++) {
        for (size_t c = 0; c < s->cols; c += of) {
            size_t length = s->cols - c < of ? s->cols - c : of;
            size_t kept = length - zeros_of(mask + r * s->cols + c, length);
            cr_assert_eq(kept, length == of ? keep : (keep * length + of - 1) / of);
        }
    }
}

Test(prune, random_patterns_keep_exactly_n_of_m)
{
    mb_random random = {3};
    vqc_prune_request request = vqc_prune_request_default();

    request.pattern.kind = VQC_PRUNE_N_OF_M;
    request.threads = 2;
    for (size_t i = 0; i < 12; i++) {
        request.pattern.of = 2 + mb_random_below(&random, VQC_PRUNE_MAX_GROUP - 1);
        request.pattern.keep = 1 + mb_random_below(&random, request.pattern.of - 1);
        for_every_score(request, expect_groups);
    }
}

static void expect_blocks(const vqc_prune_request *request, const shape *s, const uint8_t *mask)
{
    size_t br = request->pattern.block_rows, bc = request->pattern.block_cols;
    size_t down = (s->rows + br - 1) / br, across = (s->cols + bc - 1) / bc, zeros = 0;

    for (size_t b = 0; b < down * across; b++) {
        uint8_t kept = mask[b / across * br * s->cols + b % across * bc];
        zeros += kept == 0;
        for (size_t r = b / across * br; r < s->rows && r < (b / across + 1) * br; r++) {
            for (size_t c = b % across * bc; c < s->cols && c < (b % across + 1) * bc; c++) {
                cr_assert_eq(mask[r * s->cols + c], kept);
            }
        }
    }
    cr_assert_eq(zeros, vqc_prune_count(request->sparsity, down * across));
}

Test(prune, blocks_go_as_a_whole)
{
    vqc_prune_request request = vqc_prune_request_default();

    request.pattern =
        (vqc_prune_pattern){.kind = VQC_PRUNE_BLOCK, .block_rows = 4, .block_cols = 3};
    for_every_score(request, expect_blocks);
    request.pattern.block_rows = 1;
    request.pattern.block_cols = 128;
    for_every_score(request, expect_blocks);
    request.pattern.block_rows = 128;
    request.pattern.block_cols = 1;
    request.sparsity = 0.75;
    for_every_score(request, expect_blocks);
}

Test(prune, wanda_weighs_by_the_power_of_the_input)
{
    float w[] = {3.0f, -1.0f, 0.5f, -2.0f};
    const double power[] = {0.01, 4.0, 100.0, 0.25};
    vqc_prune_request request = vqc_prune_request_default();
    vqc_prune_input input = {.groups = 1, .power = power};
    uint8_t mask[4];

    request.score = VQC_PRUNE_SCORE_WANDA;
    request.compensate = false;
    cr_assert_eq(vqc_prune_matrix(&request, &input, 1, 4, w, mask, NULL, NULL), VQC_OK);
    cr_assert_arr_eq(mask, ((uint8_t[]){0, 1, 1, 0}), 4);
}

/* d H d^T of one row */
static double quadratic(const double *d, const float *h, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            sum += d[i] * (double)h[i * n + j] * d[j];
        }
    }
    return sum;
}

/* Least loss of one row whose kept entries are free: Gauss elimination on H_KK x = (w H)_K. */
static double best_loss(const float *w, const float *h, const uint8_t *mask, size_t n)
{
    double a[16][17] = {{0}}, d[16];
    size_t at[16], kept = 0;

    for (size_t i = 0; i < n; i++) {
        d[i] = (double)w[i];
        at[kept] = i;
        kept += mask[i];
    }
    for (size_t i = 0; i < kept; i++) {
        for (size_t j = 0; j < kept; j++) {
            a[i][j] = (double)h[at[i] * n + at[j]];
        }
        for (size_t j = 0; j < n; j++) {
            a[i][kept] += (double)h[at[i] * n + j] * (double)w[j];
        }
    }
    for (size_t p = 0; p < kept; p++) {
        for (size_t i = 0; i < kept; i++) {
            double factor = i == p ? 0.0 : a[i][p] / a[p][p];
            for (size_t j = p; j <= kept; j++) {
                a[i][j] -= factor * a[p][j];
            }
        }
    }
    for (size_t i = 0; i < kept; i++) {
        d[at[i]] -= a[i][kept] / a[i][i];
    }
    return quadratic(d, h, n);
}

Test(prune, compensated_rows_reach_least_squares_and_are_near_the_best_mask)
{
    enum { N = 8 };
    double got_sum = 0.0, best_sum = 0.0, magnitude_sum = 0.0;

    for (uint64_t seed = 0; seed < 40; seed++) {
        float *h = second_moments(1, N, 100 + seed);
        float *w = gaussians(N, 200 + seed);
        float *pruned = gaussians(N, 200 + seed);
        vqc_prune_input input = {.groups = 1, .second = h};
        vqc_prune_request request = vqc_prune_request_default();
        uint8_t mask[N];
        double d[N], loss, least = INFINITY;
        request.damping = 1e-6;
        request.steps = 30;
        cr_assert_eq(vqc_prune_matrix(&request, &input, 1, N, pruned, mask, &loss, NULL), VQC_OK);
        for (size_t i = 0; i < N; i++) {
            d[i] = (double)w[i] - (double)pruned[i];
        }
        double got = quadratic(d, h, N);
        cr_assert_float_eq(got, best_loss(w, h, mask, N), 1e-4 * got + 1e-6);
        for (unsigned bits = 0; bits < 1u << N; bits++) {
            uint8_t other[N];
            for (size_t i = 0; i < N; i++) {
                other[i] = bits >> i & 1u;
            }
            if (zeros_of(other, N) == N / 2) {
                least = fmin(least, best_loss(w, h, other, N));
            }
        }
        cr_assert(got >= least - 1e-5);
        got_sum += got;
        best_sum += least;
        request.score = VQC_PRUNE_SCORE_MAGNITUDE;
        request.compensate = false;
        memcpy(pruned, w, N * sizeof *w);
        cr_assert_eq(vqc_prune_matrix(&request, &input, 1, N, pruned, mask, NULL, NULL), VQC_OK);
        for (size_t i = 0; i < N; i++) {
            d[i] = (double)w[i] - (double)pruned[i];
        }
        magnitude_sum += quadratic(d, h, N);
        free(h);
        free(w);
        free(pruned);
    }
    cr_expect(got_sum < 0.6 * magnitude_sum, "%g %g %g", got_sum, best_sum, magnitude_sum);
    cr_expect(got_sum < 1.7 * best_sum, "%g %g %g", got_sum, best_sum, magnitude_sum);
}

Test(prune, more_steps_never_lose_and_scores_are_ranked)
{
    const size_t rows = 24, cols = 200;
    float *h = second_moments(2, cols, 9);
    vqc_prune_input input = {.groups = 2, .second = h};
    uint8_t *mask = malloc(rows * cols);
    double last = INFINITY, loss[4];

    cr_assert_not_null(mask);
    for (int steps = 0; steps < 12; steps++) {
        vqc_prune_request request = vqc_prune_request_default();
        float *w = gaussians(rows * cols, 4);
        double now;
        request.steps = steps;
        cr_assert_eq(vqc_prune_matrix(&request, &input, rows, cols, w, mask, &now, NULL), VQC_OK);
        cr_assert(now <= last * (1.0 + 1e-6), "%d steps: %g after %g", steps, now, last);
        last = now;
        free(w);
    }
    for (int score = VQC_PRUNE_SCORE_MAGNITUDE; score <= VQC_PRUNE_SCORE_OBS + 1; score++) {
        vqc_prune_request request = vqc_prune_request_default();
        float *w = gaussians(rows * cols, 4);
        request.compensate = score > VQC_PRUNE_SCORE_OBS;
        request.score = request.compensate ? VQC_PRUNE_SCORE_OBS : (vqc_prune_score)score;
        cr_assert_eq(
            vqc_prune_matrix(&request, &input, rows, cols, w, mask, &loss[score - 1], NULL),
            VQC_OK);
        free(w);
    }
    cr_expect(loss[1] < 1.1 * loss[0], "wanda %g, magnitude %g", loss[1], loss[0]);
    cr_expect(loss[3] < 0.6 * loss[2], "compensated %g, obs %g", loss[3], loss[2]);
    free(mask);
    free(h);
}

Test(prune, the_same_bits_at_any_number_of_threads)
{
    const size_t rows = 130, cols = 517;
    float *h = second_moments(1, cols, 9);
    vqc_prune_input input = {.groups = 1, .second = h};
    static const vqc_prune_pattern patterns[] = {
        {.kind = VQC_PRUNE_UNSTRUCTURED},
        {.kind = VQC_PRUNE_N_OF_M, .keep = 2, .of = 4},
        {.kind = VQC_PRUNE_BLOCK, .block_rows = 8, .block_cols = 2}};

    for (size_t i = 0; i < 3; i++) {
        float *w[2];
        uint8_t *mask[2];
        for (int t = 0; t < 2; t++) {
            vqc_prune_request request = vqc_prune_request_default();
            request.pattern = patterns[i];
            request.threads = 1 + 2 * t;
            w[t] = gaussians(rows * cols, 4);
            mask[t] = malloc(rows * cols);
            cr_assert_not_null(mask[t]);
            cr_assert_eq(vqc_prune_matrix(&request, &input, rows, cols, w[t], mask[t], NULL, NULL),
                         VQC_OK);
        }
        cr_assert_arr_eq(w[0], w[1], rows * cols * sizeof **w);
        cr_assert_arr_eq(mask[0], mask[1], rows * cols);
        for (int t = 0; t < 2; t++) {
            free(w[t]);
            free(mask[t]);
        }
    }
    free(h);
}

Test(prune, dead_inputs_go_first_and_odd_values_are_refused)
{
    enum { N = 6 };
    float h[N * N] = {0};
    float w[N] = {1.0f, 50.0f, 1.0f, 60.0f, 1.0f, 1.0f};
    vqc_prune_input input = {.groups = 1, .second = h};
    vqc_prune_request request = vqc_prune_request_default();
    uint8_t mask[N];
    vqc_error error;

    for (size_t i = 0; i < N; i++) {
        h[i * N + i] = i == 1 || i == 3 ? 0.0f : 1.0f; /* 1 and 3 are never anything but 0 */
    }
    request.sparsity = 2.0 / N;
    request.damping = 1e-5;
    cr_assert_eq(vqc_prune_matrix(&request, &input, 1, N, w, mask, NULL, NULL), VQC_OK);
    cr_assert_arr_eq(mask, ((uint8_t[]){1, 0, 1, 0, 1, 1}), N);
    w[2] = NAN;
    cr_assert_eq(vqc_prune_matrix(&request, &input, 1, N, w, mask, NULL, &error), VQC_ERR_MODEL);
    cr_assert_str_eq(error.message, "has NaN or infinite weights");
    w[2] = 1.0f;
    input.second = NULL;
    cr_assert_eq(vqc_prune_matrix(&request, &input, 1, N, w, mask, NULL, &error), VQC_ERR_INTERNAL);
}
