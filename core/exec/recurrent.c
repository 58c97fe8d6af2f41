#include "core/exec/recurrent.h"

#include <math.h>
#include <string.h>

#include "core/exec/activation.h"
#include "core/exec/working.h"

size_t vqc_cell_gates(vqc_cell cell)
{
    return cell == VQC_CELL_LSTM ? 4 : cell == VQC_CELL_GRU ? 3 : 1;
}

static double activate_one(const vqc_gate_activation *act, double x)
{
    double alpha = (double)act->alpha;
    double beta = (double)act->beta;

    switch (act->function) {
    case VQC_GATE_SIGMOID:
        return 1.0 / (1.0 + exp(-x));
    case VQC_GATE_TANH:
        return tanh(x);
    case VQC_GATE_RELU:
        return x > 0.0 ? x : 0.0;
    case VQC_GATE_LEAKY_RELU:
        return x < 0.0 ? alpha * x : x;
    case VQC_GATE_HARD_SIGMOID:
        return fmax(0.0, fmin(1.0, alpha * x + beta));
    case VQC_GATE_AFFINE:
        return alpha * x + beta;
    case VQC_GATE_THRESHOLDED_RELU:
        return x >= alpha ? x : 0.0;
    case VQC_GATE_SCALED_TANH:
        return alpha * tanh(beta * x);
    case VQC_GATE_ELU:
        return x < 0.0 ? alpha * expm1(x) : x;
    case VQC_GATE_SOFTSIGN:
        return x / (1.0 + fabs(x));
    case VQC_GATE_SOFTPLUS:
        return x > 0.0 ? x + log1p(exp(-x)) : log1p(exp(x));
    case VQC_GATE_FUNCTION_COUNT:
        break;
    }
    return x;
}

void vqc_gate_activate(const vqc_gate_activation *act, vqc_class class, void *x, size_t n)
{
    static const vqc_activation FAST[VQC_GATE_FUNCTION_COUNT] = {
        [VQC_GATE_SIGMOID] = VQC_ACT_SIGMOID,
        [VQC_GATE_TANH] = VQC_ACT_TANH,
        [VQC_GATE_RELU] = VQC_ACT_RELU,
        [VQC_GATE_LEAKY_RELU] = VQC_ACT_LEAKY_RELU,
        [VQC_GATE_HARD_SIGMOID] = VQC_ACT_HARD_SIGMOID,
    };

    if (class == VQC_CLASS_F32 && FAST[act->function] != VQC_ACT_NONE) {
        vqc_epilogue epilogue = {FAST[act->function], act->alpha, act->beta, NULL};
        vqc_activate(&epilogue, x, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (class == VQC_CLASS_F32) {
            ((float *)x)[i] = (float)activate_one(act, (double)((float *)x)[i]);
        } else {
            ((double *)x)[i] = activate_one(act, ((double *)x)[i]);
        }
    }
}

#define real float
#define REAL(name) name##_f32
#include "core/exec/recurrent_body.h" /* IWYU pragma: keep */
#undef real
#undef REAL
#define real double
#define REAL(name) name##_f64
#include "core/exec/recurrent_body.h" /* IWYU pragma: keep */
#undef real
#undef REAL

void vqc_recurrence_run(const vqc_recurrence *self)
{
    if (self->class == VQC_CLASS_F32) {
        run_f32(self);
    } else {
        run_f64(self);
    }
}
