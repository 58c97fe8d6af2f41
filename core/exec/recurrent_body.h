/* The steps of a recurrence in one real type (X-macro: included once for each with REAL(name) and
 * real). */

static void REAL(clip)(const vqc_recurrence *self, real *x, size_t n)
{
    real limit = (real)self->clip;

    for (size_t i = 0; self->clip > 0.0 && i < n; i++) {
        x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
    }
}

static void REAL(activate)(const vqc_recurrence *self, size_t which, real *x, size_t n)
{
    REAL(clip)(self, x, n);
    vqc_gate_activate(&self->acts[which], self->class, x, n);
}

static void REAL(rnn_row)(const vqc_recurrence *self, real *gates, real *h)
{
    REAL(activate)(self, 0, gates, self->hidden);
    memcpy(h, gates, self->hidden * sizeof *h);
}

static void REAL(lstm_row)(const vqc_recurrence *self, real *gates, real *h, real *c, real *scratch)
{
    size_t n = self->hidden;
    const real *p = self->peepholes;
    real *input = gates;
    real *output = gates + n;
    real *forget = gates + 2 * n;
    real *candidate = gates + 3 * n;

    for (size_t i = 0; p != NULL && i < n; i++) {
        input[i] += p[i] * c[i];
        forget[i] += p[2 * n + i] * c[i];
    }
    REAL(activate)(self, 0, input, n);
    if (self->input_forget) {
        for (size_t i = 0; i < n; i++) {
            forget[i] = (real)1 - input[i];
        }
    } else {
        REAL(activate)(self, 0, forget, n);
    }
    REAL(activate)(self, 1, candidate, n);
    for (size_t i = 0; i < n; i++) {
        c[i] = forget[i] * c[i] + input[i] * candidate[i];
        scratch[i] = c[i];
        output[i] += p != NULL ? p[n + i] * c[i] : (real)0;
    }
    REAL(activate)(self, 0, output, n);
    vqc_gate_activate(&self->acts[2], self->class, scratch, n);
    for (size_t i = 0; i < n; i++) {
        h[i] = output[i] * scratch[i];
    }
}

/* gates: inputs' part of update, reset, candidate, the first two with the recurrent part added;
 * scratch [2 * hidden]. The candidate's recurrent weights are columns 2 * hidden... of r. */
static void REAL(gru_row)(const vqc_recurrence *self, real *gates, const real *recurrent, real *h,
                          real *scratch)
{
    size_t n = self->hidden;
    real *update = gates;
    real *reset = gates + n;
    real *candidate = gates + 2 * n;

    REAL(activate)(self, 0, update, n);
    REAL(activate)(self, 0, reset, n);
    if (self->linear_before_reset) {
        const real *rb = self->candidate_rb;
        for (size_t i = 0; i < n; i++) {
            candidate[i] += reset[i] * (recurrent[i] + (rb != NULL ? rb[i] : (real)0));
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            scratch[i] = reset[i] * h[i];
        }
        vqc_exec_multiply_rows(self->class, (vqc_rows){scratch, n},
                               (vqc_rows){(const real *)self->r + 2 * n, 3 * n}, candidate, n, 1, n,
                               n, 1);
    }
    REAL(activate)(self, 1, candidate, n);
    for (size_t i = 0; i < n; i++) {
        h[i] = ((real)1 - update[i]) * candidate[i] + update[i] * h[i];
    }
}

/* The part of the gates that comes from the state of all batch rows: gates += h r. For a GRU the
 * candidate's columns go to extra instead of the gates. */
static void REAL(recur)(const vqc_recurrence *self)
{
    size_t n = self->hidden;
    size_t columns = vqc_cell_gates(self->cell) * n;
    real *gates = self->gates;
    real *extra = self->extra;

    if (self->multiply != NULL) {
        self->multiply(self, true, self->h, self->batch, gates);
        return;
    }
    if (self->cell != VQC_CELL_GRU) {
        vqc_exec_multiply(self->class, self->h, self->r, gates, self->batch, n, columns,
                          self->threads);
        return;
    }
    vqc_exec_multiply_rows(self->class, (vqc_rows){self->h, n}, (vqc_rows){self->r, columns}, gates,
                           columns, self->batch, n, 2 * n, self->threads);
    if (self->linear_before_reset) {
        for (size_t b = 0; b < self->batch; b++) {
            memset(extra + b * 2 * n, 0, n * sizeof *extra);
        }
        vqc_exec_multiply_rows(self->class, (vqc_rows){self->h, n},
                               (vqc_rows){(const real *)self->r + 2 * n, columns}, extra, 2 * n,
                               self->batch, n, n, self->threads);
    }
}

static void REAL(run)(const vqc_recurrence *self)
{
    size_t n = self->hidden;
    size_t columns = vqc_cell_gates(self->cell) * n;
    size_t rows = self->steps * self->batch;
    real *inputs = self->inputs;
    real *gates = self->gates;
    real *extra = self->extra;

    for (size_t i = 0; i < rows; i++) {
        memcpy(inputs + i * columns, self->bias, columns * sizeof *inputs);
    }
    if (self->multiply != NULL) {
        self->multiply(self, false, self->x, rows, inputs);
    } else {
        vqc_exec_multiply(self->class, self->x, self->w, inputs, rows, self->size, columns,
                          self->threads);
    }
    for (size_t s = 0; s < self->steps; s++) {
        for (size_t b = 0; b < self->batch; b++) {
            size_t length = (size_t)self->lengths[b];
            size_t t = self->reverse && s < length ? length - 1 - s : s;
            memcpy(gates + b * columns, inputs + (t * self->batch + b) * columns,
                   columns * sizeof *gates);
        }
        REAL(recur)(self);
        for (size_t b = 0; b < self->batch; b++) {
            size_t length = (size_t)self->lengths[b];
            size_t t = self->reverse ? length - 1 - s : s;
            real *h = (real *)self->h + b * n;
            real *row = gates + b * columns;

            if (s >= length) {
                continue;
            }
            if (self->cell == VQC_CELL_LSTM) {
                REAL(lstm_row)(self, row, h, (real *)self->c + b * n, extra + b * 2 * n);
            } else if (self->cell == VQC_CELL_GRU) {
                REAL(gru_row)(self, row, extra + b * 2 * n, h, extra + b * 2 * n + n);
            } else {
                REAL(rnn_row)(self, row, h);
            }
            memcpy((real *)self->y + t * self->y_step + b * self->y_row, h, n * sizeof *h);
        }
    }
}
