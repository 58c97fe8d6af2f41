/* The 16-lane vector of the kernel bodies on AArch64 NEON: four 128-bit registers.
 * What each operation means is said once, in simd_bodies.h. */
#ifndef VQC_KERNELS_SIMD_NEON_H
#define VQC_KERNELS_SIMD_NEON_H

#include <arm_neon.h>

#include "kernels/lanes.h"

typedef struct vf {
    float32x4_t v[4];
} vf;
typedef struct vi {
    int32x4_t v[4];
} vi;
typedef struct vm {
    uint32x4_t v[4]; /* all bits of a lane set: true */
} vm;

#define EACH(f)                                                                                    \
    {                                                                                              \
        f(0), f(1), f(2), f(3)                                                                     \
    }
#define MAP1(T, f, x) ((T){{f((x).v[0]), f((x).v[1]), f((x).v[2]), f((x).v[3])}})
#define MAP2(T, f, x, y)                                                                           \
    ((T){{f((x).v[0], (y).v[0]), f((x).v[1], (y).v[1]), f((x).v[2], (y).v[2]),                     \
          f((x).v[3], (y).v[3])}})
#define MAP3(T, f, x, y, z)                                                                        \
    ((T){{f((x).v[0], (y).v[0], (z).v[0]), f((x).v[1], (y).v[1], (z).v[1]),                        \
          f((x).v[2], (y).v[2], (z).v[2]), f((x).v[3], (y).v[3], (z).v[3])}})

VQC_INLINE vf vf_set(float x)
{
    const float32x4_t v = vdupq_n_f32(x);
    return (vf){{v, v, v, v}};
}

VQC_INLINE vi vi_set(int32_t x)
{
    const int32x4_t v = vdupq_n_s32(x);
    return (vi){{v, v, v, v}};
}

