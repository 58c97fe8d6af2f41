#include "core/codec/int_fit.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

enum {
    SEARCH_CAPACITY = 1 << 18, /* weights of one group that a search looks at */
    COARSE_STEPS = 20,
    AUTO_SEARCH_ELEMENTS = 1 << 22 /* range auto searches in layers up to this size */
};

/* Range of one group and what it becomes. */
typedef struct range {
    float lo;
    float hi;
} range;

typedef struct params {
    float scale;
    int32_t zero_point;
} params;

vqc_range_method vqc_int_range(const vqc_decision *decision)
{
    if (decision->spec.range != VQC_RANGE_AUTO) {
        return decision->spec.range;
    }
    return decision->bits < 8 && decision->layer->elements <= AUTO_SEARCH_ELEMENTS
               ? VQC_RANGE_MSE
               : VQC_RANGE_MINMAX;
}

float vqc_inverse_scale(float scale)
{
    return scale > 0.0f ? 1.0f / scale : 0.0f;
}

/* The smallest scale (and the zero point) whose codes cover [lo, hi]. An all-zero group gets
 * scale 1. */
static params cover(const vqc_decision *decision, range r)
{
    params p = {1.0f, decision->middle};
    float lo = fminf(r.lo, 0.0f);
    float hi = fmaxf(r.hi, 0.0f);

    if (decision->has_zero_point) {
        float width = hi - lo;
        if (width > 0.0f && isfinite(width)) {
            float steps = (float)(decision->hi - decision->lo);
            p.scale = width / steps;
            if (p.scale > 0.0f) {
                float zero = rintf((float)decision->lo - lo / p.scale);
                p.zero_point =
                    (int32_t)fminf(fmaxf(zero, (float)decision->lo), (float)decision->hi);
            }
        }
    } else if (hi - lo > 0.0f) {
        float above = hi / (float)(decision->hi - decision->middle);
        float below = -lo / (float)(decision->middle - decision->lo);
        p.scale = fmaxf(above, below);
    }
    if (!(p.scale > 0.0f)) {
        p.scale = 1.0f;
    }
    return p;
}

/* What decoding will make of a scale that is stored as float16. */
static float as_stored(const vqc_decision *decision, float scale, uint16_t *f16)
{
    float scaled;

    if (!decision->scale_f16) {
        return scale;
    }
    scaled = scale / VQC_SCALE_UNIT;
    vqc_kernels_get()->f32_f16_convert(&scaled, 1, f16);
    vqc_kernels_get()->f16_f32_convert(f16, 1, &scaled);
    return scaled * VQC_SCALE_UNIT;
}

/* ---- min-max over tiles ---- */

static uint64_t minmax_tile(const vqc_kernels *k, const vqc_tile *t, const float *weights,
                            float *lo, float *hi)
{
    const float *x = weights + t->offset;
    size_t nonfinite = 0;

    if (t->by_row) {
        k->f32_minmax_rows(x, t->rows, t->cols, t->stride, lo + t->param, hi + t->param,
                           &nonfinite);
    } else {
        k->f32_minmax_cols(x, t->rows, t->cols, t->stride, lo + t->param, hi + t->param,
                           &nonfinite);
    }
    return nonfinite;
}

/* With 2 bits the scale may be the largest weight and the furthest code -2; a search may widen the
 * range a little: a factor of 4 below the end of float32 is safe. */
static const float LARGEST_WEIGHT = 0x1p126f;

static vqc_status refuse_values(uint64_t nonfinite, float absmax, vqc_error *error)
{
    if (nonfinite > 0) {
        return vqc_fail(error, VQC_ERR_MODEL, "has %llu NaN or infinite weights",
                        (unsigned long long)nonfinite);
    }
    if (absmax > LARGEST_WEIGHT) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "has weights up to %g, expected at most %g: decoding could overflow",
                        (double)absmax, (double)LARGEST_WEIGHT);
    }
    return VQC_OK;
}

vqc_status vqc_int_check_finite(const float *weights, size_t n, vqc_error *error)
{
    const vqc_kernels *k = vqc_kernels_get();
    return refuse_values(k->f32_count_nonfinite(weights, n), k->f32_absmax(weights, n), error);
}

