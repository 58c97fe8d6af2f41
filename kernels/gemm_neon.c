/* Matrix product kernels on NEON: tiles of 6 x 16. */
#include <arm_neon.h>

#include "kernels/lanes.h"

#define DECLARE(name, family, kind, ret, params) VQC_KERNEL_DECLARE(neon, name, ret, params)
VQC_KERNEL_LIST_GEMM(DECLARE)

typedef struct g16 {
    float32x4_t a, b, c, d;
} g16;

VQC_INLINE g16 g16_set(float x)
{
    const float32x4_t v = vdupq_n_f32(x);
    return (g16){v, v, v, v};
}

VQC_INLINE g16 g16_zero(void)
{
    return g16_set(0.0f);
}

VQC_INLINE g16 g16_load(const float *p)
{
    return (g16){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}

VQC_INLINE void g16_store(float *p, g16 x)
{
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
}

VQC_INLINE g16 g16_load_n(const float *p, size_t n)
{
    float lanes[VQC_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i] = p[i];
    return g16_load(lanes);
}

VQC_INLINE void g16_store_n(float *p, size_t n, g16 x)
{
    float lanes[VQC_LANES];
    g16_store(lanes, x);
    for (size_t i = 0; i < n; i++)
        p[i] = lanes[i];
}

VQC_INLINE g16 g16_fma(g16 x, g16 y, g16 z)
{
    return (g16){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
                 vfmaq_f32(z.d, x.d, y.d)};
}

VQC_INLINE g16 g16_add(g16 x, g16 y)
{
    return (g16){vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b), vaddq_f32(x.c, y.c),
                 vaddq_f32(x.d, y.d)};
}

/* Comparison and selection, because vmaxq_f32 returns NaN for a NaN on either side. */
#define PICK(op, m) vbslq_f32(op(x.m, y.m), x.m, y.m)

VQC_INLINE g16 g16_max(g16 x, g16 y)
{
    return (g16){PICK(vcgtq_f32, a), PICK(vcgtq_f32, b), PICK(vcgtq_f32, c), PICK(vcgtq_f32, d)};
}

VQC_INLINE g16 g16_min(g16 x, g16 y)
{
    return (g16){PICK(vcltq_f32, a), PICK(vcltq_f32, b), PICK(vcltq_f32, c), PICK(vcltq_f32, d)};
}

VQC_INLINE g16 g16_even(g16 x, g16 y)
{
    return (g16){vuzp1q_f32(x.a, x.b), vuzp1q_f32(x.c, x.d), vuzp1q_f32(y.a, y.b),
                 vuzp1q_f32(y.c, y.d)};
}

typedef struct g8 {
    float32x4_t a, b;
} g8;

VQC_INLINE g8 g8_set(float x)
{
    const float32x4_t v = vdupq_n_f32(x);
    return (g8){v, v};
}

VQC_INLINE g8 g8_load(const float *p)
{
    return (g8){vld1q_f32(p), vld1q_f32(p + 4)};
}

VQC_INLINE void g8_store(float *p, g8 x)
{
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
}

VQC_INLINE g8 g8_fma(g8 x, g8 y, g8 z)
{
    return (g8){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b)};
}

VQC_INLINE g8 g8_max(g8 x, g8 y)
{
    return (g8){PICK(vcgtq_f32, a), PICK(vcgtq_f32, b)};
}

VQC_INLINE g8 g8_min(g8 x, g8 y)
{
    return (g8){PICK(vcltq_f32, a), PICK(vcltq_f32, b)};
}

VQC_INLINE g8 g8_load_halves(const float *low, const float *high)
{
    return (g8){vld1q_f32(low), vld1q_f32(high)};
}

VQC_INLINE void g8_store_halves(float *low, float *high, g8 x)
{
    vst1q_f32(low, x.a);
    vst1q_f32(high, x.b);
}

VQC_INLINE void transpose_4x4(float32x4_t *a, float32x4_t *b, float32x4_t *c, float32x4_t *d)
{
    const float32x4x2_t ab = vtrnq_f32(*a, *b), cd = vtrnq_f32(*c, *d);
    *a = vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0]));
    *b = vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1]));
    *c = vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0]));
    *d = vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1]));
}

VQC_INLINE void g8_transpose(g8 *a, g8 *b, g8 *c, g8 *d)
{
    transpose_4x4(&a->a, &b->a, &c->a, &d->a);
    transpose_4x4(&a->b, &b->b, &c->b, &d->b);
}

#define GEMM_ROWS 6
#define GEMM_HALF
#define KERNEL(name) vqc_##name##__neon
#include "kernels/gemm_body.h"
