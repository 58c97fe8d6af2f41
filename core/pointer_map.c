#include "core/pointer_map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Slot of the key, or the free one where it belongs. Fibonacci hashing: addresses differ in their
 * middle bits, which the multiplication carries to the top. */
static size_t slot_of(const vqc_pointer_map *map, const void *key)
{
    size_t mask = map->capacity - 1;
    size_t slot = (size_t)(((uint64_t)(uintptr_t)key * 0x9E3779B97F4A7C15u) >> 24) & mask;

    while (map->keys[slot] != NULL && map->keys[slot] != key) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

static bool grow(vqc_pointer_map *map)
{
    vqc_pointer_map bigger = {0};

    bigger.capacity = map->capacity == 0 ? 64 : map->capacity * 2;
    bigger.keys = calloc(bigger.capacity, sizeof *bigger.keys);
    bigger.values = calloc(bigger.capacity, sizeof *bigger.values);
    if (bigger.keys == NULL || bigger.values == NULL) {
        vqc_pointer_map_clear(&bigger);
        return false;
    }
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->keys[i] != NULL) {
            size_t slot = slot_of(&bigger, map->keys[i]);
            bigger.keys[slot] = map->keys[i];
            bigger.values[slot] = map->values[i];
        }
    }
    bigger.count = map->count;
    vqc_pointer_map_clear(map);
    *map = bigger;
    return true;
}

bool vqc_pointer_map_set(vqc_pointer_map *map, const void *key, size_t value)
{
    size_t slot;

    if (2 * (map->count + 1) > map->capacity && !grow(map)) {
        return false;
    }
    slot = slot_of(map, key);
    map->count += map->keys[slot] == NULL;
    map->keys[slot] = key;
    map->values[slot] = value;
    return true;
}

size_t vqc_pointer_map_get(const vqc_pointer_map *map, const void *key, size_t fallback)
{
    size_t slot;

    if (map->capacity == 0 || key == NULL) {
        return fallback;
    }
    slot = slot_of(map, key);
    return map->keys[slot] == NULL ? fallback : map->values[slot];
}

void vqc_pointer_map_clear(vqc_pointer_map *map)
{
    free(map->keys);
    free(map->values);
    memset(map, 0, sizeof *map);
}
