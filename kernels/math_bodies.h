/* The math kernels, written once over a vector of 16 float lanes; compiled for the C reference on
 * math_portable.h (math_c.c) and for every ISA by simd_bodies.h. Beyond the operations listed
 * there: mf_fma(x, y, z)     x y + z with one rounding mf_div, mf_sqrt     IEEE rounding mf_gt,
 * mf_is_nan    comparison, truth of x > y and of x being NaN mf_load_even(p)     p[0], p[2], ...,
 * p[30]; nothing behind p[30] is read
 *
 * Coefficients: minimax fits by iteratively reweighted least squares on Chebyshev nodes, rounded to
 * float; the interval and the fit's error stand beside each. */
#ifndef VQC_KERNELS_MATH_BODIES_H
#define VQC_KERNELS_MATH_BODIES_H

VQC_INLINE vm mf_lt(vf x, vf y)
{
    return mf_gt(y, x);
}

/* c[0] + x (c[1] + x (...)), Horner's rule with fused steps. */
VQC_INLINE vf mf_polynomial(vf x, const float *c, int degree)
{
    vf p = vf_set(c[degree]);
    for (int i = degree - 1; i >= 0; i--)
        p = mf_fma(p, x, vf_set(c[i]));
    return p;
}

/* Adding and taking away 1.5 * 2^23 rounds |x| < 2^22 to an integer, which then stands in the low
 * bits of the sum. */
#define ROUNDER 0x1.8p23f

/* 2^(rounded - ROUNDER) for exponents of -126 to 127: shifting drops all but the low bits. */
VQC_INLINE vf mf_power_of_two(vf rounded)
{
    return vf_bits(vi_add(vi_shl(vi_bits(rounded), 23), vi_set(0x3f800000)));
}

/*
 * exp(x) = 2^n exp(r) with n = round(x / ln 2), |r| <= ln 2 / 2. ln 2 is taken off in two parts
 * (its float and the rest, 2^-54 relative). The power is applied in two halves, so that results
 * above 2^127 and below 2^-126 are rounded once. Below -104 the result is 0, above 89 infinity.
 */
VQC_INLINE vf mf_exp(vf x)
{
    /* (exp(r) - 1 - r) / r^2, fit error 3.4e-9 relative to exp */
    static const float c[] = {0x1.000000p-1f, 0x1.555486p-3f, 0x1.555454p-5f, 0x1.12414ap-7f,
                              0x1.6dbc5ap-10f};
    const vf v = vf_min(vf_max(x, vf_set(-104.0f)), vf_set(89.0f));
    const vf t = mf_fma(v, vf_set(0x1.715476p+0f), vf_set(ROUNDER));
    const vf n = vf_sub(t, vf_set(ROUNDER));
    const vf r = mf_fma(n, vf_set(0x1.05c610p-29f), mf_fma(n, vf_set(-0x1.62e430p-1f), v));
    const vf p = vf_add(mf_fma(vf_mul(r, r), mf_polynomial(r, c, 4), r), vf_set(1.0f));
    const vf half = mf_fma(n, vf_set(0.5f), vf_set(ROUNDER));
    const vf rest = vf_add(vf_sub(n, vf_sub(half, vf_set(ROUNDER))), vf_set(ROUNDER));
    const vf y = vf_mul(vf_mul(p, mf_power_of_two(half)), mf_power_of_two(rest));
    return vf_select(mf_is_nan(x), x, y);
}

/*
 * log(x) = e ln 2 + log(1 + f), x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2): the split of
 * Cephes' logf (Moshier). Denormals are scaled by 2^23 first.
 */
