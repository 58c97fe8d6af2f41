/*
 * k-means: Lloyd's iteration. Sums are made over a fixed number of chunks of the points and joined
 * in order, so that the thread count changes nothing.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/vq/kmeans_trainer.h"

/* Steps of more than the way to the mean, of less than twice it, still lower the error, and reach
 * the end in fewer iterations; the last step is a plain one. */
#define STRIDE 1.8

enum { MAX_CHUNKS = 32, CHUNK_PIECES = 4, MAX_SUM_BYTES = 256 << 20 };

static size_t ceil_div(size_t a, size_t b)
{
    return a / b + (a % b != 0 ? 1 : 0);
}

/* A point added to its codeword's row. */
static inline __attribute__((always_inline)) void row_add(double *row, const float *x, double w,
                                                          double power, size_t features)
{
    for (size_t i = 0; i < features; i++)
        row[i] += w * (double)x[i * VQC_NEAREST_POINTS];
    row[features] += w;
    row[features + 1] += w * power;
}

static inline __attribute__((always_inline)) void rows_add(const kmeans_points *points,
                                                           size_t first, size_t n,
                                                           const uint16_t *codes, size_t features,
                                                           double *sums)
{
    for (size_t p = 0; p < n; p++) {
        const size_t at = first + p;
        const float *x = points->panels + at / VQC_NEAREST_POINTS * features * VQC_NEAREST_POINTS +
                         at % VQC_NEAREST_POINTS;
        double *row = sums + (size_t)codes[p] * (features + 2);
        const double power = (double)points->power[at];
        if (points->weight == NULL)
            row_add(row, x, 1.0, power, features);
        else
            row_add(row, x, (double)points->weight[at], power, features);
    }
}

/* Codes of one piece of points, added to the sums. */
static void piece_add(const kmeans_trainer *t, kmeans_nearest_fn *nearest, size_t first, size_t n,
                      double *sums)
{
    const kmeans_points *points = t->points;
    uint16_t codes[KMEANS_PIECE];
    nearest(&(vqc_nearest){.x = points->panels + first * points->features,
                           .n = n,
                           .dim = points->features,
                           .book = t->book,
                           .count = t->count,
                           .codes = codes});
    if (points->features == 2)
        rows_add(points, first, n, codes, 2, sums);
    else if (points->features == 4)
        rows_add(points, first, n, codes, 4, sums);
    else if (points->features == 8)
        rows_add(points, first, n, codes, 8, sums);
    else
        rows_add(points, first, n, codes, points->features, sums);
}

/* Assigns every point and adds up what the codewords got, into chunk 0's sums. */
static void sums_make(kmeans_trainer *t)
{
    const size_t count = t->count, table = count * t->columns;
    const size_t pieces = ceil_div(t->points->n, KMEANS_PIECE);
    kmeans_nearest_fn *nearest = kmeans_nearest_choose(t->points->features);
    kmeans_book_pack(t->codebook, t->points->dim, count, t->points->features > t->points->dim,
                     t->book);
    const bool parallel = t->options->threads > 1 && t->chunks > 1;
#pragma omp parallel for schedule(dynamic, 1) num_threads(t->options->threads) if (parallel)
    for (size_t chunk = 0; chunk < t->chunks; chunk++) {
        double *sums = t->sums + chunk * table;
        memset(sums, 0, table * sizeof *sums);
        const size_t last = (chunk + 1) * pieces / t->chunks;
        for (size_t piece = chunk * pieces / t->chunks; piece < last; piece++) {
            const size_t first = piece * KMEANS_PIECE, left = t->points->n - first;
            piece_add(t, nearest, first, left < KMEANS_PIECE ? left : KMEANS_PIECE, sums);
        }
    }
#pragma omp parallel for schedule(static) num_threads(t->options->threads) if (parallel)
    for (size_t i = 0; i < table; i++)
        for (size_t chunk = 1; chunk < t->chunks; chunk++)
            t->sums[i] += t->sums[chunk * table + i];
}

/* Moves every codeword `stride` of the way to the mean of its points; errors[k] gets what is left
 * there. Returns their sum. Codewords without points stay. */
static double codewords_move(kmeans_trainer *t, double stride)
{
    const size_t dim = t->points->dim, features = t->points->features;
    double total = 0.0;
    for (size_t k = 0; k < t->count; k++) {
        const double *row = t->sums + k * t->columns;
        float *c = t->codebook + k * dim;
        double left = row[features + 1];
        for (size_t i = 0; i < dim; i++) {
            const double weight = features > dim ? row[dim + i] : row[features];
            if (weight > 0.0) {
                c[i] = (float)((double)c[i] + stride * (row[i] / weight - (double)c[i]));
                left -= row[i] * row[i] / weight;
            }
        }
        t->errors[k] = left > 0.0 ? left : 0.0;
        total += t->errors[k];
    }
    return total;
}

