/* Memory that arrays of one runner come from and go back to, so that large arrays are not mapped
 * and unmapped over and over. Not for several threads at a time. */
#ifndef VQC_CORE_EXEC_BUFFER_POOL_H
#define VQC_CORE_EXEC_BUFFER_POOL_H

#include <stddef.h>

enum {
    VQC_POOL_CLASSES = 240, /* four sizes per power of two of 64-byte units */
    VQC_POOL_ALIGNMENT = 64
};

/* All zero is an empty pool. */
typedef struct vqc_pool {
    void *free_blocks[VQC_POOL_CLASSES]; /* each begins with a pointer to the next */
    size_t cached_bytes;                 /* in the lists */
    size_t used_bytes;                   /* handed out */
    size_t peak_bytes;                   /* largest used_bytes */
    size_t taken_count;                  /* vqc_pool_take calls, for tests */
    size_t fresh_count;                  /* those of them that had to ask the system */
} vqc_pool;

/*
 * At least size_bytes, aligned to 64 bytes, uninitialised; *capacity is what it really has: at most
 * a quarter more, plus 64, or for a large block up to five times as much when such a one lies
 * there. NULL: no memory. When the pool holds half as much again as was ever in use at a time, what
 * it holds is freed first.
 */
void *vqc_pool_take(vqc_pool *pool, size_t size_bytes, size_t *capacity);

/* Gives a block back; capacity is that of vqc_pool_take. NULL is allowed. */
void vqc_pool_give(vqc_pool *pool, void *memory, size_t capacity);

/* The block is the caller's from now on: free() releases it. */
void vqc_pool_forget(vqc_pool *pool, size_t capacity);

/* Frees what is in the lists. */
void vqc_pool_clear(vqc_pool *pool);

#endif