VQC_INLINE vf mf_log(vf x)
{
    /* (log(1 + f) - f + f^2 / 2) / f^3, fit error 7e-10 relative to f */
    static const float c[] = {0x1.555546p-2f,  -0x1.ffffeep-3f, 0x1.99a546p-3f,
                              -0x1.5562e0p-3f, 0x1.2332b4p-3f,  -0x1.fb4380p-4f,
                              0x1.e65188p-4f,  -0x1.e2e81cp-4f, 0x1.1b3ef2p-4f};
    const vm tiny = mf_lt(x, vf_set(0x1p-126f));
    const vf v = vf_select(tiny, vf_mul(x, vf_set(0x1p23f)), x);
    const vi bits = vi_add(vi_bits(v), vi_set(0x3f800000 - 0x3f3504f3));
    const vf bias = vf_select(tiny, vf_set(127.0f + 23.0f), vf_set(127.0f));
    const vf e = vf_sub(vf_from_int(vi_shr(bits, 23)), bias);
    const vf m = vf_bits(vi_add(vi_and(bits, vi_set(0x007fffff)), vi_set(0x3f3504f3)));
    const vf f = vf_sub(m, vf_set(1.0f));
    const vf f2 = vf_mul(f, f);
    vf y = vf_mul(vf_mul(f2, f), mf_polynomial(f, c, 8));
    y = mf_fma(e, vf_set(-0x1.05c610p-29f), y);
    y = mf_fma(f2, vf_set(-0.5f), y);
    y = mf_fma(e, vf_set(0x1.62e430p-1f), vf_add(f, y));
    y = vf_select(mf_lt(x, vf_set(0x1p-149f)), vf_set(-INFINITY), y);
    y = vf_select(mf_lt(x, vf_set(0.0f)), vf_set(NAN), y);
    y = vf_select(mf_gt(x, vf_set(0x1.fffffep127f)), x, y);
    return vf_select(mf_is_nan(x), x, y);
}

/* e / (1 + e) or 1 / (1 + e) with e = exp(-|x|), which cannot overflow. */
VQC_INLINE vf mf_sigmoid(vf x)
{
    const vf e = mf_exp(vf_sub(vf_set(0.0f), vf_abs(x)));
    const vf top = vf_select(mf_lt(x, vf_set(0.0f)), e, vf_set(1.0f));
    return mf_div(top, vf_add(vf_set(1.0f), e));
}

/* The sign of x on a value that is not negative. */
VQC_INLINE vf mf_with_sign(vf value, vf x)
{
    return vf_bits(vi_or(vi_bits(value), vi_and(vi_bits(x), vi_set(INT32_MIN))));
}

/* |x| <= sqrt(0.4): odd polynomial; beyond: 1 - 2 / (exp(2 |x|) + 1). */
VQC_INLINE vf mf_tanh(vf x)
{
    /* (tanh(x) - x) / x^3 in x^2, fit error 2e-10 */
    static const float c[] = {-0x1.555554p-2f, 0x1.111058p-3f,  -0x1.b9eba8p-5f,
                              0x1.63695cp-6f,  -0x1.0b43b6p-7f, 0x1.163b1ap-9f};
    const vf a = vf_abs(x), u = vf_mul(x, x);
    const vf small = mf_fma(vf_mul(u, mf_polynomial(u, c, 5)), a, a);
    const vf e = mf_exp(vf_add(a, a));
    const vf large = vf_sub(vf_set(1.0f), mf_div(vf_set(2.0f), vf_add(e, vf_set(1.0f))));
    const vf y = vf_select(mf_lt(u, vf_set(0.4f)), small, large);
    return vf_select(mf_is_nan(x), x, mf_with_sign(y, x));
}

/* erf(x) for |x| < 1. */
VQC_INLINE vf mf_erf_small(vf x)
{
    /* erf(x) / x - 1 in x^2 on 0 .. 1, fit error 1e-9 */
    static const float c[] = {0x1.06eba8p-3f, -0x1.81273ep-2f,  0x1.ce2d20p-4f, -0x1.b7fbb4p-6f,
                              0x1.5419f4p-8f, -0x1.a485dep-11f, 0x1.4ae4aap-14f};
    return mf_fma(mf_polynomial(vf_mul(x, x), c, 6), x, x);
}

/* 1 - erf(z) for 0.95 <= z <= 6.5; 0 beyond, where it is below 4e-20. */
VQC_INLINE vf mf_erfc_large(vf z)
{
    /* log(1 - erf(z)) + z^2 in z - 3.5, fit error 3.2e-8 */
    static const float c[] = {-0x1.dcc8b2p+0f, -0x1.107c64p-2f,  0x1.105b74p-5f,  -0x1.567b84p-8f,
                              0x1.ca39e0p-11f, -0x1.349fbep-13f, 0x1.964e70p-16f, -0x1.06ad5cp-18f,
                              0x1.5051a4p-21f, -0x1.620040p-24f, 0x1.7e12c2p-28f};
    const vf v = vf_min(z, vf_set(6.5f));
    const vf g = mf_polynomial(vf_sub(v, vf_set(3.5f)), c, 10);
    const vf y = mf_exp(mf_fma(vf_sub(vf_set(0.0f), v), v, g));
    return vf_select(mf_gt(z, vf_set(6.5f)), vf_set(0.0f), y);
}

