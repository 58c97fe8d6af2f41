/* Which weights share a scale: one description for per tensor, per channel and per block. */
#ifndef VQC_CORE_CODEC_GROUPING_H
#define VQC_CORE_CODEC_GROUPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/memory.h"
#include "kernels/kernels.h"

/*
 * The weight is seen as [pre, len, post], row-major. Blocks of `block` indices along len (the last
 * may be shorter). is_blocked: a scale for every (pre, block, post), scales [pre, blocks, post].
 * Otherwise block = 1 and pre and post share: a scale for every index of len, scales [len] (per
 * channel; per tensor is len = 1).
 */
typedef struct vqc_grouping {
    size_t pre;
    size_t len;
    size_t post;
    size_t block;
    size_t blocks; /* ceil(len / block) */
    bool is_blocked;
} vqc_grouping;

/* One scale for all n weights. */
vqc_grouping vqc_grouping_tensor(size_t elements);
/* One scale per index of the middle axis of [outer, channels, inner]. */
vqc_grouping vqc_grouping_channel(size_t outer, size_t channels, size_t inner);
/* Blocks along the middle axis of [pre, len, post]; block is cut to len. */
vqc_grouping vqc_grouping_block(size_t pre, size_t len, size_t post, size_t block);

/* Number of scales. */
size_t vqc_grouping_count(const vqc_grouping *grouping);

/*
 * A rectangle of weights that one kernel call handles: rows x cols at x + offset with `stride`
 * between rows; parameters start at `param`, one per row (by_row) or one per column.
 */
typedef struct vqc_tile {
    size_t offset;
    size_t rows;
    size_t cols;
    size_t stride;
    size_t param;
    bool by_row;
} vqc_tile;

/*
 * Cuts the weight into tiles of about 64 Ki elements; the cut does not depend on the number of
 * threads. *tiles: [*count] in arena. Tiles that share parameters form one unit: unit u is the
 * tiles
 * [(*unit_start)[u], (*unit_start)[u + 1]), and units may run in parallel.
 */
vqc_status vqc_grouping_tiles(const vqc_grouping *grouping, vqc_arena *arena, vqc_tile **tiles,
                              size_t *count, size_t **unit_start, size_t *units, vqc_error *error);

/* Where a group lies: `segments` runs of `run` elements, `gap` from one start to the next,
 * beginning at `start`, every element `step` from the one before. */
typedef struct vqc_group_shape {
    size_t start;
    size_t segments;
    size_t gap;
    size_t run;
    size_t step;
} vqc_group_shape;

vqc_group_shape vqc_grouping_shape(const vqc_grouping *grouping, size_t index);

/* Elements of group `index`, at most `capacity`, sampled evenly when there are more; returns how
 * many. */
size_t vqc_grouping_gather(const vqc_grouping *grouping, size_t index, const float *weights,
                           float *out, size_t capacity);

/*
 * Layers from this size on are coded by several threads. Below, waking and joining them costs more
 * than it saves, and on a busy machine very much more: libgomp's threads spin while they wait
 * (mobilenetv2 on two cores with a load of 8: 2.0 s with threads for every layer, 0.16 s with one).
 */
#define VQC_PARALLEL_ELEMENTS ((size_t)1 << 20)
/* The same where every weight is looked at many times (range search). */
#define VQC_PARALLEL_SEARCH_ELEMENTS ((size_t)1 << 16)

/* Elements of group `index`. */
size_t vqc_grouping_size(const vqc_grouping *grouping, size_t index);

#endif
