/* A map from pointers to small numbers: marks on values and nodes of a model that is not ours to
 * extend. */
#ifndef VQC_CORE_POINTER_MAP_H
#define VQC_CORE_POINTER_MAP_H

#include <stdbool.h>
#include <stddef.h>

typedef struct vqc_pointer_map {
    const void **keys; /* [capacity], NULL: free */
    size_t *values;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
} vqc_pointer_map;

/* Sets the value of a non-NULL key; false when out of memory. */
bool vqc_pointer_map_set(vqc_pointer_map *map, const void *key, size_t value);

/* The value of a key, or `fallback` when it has none. */
size_t vqc_pointer_map_get(const vqc_pointer_map *map, const void *key, size_t fallback);

/* Frees; the map is empty afterwards. A zeroed struct is an empty map. */
void vqc_pointer_map_clear(vqc_pointer_map *map);

#endif
