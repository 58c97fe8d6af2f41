/* k-means: the stages of a training. */
#include "core/vq/kmeans.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/vq/kmeans_trainer.h"

enum {
    DRAFT_POINTS = 32, /* per codeword, of the first stage */
    DRAFT_SHARE = 4,   /* at most one of so many points */
    DRAFT_LEAST = 16384,
    DRAFT_ITERATIONS = 20,
    EXCHANGES = 8,
    EXCHANGE_MOST = 1024, /* codewords: beyond that exchanges cost more than they bring */
    ATTEMPTS = 4,
    ATTEMPTS_MOST = 64
};

vqc_kmeans_options vqc_kmeans_options_default(size_t dim, size_t count)
{
    return (vqc_kmeans_options){.dim = dim,
                                .count = count,
                                .iterations = 50,
                                .tolerance = 5e-4,
                                .points_per_codeword = 256,
                                .seed = 1,
                                .threads = 1};
}

static size_t ceil_div(size_t a, size_t b)
{
    return a / b + (a % b != 0 ? 1 : 0);
}

/* What is trained on. */
typedef struct input {
    const float *values; /* [n, dim] */
    size_t n;
    const float *weights;
    bool per_entry;
} input;

/* `wanted` of the input's points (all: in their order; else drawn) in the layout of the kernels. */
static bool points_take(const input *in, const vqc_kmeans_options *o, size_t wanted,
                        uint64_t *random, vqc_arena *arena, kmeans_points *out)
{
    const float *entry_weights = in->per_entry ? in->weights : NULL;
    size_t panel_floats, *rows = NULL;
    *out = (kmeans_points){
        .n = wanted, .dim = o->dim, .features = entry_weights != NULL ? 2 * o->dim : o->dim};
    const size_t pieces = ceil_div(wanted, KMEANS_PIECE);
    if (!vqc_size_mul(pieces * KMEANS_PIECE, out->features, &panel_floats))
        return false;
    out->panels = vqc_arena_calloc(arena, panel_floats, sizeof *out->panels);
    out->power = vqc_arena_calloc(arena, wanted, sizeof *out->power);
    if (out->panels == NULL || out->power == NULL)
        return false;
    if (wanted < in->n) {
        rows = vqc_arena_calloc(arena, wanted, sizeof *rows);
        if (rows == NULL)
            return false;
        kmeans_sample(in->n, wanted, random, rows);
    }
    if (in->weights != NULL && !in->per_entry) {
        out->weight = vqc_arena_calloc(arena, wanted, sizeof *out->weight);
        if (out->weight == NULL)
            return false;
        for (size_t p = 0; p < wanted; p++)
            out->weight[p] = in->weights[rows != NULL ? rows[p] : p];
    }
#pragma omp parallel for schedule(static) num_threads(o->threads) if (o->threads > 1 && pieces > 8)
    for (size_t piece = 0; piece < pieces; piece++) {
        const size_t first = piece * KMEANS_PIECE, left = wanted - first;
        kmeans_panels_pack(in->values, entry_weights, rows != NULL ? rows + first : NULL, first,
                           left < KMEANS_PIECE ? left : KMEANS_PIECE, o->dim,
                           out->panels + first * out->features, out->power + first);
    }
    return true;
}

/* The number of points to train on. */
static size_t points_wanted(size_t n, const vqc_kmeans_options *o)
{
    size_t wanted;
    if (o->points_per_codeword == 0 || !vqc_size_mul(o->points_per_codeword, o->count, &wanted))
        return n;
    return wanted < n ? wanted : n;
}