VQC_INLINE vf mf_erf(vf x)
{
    const vf a = vf_abs(x);
    const vf large = vf_sub(vf_set(1.0f), mf_erfc_large(a));
    const vf y = vf_select(mf_lt(a, vf_set(1.0f)), mf_erf_small(a), large);
    return vf_select(mf_is_nan(x), x, mf_with_sign(y, x));
}

/* 0.5 x (1 + erf(z)), z = x / sqrt(2); where z <= -1 without the cancellation: 0.5 x erfc(-z). */
VQC_INLINE vf mf_gelu(vf x)
{
    const vf z = vf_mul(x, vf_set(0x1.6a09e6p-1f)), a = vf_abs(z), one = vf_set(1.0f);
    const vf tail = mf_erfc_large(a), half = vf_mul(x, vf_set(0.5f));
    const vf outer = vf_select(mf_lt(x, vf_set(0.0f)), tail, vf_sub(vf_set(2.0f), tail));
    const vf inner = vf_add(one, mf_erf_small(z));
    const vf y = vf_mul(half, vf_select(mf_lt(a, one), inner, outer));
    return vf_select(mf_is_nan(x), x, y);
}

VQC_INLINE vf mf_relu(vf x)
{
    return vf_max(vf_set(0.0f), x);
}

/* The limit on the left: NaN in x stays. */
VQC_INLINE vf mf_clip(vf x, vf low, vf high)
{
    return vf_min(high, vf_max(low, x));
}

VQC_INLINE vf mf_hard_sigmoid(vf x, vf a, vf b)
{
    return mf_clip(mf_fma(a, x, b), vf_set(0.0f), vf_set(1.0f));
}

VQC_INLINE vf mf_hard_swish(vf x)
{
    return vf_mul(x, mf_hard_sigmoid(x, vf_set(0x1.555556p-3f), vf_set(0.5f)));
}

VQC_INLINE vf mf_leaky_relu(vf x, vf a, vf b)
{
    (void)b;
    return vf_select(mf_lt(x, vf_set(0.0f)), vf_mul(a, x), x);
}

VQC_INLINE vf mf_swish(vf x, vf a, vf b)
{
    (void)b;
    return vf_mul(x, mf_sigmoid(vf_mul(a, x)));
}

VQC_INLINE vf mf_max(vf x, vf y)
{
    return vf_select(mf_is_nan(x), x, vf_max(x, y));
}

VQC_INLINE vf mf_min(vf x, vf y)
{
    return vf_select(mf_is_nan(x), x, vf_min(x, y));
}

/* ---- kernels ---- */

