#include "core/vq/allocate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A step from one option of a layer to a larger one on its hull. */
typedef struct step {
    size_t layer;
    size_t to;
    size_t added_bytes;
    double saved_noise;
    double slope; /* noise per byte */
} step;

/* Options of one layer by size; the smaller noise first among equals. */
typedef struct sized {
    size_t index;
    size_t size_bytes;
    double noise;
} sized;

static int by_size(const void *a, const void *b)
{
    const sized *x = a;
    const sized *y = b;

    if (x->size_bytes != y->size_bytes) {
        return x->size_bytes < y->size_bytes ? -1 : 1;
    }
    if (x->noise != y->noise) {
        return x->noise < y->noise ? -1 : 1;
    }
    return x->index < y->index ? -1 : 1;
}

/* Steepest first; equals in the order of the layers and of the hull. */
static int by_slope(const void *a, const void *b)
{
    const step *x = a;
    const step *y = b;

    if (x->slope != y->slope) {
        return x->slope > y->slope ? -1 : 1;
    }
    if (x->layer != y->layer) {
        return x->layer < y->layer ? -1 : 1;
    }
    return x->added_bytes < y->added_bytes ? -1 : (x->added_bytes > y->added_bytes ? 1 : 0);
}

/* Keeps of the sorted options those on the lower convex hull; returns how many. */
static size_t lower_hull(sized *options, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && options[i].noise >= options[kept - 1].noise) {
            continue;
        }
        while (kept >= 2) {
            const sized *a = &options[kept - 2];
            const sized *b = &options[kept - 1];
            double first = (a->noise - b->noise) / (double)(b->size_bytes - a->size_bytes);
            double second =
                (b->noise - options[i].noise) / (double)(options[i].size_bytes - b->size_bytes);
            if (second < first) {
                break;
            }
            kept--;
        }
        options[kept++] = options[i];
    }
    return kept;
}

vqc_status vqc_allocate(const vqc_choices *layers, size_t count, size_t budget_bytes,
                        double wanted_noise, size_t *picked, size_t *size_bytes, double *noise,
                        vqc_error *error)
{
    size_t total = 0;
    size_t most = 0;
    size_t steps = 0;
    sized *hull;
    step *all;
    bool *closed;

    for (size_t i = 0; i < count; i++) {
        total += layers[i].count;
        most = layers[i].count > most ? layers[i].count : most;
    }
    hull = calloc(most + 1, sizeof *hull);
    all = calloc(total + 1, sizeof *all);
    closed = calloc(count + 1, sizeof *closed);
    if (hull == NULL || all == NULL || closed == NULL) {
        free(closed);
        free(hull);
        free(all);
        return vqc_fail_memory(error, total * sizeof *all);
    }
    *size_bytes = 0;
    *noise = 0.0;
    for (size_t i = 0; i < count; i++) {
        size_t n = layers[i].count;
        for (size_t k = 0; k < n; k++) {
            hull[k] = (sized){k, layers[i].options[k].size_bytes, layers[i].options[k].noise};
        }
        qsort(hull, n, sizeof *hull, by_size);
        n = lower_hull(hull, n);
        picked[i] = hull[0].index;
        *size_bytes += hull[0].size_bytes;
        *noise += hull[0].noise;
        for (size_t k = 1; k < n; k++) {
            size_t added = hull[k].size_bytes - hull[k - 1].size_bytes;
            double saved = hull[k - 1].noise - hull[k].noise;
            all[steps++] = (step){i, hull[k].index, added, saved, saved / (double)added};
        }
    }
    qsort(all, steps, sizeof *all, by_slope);
    for (size_t i = 0; i < steps; i++) {
        if (wanted_noise > 0.0 && *noise <= wanted_noise) {
            break;
        }
        if (closed[all[i].layer] || *size_bytes + all[i].added_bytes > budget_bytes) {
            closed[all[i].layer] = true; /* the next steps of a layer build upon this one */
            continue;
        }
        picked[all[i].layer] = all[i].to;
        *size_bytes += all[i].added_bytes;
        *noise -= all[i].saved_noise;
    }
    free(closed);
    free(hull);
    free(all);
    return VQC_OK;
}

double vqc_codebook_sqnr_db(size_t dim, size_t codebook_size)
{
    /* what an optimal quantizer of `dim` dimensions keeps short of 6.02 dB per bit at 1, 2, 3 and
     * 4 or more bits per weight; held-out measurements on unit Gaussian samples */
    static const double short_of[4][4] = {{1.62, 2.74, 3.44, 3.86},
                                          {1.62, 2.36, 2.81, 2.97},
                                          {1.35, 1.89, 2.15, 2.3},
                                          {1.09, 1.4, 1.6, 1.7}};
    size_t row = dim >= 8 ? 3 : (dim >= 4 ? 2 : (dim >= 2 ? 1 : 0));
    double bits = log2((double)codebook_size) / (double)dim;
    double at = bits < 1.0 ? 1.0 : (bits > 4.0 ? 4.0 : bits);
    size_t low = (size_t)at - 1 < 2 ? (size_t)at - 1 : 2;
    double part = at - (double)(low + 1);
    double lost = short_of[row][low] * (1.0 - part) + short_of[row][low + 1] * part;

    if (bits < 1.0) {
        lost *= bits;
    }
    return 20.0 * log10(2.0) * bits - lost;
}
