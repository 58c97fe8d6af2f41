/* What the files of k-means share; core/vq/kmeans.h is the interface. */
#ifndef VQC_CORE_VQ_KMEANS_PARTS_H
#define VQC_CORE_VQ_KMEANS_PARTS_H

#include "core/vq/kmeans.h"
#include "kernels/kernels.h"

enum {
    KMEANS_MAX_DIM = 32,
    KMEANS_MAX_COUNT = 65536,
    KMEANS_PIECE = 512 /* points that go through the kernel at a time */
};

/*
 * Training points as the kernels want them. A weighted squared error sum_i w_i (x_i - c_i)^2 is
 * sum_i w_i x_i^2 (the power, the same for every codeword) plus a product of features: without
 * weights per entry the features are x and their factors -2 c, with the constant |c|^2; with them
 * the features are w x, then w, the factors -2 c, then c^2.
 */
typedef struct kmeans_points {
    size_t n;
    size_t dim;
    size_t features; /* dim, or 2 dim with weights per entry */
    float *panels;   /* [ceil(n / 16)][features][16], the last panel filled up with zeros */
    float *power;    /* [n] */
    float *weight;   /* [n] of points; NULL: all 1 */
} kmeans_points;

/* The generator of all random choices: splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t kmeans_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Uniform in [0, 1). */
static inline double kmeans_uniform(uint64_t *state)
{
    return (double)(kmeans_random(state) >> 11) * 0x1p-53;
}

/* Floats of a packed codebook. */
size_t kmeans_book_floats(size_t features, size_t count);

/* Codewords [count, dim] -> blocks of vqc_nearest. */
void kmeans_book_pack(const float *codebook, size_t dim, size_t count, bool per_entry, float *book);

/*
 * Rows of points [.., dim] (those that `rows` lists, NULL: first, first + 1, ...) -> panels for
 * `count` of them, beginning at a panel; power [count] or NULL. entry_weights [.., dim] or NULL.
 */
void kmeans_panels_pack(const float *points, const float *entry_weights, const size_t *rows,
                        size_t first, size_t count, size_t dim, float *panels, float *power);

/* The kernel for a number of features. */
typedef void kmeans_nearest_fn(const vqc_nearest *job);
kmeans_nearest_fn *kmeans_nearest_choose(size_t features);

/* Exact solution of dim 1. */
vqc_status kmeans_line_train(const float *points, size_t n, const float *weights,
                             const vqc_kmeans_options *options, float *codebook,
                             vqc_kmeans_result *result, vqc_error *error);

/* `wanted` of the numbers 0 .. n-1 in increasing order, every subset equally likely (selection
 * sampling, Knuth vol. 2, 3.4.2 algorithm S). */
void kmeans_sample(size_t n, size_t wanted, uint64_t *random, size_t *rows);

#endif
