/* k-means: points and codebooks in the layout of the kernels, and nearest codewords. */
#include <math.h>

#include "core/memory.h"
#include "core/vq/kmeans_parts.h"

enum { POINTS = VQC_NEAREST_POINTS, WORDS = VQC_NEAREST_CODEWORDS };

size_t kmeans_book_floats(size_t features, size_t count)
{
    return (count + WORDS - 1) / WORDS * WORDS * (features + 1);
}

void kmeans_book_pack(const float *codebook, size_t dim, size_t count, bool per_entry, float *book)
{
    const size_t features = per_entry ? 2 * dim : dim;
    const size_t filled = (count + WORDS - 1) / WORDS * WORDS;
    for (size_t k = 0; k < filled; k++) {
        float *out = book + k / WORDS * (features + 1) * WORDS + k % WORDS;
        double power = 0.0;
        for (size_t i = 0; i < dim; i++) {
            const double c = k < count ? (double)codebook[k * dim + i] : 0.0;
            power += c * c;
            out[(1 + i) * WORDS] = (float)(-2.0 * c);
            if (per_entry)
                out[(1 + dim + i) * WORDS] = (float)(c * c);
        }
        out[0] = k >= count ? INFINITY : per_entry ? 0.0f : (float)power;
    }
}

void kmeans_panels_pack(const float *points, const float *entry_weights, const size_t *rows,
                        size_t first, size_t count, size_t dim, float *panels, float *power)
{
    const size_t features = entry_weights != NULL ? 2 * dim : dim;
    const size_t filled = (count + POINTS - 1) / POINTS * POINTS;
    size_t whole = 0; /* full panels of plain neighbours are transposed */
    if (entry_weights == NULL && rows == NULL && power == NULL)
        for (; whole + POINTS <= count; whole += POINTS)
            vqc_kernels_get()->f32_transpose(points + (first + whole) * dim, POINTS, dim, dim,
                                             panels + whole * dim, POINTS);
    for (size_t p = whole; p < filled; p++) {
        float *out = panels + p / POINTS * features * POINTS + p % POINTS;
        if (p >= count) {
            for (size_t i = 0; i < features; i++)
                out[i * POINTS] = 0.0f;
            continue;
        }
        const size_t row = rows != NULL ? rows[p] : first + p;
        const float *x = points + row * dim;
        double sum = 0.0;
        for (size_t i = 0; i < dim; i++) {
            const float w = entry_weights != NULL ? entry_weights[row * dim + i] : 1.0f;
            sum += (double)w * (double)x[i] * (double)x[i];
            out[i * POINTS] = w * x[i];
            if (entry_weights != NULL)
                out[(dim + i) * POINTS] = w;
        }
        if (power != NULL)
            power[p] = (float)sum;
    }
}

kmeans_nearest_fn *kmeans_nearest_choose(size_t features)
{
    const vqc_kernels *k = vqc_kernels_get();
    switch (features) {
    case 1:
        return k->f32_nearest_1;
    case 2:
        return k->f32_nearest_2;
    case 4:
        return k->f32_nearest_4;
    case 8:
        return k->f32_nearest_8;
    case 16:
        return k->f32_nearest_16;
    default:
        return k->f32_nearest;
    }
}

/* Sum of w_i (x_i - c_i)^2. */
static float squared_distance(const float *x, const float *w, const float *c, size_t dim)
{
    float sum = 0.0f;
    for (size_t i = 0; i < dim; i++) {
        const float off = x[i] - c[i];
        sum = fmaf(w != NULL ? w[i] * off : off, off, sum);
    }
    return sum;
}

vqc_status vqc_kmeans_assign(const float *points, size_t n, const float *weights,
                             const float *codebook, size_t dim, size_t count, int threads,
                             uint16_t *codes, float *distances, vqc_error *error)
{
    if (dim == 0 || dim > KMEANS_MAX_DIM || count == 0 || count > KMEANS_MAX_COUNT)
        return vqc_fail(error, VQC_ERR_INTERNAL, "k-means: dim %zu, %zu codewords", dim, count);
    const size_t features = weights != NULL ? 2 * dim : dim;
    const size_t book_bytes = kmeans_book_floats(features, count) * sizeof(float);
    vqc_arena *arena = vqc_arena_create();
    float *book = arena != NULL ? vqc_arena_alloc(arena, book_bytes) : NULL;
    if (book == NULL) {
        vqc_arena_destroy(&arena);
        return vqc_fail_memory(error, book_bytes);
    }
    kmeans_book_pack(codebook, dim, count, weights != NULL, book);
    kmeans_nearest_fn *nearest = kmeans_nearest_choose(features);
    const size_t pieces = (n + KMEANS_PIECE - 1) / KMEANS_PIECE;
    const bool parallel = threads > 1 && (double)n * (double)(count * features) > 1e6;
#pragma omp parallel for schedule(dynamic, 4) num_threads(threads) if (parallel)
    for (size_t piece = 0; piece < pieces; piece++) {
        float panels[KMEANS_PIECE * 2 * KMEANS_MAX_DIM];
        const size_t first = piece * KMEANS_PIECE;
        const size_t here = n - first < KMEANS_PIECE ? n - first : KMEANS_PIECE;
        kmeans_panels_pack(points, weights, NULL, first, here, dim, panels, NULL);
        nearest(&(vqc_nearest){.x = panels,
                               .n = here,
                               .dim = features,
                               .book = book,
                               .count = count,
                               .codes = codes + first});
        for (size_t p = first; distances != NULL && p < first + here; p++)
            distances[p] =
                squared_distance(points + p * dim, weights != NULL ? weights + p * dim : NULL,
                                 codebook + (size_t)codes[p] * dim, dim);
    }
    vqc_arena_destroy(&arena);
    return VQC_OK;
}
