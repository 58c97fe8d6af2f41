/* Which weights share a scale: tiles, groups, sizes and gathering against plain indexing. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/codec/grouping.h"
#include "tests/unit/model_builder.h"

/* Group of element (pre, len, post): the definition. */
static size_t group_of(const vqc_grouping *g, size_t element)
{
    size_t post = element % g->post;
    size_t len = element / g->post % g->len;
    size_t pre = element / g->post / g->len;

    return g->is_blocked ? (pre * g->blocks + len / g->block) * g->post + post : len;
}

static size_t elements_of(const vqc_grouping *g)
{
    return g->pre * g->len * g->post;
}

/* Every element in exactly one tile with the right parameter, no parameter in two units. */
static void check_tiles(const vqc_grouping *g)
{
    size_t n = elements_of(g);
    size_t groups = vqc_grouping_count(g);
    vqc_arena *arena = vqc_arena_create();
    unsigned char *seen = vqc_arena_calloc(arena, n + 1, 1);
    size_t *owner = vqc_arena_calloc(arena, groups + 1, sizeof *owner);
    vqc_tile *tiles = NULL;
    size_t *unit_start = NULL;
    size_t count;
    size_t units;
    vqc_error error;

    cr_assert(seen != NULL && owner != NULL);
    cr_assert_eq(vqc_grouping_tiles(g, arena, &tiles, &count, &unit_start, &units, &error), VQC_OK);
    cr_assert_eq(unit_start[units], count);
    cr_assert(units == 0 || unit_start[0] == 0);
    for (size_t u = 0; u < units; u++) {
        cr_assert_leq(unit_start[u], unit_start[u + 1]);
        for (size_t t = unit_start[u]; t < unit_start[u + 1]; t++) {
            const vqc_tile *tile = &tiles[t];
            cr_assert_leq(tile->rows * tile->cols, (size_t)128 * 1024, "tiles stay small");
            for (size_t r = 0; r < tile->rows; r++) {
                for (size_t c = 0; c < tile->cols; c++) {
                    size_t at = tile->offset + r * tile->stride + c;
                    size_t param = tile->param + (tile->by_row ? r : c);
                    if (at >= n || seen[at] != 0 || param != group_of(g, at)) {
                        cr_assert_fail("[%zu, %zu, %zu] block %zu: element %zu of %zu, seen %d, "
                                       "parameter %zu, wanted %zu",
                                       g->pre, g->len, g->post, g->block, at, n,
                                       at < n ? seen[at] : -1, param, at < n ? group_of(g, at) : 0);
                    }
                    seen[at] = 1;
                    if (owner[param] != 0 && owner[param] != u + 1) {
                        cr_assert_fail("parameter %zu is in units %zu and %zu", param,
                                       owner[param] - 1, u);
                    }
                    owner[param] = u + 1;
                }
            }
        }
    }
    cr_assert(n == 0 || memchr(seen, 0, n) == NULL, "[%zu, %zu, %zu] block %zu: element left out",
              g->pre, g->len, g->post, g->block);
    vqc_arena_destroy(&arena);
}

/* Gathering and sizes of (some of) the groups. */
static void check_groups(const vqc_grouping *g)
{
    size_t n = elements_of(g);
    size_t groups = vqc_grouping_count(g);
    vqc_arena *arena = vqc_arena_create();
    float *memory = vqc_arena_calloc(arena, n + 2, sizeof(float));
    float *weights = (float *)(void *)((char *)memory + 1); /* may be unaligned */
    float *out = vqc_arena_calloc(arena, n + 1, sizeof *out);
    float *wanted = vqc_arena_calloc(arena, n + 1, sizeof *wanted);
    size_t step = groups / 40 + 1;
    size_t total = 0;

    cr_assert(memory != NULL && out != NULL && wanted != NULL);
    for (size_t i = 0; i < n; i++) {
        float value = (float)i;
        memcpy((char *)weights + i * sizeof value, &value, sizeof value);
    }
    for (size_t index = 0; index < groups; index++) {
        total += vqc_grouping_size(g, index);
    }
    cr_assert_eq(total, n);
    for (size_t index = 0; index < groups; index += step) {
        size_t count = 0;
        size_t capacity;
        size_t got;
        for (size_t i = 0; i < n; i++) {
            if (group_of(g, i) == index) {
                wanted[count++] = (float)i;
            }
        }
        cr_assert_eq(vqc_grouping_size(g, index), count);
        cr_assert_eq(vqc_grouping_gather(g, index, weights, out, n), count);
        cr_assert(count == 0 || memcmp(out, wanted, count * sizeof *out) == 0,
                  "[%zu, %zu, %zu] block %zu, group %zu", g->pre, g->len, g->post, g->block, index);
        /* fewer than there are: some of them, spread, in order, from the first on */
        capacity = count / 3 + 1;
        got = vqc_grouping_gather(g, index, weights, out, capacity);
        cr_assert_eq(got, capacity < count ? capacity : count);
        for (size_t i = 0; i < got; i++) {
            cr_assert_eq(out[i], wanted[i * count / got]);
        }
    }
    vqc_arena_destroy(&arena);
}

