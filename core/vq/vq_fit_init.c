/* Row scales and codebooks to start from. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/vq/kmeans.h"
#include "core/vq/vq_fit_internal.h"
#include "kernels/kernels.h"

#define LARGEST_HALF 65504.0f

/* What an error of the entry in this row and column costs at least, whatever its neighbours do. */
static double entry_weight(const vqc_fit *fit, size_t row, size_t col)
{
    size_t at;
    double r;

    if (!fit->has_metric) {
        return 1.0;
    }
    at = (row / (fit->rows / fit->metric.groups) * fit->cols + col) * fit->cols + col;
    r = (double)fit->metric.factor[at];
    return r * r;
}

float vqc_fit_half(float x)
{
    uint16_t half;

    x = fminf(fmaxf(x, -LARGEST_HALF), LARGEST_HALF);
    vqc_kernels_get()->f32_f16_convert(&x, 1, &half);
    vqc_kernels_get()->f16_f32_convert(&half, 1, &x);
    return x;
}

/* Root mean square of the rows, seen through the weights of the columns, relative to the largest
 * row: the codebook keeps the magnitude. */
static void init_scales(vqc_fit *fit)
{
    double largest = 0.0;

    for (int round = 0; round < 2; round++) {
        for (size_t row = 0; row < fit->rows; row++) {
            double sum = 0.0, count = 0.0;

            for (size_t j = 0; j < fit->cols; j++) {
                size_t at = row * fit->cols + j;
                double weight =
                    fit->mask != NULL && !fit->mask[at] ? 0.0 : entry_weight(fit, row, j);
                sum += weight * (double)fit->weights[at] * (double)fit->weights[at];
                count += weight;
            }
            sum = count > 0.0 ? sqrt(sum / count) : 0.0;
            largest = fmax(largest, sum);
            if (round == 1) {
                fit->scales[row] = largest > 0.0 ? vqc_fit_half((float)(sum / largest)) : 0.0f;
            }
        }
    }
}

double vqc_fit_energy(const vqc_fit *fit, size_t step, const vqc_fit_place *place)
{
    double sum = 0.0;

    for (size_t i = 0; i < place->entries; i++) {
        size_t element = place->first + i * place->stride;
        size_t row = place->row + (fit->shape->down_rows ? i : 0);
        size_t col = fit->step_first[step] + (fit->shape->down_rows ? 0 : i);
        double w = (double)fit->weights[element];

        sum += w * w * entry_weight(fit, row, col);
    }
    return sum;
}

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

vqc_status vqc_fit_set_cost(vqc_fit *fit, vqc_error *error)
{
    size_t places = vqc_fit_places(fit);
    size_t count = 0;
    size_t zeros;
    double *energies;

    if (!(fit->effort->kept_share > 0.0)) {
        return VQC_OK;
    }
    energies = malloc(fit->vectors * sizeof *energies + 1);
    if (energies == NULL) {
        return vqc_fail_memory(error, fit->vectors * sizeof *energies);
    }
    for (size_t at = 0; at < places; at++) {
        for (size_t step = 0; step < fit->step_count; step++) {
            vqc_fit_place place = vqc_fit_place_at(fit, step, at);
            energies[count++] = vqc_fit_energy(fit, step, &place);
        }
    }
    qsort(energies, count, sizeof *energies, compare_doubles);
    zeros = (size_t)((1.0 - fmin(fit->effort->kept_share, 1.0)) * (double)count);
    fit->keep_cost = energies[zeros > 0 ? zeros - 1 : 0];
    free(energies);
    return VQC_OK;
}

/* The sub-vectors of one book. */
typedef struct training {
    size_t n;
    float *points;  /* [n][dim] weights without row scale, less the stages before */
    float *weights; /* [n][dim], or [n] when not per_entry */
    uint16_t *codes;
    bool is_plain, per_entry; /* all weights equal; they differ within a sub-vector */
} training;

static void collect(const vqc_fit *fit, size_t book, training *t)
{
    size_t places = vqc_fit_places(fit);

    t->n = 0;
    for (size_t at = 0; at < places; at++) {
        for (size_t step = 0; step < fit->step_count; step++) {
            vqc_fit_place place = vqc_fit_place_at(fit, step, at);
            float *point = t->points + t->n * fit->dim;
            float *weight = t->weights + t->n * fit->dim;

            if (place.book != book ||
                (fit->keep_cost > 0.0 && vqc_fit_energy(fit, step, &place) <= fit->keep_cost)) {
                continue;
            }
            for (size_t i = 0; i < fit->dim; i++) {
                size_t element = place.first + i * place.stride;
                size_t row = place.row + (fit->shape->down_rows ? i : 0);
                float scale = 1.0f;

                point[i] = weight[i] = 0.0f;
                if (i >= place.entries || (fit->mask != NULL && !fit->mask[element])) {
                    continue;
                }
                scale = fit->scales != NULL ? fit->scales[row] : 1.0f;
                if (scale > 0.0f) {
                    size_t col = fit->step_first[step] + (fit->shape->down_rows ? 0 : i);
                    point[i] = fit->weights[element] / scale;
                    weight[i] =
                        (float)((double)scale * (double)scale * entry_weight(fit, row, col));
                }
            }
            t->n++;
        }
    }
}