#define UNARY_KERNEL(name)                                                                         \
    void KERNEL(f32_##name)(const float *x, size_t n, float *y)                                    \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + VQC_LANES <= n; i += VQC_LANES)                                                 \
            vf_store(y + i, mf_##name(vf_load(x + i)));                                            \
        if (i < n)                                                                                 \
            vf_store_n(y + i, n - i, mf_##name(vf_load_n(x + i, n - i, 0.0f)));                    \
    }
UNARY_KERNEL(exp)
UNARY_KERNEL(log)
UNARY_KERNEL(sigmoid)
UNARY_KERNEL(tanh)
UNARY_KERNEL(erf)
UNARY_KERNEL(gelu)
UNARY_KERNEL(sqrt)
UNARY_KERNEL(relu)
UNARY_KERNEL(hard_swish)
#undef UNARY_KERNEL

#define PARAMETRIC_KERNEL(name, expression)                                                        \
    void KERNEL(f32_##name)(const float *x, size_t n, float a, float b, float *y)                  \
    {                                                                                              \
        const vf va = vf_set(a), vb = vf_set(b);                                                   \
        size_t i = 0;                                                                              \
        for (; i + VQC_LANES <= n; i += VQC_LANES) {                                               \
            const vf v = vf_load(x + i);                                                           \
            vf_store(y + i, expression);                                                           \
        }                                                                                          \
        if (i < n) {                                                                               \
            const vf v = vf_load_n(x + i, n - i, 0.0f);                                            \
            vf_store_n(y + i, n - i, expression);                                                  \
        }                                                                                          \
    }
PARAMETRIC_KERNEL(clip, mf_clip(v, va, vb))
PARAMETRIC_KERNEL(leaky_relu, mf_leaky_relu(v, va, vb))
PARAMETRIC_KERNEL(hard_sigmoid, mf_hard_sigmoid(v, va, vb))
PARAMETRIC_KERNEL(swish, mf_swish(v, va, vb))
PARAMETRIC_KERNEL(scale_shift, mf_fma(v, va, vb))
#undef PARAMETRIC_KERNEL

/* One loop per combination of steps, chosen once. */
#define BINARY_KERNEL(name, operation)                                                             \
    VQC_INLINE void name##_loop(const float *a, bool many_a, const float *b, bool many_b,          \
                                size_t n, float *y)                                                \
    {                                                                                              \
        const vf one_a = vf_set(many_a || n == 0 ? 0.0f : *(const vqc_f32_at *)a);                 \
        const vf one_b = vf_set(many_b || n == 0 ? 0.0f : *(const vqc_f32_at *)b);                 \
        size_t i = 0;                                                                              \
        for (; i + VQC_LANES <= n; i += VQC_LANES)                                                 \
            vf_store(y + i,                                                                        \
                     operation(many_a ? vf_load(a + i) : one_a, many_b ? vf_load(b + i) : one_b)); \
        if (i < n)                                                                                 \
            vf_store_n(y + i, n - i,                                                               \
                       operation(many_a ? vf_load_n(a + i, n - i, 1.0f) : one_a,                   \
                                 many_b ? vf_load_n(b + i, n - i, 1.0f) : one_b));                 \
    }                                                                                              \
    void KERNEL(f32_##name)(const float *a, size_t a_step, const float *b, size_t b_step,          \
                            size_t n, float *y)                                                    \
    {                                                                                              \
        if (a_step != 0 && b_step != 0)                                                            \
            name##_loop(a, true, b, true, n, y);                                                   \
        else if (a_step != 0)                                                                      \
            name##_loop(a, true, b, false, n, y);                                                  \
        else                                                                                       \
            name##_loop(a, false, b, b_step != 0, n, y);                                           \
    }
BINARY_KERNEL(add, vf_add)
BINARY_KERNEL(sub, vf_sub)
BINARY_KERNEL(mul, vf_mul)
BINARY_KERNEL(div, mf_div)
BINARY_KERNEL(max, mf_max)
BINARY_KERNEL(min, mf_min)
#undef BINARY_KERNEL

/* exp(x - max) into y (log: only summed) and their sum, in lanes that are flushed every VQC_CHUNK
 * elements. */
VQC_INLINE double exponentials(const float *x, size_t n, vf max, bool store, float *y)
{
    double sum = 0.0;
    for (size_t i0 = 0; i0 < n; i0 += VQC_CHUNK) {
        const size_t i1 = i0 + vqc_min_size(VQC_CHUNK, n - i0);
        vf lanes = vf_set(0.0f);
        size_t i = i0;
        for (; i + VQC_LANES <= i1; i += VQC_LANES) {
            const vf e = mf_exp(vf_sub(vf_load(x + i), max));
            lanes = vf_add(lanes, e);
            if (store)
                vf_store(y + i, e);
        }
        if (i < i1) {
            const vf e = mf_exp(vf_sub(vf_load_n(x + i, i1 - i, 0.0f), max));
            lanes = vf_add(lanes, vf_keep_first(e, i1 - i));
            if (store)
                vf_store_n(y + i, i1 - i, e);
        }
        sum += vf_sum(lanes);
    }
    return sum;
}

VQC_INLINE float row_maximum(const float *x, size_t n)
{
    vf max = vf_set(-INFINITY);
    size_t i = 0;
    for (; i + VQC_LANES <= n; i += VQC_LANES)
        max = vf_max(vf_load(x + i), max);
    if (i < n)
        max = vf_max(vf_load_n(x + i, n - i, -INFINITY), max);
    return vf_largest(max);
}

void KERNEL(f32_softmax)(const float *x, size_t n, float *y)
{
    const vf max = vf_set(row_maximum(x, n));
    const double sum = exponentials(x, n, max, true, y);
    KERNEL(f32_scale_shift)(y, n, (float)(1.0 / sum), -0.0f, y);
}

/* log is taken of the sum, which lies between 1 and n, rounded to float. */
void KERNEL(f32_log_softmax)(const float *x, size_t n, float *y)
{
    const float max = row_maximum(x, n);
    const double sum = exponentials(x, n, vf_set(max), false, y);
    float log_sum;
    vf_store_n(&log_sum, 1, mf_log(vf_set((float)sum)));
    KERNEL(f32_sub)(x, 1, &max, 0, n, y);
    KERNEL(f32_sub)(y, 1, &log_sum, 0, n, y);
}

/* The next cell of a window into its maximum or sum so far. */
VQC_INLINE vf pool_step(vf so_far, vf x, bool is_max)
{
    return is_max ? vf_select(mf_is_nan(x), x, vf_select(mf_gt(x, so_far), x, so_far))
                  : vf_add(so_far, x);
}

VQC_INLINE void pool_body(const float *x, size_t n, size_t window, size_t stride, size_t dilation,
                          bool is_max, float *y)
{
    size_t i = 0;
    for (; stride <= 2 && i + VQC_LANES <= n; i += VQC_LANES) {
        const float *p = x + i * stride;
        vf v = stride == 1 ? vf_load(p) : mf_load_even(p);
        for (size_t k = 1; k < window; k++) {
            p += dilation;
            v = pool_step(v, stride == 1 ? vf_load(p) : mf_load_even(p), is_max);
        }
        vf_store(y + i, v);
    }
    for (; i < n; i++) {
        const vqc_f32_at *p = x + i * stride;
        float v = *p;
        for (size_t k = 1; k < window; k++) {
            const float next = p[k * dilation];
            if (is_max)
                v = isnan(next) || next > v ? next : v;
            else
                v += next;
        }
        ((vqc_f32_at *)y)[i] = v;
    }
}

void KERNEL(f32_max_pool)(const float *x, size_t n, size_t window, size_t stride, size_t dilation,
                          float *y)
{
    if (stride == 1)
        pool_body(x, n, window, 1, dilation, true, y);
    else
        pool_body(x, n, window, stride, dilation, true, y);
}

void KERNEL(f32_sum_pool)(const float *x, size_t n, size_t window, size_t stride, size_t dilation,
                          float *y)
{
    if (stride == 1)
        pool_body(x, n, window, 1, dilation, false, y);
    else
        pool_body(x, n, window, stride, dilation, false, y);
}

/* Sum of x - shift, or of its squares. */
VQC_INLINE double centered_sum(const float *x, size_t n, vf shift, bool square)
{
    double sum = 0.0;
    for (size_t i0 = 0; i0 < n; i0 += VQC_CHUNK) {
        const size_t i1 = i0 + vqc_min_size(VQC_CHUNK, n - i0);
        vf lanes = vf_set(0.0f);
        size_t i = i0;
        for (; i + VQC_LANES <= i1; i += VQC_LANES) {
            const vf v = vf_sub(vf_load(x + i), shift);
            lanes = square ? mf_fma(v, v, lanes) : vf_add(lanes, v);
        }
        if (i < i1) {
            const vf v = vf_keep_first(vf_sub(vf_load_n(x + i, i1 - i, 0.0f), shift), i1 - i);
            lanes = square ? mf_fma(v, v, lanes) : vf_add(lanes, v);
        }
        sum += vf_sum(lanes);
    }
    return sum;
}

void KERNEL(f32_mean_variance)(const float *x, size_t n, double *mean, double *variance)
{
    *mean = centered_sum(x, n, vf_set(0.0f), false) / (double)n;
    *variance = centered_sum(x, n, vf_set((float)*mean), true) / (double)n;
}

VQC_INLINE vf normalized(vf x, vf mean, vf factor, bool scaled, vf scale, bool shifted, vf bias)
{
    vf v = vf_mul(vf_sub(x, mean), factor);
    if (scaled && shifted)
        v = mf_fma(v, scale, bias);
    else if (scaled)
        v = vf_mul(v, scale);
    else if (shifted)
        v = vf_add(v, bias);
    return v;
}

VQC_INLINE void normalize_body(const float *x, size_t n, float mean, float factor,
                               const float *scale, const float *bias, float *y)
{
    const vf m = vf_set(mean), f = vf_set(factor), none = vf_set(0.0f);
    const bool scaled = scale != NULL, shifted = bias != NULL;
    size_t i = 0;
    for (; i + VQC_LANES <= n; i += VQC_LANES)
        vf_store(y + i, normalized(vf_load(x + i), m, f, scaled, scaled ? vf_load(scale + i) : none,
                                   shifted, shifted ? vf_load(bias + i) : none));
    if (i < n)
        vf_store_n(y + i, n - i,
                   normalized(vf_load_n(x + i, n - i, 0.0f), m, f, scaled,
                              scaled ? vf_load_n(scale + i, n - i, 0.0f) : none, shifted,
                              shifted ? vf_load_n(bias + i, n - i, 0.0f) : none));
}

void KERNEL(f32_normalize)(const float *x, size_t n, float mean, float factor, const float *scale,
                           const float *bias, float *y)
{
    normalize_body(x, n, mean, factor, scale, bias, y);
}

#endif
