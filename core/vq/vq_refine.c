/*
 * The best codebooks and row scales for given indices: least squares in the metric of the loss.
 * The decoded matrix is linear in the codewords, so tr(E H E^T) is a quadratic in them; its normal
 * equations couple all codewords (codewords meet in rows, and H couples columns) and are solved by
 * conjugate gradients. A step of it costs one product with H, as a sweep over the indices does.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/vq/vq_fit_internal.h"

/* Steps of the conjugate gradients, and the share of the first gain at which they stop. */
enum { MOST_STEPS = 4 };
#define LEAST_SHARE 0.01

typedef struct refining {
    vqc_fit *fit;
    size_t size;       /* of all codebooks */
    double *gradient;  /* half of the negative gradient, by codeword entry */
    double *direction; /* [size] */
    double *diagonal;  /* [size] of the quadratic */
    double *change;    /* [size] codebooks less what they were */
    double *image;     /* [size] the quadratic times direction */
    float *books;      /* [size] direction in float32; then what the codebooks were */
    float *decoded;    /* [rows, cols] */
    float *product;    /* [rows, cols] */
} refining;

static float scale_of(const vqc_fit *fit, size_t row)
{
    return fit->scales != NULL ? fit->scales[row] : 1.0f;
}

/* out[codeword entry] = sum of scale * matrix (or scale^2 * the diagonal of H) where it is used. */
static void gather(const vqc_fit *fit, const float *matrix, double *out, size_t size)
{
    const size_t places = vqc_fit_places(fit);
    const bool down = fit->shape->down_rows;

    memset(out, 0, size * sizeof *out);
    for (size_t at = 0; at < places; at++) {
        for (size_t step = 0; step < fit->step_count; step++) {
            vqc_fit_place place = vqc_fit_place_at(fit, step, at);

            for (size_t i = 0; i < place.entries; i++) {
                size_t element = place.first + i * place.stride;
                size_t row = place.row + (down ? i : 0);
                double scale = (double)scale_of(fit, row);
                double value = 1.0;

                if (fit->mask != NULL && !fit->mask[element]) {
                    continue;
                }
                if (matrix != NULL) {
                    value = scale * (double)matrix[element];
                } else if (fit->has_metric) {
                    size_t col = fit->step_first[step] + (down ? 0 : i);
                    size_t group = row / (fit->rows / fit->metric.groups);
                    value = scale * scale *
                            (double)fit->metric.damped[(group * fit->cols + col) * fit->cols + col];
                } else {
                    value = scale * scale;
                }
                for (size_t t = 0; t < fit->stages; t++) {
                    size_t index = fit->indices[t * fit->vectors + place.vector];
                    out[((t * fit->books + place.book) * fit->count + index) * fit->dim + i] +=
                        value;
                }
            }
        }
    }
}

static double dot(const double *x, const double *y, size_t size)
{
    double sum = 0.0;

    for (size_t i = 0; i < size; i++) {
        sum += x[i] * y[i];
    }
    return sum;
}

/* direction = preconditioned gradient + keep * direction. */
static void turn(refining *r, double keep)
{
    for (size_t i = 0; i < r->size; i++) {
        double step = r->diagonal[i] > 0.0 ? r->gradient[i] / r->diagonal[i] : 0.0;
        r->direction[i] = step + keep * r->direction[i];
    }
}

static double preconditioned_norm(const refining *r)
{
    double sum = 0.0;

    for (size_t i = 0; i < r->size; i++) {
        sum += r->diagonal[i] > 0.0 ? r->gradient[i] * r->gradient[i] / r->diagonal[i] : 0.0;
    }
    return sum;
}

/* Conjugate gradients from the codebooks as they are; the sum of steps goes to r->change. */
static vqc_status solve(refining *r, vqc_error *error)
{
    vqc_fit *fit = r->fit;
    double norm, first_gain = 0.0;

    gather(fit, fit->product, r->gradient, r->size);
    gather(fit, NULL, r->diagonal, r->size);
    for (size_t b = 0; b < fit->books && fit->keep_cost > 0.0; b++) { /* 0 stays 0 */
        memset(r->diagonal + ((b + 1) * fit->count - 1) * fit->dim, 0,
               fit->dim * sizeof *r->diagonal);
    }
    memset(r->change, 0, r->size * sizeof *r->change);
    memset(r->direction, 0, r->size * sizeof *r->direction);
    turn(r, 0.0);
    norm = preconditioned_norm(r);
    for (int i = 0; i < MOST_STEPS && norm > 0.0; i++) {
        double curvature, along, next;
        vqc_status status;

        for (size_t k = 0; k < r->size; k++) {
            r->books[k] = (float)r->direction[k];
        }
        vqc_fit_decode_books(fit, r->books, r->decoded);
        status = vqc_feedback_product(
            r->decoded, fit->rows, fit->cols, fit->has_metric ? fit->metric.groups : 1,
            fit->has_metric ? fit->metric.damped : NULL, fit->threads, r->product, error);
        if (status != VQC_OK) {
            return status;
        }
        gather(fit, r->product, r->image, r->size);
        curvature = dot(r->direction, r->image, r->size);
        if (!(curvature > 0.0)) {
            return VQC_OK;
        }
        along = norm / curvature;
        for (size_t k = 0; k < r->size; k++) {
            r->change[k] += along * r->direction[k];
            r->gradient[k] -= along * r->image[k];
        }
        next = preconditioned_norm(r);
        first_gain = i == 0 ? along * norm : first_gain;
        if (along * norm < LEAST_SHARE * first_gain) {
            return VQC_OK;
        }
        turn(r, next / norm);
        norm = next;
    }
    return VQC_OK;
}

