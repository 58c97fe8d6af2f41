/* Rows of kernels/kernel_list.h for vector math.
 *
 * Errors are in units in the last place of the float32 result, measured over many millions of
 * arguments (tests/kernels/math_cases.c checks a sample). NaN gives NaN. y may be x (or a, b); it
 * may not overlap them otherwise. Formulas use fmaf where they say so and are the same on every
 * ISA.
 *
 * MATH_UNARY, y[i] = f(x[i]):
 * - f32_exp: 1.05 ulp, denormal results included. f32_log: 1 ulp; 0 gives -infinity, less gives
 * NaN.
 * - f32_sigmoid: 1 / (1 + exp(-x)), 3 ulp. f32_tanh: 2 ulp. f32_erf: 2 ulp.
 * - f32_gelu: 0.5 x (1 + erf(x / sqrt(2))), 4 ulp for x > -1, absolute error below 2e-7.
 * - f32_sqrt: exact rounding. f32_relu: max(x, 0), -0 stays.
 * - f32_hard_swish: x clip(fma(x, 1/6, 0.5), 0, 1).
 * - f32_softmax, f32_log_softmax: over the n values; the sum of exponentials runs in 16 lanes.
 * MATH_PARAMETRIC, with parameters a and b:
 * - f32_clip: x < a ? a : x, then x > b ? b : x. f32_leaky_relu: x < 0 ? a x : x.
 * - f32_hard_sigmoid: clip(fma(a, x, b), 0, 1). f32_swish: x / (1 + exp(-a x)), 4 ulp (b unused).
 * - f32_scale_shift: fma(x, a, b).
 * MATH_BINARY, y[i] = a[i * a_step] op b[i * b_step], steps 0 (one value for all) or 1:
 * - f32_add, f32_sub, f32_mul, f32_div; f32_max and f32_min: NaN wins, b on a tie.
 * MATH_POOL, y[i] = max or sum over k < window of x[i * stride + k * dilation], k upwards:
 * - f32_max_pool: NaN wins, the first of equals. f32_sum_pool. window >= 1.
 * MATH_MOMENTS:
 * - f32_mean_variance: mean of x and mean of (x - (float)mean)^2; sums as in f32_sums; n >= 1.
 * MATH_NORMALIZE:
 * - f32_normalize: y = fma((x - mean) * factor, scale[i], bias[i]); a NULL scale is 1, a NULL bias
 *   0 (then without that step). */
#ifndef VQC_KERNELS_KERNEL_LIST_MATH_H
#define VQC_KERNELS_KERNEL_LIST_MATH_H

#define VQC_KERNEL_LIST_MATH_UNARY(X)                                                              \
    X(f32_exp, MATH_UNARY, F32, void, (const float *x, size_t n, float *y))                        \
    X(f32_log, MATH_UNARY, F32, void, (const float *x, size_t n, float *y))                        \
    X(f32_sigmoid, MATH_UNARY, F32, void, (const float *x, size_t n, float *y))                    \
    X(f32_tanh, MATH_UNARY, F32, void, (const float *x, size_t n, float *y))                       \
    X(f32_erf, MATH_UNARY, F32, void, (const float *x, size_t n, float *y))                        \
    X(f32_gelu, MATH_UNARY, F32, void, (const float *x, size_t n, float *y))                       \
    X(f32_sqrt, MATH_UNARY, F32, void, (const float *x, size_t n, float *y))                       \
    X(f32_relu, MATH_UNARY, F32, void, (const float *x, size_t n, float *y))                       \
    X(f32_hard_swish, MATH_UNARY, F32, void, (const float *x, size_t n, float *y))                 \
    X(f32_softmax, MATH_UNARY, F32, void, (const float *x, size_t n, float *y))                    \
    X(f32_log_softmax, MATH_UNARY, F32, void, (const float *x, size_t n, float *y))

#define VQC_KERNEL_LIST_MATH_PARAMETRIC(X)                                                         \
    X(f32_clip, MATH_PARAMETRIC, F32, void,                                                        \
      (const float *x, size_t n, float a, float b, float *y))                                      \
    X(f32_leaky_relu, MATH_PARAMETRIC, F32, void,                                                  \
      (const float *x, size_t n, float a, float b, float *y))                                      \
    X(f32_hard_sigmoid, MATH_PARAMETRIC, F32, void,                                                \
      (const float *x, size_t n, float a, float b, float *y))                                      \
    X(f32_swish, MATH_PARAMETRIC, F32, void,                                                       \
      (const float *x, size_t n, float a, float b, float *y))                                      \
    X(f32_scale_shift, MATH_PARAMETRIC, F32, void,                                                 \
      (const float *x, size_t n, float a, float b, float *y))

#define VQC_KERNEL_LIST_MATH_BINARY(X)                                                             \
    X(f32_add, MATH_BINARY, F32, void,                                                             \
      (const float *a, size_t a_step, const float *b, size_t b_step, size_t n, float *y))          \
    X(f32_sub, MATH_BINARY, F32, void,                                                             \
      (const float *a, size_t a_step, const float *b, size_t b_step, size_t n, float *y))          \
    X(f32_mul, MATH_BINARY, F32, void,                                                             \
      (const float *a, size_t a_step, const float *b, size_t b_step, size_t n, float *y))          \
    X(f32_div, MATH_BINARY, F32, void,                                                             \
      (const float *a, size_t a_step, const float *b, size_t b_step, size_t n, float *y))          \
    X(f32_max, MATH_BINARY, F32, void,                                                             \
      (const float *a, size_t a_step, const float *b, size_t b_step, size_t n, float *y))          \
    X(f32_min, MATH_BINARY, F32, void,                                                             \
      (const float *a, size_t a_step, const float *b, size_t b_step, size_t n, float *y))

#define VQC_KERNEL_LIST_MATH_POOL(X)                                                               \
    X(f32_max_pool, MATH_POOL, F32, void,                                                          \
      (const float *x, size_t n, size_t window, size_t stride, size_t dilation, float *y))         \
    X(f32_sum_pool, MATH_POOL, F32, void,                                                          \
      (const float *x, size_t n, size_t window, size_t stride, size_t dilation, float *y))

#define VQC_KERNEL_LIST_MATH(X)                                                                    \
    VQC_KERNEL_LIST_MATH_UNARY(X)                                                                  \
    VQC_KERNEL_LIST_MATH_PARAMETRIC(X)                                                             \
    VQC_KERNEL_LIST_MATH_BINARY(X)                                                                 \
    VQC_KERNEL_LIST_MATH_POOL(X)                                                                   \
    X(f32_mean_variance, MATH_MOMENTS, F32, void,                                                  \
      (const float *x, size_t n, double *mean, double *variance))                                  \
    X(f32_normalize, MATH_NORMALIZE, F32, void,                                                    \
      (const float *x, size_t n, float mean, float factor, const float *scale, const float *bias,  \
       float *y))

#endif