VQC_INLINE vf vf_load(const float *p)
{
    return (vf){{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
}

VQC_INLINE void vf_store(float *p, vf x)
{
    vst1q_f32(p, x.v[0]);
    vst1q_f32(p + 4, x.v[1]);
    vst1q_f32(p + 8, x.v[2]);
    vst1q_f32(p + 12, x.v[3]);
}

VQC_INLINE vi vi_load(const int32_t *p)
{
    return (vi){{vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)}};
}

VQC_INLINE void vi_store(int32_t *p, vi x)
{
    vst1q_s32(p, x.v[0]);
    vst1q_s32(p + 4, x.v[1]);
    vst1q_s32(p + 8, x.v[2]);
    vst1q_s32(p + 12, x.v[3]);
}

/* There are no masked loads and stores: short rows go through a buffer. */
VQC_INLINE vf vf_load_n(const float *p, size_t n, float fill)
{
    float buffer[VQC_LANES];
    vf_store(buffer, vf_set(fill));
    memcpy(buffer, p, n * sizeof *p);
    return vf_load(buffer);
}

VQC_INLINE void vf_store_n(float *p, size_t n, vf x)
{
    float buffer[VQC_LANES];
    vf_store(buffer, x);
    memcpy(p, buffer, n * sizeof *p);
}

VQC_INLINE vi vi_load_n(const int32_t *p, size_t n)
{
    int32_t buffer[VQC_LANES] = {0};
    memcpy(buffer, p, n * sizeof *p);
    return vi_load(buffer);
}

VQC_INLINE vf vf_select(vm m, vf x, vf y)
{
    return MAP3(vf, vbslq_f32, m, x, y);
}

VQC_INLINE vi vi_select(vm m, vi x, vi y)
{
    return MAP3(vi, vbslq_s32, m, x, y);
}

VQC_INLINE vf vf_add(vf x, vf y)
{
    return MAP2(vf, vaddq_f32, x, y);
}

VQC_INLINE vf vf_sub(vf x, vf y)
{
    return MAP2(vf, vsubq_f32, x, y);
}

VQC_INLINE vf vf_mul(vf x, vf y)
{
    return MAP2(vf, vmulq_f32, x, y);
}

/* vminq and vmaxq order -0 before +0 and pass NaN on, unlike the definition: compare and select
 * instead. */
VQC_INLINE vf vf_min(vf x, vf y)
{
    return vf_select(MAP2(vm, vcltq_f32, x, y), x, y);
}

VQC_INLINE vf vf_max(vf x, vf y)
{
    return vf_select(MAP2(vm, vcgtq_f32, x, y), x, y);
}

VQC_INLINE vi vi_bits(vf x)
{
    return MAP1(vi, vreinterpretq_s32_f32, x);
}

VQC_INLINE vf vf_bits(vi x)
{
    return MAP1(vf, vreinterpretq_f32_s32, x);
}

VQC_INLINE vi vi_round(vf x)
{
    return MAP1(vi, vcvtnq_s32_f32, x);
}

VQC_INLINE vi vi_trunc(vf x)
{
    return MAP1(vi, vcvtq_s32_f32, x);
}

VQC_INLINE vf vf_from_int(vi x)
{
    return MAP1(vf, vcvtq_f32_s32, x);
}

VQC_INLINE vi vi_add(vi x, vi y)
{
    return MAP2(vi, vaddq_s32, x, y);
}

VQC_INLINE vi vi_sub(vi x, vi y)
{
    return MAP2(vi, vsubq_s32, x, y);
}

VQC_INLINE vi vi_and(vi x, vi y)
{
    return MAP2(vi, vandq_s32, x, y);
}

VQC_INLINE vi vi_or(vi x, vi y)
{
    return MAP2(vi, vorrq_s32, x, y);
}

VQC_INLINE vi vi_min(vi x, vi y)
{
    return MAP2(vi, vminq_s32, x, y);
}

VQC_INLINE vi vi_shl(vi x, int k)
{
    const vi by = vi_set(k);
    return MAP2(vi, vshlq_s32, x, by);
}

VQC_INLINE vi vi_shr(vi x, int k)
{
    const int32x4_t by = vdupq_n_s32(-k);
#define SHIFT(j) vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(x.v[j]), by))
    return (vi){EACH(SHIFT)};
#undef SHIFT
}

VQC_INLINE vm vi_gt(vi x, vi y)
{
    return MAP2(vm, vcgtq_s32, x, y);
}

VQC_INLINE vf vf_abs(vf x)
{
    return MAP1(vf, vabsq_f32, x);
}

VQC_INLINE vf vf_keep_first(vf x, size_t n)
{
    static const int32_t lane[VQC_LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return vf_select(vi_gt(vi_set((int32_t)n), vi_load(lane)), x, vf_set(0.0f));
}

VQC_INLINE vf vf_nan_to_zero(vf x)
{
    return vf_select(MAP2(vm, vceqq_f32, x, x), x, vf_set(0.0f));
}

VQC_INLINE bool vf_any_nan(vf x)
{
    const vm ordered = MAP2(vm, vceqq_f32, x, x);
    const uint32x4_t all =
        vandq_u32(vandq_u32(ordered.v[0], ordered.v[1]), vandq_u32(ordered.v[2], ordered.v[3]));
    return vminvq_u32(all) == 0;
}

VQC_INLINE vi vi_count(vi count, vm m)
{
#define COUNT(j) vsubq_s32(count.v[j], vreinterpretq_s32_u32(m.v[j]))
    return (vi){EACH(COUNT)};
#undef COUNT
}

VQC_INLINE vi vi_uncount(vi count, vm m)
{
#define UNCOUNT(j) vaddq_s32(count.v[j], vreinterpretq_s32_u32(m.v[j]))
    return (vi){EACH(UNCOUNT)};
#undef UNCOUNT
}

VQC_INLINE uint32_t vm_bits(vm m)
{
    static const uint32_t places[VQC_LANES] = {
        1u << 0, 1u << 1, 1u << 2,  1u << 3,  1u << 4,  1u << 5,  1u << 6,  1u << 7,
        1u << 8, 1u << 9, 1u << 10, 1u << 11, 1u << 12, 1u << 13, 1u << 14, 1u << 15};
    uint32x4_t bits = vdupq_n_u32(0);
    for (size_t j = 0; j < 4; j++)
        bits = vorrq_u32(bits, vandq_u32(m.v[j], vld1q_u32(places + 4 * j)));
    return vaddvq_u32(bits);
}

/* Pairs of 32 bits, then pairs of 64 bits, in each 4 x 4 block. */
VQC_INLINE void vf_load_cols4(const float *x, size_t stride, vf out[4])
{
    for (size_t j = 0; j < 4; j++) {
        const float *p = x + 4 * j * stride;
        const float32x4_t r0 = vld1q_f32(p), r1 = vld1q_f32(p + stride);
        const float32x4_t r2 = vld1q_f32(p + 2 * stride), r3 = vld1q_f32(p + 3 * stride);
        const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(r0, r1));
        const float64x2_t b = vreinterpretq_f64_f32(vtrn2q_f32(r0, r1));
        const float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(r2, r3));
        const float64x2_t d = vreinterpretq_f64_f32(vtrn2q_f32(r2, r3));
        out[0].v[j] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
        out[1].v[j] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
        out[2].v[j] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
        out[3].v[j] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
    }
}

VQC_INLINE void vi_store_code(void *q, enum vqc_code code, vi x)
{
    const int16x8_t lo = vcombine_s16(vmovn_s32(x.v[0]), vmovn_s32(x.v[1]));
    const int16x8_t hi = vcombine_s16(vmovn_s32(x.v[2]), vmovn_s32(x.v[3]));
    if (vqc_code_size(code) == 1) {
        vst1q_s8((int8_t *)q, vcombine_s8(vmovn_s16(lo), vmovn_s16(hi)));
    } else {
        vst1q_s8((int8_t *)q, vreinterpretq_s8_s16(lo));
        vst1q_s8((int8_t *)q + 16, vreinterpretq_s8_s16(hi));
    }
}

