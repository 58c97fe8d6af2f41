/*
 * Depthwise convolution, written once over a vector of 8 float lanes: 8 channels side by side, so
 * that every width, stride and dilation is the same work without shuffles or masks. Rows of the
 * input are transposed to [column][8 channels] as they are needed and stay in the level 1 cache for
 * the output rows that read them; results are transposed back. gemm_body.h ends with it: the
 * gemm_ISA.c file defines the type
 * g8 and g8_set, g8_load, g8_store, g8_fma, g8_max, g8_min (as for g16), g8_load_halves (4 floats
 * from each of two places), g8_store_halves, and g8_transpose (both 4 x 4 halves of four vectors).
 */
#ifndef VQC_KERNELS_DEPTHWISE_BODY_H
#define VQC_KERNELS_DEPTHWISE_BODY_H

#include "kernels/gemm_types.h"
#include "kernels/lanes.h"

enum { DW = VQC_DEPTHWISE_CHANNELS };

/* What is the same for all rows. */
typedef struct depthwise_work {
    const vqc_depthwise *d;
    float *weights; /* [taps][8] */
    g8 bias, lo, hi;
} depthwise_work;

/* n columns of 8 rows x to [column][8]. */
VQC_INLINE void depthwise_columns(const float *const x[DW], size_t n, float *to)
{
    if (n < 4) {
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < DW; c++)
                to[i * DW + c] = x[c][i];
        return;
    }
    for (size_t i = 0;; i += 4) {
        if (i + 4 > n) {
            if (i == n)
                return;
            i = n - 4; /* some a second time */
        }
        g8 q0 = g8_load_halves(x[0] + i, x[4] + i), q1 = g8_load_halves(x[1] + i, x[5] + i);
        g8 q2 = g8_load_halves(x[2] + i, x[6] + i), q3 = g8_load_halves(x[3] + i, x[7] + i);
        g8_transpose(&q0, &q1, &q2, &q3);
        g8_store(to + i * DW, q0);
        g8_store(to + (i + 1) * DW, q1);
        g8_store(to + (i + 2) * DW, q2);
        g8_store(to + (i + 3) * DW, q3);
    }
}

/* n elements [element][8] to `channels` planes from out on, out_plane floats apart. */
VQC_INLINE void depthwise_store(const float *from, size_t n, float *out, size_t out_plane,
                                size_t channels)
{
    float *to[DW];
    for (size_t c = 0; c < DW; c++)
        to[c] = c < channels ? out + c * out_plane : NULL;
    if (n < 4 || channels < DW) {
        for (size_t c = 0; c < channels; c++)
            for (size_t i = 0; i < n; i++)
                to[c][i] = from[i * DW + c];
        return;
    }
    for (size_t i = 0;; i += 4) {
        if (i + 4 > n) {
            if (i == n)
                return;
            i = n - 4;
        }
        g8 q0 = g8_load(from + i * DW), q1 = g8_load(from + (i + 1) * DW);
        g8 q2 = g8_load(from + (i + 2) * DW), q3 = g8_load(from + (i + 3) * DW);
        g8_transpose(&q0, &q1, &q2, &q3);
        g8_store_halves(to[0] + i, to[4] + i, q0);
        g8_store_halves(to[1] + i, to[5] + i, q1);
        g8_store_halves(to[2] + i, to[6] + i, q2);
        g8_store_halves(to[3] + i, to[7] + i, q3);
    }
}

/* P outputs next to each other, `step` floats apart in the rows. */
#define DW_START(i) g8 acc_##i = w->bias;
#define DW_STEP(i) acc_##i = g8_fma(weight, g8_load(x + i * step), acc_##i);
#define DW_CLAMP(i) acc_##i = g8_min(hi, g8_max(lo, acc_##i));
#define DW_STORE(i) g8_store(out + i * DW, acc_##i);
#define DEPTHWISE(P)                                                                               \
    VQC_INLINE void depthwise_##P(const depthwise_work *w, const float *const *tap, size_t at,     \
                                  size_t step, float *out)                                         \
    {                                                                                              \
        const size_t taps = w->d->kernel_h * w->d->kernel_w;                                       \
        const float *weights = w->weights;                                                         \
        const g8 lo = w->lo, hi = w->hi;                                                           \
        const bool clamp = w->d->clamp;                                                            \
        ROWS_##P(DW_START) for (size_t t = 0; t < taps; t++)                                       \
        {                                                                                          \
            const g8 weight = g8_load(weights + t * DW);                                           \
            const float *x = tap[t] + at;                                                          \
            ROWS_##P(DW_STEP)                                                                      \
        }                                                                                          \
        if (clamp) {                                                                               \
            ROWS_##P(DW_CLAMP)                                                                     \
        }                                                                                          \
        ROWS_##P(DW_STORE)                                                                         \
    }