static bool is_empty(const kmeans_trainer *t, size_t k)
{
    const size_t dim = t->points->dim, features = t->points->features;
    const double *row = t->sums + k * t->columns;
    if (features == dim)
        return !(row[features] > 0.0);
    for (size_t i = 0; i < dim; i++)
        if (row[dim + i] > 0.0)
            return false;
    return true;
}

int kmeans_heavier_first(const void *a, const void *b)
{
    const kmeans_share *x = a, *y = b;
    if (x->share != y->share)
        return x->share > y->share ? -1 : 1;
    return x->codeword < y->codeword ? -1 : 1;
}

void kmeans_order(kmeans_trainer *t)
{
    for (size_t k = 0; k < t->count; k++)
        t->order[k] = (kmeans_share){t->errors[k], k};
    qsort(t->order, t->count, sizeof *t->order, kmeans_heavier_first);
}

void kmeans_split_one(kmeans_trainer *t, size_t from, size_t to)
{
    const size_t dim = t->points->dim, features = t->points->features;
    const double *row = t->sums + from * t->columns;
    double weight = features == dim ? (double)dim * row[features] : 0.0;
    for (size_t i = dim; i < features; i++)
        weight += row[i];
    const double spread = weight > 0.0 ? sqrt(t->errors[from] / weight) : 0.0;
    for (size_t i = 0; i < dim; i++) {
        const float c = t->codebook[from * dim + i];
        const float step = (float)(spread * (kmeans_uniform(&t->random) - 0.5));
        t->codebook[to * dim + i] = c + step;
        t->codebook[from * dim + i] = c - step;
    }
}

/* Gives codewords without points a place beside those with the largest errors, at most `most` of
 * them. */
static size_t empty_repair(kmeans_trainer *t, size_t most)
{
    size_t repaired = 0;
    for (size_t k = 0; k < t->count && repaired < most; k++) {
        if (!is_empty(t, k))
            continue;
        if (repaired == 0)
            kmeans_order(t);
        if (!(t->order[repaired].share > 0.0))
            break; /* nothing left to split */
        kmeans_split_one(t, t->order[repaired].codeword, k);
        repaired++;
    }
    return repaired;
}

double kmeans_iterate(kmeans_trainer *t, double stride)
{
    sums_make(t);
    return codewords_move(t, stride);
}

double kmeans_settle(kmeans_trainer *t, size_t most, double tolerance, vqc_kmeans_result *result)
{
    double before = HUGE_VAL;
    size_t left = t->count; /* repairs */
    for (size_t i = 1;; i++) {
        const double now = kmeans_iterate(t, STRIDE);
        const bool settled = before - now <= tolerance * now;
        before = now;
        result->iterations++;
        if (i < most) {
            const size_t repaired = empty_repair(t, left);
            left -= repaired;
            result->repaired += repaired;
            if (!settled || repaired > 0)
                continue;
        }
        codewords_move(t, 1.0);
        return now;
    }
}

bool kmeans_trainer_make(kmeans_trainer *t, vqc_arena *arena, size_t n, size_t features,
                         size_t count)
{
    t->columns = features + 2;
    const size_t bytes = count * t->columns * sizeof(double);
    size_t chunks = ceil_div(n, KMEANS_PIECE) / CHUNK_PIECES;
    chunks = chunks > MAX_CHUNKS ? MAX_CHUNKS : chunks;
    chunks = chunks * bytes > MAX_SUM_BYTES ? MAX_SUM_BYTES / bytes : chunks;
    t->max_chunks = chunks == 0 ? 1 : chunks;
    t->book = vqc_arena_calloc(arena, kmeans_book_floats(features, count), sizeof *t->book);
    t->sums = vqc_arena_calloc(arena, t->max_chunks, bytes);
    t->errors = vqc_arena_calloc(arena, count, sizeof *t->errors);
    t->order = vqc_arena_calloc(arena, count, sizeof *t->order);
    t->cheap = vqc_arena_calloc(arena, count, sizeof *t->cheap);
    t->touched = vqc_arena_calloc(arena, count, sizeof *t->touched);
    t->kept = vqc_arena_calloc(arena, count * t->options->dim, sizeof *t->kept);
    return t->book != NULL && t->sums != NULL && t->errors != NULL && t->order != NULL &&
           t->cheap != NULL && t->touched != NULL && t->kept != NULL;
}

void kmeans_trainer_stage(kmeans_trainer *t, const kmeans_points *points, size_t count)
{
    const size_t chunks = ceil_div(points->n, KMEANS_PIECE) / CHUNK_PIECES;
    t->points = points;
    t->count = count;
    t->chunks = chunks > t->max_chunks ? t->max_chunks : chunks == 0 ? 1 : chunks;
}
