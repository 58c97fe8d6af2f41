/* The 16-lane vector of math_bodies.h in plain C, one loop per operation: what the C reference of
 * the math kernels is made of. Operations mean what simd_bodies.h and math_bodies.h say. */
#ifndef VQC_KERNELS_MATH_PORTABLE_H
#define VQC_KERNELS_MATH_PORTABLE_H

#include "kernels/lanes.h"

typedef struct vf {
    float v[VQC_LANES];
} vf;
typedef struct vi {
    int32_t v[VQC_LANES];
} vi;
typedef struct vm {
    bool v[VQC_LANES];
} vm;

/* A lane-wise function: `expression` in terms of i. Not inlined: the bodies have hundreds of them,
 * which would take a compiler a minute, and this path is not about speed. */
#define LANES(T, name, params, expression)                                                         \
    static __attribute__((noinline, unused)) T name params                                         \
    {                                                                                              \
        T r;                                                                                       \
        for (size_t i = 0; i < VQC_LANES; i++)                                                     \
            r.v[i] = expression;                                                                   \
        return r;                                                                                  \
    }

LANES(vf, vf_set, (float x), x)
LANES(vi, vi_set, (int32_t x), x)
LANES(vf, vf_add, (vf x, vf y), x.v[i] + y.v[i])
LANES(vf, vf_sub, (vf x, vf y), x.v[i] - y.v[i])
LANES(vf, vf_mul, (vf x, vf y), x.v[i] * y.v[i])
LANES(vf, vf_min, (vf x, vf y), vqc_lane_min(x.v[i], y.v[i]))
LANES(vf, vf_max, (vf x, vf y), vqc_lane_max(x.v[i], y.v[i]))
LANES(vf, vf_abs, (vf x), fabsf(x.v[i]))
LANES(vf, vf_select, (vm m, vf x, vf y), m.v[i] ? x.v[i] : y.v[i])
LANES(vi, vi_bits, (vf x), (int32_t)vqc_float_bits(x.v[i]))
LANES(vf, vf_bits, (vi x), vqc_bits_float((uint32_t)x.v[i]))
LANES(vf, vf_from_int, (vi x), (float)x.v[i])
LANES(vi, vi_add, (vi x, vi y), (int32_t)((uint32_t)x.v[i] + (uint32_t)y.v[i]))
LANES(vi, vi_sub, (vi x, vi y), (int32_t)((uint32_t)x.v[i] - (uint32_t)y.v[i]))
LANES(vi, vi_and, (vi x, vi y), x.v[i] & y.v[i])
LANES(vi, vi_or, (vi x, vi y), x.v[i] | y.v[i])
LANES(vi, vi_shl, (vi x, int k), (int32_t)((uint32_t)x.v[i] << k))
LANES(vi, vi_shr, (vi x, int k), (int32_t)((uint32_t)x.v[i] >> k))
LANES(vf, mf_fma, (vf x, vf y, vf z), fmaf(x.v[i], y.v[i], z.v[i]))
LANES(vf, mf_div, (vf x, vf y), x.v[i] / y.v[i])
LANES(vf, mf_sqrt, (vf x), sqrtf(x.v[i]))
LANES(vm, mf_gt, (vf x, vf y), x.v[i] > y.v[i])
LANES(vm, mf_is_nan, (vf x), isnan(x.v[i]))
LANES(vf, vf_keep_first, (vf x, size_t n), i < n ? x.v[i] : 0.0f)
LANES(vf, vf_load, (const float *p), ((const vqc_f32_at *)p)[i])
LANES(vf, vf_load_n, (const float *p, size_t n, float fill),
      i < n ? ((const vqc_f32_at *)p)[i] : fill)
LANES(vf, mf_load_even, (const float *p), ((const vqc_f32_at *)p)[2 * i])
#undef LANES

VQC_INLINE void vf_store_n(float *p, size_t n, vf x)
{
    for (size_t i = 0; i < n; i++)
        ((vqc_f32_at *)p)[i] = x.v[i];
}

VQC_INLINE void vf_store(float *p, vf x)
{
    vf_store_n(p, VQC_LANES, x);
}

VQC_INLINE double vf_sum(vf x)
{
    return vqc_lanes_sum(x.v);
}

VQC_INLINE float vf_largest(vf x)
{
    return vqc_lanes_max(x.v);
}

#endif
