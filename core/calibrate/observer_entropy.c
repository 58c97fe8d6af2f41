/*
 * Clip points by entropy: Migacz, "8-bit Inference with TensorRT", GTC 2017. For each clip point
 * the distribution P of the clipped values (outliers moved into the last bin) is compared with Q,
 * what remains of the values inside after their bins are joined to as many levels as there are
 * codes and each level is spread evenly over its bins that are not empty; the least KL(P || Q)
 * wins.
 */
#include <math.h>
#include <string.h>

#include "core/calibrate/observer_search.h"

enum { HALF = VQC_OBSERVER_HALF_BINS, BINS = VQC_OBSERVER_BINS };

/* Counts that Q gets where only outliers fall (the reference says nothing about bins that are empty
 * in Q and not in P, for which the divergence would be infinite). */
#define SMOOTHING 1e-4

/* Sums over the bins below each edge: of a histogram, or of one folded about zero. */
typedef struct prefix {
    uint32_t first, end;                   /* bins in use */
    uint32_t zero;                         /* edge at the value 0 */
    uint64_t count[BINS + 1];              /* c */
    double entropy[BINS + 1];              /* c log c */
    uint32_t occupied[BINS + 1];           /* c > 0 */
    double inverse[128], log_inverse[128]; /* of quick_log: 1 / middle, log(middle) */
} prefix;

/*
 * Natural logarithm of a positive normal number, error below 1e-12, several times as fast as log():
 * x = 2^e m, log m = log(1 / inverse) + log1p(m inverse - 1) with the inverse of the middle of one
 * of 128 intervals of [1, 2), so that the argument of log1p is below 2^-8 and five terms do.
 */
static inline double quick_log(const prefix *p, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    const size_t i = bits >> 45 & 127;
    const double exponent = (double)((int)(bits >> 52) - 1023);
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    memcpy(&x, &bits, sizeof x);
    const double r = x * p->inverse[i] - 1.0;
    const double series =
        r * (1.0 + r * (-1.0 / 2.0 + r * (1.0 / 3.0 + r * (-1.0 / 4.0 + r * (1.0 / 5.0)))));
    return exponent * 0.693147180559945309 + (p->log_inverse[i] + series);
}

static double xlogx(const prefix *p, double x)
{
    return x > 0.0 ? x * quick_log(p, x) : 0.0;
}

static void prefix_make(prefix *p, const vqc_observation *o, bool symmetric)
{
    const vqc_bin_span span = vqc_observation_span(o);
    p->first = span.first;
    p->end = span.end;
    p->zero = HALF;
    if (symmetric) {
        const uint32_t down = span.first < HALF ? HALF - span.first : 0;
        const uint32_t up = span.end > HALF ? span.end - HALF : 0;
        p->first = p->zero = 0;
        p->end = down > up ? down : up;
    }
    for (size_t i = 0; i < 128; i++) {
        const double middle = 1.0 + ((double)i + 0.5) / 128.0;
        p->inverse[i] = 1.0 / middle;
        p->log_inverse[i] = log(middle);
    }
    p->count[p->first] = 0;
    p->entropy[p->first] = 0.0;
    p->occupied[p->first] = 0;
    for (uint32_t b = p->first; b < p->end; b++) {
        const uint64_t c = symmetric ? o->bins[HALF + b] + o->bins[HALF - 1 - b] : o->bins[b];
        p->count[b + 1] = p->count[b] + c;
        p->entropy[b + 1] = p->entropy[b] + xlogx(p, (double)c);
        p->occupied[b + 1] = p->occupied[b] + (c > 0);
    }
}

/* The bins inside a clip point at `bins` bins from zero. */
static void clip_span(const prefix *p, uint32_t bins, uint32_t *lo, uint32_t *hi)
{
    *lo = p->zero > bins && p->zero - bins > p->first ? p->zero - bins : p->first;
    *hi = p->end < p->zero + bins ? p->end : p->zero + bins;
    if (*lo > p->zero)
        *lo = p->zero; /* one-sided ranges begin at zero */
    if (*hi < p->zero)
        *hi = p->zero;
}

static uint64_t bin_count(const prefix *p, uint32_t b)
{
    return b < p->first || b >= p->end ? 0 : p->count[b + 1] - p->count[b];
}

/* Index of an edge inside the bins in use. */
static uint32_t edge(const prefix *p, uint32_t b)
{
    return b < p->first ? p->first : b > p->end ? p->end : b;
}

/* One level of Q, bins [a, b), and outliers that P has in its first or last bin. Adds sum p log q
 * to *cross and the mass of Q to *mass. */
static void add_level(const prefix *p, uint32_t a, uint32_t b, uint64_t below, uint64_t above,
                      double *cross, double *mass)
{
    const uint32_t from = edge(p, a), to = edge(p, b);
    const uint64_t inside = p->count[to] - p->count[from];
    uint32_t occupied = p->occupied[to] - p->occupied[from];
    if (below > 0)
        occupied += bin_count(p, a) == 0;
    if (above > 0 && !(below > 0 && b - a == 1))
        occupied += bin_count(p, b - 1) == 0;
    const double held = (double)(inside + below + above);
    if (held == 0.0)
        return;
    const double q = inside > 0 ? (double)inside : SMOOTHING;
    *cross += held * quick_log(p, q / (double)occupied);
    *mass += q;
}