VQC_INLINE vi vi_load_code(const void *q, enum vqc_code code)
{
    const int8x16_t first = vld1q_s8((const int8_t *)q);
    int16x8_t lo, hi;
    if (code == VQC_CODE_S8) {
        lo = vmovl_s8(vget_low_s8(first));
        hi = vmovl_s8(vget_high_s8(first));
    } else if (code == VQC_CODE_U8) {
        const uint8x16_t bytes = vreinterpretq_u8_s8(first);
        lo = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes)));
        hi = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(bytes)));
    } else {
        lo = vreinterpretq_s16_s8(first);
        hi = vreinterpretq_s16_s8(vld1q_s8((const int8_t *)q + 16));
    }
    if (code == VQC_CODE_U16) {
        const uint16x8_t ulo = vreinterpretq_u16_s16(lo), uhi = vreinterpretq_u16_s16(hi);
        return (vi){{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(ulo))),
                     vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(ulo))),
                     vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(uhi))),
                     vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(uhi)))}};
    }
    return (vi){{vmovl_s16(vget_low_s16(lo)), vmovl_s16(vget_high_s16(lo)),
                 vmovl_s16(vget_low_s16(hi)), vmovl_s16(vget_high_s16(hi))}};
}

VQC_INLINE void vi_store_code_n(void *q, size_t n, enum vqc_code code, vi x)
{
    uint8_t buffer[2 * VQC_LANES];
    vi_store_code(buffer, code, x);
    vqc_copy_short(q, buffer, n * vqc_code_size(code));
}

VQC_INLINE vi vi_load_code_n(const void *q, size_t n, enum vqc_code code)
{
    uint8_t buffer[2 * VQC_LANES] = {0};
    vqc_copy_short(buffer, q, n * vqc_code_size(code));
    return vi_load_code(buffer, code);
}

VQC_INLINE vf vf_load_f16(const uint16_t *p)
{
#define LOAD(j) vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * (j))))
    return (vf){EACH(LOAD)};
#undef LOAD
}

VQC_INLINE void vf_store_f16(uint16_t *p, vf x)
{
    for (int j = 0; j < 4; j++)
        vst1_u16(p + 4 * j, vreinterpret_u16_f16(vcvt_f16_f32(x.v[j])));
}

VQC_INLINE vf vf_load_f64(const double *p)
{
#define LOAD(j)                                                                                    \
    vcombine_f32(vcvt_f32_f64(vld1q_f64(p + 4 * (j))), vcvt_f32_f64(vld1q_f64(p + 4 * (j) + 2)))
    return (vf){EACH(LOAD)};
#undef LOAD
}

VQC_INLINE void vf_store_f64(double *p, vf x)
{
    for (int j = 0; j < 4; j++) {
        vst1q_f64(p + 4 * j, vcvt_f64_f32(vget_low_f32(x.v[j])));
        vst1q_f64(p + 4 * j + 2, vcvt_f64_f32(vget_high_f32(x.v[j])));
    }
}

VQC_INLINE double vf_sum(vf x)
{
    const float32x4_t a = x.v[0], b = x.v[1], c = x.v[2], d = x.v[3];
    const float64x2_t t0 = vaddq_f64(vcvt_f64_f32(vget_low_f32(a)), vcvt_f64_f32(vget_low_f32(c)));
    const float64x2_t t2 = vaddq_f64(vcvt_high_f64_f32(a), vcvt_high_f64_f32(c));
    const float64x2_t t4 = vaddq_f64(vcvt_f64_f32(vget_low_f32(b)), vcvt_f64_f32(vget_low_f32(d)));
    const float64x2_t t6 = vaddq_f64(vcvt_high_f64_f32(b), vcvt_high_f64_f32(d));
    const float64x2_t pair = vaddq_f64(vaddq_f64(t0, t4), vaddq_f64(t2, t6));
    return vgetq_lane_f64(pair, 0) + vgetq_lane_f64(pair, 1);
}

VQC_INLINE float vf_smallest(vf x)
{
    float lanes[VQC_LANES];
    vf_store(lanes, x);
    return vqc_lanes_min(lanes);
}

VQC_INLINE float vf_largest(vf x)
{
    float lanes[VQC_LANES];
    vf_store(lanes, x);
    return vqc_lanes_max(lanes);
}

/* One register of the FMA probe and how many of them make 16 lanes. */
typedef float32x4_t vf_native;
#define VF_NATIVE_PER_VECTOR 4
#define VF_NATIVE_SET(x) vdupq_n_f32(x)
#define VF_NATIVE_FMA(x, y, z) vfmaq_f32(z, x, y)
#define VF_NATIVE_ADD(x, y) vaddq_f32(x, y)
#define VF_NATIVE_FIRST(x) vgetq_lane_f32(x, 0)

#endif
