/* Input vectors of a layer (rows of a matrix, patches of a picture) and their moments. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"
#include "core/exec/conv.h"
#include "core/exec/gemm.h"
#include "core/memory.h"
#include "core/vq/sequence_internal.h"
#include "core/vq/sequence_vectors.h"

enum {
    LEAST_VECTORS = 16384, /* per layer, when there are as many */
    MOST_VECTORS = 65536,
    VECTORS_PER_COLUMN = 8,
    CHUNK_ROWS = 1024, /* float32 sums are at most this long */
    LEAST_CHUNK_ROWS = 64,
    CHUNK_BYTES = 32 << 20,
    PANEL = 256, /* columns of the symmetric product taken at a time */
    COLUMN_BLOCK = 64
};

/* Sums over vectors; all of y are of y - shift, d = x - y. */
typedef struct sums {
    size_t groups, cols;
    size_t rows;                    /* of a chunk */
    bool differs;                   /* d may be other than zero */
    bool squares;                   /* products are wanted */
    size_t count;                   /* vectors so far */
    float *shift;                   /* [groups * cols] near the mean of y */
    float *y, *d;                   /* [groups][rows][cols] the chunk */
    double *sum_y, *sum_d, *sum_xx; /* [groups * cols] */
    double *second, *cross;         /* [groups][cols][cols] */
    float *product;                 /* the same of one chunk */
    vqc_gemm_item *items;           /* [groups] */
    float *scratch;
    const vqc_vectors **sources; /* [rows] where the chunk's vectors come from */
    size_t *places;              /* [rows] which of them */
    size_t filled;
    int threads;
} sums;

/* ---- memory ---- */

static void *take(size_t count, size_t width)
{
    size_t size_bytes;

    return vqc_size_mul(count, width, &size_bytes) ? calloc(size_bytes + 1, 1) : NULL;
}

static vqc_gemm product_of(const sums *s, size_t m, size_t n, size_t k)
{
    return (vqc_gemm){.m = m,
                      .n = n,
                      .k = k,
                      .c_stride = s->cols,
                      .left = vqc_gemm_left_columns(m, s->cols),
                      .right = vqc_gemm_right_rows(s->cols),
                      .epilogue = {.act = VQC_ACT_NONE},
                      .threads = s->threads,
                      .items = s->items,
                      .item_count = s->groups};
}

