#include "core/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 64 * 1024, LARGE_BYTES = 4096, SMALL_ALIGN = 16, LARGE_ALIGN = 64 };

/* Chunks form a list; the first takes small requests, large requests get a chunk of their own. */
typedef struct chunk {
    struct chunk *next;
    size_t used;
    size_t capacity;
} chunk;

struct vqc_arena {
    chunk *small; /* newest chunk for small requests */
    chunk *large;
    size_t used;
};

vqc_arena *vqc_arena_create(void)
{
    return calloc(1, sizeof(vqc_arena));
}

static void free_list(chunk *item)
{
    while (item != NULL) {
        chunk *next = item->next;
        free(item);
        item = next;
    }
}

void vqc_arena_destroy(vqc_arena **arena)
{
    if (arena == NULL || *arena == NULL) {
        return;
    }
    free_list((*arena)->small);
    free_list((*arena)->large);
    free(*arena);
    *arena = NULL;
}

/* Puts the list in front of the other, behind whose first chunk small requests still fit. */
static chunk *join_lists(chunk *first, chunk *second)
{
    chunk *last = first;

    if (first == NULL) {
        return second;
    }
    while (last->next != NULL) {
        last = last->next;
    }
    last->next = second;
    return first;
}

void vqc_arena_take(vqc_arena *arena, vqc_arena **from)
{
    if (*from == NULL) {
        return;
    }
    arena->small = join_lists(arena->small, (*from)->small);
    arena->large = join_lists(arena->large, (*from)->large);
    arena->used += (*from)->used;
    free(*from);
    *from = NULL;
}

static void *alloc_large(vqc_arena *arena, size_t size_bytes)
{
    size_t total;
    chunk *item;

    if (!vqc_size_add(size_bytes, LARGE_ALIGN + LARGE_ALIGN - 1, &total)) {
        return NULL;
    }
    total &= ~(size_t)(LARGE_ALIGN - 1);
    item = aligned_alloc(LARGE_ALIGN, total);
    if (item == NULL) {
        return NULL;
    }
    item->capacity = size_bytes;
    item->used = size_bytes;
    item->next = arena->large;
    arena->large = item;
    arena->used += size_bytes;
    return (char *)item + LARGE_ALIGN;
}

void *vqc_arena_alloc(vqc_arena *arena, size_t size_bytes)
{
    size_t rounded;
    void *memory;

    if (size_bytes >= LARGE_BYTES) {
        return alloc_large(arena, size_bytes);
    }
    rounded =
        size_bytes == 0 ? SMALL_ALIGN : (size_bytes + SMALL_ALIGN - 1) & ~(size_t)(SMALL_ALIGN - 1);
    if (arena->small == NULL || arena->small->capacity - arena->small->used < rounded) {
        chunk *item = aligned_alloc(LARGE_ALIGN, CHUNK_BYTES);
        if (item == NULL) {
            return NULL;
        }
        item->capacity = CHUNK_BYTES - LARGE_ALIGN;
        item->used = 0;
        item->next = arena->small;
        arena->small = item;
    }
    memory = (char *)arena->small + LARGE_ALIGN + arena->small->used;
    arena->small->used += rounded;
    arena->used += size_bytes;
    return memory;
}

void *vqc_arena_calloc(vqc_arena *arena, size_t count, size_t item_bytes)
{
    size_t total;
    void *memory;

    if (!vqc_size_mul(count, item_bytes, &total)) {
        return NULL;
    }
    memory = vqc_arena_alloc(arena, total);
    if (memory != NULL) {
        memset(memory, 0, total);
    }
    return memory;
}

char *vqc_arena_strndup(vqc_arena *arena, const char *text, size_t length)
{
    char *copy = length == SIZE_MAX ? NULL : vqc_arena_alloc(arena, length + 1);
    if (copy != NULL) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

char *vqc_arena_strdup(vqc_arena *arena, const char *text)
{
    return vqc_arena_strndup(arena, text, strlen(text));
}

char *vqc_arena_printf(vqc_arena *arena, const char *format, ...)
{
    va_list args;
    va_list again;
    int length;
    char *text = NULL;

    va_start(args, format);
    va_copy(again, args);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length >= 0) {
        text = vqc_arena_alloc(arena, (size_t)length + 1);
        if (text != NULL) {
            (void)vsnprintf(text, (size_t)length + 1, format, again);
        }
    }
    va_end(again);
    return text;
}

size_t vqc_arena_used(const vqc_arena *arena)
{
    return arena->used;
}
