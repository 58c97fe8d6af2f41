/* Checked sizes and the arena that owns everything with a model's, pass's or run's lifetime. */
#ifndef VQC_CORE_MEMORY_H
#define VQC_CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* product = a * b; false (and product = SIZE_MAX) when that does not fit. */
static inline bool vqc_size_mul(size_t a, size_t b, size_t *product)
{
    if (__builtin_mul_overflow(a, b, product)) {
        *product = SIZE_MAX;
        return false;
    }
    return true;
}

/* sum = a + b; false (and sum = SIZE_MAX) when that does not fit. */
static inline bool vqc_size_add(size_t a, size_t b, size_t *sum)
{
    if (__builtin_add_overflow(a, b, sum)) {
        *sum = SIZE_MAX;
        return false;
    }
    return true;
}

typedef struct vqc_arena vqc_arena;

/* New empty arena, or NULL when out of memory. */
vqc_arena *vqc_arena_create(void);

/* Frees the arena and everything in it; accepts NULL and sets *arena to NULL. */
void vqc_arena_destroy(vqc_arena **arena);

/* Everything in *from lives as long as `arena` from now on; *from is gone and set to NULL. Accepts
 * NULL in *from. */
void vqc_arena_take(vqc_arena *arena, vqc_arena **from);

/* size_bytes of memory aligned to 64 bytes for large (>= 4096) and 16 for small requests,
 * uninitialised; lives as long as the arena. NULL when out of memory; a valid pointer for size 0.
 */
void *vqc_arena_alloc(vqc_arena *arena, size_t size_bytes);

/* The same, zeroed, for count items of item_bytes; NULL also when the product overflows. */
void *vqc_arena_calloc(vqc_arena *arena, size_t count, size_t item_bytes);

/* Copy of `length` bytes of text plus a NUL; NULL when out of memory. */
char *vqc_arena_strndup(vqc_arena *arena, const char *text, size_t length);

/* Copy of a C string. */
char *vqc_arena_strdup(vqc_arena *arena, const char *text);

/* Formatted C string. */
char *vqc_arena_printf(vqc_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Bytes handed out so far (for tests and the memory figures of the report). */
size_t vqc_arena_used(const vqc_arena *arena);

#endif