static size_t scratch_bytes(const sums *s)
{
    vqc_gemm g = product_of(s, s->cols, s->cols, s->rows);
    size_t most = vqc_gemm_scratch_bytes(&g);

    for (size_t first = 0; first < s->cols; first += PANEL) {
        size_t n = s->cols - first < PANEL ? s->cols - first : (size_t)PANEL;
        size_t bytes;

        g = product_of(s, first + n, n, s->rows);
        bytes = vqc_gemm_scratch_bytes(&g);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static bool allocate(sums *s)
{
    size_t width = s->groups * s->cols;
    size_t squares = s->squares ? width * s->cols : 0;

    s->rows = CHUNK_BYTES / sizeof(float) / (width + 1);
    s->rows = s->rows > CHUNK_ROWS ? (size_t)CHUNK_ROWS : s->rows;
    s->rows = s->rows < LEAST_CHUNK_ROWS ? (size_t)LEAST_CHUNK_ROWS : s->rows;
    s->shift = take(width, sizeof *s->shift);
    s->y = take(width * s->rows, sizeof *s->y);
    s->d = take(s->differs ? width * s->rows : 1, sizeof *s->d);
    s->sum_y = take(width, sizeof *s->sum_y);
    s->sum_d = take(width, sizeof *s->sum_d);
    s->sum_xx = take(width, sizeof *s->sum_xx);
    s->second = take(squares, sizeof *s->second);
    s->cross = take(s->differs ? squares : 1, sizeof *s->cross);
    s->product = take(squares, sizeof *s->product);
    s->items = take(s->groups, sizeof *s->items);
    s->sources = take(s->rows, sizeof *s->sources);
    s->places = take(s->rows, sizeof *s->places);
    s->scratch = s->squares ? aligned_alloc(64, (scratch_bytes(s) + 127) / 64 * 64) : NULL;
    return s->shift != NULL && s->y != NULL && s->d != NULL && s->sum_y != NULL &&
           s->sum_d != NULL && s->sum_xx != NULL && s->second != NULL && s->cross != NULL &&
           s->product != NULL && s->items != NULL && s->sources != NULL && s->places != NULL &&
           (!s->squares || s->scratch != NULL);
}

static void release(sums *s)
{
    free(s->shift);
    free(s->y);
    free(s->d);
    free(s->sum_y);
    free(s->sum_d);
    free(s->sum_xx);
    free(s->second);
    free(s->cross);
    free(s->product);
    free(s->items);
    free(s->sources);
    free(s->places);
    free(s->scratch);
}

/* ---- one chunk ---- */

/* Copies the vectors; d takes those of x for now. */
static void gather(sums *s)
{
    size_t stride = s->rows * s->cols;

#pragma omp parallel for schedule(static) num_threads(s->threads) if (s->threads > 1)
    for (size_t r = 0; r < s->filled; r++) {
        const vqc_vectors *from = s->sources[r];
        vqc_vectors_copy(from, from->y, s->places[r], s->y + r * s->cols, stride);
        if (s->differs) {
            vqc_vectors_copy(from, from->x, s->places[r], s->d + r * s->cols, stride);
        }
    }
}

/* Columns [first, first + n) of one group: shifts y, makes d, adds up. */
static void add_columns(sums *s, size_t group, size_t first, size_t n)
{
    size_t at = group * s->cols + first;
    double sum_y[COLUMN_BLOCK] = {0}, sum_d[COLUMN_BLOCK] = {0}, sum_xx[COLUMN_BLOCK] = {0};
    float *shift = s->shift + at;

    if (s->count == 0) {
        for (size_t r = 0; r < s->filled; r++) {
            const float *y = s->y + (group * s->rows + r) * s->cols + first;
            for (size_t c = 0; c < n; c++) {
                sum_y[c] += (double)y[c];
            }
        }
        for (size_t c = 0; c < n; c++) {
            shift[c] = (float)(sum_y[c] / (double)s->filled);
            sum_y[c] = 0.0;
        }
    }
    for (size_t r = 0; r < s->filled; r++) {
        float *y = s->y + (group * s->rows + r) * s->cols + first;
        float *d = s->differs ? s->d + (group * s->rows + r) * s->cols + first : NULL;
        for (size_t c = 0; c < n; c++) {
            double x = (double)(d != NULL ? d[c] : y[c]);
            sum_xx[c] += x * x;
        }
        for (size_t c = 0; d != NULL && c < n; c++) {
            d[c] -= y[c];
            sum_d[c] += (double)d[c];
        }
        for (size_t c = 0; c < n; c++) {
            y[c] -= shift[c];
            sum_y[c] += (double)y[c];
        }
    }
    for (size_t c = 0; c < n; c++) {
        s->sum_y[at + c] += sum_y[c];
        s->sum_d[at + c] += sum_d[c];
        s->sum_xx[at + c] += sum_xx[c];
    }
}

static void add_means(sums *s)
{
    size_t blocks = (s->cols + COLUMN_BLOCK - 1) / COLUMN_BLOCK;

#pragma omp parallel for schedule(static) num_threads(s->threads) if (s->threads > 1)
    for (size_t i = 0; i < s->groups * blocks; i++) {
        size_t first = i % blocks * COLUMN_BLOCK;
        size_t n = s->cols - first < COLUMN_BLOCK ? s->cols - first : (size_t)COLUMN_BLOCK;
        add_columns(s, i / blocks, first, n);
    }
}

/* left^T y for columns [0, m) of left and [first, first + n) of y. */
static void multiply(sums *s, const float *left, size_t m, size_t first, size_t n)
{
    vqc_gemm g = product_of(s, m, n, s->filled);

    for (size_t i = 0; i < s->groups; i++) {
        s->items[i] = (vqc_gemm_item){.a = left + i * s->rows * s->cols,
                                      .b = s->y + i * s->rows * s->cols + first,
                                      .c = s->product + i * s->cols * s->cols + first};
    }
    vqc_gemm_run(&g, s->scratch);
}

/* Adds the chunk's products, of a symmetric one the upper triangle. */
static void add_product(const sums *s, bool symmetric, double *total)
{
#pragma omp parallel for schedule(static) num_threads(s->threads) if (s->threads > 1)
    for (size_t i = 0; i < s->groups * s->cols; i++) {
        const float *product = s->product + i * s->cols;
        for (size_t j = symmetric ? i % s->cols : 0; j < s->cols; j++) {
            total[i * s->cols + j] += (double)product[j];
        }
    }
}

static void add_chunk(sums *s)
{
    if (s->filled == 0) {
        return;
    }
    gather(s);
    add_means(s);
    for (size_t first = 0; s->squares && first < s->cols; first += PANEL) {
        size_t n = s->cols - first < PANEL ? s->cols - first : (size_t)PANEL;
        multiply(s, s->y, first + n, first, n);
    }
    if (s->squares) {
        add_product(s, true, s->second);
    }
    if (s->squares && s->differs) {
        multiply(s, s->d, s->cols, 0, s->cols);
        add_product(s, false, s->cross);
    }
    s->count += s->filled;
    s->filled = 0;
}

/* ---- what to look at ---- */

/* A place in [0, 1), the same for the same sample and index. */
static double fraction(size_t sample, size_t index)
{
    uint64_t z = vqc_samples_draw(((uint64_t)sample << 32) + (uint64_t)index);

    return (double)(z >> 11) * 0x1p-53;
}

/* Takes `wanted` vectors of a sample, one from each equal part; the place in the part is drawn, so
 * that no pattern of the picture is met again and again. */
static void add_sample(sums *s, const vqc_vectors *from, size_t sample, size_t wanted)
{
    size_t taken = from->count < wanted ? from->count : wanted;

    for (size_t i = 0; i < taken; i++) {
        size_t place = i;
        if (taken < from->count) {
            double at = ((double)i + fraction(sample, i)) / (double)taken * (double)from->count;
            place = (size_t)at < from->count ? (size_t)at : from->count - 1;
        }
        s->sources[s->filled] = from;
        s->places[s->filled++] = place;
        if (s->filled == s->rows) {
            add_chunk(s);
        }
    }
}

/* ---- the moments ---- */

static bool make_arrays(vqc_moments *m, const sums *s)
{
    size_t width = s->groups * s->cols;
    size_t squares = width * s->cols;

    m->groups = s->groups;
    m->cols = s->cols;
    m->count = s->count;
    m->mean_x = take(width, sizeof *m->mean_x);
    m->mean_y = take(width, sizeof *m->mean_y);
    m->power = take(width, sizeof *m->power);
    m->second = s->squares ? take(squares, sizeof *m->second) : NULL;
    m->cross = s->squares && s->differs ? take(squares, sizeof *m->cross) : NULL;
    return m->mean_x != NULL && m->mean_y != NULL && m->power != NULL &&
           (!s->squares || (m->second != NULL && (!s->differs || m->cross != NULL)));
}

static void finish_row(const sums *s, vqc_moments *m, size_t group, size_t i)
{
    size_t base = group * s->cols;
    size_t row = (base + i) * s->cols;
    double n = (double)s->count;
    double mean_i = s->sum_y[base + i] / n;
    double mean_d = s->sum_d[base + i] / n;

    for (size_t j = 0; j < s->cols; j++) {
        size_t from = j < i ? (base + j) * s->cols + i : row + j;
        double mean_j = s->sum_y[base + j] / n;
        m->second[row + j] = (float)(s->second[from] / n - mean_i * mean_j);
        if (m->cross != NULL) {
            m->cross[row + j] = (float)(s->cross[row + j] / n - mean_d * mean_j);
        }
    }
}

/* False: something is not finite. */
static bool finish(const sums *s, vqc_moments *m)
{
    size_t width = s->groups * s->cols;
    double n = (double)s->count;
    bool finite = true;

    for (size_t i = 0; i < width; i++) {
        m->mean_y[i] = (double)s->shift[i] + s->sum_y[i] / n;
        m->mean_x[i] = m->mean_y[i] + s->sum_d[i] / n;
        m->power[i] = s->sum_xx[i] / n;
        finite =
            finite && isfinite(m->mean_x[i]) && isfinite(m->mean_y[i]) && isfinite(m->power[i]);
    }
    for (size_t i = 0; m->second != NULL && i < width; i++) {
        finish_row(s, m, i / s->cols, i % s->cols);
        for (size_t j = 0; j < s->cols; j++) {
            finite = finite && isfinite(m->second[i * s->cols + j]) &&
                     (m->cross == NULL || isfinite(m->cross[i * s->cols + j]));
        }
        if (m->second[i * s->cols + i % s->cols] < 0.0f) {
            m->second[i * s->cols + i % s->cols] = 0.0f; /* rounding */
        }
    }
    return finite;
}

static vqc_status accumulate(const vqc_sequence *self, const vqc_vectors *vectors,
                             vqc_sequence_site *site, vqc_error *error)
{
    const vqc_sequence_value *value = &self->values[self->layers[site->layer].input];
    sums s = {.threads = self->threads, .differs = value->differs};
    size_t limit =
        self->memory_limit < VQC_SEQUENCE_MEMORY ? self->memory_limit : VQC_SEQUENCE_MEMORY;
    size_t bytes;
    size_t wanted;
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < self->sample_count; i++) {
        if (vectors[i].count > 0) {
            s.groups = vectors[i].groups;
            s.cols = vectors[i].cols;
            site->samples++;
        }
    }
    if (site->samples == 0) {
        return VQC_OK;
    }
    /* sums and moments of second and cross, and a product */
    s.squares = vqc_size_mul(s.groups * s.cols, s.cols, &bytes) &&
                vqc_size_mul(bytes, 28, &bytes) && bytes <= limit;
    wanted = VECTORS_PER_COLUMN * s.cols;
    wanted = wanted < LEAST_VECTORS ? (size_t)LEAST_VECTORS : wanted;
    wanted = wanted > MOST_VECTORS ? (size_t)MOST_VECTORS : wanted;
    wanted = self->max_vectors > 0 && wanted > self->max_vectors ? self->max_vectors : wanted;
    wanted = (wanted + site->samples - 1) / site->samples;
    if (!allocate(&s)) {
        status = vqc_fail_memory(error, s.groups * s.cols * s.cols * sizeof(double));
    }
    for (size_t i = 0; i < self->sample_count && status == VQC_OK; i++) {
        if (vectors[i].count > 0) {
            add_sample(&s, &vectors[i], i, wanted);
        }
    }
    if (status == VQC_OK) {
        add_chunk(&s);
        if (make_arrays(&site->moments, &s)) {
            site->is_valid = finish(&s, &site->moments);
        } else {
            status = vqc_fail_memory(error, s.groups * s.cols * s.cols * sizeof(float));
        }
    }
    release(&s);
    return status;
}

vqc_status vqc_sequence_measure(const vqc_sequence *self, vqc_sequence_site *site, vqc_error *error)
{
    const vqc_sequence_layer *layer = &self->layers[site->layer];
    const vqc_sequence_value *value = &self->values[layer->input];
    vqc_vectors *vectors = calloc(self->sample_count + 1, sizeof *vectors);
    vqc_status status =
        vectors == NULL ? vqc_fail_memory(error, self->sample_count * sizeof *vectors) : VQC_OK;

    for (size_t i = 0; i < self->sample_count && status == VQC_OK; i++) {
        const vqc_buffer *x = value->x == NULL ? NULL : value->x[i];
        if (x != NULL) {
            const vqc_buffer *y = value->y[i] != NULL ? value->y[i] : x;
            status = vqc_vectors_find(layer->layer, x, y, &vectors[i], error);
        }
    }
    if (status == VQC_OK) {
        status = accumulate(self, vectors, site, error);
    }
    for (size_t i = 0; vectors != NULL && i < self->sample_count; i++) {
        vqc_vectors_clear(&vectors[i]);
    }
    free(vectors);
    return status;
}

void vqc_sequence_site_clear(vqc_sequence_site *site)
{
    free(site->moments.mean_x);
    free(site->moments.mean_y);
    free(site->moments.second);
    free(site->moments.cross);
    free(site->moments.power);
    *site = (vqc_sequence_site){0};
}
