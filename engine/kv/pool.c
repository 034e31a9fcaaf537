/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of KV blocks: a bounded free list shared by the sequences of an engine. */
#include "kv_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A free block holds the link to the next in its own first bytes. */
struct free_block {
    struct free_block *next;
};

/* Blocks are cut one by one from slabs, large enough for huge pages: attention reads runs all over them. */
enum { SLAB_BYTES = 8 << 20 };
struct slab {
    struct slab *next;
    uint8_t *memory;
    size_t used, blocks;
};

struct kv_pool {
    struct kv_shape shape;
    size_t run_bytes, block_bytes;
    uint64_t max_bytes;
    pthread_mutex_t lock; /* guards what follows */
    uint64_t held_bytes;
    struct free_block *free_blocks;
    struct slab *slabs; /* the first may have blocks left */
};

static bool block_size(const struct kv_shape *shape, size_t *ret_run, size_t *ret_block) {
    size_t run = kv_row_bytes(shape->type, size_round_up(shape->head_dim, 16)) * KV_BLOCK_TOKENS, runs;
    if (!size_mul(shape->layers, (size_t)shape->kv_heads * 2, &runs) || !size_mul(runs, run, ret_block))
        return false;
    *ret_run = run;
    return true;
}

moesaic_status kv_pool_create(const struct kv_shape *shape, uint64_t max_bytes, struct kv_pool **ret_pool,
                              moesaic_error *error) {
    struct kv_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return status_no_memory(error, "KV pool", sizeof *pool);
    pool->shape = *shape;
    pool->max_bytes = max_bytes;
    if (!block_size(shape, &pool->run_bytes, &pool->block_bytes)) {
        free(pool);
        return status_set(error, MOESAIC_E_INPUT, "KV pool: a block of %u layers x %u heads x %u overflows",
                          shape->layers, shape->kv_heads, shape->head_dim);
    }
    if (pthread_mutex_init(&pool->lock, NULL)) {
        free(pool);
        return status_no_memory(error, "KV pool's lock", sizeof pool->lock);
    }
    *ret_pool = pool;
    return MOESAIC_OK;
}

void kv_pool_destroy(struct kv_pool *pool) {
    if (!pool)
        return;
    while (pool->slabs) {
        struct slab *slab = pool->slabs;
        pool->slabs = slab->next;
        free(slab->memory);
        free(slab);
    }
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

const struct kv_shape *kv_pool_shape(const struct kv_pool *pool) { return &pool->shape; }
size_t kv_pool_run_bytes(const struct kv_pool *pool) { return pool->run_bytes; }
uint64_t kv_pool_block_bytes(const struct kv_pool *pool) { return pool->block_bytes; }

uint64_t kv_pool_bytes(struct kv_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    uint64_t bytes = pool->held_bytes;
    pthread_mutex_unlock(&pool->lock);
    return bytes;
}

/* A slab of as many blocks as the limit still allows; false when memory is short. */
static bool add_slab(struct kv_pool *pool) {
    uint64_t blocks = pool->block_bytes < SLAB_BYTES ? SLAB_BYTES / pool->block_bytes : 1;
    if (pool->max_bytes && blocks > (pool->max_bytes - pool->held_bytes) / pool->block_bytes)
        blocks = (pool->max_bytes - pool->held_bytes) / pool->block_bytes;
    struct slab *slab = calloc(1, sizeof *slab);
    if (!slab)
        return false;
    *slab = (struct slab){pool->slabs, memory_aligned(blocks * pool->block_bytes), 0, blocks};
    if (!slab->memory) {
        free(slab);
        return false;
    }
    pool->slabs = slab;
    return true;
}

static moesaic_status take_new(struct kv_pool *pool, uint8_t **ret_block, moesaic_error *error) {
    if (pool->max_bytes && pool->held_bytes + pool->block_bytes > pool->max_bytes)
        return status_set(error, MOESAIC_E_MEMORY, "KV cache: the limit of %llu bytes is reached",
                          (unsigned long long)pool->max_bytes);
    if ((!pool->slabs || pool->slabs->used == pool->slabs->blocks) && !add_slab(pool))
        return status_no_memory(error, "KV block", pool->block_bytes);
    *ret_block = pool->slabs->memory + pool->slabs->used++ * pool->block_bytes;
    pool->held_bytes += pool->block_bytes;
    return MOESAIC_OK;
}

/* New blocks are zeroed. Used ones are not: whatever a sequence left behind lies at positions that the next one masks
 * until it has overwritten them. */
moesaic_status kv_pool_take(struct kv_pool *pool, uint8_t **ret_block, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    pthread_mutex_lock(&pool->lock);
    bool used = pool->free_blocks;
    if (used) {
        *ret_block = (uint8_t *)pool->free_blocks;
        pool->free_blocks = pool->free_blocks->next;
    } else {
        status = take_new(pool, ret_block, error);
    }
    pthread_mutex_unlock(&pool->lock);
    if (!status && !used)
        memset(*ret_block, 0, pool->block_bytes);
    return status;
}

void kv_pool_give(struct kv_pool *pool, uint8_t *block) {
    struct free_block *link = (struct free_block *)(void *)block;
    pthread_mutex_lock(&pool->lock);
    link->next = pool->free_blocks;
    pool->free_blocks = link;
    pthread_mutex_unlock(&pool->lock);
}
