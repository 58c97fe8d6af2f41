#include "core/codec/grouping.h"

#include <string.h>

enum { TILE_ELEMENTS = 64 * 1024 };

vqc_grouping vqc_grouping_tensor(size_t elements)
{
    return vqc_grouping_channel(1, 1, elements);
}

vqc_grouping vqc_grouping_channel(size_t outer, size_t channels, size_t inner)
{
    vqc_grouping grouping = {outer, channels, inner, 1, channels, false};
    return grouping;
}

vqc_grouping vqc_grouping_block(size_t pre, size_t len, size_t post, size_t block)
{
    vqc_grouping grouping = {pre, len, post, block > len && len > 0 ? len : block, 0, true};
    grouping.blocks = len / grouping.block + (len % grouping.block != 0 ? 1 : 0);
    return grouping;
}

size_t vqc_grouping_count(const vqc_grouping *grouping)
{
    return grouping->is_blocked ? grouping->pre * grouping->blocks * grouping->post : grouping->len;
}

/* A growing list of tiles; after a failed allocation `failed` stays set. */
typedef struct tile_list {
    vqc_arena *arena;
    vqc_tile *tiles;
    size_t count;
    size_t capacity;
    size_t *unit_start;
    size_t units;
    size_t unit_capacity;
    bool failed;
} tile_list;

static void *grown(vqc_arena *arena, const void *old, size_t count, size_t *capacity, size_t bytes)
{
    size_t wanted = *capacity == 0 ? 64 : *capacity * 2;
    void *items = vqc_arena_calloc(arena, wanted, bytes);
    if (items != NULL && count > 0) {
        memcpy(items, old, count * bytes);
    }
    *capacity = wanted;
    return items;
}

static void begin_unit(tile_list *list)
{
    if (!list->failed && list->units == list->unit_capacity) {
        list->unit_start =
            grown(list->arena, list->unit_start, list->units, &list->unit_capacity, sizeof(size_t));
        list->failed = list->unit_start == NULL;
    }
    if (!list->failed) {
        list->unit_start[list->units++] = list->count;
    }
}

static void add_tile(tile_list *list, vqc_tile tile)
{
    if (!list->failed && list->count == list->capacity) {
        list->tiles = grown(list->arena, list->tiles, list->count, &list->capacity, sizeof tile);
        list->failed = list->tiles == NULL;
    }
    if (!list->failed) {
        list->tiles[list->count++] = tile;
    }
}

