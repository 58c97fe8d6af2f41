#include "core/exec/activation.h"

#include <math.h>

static float one(const vqc_epilogue *e, float x)
{
    switch (e->act) {
    case VQC_ACT_RELU:
        return x > 0.0f ? x : 0.0f;
    case VQC_ACT_CLIP:
        return fminf(fmaxf(x, e->alpha), e->beta);
    case VQC_ACT_LEAKY_RELU:
        return x < 0.0f ? e->alpha * x : x;
    case VQC_ACT_HARD_SIGMOID:
        return fmaxf(0.0f, fminf(1.0f, e->alpha * x + e->beta));
    case VQC_ACT_HARD_SWISH:
        return x * fmaxf(0.0f, fminf(1.0f, x / 6.0f + 0.5f));
    case VQC_ACT_SIGMOID:
        return 1.0f / (1.0f + expf(-x));
    case VQC_ACT_SILU:
        return x / (1.0f + expf(-x));
    case VQC_ACT_TANH:
        return tanhf(x);
    case VQC_ACT_NONE:
        break;
    }
    return x;
}

void vqc_activate(const vqc_epilogue *epilogue, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = one(epilogue, x[i]);
    }
}