static vqc_status minmax(const vqc_decision *decision, const float *weights, const vqc_tile *tiles,
                         const size_t *unit_start, size_t units, float *lo, float *hi,
                         size_t groups, vqc_error *error)
{
    const vqc_kernels *k = vqc_kernels_get();
    uint64_t nonfinite = 0;
    float absmax = 0.0f;

    for (size_t g = 0; g < groups; g++) {
        lo[g] = INFINITY;
        hi[g] = -INFINITY;
    }
#pragma omp parallel for schedule(dynamic, 4) reduction(+ : nonfinite)                           \
    if (decision->layer->elements >= VQC_PARALLEL_ELEMENTS)
    for (size_t u = 0; u < units; u++) {
        for (size_t t = unit_start[u]; t < unit_start[u + 1]; t++) {
            nonfinite += minmax_tile(k, &tiles[t], weights, lo, hi);
        }
    }
    for (size_t g = 0; g < groups; g++) {
        absmax = fmaxf(absmax, fmaxf(-lo[g], hi[g]));
    }
    return refuse_values(nonfinite, absmax, error);
}

/* ---- percentile ---- */

float vqc_select_kth(float *x, size_t n, size_t k)
{
    ptrdiff_t left = 0;
    ptrdiff_t right = (ptrdiff_t)n - 1;
    ptrdiff_t wanted = (ptrdiff_t)k;

    while (left < right) {
        float pivot = x[wanted];
        ptrdiff_t i = left;
        ptrdiff_t j = right;
        do {
            while (x[i] < pivot) {
                i++;
            }
            while (pivot < x[j]) {
                j--;
            }
            if (i <= j) {
                float swap = x[i];
                x[i++] = x[j];
                x[j--] = swap;
            }
        } while (i <= j);
        if (j < wanted) {
            left = i;
        }
        if (wanted < i) {
            right = j;
        }
    }
    return x[wanted];
}

/* Index of the p-th percentile (nearest rank) among n sorted values. */
static size_t rank_of(double percentile, size_t n)
{
    double place = ceil(percentile / 100.0 * (double)n) - 1.0;
    if (place < 0.0) {
        return 0;
    }
    return place >= (double)n ? n - 1 : (size_t)place;
}

/* Symmetric codes: the percentile of |w|; else the percentile of w at both ends. */
static params percentile_params(const vqc_decision *decision, float *x, size_t n)
{
    double p = decision->spec.percentile;
    range r;

    if (decision->has_zero_point) {
        r.hi = vqc_select_kth(x, n, rank_of(p, n));
        r.lo = vqc_select_kth(x, n, rank_of(100.0 - p, n));
    } else {
        for (size_t i = 0; i < n; i++) {
            x[i] = fabsf(x[i]);
        }
        r.hi = vqc_select_kth(x, n, rank_of(p, n));
        r.lo = -r.hi;
    }
    return cover(decision, r);
}

/* ---- least squared error ---- */

static double error_of(const vqc_decision *decision, params p, const float *x, size_t n)
{
    uint16_t f16;
    float scale = as_stored(decision, p.scale, &f16);
    return vqc_kernels_get()->f32_quantize_sse(x, n, scale, vqc_inverse_scale(scale), p.zero_point,
                                               decision->lo, decision->hi);
}

/* Keeps `candidate` when its error is lower than the best so far. */
static void consider(const vqc_decision *decision, range candidate, const float *x, size_t n,
                     range *best, double *best_error)
{
    double error = error_of(decision, cover(decision, candidate), x, n);
    if (error < *best_error) {
        *best_error = error;
        *best = candidate;
    }
}

/*
 * Shrinks the range: a coarse grid of factors on both ends together, then each end by itself with
 * halving steps. Squared error over the range is not convex but smooth on the scale of the grid;
 * measured on Gaussian data the result is within 0.05 dB of the best uniform quantizer (METHODS
 * table, 2-8 bits).
 */