static size_t at_least_one(size_t value)
{
    return value == 0 ? 1 : value;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* One scale per row of a [rows, cols] matrix that lies `offset` into the weight. */
static void tile_rows(tile_list *list, size_t offset, size_t rows, size_t cols, size_t param)
{
    size_t step = at_least_one(TILE_ELEMENTS / at_least_one(cols));
    for (size_t r = 0; r < rows; r += step) {
        size_t n = smaller(step, rows - r);
        begin_unit(list);
        if (n == 1 && cols > TILE_ELEMENTS) { /* long rows are cut too; one unit, one parameter */
            for (size_t c = 0; c < cols; c += TILE_ELEMENTS) {
                add_tile(list, (vqc_tile){offset + r * cols + c, 1,
                                          smaller(TILE_ELEMENTS, cols - c), cols, param + r, true});
            }
        } else {
            add_tile(list, (vqc_tile){offset + r * cols, n, cols, cols, param + r, true});
        }
    }
}

/* One scale per column of [rows, cols]: units are column strips, so that each parameter stays in
 * one. */
static void tile_columns(tile_list *list, size_t offset, size_t rows, size_t cols, size_t param)
{
    size_t strip = cols <= 1024 ? cols : 512;
    size_t step = at_least_one(TILE_ELEMENTS / at_least_one(strip));
    for (size_t c = 0; c < cols; c += strip) {
        size_t width = smaller(strip, cols - c);
        begin_unit(list);
        for (size_t r = 0; r < rows; r += step) {
            add_tile(list, (vqc_tile){offset + r * cols + c, smaller(step, rows - r), width, cols,
                                      param + c, false});
        }
    }
}

static void tile_channels(tile_list *list, const vqc_grouping *g)
{
    if (g->post == 1 && g->pre > 1) {
        tile_columns(list, 0, g->pre, g->len, 0);
    } else if (g->pre == 1) {
        tile_rows(list, 0, g->len, g->post, 0);
    } else {
        for (size_t c = 0; c < g->len; c++) { /* channels in the middle: ConvTranspose, few */
            begin_unit(list);
            for (size_t i = 0; i < g->pre; i++) {
                add_tile(list,
                         (vqc_tile){(i * g->len + c) * g->post, 1, g->post, g->post, c, true});
            }
        }
    }
}

static void tile_blocks(tile_list *list, const vqc_grouping *g)
{
    if (g->post == 1 && g->len % g->block == 0) {
        tile_rows(list, 0, g->pre * g->blocks, g->block, 0);
        return;
    }
    for (size_t i = 0; i < g->pre; i++) {
        size_t base = i * g->len * g->post;
        size_t param = i * g->blocks * g->post;
        if (g->post == 1) {
            size_t full = g->len / g->block;
            tile_rows(list, base, full, g->block, param);
            tile_rows(list, base + full * g->block, 1, g->len - full * g->block, param + full);
            continue;
        }
        for (size_t k = 0; k < g->blocks; k++) {
            size_t rows = smaller(g->block, g->len - k * g->block);
            tile_columns(list, base + k * g->block * g->post, rows, g->post, param + k * g->post);
        }
    }
}

vqc_status vqc_grouping_tiles(const vqc_grouping *grouping, vqc_arena *arena, vqc_tile **tiles,
                              size_t *count, size_t **unit_start, size_t *units, vqc_error *error)
{
    tile_list list = {.arena = arena};

    if (grouping->is_blocked) {
        tile_blocks(&list, grouping);
    } else {
        tile_channels(&list, grouping);
    }
    begin_unit(&list); /* the end mark */
    if (list.failed) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "out of memory while planning a layer");
    }
    *tiles = list.tiles;
    *count = list.count;
    *unit_start = list.unit_start;
    *units = list.units - 1;
    return VQC_OK;
}

vqc_group_shape vqc_grouping_shape(const vqc_grouping *g, size_t index)
{
    vqc_group_shape shape;

    if (!g->is_blocked) {
        shape = (vqc_group_shape){index * g->post, g->pre, g->len * g->post, g->post, 1};
    } else {
        size_t post = index % g->post;
        size_t block = index / g->post % g->blocks;
        size_t pre = index / g->post / g->blocks;
        size_t rows = smaller(g->block, g->len - block * g->block);
        shape = (vqc_group_shape){(pre * g->len + block * g->block) * g->post + post, 1, 0, rows,
                                  g->post};
    }
    return shape;
}

size_t vqc_grouping_size(const vqc_grouping *grouping, size_t index)
{
    vqc_group_shape shape = vqc_grouping_shape(grouping, index);
    return shape.segments * shape.run;
}

size_t vqc_grouping_gather(const vqc_grouping *grouping, size_t index, const float *weights,
                           float *out, size_t capacity)
{
    vqc_group_shape shape = vqc_grouping_shape(grouping, index);
    size_t total = shape.segments * shape.run;
    size_t wanted = smaller(total, capacity);

    if (shape.step == 1 && shape.segments == 1 && wanted == total) {
        memcpy(out, (const char *)weights + shape.start * sizeof *out, total * sizeof *out);
        return total;
    }
    for (size_t i = 0; i < wanted; i++) {
        /* even sampling; i * total fits: both are counts of floats in memory, wanted <= 2^20 */
        size_t at = wanted == total ? i : (size_t)((uint64_t)i * total / wanted);
        size_t place = shape.start + at / shape.run * shape.gap + at % shape.run * shape.step;
        memcpy(&out[i], (const char *)weights + place * sizeof *out, sizeof *out);
    }
    return wanted;
}
