/* Streaming statistics of a tensor and the ranges that need no search. */
#include "core/calibrate/observer.h"

#include <math.h>
#include <string.h>

#include "core/calibrate/observer_search.h"
#include "kernels/kernels.h"

enum {
    HALF = VQC_OBSERVER_HALF_BINS,
    MIN_EXPONENT = -100, /* 1 / width stays a float */
    MAX_EXPONENT = 127   /* the limit stays a float */
};

_Static_assert((int)VQC_OBSERVER_HALF_BINS <= (int)VQC_HISTOGRAM_HALF_BINS, "kernel limit");

void vqc_observation_init(vqc_observation *o)
{
    memset(o, 0, sizeof *o);
    o->min = INFINITY;
    o->max = -INFINITY;
}

static float element(const float *x, size_t i)
{
    float value;
    memcpy(&value, (const char *)x + i * sizeof value, sizeof value);
    return value;
}

/* NaN and infinities apart; rare. */
static void count_nonfinite(vqc_value_moments *m, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float value = element(x, i);
        m->nan_count += isnan(value) != 0;
        m->infinite_count += isinf(value) != 0;
    }
}

/* Sums in double for values whose squares leave the range of float; rare. */
static void sum_slowly(const float *x, size_t n, double *sum, double *sum_squares)
{
    *sum = *sum_squares = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double value = (double)element(x, i);
        if (isfinite(value)) {
            *sum += value;
            *sum_squares += value * value;
        }
    }
}

void vqc_value_moments_add(vqc_value_moments *moments, const float *x, size_t n)
{
    vqc_f32_moments m = {.min = moments->min, .max = moments->max};
    vqc_kernels_get()->f32_moments(x, n, &m);
    if (m.nonfinite > 0)
        count_nonfinite(moments, x, n);
    if (!isfinite(m.sum) || !isfinite(m.sum_squares))
        sum_slowly(x, n, &m.sum, &m.sum_squares);
    moments->elements += n - m.nonfinite;
    moments->zeros += m.zeros;
    moments->min = m.min;
    moments->max = m.max;
    moments->sum += m.sum;
    moments->sum_squares += m.sum_squares;
}

/* Doubles the limit: bins 2t and 2t + 1 on each side of zero become bin t. */
static void double_limit(vqc_observation *o)
{
    uint64_t *up = o->bins + HALF, *down = o->bins + HALF - 1; /* down goes towards index 0 */
    for (ptrdiff_t t = 0; t < HALF / 2; t++) {
        up[t] = up[2 * t] + up[2 * t + 1];
        down[-t] = down[-2 * t] + down[-2 * t - 1];
    }
    memset(up + HALF / 2, 0, HALF / 2 * sizeof *up);
    memset(o->bins, 0, HALF / 2 * sizeof *up);
    o->limit *= 2.0f;
}

/* The limit that a magnitude > 0 asks for. */
static float limit_of(float absmax)
{
    int exponent;
    (void)frexpf(absmax, &exponent); /* absmax < 2^exponent */
    exponent = exponent < MIN_EXPONENT ? MIN_EXPONENT : exponent;
    exponent = exponent > MAX_EXPONENT ? MAX_EXPONENT : exponent;
    return ldexpf(1.0f, exponent);
}

static void raise_limit(vqc_observation *o, float limit)
{
    if (o->limit == 0.0f)
        o->limit = limit;
    while (o->limit < limit)
        double_limit(o);
}

void vqc_observation_reach(vqc_observation *o, float absmax)
{
    if (absmax > 0.0f)
        raise_limit(o, limit_of(absmax));
}

void vqc_observation_count(vqc_observation *o, const float *x, size_t n, float absmax)
{
    if (!(absmax > 0.0f))
        return;
    raise_limit(o, limit_of(absmax));
    vqc_kernels_get()->f32_histogram(x, n, (float)HALF / o->limit, HALF, o->bins);
}

void vqc_observation_add_sample(vqc_observation *o, const vqc_value_moments *moments)
{
    o->samples++;
    o->nan_count += moments->nan_count;
    o->infinite_count += moments->infinite_count;
    if (moments->elements == 0)
        return;
    o->elements += moments->elements;
    o->zeros += moments->zeros;
    o->sum += moments->sum;
    o->sum_squares += moments->sum_squares;
    o->min = fminf(o->min, moments->min);
    o->max = fmaxf(o->max, moments->max);
    if (o->averaged++ == 0) {
        o->first_min = o->average_min = (double)moments->min;
        o->first_max = o->average_max = (double)moments->max;
    } else {
        o->average_min += VQC_OBSERVER_AVERAGING * ((double)moments->min - o->average_min);
        o->average_max += VQC_OBSERVER_AVERAGING * ((double)moments->max - o->average_max);
    }
}

void vqc_observe(vqc_observation *o, const float *x, size_t n)
{
    vqc_value_moments moments = VQC_VALUE_MOMENTS_NONE;
    vqc_value_moments_add(&moments, x, n);
    vqc_observation_count(o, x, n, fmaxf(-moments.min, moments.max));
    vqc_observation_add_sample(o, &moments);
}

/* The average after `count` more samples that by themselves gave `other`, begun at other_first:
 * there the first sample has the weight (1 - c)^(count - 1), here c times that. */