#define ROWS_14(X) ROWS_12(X) X(12) X(13)
DEPTHWISE(1)
DEPTHWISE(2)
DEPTHWISE(4)
DEPTHWISE(7)
DEPTHWISE(14)

/* One output row; tap[t]: where tap t of its first output lies. */
VQC_INLINE void depthwise_row(const depthwise_work *w, const float *const *tap, size_t step,
                              float *out)
{
    const size_t n = w->d->out_w;
    size_t i = 0;
    for (; i + 14 <= n; i += 14)
        depthwise_14(w, tap, i * step, step, out + i * DW);
    if (i + 7 <= n) {
        depthwise_7(w, tap, i * step, step, out + i * DW);
        i += 7;
    }
    if (i + 4 <= n) {
        depthwise_4(w, tap, i * step, step, out + i * DW);
        i += 4;
    }
    if (i + 2 <= n) {
        depthwise_2(w, tap, i * step, step, out + i * DW);
        i += 2;
    }
    if (i < n)
        depthwise_1(w, tap, i * step, step, out + i * DW);
}

/* The input row of `rows` that holds input row r, transposed unless it is there already. */
VQC_INLINE const float *depthwise_input(const vqc_depthwise *d, size_t r, float *ring, size_t *held)
{
    const size_t slot = r % vqc_depthwise_ring(d), pitch = vqc_depthwise_pitch(d);
    float *row = ring + slot * pitch * DW;
    const float *x[DW];
    if (held[slot] == r)
        return row;
    held[slot] = r;
    for (size_t c = 0; c < DW; c++)
        x[c] = d->x + vqc_min_size(c, d->channels - 1) * d->x_plane + r * d->in_w;
    if (pitch > d->pad_left)
        depthwise_columns(x, vqc_min_size(d->in_w, pitch - d->pad_left), row + d->pad_left * DW);
    return row;
}

VQC_INLINE depthwise_work depthwise_begin(const vqc_depthwise *d, float *weights)
{
    const size_t taps = d->kernel_h * d->kernel_w;
    float bias[DW] = {0};
    for (size_t c = 0; c < d->channels && d->bias != NULL; c++)
        bias[c] = d->bias[c];
    for (size_t c = 0; c < DW; c++)
        for (size_t t = 0; t < taps; t++)
            weights[t * DW + c] = c < d->channels ? d->weight[c * taps + t] : 0.0f;
    return (depthwise_work){.d = d,
                            .weights = weights,
                            .bias = g8_load(bias),
                            .lo = g8_set(d->lo),
                            .hi = g8_set(d->hi)};
}

void KERNEL(f32_depthwise)(const vqc_depthwise *d)
{
    const size_t pitch = vqc_depthwise_pitch(d), ring_rows = vqc_depthwise_ring(d);
    const size_t taps = d->kernel_h * d->kernel_w;
    float *weights = d->scratch, *zeros = weights + taps * DW, *ring = zeros + pitch * DW;
    float *made = ring + ring_rows * pitch * DW; /* rows of the output not yet stored */
    const depthwise_work work = depthwise_begin(d, weights);
    const float *tap[VQC_DEPTHWISE_TAPS];
    size_t held[VQC_DEPTHWISE_RING], waiting = 0, stored = 0;
    for (size_t i = 0; i < ring_rows; i++)
        held[i] = SIZE_MAX;
    for (size_t i = 0; i < (ring_rows + 1) * pitch; i++)
        g8_store(zeros + i * DW, g8_set(0.0f));
    for (size_t h = 0; h < d->out_h; h++) {
        for (size_t i = 0; i < d->kernel_h; i++) {
            const size_t r = h * d->stride_h + i * d->dilation_h; /* with the padding above */
            const float *row = r >= d->pad_top && r - d->pad_top < d->in_h
                                   ? depthwise_input(d, r - d->pad_top, ring, held)
                                   : zeros;
            for (size_t k = 0; k < d->kernel_w; k++)
                tap[i * d->kernel_w + k] = row + k * d->dilation_w * DW;
        }
        if (d->stride_w == 1)
            depthwise_row(&work, tap, DW, made + waiting * DW);
        else
            depthwise_row(&work, tap, d->stride_w * DW, made + waiting * DW);
        waiting += d->out_w;
        if (waiting >= VQC_DEPTHWISE_WAITING || h + 1 == d->out_h) {
            depthwise_store(made, waiting, d->out + stored, d->out_plane, d->channels);
            stored += waiting;
            waiting = 0;
        }
    }
}

#endif