/* Takes codebooks + change, rounded, unless the loss grows. */
static vqc_status take_codebooks(refining *r, double *loss, vqc_error *error)
{
    vqc_fit *fit = r->fit;
    double now;
    vqc_status status;

    memcpy(r->books, fit->codebooks, r->size * sizeof *r->books);
    for (size_t k = 0; k < r->size; k++) {
        fit->codebooks[k] = (float)((double)fit->codebooks[k] + r->change[k]);
    }
    vqc_fit_round(fit);
    vqc_fit_decode(fit);
    status = vqc_fit_measure(fit, &now, error);
    if (status == VQC_OK && now < *loss) {
        *loss = now;
        return VQC_OK;
    }
    memcpy(fit->codebooks, r->books, r->size * sizeof *r->books);
    vqc_fit_round(fit); /* what was rounded once stays as it is */
    vqc_fit_decode(fit);
    return status == VQC_OK ? vqc_fit_measure(fit, loss, error) : status;
}

/* Row by row s += (Q H E^T) / (Q H Q^T), Q decoded without its scale. */
static vqc_status refine_scales(refining *r, double *loss, vqc_error *error)
{
    vqc_fit *fit = r->fit;
    bool changed = false;
    vqc_status status;

    for (size_t i = 0; i < fit->rows * fit->cols; i++) {
        r->decoded[i] = fit->weights[i] - fit->errors[i];
    }
    status = vqc_feedback_product(
        r->decoded, fit->rows, fit->cols, fit->has_metric ? fit->metric.groups : 1,
        fit->has_metric ? fit->metric.damped : NULL, fit->threads, r->product, error);
    for (size_t row = 0; row < fit->rows && status == VQC_OK; row++) {
        const float *q = r->decoded + row * fit->cols;
        double slope = vqc_feedback_dot(q, fit->product + row * fit->cols, 1, fit->cols);
        double curvature = vqc_feedback_dot(q, r->product + row * fit->cols, 1, fit->cols);
        float scale = fit->scales[row];
        double step;

        if (!(curvature > 0.0) || !(scale > 0.0f)) {
            continue;
        }
        scale = vqc_fit_half((float)((double)scale * (1.0 + slope / curvature)));
        step = (double)scale / (double)fit->scales[row] - 1.0;
        if (scale > 0.0f && step * (step * curvature - 2.0 * slope) < 0.0) {
            fit->scales[row] = scale;
            changed = true;
        }
    }
    if (status != VQC_OK || !changed) {
        return status;
    }
    vqc_fit_decode(fit);
    return vqc_fit_measure(fit, loss, error);
}

vqc_status vqc_fit_refine(vqc_fit *fit, double *loss, vqc_error *error)
{
    refining r = {.fit = fit, .size = fit->stages * fit->books * fit->count * fit->dim};
    size_t elements = fit->rows * fit->cols;
    double *memory = NULL;
    float *floats = NULL;
    vqc_status status;
    size_t doubles;

    if (!vqc_size_mul(r.size, 5, &doubles) || !vqc_size_mul(doubles, sizeof *memory, &doubles)) {
        return vqc_fail_memory(error, SIZE_MAX);
    }
    memory = malloc(doubles + 1);
    floats = malloc((r.size + 2 * elements + 1) * sizeof *floats);
    if (memory == NULL || floats == NULL) {
        status = vqc_fail_memory(error, doubles);
    } else {
        r.gradient = memory;
        r.direction = memory + r.size;
        r.diagonal = memory + 2 * r.size;
        r.change = memory + 3 * r.size;
        r.image = memory + 4 * r.size;
        r.books = floats;
        r.decoded = floats + r.size;
        r.product = r.decoded + elements;
        status = solve(&r, error);
        if (status == VQC_OK) {
            status = take_codebooks(&r, loss, error);
        }
        if (status == VQC_OK && fit->scales != NULL) {
            status = refine_scales(&r, loss, error);
        }
    }
    free(memory);
    free(floats);
    return status;
}
