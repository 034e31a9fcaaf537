/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of KV blocks: a bounded free list shared by the sequences of an engine. */
#include "kv_internal.h"

#include <pthread.h>
#include <stdlib.h>

/* A free block holds the link to the next in its own first bytes. */
struct free_block {
    struct free_block *next;
};

struct kv_pool {
    struct kv_shape shape;
    size_t run_bytes, block_bytes;
    uint64_t max_bytes;
    pthread_mutex_t lock; /* guards what follows */
    uint64_t held_bytes;
    struct free_block *free_blocks;
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
    while (pool->free_blocks) {
        struct free_block *block = pool->free_blocks;
        pool->free_blocks = block->next;
        free(block);
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

/* New blocks are zeroed, which for their sizes means fresh pages that cost nothing until they are written. Used ones
 * are not: whatever a sequence left behind lies at positions that the next one masks until it has overwritten them. */
moesaic_status kv_pool_take(struct kv_pool *pool, uint8_t **ret_block, moesaic_error *error) {
    pthread_mutex_lock(&pool->lock);
    struct free_block *block = pool->free_blocks;
    bool grow = !block && (!pool->max_bytes || pool->held_bytes + pool->block_bytes <= pool->max_bytes);
    if (block)
        pool->free_blocks = block->next;
    if (grow)
        pool->held_bytes += pool->block_bytes;
    pthread_mutex_unlock(&pool->lock);
    if (!block && !grow)
        return status_set(error, MOESAIC_E_MEMORY, "KV cache: the limit of %llu bytes is reached",
                          (unsigned long long)pool->max_bytes);
    if (grow && !(block = memory_zeroed(1, pool->block_bytes))) {
        pthread_mutex_lock(&pool->lock);
        pool->held_bytes -= pool->block_bytes;
        pthread_mutex_unlock(&pool->lock);
        return status_no_memory(error, "KV block", pool->block_bytes);
    }
    *ret_block = (uint8_t *)block;
    return MOESAIC_OK;
}

void kv_pool_give(struct kv_pool *pool, uint8_t *block) {
    struct free_block *link = (struct free_block *)(void *)block;
    pthread_mutex_lock(&pool->lock);
    link->next = pool->free_blocks;
    pool->free_blocks = link;
    pthread_mutex_unlock(&pool->lock);
}
