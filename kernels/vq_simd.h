/*
 * The nearest-codeword kernels, written once over a vector of 16 float lanes: points in lanes,
 * codewords broadcast. A pass over the codewords keeps the smallest value and the block of 8
 * codewords that it came from; then the place within the block is found by computing that block
 * again, codewords in lanes (vq_block_find of vq_ISA.h, the same chains and therefore the same
 * bits). Per block that leaves one comparison and one selection, and minima run beside
 * multiply-adds on current cores.
 */
#ifndef VQC_KERNELS_VQ_SIMD_H
#define VQC_KERNELS_VQ_SIMD_H

enum {
    VQ_CHUNK_PANELS = 32, /* points whose state is kept between tiles of codewords */
    VQ_TILE_FLOATS = 4096 /* of codewords: half of a small first-level cache */
};

/* Four codewords against a panel: columns c[0 .. 3] of a block. */
VQC_INLINE vf vq_scan_four(const float *c, const float *x, size_t dim, vf best)
{
    vf a0 = vf_set(c[0]), a1 = vf_set(c[1]), a2 = vf_set(c[2]), a3 = vf_set(c[3]);
#pragma GCC unroll 4
    for (size_t i = 0; i < dim; i++, x += VQC_NEAREST_POINTS) {
        c += VQC_NEAREST_CODEWORDS;
        const vf v = vf_load(x);
        a0 = mf_fma(v, vf_set(c[0]), a0);
        a1 = mf_fma(v, vf_set(c[1]), a1);
        a2 = mf_fma(v, vf_set(c[2]), a2);
        a3 = mf_fma(v, vf_set(c[3]), a3);
    }
    /* A NaN as first operand gives the second. */
    return vf_min(a3, vf_min(a2, vf_min(a1, vf_min(a0, best))));
}

/* Blocks first .. last-1 against a panel. */
VQC_INLINE void vq_scan_tile(const float *book, const float *x, size_t dim, size_t first,
                             size_t last, vf *best, vi *block)
{
    const size_t step = (dim + 1) * VQC_NEAREST_CODEWORDS;
    vf smallest = *best;
    vi where = *block;
    for (size_t b = first; b < last; b++) {
        const float *c = book + b * step;
        vf next = vq_scan_four(c, x, dim, smallest);
        next = vq_scan_four(c + 4, x, dim, next);
        where = vi_select(mf_gt(smallest, next), vi_set((int32_t)b), where);
        smallest = next;
    }
    *best = smallest;
    *block = where;
}

/* Places within the blocks that won. */
VQC_INLINE void vq_find_codes(const vqc_nearest *job, size_t dim, size_t begin, size_t count,
                              const float *best, const int32_t *block)
{
    const size_t step = (dim + 1) * VQC_NEAREST_CODEWORDS;
    for (size_t i = 0; i < count; i++) {
        const size_t p = begin + i;
        const float *x =
            job->x + p / VQC_NEAREST_POINTS * dim * VQC_NEAREST_POINTS + p % VQC_NEAREST_POINTS;
        const size_t b = block[i] < 0 ? 0 : (size_t)block[i];
        const unsigned place = vq_block_find(job->book + b * step, x, dim, best[i]);
        job->codes[p] = (uint16_t)(block[i] < 0 ? 0 : b * VQC_NEAREST_CODEWORDS + place);
    }
    if (job->values != NULL)
        memcpy(job->values + begin, best, count * sizeof *best);
}

VQC_INLINE void vq_nearest(const vqc_nearest *job, size_t dim)
{
    enum { POINTS = VQ_CHUNK_PANELS * VQC_NEAREST_POINTS };
    vf best[VQ_CHUNK_PANELS];
    vi block[VQ_CHUNK_PANELS];
    float values[POINTS];
    int32_t blocks[POINTS];
    const size_t total = (job->count + VQC_NEAREST_CODEWORDS - 1) / VQC_NEAREST_CODEWORDS;
    const size_t tile = VQ_TILE_FLOATS / ((dim + 1) * VQC_NEAREST_CODEWORDS);
    for (size_t begin = 0; begin < job->n; begin += POINTS) {
        const size_t count = vqc_min_size(POINTS, job->n - begin);
        const size_t panels = (count + VQC_NEAREST_POINTS - 1) / VQC_NEAREST_POINTS;
        const float *x = job->x + begin * dim;
        for (size_t p = 0; p < panels; p++) {
            best[p] = vf_set(INFINITY);
            block[p] = vi_set(-1);
        }
        for (size_t first = 0; first < total; first += tile)
            for (size_t p = 0; p < panels; p++)
                vq_scan_tile(job->book, x + p * dim * VQC_NEAREST_POINTS, dim, first,
                             vqc_min_size(total, first + tile), &best[p], &block[p]);
        for (size_t p = 0; p < panels; p++) {
            vf_store(values + p * VQC_NEAREST_POINTS, best[p]);
            vi_store(blocks + p * VQC_NEAREST_POINTS, block[p]);
        }
        vq_find_codes(job, dim, begin, count, values, blocks);
    }
}

#define NEAREST(name, dim)                                                                         \
    void KERNEL(name)(const vqc_nearest *job)                                                      \
    {                                                                                              \
        vq_nearest(job, dim);                                                                      \
    }
NEAREST(f32_nearest, job->dim)
NEAREST(f32_nearest_1, 1)
NEAREST(f32_nearest_2, 2)
NEAREST(f32_nearest_4, 4)
NEAREST(f32_nearest_8, 8)
NEAREST(f32_nearest_16, 16)
#undef NEAREST

#endif