/* Weights with mean 1; one per sub-vector when that says the same. */
static void settle_weights(const vqc_fit *fit, training *t)
{
    const size_t dim = fit->dim;
    double mean = 0.0;

    t->is_plain = true;
    t->per_entry = false;
    for (size_t v = 0; v < t->n; v++) {
        for (size_t i = 0; i < dim; i++) {
            float weight = t->weights[v * dim + i];
            mean += (double)weight / ((double)t->n * (double)dim);
            t->per_entry = t->per_entry || fabsf(weight - t->weights[v * dim]) > 0.0f;
            t->is_plain = t->is_plain && !(fabsf(weight - t->weights[0]) > 0.0f);
        }
    }
    if (!(mean > 0.0)) {
        t->is_plain = true;
        return;
    }
    for (size_t v = 0; v < t->n; v++) {
        for (size_t i = 0; i < dim && t->per_entry; i++) {
            t->weights[v * dim + i] = (float)((double)t->weights[v * dim + i] / mean);
        }
        if (!t->per_entry) {
            t->weights[v] = (float)((double)t->weights[v * dim] / mean);
        }
    }
}

static vqc_status train_book(vqc_fit *fit, size_t book, training *t, vqc_error *error)
{
    const size_t dim = fit->dim;
    const size_t trained = fit->count - (fit->keep_cost > 0.0 ? 1 : 0); /* the last one stays 0 */
    vqc_kmeans_options options = vqc_kmeans_options_default(dim, trained);

    options.seed = fit->effort->seed;
    options.threads = fit->threads;
    if (fit->effort->kmeans_iterations > 0) {
        options.iterations = (size_t)fit->effort->kmeans_iterations;
    }
    collect(fit, book, t);
    settle_weights(fit, t);
    for (size_t s = 0; s < fit->stages; s++) {
        float *codebook = fit->codebooks + (s * fit->books + book) * fit->count * dim;
        const float *weights = t->is_plain ? NULL : t->weights;
        vqc_status status;

        if (t->n == 0) {
            memset(codebook, 0, fit->count * dim * sizeof *codebook);
            continue;
        }
        status = vqc_kmeans_train(t->points, t->n, weights, t->per_entry, &options, codebook, NULL,
                                  error);
        if (status == VQC_OK && s + 1 < fit->stages) {
            status = vqc_kmeans_assign(t->points, t->n, t->per_entry ? weights : NULL, codebook,
                                       dim, fit->count, fit->threads, t->codes, NULL, error);
        }
        if (status != VQC_OK) {
            return status;
        }
        for (size_t v = 0; s + 1 < fit->stages && v < t->n; v++) {
            for (size_t i = 0; i < dim; i++) {
                t->points[v * dim + i] -= codebook[t->codes[v] * dim + i];
            }
        }
    }
    return VQC_OK;
}

vqc_status vqc_fit_init(vqc_fit *fit, vqc_error *error)
{
    training t = {0};
    vqc_status status = VQC_OK;
    size_t entries, bytes;

    if (!vqc_size_mul(fit->vectors, fit->dim, &entries) ||
        !vqc_size_mul(entries, sizeof(float), &bytes)) {
        return vqc_fail_memory(error, SIZE_MAX);
    }
    if (fit->scales != NULL) {
        init_scales(fit);
    }
    t.points = malloc(bytes + 1);
    t.weights = malloc(bytes + 1);
    t.codes = malloc(fit->vectors * sizeof *t.codes + 1);
    if (t.points == NULL || t.weights == NULL || t.codes == NULL) {
        status = vqc_fail_memory(error, bytes);
    }
    for (size_t book = 0; book < fit->books && status == VQC_OK; book++) {
        status = train_book(fit, book, &t, error);
    }
    free(t.points);
    free(t.weights);
    free(t.codes);
    return status;
}

static void round_int8(vqc_fit *fit)
{
    const size_t size = fit->count * fit->dim;
    const float limit = fit->shape->int8_limit > 0 ? (float)fit->shape->int8_limit : 127.0f;

    for (size_t book = 0; book < fit->stages * fit->books; book++) {
        float *values = fit->codebooks + book * size;
        int8_t *codes = fit->code->codebooks_int8 + book * size;
        float most = 0.0f;
        float scale;

        for (size_t i = 0; i < size; i++) {
            most = fmaxf(most, fabsf(values[i]));
        }
        scale = most / limit;
        fit->code->book_scales[book] = scale;
        for (size_t i = 0; i < size; i++) {
            float level = scale > 0.0f ? rintf(values[i] / scale) : 0.0f;
            codes[i] = (int8_t)fminf(fmaxf(level, -limit), limit);
            values[i] = (float)codes[i] * scale;
        }
    }
}

void vqc_fit_round(vqc_fit *fit)
{
    size_t size = fit->stages * fit->books * fit->count * fit->dim;

    if (fit->shape->storage == VQC_VQ_STORAGE_INT8) {
        round_int8(fit);
    } else if (fit->shape->storage == VQC_VQ_STORAGE_FLOAT16) {
        for (size_t i = 0; i < size; i++) {
            fit->codebooks[i] = fminf(fmaxf(fit->codebooks[i], -LARGEST_HALF), LARGEST_HALF);
        }
        vqc_kernels_get()->f32_f16_convert(fit->codebooks, size, fit->code->codebooks_f16);
        vqc_kernels_get()->f16_f32_convert(fit->code->codebooks_f16, size, fit->codebooks);
    }
}
