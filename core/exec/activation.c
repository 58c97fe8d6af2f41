#include "core/exec/activation.h"

#include "kernels/kernels.h"

void vqc_activate(const vqc_epilogue *epilogue, float *x, size_t n)
{
    const vqc_kernels *k = vqc_kernels_get();
    float alpha = epilogue->alpha;
    float beta = epilogue->beta;

    switch (epilogue->act) {
    case VQC_ACT_NONE:
        break;
    case VQC_ACT_RELU:
        k->f32_relu(x, n, x);
        break;
    case VQC_ACT_CLIP:
        k->f32_clip(x, n, alpha, beta, x);
        break;
    case VQC_ACT_LEAKY_RELU:
        k->f32_leaky_relu(x, n, alpha, 0.0f, x);
        break;
    case VQC_ACT_HARD_SIGMOID:
        k->f32_hard_sigmoid(x, n, alpha, beta, x);
        break;
    case VQC_ACT_HARD_SWISH:
        k->f32_hard_swish(x, n, x);
        break;
    case VQC_ACT_SIGMOID:
        k->f32_sigmoid(x, n, x);
        break;
    case VQC_ACT_SILU:
        k->f32_swish(x, n, 1.0f, 0.0f, x);
        break;
    case VQC_ACT_TANH:
        k->f32_tanh(x, n, x);
        break;
    }
}
