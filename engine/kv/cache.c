/* SPDX-License-Identifier: Apache-2.0 */
/* One sequence's KV cache: a table of blocks that grows with the text. */
#include "kv_internal.h"

#include <stdlib.h>

static size_t blocks_for(size_t tokens) { return (tokens + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS; }

moesaic_status kv_cache_create(struct kv_pool *pool, size_t capacity_tokens, struct kv_cache **ret_cache,
                               moesaic_error *error) {
    if (capacity_tokens == 0 || capacity_tokens > INT32_MAX)
        return status_set(error, MOESAIC_E_USAGE, "KV cache: a capacity of %zu tokens is outside 1 to %d",
                          capacity_tokens, INT32_MAX);
    struct kv_cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        return status_no_memory(error, "KV cache", sizeof *cache);
    *cache = (struct kv_cache){.pool = pool,
                               .shape = *kv_pool_shape(pool),
                               .capacity = capacity_tokens,
                               .run_bytes = kv_pool_run_bytes(pool)};
    cache->block = calloc(blocks_for(capacity_tokens), sizeof *cache->block);
    if (!cache->block) {
        free(cache);
        return status_no_memory(error, "KV block table", blocks_for(capacity_tokens) * sizeof(uint8_t *));
    }
    *ret_cache = cache;
    return MOESAIC_OK;
}

void kv_cache_destroy(struct kv_cache *cache) {
    if (!cache)
        return;
    kv_cache_truncate(cache, 0);
    free(cache->block);
    free(cache);
}

moesaic_status kv_cache_reserve(struct kv_cache *cache, size_t tokens, moesaic_error *error) {
    if (tokens > cache->capacity)
        return status_set(error, MOESAIC_E_USAGE, "KV cache: %zu tokens exceed the sequence's capacity of %zu", tokens,
                          cache->capacity);
    while (cache->blocks < blocks_for(tokens)) {
        moesaic_status status = kv_pool_take(cache->pool, &cache->block[cache->blocks], error);
        if (status)
            return status;
        cache->blocks++;
    }
    return MOESAIC_OK;
}

void kv_cache_truncate(struct kv_cache *cache, size_t tokens) {
    cache->tokens = tokens;
    while (cache->blocks > blocks_for(tokens))
        kv_pool_give(cache->pool, cache->block[--cache->blocks]);
}
