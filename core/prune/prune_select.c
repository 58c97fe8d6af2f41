#include "core/prune/prune_select.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/kernels.h"

/* The order of floats that are not negative is that of their bits: their keys. */
enum {
    GATHERED = 1024,    /* keys that are selected one by one */
    SAMPLE = GATHERED,  /* of many scores */
    SMALL_SAMPLE = 256, /* of up to MANY */
    MANY = 65536,
    GUESSES = 24, /* pivots from the keys until they are halved by value */
    BOUNDS = VQC_COUNT_BOUNDS,
    KEY_MAX = 0x7fffffff
};

/* What is known about the key at a rank. */
typedef struct search {
    const float *const *scores;
    const size_t *counts;
    size_t arrays;
    uint64_t total, rank; /* the rank-th lowest of all, from 1 */
    uint32_t low, high;   /* the key lies here */
    uint64_t under;       /* keys below low */
    uint64_t inside;      /* keys of low to high */
} search;

/* Moves the keys below the pivot to the front; how many they are. */
static size_t partition(uint32_t *keys, size_t n, uint32_t pivot)
{
    size_t below = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t key = keys[i];
        keys[i] = keys[below];
        keys[below] = key;
        below += key < pivot ? 1 : 0;
    }
    return below;
}

static uint32_t median(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t low = a < b ? a : b, high = a < b ? b : a;

    return c < low ? low : c > high ? high : c;
}

/* Above the smallest and not above the largest key, half way by value; KEY_MAX when all are equal.
 */
static uint32_t halfway(const uint32_t *keys, size_t n)
{
    uint32_t low = keys[0], high = keys[0];

    for (size_t i = 1; i < n; i++) {
        low = keys[i] < low ? keys[i] : low;
        high = keys[i] > high ? keys[i] : high;
    }
    return low == high ? low : low + (high - low + 1) / 2;
}

/* The key at `rank`, from 0, of keys[n], with no larger one in front of it and no smaller one
 * behind it afterwards: quickselect, which halves by value when its guesses are bad. */
static uint32_t key_at(uint32_t *keys, size_t n, size_t rank)
{
    size_t first = 0, end = n;

    for (int round = 0; end - first > 1; round++) {
        uint32_t *part = keys + first;
        size_t count = end - first;
        uint32_t pivot = round < GUESSES
                             ? median(part[count / 4], part[count / 2], part[count / 2 + count / 4])
                             : halfway(part, count);
        size_t below = partition(part, count, pivot);
        if (rank - first < below) {
            end = first + below;
            continue;
        }
        first += below;
        if (below == 0) { /* the pivot is the smallest */
            size_t equal = partition(part, count, pivot + 1);
            if (rank - first < equal) {
                return pivot;
            }
            first += equal;
        }
    }
    return keys[first];
}

/* n keys at even distances over all arrays. */
static void sample_keys(const search *s, size_t n, uint32_t *keys)
{
    size_t array = 0;
    uint64_t before = 0; /* scores of the arrays in front */

    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = s->total / n * i + s->total % n * i / n;
        while (at - before >= s->counts[array]) {
            before += s->counts[array++];
        }
        memcpy(&keys[i], &s->scores[array][at - before], sizeof keys[i]);
        keys[i] &= KEY_MAX;
    }
}

static uint32_t within(double key, uint32_t low, uint32_t high)
{
    return key <= (double)low ? low : key >= (double)high ? high : (uint32_t)key;
}

/* Bounds around the rank as a sample has it, by its standard deviation. */
static void bounds_of_sample(const search *s, uint32_t *keys, uint32_t *bounds)
{
    static const double steps[BOUNDS] = {-4.0, -1.5, -0.75, -0.2, 0.2, 0.75, 1.5, 4.0};
    const size_t n = s->total > MANY ? SAMPLE : SMALL_SAMPLE;
    double share = (double)s->rank / (double)s->total;
    double deviation = sqrt((double)n * share * (1.0 - share)) + 1.0;
    size_t ranks[BOUNDS];

    sample_keys(s, n, keys);
    for (size_t b = 0; b < BOUNDS; b++) {
        ranks[b] = within((double)n * share + steps[b] * deviation, 0, (uint32_t)n - 1);
    }
    /* The outer ones, then those between them. */
    bounds[0] = key_at(keys, n, ranks[0]);
    bounds[BOUNDS - 1] = key_at(keys + ranks[0], n - ranks[0], ranks[BOUNDS - 1] - ranks[0]);
    for (size_t b = 1; b < BOUNDS - 1; b++) {
        bounds[b] = key_at(keys + ranks[0], ranks[BOUNDS - 1] - ranks[0] + 1, ranks[b] - ranks[0]);
    }
    for (size_t b = 0; b < BOUNDS; b++) {
        bounds[b] -= bounds[b] == KEY_MAX ? 1 : 0;
    }
}

