#include "core/codec/sparse.h"

#include <string.h>

static float value_at(const float *x, size_t i)
{
    float value;

    memcpy(&value, (const char *)x + i * sizeof value, sizeof value);
    return value;
}

static size_t longest_gap(int bits)
{
    return ((size_t)1 << bits) - 1;
}

/* Entries that lie between two neighbours at this distance. */
static size_t steps_between(size_t gap, int bits)
{
    return gap == 0 ? 0 : (gap - 1) / longest_gap(bits);
}

int vqc_sparse_next_gap_bits(int bits)
{
    return bits < 8 ? bits + 1 : bits == 8 ? VQC_SPARSE_MAX_GAP_BITS : 0;
}

void vqc_sparse_count(const float *x, size_t n, vqc_sparse_counts *counts)
{
    size_t last = 0;

    *counts = (vqc_sparse_counts){.elements = n};
    for (size_t i = 0; i < n; i++) {
        if (value_at(x, i) == 0.0f) {
            continue;
        }
        for (int b = VQC_SPARSE_MIN_GAP_BITS; i - last > 3 && b != 0;
             b = vqc_sparse_next_gap_bits(b)) {
            counts->entries[b] += steps_between(i - last, b);
        }
        counts->kept++;
        last = i;
    }
    for (int b = VQC_SPARSE_MIN_GAP_BITS; b != 0; b = vqc_sparse_next_gap_bits(b)) {
        counts->entries[b] += counts->kept == 0 ? 1 : counts->kept;
    }
}

vqc_sparse vqc_sparse_of(const vqc_sparse_counts *counts, vqc_sparse_form form, int gap_bits)
{
    return (vqc_sparse){
        .form = form,
        .gap_bits = gap_bits,
        .elements = counts->elements,
        .kept = counts->kept,
        .line = counts->elements,
        .block_rows = 1,
        .block_cols = 1,
        .entries = form == VQC_SPARSE_GAPS   ? counts->entries[gap_bits]
                   : form == VQC_SPARSE_MASK ? counts->kept + 1
                                             : counts->elements,
    };
}

/* The first weight that is 0; the first of all when none is. */
static uint32_t first_zero(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (value_at(x, i) == 0.0f) {
            return (uint32_t)i;
        }
    }
    return 0;
}

vqc_status vqc_sparse_locate(vqc_sparse *sparse, const float *x, vqc_arena *arena, vqc_error *error)
{
    uint32_t *positions = vqc_arena_calloc(arena, sparse->entries + 1, sizeof *positions);
    bool gaps = sparse->form == VQC_SPARSE_GAPS;
    size_t last = 0;
    size_t count = 0;

    if (positions == NULL) {
        return vqc_fail_memory(error, sparse->entries * sizeof *positions);
    }
    if (!gaps) {
        positions[count++] = first_zero(x, sparse->elements);
    }
    for (size_t i = 0; i < sparse->elements; i++) {
        if (value_at(x, i) == 0.0f) {
            continue;
        }
        while (gaps && i - last > longest_gap(sparse->gap_bits) && count < sparse->entries) {
            last += longest_gap(sparse->gap_bits);
            positions[count++] = (uint32_t)last;
        }
        if (count == sparse->entries) {
            return vqc_fail(error, VQC_ERR_INTERNAL, "got more than %zu codes to store", count);
        }
        positions[count++] = (uint32_t)i;
        last = i;
    }
    count = count == 0 ? 1 : count; /* all are 0: the first of them */
    if (count != sparse->entries) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "got %zu codes to store, expected %zu", count,
                        sparse->entries);
    }
    sparse->positions = positions;
    return VQC_OK;
}

void vqc_sparse_gaps(const vqc_sparse *sparse, void *gaps)
{
    bool is_wide = sparse->gap_bits > 8;
    uint32_t last = 0;

    for (size_t i = 0; i < sparse->entries; i++) {
        uint16_t gap = (uint16_t)(sparse->positions[i] - last);
        if (is_wide) {
            memcpy((unsigned char *)gaps + i * sizeof gap, &gap, sizeof gap);
        } else {
            ((uint8_t *)gaps)[i] = (uint8_t)gap;
        }
        last = sparse->positions[i];
    }
}

void vqc_sparse_mask(const vqc_sparse *sparse, uint8_t *mask)
{
    memset(mask, 0, sparse->elements);
    for (size_t i = 1; i < sparse->entries; i++) {
        mask[sparse->positions[i]] = 1;
    }
}

size_t vqc_sparse_blocks(const vqc_sparse *sparse)
{
    return sparse->elements / (sparse->block_rows * sparse->block_cols);
}

void vqc_sparse_block_mask(const vqc_sparse *sparse, uint8_t *mask)
{
    size_t across = sparse->line / sparse->block_cols;

    memset(mask, 0, vqc_sparse_blocks(sparse));
    for (size_t i = 1; i < sparse->entries; i++) {
        size_t row = sparse->positions[i] / sparse->line / sparse->block_rows;
        size_t col = sparse->positions[i] % sparse->line / sparse->block_cols;
        mask[row * across + col] = 1;
    }
}

size_t vqc_sparse_fill_blocks(const float *x, size_t n, size_t line, size_t block_rows,
                              size_t block_cols, float *out)
{
    size_t zeros = 0;

    for (size_t at = 0; at < n; at += block_cols) { /* every block from its first code */
        bool is_kept = false;
        if (at / line % block_rows != 0) {
            continue;
        }
        for (size_t r = 0; r < block_rows && !is_kept; r++) {
            for (size_t c = 0; c < block_cols; c++) {
                is_kept = is_kept || value_at(x, at + r * line + c) != 0.0f;
            }
        }
        for (size_t r = 0; r < block_rows; r++) {
            for (size_t c = 0; c < block_cols; c++) {
                out[at + r * line + c] = is_kept ? 1.0f : 0.0f;
            }
        }
        zeros += is_kept ? 0 : block_rows * block_cols;
    }
    return zeros;
}

/* Inlined with a width that the compiler knows. */
static inline void gather_items(const vqc_sparse *sparse, const unsigned char *codes, size_t width,
                                unsigned char *out)
{
    for (size_t i = 0; i < sparse->entries; i++) {
        memcpy(out + i * width, codes + sparse->positions[i] * width, width);
    }
}

void vqc_sparse_gather(const vqc_sparse *sparse, const void *codes, size_t item_bytes, void *out)
{
    switch (item_bytes) {
    case 1:
        gather_items(sparse, codes, 1, out);
        break;
    case 2:
        gather_items(sparse, codes, 2, out);
        break;
    case 4:
        gather_items(sparse, codes, 4, out);
        break;
    default:
        gather_items(sparse, codes, 8, out);
        break;
    }
}

const char *vqc_sparse_name(const vqc_sparse *sparse)
{
    static const char *const gaps[VQC_SPARSE_MAX_GAP_BITS + 1] = {
        [2] = "2-bit gaps", [3] = "3-bit gaps", [4] = "4-bit gaps", [5] = "5-bit gaps",
        [6] = "6-bit gaps", [7] = "7-bit gaps", [8] = "8-bit gaps", [16] = "16-bit gaps"};

    return sparse->form == VQC_SPARSE_GAPS ? gaps[sparse->gap_bits]
           : sparse->form == VQC_SPARSE_MASK
               ? (sparse->block_rows * sparse->block_cols > 1 ? "block mask" : "bit mask")
               : "";
}
