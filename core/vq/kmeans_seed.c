/* k-means: where codewords begin. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/vq/kmeans_trainer.h"

enum {
    POINTS = VQC_NEAREST_POINTS,
    SEED_POINTS = 16, /* per codeword, for k-means++ */
    PLUS_PLUS_MOST = 512,
    LEVEL_ITERATIONS = 4,
    EXCHANGE_ITERATIONS = 5
};

void kmeans_sample(size_t n, size_t wanted, uint64_t *random, size_t *rows)
{
    size_t taken = 0;
    for (size_t i = 0; i < n && taken < wanted; i++)
        if (kmeans_uniform(random) * (double)(n - i) < (double)(wanted - taken))
            rows[taken++] = i;
}

/* The point itself, from its features. */
static void point_take(const kmeans_points *points, size_t p, float *x)
{
    const float *panel = points->panels + p / POINTS * points->features * POINTS + p % POINTS;
    for (size_t i = 0; i < points->dim; i++) {
        x[i] = panel[i * POINTS];
        if (points->features > points->dim) {
            const float w = panel[(points->dim + i) * POINTS];
            x[i] = w > 0.0f ? x[i] / w : 0.0f;
        }
    }
}

/* Lowers distance[p] of the points of the chosen panels to that from codeword c; returns the
 * weighted sum. */
static double distances_lower(const kmeans_points *points, const size_t *panels, size_t count,
                              const float *c, float *distance)
{
    const size_t dim = points->dim, features = points->features;
    double sum = 0.0;
    float power = 0.0f;
    for (size_t i = 0; i < dim && features == dim; i++)
        power += c[i] * c[i];
    for (size_t p = 0; p < count; p++) {
        const float *x = points->panels + panels[p] * features * POINTS;
        const size_t first = panels[p] * POINTS;
        float v[POINTS];
        for (size_t l = 0; l < POINTS; l++)
            v[l] = first + l < points->n ? points->power[first + l] + power : 0.0f;
        for (size_t i = 0; i < dim; i++, x += POINTS)
            for (size_t l = 0; l < POINTS; l++)
                v[l] -= 2.0f * c[i] * x[l];
        for (size_t i = dim; i < features; i++, x += POINTS)
            for (size_t l = 0; l < POINTS; l++)
                v[l] += c[i - dim] * c[i - dim] * x[l];
        float *best = distance + p * POINTS;
        for (size_t l = 0; l < POINTS; l++) {
            const float d = v[l] > 0.0f ? v[l] : 0.0f;
            best[l] = d < best[l] ? d : best[l];
            if (first + l < points->n)
                sum += (double)best[l] *
                       (points->weight != NULL ? (double)points->weight[first + l] : 1.0);
        }
    }
    return sum;
}

/* A point drawn in proportion to its weighted distance, `sum` being their sum. */
static size_t point_draw(const kmeans_points *points, const size_t *panels, size_t count,
                         const float *distance, double sum, uint64_t *random)
{
    double left = kmeans_uniform(random) * sum;
    size_t last = panels[0] * POINTS;
    for (size_t p = 0; p < count; p++) {
        for (size_t l = 0; l < POINTS && panels[p] * POINTS + l < points->n; l++) {
            const size_t at = panels[p] * POINTS + l;
            const double share = (double)distance[p * POINTS + l] *
                                 (points->weight != NULL ? (double)points->weight[at] : 1.0);
            if (!(share > 0.0))
                continue;
            last = at;
            left -= share;
            if (left < 0.0)
                return at;
        }
    }
    return last;
}

/* k-means++ (Arthur, Vassilvitskii 2007) over a sample of the panels. */
static bool plus_plus_seed(const kmeans_points *points, size_t count, uint64_t *random,
                           float *codebook)
{
    const size_t all = (points->n + POINTS - 1) / POINTS;
    const size_t wanted = (count * SEED_POINTS + POINTS - 1) / POINTS;
    const size_t panels = all < wanted ? all : wanted;
    size_t *rows = malloc(panels * sizeof *rows);
    float *distance = malloc(panels * POINTS * sizeof *distance);
    if (rows != NULL && distance != NULL) {
        kmeans_sample(all, panels, random, rows);
        for (size_t i = 0; i < panels * POINTS; i++)
            distance[i] = HUGE_VALF;
        size_t at = rows[0] * POINTS;
        for (size_t k = 0; k < count; k++) {
            float *c = codebook + k * points->dim;
            if (k == 0)
                at = rows[kmeans_random(random) % panels] * POINTS;
            point_take(points, at, c);
            const double sum = distances_lower(points, rows, panels, c, distance);
            at = sum > 0.0 ? point_draw(points, rows, panels, distance, sum, random)
                           : (size_t)(kmeans_random(random) % points->n);
        }
    }
    const bool ok = rows != NULL && distance != NULL;
    free(rows);
    free(distance);
    return ok;
}

