/* Elementwise functions that are applied to the result of another operator while it is in cache. */
#ifndef VQC_CORE_EXEC_ACTIVATION_H
#define VQC_CORE_EXEC_ACTIVATION_H

#include <stddef.h>

typedef enum vqc_activation {
    VQC_ACT_NONE,
    VQC_ACT_RELU,
    VQC_ACT_CLIP,         /* min(max(x, alpha), beta) */
    VQC_ACT_LEAKY_RELU,   /* x < 0 ? alpha x : x */
    VQC_ACT_HARD_SIGMOID, /* max(0, min(1, alpha x + beta)) */
    VQC_ACT_HARD_SWISH,   /* x max(0, min(1, x / 6 + 0.5)) */
    VQC_ACT_SIGMOID,
    VQC_ACT_SILU, /* x sigmoid(x) */
    VQC_ACT_TANH
} vqc_activation;

/* What follows an operator in the same step: y = act(op(...) + residual). */
typedef struct vqc_epilogue {
    vqc_activation act;
    float alpha, beta;
    const float *residual; /* same shape as the output, or NULL */
} vqc_epilogue;

/* x[i] = act(x[i]) for n values; the residual is not looked at. */
void vqc_activate(const vqc_epilogue *epilogue, float *x, size_t n);

#endif
