/* What math_bodies.h needs beyond simd_neon.h. */
#ifndef VQC_KERNELS_MATH_NEON_H
#define VQC_KERNELS_MATH_NEON_H

#include "kernels/simd_neon.h"

VQC_INLINE vf mf_fma(vf x, vf y, vf z)
{
#define FMA(j) vfmaq_f32(z.v[j], x.v[j], y.v[j])
    return (vf){EACH(FMA)};
#undef FMA
}

VQC_INLINE vf mf_div(vf x, vf y)
{
    return MAP2(vf, vdivq_f32, x, y);
}

VQC_INLINE vf mf_sqrt(vf x)
{
    return MAP1(vf, vsqrtq_f32, x);
}

VQC_INLINE vm mf_gt(vf x, vf y)
{
    return MAP2(vm, vcgtq_f32, x, y);
}

VQC_INLINE vm mf_is_nan(vf x)
{
#define IS_NAN(j) vmvnq_u32(vceqq_f32(x.v[j], x.v[j]))
    return (vm){EACH(IS_NAN)};
#undef IS_NAN
}

/* The last register is loaded one element early: nothing behind p[30] is read. */
VQC_INLINE vf mf_load_even(const float *p)
{
#define EVEN(j) vuzp1q_f32(vld1q_f32(p + 8 * (j)), vld1q_f32(p + 8 * (j) + 4))
    return (vf){{EVEN(0), EVEN(1), EVEN(2),
                 vcombine_f32(vget_low_f32(vuzp1q_f32(vld1q_f32(p + 24), vld1q_f32(p + 24))),
                              vget_low_f32(vuzp2q_f32(vld1q_f32(p + 27), vld1q_f32(p + 27))))}};
#undef EVEN
}

#endif
