/* Uniform quantization with error feedback and coordinate descent. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/vq/vq_feedback.h"
#include "core/vq/vq_fit.h"

#define DAMPING 0.01

typedef struct uniform {
    const float *matrix;
    size_t rows, cols;
    const vqc_feedback_metric *metric;
    const float *scales;
    const int32_t *zeros;
    size_t block, blocks;
    int32_t lo, hi;
    int32_t *codes;
    bool first;
} uniform;

static int32_t nearest_code(const uniform *u, size_t parameter, float target)
{
    float scale = u->scales[parameter];
    int32_t zero = u->zeros != NULL ? u->zeros[parameter] : 0;
    float level = scale > 0.0f ? rintf(target / scale) + (float)zero : (float)zero;

    if (!(level > (float)u->lo)) {
        return u->lo;
    }
    return level < (float)u->hi ? (int32_t)level : u->hi;
}

static float decoded(const uniform *u, size_t parameter, int32_t code)
{
    int32_t zero = u->zeros != NULL ? u->zeros[parameter] : 0;

    return (float)(code - zero) * u->scales[parameter];
}

/* One column: the level nearest to where the quadratic in this weight has its minimum. */
static void visit(void *context, const vqc_feedback_visit *v)
{
    const uniform *u = context;
    size_t j = v->col;

    for (size_t i = 0; i < v->rows; i++) {
        size_t row = v->row + i;
        size_t parameter = row * u->blocks + j / u->block;
        int32_t *code = u->codes + row * u->cols + j;
        float w = u->matrix[row * u->cols + j];
        float diagonal = 1.0f;

        if (u->metric != NULL) {
            size_t group = row / (u->rows / u->metric->groups);
            const float *all = u->first ? u->metric->factor : u->metric->damped;
            diagonal = all[(group * u->cols + j) * u->cols + j];
        }
        if (u->first) {
            *code = nearest_code(u, parameter, w + v->sum[i * v->sum_stride] / diagonal);
            v->delta[i] = w - decoded(u, parameter, *code);
        } else {
            float old = decoded(u, parameter, *code);
            *code = nearest_code(u, parameter, old + v->sum[i * v->sum_stride] / diagonal);
            v->delta[i] = old - decoded(u, parameter, *code);
        }
    }
}

static vqc_status run(uniform *u, int sweeps, int threads, float *e, const size_t *steps,
                      vqc_error *error)
{
    vqc_feedback_pass pass = {.rows = u->rows,
                              .cols = u->cols,
                              .metric = u->metric,
                              .error_matrix = e,
                              .step_first = steps,
                              .steps = u->cols,
                              .align = 1,
                              .threads = threads,
                              .visit = visit,
                              .context = u};
    vqc_status status;

    memset(e, 0, u->rows * u->cols * sizeof *e);
    u->first = true;
    pass.mode = VQC_FEEDBACK_FIRST;
    status = vqc_feedback_run(&pass, error);
    u->first = false;
    pass.mode = VQC_FEEDBACK_DESCENT;
    for (int i = 0; i < sweeps && status == VQC_OK && u->metric != NULL; i++) {
        status = vqc_feedback_run(&pass, error);
    }
    /* Without what many additions have rounded. */
    for (size_t row = 0; row < u->rows; row++) {
        for (size_t j = 0; j < u->cols; j++) {
            size_t at = row * u->cols + j;
            e[at] = u->matrix[at] - decoded(u, row * u->blocks + j / u->block, u->codes[at]);
        }
    }
    return status;
}

vqc_status vqc_uniform_fit(const float *matrix, size_t rows, size_t cols, const float *second,
                           size_t groups, const float *scales, const int32_t *zeros, size_t block,
                           int32_t lo, int32_t hi, int sweeps, int threads, int32_t *codes,
                           double *loss, vqc_error *error)
{
    vqc_feedback_metric metric = {0};
    uniform u = {.matrix = matrix,
                 .rows = rows,
                 .cols = cols,
                 .scales = scales,
                 .zeros = zeros,
                 .block = block > 0 ? block : cols,
                 .lo = lo,
                 .hi = hi,
                 .codes = codes};
    vqc_status status = VQC_OK;
    float *e, *product;
    size_t *steps;
    size_t bytes;

    if (second != NULL && (groups == 0 || rows % groups != 0)) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "%zu rows cannot be cut into %zu groups", rows,
                        groups);
    }
    if (!vqc_size_mul(rows, cols, &bytes) || !vqc_size_mul(bytes, sizeof *e, &bytes)) {
        return vqc_fail_memory(error, SIZE_MAX);
    }
    u.blocks = u.block > 0 ? (cols + u.block - 1) / u.block : 1;
    e = malloc(bytes + 1);
    product = malloc(bytes + 1);
    steps = malloc((cols + 1) * sizeof *steps);
    if (e == NULL || product == NULL || steps == NULL) {
        status = vqc_fail_memory(error, bytes);
    } else if (second != NULL) {
        status = vqc_feedback_metric_create(second, groups, cols, NULL, DAMPING, threads, &metric,
                                            error);
        u.metric = &metric;
    }
    for (size_t j = 0; j <= cols && steps != NULL; j++) {
        steps[j] = j;
    }
    if (status == VQC_OK) {
        status = run(&u, sweeps, threads, e, steps, error);
    }
    if (status == VQC_OK) {
        status = vqc_feedback_product(e, rows, cols, second != NULL ? groups : 1, second, threads,
                                      product, error);
    }
    if (status == VQC_OK && loss != NULL) {
        *loss = vqc_feedback_dot(e, product, rows, cols);
    }
    vqc_feedback_metric_destroy(&metric);
    free(e);
    free(product);
    free(steps);
    return status;
}
