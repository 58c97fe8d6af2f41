/*
 * Vector quantization of one weight matrix: how it is cut, what a code is. What the tensor of a
 * model has to do with the matrix is core/vq/vq_layout.h; how codebooks are trained, vq_fit.h.
 */
#ifndef VQC_CORE_VQ_VQ_TYPES_H
#define VQC_CORE_VQ_VQ_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VQC_VQ_MAX_DIM = 32, VQC_VQ_MAX_STAGES = 4, VQC_VQ_MAX_CODEBOOK = 65536 };

/* How codewords are stored. */
typedef enum vqc_vq_storage {
    VQC_VQ_STORAGE_FLOAT32,
    VQC_VQ_STORAGE_FLOAT16,
    VQC_VQ_STORAGE_INT8 /* int8 codes -127..127 times one float32 scale per codebook */
} vqc_vq_storage;

/*
 * W [rows, cols] row-major: rows are outputs of the operator, cols what it sums over. A sub-vector
 * is `dim` neighbouring columns of a row, or (down_rows) `dim` neighbouring rows of a column. The
 * last sub-vector of a line may be short: its missing entries are of no importance, and decode to
 * whatever the codeword holds there.
 *
 * lines: rows, or columns when down_rows. Sub-vectors are numbered line by line:
 * v = line * blocks + block, blocks = ceil(line length / dim).
 *
 * Codebooks: line_groups x block_groups of them per stage; the lines are cut in line_groups runs of
 * ceil(lines / line_groups), the blocks of a line in block_groups runs of ceil(blocks /
 * block_groups). Codebook of sub-vector v: (line group * block_groups + block group).
 * All stages have the same number of codewords; a weight is row_scale[row] * the sum over the
 * stages.
 */
typedef struct vqc_vq_shape {
    size_t rows;
    size_t cols;
    size_t dim;
    bool down_rows;
    size_t codebook_size; /* K: 2..65536, any number */
    size_t stages;        /* 1..VQC_VQ_MAX_STAGES */
    size_t line_groups;
    size_t block_groups;
    bool row_scales;
    vqc_vq_storage storage;
    /*
     * Only the weights that are not 0 are coded (dim > 1; one codebook, no row scales; else of no
     * effect): packed - 1 of them, in the order in which the layout stores them, as one line behind
     * one entry of no importance. 0: all are.
     */
    size_t packed;
    /* Weights that are 0 decode to exactly 0, whatever their codeword holds: a bit per weight is
     * stored beside the indices. */
    bool is_masked;
    int int8_limit; /* largest int8 code of a codeword, 1..127; 0: 127 */
} vqc_vq_shape;

/* A coded matrix; arrays belong to the arena given to vqc_vq_fit. */
typedef struct vqc_vq_code {
    vqc_vq_shape shape;
    size_t books;      /* per stage: line_groups * block_groups */
    size_t vectors;    /* lines * blocks */
    uint16_t *indices; /* [stages][vectors], each < codebook_size */
    float *codebooks;  /* [stages][books][codebook_size][dim], exactly as decoding will see them */
    /* the stored form of the codebooks, NULL for float32 */
    uint16_t *codebooks_f16;
    int8_t *codebooks_int8;
    float *book_scales; /* [stages][books] of int8 codebooks */
    float *row_scales;  /* [rows] exactly representable in float16; NULL without */
    uint32_t *kept;     /* [shape.packed - 1] of packed shapes: where each weight is in W, lines one
                           after the other; ascending. NULL: not packed */
    uint8_t *mask; /* [rows, cols] of masked shapes: 0 where the weight is 0. NULL: not masked */
} vqc_vq_code;

/* Whether only the weights that are not 0 are coded. */
bool vqc_vq_is_packed(const vqc_vq_shape *shape);

/* Where packed weight `i` is in W [rows, cols]. */
size_t vqc_vq_kept_place(const vqc_vq_code *code, size_t i);

/* Lines, blocks per line, sub-vectors, and codebooks per stage of a shape. */
size_t vqc_vq_lines(const vqc_vq_shape *shape);
size_t vqc_vq_blocks(const vqc_vq_shape *shape);
size_t vqc_vq_vectors(const vqc_vq_shape *shape);
size_t vqc_vq_books(const vqc_vq_shape *shape);
/* The codebook (within its stage) that sub-vector `vector` uses. */
size_t vqc_vq_book_of(const vqc_vq_shape *shape, size_t vector);
/* Bits of one stored index: ceil(log2(codebook_size)). */
int vqc_vq_index_bits(const vqc_vq_shape *shape);

/* Decodes into W [rows, cols]: products and sums in float32, stage by stage in order, then times
 * the row's scale (for int8 codebooks the codebook's values already include the codebook's scale);
 * 0 where the mask is. */
void vqc_vq_decode(const vqc_vq_code *code, float *matrix);

#endif
