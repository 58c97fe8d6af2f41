/* C reference of the nearest-codeword kernels (kernels/vq_kernel_types.h). */
#include <math.h>

#include "kernels/kernels.h"

static void nearest(const vqc_nearest *job, size_t dim)
{
    enum { POINTS = VQC_NEAREST_POINTS, WORDS = VQC_NEAREST_CODEWORDS };
    for (size_t p = 0; p < job->n; p++) {
        const float *x = job->x + p / POINTS * dim * POINTS + p % POINTS;
        float best = INFINITY;
        size_t code = 0;
        for (size_t k = 0; k < job->count; k++) {
            const float *c = job->book + k / WORDS * (dim + 1) * WORDS + k % WORDS;
            float v = c[0];
            for (size_t i = 0; i < dim; i++)
                v = fmaf(x[i * POINTS], c[(i + 1) * WORDS], v);
            if (v < best) {
                best = v;
                code = k;
            }
        }
        job->codes[p] = (uint16_t)code;
        if (job->values != NULL)
            job->values[p] = best;
    }
}

#define NEAREST(name, dim)                                                                         \
    void vqc_##name##__c(const vqc_nearest *job)                                                   \
    {                                                                                              \
        nearest(job, dim);                                                                         \
    }
NEAREST(f32_nearest, job->dim)
NEAREST(f32_nearest_1, 1)
NEAREST(f32_nearest_2, 2)
NEAREST(f32_nearest_4, 4)
NEAREST(f32_nearest_8, 8)
NEAREST(f32_nearest_16, 16)