/* t->count grows to `count`, at most twice as many: those with the largest errors are split. */
static void split(kmeans_trainer *t, size_t count)
{
    const size_t before = t->count;
    kmeans_order(t);
    for (size_t i = 0; before + i < count; i++)
        kmeans_split_one(t, t->order[i].codeword, before + i);
    kmeans_trainer_stage(t, t->points, count);
}

bool kmeans_begin(kmeans_trainer *t, size_t count, vqc_kmeans_result *result)
{
    int doublings = 0;
    while (count > (size_t)PLUS_PLUS_MOST << doublings)
        doublings++;
    kmeans_trainer_stage(t, t->points, ((count - 1) >> doublings) + 1);
    if (!plus_plus_seed(t->points, t->count, &t->random, t->codebook))
        return false;
    while (doublings-- > 0) {
        kmeans_settle(t, LEVEL_ITERATIONS, 0.0, result);
        split(t, ((count - 1) >> doublings) + 1);
    }
    return true;
}

/* What the error grows by at least when codeword k goes and its points join another's. */
static double removal_cost(const kmeans_trainer *t, size_t k, size_t *partner)
{
    const size_t dim = t->points->dim, features = t->points->features;
    const float *c = t->codebook + k * dim;
    const double own = t->sums[k * t->columns + features];
    double least = HUGE_VAL;
    *partner = k;
    for (size_t j = 0; j < t->count; j++) {
        double distance = 0.0;
        for (size_t i = 0; i < dim; i++) {
            const double off = (double)c[i] - (double)t->codebook[j * dim + i];
            distance += off * off;
        }
        const double other = t->sums[j * t->columns + features];
        const double cost = distance * own * other / (own + other);
        if (j != k && cost < least) {
            least = cost;
            *partner = j;
        }
    }
    return least;
}

/* One exchange of up to `most` pairs; returns how many. */
static size_t exchange(kmeans_trainer *t, size_t most)
{
    kmeans_share *cheap = t->cheap;
    bool *touched = t->touched;
    size_t moved = 0;
#pragma omp parallel for schedule(static) num_threads(t->options->threads) if (t->count >= 1024)
    for (size_t k = 0; k < t->count; k++) {
        size_t partner;
        cheap[k] = (kmeans_share){-removal_cost(t, k, &partner), k};
        touched[k] = false;
    }
    qsort(cheap, t->count, sizeof *cheap, kmeans_heavier_first);
    kmeans_order(t);
    size_t heavy = 0;
    for (size_t i = 0; i < t->count && moved < most; i++) {
        const size_t k = cheap[i].codeword;
        size_t partner;
        removal_cost(t, k, &partner);
        if (touched[k] || touched[partner])
            continue;
        while (heavy < t->count &&
               (touched[t->order[heavy].codeword] || t->order[heavy].codeword == k ||
                t->order[heavy].codeword == partner))
            heavy++;
        if (heavy == t->count || -cheap[i].share > t->order[heavy].share)
            break;
        const size_t from = t->order[heavy].codeword;
        touched[k] = touched[partner] = touched[from] = true;
        kmeans_split_one(t, from, k);
        moved++;
    }
    return moved;
}

double kmeans_exchange(kmeans_trainer *t, int rounds, double error, vqc_kmeans_result *result)
{
    const size_t bytes = t->count * t->points->dim * sizeof *t->codebook;
    size_t most = t->count / 8 + 1;
    for (int round = 0; round < rounds && most > 0; round++) {
        memcpy(t->kept, t->codebook, bytes);
        const size_t moved = exchange(t, most);
        if (moved == 0)
            break;
        const double now = kmeans_settle(t, EXCHANGE_ITERATIONS, 0.0, result);
        if (now < error) {
            error = now;
            continue;
        }
        memcpy(t->codebook, t->kept, bytes);
        kmeans_iterate(t, 1.0);
        most = moved / 4;
    }
    return error;
}
