/* Nearest codewords, and nearest sums of codewords. */
#include <math.h>
#include <string.h>

#include "core/vq/vq_fit_internal.h"

enum { LANES = VQC_FIT_LANES, BEAM = 8, EXCHANGES = 4 };

static size_t padded(size_t count)
{
    return (count + LANES - 1) / LANES * LANES;
}

size_t vqc_fit_table_floats(const vqc_fit *fit)
{
    return fit->stages * padded(fit->count) * (fit->dim + 1);
}

void vqc_fit_table_set(vqc_fit_table *table, const vqc_fit *fit, float *memory)
{
    size_t lanes = padded(fit->count);

    *table = (vqc_fit_table){.dim = fit->dim,
                             .count = fit->count,
                             .stages = fit->stages,
                             .lanes = lanes,
                             .values = memory,
                             .half = memory + fit->stages * lanes * fit->dim};
}

void vqc_fit_table_fill(vqc_fit_table *table, const vqc_fit *fit, size_t book, const float *metric,
                        bool diagonal)
{
    const size_t dim = table->dim;

    for (size_t t = 0; t < table->stages; t++) {
        const float *from = fit->codebooks + (t * fit->books + book) * fit->count * dim;
        float *values = table->values + t * table->lanes * dim;
        float *half = table->half + t * table->lanes;

        for (size_t k = 0; k < table->lanes; k++) {
            float *to = values + k / LANES * LANES * dim + k % LANES;
            float length = 0.0f;

            for (size_t i = 0; i < dim; i++) {
                float sum = 0.0f;

                if (k < table->count && diagonal) {
                    sum = from[k * dim + i] * metric[i * dim + i];
                } else if (k < table->count) {
                    for (size_t j = 0; j <= i; j++) {
                        sum += from[k * dim + j] * metric[j * dim + i];
                    }
                }
                to[i * LANES] = sum;
                length += sum * sum;
            }
            half[k] = k < table->count ? 0.5f * length : (float)INFINITY;
        }
    }
}

/* Half the squared distances, less half the length of target, of 16 codewords. */
static inline void score_lanes(const float *values, const float *half, const float *target,
                               size_t dim, float *scores)
{
    float s[LANES];

    memcpy(s, half, sizeof s);
    for (size_t i = 0; i < dim; i++) {
        const float y = target[i];
#pragma omp simd
        for (size_t l = 0; l < LANES; l++) {
            s[l] -= y * values[i * LANES + l];
        }
    }
    memcpy(scores, s, sizeof s);
}

static uint16_t nearest(const vqc_fit_table *table, size_t stage, const float *target)
{
    const float *values = table->values + stage * table->lanes * table->dim;
    const float *half = table->half + stage * table->lanes;
    float best[LANES], scores[LANES];
    int32_t chunk[LANES] = {0};
    size_t result = 0;
    float least;

    for (size_t l = 0; l < LANES; l++) {
        best[l] = (float)INFINITY;
    }
    for (size_t k = 0; k < table->lanes; k += LANES) {
        const int32_t here = (int32_t)(k / LANES);

        score_lanes(values + k * table->dim, half + k, target, table->dim, scores);
#pragma omp simd
        for (size_t l = 0; l < LANES; l++) {
            const bool better = scores[l] < best[l];
            best[l] = better ? scores[l] : best[l];
            chunk[l] = better ? here : chunk[l];
        }
    }
    least = (float)INFINITY;
    for (size_t l = 0; l < LANES; l++) {
        size_t k = (size_t)chunk[l] * LANES + l;
        if (best[l] < least || (best[l] == least && k < result)) {
            least = best[l];
            result = k;
        }
    }
    return (uint16_t)(result < table->count ? result : 0);
}

static float codeword(const vqc_fit_table *table, size_t stage, size_t index, size_t entry)
{
    return table->values[stage * table->lanes * table->dim + index / LANES * LANES * table->dim +
                         entry * LANES + index % LANES];
}

float vqc_fit_table_cost(const vqc_fit_table *table, const float *target, const uint16_t *indices)
{
    float cost = 0.0f;

    for (size_t i = 0; i < table->dim; i++) {
        float rest = target[i];

        for (size_t t = 0; t < table->stages; t++) {
            rest -= codeword(table, t, indices[t], i);
        }
        cost += rest * rest;
    }
    return cost;
}