/* KL(P || Q) in nats; lo < hi, 2^level_bits <= hi - lo. */
static double divergence(const prefix *p, uint32_t lo, uint32_t hi, int level_bits)
{
    const uint32_t from = edge(p, lo), to = edge(p, hi);
    const uint64_t total = p->count[p->end];
    const uint64_t below = p->count[from], above = total - p->count[to];
    double own = p->entropy[to] - p->entropy[from];
    if (below > 0 && above > 0 && hi - lo == 1) {
        own = xlogx(p, (double)total);
    } else {
        const double at_lo = (double)bin_count(p, lo), at_hi = (double)bin_count(p, hi - 1);
        own += xlogx(p, at_lo + (double)below) - xlogx(p, at_lo);
        own += xlogx(p, at_hi + (double)above) - xlogx(p, at_hi);
    }
    double cross = 0.0, mass = 0.0;
    const uint32_t bins = hi - lo, levels = 1u << level_bits;
    uint32_t a = lo;
    for (uint32_t g = 0; g < levels; g++) {
        const uint32_t b = lo + ((g + 1) * bins >> level_bits);
        if (g == 0 || g + 1 == levels || a < p->first || b > p->end) {
            add_level(p, a, b, g == 0 ? below : 0, g + 1 == levels ? above : 0, &cross, &mass);
        } else if (p->count[b] != p->count[a]) {
            /* add_level without outliers: nearly all levels */
            const double inside = (double)(p->count[b] - p->count[a]);
            cross += inside * quick_log(p, inside / (double)(p->occupied[b] - p->occupied[a]));
            mass += inside;
        }
        a = b;
    }
    return (own - cross) / (double)total + log(mass / (double)total);
}

/* Bits of a level's number. */
static int level_bits_of(const vqc_observer_options *options)
{
    return options->symmetric ? options->bits - 1 : options->bits;
}

static double divergence_at(const prefix *p, uint32_t bins, int level_bits)
{
    uint32_t lo, hi;
    clip_span(p, bins, &lo, &hi);
    return hi - lo < 1u << level_bits || p->count[p->end] == 0 ? INFINITY
                                                               : divergence(p, lo, hi, level_bits);
}

double vqc_observation_divergence(const vqc_observation *o, const vqc_observer_options *options,
                                  uint32_t bins)
{
    prefix p;
    if (o->limit == 0.0f)
        return INFINITY;
    prefix_make(&p, o, options->symmetric);
    return divergence_at(&p, bins, level_bits_of(options));
}

enum { COARSE = 32, MIDDLE = 4, KEPT = 4 };

/* Divergences this close are the same, and the wider range is better. */
#define TIE 1e-9

/* The best candidates, best first. */
typedef struct candidates {
    uint32_t bins[KEPT];
    double value[KEPT];
    size_t count;
} candidates;

static void offer(candidates *c, uint32_t bins, double value)
{
    if (c->count == KEPT && !(value < c->value[KEPT - 1] - TIE))
        return;
    size_t i = c->count < KEPT ? c->count++ : KEPT - 1;
    for (; i > 0 && value < c->value[i - 1] - TIE; i--) {
        c->bins[i] = c->bins[i - 1];
        c->value[i] = c->value[i - 1];
    }
    c->bins[i] = bins;
    c->value[i] = value;
}

/* Offers every `step`-th candidate around `middle`, widest first. */
static void offer_around(candidates *c, const prefix *p, int level_bits, uint32_t middle,
                         uint32_t reach, uint32_t step, uint32_t most)
{
    for (uint32_t bins = middle + reach; bins > 0 && bins + reach > middle;
         bins = bins > step ? bins - step : 0)
        if (bins <= most)
            offer(c, bins, divergence_at(p, bins, level_bits));
}

vqc_range vqc_observation_entropy(const vqc_observation *o, const vqc_observer_options *options)
{
    prefix p;
    prefix_make(&p, o, options->symmetric);
    const int level_bits = level_bits_of(options);
    const uint32_t down = p.zero > p.first ? p.zero - p.first : 0;
    const uint32_t up = p.end > p.zero ? p.end - p.zero : 0;
    const uint32_t most = down > up ? down : up;
    candidates coarse = {.count = 0}, fine = {.count = 0};
    for (uint32_t bins = most; bins > 0; bins = bins > COARSE ? bins - COARSE : 0) {
        const double value = divergence_at(&p, bins, level_bits);
        if (!isfinite(value))
            break; /* fewer bins than levels, from here on */
        offer(&coarse, bins, value);
    }
    if (coarse.count == 0)
        return vqc_observation_cut(o, (double)o->min, (double)o->max, options->symmetric);
    offer(&fine, coarse.bins[0], coarse.value[0]);
    for (size_t i = 0; i < coarse.count; i++)
        offer_around(&fine, &p, level_bits, coarse.bins[i], COARSE, MIDDLE, most);
    candidates finest = {.count = 0};
    offer(&finest, fine.bins[0], fine.value[0]);
    offer_around(&finest, &p, level_bits, fine.bins[0], MIDDLE, 1, most);
    const double reach = (double)finest.bins[0] * vqc_observation_width(o);
    return vqc_observation_cut(o, -reach, reach, options->symmetric);
}
