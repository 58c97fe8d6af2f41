/*
 * k-means: Lloyd's iteration over a packed sample. Sums are made over a fixed number of chunks of
 * the points and joined in order, so that the thread count changes nothing.
 */
#include "core/vq/kmeans.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/vq/kmeans_parts.h"

enum { MAX_CHUNKS = 32, CHUNK_PIECES = 4, MAX_SUM_BYTES = 256 << 20 };

/* A training in progress. Row k of sums: the features of the points of codeword k, their weights,
 * their powers, each times the point's weight. */
typedef struct trainer {
    const vqc_kmeans_options *options;
    kmeans_points points;
    size_t columns; /* of sums: features + 2 */
    size_t chunks;
    float *book;
    double *sums;   /* [chunks][count][columns]; the total is chunk 0's */
    double *errors; /* [count] */
    float *codebook;
    uint64_t random;
} trainer;

vqc_kmeans_options vqc_kmeans_options_default(size_t dim, size_t count)
{
    return (vqc_kmeans_options){.dim = dim,
                                .count = count,
                                .iterations = 50,
                                .tolerance = 2e-4,
                                .points_per_codeword = 256,
                                .seed = 1,
                                .threads = 1};
}

static size_t ceil_div(size_t a, size_t b)
{
    return a / b + (a % b != 0 ? 1 : 0);
}

/* Codes of one piece of points, added to the sums. */
static void piece_add(const trainer *t, kmeans_nearest_fn *nearest, size_t first, size_t n,
                      double *sums)
{
    const kmeans_points *points = &t->points;
    uint16_t codes[KMEANS_PIECE];
    nearest(&(vqc_nearest){.x = points->panels + first * points->features,
                           .n = n,
                           .dim = points->features,
                           .book = t->book,
                           .count = t->options->count,
                           .codes = codes});
    const size_t features = points->features;
    for (size_t p = 0; p < n; p++) {
        const size_t at = first + p;
        const float *x = points->panels + at / VQC_NEAREST_POINTS * features * VQC_NEAREST_POINTS +
                         at % VQC_NEAREST_POINTS;
        double *row = sums + (size_t)codes[p] * t->columns;
        const double w = points->weight != NULL ? (double)points->weight[at] : 1.0;
        for (size_t i = 0; i < features; i++)
            row[i] += w * (double)x[i * VQC_NEAREST_POINTS];
        row[features] += w;
        row[features + 1] += w * (double)points->power[at];
    }
}

/* Assigns every point and adds up what the codewords got, into chunk 0's sums. */
static void sums_make(trainer *t)
{
    const size_t count = t->options->count, table = count * t->columns;
    const size_t pieces = ceil_div(t->points.n, KMEANS_PIECE);
    kmeans_nearest_fn *nearest = kmeans_nearest_choose(t->points.features);
    kmeans_book_pack(t->codebook, t->points.dim, count, t->points.features > t->points.dim,
                     t->book);
    const bool parallel = t->options->threads > 1 && t->chunks > 1;
#pragma omp parallel for schedule(dynamic, 1) num_threads(t->options->threads) if (parallel)
    for (size_t chunk = 0; chunk < t->chunks; chunk++) {
        double *sums = t->sums + chunk * table;
        memset(sums, 0, table * sizeof *sums);
        const size_t last = (chunk + 1) * pieces / t->chunks;
        for (size_t piece = chunk * pieces / t->chunks; piece < last; piece++) {
            const size_t first = piece * KMEANS_PIECE, left = t->points.n - first;
            piece_add(t, nearest, first, left < KMEANS_PIECE ? left : KMEANS_PIECE, sums);
        }
    }
#pragma omp parallel for schedule(static) num_threads(t->options->threads) if (parallel)
    for (size_t i = 0; i < table; i++)
        for (size_t chunk = 1; chunk < t->chunks; chunk++)
            t->sums[i] += t->sums[chunk * table + i];
}

/* Moves every codeword to the mean of its points; errors[k] gets what is left there. Returns their
 * sum. Codewords without points stay. */
static double codewords_move(trainer *t)
{
    const size_t dim = t->points.dim, features = t->points.features;
    double total = 0.0;
    for (size_t k = 0; k < t->options->count; k++) {
        const double *row = t->sums + k * t->columns;
        float *c = t->codebook + k * dim;
        double left = row[features + 1];
        for (size_t i = 0; i < dim; i++) {
            const double weight = features > dim ? row[dim + i] : row[features];
            if (weight > 0.0) {
                c[i] = (float)(row[i] / weight);
                left -= row[i] * row[i] / weight;
            }
        }
        t->errors[k] = left > 0.0 ? left : 0.0;
        total += t->errors[k];
    }
    return total;
}

static bool is_empty(const trainer *t, size_t k)
{
    const size_t dim = t->points.dim, features = t->points.features;
    const double *row = t->sums + k * t->columns;
    if (features == dim)
        return !(row[features] > 0.0);
    for (size_t i = 0; i < dim; i++)
        if (row[dim + i] > 0.0)
            return false;
    return true;
}

/* Gives codewords without points a place beside the codeword with the largest error, which is then
 * taken to be halved; at most `most` of them. */