/* A partial sum of codewords, and what it leaves of the target. */
typedef struct hypothesis {
    float score; /* |rest|^2 */
    uint16_t indices[VQC_VQ_MAX_STAGES];
    float rest[VQC_VQ_MAX_DIM];
} hypothesis;

/* Inserts a candidate into the ascending list [count] of at most `most`. */
static void insert(hypothesis *list, size_t *count, size_t most, const hypothesis *from,
                   size_t stage, size_t index, float score)
{
    size_t at;

    if (*count == most && score >= list[most - 1].score) {
        return;
    }
    at = *count < most ? (*count)++ : most - 1;
    while (at > 0 && list[at - 1].score > score) {
        list[at] = list[at - 1];
        at--;
    }
    memcpy(list[at].indices, from->indices, sizeof from->indices);
    list[at].indices[stage] = (uint16_t)index;
    list[at].score = score;
    memcpy(list[at].rest, from->rest, sizeof from->rest);
}

static void leave_rest(const vqc_fit_table *table, size_t stage, hypothesis *h)
{
    h->score = 0.0f;
    for (size_t i = 0; i < table->dim; i++) {
        h->rest[i] -= codeword(table, stage, h->indices[stage], i);
        h->score += h->rest[i] * h->rest[i];
    }
}

static void beam_search(const vqc_fit_table *table, const float *target, float *scores,
                        uint16_t *indices)
{
    hypothesis lists[2][BEAM];
    size_t counts[2] = {1, 0};
    size_t now = 0;

    memset(&lists[0][0], 0, sizeof lists[0][0]);
    memcpy(lists[0][0].rest, target, table->dim * sizeof *target);
    for (size_t t = 0; t < table->stages; t++) {
        const size_t next = 1 - now;
        const size_t most = t + 1 < table->stages ? BEAM : 1;
        const float *values = table->values + t * table->lanes * table->dim;

        counts[next] = 0;
        for (size_t h = 0; h < counts[now]; h++) {
            const hypothesis *from = &lists[now][h];
            float rest = 0.0f;

            for (size_t i = 0; i < table->dim; i++) {
                rest += from->rest[i] * from->rest[i];
            }
            for (size_t k = 0; k < table->lanes; k += LANES) {
                score_lanes(values + k * table->dim, table->half + t * table->lanes + k, from->rest,
                            table->dim, scores + k);
            }
            for (size_t k = 0; k < table->count; k++) {
                insert(lists[next], &counts[next], most, from, t, k, rest + 2.0f * scores[k]);
            }
        }
        for (size_t h = 0; h < counts[next]; h++) {
            leave_rest(table, t, &lists[next][h]);
        }
        now = next;
    }
    memcpy(indices, lists[now][0].indices, table->stages * sizeof *indices);
}

/* Exchanges one stage at a time while that helps. */
static void exchange(const vqc_fit_table *table, const float *target, uint16_t *indices)
{
    float cost = vqc_fit_table_cost(table, target, indices);

    for (int round = 0; round < EXCHANGES; round++) {
        bool changed = false;

        for (size_t t = 0; t < table->stages; t++) {
            uint16_t old = indices[t];
            float rest[VQC_VQ_MAX_DIM];
            float now;

            for (size_t i = 0; i < table->dim; i++) {
                rest[i] = target[i];
                for (size_t s = 0; s < table->stages; s++) {
                    rest[i] -= s == t ? 0.0f : codeword(table, s, indices[s], i);
                }
            }
            indices[t] = nearest(table, t, rest);
            now = indices[t] == old ? cost : vqc_fit_table_cost(table, target, indices);
            if (now < cost) {
                cost = now;
                changed = true;
            } else {
                indices[t] = old;
            }
        }
        if (!changed) {
            return;
        }
    }
}

void vqc_fit_table_search(const vqc_fit_table *table, const float *target, bool keep, float *scores,
                          uint16_t *indices)
{
    uint16_t old[VQC_VQ_MAX_STAGES];

    memcpy(old, indices, table->stages * sizeof *old);
    if (table->stages == 1) {
        indices[0] = nearest(table, 0, target);
    } else {
        beam_search(table, target, scores, indices);
        exchange(table, target, indices);
    }
    if (keep && memcmp(old, indices, table->stages * sizeof *old) != 0 &&
        !(vqc_fit_table_cost(table, target, indices) < vqc_fit_table_cost(table, target, old))) {
        memcpy(indices, old, table->stages * sizeof *old);
    }
}
