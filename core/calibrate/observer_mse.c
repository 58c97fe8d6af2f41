/* Mean squared quantization error from a histogram, and the range that makes it least. Everything
 * is in units of the bin width here. */
#include <math.h>
#include <string.h>

#include "core/calibrate/observer_search.h"

enum { HALF = VQC_OBSERVER_HALF_BINS, BINS = VQC_OBSERVER_BINS };

/* Integrals of 1, x and x^2 over the values below the edge of each bin. */
typedef struct prefix {
    vqc_bin_span span;
    double least, most; /* the extremes among the values other than 0 */
    double count[BINS + 1], first[BINS + 1], second[BINS + 1];
} prefix;

/* The three integrals at one place, or over an interval. */
typedef struct integrals {
    double count, first, second;
} integrals;

/* Where the values of a bin in use lie, evenly: the outermost bins end at the extremes, which are
 * often limits that many values share (Clip, Relu6). */
static void bin_ends(const prefix *p, uint32_t b, double *lo, double *hi)
{
    *lo = (double)b - HALF;
    *hi = *lo + 1.0;
    if (b + 1 == p->span.end)
        *hi = fmax(p->most, *lo);
    if (b == p->span.first)
        *lo = fmin(p->least, *hi);
}

static void prefix_make(prefix *p, const vqc_observation *o)
{
    const double w = vqc_observation_width(o);
    p->span = vqc_observation_span(o);
    const uint32_t start = p->span.first;
    /* An extreme of 0 says nothing about the bins. */
    p->least = o->min != 0.0f ? (double)o->min / w : (double)start - HALF;
    p->most = o->max != 0.0f ? (double)o->max / w : (double)p->span.end - HALF;
    p->count[start] = p->first[start] = p->second[start] = 0.0;
    for (uint32_t b = start; b < p->span.end; b++) {
        const double c = (double)o->bins[b];
        double lo, hi;
        bin_ends(p, b, &lo, &hi);
        p->count[b + 1] = p->count[b] + c;
        p->first[b + 1] = p->first[b] + c * (lo + hi) / 2.0;
        p->second[b + 1] = p->second[b] + c * (lo * lo + lo * hi + hi * hi) / 3.0;
    }
}

/* Of all values below x. */
static integrals integrals_at(const prefix *p, double x)
{
    const double place = x + HALF;
    if (place <= (double)p->span.first || x <= p->least)
        return (integrals){0.0, 0.0, 0.0};
    if (place >= (double)p->span.end || x >= p->most)
        return (integrals){p->count[p->span.end], p->first[p->span.end], p->second[p->span.end]};
    const uint32_t b = (uint32_t)place;
    double lo, hi;
    bin_ends(p, b, &lo, &hi);
    const double share = hi > lo ? fmin(fmax((x - lo) / (hi - lo), 0.0), 1.0) : 0.0;
    const double c = (p->count[b + 1] - p->count[b]) * share;
    return (integrals){p->count[b] + c, p->first[b] + c * (lo + x) / 2.0,
                       p->second[b] + c * (lo * lo + lo * x + x * x) / 3.0};
}

/* Integral of (x - center)^2 between two places. */
static double error_between(integrals low, integrals high, double center)
{
    return (high.second - low.second) - 2.0 * center * (high.first - low.first) +
           center * center * (high.count - low.count);
}

/* Sum of squared errors of rounding to step * k, k in [k_lo, k_hi]. */
static double grid_error(const prefix *p, double step, double k_lo, double k_hi)
{
    const integrals none = {0.0, 0.0, 0.0};
    const uint32_t end = p->span.end;
    const integrals all = {p->count[end], p->first[end], p->second[end]};
    if (step < 1.0) {
        /* Several steps in a bin: the error is even in [-step / 2, step / 2]; clipping is exact. */
        const double lo = k_lo * step, hi = k_hi * step;
        const integrals below = integrals_at(p, lo), inside = integrals_at(p, hi);
        return error_between(none, below, lo) + error_between(inside, all, hi) +
               (inside.count - below.count) * step * step / 12.0;
    }
    /* Cells without a value need no visit. */
    const double used_lo = floor(((double)p->span.first - HALF) / step);
    const double used_hi = ceil(((double)p->span.end - HALF) / step);
    const double from = fmin(fmax(k_lo, used_lo), k_hi), to = fmax(fmin(k_hi, used_hi), k_lo);
    double error = 0.0;
    integrals low = none;
    for (double k = from; k < to; k += 1.0) {
        const integrals high = integrals_at(p, (k + 0.5) * step);
        error += error_between(low, high, k * step);
        low = high;
    }
    return error + error_between(low, all, to * step);
}