static double continue_average(double average, double other, double other_first, uint64_t count)
{
    const double kept = pow(1.0 - VQC_OBSERVER_AVERAGING, (double)count);
    return kept * average + (other - kept * other_first);
}

void vqc_observation_merge(vqc_observation *into, const vqc_observation *other)
{
    into->samples += other->samples;
    into->nan_count += other->nan_count;
    into->infinite_count += other->infinite_count;
    if (other->elements == 0)
        return;
    if (into->averaged == 0) {
        into->first_min = other->first_min;
        into->first_max = other->first_max;
        into->average_min = other->average_min;
        into->average_max = other->average_max;
    } else {
        into->average_min = continue_average(into->average_min, other->average_min,
                                             other->first_min, other->averaged);
        into->average_max = continue_average(into->average_max, other->average_max,
                                             other->first_max, other->averaged);
    }
    into->averaged += other->averaged;
    into->elements += other->elements;
    into->zeros += other->zeros;
    into->min = fminf(into->min, other->min);
    into->max = fmaxf(into->max, other->max);
    into->sum += other->sum;
    into->sum_squares += other->sum_squares;
    if (other->limit == 0.0f)
        return;
    raise_limit(into, other->limit);
    /* Joining pairs k times is a shift of the distance from zero by k. */
    int shift = 0;
    for (float limit = other->limit; limit < into->limit && shift < 31; limit *= 2.0f)
        shift++;
    for (size_t t = 0; t < HALF; t++) {
        into->bins[HALF + (t >> shift)] += other->bins[HALF + t];
        into->bins[HALF - 1 - (t >> shift)] += other->bins[HALF - 1 - t];
    }
}

vqc_bin_span vqc_observation_span(const vqc_observation *o)
{
    vqc_bin_span span = {0, VQC_OBSERVER_BINS};
    while (span.first < span.end && o->bins[span.first] == 0)
        span.first++;
    while (span.end > span.first && o->bins[span.end - 1] == 0)
        span.end--;
    return span;
}

double vqc_observation_width(const vqc_observation *o)
{
    return (double)o->limit / HALF;
}

vqc_range vqc_observation_cut(const vqc_observation *o, double lo, double hi, bool symmetric)
{
    const double least = fmin((double)o->min, 0.0), most = fmax((double)o->max, 0.0);
    lo = fmin(fmax(lo, least), 0.0);
    hi = fmax(fmin(hi, most), 0.0);
    if (symmetric) {
        hi = fmax(-lo, hi);
        lo = -hi;
    }
    return (vqc_range){(float)lo, (float)hi};
}

static vqc_range extremes(const vqc_observation *o, bool symmetric)
{
    return vqc_observation_cut(o, (double)o->min, (double)o->max, symmetric);
}

/* Distance from zero beyond which `tail` of the values on one side lie (both = true: of all by
 * magnitude), 0 when there are not so many; side: +1 or -1. Linear inside a bin. */
static double tail_start(const vqc_observation *o, int side, bool both, double tail)
{
    double above = 0.0;
    for (size_t t = HALF; t-- > 0;) {
        double count = (double)(side > 0 ? o->bins[HALF + t] : o->bins[HALF - 1 - t]);
        if (both)
            count += (double)(side > 0 ? o->bins[HALF - 1 - t] : o->bins[HALF + t]);
        if (count > 0.0 && above + count > tail)
            return ((double)t + 1.0 - (tail - above) / count) * vqc_observation_width(o);
        above += count;
    }
    return 0.0;
}

static vqc_range percentile_range(const vqc_observation *o, const vqc_observer_options *options)
{
    const double share = fmin(fmax(options->percentile, 0.0), 100.0) / 100.0;
    const double outside = (1.0 - share) * (double)o->elements;
    double lo, hi;
    if (options->symmetric) {
        hi = tail_start(o, 1, true, outside);
        lo = -hi;
    } else {
        hi = tail_start(o, 1, false, outside / 2.0);
        lo = -tail_start(o, -1, false, outside / 2.0);
    }
    if (hi == 0.0 && lo == 0.0)
        return extremes(o, options->symmetric);
    return vqc_observation_cut(o, lo, hi, options->symmetric);
}

vqc_range vqc_observation_range(const vqc_observation *o, const vqc_observer_options *options)
{
    if (o->limit == 0.0f)
        return (vqc_range){0.0f, 0.0f};
    switch (options->kind) {
    case VQC_OBSERVER_MOVING_AVERAGE:
        return vqc_observation_cut(o, o->average_min, o->average_max, options->symmetric);
    case VQC_OBSERVER_PERCENTILE:
        return percentile_range(o, options);
    case VQC_OBSERVER_ENTROPY:
        return vqc_observation_entropy(o, options);
    case VQC_OBSERVER_MSE:
        return vqc_observation_least_mse(o, options);
    case VQC_OBSERVER_AUTO:
    case VQC_OBSERVER_MINMAX:
        break;
    }
    return extremes(o, options->symmetric);
}

const char *vqc_observer_name(vqc_observer_kind kind)
{
    static const char *const names[] = {"auto",       "minmax",  "moving_average",
                                        "percentile", "entropy", "mse"};
    return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}