static void check(vqc_grouping g)
{
    check_tiles(&g);
    check_groups(&g);
}

Test(grouping, counts)
{
    vqc_grouping g = vqc_grouping_tensor(77);
    cr_assert_eq(vqc_grouping_count(&g), 1);
    cr_assert_eq(vqc_grouping_size(&g, 0), 77);
    g = vqc_grouping_channel(3, 5, 7);
    cr_assert_eq(vqc_grouping_count(&g), 5);
    cr_assert_eq(vqc_grouping_size(&g, 4), 21);
    g = vqc_grouping_block(2, 10, 3, 4);
    cr_assert(g.is_blocked && g.blocks == 3 && g.block == 4);
    cr_assert_eq(vqc_grouping_count(&g), 18);
    cr_assert_eq(vqc_grouping_size(&g, 0), 4);
    cr_assert_eq(vqc_grouping_size(&g, 8), 2, "the last block of 10 is 2");
    g = vqc_grouping_block(2, 10, 3, 64);
    cr_assert(g.block == 10 && g.blocks == 1, "a block is not longer than its axis");
}

Test(grouping, one_scale)
{
    static const size_t sizes[] = {1, 2, 1023, 65535, 65536, 65537, 200000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        check(vqc_grouping_tensor(sizes[i]));
    }
}

Test(grouping, channels)
{
    static const size_t shapes[][3] = {
        {1, 1, 1},      {1, 7, 1},     {1, 64, 147},  {1, 3, 70000}, {1, 2, 65536},
        {1, 2, 65537},  {5, 1, 1},     {9, 1, 11},    {300, 10, 1},  {100, 1024, 1},
        {100, 1025, 1}, {70, 1500, 1}, {2, 70000, 1}, {70000, 2, 1}, {16, 8, 9},
        {3, 4, 70000},  {40, 2000, 1}, {1, 70000, 2}, {65537, 1, 1}, {2, 3, 1},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        check(vqc_grouping_channel(shapes[i][0], shapes[i][1], shapes[i][2]));
    }
}

Test(grouping, blocks)
{
    static const size_t shapes[][4] = {
        {1, 1, 1, 1},          {1, 10, 1, 3},      {4, 10, 1, 5},      {4, 10, 1, 3},
        {1, 64, 70000, 32},    {1, 33, 1025, 32},  {1, 100, 1024, 16}, {3, 7, 5, 2},
        {7, 130000, 1, 65537}, {2, 100000, 1, 32}, {1, 31, 9, 32},     {64, 27, 1, 16},
        {5, 3, 1, 2},          {2, 6, 2000, 4},    {1, 5, 1, 7},       {200, 17, 3, 16},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        check(vqc_grouping_block(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3]));
    }
}

Test(grouping, random_shapes)
{
    mb_random random = {7};
    for (int i = 0; i < 400; i++) {
        size_t pre = mb_random_below(&random, 3) == 0 ? 1 : 1 + mb_random_below(&random, 12);
        size_t len = 1 + mb_random_below(&random, 60);
        size_t post = mb_random_below(&random, 3) == 0 ? 1 : 1 + mb_random_below(&random, 40);
        check(vqc_grouping_channel(pre, len, post));
        check(vqc_grouping_block(pre, len, post, 1 + mb_random_below(&random, 70)));
    }
}

Test(grouping, nothing_at_all)
{
    static const size_t shapes[][3] = {{0, 3, 4}, {3, 0, 4}, {3, 4, 0}, {1, 0, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        vqc_grouping g = vqc_grouping_channel(shapes[i][0], shapes[i][1], shapes[i][2]);
        check_tiles(&g);
        g = vqc_grouping_block(shapes[i][0], shapes[i][1], shapes[i][2], 2);
        check_tiles(&g);
    }
    check_tiles(&(vqc_grouping){0, 1, 1, 1, 1, false});
}

/* Results must not depend on how many threads there are, so the cut may not either. */
Test(grouping, the_cut_is_always_the_same)
{
    vqc_grouping g = vqc_grouping_block(3, 100, 3000, 32);
    vqc_arena *arena = vqc_arena_create();
    vqc_tile *tiles[2];
    size_t *starts[2];
    size_t count[2];
    size_t units[2];
    vqc_error error;

    for (int i = 0; i < 2; i++) {
        cr_assert_eq(
            vqc_grouping_tiles(&g, arena, &tiles[i], &count[i], &starts[i], &units[i], &error),
            VQC_OK);
    }
    cr_assert(count[0] == count[1] && units[0] == units[1]);
    for (size_t i = 0; i < count[0]; i++) {
        cr_assert(tiles[0][i].offset == tiles[1][i].offset &&
                  tiles[0][i].rows == tiles[1][i].rows && tiles[0][i].cols == tiles[1][i].cols &&
                  tiles[0][i].param == tiles[1][i].param);
    }
    vqc_arena_destroy(&arena);
}
