/* SPDX-License-Identifier: Apache-2.0 */
/* Door of engine/kv: keys and values of the tokens seen, in blocks that lie at fixed absolute positions. */
#ifndef KV_H
#define KV_H

#include "runtime.h"

/* Element type of stored keys and values; arithmetic is F32 in any case. KV_INT8: codes -127 .. 127 and one F32 scale a
 * token and head, of its key and of its value. */
typedef enum kv_type { KV_F32 = 0, KV_F16 = 1, KV_INT8 = 2, KV_TYPES } kv_type;

/* Block b holds the positions [64 b, 64 b + 64) of one sequence, for all layers, whatever the chunks it was filled by:
 * attention walks blocks in ascending order, and so its bits do not depend on the chunking. */
enum { KV_BLOCK_TOKENS = 64 };

/* A block is, for each layer and then each KV head: keys [head_dim, 64] (a token is a column, so that the scores of 64
 * tokens fill vector lanes without a horizontal sum), then values [64, head_dim], head_dim rounded up to 16 lanes. Of
 * KV_INT8 the scales of the 64 tokens lie behind the codes of each. Each run is 64-byte aligned. */
struct kv_shape {
    uint32_t layers, kv_heads, head_dim;
    kv_type type;
};
/* Bytes of one token's key, or value, of one head with `width` elements. */
static inline size_t kv_row_bytes(kv_type type, size_t width) {
    return type == KV_INT8 ? width + sizeof(float) : type == KV_F16 ? width * 2 : width * sizeof(float);
}
/* KV_INT8: the scales [64] behind a run's codes. */
static inline float *kv_scales(const void *run, size_t width) {
    return (float *)(uintptr_t)((const int8_t *)run + width * KV_BLOCK_TOKENS);
}

/* ---- pool: where the blocks of all sequences of an engine come from. Thread-safe. ------------------------------- */

struct kv_pool;
/* `max_bytes` bounds the blocks held (0: none but the heap). Nothing is allocated before the first block is asked for.
 * Errors: INPUT (a block's size overflows), MEMORY. */
moesaic_status kv_pool_create(const struct kv_shape *shape, uint64_t max_bytes, struct kv_pool **ret_pool,
                              moesaic_error *error);
void kv_pool_destroy(struct kv_pool *pool); /* every cache destroyed before; accepts NULL */
const struct kv_shape *kv_pool_shape(const struct kv_pool *pool);
uint64_t kv_pool_block_bytes(const struct kv_pool *pool);
uint64_t kv_pool_bytes(struct kv_pool *pool); /* held now, in use or free */

/* ---- cache: one sequence's blocks. Used by one thread at a time. ------------------------------------------------ */

struct kv_cache {
    struct kv_pool *pool;
    struct kv_shape shape;
    size_t capacity;       /* tokens, fixed at creation */
    size_t tokens;         /* filled by finished steps */
    size_t blocks;         /* reserved, <= blocks needed by capacity */
    size_t run_bytes;      /* of the keys (or values) of one layer and head in a block */
    uint8_t **block;
};
/* Errors: USAGE (capacity 0 or above 2^31 - 1), MEMORY. */
moesaic_status kv_cache_create(struct kv_pool *pool, size_t capacity_tokens, struct kv_cache **ret_cache,
                               moesaic_error *error);
void kv_cache_destroy(struct kv_cache *cache); /* returns its blocks to the pool; accepts NULL */
/* Makes room for positions [0, tokens). A step reserves what it needs itself; reserving the whole generation first
 * keeps its steps free of allocation. Errors: USAGE (above the capacity), MEMORY; what was held stays usable. */
moesaic_status kv_cache_reserve(struct kv_cache *cache, size_t tokens, moesaic_error *error);
/* Forgets the positions from `tokens` (at most cache->tokens) on and returns whole blocks behind it to the pool. */
void kv_cache_truncate(struct kv_cache *cache, size_t tokens);

static inline void *kv_cache_keys(const struct kv_cache *cache, size_t block, uint32_t layer, uint32_t kv_head) {
    return cache->block[block] + ((size_t)layer * cache->shape.kv_heads + kv_head) * 2 * cache->run_bytes;
}
static inline void *kv_cache_values(const struct kv_cache *cache, size_t block, uint32_t layer, uint32_t kv_head) {
    return (uint8_t *)kv_cache_keys(cache, block, layer, kv_head) + cache->run_bytes;
}

#endif
