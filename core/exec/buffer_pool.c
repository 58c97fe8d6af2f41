#include "core/exec/buffer_pool.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/memory.h"

enum {
    KEPT_ALWAYS_BYTES = 16 << 20,
    LARGE_BYTES = 64 << 10,
    LARGER_CLASSES = 8 /* four times the size */
};

/* Rounds up to a class: up to 4 units of 64 bytes exactly, then 5, 6, 7 or 8 times a power of two.
 */
static bool class_of(size_t size_bytes, size_t *index, size_t *capacity)
{
    size_t units;
    size_t quarters;
    unsigned shift = 0;

    if (!vqc_size_add(size_bytes, VQC_POOL_ALIGNMENT - 1, &units)) {
        return false;
    }
    units /= VQC_POOL_ALIGNMENT;
    if (units <= 4) {
        units += units == 0;
        *index = units - 1;
        *capacity = units * VQC_POOL_ALIGNMENT;
        return true;
    }
    while ((units - 1) >> shift > 7) {
        shift++;
    }
    quarters = ((units - 1) >> shift) + 1;
    *index = 4 * (size_t)(shift + 1) + quarters - 5;
    return vqc_size_mul(quarters << shift, VQC_POOL_ALIGNMENT, capacity) &&
           *index < VQC_POOL_CLASSES;
}

/*
 * The class whose block to take for one of class `index`: for a large one also the next larger that
 * is there, so that the classes of a whole run together do not hold much more than is in use at a
 * time. *capacity becomes that of the class.
 */
static size_t find_block(const vqc_pool *pool, size_t index, size_t *capacity)
{
    const size_t exact = *capacity;

    if (pool->free_blocks[index] != NULL || exact < LARGE_BYTES) {
        return index;
    }
    for (size_t i = index + 1; i < VQC_POOL_CLASSES && i <= index + LARGER_CLASSES; i++) {
        if (pool->free_blocks[i] != NULL) {
            *capacity = (size_t)(5 + i % 4) * (exact / (5 + index % 4)) << (i / 4 - index / 4);
            return i;
        }
    }
    return index;
}

void *vqc_pool_take(vqc_pool *pool, size_t size_bytes, size_t *capacity)
{
    size_t index;
    size_t used;
    void *memory;

    if (!class_of(size_bytes, &index, capacity) ||
        !vqc_size_add(pool->used_bytes, *capacity, &used)) {
        return NULL;
    }
    pool->taken_count++;
    index = find_block(pool, index, capacity);
    memory = pool->free_blocks[index];
    used = pool->used_bytes + *capacity;
    if (memory != NULL) {
        pool->free_blocks[index] = *(void **)memory;
        pool->cached_bytes -= *capacity;
    } else {
        if (pool->cached_bytes > KEPT_ALWAYS_BYTES &&
            pool->cached_bytes - pool->cached_bytes / 3 > pool->peak_bytes) {
            vqc_pool_clear(pool); /* sizes that come no more, for example of other shapes */
        }
        pool->fresh_count++;
        memory = aligned_alloc(VQC_POOL_ALIGNMENT, *capacity);
        if (memory == NULL) {
            return NULL;
        }
    }
    pool->used_bytes = used;
    if (used > pool->peak_bytes) {
        pool->peak_bytes = used;
    }
    return memory;
}

void vqc_pool_give(vqc_pool *pool, void *memory, size_t capacity)
{
    size_t index;
    size_t rounded;

    if (memory == NULL) {
        return;
    }
    pool->used_bytes -= capacity;
    if (!class_of(capacity, &index, &rounded) || rounded != capacity) {
        free(memory); /* cannot be: every capacity is that of a class */
        return;
    }
    *(void **)memory = pool->free_blocks[index];
    pool->free_blocks[index] = memory;
    pool->cached_bytes += capacity;
}

void vqc_pool_forget(vqc_pool *pool, size_t capacity)
{
    pool->used_bytes -= capacity;
}

void vqc_pool_clear(vqc_pool *pool)
{
    for (size_t i = 0; i < VQC_POOL_CLASSES; i++) {
        while (pool->free_blocks[i] != NULL) {
            void *memory = pool->free_blocks[i];
            pool->free_blocks[i] = *(void **)memory;
            free(memory);
        }
    }
    pool->cached_bytes = 0;
}