static params search_params(const vqc_decision *decision, range full, const float *x, size_t n)
{
    range best = full;
    double best_error = error_of(decision, cover(decision, full), x, n);
    float lo_step = full.lo * 0.02f;
    float hi_step = full.hi * 0.02f;

    for (int i = 1; i < COARSE_STEPS; i++) {
        float f = 1.0f - (float)i * 0.04f;
        consider(decision, (range){full.lo * f, full.hi * f}, x, n, &best, &best_error);
    }
    for (int round = 0; round < 3; round++) {
        range at = best;
        consider(decision, (range){at.lo + lo_step, at.hi + hi_step}, x, n, &best, &best_error);
        consider(decision, (range){at.lo - lo_step, at.hi - hi_step}, x, n, &best, &best_error);
        if (decision->has_zero_point) {
            at = best;
            consider(decision, (range){at.lo + 2 * lo_step, at.hi}, x, n, &best, &best_error);
            consider(decision, (range){at.lo - 2 * lo_step, at.hi}, x, n, &best, &best_error);
            at = best;
            consider(decision, (range){at.lo, at.hi + 2 * hi_step}, x, n, &best, &best_error);
            consider(decision, (range){at.lo, at.hi - 2 * hi_step}, x, n, &best, &best_error);
        }
        lo_step *= 0.5f;
        hi_step *= 0.5f;
    }
    return cover(decision, best);
}

/* ---- putting it together ---- */

static void store_params(const vqc_decision *decision, params p, size_t group, vqc_code *code)
{
    uint16_t f16 = 0;
    code->scales[group] = as_stored(decision, p.scale, &f16);
    if (decision->scale_f16) {
        code->scales_f16[group] = f16;
    }
    if (decision->has_zero_point) {
        code->zero_points[group] = p.zero_point;
    }
}

/* Percentile and search look at each group's weights again, gathered into a buffer per thread. */
static vqc_status fit_groups(const vqc_decision *decision, const float *weights, const float *lo,
                             const float *hi, vqc_code *code, vqc_error *error)
{
    size_t largest = vqc_grouping_size(&decision->grouping, 0);
    size_t capacity = largest < SEARCH_CAPACITY ? largest : SEARCH_CAPACITY;
    bool no_memory = false;

#pragma omp parallel reduction(||                                                                  \
                               : no_memory) if (decision->layer->elements >=                       \
                                                VQC_PARALLEL_SEARCH_ELEMENTS)
    {
        float *buffer = malloc((capacity == 0 ? 1 : capacity) * sizeof *buffer);
        no_memory = buffer == NULL;
#pragma omp for schedule(dynamic, 16)
        for (size_t g = 0; g < code->groups; g++) {
            if (buffer != NULL) {
                size_t n = vqc_grouping_gather(&decision->grouping, g, weights, buffer, capacity);
                range full = {lo[g], hi[g]};
                params p = vqc_int_range(decision) == VQC_RANGE_PERCENTILE
                               ? percentile_params(decision, buffer, n)
                               : search_params(decision, full, buffer, n);
                store_params(decision, p, g, code);
            }
        }
        free(buffer);
    }
    return no_memory ? vqc_fail_memory(error, capacity * sizeof(float)) : VQC_OK;
}

vqc_status vqc_int_fit_scales(const vqc_decision *decision, const float *weights,
                              const vqc_tile *tiles, const size_t *unit_start, size_t units,
                              vqc_arena *arena, vqc_code *code, vqc_error *error)
{
    size_t groups = code->groups;
    float *lo = vqc_arena_calloc(arena, groups, sizeof *lo);
    float *hi = vqc_arena_calloc(arena, groups, sizeof *hi);
    vqc_status status;

    code->scales = vqc_arena_calloc(arena, groups, sizeof *code->scales);
    code->scales_f16 = vqc_arena_calloc(arena, groups, sizeof *code->scales_f16);
    code->zero_points = vqc_arena_calloc(arena, groups, sizeof *code->zero_points);
    if (lo == NULL || hi == NULL || code->scales == NULL || code->scales_f16 == NULL ||
        code->zero_points == NULL) {
        return vqc_fail_memory(error, groups * sizeof *lo);
    }
    status = minmax(decision, weights, tiles, unit_start, units, lo, hi, groups, error);
    if (status != VQC_OK) {
        return status;
    }
    if (vqc_int_range(decision) != VQC_RANGE_MINMAX) {
        return fit_groups(decision, weights, lo, hi, code, error);
    }
    for (size_t g = 0; g < groups; g++) {
        store_params(decision, cover(decision, (range){lo[g], hi[g]}), g, code);
    }
    return VQC_OK;
}