/* Bounds where the rank would be if keys were evenly spread from low to high, and in quarters, so
 * that whatever they are, the distance shrinks. And the last but one: many may be equal to high. */
static void bounds_between(const search *s, uint32_t *bounds)
{
    static const double steps[] = {-0.1, -0.02, 0.02, 0.1};
    static const double quarters[] = {0.25, 0.5, 0.75};
    double place = ((double)(s->rank - s->under) - 0.5) / (double)s->inside;
    double width = (double)(s->high - s->low);

    for (size_t b = 0; b < BOUNDS; b++) {
        double share = b < 4 ? place + steps[b] : b < 7 ? quarters[b - 4] : 1.0;
        uint32_t bound = within((double)s->low + share * width, s->low, s->high - 1);
        size_t at = b;
        for (; at > 0 && bounds[at - 1] > bound; at--) { /* in order */
            bounds[at] = bounds[at - 1];
        }
        bounds[at] = bound;
    }
}

/* Counts what is above each of the bounds, which are in order, and narrows the place of the key. */
static void narrow(search *s, const uint32_t *bounds)
{
    uint64_t above[BOUNDS] = {0};

    for (size_t i = 0; i < s->arrays; i++) {
        vqc_kernels_get()->f32_count_above(s->scores[i], s->counts[i], bounds, above);
    }
    for (size_t b = 0; b < BOUNDS; b++) {
        uint64_t upto = s->total - above[b];
        if (upto >= s->rank) {
            if (bounds[b] < s->high) {
                s->inside = upto - s->under;
                s->high = bounds[b];
            }
            break;
        }
        if (bounds[b] >= s->low) {
            s->inside -= upto - s->under;
            s->under = upto;
            s->low = bounds[b] + 1;
        }
    }
}

vqc_prune_cut vqc_prune_cut_find(const float *const *scores, const size_t *counts, size_t arrays,
                                 size_t k)
{
    search s = {.scores = scores, .counts = counts, .arrays = arrays, .rank = k, .high = KEY_MAX};
    uint32_t keys[GATHERED], bounds[BOUNDS], key;
    size_t n = 0, below = 0;
    vqc_prune_cut cut = {0.0f, 0};

    if (k == 0) {
        return cut; /* nothing is below 0, and none of those equal to it goes */
    }
    for (size_t i = 0; i < arrays; i++) {
        s.total += counts[i];
    }
    s.inside = s.total;
    for (bool first = true; s.inside > GATHERED && s.low < s.high; first = false) {
        if (first) {
            bounds_of_sample(&s, keys, bounds);
        } else {
            bounds_between(&s, bounds);
        }
        narrow(&s, bounds);
    }
    key = s.low;
    if (s.low < s.high) {
        for (size_t i = 0; i < arrays; i++) {
            n += vqc_kernels_get()->f32_gather_keys(scores[i], counts[i],
                                                    (const uint32_t[]){s.low, s.high}, keys + n);
        }
        key = key_at(keys, n, (size_t)(s.rank - s.under) - 1);
        for (size_t i = 0; i < n; i++) {
            below += keys[i] < key ? 1 : 0;
        }
    }
    memcpy(&cut.threshold, &key, sizeof key);
    cut.ties = (size_t)(s.rank - s.under) - below;
    return cut;
}

void vqc_prune_cut_apply(vqc_prune_cut *cut, const float *scores, size_t n, uint8_t *mask)
{
    float threshold = cut->threshold;
    size_t i = 0;

    for (; i < n && cut->ties > 0; i++) {
        mask[i] = scores[i] > threshold;
        cut->ties -= scores[i] == threshold ? 1 : 0;
    }
    if (i < n && threshold > 0.0f) { /* from the threshold on: above the float before it */
        vqc_kernels_get()->f32_threshold_mask(scores + i, n - i, nextafterf(threshold, 0.0f),
                                              mask + i);
    } else if (i < n) {
        memset(mask + i, 1, n - i);
    }
}

void vqc_prune_lowest(const float *scores, size_t n, size_t k, uint8_t *mask)
{
    vqc_prune_cut cut = vqc_prune_cut_find(&scores, &n, 1, k);

    vqc_prune_cut_apply(&cut, scores, n, mask);
}
