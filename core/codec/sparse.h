/*
 * Sparse storage of a coded weight: only the codes of kept weights are in the file, and the graph
 * puts zeros between them (core/emit/emit_sparse.c). A weight that is exactly zero is not kept.
 */
#ifndef VQC_CORE_CODEC_SPARSE_H
#define VQC_CORE_CODEC_SPARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/memory.h"

typedef enum vqc_sparse_form {
    VQC_SPARSE_NONE, /* dense: every code is stored */
    VQC_SPARSE_GAPS, /* the distance of every kept weight to the one before, `gap_bits` each */
    VQC_SPARSE_MASK  /* a bit per weight: 1 where it is kept */
} vqc_sparse_form;

enum {
    VQC_SPARSE_MIN_GAP_BITS = 2,
    VQC_SPARSE_MAX_GAP_BITS = 16,
    VQC_SPARSE_OPSET = 11 /* CumSum, ScatterElements and BitShift are there */
};

/* The width of gaps above `bits`: 2 to 8 and 16 are stored; 0 behind the last. */
int vqc_sparse_next_gap_bits(int bits);

/* What is kept, and how many entries each width of gaps takes. */
typedef struct vqc_sparse_counts {
    size_t elements;
    size_t kept;
    size_t entries[VQC_SPARSE_MAX_GAP_BITS + 1]; /* by width of a gap */
} vqc_sparse_counts;

/*
 * How one weight is stored. `entries` codes are in the file: the kept ones in the order of the
 * tensor, and
 * - GAPS: where a distance is more than 2^gap_bits - 1, entries in between at that distance, whose
 *   code is that of the zero there; one entry at least;
 * - MASK: in front of them the code of a zero.
 */
typedef struct vqc_sparse {
    vqc_sparse_form form;
    int gap_bits;
    size_t elements;
    size_t kept;
    size_t entries;
    /* MASK: a bit per block of `block_rows` lines of `line` codes by block_cols codes; these divide
     * their number. What is 0 in a block that is not all 0 is kept. 1, 1: a bit per weight */
    size_t line, block_rows, block_cols;
    const uint32_t *positions; /* [entries] which code of the tensor each entry is; ascending, but
                                  for the first of MASK; NULL: only sizes are known */
} vqc_sparse;

/* Counts for weights x[n] (may be unaligned): kept is what is not 0. */
void vqc_sparse_count(const float *x, size_t n, vqc_sparse_counts *counts);

/* The storage of these counts in that form (gap_bits: of GAPS), without positions. */
vqc_sparse vqc_sparse_of(const vqc_sparse_counts *counts, vqc_sparse_form form, int gap_bits);

/* Finds the positions for x[n], the weights that were counted; they live in `arena`. Errors: out of
 * memory, VQC_ERR_INTERNAL when x is not what was counted. */
vqc_status vqc_sparse_locate(vqc_sparse *sparse, const float *x, vqc_arena *arena,
                             vqc_error *error);

/* gaps [entries] of a GAPS storage with positions: the first from element 0. uint8, or uint16 where
 * they have 16 bits. */
void vqc_sparse_gaps(const vqc_sparse *sparse, void *gaps);

/* mask [elements] (0 or 1) of a MASK storage with positions. */
void vqc_sparse_mask(const vqc_sparse *sparse, uint8_t *mask);

/* Bits of a MASK storage: one per block, and which, mask [vqc_sparse_blocks]. */
size_t vqc_sparse_blocks(const vqc_sparse *sparse);
void vqc_sparse_block_mask(const vqc_sparse *sparse, uint8_t *mask);

/* out [n] is 0 where the block of x[n] (may be unaligned) is all 0, else 1. Returns how many are 0.
 */
size_t vqc_sparse_fill_blocks(const float *x, size_t n, size_t line, size_t block_rows,
                              size_t block_cols, float *out);

/* The stored codes out [entries] from all codes [elements], item_bytes (1, 2, 4 or 8) each. */
void vqc_sparse_gather(const vqc_sparse *sparse, const void *codes, size_t item_bytes, void *out);

/* "5-bit gaps", "bit mask", "" when dense. */
const char *vqc_sparse_name(const vqc_sparse *sparse);

#endif
