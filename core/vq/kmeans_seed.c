/* k-means: where codewords begin. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/vq/kmeans_parts.h"

enum {
    POINTS = VQC_NEAREST_POINTS,
    SEED_POINTS = 16, /* per codeword, for k-means++ */
    PLUS_PLUS_MOST = 512
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

/* Points drawn evenly. */
static bool sample_seed(const kmeans_points *points, size_t count, uint64_t *random,
                        float *codebook)
{
    size_t *rows = malloc(count * sizeof *rows);
    if (rows == NULL)
        return false;
    kmeans_sample(points->n, count, random, rows);
    for (size_t k = 0; k < count; k++)
        point_take(points, rows[k], codebook + k * points->dim);
    free(rows);
    return true;
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

bool kmeans_seed(const kmeans_points *points, size_t count, uint64_t *random, float *codebook)
{
    return count <= PLUS_PLUS_MOST ? plus_plus_seed(points, count, random, codebook)
                                   : sample_seed(points, count, random, codebook);
}
