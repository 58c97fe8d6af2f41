/* Who gets how many bits: one option per layer, so that the noise of all together is least. */
#ifndef VQC_CORE_VQ_ALLOCATE_H
#define VQC_CORE_VQ_ALLOCATE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/memory.h"

/* One way to code a layer. */
typedef struct vqc_choice {
    size_t size_bytes;
    double noise; /* what it adds to the noise of the model's output, >= 0 */
} vqc_choice;

/* The ways to code one layer, in any order. */
typedef struct vqc_choices {
    const vqc_choice *options; /* [count], count >= 1 */
    size_t count;
} vqc_choices;

/*
 * Picks options [count] (indices into each layer's choices). Bytes are spent where they take away
 * most noise per byte, along the lower convex hull of each layer's options, until no next step
 * fits into budget_bytes, or (wanted_noise > 0) until the sum of the noise is at most
 * wanted_noise. Starts from each layer's smallest option, whatever the budget. Returns in
 * *size_bytes and *noise the sums of what was picked. Errors: out of memory. Source: Shoham and
 * Gersho 1988.
 */
vqc_status vqc_allocate(const vqc_choices *layers, size_t count, size_t budget_bytes,
                        double wanted_noise, size_t *picked, size_t *size_bytes, double *noise,
                        vqc_error *error);

/*
 * Expected SQNR, in dB, of unit Gaussian weights coded with codebook_size codewords of `dim`
 * weights: 20 log10(2) per bit, less what cells of few dimensions lose (Panter-Dite for one,
 * measured for more). For differences between options, not for promises.
 */
double vqc_codebook_sqnr_db(size_t dim, size_t codebook_size);

#endif
