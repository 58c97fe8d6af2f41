/*
 * Times core/vq/kmeans.h, for kmeans_bench.py.
 *
 *     kmeans_time train POINTS DIM COUNT THREADS ROUNDS ITERATIONS TOLERANCE PER_CODEWORD CODEBOOK
 *     kmeans_time gauss DIM COUNT PER_CODEWORD HELD_OUT THREADS SEED
 *
 * train: POINTS holds float32 rows; trains ROUNDS times on them (ITERATIONS 0, TOLERANCE or
 * PER_CODEWORD negative: the default), then assigns them as often; writes the codebook and prints
 * "train_s assign_s iterations error" of the fastest. gauss: trains on PER_CODEWORD * COUNT unit
 * normal points (at least 2^20 numbers) and prints "train_s sqnr_train sqnr_held_out iterations".
 * With KMEANS_TIME_CPU in the environment seconds are processor time.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/vq/kmeans.h"

static double now_s(void)
{
    struct timespec t;
    clock_gettime(getenv("KMEANS_TIME_CPU") != NULL ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC,
                  &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t state;

static double uniform(void)
{
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* Unit normal numbers (Box and Muller). */
static float *normals(size_t n)
{
    float *x = malloc((n + 1) * sizeof *x);
    for (size_t i = 0; x != NULL && i < n; i += 2) {
        const double r = sqrt(-2.0 * log(1.0 - uniform())), a = 6.283185307179586 * uniform();
        x[i] = (float)(r * cos(a));
        x[i + 1] = (float)(r * sin(a));
    }
    return x;
}

static int fail(const char *what)
{
    fprintf(stderr, "kmeans_time: %s\n", what);
    return 1;
}

static float *read_points(const char *path, size_t dim, size_t *n)
{
    FILE *file = fopen(path, "rb");
    float *points = NULL;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        return NULL;
    *n = (size_t)ftell(file) / sizeof *points / dim;
    rewind(file);
    points = malloc(*n * dim * sizeof *points + 1);
    if (points != NULL && fread(points, dim * sizeof *points, *n, file) != *n)
        *n = 0;
    fclose(file);
    return points;
}

static int train(char **a)
{
    const size_t dim = strtoul(a[1], NULL, 10), count = strtoul(a[2], NULL, 10);
    const int rounds = atoi(a[4]);
    size_t n = 0;
    float *points = read_points(a[0], dim, &n), *codebook = malloc(count * dim * sizeof *codebook);
    uint16_t *codes = malloc(n * sizeof *codes + 1);
    vqc_kmeans_options o = vqc_kmeans_options_default(dim, count);
    vqc_kmeans_result result = {0};
    double best_train = HUGE_VAL, best_assign = HUGE_VAL;
    if (points == NULL || codebook == NULL || codes == NULL || n == 0)
        return fail("cannot read the points");
    o.threads = atoi(a[3]);
    if (atoi(a[5]) > 0)
        o.iterations = strtoul(a[5], NULL, 10);
    if (atof(a[6]) >= 0.0)
        o.tolerance = atof(a[6]);
    if (atoi(a[7]) >= 0)
        o.points_per_codeword = strtoul(a[7], NULL, 10);
    for (int i = 0; i < rounds; i++) {
        double start = now_s();
        if (vqc_kmeans_train(points, n, NULL, false, &o, codebook, &result, NULL) != VQC_OK)
            return fail("training failed");
        best_train = fmin(best_train, now_s() - start);
        start = now_s();
        if (vqc_kmeans_assign(points, n, NULL, codebook, dim, count, o.threads, codes, NULL,
                              NULL) != VQC_OK)
            return fail("assignment failed");
        best_assign = fmin(best_assign, now_s() - start);
    }
    FILE *out = fopen(a[8], "wb");
    if (out == NULL || fwrite(codebook, dim * sizeof *codebook, count, out) != count ||
        fclose(out) != 0)
        return fail("cannot write the codebook");
    printf("%.6f %.6f %zu %.9g\n", best_train, best_assign, result.iterations, result.error);
    free(points);
    free(codebook);
    free(codes);
    return 0;
}

static int gauss(char **a)
{
    const size_t dim = strtoul(a[0], NULL, 10), count = strtoul(a[1], NULL, 10);
    const size_t per = strtoul(a[2], NULL, 10), held = strtoul(a[3], NULL, 10);
    const size_t least = ((size_t)1 << 20) / dim, n = per * count > least ? per * count : least;
    state = strtoul(a[5], NULL, 10);
    float *points = normals(n * dim), *test = normals(held * dim);
    float *codebook = malloc(count * dim * sizeof *codebook);
    float *distances = malloc(held * sizeof *distances);
    uint16_t *codes = malloc(held * sizeof *codes);
    vqc_kmeans_options o = vqc_kmeans_options_default(dim, count);
    vqc_kmeans_result result;
    if (points == NULL || test == NULL || codebook == NULL || distances == NULL || codes == NULL)
        return fail("out of memory");
    o.threads = atoi(a[4]);
    o.points_per_codeword = 0;
    const double start = now_s();
    if (vqc_kmeans_train(points, n, NULL, false, &o, codebook, &result, NULL) != VQC_OK)
        return fail("training failed");
    const double seconds = now_s() - start;
    if (vqc_kmeans_assign(test, held, NULL, codebook, dim, count, o.threads, codes, distances,
                          NULL) != VQC_OK)
        return fail("assignment failed");
    double error = 0.0, power = 0.0;
    for (size_t p = 0; p < held; p++)
        error += (double)distances[p];
    for (size_t i = 0; i < held * dim; i++)
        power += (double)test[i] * (double)test[i];
    printf("%.3f %.3f %.3f %zu\n", seconds, 10.0 * log10((double)dim / result.error),
           10.0 * log10(power / error), result.iterations);
    free(points);
    free(test);
    free(codebook);
    free(distances);
    free(codes);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 11 && strcmp(argv[1], "train") == 0)
        return train(argv + 2);
    if (argc == 8 && strcmp(argv[1], "gauss") == 0)
        return gauss(argv + 2);
    return fail("usage: train POINTS DIM COUNT THREADS ROUNDS ITERATIONS TOLERANCE PER_CODEWORD "
                "CODEBOOK, or gauss DIM COUNT PER_CODEWORD HELD_OUT THREADS SEED");
}
