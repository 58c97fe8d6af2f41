/*
 * Optimal k-means on a line. Cells are intervals of the sorted values, and the error of an interval
 * satisfies the quadrangle inequality. So the least error with a price per cell is found in
 * O(n log n) (Galil, Park 1992: least weight subsequence), the number of cells falls with the
 * price, and a bisection over the price finds the wanted number (Aggarwal, Schieber, Tokuyama 1994:
 * minimum weight k-link path). When no price gives exactly that number, a solution with fewer and
 * one with more cells at the same price are spliced.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/vq/kmeans_parts.h"

enum { LINE_BINS = 65536, MAX_SEARCH = 80, SORT_BITS = 11, LINE_POINTS = 1 << 22 };

/* Values in order, and running sums over the first i of them: weight, weight x, weight x^2, x
 * counted from `centre`. */
typedef struct line {
    size_t n;
    double centre;
    double *weight, *moment, *power; /* [n + 1] */
} line;

typedef struct item {
    uint32_t key; /* orders as the value does */
    float weight;
} item;

static uint32_t key_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

static float value_of(uint32_t key)
{
    const uint32_t bits = key >> 31 != 0 ? key & 0x7fffffffu : ~key;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Radix sort by key; the result is in `items`, `other` is space for as many. */
static void items_sort(item *items, item *other, size_t n)
{
    for (int shift = 0; shift < 33; shift += SORT_BITS) {
        size_t start[1 << SORT_BITS] = {0};
        const uint32_t mask = (1u << SORT_BITS) - 1u;
        for (size_t i = 0; i < n; i++)
            start[items[i].key >> shift & mask]++;
        size_t sum = 0;
        for (size_t b = 0; b <= mask; b++) {
            const size_t here = start[b];
            start[b] = sum;
            sum += here;
        }
        for (size_t i = 0; i < n; i++)
            other[start[items[i].key >> shift & mask]++] = items[i];
        item *swap = items;
        items = other;
        other = swap;
    }
    memcpy(other, items, n * sizeof *items); /* three passes end in the other array */
}

/* Weighted squared error of values i .. j-1 about their mean. */
static inline double cell_error(const line *l, size_t i, size_t j)
{
    const double w = l->weight[j] - l->weight[i], m = l->moment[j] - l->moment[i];
    const double e = l->power[j] - l->power[i] - m * m / w;
    return e > 0.0 ? e : 0.0;
}

/* Values of sorted items that are equal become one; more than LINE_BINS distinct ones become
 * LINE_BINS groups of neighbours. */
static void line_make(const item *items, size_t n, line *l)
{
    double total = 0.0, moment = 0.0;
    size_t distinct = 0;
    for (size_t i = 0; i < n; i++) {
        total += (double)items[i].weight;
        moment += (double)items[i].weight * (double)value_of(items[i].key);
        distinct += i == 0 || items[i].key != items[i - 1].key;
    }
    l->centre = moment / total;
    l->n = 0;
    l->weight[0] = l->moment[0] = l->power[0] = 0.0;
    double w = 0.0, m = 0.0, p = 0.0;
    size_t place = 0; /* of the distinct value, or of the item when there are too many */
    const size_t places = distinct > LINE_BINS ? n : distinct;
    const size_t bins = places > LINE_BINS ? LINE_BINS : places;
    for (size_t i = 0; i < n; i++) {
        const double x = (double)value_of(items[i].key) - l->centre;
        const double share = (double)items[i].weight;
        w += share;
        m += share * x;
        p += share * x * x;
        const bool same = i + 1 < n && items[i + 1].key == items[i].key;
        if (same && places == distinct)
            continue;
        place++;
        if (place * bins / places > l->n) {
            l->n++;
            l->weight[l->n] = w;
            l->moment[l->n] = m;
            l->power[l->n] = p;
        }
    }
}

/* Space of the search for one price. */
typedef struct search {
    double *cost;     /* [n + 1] least cost of the first j values */
    uint32_t *before; /* [n + 1] where the last cell of that begins */
    uint32_t *queue;  /* [n + 1] candidates for `before` */
    uint32_t *from;   /* [n + 1] first j that the candidate is best for */
} search;

/* Least cost with `price` per cell; returns the number of cells. */
static size_t cells_find(const line *l, double price, const search *s)
{
    size_t head = 0, tail = 0; /* candidates head .. tail */
    s->cost[0] = 0.0;
    s->queue[0] = 0;
    s->from[0] = 1;
    for (size_t j = 1; j <= l->n; j++) {
        while (head < tail && s->from[head + 1] <= j)
            head++;
        const size_t i = s->queue[head];
        s->cost[j] = s->cost[i] + cell_error(l, i, j) + price;
        s->before[j] = (uint32_t)i;
        if (j == l->n)
            break;
        /* j as a candidate: it is best from some place on, or never. */
        size_t start = l->n + 1;
        for (;;) {
            const size_t q = s->queue[tail], first = s->from[tail] > j + 1 ? s->from[tail] : j + 1;
            if (s->cost[j] + cell_error(l, j, first) < s->cost[q] + cell_error(l, q, first)) {
                start = first;
                if (tail == head)
                    break;
                tail--;
                continue;
            }
            size_t lo = first, hi = start; /* not at lo; at hi, or hi is behind the end */
            while (hi - lo > 1) {
                const size_t mid = lo + (hi - lo) / 2;
                if (s->cost[j] + cell_error(l, j, mid) < s->cost[q] + cell_error(l, q, mid))
                    hi = mid;
                else
                    lo = mid;
            }
            start = hi;
            tail++;
            break;
        }
        if (start > l->n) {
            tail--;
            continue;
        }
        s->queue[tail] = (uint32_t)j;
        s->from[tail] = (uint32_t)start;
    }
    size_t cells = 0;
    for (size_t j = l->n; j > 0; j = s->before[j])
        cells++;
    return cells;
}

/* The ends of the cells that were found last: ends[0] = 0 < ... < ends[cells] = n. */
static void cells_take(const line *l, const search *s, size_t cells, uint32_t *ends)
{
    for (size_t j = l->n;; j = s->before[j]) {
        ends[cells] = (uint32_t)j;
        if (cells-- == 0)
            break;
    }
}

/* A solution with `few` < count cells and one with `many` > count become one with count: the first
 * cells of the second, a cell that joins, and the last of the first. ends: of the few cells, then
 * of the result. */
static void cells_splice(uint32_t *ends, size_t few, const uint32_t *more, size_t count)
{
    const size_t offset = count - few;
    size_t i = 0;
    while (i + 1 < few && more[i + 1 + offset] > ends[i + 1])
        i++;
    /* ends[i] <= more[i + offset] and more[i + 1 + offset] <= ends[i + 1] */
    memmove(ends + i + 1 + offset, ends + i + 1, (few - i) * sizeof *ends);
    memcpy(ends, more, (i + offset + 1) * sizeof *ends);
}

/* The ends of `count` < n cells of least error; false when out of memory. */
static bool cells_best(const line *l, size_t count, const search *s, vqc_arena *arena,
                       uint32_t *ends)
{
    uint32_t *more = vqc_arena_calloc(arena, l->n + 1, sizeof *more);
    uint32_t *found = vqc_arena_calloc(arena, l->n + 1, sizeof *found);
    if (more == NULL || found == NULL)
        return false;
    size_t few = 1, many = l->n;
    ends[0] = 0;
    ends[1] = (uint32_t)l->n;
    for (size_t i = 0; i <= l->n; i++)
        more[i] = (uint32_t)i;
    const double all = cell_error(l, 0, l->n);
    double low = 0.0, high = all; /* prices of `many` and `few` */
    /* Error falls with the square of the number of cells, the price so with its cube. */
    double price = 2.0 * all / pow((double)count, 3.0);
    for (int i = 0; i < MAX_SEARCH && few != count && high > low * (1.0 + 1e-13); i++) {
        const size_t cells = cells_find(l, price, s);
        if (cells == count) {
            cells_take(l, s, cells, ends);
            return true;
        }
        if (cells < count) {
            high = price;
            few = cells;
            cells_take(l, s, cells, ends);
        } else {
            low = price;
            many = cells;
            cells_take(l, s, cells, more);
        }
        const double ratio = (double)cells / (double)count;
        price *= ratio * ratio * ratio;
        if (!(price > low && price < high) || i >= 12)
            price = low > 0.0 ? sqrt(low) * sqrt(high) : high * 1e-3;
    }
    if (few != count && many > count)
        cells_splice(ends, few, more, count);
    return true;
}

static bool search_make(size_t n, vqc_arena *arena, search *s)
{
    s->cost = vqc_arena_calloc(arena, n + 1, sizeof *s->cost);
    s->before = vqc_arena_calloc(arena, n + 1, sizeof *s->before);
    s->queue = vqc_arena_calloc(arena, n + 1, sizeof *s->queue);
    s->from = vqc_arena_calloc(arena, n + 1, sizeof *s->from);
    return s->cost != NULL && s->before != NULL && s->queue != NULL && s->from != NULL;
}

/* Sorted items, those without weight left out (when all are, all weigh 1); NULL when out of
 * memory. */
static item *items_make(const float *points, size_t n, const float *weights,
                        const vqc_kmeans_options *o, vqc_arena *arena, size_t *count)
{
    size_t wanted = n > LINE_POINTS && o->points_per_codeword > 0 ? LINE_POINTS : n, *rows = NULL;
    if (wanted < n) {
        uint64_t random = o->seed;
        rows = vqc_arena_calloc(arena, wanted, sizeof *rows);
        if (rows == NULL)
            return NULL;
        kmeans_sample(n, wanted, &random, rows);
    }
    item *items = vqc_arena_calloc(arena, wanted, sizeof *items);
    item *other = vqc_arena_calloc(arena, wanted, sizeof *other);
    if (items == NULL || other == NULL)
        return NULL;
    *count = 0;
    for (int pass = 0; pass < 2 && *count == 0; pass++)
        for (size_t i = 0; i < wanted; i++) {
            const size_t row = rows != NULL ? rows[i] : i;
            const float w = weights != NULL && pass == 0 ? weights[row] : 1.0f;
            if (w > 0.0f)
                items[(*count)++] = (item){key_of(points[row] + 0.0f), w}; /* -0 becomes 0 */
        }
    items_sort(items, other, *count);
    return items;
}

vqc_status kmeans_line_train(const float *points, size_t n, const float *weights,
                             const vqc_kmeans_options *options, float *codebook,
                             vqc_kmeans_result *result, vqc_error *error)
{
    vqc_arena *arena = vqc_arena_create();
    size_t count = 0;
    item *items = arena != NULL ? items_make(points, n, weights, options, arena, &count) : NULL;
    line l = {0};
    search s;
    uint32_t *ends = NULL;
    bool ok = items != NULL;
    if (ok) {
        const size_t space = count > LINE_BINS ? LINE_BINS : count;
        l.weight = vqc_arena_calloc(arena, space + 1, sizeof *l.weight);
        l.moment = vqc_arena_calloc(arena, space + 1, sizeof *l.moment);
        l.power = vqc_arena_calloc(arena, space + 1, sizeof *l.power);
        ends = vqc_arena_calloc(arena, space + options->count + 1, sizeof *ends);
        ok = l.weight != NULL && l.moment != NULL && l.power != NULL && ends != NULL;
    }
    if (ok) {
        line_make(items, count, &l);
        size_t cells = options->count;
        if (l.n <= cells) {
            cells = l.n;
            for (size_t i = 0; i <= l.n; i++)
                ends[i] = (uint32_t)i;
        } else {
            ok = search_make(l.n, arena, &s) && cells_best(&l, cells, &s, arena, ends);
        }
        for (size_t k = 0; ok && k < options->count; k++) {
            const size_t cell = k < cells ? k : cells - 1, i = ends[cell], j = ends[cell + 1];
            codebook[k] =
                (float)((l.moment[j] - l.moment[i]) / (l.weight[j] - l.weight[i]) + l.centre);
            result->error += k < cells ? cell_error(&l, i, j) / (double)count : 0.0;
        }
        result->iterations = 1;
    }
    vqc_arena_destroy(&arena);
    return ok ? VQC_OK : vqc_fail_memory(error, n * sizeof(item));
}
