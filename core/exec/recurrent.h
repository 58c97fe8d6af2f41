/* LSTM, GRU and RNN: what one direction of one run works with. Real type: float or double. */
#ifndef VQC_CORE_EXEC_RECURRENT_H
#define VQC_CORE_EXEC_RECURRENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/exec/element.h"

typedef enum vqc_cell { VQC_CELL_RNN, VQC_CELL_GRU, VQC_CELL_LSTM } vqc_cell;

typedef enum vqc_gate_function {
    VQC_GATE_SIGMOID,
    VQC_GATE_TANH,
    VQC_GATE_RELU,
    VQC_GATE_LEAKY_RELU,
    VQC_GATE_HARD_SIGMOID,
    VQC_GATE_AFFINE,
    VQC_GATE_THRESHOLDED_RELU,
    VQC_GATE_SCALED_TANH,
    VQC_GATE_ELU,
    VQC_GATE_SOFTSIGN,
    VQC_GATE_SOFTPLUS,
    VQC_GATE_FUNCTION_COUNT
} vqc_gate_function;

typedef struct vqc_gate_activation {
    vqc_gate_function function;
    float alpha, beta;
} vqc_gate_activation;

typedef struct vqc_recurrence vqc_recurrence;

/* One direction. All arrays are of `class` (VQC_CLASS_F32 or VQC_CLASS_F64). */
struct vqc_recurrence {
    vqc_cell cell;
    vqc_class class;
    size_t steps, batch, size, hidden; /* size: of the input */
    bool reverse;
    bool linear_before_reset; /* GRU */
    bool input_forget;        /* LSTM */
    double clip;              /* 0: none */
    vqc_gate_activation acts[3];
    const int64_t *lengths;   /* [batch] */
    const void *w;            /* [size, gates * hidden]: transposed W of this direction */
    const void *r;            /* [hidden, gates * hidden] */
    const void *bias;         /* [gates * hidden] Wb + Rb (GRU with linear_before_reset: the
                                 candidate's Rb is left out) */
    const void *candidate_rb; /* [hidden] that Rb, or NULL */
    const void *peepholes;    /* [3, hidden] i, o, f, or NULL */
    const void *x;            /* [steps, batch, size] */
    void *h;                  /* [batch, hidden] in: initial, out: last */
    void *c;                  /* the same of the cell; LSTM */
    void *y;                  /* row of (step, batch) at step * y_step + batch * y_row */
    size_t y_step, y_row;     /* in elements; rows after a sequence's end are not touched */
    void *inputs;             /* scratch [steps, batch, gates * hidden] */
    void *gates;              /* scratch [batch, gates * hidden] */
    void *extra;              /* scratch [batch, 2 * hidden] */
    int threads;
    /*
     * Not for GRU: out [rows, gates * hidden] += a [rows, size] times the input weights or a [rows,
     * hidden] times the recurrent ones, where they are not what w and r can hold. NULL: w and r.
     */
    void (*multiply)(const vqc_recurrence *self, bool recurrent, const void *a, size_t rows,
                     void *out);
    void *context; /* its */
};

/* Gates of a cell: 1, 3, 4. */
size_t vqc_cell_gates(vqc_cell cell);

/* x[i] = act(x[i]) for n values of `class`. */
void vqc_gate_activate(const vqc_gate_activation *act, vqc_class class, void *x, size_t n);

/* Runs the recurrence over all steps. Source: equations of ONNX RNN-14, GRU-14, LSTM-14. */
void vqc_recurrence_run(const vqc_recurrence *self);

#endif