static size_t empty_repair(trainer *t, size_t most)
{
    const size_t dim = t->points.dim, count = t->options->count;
    size_t repaired = 0;
    for (size_t k = 0; k < count && repaired < most; k++) {
        if (!is_empty(t, k))
            continue;
        size_t heaviest = 0;
        for (size_t j = 1; j < count; j++)
            if (t->errors[j] > t->errors[heaviest])
                heaviest = j;
        if (!(t->errors[heaviest] > 0.0))
            break; /* nothing left to split */
        const double *row = t->sums + heaviest * t->columns;
        double weight = row[t->points.features];
        const double spread = weight > 0.0 ? sqrt(t->errors[heaviest] / weight / (double)dim) : 0.0;
        for (size_t i = 0; i < dim; i++) {
            const float c = t->codebook[heaviest * dim + i];
            const float step = (float)(spread * (kmeans_uniform(&t->random) - 0.5));
            t->codebook[k * dim + i] = c + step;
            t->codebook[heaviest * dim + i] = c - step;
        }
        t->errors[heaviest] *= 0.5;
        t->errors[k] = 0.0;
        repaired++;
    }
    return repaired;
}

/* Lloyd's iterations until one gains too little. */
static void iterate(trainer *t, vqc_kmeans_result *result)
{
    const size_t count = t->options->count;
    double before = HUGE_VAL;
    size_t left = count; /* repairs */
    for (size_t i = 0; i < t->options->iterations; i++) {
        sums_make(t);
        const double now = codewords_move(t);
        result->iterations = i + 1;
        result->error = now / (double)t->points.n;
        const bool settled = before - now <= t->options->tolerance * now;
        before = now;
        if (i + 1 == t->options->iterations)
            break;
        const size_t repaired = empty_repair(t, left);
        left -= repaired;
        result->repaired += repaired;
        if (settled && repaired == 0)
            break;
    }
}

/* Points [n, dim], or a sample of them, in the layout of the kernels. */
static bool points_take(trainer *t, vqc_arena *arena, const float *points, size_t n,
                        const float *weights, bool per_entry)
{
    const vqc_kmeans_options *o = t->options;
    kmeans_points *out = &t->points;
    const float *entry_weights = per_entry ? weights : NULL;
    size_t wanted, panel_floats, *rows = NULL;
    if (o->points_per_codeword == 0 || !vqc_size_mul(o->points_per_codeword, o->count, &wanted) ||
        wanted > n)
        wanted = n;
    *out = (kmeans_points){
        .n = wanted, .dim = o->dim, .features = entry_weights != NULL ? 2 * o->dim : o->dim};
    const size_t pieces = ceil_div(wanted, KMEANS_PIECE);
    if (!vqc_size_mul(pieces * KMEANS_PIECE, out->features, &panel_floats))
        return false;
    out->panels = vqc_arena_calloc(arena, panel_floats, sizeof *out->panels);
    out->power = vqc_arena_calloc(arena, wanted, sizeof *out->power);
    if (out->panels == NULL || out->power == NULL)
        return false;
    if (wanted < n) {
        rows = vqc_arena_calloc(arena, wanted, sizeof *rows);
        if (rows == NULL)
            return false;
        kmeans_sample(n, wanted, &t->random, rows);
    }
    if (weights != NULL && !per_entry) {
        out->weight = vqc_arena_calloc(arena, wanted, sizeof *out->weight);
        if (out->weight == NULL)
            return false;
        for (size_t p = 0; p < wanted; p++)
            out->weight[p] = weights[rows != NULL ? rows[p] : p];
    }
#pragma omp parallel for schedule(static) num_threads(o->threads) if (o->threads > 1 && pieces > 8)
    for (size_t piece = 0; piece < pieces; piece++) {
        const size_t first = piece * KMEANS_PIECE, left = wanted - first;
        kmeans_panels_pack(points, entry_weights, rows != NULL ? rows + first : NULL, first,
                           left < KMEANS_PIECE ? left : KMEANS_PIECE, o->dim,
                           out->panels + first * out->features, out->power + first);
    }
    return true;
}

static bool tables_make(trainer *t, vqc_arena *arena)
{
    const size_t count = t->options->count;
    t->columns = t->points.features + 2;
    const size_t bytes = count * t->columns * sizeof(double);
    const size_t pieces = ceil_div(t->points.n, KMEANS_PIECE);
    t->chunks = pieces / CHUNK_PIECES;
    t->chunks = t->chunks > MAX_CHUNKS ? MAX_CHUNKS : t->chunks;
    t->chunks = t->chunks * bytes > MAX_SUM_BYTES ? MAX_SUM_BYTES / bytes : t->chunks;
    t->chunks = t->chunks == 0 ? 1 : t->chunks;
    t->book = vqc_arena_calloc(arena, kmeans_book_floats(t->points.features, count), sizeof(float));
    t->sums = vqc_arena_calloc(arena, t->chunks, bytes);
    t->errors = vqc_arena_calloc(arena, count, sizeof(double));
    return t->book != NULL && t->sums != NULL && t->errors != NULL;
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
    trainer t = {.options = &o, .codebook = codebook, .random = o.seed};
    vqc_arena *arena = vqc_arena_create();
    const bool ok = arena != NULL && points_take(&t, arena, points, n, weights, per_entry) &&
                    tables_make(&t, arena) && kmeans_seed(&t.points, o.count, &t.random, codebook);
    if (ok)
        iterate(&t, result);
    vqc_arena_destroy(&arena);
    return ok ? VQC_OK : vqc_fail_memory(error, n * o.dim * sizeof(float));
}