/* The best codebook of a few attempts. */
static bool draft_make(kmeans_trainer *t, const kmeans_points *points, double *error,
                       vqc_kmeans_result *result)
{
    const vqc_kmeans_options *o = t->options;
    const int attempts = o->count <= ATTEMPTS_MOST ? ATTEMPTS : 1;
    const size_t floats = attempts > 1 ? o->count * o->dim : 0;
    float best[ATTEMPTS_MOST * KMEANS_MAX_DIM];
    const size_t dial = o->iterations / 4;
    const int rounds = dial < EXCHANGES ? (int)dial : EXCHANGES;
    const size_t most = o->iterations < DRAFT_ITERATIONS ? o->iterations : DRAFT_ITERATIONS;
    *error = HUGE_VAL;
    for (int i = 0; i < attempts; i++) {
        t->points = points;
        if (!kmeans_begin(t, o->count, result))
            return false;
        double now = kmeans_settle(t, most, o->tolerance, result);
        if (o->count <= EXCHANGE_MOST)
            now = kmeans_exchange(t, rounds, now, result);
        if (now < *error) {
            *error = now;
            memcpy(best, t->codebook, floats * sizeof *best);
        }
    }
    memcpy(t->codebook, best, floats * sizeof *best);
    return true;
}

/*
 * A draft on a small sample of the points first, because iterations on it cost little: k-means++,
 * Lloyd's iterations, exchanges out of local optima. Then Lloyd's iterations on all points that
 * were asked for. false when out of memory.
 */
static bool train(const input *in, const vqc_kmeans_options *o, float *codebook,
                  vqc_kmeans_result *result)
{
    const size_t wanted = points_wanted(in->n, o),
                 features = in->weights != NULL && in->per_entry ? 2 * o->dim : o->dim;
    size_t draft = DRAFT_POINTS * o->count;
    draft = draft > wanted / DRAFT_SHARE ? wanted / DRAFT_SHARE : draft;
    draft = draft < (size_t)DRAFT_SHARE * o->count ? (size_t)DRAFT_SHARE * o->count : draft;
    draft = draft < DRAFT_LEAST ? DRAFT_LEAST : draft;
    const bool drafts = draft * 2 < wanted;
    kmeans_trainer t = {.options = o, .codebook = codebook, .random = o->seed};
    kmeans_points small, all;
    double error = 0.0;
    vqc_arena *arena = vqc_arena_create();
    bool ok = arena != NULL && points_take(in, o, wanted, &t.random, arena, &all) &&
              (!drafts || points_take(in, o, draft, &t.random, arena, &small)) &&
              kmeans_trainer_make(&t, arena, wanted, features, o->count);
    if (ok)
        ok = draft_make(&t, drafts ? &small : &all, &error, result);
    if (ok) {
        kmeans_trainer_stage(&t, &all, o->count);
        error = kmeans_settle(&t, o->iterations, o->tolerance, result);
        result->error = error / (double)wanted;
    }
    vqc_arena_destroy(&arena);
    return ok;
}

/* Every point a codeword; the rest repeat. */
static void few_points(const float *points, size_t n, const vqc_kmeans_options *o, float *codebook)
{
    for (size_t k = 0; k < o->count; k++)
        for (size_t i = 0; i < o->dim; i++)
            codebook[k * o->dim + i] = n > 0 ? points[k % n * o->dim + i] : 0.0f;
}

vqc_status vqc_kmeans_train(const float *points, size_t n, const float *weights, bool per_entry,
                            const vqc_kmeans_options *options, float *codebook,
                            vqc_kmeans_result *result, vqc_error *error)
{
    vqc_kmeans_result unused;
    vqc_kmeans_options o = *options;
    if (o.dim == 0 || o.dim > KMEANS_MAX_DIM || o.count == 0 || o.count > KMEANS_MAX_COUNT)
        return vqc_fail(error, VQC_ERR_INTERNAL, "k-means: dim %zu, %zu codewords", o.dim, o.count);
    o.threads = o.threads < 1 ? 1 : o.threads;
    o.iterations = o.iterations < 1 ? 1 : o.iterations;
    result = result != NULL ? result : &unused;
    *result = (vqc_kmeans_result){0};
    if (n <= o.count) {
        few_points(points, n, &o, codebook);
        return VQC_OK;
    }
    if (o.dim == 1)
        return kmeans_line_train(points, n, weights, &o, codebook, result, error);
    const input in = {points, n, weights, per_entry};
    return train(&in, &o, codebook, result) ? VQC_OK
                                            : vqc_fail_memory(error, n * o.dim * sizeof(float));
}