/* Sum of squared errors over [-down, up], both >= 0. */
static double range_error(const prefix *p, double down, double up, int bits, bool symmetric)
{
    const uint32_t end = p->span.end;
    const double codes = ldexp(1.0, bits);
    if (symmetric) {
        const double steps = codes / 2.0 - 1.0, reach = fmax(down, up);
        if (reach > 0.0)
            return grid_error(p, reach / steps, -steps, steps);
    } else if (down + up > 0.0) {
        const double step = (down + up) / (codes - 1.0), zero = rint(down / step);
        return grid_error(p, step, -zero, codes - 1.0 - zero);
    }
    return p->second[end];
}

double vqc_observation_mse(const vqc_observation *o, vqc_range range, int bits, bool symmetric)
{
    prefix p;
    if (o->limit == 0.0f || o->elements == 0)
        return 0.0;
    prefix_make(&p, o);
    const double w = vqc_observation_width(o);
    const double error =
        range_error(&p, -(double)range.min / w, (double)range.max / w, bits, symmetric);
    return fmax(error, 0.0) * w * w / (double)o->elements;
}

/* The search's state: how far the range reaches down and up. */
typedef struct search {
    const prefix *p;
    int bits;
    bool symmetric;
    double most_down, most_up; /* the extremes seen */
    double down, up, error;    /* the best so far */
} search;

static bool try_range(search *s, double down, double up)
{
    down = fmin(down, s->most_down);
    up = fmin(up, s->most_up);
    const double error = range_error(s->p, down, up, s->bits, s->symmetric);
    if (!(error < s->error))
        return false;
    s->error = error;
    s->down = down;
    s->up = up;
    return true;
}

/* Coarse search along a geometric row of clip points, 2^(1/4) apart; sides: which ends move. It
 * ends when clipping alone costs far more than the best range. */
static void sweep(search *s, bool move_down, bool move_up)
{
    const double keep_down = s->down, keep_up = s->up;
    const double most = fmax(move_down ? s->most_down : 0.0, move_up ? s->most_up : 0.0);
    for (int i = 0; i < 48; i++) {
        const double clip = most * exp2(-i / 4.0);
        const double down = move_down ? fmin(clip, s->most_down) : keep_down;
        const double up = move_up ? fmin(clip, s->most_up) : keep_up;
        if (clip < 1.0 || (!try_range(s, down, up) &&
                           range_error(s->p, down, up, 16, s->symmetric) > 4.0 * s->error))
            break;
    }
}

/* Fine search: either end, by ever smaller factors, as long as it helps. */
static void refine(search *s)
{
    for (double step = 1.0 / 8.0; step > 1.0 / 200.0; step /= 2.0) {
        bool better = true;
        for (int round = 0; better && round < 8; round++) {
            better = false;
            for (int sign = -1; sign <= 1; sign += 2) {
                const double factor = exp2(sign * step);
                if (s->most_up > 0.0 && !(s->symmetric && s->up == 0.0))
                    better |= try_range(s, s->down, s->up * factor);
                if (s->most_down > 0.0 && !s->symmetric)
                    better |= try_range(s, s->down * factor, s->up);
            }
        }
    }
}

vqc_range vqc_observation_least_mse(const vqc_observation *o, const vqc_observer_options *options)
{
    prefix p;
    prefix_make(&p, o);
    const double w = vqc_observation_width(o);
    const double down = fmax(-(double)o->min, 0.0) / w, up = fmax((double)o->max, 0.0) / w;
    search s = {.p = &p,
                .bits = options->bits,
                .symmetric = options->symmetric,
                .most_down = down,
                .most_up = up};
    if (options->symmetric)
        s.most_down = s.most_up = fmax(down, up);
    s.down = s.most_down;
    s.up = s.most_up;
    s.error = range_error(&p, s.down, s.up, s.bits, s.symmetric);
    if (s.symmetric) {
        sweep(&s, true, true);
        for (double step = 1.0 / 8.0; step > 1.0 / 200.0; step /= 2.0)
            while (try_range(&s, s.up * exp2(step), s.up * exp2(step)) ||
                   try_range(&s, s.up * exp2(-step), s.up * exp2(-step)))
                continue;
    } else {
        sweep(&s, true, true);
        if (s.most_down > 0.0 && s.most_up > 0.0) {
            sweep(&s, false, true);
            sweep(&s, true, false);
        }
        refine(&s);
    }
    return vqc_observation_cut(o, -s.down * w, s.up * w, s.symmetric);
}
